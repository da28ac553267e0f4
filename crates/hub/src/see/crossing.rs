//! What crosses the links of this hub: the columns that events are counted in,
//! and the receiving ends, which the route stage keeps.
//!
//! A block counts as come when the route stage has it, so that what is lost on
//! the way there from the socket is missing too. See [`weft_mesh::crossing`].

use std::collections::BTreeMap;
use std::time::Duration;

use weft_base::sync::Arc;
use weft_base::sync::atomic::AtomicU64;
use weft_base::{HubId, Lane, Mono};
use weft_mesh::crossing::{CameEnd, Compared, CrossingError, Tally};
use weft_wire::block::Block;
use weft_wire::frame::LinkLedger;
use weft_wire::peer::PeerAddress;

use super::classes::Classes;
use crate::counters::{Counters, LinkCounters, add};
use crate::messages::SessionId;

/// The column of what is in no class, as people are shown it.
const OTHER: &str = "other";
/// The column of messages between hubs, which are no events; no class has such a name.
const MESSAGES: &str = "(messages)";
/// An alarm of one link is not told more often.
const QUIET: Duration = Duration::from_secs(1);

impl Classes {
    /// How many columns there are: one for each class, and two more.
    pub(crate) fn columns(&self) -> usize {
        self.iter().count() + 2
    }

    /// Their names.
    pub(crate) fn column_names(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(name, _)| name).chain([OTHER, MESSAGES])
    }

    /// The column of a block that was checked.
    #[inline]
    pub(crate) fn column(&self, block: Block<'_>) -> usize {
        let classes = self.iter().len();
        if PeerAddress::parse(block.topic()).is_some() {
            return classes + 1;
        }
        self.index(block.topic()).unwrap_or(classes)
    }
}

/// What crossed the links to one hub of one column, in events since the start.
#[derive(Debug, Default)]
pub(crate) struct LinkColumn {
    /// Written to the links.
    pub(crate) out: AtomicU64,
    /// Come by the links.
    pub(crate) into: AtomicU64,
    /// Written to links that ended before the other hub had said that it has them.
    pub(crate) unsure: AtomicU64,
    /// That went uncounted between the two: sent and never came, or came and were never sent.
    pub(crate) off: AtomicU64,
}

impl LinkColumn {
    /// Each count, by the name of its fact.
    pub(crate) fn each(&self) -> [(&'static str, &AtomicU64); 4] {
        [("out", &self.out), ("in", &self.into), ("unsure", &self.unsure), ("off", &self.off)]
    }
}

/// A mark, and what the net stage refused of its lane before it came.
#[derive(Debug)]
pub(crate) struct Marked {
    pub(crate) mark: LinkLedger,
    pub(crate) unread: Tally,
}

/// The receiving end of one link.
struct End {
    came: CameEnd,
    peer: Option<(String, Arc<LinkCounters>)>,
    /// When the last alarm was told.
    told: Option<Mono>,
}

/// The receiving ends of the links that are up.
#[derive(Default)]
pub(crate) struct Ends {
    links: BTreeMap<SessionId, End>,
}

impl Ends {
    fn end(&mut self, link: SessionId, from: HubId, counters: &Counters) -> &mut End {
        self.links.entry(link).or_insert_with(|| End {
            came: CameEnd::new(counters.classes.columns()),
            peer: counters.link_of(from),
            told: None,
        })
    }

    /// A block has come, which was checked.
    pub(crate) fn came(&mut self, link: SessionId, from: HubId, block: Block<'_>, counters: &Counters) {
        let (column, events) = (counters.classes.column(block), u64::from(block.event_count()));
        let end = self.end(link, from, counters);
        end.came.came(block.lane(), column, events);
        if let Some((_, link)) = &end.peer {
            add(&link.events_in, events);
            if let Some(column) = link.columns.get(column) {
                add(&column.into, events);
            }
        }
    }

    /// A mark has come. Answers the events of its lane that had come before it.
    pub(crate) fn marked(
        &mut self,
        (link, from): (SessionId, HubId),
        marked: &Marked,
        now: Mono,
        counters: &Counters,
    ) -> Result<u64, CrossingError> {
        let Marked { mark, unread } = marked;
        let alike = mark.columns == counters.classes.fingerprint();
        let end = self.end(link, from, counters);
        let compared = end.came.marked(mark.lane, mark.blocks, &mark.events, alike, unread)?;
        let came = end.came.answer(mark.lane, &mark.events, unread);
        if !compared.is_even() {
            end.alarm(mark.lane, &compared, now, counters);
        }
        Ok(came)
    }

    /// The link is over.
    pub(crate) fn forget(&mut self, link: SessionId) {
        self.links.remove(&link);
    }
}

impl End {
    fn alarm(&mut self, lane: Lane, off: &Compared, now: Mono, counters: &Counters) {
        let missing = |off: i64| u64::try_from(off).unwrap_or(0);
        let Some((peer, link)) = &self.peer else { return };
        add(&counters.ledger_alarms, 1);
        add(&link.missing_in, missing(off.events));
        add(&link.surplus_in, missing(off.events.saturating_neg()));
        // Of which class it is when the ends have others, nobody can say.
        let columns = if off.columns.is_empty() { vec![0; link.columns.len()] } else { off.columns.clone() };
        let rest = if off.columns.is_empty() { off.events } else { 0 };
        for (at, (column, off)) in link.columns.iter().zip(columns).enumerate() {
            let is_other = at + 2 == link.columns.len();
            add(&column.off, off.unsigned_abs() + if is_other { rest.unsigned_abs() } else { 0 });
        }
        if self.told.is_some_and(|told| now.since(told) < QUIET) {
            return;
        }
        self.told = Some(now);
        let worst = off.columns.iter().zip(counters.classes.column_names()).max_by_key(|(off, _)| off.unsigned_abs());
        let class = worst.filter(|(off, _)| **off != 0).map_or("all", |(_, name)| name);
        tracing::error!(
            code = "link_imbalance",
            peer,
            lane = lane.get(),
            class,
            blocks = off.blocks,
            events = off.events,
            "what the other hub sent over the link is not what came: events went uncounted, please report it with the logs of both"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::see::classes::tests::classes;

    #[test]
    fn hubs_with_the_same_classes_have_the_same_columns_and_others_have_not() {
        let own = [("gold", "orders/gold/**"), ("orders", "orders/**")];
        let same = classes(&own).fingerprint();
        assert_eq!(classes(&own).fingerprint(), same);
        let others: [&[(&str, &str)]; 5] = [
            &[],
            &[("gold", "orders/gold/**")],
            &[("orders", "orders/**"), ("gold", "orders/gold/**")],
            &[("gold", "orders/gold/*"), ("orders", "orders/**")],
            &[("golden", "orders/gold/**"), ("orders", "orders/**")],
        ];
        for other in others {
            assert_ne!(classes(other).fingerprint(), same, "{other:?}");
        }
        assert_eq!(classes(&own).column_names().collect::<Vec<_>>(), ["gold", "orders", OTHER, MESSAGES]);
    }
}
