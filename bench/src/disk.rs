//! The disk's own limits, which stand beside every figure of durable publishing.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use weft_load::latency::Latencies;

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
    std::fs::remove_file(path)?;
    Ok(rate)
}

/// Nanoseconds of an append of `bytes` followed by `fdatasync`, one at a time
/// for `time`, into space that was written before (so that no metadata changes).
pub fn sync_times(folder: &Path, bytes: usize, time: Duration) -> io::Result<Latencies> {
    use std::os::unix::fs::FileExt;
    const SPACE: u64 = 32 << 20;
    let path = folder.join("sync");
    let mut file = fresh(&path)?;
    file.write_all(&vec![0; SPACE as usize])?;
    file.sync_all()?;
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
        at = if at + 2 * bytes as u64 > SPACE { 0 } else { at + bytes as u64 };
    }
    std::fs::remove_file(path)?;
    Ok(latencies)
}

fn fresh(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(true).write(true).open(path)
}

/// The disk's line: sequential rate, and 4 KiB with `fdatasync` at the median and the 99th percentile.
pub fn line(folder: &Path) -> io::Result<String> {
    let rate = sequential(folder, 512 << 20)?;
    let syncs = sync_times(folder, 4096, Duration::from_secs(2))?;
    Ok(format!(
        "disk: sequential write {:.0} MB/s; 4 KiB and fdatasync p50 {:.0} µs, p99 {:.0} µs",
        rate / 1e6,
        syncs.at(0.5) as f64 / 1e3,
        syncs.at(0.99) as f64 / 1e3,
    ))
}
