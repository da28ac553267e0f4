//! `weft sim`: a mesh from a file under faults from another, in simulated time.
//! Reads the files, has the runs made by `weft-sim`, and tells what came of them.

mod faults;
mod mesh;
mod names;
#[cfg(test)]
mod tests;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use weft_sim::topology::{FaultPlan, Topology};
use weft_sim::{Family, Plan, Report};

use crate::Usage;
use crate::cli::SimArgs;
use crate::config;

/// Reads a mesh file by itself.
///
/// # Errors
/// It cannot be read, or has mistakes.
pub(crate) fn read_mesh(path: &Path) -> Result<Topology, config::ConfigError> {
    config::load_with("mesh", path, mesh::parse)
}

/// The same of its text.
#[cfg(test)]
pub(crate) fn parse_mesh(text: &str) -> Result<Topology, Vec<config::reader::Problem>> {
    mesh::parse(text)
}

const MESH: &str = include_str!("../../../../examples/sim/mesh.toml");
const PLAN: &str = include_str!("../../../../examples/sim/plan.toml");

pub(crate) fn run(args: &SimArgs) -> anyhow::Result<()> {
    if let Some(folder) = &args.example {
        return write_example(folder);
    }
    let files = args.mesh.as_deref().map(|mesh| load(mesh, args.faults.as_deref())).transpose()?;
    let plan_of = |seed: u64| match (&files, args.shape) {
        (Some((name, mesh, faults)), _) => Plan::of_files(name, mesh, faults, seed),
        (None, Some(shape)) => Plan::of_shape(shape, seed),
        (None, None) => Plan::of_seed(seed),
    };
    let mut out = io::stdout().lock();
    let mut report = Report::default();
    for seed in args.first..args.first.saturating_add(args.seeds) {
        let plan = plan_of(seed);
        if args.plan {
            write!(out, "{plan}")?;
        }
        let outcome = weft_sim::run(&plan, None);
        if let Err(violation) = &outcome {
            writeln!(out, "{violation}\nagain with: {}", again(args, seed))?;
        }
        report.add(&plan, outcome);
    }
    write!(out, "{report}")?;
    out.flush()?;
    if let Some(path) = &args.report {
        let text = format!("{:#}\n", object(&report, args));
        std::fs::write(path, text).with_context(|| format!("cannot write the report {}", path.display()))?;
    }
    if !report.holds() {
        bail!("{} of {} runs broke a promise", report.failed.len(), args.seeds);
    }
    Ok(())
}

/// Reads both files; what is wrong with either is a mistake of the arguments.
fn load(mesh: &Path, faults: Option<&Path>) -> anyhow::Result<(String, Topology, FaultPlan)> {
    let usage = |error: config::ConfigError| Usage(error.to_string());
    let name = mesh.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mesh = config::load_with("mesh", mesh, mesh::parse).map_err(usage)?;
    let faults = match faults {
        Some(path) => config::load_with("fault plan", path, |text| faults::parse(text, &mesh)).map_err(usage)?,
        None => FaultPlan::default(),
    };
    Ok((name, mesh, faults))
}

fn write_example(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    for (name, text) in [("mesh.toml", MESH), ("plan.toml", PLAN)] {
        let path = folder.join(name);
        // What is there may be somebody's own.
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path).with_context(|| {
            format!("cannot make {}: name an empty folder with --example FOLDER, or remove it", path.display())
        })?;
        file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let at = folder.display();
    eprintln!(
        "made {at}/mesh.toml and {at}/plan.toml; try: weft sim {at}/mesh.toml --faults {at}/plan.toml --seeds 20"
    );
    Ok(())
}

/// The command that makes one run again.
fn again(args: &SimArgs, seed: u64) -> String {
    let shape = args.shape.map_or_else(String::new, |shape| format!(" --shape {shape}"));
    let path =
        |flag: &str, path: Option<&Path>| path.map_or_else(String::new, |path| format!("{flag}{}", path.display()));
    let (mesh, faults) = (path(" ", args.mesh.as_deref()), path(" --faults ", args.faults.as_deref()));
    format!("weft sim{mesh}{faults}{shape} --seeds 1 --first {seed} --plan")
}

fn object(report: &Report, args: &SimArgs) -> Value {
    let failed = |one: &weft_sim::Failed| {
        let violation = &one.violation;
        json!({
            "of": one.of, "seed": one.seed, "check": format!("{:?}", violation.check),
            "atMs": violation.at.0 / 1_000_000, "detail": violation.detail, "again": again(args, one.seed),
        })
    };
    let failover = |found: Option<(usize, f64, f64)>| {
        found.map(|(count, p50, most)| json!({ "cuts": count, "p50Intervals": p50, "maxIntervals": most }))
    };
    let rows = report.rows.iter().map(|(name, row)| {
        let broken: serde_json::Map<String, Value> = Family::ALL
            .iter()
            .map(|family| (family.name().to_owned(), row.broken.get(family).copied().unwrap_or(0).into()))
            .collect();
        let ms = |per_mille| row.latency.per_mille(per_mille).map(|took| took.as_secs_f64() * 1e3);
        let tally = &row.tally;
        json!({
            "of": name, "seeds": row.seeds, "broken": broken,
            "published": tally.published, "delivered": tally.delivered, "hadToBeDelivered": tally.expected,
            "sharedInGroups": tally.shared, "stored": tally.stored, "sentAgain": tally.retransmitted,
            "missed": tally.missed, "dropped": tally.dropped, "overflowed": tally.overflowed,
            "faults": tally.faults, "simulatedMs": tally.virtual_ms, "controlBytes": tally.control,
            "latencyMs": { "p50": ms(500), "p90": ms(900), "p99": ms(990), "p999": ms(999), "max": ms(1000) },
            "failoverNoticed": failover(row.failover(true)), "failoverSilent": failover(row.failover(false)),
            "restSeconds": row.rested.as_secs_f64(), "controlBytesPerSecond": row.control,
        })
    });
    json!({
        "rows": rows.collect::<Vec<_>>(), "failed": report.failed.iter().map(failed).collect::<Vec<_>>(),
    })
}
