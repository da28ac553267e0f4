//! From one hub to another.

use super::*;
use crate::delivery::Gap;

const TOPIC: &str = "t/a";

/// The other hub's side of a bench.
impl Bench {
    fn aside(&mut self, frame: &Frame<'_>) {
        let mut bytes = Vec::new();
        frame::encode(frame, &mut bytes);
        let bytes = self.bytes(&bytes);
        self.session.frame_aside(bytes, self.now);
        self.turn();
    }

    fn deliver_aside(&mut self, id: SubscriptionId, block: &[u8]) {
        let bytes = [frame::deliver_head(id, block.len(), 1).as_slice(), block].concat();
        let bytes = self.bytes(&bytes);
        self.session.frame_aside(bytes, self.now);
        self.turn();
    }

    /// What was written to the second connection since the last look.
    fn written_aside(&mut self) -> Vec<Vec<u8>> {
        self.turn();
        split(&self.session.take_aside())
    }

    fn redirect(&mut self) {
        self.told_to_go("denver", "d:4");
        let dial = Action::DialAside { address: "d:4".to_owned(), name: Some("denver".to_owned()) };
        assert!(self.actions.contains(&dial), "{:?}", self.actions);
        self.session.connected_aside(self.now);
        let hello = self.written_aside();
        assert!(matches!(Frame::decode(&hello[0]), Ok(Frame::Hello(hello)) if hello.version_max == 2));
    }

    /// The hub is about to stop, and names another one.
    fn told_to_go(&mut self, name: &str, address: &str) {
        let places = vec![frame::Place { name, address }];
        self.hear(&Frame::Redirect(frame::Redirect { within_ms: 60_000, places }));
    }

    fn welcome_aside(&mut self) {
        self.aside(&Frame::Welcome(frame::Welcome {
            version: 2,
            features: 0,
            max_frame: 1 << 20,
            hub: HubId(8),
            epoch: Epoch(1),
            session: 5,
            name: "denver",
            region: "us",
            software: "test",
            publish_window_blocks: 8,
            publish_window_bytes: 1 << 30,
        }));
    }

    /// The subscription stands there, and is live everywhere.
    fn live_aside(&mut self, id: SubscriptionId) -> frame::Subscribe<'static> {
        let written = self.written_aside();
        let Ok(Frame::Subscribe(subscribe)) = Frame::decode(&written[0]) else { panic!("{written:?}") };
        let subscribe =
            frame::Subscribe { filter: "", stream: "", group: "", spill: "", position: Vec::new(), ..subscribe };
        assert_eq!(subscribe.id, id);
        self.aside(&Frame::Subscribed(frame::Subscribed { id, start_sequence: 0, live: true }));
        let written = self.written_aside();
        let Ok(Frame::LiveAsk(ask)) = Frame::decode(&written[0]) else { panic!("{written:?}") };
        assert_eq!((ask.subscription, ask.scope), (id, LiveScope::All));
        let request = ask.request;
        self.aside(&Frame::LiveReport(frame::LiveReport { request, met: true, hubs: Vec::new() }));
        subscribe
    }

    fn promoted(&self) -> bool {
        self.actions.contains(&Action::Promote)
    }

    fn goodbye_of_old(&mut self) {
        let code = ErrorCode::LEAVING;
        self.aside(&Frame::Goodbye(frame::Goodbye { code, detail: "all is delivered" }));
    }
}

/// The credit in events that these frames grant.
fn credit(written: &[Vec<u8>]) -> u64 {
    let credits = written.iter().filter_map(|bytes| match Frame::decode(bytes) {
        Ok(Frame::Credit(credit)) => Some(credit.events),
        _ => None,
    });
    credits.sum()
}

fn payloads(queue: &Queue) -> Vec<String> {
    received(queue)
        .into_iter()
        .flat_map(|(payloads, gap)| {
            assert_eq!(gap, Gap::default(), "nothing may be missing");
            payloads
        })
        .collect()
}

use weft_wire::frame::LiveScope;

#[test]
fn what_the_other_hub_delivers_waits_for_the_old_one_and_comes_once() {
    let mut bench = Bench::up();
    let (id, queue) = bench.subscribe(TOPIC, SubscribeOptions::default(), 0);
    bench.deliver(id, &block(TOPIC, &["1"], 1, 0));
    bench.redirect();
    bench.welcome_aside();
    bench.deliver_aside(id, &block(TOPIC, &["3"], 3, 0));
    bench.deliver(id, &block(TOPIC, &["2"], 2, 0));
    bench.live_aside(id);
    assert!(bench.promoted(), "nothing is unacknowledged");
    assert!(matches!(bench.session.status().0, Status::Connected(hub) if hub.name == "denver" && hub.address == "d:4"));
    assert_eq!(payloads(&queue), ["1", "2"]);
    // From here on the second connection is that to the old hub.
    let written = bench.written_aside();
    assert!(written.iter().any(|bytes| matches!(Frame::decode(bytes), Ok(Frame::Leave(_)))), "{written:?}");
    bench.deliver(id, &block(TOPIC, &["4"], 4, 0));
    bench.deliver_aside(id, &block(TOPIC, &["3"], 3, 0));
    assert_eq!(payloads(&queue), ["3"]);
    bench.goodbye_of_old();
    assert!(bench.actions.contains(&Action::DropAside));
    bench.deliver(id, &block(TOPIC, &["5"], 5, 0));
    assert_eq!(payloads(&queue), ["4", "5"]);
}

#[test]
fn credit_is_what_it_was_after_a_move() {
    let mut bench = Bench::up();
    let options = SubscribeOptions { credit_events: 10, ..SubscribeOptions::default() };
    let (id, _queue) = bench.subscribe(TOPIC, options, 0);
    let one = block(TOPIC, &["1"], 1, 0);
    let bytes = one.len() as u64;
    (1..=4).for_each(|n| bench.deliver(id, &block(TOPIC, &["1"], n, 0)));
    bench.redirect();
    bench.welcome_aside();
    let subscribed = bench.live_aside(id);
    assert_eq!(subscribed.credit_events, 6, "four are held");
    // Of what the old hub brought, all is given back to the old one.
    bench.written.clear();
    bench.session.give_back(id, 4, 4 * bytes);
    let old = bench.written_aside();
    assert_eq!((credit(&old), credit(&bench.written)), (4, 0));
    bench.goodbye_of_old();
    assert_eq!(credit(&bench.written), 4, "the new hub has all ten again");

    // The other way round: more is held than when it began.
    let mut bench = Bench::up();
    let options = SubscribeOptions { credit_events: 10, ..SubscribeOptions::default() };
    let (id, _queue) = bench.subscribe(TOPIC, options, 0);
    bench.redirect();
    bench.welcome_aside();
    assert_eq!(bench.live_aside(id).credit_events, 10);
    bench.deliver_aside(id, &block(TOPIC, &["1"], 1, 0));
    bench.deliver_aside(id, &block(TOPIC, &["1"], 2, 0));
    bench.goodbye_of_old();
    bench.written.clear();
    bench.session.give_back(id, 1, bytes);
    bench.turn();
    assert_eq!(credit(&bench.written), 0, "the new hub may still send ten: of two that are held it was not told");
    bench.session.give_back(id, 1, bytes);
    bench.session.give_back(id, 0, 0);
    bench.turn();
    assert_eq!(credit(&bench.written), 0);
}

/// A client that moves while what it published first is not acknowledged.
fn moving_with_one_sent() -> (Bench, Arc<BlockTicket>, Published) {
    let mut bench = Bench::up();
    let first = bench.publish(TOPIC, "first");
    bench.turn();
    let [sent] = bench.published().try_into().ok().expect("one");
    bench.redirect();
    bench.welcome_aside();
    (bench, first, sent)
}

#[test]
fn publishing_goes_on_at_the_other_hub_once_nothing_is_unacknowledged() {
    let (mut bench, first, sent) = moving_with_one_sent();
    bench.turn();
    assert!(!bench.promoted(), "the first is not acknowledged");
    let second = bench.publish(TOPIC, "second");
    bench.turn();
    assert!(bench.published().is_empty(), "nothing is published until it is");
    bench.ack(sent.request, 1);
    assert!(bench.promoted() && outcome(&first).is_some_and(|done| done.is_ok()));
    let [again] = bench.published().try_into().ok().expect("the second alone");
    assert_eq!(again.payloads(), ["second"]);
    bench.ack(again.request, 1);
    assert!(outcome(&second).is_some_and(|done| done.is_ok()));
}

#[test]
fn a_hub_that_does_not_acknowledge_in_time_is_left_and_it_is_published_again() {
    let (mut bench, first, sent) = moving_with_one_sent();
    bench.pass(Duration::from_secs(3));
    assert!(bench.promoted());
    let [again] = bench.published().try_into().ok().expect("one");
    assert_eq!((again.request, &again.bytes), (sent.request, &sent.bytes), "the same block under the same number");
    bench.ack(again.request, 1);
    assert!(outcome(&first).is_some_and(|done| done.is_ok()));
}

#[test]
fn a_place_that_does_not_work_is_followed_by_the_clients_own_list() {
    let mut bench = Bench::up();
    let (id, queue) = bench.subscribe(TOPIC, SubscribeOptions::default(), 0);
    bench.redirect();
    bench.actions.clear();
    bench.session.lost_aside(bench.now, "nobody there");
    bench.turn();
    let dialled = bench.actions.iter().filter(|action| matches!(action, Action::DialAside { .. }));
    assert_eq!(dialled.count(), 1, "{:?}", bench.actions);
    assert!(bench.actions.iter().any(|a| matches!(a, Action::DialAside { name: None, .. })), "the other address");
    // One that goes away half-way costs nothing.
    bench.session.connected_aside(bench.now);
    bench.welcome_aside();
    bench.deliver_aside(id, &block(TOPIC, &["1"], 1, 0));
    bench.session.lost_aside(bench.now, "gone");
    bench.deliver(id, &block(TOPIC, &["1"], 1, 0));
    bench.deliver(id, &block(TOPIC, &["2"], 2, 0));
    assert_eq!(payloads(&queue), ["1", "2"]);
    assert!(bench.session.is_up());
}

/// What a place had delivered was handed to the application when the place did not
/// work: before what the old hub had yet to deliver, and its credit was given back
/// to the old hub, which had not been asked for it and could send as much more.
#[test]
fn what_a_place_delivered_that_did_not_work_comes_from_the_old_hub_in_order_and_for_its_credit() {
    let mut bench = Bench::up();
    let (id, queue) = bench.subscribe(TOPIC, SubscribeOptions::default(), 0);
    bench.redirect();
    bench.welcome_aside();
    bench.deliver_aside(id, &block(TOPIC, &["2"], 2, 0));
    bench.aside(&Frame::Gap(frame::Gap { id, events: 5, reason: 1 }));
    bench.session.lost_aside(bench.now, "gone");
    bench.turn();
    bench.deliver(id, &block(TOPIC, &["1"], 1, 0));
    bench.deliver(id, &block(TOPIC, &["2"], 2, 0));
    assert_eq!(payloads(&queue), ["1", "2"]);
    bench.written.clear();
    let bytes = 2 * block(TOPIC, &["1"], 1, 0).len() as u64;
    bench.session.give_back(id, 2, bytes);
    bench.turn();
    assert_eq!(credit(&bench.written), 2);
}

/// The end of a subscription that a place had accepted was not heard: the client
/// went there, and nothing came.
#[test]
fn a_place_that_ends_a_subscription_does_not_work() {
    let mut bench = Bench::up();
    let (id, _queue) = bench.subscribe(TOPIC, SubscribeOptions::default(), 0);
    bench.publish(TOPIC, "unacknowledged");
    bench.turn();
    bench.redirect();
    bench.welcome_aside();
    bench.live_aside(id);
    bench.actions.clear();
    let (code, detail) = (ErrorCode::LIMIT, "not there");
    bench.aside(&Frame::Error(frame::ErrorFrame { request: id.0, code, retry_after_ms: 0, detail }));
    let next = bench.actions.iter().any(|action| matches!(action, Action::DialAside { name: None, .. }));
    assert!(next && !bench.promoted(), "{:?}", bench.actions);
}

/// A hub that was about to stop itself was gone to all the same, and what it said
/// of it was not heard: the client stayed there until it was closed.
#[test]
fn a_client_goes_on_from_a_hub_that_is_about_to_stop_as_well() {
    let redirect = |name, address| {
        let places = vec![frame::Place { name, address }];
        Frame::Redirect(frame::Redirect { within_ms: 60_000, places })
    };
    let to = |address: &str, name: &str| Action::DialAside { address: address.to_owned(), name: Some(name.to_owned()) };
    let mut bench = Bench::up();
    let (id, _queue) = bench.subscribe(TOPIC, SubscribeOptions::default(), 0);
    bench.redirect();
    bench.welcome_aside();
    bench.actions.clear();
    bench.aside(&redirect("erie", "e:5"));
    assert!(bench.actions.contains(&Action::DropAside) && !bench.promoted(), "{:?}", bench.actions);

    let mut bench = Bench::up();
    let (other, _queue) = bench.subscribe(TOPIC, SubscribeOptions::default(), 0);
    assert_eq!(id, other);
    bench.redirect();
    bench.welcome_aside();
    bench.live_aside(id);
    assert!(bench.promoted());
    bench.actions.clear();
    bench.told_to_go("erie", "e:5");
    assert!(bench.actions.is_empty(), "the old hub has not said its last: {:?}", bench.actions);
    bench.goodbye_of_old();
    bench.turn();
    assert!(bench.actions.contains(&to("e:5", "erie")), "{:?}", bench.actions);
}

#[test]
fn an_old_hub_that_ends_without_a_word_leaves_a_mark() {
    let mut bench = Bench::up();
    let (id, queue) = bench.subscribe(TOPIC, SubscribeOptions::default(), 0);
    bench.redirect();
    bench.welcome_aside();
    bench.live_aside(id);
    assert!(bench.promoted());
    bench.deliver(id, &block(TOPIC, &["2"], 2, 0));
    bench.session.lost_aside(bench.now, "killed");
    bench.turn();
    let got = received(&queue);
    assert_eq!(got.len(), 1);
    assert!(got[0].1.reconnected, "something may be missing before it");
}

#[test]
fn a_client_that_follows_nobody_stays() {
    let mut bench = Bench::new(ConnectOptions { follow_redirects: false, ..options() });
    bench.connect(4, 1 << 20);
    bench.told_to_go("denver", "d:4");
    assert!(bench.actions.is_empty(), "{:?}", bench.actions);
}

#[test]
fn a_hub_that_takes_no_clients_names_one_that_does() {
    let mut bench = Bench::new(ConnectOptions { addresses: vec!["a:1".to_owned()], ..options() });
    bench.turn();
    bench.session.connected(bench.now);
    let places = vec![frame::Place { name: "denver", address: "d:4" }];
    bench.hear(&Frame::Redirect(frame::Redirect { within_ms: 0, places }));
    bench.hear(&Frame::Goodbye(frame::Goodbye { code: ErrorCode::DRAINING, detail: "" }));
    bench.turn();
    let dial = Action::DialPlace { address: "d:4".to_owned(), name: "denver".to_owned() };
    assert!(bench.actions.contains(&dial), "{:?}", bench.actions);
}
