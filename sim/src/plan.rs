//! What is to happen in a run, made from its seed before the run begins.

use std::fmt;
use std::time::Duration;

use weft_base::{Lane, Mono, Random};

/// The lanes that runs use.
pub(crate) const LANES: [Lane; 3] = [Lane::URGENT, Lane::DEFAULT, Lane::BULK];

/// How the hubs are linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Each with the next.
    Line,
    /// A line whose ends are linked.
    Ring,
    /// A ring in which each is linked with the one after the next too.
    DoubleRing,
    /// All with the first.
    Star,
    /// Each with each.
    Full,
    /// A random tree with random links added.
    Random,
}

/// A link between two hubs.
#[derive(Clone, Copy, Debug)]
pub struct PlannedLink {
    /// The indices of its hubs; the first one dials.
    pub ends: [usize; 2],
    /// One way.
    pub delay: Duration,
    /// As both ends configure it.
    pub cost: u32,
    /// What a GB costs, as the end that dials was told; the other was told nothing.
    pub price: u32,
}

/// A producer whose events must be stored.
#[derive(Clone, Debug)]
pub struct PlannedProducer {
    /// The hub that it publishes at.
    pub hub: usize,
    /// What it publishes.
    pub topic: String,
    /// In which lane.
    pub lane: Lane,
    /// The hubs whose streams capture the topic.
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
        group: &'static str,
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
    /// A link becomes slower or faster.
    Delay {
        /// Which link.
        link: usize,
        /// The new delay, one way.
        delay: Duration,
    },
    /// A hub stops without a word and loses what is not synced.
    Crash {
        /// Which hub.
        hub: usize,
    },
    /// A hub starts in a new life.
    Start {
        /// Which hub.
        hub: usize,
    },
}

/// A whole run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it was made from.
    pub seed: u64,
    /// How the hubs are linked.
    pub shape: Shape,
    /// How many hubs there are.
    pub hubs: usize,
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
    /// From here on nothing goes wrong any more.
    pub healed: Mono,
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Plan {
    /// The plan of this seed.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        let mut random = Random::from_seed(seed);
        let shapes = [Shape::Line, Shape::Ring, Shape::DoubleRing, Shape::Star, Shape::Full, Shape::Random];
        let shape = *random.pick(&shapes).unwrap_or(&Shape::Random);
        let hubs = 2 + random.below(11) as usize;
        let links = links_of(shape, hubs, &mut random);
        let (streams, producers) = streams_of(hubs, &mut random);
        let lost_deltas = if random.chance(250) { 100 } else { 0 };
        let healed = Mono::default() + ms(15_000 + random.below(15_000));
        let mut plan = Self { seed, shape, hubs, links, streams, producers, steps: Vec::new(), lost_deltas, healed };
        plan.add_starts(&mut random);
        plan.add_interest(&mut random);
        plan.add_faults(&mut random);
        plan.add_publishes(&mut random);
        plan.add_members(&mut Random::from_seed(seed ^ 0x6700));
        plan.steps.sort_by_key(|(at, _)| *at);
        plan
    }

    fn add(&mut self, at: Mono, what: What) {
        self.steps.push((at, what));
    }

    fn add_starts(&mut self, random: &mut Random) {
        for hub in 0..self.hubs {
            self.add(Mono::default() + ms(random.below(1000)), What::Start { hub });
        }
    }

    fn add_interest(&mut self, random: &mut Random) {
        let mut client = 0;
        for hub in 0..self.hubs {
            for _ in 0..1 + random.below(3) {
                self.add(
                    Mono::default() + ms(random.below(2000)),
                    What::Subscribe { client, hub, filter: any_filter(random) },
                );
                client += 1;
            }
        }
        let mut at = Mono::default() + ms(2000);
        let mut present = client;
        while at < self.healed {
            at = at + ms(20 + random.below(800));
            if random.chance(550) || present == 0 {
                let hub = random.below(self.hubs as u64) as usize;
                self.add(at, What::Subscribe { client, hub, filter: any_filter(random) });
                client += 1;
                present += 1;
            } else {
                self.add(at, What::Unsubscribe { client: random.below(client as u64) as usize });
            }
        }
    }

    /// Two groups: most members stay, some come and go.
    fn add_members(&mut self, random: &mut Random) {
        for (number, group) in ["red", "blue"].into_iter().enumerate() {
            let mut at = Mono::default() + ms(500 + random.below(1000));
            for client in 0..2 + random.below(12) as usize {
                let client = 100_000 * (number + 1) + client;
                let hub = random.below(self.hubs as u64) as usize;
                let filter = if random.chance(500) { "**".to_owned() } else { any_filter(random) };
                let weight = 1 + random.below(4) as u16;
                self.add(at, What::Join { client, hub, group, filter, weight });
                if random.chance(400) {
                    self.add(at + ms(random.below(20_000)), What::Leave { client });
                }
                at = at + ms(if random.chance(700) { 20 } else { random.below(8000) });
            }
        }
    }

    /// Bursts of faults with pauses between them, each mended after a while.
    fn add_faults(&mut self, random: &mut Random) {
        let mut at = Mono::default() + ms(3000 + random.below(4000));
        while at < self.healed {
            for _ in 0..1 + random.below(3) {
                at = at + ms(random.below(700));
                if at >= self.healed {
                    break;
                }
                let patience = random_patience(random);
                let mended = (at + ms(100 + random.below(patience))).min(self.healed);
                let link = random.below(self.links.len() as u64) as usize;
                match random.below(10) {
                    0..4 => {
                        self.add(at, What::Cut { link, noticed: random.chance(600) });
                        self.add(mended, What::Mend { link });
                    }
                    4..6 => {
                        self.add(at, What::CutOneWay { link, from: random.below(2) as usize });
                        self.add(mended, What::Mend { link });
                    }
                    6 => self.add(at, What::Delay { link, delay: any_delay(random) }),
                    _ => {
                        let hub = random.below(self.hubs as u64) as usize;
                        self.add(at, What::Crash { hub });
                        self.add(mended, What::Start { hub });
                    }
                }
            }
            at = at + ms(random.below(9000));
        }
        for link in 0..self.links.len() {
            self.add(self.healed, What::Mend { link });
        }
        for hub in 0..self.hubs {
            self.add(self.healed, What::Start { hub });
        }
    }

    fn add_publishes(&mut self, random: &mut Random) {
        let mut at = Mono::default() + ms(1500);
        while at < self.healed {
            at = at + ms(1 + random.below(60));
            let producer = random.below(self.producers.len().max(1) as u64) as usize;
            if random.chance(300) && producer < self.producers.len() {
                // Some at once, so that flows have something to go back over.
                for _ in 0..1 + random.below(4) {
                    self.add(at, What::PublishStored { producer });
                }
            } else {
                let hub = random.below(self.hubs as u64) as usize;
                let lane = *random.pick(&LANES).unwrap_or(&Lane::DEFAULT);
                self.add(at, What::Publish { hub, topic: any_topic(random), lane, events: 1 + random.below(5) });
            }
        }
    }
}

/// Most faults are short; some outlast what the mesh remembers.
fn random_patience(random: &mut Random) -> u64 {
    if random.chance(700) { 2_000 } else { 12_000 }
}

fn any_delay(random: &mut Random) -> Duration {
    Duration::from_micros(100 + random.below(40_000))
}

fn any_topic(random: &mut Random) -> String {
    let levels = 1 + random.below(3);
    let level = |random: &mut Random| ["a", "b", "c"][random.below(3) as usize];
    (0..levels).map(|_| level(random)).collect::<Vec<_>>().join("/")
}

fn any_filter(random: &mut Random) -> String {
    let levels = 1 + random.below(3);
    let level = |random: &mut Random| ["a", "b", "c", "a", "b", "*", "**"][random.below(7) as usize];
    (0..levels).map(|_| level(random)).collect::<Vec<_>>().join("/")
}

fn links_of(shape: Shape, hubs: usize, random: &mut Random) -> Vec<PlannedLink> {
    let mut pairs: Vec<[usize; 2]> = Vec::new();
    match shape {
        Shape::Line => pairs.extend((1..hubs).map(|hub| [hub - 1, hub])),
        Shape::Ring => pairs.extend((0..hubs).map(|hub| [hub, (hub + 1) % hubs])),
        Shape::DoubleRing => {
            pairs.extend((0..hubs).flat_map(|hub| [[hub, (hub + 1) % hubs], [hub, (hub + 2) % hubs]]));
        }
        Shape::Star => pairs.extend((1..hubs).map(|hub| [0, hub])),
        Shape::Full => pairs.extend((0..hubs).flat_map(|a| (a + 1..hubs).map(move |b| [a, b]))),
        Shape::Random => {
            pairs.extend((1..hubs).map(|hub| [random.below(hub as u64) as usize, hub]));
            for _ in 0..random.below(hubs as u64) {
                pairs.push([random.below(hubs as u64) as usize, random.below(hubs as u64) as usize]);
            }
        }
    }
    for pair in &mut pairs {
        pair.sort_unstable();
    }
    pairs.retain(|[a, b]| a != b);
    pairs.sort_unstable();
    pairs.dedup();
    // In some meshes all links are alike, so that most paths have equals.
    let alike = random.chance(400).then(|| any_delay(random));
    let mut link = |mut ends: [usize; 2]| {
        random.shuffle(&mut ends);
        let delay = alike.unwrap_or_else(|| any_delay(random));
        let (cost, price) = if alike.is_none() && random.chance(300) { (20_000, 7) } else { (0, 0) };
        PlannedLink { ends, delay, cost, price }
    };
    pairs.into_iter().map(&mut link).collect()
}

fn streams_of(hubs: usize, random: &mut Random) -> (Vec<(usize, String)>, Vec<PlannedProducer>) {
    let (mut streams, mut producers) = (Vec::new(), Vec::new());
    for number in 0..random.below(4) {
        let mut order: Vec<usize> = (0..hubs).collect();
        random.shuffle(&mut order);
        let count = 1 + random.below(2).min(hubs as u64 - 2) as usize;
        let homes: Vec<usize> = order.iter().copied().take(count).collect();
        streams.extend(homes.iter().map(|home| (*home, format!("s/{number}/**"))));
        for hub in order.iter().skip(count).take(2) {
            let lane = *random.pick(&LANES).unwrap_or(&Lane::DEFAULT);
            producers.push(PlannedProducer { hub: *hub, topic: format!("s/{number}/x"), lane, homes: homes.clone() });
        }
    }
    (streams, producers)
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {} hubs, {:?}; healed at {}", self.seed, self.hubs, self.shape, Time(self.healed))?;
        if self.lost_deltas > 0 {
            writeln!(f, "  of a thousand steps of interest, {} are lost", self.lost_deltas)?;
        }
        for (number, link) in self.links.iter().enumerate() {
            writeln!(
                f,
                "  link {number}: {:?}, {:?} one way, cost {}, price {}",
                link.ends, link.delay, link.cost, link.price
            )?;
        }
        for (hub, filter) in &self.streams {
            writeln!(f, "  stream of `{filter}` at {hub}")?;
        }
        for (number, producer) in self.producers.iter().enumerate() {
            writeln!(f, "  producer {number} of `{}` at {} in lane {}", producer.topic, producer.hub, producer.lane)?;
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
