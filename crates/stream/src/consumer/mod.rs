//! One durable consumer of a stream: who gets which event, and until when it
//! is done. Pure: it is told what was read and what members say, and answers
//! what to read and what to hand out. It knows local sequences only.
//!
//! Each event of the stream is below the *floor* (settled, with all before it),
//! or settled above it, or with a member, or waiting to be handed out again, or
//! given up and not yet stored as a dead letter, or beyond *next*: not looked at
//! yet. All of these are kept as runs, so that a block that goes to one member
//! as a whole costs what one event costs.
//!
//! The caller's turn: [`Consumer::next_read`] says what to read; the block goes
//! to [`Consumer::offer`], whose handouts it sends; what comes back goes to
//! [`Consumer::settle`]. [`Consumer::tick`] at [`Consumer::next_deadline`]. What
//! it must keep is [`Consumer::saved`]; when that is lost or old, events are
//! handed out again that were settled since, and nothing else happens.
//!
//! Limits: [`spec::MAX_IN_FLIGHT`] events under way (nothing new is handed out
//! beyond), [`members::MAX_MEMBERS`] members (refused), [`settle::MAX_RANGES`]
//! ranges in one message (refused), [`topics::MAX_TOPICS`] remembered topics
//! (forgotten and looked at again).

mod flight;
mod handout;
mod keys;
pub mod members;
mod offer;
mod pace;
mod runs;
pub mod saved;
pub mod settle;
pub mod spec;
mod state;
pub mod topics;
mod waiting;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use weft_base::{Mono, Now, UnixNanos};

use flight::{Flight, Flights};
pub use handout::{
    Activated, Counts, DeadLetter, DeadReason, Handout, MemberId, MemberReport, Offered, Read, Refusal, Report,
    SettleError, Settled, SmallRuns, Verb,
};
use keys::Keys;
use members::Members;
use pace::Pace;
use runs::Runs;
pub use saved::{Saved, SavedError, Tried};
pub use spec::{ConsumerSpec, Mode, Replay, SpecError};
use topics::Topics;
use waiting::{Wait, Waiting};

/// Events that are given up.
#[derive(Clone, Debug)]
struct Dying {
    end: u64,
    attempts: u32,
    reason: DeadReason,
    /// Whether the caller was told.
    told: bool,
}

/// The state machine.
#[derive(Clone, Debug)]
pub struct Consumer {
    spec: ConsumerSpec,
    members: Members,
    floor: u64,
    next: u64,
    /// Settled above the floor.
    done: Runs,
    flights: Flights,
    waiting: Waiting,
    keys: Keys,
    dying: BTreeMap<u64, Dying>,
    dying_events: u64,
    /// Some of the dying were not told.
    untold: bool,
    /// What an earlier life handed out, beyond `next`.
    past: BTreeMap<u64, Tried>,
    past_events: u64,
    topics: Topics,
    pace: Pace,
    /// Since when there is no member.
    alone: Option<Mono>,
    dirty: bool,
    counts: Counts,
    /// Runs that are being moved, and whether a member has them; kept for its
    /// memory.
    scratch: Vec<(u64, Flight, bool)>,
}

impl Consumer {
    /// A new one that begins at `from`. `generation`: greater than that of any
    /// consumer of this name before.
    #[must_use]
    pub fn new(spec: ConsumerSpec, from: u64, generation: u32, now: Now) -> Self {
        Self {
            spec,
            members: Members::new(generation),
            floor: from,
            next: from,
            done: Runs::default(),
            flights: Flights::default(),
            waiting: Waiting::default(),
            keys: Keys::default(),
            dying: BTreeMap::new(),
            dying_events: 0,
            untold: false,
            past: BTreeMap::new(),
            past_events: 0,
            topics: Topics::default(),
            pace: Pace::default(),
            alone: Some(now.mono),
            dirty: true,
            counts: Counts::default(),
            scratch: Vec::new(),
        }
    }

    /// One that was saved: what was not settled is handed out again.
    #[must_use]
    pub fn restore(spec: ConsumerSpec, saved: Saved, generation: u32, now: Now) -> Self {
        let generation = generation.max(saved.generation.saturating_add(1));
        let mut consumer = Self::new(spec, saved.floor, generation, now);
        for (first, end) in saved.done {
            consumer.done.insert(first.max(saved.floor), end);
        }
        for tried in saved.tried {
            consumer.past_events += tried.end.saturating_sub(tried.first);
            consumer.past.insert(tried.first, tried);
        }
        if let Some(until) = saved.paused_until {
            consumer.pause((until != UnixNanos(u64::MAX)).then_some(until), now);
        }
        consumer.raise_floor();
        consumer.forget_past();
        consumer
    }

    /// What it was made from.
    #[must_use]
    pub fn spec(&self) -> &ConsumerSpec {
        &self.spec
    }

    /// Which life of the consumer this is: the upper half of all its tokens.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.members.generation()
    }

    /// The token of a member; 0 while it waits, none when it is no member.
    #[must_use]
    pub fn token(&self, member: MemberId) -> Option<u64> {
        self.members.get(member).map(|member| member.token)
    }

    /// Events below this are settled. It never goes back, except by
    /// [`reset`](Self::reset).
    #[must_use]
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// Somebody wants to consume. In [`Mode::Exclusive`] the answer's token is
    /// zero while another member works; [`leave`](Self::leave) answers who
    /// takes over.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn join(&mut self, member: MemberId, name: &str, now: Now) -> Result<Activated, Refusal> {
        self.members.join(member, name)?;
        self.alone = None;
        let waits = self.spec.mode == Mode::Exclusive && self.members.active().next().is_some();
        let token = if waits { 0 } else { self.members.activate(member) };
        if token != 0 {
            self.place_all(now);
        }
        Ok(Activated { member, token, redeliver: self.redeliver() })
    }

    /// A member is gone: what it had is handed out again, at once. Answers who
    /// works now in its place and must be told.
    pub fn leave(&mut self, member: MemberId, now: Now) -> Option<Activated> {
        let left = self.members.leave(member)?;
        let mut back = Vec::new();
        self.flights.cut_member(member, |first, flight| back.push((first, flight)));
        for (first, flight) in back {
            self.counts.left += flight.end - first;
            self.again(first, &flight, None, now.mono, now);
            self.came_back(first, &flight, now);
        }
        self.waiting.forget_member(member);
        if self.members.is_empty() {
            self.alone = Some(now.mono);
        }
        let next =
            if self.spec.mode == Mode::Exclusive && left.token != 0 { self.members.next_in_line() } else { None };
        let token = next.map_or(0, |next| self.members.activate(next));
        self.place_all(now);
        self.dirty = true;
        next.map(|member| Activated { member, token, redeliver: self.redeliver() })
    }

    /// A member takes so many events and bytes more. Of bytes the last block
    /// may take more than is left.
    pub fn grant(&mut self, member: MemberId, events: u64, bytes: u64) {
        self.members.grant(member, events, bytes);
    }

    /// Hands out nothing until this time of day, for ever when absent. What
    /// members have they may settle.
    pub fn pause(&mut self, until: Option<UnixNanos>, now: Now) {
        self.pace.pause(until, now);
        self.dirty = true;
    }

    /// Goes on.
    pub fn resume(&mut self, now: Now) {
        self.pace.resume(now);
        self.dirty = true;
    }

    /// Begins anew at `from`: forgets all that is under way, and refuses what
    /// members say to it by a new generation of tokens. Answers the tokens,
    /// which the members must be told; their credit stays.
    pub fn reset(&mut self, from: u64) -> Vec<Activated> {
        self.counts.forgotten += self.unsettled();
        let members: Vec<_> = self.members.active().collect();
        for (first, flight) in self.flights.iter() {
            self.members.returned(flight.member, flight.end - first);
        }
        self.flights.clear();
        self.waiting.clear();
        self.keys.clear();
        self.dying.clear();
        self.past.clear();
        (self.dying_events, self.past_events, self.untold) = (0, 0, false);
        self.done = Runs::default();
        (self.floor, self.next) = (from, from);
        self.pace.begin_anew();
        self.members.next_generation();
        self.dirty = true;
        members
            .into_iter()
            .map(|member| Activated { member, token: self.members.activate(member), redeliver: 0 })
            .collect()
    }
}
