//! What is asked of events beyond being published: expectations, times,
//! batches, homes, producers of their own; and levels and last values that are
//! asked for later.

use super::*;
use crate::options::Producer;
use crate::report::Reply;
use weft_base::ProducerId;
use weft_wire::block::layout::{BATCH_LAST, BATCH_OPEN, CONDITIONAL, DELAYED, EXPIRES};
use weft_wire::headers::names;

impl Bench {
    fn now(&self) -> Now {
        Now { mono: self.now, wall: UnixNanos(self.now.0) }
    }

    fn publish_on(
        &mut self,
        spec: &Spec,
        payload: &str,
        terms: Terms,
    ) -> Result<Option<Arc<BlockTicket>>, PublishError> {
        let event = EventFields { payload: payload.as_bytes(), ..EventFields::default() };
        let now = self.now();
        self.session.publish_on_terms(spec, "t", &event, &terms, now).map(|(ticket, _)| ticket)
    }
}

fn synced() -> Spec {
    spec(AckLevel::Synced)
}

/// A header of the first event, as a number.
fn number(published: &Published, name: &str) -> Option<u64> {
    let event = published.block().events().next().expect("an event");
    event.headers.get(name).map(|value| u64::from_le_bytes(value.try_into().expect("eight bytes")))
}

#[test]
fn terms_are_flags_of_a_block_of_its_own_and_headers_of_its_event() {
    let mut bench = Bench::up();
    let ttl = Some(Duration::from_secs(3));
    let all = [
        (Terms { expect_last: Some(7), ..Terms::default() }, CONDITIONAL, names::EXPECT_LAST, 7),
        (Terms { expect_key: Some(0), ..Terms::default() }, CONDITIONAL, names::EXPECT_KEY, 0),
        (Terms { deliver_at: Some(UnixNanos(99)), ..Terms::default() }, DELAYED, names::DELIVER_AT, 99),
        (Terms { ttl, ..Terms::default() }, EXPIRES, names::TTL, 3_000),
    ];
    for (terms, _, _, _) in &all {
        bench.publish_on(&synced(), "x", *terms).expect("room");
    }
    bench.turn();
    let published = bench.published();
    assert_eq!(published.len(), 4);
    for (published, (_, flags, name, value)) in published.iter().zip(&all) {
        assert_eq!((published.block().flags(), published.block().event_count()), (*flags, 1));
        assert_eq!(number(published, name), Some(*value));
    }
}

#[test]
fn the_applications_headers_stand_behind_those_of_the_terms() {
    let mut bench = Bench::up();
    let mut own = Vec::new();
    weft_wire::HeadersWriter::new(&mut own).push(names::EXPECT_LAST, b"forged").expect("a header");
    let event = EventFields { headers: &own, ..EventFields::default() };
    let now = bench.now();
    let terms = Terms { expect_last: Some(7), ..Terms::default() };
    bench.session.publish_on_terms(&synced(), "t", &event, &terms, now).expect("room");
    bench.turn();
    assert_eq!(number(&bench.published()[0], names::EXPECT_LAST), Some(7));
}

#[test]
fn an_event_on_terms_does_not_overtake_those_before_it() {
    let mut bench = Bench::up();
    bench.publish_as(&synced(), "other", "a").expect("room");
    bench.turn();
    bench.publish_as(&synced(), "t", "b").expect("room");
    bench.publish_on(&synced(), "c", Terms { expect_last: Some(1), ..Terms::default() }).expect("room");
    bench.publish_as(&synced(), "t", "d").expect("room");
    bench.turn();
    bench.pass(Duration::from_millis(1));
    let published = bench.published();
    assert_eq!(published.iter().flat_map(Published::payloads).collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    let first: Vec<u64> = published.iter().map(|p| p.block().first_sequence()).collect();
    assert_eq!(first, [1, 2, 3, 4]);
}

#[test]
fn a_publishers_own_time_to_live_shares_blocks() {
    let mut bench = Bench::up();
    let spec = Spec { ttl: Some(Duration::from_millis(250)), ..synced() };
    for payload in ["a", "b"] {
        bench.publish_as(&spec, "t", payload).expect("room");
    }
    bench.turn();
    let published = bench.published();
    assert_eq!(
        (published.len(), published[0].block().flags(), published[0].payloads()),
        (1, EXPIRES, vec!["a".to_owned(), "b".to_owned()])
    );
    for event in published[0].block().events() {
        assert_eq!(event.headers.get(names::TTL), Some(250_u64.to_le_bytes().as_slice()));
    }
}

#[test]
fn the_level_of_homes_says_how_many() {
    let mut bench = Bench::up();
    bench.publish_as(&Spec { homes: 3, ..spec(AckLevel::Homes) }, "t", "x").expect("room");
    bench.turn();
    let written = Frame::decode(&bench.written[0]).expect("a frame");
    assert!(matches!(written, Frame::Publish(p) if p.level == AckLevel::Homes && p.homes == 3));
}

#[test]
fn an_acknowledgement_names_the_home_and_the_sequence_there() {
    let mut bench = Bench::up();
    let ticket = bench.publish_as(&synced(), "t", "x").expect("room").expect("a ticket");
    bench.turn();
    let request = bench.published()[0].request;
    bench.hear(&Frame::Ack(frame::Ack {
        request,
        level: AckLevel::Spooled,
        origin: HubId(7),
        epoch: Epoch(3),
        sequence: 4,
        duplicate: false,
        receivers: 0,
        home: HubId(9),
        home_sequence: 70,
        homes: 1,
    }));
    let ack = outcome(&ticket).expect("it is answered").expect("it is taken");
    assert_eq!((ack.level, ack.home, ack.home_sequence, ack.homes), (AckLevel::Spooled, HubId(9), 70, 1));
}

#[test]
fn a_producer_of_its_own_has_its_numbers_and_a_block_for_each_event() {
    let mut bench = Bench::up();
    let producer = Producer::named("import", 42);
    let spec = Spec { producer: Some(producer.id_in(Lane::DEFAULT)), ..synced() };
    assert!(bench.session.declare_producer(producer.id_in(Lane::DEFAULT), producer.next()));
    bench.publish_as(&spec, "t", "a").expect("room");
    bench.publish_as(&spec, "t", "b").expect("room");
    bench.publish_on(&spec, "c", Terms { sequence: Some(50), ..Terms::default() }).expect("room");
    let late = bench.publish_on(&spec, "d", Terms { sequence: Some(50), ..Terms::default() });
    assert_eq!(late.err(), Some(PublishError::Sequence { sequence: 50, next: 51 }));
    let foreign = bench.publish_on(&synced(), "e", Terms { sequence: Some(1), ..Terms::default() });
    assert_eq!(foreign.err(), Some(PublishError::NoProducer));
    bench.publish_as(&synced(), "t", "own").expect("room");
    bench.turn();
    bench.pass(Duration::from_millis(1));
    let published = bench.published();
    let seen: Vec<_> = published.iter().map(|p| (p.block().first_sequence(), p.block().event_count())).collect();
    assert_eq!(seen, [(42, 1), (43, 1), (50, 1), (1, 1)]);
    assert_eq!(published[0].block().producer(), producer.id_in(Lane::DEFAULT));
    assert_ne!(published[3].block().producer(), producer.id_in(Lane::DEFAULT));
}

#[test]
fn a_producers_id_is_fixed_for_ever() {
    // Known to streams on disk: these numbers must never change.
    assert_eq!(Producer::named("", 1).id_in(Lane::URGENT), ProducerId(0xcbf2_9ce4_8422_2320));
    assert_eq!(Producer::named("a", 1).id_in(Lane::URGENT), ProducerId(0xaf63_dc4c_8601_ec88));
    assert_eq!(Producer::new(0, 0), Producer::new(8, 1), "neither id nor number is zero");
}

fn gathered(topic: &str, payload: &str) -> Gathered {
    Gathered { topic: topic.to_owned(), payload: payload.as_bytes().to_vec(), ..Gathered::default() }
}

/// Id, index and count of the batch that a block is part of.
fn place(published: &Published) -> ([u8; 16], u32, u32) {
    let block = published.block();
    let event = block.events().next().expect("an event");
    let value = event.headers.get(names::BATCH).expect("a batch");
    let word = |at: usize| u32::from_le_bytes(value[at..at + 4].try_into().expect("four bytes"));
    (value[..16].try_into().expect("sixteen bytes"), word(16), word(20))
}

#[test]
fn a_batch_becomes_blocks_that_say_which_of_how_many_they_are() {
    let mut bench = Bench::up();
    bench.publish_as(&synced(), "t", "before").expect("room");
    bench.turn();
    bench.publish_as(&synced(), "t", "open").expect("room");
    let events = [gathered("a", "1"), gathered("a", "2"), gathered("b", "3"), gathered("a", "4")];
    let now = bench.now();
    let spec = Spec { ttl: Some(Duration::from_secs(1)), ..synced() };
    let tickets = bench.session.publish_batch(&spec, &events, now).expect("room");
    assert_eq!(tickets.iter().map(|(_, events)| *events).collect::<Vec<_>>(), [2, 1, 1]);
    // The window has room for 4, of which the first is used: the last block waits for it.
    bench.turn();
    let mut published = bench.published();
    bench.ack(published[0].request, 1);
    bench.ack(published[1].request, 2);
    bench.turn();
    published.extend(bench.published());
    let payloads: Vec<String> = published.iter().flat_map(Published::payloads).collect();
    assert_eq!(payloads, ["before", "open", "1", "2", "3", "4"]);
    let batch = &published[2..];
    let places: Vec<_> = batch.iter().map(place).collect();
    let id = places[0].0;
    assert_eq!(places, [(id, 0, 3), (id, 1, 3), (id, 2, 3)]);
    let flags: Vec<u32> = batch.iter().map(|p| p.block().flags()).collect();
    assert_eq!(flags, [BATCH_OPEN | EXPIRES, BATCH_OPEN | EXPIRES, BATCH_LAST | EXPIRES]);
    assert_eq!(batch.iter().map(|p| p.block().first_sequence()).collect::<Vec<_>>(), [3, 5, 6]);
    // It comes again as it was.
    let bytes: Vec<Vec<u8>> = batch.iter().map(|p| p.bytes.clone()).collect();
    bench.lose();
    bench.connect(4, 1 << 20);
    assert_eq!(bench.published().into_iter().map(|p| p.bytes).collect::<Vec<_>>(), bytes);
}

#[test]
fn a_batch_that_cannot_fit_the_window_is_refused_also_at_a_later_hub() {
    let mut bench = Bench::up();
    let now = bench.now();
    let events: Vec<Gathered> = (0..5).map(|i| gathered(&format!("t/{i}"), "x")).collect();
    let refused = bench.session.publish_batch(&synced(), &events, now).err();
    assert!(matches!(refused, Some(PublishError::BatchTooLarge { blocks: 5, most_blocks: 4, .. })));
    let tickets = bench.session.publish_batch(&synced(), &events[..4], now).expect("room");
    bench.lose();
    bench.connect(3, 1 << 20);
    for (ticket, _) in &tickets {
        assert!(matches!(outcome(ticket), Some(Err(PublishError::BatchTooLarge { most_blocks: 3, .. }))));
    }
    assert!(bench.published().is_empty());
}

#[test]
fn an_event_that_cannot_be_written_takes_nothing_of_its_batch_with_it() {
    let mut bench = Bench::up();
    let now = bench.now();
    let long = Gathered { key: vec![0; 70_000], ..gathered("t", "x") };
    assert!(bench.session.publish_batch(&synced(), &[gathered("t", "a"), long], now).is_err());
    assert!(bench.session.publish_batch(&synced(), &[gathered("t", "a"), gathered("", "b")], now).is_err());
    bench.publish_as(&synced(), "t", "next").expect("room");
    bench.turn();
    let published = bench.published();
    assert_eq!((published.len(), published[0].block().first_sequence()), (1, 1), "no number is left out");
}

#[test]
fn last_values_are_gathered_until_they_are_all_there() {
    let mut bench = Bench::up();
    let encode = |request, out: &mut Vec<u8>| {
        let get = frame::LastGet { request, stream: "s", filter: "t/*", key: &[], has_key: false, most: 0 };
        frame::encode(&Frame::LastGet(get), out);
        Ok(())
    };
    let ticket = bench.session.request_last(encode).expect("a request");
    let request = bench.session.next_id - 1;
    bench.hear(&Frame::Found(frame::Found { request, event: 1, block: &block("t/a", &["old", "new"], 1, 10) }));
    bench.hear(&Frame::Found(frame::Found { request, event: 0, block: &block("t/b", &["only"], 3, 12) }));
    assert!(outcome(&ticket).is_none());
    bench.hear(&Frame::Done(frame::Done { request }));
    let Some(Ok(Reply::Last(found))) = outcome(&ticket) else { panic!("last values") };
    let seen: Vec<_> = found.iter().map(|v| (v.topic(), v.payload(), v.sequence())).collect();
    assert_eq!(seen, [("t/a", b"new".as_slice(), 11), ("t/b", b"only", 12)]);
    // One that lies about the place breaks the protocol.
    bench.hear(&Frame::Found(frame::Found { request, event: 7, block: &block("t/a", &["x"], 1, 10) }));
    assert_eq!(bench.actions, [Action::Disconnect]);
}

#[test]
fn a_higher_level_is_answered_to_its_request() {
    let mut bench = Bench::up();
    let encode = |request, out: &mut Vec<u8>| {
        let (stream, home, level) = ("s", HubId(9), AckLevel::Homes);
        let wait = frame::AwaitLevel { request, stream, home, home_sequence: 70, level, homes: 2 };
        frame::encode(&Frame::AwaitLevel(wait), out);
        Ok(())
    };
    let ticket = bench.session.request(encode).expect("a request");
    bench.ack(bench.session.next_id - 1, 1);
    assert!(matches!(outcome(&ticket), Some(Ok(Reply::Ack(_)))));
}
