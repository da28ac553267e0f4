//! Redis streams: `XADD` acknowledged one by one or many at a time, `XREAD`,
//! and a consumer group with `XREADGROUP` and `XACK`, in RESP 2.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::acked::{self, Acks, Durable};
use crate::debian;
use crate::fixed::{PATIENCE, connect};
use crate::nats::CHUNK;
use crate::process::{self, Server};
use crate::redis::{self, head};
use crate::streams::{Streams, Work};
use crate::work::{Publish, Subscribe};

/// Events asked for at once.
const COUNT: &str = "10000";

/// When the file of commands is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// Before each answer.
    Always,
    /// Every second, as it comes out of the box once it keeps such a file.
    EverySecond,
}

/// A running server that appends every command to its file.
#[derive(Debug)]
pub struct RedisStreams {
    fsync: Fsync,
    version: String,
    server: Server,
    address: String,
    _folder: TempDir,
}

impl RedisStreams {
    /// Starts a server, installed if it is not there, with its files under `disk`.
    pub fn start(disk: &Path, fsync: Fsync) -> Result<Self> {
        let program = debian::program("redis-server", "usr/bin/redis-server")?;
        let version = redis::version(&program);
        let folder = tempfile::tempdir_in(disk)?;
        let port = process::free_port()?;
        let mut command = program.command();
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "yes"]);
        let when = if fsync == Fsync::Always { "always" } else { "everysec" };
        command.args(["--appendfsync", when, "--auto-aof-rewrite-percentage", "0", "--dir"]).arg(folder.path());
        let mut server = Server::start("redis-server", &mut command, folder.path())?;
        let address = format!("127.0.0.1:{port}");
        server.wait_ready(|| TcpStream::connect(&address).ok())?;
        Ok(Self { fsync, version, server, address, _folder: folder })
    }

    /// The server and its version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    fn ask(&self, words: &[&str]) -> Result<()> {
        let mut answers = Answers::new(connect(&self.address)?);
        answers.socket.write_all(&head(words, None))?;
        answers.answer(|_| {}).with_context(|| words.join(" "))
    }
}

impl Durable for RedisStreams {
    fn name(&self) -> &str {
        match self.fsync {
            Fsync::Always => "Redis Streams, appendfsync always",
            Fsync::EverySecond => "Redis Streams, appendfsync everysec",
        }
    }

    fn server(&self) -> &Server {
        &self.server
    }

    fn window(&self, _payload: usize, _batch: usize) -> Result<u64> {
        Ok(u64::MAX)
    }

    fn open(&self, key: &str, payload: usize, batch: usize) -> Result<(Box<dyn acked::Send>, Box<dyn Acks>)> {
        let socket = connect(&self.address)?;
        let event = [&head(&["XADD", key, "*", "p"], Some(payload))[..], &vec![b'x'; payload], b"\r\n"].concat();
        let sender = Sender { socket: socket.try_clone()?, batch: event.repeat(batch), events: batch as u64 };
        Ok((Box::new(sender), Box::new(Answers::new(socket))))
    }

    /// The file of commands is written anew as well: it would keep growing
    /// with what is long deleted.
    fn close(&self, key: &str) -> Result<()> {
        self.ask(&["DEL", key])?;
        self.ask(&["BGREWRITEAOF"])?;
        let mut answers = Answers::new(connect(&self.address)?);
        let end = Instant::now() + PATIENCE;
        let mut is_done = false;
        while !is_done {
            ensure!(Instant::now() < end, "Redis does not finish its new file of commands");
            thread::sleep(Duration::from_millis(10));
            answers.socket.write_all(&head(&["INFO", "persistence"], None))?;
            answers.answer(|text| {
                let says = |line: &str| String::from_utf8_lossy(text).lines().any(|said| said == line);
                is_done = says("aof_rewrite_in_progress:0") && says("aof_rewrite_scheduled:0");
            })?;
        }
        Ok(())
    }
}

impl Streams for RedisStreams {
    fn reader(&self, key: &str, _payload: usize) -> Result<Box<dyn Subscribe>> {
        Ok(Box::new(Reader {
            answers: Answers::new(connect(&self.address)?),
            key: key.to_owned(),
            last: "0".to_owned(),
        }))
    }

    fn group(&self, key: &str, members: usize) -> Result<Vec<Box<dyn Work>>> {
        self.ask(&["XGROUP", "CREATE", key, "group", "0"])?;
        (0..members)
            .map(|number| {
                let read = ["XREADGROUP", "GROUP", "group", &format!("m{number}"), "COUNT", "500", "STREAMS", key, ">"];
                let answers = Answers::new(connect(&self.address)?);
                Ok(Box::new(Member { answers, read: head(&read, None), key: key.to_owned() }) as Box<dyn Work>)
            })
            .collect()
    }

    fn live(&self, _key: &str, _payload: usize) -> Result<(Box<dyn Publish>, Box<dyn Subscribe>)> {
        bail!("Redis pushes nothing from a stream: not measured")
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

/// What the server answers: whole answers, whose bulk strings are handed out.
struct Answers {
    socket: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Answers {
    fn new(socket: TcpStream) -> Self {
        Self { socket, buffer: vec![0; CHUNK], start: 0, end: 0 }
    }

    fn read(&mut self) -> Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start > self.buffer.len() / 2 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(2 * self.buffer.len(), 0);
        }
        let read = self.socket.read(&mut self.buffer[self.end..]).context("waited in vain for Redis")?;
        ensure!(read > 0, "Redis closed the connection");
        self.end += read;
        Ok(())
    }

    /// Reads one answer, all of it, and hands out its strings.
    fn answer(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        let mut left = 1_u64;
        while left > 0 {
            let line = self.line()?;
            left -= 1;
            let (kind, rest) = (self.buffer[line.start], line.start + 1..line.end);
            let number = || -> Result<i64> { Ok(std::str::from_utf8(&self.buffer[rest.clone()])?.parse()?) };
            match kind {
                b'*' => left += u64::try_from(number()?).unwrap_or(0),
                b'$' => {
                    let Ok(len) = usize::try_from(number()?) else { continue };
                    while self.end < self.start + len + 2 {
                        self.read()?;
                    }
                    each(&self.buffer[self.start..self.start + len]);
                    self.start += len + 2;
                }
                b'-' => bail!("Redis says {}", String::from_utf8_lossy(&self.buffer[rest])),
                _ => {}
            }
        }
        Ok(())
    }

    fn line(&mut self) -> Result<std::ops::Range<usize>> {
        loop {
            if let Some(at) = self.buffer[self.start..self.end].iter().position(|&b| b == b'\n') {
                let line = self.start..self.start + at - 1;
                self.start += at + 1;
                return Ok(line);
            }
            self.read()?;
        }
    }
}

impl Acks for Answers {
    fn acked(&mut self) -> Result<u64> {
        self.answer(|_| {})?;
        let mut events = 1;
        // All that has come by now, without waiting for more.
        while self.buffer[self.start..self.end].starts_with(b"$") && self.buffer[self.start..self.end].len() >= 64 {
            self.answer(|_| {})?;
            events += 1;
        }
        Ok(events)
    }
}

struct Reader {
    answers: Answers,
    key: String,
    last: String,
}

impl Subscribe for Reader {
    fn count(&mut self) -> Result<u64> {
        self.answers.socket.write_all(&head(&["XREAD", "COUNT", COUNT, "STREAMS", &self.key, &self.last], None))?;
        let (mut strings, mut id) = (0_u64, Vec::new());
        // The stream's name, then for each event its id, the field and the value.
        self.answers.answer(|string| {
            if strings % 3 == 1 {
                id.clear();
                id.extend_from_slice(string);
            }
            strings += 1;
        })?;
        self.last = String::from_utf8(id)?;
        Ok(strings.saturating_sub(1) / 3)
    }

    fn times(&mut self, _each: &mut dyn FnMut(u64)) -> Result<()> {
        bail!("Redis pushes nothing from a stream: not measured")
    }
}

struct Member {
    answers: Answers,
    read: Vec<u8>,
    key: String,
}

impl Work for Member {
    fn work(&mut self) -> Result<u64> {
        self.answers.socket.write_all(&self.read)?;
        let (mut strings, mut acks) = (0_u64, Vec::new());
        let key = &self.key;
        self.answers.answer(|string| {
            if strings % 3 == 1 {
                acks.extend_from_slice(&head(&["XACK", key, "group"], Some(string.len()))[..]);
                acks.extend_from_slice(string);
                acks.extend_from_slice(b"\r\n");
            }
            strings += 1;
        })?;
        let events = strings.saturating_sub(1) / 3;
        self.answers.socket.write_all(&acks)?;
        for _ in 0..events {
            self.answers.answer(|_| {})?;
        }
        Ok(events)
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}
