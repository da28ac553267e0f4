//! Why something is so, what can ever be, tests of policies, and who would be
//! locked out.

mod common;

use std::sync::Arc;

use common::*;
use weft_govern::access::{Action, Judge, Method, Principal, Resource};
use weft_policy::{Can, Case, CedarJudge, Found, Limits, Subject};
use weft_topic::Filter;

const RULES: &str = r#"
@id("read")
permit(principal in Role::"billing/clerk", action == Action::"subscribe", resource in TopicFilter::"billing/**")
when { context.region == "us" && principal.method == "certificate" }
unless { resource in TopicFilter::"billing/secret/**" };

@id("eu") permit(principal in Tenant::"billing", action == Action::"subscribe", resource in TopicFilter::"billing/eu/**");
@id("write") permit(principal == User::"billing/ann", action == Action::"publish", resource in TopicFilter::"billing/**");
@id("night") forbid(principal, action, resource) when { context.region == "moon" };
"#;

fn billing() -> CedarJudge {
    judge([tenant("billing", &["billing/**"]), tenant("trade", &["trade/**"]), policy("clerks", None, RULES)])
}

fn filter(text: &str) -> Filter {
    Filter::parse(text).expect("a filter")
}

#[test]
fn an_explanation_says_what_would_have_to_hold() {
    let judge = billing();
    let bob = who("billing/bob", &["clerk"]);
    let explained = judge.explain(&ask(&bob, Action::Subscribe, topic("billing/us/x")), &place(), NOON);
    assert!(!explained.allowed);
    let step = |name: &str| explained.steps.iter().find(|step| step.what == name).unwrap();
    assert_eq!(step("fence").result, Found::Passes);
    let read = step("clerks/read");
    assert_eq!((read.result, read.effect, read.line), (Found::ConditionFalse, Some("permit"), Some(2)));
    assert_eq!(read.needs, ["principal.method == \"certificate\""], "the part that holds is not told");
    let eu = step("clerks/eu");
    assert_eq!(eu.result, Found::AlmostFits);
    assert!(eu.needs[0].contains("within `billing/eu/**`"), "{eu:?}");
    assert_eq!(step("clerks/night").result, Found::ConditionFalse);
    let secret = judge.explain(&ask(&bob, Action::Subscribe, topic("billing/secret/x")), &place(), NOON);
    let needs = &secret.steps.iter().find(|step| step.what == "clerks/read").unwrap().needs;
    assert!(needs.iter().any(|need| need.starts_with("not: resource in")), "{needs:?}");
    let outside = judge.explain(&ask(&bob, Action::Subscribe, topic("trade/x")), &place(), NOON);
    assert_eq!(outside.steps.len(), 1);
    assert_eq!(outside.steps[0].result, Found::Refuses);
    let json = serde_json::to_value(&explained).unwrap();
    assert_eq!(json["steps"][1]["result"], "condition_false", "{json}");
    let told = weft_govern::api::Explained::from(explained);
    assert_eq!(told.steps[1].result, "condition_false");
}

#[test]
fn subset_questions_are_answered_by_the_algebra() {
    let judge = billing();
    let billing = Subject::Tenant("billing".into());
    let never = |can: Can, says: &str| match can {
        Can::Never { why } => assert!(why.iter().any(|why| why.contains(says)), "{why:?}"),
        other => panic!("{other:?}"),
    };
    never(judge.can(&Subject::Tenant("trade".into()), Action::Subscribe, &filter("billing/**")), "fence");
    never(judge.can(&billing, Action::Consume, &filter("billing/**")), "no rule permits `consume`");
    let Can::Sometimes { examples, but } = judge.can(&billing, Action::Subscribe, &filter("billing/**")) else {
        panic!("it is possible");
    };
    assert_eq!(examples.len(), 2);
    assert_eq!((&*examples[0].rule, &examples[0].topics), ("clerks/read", &vec!["billing/**".to_owned()]));
    assert!(examples[0].when.iter().any(|when| when.contains("billing/clerk")), "{examples:?}");
    assert_eq!(examples[1].topics, ["billing/**", "billing/eu/**"]);
    assert!(but.iter().any(|but| but.contains("clerks/night")), "{but:?}");
    let Can::Sometimes { examples, .. } = judge.can(&billing, Action::Publish, &filter("billing/**")) else {
        panic!("ann can");
    };
    assert!(examples[0].when[0].contains("billing/ann"), "{examples:?}");
    let bob = Subject::Principal(who("billing/bob", &["clerk"]));
    never(judge.can(&bob, Action::Publish, &filter("billing/x")), "no rule permits");
    let certain = common::judge([
        tenant("billing", &["billing/**"]),
        policy(
            "p",
            None,
            r#"
@id("a") permit(principal in Tenant::"billing", action, resource in TopicFilter::"billing/**");
@id("b") forbid(principal, action == Action::"publish", resource in TopicFilter::"billing/closed/**");
"#,
        ),
    ]);
    assert_eq!(
        certain.can(&billing, Action::Subscribe, &filter("billing/*")),
        Can::Always { rules: vec!["p/a".into()] }
    );
    never(certain.can(&billing, Action::Publish, &filter("billing/closed/x/**")), "p/b");
    assert!(matches!(certain.can(&billing, Action::Publish, &filter("billing/**")), Can::Sometimes { .. }));
    let root = Principal { method: Method::Administrator, ..(*who("root", &[])).clone() };
    assert!(matches!(
        certain.can(&Subject::Principal(Arc::new(root)), Action::Observe, &filter("**")),
        Can::Always { .. }
    ));
}

#[test]
fn cases_that_come_out_otherwise_are_told_with_the_reason() {
    let judge = billing();
    let ann = who("billing/ann", &[]);
    let case = |name: &str, at: &str, allowed: bool, rule: Option<&str>| Case {
        name: name.into(),
        ask: ask(&ann, Action::Publish, topic(at)),
        place: Arc::new(place()),
        now: NOON,
        allowed,
        rule: rule.map(Into::into),
    };
    let good = [case("writes", "billing/x", true, Some("clerks/write")), case("stays", "trade/x", false, None)];
    let report = judge.run_tests(&good);
    assert_eq!((report.cases, report.failures.len()), (2, 0));
    assert_eq!(report.untested, ["clerks/read", "clerks/eu", "clerks/night"]);
    let bad = [case("one", "billing/x", false, None), case("two", "billing/x", true, Some("clerks/read"))];
    let report = judge.run_tests(&bad);
    assert_eq!(report.failures[0].what, "is allowed, expected denied");
    assert_eq!(report.failures[1].what, "is decided by `clerks/write`, expected `clerks/read`");
    assert!(report.failures[0].explanation.allowed);
}

#[test]
fn a_change_that_would_lock_out_its_author_is_seen() {
    let admins = |rules: &str| policy("admins", None, rules);
    let all = r#"@id("root") permit(principal == User::"root", action == Action::"administer", resource);"#;
    let less =
        r#"@id("root") permit(principal == User::"root", action == Action::"administer", resource == Tenant::"b");"#;
    let before = state([tenant("a", &["a"]), tenant("b", &["b"]), admins(all)]);
    let mut judge = CedarJudge::new(Limits::default()).unwrap();
    judge.learn(&before);
    let root = who("root", &[]);
    let locked =
        |after: &weft_govern::State, who: &Arc<Principal>| judge.would_lock_out(&before, after, who, &place(), NOON);
    let narrowed = before.with([admins(less)], &[]);
    let reason = locked(&narrowed, &root).unwrap();
    assert!(reason.contains("administer the mesh"), "{reason}");
    assert!(locked(&before.with([], &[key(weft_govern::Kind::Policy, "admins")]), &root).is_some());
    let broken = before.with([admins("permit(")], &[]);
    assert!(locked(&broken, &root).is_some());
    assert_eq!(
        locked(&before.with([], &[key(weft_govern::Kind::Tenant, "a")]), &root),
        None,
        "what is gone needs nobody"
    );
    assert_eq!(locked(&narrowed, &who("ann", &[])), None, "who could do nothing loses nothing");
    let named = Arc::new(Principal { method: Method::Administrator, ..(*root).clone() });
    assert_eq!(locked(&narrowed, &named), None, "administrators cannot be locked out");
    assert!(allows(&judge, &root, Action::Administer, Resource::Mesh), "and the judge knows what it knew");
}
