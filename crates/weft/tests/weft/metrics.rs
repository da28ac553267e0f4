//! `/metrics`: who may read it, and what stands there. What Prometheus itself says of
//! it is asked by the tests that need its programs, which the suite's step
//! `prometheus` fetches: `cargo xtask test --only prometheus`.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::http::{Answer, connect, raw};
use crate::common::{Hub, free_port};

/// The longest that anything here may take; only a failure takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A hub that answers by HTTP on loopback, with more of `[http]` and another table.
fn hub(folder: &Path, http: &str, more: &str) -> Hub {
    Hub::start_with(&["--config", &write(folder, http, more).display().to_string()])
}

/// Its configuration.
fn write(folder: &Path, http: &str, more: &str) -> PathBuf {
    let path = folder.join("hub.toml");
    let text = format!(
        "name = \"east\"\ndata = \"data\"\n[control]\nenforce = false\n[[clients]]\nlisten = \"127.0.0.1:0\"\n\
         plain = true\n[http]\nlisten = \"127.0.0.1:0\"\nplain = true\n{http}\n{more}"
    );
    fs::write(&path, text).expect("it is written");
    path
}

fn get(hub: &Hub, path: &str) -> Answer {
    let head = format!("GET {path} HTTP/1.1\r\nhost: east\r\nconnection: close\r\n\r\n");
    raw(connect(&hub.http), head.as_bytes())
}

/// The body of an answer, of which chunks were made.
fn page(hub: &Hub) -> String {
    let answer = get(hub, "/metrics");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{}", answer.head);
    assert!(!answer.head.contains("chunked"), "it is one piece: {}", answer.head);
    answer.body
}

fn weft(args: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_weft")).args(args).stdin(Stdio::null()).output();
    assert!(output.as_ref().is_ok_and(|output| output.status.success()), "{output:?}");
}

fn publish(hub: &Hub, topic: &str) {
    weft(&["pub", topic, "one", "--server", &hub.address]);
}

/// The value of a line.
fn value(page: &str, line: &str) -> Option<f64> {
    page.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn what_the_hub_counts_stands_there_with_labels_texts_and_percentiles() {
    let folder = tempfile::tempdir().expect("a folder");
    let declared = "[[metric]]\nname = \"by-region\"\nfilter = \"orders/**\"\nby = 1\nlimit = 1\n";
    let hub = hub(folder.path(), "metrics = \"loopback\"", declared);
    publish(&hub, "orders/1");
    let page = page(&hub);
    assert_eq!(value(&page, "weft_ledger_published_total"), Some(1.0), "{page}");
    assert_eq!(value(&page, "weft_ledger_dropped_total{reason=\"no_interest\"}"), Some(1.0), "{page}");
    assert_eq!(value(&page, "weft_lane_wait_duration_seconds_count{lane=\"4\"}"), Some(1.0), "{page}");
    assert!(value(&page, "weft_lane_wait_recent_seconds{lane=\"4\",quantile=\"0.9999\"}").is_some_and(|v| v > 0.0));
    assert!(value(&page, "weft_stage_service_duration_seconds_count{stage=\"net\"}").is_some_and(|n| n > 0.0));
    assert!(value(&page, "process_resident_memory_bytes").is_some_and(|bytes| bytes > 1e6));
    assert_eq!(value(&page, "weft_metric_by_region_total{value=\"1\"}"), Some(1.0), "{page}");
    assert!(page.contains("# HELP weft_ledger_published_total Events taken from clients of this hub\n"));
    assert!(page.contains("# TYPE weft_sessions_clients gauge\n"));
    let declared = |line: &&str| line.starts_with("# HELP") && line.contains("as the configuration declares");
    let declared: Vec<&str> = page.lines().filter(declared).collect();
    assert!(matches!(declared[..], [one] if one.starts_with("# HELP weft_metric_by_region_total ")), "{declared:?}");
}

#[test]
fn who_is_behind_and_who_was_held_back_stands_there_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = hub(folder.path(), "metrics = \"loopback\"", "[see]\nconsumers = 1\n");
    weft(&["stream", "create", "orders", "orders/**", "-s", &hub.address]);
    for consumer in ["billing", "audit"] {
        weft(&["consumer", "create", "orders", consumer, "--from", "first", "-s", &hub.address]);
    }
    weft(&["pub", "orders/1", "one", "--level", "synced", "-s", &hub.address]);
    let begun = Instant::now();
    let page = loop {
        let page = page(&hub);
        // Once a second it is looked at.
        if value(&page, "weft_consumer_lag_events{stream=\"other\",consumer=\"other\"}") == Some(1.0)
            && value(&page, "weft_consumer_lag_events{stream=\"orders\",consumer=\"billing\"}") == Some(1.0)
            && value(&page, "weft_consumer_lag_most_events") == Some(1.0)
        {
            break page;
        }
        assert!(begun.elapsed() < PATIENCE, "{page}");
    };
    let seconds = value(&page, "weft_consumer_lag_seconds{stream=\"orders\",consumer=\"billing\"}");
    assert!(seconds.is_some_and(|seconds| seconds > 0.0 && seconds < 60.0), "{page}");
    assert!(value(&page, "weft_stage_full_ratio{stage=\"route\"}").is_some_and(|full| full < 1.0), "{page}");
    for family in ["weft_publish_stalls_total", "weft_publish_stalled_seconds_total"] {
        for limit in ["subscriber", "stream", "load", "quota"] {
            assert_eq!(value(&page, &format!("{family}{{limit=\"{limit}\",lane=\"4\"}}")), Some(0.0), "{page}");
        }
    }
    assert_eq!(value(&page, "weft_subscriber_credit_stalls_total"), Some(0.0), "{page}");
}

#[test]
fn counters_by_topic_are_taken_while_the_hub_runs_and_a_wrong_one_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let metric = |name: &str| format!("[[metric]]\nname = \"{name}\"\nfilter = \"{name}/**\"\n");
    let hub = hub(folder.path(), "metrics = \"loopback\"", &metric("orders"));
    let reload = |more: &str, code: &str| {
        write(folder.path(), "metrics = \"loopback\"", more);
        let pid = rustix::process::Pid::from_raw(hub.child.id() as i32).expect("a process");
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("it is there");
        hub.wait_for_events(1, code, "metric");
    };
    let counted = |name: &str| value(&page(&hub), &format!("weft_metric_{name}_total"));
    publish(&hub, "orders/1");
    assert_eq!((counted("orders"), counted("bills")), (Some(1.0), None));
    reload(&metric("bills"), "config_taken");
    let begun = Instant::now();
    while counted("bills").is_none() {
        assert!(begun.elapsed() < PATIENCE, "{}", hub.log());
        publish(&hub, "elsewhere");
    }
    publish(&hub, "bills/1");
    publish(&hub, "orders/2");
    assert_eq!((counted("orders"), counted("bills")), (Some(1.0), Some(1.0)), "one counts, the other does no more");
    reload(&metric("no room"), "config_unusable");
    publish(&hub, "bills/2");
    assert_eq!(counted("bills"), Some(2.0));
}

#[test]
fn who_may_read_it_says_the_configuration_and_by_default_who_logs_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let status = |http: &str, more: &str| {
        let hub = hub(folder.path(), http, more);
        get(&hub, "/metrics").status
    };
    let closed = "[login]\nanonymous = false\n";
    assert_eq!(status("", closed), 401);
    assert_eq!(status("", ""), 200, "who shows nothing is let in on loopback, and may do everything at this hub");
    assert_eq!(status("metrics = \"loopback\"", closed), 200);
    assert_eq!(status("metrics = \"open\"", closed), 200);
    assert_eq!(status("metrics = \"off\"", ""), 404);
}

#[test]
fn without_histograms_the_counters_are_there_all_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = hub(folder.path(), "metrics = \"open\"", "[see]\nhistograms = false\n");
    publish(&hub, "orders/1");
    let page = page(&hub);
    assert_eq!(value(&page, "weft_ledger_published_total"), Some(1.0), "{page}");
    assert!(!page.contains("_seconds_bucket") && !page.contains("quantile"), "{page}");
}

/// Where the programs of Prometheus are.
fn program(name: &str) -> Command {
    let folder = std::env::var_os("WEFT_PROMETHEUS").expect("WEFT_PROMETHEUS names the folder of its programs");
    Command::new(PathBuf::from(folder).join(name))
}

fn deployed(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/prometheus").join(file)
}

#[test]
#[ignore = "needs Prometheus' programs: cargo xtask test --only prometheus"]
fn prometheus_has_nothing_to_say_against_the_page_and_the_rules() {
    let folder = tempfile::tempdir().expect("a folder");
    let more = "[[ledger]]\nclass = \"gold\"\ntopics = \"orders/**\"\n[[metric]]\nname = \"orders\"\nfilter = \"orders/**\"\n[[mapping]]\nname = \"to-bills\"\n\
                from = \"bills/**\"\nto = \"bill/{rest}\"\n";
    let hub = hub(folder.path(), "metrics = \"open\"", more);
    publish(&hub, "orders/1");
    let mut check = program("promtool");
    check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut check = check.spawn().expect("it starts");
    check.stdin.take().expect("a pipe").write_all(page(&hub).as_bytes()).expect("it reads");
    let said = check.wait_with_output().expect("it ends");
    assert!(said.status.success() && said.stderr.is_empty() && said.stdout.is_empty(), "{said:?}");
    for args in [["check", "rules", "weft.rules.yml"], ["test", "rules", "weft.test.yml"]] {
        let said = program("promtool").args(&args[..2]).arg(deployed(args[2])).output().expect("it starts");
        assert!(said.status.success(), "{said:?}");
    }
}

/// Ends the process that it has started.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The names and instances of alerts that fire, as Prometheus tells.
fn firing(address: &str) -> Vec<(String, String)> {
    let head = format!("GET /api/v1/alerts HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let Ok(socket) = std::net::TcpStream::connect(address) else { return Vec::new() };
    let answer = raw(socket, head.as_bytes());
    let start = answer.body.find('{').unwrap_or(0);
    let end = answer.body.rfind('}').map_or(0, |end| end + 1);
    let Ok(said) = serde_json::from_str::<Value>(answer.body.get(start..end).unwrap_or_default()) else {
        return Vec::new();
    };
    let alerts = said["data"]["alerts"].as_array().cloned().unwrap_or_default();
    let text = |alert: &Value, label: &str| alert["labels"][label].as_str().unwrap_or_default().to_owned();
    alerts
        .iter()
        .filter(|alert| alert["state"] == "firing")
        .map(|alert| (text(alert, "alertname"), text(alert, "instance")))
        .collect()
}

#[test]
#[ignore = "needs Prometheus' programs: cargo xtask test --only prometheus"]
fn prometheus_scrapes_a_hub_and_an_alert_fires_when_it_dies() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut hub = hub(folder.path(), "metrics = \"loopback\"", "");
    publish(&hub, "orders/1");
    // The rules as they are deployed, but that nobody waits a minute.
    let rules = fs::read_to_string(deployed("weft.rules.yml")).expect("the rules");
    fs::write(folder.path().join("weft.rules.yml"), rules.replace("for: 1m", "for: 0s")).expect("it is written");
    let config = format!(
        "global: {{ scrape_interval: 500ms, evaluation_interval: 500ms }}\nrule_files: [weft.rules.yml]\n\
         scrape_configs:\n  - job_name: weft\n    static_configs: [{{ targets: [\"{}\"] }}]\n",
        hub.http
    );
    let path = folder.path().join("prometheus.yml");
    fs::write(&path, config).expect("it is written");
    let address = format!("127.0.0.1:{}", free_port());
    let log = fs::File::create(folder.path().join("prometheus.log")).expect("a log");
    let mut command = program("prometheus");
    command.arg(format!("--config.file={}", path.display())).arg(format!("--web.listen-address={address}"));
    command.arg(format!("--storage.tsdb.path={}", folder.path().join("tsdb").display()));
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("it starts");
    let _prometheus = Running(child);
    let said = || fs::read_to_string(folder.path().join("prometheus.log")).unwrap_or_default();
    let until = |what: &str, is_so: &dyn Fn() -> bool| {
        let end = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < end, "{what}: {}", said());
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let query = |of: &str| {
        let head = format!("GET /api/v1/query?query={of} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        std::net::TcpStream::connect(&address)
            .map_or_else(|_| String::new(), |socket| raw(socket, head.as_bytes()).body)
    };
    until("it is scraped", &|| query("weft_ledger_published_total").contains("\"1\"]"));
    assert_eq!(firing(&address), [], "all is well");
    let instance = hub.http.clone();
    hub.child.kill().expect("it ends");
    hub.child.wait().expect("it ends");
    until("the alert fires", &|| firing(&address).contains(&("WeftHubDown".to_owned(), instance.clone())));
}
