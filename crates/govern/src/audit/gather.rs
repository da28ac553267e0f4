//! The same again within a time, counted in one record.
//!
//! What is new is told at once. What comes again within [`GatherLimits::window`]
//! is counted, and told when the window is over. Of one principal no more than
//! [`GatherLimits::kinds`] different events are told in a window, the rest is
//! counted together; beyond [`GatherLimits::principals`] principals in a window
//! all others are counted together. So memory, and what is written in a window,
//! are bounded whatever is asked.

use std::collections::BTreeMap;
use std::time::Duration;

use weft_base::{Mono, Now};

use super::{Entry, Event};

/// Bounds of what is gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatherLimits {
    /// For how long the same is counted in one record.
    pub window: Duration,
    /// Different events of one principal in a window. Beyond: counted together.
    pub kinds: usize,
    /// Principals in a window. Beyond: counted together.
    pub principals: usize,
}

impl Default for GatherLimits {
    fn default() -> Self {
        Self { window: Duration::from_secs(60), kinds: 64, principals: 1_024 }
    }
}

/// What came again since it was told.
#[derive(Debug, Default)]
struct Count {
    times: u64,
    first: u64,
    last: u64,
}

impl Count {
    fn one(&mut self, now: u64) {
        if self.times == 0 {
            self.first = now;
        }
        self.times += 1;
        self.last = now;
    }

    fn entry(self, event: Event, several: bool) -> Option<Entry> {
        let last = (self.times > 1).then_some(self.last);
        (self.times > 0).then_some(Entry { event, time: self.first, last, times: self.times, several })
    }
}

#[derive(Debug, Default)]
struct Window {
    /// Of a principal: what was told, and how often it came again.
    events: BTreeMap<Event, Count>,
    /// What was not told, by whether it was allowed.
    rest: [Count; 2],
}

/// Gathers events.
#[derive(Debug)]
pub struct Gather {
    limits: GatherLimits,
    by_principal: BTreeMap<String, Window>,
    others: [Count; 2],
    /// When the window is over; none: nothing is held.
    due: Option<Mono>,
}

impl Gather {
    /// With nothing gathered.
    #[must_use]
    pub const fn new(limits: GatherLimits) -> Self {
        Self {
            limits,
            by_principal: BTreeMap::new(),
            others: [const { Count { times: 0, first: 0, last: 0 } }; 2],
            due: None,
        }
    }

    /// Takes an event; answers what is to be written at once.
    pub fn take(&mut self, event: Event, now: Now) -> Option<Entry> {
        let event = event.bounded();
        let wall = now.wall.0;
        self.due.get_or_insert(Mono(now.mono.0.saturating_add(nanos(self.limits.window))));
        let is_new = !self.by_principal.contains_key(&event.who);
        if is_new && self.by_principal.len() >= self.limits.principals {
            self.others[usize::from(event.allowed)].one(wall);
            return None;
        }
        let window = self.by_principal.entry(event.who.clone()).or_default();
        if let Some(count) = window.events.get_mut(&event) {
            count.one(wall);
            return None;
        }
        if window.events.len() >= self.limits.kinds {
            window.rest[usize::from(event.allowed)].one(wall);
            return None;
        }
        window.events.insert(event.clone(), Count::default());
        Some(Entry { event, time: wall, last: None, times: 1, several: false })
    }

    /// When [`Gather::flush`] has something to do.
    #[must_use]
    pub const fn due(&self) -> Option<Mono> {
        self.due
    }

    /// What came again in a window that is over by `now`; `last`: whatever is
    /// held, since the hub stops.
    pub fn flush(&mut self, now: Now, last: bool) -> Vec<Entry> {
        if self.due.is_none_or(|due| now.mono < due && !last) {
            return Vec::new();
        }
        self.due = None;
        let mut out = Vec::new();
        for (who, window) in std::mem::take(&mut self.by_principal) {
            out.extend(window.events.into_iter().filter_map(|(event, count)| count.entry(event, false)));
            let of = |allowed| several(&who, allowed);
            let [refused, allowed] = window.rest;
            out.extend(refused.entry(of(false), true));
            out.extend(allowed.entry(of(true), true));
        }
        let [refused, allowed] = std::mem::take(&mut self.others);
        out.extend(refused.entry(several("(several)", false), true));
        out.extend(allowed.entry(several("(several)", true), true));
        out
    }
}

/// What stands for several events.
fn several(who: &str, allowed: bool) -> Event {
    let word = || "(several)".to_owned();
    Event {
        who: who.to_owned(),
        from: word(),
        method: word(),
        action: word(),
        resource: word(),
        allowed,
        ..Event::default()
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
