//! How busy this program's own threads are, so that a load generator at its
//! limit is not taken for a hub at its limit. From Linux's `/proc`; elsewhere
//! nothing is known and nothing is said.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use weft_load::saturated::Stage;

/// Processor time of each thread up to now.
pub(super) struct Snapshot {
    at: Instant,
    threads: BTreeMap<u32, (String, u64)>,
}

impl Snapshot {
    pub(super) fn take() -> Self {
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
            let path = entry.path();
            let id = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let name = fs::read_to_string(path.join("comm")).ok();
            let used = fs::read_to_string(path.join("schedstat")).ok();
            let used = used.and_then(|text| text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()));
            if let (Some(id), Some(name), Some(used)) = (id, name, used) {
                threads.insert(id, (name.trim().to_owned(), used));
            }
        }
        Self { at: Instant::now(), threads }
    }

    /// How busy each thread was since then, if it still lives.
    pub(super) fn busy_since(&self) -> Vec<Stage> {
        let now = Self::take();
        let passed = (now.at - self.at).as_nanos().max(1);
        let busy = now.threads.into_iter().filter_map(|(id, (name, used))| {
            let (_, before) = self.threads.get(&id)?;
            let permille = u128::from(used.saturating_sub(*before)) * 1000 / passed;
            Some(Stage { name, busy_permille: u64::try_from(permille).unwrap_or(u64::MAX), ..Stage::default() })
        });
        busy.collect()
    }
}
