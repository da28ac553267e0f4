//! Of the folder of the data: what it is on, and how long syncs take there.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use weft_base::ByteCount;

use super::machine::read;
use super::{Collected, texts};
use crate::doctor::facts::DataFolder;

/// How often a sync is tried, at most, and for how long together.
const TRIES: usize = 64;
const TRYING: Duration = Duration::from_secs(3);
/// What is written before each.
const PIECE: [u8; 4096] = [0x57; 4096];

/// Looks at a folder, or at the nearest above it that is there.
pub(super) fn look(folder: &Path, found: &mut Collected) -> DataFolder {
    let folder = nearest(folder);
    let mut data = DataFolder { path: folder.display().to_string(), ..DataFolder::default() };
    match fs::metadata(&folder) {
        Ok(metadata) => data.mode = Some(metadata.permissions().mode()),
        Err(e) => _ = found.know::<()>("the data folder", Err(format!("{}: {e}", folder.display()))),
    }
    let mounts = found.know("what the data folder is on", read("/proc/self/mountinfo"));
    if let Some((kind, options, device)) = mounts.and_then(|text| texts::mount_of(&text, &data.path)) {
        data.write_cache = write_cache(&device);
        (data.file_system, data.mount_options) = (Some(kind), options);
    }
    let space = rustix::fs::statvfs(&folder).map_err(|e| format!("{}: {e}", folder.display()));
    if let Some(space) = found.know("room on the disk", space) {
        let bytes = |blocks: u64| ByteCount(blocks.saturating_mul(space.f_frsize));
        data.room = Some((bytes(space.f_bavail), bytes(space.f_blocks)));
        data.inodes = Some((space.f_favail, space.f_files));
    }
    let syncs = syncs(&folder).map_err(|e| format!("{}: {e}", folder.display()));
    data.syncs = found.know("how long syncs take", syncs).unwrap_or_default();
    data
}

fn nearest(folder: &Path) -> PathBuf {
    let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let there = whole.ancestors().find_map(|folder| folder.canonicalize().ok());
    there.unwrap_or(whole)
}

/// Of the disk, or of the one that a partition is of.
fn write_cache(device: &str) -> Option<String> {
    let disk = Path::new("/sys/dev/block").join(device).canonicalize().ok()?;
    let of = |folder: &Path| read(folder.join("queue/write_cache")).ok().map(|text| text.trim().to_owned());
    of(&disk).or_else(|| of(disk.parent()?))
}

/// Writes and syncs a file that nobody sees and that goes by itself; sorted times.
fn syncs(folder: &Path) -> std::io::Result<Vec<Duration>> {
    let mut file: File = tempfile::tempfile_in(folder)?;
    let mut times = Vec::with_capacity(TRIES);
    let begun = Instant::now();
    while times.len() < TRIES && begun.elapsed() < TRYING {
        let at = Instant::now();
        file.write_all(&PIECE)?;
        file.sync_data()?;
        times.push(at.elapsed());
    }
    // The first one makes the file.
    if times.len() > 1 {
        times.remove(0);
    }
    times.sort();
    Ok(times)
}
