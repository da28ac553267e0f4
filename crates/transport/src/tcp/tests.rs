//! Tests of what is TCP's alone.

use super::*;
use crate::identity::Peer;
use weft_base::SystemClock;

fn network() -> TcpNetwork {
    TcpNetwork::new(TcpOptions::default(), Arc::new(SystemClock::new())).unwrap()
}

#[test]
fn plain_bytes_cross_loopback() {
    let mut net = network();
    let (listener, address) = net.listen("127.0.0.1:0", &Security::Plain, Accept::Hubs).unwrap();
    let dialled = net.dial(&address, &Security::Plain, None).unwrap();
    let (mut ready, mut accepted, mut connected) = (Vec::new(), None, false);
    while accepted.is_none() || !connected {
        net.poll(None, &mut ready).unwrap();
        for event in &ready {
            match event {
                Ready::Accepted { link, listener: at, peer } => {
                    assert_eq!((*at, peer), (listener, &Peer::anonymous()));
                    accepted = Some(*link);
                }
                Ready::Connected { link, .. } => connected = *link == dialled,
                other => panic!("{other:?}"),
            }
        }
    }
    let accepted = accepted.unwrap();
    assert_eq!(net.write(dialled, &[IoSlice::new(b"he"), IoSlice::new(b"llo")]), WriteOutcome::Bytes(5));
    net.poll(None, &mut ready).unwrap();
    assert_eq!(ready, [Ready::Readable(accepted)]);
    let mut buf = [0; 16];
    assert_eq!(net.read(accepted, &mut buf), ReadOutcome::Bytes(5));
    assert_eq!(&buf[..5], b"hello");
    net.close(dialled);
    assert_eq!(net.closing(), 1);
    net.poll(None, &mut ready).unwrap();
    assert_eq!(net.read(accepted, &mut buf), ReadOutcome::Closed(CloseReason::PeerClosed));
    while net.closing() > 0 {
        net.poll(None, &mut ready).unwrap();
    }
}
