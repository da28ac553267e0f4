//! The table `[audit]`: the hub's audit log.

use std::fmt::Write;

use weft_hub::HubOptions;
use weft_hub::options::AuditOptions;

use super::reader::{Problems, Section};
use crate::time::show_duration;

/// The table.
pub(super) fn options(mut section: Section<'_, '_>, problems: &mut Problems) -> AuditOptions {
    let mut audit = AuditOptions { write: section.boolean("write", problems), ..AuditOptions::default() };
    if let Some(keep) = section.duration("keep", problems) {
        audit.keep = keep;
    }
    if let Some(bytes) = section.bytes("keep_bytes", problems) {
        audit.keep_bytes = bytes;
    }
    section.finish(problems);
    audit
}

/// As it counts.
pub(super) fn show(options: &HubOptions, out: &mut String) -> std::fmt::Result {
    let AuditOptions { write, keep, keep_bytes } = &options.audit;
    writeln!(out, "\n[audit]")?;
    match write {
        Some(write) => writeln!(out, "write = {write}")?,
        None => writeln!(out, "# write: where there is `data`, and `admins` or `control.enforce`")?,
    }
    writeln!(out, "keep = \"{}\"\nkeep_bytes = \"{keep_bytes}\"", show_duration(*keep))
}
