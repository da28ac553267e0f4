//! Kafka: one broker of a pinned version that is its own controller (KRaft),
//! and a raw client of its protocol, as lean as those of the other peers:
//! batches are built before, and what arrives is counted by the batches' heads.
//!
//! Two ways to keep a topic: as it comes, where the kernel writes when it
//! likes, and with `flush.messages=1`, where each appended batch is synced
//! before it is acknowledged.

mod wire;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};

use self::wire::{Batch, Batches, CREATE_TOPICS, Connection, DELETE_TOPICS, FETCH, Request, produce};
use crate::acked::{self, Acks, Durable};
use crate::fixed::PATIENCE;
use crate::process::{self, Server};
use crate::streams::{Streams, Work};
use crate::work::{Publish, Subscribe, time_of};

/// The version that is measured, from Maven Central.
pub const VERSION: &str = "4.1.1";
/// Bytes that a reader asks for at once; Kafka's own consumer asks for 1 MiB of a partition.
const FETCH_BYTES: i32 = 4 << 20;
/// How long the broker may hold a fetch for which there is nothing yet.
const FETCH_WAIT_MS: i32 = 500;
/// Batches on their way at once; Kafka's own producer has 5 of at most 16 KiB.
const IN_FLIGHT: usize = 32;

/// The broker's archives, brought into the target folder by Maven if they are not there.
fn archives() -> Result<PathBuf> {
    let folder = process::target_folder()?.join("peers").join(format!("kafka-{VERSION}"));
    let lib = folder.join("lib");
    if lib.exists() {
        return Ok(lib);
    }
    eprintln!("installing Kafka {VERSION} from Maven Central");
    let part = folder.join("part");
    fs::create_dir_all(&part)?;
    // slf4j-simple lets the broker say on stderr why it does not start.
    let mut pom = "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\n\
        <groupId>bench</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>\n\
        <dependencies>\n"
        .to_owned();
    for (group, artifact, version) in
        [("org.apache.kafka", "kafka_2.13", VERSION), ("org.slf4j", "slf4j-simple", "1.7.36")]
    {
        writeln!(
            pom,
            "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>"
        )?;
    }
    pom.push_str("</dependencies></project>\n");
    fs::write(folder.join("pom.xml"), pom)?;
    let mut command = Command::new("mvn");
    command.args(["--batch-mode", "--quiet", "dependency:copy-dependencies", "-DincludeScope=runtime"]);
    command.arg(format!("-DoutputDirectory={}", part.display())).current_dir(&folder);
    said(&mut command)?;
    fs::rename(&part, &lib)?;
    Ok(lib)
}

/// Runs a program to its end; what it said stands in the error.
fn said(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| {
        format!(
            "cannot start {name}: Kafka needs Java 17 or later, and Maven to be installed; \
             `apt-get install default-jre-headless maven`"
        )
    })?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("{name} ended with {}: {}", output.status, String::from_utf8_lossy(&said).trim());
    }
    Ok(())
}

/// What both ways to keep a topic share.
#[derive(Debug)]
struct Broker {
    server: Server,
    address: String,
}

impl Broker {
    fn start(folder: &Path) -> Result<Self> {
        let lib = archives()?;
        let java = || {
            let mut java = Command::new("java");
            // The heap and collector of Kafka's own start script.
            java.args(["-Xms1g", "-Xmx1g", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"]);
            java.args(["-XX:InitiatingHeapOccupancyPercent=35", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]);
            java.arg("-cp").arg(lib.join("*"));
            java
        };
        let (port, controller) = (process::free_port()?, process::free_port()?);
        let config = folder.join("server.properties");
        let text = format!(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\ncontroller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
             inter.broker.listener.name=PLAINTEXT\nlog.dirs={}\noffsets.topic.replication.factor=1\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n",
            folder.join("logs").display()
        );
        fs::write(&config, text)?;
        let mut format = java();
        // Any cluster id will do: 16 bytes in base 64.
        format.args(["kafka.tools.StorageTool", "format", "--cluster-id", "d2VmdC1iZW5jaC1rYWZrYQ", "--config"]);
        said(format.arg(&config))?;
        let mut server = Server::start("kafka", java().arg("kafka.Kafka").arg(&config), folder)?;
        let address = format!("127.0.0.1:{port}");
        server.wait_ready(|| TcpStream::connect(&address).ok())?;
        Ok(Self { server, address })
    }
}

/// A running broker, of which topics are kept in one of two ways.
#[derive(Debug)]
pub struct Kafka {
    broker: Rc<Broker>,
    syncs: bool,
    /// The topic that stands for a key. Each has a name of its own, because a
    /// broker may take some time to notice that one is gone.
    topics: RefCell<BTreeMap<String, String>>,
    made: Cell<u64>,
}

impl Kafka {
    /// Starts a broker with its files under `disk`: its topics as they come, and those synced with each batch.
    pub fn start(disk: &Path) -> Result<[Self; 2]> {
        let folder = disk.join("kafka");
        fs::create_dir_all(&folder)?;
        let broker = Rc::new(Broker::start(&folder)?);
        Ok([false, true].map(|syncs| Self {
            broker: Rc::clone(&broker),
            syncs,
            topics: RefCell::default(),
            made: Cell::new(0),
        }))
    }

    fn connect(&self) -> Result<Connection> {
        Connection::open(&self.broker.address)
    }

    /// The key's topic, made with one partition if it is not there.
    fn topic(&self, key: &str) -> Result<String> {
        if let Some(topic) = self.topics.borrow().get(key) {
            return Ok(topic.clone());
        }
        self.made.set(self.made.get() + 1);
        let topic = format!("{key}-{}-{}", if self.syncs { "synced" } else { "default" }, self.made.get());
        let mut settings = vec![("retention.ms", "-1"), ("file.delete.delay.ms", "1000")];
        settings.extend(self.syncs.then_some(("flush.messages", "1")));
        let mut request = Request::new(CREATE_TOPICS).i32(1).string(&topic).i32(1).i16(1).i32(0);
        request = request.i32(settings.len() as i32);
        for (name, value) in settings {
            request = request.string(name).string(value);
        }
        let mut connection = self.connect()?;
        let mut answer = connection.ask(&request.i32(20_000).i8(0).finish())?;
        let (_throttle, _count, _name) = (answer.i32()?, answer.i32()?, answer.string()?);
        let error = answer.i16()?;
        ensure!(
            error == 0,
            "Kafka makes no topic {topic}: error {error}, {}",
            String::from_utf8_lossy(answer.string()?)
        );
        wait_for(&mut connection, &topic)?;
        self.topics.borrow_mut().insert(key.to_owned(), topic.clone());
        Ok(topic)
    }
}

/// Waits until the broker serves a topic that it said is made.
fn wait_for(connection: &mut Connection, topic: &str) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    let request = fetch(topic, 0, 0);
    loop {
        connection.socket.write_all(&request)?;
        match fetched(connection)? {
            Ok(_) => return Ok(()),
            Err(error) => ensure!(Instant::now() < end, "Kafka does not serve its topic {topic}: error {error}"),
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn fetch(topic: &str, from: i64, wait_ms: i32) -> Vec<u8> {
    let request = Request::new(FETCH).i32(-1).i32(wait_ms).i32(1).i32(FETCH_BYTES).i8(0);
    request.i32(1).string(topic).i32(1).i32(0).i64(from).i32(FETCH_BYTES).finish()
}

/// The batches of the next answer to a fetch, or the error that it names.
fn fetched(connection: &mut Connection) -> Result<Result<Batches<'_>, i16>> {
    let mut answer = connection.answer()?;
    let (_throttle, _topics, _name) = (answer.i32()?, answer.i32()?, answer.string()?);
    let (_partitions, _partition, error) = (answer.i32()?, answer.i32()?, answer.i16()?);
    let (_high_water, _stable) = (answer.i64()?, answer.i64()?);
    for _ in 0..answer.i32()?.max(0) {
        answer.raw(16)?;
    }
    let length = usize::try_from(answer.i32()?).unwrap_or(0);
    Ok(if error == 0 { Ok(Batches(answer.raw(length)?)) } else { Err(error) })
}

/// Milliseconds since 1970: records without a sensible time would be past their retention.
fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

impl Durable for Kafka {
    fn name(&self) -> &str {
        if self.syncs { "Kafka, flush.messages=1" } else { "Kafka, default" }
    }

    fn server(&self) -> &Server {
        &self.broker.server
    }

    /// The broker takes one request of a connection after the other, so that
    /// more gain nothing but a longer queue.
    fn window(&self, _payload: usize, batch: usize) -> Result<u64> {
        Ok((IN_FLIGHT * batch) as u64)
    }

    fn open(&self, key: &str, payload: usize, batch: usize) -> Result<(Box<dyn acked::Send>, Box<dyn Acks>)> {
        let topic = self.topic(key)?;
        let connection = self.connect()?;
        let payloads = vec![vec![b'x'; payload]; batch];
        let request = produce(&topic, now_ms(), &payloads);
        let events = batch as u64;
        Ok((
            Box::new(Sender { socket: connection.socket.try_clone()?, request, events }),
            Box::new(Answers { connection, events }),
        ))
    }

    fn close(&self, key: &str) -> Result<()> {
        let topic = self.topics.borrow_mut().remove(key).with_context(|| format!("no topic for {key}"))?;
        let mut connection = self.connect()?;
        let request = Request::new(DELETE_TOPICS).i32(1).string(&topic).i32(20_000).finish();
        let mut answer = connection.ask(&request)?;
        let (_throttle, _count, _name) = (answer.i32()?, answer.i32()?, answer.string()?);
        let error = answer.i16()?;
        ensure!(error == 0, "Kafka does not delete {topic}: error {error}");
        Ok(())
    }
}

impl Streams for Kafka {
    fn reader(&self, key: &str, _payload: usize) -> Result<Box<dyn Subscribe>> {
        let mut reader = Reader { connection: self.connect()?, topic: self.topic(key)?, next: 0 };
        reader.ask()?;
        Ok(Box::new(reader))
    }

    fn group(&self, _key: &str, _members: usize) -> Result<Vec<Box<dyn Work>>> {
        bail!("Kafka's groups acknowledge positions, not events: not measured")
    }

    fn live(&self, key: &str, payload: usize) -> Result<(Box<dyn Publish>, Box<dyn Subscribe>)> {
        let topic = self.topic(key)?;
        let publisher = Live { connection: self.connect()?, topic, payload, unanswered: 0 };
        Ok((Box::new(publisher), self.reader(key, payload)?))
    }
}

struct Sender {
    socket: TcpStream,
    request: Vec<u8>,
    events: u64,
}

impl acked::Send for Sender {
    fn send(&mut self) -> Result<u64> {
        self.socket.write_all(&self.request)?;
        Ok(self.events)
    }
}

struct Answers {
    connection: Connection,
    /// Events per batch, hence per answer.
    events: u64,
}

impl Acks for Answers {
    fn acked(&mut self) -> Result<u64> {
        let mut events = 0;
        while events == 0 || self.connection.is_ready()? {
            produced(&mut self.connection)?;
            events += self.events;
        }
        Ok(events)
    }
}

/// Waits for the next answer to a produce request.
fn produced(connection: &mut Connection) -> Result<()> {
    let mut answer = connection.answer()?;
    let (_topics, _name, _partitions, _partition) = (answer.i32()?, answer.string()?, answer.i32()?, answer.i32()?);
    let error = answer.i16()?;
    ensure!(error == 0, "Kafka refuses a batch: error {error}");
    Ok(())
}

/// Reads a partition by itself, without a group, as fast as the broker answers.
struct Reader {
    connection: Connection,
    topic: String,
    next: i64,
}

impl Reader {
    fn ask(&mut self) -> Result<()> {
        Ok(self.connection.socket.write_all(&fetch(&self.topic, self.next, FETCH_WAIT_MS))?)
    }

    fn read(&mut self, mut each: impl FnMut(&Batch<'_>) -> Result<()>) -> Result<()> {
        let mut batches = match fetched(&mut self.connection)? {
            Ok(batches) => batches,
            Err(error) => bail!("Kafka refuses a fetch: error {error}"),
        };
        while let Some(batch) = batches.next()? {
            each(&batch)?;
            self.next = batch.next;
        }
        self.ask()
    }
}

impl Subscribe for Reader {
    fn count(&mut self) -> Result<u64> {
        let mut events = 0;
        self.read(|batch| {
            events += batch.records;
            Ok(())
        })?;
        Ok(events)
    }

    fn times(&mut self, each: &mut dyn FnMut(u64)) -> Result<()> {
        self.read(|batch| {
            batch.each(|payload| {
                each(time_of(payload)?);
                Ok(())
            })
        })
    }
}

/// A publisher of what is due: as Kafka's own producer it has at most 5 batches
/// without an answer, so that what becomes due meanwhile goes out as one batch.
struct Live {
    connection: Connection,
    topic: String,
    payload: usize,
    unanswered: usize,
}

/// Batches that a live publisher has on their way.
const LIVE_IN_FLIGHT: usize = 5;

impl Publish for Live {
    fn batch(&mut self) -> Result<u64> {
        bail!("Kafka's live publisher writes events with times only")
    }

    fn stamped(&mut self, times: &[u64]) -> Result<()> {
        while self.unanswered > 0 && (self.unanswered >= LIVE_IN_FLIGHT || self.connection.is_ready()?) {
            produced(&mut self.connection)?;
            self.unanswered -= 1;
        }
        let payloads: Vec<Vec<u8>> = times
            .iter()
            .map(|time| {
                let mut payload = time.to_le_bytes().to_vec();
                payload.resize(self.payload, b'x');
                payload
            })
            .collect();
        self.unanswered += 1;
        Ok(self.connection.socket.write_all(&produce(&self.topic, now_ms(), &payloads))?)
    }
}
