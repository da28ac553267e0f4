//! What this hub remembers of others through its lives: `DATA/peers.json`.
//!
//! Written a while after something changed, at most as many hubs as a mesh has.
//! A file that is lost or damaged costs what it remembered, and nothing else.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weft_base::{Epoch, Mono};
use weft_log::fs::Fs;
use weft_mesh::{Life, MAX_ADDRESS, MAX_ADDRESSES, MAX_HUBS, Remembered};
use weft_wire::frame::MAX_NAME;

/// The largest file read: room for all hubs of a mesh, as long as JSON makes what
/// names and addresses may have.
const MOST: usize = MAX_HUBS * (6 * MAX_NAME + MAX_ADDRESSES * (2 * MAX_ADDRESS + 3) + 256);
/// How long a change waits for others.
const WAIT: Duration = Duration::from_secs(1);

#[derive(Serialize, Deserialize)]
struct Entry {
    name: String,
    instance: u64,
    starts: u64,
    nonce: u64,
    epoch: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<String>,
}

/// The file.
pub(crate) struct PeersFile {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    pending: Option<(Mono, Vec<Remembered>)>,
}

impl PeersFile {
    pub(crate) fn new(fs: Arc<dyn Fs>, data: &Path) -> Self {
        Self { fs, path: data.join("peers.json"), pending: None }
    }

    /// What was remembered; nothing when there is no sound file.
    pub(crate) fn read(&self) -> Vec<Remembered> {
        let bytes = match self.fs.read(&self.path, MOST) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                self.lost(&error.to_string());
                return Vec::new();
            }
        };
        let entries: Vec<Entry> = serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            self.lost(&error.to_string());
            Vec::new()
        });
        entries
            .into_iter()
            .map(|entry| Remembered {
                name: entry.name,
                life: Life { instance: entry.instance, starts: entry.starts, nonce: entry.nonce },
                epoch: Epoch(entry.epoch),
                addresses: entry.addresses,
            })
            .collect()
    }

    fn lost(&self, reason: &str) {
        let path = self.path.display().to_string();
        tracing::warn!(code = "peers_lost", path, reason, "what was remembered of other hubs cannot be read");
    }

    /// Something has changed.
    pub(super) fn changed(&mut self, hubs: Vec<Remembered>, now: Mono) {
        let at = self.pending.take().map_or(now + WAIT, |(at, _)| at);
        self.pending = Some((at, hubs));
    }

    pub(super) fn due(&self) -> Option<Mono> {
        self.pending.as_ref().map(|(at, _)| *at)
    }

    /// Writes what waits, if there is something.
    pub(super) fn write(&mut self) {
        let Some((_, hubs)) = self.pending.take() else { return };
        let entries: Vec<Entry> = hubs
            .into_iter()
            .map(|Remembered { name, life: Life { instance, starts, nonce }, epoch, addresses }| Entry {
                name,
                instance,
                starts,
                nonce,
                epoch: epoch.0,
                addresses,
            })
            .collect();
        let written = serde_json::to_vec(&entries)
            .map_err(std::io::Error::other)
            // Without waiting for the disk: this is the conductor's thread.
            .and_then(|bytes| self.fs.write_lossy(&self.path, &bytes));
        if let Err(error) = written {
            let path = self.path.display().to_string();
            tracing::warn!(code = "peers_unwritten", path, reason = %error, "what is remembered of other hubs was not written");
        }
    }
}

#[cfg(test)]
mod tests {
    use weft_log::fs::RealFs;

    use super::*;

    #[test]
    fn the_most_that_may_be_remembered_is_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut file = PeersFile::new(Arc::new(RealFs), folder.path());
        let hub = |n: usize| Remembered {
            name: format!("{n:04}{}", "\u{1}".repeat(MAX_NAME - 4)),
            life: Life { instance: u64::MAX, starts: u64::MAX, nonce: u64::MAX },
            epoch: Epoch(u32::MAX),
            addresses: vec![format!("{}:", "\"".repeat(MAX_ADDRESS - 1)); MAX_ADDRESSES],
        };
        let hubs: Vec<Remembered> = (0..MAX_HUBS).map(hub).collect();
        file.changed(hubs.clone(), Mono(1));
        file.write();
        assert!(file.read() == hubs);
    }
}
