//! Publishers that run out of credit: they wait as futures, no thread is
//! blocked, nothing is lost, and they are told who holds them up.

use futures_lite::future::{block_on, poll_once};
use weft_client::{Client, ConnectOptions, Limit, OnFull, PublisherOptions, Security, SubscribeOptions};
use weft_hub::options::Listen;
use weft_hub::{Hub, HubOptions};

fn hub(change: impl FnOnce(&mut HubOptions)) -> Hub {
    let mut options = HubOptions::new("harbour");
    options.clients = vec![Listen { addr: "127.0.0.1:0".to_owned(), security: Security::Plain }];
    options.limits.publish_blocks = 4;
    options.limits.subscriber_events = 64;
    change(&mut options);
    Hub::start(options).expect("a hub")
}

async fn client(hub: &Hub, name: &str) -> Client {
    let mut options = ConnectOptions::new(&hub.client_addresses()[0]).name(name);
    options.in_flight_blocks = 4;
    Client::connect(options).await.expect("a connection")
}

#[test]
fn a_publisher_without_credit_is_a_future_that_waits_and_is_told_why() {
    let hub = hub(|_| {});
    block_on(async {
        let slow = client(&hub, "slowpoke").await;
        let options = SubscribeOptions { credit_events: 1, ..SubscribeOptions::default().on_full(OnFull::Wait) };
        let mut subscription = slow.subscribe("t/**", options).await.expect("subscribed");
        let fast = client(&hub, "quick").await;
        let publisher = fast.publisher(PublisherOptions::default());
        assert_eq!(publisher.why_waiting().await.expect("an answer").limit, Limit::None);

        // Each event is taken, until the hub holds blocks back and the window is used up.
        let (mut taken, mut stalled) = (0u32, None);
        while stalled.is_none() {
            let topic = format!("t/{taken}");
            let publisher = &publisher;
            let mut publish = Box::pin(async move { publisher.publish(&topic, b"x").await });
            let mut answered = false;
            loop {
                // Read before the poll: an acknowledgement between the two makes room.
                let full = answered && fast_is_held(&hub) && fast.in_flight() >= 4;
                if let Some(done) = poll_once(publish.as_mut()).await {
                    drop(done.expect("it is taken"));
                    taken += 1;
                    break;
                }
                if full {
                    stalled = Some(publish);
                    break;
                }
                // Acknowledgements that are on their way come before this answer.
                fast.mesh().await.expect("an answer");
                answered = true;
            }
            assert!(taken < 10_000, "the publisher never had to wait");
        }
        let (mut waits, last_topic) = (stalled.expect("it waits"), format!("t/{taken}"));
        // This very thread goes on: the publisher is a future and nothing else.
        let why = publisher.why_waiting().await.expect("an answer");
        assert_eq!((why.limit, why.name.as_str(), why.hub.as_str()), (Limit::Subscriber, "slowpoke", "harbour"));
        assert!(
            why.to_string().starts_with("limited by subscriber `slowpoke` (of `t/**`) at hub `harbour`, "),
            "{why}"
        );
        assert!(poll_once(waits.as_mut()).await.is_none(), "there is no room");

        let mut seen = 0;
        let mut last = false;
        let mut sent = false;
        while !last {
            if !sent && let Some(taken) = poll_once(waits.as_mut()).await {
                drop(taken.expect("there is room again"));
                sent = true;
            }
            let delivery = subscription.next().await.expect("open").expect("a delivery");
            assert!(delivery.gap().is_none(), "nothing is lost");
            last = delivery.topic() == last_topic;
            seen += u32::from(!last) * delivery.event_count();
        }
        assert_eq!(seen, taken);
        fast.flush().await;
        assert_eq!(publisher.why_waiting().await.expect("an answer").limit, Limit::None);
    });
    hub.stop().expect("a clean end");
}

fn fast_is_held(hub: &Hub) -> bool {
    hub.counters().held_publishers.load(std::sync::atomic::Ordering::Relaxed) > 0
}

#[test]
fn a_conflating_subscriber_sees_the_newest_of_each_key_and_a_mark_with_the_reason() {
    let hub = hub(|_| {});
    block_on(async {
        let slow = client(&hub, "slow").await;
        let options = SubscribeOptions { credit_events: 1, ..SubscribeOptions::default().on_full(OnFull::Conflate) };
        let mut subscription = slow.subscribe("prices", options).await.expect("subscribed");
        let fast = client(&hub, "fast").await;
        let publisher = fast.publisher(PublisherOptions::default());
        for round in 0..50u8 {
            for key in [b"a", b"b", b"c"] {
                let event = weft_client::EventFields { key, payload: &[round], ..Default::default() };
                publisher.publish_event("prices", event).await.expect("taken").await.expect("acknowledged");
            }
        }
        let (mut newest, mut seen, mut missing) = ([0u8; 3], 0, 0);
        while newest != [49; 3] {
            let delivery = subscription.next().await.expect("open").expect("a delivery");
            missing += delivery.gap().events;
            for event in delivery.events() {
                let place = usize::from(event.key[0] - b'a');
                assert!(event.payload[0] >= newest[place], "never an older one after a newer one");
                newest[place] = event.payload[0];
                seen += 1;
            }
        }
        assert_eq!(seen + missing, 150);
        assert!(missing > 100, "what was superseded did not travel: {missing}");
    });
    hub.stop().expect("a clean end");
}
