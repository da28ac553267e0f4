//! Who publishes what: the topics that each session of a client has named, for
//! questions.
//!
//! On the path of a block: the last topic is compared first, then a hash is looked
//! up, seeded so that nobody can choose topics that meet; nothing is allocated but
//! where a session names a topic for the first time. It ends with its session.
//! Bounded: half of `limits.topics` topics of all sessions together, half of that of
//! one, and [`NAME`] bytes of names for each on average. What there is no room for is
//! published all the same, and the answer says that something is missing.
//!
//! A question walks over all of it, [`STEPS`] in a turn, so that no publisher waits for
//! it: it costs about what as many blocks would.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::BuildHasherDefault;

use weft_base::UnixNanos;
use weft_govern::access::Principal;
use weft_topic::Topic;
use weft_wire::block::{Block, MAX_EVENTS};
use weft_wire::reply::is_reserved;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::rights::Same;
use super::{NetStage, Role};
use crate::messages::{SessionId, ToConductor};
use crate::see::topics::{MOST_PUBLISHERS, Publisher, TopicRow, TopicsLook};

/// Bytes of names that there is room for, for each topic that there is room for.
const NAME: usize = 48;
/// Sessions and topics that are looked at in one turn.
const STEPS: usize = 1_024;
/// Questions that are under way; of more the oldest is given up, and not answered.
const MOST: usize = 16;

/// A topic that a session has named.
#[derive(Clone, Copy, Debug)]
struct Named {
    /// Where its name is.
    start: u32,
    len: u32,
    /// Events that it published of it.
    events: u64,
    /// When last.
    at: UnixNanos,
}

/// The topics of a session.
#[derive(Debug, Default)]
pub(crate) struct Published {
    /// The names, one behind the other.
    names: String,
    /// In the order in which they were named.
    topics: Vec<Named>,
    by_hash: HashMap<u64, u32, BuildHasherDefault<Same>>,
    last: usize,
    /// There was no room for one.
    is_cut: bool,
}

/// What all sessions together have, and the questions about it.
#[derive(Debug)]
pub(super) struct Publishing {
    seed: u64,
    /// Topics that there is room for.
    most: usize,
    topics: usize,
    bytes: usize,
    looks: VecDeque<Walk>,
}

impl Publishing {
    /// Of the hub's limit for topics.
    pub(super) fn new(seed: u64, limit: usize) -> Self {
        Self { seed, most: limit / 2, topics: 0, bytes: 0, looks: VecDeque::new() }
    }

    fn has_room(&self, own: usize, name: usize) -> bool {
        self.topics < self.most && own < self.most / 2 && self.bytes + name <= self.most.saturating_mul(NAME)
    }

    /// A session has ended.
    pub(super) fn ended(&mut self, published: &Published) {
        self.topics -= published.topics.len();
        self.bytes -= published.names.len();
    }
}

impl Published {
    /// A block that was not checked yet goes in.
    #[inline]
    pub(super) fn note(&mut self, block: Block<'_>, all: &mut Publishing, now: UnixNanos) {
        let topic = block.topic();
        let is_last = self.topics.get(self.last).is_some_and(|last| self.name(last) == topic);
        if !is_last {
            match self.find(topic, all) {
                Some(at) => self.last = at,
                None => return,
            }
        }
        if let Some(named) = self.topics.get_mut(self.last) {
            named.events += u64::from(block.event_count().min(MAX_EVENTS));
            named.at = now;
        }
    }

    fn name(&self, named: &Named) -> &str {
        let start = named.start as usize;
        self.names.get(start..start + named.len as usize).unwrap_or_default()
    }

    /// Where a topic is; it is taken in where it is not there yet and there is room.
    fn find(&mut self, topic: &str, all: &mut Publishing) -> Option<usize> {
        // What is reserved, replies above all, is not what somebody looks for.
        if is_reserved(topic) {
            return None;
        }
        let hash = xxh3_64_with_seed(topic.as_bytes(), all.seed);
        if let Some(at) = self.by_hash.get(&hash).map(|at| *at as usize) {
            return self.topics.get(at).is_some_and(|known| self.name(known) == topic).then_some(at);
        }
        self.take_in(topic, hash, all)
    }

    #[cold]
    fn take_in(&mut self, topic: &str, hash: u64, all: &mut Publishing) -> Option<usize> {
        // It is refused for its topic.
        Topic::parse(topic).ok()?;
        if !all.has_room(self.topics.len(), topic.len()) {
            self.is_cut = true;
            return None;
        }
        let at = self.topics.len();
        // Neither can be more than the bounds: the topics that there is room for, and their names.
        let (place, start) = (u32::try_from(at).ok()?, u32::try_from(self.names.len()).ok()?);
        self.by_hash.insert(hash, place);
        self.topics.push(Named { start, len: u32::try_from(topic.len()).ok()?, events: 0, at: UnixNanos(0) });
        self.names.push_str(topic);
        all.topics += 1;
        all.bytes += topic.len();
        Some(at)
    }
}

/// A session that publishes a topic.
#[derive(Clone, Copy, Debug)]
struct By {
    session: SessionId,
    events: u64,
    at: UnixNanos,
}

/// What was found of a topic.
#[derive(Debug, Default)]
struct Found {
    sessions: u64,
    most: Vec<By>,
}

/// A session, as a question sees it.
struct Session<'a> {
    id: SessionId,
    name: &'a str,
    principal: Option<&'a Principal>,
    published: &'a Published,
}

/// A question on its way over all sessions.
#[derive(Debug)]
struct Walk {
    look: Box<TopicsLook>,
    /// Where it goes on: a place, the session there, and a topic of it.
    slot: usize,
    session: Option<SessionId>,
    topic: usize,
    /// The first in order of name, at most as many as were asked for.
    found: BTreeMap<Box<str>, Found>,
}

impl Walk {
    fn new(look: Box<TopicsLook>) -> Self {
        Self { look, slot: 0, session: None, topic: 0, found: BTreeMap::new() }
    }

    /// Goes on, so many steps at most: each place of a session, and each topic, is one.
    /// Answers whether it is at the end.
    fn go_on<'a>(&mut self, places: usize, session: impl Fn(usize) -> Option<Session<'a>>, mut steps: usize) -> bool {
        while self.slot < places {
            if steps == 0 {
                return false;
            }
            if let Some(at) = session(self.slot) {
                if self.session != Some(at.id) {
                    (self.session, self.topic) = (Some(at.id), 0);
                    self.look.untold += u64::from(at.published.is_cut);
                }
                let rest = at.published.topics.get(self.topic..).unwrap_or_default();
                let looked = rest.len().min(steps);
                for named in rest.iter().take(looked) {
                    self.take(at.published.name(named), By { session: at.id, events: named.events, at: named.at });
                }
                (self.topic, steps) = (self.topic + looked, steps - looked);
                if looked < rest.len() {
                    return false;
                }
            }
            (self.slot, steps) = (self.slot + 1, steps.saturating_sub(1));
        }
        // Then what those are called that were found. Who comes now comes too late.
        self.slot = usize::MAX;
        while let Some((topic, found)) = self.found.pop_first() {
            let publisher = |by: &By| {
                let at = session(by.session.slot()).filter(|at| at.id == by.session)?;
                let (client, principal) = (at.name.to_owned(), at.principal.map(ToString::to_string));
                Some(Publisher { client, principal: principal.unwrap_or_default(), events: by.events, at: by.at })
            };
            let publishers: Vec<Publisher> = found.most.iter().filter_map(publisher).collect();
            let cost = 1 + publishers.len();
            self.look.rows.push(TopicRow { topic: topic.into(), sessions: found.sessions, publishers });
            match steps.checked_sub(cost) {
                Some(left) => steps = left,
                None => return self.found.is_empty(),
            }
        }
        true
    }

    fn take(&mut self, topic: &str, by: By) {
        let look = &self.look;
        if topic <= &*look.after {
            return;
        }
        let is_behind = self.found.len() >= look.most && self.found.last_key_value().is_some_and(|(l, _)| topic > &**l);
        if (is_behind && look.more) || !look.wants(topic) {
            return;
        }
        if is_behind {
            self.look.more = true;
            return;
        }
        match self.found.get_mut(topic) {
            Some(found) => found.add(by),
            None => {
                let mut found = Found::default();
                found.add(by);
                self.found.insert(topic.into(), found);
                if self.found.len() > self.look.most {
                    self.found.pop_last();
                    self.look.more = true;
                }
            }
        }
    }
}

impl Found {
    /// Of many sessions those that published most are told of.
    fn add(&mut self, by: By) {
        self.sessions += 1;
        let at = self.most.partition_point(|other| other.events >= by.events);
        if at < MOST_PUBLISHERS {
            self.most.insert(at, by);
            self.most.truncate(MOST_PUBLISHERS);
        }
    }
}

impl NetStage {
    /// Somebody asks who publishes what.
    pub(super) fn on_topics(&mut self, look: Box<TopicsLook>) {
        if self.publishing.looks.len() >= MOST {
            self.publishing.looks.pop_front();
        }
        self.publishing.looks.push_back(Walk::new(look));
    }

    /// Goes on with questions, a bounded share. Answers whether there are any.
    pub(super) fn tend_topics(&mut self) -> usize {
        let Some(walk) = self.publishing.looks.front_mut() else { return 0 };
        let connections = &self.connections;
        let session = |slot: usize| {
            let connection = connections.get(slot)?.as_ref();
            let connection = connection.filter(|c| matches!(c.role, Role::Client) && !c.closing)?;
            Some(Session {
                id: connection.id,
                name: &connection.name,
                principal: connection.principal.as_deref(),
                published: &connection.published,
            })
        };
        if walk.go_on(connections.len(), session, STEPS)
            && let Some(walk) = self.publishing.looks.pop_front()
        {
            self.out.conductor.push(ToConductor::Topics(walk.look));
        }
        1
    }
}

#[cfg(test)]
mod tests;
