//! One stage as its controller sees it: what it did lately, how loaded it is,
//! how patient to be with it. [`super::stages`] holds the law, because stages
//! compete for the same cores.

use std::time::Duration;

use weft_base::Mono;

use super::batch::{BatchOptions, BatchSearch};

/// Where a stage runs: its first shard, if it has several. The others have
/// threads of their own in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In turn with the other stages of the shared thread.
    Shared,
    /// On a thread of its own.
    Own,
}

/// The bounds of one stage.
#[derive(Clone, Debug, PartialEq)]
pub struct StageOptions {
    /// The stage's name, as in its reports.
    pub name: String,
    /// Where it starts.
    pub place: Place,
    /// Whether it may change between a shared and its own thread. Default true.
    pub movable: bool,
    /// Its shards at the start. Default 1.
    pub shards: u32,
    /// The fewest shards. Default 1.
    pub shards_least: u32,
    /// The most shards, 1 for a stage that has none. Default 1.
    pub shards_most: u32,
    /// The bounds of its batch; none where the stage sets its own.
    pub batch: Option<BatchOptions>,
}

impl StageOptions {
    /// A stage on the shared thread with one shard, whose batch is its own.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            place: Place::Shared,
            movable: true,
            shards: 1,
            shards_least: 1,
            shards_most: 1,
            batch: None,
        }
    }
}

/// What one stage did in an interval, all its shards together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageSample {
    /// Units that wait in its queues now.
    pub depth: u64,
    /// Units that they hold at most; 0 when unknown.
    pub capacity: u64,
    /// Units that came in the interval.
    pub arrivals: u64,
    /// Units that it served.
    pub served: u64,
    /// Turns in which it served any.
    pub turns: u64,
    /// How long those turns took together. With n shards up to n times the interval.
    pub busy: Duration,
    /// How much of that the busiest shard worked; zero when they share evenly.
    pub fullest: Duration,
}

/// The figures of an interval, worked out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StageFigures {
    /// How long a unit waits, by Little's law.
    pub wait: Duration,
    /// Nanoseconds of work per unit.
    pub service_ns: u64,
    /// Units per busy turn.
    pub batch: u64,
    /// The share of the interval in which the stage worked; n shards, up to n.
    pub busy: f64,
}

impl StageSample {
    /// The figures of this sample of an interval.
    #[must_use]
    pub fn figures(&self, interval: Duration) -> StageFigures {
        let per = |n: u64, of: u64| n.checked_div(of).unwrap_or(0);
        let busy_ns = u64::try_from(self.busy.as_nanos()).unwrap_or(u64::MAX);
        StageFigures {
            wait: super::wait_of(self.depth, self.served, interval),
            service_ns: per(busy_ns, self.served),
            batch: per(self.served, self.turns),
            busy: self.busy.as_secs_f64() / interval.as_secs_f64().max(1e-9),
        }
    }
}

/// Where a stage runs and on how many threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) place: Place,
    pub(super) shards: u32,
}

impl Shape {
    /// Threads of its own.
    pub(super) fn threads(self) -> u32 {
        match self.place {
            Place::Shared => self.shards.saturating_sub(1),
            Place::Own => self.shards,
        }
    }
}

/// The controller of one stage: its shape and batch, how long it has been
/// idle enough to shrink, and how long to leave it alone after a growth that
/// brought nothing.
#[derive(Clone, Debug)]
pub struct StageController {
    pub(super) options: StageOptions,
    pub(super) shape: Shape,
    pub(super) search: Option<BatchSearch>,
    /// Its share of the last interval.
    pub(super) busy: f64,
    /// That of its busiest shard.
    pub(super) fullest: f64,
    /// Intervals in a row in which its own threads were saturated.
    pub(super) hot: u32,
    /// Intervals in a row in which it could have done with less.
    pub(super) calm: u32,
    /// Intervals of calm that a shrinking needs.
    pub(super) calm_needed: u32,
    /// When it last shrank.
    pub(super) shrank: Option<Mono>,
    /// No growth before this.
    pub(super) not_before: Mono,
    /// How long the next growth that brings nothing is remembered.
    pub(super) back_off: Duration,
}

impl StageController {
    pub(super) fn new(mut options: StageOptions, calm_needed: u32, back_off: Duration) -> Self {
        options.shards_least = options.shards_least.max(1);
        options.shards_most = options.shards_most.max(options.shards_least);
        let shards = options.shards.clamp(options.shards_least, options.shards_most);
        let shape = Shape { place: options.place, shards };
        Self {
            shape,
            search: options.batch.map(BatchSearch::new),
            options,
            busy: 0.0,
            fullest: 0.0,
            hot: 0,
            calm: 0,
            calm_needed,
            shrank: None,
            not_before: Mono(0),
            back_off,
        }
    }

    /// The stage's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// Where it runs.
    #[must_use]
    pub fn place(&self) -> Place {
        self.shape.place
    }

    /// Its shards.
    #[must_use]
    pub fn shards(&self) -> u32 {
        self.shape.shards
    }

    /// Its batch; none where the stage sets its own.
    #[must_use]
    pub fn batch(&self) -> Option<u32> {
        self.search.as_ref().map(BatchSearch::batch)
    }

    /// Takes an interval's sample in.
    pub(super) fn note(&mut self, sample: &StageSample, elapsed: Duration) {
        self.busy = sample.figures(elapsed).busy;
        let fullest = sample.fullest.as_secs_f64() / elapsed.as_secs_f64().max(1e-9);
        self.fullest = fullest.max(self.busy / f64::from(self.shape.shards));
    }

    /// The next larger shape, if the bounds allow one. `alone`: nothing else of
    /// weight is on the stage's thread, so a thread of its own alone would
    /// bring nothing, and a shard comes with it.
    pub(super) fn larger(&self, alone: bool) -> Option<Shape> {
        let Shape { place, shards } = self.shape;
        let more = shards < self.options.shards_most;
        match place {
            Place::Shared if self.options.movable && alone => {
                more.then_some(Shape { place: Place::Own, shards: shards + 1 })
            }
            Place::Shared if self.options.movable => Some(Shape { place: Place::Own, shards }),
            Place::Own if more => Some(Shape { place, shards: shards + 1 }),
            _ => None,
        }
    }

    /// The next smaller one.
    pub(super) fn smaller(&self) -> Option<Shape> {
        let Shape { place, shards } = self.shape;
        match place {
            Place::Own if shards > self.options.shards_least => Some(Shape { place, shards: shards - 1 }),
            Place::Own if self.options.movable => Some(Shape { place: Place::Shared, shards }),
            _ => None,
        }
    }
}
