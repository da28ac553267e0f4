//! What a stream captures and keeps, as a client defines it and a hub reports it.

use std::time::Duration;

use weft_base::ByteCount;
use weft_wire::frame;

pub use weft_wire::frame::{Consistency, LastValues, Retention, StreamRole, Unreachable};

/// What a stream captures, what it keeps, for how long and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamOptions {
    /// Its name: 1 to 64 of `a-z`, `0-9` and `-`.
    pub name: String,
    /// The same at all its homes; `None`: the hub that makes it chooses.
    pub id: Option<u64>,
    /// The topic filters that it captures.
    pub filters: Vec<String>,
    /// How much it keeps, the oldest goes first; `None`: what the hub's configuration says.
    pub retain_bytes: Option<ByteCount>,
    /// How long it keeps an event; `None`: what the hub's configuration says.
    pub retain_age: Option<Duration>,
    /// How many events it keeps; `None`: any number.
    pub retain_events: Option<u64>,
    /// The size of its segment files; `None`: what the hub's configuration says.
    pub segment: Option<ByteCount>,
    /// What it keeps within those bounds.
    pub retention: Retention,
    /// Whether only the newest event of each topic and key is kept for good.
    pub compact: bool,
    /// With `compact`: how long an event without payload, which deletes its
    /// key, is kept itself; `None`: the hub's default.
    pub tombstone_age: Option<Duration>,
    /// Which last values it keeps at hand.
    pub last: LastValues,
    /// How long after its last event a producer is remembered, so that what it
    /// publishes again is no second event; `None`: the hub's default.
    pub dedup_window: Option<Duration>,
    /// What its readers may see.
    pub consistency: Consistency,
    /// The names of the hubs that keep it and take publishes; none: the hub that makes it.
    pub homes: Vec<String>,
    /// The stream that this one is a read-only copy of.
    pub mirror_of: Option<String>,
    /// Of a mirror: the beginning of topics that is replaced, and by what.
    pub mirror_prefix: Option<(String, String)>,
    /// What becomes of publishes while no home can be reached.
    pub unreachable: Unreachable,
    /// The tenant whose it is, whose quota its bytes count against. Who is of a
    /// tenant makes streams of that one, named or not; who is of none may name one.
    pub tenant: Option<String>,
    /// The largest event it takes, key, headers and payload together; `None`: any.
    pub max_event: Option<ByteCount>,
}

impl StreamOptions {
    /// A stream of this name that captures this filter.
    #[must_use]
    pub fn new(name: impl Into<String>, filter: impl Into<String>) -> Self {
        Self { name: name.into(), filters: vec![filter.into()], ..Self::default() }
    }

    /// As it is sent.
    /// As it goes over the wire.
    #[must_use]
    pub fn spec(&self) -> frame::StreamSpec<'_> {
        let millis = |age: Option<Duration>| age.map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        let prefix = self.mirror_prefix.as_ref();
        frame::StreamSpec {
            name: &self.name,
            id: self.id.unwrap_or_default(),
            filters: self.filters.iter().map(String::as_str).collect(),
            retain_bytes: self.retain_bytes.map_or(0, |bytes| bytes.0),
            retain_age_ms: millis(self.retain_age),
            retain_events: self.retain_events.unwrap_or_default(),
            segment_bytes: self.segment.map_or(0, |bytes| bytes.0),
            retention: self.retention,
            compact: self.compact,
            tombstone_age_ms: millis(self.tombstone_age),
            last: self.last,
            dedup_window_ms: millis(self.dedup_window),
            consistency: self.consistency,
            homes: self.homes.iter().map(String::as_str).collect(),
            mirror_of: self.mirror_of.as_deref().unwrap_or_default(),
            mirror_prefix: prefix.map_or(("", ""), |(from, to)| (from, to)),
            unreachable: self.unreachable,
            tenant: self.tenant.as_deref().unwrap_or_default(),
            max_event: self.max_event.map_or(0, |most| u32::try_from(most.0).unwrap_or(u32::MAX)),
        }
    }

    /// As it was reported.
    pub(crate) fn of(spec: &frame::StreamSpec<'_>) -> Self {
        let some = |value: u64| (value > 0).then_some(value);
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let (from, to) = spec.mirror_prefix;
        Self {
            name: spec.name.to_owned(),
            id: some(spec.id),
            filters: spec.filters.iter().map(|filter| (*filter).to_owned()).collect(),
            retain_bytes: some(spec.retain_bytes).map(ByteCount),
            retain_age: some(spec.retain_age_ms).map(Duration::from_millis),
            retain_events: some(spec.retain_events),
            segment: some(spec.segment_bytes).map(ByteCount),
            retention: spec.retention,
            compact: spec.compact,
            tombstone_age: some(spec.tombstone_age_ms).map(Duration::from_millis),
            last: spec.last,
            dedup_window: some(spec.dedup_window_ms).map(Duration::from_millis),
            consistency: spec.consistency,
            homes: spec.homes.iter().map(|home| (*home).to_owned()).collect(),
            mirror_of: text(spec.mirror_of),
            mirror_prefix: (!from.is_empty() || !to.is_empty()).then(|| (from.to_owned(), to.to_owned())),
            unreachable: spec.unreachable,
            tenant: text(spec.tenant),
            max_event: some(spec.max_event.into()).map(ByteCount),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_reported_as_it_was_sent() {
        let full = StreamOptions {
            id: Some(7),
            retain_bytes: Some(ByteCount(1)),
            retain_age: Some(Duration::from_secs(2)),
            retain_events: Some(3),
            segment: Some(ByteCount(4)),
            retention: Retention::WorkQueue,
            compact: true,
            tombstone_age: Some(Duration::from_secs(5)),
            last: LastValues::Key,
            dedup_window: Some(Duration::from_secs(6)),
            consistency: Consistency::Strong,
            homes: vec!["a".to_owned(), "b".to_owned()],
            mirror_of: Some("source".to_owned()),
            mirror_prefix: Some(("x".to_owned(), "y".to_owned())),
            unreachable: Unreachable::Spool,
            tenant: Some("shop".to_owned()),
            max_event: Some(ByteCount(9)),
            ..StreamOptions::new("s", "t/**")
        };
        assert_eq!(StreamOptions::of(&full.spec()), full);
        let plain = StreamOptions::new("s", "t");
        assert_eq!(StreamOptions::of(&plain.spec()), plain);
    }
}
