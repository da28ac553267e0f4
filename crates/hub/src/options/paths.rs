//! Lanes whose events go over two paths.

use std::time::Duration;

use weft_base::{ByteCount, Lane};

/// The table `[paths]`: what leaves this hub over two paths, and what waits here
/// for the other path. Hubs need not have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Over how many paths the events of each lane go that enter the mesh here: 1 or 2.
    pub lanes: [u8; Lane::COUNT],
    /// How long a live event that came before earlier ones of its flow waits for
    /// the other path to bring these.
    pub patience: Duration,
    /// Bytes of blocks that wait so, of all flows together, at most a quarter of the
    /// arena; beyond it they go on, and what is missing before them is counted.
    pub waiting: ByteCount,
}

impl Default for Paths {
    fn default() -> Self {
        Self { lanes: [1; Lane::COUNT], patience: Duration::from_millis(250), waiting: ByteCount::mib(4) }
    }
}

impl Paths {
    /// Whether any lane goes over two paths.
    pub(crate) fn are_two(&self) -> bool {
        self.lanes.contains(&2)
    }

    /// What is wrong with it.
    pub(super) fn violations(&self, found: &mut Vec<(&'static str, String)>) {
        const KEYS: [&str; Lane::COUNT] = [
            "paths.lane0",
            "paths.lane1",
            "paths.lane2",
            "paths.lane3",
            "paths.lane4",
            "paths.lane5",
            "paths.lane6",
            "paths.lane7",
        ];
        for (key, paths) in KEYS.into_iter().zip(self.lanes).filter(|(_, paths)| !(1..=2).contains(paths)) {
            found.push((key, format!("{paths} paths are not to be had: 1, or 2 for a copy on a second one")));
        }
        if self.patience > Duration::from_secs(10) {
            found.push(("paths.patience", "events may not be kept for longer than 10 s for the other path".to_owned()));
        }
    }
}
