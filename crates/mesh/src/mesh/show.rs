//! The decider as others see it.

use std::time::Duration;

use weft_base::HubId;
use weft_topic::Filter;
use weft_wire::frame::attribute;

use super::Mesh;
use crate::costs;
use crate::filters::{FilterSet, Item};
use crate::labels;
use crate::report::{Counters, HubReport, LinkReport, Report};
use crate::{Kind, LinkId, Path, StreamDef};

impl Mesh {
    /// What is known of the mesh, in the order of hub ids.
    #[must_use]
    pub fn report(&self) -> Report {
        let me = HubReport {
            id: self.me.id,
            name: self.me.name.clone(),
            region: self.me.region.clone(),
            labels: names(self.record.attribute(attribute::LABELS)),
            is_bare: false,
            is_draining: self.is_draining,
            epoch: self.me.epoch,
            reachable: true,
            lost: None,
            hops: 0,
            rtt: Duration::ZERO,
            live_filters: self.local.told.count(Kind::Live),
            stream_filters: self.local.told.count(Kind::Stream),
            group_filters: self.local.told.count(Kind::Group),
            interest_version: self.local.version,
        };
        let others = self.hubs.iter().map(|(id, hub)| HubReport {
            id: *id,
            name: hub.name.clone(),
            region: hub.region.clone(),
            labels: names(hub.attribute(attribute::LABELS)),
            is_bare: hub.attributes.is_none(),
            is_draining: hub.is_draining(),
            epoch: hub.epoch,
            reachable: hub.path.is_some(),
            lost: hub.path.is_none().then_some(hub.lost),
            hops: hub.path.map_or(0, |path| path.hops),
            rtt: hub.path.map_or(Duration::ZERO, |path: Path| path.rtt),
            live_filters: hub.interest.set.count(Kind::Live),
            stream_filters: hub.interest.set.count(Kind::Stream),
            group_filters: hub.interest.set.count(Kind::Group),
            interest_version: hub.interest.version_in(hub.epoch),
        });
        let mut hubs: Vec<HubReport> = std::iter::once(me).chain(others).collect();
        hubs.sort_unstable_by_key(|hub| hub.id);
        Report { hubs, links: self.report_links(), counters: self.counters() }
    }

    fn report_links(&self) -> Vec<LinkReport> {
        let in_use = self.links_in_use();
        let metrics = |said: Option<&[u8]>| said.map(costs::decode).unwrap_or_default();
        let own = (self.me.id, &self.record.links, metrics(self.record.attribute(attribute::METRICS)));
        let others = self.hubs.iter().filter(|(_, hub)| !hub.is_expired);
        let others = others.map(|(id, hub)| (*id, &hub.links, metrics(hub.attribute(attribute::METRICS))));
        let mut links: Vec<LinkReport> = std::iter::once(own)
            .chain(others)
            .flat_map(|(from, links, metrics)| {
                let said = move |peer| metrics.get(&peer).copied().unwrap_or_default();
                links.iter().map(move |link| (from, link, said(link.peer)))
            })
            .map(|(from, link, (loss, price))| LinkReport {
                from,
                to: link.peer,
                rtt: Duration::from_micros(link.rtt_us.into()),
                cost: link.cost,
                loss,
                price,
                up: self.reports(link.peer, from),
                held: from == self.me.id && self.flaps.held(link.peer).is_some(),
                link: (from == self.me.id).then(|| in_use.get(&link.peer).copied()).flatten(),
            })
            .collect();
        links.sort_unstable_by_key(|link| (link.from, link.to));
        links
    }

    fn reports(&self, hub: HubId, peer: HubId) -> bool {
        let links = if hub == self.me.id {
            Some(&self.record.links)
        } else {
            self.hubs.get(&hub).filter(|hub| !hub.is_expired).map(|hub| &hub.links)
        };
        links.is_some_and(|links| links.iter().any(|link| link.peer == peer))
    }

    /// The round trip of a link of this hub, once it is known.
    #[must_use]
    pub fn rtt(&self, link: LinkId) -> Option<Duration> {
        self.links.get(&link)?.health.rtt()
    }

    /// What was counted since the start.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters { filters_held: self.local.held() as u64, ..self.counters }
    }

    /// The interest that routes go by of a hub, or that this hub has told of
    /// itself: in the order of kinds and filters.
    pub fn interest_of(&self, hub: HubId) -> impl Iterator<Item = (Kind, &Filter)> {
        self.items_of(hub).filter(|item| item.kind != Kind::Group).map(|item| (item.kind, &item.filter))
    }

    /// The groups that have members at a hub, likewise: name, filter, and the
    /// members' weights added up.
    pub fn groups_of(&self, hub: HubId) -> impl Iterator<Item = (&str, &Filter, u32)> {
        self.items_of(hub)
            .filter_map(|item| item.share.as_ref().map(|share| (&*share.group, &item.filter, share.weight)))
    }

    /// The streams that a hub keeps, likewise: one for each of their filters.
    pub fn streams_of(&self, hub: HubId) -> impl Iterator<Item = (&StreamDef, &Filter)> {
        self.items_of(hub).filter_map(|item| item.stream.as_deref().map(|def| (def, &item.filter)))
    }

    fn items_of(&self, hub: HubId) -> impl Iterator<Item = &Item> {
        let set =
            if hub == self.me.id { Some(&self.local.told) } else { self.hubs.get(&hub).map(|hub| &hub.interest.set) };
        set.into_iter().flat_map(FilterSet::iter)
    }
}

fn names(attribute: Option<&[u8]>) -> Vec<String> {
    attribute.map(labels::decode).unwrap_or_default().into_iter().map(str::to_owned).collect()
}
