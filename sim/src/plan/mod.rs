//! What is to happen in a run, made before the run begins: by a seed alone
//! ([`by_seed`]), or from a mesh and faults that somebody wrote down
//! ([`by_files`]).

mod by_files;
mod by_seed;

use std::fmt;
use std::time::Duration;

use weft_base::{Lane, Mono};
use weft_mesh::{Limits, Timers};

use crate::expect::Expect;

/// The lanes that runs use.
pub(crate) const LANES: [Lane; 3] = [Lane::URGENT, Lane::DEFAULT, Lane::BULK];

/// A hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedHub {
    /// Its name, unique in the mesh.
    pub name: String,
    /// Its region.
    pub region: String,
    /// Its labels.
    pub labels: Vec<String>,
    /// The newest version of the protocol that it speaks.
    pub version: u16,
}

/// What one direction of a link is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quality {
    /// How long a message is on its way at least.
    pub delay: Duration,
    /// What chance adds to that at most.
    pub jitter: Duration,
    /// Of a million packets, so many are lost and sent again.
    pub loss_ppm: u32,
    /// Bytes a second; 0 for no bound.
    pub bandwidth: u64,
}

impl Quality {
    /// How long so many bytes take to leave.
    pub(crate) fn time_of(&self, bytes: u64) -> Duration {
        let nanos = bytes.saturating_mul(1_000_000_000).checked_div(self.bandwidth).unwrap_or(0);
        Duration::from_nanos(nanos)
    }
}

/// A link between two hubs.
#[derive(Clone, Copy, Debug)]
pub struct PlannedLink {
    /// The indices of its hubs; the first one dials.
    pub ends: [usize; 2],
    /// By the end that sends.
    pub quality: [Quality; 2],
    /// By the end that has configured it.
    pub cost: [u32; 2],
    /// What a GB costs, as the end that dials was told; the other was told nothing.
    pub price: u32,
}

/// A producer whose events must be stored.
#[derive(Clone, Debug)]
pub struct PlannedProducer {
    /// The hub that it publishes at.
    pub hub: usize,
    /// What it publishes, in turn.
    pub topics: Vec<String>,
    /// In which lane.
    pub lane: Lane,
    /// Bytes of each event.
    pub size: u64,
    /// The hubs whose streams capture its topics, all of them each topic.
    pub homes: Vec<usize>,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum What {
    /// A live publish.
    Publish {
        /// Where.
        hub: usize,
        /// What.
        topic: String,
        /// How urgent.
        lane: Lane,
        /// How many events.
        events: u64,
        /// Bytes of each.
        size: u64,
    },
    /// A publish that must be stored.
    PublishStored {
        /// By which producer.
        producer: usize,
    },
    /// A client subscribes; it subscribes again when its hub comes back.
    Subscribe {
        /// Which client.
        client: usize,
        /// At which hub.
        hub: usize,
        /// To what.
        filter: String,
    },
    /// A client leaves.
    Unsubscribe {
        /// Which client.
        client: usize,
    },
    /// A member of a group joins; it joins again when its hub comes back.
    Join {
        /// Which client.
        client: usize,
        /// At which hub.
        hub: usize,
        /// Which group.
        group: String,
        /// What it wants.
        filter: String,
        /// Its weight.
        weight: u16,
    },
    /// A member leaves.
    Leave {
        /// Which client.
        client: usize,
    },
    /// A link is cut: what is under way is lost.
    Cut {
        /// Which link.
        link: usize,
        /// Whether its ends notice at once, or find out by silence.
        noticed: bool,
    },
    /// One direction of a link loses all, which nobody notices.
    CutOneWay {
        /// Which link.
        link: usize,
        /// From which of its ends.
        from: usize,
    },
    /// A link works again in both directions.
    Mend {
        /// Which link.
        link: usize,
    },
    /// A link becomes slower or faster, in both directions.
    Delay {
        /// Which link.
        link: usize,
        /// The new delay, one way.
        delay: Duration,
    },
    /// A link begins to lose packets, in both directions.
    Loss {
        /// Which link.
        link: usize,
        /// Of a million.
        ppm: u32,
    },
    /// A link has another bandwidth, in both directions.
    Bandwidth {
        /// Which link.
        link: usize,
        /// Bytes a second; 0 for no bound.
        bandwidth: u64,
    },
    /// A link's delay, loss and bandwidth are as they were planned.
    Restore {
        /// Which link.
        link: usize,
    },
    /// A hub stops without a word and loses what is not synced.
    Crash {
        /// Which hub.
        hub: usize,
    },
    /// A hub starts in a new life; one that runs with an old state, again.
    Start {
        /// Which hub.
        hub: usize,
    },
    /// A hub crashes, and starts with the state of an earlier life.
    OldState {
        /// Which hub.
        hub: usize,
    },
    /// A hub's process is stopped: what comes for it waits.
    Stop {
        /// Which hub.
        hub: usize,
    },
    /// It goes on.
    Continue {
        /// Which hub.
        hub: usize,
    },
    /// A hub's time of day jumps.
    ClockJump {
        /// Which hub.
        hub: usize,
        /// By so many seconds.
        seconds: i64,
    },
    /// A hub says that it is about to stop, in its present life.
    Drain {
        /// Which hub.
        hub: usize,
    },
    /// It stays.
    Undrain {
        /// Which hub.
        hub: usize,
    },
}

/// A whole run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it was made from.
    pub seed: u64,
    /// The shape, or the file, that it is of: reports add up by it.
    pub of: String,
    /// The hubs.
    pub hubs: Vec<PlannedHub>,
    /// Their links.
    pub links: Vec<PlannedLink>,
    /// The filters of their streams, by hub.
    pub streams: Vec<(usize, String)>,
    /// Those who publish to streams.
    pub producers: Vec<PlannedProducer>,
    /// What happens, in order of time.
    pub steps: Vec<(Mono, What)>,
    /// Steps of interest are lost in so many of a thousand cases.
    pub lost_deltas: u64,
    /// Hubs send what is published in the urgent lane over two paths.
    pub two_paths: bool,
    /// From here on nothing goes wrong any more.
    pub healed: Mono,
    /// The deciders' timers.
    pub timers: Timers,
    /// The deciders' bounds.
    pub limits: Limits,
    /// What checkers hold the mesh to.
    pub expect: Expect,
}

impl Plan {
    /// What a mesh that is left alone needs to come to rest: routes and interest
    /// agree everywhere this long after the last change of a link, a hub or a
    /// path. Some digests, and the way of a set through the whole mesh.
    pub(crate) fn settling(&self) -> Duration {
        self.timers.digest * 4 + self.longest_way().saturating_sub(ms(1000))
    }

    /// No block is on its way for longer, while nothing is cut and no link's
    /// queue is full.
    pub(crate) fn life(&self) -> Duration {
        self.longest_way().max(ms(1000))
    }

    /// After the last fault, time for round trips to be told and sets to be
    /// repaired.
    pub(crate) fn rest(&self) -> Duration {
        self.expect.convergence
    }

    /// Time for the last blocks, and for what is sent again.
    pub(crate) fn drain(&self) -> Duration {
        ms(6000) + self.life() * 4
    }

    /// When the run ends.
    pub(crate) fn end(&self) -> Mono {
        self.healed + self.rest() + self.settling() + self.drain()
    }

    /// Whether chance goes on to change round trips when nothing is wrong any
    /// more, and routes with them.
    pub(crate) fn is_noisy(&self) -> bool {
        let mut all = self.links.iter().flat_map(|link| link.quality);
        all.any(|quality| quality.loss_ppm > 1000 || quality.jitter > quality.delay / 16)
    }

    /// More than a block needs over the longest path without a loop. A link on
    /// which one waits for longer than [`LATE`] excuses what is late.
    fn longest_way(&self) -> Duration {
        let slowest = self.links.iter().flat_map(|link| link.quality).map(|quality| quality.delay + quality.jitter);
        (slowest.max().unwrap_or_default() + LATE) * u32::try_from(self.hubs.len().min(64)).unwrap_or(64)
    }
}

/// How much later than by delay and jitter a block may cross a link, because of
/// a queue or losses, and still count as in time.
pub(crate) const LATE: Duration = Duration::from_millis(50);

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seed, of, hubs) = (self.seed, &self.of, self.hubs.len());
        writeln!(f, "seed {seed}: {of}, {hubs} hubs; healed at {}", Time(self.healed))?;
        if self.two_paths {
            writeln!(f, "  the urgent lane goes over two paths")?;
        }
        if self.lost_deltas > 0 {
            writeln!(f, "  of a thousand steps of interest, {} are lost", self.lost_deltas)?;
        }
        for (number, link) in self.links.iter().enumerate() {
            writeln!(
                f,
                "  link {number}: {:?}, {:?}, cost {:?}, price {}",
                link.ends, link.quality, link.cost, link.price
            )?;
        }
        for (hub, filter) in &self.streams {
            writeln!(f, "  stream of `{filter}` at {hub}")?;
        }
        for (number, producer) in self.producers.iter().enumerate() {
            let PlannedProducer { hub, topics, lane, .. } = producer;
            writeln!(f, "  producer {number} of {topics:?} at {hub} in lane {lane}")?;
        }
        for (at, what) in &self.steps {
            writeln!(f, "  {} {what:?}", Time(*at))?;
        }
        Ok(())
    }
}

/// A virtual time, for people.
#[derive(Clone, Copy)]
pub(crate) struct Time(pub(crate) Mono);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06} s", self.0.0 / 1_000_000_000, self.0.0 / 1000 % 1_000_000)
    }
}
