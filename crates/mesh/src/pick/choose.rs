//! Which hubs are wanted, and which one is measured next.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use weft_base::{HubId, Mono};

use super::{AGAIN, APART_EVERY, Linked, Pick, Pickable, Picker, Why, jittered};

/// Measurements kept of each hub.
const SAMPLES: usize = 5;
/// What a hub that is linked counts as nearer, besides a quarter.
const NEARER: Duration = Duration::from_millis(1);

/// The last few round trips to a hub.
#[derive(Debug, Default)]
pub(super) struct Samples(VecDeque<Duration>);

impl Samples {
    pub(super) fn add(&mut self, rtt: Duration) {
        if self.0.len() == SAMPLES {
            self.0.pop_front();
        }
        self.0.push_back(rtt);
    }

    /// What disturbs a measurement makes it longer, so the least is the best.
    fn least(&self) -> Option<Duration> {
        self.0.iter().min().copied()
    }
}

impl Picker {
    /// The hubs that there should be links to, and why: the first reason counts.
    pub(super) fn wanted(&self, hubs: &[Pickable], links: &[Linked], now: Mono) -> BTreeMap<HubId, Why> {
        let is_linked = |hub: HubId| links.iter().any(|link| link.hub == hub);
        let is_usable = |hub: &&Pickable| {
            let is_here = hub.is_reachable || self.known.get(&hub.hub).is_some_and(|known| known.is_apart);
            hub.hub != self.me && !hub.is_draining && (is_linked(hub.hub) || is_here && !self.is_aside(hub.hub, now))
        };
        let usable: Vec<&Pickable> = hubs.iter().filter(is_usable).collect();
        let mut wanted = BTreeMap::new();
        let mut want = |hub: HubId, why: Why| {
            if wanted.len() < self.options.most {
                wanted.entry(hub).or_insert(why);
            }
        };
        self.next_of(&usable).into_iter().for_each(|hub| want(hub, Why::Next));
        let mut measured: Vec<(Duration, &Pickable)> =
            usable.iter().filter_map(|hub| Some((self.distance(hub.hub, is_linked(hub.hub))?, *hub))).collect();
        measured.sort_by_key(|(rtt, hub)| (*rtt, hub.hub));
        measured.iter().take(self.options.nearest).for_each(|(_, hub)| want(hub.hub, Why::Near));
        let mut of_region: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, hub) in measured.iter().filter(|(_, hub)| hub.region != self.region && !hub.region.is_empty()) {
            let count = of_region.entry(&hub.region).or_default();
            *count += 1;
            if *count <= self.options.per_region {
                want(hub.hub, Why::Region);
            }
        }
        for hub in usable.iter().filter(|hub| !hub.is_reachable) {
            want(hub.hub, Why::Apart);
        }
        wanted
    }

    /// The next one in the order of regions and ids, which is a circle.
    fn next_of(&self, usable: &[&Pickable]) -> Option<HubId> {
        let reachable = || usable.iter().filter(|hub| hub.is_reachable).map(|hub| (hub.region.as_str(), hub.hub));
        let me = (self.region.as_str(), self.me);
        reachable().filter(|hub| *hub > me).min().or_else(|| reachable().min()).map(|(_, hub)| hub)
    }

    /// How far a hub is when hubs are compared; none if it was never measured.
    fn distance(&self, hub: HubId, is_linked: bool) -> Option<Duration> {
        let rtt = self.known.get(&hub)?.rtt.least()?;
        Some(if is_linked { (rtt / 4 * 3).saturating_sub(NEARER) } else { rtt })
    }

    fn is_aside(&self, hub: HubId, now: Mono) -> bool {
        self.known.get(&hub).and_then(|known| known.aside).is_some_and(|until| until > now)
    }

    /// Has one hub measured, if it is time to.
    pub(super) fn probe(
        &mut self,
        hubs: &[Pickable],
        is_linked: &impl Fn(HubId) -> bool,
        now: Mono,
        picks: &mut Vec<Pick>,
    ) {
        if self.probing.is_some() || now < self.next_probe {
            return;
        }
        let may_be = |hub: &&Pickable| {
            let is_dialled = self.dialling.contains_key(&hub.hub) || is_linked(hub.hub);
            hub.hub != self.me && !hub.is_draining && !is_dialled && !self.is_aside(hub.hub, now)
        };
        let (reachable, apart): (Vec<&Pickable>, Vec<&Pickable>) =
            hubs.iter().filter(may_be).partition(|hub| hub.is_reachable);
        self.probes += 1;
        let of_apart = !apart.is_empty() && (reachable.is_empty() || self.probes.is_multiple_of(APART_EVERY));
        let chosen = match if of_apart { self.oldest(&apart) } else { None } {
            Some(hub) => Some(hub),
            None => self.unmeasured(&reachable).or_else(|| self.oldest(&reachable)),
        };
        let is_new = |hub| self.known.get(&hub).is_some_and(|known| known.tried.is_none());
        let pause = match chosen {
            Some(hub) if is_new(hub) => self.options.probe,
            _ => self.options.probe.saturating_mul(AGAIN),
        };
        // With nobody to ask there may be somebody soon.
        let pause = if chosen.is_some() { pause } else { self.options.probe };
        self.next_probe = now + jittered(pause, &mut self.random);
        let Some(hub) = chosen else { return };
        if let Some(known) = self.known.get_mut(&hub) {
            known.tried = Some(now);
        }
        self.probing = Some(hub);
        picks.push(Pick::Probe(hub));
    }

    /// One that was never tried: of a region of which nothing is known first, then
    /// of this hub's own; of these any, so that not all hubs ask the same one.
    fn unmeasured(&mut self, hubs: &[&Pickable]) -> Option<HubId> {
        let is_new = |hub: &&&Pickable| self.known.get(&hub.hub).is_some_and(|known| known.tried.is_none());
        let rank = |hub: &Pickable| {
            let is_known = |other: &&&Pickable| other.region == hub.region && !is_new(other);
            match hub.region == self.region {
                true => 1,
                false if hubs.iter().any(|other| is_known(&other)) => 2,
                false => 0,
            }
        };
        let best = hubs.iter().filter(is_new).map(|hub| rank(hub)).min()?;
        let these: Vec<HubId> = hubs.iter().filter(|hub| is_new(hub) && rank(hub) == best).map(|hub| hub.hub).collect();
        let any = self.random.below(these.len().max(1) as u64) as usize;
        these.get(any).copied()
    }

    /// The one that was tried the longest ago.
    fn oldest(&self, hubs: &[&Pickable]) -> Option<HubId> {
        let tried = |hub: &&&Pickable| self.known.get(&hub.hub).and_then(|known| known.tried);
        hubs.iter().min_by_key(|hub| (tried(hub), hub.hub)).map(|hub| hub.hub)
    }
}
