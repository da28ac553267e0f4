//! Where events went: questions to all hubs of the mesh, and what they say.

use std::time::Duration;

use weft_base::{Epoch, HubId, ProducerId};
use weft_wire::frame::{Ask, Frame, HubTold, SeeWhat, Survey, TopicPage, WhyNot};

pub use weft_wire::frame::{facts, surveyed};

use crate::client::Client;
use crate::error::RequestError;
use crate::report::Reply;

/// The most hubs that an answer has.
pub(crate) const MOST_HUBS: usize = 4_096;

/// What the mesh is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Each hub's ledger, and that of each class of topics.
    Ledger,
    /// How much flows through each hub, as counts since its start, and where it is:
    /// asked twice, the difference is what flowed in between.
    Pulse,
    /// All counters of one hub; the others answer without any.
    Counters(HubId),
    /// What became of an event that entered the mesh at this hub, in this life of
    /// it (0: in any), with this sequence there.
    Event {
        /// The hub.
        origin: HubId,
        /// Its life.
        epoch: Epoch,
        /// The event's sequence there.
        sequence: u64,
    },
    /// What became of the event with this sequence of a producer.
    OfProducer {
        /// The producer.
        producer: ProducerId,
        /// The event's sequence there.
        sequence: u64,
    },
    /// Where an event of this topic would go from each hub.
    Topic(String),
    /// Which topics clients of each hub publish now, in order of name, and who does. Of
    /// each hub at most 200; [`facts::MORE`] says that there are others behind the last.
    Topics {
        /// A filter that they match; empty for all.
        filter: String,
        /// What their names contain; empty for all.
        search: String,
        /// Those behind this one; empty from the first on.
        after: String,
        /// So many of each hub at most; 0 for as many as it gives.
        most: u32,
    },
    /// What stands between an event of a topic and a subscriber.
    WhyNot {
        /// The topic.
        topic: String,
        /// The name of a client, a stream or a consumer.
        subscriber: String,
        /// The hub where the event would enter the mesh; none for that of the client.
        from: Option<HubId>,
    },
}

/// One thing that a hub says; [`facts`] has the names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What it is about.
    pub name: String,
    /// In words, where it is not a number.
    pub text: String,
    /// A number, a time in Unix nanoseconds, or an id.
    pub value: u64,
}

/// What one hub says, or that it did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubSaid {
    /// The hub.
    pub hub: HubId,
    /// Its name.
    pub name: String,
    /// Whether it answered in time.
    pub answered: bool,
    /// How long question and answer took.
    pub took: Duration,
    /// How far its clock seemed ahead of that of the hub that was asked, in
    /// nanoseconds, give or take half of `took`.
    pub ahead_ns: i64,
    /// What it says.
    pub facts: Vec<Fact>,
}

impl HubSaid {
    pub(crate) fn of(told: &HubTold<'_>) -> Self {
        let fact = |fact: &weft_wire::frame::Fact<'_>| Fact {
            name: fact.name.to_owned(),
            text: fact.text.to_owned(),
            value: fact.value,
        };
        Self {
            hub: told.hub,
            name: told.name.to_owned(),
            answered: told.answered,
            took: Duration::from_nanos(told.took_ns),
            ahead_ns: told.ahead_ns,
            facts: told.facts.iter().map(fact).collect(),
        }
    }

    /// The first fact of a name.
    #[must_use]
    pub fn fact(&self, name: &str) -> Option<&Fact> {
        self.facts.iter().find(|fact| fact.name == name)
    }

    /// Its number; 0 when the hub does not say.
    #[must_use]
    pub fn number(&self, name: &str) -> u64 {
        self.fact(name).map_or(0, |fact| fact.value)
    }

    /// All facts of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Fact> {
        self.facts.iter().filter(move |fact| fact.name == name)
    }

    /// When something happened there, by the clock of the hub that was asked, in
    /// Unix nanoseconds; none when the hub does not say.
    #[must_use]
    pub fn time(&self, name: &str) -> Option<u64> {
        let there = self.number(name);
        (there > 0).then(|| there.saturating_add_signed(self.ahead_ns.saturating_neg()))
    }
}

impl Client {
    /// Asks all hubs of the mesh, and waits for their answers as long as this,
    /// ten seconds at most. Hubs that say nothing are among the answers. The first
    /// is that of the client's own hub, but of [`Question::WhyNot`] and
    /// [`Question::Topics`], for which it has to ask its own stages.
    ///
    /// # Errors
    /// [`RequestError`]; a hub that says nothing is none.
    pub async fn ask_mesh(&self, question: &Question, wait: Duration) -> Result<Vec<HubSaid>, RequestError> {
        let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        let none = Ask {
            request: 0,
            what: SeeWhat::Ledger,
            wait_ms,
            topic: "",
            origin: HubId(0),
            epoch: Epoch(0),
            producer: ProducerId(0),
            sequence: 0,
            page: TopicPage::default(),
        };
        let asked = match *question {
            Question::Ledger => none,
            Question::Pulse => Ask { what: SeeWhat::Pulse, ..none },
            Question::Counters(origin) => Ask { what: SeeWhat::Counters, origin, ..none },
            Question::Event { origin, epoch, sequence } => {
                Ask { what: SeeWhat::Event, origin, epoch, sequence, ..none }
            }
            Question::OfProducer { producer, sequence } => Ask { what: SeeWhat::Event, producer, sequence, ..none },
            Question::Topic(ref topic) => Ask { what: SeeWhat::Topic, topic, ..none },
            Question::Topics { ref filter, ref search, ref after, most } => {
                let page = TopicPage { search, after, most };
                Ask { what: SeeWhat::Topics, topic: filter, page, ..none }
            }
            Question::WhyNot { ref topic, ref subscriber, from } => {
                let from = from.unwrap_or_default();
                let asked = |request| Frame::WhyNot(WhyNot { request, wait_ms, from, topic, subscriber });
                return seen(self.ask(asked).await?);
            }
        };
        seen(self.ask(|request| Frame::Ask(Ask { request, ..asked })).await?)
    }

    /// Asks the client's hub how it sees the mesh, with all that ways are found
    /// by and what is wanted where: [`surveyed`] names the facts. Every hub that it
    /// knows of is there once; one out of reach has not `answered`.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn survey(&self) -> Result<Vec<HubSaid>, RequestError> {
        match self.ask(|request| Frame::Survey(Survey { request })).await? {
            Reply::Seen(said) => Ok(together(said)),
            _ => Err(RequestError::Unexpected { expected: "what the hub knows of others" }),
        }
    }
}

/// What was said in parts of one hub, in one.
fn together(said: Vec<HubSaid>) -> Vec<HubSaid> {
    let mut hubs: Vec<HubSaid> = Vec::new();
    for part in said {
        match hubs.last_mut().filter(|last| last.hub == part.hub) {
            Some(last) => last.facts.extend(part.facts),
            None => hubs.push(part),
        }
    }
    hubs
}

fn seen(reply: Reply) -> Result<Vec<HubSaid>, RequestError> {
    match reply {
        Reply::Seen(said) => Ok(said),
        _ => Err(RequestError::Unexpected { expected: "what hubs say" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_hub_in_parts_becomes_one() {
        let part = |hub: u64, facts: &[&str]| HubSaid {
            hub: HubId(hub),
            name: hub.to_string(),
            answered: true,
            took: Duration::ZERO,
            ahead_ns: 0,
            facts: facts.iter().map(|f| Fact { name: surveyed::WANTS.into(), text: (*f).into(), value: 0 }).collect(),
        };
        let said = together(vec![part(1, &["a", "b"]), part(1, &["c"]), part(2, &["d"])]);
        assert_eq!(said, [part(1, &["a", "b", "c"]), part(2, &["d"])]);
    }

    #[test]
    fn times_are_told_by_the_clock_of_the_hub_that_was_asked() {
        let fact = |name: &str, value| Fact { name: name.to_owned(), text: String::new(), value };
        let said = HubSaid {
            hub: HubId(1),
            name: "east".to_owned(),
            answered: true,
            took: Duration::ZERO,
            ahead_ns: 300,
            facts: vec![fact(facts::ROUTED_AT, 1_000)],
        };
        assert_eq!((said.time(facts::ROUTED_AT), said.time(facts::SENT_AT)), (Some(700), None));
        let behind = HubSaid { ahead_ns: -300, ..said };
        assert_eq!(behind.time(facts::ROUTED_AT), Some(1_300));
    }
}
