//! Mosquitto: the broker of Debian's package, and a raw client of MQTT 3.1.1 at QoS 0.
//!
//! <https://docs.oasis-open.org/mqtt/mqtt/v3.1.1/os/mqtt-v3.1.1-os.html>
//!
//! The broker's bound of 1,000 queued messages per client is lifted: it would
//! drop events of a batch that was read at once.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::debian;
use crate::fixed::{Frames, Messages, Spread, connect};
use crate::process::{self, Server};
use crate::work::{Peer, Publish, Subscribe};

/// A running broker that keeps nothing on disk.
#[derive(Debug)]
pub struct Mosquitto {
    server: Server,
    address: String,
    version: String,
    _folder: TempDir,
}

impl Mosquitto {
    /// Starts a broker, installed if it is not there.
    pub fn start() -> Result<Self> {
        let program = debian::program("mosquitto", "usr/sbin/mosquitto")?;
        let version = program.said(&["-h"]).unwrap_or_default();
        let version = version.lines().next().unwrap_or("mosquitto").replace(" version", "");
        let folder = tempfile::tempdir()?;
        let port = process::free_port()?;
        let config = folder.path().join("mosquitto.conf");
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nset_tcp_nodelay true\n\
             max_queued_messages 0\nlog_type error\n"
        );
        std::fs::write(&config, text)?;
        let mut server = Server::start("mosquitto", program.command().arg("-c").arg(&config), folder.path())?;
        let address = format!("127.0.0.1:{port}");
        server.wait_ready(|| TcpStream::connect(&address).ok())?;
        Ok(Self { server, address, version, _folder: folder })
    }

    /// A socket with an MQTT session.
    fn session(&self) -> Result<TcpStream> {
        let mut socket = connect(&self.address)?;
        // A clean session without keep-alive; the broker gives the client its name.
        socket.write_all(&packet(0x10, b"\x00\x04MQTT\x04\x02\x00\x00\x00\x00"))?;
        expect(&mut socket, &[0x20, 2, 0, 0])?;
        Ok(socket)
    }
}

/// A packet's first byte and its remaining length.
fn fixed_header(kind: u8, remaining: usize) -> Vec<u8> {
    let mut bytes = vec![kind];
    let mut rest = remaining;
    loop {
        let (low, more) = ((rest & 0x7f) as u8, rest >> 7);
        bytes.push(if more > 0 { low | 0x80 } else { low });
        rest = more;
        if rest == 0 {
            return bytes;
        }
    }
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    [&fixed_header(kind, body.len())[..], body].concat()
}

/// A text with its length before it.
fn text(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes()[..], text.as_bytes()].concat()
}

/// What stands before the payload of a PUBLISH at QoS 0, the same in both directions.
fn publish_head(key: &str, payload: usize) -> Vec<u8> {
    let topic = text(key);
    [fixed_header(0x30, topic.len() + payload), topic].concat()
}

/// Reads exactly this answer.
fn expect(socket: &mut TcpStream, answer: &[u8]) -> Result<()> {
    let mut seen = vec![0; answer.len()];
    socket.read_exact(&mut seen)?;
    ensure!(seen == answer, "Mosquitto answers {seen:02x?}, not {answer:02x?}");
    Ok(())
}

impl Peer for Mosquitto {
    fn name(&self) -> &str {
        "Mosquitto"
    }

    fn version(&self) -> String {
        self.version.clone()
    }

    fn server(&self) -> Option<&Server> {
        Some(&self.server)
    }

    fn publisher(&self, key: &str, payload: usize) -> Result<Box<dyn Publish>> {
        Ok(Box::new(Frames::new(self.session()?, publish_head(key, payload), payload, b"")))
    }

    fn subscriber(&self, key: &str, payload: usize) -> Result<Box<dyn Subscribe>> {
        self.watch(&[key.to_owned()], payload)
    }

    fn watch(&self, keys: &[String], payload: usize) -> Result<Box<dyn Subscribe>> {
        let mut socket = self.session()?;
        let first = keys.first().context("no topics")?;
        for some in keys.chunks(100) {
            let mut body = vec![0, 1];
            for key in some {
                body.extend_from_slice(&text(key));
                body.push(0);
            }
            socket.write_all(&packet(0x82, &body))?;
            // Each is granted QoS 0.
            expect(&mut socket, &packet(0x90, &[&[0, 1][..], &vec![0; some.len()]].concat()))?;
        }
        let head = publish_head(first, payload);
        let before = head.len() - first.len();
        let messages = Messages::new(socket, head, payload, 0);
        Ok(Box::new(if keys.len() > 1 { messages.same_up_to(before) } else { messages }))
    }

    fn spread(&self, keys: &[String], payload: usize) -> Result<Box<dyn Publish>> {
        let heads = keys.iter().map(|key| publish_head(key, payload));
        Ok(Box::new(Spread::new(self.session()?, heads, payload, b"")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_as_the_standard_says() {
        // The borders of section 2.2.3.
        for (length, bytes) in [
            (0, &[0x30, 0x00][..]),
            (127, &[0x30, 0x7f]),
            (128, &[0x30, 0x80, 0x01]),
            (16_383, &[0x30, 0xff, 0x7f]),
            (16_384, &[0x30, 0x80, 0x80, 0x01]),
        ] {
            assert_eq!(fixed_header(0x30, length), bytes);
        }
        assert_eq!(publish_head("a/b", 16), b"\x30\x15\x00\x03a/b");
    }
}
