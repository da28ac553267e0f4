//! Who hubs are, as their neighbours remember it.

use super::*;
use crate::Life;

fn life(starts: u64, nonce: u64) -> Life {
    Life { instance: 7, starts, nonce }
}

/// Hub 1 is asked whether hub 9 may be its neighbour; what it says is delivered.
fn meet(net: &mut Net, epoch: u32, said: Life) -> Result<(), CloseReason> {
    let (mut out, now) = (Vec::new(), net.now);
    let met = net.hubs.get_mut(&1).expect("a hub").meet((id(9), "hub-9", Epoch(epoch)), Some(said), now, &mut out);
    net.take(1, out);
    net.run();
    met
}

fn conflicts(net: &Net, hub: u64) -> Vec<(Epoch, ErrorCode)> {
    let told = net.said_by(hub).into_iter().filter_map(|command| match command {
        Command::Conflict { epoch, code, by, .. } if by == "hub-1" => Some((*epoch, *code)),
        _ => None,
    });
    told.collect()
}

#[test]
fn a_hub_that_was_set_back_is_refused_and_every_hub_hears_of_it_once() {
    let mut net = Net::line(4);
    net.link(9, 4, 2);
    assert_eq!(meet(&mut net, 3, life(3, 1)), Ok(()));
    for _ in 0..3 {
        let refused = Err(CloseReason::RolledBack { name: "hub-9".to_owned(), known: 3, heard: 2 });
        assert_eq!(meet(&mut net, 4, life(2, 2)), refused);
    }
    for hub in 1..=4 {
        assert_eq!(conflicts(&net, hub), [(Epoch(4), ErrorCode::ROLLED_BACK)], "hub {hub}, also round the ring");
    }
    let taken = net.hubs.get_mut(&1).expect("a hub").take_remembered().expect("news");
    assert_eq!(
        taken.iter().map(|known| known.life).collect::<Vec<_>>(),
        [life(3, 1)],
        "the refused one changes nothing"
    );
    assert_eq!(net.hubs.get_mut(&1).expect("a hub").take_remembered(), None);
}

#[test]
fn what_was_remembered_in_an_earlier_life_counts() {
    let mut net = Net::line(1);
    let known =
        crate::Remembered { name: "chicago".to_owned(), life: life(3, 1), epoch: Epoch(3), addresses: Vec::new() };
    net.hubs.get_mut(&1).expect("a hub").set_life(Life::default(), vec![known]);
    let chicago = HubId::of_name("chicago");
    let mesh = net.hubs.get_mut(&1).expect("a hub");
    let met = mesh.meet((chicago, "chicago", Epoch(9)), Some(life(2, 5)), net.now, &mut Vec::new());
    assert!(matches!(met, Err(CloseReason::RolledBack { known: 3, heard: 2, .. })), "{met:?}");
}

/// Symptom: one hub that lied about another's life kept that one out of the
/// mesh for good. Cause: what records said was remembered as if the hub had
/// said so itself, and written to the disk. What others say counts while the hub
/// that they say it of is within reach, and is not kept.
#[test]
fn what_others_say_of_a_hubs_life_is_not_remembered() {
    let mut net = Net::line(3);
    net.hubs.get_mut(&3).expect("a hub").set_life(life(900, 1), Vec::new());
    net.pass(SECOND);
    assert_eq!(net.hubs.get_mut(&1).expect("a hub").take_remembered(), None);
    // A copy of it that comes here meanwhile is told from it.
    let ask = |net: &mut Net, said| {
        let mesh = net.hubs.get_mut(&1).expect("a hub");
        mesh.meet((id(3), "hub-3", Epoch(7)), Some(said), net.now, &mut Vec::new())
    };
    assert_eq!(ask(&mut net, life(5, 2)), Err(CloseReason::Cloned { name: "hub-3".to_owned() }));
    let other = Life { instance: 8, starts: 1, nonce: 3 };
    assert_eq!(ask(&mut net, other), Err(CloseReason::NameTaken { name: "hub-3".to_owned() }));
    // Out of reach, nobody but the hub itself has a say.
    net.cut(2);
    net.pass(SECOND);
    assert_eq!(ask(&mut net, life(5, 2)), Ok(()));
    let taken = net.hubs.get_mut(&1).expect("a hub").take_remembered().expect("news");
    assert_eq!(taken.iter().map(|known| known.life).collect::<Vec<_>>(), [life(5, 2)]);
}

#[test]
fn a_neighbour_that_floods_refusals_is_bounded() {
    let mut net = Net::line(2);
    for epoch in 0..1_000 {
        let said = frame::Conflict {
            hub: id(9),
            epoch: Epoch(epoch),
            code: ErrorCode::CLONED,
            ttl: u8::MAX,
            name: "hub-9",
            by: "hub-1",
            detail: "",
        };
        net.tell(2, Event::Frame { link: LinkId(1), frame: &Frame::Conflict(said) });
    }
    assert_eq!(conflicts(&net, 2).len(), 64);
    assert_eq!(net.hubs[&2].counters().refused, 1_000 - 64);
}

#[test]
fn of_two_hubs_of_a_name_in_meshes_that_come_together_all_take_the_later_one() {
    let mut net = Net::line(3);
    [11, 12].into_iter().for_each(|hub| net.add(hub, 1));
    net.hubs.insert(13, Mesh::new(MeshOptions::default(), info(3, 5), 0));
    net.link(21, 11, 12);
    net.link(22, 12, 13);
    assert_eq!((net.hops(1, 3), net.hops(11, 3)), (2, 2), "each has its own");
    net.link(23, 1, 11);
    net.pass(SECOND);
    for hub in [1, 2, 11, 12] {
        assert_eq!(net.hubs[&hub].routes().epoch(id(3)), Some(Epoch(5)), "hub {hub}");
    }
    assert_eq!((net.hops(2, 3), net.hops(11, 3)), (4, 2));
    assert!(net.closed().contains(&(2, &CloseReason::Superseded)), "the earlier one is out");
    net.said.clear();
    net.up(2, 2, 3);
    assert_eq!(net.closed(), [(2, &CloseReason::OldEpoch { known: Epoch(5), heard: Epoch(1) })], "it stays out");
}

#[test]
fn where_hubs_are_dialled_is_learned_from_their_records_and_remembered() {
    let mut net = Net::line(3);
    net.hubs.get_mut(&3).expect("a hub").set_addresses(&["10.0.0.3:7412".to_owned()]);
    net.pass(SECOND);
    let mesh = net.hubs.get_mut(&1).expect("a hub");
    let way = mesh.any_address().expect("one is known");
    assert_eq!((way.name.as_str(), way.address.as_str()), ("hub-3", "10.0.0.3:7412"));
    let taken = mesh.take_remembered().expect("news");
    assert_eq!((taken.len(), taken[0].life), (1, Life::default()), "its life is not, see above");
    // The next life knows it before it hears of anybody.
    net.add(1, 2);
    let mesh = net.hubs.get_mut(&1).expect("a hub");
    assert_eq!(mesh.any_address(), None);
    mesh.set_life(Life::default(), taken);
    assert_eq!(mesh.any_address(), Some(way));
}

#[test]
fn a_hub_is_not_told_where_to_find_itself() {
    let mut net = Net::line(2);
    net.hubs.get_mut(&1).expect("a hub").set_addresses(&["10.0.0.1:7412".to_owned()]);
    net.pass(SECOND);
    assert_eq!(net.hubs.get_mut(&1).expect("a hub").any_address(), None);
    assert!(net.hubs.get_mut(&2).expect("a hub").any_address().is_some());
}
