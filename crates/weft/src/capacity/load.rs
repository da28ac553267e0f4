//! The load that a mesh file describes, as flows: who publishes how much, and which
//! hubs want it in how many copies.

use std::collections::{BTreeMap, BTreeSet};

use weft_base::HubId;
use weft_mesh::Weights;
use weft_mesh::plan::{Flow, PlanHub, PlanLink, PlanMesh};
use weft_sim::topology::{PublisherSpec, Topology};
use weft_topic::{Filter, Topic};

/// Topics of one publisher that are told apart; of more a part stands for all.
const MOST_TOPICS: usize = 256;
/// What a block takes on a link besides its payloads: its header and the frame's.
const BLOCK_HEAD: f64 = 320.0;
/// And each event in it.
const EVENT_HEAD: f64 = 24.0;

/// The mesh that ways are found in: round trips are the delays of both directions.
pub(super) fn mesh_of(mesh: &Topology) -> PlanMesh {
    let id = |at: usize| mesh.hubs.get(at).map(|hub| HubId::of_name(&hub.name));
    let hubs = mesh.hubs.iter().map(|hub| {
        let labels = hub.labels.clone();
        (HubId::of_name(&hub.name), PlanHub { labels, ..PlanHub::default() })
    });
    let links = mesh.links.iter().filter_map(|link| {
        let rtt = link.quality.iter().map(|quality| quality.delay).sum::<std::time::Duration>();
        let rtt_us = u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX);
        let [a, b] = [id(link.ends[0])?, id(link.ends[1])?];
        let end = |at: usize| {
            let loss = link.quality[at].loss_ppm;
            PlanLink { cost: link.cost[at], rtt_us, loss, price: link.price }
        };
        Some([((a, b), end(0)), ((b, a), end(1))])
    });
    PlanMesh::new(Weights::default(), hubs, links.flatten())
}

/// All flows of a mesh.
pub(super) fn of(mesh: &Topology) -> Vec<Flow> {
    mesh.publishers.iter().flat_map(|publisher| flows(mesh, publisher)).collect()
}

fn flows(mesh: &Topology, publisher: &PublisherSpec) -> Vec<Flow> {
    let id = |at: usize| mesh.hubs.get(at).map(|hub| HubId::of_name(&hub.name));
    let Some(from) = id(publisher.hub) else { return Vec::new() };
    let events = publisher.rate * publisher.events as f64;
    let bytes = publisher.size as f64 + EVENT_HEAD + BLOCK_HEAD / publisher.events.max(1) as f64;
    let topics = topics(&publisher.topic);
    // Topics that go to the same hubs are one flow.
    let mut wanted: Vec<(BTreeMap<HubId, f64>, f64)> = Vec::new();
    for topic in &topics {
        let to = copies(mesh, topic);
        match wanted.iter_mut().find(|(known, _)| *known == to) {
            Some((_, share)) => *share += 1.0,
            None => wanted.push((to, 1.0)),
        }
    }
    let each = events / topics.len().max(1) as f64;
    wanted.into_iter().map(|(to, share)| Flow { from, to, rate: each * share, bytes }).collect()
}

/// How many copies of an event each hub makes for subscribers, streams and groups. A
/// group is served by one hub of those with a member: each has its share.
fn copies(mesh: &Topology, topic: &str) -> BTreeMap<HubId, f64> {
    let mut copies: BTreeMap<HubId, f64> = BTreeMap::new();
    let Ok(topic) = Topic::parse(topic) else { return copies };
    let wants = |filter: &str| Filter::parse(filter).is_ok_and(|filter| filter.matches(topic));
    let mut add = |at: usize, n: f64| {
        if let Some(hub) = mesh.hubs.get(at) {
            *copies.entry(HubId::of_name(&hub.name)).or_default() += n;
        }
    };
    mesh.subscribers.iter().filter(|s| wants(&s.filter)).for_each(|s| add(s.hub, 1.0));
    mesh.streams.iter().filter(|s| wants(&s.filter)).for_each(|s| add(s.hub, 1.0));
    let groups: BTreeSet<&str> = mesh.members.iter().map(|member| member.group.as_str()).collect();
    for group in groups {
        let members: Vec<_> = mesh.members.iter().filter(|m| m.group == group && wants(&m.filter)).collect();
        members.iter().for_each(|member| add(member.hub, 1.0 / members.len() as f64));
    }
    copies
}

/// The topics of a pattern, in which `{N}` stands for each number below N.
fn topics(pattern: &str) -> Vec<String> {
    let mut topics = vec![String::new()];
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((number, after)) = after.split_once('}') else { break };
        let numbers = number.parse::<usize>().unwrap_or(1).clamp(1, MOST_TOPICS);
        let with = |topic: &String| (0..numbers).map(|n| format!("{topic}{before}{n}")).collect::<Vec<_>>();
        topics = topics.iter().flat_map(with).take(MOST_TOPICS).collect();
        rest = after;
    }
    topics.iter_mut().for_each(|topic| topic.push_str(rest));
    topics
}
