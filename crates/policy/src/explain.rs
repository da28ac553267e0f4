//! Why something is allowed or refused, step by step.
//!
//! Looks at every rule, not only at those that the index finds, so it takes
//! longer than a judgement; it is for people.

use std::fmt::Write as _;
use std::sync::Arc;

use cedar_policy::pst::{self, BinaryOp, Clause, Expr, UnaryOp};
use serde::Serialize;
use weft_base::UnixNanos;
use weft_govern::access::{Ask, Judge, Place};
use weft_govern::api::{Explained, ExplainedStep};

use crate::compile::{condition, written};
use crate::evaluate::{Outcome, Question};
use crate::index::{Index, Indexed};
use crate::judge::CedarJudge;
use crate::rule::{Rule, What, Who};

/// The most rules that an explanation tells of; those that fit come first.
pub const MAX_STEPS: usize = 64;

/// Why a question is answered as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The answer.
    pub allowed: bool,
    /// Of which version of the state.
    pub version: u64,
    /// Why, in a sentence.
    pub reason: String,
    /// The rules that decided.
    pub rules: Vec<String>,
    /// What was looked at, in order.
    pub steps: Vec<Step>,
    /// Rules that were looked at and are not told of, since there were too many.
    pub untold: usize,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What: `administrators`, `fence`, `policy`, or a rule as `document/id`.
    pub what: String,
    /// `permit` or `forbid`, of a rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<&'static str>,
    /// In which line of its document a rule begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// What came of it.
    pub result: Found,
    /// In words.
    pub words: String,
    /// What would have to hold for the rule to apply.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// It decides in favour, or lets pass.
    Passes,
    /// It refuses.
    Refuses,
    /// The rule holds.
    Matched,
    /// The rule's scope fits, its condition does not hold.
    ConditionFalse,
    /// The rule's scope fits, its condition cannot be evaluated.
    Error,
    /// One part of the rule's scope does not fit.
    AlmostFits,
}

impl Found {
    /// The word for it, as JSON has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Found::Passes => "passes",
            Found::Refuses => "refuses",
            Found::Matched => "matched",
            Found::ConditionFalse => "condition_false",
            Found::Error => "error",
            Found::AlmostFits => "almost_fits",
        }
    }
}

impl From<Explanation> for Explained {
    fn from(from: Explanation) -> Self {
        let Explanation { allowed, version, reason, rules, steps, untold } = from;
        let step = |Step { what, effect, line, result, words, needs }| {
            let (effect, result) = (effect.map(str::to_owned), result.name().to_owned());
            ExplainedStep { what, effect, line, result, words, needs }
        };
        let steps = steps.into_iter().map(step).collect();
        // Whoever answers says whether it decides by it.
        Self { allowed, version, enforced: false, reason, rules, steps, untold }
    }
}

impl Step {
    fn plain(what: &str, result: Found, words: String) -> Self {
        Self { what: what.into(), effect: None, line: None, result, words, needs: Vec::new() }
    }

    fn of_rule(rule: &Rule, result: Found, words: String, needs: Vec<String>) -> Self {
        let what = rule.name.to_string();
        Self { what, effect: Some(rule.effect()), line: Some(rule.line), result, words, needs }
    }
}

impl CedarJudge {
    /// Explains the answer to a question: the same that [`Judge::judge`] gives.
    #[must_use]
    pub fn explain(&self, ask: &Ask, place: &Place, now: UnixNanos) -> Explanation {
        let verdict = self.judge(ask, place, now);
        let mut out = Explanation {
            allowed: verdict.allowed,
            version: verdict.version,
            reason: verdict.reason.to_string(),
            rules: verdict.rules.iter().map(ToString::to_string).collect(),
            steps: Vec::new(),
            untold: 0,
        };
        if Self::is_administrators(ask) {
            let words = "administrators of the hub may always administer and observe".to_owned();
            out.steps.push(Step::plain("administrators", Found::Passes, words));
            return out;
        }
        let refusal =
            if Self::is_ambiguous(&ask.principal) { Some(out.reason.clone()) } else { self.fence.refuses(ask) };
        if let Some(reason) = refusal {
            out.steps.push(Step::plain("fence", Found::Refuses, reason));
            return out;
        }
        let words = match &ask.principal.tenant {
            None => "the principal is of no tenant: no fence".to_owned(),
            Some(tenant) => format!("it is open to tenant `{tenant}`"),
        };
        out.steps.push(Step::plain("fence", Found::Passes, words));
        let look = self.index.look_at_all(ask);
        for broken in self.broken_for(ask, &look).take(MAX_STEPS) {
            let words = "cannot be understood, and so forbids all that it may speak of".to_owned();
            out.steps.push(Step::plain(&broken.name, Found::Refuses, words));
        }
        let (mut fitting, mut almost) = (Vec::new(), Vec::new());
        for indexed in self.index.rules() {
            let parts = [
                self.index.fits_who(indexed, &look),
                indexed.rule.actions.has(ask.action),
                Index::fits_what(indexed, &look, ask),
                Index::may_speak(indexed, &look, ask),
            ];
            match parts.iter().filter(|fits| !**fits).count() {
                0 => fitting.push(indexed),
                // A forbid that does not fit is no news.
                1 if !indexed.rule.forbids => almost.push((indexed, parts)),
                _ => {}
            }
        }
        out.untold = (fitting.len() + almost.len()).saturating_sub(MAX_STEPS);
        fitting.truncate(MAX_STEPS);
        almost.truncate(MAX_STEPS - fitting.len());
        match Question::new(&self.types, ask, &look, &fitting, place, now) {
            Ok(question) => out.steps.extend(fitting.iter().map(|indexed| fits(&question, indexed))),
            Err(error) => out.steps.push(Step::plain("policy", Found::Error, error)),
        }
        out.steps.extend(almost.into_iter().map(|(indexed, parts)| almost_fits(ask, &indexed.rule, parts)));
        out
    }
}

/// What came of a rule whose scope fits.
fn fits(question: &Question, indexed: &Indexed) -> Step {
    let rule = &indexed.rule;
    match question.evaluate(&rule.condition) {
        Outcome::Holds => Step::of_rule(rule, Found::Matched, format!("{}s it", rule.effect()), Vec::new()),
        Outcome::Error(error) => {
            let what = if rule.forbids { "so it forbids" } else { "so it permits nothing" };
            Step::of_rule(rule, Found::Error, format!("cannot be evaluated: {error}; {what}"), Vec::new())
        }
        Outcome::Fails => {
            let needs =
                written(rule).iter().flat_map(|(written, compiled)| failing(question, written, compiled)).collect();
            Step::of_rule(rule, Found::ConditionFalse, "would apply, but its condition does not hold".into(), needs)
        }
    }
}

/// The parts of a clause that do not hold, as they were written.
fn failing(question: &Question, written: &Clause, compiled: &Clause) -> Vec<String> {
    let (written, compiled, must_hold) = match (written, compiled) {
        (Clause::When(written), Clause::When(compiled)) => (written, compiled, true),
        (Clause::Unless(written), Clause::Unless(compiled)) => (written, compiled, false),
        _ => return Vec::new(),
    };
    let mut parts = Vec::new();
    let op = if must_hold { BinaryOp::And } else { BinaryOp::Or };
    split(written, compiled, &op, &mut parts);
    let fails = |compiled: &Arc<Expr>| {
        let clause = if must_hold { Clause::When(compiled.clone()) } else { Clause::Unless(compiled.clone()) };
        let scope = (pst::PrincipalConstraint::Any, pst::ActionConstraint::Any, pst::ResourceConstraint::Any);
        let template = pst::Template::new("part", pst::Effect::Permit, scope.0, scope.1, scope.2);
        let condition = template.try_with_clauses([clause]).map_err(|e| e.to_string()).and_then(condition);
        condition.map_or(true, |condition| question.evaluate(&condition) != Outcome::Holds)
    };
    let told = |part: &Arc<Expr>| if must_hold { part.to_string() } else { format!("not: {part}") };
    parts.into_iter().filter(|(_, compiled)| fails(compiled)).map(|(written, _)| told(written)).collect()
}

type Parts<'a> = Vec<(&'a Arc<Expr>, &'a Arc<Expr>)>;

fn split<'a>(written: &'a Arc<Expr>, compiled: &'a Arc<Expr>, op: &BinaryOp, out: &mut Parts<'a>) {
    match (&**written, &**compiled) {
        (
            Expr::BinaryOp { op: one, left, right },
            Expr::BinaryOp { op: other, left: compiled_left, right: compiled_right },
        ) if one == op && other == op => {
            split(left, compiled_left, op, out);
            split(right, compiled_right, op, out);
        }
        // `!(a || b)` asks for both not to hold; its parts would read oddly.
        (Expr::UnaryOp { op: UnaryOp::Not, .. }, _) => out.push((written, compiled)),
        _ => out.push((written, compiled)),
    }
}

fn almost_fits(ask: &Ask, rule: &Rule, [who, action, what, _]: [bool; 4]) -> Step {
    let need = if !who {
        format!("the principal to be {}, it is `{}`", told_who(&rule.who), ask.principal)
    } else if !action {
        format!("another action than `{}`", ask.action.name())
    } else if !what {
        format!("the resource to be {}, it is {}", told_what(&rule.what), ask.resource)
    } else {
        "the principal to be of the tenant of its policy, or the resource to belong to that tenant".to_owned()
    };
    Step::of_rule(rule, Found::AlmostFits, "does not fit in one thing".into(), vec![need])
}

pub(crate) fn told_who(who: &Who) -> String {
    match who {
        Who::Any => "anybody".into(),
        Who::User(name) => format!("`{name}`"),
        Who::Role(name) => format!("in the role `{name}`"),
        Who::Tenant(name) => format!("of tenant `{name}`"),
        Who::Nobody => "nobody that there is".into(),
    }
}

pub(crate) fn told_what(what: &What) -> String {
    use crate::atoms::Atom;
    let mut out = match (what.kind, &what.name) {
        (Some(kind), Some(name)) => format!("the {} `{name}`", kind.name().to_lowercase()),
        (Some(kind), None) => format!("a {}", kind.name().to_lowercase()),
        (None, _) => "anything".to_owned(),
    };
    let _ = match &what.within {
        Some(Atom::Filter(filter)) => write!(out, " within `{filter}`"),
        Some(Atom::Owner(tenant)) => write!(out, " of tenant `{tenant}`"),
        Some(Atom::Own) | None => Ok(()),
    };
    out
}
