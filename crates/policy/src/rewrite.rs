//! From a rule as it is written to one that is sound for many topics at once.
//!
//! An ask for the filter `a/*` stands for an ask for each of its topics, and may
//! be allowed only if each of these would be. `resource in TopicFilter::"X"` is
//! therefore asked in two ways: "is all of it in X?" and "is some of it?". A
//! permit must hold of all, so where the question stands plainly it asks the
//! first, and within a `!` or an `unless` the second; a forbid the other way
//! round. Compiled rules have entities of two types in the place of filters
//! and tenants (`atoms.rs`), and one evaluation answers for all topics.
//!
//! This holds while such questions are joined by `&&`, `||`, `!` and the
//! branches of `if` alone; a rule that does anything else with the resource is
//! refused, as is one that reckons (and may overflow) beside such a question.

use std::collections::BTreeSet;
use std::sync::Arc;

use cedar_policy::pst::{self, BinaryOp, Clause, EntityOrSlot, EntityUID, Expr, Literal, UnaryOp, Var};
use weft_govern::access::Action;
use weft_topic::Filter;

use crate::atoms::{Atom, Hold};
use crate::rule::{Actions, MESH, Type, What, Who};

/// What a rule turned out to be.
pub(crate) struct Rewritten {
    pub(crate) who: Who,
    pub(crate) actions: Actions,
    pub(crate) what: What,
    pub(crate) atoms: Box<[Atom]>,
    pub(crate) template: pst::Template,
    pub(crate) reads_time: bool,
    pub(crate) reads_now: bool,
}

#[derive(Default)]
struct Seen {
    atoms: BTreeSet<Atom>,
    /// Questions in clauses, not in the scope.
    asks: bool,
    reckons: bool,
    reads_time: bool,
    reads_now: bool,
}

type Answer<T> = Result<T, String>;

/// Rewrites a rule, or says why it cannot be.
pub(crate) fn rewrite(rule: &pst::Template) -> Answer<Rewritten> {
    let mut seen = Seen::default();
    let hold = match rule.effect {
        pst::Effect::Permit => Hold::Must,
        pst::Effect::Forbid => Hold::May,
    };
    let who = who(&rule.principal)?;
    let actions = actions(&rule.action)?;
    let (what, resource) = seen.scope(&rule.resource, hold)?;
    let mut clauses = Vec::with_capacity(rule.clauses().len());
    for clause in rule.clauses() {
        clauses.push(match clause {
            Clause::When(expr) => Clause::When(seen.question(expr, hold)?),
            Clause::Unless(expr) => Clause::Unless(seen.question(expr, hold.flipped())?),
        });
    }
    if seen.asks && seen.reckons {
        return Err(
            "it reckons (`+`, `-`, `*`, `offset`, `durationSince`), which may fail, and tests the resource in a \
                    condition: test the resource in the rule's head, as in `resource in TopicFilter::\"a/**\"`"
                .into(),
        );
    }
    let template =
        pst::Template::new(rule.id.clone(), rule.effect, rule.principal.clone(), rule.action.clone(), resource)
            .try_with_clauses(clauses)
            .map_err(|e| e.to_string())?;
    let atoms = seen.atoms.into_iter().collect();
    Ok(Rewritten { who, actions, what, atoms, template, reads_time: seen.reads_time, reads_now: seen.reads_now })
}

fn type_name(ty: &pst::EntityType) -> &str {
    // Types of other name spaces are not in the schema.
    if ty.0.namespace.is_empty() { ty.0.id.as_str() } else { "" }
}

fn entity(of: &EntityOrSlot) -> Answer<&EntityUID> {
    match of {
        EntityOrSlot::Entity(uid) => Ok(uid),
        EntityOrSlot::Slot(_) => Err("it is a template (`?principal`, `?resource`): write the names themselves".into()),
    }
}

fn who(scope: &pst::PrincipalConstraint) -> Answer<Who> {
    use pst::PrincipalConstraint as P;
    let named = |of: &EntityOrSlot, is_equal: bool| {
        let uid = entity(of)?;
        let name: Arc<str> = uid.eid.as_str().into();
        Ok(match type_name(&uid.ty) {
            "User" => Who::User(name),
            "Role" if !is_equal => Who::Role(name),
            "Tenant" if !is_equal => Who::Tenant(name),
            _ => Who::Nobody,
        })
    };
    match scope {
        P::Any => Ok(Who::Any),
        P::Eq(of) => named(of, true),
        P::In(of) => named(of, false),
        P::Is(ty) if type_name(ty) == "User" => Ok(Who::Any),
        P::IsIn(ty, of) if type_name(ty) == "User" => named(of, false),
        P::Is(_) | P::IsIn(..) => Ok(Who::Nobody),
    }
}

fn actions(scope: &pst::ActionConstraint) -> Answer<Actions> {
    let one = |uid: &EntityUID| {
        Action::parse(&uid.eid).ok_or_else(|| format!("there is no action `{}`", uid.eid.as_str().escape_debug()))
    };
    match scope {
        pst::ActionConstraint::Any => Ok(Actions::ALL),
        pst::ActionConstraint::Eq(uid) => Ok(Actions::of([one(uid)?])),
        pst::ActionConstraint::In(uids) => Ok(Actions::of(uids.iter().map(one).collect::<Answer<Vec<_>>>()?)),
    }
}

/// The filter of a name in a policy.
fn filter(name: &str) -> Answer<Filter> {
    Filter::parse(name).map_err(|e| format!("`TopicFilter::\"{}\"`: {e}", name.escape_debug()))
}

/// The filter of one topic.
fn topic(name: &str) -> Answer<Filter> {
    let shown = name.escape_debug();
    let filter = Filter::parse(name).map_err(|e| format!("`Topic::\"{shown}\"`: {e}"))?;
    if filter.is_literal() {
        Ok(filter)
    } else {
        Err(format!("`Topic::\"{shown}\"` has wildcards: write `resource in TopicFilter::\"{shown}\"`"))
    }
}

/// What `resource in UID` asks.
fn within(uid: &EntityUID) -> Answer<Atom> {
    match type_name(&uid.ty) {
        "TopicFilter" => Ok(Atom::Filter(filter(&uid.eid)?)),
        "Tenant" => Ok(Atom::Owner(uid.eid.as_str().into())),
        other => Err(format!(
            "`resource in {other}::\"{name}\"` is never so: it is in a `TopicFilter` or a `Tenant`, or `== {other}::\"{name}\"`",
            name = uid.eid.as_str().escape_debug()
        )),
    }
}

fn uid(ty: &str, id: &str) -> Answer<EntityUID> {
    let name = pst::Name::unqualified(ty).map_err(|e| e.to_string())?;
    Ok(EntityUID { ty: pst::EntityType::from_name(name), eid: id.into() })
}

fn is_resource(expr: &Expr) -> bool {
    matches!(expr, Expr::Var(Var::Resource))
}

const ODD: &str = "it does something with `resource` that cannot be decided for many topics at once: use \
                   `resource in`, `resource ==` and `resource is`, joined by `&&`, `||` and `!`, in `when` and `unless`";

impl Seen {
    /// The scope's resource: what it is about, and how it is compiled.
    fn scope(&mut self, scope: &pst::ResourceConstraint, hold: Hold) -> Answer<(What, pst::ResourceConstraint)> {
        use pst::ResourceConstraint as R;
        let kind = |ty: &pst::EntityType| Type::parse(type_name(ty)).ok_or_else(|| format!("no resource is a `{ty}`"));
        match scope {
            R::Any => Ok((What::default(), R::Any)),
            R::Is(ty) => Ok((What { kind: Some(kind(ty)?), ..What::default() }, R::Is(ty.clone()))),
            R::In(of) => {
                let atom = within(entity(of)?)?;
                let compiled = R::In(EntityOrSlot::Entity(self.entity(&atom, hold)?));
                Ok((What { within: Some(atom), ..What::default() }, compiled))
            }
            R::IsIn(ty, of) => {
                let atom = within(entity(of)?)?;
                let compiled = R::IsIn(ty.clone(), EntityOrSlot::Entity(self.entity(&atom, hold)?));
                Ok((What { kind: Some(kind(ty)?), within: Some(atom), name: None }, compiled))
            }
            R::Eq(of) => {
                let named = entity(of)?;
                match kind(&named.ty).map_err(|_| "write `resource in` for a filter or a role".to_owned())? {
                    Type::Topic => {
                        let atom = Atom::Filter(topic(&named.eid)?);
                        let compiled = EntityOrSlot::Entity(self.entity(&atom, hold)?);
                        let what = What { kind: Some(Type::Topic), within: Some(atom), name: None };
                        Ok((what, R::IsIn(named.ty.clone(), compiled)))
                    }
                    kind => {
                        named_right(kind, &named.eid)?;
                        let what = What { kind: Some(kind), within: None, name: Some(named.eid.as_str().into()) };
                        Ok((what, scope.clone()))
                    }
                }
            }
        }
    }

    /// The entity that stands for a question.
    fn entity(&mut self, atom: &Atom, hold: Hold) -> Answer<EntityUID> {
        self.atoms.insert(atom.clone());
        uid(hold.entity(), &atom.id())
    }

    /// A condition, or a part of one, which is to hold of all or of some.
    fn question(&mut self, expr: &Arc<Expr>, hold: Hold) -> Answer<Arc<Expr>> {
        Ok(Arc::new(match &**expr {
            Expr::BinaryOp { op: op @ (BinaryOp::And | BinaryOp::Or), left, right } => {
                Expr::BinaryOp { op: *op, left: self.question(left, hold)?, right: self.question(right, hold)? }
            }
            Expr::UnaryOp { op: UnaryOp::Not, expr } => {
                Expr::UnaryOp { op: UnaryOp::Not, expr: self.question(expr, hold.flipped())? }
            }
            Expr::IfThenElse { cond, then_expr, else_expr } => {
                self.plain(cond)?;
                Expr::IfThenElse {
                    cond: cond.clone(),
                    then_expr: self.question(then_expr, hold)?,
                    else_expr: self.question(else_expr, hold)?,
                }
            }
            Expr::BinaryOp { op: BinaryOp::In, left, right } if is_resource(left) => self.is_in(left, right, hold)?,
            Expr::BinaryOp { op: BinaryOp::Eq, left, right } if is_resource(left) => {
                self.is_equal(left, right, hold)?
            }
            Expr::BinaryOp { op: BinaryOp::Eq, left, right } if is_resource(right) => {
                self.is_equal(right, left, hold)?
            }
            Expr::BinaryOp { op: BinaryOp::NotEq, left, right } if is_resource(left) || is_resource(right) => {
                let (left, right) = if is_resource(left) { (left, right) } else { (right, left) };
                let equal = self.is_equal(left, right, hold.flipped())?;
                Expr::UnaryOp { op: UnaryOp::Not, expr: Arc::new(equal) }
            }
            Expr::Is { expr, entity_type, in_expr } if is_resource(expr) => {
                let is = Expr::Is { expr: expr.clone(), entity_type: entity_type.clone(), in_expr: None };
                match in_expr {
                    None => is,
                    Some(right) => Expr::BinaryOp {
                        op: BinaryOp::And,
                        left: Arc::new(is),
                        right: Arc::new(self.is_in(expr, right, hold)?),
                    },
                }
            }
            _ => {
                self.plain(expr)?;
                return Ok(expr.clone());
            }
        }))
    }

    /// `resource in RIGHT`.
    fn is_in(&mut self, left: &Arc<Expr>, right: &Arc<Expr>, hold: Hold) -> Answer<Expr> {
        self.asks = true;
        let literal = |seen: &mut Self, expr: &Expr| match expr {
            Expr::Literal(Literal::EntityUID(uid)) => {
                Ok(Arc::new(Expr::Literal(Literal::EntityUID(seen.entity(&within(uid)?, hold)?))))
            }
            _ => Err("what `resource` is `in` must be named: a `TopicFilter`, a `Tenant`, a set of them, or \
                      `principal.tenant`"
                .to_owned()),
        };
        let right = match &**right {
            Expr::Set(items) => {
                Arc::new(Expr::Set(items.iter().map(|item| literal(self, item)).collect::<Answer<_>>()?))
            }
            Expr::GetAttr { expr, attr } if matches!(&**expr, Expr::Var(Var::Principal)) && attr == "tenant" => {
                self.atoms.insert(Atom::Own);
                // An attribute that evaluation has beside `tenant`.
                Arc::new(Expr::GetAttr { expr: expr.clone(), attr: hold.entity().into() })
            }
            other => literal(self, other)?,
        };
        Ok(Expr::BinaryOp { op: BinaryOp::In, left: left.clone(), right })
    }

    /// `resource == RIGHT`.
    fn is_equal(&mut self, left: &Arc<Expr>, right: &Arc<Expr>, hold: Hold) -> Answer<Expr> {
        self.asks = true;
        let Expr::Literal(Literal::EntityUID(named)) = &**right else {
            return Err("what `resource` equals must be named, as in `resource == Topic::\"a/b\"`".into());
        };
        match Type::parse(type_name(&named.ty)) {
            Some(Type::Topic) => {
                let entity = self.entity(&Atom::Filter(topic(&named.eid)?), hold)?;
                let is = Expr::Is { expr: left.clone(), entity_type: named.ty.clone(), in_expr: None };
                let within = Expr::BinaryOp {
                    op: BinaryOp::In,
                    left: left.clone(),
                    right: Arc::new(Expr::Literal(Literal::EntityUID(entity))),
                };
                Ok(Expr::BinaryOp { op: BinaryOp::And, left: Arc::new(is), right: Arc::new(within) })
            }
            Some(kind) => {
                named_right(kind, &named.eid)?;
                Ok(Expr::BinaryOp { op: BinaryOp::Eq, left: left.clone(), right: right.clone() })
            }
            None => Err(format!("no resource equals `{named}`: use `in` for filters")),
        }
    }

    /// Anything in which nothing may be asked of topics.
    fn plain(&mut self, expr: &Expr) -> Answer<()> {
        match expr {
            Expr::Literal(_) => Ok(()),
            Expr::Var(Var::Resource) => Err(ODD.into()),
            Expr::Var(Var::Context) => {
                // Handed on as a whole: it may be read anywhere.
                (self.reads_time, self.reads_now) = (true, true);
                Ok(())
            }
            Expr::Var(_) => Ok(()),
            Expr::GetAttr { expr, attr } => match &**expr {
                Expr::Var(Var::Context) => {
                    self.reads_time |= attr == "time" || attr == "now";
                    self.reads_now |= attr == "now";
                    Ok(())
                }
                Expr::Var(_) => Ok(()),
                Expr::Literal(_) => {
                    Err("attributes can be asked of `principal`, `resource` and `context` alone".into())
                }
                other => self.plain(other),
            },
            Expr::HasAttr { expr, .. } if matches!(&**expr, Expr::Var(_)) => Ok(()),
            Expr::HasAttr { expr, .. } | Expr::Like { expr, .. } => self.plain(expr),
            Expr::Is { expr, in_expr, .. } => {
                self.plain(expr)?;
                in_expr.iter().try_for_each(|within| self.plain(within))
            }
            Expr::UnaryOp { op, expr } => {
                self.reckons |= matches!(op, UnaryOp::Neg);
                self.plain(expr)
            }
            Expr::BinaryOp { op, left, right } => {
                self.reckons |= matches!(
                    op,
                    BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Offset | BinaryOp::DurationSince
                );
                self.plain(left)?;
                self.plain(right)
            }
            Expr::IfThenElse { cond, then_expr, else_expr } => {
                self.plain(cond)?;
                self.plain(then_expr)?;
                self.plain(else_expr)
            }
            Expr::Set(items) => items.iter().try_for_each(|item| self.plain(item)),
            Expr::Record(fields) => fields.values().try_for_each(|value| self.plain(value)),
            // Templates, and what later versions of Cedar may have.
            _ => Err("it has something in it that is not supported here".into()),
        }
    }
}

/// Whether a resource that is no topic can be called so.
fn named_right(kind: Type, name: &str) -> Answer<()> {
    match kind {
        Type::Mesh if name != MESH => Err(format!("the mesh is `Mesh::\"{MESH}\"`")),
        _ => Ok(()),
    }
}
