//! What waits for one who listens to what many listen to: the bytes are written once
//! and shared, the queue is each one's own.
//!
//! Bounded by `http.listener_bytes`. Beyond it the listener's policy decides, as at
//! the queues of the hub (docs/flow-control.md): it is ended, or what has waited
//! longest goes, or what comes goes; what went is counted, and a mark says how much
//! before what comes next.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use axum::body::Bytes;

use super::event;

/// What is said of why events are missing.
const FULL: &str = "the listener fell too far behind";

/// What is done at the bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum OnFull {
    /// The listener is ended.
    #[default]
    Disconnect,
    /// What has waited longest goes.
    DropOldest,
    /// What comes goes.
    DropNewest,
}

/// Events that go together, as they are written.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    pub(super) bytes: Bytes,
    /// How many events; those that it says are missing among them.
    pub(super) events: u64,
}

#[derive(Debug)]
enum Waiting {
    Chunk(Chunk),
    /// So many events are missing here.
    Missing(u64),
}

/// The queue of one listener.
#[derive(Debug)]
pub(super) struct Outbox {
    most: usize,
    on_full: OnFull,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    is_over: bool,
    waker: Option<Waker>,
}

impl Outbox {
    pub(super) fn new(most: usize, on_full: OnFull) -> Self {
        Self { most, on_full, inner: Mutex::default() }
    }

    /// What is held is whole at any time.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what comes. Answers how many events went for it; none: the listener is to
    /// be ended, and what waited is gone.
    pub(super) fn push(&self, chunk: &Chunk) -> Option<u64> {
        let mut inner = self.inner();
        if inner.is_over {
            return Some(0);
        }
        let mut gone = 0;
        let cost = chunk.bytes.len();
        if inner.bytes.saturating_add(cost) > self.most {
            match self.on_full {
                OnFull::Disconnect => {
                    (inner.waiting, inner.bytes, inner.is_over) = (VecDeque::new(), 0, true);
                    return None;
                }
                OnFull::DropNewest => {
                    inner.miss_last(chunk.events);
                    return Some(chunk.events);
                }
                OnFull::DropOldest => {
                    let mut missing = 0;
                    while inner.bytes.saturating_add(cost) > self.most {
                        match inner.waiting.pop_front() {
                            Some(Waiting::Chunk(oldest)) => {
                                inner.bytes -= oldest.bytes.len();
                                missing += oldest.events;
                                gone += oldest.events;
                            }
                            Some(Waiting::Missing(events)) => missing += events,
                            None => break,
                        }
                    }
                    if cost > self.most {
                        inner.miss_last(missing + chunk.events);
                        return Some(gone + chunk.events);
                    }
                    inner.miss_first(missing);
                }
            }
        }
        inner.bytes += cost;
        inner.waiting.push_back(Waiting::Chunk(chunk.clone()));
        if let Some(waker) = inner.waker.take() {
            waker.wake();
        }
        Some(gone)
    }

    /// Takes what goes first.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Bytes> {
        let mut inner = self.inner();
        match inner.waiting.pop_front() {
            Some(Waiting::Chunk(chunk)) => {
                inner.bytes -= chunk.bytes.len();
                Poll::Ready(chunk.bytes)
            }
            Some(Waiting::Missing(events)) => {
                let mut out = Vec::new();
                event::missing(&mut out, events, FULL, false);
                Poll::Ready(out.into())
            }
            None => {
                inner.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Inner {
    fn miss_last(&mut self, events: u64) {
        match self.waiting.back_mut() {
            _ if events == 0 => {}
            Some(Waiting::Missing(known)) => *known += events,
            _ => self.waiting.push_back(Waiting::Missing(events)),
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn miss_first(&mut self, events: u64) {
        match self.waiting.front_mut() {
            _ if events == 0 => {}
            Some(Waiting::Missing(known)) => *known += events,
            _ => self.waiting.push_front(Waiting::Missing(events)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chunk(text: &str, events: u64) -> Chunk {
        Chunk { bytes: Bytes::copy_from_slice(text.as_bytes()), events }
    }

    fn all(outbox: &Outbox) -> Vec<String> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut all = Vec::new();
        while let Poll::Ready(bytes) = outbox.poll(&mut cx) {
            all.push(String::from_utf8_lossy(&bytes).into_owned());
        }
        all
    }

    /// How many events a mark says are missing.
    fn missing(text: &str) -> Option<u64> {
        let (_, rest) = text.split_once("{\"events\":")?;
        rest.split(',').next()?.parse().ok()
    }

    #[test]
    fn at_the_bound_the_policy_decides_and_a_mark_stands_where_events_are_missing() {
        let of = |on_full| {
            let outbox = Outbox::new(4, on_full);
            let pushed: Vec<_> = ["ab", "cd", "ef", "gh"].iter().map(|text| outbox.push(&chunk(text, 2))).collect();
            (pushed, all(&outbox))
        };
        let (pushed, left) = of(OnFull::DropOldest);
        assert_eq!(
            (pushed, missing(&left[0]), &left[1..]),
            (vec![Some(0), Some(0), Some(2), Some(2)], Some(4), &["ef".to_owned(), "gh".to_owned()][..])
        );
        let (pushed, left) = of(OnFull::DropNewest);
        assert_eq!(
            (pushed, &left[..2], missing(&left[2])),
            (vec![Some(0), Some(0), Some(2), Some(2)], &["ab".to_owned(), "cd".to_owned()][..], Some(4))
        );
        let (pushed, left) = of(OnFull::Disconnect);
        assert_eq!((pushed, left.len()), (vec![Some(0), Some(0), None, Some(0)], 0), "nothing is kept of who is ended");
        let large = Outbox::new(4, OnFull::DropOldest);
        assert_eq!((large.push(&chunk("ab", 1)), large.push(&chunk("abcde", 3))), (Some(0), Some(4)));
        assert_eq!(all(&large).iter().map(|text| missing(text)).collect::<Vec<_>>(), [Some(4)]);
    }

    proptest! {
        #[test]
        fn every_event_is_taken_or_counted_as_missing_and_the_bound_holds(
            oldest in any::<bool>(),
            turns in prop::collection::vec((0_usize..12, 1_u64..4, any::<bool>()), 0..200),
        ) {
            let outbox = Outbox::new(16, if oldest { OnFull::DropOldest } else { OnFull::DropNewest });
            let (mut pushed, mut gone, mut taken, mut told) = (0, 0, 0, 0);
            let mut note = |text: String| match missing(&text) {
                Some(events) => told += events,
                None => taken += text.split('.').next().and_then(|events| events.parse().ok()).unwrap_or(0_u64),
            };
            let mut cx = Context::from_waker(Waker::noop());
            for (len, events, takes) in turns {
                pushed += events;
                gone += outbox.push(&chunk(&format!("{events}.{}", "x".repeat(len)), events)).unwrap();
                prop_assert!(outbox.inner().bytes <= 16);
                if takes && let Poll::Ready(bytes) = outbox.poll(&mut cx) {
                    note(String::from_utf8_lossy(&bytes).into_owned());
                }
            }
            all(&outbox).into_iter().for_each(&mut note);
            prop_assert!(outbox.inner().waiting.is_empty());
            prop_assert_eq!(told, gone);
            prop_assert_eq!(taken + told, pushed);
        }
    }
}
