//! Identifiers, each a type of its own so that one cannot be passed for another.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($raw:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $raw);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:x}", self.0)
            }
        }
    };
}

id! {
    /// A hub, for as long as it keeps its name: see [`HubId::of_name`].
    HubId(u64)
}
id! {
    /// One life of a hub: greater at each start, so that what an earlier life
    /// said can be told from what this one says. Seconds since 1970.
    Epoch(u32)
}
id! {
    /// A producer of events, chosen at random by a client when it is made and
    /// kept through its reconnections.
    ProducerId(u64)
}
id! {
    /// A tenant; 0 is the default tenant.
    TenantId(u32)
}
id! {
    /// A stream among the streams of one hub.
    StreamId(u32)
}
id! {
    /// A subscription among those of one session, chosen by the client.
    SubscriptionId(u64)
}

id! {
    /// Where events may be: at hubs that carry a label, or all of several
    /// labels; 0 everywhere. See [`Residency::of`].
    Residency(u32)
}

impl Residency {
    /// Everywhere.
    pub const ANYWHERE: Residency = Residency(0);

    /// Hubs that carry all of these labels, given in ascending order: XXH3-64 of
    /// the names, a zero byte after each but the last, folded to 32 bits, so that
    /// every hub computes the same number with nobody to ask. No label: anywhere.
    #[must_use]
    pub fn of(labels: &[&str]) -> Self {
        if labels.is_empty() {
            return Self::ANYWHERE;
        }
        Self(HubId::of_name(&labels.join("\0")).tag())
    }

    /// Whether it says anything.
    #[must_use]
    pub const fn is_bound(self) -> bool {
        self.0 != 0
    }
}

id! {
    /// Which of several ways of like cost a block takes through the mesh: the
    /// same at every hub, from its first to its last. See [`Way::of_topic`].
    Way(u8)
}

impl Way {
    /// The cheapest: of what must keep to one way, and all there is where blocks
    /// are not spread.
    pub const MAIN: Way = Way(0);
    /// The most ways that a mesh may have.
    pub const MOST: u8 = 16;

    /// The way of what is published on a topic, of so many. With one more, only
    /// the share of the new one moves.
    #[must_use]
    pub fn of_topic(topic: &str, ways: u8) -> Self {
        Self::of_hash(xxhash_rust::xxh3::xxh3_64(topic.as_bytes()), ways)
    }

    /// The way of what a producer publishes for streams, of so many.
    #[must_use]
    pub fn of_producer(producer: ProducerId, ways: u8) -> Self {
        Self::of_hash(xxhash_rust::xxh3::xxh3_64(&producer.0.to_le_bytes()), ways)
    }

    fn of_hash(hash: u64, ways: u8) -> Self {
        // Below 16, which fits.
        Self(crate::buckets::jump(hash, ways.min(Self::MOST).into()) as u8)
    }
}

impl HubId {
    /// The id of the hub of this name: XXH3-64 of its UTF-8 bytes, so that
    /// every hub computes the same id with nobody to ask. Never zero.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        Self(xxhash_rust::xxh3::xxh3_64(name.as_bytes()).max(1))
    }

    /// The id folded to 32 bits, where a layout has no room for all of it: by
    /// it blocks name the home they entered a stream at. Never zero. Two hubs
    /// may share one, so a stream whose homes do is refused.
    #[must_use]
    pub const fn tag(self) -> u32 {
        let folded = (self.0 >> 32) as u32 ^ self.0 as u32;
        if folded == 0 { 1 } else { folded }
    }
}

/// A priority: 0 is the most urgent, 7 the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane(u8);

impl Lane {
    /// How many lanes there are.
    pub const COUNT: usize = 8;
    /// The lane for what overtakes all else.
    pub const URGENT: Lane = Lane(0);
    /// The lane of events that name none.
    pub const DEFAULT: Lane = Lane(4);
    /// The lane for what may wait.
    pub const BULK: Lane = Lane(7);

    /// The lane of this number, 0 to 7.
    #[must_use]
    pub const fn new(number: u8) -> Option<Lane> {
        if (number as usize) < Self::COUNT { Some(Lane(number)) } else { None }
    }

    /// The lane's number, for layouts.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The lane's number, for indexing an array of [`Lane::COUNT`].
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// All lanes, the most urgent first.
    pub fn all() -> impl Iterator<Item = Lane> {
        (0..Self::COUNT as u8).map(Lane)
    }
}

impl Default for Lane {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hubs_id_is_fixed_for_ever() {
        // On disk and on the wire: this number must never change.
        assert_eq!(HubId::of_name("new-york").0, xxhash_rust::xxh3::xxh3_64(b"new-york"));
        assert_eq!(HubId::of_name("").0, 0x2d06_8005_38d3_94c2);
        assert_eq!(HubId::of_name("").tag(), 0x2d06_8005 ^ 0x38d3_94c2);
        assert_eq!(HubId(0x7_0000_0007).tag(), 1, "never zero");
    }

    #[test]
    fn a_residency_is_fixed_for_ever() {
        let eu = xxhash_rust::xxh3::xxh3_64(b"eu");
        assert_eq!(Residency::of(&["eu"]).0, (eu >> 32) as u32 ^ eu as u32, "in blocks, on disk and on the wire");
        assert_eq!(Residency::of(&[]), Residency::ANYWHERE);
        assert_ne!(Residency::of(&["eu", "gdpr"]), Residency::of(&["eugdpr"]));
    }

    #[test]
    fn topics_and_producers_are_spread_over_the_ways_there_are() {
        let counts = |of: &dyn Fn(u64) -> Way| {
            let mut counts = [0; 8];
            (0..8_000).for_each(|n| counts[usize::from(of(n).0)] += 1);
            counts
        };
        let topics = counts(&|n| Way::of_topic(&format!("plant/{n}"), 8));
        let producers = counts(&|n| Way::of_producer(ProducerId(n), 8));
        assert!(topics.iter().chain(&producers).all(|count| (850..1_150).contains(count)), "{topics:?} {producers:?}");
        for topic in ["a", "plant/7", "b/c"] {
            assert_eq!([Way::of_topic(topic, 0), Way::of_topic(topic, 1)], [Way::MAIN; 2]);
            assert!(Way::of_topic(topic, u8::MAX).0 < Way::MOST);
        }
    }

    #[test]
    fn lanes_are_eight() {
        assert_eq!(Lane::new(8), None);
        assert_eq!(Lane::all().count(), Lane::COUNT);
        assert_eq!(Lane::new(7), Some(Lane::BULK));
    }
}
