//! What is wrong with the mesh now, by simple rules.
//!
//! A rule looks at one look and the one before, and what it finds stands from when it
//! was first found until it is not found any more. Bounded: [`MOST`], the worst and the
//! oldest first.

use std::collections::BTreeMap;

use weft_client::ConsumerReport;

use super::{Counts, Sight};

/// Alerts that are told.
const MOST: usize = 200;
/// The stage that makes what was stored durable.
const SYNC: &str = "sync";
/// A wait for it that is told, in microseconds.
const SLOW_SYNC: u64 = 100_000;
/// Looks for which copies must have been dropped in a row.
const DROPPING: u32 = 5;
/// Looks for which a hub must have said nothing in a row.
const SILENT: u32 = 3;
/// Events that a consumer may be behind.
const LAG: u64 = 10_000;
/// A drop of this reason is as it should be: nobody wants the event.
const UNWANTED: &str = "no_interest";

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Alert {
    /// What it is about, the same as long as it stands.
    pub(crate) id: String,
    pub(crate) critical: bool,
    pub(crate) code: &'static str,
    pub(crate) hub: String,
    /// Unix milliseconds.
    pub(crate) since: u64,
    pub(crate) text: String,
    /// What to do about it.
    pub(crate) todo: &'static str,
}

/// What stood at the look before.
#[derive(Debug, Default)]
pub(super) struct Alerts {
    since: BTreeMap<String, u64>,
    /// In how many looks in a row it was so, by what is counted.
    rows: BTreeMap<String, u32>,
    drops: BTreeMap<String, BTreeMap<String, u64>>,
    /// What was found of consumers when they were last asked for, and their lags.
    of_consumers: Vec<Found>,
    lags: BTreeMap<String, u64>,
}

type Found = (String, bool, &'static str, String, String, &'static str);

impl Alerts {
    pub(super) fn take(
        &mut self,
        sight: &Sight,
        counts: &BTreeMap<String, Counts>,
        consumers: Option<&[(String, ConsumerReport)]>,
    ) -> Vec<Alert> {
        let mut found = Vec::new();
        of_mesh(sight, &mut found);
        let mut rows = BTreeMap::new();
        for hub in &sight.silent {
            let row = self.row(&mut rows, format!("hub_silent/{hub}"));
            if row >= SILENT {
                let text = format!("Hub {hub} can be reached and says nothing.");
                let todo = "Look at its log and its processor; one of an earlier version does not know the question.";
                found.push((format!("hub_silent/{hub}"), false, "hub_silent", hub.clone(), text, todo));
            }
        }
        for (hub, now) in counts {
            self.of_hub(hub, now, &mut rows, &mut found);
        }
        self.rows = rows;
        self.drops = counts.iter().map(|(hub, counts)| (hub.clone(), counts.drops.clone())).collect();
        if let Some(consumers) = consumers {
            self.of_consumers(consumers);
        }
        found.extend(self.of_consumers.iter().cloned());
        let mut since = BTreeMap::new();
        let mut alerts = Vec::new();
        for (id, critical, code, hub, text, todo) in found {
            let begun = self.since.get(&id).copied().unwrap_or(sight.at);
            since.insert(id.clone(), begun);
            alerts.push(Alert { id, critical, code, hub, since: begun, text, todo });
        }
        self.since = since;
        alerts.sort_by(|a, b| (!a.critical, a.since, &a.id).cmp(&(!b.critical, b.since, &b.id)));
        alerts.truncate(MOST);
        alerts
    }

    /// In how many looks in a row something was so, this one among them.
    fn row(&self, rows: &mut BTreeMap<String, u32>, what: String) -> u32 {
        let row = self.rows.get(&what).copied().unwrap_or_default() + 1;
        rows.insert(what, row);
        row
    }

    fn of_hub(&self, hub: &str, now: &Counts, rows: &mut BTreeMap<String, u32>, found: &mut Vec<Found>) {
        if now.imbalance > 0 {
            let text = format!("The ledger of hub {hub} is off by {} copies.", now.imbalance);
            let todo = "This is a fault of Weft: keep the hub's log and report it.";
            found.push((format!("ledger/{hub}"), true, "ledger_unbalanced", hub.to_owned(), text, todo));
        }
        let wait = now.waits.get(SYNC).copied().unwrap_or_default();
        if wait > SLOW_SYNC {
            let text = format!("At hub {hub} what is stored waits {} ms to be on disk.", wait / 1_000);
            let todo = "Its disk is slow or shared: move the data folder, or publish less with the level synced.";
            found.push((format!("sync/{hub}"), false, "sync_slow", hub.to_owned(), text, todo));
        }
        let Some(before) = self.drops.get(hub) else { return };
        for (reason, count) in now.drops.iter().filter(|(reason, _)| *reason != UNWANTED) {
            let was = before.get(reason).copied().unwrap_or_default();
            if *count <= was {
                continue;
            }
            let id = format!("drops/{hub}/{reason}");
            if self.row(rows, id.clone()) >= DROPPING {
                let text = format!("Hub {hub} drops copies, {} a look now: {reason}.", count - was);
                let todo = "The view Ledger says what this reason means, and of which class of topics they are.";
                found.push((id, false, "drops_growing", hub.to_owned(), text, todo));
            }
        }
    }

    fn of_consumers(&mut self, consumers: &[(String, ConsumerReport)]) {
        let mut lags = BTreeMap::new();
        let mut found = Vec::new();
        for (stream, consumer) in consumers {
            let name = format!("{stream}/{}", consumer.name());
            let grows = self.lags.get(&name).is_some_and(|before| consumer.lag > *before);
            if consumer.lag >= LAG && grows {
                let text = format!("Consumer {name} is {} events behind, and more than before.", consumer.lag);
                let todo = "Add members to it, or make each faster; the view of the consumer has its members.";
                let id = format!("lag/{name}");
                found.push((id, false, "consumer_behind", consumer.seat.clone(), text, todo));
            }
            lags.insert(name, consumer.lag);
        }
        (self.lags, self.of_consumers) = (lags, found);
    }
}

fn of_mesh(sight: &Sight, found: &mut Vec<Found>) {
    for hub in sight.hubs.iter().filter(|hub| !hub.reachable) {
        let name = &hub.name;
        let text = format!("No path leads to hub {name}.");
        let todo = "See whether it runs, and whether its links are up.";
        found.push((format!("hub/{name}"), true, "hub_out_of_reach", name.clone(), text, todo));
    }
    for link in &sight.links {
        let (from, to) = (&link.from, &link.to);
        let (code, text, todo) = match (link.up, link.suspect) {
            (false, _) => (
                "link_down",
                format!("The link from {from} to {to} is down."),
                "See whether both hubs run and reach each other; weft mesh why-not says since when.",
            ),
            (true, true) => (
                "link_suspect",
                format!("One end of the link from {from} to {to} hears nothing from the other."),
                "The line is cut or overloaded: look at both ends; events go other ways meanwhile.",
            ),
            (true, false) => continue,
        };
        found.push((format!("link/{from}/{to}"), !link.up, code, from.clone(), text, todo));
    }
}
