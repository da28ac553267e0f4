//! A stream, read from a place on by one who listens: each event has the position
//! behind it as its `id`, which every home of the stream understands, and with which a
//! reading goes on exactly there, at this hub or at another.
//!
//! It is read as its connection takes it. What is under way is bounded by [`CREDIT`];
//! what the connection does not take waits in the stream.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Bytes;
use futures_lite::Stream as _;
use weft_base::ByteCount;
use weft_client::{Delivery, Position, Subscription};

use super::super::inside::Lease;
use super::super::seats::Over;
use super::body::Source;
use super::event::{self, Form, Here};
use super::live::over_of;

/// What may be on its way from the hub: events and bytes.
pub(super) const CREDIT: (u64, ByteCount) = (256, ByteCount::kib(64));
/// Deliveries that are looked at in a turn.
const TURN: usize = 16;

/// How far a stream was read: of each home, by its tag, the next sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct At(BTreeMap<u32, u64>);

impl At {
    /// As it was told to somebody.
    pub(super) fn of(position: &Position) -> Self {
        let text = position.to_string();
        let pair = |part: &str| {
            let (home, next) = part.split_once(':')?;
            Some((u32::from_str_radix(home, 16).ok()?, next.parse().ok()?))
        };
        Self(text.split(',').filter_map(pair).collect())
    }

    /// Whether an event of this home is behind it; if so it is now read.
    pub(super) fn take(&mut self, home: u32, sequence: u64) -> bool {
        let next = self.0.entry(home).or_default();
        if sequence < *next {
            return false;
        }
        *next = sequence.saturating_add(1);
        true
    }

    /// In the form of [`Position`].
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (home, next) in &self.0 {
            let comma = if text.is_empty() { "" } else { "," };
            // Into memory it cannot fail.
            let _ = write!(text, "{comma}{home:08x}:{next}");
        }
        text
    }
}

/// The reading.
pub(super) struct Reader {
    pub(super) subscription: Subscription,
    pub(super) at: At,
    pub(super) here: Here,
    pub(super) form: Form,
    /// The stream's name.
    pub(super) stream: String,
    #[allow(dead_code, reason = "held")]
    pub(super) lease: Lease,
    /// What is written and not taken.
    pub(super) ready: VecDeque<Bytes>,
}

impl Reader {
    fn write(&mut self, delivery: &Delivery) {
        let mut out = Vec::new();
        event::gap(&mut out, delivery.gap());
        for one in event::events(delivery) {
            if let Some((home, sequence)) = one.home() {
                if !self.at.take(home, sequence) {
                    continue;
                }
                out.extend_from_slice(format!("id: {}\n", self.at.text()).as_bytes());
            }
            event::data(&mut out, &one, &self.here, (self.form, Some(&self.stream)));
        }
        if !out.is_empty() {
            self.ready.push_back(out.into());
        }
    }
}

impl Source for Reader {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Over>> {
        for _ in 0..TURN {
            if let Some(bytes) = self.ready.pop_front() {
                return Poll::Ready(Ok(bytes));
            }
            match Pin::new(&mut self.subscription).poll_next(cx) {
                Poll::Ready(Some(Ok(delivery))) => self.write(&delivery),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(over_of(Some(&error)))),
                Poll::Ready(None) => return Poll::Ready(Err(over_of(None))),
                Poll::Pending => return Poll::Pending,
            }
        }
        // Others have their turn.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_told_behind_each_event_and_none_comes_twice() {
        let mut at = At::default();
        assert!(at.take(0xa1, 17) && at.take(0xb2, 1) && !at.take(0xa1, 17) && at.take(0xa1, 20));
        assert_eq!(at.text(), "000000a1:21,000000b2:2");
        let position: Position = at.text().parse().expect("a position");
        assert_eq!(At::of(&position), at);
        let mut again = At::of(&position);
        assert!(!again.take(0xa1, 20) && again.take(0xa1, 21) && again.take(0xc3, 0));
        assert_eq!(At::of(&Position::default()), At::default());
    }
}
