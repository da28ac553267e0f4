//! Samples the threads of this process (SIGPROF, by the crate `pprof`), counts
//! its allocations, and draws flame graphs.
//!
//! A profile sees a thread while it uses the processor, also inside the
//! kernel, but names the functions of the program alone; `docs/profiling.md`
//! has the recipe with `perf` for the kernel's.

use std::alloc::System;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use inferno::flamegraph;
use pprof::{Frames, ProfilerGuard, ProfilerGuardBuilder};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use weft_hub::profile::{Done, Profile, Profiler};

/// Counts what the program allocates: some nanoseconds for each allocation,
/// of which the event path makes none.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// One profile at a time: there is one SIGPROF.
static BUSY: AtomicBool = AtomicBool::new(false);

/// Takes profiles for the hub's operators.
pub(crate) struct Sampler;

impl Profiler for Sampler {
    fn take(&self, seconds: u32, hertz: u32, done: Done) {
        let body = move || {
            let profile = Sampling::start(hertz).and_then(|sampling| {
                std::thread::sleep(Duration::from_secs(seconds.into()));
                sampling.finish()
            });
            done(profile.map_err(|error| format!("{error:#}")));
        };
        let spawned = std::thread::Builder::new().name("weft-profiler".to_owned()).spawn(body);
        if let Err(error) = spawned {
            tracing::warn!(code = "no_profile", error = %error, "no thread for a profile that was asked for");
        }
    }
}

/// A profile that is being taken.
pub(crate) struct Sampling {
    guard: ProfilerGuard<'static>,
    since: Instant,
    before: stats_alloc::Stats,
    _slot: Slot,
}

/// The right to take a profile.
struct Slot;

impl Drop for Slot {
    fn drop(&mut self) {
        BUSY.store(false, Ordering::Release);
    }
}

impl Sampling {
    /// Begins, with `hertz` samples per second of processor time.
    pub(crate) fn start(hertz: u32) -> anyhow::Result<Self> {
        if BUSY.swap(true, Ordering::Acquire) {
            return Err(anyhow!("a profile is being taken already: ask again when it is over"));
        }
        let slot = Slot;
        let guard = ProfilerGuardBuilder::default()
            .frequency(i32::try_from(hertz).unwrap_or(i32::MAX))
            // A signal inside the unwinder must not unwind. The C library is not
            // on the list, though the crate's documents put it there: a hub is
            // in its system calls most of the time, and since glibc 2.35 the
            // unwinder takes no lock that they could hold.
            .blocklist(&["libgcc", "vdso"])
            .build()
            .context("cannot sample this process")?;
        Ok(Self { guard, since: Instant::now(), before: INSTRUMENTED_SYSTEM.stats(), _slot: slot })
    }

    /// Ends, and answers what was found.
    pub(crate) fn finish(self) -> anyhow::Result<Profile> {
        let (took, after) = (self.since.elapsed(), INSTRUMENTED_SYSTEM.stats());
        let report = self.guard.report().build().context("cannot read the samples")?;
        let mut stacks: Vec<(String, u64)> = report
            .data
            .iter()
            .map(|(frames, samples)| (folded(frames), u64::try_from(*samples).unwrap_or(0)))
            .collect();
        stacks.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let since = after - self.before;
        Ok(Profile {
            took,
            allocations: since.allocations as u64 + since.reallocations as u64,
            allocated_bytes: since.bytes_allocated as u64,
            live_bytes: (after.bytes_allocated as u64).saturating_sub(after.bytes_deallocated as u64),
            stacks,
        })
    }
}

/// What the program has allocated since its start.
pub(crate) struct Allocated {
    /// Allocations, and those that were made larger or smaller.
    pub(crate) calls: u64,
    /// Bytes that are allocated now.
    pub(crate) live: u64,
}

/// What the allocator counts.
pub(crate) fn allocated() -> Allocated {
    let stats = INSTRUMENTED_SYSTEM.stats();
    Allocated {
        calls: stats.allocations as u64 + stats.reallocations as u64,
        live: (stats.bytes_allocated as u64).saturating_sub(stats.bytes_deallocated as u64),
    }
}

/// The thread and its functions, the outermost first.
fn folded(frames: &Frames) -> String {
    let mut text = frames.thread_name_or_id().replace(';', ":");
    for frame in frames.frames.iter().rev() {
        for symbol in frame.iter().rev() {
            text.push(';');
            text.push_str(&symbol.name().replace(';', ":"));
        }
    }
    text
}

/// Draws a profile.
///
/// # Errors
/// The file cannot be written, or the profile is empty.
pub(crate) fn write_flame_graph(path: &Path, profile: &Profile) -> anyhow::Result<()> {
    let lines: Vec<String> = profile.stacks.iter().map(|(frames, samples)| format!("{frames} {samples}")).collect();
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut options = flamegraph::Options::default();
    options.title = "Weft".to_owned();
    options.subtitle = Some(format!("{:.1} s", profile.took.as_secs_f64()));
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), BufWriter::new(file))
        .with_context(|| format!("cannot draw {}", path.display()))
}
