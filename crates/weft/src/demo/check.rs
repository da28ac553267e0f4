//! The judge: was everything that was published delivered, in order, once, and
//! is all that is missing accounted for? Knows nothing of hubs, clients or
//! clocks: it is given what happened and says what is wrong with it.
//!
//! What may be missing: an event for a live subscription may, only if it was
//! on its way while the killed hub was away, and only if that hub lies on the
//! path. Everything else must be there. What a stream acknowledged must be in
//! it, always.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use weft_topic::{Filter, Topic};

/// A moment, in nanoseconds of the same clock for all.
pub(crate) type Moment = u64;

/// An event that was published.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) topic: String,
    /// Events of one publisher must arrive in the order of their numbers.
    pub(crate) publisher: usize,
    /// The hub where it entered.
    pub(crate) hub: usize,
    /// When it was handed to the client.
    pub(crate) from: Moment,
    /// When it was acknowledged; none when it was refused or never answered.
    pub(crate) acknowledged: Option<Moment>,
    /// It was to be on disk in the stream before it was acknowledged.
    pub(crate) durable: bool,
    /// It entered the killed hub after that was back.
    pub(crate) second_life: bool,
}

/// What a live subscription got: events by number, in order of arrival.
#[derive(Clone, Debug)]
pub(crate) struct Subscriber {
    pub(crate) name: String,
    pub(crate) hub: usize,
    pub(crate) filter: Filter,
    pub(crate) received: Vec<u32>,
    /// Events that gap marks said were dropped for it.
    pub(crate) marked: u64,
}

/// What a reader of the stream got: events by number with their sequence.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub(crate) name: String,
    pub(crate) received: Vec<(u64, u32)>,
}

/// A hub that was away.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outage {
    pub(crate) hub: usize,
    /// A little before it was killed: what was on its way died with it.
    pub(crate) from: Moment,
    /// When every hub knew again what every other wants.
    pub(crate) until: Moment,
}

/// A hub's ledger, as it reports it.
#[derive(Clone, Debug, Default)]
pub(crate) struct HubLedger {
    pub(crate) name: String,
    pub(crate) published: u64,
    pub(crate) received: u64,
    pub(crate) copies: u64,
    pub(crate) delivered: u64,
    pub(crate) stored: u64,
    pub(crate) forwarded: u64,
    pub(crate) in_flight: u64,
    /// By reason, those that are not zero.
    pub(crate) dropped: Vec<(String, u64)>,
    /// Live events that the hub's receivers noticed to be missing.
    pub(crate) missed: u64,
    /// The hub died and started anew: this is its second life's.
    pub(crate) second_life: bool,
}

impl HubLedger {
    pub(crate) fn dropped_in_all(&self) -> u64 {
        self.dropped.iter().map(|(_, n)| n).sum()
    }
}

/// All that happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    pub(crate) events: Vec<Event>,
    pub(crate) subscribers: Vec<Subscriber>,
    pub(crate) readers: Vec<Reader>,
    /// Which topics the stream captures.
    pub(crate) captured: Option<Filter>,
    pub(crate) outage: Option<Outage>,
    pub(crate) ledgers: Vec<HubLedger>,
}

/// Something that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) place: String,
    pub(crate) what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// What a live subscription got of what it asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) expected: usize,
    pub(crate) received: usize,
    /// Missing: on their way while a hub was away.
    pub(crate) cut_off: usize,
}

/// Live events from other hubs that are missing at a hub that lived through it all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Missing {
    /// What the hub's receivers noticed.
    pub(crate) noticed: u64,
    /// What was sent on and is missing; the hub must have noticed exactly these.
    pub(crate) sent: u64,
    /// Entered the killed hub in its first life and died in its memory: their
    /// flow ended there, so these may be noticed or not.
    pub(crate) died: u64,
    /// Entered the killed hub when it was back and did not know yet that they
    /// are wanted here.
    pub(crate) unknown: u64,
}

/// The judgement.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) violations: Vec<Violation>,
    /// Per live subscription.
    pub(crate) tallies: Vec<Tally>,
    /// Per hub; none for the one that was killed.
    pub(crate) missing: Vec<Option<Missing>>,
    /// Events in the stream.
    pub(crate) stored: usize,
}

/// Hubs stand in a line: whether `hub` lies on the way from `a` to `b`, ends included.
fn on_the_way(hub: usize, a: usize, b: usize) -> bool {
    (a.min(b)..=a.max(b)).contains(&hub)
}

/// Judges a run.
pub(crate) fn judge(run: &Run) -> Verdict {
    let mut verdict = Verdict::default();
    every_publish_is_answered(run, &mut verdict.violations);
    for subscriber in &run.subscribers {
        let tally = one_subscriber(run, subscriber, &mut verdict.violations);
        verdict.tallies.push(tally);
    }
    for reader in &run.readers {
        verdict.stored = one_reader(run, reader, &mut verdict.violations);
    }
    readers_agree(run, &mut verdict.violations);
    for ledger in &run.ledgers {
        one_ledger(ledger, &mut verdict.violations);
    }
    for (hub, ledger) in run.ledgers.iter().enumerate() {
        let missing = (!ledger.second_life).then(|| missing_at(run, hub, ledger));
        if let Some(Missing { noticed, sent, died, .. }) = missing
            && !(sent..=sent + died).contains(&noticed)
        {
            let what = format!(
                "the hub noticed {noticed} missing live events; {sent} are missing there, and {died} died with the killed hub"
            );
            add(&mut verdict.violations, &ledger.name, what);
        }
        verdict.missing.push(missing);
    }
    verdict
}

fn add(violations: &mut Vec<Violation>, place: &str, what: String) {
    violations.push(Violation { place: place.to_owned(), what });
}

fn every_publish_is_answered(run: &Run, violations: &mut Vec<Violation>) {
    let open: Vec<usize> = (0..run.events.len()).filter(|&i| run.events[i].acknowledged.is_none()).collect();
    if let Some(first) = open.first() {
        let topic = &run.events[*first].topic;
        add(
            violations,
            "publishers",
            format!("{} events not acknowledged, the first is {first} ({topic})", open.len()),
        );
    }
}

/// Nothing twice, nothing unasked, in each publisher's order.
fn order(run: &Run, place: &str, filter: &Filter, received: &[u32], violations: &mut Vec<Violation>) -> BTreeSet<u32> {
    let mut seen = BTreeSet::new();
    let mut last: BTreeMap<usize, u32> = BTreeMap::new();
    for &number in received {
        let Some(event) = run.events.get(number as usize) else {
            add(violations, place, format!("event {number} was never published"));
            continue;
        };
        if !seen.insert(number) {
            add(violations, place, format!("event {number} ({}) came twice", event.topic));
            continue;
        }
        if !Topic::parse(&event.topic).is_ok_and(|topic| filter.matches(topic)) {
            add(violations, place, format!("event {number} ({}) is not what `{filter}` asks for", event.topic));
        }
        let last = last.entry(event.publisher).or_insert(number);
        if number < *last {
            add(violations, place, format!("event {number} ({}) came after {last} of the same publisher", event.topic));
        }
        *last = number.max(*last);
    }
    seen
}

fn matching<'a>(run: &'a Run, filter: &'a Filter) -> impl Iterator<Item = (u32, &'a Event)> {
    (0_u32..).zip(&run.events).filter(|(_, event)| Topic::parse(&event.topic).is_ok_and(|topic| filter.matches(topic)))
}

/// Whether an event may be missing at a hub because another was away.
fn cut_off(run: &Run, event: &Event, hub: usize) -> bool {
    run.outage.is_some_and(|outage| {
        let answered = event.acknowledged.unwrap_or(Moment::MAX);
        on_the_way(outage.hub, event.hub, hub) && event.from <= outage.until && answered >= outage.from
    })
}

fn one_subscriber(run: &Run, subscriber: &Subscriber, violations: &mut Vec<Violation>) -> Tally {
    let seen = order(run, &subscriber.name, &subscriber.filter, &subscriber.received, violations);
    let mut tally = Tally { received: seen.len(), ..Tally::default() };
    let mut unexplained = Vec::new();
    for (number, event) in matching(run, &subscriber.filter) {
        tally.expected += 1;
        if seen.contains(&number) {
            continue;
        }
        if cut_off(run, event, subscriber.hub) {
            tally.cut_off += 1;
        } else {
            unexplained.push(number);
        }
    }
    let marked = usize::try_from(subscriber.marked).unwrap_or(usize::MAX);
    if unexplained.len() > marked {
        let some: Vec<String> =
            unexplained.iter().take(3).map(|n| format!("{n} ({})", run.events[*n as usize].topic)).collect();
        let (missing, some) = (unexplained.len(), some.join(", "));
        let what = format!("{missing} events are missing without an account, {marked} are marked; the first: {some}");
        add(violations, &subscriber.name, what);
    }
    tally
}

fn one_reader(run: &Run, reader: &Reader, violations: &mut Vec<Violation>) -> usize {
    let Some(filter) = &run.captured else { return 0 };
    let numbers: Vec<u32> = reader.received.iter().map(|(_, number)| *number).collect();
    let seen = order(run, &reader.name, filter, &numbers, violations);
    for pair in reader.received.windows(2) {
        if pair[1].0 != pair[0].0 + 1 {
            add(violations, &reader.name, format!("sequence {} is followed by {}", pair[0].0, pair[1].0));
        }
    }
    let acknowledged = matching(run, filter).filter(|(_, event)| event.durable && event.acknowledged.is_some());
    let missing: Vec<u32> = acknowledged.map(|(number, _)| number).filter(|number| !seen.contains(number)).collect();
    if let Some(first) = missing.first() {
        let (count, topic) = (missing.len(), &run.events[*first as usize].topic);
        add(
            violations,
            &reader.name,
            format!("{count} acknowledged events are not in the stream, the first is {first} ({topic})"),
        );
    }
    seen.len()
}

/// A stream has one content, whoever reads it.
fn readers_agree(run: &Run, violations: &mut Vec<Violation>) {
    for pair in run.readers.windows(2) {
        if pair[0].received != pair[1].received {
            let at = pair[0].received.iter().zip(&pair[1].received).position(|(a, b)| a != b);
            let at = at.unwrap_or(pair[0].received.len().min(pair[1].received.len()));
            add(
                violations,
                &pair[1].name,
                format!("it differs from `{}`, from event {at} of the stream on", pair[0].name),
            );
        }
    }
}

fn one_ledger(ledger: &HubLedger, violations: &mut Vec<Violation>) {
    let ends = ledger.delivered + ledger.stored + ledger.forwarded + ledger.dropped_in_all();
    if ledger.in_flight != 0 {
        add(violations, &ledger.name, format!("{} copies are still in flight", ledger.in_flight));
    }
    if ledger.copies != ends + ledger.in_flight {
        let (copies, in_flight) = (ledger.copies, ledger.in_flight);
        add(
            violations,
            &ledger.name,
            format!("the ledger is out of balance: {copies} copies, {ends} ends, {in_flight} in flight"),
        );
    }
}

/// The live events from other hubs that somebody at `hub` asked for and nobody
/// there got. Subscriptions with gap marks say nothing here: what they miss may
/// have arrived.
fn missing_at(run: &Run, hub: usize, ledger: &HubLedger) -> Missing {
    let mut numbers: BTreeSet<u32> = BTreeSet::new();
    for subscriber in run.subscribers.iter().filter(|s| s.hub == hub && s.marked == 0) {
        let seen: BTreeSet<u32> = subscriber.received.iter().copied().collect();
        let from_others = matching(run, &subscriber.filter).filter(|(_, event)| event.hub != hub);
        numbers.extend(from_others.map(|(number, _)| number).filter(|number| !seen.contains(number)));
    }
    let mut missing = Missing { noticed: ledger.missed, ..Missing::default() };
    for event in numbers.iter().filter_map(|number| run.events.get(*number as usize)) {
        match run.outage.is_some_and(|outage| event.hub == outage.hub) {
            false => missing.sent += 1,
            true if event.second_life => missing.unknown += 1,
            true => missing.died += 1,
        }
    }
    missing
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
