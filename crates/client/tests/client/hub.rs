//! The client against a real hub in this process, over TCP.

use std::time::Duration;

use crate::common::Place;
use futures_lite::StreamExt;
use futures_lite::future::block_on;
use weft_base::{ByteCount, UnixNanos};
use weft_client::{
    AckLevel, Client, ConnectError, ConnectOptions, EventFields, HeadersWriter, Order, PublishError, PublisherOptions,
    RequestError, StartAt, Status, StreamOptions, SubscribeError, SubscribeOptions, Subscription,
};

/// The payloads of the next `n` events.
async fn take(subscription: &mut Subscription, n: usize) -> Vec<String> {
    let mut payloads = Vec::new();
    while payloads.len() < n {
        let delivery = subscription.next().await.expect("the client is open").expect("a delivery");
        payloads.extend(delivery.events().map(|event| String::from_utf8_lossy(event.payload).into_owned()));
    }
    assert_eq!(payloads.len(), n);
    payloads
}

#[test]
fn what_is_published_is_delivered_as_it_was() {
    let place = Place::new();
    block_on(async {
        let client = place.client().await;
        let mut subscription = client.subscribe("flights/**", SubscribeOptions::default()).await.expect("subscribed");
        let mut headers = Vec::new();
        HeadersWriter::new(&mut headers).push("ce-id", b"7").expect("a header");
        let event = EventFields { time: UnixNanos(99), key: b"B6 725", headers: &headers, payload: &[0, 255, 1] };
        let publisher = client.publisher(PublisherOptions::default());
        let published = publisher.publish_event("flights/JFK", event).await.expect("taken").await.expect("routed");
        assert_eq!((published.level, published.sequence, published.duplicate), (AckLevel::Routed, 1, false));

        let delivery = subscription.next().await.expect("open").expect("a delivery");
        assert_eq!((delivery.topic(), delivery.event_count(), delivery.hops()), ("flights/JFK", 1, 0));
        let event = delivery.events().next().expect("an event");
        assert_eq!((event.time, event.key, event.payload), (UnixNanos(99), &b"B6 725"[..], &[0, 255, 1][..]));
        assert_eq!(event.headers.get("ce-id"), Some(&b"7"[..]));
        let stamp = delivery.stamp().expect("stamped");
        assert_eq!((stamp.origin, stamp.sequence), (published.origin, published.sequence));
        // Read where it was received.
        let block = delivery.block().bytes().as_ptr_range();
        assert!(block.start.addr().is_multiple_of(8));
        assert!(block.contains(&event.payload.as_ptr()));
        assert!(client.close().await);
    });
}

#[test]
fn many_events_keep_their_order_and_come_in_few_blocks() {
    const EVENTS: usize = 20_000;
    let place = Place::new();
    block_on(async {
        let client = place.client().await;
        let mut subscription = client.subscribe("t/*", SubscribeOptions::default()).await.expect("subscribed");
        let publisher = client.publisher(PublisherOptions { order: Order::Topic, ..PublisherOptions::default() });
        let publishing = async {
            let mut last = None;
            for i in 0..EVENTS {
                last = Some(publisher.publish(&format!("t/{}", i % 3), i.to_string().as_bytes()).await.expect("taken"));
            }
            last.expect("some").await.expect("routed");
            client.flush().await;
        };
        let receiving = async {
            let (mut next, mut blocks) = ([0, 1, 2], 0);
            while next.iter().any(|n| *n < EVENTS) {
                let delivery = subscription.next().await.expect("open").expect("a delivery");
                blocks += 1;
                for event in delivery.events() {
                    let number: usize = String::from_utf8_lossy(event.payload).parse().expect("a number");
                    let next = &mut next[number % 3];
                    assert_eq!(number, *next, "{}", delivery.topic());
                    *next += 3;
                }
                assert!(delivery.gap().is_none());
            }
            blocks
        };
        let (_, blocks) = futures_lite::future::zip(publishing, receiving).await;
        assert!(blocks < EVENTS / 4, "{blocks} blocks");
    });
}

#[test]
fn a_slow_subscriber_holds_only_what_it_gave_credit_for() {
    let place = Place::new();
    block_on(async {
        let client = place.client().await;
        let options = SubscribeOptions { credit_events: 8, ..SubscribeOptions::default() };
        let mut subscription = client.subscribe("t", options).await.expect("subscribed");
        let publisher = client.publisher(PublisherOptions { linger: Duration::ZERO, ..PublisherOptions::default() });
        let mut expected = Vec::new();
        for i in 0..200 {
            expected.push(i.to_string());
            publisher.publish("t", i.to_string().as_bytes()).await.expect("taken").await.expect("routed");
        }
        // The rest waits at the hub, and comes as credit is given back.
        assert_eq!(take(&mut subscription, 200).await, expected);
    });
}

#[test]
fn a_stream_is_made_filled_read_listed_and_deleted() {
    let place = Place::new();
    block_on(async {
        let client = place.client().await;
        let streams = client.streams();
        let options = StreamOptions { filters: vec!["a/**".to_owned(), "b".to_owned()], ..StreamOptions::new("s", "") };
        streams.create(&options).await.expect("made");
        streams.create(&options).await.expect("made again as it is");
        let publisher = client.publisher(PublisherOptions::level(AckLevel::Synced));
        for topic in ["a/1", "b", "a/2", "a/3"] {
            let published = publisher.publish(topic, topic.as_bytes()).await.expect("taken").await.expect("on disk");
            assert_eq!(published.level, AckLevel::Synced);
        }
        let refused = publisher.publish("c", b"").await.expect("taken").await;
        assert!(matches!(refused, Err(PublishError::Refused(_))), "no stream takes it: {refused:?}");

        let report = streams.info("s").await.expect("a report");
        assert_eq!((report.first, report.next, report.synced, report.events()), (1, 5, 5, 4));
        assert_eq!(report.definition.filters, options.filters);
        assert_eq!(streams.list().await.expect("a list"), [report]);

        for (start, filter, expected) in [
            (StartAt::First, "**", vec!["a/1", "b", "a/2", "a/3"]),
            (StartAt::First, "a/*", vec!["a/1", "a/2", "a/3"]),
            (StartAt::Last, "**", vec!["a/3"]),
            (StartAt::Sequence(3), "**", vec!["a/2", "a/3"]),
            (StartAt::Time(UnixNanos(1)), "**", vec!["a/1", "b", "a/2", "a/3"]),
        ] {
            let mut reading = client.subscribe(filter, SubscribeOptions::stream("s", start)).await.expect("open");
            assert_eq!(take(&mut reading, expected.len()).await, expected, "{start:?} {filter}");
        }
        let mut reading = client.subscribe("**", SubscribeOptions::stream("s", StartAt::New)).await.expect("open");
        publisher.publish("a/4", b"new").await.expect("taken").await.expect("on disk");
        assert_eq!(take(&mut reading, 1).await, ["new"]);

        streams.delete("s").await.expect("deleted");
        assert!(matches!(streams.info("s").await, Err(RequestError::Refused(_))));
    });
}

#[test]
fn a_hub_that_goes_and_comes_back_costs_no_acknowledged_event_and_repeats_none() {
    let mut place = Place::new();
    let client = block_on(place.client());
    block_on(client.streams().create(&StreamOptions::new("s", "t"))).expect("made");
    let from_first = SubscribeOptions::stream("s", StartAt::First);
    let mut reading = block_on(client.subscribe("**", from_first)).expect("open");
    let mut live = block_on(client.subscribe("t", SubscribeOptions::default())).expect("subscribed");
    let publisher = client.publisher(PublisherOptions::level(AckLevel::Synced));
    let mut acknowledgements = Vec::new();
    for round in 0..3 {
        for i in 0..100 {
            let payload = format!("{round}-{i}");
            acknowledgements.push(block_on(publisher.publish("t", payload.as_bytes())).expect("taken"));
            if i == 50 {
                place.stop();
            }
        }
        assert!(matches!(
            block_on(client.status_other_than(&client.status())),
            Status::Reconnecting { .. } | Status::Connected(_)
        ));
        place.start();
    }
    let mut sequences = Vec::new();
    for acknowledgement in acknowledgements {
        let published = block_on(acknowledgement).expect("on disk in the end");
        sequences.push(published.sequence);
    }
    let expected: Vec<String> = (0..3).flat_map(|round| (0..100).map(move |i| format!("{round}-{i}"))).collect();
    assert_eq!(block_on(take(&mut reading, 300)), expected, "in order, each once");
    assert_eq!(sequences.len(), 300);
    // The live one may have holes, says so, and has nothing twice. Once a later
    // subscription stands, so does it again, and the mark is the last to come.
    block_on(client.flush());
    let _later = block_on(client.subscribe("t", SubscribeOptions::default())).expect("subscribed");
    drop(block_on(publisher.publish("t", b"mark")).expect("taken"));
    let mut seen = Vec::new();
    let mut marks = 0;
    while seen.last().is_none_or(|last| last != "mark") {
        let delivery = block_on(live.next()).expect("open").expect("a delivery");
        marks += usize::from(delivery.gap().reconnected);
        seen.extend(delivery.events().map(|event| String::from_utf8_lossy(event.payload).into_owned()));
    }
    seen.pop();
    let mut places: Vec<usize> = seen.iter().filter_map(|p| expected.iter().position(|e| e == p)).collect();
    assert!(places.is_sorted());
    places.dedup();
    assert_eq!(places.len(), seen.len());
    assert!(seen.len() == 300 || marks > 0);
}

#[test]
fn it_is_a_stream_for_any_executor() {
    let place = Place::new();
    let client = block_on(place.client());
    let subscription = block_on(client.subscribe("t", SubscribeOptions::default())).expect("subscribed");
    let reading = std::thread::spawn(move || {
        block_on(subscription.take(3).map(|item| item.map(|d| d.event_count())).collect::<Vec<_>>())
    });
    let publisher = client.publisher(PublisherOptions::default());
    for _ in 0..3 {
        block_on(async { publisher.publish("t", b"").await.expect("taken").await.expect("routed") });
    }
    assert_eq!(reading.join().expect("no panic"), [Ok(1), Ok(1), Ok(1)]);
}

#[test]
fn publishing_does_not_wait_where_it_must_not() {
    let mut place = Place::new();
    let client = block_on(place.client());
    place.stop();
    let publisher = client.publisher(PublisherOptions { block: ByteCount::kib(1), ..PublisherOptions::default() });
    let payload = [0; 900];
    let full = (0..10_000).find_map(|_| publisher.try_publish("t", &payload).err());
    assert!(matches!(full, Some(PublishError::Full { blocks: 256 })), "{full:?}");
    place.start();
    block_on(async { publisher.publish("t", &payload).await.expect("room again").await.expect("routed") });
}

#[test]
fn the_last_handle_to_go_still_sends_what_was_taken() {
    let place = Place::new();
    block_on(async {
        let reader = place.client().await;
        let mut subscription = reader.subscribe("t", SubscribeOptions::default()).await.expect("subscribed");
        let client = place.client().await;
        let publisher = client.publisher(PublisherOptions::level(AckLevel::None));
        for i in 0..10 {
            drop(publisher.publish("t", i.to_string().as_bytes()).await.expect("taken"));
        }
        drop((client, publisher));
        assert_eq!(take(&mut subscription, 10).await.len(), 10);
    });
}

#[test]
fn closing_ends_subscriptions_and_refuses_the_rest() {
    let place = Place::new();
    block_on(async {
        let client = place.client().await;
        let mut subscription = client.subscribe("t", SubscribeOptions::default()).await.expect("subscribed");
        let (other, publisher) = (client.clone(), client.publisher(PublisherOptions::default()));
        assert!(client.close().await);
        assert!(subscription.next().await.is_none());
        assert!(matches!(publisher.publish("t", b"").await, Err(PublishError::Closed)));
        assert!(matches!(other.mesh().await, Err(RequestError::Closed)));
        let refused = other.subscribe("t", SubscribeOptions::default()).await;
        assert!(matches!(refused, Err(SubscribeError::Closed)));
        assert_eq!(other.status(), Status::Closed);
    });
}

#[test]
fn errors_say_what_is_wrong_and_what_to_do() {
    let place = Place::new();
    block_on(async {
        let nobody = ConnectOptions { addresses: vec!["127.0.0.1:1".to_owned()], ..place.options() };
        let Err(ConnectError::Unreachable { reasons }) = Client::connect(nobody).await else { panic!("nobody there") };
        assert!(reasons[0].contains("nobody listens") && reasons[0].contains("check the address"), "{reasons:?}");
        assert!(matches!(
            Client::connect(ConnectOptions { addresses: vec![], ..place.options() }).await,
            Err(ConnectError::NoAddress)
        ));

        let client = place.client().await;
        let publisher = client.publisher(PublisherOptions::default());
        assert!(matches!(publisher.publish("a/*", b"").await, Err(PublishError::Topic(_))));
        let too_large = publisher.publish("a", &vec![0; 2 << 20]).await.expect_err("too large").to_string();
        assert!(too_large.contains("limits.frame"), "{too_large}");
        assert!(matches!(client.subscribe("a//b", SubscribeOptions::default()).await, Err(SubscribeError::Filter(_))));
        let no_credit = SubscribeOptions { credit_events: 0, ..SubscribeOptions::default() };
        assert!(matches!(client.subscribe("a", no_credit).await, Err(SubscribeError::Credit { .. })));
        let no_stream = SubscribeOptions::stream("none", StartAt::First);
        assert!(matches!(client.subscribe("a", no_stream).await, Err(SubscribeError::Refused(_))));
        let report = client.mesh().await.expect("a report");
        assert_eq!(report.name_of(report.me), "test");
    });
}
