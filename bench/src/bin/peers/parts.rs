//! The parts of the run: each measures one table and prints it.
#![forbid(unsafe_code)]

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use weft_bench::latency::Pace;
use weft_bench::process::{own_cores, pin_self, single_cores};
use weft_bench::report::{CPU, MEMORY, Metric, RATE, Report};
use weft_bench::work::{Load, Peer};
use weft_bench::{machine, stats};
use weft_load::latency::Latencies;

use crate::Arguments;
use crate::crowd;
use crate::entrants::{Field, Kind};

/// A table of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// What the machine itself can do.
    Limits,
    /// One publisher, one subscriber, by size.
    OneToOne,
    /// Several publishers and subscribers.
    Shapes,
    /// Open loop at fixed rates, in both placements.
    Latency,
    /// Questions and answers.
    Request,
    /// A hundred thousand subscriptions.
    Subscriptions,
    /// One subscriber that never reads.
    Slow,
    /// Weft's urgent lane beside a bulk load.
    Lanes,
}

/// The payload of everything but the sizes' table.
pub(crate) const PAYLOAD: usize = 128;
/// Payloads of the sizes' table.
const SIZES: [usize; 4] = [16, 128, 1024, 16 << 10];
/// Publishers and subscribers of the shapes' table.
const SHAPES: [(usize, usize); 3] = [(1, 4), (4, 1), (4, 4)];
/// Rates of the latency tables, events a second.
const RATES: [u64; 2] = [10_000, 50_000];

pub(crate) const QUANTILES: [(Metric, f64); 4] = [
    (Metric { name: "p50", unit: "µs" }, 0.5),
    (Metric { name: "p99", unit: "µs" }, 0.99),
    (Metric { name: "p99.9", unit: "µs" }, 0.999),
    (Metric { name: "p99.99", unit: "µs" }, 0.9999),
];
const MAX: Metric = Metric { name: "max", unit: "µs" };

/// Where server and clients run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Placement {
    /// Wherever the scheduler puts them.
    Free,
    /// All on one core, where nobody who sleeps on another has to be woken.
    OneCore,
}

const PLACEMENTS: [Placement; 2] = [Placement::Free, Placement::OneCore];

impl Placement {
    fn name(self) -> &'static str {
        match self {
            Self::Free => "placed by the scheduler",
            Self::OneCore => "all on one core",
        }
    }
}

impl Part {
    /// Those asked for, or all, in order.
    pub(crate) fn all(only: &[Self]) -> impl Iterator<Item = Self> {
        Self::value_variants().iter().copied().filter(move |part| only.is_empty() || only.contains(part))
    }

    pub(crate) fn run(self, arguments: &Arguments, field: &mut Field, report: &mut Report) -> Result<()> {
        match self {
            Self::Limits => limits(arguments, report),
            Self::OneToOne => one_to_one(arguments, field, report),
            Self::Shapes => shapes(arguments, field, report),
            Self::Latency => latency(arguments, field, report),
            Self::Request => request(arguments, field, report),
            Self::Subscriptions => crowd::subscriptions(arguments, field, report),
            Self::Slow => crowd::slow(arguments, field, report),
            Self::Lanes => crowd::lanes(arguments, field, report),
        }
    }
}

/// The machine's own limits: what no broker can pass.
fn limits(arguments: &Arguments, report: &mut Report) -> Result<()> {
    const SECTION: &str = "the machine itself";
    const BYTES: Metric = Metric { name: "bytes", unit: "GB/s" };
    let time = Duration::from_secs_f64(arguments.seconds / 3.0);
    let [one, other] = single_cores()?;
    for _ in 0..arguments.rounds {
        let mut seen = |work: &str, rate: f64| report.record(SECTION, work, "machine", BYTES, rate / 1e9);
        seen("loopback TCP, one way, writes of 64 KiB", machine::loopback(64 << 10, time)?);
        seen("memory copy, 256 MiB", machine::memory_copy(256 << 20, time));
        seen("memory copy, 32 KiB", machine::memory_copy(32 << 10, time));
        for (name, cores) in [("ping-pong, two cores", [&one, &other]), ("ping-pong, one core", [&one, &one])] {
            quantiles(report, SECTION, name, "machine", &machine::ping_pong(PAYLOAD, time, cores)?);
        }
    }
    println!("\n## The machine itself\n\n{}", report.table(SECTION, BYTES, false));
    latency_table(report, SECTION);
    Ok(())
}

pub(crate) fn load(arguments: &Arguments, payload: usize, publishers: usize, subscribers: usize) -> Load {
    Load {
        payload,
        time: Duration::from_secs_f64(arguments.seconds),
        window: arguments.window << 20,
        window_events: arguments.window_events,
        publishers,
        subscribers,
    }
}

/// Rates, processor time and memory of one load.
fn measure(
    arguments: &Arguments,
    field: &mut Field,
    report: &mut Report,
    (section, work): (&str, &str),
    load: &Load,
    wanted: impl Fn(Kind) -> bool,
) {
    let warm = Load { time: Duration::from_millis(200), ..*load };
    let what = format!("{section}, {work}");
    field.each(report, &what, &wanted, |peer, _| peer.deliver("bench", &warm).map(drop));
    for _ in 0..arguments.rounds {
        field.each(report, &what, &wanted, |peer, report| {
            if let Some(server) = peer.server() {
                server.reset_peak()?;
            }
            let delivered = peer.deliver("bench", load)?;
            report.record(section, work, peer.name(), RATE, delivered.rate);
            report.record(section, work, peer.name(), CPU, delivered.server_cpu);
            if let Some(server) = peer.server() {
                let (_, peak) = server.memory()?;
                report.record(section, work, peer.name(), MEMORY, peak as f64 / f64::from(1 << 20));
            }
            Ok(())
        });
    }
}

fn load_tables(report: &Report, section: &str) {
    println!("\n## {section}\n");
    for (metric, lowest_is_best) in [(RATE, false), (CPU, true), (MEMORY, true)] {
        println!("{}", report.table(section, metric, lowest_is_best));
    }
}

fn one_to_one(arguments: &Arguments, field: &mut Field, report: &mut Report) -> Result<()> {
    const SECTION: &str = "1 publisher to 1 subscriber";
    for payload in SIZES {
        let load = load(arguments, payload, 1, 1);
        measure(arguments, field, report, (SECTION, &bytes(payload)), &load, |_| true);
    }
    load_tables(report, SECTION);
    Ok(())
}

fn shapes(arguments: &Arguments, field: &mut Field, report: &mut Report) -> Result<()> {
    const SECTION: &str = "Shapes, 128 B, total over subscribers";
    for (publishers, subscribers) in SHAPES {
        let work = format!("{publishers} to {subscribers}");
        let load = load(arguments, PAYLOAD, publishers, subscribers);
        measure(arguments, field, report, (SECTION, &work), &load, Kind::is_server);
    }
    load_tables(report, SECTION);
    Ok(())
}

/// `16 B`, `1 KiB`.
fn bytes(size: usize) -> String {
    if size >= 1024 && size.is_multiple_of(1024) { format!("{} KiB", size >> 10) } else { format!("{size} B") }
}

pub(crate) fn quantiles(report: &mut Report, section: &str, work: &str, peer: &str, seen: &Latencies) {
    for (metric, quantile) in QUANTILES {
        report.record(section, work, peer, metric, seen.at(quantile) as f64 / 1e3);
    }
    report.record(section, work, peer, MAX, seen.max() as f64 / 1e3);
}

/// A row per peer, a column per work, each with all its quantiles.
pub(crate) fn latency_table(report: &Report, section: &str) {
    let first = QUANTILES[0].0;
    let works = report.works(section, first);
    let head = std::iter::once("µs, p50 / p99 / p99.9 / p99.99 / max".to_owned());
    let mut table = weft_bench::table::Table::new(head.chain(works.iter().map(|w| (*w).to_owned())));
    for peer in report.entrants(section, first) {
        let cells = works.iter().map(|work| {
            let quantiles = QUANTILES.iter().map(|(metric, _)| {
                report.find(section, work, peer, *metric).map_or_else(|| "-".to_owned(), |cell| micros(cell.median))
            });
            // The longest of all rounds: a median of longest ones says nothing.
            let max = report.find(section, work, peer, MAX).map_or_else(|| "-".to_owned(), |cell| micros(cell.max));
            quantiles.chain([max]).collect::<Vec<_>>().join(" / ")
        });
        table.row(std::iter::once(peer.to_owned()).chain(cells));
    }
    println!("{table}");
}

fn micros(value: f64) -> String {
    if value < 10.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

/// Puts this process and a peer's server where the placement says, does
/// something, and lets them go again.
fn placed<T>(placement: Placement, peer: &dyn Peer, work: impl FnOnce() -> Result<T>) -> Result<T> {
    if placement == Placement::Free {
        return work();
    }
    let all = own_cores()?;
    let [one, _] = single_cores()?;
    let place = |cores| peer.server().map_or(Ok(()), |server| server.pin(cores));
    place(&one)?;
    pin_self(&one)?;
    let done = work();
    pin_self(&all)?;
    place(&all)?;
    done
}

fn latency(arguments: &Arguments, field: &mut Field, report: &mut Report) -> Result<()> {
    for placement in PLACEMENTS {
        let section = format!("Latency, {PAYLOAD} B, {}", placement.name());
        for rate in RATES {
            let work = format!("{} /s", stats::short(rate as f64));
            let pace = Pace {
                rate,
                payload: PAYLOAD,
                warm_up: Duration::from_millis(300),
                time: Duration::from_secs_f64(arguments.seconds),
                spin: false,
            };
            for _ in 0..arguments.rounds {
                field.each(
                    report,
                    &format!("{section}, {work}"),
                    |_| true,
                    |peer, report| {
                        let seen = placed(placement, peer, || peer.open_loop("bench", &pace))?;
                        quantiles(report, &section, &work, peer.name(), &seen);
                        Ok(())
                    },
                );
            }
        }
        println!("\n## {section}\n");
        latency_table(report, &section);
    }
    Ok(())
}

fn request(arguments: &Arguments, field: &mut Field, report: &mut Report) -> Result<()> {
    const SECTION: &str = "Request and reply, 128 B, one at a time";
    const TRIPS: Metric = Metric { name: "round trips", unit: "a second" };
    let time = Duration::from_secs_f64(arguments.seconds / 2.0);
    for placement in PLACEMENTS {
        for _ in 0..arguments.rounds {
            field.each(
                report,
                SECTION,
                |_| true,
                |peer, report| {
                    let seen = placed(placement, peer, || peer.round_trips("bench", PAYLOAD, time))?;
                    quantiles(report, SECTION, placement.name(), peer.name(), &seen);
                    report.record(
                        SECTION,
                        placement.name(),
                        peer.name(),
                        TRIPS,
                        seen.count() as f64 / time.as_secs_f64(),
                    );
                    Ok(())
                },
            );
        }
    }
    println!("\n## {SECTION}\n\n{}", report.table(SECTION, TRIPS, false));
    latency_table(report, SECTION);
    Ok(())
}
