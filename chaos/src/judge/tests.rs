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
    let said = Said { reaches: 2, counters };
    Journal {
        live: vec![published(100), published(100)],
        durable: vec![[published(50), published(50)], [published(50), published(50)]],
        stored: [vec![stored.clone()], vec![stored.clone(), stored]],
        received: vec![events(100).map(receipt).collect(), events(100).map(receipt).collect()],
        settled: Duration::ZERO,
        calm: Calm { from: vec![80, 80], counted: vec![0, 0] },
        sides: vec![0, 0],
        kills: Vec::new(),
        said: vec![said; 2],
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
    assert_eq!((verdict.stored, verdict.live_due, verdict.live_received), (300, 400, 400));
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

/// The hub of the subscriber says that it has missed so many, so many of them by the time when all was healed.
fn counted(mut journal: Journal, at_all: u64, before: u64) -> Journal {
    journal.said[1].counters.insert("flow.missed".into(), at_all);
    journal.calm.counted[1] = before;
    journal
}

fn kill(hub: usize, at: Duration) -> Kill {
    Kill { hub, asked: at, at, said: Some(Said::default()) }
}

#[test]
fn as_many_may_be_missing_as_the_subscribers_hub_has_counted_neither_more_nor_fewer() {
    assert_eq!(judge(&counted(without(good(), 10..14), 4, 4)).wrong, [] as [&str; 0]);
    let wrong = judge(&counted(without(good(), 10..15), 4, 4)).wrong;
    assert_eq!(wrong, ["5 live events did not come to hub 1, which has counted 4: 10 to 14 of hub 0 (0.100 s)"]);
    let wrong = judge(&counted(without(good(), 10..14), 5, 5)).wrong;
    assert_eq!(wrong, ["hub 1 counts 5 live events as missed, and at most 4 are missing"]);
}

#[test]
fn what_another_hub_has_counted_does_not_excuse_what_is_missing_here() {
    let mut journal = without(good(), 10..14);
    journal.said[0].counters.insert("ledger.dropped.link_lost".into(), 2);
    journal.said[0].counters.insert("ledger.dropped.no_path".into(), 0);
    journal.said[0].counters.insert("flow.missed".into(), 4);
    let wrong = judge(&journal).wrong;
    assert!(wrong.iter().any(|wrong| wrong.starts_with("4 live events did not come to hub 1, which has counted 0")));
}

#[test]
fn once_all_is_healed_only_what_was_counted_since_may_be_missing() {
    // A way changed, a later event overtook two, and they were cut as late.
    let late = without(good(), 90..92);
    assert_eq!(judge(&counted(late.clone(), 2, 0)).wrong, [] as [&str; 0]);
    assert_eq!(judge(&counted(late.clone(), 2, 0)).missing_calm, 2);
    let wrong = judge(&counted(without(late, 10..14), 6, 5)).wrong;
    let calm = "2 live events did not come to hub 1 although all was healed, and it has counted 1 since";
    assert_eq!(wrong, [calm], "four and one of these were counted before");
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
fn what_other_hubs_did_not_send_until_they_heard_that_the_subscriber_is_back_may_be_missing() {
    let mut journal = without(without(good(), 10..15), 16..20);
    for receipt in journal.received[1].iter_mut().filter(|receipt| receipt.at >= ms(150)) {
        receipt.life = 1;
    }
    let verdict = judge(&journal);
    assert_eq!((verdict.wrong.len(), verdict.missing_away), (0, 9), "number 15 was sent before");
    // The second part was published long after that.
    let late = Duration::from_secs(6);
    journal.live[0].iter_mut().skip(16).for_each(|published| published.at += late);
    journal.received[1].iter_mut().filter(|r| r.at >= ms(160)).for_each(|receipt| receipt.at += late);
    let verdict = judge(&journal);
    assert_eq!((verdict.wrong.len(), verdict.missing_away, verdict.missing_counted), (1, 5, 4));
}

#[test]
fn what_two_meshes_missed_of_each_other_before_they_met_may_be_missing_and_nothing_behind_it() {
    let mut journal = without(good(), 0..40);
    assert_eq!(judge(&journal).wrong.len(), 1, "they are one mesh");
    journal.settled = ms(395);
    assert_eq!(judge(&journal).wrong, [] as [&str; 0], "they did not know of each other yet");
    journal.settled = ms(380);
    assert_eq!(judge(&journal).wrong.len(), 1);
    journal.sides = vec![0, 1];
    let verdict = judge(&journal);
    assert_eq!((verdict.wrong.len(), verdict.missing_apart), (0, 40));
    assert_eq!(judge(&without(journal, 50..60)).wrong.len(), 1);
}

#[test]
fn what_lies_around_the_kill_of_its_hub_may_be_missing_or_come_again() {
    let mut journal = without(good(), 10..40);
    journal.kills.push(kill(0, ms(395)));
    let verdict = judge(&journal);
    assert_eq!((verdict.wrong.len(), verdict.missing_killed), (0, 30));
    assert_eq!(judge(&without(journal, 60..61)).wrong.len(), 1, "far from the kill");

    let mut journal = good();
    journal.live[0][40].answered = Some(ms(600));
    let again = Receipt { event: Some(Event { publisher: 0, number: 40 }), at: ms(601), life: 0 };
    let place = journal.received[1].partition_point(|receipt| receipt.at < again.at);
    journal.received[1].insert(place, again);
    assert_eq!(judge(&journal).wrong.len(), 1, "nobody was killed");
    journal.kills.push(kill(0, ms(450)));
    let verdict = judge(&journal);
    assert_eq!((verdict.wrong.len(), verdict.again), (0, 1));
}

#[test]
fn what_a_hub_counted_after_it_was_asked_and_before_it_was_killed_is_lost_with_it() {
    let mut journal = without(good(), 39..40);
    journal.kills.push(Kill { asked: ms(395), ..kill(1, ms(405)) });
    assert_eq!(judge(&journal).wrong, [] as [&str; 0]);
    journal.kills[0].asked = ms(404);
    assert_eq!(judge(&journal).wrong.len(), 1, "it was asked after it must have counted");
}

#[test]
fn at_several_homes_each_has_each_event_and_their_order_is_their_own() {
    let mut journal = good();
    journal.stored[1][1].events.swap(0, 2);
    assert_eq!(judge(&journal).wrong, [] as [&str; 0]);
    journal.stored[1][1].events.remove(0);
    assert_eq!(judge(&journal).wrong.len(), 2, "what is wrong, and which it is");
    journal = good();
    journal.stored[0][0].events.swap(0, 2);
    assert_eq!(judge(&journal).wrong.len(), 1, "a single home keeps the order");
}

#[test]
fn what_has_no_answer_or_was_refused_may_be_there_or_not() {
    let mut journal = good();
    journal.durable[0][0][10].fate = Fate::Refused;
    assert_eq!(judge(&journal).wrong, [] as [&str; 0]);
    journal.stored[0][0].events.retain(|event| *event != Some(Event { publisher: 0, number: 10 }));
    assert_eq!(judge(&journal).wrong, [] as [&str; 0]);
}
