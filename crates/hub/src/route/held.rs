//! Publishes that are held back: what a publisher sent and a gate, closed by a
//! subscriber that makes its publishers wait, does not let in yet. Pure.
//!
//! Per session in order: while one block of a session is held, those behind it
//! are too. The publisher's window of unacknowledged blocks runs out, and it
//! stalls without a thread blocked anywhere. Bounded twice: beyond `session`
//! bytes the session is not read any more; beyond `whole` bytes of all
//! sessions, publishes are refused with a time to try again.

use std::collections::BTreeMap;
use std::collections::VecDeque;

use crate::messages::SessionId;

/// What is held of one session.
#[derive(Debug)]
struct Line<T> {
    items: VecDeque<(usize, T)>,
    bytes: usize,
    /// The session is not read.
    paused: bool,
}

/// All that is held back.
#[derive(Debug)]
pub(crate) struct Held<T> {
    lines: BTreeMap<SessionId, Line<T>>,
    session: usize,
    whole: usize,
    bytes: usize,
    /// The session whose turn was last.
    served: Option<SessionId>,
}

/// What became of a publish that has to wait.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken<T> {
    /// It is the session's first: the publisher is to be told.
    First,
    /// There are others before it.
    Behind,
    /// So much of the session is held that it is not to be read on.
    Pause,
    /// There is no room.
    Full(T),
}

impl<T> Held<T> {
    /// Bounds in bytes, of one session and of all.
    pub(crate) fn new(session: usize, whole: usize) -> Self {
        Self { lines: BTreeMap::new(), session, whole, bytes: 0, served: None }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// How many publishes of a session are held.
    pub(crate) fn count(&self, session: SessionId) -> usize {
        self.lines.get(&session).map_or(0, |line| line.items.len())
    }

    /// The first of a session.
    pub(crate) fn first(&self, session: SessionId) -> Option<&T> {
        self.lines.get(&session)?.items.front().map(|(_, item)| item)
    }

    /// Holds a publish of `bytes` bytes back, behind the session's others.
    pub(crate) fn push(&mut self, session: SessionId, bytes: usize, item: T) -> Taken<T> {
        if self.bytes.saturating_add(bytes) > self.whole {
            return Taken::Full(item);
        }
        self.bytes += bytes;
        let line =
            self.lines.entry(session).or_insert_with(|| Line { items: VecDeque::new(), bytes: 0, paused: false });
        line.bytes += bytes;
        line.items.push_back((bytes, item));
        if line.bytes > self.session && !line.paused {
            line.paused = true;
            return Taken::Pause;
        }
        if line.items.len() == 1 { Taken::First } else { Taken::Behind }
    }

    /// The session after the one that was served last whose first publish may
    /// go on, by turns.
    pub(crate) fn next(&mut self, may_go: impl Fn(&T) -> bool) -> Option<SessionId> {
        use std::ops::Bound::{Excluded, Unbounded};
        let after = self.lines.range((self.served.map_or(Unbounded, Excluded), Unbounded));
        let found = after
            .chain(self.lines.iter())
            .find(|(_, line)| line.items.front().is_some_and(|(_, item)| may_go(item)))
            .map(|(session, _)| *session);
        self.served = found.or(self.served);
        found
    }

    /// Takes the first of a session. Whether it was the last, and whether the
    /// session is to be read again: as soon as half of its bound is free.
    pub(crate) fn pop(&mut self, session: SessionId) -> Option<(T, Freed)> {
        let line = self.lines.get_mut(&session)?;
        let (bytes, item) = line.items.pop_front()?;
        line.bytes -= bytes;
        self.bytes -= bytes;
        let read_on = line.paused && line.bytes <= self.session / 2;
        line.paused &= !read_on;
        let last = line.items.is_empty();
        if last {
            self.lines.remove(&session);
        }
        Some((item, Freed { last, read_on }))
    }

    /// Puts back what [`pop`](Self::pop) took and still may not go on.
    pub(crate) fn put_back(&mut self, session: SessionId, bytes: usize, item: T) {
        let line =
            self.lines.entry(session).or_insert_with(|| Line { items: VecDeque::new(), bytes: 0, paused: false });
        line.bytes += bytes;
        self.bytes += bytes;
        line.items.push_front((bytes, item));
    }
}

/// What followed from taking one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Freed {
    /// Nothing of the session is held any more.
    pub(crate) last: bool,
    /// The session was not read, and is to be again.
    pub(crate) read_on: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SessionId = SessionId(1);
    const B: SessionId = SessionId(2);

    #[test]
    fn a_session_keeps_its_order_and_is_paused_and_read_on_at_its_marks() {
        let mut held = Held::new(100, 1_000);
        assert_eq!(held.push(A, 40, 1), Taken::First);
        assert_eq!(held.push(A, 40, 2), Taken::Behind);
        assert_eq!(held.push(A, 40, 3), Taken::Pause);
        assert_eq!(held.push(A, 40, 4), Taken::Behind, "told once");
        assert_eq!((held.count(A), held.first(A)), (4, Some(&1)));
        let freed: Vec<_> = std::iter::from_fn(|| held.pop(A)).collect();
        let read_on = |item, read_on| (item, Freed { last: item == 4, read_on });
        assert_eq!(freed, [read_on(1, false), read_on(2, false), read_on(3, true), read_on(4, false)]);
        assert!(held.is_empty());
    }

    #[test]
    fn sessions_take_turns_and_one_that_cannot_go_holds_up_nobody() {
        let mut held = Held::new(100, 1_000);
        for item in [1, 3, 5] {
            held.push(A, 1, item);
            held.push(B, 1, item + 1);
        }
        let mut order = Vec::new();
        while let Some(session) = held.next(|_| true) {
            order.push(held.pop(session).expect("it has one").0);
        }
        assert_eq!(order, [1, 2, 3, 4, 5, 6]);
        held.push(A, 1, 1);
        held.push(B, 1, 2);
        assert_eq!(held.next(|item| *item == 2), Some(B));
        held.pop(B);
        assert_eq!(held.next(|item| *item == 2), None);
        let (item, _) = held.pop(A).expect("it is held");
        held.put_back(A, 1, item);
        assert_eq!(held.first(A), Some(&1));
    }

    #[test]
    fn beyond_the_whole_bound_a_publish_is_handed_back() {
        let mut held = Held::new(100, 100);
        held.push(A, 90, 1);
        assert_eq!(held.push(B, 20, 2), Taken::Full(2));
        held.pop(A);
        assert_eq!(held.push(B, 20, 2), Taken::First);
    }
}
