//! The charts of a run: for each table one, as SVG.
#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use weft_bench::report::{Metric, RATE, Report};
use weft_load::svg::Bars;

use crate::parts::QUANTILES;

/// Draws what there is to draw into the folder.
pub(crate) fn save(report: &Report, out: &Path) -> Result<()> {
    let mut sections: Vec<&str> = Vec::new();
    for cell in &report.cells {
        if !sections.contains(&&*cell.section) {
            sections.push(&cell.section);
        }
    }
    for section in sections {
        let mut metrics: Vec<Metric> = Vec::new();
        for cell in report.cells.iter().filter(|cell| cell.section == section) {
            let metric = Metric { name: cell.metric, unit: cell.unit };
            if !metrics.contains(&metric) {
                metrics.push(metric);
            }
        }
        for metric in &metrics {
            let is_quantile = QUANTILES.iter().any(|(quantile, _)| quantile == metric);
            if !is_quantile && metric.name != "max" {
                // One figure is no chart.
                if report.cells.iter().filter(|c| c.section == section && c.metric == metric.name).count() > 1 {
                    let works = report.works(section, *metric);
                    write(out, section, metric.name, &by_work(report, section, *metric, &works))?;
                }
            }
        }
        if metrics.contains(&QUANTILES[0].0) {
            for work in report.works(section, QUANTILES[0].0) {
                write(out, section, work, &by_quantile(report, section, work))?;
            }
        }
    }
    Ok(())
}

/// A group per work, a bar per peer.
fn by_work(report: &Report, section: &str, metric: Metric, works: &[&str]) -> String {
    let values = |peer| works.iter().map(|work| report.find(section, work, peer, metric).map(|c| c.median)).collect();
    Bars {
        title: &format!("{section}: {}", metric.name),
        unit: metric.unit,
        groups: works.to_vec(),
        series: report.entrants(section, metric).into_iter().map(|peer| (peer, values(peer))).collect(),
        // Rates of different sizes lie decades apart; a zero-based axis is easier to read where they do not.
        logarithmic: metric == RATE && works.len() > 3,
    }
    .draw()
}

/// A group per quantile, a bar per peer.
fn by_quantile(report: &Report, section: &str, work: &str) -> String {
    let values = |peer| QUANTILES.iter().map(|(m, _)| report.find(section, work, peer, *m).map(|c| c.median)).collect();
    Bars {
        title: &format!("{section}, {work}"),
        unit: "µs",
        groups: QUANTILES.iter().map(|(metric, _)| metric.name).collect(),
        series: report.entrants(section, QUANTILES[0].0).into_iter().map(|peer| (peer, values(peer))).collect(),
        logarithmic: true,
    }
    .draw()
}

fn write(out: &Path, section: &str, what: &str, svg: &str) -> Result<()> {
    let name: String = format!("{section} {what}").to_lowercase();
    let name: Vec<&str> = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let path = out.join(format!("{}.svg", name.join("-")));
    fs::write(&path, svg).with_context(|| format!("cannot write {}", path.display()))
}
