//! Counters that users declare: events that clients of this hub publish on topics of
//! a filter, in all or by one level of the topic.
//!
//! Which of them a topic counts in is found when its route is, and kept with that:
//! per block it is one addition for each, and nothing for a topic of none.
//!
//! Bounded: a counter tells `limit` values of the level apart; what comes beyond
//! them, and what cannot stand in a name, counts as `other`.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_observe::layout::Unit;
use weft_observe::{Table, Value};
use weft_topic::{Filter, Topic};

/// What is not told apart.
const OTHER: &str = "other";
/// The longest value of a level that is told apart, in bytes.
const LONGEST: usize = 48;

/// A counter that a user declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    /// What it is called: a label, and unique. Its values are `metric.NAME` in the
    /// table, or `metric.NAME.VALUE`.
    pub name: String,
    /// The topics whose events it counts.
    pub filter: Filter,
    /// The level of the topic by whose values events are told apart, from 0.
    pub by: Option<usize>,
    /// The most values that are told apart, 1 to [`MAX_VALUES`].
    pub limit: usize,
}

/// The most of [`super::SeeOptions::metrics`].
pub const MAX_METRICS: usize = 32;
/// The most of [`Metric::limit`].
pub const MAX_VALUES: usize = 256;

/// The counters of a hub.
#[derive(Debug, Default)]
pub(crate) struct Business {
    /// As they are configured.
    of: Arc<[Metric]>,
    metrics: Vec<(Metric, BTreeMap<String, Value>)>,
    table: Arc<Table>,
}

impl Business {
    pub(crate) fn new(of: &Arc<[Metric]>, table: &Arc<Table>) -> Self {
        let metrics = of.iter().map(|metric| (metric.clone(), BTreeMap::new()));
        let mut business = Self { of: of.clone(), metrics: metrics.collect(), table: table.clone() };
        // There from the start, at 0, where there is one value alone.
        for (metric, values) in &mut business.metrics {
            if metric.by.is_none() {
                let name = format!("metric.{}", metric.name);
                values.insert(String::new(), table.counter(&name, Unit::Events, None));
            }
        }
        business
    }

    /// Others may be configured: what is the same goes on with its values. What is gone
    /// counts no more; its last values stay in the table, as all names do.
    pub(crate) fn renew(&mut self, of: &Arc<[Metric]>) {
        if Arc::ptr_eq(of, &self.of) {
            return;
        }
        let known = std::mem::take(self);
        *self = Self::new(of, &known.table);
        for (metric, values) in &mut self.metrics {
            if let Some((_, before)) = known.metrics.iter().find(|(before, _)| before == metric) {
                values.clone_from(before);
            }
        }
    }

    /// What the events of a topic count in.
    pub(crate) fn of(&mut self, topic: Topic<'_>) -> Box<[Value]> {
        let table = &self.table;
        let matching = self.metrics.iter_mut().filter(|(metric, _)| metric.filter.matches(topic));
        let value = |(metric, values): &mut (Metric, BTreeMap<String, Value>)| {
            let value = metric.by.map_or("", |by| topic.as_str().split('/').nth(by).unwrap_or(OTHER));
            let is_told = value.len() <= LONGEST && !value.chars().any(char::is_control);
            // One more for `other`, which is always told.
            let is_known = values.contains_key(value) || values.len() < metric.limit;
            let value = if is_told && is_known { value } else { OTHER };
            let dot = if value.is_empty() { "" } else { "." };
            let make = || table.counter(&format!("metric.{}{dot}{value}", metric.name), Unit::Events, None);
            values.entry(value.to_owned()).or_insert_with(make).clone()
        };
        matching.map(value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::{add, get};

    fn metric(name: &str, filter: &str, by: Option<usize>, limit: usize) -> Metric {
        Metric { name: name.to_owned(), filter: Filter::parse(filter).expect("a filter"), by, limit }
    }

    fn counted(table: &Table) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        table.each(|name, _, look| {
            all.insert(name.to_owned(), look.number());
        });
        all
    }

    #[test]
    fn events_count_where_their_topic_matches_by_the_level_and_as_other_beyond_the_limit() {
        let table = Arc::new(Table::default());
        let metrics = [metric("orders", "orders/**", Some(1), 2), metric("all", "**", None, 1)].into();
        let mut business = Business::new(&metrics, &table);
        assert_eq!(counted(&table), [("metric.all".to_owned(), 0)].into(), "what has one value is there at once");
        let long = format!("orders/{}", "x".repeat(LONGEST + 1));
        for topic in ["orders/eu/1", "orders/us/1", "orders/eu/2", "orders/asia/1", "orders", "bills/1", &long] {
            let topic = Topic::parse(topic).expect("a topic");
            business.of(topic).iter().for_each(|value| add(value, 10));
        }
        let expected =
            [("metric.all", 70), ("metric.orders.eu", 20), ("metric.orders.other", 30), ("metric.orders.us", 10)];
        assert_eq!(counted(&table), expected.map(|(name, n)| (name.to_owned(), n)).into());
        assert!(business.of(Topic::parse("bills/1").expect("a topic")).iter().all(|value| get(value) == 70));
    }

    #[test]
    fn others_take_their_place_and_one_that_is_the_same_goes_on() {
        let table = Arc::new(Table::default());
        let mut business =
            Business::new(&[metric("orders", "orders/**", Some(1), 1), metric("all", "**", None, 1)].into(), &table);
        let publish = |business: &mut Business, topic: &str| {
            business.of(Topic::parse(topic).expect("a topic")).iter().for_each(|value| add(value, 1));
        };
        publish(&mut business, "orders/eu");
        let next: Arc<[Metric]> =
            [metric("orders", "orders/**", Some(1), 1), metric("bills", "bills/**", None, 1)].into();
        business.renew(&next);
        for topic in ["orders/us", "orders/eu", "bills/1"] {
            publish(&mut business, topic);
        }
        business.renew(&next);
        publish(&mut business, "bills/2");
        let expected = [("metric.all", 1), ("metric.bills", 2), ("metric.orders.eu", 2), ("metric.orders.other", 1)];
        assert_eq!(counted(&table), expected.map(|(name, n)| (name.to_owned(), n)).into());
    }
}
