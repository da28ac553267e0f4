//! What is looked after from time to time: retention, quotas, producers that are
//! silent, batches that take too long, and events that newer ones have replaced.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use weft_base::{ByteCount, Mono, Now, UnixNanos};
use weft_topic::Filter;
use weft_wire::block::Block;
use weft_wire::frame::LastValues;

use super::{AppendStage, Stream};

/// How often.
const EVERY: Duration = Duration::from_secs(1);
/// Bytes of a log that are looked at to compact it in one turn, an event counted
/// as [`weft_log::ASKED`] at least: publishers wait so long, and for a sync of as
/// much.
const SLICE: ByteCount = ByteCount::kib(256);
/// The time between two such turns: while there is nothing else to do, and while
/// there is.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(100));
/// How long a log that is compacted to its end is left alone, unless it grows
/// by a segment before.
const REST: Duration = Duration::from_secs(30);
/// How long a tombstone is kept where the stream does not say: a day.
const TOMBSTONE_MS: u64 = 24 * 60 * 60 * 1_000;

/// Where looking after the streams stands: one of them in a turn, so that
/// publishers do not wait for all.
#[derive(Debug, Default)]
pub(super) struct Tending {
    /// When the next round begins.
    next: Mono,
    /// Which stream's turn it is in the round that is under way.
    at: Option<usize>,
    /// When compaction goes on, if there is perhaps something to do.
    compact: Option<Mono>,
    /// With which stream.
    compact_at: usize,
}

impl Tending {
    pub(super) fn deadline(&self) -> Mono {
        self.compact.unwrap_or(self.next).min(self.next)
    }
}

/// How far the compaction of a stream is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Compacting {
    /// It was done when the log had so many bytes; not again before then.
    rests: Option<(u64, Mono)>,
}

impl Stream {
    /// Whether there is perhaps something to compact.
    fn is_to_compact(&self, now: Now) -> bool {
        let grown = |bytes: u64| self.log.bytes() >= bytes.saturating_add(self.spec.segment_bytes);
        let rests = self.compacting.rests.is_some_and(|(bytes, until)| now.mono < until && !grown(bytes));
        self.spec.compact && self.index.mode() == LastValues::Key && !rests
    }

    /// Takes out what newer events of the same key have replaced, a little at a time.
    fn compact(&mut self, now: Now) {
        let age_ms = if self.spec.tombstone_age_ms == 0 { TOMBSTONE_MS } else { self.spec.tombstone_age_ms };
        let tombstones_from = UnixNanos(now.wall.0.saturating_sub(age_ms.saturating_mul(1_000_000)));
        let synced = self.log.synced();
        let Self { log, index, spec, .. } = self;
        let mut keep = |local: u64, block: Block<'_>, at: usize| {
            block.events().nth(at).is_none_or(|event| index.keeps(local, block, &event, synced, tombstones_from))
        };
        match log.compact(&mut keep, SLICE) {
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
    /// Looks after one stream, when it is time; answers whether it did. `busy`:
    /// this turn had other work.
    pub(super) fn tend(&mut self, busy: bool) -> usize {
        let (now, home) = (self.now, self.home);
        let begins = self.tending.at.is_none() && now.mono >= self.tending.next;
        if begins {
            self.tending.next = now.mono + EVERY;
            self.tending.at = Some(0);
        }
        let Some(at) = self.tending.at else { return self.compact(busy) };
        let place = self.streams.iter().enumerate().skip(at).find(|(_, place)| place.is_some()).map(|(at, _)| at);
        self.tending.at = place.map(|at| at + 1);
        let Some(stream) = place.and_then(|at| self.streams.get_mut(at)).and_then(Option::as_mut) else {
            self.tend_spools();
            self.measure_tenants();
            self.expire_batches();
            return 0;
        };
        stream.free(home);
        let removed = stream.log.retain(now);
        if removed > 0 {
            tracing::info!(code = "retention", stream = stream.spec.name, removed, "old segments removed");
            // Their files are removed there.
            self.sync.wake();
        }
        stream.index.sweep(now);
        if let Some(schedule) = &mut stream.schedule {
            schedule.stand(stream.log.synced());
            schedule.tend(now);
        }
        if stream.is_to_compact(now) {
            self.tending.compact.get_or_insert(now.mono);
        }
        1
    }

    /// Compacts a slice of one stream, when it is time.
    fn compact(&mut self, busy: bool) -> usize {
        let now = self.now;
        if self.tending.compact.is_none_or(|due| now.mono < due) {
            return 0;
        }
        let (len, from) = (self.streams.len(), self.tending.compact_at);
        let waits =
            |at: &usize| self.streams.get(*at).and_then(Option::as_ref).is_some_and(|stream| stream.is_to_compact(now));
        let next = (0..len).map(|n| (from + n) % len).find(waits);
        let Some(stream) = next.and_then(|at| self.streams.get_mut(at)).and_then(Option::as_mut) else {
            self.tending.compact = None;
            return 0;
        };
        stream.compact(now);
        self.tending.compact_at = next.map_or(0, |at| at + 1);
        self.tending.compact = Some(now.mono + if busy { PAUSE.1 } else { PAUSE.0 });
        1
    }

    /// Adds up what each tenant has stored.
    fn measure_tenants(&mut self) {
        let most_of_each = self.options.limits.tenant_stream_bytes.0;
        let quotas = self.quotas.load_full();
        let owner = |stream: &Stream| {
            if !quotas.limit_storage() {
                return None;
            }
            let filters: Vec<Filter> =
                stream.spec.filters.iter().filter_map(|filter| Filter::parse(filter).ok()).collect();
            quotas.storage_of(&stream.spec.tenant, filters.iter()).map(|(tenant, most)| (tenant.clone(), most))
        };
        // By the tenants that streams name, and by those that the state limits.
        let (mut named, mut owned) = (BTreeMap::<Arc<str>, u64>::new(), BTreeMap::<Arc<str>, u64>::new());
        for stream in self.streams.iter().flatten() {
            let delayed = stream.schedule.as_ref().map_or(0, |schedule| schedule.log.bytes());
            let bytes = stream.log.bytes() + delayed;
            *named.entry(stream.spec.tenant.as_str().into()).or_default() += bytes;
            if let Some((tenant, _)) = owner(stream) {
                *owned.entry(tenant).or_default() += bytes;
            }
        }
        for stream in self.streams.iter_mut().flatten() {
            let beyond = |(tenant, most): &(Arc<str>, u64)| owned.get(tenant).is_some_and(|bytes| bytes >= most);
            let over = owner(stream).filter(beyond).map(|(tenant, _)| tenant).or_else(|| {
                let (tenant, bytes) = named.get_key_value(stream.spec.tenant.as_str())?;
                (most_of_each > 0 && *bytes >= most_of_each).then(|| tenant.clone())
            });
            if let (Some(tenant), None) = (&over, &stream.over_quota) {
                tracing::warn!(
                    code = "quota",
                    tenant_id = &**tenant,
                    stream = stream.spec.name,
                    "a tenant has stored all it may: its streams take nothing more"
                );
            }
            stream.over_quota = over;
        }
    }
}
