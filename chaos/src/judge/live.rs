//! What a live subscriber must have got.
//!
//! A hub numbers the live events that it sends to another hub, in each pair of
//! their lives, and the other hub counts what is missing when it sees a later
//! number (`flow.missed`). So between two events that a subscriber got of the
//! same lives, as many are missing as its hub has counted: neither more nor
//! fewer. At the borders of lives nothing can be compared, and what is missing
//! there is told apart by what the border is.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Fate, Journal, Kill, Said, Verdict};

/// How long other hubs may take to hear that a subscriber is back, while what they sent before still comes:
/// as long as what waits for the narrowest line here.
const LEARNT: Duration = Duration::from_secs(5);
/// How long a client may take to write down what its hub had sent before it was killed.
const WRITTEN_DOWN: Duration = Duration::from_secs(2);

/// By number: when it came first, and in which life of the subscriber.
pub(super) type Got = BTreeMap<usize, (Duration, u32)>;

/// Why an event did not come.
enum Why {
    /// Their hubs did not know of each other yet.
    Apart,
    /// The subscriber had lost its hub.
    Away,
    /// A hub was killed, at whose border the event lies.
    Killed,
    /// None of these: the subscriber's hub must have counted it.
    Counted,
    /// The same, and it was published when all was healed.
    Calm,
}

/// Judges what one subscriber got.
pub(super) fn judge(journal: &Journal, to: usize, verdict: &mut Verdict) {
    let received = &journal.received[to];
    let foreign = received.iter().filter(|receipt| receipt.event.is_none()).count();
    if foreign > 0 {
        verdict.wrong.push(format!("the subscriber at hub {to} got {foreign} events that were never published so"));
    }
    let sums = sums(journal, to, verdict);
    verdict.live_due += sums.due;
    verdict.missing_apart += sums.apart;
    verdict.missing_away += sums.away;
    verdict.missing_killed += sums.killed;
    verdict.missing_counted += sums.counted;
    verdict.missing_calm += sums.calm;
    counts(journal, to, &sums, verdict);
}

/// What is missing at one subscriber.
#[derive(Default)]
struct Sums {
    due: u64,
    apart: u64,
    away: u64,
    killed: u64,
    counted: u64,
    calm: u64,
    /// The events that must have been counted: publisher, first and last number in a row, when the first was published.
    which: Vec<(usize, usize, usize, Duration)>,
    /// All that did not come, whatever its publisher was told; and what may have been sent twice.
    not_received: u64,
    perhaps_twice: u64,
}

/// How much more a subscriber's hub has counted than is missing: in all, and since all was healed.
/// It is what was missed where lives have borders, and hides as much.
pub(super) fn slack(journal: &Journal, to: usize) -> (u64, u64) {
    let sums = sums(journal, to, &mut Verdict::default());
    let (counted, calm) = counted(journal, to);
    (counted.saturating_sub(sums.counted + sums.calm), calm.saturating_sub(sums.calm))
}

/// How many events a hub may at most have counted as missed.
pub(super) fn most(journal: &Journal, to: usize) -> u64 {
    let sums = sums(journal, to, &mut Verdict::default());
    sums.not_received + sums.perhaps_twice
}

fn sums(journal: &Journal, to: usize, verdict: &mut Verdict) -> Sums {
    let mut sums = Sums::default();
    for from in 0..journal.live.len() {
        let got = order(journal, (from, to), verdict);
        missing(journal, (from, to), &got, &mut sums);
    }
    sums
}

/// What a hub said in all its lives.
fn all_said(journal: &Journal, hub: usize) -> impl Iterator<Item = &Said> {
    let before = journal.kills.iter().filter(move |kill| kill.hub == hub).filter_map(|kill| kill.said.as_ref());
    before.chain(journal.said.get(hub))
}

/// What a hub has counted: in all, and since all was healed.
fn counted(journal: &Journal, hub: usize) -> (u64, u64) {
    let at_the_end = journal.said.get(hub).map_or(0, Said::counted);
    let before = journal.calm.counted.get(hub).copied().unwrap_or(0);
    (all_said(journal, hub).map(Said::counted).sum(), at_the_end.saturating_sub(before))
}

/// Holds what is missing against what the subscriber's hub has counted.
fn counts(journal: &Journal, to: usize, sums: &Sums, verdict: &mut Verdict) {
    let (counted, calm) = counted(journal, to);
    verdict.counted += counted;
    let missing = sums.counted + sums.calm;
    if missing > counted {
        let which = sums
            .which
            .iter()
            .map(|(from, first, last, at)| format!("{first} to {last} of hub {from} ({:.3} s)", at.as_secs_f64()));
        let which = which.collect::<Vec<_>>().join(", ");
        verdict
            .wrong
            .push(format!("{missing} live events did not come to hub {to}, which has counted {counted}: {which}"));
    }
    if sums.calm > calm {
        let late = sums.calm;
        verdict.wrong.push(format!(
            "{late} live events did not come to hub {to} although all was healed, and it has counted {calm} since"
        ));
    }
    let missed: u64 = all_said(journal, to).map(Said::missed).sum();
    let most = sums.not_received + sums.perhaps_twice;
    if missed > most {
        verdict.wrong.push(format!("hub {to} counts {missed} live events as missed, and at most {most} are missing"));
    }
    verdict.slack += counted.saturating_sub(missing);
}

/// Whether the client of a killed hub may have sent an event again, not knowing whether the hub had it.
fn may_be_again(journal: &Journal, from: usize, number: usize) -> bool {
    let Some(publish) = journal.live.get(from).and_then(|of| of.get(number)) else { return false };
    let killed =
        |kill: &Kill| kill.hub == from && publish.at <= kill.at && publish.answered.is_none_or(|at| at >= kill.at);
    journal.kills.iter().any(killed)
}

/// Judges the order of what came from one publisher; answers when each number came first, and in which life.
pub(super) fn order(journal: &Journal, (from, to): (usize, usize), verdict: &mut Verdict) -> Got {
    let mut got = Got::new();
    let (mut newest, mut disordered) = (None, Vec::new());
    let of = |event: super::Event| (event.publisher == from).then_some(event.number);
    for (number, receipt) in journal.received[to].iter().filter_map(|r| Some((r.event.and_then(of)?, r))) {
        verdict.live_received += 1;
        if number >= journal.live[from].len() {
            verdict.wrong.push(format!("hub {to} got number {number} of hub {from}, which was not published"));
            continue;
        }
        if newest >= Some(number) {
            match may_be_again(journal, from, number) {
                true => verdict.again += 1,
                false => disordered.push(number),
            }
        }
        newest = newest.max(Some(number));
        got.entry(number).or_insert((receipt.at, receipt.life));
    }
    if let Some(first) = disordered.first() {
        let count = disordered.len();
        verdict.wrong.push(format!(
            "{count} live events of hub {from} came to hub {to} twice or behind later ones, the first is number {first}"
        ));
    }
    got
}

/// Sorts what did not come from one publisher to one subscriber.
fn missing(journal: &Journal, (from, to): (usize, usize), got: &Got, sums: &mut Sums) {
    for (number, publish) in journal.live[from].iter().enumerate() {
        let is_due = publish.fate == Fate::Acknowledged;
        sums.due += u64::from(is_due);
        if got.contains_key(&number) {
            sums.perhaps_twice += u64::from(may_be_again(journal, from, number));
            continue;
        }
        sums.not_received += 1;
        if !is_due {
            continue;
        }
        match why(journal, (from, to), number, got) {
            Why::Apart => sums.apart += 1,
            Why::Away => sums.away += 1,
            Why::Killed => sums.killed += 1,
            Why::Counted => {
                sums.counted += 1;
                match sums.which.last_mut() {
                    Some((of, _, last, _)) if *of == from && *last + 1 == number => *last = number,
                    _ => sums.which.push((from, number, number, publish.at)),
                }
            }
            Why::Calm => sums.calm += 1,
        }
    }
}

/// When a subscriber got the first event in this life.
fn back_since(journal: &Journal, to: usize, life: u32) -> Duration {
    let received = &journal.received[to];
    received.get(received.partition_point(|receipt| receipt.life < life)).map_or(Duration::MAX, |receipt| receipt.at)
}

/// Whether an event that came would have to be counted if it had not.
pub(super) fn is_compared(journal: &Journal, (from, to): (usize, usize), number: usize, got: &mut Got) -> bool {
    let Some(first) = got.remove(&number) else { return false };
    let is_compared = matches!(why(journal, (from, to), number, got), Why::Counted);
    got.insert(number, first);
    is_compared
}

/// Why an event did not come, by the events around it that did.
fn why(journal: &Journal, (from, to): (usize, usize), number: usize, got: &Got) -> Why {
    if journal.calm.from.get(from).is_some_and(|calm| number >= *calm) {
        return Why::Calm;
    }
    let lives = journal.received[to].last().map_or(0, |receipt| receipt.life);
    let before = got.range(..number).next_back();
    let after = got.range(number..).next();
    let is_early = journal.live[from].get(number).is_some_and(|publish| publish.at < journal.settled);
    if before.is_none() && (is_early || journal.sides.get(from) != journal.sides.get(to)) {
        return Why::Apart;
    }
    if before.map_or(0, |(_, (_, life))| *life) != after.map_or(lives, |(_, (_, life))| *life) {
        return Why::Away;
    }
    // It is back, and what comes was sent before its hub had left: others do not know of it again.
    let published = |number: usize| journal.live[from].get(number);
    let learnt = |life: u32| back_since(journal, to, life).saturating_add(LEARNT);
    if before.is_some_and(|(_, (_, life))| *life > 0 && published(number).is_some_and(|p| p.at <= learnt(*life))) {
        return Why::Away;
    }
    // Its publisher's hub was killed between the two: its next life knows nothing of this one's numbers.
    let border = |kill: &Kill| {
        let earlier = before.and_then(|(number, _)| published(*number)).is_none_or(|p| p.at <= kill.at);
        let later = after.and_then(|(number, _)| published(*number));
        let later = later.and_then(|p| p.answered).is_none_or(|answered| answered >= kill.asked);
        kill.hub == from && earlier && later
    };
    // Its subscriber's hub was killed before anybody could ask what it had counted.
    let uncounted = |kill: &Kill| {
        let seen = |at: Duration| at <= kill.at + WRITTEN_DOWN && (at >= kill.asked || kill.said.is_none());
        kill.hub == to && after.is_none_or(|(_, (at, _))| seen(*at))
    };
    if journal.kills.iter().any(|kill| border(kill) || uncounted(kill)) { Why::Killed } else { Why::Counted }
}
