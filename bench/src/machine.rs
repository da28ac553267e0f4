//! What this machine is, and its own limits, which head every table.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::CpuSet;
use weft_load::latency::Latencies;

use crate::process::{own_cores, pin_self};

/// One line that says what ran the numbers: processor, cores, memory, kernel, load.
#[must_use]
pub fn line() -> String {
    let cpu = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".into());
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let memory_kib: u64 = field("/proc/meminfo", "MemTotal")
        .and_then(|v| v.split_whitespace().next().and_then(|n| n.parse().ok()))
        .unwrap_or(0);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "machine: {cores} × {cpu}, {} GiB, Linux {}, load {}",
        (memory_kib + (1 << 19)) >> 20,
        kernel.trim(),
        load.split_whitespace().next().unwrap_or("?"),
    )
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

/// Round trips of `bytes` over loopback TCP between two threads of this process,
/// blocking, one at a time, for `time`: what a message there and back costs with
/// no broker at all. Nanoseconds. The two ends run on the cores given.
pub fn ping_pong(bytes: usize, time: Duration, [near_cores, far_cores]: [&CpuSet; 2]) -> io::Result<Latencies> {
    let before = own_cores()?;
    pin_self(near_cores)?;
    let latencies = trips(bytes, time, *far_cores);
    pin_self(&before)?;
    latencies
}

fn trips(bytes: usize, time: Duration, far_cores: CpuSet) -> io::Result<Latencies> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    let (mut far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let echo = thread::spawn(move || {
        let _ = pin_self(&far_cores);
        let mut buffer = vec![0; bytes];
        while far.read_exact(&mut buffer).is_ok() && far.write_all(&buffer).is_ok() {}
    });
    let mut latencies = Latencies::new();
    let mut buffer = vec![0; bytes];
    let end = Instant::now() + time;
    loop {
        let start = Instant::now();
        if start >= end {
            break;
        }
        near.write_all(&buffer)?;
        near.read_exact(&mut buffer)?;
        latencies.record(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    drop(near);
    let _ = echo.join();
    Ok(latencies)
}

/// Bytes a second over loopback TCP, one way, in writes of `chunk` bytes for `time`.
pub fn loopback(chunk: usize, time: Duration) -> io::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    let (mut far, _) = listener.accept()?;
    let reader = thread::spawn(move || {
        let mut buffer = vec![0; 256 << 10];
        let mut total = 0u64;
        while let Ok(n) = far.read(&mut buffer) {
            if n == 0 {
                break;
            }
            total += n as u64;
        }
        total
    });
    let data = vec![7; chunk];
    let start = Instant::now();
    while start.elapsed() < time {
        near.write_all(&data)?;
    }
    drop(near);
    let total = reader.join().unwrap_or(0);
    Ok(total as f64 / start.elapsed().as_secs_f64())
}

/// Bytes a second of copying between two buffers of `bytes`.
#[must_use]
pub fn memory_copy(bytes: usize, time: Duration) -> f64 {
    let from = vec![1u8; bytes];
    let mut to = vec![0u8; bytes];
    let start = Instant::now();
    let mut rounds = 0u64;
    while start.elapsed() < time {
        to.copy_from_slice(std::hint::black_box(&from));
        std::hint::black_box(&mut to);
        rounds += 1;
    }
    rounds as f64 * bytes as f64 / start.elapsed().as_secs_f64()
}
