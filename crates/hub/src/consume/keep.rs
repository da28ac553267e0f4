//! What of consumers outlives the process.
//!
//! ```text
//! DATA/streams/NAME/consumers.json   what there is: definitions, and where each began
//! keyed state, Space::Positions      what is settled: stream id (u64, big-endian) and name -> Saved
//! ```
//!
//! The file is small and written as a whole when a consumer is made, deleted or
//! reset, and at the hub's orderly end. So what is lost of the keyed state costs
//! that events are handed out again, never a consumer. A file that cannot be
//! read is left as it is, and the stream's consumers are refused until it is
//! mended.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use weft_base::sync::atomic::{AtomicU64, Ordering};
use weft_keyed::{Keyed, KeyedError};
use weft_log::fs::Fs;
use weft_ring::stage::StageWaker;

use super::definition::Definition;

/// The file's name.
pub(crate) const FILE: &str = "consumers.json";
/// The format that this program writes and reads.
const VERSION: u32 = 1;
/// The largest file read: 256 consumers with the longest filters there are.
const MOST: usize = 32 << 20;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    consumers: Vec<Record>,
}

/// A consumer in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub(super) definition: Definition,
    /// All below was settled when the file was written.
    pub(super) from: u64,
    /// The last generation of its tokens that is known.
    pub(super) generation: u32,
}

/// Why the file is not written or read.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeepError {
    /// The file system refused.
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    /// It is not what this program writes.
    #[error(
        "{path} is not what it should be: {reason}; restore it from a backup, or remove it to begin without consumers"
    )]
    Damaged { path: PathBuf, reason: String },
}

/// The consumers of the stream whose folder this is.
pub(super) fn read(fs: &dyn Fs, dir: &Path) -> Result<Vec<Record>, KeepError> {
    let path = dir.join(FILE);
    let bytes = match fs.read(&path, MOST) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(KeepError::Io { path, source }),
    };
    let content: Content = match serde_json::from_slice(&bytes) {
        Ok(content) => content,
        Err(error) => return Err(KeepError::Damaged { path, reason: error.to_string() }),
    };
    if content.version != VERSION {
        let reason = format!("it has format version {}, this program knows {VERSION}", content.version);
        return Err(KeepError::Damaged { path, reason });
    }
    Ok(content.consumers)
}

/// Writes all consumers of a stream.
pub(super) fn write(fs: &dyn Fs, dir: &Path, consumers: Vec<Record>) -> Result<(), KeepError> {
    let path = dir.join(FILE);
    let bytes = match serde_json::to_vec_pretty(&Content { version: VERSION, consumers }) {
        Ok(bytes) => bytes,
        Err(error) => return Err(KeepError::Damaged { path, reason: error.to_string() }),
    };
    fs.write(&path, &bytes).map_err(|source| KeepError::Io { path, source })
}

/// The key of a consumer's position.
pub(super) fn key(stream: u64, name: &str) -> Vec<u8> {
    [&stream.to_be_bytes(), name.as_bytes()].concat()
}

/// Asks for the keyed state to be synced, and is told: tickets in order, so
/// that one sync answers for all that asked before it. The sync stage does it,
/// because it blocks.
pub(crate) struct KeyedSync {
    keyed: std::sync::Arc<dyn Keyed>,
    wanted: AtomicU64,
    done: AtomicU64,
    /// The newest ticket whose sync failed.
    failed: AtomicU64,
    /// Wakes who asked.
    waker: StageWaker,
}

impl KeyedSync {
    pub(crate) fn new(keyed: std::sync::Arc<dyn Keyed>, waker: StageWaker) -> Self {
        let zero = || AtomicU64::new(0);
        Self { keyed, wanted: zero(), done: zero(), failed: zero(), waker }
    }

    /// What was applied before is wanted on the disk: the ticket to wait for.
    /// The sync stage is to be woken.
    pub(crate) fn want(&self) -> u64 {
        self.wanted.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// All tickets up to this one are answered.
    pub(super) fn done(&self) -> u64 {
        self.done.load(Ordering::Acquire)
    }

    /// All tickets up to this one may be lost.
    pub(super) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Acquire)
    }

    /// On the sync stage: does what is wanted. Answers whether there was anything.
    pub(crate) fn run(&self) -> Result<bool, KeyedError> {
        let wanted = self.wanted.load(Ordering::Acquire);
        if wanted == self.done.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let outcome = self.keyed.sync();
        if outcome.is_err() {
            self.failed.store(wanted, Ordering::Release);
        }
        self.done.store(wanted, Ordering::Release);
        self.waker.wake();
        outcome.map(|()| true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Limits;
    use weft_log::fs::RealFs;
    use weft_wire::frame;

    fn record() -> Record {
        let spec = frame::ConsumerSpec {
            name: "c",
            filters: vec!["a/**"],
            predicate: "",
            start: frame::Start::First,
            mode: frame::ConsumerMode::Shared,
            ack_wait_ms: 0,
            max_deliver: 0,
            backoff_ms: vec![],
            max_in_flight: 0,
            replay: frame::Replay::Full,
            dead_letters: true,
            dead_stream: "",
            inactive_ms: 0,
        };
        Record { definition: Definition::from_frame(&spec, "s", &Limits::default()), from: 17, generation: 3 }
    }

    #[test]
    fn the_file_is_read_as_it_was_written_and_one_that_is_damaged_is_refused_and_left() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(read(&RealFs, dir.path()).expect("none").is_empty());
        write(&RealFs, dir.path(), vec![record()]).expect("written");
        assert_eq!(read(&RealFs, dir.path()).expect("read"), [record()]);
        let path = dir.path().join(FILE);
        for bad in [&b"{"[..], br#"{"version":9,"consumers":[]}"#] {
            std::fs::write(&path, bad).expect("written");
            let error = read(&RealFs, dir.path()).expect_err("damaged").to_string();
            assert!(error.contains("restore it"), "{error}");
            assert_eq!(std::fs::read(&path).expect("left"), bad);
        }
    }

    #[test]
    fn one_sync_answers_for_all_that_asked_before_it_and_a_failed_one_says_so() {
        let keyed = std::sync::Arc::new(weft_keyed::MemoryKeyed::new());
        let sync = KeyedSync::new(keyed.clone(), StageWaker::parking());
        assert!(!sync.run().expect("nothing"));
        let (first, second) = (sync.want(), sync.want());
        assert!(sync.run().expect("synced"));
        assert!(first < second && sync.done() == second && sync.failed() == 0);
        let third = sync.want();
        keyed.fail_next(1);
        assert!(sync.run().is_err());
        assert_eq!((sync.done(), sync.failed()), (third, third));
    }
}
