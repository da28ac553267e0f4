//! States, questions and judges for the tests.
#![allow(dead_code, unreachable_pub)]

use std::sync::Arc;

use weft_base::UnixNanos;
use weft_govern::access::{Action, Ask, Judge, Method, Place, Principal, Resource, Verdict};
use weft_govern::{Key, Kind, State};
use weft_policy::{CedarJudge, Limits};
use weft_topic::Filter;

/// Noon of 2026-11-22.
pub const NOON: UnixNanos = UnixNanos(1_795_348_800_000_000_000);

pub fn place() -> Place {
    Place { hub: "new-york".into(), region: "us".into(), labels: Arc::from(["edge".into()]) }
}

pub fn key(kind: Kind, name: &str) -> Key {
    Key::new(kind, name).expect("it is there and right")
}

pub fn policy(name: &str, tenant: Option<&str>, rules: &str) -> (Key, Arc<str>) {
    let mut document = serde_json::json!({ "rules": rules });
    if let Some(tenant) = tenant {
        document["tenant"] = tenant.into();
    }
    (key(Kind::Policy, name), document.to_string().into())
}

pub fn tenant(name: &str, topics: &[&str]) -> (Key, Arc<str>) {
    (key(Kind::Tenant, name), serde_json::json!({ "topics": topics }).to_string().into())
}

pub fn export(name: &str, tenant: &str, topics: &str, to: &[&str], actions: &[&str]) -> (Key, Arc<str>) {
    let document = serde_json::json!({ "tenant": tenant, "topics": topics, "to": to, "actions": actions });
    (key(Kind::Export, name), document.to_string().into())
}

pub fn import(name: &str, tenant: &str, from: &str, topics: &str) -> (Key, Arc<str>) {
    let document = serde_json::json!({ "tenant": tenant, "from": from, "topics": topics });
    (key(Kind::Import, name), document.to_string().into())
}

pub fn state(documents: impl IntoIterator<Item = (Key, Arc<str>)>) -> State {
    State::default().with(documents, &[])
}

/// A judge of these documents, all of which can be understood.
pub fn judge(documents: impl IntoIterator<Item = (Key, Arc<str>)>) -> CedarJudge {
    let mut judge = CedarJudge::new(Limits::default()).expect("it is there and right");
    assert_eq!(judge.learn(&state(documents)), []);
    judge
}

/// A principal: `tenant/name` or `name`, with roles.
pub fn who(name: &str, roles: &[&str]) -> Arc<Principal> {
    let (tenant, name) = match name.split_once('/') {
        Some((tenant, name)) => (Some(tenant.into()), name),
        None => (None, name),
    };
    let roles: Vec<Arc<str>> = roles.iter().map(|role| (*role).into()).collect();
    Arc::new(Principal { tenant, name: name.into(), roles: roles.into(), method: Method::Token })
}

pub fn topic(filter: &str) -> Resource {
    Resource::Topic(Filter::parse(filter).expect("it is there and right"))
}

pub fn stream(name: &str, filters: &[&str]) -> Resource {
    let filters: Vec<_> = filters.iter().map(|filter| Filter::parse(filter).expect("it is there and right")).collect();
    Resource::Stream { name: name.into(), filters: filters.into() }
}

pub fn ask(principal: &Arc<Principal>, action: Action, resource: Resource) -> Ask {
    Ask { principal: principal.clone(), action, resource, lane: None }
}

pub fn verdict(judge: &CedarJudge, ask: &Ask) -> Verdict {
    judge.judge(ask, &place(), NOON)
}

pub fn allows(judge: &CedarJudge, principal: &Arc<Principal>, action: Action, resource: Resource) -> bool {
    verdict(judge, &ask(principal, action, resource)).allowed
}

pub fn names(verdict: &Verdict) -> Vec<&str> {
    verdict.rules.iter().map(|name| &**name).collect()
}
