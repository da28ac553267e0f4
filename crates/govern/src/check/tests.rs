//! What is vetted: each rule by a document that breaks it, tenants apart against
//! the naive comparison of all with all, and as many resources as are promised.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::json;

fn key(text: &str) -> Key {
    Key::parse(text).unwrap()
}

fn after(before: &State, puts: &[(&str, Value)], deletes: &[&str]) -> State {
    let deletes: Vec<Key> = deletes.iter().map(|name| key(name)).collect();
    let document = |key: Key, value: &Value| -> (Key, Arc<str>) {
        let text = json::canonical(value);
        let text = Document::read(key.kind(), &text).map_or(text, |document| document.text());
        (key, text.into())
    };
    before.with(puts.iter().map(|(name, value)| document(key(name), value)), &deletes)
}

/// What is said of a change; empty if nothing.
fn told(before: &State, puts: &[(&str, Value)], deletes: &[&str]) -> Vec<String> {
    let changed: Vec<Key> = puts.iter().map(|(name, _)| *name).chain(deletes.iter().copied()).map(key).collect();
    check(before, &after(before, puts, deletes), &changed).iter().map(ToString::to_string).collect()
}

fn base() -> State {
    after(
        &State::default(),
        &[
            ("tenant/sales", json!({"topics": ["orders/**"]})),
            ("tenant/billing", json!({"topics": ["invoices/**"]})),
            (
                "issuer/corp",
                json!({"issuer": "https://example.com", "audience": "weft", "keys": {"url": "https://example.com/keys"}}),
            ),
            ("identity/ann", json!({"tenant": "sales", "logins": [{"token": {"issuer": "corp", "subject": "ann"}}]})),
            (
                "export/orders",
                json!({"tenant": "sales", "topics": "orders/eu/**", "to": ["billing"], "actions": ["subscribe"]}),
            ),
            ("import/orders", json!({"tenant": "billing", "from": "sales", "topics": "orders/eu/**"})),
            ("schema/7", json!({"format": "JSON", "text": "{}", "fingerprint": "0".repeat(64)})),
            ("subject/orders-value", json!({"tenant": "sales", "topics": ["orders/*"], "versions": {"1": {"id": 7}}})),
            ("stream/orders", json!({"tenant": "sales", "topics": ["orders/**"], "homes": ["h1"]})),
            ("policy/p", json!({"tenant": "sales", "rules": "permit"})),
        ],
        &[],
    )
}

const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$d2VmdC1ub2JvZHkhIQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[test]
fn a_state_that_is_right_has_no_faults() {
    let base = base();
    let all: Vec<Key> = base.items().map(|(key, _)| key.clone()).collect();
    assert_eq!(check(&State::default(), &base, &all), []);
    let login = json!({"roles": ["dev"], "logins": [
        {"password": HASH}, {"spiffe": "spiffe://corp.example/billing/worker-1"}, {"subject": "CN of it"},
    ]});
    assert_eq!(told(&base, &[("identity/bob", login)], &[]), [""; 0]);
}

#[test]
fn each_rule_is_told_with_the_document_the_field_and_what_to_do() {
    let stream = |more: Value| {
        let mut stream = json!({"topics": ["a/**"], "homes": ["h1"]});
        stream.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        stream
    };
    let issuer = |more: Value| {
        let mut issuer = json!({"issuer": "i", "audience": "a", "keys": {"url": "https://example.com"}});
        issuer.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        issuer
    };
    let login = |login: Value| json!({ "logins": [login] });
    let hash = |from: &str, to: &str| login(json!({"password": HASH.replace(from, to)}));
    let share = |to: Value| json!({"tenant": "sales", "topics": "orders/x", "to": to, "actions": ["subscribe"]});
    let many = |count: usize, name: &str| -> Vec<String> { (0..count).map(|n| format!("{name}{n}")).collect() };
    let cases: Vec<(&str, Value, &str)> = vec![
        ("tenant/t", json!({"topics": ["a//b"]}), "topics: `a//b`: level 2"),
        ("tenant/t", json!({"topics": ["_weft/**"]}), "`_weft/**` is reserved"),
        ("tenant/t", json!({"topics": ["**/x"]}), "has `**` before its end"),
        ("tenant/t", json!({"topics": ["a/**/*"]}), "write `a/*/**` for `a/**/*`"),
        ("tenant/t", json!({"topics": ["a", "a"]}), "`a` is named twice"),
        ("tenant/t", json!({"topics": many(257, "t")}), "there are 257, of which 256"),
        ("tenant/t", json!({"topics": ["orders/eu/*"]}), "has topics in common with `orders/**` of tenant `sales`"),
        ("tenant/t", json!({"description": "x".repeat(5_000), "topics": []}), "description: it has 5000 bytes"),
        ("tenant/t", json!({"description": "\u{1b}[2J", "topics": []}), "control character"),
        ("identity/i", json!({"tenant": "nobody"}), "there is no tenant/nobody: create it"),
        ("identity/i", json!({"roles": ["a/b"]}), "the role `a/b` is not possible"),
        ("identity/i", json!({"roles": many(65, "r")}), "roles: there are 65"),
        ("identity/i", json!({"logins": vec![json!({"subject": "x"}); 17]}), "logins: there are 17"),
        ("identity/i", login(json!({"token": {"issuer": "none", "subject": "s"}})), "there is no issuer/none"),
        ("identity/i", login(json!({"token": {"issuer": "corp", "subject": "ann"}})), "is a login of identity/ann too"),
        ("identity/i", login(json!({"spiffe": "https://example.com"})), "is no SPIFFE URI"),
        ("identity/i", login(json!({"spiffe": "spiffe://corp/a//b"})), "is no SPIFFE URI"),
        ("identity/i", login(json!({"subject": ""})), "it has 0 bytes"),
        ("identity/i", login(json!({"password": "hunter2"})), "make one with `weft identity hash`"),
        ("identity/i", hash("argon2id", "argon2i"), "of another algorithm"),
        ("identity/i", hash("m=19456", "m=4194304"), "`m=4194304`, of which 65536 is the most"),
        ("identity/i", hash("t=2", "t=11"), "`t=11`, of which 10"),
        ("identity/i", hash("t=2", "t=0"), "`t=0`"),
        ("identity/i", hash(",p=1", ""), "is not of the form"),
        ("identity/i", hash(&"A".repeat(43), "AAAA"), "is not of the form"),
        ("identity/i", hash("$d2VmdC1ub2JvZHkhIQ", "$"), "is not of the form"),
        ("identity/i", json!({"logins": vec![json!({"password": HASH}); 3]}), "two passwords are enough"),
        ("issuer/i", issuer(json!({"keys": {"url": "http://example.com"}})), "fetched by `https://` alone"),
        ("issuer/i", issuer(json!({"keys": {"jwks": {"keys": []}}})), "no JWK set with keys"),
        ("issuer/i", issuer(json!({"keys": {"jwks": {"keys": [{"x5u": null}]}}})), "a field is `null`"),
        ("issuer/i", issuer(json!({"algorithms": ["none"]})), "`none` is not taken"),
        ("issuer/i", issuer(json!({"algorithms": ["HS256"]})), "`HS256` is not taken"),
        ("issuer/i", issuer(json!({"tenant": "sales", "tenant_claim": "t", "tenants": ["sales"]})), "not both"),
        ("issuer/i", issuer(json!({"tenant_claim": "t"})), "speaks for no other"),
        ("issuer/i", issuer(json!({"tenants": ["sales"]})), "`tenant_claim` may name"),
        ("issuer/i", issuer(json!({"tenant_claim": "t", "tenants": ["nobody"]})), "there is no tenant/nobody"),
        ("issuer/i", issuer(json!({"roles": {"a": "b"}})), "`roles_claim` are called"),
        ("issuer/i", issuer(json!({"leeway_seconds": 301})), "300 is the most"),
        (
            "issuer/i",
            issuer(json!({"issuer": "https://example.com", "audience": "weft"})),
            "issuer/corp has this `iss`",
        ),
        ("policy/q", json!({"rules": " "}), "rules: there are none"),
        ("policy/q", json!({"rules": "permit", "tenant": "nobody"}), "there is no tenant/nobody"),
        ("export/e", share(json!(["nobody"])), "there is no tenant/nobody"),
        ("export/e", share(json!(["sales"])), "without an export"),
        ("export/e", json!({"tenant": "sales", "topics": "**", "actions": ["subscribe"]}), "does not own all of `**`"),
        ("export/e", json!({"tenant": "sales", "topics": "orders", "actions": []}), "actions: there are none"),
        ("export/e", json!({"tenant": "sales", "topics": "orders", "actions": ["administer"]}), "is none of `publish`"),
        ("import/i", json!({"tenant": "sales", "from": "nobody", "topics": "x"}), "there is no tenant/nobody"),
        ("import/i", json!({"tenant": "sales", "from": "sales", "topics": "x"}), "without an import"),
        ("import/i", json!({"tenant": "sales", "from": "billing", "topics": "_x"}), "is reserved"),
        ("subject/s", json!({"check": "quarantine"}), "name the stream"),
        ("subject/s", json!({"quarantine": "bad"}), "`check = \"quarantine\"`"),
        ("subject/s", json!({"check": "quarantine", "quarantine": "A"}), "no name of a stream"),
        ("subject/s", json!({"versions": {"1": {"id": 8}}}), "there is no schema/8"),
        ("subject/s", json!({"versions": {"0": {"id": 7}}}), "counted from 1"),
        ("subject/s", json!({"tenant": "billing", "topics": ["orders/1"]}), "`billing` does not own all of `orders/1`"),
        ("schema/x", json!({"format": "JSON", "text": "{}", "fingerprint": "0".repeat(64)}), "is its id"),
        ("schema/07", json!({"format": "JSON", "text": "{}", "fingerprint": "0".repeat(64)}), "is its id"),
        ("schema/8", json!({"format": "JSON", "text": "", "fingerprint": "0"}), "text: there is none"),
        ("reader/r", json!({"subject": "s", "consumer": "c", "version": 1}), "there is no subject/s"),
        ("reader/r", json!({"subject": "t", "consumer": "", "version": 1}), "it has 0 bytes"),
        ("reader/r", json!({"subject": "t", "consumer": "c", "version": 0}), "counted from 1"),
        ("stream/S", stream(json!({})), "1 to 64 of a-z"),
        ("stream/s", stream(json!({"topics": []})), "topics: there are none"),
        ("stream/s", stream(json!({"homes": []})), "homes: there are none"),
        ("stream/s", stream(json!({"homes": ["h1", "h1"]})), "`h1` is named twice"),
        ("stream/s", stream(json!({"homes": ["H"]})), "`H` is no name of a hub"),
        ("stream/s", stream(json!({"retain_bytes": 0})), "0 would be without a bound"),
        ("stream/s", stream(json!({"retain_seconds": u64::MAX})), "out of range"),
        ("stream/s", stream(json!({"compact": true, "retention": "interest"})), "kept by its limits"),
        ("stream/s", stream(json!({"tombstone_seconds": 5})), "only a compacted stream"),
        ("stream/s", stream(json!({"mirror_of": "s"})), "no name of another stream"),
        ("stream/s", stream(json!({"mirror_to": "x"})), "by mirrors alone"),
        ("stream/s", stream(json!({"tenant": "sales"})), "`sales` does not own all of `a/**`"),
        ("registry/r", json!({"level": "NONE", "mode": "READWRITE", "next_id": 0}), "`registry/global`"),
        ("tenant/t", json!({"topic": []}), "unknown field `topic`"),
    ];
    let base = base();
    for (name, document, words) in cases {
        let told = told(&base, &[(name, document.clone())], &[]);
        assert!(
            told.iter().any(|line| line.starts_with(&format!("{name}: ")) && line.contains(words)),
            "{name} {document}: {told:?}"
        );
        assert!(!told.iter().any(|line| line.contains("hunter2")), "{told:?}");
    }
    let loose = base.with([(key("tenant/t"), "{ \"topics\": [] }".into())], &[]);
    assert!(check(&base, &loose, &[key("tenant/t")])[0].what.contains("canonical"));
    let deep = format!("{{\"topics\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let deep = base.with([(key("tenant/t"), deep.into())], &[]);
    assert!(check(&base, &deep, &[key("tenant/t")])[0].what.contains("deep"));
}

#[test]
fn what_others_refer_to_is_not_deleted_under_them() {
    let base = base();
    let keys = |lines: Vec<String>| -> Vec<String> {
        lines.iter().filter_map(|line| line.split(": ").next().map(str::to_owned)).collect()
    };
    assert_eq!(
        keys(told(&base, &[], &["tenant/sales"])),
        [
            "export/orders",
            "export/orders",
            "identity/ann",
            "import/orders",
            "policy/p",
            "stream/orders",
            "stream/orders",
            "subject/orders-value",
            "subject/orders-value"
        ]
    );
    assert_eq!(keys(told(&base, &[], &["tenant/billing"])), ["export/orders", "import/orders"]);
    assert_eq!(keys(told(&base, &[], &["issuer/corp"])), ["identity/ann"]);
    assert_eq!(keys(told(&base, &[], &["schema/7"])), ["subject/orders-value"]);
    assert!(told(&base, &[], &["identity/ann", "issuer/corp"]).is_empty());
    // A tenant that owns less than what is exported, kept or checked for it.
    let less = told(&base, &[("tenant/sales", json!({"topics": ["orders/us/**"]}))], &[]);
    assert_eq!(keys(less), ["export/orders", "stream/orders", "subject/orders-value"]);
    // A topic goes from one tenant to another in one change.
    let mut moved = vec![
        ("tenant/sales", json!({"topics": []})),
        ("tenant/billing", json!({"topics": ["invoices/**", "orders/**"]})),
    ];
    assert_eq!(told(&base, &moved, &["export/orders", "stream/orders", "subject/orders-value"]), [""; 0]);
    moved.truncate(1);
    assert_eq!(told(&base, &moved, &["export/orders", "stream/orders", "subject/orders-value"]), [""; 0]);
}

#[test]
fn faults_and_shares_are_bounded() {
    let documents: Vec<(String, Value)> =
        (0..3_000).map(|n| (format!("identity/i{n}"), json!({"tenant": "nobody"}))).collect();
    let puts: Vec<_> = documents.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    assert_eq!(told(&State::default(), &puts, &[]).len(), MAX_FAULTS);
    let documents: Vec<(String, Value)> = (0..=SHARES)
        .map(|n| (format!("import/i{n:03}"), json!({"tenant": "sales", "from": "billing", "topics": "invoices/x"})))
        .collect();
    let puts: Vec<_> = documents.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    assert!(told(&base(), &puts, &[])[0].contains("more than 256 imports"));
}

/// 1,000 tenants with eight filters each, made by `filter`.
fn tenants(filter: impl Fn(usize, usize) -> String) -> (State, Vec<Key>) {
    let mut puts = Vec::new();
    for tenant in 0..1_000 {
        let topics: Vec<String> = (0..8).map(|number| filter(tenant, number)).collect();
        let document: Arc<str> = json::canonical(&json!({ "topics": topics })).into();
        puts.push((key(&format!("tenant/t{tenant}")), document));
    }
    let keys = puts.iter().map(|(key, _)| key.clone()).collect();
    (State::default().with(puts, &[]), keys)
}

#[test]
fn a_thousand_tenants_are_told_apart_and_one_that_overlaps_is_found() {
    for (number, wanted) in ["t{t}/{n}/**", "mesh/t{t}/{n}/*", "*/t{t}/{n}/**", "*/*/{n}/t{t}"].iter().enumerate() {
        let filter =
            |tenant: usize, n: usize| wanted.replace("{t}", &tenant.to_string()).replace("{n}", &n.to_string());
        let (state, keys) = tenants(filter);
        assert_eq!(check(&State::default(), &state, &keys), [], "{number}");
        let copy = json::canonical(&json!({ "topics": [filter(777, 3)] }));
        let both = state.with([(key("tenant/zz"), copy.into())], &[]);
        let faults = check(&state, &both, &[key("tenant/zz")]);
        assert!(faults.len() == 1 && faults[0].what.contains("of tenant `t777`"), "{faults:?}");
    }
}

#[test]
fn filters_that_cannot_be_told_apart_in_time_are_refused() {
    // Each second tenant begins with wildcards where the others have names.
    let (state, keys) = tenants(|tenant, n| match tenant % 2 {
        0 => format!("a{tenant}/b{n}/c{tenant}/d{tenant}/x"),
        _ => format!("*/*/*/*/y{tenant}.{n}"),
    });
    let faults = check(&State::default(), &state, &keys);
    assert!(faults.len() == 1 && faults[0].what.contains("put names in front"), "{:?}", faults.first());
}

proptest! {
    #[test]
    fn tenants_are_apart_when_no_two_of_their_filters_meet(
        wanted in prop::collection::vec((0..4_u8, prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "*"]), 1..4), any::<bool>()), 0..8),
        changed in prop::collection::vec(any::<bool>(), 4),
    ) {
        let mut owned: BTreeMap<u8, BTreeSet<String>> = BTreeMap::new();
        for (tenant, levels, rest) in wanted {
            let text = levels.join("/") + if rest { "/**" } else { "" };
            owned.entry(tenant).or_default().insert(Filter::parse(&text).unwrap().to_string());
        }
        let puts = owned.iter().map(|(tenant, topics)| {
            (key(&format!("tenant/t{tenant}")), Arc::from(json::canonical(&json!({ "topics": topics }))))
        });
        let state = State::default().with(puts, &[]);
        let keys: Vec<Key> = owned.keys().filter(|t| changed[usize::from(**t)]).map(|t| key(&format!("tenant/t{t}"))).collect();
        let faults = check(&State::default(), &state, &keys);
        // One of the two at least is new, otherwise it was told before.
        let meet = |a: u8, b: u8| {
            let filters = |t: u8| owned[&t].iter().map(|text| Filter::parse(text).unwrap()).collect::<Vec<_>>();
            filters(a).iter().any(|one| filters(b).iter().any(|other| one.intersects(other)))
        };
        let naive = owned.keys().any(|a| owned.keys().any(|b| a < b && (changed[usize::from(*a)] || changed[usize::from(*b)]) && meet(*a, *b)));
        prop_assert_eq!(!faults.is_empty(), naive, "{:?}", faults);
    }
}

#[test]
fn as_many_resources_as_are_promised_are_vetted() {
    let mut puts: Vec<(Key, Arc<str>)> = Vec::new();
    let mut put = |name: String, value: Value| puts.push((key(&name), json::canonical(&value).into()));
    for number in 0..1_000 {
        put(format!("tenant/t{number}"), json!({"topics": [format!("mesh/t{number}/**")]}));
    }
    for number in 0..10_000 {
        let tenant = format!("t{}", number % 1_000);
        put(format!("policy/p{number}"), json!({"tenant": tenant, "rules": "permit(principal, action, resource);"}));
        put(
            format!("schema/{}", number + 1),
            json!({"format": "AVRO", "text": "\"int\"", "fingerprint": "a".repeat(64)}),
        );
    }
    let keys: Vec<Key> = puts.iter().map(|(key, _)| key.clone()).collect();
    let state = State::default().with(puts, &[]);
    assert_eq!(check(&State::default(), &state, &keys), []);
    // Deleting one tenant looks at all that may be of it, once.
    let less = state.with([], &[key("tenant/t7")]);
    assert_eq!(check(&state, &less, &[key("tenant/t7")]).len(), 10);
}
