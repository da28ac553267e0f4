//! Hubs that find each other by names in DNS: by a real server, over real links.

#[path = "../../../transport/src/dns/tests/server.rs"]
mod server;

use std::time::Duration;

use crate::common::mesh::{authority, link_addr, member, until};
use crate::common::{Raw, start, stop};
use server::{Entry, Manner, Server};
use weft_hub::options::{Neighbour, PickOptions};
use weft_hub::{Hub, HubOptions};
use weft_transport::ca::Authority;
use weft_wire::frame::MeshReport;

const SERVICE: &str = "_weft._tcp.mesh.example";

/// Options of a hub that asks this server, which says things that hold for a moment.
fn asking(server: &Server, ca: &Authority, name: &str, listen: &str) -> HubOptions {
    let mut options = member(ca, name, listen, &[]);
    let dns = &mut options.dns;
    (dns.servers, dns.timeout) = (vec![server.address], Duration::from_secs(10));
    (dns.least, dns.most, dns.gone) =
        (Duration::from_millis(20), Duration::from_millis(50), Duration::from_millis(300));
    options.timers.alone = Duration::from_millis(50);
    options
}

/// A hub that keeps links to whatever hubs a name leads to.
fn keeping(server: &Server, ca: &Authority, name: &str, listen: &str, sought: &str) -> Hub {
    let mut options = asking(server, ca, name, listen);
    options.neighbours.push(Neighbour { addr: sought.to_owned(), ..Neighbour::default() });
    start(options)
}

/// The record of a service that leads to a hub: its host is an address, which its
/// certificate names.
fn target(priority: u16, hub: &Hub) -> Entry {
    let addr = link_addr(hub);
    let (host, port) = addr.rsplit_once(':').expect("an address");
    Entry::Service(priority, 1, port.parse().expect("a port"), host.to_owned())
}

fn value(report: &MeshReport<'_>, name: &str) -> Option<u64> {
    report.counters.iter().find(|counter| counter.name == name).map(|counter| counter.value)
}

/// How many links the hub has, by its own count.
fn links(report: &MeshReport<'_>) -> usize {
    report.links.iter().filter(|link| link.from == report.me && link.up).count()
}

/// Waits until the hub has links with so many others, and none of them twice.
fn has_links(hub: &Hub, count: usize) {
    let mut client = Raw::connect(hub, 1);
    let what = format!("{} has {count} links", hub.identity().name);
    until(&mut client, &what, |report| {
        links(report) == count && hub.counters().links.load(std::sync::atomic::Ordering::Relaxed) == count as u64
    });
}

fn counts(hub: &Hub, name: &str, is_so: impl Fn(u64) -> bool) {
    let mut client = Raw::connect(hub, 2);
    until(&mut client, name, |report| value(report, name).is_some_and(&is_so));
}

/// All hubs have one configuration, and the name leads to each of them: there is
/// one link between any two, and none of a hub with itself.
#[test]
fn hubs_named_by_a_service_link_to_each_other_once_as_the_set_changes() {
    let (ca, server) = (authority(), Server::start());
    let sought = format!("srv:{SERVICE}");
    let start = |name: &str| keeping(&server, &ca, name, "127.0.0.1:0", &sought);
    let (boston, chicago) = (start("boston"), start("chicago"));
    counts(&boston, "dns.failed", |times| times > 1);
    server.set(SERVICE, 0, &[target(1, &boston), target(1, &chicago)]);
    has_links(&boston, 1);
    has_links(&chicago, 1);
    // One more is added to DNS, and nothing is started anew.
    let dallas = start("dallas");
    server.set(SERVICE, 0, &[target(1, &boston), target(1, &chicago), target(1, &dallas)]);
    for hub in [&boston, &chicago, &dallas] {
        has_links(hub, 2);
        counts(hub, &format!("dns.{sought}.linked"), |linked| linked == 2);
    }
    // A server that fails, lies or is silent takes nothing away.
    for manner in [Manner::Refuses(2), Manner::Sends(vec![0xff; 40])] {
        server.behave(manner);
        let mut client = Raw::connect(&dallas, 3);
        let failures = format!("dns.{sought}.failures");
        until(&mut client, "look-ups fail", |report| value(report, &failures).is_some_and(|times| times > 8));
        until(&mut client, "links stay", |report| links(report) == 2);
    }
    server.remove(SERVICE);
    server.behave(Manner::Answers);
    has_links(&dallas, 2);
    // One is taken out of DNS: links that lead there by DNS alone end.
    server.set(SERVICE, 0, &[target(1, &boston), target(1, &chicago)]);
    for hub in [&boston, &chicago] {
        counts(hub, &format!("dns.{sought}.hubs"), |hubs| hubs == 2);
    }
    for hub in [boston, chicago, dallas] {
        hub.counters().ledger().balance().expect("every copy is accounted for");
        stop(hub);
    }
}

/// As with a headless service: each address of one name is another hub, all at
/// one port, each with a certificate for the name.
#[test]
fn every_address_of_a_name_is_a_hub_and_one_that_is_taken_away_is_left() {
    let (ca, server) = (authority(), Server::start());
    // A port that is free at three addresses, of which one is taken for each hub.
    let port = (0..50)
        .find_map(|_| {
            let first = std::net::TcpListener::bind("127.0.0.11:0").ok()?;
            let port = first.local_addr().ok()?.port();
            ["127.0.0.12", "127.0.0.13"]
                .iter()
                .all(|ip| std::net::TcpListener::bind((*ip, port)).is_ok())
                .then_some(port)
        })
        .expect("a port");
    let sought = format!("dns:weft-headless:{port}");
    let of = |name: &str, ip: &str| {
        let mut options = asking(&server, &ca, name, &format!("{ip}:{port}"));
        let security = crate::common::mesh::identity_for(&ca, name, &["weft-headless"]);
        (options.hubs.as_mut().expect("it listens").security, options.link_security) =
            (security.clone(), Some(security));
        // As a container that listens at all its addresses, it does not know its own.
        options.advertise = vec![format!("{name}.example:{port}")];
        options.neighbours.push(Neighbour { addr: sought.clone(), ..Neighbour::default() });
        start(options)
    };
    let address = |last: u8| Entry::Address([127, 0, 0, last].into());
    let hubs = [of("a", "127.0.0.11"), of("b", "127.0.0.12"), of("c", "127.0.0.13")];
    server.set("weft-headless", 0, &[address(11), address(12), address(13)]);
    for hub in &hubs {
        has_links(hub, 2);
    }
    let violations: u64 =
        hubs.iter().map(|hub| hub.counters().violations.load(std::sync::atomic::Ordering::Relaxed)).sum();
    assert_eq!(violations, 0, "a hub that finds itself says nothing of it");
    // The last one leaves: both others end what they had dialled.
    let [a, b, c] = hubs;
    stop(c);
    server.set("weft-headless", 0, &[address(11), address(12)]);
    for hub in [&a, &b] {
        counts(hub, &format!("dns.{sought}.hubs"), |hubs| hubs == 2);
        has_links(hub, 1);
    }
    stop(a);
    stop(b);
}

#[test]
fn a_service_is_where_hubs_that_pick_their_links_begin() {
    let (ca, server) = (authority(), Server::start());
    let picking = |name: &str| {
        let mut options = asking(&server, &ca, name, "127.0.0.1:0");
        options.seeds = vec![format!("srv:{SERVICE}")];
        options.pick = Some(PickOptions { probe: Duration::from_millis(20), ..PickOptions::default() });
        start(options)
    };
    let hubs = ["boston", "chicago", "dallas", "houston"].map(picking);
    // Of the first one alone DNS knows, which finds itself and goes on looking.
    counts(&hubs[0], "dns.look_ups", |times| times > 2);
    server.set(SERVICE, 0, &[target(1, &hubs[0])]);
    for hub in &hubs {
        let mut client = Raw::connect(hub, 1);
        until(&mut client, "all are one mesh", |report| report.hubs.iter().filter(|hub| hub.reachable).count() == 4);
    }
    hubs.into_iter().for_each(stop);
}

#[test]
fn the_next_priority_is_linked_while_the_best_is_not_to_be_had() {
    let (ca, server) = (authority(), Server::start());
    let plain = |name: &str| start(member(&ca, name, "127.0.0.1:0", &[]));
    let (best, spare) = (plain("best"), plain("spare"));
    server.set(SERVICE, 0, &[target(1, &best), target(2, &spare)]);
    let me = keeping(&server, &ca, "me", "127.0.0.1:0", &format!("srv:{SERVICE}"));
    let linked = |name: &str| {
        let mut client = Raw::connect(&me, 1);
        until(&mut client, name, |report| {
            links(report) == 1 && report.hubs.iter().any(|hub| hub.name == name && hub.hops == 1)
        });
    };
    linked("best");
    stop(best);
    linked("spare");
    stop(me);
    stop(spare);
}

#[test]
fn a_hub_of_another_authority_is_not_believed_because_dns_names_it() {
    let (ca, other, server) = (authority(), authority(), Server::start());
    let stranger = start(member(&other, "stranger", "127.0.0.1:0", &[]));
    let right = start(member(&ca, "right", "127.0.0.1:0", &[]));
    server.set(SERVICE, 0, &[target(1, &stranger), target(1, &right)]);
    let me = keeping(&server, &ca, "me", "127.0.0.1:0", &format!("srv:{SERVICE}"));
    has_links(&me, 1);
    counts(&me, &format!("circuit.{}.failures", link_addr(&stranger)), |failures| failures > 1);
    has_links(&me, 1);
    has_links(&stranger, 0);
    [me, right, stranger].into_iter().for_each(stop);
}

/// A server that never answers: the hub works, and stops without waiting for it.
#[test]
fn a_server_that_does_not_answer_holds_up_nothing() {
    let (ca, server) = (authority(), Server::start());
    server.behave(Manner::Silent);
    let other = start(member(&ca, "other", "127.0.0.1:0", &[]));
    let mut options = asking(&server, &ca, "me", "127.0.0.1:0");
    options.dns.timeout = Duration::from_secs(600);
    options.neighbours.push(Neighbour { addr: format!("srv:{SERVICE}"), ..Neighbour::default() });
    options.neighbours.push(Neighbour { addr: link_addr(&other), ..Neighbour::default() });
    let me = start(options);
    has_links(&me, 1);
    for _ in 0..4_000 {
        if server.asked() > 0 {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    assert!(server.asked() > 0);
    let mut client = Raw::connect(&me, 5);
    until(&mut client, "it answers, and waits", |report| value(report, "dns.look_ups") == Some(1));
    stop(me);
    stop(other);
}
