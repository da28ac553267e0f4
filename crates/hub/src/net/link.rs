//! Credit of a link, per lane and in bytes, at both of its ends. Pure.
//!
//! The receiving hub says how many bytes in all it takes on each lane since
//! the link came up ([`LinkCredit`](weft_wire::frame::LinkCredit)): what its
//! route stage has taken, and a window. So at most a window of a lane is under
//! way, whatever the other lanes do, and a lane that its destination takes
//! slowly fills no queue but its own. What has no credit waits here, in order
//! and bounded per lane; beyond the bound live copies are dropped as
//! `link_full`, and guaranteed ones stay with their origin, which sends them
//! again. Control frames need no credit.
//!
//! The window is as large as the lane needs ([`Windows`]).
//!
//! Totals are said, not differences: saying one again changes nothing, and one
//! that goes back or beyond what can be counted is a lie.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use weft_base::sync::atomic::{AtomicU64, Ordering};
use weft_base::{Lane, Mono};

use super::window::Windows;
use crate::counters::{LinkCounters, Stall};

/// When a link was last heard, whatever came: written where it is read, and
/// read where its silence is judged. And its round trip, the other way round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard(Arc<(AtomicU64, AtomicU64)>);

impl Heard {
    /// Something came.
    pub(crate) fn note(&self, now: Mono) {
        self.0.0.store(now.0, Ordering::Relaxed);
    }

    /// When something last came; zero before the first time.
    pub(crate) fn get(&self) -> Mono {
        Mono(self.0.0.load(Ordering::Relaxed))
    }

    /// The probes' answers take so long.
    pub(crate) fn note_rtt(&self, rtt: Duration) {
        self.0.1.store(u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long a round trip takes; zero before the first one.
    pub(crate) fn rtt(&self) -> Duration {
        Duration::from_nanos(self.0.1.load(Ordering::Relaxed))
    }
}

/// The most that one word of credit may add: no window is larger.
const MOST_ADDED: u64 = 1 << 40;

/// What is wrong with what the other hub did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CreditError {
    #[error("credit of lane {lane} went back from {from} to {to} bytes: it may only grow", lane = lane.get())]
    TakenBack { lane: Lane, from: u64, to: u64 },
    #[error("credit of lane {lane} rose from {from} to {to} bytes at once: at most 2^40 may be added", lane = lane.get())]
    Overflow { lane: Lane, from: u64, to: u64 },
    #[error("{sent} bytes came on lane {lane}, and {limit} were granted: wait for credit", lane = lane.get())]
    Exceeded { lane: Lane, sent: u64, limit: u64 },
}

/// What became of a block on its way out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Offered<T> {
    /// It has credit: send it.
    Send(T),
    /// It waits here.
    Waits,
    /// There is no room to wait.
    Full(T),
}

#[derive(Debug)]
struct OutLane<T> {
    sent: u64,
    limit: u64,
    waiting: VecDeque<(usize, T)>,
    waiting_bytes: usize,
    stall: Stall,
}

/// The sending end.
#[derive(Debug)]
pub(crate) struct LinkOut<T> {
    lanes: [OutLane<T>; Lane::COUNT],
    /// Bytes that may wait for credit, per lane.
    room: usize,
}

/// What may wait in a lane, and for a socket, while the hub is short of memory.
pub(super) const SHORT_ROOM: usize = 128 << 10;

impl<T> LinkOut<T> {
    /// Without any credit yet.
    pub(crate) fn new(room: usize) -> Self {
        let lane =
            || OutLane { sent: 0, limit: 0, waiting: VecDeque::new(), waiting_bytes: 0, stall: Stall::default() };
        Self { lanes: std::array::from_fn(|_| lane()), room }
    }

    /// A block of `len` bytes is to go out, while the hub is short of memory or not.
    pub(crate) fn offer(&mut self, lane: Lane, len: usize, item: T, short: bool) -> Offered<T> {
        let l = &mut self.lanes[lane.index()];
        if l.waiting.is_empty() && l.may_send(len) {
            l.sent += len as u64;
            return Offered::Send(item);
        }
        let room = if short { self.room.min(SHORT_ROOM) } else { self.room };
        if l.waiting_bytes > 0 && l.waiting_bytes.saturating_add(len) > room {
            return Offered::Full(item);
        }
        l.waiting_bytes += len;
        l.waiting.push_back((len, item));
        Offered::Waits
    }

    /// The other hub takes so many bytes of a lane in all. `send` gets what
    /// waited and has credit now.
    ///
    /// # Errors
    /// [`CreditError`]: the other hub lies; nothing has changed.
    pub(crate) fn granted(&mut self, lane: Lane, limit: u64, send: impl FnMut(T)) -> Result<(), CreditError> {
        let l = &mut self.lanes[lane.index()];
        if limit < l.limit {
            return Err(CreditError::TakenBack { lane, from: l.limit, to: limit });
        }
        if limit - l.limit > MOST_ADDED {
            return Err(CreditError::Overflow { lane, from: l.limit, to: limit });
        }
        l.limit = limit;
        l.send_waiting(send);
        Ok(())
    }

    /// So many bytes of a lane had credit and will not be sent after all: it
    /// serves what waits.
    pub(crate) fn returned(&mut self, lane: Lane, bytes: u64, send: impl FnMut(T)) {
        let l = &mut self.lanes[lane.index()];
        l.sent = l.sent.saturating_sub(bytes);
        l.send_waiting(send);
    }

    /// Counts how a lane waits for credit: called as that may have begun or ended, and now and then.
    pub(crate) fn count_stall(&mut self, lane: Lane, now: Mono, link: &LinkCounters) {
        let lane = &mut self.lanes[lane.index()];
        lane.stall.set(!lane.waiting.is_empty(), now, (&link.credit_stalls, &link.credit_stalled_ns));
    }

    /// All that waits: the link is over.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> {
        self.lanes.iter_mut().flat_map(|lane| lane.waiting.drain(..)).map(|(_, item)| item)
    }
}

impl<T> OutLane<T> {
    fn may_send(&self, len: usize) -> bool {
        self.sent.saturating_add(len as u64) <= self.limit
    }

    fn send_waiting(&mut self, mut send: impl FnMut(T)) {
        while let Some((len, _)) = self.waiting.front()
            && self.may_send(*len)
            && let Some((len, item)) = self.waiting.pop_front()
        {
            self.waiting_bytes -= len;
            self.sent += len as u64;
            send(item);
        }
    }
}

/// The receiving end.
#[derive(Debug)]
pub(crate) struct LinkIn {
    windows: Windows,
    /// Per lane: what came, what was taken of it, and what was granted.
    lanes: [(u64, u64, u64); Lane::COUNT],
}

impl LinkIn {
    /// With these windows.
    pub(crate) fn new(windows: Windows) -> Self {
        Self { windows, lanes: [(0, 0, 0); Lane::COUNT] }
    }

    pub(crate) fn windows(&self) -> &Windows {
        &self.windows
    }

    /// Time has passed: see [`Windows::rest`].
    pub(crate) fn rest(&mut self, now: Mono) {
        self.windows.rest(now);
    }

    /// The credit to begin with.
    pub(crate) fn first(&mut self) -> impl Iterator<Item = (Lane, u64)> {
        let windows = &self.windows;
        Lane::all().zip(&mut self.lanes).map(move |(lane, (_, _, granted))| {
            *granted = windows.of(lane);
            (lane, *granted)
        })
    }

    /// A block of `len` bytes has come; a round trip takes `rtt`. Answers
    /// whether a window has grown.
    ///
    /// # Errors
    /// [`CreditError::Exceeded`]: the other hub had no credit for it.
    pub(crate) fn came(&mut self, lane: Lane, len: usize, rtt: Duration, now: Mono) -> Result<bool, CreditError> {
        let (came, _, granted) = &mut self.lanes[lane.index()];
        *came += len as u64;
        if *came > *granted {
            return Err(CreditError::Exceeded { lane, sent: *came, limit: *granted });
        }
        Ok(self.windows.came(lane, len, rtt, now))
    }

    /// So many bytes of a lane were taken; answers the credit to say, if it is time.
    pub(crate) fn took(&mut self, lane: Lane, bytes: u64) -> Option<u64> {
        let (_, taken, granted) = &mut self.lanes[lane.index()];
        *taken += bytes;
        let window = self.windows.of(lane);
        let limit = *taken + window;
        // It may be below what was granted, where the window was larger then.
        if limit.saturating_sub(*granted) < window / 4 {
            return None;
        }
        *granted = limit;
        Some(limit)
    }
}

/// What the route stage has taken of links and not said yet: a message for
/// each quarter of a window, not for each block.
#[derive(Debug)]
pub(crate) struct Taken<K> {
    quarter: u64,
    links: std::collections::BTreeMap<K, [u64; Lane::COUNT]>,
}

impl<K: Ord> Taken<K> {
    /// Of links with this window.
    pub(crate) fn new(window: u64) -> Self {
        Self { quarter: (window / 4).max(1), links: std::collections::BTreeMap::new() }
    }

    /// A block was taken; answers what is to be said.
    pub(crate) fn add(&mut self, link: K, lane: Lane, len: usize) -> Option<u64> {
        let taken = &mut self.links.entry(link).or_insert([0; Lane::COUNT])[lane.index()];
        *taken += len as u64;
        (*taken >= self.quarter).then(|| std::mem::take(taken))
    }

    /// The link is over.
    pub(crate) fn forget(&mut self, link: &K) {
        self.links.remove(link);
    }
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
