//! The mesh as this hub sees it, for tools that plan with it: every hub and link
//! with what ways are found by, and what is wanted where.
//!
//! Told in frames of bounded size, a hub's facts in several when they are many.
//! Filters beyond [`MOST_FILTERS`] of a hub are counted, not told.

use std::collections::BTreeMap;

use weft_base::HubId;
use weft_mesh::{HubReport, LinkReport};
use weft_wire::frame::surveyed;

use super::Conductor;
use super::see::{Answer, fitting};
use crate::messages::SessionId;
use crate::see::facts::Said;

/// Filters that are told of a hub.
const MOST_FILTERS: usize = 1_000;
/// Facts of one frame.
const MOST_FACTS: usize = 1_000;

impl Conductor {
    /// A client asks for it.
    pub(super) fn survey(&mut self, session: SessionId, request: u64) {
        let report = self.mesh.report();
        let names: BTreeMap<HubId, &str> = report.hubs.iter().map(|hub| (hub.id, hub.name.as_str())).collect();
        for hub in &report.hubs {
            let links = report.links.iter().filter(|link| link.from == hub.id);
            let mut said = self.facts_of_hub(hub, links, &names);
            while !said.is_empty() {
                // One at least, for what is of one hub is cut where it is too much.
                let fits = fitting(&said, self.fact_bytes(), MOST_FACTS).max(1);
                let rest = said.split_off(fits);
                let answer = Answer { answered: hub.reachable, ..Answer::here(hub.id, &hub.name, &said) };
                self.pass_on(session, request, true, &[answer]);
                said = rest;
            }
        }
        self.pass_on(session, request, false, &[]);
    }

    fn facts_of_hub<'a>(
        &self,
        hub: &HubReport,
        links: impl Iterator<Item = &'a LinkReport>,
        names: &BTreeMap<HubId, &str>,
    ) -> Vec<Said> {
        let mut said = vec![Said::text(surveyed::REGION, hub.region.clone(), 0)];
        said.extend(hub.labels.iter().map(|label| Said::text(surveyed::LABEL, label.clone(), 0)));
        said.push(Said::number(surveyed::HOPS, hub.hops.into()));
        if hub.is_bare {
            said.push(Said::number(surveyed::BARE, 1));
        }
        if hub.is_draining {
            said.push(Said::number(surveyed::DRAINING, 1));
        }
        if hub.id == self.identity.id {
            let weights = &self.options.routing.weights;
            said.push(Said::number(surveyed::WEIGHT_RTT, weights.rtt.into()));
            said.push(Said::number(surveyed::WEIGHT_LOSS, weights.loss.into()));
            said.push(Said::number(surveyed::WEIGHT_PRICE, weights.price.into()));
        }
        for link in links {
            let peer = names.get(&link.to).map_or_else(|| link.to.to_string(), |name| (*name).to_owned());
            said.push(Said::text(surveyed::LINK, peer, link.cost.into()));
            said.push(Said::number(surveyed::RTT, u64::try_from(link.rtt.as_micros()).unwrap_or(u64::MAX)));
            let rest =
                [(surveyed::LOSS, link.loss), (surveyed::PRICE, link.price), (surveyed::DOWN, u32::from(!link.up))];
            let rest = rest.iter().filter(|(_, value)| *value > 0);
            said.extend(rest.map(|(name, value)| Said::number(name, (*value).into())));
        }
        let plain = self.mesh.interest_of(hub.id).map(|(_, filter)| filter);
        let mut wanted = plain.chain(self.mesh.groups_of(hub.id).map(|(_, filter, _)| filter));
        said.extend(wanted.by_ref().take(MOST_FILTERS).map(|f| Said::text(surveyed::WANTS, f.as_str().to_owned(), 0)));
        let more = wanted.count() as u64;
        if more > 0 {
            said.push(Said::number(surveyed::WANTS_MORE, more));
        }
        said
    }
}
