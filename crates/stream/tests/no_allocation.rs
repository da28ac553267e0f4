//! Evaluating a predicate allocates nothing, whatever it looks at.
//!
//! The judge is checked first: an allocation is seen.

use allocation_counter::measure;
use weft_base::UnixNanos;
use weft_stream::predicate::Predicate;
use weft_wire::block::Event;
use weft_wire::headers::{Headers, HeadersWriter};

#[test]
fn evaluating_a_predicate_allocates_nothing() {
    let canary = measure(|| drop(std::hint::black_box(vec![1])));
    assert_eq!(canary.count_total, 1);

    let text = "header.ce-type == 'order.placed' and (topic[1] in ('eu', 'uk') or header.amount > 1000)
        and not (key prefix 'x' or exists header('odd name')) and size < 65536 and time >= 5 and levels in (1, 2)";
    let predicate = Predicate::compile(text).expect("a predicate");
    let mut bytes = Vec::new();
    let mut writer = HeadersWriter::new(&mut bytes);
    writer.push("amount", b"1000.5").expect("a header");
    writer.push("ce-type", b"order.placed").expect("a header");
    let headers = Headers::validate(&bytes).expect("headers");
    let event = Event { time: UnixNanos(9_000_000), key: b"k", headers, payload: b"payload" };
    let mut held = 0;
    let used = measure(|| {
        for topic in ["orders/eu", "orders/us", "orders", "a/b/c"] {
            held += u32::from(std::hint::black_box(&predicate).matches(topic, &event));
        }
    });
    assert_eq!((used.count_total, held), (0, 3));
}
