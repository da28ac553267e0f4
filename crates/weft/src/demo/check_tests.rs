//! The judge finds nothing in a clean run, and each of a list of faults in a
//! run that has exactly that one: canaries.

use super::*;

fn filter(text: &str) -> Filter {
    Filter::parse(text).expect("a filter")
}

/// Ten events of two publishers at hub 0, one subscriber at each of three
/// hubs, a stream of the first publisher's, two readers, all well.
fn clean() -> Run {
    let events: Vec<Event> = (0..10)
        .map(|i| Event {
            topic: format!("t/{}", i % 2),
            publisher: i % 2,
            hub: 0,
            from: i as u64 * 100,
            acknowledged: Some(i as u64 * 100 + 10),
            durable: i % 2 == 0,
            second_life: false,
        })
        .collect();
    let subscribers = (0..3)
        .map(|hub| Subscriber {
            name: format!("subscriber {hub}"),
            hub,
            filter: filter("t/*"),
            received: (0..10).collect(),
            marked: 0,
        })
        .collect();
    let received: Vec<(u64, u32)> = (1..=5).zip((0..10).step_by(2)).collect();
    let reader = |name: &str| Reader { name: name.to_owned(), received: received.clone() };
    let ledger = |name: &str| HubLedger {
        name: name.to_owned(),
        copies: 10,
        delivered: 5,
        stored: 2,
        forwarded: 2,
        dropped: vec![("no_interest".to_owned(), 1)],
        ..HubLedger::default()
    };
    Run {
        events,
        subscribers,
        readers: vec![reader("reader"), reader("late reader")],
        captured: Some(filter("t/0")),
        outage: None,
        ledgers: vec![ledger("hub 0"), ledger("hub 1"), ledger("hub 2")],
    }
}

/// The one violation of a run that differs from the clean one by `fault`.
#[track_caller]
fn found(fault: impl FnOnce(&mut Run)) -> String {
    let mut run = clean();
    fault(&mut run);
    let violations = judge(&run).violations;
    assert!(!violations.is_empty(), "the fault was not found");
    violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[track_caller]
fn nothing(change: impl FnOnce(&mut Run)) -> Verdict {
    let mut run = clean();
    change(&mut run);
    let verdict = judge(&run);
    assert_eq!(verdict.violations, []);
    verdict
}

#[test]
fn a_clean_run_is_clean() {
    let verdict = nothing(|_| {});
    assert_eq!(verdict.stored, 5);
    assert!(verdict.tallies.iter().all(|tally| *tally == Tally { expected: 10, received: 10, cut_off: 0 }));
}

#[test]
fn an_event_that_is_missing_is_found() {
    let text = found(|run| {
        run.subscribers[1].received.remove(4);
    });
    assert!(text.contains("subscriber 1: 1 events are missing") && text.contains("4 (t/0)"), "{text}");
}

#[test]
fn an_event_that_comes_twice_is_found() {
    assert!(found(|run| run.subscribers[2].received.push(9)).contains("subscriber 2: event 9 (t/1) came twice"));
}

#[test]
fn an_event_out_of_its_publishers_order_is_found() {
    let text = found(|run| run.subscribers[0].received.swap(2, 4));
    assert!(text.contains("event 2 (t/0) came after 4"), "{text}");
}

#[test]
fn publishers_may_overtake_each_other() {
    nothing(|run| run.subscribers[0].received.swap(2, 3));
}

#[test]
fn what_was_not_asked_for_is_found() {
    assert!(found(|run| run.subscribers[0].filter = filter("t/0")).contains("is not what `t/0` asks for"));
    assert!(found(|run| run.subscribers[0].received.push(99)).contains("99 was never published"));
}

#[test]
fn a_gap_mark_accounts_for_what_is_missing_and_not_for_more() {
    nothing(|run| {
        run.subscribers[2].received.pop();
        run.subscribers[2].marked = 1;
    });
    let text = found(|run| {
        run.subscribers[2].received.truncate(8);
        run.subscribers[2].marked = 1;
    });
    assert!(text.contains("2 events are missing without an account, 1 are marked"), "{text}");
}

/// The hub in the middle was away while events 4 and 5 were on their way.
const AWAY: Outage = Outage { hub: 1, from: 390, until: 520 };

fn without_4_and_5(run: &mut Run, hub: usize) {
    run.outage = Some(AWAY);
    run.subscribers[hub].received.retain(|n| ![4, 5].contains(n));
}

#[test]
fn what_the_outage_cut_off_is_accounted_for() {
    let verdict = nothing(|run| {
        without_4_and_5(run, 2);
        run.ledgers[2].missed = 2;
    });
    assert_eq!(verdict.tallies[2], Tally { expected: 10, received: 8, cut_off: 2 });
    nothing(|run| {
        without_4_and_5(run, 1);
        run.ledgers[1].second_life = true;
    });
}

#[test]
fn an_outage_excuses_nothing_off_its_path_or_outside_its_time() {
    assert!(found(|run| without_4_and_5(run, 0)).contains("subscriber 0: 2 events are missing"));
    let text = found(|run| {
        without_4_and_5(run, 2);
        run.subscribers[2].received.retain(|n| *n != 7);
        run.ledgers[2].missed = 3;
    });
    assert!(text.contains("7 (t/1)"), "{text}");
}

#[test]
fn what_the_hub_noticed_must_be_what_is_missing() {
    assert!(found(|run| without_4_and_5(run, 2)).contains("noticed 0 missing live events; 2 are missing there"));
    assert!(found(|run| run.ledgers[2].missed = 1).contains("noticed 1"));
}

#[test]
fn what_died_in_the_killed_hubs_memory_may_go_unnoticed() {
    for missed in [0, 1, 2] {
        nothing(|run| {
            for event in &mut run.events {
                event.hub = 1;
            }
            without_4_and_5(run, 2);
            run.ledgers[2].missed = missed;
        });
    }
}

#[test]
fn what_entered_a_hub_that_did_not_know_yet_is_named_and_not_noticed() {
    let enter_again = |run: &mut Run| {
        for event in &mut run.events {
            (event.hub, event.second_life) = (1, true);
        }
        without_4_and_5(run, 2);
    };
    let verdict = nothing(enter_again);
    assert_eq!(verdict.missing[2], Some(Missing { unknown: 2, ..Missing::default() }));
    let text = found(|run| {
        enter_again(run);
        run.ledgers[2].missed = 1;
    });
    assert!(text.contains("noticed 1 missing live events; 0 are missing there"), "{text}");
}

#[test]
fn a_publish_without_an_answer_is_found() {
    assert!(found(|run| run.events[3].acknowledged = None).contains("1 events not acknowledged, the first is 3"));
}

#[test]
fn an_acknowledged_event_that_is_not_in_the_stream_is_found() {
    let text = found(|run| {
        for reader in &mut run.readers {
            reader.received.pop();
        }
    });
    assert!(text.contains("1 acknowledged events are not in the stream, the first is 8"), "{text}");
}

#[test]
fn an_outage_excuses_nothing_in_a_stream() {
    let text = found(|run| {
        run.outage = Some(AWAY);
        for reader in &mut run.readers {
            reader.received.remove(2);
        }
    });
    assert!(text.contains("the first is 4") && text.contains("sequence 2 is followed by 4"), "{text}");
}

#[test]
fn a_stream_that_has_an_event_twice_is_found() {
    assert!(found(|run| run.readers[0].received.push((6, 8))).contains("came twice"));
}

#[test]
fn readers_of_one_stream_must_agree() {
    assert!(found(|run| run.readers[1].received[3].1 = 4).contains("differs from `reader`, from event 3"));
}

#[test]
fn a_ledger_out_of_balance_is_found() {
    assert!(
        found(|run| run.ledgers[1].delivered += 1).contains("hub 1: the ledger is out of balance: 10 copies, 11 ends")
    );
    assert!(found(|run| run.ledgers[1].in_flight = 1).contains("1 copies are still in flight"));
}
