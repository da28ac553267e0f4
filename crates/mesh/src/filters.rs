//! The interest of one hub as a set, with a hash that all hubs compute alike.

use std::collections::BTreeSet;
use std::sync::Arc;

use weft_topic::{Filter, InterestSet};
use weft_wire::frame::InterestChange;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::Kind;
use crate::groups::{GroupAt, GroupKey, Share};
use crate::streams::{Directory, StreamAt, StreamDef};

/// What an interest set is made of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Item {
    pub(crate) kind: Kind,
    pub(crate) filter: Filter,
    /// Of a group: which, and its members' part. Each weight is another item.
    pub(crate) share: Option<Share>,
    /// Of a stream: which.
    pub(crate) stream: Option<Arc<StreamDef>>,
}

impl Item {
    /// A filter that plain subscribers want.
    pub(crate) fn plain(filter: Filter) -> Self {
        Self { kind: Kind::Live, filter, share: None, stream: None }
    }

    /// A filter of a stream.
    pub(crate) fn of_stream(filter: Filter, def: Arc<StreamDef>) -> Self {
        Self { kind: Kind::Stream, filter, share: None, stream: Some(def) }
    }

    /// A filter that the members of a group want.
    pub(crate) fn of_group(filter: Filter, group: Arc<str>, weight: u32) -> Self {
        Self { kind: Kind::Group, filter, share: Some(Share { group, weight }), stream: None }
    }

    /// As it came from another hub, whose filter is parsed already.
    pub(crate) fn of_frame(change: &InterestChange<'_>, filter: Filter) -> Self {
        match change.kind {
            Kind::Group => Self::of_group(filter, change.group.into(), change.weight),
            Kind::Stream => Self::of_stream(filter, Arc::new(StreamDef::of_frame(&change.stream))),
            Kind::Live => Self::plain(filter),
        }
    }

    /// As it is told to another hub.
    pub(crate) fn to_frame(&self, add: bool) -> InterestChange<'_> {
        let (group, weight) = self.share.as_ref().map_or(("", 0), |share| (&*share.group, share.weight));
        let stream = self.stream.as_ref().map(|def| def.to_frame()).unwrap_or_default();
        InterestChange { add, kind: self.kind, filter: self.filter.as_str(), group, weight, stream }
    }

    fn hash(&self) -> u64 {
        let hash = xxh3_64_with_seed(self.filter.as_str().as_bytes(), self.kind as u64);
        match (&self.share, &self.stream) {
            (Some(share), _) => xxh3_64_with_seed(share.group.as_bytes(), hash ^ u64::from(share.weight)),
            (None, Some(def)) => def.hash(hash),
            (None, None) => hash,
        }
    }
}

/// Who wants what, of all other hubs, as look-ups need it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wants {
    /// Plain subscribers, by their hub's slot.
    pub(crate) plain: InterestSet<u16>,
    pub(crate) groups: InterestSet<GroupAt>,
    pub(crate) streams: InterestSet<StreamAt>,
    pub(crate) directory: Directory,
}

impl Wants {
    fn group_at(slot: u16, share: &Share) -> GroupAt {
        GroupAt { group: GroupKey::of_name(&share.group), slot, weight: share.weight }
    }

    pub(crate) fn insert(&mut self, slot: u16, item: &Item) {
        match (&item.share, &item.stream) {
            (Some(share), _) => self.groups.insert(&item.filter, Self::group_at(slot, share)),
            (None, Some(def)) => {
                self.directory.insert(slot, def);
                self.streams.insert(&item.filter, StreamAt::new(slot, def))
            }
            (None, None) => self.plain.insert(&item.filter, slot),
        };
    }

    pub(crate) fn remove(&mut self, slot: u16, item: &Item) {
        match (&item.share, &item.stream) {
            (Some(share), _) => self.groups.remove(&item.filter, &Self::group_at(slot, share)),
            (None, Some(def)) => {
                self.directory.remove(slot, def);
                self.streams.remove(&item.filter, &StreamAt::new(slot, def))
            }
            (None, None) => self.plain.remove(&item.filter, &slot),
        };
    }
}

/// One step from a set to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) add: bool,
    pub(crate) item: Item,
}

/// A set of filters. A snapshot costs nothing; changing the set while a
/// snapshot is held costs one copy of the set.
#[derive(Clone, Debug, Default)]
pub(crate) struct FilterSet {
    items: Arc<BTreeSet<Item>>,
    counts: [usize; 3],
    hash: u64,
}

impl FilterSet {
    /// Makes the change; answers whether it was one.
    pub(crate) fn apply(&mut self, change: &Change) -> bool {
        // Looked up first, so that what changes nothing never copies the set.
        if self.items.contains(&change.item) == change.add {
            return false;
        }
        let items = Arc::make_mut(&mut self.items);
        let hash = change.item.hash();
        if let Some(count) = self.counts.get_mut(change.item.kind as usize) {
            *count = if change.add { *count + 1 } else { count.saturating_sub(1) };
        }
        if change.add {
            items.insert(change.item.clone());
            self.hash = self.hash.wrapping_add(hash);
        } else {
            items.remove(&change.item);
            self.hash = self.hash.wrapping_sub(hash);
        }
        true
    }

    pub(crate) fn insert(&mut self, item: Item) -> bool {
        self.apply(&Change { add: true, item })
    }

    pub(crate) fn contains(&self, item: &Item) -> bool {
        self.items.contains(item)
    }

    pub(crate) fn count(&self, kind: Kind) -> usize {
        self.counts.get(kind as usize).copied().unwrap_or(0)
    }

    /// The sum of the items' hashes: the same whatever the order they came in.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Item> {
        self.items.iter()
    }

    pub(crate) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Item> {
        self.items.iter().filter(move |item| item.kind == kind)
    }

    pub(crate) fn snapshot(&self) -> Arc<BTreeSet<Item>> {
        self.items.clone()
    }
}

/// The changes that lead from one set to another.
pub(crate) fn difference(from: &BTreeSet<Item>, to: &BTreeSet<Item>) -> Vec<Change> {
    let removed = from.difference(to).map(|item| Change { add: false, item: item.clone() });
    let added = to.difference(from).map(|item| Change { add: true, item: item.clone() });
    removed.chain(added).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(text: &str) -> Item {
        Item::plain(Filter::parse(text).expect("a filter"))
    }

    #[test]
    fn the_hash_is_of_the_content_alone() {
        let (mut a, mut b) = (FilterSet::default(), FilterSet::default());
        for text in ["x", "y/*", "z"] {
            assert!(a.insert(item(text)));
        }
        for text in ["z", "q", "x", "y/*"] {
            b.insert(item(text));
        }
        assert_ne!(a.hash(), b.hash());
        assert!(b.apply(&Change { add: false, item: item("q") }));
        assert!(!b.apply(&Change { add: false, item: item("q") }));
        assert_eq!((a.hash(), a.count(Kind::Live)), (b.hash(), 3));
        b.apply(&Change { add: false, item: item("x") });
        let def = |id, role| Arc::new(StreamDef { name: "s".into(), id, role, unreachable: 0, consistency: 0 });
        b.insert(Item::of_stream(item("x").filter, def(1, 0)));
        assert_ne!(a.hash(), b.hash(), "the kind counts");
        let member = |group: &str, weight| Item::of_group(item("x").filter, group.into(), weight);
        let stream = |id, role| Item::of_stream(item("x").filter, def(id, role));
        let streams = [stream(1, 0), stream(2, 0), stream(1, 1)];
        let all = [member("g", 1), member("g", 2), member("h", 1), item("x")].into_iter().chain(streams);
        let hashes: BTreeSet<u64> = all.map(|item| item.hash()).collect();
        assert_eq!(hashes.len(), 7, "group and weight count, and what a stream is");
    }

    #[test]
    fn differences_lead_from_one_set_to_the_other() {
        let set = |texts: &[&str]| texts.iter().map(|text| item(text)).collect::<BTreeSet<_>>();
        let (from, to) = (set(&["a", "b"]), set(&["b", "c"]));
        let steps = difference(&from, &to);
        assert_eq!(steps, [Change { add: false, item: item("a") }, Change { add: true, item: item("c") }]);
    }
}
