//! A set of filters, or a change of one, on its way out over one link: in
//! frames of bounded size, paced, while the set may go on changing.
//!
//! A transfer carries one version of a set to its end. What changes meanwhile
//! is held back on that link; when the last frame has left, the difference from
//! that version to the present one follows.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use weft_base::{Epoch, HubId};
use weft_wire::frame::{self, Frame, Interest};

use crate::filters::{Change, Item};

/// Bytes of changes in one frame, unless a single change is longer.
pub(crate) const CHUNK_BYTES: usize = 32 << 10;

/// What is under way.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    pub(crate) epoch: Epoch,
    /// 0: the whole set.
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// The set at version `to`.
    pub(crate) set: Arc<BTreeSet<Item>>,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    /// All of `set` after this item.
    Whole { after: Option<Item> },
    /// These changes from this one on.
    Changes { list: Arc<[Change]>, at: usize },
}

impl Transfer {
    /// The whole set.
    pub(crate) fn whole(epoch: Epoch, version: u64, set: Arc<BTreeSet<Item>>) -> Self {
        Self { epoch, from: 0, to: version, set, body: Body::Whole { after: None } }
    }

    /// A change from version `from` to `to`, which leads to `set`.
    pub(crate) fn changes(epoch: Epoch, from: u64, to: u64, list: Arc<[Change]>, set: Arc<BTreeSet<Item>>) -> Self {
        Self { epoch, from, to, set, body: Body::Changes { list, at: 0 } }
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.from == 0
    }

    /// Appends the next frame to `out`; answers whether it was the last.
    pub(crate) fn next_frame(&mut self, hub: HubId, out: &mut Vec<u8>) -> bool {
        let mut changes = Vec::new();
        let mut bytes = 0;
        let mut more = false;
        let mut take = |add: bool, item: &Item| {
            bytes += item.to_frame(add).encoded_len() + 4;
            changes.push((add, item.clone()));
            bytes < CHUNK_BYTES
        };
        match &mut self.body {
            Body::Whole { after } => {
                let start = after.take().map_or(Bound::Unbounded, Bound::Excluded);
                let mut rest = self.set.range((start, Bound::Unbounded)).peekable();
                while let Some(item) = rest.next() {
                    if !take(true, item) && rest.peek().is_some() {
                        *after = Some(item.clone());
                        more = true;
                        break;
                    }
                }
            }
            Body::Changes { list, at } => {
                while let Some(change) = list.get(*at) {
                    *at += 1;
                    if !take(change.add, &change.item) && *at < list.len() {
                        more = true;
                        break;
                    }
                }
            }
        }
        let changes = changes.iter().map(|(add, item)| item.to_frame(*add)).collect();
        let interest = Interest { hub, epoch: self.epoch, from_version: self.from, to_version: self.to, changes, more };
        frame::encode(&Frame::Interest(interest), out);
        !more
    }
}

#[cfg(test)]
mod tests {
    use weft_topic::Filter;

    use super::*;
    use crate::StreamDef;

    #[test]
    fn a_long_set_goes_in_bounded_frames_and_arrives_whole() {
        let set: BTreeSet<Item> = (0..5000)
            .map(|n| (n, Filter::parse(&format!("level/{n:05}/{}", "x".repeat(40))).expect("a filter")))
            .map(|(n, filter)| match n % 3 {
                0 => Item::plain(filter),
                1 => Item::of_stream(
                    filter,
                    Arc::new(StreamDef { name: "s".into(), id: 7, role: 1, unreachable: 1, consistency: 2 }),
                ),
                _ => Item::of_group(filter, "a-group".into(), n),
            })
            .collect();
        let mut transfer = Transfer::whole(Epoch(7), 3, Arc::new(set.clone()));
        let mut arrived = BTreeSet::new();
        let mut frames = 0;
        loop {
            let mut out = Vec::new();
            let last = transfer.next_frame(HubId(1), &mut out);
            assert!(out.len() < CHUNK_BYTES + 2048);
            let Ok(Frame::Interest(interest)) = Frame::decode(&out) else { panic!("not an interest frame") };
            assert_eq!((interest.from_version, interest.to_version, interest.more), (0, 3, !last));
            for change in interest.changes {
                assert!(change.add);
                let filter = Filter::parse(change.filter).expect("a filter");
                assert!(arrived.insert(Item::of_frame(&change, filter)));
            }
            frames += 1;
            if last {
                break;
            }
        }
        assert_eq!(arrived, set);
        assert!(frames > 5);
    }

    #[test]
    fn an_empty_set_is_one_frame() {
        let mut out = Vec::new();
        assert!(Transfer::whole(Epoch(1), 1, Arc::default()).next_frame(HubId(1), &mut out));
        assert!(matches!(Frame::decode(&out), Ok(Frame::Interest(i)) if i.changes.is_empty() && !i.more));
    }
}
