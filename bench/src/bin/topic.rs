//! Topics: how many look-ups a second an interest set answers, what a filter
//! costs in memory, and what a snapshot and one change to it cost.
//! `cargo xtask bench topic`
//!
//! One thread, no I/O: what counts is the time that it ran on a processor, so
//! other work on the machine disturbs little but the caches. Half of the topics
//! looked up come from the filters, half are drawn anew, in random order: no
//! topic is looked up twice in a row, as if no route were ever cached. Memory is
//! what a fresh process grew by, the allocator's own cost included. The last column
//! is of an aggregate that takes the same filters in, once.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::env;
use std::fs;
use std::hint::black_box;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use rustix::time::{ClockId, clock_gettime};
use weft_base::Random;
use weft_bench::alloc::{Counting, counted};
use weft_bench::machine;
use weft_bench::stats::{Runs, short, with_range};
use weft_bench::table::Table;
use weft_topic::{Aggregate, Filter, InterestSet, Topic};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Look-ups of an interest set, its memory, and the cost of a snapshot.
#[derive(Parser)]
struct Arguments {
    /// Numbers of filters.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000_000, 10_000, 10])]
    filters: Vec<usize>,
    /// Topics looked up in each run.
    #[arg(long, default_value_t = 200_000)]
    topics: usize,
    /// Runs; the table shows their medians.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Says only what memory a filter of this work takes, with the first number
    /// of filters; the program calls itself so, for a process without a past.
    #[arg(long, hide = true)]
    memory_of: Option<String>,
}

/// A kind of topics, and how the filters for them are made.
struct Work {
    name: &'static str,
    what: &'static str,
    topic: fn(&mut Random) -> String,
    filter: fn(&mut Random, &str) -> String,
}

const WORKS: [Work; 2] = [
    Work {
        name: "flights",
        what: "topics flights/KIND/FROM/TO/NUMBER, of 4, 400, 400 and 1,000 names; filters: 50 % literal, 25 % one \
               `*`, 5 % up to two, 15 % ending in `**`, 5 % `**/TO/NUMBER`",
        topic: |random| {
            let kind = ["departed", "arrived", "delayed", "cancelled"][random.below(4) as usize];
            format!("flights/{kind}/P{:03}/P{:03}/F{:04}", random.below(400), random.below(400), random.below(1000))
        },
        filter: |random, topic| {
            let mut levels: Vec<&str> = topic.split('/').collect();
            let stars = match random.below(100) {
                0..50 => 0,
                50..75 => 1,
                75..80 => 2,
                80..95 => {
                    levels[4] = "**";
                    0
                }
                _ => return format!("**/{}/{}", levels[3], levels[4]),
            };
            for _ in 0..stars {
                levels[1 + random.below(4) as usize] = "*";
            }
            levels.join("/")
        },
    },
    Work {
        name: "sensors",
        what: "topics sensors/DEVICE/KIND, of 2,000,000 and 3 names; filters: 70 % literal, 15 % sensors/DEVICE/*, \
               15 % sensors/DEVICE/**",
        topic: |random| {
            let kind = ["temperature", "humidity", "position"][random.below(3) as usize];
            format!("sensors/device-{:07}/{kind}", random.below(2_000_000))
        },
        filter: |random, topic| {
            let device = topic.rsplit_once('/').map_or(topic, |(device, _)| device);
            match random.below(100) {
                0..70 => topic.to_owned(),
                70..85 => format!("{device}/*"),
                _ => format!("{device}/**"),
            }
        },
    },
];

/// How long this thread has run.
fn ran() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

/// How long `work` ran, in seconds, and its answer.
fn timed<R>(work: impl FnOnce() -> R) -> (f64, R) {
    let start = ran();
    let answer = work();
    ((ran() - start).as_secs_f64(), answer)
}

/// Bytes of memory that this process holds.
fn resident() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the system does not say VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024.0)
}

/// What one size of a work showed.
#[derive(Default)]
struct Seen {
    build: Runs,
    memory: f64,
    look_ups: Runs,
    any: Runs,
    found: f64,
    change: Runs,
    change_bytes: f64,
    cover: f64,
}

/// Different filters, each with the topic that it was made for.
fn make(work: &Work, count: usize, random: &mut Random) -> Result<Vec<(Filter, String)>> {
    let mut made = Vec::with_capacity(count);
    let mut known = HashSet::with_capacity(count);
    while made.len() < count {
        let topic = (work.topic)(random);
        let filter = Filter::parse(&(work.filter)(random, &topic))?;
        if known.insert(filter.clone()) {
            made.push((filter, topic));
        }
    }
    Ok(made)
}

fn build(filters: &[(Filter, String)]) -> InterestSet<u64> {
    let mut set = InterestSet::new();
    for (number, (filter, _)) in filters.iter().enumerate() {
        set.insert(filter, number as u64);
    }
    set
}

/// Bytes that this process grows by for each filter.
fn memory(work: &Work, count: usize) -> Result<f64> {
    let filters = make(work, count, &mut Random::from_seed(1))?;
    // Making the filters left free memory behind: a first set takes it, so that the second one's is new.
    let first = build(&filters);
    let before = resident()?;
    let set = build(&filters);
    let grown = resident()? - before;
    drop(first);
    ensure!(set.len() == count, "the set has {} filters of {count}", set.len());
    Ok(grown / count as f64)
}

/// The same, of a process that has not given memory back before.
fn memory_afresh(work: &Work, count: usize) -> Result<f64> {
    let mut command = Command::new(env::current_exe()?);
    let output = command.args(["--memory-of", work.name, "--filters", &count.to_string()]).output()?;
    ensure!(output.status.success(), "measuring memory failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

fn measure(work: &Work, count: usize, arguments: &Arguments) -> Result<Seen> {
    let mut random = Random::from_seed(1);
    let filters = make(work, count, &mut random)?;
    let own = filters.iter().map(|(_, topic)| topic.clone()).cycle().take(arguments.topics / 2);
    let mut texts: Vec<String> = own.collect();
    texts.resize_with(arguments.topics, || (work.topic)(&mut random));
    random.shuffle(&mut texts);
    let topics = texts.iter().map(|text| Topic::parse(text)).collect::<Result<Vec<_>, _>>()?;
    let others: Vec<Filter> = (0..1000).map(|_| Filter::parse(&(work.topic)(&mut random))).collect::<Result<_, _>>()?;

    let mut seen = Seen { memory: memory_afresh(work, count)?, ..Seen::default() };
    for _ in 0..arguments.runs {
        let (time, set) = timed(|| build(&filters));
        ensure!(set.len() == count, "the set has {} filters of {count}", set.len());
        seen.build.push(time);
        look_up(&set, &topics, &mut seen)?;
        let ((time, ()), allocations) = counted(|| timed(|| change(&set, &others)));
        seen.change.push(time * 1e6 / others.len() as f64);
        seen.change_bytes = allocations.bytes as f64 / others.len() as f64;
    }
    let (time, set) = timed(|| {
        let mut set = Aggregate::new();
        for (filter, _) in &filters {
            let _ = black_box(set.insert(filter));
        }
        set
    });
    ensure!(set.len() == count, "the aggregate has {} filters of {count}", set.len());
    seen.cover = time * 1e9 / count as f64;
    Ok(seen)
}

fn look_up(set: &InterestSet<u64>, topics: &[Topic<'_>], seen: &mut Seen) -> Result<()> {
    let mut found = 0u64;
    let ((time, ()), allocations) =
        counted(|| timed(|| topics.iter().for_each(|topic| set.for_each_match(*topic, |_| found += 1))));
    ensure!(allocations.count == 0, "look-ups allocated {} times", allocations.count);
    seen.look_ups.push(topics.len() as f64 / time);
    seen.found = found as f64 / topics.len() as f64;
    let (time, any) = timed(|| topics.iter().filter(|topic| set.matches_any(**topic)).count());
    ensure!(any > 0, "nothing was found");
    seen.any.push(topics.len() as f64 / time);
    Ok(())
}

/// Takes a snapshot and changes it, once for each filter.
fn change(set: &InterestSet<u64>, others: &[Filter]) {
    for (number, filter) in others.iter().enumerate() {
        let mut snapshot = set.clone();
        snapshot.insert(filter, number as u64);
        black_box(snapshot);
    }
}

/// Compares a set with a search of the list, so that no figure is of wrong answers.
fn check(work: &Work) -> Result<()> {
    let mut random = Random::from_seed(2);
    let filters = make(work, 2000, &mut random)?;
    let set = build(&filters);
    for (_, topic) in &filters {
        let topic = Topic::parse(topic)?;
        let mut found = Vec::new();
        set.for_each_match(topic, |&n| found.push(n));
        found.sort_unstable();
        let wanted = (0..).zip(&filters).filter(|(_, (filter, _))| filter.matches(topic)).map(|(n, _)| n);
        ensure!(wanted.eq(found.iter().copied()), "{topic} finds {found:?}");
    }
    Ok(())
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(name) = &arguments.memory_of {
        let work = WORKS.iter().find(|work| work.name == name).context("there is no such work")?;
        println!("{}", memory(work, *arguments.filters.first().context("how many filters?")?)?);
        return Ok(());
    }
    println!("{}", machine::line());
    println!(
        "{} topics a run, half of them from the filters, in random order; medians of {} runs (lowest to highest); \
         times are of the processor",
        arguments.topics, arguments.runs
    );
    for work in &WORKS {
        check(work)?;
        println!("\n{}: {}\n", work.name, work.what);
        let mut table = Table::new([
            "filters",
            "look-ups/s, all matches",
            "found each",
            "look-ups/s, any match",
            "build, s",
            "B/filter",
            "clone + insert, µs",
            "B",
            "aggregate, ns/filter",
        ]);
        for &count in &arguments.filters {
            let seen = measure(work, count, &arguments)?;
            table.row([
                short(count as f64),
                with_range(&seen.look_ups),
                format!("{:.2}", seen.found),
                with_range(&seen.any),
                format!("{:.6}", seen.build.median()),
                if count < 10_000 { "-".to_owned() } else { short(seen.memory) },
                with_range(&seen.change),
                short(seen.change_bytes),
                short(seen.cover),
            ]);
        }
        print!("{table}");
    }
    Ok(())
}
