//! The members of a consumer: their tokens, their credit, whose turn it is.

use std::collections::BTreeMap;

use super::handout::{MemberId, MemberReport, Refusal};
use super::keys::weight;

/// The most members of one consumer.
pub const MAX_MEMBERS: usize = 1024;

#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// Zero while it waits.
    pub(crate) token: u64,
    credit_events: u64,
    /// Below zero when the last block was larger than what was left.
    credit_bytes: i64,
    in_flight: u64,
    /// When it joined, and when it was given something last, counted in such
    /// moments.
    joined: u64,
    served: u64,
}

impl Member {
    /// How many events it may be handed. A block of which it has a part
    /// already costs no more bytes.
    pub(crate) fn room(&self, has_block: bool) -> u64 {
        if self.token != 0 && (has_block || self.credit_bytes > 0) { self.credit_events } else { 0 }
    }

    /// Whether it uses less of what it asked for than the other.
    fn is_idler(&self, other: &Self) -> bool {
        let used = |a: &Self, b: &Self| u128::from(a.in_flight) * u128::from(b.in_flight + b.credit_events);
        (used(self, other), self.served) < (used(other, self), other.served)
    }
}

/// All members.
#[derive(Clone, Debug)]
pub(crate) struct Members {
    members: BTreeMap<MemberId, Member>,
    generation: u32,
    tokens: u32,
    moments: u64,
}

impl Members {
    pub(crate) fn new(generation: u32) -> Self {
        Self { members: BTreeMap::new(), generation, tokens: 0, moments: 0 }
    }

    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// From now on tokens are greater than all before.
    pub(crate) fn next_generation(&mut self) {
        self.generation = self.generation.saturating_add(1);
        self.tokens = 0;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(crate) fn get(&self, id: MemberId) -> Option<&Member> {
        self.members.get(&id)
    }

    pub(crate) fn join(&mut self, id: MemberId, name: &str) -> Result<(), Refusal> {
        if self.members.contains_key(&id) {
            return Err(Refusal::Present { member: id });
        }
        if self.members.len() >= MAX_MEMBERS {
            return Err(Refusal::Full { most: MAX_MEMBERS });
        }
        self.moments += 1;
        let member = Member {
            name: name.to_owned(),
            token: 0,
            credit_events: 0,
            credit_bytes: 0,
            in_flight: 0,
            joined: self.moments,
            served: 0,
        };
        self.members.insert(id, member);
        Ok(())
    }

    pub(crate) fn leave(&mut self, id: MemberId) -> Option<Member> {
        self.members.remove(&id)
    }

    /// Lets a member work; answers its new token.
    pub(crate) fn activate(&mut self, id: MemberId) -> u64 {
        self.tokens = self.tokens.saturating_add(1);
        let token = u64::from(self.generation) << 32 | u64::from(self.tokens);
        if let Some(member) = self.members.get_mut(&id) {
            member.token = token;
        }
        token
    }

    /// Of those that wait, the one that joined first.
    pub(crate) fn next_in_line(&self) -> Option<MemberId> {
        let waiting = self.members.iter().filter(|(_, member)| member.token == 0);
        waiting.min_by_key(|(_, member)| member.joined).map(|(id, _)| *id)
    }

    /// Those that work, in order of their ids.
    pub(crate) fn active(&self) -> impl Iterator<Item = MemberId> {
        self.members.iter().filter(|(_, member)| member.token != 0).map(|(id, _)| *id)
    }

    pub(crate) fn grant(&mut self, id: MemberId, events: u64, bytes: u64) {
        if let Some(member) = self.members.get_mut(&id) {
            member.credit_events = member.credit_events.saturating_add(events).min(u64::MAX >> 1);
            member.credit_bytes = member.credit_bytes.saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }

    pub(crate) fn has_room(&self, id: MemberId) -> bool {
        self.members.get(&id).is_some_and(|member| member.room(false) > 0)
    }

    pub(crate) fn any_has_room(&self) -> bool {
        self.members.values().any(|member| member.room(false) > 0)
    }

    /// Who gets `events` events: of those that have room for all of them the
    /// one that uses the least of its credit; if nobody has, of all that have
    /// room. The one served longest ago among equals.
    pub(crate) fn pick(&self, events: u64) -> Option<MemberId> {
        let mut best: Option<(MemberId, &Member, bool)> = None;
        for (id, member) in &self.members {
            let room = member.room(false);
            if room == 0 {
                continue;
            }
            let fits = room >= events;
            if best.is_none_or(|(_, other, other_fits)| {
                (fits, other_fits) == (true, false) || (fits == other_fits && member.is_idler(other))
            }) {
                best = Some((*id, member, fits));
            }
        }
        best.map(|(id, ..)| id)
    }

    /// Whose a key is.
    pub(crate) fn owner(&self, key: u64) -> Option<MemberId> {
        self.active().max_by_key(|id| (weight(*id, key), *id))
    }

    /// A member got `events` events in a block of `bytes` bytes, zero when it
    /// has a part of that block already.
    pub(crate) fn charge(&mut self, id: MemberId, events: u64, bytes: usize) {
        self.moments += 1;
        if let Some(member) = self.members.get_mut(&id) {
            member.credit_events = member.credit_events.saturating_sub(events);
            member.credit_bytes = member.credit_bytes.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
            member.in_flight += events;
            member.served = self.moments;
        }
    }

    /// It has them no more.
    pub(crate) fn returned(&mut self, id: MemberId, events: u64) {
        if let Some(member) = self.members.get_mut(&id) {
            member.in_flight = member.in_flight.saturating_sub(events);
        }
    }

    pub(crate) fn report(&self) -> Vec<MemberReport> {
        let report = |(id, member): (&MemberId, &Member)| MemberReport {
            member: *id,
            name: member.name.clone(),
            token: member.token,
            in_flight: member.in_flight,
            credit: member.room(false),
        };
        self.members.iter().map(report).collect()
    }
}
