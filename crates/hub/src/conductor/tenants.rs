//! Whose subscriptions these are: what sessions of one name may have together,
//! and how fast they may change it.
//!
//! The name is that of the client's certificate; without TLS the one that it
//! gives itself, which is worth as much as that. All sessions of a name count
//! together, as one tenant.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use weft_base::Mono;
use weft_wire::frame::ErrorCode;

use crate::messages::SessionId;
use crate::options::Limits;

/// Changes that may come at once, in seconds of the rate.
const BURST: u64 = 10;
/// So many names without sessions are remembered, each until it may change as much
/// as a new one: twice [`BURST`] seconds at most.
const MOST_GONE: usize = 256;

/// What the sessions of one name have.
#[derive(Debug)]
struct Use {
    sessions: usize,
    subscriptions: usize,
    /// Changes that may come now, in billionths.
    tokens: i128,
    filled: Mono,
}

/// All names with sessions here.
#[derive(Debug, Default)]
pub(super) struct Tenants {
    names: HashMap<SessionId, Arc<str>>,
    uses: HashMap<Arc<str>, Use>,
    /// Names whose last session has ended and whose changes are remembered.
    gone: VecDeque<Arc<str>>,
}

impl Tenants {
    pub(super) fn opened(&mut self, session: SessionId, name: &str, now: Mono) {
        let known = self.uses.get_key_value(name).map(|(known, _)| known.clone());
        let name = known.unwrap_or_else(|| name.into());
        let fresh = Use { sessions: 0, subscriptions: 0, tokens: i128::MAX, filled: now };
        let used = self.uses.entry(name.clone()).or_insert(fresh);
        used.sessions += 1;
        if used.sessions == 1 {
            self.gone.retain(|gone| *gone != name);
        }
        self.names.insert(session, name);
    }

    /// The name that a session counts for.
    pub(super) fn name_of(&self, session: SessionId) -> &str {
        self.names.get(&session).map_or("", |name| name)
    }

    /// A session has ended, and its subscriptions with it. How fast the name may
    /// change what it has outlives its sessions.
    pub(super) fn closed(&mut self, session: SessionId, now: Mono, limits: &Limits) {
        let Some(name) = self.names.remove(&session) else { return };
        if let Some(used) = self.uses.get_mut(&name) {
            used.sessions -= 1;
            if used.sessions == 0 {
                used.subscriptions = 0;
                used.fill(now, limits);
                self.gone.push_back(name);
            }
        }
        self.forget(now, limits);
    }

    /// Forgets names without sessions that may change as much as new ones; and
    /// the first to go of those that may not, when there are too many.
    fn forget(&mut self, now: Mono, limits: &Limits) {
        let uses = &mut self.uses;
        self.gone.retain(|name| {
            let Some(used) = uses.get_mut(name).filter(|used| used.sessions == 0) else { return false };
            used.fill(now, limits);
            let keeps = used.tokens < capacity(limits);
            if !keeps {
                uses.remove(name);
            }
            keeps
        });
        while self.gone.len() > MOST_GONE {
            self.gone.pop_front().and_then(|name| self.uses.remove(&name));
        }
    }

    /// The sessions of a name, in order; a bounded number.
    pub(super) fn sessions_of(&self, name: &str) -> Vec<SessionId> {
        let of_name = self.names.iter().filter(|(_, known)| &***known == name);
        let mut sessions: Vec<SessionId> = of_name.map(|(session, _)| *session).collect();
        sessions.sort_unstable();
        sessions.truncate(crate::see::look::MOST);
        sessions
    }

    fn used(&mut self, session: SessionId) -> Option<(&str, &mut Use)> {
        let name = self.names.get(&session)?;
        self.uses.get_mut(name).map(|used| (&**name, used))
    }

    /// One more subscription.
    ///
    /// # Errors
    /// What is used up, and what to do.
    pub(super) fn subscribe(
        &mut self,
        session: SessionId,
        now: Mono,
        limits: &Limits,
    ) -> Result<(), (ErrorCode, String)> {
        let Some((name, used)) = self.used(session) else { return Ok(()) };
        let most = limits.subscriptions_per_name;
        if used.subscriptions >= most {
            let detail =
                format!("sessions of `{name}` have {most} subscriptions, their limit (limits.subscriptions_per_name)");
            return Err((ErrorCode::INTEREST, detail));
        }
        used.fill(now, limits);
        if used.tokens < UNIT {
            let rate = limits.interest_changes;
            let detail =
                format!("subscriptions of `{name}` change more than {rate} times a second (limits.interest_changes)");
            return Err((ErrorCode::CHURN, detail));
        }
        used.tokens -= UNIT;
        used.subscriptions += 1;
        Ok(())
    }

    /// What [`Tenants::subscribe`] counted was refused for another reason. It
    /// counts as a change all the same.
    pub(super) fn refused(&mut self, session: SessionId) {
        if let Some((_, used)) = self.used(session) {
            used.subscriptions = used.subscriptions.saturating_sub(1);
        }
    }

    /// One less. It counts as a change, and is never refused.
    pub(super) fn unsubscribe(&mut self, session: SessionId, now: Mono, limits: &Limits) {
        if let Some((_, used)) = self.used(session) {
            used.subscriptions = used.subscriptions.saturating_sub(1);
            used.fill(now, limits);
            used.tokens = (used.tokens - UNIT).max(-capacity(limits));
        }
    }
}

const UNIT: i128 = 1_000_000_000;

fn capacity(limits: &Limits) -> i128 {
    i128::from(limits.interest_changes.saturating_mul(BURST)) * UNIT
}

impl Use {
    fn fill(&mut self, now: Mono, limits: &Limits) {
        let passed = now.since(self.filled).as_nanos();
        let more = i128::try_from(passed).unwrap_or(i128::MAX).saturating_mul(limits.interest_changes.into());
        self.tokens = self.tokens.saturating_add(more).min(capacity(limits));
        self.filled = now;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn sessions_of_a_name_share_what_they_may_and_others_are_unmoved() {
        let limits = Limits { subscriptions_per_name: 5, interest_changes: 2, ..Limits::default() };
        let (mut tenants, mut now) = (Tenants::default(), Mono(1));
        let [a, b, other] = [1, 2, 3].map(SessionId);
        for (session, name) in [(a, "noisy"), (b, "noisy"), (other, "calm")] {
            tenants.opened(session, name, now);
        }
        let refused = |result: Result<(), (ErrorCode, String)>| result.err().map(|(code, _)| code);
        for n in 0..5 {
            assert_eq!(tenants.subscribe(if n % 2 == 0 { a } else { b }, now, &limits), Ok(()));
        }
        assert_eq!(refused(tenants.subscribe(b, now, &limits)), Some(ErrorCode::INTEREST));
        // 20 changes at once are possible: five are done, these are the others and more.
        for _ in 0..12 {
            tenants.unsubscribe(a, now, &limits);
            let _ = tenants.subscribe(a, now, &limits);
        }
        assert_eq!(refused(tenants.subscribe(a, now, &limits)), Some(ErrorCode::CHURN));
        assert_eq!(tenants.subscribe(other, now, &limits), Ok(()), "another name");
        now = now + Duration::from_secs(5);
        assert_eq!(tenants.subscribe(a, now, &limits), Ok(()), "time has passed");
        tenants.closed(a, now, &limits);
        tenants.closed(b, now, &limits);
        tenants.opened(a, "noisy", now);
        assert_eq!(tenants.subscribe(a, now, &limits), Ok(()), "its sessions are gone, and what they had");
        tenants.refused(a);
        now = now + Duration::from_secs(60);
        let more = (0..9).filter(|_| tenants.subscribe(a, now, &limits).is_ok()).count();
        assert_eq!(more, 5, "what was refused for another reason takes no place");
        assert_eq!(tenants.subscribe(SessionId(9), now, &limits), Ok(()), "not of a client");
    }

    #[test]
    fn a_name_that_changed_too_much_cannot_begin_anew_with_another_session() {
        let limits = Limits { interest_changes: 2, ..Limits::default() };
        let (mut tenants, now) = (Tenants::default(), Mono(1));
        let refused = |result: Result<(), (ErrorCode, String)>| result.err().map(|(code, _)| code);
        tenants.opened(SessionId(1), "noisy", now);
        while tenants.subscribe(SessionId(1), now, &limits).is_ok() {}
        tenants.closed(SessionId(1), now, &limits);
        tenants.opened(SessionId(2), "noisy", now);
        assert_eq!(refused(tenants.subscribe(SessionId(2), now, &limits)), Some(ErrorCode::CHURN));
        tenants.closed(SessionId(2), now, &limits);
        let later = now + Duration::from_secs(60);
        tenants.opened(SessionId(3), "calm", later);
        tenants.closed(SessionId(3), later, &limits);
        assert!(tenants.uses.is_empty() && tenants.gone.is_empty(), "forgotten when nothing is owed");
        for n in 0..2 * MOST_GONE as u64 {
            tenants.opened(SessionId(n), &format!("name-{n}"), later);
            let _ = tenants.subscribe(SessionId(n), later, &limits);
            tenants.closed(SessionId(n), later, &limits);
        }
        assert_eq!((tenants.uses.len(), tenants.gone.len()), (MOST_GONE, MOST_GONE), "so many and no more");
    }
}
