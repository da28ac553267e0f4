//! Sending clients elsewhere before the hub stops: how fast, how far, and who is
//! told what of it. What the net stage does with it is in `net/drain.rs`.
//!
//! Clients are told one after the other: as fast as `limits.drain_rate` says, or
//! faster where two thirds of the time would not be enough for all of them. So
//! no other hub is run over by those who come, and the last ones still have time.

use std::time::Duration;

use weft_base::Mono;
use weft_base::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use weft_wire::frame::{DrainState, DrainStatus};

use crate::Hub;

/// Nobody knows yet how many consumers have to go.
const UNKNOWN: u32 = u32::MAX;

/// What the stages and the hub's owner know of it.
#[derive(Debug, Default)]
pub(crate) struct DrainBoard {
    /// Milliseconds asked for, and one; 0: not asked for.
    asked: AtomicU64,
    state: AtomicU32,
    left_ms: AtomicU32,
    clients: AtomicU32,
    told: AtomicU32,
    moved: AtomicU32,
    left: AtomicU32,
    consumers: AtomicU32,
    /// Streams that others have to copy yet; in the upper half: which looking it was.
    streams: AtomicU64,
    /// Raised when an earlier looking says nothing any more.
    looking: AtomicU32,
    /// Operators know that it is over, as far as they asked.
    over: AtomicBool,
}

impl DrainBoard {
    /// Asks for it; again: with another time.
    pub(crate) fn ask(&self, within: Duration) {
        let millis = u64::try_from(within.as_millis()).unwrap_or(u64::MAX - 1);
        self.asked.store(millis.saturating_add(1), Ordering::Release);
    }

    pub(crate) fn cancel(&self) {
        self.asked.store(0, Ordering::Release);
    }

    /// How long it may take, when it is asked for.
    pub(crate) fn asked(&self) -> Option<Duration> {
        self.asked.load(Ordering::Acquire).checked_sub(1).map(Duration::from_millis)
    }

    pub(crate) fn status(&self) -> DrainStatus {
        let get = |cell: &AtomicU32| cell.load(Ordering::Acquire);
        let state = DrainState::from_number(get(&self.state) as u8).unwrap_or(DrainState::Serving);
        DrainStatus {
            state,
            left_ms: get(&self.left_ms),
            clients: get(&self.clients),
            told: get(&self.told),
            moved: get(&self.moved),
            left: get(&self.left),
            consumers: Some(get(&self.consumers)).filter(|n| *n != UNKNOWN).unwrap_or_default(),
            streams: self.streams.load(Ordering::Acquire) as u32,
        }
    }

    /// It begins, with so many clients.
    pub(crate) fn begin(&self, clients: u32) {
        for (cell, value) in [
            (&self.clients, clients),
            (&self.told, 0),
            (&self.moved, 0),
            (&self.left, clients),
            (&self.consumers, UNKNOWN),
        ] {
            cell.store(value, Ordering::Release);
        }
        self.streams.store(0, Ordering::Release);
        self.look_anew();
        self.enter(DrainState::Draining);
    }

    pub(crate) fn enter(&self, state: DrainState) {
        self.state.store(state as u32, Ordering::Release);
    }

    /// The hub may stop.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Release);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.state.load(Ordering::Acquire) != DrainState::Serving as u32
    }

    /// A client was told.
    pub(crate) fn told(&self) {
        self.told.fetch_add(1, Ordering::AcqRel);
    }

    /// A client that was told has gone.
    pub(crate) fn moved(&self) {
        self.moved.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn left(&self, clients: u32, time: Duration) {
        self.left.store(clients, Ordering::Release);
        self.left_ms.store(u32::try_from(time.as_millis()).unwrap_or(u32::MAX), Ordering::Release);
    }

    /// So many consumers run here that could run elsewhere.
    pub(crate) fn consumers(&self, consumers: usize) {
        let consumers = u32::try_from(consumers).unwrap_or(u32::MAX).min(UNKNOWN - 1);
        self.consumers.store(consumers, Ordering::Release);
    }

    /// None does, and that is known.
    pub(crate) fn has_no_consumers(&self) -> bool {
        self.consumers.load(Ordering::Acquire) == 0
    }

    /// More may have been stored since streams were looked at.
    pub(crate) fn look_anew(&self) {
        self.looking.fetch_add(1, Ordering::AcqRel);
    }

    /// Which looking begins now; asked before streams are looked at.
    pub(crate) fn looking(&self) -> u32 {
        self.looking.load(Ordering::Acquire)
    }

    /// So many streams have events that others have to copy yet.
    pub(crate) fn streams(&self, looking: u32, streams: usize) {
        let streams = u32::try_from(streams).unwrap_or(u32::MAX);
        self.streams.store(u64::from(looking) << 32 | u64::from(streams), Ordering::Release);
    }

    /// None has, and nothing was stored since that was found.
    pub(crate) fn are_streams_copied(&self) -> bool {
        self.streams.load(Ordering::Acquire) == u64::from(self.looking()) << 32
    }
}

/// How many clients are to be told by when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) within: Duration,
    since: Mono,
    pub(crate) until: Mono,
    /// Nanoseconds from one client to the next.
    each: u64,
    /// Clients that were told before.
    told: u32,
}

impl Pace {
    /// For so many clients, at least so many a second; `told` were told before,
    /// within a time that was asked for earlier.
    pub(crate) fn new((clients, told): (u32, u32), within: Duration, rate: u32, now: Mono) -> Self {
        let nanos = u64::try_from(within.as_nanos()).unwrap_or(u64::MAX);
        let spread = nanos / 3 * 2 / u64::from(clients.max(1));
        let each = spread.min(1_000_000_000 / u64::from(rate.max(1)));
        Self { within, since: now, until: now + within, each, told }
    }

    /// How many are to have been told by now.
    pub(crate) fn due(&self, now: Mono) -> u32 {
        let nanos = u64::try_from(now.since(self.since).as_nanos()).unwrap_or(u64::MAX);
        let due = nanos.checked_div(self.each).map_or(u64::MAX, |due| due.saturating_add(1));
        u32::try_from(due).unwrap_or(u32::MAX).saturating_add(self.told)
    }

    pub(crate) fn is_over(&self, now: Mono) -> bool {
        now >= self.until
    }

    pub(crate) fn since(&self, now: Mono) -> Duration {
        now.since(self.since)
    }

    pub(crate) fn left(&self, now: Mono) -> Duration {
        self.until.since(now)
    }
}

impl Hub {
    /// Sends clients to other hubs, one after the other, and lets other hubs
    /// serve and carry what they can: [`Hub::drain_status`] says how far it is.
    /// `None`: for as long as `timers.drain_clients` says. Ends nothing by itself.
    pub fn empty(&self, within: Option<Duration>) {
        self.lifecycle.board.ask(within.unwrap_or(self.drain_clients));
        self.waker.wake();
    }

    /// The hub goes on as before, unless it is empty already.
    pub fn stay(&self) {
        self.lifecycle.board.cancel();
        self.waker.wake();
    }

    /// Whether that is asked for, by whomever, and was not taken back.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.lifecycle.board.asked().is_some()
    }

    /// Whether that is done, or its time is over, and the hub is to be stopped.
    #[must_use]
    pub fn is_emptied(&self) -> bool {
        self.lifecycle.board.is_over()
    }

    /// How sending clients elsewhere stands.
    #[must_use]
    pub fn drain_status(&self) -> DrainStatus {
        self.lifecycle.board.status()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(ms: u64) -> Mono {
        Mono(ms * 1_000_000)
    }

    #[test]
    fn few_clients_are_told_at_the_rate_and_many_in_two_thirds_of_the_time() {
        let few = Pace::new((10, 0), SECOND * 30, 100, at(1_000));
        assert_eq!([few.due(at(1_000)), few.due(at(1_010)), few.due(at(1_090))], [1, 2, 10]);
        let many = Pace::new((30_000, 0), SECOND * 30, 100, at(0));
        let half = many.due(at(10_000));
        assert!((15_000..15_010).contains(&half), "but for rounding to a nanosecond: {half}");
        assert!(many.due(at(20_000)) >= 30_000);
        assert!(!many.is_over(at(29_999)) && many.is_over(at(30_000)));
        assert_eq!(Pace::new((9, 0), Duration::ZERO, 100, at(5)).due(at(5)), u32::MAX, "no time: all at once");
        let again = Pace::new((30_000, 30_000), SECOND * 30, 100, at(0));
        assert!(again.due(at(0)) > 30_000, "who was told in another time is not told again");
        assert!(again.due(at(20_000)) >= 60_000);
    }

    #[test]
    fn streams_that_were_looked_at_too_early_are_looked_at_again() {
        let board = DrainBoard::default();
        board.begin(1);
        let looking = board.looking();
        board.streams(looking, 2);
        assert!(!board.are_streams_copied() && board.status().streams == 2);
        // The last client published, and went, while the stage looked.
        board.look_anew();
        board.streams(looking, 0);
        assert!(!board.are_streams_copied());
        board.streams(board.looking(), 0);
        assert!(board.are_streams_copied() && board.status().streams == 0);
    }

    #[test]
    fn the_board_says_what_was_written_and_begins_anew() {
        let board = DrainBoard::default();
        assert_eq!((board.asked(), board.is_draining()), (None, false));
        board.ask(Duration::ZERO);
        assert_eq!(board.asked(), Some(Duration::ZERO));
        board.begin(3);
        assert!(board.is_draining() && !board.has_no_consumers(), "nobody has looked yet");
        assert!(!board.are_streams_copied(), "nor at streams");
        assert_eq!((board.status().consumers, board.status().streams), (0, 0));
        board.told();
        board.moved();
        board.consumers(2);
        board.left(2, SECOND);
        let status = board.status();
        assert_eq!((status.clients, status.told, status.moved, status.left, status.consumers), (3, 1, 1, 2, 2));
        board.cancel();
        assert_eq!(board.asked(), None);
        board.begin(2);
        assert_eq!((board.status().told, board.status().left), (0, 2));
    }
}
