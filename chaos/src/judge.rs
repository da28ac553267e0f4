//! What journals must say. Pure, so that it can be shown lies: see [`lies`].
//!
//! **Streams**: each acknowledged event once, nothing twice, each publisher's in
//! order, nothing that nobody published. **Live**: in order, nothing twice (but
//! what a killed hub's client sent again), and what is missing has been counted
//! by a hub, was published while the subscriber's hub was away or in a mesh that
//! did not know of it, or died in the memory of a killed hub; once all is healed nothing may be missing at all.
//! **Hubs**: ledgers balance, and each reaches each.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// What may be in a killed hub's memory: acknowledged as routed, and not sent yet.
const IN_MEMORY: Duration = Duration::from_secs(2);

/// What became of a publish at its publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Open,
    Acknowledged,
    Refused,
}

/// A publish. Times count from the start of the run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Published {
    pub(crate) at: Duration,
    pub(crate) answered: Option<Duration>,
    pub(crate) fate: Fate,
}

/// An event, by the hub that it was published at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Event {
    pub(crate) publisher: usize,
    pub(crate) number: usize,
}

/// An event that a live subscriber got; none: one that nobody published so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Receipt {
    pub(crate) event: Option<Event>,
    pub(crate) at: Duration,
    /// How often the subscriber had lost its hub by then.
    pub(crate) life: u32,
}

/// What a stream holds, in its order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stored {
    pub(crate) events: Vec<Option<Event>>,
    /// Events that the hub says it cannot serve.
    pub(crate) missing: u64,
}

/// What a hub said at the end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    /// Hubs that it can reach, itself too.
    pub(crate) reaches: usize,
    pub(crate) counters: BTreeMap<String, u64>,
}

impl Said {
    fn sum(&self, prefix: &str) -> u64 {
        self.counters.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, value)| value).sum()
    }

    fn get(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or(0)
    }

    /// Both sides of the ledger: copies made, and accounted for.
    pub(crate) fn ledger(&self) -> (u64, u64) {
        let done = ["ledger.delivered", "ledger.stored", "ledger.forwarded"].map(|name| self.get(name));
        let accounted = done.iter().sum::<u64>() + self.sum("ledger.dropped.") + self.sum("in_flight.");
        (self.get("ledger.copies"), accounted)
    }

    /// Live copies that this hub counted as not delivered. One dropped because
    /// nobody was known to want it may be missing at every subscriber.
    fn counted(&self, subscribers: u64) -> u64 {
        let unwanted = self.get("ledger.dropped.no_interest");
        self.sum("ledger.dropped.") - unwanted + unwanted * subscribers + self.get("flow.missed")
    }
}

/// All journals of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    pub(crate) live: Vec<Vec<Published>>,
    pub(crate) durable: Vec<[Vec<Published>; 2]>,
    pub(crate) stored: [Stored; 2],
    /// By subscriber.
    pub(crate) received: Vec<Vec<Receipt>>,
    /// By publisher: all from this number on were published when all was healed.
    pub(crate) calm: Vec<usize>,
    /// By hub: which of the meshes it is in that are apart at the start.
    pub(crate) sides: Vec<usize>,
    /// Hubs that were killed, and when.
    pub(crate) kills: Vec<(usize, Duration)>,
    /// What hubs last said before they were killed, and at the end.
    pub(crate) before: Vec<Said>,
    pub(crate) said: Vec<Said>,
}

/// The judgement: figures, and what is wrong.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) durable_published: u64,
    pub(crate) durable_acknowledged: u64,
    pub(crate) durable_refused: u64,
    pub(crate) stored: u64,
    pub(crate) live_published: u64,
    pub(crate) live_due: u64,
    pub(crate) live_received: u64,
    pub(crate) again: u64,
    pub(crate) missing_apart: u64,
    pub(crate) missing_away: u64,
    pub(crate) missing_killed: u64,
    pub(crate) missing_counted: u64,
    pub(crate) counted: u64,
    pub(crate) wrong: Vec<String>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "streams: {} published, {} acknowledged as synced, {} refused; {} in the streams",
            self.durable_published, self.durable_acknowledged, self.durable_refused, self.stored
        )?;
        writeln!(
            f,
            "live: {} published, {} due at subscribers, {} received, {} of them again after their hub was killed",
            self.live_published, self.live_due, self.live_received, self.again
        )?;
        write!(
            f,
            "live and missing: {} before two meshes knew of each other, {} while the subscriber's hub was away, \
             {} died with a killed hub, {} others; hubs counted {}",
            self.missing_apart, self.missing_away, self.missing_killed, self.missing_counted, self.counted
        )
    }
}

/// Judges a run.
pub(crate) fn judge(journal: &Journal) -> Verdict {
    let mut verdict = Verdict::default();
    for stream in 0..2 {
        streams(journal, stream, &mut verdict);
    }
    for to in 0..journal.received.len() {
        live(journal, to, &mut verdict);
    }
    verdict.live_published = journal.live.iter().map(|of| of.len() as u64).sum();
    let subscribers = journal.received.len() as u64;
    verdict.counted = journal.before.iter().chain(&journal.said).map(|said| said.counted(subscribers)).sum();
    if verdict.missing_counted > verdict.counted {
        let (missing, counted) = (verdict.missing_counted, verdict.counted);
        verdict.wrong.push(format!("{missing} live events are missing, and hubs have counted {counted}"));
    }
    for (hub, said) in journal.said.iter().enumerate() {
        let (copies, accounted) = said.ledger();
        if copies != accounted {
            verdict.wrong.push(format!("hub {hub} made {copies} copies and accounts for {accounted}"));
        }
        if said.reaches != journal.live.len() {
            verdict.wrong.push(format!("hub {hub} reaches {} hubs of {}", said.reaches, journal.live.len()));
        }
    }
    verdict
}

fn streams(journal: &Journal, stream: usize, verdict: &mut Verdict) {
    let stored = &journal.stored[stream];
    let mut times: BTreeMap<Event, u32> = BTreeMap::new();
    let mut last: BTreeMap<usize, usize> = BTreeMap::new();
    let (mut foreign, mut disordered) = (0u64, 0u64);
    for event in &stored.events {
        let known = event.filter(|e| journal.durable.get(e.publisher).is_some_and(|of| e.number < of[stream].len()));
        let Some(event) = known else {
            foreign += 1;
            continue;
        };
        *times.entry(event).or_default() += 1;
        let newest = last.entry(event.publisher).or_insert(event.number);
        disordered += u64::from(*newest > event.number);
        *newest = event.number.max(*newest);
    }
    let mut lost = Vec::new();
    for (publisher, of) in journal.durable.iter().enumerate() {
        for (number, published) in of[stream].iter().enumerate() {
            verdict.durable_published += 1;
            verdict.durable_acknowledged += u64::from(published.fate == Fate::Acknowledged);
            verdict.durable_refused += u64::from(published.fate == Fate::Refused);
            if published.fate == Fate::Acknowledged && !times.contains_key(&Event { publisher, number }) {
                lost.push((publisher, number, published.at));
            }
        }
    }
    verdict.stored += stored.events.len() as u64;
    let twice = times.values().filter(|count| **count > 1).count();
    let mut wrong = |count: u64, what: &str| {
        if count > 0 {
            verdict.wrong.push(format!("stream {stream}: {count} events {what}"));
        }
    };
    wrong(lost.len() as u64, "that were acknowledged as synced are not there");
    wrong(twice as u64, "are there more than once");
    wrong(disordered, "are behind later ones of their publisher");
    wrong(foreign, "were never published so");
    wrong(stored.missing, "cannot be served");
    if let Some((publisher, number, at)) = lost.first() {
        let at = at.as_secs_f64();
        verdict
            .wrong
            .push(format!("stream {stream}: the first lost one is number {number} of hub {publisher}, of {at:.3} s"));
    }
}

/// Judges what one subscriber got.
fn live(journal: &Journal, to: usize, verdict: &mut Verdict) {
    let received = &journal.received[to];
    let foreign = received.iter().filter(|receipt| receipt.event.is_none()).count();
    if foreign > 0 {
        verdict.wrong.push(format!("the subscriber at hub {to} got {foreign} events that were never published so"));
    }
    for (from, published) in journal.live.iter().enumerate() {
        let mut got = BTreeMap::new();
        let (mut newest, mut disordered) = (None, Vec::new());
        let of = |receipt: &Receipt| receipt.event.filter(|event| event.publisher == from).map(|event| event.number);
        for (number, receipt) in received.iter().filter_map(|receipt| Some((of(receipt)?, receipt))) {
            verdict.live_received += 1;
            let Some(publish) = published.get(number) else {
                verdict.wrong.push(format!("hub {to} got number {number} of hub {from}, which was not published"));
                continue;
            };
            if newest >= Some(number) {
                // Its client did not know whether the killed hub had it, and sent it again.
                let killed = |(hub, at): &(usize, Duration)| {
                    *hub == from && publish.at <= *at && publish.answered.is_none_or(|answered| answered >= *at)
                };
                match journal.kills.iter().any(killed) {
                    true => verdict.again += 1,
                    false => disordered.push(number),
                }
            }
            newest = newest.max(Some(number));
            got.entry(number).or_insert(receipt.life);
        }
        if let Some(first) = disordered.first() {
            let count = disordered.len();
            verdict.wrong.push(format!(
                "{count} live events of hub {from} came to hub {to} twice or behind later ones, the first is number {first}"
            ));
        }
        missing(journal, (from, to), &got, verdict);
    }
}

/// Judges what did not come from one publisher to one subscriber; `got` has each number's life.
fn missing(journal: &Journal, (from, to): (usize, usize), got: &BTreeMap<usize, u32>, verdict: &mut Verdict) {
    let lives = journal.received[to].last().map_or(0, |receipt| receipt.life);
    let calm = journal.calm.get(from).copied().unwrap_or(usize::MAX);
    let mut late = BTreeSet::new();
    for (number, publish) in journal.live[from].iter().enumerate() {
        if publish.fate != Fate::Acknowledged {
            continue;
        }
        verdict.live_due += 1;
        if got.contains_key(&number) {
            continue;
        }
        let before = got.range(..number).next_back().map_or(0, |(_, life)| *life);
        let after = got.range(number..).next().map_or(lives, |(_, life)| *life);
        let killed = |(hub, at): &(usize, Duration)| *hub == from && publish.at <= *at && publish.at + IN_MEMORY >= *at;
        let strangers = journal.sides.get(from) != journal.sides.get(to) && got.range(..number).next().is_none();
        if number >= calm {
            late.insert(number);
        } else if strangers {
            verdict.missing_apart += 1;
        } else if before != after {
            verdict.missing_away += 1;
        } else if journal.kills.iter().any(killed) {
            verdict.missing_killed += 1;
        } else {
            verdict.missing_counted += 1;
        }
    }
    if let Some(first) = late.first() {
        let count = late.len();
        verdict.wrong.push(format!(
            "{count} events of hub {from}, from number {first} on, did not come to hub {to} although all was healed"
        ));
    }
}

/// A lie: its name, and how it is told.
pub(crate) type Lie = (&'static str, fn(&mut Journal));

/// Lies that the judge must see: each changes the journals of a good run in one place.
pub(crate) fn lies() -> [Lie; 9] {
    [
        ("an acknowledged event is not in its stream", |journal| {
            let acknowledged = |e: &Event| journal.durable[e.publisher][0][e.number].fate == Fate::Acknowledged;
            let place = journal.stored[0].events.iter().position(|event| event.as_ref().is_some_and(acknowledged));
            place.map(|place| journal.stored[0].events.remove(place));
        }),
        ("an event is in its stream twice", |journal| {
            let last = journal.stored[1].events.last().copied();
            journal.stored[1].events.extend(last);
        }),
        ("two events of a stream have changed places", |journal| {
            let events = &mut journal.stored[0].events;
            let first = events.iter().flatten().next().map(|event| event.publisher);
            let of_it = |event: &Option<Event>| event.map(|e| e.publisher) == first;
            let mut places = events.iter().enumerate().filter(|(_, event)| of_it(event)).map(|(place, _)| place);
            if let (Some(one), Some(other)) = (places.next(), places.next()) {
                events.swap(one, other);
            }
        }),
        ("a stream holds what nobody published", |journal| journal.stored[0].events.push(None)),
        ("an event did not come although all was healed", |journal| {
            let calm = journal.calm.clone();
            let place =
                journal.received[0].iter().rposition(|r| r.event.is_some_and(|e| e.number >= calm[e.publisher]));
            place.map(|place| journal.received[0].remove(place));
        }),
        ("a subscriber got an event twice", |journal| {
            let last = journal.received[0].last().copied();
            journal.received[0].extend(last);
        }),
        ("many events are missing that nobody counted", |journal| {
            // One publisher's first events never came, as often as hubs have counted any and once more.
            let counted = judge(journal).counted as usize;
            let already = judge(journal).missing_counted as usize;
            let good = Published { at: Duration::ZERO, answered: Some(Duration::ZERO), fate: Fate::Acknowledged };
            let shift = counted.saturating_sub(already) + 1;
            // As if it had published so many more before all others.
            journal.kills.clear();
            journal.live[0].splice(0..0, std::iter::repeat_n(good, shift));
            journal.calm[0] += shift;
            for receipt in journal.received.iter_mut().flatten() {
                if let Some(event) = receipt.event.as_mut().filter(|event| event.publisher == 0) {
                    event.number += shift;
                }
            }
        }),
        ("a hub has made a copy that went nowhere", |journal| {
            *journal.said[0].counters.entry("ledger.copies".into()).or_default() += 1;
        }),
        ("a hub does not reach another", |journal| journal.said[0].reaches -= 1),
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

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
