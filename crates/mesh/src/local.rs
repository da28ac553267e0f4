//! This hub's own interest: what its subscribers and streams want, reduced to
//! the smallest cover, versioned, and told in batches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use weft_base::Mono;
use weft_topic::{Aggregate, Filter};

use crate::Kind;
use crate::damp::Damp;
use crate::filters::{Change, FilterSet, Item};
use crate::streams::StreamDef;

/// What the hub wants and what it has told the mesh of it.
pub(crate) struct Local {
    limit: usize,
    damp: Damp,
    wanted: Aggregate,
    /// Filters of streams here, and how often each is wanted.
    streams: BTreeMap<(Arc<StreamDef>, Filter), u32>,
    /// The members of groups here: what their weights add up to.
    groups: BTreeMap<(Arc<str>, Filter), u32>,
    /// Told as `**`, because the cover is larger than the limit.
    collapsed: bool,
    /// Changes of the covers that were not told yet.
    pending: BTreeMap<Item, bool>,
    /// What the mesh was told, at this version.
    pub(crate) told: FilterSet,
    pub(crate) version: u64,
    told_at: Option<Mono>,
    /// How long what was told last puts off what is told next.
    put_off: Duration,
}

impl Local {
    pub(crate) fn new(limit: usize, damp: Damp) -> Self {
        Self {
            limit: limit.max(1),
            damp,
            wanted: Aggregate::new(),
            streams: BTreeMap::new(),
            groups: BTreeMap::new(),
            collapsed: false,
            pending: BTreeMap::new(),
            told: FilterSet::default(),
            // The empty set is a set: 0 would mean that nothing is known.
            version: 1,
            told_at: None,
            put_off: Duration::ZERO,
        }
    }

    /// One more, or one less, live subscriber wants this filter.
    pub(crate) fn change(&mut self, add: bool, filter: &Filter, now: Mono) {
        let change = if add { self.wanted.insert(filter) } else { self.wanted.remove(filter) };
        let steps = change.removed.into_iter().map(|f| (f, false)).chain(change.added.into_iter().map(|f| (f, true)));
        for (filter, add) in steps {
            let item = Item::plain(filter);
            if add {
                self.damp.wanted(&item.filter);
            } else if self.told.contains(&item) && self.damp.withdraw(&item.filter, now) {
                continue;
            }
            self.note(add, item);
        }
    }

    /// Withdrawn filters that stay told for a while.
    pub(crate) fn held(&self) -> usize {
        self.damp.held()
    }

    /// A stream here begins or ceases to want a filter. Streams are told one by
    /// one: each is somewhere else too, or nowhere else.
    pub(crate) fn stream(&mut self, add: bool, def: Arc<StreamDef>, filter: Filter) {
        let key = (def.clone(), filter.clone());
        let old = self.streams.get(&key).copied().unwrap_or(0);
        let new = if add { old.saturating_add(1) } else { old.saturating_sub(1) };
        if new == 0 {
            self.streams.remove(&key);
        } else {
            self.streams.insert(key, new);
        }
        if (old == 0) != (new == 0) {
            self.note(new > 0, Item::of_stream(filter, def));
        }
    }

    /// A member of a group joins or leaves. Groups are told one by one, not as
    /// a cover: a wider filter of another group, or of a plain subscriber, does
    /// not stand for theirs.
    pub(crate) fn member(&mut self, add: bool, group: Arc<str>, filter: Filter, weight: u16) {
        let weight = u32::from(weight.max(1));
        let key = (group.clone(), filter.clone());
        let old = self.groups.get(&key).copied().unwrap_or(0);
        let new = if add { old.saturating_add(weight) } else { old.saturating_sub(weight) };
        if new == 0 {
            self.groups.remove(&key);
        } else {
            self.groups.insert(key, new);
        }
        if old > 0 {
            self.note(false, Item::of_group(filter.clone(), group.clone(), old));
        }
        if new > 0 {
            self.note(true, Item::of_group(filter, group, new));
        }
    }

    /// Something is to be told, unless the mesh was told so already.
    fn note(&mut self, add: bool, item: Item) {
        if self.told.contains(&item) == add {
            self.pending.remove(&item);
        } else {
            self.pending.insert(item, add);
        }
    }

    /// Whether the mesh was told all.
    pub(crate) fn is_told(&self) -> bool {
        self.pending.is_empty()
    }

    /// When the changes are to be told: at once, or so long after the last time.
    pub(crate) fn due(&self, batch: Duration) -> Option<Mono> {
        let next = self.told_at.map_or(Mono(0), |at| at + batch.max(self.put_off));
        let pending = (!self.pending.is_empty()).then_some(next);
        pending.into_iter().chain(self.damp.next().map(|at| at.max(next))).min()
    }

    /// Takes the changes that are to be told, and reckons them as told, with
    /// the next version. Empty when there is nothing to tell.
    /// Each puts off the next telling by `each`, all together by a second at most.
    pub(crate) fn take_changes(&mut self, now: Mono, each: Duration) -> Vec<Change> {
        for filter in self.damp.release(now) {
            self.note(false, Item::plain(filter));
        }
        let pending = std::mem::take(&mut self.pending);
        let mut changes: Vec<Change> = Vec::new();
        let everything = Item::plain(Filter::everything());
        if !self.collapsed && self.wanted.cover_len() > self.limit {
            self.collapsed = true;
            changes.extend(self.told.of_kind(Kind::Live).map(|item| Change { add: false, item: item.clone() }));
            changes.push(Change { add: true, item: everything });
        } else if self.collapsed && self.wanted.cover_len() <= self.limit / 2 {
            self.collapsed = false;
            changes.push(Change { add: false, item: everything });
            changes.extend(self.wanted.cover().map(|f| Change { add: true, item: Item::plain(f.clone()) }));
        } else if !self.collapsed {
            let live = pending.iter().filter(|(item, _)| item.kind == Kind::Live);
            changes.extend(live.map(|(item, add)| Change { add: *add, item: item.clone() }));
        }
        let others = pending.into_iter().filter(|(item, _)| item.kind != Kind::Live);
        changes.extend(others.map(|(item, add)| Change { add, item }));
        changes.retain(|change| self.told.apply(change));
        if !changes.is_empty() {
            self.version += 1;
            self.told_at = Some(now);
            let count = u32::try_from(changes.len()).unwrap_or(u32::MAX);
            self.put_off = each.saturating_mul(count).min(Duration::from_secs(1));
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> Filter {
        Filter::parse(text).expect("a filter")
    }

    fn told(local: &mut Local) -> Vec<String> {
        let changes = local.take_changes(Mono(1), Duration::ZERO);
        changes.iter().map(|c| format!("{}{}", if c.add { '+' } else { '-' }, c.item.filter.as_str())).collect()
    }

    #[test]
    fn only_changes_of_the_cover_are_told_and_only_once() {
        let mut local = Local::new(100, Damp::new(Duration::from_secs(1), Duration::ZERO));
        local.change(true, &filter("a/b"), Mono(1));
        local.change(true, &filter("a/b"), Mono(1));
        local.change(true, &filter("a/*"), Mono(1));
        assert_eq!(told(&mut local), ["+a/*"]);
        assert_eq!(local.version, 2);
        local.change(false, &filter("a/*"), Mono(1));
        local.change(true, &filter("a/*"), Mono(1));
        assert_eq!(local.due(Duration::ZERO), None, "there and back is nothing");
        local.change(false, &filter("a/*"), Mono(1));
        let mut steps = told(&mut local);
        steps.sort();
        assert_eq!(steps, ["+a/b", "-a/*"]);
        local.change(false, &filter("a/b"), Mono(1));
        assert_eq!(told(&mut local), [""; 0], "another subscriber wants it still");
    }

    #[test]
    fn a_group_is_told_with_the_weight_of_its_members_here() {
        let mut local = Local::new(100, Damp::new(Duration::from_secs(1), Duration::ZERO));
        let told = |local: &mut Local| -> Vec<(bool, u32)> {
            let changes = local.take_changes(Mono(1), Duration::ZERO);
            changes.iter().map(|c| (c.add, c.item.share.as_ref().expect("a group").weight)).collect()
        };
        let group: Arc<str> = "board".into();
        local.member(true, group.clone(), filter("a/b"), 2);
        local.member(true, group.clone(), filter("a/b"), 3);
        assert_eq!(told(&mut local), [(true, 5)]);
        local.member(false, group.clone(), filter("a/b"), 3);
        local.member(true, group.clone(), filter("a/b"), 3);
        assert_eq!(local.due(Duration::ZERO), None, "there and back is nothing");
        local.member(false, group.clone(), filter("a/b"), 2);
        assert_eq!(told(&mut local), [(true, 3), (false, 5)]);
        local.change(true, &filter("**"), Mono(1));
        assert_eq!(local.take_changes(Mono(1), Duration::ZERO).len(), 1, "what is wider does not stand for a group");
        local.member(false, group, filter("a/b"), 3);
        assert_eq!(told(&mut local), [(false, 3)]);
    }

    #[test]
    fn beyond_the_limit_the_hub_wants_everything_until_it_has_shrunk_to_half() {
        let mut local = Local::new(4, Damp::new(Duration::from_secs(1), Duration::ZERO));
        let names = ["a", "b", "c", "d", "e"];
        for name in names {
            local.change(true, &filter(name), Mono(1));
        }
        assert_eq!(told(&mut local), ["+**"]);
        for name in ["a", "b"] {
            local.change(false, &filter(name), Mono(1));
            assert_eq!(told(&mut local), [""; 0]);
        }
        local.change(false, &filter("c"), Mono(1));
        assert_eq!(told(&mut local), ["-**", "+d", "+e"]);
        assert_eq!(local.told.count(Kind::Live), 2);
    }

    #[test]
    fn each_stream_is_told_by_itself_with_what_it_is() {
        let mut local = Local::new(2, Damp::new(Duration::from_secs(1), Duration::ZERO));
        let def =
            |name: &str, role| Arc::new(StreamDef { name: name.into(), id: 7, role, unreachable: 0, consistency: 0 });
        local.stream(true, def("a", 0), filter("x/**"));
        local.stream(true, def("b", 0), filter("x/*"));
        local.stream(true, def("c", 0), filter("**"));
        assert_eq!(told(&mut local).len(), 3, "a wider one does not stand for it, and there is no limit here");
        local.stream(false, def("a", 0), filter("x/**"));
        local.stream(true, def("a", 0), filter("x/**"));
        assert_eq!(local.due(Duration::ZERO), None, "there and back is nothing");
        local.stream(false, def("a", 0), filter("x/**"));
        local.stream(true, def("a", 1), filter("x/**"));
        assert_eq!(told(&mut local).len(), 2, "what it is to the stream has changed");
    }
}
