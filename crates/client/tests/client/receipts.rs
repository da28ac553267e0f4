//! Receipts through the client, against a real hub.

use std::time::Duration;

use futures_lite::future::block_on;
use weft_client::{
    Client, ConnectOptions, LiveAt, PublishError, PublisherOptions, RequestError, Security, SubscribeError,
    SubscribeOptions,
};
use weft_hub::options::Listen;
use weft_hub::{Hub, HubOptions};

const LONG: Duration = Duration::from_secs(60);

fn hub() -> Hub {
    let mut options = HubOptions::new("solo");
    options.clients = vec![Listen { addr: "127.0.0.1:0".to_owned(), security: Security::Plain }];
    Hub::start(options).expect("a hub")
}

async fn client(hub: &Hub) -> Client {
    Client::connect(ConnectOptions::new(&hub.client_addresses()[0])).await.expect("a connection")
}

#[test]
fn a_subscription_is_made_once_it_is_live_or_not_at_all() {
    let hub = hub();
    block_on(async {
        let client = client(&hub).await;
        let all = SubscribeOptions::default().receipt(LiveAt::All, LONG);
        let subscription = client.subscribe("a", all).await.expect("live");
        let receipt = subscription.live(&LiveAt::Here, LONG).await.expect("an answer");
        assert!(receipt.met);
        assert_eq!(receipt.live().collect::<Vec<_>>(), ["solo"]);
        let elsewhere = LiveAt::Named(vec!["solo".to_owned(), "newark".to_owned()]);
        let within = Duration::from_millis(20);
        let refused = client.subscribe("b", SubscribeOptions::default().receipt(elsewhere, within)).await;
        let refused = refused.expect_err("there is no such hub");
        assert_eq!(refused.to_string(), "the subscription is not live at solo, newark: newark: out of reach");
        assert!(matches!(refused, SubscribeError::NotLive { receipt, .. } if receipt.live().eq(["solo"])));
        let none = subscription.live(&LiveAt::Hubs(0), LONG).await;
        assert!(matches!(none, Err(RequestError::Invalid { .. })), "{none:?}");
        client.close().await;
    });
    hub.stop().expect("in order");
}

#[test]
fn a_publisher_that_requires_it_publishes_only_what_is_wanted() {
    let hub = hub();
    block_on(async {
        let client = client(&hub).await;
        let publisher = client.publisher(PublisherOptions::default().require_live(LiveAt::Hubs(1)));
        let refused = publisher.publish("a/b", b"early").await.expect_err("nobody wants it");
        assert_eq!(
            refused.to_string(),
            "`a/b` is not wanted at 1 hub (nobody wants it): wait for its subscribers, or require less"
        );
        assert_eq!(publisher.try_publish("a/b", b"early").expect_err("it would not ask"), PublishError::MustAsk);
        let mut subscription = client.subscribe("a/*", SubscribeOptions::default()).await.expect("subscribed");
        publisher.publish("a/b", b"wanted").await.expect("taken").await.expect("routed");
        let delivery = subscription.next().await.expect("open").expect("a delivery");
        assert_eq!(delivery.events().next().map(|event| event.payload.to_vec()), Some(b"wanted".to_vec()));
        let wanted = client.wanted_at("a/b", &LiveAt::All).await.expect("an answer");
        assert_eq!((wanted.met, wanted.live().count(), wanted.missing().count()), (true, 1, 0));
        client.close().await;
    });
    hub.stop().expect("in order");
}
