//! Who may do what, on a mesh of real hubs: a change at one hub holds for
//! sessions that live at another.

use std::time::Instant;

use futures_lite::future::block_on;
use serde_json::Value;
use weft_client::{AckLevel, PublishError, Publisher, PublisherOptions};

use crate::common::voters::{AUDITORS, GROUNDED, Mesh, PATIENCE, VOTERS, text};

const OPEN: &str = r#"
[[policy]]
name = "desk"
rules = '''
@id("publish")
permit (principal == User::"guest", action == Action::"publish", resource in TopicFilter::"flights/**");
'''
"#;

fn publish(publisher: &Publisher, topic: &str) -> Result<(), PublishError> {
    block_on(async { publisher.publish(topic, b"x").await?.await.map(drop) })
}

/// Publishes until it is allowed, or until it is not; answers the last refusal's words.
fn until(publisher: &Publisher, topic: &str, allowed: bool) -> String {
    let begun = Instant::now();
    loop {
        let outcome = publish(publisher, topic);
        if outcome.is_ok() == allowed {
            return outcome.err().map(|error| error.to_string()).unwrap_or_default();
        }
        assert!(begun.elapsed() < PATIENCE, "still {outcome:?}");
    }
}

#[test]
fn a_policy_changed_at_one_hub_stops_a_live_publisher_at_another_and_names_the_rule() {
    let mesh = Mesh::start_with("");
    let client = mesh.guest(1);
    let publisher = client.publisher(PublisherOptions::level(AckLevel::Routed));
    let nothing = publish(&publisher, "flights/departed/JFK").expect_err("nothing is allowed yet").to_string();
    assert!(nothing.contains("flights/departed/JFK"), "{nothing}");
    mesh.apply(0, &mesh.documents("open.toml", OPEN), &[]);
    until(&publisher, "flights/departed/JFK", true);
    let denied = publish(&publisher, "weather/JFK").expect_err("no rule allows that").to_string();
    assert!(denied.contains("weather/JFK"), "{denied}");
    // The operator may change the state and, as there is no rule for it, nothing else.
    let operator = mesh.run(1, &["pub", "flights/departed/JFK", "x"]);
    assert_eq!(operator.status.code(), Some(1), "{}", text(&operator.stderr));

    let version = mesh.apply(0, &mesh.documents("grounded.toml", GROUNDED), &[]);
    let changed = Instant::now();
    let refusal = until(&publisher, "flights/departed/JFK", false);
    println!("the live publisher was stopped {:?} after the answer to `weft apply`", changed.elapsed());
    assert!(refusal.contains("desk/grounded"), "{refusal}");
    publish(&publisher, "flights/arrived/JFK").expect("that is still allowed, in the same session");

    let explained = mesh.run(1, &["policy", "explain", "--who", "guest", "publish", "flights/departed/JFK", "--json"]);
    let explained: Value =
        serde_json::from_slice(&explained.stdout).unwrap_or_else(|_| panic!("{}", text(&explained.stderr)));
    assert_eq!((&explained["allowed"], &explained["enforced"]), (&false.into(), &true.into()), "{explained}");
    assert_eq!(explained["rules"], serde_json::json!(["desk/grounded"]), "{explained}");
    assert_eq!(explained["version"], version["version"], "{explained}");
    // About themselves everybody may ask, about others who may look at the mesh.
    let own = mesh.run_as("guest", 1, &["policy", "explain", "publish", "flights/departed/JFK"]);
    assert!(text(&own.stdout).starts_with("denied\nrules      desk/grounded\n"), "{}", text(&own.stdout));
    let others =
        mesh.run_as("guest", 1, &["policy", "explain", "--who", "operator", "publish", "flights/departed/JFK"]);
    assert!(text(&others.stderr).contains("may not observe the mesh"), "{}", text(&others.stderr));
    let can = mesh.run(2, &["policy", "can", "--who", "guest", "publish", "flights/departed/**"]);
    assert!(text(&can.stdout).starts_with("never\n"), "{}", text(&can.stdout));
    let you = mesh.run_as("guest", 1, &["policy", "whoami", "--json"]);
    let you: Value = serde_json::from_slice(&you.stdout).unwrap_or_else(|_| panic!("{}", text(&you.stderr)));
    assert_eq!((&you["name"], &you["hub"]), (&"guest".into(), &"chicago".into()), "{you}");

    // The audit logs have it: the change where it was asked for, the denial where the
    // publisher is, and both are read from elsewhere.
    mesh.apply(0, &mesh.documents("auditors.toml", AUDITORS), &[]);
    let version = &version["version"];
    let change = |event: &Value| event["version"] == *version && event["who"] == "operator" && event["allowed"] == true;
    let change = mesh.audited(2, 0, change);
    assert_eq!((&change["resource"], &change["action"]), (&"policy/desk".into(), &"administer".into()), "{change}");
    let denial = mesh.audited(2, 1, |event| event["rules"] == serde_json::json!(["desk/grounded"]));
    assert_eq!((&denial["who"], &denial["allowed"]), (&"guest".into(), &false.into()), "{denial}");
    assert_eq!(
        (&denial["resource"], &denial["version"]),
        (&"topic `flights/departed/JFK`".into(), version),
        "{denial}"
    );
    for hub in &VOTERS[..2] {
        let verified = mesh.run(2, &["audit", "verify", "--of", hub]);
        assert!(text(&verified.stdout).starts_with("the chain is whole"), "{}", text(&verified.stderr));
    }

    mesh.apply(2, &mesh.documents("open.toml", OPEN), &[]);
    until(&publisher, "flights/departed/JFK", true);
}
