//! Meshes that grow by what their hubs pick: each hub has a picker and sees what
//! its part of the mesh says, as of a while ago.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use weft_base::{HubId, Mono, Random};

use super::*;

/// How old what a hub sees is, at most.
const STALE: Duration = Duration::from_secs(2);
const OPTIONS: PickOptions = PickOptions {
    nearest: 3,
    per_region: 1,
    most: 16,
    probe: Duration::from_millis(500),
    settle: Duration::from_secs(10),
};
/// Links that a hub lets others pick.
const ACCEPTED: usize = 8;

struct Hub {
    id: HubId,
    picker: Option<Picker>,
    region: usize,
    /// Where it is, in milliseconds from the corner.
    at: (u64, u64),
    up: bool,
    draining: bool,
    book: BTreeSet<usize>,
    /// What it sees, and since when.
    reach: BTreeSet<usize>,
    seen: Mono,
}

/// A link between two hubs; the first dialled, for a reason.
#[derive(Clone, Copy)]
struct Wire {
    ends: [usize; 2],
    why: Why,
    up: Mono,
}

struct World {
    now: Mono,
    random: Random,
    hubs: Vec<Hub>,
    ids: BTreeMap<HubId, usize>,
    wires: BTreeMap<u64, Wire>,
    /// Who is linked with whom, as the wires say.
    peers: Vec<BTreeSet<usize>>,
    next: u64,
    /// What measurements are off by at most, in microseconds.
    noise: u64,
    /// Which hub has opened a link to which, and how often.
    opened: BTreeMap<(usize, usize), u64>,
    refused: u64,
    /// Hubs between which nothing passes.
    cut: fn(usize, usize) -> bool,
}

impl World {
    /// Hubs in so many places, which are regions, a few ms across and many apart.
    fn new(seed: u64, hubs: usize, regions: usize) -> Self {
        let mut random = Random::from_seed(seed);
        let of = |hub: usize, random: &mut Random| {
            let region = hub % regions;
            let at = (region as u64 * 40 + random.below(6), random.below(6));
            let own = Random::from_seed(random.next_u64());
            let id = HubId::of_name(&format!("hub-{hub}"));
            let picker = Some(Picker::new(OPTIONS, id, &format!("region-{region}"), own));
            let (book, reach) = (BTreeSet::new(), BTreeSet::new());
            Hub { id, picker, region, at, up: false, draining: false, book, reach, seen: Mono(0) }
        };
        let hubs: Vec<Hub> = (0..hubs).map(|hub| of(hub, &mut random)).collect();
        let ids = hubs.iter().enumerate().map(|(at, hub)| (hub.id, at)).collect();
        let (wires, peers) = (BTreeMap::new(), vec![BTreeSet::new(); hubs.len()]);
        let (now, cut, opened) = (Mono(1), |_, _| false, BTreeMap::new());
        Self { now, random, hubs, ids, wires, peers, next: 0, noise: 0, opened, refused: 0, cut }
    }

    fn rtt(&mut self, a: usize, b: usize) -> Duration {
        let (a, b) = (self.hubs[a].at, self.hubs[b].at);
        let far = a.0.abs_diff(b.0) + a.1.abs_diff(b.1);
        Duration::from_micros(300 + far * 1_000 + self.random.below(self.noise + 1))
    }

    /// The wires have changed.
    fn rewired(&mut self) {
        self.peers.iter_mut().for_each(BTreeSet::clear);
        for Wire { ends: [a, b], .. } in self.wires.values() {
            self.peers[*a].insert(*b);
            self.peers[*b].insert(*a);
        }
    }

    fn picker(&mut self, hub: usize) -> &mut Picker {
        self.hubs[hub].picker.as_mut().expect("it is not looking")
    }

    /// What is reached from a hub, over links but those between it and another.
    fn reached(&self, root: usize, without: Option<usize>) -> BTreeSet<usize> {
        let (mut reached, mut left) = (BTreeSet::from([root]), vec![root]);
        while let Some(from) = left.pop() {
            let peers = self.peers[from].iter().copied().filter(|to| from != root || Some(*to) != without);
            left.extend(peers.filter(|to| reached.insert(*to)));
        }
        reached
    }

    fn connect(&mut self, a: usize, b: usize, why: Why) -> bool {
        let of_others = |wire: &&Wire| wire.ends[1] == b && wire.why.may_be_refused();
        if why.may_be_refused() && self.wires.values().filter(of_others).count() >= ACCEPTED {
            self.refused += 1;
            return false;
        }
        self.next += 1;
        self.wires.insert(self.next, Wire { ends: [a, b], why, up: self.now });
        self.rewired();
        let (link, hub, now) = (LinkId(self.next), self.hubs[b].id, self.now);
        self.picker(a).up(link, hub, now);
        true
    }

    fn end(&mut self, wire: u64) {
        let Some(Wire { ends, .. }) = self.wires.remove(&wire) else { return };
        self.rewired();
        let now = self.now;
        ends.into_iter().for_each(|hub| self.picker(hub).down(LinkId(wire), now));
    }

    fn stop(&mut self, hub: usize) {
        let of: Vec<u64> = self.wires.iter().filter(|(_, wire)| wire.ends.contains(&hub)).map(|(id, _)| *id).collect();
        of.into_iter().for_each(|wire| self.end(wire));
        self.hubs[hub].up = false;
    }

    /// Time passes, every hub looks when it is to.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now = self.now + Duration::from_millis(500);
            for hub in 0..self.hubs.len() {
                if self.hubs[hub].up && self.picker(hub).next() <= self.now {
                    self.look(hub);
                }
            }
        }
    }

    fn look(&mut self, me: usize) {
        // News takes a while: what is seen of the mesh is that of an earlier moment.
        if self.now.since(self.hubs[me].seen) >= STALE || self.hubs[me].reach.len() < 2 {
            let reach = self.reached(me, None);
            let of = &mut self.hubs[me];
            of.book.extend(reach.iter().filter(|hub| **hub != me));
            (of.reach, of.seen) = (reach, self.now);
        }
        let pickable = |hub: &usize| Pickable {
            hub: self.hubs[*hub].id,
            name: String::new(),
            region: format!("region-{}", self.hubs[*hub].region),
            is_reachable: self.hubs[me].reach.contains(hub) && self.hubs[*hub].up,
            is_draining: self.hubs[*hub].draining,
        };
        let hubs: Vec<Pickable> = self.hubs[me].book.iter().map(pickable).collect();
        let mine: Vec<(u64, Wire)> =
            self.wires.iter().filter(|(_, w)| w.ends.contains(&me)).map(|(n, w)| (*n, *w)).collect();
        let links: Vec<Linked> = mine
            .into_iter()
            .map(|(wire, Wire { ends, up, .. })| {
                let peer = if ends[0] == me { ends[1] } else { ends[0] };
                let rtt = (up < self.now).then(|| self.rtt(me, peer));
                Linked { link: LinkId(wire), hub: self.hubs[peer].id, rtt, is_configured: false }
            })
            .collect();
        let now = self.now;
        let mut picker = self.hubs[me].picker.take().expect("one look at a time");
        let is_spare = |hub| self.reached(me, Some(self.ids[&hub])).contains(&self.ids[&hub]);
        let picks = picker.look(&hubs, &links, is_spare, now);
        self.hubs[me].picker = Some(picker);
        for pick in picks {
            match pick {
                Pick::Open(hub, why) => {
                    let to = self.ids[&hub];
                    let can = self.hubs[to].up && !(self.cut)(me, to);
                    if can && self.connect(me, to, why) {
                        *self.opened.entry((me, to)).or_default() += 1;
                    } else {
                        self.picker(me).failed(hub, now);
                    }
                }
                Pick::Probe(hub) => {
                    let to = self.ids[&hub];
                    let rtt = (self.hubs[to].up && !(self.cut)(me, to)).then(|| self.rtt(me, to));
                    self.picker(me).probed(hub, rtt, now);
                }
                Pick::Ease(..) => {}
                Pick::Close(link) => {
                    self.end(link.0);
                }
            }
        }
    }

    /// Hubs start one after the other, each with the address of any that is there.
    fn grow(&mut self, order: &[usize], pause: Duration) {
        for (at, hub) in order.iter().enumerate() {
            self.hubs[*hub].up = true;
            if at > 0 {
                let seed = order[self.random.below(at as u64) as usize];
                self.connect(*hub, seed, Why::Spare);
            }
            self.pass(pause);
        }
    }

    fn running(&self) -> Vec<usize> {
        (0..self.hubs.len()).filter(|hub| self.hubs[*hub].up).collect()
    }

    fn is_whole(&self) -> bool {
        let running = self.running();
        running.first().is_none_or(|first| self.reached(*first, None).len() == running.len())
    }

    fn most_links(&self) -> usize {
        (0..self.hubs.len()).map(|hub| self.peers[hub].len()).max().unwrap_or(0)
    }
}

fn shuffled(count: usize, random: &mut Random) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for at in (1..count).rev() {
        order.swap(at, random.below(at as u64 + 1) as usize);
    }
    order
}

/// Long enough for every hub to have measured every other so often that no better
/// measurement is to be expected, and for what is spare to go.
fn settled(hubs: usize) -> Duration {
    OPTIONS.probe * AGAIN * hubs as u32 * 3 + OPTIONS.settle * 12
}

/// Own links at most, and those that others may have picked, with the ring's and
/// what is on its way out.
fn bound(regions: usize) -> usize {
    OPTIONS.nearest + OPTIONS.per_region * (regions - 1) + 1 + ACCEPTED + 3
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3))]

    #[test]
    fn in_whatever_order_hubs_arrive_they_become_one_mesh_of_few_links_that_stays(
        seed in any::<u64>(),
        count in 2..16usize,
        regions in 1..5usize,
        pause in 0..5_000u64,
    ) {
        let mut world = World::new(seed, count, regions);
        let order = shuffled(count, &mut Random::from_seed(seed));
        world.noise = 800;
        world.grow(&order, Duration::from_millis(pause));
        world.pass(settled(count));
        prop_assert!(world.is_whole());
        prop_assert!(world.most_links() <= bound(regions), "{} links", world.most_links());
        for hub in 0..count {
            let mine: BTreeSet<usize> = world.peers[hub].iter().map(|peer| world.hubs[*peer].region).collect();
            let others = (0..regions.min(count)).filter(|region| *region != world.hubs[hub].region);
            let missing: Vec<usize> = others.filter(|region| !mine.contains(region)).collect();
            prop_assert!(missing.is_empty() || world.refused > 0, "hub {hub} has no link to regions {missing:?}");
        }
        // A better measurement may still move a link, and nothing moves to and fro.
        world.opened.clear();
        world.pass(settled(count));
        prop_assert!(world.is_whole());
        prop_assert!(world.opened.values().all(|times| *times == 1), "{:?}", world.opened);
        prop_assert!(world.opened.len() <= count, "{:?}", world.opened);
    }

    #[test]
    fn a_mesh_whose_hubs_stop_and_one_that_was_cut_in_two_become_one_again(
        seed in any::<u64>(),
        count in 6..14usize,
    ) {
        let mut world = World::new(seed, count, 2);
        let order = shuffled(count, &mut Random::from_seed(seed));
        world.grow(&order, Duration::from_secs(1));
        world.pass(settled(count));
        prop_assert!(world.is_whole());
        // A third of the hubs stop at once.
        order.iter().take(count / 3).for_each(|hub| world.stop(*hub));
        world.pass(settled(count) * 2);
        prop_assert!(world.is_whole(), "after hubs stopped");
        // Regions are cut from each other for a while.
        world.cut = |a, b| a % 2 != b % 2;
        let across: Vec<u64> =
            world.wires.iter().filter(|(_, w)| w.ends[0] % 2 != w.ends[1] % 2).map(|(wire, _)| *wire).collect();
        across.into_iter().for_each(|wire| world.end(wire));
        world.pass(settled(count));
        let apart = world.running().iter().any(|hub| hub % 2 == 0) && world.running().iter().any(|hub| hub % 2 == 1);
        prop_assert!(!apart || !world.is_whole());
        world.cut = |_, _| false;
        world.pass(ASIDE_MOST * 2 + settled(count));
        prop_assert!(world.is_whole(), "after it healed");
    }
}

#[test]
fn a_hub_that_drains_is_left_once_there_are_others_and_is_not_picked() {
    let mut world = World::new(5, 10, 2);
    world.grow(&(0..10).collect::<Vec<_>>(), Duration::from_secs(1));
    world.pass(settled(10));
    world.hubs[3].draining = true;
    world.pass(settled(10));
    let to_it = |world: &World| world.wires.values().filter(|wire| wire.ends[1] == 3).count();
    assert_eq!(to_it(&world), 0, "only its own are left");
    assert!(world.is_whole());
    world.hubs[3].draining = false;
    world.pass(settled(10));
    assert!(to_it(&world) > 0);
}

#[test]
fn a_linked_hub_gives_way_only_to_one_that_is_clearly_nearer() {
    let hub = |name: &str, region: &str| Pickable {
        hub: HubId::of_name(name),
        name: name.to_owned(),
        region: region.to_owned(),
        is_reachable: true,
        is_draining: false,
    };
    let options = PickOptions { nearest: 1, per_region: 0, ..OPTIONS };
    let hubs = [hub("next", "b"), hub("linked", "c"), hub("other", "c")];
    let [next, linked, other] = [hubs[0].hub, hubs[1].hub, hubs[2].hub];
    let ms = Duration::from_millis;
    let link = Linked { link: LinkId(1), hub: linked, rtt: Some(ms(8)), is_configured: false };
    for (measured, near) in [(9, linked), (7, linked), (6, linked), (4, other)] {
        let mut picker = Picker::new(options, HubId::of_name("me"), "a", Random::from_seed(1));
        picker.note(&hubs, &[link], Mono(1));
        picker.probed(other, Some(ms(measured)), Mono(1));
        let wanted = picker.wanted(&hubs, &[link], Mono(1));
        assert_eq!(wanted, BTreeMap::from([(next, Why::Next), (near, Why::Near)]), "at {measured} ms");
    }
}

#[test]
fn a_hub_that_refuses_is_left_alone_ever_longer_and_others_are_picked() {
    let hub = |name: &str| Pickable {
        hub: HubId::of_name(name),
        name: name.to_owned(),
        region: "here".to_owned(),
        is_reachable: true,
        is_draining: false,
    };
    let options = PickOptions { nearest: 0, per_region: 0, ..OPTIONS };
    let hubs = [hub("b"), hub("c")];
    let mut picker = Picker::new(options, HubId::of_name("a"), "here", Random::from_seed(1));
    let mut opened = Vec::new();
    let mut now = Mono(1);
    for _ in 0..36_000 {
        for pick in picker.look(&hubs, &[], |_| false, now) {
            match pick {
                Pick::Open(hub, _) => {
                    opened.push((now, hub));
                    picker.failed(hub, now);
                }
                Pick::Probe(hub) => picker.probed(hub, None, now),
                other => panic!("{other:?}"),
            }
        }
        now = now + Duration::from_millis(100);
    }
    assert!(hubs.iter().all(|hub| opened.iter().any(|(_, of)| *of == hub.hub)), "both are tried");
    let late = opened.iter().filter(|(at, _)| *at > Mono(0) + Duration::from_secs(1_800)).count();
    assert!((1..=12).contains(&late), "{late} of {} dials in the last half hour", opened.len());
}

#[test]
fn of_two_links_between_two_hubs_one_goes_and_the_last_one_never_does() {
    let [a, b] = ["a", "b"].map(HubId::of_name);
    let (low, high) = (a.min(b), a.max(b));
    let at =
        |hub| Pickable { hub, name: String::new(), region: "here".to_owned(), is_reachable: true, is_draining: true };
    let rtt = Some(Duration::from_millis(1));
    for (me, peer) in [(low, high), (high, low)] {
        let mut picker = Picker::new(OPTIONS, me, "here", Random::from_seed(1));
        picker.up(LinkId(1), peer, Mono(1));
        let link = |link| Linked { link: LinkId(link), hub: peer, rtt, is_configured: false };
        let picks = picker.look(&[at(peer)], &[link(1), link(2)], |_| false, Mono(1));
        assert_eq!(picks.contains(&Pick::Close(LinkId(1))), me == high, "{picks:?}");
        // Not wanted, and no other way there.
        let mut picker = Picker::new(OPTIONS, me, "here", Random::from_seed(1));
        picker.up(LinkId(1), peer, Mono(1));
        for second in 1..600 {
            let now = Mono(1) + Duration::from_secs(second);
            assert_eq!(picker.look(&[at(peer)], &[link(1)], |_| false, now), []);
        }
    }
}
