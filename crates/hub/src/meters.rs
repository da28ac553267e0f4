//! What the hub measures in histograms: how long things take and wait, each with
//! one writer, in the table that other processes read (docs/telemetry.md).
//!
//! Times are differences of what the stages' turns have read of the clock anyway,
//! or, for calls of the system, of one reading on each side: never one per event.
//! Recording is a few loads and stores in memory of the writer's own: it locks
//! nothing and allocates nothing. Where histograms are switched off
//! (`see.histograms`), a meter is nothing.
//!
//! Bounded: histograms of links are as many as [`LINKS`]; what is measured of
//! further hubs is in one of the name `other`.

use std::collections::BTreeMap;
use std::time::Duration;

use weft_base::{HubId, Lane, Now, UnixNanos};
use weft_observe::layout::Unit;
use weft_observe::scale::Scale;
use weft_observe::{Beat, Recorder, Table};
use weft_ring::stage::TurnMeter;
use weft_wire::block::Block;

use crate::counters::Counters;

/// The most hubs whose links have a histogram of their own, 9.5 KiB each.
const LINKS: usize = 32;

/// A histogram of times, or nothing where none is kept.
#[derive(Debug, Default)]
pub(crate) struct Meter(Option<Recorder>);

impl Meter {
    /// The histogram of this name.
    pub(crate) fn new(table: &Table, name: &str) -> Self {
        Self(Some(table.histogram(name, Unit::Nanoseconds, Scale::NANOS, None)))
    }

    /// So many things took so long.
    #[inline]
    pub(crate) fn record(&mut self, took: Duration, many: u64) {
        self.record_nanos(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), many);
    }

    #[inline]
    fn record_nanos(&mut self, nanos: u64, many: u64) {
        if let Some(recorder) = &mut self.0 {
            recorder.record_many(nanos, many);
        }
    }
}

/// One histogram for each lane, or none.
#[derive(Debug, Default)]
pub(crate) struct LaneMeters([Meter; Lane::COUNT]);

impl LaneMeters {
    /// `lane.N.WHAT` for each lane N.
    pub(crate) fn new(table: &Table, what: &str) -> Self {
        Self(std::array::from_fn(|lane| Meter::new(table, &format!("lane.{lane}.{what}"))))
    }

    /// So many events of the lane took so long.
    #[inline]
    pub(crate) fn record(&mut self, lane: Lane, took: Duration, many: u64) {
        self.0[lane.index()].record(took, many);
    }

    /// How old a block is that leaves the hub, from where it entered the mesh; by the
    /// clocks of both hubs.
    #[inline]
    fn record_age(&mut self, lane: Lane, block: &[u8], now: u64, events: u64) {
        let meter = &mut self.0[lane.index()];
        if meter.0.is_some()
            && let Some(stamp) = Block::trusted(block).stamp()
        {
            meter.record_nanos(now.saturating_sub(stamp.ingested.0), events);
        }
    }
}

/// How old events are as they leave the hub.
#[derive(Debug, Default)]
pub(crate) struct Leaving {
    delivered: LaneMeters,
    forwarded: LaneMeters,
}

impl Leaving {
    pub(crate) fn new(table: &Table) -> Self {
        Self { delivered: LaneMeters::new(table, "delivery"), forwarded: LaneMeters::new(table, "forward") }
    }

    /// A live block goes to a subscriber's socket.
    #[inline]
    pub(crate) fn delivers(&mut self, lane: Lane, block: &[u8], now: u64, events: u64) {
        self.delivered.record_age(lane, block, now, events);
    }

    /// A block goes to a link's socket.
    #[inline]
    pub(crate) fn forwards(&mut self, lane: Lane, block: &[u8], now: u64, events: u64) {
        self.forwarded.record_age(lane, block, now, events);
    }
}

/// How long round trips of links take, by the hub at the other end.
#[derive(Debug, Default)]
pub(crate) struct RoundTrips {
    by_peer: BTreeMap<String, Meter>,
    other: Meter,
    /// Where they are made; none: nothing is kept.
    is_on: bool,
}

impl RoundTrips {
    pub(crate) fn new(table: &Table) -> Self {
        Self { by_peer: BTreeMap::new(), other: Meter::new(table, "link.other.round_trip"), is_on: true }
    }

    /// A link of this hub stands: it has a histogram from now on, while there is room.
    pub(crate) fn begin(&mut self, table: &Table, peer: &str) {
        if self.is_on && self.by_peer.len() < LINKS && !self.by_peer.contains_key(peer) {
            self.by_peer.insert(peer.to_owned(), Meter::new(table, &format!("link.{peer}.round_trip")));
        }
    }

    /// One took so long.
    pub(crate) fn record(&mut self, peer: &str, took: Duration) {
        self.by_peer.get_mut(peer).unwrap_or(&mut self.other).record(took, 1);
    }
}

/// How old events are as they come over links, by the hub at the other end.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    by_hub: BTreeMap<HubId, Meter>,
    other: Meter,
    /// Where they are made; none: nothing is kept.
    is_on: bool,
}

impl Arrivals {
    pub(crate) fn new(table: &Table) -> Self {
        Self { by_hub: BTreeMap::new(), other: Meter::new(table, "link.other.arrival"), is_on: true }
    }

    /// So many events came from a hub, so many nanoseconds old; by the clocks of both
    /// that and the one where they entered the mesh. A hub has a histogram from its
    /// first block on, while there is room.
    #[inline]
    pub(crate) fn record(&mut self, from: HubId, nanos: u64, many: u64, counters: &Counters) {
        if !self.is_on {
            return;
        }
        if self.by_hub.len() < LINKS
            && !self.by_hub.contains_key(&from)
            && let Some((name, _)) = counters.link_of(from)
        {
            self.by_hub.insert(from, Meter::new(counters.table(), &format!("link.{name}.arrival")));
        }
        self.by_hub.get_mut(&from).unwrap_or(&mut self.other).record_nanos(nanos, many);
    }
}

/// The turns of one stage: how long a unit takes, and how long one that comes waits.
pub(crate) struct StageMeter {
    beat: Beat,
    service: Recorder,
    wait: Recorder,
    /// What a unit of the last turn took, in nanoseconds.
    each: u64,
}

impl StageMeter {
    pub(crate) fn new(table: &Table, stage: &str) -> Self {
        let beat = table.beat_of(&format!("stage.{stage}"));
        let named =
            |what| table.histogram(&format!("stage.{stage}.{what}"), Unit::Nanoseconds, Scale::NANOS, Some(&beat));
        let (service, wait) = (named("service"), named("wait"));
        Self { beat, service, wait, each: 0 }
    }
}

impl TurnMeter for StageMeter {
    fn turn(&mut self, now: Now, work: usize, took: Duration) {
        self.beat.beat(UnixNanos(now.wall.0));
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let work = work as u64;
        self.each = took / work.max(1);
        self.service.record_many(self.each, work);
    }

    /// What comes now waits for all that is there (Little's law).
    fn waits(&mut self, depth: u64) {
        self.wait.record(depth.saturating_mul(self.each));
    }
}

#[cfg(test)]
mod tests {
    use weft_observe::table::Look;

    use super::*;

    fn counts(table: &Table) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        table.each(|name, _, look: Look<'_>| {
            if let Some(snapshot) = look.snapshot() {
                all.insert(name.to_owned(), snapshot.count());
            }
        });
        all
    }

    #[test]
    fn links_have_histograms_of_their_own_up_to_the_bound_and_then_one_together() {
        let table = Table::default();
        let mut trips = RoundTrips::new(&table);
        for n in 0..LINKS + 10 {
            let peer = format!("hub-{n}");
            trips.begin(&table, &peer);
            trips.record(&peer, Duration::from_millis(3));
        }
        trips.begin(&table, "hub-0");
        trips.record("hub-0", Duration::from_millis(3));
        let counts = counts(&table);
        assert_eq!((counts.len(), table.left_out()), (LINKS + 1, 0));
        assert_eq!((counts["link.other.round_trip"], counts["link.hub-0.round_trip"]), (10, 2));
        let mut off = RoundTrips::default();
        off.begin(&table, "hub-77");
        off.record("hub-77", Duration::from_millis(3));
        assert_eq!(off.by_peer.len(), 0, "nothing is kept where it is switched off");
    }

    #[test]
    fn hubs_from_which_events_come_have_histograms_of_their_own_up_to_the_bound() {
        let counters = Counters::default();
        let mut arrivals = Arrivals::new(counters.table());
        for n in 0..LINKS + 10 {
            let name = format!("hub-{n}");
            drop(counters.link(&name));
            arrivals.record(HubId::of_name(&name), 3_000_000, 5, &counters);
        }
        arrivals.record(HubId::of_name("hub-0"), 3_000_000, 1, &counters);
        let counts = counts(counters.table());
        assert_eq!((counts.len(), counters.table().left_out()), (LINKS + 1, 0));
        assert_eq!((counts["link.other.arrival"], counts["link.hub-0.arrival"]), (50, 6));
        let mut off = Arrivals::default();
        off.record(HubId::of_name("hub-0"), 1, 1, &counters);
        assert_eq!(off.by_hub.len(), 0, "nothing is kept where it is switched off");
    }

    #[test]
    fn a_stage_says_what_a_unit_takes_and_how_long_the_next_one_waits() {
        let table = Table::default();
        let mut meter = StageMeter::new(&table, "route");
        let now = Now { wall: UnixNanos(7), ..Now::default() };
        meter.turn(now, 4, Duration::from_micros(8));
        meter.waits(10);
        let mut seen = BTreeMap::new();
        table.each(|name, _, look| {
            seen.insert(name.to_owned(), look.snapshot().map_or(look.number(), |s| s.largest() * 100 + s.count()));
        });
        assert_eq!(seen["stage.route"], 7);
        assert_eq!(seen["stage.route.service"], 200_004);
        assert_eq!(seen["stage.route.wait"], 2_000_001);
    }
}
