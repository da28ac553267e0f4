//! Changes in order: effects, conflicts, repeats, limits, snapshots, and what
//! hostile bytes do.

use proptest::prelude::*;
use weft_base::UnixNanos;

use super::*;
use crate::access::{Method, Principal};
use crate::{Expect, Kind};

fn author() -> Principal {
    Principal { tenant: Some("a".into()), name: "ann".into(), roles: ["dev".into()].into(), method: Method::Token }
}

fn key(name: &str) -> Key {
    Key::new(Kind::Tenant, name).unwrap()
}

fn change(id: u128, base: u64, puts: &[(&str, &str)], deletes: &[&str]) -> Change {
    Change {
        id: ChangeId(id),
        author: author(),
        at: UnixNanos(7),
        base,
        puts: puts.iter().map(|(name, document)| (key(name), (*document).into())).collect(),
        deletes: deletes.iter().map(|name| key(name)).collect(),
        expects: Vec::new(),
    }
    .in_order()
}

fn take(machine: &mut Machine, change: &Change) -> Outcome {
    let entry = change.encode(&Limits::default()).expect("a change");
    Outcome::decode(&machine.apply(&entry, 1)).expect("an outcome")
}

#[test]
fn a_change_is_read_as_it_was_written_and_a_machine_of_its_bytes_is_the_same() {
    let mut wanted = change(1, 0, &[("b", "{}"), ("a", "{\"x\":\"\\n\"}")], &["c"]);
    wanted.expects = vec![Expect { key: key("a"), version: None }, Expect { key: key("c"), version: Some(3) }];
    let bytes = wanted.encode(&Limits::default()).unwrap();
    assert_eq!(Change::decode(&bytes, &Limits::default()), Ok(wanted.clone()));
    assert_eq!(wanted.keys(), [key("a"), key("b"), key("c")]);
    // Kept and replicated: these very bytes, for ever.
    let text = r#"{"format":1,"id":"00000000000000000000000000000001","author":{"tenant":"a","name":"ann","roles":["dev"],"method":"token"},"at":7,"base":0,"puts":[["tenant/a","{\"x\":\"\\n\"}"],["tenant/b","{}"]],"deletes":["tenant/c"],"expects":[["tenant/a",null],["tenant/c",3]]}"#;
    assert_eq!(String::from_utf8(bytes).unwrap(), text);
}

#[test]
fn a_change_takes_effect_once_however_often_it_comes() {
    let mut machine = Machine::default();
    let first = change(1, 0, &[("a", "{}"), ("b", "{}")], &[]);
    assert_eq!(take(&mut machine, &first), Outcome::Applied { version: 1 });
    let second = change(2, 1, &[("a", "{\"x\":1}")], &["b"]);
    assert_eq!(take(&mut machine, &second), Outcome::Applied { version: 2 });
    let state = machine.state().clone();
    assert_eq!(take(&mut machine, &first), Outcome::Repeated(Box::new(Outcome::Applied { version: 1 })));
    assert_eq!(*machine.state(), state);
    assert_eq!(machine.outcome(&ChangeId(1)), Some(&Outcome::Applied { version: 1 }));
    assert_eq!(machine.author_of(2), Some(&Authored { author: "a/ann".into(), at: UnixNanos(7) }));
    assert_eq!(machine.author_of(3), None);
    // The same under another number changes nothing, and counts no version.
    let again = change(3, 2, &[("a", "{\"x\":1}")], &["b"]);
    assert_eq!(take(&mut machine, &again), Outcome::Unchanged { version: 2 });
    assert_eq!(state.get(&key("a")).map(|item| item.version), Some(2));
}

#[test]
fn what_is_put_as_it_was_keeps_its_version() {
    let mut machine = Machine::default();
    take(&mut machine, &change(1, 0, &[("a", "{}"), ("b", "{}")], &[]));
    take(&mut machine, &change(2, 1, &[("a", "{}"), ("b", "{\"x\":1}")], &[]));
    let version = |name| machine.state().get(&key(name)).map(|item| item.version);
    assert_eq!((version("a"), version("b")), (Some(1), Some(2)));
}

#[test]
fn of_two_changes_of_what_both_saw_the_second_is_a_conflict_for_good() {
    let mut machine = Machine::default();
    take(&mut machine, &change(1, 0, &[("a", "{}")], &[]));
    let saw = |version| vec![Expect { key: key("a"), version }];
    let one = Change { expects: saw(Some(1)), ..change(2, 1, &[("a", "{\"x\":1}")], &[]) };
    let other = Change { expects: saw(Some(1)), ..change(3, 1, &[("a", "{\"x\":2}")], &[]) };
    assert_eq!(take(&mut machine, &one), Outcome::Applied { version: 2 });
    let conflict = Outcome::Conflict { key: key("a"), expected: Some(1), found: Some(2) };
    assert_eq!(take(&mut machine, &other), conflict);
    assert_eq!(take(&mut machine, &other), Outcome::Repeated(Box::new(conflict)));
    let new = Change { expects: saw(None), ..change(4, 2, &[("a", "{}")], &[]) };
    assert_eq!(take(&mut machine, &new), Outcome::Conflict { key: key("a"), expected: None, found: Some(2) });
    assert_eq!(machine.state().version(), 2);
}

#[test]
fn a_change_vetted_against_another_state_is_stale_and_may_come_again() {
    let mut machine = Machine::default();
    take(&mut machine, &change(1, 0, &[("a", "{}")], &[]));
    // Two tenants with the same topics, say: each was right by itself.
    let late = change(2, 0, &[("b", "{}")], &[]);
    assert_eq!(take(&mut machine, &late), Outcome::Stale { version: 1 });
    assert_eq!(machine.outcome(&ChangeId(2)), None);
    assert_eq!(take(&mut machine, &change(2, 1, &[("b", "{}")], &[])), Outcome::Applied { version: 2 });
}

#[test]
fn limits_refuse_and_leave_all_as_it_was_but_never_keep_from_deleting() {
    let limits = Limits { document: 16, change: 1024, resources: 2, state: 40, remembered: 2 };
    let mut machine = Machine::new(limits);
    take(&mut machine, &change(1, 0, &[("a", "{}"), ("b", "{}")], &[]));
    let state = machine.state().clone();
    assert!(
        matches!(take(&mut machine, &change(2, 1, &[("c", "{}")], &[])), Outcome::Full { what } if what.contains("3 resources"))
    );
    assert!(
        matches!(take(&mut machine, &change(3, 1, &[("a", "{\"x\":4444444}"), ("b", "{\"x\":4444444}")], &[])), Outcome::Full { what } if what.contains("bytes"))
    );
    let long = change(4, 1, &[("a", &"x".repeat(17))], &[]);
    assert!(matches!(long.encode(&limits), Err(ChangeError::Document { bytes: 17, most: 16, .. })));
    assert!(matches!(take(&mut machine, &long), Outcome::Unreadable { why } if why.contains("17 bytes")));
    let many: Vec<_> = (0..100).map(|n| format!("n{n}")).collect();
    let many = change(5, 1, &[], &many.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(matches!(many.encode(&limits), Err(ChangeError::TooLarge { most: 1024, .. })));
    assert!(matches!(take(&mut machine, &many), Outcome::Unreadable { .. }));
    assert_eq!(*machine.state(), state);
    // A state from when limits were larger can still become smaller.
    let mut smaller = Machine::new(Limits { resources: 1, ..limits });
    smaller.state = state;
    assert_eq!(take(&mut smaller, &change(6, 1, &[("a", "{\"x\":1}")], &[])), Outcome::Applied { version: 2 });
    assert_eq!(take(&mut smaller, &change(7, 2, &[], &["a"])), Outcome::Applied { version: 3 });
    // Remembered are the last two.
    assert_eq!(machine.outcome(&ChangeId(1)), None);
    assert!(machine.outcome(&ChangeId(3)).is_some());
}

#[test]
fn a_key_that_is_named_twice_is_refused() {
    let limits = Limits::default();
    for twice in [
        change(1, 0, &[("a", "1"), ("a", "2")], &[]),
        change(1, 0, &[], &["a", "a"]),
        change(1, 0, &[("a", "1")], &["a"]),
        Change { deletes: vec![key("b"), key("a")], ..change(1, 0, &[], &[]) },
    ] {
        assert!(matches!(twice.encode(&limits), Err(ChangeError::Order(_))), "{twice:?}");
    }
}

#[test]
fn entries_that_are_no_changes_are_answered_and_change_nothing() {
    let mut machine = Machine::default();
    take(&mut machine, &change(1, 0, &[("a", "{}")], &[]));
    let before = machine.clone();
    let good = String::from_utf8(change(2, 1, &[("b", "{}")], &["a"]).encode(&Limits::default()).unwrap()).unwrap();
    let hostile = [
        String::new(),
        "{}".to_owned(),
        "null".to_owned(),
        "[".repeat(100_000),
        good.replace("\"format\":1", "\"format\":2"),
        good.replace("\"base\":1", "\"base\":-1"),
        good.replace("\"base\":1", "\"base\":1,\"more\":0"),
        good.replace("tenant/b", "landlord/b"),
        good.replace("tenant/b", "tenant/../b"),
        good.replace("\"token\"", "\"trust me\""),
        good.replace("00000002", "0000000g"),
        good.replace("00000002", "2"),
        good[..good.len() - 1].to_owned(),
        good.clone() + " x",
    ];
    for entry in hostile {
        let outcome = machine.take(entry.as_bytes());
        assert!(matches!(&outcome, Outcome::Unreadable { why } if why.len() <= TEXT), "{entry}: {outcome:?}");
        assert!(machine == before);
    }
    assert!(matches!(machine.take(&[0xff; 64]), Outcome::Unreadable { .. }));
    assert!(matches!(machine.take(&vec![b' '; (4 << 20) + 1]), Outcome::Unreadable { .. }));
    assert_eq!(machine.take(good.as_bytes()), Outcome::Applied { version: 2 });
}

#[test]
fn a_snapshot_makes_the_same_machine_and_damage_is_found() {
    let mut machine = Machine::default();
    for number in 0..50 {
        let name = format!("t{}", number % 20);
        let document = format!("{{\"description\":\"{number} é\"}}");
        take(&mut machine, &change(number, number as u64, &[(&name, &document)], &[]));
    }
    let bytes = machine.snapshot();
    let mut other = Machine::default();
    take(&mut other, &change(99, 0, &[("z", "{}")], &[]));
    let before = other.clone();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(other.restore(&damaged).is_err(), "{at}");
        assert!(other.restore(&bytes[..at]).is_err(), "{at}");
    }
    assert!(other == before);
    other.restore(&bytes).unwrap();
    assert!(other == machine);
    assert_eq!(other.snapshot(), bytes);
    let repeated = take(&mut other, &change(3, 3, &[("t3", "{}")], &[]));
    assert_eq!(repeated, Outcome::Repeated(Box::new(Outcome::Applied { version: 4 })));
}

/// Bytes with the right checksum at their end.
fn sealed(body: &[u8]) -> Vec<u8> {
    [body, &weft_base::checksum::crc32c(body).to_le_bytes()].concat()
}

#[test]
fn a_snapshot_that_only_claims_to_be_one_costs_nothing_and_is_refused() {
    let mut machine = Machine::default();
    take(&mut machine, &change(1, 0, &[("a", "{}"), ("b", "{}")], &[]));
    let good = machine.snapshot();
    let good = &good[..good.len() - 4];
    let with = |at: usize, bytes: &[u8]| {
        let mut body = good.to_vec();
        body[at..at + bytes.len()].copy_from_slice(bytes);
        sealed(&body)
    };
    let limits = Limits::default();
    let refused = |bytes: &[u8]| snapshot::read(bytes, &limits).unwrap_err().to_string();
    assert!(refused(&with(7, b"2")).contains("upgrade"));
    assert!(refused(&with(16, &u32::MAX.to_le_bytes())).contains("resources"));
    assert!(refused(&with(16, &50_000_u32.to_le_bytes())).contains("wrong at byte"));
    assert!(refused(&with(20, &u32::MAX.to_le_bytes())).contains("remembered"));
    assert!(refused(&with(8, &0_u64.to_le_bytes())).contains("version"));
    // The first resource: a key of 8 bytes at 26, its version at 34, its document at 42.
    assert!(refused(&with(24, &u16::MAX.to_le_bytes())).contains("ends too early"));
    assert!(refused(&with(33, b"b")).contains("is not after"));
    assert!(refused(&with(26, b"landlord")).contains("kind"));
    assert!(refused(&with(42, &u32::MAX.to_le_bytes())).contains("bytes of a document"));
    assert!(refused(&with(46, b"\xff\xff")).contains("UTF-8"));
    assert!(refused(&sealed(&[good, b"x"].concat())).contains("follows"));
    assert!(snapshot::read(&sealed(good), &limits).is_ok());
    assert!(snapshot::read(&sealed(good), &Limits { resources: 1, ..limits }).is_err());
    assert!(snapshot::read(&sealed(good), &Limits { state: 3, ..limits }).is_err());
}

/// One of 21,000 resources: 1,000 tenants, 10,000 policies, 10,000 schemas.
fn many(number: u64) -> (Key, Arc<str>) {
    let kind = match number {
        0..1_000 => Kind::Tenant,
        1_000..11_000 => Kind::Policy,
        _ => Kind::Schema,
    };
    (Key::new(kind, &format!("n{number}")).unwrap(), format!("{{\"n\":{number}}}").into())
}

#[test]
fn as_many_resources_as_are_promised_come_one_by_one_and_in_one_change() {
    let (mut one_by_one, mut at_once) = (Machine::default(), Machine::default());
    let mut held = Vec::new();
    for number in 0..21_000 {
        let change = Change { puts: vec![many(number)], ..change(u128::from(number), number, &[], &[]) };
        assert_eq!(take(&mut one_by_one, &change), Outcome::Applied { version: number + 1 });
        if number % 1_000 == 0 {
            held.push(one_by_one.state().clone());
        }
    }
    let change = Change { puts: (0..21_000).map(many).collect(), ..change(1, 0, &[], &[]) }.in_order();
    assert_eq!(take(&mut at_once, &change), Outcome::Applied { version: 1 });
    let documents = |machine: &Machine| -> Vec<_> {
        machine.state().items().map(|(key, item)| (key.clone(), item.document.clone())).collect()
    };
    assert_eq!(documents(&one_by_one), documents(&at_once));
    assert_eq!(one_by_one.state().bytes(), at_once.state().bytes());
    for (number, state) in held.iter().enumerate() {
        assert_eq!(state.len(), number * 1_000 + 1);
    }
    let mut restored = Machine::default();
    restored.restore(&one_by_one.snapshot()).unwrap();
    assert!(restored == one_by_one);
}

/// What a plain reading of the rules makes of a run of changes.
#[derive(Default)]
struct Oracle {
    version: u64,
    items: BTreeMap<Key, (u64, Arc<str>)>,
    outcomes: BTreeMap<ChangeId, Outcome>,
}

impl Oracle {
    fn take(&mut self, change: &Change) -> Outcome {
        if let Some(first) = self.outcomes.get(&change.id) {
            return Outcome::Repeated(Box::new(first.clone()));
        }
        for Expect { key, version } in &change.expects {
            let found = self.items.get(key).map(|(version, _)| *version);
            if found != *version {
                let outcome = Outcome::Conflict { key: key.clone(), expected: *version, found };
                self.outcomes.insert(change.id, outcome.clone());
                return outcome;
            }
        }
        let mut next = self.items.clone();
        for key in &change.deletes {
            next.remove(key);
        }
        for (key, document) in &change.puts {
            match next.get(key) {
                Some((_, held)) if held == document => {}
                _ => {
                    next.insert(key.clone(), (self.version + 1, document.clone()));
                }
            }
        }
        let outcome = if next == self.items {
            Outcome::Unchanged { version: self.version }
        } else if change.base != self.version {
            return Outcome::Stale { version: self.version };
        } else {
            self.version += 1;
            self.items = next;
            Outcome::Applied { version: self.version }
        };
        self.outcomes.insert(change.id, outcome.clone());
        outcome
    }
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let name = prop::sample::select(vec!["a", "b", "c", "d"]);
    let document = prop::sample::select(vec!["{}", "{\"x\":1}"]);
    let puts = prop::collection::btree_map(name.clone(), document, 0..3);
    let deletes = prop::collection::btree_set(name.clone(), 0..2);
    let expects = prop::collection::btree_map(name, prop::option::of(0..8_u64), 0..2);
    let one = (0..40_u128, 0..12_u64, puts, deletes, expects).prop_map(|(id, base, puts, deletes, expects)| {
        let puts: Vec<_> = puts.into_iter().filter(|(name, _)| !deletes.contains(name)).collect();
        let deletes: Vec<_> = deletes.into_iter().collect();
        let expects = expects.into_iter().map(|(name, version)| Expect { key: key(name), version }).collect();
        Change { expects, ..change(id, base, &puts, &deletes) }
    });
    prop::collection::vec(one, 0..60)
}

proptest! {
    #[test]
    fn it_does_what_a_plain_reading_of_the_rules_says(changes in changes(), snapshot_at in 0..60_usize, follow in any::<bool>()) {
        let (mut machine, mut oracle) = (Machine::default(), Oracle::default());
        for (number, mut change) in changes.into_iter().enumerate() {
            if follow {
                change.base = oracle.version;
            }
            prop_assert_eq!(take(&mut machine, &change), oracle.take(&change));
            let items = machine.state().items().map(|(key, item)| (key.clone(), (item.version, item.document.clone())));
            prop_assert_eq!(items.collect::<BTreeMap<_, _>>(), oracle.items.clone());
            if number == snapshot_at {
                let mut other = Machine::default();
                other.restore(&machine.snapshot()).unwrap();
                machine = other;
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut machine = Machine::default();
        let answered_unreadable = matches!(machine.take(&bytes), Outcome::Unreadable { .. });
        prop_assert!(answered_unreadable);
        prop_assert!(machine.restore(&bytes).is_err());
        prop_assert!(machine.restore(&sealed(&[snapshot_head(), &bytes].concat())).is_err() || bytes.len() >= 16);
        prop_assert!(Outcome::decode(&bytes).is_err() || !bytes.is_empty());
    }
}

fn snapshot_head() -> &'static [u8] {
    b"weftgov1"
}
