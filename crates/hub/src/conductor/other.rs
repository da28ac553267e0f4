//! When to dial any other hub that is known, because no neighbour is to be had:
//! once no link has stood for a while, with the pauses of neighbours, and one at
//! a time. Its link ends when a configured neighbour is back and has lasted. As
//! a pure decider.

use std::collections::BTreeMap;
use std::time::Duration;

use weft_base::{Mono, Random};

use crate::messages::SessionId;

/// One link to a hub that is no configured neighbour.
pub(super) struct Other {
    /// After how long without a link it is dialled; zero for never.
    after: Duration,
    /// The pauses between tries: the first, doubled up to the longest.
    pauses: (Duration, Duration),
    random: Random,
    due: Option<Mono>,
    failures: u32,
    /// It is being dialled, or linked.
    is_out: bool,
    link: Option<SessionId>,
    /// Since when links to configured neighbours stand.
    neighbours: BTreeMap<usize, Mono>,
}

impl Other {
    pub(super) fn new(after: Duration, pauses: (Duration, Duration), random: Random) -> Self {
        let neighbours = BTreeMap::new();
        Self { after, pauses, random, due: None, failures: 0, is_out: false, link: None, neighbours }
    }

    /// The first time there is nothing to wait for.
    pub(super) fn at_once(&mut self) {
        self.due = Some(Mono(0));
    }

    /// The one of so many to begin with that is tried now, any of them: at first,
    /// and every other time.
    pub(super) fn seed(&mut self, seeds: usize) -> Option<usize> {
        if seeds == 0 || !self.failures.is_multiple_of(2) {
            return None;
        }
        Some(self.random.below(seeds as u64) as usize)
    }

    /// There may be somebody to dial where there was nobody: what is due is so now.
    pub(super) fn hurry(&mut self, now: Mono) {
        self.due = self.due.map(|due| due.min(now));
    }

    /// Tries that came to nothing, in a row.
    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether the hub has any link now.
    pub(super) fn linked(&mut self, is_linked: bool, now: Mono) {
        match self.due {
            Some(_) if is_linked => (self.due, self.failures) = (None, 0),
            None if !is_linked && !self.is_out && self.after > Duration::ZERO => self.due = Some(now + self.after),
            _ => {}
        }
    }

    /// Whether to dial now; it counts as being dialled from here on.
    pub(super) fn is_due(&mut self, now: Mono) -> bool {
        let is_due = self.due.take_if(|at| *at <= now).is_some();
        self.is_out |= is_due;
        is_due
    }

    /// The link that was dialled stands.
    pub(super) fn up(&mut self, link: SessionId) {
        self.link = Some(link);
    }

    /// The dial failed, or the link was lost; answers the pause before the next try.
    pub(super) fn down(&mut self, now: Mono) -> Duration {
        if self.link.take().is_some() {
            self.failures = 0;
        }
        let (first, most) = self.pauses;
        let pause = self.random.pause(first, most, self.failures);
        self.failures = self.failures.saturating_add(1);
        (self.due, self.is_out) = (Some(now + pause), false);
        pause
    }

    /// A configured neighbour is there, or gone.
    pub(super) fn neighbour(&mut self, index: usize, is_up: bool, now: Mono) {
        if is_up {
            self.neighbours.entry(index).or_insert(now);
        } else {
            self.neighbours.remove(&index);
        }
    }

    /// The link that is not needed any more, once.
    pub(super) fn settled(&mut self, now: Mono) -> Option<SessionId> {
        self.settles_at().is_some_and(|at| at <= now).then(|| self.link.take())?
    }

    fn settles_at(&self) -> Option<Mono> {
        self.link?;
        self.neighbours.values().map(|up| *up + self.after).min()
    }

    /// When something is due.
    pub(super) fn next(&self) -> Option<Mono> {
        self.due.into_iter().chain(self.settles_at()).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(100);
    const AFTER: Duration = Duration::from_secs(30);
    const LINK: SessionId = SessionId(7);

    fn at(seconds: u64) -> Mono {
        Mono(0) + Duration::from_secs(seconds)
    }

    fn other(after: Duration) -> Other {
        Other::new(after, (FIRST, Duration::from_secs(10)), Random::from_seed(4))
    }

    #[test]
    fn it_is_dialled_when_no_link_has_stood_for_a_while_and_no_more_once_one_does() {
        let mut other = other(AFTER);
        other.linked(false, at(0));
        assert!(!other.is_due(at(29)));
        // A link came and went: the while begins again.
        other.linked(true, at(29));
        other.linked(false, at(31));
        assert!(!other.is_due(at(60)) && other.is_due(at(61)));
        other.linked(false, at(62));
        assert!(!other.is_due(at(999)), "it is being dialled");
        assert!(other.down(at(62)) <= FIRST, "it is tried again after a pause");
        assert!(other.is_due(at(63)));
        other.up(LINK);
        other.linked(true, at(63));
        other.down(at(70));
        other.linked(true, at(70));
        assert!(!other.is_due(at(999)), "another link stands");
    }

    #[test]
    fn pauses_grow_up_to_the_longest() {
        let mut other = other(AFTER);
        let longest = (0..60).map(|_| other.down(at(0))).max().expect("some");
        assert!(longest > Duration::from_secs(5) && longest <= Duration::from_secs(10), "{longest:?}");
    }

    #[test]
    fn its_link_ends_once_when_a_neighbour_is_back_and_has_lasted() {
        let mut other = other(AFTER);
        other.up(LINK);
        assert_eq!((other.settled(at(999)), other.next()), (None, None));
        other.neighbour(0, true, at(10));
        other.neighbour(0, false, at(20));
        other.neighbour(0, true, at(30));
        assert_eq!((other.settled(at(59)), other.next()), (None, Some(at(60))));
        assert_eq!((other.settled(at(60)), other.settled(at(61))), (Some(LINK), None));
    }

    #[test]
    fn without_a_time_no_other_hub_is_dialled() {
        let mut other = other(Duration::ZERO);
        other.linked(false, at(0));
        assert_eq!((other.is_due(at(999)), other.next()), (false, None));
    }
}
