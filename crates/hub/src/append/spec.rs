//! What a stream is: its name, what it captures, what it keeps and where.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use weft_base::ByteCount;
use weft_govern::{Key, Kind};
use weft_log::{Kept, LogOptions};
use weft_mesh::StreamDef;
use weft_topic::Filter;
use weft_wire::frame::{self, Consistency, LastValues, MAX_HOMES, Retention, StreamRole, Unreachable};

use crate::options::{Limits, StreamDefaults, is_label};

/// Filters of one stream.
const FILTERS: usize = 64;
/// The largest segment: what a 32-bit offset reaches, less a block.
const SEGMENT_MOST: u64 = 1 << 31;

/// A stream's definition, as it lies beside its segments in `stream.json`.
/// What an older file does not name has its default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StreamSpec {
    /// Unique on its hub: 1 to 64 of `a-z`, `0-9`, `-`.
    pub(crate) name: String,
    /// The same at all its homes; not 0 once it exists.
    #[serde(default)]
    pub(crate) id: u64,
    /// What it captures.
    pub(crate) filters: Vec<String>,
    /// Bytes kept; 0 for no bound.
    pub(crate) retain_bytes: u64,
    /// Milliseconds kept; 0 for no bound.
    pub(crate) retain_age_ms: u64,
    /// Events kept; 0 for no bound.
    #[serde(default)]
    pub(crate) retain_events: u64,
    /// The size of a segment file.
    pub(crate) segment_bytes: u64,
    /// What it keeps within those bounds.
    #[serde(default, with = "named::retention")]
    pub(crate) retention: Retention,
    /// Whether only the newest event of each topic and key is kept for good.
    #[serde(default)]
    pub(crate) compact: bool,
    /// With `compact`: milliseconds that a tombstone is kept; 0 for the default.
    #[serde(default)]
    pub(crate) tombstone_age_ms: u64,
    /// Which last values it keeps at hand.
    #[serde(default, with = "named::last")]
    pub(crate) last: LastValues,
    /// Milliseconds that a silent producer is remembered; 0 for the default.
    #[serde(default)]
    pub(crate) dedup_window_ms: u64,
    /// What its readers may see.
    #[serde(default, with = "named::consistency")]
    pub(crate) consistency: Consistency,
    /// Names of the hubs that keep it; none: this one.
    #[serde(default)]
    pub(crate) homes: Vec<String>,
    /// The stream it is a copy of; empty for none.
    #[serde(default)]
    pub(crate) mirror_of: String,
    /// Of a mirror: the beginning of topics that is replaced, and by what.
    #[serde(default)]
    pub(crate) mirror_prefix: (String, String),
    /// What becomes of publishes while no home can be reached.
    #[serde(default, with = "named::unreachable")]
    pub(crate) unreachable: Unreachable,
    /// The tenant whose it is; empty: nobody's. Who made it is of that tenant, or of none.
    #[serde(default, deserialize_with = "tenant", skip_serializing_if = "String::is_empty")]
    pub(crate) tenant: String,
    /// The largest event, in bytes; 0 for any.
    #[serde(default)]
    pub(crate) max_event: u32,
}

impl StreamSpec {
    /// The tenant whose it is.
    pub(crate) fn tenant_id(&self) -> Option<&str> {
        Some(&*self.tenant).filter(|tenant| !tenant.is_empty())
    }

    /// The definition that a client sent, with this hub's defaults where it named nothing.
    pub(crate) fn from_frame(spec: &frame::StreamSpec<'_>, defaults: &StreamDefaults) -> Self {
        let or = |given: u64, default: u64| if given == 0 { default } else { given };
        let age = defaults.retain_age.map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        let (from, to) = spec.mirror_prefix;
        Self {
            name: spec.name.to_owned(),
            id: spec.id,
            filters: spec.filters.iter().map(|filter| (*filter).to_owned()).collect(),
            retain_bytes: or(spec.retain_bytes, defaults.retain_bytes.map_or(0, |b| b.0)),
            retain_age_ms: or(spec.retain_age_ms, age),
            retain_events: spec.retain_events,
            segment_bytes: or(spec.segment_bytes, defaults.segment.0),
            retention: spec.retention,
            compact: spec.compact,
            tombstone_age_ms: spec.tombstone_age_ms,
            // Compaction asks which event of a key is the newest.
            last: if spec.compact { LastValues::Key } else { spec.last },
            dedup_window_ms: spec.dedup_window_ms,
            consistency: spec.consistency,
            homes: spec.homes.iter().map(|home| (*home).to_owned()).collect(),
            mirror_of: spec.mirror_of.to_owned(),
            mirror_prefix: (from.to_owned(), to.to_owned()),
            unreachable: spec.unreachable,
            tenant: spec.tenant.to_owned(),
            max_event: spec.max_event,
        }
    }

    /// As it is reported.
    pub(crate) fn to_frame(&self) -> frame::StreamSpec<'_> {
        frame::StreamSpec {
            name: &self.name,
            id: self.id,
            filters: self.filters.iter().map(String::as_str).collect(),
            retain_bytes: self.retain_bytes,
            retain_age_ms: self.retain_age_ms,
            retain_events: self.retain_events,
            segment_bytes: self.segment_bytes,
            retention: self.retention,
            compact: self.compact,
            tombstone_age_ms: self.tombstone_age_ms,
            last: self.last,
            dedup_window_ms: self.dedup_window_ms,
            consistency: self.consistency,
            homes: self.homes.iter().map(String::as_str).collect(),
            mirror_of: &self.mirror_of,
            mirror_prefix: (&self.mirror_prefix.0, &self.mirror_prefix.1),
            unreachable: self.unreachable,
            tenant: &self.tenant,
            max_event: self.max_event,
        }
    }

    /// Whether a client that sent `asked` asks for this very stream: the id is
    /// the hub's choice where none was named.
    pub(crate) fn is_what(&self, asked: &Self) -> bool {
        let id = if asked.id == 0 { self.id } else { asked.id };
        *self == Self { id, ..asked.clone() }
    }

    /// The filters, or all that is wrong with the definition.
    pub(crate) fn check(&self, limits: &Limits) -> Result<Vec<Filter>, String> {
        let mut wrong = Vec::new();
        if !is_label(&self.name) {
            wrong.push(format!("the name `{}` must be 1 to 64 of a-z, 0-9 and `-`", self.name));
        }
        if self.filters.is_empty() || self.filters.len() > FILTERS {
            wrong.push(format!("a stream has 1 to {FILTERS} filters, not {}", self.filters.len()));
        }
        let least = limits.frame.0.saturating_mul(2);
        if !(least..=SEGMENT_MOST).contains(&self.segment_bytes) {
            let (least, most) = (ByteCount(least), ByteCount(SEGMENT_MOST));
            wrong.push(format!("a segment has {least} to {most}, not {}", ByteCount(self.segment_bytes)));
        }
        if !self.tenant.is_empty()
            && let Err(error) = Key::new(Kind::Tenant, &self.tenant)
        {
            wrong.push(format!("the tenant: {error}"));
        }
        self.check_homes(&mut wrong);
        let mut filters = Vec::new();
        for text in &self.filters {
            match Filter::parse(text) {
                Ok(filter) => filters.push(filter),
                Err(error) => wrong.push(format!("the filter `{text}`: {error}")),
            }
        }
        if wrong.is_empty() { Ok(filters) } else { Err(wrong.join("; ")) }
    }

    /// As the mesh is told of it.
    pub(crate) fn def(&self, hub: &str) -> StreamDef {
        StreamDef {
            name: self.name.as_str().into(),
            id: self.id.max(1),
            role: if self.is_home(hub) { StreamRole::Home } else { StreamRole::Mirror } as u8,
            unreachable: self.unreachable as u8,
            consistency: self.consistency as u8,
        }
    }

    /// Whether the hub of this name takes publishes for it.
    pub(crate) fn is_home(&self, hub: &str) -> bool {
        self.mirror_of.is_empty() && (self.homes.is_empty() || self.homes.iter().any(|home| home == hub))
    }

    fn check_homes(&self, wrong: &mut Vec<String>) {
        if self.homes.len() > MAX_HOMES {
            wrong.push(format!("a stream has at most {MAX_HOMES} homes, not {}", self.homes.len()));
        }
        for (place, home) in self.homes.iter().enumerate() {
            if !is_label(home) {
                wrong.push(format!("the home `{home}` is no name of a hub: 1 to 64 of a-z, 0-9 and `-`"));
            }
            if self.homes.iter().take(place).any(|earlier| earlier == home) {
                wrong.push(format!("the home `{home}` is named twice"));
            }
        }
        if self.compact && self.retention != Retention::Limits {
            wrong.push("a compacted stream is kept by its limits: it cannot be kept by interest too".to_owned());
        }
        if !self.mirror_of.is_empty() {
            if !is_label(&self.mirror_of) || self.mirror_of == self.name {
                wrong.push(format!("`{}` is no name of another stream to mirror", self.mirror_of));
            }
            if self.retention != Retention::Limits {
                wrong.push("a mirror keeps what its limits say: its consumers do not decide".to_owned());
            }
        } else if self.mirror_prefix != (String::new(), String::new()) {
            wrong.push("a prefix of topics is replaced by mirrors alone: name the stream it mirrors".to_owned());
        }
    }

    /// The limits of its retention.
    pub(crate) fn kept(&self) -> Kept {
        Kept {
            bytes: (self.retain_bytes > 0).then_some(ByteCount(self.retain_bytes)),
            age: (self.retain_age_ms > 0).then(|| Duration::from_millis(self.retain_age_ms)),
            events: (self.retain_events > 0).then_some(self.retain_events),
        }
    }

    pub(crate) fn log_options(&self, limits: &Limits) -> LogOptions {
        LogOptions {
            segment: ByteCount(self.segment_bytes),
            retain_bytes: (self.retain_bytes > 0).then_some(ByteCount(self.retain_bytes)),
            retain_age: (self.retain_age_ms > 0).then(|| Duration::from_millis(self.retain_age_ms)),
            retain_events: (self.retain_events > 0).then_some(self.retain_events),
            max_block: limits.frame.as_usize(),
            // A segment passed over for having little to remove would keep events
            // whose tombstone goes elsewhere, and they would be back.
            compact_percent: 0,
            ..LogOptions::default()
        }
    }
}

/// The text of a `stream.json` for a definition that a hub has reported: for
/// backups, which a hub reads later.
#[must_use]
pub fn stream_json(spec: &frame::StreamSpec<'_>) -> String {
    // What a report does not bound is not bounded.
    let as_reported = StreamDefaults { retain_bytes: None, retain_age: None, ..StreamDefaults::default() };
    // Texts and numbers can always be written.
    serde_json::to_string_pretty(&StreamSpec::from_frame(spec, &as_reported)).unwrap_or_default() + "\n"
}

/// A tenant, which older files have as a number that meant nothing to policies:
/// 0 was nobody's.
fn tenant<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Name(String),
        Number(u32),
    }
    Ok(match Written::deserialize(from)? {
        Written::Name(name) => name,
        Written::Number(0) => String::new(),
        Written::Number(number) => number.to_string(),
    })
}

/// The words by which choices stand in `stream.json`.
mod named {
    macro_rules! words {
        ($module:ident, $type:ident: $($variant:ident = $word:literal),+) => {
            pub(super) mod $module {
                use serde::{Deserialize, Deserializer, Serializer, de::Error};
                use weft_wire::frame::$type;

                pub(in super::super) fn serialize<S: Serializer>(value: &$type, to: S) -> Result<S::Ok, S::Error> {
                    to.serialize_str(match value { $($type::$variant => $word),+ })
                }

                pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<$type, D::Error> {
                    match String::deserialize(from)?.as_str() {
                        $($word => Ok($type::$variant),)+
                        other => Err(D::Error::custom(format!(
                            "`{other}` is none of {}: a newer weft may know it", [$($word),+].join(", ")
                        ))),
                    }
                }
            }
        };
    }

    words!(retention, Retention: Limits = "limits", Interest = "interest", WorkQueue = "work-queue");
    words!(last, LastValues: Off = "off", Topic = "topic", Key = "key");
    words!(consistency, Consistency: Monotonic = "monotonic", Strong = "strong", Eventual = "eventual");
    words!(unreachable, Unreachable: Refuse = "refuse", Spool = "spool");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> StreamSpec {
        let frame = frame::StreamSpec { name: "s", filters: vec!["a/**"], ..frame::StreamSpec::default() };
        StreamSpec::from_frame(&frame, &StreamDefaults::default())
    }

    #[test]
    fn a_file_of_before_there_were_homes_is_read_with_defaults() {
        let old = r#"{"name":"s","filters":["a/**"],"retain_bytes":0,"retain_age_ms":0,"segment_bytes":67108864}"#;
        let read: StreamSpec = serde_json::from_str(old).expect("an old file");
        assert_eq!(read, spec());
        assert_eq!(read.last, LastValues::Topic);
        for (number, name) in [("0", ""), ("7", "7"), ("\"shop\"", "shop")] {
            let numbered = old.replace('}', &format!(r#","tenant":{number}}}"#));
            assert_eq!(serde_json::from_str::<StreamSpec>(&numbered).expect("an old file").tenant, name);
        }
    }

    #[test]
    fn a_definition_is_read_as_it_was_written() {
        let full = StreamSpec {
            retention: Retention::WorkQueue,
            last: LastValues::Key,
            consistency: Consistency::Strong,
            unreachable: Unreachable::Spool,
            homes: vec!["a".to_owned()],
            tenant: "shop".to_owned(),
            ..spec()
        };
        let text = serde_json::to_string(&full).expect("json");
        assert!(text.contains(r#""retention":"work-queue""#), "{text}");
        assert_eq!(serde_json::from_str::<StreamSpec>(&text).expect("read"), full);
        assert!(serde_json::from_str::<StreamSpec>(&text.replace("work-queue", "whim")).is_err());
        assert_eq!(StreamSpec::from_frame(&full.to_frame(), &StreamDefaults::default()), full);
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let limits = Limits::default();
        let bad = StreamSpec {
            homes: vec!["a".to_owned(), "a".to_owned(), "B".to_owned()],
            compact: true,
            retention: Retention::Interest,
            mirror_prefix: ("x".to_owned(), String::new()),
            tenant: "a b".to_owned(),
            ..spec()
        };
        let wrong = bad.check(&limits).expect_err("wrong");
        for part in ["named twice", "`B`", "compacted", "mirrors alone", "the tenant: "] {
            assert!(wrong.contains(part), "{part}: {wrong}");
        }
        assert!(spec().check(&limits).is_ok());
    }

    #[test]
    fn a_stream_made_again_without_its_id_is_the_same() {
        let made = StreamSpec { id: 7, ..spec() };
        assert!(made.is_what(&spec()));
        assert!(made.is_what(&made));
        assert!(!made.is_what(&StreamSpec { id: 8, ..spec() }));
        assert!(!made.is_what(&StreamSpec { compact: true, ..spec() }));
    }
}
