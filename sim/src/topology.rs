//! A mesh and faults as somebody wrote them down, whatever the format of the
//! file: [`Topology`] and [`FaultPlan`]. What contradicts itself is told by
//! [`Topology::mistakes`] and [`FaultPlan::mistakes`], each with the place of its
//! key, so that whoever read the file can name the line.

use std::collections::BTreeSet;
use std::time::Duration;

use weft_base::{HubId, Lane};
use weft_mesh::{Limits, MAX_HUBS, Timers};
use weft_topic::{Filter, Topic};

use crate::expect::Expect;
use crate::plan::Quality;

/// The most blocks that all publishers of a run publish.
pub const MOST_PUBLISHES: u64 = 2_000_000;
/// The most faults of a run.
pub const MOST_FAULTS: u64 = 10_000;

/// A mesh: hubs, links, and who publishes and wants what.
#[derive(Clone, Debug, PartialEq)]
pub struct Topology {
    /// How long there is traffic and faults may come.
    pub run: Duration,
    /// The hubs: others name them by their index.
    pub hubs: Vec<HubSpec>,
    /// The links.
    pub links: Vec<LinkSpec>,
    /// Who publishes.
    pub publishers: Vec<PublisherSpec>,
    /// Who subscribes.
    pub subscribers: Vec<SubscriberSpec>,
    /// Members of groups.
    pub members: Vec<MemberSpec>,
    /// Streams.
    pub streams: Vec<StreamSpec>,
    /// The hubs' timers.
    pub timers: Timers,
    /// The hubs' bounds.
    pub limits: Limits,
    /// What the mesh is held to.
    pub expect: Expect,
}

/// A hub.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HubSpec {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// Labels, by which faults name hubs.
    pub labels: Vec<String>,
}

/// A link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkSpec {
    /// The hubs at its ends; the first one dials.
    pub ends: [usize; 2],
    /// By the end that sends.
    pub quality: [Quality; 2],
    /// By the end that has configured it.
    pub cost: [u32; 2],
    /// What a GB costs, as the first end was told.
    pub price: u32,
}

/// A publisher.
#[derive(Clone, Debug, PartialEq)]
pub struct PublisherSpec {
    /// Where.
    pub hub: usize,
    /// A topic, in which `{N}` stands for a number below N.
    pub topic: String,
    /// Blocks a second.
    pub rate: f64,
    /// Events of each block.
    pub events: u64,
    /// Bytes of each event.
    pub size: u64,
    /// The lane.
    pub lane: Lane,
    /// Whether it publishes to streams, and keeps each block until it is synced.
    pub is_stored: bool,
}

/// A subscriber: it stays for the whole run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriberSpec {
    /// Where.
    pub hub: usize,
    /// To what.
    pub filter: String,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberSpec {
    /// The group.
    pub group: String,
    /// Where.
    pub hub: usize,
    /// What it wants.
    pub filter: String,
    /// Its weight.
    pub weight: u16,
}

/// A stream at one hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSpec {
    /// Where.
    pub hub: usize,
    /// What it takes in.
    pub filter: String,
}

/// What goes wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultPlan {
    /// One after the other, as written; they may overlap in time.
    pub faults: Vec<FaultSpec>,
}

/// From when to when, by chance in between; equal: no chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The least.
    pub least: Duration,
    /// The most.
    pub most: Duration,
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultSpec {
    /// When it comes.
    pub at: Span,
    /// How often, each time by new chance.
    pub times: u32,
    /// How long it lasts; none: to the end of the run.
    pub lasts: Option<Span>,
    /// What it is.
    pub kind: FaultKind,
}

/// What goes wrong. Of several links or hubs, chance takes one each time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A link is cut.
    Cut {
        /// One of these.
        links: Vec<usize>,
        /// Whether its ends notice at once, or find out by their probes.
        noticed: bool,
    },
    /// One direction of a link is cut, which nobody notices.
    CutOneWay {
        /// One of these, with the end that is not heard; none: by chance.
        links: Vec<(usize, Option<usize>)>,
    },
    /// A link that was cut works again.
    Heal {
        /// All of these.
        links: Vec<usize>,
    },
    /// A link has another delay.
    Delay {
        /// One of these.
        links: Vec<usize>,
        /// One way.
        delay: Span,
    },
    /// A link loses packets.
    Loss {
        /// One of these.
        links: Vec<usize>,
        /// Of a million.
        ppm: u32,
    },
    /// A link has another bandwidth.
    Bandwidth {
        /// One of these.
        links: Vec<usize>,
        /// Bytes a second.
        bandwidth: u64,
    },
    /// A hub is killed; it starts again when the fault is over.
    Kill {
        /// One of these.
        hubs: Vec<usize>,
    },
    /// A hub starts again with an old state, and without when the fault is over.
    OldState {
        /// One of these.
        hubs: Vec<usize>,
    },
    /// A hub's process is stopped, and goes on when the fault is over.
    Stop {
        /// One of these.
        hubs: Vec<usize>,
    },
    /// A hub is about to stop, which it says, and stays when the fault is over.
    Drain {
        /// One of these.
        hubs: Vec<usize>,
    },
    /// A hub's time of day jumps.
    ClockJump {
        /// One of these.
        hubs: Vec<usize>,
        /// By so many seconds.
        seconds: i64,
    },
    /// A hub's certificate expires: its links are closed and refused.
    Expire {
        /// One of these.
        hubs: Vec<usize>,
    },
    /// All links between the sets are cut.
    Partition {
        /// Hubs in none of them keep their links.
        sets: Vec<Vec<usize>>,
        /// As for a cut.
        noticed: bool,
    },
    /// The sets are meshes of their own until the fault's time, and merge then.
    Merge {
        /// Hubs in none of them are linked from the start.
        sets: Vec<Vec<usize>>,
    },
}

/// A contradiction, and the key that it is at (`links.3.between`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The key's path.
    pub place: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// Adds a mistake unless the condition holds.
fn must(holds: bool, found: &mut Vec<Mistake>, place: String, message: impl FnOnce() -> String) {
    if !holds {
        found.push(Mistake { place, message: message() });
    }
}

impl Topology {
    /// Everything that contradicts itself or is out of bounds.
    #[must_use]
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut found = Vec::new();
        let most = self.limits.hubs.min(MAX_HUBS) + 1;
        must((1..=most).contains(&self.hubs.len()), &mut found, "hub".into(), || {
            format!("there are {} hubs: 1 to {most} fit, by `limits.hubs`", self.hubs.len())
        });
        let (mut names, mut ids) = (BTreeSet::new(), BTreeSet::new());
        for (number, hub) in self.hubs.iter().enumerate() {
            let place = format!("hub.{number}.name");
            must(!hub.name.is_empty() && hub.name.len() <= 255, &mut found, place.clone(), || {
                "a name has 1 to 255 bytes: choose another".to_owned()
            });
            let is_new = names.insert(&hub.name) && ids.insert(HubId::of_name(&hub.name));
            must(is_new, &mut found, place, || format!("`{}` is the name of two hubs: rename one", hub.name));
        }
        self.link_mistakes(&mut found);
        self.workload_mistakes(&mut found);
        must(!self.run.is_zero() && self.run <= Duration::from_secs(3600), &mut found, "run".into(), || {
            "simulated time is more than nothing and at most an hour: choose another `run`".to_owned()
        });
        must(self.timers.silence > self.timers.ping, &mut found, "timers.silence".into(), || {
            "must be longer than `timers.ping`: raise it".to_owned()
        });
        found
    }

    fn link_mistakes(&self, found: &mut Vec<Mistake>) {
        let mut pairs = BTreeSet::new();
        for (number, link) in self.links.iter().enumerate() {
            let mut ends = link.ends;
            ends.sort_unstable();
            let place = format!("link.{number}.between");
            must(ends[0] != ends[1], found, place.clone(), || "a hub has no link with itself: name two".to_owned());
            must(pairs.insert(ends), found, place, || {
                "these two hubs have a link already: give one link the delay and bandwidth of both".to_owned()
            });
        }
        for (hub, spec) in self.hubs.iter().enumerate() {
            let count = self.links.iter().filter(|link| link.ends.contains(&hub)).count();
            must(count <= self.limits.links, found, format!("hub.{hub}"), || {
                format!("`{}` has {count} links: at most {} by `limits.links`", spec.name, self.limits.links)
            });
        }
    }

    fn workload_mistakes(&self, found: &mut Vec<Mistake>) {
        let filters = [
            self.subscribers.iter().map(|s| &s.filter).enumerate().map(|at| ("subscriber", at)).collect::<Vec<_>>(),
            self.members.iter().map(|m| &m.filter).enumerate().map(|at| ("group", at)).collect(),
            self.streams.iter().map(|s| &s.filter).enumerate().map(|at| ("stream", at)).collect(),
        ];
        for (what, (number, filter)) in filters.into_iter().flatten() {
            if let Err(error) = Filter::parse(filter) {
                found.push(Mistake { place: format!("{what}.{number}"), message: format!("`{filter}`: {error}") });
            }
        }
        let mut blocks = 0.0;
        for (number, publisher) in self.publishers.iter().enumerate() {
            let place = |key: &str| format!("publisher.{number}.{key}");
            let is_rate = publisher.rate > 0.0 && publisher.rate <= 100_000.0;
            must(is_rate, found, place("rate"), || {
                format!("{} is no rate: choose more than 0 and at most 100000 a second", publisher.rate)
            });
            must((1..=10_000).contains(&publisher.events), found, place("events"), || {
                "a block has 1 to 10000 events: choose another number".to_owned()
            });
            must(publisher.size <= 1 << 20, found, place("size"), || {
                "an event has at most 1 MiB: choose a smaller size".to_owned()
            });
            blocks += publisher.rate * self.run.as_secs_f64();
            match TopicPattern::parse(&publisher.topic) {
                Err(message) => found.push(Mistake { place: place("topic"), message }),
                Ok(pattern) if publisher.is_stored => {
                    let message = self.homes_of_all(&pattern).err();
                    found.extend(message.map(|message| Mistake { place: place("topic"), message }));
                }
                Ok(_) => {}
            }
        }
        must(blocks <= MOST_PUBLISHES as f64, found, "publisher".into(), || {
            format!("{blocks:.0} blocks in a run are more than {MOST_PUBLISHES}: lower rates, or shorten `run`")
        });
    }

    /// The hubs whose streams take in all topics of a pattern.
    pub(crate) fn homes_of_all(&self, pattern: &TopicPattern) -> Result<Vec<usize>, String> {
        let homes_of = |topic: &str| -> BTreeSet<usize> {
            let Ok(topic) = Topic::parse(topic) else { return BTreeSet::new() };
            let takes = |stream: &&StreamSpec| Filter::parse(&stream.filter).is_ok_and(|filter| filter.matches(topic));
            self.streams.iter().filter(takes).map(|stream| stream.hub).collect()
        };
        let mut all = pattern.all().map(|topic| homes_of(&topic));
        let first = all.next().unwrap_or_default();
        if first.is_empty() {
            return Err("no stream takes this in: add a `[[stream]]`, or leave out `stored`".to_owned());
        }
        if all.any(|homes| homes != first) {
            return Err("some of these topics go to other streams than others: write a publisher for each".to_owned());
        }
        Ok(first.into_iter().collect())
    }
}

impl FaultPlan {
    /// Everything that is out of bounds in a run of so long.
    #[must_use]
    pub fn mistakes(&self, topology: &Topology) -> Vec<Mistake> {
        let mut found = Vec::new();
        for (number, fault) in self.faults.iter().enumerate() {
            let place = |key: &str| format!("fault.{number}.{key}");
            must(fault.at.most <= topology.run, &mut found, place("at"), || {
                format!("faults come within `run`, which is {:?}: make it earlier, or the run longer", topology.run)
            });
            must(fault.at.least <= fault.at.most, &mut found, place("at"), || {
                "ends before it begins: write the earlier time first".to_owned()
            });
            must((1..=1000).contains(&fault.times), &mut found, place("times"), || {
                "a fault comes 1 to 1000 times: choose another number".to_owned()
            });
            let is_in_order = fault.lasts.is_none_or(|lasts| lasts.least <= lasts.most);
            must(is_in_order, &mut found, place("lasts"), || "write the shorter time first".to_owned());
            if let FaultKind::Partition { sets, .. } | FaultKind::Merge { sets } = &fault.kind {
                let all: Vec<usize> = sets.iter().flatten().copied().collect();
                must(sets.len() >= 2, &mut found, place("sets"), || "name at least two sets of hubs".to_owned());
                must(all.iter().collect::<BTreeSet<_>>().len() == all.len(), &mut found, place("sets"), || {
                    "a hub is in two sets: leave it in one".to_owned()
                });
            }
        }
        let faults: u64 = self.faults.iter().map(|fault| u64::from(fault.times)).sum();
        must(faults <= MOST_FAULTS, &mut found, "fault".into(), || {
            format!("{faults} faults are more than {MOST_FAULTS}: lower `times`")
        });
        found
    }
}

/// A topic in which `{N}` stands for each number below N.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicPattern {
    /// Texts, each followed by a number below a bound; the last one is not.
    parts: Vec<(String, u64)>,
    last: String,
}

impl TopicPattern {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (number, after) = after.split_once('}').ok_or_else(|| format!("`{text}` lacks a `}}`: add it"))?;
            let bound = number.parse().ok().filter(|bound| (1..=10_000).contains(bound));
            let bound =
                bound.ok_or_else(|| format!("`{{{number}}}` needs a number from 1 to 10000, as in `{{100}}`"))?;
            parts.push((before.to_owned(), bound));
            rest = after;
        }
        let pattern = Self { parts, last: rest.to_owned() };
        if pattern.count() > 100_000 {
            return Err(format!("`{text}` stands for more than 100000 topics: choose smaller numbers"));
        }
        Topic::parse(&pattern.nth(0)).map_err(|error| format!("`{text}` makes no topics: {error}"))?;
        Ok(pattern)
    }

    /// How many topics it stands for.
    pub(crate) fn count(&self) -> u64 {
        self.parts.iter().fold(1, |count: u64, (_, bound)| count.saturating_mul(*bound))
    }

    /// The topic of this number, modulo their count.
    pub(crate) fn nth(&self, mut number: u64) -> String {
        let mut topic = String::new();
        for (before, bound) in &self.parts {
            topic.push_str(before);
            topic.push_str(&(number % bound).to_string());
            number /= bound;
        }
        topic + &self.last
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = String> + '_ {
        (0..self.count()).map(|number| self.nth(number))
    }
}
