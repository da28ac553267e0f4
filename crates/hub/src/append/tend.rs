//! What is looked after from time to time: retention, quotas, producers that are
//! silent, batches that take too long, and events that newer ones have replaced.

use std::collections::BTreeMap;
use std::time::Duration;

use weft_base::{ByteCount, Mono, Now, UnixNanos};
use weft_wire::block::Block;
use weft_wire::frame::LastValues;

use super::{AppendStage, Stream};

/// How often.
const EVERY: Duration = Duration::from_secs(1);
/// Bytes of a log that are looked at to compact it, each time: while there is
/// nothing else to do, and while there is.
const COMPACT: (ByteCount, ByteCount) = (ByteCount::mib(16), ByteCount::mib(1));
/// How long a log that is compacted to its end is left alone, unless it grows
/// by a segment before.
const REST: Duration = Duration::from_secs(30);
/// How long a tombstone is kept where the stream does not say: a day.
const TOMBSTONE_MS: u64 = 24 * 60 * 60 * 1_000;

/// How far the compaction of a stream is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Compacting {
    /// It was done when the log had so many bytes; not again before then.
    rests: Option<(u64, Mono)>,
}

impl Stream {
    /// Takes out what newer events of the same key have replaced, a little at a time.
    fn compact(&mut self, now: Now, budget: ByteCount) {
        if !self.spec.compact || self.index.mode() != LastValues::Key {
            return;
        }
        let grown = |bytes: u64| self.log.bytes() >= bytes.saturating_add(self.spec.segment_bytes);
        if self.compacting.rests.is_some_and(|(bytes, until)| now.mono < until && !grown(bytes)) {
            return;
        }
        let age_ms = if self.spec.tombstone_age_ms == 0 { TOMBSTONE_MS } else { self.spec.tombstone_age_ms };
        let tombstones_from = UnixNanos(now.wall.0.saturating_sub(age_ms.saturating_mul(1_000_000)));
        let synced = self.log.synced();
        let Self { log, index, spec, .. } = self;
        let mut keep = |local: u64, block: Block<'_>, at: usize| {
            block.events().nth(at).is_none_or(|event| index.keeps(local, block, &event, synced, tombstones_from))
        };
        match log.compact(&mut keep, budget) {
            Ok(told) => {
                if told.removed > 0 {
                    let (removed, freed) = (told.removed, told.freed);
                    tracing::info!(code = "compaction", stream = spec.name, removed, freed, "replaced events removed");
                }
                self.compacting.rests = told.done.then(|| (self.log.bytes(), now.mono + REST));
            }
            Err(error) => {
                tracing::error!(code = "compaction_failed", stream = spec.name, error = %error, "tried again later");
                self.compacting.rests = Some((self.log.bytes(), now.mono + REST));
            }
        }
    }
}

impl AppendStage {
    /// Looks after all streams, when it is time.
    pub(super) fn tend(&mut self) {
        if self.now.mono < self.next_tending {
            return;
        }
        self.next_tending = self.now.mono + EVERY;
        let now = self.now;
        let budget = if self.inbox.is_empty() { COMPACT.0 } else { COMPACT.1 };
        for stream in self.streams.iter_mut().flatten() {
            let removed = stream.log.retain(now);
            if removed > 0 {
                tracing::info!(code = "retention", stream = stream.spec.name, removed, "old segments removed");
            }
            stream.index.sweep(now);
            if let Some(schedule) = &mut stream.schedule {
                schedule.stand(stream.log.synced());
                schedule.tend(now);
            }
            stream.compact(now, budget);
        }
        self.measure_tenants();
        self.expire_batches();
    }

    /// Adds up what each tenant has stored.
    fn measure_tenants(&mut self) {
        let quota = self.options.limits.tenant_stream_bytes.0;
        let mut stored: BTreeMap<u32, u64> = BTreeMap::new();
        if quota > 0 {
            for stream in self.streams.iter().flatten() {
                let delayed = stream.schedule.as_ref().map_or(0, |schedule| schedule.log.bytes());
                *stored.entry(stream.spec.tenant).or_default() += stream.log.bytes() + delayed;
            }
        }
        for stream in self.streams.iter_mut().flatten() {
            let over = stored.get(&stream.spec.tenant).is_some_and(|bytes| *bytes >= quota);
            if over && !std::mem::replace(&mut stream.over_quota, over) {
                tracing::warn!(
                    code = "quota",
                    tenant = stream.spec.tenant,
                    stream = stream.spec.name,
                    "a tenant has stored all it may: its streams take nothing more"
                );
            }
            stream.over_quota = over;
        }
    }
}
