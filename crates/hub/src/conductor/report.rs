//! What `weft mesh show` is told.

use std::time::Duration;

use weft_mesh::Report;
use weft_wire::frame::{self, DRAINING_HUB, ErrorCode, Frame};

use super::Conductor;
use crate::counters::set;

impl Conductor {
    /// Puts what the decider says among the counters.
    pub(super) fn show_mesh(&self, report: &Report) {
        let (shown, m, hubs) = (&self.counters.mesh, &report.counters, &report.hubs);
        let reachable = hubs.iter().filter(|hub| hub.reachable).count();
        let live: usize = hubs.iter().map(|hub| hub.live_filters).sum();
        let streams: usize = hubs.iter().map(|hub| hub.stream_filters).sum();
        let groups: usize = hubs.iter().map(|hub| hub.group_filters).sum();
        for (counter, value) in [
            (&shown.links_refused, m.links_refused),
            (&shown.links_closed, m.links_closed),
            (&shown.conflicts, m.conflicts),
            (&shown.refused, m.refused),
            (&shown.sets_wanted, m.sets_wanted),
            (&shown.hubs_forgotten, m.hubs_forgotten),
            (&shown.flow_acks_dropped, m.flow_acks_dropped),
            (&shown.receipts_dropped, m.receipts_dropped),
            (&shown.filters_held, m.filters_held),
            (&shown.suspicions, m.suspicions),
            (&shown.recoveries, m.recoveries),
            (&shown.links_held, m.links_held),
            (&shown.strange_pongs, m.strange_pongs),
            (&shown.pings_damped, m.pings_damped),
            (&shown.hubs, hubs.len() as u64),
            (&shown.hubs_reachable, reachable as u64),
            (&shown.live_filters, live as u64),
            (&shown.stream_filters, streams as u64),
            (&shown.group_filters, groups as u64),
        ] {
            set(counter, value);
        }
    }

    /// The mesh as this hub sees it, as an encoded frame.
    pub(super) fn report(&self, request: u64) -> Vec<u8> {
        let report = self.mesh.report();
        self.show_mesh(&report);
        let hubs = report
            .hubs
            .iter()
            .map(|hub| frame::HubReport {
                name: &hub.name,
                region: &hub.region,
                id: hub.id,
                epoch: hub.epoch,
                reachable: hub.reachable,
                hops: hub.hops,
                rtt_ns: nanos(hub.rtt),
                interest: u32::try_from(hub.live_filters + hub.stream_filters + hub.group_filters).unwrap_or(u32::MAX),
            })
            .collect();
        let links = report
            .links
            .iter()
            .map(|link| frame::LinkReport {
                from: link.from,
                to: link.to,
                rtt_ns: nanos(link.rtt),
                cost: link.cost,
                up: link.up,
            })
            .collect();
        let mut values = self.counters.list();
        values.push(("ledger.in_flight".to_owned(), self.counters.in_flight()));
        values.push(("ledger.balanced".to_owned(), u64::from(self.counters.ledger().balance().is_ok())));
        for link in report.links.iter().filter(|link| link.from == self.identity.id) {
            let name = self.mesh.name_of(link.to).unwrap_or_default();
            values.push((format!("link.{name}.loss"), link.loss.into()));
            values.push((format!("link.{name}.price"), link.price.into()));
            values.push((format!("link.{name}.held"), link.held.into()));
        }
        let drains = report.hubs.iter().filter(|hub| hub.is_draining);
        values.extend(drains.map(|hub| (format!("{DRAINING_HUB}{}", hub.name), 1)));
        for hub in &report.hubs {
            values.extend(hub.labels.iter().map(|label| (format!("label.{}.{label}", hub.name), 1)));
        }
        values.extend(self.circuits());
        values.extend(self.picked());
        values.extend(self.named());
        values.extend(self.counters.mesh.list());
        values.extend(self.refused.iter().map(|((name, code), times)| (format!("refused.{name}.{code}"), *times)));
        values.extend(self.collisions.iter().map(|(name, streams)| (format!("collision.{name}"), streams as u64)));
        let counters = values.iter().map(|(name, value)| frame::CounterReport { name, value: *value }).collect();
        let mut bytes = Vec::new();
        let me = self.identity.id;
        let whole = Frame::MeshReport(frame::MeshReport { request, me, hubs, links, counters });
        if let Err(error) = frame::try_encode(&whole, &mut bytes) {
            bytes.clear();
            let (code, detail) = (ErrorCode::LIMIT, error.to_string());
            let refusal = frame::ErrorFrame { request, code, retry_after_ms: 0, detail: &detail };
            frame::encode(&Frame::Error(refusal), &mut bytes);
        }
        bytes
    }
}

/// As the wire has times.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
