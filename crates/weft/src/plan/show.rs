//! What a plan would do, for people and as JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use serde_json::{Value, json};
use weft_base::HubId;
use weft_mesh::plan::{Act, Bound, Change, Outcome, PlanMesh, Step, Way};

use super::file::Plan;
use super::live::Live;
use super::rules::Flows;

/// Lines of a list that people are shown; JSON has all.
const LINES: usize = 30;
/// Filters of a hub in one line.
const FILTERS: usize = 6;

/// A plan and the mesh that it is for.
pub(super) struct Foretold<'a> {
    pub(super) live: &'a Live,
    pub(super) plan: &'a Plan,
    /// Copies that hubs write to links, a second.
    pub(super) rates: &'a BTreeMap<HubId, f64>,
}

impl Foretold<'_> {
    fn outcome(&self) -> (PlanMesh, Outcome) {
        let after = self.live.mesh.after(&self.plan.changes);
        let outcome = self.live.mesh.compare(&after);
        (after, outcome)
    }

    /// Hubs to which a way leads over other hubs than before, or begins or ends.
    fn affected(&self, outcome: &Outcome) -> BTreeSet<HubId> {
        let moved = outcome.ways.iter().filter(|way| way.moves()).map(|way| way.to);
        moved.filter(|hub| self.live.mesh.hubs().get(hub).is_some_and(|hub| hub.wants)).collect()
    }

    pub(super) fn human(&self, out: &mut impl Write) -> io::Result<()> {
        let (live, (after, outcome)) = (self.live, self.outcome());
        let (hubs, links) = (live.hubs.len(), live.mesh.links().count());
        writeln!(
            out,
            "the mesh of {hubs} hubs and {links} links, as {} sees it; nothing is changed",
            live.name(live.me)
        )?;
        let away = live.hubs.values().filter(|hub| !hub.reachable).map(|hub| hub.name.as_str()).collect::<Vec<_>>();
        if !away.is_empty() {
            writeln!(out, "out of its reach now: {}", away.join(", "))?;
        }
        writeln!(out, "\nSTEPS")?;
        for (n, step) in live.mesh.steps(&self.plan.changes).into_iter().enumerate() {
            writeln!(out, "{:>3}  {}", n + 1, step_in_words(live, self.plan, step))?;
        }
        let moved: Vec<_> = outcome.ways.iter().filter(|way| way.moves()).collect();
        let others = outcome.ways.len() - moved.len();
        writeln!(out, "\nWAYS: {} lead elsewhere, {others} at another cost", moved.len())?;
        let way = |way: &Option<Way>| way.as_ref().map_or_else(|| "out of reach".to_owned(), |way| self.way(way));
        for change in moved.iter().take(LINES) {
            let ends = format!("{} -> {}", live.name(change.from), live.name(change.to));
            writeln!(out, "{ends:<32} now   {}\n{:<32} then  {}", way(&change.before), "", way(&change.after))?;
        }
        more(moved.len(), out)?;
        writeln!(out, "\nFLOWS: {} start, {} stop", outcome.starts.len(), outcome.stops.len())?;
        for (word, flows) in [("starts", &outcome.starts), ("stops", &outcome.stops)] {
            for (from, to) in flows.iter().take(LINES) {
                writeln!(out, "{word:<7} {} -> {}: {}", live.name(*from), live.name(*to), self.filters(*to))?;
            }
            more(flows.len(), out)?;
        }
        writeln!(out, "\nFILTERS of hubs to which ways lead elsewhere")?;
        let affected = self.affected(&outcome);
        for hub in affected.iter().take(LINES) {
            writeln!(out, "{:<20} {}", live.name(*hub), self.filters(*hub))?;
        }
        more(affected.len(), out)?;
        writeln!(out, "\n{:<20} {:>10} {:>10} {:>12}  TRANSIT", "HUB", "FLOWS NOW", "THEN", "COPIES/S NOW")?;
        for transit in &outcome.transit {
            let word = match (transit.before, transit.after) {
                (0, _) => "begins to carry for others",
                (_, 0) => "carries for others no more",
                _ => "",
            };
            let rate = self.rates.get(&transit.hub).map_or_else(|| "?".to_owned(), |rate| format!("{rate:.1}"));
            let name = live.name(transit.hub);
            writeln!(out, "{name:<20} {:>10} {:>10} {rate:>12}  {word}", transit.before, transit.after)?;
        }
        writeln!(out, "\n{:<32} {:>10} {:>10}", "LINK", "FLOWS NOW", "THEN")?;
        for load in outcome.loads.iter().take(LINES) {
            let ends = format!("{} -> {}", live.name(load.from), live.name(load.to));
            let gone = if after.link([load.from, load.to]).is_none() { "  goes" } else { "" };
            writeln!(out, "{ends:<32} {:>10} {:>10}{gone}", load.before, load.after)?;
        }
        more(outcome.loads.len(), out)?;
        self.bound(&outcome, out)?;
        self.rules(&after, out)?;
        writeln!(out, "\na flow is a way to a hub where something is wanted; copies are written to links")
    }

    /// What is bound to labels.
    fn bound(&self, outcome: &Outcome, out: &mut impl Write) -> io::Result<()> {
        for Bound { label, starts, stops, moves } in &outcome.bound {
            let (start, stop, move_) = (starts.len(), stops.len(), moves.len());
            writeln!(out, "\nBOUND to `{label}`: {start} flows start, {stop} stop, {move_} lead elsewhere")?;
            for (word, flows) in [("starts", starts), ("stops", stops), ("moves", moves)] {
                for (from, to) in flows.iter().take(LINES) {
                    writeln!(out, "{word:<7} {} -> {}", self.live.name(*from), self.live.name(*to))?;
                }
                more(flows.len(), out)?;
            }
        }
        Ok(())
    }

    /// What comes of rules that hubs are to get.
    fn rules(&self, after: &PlanMesh, out: &mut impl Write) -> io::Result<()> {
        for change in &self.plan.rules {
            writeln!(out, "\nRULE: {}", change.words(self.live))?;
            let Flows { starts, stops, moves } = change.flows(self.live, after);
            if starts.is_empty() && stops.is_empty() && moves.is_empty() {
                writeln!(out, "no flow of a filter that hubs tell starts, stops or leads elsewhere")?;
            }
            for (word, flows) in [("starts", &starts), ("stops", &stops), ("moves", &moves)] {
                for (to, filters) in flows.iter().take(LINES) {
                    let (from, to) = (self.live.name(change.hub), self.live.name(*to));
                    let rest = filters.len().saturating_sub(FILTERS);
                    let shown = filters.iter().take(FILTERS).map(String::as_str).collect::<Vec<_>>().join(", ");
                    let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
                    writeln!(out, "{word:<7} {from} -> {to}: {shown}{rest}")?;
                }
                more(flows.len(), out)?;
            }
        }
        Ok(())
    }

    fn way(&self, way: &Way) -> String {
        let hubs: Vec<String> = way.hubs.iter().map(|hub| self.live.name(*hub)).collect();
        format!("{} (cost {})", hubs.join(", "), way.cost)
    }

    fn filters(&self, hub: HubId) -> String {
        let Some(known) = self.live.hubs.get(&hub) else { return String::new() };
        let shown: Vec<&str> = known.wants.iter().take(FILTERS).map(String::as_str).collect();
        let more = known.more + known.wants.len().saturating_sub(FILTERS) as u64;
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{rest}", shown.join(", "))
    }

    pub(super) fn object(&self) -> Value {
        let (live, (after, outcome)) = (self.live, self.outcome());
        let way = |way: &Option<Way>| {
            way.as_ref().map(|way| {
                let hubs: Vec<String> = way.hubs.iter().map(|hub| live.name(*hub)).collect();
                json!({ "hubs": hubs, "cost": way.cost, "rttUs": way.rtt_us })
            })
        };
        let flows = |flows: &[(HubId, HubId)]| -> Vec<Value> {
            let wants = |hub: &HubId| live.hubs.get(hub).map(|hub| (hub.wants.clone(), hub.more)).unwrap_or_default();
            let flow = |(from, to): &(HubId, HubId)| {
                let (filters, more) = wants(to);
                json!({ "from": live.name(*from), "to": live.name(*to), "filters": filters, "moreFilters": more })
            };
            flows.iter().map(flow).collect()
        };
        let filters = |hub: &HubId| {
            let wants = live.hubs.get(hub).map(|hub| (&hub.wants, hub.more));
            (live.name(*hub), json!({ "filters": wants.map(|(w, _)| w), "more": wants.map(|(_, more)| more) }))
        };
        let steps: Vec<String> =
            live.mesh.steps(&self.plan.changes).into_iter().map(|step| step_in_words(live, self.plan, step)).collect();
        json!({
            "hub": live.name(live.me),
            "steps": steps,
            "ways": outcome.ways.iter().map(|change| json!({
                "from": live.name(change.from), "to": live.name(change.to),
                "before": way(&change.before), "after": way(&change.after),
            })).collect::<Vec<_>>(),
            "starts": flows(&outcome.starts),
            "stops": flows(&outcome.stops),
            "affected": self.affected(&outcome).iter().map(filters).collect::<serde_json::Map<_, _>>(),
            "transit": outcome.transit.iter().map(|transit| json!({
                "hub": live.name(transit.hub), "before": transit.before, "after": transit.after,
                "copiesPerSecond": self.rates.get(&transit.hub),
            })).collect::<Vec<_>>(),
            "bound": outcome.bound.iter().map(|bound| {
                let pairs = |flows: &[(HubId, HubId)]| -> Vec<Value> {
                    flows.iter().map(|(from, to)| json!({ "from": live.name(*from), "to": live.name(*to) })).collect()
                };
                json!({
                    "label": bound.label, "starts": pairs(&bound.starts), "stops": pairs(&bound.stops),
                    "moves": pairs(&bound.moves),
                })
            }).collect::<Vec<_>>(),
            "rules": self.plan.rules.iter().map(|change| {
                let of = |flows: &[(HubId, Vec<String>)]| -> Vec<Value> {
                    flows.iter().map(|(to, filters)| json!({ "to": live.name(*to), "filters": filters })).collect()
                };
                let Flows { starts, stops, moves } = change.flows(live, &after);
                json!({
                    "hub": live.name(change.hub), "what": change.words(live), "starts": of(&starts),
                    "stops": of(&stops), "moves": of(&moves),
                })
            }).collect::<Vec<_>>(),
            "links": outcome.loads.iter().map(|load| json!({
                "from": live.name(load.from), "to": live.name(load.to),
                "before": load.before, "after": load.after,
            })).collect::<Vec<_>>(),
        })
    }
}

/// What was left out of a list.
fn more(len: usize, out: &mut impl Write) -> io::Result<()> {
    if len > LINES { writeln!(out, "and {} more: --json has all", len - LINES) } else { Ok(()) }
}

/// A step, for people.
pub(super) fn step_in_words(live: &Live, plan: &Plan, step: Step) -> String {
    let ends = |[a, b]: [HubId; 2]| (live.name(a), live.name(b));
    match (plan.changes.get(step.change), step.act) {
        (Some(Change::Add { between, link }), _) => {
            let (from, to) = ends(*between);
            let addr = plan.dialled.get(&step.change).map_or("", String::as_str);
            let rtt = f64::from(link.rtt_us) / 1e3;
            let price = if link.price > 0 { format!(", price {}", link.price) } else { String::new() };
            format!("{from} dials {to} at {addr}: cost {}{price}, round trip taken to be {rtt:.3} ms", link.cost)
        }
        (Some(Change::Remove { between }), Act::Avoid) => {
            let (a, b) = ends(*between);
            format!("the link between {a} and {b} becomes so dear that only what has no other way takes it")
        }
        (Some(Change::Remove { between }), Act::Make) => {
            let (a, b) = ends(*between);
            format!("the link between {a} and {b} goes")
        }
        (Some(Change::Weigh { between, cost, price }), _) => {
            let (a, b) = ends(*between);
            let cost = cost.map(|cost| format!("costs {cost}"));
            let price = price.map(|price| format!("has the price {price}"));
            let parts: Vec<String> = cost.into_iter().chain(price).collect();
            format!("the link between {a} and {b} {}", parts.join(" and "))
        }
        (Some(Change::Label { hub, labels }), _) => {
            let labels =
                if labels.is_empty() { "no labels".to_owned() } else { format!("the labels {}", labels.join(", ")) };
            format!("{} has {labels}", live.name(*hub))
        }
        (Some(Change::Drain { hub }), _) => {
            let hub = live.name(*hub);
            format!(
                "{hub} is about to stop: ways lead over it only where there is no other, and its clients go elsewhere"
            )
        }
        (None, _) => String::new(),
    }
}
