//! Predicates against a naive evaluator of the same text's tree, on random
//! text, and by example.

use proptest::prelude::*;
use weft_base::{Random, UnixNanos};
use weft_wire::block::Event;
use weft_wire::headers::{Headers, HeadersWriter};

use super::number;
use super::{MAX_CODE, MAX_DEPTH, MAX_TEXT, Predicate};

/// A predicate as a tree.
#[derive(Clone, Debug)]
enum Tree {
    Any(Vec<Tree>),
    All(Vec<Tree>),
    Not(Box<Tree>),
    Compare(Leaf, &'static str, Leaf),
    Prefix(Leaf, String),
    In(Leaf, Vec<Leaf>),
    Exists(Leaf),
}

#[derive(Clone, Debug, PartialEq)]
enum Leaf {
    Header(String),
    Key,
    Topic,
    Level(usize),
    Levels,
    Size,
    Time,
    Text(String),
    Number(String),
}

const WORDS: [&str; 7] = ["", "a", "ab", "b c", "5", "-2.5", "it's \"\\"];
const NAMES: [&str; 3] = ["x", "ce-type", "odd name!"];

fn quoted(text: &str, random: &mut Random) -> String {
    let quote = if random.chance(500) { '"' } else { '\'' };
    let escaped: String =
        text.chars().flat_map(|c| if c == quote || c == '\\' { vec!['\\', c] } else { vec![c] }).collect();
    format!("{quote}{escaped}{quote}")
}

impl Leaf {
    fn field(random: &mut Random) -> Self {
        match random.below(9) {
            0..3 => Self::Header((*random.pick(&NAMES).expect("some")).replace(' ', "_")),
            3 => Self::Key,
            4 => Self::Topic,
            5 => Self::Level(random.below(3) as usize),
            6 => Self::Levels,
            7 => Self::Size,
            _ => Self::Time,
        }
    }

    fn literal(number: bool, random: &mut Random) -> Self {
        if number {
            Self::Number((*random.pick(&["0", "2", "5", "-2.5", "3.000"]).expect("some")).to_owned())
        } else {
            Self::Text((*random.pick(&WORDS).expect("some")).to_owned())
        }
    }

    fn is_number(&self) -> bool {
        matches!(self, Self::Levels | Self::Size | Self::Time | Self::Number(_))
    }

    fn text(&self, random: &mut Random) -> String {
        match self {
            Self::Header(name) if name.contains('!') || random.chance(300) => {
                format!("header({})", quoted(name, random))
            }
            Self::Header(name) => format!("header . {name}"),
            Self::Key => "key".into(),
            Self::Topic => "topic".into(),
            Self::Level(level) => format!("topic[ {level} ]"),
            Self::Levels => "levels".into(),
            Self::Size => "size".into(),
            Self::Time => "time".into(),
            Self::Text(text) => quoted(text, random),
            Self::Number(text) => text.clone(),
        }
    }

    fn value(&self, topic: &str, event: &Event<'_>) -> Option<Result<Vec<u8>, f64>> {
        Some(match self {
            Self::Header(name) => Ok(event.headers.get(name)?.to_vec()),
            Self::Key => Ok(event.key.to_vec()),
            Self::Topic => Ok(topic.as_bytes().to_vec()),
            Self::Level(level) => Ok(topic.split('/').collect::<Vec<_>>().get(*level)?.as_bytes().to_vec()),
            Self::Levels => Err(topic.split('/').count() as f64),
            Self::Size => Err(event.payload.len() as f64),
            Self::Time => Err(event.time.0 as f64 / 1e6),
            Self::Text(text) => Ok(text.as_bytes().to_vec()),
            Self::Number(text) => Err(text.parse().expect("a number")),
        })
    }
}

/// The samples have few places, so that floats are exact.
fn as_number(bytes: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(bytes).ok()?;
    number::parse(bytes)?;
    text.parse().ok()
}

impl Tree {
    fn any(random: &mut Random, depth: usize) -> Self {
        let part = |random: &mut Random| Self::any(random, depth - 1);
        match random.below(if depth == 0 { 5 } else { 9 }) {
            0..3 => loop {
                let (left, number) = (Leaf::field(random), random.chance(500));
                let right = if random.chance(600) { Leaf::literal(number, random) } else { Leaf::field(random) };
                let mixed = (left.is_number() && matches!(right, Leaf::Text(_))) || left == right;
                let operator = *random.pick(&["==", "!=", "<", "<=", ">", ">="]).expect("some");
                if !mixed {
                    break if random.chance(500) {
                        Self::Compare(left, operator, right)
                    } else {
                        Self::Compare(right, operator, left)
                    };
                }
            },
            3 if random.chance(500) => Self::Exists(Leaf::field(random)),
            3 => loop {
                let left = Leaf::field(random);
                if !left.is_number() {
                    break Self::Prefix(left, (*random.pick(&WORDS).expect("some")).to_owned());
                }
            },
            4 => {
                let left = Leaf::field(random);
                let number = left.is_number() || random.chance(300);
                Self::In(left, (0..1 + random.below(3)).map(|_| Leaf::literal(number, random)).collect())
            }
            5 | 6 => Self::All((0..2 + random.below(2)).map(|_| part(random)).collect()),
            7 => Self::Any((0..2 + random.below(2)).map(|_| part(random)).collect()),
            _ => Self::Not(Box::new(part(random))),
        }
    }

    fn text(&self, random: &mut Random) -> String {
        let all = |parts: &[Tree], word: &str, random: &mut Random| {
            parts.iter().map(|part| format!("({})", part.text(random))).collect::<Vec<_>>().join(word)
        };
        match self {
            Self::Any(parts) => all(parts, " or ", random),
            // `and` binds more tightly, and a test needs no parentheses.
            Self::All(parts) => all(parts, "\n and ", random),
            Self::Not(part) => format!("not ({})", part.text(random)),
            Self::Compare(a, operator, b) => format!("{} {operator}{}", a.text(random), b.text(random)),
            Self::Prefix(a, text) => format!("{} prefix {}", a.text(random), quoted(text, random)),
            Self::In(a, items) => {
                let items: Vec<_> = items.iter().map(|item| item.text(random)).collect();
                format!("{} in ({})", a.text(random), items.join(", "))
            }
            Self::Exists(a) => format!("exists {}", a.text(random)),
        }
    }

    fn holds(&self, topic: &str, event: &Event<'_>) -> bool {
        let compare = |a: &Leaf, b: &Leaf| {
            let (a, b) = (a.value(topic, event)?, b.value(topic, event)?);
            match (a, b) {
                (Ok(a), Ok(b)) => Some(a.cmp(&b)),
                (a, b) => {
                    let number = |value: Result<Vec<u8>, f64>| value.map_or_else(Some, |bytes| as_number(&bytes));
                    number(a)?.partial_cmp(&number(b)?)
                }
            }
        };
        match self {
            Self::Any(parts) => parts.iter().any(|part| part.holds(topic, event)),
            Self::All(parts) => parts.iter().all(|part| part.holds(topic, event)),
            Self::Not(part) => !part.holds(topic, event),
            Self::Compare(a, operator, b) => compare(a, b).is_some_and(|order| match *operator {
                "==" => order.is_eq(),
                "!=" => order.is_ne(),
                "<" => order.is_lt(),
                "<=" => order.is_le(),
                ">" => order.is_gt(),
                _ => order.is_ge(),
            }),
            Self::Prefix(a, text) => {
                a.value(topic, event).is_some_and(|value| value.is_ok_and(|value| value.starts_with(text.as_bytes())))
            }
            Self::In(a, items) => items.iter().any(|item| compare(a, item).is_some_and(std::cmp::Ordering::is_eq)),
            Self::Exists(a) => a.value(topic, event).is_some() && (*a != Leaf::Key || !event.key.is_empty()),
        }
    }
}

fn with_event<T>(headers: &[(&str, &str)], key: &str, size: usize, ms: u64, run: impl FnOnce(&Event<'_>) -> T) -> T {
    let mut bytes = Vec::new();
    let mut writer = HeadersWriter::new(&mut bytes);
    for (name, value) in headers {
        writer.push(name, value.as_bytes()).expect("a header");
    }
    let payload = vec![0; size];
    let headers = Headers::validate(&bytes).expect("headers");
    run(&Event { time: UnixNanos(ms * 1_000_000), key: key.as_bytes(), headers, payload: &payload })
}

#[test]
fn compiled_predicates_say_what_a_naive_evaluator_says() {
    let (mut yes, mut no) = (0, 0);
    for seed in 0..4000 {
        let mut random = Random::from_seed(seed);
        let tree = Tree::any(&mut random, 3);
        let text = tree.text(&mut random);
        let predicate = Predicate::compile(&text).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"));
        for _ in 0..8 {
            let mut headers = Vec::new();
            for name in ["x", "ce-type", "odd_name!", "x"] {
                if random.chance(400) {
                    headers.push((name, *random.pick(&WORDS).expect("some")));
                }
            }
            let key = *random.pick(&WORDS).expect("some");
            let topic = *random.pick(&["a", "a/b", "5/ab/-2.5", "b c/a/a/a"]).expect("some");
            let (size, ms) = (random.below(7) as usize, random.below(7));
            let holds = with_event(&headers, key, size, ms, |event| {
                let wanted = tree.holds(topic, event);
                assert_eq!(predicate.matches(topic, event), wanted, "seed {seed}: {text}\n{topic} {event:?}");
                wanted
            });
            if holds { yes += 1 } else { no += 1 }
        }
    }
    assert!(yes > 5000 && no > 5000, "{yes} times true, {no} times false");
}

/// The judge above finds an evaluator that takes `!=` for "not equal or not
/// there".
#[test]
fn canary_a_wrong_evaluator_differs() {
    let wrong = |predicate: &Predicate, topic: &str, event: &Event<'_>| {
        predicate.matches(topic, event) || (predicate.text().contains("!=") && event.headers.is_empty())
    };
    let found = (0..500).any(|seed| {
        let mut random = Random::from_seed(seed);
        let tree = Tree::any(&mut random, 2);
        let predicate = Predicate::compile(&tree.text(&mut random)).expect("a predicate");
        with_event(&[], "a", 1, 1, |event| wrong(&predicate, "a", event) != tree.holds("a", event))
    });
    assert!(found);
}

#[test]
fn the_example_of_the_document() {
    let text = "header.ce-type == 'order.placed' and (topic[1] in ('eu', 'uk') or
        header.amount > 1000) and size < 65536";
    let predicate = Predicate::compile(text).expect("a predicate");
    let placed = ("ce-type", "order.placed");
    let check =
        |headers: &[(&str, &str)], topic: &str| with_event(headers, "", 10, 0, |event| predicate.matches(topic, event));
    assert!(check(&[placed], "orders/eu"));
    assert!(!check(&[placed], "orders/us"));
    assert!(check(&[placed, ("amount", "1000.01")], "orders/us"));
    assert!(!check(&[placed, ("amount", "much")], "orders/us"));
    assert!(!check(&[("ce-type", "order.paid")], "orders/eu"));
}

#[test]
fn what_is_not_there_is_no_match() {
    let check = |text: &str| {
        let predicate = Predicate::compile(text).expect("a predicate");
        with_event(&[("y", "z")], "", 0, 0, |event| predicate.matches("a/b", event))
    };
    assert!(!check("header.x != 'a'") && check("not header.x == 'a'"));
    assert!(!check("header.y != 1") && !check("topic[2] != 'c'") && check("topic[1] == 'b'"));
    assert!(!check("exists key") && check("key == ''") && check("exists header.y") && !check("exists topic[2]"));
}

#[test]
fn errors_say_where_and_what_to_do() {
    for (text, at, part) in [
        ("", 0, "the text ends"),
        ("key = 'a'", 4, "compare with `==`"),
        ("key == 'a", 7, "does not end"),
        ("key == 'a' && size > 1", 11, "join with `and`"),
        ("size == '5'", 8, "take the quotes off"),
        ("size prefix 'a'", 0, "a number has no prefix"),
        ("key prefix 5", 11, "a text in quotes"),
        ("5 == 5", 0, "compare a field"),
        ("'a' in ('a')", 0, "compare a field"),
        ("key in ('a', 5)", 13, "two lists"),
        ("key in ()", 8, "a field"),
        ("key in ('a'", 11, "`,` or `)`"),
        ("key in (topic)", 8, "texts or numbers only"),
        ("topic[64] == 'a'", 6, "0 to 63"),
        ("topic[x] == 'a'", 6, "0 to 63"),
        ("header == 'a'", 7, "`.NAME`"),
        ("header.'a' == 'a'", 7, "header('NAME')"),
        ("exists 'a'", 7, "asks for a field"),
        ("key == 'a' key", 11, "`and`, `or` or the end"),
        ("(key == 'a'", 11, "`)`"),
        ("key == 12345678901234567890", 7, "18 digits"),
        (r"key == '\n'", 8, "backslash"),
        ("kee == 'a'", 0, "`kee` is there in the place of a field"),
        ("key ~ 'a'", 4, "begins nothing"),
        ("key == 'a' or", 13, "the text ends"),
    ] {
        let error = Predicate::compile(text).expect_err(text);
        assert_eq!(error.at, at, "{text}: {error}");
        assert!(error.to_string().contains(part), "{text}: {error}");
    }
}

#[test]
fn text_depth_and_code_are_bounded() {
    let wrong = |text: &str| Predicate::compile(text).expect_err("too much").to_string();
    assert!(wrong(&" ".repeat(MAX_TEXT + 1)).contains("4097 bytes"));
    let nested = |depth: usize| format!("{}key == 'a'{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Predicate::compile(&nested(MAX_DEPTH)).is_ok());
    assert!(wrong(&nested(MAX_DEPTH + 1)).contains("within each other"));
    assert!(wrong(&format!("{}key == 'a'", "not ".repeat(MAX_DEPTH + 1))).contains("within each other"));
    let list = |items: usize| format!("size in ({}1)", "1,".repeat(items - 1));
    assert!(Predicate::compile(&list(MAX_CODE - 1)).is_ok());
    assert!(wrong(&list(MAX_CODE)).contains("more than 512"));
}

fn any_words() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "and", "or", "not", "in", "prefix", "exists", "header", "key", "topic", "size", "(", ")", "[", "]", ",", ".",
        "==", "!=", "<", "'a'", "\"", "'", "1", "-", "x", "\\", "é", "\u{85}",
    ]);
    prop::collection::vec(word, 0..60).prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn any_text_is_a_predicate_or_an_error_within_it(text in prop_oneof![any_words(), ".{0,200}"]) {
        match Predicate::compile(&text) {
            Ok(predicate) => {
                with_event(&[("x", "a")], "k", 3, 5, |event| predicate.matches("a/b", event));
                prop_assert_eq!(Predicate::compile(predicate.text()).map(|again| again == predicate), Ok(true));
            }
            Err(error) => prop_assert!(error.at <= text.len() && text.is_char_boundary(error.at)),
        }
    }
}
