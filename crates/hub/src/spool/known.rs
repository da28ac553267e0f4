//! Which streams are spooled for: those that the mesh tells of with that
//! policy, remembered while nobody tells. Pure.
//!
//! A stream is forgotten when it has another policy, or when all its homes have
//! been within reach for some time and none has it. Bounded: while there is no
//! room, another stream's publishes are refused as if it asked for that.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use weft_base::{HubId, Mono};
use weft_mesh::Routes;
use weft_topic::{Filter, InterestSet, Topic};

use super::SpooledStream;

/// What the mesh says of a stream.
#[derive(Default)]
struct Told {
    name: String,
    filters: BTreeSet<String>,
    homes: BTreeSet<HubId>,
    spools: bool,
}

/// The streams.
#[derive(Debug, Default)]
pub(crate) struct Known {
    streams: BTreeMap<u64, SpooledStream>,
    filters: InterestSet<u64>,
    /// Since when all homes are there and none has the stream.
    missing: BTreeMap<u64, Mono>,
    /// Of them, those that have been so for long enough to take nothing more for them.
    doubted: BTreeSet<u64>,
    most: usize,
}

/// How long a stream is missing, while all its homes are there, before nothing
/// more is taken for it, and before what waits is given up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) doubt: Duration,
    pub(crate) gone: Duration,
}

/// What followed from looking at the mesh.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Observed {
    /// The list is another one.
    pub(crate) changed: bool,
    /// Publishes may go elsewhere now.
    pub(crate) other_routes: bool,
    /// Streams that are no more.
    pub(crate) gone: Vec<SpooledStream>,
}

impl Known {
    /// These, and at most so many.
    pub(crate) fn new(streams: Vec<SpooledStream>, most: usize) -> Self {
        let streams = streams.into_iter().map(|stream| (stream.id, stream)).collect();
        let mut known = Self { streams, most, ..Self::default() };
        known.index();
        known
    }

    pub(crate) fn contains(&self, id: u64) -> bool {
        self.streams.contains_key(&id)
    }

    pub(crate) fn name_of(&self, id: u64) -> Option<&str> {
        self.streams.get(&id).map(|stream| stream.name.as_str()).filter(|name| !name.is_empty())
    }

    /// As it is saved.
    pub(crate) fn list(&self) -> Vec<SpooledStream> {
        self.streams.values().cloned().collect()
    }

    /// The streams that capture a topic and are not missing.
    pub(crate) fn matching(&self, topic: Topic<'_>, mut f: impl FnMut(u64)) {
        self.filters.for_each_match(topic, |id| {
            if !self.doubted.contains(id) {
                f(*id);
            }
        });
    }

    /// Whether something is to be looked at again when time has passed.
    pub(crate) fn waits(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Looks at what the mesh says. `busy`: something is spooled for the stream.
    /// `names`: of hubs that were within reach.
    pub(crate) fn observe(
        &mut self,
        routes: &Routes,
        (now, patience): (Mono, Patience),
        busy: impl Fn(u64) -> bool,
        names: impl Fn(HubId) -> Option<String>,
    ) -> Observed {
        let told = told(routes);
        let mut observed = Observed::default();
        let doubted = std::mem::take(&mut self.doubted);
        for (id, said) in &told {
            self.missing.remove(id);
            if !said.spools && !busy(*id) {
                observed.changed |= self.streams.remove(id).is_some();
                continue;
            }
            let has_room = self.streams.len() < self.most;
            let old = self.streams.get(id);
            if old.is_none() && !has_room {
                continue;
            }
            let mut homes: BTreeSet<String> = said.homes.iter().filter_map(|hub| names(*hub)).collect();
            // Of a home that cannot be reached the mesh may know nothing any more.
            let away = old.into_iter().flat_map(|old| &old.homes);
            homes.extend(away.filter(|home| !routes.is_reachable(HubId::of_name(home))).cloned());
            let fresh = SpooledStream {
                id: *id,
                name: said.name.clone(),
                filters: said.filters.iter().cloned().collect(),
                homes: homes.into_iter().collect(),
            };
            if old != Some(&fresh) {
                self.streams.insert(*id, fresh);
                observed.changed = true;
            }
        }
        let untold: Vec<u64> = self.streams.keys().filter(|id| !told.contains_key(id)).copied().collect();
        for id in untold {
            let Some(stream) = self.streams.get(&id) else { continue };
            let all_there = stream.homes.iter().all(|home| routes.is_reachable(HubId::of_name(home)));
            if stream.homes.is_empty() || !all_there {
                self.missing.remove(&id);
                continue;
            }
            let since = *self.missing.entry(id).or_insert(now);
            if now.since(since) >= patience.doubt {
                self.doubted.insert(id);
            }
            if now.since(since) >= patience.gone {
                self.missing.remove(&id);
                observed.gone.extend(self.streams.remove(&id));
                observed.changed = true;
            }
        }
        observed.other_routes = observed.changed || doubted != self.doubted;
        if observed.changed {
            self.index();
        }
        observed
    }

    fn index(&mut self) {
        self.filters = InterestSet::new();
        for stream in self.streams.values() {
            // Those that are none were none when they were told.
            for filter in stream.filters.iter().filter_map(|text| Filter::parse(text).ok()) {
                self.filters.insert(&filter, stream.id);
            }
        }
    }
}

fn told(routes: &Routes) -> BTreeMap<u64, Told> {
    let mut told: BTreeMap<u64, Told> = BTreeMap::new();
    routes.stream_filters(|filter, at| {
        let said = told.entry(at.id).or_default();
        said.filters.insert(filter.as_str().to_owned());
        said.homes.insert(at.hub);
        said.spools |= at.spools;
    });
    for home in routes.all_streams() {
        if let Some(said) = told.get_mut(&home.def.id) {
            said.name = home.def.name.to_string();
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;

    use weft_base::{Epoch, Now, UnixNanos};
    use weft_mesh::{Command, Event, HubInfo, LinkId, Mesh, MeshOptions, StreamDef};
    use weft_wire::frame::{Frame, Peek, peek};

    use super::*;

    const PATIENCE: Patience = Patience { doubt: Duration::from_secs(1), gone: Duration::from_secs(5) };
    const LINK: LinkId = LinkId(1);

    /// The hubs `here` and `home`, and a link between them.
    struct Two {
        hubs: [Mesh; 2],
        wire: VecDeque<(usize, Vec<u8>)>,
        clock: u64,
    }

    fn info(name: &str) -> HubInfo {
        HubInfo {
            id: HubId::of_name(name),
            name: name.to_owned(),
            region: String::new(),
            labels: Vec::new(),
            epoch: Epoch(1),
        }
    }

    impl Two {
        fn new() -> Self {
            let hubs = ["here", "home"].map(|name| Mesh::new(MeshOptions::default(), info(name), 7));
            let mut two = Self { hubs, wire: VecDeque::new(), clock: 0 };
            two.link(true);
            two
        }

        fn link(&mut self, up: bool) {
            for (hub, peer) in [(0, "home"), (1, "here")] {
                let HubInfo { id, name, region, epoch, .. } = info(peer);
                let link = LINK;
                match up {
                    true => self.tell(hub, Event::LinkUp { link, hub: id, epoch, name, region, version: 2, cost: 0 }),
                    false => self.tell(hub, Event::LinkDown { link }),
                }
            }
            self.talk();
        }

        /// Both hear what the other says.
        fn talk(&mut self) {
            while let Some((hub, bytes)) = self.wire.pop_front() {
                let mut rest = bytes.as_slice();
                while let Ok(Peek::Frame { len }) = peek(rest, usize::MAX) {
                    let (one, later) = rest.split_at(len);
                    rest = later;
                    let frame = Frame::decode(one).expect("a frame of a decider");
                    self.tell(hub, Event::Frame { link: LINK, frame: &frame });
                }
            }
        }

        /// The home has a stream of this policy, or has it no more.
        fn stream(&mut self, add: bool, id: u64, unreachable: u8) {
            let def = StreamDef { name: "all".into(), id, role: 0, unreachable, consistency: 0 };
            self.tell(1, Event::Stream { add, def: Arc::new(def), filter: Filter::parse("t/**").expect("a filter") });
            self.talk();
        }

        fn tell(&mut self, hub: usize, event: Event<'_>) {
            let mut commands = Vec::new();
            // What a hub tells comes together, so each change has its own time.
            self.clock += 10_000_000;
            let now = Now { mono: Mono(self.clock), wall: UnixNanos(self.clock) };
            self.hubs[hub].apply(event, now, &mut commands);
            for command in commands {
                if let Command::Send { bytes, .. } = command {
                    self.wire.push_back((1 - hub, bytes));
                }
            }
        }

        /// What follows from looking at this second.
        fn look(&self, known: &mut Known, second: u64, busy: bool) -> Observed {
            let name = |hub| (hub == HubId::of_name("home")).then(|| "home".to_owned());
            known.observe(&self.hubs[0].routes(), (Mono(second * 1_000_000_000), PATIENCE), |_| busy, name)
        }
    }

    fn ids(known: &Known) -> Vec<u64> {
        let mut ids = Vec::new();
        known.matching(Topic::parse("t/a").expect("a topic"), |id| ids.push(id));
        ids
    }

    fn all() -> SpooledStream {
        SpooledStream {
            id: 7,
            name: "all".to_owned(),
            filters: vec!["t/**".to_owned()],
            homes: vec!["home".to_owned()],
        }
    }

    #[test]
    fn streams_of_the_policy_are_known_while_nobody_tells_of_them_and_no_others() {
        let (mut two, mut known) = (Two::new(), Known::new(Vec::new(), 8));
        two.stream(true, 6, 0);
        two.stream(true, 7, 1);
        assert!(two.look(&mut known, 1, false).changed);
        assert_eq!((known.list(), ids(&known)), (vec![all()], vec![7]));
        two.link(false);
        assert_eq!(two.look(&mut known, 900, false), Observed::default());
        // As after a restart: no hub is known at all.
        let mut later = Known::new(known.list(), 8);
        let alone = Mesh::new(MeshOptions::default(), info("here"), 7).routes();
        let observed = later.observe(&alone, (Mono(9_000_000_000), PATIENCE), |_| false, |_| None);
        assert_eq!((observed, ids(&later)), (Observed::default(), vec![7]));
    }

    #[test]
    fn one_of_another_policy_is_forgotten_once_nothing_is_spooled_for_it() {
        let (mut two, mut known) = (Two::new(), Known::new(vec![all()], 8));
        two.stream(true, 7, 0);
        two.look(&mut known, 1, true);
        assert!(known.contains(7));
        assert!(two.look(&mut known, 2, false).changed && !known.contains(7));
    }

    #[test]
    fn one_that_its_home_has_no_more_takes_nothing_and_is_given_up_when_that_stays_so() {
        let (mut two, mut known) = (Two::new(), Known::new(vec![all()], 8));
        assert_eq!((two.look(&mut known, 1, true).gone, ids(&known)), (vec![], vec![7]), "it may come yet");
        assert!(two.look(&mut known, 2, true).other_routes && ids(&known).is_empty());
        two.stream(true, 7, 1);
        assert!(two.look(&mut known, 3, true).other_routes);
        assert_eq!((ids(&known), known.waits()), (vec![7], false), "it came");
        two.stream(false, 7, 1);
        assert!(two.look(&mut known, 10, true).gone.is_empty());
        two.link(false);
        assert!(two.look(&mut known, 14, true).gone.is_empty(), "who knows, while it is away");
        two.link(true);
        assert!(two.look(&mut known, 20, true).gone.is_empty());
        assert_eq!(two.look(&mut known, 25, true).gone, [all()]);
        assert!(!known.contains(7));
    }

    #[test]
    fn there_are_no_more_than_have_room() {
        let (mut two, mut known) = (Two::new(), Known::new(vec![all()], 1));
        two.stream(true, 7, 1);
        two.stream(true, 8, 1);
        two.look(&mut known, 1, false);
        assert_eq!(ids(&known), [7]);
        assert!(!two.look(&mut Known::new(Vec::new(), 0), 1, false).changed, "without a disk");
    }
}
