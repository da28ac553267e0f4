//! Reads a plan: what is to change of a mesh that is there. Every mistake is
//! told, with its place; hubs are known by the names that they have in the mesh.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use weft_base::HubId;
use weft_hub::options::is_label;
use weft_mesh::plan::{Change, Mistake, PlanLink};
use weft_topic::Filter;
use weft_topic::mapping::Mapping;

use super::live::Live;
use super::rules::{Rule, RuleChange};
use crate::config::reader::{Problem, Problems, Section};
use crate::config::{mapping_rule, parse_with};

/// What is to change.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// Links first, in the order of the file's tables.
    pub(crate) changes: Vec<Change>,
    /// Where each of them stands in the file.
    places: Vec<String>,
    /// Of links that are added: where they are dialled, by the place of the change.
    pub(crate) dialled: BTreeMap<usize, String>,
    /// Where the operator's client reaches hubs.
    pub(crate) addresses: BTreeMap<HubId, String>,
    /// What may be out of reach afterwards.
    pub(crate) cuts_off: BTreeSet<HubId>,
    /// Rules that hubs are to get.
    pub(crate) rules: Vec<RuleChange>,
}

/// Reads a plan for this mesh; every mistake, in order of place.
pub(crate) fn parse(text: &str, live: &Live) -> Result<Plan, Vec<Problem>> {
    parse_with(text, |top, problems| plan(top, live, problems), |plan| cuts(plan, live))
}

/// What changes have against each other and the mesh, one by one: so it is of those
/// that could be read, also where others could not.
fn mistakes(plan: &Plan, live: &Live, problems: &mut Problems) {
    let place = |place: usize| plan.places.get(place).cloned().unwrap_or_default();
    let are_read = problems.list.is_empty();
    for (at, mistake) in live.mesh.mistakes(&plan.changes, &plan.cuts_off) {
        let words = match mistake {
            Mistake::Twice { first } => format!("`{}` is about the same: say it once", place(first.saturating_sub(1))),
            Mistake::Cuts { .. } => continue,
            // What it says may be what could not be read.
            Mistake::Nothing if !are_read => continue,
            other => other.to_string(),
        };
        problems.add_at(&place(at), &words);
    }
}

/// What all changes together do to the mesh, once there is no other mistake.
fn cuts(plan: &Plan, live: &Live) -> Vec<(String, String)> {
    let found = live.mesh.mistakes(&plan.changes, &plan.cuts_off);
    let words = |mistake: &Mistake| match mistake {
        Mistake::Cuts { from, to, pairs } => {
            let (from, to) = (live.name(*from), live.name(*to));
            Some(format!("{mistake}; {from} would no longer reach {to} ({pairs} pairs of hubs in all)"))
        }
        _ => None,
    };
    found.iter().filter_map(|(_, mistake)| Some((String::new(), words(mistake)?))).collect()
}

fn plan(mut top: Section<'_, '_>, live: &Live, problems: &mut Problems) -> Plan {
    let mut plan = Plan::default();
    for section in top.sections("hub", problems) {
        address(section, live, &mut plan, problems);
    }
    for section in top.sections("add", problems) {
        add(section, live, &mut plan, problems);
    }
    for mut section in top.sections("remove", problems) {
        let place = section.path_of("between");
        let between = between(&mut section, live, problems);
        section.finish(problems);
        plan.take(between.map(|between| Change::Remove { between }), &place);
    }
    for mut section in top.sections("weigh", problems) {
        let place = section.path_of("between");
        let between = between(&mut section, live, problems);
        let cost = section.number("cost", problems);
        let price = section.number("price_per_gb", problems);
        section.finish(problems);
        plan.take(between.map(|between| Change::Weigh { between, cost, price }), &place);
    }
    for mut section in top.sections("labels", problems) {
        let place = section.path_of("hub");
        let hub = hub(&mut section, "hub", live, problems);
        let labels = labels(&mut section, problems);
        section.finish(problems);
        plan.take(hub.map(|hub| Change::Label { hub, labels }), &place);
    }
    for mut section in top.sections("drain", problems) {
        let place = section.path_of("hub");
        let hub = hub(&mut section, "hub", live, problems);
        section.finish(problems);
        plan.take(hub.map(|hub| Change::Drain { hub }), &place);
    }
    for section in top.sections("mapping", problems) {
        plan.rules.extend(mapping(section, live, problems));
    }
    for section in top.sections("residency", problems) {
        plan.rules.extend(residency(section, live, problems));
    }
    for name in top.texts("cuts_off", problems).unwrap_or_default() {
        match live.id(&name) {
            Some(hub) => drop(plan.cuts_off.insert(hub)),
            None => problems.add_at("cuts_off", &unknown(&name, live)),
        }
    }
    if plan.changes.is_empty() && plan.rules.is_empty() && problems.list.is_empty() {
        let message = "nothing is to change: add `[[add]]`, `[[remove]]`, `[[weigh]]`, `[[labels]]`, `[[drain]]`, \
                       `[[mapping]]` or `[[residency]]`";
        problems.add(0, message);
    }
    mistakes(&plan, live, problems);
    top.finish(problems);
    plan
}

impl Plan {
    fn take(&mut self, change: Option<Change>, place: &str) {
        self.places.extend(change.is_some().then(|| place.to_owned()));
        self.changes.extend(change);
    }
}

fn address(mut section: Section<'_, '_>, live: &Live, plan: &mut Plan, problems: &mut Problems) {
    let known = hub(&mut section, "name", live, problems);
    let addr = section.needed("addr", "\"127.0.0.1:7411\"", problems);
    if let (Some(hub), Some(addr)) = (known, addr)
        && plan.addresses.insert(hub, addr).is_some()
    {
        problems.add_at(&section.path_of("name"), "the hub has an address already: say it once");
    }
    section.finish(problems);
}

fn add(mut section: Section<'_, '_>, live: &Live, plan: &mut Plan, problems: &mut Problems) {
    let place = section.path_of("from");
    let (from, to) = (hub(&mut section, "from", live, problems), hub(&mut section, "to", live, problems));
    let addr = section.needed("addr", "\"10.0.0.3:7500\"", problems);
    let cost = section.number("cost", problems).unwrap_or(0);
    let price = section.number("price_per_gb", problems).unwrap_or(0);
    let rtt = section.duration("rtt", problems);
    section.finish(problems);
    let Some((from, to)) = from.zip(to) else { return };
    let rtt_us = rtt.map_or_else(|| present_rtt(live, from, to), micros);
    if let Some(addr) = addr {
        plan.dialled.insert(plan.changes.len(), addr);
    }
    let link = PlanLink { cost, rtt_us, loss: 0, price };
    plan.take(Some(Change::Add { between: [from, to], link }), &place);
}

/// Of a link that is to come, the round trip of the way that is there.
fn present_rtt(live: &Live, from: HubId, to: HubId) -> u32 {
    let ways = live.mesh.ways();
    let rtt = ways.get(&from).and_then(|ways| ways.get(&to)).map_or(1, |way| way.rtt_us);
    u32::try_from(rtt).unwrap_or(u32::MAX)
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

/// A rule of the mapping, as in a hub's configuration, and the hub.
fn mapping(mut section: Section<'_, '_>, live: &Live, problems: &mut Problems) -> Option<RuleChange> {
    let place = section.path_of("from");
    let hub = hub(&mut section, "hub", live, problems);
    let spec = mapping_rule(section, problems)?;
    let rule = Mapping::new(&spec).map_err(|error| problems.add_at(&place, &error.to_string())).ok()?;
    Some(RuleChange { hub: hub?, rule: Rule::Map(Box::new(rule)) })
}

fn residency(mut section: Section<'_, '_>, live: &Live, problems: &mut Problems) -> Option<RuleChange> {
    let hub = hub(&mut section, "hub", live, problems);
    let filter = section.needed("filter", "\"people/**\"", problems);
    let label = section.needed("label", "\"eu\"", problems);
    let (of_filter, of_label) = (section.path_of("filter"), section.path_of("label"));
    section.finish(problems);
    let filter = Filter::parse(&filter?).map_err(|error| problems.add_at(&of_filter, &error.to_string())).ok()?;
    let label = label?;
    if !is_label(&label) {
        problems.add_at(&of_label, &format!("`{label}` is no label: use 1 to 64 of a-z, 0-9 and -"));
        return None;
    }
    Some(RuleChange { hub: hub?, rule: Rule::Bind { filter, label } })
}

fn labels(section: &mut Section<'_, '_>, problems: &mut Problems) -> Vec<String> {
    let Some(mut labels) = section.texts("labels", problems) else {
        section.needs("labels", "[\"eu\"]", problems);
        return Vec::new();
    };
    labels.sort_unstable();
    labels.dedup();
    if let Some(wrong) = labels.iter().find(|label| !is_label(label)) {
        let message = format!("`{wrong}` is no label: use 1 to 64 of a-z, 0-9 and -");
        problems.add_at(&section.path_of("labels"), &message);
    }
    if labels.len() > weft_mesh::MAX_LABELS {
        let message = format!("{} labels are too many: at most {}", labels.len(), weft_mesh::MAX_LABELS);
        problems.add_at(&section.path_of("labels"), &message);
    }
    labels
}

fn hub(section: &mut Section<'_, '_>, key: &'static str, live: &Live, problems: &mut Problems) -> Option<HubId> {
    let name = section.needed(key, "\"new-york\"", problems)?;
    let found = live.id(&name);
    if found.is_none() {
        problems.add_at(&section.path_of(key), &unknown(&name, live));
    }
    found
}

fn between(section: &mut Section<'_, '_>, live: &Live, problems: &mut Problems) -> Option<[HubId; 2]> {
    let names = section.texts("between", problems);
    section.needs("between", "[\"new-york\", \"london\"]", problems);
    let place = section.path_of("between");
    let Ok([a, b]) = <[String; 2]>::try_from(names?) else {
        problems.add_at(&place, "a link has two ends: name two hubs");
        return None;
    };
    let mut end = |name: &str| {
        let found = live.id(name);
        if found.is_none() {
            problems.add_at(&place, &unknown(name, live));
        }
        found
    };
    let (a, b) = (end(&a), end(&b));
    Some([a?, b?])
}

fn unknown(name: &str, live: &Live) -> String {
    let names: Vec<&str> = live.hubs.values().map(|hub| hub.name.as_str()).take(20).collect();
    format!("no hub of the mesh is called `{name}`: name one of {}", names.join(", "))
}
