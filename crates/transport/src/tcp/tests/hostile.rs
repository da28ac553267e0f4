//! Peers that do not speak TLS, or not properly.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::*;
use crate::conformance::{Stage, pattern};
use crate::identity::PeerKind;
use weft_base::Random;

fn listening() -> (Stage<Loopback>, String) {
    let mut stage = Stage::new(Loopback::new(true));
    stage.add(Limits::default());
    let (_, address) = stage.listen(0);
    (stage, address)
}

/// The reason for which the next peer is refused that sends these bytes and
/// then no more.
fn refusal_of(stage: &mut Stage<Loopback>, address: &str, bytes: &[u8]) -> (CloseReason, TcpStream) {
    let mut peer = TcpStream::connect(address).unwrap();
    peer.write_all(bytes).unwrap();
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    stage.nodes[0].seen.clear();
    let reason = stage.until("the refusal", |stage| stage.nodes[0].refused().first().cloned());
    (reason, peer)
}

#[test]
fn bytes_that_are_not_tls_are_said_to_be_so() {
    let (mut stage, address) = listening();
    let zeros = [0; 4096];
    for bytes in [&b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n"[..], b"\x00", b"\xff\xff\xff\xff\xff\xff", &zeros] {
        let (reason, mut peer) = refusal_of(&mut stage, &address, bytes);
        if bytes.len() >= 5 {
            assert_eq!(reason, CloseReason::NotTls, "{bytes:?}");
            // The peer is told in TLS's way: a fatal alert, then the end.
            let mut answer = Vec::new();
            peer.read_to_end(&mut answer).unwrap();
            assert_eq!(answer.first(), Some(&21), "{answer:?}");
        }
    }
    assert!(stage.nodes[0].accepted().is_empty());
}

#[test]
fn a_peer_that_goes_away_in_the_handshake_is_said_to_be_so() {
    let (mut stage, address) = listening();
    let (reason, _) = refusal_of(&mut stage, &address, b"");
    assert_eq!(reason, CloseReason::Truncated);
}

/// The first bytes that a client of ours sends.
fn hello(stage: &Stage<Loopback>) -> Vec<u8> {
    let Security::Tls(identity) = stage.security(PeerKind::Hub, "n9", &[]) else { panic!("no identity") };
    let clock: Arc<dyn Clock> = Arc::new(stage.rig.clock.clone());
    let mut client = crate::tls::client(&identity, "127.0.0.1", None, &clock).unwrap();
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

#[test]
fn an_older_tls_is_refused_by_its_name() {
    let (mut stage, address) = listening();
    let mut bytes = hello(&stage);
    // The extension `supported_versions`, which offers TLS 1.3 alone.
    let offer = [0x00, 0x2b, 0x00, 0x03, 0x02, 0x03, 0x04];
    let at = bytes.windows(offer.len()).position(|window| window == offer).unwrap();
    bytes[at + offer.len() - 1] = 0x03;
    let (reason, _) = refusal_of(&mut stage, &address, &bytes);
    assert!(matches!(reason, CloseReason::NoCommonTls { .. }), "{reason}");
    assert!(reason.to_string().contains("TLS 1.3 is needed"), "{reason}");
}

#[test]
fn a_peer_without_a_certificate_is_refused() {
    let (mut stage, address) = listening();
    let Security::Tls(identity) = stage.security(PeerKind::Hub, "n9", &[]) else { panic!("no identity") };
    let provider = crate::tls::provider();
    let verifier = crate::tls::DialledPeer::new(&identity.credentials(), Some("n0"), &provider).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(stage.rig.clock.clone());
    let config = rustls::ClientConfig::builder_with_details(provider, crate::tls::time_provider(&clock))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    let host = "127.0.0.1".try_into().unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), host).unwrap();
    let mut peer = TcpStream::connect(&address).unwrap();
    // It waits for the hub, which this thread drives.
    let thread = std::thread::spawn(move || {
        while client.is_handshaking() {
            client.complete_io(&mut peer).unwrap();
        }
        loop {
            if let Err(e) = client.complete_io(&mut peer) {
                return e.to_string();
            }
        }
    });
    let reason = stage.until("the refusal", |stage| stage.nodes[0].refused().first().cloned());
    assert_eq!(reason, CloseReason::NoCertificate);
    let told = thread.join().unwrap();
    assert!(told.contains("CertificateRequired"), "{told}");
}

#[test]
fn a_damaged_hello_ends_one_handshake_and_nothing_else() {
    let (mut stage, address) = listening();
    let good = hello(&stage);
    let mut random = Random::from_seed(11);
    for _ in 0..150 {
        let mut bytes = good.clone();
        for _ in 0..1 + random.below(4) {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << random.below(8);
        }
        bytes.truncate(1 + random.below(bytes.len() as u64) as usize);
        // Whatever the reason: it is one, and the listener lives.
        let (reason, _) = refusal_of(&mut stage, &address, &bytes);
        assert!(!reason.to_string().is_empty());
    }
    assert!(stage.nodes[0].accepted().is_empty());
    stage.add(Limits::default());
    stage.link(1, 0, &address);
}

#[test]
fn a_handshake_in_single_bytes_is_a_handshake() {
    let (mut stage, address) = listening();
    let mut peer = TcpStream::connect(&address).unwrap();
    let mut answer = [0; 1];
    for byte in hello(&stage) {
        peer.write_all(&[byte]).unwrap();
        stage.turn();
    }
    peer.set_nonblocking(true).unwrap();
    stage.until("the hub's answer", |_| peer.read(&mut answer).is_ok().then_some(()));
    assert_eq!(answer, [22], "a handshake record");
    assert!(stage.nodes[0].refused().is_empty());
}

#[test]
fn a_process_that_ends_is_told_from_a_link_that_is_closed() {
    let (mut stage, near, far) = Stage::linked(Loopback::new(true));
    stage.nodes[0].net.close(near);
    assert_eq!(stage.end_of(1, far), CloseReason::PeerClosed);
    let (mut stage, _, far) = Stage::linked(Loopback::new(true));
    drop(stage.nodes.remove(0));
    assert_eq!(stage.end_of(0, far), CloseReason::Truncated);
}

/// Stands between two ends and counts the records that pass.
struct Between {
    pipes: [(TcpStream, TcpStream, Vec<u8>); 2],
}

impl Between {
    fn pass(&mut self) {
        for (from, to, seen) in &mut self.pipes {
            let mut buf = [0; 65_536];
            while let Ok(n @ 1..) = from.read(&mut buf) {
                seen.extend_from_slice(&buf[..n]);
                to.write_all(&buf[..n]).unwrap();
            }
        }
    }

    /// The lengths of the application's records that passed from the dialling side.
    fn records(&self) -> Vec<usize> {
        let (mut rest, mut records) = (&self.pipes[0].2[..], Vec::new());
        while let [kind, _, _, high, low, ..] = rest {
            let len = usize::from(u16::from_be_bytes([*high, *low]));
            if *kind == 23 {
                records.push(len);
            }
            rest = &rest[(5 + len).min(rest.len())..];
        }
        records
    }
}

#[test]
fn one_write_goes_out_in_full_records() {
    let mut stage = Stage::new(Loopback::new(true));
    stage.add(Limits::default());
    stage.add(Limits::default());
    let (_, address) = stage.listen(1);
    let middle = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let near = stage.dial(0, &middle.local_addr().unwrap().to_string());
    let (dialled, _) = middle.accept().unwrap();
    let onward = TcpStream::connect(&address).unwrap();
    // Written to in whole pieces, read from without waiting.
    for stream in [&dialled, &onward] {
        stream.set_nonblocking(true).unwrap();
    }
    let clone = |stream: &TcpStream| stream.try_clone().unwrap();
    let pipes = [(clone(&dialled), clone(&onward), Vec::new()), (onward, dialled, Vec::new())];
    let mut between = Between { pipes };
    let far = stage.until("the link", |stage| {
        between.pass();
        stage.nodes[0].connected(near)?;
        stage.nodes[1].accepted().first().map(|(link, _)| *link)
    });
    let handshake = between.records().len();

    // 48 slices of 1,000 bytes: two full records and a rest.
    let data = pattern(48_000);
    let slices: Vec<_> = data.chunks(1000).map(IoSlice::new).collect();
    assert_eq!(stage.nodes[0].net.write(near, &slices), WriteOutcome::Bytes(48_000));
    let mut got = Vec::new();
    stage.until("the data", |stage| {
        between.pass();
        let mut buf = vec![0; 100_000];
        while let ReadOutcome::Bytes(n) = stage.nodes[1].net.read(far, &mut buf) {
            got.extend_from_slice(&buf[..n]);
        }
        (got.len() == data.len()).then_some(())
    });
    assert!(got == data);
    // A record's content, one byte of its type, and 16 of the cipher's tag.
    let expected = [16_384 + 17, 16_384 + 17, 48_000 - 2 * 16_384 + 17];
    assert_eq!(between.records()[handshake..], expected);
}
