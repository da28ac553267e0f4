//! Which consumers' states go to the other homes when: those that changed, each
//! in turn, as many in one turn of the stage as a number of blocks allows. A
//! state costs the blocks above its floor; the more they cost, the rarer they go.

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

use weft_base::Mono;

use super::entry::Key;

/// Blocks that are looked at in one turn; the last state may take more.
const TURN: u64 = 1_024;

/// Consumers that run here and have changed.
#[derive(Default)]
pub(super) struct Rounds {
    every: Duration,
    dirty: BTreeSet<Key>,
    last: Option<Key>,
    due: Option<Mono>,
}

impl Rounds {
    pub(super) fn new(every: Duration) -> Self {
        Self { every, ..Self::default() }
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.due
    }

    pub(super) fn is_due(&self, now: Mono) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    pub(super) fn changed(&mut self, key: Key, now: Mono) {
        self.dirty.insert(key);
        self.due.get_or_insert(now + self.every);
    }

    /// The next one, unless what was looked at in this turn is enough.
    pub(super) fn next(&mut self, looked_at: u64) -> Option<Key> {
        if looked_at >= TURN {
            return None;
        }
        let after = self.last.map_or(Unbounded, Excluded);
        let key = self.dirty.range((after, Unbounded)).next().or(self.dirty.first()).copied()?;
        self.last = Some(key);
        self.dirty.remove(&key);
        Some(key)
    }

    /// The turn is over: so many blocks were looked at in it. Others that wait
    /// have theirs after as many intervals as it was worth, at least one.
    pub(super) fn over(&mut self, looked_at: u64, now: Mono) {
        let turns = u32::try_from(looked_at / TURN).unwrap_or(u32::MAX);
        // Also when nobody waits: who changes next waits as long.
        self.due = (turns > 0 || !self.dirty.is_empty()).then(|| now + self.every.saturating_mul(turns.max(1)));
    }

    /// All that have changed, at once.
    pub(super) fn take_all(&mut self) -> BTreeSet<Key> {
        self.due = None;
        std::mem::take(&mut self.dirty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_turn_and_what_costs_much_goes_seldom() {
        let key = |place| Key { place, serial: 1 };
        let at = |ms: u64| Mono(ms * 1_000_000);
        let mut rounds = Rounds::new(Duration::from_millis(100));
        (0..3).for_each(|place| rounds.changed(key(place), at(0)));
        assert!(!rounds.is_due(at(99)) && rounds.is_due(at(100)));
        // Cheap ones go in one turn.
        assert_eq!([0, 10, 20, 30].map(|cost| rounds.next(cost)), [Some(key(0)), Some(key(1)), Some(key(2)), None]);
        rounds.over(30, at(100));
        assert_eq!(rounds.next_deadline(), None);
        // Of dear ones that change again and again each has its turn.
        let mut order = Vec::new();
        let mut now = 200;
        for _ in 0..6 {
            (0..3).for_each(|place| rounds.changed(key(place), at(now)));
            order.extend(rounds.next(0).map(|key| key.place));
            assert_eq!(rounds.next(4_096), None, "enough for one turn");
            rounds.over(4_096, at(now));
            assert_eq!(rounds.next_deadline(), Some(at(now + 400)));
            now += 400;
        }
        assert_eq!(order, [0, 1, 2, 0, 1, 2]);
        assert_eq!(rounds.take_all().len(), 2);
        // Nobody waits: who changes next waits all the same.
        rounds.changed(key(7), at(now));
        assert_eq!(rounds.next(0), Some(key(7)));
        rounds.over(2_048, at(now));
        rounds.changed(key(7), at(now));
        assert_eq!(rounds.next_deadline(), Some(at(now + 200)));
    }
}
