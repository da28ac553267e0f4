//! The alarm of the ledger: the hub's own and those of its classes are read at
//! each turn of the control stage, and what stays out of balance is said.

use std::time::Duration;

use weft_base::Mono;

use super::SeeOptions;
use super::watch::{Reading, Turn, Watch};
use crate::counters::{Counters, add, get, set};

/// The watches of a hub.
pub(crate) struct Alarm {
    /// Of the hub's ledger, then of each class.
    watches: Vec<Watch>,
    after: Duration,
}

impl Alarm {
    pub(crate) fn new(options: &SeeOptions) -> Self {
        Self { watches: vec![Watch::default(); options.classes.len() + 1], after: options.alarm_after }
    }

    /// Reads all ledgers once.
    pub(crate) fn turn(&mut self, counters: &Counters, now: Mono) {
        let mut watches = self.watches.iter_mut();
        let Some(all) = watches.next() else { return };
        let reading = reading(|| counters.ledger().accounted(), || get(&counters.copies));
        tell("all", all.read(reading, now, self.after), counters);
        for (watch, (class, ledger)) in watches.zip(counters.classes.iter()) {
            let reading = reading_of(ledger);
            tell(class, watch.read(reading, now, self.after), counters);
            set(&ledger.imbalance, watch.alarm().unsigned_abs());
        }
        let most = self.watches.iter().map(|watch| watch.alarm().unsigned_abs()).max().unwrap_or(0);
        set(&counters.ledger_imbalance, most);
    }
}

fn reading(accounted: impl Fn() -> u64, made: impl Fn() -> u64) -> Reading {
    let before = accounted();
    let made = made();
    Reading::new(before, made, accounted())
}

fn reading_of(ledger: &super::classes::ClassLedger) -> Reading {
    reading(|| ledger.ledger().accounted(), || get(&ledger.copies))
}

fn tell(class: &str, turn: Option<Turn>, counters: &Counters) {
    match turn {
        Some(Turn::Imbalance(copies)) => {
            add(&counters.ledger_alarms, 1);
            tracing::error!(
                code = "ledger_imbalance",
                class,
                hop = "hub",
                copies,
                "copies of events went uncounted inside this hub: a bug, please report it with the log"
            );
        }
        Some(Turn::Balanced) => {
            tracing::info!(code = "ledger_balanced", class, hop = "hub", "the ledger balances again");
        }
        None => {}
    }
}
