//! Reads a mesh file: which keys there are, and what each says.

use std::time::Duration;

use weft_base::Lane;
use weft_mesh::{Limits, Timers};
use weft_sim::topology::{HubSpec, LinkSpec, MemberSpec, PublisherSpec, StreamSpec, SubscriberSpec, Topology};
use weft_sim::{Expect, Quality};
use weft_topic::Filter;

use super::names;
use crate::config::parse_with;
use crate::config::reader::{Problem, Problems, Section};

/// Reads a mesh; every mistake, in order of place.
pub(super) fn parse(text: &str) -> Result<Topology, Vec<Problem>> {
    parse_with(text, topology, |mesh| mesh.mistakes().into_iter().map(|m| (m.place, m.message)).collect())
}

fn topology(mut top: Section<'_, '_>, problems: &mut Problems) -> Topology {
    let timers = top.section("timers", problems).map_or_else(Timers::default, |section| timers(section, problems));
    let mut mesh = Topology {
        run: top.duration("run", problems).unwrap_or(Duration::from_secs(60)),
        hubs: Vec::new(),
        links: Vec::new(),
        publishers: Vec::new(),
        subscribers: Vec::new(),
        members: Vec::new(),
        streams: Vec::new(),
        timers,
        limits: top.section("limits", problems).map_or_else(Limits::default, |section| limits(section, problems)),
        expect: Expect::of(&timers),
    };
    if let Some(section) = top.section("expect", problems) {
        expect(section, &mut mesh.expect, problems);
    }
    for mut section in top.sections("hub", problems) {
        let name = section.needed("name", "\"new-york\"", problems).unwrap_or_default();
        let region = section.text("region", problems).unwrap_or_default();
        let labels = section.texts("labels", problems).unwrap_or_default();
        mesh.hubs.push(HubSpec { name, region, labels });
        section.finish(problems);
    }
    for section in top.sections("link", problems) {
        mesh.links.extend(link(section, &mesh.hubs, problems));
    }
    for section in top.sections("publisher", problems) {
        mesh.publishers.extend(publisher(section, &mesh.hubs, problems));
    }
    for mut section in top.sections("subscriber", problems) {
        let at = one_hub(&mut section, &mesh.hubs, problems);
        let filters = filters(&mut section, problems);
        if let Some(hub) = at {
            mesh.subscribers.extend(filters.into_iter().map(|filter| SubscriberSpec { hub, filter }));
        }
        section.finish(problems);
    }
    for mut section in top.sections("group", problems) {
        let group = section.needed("name", "\"workers\"", problems).unwrap_or_default();
        let hubs = hubs_of(&mut section, &mesh.hubs, problems);
        let filters = filters(&mut section, problems);
        let weight = section.number("weight", problems).unwrap_or(1);
        for hub in hubs {
            let member = |filter: &String| MemberSpec { group: group.clone(), hub, filter: filter.clone(), weight };
            mesh.members.extend(filters.iter().map(member));
        }
        section.finish(problems);
    }
    for mut section in top.sections("stream", problems) {
        let hubs = hubs_of(&mut section, &mesh.hubs, problems);
        let filters = filters(&mut section, problems);
        for hub in hubs {
            mesh.streams.extend(filters.iter().map(|filter| StreamSpec { hub, filter: filter.clone() }));
        }
        section.finish(problems);
    }
    top.finish(problems);
    mesh
}

fn one_hub(section: &mut Section<'_, '_>, hubs: &[HubSpec], problems: &mut Problems) -> Option<usize> {
    let name = section.needed("hub", "\"new-york\"", problems)?;
    names::hub(hubs, &name).map_err(|message| problems.add_at(&section.path_of("hub"), &message)).ok()
}

fn hubs_of(section: &mut Section<'_, '_>, hubs: &[HubSpec], problems: &mut Problems) -> Vec<usize> {
    let Some(found) = section.texts("hubs", problems) else {
        section.needs("hubs", "[\"new-york\"]", problems);
        return Vec::new();
    };
    let found = names::hubs(hubs, &found).map_err(|message| problems.add_at(&section.path_of("hubs"), &message));
    found.unwrap_or_default()
}

fn filters(section: &mut Section<'_, '_>, problems: &mut Problems) -> Vec<String> {
    let Some(filters) = section.texts("filters", problems) else {
        section.needs("filters", "[\"flights/**\"]", problems);
        return Vec::new();
    };
    for filter in &filters {
        if let Err(error) = Filter::parse(filter) {
            problems.add_at(&section.path_of("filters"), &format!("`{filter}`: {error}"));
        }
    }
    filters
}

fn link(mut section: Section<'_, '_>, hubs: &[HubSpec], problems: &mut Problems) -> Option<LinkSpec> {
    let between = section.texts("between", problems);
    section.needs("between", "[\"new-york\", \"london\"]", problems);
    let there = quality(&mut section, Quality::default(), problems);
    let cost = section.number("cost", problems).unwrap_or(0);
    let price = section.number("price", problems).unwrap_or(0);
    let (back, cost_back) = match section.section("back", problems) {
        Some(mut back) => {
            let quality = quality(&mut back, there, problems);
            let cost = back.number("cost", problems).unwrap_or(cost);
            back.finish(problems);
            (quality, cost)
        }
        None => (there, cost),
    };
    let place = section.path_of("between");
    section.finish(problems);
    let names: [String; 2] = match between?.try_into() {
        Ok(names) => names,
        Err(_) => {
            problems.add_at(&place, "a link has two ends: name two hubs");
            return None;
        }
    };
    let mut end = |name: &str| names::hub(hubs, name).map_err(|message| problems.add_at(&place, &message)).ok();
    let ends = [end(&names[0])?, end(&names[1])?];
    Some(LinkSpec { ends, quality: [there, back], cost: [cost, cost_back], price })
}

/// What one direction is like; what is not said is as in `like`.
fn quality(section: &mut Section<'_, '_>, like: Quality, problems: &mut Problems) -> Quality {
    Quality {
        delay: section.duration("delay", problems).unwrap_or(like.delay),
        jitter: section.duration("jitter", problems).unwrap_or(like.jitter),
        loss_ppm: section.share("loss", problems).unwrap_or(like.loss_ppm),
        bandwidth: section.rate("bandwidth", problems).map_or(like.bandwidth, |rate| rate.0),
    }
}

fn publisher(mut section: Section<'_, '_>, hubs: &[HubSpec], problems: &mut Problems) -> Option<PublisherSpec> {
    let hub = one_hub(&mut section, hubs, problems);
    let topic = section.needed("topic", "\"flights/{100}/departed\"", problems).unwrap_or_default();
    let lanes: Vec<(String, Lane)> = Lane::all().map(|lane| (lane.to_string(), lane)).collect();
    let mut choices = vec![("urgent", Lane::URGENT), ("default", Lane::DEFAULT), ("bulk", Lane::BULK)];
    choices.extend(lanes.iter().map(|(name, lane)| (name.as_str(), *lane)));
    let read = PublisherSpec {
        hub: hub.unwrap_or(0),
        topic,
        rate: section.fraction("rate", problems).unwrap_or(1.0),
        events: section.number("events", problems).unwrap_or(1),
        size: section.bytes("size", problems).map_or(200, |size| size.0),
        lane: section.choice("lane", &choices, problems).unwrap_or(Lane::DEFAULT),
        is_stored: section.boolean("stored", problems).unwrap_or(false),
    };
    section.finish(problems);
    hub.map(|_| read)
}

fn expect(mut section: Section<'_, '_>, expect: &mut Expect, problems: &mut Problems) {
    if let Some(bound) = section.duration("convergence", problems) {
        expect.convergence = bound;
    }
    if let Some(intervals) = section.number("failover", problems) {
        expect.failover = Some(intervals);
    }
    expect.latency_p99 = section.duration("latency_p99", problems);
    expect.control = section.rate("control", problems).map(|rate| rate.0);
    section.finish(problems);
}

fn timers(mut section: Section<'_, '_>, problems: &mut Problems) -> Timers {
    let known = Timers::default();
    let mut read = |key, known| section.duration(key, problems).unwrap_or(known);
    let timers = Timers {
        ping: read("ping", known.ping),
        silence: read("silence", known.silence),
        digest: read("digest", known.digest),
        refresh: read("refresh", known.refresh),
        record_age: read("record_age", known.record_age),
        interest_retention: read("interest_retention", known.interest_retention),
        rtt_hold: read("rtt_hold", known.rtt_hold),
        ..known
    };
    section.finish(problems);
    timers
}

fn limits(mut section: Section<'_, '_>, problems: &mut Problems) -> Limits {
    let known = Limits::default();
    let mut read = |key, known| section.number(key, problems).unwrap_or(known);
    let (hubs, links, filters) = (read("hubs", known.hubs), read("links", known.links), read("filters", known.filters));
    section.finish(problems);
    Limits { hubs, links, filters }
}
