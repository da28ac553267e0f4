//! Datagrams that are garbage, cut, changed, repeated or too many; peers that
//! move; and hubs that were started again.

use std::net::SocketAddr;
use std::time::Duration;

use weft_base::Random;

use super::first_flight;
use super::memory::InMemory;
use crate::conformance::{Limits, Stage, listen, pattern};
use crate::identity::PeerKind;
use crate::network::{Accept, LinkToken, Network};
use crate::quic::target_of;
use crate::reason::CloseReason;

fn at(address: &str) -> SocketAddr {
    target_of(address).unwrap().parse().unwrap()
}

/// Two endpoints of which the second listens for those.
fn two(rig: InMemory, limits: Limits, accept: Accept) -> (Stage<InMemory>, String) {
    let mut stage = Stage::new(rig);
    stage.add(Limits::default());
    stage.add(limits);
    let security = stage.hub(1);
    let (_, address) = listen(&mut stage.nodes[1].net, "quic:127.0.0.1:0", &security, accept);
    (stage, address)
}

/// Sends the first datagrams of a handshake, from an address of their own.
fn knock(stage: &Stage<InMemory>, address: &str) {
    let flight = first_flight(&stage.rig.shore.world().clock(), at(address));
    let mut world = stage.rig.shore.world();
    let from = world.free();
    flight.iter().for_each(|datagram| world.send(from, at(address), datagram));
}

#[test]
fn garbage_and_changed_and_repeated_datagrams_change_nothing() {
    let (mut stage, address) = two(InMemory::new(), Limits::default(), Accept::Both);
    stage.rig.shore.world().tapped = Some(Vec::new());
    let (near, far) = stage.link(0, 1, &address);
    assert!(stage.carry((0, near), (1, far), &pattern(20_000)) == pattern(20_000));
    let seen = stage.rig.shore.world().tapped.take().unwrap();
    assert!(seen.len() > 10, "a handshake and some data");
    let mut random = Random::from_seed(7);
    for (count, (from, to, datagram)) in seen.iter().enumerate() {
        let mut world = stage.rig.shore.world();
        let stranger = world.free();
        // From where it came and from elsewhere: as it was, cut, and changed.
        for from in [*from, stranger] {
            world.send(from, *to, datagram);
            world.send(from, *to, &datagram[..random.below(datagram.len() as u64) as usize]);
            let mut changed = datagram.clone();
            let place = random.below(changed.len() as u64) as usize;
            changed[place] ^= 1 << (count % 8);
            world.send(from, *to, &changed);
            let garbage: Vec<u8> = (0..random.below(1400)).map(|_| random.next_u64() as u8).collect();
            world.send(from, *to, &garbage);
        }
        drop(world);
        stage.turn();
    }
    let after = pattern(30_000);
    assert!(stage.carry((0, near), (1, far), &after) == after, "the link goes on");
    assert!(stage.carry((1, far), (0, near), &after) == after);
    assert_eq!(stage.nodes[1].accepted().len(), 1, "nobody came in by what another had sent");
    stage.link(0, 1, &address);
}

#[test]
fn a_flood_of_first_datagrams_takes_no_more_than_the_bound() {
    let limits = Limits { handshakes: 8, ..Limits::default() };
    let (mut stage, address) = two(InMemory::new(), limits, Accept::Both);
    let clock = stage.rig.shore.world().clock();
    for _ in 0..200 {
        knock(&stage, &address);
        stage.turn();
        assert!(stage.nodes[1].net.quic.handshakes <= 8);
    }
    assert_eq!(stage.nodes[1].net.quic.handshakes, 8);
    // They run out of time, and nothing of them is left.
    clock.advance(Duration::from_secs(6));
    stage.until("the end of all", |stage| (stage.nodes[1].net.quic.handshakes == 0).then_some(()));
    assert_eq!(stage.nodes[1].net.quic.len(), 0);
    stage.link(0, 1, &address);
}

#[test]
fn who_forges_addresses_takes_no_places_of_others() {
    let mut rig = InMemory::new();
    rig.retry_from = Some(None);
    let (mut stage, address) = two(rig, Limits { connections: 8, ..Limits::default() }, Accept::Both);
    for _ in 0..50 {
        knock(&stage, &address);
        stage.turn();
    }
    assert_eq!(stage.nodes[1].net.quic.len(), 2, "a quarter of the places");
    for _ in 0..6 {
        stage.link(0, 1, &address);
    }
    assert_eq!(stage.nodes[1].refused(), []);
}

#[test]
fn handshakes_under_way_leave_half_of_the_places_and_no_words_of_forged_addresses() {
    let mut rig = InMemory::new();
    rig.retry_from = Some(Some(64));
    let (mut stage, address) = two(rig, Limits { connections: 8, ..Limits::default() }, Accept::Both);
    for _ in 0..50 {
        knock(&stage, &address);
        stage.turn();
    }
    assert_eq!(stage.nodes[1].net.quic.len(), 4);
    assert_eq!(stage.nodes[1].refused(), []);
}

#[test]
fn a_full_endpoint_says_so_only_to_who_shows_where_it_is() {
    let limits = Limits { connections: 1, ..Limits::default() };
    let (mut stage, address) = two(InMemory::new(), limits, Accept::Both);
    stage.link(0, 1, &address);
    knock(&stage, &address);
    stage.turn();
    stage.turn();
    assert_eq!(stage.nodes[1].refused(), []);
}

#[test]
fn an_error_of_the_port_does_not_leave_what_lies_behind_it() {
    let (mut stage, address) = two(InMemory::new(), Limits::default(), Accept::Both);
    let clock = stage.rig.shore.world().clock();
    let flight = first_flight(&clock, at(&address));
    let mut world = stage.rig.shore.world();
    let from = world.free();
    world.fail(at(&address), std::io::ErrorKind::HostUnreachable);
    flight.iter().for_each(|datagram| world.send(from, at(&address), datagram));
    drop(world);
    stage.turn();
    assert_eq!(stage.nodes[1].net.quic.handshakes, 1, "it is read in the same turn");
}

#[test]
fn under_load_a_peer_first_shows_where_it_is() {
    let mut rig = InMemory::new();
    rig.retry_from = Some(Some(0));
    let (mut stage, address) = two(rig, Limits::default(), Accept::Both);
    stage.rig.shore.world().tapped = Some(Vec::new());
    knock(&stage, &address);
    stage.turn();
    stage.turn();
    assert_eq!(stage.nodes[1].net.quic.handshakes, 0, "who did not answer has no state here");
    let answers = stage.rig.shore.world().tapped.take().unwrap();
    let retries = answers.iter().filter(|(from, ..)| *from == at(&address));
    assert!(retries.count() > 0, "it was asked to show where it is");
    stage.link(0, 1, &address);
}

#[test]
fn a_hub_that_was_started_again_tells_its_peers() {
    let mut stage = Stage::new(InMemory::new());
    stage.add(Limits::default());
    stage.add(Limits::default());
    let security = stage.security(PeerKind::Hub, "again", &["127.0.0.1"]);
    let (_, address) = listen(&mut stage.nodes[1].net, "quic:127.0.0.1:0", &security, Accept::Both);
    let (near, _) = stage.link(0, 1, &address);
    // It dies without a word.
    stage.rig.shore.world().cut = true;
    drop(stage.nodes.remove(1));
    stage.rig.shore.world().cut = false;
    stage.add(Limits::default());
    listen(&mut stage.nodes[1].net, &address, &security, Accept::Both);
    stage.nodes[0].net.write(near, &[std::io::IoSlice::new(&pattern(3_000))]);
    assert_eq!(stage.end_of(0, near), CloseReason::Reset);
}

/// A link of node 0, whose address changes; whether its bytes still arrive.
fn moves(accept: Accept, kind: PeerKind) -> bool {
    let (mut stage, address) = two(InMemory::new(), Limits::default(), accept);
    let security = stage.security(kind, "mover", &["127.0.0.1"]);
    stage.rig.shore.world().tapped = Some(Vec::new());
    let near = stage.nodes[0].net.dial(&address, &security, None).unwrap();
    let far: LinkToken = stage.until("the link", |stage| {
        stage.nodes[0].connected(near)?;
        stage.nodes[1].accepted().first().map(|(link, _)| *link)
    });
    let mut world = stage.rig.shore.world();
    let own = world.tapped.take().unwrap().first().unwrap().0;
    let seen = world.free();
    world.moved = Some((own, seen));
    drop(world);
    stage.nodes[0].net.write(near, &[std::io::IoSlice::new(b"here I am")]);
    for _ in 0..3_000 {
        stage.turn();
        let mut buf = [0; 20];
        if stage.nodes[1].net.read(far, &mut buf) == crate::ReadOutcome::Bytes(9) {
            return true;
        }
    }
    false
}

#[test]
fn a_client_may_move_and_a_hub_may_not() {
    assert!(moves(Accept::Clients, PeerKind::Client));
    assert!(!moves(Accept::Hubs, PeerKind::Hub));
}
