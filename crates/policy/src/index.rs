//! Which rules can have a say in a question, out of all.
//!
//! Cedar evaluates every rule that it is given, so it is given few: those whose
//! scope fits. Rules lie in buckets by the tenant of their policy and by whom
//! they are about, and in a bucket by what they are about. The scope is checked
//! here alone for speed; compiled rules have it too, and Cedar checks it again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weft_govern::access::{Ask, Principal, Resource};
use weft_topic::Filter;

use crate::atoms::{Atom, Filters, Holding, Numbers};
use crate::rule::{Rule, Type, Who};

/// All rules, so that those for a question are found quickly.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    rules: Vec<Indexed>,
    atoms: BTreeMap<Atom, u32>,
    /// The filters that rules name, by whom the rules are about: a question is held
    /// against those alone that rules about who asks name.
    named: BTreeMap<u32, Filters>,
    tenants: BTreeMap<Arc<str>, u32>,
    owned: Filters,
    who: BTreeMap<Who, u32>,
    /// By whom it is about, and by the policy's tenant (0: of the mesh).
    buckets: BTreeMap<u32, BTreeMap<u32, Bucket>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Indexed {
    pub(crate) rule: Arc<Rule>,
    /// Its questions about resources, by number.
    pub(crate) atoms: Box<[u32]>,
    /// The tenant of its policy; 0: of the mesh.
    fence: u32,
    /// The question that its scope asks, if any.
    within: Option<u32>,
}

#[derive(Clone, Debug, Default)]
struct Bucket {
    /// About any resource, or any of a type.
    loose: Vec<u32>,
    /// About what is in a filter or a tenant's.
    within: BTreeMap<u32, Vec<u32>>,
    /// About one resource.
    named: BTreeMap<(Type, Arc<str>), Vec<u32>>,
}

/// A question, looked up.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    /// The questions about resources that hold, by number.
    pub(crate) atoms: Holding,
    /// Whom the resource belongs to, by number.
    pub(crate) owners: Holding,
    /// The principal's tenant.
    tenant: Option<u32>,
    who: Vec<u32>,
}

/// The name of a principal in policies.
pub(crate) fn user(principal: &Principal) -> String {
    principal.to_string()
}

/// The name of a role of a principal's in policies.
pub(crate) fn role(tenant: Option<&str>, role: &str) -> String {
    match tenant {
        Some(tenant) => format!("{tenant}/{role}"),
        None => role.to_owned(),
    }
}

fn intern<K: Ord>(map: &mut BTreeMap<K, u32>, key: K) -> u32 {
    // Numbers begin with 1; there are fewer than 2^32 of anything that fits in memory.
    let next = u32::try_from(map.len()).unwrap_or(u32::MAX - 1) + 1;
    *map.entry(key).or_insert(next)
}

impl Index {
    /// An index of rules, and of the topics of tenants.
    pub(crate) fn new<'a>(
        rules: impl Iterator<Item = &'a Arc<Rule>>,
        topics: impl Iterator<Item = (&'a str, &'a Filter)>,
    ) -> Self {
        let mut index = Self::default();
        for (tenant, filter) in topics {
            let number = intern(&mut index.tenants, tenant.into());
            index.owned.insert(filter, number);
        }
        for rule in rules {
            index.insert(rule);
        }
        index
    }

    fn insert(&mut self, rule: &Arc<Rule>) {
        let Ok(at) = u32::try_from(self.rules.len()) else { return };
        let fence = rule.fence.as_ref().map_or(0, |tenant| intern(&mut self.tenants, tenant.clone()));
        let atoms: Box<[u32]> = rule.atoms.iter().map(|atom| self.atom(atom)).collect();
        let who = intern(&mut self.who, rule.who.clone());
        let named = self.named.entry(who).or_default();
        // The scope's are among them.
        for (atom, number) in rule.atoms.iter().zip(&atoms) {
            if let Atom::Filter(filter) = atom {
                named.insert_once(filter, *number);
            }
        }
        let within = rule.what.within.as_ref().map(|atom| self.atom(atom));
        let bucket = self.buckets.entry(who).or_default().entry(fence).or_default();
        match (&rule.what.name, rule.what.kind, within) {
            (Some(name), Some(kind), _) => bucket.named.entry((kind, name.clone())).or_default().push(at),
            (_, _, Some(atom)) => bucket.within.entry(atom).or_default().push(at),
            _ => bucket.loose.push(at),
        }
        self.rules.push(Indexed { rule: rule.clone(), atoms, fence, within });
    }

    fn atom(&mut self, atom: &Atom) -> u32 {
        let number = intern(&mut self.atoms, atom.clone());
        if let Atom::Owner(tenant) = atom {
            intern(&mut self.tenants, tenant.clone());
        }
        number
    }

    /// All rules.
    pub(crate) fn rules(&self) -> &[Indexed] {
        &self.rules
    }

    /// What holds for a question, as far as rules about who asks want to know it.
    pub(crate) fn look(&self, ask: &Ask) -> Look {
        let who = self.who(&ask.principal);
        let named = who.iter().filter_map(|who| self.named.get(who));
        self.looked(ask, named, who.clone())
    }

    /// What holds for a question, of all that any rule wants to know.
    pub(crate) fn look_at_all(&self, ask: &Ask) -> Look {
        self.looked(ask, self.named.values(), self.who(&ask.principal))
    }

    fn looked<'a>(&self, ask: &Ask, named: impl Iterator<Item = &'a Filters>, who: Vec<u32>) -> Look {
        let mut owners = self.owned.of_resource(&ask.resource);
        if let Resource::Tenant(name) = &ask.resource
            && let Some(number) = self.tenants.get(name)
        {
            owners.must.insert(*number);
            owners.may.insert(*number);
        }
        let tenant = ask.principal.tenant.as_ref().and_then(|tenant| self.tenants.get(tenant).copied());
        let mut atoms = Holding::default();
        named.for_each(|filters| atoms.join(&filters.of_resource(&ask.resource)));
        // Few policies name tenants, and a question for `**` is about all.
        let owner_atoms = self.atoms.range(Atom::Owner("".into())..).map_while(|(atom, number)| match atom {
            Atom::Owner(tenant) => Some((self.tenants.get(tenant).copied(), *number)),
            Atom::Own => Some((tenant, *number)),
            Atom::Filter(_) => None,
        });
        if owners.may.len() > 0 {
            for (tenant, number) in owner_atoms {
                let Some(tenant) = tenant else { continue };
                if owners.may.contains(tenant) {
                    atoms.may.insert(number);
                }
                if owners.must.contains(tenant) {
                    atoms.must.insert(number);
                }
            }
        }
        Look { atoms, owners, tenant, who }
    }

    fn who(&self, principal: &Principal) -> Vec<u32> {
        let mut who = vec![Who::Any, Who::User(user(principal).into())];
        who.extend(principal.tenant.iter().cloned().map(Who::Tenant));
        let tenant = principal.tenant.as_deref();
        who.extend(principal.roles.iter().map(|name| Who::Role(role(tenant, name).into())));
        let numbers: BTreeSet<_> = who.iter().filter_map(|who| self.who.get(who).copied()).collect();
        numbers.into_iter().collect()
    }

    /// Whether a rule's policy may speak of the question at all: one of a
    /// tenant may permit its own principals what is not the mesh's or another
    /// tenant's, and everybody what belongs to it; it may forbid its own
    /// principals everything, and everybody what belongs to it in part.
    pub(crate) fn may_speak(indexed: &Indexed, look: &Look, ask: &Ask) -> bool {
        let fence = indexed.fence;
        if fence == 0 {
            return true;
        }
        let is_own = look.tenant == Some(fence);
        if indexed.rule.forbids {
            return is_own || look.owners.may.contains(fence);
        }
        let is_usable = matches!(ask.resource, Resource::Topic(_) | Resource::Stream { .. });
        (is_own && is_usable) || look.owners.must.contains(fence)
    }

    /// Whether a rule's scope fits what is asked for.
    pub(crate) fn fits_what(indexed: &Indexed, look: &Look, ask: &Ask) -> bool {
        let rule = &indexed.rule;
        let holding = if rule.forbids { &look.atoms.may } else { &look.atoms.must };
        rule.what.kind.is_none_or(|kind| kind == Type::of(&ask.resource))
            && rule.what.name.as_deref().is_none_or(|name| name == resource_name(&ask.resource))
            && indexed.within.is_none_or(|number| holding.contains(number))
    }

    /// Whether a rule's scope fits who asks.
    pub(crate) fn fits_who(&self, indexed: &Indexed, look: &Look) -> bool {
        self.who.get(&indexed.rule.who).is_some_and(|number| look.who.contains(number))
    }

    /// The rules whose scope fits and that may speak, in order.
    pub(crate) fn candidates(&self, look: &Look, ask: &Ask) -> Vec<&Indexed> {
        // The mesh's, the principal's tenant's, and of those who own some of it.
        let others = || look.owners.may.iter().filter(|owner| Some(*owner) != look.tenant);
        let speaks = |fence: u32| fence == 0 || look.tenant == Some(fence) || look.owners.may.contains(fence);
        let mut found = Vec::new();
        let mut take = |bucket: &Bucket| {
            found.extend_from_slice(&bucket.loose);
            if !bucket.named.is_empty() {
                let key = (Type::of(&ask.resource), resource_name(&ask.resource).into());
                found.extend(bucket.named.get(&key).into_iter().flatten());
            }
            // From whichever side there is less to look at.
            if bucket.within.len() <= look.atoms.may.len() {
                for (atom, rules) in &bucket.within {
                    if look.atoms.may.contains(*atom) {
                        found.extend_from_slice(rules);
                    }
                }
            } else {
                for atom in look.atoms.may.iter() {
                    found.extend(bucket.within.get(&atom).into_iter().flatten());
                }
            }
        };
        for buckets in look.who.iter().filter_map(|who| self.buckets.get(who)) {
            if buckets.len() <= look.owners.may.len() + 2 {
                buckets.iter().filter(|(fence, _)| speaks(**fence)).for_each(|(_, bucket)| take(bucket));
            } else {
                let fences = std::iter::once(0).chain(look.tenant).chain(others());
                fences.filter_map(|fence| buckets.get(&fence)).for_each(&mut take);
            }
        }
        found.sort_unstable();
        found
            .into_iter()
            .filter_map(|at| self.rules.get(at as usize))
            .filter(|indexed| indexed.rule.actions.has(ask.action))
            .filter(|indexed| Self::may_speak(indexed, look, ask) && Self::fits_what(indexed, look, ask))
            .collect()
    }

    /// Whom a resource belongs to in part.
    pub(crate) fn owns_part(&self, look: &Look, tenant: &str) -> bool {
        self.tenants.get(tenant).is_some_and(|number| look.owners.may.contains(*number))
    }

    /// Of which tenants topics are known, with these numbers.
    pub(crate) fn holding_owners(&self, filter: &Filter) -> (Vec<&Arc<str>>, Vec<&Arc<str>>) {
        let holding = self.owned.holding(filter);
        let named = |numbers: &Numbers| {
            self.tenants.iter().filter(|(_, number)| numbers.contains(**number)).map(|(name, _)| name).collect()
        };
        (named(&holding.must), named(&holding.may))
    }
}

/// The name of a resource in policies.
pub(crate) fn resource_name(resource: &Resource) -> &str {
    match resource {
        Resource::Topic(filter) => filter.as_str(),
        Resource::Stream { name, .. } | Resource::Schema(name) | Resource::Tenant(name) => name,
        Resource::Mesh => crate::rule::MESH,
    }
}

#[cfg(test)]
mod tests {
    use weft_govern::access::{Action, Judge as _, Method};
    use weft_govern::{Key, Kind, State};

    use super::*;
    use crate::{CedarJudge, Limits};

    #[test]
    fn a_question_is_held_against_the_filters_of_rules_about_who_asks_and_no_others() {
        let policy = |n: usize| {
            let who = if n == 0 { "principal".to_owned() } else { format!("principal in Role::\"r{n}\"") };
            let rules = format!("@id(\"a\") permit({who}, action, resource in TopicFilter::\"t{n}/**\");");
            let document = serde_json::json!({ "rules": rules }).to_string();
            (Key::new(Kind::Policy, &format!("p{n}")).expect("a name"), Arc::<str>::from(document))
        };
        let mut judge = CedarJudge::new(Limits::default()).expect("a judge");
        assert!(judge.learn(&State::default().with((0..100).map(policy), &[])).is_empty());
        let roles = [Arc::from("r7")].into();
        let principal = Arc::new(Principal { tenant: None, name: "ann".into(), roles, method: Method::Token });
        let resource = Resource::Topic(Filter::everything());
        let ask = Ask { principal, action: Action::Observe, resource, lane: None };
        assert_eq!(judge.index.look(&ask).atoms.may.len(), 2, "of rules about anybody, and about the role");
        assert_eq!(judge.index.look_at_all(&ask).atoms.may.len(), 100, "for who asks why");
    }
}
