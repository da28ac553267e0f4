//! `kill -9` of a hub during a durable publish at full speed, ten times over:
//! every acknowledged event is there after the restart, none twice, in order.
//!
//! The hub is the real program in a process of its own; the publisher is the
//! Rust client, which connects again and sends what was not acknowledged.

use std::collections::VecDeque;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_lite::future::block_on;
use weft_client::{AckLevel, Client, ConnectOptions, PublisherOptions, StartAt, StreamOptions, SubscribeOptions};

use crate::common::free_port;

/// How often the hub is killed.
const KILLS: u64 = 10;
/// Acknowledged events between one kill and the next, at least.
const BETWEEN: u64 = 5_000;

/// A hub in a process of its own; killed when the test is over, however it ends.
struct Process(Child);

impl Process {
    fn start(config: &Path, ready: &Path) -> Self {
        let _ = std::fs::remove_file(ready);
        let child = Command::new(env!("CARGO_BIN_EXE_weft"))
            .args(["--log", "warn", "hub", "--config"])
            .arg(config)
            .arg("--ready-file")
            .arg(ready)
            .stdout(Stdio::null())
            .spawn()
            .expect("the program starts");
        Self(child)
    }

    fn kill(&mut self) {
        self.0.kill().expect("it can be killed");
        self.0.wait().expect("it can be waited for");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn number(payload: &[u8]) -> u64 {
    u64::from_le_bytes(payload[..8].try_into().expect("the test's own payload"))
}

#[test]
fn ten_kills_lose_no_acknowledged_event_and_repeat_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let (config, ready) = (folder.path().join("hub.toml"), folder.path().join("ready.json"));
    let addr = format!("127.0.0.1:{}", free_port());
    let text = format!(
        "name = \"killed\"\ndata = \"data\"\n[control]\nenforce = false\n[[clients]]\nlisten = \"{addr}\"\nplain = true\n"
    );
    std::fs::write(&config, text).expect("the configuration");
    let mut hub = Process::start(&config, &ready);

    let connect = || {
        let mut options = ConnectOptions::new(addr.clone());
        options.connect_for = Duration::from_secs(30);
        options.retry_first = Duration::from_millis(5);
        options.retry_most = Duration::from_millis(50);
        options
    };
    let client = block_on(Client::connect(connect())).expect("the hub answers");
    let mut stream = StreamOptions::new("all", "t/**");
    stream.segment = Some(weft_base::ByteCount::mib(4));
    block_on(client.streams().create(&stream)).expect("a stream");

    let stop = Arc::new(AtomicBool::new(false));
    let acked = Arc::new(AtomicU64::new(0));
    let publisher = std::thread::spawn({
        let (client, stop, acked) = (client.clone(), stop.clone(), acked.clone());
        move || {
            let publisher = client.publisher(PublisherOptions::level(AckLevel::Synced));
            let mut waiting = VecDeque::new();
            let mut published = 0u64;
            block_on(async {
                while !stop.load(Ordering::Acquire) {
                    let mut payload = [0u8; 128];
                    payload[..8].copy_from_slice(&published.to_le_bytes());
                    waiting.push_back(publisher.publish("t/a", &payload).await.expect("it is taken"));
                    published += 1;
                    while let Some(done) = waiting.front().and_then(|first| first.try_get()) {
                        assert_eq!(done.expect("it is acknowledged").level, AckLevel::Synced);
                        waiting.pop_front();
                        acked.fetch_add(1, Ordering::AcqRel);
                    }
                }
                for last in waiting {
                    last.await.expect("it is acknowledged");
                }
            });
            published
        }
    });

    for kill in 1..=KILLS {
        while acked.load(Ordering::Acquire) < kill * BETWEEN {
            assert!(!publisher.is_finished(), "the publisher gave up");
            std::thread::park_timeout(Duration::from_millis(1));
        }
        hub.kill();
        hub = Process::start(&config, &ready);
    }
    let at_last_kill = acked.load(Ordering::Acquire);
    while acked.load(Ordering::Acquire) < at_last_kill + BETWEEN {
        assert!(!publisher.is_finished(), "the publisher gave up");
        std::thread::park_timeout(Duration::from_millis(1));
    }
    stop.store(true, Ordering::Release);
    let published = publisher.join().expect("the publisher did not panic");

    // All are acknowledged now, so the stream holds each number once, in order.
    let mut next = 0;
    block_on(async {
        let reader = Client::connect(connect()).await.expect("the hub answers");
        let replay = SubscribeOptions::stream("all", StartAt::First);
        let mut events = reader.subscribe("**", replay).await.expect("the stream is there");
        while next < published {
            let delivery = events.next().await.expect("there is more").expect("it can be read");
            for event in delivery.events() {
                assert_eq!(number(event.payload), next, "lost, repeated or out of order");
                next += 1;
            }
        }
        let report = reader.streams().info("all").await.expect("a report");
        assert_eq!(report.next - 1, published, "nothing but what was published");
        reader.close().await;
    });
    block_on(client.close());
    eprintln!("{published} events over {KILLS} kills");
}
