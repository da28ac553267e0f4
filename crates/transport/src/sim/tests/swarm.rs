//! Whole worlds from one seed: hosts that dial, send, close, crash and are cut
//! off at random. Whatever happens, what is read is what was written, from the
//! start and without a hole; each link ends at most once; and a seed repeats.

use std::collections::BTreeMap;
use std::io::IoSlice;

use weft_base::Random;

use super::*;
use crate::network::{Accept, LinkToken, ReadOutcome, Ready, WriteOutcome};

const HOSTS: [&str; 4] = ["a", "b", "c", "d"];

/// What one end of a link has sent and read. The byte at `i` of a stream is
/// known to both ends without being told.
#[derive(Default)]
struct Counts {
    sent: u64,
    read: u64,
}

const fn byte(i: u64) -> u8 {
    (i ^ (i >> 8) ^ (i >> 16)) as u8
}

struct Host {
    net: SimNetwork,
    links: BTreeMap<LinkToken, Counts>,
    ended: usize,
}

struct Swarm {
    world: SimWorld,
    random: Random,
    hosts: Vec<Host>,
    read: u64,
    /// For the canary: forgets a byte of each read.
    forgets: bool,
}

fn start(world: &SimWorld, name: &str) -> Host {
    let limits = SimLimits { connections: 20, ..SimLimits::default() };
    let mut net = world.endpoint(name, limits);
    net.listen(&format!("{name}:7411"), &Security::Plain, Accept::Both).unwrap();
    Host { net, links: BTreeMap::new(), ended: 0 }
}

impl Swarm {
    fn new(seed: u64) -> Self {
        let path = SimPath {
            delay: Duration::from_millis(5),
            jitter: Duration::from_millis(3),
            bandwidth: Some(10_000_000),
            lost_dials: 20,
            resets: 2000,
        };
        let window = ByteCount::kib(32);
        let options =
            SimOptions { path, window, partial: 200, give_up: Duration::from_secs(5), ..SimOptions::default() };
        let world = SimWorld::new(seed, START, options);
        let hosts = HOSTS.iter().map(|name| start(&world, name)).collect();
        Self { world, random: Random::from_seed(seed), hosts, read: 0, forgets: false }
    }

    fn turn(&mut self) {
        let which = self.random.below(HOSTS.len() as u64) as usize;
        let other = self.random.below(HOSTS.len() as u64) as usize;
        let (name, there) = (HOSTS[which], HOSTS[other]);
        match self.random.below(100) {
            0..10 => {
                let dialled = self.hosts[which].net.dial(&format!("{there}:7411"), &Security::Plain, None);
                if let Ok(link) = dialled {
                    self.hosts[which].links.insert(link, Counts::default());
                }
            }
            10..13 => self.world.cut(name, there),
            13..20 => self.world.heal(name, there),
            20 => self.world.reset_links(name, there),
            21 => self.hosts[which] = start(&self.world, name),
            22..26 => {
                let host = &mut self.hosts[which];
                let links: Vec<_> = host.links.keys().copied().collect();
                if let Some(link) = self.random.pick(&links) {
                    host.net.close(*link);
                    host.links.remove(link);
                }
            }
            26..70 => self.write(which),
            _ => {
                self.world.step_within(Duration::from_millis(50));
            }
        }
        self.poll(which);
    }

    fn write(&mut self, which: usize) {
        let host = &mut self.hosts[which];
        let links: Vec<_> = host.links.keys().copied().collect();
        let Some(link) = self.random.pick(&links) else { return };
        let Some(counts) = host.links.get_mut(link) else { return };
        let bytes: Vec<u8> = (counts.sent..counts.sent + 1 + self.random.below(20_000)).map(byte).collect();
        match host.net.write(*link, &[IoSlice::new(&bytes)]) {
            WriteOutcome::Bytes(n) => counts.sent += n as u64,
            WriteOutcome::WouldBlock => {}
            WriteOutcome::Closed(_) => {
                host.links.remove(link);
                host.ended += 1;
            }
        }
    }

    fn poll(&mut self, which: usize) {
        let host = &mut self.hosts[which];
        let mut ready = Vec::new();
        host.net.poll(None, &mut ready).unwrap();
        for event in ready {
            match event {
                Ready::Accepted { link, .. } => {
                    let before = host.links.insert(link, Counts::default());
                    assert!(before.is_none(), "a token came twice");
                }
                Ready::Closed { link, reason } => {
                    assert!(host.links.remove(&link).is_some(), "an end of a link that has ended: {link:?} {reason}");
                    host.ended += 1;
                }
                Ready::Readable(link) => {
                    let mut buf = vec![0; 1 + self.random.below(30_000) as usize];
                    let Some(counts) = host.links.get_mut(&link) else { panic!("`Readable` of a link that has ended") };
                    match host.net.read(link, &mut buf) {
                        ReadOutcome::Bytes(n) => {
                            let expected = (counts.read..counts.read + n as u64).map(byte);
                            assert!(expected.eq(buf[..n].iter().copied()), "the stream has changed");
                            counts.read += n as u64 + u64::from(self.forgets);
                            self.read += n as u64;
                        }
                        ReadOutcome::WouldBlock => panic!("`Readable`, and nothing to read"),
                        ReadOutcome::Closed(_) => {
                            host.links.remove(&link);
                            host.ended += 1;
                        }
                    }
                }
                Ready::Connected { .. } | Ready::Writable(_) | Ready::Refused { .. } => {}
            }
        }
    }

    fn run(mut self, turns: usize) -> (u64, u64, usize) {
        let swarm = &mut self;
        for _ in 0..turns {
            swarm.turn();
        }
        // All ways mended and time enough: everything comes to rest.
        for a in HOSTS {
            for b in HOSTS {
                swarm.world.heal(a, b);
            }
        }
        for _ in 0..2000 {
            swarm.world.step_within(Duration::from_secs(20));
            for which in 0..HOSTS.len() {
                swarm.poll(which);
            }
        }
        let ended = swarm.hosts.iter().map(|host| host.ended).sum();
        (swarm.world.history(), swarm.read, ended)
    }
}

#[test]
fn streams_hold_whatever_happens() {
    let (mut read, mut ended) = (0, 0);
    for seed in 0..20 {
        let (_, bytes, ends) = Swarm::new(seed).run(1500);
        read += bytes;
        ended += ends;
    }
    assert!(read > 1_000_000 && ended > 100, "nothing happened: {read} bytes read, {ended} links ended");
}

#[test]
fn a_seed_repeats_and_another_differs() {
    assert_eq!(Swarm::new(5).run(800), Swarm::new(5).run(800));
    assert_ne!(Swarm::new(5).run(800).0, Swarm::new(6).run(800).0);
}

#[test]
#[should_panic(expected = "the stream has changed")]
fn a_byte_that_is_lost_is_found() {
    let mut swarm = Swarm::new(1);
    swarm.forgets = true;
    swarm.run(1500);
}
