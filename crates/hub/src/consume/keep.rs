//! What of consumers outlives the process.
//!
//! ```text
//! DATA/streams/NAME/consumers.json   what there is: definitions, and where each began
//! keyed state, Space::Positions      what is settled: stream id (u64, big-endian) and name -> Saved
//!                                    with a zero byte before the name: the copy of a consumer that
//!                                    runs at another home of the stream, as that sent it
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
use weft_log::fs::Fs;
use weft_stream::seat::Preference;

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
    /// At which home it is to run.
    #[serde(default, skip_serializing_if = "is_none")]
    pub(super) preference: Preference,
}

fn is_none(preference: &Preference) -> bool {
    preference.number == 0
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

/// The key of the copy of a consumer that runs at another home; no consumer's
/// name begins with a zero byte.
pub(super) fn aside_key(stream: u64, name: &str) -> Vec<u8> {
    [&stream.to_be_bytes(), &[0][..], name.as_bytes()].concat()
}

/// The key of a consumer's position.
pub(super) fn key(stream: u64, name: &str) -> Vec<u8> {
    [&stream.to_be_bytes(), name.as_bytes()].concat()
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
        let preference = Preference { number: 2, home: "new-york".to_owned() };
        Record {
            definition: Definition::from_frame(&spec, "s", &Limits::default()),
            from: 17,
            generation: 3,
            preference,
        }
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
}
