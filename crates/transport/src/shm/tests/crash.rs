//! A client that is killed costs its own link and nothing else.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use super::Shared;
use crate::conformance::{Stage, pattern};
use crate::network::{LinkToken, Network, ReadOutcome};
use crate::reason::CloseReason;
use crate::shm::{ShmStream, path_of};

/// Tells the child where to connect.
const PATH: &str = "WEFT_TEST_SHM_PATH";

/// The child: writes without end. Does nothing unless it is started as one.
#[test]
fn child_that_writes() {
    let Ok(path) = std::env::var(PATH) else { return };
    let mut stream = ShmStream::connect(&path).unwrap();
    let data = pattern(1 << 20);
    loop {
        // Pieces of changing sizes, which no reader's pieces agree with.
        for piece in data.chunks(7919) {
            stream.write_all(piece).unwrap();
        }
    }
}

/// A child that does not outlive the test, whatever happens.
struct Writing(Child);

impl Drop for Writing {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn child(address: &str) -> Writing {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["shm::tests::crash::child_that_writes", "--exact", "--test-threads=1"])
        .env(PATH, path_of(address).unwrap())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Writing(child.unwrap())
}

#[test]
fn a_client_killed_in_the_middle_of_a_write_costs_its_own_link_alone() {
    let mut stage = Stage::new(Shared::new());
    stage.add(Default::default());
    stage.add(Default::default());
    let (_, address) = stage.listen(1);
    let (near, far) = stage.link(0, 1, &address);
    let data = pattern(1 << 20);
    let mut buf = vec![0; 10_000];
    for round in 0..6 {
        let before = stage.nodes[1].accepted().len();
        let mut child = Some(child(&address));
        let link: LinkToken =
            stage.until("the child's link", |stage| stage.nodes[1].accepted().get(before).map(|(link, _)| *link));
        // Some rounds leave it waiting for room, some catch it at work.
        let enough = round * 150_000;
        let mut got = Vec::new();
        let reason = stage.until("the end of the child's link", |stage| {
            loop {
                if got.len() >= enough {
                    child = None;
                }
                match stage.nodes[1].net.read(link, &mut buf) {
                    ReadOutcome::Bytes(n) => got.extend_from_slice(&buf[..n]),
                    ReadOutcome::WouldBlock => return None,
                    ReadOutcome::Closed(reason) => return Some(reason),
                }
            }
        });
        assert!(child.is_none(), "it ended before it was killed: {reason}");
        assert_eq!(reason, CloseReason::PeerClosed);
        assert!(got.len() >= enough);
        assert!(got.iter().enumerate().all(|(at, byte)| *byte == data[at % data.len()]), "not what the child wrote");
        assert!(stage.carry((0, near), (1, far), &data) == data, "the other client is served");
        assert!(stage.carry((1, far), (0, near), &data) == data);
    }
}
