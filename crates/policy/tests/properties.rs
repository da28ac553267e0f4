//! What is allowed for a filter against what is allowed for each of its topics,
//! the index against all rules, and what `can` says against what is so.

mod common;

use std::sync::Arc;

use common::*;
use proptest::prelude::*;
use weft_govern::access::{Action, Principal};
use weft_policy::{Can, CedarJudge, Subject};
use weft_topic::Filter;

const LEVELS: [&str; 2] = ["a", "b"];

/// All topics of one to four levels of a small alphabet, one level of which no
/// filter names: enough to tell all filters of up to three levels apart.
fn topics() -> Vec<Filter> {
    let mut out: Vec<String> = Vec::new();
    let mut last = vec![String::new()];
    for _ in 0..4 {
        last =
            last.iter()
                .flat_map(|start| {
                    LEVELS.iter().chain(&["other"]).map(move |level| {
                        if start.is_empty() { (*level).to_owned() } else { format!("{start}/{level}") }
                    })
                })
                .collect();
        out.extend(last.iter().cloned());
    }
    out.iter().map(|text| Filter::parse(text).expect("a filter")).collect()
}

fn filter() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "*", "**"]), 1..4).prop_map(|levels| levels.join("/"))
}

fn literal() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(LEVELS.to_vec()), 1..4).prop_map(|levels| levels.join("/"))
}

fn resource() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => Just("resource".to_owned()),
        1 => Just("resource is Topic".to_owned()),
        4 => filter().prop_map(|f| format!("resource in TopicFilter::\"{f}\"")),
        1 => filter().prop_map(|f| format!("resource is Topic in TopicFilter::\"{f}\"")),
        1 => literal().prop_map(|t| format!("resource == Topic::\"{t}\"")),
        1 => Just("resource in Tenant::\"x\"".to_owned()),
    ]
}

fn principal() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "principal",
        "principal is User",
        "principal == User::\"x/ann\"",
        "principal == User::\"root\"",
        "principal in Role::\"x/r\"",
        "principal in Role::\"r\"",
        "principal in Tenant::\"x\"",
        "principal is User in Tenant::\"y\"",
    ])
}

fn action() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "action",
        "action == Action::\"subscribe\"",
        "action in [Action::\"subscribe\", Action::\"publish\"]",
        "action == Action::\"publish\"",
    ])
}

/// Conditions that Cedar's validator takes: each part can be either.
fn condition() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => filter().prop_map(|f| format!("resource in TopicFilter::\"{f}\"")),
        2 => (filter(), filter())
            .prop_map(|(f, g)| format!("resource in [TopicFilter::\"{f}\", TopicFilter::\"{g}\"]")),
        1 => literal().prop_map(|t| format!("resource == Topic::\"{t}\"")),
        1 => literal().prop_map(|t| format!("resource != Topic::\"{t}\"")),
        1 => filter().prop_map(|f| format!("resource is Topic in TopicFilter::\"{f}\"")),
        1 => Just("resource in Tenant::\"y\"".to_owned()),
        1 => Just("(principal has tenant && resource in principal.tenant)".to_owned()),
        1 => Just("principal.roles.contains(\"r\")".to_owned()),
        1 => Just("principal.name == \"ann\"".to_owned()),
        1 => Just("principal in Role::\"x/r\"".to_owned()),
        1 => Just("(principal has tenant && principal.tenant == Tenant::\"x\")".to_owned()),
        1 => Just("context.hub == \"new-york\"".to_owned()),
        1 => Just("context.region == \"eu\"".to_owned()),
        1 => Just("context has lane".to_owned()),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(l, r)| format!("({l} && {r})")),
            (inner.clone(), inner.clone()).prop_map(|(l, r)| format!("({l} || {r})")),
            inner.clone().prop_map(|e| format!("!({e})")),
            (inner.clone(), inner).prop_map(|(l, r)| format!("(if context.hub == \"new-york\" then {l} else {r})")),
        ]
    })
}

type Rule = (bool, &'static str, &'static str, String, Option<(bool, String)>);

fn rule() -> impl Strategy<Value = Rule> {
    let clause = prop::option::of((any::<bool>(), condition()));
    (prop::bool::weighted(0.3), principal(), action(), resource(), clause)
}

fn text((forbids, principal, action, resource, clause): &Rule, id: usize) -> String {
    let effect = if *forbids { "forbid" } else { "permit" };
    let clause = match clause {
        None => String::new(),
        Some((true, condition)) => format!(" when {{ {condition} }}"),
        Some((false, condition)) => format!(" unless {{ {condition} }}"),
    };
    format!("@id(\"r{id}\") {effect}({principal}, {action}, {resource}){clause};\n")
}

/// A policy of the mesh or of a tenant, of rules that are understood.
#[derive(Clone, Debug)]
struct Mesh {
    policies: Vec<(Option<&'static str>, Vec<Rule>)>,
    open: bool,
}

fn mesh() -> impl Strategy<Value = Mesh> {
    let tenant = prop::sample::select(vec![None, None, Some("x"), Some("y")]);
    let policies = prop::collection::vec((tenant, prop::collection::vec(rule(), 1..4)), 1..4);
    (policies, any::<bool>()).prop_map(|(policies, open)| Mesh { policies, open })
}

fn documents(mesh: &Mesh) -> Vec<(weft_govern::Key, Arc<str>)> {
    let compiler = weft_policy::Compiler::new(weft_policy::Limits::default()).expect("the schema is right");
    let mut out = vec![tenant("x", &["a/**"]), tenant("y", &["b/a/**", "b/b"])];
    if mesh.open {
        out.push(export("e", "y", "b/a/**", &["x"], &["subscribe"]));
        out.push(import("i", "x", "y", "b/**"));
    }
    for (at, (tenant, rules)) in mesh.policies.iter().enumerate() {
        // A rule that can never hold is refused, rightly; the others stay.
        let kept: Vec<_> = rules
            .iter()
            .enumerate()
            .map(|(id, rule)| text(rule, id))
            .filter(|text| compiler.compile("p", *tenant, text).is_ok())
            .collect();
        out.push(policy(&format!("p{at}"), *tenant, &kept.concat()));
    }
    out
}

fn people() -> [Arc<Principal>; 5] {
    [who("x/ann", &[]), who("x/bob", &["r"]), who("y/ann", &["r"]), who("root", &[]), who("ops", &["r"])]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn what_is_allowed_for_a_filter_is_allowed_for_each_of_its_topics(
        mesh in mesh(),
        asked in filter(),
    ) {
        let judge = judge(documents(&mesh));
        let asked = Filter::parse(&asked).unwrap();
        for person in people() {
            let verdict = verdict(&judge, &ask(&person, Action::Subscribe, topic(asked.as_str())));
            if !verdict.allowed {
                continue;
            }
            for one in topics().iter().filter(|one| asked.includes(one)) {
                let of_one = common::verdict(&judge, &ask(&person, Action::Subscribe, topic(one.as_str())));
                prop_assert!(of_one.allowed, "{asked} is allowed to {person} by {:?}, {one} is not: {}", verdict.rules, of_one.reason);
            }
        }
    }

    #[test]
    fn never_means_never_and_always_means_always(mesh in mesh(), asked in filter()) {
        let judge = judge(documents(&mesh));
        let asked = Filter::parse(&asked).unwrap();
        let inside: Vec<_> = topics().into_iter().filter(|one| asked.includes(one)).collect();
        let mut subjects: Vec<(Subject, Vec<Arc<Principal>>)> = vec![
            (Subject::Tenant("x".into()), people()[..2].to_vec()),
            (Subject::Tenant("y".into()), people()[2..3].to_vec()),
            (Subject::Role { tenant: Some("x".into()), role: "r".into() }, people()[1..2].to_vec()),
            (Subject::Role { tenant: None, role: "r".into() }, people()[4..].to_vec()),
        ];
        subjects.extend(people().map(|person| (Subject::Principal(person.clone()), vec![person])));
        for (subject, people) in subjects {
            let can = judge.can(&subject, Action::Subscribe, &asked);
            for person in people {
                let allowed = |judge: &CedarJudge, one: &Filter| allows(judge, &person, Action::Subscribe, topic(one.as_str()));
                match &can {
                    Can::Always { .. } => {
                        for one in &inside {
                            prop_assert!(allowed(&judge, one), "{subject:?} always, {person} not {one}");
                        }
                    }
                    Can::Never { why } => {
                        for one in &inside {
                            prop_assert!(!allowed(&judge, one), "{subject:?} never ({why:?}), {person} {one}");
                        }
                    }
                    Can::Sometimes { examples, .. } => prop_assert!(!examples.is_empty()),
                }
            }
        }
    }

    #[test]
    fn an_explanation_tells_what_the_judge_says_and_finds_all_rules_that_decide(mesh in mesh(), asked in filter()) {
        let judge = judge(documents(&mesh));
        for person in people() {
            let question = ask(&person, Action::Subscribe, topic(&asked));
            let verdict = verdict(&judge, &question);
            let explained = judge.explain(&question, &place(), NOON);
            prop_assert_eq!(explained.allowed, verdict.allowed);
            // It looks at all rules, without the index.
            let matched: Vec<_> = explained.steps.iter().filter(|step| step.result == weft_policy::Found::Matched).collect();
            let forbids: Vec<_> = matched.iter().filter(|step| step.effect == Some("forbid")).map(|step| &*step.what).collect();
            let permits: Vec<_> = matched.iter().filter(|step| step.effect == Some("permit")).map(|step| &*step.what).collect();
            let passes = explained.steps.iter().all(|step| step.result != weft_policy::Found::Refuses);
            let expected = if !passes { Vec::new() } else if forbids.is_empty() { permits } else { forbids };
            prop_assert_eq!(names(&verdict), expected);
        }
    }
}

/// The oracle above must be able to fail: a judge that took `may` for `must`
/// would be caught by these.
#[test]
fn the_oracle_sees_a_filter_that_is_wider_than_what_is_permitted() {
    let judge = judge([policy("p", None, "@id(\"a\") permit(principal, action, resource in TopicFilter::\"a/*\");")]);
    let wide = Filter::parse("a/**").unwrap();
    let root = who("root", &[]);
    let inside: Vec<_> = topics().into_iter().filter(|one| wide.includes(one)).collect();
    let allowed = inside.iter().filter(|one| allows(&judge, &root, Action::Subscribe, topic(one.as_str()))).count();
    assert!(allowed > 0 && allowed < inside.len(), "some of its topics are allowed and some are not");
    assert!(!allows(&judge, &root, Action::Subscribe, topic("a/**")));
    assert!(matches!(judge.can(&Subject::Principal(root), Action::Subscribe, &wide), Can::Sometimes { .. }));
}
