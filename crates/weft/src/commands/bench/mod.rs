//! `weft bench`: load on a hub, and what came of it.
//!
//! The rates, latencies, ramps and charts are `weft-load`'s, which the
//! benchmarks beside other brokers use as well; here are the connections, the
//! threads and the words. The load goes through `weft-client`, as that of an
//! application does.

mod engine;
mod show;
mod threads;

use std::fs::{self, File};
use std::io::{self, Write};
use std::time::Duration;

use anyhow::Context;
use futures_lite::future::block_on;
use weft_base::Lane;
use weft_client::{AckLevel, Client, StreamOptions};
use weft_load::ramp::{Broke, Ramp, RampOptions};

use self::engine::{Ends, Outcome, PATIENCE, Plan, Rate};
use crate::Usage;
use crate::cli::{BenchArgs, Level, ServerArgs};
use crate::connect::connect_for;

/// The longest step, in seconds.
const LONGEST: f64 = 3600.0;
/// The largest payload: a block must fit into a hub's default frame.
const LARGEST: usize = 4 << 20;

/// The fewest events that a step of a ramp may have.
const FEWEST: f64 = 20.0;

/// A step, and why it broke.
struct Taken {
    outcome: Outcome,
    broke: Option<Broke>,
}

/// What a ramp found.
struct Found {
    held: Option<f64>,
    broke: Option<(f64, Broke)>,
}

/// All that was measured.
struct Results {
    plan: Plan,
    hub: String,
    steps: Vec<Taken>,
    /// Of a ramp.
    found: Option<Found>,
}

pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<()> {
    let plan = plan(args)?;
    let control = block_on(connect_for(&args.server, "weft bench", Some(PATIENCE)))?;
    let hub = control.hub().map_or_else(String::new, |hub| hub.name);
    let there = match &args.subscribe_at {
        Some(address) => ServerArgs { servers: vec![address.clone()], hub: None, ..args.server.clone() },
        None => args.server.clone(),
    };
    let mut ends = Ends::connect(&plan, &args.server, &there)?;
    let stream = matches!(args.level, Level::Written | Level::Synced);
    if stream {
        let options = StreamOptions::new(ends.stream_name(), ends.filter());
        block_on(control.streams().create(&options)).context("the stream for the time being")?;
    }
    let measured = ends.settle().and_then(|()| measure(args, &plan, &mut ends, &control));
    let deleted = if stream { block_on(control.streams().delete(ends.stream_name())) } else { Ok(()) };
    // What went wrong first says more than that the stream could not be deleted then.
    let (steps, found) = measured?;
    deleted.context("the stream for the time being")?;
    let results = Results { plan, hub, steps, found };
    if let Some(path) = &args.svg {
        fs::write(path, show::svg(&results)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &args.out {
        let failed = || format!("cannot write {}", path.display());
        let mut file = File::options().append(true).create(true).open(path).with_context(failed)?;
        file.write_all(format!("{}\n", show::json(&results)).as_bytes()).with_context(failed)?;
    }
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", show::json(&results))?;
    } else {
        out.write_all(show::text(&results).as_bytes())?;
    }
    out.flush()?;
    ends.close();
    block_on(control.close());
    Ok(())
}

fn plan(args: &BenchArgs) -> Result<Plan, Usage> {
    let lanes = args
        .lane
        .iter()
        .map(|&number| Lane::new(number).ok_or_else(|| Usage(format!("lane {number} is none: 0 (most urgent) to 7"))));
    if !(8..=LARGEST).contains(&args.size) {
        return Err(Usage(format!("--size {} is not from 8 (the time in each event) to {LARGEST}", args.size)));
    }
    if !(args.seconds > 0.0 && args.seconds <= LONGEST) {
        return Err(Usage(format!("--seconds {} is not above 0 and at most {LONGEST}", args.seconds)));
    }
    for (option, rate) in [("--rate", args.rate.unwrap_or(1.0)), ("--from", args.from)] {
        if !(rate > 0.0 && rate <= 1e9) {
            return Err(Usage(format!("{option} {rate} is no rate: above 0 and at most a thousand million a second")));
        }
    }
    if !(args.p99 > 0.0 && args.p99 <= 60_000.0) {
        return Err(Usage(format!("--p99 {} is not above 0 and at most 60000 ms", args.p99)));
    }
    Ok(Plan {
        publishers: args.shape.publishers,
        subscribers: args.shape.subscribers,
        size: args.size,
        lanes: lanes.collect::<Result<_, _>>()?,
        level: AckLevel::from(args.level),
        window: args.window.max(1),
        time: Duration::from_secs_f64(args.seconds),
    })
}

type Measured = anyhow::Result<(Vec<Taken>, Option<Found>)>;

fn measure(args: &BenchArgs, plan: &Plan, ends: &mut Ends, control: &Client) -> Measured {
    if args.ramp { ramp(args, plan, ends, control) } else { one(args, plan, ends, control) }
}

/// One step at the rate that was asked for.
fn one(args: &BenchArgs, plan: &Plan, ends: &mut Ends, control: &Client) -> Measured {
    let rate = args.rate.map_or(Rate::Most, Rate::Fixed);
    let outcome = ends.step(plan, rate, control)?;
    Ok((vec![Taken { outcome, broke: None }], None))
}

/// Steps until the breaking point is known.
fn ramp(args: &BenchArgs, plan: &Plan, ends: &mut Ends, control: &Client) -> Measured {
    let options = RampOptions { first: args.from, p99: (args.p99 * 1e6) as u64, ..RampOptions::default() };
    let mut ramp = Ramp::new(options);
    let mut steps = Vec::new();
    // A step with hardly an event says nothing: a ramp that goes down ends there.
    while let Some(rate) = ramp.next().filter(|rate| rate * args.seconds >= FEWEST) {
        let outcome = ends.step(plan, Rate::Fixed(rate), control)?;
        let broke = ramp.observe(outcome.step(rate));
        let word = broke.as_ref().map_or_else(|| "holds".to_owned(), ToString::to_string);
        eprintln!("{} events/s: {word}", weft_load::curve::rate(rate));
        steps.push(Taken { outcome, broke });
    }
    let broke = ramp.broke().map(|(step, why)| (step.offered, *why));
    Ok((steps, Some(Found { held: ramp.held().map(|step| step.offered), broke })))
}
