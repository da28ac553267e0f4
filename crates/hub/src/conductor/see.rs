//! Where did it go? A client asks its hub, that asks all others, and passes on
//! what they say as it comes.
//!
//! Questions and answers between hubs are the same frames as between a client
//! and its hub, and go as messages to the other hub's tunnel: a hub of an
//! earlier version does not know them there and says nothing, which is what is
//! told of it. A lost message is a hub that did not answer. Bounded: so many
//! questions are open at a time, each for so long.

use std::collections::BTreeMap;
use std::time::Duration;

use weft_base::{HubId, Mono, Now};
use weft_ring::arena::BlockRef;
use weft_topic::Topic;
use weft_wire::frame::{self, Ask, ErrorCode, Fact, Frame, HubTold, SeeWhat, Told, WhyNot, facts};
use weft_wire::peer::Service;

use super::Conductor;
use super::report::nanos;
use super::why_not::Looks;
use crate::mapping::Outcome;
use crate::messages::{SessionId, ToNet, ToRoute};
use crate::net::tunnel::see_message;
use crate::route::homes::Chosen;
use crate::route::peers::most_bytes;
use crate::route::table::Spread;
use crate::see::facts::{Said, of_counters, of_event, of_ledger, of_pulse};
use crate::see::look::Asker;
use crate::see::window::EventName;

/// Questions that are open at a time.
const MOST: usize = 64;
/// How long answers are waited for where the question does not say.
const WAIT: Duration = Duration::from_secs(1);
/// The longest time that they are.
const LONGEST: Duration = Duration::from_secs(10);

/// A question of a client that others have still to answer.
struct Open {
    session: SessionId,
    request: u64,
    asked: Now,
    until: Mono,
    waiting: BTreeMap<HubId, String>,
    /// Those that cannot be reached.
    silent: BTreeMap<HubId, String>,
}

/// The open questions, by the number that other hubs know them by.
#[derive(Default)]
pub(super) struct Asks {
    last: u64,
    open: BTreeMap<u64, Open>,
    /// Subscribers that are being looked for.
    pub(super) looks: Looks,
}

impl Asks {
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.open.values().map(|open| open.until).min()
    }
}

impl Conductor {
    /// A client asks.
    pub(super) fn ask(&mut self, session: SessionId, bytes: &BlockRef) {
        match Frame::decode(bytes) {
            Ok(Frame::Ask(ask)) if ask.what == SeeWhat::Topics => self.ask_for_topics(session, ask),
            Ok(Frame::Ask(ask)) => {
                // A topic is mapped where it enters the mesh, and the others know what it became.
                let (mapped, topic) = match ask.what {
                    SeeWhat::Topic => self.mapped(ask.topic),
                    SeeWhat::Event | SeeWhat::Ledger | SeeWhat::Pulse | SeeWhat::Counters | SeeWhat::Topics => {
                        (Vec::new(), ask.topic.to_owned())
                    }
                };
                let ask = Ask { topic: &topic, ..ask };
                let own = |hub: &mut Self, _| {
                    let mut own = hub.facts_for(&ask);
                    own.truncate(frame::MAX_FACTS - mapped.len());
                    own.extend(mapped);
                    Some(own)
                };
                self.open(session, ask.request, ask.wait_ms, |request| Frame::Ask(Ask { request, ..ask }), own);
            }
            Ok(Frame::WhyNot(asked)) => {
                let from = if asked.from.0 == 0 { self.identity.id } else { asked.from };
                let (mapped, topic) = self.entering(from, asked.topic);
                let asked = WhyNot { topic: &topic, from, ..asked };
                let own = |hub: &mut Self, number| {
                    hub.look(Asker::Here(number), asked, mapped);
                    None
                };
                let build = |request| Frame::WhyNot(WhyNot { request, ..asked });
                self.open(session, asked.request, asked.wait_ms, build, own);
            }
            _ => {}
        }
    }

    /// Sends a question to all hubs. `own` says what this hub says to it, or
    /// nothing when it has to look first.
    pub(super) fn open<'f>(
        &mut self,
        session: SessionId,
        request: u64,
        wait_ms: u32,
        build: impl FnOnce(u64) -> Frame<'f>,
        own: impl FnOnce(&mut Self, u64) -> Option<Vec<Said>>,
    ) {
        if self.asks.open.len() >= MOST {
            let detail = format!("{MOST} questions to the mesh are open at this hub: ask again in a moment");
            let refusal = frame::ErrorFrame { request, code: ErrorCode::LIMIT, retry_after_ms: 1_000, detail: &detail };
            return self.control(session, &Frame::Error(refusal));
        }
        self.asks.last += 1;
        let number = self.asks.last;
        let (mut waiting, mut silent) = (BTreeMap::new(), BTreeMap::new());
        let name = self.identity.name.clone();
        match own(self, number) {
            Some(own) => self.pass_on(session, request, true, &[Answer::here(self.identity.id, &name, &own)]),
            None => _ = waiting.insert(self.identity.id, name),
        }
        let wait = if wait_ms == 0 { WAIT } else { Duration::from_millis(wait_ms.into()).min(LONGEST) };
        let mut question = Vec::new();
        frame::encode(&build(number), &mut question);
        for hub in self.mesh.report().hubs.into_iter().filter(|hub| hub.id != self.identity.id) {
            if hub.reachable {
                let bytes = see_message(&question);
                self.route.push(ToRoute::Peer { to: hub.id, service: Service::Tunnel, confined: false, bytes });
                waiting.insert(hub.id, hub.name);
            } else {
                silent.insert(hub.id, hub.name);
            }
        }
        let open = Open { session, request, asked: self.now, until: self.now.mono + wait, waiting, silent };
        self.asks.open.insert(number, open);
        self.tend_asks();
    }

    /// Another hub asks, or answers.
    pub(super) fn on_seen(&mut self, from: HubId, bytes: &BlockRef) {
        match Frame::decode(bytes) {
            Ok(Frame::Ask(ask)) if ask.what == SeeWhat::Topics => {
                self.look_for_topics(Asker::Hub(from, ask.request), &ask);
            }
            Ok(Frame::Ask(ask)) => {
                let own = self.facts_for(&ask);
                self.answer_hub(from, ask.request, &own);
            }
            Ok(Frame::WhyNot(asked)) => {
                // Who asks has not mapped it, for it enters here and not there.
                let (mapped, topic) = self.entering(asked.from, asked.topic);
                self.look(Asker::Hub(from, asked.request), WhyNot { topic: &topic, ..asked }, mapped);
            }
            Ok(Frame::Told(told)) => {
                let now = self.now;
                let Some(open) = self.asks.open.get_mut(&told.request) else { return };
                // One that says nothing has not answered.
                let Some(said) = told.hubs.into_iter().next() else { return };
                let Some(name) = open.waiting.remove(&from) else { return };
                let (session, request) = (open.session, open.request);
                let took_ns = nanos(now.mono.since(open.asked.mono));
                let clock = said.facts.iter().find(|fact| fact.name == facts::CLOCK).map(|fact| fact.value);
                let half_way = open.asked.wall.0.saturating_add(took_ns / 2);
                let ahead_ns = clock.map_or(0, |clock| clock.wrapping_sub(half_way).cast_signed());
                let said: Vec<Said> = said.facts.iter().map(Said::of).collect();
                let answer = Answer { took_ns, ahead_ns, ..Answer::here(from, &name, &said) };
                self.pass_on(session, request, true, &[answer]);
                self.tend_asks();
            }
            _ => {}
        }
    }

    /// Says to another hub what this one knows.
    pub(super) fn answer_hub(&mut self, to: HubId, request: u64, own: &[Said]) {
        let told = [Answer::here(self.identity.id, &self.identity.name, own)];
        let bytes = see_message(&encode(request, false, &told));
        self.route.push(ToRoute::Peer { to, service: Service::Tunnel, confined: false, bytes });
    }

    /// Says to a client of this hub what this one knows, once it has looked.
    pub(super) fn answer_here(&mut self, number: u64, own: &[Said]) {
        let Some(open) = self.asks.open.get_mut(&number) else { return };
        let Some(name) = open.waiting.remove(&self.identity.id) else { return };
        let (session, request) = (open.session, open.request);
        self.pass_on(session, request, true, &[Answer::here(self.identity.id, &name, own)]);
        self.tend_asks();
    }

    /// Ends the questions that all have answered, or whose time is over.
    pub(super) fn tend_asks(&mut self) {
        let now = self.now.mono;
        let over = |open: &Open| open.waiting.is_empty() || open.until <= now;
        let done: Vec<u64> = self.asks.open.iter().filter(|(_, open)| over(open)).map(|(number, _)| *number).collect();
        for number in done {
            let Some(Open { session, request, waiting, silent, .. }) = self.asks.open.remove(&number) else { continue };
            let told: Vec<_> = waiting
                .iter()
                .chain(&silent)
                .take(frame::MAX_FACTS)
                .map(|(hub, name)| Answer { answered: false, ..Answer::here(*hub, name, &[]) })
                .collect();
            self.pass_on(session, request, false, &told);
        }
    }

    pub(super) fn pass_on(&mut self, session: SessionId, request: u64, more: bool, told: &[Answer<'_>]) {
        let bytes = encode(request, more, told);
        self.net.push(ToNet::Control { session, bytes });
    }

    /// What this hub says; no more than a message between hubs holds.
    fn facts_for(&self, ask: &Ask<'_>) -> Vec<Said> {
        let mut said = vec![Said::number(facts::CLOCK, self.now.wall.0)];
        match ask.what {
            SeeWhat::Ledger => of_ledger(&self.counters, &mut said),
            SeeWhat::Pulse => {
                said.extend(self.lost().map(|name| Said::text(facts::MISSED, name, 1)));
                of_pulse(&self.counters, self.options.location, &mut said);
            }
            SeeWhat::Counters if ask.origin == self.identity.id => of_counters(&self.counters, &mut said),
            // The net stage knows.
            SeeWhat::Counters | SeeWhat::Topics => {}
            SeeWhat::Event => {
                let name = if ask.producer.0 == 0 {
                    EventName::Entry { origin: ask.origin, epoch: ask.epoch, sequence: ask.sequence }
                } else {
                    EventName::Producer { producer: ask.producer, sequence: ask.sequence }
                };
                let hub = |id: HubId| self.name_of_hub(id);
                let stream = |id: u64| {
                    let named = self.table.stream_names.iter().find(|(_, (stream, _))| stream.id == id);
                    named.map_or_else(|| format!("{id:x}"), |(name, _)| name.to_string())
                };
                of_event(&self.counters.window, name, hub, stream, &mut said);
            }
            SeeWhat::Topic => self.facts_of_topic(ask.topic, &mut said),
        }
        self.cut(&mut said);
        said
    }

    /// What is more than a message between hubs holds is left out.
    pub(super) fn cut(&self, said: &mut Vec<Said>) {
        said.truncate(fitting(said, self.fact_bytes(), frame::MAX_FACTS));
    }

    /// What facts may take of a message between hubs.
    pub(super) fn fact_bytes(&self) -> usize {
        most_bytes(self.options.limits.frame.as_usize()).saturating_sub(1_024)
    }

    /// The hub's name, or its id where none is known.
    pub(super) fn name_of_hub(&self, id: HubId) -> String {
        if id == self.identity.id {
            return self.identity.name.clone();
        }
        self.mesh.name_of(id).map_or_else(|| id.to_string(), str::to_owned)
    }

    /// What a topic becomes when a client publishes here, and the topic by which
    /// to look on: empty where nothing goes on.
    fn mapped(&self, topic: &str) -> (Vec<Said>, String) {
        let Ok(topic) = Topic::parse(topic) else { return (Vec::new(), topic.to_owned()) };
        let said = |(outcome, part)| match outcome {
            Outcome::Topic(name) => Said::text(facts::MAPPED, name, part),
            Outcome::Dropped => Said::text(facts::MAPPED, String::new(), part),
            Outcome::Refused(why) => Said::text(facts::UNMAPPABLE, why, part),
        };
        let mapping = &self.table.mapping;
        (mapping.preview(topic).into_iter().map(said).collect(), mapping.mostly(topic).unwrap_or_default())
    }

    /// The same of a topic that is published at this hub or another one, whose
    /// mapping that one alone knows.
    fn entering(&self, at: HubId, topic: &str) -> (Vec<Said>, String) {
        if at == self.identity.id { self.mapped(topic) } else { (Vec::new(), topic.to_owned()) }
    }

    /// Where an event that a client published here on this topic would go.
    pub(super) fn facts_of_topic(&self, topic: &str, said: &mut Vec<Said>) {
        let Ok(topic) = Topic::parse(topic) else { return };
        let table = &self.table;
        let residency = table.rules.rule(topic);
        let route = table.resolve(topic, residency, &mut Chosen::default());
        said.push(Said::number(facts::LOCAL, route.local.len() as u64));
        for (name, (stream, _)) in table.stream_names.iter() {
            if route.streams.contains(&stream.slot) {
                said.push(Said::text(facts::STREAM, name.to_string(), 0));
            }
        }
        for group in &route.groups {
            let name =
                self.groups.get(&group.group).map_or_else(|| format!("{:x}", group.group.0), |(n, _)| n.to_string());
            said.push(Said::text(facts::GROUP, name, group.local.len() as u64));
        }
        for id in route.spooled.iter() {
            said.push(Said::text(facts::TO_SPOOL, format!("{id:x}"), 0));
        }
        for remote in &route.remote {
            said.push(Said::text(facts::TO, self.name_of_hub(remote.hub), u64::from(remote.stream)));
            // Of what a stream there takes, each producer's has a way of its own.
            let path = match route.spread {
                Spread::Topic(way) => self.table.ways(residency).path_on(remote.hub, way),
                Spread::Producer(_) => self.table.ways(residency).path(remote.hub),
            };
            let (via, hops) = path.map_or((String::new(), 0), |path| (self.name_of_hub(path.via), path.hops.into()));
            said.push(Said::text(facts::VIA, via, hops));
            if let Some(path) = path {
                said.push(Said::number(facts::WAY_RTT, nanos(path.rtt)));
            }
        }
    }
}

/// What a hub says to a question.
pub(super) struct Answer<'a> {
    pub(super) hub: HubId,
    pub(super) name: &'a str,
    /// Whether it answered, or can be reached.
    pub(super) answered: bool,
    /// Until it had answered.
    pub(super) took_ns: u64,
    /// How far its clock seemed ahead.
    pub(super) ahead_ns: i64,
    pub(super) said: &'a [Said],
}

impl<'a> Answer<'a> {
    /// What this hub knows, or says of another: nobody had to be waited for.
    pub(super) const fn here(hub: HubId, name: &'a str, said: &'a [Said]) -> Self {
        Self { hub, name, answered: true, took_ns: 0, ahead_ns: 0, said }
    }
}

/// How many of these fit into a frame with so many bytes, of so many facts at most.
pub(super) fn fitting(said: &[Said], mut bytes: usize, most: usize) -> usize {
    let fits = said.iter().take(most).take_while(|fact| {
        bytes = bytes.saturating_sub(fact.cost());
        bytes > 0
    });
    fits.count()
}

fn encode(request: u64, more: bool, told: &[Answer<'_>]) -> Vec<u8> {
    let hubs = told.iter().map(told_of).collect();
    let mut bytes = Vec::new();
    frame::encode(&Frame::Told(Told { request, more, hubs }), &mut bytes);
    bytes
}

fn told_of<'a>(answer: &Answer<'a>) -> HubTold<'a> {
    let Answer { hub, name, answered, took_ns, ahead_ns, said } = *answer;
    // Names are cut: not all of what they are made of is this hub's.
    let fact = |said: &'a Said| Fact { name: frame_name(&said.name), text: &said.text, value: said.value };
    HubTold { hub, name: frame_name(name), answered, took_ns, ahead_ns, facts: said.iter().map(fact).collect() }
}

fn frame_name(name: &str) -> &str {
    name.get(..name.floor_char_boundary(frame::MAX_NAME)).unwrap_or(name)
}
