//! The rules of Reactive Streams (JVM specification 1.0.4) that its TCK checks,
//! as tests of the client against a hub over TCP.
//!
//! A publisher of the specification is a topic of the mesh, a subscription is a
//! [`Demand`], a subscriber is whoever polls an [`OnDemand`]; an element is an
//! event. A signal is an answer of `poll_next`: a delivery is `onNext` for each
//! of its events, `None` is `onComplete`, an error is `onError`.
//!
//! | rule | says | here |
//! |---|---|---|
//! | 1.1 | no more elements than were requested | `no_more_than_was_requested_is_handed_out` |
//! | 1.2 | fewer are allowed, if it then ends | `a_client_that_closes_completes_without_demand` |
//! | 1.3 | signals come one after the other | by type: `poll_next` takes `&mut` |
//! | 1.4 | what cannot go on is an error | `what_the_hub_refuses_is_an_error_and_the_last_signal` |
//! | 1.5 | the end is signalled | `a_client_that_closes_completes_without_demand` |
//! | 1.6, 1.7 | after an end or an error nothing comes | `what_the_hub_refuses_is_an_error_and_the_last_signal` |
//! | 1.8 | after a cancellation signals stop | `cancelling_stops_signals_and_may_be_done_again` |
//! | 1.9 | subscribing answers before the first signal, and throws for no subscriber | by type: `subscribe_on_demand` answers the stream itself |
//! | 1.10, 1.11 | a subscriber subscribes once; many may | `many_subscribers_have_demand_of_their_own` |
//! | 2.1 | a subscriber requests to get anything | `no_more_than_was_requested_is_handed_out` |
//! | 2.2 to 2.4, 2.7, 2.10 to 2.13 | how a subscriber's code behaves | the application's; `Demand` may be used from any thread |
//! | 2.5 | a second subscription is cancelled | by type: a stream has one |
//! | 2.6 | what is not wanted any more is cancelled | `dropping_the_stream_cancels` |
//! | 2.8 | elements may still come after a cancellation | none do: `cancelling_stops_signals_and_may_be_done_again` |
//! | 2.9 | an end may come without a request | `a_client_that_closes_completes_without_demand` |
//! | 3.1 | only the subscriber uses its subscription | by type: `Demand` comes from the stream |
//! | 3.2, 3.3 | requests may be made while an element is handled, without recursion | `requests_from_within_a_delivery_do_not_recurse` |
//! | 3.4, 3.5 | request and cancel are quick | both take a lock and write to memory |
//! | 3.6, 3.7 | after a cancellation both do nothing | `cancelling_stops_signals_and_may_be_done_again` |
//! | 3.8 | requests add up | `requests_add_up_from_any_thread` |
//! | 3.9 | a request for none is an error | `a_request_for_none_is_an_error_and_ends_it` |
//! | 3.10, 3.11 | a request may signal at once | not done: signals are polled |
//! | 3.12 | a cancelled subscription signals nothing at last | `cancelling_stops_signals_and_may_be_done_again` |
//! | 3.13 | a cancelled publisher lets go of its subscriber | `dropping_the_stream_cancels` |
//! | 3.14 | a cancellation may close the publisher | does not: others go on, `many_subscribers_have_demand_of_their_own` |
//! | 3.15, 3.16 | cancel and request return normally | by type: they answer nothing |
//! | 3.17 | demand up to 2^63-1, and that is as good as unbounded | `unbounded_demand_is_unbounded` |
//! | 4.x | a processor is both | there is none |

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_core::Stream;
use futures_lite::StreamExt;
use futures_lite::future::{block_on, poll_fn};
use futures_sink::Sink;
use weft_client::{
    Client, ConnectOptions, Delivery, OnDemand, Order, PublishError, PublisherOptions, Security, StartAt,
    StreamOptions, SubscribeError, SubscribeOptions,
};
use weft_hub::options::Listen;
use weft_hub::{Hub, HubOptions};

/// A hub in this process and a client of it.
struct Place {
    hub: Option<Hub>,
    client: Client,
    _folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut options = HubOptions::new("test");
        options.clients = vec![Listen { addr: "127.0.0.1:0".to_owned(), security: Security::Plain }];
        options.data = Some(folder.path().join("data"));
        let hub = Hub::start(options).expect("a hub");
        let address = hub.client_addresses()[0].clone();
        let client = block_on(Client::connect(ConnectOptions::new(&address))).expect("a connection");
        Self { hub: Some(hub), client, _folder: folder }
    }

    fn subscribe(&self) -> OnDemand {
        block_on(self.client.subscribe_on_demand("t", SubscribeOptions::default())).expect("a subscription")
    }

    /// Publishes `n` events, numbered from `first`; they are at the hub then. In
    /// one block, or in two when the client's thread takes the first at once:
    /// a block lingers only while others are on their way.
    fn publish(&self, first: u8, n: u8) {
        let options = PublisherOptions { linger: Duration::from_secs(60), order: Order::Topic, ..Default::default() };
        let publisher = self.client.publisher(options);
        block_on(async {
            for i in first..first + n {
                drop(publisher.publish("t", &[i]).await.expect("it is taken"));
            }
            self.client.flush().await;
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(hub) = self.hub.take() {
            hub.stop().expect("a clean end");
        }
    }
}

fn poll(stream: &mut OnDemand) -> Poll<Option<Result<Delivery, SubscribeError>>> {
    Pin::new(stream).poll_next(&mut Context::from_waker(Waker::noop()))
}

fn numbers(delivery: &Delivery) -> Vec<u8> {
    assert_eq!(delivery.events().count(), delivery.event_count() as usize);
    delivery.events().map(|event| event.payload[0]).collect()
}

/// The next `n` events.
fn take(stream: &mut OnDemand, n: usize) -> Vec<u8> {
    let mut got = Vec::new();
    while got.len() < n {
        got.extend(numbers(&block_on(stream.next()).expect("more").expect("a delivery")));
    }
    got
}

/// Judge of rule 1.1: what came is no more than was wanted, and it stops there.
fn within(wanted: usize, got: &[u8], then: &Poll<Option<Result<Delivery, SubscribeError>>>) -> bool {
    got.len() <= wanted && then.is_pending()
}

#[test]
fn no_more_than_was_requested_is_handed_out() {
    let place = Place::new();
    let mut stream = place.subscribe();
    // Blocks of about five: what a block brings beyond the demand waits.
    place.publish(0, 5);
    place.publish(5, 5);
    assert!(poll(&mut stream).is_pending(), "nothing was requested");
    let mut all = Vec::new();
    for wanted in [1, 3, 4] {
        stream.demand().request(wanted);
        let got = take(&mut stream, wanted as usize);
        assert!(within(wanted as usize, &got, &poll(&mut stream)), "{got:?}");
        all.extend(got);
    }
    assert_eq!(all, [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(stream.demand().wanted(), 0);
    // The judge catches one too many, and one that does not stop.
    assert!(!within(1, &[0, 1], &Poll::Pending));
    assert!(!within(1, &[0], &Poll::Ready(None)));
}

#[test]
fn requests_add_up_from_any_thread() {
    let place = Place::new();
    let mut stream = place.subscribe();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let demand = stream.demand();
            std::thread::spawn(move || (0..5).for_each(|_| demand.request(1)))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    assert_eq!(stream.demand().wanted(), 20);
    place.publish(0, 30);
    assert_eq!(take(&mut stream, 20), (0..20).collect::<Vec<u8>>());
    assert!(poll(&mut stream).is_pending());
}

#[test]
fn requests_from_within_a_delivery_do_not_recurse() {
    let place = Place::new();
    let mut stream = place.subscribe();
    let demand = stream.demand();
    demand.request(1);
    place.publish(0, 100);
    for n in 0..100 {
        assert_eq!(take(&mut stream, 1), [n]);
        demand.request(1);
    }
}

#[test]
fn unbounded_demand_is_unbounded() {
    let place = Place::new();
    let mut stream = place.subscribe();
    for n in [u64::MAX, i64::MAX as u64, 1] {
        stream.demand().request(n);
    }
    for round in 0..4 {
        place.publish(round * 50, 50);
    }
    assert_eq!(take(&mut stream, 200), (0..200).collect::<Vec<u8>>());
}

#[test]
fn a_request_for_none_is_an_error_and_ends_it() {
    let place = Place::new();
    let mut stream = place.subscribe();
    stream.demand().request(10);
    stream.demand().request(0);
    assert_eq!(block_on(stream.next()).map(|item| item.map(|_| ())), Some(Err(SubscribeError::EmptyRequest)));
    place.publish(0, 1);
    assert!(block_on(stream.next()).is_none());
    assert!(stream.demand().is_cancelled());
}

#[test]
fn cancelling_stops_signals_and_may_be_done_again() {
    let place = Place::new();
    let mut stream = place.subscribe();
    stream.demand().request(2);
    place.publish(0, 5);
    assert_eq!(take(&mut stream, 2), [0, 1], "all of the demand");
    let demand = stream.demand();
    demand.cancel();
    demand.cancel();
    demand.request(5);
    demand.request(0);
    assert!(block_on(stream.next()).is_none(), "not even what is here");
    assert!(block_on(stream.next()).is_none());
}

#[test]
fn dropping_the_stream_cancels() {
    let place = Place::new();
    let stream = place.subscribe();
    let demand = stream.demand();
    drop(stream);
    assert!(demand.is_cancelled());
    // Only an unsubscription makes the hub count what comes as wanted by nobody.
    // An answer that comes by the same way as the unsubscription, after it.
    block_on(place.client.mesh()).expect("a report");
    place.publish(0, 3);
    let report = block_on(place.client.mesh()).expect("a report");
    let dropped = report.counters.iter().find(|(name, _)| name == "ledger.dropped.no_interest").map(|(_, n)| *n);
    assert_eq!(dropped, Some(3));
}

#[test]
fn many_subscribers_have_demand_of_their_own() {
    let place = Place::new();
    let (mut first, mut second, mut third) = (place.subscribe(), place.subscribe(), place.subscribe());
    first.demand().request(1);
    second.demand().request(3);
    third.demand().request(3);
    third.demand().cancel();
    place.publish(0, 3);
    assert_eq!(take(&mut first, 1), [0]);
    assert_eq!(take(&mut second, 3), [0, 1, 2]);
    assert!(poll(&mut first).is_pending());
    assert!(matches!(poll(&mut third), Poll::Ready(None)));
}

#[test]
fn a_client_that_closes_completes_without_demand() {
    let place = Place::new();
    let mut stream = place.subscribe();
    block_on(place.client.clone().close());
    assert!(block_on(stream.next()).is_none());
    assert!(block_on(stream.next()).is_none());
}

#[test]
fn what_the_hub_refuses_is_an_error_and_the_last_signal() {
    let place = Place::new();
    let streams = place.client.streams();
    block_on(streams.create(&StreamOptions::new("s", "t"))).expect("a stream");
    let options = SubscribeOptions::stream("s", StartAt::First);
    let mut stream = block_on(place.client.subscribe_on_demand("t", options)).expect("a subscription");
    stream.demand().request(5);
    block_on(streams.delete("s")).expect("it is deleted");
    let end = block_on(stream.next());
    assert!(matches!(end, Some(Err(SubscribeError::Refused(_)))), "{end:?}");
    assert!(block_on(stream.next()).is_none());
}

#[test]
fn a_sink_is_ready_within_the_window_and_flushed_when_all_is_acknowledged() {
    let place = Place::new();
    let mut stream = place.subscribe();
    stream.demand().request(u64::MAX);
    let mut sink = pin!(place.client.publisher(PublisherOptions::default()).sink("t"));
    block_on(async {
        for n in 0..200u8 {
            poll_fn(|cx| sink.as_mut().poll_ready(cx)).await.expect("room");
            sink.as_mut().start_send(vec![n]).expect("it is taken");
        }
        poll_fn(|cx| sink.as_mut().poll_flush(cx)).await.expect("all is acknowledged");
    });
    assert_eq!(place.client.in_flight(), 0);
    assert_eq!(take(&mut stream, 200), (0..200).collect::<Vec<u8>>());
    block_on(poll_fn(|cx| sink.as_mut().poll_close(cx))).expect("it closes");
    assert_eq!(block_on(poll_fn(|cx| sink.as_mut().poll_ready(cx))), Err(PublishError::Closed));
}

#[test]
fn a_sinks_first_error_ends_it() {
    let place = Place::new();
    let mut sink = pin!(place.client.publisher(PublisherOptions::default()).sink("not//a topic"));
    block_on(poll_fn(|cx| sink.as_mut().poll_ready(cx))).expect("room");
    assert!(matches!(sink.as_mut().start_send(vec![1]), Err(PublishError::Topic(_))));
    let again = block_on(poll_fn(|cx| sink.as_mut().poll_ready(cx)));
    assert!(matches!(again, Err(PublishError::Topic(_))));
}
