//! What crosses a link, compared between real hubs.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::common::liar::Liar;
use crate::common::mesh::{authority, identity, knows_interest, link_addr, member, until};
use crate::common::{Raw, start, stop};
use weft_base::{Epoch, HubId, Lane, ProducerId};
use weft_hub::see::LedgerClass;
use weft_hub::{Hub, HubOptions};
use weft_topic::Filter;
use weft_wire::frame::{
    AckLevel, Ask, Frame, Interest, InterestChange, InterestKind, LinkCounted, LinkCredit, LinkLedger, LinkOpen,
    LinkState, LinkStateLink, LinkStateRecord, MeshReport, OpenItem, SeeWhat, StreamInterest, TopicPage,
};

/// Often enough for a test.
const OFTEN: Duration = Duration::from_millis(100);
/// So seldom that only the first mark is sent, of the lane that carries something first.
const SELDOM: Duration = Duration::from_secs(3_600);

fn counted(mut options: HubOptions, every: Duration) -> HubOptions {
    let topics = Filter::parse("orders/**").expect("a filter");
    options.see.classes.push(LedgerClass { name: "orders".to_owned(), topics });
    options.see.links_every = every;
    options
}

/// Two linked hubs; `change` is done to the options of both.
fn pair(every: Duration, change: impl Fn(&mut HubOptions)) -> [Hub; 2] {
    let ca = authority();
    let made = |name: &str, to: &[(&str, String)]| {
        let mut options = counted(member(&ca, name, "127.0.0.1:0", to), every);
        change(&mut options);
        start(options)
    };
    let west = made("west", &[]);
    let east = made("east", &[("west", link_addr(&west))]);
    [east, west]
}

/// A publisher at one, a subscriber of everything at the other.
fn clients(east: &Hub, west: &Hub) -> [Raw; 2] {
    let (mut publisher, mut subscriber) = (Raw::connect(east, 1), Raw::connect(west, 2));
    subscriber.subscribe(1, "**");
    until(&mut publisher, "the filter is known", |report| knows_interest(report, "west", 1));
    [publisher, subscriber]
}

fn publish(publisher: &mut Raw, subscriber: &mut Raw, request: u64, topic: &str) {
    publisher.publish_acked(request, AckLevel::Routed, topic, &[b"a", b"b"]);
    assert!(matches!(subscriber.receive().frame(), Frame::Deliver(_)));
}

fn count(report: &MeshReport<'_>, name: &str) -> u64 {
    report.counters.iter().find(|counter| counter.name == name).map_or(0, |counter| counter.value)
}

/// What a hub says in its ledger of its links: name, hub at the other end, count.
fn crossings(client: &mut Raw, of: &str) -> Vec<(String, String, u64)> {
    let (origin, epoch, producer) = (HubId(0), Epoch(0), ProducerId(0));
    let what = SeeWhat::Ledger;
    let ask = Ask {
        request: 7,
        what,
        wait_ms: 10_000,
        topic: "",
        origin,
        epoch,
        producer,
        sequence: 0,
        page: TopicPage::default(),
    };
    client.send(&Frame::Ask(ask));
    let mut all = Vec::new();
    loop {
        let received = client.receive();
        let Frame::Told(told) = received.frame() else { panic!("no answer: {:?}", received.frame()) };
        for hub in told.hubs.iter().filter(|hub| hub.name == of) {
            let facts = hub.facts.iter().filter(|fact| fact.name.starts_with("link."));
            all.extend(facts.map(|fact| (fact.name.to_owned(), fact.text.to_owned(), fact.value)));
        }
        if !told.more {
            return all;
        }
    }
}

/// The other end has answered for all that was sent, which is not nothing. Hubs
/// send each other messages as well, of which a test knows nothing.
fn is_compared(report: &MeshReport<'_>) -> bool {
    let sent = count(report, "link.west.events_out");
    sent > 0 && sent == count(report, "link.west.compared_out")
}

/// What a hub says of its links, but for messages between hubs, once it is so.
fn crossings_are(client: &mut Raw, of: &str, expected: &[(String, String, u64)]) {
    let mut said = Vec::new();
    for _ in 0..2_000 {
        said = crossings(client, of);
        said.retain(|(name, ..)| !name.ends_with("(messages)"));
        if said == expected {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    assert_eq!(said, expected, "it never came to this");
}

fn fact(name: &str, peer: &str, value: u64) -> (String, String, u64) {
    (name.to_owned(), peer.to_owned(), value)
}

#[test]
fn both_ends_of_a_link_count_the_same_by_class_and_say_so() {
    let [east, west] = pair(OFTEN, |_| {});
    let [mut publisher, mut subscriber] = clients(&east, &west);
    for (request, topic) in [(1, "orders/1"), (2, "bills/1"), (3, "orders/2")] {
        publish(&mut publisher, &mut subscriber, request, topic);
    }
    let sent = [fact("link.out.orders", "west", 4), fact("link.out.other", "west", 2)];
    crossings_are(&mut publisher, "east", &sent);
    let came = [fact("link.in.orders", "east", 4), fact("link.in.other", "east", 2)];
    crossings_are(&mut publisher, "west", &came);
    until(&mut publisher, "the other end has answered", is_compared);
    let quiet = ["missing_in", "missing_out", "surplus_in", "unsure_out"];
    until(&mut publisher, "nothing is missing", |report| {
        quiet.iter().all(|what| count(report, &format!("link.west.{what}")) == 0)
    });
    for hub in [east, west] {
        assert_eq!(hub.counters().ledger_alarms.load(Ordering::Relaxed), 0);
        stop(hub);
    }
}

/// The canary: a block that is lost between two hubs is an alarm at the one that
/// it was sent to, of the class, and known at the one that sent it. A hub of the
/// test loses it, for real ones do not.
#[test]
fn one_block_that_is_lost_between_two_hubs_is_an_alarm_that_names_its_class() {
    let ca = authority();
    let hub = start(counted(member(&ca, "west", "127.0.0.1:0", &[]), OFTEN));
    let mut publisher = Raw::connect(&hub, 1);
    let mut liar = Liar::connect(&hub, &identity(&ca, "liar"), 2);
    liar.send(&Frame::LinkOpen(LinkOpen { items: vec![OpenItem { tag: OpenItem::MESH, value: b"weft" }] }));
    // As a hub of the same classes counts: in `orders`, in none, messages.
    let columns = HubId::of_name("orders\norders/**\n").0;
    let mark = |blocks, orders| LinkLedger { lane: Lane::DEFAULT, blocks, columns, events: vec![orders, 0, 0] };
    liar.send(&Frame::LinkLedger(mark(1, 2)));
    let answer = |frame: &Frame<'_>| match frame {
        Frame::LinkCounted(counted) => Some(*counted),
        _ => None,
    };
    let said = liar.receive_until(answer);
    assert_eq!((said.lane, said.blocks, said.events), (Lane::DEFAULT, 1, 0));
    until(&mut publisher, "an alarm", |report| {
        count(report, "ledger.alarms") == 1 && count(report, "link.liar.missing_in") == 2
    });
    let off = crossings(&mut publisher, "west");
    assert!(off.contains(&fact("link.off.orders", "liar", 2)), "{off:?}");
    // It is told once.
    liar.send(&Frame::LinkLedger(mark(1, 2)));
    liar.receive_until(answer);
    until(&mut publisher, "no other alarm", |report| count(report, "ledger.alarms") == 1);

    // And the other way: the one that it is sent to says that it has less.
    Lane::all().for_each(|lane| liar.send(&Frame::LinkCredit(LinkCredit { lane, limit: 1 << 20 })));
    let (me, west, epoch) = (HubId::of_name("liar"), hub.identity().id, Epoch(1));
    let links = vec![LinkStateLink { peer: west, rtt_us: 1, cost: 0 }];
    let record = LinkStateRecord { hub: me, epoch, version: 1, name: "liar", region: "nowhere", links };
    liar.send(&Frame::LinkState(LinkState { record }));
    let (kind, stream) = (InterestKind::Live, StreamInterest::default());
    let wants = InterestChange { add: true, kind, filter: "orders/**", group: "", weight: 0, stream };
    let (from_version, to_version, changes) = (0, 1, vec![wants]);
    liar.send(&Frame::Interest(Interest { hub: me, epoch, from_version, to_version, changes, more: false }));
    until(&mut publisher, "the filter is known", |report| knows_interest(report, "liar", 1));
    publisher.publish_acked(2, AckLevel::Routed, "orders/2", &[b"a", b"b", b"lost"]);
    let mut lost = 0;
    while lost == 0 {
        let mark = liar.receive_until(|frame| match frame {
            Frame::LinkLedger(mark) => Some(mark.clone()),
            _ => None,
        });
        // Of messages between hubs it has all.
        lost = u64::from(mark.events[0] > 0);
        assert_eq!((mark.columns, mark.events[0]), (columns, 3 * lost));
        let events = mark.events.iter().sum::<u64>() - lost;
        liar.send(&Frame::LinkCounted(LinkCounted { lane: mark.lane, blocks: mark.blocks, events }));
    }
    until(&mut publisher, "it knows", |report| count(report, "link.liar.missing_out") == 1);
    stop(hub);
}

#[test]
fn what_was_sent_since_the_last_answer_is_counted_when_the_link_ends() {
    let [east, west] = pair(SELDOM, |_| {});
    let [mut publisher, mut subscriber] = clients(&east, &west);
    // The first mark is of a message, which goes with the question.
    crossings(&mut publisher, "west");
    until(&mut publisher, "the first mark is answered", |report| count(report, "link.west.compared_out") > 0);
    publish(&mut publisher, &mut subscriber, 1, "orders/1");
    publish(&mut publisher, &mut subscriber, 2, "orders/2");
    publish(&mut publisher, &mut subscriber, 3, "bills/1");
    stop(west);
    until(&mut publisher, "what is not answered for is unsure", |report| {
        let [sent, compared, unsure] =
            ["events_out", "compared_out", "unsure_out"].map(|what| count(report, &format!("link.west.{what}")));
        unsure > 0 && sent == compared + unsure
    });
    let expected = [("out.orders", 4), ("unsure.orders", 4), ("out.other", 2), ("unsure.other", 2)];
    let expected = expected.map(|(name, count)| fact(&format!("link.{name}"), "west", count));
    crossings_are(&mut publisher, "east", &expected);
    stop(east);
}

#[test]
fn nothing_is_said_of_what_crosses_a_link_of_version_1() {
    let [east, west] = pair(OFTEN, |options| options.protocol_most = 1);
    let [mut publisher, mut subscriber] = clients(&east, &west);
    publish(&mut publisher, &mut subscriber, 1, "orders/1");
    crossings_are(&mut subscriber, "west", &[fact("link.in.orders", "east", 2)]);
    stop(west);
    until(&mut publisher, "the link has ended", |report| count(report, "sessions.links") == 0);
    until(&mut publisher, "nothing was asked and nothing is unsure", |report| {
        count(report, "link.west.events_out") >= 2
            && count(report, "link.west.compared_out") == 0
            && count(report, "link.west.unsure_out") == 0
    });
    stop(east);
}

#[test]
fn hubs_with_other_classes_compare_what_crossed_in_all() {
    let ca = authority();
    let west = start(counted(member(&ca, "west", "127.0.0.1:0", &[]), OFTEN));
    let mut options = member(&ca, "east", "127.0.0.1:0", &[("west", link_addr(&west))]);
    options.see.links_every = OFTEN;
    let east = start(options);
    let [mut publisher, mut subscriber] = clients(&east, &west);
    publish(&mut publisher, &mut subscriber, 1, "orders/1");
    crossings_are(&mut publisher, "west", &[fact("link.in.orders", "east", 2)]);
    until(&mut publisher, "the other end has answered", is_compared);
    assert_eq!(west.counters().ledger_alarms.load(Ordering::Relaxed), 0);
    [east, west].into_iter().for_each(stop);
}
