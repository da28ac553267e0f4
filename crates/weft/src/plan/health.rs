//! Whether a mesh is sound: who answers, whose ledger is out of balance, and
//! what was lost on the way.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::bail;
use weft_base::HubId;
use weft_client::{Client, Question, facts};

use super::live::WAIT;

/// What each hub says of itself that must not become more, and how it is called.
const OF_LEDGERS: [(&str, &str); 2] =
    [("imbalance", "events went uncounted"), ("dropped.no_path", "copies were dropped because no path leads there")];
/// Counters of the hubs that are changed.
const OF_HUBS: [(&str, &str); 2] = [("ledger.alarms", "alarms of the ledger"), ("flow.missed", "events were missed")];

/// How a mesh is, at one moment.
pub(super) struct Health {
    names: BTreeMap<HubId, String>,
    answered: BTreeSet<HubId>,
    /// By hub and what is counted.
    counts: BTreeMap<(HubId, &'static str), u64>,
}

impl Health {
    /// Asks all hubs for their ledgers, and the changed ones for their counters.
    pub(super) async fn of(client: &Client, hubs: &BTreeMap<HubId, Client>) -> anyhow::Result<Self> {
        let mut health = Self { names: BTreeMap::new(), answered: BTreeSet::new(), counts: BTreeMap::new() };
        for said in client.ask_mesh(&Question::Ledger, WAIT).await? {
            health.names.insert(said.hub, said.name.clone());
            if !said.answered {
                continue;
            }
            health.answered.insert(said.hub);
            for (what, _) in OF_LEDGERS {
                health.counts.insert((said.hub, what), said.number(&format!("{}{what}", facts::LEDGER)));
            }
        }
        for (hub, client) in hubs {
            let report = client.mesh().await?;
            for (what, _) in OF_HUBS {
                let value = report.counters.iter().find(|(name, _)| name == what).map_or(0, |(_, value)| *value);
                health.counts.insert((*hub, what), value);
            }
        }
        Ok(health)
    }

    /// What was wrong before anything is changed.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let wrong = self.counts.iter().find(|((_, what), value)| *what == "imbalance" && **value > 0);
        match wrong {
            Some(((hub, _), value)) => {
                bail!("the ledger of hub `{}` is out of balance by {value} before anything is changed", self.name(*hub))
            }
            None => Ok(()),
        }
    }

    /// What has become worse since; hubs in `may_go` need not answer.
    pub(super) fn compare(&self, now: &Self, may_go: &BTreeSet<HubId>) -> anyhow::Result<()> {
        let mut worse = Vec::new();
        for hub in self.answered.difference(&now.answered).filter(|hub| !may_go.contains(hub)) {
            worse.push(format!("hub `{}` does not answer any more", self.name(*hub)));
        }
        for ((hub, what), value) in &now.counts {
            let before = self.counts.get(&(*hub, what)).copied().unwrap_or(0);
            if *value > before {
                let words = OF_LEDGERS.iter().chain(&OF_HUBS).find(|(name, _)| name == what).map_or("", |(_, w)| *w);
                worse.push(format!("{words} at hub `{}`: {} more", now.name(*hub), value - before));
            }
        }
        if worse.is_empty() { Ok(()) } else { bail!("the mesh became worse: {}", worse.join("; ")) }
    }

    fn name(&self, hub: HubId) -> String {
        self.names.get(&hub).cloned().unwrap_or_else(|| hub.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(answered: &[u64], counts: &[(u64, &'static str, u64)]) -> Health {
        Health {
            names: (1..4).map(|n| (HubId(n), format!("hub-{n}"))).collect(),
            answered: answered.iter().map(|n| HubId(*n)).collect(),
            counts: counts.iter().map(|(hub, what, value)| ((HubId(*hub), *what), *value)).collect(),
        }
    }

    #[test]
    fn what_becomes_worse_is_named_and_what_was_so_before_is_not() {
        let before = health(&[1, 2, 3], &[(1, "imbalance", 0), (2, "dropped.no_path", 7), (2, "flow.missed", 1)]);
        let none = BTreeSet::new();
        assert!(before.check().is_ok() && before.compare(&before, &none).is_ok());
        let gone = health(&[1, 2], &[]);
        let told = before.compare(&gone, &none).expect_err("a hub is gone").to_string();
        assert!(told.contains("hub `hub-3` does not answer any more"), "{told}");
        assert!(before.compare(&gone, &BTreeSet::from([HubId(3)])).is_ok(), "that was said");
        let worse = health(&[1, 2, 3], &[(1, "imbalance", 2), (2, "dropped.no_path", 8), (2, "flow.missed", 1)]);
        let told = before.compare(&worse, &none).expect_err("worse").to_string();
        assert!(told.contains("events went uncounted at hub `hub-1`: 2 more"), "{told}");
        assert!(told.contains("no path leads there at hub `hub-2`: 1 more") && !told.contains("missed"), "{told}");
        assert!(worse.check().is_err());
    }
}
