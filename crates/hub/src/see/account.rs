//! Where a stage counts what becomes of a block's copies: the hub's ledger,
//! that of the block's class, and the block's record in the window.

use weft_base::Lane;
use weft_base::sync::atomic::{AtomicU64, Ordering};
use weft_mesh::ledger::DropReason;
use weft_wire::block::{Block, Stamp};

use super::classes::ClassLedger;
use super::window::Record;
use crate::counters::{Counters, add, sub};
use crate::messages::Forward;

/// Where copies wait inside a hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// Between the route and the net stage.
    Net,
    /// For a subscriber.
    Subscribers,
    /// For a link.
    Links,
    /// For the append stage.
    Append,
    /// Until a stream at another hub has acknowledged them.
    Flows,
}

/// The ledgers that a block counts in.
#[derive(Clone, Copy)]
pub(crate) struct Account<'a> {
    counters: &'a Counters,
    class: Option<&'a ClassLedger>,
    record: Option<(Block<'a>, &'a Record)>,
    lane: Option<Lane>,
}

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        $($(#[$doc])*
        #[inline]
        pub(crate) fn $name(&self, n: u64) {
            add(&self.counters.$name, n);
            if let Some(class) = self.class {
                add(&class.$name, n);
            }
        })+
    };
}

impl Counters {
    /// The ledgers of a block that was checked. Finds them once: ask for each
    /// block, not for each copy.
    #[inline]
    pub(crate) fn account<'a>(&'a self, block: &'a [u8]) -> Account<'a> {
        let block = Block::trusted(block);
        let (class, record) = (self.classes.of(block.topic()), self.window.find(block).map(|record| (block, record)));
        Account { counters: self, class, record, lane: Some(block.lane()) }
    }

    /// Its ledgers without its record: for where it begins and ends to wait, which
    /// outlives the block in hand.
    #[inline]
    pub(crate) fn account_of_waiting(&self, block: &[u8]) -> Account<'_> {
        let block = Block::trusted(block);
        Account { counters: self, class: self.classes.of(block.topic()), record: None, lane: Some(block.lane()) }
    }

    /// A block was to leave over a link, and does not: its copies are dropped, or,
    /// as a second copy, which is none of the ledger's, it is counted by itself.
    pub(crate) fn drop_forward(&self, forward: &Forward, reason: DropReason) {
        self.account(&forward.block).drop(reason, forward.live_copies);
        if forward.second > 0 {
            add(&self.second_dropped[reason], forward.second);
        }
    }

    /// The hub's ledger alone: for what is in no class, because it is no event
    /// or was never checked.
    #[inline]
    pub(crate) fn account_of_none(&self) -> Account<'_> {
        Account { counters: self, class: None, record: None, lane: None }
    }
}

impl<'a> Account<'a> {
    /// What it counts in.
    pub(crate) fn counters(&self) -> &'a Counters {
        self.counters
    }

    /// Events that a client of this hub published.
    #[inline]
    pub(crate) fn published(&self, n: u64) {
        add(&self.counters.published, n);
        if let Some(lane) = self.lane {
            add(&self.counters.lanes[lane.index()], n);
        }
        if let Some(class) = self.class {
            add(&class.published, n);
        }
    }

    counts! {
        /// Events that came over a link, for this hub.
        arrived,
        /// Copies that came over a link, for another hub.
        transit,
    }

    /// Copies were made here.
    #[inline]
    pub(crate) fn copies(&self, n: u64) {
        add(&self.counters.copies, n);
        if let Some(class) = self.class {
            add(&class.copies, n);
        }
        if let Some((_, record)) = self.record {
            record.copies.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// Copies were written to subscribers.
    #[inline]
    pub(crate) fn delivered(&self, n: u64) {
        self.ended(n, &self.counters.delivered, |class| &class.delivered, |record| &record.delivered);
        if let Some((block, record)) = self.record {
            let now = self.counters.wall();
            record.delivered_at.store(now, Ordering::Relaxed);
            self.counters.traces.ended(block, record, now);
        }
    }

    /// Copies were appended to streams here.
    #[inline]
    pub(crate) fn stored(&self, n: u64) {
        self.ended(n, &self.counters.stored, |class| &class.stored, |record| &record.stored);
        if let Some((block, record)) = self.record {
            let now = self.counters.wall();
            record.stored_at.store(now, Ordering::Relaxed);
            self.counters.traces.ended(block, record, now);
        }
    }

    /// Copies were written to a link, or a stream at another hub has them.
    #[inline]
    pub(crate) fn forwarded(&self, n: u64) {
        self.ended(n, &self.counters.forwarded, |class| &class.forwarded, |record| &record.forwarded);
    }

    /// The block was written to the link to this hub.
    #[inline]
    pub(crate) fn sent_to(&self, hub: u64) {
        if let Some((block, record)) = self.record {
            let now = self.counters.wall();
            record.sent_to(hub, now);
            self.counters.traces.ended(block, record, now);
        }
    }

    /// The stamp of the block, if it is traced.
    #[inline]
    pub(crate) fn traced(&self) -> Option<Stamp> {
        self.record.filter(|(_, record)| record.is_traced()).and_then(|(block, _)| block.stamp())
    }

    /// It entered a stream here, under the home sequence `first`.
    #[inline]
    pub(crate) fn placed(&self, stream: u64, home: u64, first: u64) {
        if let Some((_, record)) = self.record {
            record.placed(stream, home, first);
        }
    }

    fn ended(
        &self,
        n: u64,
        all: &AtomicU64,
        of_class: fn(&ClassLedger) -> &AtomicU64,
        of_record: fn(&Record) -> &AtomicU64,
    ) {
        add(all, n);
        if let Some(class) = self.class {
            add(of_class(class), n);
        }
        if let Some((_, record)) = self.record {
            of_record(record).fetch_add(n, Ordering::Relaxed);
        }
    }

    /// Copies were dropped.
    #[inline]
    pub(crate) fn drop(&self, reason: DropReason, n: u64) {
        self.counters.drop_copies(reason, n);
        if let Some(class) = self.class {
            add(&class.dropped[reason], n);
        }
        if let Some((block, record)) = self.record
            && n > 0
        {
            record.dropped(reason, n);
            self.counters.traces.lost(block, record, reason, self.counters.wall());
        }
    }

    /// Copies begin to wait.
    #[inline]
    pub(crate) fn enter(&self, place: Waits, n: u64) {
        add(self.gauge(place), n);
        if let Some(class) = self.class {
            add(&class.in_flight, n);
        }
    }

    /// Copies wait there no longer: say before this what became of them.
    #[inline]
    pub(crate) fn leave(&self, place: Waits, n: u64) {
        sub(self.gauge(place), n);
        if let Some(class) = self.class {
            sub(&class.in_flight, n);
        }
    }

    /// Copies that waited for the append stage lie in the spool now.
    pub(crate) fn spooled(&self, n: u64) {
        add(&self.counters.waiting_spool, n);
        if let Some(class) = self.class {
            add(&class.spooled, n);
        }
        if let Some((_, record)) = self.record {
            record.spooled.fetch_add(n, Ordering::Relaxed);
        }
    }

    fn gauge(&self, place: Waits) -> &AtomicU64 {
        match place {
            Waits::Net => &self.counters.waiting_net,
            Waits::Subscribers => &self.counters.waiting_subscribers,
            Waits::Links => &self.counters.waiting_links,
            Waits::Append => &self.counters.waiting_append,
            Waits::Flows => &self.counters.waiting_flows,
        }
    }
}
