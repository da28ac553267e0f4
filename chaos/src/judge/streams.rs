//! What a stream must hold at each of its homes.

use std::collections::BTreeMap;

use super::{Event, Fate, Journal, Stored, Verdict};

/// Judges one stream.
pub(super) fn judge(journal: &Journal, stream: usize, verdict: &mut Verdict) {
    for of in &journal.durable {
        let fates = |fate| of[stream].iter().filter(|published| published.fate == fate).count() as u64;
        verdict.durable_published += of[stream].len() as u64;
        verdict.durable_acknowledged += fates(Fate::Acknowledged);
        verdict.durable_refused += fates(Fate::Refused);
    }
    let homes = &journal.stored[stream];
    for (home, stored) in homes.iter().enumerate() {
        verdict.stored += stored.events.len() as u64;
        // What entered at different homes has no order.
        one(journal, stream, (home, stored), homes.len() == 1, &mut verdict.wrong);
    }
}

fn one(
    journal: &Journal,
    stream: usize,
    (home, stored): (usize, &Stored),
    in_order: bool,
    complaints: &mut Vec<String>,
) {
    let mut times: BTreeMap<Event, u32> = BTreeMap::new();
    let mut last: BTreeMap<usize, usize> = BTreeMap::new();
    let (mut foreign, mut disordered) = (0u64, Vec::new());
    for event in &stored.events {
        let known = event.filter(|e| journal.durable.get(e.publisher).is_some_and(|of| e.number < of[stream].len()));
        let Some(event) = known else {
            foreign += 1;
            continue;
        };
        *times.entry(event).or_default() += 1;
        let newest = last.entry(event.publisher).or_insert(event.number);
        if in_order && *newest > event.number {
            disordered.push((event, *newest));
        }
        *newest = event.number.max(*newest);
    }
    let mut lost = Vec::new();
    for (publisher, of) in journal.durable.iter().enumerate() {
        for (number, published) in of[stream].iter().enumerate() {
            if published.fate == Fate::Acknowledged && !times.contains_key(&Event { publisher, number }) {
                lost.push(Event { publisher, number });
            }
        }
    }
    let twice: Vec<Event> = times.iter().filter(|(_, count)| **count > 1).map(|(event, _)| *event).collect();
    let mut wrong = |count: u64, what: &str| {
        if count > 0 {
            complaints.push(format!("stream {stream} at its home {home}: {count} events {what}"));
        }
    };
    wrong(lost.len() as u64, "that were acknowledged as synced are not there");
    wrong(twice.len() as u64, "are there more than once");
    wrong(foreign, "were never published so");
    wrong(stored.missing, "cannot be served");
    let mut which = |what: &str, event: Option<Event>| {
        if let Some(event) = event {
            let said = said_of(journal, stream, event);
            complaints.push(format!("stream {stream} at its home {home}: the first one {what} is {said}"));
        }
    };
    which("lost", lost.first().copied());
    which("twice", twice.first().copied());
    if let Some((event, newest)) = disordered.first() {
        let count = disordered.len();
        let [first, newest] = [*event, Event { number: *newest, ..*event }].map(|e| said_of(journal, stream, e));
        complaints.push(format!(
            "stream {stream} at its home {home}: {count} events are behind later ones of their publisher, the first is \
             {first}, behind {newest}"
        ));
    }
}

/// An event, when it was published, and what became of that.
fn said_of(journal: &Journal, stream: usize, Event { publisher, number }: Event) -> String {
    let Some(published) = journal.durable[publisher][stream].get(number) else {
        return format!("number {number} of hub {publisher}");
    };
    let answer = match (published.fate, published.answered) {
        (fate, Some(at)) => format!("{fate:?} at {:.3} s", at.as_secs_f64()),
        (fate, None) => format!("{fate:?}"),
    };
    format!("number {number} of hub {publisher}, of {:.3} s ({answer})", published.at.as_secs_f64())
}
