//! Checks of who is let in. They do nothing for a rig without TLS, but for
//! those that are about having none.

use std::time::Duration;

use weft_base::sync::Arc;

use super::{Limits, Rig, Stage, VALID_FOR, authority, issue, listen, name_of};
use crate::ca::Issued;
use crate::identity::{Peer, PeerKind, TlsIdentity};
use crate::network::{Accept, DialError, LinkToken, ListenError, Network, Security};
use crate::reason::CloseReason;
use crate::tls::LOOKS;

/// Two endpoints of which the second listens.
fn two<R: Rig>(rig: R, accept: Accept) -> (Stage<R>, String) {
    let mut stage = Stage::new(rig);
    stage.add(Limits::default());
    stage.add(Limits::default());
    let (address, security) = (stage.rig.address(&name_of(1)), stage.hub(1));
    let (_, address) = listen(&mut stage.nodes[1].net, &address, &security, accept);
    (stage, address)
}

fn dial<R: Rig>(stage: &mut Stage<R>, address: &str, security: &Security, expect: Option<&str>) -> LinkToken {
    match stage.nodes[0].net.dial(address, security, expect) {
        Ok(link) => link,
        Err(e) => panic!("dialling `{address}`: {e}"),
    }
}

/// What both sides say of a dial that must fail: the one that dialled, and
/// the one that was dialled.
fn both_reasons<R: Rig>(
    stage: &mut Stage<R>,
    address: &str,
    security: &Security,
    expect: Option<&str>,
) -> (CloseReason, CloseReason) {
    let link = dial(stage, address, security, expect);
    let far = stage.until("a refusal", |stage| stage.nodes[1].refused().first().cloned());
    (stage.end_of(0, link), far)
}

/// A refusal by the far side, in words that contain `part`.
fn refused_with(reason: &CloseReason, part: &str) {
    match reason {
        CloseReason::RefusedByPeer { detail } => assert!(detail.contains(part), "{detail}"),
        other => panic!("{other}"),
    }
}

/// Each side learns the other's kind, name and end; without TLS nothing.
pub fn peers_are_named<R: Rig>(rig: R) {
    let (mut stage, address) = two(rig, Accept::Both);
    let security = stage.security(PeerKind::Client, "reader-1", &[]);
    let link = dial(&mut stage, &address, &security, None);
    let (hub, client) = stage.until("the link", |stage| {
        let (_, client) = stage.nodes[1].accepted().first().cloned()?;
        Some((stage.nodes[0].connected(link)?, client))
    });
    if !stage.rig.secure() {
        assert_eq!((hub, client), (Peer::anonymous(), Peer::anonymous()));
        return;
    }
    let expires = Some(weft_base::UnixNanos(super::START.0 + VALID_FOR.as_nanos() as u64));
    let of = |kind: PeerKind, name: String| Peer { kind, subject: Some(format!("{kind} {name}")), name, expires };
    assert_eq!(hub, of(PeerKind::Hub, name_of(1)));
    assert_eq!(client, of(PeerKind::Client, "reader-1".to_owned()));
}

/// Where clients are expected, a hub is refused.
pub fn a_clients_port_is_for_clients<R: Rig>(rig: R) {
    if !rig.secure() {
        return;
    }
    let (mut stage, address) = two(rig, Accept::Clients);
    let hub = stage.hub(0);
    let (near, far) = both_reasons(&mut stage, &address, &hub, None);
    refused_with(&near, "name or kind");
    let (found, expected) = (PeerKind::Hub, PeerKind::Client);
    assert_eq!(far, CloseReason::WrongKind { found, expected, name: name_of(0) });
    let client = stage.security(PeerKind::Client, "reader-1", &[]);
    let link = dial(&mut stage, &address, &client, None);
    stage.until("the client's link", |stage| stage.nodes[0].connected(link));
}

/// A client without a certificate of its own is let in where any client is, and is
/// nobody; it checks the hub all the same. Elsewhere it is refused.
pub fn a_guest_is_let_in_where_any_client_is<R: Rig>(rig: R) {
    if !rig.secure() {
        return;
    }
    let (mut stage, address) = two(rig, Accept::AnyClients);
    let guest = guest_of(&stage.ca);
    let link = dial(&mut stage, &address, &guest, None);
    let (hub, client) = stage.until("the link", |stage| {
        let (_, client) = stage.nodes[1].accepted().first().cloned()?;
        Some((stage.nodes[0].connected(link)?, client))
    });
    assert_eq!((hub.name, client), (name_of(1), Peer::guest()));
    let strange = guest_of(&super::authority("strange", stage.now()));
    let (near, _) = both_reasons(&mut stage, &address, &strange, None);
    assert_eq!(near, CloseReason::UnknownIssuer);
    for accept in [Accept::Clients, Accept::Hubs, Accept::Both] {
        let (address, security) = (stage.rig.address("n1"), stage.hub(1));
        let (_, address) = listen(&mut stage.nodes[1].net, &address, &security, accept);
        stage.nodes[1].seen.clear();
        let (_, far) = both_reasons(&mut stage, &address, &guest, None);
        assert_eq!(far, CloseReason::NoCertificate);
    }
}

/// A client that has only an authority's certificate.
fn guest_of(ca: &crate::ca::Authority) -> Security {
    match TlsIdentity::authority(ca.certificate_pem().as_bytes()) {
        Ok(identity) => Security::Tls(Arc::new(identity)),
        Err(e) => panic!("an authority: {e}"),
    }
}

/// Where a hub is expected, a client is refused, whether it dials or is dialled.
pub fn a_client_in_place_of_a_hub_is_refused<R: Rig>(rig: R) {
    if !rig.secure() {
        return;
    }
    let (mut stage, address) = two(rig, Accept::Hubs);
    let client = stage.security(PeerKind::Client, "reader-1", &[&stage.rig.host("n1")]);
    let (near, far) = both_reasons(&mut stage, &address, &client, None);
    refused_with(&near, "name or kind");
    let wrong = CloseReason::WrongKind { found: PeerKind::Client, expected: PeerKind::Hub, name: "reader-1".into() };
    assert_eq!(far, wrong);

    // A client that listens as if it were a hub.
    let address = stage.rig.address("n1");
    let (_, address) = listen(&mut stage.nodes[1].net, &address, &client, Accept::Both);
    stage.nodes[1].seen.clear();
    let hub = stage.hub(0);
    let (near, far) = both_reasons(&mut stage, &address, &hub, None);
    assert_eq!(near, wrong);
    refused_with(&far, "name or kind");
}

/// Another hub than the one expected is refused; the right one is taken, and
/// then its host does not matter.
pub fn another_hub_is_refused<R: Rig>(rig: R) {
    if !rig.secure() {
        return;
    }
    let (mut stage, _) = two(rig, Accept::Both);
    let security = stage.security(PeerKind::Hub, "n1", &["elsewhere.example"]);
    let address = stage.rig.address("n1");
    let (_, address) = listen(&mut stage.nodes[1].net, &address, &security, Accept::Both);
    let hub = stage.hub(0);
    let (near, far) = both_reasons(&mut stage, &address, &hub, Some("n7"));
    assert_eq!(near, CloseReason::WrongName { found: "n1".to_owned(), expected: "n7".to_owned() });
    refused_with(&far, "name or kind");
    let link = dial(&mut stage, &address, &hub, Some("n1"));
    stage.until("the link", |stage| stage.nodes[0].connected(link));
}

/// With no hub expected by name, the certificate must name the host.
pub fn a_host_not_in_the_certificate_is_refused<R: Rig>(rig: R) {
    if !rig.secure() {
        return;
    }
    let (mut stage, _) = two(rig, Accept::Both);
    let security = stage.security(PeerKind::Hub, "n1", &["elsewhere.example"]);
    let address = stage.rig.address("n1");
    let (_, address) = listen(&mut stage.nodes[1].net, &address, &security, Accept::Both);
    let hub = stage.hub(0);
    let (near, _) = both_reasons(&mut stage, &address, &hub, None);
    assert_eq!(near, CloseReason::WrongHost { hub: "n1".to_owned(), host: stage.rig.host("n1") });
}

/// Certificates of another authority are refused, on either side, also when
/// that authority has the same name.
pub fn a_foreign_authority_is_refused<R: Rig>(rig: R) {
    if !rig.secure() {
        return;
    }
    let (mut stage, address) = two(rig, Accept::Both);
    for name in ["test", "other"] {
        let (foreign, now) = (authority(name, stage.now()), stage.now());
        // The one that dials has a foreign certificate, and trusts ours.
        stage.nodes[1].seen.clear();
        let dialler = issue(&foreign, &stage.ca, PeerKind::Hub, "n0", &[], now);
        let (near, far) = both_reasons(&mut stage, &address, &dialler, None);
        assert_eq!(far, CloseReason::UnknownIssuer);
        refused_with(&near, "certificate authority");
        // The one that is dialled has ours, and the one that dials trusts another.
        stage.nodes[1].seen.clear();
        let dialler = issue(&foreign, &foreign, PeerKind::Hub, "n0", &[], now);
        let (near, far) = both_reasons(&mut stage, &address, &dialler, None);
        assert_eq!(near, CloseReason::UnknownIssuer);
        refused_with(&far, "certificate authority");
    }
}

/// Certificates past their time are refused, on either side.
pub fn an_expired_certificate_is_refused<R: Rig>(rig: R) {
    if !rig.secure() {
        return;
    }
    let (mut stage, _) = two(rig, Accept::Both);
    let old = stage.hub(0);
    stage.rig.clock().advance(VALID_FOR + Duration::from_secs(100));
    let (_, address) = stage.listen(1);
    let (near, far) = both_reasons(&mut stage, &address, &old, None);
    assert!(matches!(far, CloseReason::CertificateExpired { seconds_ago: 99..=101 }), "{far}");
    refused_with(&near, "expired");

    let old = stage.hub(1);
    let address = stage.rig.address("n1");
    let (_, address) = listen(&mut stage.nodes[1].net, &address, &old, Accept::Both);
    stage.rig.clock().advance(VALID_FOR - Duration::from_secs(50));
    let new = stage.hub(0);
    stage.rig.clock().advance(Duration::from_secs(60));
    stage.nodes[1].seen.clear();
    let (near, far) = both_reasons(&mut stage, &address, &new, None);
    assert!(matches!(near, CloseReason::CertificateExpired { seconds_ago: 9..=11 }), "{near}");
    refused_with(&far, "expired");
}

/// Certificates before their time are refused.
pub fn a_certificate_too_early_is_refused<R: Rig>(rig: R) {
    if !rig.secure() {
        return;
    }
    let (mut stage, address) = two(rig, Accept::Both);
    let later = weft_base::UnixNanos(stage.now().0 + 1_000_000_000_000);
    let early = issue(&stage.ca, &stage.ca, PeerKind::Hub, "n0", &[], later);
    let (near, far) = both_reasons(&mut stage, &address, &early, None);
    assert!(matches!(far, CloseReason::CertificateNotYetValid { seconds: 699..=701 }), "{far}");
    refused_with(&near, "not valid yet");
}

/// A link is closed when a certificate that it rests on ends, and not before.
pub fn a_link_ends_with_its_certificate<R: Rig>(rig: R) {
    if !rig.secure() {
        return;
    }
    let (mut stage, near, far) = Stage::linked(rig);
    stage.settle_reads(0, near);
    stage.settle_reads(1, far);
    stage.rig.clock().advance(VALID_FOR - Duration::from_secs(10));
    stage.settle();
    assert!(stage.carry((0, near), (1, far), b"valid") == b"valid");
    stage.rig.clock().advance(Duration::from_secs(10));
    for (at, link) in [(0, near), (1, far)] {
        let reason = stage.until("the end", |stage| stage.nodes[at].closed(link));
        assert!(matches!(reason, CloseReason::CertificateExpired { .. }), "{reason}");
    }
}

/// A hub's identity, valid for so much longer than others, of an authority that
/// has revoked these certificates.
fn hub_of<R: Rig>(stage: &Stage<R>, at: usize, longer: Duration, revoked: &[&Issued]) -> (TlsIdentity, Issued) {
    let (name, host, now) = (name_of(at), stage.rig.host(&name_of(at)), stage.now());
    let made = stage.ca.issue(PeerKind::Hub, &name, &[&host], now, VALID_FOR + longer).and_then(|issued| {
        let revoked: Vec<&str> = revoked.iter().map(|issued| issued.certificate.as_str()).collect();
        Ok((issued, stage.ca.revoke(None, &revoked, now)?))
    });
    let (issued, list) = made.unwrap_or_else(|e| panic!("a certificate: {e}"));
    let (cert, key) = (issued.certificate.as_bytes(), issued.key.as_bytes());
    let root = stage.ca.certificate_pem().as_bytes();
    match TlsIdentity::from_pem_revoking(cert, key, root, Some(list.as_bytes())) {
        Ok(identity) => (identity, issued),
        Err(e) => panic!("an identity: {e}"),
    }
}

/// Two hubs that listen with identities of their own.
fn two_hubs<R: Rig>(stage: &mut Stage<R>) -> ([(Arc<TlsIdentity>, Issued); 2], String) {
    let hubs = [0, 1].map(|at| {
        let (identity, issued) = hub_of(stage, at, Duration::ZERO, &[]);
        (Arc::new(identity), issued)
    });
    let address = stage.rig.address(&name_of(1));
    let security = Security::Tls(hubs[1].0.clone());
    let (_, address) = listen(&mut stage.nodes[1].net, &address, &security, Accept::Hubs);
    (hubs, address)
}

fn replace(identity: &TlsIdentity, by: &TlsIdentity) {
    if let Err(e) = identity.replace(by) {
        panic!("replacing: {e}");
    }
}

/// An identity that is replaced counts for the next link, at the listener and
/// at the side that dials, and a link that is up stays.
pub fn a_replaced_identity_counts_for_new_links<R: Rig>(rig: R) {
    if !rig.secure() {
        return;
    }
    let (mut stage, _) = two(rig, Accept::Both);
    let (hubs, address) = two_hubs(&mut stage);
    let dialler = Security::Tls(hubs[0].0.clone());
    let old = dial(&mut stage, &address, &dialler, None);
    stage.until("the link", |stage| stage.nodes[0].connected(old));
    let far = stage.until("the link", |stage| stage.nodes[1].accepted().first().map(|(link, _)| *link));
    let longer = Duration::from_secs(100);
    for (at, (identity, _)) in hubs.iter().enumerate() {
        replace(identity, &hub_of(&stage, at, longer, &[]).0);
    }
    let new = dial(&mut stage, &address, &dialler, None);
    let hub = stage.until("the new link", |stage| stage.nodes[0].connected(new));
    let other = stage.until("the new link", |stage| stage.nodes[1].accepted().get(1).map(|(_, peer)| peer.clone()));
    assert_eq!([other, hub], [0, 1].map(|at: usize| hubs[at].0.me()));
    assert!(stage.carry((0, old), (1, far), b"still up") == b"still up");
}

/// A peer whose certificate is on the list of those that were revoked is
/// refused, on either side.
pub fn a_revoked_peer_is_refused<R: Rig>(rig: R) {
    if !rig.secure() {
        return;
    }
    let (mut stage, _) = two(rig, Accept::Both);
    let (hubs, address) = two_hubs(&mut stage);
    let dialler = Security::Tls(hubs[0].0.clone());
    replace(&hubs[1].0, &hub_of(&stage, 1, Duration::ZERO, &[&hubs[0].1]).0);
    let (near, far) = both_reasons(&mut stage, &address, &dialler, None);
    assert_eq!(far, CloseReason::CertificateRevoked);
    refused_with(&near, "revoked");

    let (second, issued) = hub_of(&stage, 1, Duration::ZERO, &[]);
    replace(&hubs[1].0, &second);
    replace(&hubs[0].0, &hub_of(&stage, 0, Duration::ZERO, &[&issued]).0);
    stage.nodes[1].seen.clear();
    let (near, far) = both_reasons(&mut stage, &address, &dialler, None);
    assert_eq!(near, CloseReason::CertificateRevoked);
    refused_with(&far, "revoked");
}

/// Wherever its handshake stands when a peer is revoked: it is not let in, or
/// not for long.
pub fn a_peer_that_is_revoked_while_it_comes_in_does_not_stay<R: Rig>(rig: R) {
    if !rig.secure() {
        return;
    }
    let (mut stage, _) = two(rig, Accept::Both);
    for turns in 0..12 {
        let (hubs, address) = two_hubs(&mut stage);
        stage.nodes[1].seen.clear();
        dial(&mut stage, &address, &Security::Tls(hubs[0].0.clone()), None);
        for _ in 0..turns {
            stage.turn();
        }
        replace(&hubs[1].0, &hub_of(&stage, 1, Duration::ZERO, &[&hubs[0].1]).0);
        let reason = stage.until("the end", |stage| {
            let node = &stage.nodes[1];
            let ended = node.accepted().first().and_then(|(link, _)| node.closed(*link));
            node.refused().first().cloned().or(ended)
        });
        assert_eq!(reason, CloseReason::CertificateRevoked, "after {turns} turns");
    }
}

/// Links that are up end when their peer's certificate is revoked, however many they are.
pub fn a_link_ends_when_its_peer_is_revoked<R: Rig>(rig: R) {
    if !rig.secure() {
        return;
    }
    let (mut stage, _) = two(rig, Accept::Both);
    for revoking in [0, 1] {
        let (hubs, address) = two_hubs(&mut stage);
        let dialler = Security::Tls(hubs[0].0.clone());
        stage.nodes[1].seen.clear();
        let near: Vec<LinkToken> = (0..LOOKS + 3)
            .map(|_| {
                let near = dial(&mut stage, &address, &dialler, None);
                stage.until("the link", |stage| stage.nodes[0].connected(near));
                near
            })
            .collect();
        let far = stage.until("the links", |stage| {
            let far: Vec<LinkToken> = stage.nodes[1].accepted().into_iter().map(|(link, _)| link).collect();
            (far.len() == near.len()).then_some(far)
        });
        let peer = &hubs[1 - revoking].1;
        replace(&hubs[revoking].0, &hub_of(&stage, revoking, Duration::ZERO, &[peer]).0);
        for link in &[near, far][revoking] {
            let reason = stage.until("the end", |stage| stage.nodes[revoking].closed(*link));
            assert_eq!(reason, CloseReason::CertificateRevoked);
        }
    }
}

/// One side with TLS and one without do not come together, and the side with
/// TLS says why.
pub fn plain_and_tls_do_not_mix<R: Rig>(rig: R) {
    if !rig.secure() {
        return;
    }
    let knows_plain = rig.knows_plain();
    let (mut stage, address) = two(rig, Accept::Both);
    if !knows_plain {
        // There is nothing without TLS to mix with, and that is said.
        let dialled = stage.nodes[0].net.dial(&address, &Security::Plain, None);
        assert!(matches!(dialled, Err(DialError::QuicNeedsTls { .. })), "{dialled:?}");
        let address = stage.rig.address("n1");
        let listens = stage.nodes[1].net.listen(&address, &Security::Plain, Accept::Both);
        assert!(matches!(listens, Err(ListenError::QuicNeedsTls { .. })), "{listens:?}");
        return;
    }
    let plain = dial(&mut stage, &address, &Security::Plain, None);
    stage.until("the plain side to be up", |stage| stage.nodes[0].connected(plain));
    let said = std::io::IoSlice::new(b"hello, this is not TLS");
    stage.nodes[0].net.write(plain, &[said]);
    let reason = stage.until("the refusal", |stage| stage.nodes[1].refused().first().cloned());
    assert_eq!(reason, CloseReason::NotTls);

    let address = stage.rig.address("n1");
    let (_, address) = listen(&mut stage.nodes[1].net, &address, &Security::Plain, Accept::Both);
    let hub = stage.hub(0);
    let link = dial(&mut stage, &address, &hub, None);
    let far = stage.until("the plain link", |stage| stage.nodes[1].accepted().first().map(|(link, _)| *link));
    stage.nodes[1].net.write(far, &[std::io::IoSlice::new(b"hello, this is not TLS")]);
    let reason = stage.until("the end", |stage| stage.nodes[0].closed(link));
    assert_eq!(reason, CloseReason::NotTls);
}
