//! Weft through its real client library, `weft-client`: what an application
//! gets, with batching, windows and credit, where the raw client shows what the
//! hub costs.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use futures_lite::future::block_on;
use weft_client::{
    AckLevel, Client, ConnectOptions, Delivery, OnFull, PublishError, Publisher, PublisherOptions, SubscribeOptions,
    Subscription,
};

use weft_load::latency::Latencies;

use crate::nats::BATCH;
use crate::process::Server;
use crate::weft::Hub;
use crate::work::{Peer, Publish, Subscribe, time_of};

/// A hub of its own that is reached through the client library.
#[derive(Debug)]
pub struct Library {
    hub: Hub,
    name: &'static str,
}

impl Library {
    /// Reaches this hub, under a name for the tables.
    #[must_use]
    pub fn new(hub: Hub, name: &'static str) -> Self {
        Self { hub, name }
    }

    fn client(&self) -> Result<Client> {
        block_on(Client::connect(ConnectOptions::new(self.hub.address()).name("bench"))).context("no hub")
    }
}

impl Peer for Library {
    fn name(&self) -> &str {
        self.name
    }

    fn version(&self) -> String {
        self.hub.version()
    }

    fn server(&self) -> Option<&Server> {
        self.hub.server()
    }

    fn publisher(&self, key: &str, payload: usize) -> Result<Box<dyn Publish>> {
        let client = self.client()?;
        let publisher = client.publisher(PublisherOptions::level(AckLevel::None));
        let events = (BATCH / (payload + 16)).max(1) as u64;
        Ok(Box::new(Sender { client, publisher, topic: key.to_owned(), payload: vec![b'x'; payload], events }))
    }

    fn subscriber(&self, key: &str, _payload: usize) -> Result<Box<dyn Subscribe>> {
        self.subscribe(key, OnFull::Disconnect)
    }

    fn sleeper(&self, key: &str, _payload: usize) -> Result<Box<dyn Subscribe>> {
        self.subscribe(key, OnFull::DropOldest)
    }

    /// The library's own requests, where others use two topics.
    fn round_trips(&self, key: &str, payload: usize, time: Duration) -> Result<Latencies> {
        let topic = format!("{key}/ask");
        let (asking, answering) = (self.client()?, self.client()?);
        let mut responder = block_on(answering.respond(&topic, SubscribeOptions::default()))?;
        // The last request's first byte ends the responder.
        let mut question = vec![0; payload.max(1)];
        thread::scope(|scope| {
            let responder = scope.spawn(move || -> Result<()> {
                while let Some(request) = block_on(responder.next()) {
                    let request = request?;
                    let question = request.payload().to_vec();
                    let is_last = question.first() == Some(&1);
                    block_on(request.finish(&question))?;
                    if is_last {
                        break;
                    }
                }
                Ok(())
            });
            let mut latencies = Latencies::new();
            let start = Instant::now();
            let mut ask = || -> Result<()> {
                while start.elapsed() < time {
                    let before = Instant::now();
                    block_on(asking.request(&topic, &question).send())?;
                    latencies.record(before.elapsed().as_nanos() as u64);
                }
                question[0] = 1;
                block_on(asking.request(&topic, &question).send())?;
                Ok(())
            };
            let asked = ask();
            if asked.is_err() {
                // Nobody will end the responder: closing its client does.
                block_on(answering.clone().close());
            }
            let answered = responder.join().map_err(|_| anyhow!("the responder panicked"))?;
            asked.context("the questions")?;
            answered.context("the responder")?;
            Ok(latencies)
        })
    }
}

impl Library {
    fn subscribe(&self, key: &str, on_full: OnFull) -> Result<Box<dyn Subscribe>> {
        let client = self.client()?;
        let options = SubscribeOptions { on_full, ..SubscribeOptions::default() };
        let subscription = block_on(client.subscribe(key, options))?;
        Ok(Box::new(Receiver { subscription }))
    }
}

struct Sender {
    client: Client,
    publisher: Publisher,
    topic: String,
    payload: Vec<u8>,
    events: u64,
}

impl Sender {
    fn send(&self) -> Result<()> {
        // Nothing is acknowledged at level `None`.
        match self.publisher.try_publish(&self.topic, &self.payload) {
            Err(PublishError::Full { .. }) => drop(block_on(self.publisher.publish(&self.topic, &self.payload))?),
            taken => drop(taken?),
        }
        Ok(())
    }
}

impl Publish for Sender {
    fn batch(&mut self) -> Result<u64> {
        for _ in 0..self.events {
            self.send()?;
        }
        Ok(self.events)
    }

    fn stamped(&mut self, times: &[u64]) -> Result<()> {
        for time in times {
            self.payload[..8].copy_from_slice(&time.to_le_bytes());
            self.send()?;
        }
        Ok(())
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        block_on(self.client.clone().close());
    }
}

struct Receiver {
    subscription: Subscription,
}

impl Receiver {
    /// Waits for a delivery, and takes those that are there.
    fn each(&mut self, mut each: impl FnMut(&Delivery) -> Result<()>) -> Result<()> {
        let mut next = block_on(self.subscription.next());
        ensure!(next.is_some(), "the client is closed");
        while let Some(delivery) = next {
            let delivery = delivery?;
            if !delivery.gap().is_none() {
                return Err(anyhow!("events are missing: {:?}", delivery.gap()));
            }
            each(&delivery)?;
            next = self.subscription.try_next();
        }
        Ok(())
    }
}

impl Subscribe for Receiver {
    fn count(&mut self) -> Result<u64> {
        let mut events = 0;
        self.each(|delivery| {
            events += u64::from(delivery.event_count());
            Ok(())
        })?;
        Ok(events)
    }

    fn times(&mut self, each: &mut dyn FnMut(u64)) -> Result<()> {
        self.each(|delivery| {
            for event in delivery.events() {
                each(time_of(event.payload)?);
            }
            Ok(())
        })
    }
}
