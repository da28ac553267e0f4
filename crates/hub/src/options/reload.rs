//! What of a configuration a running hub takes from another one.

use weft_transport::dns::Sought;

use super::{HubOptions, Limits, Neighbour};

impl HubOptions {
    /// These options with all of `new` that a running hub can take: neighbours that no
    /// name in DNS stands for, rules of mapping, counters by topic, how long clients
    /// have when the process is told to stop, and those limits that are looked at each
    /// time. The rest stays as it is.
    #[must_use]
    pub fn reloaded(&self, new: &Self) -> Self {
        let mut merged = self.clone();
        let n = &new.limits;
        merged.limits = Limits {
            subscriptions_per_session: n.subscriptions_per_session,
            subscriptions: n.subscriptions,
            subscriptions_per_name: n.subscriptions_per_name,
            interest_changes: n.interest_changes,
            receipts: n.receipts,
            picked_links: n.picked_links,
            drain_rate: n.drain_rate,
            subscriber_events: n.subscriber_events,
            subscriber_bytes: n.subscriber_bytes,
            socket_bytes: n.socket_bytes,
            ..merged.limits
        };
        merged.mapping = new.mapping.clone();
        merged.see.metrics = new.see.metrics.clone();
        // Which signal does what was decided at the start.
        if self.drain_on_stop.is_some() && new.drain_on_stop.is_some() {
            merged.drain_on_stop = new.drain_on_stop;
        }
        // Without an identity nobody is dialled.
        if self.link_security.is_some() {
            let is_named = |neighbour: &&Neighbour| Sought::of(&neighbour.addr).is_some();
            let kept = self.neighbours.iter().filter(is_named);
            let taken = new.neighbours.iter().filter(|neighbour| !is_named(neighbour));
            merged.neighbours = kept.chain(taken).cloned().collect();
        }
        merged
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weft_base::ByteCount;

    use super::*;

    fn neighbour(addr: &str) -> Neighbour {
        Neighbour { addr: addr.to_owned(), ..Neighbour::default() }
    }

    #[test]
    fn what_is_looked_at_each_time_is_taken_and_what_things_were_made_of_stays() {
        let old = HubOptions::new("boston");
        let mut new = HubOptions::new("chicago");
        (new.limits.subscriptions, new.limits.arena) = (7, ByteCount::mib(1));
        (new.region, new.drain_on_stop) = ("eu".to_owned(), Some(Duration::from_secs(1)));
        let merged = old.reloaded(&new);
        assert_eq!((merged.limits.subscriptions, merged.limits.arena), (7, old.limits.arena));
        assert_eq!((merged.name.as_str(), merged.region.as_str(), merged.drain_on_stop), ("boston", "local", None));
    }

    #[test]
    fn without_an_identity_no_neighbour_is_taken_and_those_of_names_stay() {
        let mut old = HubOptions::new("boston");
        old.neighbours = vec![neighbour("dns:hubs.example:7412"), neighbour("a:1")];
        let mut new = HubOptions::new("boston");
        new.neighbours = vec![neighbour("srv:_weft._tcp.example"), neighbour("b:1")];
        let addresses = |options: &HubOptions| -> Vec<String> {
            options.neighbours.iter().map(|neighbour| neighbour.addr.clone()).collect()
        };
        assert_eq!(addresses(&old.reloaded(&new)), ["dns:hubs.example:7412", "a:1"]);
        old.link_security = Some(weft_transport::Security::Plain);
        assert_eq!(addresses(&old.reloaded(&new)), ["dns:hubs.example:7412", "b:1"]);
    }
}
