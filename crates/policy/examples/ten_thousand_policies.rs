//! How long it takes to learn 10,000 policies of 1,000 tenants, and to judge.
//!
//! `cargo run --release -p weft-policy --example ten_thousand`

use std::sync::Arc;
use std::time::{Duration, Instant};

use weft_base::UnixNanos;
use weft_govern::access::{Action, Ask, Judge, Method, Place, Principal, Resource};
use weft_govern::{Key, Kind, State};
use weft_policy::{CedarJudge, Limits};
use weft_topic::Filter;

const TENANTS: usize = 1_000;
const POLICIES: usize = 10_000;

fn key(kind: Kind, name: &str) -> Key {
    Key::new(kind, name).unwrap_or_else(|error| panic!("{error}"))
}

fn policy(at: usize) -> (Key, Arc<str>) {
    let tenant = at % TENANTS;
    // Every tenth is the mesh's, for all; the others are their tenants'.
    let (owner, rule) = match at / TENANTS {
        0 => (
            None,
            format!(
                "@id(\"a\") permit(principal in Tenant::\"t{tenant}\", action, resource in TopicFilter::\"t{tenant}/open/**\");"
            ),
        ),
        1 => (
            None,
            format!(
                "@id(\"a\") forbid(principal, action == Action::\"publish\", resource in TopicFilter::\"t{tenant}/*/frozen/**\") unless {{ context.region == \"eu\" }};"
            ),
        ),
        n => (
            Some(format!("t{tenant}")),
            format!(
                "@id(\"a\") permit(principal in Role::\"t{tenant}/role{n}\", action in [Action::\"publish\", Action::\"subscribe\"], resource in TopicFilter::\"t{tenant}/area{n}/**\") when {{ context.hub like \"new-*\" && principal.method == \"token\" }};"
            ),
        ),
    };
    let mut document = serde_json::json!({ "rules": rule });
    if let Some(owner) = owner {
        document["tenant"] = owner.into();
    }
    (key(Kind::Policy, &format!("p{at}")), document.to_string().into())
}

fn main() {
    let tenants = (0..TENANTS).map(|n| {
        let document = serde_json::json!({ "topics": [format!("t{n}/**")] });
        (key(Kind::Tenant, &format!("t{n}")), document.to_string().into())
    });
    let state = State::default().with(tenants.chain((0..POLICIES).map(policy)), &[]);
    let mut judge = CedarJudge::new(Limits::default()).unwrap_or_else(|error| panic!("{error}"));
    let start = Instant::now();
    let faults = judge.learn(&state);
    println!("learn: {:?}, {} rules, {} faults", start.elapsed(), judge.rules(), faults.len());
    let next = state.with([policy(7)], &[key(Kind::Policy, "p8")]);
    let start = Instant::now();
    judge.learn(&next);
    println!("learn a change of two: {:?}", start.elapsed());

    let place = Place { hub: "new-york".into(), region: "us".into(), labels: Arc::from([]) };
    let now = UnixNanos(1_795_348_800_000_000_000);
    let mut asks: Vec<(&str, Vec<Ask>)> = Vec::new();
    for (what, operator, topic) in [
        ("a topic", false, "t{n}/area5/x/y"),
        ("a filter", false, "t{n}/area5/**"),
        ("an operator, a filter of one tenant", true, "t{n}/**"),
        ("an operator, a filter over all tenants", true, "*/open/**"),
        ("an operator, all topics", true, "**"),
    ] {
        let one = |n: usize| {
            let tenant = (!operator).then(|| format!("t{n}").as_str().into());
            let roles = (2..6).map(|role| format!("role{role}").as_str().into()).collect::<Vec<Arc<str>>>().into();
            let principal = Principal { tenant, name: "ann".into(), roles, method: Method::Token };
            let filter = Filter::parse(&topic.replace("{n}", &n.to_string())).unwrap_or_else(|error| panic!("{error}"));
            Ask {
                principal: Arc::new(principal),
                action: Action::Publish,
                resource: Resource::Topic(filter),
                lane: None,
            }
        };
        asks.push((what, (0..TENANTS).map(one).collect()));
    }
    for (what, asks) in asks {
        let mut times: Vec<Duration> = Vec::with_capacity(asks.len());
        let mut allowed = 0;
        for ask in &asks {
            let start = Instant::now();
            allowed += usize::from(judge.judge(ask, &place, now).allowed);
            times.push(start.elapsed());
        }
        times.sort_unstable();
        println!(
            "{what}: median {:?}, most {:?}, {allowed} of {} allowed",
            times[times.len() / 2],
            times[times.len() - 1],
            asks.len()
        );
    }
}
