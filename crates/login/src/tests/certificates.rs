//! Certificates: whose they are.

use serde_json::json;
use weft_base::UnixNanos;
use weft_govern::login::{Certificate, Reason};

use super::*;

fn show(certificate: Certificate) -> Knock {
    Knock { credentials: Credentials::Certificate(certificate), from: from(1) }
}

fn of(spiffe: Option<&str>, subject: Option<&str>) -> Certificate {
    let own = spiffe.and_then(|uri| uri.strip_prefix("spiffe://weft/client/")).map(str::to_owned);
    Certificate {
        spiffe: spiffe.map(str::to_owned),
        subject: subject.map(str::to_owned),
        own,
        administers: false,
        expires: Some(UnixNanos((BEGIN + 60) * 1_000_000_000)),
    }
}

fn known() -> Logins {
    logins(&[
        ("tenant/acme", json!({})),
        (
            "identity/api",
            json!({"tenant": "acme", "roles": ["b", "a", "b"], "logins": [{"spiffe": "spiffe://prod.example/api"}]}),
        ),
        (
            "identity/web",
            json!({"tenant": "acme", "logins": [{"subject": "web.example"}, {"spiffe": "spiffe://weft/client/w"}]}),
        ),
        ("identity/taken", json!({"tenant": "acme"})),
    ])
}

#[test]
fn a_spiffe_id_counts_before_the_subject() {
    let mut logins = known();
    let both = of(Some("spiffe://prod.example/api"), Some("web.example"));
    let answer = logins.login(show(both), at(0));
    assert_eq!(who(&answer), r#"acme/api ["a", "b"] certificate"#);
    assert_eq!(answer.unwrap().expires, Some(UnixNanos((BEGIN + 60) * 1_000_000_000)));
    assert_eq!(who(&logins.login(show(of(None, Some("web.example"))), at(0))), "acme/web [] certificate");
    assert_eq!(who(&logins.login(show(of(Some("spiffe://weft/client/w"), None)), at(0))), "acme/web [] certificate");
    // Of an ID that nobody lists the subject does not help.
    let other = of(Some("spiffe://evil.example/api"), Some("web.example"));
    assert_eq!(refused(&logins.login(show(other), at(0))).0, Reason::Bad);
}

#[test]
fn what_is_no_spiffe_id_is_nobodys() {
    let mut logins = known();
    for wrong in [
        "spiffe://prod.example/../prod.example/api",
        "spiffe://prod.example/api/",
        "SPIFFE://prod.example/api",
        "https://example.com/api",
        "spiffe://prod.example//api",
        "spiffe://prod.example/%61pi",
        "spiffe://",
    ] {
        let answer = logins.login(show(of(Some(wrong), None)), at(0));
        assert_eq!(refused(&answer).0, Reason::Bad, "{wrong}");
    }
}

#[test]
fn the_meshs_own_name_is_a_principal_of_no_tenant_unless_an_identity_has_it() {
    let mut logins = known();
    assert_eq!(who(&logins.login(show(of(Some("spiffe://weft/client/ops"), None)), at(0))), "ops [] certificate");
    let (reason, log) = refused(&logins.login(show(of(Some("spiffe://weft/client/taken"), None)), at(0)));
    assert!(reason == Reason::Bad && log.contains("does not list"), "{log}");
}

#[test]
fn who_administers_by_the_hubs_configuration_is_locked_out_by_no_document() {
    let mut logins = known();
    let administers =
        |name: &str| Certificate { administers: true, ..of(Some(&format!("spiffe://weft/client/{name}")), None) };
    let login = logins.login(show(administers("taken")), at(0));
    assert_eq!(who(&login), "taken [] administrator");
    assert_eq!(logins.stands(&login.unwrap()), Ok(()));
    assert_eq!(who(&logins.login(show(administers("w")), at(0))), "acme/web [] administrator");
}

#[test]
fn a_certificate_that_is_over_is_refused() {
    let over = of(Some("spiffe://prod.example/api"), None);
    assert_eq!(refused(&known().login(show(over), at(60))).0, Reason::Expired);
}

#[test]
fn what_two_identities_claim_is_nobodys() {
    let one = || json!({"logins": [{"subject": "web"}]});
    let mut logins = Logins::new(Limits::default());
    let faults = logins.learn(&state(&[("identity/a", one()), ("identity/b", one()), ("identity/c", one())]));
    assert_eq!(faults.iter().map(|fault| &*fault.key).collect::<Vec<_>>(), ["identity/b", "identity/c"]);
    assert!(logins.login(show(of(None, Some("web"))), at(0)).is_err());
}

#[test]
fn a_document_that_cannot_be_read_lets_nobody_in_by_its_name() {
    let mut logins = Logins::new(Limits::default());
    let faults = logins.learn(&state(&[("identity/ops", json!({"of a later version": 1}))]));
    assert_eq!(faults.len(), 1);
    assert!(logins.login(show(of(Some("spiffe://weft/client/ops"), None)), at(0)).is_err());
}
