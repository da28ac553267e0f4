//! Hubs that DNS names: the targets of a service (SRV, RFC 2782), or every address
//! of one name. Such a name stands where an address could: `srv:NAME`, or
//! `dns:HOST:PORT`.
//!
//! What DNS says is a hint of where to dial, no more: who answers there shows a
//! certificate as ever, that names the host. For a service that is the target that
//! DNS named, so any hub of the mesh's authority; for `dns:` the name that was asked.
//!
//! DNS is asked directly, not through the system's resolver, which knows neither
//! SRV nor how long an answer holds. Each look-up is bounded in time, in what is
//! sent and in what is taken of the answer, and waits on a thread of its own
//! ([`LookUps`]), where names of a dial are looked up too.

mod ask;
mod message;
mod order;
mod system;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use weft_base::sync::Arc;
use weft_base::{Clock, Random};

use self::ask::Ask;
use self::message::{Data, Kind, Record};
use crate::address::is_name;
use crate::offhand::Offhand;

/// What is written before the name of a service.
const SERVICE: &str = "srv:";
/// What is written before a name of which every address is a hub.
const HOST: &str = "dns:";
/// The most servers that are asked.
pub const MAX_SERVERS: usize = 3;
/// The longest name, in bytes.
const LONGEST: usize = 253;

/// Who is asked, how long, and for how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsOptions {
    /// Servers, at most [`MAX_SERVERS`]. Empty: those of `/etc/resolv.conf`, with
    /// its `search` and `ndots`, read at each look-up. Names are whole otherwise.
    pub servers: Vec<SocketAddr>,
    /// How long one look-up may take, with all that is asked for it. Default 5 s.
    pub timeout: Duration,
    /// Hubs that are taken of one name; the best by priority and weight. Default 32.
    pub targets: usize,
    /// An answer holds at least so long, whatever it says. Default 5 s.
    pub least: Duration,
    /// And at most so long. A look-up that failed is made again after the least, and
    /// then ever more rarely, up to this. Default 30 s.
    pub most: Duration,
    /// For who keeps what is found: how long after it was last named a hub counts
    /// as gone. Default 60 s.
    pub gone: Duration,
}

impl Default for DnsOptions {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            timeout: Duration::from_secs(5),
            targets: 32,
            least: Duration::from_secs(5),
            most: Duration::from_secs(30),
            gone: Duration::from_secs(60),
        }
    }
}

/// A name to be looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sought {
    /// A service: `_SERVICE._tcp.DOMAIN`, or `_udp` for hubs that listen by QUIC.
    Service {
        /// The name.
        name: String,
        /// Whether its targets are dialled by QUIC.
        is_quic: bool,
    },
    /// Every address of a host is a hub.
    Host {
        /// The name.
        host: String,
        /// The port, the same at all.
        port: u16,
        /// Whether they are dialled by QUIC.
        is_quic: bool,
    },
}

impl Sought {
    /// Reads `srv:NAME`, `dns:HOST:PORT` or `dns:quic:HOST:PORT`; `None` of any
    /// other text, which is an address.
    ///
    /// # Errors
    /// What is wrong with it.
    #[must_use]
    pub fn of(text: &str) -> Option<Result<Self, String>> {
        let service = text.strip_prefix(SERVICE).map(Self::service);
        service.or_else(|| text.strip_prefix(HOST).map(Self::host))
    }

    fn service(name: &str) -> Result<Self, String> {
        let mut labels = name.split('.');
        let (service, protocol) = (labels.next().unwrap_or_default(), labels.next().unwrap_or_default());
        let is_quic = protocol.eq_ignore_ascii_case("_udp");
        let has_domain = labels.next().is_some_and(|label| !label.is_empty());
        let is_service = service.len() > 1 && service.starts_with('_') && has_domain;
        if !is_service || !is_quic && !protocol.eq_ignore_ascii_case("_tcp") || !is_whole(name) {
            let remedy = "write `srv:_SERVICE._tcp.DOMAIN`, or `_udp` for hubs that listen by QUIC";
            return Err(format!("`{}` is not the name of a service: {remedy}", name.escape_default()));
        }
        Ok(Self::Service { name: name.to_owned(), is_quic })
    }

    fn host(text: &str) -> Result<Self, String> {
        let target = crate::quic::target_of(text);
        let is_quic = target.is_some();
        let text = target.unwrap_or(text);
        let split = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
        let is_host = |host: &str| is_whole(host) && host.parse::<IpAddr>().is_err();
        match split {
            Some((host, port)) if port > 0 && is_host(host) => Ok(Self::Host { host: host.to_owned(), port, is_quic }),
            _ => {
                let remedy = "write `dns:HOST:PORT`, or `dns:quic:HOST:PORT`, with a name for HOST";
                Err(format!("`{}` is not a name of hubs: {remedy}", text.escape_default()))
            }
        }
    }

    /// The name that is asked for.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Service { name, .. } => name,
            Self::Host { host, .. } => host,
        }
    }
}

/// A name whose labels have a length that names can have; a dot at its end says
/// that nothing is put behind it.
fn is_whole(name: &str) -> bool {
    let bare = name.strip_suffix('.').unwrap_or(name);
    is_name(name) && bare.split('.').all(|label| (1..=63).contains(&label.len()))
}

/// Where a hub is, as DNS says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// `HOST:PORT`, or `quic:HOST:PORT`: what certificates are held against.
    pub address: String,
    /// The host's addresses; of a service's target none, where DNS did not give
    /// them: the host is then looked up as any other.
    pub at: Vec<IpAddr>,
    /// Lower ones are to be tried before; 0 but for services.
    pub priority: u16,
}

/// What a look-up has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// In the order in which they are to be tried; at least one.
    pub places: Vec<Place>,
    /// How many more there were, beyond [`DnsOptions::targets`].
    pub beyond: usize,
    /// How long it holds.
    pub holds: Duration,
}

/// Why a name leads nowhere.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LookUpError {
    /// DNS knows no such name.
    #[error("there is no name `{name}` in DNS: check its spelling, or add it there")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The name is there, with other kinds of records.
    #[error("`{name}` has no records of {kind} in DNS: add them, or name another")]
    Nothing {
        /// The name.
        name: String,
        /// What was asked for.
        kind: &'static str,
    },
    /// The service says that it is not offered (a target of `.`).
    #[error("the service `{name}` is decidedly not offered there, as DNS says: name another domain")]
    NotOffered {
        /// The name.
        name: String,
    },
    /// A server did not answer the question.
    #[error("the server {server} does not answer for `{name}`: {code}; ask another (`dns.servers`)")]
    Refused {
        /// The name.
        name: String,
        /// The server that was asked last.
        server: SocketAddr,
        /// What it said.
        code: String,
    },
    /// No server answered in time.
    #[error(
        "no server of DNS answers for `{name}`, in {millis} ms at most: {detail}; check `dns.servers` or /etc/resolv.conf"
    )]
    Silent {
        /// The name.
        name: String,
        /// The bound that passed.
        millis: u64,
        /// What the last try came to.
        detail: String,
    },
    /// What a server answered cannot be read.
    #[error("the answer of {server} for `{name}` cannot be read: {detail}; ask another server (`dns.servers`)")]
    Broken {
        /// The name.
        name: String,
        /// The server.
        server: SocketAddr,
        /// What is wrong with it.
        detail: String,
    },
    /// Nobody can be asked.
    #[error("there is no server of DNS to ask: {detail}; name one in `dns.servers`")]
    NoServer {
        /// What is wrong.
        detail: String,
    },
    /// The system refused a thread, or entropy.
    #[error("the system refused what a look-up needs: {0}")]
    System(#[from] io::Error),
}

impl LookUpError {
    /// A short name for the log, of letters and `_`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "unknown",
            Self::Nothing { .. } => "nothing",
            Self::NotOffered { .. } => "not_offered",
            Self::Refused { .. } => "refused",
            Self::Silent { .. } => "silent",
            Self::Broken { .. } => "broken",
            Self::NoServer { .. } => "no_server",
            Self::System(_) => "system",
        }
    }
}

/// Looks a name up, and waits for it.
///
/// # Errors
/// [`LookUpError`], after [`DnsOptions::timeout`] at the latest.
pub fn look_up(sought: &Sought, options: &DnsOptions, clock: &dyn Clock) -> Result<Found, LookUpError> {
    let mut random = Random::from_entropy().map_err(io::Error::other)?;
    let system = system::of(options)?;
    let mut ask = Ask::new(&system.servers, options.timeout, clock, &mut random);
    let mut last = None;
    for name in system.names(sought.name()) {
        let found = match sought {
            Sought::Service { is_quic, .. } => service(&name, *is_quic, options, &mut ask),
            Sought::Host { host, port, is_quic } => hosts(&name, (host, *port, *is_quic), options, &mut ask),
        };
        match found {
            // The name is tried with the next one put behind it.
            Err(error @ (LookUpError::Unknown { .. } | LookUpError::Nothing { .. })) => last = Some(error),
            other => return other,
        }
    }
    Err(last.unwrap_or_else(|| LookUpError::Unknown { name: sought.name().to_owned() }))
}

/// How long an answer holds: as long as the first of its records, within bounds.
fn holding<'a>(records: impl Iterator<Item = &'a Record>, options: &DnsOptions) -> Duration {
    let said = records.map(|record| record.ttl).min().unwrap_or(options.most);
    said.min(options.most).max(options.least)
}

fn address_of(host: &str, port: u16, is_quic: bool) -> String {
    let host = host.strip_suffix('.').unwrap_or(host);
    if is_quic { format!("quic:{host}:{port}") } else { format!("{host}:{port}") }
}

fn service(name: &str, is_quic: bool, options: &DnsOptions, ask: &mut Ask<'_>) -> Result<Found, LookUpError> {
    let answer = ask.of(name, Kind::Service)?;
    let mut holds = holding(answer.records.iter(), options);
    let mut targets = Vec::new();
    for record in &answer.records {
        let Data::Service { priority, weight, port, target } = &record.data else { continue };
        targets.push(order::Target { priority: *priority, weight: *weight, port: *port, host: target.clone() });
    }
    targets.sort_unstable();
    targets.dedup_by(|a, b| (&a.host, a.port) == (&b.host, b.port));
    if targets.is_empty() {
        return Err(LookUpError::Nothing { name: name.to_owned(), kind: Kind::Service.name() });
    }
    targets.retain(|target| target.port > 0 && is_name(&target.host));
    if targets.is_empty() {
        return Err(LookUpError::NotOffered { name: name.to_owned() });
    }
    let beyond = targets.len().saturating_sub(options.targets);
    // The same ones each time, whatever the order in which they are tried.
    order::best(&mut targets, options.targets);
    let targets = order::in_order(targets, ask.random());
    let mut places = Vec::with_capacity(targets.len());
    for order::Target { priority, port, host, .. } in targets {
        let given: Vec<&Record> = answer.extra.iter().filter(|record| record.owner == host).collect();
        let mut at: Vec<IpAddr> = given.iter().filter_map(|record| record.address()).collect();
        if at.is_empty() {
            // A target that cannot be found now is one all the same: it is looked up when it is dialled.
            let (found, ttl) = addresses(&host, options, ask).unwrap_or_default();
            at = found;
            holds = ttl.map_or(holds, |ttl| holds.min(ttl));
        } else {
            holds = holds.min(holding(given.into_iter(), options));
        }
        at.sort_unstable();
        at.dedup();
        places.push(Place { address: address_of(&host, port, is_quic), at, priority });
    }
    Ok(Found { places, beyond, holds })
}

/// All addresses of a host, and how long they hold.
fn addresses(
    name: &str,
    options: &DnsOptions,
    ask: &mut Ask<'_>,
) -> Result<(Vec<IpAddr>, Option<Duration>), LookUpError> {
    let (mut all, mut holds, mut last) = (Vec::new(), None, None);
    for kind in [Kind::V4, Kind::V6] {
        match ask.of(name, kind) {
            Ok(answer) => {
                all.extend(answer.records.iter().filter_map(Record::address));
                let ttl = holding(answer.records.iter(), options);
                holds = Some(holds.map_or(ttl, |least: Duration| least.min(ttl)));
            }
            // Then there is none of the other kind either.
            Err(error @ LookUpError::Unknown { .. }) => return Err(error),
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) if all.is_empty() => Err(error),
        _ => Ok((all, holds)),
    }
}

fn hosts(
    name: &str,
    (host, port, is_quic): (&str, u16, bool),
    options: &DnsOptions,
    ask: &mut Ask<'_>,
) -> Result<Found, LookUpError> {
    let (mut all, holds) = addresses(name, options, ask)?;
    all.sort_unstable();
    all.dedup();
    let beyond = all.len().saturating_sub(options.targets);
    // The same ones each time.
    all.truncate(options.targets);
    // Any of them, so that not all hubs begin with the same one.
    for at in (1..all.len()).rev() {
        all.swap(at, ask.random().below(at as u64 + 1) as usize);
    }
    // What certificates name is what was written, and not what was put behind it.
    let address = address_of(host, port, is_quic);
    let place = |ip: IpAddr| Place { address: address.clone(), at: vec![ip], priority: 0 };
    let places = all.into_iter().map(place).collect();
    Ok(Found { places, beyond, holds: holds.unwrap_or(options.most) })
}

/// Look-ups that nobody waits for, each with a key.
pub struct LookUps(Offhand<Sought, Found, LookUpError>);

impl LookUps {
    /// `wake` is called, on another thread, when there is something to [`take`](Self::take).
    #[must_use]
    pub fn new(options: DnsOptions, clock: Arc<dyn Clock>, wake: impl Fn() + Send + Sync + 'static) -> Self {
        let find = Arc::new(move |sought: Sought| look_up(&sought, &options, &*clock));
        Self(Offhand::new("weft-dns", find, Arc::new(wake)))
    }

    /// Looks a name up, for who has this key.
    pub fn ask(&mut self, key: u64, sought: Sought) {
        self.0.ask(key, sought);
    }

    /// What has come in.
    pub fn take(&mut self) -> Vec<(u64, Result<Found, LookUpError>)> {
        self.0.take()
    }
}
