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

/// What leaves: the numbers of blocks that are forwarded, and 0 for each refusal.
fn left(net: &mut mpsc::Consumer<ToNet>) -> Vec<u64> {
    let number = |message| match message {
        ToNet::Forward { forward, .. } => Some(Block::trusted(&forward.block).first_sequence()),
        ToNet::Refused { code, .. } => {
            assert_eq!(code, ErrorCode::NO_STREAM);
            Some(0)
        }
        _ => None,
    };
    std::iter::from_fn(|| net.pop()).filter_map(number).collect()
}

/// A refusal is lost with its session, the client sends again: a stream would take
/// it behind what was let in since, for it has it not.
#[test]
fn what_was_refused_stays_so_once_later_events_of_its_producer_were_let_in() {
    let (mut stage, mut net, with) = without_and_with_a_stream();
    (1..=2).for_each(|n| publish(&mut stage, n, 0));
    assert_eq!(left(&mut net), [0, 0], "nobody keeps a stream");
    now_there_is(&mut stage, with, 2);
    publish(&mut stage, 2, 0);
    assert_eq!(left(&mut net), [2], "nothing was let in since");
    publish(&mut stage, 1, 0);
    assert_eq!(left(&mut net), [0]);
    (2..=3).for_each(|n| publish(&mut stage, n, 0));
    assert_eq!(left(&mut net), [2, 3], "a duplicate is for its streams to tell");
    publish(&mut stage, 1, weft_wire::block::layout::CONDITIONAL);
    assert_eq!(left(&mut net), [0; 0], "what asks for something waits, and its stream looks at it anew");
}

/// A home that has no stream any more gives blocks back, for which there is no other.
#[test]
fn what_was_let_in_and_is_given_up_stays_refused_too() {
    let (mut stage, mut net, with) = without_and_with_a_stream();
    let [without, ..] = routes_with(false, &[]);
    now_there_is(&mut stage, with.clone(), 2);
    (1..=2).for_each(|n| publish(&mut stage, n, 0));
    assert_eq!(left(&mut net), [1, 2]);
    now_there_is(&mut stage, without, 3);
    let (hub, lane, refused) = (LAST, Lane::DEFAULT, ErrorCode::NO_STREAM);
    let (residency, way, places) = (Residency::ANYWHERE, way_of_producer(), vec![]);
    stage.flow_acked(&FlowSaid { hub, lane, residency, way, incarnation: 0, written: 0, synced: 0, refused, places });
    assert_eq!(left(&mut net), [0, 0]);
    now_there_is(&mut stage, with, 4);
    publish(&mut stage, 3, 0);
    publish(&mut stage, 1, 0);
    assert_eq!(left(&mut net), [3, 0]);
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
