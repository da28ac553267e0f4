//! Documents are read as they are written, and what is wrong is told with its field.

use super::*;

#[test]
fn a_document_has_one_text_and_what_is_not_said_is_left_out() {
    let cases = [
        (Kind::Tenant, r#"{"topics":["a/**"],"description":"","quota":{}}"#, r#"{"topics":["a/**"]}"#),
        (Kind::Tenant, r#"{"quota":{"connections":3},"topics":[]}"#, r#"{"quota":{"connections":3},"topics":[]}"#),
        (Kind::Identity, r#"{"tenant":null,"roles":[],"disabled":false}"#, "{}"),
        (
            Kind::Identity,
            r#"{"logins":[{"spiffe":"spiffe://d/x"},{"token":{"subject":"s","issuer":"i"}}]}"#,
            r#"{"logins":[{"spiffe":"spiffe://d/x"},{"token":{"issuer":"i","subject":"s"}}]}"#,
        ),
        (Kind::Policy, " { \"rules\" : \"permit\\n\" } ", "{\"rules\":\"permit\\n\"}"),
        (Kind::Subject, r#"{"check":"off","versions":{}}"#, "{}"),
        (
            Kind::Subject,
            r#"{"versions":{"2":{"id":8},"1":{"id":7,"deleted":true}},"level":"FULL_TRANSITIVE"}"#,
            r#"{"level":"FULL_TRANSITIVE","versions":{"1":{"deleted":true,"id":7},"2":{"id":8}}}"#,
        ),
        (
            Kind::Stream,
            r#"{"homes":["h1"],"topics":["a/**"],"retention":"limits","last":"topic","compact":false}"#,
            r#"{"homes":["h1"],"topics":["a/**"]}"#,
        ),
        (Kind::Stream, r#"{"homes":["h1"],"retention":"work-queue"}"#, r#"{"homes":["h1"],"retention":"work-queue"}"#),
        (
            Kind::Registry,
            r#"{"next_id":9,"mode":"READWRITE","level":"BACKWARD"}"#,
            r#"{"level":"BACKWARD","mode":"READWRITE","next_id":9}"#,
        ),
        (
            Kind::Schema,
            r#"{"format":"AVRO","text":"\"int\"","fingerprint":"00","references":[]}"#,
            r#"{"fingerprint":"00","format":"AVRO","text":"\"int\""}"#,
        ),
        (
            Kind::Reader,
            r#"{"version":3,"subject":"orders","consumer":"billing","region":""}"#,
            r#"{"consumer":"billing","subject":"orders","version":3}"#,
        ),
        (
            Kind::Export,
            r#"{"tenant":"a","topics":"a/x","actions":["subscribe"]}"#,
            r#"{"actions":["subscribe"],"tenant":"a","topics":"a/x"}"#,
        ),
        (Kind::Import, r#"{"tenant":"b","topics":"a/x","from":"a"}"#, r#"{"from":"a","tenant":"b","topics":"a/x"}"#),
    ];
    for (kind, given, canonical) in cases {
        let document = Document::read(kind, given).unwrap_or_else(|error| panic!("{given}: {error}"));
        assert_eq!(document.text(), canonical);
        assert_eq!(Document::read(kind, canonical), Ok(document));
    }
}

#[test]
fn what_is_wrong_is_told_with_its_field() {
    let told = |kind, text: &str| Document::read(kind, text).unwrap_err().to_string();
    assert_eq!(
        told(Kind::Tenant, r#"{"topics":["a"],"quota":{"conections":1}}"#).split(',').next(),
        Some("quota.conections: unknown field `conections`")
    );
    assert!(told(Kind::Tenant, r#"{"topics":["a",5]}"#).starts_with("topics[1]: invalid type: integer `5`"));
    assert_eq!(told(Kind::Policy, "{}"), "missing field `rules`");
    assert!(told(Kind::Stream, r#"{"homes":[],"retention":"whim"}"#).starts_with("retention: unknown variant `whim`"));
    assert!(told(Kind::Tenant, "[]").starts_with("a document is an object"));
    assert!(told(Kind::Tenant, "{").starts_with("this is no JSON"));
    assert!(told(Kind::Tenant, "{} x").starts_with("this is no JSON"));
    assert!(told(Kind::Tenant, &"{\"a\":".repeat(50_000)).contains("deep"));
    assert!(
        told(Kind::Issuer, &format!(r#"{{"issuer":"i","audience":"a","keys":{{"jwks":{}}}}}"#, "[".repeat(5_000)))
            .contains("deep")
    );
}
