//! Files as documents: what is read, what is refused and where, and that what is
//! written is read as the same.

use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::{Value, json};
use weft_govern::Kind;

use super::*;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// What is said of a folder, without its path.
fn told(files: &[(&str, &str)]) -> String {
    let folder = folder(files);
    let error = match read(folder.path()) {
        Err(error) => error,
        Ok(documents) => documents.vet().expect_err("it is refused"),
    };
    error.to_string().replace(&format!("{}/", folder.path().display()), "")
}

const SHOP: &str = r#"
[[tenant]]
name = "sales"
topics = ["orders/**"]
quota = { publish_events = 1_000, storage_bytes = 0x4000 }

[[tenant]]
name = "billing"
topics = ["invoices/**"]

[[identity]]
name = "ann"
tenant = "sales"
roles = ["dev"]
logins = [
  { subject = "ann" },
  { token = { issuer = "corp", subject = "ann" } },
]

[[issuer]]
name = "corp"
issuer = "https://example.com"
audience = "weft"
keys = { url = "https://example.com/keys" }

[[policy]]
name = "all"
tenant = "sales"
file = "sales.cedar"

[[export]]
name = "orders"
tenant = "sales"
topics = "orders/eu/**"
actions = ["subscribe"]

[[stream]]
name = "orders"
topics = ["orders/**"]
homes = ["h1", "h2"]
retain_seconds = 3600
"#;

#[test]
fn a_folder_is_its_tables_and_its_policies() {
    let files = [
        ("shop.toml", SHOP),
        ("sales.cedar", "permit(principal, action, resource);\n"),
        ("mesh.cedar", "forbid(principal, action, resource);\n"),
        ("notes.txt", "not read"),
    ];
    let folder = folder(&files);
    let documents = read(folder.path()).unwrap();
    let keys: Vec<_> = documents.puts.keys().map(ToString::to_string).collect();
    assert_eq!(
        keys,
        [
            "tenant/billing",
            "tenant/sales",
            "identity/ann",
            "issuer/corp",
            "policy/all",
            "policy/mesh",
            "export/orders",
            "stream/orders"
        ]
    );
    let text = |key: &str| documents.puts[&Key::parse(key).unwrap()].to_string();
    assert_eq!(
        text("tenant/sales"),
        r#"{"quota":{"publish_events":1000,"storage_bytes":16384},"topics":["orders/**"]}"#
    );
    assert_eq!(text("policy/all"), r#"{"rules":"permit(principal, action, resource);\n","tenant":"sales"}"#);
    assert!(documents.places[&Key::parse("tenant/billing").unwrap()].ends_with("shop.toml:7"));
    assert_eq!(documents.vet().unwrap().counts().created, 8);
    assert_eq!(
        documents.rules[&Key::parse("policy/mesh").unwrap()].place(3, 4).0,
        format!("{}:3:4", folder.path().join("mesh.cedar").display())
    );
    // One file by itself, with what it names.
    assert_eq!(read(&folder.path().join("shop.toml")).unwrap().puts.len(), 7);
}

#[test]
fn mistakes_are_told_all_at_once_with_their_places() {
    let bad = "\
[[tenant]]
name = \"a\"
topics = [\"a\", 5]

[[tenent]]
name = \"b\"

[[tenant]]
topics = []

[[tenant]]
name = \"c d\"
topics = []

[[identity]]
name = \"i\"
rolls = []

[tenants]
";
    let expected = "\
a.toml:3:16: tenant/a: topics[1]: invalid type: integer `5`, expected a string
a.toml:5:3: [[tenent]] is not known: did you mean `[[tenant]]`?
a.toml:8:1: tenant: the name is missing: add `name = \"...\"`
a.toml:12:8: the name `c d` is not possible: ";
    let told = told(&[("a.toml", bad)]);
    assert!(told.starts_with(expected), "{told}");
    assert!(told.contains("a.toml:17:1: identity/i: rolls: unknown field `rolls`"), "{told}");
    assert!(told.contains("a.toml:19:2: [[tenants]] is not known: did you mean `[[tenant]]`?"), "{told}");
    assert!(told.ends_with("6 mistakes in the documents"), "{told}");
}

#[test]
fn what_is_vetted_is_told_where_it_stands() {
    let told_of = |text: &str| told(&[("a.toml", text)]);
    let password = told_of("\n[[identity]]\nname = \"i\"\nlogins = [{ password = \"hunter2\" }]\n");
    assert!(password.starts_with("a.toml:4:11: identity/i: logins[0]: "), "{password}");
    assert!(password.contains("`weft identity hash`") && !password.contains("hunter2"), "{password}");
    let twice = told(&[
        ("a.toml", "[[tenant]]\nname = \"x\"\ntopics = []\n"),
        ("b.toml", "\n[[tenant]]\nname = \"x\"\ntopics = []\n"),
    ]);
    assert!(twice.starts_with("b.toml:2:1: tenant/x is there already, at a.toml:1"), "{twice}");
    let policies = told(&[("p.cedar", "permit"), ("a.toml", "[[policy]]\nname = \"p\"\nrules = \"permit\"\n")]);
    assert!(policies.starts_with("p.cedar: policy/p is there already, at a.toml:1"), "{policies}");
    assert!(
        told_of("[[policy]]\nname = \"p\"\nrules = \"x\"\nfile = \"y.cedar\"\n").contains("leave one of the two out")
    );
    assert!(told_of("[[policy]]\nname = \"p\"\nfile = \"y.cedar\"\n").contains("y.cedar: it cannot be read"));
    assert!(told_of("[[tenant]]\nname = \"t\"\ntopics = []\nat = 2030-01-01\n").contains("no document has times"));
    assert!(told_of("[tenant]\nname = \"t\"\n").contains("write `[[tenant]]`"));
    assert!(told_of("[[tenant]\n").contains("correct the TOML here"));
    assert!(
        told_of("[[import]]\nname = \"i\"\ntenant = \"a\"\nfrom = \"b\"\ntopics = \"x\"\n")
            .contains("there is no tenant/a")
    );
}

#[test]
fn nothing_is_read_from_outside_the_folder() {
    let outside = folder(&[("secret.cedar", "permit"), ("secret.toml", "[[tenant]]\nname = \"x\"\ntopics = []\n")]);
    let inside = folder(&[]);
    for name in ["secret.cedar", "secret.toml"] {
        std::os::unix::fs::symlink(outside.path().join(name), inside.path().join(name)).unwrap();
    }
    let told = read(inside.path()).unwrap_err().to_string();
    assert_eq!(told.matches("leads out of the folder").count(), 2, "{told}");
    for file in [outside.path().join("secret.cedar"), PathBuf::from("../secret.cedar"), PathBuf::from("/etc/hostname")]
    {
        let text = format!("[[policy]]\nname = \"p\"\nfile = \"{}\"\n", file.display());
        assert!(self::told(&[("a.toml", &text)]).contains("a.toml:3:8: policy/p: file: "));
    }
    // A link within it is followed.
    let linked = folder(&[("a.txt", "permit")]);
    std::os::unix::fs::symlink("a.txt", linked.path().join("p.cedar")).unwrap();
    assert_eq!(read(linked.path()).unwrap().puts.len(), 1);
    assert!(matches!(read(&linked.path().join("none.toml")), Err(ConfigError::Read { .. })));
}

#[test]
fn hostile_files_are_refused_within_bounds() {
    let deep = format!("[[tenant]]\nname = \"t\"\nquota = {}1{}\n", "[".repeat(50_000), "]".repeat(50_000));
    let long = format!("[[tenant]]\nname = \"{}\"\n", "x".repeat(1 << 20));
    let tables = "[[tenant]]\n".repeat(20_000);
    for text in [deep.as_str(), &long, &tables, "\u{0}", "a = 99999999999999999999999999"] {
        assert!(told(&[("a.toml", text)]).contains("a.toml:"));
    }
    let binary = folder(&[]);
    std::fs::write(binary.path().join("a.toml"), [0xff, 0xfe]).unwrap();
    assert!(read(binary.path()).unwrap_err().to_string().contains("not UTF-8"));
    let huge = folder(&[]);
    let file = std::fs::File::create(huge.path().join("a.toml")).unwrap();
    file.set_len(MAX_FILE + 1).unwrap();
    assert!(read(huge.path()).unwrap_err().to_string().contains("files have at most"));
}

fn any_text() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "a", "\"", "\"\"\"", "\\", "\n", "\r\n", "'", "\t", "\u{1b}", "é", " ", "#", "\u{7f}",
    ]);
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

fn any_document() -> impl Strategy<Value = (Key, Value)> {
    let policy = (any_text(), any_text(), prop::option::of("[a-z]{1,3}")).prop_map(|(description, rules, tenant)| {
        (Kind::Policy, json!({"description": description, "rules": rules, "tenant": tenant}))
    });
    let tenant = (prop::collection::vec(any_text(), 0..4), prop::option::of(any::<u64>()))
        .prop_map(|(topics, number)| (Kind::Tenant, json!({"topics": topics, "quota": {"connections": number}})));
    let issuer = (any_text(), prop::collection::btree_map(any_text(), any_text(), 0..3)).prop_map(|(text, map)| {
        let jwks = json!({"keys": [{"kid": text, "x": map}, {"n": [1, -2.5, true, []]}]});
        (Kind::Issuer, json!({"issuer": "i", "audience": text, "keys": {"jwks": jwks}, "roles": map}))
    });
    let subject = prop::collection::btree_map(any::<u32>(), any::<u32>(), 0..4).prop_map(|versions| {
        let versions: serde_json::Map<_, _> =
            versions.into_iter().map(|(number, id)| (number.to_string(), json!({"id": id}))).collect();
        (Kind::Subject, json!({ "versions": versions }))
    });
    let name = "[a-zA-Z0-9_.:@-]{1,8}";
    (name, prop_oneof![policy, tenant, issuer, subject])
        .prop_map(|(name, (kind, value))| (Key::new(kind, &name).unwrap(), value))
}

proptest! {
    #[test]
    fn what_is_exported_is_applied_as_the_same(documents in prop::collection::vec(any_document(), 0..6)) {
        use weft_govern::document::Document;
        let puts: BTreeMap<Key, Arc<str>> = documents.into_iter().map(|(key, value)| {
            let document = Document::read(key.kind(), &value.to_string()).unwrap();
            (key, Arc::from(document.text()))
        }).collect();
        let text = write(&puts);
        let folder = folder(&[("all.toml", &text)]);
        let again = read(folder.path()).unwrap_or_else(|error| panic!("{error}\n{text}"));
        prop_assert_eq!(&again.puts, &puts, "{}", text);
        let state = State::default().with(puts, &[]);
        let wanted = Wanted { puts: again.puts.into_iter().collect(), prune: Some(weft_govern::plan::Prune::default()), ..Wanted::default() };
        prop_assert!(Plan::of(&state, &wanted).unwrap().is_empty());
    }
}

#[test]
fn a_folder_is_read_with_those_below_it_and_tests_are_no_documents() {
    let folder = tempfile::tempdir().unwrap();
    assert!(read(folder.path()).unwrap_err().to_string().contains("there is no *.toml"));
    std::fs::create_dir(folder.path().join("deeper")).unwrap();
    for (name, text) in [
        ("a.toml", "[[tenant]]\nname = \"a\"\ntopics = []\n"),
        ("deeper/b.toml", "[[policy]]\nname = \"b\"\nfile = \"b.cedar\"\n"),
        ("deeper/b.cedar", "permit"),
        ("deeper/b.test.toml", "no TOML ["),
        ("notes.txt", "no TOML ["),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let found = read(folder.path()).unwrap();
    assert_eq!(found.puts.keys().map(ToString::to_string).collect::<Vec<_>>(), ["tenant/a", "policy/b"]);
    assert_eq!(found.tests, [folder.path().join("deeper/b.test.toml")]);
    std::fs::write(folder.path().join("c.toml"), "[[tenant]]\nname = \"a\"\ntopics = []\n").unwrap();
    assert!(read(folder.path()).unwrap_err().to_string().contains("tenant/a is there already"));
}

#[test]
fn where_rules_stand_is_known_in_quotes_that_change_no_letter() {
    let at = |text: &str, line, column| {
        let folder = folder(&[("a.toml", text)]);
        let documents = read(folder.path()).unwrap();
        let (place, words) = documents.rules.values().next().unwrap().place(line, column);
        (place.replace(&format!("{}/", folder.path().display()), ""), words)
    };
    let literal = "[[policy]]\nname = \"p\"\nrules = '''\npermit(\n  x\n'''\n";
    assert_eq!(at(literal, 2, 3), ("a.toml:5:3".to_owned(), String::new()));
    let one_line = "[[policy]]\nname = \"p\"\nrules = \"permit(x)\"\n";
    assert_eq!(at(one_line, 1, 8), ("a.toml:3:17".to_owned(), String::new()));
    let escaped = "[[policy]]\nname = \"p\"\nrules = \"permit(\\n x)\"\n";
    assert_eq!(at(escaped, 2, 2), ("a.toml:3:9".to_owned(), "in line 2, column 2 of the rules: ".to_owned()));
}
