//! Plans that a seed makes alone: a shape, interest that comes and goes, publishes
//! and every kind of fault, all by chance.

use std::time::Duration;

use weft_base::{Lane, Mono, Random};
use weft_mesh::{Limits, Timers};
use weft_wire::frame::PROTOCOL_VERSION;

use super::{LANES, Plan, PlannedHub, PlannedLink, PlannedProducer, Quality, What, ms};
use crate::expect::Expect;
use crate::shapes::{Built, MOST_HUBS, Shape, SizedShape};

/// Bytes of an event.
const SIZE: u64 = 200;
/// Longer than a process is stopped, after which it delivers what waited.
const SLOWEST: Duration = Duration::from_secs(30);
/// Several times what a hub of twelve says under these faults.
const TALK: u64 = 200_000;

/// The timers of simulated hubs: shorter than the defaults, so that more
/// happens in a run.
fn timers() -> Timers {
    Timers {
        ping: ms(500),
        silence: ms(2000),
        digest: ms(1000),
        refresh: ms(6000),
        record_age: ms(20_000),
        interest_retention: ms(5000),
        rtt_hold: ms(1000),
        damp_most: ms(3000),
        damp_half_life: ms(1000),
        ..Timers::default()
    }
}

/// The size of a mesh that is larger than most, for some seeds: of so many hubs
/// that digests are sums (17), and for few of so many that ways are held back (65).
fn large(shape: Shape, seed: u64) -> Option<usize> {
    let mut random = Random::from_seed(seed ^ 0x1a26);
    // Of these no hub has more links than one may have.
    let can_be_huge = matches!(shape, Shape::Ring | Shape::StarOfStars | Shape::Random);
    match random.below(2_000) {
        0..=2 if can_be_huge => Some(65 + random.below(8) as usize),
        // Not full meshes, of which the links grow with the square of the hubs.
        0..=99 if shape != Shape::Full => Some(17 + random.below(8) as usize),
        _ => None,
    }
}

impl Plan {
    /// The plan of this seed, of one shape after the other.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        let shape = Shape::ALL[(seed % Shape::ALL.len() as u64) as usize];
        Self::of_shape(SizedShape { shape, hubs: None }, seed)
    }

    /// The plan of this seed, of this shape.
    #[must_use]
    pub fn of_shape(SizedShape { shape, hubs }: SizedShape, seed: u64) -> Self {
        let mut random = Random::from_seed(seed);
        let by_chance = 2 + random.below(11) as usize;
        let hubs = hubs.or(large(shape, seed)).unwrap_or(by_chance).clamp(shape.least(), MOST_HUBS);
        let Built { pairs, regions, apart } = shape.build(hubs, &mut random);
        let links = links_of(pairs, &mut random);
        let (streams, producers) = streams_of(hubs, &mut random);
        let lost_deltas = if random.chance(250) { 100 } else { 0 };
        let healed = Mono::default() + ms(22_000 + random.below(15_000));
        // In some meshes some hubs are not upgraded yet.
        let mut versions = Random::from_seed(seed ^ 0x7e25);
        let upgraded = if versions.chance(250) { 500 } else { 1000 };
        let mut hub = |(number, region): (usize, &str)| PlannedHub {
            name: format!("hub-{number}"),
            region: region.to_owned(),
            labels: Vec::new(),
            version: if versions.chance(upgraded) { PROTOCOL_VERSION } else { PROTOCOL_VERSION - 1 },
        };
        let mut plan = Self {
            seed,
            of: shape.name().to_owned(),
            hubs: regions.into_iter().enumerate().map(&mut hub).collect(),
            links,
            streams,
            producers,
            steps: Vec::new(),
            lost_deltas,
            two_paths: false,
            healed,
            timers: timers(),
            limits: Limits::default(),
            expect: Expect { latency_p99: Some(SLOWEST), control: Some(TALK), ..Expect::of(&timers()) },
        };
        plan.add_starts(&mut random);
        plan.add_interest(&mut random);
        plan.add_first_cut(&mut Random::from_seed(seed ^ 0xc07));
        plan.add_faults(&mut random);
        plan.add_publishes(&mut random);
        plan.add_members(&mut Random::from_seed(seed ^ 0x6700));
        plan.add_bound(&mut Random::from_seed(seed ^ 0x1abe1));
        plan.add_strange_faults(&mut Random::from_seed(seed ^ 0xfa17));
        plan.add_drain(&mut Random::from_seed(seed ^ 0xd7a1));
        if let Some(first) = apart {
            plan.keep_apart(|hub| hub >= first, Mono::default() + ms(12_500 + random.below(6000)));
        }
        plan.steps.sort_by_key(|(at, _)| *at);
        plan
    }

    /// Links between hubs of which one is of the second mesh, and one is not,
    /// work from `until` on.
    fn keep_apart(&mut self, is_second: impl Fn(usize) -> bool, until: Mono) {
        let between = |link: &PlannedLink| is_second(link.ends[0]) != is_second(link.ends[1]);
        let links: Vec<usize> = (0..self.links.len()).filter(|link| between(&self.links[*link])).collect();
        // What else was planned for them before they are there makes no sense.
        self.steps.retain(|(at, what)| {
            let of = match what {
                What::Cut { link, .. } | What::CutOneWay { link, .. } | What::Mend { link } => Some(link),
                _ => None,
            };
            of.is_none_or(|link| *at > until || !links.contains(link))
        });
        for link in links {
            self.steps.push((Mono::default(), What::Cut { link, noticed: true }));
            self.steps.push((until, What::Mend { link }));
        }
    }

    pub(crate) fn add(&mut self, at: Mono, what: What) {
        self.steps.push((at, what));
    }

    fn add_starts(&mut self, random: &mut Random) {
        for hub in 0..self.hubs.len() {
            self.add(Mono::default() + ms(random.below(1000)), What::Start { hub });
        }
    }

    fn add_interest(&mut self, random: &mut Random) {
        let mut client = 0;
        for hub in 0..self.hubs.len() {
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
                let hub = random.below(self.hubs.len() as u64) as usize;
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
                let hub = random.below(self.hubs.len() as u64) as usize;
                let filter = if random.chance(500) { "**".to_owned() } else { any_filter(random) };
                let weight = 1 + random.below(4) as u16;
                self.add(at, What::Join { client, hub, group: group.to_owned(), filter, weight });
                if random.chance(400) {
                    self.add(at + ms(random.below(20_000)), What::Leave { client });
                }
                at = at + ms(if random.chance(700) { 20 } else { random.below(8000) });
            }
        }
    }

    /// A cut of a mesh at rest, before anything else goes wrong.
    fn add_first_cut(&mut self, random: &mut Random) {
        let link = random.below(self.links.len() as u64) as usize;
        self.cut_for_a_while(vec![link], random.chance(500), Mono::default() + ms(8000), Mono::default() + ms(12_000));
    }

    /// Bursts of faults with pauses between them, each mended after a while.
    fn add_faults(&mut self, random: &mut Random) {
        let mut at = Mono::default() + ms(12_000 + random.below(2000));
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
                        let hub = random.below(self.hubs.len() as u64) as usize;
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
        for hub in 0..self.hubs.len() {
            self.add(self.healed, What::Start { hub });
        }
    }

    /// What happens less often: lossy and narrow links, stopped processes, clocks
    /// that jump, disks that are put back, certificates that expire and meshes
    /// that fall apart.
    fn add_strange_faults(&mut self, random: &mut Random) {
        let mut at = Mono::default() + ms(12_000 + random.below(8000));
        while at < self.healed {
            let patience = random_patience(random);
            let mended = (at + ms(100 + random.below(patience))).min(self.healed);
            let link = random.below(self.links.len() as u64) as usize;
            let hub = random.below(self.hubs.len() as u64) as usize;
            match random.below(12) {
                0..2 => {
                    self.add(at, What::Loss { link, ppm: 1 + random.below(200_000) as u32 });
                    self.add(mended, What::Restore { link });
                }
                2..4 => {
                    self.add(at, What::Bandwidth { link, bandwidth: 20_000 + random.below(200_000) });
                    self.add(mended, What::Restore { link });
                }
                4..8 => {
                    self.add(at, What::Stop { hub });
                    self.add(mended, What::Continue { hub });
                }
                8 => self.add(at, What::ClockJump { hub, seconds: random.below(20_000_000) as i64 - 10_000_000 }),
                9 => {
                    self.add(at, What::OldState { hub });
                    self.add(mended, What::Start { hub });
                }
                10 => {
                    let of_hub = (0..self.links.len()).filter(|link| self.links[*link].ends.contains(&hub));
                    self.cut_for_a_while(of_hub.collect(), true, at, mended);
                }
                _ => {
                    let side: Vec<bool> = self.hubs.iter().map(|_| random.chance(500)).collect();
                    let crosses = |link: &PlannedLink| side[link.ends[0]] != side[link.ends[1]];
                    let between = (0..self.links.len()).filter(|link| crosses(&self.links[*link])).collect();
                    self.cut_for_a_while(between, random.chance(500), at, mended);
                }
            }
            at = at + ms(2000 + random.below(12_000));
        }
        for hub in 0..self.hubs.len() {
            self.add(self.healed, What::Continue { hub });
        }
        for link in 0..self.links.len() {
            self.add(self.healed, What::Restore { link });
        }
    }

    /// In some meshes a hub is about to stop for a while, with what goes wrong
    /// meanwhile; in others before anything does.
    fn add_drain(&mut self, random: &mut Random) {
        if random.chance(600) {
            let hub = random.below(self.hubs.len() as u64) as usize;
            let at = if random.chance(500) { 3000 } else { 12_000 + random.below(6000) };
            self.add(Mono::default() + ms(at), What::Drain { hub });
            self.add(Mono::default() + ms(at + 4500 + random.below(8000)), What::Undrain { hub });
        }
    }

    /// An expired certificate is a cut of all links of its hub: each is closed at
    /// once, and refused until there is a new one.
    pub(super) fn cut_for_a_while(&mut self, links: Vec<usize>, noticed: bool, at: Mono, until: Mono) {
        for link in links {
            self.add(at, What::Cut { link, noticed });
            self.add(until, What::Mend { link });
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
                let hub = random.below(self.hubs.len() as u64) as usize;
                let lane = *random.pick(&LANES).unwrap_or(&Lane::DEFAULT);
                self.add(
                    at,
                    What::Publish { hub, topic: any_topic(random), lane, events: 1 + random.below(5), size: SIZE },
                );
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

fn links_of(pairs: Vec<[usize; 2]>, random: &mut Random) -> Vec<PlannedLink> {
    // In some meshes all links are alike, so that most paths have equals.
    let alike = random.chance(400).then(|| any_delay(random));
    let mut link = |mut ends: [usize; 2]| {
        random.shuffle(&mut ends);
        let delay = alike.unwrap_or_else(|| any_delay(random));
        let (cost, price) = if alike.is_none() && random.chance(300) { (20_000, 7) } else { (0, 0) };
        let mut quality = [Quality { delay, ..Quality::default() }; 2];
        if alike.is_none() {
            quality.iter_mut().for_each(|one_way| roughen(one_way, random));
        }
        PlannedLink { ends, quality, cost: [cost; 2], price }
    };
    pairs.into_iter().map(&mut link).collect()
}

/// Some links are worse than others, and in one direction than in the other; not
/// so much that round trips, and routes with them, never come to rest.
fn roughen(quality: &mut Quality, random: &mut Random) {
    if random.chance(150) {
        quality.jitter = quality.delay / (16 + random.below(100) as u32);
    }
    if random.chance(100) {
        quality.loss_ppm = 1 + random.below(1000) as u32;
    }
    if random.chance(100) {
        quality.bandwidth = 200_000 + random.below(2_000_000);
    }
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
            let topics = vec![format!("s/{number}/x")];
            producers.push(PlannedProducer { hub: *hub, topics, lane, size: SIZE, homes: homes.clone() });
        }
    }
    (streams, producers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_meshes_are_large_enough_for_all_that_size_changes() {
        let sizes: Vec<usize> =
            (0..10_000).filter_map(|seed| large(Shape::ALL[(seed % Shape::ALL.len() as u64) as usize], seed)).collect();
        let of = |from: usize, to: usize| sizes.iter().filter(|size| (from..to).contains(*size)).count();
        assert!(of(17, 25) > 300 && of(65, 73) >= 3, "{sizes:?}");
        assert!((0..300).all(|seed| large(Shape::ALL[seed as usize % Shape::ALL.len()], seed) < Some(65)), "too slow");
    }
}
