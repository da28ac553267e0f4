//! What is done with one counter: each is written by any thread, and nothing hangs
//! on the order in which others are seen. And the counters of one part of the hub.

use weft_base::sync::atomic::{AtomicU64, Ordering};

/// Adds to a counter or gauge.
#[inline]
pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

/// Takes from a gauge.
#[inline]
pub(crate) fn sub(gauge: &AtomicU64, n: u64) {
    gauge.fetch_sub(n, Ordering::Relaxed);
}

/// Sets a gauge.
#[inline]
pub(crate) fn set(gauge: &AtomicU64, n: u64) {
    gauge.store(n, Ordering::Relaxed);
}

/// Reads a counter.
#[inline]
pub(crate) fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// What was published in each lane, with its name; lanes that nobody used are left out.
pub(crate) fn by_lane(lanes: &[AtomicU64]) -> impl Iterator<Item = (String, u64)> {
    let used = lanes.iter().map(get).enumerate().filter(|(_, published)| *published > 0);
    used.map(|(lane, published)| (format!("lane.{lane}.published"), published))
}

/// The counters of one part of the hub, each with its name for `weft mesh show`; they
/// are listed once one of them is not 0.
macro_rules! counts {
    ($(#[$of:meta])* $part:ident { $($(#[$doc:meta])* $name:ident = $text:literal),+ $(,)? }) => {
        $(#[$of])*
        #[derive(Debug, Default)]
        pub struct $part {
            $($(#[$doc])* pub $name: weft_base::sync::atomic::AtomicU64,)+
        }

        impl $part {
            /// Every counter with its name; none while all are 0.
            pub(crate) fn list(&self) -> Vec<(String, u64)> {
                let all = vec![$(($text.to_owned(), $crate::counters::get(&self.$name))),+];
                if all.iter().all(|(_, value)| *value == 0) { Vec::new() } else { all }
            }
        }
    };
}
pub(crate) use counts;
