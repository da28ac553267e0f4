//! JetStream's side of durable publishing, of reading streams again and of
//! sharing them, over the raw NATS client.

use std::io::Write;
use std::net::TcpStream;

use anyhow::{Result, bail, ensure};

use crate::acked::{self, Acks, Durable};
use crate::fixed::Frames;
use crate::nats::{Connection, Nats};
use crate::process::Server;
use crate::streams::{Streams, Work};
use crate::work::{Peer, Publish, Subscribe};

/// Where acknowledgements are sent to.
const INBOX: &str = "_R";

/// Asks JetStream's API and checks that the answer is no error.
fn ask(connection: &mut Connection, subject: &str, body: &str) -> Result<()> {
    connection
        .write(format!("SUB {INBOX} 1\r\nPUB $JS.API.{subject} {INBOX} {}\r\n{body}\r\n", body.len()).as_bytes())?;
    let answer = String::from_utf8_lossy(connection.message()?).into_owned();
    ensure!(!answer.contains("\"error\""), "JetStream says {answer}");
    Ok(())
}

fn create(connection: &mut Connection, key: &str) -> Result<()> {
    let body = format!("{{\"name\":\"{key}\",\"subjects\":[\"{key}\"],\"storage\":\"file\",\"retention\":\"limits\"}}");
    ask(connection, &format!("STREAM.CREATE.{key}"), &body)
}

/// A stream in memory of what is published to a subject, which forgets all but the newest.
pub fn in_memory(nats: &Nats, key: &str) -> Result<()> {
    let body = format!(
        "{{\"name\":\"{key}\",\"subjects\":[\"{key}\"],\"storage\":\"memory\",\"retention\":\"limits\",\
         \"max_msgs\":100000,\"discard\":\"old\"}}"
    );
    ask(&mut nats.connect()?, &format!("STREAM.CREATE.{key}"), &body)
}

/// A connection to which JetStream pushes a stream, with its flow control, as
/// its clients' ordered consumers have it.
fn ordered(nats: &Nats, key: &str, policy: &str) -> Result<Connection> {
    let mut connection = nats.connect()?;
    connection.write(b"SUB _D 2\r\n")?;
    connection.flush()?;
    let body = format!(
        "{{\"stream_name\":\"{key}\",\"config\":{{\"deliver_policy\":\"{policy}\",\"ack_policy\":\"none\",\
         \"deliver_subject\":\"_D\",\"flow_control\":true,\"idle_heartbeat\":5000000000,\"max_deliver\":1,\
         \"mem_storage\":true,\"num_replicas\":1}}}}"
    );
    // Asked on another connection, so that no message is taken for the answer.
    ask(&mut nats.connect()?, &format!("CONSUMER.CREATE.{key}"), &body)?;
    Ok(connection)
}

impl Streams for Nats {
    fn reader(&self, key: &str, _payload: usize) -> Result<Box<dyn Subscribe>> {
        Ok(Box::new(Pushed(ordered(self, key, "all")?)))
    }

    fn group(&self, key: &str, members: usize) -> Result<Vec<Box<dyn Work>>> {
        let body = format!(
            "{{\"stream_name\":\"{key}\",\"config\":{{\"durable_name\":\"group\",\"deliver_policy\":\"all\",\
             \"ack_policy\":\"explicit\",\"max_ack_pending\":65536}}}}"
        );
        ask(&mut self.connect()?, &format!("CONSUMER.DURABLE.CREATE.{key}.group"), &body)?;
        (0..members)
            .map(|number| {
                let mut connection = self.connect()?;
                connection.write(format!("SUB _P{number} 3\r\n").as_bytes())?;
                let body = format!("{{\"batch\":{PULL},\"expires\":100000000}}");
                let pull = format!("PUB $JS.API.CONSUMER.MSG.NEXT.{key}.group _P{number} {}\r\n{body}\r\n", body.len());
                Ok(Box::new(Member { connection, pull, left: 0, acks: Vec::new() }) as Box<dyn Work>)
            })
            .collect()
    }

    fn live(&self, key: &str, payload: usize) -> Result<(Box<dyn Publish>, Box<dyn Subscribe>)> {
        create(&mut self.connect()?, key)?;
        let reader = ordered(self, key, "new")?;
        let head = format!("PUB {key} {payload}\r\n").into_bytes();
        Ok((Box::new(Frames::new(self.connect()?.writer()?, head, payload, b"\r\n")), Box::new(Pushed(reader))))
    }
}

/// Messages that a member asks for at once.
const PULL: u64 = 1_000;

/// What is pushed; flow control is answered.
struct Pushed(Connection);

impl Subscribe for Pushed {
    fn count(&mut self) -> Result<u64> {
        let mut events = 0;
        self.0.messages(|_| {
            events += 1;
            Ok(())
        })?;
        Ok(events)
    }

    fn times(&mut self, each: &mut dyn FnMut(u64)) -> Result<()> {
        self.0.messages(|payload| {
            each(crate::work::time_of(payload)?);
            Ok(())
        })
    }
}

struct Member {
    connection: Connection,
    pull: String,
    /// Messages of the last pull that have not come.
    left: u64,
    acks: Vec<u8>,
}

impl Work for Member {
    fn work(&mut self) -> Result<u64> {
        // The next pull goes out before the last one is empty, as the clients do it.
        if self.left < PULL / 2 {
            self.connection.write(self.pull.as_bytes())?;
            self.left += PULL;
        }
        let (acks, mut events) = (&mut self.acks, 0);
        acks.clear();
        let ended = self.connection.deliveries(|reply, _| {
            acks.extend_from_slice(b"PUB ");
            acks.extend_from_slice(reply);
            acks.extend_from_slice(b" 4\r\n+ACK\r\n");
            events += 1;
            Ok(())
        })?;
        self.connection.write(&self.acks)?;
        self.left = if ended { 0 } else { self.left.saturating_sub(events) };
        Ok(events)
    }

    fn finish(&mut self) -> Result<()> {
        self.connection.flush()
    }
}

impl Durable for Nats {
    fn name(&self) -> &str {
        Peer::name(self)
    }

    fn server(&self) -> &Server {
        self.process()
    }

    /// With sync always it syncs once per message, however many are on their
    /// way: a longer queue only makes the run's tail longer.
    fn window(&self, _payload: usize, _batch: usize) -> Result<u64> {
        Ok(if self.syncs_always() { 1024 } else { u64::MAX })
    }

    fn open(&self, key: &str, payload: usize, batch: usize) -> Result<(Box<dyn acked::Send>, Box<dyn Acks>)> {
        let mut connection = self.connect()?;
        create(&mut connection, key)?;
        let event = [format!("PUB {key} {INBOX} {payload}\r\n").as_bytes(), &vec![b'x'; payload], b"\r\n"].concat();
        let sender = Sender { socket: connection.writer()?, batch: event.repeat(batch), events: batch as u64 };
        Ok((Box::new(sender), Box::new(Answers(connection))))
    }

    fn close(&self, key: &str) -> Result<()> {
        ask(&mut self.connect()?, &format!("STREAM.DELETE.{key}"), "")
    }
}

struct Sender {
    socket: TcpStream,
    batch: Vec<u8>,
    events: u64,
}

impl acked::Send for Sender {
    fn send(&mut self) -> Result<u64> {
        self.socket.write_all(&self.batch)?;
        Ok(self.events)
    }
}

struct Answers(Connection);

impl Acks for Answers {
    fn acked(&mut self) -> Result<u64> {
        let mut events = 0;
        self.0.messages(|payload| {
            // {"stream":"NAME", "seq":1}, or an error.
            if !payload.windows(5).any(|window| window == b"\"seq\"") {
                bail!("JetStream says {}", String::from_utf8_lossy(payload));
            }
            events += 1;
            Ok(())
        })?;
        Ok(events)
    }
}
