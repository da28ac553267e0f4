//! What `weft bench` says: a table and a curve for people, JSON for programs,
//! SVG for documents.

use std::fmt::Write;

use serde_json::{Value, json};
use weft_load::curve::{self, Line};
use weft_load::latency::{Latencies, Summary, show};
use weft_load::saturated::Stage;
use weft_load::svg::Plane;

use super::engine::{Outcome, Plan, Rate};
use super::{Results, Taken};

/// Characters of the curve.
const CURVE: (usize, usize) = (72, 14);

/// The table, what was found, and the curve.
pub(super) fn text(results: &Results) -> String {
    let mut text = format!("hub `{}`: {}\n\n", results.hub, load(&results.plan));
    let _ = writeln!(
        text,
        "{:>11} {:>11} {:>11} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "OFFERED/s", "PUBLISHED", "DELIVERED/s", "LOST", "P50", "P99", "P99.9", "P99.99", "MAX"
    );
    for taken in &results.steps {
        row(&mut text, taken);
    }
    if let Some(taken) =
        results.steps.iter().max_by(|a, b| a.outcome.delivered_rate().total_cmp(&b.outcome.delivered_rate()))
    {
        let _ = writeln!(text, "\nsaturated first, at the highest rate: {}", taken.outcome.verdict());
    }
    if let Some(found) = &results.found {
        match found.held {
            Some(rate) => drop(writeln!(text, "holds: {} events/s", curve::rate(rate))),
            None => text.push_str("no rate that was tried holds: begin lower with --from\n"),
        }
        match &found.broke {
            Some((rate, why)) => drop(writeln!(text, "breaks: {} events/s, since {why}", curve::rate(*rate))),
            None => text.push_str("breaks: not found\n"),
        }
        let _ = write!(text, "\n{}", drawn(results));
    }
    text
}

fn load(plan: &Plan) -> String {
    let lanes: Vec<String> = plan.lanes.iter().map(|lane| lane.get().to_string()).collect();
    format!(
        "{} publisher(s), {} subscriber(s), {} B, lane {}, level {}, steps of {} s",
        plan.publishers,
        plan.subscribers,
        plan.size,
        lanes.join(", "),
        format!("{:?}", plan.level).to_lowercase(),
        plan.time.as_secs_f64()
    )
}

fn row(text: &mut String, taken: &Taken) {
    let outcome = &taken.outcome;
    let offered = match outcome.rate {
        Rate::Most => "most".to_owned(),
        Rate::Fixed(rate) => curve::rate(rate),
    };
    let _ = write!(
        text,
        "{offered:>11} {:>11} {:>11} {:>9}",
        outcome.published,
        curve::rate(outcome.delivered_rate()),
        outcome.lost
    );
    columns(text, &outcome.all());
    let _ = match &taken.broke {
        Some(why) => writeln!(text, "  broke: {why}"),
        None => writeln!(text),
    };
    if outcome.lanes.len() > 1 {
        for (lane, seen) in &outcome.lanes {
            let _ = write!(text, "{:>45}", format!("lane {}", lane.get()));
            columns(text, seen);
            text.push('\n');
        }
    }
}

fn columns(text: &mut String, seen: &Latencies) {
    let s = seen.summary();
    for nanos in [s.p50, s.p99, s.p99_9, s.p99_99, s.max] {
        let shown = if s.count == 0 { "-".to_owned() } else { show(nanos) };
        let _ = write!(text, " {shown:>8}");
    }
}

/// The points of a percentile over the offered rate.
fn points(results: &Results, of: impl Fn(&Summary) -> u64) -> Vec<(f64, f64)> {
    let point = |taken: &Taken| {
        let rate = match taken.outcome.rate {
            Rate::Most => taken.outcome.delivered_rate(),
            Rate::Fixed(rate) => rate,
        };
        (rate, of(&taken.outcome.all().summary()) as f64)
    };
    results.steps.iter().map(point).collect()
}

fn drawn(results: &Results) -> String {
    let lines = [
        Line { mark: '▲', name: "p99", points: points(results, |s| s.p99) },
        Line { mark: '•', name: "p50", points: points(results, |s| s.p50) },
    ];
    curve::draw(&lines, CURVE.0, CURVE.1)
}

/// Latency over rate.
pub(super) fn svg(results: &Results) -> String {
    let micros = |points: Vec<(f64, f64)>| points.into_iter().map(|(x, y)| (x, y / 1e3)).collect();
    let title = format!("Latency over rate: {}", load(&results.plan));
    let lines = vec![
        ("p50", micros(points(results, |s| s.p50))),
        ("p99", micros(points(results, |s| s.p99))),
        ("p99.9", micros(points(results, |s| s.p99_9))),
        ("max", micros(points(results, |s| s.max))),
    ];
    Plane { title: &title, axes: ["events/s", "µs"], lines }.draw()
}

/// Everything.
pub(super) fn json(results: &Results) -> Value {
    let plan = &results.plan;
    let found = results.found.as_ref().map(|found| {
        let (breaks, why) =
            found.broke.as_ref().map_or((None, None), |(rate, why)| (Some(*rate), Some(why.to_string())));
        json!({ "holds": found.held, "breaks": breaks, "why": why })
    });
    json!({
        "hub": results.hub,
        "publishers": plan.publishers,
        "subscribers": plan.subscribers,
        "size": plan.size,
        "lanes": plan.lanes.iter().map(|lane| lane.get()).collect::<Vec<_>>(),
        "level": format!("{:?}", plan.level).to_lowercase(),
        "stepSeconds": plan.time.as_secs_f64(),
        "steps": results.steps.iter().map(step).collect::<Vec<_>>(),
        "ramp": found,
    })
}

fn step(taken: &Taken) -> Value {
    let outcome: &Outcome = &taken.outcome;
    let offered = match outcome.rate {
        Rate::Most => None,
        Rate::Fixed(rate) => Some(rate),
    };
    let lanes = outcome.lanes.iter().map(|(lane, seen)| json!({ "lane": lane.get(), "latency": latency(seen) }));
    json!({
        "offered": offered,
        "published": outcome.published,
        "unsent": outcome.unsent,
        "delivered": outcome.delivered,
        "lost": outcome.lost,
        "dropped": outcome.dropped,
        "seconds": outcome.seconds,
        "deliveredPerSecond": outcome.delivered_rate(),
        "latency": latency(&outcome.all()),
        "lanes": lanes.collect::<Vec<_>>(),
        "broke": taken.broke.as_ref().map(ToString::to_string),
        "saturated": outcome.verdict().to_string(),
        "hubStages": outcome.hub.iter().map(stage).collect::<Vec<_>>(),
        "generatorThreads": outcome.generator.iter().map(stage).collect::<Vec<_>>(),
    })
}

fn latency(seen: &Latencies) -> Value {
    let s = seen.summary();
    json!({
        "count": s.count, "p50Ns": s.p50, "p99Ns": s.p99, "p999Ns": s.p99_9, "p9999Ns": s.p99_99, "maxNs": s.max,
    })
}

fn stage(stage: &Stage) -> Value {
    json!({
        "name": stage.name, "busyPermille": stage.busy_permille, "ownThread": stage.own_thread, "waitUs": stage.wait_us, "depth": stage.depth,
    })
}
