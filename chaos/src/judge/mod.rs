//! What journals must say. Pure, so that it can be shown lies: see [`lies`].
//!
//! **Streams**: at each home each acknowledged event once, nothing twice,
//! nothing that nobody published; at a single home each publisher's in order.
//! **Live**: in order, nothing twice (but what a killed hub's client sent
//! again), and what is missing has been counted by the subscriber's hub, event
//! by event; where that cannot be known, it lies where a hub was away: [`live`].
//! **Hubs**: ledgers balance, and each reaches each.

mod lies;
mod live;
mod streams;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

pub(crate) use lies::{lies, unseen};

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

/// What a stream holds at one of its homes, in its order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stored {
    pub(crate) events: Vec<Option<Event>>,
    /// Events that the hub says it cannot serve.
    pub(crate) missing: u64,
}

/// What a hub says of itself.
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

    /// Both sides of the hub's ledger and of that of each class of topics:
    /// copies made, and accounted for.
    pub(crate) fn ledgers(&self) -> Vec<(String, u64, u64)> {
        let own = self.ledger("ledger.", self.sum("in_flight."));
        let classes = self.counters.keys().filter_map(|name| name.strip_prefix("class.")?.strip_suffix(".copies"));
        let of = |class: &str| {
            let prefix = format!("class.{class}.");
            let (copies, accounted) = self.ledger(&prefix, self.get(&format!("{prefix}in_flight")));
            (format!(" of class {class}"), copies, accounted)
        };
        std::iter::once((String::new(), own.0, own.1)).chain(classes.map(of)).collect()
    }

    fn ledger(&self, prefix: &str, in_flight: u64) -> (u64, u64) {
        let done = ["delivered", "stored", "forwarded"].map(|name| self.get(&format!("{prefix}{name}")));
        let accounted = done.iter().sum::<u64>() + self.sum(&format!("{prefix}dropped.")) + in_flight;
        (self.get(&format!("{prefix}copies")), accounted)
    }

    /// Whether all of them balance.
    pub(crate) fn balances(&self) -> bool {
        self.ledgers().iter().all(|(_, copies, accounted)| copies == accounted)
    }

    /// Events that the hub knows to have been sent to it and not to have come in their turn.
    pub(crate) fn missed(&self) -> u64 {
        self.get("flow.missed")
    }

    /// Events that its subscribers ought to have got and did not.
    pub(crate) fn counted(&self) -> u64 {
        self.missed() + self.get("ledger.dropped.subscriber_full")
    }
}

/// A hub was killed.
#[derive(Clone, Debug)]
pub(crate) struct Kill {
    pub(crate) hub: usize,
    /// When it was asked for its counters; what it counted after that is lost.
    pub(crate) asked: Duration,
    pub(crate) at: Duration,
    /// What it said; none when it did not answer.
    pub(crate) said: Option<Said>,
}

/// What was known when all was healed and events came from each hub to each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calm {
    /// By publisher: all from this number on were published later.
    pub(crate) from: Vec<usize>,
    /// By hub: what it had counted by then.
    pub(crate) counted: Vec<u64>,
}

/// All journals of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    pub(crate) live: Vec<Vec<Published>>,
    pub(crate) durable: Vec<[Vec<Published>; 2]>,
    /// By stream, and by home.
    pub(crate) stored: [Vec<Stored>; 2],
    /// By subscriber.
    pub(crate) received: Vec<Vec<Receipt>>,
    /// When events first came from each hub to each, in each of the meshes there were.
    pub(crate) settled: Duration,
    pub(crate) calm: Calm,
    /// By hub: which of the meshes it is in that are apart at the start.
    pub(crate) sides: Vec<usize>,
    pub(crate) kills: Vec<Kill>,
    /// By hub: what it said at the end.
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
    pub(crate) missing_calm: u64,
    pub(crate) counted: u64,
    /// Of what was counted, what is not among the missing ones that must be: it was missed where lives have borders.
    pub(crate) slack: u64,
    pub(crate) wrong: Vec<String>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "streams: {} published, {} acknowledged as synced, {} refused; {} in the streams at their homes",
            self.durable_published, self.durable_acknowledged, self.durable_refused, self.stored
        )?;
        writeln!(
            f,
            "live: {} published, {} due at subscribers, {} received, {} of them again after their hub was killed",
            self.live_published, self.live_due, self.live_received, self.again
        )?;
        write!(
            f,
            "live and missing: {} before hubs knew of each other, {} while the subscriber's hub was away, \
             {} around the kill of a hub, {} others and {} once all was healed; subscribers' hubs counted {}, \
             {} of them where hubs were away",
            self.missing_apart,
            self.missing_away,
            self.missing_killed,
            self.missing_counted,
            self.missing_calm,
            self.counted,
            self.slack
        )
    }
}

/// Judges a run.
pub(crate) fn judge(journal: &Journal) -> Verdict {
    let mut verdict = Verdict::default();
    for stream in 0..2 {
        streams::judge(journal, stream, &mut verdict);
    }
    for to in 0..journal.received.len() {
        live::judge(journal, to, &mut verdict);
    }
    verdict.live_published = journal.live.iter().map(|of| of.len() as u64).sum();
    for (hub, said) in journal.said.iter().enumerate() {
        for (class, copies, accounted) in said.ledgers() {
            if copies != accounted {
                verdict.wrong.push(format!("hub {hub} made {copies} copies{class} and accounts for {accounted}"));
            }
        }
        if said.reaches != journal.live.len() {
            verdict.wrong.push(format!("hub {hub} reaches {} hubs of {}", said.reaches, journal.live.len()));
        }
    }
    verdict
}

#[cfg(test)]
mod tests;
