//! Records with attributes: kept and passed on as they came, to whom they mean
//! something.

use weft_wire::frame::{
    Attributes, Digest, DigestEntry, LinkState, LinkStateLink, LinkStateRecord, Record, push_attribute,
};

use super::*;

/// A hub without neighbours, its time, and what it sends.
struct Alone(Mesh, Mono);

impl Alone {
    fn new() -> Self {
        Self(Mesh::new(MeshOptions::default(), info(1, 1), 3), Mono(1_000_000_000))
    }

    fn event(&mut self, event: Event<'_>) -> Vec<(LinkId, Vec<u8>)> {
        let mut out = Vec::new();
        self.0.apply(event, now(self.1), &mut out);
        let sent = out.into_iter().filter_map(|command| match command {
            Command::Send { link, bytes } => Some((link, bytes)),
            _ => None,
        });
        sent.collect()
    }

    fn up(&mut self, link: u64, hub: u64, version: u16) {
        let (name, region) = (format!("hub-{hub}"), String::new());
        let link = LinkId(link);
        self.event(Event::LinkUp { link, hub: id(hub), epoch: Epoch(1), name, region, version, cost: 0 });
    }

    /// The record of hub 5, which has no attributes, comes by link 3.
    fn hear_of_version_1(&mut self) {
        let (name, region, links) = ("hub-5", "", Vec::new());
        let record = LinkStateRecord { hub: id(5), epoch: Epoch(1), version: 1, name, region, links };
        self.event(Event::Frame { link: LinkId(3), frame: &Frame::LinkState(LinkState { record }) });
    }

    /// What goes out of the record of hub 2 that comes by link 2.
    fn take(&mut self, version: u64, attributes: Option<Attributes<'_>>) -> Vec<(u64, Vec<u8>)> {
        let links = vec![LinkStateLink { peer: id(1), rtt_us: 1, cost: 0 }];
        let record = LinkStateRecord { hub: id(2), epoch: Epoch(1), version, name: "hub-2", region: "", links };
        let frame = match attributes {
            Some(attributes) => Frame::Record(Record { record, attributes }),
            None => Frame::LinkState(LinkState { record }),
        };
        let sent = self.event(Event::Frame { link: LinkId(2), frame: &frame });
        sent.into_iter().map(|(link, bytes)| (link.0, bytes)).collect()
    }
}

/// Labels, and a tag that nobody knows.
fn bytes(unknown: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    push_attribute(&mut bytes, attribute::LABELS, b"\x02eu");
    push_attribute(&mut bytes, 9_999, unknown);
    bytes
}

#[test]
fn attributes_are_passed_on_byte_for_byte_and_without_on_links_of_version_1() {
    let mut hub = Alone::new();
    hub.up(2, 2, 2);
    hub.up(3, 3, 2);
    hub.up(4, 4, 1);
    let bytes = bytes(b"of a later version");
    let attributes = Attributes::parse(&bytes).expect("attributes");
    let sent = hub.take(7, Some(attributes));
    assert_eq!(sent.len(), 2, "to all but where it came from: {sent:?}");
    for (link, bytes) in &sent {
        let found = frames(bytes);
        let [Ok(frame)] = &found[..] else { panic!("{found:?}") };
        match (link, frame) {
            (3, Frame::Record(said)) => assert_eq!((said.record.version, said.attributes), (7, attributes)),
            (4, Frame::LinkState(said)) => assert_eq!((said.record.version, said.record.name), (7, "hub-2")),
            other => panic!("{other:?}"),
        }
    }
    let report = hub.0.report();
    assert_eq!(report.hubs.iter().find(|hub| hub.id == id(2)).map(|hub| hub.labels.clone()), Some(vec!["eu".into()]));
}

#[test]
fn at_equal_versions_a_record_with_attributes_is_newer_than_one_without() {
    let mut hub = Alone::new();
    hub.up(2, 2, 2);
    hub.up(3, 3, 2);
    let bytes = bytes(b"x");
    let attributes = Attributes::parse(&bytes).expect("attributes");
    assert_eq!(hub.take(7, None).len(), 1);
    assert_eq!(hub.take(7, None).len(), 0, "it is known");
    assert_eq!(hub.take(7, Some(attributes)).len(), 1, "this says more");
    assert_eq!(hub.take(7, Some(attributes)).len(), 0);
    assert_eq!(hub.take(7, None).len(), 0, "this says less");
    assert_eq!(hub.take(8, None).len(), 0, "nobody on the way can have taken the attributes off");
    hub.up(2, 2, 1);
    assert_eq!(hub.take(8, None).len(), 1, "a neighbour of version 1 knows none");
    assert_eq!(hub.take(9, Some(attributes)).len(), 1);
    hub.up(2, 2, 2);
    assert_eq!(hub.take(10, None).len(), 0);
    hub.hear_of_version_1();
    assert_eq!(hub.take(10, None).len(), 1, "it may have come by hub 5");
}

/// Symptom: where hubs of two versions started together, records of honest ones
/// were counted as refused. Cause: what a hub of version 1 passes on may come before
/// that hub's own record, and a neighbour of it hands both on in the order of both.
#[test]
fn a_record_that_outran_the_news_of_a_hub_of_version_1_is_refused_only_if_there_is_none() {
    let mut hub = Alone::new();
    hub.0.options.timers.digest = ms(1);
    hub.up(2, 2, 2);
    hub.up(3, 3, 2);
    let bytes = bytes(b"x");
    let attributes = Attributes::parse(&bytes).expect("attributes");
    let known = |hub: &Alone| (hub.0.hubs[&id(2)].version, hub.0.counters().refused);
    hub.take(10, Some(attributes));
    hub.take(11, None);
    assert_eq!(known(&hub), (10, 0), "not believed, and no offence yet");
    hub.1 = hub.1 + ms(2);
    hub.take(11, None);
    assert_eq!(known(&hub), (10, 1), "after two digests it is one");
    hub.take(20, Some(attributes));
    hub.take(21, None);
    hub.1 = hub.1 + ms(2);
    hub.hear_of_version_1();
    hub.take(21, None);
    assert_eq!(known(&hub), (21, 1), "it came by hub 5");
}

/// Symptom: in a mesh of two versions hubs took a hub with a label for one without,
/// until its record was renewed, and dropped what was bound to the label. Cause: they
/// had its record over a hub of version 1, without attributes, and a neighbour that
/// came later has the same version with them, of which digests say nothing.
#[test]
fn what_a_hub_of_version_1_took_off_is_learned_from_a_neighbour_that_comes_later() {
    let mut net = Net::new();
    (1..=4).for_each(|hub| net.add(hub, 1));
    net.version = 1;
    net.link(1, 1, 2);
    net.link(2, 2, 3);
    net.version = 2;
    net.link(3, 3, 4);
    net.pass(SECOND);
    let known = |net: &Net| net.hubs[&1].hubs.get(&id(3)).map(|hub| (hub.version, hub.attributes.is_some()));
    let Some((version, false)) = known(&net) else { panic!("{:?}", known(&net)) };
    net.link(4, 1, 4);
    net.pass(Timers::default().digest * 2);
    assert_eq!(known(&net), Some((version, true)));
}

#[test]
fn labels_reach_hubs_that_are_not_neighbours_and_those_that_come_later() {
    let mut net = Net::new();
    let labels = vec!["gdpr".to_owned(), "eu".to_owned()];
    net.add(1, 1);
    net.hubs.insert(1, Mesh::new(MeshOptions::default(), HubInfo { labels, ..info(1, 1) }, 1));
    net.add(2, 1);
    net.add(3, 1);
    net.link(1, 1, 2);
    net.link(2, 2, 3);
    net.pass(SECOND);
    // What came with the flood, and what came by asking.
    for at in [1, 2, 3] {
        let report = net.hubs[&at].report();
        let labels: Vec<&[String]> = report.hubs.iter().map(|hub| hub.labels.as_slice()).collect();
        assert_eq!(labels, [&["eu".to_owned(), "gdpr".to_owned()][..], &[], &[]], "at {at}");
    }
}

/// Hubs 1 to 3, each linked to the others, over wires of 10 µs.
fn triangle() -> Net {
    let mut net = Net::new();
    (1..=3).for_each(|hub| net.add(hub, 1));
    net.link(1, 1, 2);
    net.link(2, 2, 3);
    net.link(3, 1, 3);
    net.pass(SECOND);
    assert_eq!((net.hops(1, 2), net.hops(2, 1)), (1, 1));
    net
}

#[test]
fn a_price_that_one_end_was_told_of_moves_the_ways_of_all() {
    let mut net = triangle();
    net.tell(1, Event::LinkPrice { link: LinkId(1), price: 9 });
    net.run();
    assert_eq!((net.hops(1, 2), net.hops(2, 1), net.hops(3, 1)), (2, 2, 1));
    net.tell(1, Event::LinkPrice { link: LinkId(1), price: 0 });
    net.run();
    assert_eq!((net.hops(1, 2), net.hops(2, 1)), (1, 1));
}

#[test]
fn a_link_that_loses_probes_is_left_and_taken_again_but_not_often() {
    let mut net = triangle();
    // The way by hub 3 is longer than what round trips may be off by.
    net.tell(3, Event::LinkPrice { link: LinkId(2), price: 2 });
    net.run();
    // Of the answers over the link between 1 and 2 each sixth comes late.
    let probe = |net: &mut Net, turn: u64| {
        net.tell(1, Event::Tick);
        let (of_the_link, others) = net.queue.drain(..).partition(|(_, link, _)| *link == LinkId(1));
        // The other link answers at once.
        net.queue = others;
        net.run();
        let of_the_link: VecDeque<(u64, LinkId, Vec<u8>)> = of_the_link;
        let asked = of_the_link.iter().flat_map(|(_, _, bytes)| frames(bytes)).find_map(|frame| match frame {
            Ok(Frame::Ping(ping)) => Some(ping.id),
            _ => None,
        });
        net.now = net.now + ms(if turn.is_multiple_of(6) { 800 } else { 0 });
        let pong = asked.map(|id| Frame::Pong(Pong { id, time: 0 }));
        pong.iter().for_each(|frame| net.tell(1, Event::Frame { link: LinkId(1), frame }));
        // What else was said over the link comes too.
        net.queue.extend(of_the_link);
    };
    let mut told = Vec::new();
    let said = |net: &Net| {
        let links = net.hubs[&2].hubs[&id(1)].attribute(attribute::METRICS).map(crate::costs::decode);
        links.unwrap_or_default().get(&id(2)).map_or(0, |(loss, _)| *loss)
    };
    for turn in 0..90 {
        let next = net.now + SECOND;
        probe(&mut net, turn);
        net.run();
        net.now = next.max(net.now);
        told.push((net.now, said(&net)));
    }
    assert!(told.last().is_some_and(|(_, loss)| *loss > 80_000), "{told:?}");
    assert_eq!((net.hops(1, 2), net.hops(2, 1)), (2, 2), "the larger of both ends counts");
    let mut changes: Vec<Mono> = Vec::new();
    for pair in told.windows(2).filter(|pair| pair[0].1 != pair[1].1) {
        changes.push(pair[1].0);
    }
    let hold = Timers::default().rtt_hold;
    assert!(changes.windows(2).all(|pair| pair[1].since(pair[0]) + SECOND >= hold), "not often: {changes:?}");
    // It gets well: the ways come back, once.
    net.pass(Duration::from_secs(600));
    assert_eq!((said(&net), net.hops(1, 2), net.hops(2, 1)), (0, 1, 1));
}

/// The record of a hub, as it comes to hub 1 by a link.
fn say(net: &mut Net, link: u64, hub: u64, links: Vec<LinkStateLink>, attributes: Option<Attributes<'_>>) {
    let name = format!("hub-{hub}");
    let record = LinkStateRecord { hub: id(hub), epoch: Epoch(1), version: 1_000, name: &name, region: "here", links };
    let frame = match attributes {
        Some(attributes) => Frame::Record(Record { record, attributes }),
        None => Frame::LinkState(LinkState { record }),
    };
    net.tell(1, Event::Frame { link: LinkId(link), frame: &frame });
}

#[test]
fn beside_a_hub_of_version_1_all_reckon_as_it_does() {
    let mut net = triangle();
    net.tell(1, Event::LinkPrice { link: LinkId(1), price: 9 });
    net.run();
    assert_eq!(net.hops(1, 2), 2);
    net.version = 1;
    net.link(4, 1, 3);
    // Nothing but whether there are attributes differs from what is known.
    let links = net.hubs[&1].hubs[&id(3)].links.clone();
    say(&mut net, 4, 3, links.clone(), None);
    assert_eq!(net.hops(1, 2), 1);
    say(&mut net, 3, 3, links, Some(Attributes::default()));
    assert_eq!(net.hops(1, 2), 2, "it was upgraded");
}

#[test]
fn a_hub_of_version_1_that_is_not_linked_changes_no_way() {
    let mut net = triangle();
    net.tell(1, Event::LinkPrice { link: LinkId(1), price: 9 });
    net.run();
    // It says that it is linked with hub 1, which knows nothing of that.
    say(&mut net, 3, 9, vec![LinkStateLink { peer: id(1), rtt_us: 1, cost: 0 }], None);
    assert_eq!(net.hops(1, 2), 2);
}

/// Symptom: a hub at its limit of hubs had its neighbours send the whole sets
/// of all others with each digest, and threw them away. Cause: it asked for
/// hubs that it has no room for.
#[test]
fn hubs_that_there_is_no_room_for_are_not_asked_for() {
    let mut net = Net::with(Limits { hubs: 1, ..Limits::default() }, Timers::default());
    (1..=2).for_each(|hub| net.add(hub, 1));
    net.link(1, 1, 2);
    let entry =
        |hub| DigestEntry { hub: id(hub), epoch: Epoch(1), link_version: 1, interest_version: 1, interest_hash: 1 };
    let asked = |net: &mut Net| {
        let digest = Frame::Digest(Digest { entries: vec![entry(8), entry(9)] });
        let mut out = Vec::new();
        let heard = Event::Frame { link: LinkId(1), frame: &digest };
        net.hubs.get_mut(&1).expect("a hub").apply(heard, now(net.now), &mut out);
        let sent = out.iter().filter_map(|command| match command {
            Command::Send { bytes, .. } => Some(bytes),
            _ => None,
        });
        let wants = sent.flat_map(|bytes| frames(bytes)).filter(|frame| matches!(frame, Ok(Frame::Want(_))));
        wants.count()
    };
    assert_eq!(asked(&mut net), 0, "hub 2 is all that fits");
    // Once it is out of reach, another one has its place.
    net.add(3, 1);
    net.cut(1);
    net.link(1, 1, 3);
    net.hubs.get_mut(&1).expect("a hub").options.limits.hubs = 2;
    net.hubs.get_mut(&1).expect("a hub").free_slots.insert(1);
    assert_eq!(asked(&mut net), 1, "there is room");
}

#[test]
fn answers_to_probes_that_change_nothing_have_no_links_looked_through() {
    let mut net = Net::new();
    (1..=30).for_each(|hub| net.add(hub, 1));
    (2..=30).for_each(|hub| net.link(hub, 1, hub));
    net.pass(SECOND);
    let before = net.hubs[&1].record.looked;
    net.pass(SECOND * 20);
    let looked = net.hubs[&1].record.looked - before;
    // 29 links are probed four times a second each way.
    assert!(looked < 30, "{looked} times in 20 s in which nothing changed");
}
