//! What is looked after from time to time: retention, quotas, producers that are
//! silent, batches that take too long.

use std::collections::BTreeMap;
use std::time::Duration;

use super::AppendStage;

/// How often.
const EVERY: Duration = Duration::from_secs(1);

impl AppendStage {
    /// Looks after all streams, when it is time.
    pub(super) fn tend(&mut self) {
        if self.now.mono < self.next_tending {
            return;
        }
        self.next_tending = self.now.mono + EVERY;
        let now = self.now;
        for stream in self.streams.iter_mut().flatten() {
            let removed = stream.log.retain(now);
            if removed > 0 {
                tracing::info!(code = "retention", stream = stream.spec.name, removed, "old segments removed");
            }
            stream.index.sweep(now);
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
                *stored.entry(stream.spec.tenant).or_default() += stream.log.bytes();
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
