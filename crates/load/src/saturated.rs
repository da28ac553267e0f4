//! What is saturated first: from the stages' counters of a hub, and the load of
//! the load generator's own threads.
//!
//! A stage that is busy all the time is the bottleneck. Where several are, the
//! one whose input waits longest is: the others are held up by it. Stages that
//! take turns on one thread are saturated together, when that thread is; then
//! the one that takes most of it is named. A hub that reports no stages leaves
//! only the load generator's own side to be judged.

use std::collections::BTreeMap;
use std::fmt;

/// Busy at least this much is saturated, in thousandths of its thread's time.
const BUSY_PERMILLE: u64 = 900;
/// The prefix of the stages' counters: `stage.NAME.METRIC`.
const PREFIX: &str = "stage.";

/// How a stage does, as far as the hub reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stage {
    /// Its name: `net`, `route`, …, or a thread's of the load generator.
    pub name: String,
    /// How much of the time it was busy, in thousandths.
    pub busy_permille: u64,
    /// How long its input waits, in microseconds.
    pub wait_us: u64,
    /// How much input waits.
    pub depth: u64,
    /// Whether it has a thread of its own, and does not take turns with others.
    pub own_thread: bool,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A stage of the hub.
    Hub(Stage),
    /// A thread of the load generator: a faster one would get more out of the hub.
    Generator(Stage),
    /// Nothing is busy all the time.
    Nothing,
    /// Nothing of the load generator is, and the hub reports no stages.
    NotReported,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub(stage) => write!(
                f,
                "the hub's stage `{}`: busy {} %, its input waits {} µs, {} waiting",
                stage.name,
                stage.busy_permille / 10,
                stage.wait_us,
                stage.depth
            ),
            Self::Generator(thread) => {
                write!(f, "the load generator's `{}`: busy {} %", thread.name, thread.busy_permille / 10)
            }
            Self::Nothing => f.write_str("nothing was busy all the time: the cores are shared, or the window is small"),
            Self::NotReported => f.write_str("not the load generator; this hub reports no stages"),
        }
    }
}

/// The stages among a hub's counters, by name. Others, and metrics that are not known here, are passed over.
#[must_use]
pub fn stages(counters: &[(String, u64)]) -> Vec<Stage> {
    let mut found: BTreeMap<&str, Stage> = BTreeMap::new();
    for (name, value) in counters {
        let Some((stage, metric)) = name.strip_prefix(PREFIX).and_then(|rest| rest.rsplit_once('.')) else { continue };
        let entry = found.entry(stage).or_insert_with(|| Stage { name: stage.to_owned(), ..Stage::default() });
        match metric {
            "busy_permille" => entry.busy_permille = *value,
            "wait_us" => entry.wait_us = *value,
            "depth" => entry.depth = *value,
            "own_thread" => entry.own_thread = *value > 0,
            _ => {}
        }
    }
    found.into_values().collect()
}

/// What saturated first, of the hub's stages and the load generator's threads.
/// A hub's stage goes before a thread that is as busy: what the hub cannot take
/// keeps the generator busy as well.
#[must_use]
pub fn first(hub: &[Stage], generator: &[Stage]) -> Verdict {
    let busiest = |stages: &[Stage]| {
        let saturated = stages.iter().filter(|stage| stage.busy_permille >= BUSY_PERMILLE);
        saturated.max_by_key(|stage| (stage.wait_us, stage.busy_permille, stage.depth)).cloned()
    };
    let taking_turns = || hub.iter().filter(|stage| !stage.own_thread);
    let together: u64 = taking_turns().map(|stage| stage.busy_permille).fold(0, u64::saturating_add);
    let turns =
        || taking_turns().filter(|_| together >= BUSY_PERMILLE).max_by_key(|stage| stage.busy_permille).cloned();
    match (busiest(hub).or_else(turns), busiest(generator)) {
        (Some(stage), _) => Verdict::Hub(stage),
        (None, Some(thread)) => Verdict::Generator(thread),
        (None, None) if hub.is_empty() => Verdict::NotReported,
        (None, None) => Verdict::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(values: &[(&str, u64)]) -> Vec<(String, u64)> {
        values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    fn thread(busy_permille: u64) -> Stage {
        Stage { name: "bench-pub".to_owned(), busy_permille, ..Stage::default() }
    }

    #[test]
    fn of_two_busy_stages_the_one_whose_input_waits_is_the_bottleneck() {
        let stages = stages(&counters(&[
            ("stage.net.busy_permille", 990),
            ("stage.net.wait_us", 20),
            ("stage.route.busy_permille", 960),
            ("stage.route.wait_us", 900),
            ("stage.route.service_ns", 70),
            ("stage.append.busy_permille", 10),
            ("blocks.delivered", 5),
        ]));
        assert_eq!(stages.len(), 3);
        let Verdict::Hub(stage) = first(&stages, &[thread(1000)]) else { panic!("not the hub") };
        assert_eq!(stage.name, "route");
    }

    #[test]
    fn of_stages_that_fill_a_thread_together_the_one_that_takes_most_is_named() {
        let mut values = vec![("stage.net.busy_permille", 600), ("stage.route.busy_permille", 350)];
        let Verdict::Hub(stage) = first(&stages(&counters(&values)), &[]) else { panic!("not the hub") };
        assert_eq!(stage.name, "net");
        // On threads of their own neither is full.
        values.extend([("stage.net.own_thread", 1), ("stage.route.own_thread", 1)]);
        assert_eq!(first(&stages(&counters(&values)), &[]), Verdict::Nothing);
    }

    #[test]
    fn a_hub_that_is_not_busy_leaves_it_to_the_load_generator() {
        let idle = stages(&counters(&[("stage.net.busy_permille", 400)]));
        assert_eq!(first(&idle, &[thread(980)]), Verdict::Generator(thread(980)));
        assert_eq!(first(&idle, &[thread(500)]), Verdict::Nothing);
    }

    #[test]
    fn a_hub_that_reports_no_stages_is_fine() {
        assert_eq!(first(&stages(&counters(&[("frames.in", 7)])), &[]), Verdict::NotReported);
    }
}
