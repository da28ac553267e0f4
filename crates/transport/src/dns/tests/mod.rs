//! Look-ups from a real server over real sockets, which answers as it should or
//! in any other way.

mod server;

use proptest::prelude::*;
use weft_base::SystemClock;

use super::*;
use server::{Entry, Manner, Server};

const SERVICE: &str = "srv:_weft._tcp.mesh.example";

fn options(server: &Server) -> DnsOptions {
    DnsOptions { servers: vec![server.address], timeout: Duration::from_secs(20), ..DnsOptions::default() }
}

fn find(sought: &str, options: &DnsOptions) -> Result<Found, LookUpError> {
    let sought = Sought::of(sought).expect("a name").expect("a sound one");
    look_up(&sought, options, &SystemClock::new())
}

fn ip(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}

fn service(priority: u16, target: &str) -> Entry {
    Entry::Service(priority, 1, 7400 + priority, target.to_owned())
}

fn place(address: &str, at: &[IpAddr], priority: u16) -> Place {
    Place { address: address.to_owned(), at: at.to_vec(), priority }
}

#[test]
fn a_service_leads_to_its_targets_in_order_with_their_addresses() {
    for gives_extra in [true, false] {
        let server = Server::start();
        if gives_extra {
            server.give_extra();
        }
        server.set(
            "_weft._tcp.mesh.example",
            20,
            &[service(2, "b.example"), service(1, "A.Example"), service(3, "c.example")],
        );
        server.set("a.example", 17, &[Entry::Address(ip(1)), Entry::Address("2001:db8::1".parse().unwrap())]);
        server.set("A.Example", 17, &[Entry::Address(ip(1)), Entry::Address("2001:db8::1".parse().unwrap())]);
        server.set("b.example", 60, &[Entry::Address(ip(2))]);
        // The third one's addresses nobody knows here.
        let found = find(SERVICE, &options(&server)).expect("found");
        let both = [ip(1), "2001:db8::1".parse().unwrap()];
        let expected =
            [place("a.example:7401", &both, 1), place("b.example:7402", &[ip(2)], 2), place("c.example:7403", &[], 3)];
        assert_eq!((&found.places[..], found.beyond), (&expected[..], 0));
        assert_eq!(found.holds, Duration::from_secs(17), "as long as the first of all that was told");
    }
}

#[test]
fn a_service_of_datagrams_is_dialled_by_quic() {
    let server = Server::start();
    server.set("_hubs._udp.mesh.example", 20, &[service(1, "a.example")]);
    let found = find("srv:_hubs._udp.mesh.example", &options(&server)).expect("found");
    assert_eq!(found.places, [place("quic:a.example:7401", &[], 1)]);
}

#[test]
fn every_address_of_a_name_is_a_place_of_that_name() {
    let server = Server::start();
    server.set("weft-headless", 1, &[Entry::Alias("pods.example".to_owned())]);
    server.set("pods.example", 900, &[1, 2, 3].map(|last| Entry::Address(ip(last))));
    let mut found = find("dns:quic:weft-headless:7400", &options(&server)).expect("found");
    found.places.sort();
    let expected: Vec<Place> = (1..=3).map(|last| place("quic:weft-headless:7400", &[ip(last)], 0)).collect();
    assert_eq!((found.places, found.beyond), (expected, 0));
    assert_eq!(found.holds, DnsOptions::default().least, "the alias holds a second, and the least is more");
    server.remove("weft-headless");
    server.set("weft-headless", 900, &[Entry::Address(ip(4))]);
    let found = find("dns:weft-headless:7400", &options(&server)).expect("found");
    assert_eq!(found.places, [place("weft-headless:7400", &[ip(4)], 0)]);
    assert_eq!(found.holds, DnsOptions::default().most);
}

#[test]
fn of_more_than_the_limit_the_best_are_taken_and_the_rest_is_told() {
    let server = Server::start();
    let all: Vec<Entry> = (0..40).map(|n| service(100 - n, &format!("t{n}.example"))).collect();
    server.set("_weft._tcp.mesh.example", 20, &all);
    server.set("pods", 20, &(0..40).map(|last| Entry::Address(ip(last))).collect::<Vec<_>>());
    let options = DnsOptions { targets: 3, ..options(&server) };
    let found = find(SERVICE, &options).expect("found");
    let priorities: Vec<u16> = found.places.iter().map(|place| place.priority).collect();
    assert_eq!((priorities, found.beyond), (vec![61, 62, 63], 37));
    let found = find("dns:pods:1", &options).expect("found");
    assert_eq!((found.places.len(), found.beyond), (3, 37));
}

#[test]
fn names_that_lead_nowhere_are_told_apart() {
    let server = Server::start();
    let options = options(&server);
    assert!(matches!(find(SERVICE, &options), Err(LookUpError::Unknown { .. })));
    assert!(matches!(find("dns:nobody:1", &options), Err(LookUpError::Unknown { .. })));
    server.set("_weft._tcp.mesh.example", 20, &[Entry::Address(ip(1))]);
    server.set("nobody", 20, &[service(1, "a.example")]);
    assert!(matches!(find(SERVICE, &options), Err(LookUpError::Nothing { kind: "SRV", .. })));
    assert!(matches!(find("dns:nobody:1", &options), Err(LookUpError::Nothing { .. })));
    server.set("_weft._tcp.mesh.example", 20, &[Entry::Service(0, 0, 0, ".".to_owned())]);
    assert!(matches!(find(SERVICE, &options), Err(LookUpError::NotOffered { .. })));
    server.behave(Manner::Refuses(5));
    let error = find(SERVICE, &options).expect_err("refused");
    assert!(matches!(error, LookUpError::Refused { .. }) && error.to_string().contains("REFUSED"), "{error}");
}

#[test]
fn what_does_not_fit_is_asked_for_by_tcp() {
    let server = Server::start();
    server.set("_weft._tcp.mesh.example", 20, &[service(1, "a.example")]);
    server.behave(Manner::Truncates);
    assert_eq!(find(SERVICE, &options(&server)).expect("found").places, [place("a.example:7401", &[], 1)]);
    assert!(server.asked_by_stream() > 0);
}

#[test]
fn answers_to_other_questions_are_not_taken_and_do_not_end_the_wait() {
    let server = Server::start();
    server.set("_weft._tcp.mesh.example", 20, &[service(1, "a.example")]);
    server.behave(Manner::Strays);
    assert_eq!(find(SERVICE, &options(&server)).expect("found").places, [place("a.example:7401", &[], 1)]);
}

#[test]
fn a_server_that_does_not_answer_is_given_up_in_time_and_the_next_one_is_asked() {
    let (silent, server) = (Server::start(), Server::start());
    silent.behave(Manner::Silent);
    server.set("_weft._tcp.mesh.example", 20, &[service(1, "a.example")]);
    let both = DnsOptions { servers: vec![silent.address, server.address], ..options(&server) };
    let both = DnsOptions { timeout: Duration::from_secs(4), ..both };
    assert_eq!(find(SERVICE, &both).expect("found").places.len(), 1);
    let one = DnsOptions { timeout: Duration::from_millis(80), ..options(&silent) };
    let error = find(SERVICE, &one).expect_err("nobody answers");
    assert!(matches!(error, LookUpError::Silent { millis: 80, .. }), "{error}");
    // Nobody is there at all.
    let gone = silent.address;
    drop(silent);
    let one = DnsOptions { servers: vec![gone], ..one };
    assert!(matches!(find(SERVICE, &one), Err(LookUpError::Silent { .. })));
}

#[test]
fn targets_that_are_no_hosts_are_left_out() {
    let server = Server::start();
    let odd = [
        service(1, "a.example"),
        service(2, "b c.example"),
        service(3, "[::1]"),
        Entry::Service(4, 0, 0, "d.example".to_owned()),
    ];
    server.set("_weft._tcp.mesh.example", 20, &odd);
    assert_eq!(find(SERVICE, &options(&server)).expect("found").places, [place("a.example:7401", &[], 1)]);
}

#[test]
fn what_is_written_in_place_of_an_address_is_read_or_refused_with_the_remedy() {
    for address in ["127.0.0.1:1", "quic:a:1", "hub.example.org:7411"] {
        assert_eq!(Sought::of(address), None);
    }
    let host = |host: &str, is_quic| Sought::Host { host: host.to_owned(), port: 7400, is_quic };
    assert_eq!(Sought::of("dns:weft:7400"), Some(Ok(host("weft", false))));
    assert_eq!(Sought::of("dns:quic:weft.:7400"), Some(Ok(host("weft.", true))));
    for wrong in [
        "srv:",
        "srv:mesh.example",
        "srv:_weft.mesh.example",
        "srv:_weft._tcp.",
        "srv:_weft._tcp.a b",
        "srv:_weft._tcp..x",
    ] {
        let said = Sought::of(wrong).expect("a service").expect_err(wrong);
        assert!(said.contains("srv:_SERVICE._tcp.DOMAIN"), "{said}");
    }
    let long = format!("dns:{}:1", "a".repeat(64));
    for wrong in ["dns:", "dns:a", "dns:a:0", "dns:a:70000", "dns:10.0.0.1:1", "dns:[::1]:1", "dns::1", &long] {
        let said = Sought::of(wrong).expect("a name").expect_err(wrong);
        assert!(said.contains("dns:HOST:PORT"), "{said}");
    }
}

#[test]
fn look_ups_wait_elsewhere_and_say_when_they_are_done() {
    let server = Server::start();
    server.set("pods", 20, &[Entry::Address(ip(1))]);
    let (done, woken) = std::sync::mpsc::channel();
    let mut look_ups = LookUps::new(options(&server), Arc::new(SystemClock::new()), move || {
        let _ = done.send(());
    });
    let asked = 3 * Offhand::<Sought, Found, LookUpError>::LIMIT as u64;
    for key in 0..asked {
        look_ups.ask(key, Sought::of("dns:pods:1").unwrap().unwrap());
    }
    let mut found = Vec::new();
    while (found.len() as u64) < asked {
        woken.recv_timeout(Duration::from_secs(60)).expect("an answer");
        found.extend(look_ups.take().into_iter().map(|(key, answer)| (key, answer.expect("found").places.len())));
    }
    found.sort_unstable();
    assert_eq!(found, (0..asked).map(|key| (key, 1)).collect::<Vec<_>>());
}

/// An answer that a server could give, as bytes, and the question.
fn sound() -> (Vec<u8>, &'static str) {
    let server = Server::start();
    let name = "_weft._tcp.mesh.example";
    server.give_extra();
    server.set(name, 20, &[service(1, "a.example"), service(2, "b.example")]);
    server.set("a.example", 20, &[Entry::Address(ip(1))]);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.send_to(&message::question(7, name, Kind::Service).unwrap(), server.address).unwrap();
    let mut bytes = vec![0; 1_500];
    let n = socket.recv(&mut bytes).unwrap();
    bytes.truncate(n);
    (bytes, name)
}

#[test]
fn no_answer_however_broken_is_more_than_refused() {
    let (bytes, name) = sound();
    let read = |bytes: &[u8]| message::read(bytes, 7, name, Kind::Service);
    let message::Said::Answer(whole) = read(&bytes) else { panic!("it is sound") };
    assert_eq!((whole.records.len(), whole.extra.len()), (2, 1));
    for cut in 0..bytes.len() {
        assert!(!matches!(read(&bytes[..cut]), message::Said::Answer(_)), "cut at {cut}");
    }
    // A name that points at itself, and a count of records that are not there.
    let mut loops = bytes.clone();
    loops[12..14].copy_from_slice(&[0xc0, 12]);
    assert!(!matches!(read(&loops), message::Said::Answer(_)));
    let mut many = bytes.clone();
    many[6..8].copy_from_slice(&[0xff, 0xff]);
    assert!(matches!(read(&many), message::Said::Broken(_)));
    proptest!(|(at in 12..bytes.len(), to: u8, more in proptest::collection::vec(any::<u8>(), 0..64))| {
        let mut other = bytes.clone();
        other[at] = to;
        let _ = read(&other);
        let _ = read(&[&bytes[..at], &more].concat());
        let _ = read(&[&[0, 7, 0x80, 0], &more[..]].concat());
    });
}

#[test]
fn a_hostile_server_is_refused_and_the_look_up_ends() {
    let server = Server::start();
    server.set("_weft._tcp.mesh.example", 20, &[service(1, "a.example")]);
    for bytes in [vec![], vec![0x80, 0], vec![0x81, 0x80, 0, 1, 0xff, 0xff, 0, 0, 0, 0], vec![0xff; 600]] {
        server.behave(Manner::Sends(bytes.clone()));
        let options = DnsOptions { timeout: Duration::from_millis(100), ..options(&server) };
        assert!(find(SERVICE, &options).is_err(), "{bytes:?}");
    }
}
