//! What a stream is: its name, what it captures, what it keeps.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use weft_base::ByteCount;
use weft_log::LogOptions;
use weft_mesh::{GroupKey, StreamDef};
use weft_topic::Filter;
use weft_wire::frame;

use crate::options::{Limits, StreamDefaults, is_label};

/// Filters of one stream.
const FILTERS: usize = 64;
/// The largest segment: what a 32-bit offset reaches, less a block.
const SEGMENT_MOST: u64 = 1 << 31;

/// A stream's definition, as it lies beside its segments in `stream.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StreamSpec {
    /// Unique on its hub: 1 to 64 of `a-z`, `0-9`, `-`.
    pub(crate) name: String,
    /// What it captures.
    pub(crate) filters: Vec<String>,
    /// Bytes kept; 0 for no bound.
    pub(crate) retain_bytes: u64,
    /// Milliseconds kept; 0 for no bound.
    pub(crate) retain_age_ms: u64,
    /// The size of a segment file.
    pub(crate) segment_bytes: u64,
}

impl StreamSpec {
    /// The definition that a client sent, with this hub's defaults where it named nothing.
    pub(crate) fn from_frame(spec: &frame::StreamSpec<'_>, defaults: &StreamDefaults) -> Self {
        let or = |given: u64, default: u64| if given == 0 { default } else { given };
        let age = defaults.retain_age.map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        Self {
            name: spec.name.to_owned(),
            filters: spec.filters.iter().map(|filter| (*filter).to_owned()).collect(),
            retain_bytes: or(spec.retain_bytes, defaults.retain_bytes.map_or(0, |b| b.0)),
            retain_age_ms: or(spec.retain_age_ms, age),
            segment_bytes: or(spec.segment_bytes, defaults.segment.0),
        }
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
    pub(crate) fn def(&self) -> StreamDef {
        let id = GroupKey::of_name(&self.name).0.max(1);
        StreamDef { name: self.name.as_str().into(), id, role: 0, unreachable: 0, consistency: 0 }
    }

    pub(crate) fn log_options(&self, limits: &Limits) -> LogOptions {
        LogOptions {
            segment: ByteCount(self.segment_bytes),
            retain_bytes: (self.retain_bytes > 0).then_some(ByteCount(self.retain_bytes)),
            retain_age: (self.retain_age_ms > 0).then(|| Duration::from_millis(self.retain_age_ms)),
            max_block: limits.frame.as_usize(),
            ..LogOptions::default()
        }
    }
}
