//! How a subscriber stands here, for who asks why it does not get something.
//!
//! One box goes from the conductor to the net stage, on to the consume stage and
//! back, and each puts in what it knows; so nothing is kept up for questions that
//! nobody asks. Bounded: so many sessions, subscriptions and consumers.

use weft_base::{HubId, Mono, SubscriptionId};
use weft_mesh::ledger::DropReason;
use weft_stream::consumer::Report;
use weft_wire::frame::OnFull;

use crate::consume::Definition;
use crate::messages::{SessionId, StreamSlot, Target};

/// Sessions, consumers, and subscriptions of a session, that are told of.
pub(crate) const MOST: usize = 64;
/// Names that are told of because they are like the one that was asked for.
const MOST_ALIKE: usize = 8;

/// Who wants to know.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asker {
    /// A client of this hub, by the number of its question.
    Here(u64),
    /// Another hub, by its number of the question.
    Hub(HubId, u64),
}

/// The question on its way, and what was said to it.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// The conductor's number of it.
    pub(crate) number: u64,
    /// The name that is looked for.
    pub(crate) name: String,
    /// Sessions that count under that name, whatever they call themselves.
    pub(crate) sessions: Vec<SessionId>,
    pub(crate) clients: Vec<ClientState>,
    pub(crate) consumers: Vec<ConsumerState>,
    pub(crate) alike: Vec<String>,
}

/// A session of a client.
#[derive(Debug)]
pub(crate) struct ClientState {
    pub(crate) session: SessionId,
    pub(crate) name: String,
    pub(crate) subscriptions: Vec<SubscriberState>,
    /// Its subscriptions that are members of consumers.
    pub(crate) members: Vec<SubscriptionId>,
}

/// A subscription, as the net stage knows it.
#[derive(Debug)]
pub(crate) struct SubscriberState {
    pub(crate) id: SubscriptionId,
    /// It reads this stream.
    pub(crate) stream: Option<StreamSlot>,
    pub(crate) policy: OnFull,
    /// Events and bytes that it may still be sent.
    pub(crate) credit: (i64, i64),
    pub(crate) waiting: u64,
    pub(crate) oldest: Option<Mono>,
    /// The bound of what may wait, in events.
    pub(crate) queue: u64,
    pub(crate) is_gate_closed: bool,
    pub(crate) past: Past,
}

/// What became of what was for a subscription.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Past {
    /// Events that it was sent, and when last, in Unix nanoseconds.
    pub(crate) got: u64,
    pub(crate) got_at: u64,
    /// Since when it has no credit, in Unix nanoseconds; 0 while it has some.
    pub(crate) dry: u64,
    /// Events that were dropped, and why the last of them.
    pub(crate) lost: u64,
    pub(crate) lost_for: Option<DropReason>,
}

impl Past {
    /// Events were dropped.
    pub(crate) fn lost(&mut self, events: u64, reason: DropReason) {
        self.lost += events;
        self.lost_for = Some(reason);
    }

    /// Events were sent.
    pub(crate) fn sent(&mut self, events: u64, now: u64) {
        self.got += events;
        self.got_at = now;
    }

    /// Whether there is credit, at this time.
    pub(crate) fn credit(&mut self, has_credit: bool, now: u64) {
        match (has_credit, self.dry) {
            (true, _) => self.dry = 0,
            (false, 0) => self.dry = now,
            (false, _) => {}
        }
    }
}

/// A consumer at this hub.
#[derive(Debug)]
pub(crate) struct ConsumerState {
    pub(crate) stream: String,
    pub(crate) definition: Definition,
    pub(crate) report: Report,
    /// Which subscriptions are its members.
    pub(crate) targets: Vec<Target>,
}

impl Look {
    /// A name that is there: noted when it is like the one that is looked for and is not it.
    pub(crate) fn note(&mut self, name: &str) {
        if self.alike.len() < MOST_ALIKE && name != self.name && is_like(name, &self.name) {
            let name = name.to_owned();
            if !self.alike.contains(&name) {
                self.alike.push(name);
            }
        }
    }

    /// Whether a session is one that is looked for.
    pub(crate) fn wants(&self, session: SessionId, name: &str) -> bool {
        name == self.name || self.sessions.contains(&session)
    }
}

/// Whether somebody who writes one of these may have meant the other: one is
/// part of the other, whatever the case, or two letters are wrong at most.
fn is_like(a: &str, b: &str) -> bool {
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    if a.is_empty() || b.is_empty() {
        return false;
    }
    a.contains(&b) || b.contains(&a) || distance(&a, &b) <= 2
}

/// The edit distance, as far as it is at most 2 (Wagner and Fischer, "The
/// String-to-String Correction Problem", 1974); names are short.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (at, from) in a.chars().take(64).enumerate() {
        let mut before = std::mem::replace(&mut row[0], at + 1);
        for (to, other) in b.iter().enumerate() {
            let change = before + usize::from(from != *other);
            before = row[to + 1];
            row[to + 1] = change.min(before + 1).min(row[to] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_somebody_may_have_meant_are_noted_and_others_are_not() {
        let mut look = Look { name: "billing".to_owned(), ..Look::default() };
        for name in ["billing", "biling", "Billing-2", "bill", "shipping", "x", ""] {
            look.note(name);
            look.note(name);
        }
        assert_eq!(look.alike, ["biling", "Billing-2", "bill"]);
        (0..40).for_each(|n| look.note(&format!("billing-{n}")));
        assert_eq!(look.alike.len(), MOST_ALIKE);
        assert_eq!((distance("kitten", "sitting"), distance("", "ab"), distance("ab", "ab")), (3, 2, 0));
    }
}
