//! Connections: taken, secured, bounded, and ended.
//!
//! A connection without a request under way ends after `http.idle`, whatever
//! trickles in over it, and so do one whose answer is not read and one whose head
//! does not end; a request has `http.patience`. So nobody holds a place for longer
//! than both together.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tokio_rustls::TlsAcceptor;
use weft_base::Clock;
use weft_hub::Counters;
use weft_hub::govern::Aside;
use weft_transport::Front;

use super::HttpOptions;
use super::answering::Answering;
use super::consume::Consume;
use super::cors::Cors;
use super::ids::Ids;
use super::inside::Inside;
use super::sources::{Place, Sources};
use super::stay::Stay;
use super::tally::Tally;
use super::who::Caller;

/// What is spoken, as TLS names it (RFC 7301), the better first.
pub(super) const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// How long a handshake of TLS, and the head of a request, may take.
pub(super) const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long requests may still take when the hub stops.
pub(super) const GRACE: Duration = Duration::from_secs(5);
/// How long a connection that is over has to say so.
const FAREWELL: Duration = Duration::from_secs(1);
/// Requests under way of one connection, by HTTP/2.
const STREAMS: u32 = 64;

/// What serves.
pub(super) struct Serving {
    pub(super) router: Router,
    pub(super) front: Option<Front>,
    pub(super) options: HttpOptions,
    pub(super) stopped: watch::Receiver<bool>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) counters: Arc<Counters>,
    pub(super) aside: Arc<Aside>,
    pub(super) inside: Arc<Inside>,
    pub(super) consume: Arc<Consume>,
    pub(super) ids: Ids,
    pub(super) cors: Cors,
    pub(super) tally: Arc<Tally>,
}

/// What connections share, of all threads.
pub(super) struct Shared {
    pub(super) serving: Serving,
    connections: Arc<Semaphore>,
    pub(super) sources: Arc<Sources>,
    pub(super) requests: Arc<Semaphore>,
    started: Instant,
}

/// A thread that serves, as it is known to who takes connections.
pub(super) struct Worker {
    open: Arc<AtomicUsize>,
    taken: UnboundedSender<Taken>,
}

/// A connection that was taken, on its way to its thread; as many as may be open.
pub(super) struct Taken {
    socket: std::net::TcpStream,
    from: SocketAddr,
    open: Open,
}

impl Worker {
    /// One without connections, and where it gets them from.
    pub(super) fn new() -> (Self, UnboundedReceiver<Taken>) {
        let (taken, receiver) = mpsc::unbounded_channel();
        (Self { open: Arc::default(), taken }, receiver)
    }
}

impl Shared {
    pub(super) fn new(serving: Serving) -> Arc<Self> {
        Arc::new(Self {
            connections: Arc::new(Semaphore::new(serving.options.connections)),
            sources: Arc::new(Sources::new(&serving.options)),
            requests: Arc::new(Semaphore::new(serving.options.requests)),
            started: Instant::now(),
            serving,
        })
    }

    /// Takes connections until it is to stop, for the workers, each for the one that
    /// has the fewest; they end with this.
    pub(super) async fn take(self: Arc<Self>, listener: std::net::TcpListener, workers: Vec<Worker>) {
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                return tracing::error!(code = "http_failed", %error, "the server for HTTP cannot listen");
            }
        };
        let mut stopped = self.serving.stopped.clone();
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = second.tick() => {
                    self.serving.aside.tend(false);
                    self.serving.inside.tend();
                    self.serving.consume.tend();
                    continue;
                }
                _ = stopped.changed() => break,
            };
            let (socket, from) = match accepted {
                Ok(accepted) => accepted,
                // Out of descriptors, most likely: others must close some first.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            // Nothing is said: saying it would take the place that there is not.
            let counters = &self.serving.counters;
            let Some(source) = self.sources.enter(from.ip()) else {
                count(&counters.http_source_full);
                continue;
            };
            let Ok(place) = self.connections.clone().try_acquire_owned() else {
                count(&counters.http_turned_away);
                continue;
            };
            let fewest = workers.iter().min_by_key(|worker| worker.open.load(Ordering::Relaxed));
            // A socket that cannot be handed over is as one that was lost.
            let (Some(worker), Ok(socket)) = (fewest, socket.into_std()) else { continue };
            let open = Open::new(counters.clone(), worker.open.clone(), place, source);
            // A thread that has gone takes nothing: the connection is closed.
            drop(worker.taken.send(Taken { socket, from, open }));
        }
        drop(listener);
        self.serving.consume.end();
    }

    /// Serves what is taken for this thread, until no more comes and what is under way
    /// has ended.
    pub(super) async fn serve(self: Arc<Self>, mut taken: UnboundedReceiver<Taken>) {
        let mut under_way = JoinSet::new();
        loop {
            let Taken { socket, from, open } = tokio::select! {
                taken = taken.recv() => match taken {
                    Some(taken) => taken,
                    None => break,
                },
                Some(_) = under_way.join_next() => continue,
            };
            let Ok(socket) = TcpStream::from_std(socket) else { continue };
            let shared = self.clone();
            under_way.spawn(async move {
                let _open = open;
                shared.connection(socket, from).await;
            });
        }
        let ends = async { while under_way.join_next().await.is_some() {} };
        if timeout(GRACE, ends).await.is_err() {
            tracing::warn!(code = "http_cut", "requests by HTTP were cut off: they took longer than the hub waits");
        }
    }
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A connection that is open, and its place, until it is dropped.
struct Open {
    counters: Arc<Counters>,
    /// How many its thread has.
    of_thread: Arc<AtomicUsize>,
    #[allow(dead_code, reason = "held")]
    place: OwnedSemaphorePermit,
    #[allow(dead_code, reason = "held")]
    source: Place,
}

impl Open {
    fn new(counters: Arc<Counters>, of_thread: Arc<AtomicUsize>, place: OwnedSemaphorePermit, source: Place) -> Self {
        count(&counters.http_connections);
        of_thread.fetch_add(1, Ordering::Relaxed);
        Self { counters, of_thread, place, source }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.of_thread.fetch_sub(1, Ordering::Relaxed);
        self.counters.http_connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a connection is doing.
pub(super) struct Life {
    busy: AtomicUsize,
    /// When the last request ended, or the connection began: milliseconds since the
    /// server started.
    since: AtomicU64,
    /// Several requests share the connection.
    pub(super) is_shared: bool,
    /// It is to end now.
    pub(super) cut: Notify,
    /// What is done with it once it is upgraded.
    after: Mutex<Option<After>>,
}

/// What goes on over a connection that was upgraded.
pub(super) type After = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Life {
    /// Each change is whole.
    fn after(&self) -> MutexGuard<'_, Option<After>> {
        self.after.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// See [`Stay::go_on`].
    pub(super) fn go_on(&self, after: After) {
        *self.after() = Some(after);
    }
}

/// A request under way, until it is dropped.
pub(super) struct Busy {
    life: Arc<Life>,
    started: Instant,
}

impl Busy {
    pub(super) fn begin(life: &Arc<Life>, started: Instant) -> Self {
        life.busy.fetch_add(1, Ordering::Relaxed);
        Self { life: life.clone(), started }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.life.since.store(millis(self.started), Ordering::Relaxed);
        self.life.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl Shared {
    async fn connection(self: Arc<Self>, socket: TcpStream, from: SocketAddr) {
        let _ = socket.set_nodelay(true);
        let Some(front) = &self.serving.front else {
            return self.talk(socket, Caller::plain(from), false).await;
        };
        let config = match front.config() {
            Ok(config) => config,
            Err(error) => {
                return tracing::error!(code = "http_identity", %error, "the certificate cannot be used for HTTP");
            }
        };
        // Who does not finish, or is refused, has heard why by an alert.
        let Ok(Ok(stream)) = timeout(HEAD_TIME, TlsAcceptor::from(config).accept(socket)).await else { return };
        let (_, session) = stream.get_ref();
        let is_two = session.alpn_protocol() == Some(PROTOCOLS[0]);
        let guest = session.peer_certificates().and_then(|chain| front.guest(chain));
        let caller = Caller::secured(from, guest);
        self.talk(stream, caller, is_two).await;
    }

    /// Requests and answers over a connection, until it is over.
    async fn talk(
        self: &Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        caller: Caller,
        is_two: bool,
    ) {
        let life = Arc::new(Life {
            busy: AtomicUsize::new(0),
            since: AtomicU64::new(millis(self.started)),
            is_shared: is_two,
            cut: Notify::new(),
            after: Mutex::default(),
        });
        let (shared, caller, known) = (self.clone(), Arc::new(caller), life.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let stay = Arc::new(Stay::new(known.clone(), shared.started));
            Answering::begin(shared.clone(), request, caller.clone(), stay)
        });
        let io = TokioIo::new(stream);
        let options = &self.serving.options;
        if is_two {
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .max_concurrent_streams(STREAMS)
                .max_header_list_size(u32::try_from(options.head.0).unwrap_or(u32::MAX))
                .max_send_buf_size(256 << 10);
            let mut connection = std::pin::pin!(builder.serve_connection(io, service));
            if !self.lasts(&life, options.idle, connection.as_mut()).await {
                connection.as_mut().graceful_shutdown();
                let _ = timeout(self.rest(&life), connection).await;
            }
        } else {
            // At most 100 headers, which is its default: to name a number costs each request
            // an array that is written before it is filled.
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(options.head.as_usize());
            let mut connection = std::pin::pin!(builder.serve_connection(io, service).with_upgrades());
            if !self.lasts(&life, options.idle, connection.as_mut()).await {
                connection.as_mut().graceful_shutdown();
                let _ = timeout(self.rest(&life), connection).await;
                return;
            }
            let after = life.after().take();
            if let Some(after) = after {
                after.await;
            }
        }
    }

    /// Whether a connection ended by itself, and not because it was idle or the hub stops.
    async fn lasts<T>(&self, life: &Life, idle: Duration, connection: impl Future<Output = T>) -> bool {
        let mut stopped = self.serving.stopped.clone();
        let mut connection = std::pin::pin!(connection);
        loop {
            let quiet = Duration::from_millis(millis(self.started).saturating_sub(life.since.load(Ordering::Relaxed)));
            let left = if life.busy.load(Ordering::Relaxed) > 0 { idle } else { idle.saturating_sub(quiet) };
            if left.is_zero() {
                return false;
            }
            tokio::select! {
                _ = connection.as_mut() => return true,
                () = tokio::time::sleep(left) => {}
                () = life.cut.notified() => return false,
                _ = stopped.changed() => return false,
            }
        }
    }

    /// How long a connection that is to end may still take.
    fn rest(&self, life: &Life) -> Duration {
        if life.busy.load(Ordering::Relaxed) > 0 { GRACE } else { FAREWELL }
    }
}
