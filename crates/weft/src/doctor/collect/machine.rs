//! Of this machine: memory, cores, limits, clock.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use weft_base::ByteCount;

use super::Collected;
use super::texts;
use crate::doctor::facts::Machine;

/// The programs that keep a clock, as they are called in `/proc` (15 letters).
const KEEPERS: [&str; 7] = ["chronyd", "ntpd", "systemd-timesyn", "openntpd", "ntpd-rs", "ptp4l", "phc2sys"];
/// Longer files of the system are none that are read here.
const MOST: u64 = 1 << 20;

pub(super) fn look(found: &mut Collected) -> Machine {
    let meminfo = found.know("memory", read("/proc/meminfo"));
    let of_meminfo = |name| meminfo.as_deref().and_then(|text| texts::of_meminfo(text, name));
    let swap = of_meminfo("SwapTotal").zip(of_meminfo("SwapFree"));
    let groups = read("/proc/self/cgroup").unwrap_or_default();
    let limits = found.know("the limit of open files", read("/proc/self/limits"));
    let clock_keeper = found.know("who keeps the clock", keeper());
    Machine {
        memory: of_meminfo("MemTotal"),
        memory_limit: memory_limit(&groups),
        cores: std::thread::available_parallelism().ok().map(usize::from),
        core_limit_milli: core_limit(&groups),
        swap: swap.map(|(all, free)| (all, ByteCount(all.0.saturating_sub(free.0)))),
        open_files: limits.as_deref().and_then(texts::of_limits),
        huge_pages: huge_pages(),
        governors: governors(),
        somaxconn: number("/proc/sys/net/core/somaxconn"),
        tcp_buffers: buffer("/proc/sys/net/ipv4/tcp_rmem").zip(buffer("/proc/sys/net/ipv4/tcp_wmem")),
        udp_buffer: number("/proc/sys/net/core/rmem_max").map(ByteCount),
        clock_keeper: clock_keeper.flatten(),
        in_container: in_container(&groups),
        preloads_no_sync: std::env::var("LD_PRELOAD").ok().filter(|libraries| libraries.contains("eatmydata")),
    }
}

pub(super) fn read(path: impl AsRef<Path>) -> Result<String, String> {
    use std::io::Read as _;
    let path = path.as_ref();
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    let mut text = String::new();
    fs::File::open(path).map_err(failed)?.take(MOST).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

fn number(path: &str) -> Option<u64> {
    read(path).ok()?.trim().parse().ok()
}

fn buffer(path: &str) -> Option<ByteCount> {
    texts::last_number(&read(path).ok()?)
}

/// The least limit of this process's group and of all above it, by version 2 or 1.
fn memory_limit(groups: &str) -> Option<ByteCount> {
    let of = |root: &str, path: &str, file: &str| {
        let folders =
            Path::new(path.trim_start_matches('/')).ancestors().map(|folder| Path::new(root).join(folder).join(file));
        folders.filter_map(|file| texts::of_limit(&read(file).ok()?)).min()
    };
    let second = texts::group_of(groups, "").and_then(|path| of("/sys/fs/cgroup", path, "memory.max"));
    let first = || {
        let path = texts::group_of(groups, "memory")?;
        of("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes")
    };
    second.or_else(first)
}

fn core_limit(groups: &str) -> Option<u64> {
    let above = |root: &str, path: &str| -> Vec<std::path::PathBuf> {
        Path::new(path.trim_start_matches('/')).ancestors().map(|folder| Path::new(root).join(folder)).collect()
    };
    let second = texts::group_of(groups, "").map(|path| above("/sys/fs/cgroup", path)).unwrap_or_default();
    let second = second.iter().filter_map(|folder| texts::of_cpu_max(&read(folder.join("cpu.max")).ok()?)).min();
    let first = || {
        let folders = above("/sys/fs/cgroup/cpu", texts::group_of(groups, "cpu")?);
        let of = |folder: &std::path::PathBuf| {
            let quota = read(folder.join("cpu.cfs_quota_us")).ok()?.trim().parse().ok()?;
            texts::milli_cores(quota, read(folder.join("cpu.cfs_period_us")).ok()?.trim().parse().ok()?)
        };
        folders.iter().filter_map(of).min()
    };
    second.or_else(first)
}

fn huge_pages() -> Option<(String, String)> {
    let of = |name: &str| texts::chosen(&read(format!("/sys/kernel/mm/transparent_hugepage/{name}")).ok()?);
    of("enabled").zip(of("defrag"))
}

/// Each governor once.
fn governors() -> Vec<(String, String)> {
    let cores = fs::read_dir("/sys/devices/system/cpu").into_iter().flatten().flatten();
    let of = |folder: std::path::PathBuf| {
        let text = |name: &str| read(folder.join("cpufreq").join(name)).ok().map(|text| text.trim().to_owned());
        text("scaling_governor").map(|governor| (governor, text("scaling_driver").unwrap_or_default()))
    };
    let each: BTreeSet<(String, String)> = cores.filter_map(|entry| of(entry.path())).collect();
    each.into_iter().collect()
}

/// The first program that keeps the clock; none where all were looked at.
fn keeper() -> Result<Option<String>, String> {
    let entries = fs::read_dir("/proc").map_err(|e| format!("/proc: {e}"))?;
    let of = |entry: fs::DirEntry| {
        let is_process = entry.file_name().to_str().is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
        let name = is_process.then(|| read(entry.path().join("comm")).ok()).flatten()?;
        KEEPERS.contains(&name.trim()).then(|| name.trim().to_owned())
    };
    Ok(entries.flatten().find_map(of))
}

fn in_container(groups: &str) -> bool {
    let marks = ["/.dockerenv", "/run/.containerenv", "/var/run/secrets/kubernetes.io"];
    let named = ["docker", "kubepods", "containerd", "lxc"];
    marks.iter().any(|mark| Path::new(mark).exists()) || named.iter().any(|name| groups.contains(name))
}
