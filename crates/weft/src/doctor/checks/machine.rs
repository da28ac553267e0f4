//! Of the machine: memory, cores, limits of the system, clock.

use weft_base::ByteCount;

use super::Found;
use crate::doctor::facts::{Configured, Machine};
use crate::time::show_bytes;

/// The share of memory, in percent, beyond which the hub leaves too little for the
/// cache of its streams.
const MOST_MEMORY: u64 = 80;
/// What the system is asked for when a hub listens (mio: 1,024).
const BACKLOG: u64 = 1_024;

/// All of them; those that hold against a configuration only where there is one.
pub(super) fn checks(machine: &Machine, config: Option<&Configured>, found: &mut Found) {
    if let Some(config) = config {
        memory(machine, config, found);
        cores(machine, config, found);
        files(machine, config, found);
        buffers(machine, config, found);
        huge_pages(machine, config.arena, found);
    }
    swap(machine, found);
    governors(machine, found);
    clock(machine, found);
    if let Some(library) = &machine.preloads_no_sync {
        let measured = format!("LD_PRELOAD has `{library}`, with which syncs do nothing");
        found.harmful(
            "sync_preloaded",
            measured,
            "start the hub without it: what is acknowledged as synced would not be",
        );
    }
}

fn memory(machine: &Machine, config: &Configured, found: &mut Found) {
    let Some(usable) = machine.usable_memory().filter(|usable| usable.0 > 0) else { return };
    let whose =
        if machine.memory_limit.is_some_and(|limit| limit == usable) { "the control group" } else { "the machine" };
    let measured = format!("the limits come to {}, and {whose} has {}", show_bytes(config.memory), show_bytes(usable));
    if config.memory > usable {
        let remedy = "make `limits` smaller (`weft hub --check` shows which take most), or give it more memory: under \
                      load the system would kill the hub";
        found.harmful("memory_too_small", measured, remedy);
    } else if config.memory.0.saturating_mul(100) > usable.0.saturating_mul(MOST_MEMORY) {
        let remedy = "leave a fifth of the memory to the system: it keeps streams in what is free";
        found.warning("memory_tight", measured, remedy);
    }
}

fn cores(machine: &Machine, config: &Configured, found: &mut Found) {
    let Some(usable) = machine.usable_cores() else { return };
    if let Some(cores) = config.cores.filter(|cores| *cores > usable) {
        let measured = format!("`stages.cores` is {cores}, and there are {usable}");
        let remedy = "leave `stages.cores` out, or raise the limit: threads beyond the cores only wait for each other";
        found.warning("cores_beyond", measured, remedy);
    }
    if config.is_dedicated && usable < 4 {
        let measured = format!("`threading = \"dedicated\"` on {usable} cores");
        found.warning("dedicated_on_few_cores", measured, "use `threading = \"auto\"`, which begins with one thread");
    }
    if let (Some(limit), Some(cores)) = (machine.core_limit_milli, machine.cores)
        && limit < 1_000 * cores as u64
        && limit < 1_000
    {
        let measured = format!("the control group may use {limit} thousandths of a core");
        let remedy =
            "give it a whole core at least: once its share is used it stands still for the rest of each period";
        found.warning("core_throttled", measured, remedy);
    }
}

fn files(machine: &Machine, config: &Configured, found: &mut Found) {
    let Some(open) = machine.open_files.filter(|open| *open < config.files) else { return };
    let measured = format!("the limit of open files is {open}, and the limits allow for {}", config.files);
    let remedy = "raise it (`LimitNOFILE=` of systemd, `ulimit -n`), or lower `limits.sessions`: at the limit neither \
                  connections nor files are opened";
    if open < config.files / 2 {
        found.harmful("few_open_files", measured, remedy);
    } else {
        found.warning("few_open_files", measured, remedy);
    }
}

fn buffers(machine: &Machine, config: &Configured, found: &mut Found) {
    let wanted = BACKLOG.min(config.connections);
    if let Some(most) = machine.somaxconn.filter(|most| *most < wanted) {
        let measured = format!("net.core.somaxconn is {most}, and up to {wanted} connections may wait to be taken");
        let remedy = "sysctl net.core.somaxconn=4096: when all clients come at once, those beyond it are put off";
        found.warning("short_backlog", measured, remedy);
    }
    let (first, _) = config.windows;
    if let Some((receive, send)) = machine.tcp_buffers
        && config.has_links
        && receive.min(send) < first
    {
        let measured = format!(
            "TCP gives a connection at most {} to receive and {} to send, and a lane of a link may have {} under way",
            show_bytes(receive),
            show_bytes(send),
            show_bytes(first)
        );
        let remedy = "raise the last number of net.ipv4.tcp_rmem and net.ipv4.tcp_wmem to the bandwidth times the \
                      round trip of the longest link";
        found.warning("small_tcp_buffers", measured, remedy);
    }
    if let (Some(given), Some(wanted)) = (machine.udp_buffer, config.quic_buffer)
        && given < wanted
    {
        let measured =
            format!("net.core.rmem_max is {}, and links by QUIC ask for {}", show_bytes(given), show_bytes(wanted));
        let remedy = "sysctl net.core.rmem_max=4194304 net.core.wmem_max=4194304: what comes in bursts is lost";
        found.warning("small_udp_buffers", measured, remedy);
    }
}

fn huge_pages(machine: &Machine, arena: ByteCount, found: &mut Found) {
    let Some((enabled, defrag)) = &machine.huge_pages else { return };
    if enabled == "always" && defrag == "always" {
        let measured = "transparent huge pages are `always`, and so is their `defrag`".to_owned();
        let remedy = "echo defer+madvise > /sys/kernel/mm/transparent_hugepage/defrag: memory that is touched first may \
                      wait until the system has moved pages together";
        found.warning("huge_pages_stall", measured, remedy);
    } else if enabled != "always" && arena >= ByteCount::mib(1_024) {
        let measured =
            format!("an arena of {} in small pages: transparent huge pages are `{enabled}`", show_bytes(arena));
        let remedy = "try `always` with the defrag `defer+madvise`, and measure with `weft bench`: a hub asks for none";
        found.note("small_pages", measured, remedy);
    }
}

fn swap(machine: &Machine, found: &mut Found) {
    let Some((all, used)) = machine.swap.filter(|(all, _)| all.0 > 0) else { return };
    let remedy =
        "switch it off (swapoff -a), or vm.swappiness=1: a hub that waits for its own memory holds up all others";
    if used.0 > 0 {
        let measured = format!("{} of {} of swap are in use", show_bytes(used), show_bytes(all));
        found.warning("swap_in_use", measured, remedy);
    } else {
        found.note("swap_there", format!("there is {} of swap, and none in use", show_bytes(all)), remedy);
    }
}

fn governors(machine: &Machine, found: &mut Found) {
    for (governor, driver) in &machine.governors {
        let measured = format!("cores are governed by `{governor}` (driver {driver})");
        let remedy = "cpupower frequency-set -g performance: a core that slept or runs slowly answers later";
        match governor.as_str() {
            // Both drivers choose by load whatever the name says.
            "powersave" if driver == "intel_pstate" || driver.starts_with("amd-pstate") => {
                found.note("governor", measured, remedy);
            }
            "powersave" | "ondemand" | "conservative" | "userspace" => found.warning("governor", measured, remedy),
            _ => {}
        }
    }
}

fn clock(machine: &Machine, found: &mut Found) {
    if machine.clock_keeper.is_some() {
        return;
    }
    if machine.in_container {
        let measured = "nothing in this container keeps the clock".to_owned();
        found.note("clock_of_host", measured, "see that the host runs chrony or systemd-timesyncd");
    } else {
        let measured = "no program was found that keeps the clock (chronyd, ntpd, systemd-timesyncd, ptp4l)".to_owned();
        let remedy = "install chrony: deadlines, retention by age, tokens and certificates go by the clock";
        found.warning("clock_not_kept", measured, remedy);
    }
}
