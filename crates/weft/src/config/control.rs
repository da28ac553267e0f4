//! The table `[control]`: how the hub takes part in replicating the control state.

use std::fmt::Write;

use weft_hub::HubOptions;
use weft_hub::options::ControlOptions;

use super::reader::{Problems, Section};
use crate::time::show_duration;

/// Without the table: who runs a hub from a configuration has to say that everybody
/// may do everything.
pub(super) fn by_default() -> ControlOptions {
    ControlOptions { enforce: true, ..ControlOptions::default() }
}

/// The table.
pub(super) fn options(mut section: Section<'_, '_>, problems: &mut Problems) -> ControlOptions {
    let mut control = by_default();
    if let Some(voters) = section.texts("voters", problems) {
        control.voters = voters;
    }
    if let Some(requests) = section.number("requests", problems) {
        control.requests = requests;
    }
    if let Some(enforce) = section.boolean("enforce", problems) {
        control.enforce = enforce;
    }
    let times = [
        ("heartbeat", &mut control.heartbeat),
        ("election_least", &mut control.election_least),
        ("election_most", &mut control.election_most),
        ("patience", &mut control.patience),
        ("alarm_after", &mut control.alarm_after),
    ];
    for (key, time) in times {
        if let Some(value) = section.duration(key, problems) {
            *time = value;
        }
    }
    section.finish(problems);
    control
}

/// As it counts.
pub(super) fn show(options: &HubOptions, out: &mut String) -> std::fmt::Result {
    let c = &options.control;
    match (options.voters().as_slice(), options.data.is_some()) {
        (_, false) => writeln!(out, "\n[control]\n# voters: without `data` there is no control state")?,
        ([], true) => writeln!(out, "\n[control]\n# voters: others vote, this hub learns from them")?,
        (voters, true) => writeln!(out, "\n[control]\nvoters = {voters:?}")?,
    }
    let times = [c.heartbeat, c.election_least, c.election_most, c.patience, c.alarm_after].map(show_duration);
    let [heartbeat, least, most, patience, alarm] = times;
    writeln!(out, "heartbeat = \"{heartbeat}\"\nelection_least = \"{least}\"\nelection_most = \"{most}\"")?;
    writeln!(out, "patience = \"{patience}\"\nalarm_after = \"{alarm}\"")?;
    writeln!(out, "requests = {}\nenforce = {}", c.requests, c.enforce)
}
