//! Publishing to streams, and asking them, against a real hub in this process.

use crate::common::Place;
use futures_lite::future::block_on;
use weft_client::{
    AckLevel, Client, EventFields, LastValues, Producer, PublishError, Published, PublisherOptions, RequestError,
    Retention, StartAt, StreamOptions, SubscribeOptions, Subscription, Terms,
};
use weft_wire::ErrorCode;

/// A hub with a stream `s` of `t/**`.
fn place() -> Place {
    Place::with(&StreamOptions { last: LastValues::Key, ..StreamOptions::new("s", "t/**") })
}

fn synced() -> PublisherOptions {
    PublisherOptions::level(AckLevel::Synced)
}

/// What is in the stream: payloads up to its present end.
async fn all(client: &Client) -> Vec<String> {
    let end = client.streams().info("s").await.expect("a report").next;
    let options = SubscribeOptions::stream("s", StartAt::First);
    let mut subscription: Subscription = client.subscribe("**", options).await.expect("subscribed");
    let mut payloads = Vec::new();
    let mut at = subscription.start_sequence();
    while at < end {
        let delivery = subscription.next().await.expect("the client is open").expect("a delivery");
        payloads.extend(delivery.events().map(|event| String::from_utf8_lossy(event.payload).into_owned()));
        at = delivery.stream_sequence() + u64::from(delivery.event_count());
    }
    payloads
}

#[test]
fn what_is_expected_must_be_so_or_nothing_is_taken() {
    let place = place();
    block_on(async {
        let client = place.client().await;
        let publisher = client.publisher(synced());
        let first = publisher.publish_if("t/a", b"1", 0).await.expect("taken").await.expect("it is empty");
        assert_eq!((first.level, first.home_sequence), (AckLevel::Synced, 1));
        let refused = publisher.publish_if("t/a", b"no", 0).await.expect("taken").await;
        assert!(matches!(&refused, Err(PublishError::Refused(refusal)) if !refusal.detail.is_empty()), "{refused:?}");
        publisher.publish_if("t/a", b"2", first.home_sequence).await.expect("taken").await.expect("it is the last");
        publisher.publish_if_key("t/k", b"key", b"3", 0).await.expect("taken").await.expect("there is none");
        assert!(publisher.publish_if_key("t/k", b"key", b"no", 0).await.expect("taken").await.is_err());
        let last = client.streams().get_last("s", "t/k", Some(b"key"), 1).await.expect("last values");
        assert_eq!((last.len(), last[0].payload(), last[0].home_sequence()), (1, b"3".as_slice(), 3));
        let after = last[0].home_sequence();
        publisher.publish_if_key("t/k", b"key", b"4", after).await.expect("taken").await.expect("it is that");
        assert_eq!(all(&client).await, ["1", "2", "3", "4"]);
    });
}

#[test]
fn a_batch_is_in_the_stream_whole_and_in_order() {
    let place = place();
    block_on(async {
        let client = place.client().await;
        let publisher = client.publisher(synced());
        let mut batch = publisher.batch();
        assert!(batch.is_empty());
        for (topic, payload) in [("t/a", "1"), ("t/b", "2"), ("t/b", "3"), ("t/a", "4")] {
            batch.publish(topic, payload.as_bytes());
        }
        assert_eq!(batch.len(), 4);
        let published = batch.commit().await.expect("it is taken");
        assert_eq!(published.iter().map(|p| p.home_sequence).collect::<Vec<_>>(), [1, 2, 3, 4]);
        // One of several streams' topics is none of this one.
        let mut foreign = publisher.batch();
        foreign.publish("t/a", b"5");
        foreign.publish("elsewhere", b"6");
        assert!(foreign.commit().await.is_err());
        let mut unanswered = client.publisher(PublisherOptions::default()).batch();
        unanswered.publish("t/a", b"7");
        assert!(matches!(unanswered.commit().await, Err(PublishError::BatchLevel { level: AckLevel::Routed })));
        assert_eq!(all(&client).await, ["1", "2", "3", "4"]);
    });
}

#[test]
fn a_restarted_publisher_goes_on_where_it_is_not_sure_over_a_restart_of_the_hub() {
    let mut place = place();
    let import = |next| PublisherOptions { producer: Some(Producer::named("import", next)), ..synced() };
    block_on(async {
        let client = place.client().await;
        let publisher = client.publisher(import(1));
        for line in 1..=5 {
            publisher.publish("t/a", format!("{line}").as_bytes()).await.expect("taken").await.expect("stored");
        }
    });
    place.stop();
    place.start();
    block_on(async {
        // Another process, which knows of 3 only.
        let client = place.client().await;
        let publisher = client.publisher(import(4));
        let mut known = Vec::new();
        for line in 4..=7 {
            let taken = publisher.publish("t/a", format!("{line}").as_bytes()).await.expect("taken");
            known.push(taken.await.expect("stored").duplicate);
        }
        assert_eq!(known, [true, true, false, false]);
        assert_eq!(all(&client).await, ["1", "2", "3", "4", "5", "6", "7"]);
        let event = EventFields { payload: b"no", ..EventFields::default() };
        let late = publisher.publish_on("t/a", event, Terms { sequence: Some(3), ..Terms::default() }).await;
        assert!(matches!(late, Err(PublishError::Sequence { sequence: 3, next: 8 })));
    });
}

#[test]
fn a_higher_level_is_awaited_and_what_cannot_be_is_refused() {
    let place = place();
    block_on(async {
        let client = place.client().await;
        let publisher = client.publisher(PublisherOptions::level(AckLevel::Written));
        let written = publisher.publish("t/a", b"x").await.expect("taken").await.expect("written");
        let synced = client.streams().reach("s", &written, AckLevel::Synced, 0).await.expect("synced");
        assert_eq!((synced.level, synced.home_sequence), (AckLevel::Synced, written.home_sequence));
        let unknown = client.streams().reach("other", &written, AckLevel::Synced, 0).await;
        assert!(matches!(unknown, Err(RequestError::Refused(refusal)) if refusal.code == ErrorCode::NO_STREAM));
        let routed = client.publisher(PublisherOptions::default());
        let nowhere = routed.publish("elsewhere", b"x").await.expect("taken").await.expect("routed");
        let none = client.streams().reach("s", &nowhere, AckLevel::Synced, 0).await;
        assert!(matches!(none, Err(RequestError::Invalid { .. })));
        // On the disk of the publisher's hub it has no place yet that could be asked for.
        let kept = Published { level: AckLevel::Spooled, home: weft_base::HubId(0), home_sequence: 0, ..written };
        let later = client.streams().reach("s", &kept, AckLevel::Synced, 0).await;
        assert!(matches!(later, Err(RequestError::Invalid { detail }) if detail.contains("waits on the disk")));
        let spooled = client.publisher(PublisherOptions::level(AckLevel::Spooled)).publish("t/a", b"x").await;
        assert!(matches!(spooled, Err(PublishError::Level { .. })));
        assert!(client.publisher(PublisherOptions::homes(1)).publish("t/a", b"x").await.is_err());
    });
}

#[test]
fn a_stream_is_changed_and_says_so() {
    let place = place();
    block_on(async {
        let streams = place.client().await.streams();
        let mut definition = streams.info("s").await.expect("a report").definition;
        definition.filters.push("u/*".to_owned());
        streams.alter(&definition).await.expect("filters can be changed");
        assert_eq!(streams.info("s").await.expect("a report").definition, definition);
        definition.retention = Retention::WorkQueue;
        assert!(matches!(streams.alter(&definition).await, Err(RequestError::Refused(_))));
    });
}

#[test]
fn a_reader_goes_on_from_a_position_without_a_gap_and_without_repeating() {
    let mut place = place();
    let position = block_on(async {
        let client = place.client().await;
        let publisher = client.publisher(synced());
        for topic in ["t/a", "t/b", "t/a"] {
            publisher.publish(topic, topic.as_bytes()).await.expect("taken").await.expect("stored");
        }
        let mut first = client.streams().read("s").filter("t/*").open().await.expect("subscribed");
        for _ in 0..2 {
            let delivery = first.next().await.expect("the client is open").expect("a delivery");
            assert!(delivery.home().is_some());
        }
        first.position().clone()
    });
    assert!(!position.is_empty());
    let position = position.to_string().parse().expect("it is read as it is written");
    place.stop();
    place.start();
    block_on(async {
        let client = place.client().await;
        let publisher = client.publisher(synced());
        publisher.publish("t/c", b"t/c").await.expect("taken").await.expect("stored");
        let mut second = client.streams().read("s").at(position).open().await.expect("subscribed");
        let mut topics = Vec::new();
        while topics.len() < 2 {
            let delivery = second.next().await.expect("the client is open").expect("a delivery");
            topics.extend(delivery.events().map(|_| delivery.topic().to_owned()));
        }
        assert_eq!(topics, ["t/a", "t/c"]);
    });
}
