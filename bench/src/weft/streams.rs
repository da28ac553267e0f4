//! A hub's streams: read again from the first event on, shared by a group, and
//! read live. A member of the group names each event that it acknowledges by
//! itself, as one that acknowledges in any order has to.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use anyhow::{Result, bail};
use weft_base::{Lane, SubscriptionId};
use weft_wire::frame::{
    Consume, ConsumerCreate, ConsumerInfo, ConsumerMode, ConsumerSpec, Frame, MAX_SETTLE_RANGES, OnFull, Replay,
    Settle, SettleRange, Start, Subscribe as SubscribeFrame, Verb, encode,
};

use super::Hub;
use super::connection::Connection;
use crate::streams::{Streams, Work};
use crate::work::{Publish, Subscribe};

impl Hub {
    /// A reader of a stream, with credit for everything.
    fn read_stream(&self, key: &str, start: Start) -> Result<Connection> {
        let mut connection = Connection::open(&self.address)?;
        connection.send(&Frame::Subscribe(SubscribeFrame {
            id: SubscriptionId(1),
            filter: key,
            stream: key,
            start,
            credit_events: u64::MAX,
            credit_bytes: u64::MAX,
            on_full: OnFull::Disconnect,
            group: "",
            spill: "",
            position: Vec::new(),
            weight: 1,
        }))?;
        connection.answer(|frame| matches!(frame, Frame::Subscribed(_)))?;
        Ok(connection)
    }
}

impl Streams for Hub {
    fn reader(&self, key: &str, _payload: usize) -> Result<Box<dyn Subscribe>> {
        Ok(Box::new(self.read_stream(key, Start::First)?))
    }

    fn group(&self, key: &str, members: usize) -> Result<Vec<Box<dyn Work>>> {
        let spec = ConsumerSpec {
            name: "group",
            filters: Vec::new(),
            predicate: "",
            start: Start::First,
            mode: ConsumerMode::Shared,
            ack_wait_ms: 30_000,
            max_deliver: 0,
            backoff_ms: Vec::new(),
            max_in_flight: 65_536,
            replay: Replay::Full,
            dead_letters: false,
            dead_stream: "",
            inactive_ms: 0,
        };
        let mut connection = Connection::open(&self.address)?;
        connection.send(&Frame::ConsumerCreate(ConsumerCreate { request: 1, stream: key, spec }))?;
        connection.answer(|frame| matches!(frame, Frame::Done(done) if done.request == 1))?;
        (0..members)
            .map(|_| {
                let mut connection = Connection::open(&self.address)?;
                connection.send(&Frame::Consume(Consume {
                    id: SubscriptionId(1),
                    stream: key,
                    consumer: "group",
                    credit_events: u64::MAX,
                    credit_bytes: u64::MAX,
                }))?;
                let mut token = 0;
                connection.answer(|frame| {
                    let Frame::Consuming(consuming) = frame else { return false };
                    token = consuming.token;
                    true
                })?;
                connection.socket.try_clone()?.set_read_timeout(Some(MOMENT))?;
                let stream = key.to_owned();
                Ok(Box::new(Member { connection, stream, token, ranges: Vec::new(), out: Vec::new() }) as Box<dyn Work>)
            })
            .collect()
    }

    fn live(&self, key: &str, payload: usize) -> Result<(Box<dyn Publish>, Box<dyn Subscribe>)> {
        self.create(key)?;
        let reader = self.read_stream(key, Start::New)?;
        Ok((self.publish(key, payload, Lane::DEFAULT)?, Box::new(reader)))
    }
}

/// How long a member waits for events before it says that there were none.
const MOMENT: Duration = Duration::from_millis(100);

struct Member {
    connection: Connection,
    stream: String,
    token: u64,
    ranges: Vec<SettleRange>,
    out: Vec<u8>,
}

impl Member {
    /// Acknowledges what was taken, each event by itself.
    fn acknowledge(&mut self) -> Result<()> {
        self.out.clear();
        for ranges in self.ranges.chunks(MAX_SETTLE_RANGES) {
            let settle = Settle {
                id: SubscriptionId(1),
                request: 0,
                token: self.token,
                verb: Verb::Ack,
                delay_ms: 0,
                reason: "",
                ranges,
            };
            encode(&Frame::Settle(settle), &mut self.out);
        }
        self.ranges.clear();
        Ok(self.connection.socket.write_all(&self.out)?)
    }
}

/// Whether reading ended because nothing came in time.
fn nothing_came(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    matches!(kind, Some(ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

impl Work for Member {
    fn work(&mut self) -> Result<u64> {
        match self.connection.read() {
            Err(error) if nothing_came(&error) => return Ok(0),
            outcome => outcome?,
        }
        let mut events = 0;
        while let Some(bytes) = self.connection.next()? {
            match Frame::decode(bytes)? {
                Frame::Handout(handout) => {
                    for run in handout.runs {
                        let first = handout.first + u64::from(run.from());
                        self.ranges.extend((0..u64::from(run.count())).map(|n| SettleRange::new(first + n, 1)));
                        events += u64::from(run.count());
                    }
                }
                other => bail!("the hub says {other:?}"),
            }
        }
        self.acknowledge()?;
        Ok(events)
    }

    fn finish(&mut self) -> Result<()> {
        self.connection.socket.try_clone()?.set_read_timeout(Some(crate::fixed::PATIENCE))?;
        // Asked in the same order as what was acknowledged before.
        self.connection.send(&Frame::ConsumerInfo(ConsumerInfo { request: 1, stream: &self.stream, name: "group" }))?;
        self.connection.answer(|frame| matches!(frame, Frame::ConsumerReports(_)))
    }
}
