//! The disk's own limits, which stand beside every figure of durable publishing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::fs::{Advice, fadvise, statvfs, syncfs};
use tempfile::TempDir;
use weft_base::ByteCount;
use weft_load::latency::Latencies;

/// File systems that keep their files in memory, where a sync costs nothing.
const IN_MEMORY: [&str; 3] = ["tmpfs", "ramfs", "devtmpfs"];
/// How the folders of runs begin; the id of the run's process follows.
const SCRATCH: &str = "weft-bench-";

/// A folder for the files of one run, removed at its end, on a disk with so
/// much room. What runs that were cut off left there is removed first.
pub fn scratch(disk: &Path, room: ByteCount) -> Result<TempDir> {
    remove_left(disk)?;
    check_real(disk)?;
    let usage = statvfs(disk)?;
    let free = ByteCount(usage.f_bavail.saturating_mul(usage.f_frsize) >> 20 << 20);
    ensure!(
        free >= room,
        "{} has {free} left and this run may need {room}: make room, measure less, or name another disk with --disk",
        disk.display()
    );
    let prefix = format!("{SCRATCH}{}-", std::process::id());
    tempfile::Builder::new().prefix(&prefix).tempdir_in(disk).context("cannot make a folder for the run")
}

/// Removes the folders of runs whose process is gone.
fn remove_left(disk: &Path) -> Result<()> {
    for entry in fs::read_dir(disk).with_context(|| format!("cannot read {}", disk.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(SCRATCH).and_then(|rest| rest.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            eprintln!("removing {name}, left by a run that was cut off");
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Refuses a folder whose files lie in memory.
pub fn check_real(folder: &Path) -> Result<()> {
    let (_, kind) = mount(folder)?;
    ensure!(
        !IN_MEMORY.contains(&kind.as_str()),
        "{} is a {kind}, which lies in memory: name a folder on a disk with --disk",
        folder.display()
    );
    Ok(())
}

/// The device that a folder lies on, and its file system.
fn mount(folder: &Path) -> Result<(String, String)> {
    let folder = folder.canonicalize().with_context(|| format!("there is no {}", folder.display()))?;
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let (mut device, mut kind, mut deepest) = (String::new(), String::new(), 0);
    for line in mounts.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [from, at, system, ..] = words[..] else { continue };
        // The last of those mounted at one place is the one that is seen.
        let depth = Path::new(at).components().count();
        if folder.starts_with(at) && depth >= deepest {
            (device, kind, deepest) = (from.to_owned(), system.to_owned(), depth);
        }
    }
    Ok((device, kind))
}

/// Waits until all that was written to the disk is there, so that what one
/// server left to the kernel is not written while the next one is measured.
pub fn settle(folder: &Path) -> io::Result<()> {
    Ok(syncfs(File::open(folder)?)?)
}

/// Puts a folder's files out of memory, as far as they are synced, so that they are read from the disk.
pub fn forget(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            forget(&entry.path())?;
        } else if entry.file_type()?.is_file() {
            fadvise(File::open(entry.path())?, 0, None, Advice::DontNeed)?;
        }
    }
    Ok(())
}

/// Bytes a second of a sequential write of `total` bytes in writes of 1 MiB,
/// with one `fdatasync` at the end.
pub fn sequential(folder: &Path, total: usize) -> io::Result<f64> {
    let path = folder.join("sequential");
    let mut file = fresh(&path)?;
    let chunk = vec![0xa5; 1 << 20];
    let start = Instant::now();
    for _ in 0..total.div_ceil(chunk.len()) {
        file.write_all(&chunk)?;
    }
    file.sync_data()?;
    let rate = (total.div_ceil(chunk.len()) * chunk.len()) as f64 / start.elapsed().as_secs_f64();
    fs::remove_file(path)?;
    Ok(rate)
}

/// Nanoseconds of an append of `bytes` followed by `fdatasync`, one at a time
/// for `time`, into space that was written before (so that no metadata changes).
pub fn sync_times(folder: &Path, bytes: usize, time: Duration) -> io::Result<Latencies> {
    const SPACE: u64 = 32 << 20;
    let path = folder.join("sync");
    let mut file = fresh(&path)?;
    file.write_all(&vec![0; SPACE as usize])?;
    file.sync_all()?;
    timed_syncs(&path, &file, bytes, time, SPACE)
}

/// The same of a file that grows with each append.
pub fn append_times(folder: &Path, bytes: usize, time: Duration) -> io::Result<Latencies> {
    let path = folder.join("append");
    let file = fresh(&path)?;
    timed_syncs(&path, &file, bytes, time, u64::MAX)
}

/// Times the syncs of a file, from its beginning anew at the end of its space, and removes it.
fn timed_syncs(path: &Path, file: &File, bytes: usize, time: Duration, space: u64) -> io::Result<Latencies> {
    use std::os::unix::fs::FileExt;
    let data = vec![0x5a; bytes];
    let mut latencies = Latencies::new();
    let (end, mut at) = (Instant::now() + time, 0u64);
    loop {
        let start = Instant::now();
        if start >= end {
            break;
        }
        file.write_all_at(&data, at)?;
        file.sync_data()?;
        latencies.record(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
        at = if at + 2 * bytes as u64 > space { 0 } else { at + bytes as u64 };
    }
    fs::remove_file(path)?;
    Ok(latencies)
}

fn fresh(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(true).write(true).open(path)
}

/// The disk's line: what it is, its sequential rate, and 4 KiB with `fdatasync`
/// at the median and the 99th percentile.
pub fn line(folder: &Path) -> Result<String> {
    let (device, kind) = mount(folder)?;
    let rate = sequential(folder, 512 << 20)?;
    let syncs = sync_times(folder, 4096, Duration::from_secs(2))?;
    Ok(format!(
        "disk: {device}, {kind}; sequential write {:.0} MB/s; 4 KiB and fdatasync p50 {:.0} µs, p99 {:.0} µs",
        rate / 1e6,
        syncs.at(0.5) as f64 / 1e3,
        syncs.at(0.99) as f64 / 1e3,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_left_goes_and_what_is_in_use_stays() {
        let disk = tempfile::tempdir().unwrap();
        // No process has this id: the kernel's are at most 4,194,304.
        let [left, used, other] =
            [format!("{SCRATCH}999999999-a"), format!("{SCRATCH}{}-b", std::process::id()), "weft-c".to_owned()];
        for name in [&left, &used, &other] {
            fs::create_dir(disk.path().join(name)).unwrap();
        }
        remove_left(disk.path()).unwrap();
        assert_eq!([&left, &used, &other].map(|name| disk.path().join(name).exists()), [false, true, true]);
    }

    #[test]
    fn a_folder_in_memory_is_refused() {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let in_memory = mounts.lines().find_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let at = Path::new(words.next()?);
            (words.next()? == "tmpfs" && at.is_dir()).then_some(at)
        });
        let Some(folder) = in_memory else {
            println!("SKIPPED: nothing is mounted in memory here");
            return;
        };
        assert!(check_real(folder).unwrap_err().to_string().contains("lies in memory"));
        assert!(scratch(folder, ByteCount(0)).is_err());
    }
}
