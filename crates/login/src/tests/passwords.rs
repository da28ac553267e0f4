//! Passwords: who may try, how often, and what is told.

use serde_json::{Value, json};
use weft_govern::login::Reason;

use super::*;
use crate::password::Hash;

/// A cheap hash, for tests.
fn hash(text: &str) -> String {
    Hash::make_at(text.as_bytes(), [9; 16], 64, 1).unwrap()
}

fn alice() -> Value {
    json!({"tenant": "acme", "roles": ["trader"], "logins": [{"password": hash("open sesame")}]})
}

fn documents(alice: Value) -> Vec<(&'static str, Value)> {
    vec![("tenant/acme", json!({})), ("identity/alice", alice), ("identity/bob", json!({"tenant": "acme"}))]
}

#[test]
fn who_knows_the_password_is_let_in_and_nobody_else() {
    let mut logins = logins(&documents(alice()));
    let answer = logins.login(password("alice", "open sesame", 1), at(0));
    assert_eq!(who(&answer), r#"acme/alice ["trader"] password"#);
    assert_eq!(answer.unwrap().expires, None);
    let mut told = Vec::new();
    let long = "x".repeat(5_000);
    for (name, wrong) in [
        ("alice", "open sesame!"),
        ("alice", ""),
        ("bob", "open sesame"),
        ("nobody", "open sesame"),
        ("", "open sesame"),
        (&*long, "open sesame"),
        ("alice", &*long),
    ] {
        let answer = logins.login(password(name, wrong, 1), at(0));
        assert_eq!(refused(&answer).0, Reason::Bad);
        told.push(answer.unwrap_err().detail);
    }
    assert!(told.iter().all(|detail| *detail == told[0]), "names that exist are told from others: {told:?}");
}

#[test]
fn one_that_is_disabled_or_of_no_tenant_is_not_let_in() {
    for change in [json!({"disabled": true}), json!({"tenant": "gone"})] {
        let mut alice = alice();
        alice.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let mut logins = logins(&documents(alice));
        assert_eq!(refused(&logins.login(password("alice", "open sesame", 1), at(0))).0, Reason::Bad);
    }
}

#[test]
fn a_changed_password_ends_what_the_old_one_began() {
    let mut logins = logins(&documents(alice()));
    let login = logins.login(password("alice", "open sesame", 1), at(0)).unwrap();
    let mut both = alice();
    both["logins"].as_array_mut().unwrap().push(json!({"password": hash("new")}));
    logins.learn(&state(&documents(both)));
    assert_eq!(logins.stands(&login), Ok(()), "while both are there");
    let mut new = alice();
    new["logins"] = json!([{"password": hash("new")}]);
    logins.learn(&state(&documents(new)));
    assert_eq!(logins.stands(&login).unwrap_err().reason, Reason::Expired);
    assert!(logins.login(password("alice", "new", 1), at(0)).is_ok());
}

#[test]
fn who_guesses_is_limited_by_address_and_by_name_alike_for_names_that_do_not_exist() {
    for name in ["alice", "nobody"] {
        let mut logins = logins(&documents(alice()));
        assert!(logins.login(password("alice", "open sesame", 99), at(0)).is_ok());
        let mut tries = |n: u8| {
            (0..20).take_while(|_| refused(&logins.login(password(name, "wrong", n), at(0))).0 == Reason::Bad).count()
        };
        assert_eq!([tries(1), tries(2), tries(3), tries(4)], [10, 10, 10, 0], "{name}");
        let locked = logins.login(password("alice", "open sesame", 5), at(0));
        assert_eq!(locked.is_err(), name == "alice");
        assert!(logins.login(password("alice", "open sesame", 99), at(0)).is_ok(), "who was there before gets in");
        assert!(logins.login(password("alice", "open sesame", 5), at(7)).is_ok(), "and strangers in time");
    }
}

#[test]
fn guesses_that_are_made_all_at_once_are_paid_for_later() {
    let mut logins = logins(&documents(alice()));
    let begun: Vec<_> = (0..200).map(|_| logins.begin(password("alice", "wrong", 1), false, at(0))).collect();
    for begun in begun {
        let crate::Begun::Check(_, pending) = begun else { panic!("{begun:?}") };
        let _ = logins.checked(&pending, None, at(0));
    }
    assert!(matches!(refused(&logins.login(password("bob", "x", 1), at(290))).0, Reason::Limited(_)));
}

#[test]
fn a_hash_that_would_cost_too_much_lets_nobody_in_and_is_named() {
    let mut dear = alice();
    dear["logins"] = json!([{"password": "$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"}]);
    let mut logins = Logins::new(Limits::default());
    let faults = logins.learn(&state(&documents(dear)));
    assert_eq!(faults.len(), 1);
    assert!(faults[0].key == "identity/alice" && faults[0].what.contains("4194304 KiB"), "{faults:?}");
    assert!(logins.login(password("alice", "password", 1), at(0)).is_err());
}

#[test]
fn secrets_are_not_shown() {
    let knock = password("alice", "open sesame", 1);
    assert!(!format!("{knock:?}").contains("sesame"));
    assert!(!format!("{:?}", bearer("secret.token.here")).contains("secret.token"));
    let mut logins = logins(&documents(alice()));
    let begun = logins.begin(knock, false, at(0));
    assert!(!format!("{begun:?}").contains("sesame"));
    let refusal = logins.login(password("alice", "hunter2", 1), at(0)).unwrap_err();
    assert!(!format!("{refusal:?}").contains("hunter2"));
}
