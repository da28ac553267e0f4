//! What hubs said of a subscriber, put in order: its sessions, streams and
//! consumers, and what the hub of entry knows of the way to a hub.

use weft_client::{Fact, HubSaid, facts};

/// The names of facts that begin something of which those behind them speak.
const HEADS: [&str; 7] = [
    facts::CLIENT,
    facts::SUBSCRIPTION,
    facts::OF_CONSUMER,
    facts::IS_STREAM,
    facts::IS_CONSUMER,
    facts::ALIKE,
    // The first of what becomes of the topic.
    facts::LOCAL,
];

/// A fact and those that speak of the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    pub(super) head: &'a Fact,
    rest: &'a [Fact],
}

impl<'a> Part<'a> {
    pub(super) fn fact(&self, name: &str) -> Option<&'a Fact> {
        self.rest.iter().find(|fact| fact.name == name)
    }

    pub(super) fn all(&self, name: &'a str) -> impl Iterator<Item = &'a Fact> + use<'a> {
        self.rest.iter().filter(move |fact| fact.name == name)
    }

    pub(super) fn number(&self, name: &str) -> u64 {
        self.fact(name).map_or(0, |fact| fact.value)
    }

    pub(super) fn text(&self, name: &str) -> &'a str {
        self.fact(name).map_or("", |fact| &fact.text)
    }
}

/// The parts of what a hub said.
pub(super) fn parts(said: &HubSaid) -> Vec<Part<'_>> {
    let is_head = |fact: &Fact| HEADS.contains(&fact.name.as_str());
    let starts: Vec<usize> = (0..said.facts.len()).filter(|at| said.facts.get(*at).is_some_and(is_head)).collect();
    let ends = starts.iter().skip(1).copied().chain([said.facts.len()]);
    let part = |(start, end): (&usize, usize)| {
        let (head, rest) = said.facts.get(*start..end)?.split_first()?;
        Some(Part { head, rest })
    };
    starts.iter().zip(ends).filter_map(part).collect()
}

/// A subscription, and whose it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subscription<'a> {
    pub(super) hub: &'a HubSaid,
    pub(super) client: &'a str,
    pub(super) part: Part<'a>,
}

/// All that hubs know of the subscriber.
#[derive(Debug, Default)]
pub(super) struct Found<'a> {
    /// Sessions, whether they subscribe to anything or not.
    pub(super) clients: Vec<(&'a HubSaid, &'a str)>,
    pub(super) subscriptions: Vec<Subscription<'a>>,
    /// Consumers that its sessions are members of.
    pub(super) member_of: Vec<(&'a HubSaid, &'a str, &'a str)>,
    pub(super) streams: Vec<(&'a HubSaid, Part<'a>)>,
    pub(super) consumers: Vec<(&'a HubSaid, Part<'a>)>,
    pub(super) alike: Vec<(&'a HubSaid, &'a str)>,
}

impl<'a> Found<'a> {
    /// Of the hubs that `counts` is true of.
    pub(super) fn of(said: &'a [HubSaid], counts: impl Fn(&HubSaid) -> bool) -> Self {
        let mut found = Self::default();
        for hub in said.iter().filter(|hub| hub.answered && counts(hub)) {
            let mut client = "";
            for part in parts(hub) {
                let text = part.head.text.as_str();
                match part.head.name.as_str() {
                    facts::CLIENT => {
                        client = text;
                        found.clients.push((hub, client));
                    }
                    facts::SUBSCRIPTION => found.subscriptions.push(Subscription { hub, client, part }),
                    facts::OF_CONSUMER => found.member_of.push((hub, client, text)),
                    facts::IS_STREAM => found.streams.push((hub, part)),
                    facts::IS_CONSUMER => found.consumers.push((hub, part)),
                    facts::ALIKE => found.alike.push((hub, text)),
                    _ => {}
                }
            }
        }
        found
    }

    /// The streams of a name.
    pub(super) fn streams_named(&self, name: &str) -> impl Iterator<Item = (&'a HubSaid, Part<'a>)> {
        self.streams.iter().filter(move |(_, part)| part.head.text == name).copied()
    }
}

/// Whether the hub of entry would send the event to a hub; and then whether that is to store it.
pub(super) fn sends(entry: &HubSaid, to: &str) -> Option<bool> {
    entry.all(facts::TO).find(|fact| fact.text == to).map(|fact| fact.value > 0)
}

/// What the hub of entry knows of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known<'a> {
    /// The version of its interest.
    pub(super) interest: u64,
    /// The neighbour on the way, and how many links it has.
    pub(super) via: &'a str,
    pub(super) hops: u64,
    /// The round trips of the way, added up, in nanoseconds.
    pub(super) rtt_ns: u64,
}

/// What the hub of entry knows of another one that it has a way to.
pub(super) fn known<'a>(entry: &'a HubSaid, hub: &str) -> Option<Known<'a>> {
    let at = entry.facts.iter().position(|fact| fact.name == facts::INTEREST && fact.text == hub)?;
    let [interest, rest @ ..] = entry.facts.get(at..)? else { return None };
    let mut known = Known { interest: interest.value, via: "", hops: 0, rtt_ns: 0 };
    for fact in rest.iter().take_while(|fact| fact.name == facts::VIA || fact.name == facts::WAY_RTT) {
        match fact.name.as_str() {
            facts::VIA => (known.via, known.hops) = (&fact.text, fact.value),
            _ => known.rtt_ns = fact.value,
        }
    }
    Some(known)
}

/// Pairs of facts, the second of which speaks of the first.
pub(super) fn pairs<'a>(
    hub: &'a HubSaid,
    first: &'a str,
    second: &'a str,
) -> impl Iterator<Item = (&'a Fact, &'a Fact)> {
    hub.facts.windows(2).filter_map(move |pair| match pair {
        [a, b] if a.name == first && b.name == second => Some((a, b)),
        _ => None,
    })
}
