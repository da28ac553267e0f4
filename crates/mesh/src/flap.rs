//! Links that come and go: held back until they last.
//!
//! Each time that the last link to a hub is lost costs that hub a penalty,
//! which halves with time, as route flaps are damped (RFC 2439). Above a
//! threshold the hub's links count as suspect, until the penalty has fallen
//! below a lower one: they carry what has no other way, and everything else
//! goes by ways that stay. So a link that comes and goes moves routes a few
//! times, and then not again before it has lasted.

use std::collections::BTreeMap;
use std::time::Duration;

use weft_base::{HubId, Mono};

use crate::damp::{decayed, time_to};

/// What a loss costs.
const PENALTY: u32 = 1_000;
/// Above this a hub's links are held: the fourth loss in quick succession.
const HOLD: u32 = 3_000;
/// The most that penalties add up to.
const MOST_PENALTY: u32 = HOLD * 4;
/// Hubs that are remembered. At the bound the one whose loss is longest ago is
/// forgotten.
const MOST: usize = 256;

#[derive(Debug)]
struct Flap {
    penalty: u32,
    at: Mono,
    /// Held until then.
    until: Option<Mono>,
}

/// The penalties of one hub's neighbours.
#[derive(Debug)]
pub(crate) struct Flaps {
    half_life: Duration,
    most: Duration,
    by_hub: BTreeMap<HubId, Flap>,
}

impl Flaps {
    /// With this half-life of penalties; held for at most `most`, zero for never.
    pub(crate) fn new(half_life: Duration, most: Duration) -> Self {
        Self { half_life: half_life.max(Duration::from_millis(1)), most, by_hub: BTreeMap::new() }
    }

    /// The last link to a hub is lost.
    pub(crate) fn lost(&mut self, hub: HubId, now: Mono) {
        if self.most.is_zero() {
            return;
        }
        if self.by_hub.len() >= MOST && !self.by_hub.contains_key(&hub) {
            let oldest = self.by_hub.iter().min_by_key(|(_, flap)| flap.at).map(|(hub, _)| *hub);
            oldest.and_then(|hub| self.by_hub.remove(&hub));
        }
        let flap = self.by_hub.entry(hub).or_insert(Flap { penalty: 0, at: now, until: None });
        let left = decayed(flap.penalty, now.since(flap.at), self.half_life);
        (flap.penalty, flap.at) = ((left + PENALTY).min(MOST_PENALTY), now);
        if flap.penalty > HOLD || flap.until.is_some() {
            flap.until = Some(now + time_to(flap.penalty, self.half_life).min(self.most));
        }
    }

    /// Until when a hub's links are held.
    pub(crate) fn held(&self, hub: HubId) -> Option<Mono> {
        self.by_hub.get(&hub)?.until
    }

    /// The hubs whose links are held no more.
    pub(crate) fn release(&mut self, now: Mono) -> Vec<HubId> {
        let due = self.by_hub.iter_mut().filter(|(_, flap)| flap.until.is_some_and(|until| until <= now));
        due.map(|(hub, flap)| {
            flap.until = None;
            *hub
        })
        .collect()
    }

    /// When the next one is.
    pub(crate) fn next(&self) -> Option<Mono> {
        self.by_hub.values().filter_map(|flap| flap.until).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const HUB: HubId = HubId(1);

    #[test]
    fn the_fourth_loss_in_a_row_is_held_and_rare_ones_never() {
        let mut flaps = Flaps::new(SECOND * 15, SECOND * 60);
        let mut now = Mono(1);
        for held in [false, false, false, true, true] {
            now = now + SECOND;
            flaps.lost(HUB, now);
            assert_eq!(flaps.held(HUB).is_some(), held);
        }
        let until = flaps.next().expect("held");
        assert_eq!(flaps.release(now), []);
        assert!((SECOND * 30..=SECOND * 60).contains(&until.since(now)));
        assert_eq!((flaps.release(until), flaps.held(HUB), flaps.next()), (vec![HUB], None, None));
        for hour in 1..50 {
            flaps.lost(HUB, until + SECOND * 3600 * hour);
            assert_eq!(flaps.held(HUB), None);
        }
    }

    #[test]
    fn ten_losses_a_minute_are_held_through_and_never_for_longer_than_the_most() {
        let mut flaps = Flaps::new(SECOND * 15, SECOND * 40);
        let mut now = Mono(1);
        let mut releases = 0;
        for n in 0..100 {
            flaps.lost(HUB, now);
            now = now + SECOND * 6;
            releases += flaps.release(now).len();
            assert!(n < 6 || flaps.held(HUB).is_some(), "loss {n}");
            assert!(flaps.held(HUB).is_none_or(|until| until.since(now) <= SECOND * 34));
        }
        assert_eq!(releases, 0);
    }

    #[test]
    fn who_is_remembered_is_bounded_and_it_can_be_turned_off() {
        let mut flaps = Flaps::new(SECOND, SECOND);
        for hub in 0..2 * MOST as u64 {
            flaps.lost(HubId(hub), Mono(hub));
        }
        assert_eq!(flaps.by_hub.len(), MOST);
        assert!(flaps.by_hub.contains_key(&HubId(2 * MOST as u64 - 1)));
        let mut off = Flaps::new(SECOND, Duration::ZERO);
        (0..10).for_each(|_| off.lost(HUB, Mono(1)));
        assert_eq!(off.held(HUB), None);
    }
}
