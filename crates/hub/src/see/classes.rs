//! Classes of topics, and the ledger of each.
//!
//! Which class a topic is in is found once by the filters and then remembered,
//! in a table of words that all stages read and write without locks: each word
//! is the upper part of the topic's hash and the class. A topic that falls on
//! the word of another takes its place and is looked up again when it comes
//! again, so the table needs no bound of its own and is never wrong but where
//! two topics share 56 bits of a hash that has a secret seed.

use weft_base::sync::atomic::{AtomicU64, Ordering};
use weft_base::{HubId, Random};
use weft_mesh::ledger::{ByReason, DropReason, Ledger};
use weft_observe::layout::Unit;
use weft_observe::{Table, Value};
use weft_topic::{Filter, Topic};

use super::options::SeeOptions;
use crate::counters::get;

/// Words of the table.
const REMEMBERED: usize = 8_192;
/// The bits of a word that are the class; 0 of it says that nothing is there.
const CLASS: u64 = 0xff;
/// The class of what is in none, as a word has it.
const OTHER: u64 = CLASS;

/// The ledger of one class, since the hub's start.
#[derive(Debug)]
pub(crate) struct ClassLedger {
    pub(crate) published: Value,
    pub(crate) arrived: Value,
    pub(crate) transit: Value,
    pub(crate) copies: Value,
    pub(crate) delivered: Value,
    pub(crate) stored: Value,
    pub(crate) forwarded: Value,
    /// Copies that went to the spool: a spool is of one stream and not of one
    /// class, so what becomes of them there the hub's ledger says for all
    /// classes together.
    pub(crate) spooled: Value,
    pub(crate) in_flight: Value,
    pub(crate) dropped: ByReason<Value>,
    /// Gauge: what it is out of balance by, as far as that is an alarm.
    pub(crate) imbalance: Value,
}

impl ClassLedger {
    /// Of the class of this name; words of its own where the table has no room.
    fn of(table: &Table, class: &str) -> Self {
        let count = |what: &str| table.counter(&format!("class.{class}.{what}"), Unit::Events, None);
        let gauge = |what: &str| table.gauge(&format!("class.{class}.{what}"), Unit::Events, None);
        let mut dropped = ByReason::<Value>::default();
        for reason in DropReason::ALL {
            dropped[reason] = count(&format!("dropped.{}", reason.name()));
        }
        Self {
            published: count("published"),
            arrived: count("arrived"),
            transit: count("transit"),
            copies: count("copies"),
            delivered: count("delivered"),
            stored: count("stored"),
            forwarded: count("forwarded"),
            spooled: count("spooled"),
            in_flight: gauge("in_flight"),
            dropped,
            imbalance: gauge("imbalance"),
        }
    }

    /// The ledger at this moment. What was spooled counts as forwarded.
    pub(crate) fn ledger(&self) -> Ledger {
        let mut ledger = Ledger {
            published: get(&self.published),
            received: get(&self.arrived) + get(&self.transit),
            copies: get(&self.copies),
            delivered: get(&self.delivered),
            stored: get(&self.stored),
            forwarded: get(&self.forwarded) + get(&self.spooled),
            in_flight: get(&self.in_flight),
            ..Ledger::default()
        };
        for reason in DropReason::ALL {
            ledger.dropped[reason] = get(&self.dropped[reason]);
        }
        ledger
    }
}

/// The classes of a hub.
#[derive(Debug, Default)]
pub(crate) struct Classes {
    list: Vec<(String, Filter, ClassLedger)>,
    remembered: Box<[AtomicU64]>,
    seed: u64,
    /// What the classes are, for other hubs to compare.
    fingerprint: u64,
}

impl Classes {
    pub(crate) fn new(options: &SeeOptions, random: &mut Random, table: &Table) -> Self {
        let words = if options.classes.is_empty() { 0 } else { REMEMBERED };
        Self {
            list: options
                .classes
                .iter()
                .map(|class| (class.name.clone(), class.topics.clone(), ClassLedger::of(table, &class.name)))
                .collect(),
            remembered: (0..words).map(|_| AtomicU64::new(0)).collect(),
            seed: random.next_u64(),
            fingerprint: fingerprint(options),
        }
    }

    /// The classes by name, in the order in which they are configured.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &ClassLedger)> {
        self.list.iter().map(|(name, _, ledger)| (name.as_str(), ledger))
    }

    /// The ledger of a topic's class; none where it is in no class.
    #[inline]
    pub(crate) fn of(&self, topic: &str) -> Option<&ClassLedger> {
        self.list.get(self.index(topic)?).map(|(_, _, ledger)| ledger)
    }

    /// A number that is the same at hubs that have the same classes in the same order.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The place of a topic's class in the list; none where it is in no class.
    #[inline]
    pub(crate) fn index(&self, topic: &str) -> Option<usize> {
        if self.list.is_empty() {
            return None;
        }
        let hash = hash(self.seed, topic.as_bytes());
        // The length of the table is a power of two, and the class takes the lowest bits.
        let word = self.remembered.get((hash >> 8) as usize & (REMEMBERED - 1))?;
        let known = word.load(Ordering::Relaxed);
        let class = if known & !CLASS == hash & !CLASS && known & CLASS != 0 {
            known & CLASS
        } else {
            let class = self.find(topic);
            word.store(hash & !CLASS | class, Ordering::Relaxed);
            class
        };
        // The table says the number and one more.
        Some(class as usize - 1).filter(|class| *class < self.list.len())
    }

    fn find(&self, topic: &str) -> u64 {
        let Ok(topic) = Topic::parse(topic) else { return OTHER };
        self.list.iter().position(|(_, filter, _)| filter.matches(topic)).map_or(OTHER, |index| index as u64 + 1)
    }

    /// Bytes of the table and the ledgers.
    pub(crate) fn memory(options: &SeeOptions) -> usize {
        if options.classes.is_empty() {
            return 0;
        }
        REMEMBERED * size_of::<AtomicU64>() + options.classes.len() * (size_of::<ClassLedger>() + 512)
    }
}

/// Of the classes' names and topics, in their order. No name and no filter has
/// a line's end in it.
fn fingerprint(options: &SeeOptions) -> u64 {
    let text: String =
        options.classes.iter().map(|class| format!("{}\n{}\n", class.name, class.topics.as_str())).collect();
    HubId::of_name(&text).0
}

/// A hash of all bytes, with a seed: multiplications by an odd constant, and
/// folds.
fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let mut hash = seed ^ bytes.len() as u64;
    let mut mix = |word: u64| {
        let product = u128::from(hash ^ word) * 0x9e37_79b9_7f4a_7c15;
        hash = (product as u64) ^ (product >> 64) as u64;
    };
    let (words, rest) = bytes.as_chunks::<8>();
    words.iter().for_each(|word| mix(u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    mix(u64::from_le_bytes(last));
    mix(seed.rotate_left(32));
    hash
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::see::LedgerClass;

    /// Those with these names and topics.
    pub(in crate::see) fn classes(of: &[(&str, &str)]) -> Classes {
        let class = |(name, topics): &(&str, &str)| LedgerClass {
            name: (*name).to_owned(),
            topics: Filter::parse(topics).expect("a filter"),
        };
        let options = SeeOptions { classes: of.iter().map(class).collect(), ..SeeOptions::default() };
        Classes::new(&options, &mut Random::from_seed(7), &Table::default())
    }

    fn name_of<'a>(classes: &'a Classes, topic: &str) -> &'a str {
        let found = classes.of(topic);
        classes
            .iter()
            .find(|(_, ledger)| found.is_some_and(|found| std::ptr::eq(found, *ledger)))
            .map_or("other", |(name, _)| name)
    }

    #[test]
    fn a_topic_is_in_the_first_class_that_matches_however_often_it_is_asked() {
        let classes = classes(&[("gold", "orders/gold/**"), ("orders", "orders/**")]);
        for _ in 0..3 {
            assert_eq!(name_of(&classes, "orders/gold/1"), "gold");
            assert_eq!(name_of(&classes, "orders/1"), "orders");
            assert_eq!(name_of(&classes, "bills/1"), "other");
        }
    }

    #[test]
    fn more_topics_than_the_table_has_words_are_still_told_apart() {
        let classes = classes(&[("even", "even/*"), ("odd", "odd/*")]);
        for round in 0..2 {
            for n in 0..3 * REMEMBERED {
                let class = if n % 2 == 0 { "even" } else { "odd" };
                assert_eq!(name_of(&classes, &format!("{class}/{n}")), class, "round {round}");
            }
        }
    }

    #[test]
    fn topics_that_differ_in_one_byte_have_other_hashes() {
        let topics = (0..64).map(|at| {
            let mut topic = [b'a'; 64];
            topic[at] = b'b';
            hash(3, &topic)
        });
        let all: std::collections::BTreeSet<u64> = topics.chain([hash(3, &[b'a'; 64]), hash(3, &[b'a'; 63])]).collect();
        assert_eq!(all.len(), 66);
    }
}
