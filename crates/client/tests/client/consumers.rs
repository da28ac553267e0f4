//! Durable consumers against a real hub in this process, over TCP.

use std::time::Duration;

use crate::common::Place;
use futures_lite::future::block_on;
use weft_client::{
    AckLevel, Client, ConsumeError, ConsumeOptions, Consumer, ConsumerMode, ConsumerOptions, Message, PublisherOptions,
    RequestError, SettleError, StreamOptions,
};
use weft_wire::ErrorCode;

/// Longer than anything here takes; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A hub with a stream `orders`.
fn place() -> Place {
    Place::with(&StreamOptions::new("orders", "orders/**"))
}

async fn publish(client: &Client, payloads: &[&str]) {
    let publisher = client.publisher(PublisherOptions::level(AckLevel::Synced));
    let mut last = None;
    for payload in payloads {
        last = Some(publisher.publish("orders/new", payload.as_bytes()).await.expect("it is taken"));
    }
    if let Some(acknowledgement) = last {
        acknowledgement.await.expect("it is synced");
    }
}

fn text(message: &Message) -> String {
    String::from_utf8_lossy(message.payload()).into_owned()
}

async fn next(consumer: &mut Consumer) -> Message {
    consumer.next().await.expect("the client is open").expect("a message")
}

#[test]
fn what_is_acknowledged_is_not_handed_out_again_and_what_is_given_back_is() {
    let place = place();
    block_on(async {
        let client = place.client().await;
        publish(&client, &["a", "b", "c"]).await;
        let mut consumer = client.streams().consumer("orders", &ConsumerOptions::new("c")).await.expect("a consumer");
        assert!(consumer.is_active());
        let first = next(&mut consumer).await;
        assert_eq!(
            (text(&first), first.topic(), first.sequence(), first.attempt()),
            ("a".to_owned(), "orders/new", 1, 1)
        );
        first.ack().expect("it is the member");
        let second = next(&mut consumer).await;
        second.progress().expect("it is the member");
        second.nack(Duration::ZERO).expect("it is the member");
        next(&mut consumer).await.ack_confirmed().await.expect("it is on disk");
        let again = next(&mut consumer).await;
        assert_eq!((text(&again), again.attempt(), again.redelivered()), ("b".to_owned(), 2, true));
        again.ack_confirmed().await.expect("it is on disk");
        let report = client.streams().consumers("orders").info("c").await.expect("a report");
        assert_eq!((report.floor, report.lag, report.in_flight, report.redelivered), (4, 0, 0, 1));
        assert_eq!(report.members.len(), 1);
    });
}

#[test]
fn a_fetch_takes_what_there_is_and_waits_for_the_rest_as_long_as_it_may() {
    let place = place();
    block_on(async {
        let client = place.client().await;
        publish(&client, &["a", "b", "c", "d", "e"]).await;
        let consumers = client.streams().consumers("orders");
        consumers.create(&ConsumerOptions::new("c")).await.expect("a consumer");
        let mut consumer = consumers.open("c", ConsumeOptions::pull()).await.expect("a member");
        let got = consumer.fetch(3, PATIENCE).await.expect("messages");
        assert_eq!(got.iter().map(text).collect::<Vec<_>>(), ["a", "b", "c"]);
        let report = consumers.info("c").await.expect("a report");
        assert_eq!(report.in_flight, 3, "nothing is handed out that was not fetched");
        let rest = consumer.fetch(10, Duration::from_millis(50)).await.expect("messages");
        assert_eq!(rest.iter().map(text).collect::<Vec<_>>(), ["d", "e"]);
        assert!(consumer.fetch(1, Duration::ZERO).await.expect("none").is_empty());
        assert!(matches!(consumer.fetch(0, PATIENCE).await, Err(ConsumeError::Fetch { events: 0 })));
    });
}

#[test]
fn a_restart_of_the_hub_hands_out_again_what_was_not_settled_and_refuses_the_old() {
    let mut place = place();
    let client = block_on(place.client());
    let (mut consumer, held) = block_on(async {
        publish(&client, &["a", "b", "c"]).await;
        let mut consumer = client.streams().consumer("orders", &ConsumerOptions::new("c")).await.expect("a consumer");
        next(&mut consumer).await.ack_confirmed().await.expect("it is on disk");
        let held = next(&mut consumer).await;
        (consumer, held)
    });
    let token = held.token();
    place.stop();
    place.start();
    block_on(async {
        let again = next(&mut consumer).await;
        assert_eq!((text(&again), again.redelivered()), ("b".to_owned(), true));
        assert!(again.token() > token, "a fencing token grows");
        assert!(matches!(held.ack(), Err(SettleError::Stale { .. })));
        assert!(consumer.membership().joined > 1 && consumer.membership().redeliver > 0);
        again.ack().expect("it is the member");
        let last = next(&mut consumer).await;
        assert_eq!(text(&last), "c");
        last.ack_confirmed().await.expect("it is on disk");
        let report = client.streams().consumers("orders").info("c").await.expect("a report");
        assert_eq!((report.floor, report.lag), (4, 0));
    });
}

#[test]
fn of_an_exclusive_consumer_one_member_is_active_and_the_next_takes_over() {
    let place = place();
    block_on(async {
        let client = place.client().await;
        publish(&client, &["a", "b"]).await;
        let options = ConsumerOptions::new("c").mode(ConsumerMode::Exclusive);
        let mut first = client.streams().consumer("orders", &options).await.expect("a consumer");
        let other = place.client().await;
        let mut second = other.streams().consumer("orders", &options).await.expect("a consumer");
        let held = next(&mut first).await;
        assert!(first.is_active() && !second.is_active());
        let token = held.token();
        drop(first);
        let again = next(&mut second).await;
        assert_eq!((text(&again), again.redelivered()), ("a".to_owned(), true));
        assert!(again.token() > token);
        assert!(matches!(held.ack(), Err(SettleError::Closed)));
    });
}

#[test]
fn operators_pause_resume_reset_list_and_delete() {
    let place = place();
    block_on(async {
        let client = place.client().await;
        publish(&client, &["a", "b"]).await;
        let consumers = client.streams().consumers("orders");
        let options = ConsumerOptions::new("c").ack_wait(Duration::from_secs(60));
        consumers.create(&options).await.expect("a consumer");
        consumers.create(&options).await.expect("as it is: no change");
        let otherwise = consumers.create(&ConsumerOptions::new("c").filter("orders/old")).await;
        assert!(matches!(otherwise, Err(RequestError::Refused(refusal)) if refusal.code == ErrorCode::CONSUMER_EXISTS));
        consumers.pause("c", None).await.expect("it is there");
        assert!(consumers.info("c").await.expect("a report").paused_until.is_some());
        let mut consumer = consumers.open("c", ConsumeOptions::pull()).await.expect("a member");
        assert!(consumer.fetch(1, Duration::from_millis(20)).await.expect("none").is_empty());
        consumers.resume("c").await.expect("it is there");
        for message in consumer.fetch(2, PATIENCE).await.expect("messages") {
            message.ack_confirmed().await.expect("it is on disk");
        }
        consumers.reset("c", weft_client::StartAt::Sequence(2)).await.expect("it is there");
        let again = consumer.fetch(1, PATIENCE).await.expect("messages");
        assert_eq!(again.iter().map(text).collect::<Vec<_>>(), ["b"]);
        let list = consumers.list().await.expect("reports");
        assert_eq!(list.iter().map(|c| c.name().to_owned()).collect::<Vec<_>>(), ["c"]);
        // As it is in effect: what was left to the hub is there.
        assert_eq!((list[0].definition.ack_wait, list[0].definition.mode), (options.ack_wait, options.mode));
        assert_eq!(list[0].definition.dead_stream.as_deref(), Some("orders-dead"));
        consumers.delete("c").await.expect("it is there");
        let gone = loop {
            // What was granted before may still come.
            match consumer.next().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => break error,
                None => panic!("it ends with its reason"),
            }
        };
        assert!(matches!(gone, ConsumeError::Refused(refusal) if refusal.code == ErrorCode::CONSUMER_GONE));
        let missing = consumers.open("c", ConsumeOptions::default()).await;
        assert!(matches!(missing, Err(ConsumeError::Refused(refusal)) if refusal.code == ErrorCode::NO_CONSUMER));
    });
}

#[test]
fn credit_comes_back_as_messages_are_taken() {
    let place = place();
    block_on(async {
        let client = place.client().await;
        let payloads: Vec<String> = (0..200).map(|i| i.to_string()).collect();
        publish(&client, &payloads.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let consumers = client.streams().consumers("orders");
        consumers.create(&ConsumerOptions::new("c")).await.expect("a consumer");
        let options = ConsumeOptions::with_credit(8, weft_base::ByteCount::kib(64));
        let mut consumer = consumers.open("c", options).await.expect("a member");
        for payload in &payloads {
            let message = next(&mut consumer).await;
            assert_eq!(&text(&message), payload);
            message.ack().expect("it is the member");
        }
    });
}
