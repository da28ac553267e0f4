//! Plans of a mesh and faults that somebody wrote down, with a seed for what is
//! left to chance.

use std::collections::BTreeSet;
use std::time::Duration;

use weft_base::{Mono, Random};
use weft_wire::frame::PROTOCOL_VERSION;

use super::{Plan, PlannedHub, PlannedLink, PlannedProducer, What, ms};
use crate::topology::{FaultKind, FaultPlan, FaultSpec, Span, TopicPattern, Topology};

/// Publishers begin then: the mesh has had time to be there.
const BEGIN: u64 = 1500;

impl Plan {
    /// The plan of this seed, of a mesh without [mistakes](Topology::mistakes)
    /// and of faults likewise. `name` is what reports call it.
    #[must_use]
    pub fn of_files(name: &str, mesh: &Topology, faults: &FaultPlan, seed: u64) -> Self {
        let mut random = Random::from_seed(seed);
        let links = mesh.links.iter().map(|link| PlannedLink {
            ends: link.ends,
            quality: link.quality,
            cost: link.cost,
            price: link.price,
        });
        let hub = |hub: &crate::topology::HubSpec| PlannedHub {
            name: hub.name.clone(),
            region: hub.region.clone(),
            labels: hub.labels.clone(),
            version: PROTOCOL_VERSION,
        };
        let mut plan = Self {
            seed,
            of: name.to_owned(),
            hubs: mesh.hubs.iter().map(hub).collect(),
            links: links.collect(),
            streams: mesh.streams.iter().map(|stream| (stream.hub, stream.filter.clone())).collect(),
            producers: Vec::new(),
            steps: Vec::new(),
            lost_deltas: 0,
            two_paths: false,
            healed: Mono::default() + ms(BEGIN) + mesh.run,
            timers: mesh.timers,
            limits: mesh.limits,
            expect: mesh.expect,
        };
        for hub in 0..plan.hubs.len() {
            plan.add(Mono::default() + ms(random.below(1000)), What::Start { hub });
        }
        plan.add_wants(mesh, &mut random);
        plan.add_publishers(mesh, &mut random);
        for fault in &faults.faults {
            for _ in 0..fault.times {
                plan.add_fault(fault, mesh, &mut random);
            }
        }
        for link in 0..plan.links.len() {
            plan.add(plan.healed, What::Mend { link });
            plan.add(plan.healed, What::Restore { link });
        }
        for hub in 0..plan.hubs.len() {
            plan.add(plan.healed, What::Continue { hub });
            plan.add(plan.healed, What::Undrain { hub });
            plan.add(plan.healed, What::Start { hub });
        }
        plan.steps.sort_by_key(|(at, _)| *at);
        plan
    }

    fn add_wants(&mut self, mesh: &Topology, random: &mut Random) {
        for (client, subscriber) in mesh.subscribers.iter().enumerate() {
            let at = Mono::default() + ms(random.below(1000));
            let filter = subscriber.filter.clone();
            self.add(at, What::Subscribe { client, hub: subscriber.hub, filter });
        }
        for (number, member) in mesh.members.iter().enumerate() {
            let at = Mono::default() + ms(random.below(1000));
            let client = mesh.subscribers.len() + number;
            let (hub, group, filter, weight) = (member.hub, member.group.clone(), member.filter.clone(), member.weight);
            self.add(at, What::Join { client, hub, group, filter, weight });
        }
    }

    fn add_publishers(&mut self, mesh: &Topology, random: &mut Random) {
        for publisher in &mesh.publishers {
            let Ok(pattern) = TopicPattern::parse(&publisher.topic) else { continue };
            let pause = Duration::from_secs_f64(1.0 / publisher.rate);
            let producer = publisher.is_stored.then(|| {
                self.producers.push(PlannedProducer {
                    hub: publisher.hub,
                    topics: pattern.all().collect(),
                    lane: publisher.lane,
                    size: publisher.size,
                    homes: mesh.homes_of_all(&pattern).unwrap_or_default(),
                });
                self.producers.len() - 1
            });
            // Not all in step.
            let mut at = Mono::default() + ms(BEGIN) + pause * random.below(1000) as u32 / 1000;
            while at < self.healed {
                let (hub, lane, events, size) = (publisher.hub, publisher.lane, publisher.events, publisher.size);
                let what = match producer {
                    Some(producer) => What::PublishStored { producer },
                    None => {
                        let topic = pattern.nth(random.below(pattern.count()));
                        What::Publish { hub, topic, lane, events, size }
                    }
                };
                self.add(at, what);
                at = at + pause;
            }
        }
    }

    fn add_fault(&mut self, fault: &FaultSpec, mesh: &Topology, random: &mut Random) {
        let at = (Mono::default() + ms(BEGIN) + within(fault.at, random)).min(self.healed);
        let until = fault.lasts.map_or(self.healed, |lasts| (at + within(lasts, random)).min(self.healed));
        let one = |of: &[usize], random: &mut Random| random.pick(of).copied();
        match &fault.kind {
            FaultKind::Cut { links, noticed } => {
                self.cut_for_a_while(one(links, random).into_iter().collect(), *noticed, at, until);
            }
            FaultKind::CutOneWay { links } => {
                let Some((link, from)) = random.pick(links).copied() else { return };
                let from = from.unwrap_or_else(|| random.below(2) as usize);
                self.add(at, What::CutOneWay { link, from });
                self.add(until, What::Mend { link });
            }
            FaultKind::Heal { links } => links.iter().for_each(|link| self.add(at, What::Mend { link: *link })),
            FaultKind::Delay { links, delay } => {
                let Some(link) = one(links, random) else { return };
                self.add(at, What::Delay { link, delay: within(*delay, random) });
                self.add(until, What::Restore { link });
            }
            FaultKind::Loss { links, ppm } => {
                let Some(link) = one(links, random) else { return };
                self.add(at, What::Loss { link, ppm: *ppm });
                self.add(until, What::Restore { link });
            }
            FaultKind::Bandwidth { links, bandwidth } => {
                let Some(link) = one(links, random) else { return };
                self.add(at, What::Bandwidth { link, bandwidth: *bandwidth });
                self.add(until, What::Restore { link });
            }
            FaultKind::Kill { hubs } => {
                let Some(hub) = one(hubs, random) else { return };
                self.add(at, What::Crash { hub });
                self.add(until, What::Start { hub });
            }
            FaultKind::OldState { hubs } => {
                let Some(hub) = one(hubs, random) else { return };
                self.add(at, What::OldState { hub });
                self.add(until, What::Start { hub });
            }
            FaultKind::Stop { hubs } => {
                let Some(hub) = one(hubs, random) else { return };
                self.add(at, What::Stop { hub });
                self.add(until, What::Continue { hub });
            }
            FaultKind::Drain { hubs } => {
                let Some(hub) = one(hubs, random) else { return };
                self.add(at, What::Drain { hub });
                self.add(until, What::Undrain { hub });
            }
            FaultKind::ClockJump { hubs, seconds } => {
                let Some(hub) = one(hubs, random) else { return };
                self.add(at, What::ClockJump { hub, seconds: *seconds });
            }
            FaultKind::Expire { hubs } => {
                let Some(hub) = one(hubs, random) else { return };
                let links = (0..mesh.links.len()).filter(|link| mesh.links[*link].ends.contains(&hub)).collect();
                self.cut_for_a_while(links, true, at, until);
            }
            FaultKind::Partition { sets, noticed } => {
                self.cut_for_a_while(links_between(mesh, sets), *noticed, at, until);
            }
            FaultKind::Merge { sets } => {
                self.cut_for_a_while(links_between(mesh, sets), true, Mono::default(), at);
            }
        }
    }
}

fn within(span: Span, random: &mut Random) -> Duration {
    let spread = span.most.saturating_sub(span.least);
    span.least + Duration::from_nanos(random.below(u64::try_from(spread.as_nanos()).unwrap_or(u64::MAX)))
}

/// The links whose ends are in two different sets.
fn links_between(mesh: &Topology, sets: &[Vec<usize>]) -> Vec<usize> {
    let sets: Vec<BTreeSet<usize>> = sets.iter().map(|set| set.iter().copied().collect()).collect();
    let place = |hub: usize| sets.iter().position(|set| set.contains(&hub));
    let is_between = |link: &usize| match mesh.links[*link].ends.map(place) {
        [Some(one), Some(other)] => one != other,
        _ => false,
    };
    (0..mesh.links.len()).filter(is_between).collect()
}
