//! One direction of a line: which packets get through, and when. Pure: the time
//! is passed in, chance comes from a seed.
//!
//! A packet first waits for the bandwidth, in a queue that drops at its end when
//! it is full, and is then on its way for the delay and a random part of the
//! jitter. Packets never overtake each other. A cut takes what is on its way.

use std::collections::VecDeque;
use std::time::Duration;

use weft_base::Random;

/// Bytes that are on their way at most, whatever delay and bandwidth say; more are dropped.
pub const ON_THE_WAY: usize = 64 << 20;
/// Buffers that are kept for packets to come.
const SPARE: usize = 1024;

/// What a direction does to packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// How long each packet is on its way, once it has left the queue.
    pub delay: Duration,
    /// Up to so much longer, by chance.
    pub jitter: Duration,
    /// Packets lost of a million.
    pub loss_ppm: u32,
    /// Bits a second, each packet counted whole with its IP header; `None`: no bound.
    pub rate: Option<u64>,
    /// Bytes that may wait for the bandwidth; a packet beyond is dropped.
    pub queue: usize,
    /// Nothing gets through.
    pub cut: bool,
}

impl Conditions {
    /// This delay and nothing else.
    #[must_use]
    pub fn delay(delay: Duration) -> Self {
        Self { delay, jitter: Duration::ZERO, loss_ppm: 0, rate: None, queue: 1 << 20, cut: false }
    }
}

/// What became of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets that came out at the other end.
    pub passed: u64,
    /// Their bytes.
    pub passed_bytes: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Dropped because the queue was full.
    pub full: u64,
    /// Taken by a cut.
    pub cut: u64,
}

/// A direction at work. Times are nanoseconds on a clock of the caller's.
#[derive(Debug)]
pub struct Direction {
    conditions: Conditions,
    /// In the order of their times.
    on_the_way: VecDeque<(u64, Vec<u8>)>,
    bytes: usize,
    /// When the bandwidth is free for the next packet.
    free_at: u64,
    random: Random,
    counts: Counts,
    spare: Vec<Vec<u8>>,
}

impl Direction {
    /// Under these conditions.
    #[must_use]
    pub fn new(conditions: Conditions, seed: u64) -> Self {
        Self {
            conditions,
            on_the_way: VecDeque::new(),
            bytes: 0,
            free_at: 0,
            random: Random::from_seed(seed),
            counts: Counts::default(),
            spare: Vec::new(),
        }
    }

    /// The conditions in force.
    #[must_use]
    pub fn conditions(&self) -> Conditions {
        self.conditions
    }

    /// Other conditions from now on; what is on its way keeps its time, but for a cut.
    pub fn set(&mut self, conditions: Conditions) {
        self.conditions = conditions;
        if conditions.cut {
            self.counts.cut += self.on_the_way.len() as u64;
            self.on_the_way.clear();
            self.bytes = 0;
        }
    }

    /// What became of packets so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// A packet has come to this end.
    pub fn offer(&mut self, now: u64, packet: &[u8]) {
        let Conditions { delay, jitter, loss_ppm, rate, queue, cut } = self.conditions;
        if cut {
            self.counts.cut += 1;
            return;
        }
        if loss_ppm > 0 && self.random.below(1_000_000) < u64::from(loss_ppm) {
            self.counts.lost += 1;
            return;
        }
        let start = self.free_at.max(now);
        let mut left = start;
        if let Some(rate) = rate {
            let rate = u128::from(rate.max(1));
            let nanos = |bytes: usize| (bytes as u128 * 8_000_000_000 / rate) as u64;
            if start - now > nanos(queue) {
                self.counts.full += 1;
                return;
            }
            left = start + nanos(packet.len());
        }
        if self.bytes + packet.len() > ON_THE_WAY {
            self.counts.full += 1;
            return;
        }
        self.free_at = left;
        let longer = match jitter.as_nanos() as u64 {
            0 => 0,
            most => self.random.below(most + 1),
        };
        let behind = self.on_the_way.back().map_or(0, |(due, _)| *due);
        let due = (left + delay.as_nanos() as u64 + longer).max(behind);
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(packet);
        self.bytes += packet.len();
        self.on_the_way.push_back((due, buffer));
    }

    /// When the next packet comes out.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        self.on_the_way.front().map(|(due, _)| *due)
    }

    /// The next packet that has come through by now; give it [`back`](Self::back).
    pub fn take(&mut self, now: u64) -> Option<Vec<u8>> {
        if self.next_due()? > now {
            return None;
        }
        let (_, packet) = self.on_the_way.pop_front()?;
        self.bytes -= packet.len();
        self.counts.passed += 1;
        self.counts.passed_bytes += packet.len() as u64;
        Some(packet)
    }

    /// A buffer that was taken and is not needed any more.
    pub fn back(&mut self, buffer: Vec<u8>) {
        if self.spare.len() < SPARE {
            self.spare.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Offers packets of `len` bytes at once; answers when each came out.
    fn times(direction: &mut Direction, packets: u64, len: usize) -> Vec<u64> {
        for number in 0..packets {
            let mut packet = vec![0; len];
            packet[..8].copy_from_slice(&number.to_le_bytes());
            direction.offer(0, &packet);
        }
        let mut out = Vec::new();
        let mut last = None;
        while let Some(due) = direction.next_due() {
            let early = due.checked_sub(1).and_then(|early| direction.take(early));
            assert_eq!(early, None, "before its time");
            let packet = direction.take(due).expect("it is due");
            let number = packet.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
            assert!(number > last, "one has overtaken another");
            last = number;
            out.push(due);
            direction.back(packet);
        }
        out
    }

    #[test]
    fn every_packet_takes_the_delay_and_no_more() {
        let mut direction = Direction::new(Conditions::delay(Duration::from_millis(40)), 1);
        assert_eq!(times(&mut direction, 3, 100), [40 * MS; 3]);
        assert_eq!(direction.counts(), Counts { passed: 3, passed_bytes: 300, ..Counts::default() });
    }

    #[test]
    fn jitter_adds_up_to_its_bound_and_lets_none_overtake() {
        let conditions =
            Conditions { jitter: Duration::from_millis(5), ..Conditions::delay(Duration::from_millis(40)) };
        let mut direction = Direction::new(conditions, 1);
        let times = times(&mut direction, 1_000, 100);
        assert!(times.iter().all(|time| (40 * MS..=45 * MS).contains(time)));
        assert!(times.is_sorted() && times.first() < times.last());
    }

    #[test]
    fn loss_takes_about_its_share() {
        let conditions = Conditions { loss_ppm: 50_000, ..Conditions::delay(Duration::ZERO) };
        let mut direction = Direction::new(conditions, 1);
        times(&mut direction, 10_000, 100);
        assert!((400..600).contains(&direction.counts().lost), "{:?}", direction.counts());
        assert_eq!(direction.counts().lost + direction.counts().passed, 10_000);
    }

    #[test]
    fn packets_leave_at_the_rate_and_the_queue_drops_beyond_its_bytes() {
        // 1,000 bytes take 1 ms; the queue holds 10 of them beyond the one that leaves.
        let conditions = Conditions { rate: Some(8_000_000), queue: 10_000, ..Conditions::delay(Duration::ZERO) };
        let mut direction = Direction::new(conditions, 1);
        let times = times(&mut direction, 20, 1_000);
        let expected: Vec<u64> = (1..=11).map(|n| n * MS).collect();
        assert_eq!(times, expected);
        assert_eq!(direction.counts().full, 9);
    }

    #[test]
    fn a_cut_takes_what_is_on_its_way_and_what_comes_until_it_is_healed() {
        let open = Conditions::delay(Duration::from_millis(1));
        let mut direction = Direction::new(open, 1);
        direction.offer(0, b"on its way");
        direction.set(Conditions { cut: true, ..open });
        direction.offer(0, b"cut");
        assert_eq!((direction.next_due(), direction.counts().cut), (None, 2));
        direction.set(open);
        direction.offer(0, b"healed");
        assert_eq!(direction.take(MS).as_deref(), Some(&b"healed"[..]));
    }

    #[test]
    fn what_is_on_its_way_is_bounded() {
        let mut direction = Direction::new(Conditions::delay(Duration::from_secs(3_600)), 1);
        let packet = vec![0; 60_000];
        let room = ON_THE_WAY / packet.len();
        for _ in 0..room + 5 {
            direction.offer(0, &packet);
        }
        assert_eq!(direction.counts().full, 5);
    }
}
