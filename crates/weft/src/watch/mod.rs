//! The mesh as it is now: how much flows where, what is wrong, and how it was over the
//! last hour. For whoever shows it: the dashboard's page, a terminal.
//!
//! [`look`] asks a hub, and by it all others, for counts since their start; [`Watch`]
//! makes rates of two looks. Whoever shows it looks once a second and shares what came
//! of it, so that one more viewer costs the mesh nothing. Knows no HTTP and no clock.
//!
//! Bounded: as many hubs and links as a report has; [`history`] and [`alerts`] have
//! limits of their own. A hub that does not answer has no rates.

pub(crate) mod alerts;
pub(crate) mod history;

use std::collections::BTreeMap;
use std::time::Duration;

use weft_base::{HubId, Lane, Now};
use weft_client::{Client, ConsumerReport, HubSaid, MeshReport, Question, RequestError, facts};
use weft_mesh::{DOUBTED, DRAINING, SUSPECTED};

use self::alerts::{Alert, Alerts};
use self::history::History;

/// How long hubs may take to say how much flows.
const WAIT: Duration = Duration::from_millis(800);
/// Streams whose consumers are asked for.
const MOST_STREAMS: usize = 64;

/// What was said at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub(crate) report: MeshReport,
    pub(crate) pulses: Vec<HubSaid>,
    /// Consumers by stream; none where they were not asked for.
    pub(crate) consumers: Option<Vec<(String, ConsumerReport)>>,
}

/// Asks the mesh; for consumers too where that is wanted, which takes longer.
///
/// # Errors
/// [`RequestError`]; a hub that says nothing is none.
pub(crate) async fn look(client: &Client, with_consumers: bool) -> Result<Look, RequestError> {
    let report = client.mesh().await?;
    let pulses = client.ask_mesh(&Question::Pulse, WAIT).await?;
    let mut consumers = None;
    if with_consumers {
        let mut found = Vec::new();
        let mut names: Vec<String> = client.streams().list().await?.iter().map(|s| s.name().to_owned()).collect();
        names.dedup();
        for stream in names.into_iter().take(MOST_STREAMS) {
            // A stream may go meanwhile, or its home.
            let Ok(list) = client.streams().consumers(stream.as_str()).list().await else { continue };
            found.extend(list.into_iter().map(|consumer| (stream.clone(), consumer)));
        }
        consumers = Some(found);
    }
    Ok(Look { report, pulses, consumers })
}

/// A hub.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Hub {
    pub(crate) name: String,
    pub(crate) region: String,
    pub(crate) epoch: u32,
    pub(crate) reachable: bool,
    pub(crate) draining: bool,
    pub(crate) hops: u8,
    pub(crate) rtt: Option<Duration>,
    pub(crate) interest: u32,
    /// Latitude and longitude.
    pub(crate) place: Option<[f64; 2]>,
}

/// A link, in one direction.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Link {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) rtt: Option<Duration>,
    /// As configured, without what is added where it is suspected.
    pub(crate) cost: u32,
    pub(crate) up: bool,
    pub(crate) suspect: bool,
}

/// What flows through a hub, a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct HubRate {
    pub(crate) published: f64,
    pub(crate) delivered: f64,
    pub(crate) dropped: f64,
}

/// What flows over a link, a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct LinkRate {
    pub(crate) bytes: f64,
    /// Events by lane.
    pub(crate) lanes: [f64; Lane::COUNT],
}

/// The mesh at one moment. Hubs are in order of name, links in order of both names;
/// rates have the same order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sight {
    /// The hub that was asked.
    pub(crate) me: String,
    /// Unix milliseconds.
    pub(crate) at: u64,
    pub(crate) hubs: Vec<Hub>,
    pub(crate) links: Vec<Link>,
    pub(crate) hub_rates: Vec<HubRate>,
    pub(crate) link_rates: Vec<LinkRate>,
    /// Hubs that can be reached and did not answer.
    pub(crate) silent: Vec<String>,
}

/// Counts of one hub as it last said them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    at: u64,
    epoch: u32,
    published: u64,
    delivered: u64,
    dropped: u64,
    /// Copies that the ledger is off by.
    pub(crate) imbalance: u64,
    /// By reason.
    pub(crate) drops: BTreeMap<String, u64>,
    /// By the neighbour.
    flows: BTreeMap<String, Flow>,
    /// Microseconds, by stage.
    pub(crate) waits: BTreeMap<String, u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    bytes: u64,
    lanes: [u64; Lane::COUNT],
}

impl Counts {
    fn of(said: &HubSaid, epoch: u32, at: u64) -> Self {
        let mut counts = Self { at, epoch, ..Self::default() };
        for fact in &said.facts {
            let (name, value) = (fact.name.as_str(), fact.value);
            if let Some(what) = name.strip_prefix(facts::LEDGER) {
                match what {
                    "published" => counts.published = value,
                    "delivered" => counts.delivered = value,
                    "imbalance" => counts.imbalance = value,
                    _ => {
                        if let Some(reason) = what.strip_prefix(facts::DROPPED) {
                            counts.dropped += value;
                            counts.drops.insert(reason.to_owned(), value);
                        }
                    }
                }
            } else if let Some(what) = name.strip_prefix(facts::FLOW) {
                let flow = counts.flows.entry(fact.text.clone()).or_default();
                match what.parse::<usize>() {
                    Ok(lane) => {
                        if let Some(count) = flow.lanes.get_mut(lane) {
                            *count = value;
                        }
                    }
                    Err(_) => flow.bytes = value,
                }
            } else if let Some(stage) = name.strip_prefix(facts::WAIT) {
                counts.waits.insert(stage.to_owned(), value);
            }
        }
        counts
    }
}

/// How much a count grew in a second; nothing where it began anew.
fn rate(now: u64, before: u64, seconds: f64) -> f64 {
    now.checked_sub(before).map_or(0.0, |grown| grown as f64 / seconds)
}

/// What is known of the mesh, look by look.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Of each hub that answered at the last look.
    pub(crate) counts: BTreeMap<String, Counts>,
    places: BTreeMap<String, [f64; 2]>,
    pub(crate) history: History,
    alerts: Alerts,
}

impl Watch {
    /// Takes a look: the mesh as it is by that, and what is wrong, the worst first.
    pub(crate) fn take(&mut self, look: &Look, now: Now) -> (Sight, Vec<Alert>) {
        let at = now.wall.0 / 1_000_000;
        self.learn_places(look);
        let mut sight = self.sight(&look.report, at);
        add_lost(&mut sight, &look.pulses);
        let mut counts = BTreeMap::new();
        for said in &look.pulses {
            let Some(hub) = sight.hubs.iter().find(|hub| hub.name == said.name) else { continue };
            if said.answered {
                counts.insert(said.name.clone(), Counts::of(said, hub.epoch, at));
            } else if hub.reachable {
                sight.silent.push(said.name.clone());
            }
        }
        // How long ago a hub last answered, and how much its counts grew since then.
        let since = |name: &str| {
            let (before, now) = (self.counts.get(name)?, counts.get(name)?);
            let seconds = now.at.saturating_sub(before.at) as f64 / 1e3;
            (before.epoch == now.epoch && seconds > 0.0).then_some((before, now, seconds))
        };
        let of_hub = |hub: &Hub| {
            let Some((before, now, seconds)) = since(&hub.name) else { return HubRate::default() };
            HubRate {
                published: rate(now.published, before.published, seconds),
                delivered: rate(now.delivered, before.delivered, seconds),
                dropped: rate(now.dropped, before.dropped, seconds),
            }
        };
        let of_link = |link: &Link| {
            let none = LinkRate::default();
            let Some((before, now, seconds)) = since(&link.from) else { return none };
            let Some(flow) = now.flows.get(&link.to) else { return none };
            let begun = before.flows.get(&link.to).copied().unwrap_or_default();
            let mut lanes = none.lanes;
            for ((lane, now), before) in lanes.iter_mut().zip(flow.lanes).zip(begun.lanes) {
                *lane = rate(now, before, seconds);
            }
            LinkRate { bytes: rate(flow.bytes, begun.bytes, seconds), lanes }
        };
        sight.hub_rates = sight.hubs.iter().map(of_hub).collect();
        sight.link_rates = sight.links.iter().map(of_link).collect();
        let alerts = self.alerts.take(&sight, &counts, look.consumers.as_deref());
        self.history.take(&sight, &counts);
        self.counts = counts;
        (sight, alerts)
    }

    /// The mesh as reported, without rates.
    fn sight(&mut self, report: &MeshReport, at: u64) -> Sight {
        let names: BTreeMap<HubId, &str> = report.hubs.iter().map(|hub| (hub.id, hub.name.as_str())).collect();
        let name = |id: HubId| names.get(&id).map_or_else(|| id.to_string(), |name| (*name).to_owned());
        let hub = |hub: &weft_client::HubReport| Hub {
            name: hub.name.clone(),
            region: hub.region.clone(),
            epoch: hub.epoch.0,
            reachable: hub.reachable,
            draining: hub.draining,
            hops: hub.hops,
            rtt: hub.rtt,
            interest: hub.interest,
            place: self.places.get(&hub.name).copied(),
        };
        let mut hubs: Vec<Hub> = report.hubs.iter().map(hub).collect();
        hubs.sort_by(|a, b| a.name.cmp(&b.name));
        let drains = |name: &str| hubs.iter().any(|hub| hub.name == name && hub.draining);
        let link = |link: &weft_client::LinkReport| {
            let from = name(link.from);
            let raised = [SUSPECTED, DOUBTED].into_iter().find(|raised| link.cost >= *raised);
            let cost = match raised {
                Some(raised) => link.cost - raised,
                None if drains(&from) => link.cost.checked_sub(DRAINING).unwrap_or(link.cost),
                None => link.cost,
            };
            Link { from, to: name(link.to), rtt: link.rtt, cost, up: link.up, suspect: raised.is_some() }
        };
        let mut links: Vec<Link> = report.links.iter().map(link).collect();
        links.sort_by(|a, b| (&a.from, &a.to).cmp(&(&b.from, &b.to)));
        let known = |name: &str| hubs.iter().any(|hub| hub.name == name);
        self.places.retain(|name, _| known(name));
        Sight { me: name(report.me), at, hubs, links, ..Sight::default() }
    }

    /// Keeps where hubs say that they are, also for when they cannot be reached.
    fn learn_places(&mut self, look: &Look) {
        for said in look.pulses.iter().filter(|said| said.answered) {
            let place = said.fact(facts::PLACE).and_then(|fact| place(&fact.text));
            match place {
                Some(place) => drop(self.places.insert(said.name.clone(), place)),
                None => drop(self.places.remove(&said.name)),
            }
        }
    }
}

/// Adds links that neighbours miss. Two hubs that live both take back what they said of
/// a link that is lost, so that it is not in the mesh any more.
fn add_lost(sight: &mut Sight, pulses: &[HubSaid]) {
    for said in pulses.iter().filter(|said| said.answered) {
        for lost in said.all(facts::MISSED) {
            for (from, to) in [(&said.name, &lost.text), (&lost.text, &said.name)] {
                let is_known = |name: &str| sight.hubs.iter().any(|hub| hub.name == name);
                let order = |link: &Link| (&link.from, &link.to).cmp(&(from, to));
                if !is_known(from) || !is_known(to) {
                    continue;
                }
                if let Err(place) = sight.links.binary_search_by(order) {
                    let link =
                        Link { from: from.clone(), to: to.clone(), rtt: None, cost: 0, up: false, suspect: false };
                    sight.links.insert(place, link);
                }
            }
        }
    }
}

/// A place as hubs say it.
fn place(text: &str) -> Option<[f64; 2]> {
    let (latitude, longitude) = text.split_once(',')?;
    weft_hub::options::Location::new(latitude.parse().ok()?, longitude.parse().ok()?).map(|at| at.degrees())
}

#[cfg(test)]
mod tests;
