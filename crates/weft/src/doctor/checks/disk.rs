//! Of the folder of the data: which file system, how syncs do, how much room.

use std::time::Duration;

use weft_base::ByteCount;

use super::Found;
use crate::doctor::facts::{Configured, DataFolder};
use crate::time::show_bytes;

/// Faster than this nothing gets to a disk that keeps it without power: the best
/// devices with a protected cache take some 10 µs.
const IMPOSSIBLE: Duration = Duration::from_micros(8);
/// Half of the syncs slower than this: a disk that turns, or is busy.
const SLOW: Duration = Duration::from_millis(10);
/// And slower than this it is of no use for `synced`.
const USELESS: Duration = Duration::from_millis(100);
/// One sync in many that takes this long holds up all that is acknowledged.
const STALL: Duration = Duration::from_millis(500);

pub(super) fn checks(data: &DataFolder, config: Option<&Configured>, found: &mut Found) {
    let kept = file_system(data, found);
    // In memory a sync is quick and says nothing.
    if kept {
        syncs(data, found);
    }
    room(data, config, found);
    if let Some(mode) = data.mode
        && mode & 0o002 != 0
    {
        let measured = format!("everybody may write to `{}` (mode {:o})", data.path, mode & 0o7777);
        found.harmful("data_writable_by_all", measured, &format!("chmod 750 {}", data.path));
    }
}

/// Answers whether what is written there outlasts the machine's power.
fn file_system(data: &DataFolder, found: &mut Found) -> bool {
    let (path, options) = (&data.path, &data.mount_options);
    let Some(kind) = data.file_system.as_deref() else { return true };
    match kind {
        "tmpfs" | "ramfs" | "devtmpfs" => {
            let measured = format!("`{path}` is on {kind}: in memory");
            found.harmful(
                "data_in_memory",
                measured,
                "put `data` on a disk: all streams go with a restart of the machine",
            );
            return false;
        }
        "overlay" | "overlayfs" | "aufs" => {
            let measured = format!("`{path}` is on {kind}: a layer of a container");
            found.harmful(
                "data_in_container",
                measured,
                "mount a volume for `data`: the layer goes with the container",
            );
        }
        "nfs" | "nfs4" | "cifs" | "smb3" | "9p" | "ceph" | "glusterfs" | "lustre" | "afs" => {
            let measured = format!("`{path}` is on {kind}: a network file system");
            let remedy = "use a local disk, and several homes for what must outlast it: syncs wait for the network, and \
                          not all servers keep what they say is synced";
            found.warning("data_over_network", measured, remedy);
        }
        kind if kind.starts_with("fuse") => {
            let measured = format!("`{path}` is on {kind}");
            found.warning(
                "data_on_fuse",
                measured,
                "use a local disk: what a sync means depends on the program behind it",
            );
        }
        _ => {}
    }
    let has = |option: &str| options.iter().any(|known| known == option);
    if has("nobarrier") || has("barrier=0") {
        let measured = format!("`{path}` is mounted without barriers ({})", options.join(","));
        let remedy =
            "mount it with barriers, unless the disk's cache has a battery: a power loss takes what was synced";
        found.harmful("no_barriers", measured, remedy);
    }
    if has("sync") {
        let measured = format!("`{path}` is mounted with `sync`: each write waits for the disk");
        found.warning("mounted_sync", measured, "mount it without: the hub syncs by itself, many blocks at a time");
    }
    true
}

fn syncs(data: &DataFolder, found: &mut Found) {
    let (Some(half), Some(most)) = (data.syncs.get(data.syncs.len() / 2), data.syncs.last()) else { return };
    let times = data.syncs.len();
    let measured = format!(
        "writing 4 KiB and syncing them in `{}` took {half:.1?} in half of {times} tries, {most:.1?} at most",
        data.path
    );
    let cache = data.write_cache.as_deref();
    if *half < IMPOSSIBLE {
        let cache = cache.map_or(String::new(), |cache| format!("; its write cache is `{cache}`"));
        let remedy = "find out what answers without writing (a virtual disk with the cache mode `unsafe`, a library that \
                      leaves syncs out): what is acknowledged as synced would not outlast a power loss";
        found.harmful("sync_lies", format!("{measured}, faster than any disk{cache}"), remedy);
    } else if *half > USELESS {
        found.harmful("sync_slow", measured, "use another disk: each publish at the level `synced` waits that long");
    } else if *half > SLOW {
        found.warning(
            "sync_slow",
            measured,
            "a disk of flash takes 0.1 to 2 ms: use one, or a share that is not so busy",
        );
    } else if *most > STALL {
        let remedy = "see what else writes there: all that waits to be acknowledged waits with the slowest sync";
        found.warning("sync_stalls", measured, remedy);
    }
}

fn room(data: &DataFolder, config: Option<&Configured>, found: &mut Found) {
    let (segment, spool) = config.map_or((ByteCount::mib(64), ByteCount(0)), |config| config.room);
    if let Some((left, all)) = data.room.filter(|(_, all)| all.0 > 0) {
        let percent = left.0.saturating_mul(100) / all.0;
        let measured = format!("{} of {} are left at `{}`", show_bytes(left), show_bytes(all), data.path);
        let remedy =
            "make room, bound streams with `retain_bytes`, or use a larger disk: full, nothing is stored any more";
        if left < ByteCount(segment.0.saturating_mul(2)) || percent < 2 {
            found.harmful("disk_full", measured, remedy);
        } else if percent < 10 || left < spool {
            let spool = show_bytes(spool);
            found.warning("disk_nearly_full", format!("{measured}; the spool alone may take {spool}"), remedy);
        }
    }
    if let Some((left, all)) = data.inodes.filter(|(_, all)| *all > 0)
        && left < all / 20
    {
        let measured = format!("{left} of {all} files may still be made at `{}`", data.path);
        found.warning("few_files_left", measured, "remove files, or make the file system with more inodes");
    }
}
