//! Texts made to overflow the stack, to take long or to take much memory. Each
//! is refused with a place and a remedy or understood, on a thread with half of
//! the stack that is asked for.

mod common;

use std::fmt::Write as _;

use common::*;
use weft_govern::access::{Action, Judge};
use weft_policy::{CedarJudge, Compiler, DEPTH, Flaw, Limits, NESTING, SCHEMA};

/// Runs on a thread of half the stack that a caller must have.
fn on_half_the_stack<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    let stack = std::env::var("STACK").ok().and_then(|text| text.parse().ok()).unwrap_or(1 << 20);
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .stack_size(stack)
            .spawn_scoped(scope, run)
            .expect("a thread")
            .join()
            .expect("it ends")
    })
}

fn compile(text: &str) -> Result<usize, Vec<Flaw>> {
    on_half_the_stack(|| {
        let compiler = Compiler::new(Limits::default()).expect("the schema is right");
        compiler.compile("p", None, text).map(|compiled| compiled.rules().count())
    })
}

fn when(condition: &str) -> String {
    format!("@id(\"a\") permit(principal, action, resource) when {{ {condition} }};")
}

fn nested(open: &str, inner: &str, close: &str, depth: usize) -> String {
    format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
}

/// Conditions that are as deep as `nesting` brackets or `depth` operators.
fn deep(nesting: usize, depth: usize) -> Vec<(&'static str, String)> {
    let chain = |item: &str, with: &str, count: usize| vec![item; count + 1].join(with);
    let has_lane = "context has lane && ";
    let each = depth / nesting.max(1) - 2;
    let padded: String = (0..nesting - 1).map(|_| format!("{}(", "1 + ".repeat(each))).collect();
    vec![
        ("brackets", nested("(", "true", ")", nesting - 1)),
        ("brackets with nots", nested("!!!!(", "true", ")", nesting - 1)),
        ("sets", format!("{}.isEmpty()", nested("[", "1", "]", nesting - 2))),
        ("records", format!("{} == 1", nested("{a: ", "1", "}", nesting - 1))),
        ("calls", nested("[1].contains(", "1", ")", nesting - 1)),
        ("chains in brackets", format!("{padded}1{} > 0", ")".repeat(nesting - 1))),
        ("and", chain("principal.name == \"x\"", " && ", depth - 10)),
        ("or", chain("principal in Role::\"x\"", " || ", depth - 10)),
        ("questions", chain("resource in TopicFilter::\"x/**\"", " || ", depth - 10)),
        ("and in not", format!("!({})", chain("context.hub == \"x\"", " && ", depth - 10))),
        ("plus", format!("{} > 0", chain("context.time", " + ", depth / 2 - 5))),
        ("ifs", format!("{}false", "if context.time == 1 then true else ".repeat(depth / 3 - 2))),
        ("ifs within", format!("{has_lane}{}", nested("(if ", "true", " then true else false)", nesting - 1))),
        ("attributes", format!("{{a: 1}}{} == 1", ".a".repeat(depth - 10))),
    ]
}

#[test]
fn the_deepest_that_is_taken_goes_through_on_half_the_stack() {
    for (what, condition) in deep(NESTING, DEPTH) {
        eprintln!("{what}");
        match compile(&when(&condition)) {
            Ok(count) => assert_eq!(count, 1, "{what}"),
            // By types or by rules of ours, not for being too deep.
            Err(flaws) => assert!(
                flaws.iter().all(|flaw| !flaw.what.contains("deep") && !flaw.what.contains("recursion")),
                "{what}: {flaws:?}"
            ),
        }
    }
}

#[test]
fn the_deepest_rule_is_judged_on_half_the_stack() {
    for (what, condition) in deep(NESTING, DEPTH) {
        eprintln!("{what}");
        on_half_the_stack(|| {
            let mut judge = CedarJudge::new(Limits::default()).unwrap();
            judge.learn(&state([policy("p", None, &when(&condition))]));
            let question = ask(&who("ann", &[]), Action::Publish, topic("x"));
            let verdict = verdict(&judge, &question);
            assert!(!verdict.reason.contains("recursion"), "{what}: {}", verdict.reason);
            _ = judge.explain(&question, &place(), NOON);
        });
    }
}

/// Refused, with this in a message.
fn refused(what: &str, text: &str, says: &str) {
    let flaws = compile(text).expect_err(what);
    assert!(!flaws.is_empty() && flaws.len() <= weft_policy::MAX_FLAWS, "{what}");
    assert!(flaws.iter().any(|flaw| flaw.what.contains(says)), "{what}: {flaws:?}");
    for flaw in &flaws {
        assert!(flaw.line > 0 && flaw.column > 0 && flaw.what.len() < 2_000, "{what}: {flaw}");
    }
}

#[test]
fn what_is_too_deep_is_refused() {
    for (open, close) in [("(", ")"), ("[", "]"), ("{a: ", "}"), ("!(", ")"), ("-(", ")"), ("[1].contains(", ")")] {
        for depth in [NESTING, 150, 10_000] {
            let text = nested(open, "1", close, depth);
            let says = if text.len() > 60_000 { "bytes" } else { "nested more than" };
            refused(open, &when(&text), says);
            // Never closed, and closed without being opened.
            if says != "bytes" {
                refused(open, &when(&open.repeat(depth)), "nested more than");
            }
            refused(close, &when(&close.repeat(depth)), "closes nothing");
        }
    }
    for (item, with) in [("true", " && "), ("true", " || "), ("1", "+"), ("1", " == "), ("a", "."), ("A", "::")] {
        for count in [300, 2_000] {
            refused(with, &when(&vec![item; count].join(with)), "steps deep");
        }
    }
    refused("if", &when(&"if true then true else ".repeat(300)), "steps deep");
    refused("nots", &when(&format!("{}true", "!".repeat(10_000))), "steps deep");
    refused("minuses", &when(&format!("{}1", "-".repeat(10_000))), "steps deep");
    refused("long chain", &when(&vec!["a"; 10_000].join(" && ")), "steps deep");
    let rule = "@id(\"a\") permit(principal, action, resource)";
    refused("clauses", &format!("{rule}{};", " when { true }".repeat(3_000)), "clauses");
    let marks: String = (0..3_000).fold(String::new(), |mut out, n| {
        _ = write!(out, "@a{n}(\"\") ");
        out
    });
    refused("annotations", &format!("{marks}{rule};"), "annotations");
}

#[test]
fn what_is_too_large_is_refused() {
    let big = "x".repeat(1 << 20);
    refused("text", &when(&format!("context.hub == \"{big}\"")), "bytes");
    refused("text", &when(&format!("context.hub == \"{}\"", &big[..3_000])), "shorten");
    refused("open text", &when(&format!("context.hub == \"{}", &big[..3_000])), "no closing quote");
    refused("backslash", "@id(\"a\\", "no closing quote");
    refused("set", &when(&format!("[{}].contains(1)", vec!["1"; 10_000].join(","))), "more than 512 elements");
    refused("stars", &when(&format!("context.hub like \"{}\"", "*a".repeat(500))), "`*`");
    refused("stars", &when(&format!("context.hub like \"{}\"", "*".repeat(10_000))), "bytes");
    let likes = vec!["context.hub like \"a*\""; 40].join(" || ");
    refused("likes", &when(&likes), "patterns");
    let many: String = (0..400).map(|n| format!("@id(\"r{n}\") permit(principal, action, resource);\n")).collect();
    refused("rules", &many, "more than 256 rules");
    let name = "x/".repeat(700);
    refused("filter", &when(&format!("resource in TopicFilter::\"{name}\"")), "bytes");
}

#[test]
fn what_is_not_cedar_or_not_of_the_schema_is_refused_with_its_place() {
    let rule = "permit(principal, action, resource);";
    refused("no name", rule, "write `@id");
    refused("bad name", &format!("@id(\"a b\") {rule}"), "is not possible");
    refused("long name", &format!("@id(\"{}\") {rule}", "a".repeat(65)), "is not possible");
    refused("twice", &format!("@id(\"a\") {rule}\n@id(\"a\") {rule}"), "rule of line 1");
    refused("action", "@id(\"a\") permit(principal, action == Action::\"dance\", resource);", "dance");
    refused("type", "@id(\"a\") permit(principal, action, resource in Album::\"x\");", "Album");
    refused("hidden", "@id(\"a\") permit(principal, action, resource in Must::\"f:**\");", "Must");
    refused("hidden attribute", &when("resource in principal.Must"), "Must");
    refused("attribute", &when("principal.age > 1"), "age");
    refused("type error", &when("context.time == \"x\""), "types");
    refused("no lane", &when("context.lane == 1"), "lane");
    refused("never", &when("resource is Topic && resource is Stream"), "impossible");
    refused("template", "@id(\"a\") permit(principal == ?principal, action, resource);", "template");
    refused("wildcards", &when("resource == Topic::\"a/*\""), "TopicFilter");
    refused("filter", "@id(\"a\") permit(principal, action, resource in TopicFilter::\"a//b\");", "empty");
    refused(
        "mesh",
        "@id(\"a\") permit(principal, action, resource == Mesh::\"x\");",
        "Mesh::\\\"mesh\\\"".replace('\\', "").as_str(),
    );
    refused("garbage", "\u{0}\u{1}\u{fffd} permit", "");
    refused("escape", &when("context.hub == \"\\u{110000}\""), "");
    refused("escape", &when("context.hub == \"\\q\""), "");
    refused("half", "@id(\"a\") permit(principal, action", "bracket");
    assert_eq!(compile(""), Ok(0), "nothing is permitted by nothing");
    let flaws = compile("// first\n@id(\"good\") permit(principal, action, resource);\n@id(\"bad\")\npermit(principal, action, resource) when { context.hub == 1 };").unwrap_err();
    assert_eq!((flaws[0].rule.as_deref(), flaws[0].line), (Some("bad"), 4), "{flaws:?}");
    assert!(flaws[0].to_string().starts_with("p:4:"), "{}", flaws[0]);
}

#[test]
fn what_would_be_unsound_for_many_topics_is_refused() {
    for condition in [
        "(resource in TopicFilter::\"a\") == true",
        "[resource in TopicFilter::\"a\"].contains(false)",
        "[resource].contains(Topic::\"a\")",
        "[Topic::\"a\", Topic::\"b\"].contains(resource)",
        "if resource in TopicFilter::\"a\" then false else true",
        "{a: resource}.a in TopicFilter::\"a\"",
        "(if context.hub == \"x\" then resource else Topic::\"y\") in TopicFilter::\"a\"",
        "resource in TopicFilter::\"a\" && context.time + 1 > 0",
        "!(resource in TopicFilter::\"a\" && -(context.time) > 0)",
    ] {
        let flaws = compile(&when(condition)).expect_err(condition);
        assert!(flaws[0].rule.as_deref() == Some("a"), "{condition}: {flaws:?}");
    }
}

#[test]
fn the_schema_has_no_name_that_stands_for_a_question() {
    assert!(!SCHEMA.contains("Must") && !SCHEMA.contains("May"));
}

/// Pieces of policies, put together at random: a corpus in the place of a fuzz
/// target, since Cedar takes minutes to build with the fuzzer's flags.
mod pieces {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = r#"@id("a") permit(principal in Role::"r", action in [Action::"publish"], resource in TopicFilter::"a/**")
when { context.hub like "n*" && !(resource in [TopicFilter::"a/b", Tenant::"x"]) || principal has tenant }
unless { if context.time > 1 then resource == Topic::"a/c" else {a: [1, 2]}.a.contains(2) };
"#;

    const PIECES: &[&str] = &[
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ";",
        ".",
        "::",
        "==",
        "!=",
        "<",
        "&&",
        "||",
        "!",
        "-",
        "+",
        "*",
        "@",
        "?",
        "if ",
        "then ",
        "else ",
        "in ",
        "has ",
        "like ",
        "is ",
        "when ",
        "unless ",
        "permit",
        "forbid",
        "principal",
        "action",
        "resource",
        "context",
        "true",
        "1",
        "9223372036854775808",
        "\"a\"",
        "\"*\"",
        "\"\\u{1F600}\"",
        "\"\\",
        "//\n",
        "/",
        "\u{0}",
        "\u{202e}",
        "é",
        "Topic",
        "TopicFilter::\"a/**\"",
        "Must::\"own\"",
        "?principal",
        "datetime(\"x\")",
        "decimal(\"1.0\")",
        ".offset(",
        ".isEmpty()",
        "@id(\"a\")",
        "__cedar::",
    ];

    fn edited() -> impl Strategy<Value = String> {
        let edit = (any::<prop::sample::Index>(), 0_usize..12, prop::sample::select(PIECES), 1_usize..12);
        prop::collection::vec(edit, 1..8).prop_map(|edits| {
            let mut text: Vec<char> = GOOD.repeat(2).replacen("\"a\"", "\"b\"", 1).chars().collect();
            for (at, cut, piece, times) in edits {
                let at = at.index(text.len());
                let end = (at + cut).min(text.len());
                text.splice(at..end, piece.repeat(times).chars());
            }
            text.into_iter().collect()
        })
    }

    fn mixed() -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(PIECES), 0..200).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_text_is_understood_or_refused_with_its_place(texts in prop::collection::vec(prop_oneof![edited(), mixed()], 16)) {
            on_half_the_stack(|| {
                let compiler = Compiler::new(Limits::default()).unwrap();
                for text in &texts {
                    match compiler.compile("p", None, text) {
                        Ok(compiled) => assert!(compiled.rules().count() <= 4, "{text}"),
                        Err(flaws) => {
                            assert!(!flaws.is_empty() && flaws.len() <= weft_policy::MAX_FLAWS, "{text}");
                            let lines = text.lines().count().max(1) + 1;
                            assert!(flaws.iter().all(|flaw| (flaw.line as usize) <= lines), "{text}: {flaws:?}");
                        }
                    }
                }
            });
        }
    }
}
