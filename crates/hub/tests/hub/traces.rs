//! Traces over real hubs and links: every hub makes its spans by itself, and they
//! fit together.

use std::collections::BTreeMap;

use crate::common::mesh::{authority, knows_interest, link_addr, member, until};
use crate::common::{Raw, start, stop};
use weft_base::{Clock, ProducerId, SystemClock};
use weft_hub::see::{Collector, Span, TraceOptions, Value};
use weft_hub::{Hub, HubOptions};
use weft_wire::block::{BlockFields, BlockWriter, EventFields, block_len};
use weft_wire::frame::{AckLevel, Frame, StreamSpec};
use weft_wire::headers::{HeadersWriter, names};
use weft_wire::trace::{TraceContext, text};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn traced(mut options: HubOptions) -> HubOptions {
    options.see.traces = Some(TraceOptions { sample_ppm: 0, ..TraceOptions::default() });
    options
}

/// A block of one event that was published in a trace.
fn block(topic: &str, first: u64) -> Vec<u8> {
    let mut headers = Vec::new();
    HeadersWriter::new(&mut headers).push(names::TRACEPARENT, PARENT.as_bytes()).expect("a header");
    let mut bytes = vec![0; block_len(topic.len(), std::iter::once((0, headers.len(), 1)))];
    let fields = BlockFields { producer: ProducerId(1), first_sequence: first, ..BlockFields::new(topic) };
    let mut writer = BlockWriter::new(&mut bytes, &fields).expect("a topic");
    writer.push(&EventFields { headers: &headers, payload: b"x", ..EventFields::default() }).expect("room");
    writer.finish().expect("an event");
    bytes
}

/// Spans until there is one of this name.
fn spans(collector: &mut Collector, name: &str) -> Vec<Span> {
    let (clock, mut found) = (SystemClock::new(), Vec::new());
    for _ in 0..2_000 {
        collector.collect(clock.now().wall.0, false, &mut found);
        if found.iter().any(|span: &Span| span.name == name) {
            return found;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(5));
    }
    panic!("no span `{name}`: {found:?}");
}

fn of<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no `{name}` in {spans:?}"))
}

fn pair(folder: &std::path::Path) -> (Hub, Hub) {
    let ca = authority();
    let west = start(traced(member(&ca, "west", "127.0.0.1:0", &[])));
    let mut east = traced(member(&ca, "east", "127.0.0.1:0", &[("west", link_addr(&west))]));
    east.data = Some(folder.to_owned());
    (start(east), west)
}

#[test]
fn spans_of_two_hubs_make_one_trace_with_the_publisher_at_its_root() {
    let folder = tempfile::tempdir().expect("a folder");
    let (east, west) = pair(folder.path());
    let mut collectors = [east.traces().expect("it is on"), west.traces().expect("it is on")];
    let (mut publisher, mut subscriber) = (Raw::connect(&east, 1), Raw::connect(&west, 2));
    subscriber.subscribe(1, "flights/**");
    until(&mut publisher, "the filter is known", |report| knows_interest(report, "west", 1));
    let spec = StreamSpec { name: "kept", filters: vec!["flights/**"], ..StreamSpec::default() };
    publisher.create_stream(spec);
    publisher.publish_block(7, AckLevel::Synced, &block("flights/1", 1));
    let answer = publisher.receive();
    assert!(matches!(answer.frame(), Frame::Ack(_)), "{:?}", answer.frame());
    assert!(matches!(subscriber.receive().frame(), Frame::Deliver(_)));
    let [here, there] = [spans(&mut collectors[0], "link"), spans(&mut collectors[1], "deliver")];
    let context = TraceContext::parse(PARENT.as_bytes()).expect("a context");
    assert!(here.iter().chain(&there).all(|span| span.trace == context.trace));
    assert_eq!(of(&here, "hop").parent, Some(context.span));
    assert_eq!(of(&there, "hop").parent, Some(of(&here, "link").id), "over the link");
    for (spans, names) in [
        (&here, vec!["hop", "route", "append", "sync", "link", "acknowledge"]),
        (&there, vec!["hop", "route", "deliver"]),
    ] {
        assert_eq!(spans.iter().map(|span| span.name).collect::<Vec<_>>(), names);
        let hop = of(spans, "hop");
        assert!(spans.iter().all(|span| span.name == "hop" || span.parent == Some(hop.id)));
        assert!(spans.iter().all(|span| span.start <= span.end && span.start >= hop.start && span.end <= hop.end));
    }
    assert!(of(&here, "link").attributes.contains(&("weft.to", Value::Text("west".to_owned()))));
    assert!(of(&there, "hop").attributes.contains(&("weft.from", Value::Text("east".to_owned()))));
    let mut ids = BTreeMap::new();
    for span in here.iter().chain(&there) {
        assert!(ids.insert(text(&span.id), span.name).is_none(), "each has an id of its own");
    }
    stop(east);
    stop(west);
}

#[test]
fn a_hub_that_traces_nothing_has_nothing_to_collect() {
    let hub = start(crate::common::options("alone", None));
    assert!(hub.traces().is_none());
    let mut client = Raw::connect(&hub, 1);
    client.publish_acked(1, AckLevel::Routed, "a", &[b"x"]);
    stop(hub);
}
