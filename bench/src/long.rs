//! A long line: two network namespaces and an emulated line between them, and
//! what is measured over it.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use weft_chaos::{Conditions, Line, Space, missing};

use crate::nats::{self, Nats};
use crate::process::Server;
use crate::relay::Half;
use crate::work::{Peer, Publish, Subscribe};

/// Where NATS listens for its leaf node.
const LEAVES: u16 = 7_422;
/// Between two probes of whether what is published arrives.
const PROBE: Duration = Duration::from_millis(50);

/// An end of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Where publishers are.
    Near,
    /// Where subscribers are.
    Far,
}

impl Side {
    /// The first of two is near.
    #[must_use]
    pub fn of(number: usize) -> Self {
        if number <= 1 { Self::Near } else { Self::Far }
    }
}

/// Two namespaces with a line between them.
pub struct Long {
    near: Space,
    far: Space,
    line: Line,
}

impl Long {
    /// A line with this round trip and bandwidth that loses so many packets of a
    /// million, whose queue holds what a round trip carries, as routers' do.
    pub fn new(round_trip: Duration, bits_per_second: u64, loss_ppm: u32) -> Result<Self> {
        if let Some(why) = missing() {
            bail!("no line can be emulated here: {why}");
        }
        let (near, far) = (Space::make("near")?, Space::make("far")?);
        let queue = (bits_per_second as f64 / 8.0 * round_trip.as_secs_f64()) as usize;
        let (rate, queue) = (Some(bits_per_second), queue.max(64 << 10));
        let conditions = Conditions { rate, queue, loss_ppm, ..Conditions::delay(round_trip / 2) };
        let line = Line::new([&near, &far], 0, conditions, 1)?;
        Ok(Self { near, far, line })
    }

    /// The namespace of a side.
    #[must_use]
    pub fn space(&self, side: Side) -> &Space {
        if side == Side::Near { &self.near } else { &self.far }
    }

    /// The address of a side.
    #[must_use]
    pub fn address(&self, side: Side) -> Ipv4Addr {
        self.line.address(usize::from(side == Side::Far))
    }

    /// The line.
    #[must_use]
    pub fn line(&self) -> &Line {
        &self.line
    }

    /// A NATS server at each end, the near one a leaf node of the far one.
    pub fn nats(&self) -> Result<Leaf<'_>> {
        let at = SocketAddrV4::new(self.address(Side::Far), LEAVES);
        let hub = Nats::leaf(&self.far, at, true)?;
        let leaf = Nats::leaf(&self.near, at, false)?;
        Ok(Leaf { long: self, leaf, hub })
    }

    /// A bare connection over it.
    #[must_use]
    pub fn bare(&self) -> Bare<'_> {
        Bare { long: self, waiting: Mutex::new(None) }
    }
}

/// NATS over the line.
pub struct Leaf<'a> {
    long: &'a Long,
    leaf: Nats,
    hub: Nats,
}

impl Leaf<'_> {
    fn connect(&self, side: Side) -> Result<nats::Connection> {
        let server = if side == Side::Near { &self.leaf } else { &self.hub };
        let address = server.address().to_owned();
        self.long.space(side).run(move || nats::Connection::open(&address))?
    }
}

impl Peer for Leaf<'_> {
    fn name(&self) -> &str {
        self.leaf.name()
    }

    fn version(&self) -> String {
        self.leaf.version()
    }

    fn server(&self) -> Option<&Server> {
        None
    }

    fn publisher(&self, key: &str, payload: usize) -> Result<Box<dyn Publish>> {
        Ok(self.connect(Side::Near)?.publisher(key, payload))
    }

    fn subscriber(&self, key: &str, payload: usize) -> Result<Box<dyn Subscribe>> {
        let mut subscriber = self.connect(Side::Far)?.subscriber(&[key.to_owned()])?;
        settle(self.publisher(key, payload)?.as_mut(), subscriber.as_mut())?;
        Ok(subscriber)
    }

    fn cpu_seconds(&self) -> f64 {
        let of = |server: &Nats| server.process().cpu_seconds().unwrap_or(f64::NAN);
        of(&self.leaf) + of(&self.hub)
    }
}

/// One TCP connection over the line and nothing else: what the line gives.
pub struct Bare<'a> {
    long: &'a Long,
    /// The near end of the connected subscriber, for the next publisher.
    waiting: Mutex<Option<TcpStream>>,
}

impl Peer for Bare<'_> {
    fn name(&self) -> &str {
        "one TCP connection, no server"
    }

    fn version(&self) -> String {
        String::new()
    }

    fn server(&self) -> Option<&Server> {
        None
    }

    fn publisher(&self, _key: &str, payload: usize) -> Result<Box<dyn Publish>> {
        let near = self.waiting.lock().map_err(|_| anyhow!("a thread panicked"))?.take();
        Ok(Box::new(Half::publisher(near.context("the connection wants its subscriber first")?, payload)))
    }

    fn subscriber(&self, _key: &str, payload: usize) -> Result<Box<dyn Subscribe>> {
        let at = self.long.address(Side::Far);
        let listener = self.long.far.run(move || TcpListener::bind((at, 0)))??;
        let address = listener.local_addr()?;
        let near = self.long.near.run(move || TcpStream::connect(address))??;
        let (far, _) = listener.accept()?;
        for socket in [&near, &far] {
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        }
        *self.waiting.lock().map_err(|_| anyhow!("a thread panicked"))? = Some(near);
        Ok(Box::new(Half::subscriber(far, payload)))
    }
}

/// Waits until what is published arrives at the subscriber: with several
/// servers in between it takes them a while to learn who wants it. Reads all
/// that it published for that.
pub fn settle(publisher: &mut dyn Publish, subscriber: &mut dyn Subscribe) -> Result<()> {
    let arrives = AtomicBool::new(false);
    thread::scope(|scope| {
        let prober = scope.spawn(|| -> Result<u64> {
            for probe in 1.. {
                let last = arrives.load(Ordering::Acquire);
                publisher.stamped(&[probe])?;
                if last {
                    return Ok(probe);
                }
                thread::sleep(PROBE);
            }
            Ok(0)
        });
        let mut newest = 0;
        let mut read = |until: u64| -> Result<()> {
            while newest < until {
                subscriber.times(&mut |probe| newest = newest.max(probe))?;
            }
            Ok(())
        };
        let first = read(1);
        arrives.store(true, Ordering::Release);
        let last = prober.join().map_err(|_| anyhow!("the prober panicked"))??;
        first.context("nothing that was published arrived")?;
        read(last)
    })
}

/// What a run over the line gave.
#[derive(Clone, Copy, Debug)]
pub struct Steady {
    /// Payload bytes a second that arrived.
    pub bytes: f64,
    /// The servers' processor seconds per million events; NaN without servers.
    pub cpu: f64,
}

/// Publishes as fast as it goes, at most `window` payload bytes ahead of the
/// subscriber, and counts what arrives in `time`, once `warm_up` is over: a
/// connection needs many round trips until it knows what the line takes.
pub fn steady(peer: &dyn Peer, payload: usize, window: u64, warm_up: Duration, time: Duration) -> Result<Steady> {
    let mut subscriber = peer.subscriber("bench", payload)?;
    let mut publisher = peer.publisher("bench", payload)?;
    let (sent, got, total) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(u64::MAX));
    let (stop, failed) = (AtomicBool::new(false), AtomicBool::new(false));
    let window = window / payload as u64;
    thread::scope(|scope| {
        let reader = scope.spawn(|| -> Result<()> {
            let mut seen = 0;
            while seen < total.load(Ordering::Acquire) {
                seen += subscriber.count().inspect_err(|_| failed.store(true, Ordering::Release))?;
                got.store(seen, Ordering::Release);
            }
            Ok(())
        });
        let writer = scope.spawn(|| -> Result<()> {
            let mut batch = 0;
            while !stop.load(Ordering::Acquire) && !failed.load(Ordering::Acquire) {
                if sent.load(Ordering::Relaxed) - got.load(Ordering::Acquire) >= window {
                    thread::sleep(Duration::from_micros(50));
                    continue;
                }
                batch = publisher.batch()?;
                sent.fetch_add(batch, Ordering::Relaxed);
            }
            // Said before the last of it is on its way, so that nobody waits for more.
            let all = sent.load(Ordering::Relaxed) + batch;
            total.store(all, Ordering::Release);
            publisher.batch()?;
            while got.load(Ordering::Acquire) < all && !failed.load(Ordering::Acquire) {
                thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        });
        thread::sleep(warm_up);
        let (start, before, cpu) = (Instant::now(), got.load(Ordering::Acquire), peer.cpu_seconds());
        thread::sleep(time);
        let (after, took, cpu) = (got.load(Ordering::Acquire), start.elapsed(), peer.cpu_seconds() - cpu);
        stop.store(true, Ordering::Release);
        let written = writer.join().map_err(|_| anyhow!("the publisher panicked"))?;
        if written.is_err() {
            total.store(0, Ordering::Release);
        }
        let read = reader.join().map_err(|_| anyhow!("the subscriber panicked"))?;
        read.with_context(|| {
            let name = peer.name();
            format!("{name}'s subscriber, which waits in vain when a server dropped events: choose a smaller window")
        })?;
        written.with_context(|| format!("{}'s publisher", peer.name()))?;
        let events = after - before;
        ensure!(events > 0, "nothing arrived of {}", peer.name());
        Ok(Steady { bytes: (events * payload as u64) as f64 / took.as_secs_f64(), cpu: cpu * 1e6 / events as f64 })
    })
}
