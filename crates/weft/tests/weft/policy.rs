//! Documents and policies in files, without a hub: what is wrong is told with file,
//! line and column, tests of policies run, and questions are answered.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const TENANTS: &str = "[[tenant]]\nname = \"sales\"\ntopics = [\"orders/**\"]\n\n[[tenant]]\nname = \"billing\"\n\
                       topics = [\"invoices/**\"]\n\n[[identity]]\nname = \"ann\"\ntenant = \"sales\"\nroles = [\"dev\"]\n";
const DESK: &str = "@id(\"read\")\npermit (principal in Tenant::\"sales\", action == Action::\"subscribe\",\n  \
                    resource in TopicFilter::\"orders/**\");\n\n@id(\"frozen\")\nforbid (principal, action, \
                    resource in TopicFilter::\"orders/frozen/**\")\nwhen { context.region == \"eu\" };\n";
const TESTS: &str = "[[test]]\nname = \"sales read orders\"\nidentity = \"ann\"\naction = \"subscribe\"\n\
                     resource = \"orders/**\"\nregion = \"us\"\nallowed = true\nrule = \"desk/read\"\n\n\
                     [[test]]\nname = \"frozen in Europe\"\nwho = \"sales/bob\"\naction = \"subscribe\"\n\
                     resource = \"orders/frozen/1\"\nregion = \"eu\"\nallowed = false\nrule = \"desk/frozen\"\n";

fn weft(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weft")).current_dir(folder).args(args).output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).expect("a file");
    }
    folder
}

fn shop() -> tempfile::TempDir {
    folder(&[("tenants.toml", TENANTS), ("desk.cedar", DESK), ("desk.test.toml", TESTS)])
}

#[test]
fn what_is_right_is_said_and_what_is_wrong_is_told_with_file_line_and_column() {
    let right = shop();
    for command in [&["check", "."][..], &["policy", "check", "."]] {
        let output = weft(right.path(), command);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    let printed = weft(right.path(), &["check", ".", "--print"]);
    assert!(text(&printed.stdout).contains("[[policy]]\nname = \"desk\""), "{}", text(&printed.stdout));

    // In a file of its own, in a table, and of another kind.
    let wrong = folder(&[
        ("a.cedar", "@id(\"x\")\npermit (principal, action == Action::\"fly\", resource);\n"),
        ("b.toml", "[[policy]]\nname = \"b\"\nrules = '''\n@id(\"y\")\npermit (principal, action, resource)\n'''\n"),
    ]);
    let output = weft(wrong.path(), &["policy", "check", "."]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("./a.cedar:2:") && said.contains("policy/a: rule `x`: "), "{said}");
    assert!(said.contains("./b.toml:5:") && said.contains("policy/b: "), "{said}");
    let tenants = folder(&[("t.toml", "[[tenant]]\nname = \"a\"\ntopics = [5]\n")]);
    let output = weft(tenants.path(), &["check", "t.toml"]);
    assert!(text(&output.stderr).contains("t.toml:3:11: tenant/a: topics[0]"), "{}", text(&output.stderr));
}

#[test]
fn tests_beside_policies_run_and_one_that_comes_out_otherwise_fails_with_the_reason() {
    let folder = shop();
    let output = weft(folder.path(), &["policy", "test", ".", "--all-rules", "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&report["cases"], report["failures"].as_array().map(Vec::len)), (&Value::from(2), Some(0)));

    // The canary: the same expected otherwise must fail.
    let wrong = TESTS.replace("allowed = true", "allowed = false").replace("desk/frozen", "desk/read");
    std::fs::write(folder.path().join("desk.test.toml"), wrong).expect("a file");
    let output = weft(folder.path(), &["policy", "test", "."]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("failed    sales read orders: it is allowed, expected denied"), "{said}");
    assert!(said.contains("is decided by `desk/frozen`, expected `desk/read`"), "{said}");

    let bad = "[[test]]\nname = \"x\"\nwho = \"a\"\naction = \"fly\"\nresource = \"a\"\nallowed = true\nlane = 9\n\
               [[test]]\nname = \"y\"\nallowed = 1\n";
    std::fs::write(folder.path().join("desk.test.toml"), bad).expect("a file");
    let output = weft(folder.path(), &["policy", "test", "."]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for told in ["desk.test.toml:1:", "`fly`", "there is no lane 9", "test.1.action is missing", "test.1.allowed"] {
        assert!(said.contains(told), "{told}: {said}");
    }
}

#[test]
fn a_question_is_answered_with_the_rule_and_what_is_missing() {
    let folder = shop();
    let explain = |args: &[&str]| {
        let output = weft(folder.path(), &[&["policy", "explain"], args, &["--files", "."]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let said = explain(&["--identity", "ann", "subscribe", "orders/frozen/1", "--at-region", "eu"]);
    assert!(said.starts_with("denied\nrules      desk/frozen\n"), "{said}");
    let said = explain(&["--identity", "ann", "subscribe", "orders/frozen/1", "--at-region", "us"]);
    assert!(said.starts_with("allowed\nrules      desk/read\n"), "{said}");
    let said = explain(&["--who", "billing/bob", "subscribe", "orders/1"]);
    assert!(said.starts_with("denied\nrules      none\n") && said.contains("fence: refuses"), "{said}");
    let said = explain(&["--who", "sales/ann", "--method", "anonymous", "subscribe", "orders/1"]);
    assert!(said.starts_with("denied\n") && said.contains("no certificate"), "{said}");

    let can = |args: &[&str]| {
        let output = weft(folder.path(), &[&["policy", "can"], args, &["--files", "."]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    assert!(can(&["--tenant", "billing", "subscribe", "orders/**"]).starts_with("never\n"));
    let said = can(&["--tenant", "sales", "subscribe", "orders/**"]);
    assert!(said.starts_with("sometimes\n  by desk/read") && said.contains("but "), "{said}");
    assert!(can(&["--tenant", "sales", "subscribe", "orders/open/**"]).starts_with("always\n  by desk/read\n"));
    // One value each, so that what follows is what is asked; and as many as there are.
    let files = ["--files", "tenants.toml", "--files", "desk.cedar"];
    let can = |asked: &[&str]| weft(folder.path(), &[&["policy", "can", "--tenant", "sales"], asked].concat());
    let before = can(&[&files[..], &["subscribe", "orders/open/**"]].concat());
    assert!(text(&before.stdout).starts_with("always\n  by desk/read\n"), "{}", text(&before.stderr));
    let asked = ["policy", "explain", "--identity", "ann"];
    let before = weft(folder.path(), &[&asked[..], &files, &["subscribe", "orders/1"]].concat());
    assert!(text(&before.stdout).starts_with("allowed\nrules      desk/read\n"), "{}", text(&before.stderr));
    let nobody = weft(folder.path(), &["policy", "can", "subscribe", "orders/**", "--files", "."]);
    assert_eq!(nobody.status.code(), Some(2), "{}", text(&nobody.stderr));
}
