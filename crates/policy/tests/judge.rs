//! What is allowed, what is refused, and which rule says so.

mod common;

use std::sync::Arc;

use common::*;
use weft_base::{Lane, UnixNanos};
use weft_govern::Kind;
use weft_govern::access::{Action, Ask, Judge, Method, Principal, Resource};
use weft_policy::{CedarJudge, Limits};

const TRADERS: &str = r#"
@id("read")
permit(principal in Role::"trader", action in [Action::"subscribe", Action::"consume"], resource in TopicFilter::"orders/**");

@id("write")
permit(principal in Role::"trader", action == Action::"publish", resource in TopicFilter::"orders/*/new");

@id("secret")
forbid(principal, action, resource in TopicFilter::"orders/*/secret/**") unless { principal in Role::"auditor" };
"#;

#[test]
fn nothing_is_allowed_that_no_rule_allows() {
    let nobody = CedarJudge::new(Limits::default()).unwrap();
    let empty = judge([]);
    for action in Action::ALL {
        for resource in [topic("a"), stream("s", &["a"]), Resource::Schema("x".into()), Resource::Mesh] {
            for judge in [&nobody, &empty] {
                let verdict = verdict(judge, &ask(&who("ann", &["trader"]), action, resource.clone()));
                assert!(!verdict.allowed && verdict.rules.is_empty(), "{verdict:?}");
            }
        }
    }
}

#[test]
fn a_verdict_names_the_rules_that_decided() {
    let judge = judge([policy("traders", None, TRADERS)]);
    let ann = who("ann", &["trader"]);
    let ok = verdict(&judge, &ask(&ann, Action::Subscribe, topic("orders/eu/new")));
    assert!(ok.allowed);
    assert_eq!(names(&ok), ["traders/read"]);
    assert_eq!(ok.version, 1);
    assert_eq!(ok.until, None);
    let no = verdict(&judge, &ask(&ann, Action::Subscribe, topic("orders/eu/secret/x")));
    assert!(!no.allowed);
    assert_eq!(names(&no), ["traders/secret"]);
    assert!(no.reason.contains("traders/secret"), "{}", no.reason);
    let none = verdict(&judge, &ask(&ann, Action::Publish, topic("orders/eu/old")));
    assert!(!none.allowed && none.rules.is_empty());
    assert!(none.reason.contains("no policy permits"), "{}", none.reason);
}

#[test]
fn a_filter_is_allowed_only_if_a_permit_includes_it_and_no_forbid_meets_it() {
    let judge = judge([policy("traders", None, TRADERS)]);
    let ann = who("ann", &["trader"]);
    let both = who("bob", &["auditor", "trader"]);
    for (filter, to_ann, to_both) in [
        ("orders/eu/new", true, true),
        ("orders/*/new", true, true),
        ("orders/*/new/**", true, true),
        ("orders/eu/*", false, true),
        ("orders/**", false, true),
        ("orders/eu/**", false, true),
        ("orders/eu/secret/x", false, true),
        ("**", false, false),
        ("*/eu/new", false, false),
        ("payments/x", false, false),
    ] {
        assert_eq!(allows(&judge, &ann, Action::Subscribe, topic(filter)), to_ann, "{filter}");
        assert_eq!(allows(&judge, &both, Action::Subscribe, topic(filter)), to_both, "{filter}");
    }
    assert!(allows(&judge, &ann, Action::Consume, stream("s", &["orders/*/new", "orders/*/old"])));
    assert!(!allows(&judge, &ann, Action::Consume, stream("s", &["orders/*/new", "payments/**"])));
    assert!(!allows(&judge, &ann, Action::Consume, stream("s", &["orders/*/new", "orders/eu/secret/**"])));
    assert!(!allows(&judge, &ann, Action::Consume, stream("s", &[])), "what it captures is not known");
}

#[test]
fn an_unless_that_names_topics_is_sound_for_filters_too() {
    let judge = judge([policy(
        "p",
        None,
        r#"
@id("most") permit(principal, action == Action::"subscribe", resource in TopicFilter::"a/**")
    unless { resource in TopicFilter::"a/secret/**" };
@id("but") forbid(principal, action == Action::"publish", resource) unless { resource in TopicFilter::"a/open/**" };
@id("any") permit(principal, action == Action::"publish", resource);
"#,
    )]);
    let ann = who("ann", &[]);
    for (filter, allowed) in [("a/x", true), ("a/x/**", true), ("a/secret/y", false), ("a/**", false), ("a/*", false)] {
        assert_eq!(allows(&judge, &ann, Action::Subscribe, topic(filter)), allowed, "{filter}");
    }
    for (filter, allowed) in [("a/open/x", true), ("a/open/**", true), ("a/**", false), ("b", false)] {
        assert_eq!(allows(&judge, &ann, Action::Publish, topic(filter)), allowed, "{filter}");
    }
}

#[test]
fn topics_can_be_named_one_by_one() {
    let judge = judge([policy(
        "p",
        None,
        r#"
@id("one") permit(principal, action == Action::"publish", resource == Topic::"a/b");
@id("two") permit(principal, action == Action::"subscribe", resource) when { resource == Topic::"a/b" || Topic::"a/c" == resource };
@id("not") permit(principal, action == Action::"request", resource is Topic) when { resource != Topic::"a/b" };
@id("stream") permit(principal, action == Action::"consume", resource == Stream::"s");
@id("streams") permit(principal, action == Action::"observe", resource is Stream) when { resource.name like "log-*" };
"#,
    )]);
    let ann = who("ann", &[]);
    assert!(allows(&judge, &ann, Action::Publish, topic("a/b")));
    assert!(!allows(&judge, &ann, Action::Publish, topic("a/*")));
    assert!(allows(&judge, &ann, Action::Subscribe, topic("a/c")));
    assert!(!allows(&judge, &ann, Action::Subscribe, topic("a/d")));
    assert!(allows(&judge, &ann, Action::Request, topic("a/c")));
    assert!(!allows(&judge, &ann, Action::Request, topic("a/b")));
    assert!(!allows(&judge, &ann, Action::Request, topic("a/*")));
    assert!(allows(&judge, &ann, Action::Consume, stream("s", &["x"])));
    assert!(!allows(&judge, &ann, Action::Consume, stream("t", &["x"])));
    assert!(!allows(&judge, &ann, Action::Consume, stream("t", &["a/b"])));
    assert!(allows(&judge, &ann, Action::Observe, stream("log-1", &["x"])));
    assert!(!allows(&judge, &ann, Action::Observe, stream("log", &["x"])));
    assert!(!allows(&judge, &ann, Action::Observe, topic("log-1")));
}

fn shared() -> CedarJudge {
    judge([
        tenant("billing", &["billing/**"]),
        tenant("trade", &["trade/**", "prices/*"]),
        export("quotes", "trade", "prices/*", &["billing"], &["subscribe"]),
        import("quotes", "billing", "trade", "prices/*"),
        policy(
            "members",
            None,
            r#"
@id("own") permit(principal, action, resource) when { principal has tenant && resource in principal.tenant };
@id("prices") permit(principal in Tenant::"billing", action, resource in TopicFilter::"prices/**");
@id("all") permit(principal == User::"root", action, resource);
"#,
        ),
    ])
}

#[test]
fn tenants_stay_within_what_is_theirs_and_what_is_opened_to_them() {
    let judge = shared();
    let (ann, bob, root) = (who("billing/ann", &[]), who("trade/bob", &[]), who("root", &[]));
    assert!(allows(&judge, &ann, Action::Publish, topic("billing/x")));
    assert!(allows(&judge, &ann, Action::Subscribe, topic("billing/**")));
    assert!(!allows(&judge, &ann, Action::Subscribe, topic("**")));
    assert!(!allows(&judge, &ann, Action::Publish, topic("trade/x")));
    assert!(allows(&judge, &bob, Action::Publish, topic("prices/x")));
    assert!(allows(&judge, &ann, Action::Subscribe, topic("prices/x")), "exported and imported");
    assert!(!allows(&judge, &ann, Action::Publish, topic("prices/x")), "not for this action");
    assert!(!allows(&judge, &bob, Action::Publish, topic("nobodys")), "of no tenant");
    assert!(allows(&judge, &root, Action::Publish, topic("nobodys")));
    assert!(allows(&judge, &root, Action::Subscribe, topic("**")));
    let no = verdict(&judge, &ask(&ann, Action::Publish, topic("prices/x")));
    assert!(no.rules.is_empty() && no.reason.contains("does not export it for `publish`"), "{}", no.reason);
    assert!(allows(&judge, &ann, Action::Administer, Resource::Tenant("billing".into())));
    assert!(!allows(&judge, &ann, Action::Administer, Resource::Tenant("trade".into())));
    assert!(!allows(&judge, &ann, Action::Administer, Resource::Mesh));
}

#[test]
fn a_tenants_policy_speaks_for_its_own_principals_and_topics_alone() {
    let judge = judge([
        tenant("billing", &["billing/**"]),
        tenant("trade", &["trade/**"]),
        export("open", "trade", "trade/**", &[], &["subscribe"]),
        import("open", "billing", "trade", "trade/**"),
        policy(
            "billing",
            Some("billing"),
            r#"
@id("greedy") permit(principal, action, resource);
@id("jealous") forbid(principal, action, resource in TopicFilter::"trade/closed/**");
"#,
        ),
    ]);
    let (ann, bob, root) = (who("billing/ann", &[]), who("trade/bob", &[]), who("root", &[]));
    assert!(allows(&judge, &ann, Action::Publish, topic("billing/x")));
    assert!(allows(&judge, &ann, Action::Subscribe, topic("trade/x")), "opened to it by the owner");
    assert!(!allows(&judge, &ann, Action::Subscribe, topic("trade/closed/x")), "it may forbid its own");
    assert!(!allows(&judge, &bob, Action::Publish, topic("trade/x")), "not its principal, not its topic");
    assert!(allows(&judge, &root, Action::Publish, topic("billing/x")), "its topic");
    assert!(!allows(&judge, &root, Action::Publish, topic("trade/x")));
    assert!(!allows(&judge, &root, Action::Subscribe, topic("**")), "not all of it is its own");
    for resource in [Resource::Mesh, Resource::Tenant("trade".into()), Resource::Schema("x".into())] {
        assert!(!allows(&judge, &ann, Action::Administer, resource.clone()), "{resource}");
    }
    assert!(allows(&judge, &ann, Action::Administer, Resource::Tenant("billing".into())));
}

#[test]
fn the_meshs_own_topics_are_in_filters_alone_that_name_them() {
    let judge = judge([policy(
        "p",
        None,
        r#"
@id("all") permit(principal, action == Action::"subscribe", resource in TopicFilter::"**");
@id("audit") permit(principal in Role::"auditor", action == Action::"subscribe", resource in TopicFilter::"_audit/**");
"#,
    )]);
    assert!(allows(&judge, &who("ann", &[]), Action::Subscribe, topic("a/**")));
    assert!(!allows(&judge, &who("ann", &[]), Action::Subscribe, topic("_audit/x")));
    assert!(!allows(&judge, &who("ann", &[]), Action::Subscribe, topic("_audit/**")));
    assert!(allows(&judge, &who("bob", &["auditor"]), Action::Subscribe, topic("_audit/**")));
}

#[test]
fn administrators_of_a_hub_may_always_administer_and_observe_and_no_more() {
    let judge = judge([policy("p", None, r#"@id("none") forbid(principal, action, resource);"#)]);
    let root = Arc::new(Principal { method: Method::Administrator, ..(*who("root", &[])).clone() });
    assert!(allows(&judge, &root, Action::Administer, Resource::Mesh));
    assert!(allows(&judge, &root, Action::Observe, topic("x")));
    assert!(!allows(&judge, &root, Action::Publish, topic("x")));
}

#[test]
fn a_name_that_reads_as_another_tenants_is_refused() {
    let judge = judge([policy("p", None, r#"@id("a") permit(principal == User::"billing/ann", action, resource);"#)]);
    assert!(allows(&judge, &who("billing/ann", &[]), Action::Observe, Resource::Mesh));
    let spoofed = Arc::new(Principal { name: "billing/ann".into(), tenant: None, ..(*who("x", &[])).clone() });
    assert!(!allows(&judge, &spoofed, Action::Observe, Resource::Mesh));
}

#[test]
fn where_when_and_how_count() {
    let judge = judge([policy(
        "p",
        None,
        r#"
@id("us") permit(principal, action == Action::"publish", resource) when {
    context.region == "us" && context.hub == "new-york" && context.labels.contains("edge")
    && context has lane && context.lane >= 4 && context.method == "token" && principal.method == "token" };
@id("early") permit(principal, action == Action::"subscribe", resource) when { context.time < 1795348801 };
@id("mornings") permit(principal, action == Action::"request", resource)
    when { context.now.toTime() < duration("12h1s") && context.now < datetime("2026-11-22T12:00:01Z") };
"#,
    )]);
    let ann = who("ann", &[]);
    let lane = |number| Ask { lane: Lane::new(number), ..ask(&ann, Action::Publish, topic("a")) };
    assert!(verdict(&judge, &lane(4)).allowed);
    assert!(!verdict(&judge, &lane(3)).allowed);
    assert!(!allows(&judge, &ann, Action::Publish, topic("a")), "no lane");
    assert_eq!(verdict(&judge, &lane(4)).until, None);
    for action in [Action::Subscribe, Action::Request] {
        let question = ask(&ann, action, topic("a"));
        let at = UnixNanos(NOON.0 + 999_999_999);
        let verdict = judge.judge(&question, &place(), at);
        assert!(verdict.allowed, "{verdict:?}");
        assert_eq!(verdict.until, Some(UnixNanos(NOON.0 + 1_000_000_000)));
        let verdict = judge.judge(&question, &place(), UnixNanos(NOON.0 + 1_000_000_000));
        assert!(!verdict.allowed, "{verdict:?}");
        assert_eq!(verdict.until, Some(UnixNanos(NOON.0 + 2_000_000_000)));
    }
}

#[test]
fn a_rule_that_cannot_be_evaluated_forbids_or_permits_nothing_and_is_named() {
    let big = "9223372036854775807";
    let judge = judge([policy(
        "p",
        None,
        &format!(
            r#"
@id("all") permit(principal, action, resource);
@id("odd") permit(principal, action == Action::"publish", resource) when {{ context.time + {big} > 0 }};
@id("bad") forbid(principal, action == Action::"subscribe", resource) when {{ context.time + {big} > 0 }};
"#
        ),
    )]);
    let ok = verdict(&judge, &ask(&who("ann", &[]), Action::Publish, topic("a")));
    assert!(ok.allowed);
    assert_eq!(names(&ok), ["p/all"]);
    assert!(ok.reason.contains("`p/odd` cannot be evaluated"), "{}", ok.reason);
    let no = verdict(&judge, &ask(&who("ann", &[]), Action::Subscribe, topic("a")));
    assert!(!no.allowed);
    assert_eq!(names(&no), ["p/bad"]);
}

#[test]
fn a_policy_that_cannot_be_understood_forbids_all_that_it_may_speak_of() {
    let all = policy("all", None, r#"@id("a") permit(principal, action, resource);"#);
    let mut judge = CedarJudge::new(Limits::default()).unwrap();
    let tenants = [tenant("billing", &["billing/**"]), tenant("trade", &["trade/**"])];
    let broken = policy("odd", Some("billing"), "@id(\"x\") permit(principal, action, resource) when { 1 };");
    let faults = judge.learn(&state(tenants.iter().cloned().chain([all.clone(), broken])));
    assert_eq!(faults.len(), 1);
    assert!(faults[0].key == "policy/odd" && faults[0].what.contains("rule `x`"), "{faults:?}");
    let no = verdict(&judge, &ask(&who("billing/ann", &[]), Action::Publish, topic("billing/x")));
    assert!(!no.allowed);
    assert_eq!(names(&no), ["odd/(unreadable)"]);
    assert!(!allows(&judge, &who("root", &[]), Action::Subscribe, topic("**")));
    assert!(allows(&judge, &who("root", &[]), Action::Subscribe, topic("trade/**")));
    assert!(allows(&judge, &who("trade/bob", &[]), Action::Publish, topic("trade/x")));
    let nonsense = (key(Kind::Policy, "odd"), "{\"rulez\":1}".into());
    judge.learn(&state(tenants.into_iter().chain([all.clone(), nonsense])));
    assert!(
        !allows(&judge, &who("trade/bob", &[]), Action::Publish, topic("trade/x")),
        "it cannot be told of whom it is"
    );
    judge.learn(&state([all]));
    assert!(allows(&judge, &who("root", &[]), Action::Publish, topic("x")), "and all is well without it");
}

#[test]
fn what_is_learned_again_is_what_is_learned_anew() {
    let rule = |n: u32| format!("@id(\"r\") permit(principal == User::\"u{n}\", action, resource);");
    let one = state((0..50).map(|n| policy(&format!("p{n}"), None, &rule(n))));
    let two = one.with([policy("p7", None, &rule(70))], &[key(Kind::Policy, "p8")]);
    let mut judge = CedarJudge::new(Limits::default()).unwrap();
    let mut clone = judge.clone();
    judge.learn(&one);
    judge.learn(&two);
    clone.learn(&two);
    assert_eq!((judge.version(), judge.rules()), (2, 49));
    for n in 0..80 {
        let question = ask(&who(&format!("u{n}"), &[]), Action::Observe, Resource::Mesh);
        assert_eq!(verdict(&judge, &question), verdict(&clone, &question));
        assert_eq!(verdict(&judge, &question).allowed, (n < 50 && n != 7 && n != 8) || n == 70, "{n}");
    }
}
