//! Keys that are fetched: when, how long they count, and what is refused.

use std::time::Duration;

use serde_json::{Value, json};
use weft_govern::login::Reason;

use super::*;
use crate::{Begun, Fetch, KeyError, KeySet, MAX_KEYS};

const URL: &str = "https://example.com/id/keys";

fn fetching(signer: &Signer) -> Logins {
    let mut document = issuer(signer);
    document["keys"] = json!({"url": URL});
    logins(&[("tenant/acme", json!({})), ("issuer/corp", document)])
}

fn set(keys: &[Value]) -> Vec<u8> {
    json!({"keys": keys}).to_string().into_bytes()
}

fn come(logins: &mut Logins, keys: &[Value], seconds: u64) -> Result<usize, String> {
    logins.fetched(&fetch(), Ok(&set(keys)), None, at(seconds).mono)
}

fn fetch() -> Fetch {
    Fetch { issuer: "corp".into(), url: URL.into() }
}

#[test]
fn the_first_token_waits_for_the_keys_and_is_let_in_then() {
    let signer = Signer::ed25519();
    let mut logins = fetching(&signer);
    let token = signer.sign("one", &claims());
    let Begun::Keys { issuer, knock } = logins.begin(bearer(&token), false, at(0)) else { panic!("it does not wait") };
    assert_eq!(&*issuer, "corp");
    assert_eq!(logins.fetches(at(0).mono), [fetch()]);
    assert_eq!(logins.fetches(at(0).mono), [], "one question at a time");
    assert_eq!(come(&mut logins, &[signer.jwk("one")], 1), Ok(1));
    let Begun::Done(answer) = logins.begin(knock, true, at(1)) else { panic!("it waits") };
    assert_eq!(who(&answer), "acme/corp:alice [] token");
}

#[test]
fn a_new_key_is_asked_for_once_and_not_oftener_than_may_be() {
    let (old, new) = (Signer::ed25519(), Signer::ed25519());
    let mut logins = fetching(&old);
    logins.fetches(at(0).mono);
    come(&mut logins, &[old.jwk("one")], 0).unwrap();
    let token = new.sign("two", &claims());
    let Begun::Done(Err(refusal)) = logins.begin(bearer(&token), false, at(5)) else { panic!("asked just now") };
    assert_eq!(refusal.reason, Reason::Unavailable(std::time::Duration::from_secs(5)), "it may be a new key");
    let Begun::Keys { knock, .. } = logins.begin(bearer(&token), false, at(10)) else { panic!("it does not ask") };
    assert_eq!(logins.next_fetch(), Some(at(10).mono));
    assert_eq!(logins.fetches(at(10).mono).len(), 1);
    come(&mut logins, &[old.jwk("one"), new.jwk("two")], 11).unwrap();
    assert!(matches!(logins.begin(knock, true, at(11)), Begun::Done(Ok(_))));
    assert!(logins.login(bearer(&old.sign("one", &claims())), at(11)).is_ok());
    // Rotated away: the old one counts no more.
    let Begun::Keys { .. } = logins.begin(bearer(&new.sign("x", &claims())), false, at(30)) else { panic!() };
    logins.fetches(at(30).mono);
    come(&mut logins, &[new.jwk("two")], 30).unwrap();
    assert!(logins.login(bearer(&old.sign("one", &claims())), at(31)).is_err());
}

#[test]
fn a_flood_of_unknown_keys_asks_now_and_then_only() {
    let signer = Signer::ed25519();
    let mut logins = fetching(&signer);
    logins.fetches(at(0).mono);
    come(&mut logins, &[signer.jwk("one")], 0).unwrap();
    let mut asked = 0;
    for second in 0..60 {
        for n in 0..50 {
            let knock = Knock { from: from(n), ..bearer(&signer.sign(&format!("k{second}-{n}"), &claims())) };
            let _ = logins.begin(knock, false, at(second));
        }
        if !logins.fetches(at(second).mono).is_empty() {
            asked += 1;
            come(&mut logins, &[signer.jwk("one")], second).unwrap();
        }
    }
    assert!((1..=6).contains(&asked), "asked {asked} times in a minute");
}

#[test]
fn keys_are_asked_for_ahead_of_time_and_kept_while_nobody_answers() {
    let signer = Signer::ed25519();
    let mut logins = fetching(&signer);
    let Limits { fresh, kept, .. } = Limits::default();
    logins.fetches(at(0).mono);
    come(&mut logins, &[signer.jwk("one")], 0).unwrap();
    assert_eq!(logins.next_fetch(), Some(at(fresh.as_secs() * 3 / 4).mono));
    // From now on nobody answers: it is asked ever more rarely.
    let (mut now, mut pauses) = (fresh.as_secs(), Vec::new());
    let good = |second: u64| bearer(&signer.sign("one", &claims_with(&json!({"exp": BEGIN + second + 10}))));
    while now < kept.as_secs() - 400 {
        assert_eq!(logins.fetches(at(now).mono).len(), 1);
        assert!(logins.fetched(&fetch(), Err("no answer".to_owned()), None, at(now).mono).is_err());
        assert!(logins.login(good(now), at(now)).is_ok(), "the last good set counts");
        let next = logins.next_fetch().unwrap().since(at(now).mono).as_secs();
        (now, pauses) = (now + next, [pauses, vec![next]].concat());
    }
    assert!(pauses.is_sorted() && pauses[0] == 10 && pauses.last() == Some(&300), "{pauses:?}");
    let over = kept.as_secs() + 1;
    let (reason, log) = refused(&logins.login(good(over), at(over)));
    assert!(matches!(reason, Reason::Unavailable(_)) && log.contains("no answer"), "{log}");
    logins.fetches(at(over).mono);
    come(&mut logins, &[signer.jwk("one")], over).unwrap();
    assert!(logins.login(good(over), at(over)).is_ok(), "and it is well again");
}

#[test]
fn how_long_keys_hold_is_the_servers_word_within_bounds() {
    let signer = Signer::ed25519();
    for (said, after) in [(0, 7.5), (100, 75.0), (10_000_000, 8_100.0)] {
        let mut logins = fetching(&signer);
        logins.fetches(at(0).mono);
        let age = Some(Duration::from_secs(said));
        logins.fetched(&fetch(), Ok(&set(&[signer.jwk("one")])), age, at(0).mono).unwrap();
        assert_eq!(logins.next_fetch().unwrap().since(at(0).mono), Duration::from_secs_f64(after), "{said}");
    }
}

#[test]
fn keys_survive_a_change_of_the_document_but_not_of_the_address() {
    let signer = Signer::ed25519();
    let mut logins = fetching(&signer);
    logins.fetches(at(0).mono);
    come(&mut logins, &[signer.jwk("one")], 0).unwrap();
    let with = |url: &str| {
        let mut document = issuer(&signer);
        document["keys"] = json!({"url": url});
        document["leeway_seconds"] = 9.into();
        state(&[("tenant/acme", json!({})), ("issuer/corp", document)])
    };
    logins.learn(&with(URL));
    assert!(logins.login(bearer(&signer.sign("one", &claims())), at(1)).is_ok());
    logins.learn(&with("https://example.com/other/keys"));
    assert_eq!(come(&mut logins, &[signer.jwk("one")], 2), Ok(0), "an answer of the old address is nothing");
    assert!(logins.login(bearer(&signer.sign("one", &claims())), at(2)).is_err());
}

#[test]
fn hostile_sets_are_refused_within_bounds() {
    let (ed, rsa) = (Signer::ed25519(), Signer::rsa("RS256"));
    let many: Vec<_> = (0..=MAX_KEYS).map(|n| ed.jwk(&n.to_string())).collect();
    let deep = format!("{{\"keys\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    for (what, bytes) in [
        ("nothing", Vec::new()),
        ("HTML", b"<html>not found</html>".to_vec()),
        ("no list", br#"{"keys":{}}"#.to_vec()),
        ("no keys", set(&[])),
        ("too many", set(&many)),
        ("deep", deep.into_bytes()),
        ("too long", vec![b' '; crate::MAX_SET + 1]),
        ("twice", br#"{"keys":[],"keys":[]}"#.to_vec()),
    ] {
        assert!(KeySet::read(&bytes).is_err(), "{what}");
    }
    let altered = |name: &str, value: Value| {
        let mut jwk = ed.jwk("x");
        jwk[name] = value;
        jwk
    };
    let mut short = rsa.jwk("x");
    short["n"] = "AQAB".into();
    let mut none = rsa.jwk("x");
    none["alg"] = "none".into();
    let mut shared = rsa.jwk("x");
    shared["alg"] = "HS256".into();
    for (what, jwk) in [
        ("encryption", altered("use", json!("enc"))),
        ("a use that is no text", altered("use", json!(1))),
        ("other operations", altered("key_ops", json!(["encrypt"]))),
        ("another curve", altered("crv", json!("X25519"))),
        ("a short key", altered("x", json!("AAAA"))),
        ("bad base64", altered("x", json!("!!!!"))),
        ("another kind", altered("kty", json!("AKP"))),
        ("a private key", altered("d", json!("AAAA"))),
        ("a shared secret", json!({"kty": "oct", "k": "c2VjcmV0", "kid": "x"})),
        ("RSA of few bits", short),
        ("for none", none),
        ("for HMAC", shared),
    ] {
        assert!(matches!(KeySet::read(&set(std::slice::from_ref(&jwk))), Err(KeyError::Nothing(1))), "{what}");
        let with_good = KeySet::read(&set(&[jwk, ed.jwk("good")]));
        assert_eq!(with_good.map(|set| set.len()), Ok(1), "{what}: the others count");
    }
    let private = json!({"keys": [altered("d", json!("AAAA"))]});
    assert_eq!(KeySet::of_document(&private).unwrap_err(), KeyError::Private(0));
}

#[test]
fn documents_of_issuers_that_cannot_be_are_named() {
    let signer = Signer::ed25519();
    for (name, value) in [
        ("algorithms", json!(["none"])),
        ("algorithms", json!(["HS256"])),
        ("leeway_seconds", json!(301)),
        ("audience", json!("")),
        ("keys", json!({"url": "http://example.com/keys"})),
        ("keys", json!({"url": concat!("https:", "//user:word@example.com/keys")})),
        ("keys", json!({"url": "file:///etc/passwd"})),
        ("keys", json!({"jwks": {"keys": []}})),
        ("tenant_claim", json!("org")),
        ("unknown", json!(1)),
    ] {
        let mut document = issuer(&signer);
        document[name] = value.clone();
        let mut logins = Logins::new(Limits::default());
        let faults = logins.learn(&state(&[("tenant/acme", json!({})), ("issuer/corp", document)]));
        assert_eq!(faults.len(), 1, "{name} {value}");
        assert!(logins.login(bearer(&signer.sign("one", &claims())), at(0)).is_err());
    }
}
