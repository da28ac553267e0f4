//! Requests, replies and groups through the client, against a real hub.

use std::time::Duration;

use futures_lite::StreamExt;
use futures_lite::future::{block_on, or, zip};
use weft_client::{CallError, Client, ConnectOptions, Responder, Security, SubscribeError, SubscribeOptions};
use weft_hub::options::Listen;
use weft_hub::{Hub, HubOptions};

/// Long enough that only a mistake meets it.
const LONG: Duration = Duration::from_secs(60);

fn hub() -> Hub {
    let mut options = HubOptions::new("solo");
    options.clients = vec![Listen { addr: "127.0.0.1:0".to_owned(), security: Security::Plain }];
    Hub::start(options).expect("a hub")
}

async fn client(hub: &Hub) -> Client {
    Client::connect(ConnectOptions::new(&hub.client_addresses()[0])).await.expect("a connection")
}

async fn responder(client: &Client, filter: &str, options: SubscribeOptions) -> Responder {
    client.respond(filter, options).await.expect("subscribed")
}

/// Answers `count` requests with their payload and a suffix.
async fn echo(responder: &mut Responder, count: usize, suffix: &str) {
    for _ in 0..count {
        let request = responder.next().await.expect("open").expect("a request");
        let answer = [request.payload(), suffix.as_bytes()].concat();
        request.finish(&answer).await.expect("sent");
    }
}

fn group(name: &str, weight: u16) -> SubscribeOptions {
    SubscribeOptions::default().group(name, weight)
}

#[test]
fn a_request_is_answered_or_nobody_is_there() {
    let hub = hub();
    block_on(async {
        let (asking, answering) = (client(&hub).await, client(&hub).await);
        let nobody = asking.request("time/now", b"?").deadline(LONG).send().await;
        assert_eq!(nobody.expect_err("nobody is there"), CallError::NoResponders);
        let mut clock = responder(&answering, "time/*", group("clocks", 1)).await;
        let request = asking.request("time/now", b"when").header("zone", b"UTC").deadline(LONG).send();
        let (reply, ()) = zip(request, async {
            let request = clock.next().await.expect("open").expect("a request");
            assert_eq!((request.topic(), request.payload()), ("time/now", &b"when"[..]));
            assert_eq!(request.header("zone"), Some(&b"UTC"[..]));
            assert!(request.deadline().0 > 0);
            request.finish(b"noon").await.expect("sent");
        })
        .await;
        let reply = reply.expect("a reply");
        assert_eq!((reply.payload(), reply.is_last(), reply.delivery().hops()), (&b"noon"[..], true, 0));
        drop(clock);
        // The hub has taken the end of the subscription before what this client
        // asks now: refused, or if it is routed still, answered with a mark.
        let nobody = answering.request("time/now", b"?").deadline(LONG).send().await;
        assert_eq!(nobody.expect_err("nobody is there"), CallError::NoResponders);
    });
    hub.stop().expect("a clean end");
}

#[test]
fn replies_come_until_the_end_or_as_many_as_asked_for() {
    let hub = hub();
    block_on(async {
        let (asking, answering) = (client(&hub).await, client(&hub).await);
        let mut list = responder(&answering, "list", SubscribeOptions::default()).await;
        let mut replies = asking.request("list", b"").deadline(LONG).send_until_end().expect("sent");
        let request = list.next().await.expect("open").expect("a request");
        for n in 0..10_u8 {
            request.reply(&[n]).await.expect("sent");
        }
        request.finish(b"").await.expect("sent");
        for n in 0..10_u8 {
            assert_eq!(replies.next().await.expect("a reply").expect("no error").payload(), [n]);
        }
        assert!(replies.next().await.is_none(), "the mark of the end is no reply");

        let mut second = responder(&answering, "list", SubscribeOptions::default()).await;
        let mut replies = asking.request("list", b"x").deadline(LONG).send_many(2).expect("sent");
        zip(echo(&mut list, 1, "1"), echo(&mut second, 1, "2")).await;
        let mut all = Vec::new();
        while let Some(reply) = StreamExt::next(&mut replies).await {
            all.push(reply.expect("no error").payload().to_vec());
        }
        all.sort();
        assert_eq!(all, [b"x1", b"x2"]);
    });
    hub.stop().expect("a clean end");
}

#[test]
fn a_request_ends_at_its_deadline_and_with_its_connection() {
    let hub = hub();
    block_on(async {
        let (asking, answering) = (client(&hub).await, client(&hub).await);
        let mut silent = responder(&answering, "silence", SubscribeOptions::default()).await;
        let late = asking.request("silence", b"?").deadline(Duration::from_millis(20)).send().await;
        assert_eq!(late.expect_err("nobody answers"), CallError::Deadline);
        // One that answers too late is told so, and nobody is bothered.
        let request = silent.next().await.expect("open").expect("a request");
        assert!(request.finish(b"late").await.is_err(), "its deadline has passed");

        let mut lost = asking.request("silence", b"?").deadline(LONG).send_until_end().expect("sent");
        let _request = silent.next().await.expect("open").expect("a request");
        hub.stop().expect("a clean end");
        let error = lost.next().await.expect("an item").expect_err("the hub is gone");
        assert_eq!(error, CallError::ConnectionLost);
        assert!(lost.next().await.is_none());
        let error = asking.request("silence", b"?").send().await.expect_err("there is no connection");
        assert_eq!(error, CallError::NotConnected);
    });
}

#[test]
fn members_of_a_group_share_the_requests_and_many_go_at_once() {
    const REQUESTS: usize = 300;
    let hub = hub();
    block_on(async {
        let (asking, one, two) = (client(&hub).await, client(&hub).await, client(&hub).await);
        let mut heavy = responder(&one, "work/*", group("workers", 2)).await;
        let mut light = responder(&two, "work/*", group("workers", 1)).await;
        let work = zip(echo(&mut heavy, REQUESTS * 2 / 3, "h"), echo(&mut light, REQUESTS / 3, "l"));
        let ask = async {
            let mut open: Vec<_> = Vec::new();
            let (mut heavy, mut light) = (0, 0);
            for n in 0..REQUESTS {
                let payload = n.to_string();
                open.push((payload.clone(), asking.request("work/a", payload.as_bytes()).deadline(LONG).send_many(1)));
                if open.len() < 50 {
                    continue;
                }
                for (payload, replies) in open.drain(..) {
                    let mut replies = replies.expect("sent");
                    let reply = replies.next().await.expect("a reply").expect("no error");
                    let text = String::from_utf8_lossy(reply.payload()).into_owned();
                    assert_eq!(text.trim_end_matches(['h', 'l']), payload, "each reply finds its request");
                    heavy += usize::from(text.ends_with('h'));
                    light += usize::from(text.ends_with('l'));
                }
            }
            (heavy, light)
        };
        let (counts, _) = zip(ask, work).await;
        assert_eq!(counts, (REQUESTS * 2 / 3, REQUESTS / 3));
    });
    hub.stop().expect("a clean end");
}

#[test]
fn what_cannot_be_a_member_or_a_request_is_refused() {
    let hub = hub();
    block_on(async {
        let client = client(&hub).await;
        let refused = client.subscribe("a", group("", 1)).await.expect_err("no name");
        assert_eq!(refused, SubscribeError::GroupName { len: 0 });
        let refused = client.subscribe("a", group("g", 0)).await.expect_err("no weight");
        assert_eq!(refused, SubscribeError::Weight { weight: 0 });
        let refused = client.subscribe("_reply/**", SubscribeOptions::default()).await.expect_err("not its own");
        assert!(refused.to_string().contains("reserved"), "{refused}");
        let refused = client.request("a/*", b"").send().await.expect_err("a wildcard");
        assert!(matches!(refused, CallError::Publish(_)), "{refused:?}");
        // A request that is given up is no trouble to others.
        let mut responder = responder(&client, "a", SubscribeOptions::default()).await;
        drop(client.request("a", b"given up").send_many(1));
        let asked = or(async { Some(client.request("a", b"2").deadline(LONG).send().await) }, async {
            echo(&mut responder, 2, "!").await;
            std::future::pending().await
        });
        assert_eq!(asked.await.expect("an answer").expect("a reply").payload(), b"2!");
    });
    hub.stop().expect("a clean end");
}
