//! Why does an event not reach a subscriber? What this hub knows of both.
//!
//! The name is looked for among the sessions, streams and consumers here; what
//! the net and the consume stage know of it comes back in one box. Whether it is
//! a reason is for who asks to say: this hub says how things are. Bounded: so
//! many questions are under way in the stages.

use std::collections::BTreeMap;

use weft_base::{HubId, Residency, UnixNanos};
use weft_stream::consumer::Mode;
use weft_topic::Topic;
use weft_wire::frame::{OnFull, WhyNot, facts};
use weft_wire::reply::is_reserved;

use super::Conductor;
use super::report::nanos;
use crate::messages::{Target, ToNet};
use crate::route::homes::Chosen;
use crate::see::facts::Said;
use crate::see::look::{Asker, ConsumerState, Look, SubscriberState};

/// Questions that are under way in the stages; of more the oldest is given up.
const MOST: usize = 256;

/// Facts of the subscriber that are told.
const MOST_OF_SUBSCRIBER: usize = 1_024;

/// The questions under way, by number.
#[derive(Debug, Default)]
pub(super) struct Looks {
    last: u64,
    open: BTreeMap<u64, Open>,
}

#[derive(Debug)]
struct Open {
    asker: Asker,
    /// What the topic is here: what the mapping made of it, where it enters here.
    topic: String,
    /// What that says of it.
    mapped: Vec<Said>,
    from: HubId,
}

impl Conductor {
    /// Looks for the subscriber in the stages.
    pub(super) fn look(&mut self, asker: Asker, asked: WhyNot<'_>, mapped: Vec<Said>) {
        let looks = &mut self.asks.looks;
        looks.last += 1;
        if looks.open.len() >= MOST {
            looks.open.pop_first();
        }
        looks.open.insert(looks.last, Open { asker, topic: asked.topic.to_owned(), mapped, from: asked.from });
        let (number, name) = (looks.last, asked.subscriber.to_owned());
        let sessions = self.tenants.sessions_of(&name);
        self.net.push(ToNet::Look(Box::new(Look { number, name, sessions, ..Look::default() })));
    }

    /// The stages have said what they know.
    pub(super) fn looked(&mut self, mut look: Look) {
        let Some(Open { asker, topic, mapped, from }) = self.asks.looks.open.remove(&look.number) else { return };
        let mut said = vec![Said::number(facts::CLOCK, self.now.wall.0)];
        self.facts_of_place(&mut said);
        if from == self.identity.id {
            self.facts_of_entry(&topic, mapped, &mut said);
        }
        let mut of_subscriber = Vec::new();
        self.facts_of_subscriber(&mut look, &mut of_subscriber);
        of_subscriber.truncate(MOST_OF_SUBSCRIBER);
        said.append(&mut of_subscriber);
        // At most three for each hub, as what follows, and one more of bound topics: all of it fits.
        self.facts_of_topic(&topic, &mut said);
        if from == self.identity.id {
            self.facts_of_hubs(&topic, &mut said);
        }
        self.cut(&mut said);
        match asker {
            Asker::Here(number) => self.answer_here(number, &said),
            Asker::Hub(hub, request) => self.answer_hub(hub, request, &said),
        }
    }

    /// Of the hub by itself.
    fn facts_of_place(&self, said: &mut Vec<Said>) {
        for (peer, since, reason) in self.links.lost() {
            said.push(Said::text(facts::LINK_DOWN, peer.to_owned(), since.0));
            said.push(Said::text(facts::REASON, reason.to_owned(), 0));
        }
        let hubs = self.mesh.report().hubs;
        let own = hubs.iter().find(|hub| hub.id == self.identity.id);
        said.extend(own.map(|own| Said::number(facts::INTEREST_TOLD, own.interest_version)));
        let drains = hubs.iter().filter(|hub| hub.is_draining);
        said.extend(drains.map(|hub| Said::text(facts::DRAINING, hub.name.clone(), 0)));
    }

    /// Of the hub where the event would enter the mesh.
    fn facts_of_entry(&self, text: &str, mut mapped: Vec<Said>, said: &mut Vec<Said>) {
        said.push(Said::number(facts::ENTRY, 1));
        let is_mapped = !mapped.is_empty();
        said.append(&mut mapped);
        if is_mapped && text.is_empty() {
            let detail = "a rule of the hub's mapping drops or refuses all of it";
            return said.push(Said::text(facts::TOPIC_REFUSED, detail.to_owned(), 0));
        }
        let topic = match Topic::parse(text) {
            Ok(_) if is_reserved(text) => {
                let detail = "topics that start with `_` are reserved: choose another first level";
                return said.push(Said::text(facts::TOPIC_REFUSED, detail.to_owned(), 0));
            }
            Ok(topic) => topic,
            Err(error) => return said.push(Said::text(facts::TOPIC_REFUSED, error.to_string(), 0)),
        };
        let residency = self.table.rules.rule(topic);
        if self.table.routes.bound(residency).is_none() {
            let (hub, label) = (&self.identity.name, self.table.rules.name(residency));
            let detail = format!("the hub `{hub}` does not carry the label `{label}`, which a rule binds the topic to");
            return said.push(Said::text(facts::TOPIC_REFUSED, detail, 0));
        }
        let route = self.table.resolve(topic, residency, &mut Chosen::default());
        if residency.is_bound() {
            said.push(Said::text(facts::BOUND, self.table.rules.name(residency), 0));
        }
        for (id, hub) in &route.barred {
            // Of homes elsewhere the directory knows the name, of one here the table does.
            let far =
                self.table.routes.all_streams().find(|home| home.def.id == *id).map(|home| home.def.name.to_string());
            let near = self.table.stream_names.iter().find(|(_, (stream, _))| stream.id == *id);
            let name = far.or_else(|| near.map(|(name, _)| name.to_string())).unwrap_or_else(|| format!("{id:x}"));
            said.push(Said::text(facts::BARRED, name, 0));
            said.push(Said::text(facts::AT, self.name_of_hub(*hub), 0));
        }
        for gate in route.gates.iter().filter(|gate| gate.is_closed()) {
            let holder = gate.holder();
            said.push(Said::text(facts::HELD_FOR, holder.subscriber.clone(), gate.behind_ms(self.now)));
            said.push(Said::text(facts::AT, holder.hub.clone(), 0));
        }
    }

    /// Of the other hubs: which of their interest routes here go by, and the way
    /// there of an event on this topic.
    fn facts_of_hubs(&self, topic: &str, said: &mut Vec<Said>) {
        let residency = Topic::parse(topic).map_or(Residency::ANYWHERE, |topic| self.table.rules.rule(topic));
        let ways = self.table.routes.bound(residency);
        for hub in self.mesh.report().hubs.iter().filter(|hub| hub.id != self.identity.id) {
            if let Some(lost) = hub.lost {
                let since = self.now.wall.0.saturating_sub(nanos(self.now.mono.since(lost)));
                said.push(Said::text(facts::UNREACHABLE, hub.name.clone(), since));
                continue;
            }
            said.push(Said::text(facts::INTEREST, hub.name.clone(), hub.interest_version));
            // What is bound to a label has ways of its own.
            let bound = ways.and_then(|ways| ways.path(hub.id));
            if let Some(path) = bound.or_else(|| self.table.routes.path(hub.id)) {
                said.push(Said::text(facts::VIA, self.name_of_hub(path.via), path.hops.into()));
                said.push(Said::number(facts::WAY_RTT, nanos(path.rtt)));
            }
            if !residency.is_bound() || bound.is_some() {
                continue;
            }
            let is_outside = ways.is_none_or(|ways| ways.is_outside(hub.id));
            let name = if is_outside { facts::OUTSIDE } else { facts::NO_BOUND_WAY };
            said.push(Said::text(name, hub.name.clone(), 0));
        }
    }

    fn facts_of_subscriber(&self, look: &mut Look, said: &mut Vec<Said>) {
        for client in &look.clients {
            said.push(Said::text(facts::CLIENT, client.name.clone(), client.session.0));
            for state in &client.subscriptions {
                self.facts_of_subscription(Target { session: client.session, subscription: state.id }, state, said);
            }
            for member in &client.members {
                let target = Target { session: client.session, subscription: *member };
                let of = look.consumers.iter().find(|consumer| consumer.targets.contains(&target));
                said.extend(of.map(|of| Said::text(facts::OF_CONSUMER, of.whole_name(), member.0)));
            }
        }
        let mut streams: Vec<_> = self.streams.iter().collect();
        streams.sort_unstable_by(|a, b| a.1.0.name.cmp(&b.1.0.name));
        for (slot, (def, filters)) in streams {
            // Those that its consumers and subscriptions read, too.
            let is_read = look.consumers.iter().any(|consumer| *consumer.stream == *def.name)
                || look.clients.iter().any(|client| client.subscriptions.iter().any(|s| s.stream == Some(*slot)));
            if *def.name != *look.name && !is_read {
                look.note(&def.name);
                continue;
            }
            said.push(Said::text(facts::IS_STREAM, def.name.to_string(), u64::from(!def.is_home())));
            said.extend(filters.iter().map(|filter| Said::text(facts::FILTER, filter.to_string(), 0)));
        }
        look.consumers.iter().for_each(|consumer| facts_of_consumer(consumer, said));
        said.extend(look.alike.drain(..).map(|name| Said::text(facts::ALIKE, name, 0)));
    }

    fn facts_of_subscription(&self, target: Target, state: &SubscriberState, said: &mut Vec<Said>) {
        let known = self.subscriptions.get(&target);
        let filter = known.map_or_else(String::new, |(filter, _)| filter.to_string());
        said.push(Said::text(facts::SUBSCRIPTION, filter, state.id.0));
        if let Some((_, Some(membership))) = known {
            said.push(Said::text(facts::OF_GROUP, membership.group.to_string(), 0));
        }
        if let Some(slot) = state.stream {
            let name = self.streams.get(&slot).map_or_else(String::new, |(def, _)| def.name.to_string());
            said.push(Said::text(facts::OF_STREAM, name, 0));
        }
        said.push(Said::text(facts::POLICY, policy(state.policy).to_owned(), 0));
        let left = |credit: i64| u64::try_from(credit).unwrap_or(0);
        said.push(Said::number(facts::CREDIT_EVENTS, left(state.credit.0)));
        said.push(Said::number(facts::CREDIT_BYTES, left(state.credit.1)));
        let past = state.past;
        if state.credit.0 <= 0 || state.credit.1 <= 0 {
            said.push(Said::number(facts::NO_CREDIT_SINCE, past.dry));
        }
        said.push(Said::number(facts::QUEUE, state.queue));
        if state.waiting > 0 {
            said.push(Said::number(facts::WAITING, state.waiting));
            let waited = state.oldest.map_or(0, |since| nanos(self.now.mono.since(since)));
            said.push(Said::number(facts::WAITED, waited));
        }
        if past.lost > 0 {
            let reason = past.lost_for.map_or("", |reason| reason.name()).to_owned();
            said.push(Said::text(facts::LOST, reason, past.lost));
        }
        if state.is_gate_closed {
            said.push(Said::number(facts::GATE_CLOSED, 1));
        }
        said.push(Said::number(facts::GOT, past.got));
        if past.got > 0 {
            said.push(Said::number(facts::GOT_AT, past.got_at));
        }
    }
}

fn facts_of_consumer(consumer: &ConsumerState, said: &mut Vec<Said>) {
    let ConsumerState { definition, report, .. } = consumer;
    said.push(Said::text(facts::IS_CONSUMER, consumer.whole_name(), 0));
    said.extend(definition.filters.iter().map(|filter| Said::text(facts::FILTER, filter.clone(), 0)));
    if !definition.predicate.is_empty() {
        said.push(Said::text(facts::PREDICATE, definition.predicate.clone(), 0));
    }
    said.push(Said::text(facts::MODE, mode(report.mode).to_owned(), 0));
    if let Some(UnixNanos(until)) = report.paused_until {
        said.push(Said::number(facts::PAUSED_UNTIL, until));
    }
    for member in &report.members {
        let name = if member.token == 0 { facts::IDLE_MEMBER } else { facts::MEMBER };
        said.push(Said::text(name, member.name.clone(), member.in_flight));
    }
    said.push(Said::number(facts::UNSETTLED, report.in_flight + report.waiting + report.dying));
    said.push(Said::number(facts::UNSETTLED_MOST, definition.max_in_flight.into()));
    said.push(Said::number(facts::LAG, report.lag));
    if report.counts.filtered > 0 {
        said.push(Said::number(facts::FILTERED, report.counts.filtered));
    }
}

impl ConsumerState {
    fn whole_name(&self) -> String {
        format!("{}/{}", self.stream, self.definition.name)
    }
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Shared => "shared",
        Mode::Exclusive => "exclusive",
        Mode::Keyed => "keyed",
    }
}

/// A policy as it is written on the command line.
fn policy(policy: OnFull) -> &'static str {
    match policy {
        OnFull::DropOldest => "drop-oldest",
        OnFull::DropNewest => "drop-newest",
        OnFull::Disconnect => "disconnect",
        OnFull::Wait => "wait",
        OnFull::Conflate => "conflate",
        OnFull::Spill => "spill",
    }
}
