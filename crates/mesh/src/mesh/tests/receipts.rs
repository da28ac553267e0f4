//! Receipts: who has a hub's interest in force, and why others have not.

use weft_wire::frame::{LiveState, ReceiptAck, ReceiptAsk, ReceiptEntry};

use super::*;

/// A receipt: its number, whether it is met, and each hub's state.
type Given<'a> = (u64, bool, Vec<(&'a str, LiveState)>);

/// The receipts that were given.
fn given(net: &Net) -> Vec<Given<'_>> {
    let receipts = net.said.iter().filter_map(|(_, command)| match command {
        Command::Receipt { receipt, met, hubs } => {
            Some((*receipt, *met, hubs.iter().map(|line| (line.name.as_str(), line.state)).collect()))
        }
        _ => None,
    });
    receipts.collect()
}

fn ask(net: &mut Net, hub: u64, receipt: u64, at: LiveAt, within: Duration) {
    let until = net.now + within;
    net.tell(hub, Event::Receipt { receipt, at, until });
    net.run();
}

use LiveState::{Behind, Limit, Live, OldVersion, OutOfReach, TimedOut};

#[test]
fn a_filter_is_live_at_all_hubs_once_each_has_said_so() {
    let mut net = Net::line(4);
    net.pass(SECOND);
    net.tell(1, Event::Interest { add: true, filter: filter("a/*") });
    ask(&mut net, 1, 7, LiveAt::All, SECOND);
    assert_eq!(given(&net), [], "nobody has answered");
    net.pass(ms(20));
    let all = vec![("hub-1", Live), ("hub-2", Live), ("hub-3", Live), ("hub-4", Live)];
    assert_eq!(given(&net), [(7, true, all)]);
    assert_eq!(net.destinations(4, "a/b"), [(1, true)]);
    net.said.clear();
    net.pass(SECOND * 20);
    assert_eq!(given(&net), [], "said once");
}

#[test]
fn a_hub_that_does_not_go_by_its_new_routes_is_behind() {
    let mut net = Net::line(3);
    net.pass(SECOND);
    net.stuck = vec![2];
    net.tell(1, Event::Interest { add: true, filter: filter("a") });
    ask(&mut net, 1, 1, LiveAt::All, SECOND);
    ask(&mut net, 1, 2, LiveAt::Count(2), SECOND);
    net.pass(SECOND * 2);
    let not_all = vec![("hub-1", Live), ("hub-2", Behind), ("hub-3", Live)];
    assert_eq!(given(&net), [(2, true, not_all.clone()), (1, false, not_all)], "hub 3 is live behind hub 2");
    net.said.clear();
    ask(&mut net, 1, 3, LiveAt::All, SECOND * 10);
    net.pass(SECOND);
    assert_eq!(given(&net), []);
    net.tell(2, Event::RoutesPublished);
    net.pass(ms(10));
    assert!(given(&net)[0].1);
}

#[test]
fn who_is_out_of_reach_is_listed_and_not_waited_for_by_all() {
    let mut net = Net::line(3);
    net.pass(SECOND);
    net.cut(2);
    net.pass(ms(10));
    ask(&mut net, 1, 1, LiveAt::All, SECOND);
    ask(&mut net, 1, 2, LiveAt::Count(3), SECOND * 3);
    net.pass(SECOND);
    let lines = vec![("hub-1", Live), ("hub-2", Live), ("hub-3", OutOfReach)];
    assert_eq!(given(&net), [(1, true, lines)]);
    net.said.clear();
    net.link(9, 2, 3);
    net.pass(SECOND);
    assert_eq!(
        given(&net),
        [(2, true, vec![("hub-1", Live), ("hub-2", Live), ("hub-3", Live)])],
        "it came back in time"
    );
}

#[test]
fn what_a_hub_said_before_it_was_out_of_reach_does_not_count() {
    let mut net = Net::line(3);
    net.pass(SECOND);
    net.stuck = vec![2];
    net.tell(1, Event::Interest { add: true, filter: filter("a") });
    ask(&mut net, 1, 1, LiveAt::All, SECOND * 60);
    net.pass(ms(50));
    net.loses = |frame| matches!(frame, Frame::ReceiptAsk(_));
    net.cut(2);
    net.link(9, 2, 3);
    net.pass(SECOND);
    assert_eq!(net.hops(1, 3), 2);
    // Hub 2 was the only one that was waited for; hub 3 was not asked again.
    net.tell(2, Event::RoutesPublished);
    net.pass(SECOND);
    assert_eq!(given(&net), []);
    net.loses = |_| false;
    net.pass(SECOND * 10);
    assert_eq!(given(&net), [(1, true, vec![("hub-1", Live), ("hub-2", Live), ("hub-3", Live)])]);
}

#[test]
fn what_is_lost_is_asked_again_and_time_ends_the_wait() {
    let mut net = Net::line(2);
    net.pass(SECOND);
    net.loses = |frame| matches!(frame, Frame::ReceiptAck(_));
    ask(&mut net, 1, 1, LiveAt::All, SECOND);
    ask(&mut net, 1, 2, LiveAt::All, SECOND * 10);
    net.pass(SECOND);
    assert_eq!(given(&net), [(1, false, vec![("hub-1", Live), ("hub-2", TimedOut)])]);
    net.said.clear();
    net.loses = |_| false;
    net.pass(SECOND * 5);
    assert_eq!(given(&net), [(2, true, vec![("hub-1", Live), ("hub-2", Live)])]);
    net.said.clear();
    net.tell(1, Event::Receipt { receipt: 3, at: LiveAt::Count(9), until: net.now + SECOND });
    net.tell(1, Event::ReceiptGone { receipt: 3 });
    net.pass(SECOND * 2);
    assert_eq!(given(&net), [], "nobody waits for it");
}

#[test]
fn a_hub_whose_limit_cuts_the_interest_says_so_at_once() {
    let mut net = Net::with(Limits { filters: 2, ..Limits::default() }, Timers::default());
    (1..=2).for_each(|hub| net.add(hub, 1));
    net.link(1, 1, 2);
    net.pass(SECOND);
    for n in 0..3 {
        let filter = filter(&format!("a/{n}"));
        net.tell(1, Event::Member { add: true, group: "g".into(), filter, weight: 1 });
    }
    ask(&mut net, 1, 1, LiveAt::All, SECOND * 60);
    net.pass(SECOND);
    assert_eq!(given(&net), [(1, false, vec![("hub-1", Live), ("hub-2", Limit)])]);
}

#[test]
fn a_neighbour_without_receipts_is_listed_as_such() {
    let mut net = Net::line(3);
    // Link 9 leads from hub 2 to a hub that speaks version 1.
    net.add(4, 1);
    net.version = 1;
    net.link(9, 2, 4);
    net.loses = |frame| {
        assert!(!matches!(frame, Frame::ReceiptAsk(ask) if ask.hub == id(4)), "it asks nobody");
        false
    };
    net.pass(SECOND);
    ask(&mut net, 1, 1, LiveAt::All, SECOND * 60);
    ask(&mut net, 2, 2, LiveAt::All, SECOND * 60);
    net.pass(SECOND);
    let lines = vec![("hub-1", Live), ("hub-2", Live), ("hub-3", Live), ("hub-4", OldVersion)];
    let mut found = given(&net);
    found.sort_unstable_by_key(|(receipt, ..)| *receipt);
    assert_eq!(found, [(1, false, lines.clone()), (2, false, lines)], "said by its neighbour, without waiting");
}

#[test]
fn what_an_earlier_life_said_does_not_count() {
    let mut net = Net::line(2);
    net.pass(SECOND);
    let ack = |round, epoch, state| {
        let entries = vec![ReceiptEntry { hub: id(2), epoch: Epoch(epoch), state }];
        Frame::ReceiptAck(ReceiptAck { to: id(1), epoch: Epoch(1), round, entries })
    };
    net.loses = |frame| matches!(frame, Frame::ReceiptAck(_));
    ask(&mut net, 1, 1, LiveAt::All, SECOND);
    // Of a round that was not asked, of a life that is not known, and what no hub can say of itself.
    for frame in [ack(99, 1, Live), ack(1, 7, Live), ack(1, 1, OutOfReach)] {
        net.tell(1, Event::Frame { link: LinkId(1), frame: &frame });
    }
    net.pass(SECOND * 2);
    assert_eq!(given(&net), [(1, false, vec![("hub-1", Live), ("hub-2", TimedOut)])]);
    let asked = Frame::ReceiptAsk(ReceiptAsk { hub: id(1), epoch: Epoch(1), round: 1, version: 1 });
    net.tell(1, Event::Frame { link: LinkId(1), frame: &asked });
    let stray = Frame::ReceiptAck(ReceiptAck { to: id(77), epoch: Epoch(1), round: 1, entries: Vec::new() });
    net.tell(1, Event::Frame { link: LinkId(1), frame: &stray });
    assert_eq!(net.hubs[&1].counters().receipts_dropped, 1, "nobody knows the way back");
}

#[test]
fn an_answer_that_is_older_than_interest_is_kept_does_not_count() {
    let mut net = Net::line(2);
    net.pass(SECOND);
    net.loses = |frame| matches!(frame, Frame::ReceiptAck(_));
    ask(&mut net, 1, 1, LiveAt::All, SECOND * 90);
    net.pass(ms(5));
    // Hub 1 does not run for a minute and finds the answer when it does. The
    // other one has given it up and forgotten what it wants.
    net.now = net.now + SECOND * 60;
    let entries = vec![ReceiptEntry { hub: id(2), epoch: Epoch(1), state: Live }];
    let ack = Frame::ReceiptAck(ReceiptAck { to: id(1), epoch: Epoch(1), round: 1, entries });
    net.tell(1, Event::Frame { link: LinkId(1), frame: &ack });
    net.pass(SECOND);
    assert_eq!(given(&net), []);
    // Nor does one that had come before, when the time is up before the silence is seen.
    let mut net = Net::line(3);
    net.pass(SECOND);
    net.stuck = vec![3];
    net.tell(1, Event::Interest { add: true, filter: filter("a") });
    ask(&mut net, 1, 1, LiveAt::All, SECOND * 30);
    net.pass(ms(5));
    net.now = net.now + SECOND * 61;
    net.tell(1, Event::Tick);
    let [(1, false, hubs)] = &given(&net)[..] else { panic!("{:?}", given(&net)) };
    assert!(hubs[1].0 == "hub-2" && hubs[1].1 != Live, "{hubs:?}");
}

#[test]
fn a_round_costs_a_line_of_hubs_one_frame_for_each_link_and_direction() {
    let mut net = Net::line(6);
    net.pass(SECOND);
    ask(&mut net, 1, 1, LiveAt::All, SECOND);
    // The hubs answer at nearly the same time: each gathers what is behind it.
    static FRAMES: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    net.loses = |frame| {
        let is_ack = matches!(frame, Frame::ReceiptAck(_));
        FRAMES.fetch_add(usize::from(is_ack), std::sync::atomic::Ordering::Relaxed);
        false
    };
    net.pass(ms(50));
    assert_eq!(given(&net).len(), 1);
    let frames = FRAMES.load(std::sync::atomic::Ordering::Relaxed);
    assert!((5..=15).contains(&frames), "{frames} frames for five hubs and five links");
}

#[test]
fn a_hub_that_was_behind_when_it_last_answered_is_listed_as_that_and_not_as_silent() {
    let mut net = Net::line(3);
    net.pass(SECOND);
    net.stuck = vec![2];
    net.tell(1, Event::Interest { add: true, filter: filter("a") });
    ask(&mut net, 1, 1, LiveAt::All, SECOND * 20);
    net.pass(ms(50));
    // The next waits for a round of its own, of which nothing comes.
    net.loses = |frame| matches!(frame, Frame::ReceiptAsk(_));
    ask(&mut net, 1, 2, LiveAt::All, SECOND);
    net.pass(SECOND * 2);
    let lines = vec![("hub-1", Live), ("hub-2", Behind), ("hub-3", TimedOut)];
    assert_eq!(given(&net), [(2, false, lines)], "hub 3 was live in an earlier round, which is no answer to this");
}

#[test]
fn hubs_behind_one_of_version_1_are_listed_as_such_and_not_as_silent() {
    let mut net = Net::new();
    (1..=3).for_each(|hub| net.add(hub, 1));
    net.link(1, 1, 2);
    net.version = 1;
    net.link(2, 2, 3);
    net.pass(SECOND);
    net.add(4, 1);
    net.link(3, 3, 4);
    net.pass(SECOND);
    ask(&mut net, 1, 1, LiveAt::All, SECOND);
    net.pass(SECOND * 2);
    let lines = vec![("hub-1", Live), ("hub-2", Live), ("hub-3", OldVersion), ("hub-4", OldVersion)];
    assert_eq!(given(&net), [(1, false, lines)]);
}

#[test]
fn many_who_wait_in_rounds_of_their_own_cost_one_look_at_the_hubs_together() {
    let mut net = Net::line(8);
    net.pass(SECOND);
    net.stuck = vec![2];
    net.tell(1, Event::Interest { add: true, filter: filter("a") });
    for receipt in 0..30 {
        ask(&mut net, 1, receipt, LiveAt::All, SECOND * 60);
        net.pass(SECOND);
    }
    let (judged, looked) = (net.hubs[&1].receipts.judged.0, net.hubs[&1].receipts.judged.1.get());
    assert!(judged > 30 && looked <= judged * 7, "{looked} looks at hubs in {judged} judgements of 7 hubs");
    net.tell(2, Event::RoutesPublished);
    net.pass(SECOND);
    assert_eq!(given(&net).iter().filter(|(_, met, _)| *met).count(), 30);
}
