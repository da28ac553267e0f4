//! Redis: the server of Debian's package, and a raw client of its publish and
//! subscribe commands in RESP 2.
//!
//! The publisher turns replies off (`CLIENT REPLY OFF`), as a client that only
//! publishes may; otherwise the server would answer every event.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::debian;
use crate::fixed::{Frames, Messages, Spread, connect};
use crate::process::{self, Server};
use crate::work::{Peer, Publish, Subscribe};

/// A running server that keeps nothing on disk.
#[derive(Debug)]
pub struct Redis {
    server: Server,
    address: String,
    version: String,
    _folder: TempDir,
}

impl Redis {
    /// Starts a server, installed if it is not there.
    pub fn start() -> Result<Self> {
        let program = debian::program("redis-server", "usr/bin/redis-server")?;
        let version = version(&program);
        let folder = tempfile::tempdir()?;
        let port = process::free_port()?;
        let mut command: Command = program.command();
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"]);
        command.arg("--dir").arg(folder.path());
        let mut server = Server::start("redis-server", &mut command, folder.path())?;
        let address = format!("127.0.0.1:{port}");
        server.wait_ready(|| TcpStream::connect(&address).ok())?;
        Ok(Self { server, address, version, _folder: folder })
    }
}

impl Redis {
    /// A connection that is not answered.
    fn silent(&self) -> Result<TcpStream> {
        let mut socket = connect(&self.address)?;
        socket.write_all(&head(&["CLIENT", "REPLY", "OFF"], None))?;
        Ok(socket)
    }
}

/// What the program says of its version: `redis-server 7.0.15`.
pub(crate) fn version(program: &debian::Program) -> String {
    let said = program.said(&["--version"]).unwrap_or_default();
    format!("redis-server {}", said.split_whitespace().find_map(|w| w.strip_prefix("v=")).unwrap_or("?"))
}

/// A command with its arguments, the last one of `payload` bytes and left out.
pub(crate) fn head(words: &[&str], payload: Option<usize>) -> Vec<u8> {
    let mut text = format!("*{}\r\n", words.len() + usize::from(payload.is_some()));
    for word in words {
        text.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    if let Some(payload) = payload {
        text.push_str(&format!("${payload}\r\n"));
    }
    text.into_bytes()
}

/// Reads exactly this answer.
fn expect(socket: &mut TcpStream, answer: &[u8]) -> Result<()> {
    let mut seen = vec![0; answer.len()];
    socket.read_exact(&mut seen)?;
    ensure!(seen == answer, "Redis answers {}", String::from_utf8_lossy(&seen));
    Ok(())
}

impl Peer for Redis {
    fn name(&self) -> &str {
        "Redis"
    }

    fn version(&self) -> String {
        self.version.clone()
    }

    fn server(&self) -> Option<&Server> {
        Some(&self.server)
    }

    fn publisher(&self, key: &str, payload: usize) -> Result<Box<dyn Publish>> {
        Ok(Box::new(Frames::new(self.silent()?, head(&["PUBLISH", key], Some(payload)), payload, b"\r\n")))
    }

    fn subscriber(&self, key: &str, payload: usize) -> Result<Box<dyn Subscribe>> {
        self.watch(&[key.to_owned()], payload)
    }

    fn watch(&self, keys: &[String], payload: usize) -> Result<Box<dyn Subscribe>> {
        let mut socket = connect(&self.address)?;
        let first = keys.first().context("no topics")?;
        let mut number = 0;
        // Not all at once: neither side must wait for the other to read.
        for some in keys.chunks(500) {
            let words: Vec<&str> = ["SUBSCRIBE"].into_iter().chain(some.iter().map(String::as_str)).collect();
            socket.write_all(&head(&words, None))?;
            let mut answers = Vec::new();
            for key in some {
                number += 1;
                answers.extend_from_slice(b"*3\r\n");
                answers.extend_from_slice(&head(&["subscribe", key], None)[4..]);
                answers.extend_from_slice(format!(":{number}\r\n").as_bytes());
            }
            expect(&mut socket, &answers)?;
        }
        let same = head(&["message", first], Some(payload));
        let before = same.len() - head(&[first], Some(payload)).len();
        let messages = Messages::new(socket, same, payload, 2);
        Ok(Box::new(if keys.len() > 1 { messages.same_up_to(before) } else { messages }))
    }

    fn spread(&self, keys: &[String], payload: usize) -> Result<Box<dyn Publish>> {
        let heads = keys.iter().map(|key| head(&["PUBLISH", key], Some(payload)));
        Ok(Box::new(Spread::new(self.silent()?, heads, payload, b"\r\n")))
    }
}
