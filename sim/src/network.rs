//! The network: links with delay, jitter, loss and bandwidth in each direction,
//! sessions over them, and their faults.
//!
//! A session is what a transport gives: frames in order, both ways, until it
//! ends. What a link loses, the transport sends again a round trip later, and
//! what follows waits for it. With a bandwidth, events queue for the link behind
//! each other and control goes ahead of them; what would wait for longer than a
//! second is dropped and counted. A cut loses what is under way. If it is
//! noticed, both ends see the session end; if it is not, each end goes on until
//! its own pings tell, and may then keep half of a session while the other end
//! already makes a new one.

use std::time::Duration;

use weft_base::{Epoch, Mono, Random};

use crate::plan::{LATE, PlannedLink, Quality};

/// No event waits longer for its turn on a link.
const LONGEST_QUEUE: Duration = Duration::from_secs(1);
/// What one packet carries.
const PACKET: u64 = 1400;
/// So often is one message sent again at most.
const MOST_LOSSES: u32 = 20;

/// A link, which may or may not have a session.
#[derive(Debug)]
pub(crate) struct SimLink {
    pub(crate) ends: [usize; 2],
    /// By the end that has configured it.
    pub(crate) cost: [u32; 2],
    /// By the end that sends.
    quality: [Quality; 2],
    planned: [Quality; 2],
    /// As the first end was told.
    pub(crate) price: u32,
    /// By the end that sends: whether all is lost.
    pub(crate) is_cut: [bool; 2],
    /// How often each direction was cut: what left before the last cut is lost.
    cuts: [u64; 2],
    /// By the end that sends, and whether it is control: when the wire is free,
    /// and when the last message arrives, which none overtakes.
    free: [[Mono; 2]; 2],
    last: [[Mono; 2]; 2],
}

/// A session over a link. Its index is the `LinkId` at both ends.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) link: usize,
    /// The lives of the hubs at its ends.
    pub(crate) lives: [Epoch; 2],
    /// Whether each end still has it.
    pub(crate) is_open: [bool; 2],
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It arrives.
    Arrives {
        /// When.
        at: Mono,
        /// How often the direction was cut: once more, and it does not.
        cuts: u64,
        /// Whether that is later than by the link's delay alone.
        is_late: bool,
        /// Whether some of it was lost, and sent again.
        is_again: bool,
    },
    /// The direction is cut.
    Lost,
    /// Too much waits for the link.
    Full,
}

impl SimLink {
    pub(crate) fn new(planned: &PlannedLink) -> Self {
        Self {
            ends: planned.ends,
            cost: planned.cost,
            quality: planned.quality,
            planned: planned.quality,
            price: planned.price,
            is_cut: [false; 2],
            cuts: [0; 2],
            free: [[Mono(0); 2]; 2],
            last: [[Mono(0); 2]; 2],
        }
    }

    /// Changes what both directions are like.
    pub(crate) fn change(&mut self, change: impl Fn(&mut Quality)) {
        self.quality.iter_mut().for_each(change);
    }

    /// Both directions are as they were planned.
    pub(crate) fn restore(&mut self) {
        self.quality = self.planned;
    }

    /// Sends a message of so many bytes now.
    pub(crate) fn send(&mut self, from: usize, now: Mono, bytes: u64, is_control: bool, random: &mut Random) -> Sent {
        if self.is_cut[from] {
            return Sent::Lost;
        }
        let quality = self.quality[from];
        let class = usize::from(is_control);
        let start = self.free[from][class].max(now);
        if !is_control && start.since(now) > LONGEST_QUEUE {
            return Sent::Full;
        }
        let gone = start + quality.time_of(bytes);
        self.free[from][class] = gone;
        if is_control {
            // Events wait for what goes ahead of them.
            self.free[from][0] = self.free[from][0].max(now) + quality.time_of(bytes);
        }
        let (mut way, mut is_again) = (quality.delay, false);
        if !quality.jitter.is_zero() {
            way += quality.jitter * random.below(1001) as u32 / 1000;
        }
        if quality.loss_ppm > 0 {
            let lost = u64::from(quality.loss_ppm) * (1 + bytes / PACKET);
            let times = (0..MOST_LOSSES).take_while(|_| random.below(1_000_000) < lost).count() as u32;
            way += (quality.delay * 2 + Duration::from_millis(1)) * times;
            is_again = times > 0;
        }
        let arrival = (gone + way).max(self.last[from][class]);
        self.last[from][class] = arrival;
        if quality.bandwidth == 0 {
            self.last[from] = [arrival.max(self.last[from][1 - class]); 2];
        }
        let at = self.last[from][class];
        let is_late = at.since(now) > quality.delay + quality.jitter + LATE;
        Sent::Arrives { at, cuts: self.cuts[from], is_late, is_again }
    }

    /// Whether a message that left with this number has arrived.
    pub(crate) fn arrives(&self, from: usize, cuts: u64) -> bool {
        self.cuts[from] == cuts
    }

    /// How often this direction was cut.
    pub(crate) fn cuts(&self, from: usize) -> u64 {
        self.cuts[from]
    }

    pub(crate) fn cut(&mut self, from: usize) {
        self.is_cut[from] = true;
        self.cuts[from] += 1;
        self.free[from] = [Mono(0); 2];
    }

    pub(crate) fn mend(&mut self) {
        self.is_cut = [false; 2];
    }

    pub(crate) fn works(&self) -> bool {
        self.is_cut == [false; 2]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(quality: Quality) -> SimLink {
        SimLink::new(&PlannedLink { ends: [0, 1], quality: [quality; 2], cost: [0; 2], price: 0 })
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn events_queue_for_the_bandwidth_control_goes_ahead_and_the_queue_has_an_end() {
        let mut link = link(Quality { delay: ms(10), bandwidth: 10_000, ..Quality::default() });
        let mut random = Random::from_seed(1);
        let mut send = |bytes, is_control| link.send(0, Mono(0), bytes, is_control, &mut random);
        let at = |ms: u64, is_late| Sent::Arrives { at: Mono(ms * 1_000_000), cuts: 0, is_late, is_again: false };
        assert_eq!(send(6_000, false), at(610, true));
        assert_eq!(send(6_000, false), at(1_210, true));
        assert_eq!(send(100, true), at(20, false), "control does not wait for events");
        assert_eq!(send(6_000, false), Sent::Full, "1.2 s of events wait already");
        assert_eq!(link.send(1, Mono(0), 6_000, false, &mut random), at(610, true), "the other direction is its own");
    }

    #[test]
    fn what_is_lost_comes_later_and_what_follows_does_not_overtake_it() {
        let mut link = link(Quality { delay: ms(10), loss_ppm: 300_000, ..Quality::default() });
        let mut random = Random::from_seed(3);
        let mut last = Mono(0);
        let mut late = 0;
        for turn in 0..100 {
            let now = Mono(turn * 1_000_000);
            let sent = link.send(0, now, 100, turn % 2 == 0, &mut random);
            let Sent::Arrives { at, cuts: 0, .. } = sent else { panic!("{sent:?}") };
            assert!(at >= last && at >= now + ms(10));
            late += u32::from(at > now + ms(10));
            last = at;
        }
        assert!((10..100).contains(&late), "{late}");
        link.cut(0);
        assert_eq!(link.send(0, Mono(0), 1, true, &mut random), Sent::Lost);
        assert!(!link.arrives(0, 0) && link.arrives(1, 0));
    }
}
