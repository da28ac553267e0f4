//! A hub that serves clients by shared memory beside those over TCP: a client
//! that corrupts the memory costs one counted session.

use std::fs::File;
use std::io::{IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::common::{Raw, options, start, stop};
use rustix::cmsg_space;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use weft_hub::options::Listen;
use weft_transport::Security;
use weft_wire::frame::AckLevel;

/// Comes in at the door and takes the memory file, as a client does.
fn come_in(path: &str) -> (UnixStream, File) {
    let socket = UnixStream::connect(path).expect("the hub listens");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut hello = [0; 16];
    recvmsg(&socket, &mut [IoSliceMut::new(&mut hello)], &mut control, RecvFlags::CMSG_CLOEXEC).expect("a hello");
    assert_eq!(&hello[..8], b"weftshm1");
    let file = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    (socket, File::from(file.expect("a memory file")))
}

#[test]
fn a_client_that_corrupts_its_memory_costs_one_counted_session() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("hub.sock").display().to_string();
    let mut options = options("hub", None);
    options.clients.push(Listen { addr: format!("shm:{path}"), security: Security::Plain });
    let hub = start(options);
    let mut healthy = Raw::connect(&hub, 1);
    healthy.subscribe(1, "t");
    let count = || hub.counters().violations.load(Ordering::Relaxed);
    for session in [1, 2] {
        let (mut socket, file) = come_in(&path);
        // The writer's position of the ring to the hub, far beyond the ring.
        file.write_all_at(&u64::MAX.to_ne_bytes(), 0).expect("it can be written");
        assert!(file.set_len(0).is_err(), "it can be cut short");
        rustix::net::send(&socket, &[1], rustix::net::SendFlags::NOSIGNAL).expect("the hub is woken");
        // The hub closes the link: the end, or a reset.
        assert!(matches!(socket.read(&mut [0; 64]), Ok(0) | Err(_)));
        // The socket closes a moment before the hub counts.
        while count() < session {
            std::thread::yield_now();
        }
        assert_eq!(count(), session);
    }
    let mut publisher = Raw::connect(&hub, 2);
    publisher.publish_acked(1, AckLevel::Routed, "t", &[b"fine"]);
    assert_eq!(healthy.delivered(), [b"fine".to_vec()]);
    stop(hub);
}
