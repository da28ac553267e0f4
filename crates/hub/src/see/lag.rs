//! How far the consumers of this hub are behind, as the consume stage found it last:
//! written there once a second, read by whoever shows it.
//!
//! Bounded: so many consumers are told apart by their names as `see.consumers` says.
//! Who comes first is, until it is deleted; of the others together it is known how
//! many they are, how many events they are behind, and for how long at most.

use std::sync::PoisonError;

use weft_base::sync::atomic::AtomicU64;
use weft_base::sync::{Arc, Mutex};

use crate::counters::{get, set};

/// The most of [`super::SeeOptions::consumers`].
pub const MAX_CONSUMERS: usize = 4_096;

/// How far one consumer is behind.
#[derive(Debug)]
pub struct ConsumerLag {
    /// The name of its stream.
    pub stream: String,
    /// Its own name.
    pub consumer: String,
    events: AtomicU64,
    nanos: AtomicU64,
}

impl ConsumerLag {
    /// Events of its stream that are on disk and not settled.
    #[must_use]
    pub fn events(&self) -> u64 {
        get(&self.events)
    }

    /// How long ago the oldest of them entered the mesh, in nanoseconds; 0 without any.
    #[must_use]
    pub fn nanos(&self) -> u64 {
        get(&self.nanos)
    }

    pub(crate) fn show(&self, behind: Behind) {
        set(&self.events, behind.events);
        set(&self.nanos, behind.nanos);
    }
}

/// How far somebody is behind: events, and nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Behind {
    pub(crate) events: u64,
    pub(crate) nanos: u64,
}

/// The consumers that are told apart, and the others.
#[derive(Debug, Default)]
pub struct Lags {
    told: Mutex<Vec<Arc<ConsumerLag>>>,
    others: AtomicU64,
    other_events: AtomicU64,
    other_nanos: AtomicU64,
}

impl Lags {
    /// Those that are told apart, in the order in which they came.
    #[must_use]
    pub fn told(&self) -> Vec<Arc<ConsumerLag>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many others there are, the events that all of them are behind, and for how
    /// many nanoseconds one of them is at most.
    #[must_use]
    pub fn others(&self) -> (u64, u64, u64) {
        (get(&self.others), get(&self.other_events), get(&self.other_nanos))
    }

    pub(crate) fn show_others(&self, others: u64, behind: Behind) {
        set(&self.others, others);
        set(&self.other_events, behind.events);
        set(&self.other_nanos, behind.nanos);
    }

    /// A consumer is to be told apart, where there are fewer than `most`.
    pub(crate) fn tell(&self, stream: &str, consumer: &str, most: usize) -> Option<Arc<ConsumerLag>> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= most {
            return None;
        }
        let (events, nanos) = (AtomicU64::default(), AtomicU64::default());
        let lag = Arc::new(ConsumerLag { stream: stream.to_owned(), consumer: consumer.to_owned(), events, nanos });
        told.push(lag.clone());
        Some(lag)
    }

    /// A consumer is gone.
    pub(crate) fn forget(&self, lag: &Arc<ConsumerLag>) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).retain(|known| !Arc::ptr_eq(known, lag));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consumers_are_told_apart_up_to_the_bound_and_one_that_goes_makes_room() {
        let lags = Lags::default();
        let first = lags.tell("orders", "a", 2).expect("there is room");
        assert!(lags.tell("orders", "b", 2).is_some());
        assert!(lags.tell("orders", "c", 2).is_none());
        first.show(Behind { events: 7, nanos: 9 });
        assert_eq!(lags.told().iter().map(|lag| lag.events()).collect::<Vec<_>>(), [7, 0]);
        lags.forget(&first);
        assert!(lags.tell("orders", "c", 2).is_some());
        let names: Vec<String> = lags.told().iter().map(|lag| lag.consumer.clone()).collect();
        assert_eq!(names, ["b", "c"]);
        assert_eq!(lags.others(), (0, 0, 0));
    }
}
