//! Rules put to Cedar: the entities and the context of one question.

use std::collections::{BTreeSet, HashMap, HashSet};

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, EvalResult, Expression, Request,
    RestrictedExpression, eval_expression,
};
use weft_base::UnixNanos;
use weft_govern::access::{Ask, Place, Resource};

use crate::atoms::{Hold, owner_id};
use crate::index::{Indexed, Look, resource_name, role, user};
use crate::rule::Type;

/// The names of the types, read once.
#[derive(Clone, Debug)]
pub(crate) struct Types {
    user: EntityTypeName,
    role: EntityTypeName,
    tenant: EntityTypeName,
    action: EntityTypeName,
    must: EntityTypeName,
    may: EntityTypeName,
    resources: [EntityTypeName; 5],
}

impl Types {
    /// The names; none only if Cedar took no such names.
    pub(crate) fn new() -> Option<Self> {
        let name = |text: &str| text.parse().ok();
        let [topic, stream, schema, tenant, mesh] = Type::ALL.map(|kind| name(kind.name()));
        Some(Self {
            user: name("User")?,
            role: name("Role")?,
            tenant: name("Tenant")?,
            action: name("Action")?,
            must: name(Hold::Must.entity())?,
            may: name(Hold::May.entity())?,
            resources: [topic?, stream?, schema?, tenant?, mesh?],
        })
    }
}

fn uid(ty: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(ty.clone(), EntityId::new(id))
}

fn text(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_owned())
}

/// A question, ready for Cedar.
pub(crate) struct Question {
    request: Request,
    entities: Entities,
}

/// What became of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Holds,
    Fails,
    /// It could not be evaluated.
    Error(String),
}

impl Question {
    /// Puts a question into Cedar's words, with what these rules ask of it.
    pub(crate) fn new(
        types: &Types,
        ask: &Ask,
        look: &Look,
        rules: &[&Indexed],
        place: &Place,
        now: UnixNanos,
    ) -> Result<Self, String> {
        let principal = principal(types, ask)?;
        let atoms: BTreeSet<_> = rules
            .iter()
            .flat_map(|indexed| indexed.atoms.iter().zip(&indexed.rule.atoms))
            .filter(|(number, _)| look.atoms.may.contains(**number))
            .collect();
        let mut parents = HashSet::new();
        for (number, atom) in atoms {
            let id = match (&atom, &ask.principal.tenant) {
                (crate::atoms::Atom::Own, Some(tenant)) => owner_id(tenant),
                _ => atom.id(),
            };
            parents.insert(uid(&types.may, &id));
            if look.atoms.must.contains(*number) {
                parents.insert(uid(&types.must, &id));
            }
        }
        let kind = &types.resources[Type::of(&ask.resource) as usize];
        let resource = uid(kind, resource_name(&ask.resource));
        let mut attributes = HashMap::new();
        if let Resource::Stream { name, .. } | Resource::Schema(name) = &ask.resource {
            attributes.insert("name".to_owned(), text(name));
        }
        let resource = Entity::new(resource, attributes, parents).map_err(|e| e.to_string())?;
        let reads_now = rules.iter().any(|indexed| indexed.rule.reads_now);
        let request = Request::new(
            principal.uid(),
            uid(&types.action, ask.action.name()),
            resource.uid(),
            context(ask, place, now, reads_now)?,
            None,
        )
        .map_err(|e| e.to_string())?;
        // A tenant may be asked for by one of its own principals: it is one entity then.
        let entities = Entities::from_entities([principal, resource], None).map_err(|e| e.to_string())?;
        Ok(Self { request, entities })
    }

    /// Evaluates a condition.
    pub(crate) fn evaluate(&self, condition: &Expression) -> Outcome {
        match eval_expression(&self.request, &self.entities, condition) {
            Ok(EvalResult::Bool(true)) => Outcome::Holds,
            Ok(EvalResult::Bool(false)) => Outcome::Fails,
            Ok(_) => Outcome::Error("it is neither true nor false".into()),
            Err(error) => Outcome::Error(error.to_string()),
        }
    }
}

fn principal(types: &Types, ask: &Ask) -> Result<Entity, String> {
    let who = &ask.principal;
    let mut attributes = HashMap::from([
        ("name".to_owned(), text(&who.name)),
        ("method".to_owned(), text(who.method.name())),
        ("roles".to_owned(), RestrictedExpression::new_set(who.roles.iter().map(|role| text(role)))),
    ]);
    let mut parents: HashSet<_> =
        who.roles.iter().map(|name| uid(&types.role, &role(who.tenant.as_deref(), name))).collect();
    if let Some(tenant) = &who.tenant {
        let entity = RestrictedExpression::new_entity_uid;
        attributes.insert("tenant".to_owned(), entity(uid(&types.tenant, tenant)));
        // What `principal.tenant` becomes in `resource in principal.tenant`.
        let id = owner_id(tenant);
        attributes.insert(Hold::Must.entity().to_owned(), entity(uid(&types.must, &id)));
        attributes.insert(Hold::May.entity().to_owned(), entity(uid(&types.may, &id)));
        parents.insert(uid(&types.tenant, tenant));
    }
    Entity::new(uid(&types.user, &user(who)), attributes, parents).map_err(|e| e.to_string())
}

fn context(ask: &Ask, place: &Place, now: UnixNanos, reads_now: bool) -> Result<Context, String> {
    let seconds = seconds(now);
    let mut pairs = vec![
        ("hub".to_owned(), text(&place.hub)),
        ("region".to_owned(), text(&place.region)),
        ("labels".to_owned(), RestrictedExpression::new_set(place.labels.iter().map(|label| text(label)))),
        ("time".to_owned(), RestrictedExpression::new_long(seconds)),
        ("method".to_owned(), text(ask.principal.method.name())),
    ];
    if let Some(lane) = ask.lane {
        pairs.push(("lane".to_owned(), RestrictedExpression::new_long(lane.get().into())));
    }
    if reads_now {
        pairs.push(("now".to_owned(), RestrictedExpression::new_datetime(date(seconds))));
    }
    Context::from_pairs(pairs).map_err(|e| e.to_string())
}

/// Whole seconds since 1970.
pub(crate) fn seconds(now: UnixNanos) -> i64 {
    i64::try_from(now.0 / 1_000_000_000).unwrap_or(i64::MAX)
}

/// Seconds since 1970 as `2026-11-22T12:00:00Z`, until the year 9999.
///
/// The reckoning of days is Howard Hinnant's `civil_from_days`.
fn date(seconds: i64) -> String {
    let seconds = seconds.clamp(0, 253_402_300_799);
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_348_981, "2026-11-22T12:03:01Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (i64::MAX, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(date(seconds), text);
        }
    }
}
