//! Lines and namespaces for real, where the machine has what they need.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use weft_chaos::{Conditions, Line, Space, missing};

/// Two namespaces with a line, or nothing where that is not possible.
fn two(conditions: Conditions) -> Option<([Space; 2], Line)> {
    if let Some(why) = missing() {
        println!("left out: {why}");
        return None;
    }
    let ends = [Space::make("a").expect("a namespace"), Space::make("b").expect("a namespace")];
    let line = Line::new([&ends[0], &ends[1]], 7, conditions, 1).expect("a line");
    Some((ends, line))
}

/// A UDP socket in each namespace, which know each other.
fn sockets(ends: &[Space; 2], line: &Line) -> [UdpSocket; 2] {
    let addresses = [0, 1].map(|end| line.address(end));
    let made = [0, 1].map(|end| {
        let job = move || UdpSocket::bind((addresses[end], 9_000)).expect("a socket");
        ends[end].run(job).expect("it does not panic")
    });
    for (end, socket) in made.iter().enumerate() {
        socket.connect((addresses[1 - end], 9_000)).expect("the other end");
        socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    }
    made
}

#[test]
fn a_packet_takes_at_least_the_delay_of_each_way_and_a_stream_comes_through_whole() {
    let Some((ends, line)) = two(Conditions::delay(Duration::from_millis(20))) else { return };
    let [near, far] = sockets(&ends, &line);
    let mut buffer = [0; 16];
    let start = Instant::now();
    near.send(b"there").expect("sent");
    assert_eq!(far.recv(&mut buffer).expect("it comes"), 5);
    far.send(b"back").expect("sent");
    assert_eq!(near.recv(&mut buffer).expect("it comes"), 4);
    assert!(start.elapsed() >= Duration::from_millis(40), "{:?}", start.elapsed());

    let address = (line.address(1), 9_001);
    let listener = ends[1].run(move || TcpListener::bind(address).expect("a port")).expect("a job");
    let mut near = ends[0].run(move || TcpStream::connect(address).expect("a connection")).expect("a job");
    let (mut far, _) = listener.accept().expect("a connection");
    let sent: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
    let copy = sent.clone();
    let writer = std::thread::spawn(move || near.write_all(&copy).expect("written"));
    let mut got = Vec::new();
    far.read_to_end(&mut got).expect("read");
    writer.join().expect("no panic");
    assert_eq!(got, sent);
}

#[test]
fn a_line_cut_one_way_carries_the_other_way_and_both_once_healed() {
    let Some((ends, line)) = two(Conditions::delay(Duration::ZERO)) else { return };
    let [near, far] = sockets(&ends, &line);
    let mut buffer = [0; 16];
    line.one(0, |conditions| conditions.cut = true);
    let before = line.counts()[0].cut;
    near.send(b"lost").expect("sent");
    while line.counts()[0].cut == before {
        std::thread::park_timeout(Duration::from_millis(1));
    }
    far.send(b"back").expect("sent");
    assert_eq!(near.recv(&mut buffer).expect("it comes"), 4);
    line.both(|conditions| conditions.cut = false);
    near.send(b"healed").expect("sent");
    assert_eq!(far.recv(&mut buffer).expect("it comes"), 6, "what was sent into the cut does not come");
}

#[test]
fn a_job_that_panics_leaves_the_namespace_as_it_is() {
    let Some((ends, _line)) = two(Conditions::delay(Duration::ZERO)) else { return };
    assert!(ends[0].run(|| panic!("on purpose")).is_err());
    assert_eq!(ends[0].run(|| 7).expect("it goes on"), 7);
}
