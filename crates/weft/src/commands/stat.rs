//! `weft stat`: what a hub has counted and measured, read from the file that it
//! has mapped. The hub is not asked and need not answer: it may hang, be stopped,
//! or be dead. Nothing that the file says is believed (`weft_observe::reading`).

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};
use weft_base::{Clock, Mono, SystemClock, UnixNanos};
use weft_observe::layout::Unit;
use weft_observe::place::{FILE, file_of};
use weft_observe::reading::Datum;
use weft_observe::snapshot::{SHOWN, Snapshot};
use weft_observe::{Reading, reading::Shown};

use crate::cli::StatArgs;
use crate::time::{rfc3339, show_nanos};

/// A hub looks at its stages ten times a second, whatever it does: one that has
/// not for so long hangs.
const HANGS: Duration = Duration::from_secs(2);

/// Where to read.
enum Which {
    Process(u32),
    File(PathBuf),
}

impl Which {
    fn of(text: &str) -> Self {
        let path = Path::new(text);
        match text.parse() {
            Ok(process) if !path.exists() => Self::Process(process),
            _ if path.is_dir() => Self::File(path.join(FILE)),
            _ => Self::File(path.to_owned()),
        }
    }

    fn read(&self) -> anyhow::Result<Reading> {
        Ok(match self {
            Self::Process(process) => Reading::of_process(*process)?,
            Self::File(path) => Reading::of_file(path)?,
        })
    }
}

/// How it goes with the process that wrote a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Runs,
    /// It runs and has done nothing for long.
    Hangs,
    /// Somebody stopped it: SIGSTOP, or a debugger.
    Stopped,
    /// It ended in good order.
    Ended,
    /// It is not there and had not said that it ends.
    Dead,
}

impl Standing {
    fn of(reading: &Reading, now: UnixNanos) -> Self {
        if reading.ended {
            return Self::Ended;
        }
        // Another process may have its number by now: only a hub has such a file mapped. Who
        // may not be asked is looked at all the same.
        let is_gone = match file_of(reading.process) {
            Ok(_) => false,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if is_gone {
            return Self::Dead;
        }
        let stat = fs::read_to_string(format!("/proc/{}/stat", reading.process)).unwrap_or_default();
        match stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()) {
            Some('T' | 't') => Self::Stopped,
            Some('Z' | 'X') => Self::Dead,
            _ if now.0.saturating_sub(reading.beat.0) > HANGS.as_nanos() as u64 => Self::Hangs,
            _ => Self::Runs,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Runs => "runs",
            Self::Hangs => "hangs",
            Self::Stopped => "stopped",
            Self::Ended => "ended",
            Self::Dead => "dead",
        }
    }
}

pub(crate) fn run(args: &StatArgs) -> anyhow::Result<()> {
    let which = Which::of(&args.which);
    let clock = SystemClock::new();
    let mut out = io::stdout().lock();
    let mut before: Option<(Mono, Reading)> = None;
    let mut left = if args.watch.is_some() { args.times.unwrap_or(u64::MAX) } else { 1 };
    loop {
        let (now, reading) = (clock.now(), which.read()?);
        let standing = Standing::of(&reading, now.wall);
        // A hub that was started again begins at 0.
        let since = before.filter(|(_, before)| (before.process, before.start) == (reading.process, reading.start));
        let since = since.as_ref().map(|(then, reading)| (now.mono - *then, reading));
        if args.json {
            writeln!(out, "{}", object(&reading, standing, since, now.wall, &args.only))?;
        } else {
            table(&reading, standing, since, (now.wall, args), &mut out)?;
        }
        out.flush()?;
        left = left.saturating_sub(1);
        // Of one that is gone nothing comes any more.
        let Some(every) = args.watch.filter(|_| left > 0) else { return Ok(()) };
        if matches!(standing, Standing::Ended | Standing::Dead) {
            return Ok(());
        }
        before = Some((now.mono, reading));
        std::thread::sleep(every);
    }
}

/// A value, and what it was the time before.
fn pairs<'a>(
    reading: &'a Reading,
    before: Option<&'a Reading>,
    only: &'a str,
) -> impl Iterator<Item = (&'a Shown, Option<&'a Shown>)> {
    // Entries are only added, so what was there before has the same place.
    let was = move |at: usize| before.and_then(|before| before.values.get(at));
    let all = reading.values.iter().enumerate().map(move |(at, value)| (value, was(at)));
    all.filter(move |(value, _)| value.name.starts_with(only) && !matches!(value.datum, Datum::Beat(_)))
}

/// How much a counter grew per second.
fn rate(value: &Datum, before: Option<&Shown>, took: Duration) -> Option<f64> {
    match (value, before.map(|before| &before.datum)) {
        (Datum::Counter(now), Some(Datum::Counter(then))) => {
            Some(now.wrapping_sub(*then) as f64 / took.as_secs_f64().max(1e-9))
        }
        _ => None,
    }
}

/// What a histogram recorded since then, or all in all.
fn recorded(snapshot: &Snapshot, before: Option<&Shown>) -> Snapshot {
    match before.map(|before| &before.datum) {
        Some(Datum::Histogram(before)) => snapshot.since(before).unwrap_or_else(|_| snapshot.clone()),
        _ => snapshot.clone(),
    }
}

/// A value as people read it.
fn human(value: u64, unit: Unit) -> String {
    match unit {
        Unit::Nanoseconds => show_nanos(value),
        Unit::UnixNanoseconds => rfc3339(UnixNanos(value)),
        unit if unit.text().is_empty() => value.to_string(),
        unit => format!("{value} {}", unit.text()),
    }
}

fn table(
    reading: &Reading,
    standing: Standing,
    since: Option<(Duration, &Reading)>,
    (now, args): (UnixNanos, &StatArgs),
    out: &mut impl Write,
) -> io::Result<()> {
    let age = show_nanos(now.0.saturating_sub(reading.beat.0));
    let how = match standing {
        Standing::Runs => format!("runs: did something {age} ago"),
        Standing::Hangs => format!("hangs: did nothing for {age}"),
        Standing::Stopped => format!("is stopped (SIGSTOP or a debugger): did nothing for {age}"),
        Standing::Ended => format!("ended in good order {age} ago"),
        Standing::Dead => format!("was killed or has crashed: did something {age} ago for the last time"),
    };
    writeln!(
        out,
        "hub `{}`, weft {}, process {}, started {}\n{how}",
        reading.hub,
        reading.program,
        reading.process,
        rfc3339(reading.start)
    )?;
    if reading.left_out > 0 || reading.unknown > 0 {
        writeln!(
            out,
            "{} values have no room in the file; {} are of a kind that this program does not know",
            reading.left_out, reading.unknown
        )?;
    }
    let head = if since.is_some() { "A SECOND" } else { "" };
    writeln!(out, "\n{:<44} {:>20} {head:>14}", "COUNTER", "VALUE")?;
    for (value, before) in pairs(reading, since.map(|(_, before)| before), &args.only) {
        let (Datum::Counter(number) | Datum::Gauge(number)) = value.datum else { continue };
        if number == 0 && !args.all {
            continue;
        }
        let rate = since.and_then(|(took, _)| rate(&value.datum, before, took));
        let rate = rate.map_or(String::new(), |rate| format!("{rate:.1}"));
        let line = format!("{:<44} {:>20} {rate:>14}", value.name, human(number, value.unit));
        writeln!(out, "{}", line.trim_end())?;
    }
    let mut first = true;
    for (value, before) in pairs(reading, since.map(|(_, before)| before), &args.only) {
        let Datum::Histogram(snapshot) = &value.datum else { continue };
        let snapshot = recorded(snapshot, before);
        if snapshot.count() == 0 && !args.all {
            continue;
        }
        if std::mem::take(&mut first) {
            write!(out, "\n{:<34} {:>12}", "HISTOGRAM (at most 3.2 % above)", "COUNT")?;
            SHOWN.iter().try_for_each(|(name, _)| write!(out, " {name:>10}"))?;
            writeln!(out, " {:>10}", "largest")?;
        }
        write!(out, "{:<34} {:>12}", value.name, snapshot.count())?;
        for (_, parts) in SHOWN {
            let quantile = snapshot.quantile(parts).map_or_else(|| "-".to_owned(), |at| human(at, value.unit));
            write!(out, " {quantile:>10}")?;
        }
        writeln!(out, " {:>10}", human(snapshot.largest(), value.unit))?;
    }
    if args.watch.is_some() {
        writeln!(out)?;
    }
    Ok(())
}

fn object(
    reading: &Reading,
    standing: Standing,
    since: Option<(Duration, &Reading)>,
    now: UnixNanos,
    only: &str,
) -> Value {
    let mut counters = Map::new();
    let mut rates = Map::new();
    let mut histograms = Map::new();
    for (value, before) in pairs(reading, since.map(|(_, before)| before), only) {
        match &value.datum {
            Datum::Counter(number) | Datum::Gauge(number) => {
                counters.insert(value.name.clone(), (*number).into());
                if let Some(rate) = since.and_then(|(took, _)| rate(&value.datum, before, took)) {
                    rates.insert(value.name.clone(), rate.into());
                }
            }
            Datum::Histogram(snapshot) => {
                let snapshot = recorded(snapshot, before);
                let mut object = Map::new();
                object.insert("unit".to_owned(), value.unit.text().into());
                object.insert("count".to_owned(), snapshot.count().into());
                object.insert("mean".to_owned(), snapshot.mean().into());
                for (name, parts) in SHOWN {
                    object.insert(name.to_owned(), snapshot.quantile(parts).into());
                }
                object.insert("largest".to_owned(), snapshot.largest().into());
                histograms.insert(value.name.clone(), Value::Object(object));
            }
            Datum::Beat(_) => {}
        }
    }
    let mut object = json!({
        "hub": reading.hub, "program": reading.program, "pid": reading.process, "state": standing.name(),
        "started": rfc3339(reading.start), "lastBeat": rfc3339(reading.beat),
        "silentMs": now.0.saturating_sub(reading.beat.0) / 1_000_000,
        "leftOut": reading.left_out, "unknown": reading.unknown,
        "counters": counters, "histograms": histograms,
    });
    if let (Some((took, _)), Some(object)) = (since, object.as_object_mut()) {
        object.insert("seconds".to_owned(), took.as_secs_f64().into());
        object.insert("perSecond".to_owned(), Value::Object(rates));
    }
    object
}
