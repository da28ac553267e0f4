//! How the control state stands, as this hub sees it.

use std::collections::BTreeMap;

use weft_base::HubId;
use weft_govern::api::{Member, Shown};

use super::stage::GovernStage;

/// Members that are listed of each kind; more are counted, so that the answer
/// fits into a frame.
const MOST: usize = 1_024;

impl GovernStage {
    pub(super) fn shown(&self) -> Shown {
        let state = self.council.state();
        let lags: BTreeMap<HubId, Option<u64>> =
            self.council.standings().into_iter().map(|standing| (standing.hub, standing.lag)).collect();
        let members = |hubs: &[HubId]| {
            let member = |hub: &HubId| Member { hub: self.name_of(*hub), lag: lags.get(hub).copied().flatten() };
            let mut members: Vec<Member> = hubs.iter().take(MOST).map(member).collect();
            members.sort_by(|a, b| a.hub.cmp(&b.hub));
            members
        };
        let mut resources = BTreeMap::new();
        for (key, _) in state.items() {
            *resources.entry(key.kind().name().to_owned()).or_default() += 1;
        }
        Shown {
            hub: self.identity.name.clone(),
            version: state.version(),
            age_ms: self.age_ms(),
            stopped: self.stopped().map(ToOwned::to_owned),
            last: self.council.author_of(state.version()),
            resources,
            bytes: state.bytes(),
            leader: self.members.leader.map(|hub| self.name_of(hub)),
            term: self.members.term,
            voters: members(&self.members.voters),
            learners: members(&self.members.learners),
            more: [&self.members.voters, &self.members.learners]
                .map(|hubs| hubs.len().saturating_sub(MOST))
                .iter()
                .sum(),
        }
    }
}
