//! Policies in files, without a hub: read by the same code as at hubs, and what is
//! wrong with them told by file, line and column.

use anyhow::Context as _;
use weft_govern::access::Judge as _;
use weft_govern::document::{self, Policy};
use weft_policy::{CedarJudge, Compiler, Flaw, Limits};

use super::files::{Documents, WHAT};
use crate::Usage;
use crate::config::ConfigError;

/// Compiles all policies of some documents. Answers how many rules there are.
///
/// # Errors
/// All mistakes, a line each; or the schema of policies cannot be read, which is a
/// mistake of this program.
pub(crate) fn compile(documents: &Documents) -> anyhow::Result<usize> {
    let compiler = Compiler::new(Limits::default())?;
    let (mut rules, mut count, mut lines) = (0, 0, String::new());
    for (key, at) in &documents.rules {
        let Some(text) = documents.puts.get(key) else { continue };
        let policy: Policy = document::read(text).with_context(|| key.to_string())?;
        match compiler.compile(key.name(), policy.tenant.as_deref(), &policy.rules) {
            Ok(compiled) => rules += compiled.rules().count(),
            Err(flaws) => {
                count += flaws.len();
                for Flaw { line, column, rule, what, .. } in flaws {
                    let (place, words) = at.place(line as usize, column as usize);
                    let rule = rule.map_or_else(String::new, |rule| format!("rule `{rule}`: "));
                    lines.push_str(&format!("{place}: {key}: {words}{rule}{what}\n"));
                }
            }
        }
    }
    let most = compiler.limits().all_rules;
    if rules > most {
        count += 1;
        lines.push_str(&format!("there are {rules} rules, of which {most} are allowed in all\n"));
    }
    match count {
        0 => Ok(rules),
        count => Err(Usage(ConfigError::Mistakes { what: WHAT, count, lines }.to_string()).into()),
    }
}

/// A judge of some documents, which must be right.
///
/// # Errors
/// All mistakes.
pub(crate) fn learn(documents: &Documents) -> anyhow::Result<CedarJudge> {
    compile(documents)?;
    let mut judge = CedarJudge::new(Limits::default())?;
    let faults = judge.learn(&documents.state());
    if faults.is_empty() {
        return Ok(judge);
    }
    let mistakes = ConfigError::Mistakes { what: WHAT, count: faults.len(), lines: documents.told(&faults) };
    Err(Usage(mistakes.to_string()).into())
}
