//! What this machine is and what its own limits are: nothing of Weft.
//! The lines stand beside every other figure. `cargo xtask bench machine`
#![forbid(unsafe_code)]

use std::time::Duration;

use anyhow::Result;
use weft_bench::table::Table;
use weft_bench::{disk, latency, machine, process, stats};

fn main() -> Result<()> {
    println!("{}", machine::line());
    let second = Duration::from_secs(1);
    let mut table = Table::new(["limit of the machine itself", "seen"]);
    table.row([
        "loopback TCP, one way, writes of 64 KiB",
        &format!("{}B/s", stats::short(machine::loopback(64 << 10, second)?)),
    ]);
    table.row(["copy of 256 MiB", &format!("{}B/s", stats::short(machine::memory_copy(256 << 20, second)))]);
    table.row(["copy of 32 KiB", &format!("{}B/s", stats::short(machine::memory_copy(32 << 10, second)))]);
    let [one, other] = process::single_cores()?;
    for (name, cores) in [("two cores", [&one, &other]), ("one core", [&one, &one])] {
        let trips = machine::ping_pong(128, 2 * second, cores)?;
        let name = format!("TCP round trip of 128 B, ends on {name}, µs p50 / p99 / p99.9 / p99.99");
        table.row([name, latency::percentiles(&trips)]);
    }
    let folder = tempfile::tempdir_in(weft_bench::process::target_folder()?)?;
    for size in [4 << 10, 64 << 10, 1 << 20] {
        let syncs = disk::sync_times(folder.path(), size, second)?;
        let name = format!("write of {} KiB and fdatasync, µs p50 / p99 / p99.9 / p99.99", size >> 10);
        table.row([name, latency::percentiles(&syncs)]);
    }
    let rate = disk::sequential(folder.path(), 512 << 20)?;
    table.row(["sequential write of 512 MiB, fdatasync at the end", &format!("{}B/s", stats::short(rate))]);
    print!("{table}");
    Ok(())
}
