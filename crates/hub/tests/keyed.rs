//! Keyed state whose disk hangs: who publishes does not wait for it.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use common::consumers::spec;
use common::{Raw, options, stop};
use weft_hub::{Environment, Hub};
use weft_keyed::{Batch, Entry, Keyed, KeyedError, MemoryKeyed, Space};
use weft_wire::frame::{AckLevel, Frame, StreamCreate, StreamSpec, Verb};

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
    member.send(&Frame::StreamCreate(StreamCreate { request: 1, spec: stream }));
    member.done(1);
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
