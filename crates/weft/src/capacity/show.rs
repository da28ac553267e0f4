//! What was reckoned, for people and for programs.

use std::io::{self, Write};

use serde_json::{Value, json};
use weft_load::curve::rate;

use super::measured::Measured;
use super::reckon::{Part, State};

pub(super) fn human(states: &[State], measured: &Measured, out: &mut impl Write) -> io::Result<()> {
    let Measured { runs, steps, fan, size, .. } = measured;
    writeln!(
        out,
        "by {steps} steps of {runs} runs, {} to {} copies of each event, {} to {} B",
        fan.0, fan.1, size.0, size.1
    )?;
    if (fan.0 - fan.1).abs() < f64::EPSILON {
        let why = "all runs made as many copies of each event: what comes and what leaves is taken to cost the same";
        writeln!(out, "{why}; measure with another --shape as well")?;
    }
    for state in states.iter().take(1) {
        writeln!(
            out,
            "\n{:<42} {:>11} {:>11} {:>12} {:>7} {:>8} {:>8}",
            "HUB OR LINK", "IN/s", "OUT/s", "BYTES/s", "BUSY", "CARRIES", "TAKES"
        )?;
        for part in state.hubs.iter().chain(&state.links) {
            line(part, out)?;
        }
        if let Some(first) = state.first() {
            writeln!(out, "\ngives out first: {}", words(first))?;
        }
        lost(state, out)?;
    }
    writeln!(
        out,
        "\n{:<20} {:<20} {:<42} {:>8} {:>11}",
        "DEAD HUB", "CLIENTS GO TO", "GIVES OUT FIRST", "CARRIES", "LOST/s"
    )?;
    for state in states.iter().skip(1) {
        let Some((hub, there)) = &state.dead else { continue };
        let there = there.as_deref().unwrap_or("nobody");
        let first = state.first().map_or_else(|| "-".to_owned(), |part| part.name.clone());
        let carries = times(state.first().and_then(Part::factor));
        // Begun at zero: the sum of nothing is -0 otherwise.
        let lost = state.lost.iter().fold(0.0, |sum, (_, _, rate)| sum + rate);
        writeln!(out, "{hub:<20} {there:<20} {first:<42} {carries:>8} {:>11}", rate(lost))?;
    }
    let note = "CARRIES: times this load until it gives out. TAKES: times as long as with nothing else there (M/M/1).";
    writeln!(out, "\n{note}")
}

fn line(part: &Part, out: &mut impl Write) -> io::Result<()> {
    let name = match &part.stage {
        Some(stage) => format!("{} ({})", part.name, stage.stage),
        None => part.name.clone(),
    };
    let busy = part.busy.map_or_else(|| "-".to_owned(), |busy| format!("{:.1} %", busy * 100.0));
    let takes = match (part.busy, part.stretch()) {
        (Some(_), None) => "for ever".to_owned(),
        (_, stretch) => times(stretch),
    };
    let (incoming, outgoing) = (rate(part.incoming), rate(part.outgoing));
    let bytes = if part.bytes > 0.0 { rate(part.bytes) } else { "-".to_owned() };
    let carries = times(part.factor());
    writeln!(out, "{name:<42} {incoming:>11} {outgoing:>11} {bytes:>12} {busy:>7} {carries:>8} {takes:>8}")
}

fn times(n: Option<f64>) -> String {
    n.map_or_else(|| "-".to_owned(), |n| format!("{n:.2}"))
}

fn words(part: &Part) -> String {
    let at = times(part.factor());
    match &part.stage {
        Some(stage) if stage.is_shared => {
            format!(
                "{}, at {at} times this load: the thread that its stages share, most of it `{}`",
                part.name, stage.stage
            )
        }
        Some(stage) => format!("{}, at {at} times this load: its stage `{}`", part.name, stage.stage),
        None => format!("the link {}, at {at} times this load", part.name),
    }
}

fn lost(state: &State, out: &mut impl Write) -> io::Result<()> {
    for (from, to, n) in &state.lost {
        writeln!(out, "{} events/s do not get from {from} to {to}: there is no way", rate(*n))?;
    }
    Ok(())
}

pub(super) fn object(states: &[State], measured: &Measured) -> Value {
    let stages: Vec<Value> = measured
        .service
        .stages()
        .map(|(stage, cost)| json!({ "stage": stage, "inNs": cost.incoming * 1e9, "outNs": cost.outgoing * 1e9 }))
        .collect();
    let part = |part: &Part| {
        json!({
            "name": part.name, "stage": part.stage.as_ref().map(|stage| stage.stage.clone()), "in": part.incoming,
            "out": part.outgoing, "bytes": part.bytes, "busy": part.busy, "carries": part.factor(), "takes": part.stretch(),
        })
    };
    let state = |state: &State| {
        json!({
            "dead": state.dead.as_ref().map(|(hub, _)| hub), "clientsAt": state.dead.as_ref().and_then(|(_, there)| there.clone()),
            "hubs": state.hubs.iter().map(part).collect::<Vec<_>>(), "links": state.links.iter().map(part).collect::<Vec<_>>(),
            "lost": state.lost.iter().map(|(from, to, n)| json!({ "from": from, "to": to, "events": n })).collect::<Vec<_>>(),
            "first": state.first().map(part),
        })
    };
    json!({ "measured": stages, "states": states.iter().map(state).collect::<Vec<_>>() })
}
