//! Which blocks are traced, and the spans that are made of their records.

use weft_base::{Epoch, Random, UnixNanos};
use weft_wire::block::{self, Block, BlockFields, BlockWriter, EventFields, Stamp};
use weft_wire::headers::{HeadersWriter, names};
use weft_wire::trace::TraceContext;

use super::*;
use crate::counters::get;
use crate::see::{SeeOptions, TraceOptions};

const SECOND: u64 = 1_000_000_000;
const HERE: &str = "here";

fn identity() -> Arc<Identity> {
    Arc::new(Identity {
        id: HubId::of_name(HERE),
        epoch: Epoch(3),
        life: weft_mesh::Life::default(),
        name: HERE.to_owned(),
        region: String::new(),
        labels: Vec::new(),
    })
}

fn counters(traces: TraceOptions) -> Arc<Counters> {
    let see = SeeOptions { traces: Some(traces), window: 64, ..SeeOptions::default() };
    Arc::new(Counters::new(&see, &mut Random::from_seed(1), Arc::default()))
}

fn collector(counters: &Arc<Counters>) -> Collector {
    Collector::new(counters.clone(), identity())
}

/// A block of the events with these trace contexts, the `number`th of its origin.
fn block(origin: HubId, number: u64, contexts: &[&str]) -> Vec<u8> {
    let mut bytes = vec![0; 8 << 10];
    let mut writer = BlockWriter::new(&mut bytes, &BlockFields::new("a/b")).expect("a topic");
    for context in contexts {
        let mut headers = Vec::new();
        if !context.is_empty() {
            HeadersWriter::new(&mut headers).push(names::TRACEPARENT, context.as_bytes()).expect("a header");
        }
        writer.push(&EventFields { headers: &headers, ..EventFields::default() }).expect("room");
    }
    let len = writer.finish().expect("events");
    bytes.truncate(len);
    let sequence = (number - 1) * contexts.len() as u64 + 1;
    let stamp = Stamp { origin, epoch: Epoch(3), block: number, sequence, ingested: UnixNanos(SECOND) };
    block::stamp(&mut bytes, &stamp).expect("it has none");
    bytes
}

/// A block is routed, from a hub or a client (0), one second after the beginning.
fn route(counters: &Counters, bytes: &[u8], from: HubId) {
    let block = Block::trusted(bytes);
    let record = counters.window.begin(block, from.0, SECOND, SECOND + 5).expect("a record");
    counters.traces.routed(block, record, from.0 == 0, SECOND + 5);
}

fn at(counters: &Counters, nanos: u64) {
    counters.turn(weft_base::Now { wall: UnixNanos(nanos), ..weft_base::Now::default() });
}

fn spans(counters: &Arc<Counters>) -> Vec<Span> {
    let (mut collector, mut spans) = (collector(counters), Vec::new());
    collector.collect(2 * SECOND, false, &mut spans);
    collector.collect(3 * SECOND, false, &mut spans);
    spans
}

fn context(n: u8, flags: &str) -> String {
    format!("00-{n:032x}-{n:016x}-{flags}")
}

fn nothing_sampled() -> TraceOptions {
    TraceOptions { sample_ppm: 0, ..TraceOptions::default() }
}

#[test]
fn a_hop_is_the_child_of_the_link_it_came_by_or_of_its_publisher() {
    let (own, other) = (HubId::of_name(HERE), HubId::of_name("there"));
    for from in [HubId(0), other] {
        let counters = counters(nothing_sampled());
        let origin = if from == other { other } else { own };
        let bytes = block(origin, 1, &[&context(7, "01"), &context(9, "01")]);
        route(&counters, &bytes, from);
        let account = counters.account(&bytes);
        account.copies(4);
        at(&counters, SECOND + 9);
        account.delivered(2);
        account.forwarded(2);
        account.sent_to(77);
        counters.traces.answered(1, SECOND + 20);
        let spans = spans(&counters);
        let stamp = Block::trusted(&bytes).stamp().expect("a stamp");
        let trace = TraceContext::parse(context(7, "01").as_bytes()).expect("a context").trace;
        let hop = &spans[0];
        let parent = match from {
            HubId(0) => TraceContext::parse(context(7, "01").as_bytes()).expect("a context").span,
            from => span_of_stage(&trace, &stamp, from, SpanStage::Link, own),
        };
        assert_eq!((hop.name, hop.trace, hop.parent), ("hop", trace, Some(parent)));
        assert_eq!(
            hop.links,
            [(TraceContext::parse(context(9, "01").as_bytes()).expect("one").trace, [0, 0, 0, 0, 0, 0, 0, 9])]
        );
        let names: Vec<_> = spans.iter().map(|span| span.name).collect();
        let ends = if from == other { vec![] } else { vec!["acknowledge"] };
        assert_eq!(names, [vec!["hop", "route", "link", "deliver"], ends].concat());
        assert!(spans[1..].iter().all(|span| span.parent == Some(hop.id) && span.trace == trace));
        let link = &spans[2];
        assert_eq!(link.id, span_of_stage(&trace, &stamp, own, SpanStage::Link, HubId(77)));
        assert_eq!((link.start, link.end), (SECOND + 5, SECOND + 9));
        assert_eq!((hop.start, hop.end), (SECOND, SECOND + if from == other { 9 } else { 20 }));
        assert!(hop.error.is_none() && !hop.attributes.iter().any(|(name, _)| *name == "weft.incomplete"));
    }
}

#[test]
fn what_its_producer_marked_is_traced_and_of_the_rest_a_share() {
    let own = HubId::of_name(HERE);
    let traced = |options, contexts: &[&str]| {
        let counters = counters(options);
        for number in 1..=50 {
            route(&counters, &block(own, number, contexts), HubId(0));
        }
        get(&counters.traced().chosen)
    };
    let all = TraceOptions { sample_ppm: 1_000_000, ..TraceOptions::default() };
    assert_eq!(traced(nothing_sampled(), &[""]), 0);
    assert_eq!(traced(nothing_sampled(), &["", &context(1, "01")]), 50);
    assert_eq!(traced(all, &[""]), 50);
    assert_eq!(traced(all, &[&context(1, "00")]), 0, "its producer decided");
    assert_eq!(traced(all, &["forged"]), 50, "which is no decision");
}

#[test]
fn what_is_slow_or_lost_is_traced_whatever_was_decided_before_and_once() {
    let own = HubId::of_name(HERE);
    let counters = counters(nothing_sampled());
    let blocks: Vec<_> = (1..=4).map(|number| block(own, number, &[&context(1, "00")])).collect();
    blocks.iter().for_each(|bytes| route(&counters, bytes, HubId(0)));
    let account = |n: usize| counters.account(&blocks[n]);
    (0..4).for_each(|n| account(n).copies(1));
    at(&counters, SECOND + SECOND / 2);
    account(0).delivered(1);
    account(1).drop(DropReason::NoInterest, 1);
    account(2).drop(DropReason::SubscriberFull, 1);
    at(&counters, 3 * SECOND);
    account(3).delivered(1);
    account(3).delivered(1);
    let spans = spans(&counters);
    let hops: Vec<_> = spans.iter().filter(|span| span.name == "hop").collect();
    let why = |span: &Span| span.attributes.iter().find(|(name, _)| *name == "weft.sampled_by").map(|(_, v)| v.clone());
    assert_eq!(
        hops.iter().filter_map(|hop| why(hop)).collect::<Vec<_>>(),
        [Value::Text("lost".to_owned()), Value::Text("slow".to_owned())]
    );
    assert_eq!(hops[0].error.as_deref(), Some("1 dropped: subscriber_full"));
    assert_eq!(get(&counters.traced().kept), 2);
}

#[test]
fn more_than_may_be_traced_in_a_second_are_counted_and_memory_is_bounded() {
    let own = HubId::of_name(HERE);
    let counters = counters(TraceOptions { most: 10, ..TraceOptions::default() });
    for number in 1..=30 {
        route(&counters, &block(own, number, &[&context(1, "01")]), HubId(0));
    }
    assert_eq!((get(&counters.traced().chosen), get(&counters.traced().limited)), (10, 20));
}

#[test]
fn a_block_whose_record_is_gone_is_told_of_as_far_as_it_is_known() {
    let own = HubId::of_name(HERE);
    let counters = counters(nothing_sampled());
    let bytes = block(own, 1, &[&context(1, "01")]);
    route(&counters, &bytes, HubId(0));
    counters.account(&bytes).copies(3);
    let (mut collector, mut spans) = (collector(&counters), Vec::new());
    collector.collect(SECOND, false, &mut spans);
    assert!(spans.is_empty(), "three copies are under way");
    // 64 blocks later its place is another's.
    route(&counters, &block(own, 65, &[""]), HubId(0));
    collector.collect(SECOND + 1, false, &mut spans);
    assert_eq!(spans.iter().map(|span| span.name).collect::<Vec<_>>(), ["hop", "route"]);
    assert!(spans[0].attributes.contains(&("weft.incomplete", Value::Flag(true))));
    assert_eq!(get(&counters.traced().incomplete), 1);
}
