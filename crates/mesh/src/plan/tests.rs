//! Plans by themselves; against hubs that really change: `mesh/tests/plan.rs`.

use proptest::prelude::*;

use super::*;

const NO_HUB: BTreeSet<HubId> = BTreeSet::new();

fn id(hub: u64) -> HubId {
    HubId(hub)
}

fn ends(a: u64, b: u64) -> [HubId; 2] {
    [id(a), id(b)]
}

fn said(cost: u32) -> PlanLink {
    PlanLink { cost, rtt_us: 10, ..PlanLink::default() }
}

/// Hubs that all want something, with these links and costs.
fn mesh(hubs: u64, links: &[(u64, u64, u32)]) -> PlanMesh {
    let hub = PlanHub { wants: true, ..PlanHub::default() };
    let both = links.iter().flat_map(|(a, b, cost)| [((id(*a), id(*b)), said(*cost)), ((id(*b), id(*a)), said(*cost))]);
    PlanMesh::new(Weights::default(), (1..=hubs).map(|n| (id(n), hub.clone())), both)
}

/// 1 - 2 - 3, and 1 - 4 - 3 at a higher cost.
fn square() -> PlanMesh {
    mesh(4, &[(1, 2, 0), (2, 3, 0), (1, 4, 5), (4, 3, 5)])
}

fn weigh(a: u64, b: u64, cost: u32) -> Change {
    Change::Weigh { between: ends(a, b), cost: Some(cost), price: None }
}

fn add(a: u64, b: u64) -> Change {
    Change::Add { between: ends(a, b), link: said(0) }
}

fn remove(a: u64, b: u64) -> Change {
    Change::Remove { between: ends(a, b) }
}

#[test]
fn what_differs_is_told_with_both_ways_and_what_carries_more_and_less() {
    let before = square();
    let outcome = before.compare(&before.after(&[weigh(1, 2, 100)]));
    let costs = |way: &Option<Way>| way.as_ref().map(|way| way.cost);
    let of_1: Vec<_> = outcome.ways.iter().filter(|way| way.from == id(1)).collect();
    let told: Vec<_> = of_1.iter().map(|w| (w.to.0, costs(&w.before), costs(&w.after), w.moves())).collect();
    assert_eq!(told, [(2, Some(10), Some(40), true), (3, Some(20), Some(30), true)]);
    let load = |from, to| outcome.loads.iter().find(|load| (load.from, load.to) == (id(from), id(to)));
    assert_eq!(load(1, 2).map(|load| (load.before, load.after)), Some((3, 0)));
    assert_eq!(load(1, 4).map(|load| (load.before, load.after)), Some((2, 3)));
    let transit: Vec<_> = outcome.transit.iter().map(|t| (t.hub.0, t.before, t.after)).collect();
    assert_eq!(transit, [(1, 2, 0), (2, 2, 0), (3, 0, 4), (4, 0, 4)]);
    assert!(outcome.starts.is_empty() && outcome.stops.is_empty());
    assert_eq!(before.compare(&before), Outcome::default(), "nothing comes of nothing");
}

#[test]
fn flows_start_and_stop_where_something_is_wanted() {
    let mut before = mesh(4, &[(1, 2, 0), (2, 3, 0)]);
    before.hubs.get_mut(&id(1)).expect("a hub").wants = false;
    let changes = [remove(2, 3), add(2, 4)];
    let outcome = before.compare(&before.after(&changes));
    let ids = |pairs: &[(HubId, HubId)]| pairs.iter().map(|(from, to)| (from.0, to.0)).collect::<Vec<_>>();
    assert_eq!(ids(&outcome.starts), [(1, 4), (2, 4), (4, 2)]);
    assert_eq!(ids(&outcome.stops), [(1, 3), (2, 3), (3, 2)]);
    assert_eq!(outcome.ways.len(), 8, "those to hub 1 are ways all the same");
}

#[test]
fn a_hub_of_version_1_makes_all_that_it_is_linked_with_reckon_as_it_does() {
    let mut mesh = mesh(4, &[(1, 2, 0), (3, 4, 0)]);
    mesh.links.values_mut().for_each(|link| link.price = 9);
    assert_eq!(mesh.ways()[&id(1)][&id(2)].cost, 9_010);
    mesh.hubs.get_mut(&id(2)).expect("a hub").is_bare = true;
    assert_eq!(mesh.ways()[&id(1)][&id(2)].cost, 10);
    assert_eq!(mesh.ways()[&id(3)][&id(4)].cost, 9_010, "it is not linked with these");
}

#[test]
fn mistakes_are_told_all_at_once_with_their_places() {
    let mesh = square();
    let changes = [
        add(1, 1),
        add(2, 1),
        remove(1, 3),
        weigh(1, 2, 7),
        Change::Weigh { between: ends(2, 3), cost: None, price: None },
        weigh(3, 4, MOST_COST + 1),
        Change::Label { hub: id(2), labels: Vec::new() },
        Change::Label { hub: id(2), labels: vec!["eu".to_owned()] },
    ];
    let found = mesh.mistakes(&changes, &NO_HUB);
    let expected = [
        (0, Mistake::Itself),
        (1, Mistake::ThereAlready),
        (2, Mistake::NoLink),
        (3, Mistake::Twice { first: 2 }),
        (4, Mistake::Nothing),
        (5, Mistake::TooDear { cost: MOST_COST + 1 }),
        (6, Mistake::Nothing),
        (7, Mistake::Twice { first: 7 }),
    ];
    assert_eq!(found, expected);
    assert_eq!(mesh.mistakes(&[weigh(1, 2, 7), add(1, 3)], &NO_HUB), []);
}

#[test]
fn what_is_bound_to_a_label_flows_over_hubs_with_it_alone() {
    let mut before = square();
    let labels = |hub: u64, labels: &[&str]| Change::Label {
        hub: id(hub),
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
    };
    [1, 2, 3].iter().for_each(|hub| before.apply(&labels(*hub, &["eu"])));
    let of = |changes: &[Change]| {
        let bound = before.compare(&before.after(changes)).bound;
        let ids = |pairs: &[(HubId, HubId)]| pairs.iter().map(|(from, to)| (from.0, to.0)).collect::<Vec<_>>();
        bound.iter().map(|b| (b.label.clone(), ids(&b.starts), ids(&b.stops), ids(&b.moves))).collect::<Vec<_>>()
    };
    let pairs = |a: u64, others: &[u64]| -> Vec<(u64, u64)> {
        let both = |b: &u64| [(*b.min(&a), *b.max(&a)), (*b.max(&a), *b.min(&a))];
        others.iter().flat_map(both).collect()
    };
    let sorted = |mut all: Vec<(u64, u64)>| {
        all.sort_unstable();
        all
    };
    // Without 2 there is no way left between the other two; with 4 there is one again.
    let stops = sorted([pairs(2, &[1, 3]), pairs(1, &[3])].concat());
    assert_eq!(of(&[labels(2, &[])]), [("eu".to_owned(), vec![], stops, vec![])]);
    let (starts, stops) = (sorted(pairs(4, &[1, 3])), sorted(pairs(2, &[1, 3])));
    let moves = vec![(1, 3), (3, 1)];
    assert_eq!(of(&[labels(2, &[]), labels(4, &["eu"])]), [("eu".to_owned(), starts, stops, moves)]);
    assert!(before.compare(&before.after(&[labels(2, &[])])).ways.is_empty(), "the others go as before");
    assert_eq!(of(&[weigh(1, 4, 1)]), []);
}

#[test]
fn ways_lead_around_a_hub_that_is_to_drain_and_nothing_stops() {
    let before = square();
    let drain = Change::Drain { hub: id(2) };
    let outcome = before.compare(&before.after(std::slice::from_ref(&drain)));
    let carries = outcome.transit.iter().map(|t| (t.hub.0, t.before, t.after)).collect::<Vec<_>>();
    assert_eq!(carries, [(2, 2, 0), (4, 0, 2)]);
    assert!(outcome.starts.is_empty() && outcome.stops.is_empty());
    // The same as the deciders do, which say it by the costs of the links.
    let again = before.after(&[drain.clone(), drain.clone()]);
    assert_eq!(again.mistakes(std::slice::from_ref(&drain), &NO_HUB), [(0, Mistake::Nothing)]);
    assert_eq!(again, before.after(std::slice::from_ref(&drain)));
    assert_eq!(before.mistakes(&[drain.clone(), drain.clone()], &NO_HUB), [(1, Mistake::Twice { first: 1 })]);
    let steps: Vec<_> = before.steps(&[drain, add(2, 4)]).into_iter().map(|step| step.change).collect();
    assert_eq!(steps, [1, 0], "the other ways are made first");
}

#[test]
fn a_mesh_is_not_cut_unless_that_is_said() {
    let mesh = mesh(4, &[(1, 2, 0), (2, 3, 0), (3, 4, 0)]);
    let cut = [remove(3, 4)];
    assert_eq!(mesh.mistakes(&cut, &NO_HUB), [(1, Mistake::Cuts { from: id(1), to: id(4), pairs: 3 })]);
    assert_eq!(mesh.mistakes(&cut, &BTreeSet::from([id(4)])), []);
    assert_eq!(mesh.mistakes(&[remove(3, 4), add(4, 1)], &NO_HUB), []);
    assert_eq!(
        mesh.mistakes(&[remove(2, 3)], &BTreeSet::from([id(4)])),
        [(1, Mistake::Cuts { from: id(1), to: id(3), pairs: 2 })],
        "hub 3 was not named"
    );
}

#[test]
fn links_are_made_before_others_go_and_go_when_nothing_takes_them() {
    let mesh = square();
    let changes = [remove(1, 2), weigh(2, 3, 9), add(1, 3)];
    let steps: Vec<_> = mesh.steps(&changes).into_iter().map(|step| (step.change, step.act)).collect();
    assert_eq!(steps, [(2, Act::Make), (1, Act::Make), (0, Act::Avoid), (0, Act::Make)]);
    let mut here = mesh.clone();
    for step in &mesh.steps(&changes)[..3] {
        here.make(&changes, *step);
    }
    assert!(here.ways()[&id(1)].values().all(|way| way.hubs[0] != id(2)), "no way begins with the link that is to go");
    here.make(&changes, mesh.steps(&changes)[3]);
    assert_eq!(here, mesh.after(&changes));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whoever reaches whom before and after does so after each step.
    #[test]
    fn no_step_cuts_what_the_whole_does_not(
        links in proptest::collection::btree_set((1..7u64, 1..7u64), 1..12),
        changes in proptest::collection::btree_set((1..7u64, 1..7u64), 1..6),
    ) {
        let links: BTreeSet<_> = links.iter().filter(|(a, b)| a != b).map(|(a, b)| (*a.min(b), *a.max(b), 0)).collect();
        let mesh = mesh(6, &links.iter().copied().collect::<Vec<_>>());
        let pairs: BTreeSet<_> = changes.iter().filter(|(a, b)| a != b).map(|(a, b)| (*a.min(b), *a.max(b))).collect();
        let changes: Vec<Change> = pairs
            .into_iter()
            .map(|(a, b)| if links.contains(&(a, b, 0)) { remove(a, b) } else { add(a, b) })
            .collect();
        let all: BTreeSet<HubId> = (1..7).map(id).collect();
        prop_assert_eq!(mesh.mistakes(&changes, &all), []);
        let reach = |mesh: &PlanMesh| -> BTreeSet<(HubId, HubId)> {
            mesh.ways().iter().flat_map(|(from, ways)| ways.keys().map(|to| (*from, *to)).collect::<Vec<_>>()).collect()
        };
        let (before, after) = (reach(&mesh), reach(&mesh.after(&changes)));
        let mut here = mesh.clone();
        for step in mesh.steps(&changes) {
            here.make(&changes, step);
            let now = reach(&here);
            prop_assert!(before.intersection(&after).all(|pair| now.contains(pair)), "{:?}", step);
        }
        prop_assert_eq!(here.links().collect::<Vec<_>>(), mesh.after(&changes).links().collect::<Vec<_>>());
    }
}
