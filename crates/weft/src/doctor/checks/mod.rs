//! What is harmful, by facts alone: no file, clock or socket is looked at here.

mod disk;
mod machine;
mod running;
mod settings;
#[cfg(test)]
mod tests;

use super::facts::Facts;
use super::finding::{Finding, Severity, sort};

/// Collects what is found.
#[derive(Default)]
pub(super) struct Found(Vec<Finding>);

impl Found {
    fn harmful(&mut self, code: &'static str, measured: String, remedy: &str) {
        self.add(Severity::Harmful, code, measured, remedy);
    }

    fn warning(&mut self, code: &'static str, measured: String, remedy: &str) {
        self.add(Severity::Warning, code, measured, remedy);
    }

    fn note(&mut self, code: &'static str, measured: String, remedy: &str) {
        self.add(Severity::Note, code, measured, remedy);
    }

    fn add(&mut self, severity: Severity, code: &'static str, measured: String, remedy: &str) {
        self.0.push(Finding { severity, code, measured, remedy: remedy.to_owned() });
    }
}

/// All that is found in facts, the worst first.
pub(crate) fn all(facts: &Facts) -> Vec<Finding> {
    let mut found = Found::default();
    if let Some(machine) = &facts.machine {
        machine::checks(machine, facts.config.as_ref(), &mut found);
    }
    if let Some(config) = &facts.config {
        settings::checks(config, &mut found);
    }
    settings::keys(&facts.keys, &mut found);
    let renews = facts.config.as_ref().is_some_and(|config| config.renews);
    settings::certificates(&facts.certificates, renews, facts.now, &mut found);
    if let Some(data) = &facts.data {
        disk::checks(data, facts.config.as_ref(), &mut found);
    }
    if let Some(running) = &facts.running {
        running::checks(running, &mut found);
    }
    let mut found = found.0;
    sort(&mut found);
    found
}
