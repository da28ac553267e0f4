//! Changes that were confirmed: `DATA/changes.json`. Checked when it is read; a
//! file that cannot be used is told and left where it is, and the hub starts
//! with its configuration.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weft_log::fs::{Fs, RealFs};

use super::{Entry, MAX_CHANGES};

/// The largest file read.
const MOST: usize = 1 << 20;
const VERSION: u32 = 1;
const NAME: &str = "changes.json";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    version: u32,
    changes: Vec<Entry>,
}

/// The file.
pub(crate) struct ChangesFile {
    fs: Arc<dyn Fs>,
    path: PathBuf,
}

impl ChangesFile {
    pub(crate) fn new(fs: Arc<dyn Fs>, data: &Path) -> Self {
        Self { fs, path: data.join(NAME) }
    }

    /// What was kept; nothing when there is no sound file, which is told.
    pub(crate) fn read(&self) -> Vec<Entry> {
        let path = self.path.display().to_string();
        match read(&*self.fs, &self.path) {
            Ok(changes) => {
                for entry in &changes {
                    let (change, by) = (entry.change.to_string(), &entry.by);
                    tracing::warn!(
                        code = "changes_overlay",
                        path,
                        change,
                        by,
                        "a change that an operator made overlays the configuration"
                    );
                }
                changes
            }
            Err(reason) => {
                tracing::error!(
                    code = "changes_lost",
                    path,
                    reason,
                    "changes that operators made cannot be read: the configuration holds; drop them, or restore the file"
                );
                Vec::new()
            }
        }
    }

    /// Writes what is kept, and waits for the disk: who confirms is told that it lasts.
    pub(crate) fn write(&self, changes: &[Entry]) -> io::Result<()> {
        if changes.is_empty() {
            return remove(&*self.fs, &self.path);
        }
        let contents = Contents { version: VERSION, changes: changes.to_vec() };
        let bytes = serde_json::to_vec_pretty(&contents).map_err(io::Error::other)?;
        self.fs.write(&self.path, &bytes)
    }
}

fn remove(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    match fs.remove(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn read(fs: &dyn Fs, path: &Path) -> Result<Vec<Entry>, String> {
    let bytes = match fs.read(path, MOST) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
    parse(&bytes)
}

pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Entry>, String> {
    let Contents { version, changes } = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if version != VERSION {
        return Err(format!(
            "it has version {version}, this hub reads {VERSION}: use the version of Weft that wrote it"
        ));
    }
    if changes.len() > MAX_CHANGES {
        return Err(format!("it has {} changes, more than the {MAX_CHANGES} that there may be", changes.len()));
    }
    for entry in &changes {
        entry.change.check()?;
    }
    Ok(changes)
}

/// The changes that the hub of a data folder keeps.
///
/// # Errors
/// Why the file cannot be used.
pub fn read_changes(data: &Path) -> Result<Vec<Entry>, String> {
    read(&RealFs, &data.join(NAME))
}

/// Drops them: the configuration holds from the hub's next start on.
///
/// # Errors
/// Why the file cannot be removed.
pub fn drop_changes(data: &Path) -> Result<(), String> {
    remove(&RealFs, &data.join(NAME)).map_err(|error| error.to_string())
}
