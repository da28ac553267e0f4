//! The window by itself: beside the RFC's curve, and under anything that may come.

use proptest::prelude::*;

use super::*;

const MTU: u16 = 1_200;
const TRIP: Duration = Duration::from_millis(80);

/// A sender over a line without a queue: what is sent at the beginning of a
/// round trip is acknowledged at its end, all at once.
struct Sender {
    cubic: Cubic,
    now: Instant,
    packets: u64,
}

impl Sender {
    fn new() -> Self {
        Self { cubic: Cubic::new(MTU), now: Instant::now(), packets: 0 }
    }

    /// A round trip with so much under way, by a sender that wants more or not.
    fn round(&mut self, bytes: u64, wants: bool) {
        let sent = self.now;
        self.packets += 1 + bytes / u64::from(MTU);
        self.cubic.on_sent(sent, bytes, self.packets);
        self.now += TRIP;
        self.cubic.acked(self.now, sent, bytes, TRIP);
        self.cubic.all_acked(self.now, 0, wants, Some(self.packets));
    }

    fn full_round(&mut self) {
        self.round(self.cubic.window(), true);
    }

    fn lose(&mut self, all: bool) {
        let sent = self.now + Duration::from_millis(1);
        self.now += Duration::from_millis(2);
        self.cubic.lost(self.now, sent, all);
        self.now += Duration::from_millis(1);
    }

    /// One that lost something when 384,000 bytes were under way.
    fn after_a_loss() -> Self {
        let mut sender = Self::new();
        (0..6).for_each(|_| sender.full_round());
        sender.lose(false);
        sender
    }
}

#[test]
fn a_window_that_is_used_doubles_and_a_loss_leaves_seven_tenths_of_what_was_under_way() {
    let mut sender = Sender::new();
    (0..6).for_each(|_| sender.full_round());
    assert_eq!(sender.cubic.window(), INITIAL << 6);
    sender.lose(false);
    assert_eq!(sender.cubic.window(), 268_800, "384,000 bytes were");
    // What was sent before that says nothing more.
    let before = sender.now - Duration::from_millis(2);
    sender.cubic.lost(sender.now, before, false);
    assert_eq!(sender.cubic.window(), 268_800);
    sender.cubic.acked(sender.now, before, 100_000, TRIP);
    sender.cubic.all_acked(sender.now, 284_000, true, Some(sender.packets));
    assert_eq!(sender.cubic.window(), 268_800);
}

#[test]
fn after_a_loss_the_window_goes_by_the_curve() {
    let mut sender = Sender::after_a_loss();
    let plateau = 384_000.0 / 1_200.0;
    // RFC 9438, figures 1 and 2.
    let reaches = (plateau * 0.3 / 0.4_f64).cbrt();
    let start = sender.now + TRIP;
    for round in 0..200 {
        sender.full_round();
        let time = (sender.now - start + TRIP).as_secs_f64();
        let curve = (0.4 * (time - reaches).powi(3) + plateau) * 1_200.0;
        let window = sender.cubic.window() as f64;
        assert!((window - curve).abs() < 0.02 * curve, "round {round}: {window}, by the curve {curve}");
    }
    assert!(sender.cubic.window() > 600_000, "it passes the plateau by far");
}

#[test]
fn a_small_window_grows_as_that_of_reno() {
    let mut sender = Sender::new();
    sender.full_round();
    sender.lose(false);
    let before = sender.cubic.window() as f64;
    (0..20).for_each(|_| sender.full_round());
    // By the curve it would have its 12,000 again after two seconds.
    let grown = (sender.cubic.window() as f64 - before) / 1_200.0;
    assert!((10.0..20.0).contains(&grown), "about half a datagram a round trip, and then one: {grown}");
}

/// The state machine's own controller counts what its pacing holds back as a
/// window that is full.
#[test]
fn a_window_that_is_not_used_does_not_grow() {
    let mut sender = Sender::new();
    (0..1_000).for_each(|_| sender.round(60_000, true));
    assert!(sender.cubic.window() <= 180_000, "{}", sender.cubic.window());
    let mut sender = Sender::after_a_loss();
    // Of the two round trips before, much was under way.
    (0..2).for_each(|_| sender.round(60_000, true));
    let before = sender.cubic.window();
    (0..1_000).for_each(|_| sender.round(60_000, true));
    assert_eq!(sender.cubic.window(), before);
    // Nor does the curve go on meanwhile: used again, it grows from where it was.
    sender.full_round();
    sender.full_round();
    assert!(sender.cubic.window() < 300_000, "{}", sender.cubic.window());
}

#[test]
fn who_has_less_than_before_leaves_room_and_who_loses_all_begins_again() {
    let mut sender = Sender::after_a_loss();
    sender.full_round();
    sender.full_round();
    let held = sender.cubic.way.most();
    sender.lose(false);
    assert!((sender.cubic.plateau - held * 0.85).abs() < 1.0);
    sender.lose(true);
    assert_eq!(sender.cubic.window(), 2_400);
    (0..4).for_each(|_| sender.full_round());
    assert_eq!(sender.cubic.window(), 2_400 << 4, "it doubles up to where it was lowered to");
}

/// An idle link that lost a probe now and then, while others filled the line,
/// had no window left when it was used again.
#[test]
fn a_loss_of_a_window_that_is_not_used_has_it_begin_anew() {
    for all in [false, true] {
        let mut sender = Sender::after_a_loss();
        for _ in 0..20 {
            (0..3).for_each(|_| sender.round(1_200, true));
            sender.lose(all);
        }
        (0..8).for_each(|_| sender.full_round());
        assert!(sender.cubic.window() > 500_000, "it doubles: {}", sender.cubic.window());
    }
}

#[test]
fn slow_start_ends_when_a_queue_fills_before_anything_is_lost() {
    let mut sender = Sender::new();
    for _ in 0..30 {
        // Ten acknowledgements a round trip; beyond 200,000 bytes they wait.
        let (window, sent) = (sender.cubic.window(), sender.now);
        let trip = TRIP.mul_f64((window as f64 / 200_000.0).max(1.0));
        sender.now += trip;
        let first = sender.packets;
        sender.packets += 10;
        sender.cubic.on_sent(sent, window, sender.packets);
        for packet in 1..=10 {
            sender.cubic.acked(sender.now, sent, window / 10, trip);
            sender.cubic.all_acked(sender.now, window - window / 10 * packet, true, Some(first + packet));
        }
    }
    let end = sender.cubic.threshold;
    assert!((200_000.0..2_000_000.0).contains(&end), "{end}");
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Round { share: f64, wants: bool },
    Lose { all: bool },
    Datagram(u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0.0..1.2, prop::bool::weighted(0.9)).prop_map(|(share, wants)| Step::Round { share, wants }),
        2 => prop::bool::weighted(0.1).prop_map(|all| Step::Lose { all }),
        1 => (1_200u16..9_000).prop_map(Step::Datagram),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn whatever_comes_the_window_is_bounded_by_what_was_under_way(steps in steps()) {
        let mut sender = Sender::new();
        let (mut most, mut floor): (f64, f64) = (0.0, INITIAL as f64);
        for step in steps {
            let before = sender.cubic.window;
            let bytes = match step {
                Step::Round { share, wants } => {
                    let bytes = (before * share) as u64;
                    sender.round(bytes, wants);
                    bytes as f64
                }
                Step::Lose { all } => {
                    sender.lose(all);
                    prop_assert!(sender.cubic.window <= before.max(sender.cubic.least()));
                    0.0
                }
                Step::Datagram(bytes) => {
                    sender.cubic.on_mtu_update(bytes);
                    0.0
                }
            };
            (most, floor) = (most.max(bytes), floor.max(sender.cubic.least()));
            let window = sender.cubic.window;
            prop_assert!(window.is_finite() && window >= sender.cubic.least());
            prop_assert!(window <= (before + bytes).max(sender.cubic.least()), "{before} grew to {window} by {bytes}");
            prop_assert!(window <= floor.max(3.0 * most));
        }
    }
}
