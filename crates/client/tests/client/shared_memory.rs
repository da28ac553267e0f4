//! The client against a real hub in this process, through shared memory.

use std::time::Duration;

use futures_lite::future::block_on;
use weft_base::ByteCount;
use weft_client::{AckLevel, Client, ConnectError, ConnectOptions, PublisherOptions, Security, SubscribeOptions};
use weft_hub::options::Listen;
use weft_hub::{Hub, HubOptions};

/// A hub at a socket in `folder`, with the smallest rings, so that every frame
/// of some size goes through them in pieces.
fn hub(folder: &tempfile::TempDir) -> (Hub, String) {
    let address = format!("shm:{}", folder.path().join("hub.sock").display());
    let mut options = HubOptions::new("test");
    options.clients = vec![Listen { addr: address.clone(), security: Security::Plain }];
    options.limits.shm_ring = ByteCount::kib(4);
    let hub = Hub::start(options).expect("a hub");
    assert_eq!(hub.client_addresses(), std::slice::from_ref(&address));
    (hub, address)
}

#[test]
fn events_larger_than_the_rings_go_through_and_the_client_comes_back_to_a_new_hub() {
    let folder = tempfile::tempdir().expect("a folder");
    let (first, address) = hub(&folder);
    block_on(async {
        let options = ConnectOptions { retry_most: Duration::from_millis(50), ..ConnectOptions::new(&address) };
        let client = Client::connect(options).await.expect("a connection");
        let mut subscription = client.subscribe("flights/**", SubscribeOptions::default()).await.expect("subscribed");
        let publisher = client.publisher(PublisherOptions::level(AckLevel::Routed));
        let mut running = Some(first);
        for round in 0..6_u8 {
            if round == 3 {
                if let Some(old) = running.take() {
                    old.stop().expect("a clean end");
                }
                running = Some(hub(&folder).0);
                // The client comes back on its own; once a later subscription
                // stands, so does the first again.
                client.subscribe("later", SubscribeOptions::default()).await.expect("subscribed");
            }
            let payload: Vec<u8> = (0..300_000_usize).map(|i| (i as u8).wrapping_mul(31) ^ round).collect();
            publisher.publish("flights/a", &payload).await.expect("published").await.expect("routed");
            let delivery = subscription.next().await.expect("open").expect("a delivery");
            let got = delivery.events().next().expect("an event");
            assert!(got.payload == payload, "the event of round {round} was changed");
        }
        assert!(client.close().await, "all is acknowledged");
        if let Some(last) = running {
            last.stop().expect("a clean end");
        }
    });
}

#[test]
fn without_a_hub_the_address_and_the_remedy_are_named() {
    let error = block_on(Client::connect(ConnectOptions::new("shm:/nowhere/hub.sock"))).expect_err("nobody is there");
    let ConnectError::Unreachable { .. } = &error else { panic!("{error}") };
    let text = format!("{error}");
    assert!(text.contains("shm:/nowhere/hub.sock") && text.contains("check the address"), "{text}");
}
