//! What streams keep of a producer comes in the producer's order.

use super::*;
use crate::messages::Completion;
use crate::spool::{FromSpool, SpoolPlace};

/// The stage of the first hub, while nobody keeps a stream, and one that the last one keeps.
fn without_and_with_a_stream() -> (RouteStage, mpsc::Consumer<ToNet>, Arc<weft_mesh::Routes>) {
    let [without, ..] = routes_with(false, &[]);
    let [with, ..] = routes_with(false, &[(2, "far", 1)]);
    let (stage, net) = stage_of(FIRST, without, PeerOutlets::default());
    (stage, net, with)
}

fn now_there_is(stage: &mut RouteStage, routes: Arc<weft_mesh::Routes>, version: u64) {
    stage.snapshot.store(Arc::new(RouteTable { version, ..RouteTable::empty(routes) }));
    stage.look_at_table();
}

/// What leaves: the numbers of blocks that are forwarded.
fn left(net: &mut mpsc::Consumer<ToNet>) -> Vec<u64> {
    let number = |message| match message {
        ToNet::Forward { forward, .. } => Some(Block::trusted(&forward.block).first_sequence()),
        _ => None,
    };
    std::iter::from_fn(|| net.pop()).filter_map(number).collect()
}

/// The block of a spool, as it was given this way and residency.
fn spooled(at: u64, way: Way, residency: Residency) -> FromSpool {
    let mut block = block_of(at, 0);
    block::set_residency(&mut block, residency).expect("it has no stamp");
    let stamp = Stamp { origin: FIRST, epoch: Epoch(1), block: at, sequence: at, ingested: UnixNanos(1) };
    block::stamp_for(&mut block, &stamp, way).expect("it has none");
    FromSpool { place: SpoolPlace { stream: 1, at, round: 1 }, block }
}

/// A hub that starts alone knows of one way; what it spools then has that, and
/// what came before and comes after has others.
#[test]
fn what_waited_on_disk_goes_by_one_flow_whatever_way_it_was_given() {
    let (mut stage, mut net, with) = without_and_with_a_stream();
    stage.keep(&[1].into(), &block_of(9, 0).freeze(), 1, Completion::None);
    now_there_is(&mut stage, with, 2);
    for (at, way) in [(1, Way(5)), (2, Way::MAIN), (3, Way(3))] {
        stage.send_spooled(spooled(at, way, Residency::ANYWHERE));
    }
    assert_eq!(left(&mut net), [1, 2, 3]);
    let flows = stage.flows.holding();
    assert_eq!(flows.iter().map(|flow| flow.way).collect::<Vec<_>>(), [Way::MAIN], "{flows:?}");
    // What is bound to a label has a flow of its own, and waits for what is before it.
    stage.send_spooled(spooled(4, Way::MAIN, Residency::of(&["eu"])));
    assert_eq!((left(&mut net), stage.flows.holding()), (vec![], flows));
}
