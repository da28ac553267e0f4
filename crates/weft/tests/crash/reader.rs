//! A member of a durable consumer that reads and acknowledges, event by event,
//! while the hub fails: it must get everything, and may get again what it had
//! not settled, or what the machine forgot that it had.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_lite::future::block_on;
use weft_client::{Client, ConnectOptions, ConsumeOptions, Consumer, ConsumerOptions};

use crate::hub::{Hub, until};
use crate::load::{LEVELS, STREAM, payload};

/// The level whose events it reads: those that are synced.
pub(crate) const LEVEL: usize = 2;
const NAME: &str = "reader";

/// What it got.
#[derive(Clone, Debug, Default)]
struct Got {
    /// How often it got the event of each number.
    times: Vec<u32>,
    /// Why its membership ended in between.
    ended: Vec<String>,
}

/// The reader at work.
pub(crate) struct Reader {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
    got: Arc<Mutex<Got>>,
}

/// What a reader got in the end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Read {
    /// Different events.
    pub(crate) events: u64,
    /// Times that it got one that it had had.
    pub(crate) again: u64,
}

impl Reader {
    /// Makes the consumer and begins.
    pub(crate) fn start(hub: &Hub) -> Self {
        let client = block_on(Client::connect(hub.connect())).expect("the hub answers");
        let mut options = ConsumerOptions::new(NAME).filter(format!("t/{}", LEVELS[LEVEL].1));
        options.ack_wait = Some(Duration::from_secs(5));
        block_on(client.streams().consumers(STREAM).create(&options)).expect("a consumer");
        block_on(client.close());
        let (stop, got) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Got::default())));
        let (connect, ends, into) = (hub.connect(), stop.clone(), got.clone());
        let thread = std::thread::spawn(move || block_on(read(connect, &ends, &into)));
        Self { thread, stop, got }
    }

    fn got(&self) -> Got {
        self.got.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it has every event whose number is `held`, and ends.
    pub(crate) fn finish(self, held: &[bool]) -> Read {
        until("the reader has everything", || {
            let got = self.got();
            let has = |number: usize| got.times.get(number).is_some_and(|times| *times > 0);
            held.iter().enumerate().all(|(number, held)| !held || has(number))
        });
        self.stop.store(true, Ordering::Release);
        let got = self.got();
        self.thread.join().expect("the reader did not panic");
        let events = got.times.iter().filter(|times| **times > 0).count() as u64;
        let all: u64 = got.times.iter().map(|times| u64::from(*times)).sum();
        for why in got.ended {
            println!("the reader's membership ended, and it joined again: {why}");
        }
        Read { events, again: all - events }
    }
}

async fn open(client: &Client) -> Option<Consumer> {
    client.streams().consumers(STREAM).open(NAME, ConsumeOptions::default()).await.ok()
}

async fn read(connect: ConnectOptions, stop: &AtomicBool, got: &Mutex<Got>) {
    let client = Client::connect(connect).await.expect("the hub answers");
    let mut member = None;
    while !stop.load(Ordering::Acquire) {
        let Some(consumer) = &mut member else {
            member = open(&client).await;
            std::thread::park_timeout(Duration::from_millis(1));
            continue;
        };
        let message = match consumer.try_next() {
            Some(Ok(message)) => message,
            Some(Err(error)) => {
                got.lock().unwrap_or_else(PoisonError::into_inner).ended.push(error.to_string());
                member = None;
                continue;
            }
            None => {
                std::thread::park_timeout(Duration::from_millis(1));
                continue;
            }
        };
        let number = message.payload().first_chunk().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes));
        assert_eq!(message.payload(), payload(LEVEL, number), "an event that nobody published so");
        {
            let mut got = got.lock().unwrap_or_else(PoisonError::into_inner);
            let number = number as usize;
            let len = got.times.len().max(number + 1);
            got.times.resize(len, 0);
            got.times[number] += 1;
        }
        // One that is stale comes again.
        let _ = message.ack();
    }
    drop(member);
    client.close().await;
}
