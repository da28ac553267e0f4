//! Tokens that somebody has made to get in: a corpus, and anything at all.

use proptest::prelude::*;
use serde_json::{Value, json};
use weft_govern::login::{MAX_BEARER, Reason};

use super::signer::encode;
use super::*;
use crate::Unverified;

/// One that believes a signer of RSA and one of Ed25519, under keys `one` and `two`.
fn believing(rsa: &Signer, ed: &Signer) -> Logins {
    let mut document = issuer(rsa);
    document["keys"]["jwks"]["keys"].as_array_mut().unwrap().push(ed.jwk("two"));
    logins(&[("tenant/acme", json!({})), ("issuer/corp", document)])
}

/// An HMAC with SHA-256 under the given bytes, as HS256 has it.
fn hs256(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let signed = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
    format!("{signed}.{}", encode(aws_lc_rs::hmac::sign(&key, signed.as_bytes())))
}

#[test]
fn nothing_of_the_corpus_gets_in() {
    let (rsa, ed) = (Signer::rsa("RS256"), Signer::ed25519());
    let mut logins = believing(&rsa, &ed);
    let good = ed.sign("two", &claims());
    assert!(logins.login(bearer(&good), at(0)).is_ok(), "the canary");
    let sign = |header: &Value, claims: &Value| ed.sign_text(&header.to_string(), &claims.to_string());
    let header = json!({"alg": "EdDSA", "typ": "JWT", "kid": "two"});
    let header_with = |name: &str, value: Value| {
        let mut header = header.clone();
        header[name] = value;
        header
    };
    let (parts, claims_text): (Vec<&str>, _) = (good.split('.').collect(), claims().to_string());
    let unsigned = |alg: &str| format!("{}.{}.", encode(json!({"alg": alg}).to_string()), parts[1]);
    let nested = format!("{{\"x\":{}1{},{}", "[".repeat(2_000), "]".repeat(2_000), &claims_text[1..]);
    let many = format!("{{\"x\":[{}1],{}", "1,".repeat(3_000), &claims_text[1..]);
    let mut corpus = vec![
        ("nothing", String::new()),
        ("dots", "..".to_owned()),
        ("more dots", format!("{good}.{}", parts[2])),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("alg none", unsigned("none")),
        ("alg None", unsigned("None")),
        ("alg nOnE", unsigned("nOnE")),
        ("alg of nothing", unsigned("")),
        ("alg missing", format!("{}.{}.{}", encode("{}"), parts[1], parts[2])),
        ("alg a list", sign(&header_with("alg", json!(["EdDSA", "none"])), &claims())),
        ("alg twice", ed.sign_text(r#"{"alg":"EdDSA","alg":"none","kid":"two"}"#, &claims_text)),
        ("another alg", sign(&header_with("alg", json!("ES256")), &claims())),
        ("alg unlisted", sign(&header_with("alg", json!("ES512")), &claims())),
        ("header no object", format!("{}.{}.{}", encode("[]"), parts[1], parts[2])),
        ("critical", sign(&header_with("crit", json!(["exp"])), &claims())),
        ("unencoded", sign(&header_with("crit", json!(["b64"])), &claims())),
        ("encrypted", sign(&header_with("enc", json!("A256GCM")), &claims())),
        ("compressed", sign(&header_with("zip", json!("DEF")), &claims())),
        ("another type", sign(&header_with("typ", json!("logout+jwt")), &claims())),
        ("kid of another key", sign(&header_with("kid", json!("one")), &claims())),
        ("kid unknown", sign(&header_with("kid", json!("three")), &claims())),
        ("kid a path", sign(&header_with("kid", json!("../../dev/null")), &claims())),
        ("kid of SQL", sign(&header_with("kid", json!("two' OR '1'='1")), &claims())),
        ("kid empty", sign(&header_with("kid", json!("")), &claims())),
        ("kid long", sign(&header_with("kid", json!("k".repeat(5_000))), &claims())),
        ("kid no text", sign(&header_with("kid", json!({"two": 1})), &claims())),
        ("claims no object", ed.sign_text(&header.to_string(), "[1]")),
        ("claims no JSON", ed.sign_text(&header.to_string(), "exp=1")),
        ("nested", ed.sign_text(&header.to_string(), &nested)),
        ("many values", ed.sign_text(&header.to_string(), &many)),
        ("sub twice", ed.sign_text(&header.to_string(), &format!("{{\"sub\":\"root\",{}", &claims_text[1..]))),
        ("aud twice", ed.sign_text(&header.to_string(), &format!("{{\"aud\":\"weft\",{}", &claims_text[1..]))),
        ("signed by itself", {
            // The key comes along in the header, as CVE-2018-0114 had it.
            let own = Signer::ed25519();
            let header = header_with("jwk", own.jwk("two"));
            own.sign_text(&header.to_string(), &claims_text)
        }),
        ("padded", format!("{}=.{}.{}", parts[0], parts[1], parts[2])),
        ("blanks", format!(" {good}")),
        ("lines", format!("{good}\n")),
        (
            "another's claims",
            format!("{}.{}.{}", parts[0], encode(claims_with(&json!({"sub": "root"})).to_string()), parts[2]),
        ),
        ("huge", format!("{}.{}.{}", parts[0], "A".repeat(MAX_BEARER), parts[2])),
    ];
    for name in ["iss", "aud", "sub", "exp"] {
        corpus.push(("a claim missing", sign(&header, &claims_with(&json!({name: null})))));
        corpus.push(("a claim a list of lists", sign(&header, &claims_with(&json!({name: [["weft"]]})))));
        corpus.push(("a claim empty", sign(&header, &claims_with(&json!({name: ""})))));
    }
    for (name, value) in [
        ("iss", json!("https://example.com/id/")),
        ("iss", json!("https://example.com/evil")),
        ("iss", json!(["https://example.com/id"])),
        ("aud", json!("weft2")),
        ("aud", json!([])),
        ("aud", json!(["x", 1, "weft"])),
        ("exp", json!("1900000000")),
        ("exp", json!(-1)),
        ("exp", json!(1e300)),
        ("exp", json!(true)),
        ("nbf", json!(BEGIN + 1_000)),
        ("nbf", json!("soon")),
        ("iat", json!(BEGIN + 1_000)),
        ("iat", json!(-5)),
        ("jti", json!(7)),
        ("jti", json!("x".repeat(1_000))),
        ("sub", json!("a\u{0}b")),
        ("sub", json!("x".repeat(1_000))),
    ] {
        corpus.push(("a claim that cannot be", sign(&header, &claims_with(&json!({name: value})))));
    }
    // The public key taken for a shared secret, in each form that somebody may have it in.
    let jwk = rsa.jwk("one");
    let secrets =
        [jwk.to_string(), jwk["n"].as_str().unwrap().to_owned(), ed.jwk("two")["x"].as_str().unwrap().to_owned()];
    for secret in &secrets {
        for (alg, kid) in [("HS256", "one"), ("HS256", "two"), ("RS256", "one"), ("EdDSA", "two")] {
            corpus.push(("HMAC", hs256(&json!({"alg": alg, "kid": kid}), &claims(), secret.as_bytes())));
        }
    }
    for (what, token) in &corpus {
        let answer = logins.login(bearer(token), at(0));
        let (reason, log) = refused(&answer);
        assert!(matches!(reason, Reason::Bad), "{what}: {reason:?} {log}");
        let detail = answer.unwrap_err().detail;
        assert!(detail.len() < 200 && log.len() < 500, "{what}: {log}");
        assert!(token.len() < 40 || !log.contains(&token[token.len() - 20..]), "{what} shows the token: {log}");
        // Failures were not limited: this is a corpus, not a flood.
        logins = believing(&rsa, &ed);
    }
}

#[test]
fn an_expired_token_says_so_and_every_other_refusal_is_the_same() {
    let (rsa, ed) = (Signer::rsa("RS256"), Signer::ed25519());
    let mut logins = believing(&rsa, &ed);
    let details: Vec<String> =
        [claims_with(&json!({"sub": "b"})), claims_with(&json!({"aud": "x"})), claims_with(&json!({"iss": "x"}))]
            .iter()
            .map(|claims| logins.login(bearer(&rsa.sign("two", claims)), at(0)).unwrap_err().detail)
            .collect();
    assert!(details.iter().all(|detail| *detail == details[0]), "{details:?}");
    // One that was not signed is not even said to be over.
    let forged = Signer::ed25519().sign("two", &claims_with(&json!({"exp": 1})));
    assert_eq!(refused(&logins.login(bearer(&forged), at(0))).0, Reason::Bad);
}

#[test]
fn one_address_that_floods_is_limited_and_others_are_not() {
    let (rsa, ed) = (Signer::rsa("RS256"), Signer::ed25519());
    let mut logins = believing(&rsa, &ed);
    let bad = || bearer(&Signer::sign(&rsa, "two", &claims()));
    let most = Limits::default().proofs_per_source;
    for _ in 0..most {
        assert_eq!(refused(&logins.login(bad(), at(0))).0, Reason::Bad);
    }
    assert!(matches!(refused(&logins.login(bad(), at(0))).0, Reason::Limited(_)));
    let good = |from: Option<IpAddr>| Knock { from, ..bearer(&ed.sign("two", &claims())) };
    assert!(logins.login(good(from(2)), at(0)).is_ok(), "others log in");
    assert!(matches!(refused(&logins.login(good(from(1)), at(0))).0, Reason::Limited(_)));
    assert!(logins.login(good(from(1)), at(2)).is_ok(), "and it does again, in time");
}

proptest! {
    #[test]
    fn a_token_that_was_altered_anywhere_does_not_get_in(place in 0_usize..400, byte in any::<u8>()) {
        let ed = Signer::ed25519();
        let mut logins = logins(&[("tenant/acme", json!({})), ("issuer/corp", issuer(&ed))]);
        let mut token = ed.sign("one", &claims()).into_bytes();
        let place = place % token.len();
        prop_assume!(token[place] != byte);
        token[place] = byte;
        let knock = Knock { credentials: Credentials::Bearer(Secret::new(token)), from: None };
        prop_assert!(logins.login(knock, at(0)).is_err());
    }

    #[test]
    fn whatever_comes_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[A-Za-z0-9_.-]{0,200}") {
        let _ = Unverified::read(&bytes);
        let _ = Unverified::read(text.as_bytes());
    }
}
