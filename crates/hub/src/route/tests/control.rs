//! Messages of the control state, of services that a hub does not know, and to
//! the hub itself.

use weft_mesh::flow::LiveReceiver;
use weft_wire::frame::{FlowEntry, FlowKind};
use weft_wire::peer::{CONTROL_MARK, UNNUMBERED};

use super::*;
use crate::inbox::lane_of_frame;

fn say(line: &mut Line, service: Service, bytes: Vec<u8>) {
    line.stages[0].0.on_message(ToRoute::Peer { to: LAST, service, confined: false, bytes });
}

fn heard(inbox: &mut mpsc::Consumer<FromPeer>) -> Vec<u8> {
    std::iter::from_fn(|| inbox.pop())
        .map(|message| match message {
            FromPeer::Message(message) => *message.bytes.last().expect("it is not empty"),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn what_is_said_of_the_control_state_goes_before_the_rest_and_is_not_held_to_its_order() {
    let mut line = Line::new(64);
    say(&mut line, Service::Replica, vec![1]);
    say(&mut line, Service::Control, vec![CONTROL_MARK, 2]);
    say(&mut line, Service::Replica, vec![3]);
    // What overtakes on the way: the urgent one first.
    let mut sent: Vec<Vec<u8>> = Vec::new();
    while let Some(message) = line.stages[0].1.pop() {
        if let ToNet::Forward { forward, .. } = message {
            sent.push([forward.head.bytes(), &forward.block].concat());
        }
    }
    let lanes: Vec<Option<Lane>> = sent.iter().map(|frame| lane_of_frame(frame)).collect();
    assert_eq!(lanes, [Lane::new(1), Some(Lane::URGENT), Lane::new(1)]);
    for index in [1, 0, 2, 1] {
        let mut buffer = stage_buffer(sent[index].len());
        buffer.extend(&sent[index]);
        line.stages[1].0.forward(SessionId(1), (FIRST, Mono(0)), buffer.split_to(sent[index].len()));
    }
    line.carry();
    assert_eq!((heard(&mut line.control), heard(&mut line.replica)), (vec![2], vec![1, 3]));
    let counters = &line.stages[2].0.counters;
    let [missed, received, again] =
        [&counters.peers_missed, &counters.peers_received, &line.stages[1].0.counters.mesh_duplicates]
            .map(|counter| crate::counters::get(counter));
    assert_eq!((missed, received, again), (0, 3, 1), "what comes twice over a link is cut there, as ever");
}

/// The receiver of messages is as it was in the first hubs.
#[test]
fn a_hub_that_knows_of_no_control_state_goes_on_as_if_nothing_had_come() {
    let control =
        FlowEntry { hub: LAST, incarnation: UNNUMBERED, kind: FlowKind::Live, retransmit: false, sequence: 0, base: 0 };
    let mut flow = LiveSender::new(Epoch(4));
    for before in [0, 1, 5] {
        let mut old = LiveReceiver::new(Epoch(4));
        let mut sender = std::mem::replace(&mut flow, LiveSender::new(Epoch(4)));
        let mut accept = |entry: &FlowEntry| old.accept(Epoch(2), entry.incarnation, entry.sequence, 1);
        for _ in 0..before {
            assert!(accept(&sender.entry(LAST, 1)).deliver);
        }
        for again in 0..3 {
            let taken = accept(&control);
            // The one that is taken goes to the tunnels, which do not read it (`net::tunnel::message`).
            assert_eq!((taken.deliver, taken.missed), (before == 0 && again == 0, 0));
        }
        for _ in 0..3 {
            let taken = accept(&sender.entry(LAST, 1));
            assert_eq!((taken.deliver, taken.missed), (true, 0));
        }
    }
}

/// Symptom: hubs ended the link over which a message for a service of a later
/// version came, also the hubs in between. Cause: its topic was taken for one of
/// a client's in the reserved space.
#[test]
fn a_message_for_a_service_of_a_later_version_is_passed_on_and_dropped_where_it_comes_to() {
    let mut line = Line::new(8);
    say(&mut line, Service::Other, vec![1]);
    say(&mut line, Service::Replica, vec![2]);
    line.carry();
    assert_eq!(heard(&mut line.replica), [2]);
    for (stage, net) in &mut line.stages {
        assert!(net.pop().is_none(), "no link is ended");
        stage.counters.ledger().balance().expect("it is accounted for");
    }
    let dropped = line.stages[2].0.counters.ledger().dropped_for(DropReason::NoInterest);
    assert_eq!(dropped, 1);
}

#[test]
fn a_message_to_the_hub_itself_is_handed_over_at_once() {
    let mut line = Line::new(4);
    line.stages[2].0.on_message(ToRoute::Peer {
        to: LAST,
        service: Service::Replica,
        confined: false,
        bytes: b"own".to_vec(),
    });
    let Some(FromPeer::Message(message)) = line.replica.pop() else { panic!("nothing came") };
    assert_eq!((&*message.bytes, message.from), (&b"own"[..], LAST));
    line.stages[2].0.counters.ledger().balance().expect("it is accounted for");
}
