//! The judge on journals made up: a good run is good, every lie is seen, and
//! what faults may do is told from what they may not.

use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Two hubs; each published 100 events live and 50 into each stream, 10 ms apart; calm from 80 on.
fn good() -> Journal {
    let published = |count: u64| -> Vec<Published> {
        let one =
            |number| Published { at: ms(number * 10), answered: Some(ms(number * 10 + 1)), fate: Fate::Acknowledged };
        (0..count).map(one).collect()
    };
    let events = |count: usize| (0..count).flat_map(|number| [0, 1].map(|publisher| Event { publisher, number }));
    let stored = Stored { events: events(50).map(Some).collect(), missing: 0 };
    let receipt = |event: Event| Receipt { event: Some(event), at: ms(event.number as u64 * 10 + 2), life: 0 };
    let counters =
        [("ledger.copies", 5), ("ledger.delivered", 2), ("ledger.dropped.no_path", 2), ("in_flight.links", 1)];
    let counters = counters.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Journal {
        live: vec![published(100), published(100)],
        durable: vec![[published(50), published(50)], [published(50), published(50)]],
        stored: [stored.clone(), stored],
        received: vec![events(100).map(receipt).collect(), events(100).map(receipt).collect()],
        calm: vec![80, 80],
        sides: vec![0, 0],
        kills: Vec::new(),
        before: Vec::new(),
        said: vec![Said { reaches: 2, counters }; 2],
    }
}

/// The journal without what the subscriber at hub 1 got of hub 0 in this range.
fn without(mut journal: Journal, numbers: std::ops::Range<usize>) -> Journal {
    journal.received[1].retain(|r| !r.event.is_some_and(|e| e.publisher == 0 && numbers.contains(&e.number)));
    journal
}

#[test]
fn a_good_run_is_good() {
    let verdict = judge(&good());
    assert_eq!(verdict.wrong, [] as [&str; 0]);
    assert_eq!((verdict.stored, verdict.live_due, verdict.live_received), (200, 400, 400));
}

#[test]
fn every_lie_is_seen() {
    assert_eq!(unseen(&good()), [] as [&str; 0]);
}

#[test]
fn a_judge_that_was_shown_no_change_would_be_found_out() {
    // The canary's own canary: with a journal that is empty most lies change nothing.
    let mut journal = good();
    journal.stored = Default::default();
    journal.durable = vec![Default::default(); 2];
    assert!(unseen(&journal).contains(&"an acknowledged event is not in its stream"));
}

#[test]
fn what_hubs_counted_may_be_missing_and_no_more() {
    assert_eq!(judge(&without(good(), 10..14)).wrong, [] as [&str; 0], "four were counted, two at each hub");
    let wrong = judge(&without(good(), 10..15)).wrong;
    assert_eq!(wrong, ["5 live events are missing, and hubs have counted 4"]);
}

#[test]
fn what_was_published_while_the_subscribers_hub_was_away_may_be_missing() {
    let mut journal = without(good(), 10..40);
    for receipt in journal.received[1].iter_mut().filter(|receipt| receipt.at >= ms(400)) {
        receipt.life = 1;
    }
    let verdict = judge(&journal);
    assert_eq!((verdict.wrong.len(), verdict.missing_away), (0, 30));
}

#[test]
fn what_two_meshes_missed_of_each_other_before_they_met_may_be_missing_and_nothing_behind_it() {
    let mut journal = without(good(), 0..40);
    assert_eq!(judge(&journal).wrong.len(), 1, "they are one mesh");
    journal.sides = vec![0, 1];
    let verdict = judge(&journal);
    assert_eq!((verdict.wrong.len(), verdict.missing_apart), (0, 40));
    assert_eq!(judge(&without(journal, 50..60)).wrong.len(), 1);
}

#[test]
fn what_a_killed_hub_had_in_memory_may_be_missing_or_come_again() {
    let mut journal = without(good(), 10..40);
    journal.kills.push((0, ms(395)));
    let verdict = judge(&journal);
    assert_eq!((verdict.wrong.len(), verdict.missing_killed), (0, 30));

    let mut journal = good();
    journal.live[0][40].answered = Some(ms(600));
    let again = Receipt { event: Some(Event { publisher: 0, number: 40 }), at: ms(601), life: 0 };
    let place = journal.received[1].partition_point(|receipt| receipt.at < again.at);
    journal.received[1].insert(place, again);
    assert_eq!(judge(&journal).wrong.len(), 1, "nobody was killed");
    journal.kills.push((0, ms(450)));
    let verdict = judge(&journal);
    assert_eq!((verdict.wrong.len(), verdict.again), (0, 1));
}

#[test]
fn what_has_no_answer_or_was_refused_may_be_there_or_not() {
    let mut journal = good();
    journal.durable[0][0][10].fate = Fate::Refused;
    assert_eq!(judge(&journal).wrong, [] as [&str; 0]);
    journal.stored[0].events.retain(|event| *event != Some(Event { publisher: 0, number: 10 }));
    assert_eq!(judge(&journal).wrong, [] as [&str; 0]);
}
