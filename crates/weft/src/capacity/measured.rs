//! What was measured: the lines of `weft bench --out`, one for each run.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use weft_load::capacity::{Cost, Point, Service};

/// The longest file, and the most lines.
const MOST_BYTES: u64 = 16 << 20;
/// Slower steps than this say little: waiting and timers are in them.
const LEAST_BUSY: f64 = 0.02;

/// What was measured of a hub.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    pub(super) service: Service,
    /// Runs, and steps of them that count.
    pub(super) runs: usize,
    pub(super) steps: usize,
    /// Copies for each event, least and most: where they are the same, what comes and
    /// what leaves cannot be told apart.
    pub(super) fan: (f64, f64),
    /// Bytes of the events, least and most.
    pub(super) size: (f64, f64),
}

/// Reads a file.
///
/// # Errors
/// It cannot be read, is no such file, or says nothing.
pub(super) fn read(path: &Path) -> Result<Measured, String> {
    let failed = |e: std::io::Error| format!("cannot read {}: {e}", path.display());
    if std::fs::metadata(path).map_err(failed)?.len() > MOST_BYTES {
        return Err(format!("{} is longer than 16 MiB: begin a new one", path.display()));
    }
    parse(&std::fs::read_to_string(path).map_err(failed)?).map_err(|why| format!("{}: {why}", path.display()))
}

/// The same of its text.
pub(super) fn parse(text: &str) -> Result<Measured, String> {
    let mut points: BTreeMap<String, (bool, Vec<Point>)> = BTreeMap::new();
    let mut measured = Measured { fan: (f64::MAX, 0.0), size: (f64::MAX, 0.0), ..Measured::default() };
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |what: &str| format!("line {}: {what}: write it with `weft bench --out`", at + 1);
        let run: Value = serde_json::from_str(line).map_err(|e| wrong(&e.to_string()))?;
        let number = |key: &str| run[key].as_f64().filter(|number| *number > 0.0).ok_or_else(|| wrong(key));
        let (size, subscribers) = (number("size")?, number("subscribers")?);
        measured.runs += 1;
        measured.size = (measured.size.0.min(size), measured.size.1.max(size));
        for step in run["steps"].as_array().ok_or_else(|| wrong("steps"))? {
            // A step that broke was not served as it came.
            let Some(seconds) = step["seconds"].as_f64().filter(|seconds| *seconds > 0.0 && step["broke"].is_null())
            else {
                continue;
            };
            let rate = |key: &str| step[key].as_f64().unwrap_or_default() / seconds;
            let (incoming, outgoing) = (rate("published"), rate("delivered"));
            let stages = step["hubStages"].as_array().cloned().unwrap_or_default();
            let busy = |stage: &Value| stage["busyPermille"].as_f64().unwrap_or_default() / 1e3;
            if incoming <= 0.0 || stages.iter().map(busy).sum::<f64>() < LEAST_BUSY {
                continue;
            }
            measured.steps += 1;
            measured.fan = (measured.fan.0.min(subscribers), measured.fan.1.max(subscribers));
            for stage in &stages {
                let name = stage["name"].as_str().ok_or_else(|| wrong("hubStages"))?;
                let entry = points.entry(name.to_owned()).or_insert_with(|| (false, Vec::new()));
                entry.0 |= stage["ownThread"].as_bool().unwrap_or_default();
                entry.1.push(Point { incoming, outgoing, busy: busy(stage) });
            }
        }
    }
    if measured.steps == 0 {
        return Err(
            "it has no step that held and kept the hub busy: measure with `weft bench --find-limit --out FILE`"
                .to_owned(),
        );
    }
    for (stage, (own, points)) in points {
        measured.service.add(&stage, own, Cost::fit(&points));
    }
    Ok(measured)
}
