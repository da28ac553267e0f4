//! JetStream's side of durable publishing, over the raw NATS client.

use std::io::Write;
use std::net::TcpStream;

use anyhow::{Result, bail, ensure};

use crate::acked::{self, Acks, Durable};
use crate::nats::{Connection, Nats};
use crate::process::Server;
use crate::work::Peer;

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
        let body =
            format!("{{\"name\":\"{key}\",\"subjects\":[\"{key}\"],\"storage\":\"file\",\"retention\":\"limits\"}}");
        ask(&mut connection, &format!("STREAM.CREATE.{key}"), &body)?;
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
