//! More than a hub can, by HTTP: what is refused says why and when to come again,
//! what is acknowledged is not lost, others go on, and all is well again afterwards.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_lite::future::block_on;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use weft_base::Lane;
use weft_client::{
    AckLevel, Client, ConnectOptions, OnFull, PublishError, PublisherOptions, StartAt, StreamOptions, SubscribeOptions,
    Subscription,
};

use crate::common::http::{Answer, connect, raw};
use crate::common::voters::PATIENCE;
use crate::common::{Hub, free_port};

/// Publishers at the same time.
const PUBLISHERS: u64 = 4;
/// Events of a batch.
const BATCH: u64 = 150;
/// Subscriptions, to each of which the hub copies each event.
const COPIES: usize = 200;

/// A hub of this folder, where everybody may do everything.
fn hub(folder: &Path, more: &str, http: u16) -> Hub {
    let path = folder.join("hub.toml");
    let config = format!(
        "name = \"alone\"\ndata = \"data\"\n{more}[http]\nlisten = \"127.0.0.1:{http}\"\nplain = true\n\
         [control]\nenforce = false\n[[clients]]\nlisten = \"127.0.0.1:0\"\nplain = true\n"
    );
    fs::write(&path, config).expect("a file");
    Hub::start_with(&["--config", &path.display().to_string()])
}

fn client(hub: &Hub) -> Client {
    block_on(Client::connect(ConnectOptions::new(hub.address.clone()))).expect("it connects")
}

fn post(hub: &Hub, path: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: hub\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    );
    raw(connect(&hub.http), head.as_bytes())
}

/// When to come again, in seconds, as a refusal of this status and code says, with why.
#[track_caller]
fn later(answer: &Answer, status: u16, code: &str) -> u64 {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.json()["code"], code, "{answer:?}");
    assert!(answer.json()["detail"].as_str().is_some_and(|detail| detail.len() > 20), "{answer:?}");
    let after = answer.head.lines().find_map(|line| line.strip_prefix("retry-after: "));
    let after = after.and_then(|after| after.trim().parse().ok()).filter(|after| (1..=60).contains(after));
    after.unwrap_or_else(|| panic!("it does not say when: {answer:?}"))
}

/// Publishes to the lane without a pause, by Weft's own protocol, until this is over.
fn floods(hub: &Hub, is_over: &AtomicBool) {
    let client = client(hub);
    let publisher = client.publisher(PublisherOptions {
        lane: Lane::new(3).expect("a lane"),
        ..PublisherOptions::level(AckLevel::Routed)
    });
    while !is_over.load(Ordering::Relaxed) {
        match block_on(publisher.publish("load/flood", b"flood")) {
            Ok(_) | Err(PublishError::Refused { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Payloads of what comes, until all of these have come.
fn reads(subscription: &mut Subscription, wanted: &BTreeSet<String>) -> BTreeSet<String> {
    let mut left = wanted.clone();
    let mut came = BTreeSet::new();
    while !left.is_empty() {
        let delivery = block_on(subscription.next()).expect("the client is open").expect("events");
        for event in delivery.events() {
            let payload = String::from_utf8_lossy(event.payload).into_owned();
            left.remove(&payload);
            came.insert(payload);
        }
    }
    came
}

#[test]
fn a_lane_with_more_than_it_can_is_429_while_another_is_taken_and_nothing_acknowledged_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    // Who reads from sockets outruns who routes, as with many publishers on many cores.
    let more = "threading = \"dedicated\"\n[load]\nlane3 = \"refuse\"\n[limits]\npublish_blocks = 4096\nsubscriber_events = 16\n";
    let hub = &hub(folder.path(), more, 0);
    let client = client(hub);
    block_on(client.streams().create(&StreamOptions::new("load", "load/**"))).expect("a stream");
    // Each event costs the hub as many copies; who does not read loses the oldest.
    let options = || SubscribeOptions { credit_events: 1, ..SubscribeOptions::default() };
    let subscriptions: Vec<_> = (0..COPIES).map(|_| client.subscribe("load/**", options())).map(block_on).collect();
    assert!(subscriptions.iter().all(Result::is_ok));
    let (acknowledged, limited) = (Mutex::new(BTreeSet::new()), Mutex::new(None));
    let (is_over, calm) = (AtomicBool::new(false), AtomicU64::new(0));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| floods(hub, &is_over));
        for publisher in 0..PUBLISHERS {
            let (acknowledged, limited, is_over) = (&acknowledged, &limited, &is_over);
            scope.spawn(move || {
                for round in 0_u64.. {
                    if is_over.load(Ordering::Relaxed) || begun.elapsed() > PATIENCE {
                        return;
                    }
                    let payload = |n: u64| format!("{publisher}-{round}-{n}");
                    let line = |n| format!("{{\"topic\":\"load/{publisher}/{n}\",\"payload\":\"{}\"}}\n", payload(n));
                    let body: String = (0..BATCH).map(line).collect();
                    let headers = "content-type: application/x-ndjson\r\nweft-lane: 3\r\nweft-level: written\r\n";
                    let answer = post(hub, "/v1/batch", headers, &body);
                    let all = answer.json();
                    let results = all["results"].as_array().unwrap_or_else(|| panic!("{answer:?}"));
                    for (n, result) in (0..).zip(results) {
                        match (result["status"].as_u64(), result["code"].as_str()) {
                            (Some(200), _) => drop(acknowledged.lock().expect("whole").insert(payload(n))),
                            (Some(429), Some("lane_full")) => {
                                *limited.lock().expect("whole") = Some(result.clone());
                            }
                            // Or found no room in the session that all of them share.
                            (Some(429), Some("window")) | (Some(503), Some("overloaded")) => {}
                            _ => panic!("{result}"),
                        }
                    }
                    if answer.status > 207 {
                        let code = results[0]["code"].as_str().expect("a code");
                        later(&answer, answer.status, code);
                    }
                }
            });
        }
        // Meanwhile a lane that is not full takes what comes.
        while begun.elapsed() < PATIENCE
            && (limited.lock().expect("whole").is_none() || calm.load(Ordering::Relaxed) < 10)
        {
            let answer = post(hub, "/v1/topics/calm", "weft-lane: 1\r\n", "x");
            match answer.status {
                200 => drop(calm.fetch_add(1, Ordering::Relaxed)),
                status => {
                    let code = answer.json()["code"].as_str().expect("a code").to_owned();
                    assert_ne!(code, "lane_full", "{answer:?}");
                    later(&answer, status, &code);
                }
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(calm.into_inner() >= 10, "the other lane was not taken");
    let limited: Value = limited.into_inner().expect("whole").expect("the lane was never full");
    let after = limited["retryAfter"].as_u64().expect("a time");
    assert!(
        (1..=60).contains(&after) && limited["detail"].as_str().is_some_and(|why| why.contains("lane")),
        "{limited}"
    );
    // Who comes again when it was told to finds room, then or in a while.
    std::thread::sleep(Duration::from_secs(after));
    loop {
        let answer = post(hub, "/v1/topics/load/again", "weft-lane: 3\r\nweft-level: written\r\n", "again");
        if answer.status == 200 {
            break;
        }
        let code = answer.json()["code"].as_str().expect("a code").to_owned();
        assert!(["lane_full", "window", "overloaded"].contains(&code.as_str()), "{answer:?}");
        later(&answer, answer.status, &code);
        assert!(begun.elapsed() < PATIENCE * 2, "it never recovers");
    }
    let mut acknowledged = acknowledged.into_inner().expect("whole");
    acknowledged.insert("again".to_owned());
    assert!(acknowledged.len() > 1, "nothing was taken");
    drop(subscriptions);
    let mut stream = block_on(client.streams().read("load").from(StartAt::First).open()).expect("a reading");
    assert!(reads(&mut stream, &acknowledged).len() >= acknowledged.len());
}

#[test]
fn what_a_subscriber_holds_up_is_429_with_its_name_and_all_that_is_acknowledged_comes_to_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = &hub(folder.path(), "[limits]\nsubscriber_events = 16\n", 0);
    let client = client(hub);
    let options = SubscribeOptions { credit_events: 1, ..SubscribeOptions::default().on_full(OnFull::Wait) };
    let mut slow = block_on(client.subscribe("held/**", options)).expect("it subscribes");
    let acknowledged = Mutex::new(BTreeSet::new());
    let is_over = AtomicBool::new(false);
    let begun = Instant::now();
    let came = std::thread::scope(|scope| {
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|publisher| {
                let (acknowledged, is_over) = (&acknowledged, &is_over);
                scope.spawn(move || {
                    for n in 0_u64.. {
                        if is_over.load(Ordering::Relaxed) {
                            return;
                        }
                        let payload = format!("{publisher}-{n}");
                        let answer = post(hub, "/v1/topics/held/a", "", &payload);
                        match answer.status {
                            200 => drop(acknowledged.lock().expect("whole").insert(payload)),
                            // What waited when it began to be held up, and for too long: nobody knows.
                            504 => {}
                            _ => drop(later(&answer, 429, "window")),
                        }
                    }
                })
            })
            .collect();
        let limited = loop {
            let answer = post(hub, "/v1/topics/held/b", "weft-level: none\r\n", "probe");
            if answer.status != 202 || begun.elapsed() > PATIENCE {
                break answer;
            }
        };
        is_over.store(true, Ordering::Relaxed);
        later(&limited, 429, "window");
        assert!(limited.body.contains("subscriber") && limited.body.contains("held/**"), "{limited:?}");
        // It catches up: those who wait are answered, and who comes is taken.
        let reader = scope.spawn(move || {
            let mut came = BTreeSet::new();
            while !came.contains("last") {
                let delivery = block_on(slow.next()).expect("the client is open").expect("events");
                assert!(delivery.gap().is_none(), "{:?}", delivery.gap());
                came.extend(delivery.events().map(|event| String::from_utf8_lossy(event.payload).into_owned()));
            }
            came
        });
        publishers.into_iter().for_each(|publisher| publisher.join().expect("it ends"));
        loop {
            let answer = post(hub, "/v1/topics/held/b", "", "last");
            if answer.status == 200 {
                break;
            }
            later(&answer, 429, "window");
            assert!(begun.elapsed() < PATIENCE * 2, "it never recovers");
        }
        reader.join().expect("it ends")
    });
    let acknowledged = acknowledged.into_inner().expect("whole");
    assert!(!acknowledged.is_empty() && acknowledged.is_subset(&came), "{:?}", acknowledged.difference(&came));
}

#[test]
fn a_hub_that_drains_answers_503_and_what_was_acknowledged_is_there_when_it_is_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let mut first = hub(folder.path(), "drain_on_stop = \"60 s\"\n", port);
    // Who does not leave by itself holds the drain up.
    let options = ConnectOptions { follow_redirects: false, ..ConnectOptions::new(first.address.clone()) };
    let stays = block_on(Client::connect(options)).expect("it connects");
    block_on(stays.streams().create(&StreamOptions::new("kept", "kept/**"))).expect("a stream");
    let mut acknowledged = BTreeSet::new();
    let mut publish = |hub: &Hub, n: u64| {
        let answer = post(hub, "/v1/topics/kept/a", "weft-level: synced\r\n", &n.to_string());
        if answer.status == 200 {
            acknowledged.insert(n.to_string());
        }
        answer
    };
    let mut n = 0;
    while n < 10 {
        assert_eq!(publish(&first, n).status, 200);
        n += 1;
    }
    let pid = Pid::from_raw(first.child.id().try_into().expect("a pid")).expect("a pid");
    kill_process(pid, Signal::TERM).expect("it is there");
    let begun = Instant::now();
    let refused = loop {
        let answer = publish(&first, n);
        n += 1;
        if answer.status != 200 {
            break answer;
        }
        assert!(begun.elapsed() < PATIENCE, "it never drains");
    };
    later(&refused, 503, "draining");
    assert!(block_on(stays.close()));
    assert!(first.child.wait().expect("it ends").success(), "{}", first.log());
    // Who comes again finds it where it was, with all that it had acknowledged.
    let again = hub(folder.path(), "", port);
    assert_eq!(publish(&again, n).status, 200);
    let client = client(&again);
    let mut stream = block_on(client.streams().read("kept").from(StartAt::First).open()).expect("a reading");
    let came = reads(&mut stream, &acknowledged);
    assert_eq!(came, acknowledged, "and nothing that was refused");
}
