//! Streams and their consumers on the command line, against a `weft hub` in a
//! process of its own.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Hub, Running};
use serde_json::Value;

impl Hub {
    /// Runs the program with these words, the hub's address, and this input;
    /// its exit code, stdout and stderr.
    fn fed(&self, words: &str, input: &str) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
        command.args(words.split_whitespace().map(|word| word.replace('_', " "))).args(["-s", &self.address]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        // A command that reads nothing may be gone already.
        let _ = child.stdin.take().expect("stdin").write_all(input.as_bytes());
        let output = child.wait_with_output().expect("it ends");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
    }

    /// The same, of a command that succeeds: what it prints.
    fn run(&self, words: &str) -> String {
        let (code, out, err) = self.fed(words, "");
        assert_eq!(code, 0, "{words}: {err}");
        out
    }

    /// The same, of a command that fails: its exit code, and what it says.
    fn refused(&self, words: &str) -> (i32, String) {
        let (code, _, err) = self.fed(words, "");
        assert_ne!(code, 0, "{words}");
        (code, err)
    }

    fn json(&self, words: &str) -> Value {
        serde_json::from_str(&self.run(words)).expect("one JSON object")
    }
}

/// A hub with a stream `orders` of these events, each of the topic `orders/new`.
fn with_orders(events: &[&str]) -> Hub {
    let hub = Hub::start();
    hub.run("stream create orders orders/**");
    if !events.is_empty() {
        let (code, _, err) = hub.fed("pub orders/new --lines --level synced", &events.join("\n"));
        assert_eq!(code, 0, "{err}");
    }
    hub
}

#[test]
fn a_consumer_is_made_shown_steered_and_taken_from_by_hand() {
    let hub = with_orders(&["a", "b", "c", "d"]);
    hub.run("consumer create orders billing --ack-wait 60s --max-deliver 3 --mode keyed --backoff 10ms,20ms");
    assert_eq!(hub.run("consumer next orders billing -n 2"), "orders/new  a\norders/new  b\n");
    // Given back, it comes again, and says how often it has.
    assert_eq!(hub.run("consumer next orders billing --nack 0s --format raw"), "c\n");
    let again: Value = serde_json::from_str(&hub.run("consumer next orders billing --format json")).expect("JSON");
    assert_eq!((&again["payload"], &again["attempt"], &again["streamSequence"]), (&"c".into(), &2.into(), &3.into()));
    let info = hub.json("consumer info orders billing --json");
    assert_eq!((&info["lag"], &info["floor"], &info["redelivered"]), (&1.into(), &4.into(), &1.into()));
    assert_eq!((&info["mode"], &info["maxDeliver"], &info["ackWait"]), (&"keyed".into(), &3.into(), &"1 min".into()));
    assert!(hub.run("consumer info orders billing").contains("lag                  1 events"));
    assert!(hub.run("consumer list orders").contains("billing"));
    hub.run("consumer pause orders billing");
    assert_eq!(hub.run("consumer next orders billing --wait 20ms"), "", "it is paused");
    hub.run("consumer resume orders billing");
    assert_eq!(hub.run("consumer next orders billing --format raw"), "d\n");
    hub.run("consumer reset orders billing --from 2");
    assert_eq!(hub.run("consumer next orders billing -n 3 --format raw"), "b\nc\nd\n");
    let (code, err) = hub.refused("consumer move orders billing --to new-york");
    assert!(code == 1 && err.contains("not_a_home") && err.contains("one home"), "{code} {err}");
    hub.run("consumer move orders billing --anywhere");
    let (code, _) = hub.refused("consumer move orders billing");
    assert_eq!(code, 2, "where to must be said");
    hub.run("consumer delete orders billing");
    let (code, err) = hub.refused("consumer next orders billing");
    assert!(code == 1 && err.contains("no_consumer"), "{code} {err}");
    let (code, err) = hub.refused("consumer create orders broken --where key_==");
    assert!(code == 1 && err.contains("bad_predicate"), "{code} {err}");
    let (code, _) = hub.refused("consumer next orders billing --nack 5s --ack");
    assert_eq!(code, 2);
}

#[test]
fn a_hub_that_is_gone_while_events_are_waited_for_is_an_error() {
    let mut hub = with_orders(&[]);
    hub.run("consumer create orders billing");
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    command.args(["consumer", "next", "orders", "billing", "--wait", "3s", "-s", &hub.address]);
    let waiting = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    while hub.json("consumer info orders billing --json")["members"].as_array().is_none_or(Vec::is_empty) {}
    hub.child.kill().expect("it is there");
    let output = waiting.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1), "{said}");
}

#[test]
fn what_has_come_is_printed_and_settled_while_more_is_waited_for() {
    let hub = with_orders(&["a", "b"]);
    hub.run("consumer create orders billing");
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    command.args(["consumer", "next", "orders", "billing", "--count", "9", "--wait", "60s", "-s", &hub.address]);
    let _waiting = Running(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("it starts"));
    // With the last of those that are there it is confirmed that they are settled.
    while hub.json("consumer info orders billing --json")["floor"] != 3 {}
}

#[test]
fn a_mirror_takes_everything_where_nothing_else_is_said() {
    let hub = with_orders(&["a"]);
    hub.run("stream create copy --mirror-of orders");
    assert_eq!(hub.json("stream info copy --json")["filters"], serde_json::json!(["**"]));
}

#[test]
fn a_stream_is_defined_shown_and_changed() {
    let hub = Hub::start();
    hub.run(
        "stream create all t/** --retain-events 1000 --retain-age 30d --last key --dedup-window 1h --max-event 64_KiB",
    );
    let info = hub.json("stream info all --json");
    assert_eq!(
        (&info["retainEvents"], &info["retainAge"], &info["last"]),
        (&1000.into(), &"30 d".into(), &"key".into())
    );
    assert_eq!(
        (&info["dedupWindow"], &info["maxEvent"], &info["role"]),
        (&"1 h".into(), &65_536.into(), &"home".into())
    );
    assert_eq!((&info["retention"], &info["consistency"]), (&"limits".into(), &"monotonic".into()));
    hub.run("stream alter all --max-event 1_MiB --filter t/** --filter u/*");
    let info = hub.json("stream info all --json");
    assert_eq!((&info["maxEvent"], &info["retainAge"]), (&1_048_576.into(), &"30 d".into()), "the rest stays");
    let shown = hub.run("stream info all");
    assert!(shown.contains("t/** u/*") && shown.contains("last values      key"), "{shown}");
    let (code, err) = hub.refused("stream alter all --retention work-queue");
    assert!(code == 1 && err.contains("cannot"), "what is fixed is named: {err}");
    assert_eq!(hub.refused("stream alter other --max-event 1_KiB").0, 1);
    assert_eq!(hub.refused("stream create x t --mirror-prefix a=b").0, 2);
}

#[test]
fn last_values_are_got_and_publishes_are_conditional() {
    let hub = Hub::start();
    hub.run("stream create prices price/** --last key");
    let publish = |words: &str| {
        let (code, _, err) = hub.fed(&format!("pub {words} --level synced"), "");
        (code, err)
    };
    let (code, err) = publish("price/eur 1.10 --key usd --key-expect 0");
    assert!(code == 0 && err.contains("sequence 1"), "{err}");
    assert_eq!(publish("price/eur 170 --key jpy").0, 0);
    let (code, err) = publish("price/eur 1.20 --key usd --key-expect 0");
    assert!(code == 1 && err.contains('1'), "there is one: {err}");
    assert_eq!(publish("price/eur 1.20 --key usd --key-expect 1").0, 0);
    assert_eq!(publish("price/eur late --key usd --expect-last 2").0, 1);
    assert_eq!(publish("price/gbp 1.30 --key usd --expect-last 3").0, 0);
    assert_eq!(hub.run("stream get prices price/eur"), "price/eur  jpy  170\nprice/eur  usd  1.20\n");
    assert_eq!(hub.run("stream get prices --key usd --format raw"), "1.20\n1.30\n");
    assert_eq!(hub.run("stream get prices --most 1 --format raw"), "170\n");
}

#[test]
fn a_batch_is_taken_whole_and_a_higher_level_is_awaited() {
    let hub = Hub::start();
    hub.run("stream create all t/**");
    let (code, _, err) = hub.fed("pub t/a --lines --batch --level synced", "1\n2\n3\n");
    assert_eq!(code, 0, "{err}");
    assert!(err.starts_with("published 3 events"), "{err}");
    assert_eq!(hub.run("stream replay all --format raw"), "1\n2\n3\n");
    let (code, _, err) = hub.fed("pub t/a --lines --level written --reach synced --stream all", "4\n5\n");
    assert!(code == 0 && err.contains("level synced"), "{err}");
    assert_eq!(hub.refused("pub t/a x --batch --expect-last 3").0, 2);
    let (code, err) = hub.refused("pub t/a x --batch --level routed");
    assert!(code == 1 && err.contains("batch"), "{err}");
}

#[test]
fn a_stream_is_read_by_a_predicate() {
    let hub = with_orders(&["small", "rather large", "tiny", "the largest of all"]);
    let out = hub.fed("sub orders/** --stream orders --from first --count 2 --format raw --where size_>_8", "");
    assert_eq!((out.0, out.1.as_str()), (0, "rather large\nthe largest of all\n"), "{}", out.2);
    assert_eq!(hub.run("consumer list orders --json"), "", "what was made for it is gone");
    assert_eq!(hub.refused("sub orders/** --where size_>_8").0, 2);
}

#[test]
fn dead_letters_are_published_again_once() {
    let hub = with_orders(&["a", "b", "c"]);
    hub.run("consumer create orders billing");
    hub.run("consumer next orders billing -n 2 --term no_such_customer");
    // The dead letter is on disk before its event is settled: then nothing is in flight.
    let until = Instant::now() + Duration::from_secs(20);
    while hub.json("consumer info orders billing --json")["dead"] != 2 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    let listed = hub.run("stream replay-dead orders --dry-run");
    assert!(listed.lines().count() == 2 && listed.contains("orders/new  billing"), "{listed}");
    assert!(listed.contains("no such customer"), "{listed}");
    let replayed = |words: &str| hub.fed(&format!("stream replay-dead orders {words}"), "").2;
    assert!(replayed("--consumer other").contains("0 published, 0 were published before, 2 not asked for"));
    let said = replayed("--consumer billing");
    assert!(said.contains("2 published, 0 were published before"), "{said}");
    let said = replayed("");
    assert!(said.contains("0 published, 2 were published before"), "{said}");
    assert_eq!(hub.run("stream replay orders --format raw"), "a\nb\nc\na\nb\n");
}
