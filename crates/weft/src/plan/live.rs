//! The mesh as it is: what a hub says of all others, and what is planned with it.

use std::collections::BTreeMap;
use std::time::Duration;

use weft_base::HubId;
use weft_client::{Client, Fact, HubSaid, Question, facts, surveyed};
use weft_mesh::Weights;
use weft_mesh::plan::{PlanHub, PlanLink, PlanMesh};

/// How long hubs may take to say their ledger.
pub(super) const WAIT: Duration = Duration::from_secs(1);

/// A hub, as another sees it.
#[derive(Clone, Debug)]
pub(crate) struct LiveHub {
    pub(crate) name: String,
    pub(crate) reachable: bool,
    /// Filters that somebody there wants, and how many more there are.
    pub(crate) wants: Vec<String>,
    pub(crate) more: u64,
}

/// The mesh, as one hub sees it.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    /// The hub that was asked.
    pub(crate) me: HubId,
    pub(crate) hubs: BTreeMap<HubId, LiveHub>,
    pub(crate) mesh: PlanMesh,
}

impl Live {
    /// Asks the client's hub.
    pub(crate) async fn of(client: &Client) -> anyhow::Result<Self> {
        Ok(Self::read(&client.survey().await?))
    }

    pub(super) fn read(said: &[HubSaid]) -> Self {
        let mut weights = Weights::default();
        let mut live = Self { me: HubId(0), hubs: BTreeMap::new(), mesh: PlanMesh::default() };
        let (mut hubs, mut links) = (Vec::new(), Vec::new());
        let ids: BTreeMap<&str, HubId> = said.iter().map(|hub| (hub.name.as_str(), hub.hub)).collect();
        let number = |fact: &Fact| u32::try_from(fact.value).unwrap_or(u32::MAX);
        for hub in said {
            let mut link: Option<(HubId, PlanLink)> = None;
            let mut plan = PlanHub::default();
            for fact in &hub.facts {
                match (fact.name.as_str(), &mut link) {
                    (surveyed::LINK, last) => {
                        links.extend(last.take().map(|(to, link)| ((hub.hub, to), link)));
                        // A link to a hub that nobody knows leads nowhere.
                        let peer = ids.get(fact.text.as_str());
                        *last = peer.map(|id| (*id, PlanLink { cost: number(fact), ..PlanLink::default() }));
                    }
                    (surveyed::RTT, Some((_, link))) => link.rtt_us = number(fact),
                    (surveyed::LOSS, Some((_, link))) => link.loss = number(fact),
                    (surveyed::PRICE, Some((_, link))) => link.price = number(fact),
                    (surveyed::LABEL, _) => plan.labels.push(fact.text.clone()),
                    (surveyed::BARE, _) => plan.is_bare = true,
                    (surveyed::DRAINING, _) => plan.drains = true,
                    (surveyed::WEIGHT_RTT, _) => (live.me, weights.rtt) = (hub.hub, number(fact)),
                    (surveyed::WEIGHT_LOSS, _) => weights.loss = number(fact),
                    (surveyed::WEIGHT_PRICE, _) => weights.price = number(fact),
                    _ => {}
                }
            }
            links.extend(link.map(|(to, link)| ((hub.hub, to), link)));
            let wants: Vec<String> = hub.all(surveyed::WANTS).map(|fact| fact.text.clone()).collect();
            plan.wants = !wants.is_empty();
            hubs.push((hub.hub, plan));
            let more = hub.number(surveyed::WANTS_MORE);
            let known = LiveHub { name: hub.name.clone(), reachable: hub.answered, wants, more };
            live.hubs.insert(hub.hub, known);
        }
        live.mesh = PlanMesh::new(weights, hubs, links);
        live
    }

    /// What a hub is called.
    pub(crate) fn name(&self, hub: HubId) -> String {
        self.hubs.get(&hub).map_or_else(|| hub.to_string(), |hub| hub.name.clone())
    }

    /// The hub of this name.
    pub(crate) fn id(&self, name: &str) -> Option<HubId> {
        self.hubs.iter().find(|(_, hub)| hub.name == name).map(|(id, _)| *id)
    }
}

/// Copies that each hub wrote to links, a second: from two readings of its ledger.
pub(crate) async fn rates(client: &Client) -> anyhow::Result<BTreeMap<HubId, f64>> {
    let name = format!("{}forwarded", facts::LEDGER);
    let read = async || -> anyhow::Result<BTreeMap<HubId, (u64, u64)>> {
        let said = client.ask_mesh(&Question::Ledger, WAIT).await?;
        let answered = said.iter().filter(|hub| hub.answered);
        Ok(answered.map(|hub| (hub.hub, (hub.number(facts::CLOCK), hub.number(&name)))).collect())
    };
    let first = read().await?;
    std::thread::sleep(WAIT);
    let second = read().await?;
    let rate = |(hub, (clock, after)): (HubId, (u64, u64))| {
        let (began, before) = *first.get(&hub)?;
        let seconds = Duration::from_nanos(clock.checked_sub(began).filter(|time| *time > 0)?).as_secs_f64();
        Some((hub, after.checked_sub(before)? as f64 / seconds))
    };
    Ok(second.into_iter().filter_map(rate).collect())
}
