//! "Can tenant A ever read `orders/**`?": answers for all at once.
//!
//! A rule's scope and what its condition says of principal, action and resource
//! is decided by the algebra; what it says of time and place, and whatever else
//! cannot be told, counts as possible and is named. So `Never` and `Always` are
//! certain, and `Sometimes` means: not shown to be either.

use std::sync::Arc;

use cedar_policy::pst::{BinaryOp, Clause, EntityUID, Expr, Literal, UnaryOp, Var};
use serde::Serialize;
use weft_govern::access::{Action, Method, Principal};
use weft_govern::api::{Able, AbleExample, Word};
use weft_topic::Filter;

use crate::atoms::{Atom, covers};
use crate::compile::written;
use crate::explain::told_what;
use crate::index::{Indexed, role, user};
use crate::judge::CedarJudge;
use crate::rule::{Rule, Who};

/// The most examples that are told.
pub const MAX_EXAMPLES: usize = 16;

/// Whom a question is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// One principal, as it logged in.
    Principal(Arc<Principal>),
    /// All principals that a tenant has or may have.
    Tenant(Arc<str>),
    /// All of a role, of a tenant or of none.
    Role {
        /// The tenant.
        tenant: Option<Arc<str>>,
        /// The role's name.
        role: Arc<str>,
    },
}

impl Subject {
    fn tenant(&self) -> Option<&Arc<str>> {
        match self {
            Subject::Principal(principal) => principal.tenant.as_ref(),
            Subject::Tenant(tenant) => Some(tenant),
            Subject::Role { tenant, .. } => tenant.as_ref(),
        }
    }
}

/// Whether somebody ever may do something to topics of a filter. What holds of
/// the filter's topics one by one; administrators of hubs are apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "can", rename_all = "snake_case")]
pub enum Can {
    /// All of them, all topics, at any time and place.
    Always {
        /// The rules that permit it.
        rules: Vec<String>,
    },
    /// None of them, no topic, whenever and wherever.
    Never {
        /// Why.
        why: Vec<String>,
    },
    /// Some of them, some topics or sometimes, as far as can be told.
    Sometimes {
        /// What is possible.
        examples: Vec<Example>,
        /// What may stand against it.
        but: Vec<String>,
    },
}

/// Something that is possible.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Example {
    /// By which rule.
    pub rule: String,
    /// For which of the topics: what is in all of these filters.
    pub topics: Vec<String>,
    /// For whom of the subject, and under which conditions, as they were written.
    pub when: Vec<String>,
}

impl Can {
    /// As hubs answer it, of a version of the state.
    #[must_use]
    pub fn told(self, version: u64) -> Able {
        let able = Able { version, ..Able::default() };
        match self {
            Can::Always { rules } => Able { can: Word::Always, rules, ..able },
            Can::Never { why } => Able { can: Word::Never, why, ..able },
            Can::Sometimes { examples, but } => {
                let example = |Example { rule, topics, when }| AbleExample { rule, topics, when };
                Able { can: Word::Sometimes, examples: examples.into_iter().map(example).collect(), but, ..able }
            }
        }
    }
}

/// What an expression can become: any of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Outcomes(u8);

impl Outcomes {
    const TRUE: Self = Self(1);
    const FALSE: Self = Self(2);
    const ERROR: Self = Self(4);
    const EITHER: Self = Self(3);
    const ANY: Self = Self(7);

    fn of(value: bool) -> Self {
        if value { Self::TRUE } else { Self::FALSE }
    }

    const fn can(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    fn not(self) -> Self {
        let mut out = self.without(Self::EITHER);
        if self.can(Self::TRUE) {
            out = out.or(Self::FALSE);
        }
        if self.can(Self::FALSE) {
            out = out.or(Self::TRUE);
        }
        out
    }

    fn and(self, right: impl FnOnce() -> Self) -> Self {
        let left = self.without(Self::TRUE);
        if self.can(Self::TRUE) { left.or(right()) } else { left }
    }
}

/// A question for all of a subject and all topics of a filter.
struct Asked<'a> {
    judge: &'a CedarJudge,
    subject: &'a Subject,
    action: Action,
    topics: &'a Filter,
    /// The owners of all topics, and of some.
    all_owners: Vec<&'a Arc<str>>,
    some_owners: Vec<&'a Arc<str>>,
}

impl CedarJudge {
    /// Whether anybody of `subject` can ever do `action` to topics of `topics`.
    #[must_use]
    pub fn can(&self, subject: &Subject, action: Action, topics: &Filter) -> Can {
        if let Subject::Principal(principal) = subject {
            if principal.method == Method::Administrator && matches!(action, Action::Administer | Action::Observe) {
                return Can::Always { rules: Vec::new() };
            }
            if Self::is_ambiguous(principal) {
                return Can::Never { why: vec!["a `/` in its name, tenant or roles reads as another's".into()] };
            }
        }
        let (all_owners, some_owners) = self.index.holding_owners(topics);
        let asked = Asked { judge: self, subject, action, topics, all_owners, some_owners };
        asked.answer()
    }
}

impl Asked<'_> {
    fn answer(&self) -> Can {
        let mut why = Vec::new();
        let fence = self.fence();
        if fence == Outcomes::FALSE {
            why.push(format!(
                "the fence: tenant `{}` neither owns any of `{}` nor imports it from an owner that exports it for `{}`",
                self.subject.tenant().map_or("", |tenant| tenant),
                self.topics,
                self.action.name()
            ));
            return Can::Never { why };
        }
        for broken in &self.judge.broken {
            if broken.tenant.is_none() || broken.tenant.as_ref() == self.subject.tenant() {
                why.push(format!("the policy `{}` cannot be understood, and forbids it", broken.name));
                return Can::Never { why };
            }
        }
        let mut but = Vec::new();
        // What is forbidden for certain: the whole, or parts.
        let mut closed: Vec<(&Indexed, Option<&Filter>)> = Vec::new();
        let mut is_forbidden_at_all = false;
        for indexed in self.rules(true) {
            let rule = &indexed.rule;
            let outcome = self.outcome(indexed);
            if !outcome.can(Outcomes::TRUE.or(Outcomes::ERROR)) {
                continue;
            }
            is_forbidden_at_all = true;
            // Certain but for where the scope's own filter ends.
            let elsewhere = self.outcome_within(indexed);
            if elsewhere.without(Outcomes::ERROR) == Outcomes::TRUE {
                let part = match &rule.what.within {
                    Some(Atom::Filter(filter)) => Some(filter),
                    _ => None,
                };
                let is_whole = outcome.without(Outcomes::ERROR) == Outcomes::TRUE;
                if is_whole || part.is_some() {
                    closed.push((indexed, if is_whole { None } else { part }));
                }
            }
            but.push(format!("`{}` may forbid {}", rule.name, told_what(&rule.what)));
        }
        if let Some((indexed, _)) = closed.iter().find(|(_, part)| part.is_none()) {
            return Can::Never { why: vec![format!("`{}` forbids all of it", indexed.rule.name)] };
        }
        let mut examples = Vec::new();
        let mut always = Vec::new();
        for indexed in self.rules(false) {
            let rule = &indexed.rule;
            let outcome = self.outcome(indexed);
            if !outcome.can(Outcomes::TRUE) {
                continue;
            }
            let mut topics = vec![self.topics.clone()];
            if let Some(Atom::Filter(filter)) = &rule.what.within
                && !covers(filter, self.topics)
            {
                topics.push(filter.clone());
            }
            let closer =
                closed.iter().find(|(_, part)| part.is_some_and(|part| topics.iter().any(|topic| covers(part, topic))));
            if let Some((closer, _)) = closer {
                why.push(format!("what `{}` permits, `{}` forbids", rule.name, closer.rule.name));
                continue;
            }
            if outcome == Outcomes::TRUE {
                always.push(rule.name.to_string());
            }
            examples.push(Example {
                rule: rule.name.to_string(),
                topics: topics.iter().map(ToString::to_string).collect(),
                when: self.open(rule),
            });
        }
        if examples.is_empty() {
            if why.is_empty() {
                why.push(format!("no rule permits `{}` for any of `{}`", self.action.name(), self.topics));
            }
            why.truncate(MAX_EXAMPLES);
            return Can::Never { why };
        }
        if !always.is_empty() && !is_forbidden_at_all && fence == Outcomes::TRUE && self.nobody_is_broken() {
            always.truncate(MAX_EXAMPLES);
            return Can::Always { rules: always };
        }
        if fence != Outcomes::TRUE {
            but.push(format!("the fence lets the tenant use only a part of `{}`", self.topics));
        }
        examples.truncate(MAX_EXAMPLES);
        but.truncate(MAX_EXAMPLES);
        Can::Sometimes { examples, but }
    }

    fn nobody_is_broken(&self) -> bool {
        self.judge.broken.is_empty()
    }

    fn rules(&self, forbids: bool) -> impl Iterator<Item = &Indexed> {
        let action = self.action;
        let fits = move |indexed: &&Indexed| indexed.rule.forbids == forbids && indexed.rule.actions.has(action);
        self.judge.index.rules().iter().filter(fits)
    }

    /// Whether the fence is open: for all topics, some or none.
    fn fence(&self) -> Outcomes {
        let Some(tenant) = self.subject.tenant() else { return Outcomes::TRUE };
        if self.judge.fence.allows(Some(tenant), self.action, self.topics).is_ok() {
            Outcomes::TRUE
        } else if self.judge.fence.allows_some(Some(tenant), self.action, self.topics) {
            Outcomes::EITHER
        } else {
            Outcomes::FALSE
        }
    }

    /// What a rule can become for the subject and the topics.
    fn outcome(&self, indexed: &Indexed) -> Outcomes {
        self.scope(indexed, true).and(|| self.clauses(&indexed.rule))
    }

    /// The same for those topics alone that are in the filter of its scope.
    fn outcome_within(&self, indexed: &Indexed) -> Outcomes {
        self.scope(indexed, false).and(|| self.clauses(&indexed.rule))
    }

    fn scope(&self, indexed: &Indexed, with_filter: bool) -> Outcomes {
        let rule = &indexed.rule;
        let mut out = self.who(&rule.who);
        out = out.and(|| Outcomes::of(rule.what.name.is_none()));
        // The topics that streams capture are asked as topics here.
        out = out.and(|| Outcomes::of(rule.what.kind.is_none_or(|kind| kind == crate::rule::Type::Topic)));
        if let Some(tenant) = &rule.fence {
            let is_own = Outcomes::of(self.subject.tenant() == Some(tenant));
            out = out.and(|| if is_own == Outcomes::TRUE { is_own } else { self.owner(tenant) });
        }
        match &rule.what.within {
            Some(Atom::Filter(_)) if !with_filter => out,
            Some(atom) => out.and(|| self.atom(atom)),
            None => out,
        }
    }

    fn who(&self, who: &Who) -> Outcomes {
        match who {
            Who::Any => Outcomes::TRUE,
            Who::Nobody => Outcomes::FALSE,
            Who::Tenant(tenant) => Outcomes::of(self.subject.tenant() == Some(tenant)),
            Who::User(name) => match self.subject {
                Subject::Principal(principal) => Outcomes::of(user(principal) == **name),
                Subject::Tenant(_) | Subject::Role { .. } => self.maybe_of_tenant(name),
            },
            Who::Role(name) => match self.subject {
                Subject::Principal(principal) => {
                    let tenant = principal.tenant.as_deref();
                    Outcomes::of(principal.roles.iter().any(|own| role(tenant, own) == **name))
                }
                Subject::Role { tenant, role: own } if role(tenant.as_deref(), own) == **name => Outcomes::TRUE,
                Subject::Tenant(_) | Subject::Role { .. } => self.maybe_of_tenant(name),
            },
        }
    }

    /// Whether a user or a role of this name can be one of the subject's.
    fn maybe_of_tenant(&self, name: &str) -> Outcomes {
        let tenant = name.split_once('/').map(|(tenant, _)| tenant);
        if tenant == self.subject.tenant().map(|tenant| &**tenant) { Outcomes::EITHER } else { Outcomes::FALSE }
    }

    fn owner(&self, tenant: &Arc<str>) -> Outcomes {
        if self.all_owners.contains(&tenant) {
            Outcomes::TRUE
        } else if self.some_owners.contains(&tenant) {
            Outcomes::EITHER
        } else {
            Outcomes::FALSE
        }
    }

    fn atom(&self, atom: &Atom) -> Outcomes {
        match atom {
            Atom::Filter(filter) if covers(filter, self.topics) => Outcomes::TRUE,
            Atom::Filter(filter) if filter.intersects(self.topics) => Outcomes::EITHER,
            Atom::Filter(_) => Outcomes::FALSE,
            Atom::Owner(tenant) => self.owner(tenant),
            Atom::Own => self.subject.tenant().map_or(Outcomes::FALSE, |tenant| self.owner(tenant)),
        }
    }

    fn clauses(&self, rule: &Rule) -> Outcomes {
        rule.clauses.iter().fold(Outcomes::TRUE, |out, clause| {
            out.and(|| match clause {
                Clause::When(expr) => self.expression(expr),
                Clause::Unless(expr) => self.expression(expr).not(),
            })
        })
    }

    /// The clauses that are not certain to hold, as they were written.
    fn open(&self, rule: &Rule) -> Vec<String> {
        let mut out = Vec::new();
        if self.who(&rule.who) != Outcomes::TRUE {
            out.push(format!("the principal is {}", crate::explain::told_who(&rule.who)));
        }
        out.extend(written(rule).iter().filter_map(|(clause, _)| match clause {
            Clause::When(expr) if self.expression(expr) != Outcomes::TRUE => Some(expr.to_string()),
            Clause::Unless(expr) if self.expression(expr) != Outcomes::FALSE => Some(format!("not: {expr}")),
            _ => None,
        }));
        out
    }

    fn expression(&self, expr: &Expr) -> Outcomes {
        match expr {
            Expr::Literal(Literal::Bool(value)) => Outcomes::of(*value),
            Expr::UnaryOp { op: UnaryOp::Not, expr } => self.expression(expr).not(),
            Expr::BinaryOp { op: BinaryOp::And, left, right } => self.expression(left).and(|| self.expression(right)),
            Expr::BinaryOp { op: BinaryOp::Or, left, right } => {
                self.expression(left).not().and(|| self.expression(right).not()).not()
            }
            Expr::IfThenElse { cond, then_expr, else_expr } => {
                let cond = self.expression(cond);
                let mut out = cond.without(Outcomes::EITHER);
                if cond.can(Outcomes::TRUE) {
                    out = out.or(self.expression(then_expr));
                }
                if cond.can(Outcomes::FALSE) {
                    out = out.or(self.expression(else_expr));
                }
                out
            }
            Expr::BinaryOp { op: BinaryOp::In, left, right } => self.is_in(left, right),
            Expr::BinaryOp { op: BinaryOp::Eq, left, right } => self.is_equal(left, right),
            Expr::BinaryOp { op: BinaryOp::NotEq, left, right } => self.is_equal(left, right).not(),
            Expr::Is { expr, entity_type, in_expr } => {
                let is = match &**expr {
                    Expr::Var(Var::Resource) => Outcomes::of(entity_type.to_string() == "Topic"),
                    Expr::Var(Var::Principal) => Outcomes::of(entity_type.to_string() == "User"),
                    _ => Outcomes::EITHER,
                };
                match in_expr {
                    None => is,
                    Some(right) => is.and(|| self.is_in(expr, right)),
                }
            }
            Expr::HasAttr { expr, attrs } if attrs.len() == 1 => match (&**expr, attrs.first().as_str()) {
                (Expr::Var(Var::Principal), "tenant") => Outcomes::of(self.subject.tenant().is_some()),
                (Expr::Var(Var::Resource), _) => Outcomes::FALSE,
                _ => Outcomes::EITHER,
            },
            Expr::BinaryOp { op: BinaryOp::Contains, left, right } => self.has_role(left, right),
            // What reckons may fail; what compares may be either.
            _ => Outcomes::ANY,
        }
    }

    fn is_in(&self, left: &Expr, right: &Expr) -> Outcomes {
        let any = |items: &[Arc<Expr>]| {
            items.iter().fold(Outcomes::FALSE, |out, item| out.not().and(|| self.is_in(left, item).not()).not())
        };
        match (left, right) {
            (_, Expr::Set(items)) => any(items),
            (Expr::Var(Var::Resource), Expr::Literal(Literal::EntityUID(uid))) => match type_of(uid) {
                "TopicFilter" => {
                    Filter::parse(&uid.eid).map_or(Outcomes::ANY, |filter| self.atom(&Atom::Filter(filter)))
                }
                "Tenant" => self.owner(&uid.eid.as_str().into()),
                _ => Outcomes::ANY,
            },
            (Expr::Var(Var::Resource), Expr::GetAttr { .. }) => self.atom(&Atom::Own),
            (Expr::Var(Var::Principal), Expr::Literal(Literal::EntityUID(uid))) => {
                let name: Arc<str> = uid.eid.as_str().into();
                match type_of(uid) {
                    "User" => self.who(&Who::User(name)),
                    "Role" => self.who(&Who::Role(name)),
                    "Tenant" => self.who(&Who::Tenant(name)),
                    _ => Outcomes::ANY,
                }
            }
            (Expr::Var(Var::Action), Expr::Literal(Literal::EntityUID(uid))) => {
                Outcomes::of(uid.eid == self.action.name())
            }
            _ => Outcomes::ANY,
        }
    }

    fn is_equal(&self, left: &Expr, right: &Expr) -> Outcomes {
        match (left, right) {
            (Expr::Literal(_), Expr::Var(_) | Expr::GetAttr { .. }) => self.is_equal(right, left),
            (Expr::Var(Var::Resource), Expr::Literal(Literal::EntityUID(uid))) => match type_of(uid) {
                "Topic" => Filter::parse(&uid.eid).map_or(Outcomes::ANY, |filter| self.atom(&Atom::Filter(filter))),
                _ => Outcomes::FALSE,
            },
            (Expr::Var(Var::Principal), Expr::Literal(Literal::EntityUID(uid))) if type_of(uid) == "User" => {
                self.who(&Who::User(uid.eid.as_str().into()))
            }
            (Expr::Var(Var::Action), Expr::Literal(Literal::EntityUID(uid))) => {
                Outcomes::of(uid.eid == self.action.name())
            }
            (Expr::GetAttr { expr, attr }, Expr::Literal(literal)) if matches!(&**expr, Expr::Var(Var::Principal)) => {
                self.attribute(attr, literal)
            }
            _ => Outcomes::ANY,
        }
    }

    /// `principal.ATTRIBUTE == LITERAL`.
    fn attribute(&self, attribute: &str, literal: &Literal) -> Outcomes {
        match (attribute, literal, self.subject) {
            ("tenant", Literal::EntityUID(uid), _) => {
                Outcomes::of(self.subject.tenant().is_some_and(|tenant| uid.eid == **tenant))
            }
            ("name", Literal::String(name), Subject::Principal(principal)) => Outcomes::of(*name == *principal.name),
            ("method", Literal::String(name), Subject::Principal(principal)) => {
                Outcomes::of(*name == principal.method.name())
            }
            _ => Outcomes::EITHER,
        }
    }

    /// `principal.roles.contains("role")`.
    fn has_role(&self, left: &Expr, right: &Expr) -> Outcomes {
        let (Expr::GetAttr { expr, attr }, Expr::Literal(Literal::String(name))) = (left, right) else {
            return Outcomes::ANY;
        };
        if !matches!(&**expr, Expr::Var(Var::Principal)) || attr != "roles" {
            return Outcomes::ANY;
        }
        match self.subject {
            Subject::Principal(principal) => Outcomes::of(principal.roles.iter().any(|role| **role == **name)),
            Subject::Role { role, .. } if **role == **name => Outcomes::TRUE,
            Subject::Role { .. } | Subject::Tenant(_) => Outcomes::EITHER,
        }
    }
}

fn type_of(uid: &EntityUID) -> &str {
    uid.ty.0.id.as_str()
}
