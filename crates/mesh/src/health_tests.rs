//! Suspicion: silence against what is usual, answers that were never asked for,
//! floods of questions.

use std::sync::LazyLock;

use super::*;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The defaults, with the intervals that the figures below are of.
static TIMERS: LazyLock<Timers> = LazyLock::new(|| Timers { ping: ms(250), silence: ms(5_000), ..Timers::default() });

/// A link whose probes are answered after `rtts`, one after the other.
fn answered_after(rtts: &[u64]) -> (Health, Mono) {
    let mut now = Mono(1);
    let mut health = Health::new(now);
    for rtt in rtts {
        assert!(health.is_due(now, &TIMERS));
        let (sent, number) = (now, health.start(now, TIMERS.ping));
        now = now + ms(*rtt);
        health.heard(now, &TIMERS);
        assert_ne!(health.answered(number, sent.0, now, &TIMERS), Answer::Strange);
        now = now.max(sent + TIMERS.ping);
    }
    (health, now)
}

#[test]
fn the_round_trip_is_smoothed_and_answers_to_no_question_are_ignored() {
    let mut health = Health::new(Mono(0));
    let number = health.start(Mono(0), ms(1_000));
    assert_eq!(health.answered(number + 1, 0, Mono(5), &TIMERS), Answer::Strange);
    assert_eq!(health.answered(number, 77, Mono(5), &TIMERS), Answer::Strange, "a forged time");
    assert_eq!(health.rtt(), None);
    assert_eq!(health.answered(number, 0, Mono(8_000_000), &TIMERS), Answer::Taken { trusted: false });
    assert_eq!(health.answered(number, 0, Mono(9_000_000), &TIMERS), Answer::Strange, "one answer for each");
    assert_eq!(health.rtt(), Some(ms(8)));
    let number = health.start(Mono(1_000_000_000), ms(1_000));
    health.answered(number, 1_000_000_000, Mono(1_016_000_000), &TIMERS);
    assert_eq!(health.rtt(), Some(ms(9)));
}

#[test]
fn a_steady_link_is_suspected_after_two_intervals_and_given_up_at_the_bound() {
    let (mut health, now) = answered_after(&[10; 20]);
    let heard = health.heard;
    assert_eq!(health.look(heard + ms(499), &TIMERS), Verdict::Same);
    assert_eq!(health.look(heard + ms(500), &TIMERS), Verdict::Suspect { silent: ms(500) });
    assert_eq!(health.look(heard + ms(600), &TIMERS), Verdict::Same, "said once");
    assert!(now < heard + ms(4_999));
    assert_eq!(health.look(heard + ms(4_999), &TIMERS), Verdict::Same);
    assert_eq!(health.look(heard + ms(5_000), &TIMERS), Verdict::Down { silent: ms(5_000) });
}

#[test]
fn a_link_whose_answers_come_late_now_and_then_is_given_more_time() {
    let steady = answered_after(&[80; 40]).0.allowed(&TIMERS);
    let jittery = answered_after(&[80, 200, 90, 240, 80, 230, 100, 220, 80, 240]).0.allowed(&TIMERS);
    assert_eq!(steady, ms(500));
    assert!(jittery > ms(750) && jittery < TIMERS.silence, "{jittery:?}");
}

#[test]
fn a_round_trip_longer_than_the_interval_is_no_silence() {
    let (health, _) = answered_after(&[900; 30]);
    assert!(health.allowed(&TIMERS) > ms(900), "{:?}", health.allowed(&TIMERS));
}

#[test]
fn whatever_is_heard_is_life_but_answers_must_come_some_day() {
    let (mut health, mut now) = answered_after(&[10; 4]);
    health.start(now, TIMERS.ping);
    let asked = now;
    while now < asked + ms(14_900) {
        now = now + ms(100);
        health.heard(now, &TIMERS);
        assert_eq!(health.look(now, &TIMERS), Verdict::Same);
    }
    now = now + ms(100);
    health.heard(now, &TIMERS);
    assert_eq!(health.look(now, &TIMERS), Verdict::Down { silent: ms(15_000) });
}

#[test]
fn a_suspect_is_trusted_after_answers_in_a_row_and_then_has_more_patience_for_a_while() {
    let (mut health, _) = answered_after(&[10; 4]);
    let mut now = health.heard + ms(510);
    assert!(matches!(health.look(now, &TIMERS), Verdict::Suspect { .. }));
    let mut answers = 0;
    while health.is_suspect() {
        health.heard(now, &TIMERS);
        let number = health.start(now, TIMERS.ping);
        health.answered(number, now.0, now, &TIMERS);
        answers += 1;
        // A silence in between begins the count anew.
        now = now + if answers == 2 { ms(550) } else { TIMERS.ping };
    }
    assert_eq!(answers, 2 + RECOVERY);
    assert_eq!(health.allowed(&TIMERS), ms(625));
    now = now + FORGOTTEN;
    health.start(now, TIMERS.ping);
    health.heard(now, &TIMERS);
    assert_eq!(health.look(now, &TIMERS), Verdict::Same);
    assert_eq!(health.allowed(&TIMERS), ms(500));
}

/// A link whose far end answers, and a line that keeps what is on it while it
/// is cut, as a transport does that loses nothing.
struct Far {
    health: Health,
    now: Mono,
    rtt: Duration,
    /// Answers on their way: when they come, to which probe, sent when.
    answers: VecDeque<(Mono, u64, Mono)>,
}

impl Far {
    fn steady(rtt: Duration) -> Self {
        let now = Mono(1);
        let mut far = Self { health: Health::new(now), now, rtt, answers: VecDeque::new() };
        far.pass(ms(10_000), false);
        assert!(!far.health.is_suspect());
        far
    }

    /// Steps of 10 ms; what time says in each of them.
    fn pass(&mut self, time: Duration, is_cut: bool) -> Vec<Verdict> {
        let end = self.now + time;
        let mut said = Vec::new();
        while self.now < end {
            self.now = self.now + ms(10);
            while let Some((_, number, sent)) = self.answers.pop_front_if(|(at, ..)| !is_cut && *at <= self.now) {
                self.health.heard(self.now, &TIMERS);
                assert_ne!(self.health.answered(number, sent.0, self.now, &TIMERS), Answer::Strange);
            }
            said.push(self.health.look(self.now, &TIMERS));
            if self.health.is_due(self.now, &TIMERS) {
                let number = self.health.start(self.now, TIMERS.ping);
                self.answers.push_back((self.now + self.rtt, number, self.now));
            }
        }
        said.retain(|verdict| *verdict != Verdict::Same);
        said
    }
}

#[test]
fn a_link_that_comes_back_before_it_is_given_up_is_suspected_no_later_the_next_time() {
    // The answers that a cut had held back counted as round trips, and each
    // suspicion as wrong, so that the second one took four to ten intervals.
    for cut in [700, 1_000, 1_800, 3_000, 4_500] {
        let mut far = Far::steady(ms(20));
        for _ in 0..4 {
            let Some(Verdict::Suspect { silent }) = far.pass(ms(cut), true).first().copied() else {
                panic!("a cut of {cut} ms is not suspected")
            };
            assert!(silent <= ms(510), "after {silent:?}, cuts of {cut} ms");
            while far.health.is_suspect() {
                assert_eq!(far.pass(ms(10), false), []);
            }
        }
    }
}

#[test]
fn what_a_cut_held_back_does_not_make_a_link_trusted() {
    let mut far = Far::steady(ms(20));
    far.pass(ms(4_500), true);
    assert!(far.answers.len() >= RECOVERY as usize);
    far.pass(ms(50), false);
    assert!(far.health.is_suspect(), "they were all asked before it came back");
    far.pass(TIMERS.ping * (RECOVERY + 1), false);
    assert!(!far.health.is_suspect());
}

#[test]
fn a_path_that_has_become_longer_is_suspected_once() {
    for rtt in [600, 900, 2_000] {
        let mut far = Far::steady(ms(20));
        far.rtt = ms(rtt);
        let said = far.pass(ms(60_000), false);
        assert_eq!(said.len(), 1, "{rtt} ms: {said:?}");
        assert!(!far.health.is_suspect(), "{rtt} ms");
    }
}

#[test]
fn patience_leaves_room_for_failover_in_three_intervals() {
    let mut far = Far::steady(ms(20));
    // Each a little longer than what is allowed.
    for _ in 0..10 {
        let short = far.health.allowed(&TIMERS) + ms(30);
        far.pass(short, true);
        far.pass(ms(3_000), false);
    }
    assert!(!far.health.is_suspect());
    assert_eq!(far.health.allowed(&TIMERS), ms(625));
}

#[test]
fn a_hub_that_slept_judges_nobody_by_it_and_does_not_measure_it() {
    let (mut health, now) = answered_after(&[10; 8]);
    let number = health.start(now, TIMERS.ping);
    let later = now + ms(20_000);
    health.slept(ms(19_900), later);
    assert_eq!(health.look(later, &TIMERS), Verdict::Same);
    health.heard(later, &TIMERS);
    assert_eq!(health.answered(number, now.0, later, &TIMERS), Answer::Taken { trusted: false });
    assert_eq!(health.rtt(), Some(ms(10)));
}

#[test]
fn another_probe_follows_one_whose_answer_is_late_ever_more_rarely_and_either_may_be_answered() {
    let (mut health, mut now) = answered_after(&[10; 8]);
    let mut sent = vec![(health.start(now, TIMERS.ping), now)];
    let until = now + ms(60_000);
    while now < until {
        now = now + ms(10);
        if health.is_due(now, &TIMERS) {
            sent.push((health.start(now, TIMERS.ping), now));
        }
    }
    let pauses: Vec<u64> = sent.windows(2).map(|pair| pair[1].1.since(pair[0].1).as_millis() as u64).collect();
    assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 8_000, 16_000]);
    let (number, at) = sent[2];
    assert_eq!(health.answered(number, at.0, now, &TIMERS), Answer::Taken { trusted: false });
    let (number, at) = sent[1];
    assert_eq!(health.answered(number, at.0, now, &TIMERS), Answer::Strange, "answered with the one after it");
    let (number, at) = sent[5];
    assert_eq!(health.answered(number, at.0, now, &TIMERS), Answer::Taken { trusted: false });
}

#[test]
fn a_flood_of_questions_is_damped_and_then_ends_the_link() {
    let mut health = Health::new(Mono(0));
    let mut now = Mono(0);
    // One in each interval, however short, is answered for ever.
    for _ in 0..1_000 {
        now = now + ms(10);
        assert_eq!(health.asked(now), Probe::Answer);
    }
    let answers = 1 + (0..100).filter(|_| health.asked(now) == Probe::Answer).count();
    assert_eq!(answers, PROBES as usize);
    let rest: Vec<Probe> = (0..FLOOD).map(|_| health.asked(now)).collect();
    assert!(rest.contains(&Probe::Flood) && !rest.contains(&Probe::Answer));
    // Who behaves again for a while is forgiven.
    now = now + ms(1_000);
    assert_eq!(health.asked(now), Probe::Answer);
    assert_eq!(health.damped, 0);
}

#[test]
fn answers_to_no_question_are_counted_up_to_a_bound() {
    let mut health = Health::new(Mono(0));
    for number in 0..u64::from(STRANGE) {
        assert!(!health.is_strange());
        assert_eq!(health.answered(number, number, Mono(1), &TIMERS), Answer::Strange);
    }
    assert!(health.is_strange());
}
