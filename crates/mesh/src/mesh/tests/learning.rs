//! What a hub that has just started has learned of the mesh.

use super::*;
use crate::Learned;

fn learned(net: &Net, hub: u64) -> Learned {
    net.hubs[&hub].routes().learned()
}

#[test]
fn a_hub_has_learned_when_it_knows_what_its_first_neighbour_does() {
    let mut net = Net::line(2);
    net.want(1, true, "a");
    net.add(3, 1);
    assert_eq!(learned(&net, 3), Learned::Nothing);
    net.loses = |frame| matches!(frame, Frame::Interest(_));
    net.link(2, 2, 3);
    assert_eq!(learned(&net, 3), Learned::Some, "it has heard of the first hub, and not what that wants");
    net.loses = |_| false;
    net.pass(7 * SECOND);
    assert_eq!((net.known(3, 1), learned(&net, 3)), (vec!["a"], Learned::All));
    net.cut(2);
    net.pass(SECOND);
    assert_eq!(learned(&net, 3), Learned::All, "what it knows it keeps");
}

#[test]
fn of_a_neighbour_that_dies_while_it_tells_the_next_one_takes_the_place() {
    let mut net = Net::line(2);
    net.want(1, true, "a");
    net.add(3, 1);
    net.loses = |frame| matches!(frame, Frame::Interest(_));
    net.link(2, 2, 3);
    net.cut(2);
    assert_eq!(learned(&net, 3), Learned::Nothing);
    net.loses = |_| false;
    net.link(3, 1, 3);
    net.pass(SECOND);
    assert_eq!(learned(&net, 3), Learned::All);
}

#[test]
fn a_hub_of_version_1_tells_as_much() {
    let mut net = Net::new();
    net.version = 1;
    (1..=3).for_each(|hub| net.add(hub, 1));
    net.link(1, 1, 2);
    net.want(1, true, "a");
    net.link(2, 2, 3);
    net.pass(SECOND);
    assert_eq!((net.known(3, 1), learned(&net, 3)), (vec!["a"], Learned::All));
}
