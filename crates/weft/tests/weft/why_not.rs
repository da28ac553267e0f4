//! `weft mesh why-not` against real hubs: each reason that can be brought about
//! is, by what people do, and is told.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use futures_lite::future::block_on;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use weft_client::{AckLevel, Client, ConnectOptions, OnFull, PublisherOptions, SubscribeOptions};

use crate::common::{Hub, Running};

fn weft(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_weft")).args(args).stdin(Stdio::null()).output().expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{args:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn start(folder: &Path, name: &str, more: &str) -> Hub {
    start_with(folder, name, "", more)
}

/// `top` stands before all tables.
fn start_with(folder: &Path, name: &str, top: &str, more: &str) -> Hub {
    let dir = folder.display().to_string();
    weft(&["ca", "issue", "hub", name, "--dir", &dir]);
    let config = folder.join(format!("{name}.toml"));
    let text = format!(
        "name = \"{name}\"\ndata = \"{name}-data\"\n{top}\n[tls]\ncert = \"{name}.pem\"\nkey = \"{name}.key\"\nca = \"ca.pem\"\n\
         [control]\nenforce = false\n[[clients]]\nlisten = \"127.0.0.1:0\"\nplain = true\n[hubs]\nlisten = \"127.0.0.1:0\"\n\
         [timers]\nredial_most = \"100 ms\"\n{more}"
    );
    fs::write(&config, text).expect("a file");
    Hub::start_with(&["--config", &config.display().to_string()])
}

/// boston and chicago, with a link.
fn pair(folder: &Path) -> (Hub, Hub) {
    pair_with(folder, "")
}

/// Likewise, with more in the configuration of boston.
fn pair_with(folder: &Path, more: &str) -> (Hub, Hub) {
    weft(&["ca", "init", "--dir", &folder.display().to_string()]);
    let boston = start(folder, "boston", more);
    let neighbour = format!("[[neighbours]]\naddr = \"{}\"\nname = \"boston\"\n", boston.hubs);
    let chicago = start(folder, "chicago", &neighbour);
    boston.wait_for_events(1, "hub_up", "");
    chicago.wait_for_events(1, "hub_up", "");
    (boston, chicago)
}

/// `weft sub` under a name, once it says that it subscribes.
fn subscribe(hub: &Hub, name: &str, args: &[&str]) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    command.arg("sub").args(args).args(["--name", name, "-s", &hub.address]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut line = String::new();
    BufReader::new(child.stderr.take().expect("stderr")).read_line(&mut line).expect("it says something");
    Running(child)
}

/// Asks until the answer is so: news takes its time.
fn until(hub: &Hub, args: &[&str], what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    for _ in 0..200 {
        let all = [&["mesh", "why-not"], args, &["--json", "-s", &hub.address]].concat();
        last = serde_json::from_str(&weft(&all)).expect("JSON");
        if is_so(&last) {
            return last;
        }
    }
    panic!("never {what}: {last}");
}

/// The codes of all reasons of an answer.
fn codes(answer: &Value) -> Vec<&str> {
    let of = |value: &'static str, from: &Value| -> Vec<String> {
        from[value].as_array().into_iter().flatten().filter_map(|r| r["code"].as_str().map(str::to_owned)).collect()
    };
    let places = answer["places"].as_array().into_iter().flatten();
    let all = of("reasons", answer).into_iter().chain(places.flat_map(|place| of("reasons", place)));
    // Names of a closed list: kept for the life of the test.
    all.map(|code| &*code.leak()).collect()
}

/// Asks until this is the only kind of reason, or the last one of several.
fn says(hub: &Hub, args: &[&str], code: &str) -> Value {
    until(hub, args, code, |answer| codes(answer).contains(&code))
}

fn reaches(hub: &Hub, args: &[&str]) -> Value {
    until(hub, args, "reached", |answer| answer["reaches"] == true)
}

#[test]
fn names_filters_topics_and_ways_are_told_across_a_link() {
    let folder = tempfile::tempdir().expect("a folder");
    let (boston, chicago) = pair(folder.path());
    let _board = subscribe(&chicago, "board", &["flights/*/eu"]);

    let answer = reaches(&boston, &["flights/1/eu", "board"]);
    assert_eq!(answer["places"][0]["way"], serde_json::json!(["boston", "chicago"]), "{answer}");
    assert_eq!((&answer["places"][0]["sent"], &answer["entry"]), (&0.into(), &"boston".into()));
    assert!(codes(&answer).is_empty(), "{answer}");
    weft(&["pub", "flights/1/eu", "hello", "-s", &boston.address]);
    until(&boston, &["flights/1/eu", "board"], "sent", |answer| answer["places"][0]["sent"] == 1);

    // By the way that people read.
    let text = weft(&["mesh", "why-not", "flights/1/us", "board", "-s", &boston.address]);
    assert!(text.starts_with("flights/1/us, published at boston, to `board`: does not get there"), "{text}");
    assert!(text.contains("nearest is `flights/*/eu`: at level 3 the filter has `eu` and the topic `us`"), "{text}");
    let nobody = says(&boston, &["flights/1/eu", "boart"], "no_subscriber");
    assert_eq!(nobody["reasons"][0]["remedy"], "names like it: `board` at chicago");
    says(&boston, &["flights/1/eu", "board@boston"], "no_subscriber");
    reaches(&boston, &["flights/1/eu", "board@chicago", "--from", "chicago"]);
    says(&boston, &["flights//eu", "board"], "topic_refused");
    says(&boston, &["_reply/1", "board"], "topic_refused");
    says(&boston, &["flights/1/eu", "board", "--from", "nowhere"], "no_entry");
    says(&boston, &["flights/1/eu", "board", "--deadline", "0 s"], "too_late");

    // Two members share; one of them gets each event.
    let _one = subscribe(&chicago, "one", &["work/*", "--group", "g"]);
    let _two = subscribe(&boston, "two", &["work/*", "--group", "g"]);
    let shared = says(&boston, &["work/1", "one"], "other_member");
    assert_eq!(shared["reaches"], true, "{shared}");

    // The hub dies: it is named, with since when.
    drop(chicago);
    let gone = until(&boston, &["flights/1/eu", "board"], "silent", |answer| answer["noAnswer"][0] == "chicago");
    assert!(
        gone["reasons"][0]["what"].as_str().is_some_and(|what| what.contains("chicago cannot be reached since")),
        "{gone}"
    );
}

/// Symptom: of a topic that the hub of entry maps it was said that no filter
/// matches, though events got there. Cause: the filters were held against the
/// topic as it was asked for, not as the event is known.
#[test]
fn a_topic_that_is_mapped_is_judged_by_what_it_becomes_wherever_it_is_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let rules = "[[mapping]]\nfrom = \"raw/**\"\nto = \"flights/{rest}\"\n\
                 [[mapping]]\nfrom = \"gone/**\"\nto = [{ drop = true }]\n";
    let (boston, chicago) = pair_with(folder.path(), rules);
    let _board = subscribe(&chicago, "board", &["flights/*/eu"]);
    for (hub, from) in [(&boston, &[][..]), (&chicago, &["--from", "boston"])] {
        let ask = |topic: &'static str| [&[topic, "board"], from].concat();
        let answer = reaches(hub, &ask("raw/1/eu"));
        assert_eq!(answer["mapped"], "mapped there to flights/1/eu", "{answer}");
        assert_eq!(says(hub, &ask("raw/1/us"), "no_filter")["entry"], "boston");
        assert_eq!(says(hub, &ask("gone/1"), "topic_refused")["reaches"], false);
    }
    // chicago does not map.
    says(&chicago, &["raw/1/eu", "board"], "no_filter");
}

#[test]
fn streams_and_consumers_are_told_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let (boston, chicago) = pair(folder.path());
    let s = chicago.address.as_str();
    weft(&["stream", "create", "orders", "orders/**", "-s", s]);
    weft(&["consumer", "create", "orders", "billing", "--filter", "orders/paid/*", "-s", s]);
    let kept = reaches(&boston, &["orders/new/1", "orders"]);
    assert_eq!(kept["places"][0]["way"], serde_json::json!(["boston", "chicago"]), "{kept}");
    says(&boston, &["bills/1", "orders"], "no_filter");
    says(&boston, &["orders/new/1", "billing"], "no_filter");
    says(&boston, &["orders/paid/1", "orders/billing"], "no_member");
    weft(&["consumer", "pause", "orders", "billing", "-s", s]);
    says(&boston, &["orders/paid/1", "billing"], "paused");
}

#[test]
fn a_subscriber_that_takes_nothing_in_is_told_with_what_waits_and_what_was_dropped() {
    let hub = Hub::start();
    block_on(async {
        let options = ConnectOptions::new(hub.address.clone()).name("slow");
        let client = Client::connect(options).await.expect("a hub");
        let few = SubscribeOptions { credit_events: 4, on_full: OnFull::DropOldest, ..SubscribeOptions::default() };
        let subscription = client.subscribe("a/*", few).await.expect("it subscribes");
        let publisher = client.publisher(PublisherOptions::level(AckLevel::Routed));
        for _ in 0..20 {
            publisher.publish("a/b", b"x").await.expect("it takes it").await.expect("it is routed");
        }
        let dry = says(&hub, &["a/b", "slow"], "no_credit");
        assert_eq!(dry["reaches"], false, "{dry}");
        drop(subscription);
        client.close().await;
    });
}

#[test]
fn labels_that_hubs_do_not_carry_and_hubs_that_drain_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    weft(&["ca", "init", "--dir", &folder.path().display().to_string()]);
    let link = |hub: &Hub, name: &str| format!("[[neighbours]]\naddr = \"{}\"\nname = \"{name}\"\n", hub.hubs);
    let rule = "[[residency]]\nfilter = \"people/**\"\nlabel = \"eu\"\n";
    let boston = start_with(folder.path(), "boston", "labels = [\"eu\"]", rule);
    let chicago = start(folder.path(), "chicago", &link(&boston, "boston"));
    let denver = start_with(folder.path(), "denver", "labels = [\"eu\"]", &link(&chicago, "chicago"));
    boston.wait_for_events(2, "hub_up", "");
    denver.wait_for_events(2, "hub_up", "");
    let _board = subscribe(&chicago, "board", &["**"]);
    let _clerk = subscribe(&denver, "clerk", &["**"]);

    let outside = says(&boston, &["people/1", "board"], "residency");
    assert_eq!((codes(&outside), &outside["reaches"]), (vec!["residency"], &false.into()), "{outside}");
    let what = &outside["places"][0]["reasons"][0]["what"];
    let expected = "a rule of boston binds the topic to hubs with the label `eu`, which chicago does not carry";
    assert_eq!(what, expected);
    let no_way = says(&boston, &["people/1", "clerk"], "residency");
    let what = no_way["places"][0]["reasons"][0]["what"].as_str().expect("text");
    assert!(what.ends_with("and all ways to denver lead over others"), "{no_way}");
    reaches(&boston, &["places/1", "clerk"]);
    // Where no rule binds it, it goes everywhere.
    reaches(&denver, &["people/1", "board"]);

    // Nobody says where its client may go: it stays, and the hub with it.
    let pid = Pid::from_raw(chicago.child.id() as i32).expect("a process");
    kill_process(pid, Signal::USR1).expect("it is there");
    let here = says(&boston, &["places/1", "board"], "draining");
    assert_eq!((&here["reaches"], codes(&here)), (&true.into(), vec!["draining"]), "{here}");
    let over = says(&boston, &["places/1", "clerk"], "draining");
    let what = over["places"][0]["reasons"][0]["what"].as_str().expect("text");
    assert!(what.starts_with("the way leads over chicago, which is about to stop"), "{over}");
    let from = says(&boston, &["places/1", "clerk", "--from", "chicago"], "draining");
    assert_eq!(from["reasons"][0]["hub"], "chicago", "{from}");
    let shown = weft(&["mesh", "show", "-s", &boston.address]);
    assert!(shown.lines().any(|line| line.starts_with("chicago ") && line.contains(" draining ")), "{shown}");
    assert!(shown.lines().all(|line| !line.starts_with("boston ") || !line.contains(" draining ")), "{shown}");
}
