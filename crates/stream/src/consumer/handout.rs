//! What goes in and out of a consumer: blocks, events handed out, what members
//! say to them, and how it stands.

use std::time::Duration;

use weft_base::UnixNanos;
use weft_wire::block::Block;

use super::spec::Mode;

/// A member of a consumer, as its caller names it: never used again for
/// another one while the consumer lives.
pub type MemberId = u64;

/// What to read next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// Read the block that holds this sequence.
    pub from: u64,
    /// What is wanted ends here (exclusive); when absent the blocks that follow
    /// are of use too.
    pub upto: Option<u64>,
    /// It was read before: to be said when the block is offered.
    pub again: bool,
}

/// A block that was read.
#[derive(Clone, Copy, Debug)]
pub struct Offered<'a> {
    /// The stream sequence of its first event.
    pub first: u64,
    /// What it is.
    pub block: Block<'a>,
    /// What it costs of a member's credit, in bytes.
    pub len: usize,
}

/// Runs of events of one block: where each begins, counted from the block's
/// first event, and how many events it has. Up to six are kept without memory
/// of their own.
#[derive(Clone, Debug, Default)]
pub struct SmallRuns {
    few: [(u16, u16); 6],
    len: u8,
    many: Vec<(u16, u16)>,
}

impl SmallRuns {
    /// The runs, in order; none touches another.
    #[must_use]
    pub fn as_slice(&self) -> &[(u16, u16)] {
        if self.many.is_empty() { self.few.get(..usize::from(self.len)).unwrap_or_default() } else { &self.many }
    }

    /// How many events they have.
    #[must_use]
    pub fn events(&self) -> u32 {
        self.as_slice().iter().map(|(_, count)| u32::from(*count)).sum()
    }

    /// Adds a run after those that are there; one that touches the last
    /// lengthens it.
    pub fn push(&mut self, from: u16, count: u16) {
        let last = if self.many.is_empty() {
            usize::from(self.len).checked_sub(1).and_then(|at| self.few.get_mut(at))
        } else {
            self.many.last_mut()
        };
        if let Some((last_from, last_count)) = last
            && u32::from(*last_from) + u32::from(*last_count) == u32::from(from)
            && let Some(sum) = last_count.checked_add(count)
        {
            *last_count = sum;
            return;
        }
        if self.many.is_empty() {
            if let Some(slot) = self.few.get_mut(usize::from(self.len)) {
                *slot = (from, count);
                self.len += 1;
                return;
            }
            self.many.extend_from_slice(&self.few);
        }
        self.many.push((from, count));
    }
}

impl PartialEq for SmallRuns {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for SmallRuns {}

/// Events of one block that go to one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handout {
    /// To whom.
    pub member: MemberId,
    /// The stream sequence of the block's first event, whether it is handed out
    /// or not.
    pub first: u64,
    /// How often these events are handed out with this, 1 for the first time.
    pub attempt: u32,
    /// Which of the block's events.
    pub runs: SmallRuns,
}

/// What a member says to events that it was handed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb<'a> {
    /// They are done.
    Ack,
    /// They are to be handed out again, after this time at the earliest; after
    /// the consumer's back-off when zero.
    Nack {
        /// The time.
        delay: Duration,
    },
    /// They take longer: the ack wait begins anew.
    Progress,
    /// They are never to be handed out again.
    Term {
        /// Why, for the dead letter.
        reason: &'a str,
    },
}

/// Why events are given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadReason {
    /// They were handed out as often as the consumer allows.
    MaxDeliver,
    /// A member said so, and why.
    Terminated(String),
}

impl DeadReason {
    /// The text for the dead letter's header.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::MaxDeliver => "max-deliver",
            Self::Terminated(why) if why.is_empty() => "terminated",
            Self::Terminated(why) => why,
        }
    }
}

/// Events to be stored as dead letters; say
/// [`dead_lettered`](super::Consumer::dead_lettered) when they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The first one.
    pub first: u64,
    /// How many follow each other, this one included.
    pub count: u32,
    /// How often they were handed out.
    pub attempts: u32,
    /// Why they are given up.
    pub reason: DeadReason,
}

/// What a member is told when it may work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activated {
    /// Who.
    pub member: MemberId,
    /// Its fencing token: greater than all given out before, in all lives of
    /// the consumer. Zero: it waits for the member that works.
    pub token: u64,
    /// How many events will come again that were handed out before.
    pub redeliver: u64,
}

/// What was done of what a member said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Events for which it was done.
    pub done: u64,
    /// Events that were settled before.
    pub again: u64,
    /// Events that are with another member, or wait to be handed out again.
    pub others: u64,
    /// Events that were never handed out.
    pub unknown: u64,
}

/// Why a member cannot join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The table is full.
    #[error("the consumer has {most} members, the most there can be: stop one, or make another consumer")]
    Full {
        /// The most.
        most: usize,
    },
    /// It is a member.
    #[error("member {member} has joined this consumer before: leave first")]
    Present {
        /// Who.
        member: MemberId,
    },
}

/// Why nothing was settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettleError {
    /// It is no member, or no more.
    #[error("member {member} is none of this consumer: consume again to get events and a token")]
    NoMember {
        /// Who.
        member: MemberId,
    },
    /// The token is an old one: somebody else works, or the consumer was reset.
    #[error("token {found:#x} is fenced off, the member's is {current:#x}: drop what came with the old one")]
    Fenced {
        /// What it said.
        found: u64,
        /// What it should have said; zero while it waits.
        current: u64,
    },
    /// More ranges than are looked at in one call.
    #[error("{found} ranges are more than the {most} that are taken at once: send several messages")]
    TooMany {
        /// How many.
        found: usize,
        /// The most.
        most: usize,
    },
}

/// How a member stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberReport {
    /// Who.
    pub member: MemberId,
    /// As it called itself.
    pub name: String,
    /// Its token; zero while it waits.
    pub token: u64,
    /// Events that it was handed and has not settled.
    pub in_flight: u64,
    /// Events that it may still be handed.
    pub credit: u64,
}

/// What happened so far in this life of the consumer, in events unless it says
/// otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Looked at for the first time in this life.
    pub offered: u64,
    /// Handed out, each time counted.
    pub handed_out: u64,
    /// Handed out for the second time or later.
    pub redelivered: u64,
    /// Settled by an ack.
    pub acked: u64,
    /// Sent back by a nack.
    pub nacked: u64,
    /// Given up by a member.
    pub terminated: u64,
    /// Not settled within the ack wait.
    pub timed_out: u64,
    /// With a member that left.
    pub left: u64,
    /// Not for this consumer: settled without being handed out.
    pub filtered: u64,
    /// Past their time to live: settled without being handed out.
    pub expired: u64,
    /// Damaged, or gone by retention.
    pub unreadable: u64,
    /// Dead letters that were stored.
    pub dead: u64,
    /// Given up without a dead letter, because the consumer wants none.
    pub dropped: u64,
    /// Under way when the consumer was reset.
    pub forgotten: u64,
    /// Settled before, said again.
    pub settled_again: u64,
    /// Said of events with another member or none.
    pub settled_others: u64,
    /// Said of events never handed out.
    pub settled_unknown: u64,
    /// Messages refused by their token or from nobody's member.
    pub fenced: u64,
}

/// How a consumer stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// All below is settled.
    pub floor: u64,
    /// The first event that was not looked at.
    pub next: u64,
    /// Events up to the stream's end that are not settled.
    pub lag: u64,
    /// Events with members.
    pub in_flight: u64,
    /// Events that wait to be handed out again.
    pub waiting: u64,
    /// Dead letters that are not stored yet.
    pub dying: u64,
    /// What happened.
    pub counts: Counts,
    /// In order of their ids.
    pub members: Vec<MemberReport>,
    /// Until when it is paused; [`UnixNanos`] of the largest number: for ever.
    pub paused_until: Option<UnixNanos>,
    /// Which life this is.
    pub generation: u32,
    /// How it shares.
    pub mode: Mode,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_touch_are_one_and_any_number_fits() {
        let mut runs = SmallRuns::default();
        runs.push(0, 2);
        runs.push(2, 3);
        assert_eq!(runs.as_slice(), [(0, 5)]);
        for at in 1..40 {
            runs.push(at * 10, 1);
            assert_eq!(runs.as_slice().len(), 1 + usize::from(at));
        }
        runs.push(391, 1);
        assert_eq!(runs.as_slice().last(), Some(&(390, 2)));
        assert_eq!(runs.events(), 5 + 40);
    }
}
