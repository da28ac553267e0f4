//! The control stage: reads what the stages report, shows it among the hub's
//! counters, and does what their controllers decide.
//!
//! The law is `weft_sched::control::stages`; here is only what it is fed with
//! and how its decisions are carried out. The route stage stands for the
//! admission shards too: its first shard is itself, the others are the admit
//! stages, of which as many are used as decided. The net stage stays on the
//! first thread, because that sleeps at its sockets.
//!
//! Inputs: the runner's reports. Outputs: moves of stages, the number of
//! admission shards, batches, gauges. One turn per interval, and no work in
//! between. Allocates nothing while nothing is decided.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use weft_base::sync::atomic::{AtomicU32, Ordering};
use weft_base::{Mono, Now};
use weft_ring::stage::{Placement, Stage, StageMover, StageReport, StageWaker, StageWatch};
use weft_sched::control::batch::BatchOptions;
use weft_sched::control::stage::{Place, StageOptions, StageSample};
use weft_sched::control::stages::{ControlOptions, Decision, Mode, StagesController};

use crate::counters::{Counters, StageGauges};
use crate::options::{StageBounds, Threads};
use crate::see::alarm::Alarm;

/// The group whose thread all stages share.
pub(crate) const SHARED: &str = "hub";
/// The stages of the controller, in its order.
const CONTROLLED: [&str; 4] = ["net", "route", "append", "conductor"];
/// The place of `route` among them.
const ROUTE: usize = 1;
/// The most that a wait is shown as, where nothing moves.
const LONGEST: Duration = Duration::from_secs(3_600);

/// What is there only once the runner runs.
pub(crate) struct Reins {
    pub(crate) watch: StageWatch,
    pub(crate) mover: StageMover,
}

/// The stage.
pub(crate) struct ControlStage {
    reins: Arc<OnceLock<Reins>>,
    controller: StagesController,
    /// Shards of admission in use, the route stage among them.
    admission: Arc<AtomicU32>,
    counters: Arc<Counters>,
    alarm: Alarm,
    waker: StageWaker,
    /// The latest reports, and those of an interval before.
    reports: Vec<StageReport>,
    before: Vec<StageReport>,
    samples: Vec<StageSample>,
    decisions: Vec<Decision>,
    interval: Duration,
    last: Mono,
    next: Mono,
}

/// What the control stage is made of.
pub(crate) struct ControlParts {
    pub(crate) reins: Arc<OnceLock<Reins>>,
    pub(crate) threads: Threads,
    pub(crate) bounds: StageBounds,
    /// Cores that this process may use.
    pub(crate) cores: u32,
    /// Admission shards that there are, the route stage among them, and the
    /// number that is used.
    pub(crate) shards: u32,
    pub(crate) shards_fixed: bool,
    pub(crate) admission: Arc<AtomicU32>,
    pub(crate) counters: Arc<Counters>,
    /// Watches the ledger.
    pub(crate) alarm: Alarm,
    pub(crate) now: Mono,
}

impl ControlStage {
    pub(crate) fn new(parts: ControlParts) -> Self {
        let bounds = &parts.bounds;
        let used = parts.admission.load(Ordering::Relaxed).clamp(1, parts.shards.max(1));
        let place = if parts.threads == Threads::Dedicated { Place::Own } else { Place::Shared };
        let stages = CONTROLLED.map(|name| {
            let movable = matches!(name, "route" | "append");
            let options = StageOptions { place, movable, ..StageOptions::new(name) };
            if name != "route" {
                return options;
            }
            let (least, most) = if parts.shards_fixed { (used, used) } else { (1, parts.shards) };
            let batch = BatchOptions { least: bounds.batch_least, most: bounds.batch_most, ..BatchOptions::default() };
            StageOptions { shards: used, shards_least: least, shards_most: most, batch: Some(batch), ..options }
        });
        let share = |percent: u32| f64::from(percent) / 100.0;
        let options = ControlOptions {
            mode: if parts.threads == Threads::Auto { Mode::Auto } else { Mode::Fixed },
            cores: bounds.cores.unwrap_or(parts.cores),
            leave: bounds.leave_cores,
            interval: bounds.interval,
            high: share(bounds.saturated_percent),
            low: share(bounds.idle_percent),
            ..ControlOptions::default()
        };
        Self {
            reins: parts.reins,
            controller: StagesController::new(options, stages.into(), parts.now),
            admission: parts.admission,
            counters: parts.counters,
            alarm: parts.alarm,
            waker: StageWaker::parking(),
            reports: Vec::new(),
            before: Vec::new(),
            samples: Vec::new(),
            decisions: Vec::new(),
            interval: bounds.interval,
            last: parts.now,
            next: parts.now + bounds.interval,
        }
    }

    fn interval_is_over(&mut self, reins: &Reins, now: Mono) {
        std::mem::swap(&mut self.before, &mut self.reports);
        reins.watch.report_into(&mut self.reports);
        let elapsed = now - self.last;
        self.last = now;
        if self.before.len() != self.reports.len() {
            // The first time there is nothing to compare with.
            self.samples = vec![StageSample::default(); CONTROLLED.len()];
            let names: Vec<&'static str> = self.reports.iter().map(|report| family(report.stage)).collect();
            self.counters.show_stages(names);
            return;
        }
        self.samples.fill(StageSample::default());
        for (report, before) in self.reports.iter().zip(&self.before) {
            let name = family(report.stage);
            let place = if name == "admit" { Some(ROUTE) } else { CONTROLLED.iter().position(|known| *known == name) };
            if let Some(sample) = place.and_then(|place| self.samples.get_mut(place)) {
                add_to(sample, report, before, name != "admit");
            }
        }
        self.show(elapsed);
        let mut decisions = std::mem::take(&mut self.decisions);
        self.controller.decide(now, &self.samples, &mut decisions);
        for decision in decisions.drain(..) {
            self.carry_out(reins, decision);
        }
        self.decisions = decisions;
    }

    fn carry_out(&self, reins: &Reins, decision: Decision) {
        let name = |stage: usize| CONTROLLED.get(stage).copied().unwrap_or_default();
        let result = match decision {
            Decision::Place { stage, place } => {
                tracing::info!(code = "stage_moved", stage = name(stage), place = ?place, "a stage changes its thread");
                let to = match place {
                    Place::Own => Placement::Own { core: None },
                    Place::Shared => Placement::Shared(SHARED),
                };
                reins.mover.place(name(stage), &to)
            }
            Decision::Shards { stage, shards } => {
                tracing::info!(code = "stage_shards", stage = name(stage), shards, "a stage changes its shards");
                self.admission.store(shards, Ordering::Relaxed);
                Ok(())
            }
            Decision::Batch { stage, batch } => reins.mover.set_batch(name(stage), batch as usize),
        };
        if let Err(error) = result {
            tracing::warn!(code = "stage_not_moved", error = %error, "a stage stays as it is");
        }
    }

    /// The gauges of each stage; those of admission shards are put together.
    fn show(&self, elapsed: Duration) {
        for gauges in self.counters.stages() {
            let mut sample = StageSample::default();
            let (mut shards, mut own) = (0_u64, false);
            for (report, before) in self.reports.iter().zip(&self.before) {
                if family(report.stage) == gauges.name {
                    add_to(&mut sample, report, before, true);
                    shards += 1;
                    own |= report.own_thread;
                }
            }
            if gauges.name == "admit" {
                shards = u64::from(self.admission.load(Ordering::Relaxed).saturating_sub(1));
            }
            show(gauges, &sample, elapsed, shards, own);
        }
    }
}

/// The stage that a shard belongs to: `admit-3` is one of `admit`.
fn family(name: &'static str) -> &'static str {
    if name.starts_with("admit-") { "admit" } else { name }
}

/// Adds what a stage did between two reports. `counts` is false for shards
/// whose units another stage of the sample counts already.
fn add_to(sample: &mut StageSample, report: &StageReport, before: &StageReport, counts: bool) {
    let busy = report.busy.saturating_sub(before.busy);
    sample.depth += report.load.depth;
    sample.capacity += report.load.capacity;
    if counts {
        let served = report.work.wrapping_sub(before.work);
        sample.served += served;
        sample.turns += report.busy_turns.wrapping_sub(before.busy_turns);
        sample.arrivals += served.saturating_add(report.load.depth).saturating_sub(before.load.depth);
    }
    sample.busy += busy;
    sample.fullest = sample.fullest.max(busy);
}

/// How full the queues of a stage are, in thousandths.
fn full(sample: &StageSample) -> u64 {
    sample.depth.saturating_mul(1_000).checked_div(sample.capacity).unwrap_or(0)
}

fn show(gauges: &StageGauges, sample: &StageSample, elapsed: Duration, shards: u64, own: bool) {
    let figures = sample.figures(elapsed);
    let wait = figures.wait.min(LONGEST);
    let values = [
        (&gauges.depth, sample.depth),
        (&gauges.full_permille, full(sample)),
        (&gauges.wait_us, u64::try_from(wait.as_micros()).unwrap_or(u64::MAX)),
        (&gauges.service_ns, figures.service_ns),
        (&gauges.batch, figures.batch),
        (&gauges.busy_permille, (figures.busy * 1_000.0) as u64),
        (&gauges.shards, shards),
        (&gauges.own_thread, u64::from(own)),
    ];
    for (gauge, value) in values {
        gauge.store(value, Ordering::Relaxed);
    }
}

impl Stage for ControlStage {
    fn name(&self) -> &'static str {
        "control"
    }

    fn do_work(&mut self, now: Now) -> usize {
        if now.mono < self.next {
            return 0;
        }
        self.next = now.mono + self.interval;
        self.alarm.turn(&self.counters, now.mono);
        let reins = self.reins.clone();
        if let Some(reins) = reins.get() {
            self.interval_is_over(reins, now.mono);
        }
        // Nothing for the others to look at.
        0
    }

    fn next_deadline(&self) -> Option<Mono> {
        Some(self.next)
    }

    fn waker(&self) -> Option<StageWaker> {
        Some(self.waker.clone())
    }
}

#[cfg(test)]
mod tests;
