//! What texts of the system mean. Nothing of them is trusted: what does not look as
//! expected is `None`.

use weft_base::ByteCount;

/// A number of `/proc/meminfo`, by its name.
pub(super) fn of_meminfo(text: &str, name: &str) -> Option<ByteCount> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1_024).map(ByteCount)
}

/// The limit in a file of a control group; none for `max`, and for the number near
/// the largest that version 1 has for it.
pub(super) fn of_limit(text: &str) -> Option<ByteCount> {
    let limit: u64 = text.trim().parse().ok()?;
    (limit < 1 << 60).then_some(ByteCount(limit))
}

/// Thousandths of a core, of `cpu.max`: `QUOTA PERIOD`.
pub(super) fn of_cpu_max(text: &str) -> Option<u64> {
    let (quota, period) = text.trim().split_once(' ')?;
    milli_cores(quota.parse().ok()?, period.parse().ok()?)
}

/// The same of the two numbers of version 1.
pub(super) fn milli_cores(quota: u64, period: u64) -> Option<u64> {
    quota.checked_mul(1_000)?.checked_div(period)
}

/// The folder of this process in a hierarchy of control groups: of `controller`, or,
/// for an empty name, of version 2.
pub(super) fn group_of<'a>(text: &'a str, controller: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        controllers.split(',').any(|known| known == controller).then_some(path)
    })
}

/// What stands in brackets: `always [madvise] never`.
pub(super) fn chosen(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(chosen, _)| chosen.to_owned())
}

/// The last of three numbers, of `tcp_rmem`.
pub(super) fn last_number(text: &str) -> Option<ByteCount> {
    text.split_whitespace().last()?.parse().ok().map(ByteCount)
}

/// The soft limit of open files, of `/proc/PID/limits`.
pub(super) fn of_limits(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

/// Where a path is mounted: the type of the file system, its options, and the
/// device, of `/proc/self/mountinfo` (proc(5)).
pub(super) fn mount_of(text: &str, path: &str) -> Option<(String, Vec<String>, String)> {
    let is_below = |point: &str| {
        path == point || point == "/" || path.strip_prefix(point).is_some_and(|rest| rest.starts_with('/'))
    };
    let mounts = text.lines().filter_map(|line| {
        let (head, tail) = line.split_once(" - ")?;
        let mut head = head.split(' ').skip(2);
        let (device, point, options) = (head.next()?, unescaped(head.nth(1)?), head.next()?);
        let mut tail = tail.split(' ');
        let (kind, of_system) = (tail.next()?, tail.nth(1).unwrap_or_default());
        let all = options.split(',').chain(of_system.split(',')).map(str::to_owned).collect();
        is_below(&point).then(|| (point.len(), (kind.to_owned(), all, device.to_owned())))
    });
    // Of several at one place the last one counts.
    mounts.max_by_key(|(length, _)| *length).map(|(_, mount)| mount)
}

/// Spaces and the like are octal there.
fn unescaped(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_system_are_read_and_nonsense_is_none() {
        let text = "MemTotal:       24684084 kB\nSwapTotal:             0 kB\nSwapFree: many kB\n";
        assert_eq!(of_meminfo(text, "MemTotal"), Some(ByteCount(24_684_084 * 1024)));
        assert_eq!(of_meminfo(text, "SwapTotal"), Some(ByteCount(0)));
        assert_eq!((of_meminfo(text, "SwapFree"), of_meminfo(text, "Mem")), (None, None));
        assert_eq!(of_limit("536870912\n"), Some(ByteCount::mib(512)));
        assert_eq!((of_limit("max\n"), of_limit("9223372036854771712\n"), of_limit("")), (None, None, None));
        assert_eq!((of_cpu_max("150000 100000\n"), of_cpu_max("max 100000\n")), (Some(1_500), None));
        assert_eq!((of_cpu_max("1 0"), milli_cores(u64::MAX, 1)), (None, None));
        assert_eq!(chosen("always [madvise] never\n").as_deref(), Some("madvise"));
        assert_eq!((chosen("always"), chosen("[always")), (None, None));
        assert_eq!(last_number("4096\t131072\t33554432\n"), Some(ByteCount::mib(32)));
        assert_eq!(last_number(""), None);
    }

    #[test]
    fn limits_of_open_files_are_read() {
        let text = "Limit                     Soft Limit           Hard Limit           Units\n\
                    Max processes             96000                96000                processes\n\
                    Max open files            1024                 524288               files\n";
        assert_eq!(of_limits(text), Some(1_024));
        assert_eq!(of_limits("Max open files            unlimited  unlimited files"), Some(u64::MAX));
        assert_eq!(of_limits("Max open files"), None);
    }

    #[test]
    fn the_group_is_that_of_the_controller() {
        let text = "5:memory,hugetlb:/docker/abc\n1:cpu:/\n0::/system.slice/weft.service\n";
        assert_eq!(group_of(text, "memory"), Some("/docker/abc"));
        assert_eq!(group_of(text, ""), Some("/system.slice/weft.service"));
        assert_eq!(group_of(text, "pids"), None);
    }

    #[test]
    fn a_path_is_on_the_longest_mount_above_it_and_of_several_the_last() {
        let text = "22 1 254:0 / / rw,relatime - ext4 /dev/vda1 rw,errors=remount-ro\n\
                    30 22 0:40 / /data rw - tmpfs tmpfs rw,size=1g\n\
                    31 30 8:1 / /data rw,noatime shared:1 - xfs /dev/sda1 rw,nobarrier\n\
                    32 22 0:41 / /data\\040two rw - nfs4 host:/x rw\n\
                    garbage\n";
        let kind = |path| mount_of(text, path).map(|(kind, _, _)| kind);
        assert_eq!(kind("/data/weft").as_deref(), Some("xfs"));
        assert_eq!(kind("/database").as_deref(), Some("ext4"), "no part of a name");
        assert_eq!(kind("/data two/x").as_deref(), Some("nfs4"));
        let (_, options, device) = mount_of(text, "/data").expect("it is there");
        assert!(options.iter().any(|option| option == "nobarrier") && device == "8:1", "{options:?} {device}");
        assert_eq!(mount_of("", "/data"), None);
    }
}
