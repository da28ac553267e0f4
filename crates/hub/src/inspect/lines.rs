//! Whose turn it is: what waits to be checked, in a line for each session, and
//! turns among tenants by what their checks have cost.
//!
//! Of tenants with something to check, the one goes next that has cost least (the
//! virtual time of fair schedulers, as in Linux's CFS); one that comes anew begins
//! where the others are, so that nobody saves up. So an expensive schema makes its
//! own tenant wait: another one waits for one slice of it at most, whatever its
//! cost. Within a tenant sessions take turns. The order of a session holds: what is
//! in hand, or has stopped its line, goes before what came after it.
//!
//! Pure. Bounded by who pushes: the net stage does not read sessions of which too
//! much is here (`crates/hub/src/net/inspect.rs`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Payer;
use crate::messages::SessionId;

/// What waits of one session.
struct Line<W> {
    waiting: VecDeque<W>,
    /// Something of it is in hand, or has stopped it.
    busy: bool,
}

/// What waits of one tenant.
struct Account<W> {
    /// What its checks have cost, from where it began.
    spent: u64,
    lines: BTreeMap<SessionId, Line<W>>,
    /// Sessions with something to check, none of them busy, in turn.
    turn: VecDeque<SessionId>,
}

/// All that waits.
pub(super) struct Lines<W> {
    accounts: BTreeMap<Payer, Account<W>>,
    /// Who can have a turn, by what it has cost.
    ready: BTreeSet<(u64, Payer)>,
    /// What the one that was served last had cost by then.
    floor: u64,
}

impl<W> Default for Lines<W> {
    fn default() -> Self {
        Self { accounts: BTreeMap::new(), ready: BTreeSet::new(), floor: 0 }
    }
}

impl<W> Lines<W> {
    /// Puts something at the end of a session's line.
    pub(super) fn push(&mut self, payer: &Payer, session: SessionId, work: W) {
        let floor = self.floor;
        let account = match self.accounts.get_mut(payer) {
            Some(account) => account,
            None => self.accounts.entry(payer.clone()).or_insert_with(|| Account {
                spent: floor,
                lines: BTreeMap::new(),
                turn: VecDeque::new(),
            }),
        };
        let line = account.lines.entry(session).or_insert_with(|| Line { waiting: VecDeque::new(), busy: false });
        line.waiting.push_back(work);
        if !line.busy && line.waiting.len() == 1 {
            self.enter(payer, session);
        }
    }

    /// What is checked next. Its session's line stands still until [`Self::again`]
    /// or [`Self::done`].
    pub(super) fn take(&mut self) -> Option<(Payer, SessionId, W)> {
        let (spent, payer) = self.ready.pop_first()?;
        self.floor = spent;
        let account = self.accounts.get_mut(&payer)?;
        let session = account.turn.pop_front()?;
        let line = account.lines.get_mut(&session)?;
        line.busy = true;
        let work = line.waiting.pop_front();
        if !account.turn.is_empty() {
            self.ready.insert((spent, payer.clone()));
        }
        Some((payer, session, work?))
    }

    /// It is not done yet: it goes on when its turn comes again.
    pub(super) fn again(&mut self, payer: &Payer, session: SessionId, work: W) {
        let line = self.accounts.get_mut(payer).and_then(|account| account.lines.get_mut(&session));
        if let Some(line) = line {
            line.busy = false;
            line.waiting.push_front(work);
            self.enter(payer, session);
        }
    }

    /// What was taken of a session is done with: what came after it may go.
    pub(super) fn done(&mut self, payer: &Payer, session: SessionId) {
        let Some(account) = self.accounts.get_mut(payer) else { return };
        let Some(line) = account.lines.get_mut(&session) else { return };
        line.busy = false;
        if !line.waiting.is_empty() {
            return self.enter(payer, session);
        }
        account.lines.remove(&session);
        if account.lines.is_empty() {
            let spent = account.spent;
            self.ready.remove(&(spent, payer.clone()));
            self.accounts.remove(payer);
        }
    }

    /// What was done for somebody has cost so much.
    pub(super) fn charge(&mut self, payer: &Payer, cost: u64) {
        let Some(account) = self.accounts.get_mut(payer) else { return };
        let before = account.spent;
        account.spent = before.saturating_add(cost);
        let after = account.spent;
        if self.ready.remove(&(before, payer.clone())) {
            self.ready.insert((after, payer.clone()));
        }
    }

    fn enter(&mut self, payer: &Payer, session: SessionId) {
        let Some(account) = self.accounts.get_mut(payer) else { return };
        account.turn.push_back(session);
        if account.turn.len() == 1 {
            self.ready.insert((account.spent, payer.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> Payer {
        Payer::Tenant(name.into())
    }

    fn session(n: u64) -> SessionId {
        SessionId(n)
    }

    #[test]
    fn an_expensive_tenant_waits_for_the_others_and_not_they_for_it() {
        let mut lines = Lines::default();
        let (slow, fast) = (tenant("slow"), tenant("fast"));
        for n in 0..50 {
            lines.push(&slow, session(1), ("slow", n));
            lines.push(&fast, session(2), ("fast", n));
        }
        let mut order = Vec::new();
        while let Some((payer, of, work)) = lines.take() {
            order.push(work);
            lines.done(&payer, of);
            lines.charge(&payer, if payer == slow { 1_000_000 } else { 1_000 });
        }
        let first_fifty = order.iter().take(52).filter(|(who, _)| *who == "fast").count();
        assert!(first_fifty >= 49, "{first_fifty} of the fast one came first: {order:?}");
        // And in the order of its session.
        let of_slow: Vec<i32> = order.iter().filter(|(who, _)| *who == "slow").map(|(_, n)| *n).collect();
        assert_eq!(of_slow, (0..50).collect::<Vec<_>>());
        assert!(lines.accounts.is_empty() && lines.ready.is_empty());
    }

    #[test]
    fn who_comes_late_has_not_saved_up_and_owes_nothing() {
        let mut lines = Lines::default();
        let (early, late) = (tenant("early"), tenant("late"));
        for n in 0..20 {
            lines.push(&early, session(1), n);
        }
        for _ in 0..10 {
            let (payer, of, _) = lines.take().expect("there is more");
            lines.charge(&payer, 100);
            lines.done(&payer, of);
        }
        for n in 100..110 {
            lines.push(&late, session(2), n);
        }
        let mut turns = Vec::new();
        for _ in 0..8 {
            let (payer, of, _) = lines.take().expect("there is more");
            lines.charge(&payer, 100);
            lines.done(&payer, of);
            turns.push(payer == late);
        }
        assert_eq!(turns.iter().filter(|is_late| **is_late).count(), 4, "in turn: {turns:?}");
    }

    #[test]
    fn sessions_of_a_tenant_take_turns_and_one_that_is_stopped_holds_up_itself_alone() {
        let mut lines = Lines::default();
        let one = tenant("one");
        for n in 0..3 {
            lines.push(&one, session(1), (1, n));
            lines.push(&one, session(2), (2, n));
        }
        let (_, stopped, first) = lines.take().expect("the first session's");
        assert_eq!(first, (1, 0));
        // It is in quarantine's hands: its line stands.
        let mut others = Vec::new();
        while let Some((payer, of, work)) = lines.take() {
            others.push(work);
            lines.done(&payer, of);
        }
        assert_eq!(others, [(2, 0), (2, 1), (2, 2)]);
        lines.push(&one, session(1), (1, 3));
        assert!(lines.take().is_none(), "what came after it waits");
        lines.done(&one, stopped);
        let mut rest = Vec::new();
        while let Some((payer, of, work)) = lines.take() {
            rest.push(work);
            lines.done(&payer, of);
        }
        assert_eq!(rest, [(1, 1), (1, 2), (1, 3)]);
    }

    #[test]
    fn what_is_not_done_goes_on_in_its_turn_before_what_came_after_it() {
        let mut lines = Lines::default();
        let (one, two) = (tenant("one"), tenant("two"));
        lines.push(&one, session(1), 10);
        lines.push(&one, session(1), 11);
        lines.push(&two, session(2), 20);
        let mut order = Vec::new();
        let mut slices = 3;
        while let Some((payer, of, work)) = lines.take() {
            order.push(work);
            lines.charge(&payer, 5);
            if work == 10 && slices > 1 {
                slices -= 1;
                lines.again(&payer, of, work);
            } else {
                lines.done(&payer, of);
            }
        }
        assert_eq!(order, [10, 20, 10, 10, 11]);
    }
}
