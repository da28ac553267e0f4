//! A flood of interest from one tenant: refused and bounded, and the rest of the
//! mesh is unmoved.

use crate::common::mesh::{authority, knows_interest, link_addr, member, until, wants};
use crate::common::{Raw, start, stop};
use weft_base::{Epoch, HubId, ProducerId, SubscriptionId};
use weft_hub::Hub;
use weft_wire::frame::{self, AckLevel, ErrorCode, Frame};

/// A session under a name of its own.
fn named(hub: &Hub, producer: u64, name: &str) -> Raw {
    let mut client = Raw::dial(hub);
    client.send(&Frame::Hello(frame::Hello {
        version_min: 1,
        version_max: 1,
        role: frame::Role::Client,
        features: 0,
        max_frame: 1 << 20,
        hub: HubId(0),
        epoch: Epoch(0),
        name,
        region: "",
        software: "test",
        producer: ProducerId(producer),
        token: &[],
    }));
    assert!(matches!(client.receive().frame(), Frame::Welcome(_)));
    client
}

/// Subscribes; answers the refusal, if it is one.
fn try_subscribe(client: &mut Raw, id: u64, filter: &str) -> Result<(), ErrorCode> {
    client.subscribe_with(id, filter, |_| {});
    match client.receive().frame() {
        Frame::Subscribed(subscribed) => {
            assert_eq!(subscribed.id, SubscriptionId(id));
            Ok(())
        }
        Frame::Error(error) => {
            assert_eq!(error.request, id);
            Err(error.code)
        }
        other => panic!("neither subscribed nor refused: {other:?}"),
    }
}

#[test]
fn a_flood_of_interest_from_one_tenant_leaves_the_rest_of_the_mesh_unmoved() {
    let ca = authority();
    let mut tight = member(&ca, "chicago", "127.0.0.1:0", &[]);
    tight.limits.subscriptions_per_name = 50;
    let flooded = start(tight);
    let other = start(member(&ca, "new-york", "127.0.0.1:0", &[("chicago", link_addr(&flooded))]));
    let mut publisher = Raw::connect(&other, 1);
    until(&mut publisher, "the hubs are linked", |r| knows_interest(r, "chicago", 0));

    let mut noisy = [named(&flooded, 2, "noisy"), named(&flooded, 3, "noisy")];
    let mut refused = 0;
    for n in 0..200u64 {
        let client = &mut noisy[n as usize % 2];
        match try_subscribe(client, n + 1, &format!("noise/{n}")) {
            Ok(()) => {}
            Err(code) => {
                assert_eq!(code, ErrorCode::INTEREST);
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 150, "both sessions count together");
    let mut calm = named(&flooded, 4, "calm");
    assert_eq!(try_subscribe(&mut calm, 1, "news/*"), Ok(()));
    until(&mut publisher, "what was let in is known", |r| wants(r, "chicago", 51));
    publisher.publish_acked(1, AckLevel::Routed, "news/today", &[b"x"]);
    assert_eq!(calm.delivered(), [b"x"]);
    [other, flooded].into_iter().for_each(stop);
}

#[test]
fn subscriptions_that_come_and_go_too_fast_are_refused() {
    let mut slow = crate::common::options("solo", None);
    slow.limits.interest_changes = 1;
    let hub = start(slow);
    let mut hasty = named(&hub, 1, "hasty");
    let code = (1..1_000).find_map(|n| {
        let refused = try_subscribe(&mut hasty, n, "a").err();
        hasty.send(&Frame::Unsubscribe(frame::Unsubscribe { id: SubscriptionId(n) }));
        hasty.receive();
        refused
    });
    assert_eq!(code, Some(ErrorCode::CHURN));
    assert_eq!(try_subscribe(&mut named(&hub, 2, "steady"), 1, "a"), Ok(()));
    stop(hub);
}
