//! Tokens that are good, and what becomes of them when documents change.

use serde_json::{Value, json};
use weft_base::UnixNanos;
use weft_govern::login::Reason;

use super::*;

#[test]
fn each_asymmetric_signature_is_taken_and_only_with_its_own_kind_of_key() {
    let signers = [
        Signer::ed25519(),
        Signer::ec("ES256"),
        Signer::ec("ES384"),
        Signer::rsa("RS256"),
        Signer::rsa("PS384"),
        Signer::rsa("RS512"),
    ];
    for signer in &signers {
        let mut logins = logins(&[("tenant/acme", json!({})), ("issuer/corp", issuer(signer))]);
        let answer = logins.login(bearer(&signer.sign("one", &claims())), at(0));
        assert_eq!(who(&answer), "acme/corp:alice [] token", "{}", signer.name);
        for other in signers.iter().filter(|other| !std::ptr::eq(*other, signer)) {
            let answer = logins.login(bearer(&other.sign("one", &claims())), at(0));
            assert_eq!(refused(&answer).0, Reason::Bad, "{} for {}", other.name, signer.name);
        }
    }
}

#[test]
fn tenant_and_roles_are_what_document_and_identity_say() {
    let signer = Signer::ed25519();
    let alice =
        json!({"tenant": "acme", "roles": ["clerk"], "logins": [{"token": {"issuer": "corp", "subject": "alice"}}]});
    let mut logins = logins(&[("tenant/acme", json!({})), ("identity/al", alice), ("issuer/corp", issuer(&signer))]);
    let with = |claim: Value| signer.sign("one", &claims_with(&json!({"groups": claim})));
    let one = logins.login(bearer(&with(json!(["Ops", "Traders", "Chess", "Ops"]))), at(0));
    assert_eq!(who(&one), r#"acme/al ["clerk", "operator", "trader"] token"#);
    let one = logins.login(bearer(&with(json!("Traders"))), at(0));
    assert_eq!(who(&one), r#"acme/al ["clerk", "trader"] token"#);
    let one = logins.login(bearer(&with(json!([1, 2]))), at(0));
    assert_eq!(refused(&one).0, Reason::Bad);
    let bob = signer.sign("one", &claims_with(&json!({"sub": "bob", "groups": ["Traders"], "aud": ["x", "weft"]})));
    assert_eq!(who(&logins.login(bearer(&bob), at(0))), r#"acme/corp:bob ["trader"] token"#);
}

#[test]
fn a_claim_names_only_tenants_of_the_issuers_list() {
    let signer = Signer::ed25519();
    let mut document = issuer(&signer);
    document.as_object_mut().unwrap().remove("tenant");
    document["tenant_claim"] = "org".into();
    document["tenants"] = json!(["acme", "gone"]);
    let mut logins = logins(&[("tenant/acme", json!({})), ("tenant/other", json!({})), ("issuer/corp", document)]);
    let with = |org: Value| bearer(&signer.sign("one", &claims_with(&json!({"org": org}))));
    assert_eq!(who(&logins.login(with(json!("acme")), at(0))), "acme/corp:alice [] token");
    for org in [json!("other"), json!("gone"), json!(null), json!(["acme", "other"]), json!(7), json!("")] {
        assert_eq!(refused(&logins.login(with(org.clone()), at(0))).0, Reason::Bad, "{org}");
    }
}

#[test]
fn an_issuer_of_one_tenant_makes_nobody_of_another() {
    let signer = Signer::ed25519();
    let identity =
        |tenant: &str| json!({"tenant": tenant, "logins": [{"token": {"issuer": "corp", "subject": "alice"}}]});
    let mut logins = logins(&[
        ("tenant/acme", json!({})),
        ("tenant/other", json!({})),
        ("identity/al", identity("other")),
        ("issuer/corp", issuer(&signer)),
    ]);
    let (reason, log) = refused(&logins.login(bearer(&signer.sign("one", &claims())), at(0)));
    assert_eq!(reason, Reason::Bad);
    assert!(log.contains("not for the tenant"), "{log}");
}

#[test]
fn a_token_is_good_until_its_end_and_the_clocks_may_differ_a_little() {
    let signer = Signer::ed25519();
    let mut logins = logins(&[("tenant/acme", json!({})), ("issuer/corp", issuer(&signer))]);
    let token = signer.sign("one", &claims());
    let login = logins.login(bearer(&token), at(64)).expect("within the leeway");
    assert_eq!(login.expires, Some(UnixNanos((BEGIN + 65) * 1_000_000_000)));
    assert_eq!(refused(&logins.login(bearer(&token), at(65))).0, Reason::Expired);
    for (claim, good, bad) in [("nbf", 5, 6), ("iat", 5, 6)] {
        let token = |seconds: u64| signer.sign("one", &claims_with(&json!({claim: BEGIN + seconds})));
        assert!(logins.login(bearer(&token(good)), at(0)).is_ok());
        assert_eq!(refused(&logins.login(bearer(&token(bad)), at(0))).0, Reason::Bad, "{claim}");
    }
    let never = signer.sign("one", &claims_with(&json!({"exp": u64::MAX})));
    assert_eq!(logins.login(bearer(&never), at(0)).unwrap().expires, Some(UnixNanos(u64::MAX)));
}

#[test]
fn a_login_stands_until_a_document_says_otherwise() {
    let signer = Signer::ed25519();
    let alice =
        json!({"tenant": "acme", "roles": ["clerk"], "logins": [{"token": {"issuer": "corp", "subject": "alice"}}]});
    let documents = |change: &dyn Fn(&mut Value, &mut Value)| {
        let (mut alice, mut issuer) = (alice.clone(), issuer(&signer));
        change(&mut alice, &mut issuer);
        state(&[("tenant/acme", json!({})), ("identity/al", alice), ("issuer/corp", issuer)])
    };
    let mut logins = Logins::new(Limits::default());
    assert_eq!(logins.learn(&documents(&|_, _| {})), []);
    let token = signer.sign("one", &claims_with(&json!({"jti": "number 7", "groups": ["Ops"]})));
    let login = logins.login(bearer(&token), at(0)).unwrap();
    assert_eq!(logins.stands(&login), Ok(()));
    type Change = fn(&mut Value, &mut Value);
    let changes: [(&str, bool, Change); 8] = [
        ("is disabled", false, |alice, _| alice["disabled"] = true.into()),
        ("has other roles", false, |alice, _| alice["roles"] = json!([])),
        ("has another login", false, |alice, _| alice["logins"] = json!([])),
        ("has a login more", true, |alice, _| {
            alice["logins"].as_array_mut().unwrap().push(json!({"subject": "al"}));
        }),
        ("is revoked", false, |_, issuer| issuer["revoked"] = json!(["number 7"])),
        ("another is revoked", true, |_, issuer| issuer["revoked"] = json!(["number 8"])),
        ("is older than may be", false, |_, issuer| issuer["not_before"] = (BEGIN + 1).into()),
        ("a role means something else", false, |_, issuer| issuer["roles"] = json!({})),
    ];
    for (what, stands, change) in changes {
        assert_eq!(logins.learn(&documents(&change)), [], "{what}");
        assert_eq!(logins.stands(&login).is_ok(), stands, "{what}: {:?}", logins.stands(&login));
        let again = logins.login(bearer(&token), at(0));
        assert_eq!(again.is_ok_and(|again| again.principal == login.principal), stands, "{what}");
    }
    for gone in ["tenant/acme", "issuer/corp", "identity/al"] {
        let less = documents(&|_, _| {}).with([], &[Key::parse(gone).unwrap()]);
        logins.learn(&less);
        assert!(logins.stands(&login).is_err(), "without {gone}");
    }
}

#[test]
fn a_token_without_its_time_of_issue_is_older_than_any_least_time() {
    let signer = Signer::ed25519();
    let mut document = issuer(&signer);
    document["not_before"] = BEGIN.into();
    let mut logins = logins(&[("tenant/acme", json!({})), ("issuer/corp", document)]);
    let answer = logins.login(bearer(&signer.sign("one", &claims_with(&json!({"iat": null})))), at(0));
    assert_eq!(refused(&answer).0, Reason::Bad);
    assert!(logins.login(bearer(&signer.sign("one", &claims())), at(0)).is_ok());
}

#[test]
fn a_subject_does_not_become_an_identity_by_its_name() {
    let signer = Signer::ed25519();
    let mut logins = logins(&[
        ("tenant/acme", json!({})),
        ("identity/corp:alice", json!({"tenant": "acme", "roles": ["chief"]})),
        ("issuer/corp", issuer(&signer)),
    ]);
    let (reason, log) = refused(&logins.login(bearer(&signer.sign("one", &claims())), at(0)));
    assert!(reason == Reason::Bad && log.contains("does not list this token"), "{log}");
}
