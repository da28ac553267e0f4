//! The server for HTTP beside the hub: one listener, some threads, and the routers
//! of the areas that they serve, merged ([`registry`], [`events`], [`consume`], [`admin`],
//! [`metrics`], [`health`]).
//!
//! Each thread is its own (`[http] threads`) and has an asynchronous runtime for itself;
//! a connection stays on the one that it was taken for. Nothing of the hub's runs there,
//! and what it asks of the hub goes through [`weft_hub::govern::Aside`] and sessions
//! ([`inside`]), so that a flood here costs events nothing but the processor's time.
//! Never waits for the hub on these threads.
//!
//! Bounded (`[http]` in `examples/hub.toml`): connections, of all and of one source,
//! where one more is closed as it comes; answers to one source that it has not shown
//! who it is ([`sources`], 429); requests under way, where one more is answered 503; the head of a
//! request (`head`, 431), its body (413, by area), the time for its
//! head ([`serve::HEAD_TIME`]), for a whole request (408, 503) and between two.
//! See docs/adr/0044.

mod admin;
mod answer;
mod answering;
mod consume;
mod cors;
mod events;
mod health;
mod ids;
mod inside;
mod mesh;
mod metrics;
mod moment;
mod openapi;
mod options;
mod page;
mod problem;
mod query;
mod registry;
mod seats;
mod serve;
mod sources;
mod stay;
mod tally;
mod told;
mod who;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::Context;
use axum::Router;
use tokio::sync::watch;
use weft_base::Clock;
use weft_hub::Counters;
use weft_hub::govern::Aside;
use weft_transport::{Front, TlsIdentity};

use self::consume::Consume;
use self::inside::Inside;
pub(crate) use self::inside::Way;
pub(crate) use self::metrics::Readers;
pub(crate) use self::options::HttpOptions;
use self::registry::desk::Desk;
use self::serve::{Serving, Shared, Worker};
pub(crate) use self::tally::Tally;

/// What the server stands on.
pub(crate) struct Facts {
    /// The way into the hub.
    pub(crate) aside: Arc<Aside>,
    /// The hub's certificate; none: there is no TLS.
    pub(crate) identity: Option<Arc<TlsIdentity>>,
    /// Names of certificates that administer the hub.
    pub(crate) admins: Vec<String>,
    /// Whether who shows nothing is let in, on loopback without TLS.
    pub(crate) anonymous: bool,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) counters: Arc<Counters>,
}

/// The server, which serves until it is dropped.
pub(crate) struct Server {
    address: SocketAddr,
    tally: Arc<Tally>,
    stop: watch::Sender<bool>,
    leaving: Arc<AtomicBool>,
    aside: Arc<Aside>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Listens, and serves from then on.
    ///
    /// # Errors
    /// The address is taken, or the certificate cannot be used.
    pub(crate) fn open(options: HttpOptions, facts: Facts, way: Way) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(&options.listen)
            .with_context(|| format!("cannot listen on http.listen, `{}`", options.listen))?;
        listener.set_nonblocking(true).context("the address of http.listen")?;
        let address = listener.local_addr().context("the address of http.listen")?;
        let front = match (&facts.identity, options.plain) {
            (_, true) => None,
            (Some(identity), false) => Some(Front::new(identity, &serve::PROTOCOLS, &facts.clock)?),
            (None, false) => anyhow::bail!("`[http]` needs `[tls]`, or `plain = true` on a loopback address"),
        };
        let who = Arc::new(who::Who::new(&facts));
        let leaving = Arc::<AtomicBool>::default();
        let inside = Arc::new(Inside::new(way, options.sessions, facts.clock.clone(), leaving.clone()));
        let (router, consume) = areas(&options, &facts, &who, &inside)?;
        let tally = Arc::<Tally>::default();
        let router = router.merge(metrics::router(&options, &facts, who.clone(), tally.clone()));
        let router = router.merge(health::router(leaving.clone()));
        let (stop, stopped) = watch::channel(false);
        let Facts { clock, counters, aside, .. } = facts;
        let ids = ids::Ids::new().context("the system gives no numbers by chance")?;
        let cors = cors::Cors::new(options.cors_origins.clone());
        let threads = options.threads;
        let mut server =
            Self { address, tally: tally.clone(), stop, leaving, aside: aside.clone(), threads: Vec::new() };
        let serving =
            Serving { router, front, options, stopped, clock, counters, aside, inside, consume, ids, cors, tally };
        server.start(&Shared::new(serving), listener, threads)?;
        Ok(server)
    }

    /// Starts its threads, of which the first takes connections for all.
    fn start(&mut self, shared: &Arc<Shared>, listener: TcpListener, threads: usize) -> anyhow::Result<()> {
        let (workers, mut queues): (Vec<_>, Vec<_>) = (0..threads).map(|_| Worker::new()).unzip();
        let queue = queues.pop().context("`http.threads` is at least 1")?;
        for queue in queues {
            self.spawn(shared.clone().serve(queue))?;
        }
        let taking = shared.clone().take(listener, workers);
        let serving = shared.clone().serve(queue);
        self.spawn(async move {
            tokio::join!(taking, serving);
        })
    }

    fn spawn(&mut self, work: impl Future<Output = ()> + Send + 'static) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .context("the system gives no runtime for HTTP")?;
        let thread = std::thread::Builder::new().name("weft-http".to_owned());
        let thread = thread.spawn(move || runtime.block_on(work)).context("the system gives no thread")?;
        self.threads.push(thread);
        Ok(())
    }

    /// Whether the hub sends its clients elsewhere: then callers have no sessions.
    pub(crate) fn leave(&self, is_leaving: bool) {
        self.leaving.store(is_leaving, Ordering::Relaxed);
    }

    /// What it has answered.
    pub(crate) fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// Where it is, as bound.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    /// Nothing new is taken; what is under way has [`serve::GRACE`] to end.
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        self.aside.tend(true);
    }
}

/// All that is served: an area adds its router here.
fn areas(
    options: &HttpOptions,
    facts: &Facts,
    who: &Arc<who::Who>,
    inside: &Arc<Inside>,
) -> anyhow::Result<(Router, Arc<Consume>)> {
    let desk = Desk::open(options.requests)?;
    let registry = registry::router(facts, who.clone(), desk.clone())?;
    let events = events::router(options, facts, who.clone(), inside.clone());
    let (consuming, consume) = consume::router(options, facts, who.clone(), inside.clone());
    let admin = admin::router(facts, who.clone(), inside.clone());
    let router = Router::new().merge(registry).merge(events).merge(consuming).merge(admin).merge(openapi::router()?);
    let mesh = mesh::router(facts, who.clone(), inside.clone(), desk, consume.seats());
    let router = router.merge(mesh).merge(page::router());
    Ok((router.fallback(answer::nothing_there), consume))
}
