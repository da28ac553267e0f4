//! The socket in the file system, those who come in, and what is no hub.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::Shared;
use crate::conformance::{Rig, Stage};
use crate::network::{Accept, ListenError, Network, ReadOutcome, Security};
use crate::reason::CloseReason;
use crate::shm::{ShmStream, path_of};
use crate::{DialError, TcpNetwork};

fn net() -> (Shared, TcpNetwork, String) {
    let mut rig = Shared::new();
    let net = rig.endpoint("n0", Default::default());
    let address = rig.address("n0");
    (rig, net, address)
}

fn listen(net: &mut TcpNetwork, address: &str) -> Result<(), ListenError> {
    net.listen(address, &Security::Plain, Accept::Clients).map(|_| ())
}

#[test]
fn the_socket_is_for_this_user_alone_and_goes_with_the_listener() {
    let (_rig, mut net, address) = net();
    listen(&mut net, &address).unwrap();
    let path = path_of(&address).unwrap();
    assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    drop(net);
    assert!(std::fs::symlink_metadata(path).is_err());
}

#[test]
fn a_socket_left_behind_is_replaced_and_one_in_use_is_not() {
    let (mut rig, mut net, address) = net();
    // What a killed hub leaves: a socket that nobody listens at. One that did listen
    // would for a while, if another test starts a process just then, which has it until
    // its program runs.
    let left = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    left.bind(&SockAddr::unix(path_of(&address).unwrap()).unwrap()).unwrap();
    listen(&mut net, &address).unwrap();
    let mut second = rig.endpoint("n1", Default::default());
    assert_eq!(listen(&mut second, &address), Err(ListenError::ShmInUse { address: address.clone() }));
    drop(second);
    UnixStream::connect(path_of(&address).unwrap()).unwrap();
}

#[test]
fn what_cannot_be_a_socket_is_refused_and_not_touched() {
    let (_rig, mut net, address) = net();
    let path = path_of(&address).unwrap();
    File::create(path).unwrap().write_all(b"precious").unwrap();
    let refused = |net: &mut TcpNetwork, address: &str, part: &str| match listen(net, address) {
        Err(e @ ListenError::ShmPath { .. }) => assert!(e.to_string().contains(part), "{e}"),
        other => panic!("{address}: {other:?}"),
    };
    refused(&mut net, &address, "no socket");
    let mut kept = String::new();
    File::open(path).unwrap().read_to_string(&mut kept).unwrap();
    assert_eq!(kept, "precious");
    refused(&mut net, "shm:", "missing");
    refused(&mut net, &format!("shm:/{}", "x".repeat(107)), "108 bytes");
    refused(&mut net, "shm:/no/such/folder/hub.sock", "No such file");
    for bad in ["shm:".to_owned(), format!("shm:/{}", "x".repeat(107))] {
        let dialled = net.dial(&bad, &Security::Plain, None);
        assert!(matches!(dialled, Err(DialError::ShmPath { .. })), "{dialled:?}");
    }
}

#[test]
fn what_is_no_hub_is_said_to_be_none() {
    let mut stage = Stage::new(Shared::new());
    stage.add(Default::default());
    let address = stage.rig.address("n1");
    let listener = UnixListener::bind(path_of(&address).unwrap()).unwrap();
    // One that says something else, one that says nothing.
    let link = stage.dial(0, &address);
    listener.accept().unwrap().0.write_all(b"HTTP/1.1 400 Bad").unwrap();
    let unreachable = |reason: CloseReason, part: &str| match reason {
        CloseReason::Unreachable { address: at, detail } => {
            assert!(at == address && detail.contains(part), "{at}: {detail}");
        }
        other => panic!("{other}"),
    };
    let reason = stage.until("the end", |stage| stage.nodes[0].closed(link));
    unreachable(reason, "no weft hub");
    let link = stage.dial(0, &address);
    let _silent = listener.accept().unwrap();
    stage.settle();
    assert_eq!(stage.nodes[0].closed(link), None);
    stage.rig.clock().advance(Duration::from_secs(5));
    let reason = stage.until("the end", |stage| stage.nodes[0].closed(link));
    unreachable(reason, "5000 ms");
}

#[test]
fn memory_is_given_to_so_many_and_again_when_one_has_gone() {
    let mut stage = Stage::new(Shared::new());
    stage.add(Default::default());
    let (_, address) = stage.listen(0);
    let connect = || UnixStream::connect(path_of(&address).unwrap()).unwrap();
    let mut clients: Vec<UnixStream> = (0..super::MOST).map(|_| connect()).collect();
    stage.until("all links", |stage| (stage.nodes[0].accepted().len() == super::MOST).then_some(()));
    let _one_too_many = connect();
    let reason = stage.until("a refusal", |stage| stage.nodes[0].refused().first().cloned());
    assert_eq!(reason, CloseReason::TooManyShared { limit: super::MOST });
    clients.pop();
    let (gone, _) = stage.nodes[0].accepted()[super::MOST - 1];
    assert_eq!(stage.end_of(0, gone), CloseReason::PeerClosed);
    let _another = connect();
    stage.until("one more link", |stage| (stage.nodes[0].accepted().len() > super::MOST).then_some(()));
}

#[test]
fn memory_is_shared_with_this_user_and_root_alone() {
    let user = rustix::process::Uid::from_raw;
    assert!(crate::shm::is_trusted(user(1000), user(1000)) && crate::shm::is_trusted(user(0), user(1000)));
    assert!(!crate::shm::is_trusted(user(1001), user(1000)) && !crate::shm::is_trusted(user(1000), user(0)));
}

/// Hangs, and so fails, if a wake-up is lost: both ends sleep for ever.
#[test]
fn two_threads_that_sleep_in_turn_wake_each_other() {
    const ROUNDS: u64 = 3000;
    let (_rig, mut net, address) = net();
    listen(&mut net, &address).unwrap();
    let client = std::thread::spawn(move || {
        let mut stream = ShmStream::connect(path_of(&address).unwrap()).unwrap();
        let mut buf = [0; 8];
        for round in 0..ROUNDS {
            stream.write_all(&round.to_le_bytes()).unwrap();
            stream.read_exact(&mut buf).unwrap();
            assert_eq!(u64::from_le_bytes(buf), round);
        }
    });
    let (mut ready, mut buf, mut link) = (Vec::new(), [0; 8], None);
    loop {
        net.poll(None, &mut ready).unwrap();
        link = link.or_else(|| ready.iter().find_map(|ready| ready.link()));
        let Some(link) = link else { continue };
        match net.read(link, &mut buf) {
            ReadOutcome::Bytes(8) => {
                net.write(link, &[std::io::IoSlice::new(&buf)]);
            }
            ReadOutcome::Bytes(n) => panic!("{n} bytes"),
            ReadOutcome::WouldBlock => {}
            ReadOutcome::Closed(reason) => {
                assert_eq!(reason, CloseReason::PeerClosed);
                break;
            }
        }
    }
    client.join().unwrap();
}
