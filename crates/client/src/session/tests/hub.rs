//! The session against a model of a hub, over a connection that is lost again
//! and again: whatever happens, each event is taken once, in order, and every
//! acknowledgement is true. A seed decides everything; failures name it.

use std::collections::BTreeMap;

use super::*;

/// A hub that takes publishes, and what it has taken.
#[derive(Default)]
struct Model {
    /// By producer: the last sequence taken.
    last: BTreeMap<u64, u64>,
    taken: Vec<String>,
    /// Answers that are not sent yet.
    answers: Vec<(u64, u64, bool)>,
    unanswered: usize,
    /// A hub that does not know what it has seen: the fault that must be found.
    forgetful: bool,
}

impl Model {
    fn take(&mut self, published: &Published) {
        let block = published.block();
        let (producer, first, count) = (block.producer().0, block.first_sequence(), u64::from(block.event_count()));
        let last = self.last.entry(producer).or_insert(0);
        self.unanswered += 1;
        let duplicate = first <= *last && !self.forgetful;
        if duplicate {
            assert!(first + count - 1 <= *last, "blocks come again as they were");
        } else {
            assert!(self.forgetful || first == *last + 1, "no sequence is left out: {first} after {last}");
            *last = first + count - 1;
            self.taken.extend(published.payloads());
        }
        self.answers.push((published.request, first, duplicate));
    }
}

fn run(seed: u64, forgetful: bool) -> (Vec<String>, Vec<String>, usize) {
    let mut random = Random::from_seed(seed);
    let mut bench = Bench::new(options());
    let mut hub = Model { forgetful, ..Model::default() };
    let window = 1 + random.below(6) as u32;
    bench.connect(window, 1 << 16);
    let (mut sent, mut tickets, mut again) = (Vec::new(), Vec::new(), 0);
    for step in 0..400 {
        match random.below(10) {
            0..=4 => {
                let topic = format!("t/{}", random.below(3));
                let payload = format!("{step}");
                if let Ok(ticket) = bench.publish_as(&spec(AckLevel::Routed), &topic, &payload) {
                    sent.push(payload);
                    tickets.extend(ticket);
                }
            }
            5 => bench.pass(Duration::from_millis(random.below(3))),
            6 | 7 => {
                let n = random.below(hub.answers.len() as u64 + 1) as usize;
                for (request, sequence, _) in hub.answers.drain(..n).collect::<Vec<_>>() {
                    hub.unanswered -= 1;
                    bench.ack(request, sequence);
                }
            }
            8 if random.chance(300) => {
                // What was written and not taken, and what was not answered, is gone.
                bench.lose();
                again += hub.answers.len();
                (hub.answers, hub.unanswered) = (Vec::new(), 0);
                bench.connect(window, 1 << 16);
            }
            _ => {
                bench.turn();
                for published in bench.published() {
                    hub.take(&published);
                    assert!(hub.unanswered <= window as usize, "seed {seed}: beyond the window");
                }
            }
        }
    }
    let mut quiet = 0;
    for _ in 0..2_000 {
        bench.pass(Duration::from_millis(2));
        let published = bench.published();
        quiet = if published.is_empty() { quiet + 1 } else { 0 };
        if quiet > 50 && tickets.iter().all(|ticket| outcome(ticket).is_some()) {
            break;
        }
        for published in published {
            hub.take(&published);
        }
        for (request, sequence, _) in std::mem::take(&mut hub.answers) {
            hub.unanswered -= 1;
            bench.ack(request, sequence);
        }
    }
    assert!(tickets.iter().all(|ticket| matches!(outcome(ticket), Some(Ok(_)))), "seed {seed}: all are acknowledged");
    (sent, hub.taken, again)
}

#[test]
fn every_event_is_taken_once_and_in_order_over_any_number_of_connections() {
    let mut again = 0;
    for seed in 0..150 {
        let (sent, taken, resent) = run(seed, false);
        assert_eq!(sent, taken, "seed {seed}");
        again += resent;
    }
    assert!(again > 50, "the runs reach the case of blocks that come again: {again}");
}

#[test]
fn a_hub_that_forgets_what_it_has_seen_is_found_out() {
    let found = (0..50).any(|seed| {
        let (sent, taken, _) = run(seed, true);
        sent != taken
    });
    assert!(found, "the canary must fail");
}
