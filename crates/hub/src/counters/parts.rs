//! What is counted of the links to each other hub, and shown of each stage. As many
//! as there are hubs that this one was ever linked to, and stages.

use weft_base::sync::atomic::AtomicU64;
use weft_base::{HubId, Lane};
use weft_observe::layout::Unit;
use weft_observe::{Table, Value};

use super::value;
use crate::see::crossing::LinkColumn;

macro_rules! links {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal),+ $(,)?) => {
        /// What crossed the links to one hub since the start, through all their lives.
        /// Blocks that were sent again count again.
        #[derive(Debug)]
        pub struct LinkCounters {
            $($(#[doc = $doc])* pub $name: Value,)+
            /// The id of the hub at the other end.
            pub hub: u64,
            /// Events written to the link by lane, of those that are written as blocks.
            pub lanes_out: [Value; Lane::COUNT],
            /// What crossed them by classes of topics.
            pub(crate) columns: Box<[LinkColumn]>,
        }

        impl LinkCounters {
            pub(super) const TEXTS: &[(&str, &[&str])] = &[$(($text, &[$($doc),*])),+];

            /// Of the links to a hub; words of their own where the table has no room.
            pub(super) fn of(table: &Table, peer: &str, columns: usize) -> Self {
                Self {
                    $($name: value(table, &format!("link.{peer}.{}", $text), &[$($doc),*]),)+
                    hub: HubId::of_name(peer).0,
                    lanes_out: std::array::from_fn(|lane| {
                        table.counter(&format!("link.{peer}.lane_{lane}_out"), Unit::Events, None)
                    }),
                    columns: (0..columns).map(|_| LinkColumn::default()).collect(),
                }
            }

            pub(super) fn each(&self) -> [(&'static str, &AtomicU64); [$($text),+].len()] {
                [$(($text, &self.$name)),+]
            }
        }
    };
}

links! {
    /// Gauge: the version of the protocol that the newest link speaks.
    version = "version",
    /// Gauge: the largest window of a lane that this hub grants over the newest link, in bytes.
    window = "window",
    /// Gauge: how many connections the newest link has.
    connections = "connections",
    /// Gauge: links that stand to the hub.
    up = "up",
    /// Gauge: how long a round trip takes, in microseconds; 0 before the first one.
    round_trip_us = "round_trip_us",
    /// Events written to the link.
    events_out = "events_out",
    /// Blocks written to the link.
    blocks_out = "blocks_out",
    /// Bytes of blocks and their heads written to the link.
    bytes_out = "bytes_out",
    /// Events that came over the link and were taken in.
    events_in = "events_in",
    /// Blocks that came over the link.
    blocks_in = "blocks_in",
    /// Bytes of blocks and their heads that came over the link.
    bytes_in = "bytes_in",
    /// Gauge: how blocks are packed on the newest link: 0 not, 1 LZ4, 2 Zstandard.
    packing = "compression",
    /// What `bytes_out` came to on the line: less where blocks were packed.
    wire_out = "wire_out",
    /// What `bytes_in` came to on the line.
    wire_in = "wire_in",
    /// Events that the other hub sent over the link and that went uncounted before this hub had them.
    missing_in = "missing_in",
    /// Events that came over the link and that the other hub did not send.
    surplus_in = "surplus_in",
    /// Events that this hub sent and for which the other one has answered.
    compared_out = "compared_out",
    /// Events that this hub sent and that the other one says it is short of, or has too many.
    missing_out = "missing_out",
    /// Times that a lane of the link began to wait for credit of the other hub.
    credit_stalls = "credit_stalls",
    /// How long its lanes waited for it, all together.
    credit_stalled_ns = "credit_stalled_ns",
    /// Events written to links that ended before the other hub had said that it has them.
    unsure_out = "unsure_out",
}

macro_rules! stages {
    ($($(#[doc = $doc:literal])* $name:ident),+ $(,)?) => {
        /// What a stage did in the last interval of the control stage; all its shards
        /// together.
        #[derive(Debug)]
        pub struct StageGauges {
            /// The stage.
            pub name: &'static str,
            $($(#[doc = $doc])* pub $name: Value,)+
        }

        impl StageGauges {
            pub(super) const TEXTS: &[(&str, &[&str])] = &[$((stringify!($name), &[$($doc),*])),+];

            pub(super) fn of(table: &Table, name: &'static str) -> Self {
                let named = |what: &str| format!("stage.{name}.{what}");
                Self { name, $($name: value(table, &named(stringify!($name)), &[$($doc),*]),)+ }
            }

            pub(super) fn each(&self) -> [(&'static str, &AtomicU64); [$(stringify!($name)),+].len()] {
                [$((stringify!($name), &self.$name)),+]
            }
        }
    };
}

stages! {
    /// Gauge: units that wait for it.
    depth,
    /// Gauge: how full its queues are, in thousandths of what they hold; 0 where that is not known.
    full_permille,
    /// Gauge: how long one waits, by Little's law, in microseconds.
    wait_us,
    /// Gauge: its work per unit, in nanoseconds.
    service_ns,
    /// Gauge: units per turn in which it did something.
    batch,
    /// Gauge: the share of the interval in which it worked, in thousandths; with n
    /// shards up to n thousand.
    busy_permille,
    /// Gauge: its shards that are in use.
    shards,
    /// Gauge: 1 when it has a thread of its own.
    own_thread,
}
