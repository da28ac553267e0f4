//! `weft bench` against a real hub: it delivers what it publishes, tells lanes
//! apart, finds a breaking point, and refuses what cannot be.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::Hub;
use serde_json::Value;

impl Hub {
    /// Runs `weft bench` with these arguments; its exit code, stdout and stderr.
    fn bench(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
        command.args(["bench", "--server", &self.address]).args(arguments);
        let output = command.stdin(Stdio::null()).output().expect("it starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    /// A counter of the hub.
    fn counter(&self, name: &str) -> u64 {
        let output = Command::new(env!("CARGO_BIN_EXE_weft"))
            .args(["mesh", "show", "--json", "--server", &self.address])
            .output()
            .expect("it starts");
        let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        shown["counters"][name].as_u64().unwrap_or_default()
    }

    fn bench_json(&self, arguments: &[&str]) -> Value {
        let (code, out, err) = self.bench(&[arguments, &["--json"]].concat());
        assert_eq!(code, 0, "{err}");
        serde_json::from_str(&out).expect("JSON")
    }
}

#[test]
fn every_subscriber_gets_what_every_publisher_publishes() {
    let hub = Hub::start();
    let all = hub.bench_json(&["--shape", "2x3", "--rate", "500", "--seconds", "0.4", "--lane", "0,7"]);
    let step = &all["steps"][0];
    let number = |name: &str| step[name].as_u64().unwrap_or_default();
    assert_eq!((number("published"), number("unsent"), number("lost")), (200, 0, 0), "{step}");
    assert_eq!(number("delivered"), 600);
    // After the warm-up, a fifth of the step: 160 events for each of 3 subscribers.
    assert_eq!(step["latency"]["count"], 480);
    let lanes: Vec<_> =
        step["lanes"].as_array().into_iter().flatten().map(|l| (&l["lane"], &l["latency"]["count"])).collect();
    assert_eq!(lanes, [(&Value::from(0), &Value::from(240)), (&Value::from(7), &Value::from(240))]);
}

#[test]
fn as_fast_as_it_goes_nothing_is_lost_within_the_window() {
    let hub = Hub::start();
    let all = hub.bench_json(&["--seconds", "0.3", "--level", "synced", "--size", "1024"]);
    let step = &all["steps"][0];
    assert_eq!(step["lost"], 0, "{step}");
    assert!(step["delivered"].as_u64() > Some(0) && step["delivered"] == step["published"], "{step}");
    // The stream for the time being is gone again.
    let list =
        Command::new(env!("CARGO_BIN_EXE_weft")).args(["stream", "list", "--json", "--server", &hub.address]).output();
    assert_eq!(String::from_utf8_lossy(&list.expect("it starts").stdout).trim(), "");
}

#[test]
fn a_ramp_ends_with_what_holds_a_curve_and_a_chart() {
    let hub = Hub::start();
    let chart = hub.folder.path().join("curve.svg");
    // A p99 that nothing can keep: each rate breaks, down to the last step.
    let path = chart.to_str().expect("a path");
    let arguments = ["--ramp", "--from", "2000", "--p99", "0.000001", "--seconds", "0.02", "--svg", path];
    let (code, out, err) = hub.bench(&arguments);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("no rate that was tried holds") && out.contains("p99 was"), "{out}");
    assert!(out.contains("saturated first") && out.contains("events/s") && out.contains('▲'), "{out}");
    assert!(fs::read_to_string(&chart).expect("a chart").ends_with("</svg>\n"));
}

/// It waited for its hub for ever: the client library makes connections anew,
/// and the bench had no bound on that.
#[test]
fn a_hub_that_is_gone_midway_ends_the_bench_with_an_error() {
    for level in ["none", "synced"] {
        let mut hub = Hub::start();
        let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
        command.args(["bench", "--server", &hub.address, "--rate", "1000", "--seconds", "2", "--level", level]);
        let bench = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut bench = bench.expect("it starts");
        // It has begun once its events arrive at the hub.
        let until = Instant::now() + Duration::from_secs(30);
        while hub.counter("ledger.published") < 100 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        hub.child.kill().expect("it runs");
        hub.child.wait().expect("it ends");
        while bench.try_wait().expect("a process").is_none() {
            if Instant::now() > until + Duration::from_secs(30) {
                bench.kill().expect("it runs");
                panic!("the bench of level {level} does not end");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let output = bench.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("could not be made again within 5 s"), "{said}");
    }
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_connected() {
    let refused = |arguments: &[&str], word: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_weft")).arg("bench").args(arguments).output().expect("it starts");
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {err}");
        assert!(err.contains(word), "{arguments:?}: {err}");
    };
    refused(&["--shape", "0x1"], "PxS");
    refused(&["--shape", "9"], "PxS");
    refused(&["--size", "7"], "--size 7");
    refused(&["--rate=-5"], "rate");
    refused(&["--rate", "nan"], "rate");
    refused(&["--seconds", "0"], "--seconds 0");
    refused(&["--lane", "8"], "lane 8");
    refused(&["--ramp", "--rate", "5"], "--rate");
}
