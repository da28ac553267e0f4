//! What is done with one counter: each is written by any thread, and nothing hangs
//! on the order in which others are seen. And the counters of one part of the hub.

use weft_base::sync::atomic::{AtomicU64, Ordering};
use weft_observe::layout::Unit;
use weft_observe::{Table, Value};

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
pub(crate) fn by_lane(lanes: &[Value]) -> impl Iterator<Item = (String, u64)> {
    let used = lanes.iter().map(|lane| get(lane)).enumerate().filter(|(_, published)| *published > 0);
    used.map(|(lane, published)| (format!("lane.{lane}.published"), published))
}

/// A counter or gauge of this name: which of them, the first line of its text says.
pub(crate) fn value(table: &Table, name: &str, text: &[&str]) -> Value {
    let units = [
        ("_bytes", Unit::Bytes),
        (".bytes", Unit::Bytes),
        ("_ns", Unit::Nanoseconds),
        ("_us", Unit::Microseconds),
        ("_ms", Unit::Milliseconds),
        ("_permille", Unit::Permille),
    ];
    let unit = units.iter().find(|(end, _)| name.ends_with(end)).map_or(Unit::Number, |(_, unit)| *unit);
    let is_gauge = text.first().is_some_and(|line| line.trim_start().starts_with("Gauge"));
    if is_gauge { table.gauge(name, unit, None) } else { table.counter(name, unit, None) }
}

/// The counters of one part of the hub, each with its name for `weft mesh show`; they
/// are listed once one of them is not 0.
macro_rules! counts {
    ($(#[$of:meta])* $part:ident { $($(#[doc = $doc:literal])* $name:ident = $text:literal),+ $(,)? }) => {
        $(#[$of])*
        #[derive(Debug)]
        pub struct $part {
            $($(#[doc = $doc])* pub $name: weft_observe::Value,)+
        }

        impl $part {
            pub(crate) const TEXTS: &[(&str, &[&str])] = &[$(($text, &[$($doc),*])),+];

            /// In this table, at zero.
            pub(crate) fn of(table: &weft_observe::Table) -> Self {
                Self { $($name: $crate::counters::value(table, $text, &[$($doc),*]),)+ }
            }

            /// Every counter with its name; none while all are 0.
            pub(crate) fn list(&self) -> Vec<(String, u64)> {
                let all = vec![$(($text.to_owned(), $crate::counters::get(&self.$name))),+];
                if all.iter().all(|(_, value)| *value == 0) { Vec::new() } else { all }
            }
        }
    };
}
pub(crate) use counts;
