//! What must hold of the numbers that publishers count up from 0.
//!
//! In a stream of one home they stand in order, each once. In one of several
//! homes each stands once, in the order of each home. A durable consumer gets each
//! at least once; what it has settled does not come again, but for what it
//! settled last before the home that served it stopped.
//!
//! What a hub's ledger counted in its present life must have come to an end once
//! nobody publishes, and what hubs say of a link must be the same at both ends.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// How many numbers these are: all of them from 0 on, once and in order.
pub(super) fn in_order<'a>(lines: impl Iterator<Item = &'a str>) -> Result<u64> {
    let mut next = 0;
    for line in lines {
        ensure!(line.parse() == Ok(next), "{line} stands where {next} must: lost, repeated or out of order");
        next += 1;
    }
    Ok(next)
}

/// How many numbers these are: all of them from 0 on, in any order. None when
/// some are missing; an error when one is there twice.
pub(super) fn all_once<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Option<u64>> {
    let mut numbers = lines.map(number).collect::<Result<Vec<u64>>>()?;
    numbers.sort_unstable();
    if let Some(twice) = numbers.windows(2).find(|two| two.first() == two.last()) {
        anyhow::bail!("{} stands there twice", twice.first().copied().unwrap_or(0));
    }
    let count = numbers.len() as u64;
    Ok(numbers.last().is_none_or(|last| last + 1 == count).then_some(count))
}

fn number(line: &str) -> Result<u64> {
    line.parse().with_context(|| format!("`{line}` is no number"))
}

/// What the consumer has had, and in which round last.
#[derive(Debug, Default)]
pub(super) struct Taken {
    round: u32,
    numbers: BTreeMap<u64, u32>,
}

impl Taken {
    /// Hubs were replaced since.
    pub(super) fn next_round(&mut self) {
        self.round += 1;
    }

    /// It has had and settled these.
    pub(super) fn take<'a>(&mut self, lines: impl Iterator<Item = &'a str>) -> Result<()> {
        for line in lines {
            let number = number(line)?;
            let before = self.numbers.insert(number, self.round);
            ensure!(
                before.is_none_or(|before| before + 1 >= self.round),
                "{number} was settled in round {} and comes again in round {}",
                before.unwrap_or(0),
                self.round
            );
        }
        Ok(())
    }

    /// Whether it has had all numbers below `end`.
    pub(super) fn has_all(&self, end: u64) -> bool {
        self.numbers.range(..end).count() as u64 == end
    }

    /// The first that it has not had.
    pub(super) fn missing(&self) -> u64 {
        (0..).zip(self.numbers.keys()).find(|(next, number)| next != *number).map_or(self.count(), |(next, _)| next)
    }

    /// How many different ones it has had.
    pub(super) fn count(&self) -> u64 {
        self.numbers.len() as u64
    }
}

/// What a hub says became of all copies in its present life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    copies: u64,
    delivered: u64,
    stored: u64,
    forwarded: u64,
    /// By reason, those that are not zero.
    dropped: BTreeMap<String, u64>,
    in_flight: u64,
    /// Whether it balances, as the hub itself says.
    balanced: bool,
    /// How often the hub found out that it does not; earlier hubs do not look.
    alarms: u64,
}

impl Ledger {
    /// By the counters of `weft mesh show --json`, of either program.
    pub(super) fn of(counters: &Value) -> Result<Self> {
        let counters = counters.as_object().context("no counters")?;
        let maybe = |name: &str| counters.get(name).and_then(Value::as_u64);
        let of = |name: &str| maybe(name).with_context(|| format!("no counter `{name}`"));
        let reasons = counters.iter().filter_map(|(name, count)| {
            let count = count.as_u64().filter(|count| *count > 0)?;
            Some((name.strip_prefix("ledger.dropped.")?.to_owned(), count))
        });
        Ok(Self {
            copies: of("ledger.copies")?,
            delivered: of("ledger.delivered")?,
            stored: of("ledger.stored")?,
            forwarded: of("ledger.forwarded")?,
            dropped: reasons.collect(),
            in_flight: of("ledger.in_flight")?,
            balanced: of("ledger.balanced")? == 1,
            alarms: maybe("ledger.alarms").unwrap_or(0),
        })
    }

    /// Whether each copy has come to an end.
    pub(super) fn balance(&self) -> Result<()> {
        let dropped: u64 = self.dropped.values().sum();
        let ends = self.delivered + self.stored + self.forwarded + dropped;
        ensure!(self.alarms == 0, "the hub found its ledger out of balance {} times", self.alarms);
        ensure!(self.in_flight == 0, "{} copies are in flight: {self}", self.in_flight);
        ensure!(self.copies == ends, "the ledger is out of balance by {}: {self}", self.copies.abs_diff(ends));
        ensure!(self.balanced, "the hub says that its ledger is out of balance: {self}");
        Ok(())
    }

    /// Events that came and are in streams; a life that stored none says little.
    pub(super) const fn stored(&self) -> u64 {
        self.stored
    }

    pub(super) const fn alarms(&self) -> u64 {
        self.alarms
    }

    /// Of a copy more it is not said what became of it.
    pub(super) const fn told_one_more(&mut self) {
        self.copies += 1;
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { copies, delivered, stored, forwarded, dropped, .. } = self;
        write!(f, "{copies} copies = {delivered} delivered + {stored} stored + {forwarded} forwarded")?;
        dropped.iter().try_for_each(|(reason, count)| write!(f, " + {count} dropped ({reason})"))
    }
}

/// What `weft mesh ledger --json` says of links: how many copies crossed them.
pub(super) fn crossed(said: &Value) -> Result<u64> {
    let silent = said["noAnswer"].as_array().context("it is not said who gave no answer")?;
    ensure!(silent.is_empty(), "no answer: {silent:?}");
    let mut came = 0;
    for hop in said["crossings"].as_array().context("nothing is said of links")? {
        let off = hop["offBy"].as_u64().context("it is not said by how much a link is off")?;
        if off > 0 {
            bail!("the ends of a link differ by {off}: {hop}");
        }
        came += hop["came"].as_u64().context("it is not said how many came")?;
    }
    ensure!(came > 0, "no link has carried anything");
    Ok(came)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_ledger_that_is_told_an_imbalance_does_not_pass() {
        let sound = json!({
            "ledger.copies": 10, "ledger.delivered": 1, "ledger.stored": 4, "ledger.forwarded": 2,
            "ledger.dropped.no_path": 3, "ledger.dropped.late": 0, "ledger.in_flight": 0, "ledger.balanced": 1,
        });
        let ledger = Ledger::of(&sound).unwrap();
        ledger.balance().unwrap();
        assert_eq!(ledger.to_string(), "10 copies = 1 delivered + 4 stored + 2 forwarded + 3 dropped (no_path)");
        let wrong = [
            ("ledger.copies", 11, "out of balance by 1"),
            ("ledger.stored", 3, "out of balance by 1"),
            ("ledger.in_flight", 1, "in flight"),
            ("ledger.balanced", 0, "the hub says"),
            ("ledger.alarms", 1, "1 times"),
        ];
        for (name, value, said) in wrong {
            let mut told = sound.clone();
            told[name] = value.into();
            let error = Ledger::of(&told).unwrap().balance().unwrap_err().to_string();
            assert!(error.contains(said), "{name}: {error}");
        }
        assert!(Ledger::of(&json!({"ledger.copies": 0})).is_err(), "what is not said is not zero");
    }

    #[test]
    fn ends_of_a_link_that_differ_and_hubs_that_say_nothing_do_not_pass() {
        let hop = |came: u64, off: u64| json!({"crossings": [{"came": came, "offBy": off}], "noAnswer": []});
        assert_eq!(crossed(&hop(7, 0)).unwrap(), 7);
        assert!(crossed(&hop(7, 1)).is_err() && crossed(&hop(0, 0)).is_err() && crossed(&json!({})).is_err());
        let mut silent = hop(7, 0);
        silent["noAnswer"] = json!(["denver"]);
        assert!(crossed(&silent).is_err());
    }

    #[test]
    fn what_is_lost_repeated_or_out_of_order_is_seen() {
        assert_eq!(in_order(["0", "1", "2"].into_iter()).ok(), Some(3));
        assert_eq!(in_order([].into_iter()).ok(), Some(0));
        for bad in [&["0", "2"][..], &["0", "0", "1"], &["1", "0"], &["1"], &["0", "x"]] {
            assert!(in_order(bad.iter().copied()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn at_several_homes_a_hole_is_waited_for_and_a_double_is_not() {
        assert_eq!(all_once(["2", "0", "1"].into_iter()).unwrap(), Some(3));
        assert_eq!(all_once([].into_iter()).unwrap(), Some(0));
        assert_eq!(all_once(["2", "0"].into_iter()).unwrap(), None);
        for bad in [&["0", "1", "0"][..], &["x"]] {
            assert!(all_once(bad.iter().copied()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_was_settled_may_come_again_once_a_hub_was_replaced_and_not_later() {
        let mut taken = Taken::default();
        taken.take(["0", "1", "3"].into_iter()).unwrap();
        assert!(taken.has_all(2) && !taken.has_all(4));
        assert_eq!((taken.missing(), taken.count()), (2, 3));
        taken.next_round();
        taken.take(["1", "2"].into_iter()).unwrap();
        assert!(taken.has_all(4));
        assert_eq!(taken.missing(), 4);
        taken.next_round();
        taken.take(["2"].into_iter()).unwrap();
        assert!(taken.take(["0"].into_iter()).is_err());
    }
}
