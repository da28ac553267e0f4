//! How far each consumer is behind, looked at once a second: events that are on disk
//! and not settled, and how long ago the oldest of them entered the mesh.
//!
//! That is asked of the decider, and of the log once for each place of the floor. At
//! most [`LOOKS`] consumers are looked at in a turn; with more, a round takes several.

use std::time::Duration;

use weft_base::Mono;

use super::ConsumeStage;
use super::entry::Entry;
use crate::counters::set;
use crate::see::lag::Behind;

/// How often all of them are looked at.
const EVERY: Duration = Duration::from_secs(1);
/// Consumers looked at in one turn.
const LOOKS: usize = 32;

/// A round of looks.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// When the next round begins, or goes on; none while there are no consumers.
    due: Option<Mono>,
    /// The place of the next one; 0 before a round.
    at: usize,
    /// What was found in this round, of all and of those that are not told apart.
    most: Behind,
    others: (u64, Behind),
}

impl Looks {
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.due
    }

    /// There is a consumer.
    pub(super) fn wake(&mut self, now: Mono) {
        self.due.get_or_insert(now);
    }
}

impl ConsumeStage {
    /// Looks how far consumers are behind, when it is time.
    pub(super) fn look_at_lags(&mut self) {
        let now = self.now;
        if self.looks.due.is_none_or(|due| due > now.mono) {
            return;
        }
        let end = (self.looks.at + LOOKS).min(self.entries.len());
        for place in self.looks.at..end {
            let behind = match self.entries.get_mut(place).and_then(Option::as_mut) {
                Some(entry) => entry.behind(now.wall.0),
                None => continue,
            };
            self.tell_lag(place, behind);
        }
        self.looks.at = end;
        if end < self.entries.len() {
            self.looks.due = Some(now.mono);
            return;
        }
        let Looks { most, others: (others, behind), .. } = std::mem::take(&mut self.looks);
        set(&self.counters.consumer_lag_events, most.events);
        set(&self.counters.consumer_lag_ms, most.nanos / 1_000_000);
        self.counters.lags.show_others(others, behind);
        let are_any = self.entries.iter().any(Option::is_some);
        self.looks.due = are_any.then(|| now.mono + EVERY);
    }

    fn tell_lag(&mut self, place: usize, behind: Behind) {
        let Some(entry) = self.entries.get_mut(place).and_then(Option::as_mut) else { return };
        if entry.lag.is_none()
            && let Some(stream) = self.streams.get(&entry.slot)
        {
            entry.lag = self.counters.lags.tell(&stream.name, &entry.definition.name, self.options.see.consumers);
        }
        let looks = &mut self.looks;
        looks.most.events = looks.most.events.max(behind.events);
        looks.most.nanos = looks.most.nanos.max(behind.nanos);
        match &entry.lag {
            Some(lag) => lag.show(behind),
            None => {
                let (others, together) = &mut looks.others;
                *others += 1;
                together.events = together.events.saturating_add(behind.events);
                together.nanos = together.nanos.max(behind.nanos);
            }
        }
    }

    /// A consumer is gone: so is what was told of it.
    pub(super) fn forget_lag(&self, entry: &Entry) {
        if let Some(lag) = &entry.lag {
            self.counters.lags.forget(lag);
        }
    }
}

impl Entry {
    /// How far it is behind, at this time in Unix nanoseconds.
    fn behind(&mut self, wall: u64) -> Behind {
        let end = self.again.synced();
        let events = self.consumer.lag(end);
        if events == 0 {
            self.oldest = None;
            return Behind::default();
        }
        let floor = self.consumer.floor().max(self.again.first());
        if self.oldest.is_none_or(|(of, _)| of != floor) {
            // A reader of its own: it moves none of the others from its place.
            let block = self.again.clone().read(floor, end, 1).ok().and_then(|mut blocks| blocks.next());
            let ingested = block.and_then(|block| Some(block.block().stamp()?.ingested.0));
            // Where it cannot be read, it is as old as the one before.
            self.oldest = ingested.or(self.oldest.map(|(_, at)| at)).map(|at| (floor, at));
        }
        Behind { events, nanos: self.oldest.map_or(0, |(_, at)| wall.saturating_sub(at)) }
    }
}
