//! Chains: any alteration is found, where it is possible at all; and what is
//! gathered is neither lost nor without bound.

use proptest::prelude::*;
use weft_base::checksum::crc32c;
use weft_base::{Mono, Now, UnixNanos};

use super::*;

/// Enough to tell texts apart in a test; the program gives SHA-256.
struct Sum;

impl Digest for Sum {
    fn sha256(&self, bytes: &[u8]) -> [u8; 32] {
        let mut hash = [0; 32];
        for (number, part) in hash.chunks_mut(4).enumerate() {
            part.copy_from_slice(&crc32c(&[bytes, &[number as u8], bytes].concat()).to_le_bytes());
        }
        hash
    }
}

fn event(who: &str, resource: &str) -> Event {
    Event {
        who: who.to_owned(),
        from: "192.0.2.1:5000".to_owned(),
        session: 0,
        method: "token".to_owned(),
        action: "publish".to_owned(),
        resource: resource.to_owned(),
        allowed: false,
        rules: vec!["p/1".to_owned()],
        version: 7,
        detail: String::new(),
    }
}

fn entry(number: u64) -> Entry {
    Entry { event: event("ann", &format!("topic `a/{number}`")), time: number, last: None, times: 1, several: false }
}

fn chain(count: u64) -> (Vec<String>, Hash) {
    let mut chain = Chain::new("h1", Sum);
    let lines = (0..count).flat_map(|number| chain.append(entry(number))).collect();
    (lines, chain.head())
}

fn check(lines: &[String], known: Option<Hash>) -> Result<Verified, Broken> {
    verify(lines.iter().map(String::as_str), &Sum, known)
}

#[test]
fn a_chain_is_verified_from_each_of_its_anchors() {
    let (lines, head) = chain(2 * SEGMENT + 10);
    assert_eq!(lines.len() as u64, 2 * SEGMENT + 13);
    assert_eq!(check(&lines, Some(head)), Ok(Verified { first: 0, lines: lines.len(), head }));
    let cut = &lines[SEGMENT as usize + 1..];
    assert_eq!(check(cut, Some(head)).map(|verified| verified.first), Ok(SEGMENT + 1));
    assert_eq!(check(&lines[1..], None), Err(Broken::NotAnchored { number: 1 }));
    assert_eq!(check(&[], None).map(|verified| verified.lines), Ok(0));
    // It goes on after a restart, with a new segment.
    let mut later = Chain::after("h1", lines.last().unwrap(), Sum).unwrap();
    let more = later.append(entry(99));
    assert_eq!(more.len(), 2);
    assert!(check(&[lines.clone(), more].concat(), Some(head)).is_ok());
    assert!(Chain::after("h2", lines.last().unwrap(), Sum).is_err());
    // One line is as it is for ever.
    let text = r#"{"hub":"h1","line":{"entry":{"event":{"action":"publish","allowed":false,"from":"192.0.2.1:5000","method":"token","resource":"topic `a/0`","rules":["p/1"],"version":7,"who":"ann"},"time":0,"times":1}},"number":1,"previous":""#;
    assert!(lines[1].starts_with(text), "{}", lines[1]);
}

#[test]
fn what_was_cut_or_written_anew_at_the_end_is_found_by_a_hash_kept_elsewhere() {
    let (lines, head) = chain(10);
    assert!(check(&lines[..8], None).is_ok(), "nothing in the lines themselves says that more were there");
    assert_eq!(check(&lines[..8], Some(head)), Err(Broken::Head(head)));
    let mut forged = Chain::after("h1", &lines[6], Sum).unwrap();
    let anew: Vec<String> = (0..3).flat_map(|number| forged.append(entry(number))).collect();
    let anew = [&lines[..7], &anew].concat();
    assert!(check(&anew, None).is_ok() && check(&anew, Some(head)) == Err(Broken::Head(head)));
}

#[test]
fn lines_that_are_no_records_are_told_and_cost_little() {
    let (lines, _) = chain(1);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for wrong in ["", "{}", "null", &deep, &" ".repeat(MAX_LINE + 1), &lines[0].replace("number", "nummer")] {
        assert!(matches!(check(&[wrong.to_owned()], None), Err(Broken::Unreadable { line: 1, .. })), "{wrong:.40}");
    }
    let other = Chain::new("h2", Sum).append(entry(1)).remove(1);
    assert!(matches!(check(&[lines[0].clone(), other], None), Err(Broken::Hub { line: 2, .. })));
    assert_eq!(Hash::parse(&Hash([7; 32]).to_string()), Some(Hash([7; 32])));
    assert_eq!((Hash::parse("00"), Hash::parse(&"G".repeat(64)), Hash::parse(&"é".repeat(32))), (None, None, None));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn whatever_is_done_to_a_chain_is_found(what in 0..5_u8, at in 1..20_usize, other in 1..20_usize, bit in 0..8_u32, byte in any::<prop::sample::Index>()) {
        let (lines, head) = chain(20);
        let mut forged = lines.clone();
        match what {
            0 => {
                let mut bytes = forged[at].clone().into_bytes();
                let place = byte.index(bytes.len());
                bytes[place] ^= 1 << bit;
                forged[at] = String::from_utf8_lossy(&bytes).into_owned();
            }
            1 => { forged.remove(at); }
            2 => forged.swap(at, other),
            3 => forged.insert(at, lines[other].clone()),
            _ => {
                // One that fits where it is put, but for what follows it.
                let made = Chain::after("h1", &lines[at - 1], Sum).unwrap().append(entry(777)).remove(0);
                forged[at] = made;
            }
        }
        prop_assert_eq!(forged == lines, check(&forged, Some(head)).is_ok());
    }

    #[test]
    fn what_is_gathered_is_neither_lost_nor_told_without_bound(
        events in prop::collection::vec((0..6_u8, 0..8_u8, any::<bool>(), 0..40_u64), 0..200),
    ) {
        let limits = GatherLimits { window: std::time::Duration::from_nanos(100), kinds: 3, principals: 2 };
        let mut gather = Gather::new(limits);
        let (mut now, mut told) = (Now::default(), Vec::new());
        let (mut windows, mut count) = (0_usize, [0_u64; 2]);
        for (who, resource, allowed, pause) in events {
            now = Now { mono: Mono(now.mono.0 + pause), wall: UnixNanos(now.wall.0 + pause) };
            if gather.due().is_some_and(|due| due <= now.mono) {
                windows += 1;
                told.extend(gather.flush(now, false));
                prop_assert_eq!(gather.due(), None);
            }
            prop_assert_eq!(gather.flush(now, false), vec![]);
            let event = Event { allowed, ..event(&who.to_string(), &resource.to_string()) };
            told.extend(gather.take(event, now));
            count[usize::from(allowed)] += 1;
        }
        told.extend(gather.flush(now, true));
        for allowed in [false, true] {
            let times: u64 = told.iter().filter(|entry| entry.event.allowed == allowed).map(|entry| entry.times).sum();
            prop_assert_eq!(times, count[usize::from(allowed)]);
        }
        // Of each of two: three at once, three again, two for the rest; two for others.
        prop_assert!(told.len() <= (windows + 1) * (2 * (3 + 3 + 2) + 2), "{}", told.len());
        prop_assert!(told.iter().all(|entry| entry.last.is_none_or(|last| last >= entry.time)));
    }
}

#[test]
fn the_same_again_is_one_record_and_long_texts_are_cut() {
    let mut gather = Gather::new(GatherLimits::default());
    let at = |seconds: u64| Now { mono: Mono(seconds * 1_000_000_000), wall: UnixNanos(seconds) };
    assert!(gather.take(event("ann", "x"), at(1)).is_some());
    for second in 2..50 {
        assert_eq!(gather.take(event("ann", "x"), at(second)), None);
    }
    assert_eq!(gather.flush(at(50), false), []);
    let again = Entry { event: event("ann", "x"), time: 2, last: Some(49), times: 48, several: false };
    assert_eq!(gather.flush(at(61), false), [again]);
    let long = Event { rules: vec!["r".repeat(5_000); 20], ..event(&"é".repeat(5_000), "x") };
    let told = gather.take(long, at(62)).unwrap().event;
    assert_eq!((told.who.len(), told.rules.len(), told.rules[0].len()), (TEXT, RULES, TEXT));
}

/// A checker that would find nothing: shown here to be found out.
#[test]
fn a_digest_that_does_not_look_lets_an_alteration_pass_and_the_test_above_would_see_it() {
    struct Blind;
    impl Digest for Blind {
        fn sha256(&self, _: &[u8]) -> [u8; 32] {
            [0; 32]
        }
    }
    let mut chain = Chain::new("h1", Blind);
    let mut lines: Vec<String> = (0..5).flat_map(|number| chain.append(entry(number))).collect();
    lines[2] = lines[2].replace("a/1", "a/9");
    assert!(verify(lines.iter().map(String::as_str), &Blind, None).is_ok());
    let (mut lines, head) = self::chain(5);
    lines[2] = lines[2].replace("a/1", "a/9");
    assert_eq!(check(&lines, Some(head)), Err(Broken::Hash { line: 4 }));
}
