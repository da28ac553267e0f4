//! Tests of policies: questions with the answers that are expected.

use std::sync::Arc;

use serde::Serialize;
use weft_base::UnixNanos;
use weft_govern::access::{Ask, Judge, Place};

use crate::explain::Explanation;
use crate::judge::CedarJudge;

/// A question and the answer that is expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// What it is called, for reports.
    pub name: String,
    /// Who does what to what.
    pub ask: Ask,
    /// Where.
    pub place: Arc<Place>,
    /// When.
    pub now: UnixNanos,
    /// Whether it is to be allowed.
    pub allowed: bool,
    /// A rule that is to be among those that decide, as `document/id`.
    pub rule: Option<String>,
}

/// A case that came out otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The case's name.
    pub case: String,
    /// What was expected and what came, in words.
    pub what: String,
    /// Why it came so.
    pub explanation: Explanation,
}

/// What came of many cases.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// How many there were.
    pub cases: usize,
    /// Those that came out otherwise, in order.
    pub failures: Vec<Failure>,
    /// Rules that decided none of the cases: nothing shows that they work.
    pub untested: Vec<String>,
}

impl CedarJudge {
    /// Puts cases to the policies.
    #[must_use]
    pub fn run_tests(&self, cases: &[Case]) -> Report {
        let mut report = Report { cases: cases.len(), ..Report::default() };
        let mut decided = std::collections::BTreeSet::new();
        for case in cases {
            let verdict = self.judge(&case.ask, &case.place, case.now);
            decided.extend(verdict.rules.iter().cloned());
            let told = |allowed: bool| if allowed { "allowed" } else { "denied" };
            let mut what = Vec::new();
            if verdict.allowed != case.allowed {
                what.push(format!("is {}, expected {}", told(verdict.allowed), told(case.allowed)));
            }
            if let Some(rule) = &case.rule
                && !verdict.rules.iter().any(|name| **name == **rule)
            {
                let names: Vec<&str> = verdict.rules.iter().map(|name| &**name).collect();
                let by = if names.is_empty() { "no rule".to_owned() } else { format!("`{}`", names.join("`, `")) };
                what.push(format!("is decided by {by}, expected `{rule}`"));
            }
            if !what.is_empty() {
                report.failures.push(Failure {
                    case: case.name.clone(),
                    what: what.join("; "),
                    explanation: self.explain(&case.ask, &case.place, case.now),
                });
            }
        }
        let rules = self.index.rules().iter().map(|indexed| &indexed.rule.name);
        report.untested = rules.filter(|name| !decided.contains(*name)).map(ToString::to_string).collect();
        report
    }
}
