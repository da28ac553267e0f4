//! What `weft doctor` says: a finding each, in words and as JSON.

use std::io::{self, Write};

use serde_json::{Value, json};

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// Events may be lost, or somebody may do what he should not, or the hub stops.
    Harmful,
    /// It is slower than it could be, or will be harmful one day.
    Warning,
    /// To know; nothing needs doing.
    Note,
}

impl Severity {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Harmful => "harmful",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// What it is called, in scripts and in docs/operating.md.
    pub(crate) code: &'static str,
    /// What was measured or read.
    pub(crate) measured: String,
    /// What to do.
    pub(crate) remedy: String,
}

/// Something that could not be found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unknown {
    pub(crate) what: &'static str,
    pub(crate) why: String,
}

/// Worst first, then by name: the same facts make the same report.
pub(crate) fn sort(findings: &mut [Finding]) {
    findings.sort_by(|a, b| (a.severity, a.code, &a.measured).cmp(&(b.severity, b.code, &b.measured)));
}

/// For people.
pub(crate) fn human(findings: &[Finding], unknown: &[Unknown], out: &mut impl Write) -> io::Result<()> {
    for Finding { severity, code, measured, remedy } in findings {
        writeln!(out, "{:<8} {code}\n         {measured}\n         -> {remedy}", severity.name())?;
    }
    for Unknown { what, why } in unknown {
        writeln!(out, "unknown  {what}: {why}")?;
    }
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let [harmful, warnings, notes] = [Severity::Harmful, Severity::Warning, Severity::Note].map(count);
    writeln!(out, "{harmful} harmful, {warnings} warnings, {notes} notes, {} not known", unknown.len())
}

/// For programs.
pub(crate) fn object(findings: &[Finding], unknown: &[Unknown]) -> Value {
    let found: Vec<Value> = findings
        .iter()
        .map(|f| json!({ "severity": f.severity.name(), "code": f.code, "measured": f.measured, "remedy": f.remedy }))
        .collect();
    let unknown: Vec<Value> = unknown.iter().map(|u| json!({ "what": u.what, "why": u.why })).collect();
    json!({ "findings": found, "unknown": unknown })
}
