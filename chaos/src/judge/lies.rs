//! Lies that the judge must see, so that a good verdict says something.

use super::{Event, Fate, Journal, Verdict, judge, live};

/// A lie: its name, and how it is told.
pub(crate) type Lie = (&'static str, fn(&mut Journal));

/// Lies that the judge must see: each changes the journals of a good run in one place.
pub(crate) fn lies() -> [Lie; 12] {
    [
        ("an acknowledged event is not in its stream", |journal| lose_stored(journal, 0, 0)),
        ("an acknowledged event is not at the last home of its stream", |journal| {
            let last = journal.stored[1].len().saturating_sub(1);
            lose_stored(journal, 1, last);
        }),
        ("an event is in its stream twice", |journal| {
            if let Some(stored) = journal.stored[1].first_mut() {
                let last = stored.events.last().copied();
                stored.events.extend(last);
            }
        }),
        ("two events of a stream have changed places", |journal| {
            let Some(stored) = journal.stored[0].first_mut() else { return };
            let first = stored.events.iter().flatten().next().map(|event| event.publisher);
            let of_it = |event: &Option<Event>| event.map(|e| e.publisher) == first;
            let mut places = stored.events.iter().enumerate().filter(|(_, event)| of_it(event)).map(|(place, _)| place);
            if let (Some(one), Some(other)) = (places.next(), places.next()) {
                stored.events.swap(one, other);
            }
        }),
        ("a stream holds what nobody published", |journal| {
            if let Some(stored) = journal.stored[0].first_mut() {
                stored.events.push(None);
            }
        }),
        ("an event did not come although all was healed, and nobody counted it", |journal| {
            let to = least(journal, |(_, calm)| calm);
            let count = live::slack(journal, to).1 + 1;
            let calm = journal.calm.from.clone();
            let is_calm = |e: Event, _: &mut live::Got| calm.get(e.publisher).is_some_and(|calm| e.number >= *calm);
            lose_received(journal, to, count, is_calm);
        }),
        ("an event did not come in spite of good lives, and nobody counted it", |journal| {
            let to = least(journal, |(all, _)| all);
            let count = live::slack(journal, to).0 + 1;
            let said = journal.clone();
            let compared = |e: Event, got: &mut live::Got| live::is_compared(&said, (e.publisher, to), e.number, got);
            lose_received(journal, to, count, compared);
        }),
        ("a subscriber got an event twice", |journal| {
            if let Some(of) = journal.received.first_mut() {
                let last = of.last().copied();
                of.extend(last);
            }
        }),
        ("a hub counts as missed what came", |journal| {
            let most = live::most(journal, 0);
            if let Some(said) = journal.said.first_mut() {
                said.counters.insert("flow.missed".into(), most + 1);
            }
        }),
        ("a hub has made a copy that went nowhere", |journal| {
            if let Some(said) = journal.said.first_mut() {
                *said.counters.entry("ledger.copies".into()).or_default() += 1;
            }
        }),
        ("a class of topics has a copy that went nowhere", |journal| {
            if let Some(said) = journal.said.first_mut() {
                *said.counters.entry("class.live.copies".into()).or_default() += 1;
            }
        }),
        ("a hub does not reach another", |journal| {
            if let Some(said) = journal.said.first_mut() {
                said.reaches -= 1;
            }
        }),
    ]
}

/// The lies that the judge does not see in this run.
pub(crate) fn unseen(journal: &Journal) -> Vec<&'static str> {
    let complaints = judge(journal).wrong.len();
    let seen = |lie: fn(&mut Journal)| {
        let mut told = journal.clone();
        lie(&mut told);
        judge(&told).wrong.len() > complaints
    };
    lies().into_iter().filter(|(_, lie)| !seen(*lie)).map(|(name, _)| name).collect()
}

/// Takes the first acknowledged event of a stream from one of its homes.
fn lose_stored(journal: &mut Journal, stream: usize, home: usize) {
    let Journal { stored, durable, .. } = journal;
    let Some(stored) = stored[stream].get_mut(home) else { return };
    let acknowledged = |e: &Event| durable[e.publisher][stream][e.number].fate == Fate::Acknowledged;
    let place = stored.events.iter().position(|event| event.as_ref().is_some_and(acknowledged));
    place.map(|place| stored.events.remove(place));
}

/// The subscriber at which the least can hide.
fn least(journal: &Journal, by: impl Fn((u64, u64)) -> u64) -> usize {
    (0..journal.received.len()).min_by_key(|to| by(live::slack(journal, *to))).unwrap_or(0)
}

/// Takes so many acknowledged events of this kind from one subscriber, never
/// two in a row, so that what stands around one that is lost is there.
fn lose_received(journal: &mut Journal, to: usize, count: u64, kind: impl Fn(Event, &mut live::Got) -> bool) {
    let mut lost = Vec::new();
    for publisher in 0..journal.live.len() {
        let mut got = live::order(journal, (publisher, to), &mut Verdict::default());
        let numbers: Vec<usize> = got.keys().copied().collect();
        for around in numbers.windows(3).step_by(2) {
            let event = Event { publisher, number: around[1] };
            let fate = journal.live[publisher].get(event.number).map(|published| published.fate);
            if (lost.len() as u64) < count && fate == Some(Fate::Acknowledged) && kind(event, &mut got) {
                lost.push(event);
            }
        }
    }
    if lost.len() as u64 == count {
        journal.received[to].retain(|receipt| receipt.event.is_none_or(|event| !lost.contains(&event)));
    }
}
