//! Windows against a line of so much bandwidth and so long a round trip.

use std::collections::VecDeque;

use super::super::link::{LinkIn, LinkOut, Offered, Taken};
use super::*;

const LANE: Lane = Lane::DEFAULT;
const MIB: u64 = 1 << 20;
const BLOCK: usize = 64 << 10;
const FAR: Duration = Duration::from_millis(80);

/// A line in one direction: bytes leave at its rate and take half a round trip.
struct Line {
    bytes_per_ms: u64,
    half: Duration,
    /// Until when what was sent before takes its sender.
    busy: Mono,
    blocks: VecDeque<(Mono, usize)>,
    words: VecDeque<(Mono, u64)>,
}

impl Line {
    fn send(&mut self, len: usize, now: Mono) {
        let takes = Duration::from_nanos(len as u64 * 1_000_000 / self.bytes_per_ms);
        self.busy = self.busy.max(now) + takes;
        self.blocks.push_back((self.busy + self.half, len));
    }
}

/// The share of a line's bandwidth that one lane gets in the tenth second, and
/// its window then.
fn share(megabit: u64, rtt: Duration, most: u64, growth: u64) -> (f64, u64) {
    let windows = Windows::new(4 * MIB, most, Growth::new(growth));
    let (mut out, mut into) = (LinkOut::new(BLOCK), LinkIn::new(windows));
    let mut taken = Taken::new(4 * MIB);
    let mut line = Line {
        bytes_per_ms: megabit * 125,
        half: rtt / 2,
        busy: Mono(0),
        blocks: VecDeque::new(),
        words: VecDeque::new(),
    };
    line.words.extend(into.first().filter(|(lane, _)| *lane == LANE).map(|(_, limit)| (Mono(0) + rtt / 2, limit)));
    let mut carried = 0;
    for tick in 1..=100_000u64 {
        let now = Mono(tick * 100_000);
        while let Some((_, limit)) = line.words.pop_front_if(|(at, _)| *at <= now) {
            out.granted(LANE, limit, |()| line.send(BLOCK, now)).expect("a sound grant");
        }
        // Somebody always has more to say.
        while matches!(out.offer(LANE, BLOCK, (), false), Offered::Send(())) {
            line.send(BLOCK, now);
        }
        while let Some((_, len)) = line.blocks.pop_front_if(|(at, _)| *at <= now) {
            into.came(LANE, len, rtt, now).expect("it had credit");
            carried += if tick > 90_000 { len as u64 } else { 0 };
            let said = taken.add(0, LANE, len).and_then(|bytes| into.took(LANE, bytes));
            line.words.extend(said.map(|limit| (now + rtt / 2, limit)));
        }
        into.rest(now);
    }
    (carried as f64 / (line.bytes_per_ms * 1_000) as f64, into.windows().of(LANE))
}

#[test]
fn a_far_lane_gets_the_bandwidth_of_its_line() {
    for (megabit, rtt) in [(200, FAR), (500, FAR), (1_000, FAR), (1_000, FAR / 4), (10_000, FAR / 100)] {
        let (share, window) = share(megabit, rtt, 32 * MIB, u64::MAX);
        let under_way = megabit * 125 * rtt.as_micros() as u64 / 1_000;
        assert!(share > 0.9, "{megabit} Mbit/s, {rtt:?}: {share:.2} with a window of {window}");
        assert!(window <= (4 * under_way).max(4 * MIB), "no more than it needs: {window} for {under_way}");
    }
}

/// The twin: with the window that every lane had, whatever its line.
#[test]
fn without_growth_a_far_lane_starves() {
    let (share, window) = share(1_000, FAR, 4 * MIB, u64::MAX);
    assert_eq!(window, 4 * MIB);
    assert!(share < 0.5, "{share}");
}

#[test]
fn windows_grow_together_by_no_more_than_there_is_and_give_it_back() {
    let (_, window) = share(1_000, FAR, 32 * MIB, MIB);
    assert_eq!(window, 5 * MIB);
    let growth = Growth::new(10 * MIB);
    let mut links = [0, 1].map(|_| Windows::new(MIB, 8 * MIB, growth.clone()));
    let feed = |windows: &mut Windows, from: u64| {
        for n in 0..20 {
            windows.came(LANE, 8 << 20, FAR, Mono(from) + FAR * n);
        }
    };
    for windows in &mut links {
        feed(windows, 1_000_000_000);
    }
    assert_eq!(links.each_ref().map(|windows| windows.of(LANE)), [8 * MIB, 4 * MIB]);
    assert_eq!((growth.take(u64::MAX), links[0].of(Lane::URGENT)), (0, MIB));
    // The first falls silent, and then ends.
    let now = Mono(1_000_000_000) + Duration::from_secs(10);
    links[0].rest(now);
    links[0].rest(now + KEPT);
    assert_eq!(links[0].of(LANE), 4 * MIB);
    feed(&mut links[1], 100_000_000_000);
    assert_eq!(links[1].largest(), 8 * MIB);
    drop(links);
    assert_eq!(growth.take(u64::MAX), 10 * MIB, "all of it is there again");
}

#[test]
fn a_queue_on_the_way_does_not_make_windows_grow() {
    let mut windows = Windows::new(4 * MIB, 32 * MIB, Growth::new(u64::MAX));
    // 100 Mbit/s: a megabyte in a round trip of 80 ms, which a queue makes a second.
    windows.came(LANE, 1, FAR, Mono(1));
    for n in 0..500u64 {
        windows.came(LANE, 1_000_000, FAR + Duration::from_millis(2 * n), Mono(1) + FAR * (n as u32 + 1));
    }
    assert_eq!(windows.of(LANE), 4 * MIB);
}

#[test]
fn before_a_round_trip_is_known_nothing_grows() {
    let mut windows = Windows::new(MIB, 32 * MIB, Growth::new(u64::MAX));
    for n in 0..100 {
        assert!(!windows.came(LANE, 8 << 20, Duration::ZERO, Mono(n * 1_000_000_000)));
    }
}
