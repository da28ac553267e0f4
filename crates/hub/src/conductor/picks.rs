//! Links that are picked by policy: shows [`Picker`] what is there and has done
//! what it wants. Also refuses links that other hubs have picked, beyond a bound.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use weft_base::{HubId, Mono, Random};
use weft_mesh::{EASED, Event, LinkId, Linked, Pick, PickOptions, Picker, Why};
use weft_wire::ErrorCode;

use super::Conductor;
use crate::messages::{Dial, SessionId, ToNet};
use crate::options::Neighbour;

/// What hubs are dialled for that are picked here, and what the others picked.
pub(super) struct Picks {
    picker: Option<Picker>,
    /// All links that stand.
    links: BTreeMap<LinkId, Picked>,
    opened: u64,
    closed: u64,
    probes: u64,
    refused: u64,
}

struct Picked {
    hub: HubId,
    dial: Option<Dial>,
    /// Why the other hub dialled it.
    by_other: Option<Why>,
}

impl Picks {
    pub(super) fn new(options: Option<PickOptions>, me: HubId, region: &str, random: Random) -> Self {
        let picker = options.map(|options| Picker::new(options, me, region, random));
        Self { picker, links: BTreeMap::new(), opened: 0, closed: 0, probes: 0, refused: 0 }
    }

    /// When something is due.
    pub(super) fn next(&self) -> Option<Mono> {
        self.picker.as_ref().map(Picker::next)
    }

    /// Whether the other hub has dialled a link that stands.
    pub(super) fn is_accepted(&self, link: LinkId) -> bool {
        self.links.get(&link).is_some_and(|link| link.dial.is_none())
    }

    /// Whether links are picked here at all.
    pub(super) fn is_on(&self) -> bool {
        self.picker.is_some()
    }

    /// A link has ended, for which this hub had dialled or not.
    fn down(&mut self, link: LinkId, dial: Option<Dial>, now: Mono) {
        let was_up = self.links.remove(&link).is_some();
        let Some(picker) = &mut self.picker else { return };
        match dial {
            // It was refused before it counted: nobody has told the picker that it was up.
            Some(Dial::Picked(hub, _)) if !was_up => picker.failed(hub, now),
            _ => picker.down(link, now),
        }
    }
}

impl Conductor {
    /// A link with a hub is up.
    ///
    /// # Errors
    /// Why it is not wanted: the other hub picked it, and there are enough of those.
    pub(super) fn pick_up(
        &mut self,
        link: SessionId,
        hub: HubId,
        dial: Option<Dial>,
        by_other: Option<Why>,
    ) -> Result<(), String> {
        let most = self.options.limits.picked_links;
        if by_other.is_some_and(Why::may_be_refused) {
            let of_others = self.picks.links.values().filter(|link| link.by_other.is_some_and(Why::may_be_refused));
            if of_others.count() >= most {
                self.picks.refused += 1;
                return Err(format!("the hub has {most} links that others picked, its limit (limits.picked_links)"));
            }
        }
        self.picks.links.insert(LinkId(link.0), Picked { hub, dial, by_other });
        if let (Some(Dial::Picked(..) | Dial::Any), Some(picker)) = (dial, &mut self.picks.picker) {
            picker.up(LinkId(link.0), hub, self.now.mono);
        }
        Ok(())
    }

    /// A link is down.
    pub(super) fn pick_down(&mut self, link: SessionId, dial: Option<Dial>) {
        self.picks.down(LinkId(link.0), dial, self.now.mono);
    }

    /// A hub that was picked, or was to be measured, could not be dialled.
    pub(super) fn pick_failed(&mut self, dial: Dial, reason: &str) {
        let Some(picker) = &mut self.picks.picker else { return };
        let hub = match dial {
            Dial::Picked(hub, _) => {
                picker.failed(hub, self.now.mono);
                hub
            }
            Dial::Probe(hub) => {
                picker.probed(hub, None, self.now.mono);
                hub
            }
            Dial::Neighbour(_) | Dial::Named(..) | Dial::Any => return,
        };
        let name = self.mesh.name_of(hub).unwrap_or_default();
        tracing::debug!(code = "pick_failed", hub = name, reason, "a hub that was picked cannot be reached");
    }

    /// A hub has answered a probe.
    pub(super) fn pick_probed(&mut self, hub: HubId, rtt: Duration) {
        if let Some(picker) = &mut self.picks.picker {
            picker.probed(hub, Some(rtt), self.now.mono);
        }
    }

    /// Looks whether other links are wanted, when it is time to; answers how much was done.
    pub(super) fn tend_picks(&mut self) -> usize {
        let now = self.now.mono;
        let Some(picker) = self.picks.picker.as_mut().filter(|picker| picker.next() <= now) else { return 0 };
        let mut hubs = self.mesh.pickable();
        hubs.retain(|hub| self.changes.may_be(&hub.name, None));
        let linked = self.picks.links.iter().map(|(link, picked)| Linked {
            link: *link,
            hub: picked.hub,
            rtt: self.mesh.rtt(*link),
            is_configured: picked.dial.and_then(Dial::place).is_some(),
        });
        let linked: Vec<Linked> = linked.collect();
        let wanted = picker.look(&hubs, &linked, |hub| self.mesh.has_way_round(hub), now);
        let work = wanted.len();
        for pick in wanted {
            self.pick(pick);
        }
        work
    }

    fn pick(&mut self, pick: Pick) {
        match pick {
            Pick::Open(hub, why) => {
                self.picks.opened += 1;
                self.dial_picked(hub, Dial::Picked(hub, why));
            }
            Pick::Probe(hub) => {
                self.picks.probes += 1;
                self.dial_picked(hub, Dial::Probe(hub));
            }
            Pick::Ease(link, is_dear) => {
                let cost = self.changes.told(link).unwrap_or(0);
                self.apply(Event::LinkCost { link, cost: if is_dear { cost.saturating_add(EASED) } else { cost } });
            }
            Pick::Close(link) => {
                self.picks.closed += 1;
                let detail = "other links are better".to_owned();
                self.net.push(ToNet::Close { session: SessionId(link.0), code: ErrorCode::LEAVING, detail });
            }
        }
    }

    fn dial_picked(&mut self, hub: HubId, dial: Dial) {
        let known = self.mesh.dialled(hub);
        let Some(to) = known else { return self.pick_failed(dial, "nobody says any more where it is dialled") };
        if let Dial::Picked(_, why) = dial {
            let (peer, address, why) = (&to.name, &to.address, why.name());
            tracing::info!(code = "link_picked", peer, address, why, "a hub is picked and dialled");
        }
        let peer = Neighbour { addr: to.address, name: Some(to.name), ..Neighbour::default() };
        self.net.push(ToNet::Dial { dial, peer: Arc::new(peer), failures: 0 });
    }

    /// What there is to show of links that were picked: by which end, and why.
    pub(super) fn picked(&self) -> Vec<(String, u64)> {
        let Picks { opened, closed, probes, refused, .. } = self.picks;
        let counted = [("opened", opened), ("closed", closed), ("probes", probes), ("refused", refused)];
        let mut values: Vec<(String, u64)> =
            counted.into_iter().map(|(what, value)| (format!("picks.{what}"), value)).collect();
        for (link, Picked { hub, by_other, .. }) in &self.picks.links {
            let by_me = self.picks.picker.as_ref().and_then(|picker| picker.why(*link));
            let name = self.mesh.name_of(*hub).unwrap_or_default();
            values.extend(by_me.map(|why| (format!("link.{name}.picked.{}", why.name()), 1)));
            values.extend(by_other.map(|why| (format!("link.{name}.picked_by_other.{}", why.name()), 1)));
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use weft_mesh::Pickable;

    use super::*;

    /// Symptom: a hub that was picked, answered, and was refused for who it said it
    /// is, was never dialled again, and four of them ended all picking. Cause: the
    /// end of a link that had never counted was not taken for the end of its dial.
    #[test]
    fn a_hub_that_was_refused_when_it_answered_is_picked_again() {
        let me = HubId::of_name("here");
        let mut picks = Picks::new(Some(PickOptions::default()), me, "", Random::from_seed(7));
        let hubs: Vec<Pickable> = (0..6)
            .map(|n| format!("hub-{n}"))
            .map(|name| Pickable {
                hub: HubId::of_name(&name),
                name,
                region: String::new(),
                is_reachable: true,
                is_draining: false,
            })
            .collect();
        let mut now = Mono(0);
        let mut opened = BTreeMap::new();
        for link in 0..200 {
            now = now + Duration::from_secs(30);
            let picker = picks.picker.as_mut().expect("links are picked");
            for pick in picker.look(&hubs, &[], |_| true, now) {
                match pick {
                    Pick::Open(hub, why) => {
                        *opened.entry(hub).or_insert(0) += 1;
                        picks.down(LinkId(link), Some(Dial::Picked(hub, why)), now);
                    }
                    Pick::Probe(hub) => picks.picker.as_mut().expect("as before").probed(hub, None, now),
                    Pick::Ease(..) | Pick::Close(_) => {}
                }
            }
        }
        assert!(opened.values().all(|times| *times > 1) && !opened.is_empty(), "{opened:?}");
    }
}
