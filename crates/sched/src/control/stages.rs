//! How stages spread over cores: which have threads of their own, how many
//! shards they have, and how large their batches are.
//!
//! SEDA's thread controller (Welsh, Culler and Brewer 2001) adds a thread where
//! a queue is long and removes it when it idles. Here a hand-off costs more
//! than most work, so a thread that is added is on trial:
//!
//! * **Growth.** A thread is *saturated* when its stages work for at least
//!   [`ControlOptions::high`] of [`ControlOptions::hold`] intervals in a row.
//!   Then the busiest stage of the most loaded such thread gets a thread of its
//!   own, or one more shard if it has that, when cores are left.
//! * **Trial.** After [`ControlOptions::settle`] intervals the throughput of
//!   [`ControlOptions::judge`] intervals is compared with that before. The
//!   growth stays if throughput rose by [`ControlOptions::gain`], or if the
//!   threads that it concerns are not saturated any more and throughput did not
//!   fall by more than [`ControlOptions::loss`]: then something else is the
//!   bottleneck, or there is none. If throughput fell, and now another thread is
//!   saturated, that one grows as well, and both are judged together, up to
//!   [`ControlOptions::chain`]: two stages in a row may have to spread before
//!   either brings anything. Otherwise all on trial is undone, and the stage is left
//!   alone for a time that doubles with each growth that brought nothing. So an
//!   arrangement that is worse is left within a second, and tried ever less.
//! * **Shrinking.** A stage whose work would fit into one thread less (its
//!   shards, or the shared thread with all that is there) under
//!   [`ControlOptions::low`], for [`ControlOptions::calm`] intervals in a row,
//!   gives it back. A growth of the same stage within [`ControlOptions::regret`]
//!   times that calm shows that this was too early: the calm that it needs
//!   doubles.
//!
//! At most one change of threads or shards is under way at a time, so that what
//! is measured is its effect. The distance between `high` and `low`, and the
//! two times that double, bound how often anything changes, whatever the load
//! does: with a load made to trick it, logarithmically often up to the longest
//! times, and then twice per longest time and stage.

use std::collections::VecDeque;
use std::time::Duration;

use weft_base::Mono;

use super::stage::{Place, Shape, StageController, StageOptions, StageSample};

/// Whether anything is decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// By the law.
    #[default]
    Auto,
    /// Everything stays as it starts.
    Fixed,
}

/// The law's measures. Every value is legal.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlOptions {
    /// Default [`Mode::Auto`].
    pub mode: Mode,
    /// Cores given. Default 1.
    pub cores: u32,
    /// Cores of these that are left to the network stack and to other programs,
    /// such as publishers on the same machine. Default 1. One thread is had in
    /// any case.
    pub leave: u32,
    /// The time between decisions. Default 100 ms.
    pub interval: Duration,
    /// The share of an interval from which a thread is saturated. Default 0.85.
    pub high: f64,
    /// Growths that are tried together at most. Default 4.
    pub chain: u32,
    /// The share that a thread may have after a shrinking. Default 0.5.
    pub low: f64,
    /// The share of a thread below which a stage is not worth a hand-off. Default 0.2.
    pub split_least: f64,
    /// Saturated intervals before a growth. Default 5.
    pub hold: u32,
    /// Intervals after a growth that are not looked at. Default 3.
    pub settle: u32,
    /// Intervals that a growth is judged by. Default 5.
    pub judge: u32,
    /// The rise of throughput that keeps a growth. Default 0.05.
    pub gain: f64,
    /// The fall of throughput that is noise. Default 0.03.
    pub loss: f64,
    /// How long a stage is left alone after its first growth that brought
    /// nothing; doubles up to `back_off_most`. Default 2 s.
    pub back_off_first: Duration,
    /// Default 5 min.
    pub back_off_most: Duration,
    /// Calm intervals before a shrinking; doubles up to `calm_most`. Default 20.
    pub calm: u32,
    /// Default 3,000 intervals: 5 min.
    pub calm_most: u32,
    /// How many times the calm after a shrinking a growth shows that it was too
    /// early. Default 30: of a load that comes and goes within about a minute
    /// the comings only are followed.
    pub regret: u32,
}

impl Default for ControlOptions {
    fn default() -> Self {
        Self {
            mode: Mode::Auto,
            cores: 1,
            leave: 1,
            interval: Duration::from_millis(100),
            high: 0.85,
            chain: 4,
            low: 0.5,
            split_least: 0.2,
            hold: 5,
            settle: 3,
            judge: 5,
            gain: 0.05,
            loss: 0.03,
            back_off_first: Duration::from_secs(2),
            back_off_most: Duration::from_secs(300),
            calm: 20,
            calm_most: 3_000,
            regret: 30,
        }
    }
}

/// What is to change. Stages are numbered as they were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The stage, with all its shards, moves to this place.
    Place {
        /// Which stage.
        stage: usize,
        /// Where it is to run.
        place: Place,
    },
    /// The stage is to have this many shards.
    Shards {
        /// Which stage.
        stage: usize,
        /// How many, 1 at least.
        shards: u32,
    },
    /// The stage is to take at most this many units per turn.
    Batch {
        /// Which stage.
        stage: usize,
        /// How many, 1 at least.
        batch: u32,
    },
}

/// The controllers of all stages of one hub, and the cores they share.
#[derive(Clone, Debug)]
pub struct StagesController {
    options: ControlOptions,
    stages: Vec<StageController>,
    /// Units per second of the last intervals, all stages together.
    recent: VecDeque<f64>,
    /// Intervals in a row in which the shared thread was saturated.
    shared_hot: u32,
    trial: Option<Trial>,
    began: Mono,
}

/// Growths on trial: the stages, the last one at the end, with their shapes before.
#[derive(Clone, Debug)]
struct Trial {
    grown: Vec<(usize, Shape)>,
    rate_before: f64,
    seen: u32,
    rates: f64,
    saturated: u32,
}

impl StagesController {
    /// Controllers of these stages, which run as their options say.
    #[must_use]
    pub fn new(options: ControlOptions, stages: Vec<StageOptions>, now: Mono) -> Self {
        let (calm, back_off) = (options.calm, options.back_off_first);
        let stages = stages.into_iter().map(|stage| StageController::new(stage, calm, back_off)).collect();
        Self { options, stages, recent: VecDeque::new(), shared_hot: 0, trial: None, began: now }
    }

    /// The stages, in the order given.
    #[must_use]
    pub fn stages(&self) -> &[StageController] {
        &self.stages
    }

    /// Whether a growth is on trial.
    #[must_use]
    pub fn is_on_trial(&self) -> bool {
        self.trial.is_some()
    }

    /// The threads that the stages may have together, the shared one among them.
    #[must_use]
    pub fn threads_most(&self) -> u32 {
        self.options.cores.saturating_sub(self.options.leave).max(1)
    }

    /// Once per interval, with a sample of each stage since the last call:
    /// decides. A stage without a sample counts as idle. Within an interval
    /// nothing is noted: keep the figures until the time that is answered.
    pub fn decide(&mut self, now: Mono, samples: &[StageSample], decisions: &mut Vec<Decision>) -> Mono {
        let elapsed = now - self.began;
        if elapsed < self.options.interval {
            return self.began + self.options.interval;
        }
        self.began = now;
        if self.options.mode == Mode::Auto {
            self.step(now, elapsed, samples, decisions);
        }
        now + self.options.interval
    }

    fn step(&mut self, now: Mono, elapsed: Duration, samples: &[StageSample], decisions: &mut Vec<Decision>) {
        let seconds = elapsed.as_secs_f64().max(1e-9);
        let sample_of = |n: usize| samples.get(n).copied().unwrap_or_default();
        let mut rate = 0.0;
        for (n, stage) in self.stages.iter_mut().enumerate() {
            stage.note(&sample_of(n), elapsed);
            rate += sample_of(n).served as f64 / seconds;
        }
        if self.trial.is_none() {
            // What a small batch costs may show in the stages that take turns
            // with this one: all that the thread does is counted.
            let shared = elapsed.mul_f64(self.shared_load());
            for (n, stage) in self.stages.iter_mut().enumerate() {
                let (sample, on_shared) = (sample_of(n), stage.place() == Place::Shared);
                let busy = if on_shared { shared } else { sample.busy };
                if let Some(search) = &mut stage.search
                    && let Some(batch) = search.observe(sample.served, sample.turns, busy)
                {
                    decisions.push(Decision::Batch { stage: n, batch });
                }
            }
        }
        if self.trial.is_some() {
            return self.try_on(now, rate, decisions);
        }
        self.recent.push_back(rate);
        while self.recent.len() > self.options.hold.max(1) as usize {
            self.recent.pop_front();
        }
        self.count_hot();
        if let Some((stage, shape)) = self.growth(now) {
            self.grow(now, stage, shape, decisions);
        } else if let Some(stage) = self.shrinking() {
            self.shrink(now, stage, decisions);
        }
    }

    fn shared_load(&self) -> f64 {
        self.stages.iter().filter(|stage| stage.place() == Place::Shared).map(|stage| stage.fullest).sum()
    }

    fn count_hot(&mut self) {
        let high = self.options.high;
        let count = |hot: u32, load: f64| if load >= high { hot.saturating_add(1) } else { 0 };
        self.shared_hot = count(self.shared_hot, self.shared_load());
        for stage in &mut self.stages {
            let own = stage.place() == Place::Own;
            stage.hot = if own { count(stage.hot, stage.fullest) } else { 0 };
        }
    }

    /// The load of the fullest thread that the last growth concerns: the
    /// stage's own, and the shared one if it came from there.
    fn concerned(&self, trial: &Trial) -> f64 {
        let Some(&(n, before)) = trial.grown.last() else { return 0.0 };
        let own = self.stages.get(n).map_or(0.0, |stage| stage.fullest);
        match before.place {
            Place::Own => own,
            Place::Shared => own.max(self.shared_load()),
        }
    }

    /// The stage that is to grow, and how.
    fn growth(&self, now: Mono) -> Option<(usize, Shape)> {
        let options = &self.options;
        let used: u32 = 1 + self.stages.iter().map(|stage| stage.shape.threads()).sum::<u32>();
        let shared = self.shared_load();
        let mut best: Option<(f64, f64, usize, Shape)> = None;
        for (n, stage) in self.stages.iter().enumerate() {
            let on_shared = stage.place() == Place::Shared;
            let hot = if on_shared { self.shared_hot } else { stage.hot };
            let too_light = on_shared && stage.busy < options.split_least;
            if hot < options.hold.max(1) || too_light || now < stage.not_before {
                continue;
            }
            let alone = shared - stage.busy < options.split_least;
            let Some(shape) = stage.larger(alone) else { continue };
            if used - stage.shape.threads() + shape.threads() > self.threads_most() {
                continue;
            }
            let load = if on_shared { shared } else { stage.fullest };
            // The most loaded thread first, there the busiest stage, there the first.
            let better = best.is_none_or(|(l, b, _, _)| load > l || (load == l && stage.busy > b));
            if better {
                best = Some((load, stage.busy, n, shape));
            }
        }
        best.map(|(_, _, n, shape)| (n, shape))
    }

    fn grow(&mut self, now: Mono, n: usize, shape: Shape, decisions: &mut Vec<Decision>) {
        let options = &self.options;
        let Some(stage) = self.stages.get_mut(n) else { return };
        if let Some(shrank) = stage.shrank.take() {
            let soon = options.interval.saturating_mul(stage.calm_needed.saturating_mul(options.regret));
            let doubled = stage.calm_needed.saturating_mul(2).min(options.calm_most);
            stage.calm_needed = if now - shrank <= soon { doubled.max(1) } else { options.calm };
        }
        let before = (n, stage.shape);
        let rate_before = self.recent.iter().sum::<f64>() / self.recent.len().max(1) as f64;
        let trial =
            self.trial.take().unwrap_or(Trial { grown: Vec::new(), rate_before, seen: 0, rates: 0.0, saturated: 0 });
        let grown = trial.grown.into_iter().chain([before]).collect();
        self.trial = Some(Trial { grown, rate_before: trial.rate_before, seen: 0, rates: 0.0, saturated: 0 });
        self.reshape(n, shape, decisions);
    }

    /// One interval of a trial.
    fn try_on(&mut self, now: Mono, rate: f64, decisions: &mut Vec<Decision>) {
        self.count_hot();
        let Some(mut trial) = self.trial.take() else { return };
        trial.seen += 1;
        let judged = trial.seen.saturating_sub(self.options.settle);
        if judged > 0 {
            trial.rates += rate;
            trial.saturated += u32::from(self.concerned(&trial) >= self.options.high);
        }
        if judged < self.options.judge.max(1) {
            self.trial = Some(trial);
            return;
        }
        let after = trial.rates / f64::from(judged);
        let rose = after >= trial.rate_before * (1.0 + self.options.gain);
        let fell = after < trial.rate_before * (1.0 - self.options.loss);
        let relieved = trial.saturated * 2 <= judged;
        if rose || (relieved && !fell) {
            for &(n, _) in &trial.grown {
                if let Some(stage) = self.stages.get_mut(n) {
                    stage.back_off = self.options.back_off_first;
                }
            }
        } else if relieved
            && trial.grown.len() < self.options.chain as usize
            && let Some((n, shape)) = self.growth(now)
        {
            self.trial = Some(trial);
            return self.grow(now, n, shape, decisions);
        } else {
            self.undo(now, &trial, decisions);
        }
        self.recent.clear();
    }

    fn undo(&mut self, now: Mono, trial: &Trial, decisions: &mut Vec<Decision>) {
        // Backwards, for a stage that grew twice. The stage that began is the
        // one that is left alone: the others may do better with another.
        for (place, &(n, before)) in trial.grown.iter().enumerate().rev() {
            if place == 0
                && let Some(stage) = self.stages.get_mut(n)
            {
                stage.not_before = now + stage.back_off;
                stage.back_off = stage.back_off.saturating_mul(2).min(self.options.back_off_most);
            }
            self.reshape(n, before, decisions);
        }
    }

    /// The first stage that was calm for long enough; notes the others' calm.
    fn shrinking(&mut self) -> Option<usize> {
        let (low, shared) = (self.options.low, self.shared_load());
        let mut found = None;
        for (n, stage) in self.stages.iter_mut().enumerate() {
            let fits = stage.smaller().is_some_and(|smaller| match smaller.place {
                Place::Own => stage.busy <= low * f64::from(smaller.shards),
                Place::Shared => shared + stage.busy <= low,
            });
            stage.calm = if fits { stage.calm.saturating_add(1) } else { 0 };
            if found.is_none() && fits && stage.calm >= stage.calm_needed.max(1) {
                found = Some(n);
            }
        }
        found
    }

    fn shrink(&mut self, now: Mono, n: usize, decisions: &mut Vec<Decision>) {
        let Some(stage) = self.stages.get_mut(n) else { return };
        let Some(smaller) = stage.smaller() else { return };
        stage.shrank = Some(now);
        self.reshape(n, smaller, decisions);
    }

    fn reshape(&mut self, n: usize, shape: Shape, decisions: &mut Vec<Decision>) {
        let Some(stage) = self.stages.get_mut(n) else { return };
        if stage.shape.place != shape.place {
            decisions.push(Decision::Place { stage: n, place: shape.place });
        }
        if stage.shape.shards != shape.shards {
            decisions.push(Decision::Shards { stage: n, shards: shape.shards });
        }
        stage.shape = shape;
        self.shared_hot = 0;
        for stage in &mut self.stages {
            (stage.hot, stage.calm) = (0, 0);
        }
    }
}
