//! Rules against a naive reading of the same texts, and the mistakes they name.

use proptest::prelude::*;
use weft_base::buckets::jump;
use xxhash_rust::xxh3::xxh3_64;

use super::*;
use crate::{MAX_BYTES, Topic};

fn spec(from: &str, to: &str) -> MappingSpec {
    MappingSpec { from: from.to_owned(), to: vec![(Some(to.to_owned()), 1)], ..MappingSpec::default() }
}

fn rule(from: &str, to: &str) -> Mapping {
    Mapping::new(&spec(from, to)).unwrap_or_else(|error| panic!("{from} -> {to}: {error}"))
}

/// What a rule makes of a topic; nothing where it is for others.
fn becomes(rule: &Mapping, topic: &str) -> Option<Result<String, Unmappable>> {
    let topic = Topic::parse(topic).expect("a topic");
    if !rule.filter().matches(topic) {
        return None;
    }
    let mut out = MappedTopic::new();
    Some(rule.apply(topic, 0, &mut out).map(|kept| if kept { out.to_string() } else { String::new() }))
}

/// The same, by replacing texts in the template.
fn naively(from: &str, to: &str, topic: &str) -> Option<String> {
    let (pattern, levels): (Vec<&str>, Vec<&str>) = (from.split('/').collect(), topic.split('/').collect());
    let fixed = pattern.iter().filter(|level| **level != "**").count();
    let has_rest = fixed < pattern.len();
    if levels.len() < fixed || (levels.len() > fixed && !has_rest) {
        return None;
    }
    let mut captures = Vec::new();
    for (pattern, level) in pattern.iter().take(fixed).zip(&levels) {
        match *pattern {
            "*" => captures.push(*level),
            literal if literal != *level => return None,
            _ => {}
        }
    }
    let mut made: Vec<String> = Vec::new();
    for level in to.split('/') {
        if level == "{rest}" {
            made.extend(levels[fixed..].iter().map(|level| (*level).to_owned()));
            continue;
        }
        let mut level = level.to_owned();
        for (index, capture) in captures.iter().enumerate() {
            level = level.replace(&format!("{{{}}}", index + 1), capture);
        }
        for count in [1, 2, 7] {
            let whole = jump(xxh3_64(topic.as_bytes()), count).to_string();
            level = level.replace(&format!("{{partition({count})}}"), &whole);
            for over in [vec![1], vec![2, 1]] {
                let key: Vec<&str> = over.iter().filter_map(|&n: &usize| captures.get(n - 1).copied()).collect();
                let over: Vec<String> = over.iter().map(|n| format!(", {n}")).collect();
                let number = jump(xxh3_64(key.join("/").as_bytes()), count).to_string();
                level = level.replace(&format!("{{partition({count}{})}}", over.concat()), &number);
            }
        }
        made.push(level);
    }
    Some(made.join("/"))
}

#[test]
fn templates_become_what_they_say() {
    for (from, to, topic, expected) in [
        ("orders/*/created", "eu/orders/{1}/created", "orders/7/created", "eu/orders/7/created"),
        ("orders/**", "eu/orders/{rest}", "orders/7/lines/3", "eu/orders/7/lines/3"),
        ("orders/**", "eu/orders/{rest}", "orders", "eu/orders"),
        ("**", "eu/{ rest }", "a/b", "eu/a/b"),
        ("eu/**", "{rest}", "eu/a", "a"),
        ("*/*/**", "{2}/{1}/{rest}", "a/b/c", "b/a/c"),
        ("*/**", "{1}-all/{rest}/end", "a/b", "a-all/b/end"),
        ("*/**", "{1}-all/{rest}/end", "a", "a-all/end"),
        ("v1/*", "v2/{1}{1}", "v1/ü", "v2/üü"),
        // Part of the format: these numbers never change.
        ("o/*", "o/{partition(8, 1)}/{1}", "o/alice", "o/1/alice"),
        ("o/*", "o/{partition(8, 1)}/{1}", "o/bob", "o/5/bob"),
        ("o/*/*", "o/{partition(1000, 1, 2)}", "o/a/b", "o/761"),
        ("o/*/*", "o/{partition(1000)}", "o/a/b", "o/827"),
        ("o/*", "p{partition(65536, 1)}", "o/42", "p7694"),
    ] {
        let made = becomes(&rule(from, to), topic).map(|made| made.expect("a topic"));
        assert_eq!(made.as_deref(), Some(expected), "{from} -> {to} of {topic}");
    }
    assert_eq!(becomes(&rule("orders/*", "x/{1}"), "orders/1/2"), None);
}

#[test]
fn mistakes_name_their_place_and_what_to_do() {
    for (from, to, said) in [
        ("a/**/b", "x", "level 2 is a `**` that others follow"),
        ("**/**", "x", "level 1 is a `**`"),
        ("_a/*", "x", "mesh's own and are not mapped"),
        ("a//b", "x", "level 2 of the filter"),
        ("a/*", "", "the template is empty"),
        ("a/*", "_x/{1}", "mesh's own: choose another"),
        ("a/*", "x//{1}", "level 2 of the template, at byte 2, is empty"),
        ("a/*", "x/", "level 2 of the template, at byte 2, is empty"),
        ("a/*", "x/*", "write `{1}` for what the first `*`"),
        ("a/*", "x/{2}", "the capture 2 at byte 2 is not there: `from` has 1 of `*`"),
        ("a/*", "x/{0}", "the capture 0 at byte 2 is not there"),
        ("a/*", "x/{300}", "the capture 300 at byte 2 is not there"),
        ("a/*", "x/{rest}", "let `from` end with `**`"),
        ("a/**", "x/a{rest}", "make it a level of its own"),
        ("a/*", "x/{{wildcard(1)}}", "the brace at byte 2 has no counterpart, or is doubled"),
        ("a/*", "x/{1", "the brace at byte 2"),
        ("a/*", "x/1}", "the brace at byte 3"),
        ("a/*", "x/{split(1)}", "`{split(1)}` at byte 2 means nothing"),
        ("a/*", "x/{partition(0, 1)}", "`0` at byte 2 is no number of partitions"),
        ("a/*", "x/{partition(65537, 1)}", "take 1 to 65536"),
        ("a/*", "x/{partition(8, 2)}", "the capture 2 at byte 2 is not there"),
        ("a/*", "x/{partition(8,)}", "means nothing"),
        ("a/*", "x/\u{7}", "control character U+0007 at byte 2"),
    ] {
        let error = Mapping::new(&spec(from, to)).expect_err(to);
        assert!(error.to_string().contains(said), "{from} -> {to}: {error}");
    }
    let long = format!("x/{}/{{1}}", "y".repeat(MAX_BYTES));
    assert!(matches!(
        Mapping::new(&spec("a/*", &long)),
        Err(MappingError::To { destination: 1, error: TemplateError::TooLong { bytes: 1_028 } })
    ));
    let deep = ["x"; 65].join("/");
    assert!(Mapping::new(&spec("a/*", &deep)).is_err_and(|error| error.to_string().contains("has 65 levels")));
    for to in [vec![], vec![(Some("x".to_owned()), 1); 17], vec![(None, 0)], vec![(None, 1_000_001)]] {
        let bad = MappingSpec { from: "a".to_owned(), to, ..MappingSpec::default() };
        Mapping::new(&bad).expect_err("out of bounds");
    }
}

#[test]
fn what_only_the_topic_decides_is_refused_when_it_is_applied() {
    let long = "y".repeat(MAX_BYTES - 2);
    assert_eq!(becomes(&rule("*/**", "x/{rest}/{1}"), &format!("{long}/z")), Some(Err(Unmappable::TooLong)));
    assert_eq!(becomes(&rule("a/**", "{rest}"), "a/_x"), Some(Err(Unmappable::Reserved)));
    assert!(matches!(becomes(&rule("a/**", "{rest}"), "a"), Some(Err(Unmappable::Invalid(_)))), "nothing is left");
    let deep = ["y"; 64].join("/");
    assert!(matches!(becomes(&rule("**", "x/{rest}"), &deep), Some(Err(Unmappable::Invalid(_)))));
}

#[test]
fn of_several_rules_the_first_counts_and_one_that_never_would_is_refused() {
    let rules = |list: &[(&str, &str)]| Mappings::new(&list.iter().map(|(f, t)| spec(f, t)).collect::<Vec<_>>());
    let found = rules(&[("a/b", "x"), ("a/*", "y/{1}"), ("**", "z/{rest}")]).expect("rules");
    let find = |topic| found.find(Topic::parse(topic).expect("a topic"), false);
    assert_eq!([find("a/b"), find("a/c"), find("q")], [Some(0), Some(1), Some(2)]);
    assert_eq!(found.find(Topic::parse("a/b").expect("a topic"), true), None, "requests are left alone");
    let never = rules(&[("a/**", "x"), ("b", "y"), ("a/*", "z")]).expect_err("the third");
    assert_eq!(never.place(), Some((2, "from")));
    assert!(never.to_string().contains("rule 1, from `a/**`, comes first"), "{never}");
    // The first leaves requests to the second.
    let requests = MappingSpec { requests: true, ..spec("a/*", "z") };
    let both = Mappings::new(&[spec("a/**", "x"), requests.clone()]).expect("rules");
    assert_eq!(both.find(Topic::parse("a/b").expect("a topic"), true), Some(1));
    Mappings::new(&[requests, spec("a/*", "x")]).expect_err("nothing is left");
    let named = MappingSpec { name: "one".to_owned(), ..spec("a", "x") };
    let twice = [named.clone(), MappingSpec { from: "b".to_owned(), ..named }];
    assert_eq!(Mappings::new(&twice).expect_err("one name").place(), Some((1, "name")));
    let specs = [spec("a/**", "x/{rest}"), MappingSpec { by: By::Topic, ..twice[1].clone() }];
    assert_eq!(Mappings::new(&specs).expect("rules").specs(), specs);
    let many: Vec<_> = (0..=MAX_MAPPINGS).map(|n| spec(&format!("t/{n}"), "x")).collect();
    assert!(Mappings::new(&many).is_err());
    assert!(Mappings::new(&many[1..]).is_ok());
}

/// A rule of shares that `by` decides.
fn shared(by: By, shares: &[u32]) -> Mapping {
    let to = shares.iter().enumerate().map(|(n, weight)| (Some(format!("d/{n}")), *weight)).collect();
    Mapping::new(&MappingSpec { from: "t/**".to_owned(), to, by, ..MappingSpec::default() }).expect("a rule")
}

#[test]
fn shares_are_kept_and_few_move_when_they_change() {
    let topic = |n: u64| format!("t/{n}");
    let all = |rule: &Mapping| -> Vec<usize> {
        let of = |n: u64| {
            let entered = Entered { producer: n % 7, sequence: n };
            rule.choose(Topic::parse(&topic(n)).expect("a topic"), entered)
        };
        (0..20_000).map(of).collect()
    };
    for by in [By::Block, By::Topic] {
        let (before, after) = (all(&shared(by, &[90, 10])), all(&shared(by, &[80, 20])));
        let second = before.iter().filter(|to| **to == 1).count();
        assert!((1_850..2_150).contains(&second), "{by:?}: {second} of 20,000 are a tenth");
        let back = before.iter().zip(&after).filter(|(before, after)| (**before, **after) == (1, 0)).count();
        assert_eq!(back, 0, "{by:?}: a share that grows keeps what it had");
        assert_eq!(all(&shared(by, &[90, 10])), before, "{by:?}: nothing is by chance");
    }
    let by_producer = all(&shared(By::Producer, &[1, 1]));
    for (n, to) in by_producer.iter().enumerate() {
        assert_eq!(*to, by_producer[n % 7], "a producer stays where it is");
    }
}

#[test]
fn a_share_can_be_dropped() {
    let to = vec![(Some("kept".to_owned()), 1), (None, 3)];
    let rule = Mapping::new(&MappingSpec { from: "t/*".to_owned(), to, ..MappingSpec::default() }).expect("a rule");
    let topic = Topic::parse("t/1").expect("a topic");
    let mut out = MappedTopic::new();
    assert_eq!((rule.apply(topic, 0, &mut out), out.as_str()), (Ok(true), "kept"));
    assert_eq!(rule.apply(topic, 1, &mut out), Ok(false));
    assert_eq!((rule.destinations()[1].template(), rule.total_weight()), (None, 4));
}

#[test]
fn what_a_topic_may_become_is_each_share_unless_the_topic_decides() {
    let topic = Topic::parse("t/_1").expect("a topic");
    let may = |by, to: &[(Option<&str>, u32)]| {
        let to = to.iter().map(|(to, weight)| (to.map(str::to_owned), *weight)).collect();
        let spec = MappingSpec { from: "t/*".to_owned(), to, by, ..MappingSpec::default() };
        Mapping::new(&spec).expect("a rule").outcomes(topic)
    };
    let shares = [(Some("kept/{1}"), 1), (None, 3), (Some("{1}"), 2)];
    for by in [By::Block, By::Producer] {
        let outcomes = may(by, &shares);
        assert_eq!(outcomes[..2], [(1, Ok(Some("kept/_1".to_owned()))), (3, Ok(None))]);
        assert_eq!(outcomes[2..], [(2, Err(Unmappable::Reserved))]);
        assert_eq!(may(by, &shares[..1]), [(1, Ok(Some("kept/_1".to_owned())))], "all of the one");
    }
    let rule = shared(By::Topic, &[1, 2, 3]);
    let chosen = rule.choose(topic, Entered::default());
    assert_eq!(rule.outcomes(topic), [(6, Ok(Some(format!("d/{chosen}"))))]);
}

#[test]
fn partitions_are_even_and_one_more_moves_its_share_alone() {
    let keys = 40_000_u32;
    let all = |count: u32| -> Vec<u32> {
        let rule = rule("o/*", &format!("{{partition({count}, 1)}}"));
        let of = |n: u32| becomes(&rule, &format!("o/customer-{n}"));
        let number = |n| of(n).and_then(|made| made.ok()).and_then(|made| made.parse().ok());
        (0..keys).map(|n| number(n).expect("a number")).collect()
    };
    for count in [2, 8, 13] {
        let (now, more) = (all(count), all(count + 1));
        for partition in 0..count {
            let (many, share) = (now.iter().filter(|to| **to == partition).count() as u32, keys / count);
            assert!(many.abs_diff(share) < share / 10, "{many} in partition {partition} of {count}");
        }
        assert!(now.iter().zip(&more).all(|(now, more)| now == more || *more == count), "{count}");
    }
}

fn topics() -> impl Strategy<Value = String> {
    proptest::collection::vec(prop_oneof!["[a-c]", "[a-cü{}*]{2,3}"], 1..6).prop_map(|levels| levels.join("/"))
}

fn patterns() -> impl Strategy<Value = String> {
    let level = prop_oneof![Just("*".to_owned()), "[a-c]"];
    (proptest::collection::vec(level, 1..5), any::<bool>()).prop_map(|(mut levels, rest)| {
        if rest {
            levels.push("**".to_owned());
        }
        levels.join("/")
    })
}

fn templates() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-c]",
        (1..4usize).prop_map(|n| format!("{{{n}}}")),
        prop_oneof![Just(1), Just(2), Just(7)].prop_flat_map(|count| {
            prop_oneof![
                Just(format!("{{partition({count})}}")),
                Just(format!("{{partition({count}, 1)}}")),
                Just(format!("{{partition({count}, 2, 1)}}")),
            ]
        }),
    ];
    let level = proptest::collection::vec(piece, 1..4).prop_map(|pieces| pieces.concat());
    proptest::collection::vec(prop_oneof![4 => level, 1 => Just("{rest}".to_owned())], 1..5)
        .prop_map(|levels| levels.join("/"))
}

proptest! {
    #[test]
    fn rules_agree_with_a_naive_reading(from in patterns(), to in templates(), topic in topics()) {
        prop_assume!(Topic::parse(&topic).is_ok());
        let Ok(rule) = Mapping::new(&spec(&from, &to)) else { return Ok(()) };
        match (becomes(&rule, &topic), naively(&from, &to, &topic)) {
            (Some(Ok(made)), Some(expected)) => prop_assert_eq!(made, expected),
            (Some(Err(_)), Some(expected)) => prop_assert!(Topic::parse(&expected).is_err(), "{} is a topic", expected),
            (None, None) => {}
            (made, expected) => prop_assert!(false, "{:?} and {:?}", made, expected),
        }
    }

    #[test]
    fn any_text_is_judged(from in "\\PC{0,20}", to in "[a{}/*1r(), ]{0,20}|\\PC{0,20}", topic in topics()) {
        if let (Ok(rule), Ok(_)) = (Mapping::new(&spec(&from, &to)), Topic::parse(&topic)) {
            let _ = becomes(&rule, &topic);
        }
    }
}
