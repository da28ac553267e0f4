//! Plans: what they change, what they show, and that made twice they change
//! nothing.

use proptest::prelude::*;

use super::diff::lines;
use super::*;
use crate::access::Method;
use crate::{Limits, Machine, Outcome};

fn key(text: &str) -> Key {
    Key::parse(text).unwrap()
}

fn put(name: &str, document: &str) -> (Key, Arc<str>) {
    (key(name), document.into())
}

fn author() -> Principal {
    Principal { tenant: None, name: "ann".into(), roles: [].into(), method: Method::Administrator }
}

fn wanted(puts: &[(&str, &str)]) -> Wanted {
    Wanted { puts: puts.iter().map(|(name, document)| put(name, document)).collect(), ..Wanted::default() }
}

fn make(machine: &mut Machine, number: u128, plan: &Plan) -> Outcome {
    let change = plan.change(ChangeId(number), author(), UnixNanos(1));
    machine.take(&change.encode(&Limits::default()).unwrap())
}

#[test]
fn what_is_applied_twice_is_applied_once() {
    let mut machine = Machine::default();
    let wanted = wanted(&[
        ("tenant/a", r#"{ "topics": ["a/**"], "description": "" }"#),
        ("policy/p", "{\"rules\":\"permit(principal, action, resource);\\n// all\\n\"}"),
    ]);
    let plan = Plan::of(machine.state(), &wanted).unwrap();
    assert_eq!(plan.counts(), Counts { created: 2, ..Counts::default() });
    assert_eq!(make(&mut machine, 1, &plan), Outcome::Applied { version: 1 });
    assert_eq!(plan.after(&State::default()), **machine.state());
    let again = Plan::of(machine.state(), &wanted).unwrap();
    assert!(again.is_empty());
    assert_eq!(again.shown(), "0 created, 0 changed, 0 deleted, 2 unchanged\n");
    assert_eq!(make(&mut machine, 2, &again), Outcome::Unchanged { version: 1 });
}

#[test]
fn a_plan_shows_the_lines_that_differ() {
    let state = State::default().with(
        [
            put("tenant/a", r#"{"quota":{"connections":5},"topics":["a/**","old/**"]}"#),
            put("tenant/b", r#"{"topics":["b/**"]}"#),
            put("policy/p", "{\"rules\":\"one\\ntwo\\nthree\\nfour\\nfive\\nsix\\n\"}"),
        ],
        &[],
    );
    let mut wanted = wanted(&[
        ("tenant/a", r#"{"quota":{"connections":9},"topics":["a/**","new/**"]}"#),
        ("policy/p", "{\"rules\":\"one\\ntwo\\nthree\\nfour\\n5\\nsix\\n\"}"),
        ("identity/i", r#"{"tenant":"a","roles":["r"]}"#),
    ]);
    wanted.deletes = vec![key("tenant/b"), key("tenant/never")];
    let plan = Plan::of(&state, &wanted).unwrap();
    let expected = "\
~ tenant/a
    - quota.connections = 5
    + quota.connections = 9
      topics:
        \"a/**\"
    -   \"old/**\"
    +   \"new/**\"
- tenant/b
+ identity/i
    + roles = [\"r\"]
    + tenant = \"a\"
~ policy/p
      ...
        | three
        | four
    -   | five
    +   | 5
        | six
1 created, 2 changed, 1 deleted, 0 unchanged
";
    assert_eq!(plan.shown(), expected);
}

#[test]
fn what_is_pruned_is_what_was_named_and_no_more() {
    let state = State::default().with(
        [
            put("tenant/a", r#"{"topics":["a/**"]}"#),
            put("tenant/b", r#"{"topics":["b/**"]}"#),
            put("identity/i", r#"{"tenant":"a"}"#),
            put("identity/j", r#"{"tenant":"b"}"#),
            put("policy/p", r#"{"rules":"","tenant":"a"}"#),
            put("policy/mesh", r#"{"rules":""}"#),
            put("subject/s", r#"{"tenant":"a"}"#),
            put("schema/1", r#"{"fingerprint":"0","format":"JSON","text":"{}"}"#),
        ],
        &[],
    );
    let deleted = |prune: Option<Prune>| -> Vec<String> {
        let wanted = Wanted { prune, ..wanted(&[("tenant/a", r#"{"topics":["a/**"]}"#)]) };
        Plan::of(&state, &wanted).unwrap().keys().iter().map(Key::to_string).collect()
    };
    assert!(deleted(None).is_empty());
    let all = ["tenant/b", "identity/i", "identity/j", "policy/mesh", "policy/p"];
    assert_eq!(deleted(Some(Prune::default())), all);
    let kinds = vec![Kind::Identity];
    assert_eq!(deleted(Some(Prune { kinds: kinds.clone(), tenant: None })), ["identity/i", "identity/j"]);
    assert_eq!(deleted(Some(Prune { kinds, tenant: Some("a".to_owned()) })), ["identity/i"]);
    assert_eq!(deleted(Some(Prune { kinds: Vec::new(), tenant: Some("a".to_owned()) })), ["identity/i", "policy/p"]);
    let subjects = Prune { kinds: vec![Kind::Subject], tenant: None };
    assert_eq!(deleted(Some(subjects)), ["subject/s"]);
}

#[test]
fn a_plan_conflicts_with_what_somebody_changed_since() {
    let mut machine = Machine::default();
    let plan = Plan::of(machine.state(), &wanted(&[("tenant/a", r#"{"topics":["a"]}"#)])).unwrap();
    make(&mut machine, 1, &plan);
    // Two look, both change.
    let one = Plan::of(machine.state(), &wanted(&[("tenant/a", r#"{"topics":["b"]}"#)])).unwrap();
    let other = Plan::of(machine.state(), &wanted(&[("tenant/a", r#"{"topics":["c"]}"#)])).unwrap();
    assert_eq!(make(&mut machine, 2, &one), Outcome::Applied { version: 2 });
    assert!(matches!(make(&mut machine, 3, &other), Outcome::Conflict { expected: Some(1), found: Some(2), .. }));
    // One who looked before and plans now is told before anything is proposed.
    let mut late = wanted(&[("tenant/a", r#"{"topics":["c"]}"#)]);
    late.expects = vec![Expect { key: key("tenant/a"), version: Some(1) }];
    let plan = Plan::of(machine.state(), &late).unwrap();
    assert_eq!(plan.conflict(machine.state()), Some((late.expects[0].clone(), Some(2))));
    assert!(matches!(make(&mut machine, 4, &plan), Outcome::Conflict { expected: Some(1), found: Some(2), .. }));
    late.expects[0].version = Some(2);
    let plan = Plan::of(machine.state(), &late).unwrap();
    assert_eq!(plan.conflict(machine.state()), None);
    assert_eq!(make(&mut machine, 5, &plan), Outcome::Applied { version: 3 });
}

#[test]
fn all_documents_that_cannot_be_are_told_at_once() {
    let mut bad = wanted(&[
        ("tenant/a", r#"{"topics":["a"]}"#),
        ("tenant/a", r#"{"topics":["b"]}"#),
        ("tenant/b", r#"{"topic":["b"]}"#),
        ("policy/p", "permit"),
        ("identity/i", "{}"),
    ]);
    bad.deletes = vec![key("identity/i")];
    let faults = Plan::of(&State::default(), &bad).unwrap_err();
    let keys: Vec<_> = faults.iter().map(|fault| fault.key.as_str()).collect();
    assert_eq!(keys, ["tenant/a", "tenant/b", "policy/p", "identity/i"]);
}

#[test]
fn a_large_plan_is_made_in_parts_of_which_each_can_be_made() {
    let rules = format!("{{\"rules\":\"{}\"}}", "\\\"".repeat(2_000));
    let names: Vec<_> = (0..200).map(|number| format!("policy/p{number:03}")).collect();
    let mut puts: Vec<_> = names.iter().map(|name| (name.as_str(), rules.as_str())).collect();
    puts.push(("tenant/a", r#"{"topics":["a/**"]}"#));
    puts.push(("identity/i", r#"{"tenant":"a"}"#));
    let mut machine = Machine::default();
    let old = wanted(&[("tenant/old", r#"{"topics":["o"]}"#), ("identity/old", r#"{"tenant":"old"}"#)]);
    let old = Plan::of(machine.state(), &old).unwrap();
    make(&mut machine, 1, &old);
    let wanted = Wanted { prune: Some(Prune::default()), ..wanted(&puts) };
    let whole = Plan::of(machine.state(), &wanted).unwrap();
    let most = 256 << 10;
    let parts = whole.parts(most);
    assert!(parts.len() > 4, "{}", parts.len());
    let steps: usize = parts.iter().map(|part| part.steps.len()).sum();
    assert_eq!(steps, whole.steps.len());
    assert!(parts[0].steps.contains_key(&key("tenant/a")) && parts[0].steps.contains_key(&key("identity/i")));
    let last = parts.last().unwrap();
    assert!(last.steps.contains_key(&key("identity/old")) && last.steps.contains_key(&key("tenant/old")));
    for (number, part) in parts.iter().enumerate() {
        let mut change = part.change(ChangeId(number as u128 + 2), author(), UnixNanos(1));
        change.base = machine.state().version();
        let bytes = change.encode(&Limits::default()).unwrap();
        assert!(bytes.len() <= most, "{}", bytes.len());
        assert!(matches!(machine.take(&bytes), Outcome::Applied { .. }));
    }
    assert!(Plan::of(machine.state(), &wanted).unwrap().is_empty());
    assert_eq!(whole.parts(usize::MAX).len(), 1);
    assert!(Plan::default().parts(100).is_empty());
}

#[test]
fn what_is_shown_is_bounded_and_obeyed_by_no_terminal() {
    let rules = format!("{{\"rules\":\"{}\"}}", "x\\n".repeat(60_000));
    let names: Vec<_> = (0..40).map(|number| format!("policy/p{number}")).collect();
    let puts: Vec<_> = names.iter().map(|name| (name.as_str(), rules.as_str())).collect();
    let plan = Plan::of(&State::default(), &wanted(&puts)).unwrap();
    let shown = plan.shown();
    assert!(shown.len() < MAX_SHOWN + 200, "{}", shown.len());
    assert!(shown.ends_with("40 created, 0 changed, 0 deleted, 0 unchanged\n") && shown.contains(" more "));
    // Two documents of which every line differs: not compared line by line.
    let other = format!("{{\"rules\":\"{}\"}}", "y\\n".repeat(60_000));
    let mut out = String::new();
    diff::write(&rules, &other, &mut out);
    assert_eq!(out.lines().filter(|line| line.starts_with("    + ")).count(), 60_000);
    let mut out = String::new();
    diff::write("", "{\"rules\":\"a\\u001b[2J\\nb\",\"description\":\"\\u001b\"}", &mut out);
    assert!(!out.contains('\u{1b}'), "{out}");
}

/// Applies the marks of a diff to the old lines.
fn patched(shown: &str) -> (Vec<String>, Vec<String>) {
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for line in shown.lines() {
        let (sign, rest) = (line.chars().nth(4), line.get(6..).unwrap_or_default().to_owned());
        if sign != Some('+') {
            old.push(rest.clone());
        }
        if sign != Some('-') {
            new.push(rest);
        }
    }
    (old, new)
}

proptest! {
    #[test]
    fn a_diff_has_the_lines_of_both(a in prop::collection::vec(0..4_u8, 2..12), b in prop::collection::vec(0..4_u8, 2..12)) {
        let (a, b) = (serde_json::to_string(&a).unwrap(), serde_json::to_string(&b).unwrap());
        let mut shown = String::new();
        diff::write(&a, &b, &mut shown);
        let (old, new) = patched(&shown);
        let (all_old, all_new) = (lines(&a), lines(&b));
        if shown.contains("...") || a == b {
            prop_assert!(a != b || shown.is_empty() || !shown.contains('+'));
        } else {
            // Lines at the ends that are far from what differs are left out.
            prop_assert!(all_old.windows(old.len()).any(|w| w == old));
            prop_assert!(all_new.windows(new.len()).any(|w| w == new));
        }
    }

    #[test]
    fn after_a_plan_is_what_was_wanted(
        before in prop::collection::btree_map(0..8_u8, 0..3_u8, 0..8),
        after in prop::collection::btree_map(0..8_u8, 0..3_u8, 0..8),
        prune in any::<bool>(),
    ) {
        let puts = |map: &BTreeMap<u8, u8>| -> Vec<_> {
            map.iter().map(|(name, n)| put(&format!("tenant/t{name}"), &format!("{{\"topics\":[\"t{n}\"]}}"))).collect()
        };
        let mut machine = Machine::default();
        let plan = Plan::of(machine.state(), &Wanted { puts: puts(&before), ..Wanted::default() }).unwrap();
        make(&mut machine, 1, &plan);
        let wanted = Wanted { puts: puts(&after), prune: prune.then(Prune::default), ..Wanted::default() };
        let plan = Plan::of(machine.state(), &wanted).unwrap();
        make(&mut machine, 2, &plan);
        let mut expected: BTreeMap<Key, Arc<str>> = if prune { BTreeMap::new() } else { puts(&before).into_iter().collect() };
        expected.extend(puts(&after));
        let found: BTreeMap<_, _> = machine.state().items().map(|(key, item)| (key.clone(), item.document.clone())).collect();
        prop_assert_eq!(found, expected);
        prop_assert!(Plan::of(machine.state(), &wanted).unwrap().is_empty());
    }
}
