//! What keeps an event from a place by the will of operators: labels that bind it
//! to some hubs, and hubs that are about to stop.

use weft_client::{HubSaid, facts};

use super::decide::{Judge, Reason, Weight, reason};
use super::said::pairs;

/// Whether a hub says of another one, or of itself, that it is about to stop.
pub(super) fn drains(said: &HubSaid, hub: &str) -> bool {
    said.all(facts::DRAINING).any(|fact| fact.text == hub)
}

impl Judge<'_> {
    /// Whether what is bound to a label cannot get to a hub.
    pub(super) fn is_barred(&self, to: &HubSaid, reasons: &mut Vec<Reason>) -> bool {
        let entry = &self.entry.name;
        let label = self.entry.fact(facts::BOUND).map_or("", |fact| fact.text.as_str());
        let is_said = |name| self.entry.all(name).any(|fact| fact.text == to.name);
        let (what, remedy) = if is_said(facts::OUTSIDE) {
            let what = format!(
                "a rule of {entry} binds the topic to hubs with the label `{label}`, which {} does not carry",
                to.name
            );
            (what, "subscribe at a hub with the label, or give this one the label or the topic another rule")
        } else if is_said(facts::NO_BOUND_WAY) {
            let what = format!(
                "a rule of {entry} binds the topic to hubs with the label `{label}`, and all ways to {} lead over others",
                to.name
            );
            (what, "give a hub on the way the label, or make a link between hubs with it")
        } else {
            return false;
        };
        reasons.push(reason("residency", Weight::Stops, &to.name, what, remedy));
        true
    }

    /// Hubs that are about to stop: where it is, and on the way.
    pub(super) fn of_drains(&self, hub: &HubSaid, way: &[String], reasons: &mut Vec<Reason>) {
        let stops = |name: &str| drains(self.entry, name);
        if hub.hub != self.entry.hub && (stops(&hub.name) || drains(hub, &hub.name)) {
            let what = format!("{} is about to stop: its clients and consumers are sent to other hubs", hub.name);
            let remedy = "look for it there in a moment; one of version 1 stays to the end";
            reasons.push(reason("draining", Weight::Some, &hub.name, what, remedy));
        }
        let between = way.iter().skip(1).filter(|on| **on != hub.name);
        for on in between.filter(|on| stops(on)) {
            let what = format!("the way leads over {on}, which is about to stop, for there is no other");
            let remedy = format!("make a link around {on} before it stops, or take its drain back (weft hub undrain)");
            reasons.push(reason("draining", Weight::Some, on, what, remedy));
        }
    }

    /// Whether a stream keeps nothing of what is bound to the label.
    pub(super) fn keeps_nothing(&self, stream: &str, reasons: &mut Vec<Reason>) -> bool {
        let barred = pairs(self.entry, facts::BARRED, facts::AT).find(|(of, _)| of.text == stream);
        let Some((_, without)) = barred else { return false };
        let label = self.entry.fact(facts::BOUND).map_or("", |fact| fact.text.as_str());
        let what = format!(
            "a rule of {} binds the topic to hubs with the label `{label}`, and {}, a home of `{stream}`, does not carry it",
            self.entry.name, without.text
        );
        let remedy = "give the stream homes at hubs with the label alone (weft stream alter)";
        reasons.push(reason("residency", Weight::Stops, &without.text, what, remedy));
        true
    }

    /// Whether members of a group at other hubs get everything, because the hub of
    /// this one drains.
    pub(super) fn leaves_it_to_others(
        &self,
        group: &str,
        hub: &HubSaid,
        members: impl Fn(&HubSaid) -> u64,
        reasons: &mut Vec<Reason>,
    ) -> bool {
        let counts = |of: &HubSaid| of.answered && !drains(self.entry, &of.name);
        let leaves = drains(self.entry, &hub.name) && self.said.iter().any(|of| counts(of) && members(of) > 0);
        if leaves {
            let what = format!("members of group `{group}` at other hubs get everything while {} drains", hub.name);
            let remedy = "it goes to another hub by itself, and is a member there";
            reasons.push(reason("draining", Weight::Stops, &hub.name, what, remedy));
        }
        leaves
    }
}
