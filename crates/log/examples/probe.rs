//! A probe of the log's speed.
#![allow(clippy::all, clippy::pedantic, clippy::unwrap_used, clippy::print_stdout)]
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Instant;
use weft_base::*;
use weft_log::fs::RealFs;
use weft_log::*;
use weft_wire::block::*;
fn block(bytes: usize, event: usize) -> Vec<u8> {
    let mut b = vec![0; bytes];
    let mut w = BlockWriter::new(&mut b, &BlockFields::new("flights/departed/JFK/LAX/B6")).unwrap();
    let p: Vec<u8> = (0..event).map(|i| (i * 167 + 13) as u8).collect();
    while w.push(&EventFields { payload: &p, ..Default::default() }).is_ok() {}
    let n = w.finish().unwrap();
    b.truncate(n);
    stamp(&mut b, &Stamp { origin: HubId(1), epoch: Epoch(1), block: 1, sequence: 1, ingested: UnixNanos(1) }).unwrap();
    b
}
fn pct(mut v: Vec<f64>) -> String {
    v.sort_by(f64::total_cmp);
    format!("p50 {:.0} us p99 {:.0} us n {}", v[v.len() / 2], v[v.len() * 99 / 100], v.len())
}
fn main() {
    let dir = std::path::PathBuf::from(std::env::args().nth(1).unwrap());
    let mib: u64 = std::env::args().nth(2).map_or(512, |a| a.parse().unwrap());
    let one = block(1024, 780);
    println!("block {} bytes, {} events", one.len(), Block::trusted(&one).event_count());
    // one at a time
    for round in 0..3 {
        let d = dir.join("single");
        let (mut log, _) = Log::open(Arc::new(RealFs), &d, LogOptions::default(), Now::default()).unwrap();
        let s = log.syncer();
        let mut v = vec![];
        let end = Instant::now() + std::time::Duration::from_millis(1500);
        while Instant::now() < end {
            let t = Instant::now();
            log.append(&one, Now::default()).unwrap();
            s.commit().unwrap();
            v.push(t.elapsed().as_secs_f64() * 1e6);
            s.prepare();
        }
        println!("log append+commit {}", pct(v));
        log.delete().unwrap();
        for fresh in [true, false] {
            let f = std::fs::OpenOptions::new().create(true).write(true).truncate(true).open(dir.join("raw")).unwrap();
            if !fresh {
                f.write_all_at(&vec![1; 64 << 20], 0).unwrap();
                f.sync_all().unwrap();
            }
            let mut v = vec![];
            let mut at = 0;
            let end = Instant::now() + std::time::Duration::from_millis(1500);
            while Instant::now() < end {
                let t = Instant::now();
                f.write_all_at(&one, at).unwrap();
                f.sync_data().unwrap();
                at += one.len() as u64;
                v.push(t.elapsed().as_secs_f64() * 1e6);
            }
            println!("raw {} + fdatasync {}", if fresh { "append" } else { "overwrite" }, pct(v));
        }
        let _ = round;
    }
    // sequential and group commit
    let total = mib << 20;
    for _ in 0..2 {
        let mut f = std::fs::File::create(dir.join("raw")).unwrap();
        let chunk = one.repeat(1024);
        let t = Instant::now();
        let mut n = 0;
        while n < total {
            f.write_all(&chunk).unwrap();
            n += chunk.len() as u64;
        }
        f.sync_all().unwrap();
        println!("disk sequential {:.0} MB/s", n as f64 / t.elapsed().as_secs_f64() / 1e6);
        std::fs::remove_file(dir.join("raw")).unwrap();
        let d = dir.join("many");
        let (mut log, _) = Log::open(Arc::new(RealFs), &d, LogOptions::default(), Now::default()).unwrap();
        let s = log.syncer();
        let count = total / one.len() as u64;
        let t = Instant::now();
        let target = count * u64::from(Block::trusted(&one).event_count()) + 1;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while s.commit().unwrap() < target {
                    s.prepare();
                }
            });
            for _ in 0..count {
                while log.next() - log.synced() > 16 << 10 {
                    std::thread::yield_now();
                }
                log.append(&one, Now::default()).unwrap();
            }
        });
        println!("log 1 KiB group commit {:.0} MB/s", total as f64 / t.elapsed().as_secs_f64() / 1e6);
        for _ in 0..2 {
            let (mut r, mut from) = (log.reader(), 1);
            let t = Instant::now();
            while from < r.next() {
                for b in r.read(from, u64::MAX, 256 << 10).unwrap() {
                    from = b.next();
                }
            }
            println!("read 1 KiB blocks {:.2} GB/s", total as f64 / t.elapsed().as_secs_f64() / 1e9);
        }
        drop(log);
        for what in ["after kill", "after close"] {
            let t = Instant::now();
            let (log, rec) = Log::open(Arc::new(RealFs), &d, LogOptions::default(), Now::default()).unwrap();
            println!(
                "open {what} {:.1} ms, checked {} MiB, {} blocks, indexes {}",
                t.elapsed().as_secs_f64() * 1e3,
                rec.checked_bytes >> 20,
                rec.blocks,
                log.indexes()
            );
            log.close().unwrap();
        }
        let (log, _) = Log::open(Arc::new(RealFs), &d, LogOptions::default(), Now::default()).unwrap();
        log.delete().unwrap();
    }
}
