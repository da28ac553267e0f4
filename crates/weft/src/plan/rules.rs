//! Rules that a hub is to get: which flows begin and end when it maps topics, or
//! binds them to a label. Reckoned by the filters that hubs want; whether another
//! rule of the hub comes before is not known here.

use std::collections::BTreeMap;

use weft_base::HubId;
use weft_mesh::plan::{PlanMesh, Way};
use weft_topic::Filter;
use weft_topic::mapping::Mapping;

use super::live::{Live, LiveHub};

/// A rule.
#[derive(Clone, Debug)]
pub(super) enum Rule {
    /// Topics become others.
    Map(Box<Mapping>),
    /// Topics are bound to hubs with a label.
    Bind { filter: Filter, label: String },
}

/// A rule that a hub is to get.
#[derive(Clone, Debug)]
pub(crate) struct RuleChange {
    /// Where events enter that it is for.
    pub(super) hub: HubId,
    pub(super) rule: Rule,
}

/// Filters of hubs to which events that enter at the rule's hub go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Flows {
    pub(super) starts: Vec<(HubId, Vec<String>)>,
    pub(super) stops: Vec<(HubId, Vec<String>)>,
    /// These go over other hubs than before.
    pub(super) moves: Vec<(HubId, Vec<String>)>,
}

impl RuleChange {
    /// In words.
    pub(super) fn words(&self, live: &Live) -> String {
        let hub = live.name(self.hub);
        match &self.rule {
            Rule::Map(rule) => {
                let to: Vec<&str> = rule.destinations().iter().map(|to| to.template().unwrap_or("nothing")).collect();
                format!("{hub} makes `{}` of `{}`", to.join("`, `"), rule.from())
            }
            Rule::Bind { filter, label } => {
                format!("{hub} binds `{}` to hubs with the label `{label}`", filter.as_str())
            }
        }
    }

    /// What becomes of flows, where `after` is the mesh with the other changes.
    pub(super) fn flows(&self, live: &Live, after: &PlanMesh) -> Flows {
        let (before, all) = (live.mesh.ways(), after.ways());
        let none = BTreeMap::new();
        let (before, all) = (before.get(&self.hub).unwrap_or(&none), all.get(&self.hub).unwrap_or(&none));
        match &self.rule {
            Rule::Map(rule) => self.of_mapping(rule, live, before, all),
            Rule::Bind { filter, label } => {
                let bound = after.bound_ways(label);
                // Where the hub does not carry it itself, nothing on these topics enters.
                self.of_binding(filter, live, before, bound.get(&self.hub))
            }
        }
    }

    fn of_mapping(
        &self,
        rule: &Mapping,
        live: &Live,
        before: &BTreeMap<HubId, Way>,
        after: &BTreeMap<HubId, Way>,
    ) -> Flows {
        let from = [rule.filter().clone()];
        let templates = rule.destinations().iter().filter_map(|to| to.template());
        let to: Vec<Filter> = templates.filter_map(covering).collect();
        let mut flows = Flows::default();
        for (hub, known) in &live.hubs {
            let had = if *hub == self.hub || before.contains_key(hub) { wanted(known, &from) } else { Vec::new() };
            let has = if *hub == self.hub || after.contains_key(hub) { wanted(known, &to) } else { Vec::new() };
            let of = |some: &[String], others: &[String]| -> Vec<String> {
                some.iter().filter(|filter| !others.contains(filter)).cloned().collect()
            };
            add(&mut flows.starts, *hub, of(&has, &had));
            add(&mut flows.stops, *hub, of(&had, &has));
        }
        flows
    }

    fn of_binding(
        &self,
        filter: &Filter,
        live: &Live,
        before: &BTreeMap<HubId, Way>,
        bound: Option<&BTreeMap<HubId, Way>>,
    ) -> Flows {
        let mut flows = Flows::default();
        for (hub, known) in &live.hubs {
            let filters = wanted(known, std::slice::from_ref(filter));
            if *hub == self.hub {
                let stops = if bound.is_none() { filters } else { Vec::new() };
                add(&mut flows.stops, *hub, stops);
                continue;
            }
            let way = |ways: &BTreeMap<HubId, Way>| ways.get(hub).map(|way| way.hubs.clone());
            match (way(before), bound.and_then(way)) {
                (Some(_), None) => add(&mut flows.stops, *hub, filters),
                (Some(before), Some(after)) if before != after => add(&mut flows.moves, *hub, filters),
                (None, Some(_)) => add(&mut flows.starts, *hub, filters),
                _ => {}
            }
        }
        flows
    }
}

fn add(list: &mut Vec<(HubId, Vec<String>)>, hub: HubId, filters: Vec<String>) {
    if !filters.is_empty() {
        list.push((hub, filters));
    }
}

/// The filters of a hub that some topic of these would match.
fn wanted(hub: &LiveHub, topics: &[Filter]) -> Vec<String> {
    let matches =
        |text: &&String| Filter::parse(text).is_ok_and(|filter| topics.iter().any(|topics| topics.intersects(&filter)));
    hub.wants.iter().filter(matches).cloned().collect()
}

/// A filter of all that a template may become, and of more where a level is made
/// of several parts.
fn covering(template: &str) -> Option<Filter> {
    let level = |level: &str| match level {
        "{rest}" => "**".to_owned(),
        level if level.contains('{') => "*".to_owned(),
        level => level.to_owned(),
    };
    let levels: Vec<String> = template.split('/').map(level).collect();
    Filter::parse(&levels.join("/")).ok()
}
