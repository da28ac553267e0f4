//! How often, and for how long, somebody was held back for want of credit or room.
//!
//! A stall counts as it begins. Its time counts as it ends and, while it lasts, with
//! each block that comes to wait too: so that a long one is seen before it is over.
//! Nothing is counted of who is not held back.

use weft_base::sync::atomic::AtomicU64;
use weft_base::{Lane, Mono};
use weft_observe::layout::Unit;
use weft_observe::{Table, Value};

use super::{add, get};

/// One that may be held back: since when it is, as far as that is not counted yet.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stall(Option<Mono>);

impl Stall {
    /// It is held back now, or not. Counts that it began, and the time since the last call.
    #[inline]
    pub(crate) fn set(&mut self, is_held: bool, now: Mono, (begun, nanos): (&AtomicU64, &AtomicU64)) {
        match self.0 {
            None if is_held => add(begun, 1),
            Some(since) if since < now => add(nanos, now.0 - since.0),
            _ => {}
        }
        self.0 = is_held.then_some(now);
    }

    /// Whether it is held back.
    #[inline]
    pub(crate) fn is_held(self) -> bool {
        self.0.is_some()
    }
}

/// What holds publishers back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldBy {
    /// A subscriber that makes its publishers wait.
    Subscriber = 0,
    /// A stream that has not stored what was published before, here or at its home.
    Stream = 1,
    /// The hub has more to do in the lane than it can.
    Load = 2,
    /// The quota of the tenant or the identity.
    Quota = 3,
}

impl HeldBy {
    /// All of them, in the order of their numbers.
    const ALL: [Self; 4] = [Self::Subscriber, Self::Stream, Self::Load, Self::Quota];

    const fn name(self) -> &'static str {
        match self {
            Self::Subscriber => "subscriber",
            Self::Stream => "stream",
            Self::Load => "load",
            Self::Quota => "quota",
        }
    }
}

/// Stalls of publishers and their time in nanoseconds, by what held them back and by lane.
#[derive(Debug)]
pub struct PublishStalls([[(Value, Value); Lane::COUNT]; HeldBy::ALL.len()]);

impl PublishStalls {
    pub(super) fn of(table: &Table) -> Self {
        Self(HeldBy::ALL.map(|by| {
            std::array::from_fn(|lane| {
                let value = |what, unit| table.counter(&format!("publish.{what}.{}.{lane}", by.name()), unit, None);
                (value("stalls", Unit::Number), value("stalled_ns", Unit::Nanoseconds))
            })
        }))
    }

    /// What is counted of one lane: how often, and for how many nanoseconds.
    #[inline]
    #[must_use]
    pub fn of_lane(&self, by: HeldBy, lane: Lane) -> (&AtomicU64, &AtomicU64) {
        let (begun, nanos) = &self.0[by as usize][lane.index()];
        (begun, nanos)
    }

    /// Those that are not 0, with their names.
    pub(super) fn list(&self) -> impl Iterator<Item = (String, u64)> {
        HeldBy::ALL.into_iter().zip(&self.0).flat_map(|(by, lanes)| {
            lanes.iter().enumerate().flat_map(move |(lane, (begun, nanos))| {
                let named = |what: &str, value: u64| (format!("publish.{what}.{}.{lane}", by.name()), value);
                [named("stalls", get(begun)), named("stalled_ns", get(nanos))].into_iter().filter(|(_, n)| *n > 0)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_counts_as_it_begins_and_its_time_as_it_goes_on_and_ends() {
        let (begun, nanos) = (AtomicU64::default(), AtomicU64::default());
        let mut stall = Stall::default();
        let mut counted = |is_held, at| {
            stall.set(is_held, Mono(at), (&begun, &nanos));
            (stall.is_held(), get(&begun), get(&nanos))
        };
        assert_eq!(counted(false, 5), (false, 0, 0), "who is not held back counts nothing");
        assert_eq!(counted(true, 10), (true, 1, 0));
        assert_eq!(counted(true, 10), (true, 1, 0), "in the same turn");
        assert_eq!(counted(true, 30), (true, 1, 20), "it is seen while it lasts");
        assert_eq!(counted(false, 35), (false, 1, 25));
        assert_eq!(counted(false, 90), (false, 1, 25));
        assert_eq!(counted(true, 100), (true, 2, 25));
    }

    #[test]
    fn what_holds_publishers_back_is_told_apart_by_lane() {
        let stalls = PublishStalls::of(&Table::default());
        let mut stall = Stall::default();
        for (is_held, at) in [(true, 1), (false, 4)] {
            stall.set(is_held, Mono(at), stalls.of_lane(HeldBy::Quota, Lane::URGENT));
        }
        let listed: Vec<(String, u64)> = stalls.list().collect();
        let lane = Lane::URGENT.index();
        let expected = [(format!("publish.stalls.quota.{lane}"), 1), (format!("publish.stalled_ns.quota.{lane}"), 3)];
        assert_eq!(listed, expected);
    }
}
