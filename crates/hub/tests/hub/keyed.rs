//! Keyed state that hangs, or is damaged: who publishes does not wait for it, and
//! nothing is lost with it.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use crate::common::consumers::spec;
use crate::common::{Raw, options, start, stop};
use weft_base::ByteCount;
use weft_hub::{Environment, Hub};
use weft_keyed::{Batch, Entry, Keyed, KeyedError, LsmKeyed, LsmOptions, MemoryKeyed, Space};
use weft_wire::frame::{AckLevel, Frame, StreamSpec, Verb};

/// Keyed state whose writes and syncs hang while it is told to.
#[derive(Default)]
struct Hanging {
    inner: MemoryKeyed,
    hangs: Mutex<bool>,
    goes_on: Condvar,
    somebody_waits: AtomicBool,
}

impl Hanging {
    fn hang(&self, hangs: bool) {
        *self.hangs.lock().unwrap() = hangs;
        self.goes_on.notify_all();
    }

    fn wait(&self) {
        let mut hangs = self.hangs.lock().unwrap();
        while *hangs {
            self.somebody_waits.store(true, Ordering::Release);
            hangs = self.goes_on.wait(hangs).unwrap();
        }
    }
}

impl Keyed for Hanging {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, KeyedError> {
        self.inner.get(space, key)
    }

    fn scan(&self, space: Space, from: &[u8], below: &[u8], most: usize) -> Result<Vec<Entry>, KeyedError> {
        self.inner.scan(space, from, below, most)
    }

    fn apply(&self, batch: Batch) -> Result<(), KeyedError> {
        self.wait();
        self.inner.apply(batch)
    }

    fn sync(&self) -> Result<(), KeyedError> {
        self.wait();
        self.inner.sync()
    }
}

struct Release<'a>(&'a Hanging);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.0.hang(false);
    }
}

#[test]
fn who_publishes_does_not_wait_for_keyed_state() {
    let data = tempfile::tempdir().unwrap();
    let options = options("hub", Some(data.path()));
    let keyed = Arc::new(Hanging::default());
    let environment = Environment { keyed: Some(keyed.clone()), ..Environment::of_machine(&options).unwrap() };
    let hub = Hub::start_in(options, environment).unwrap();
    let mut member = Raw::connect(&hub, 1);
    let stream = StreamSpec { name: "all", filters: vec!["t/**"], segment_bytes: 4 << 20, ..StreamSpec::default() };
    member.create_stream(stream);
    member.create_consumer(spec("c"));
    let token = member.consume(1, "c").token;

    // Should this fail, the hub can still end.
    let _release = Release(&keyed);
    let mut publisher = Raw::connect(&hub, 2);
    publisher.publish_acked(1, AckLevel::Synced, "t/a", &[b"1"]);
    assert_eq!(member.handed_all(1)[0].0, 1);
    keyed.hang(true);
    member.settle(77, 1, token, Verb::Ack, &[(1, 1)]);
    let mut request = 1;
    // Also once its write, or that of the stream's own index, hangs.
    for more in 0..20 {
        while more == 0 && !keyed.somebody_waits.load(Ordering::Acquire) {
            request += 1;
            publisher.publish_acked(request, AckLevel::Synced, "t/a", &[b"2"]);
        }
        request += 1;
        publisher.publish_acked(request, AckLevel::Synced, "t/a", &[b"3"]);
    }
    assert_eq!(member.handed_all(request as usize - 1).len() as u64, request - 1, "consumers go on as well");
    keyed.hang(false);
    member.done(77);
    stop(hub);
}

/// The tables of a tree, which hold entries from byte 0 on.
fn tables(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tables(&path));
        } else if path.parent().is_some_and(|dir| dir.ends_with("tables")) {
            found.push(path);
        }
    }
    found
}

#[test]
fn keyed_state_that_is_damaged_is_set_aside_and_made_anew_from_the_logs() {
    let data = tempfile::tempdir().unwrap();
    let hub = start(options("hub", Some(data.path())));
    let mut client = Raw::connect(&hub, 42);
    let stream = StreamSpec { name: "all", filters: vec!["t/**"], segment_bytes: 4 << 20, ..StreamSpec::default() };
    client.create_stream(stream);
    let block = client.block("t/a", &[b"once"]);
    client.publish_block(2, AckLevel::Synced, &block);
    assert!(matches!(client.receive().frame(), Frame::Ack(ack) if !ack.duplicate));
    stop(hub);
    // So much more that all of it goes into tables, whose first bytes are then wrong.
    let path = data.path().join("keyed");
    let keyed = LsmKeyed::open(&path, LsmOptions { memtable: ByteCount::kib(64), ..LsmOptions::default() }).unwrap();
    for number in 0..4_000_u64 {
        let mut batch = Batch::new();
        for space in [Space::Meta, Space::Producers] {
            batch.put(space, [[0xff; 8], number.to_be_bytes()].concat(), vec![number as u8; 100]);
        }
        keyed.apply(batch).unwrap();
    }
    drop(keyed);
    let tables = tables(&path);
    assert!(!tables.is_empty());
    for table in tables {
        let mut bytes = std::fs::read(&table).unwrap();
        bytes.iter_mut().take(1_000).for_each(|byte| *byte ^= 0x55);
        std::fs::write(&table, bytes).unwrap();
    }
    let hub = start(options("hub", Some(data.path())));
    let begun_anew = |hub: &Hub| hub.counters().keyed_anew.load(Ordering::Relaxed);
    assert_eq!(begun_anew(&hub), 1);
    let aside =
        std::fs::read_dir(data.path()).unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    assert_eq!(aside.filter(|name| name.starts_with("keyed.damaged-")).count(), 1);
    let mut client = Raw::connect(&hub, 42);
    client.publish_block(3, AckLevel::Synced, &block);
    assert!(matches!(client.receive().frame(), Frame::Ack(ack) if ack.duplicate), "the log knows it");
    stop(hub);
    let hub = start(options("hub", Some(data.path())));
    assert_eq!(begun_anew(&hub), 0, "it is whole again");
    stop(hub);
}
