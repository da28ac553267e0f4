//! `weft hub`: run a hub until it is told to stop.
//!
//! The first SIGTERM or SIGINT stops it: nothing new is accepted, what is under
//! way is finished, acknowledged and synced, sessions are told and closed. With
//! `drain_on_stop`, and by SIGUSR1, clients are sent to other hubs before that;
//! SIGUSR2 takes it back. A second signal to stop ends the process at once, one
//! while clients are being sent elsewhere does without the rest of them. SIGHUP
//! reads the identity's files and the configuration again.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use tracing::Level;
use weft_base::{Clock, Random, SystemClock};
use weft_hub::options::Listen;
use weft_hub::{DrainState, DrainStatus, Environment, Hub, HubOptions};
use weft_login::Limits;
use weft_policy::{CedarJudge, Limits as PolicyLimits};
use weft_transport::{PeerKind, Security, TlsIdentity, shm};

use super::ca;
use crate::Usage;
use crate::cli::HubArgs;
use crate::config;
use crate::control;
use crate::hooks::{HookFacts, HookOptions, Hooks};
use crate::http::{self, HttpOptions, Server, Way};
use crate::issue::{Facts, IssueOptions, Issuer};
use crate::login::{KeyServer, Porter, Roots, Vouchers};
use crate::logs;
use crate::otlp::{self, Otlp, OtlpOptions};
use crate::profiler::{Sampler, Sampling, write_flame_graph};
use crate::reload::Reload;
use crate::renewal::{Asking, Renewal};

/// How often a running hub looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(100);
/// The exit code when a second signal ends the process.
const ENDED_AT_ONCE: i32 = 130;
/// The socket of the sessions by HTTP and of webhooks.
const INSIDE: &str = "http.sock";
/// Such sessions that may still be ending.
const SPARE_SESSIONS: usize = 8;
/// Webhooks that there may be more of than at the start; these take of the spare sessions.
const MORE_HOOKS: usize = 4;
/// Samples per second of a profile of a hub's whole life.
const WHOLE_LIFE_HERTZ: u32 = 99;
/// For how many days the identity of a `--dev` hub is valid.
const DEV_DAYS: u32 = 30;

pub(crate) fn run(args: &HubArgs, log: Option<Level>) -> anyhow::Result<()> {
    if let Some(command) = &args.command {
        return futures_lite::future::block_on(super::drain::run(command));
    }
    let mut reload = None;
    let (mut options, issue, http, hooks, otlp, asking, login, _folder) = match &args.config {
        Some(path) => {
            let config = config::load(path).map_err(|e| Usage(e.to_string()))?;
            logs::set_level(log.or(config.log));
            reload = Some(Reload::new(&config.hub, Some((path.clone(), &config)), log));
            let renewed = config.tls.filter(|_| !config.renew.is_empty());
            let random = Random::from_entropy()?;
            let asking = renewed.map(|files| Asking::new(files, config.renew, random));
            (config.hub, config.issue, config.http, config.hooks, config.otlp, asking, config.login, None)
        }
        None => {
            let (options, folder) = dev(args.port)?;
            let http = HttpOptions::new("127.0.0.1:0".to_owned(), true);
            (options, None, Some(http), Vec::new(), None, None, Roots::OfMachine, Some(folder))
        }
    };
    options.new_instance = args.new_instance;
    if args.check {
        let login = config::show_login(&login, &options);
        let issue = issue.as_ref().map(config::show_issue).unwrap_or_default();
        let http = http.as_ref().map(config::show_http).unwrap_or_default();
        let otlp = otlp.as_ref().map(config::show_otlp).unwrap_or_default();
        let hooks: String = hooks.iter().map(config::show_webhook).collect();
        print!("{}{login}{issue}{http}{hooks}{otlp}", config::show(&options));
        return Ok(());
    }
    if args.changes || args.drop_changes {
        return changes(&options, args.drop_changes);
    }
    let signals = Signals::take(options.drain_on_stop.is_some())?;
    let started = SystemClock::new();
    let mut renewal = match &options.link_security {
        Some(Security::Tls(identity)) => Some(Renewal::new(identity.clone(), options.timers.identity, asking)),
        _ => None,
    };
    let mut reload = reload.unwrap_or_else(|| Reload::new(&options, None, log));
    let name = options.name.clone();
    let told = issue.as_ref().map(|_| options.clone());
    let speaks = (options.mesh.clone(), options.region.clone());
    let served = (options.link_security.clone(), options.admins.clone(), options.anonymous);
    let vouchers = Arc::new(Vouchers::new(Arc::new(SystemClock::new())));
    let sessions = http.as_ref().map_or(0, |http| http.sessions) + hooks.len();
    let inside = (sessions > 0).then(|| inside(sessions, &mut options)).transpose()?;
    let mut environment = Environment::of_machine(&options)?;
    environment.profiler = Some(Arc::new(Sampler));
    environment.governance.digest = Some(Arc::new(control::Sha256));
    environment.governance.council = Some(Box::new(control::open));
    // One decides and one vets, on threads of their own; each policy is compiled once.
    let judge = CedarJudge::new(PolicyLimits::default())?;
    let vetting = control::Vetting::new(&options, environment.clock.clone(), judge.clone());
    environment.governance.vet = Some(Box::new(vetting));
    let server = KeyServer::new(&login).map_err(|e| Usage(format!("[login] ca: {e:#}")))?;
    environment.door = Some(Box::new(Porter::new(Limits::default(), server, vouchers.clone())?));
    environment.inspectors = Some(Box::new(control::Schemas::new()));
    let (enforces, has_state) = (options.control.enforce, options.data.is_some());
    if enforces {
        environment.judge = Some(Box::new(control::Enforced::new(judge)));
    }
    let whole = args.profile.as_ref().map(|_| Sampling::start(WHOLE_LIFE_HERTZ)).transpose()?;
    let hub = Hub::start_in(options, environment)?;
    let latency_ms = started.now().mono.0 / 1_000_000;
    let (mut clients, hubs) = (hub.client_addresses().to_vec(), hub.hub_addresses().to_vec());
    // Nobody else is let in there.
    clients.retain(|address| inside.as_ref().is_none_or(|(own, _)| own != address));
    tracing::info!(
        code = "hub_ready",
        hub = name,
        clients = clients.join(" "),
        hubs = hubs.join(" "),
        fips = weft_transport::is_fips(),
        latency_ms,
        "the hub is ready"
    );
    say_who_decides(enforces, has_state, &name);
    let issuer = match (&issue, told) {
        (Some(issue), Some(options)) => Some(open_issuer(issue, &options, &hub)?),
        _ => None,
    };
    let server = match (http, &inside) {
        (Some(http), Some((address, _))) => {
            let way = Way { address: address.clone(), vouchers: vouchers.clone() };
            Some(serve(http, &served, way, &hub)?)
        }
        _ => None,
    };
    let mut hooks = match &inside {
        Some((address, _)) => {
            let way = Way { address: address.clone(), vouchers };
            Some(send(&hooks, way, server.as_ref(), &hub)?)
        }
        _ => None,
    };
    let otlp = otlp.map(|otlp| export(otlp, speaks, &hub)).transpose()?;
    if let Some(path) = &args.ready_file {
        let ready = json!({
            "http": server.as_ref().map(|server| server.address().to_string()),
            "issues": issuer.as_ref().map(|issuer| issuer.address().to_string()),
            "name": name, "pid": std::process::id(), "epoch": hub.identity().epoch.0,
            "clients": clients, "hubs": hubs.first(), "all_hubs": hubs,
        });
        write_whole(path, &ready.to_string()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let mut leaves = false;
    while !signals.stop.load(Ordering::Relaxed) && !hub.has_failed() {
        std::thread::park_timeout(LOOK);
        let asked = signals.renew.swap(false, Ordering::Relaxed);
        if renewal.as_mut().is_some_and(|renewal| renewal.look(started.now(), asked, hub.counters())) {
            hub.look_again();
        }
        reload.look(&hub, hooks.as_mut(), asked);
        logs::tend(&started);
        if signals.drain.swap(false, Ordering::Relaxed) {
            hub.empty(None);
        }
        if let Some(server) = &server {
            server.leave(hub.is_leaving());
        }
        if let Some(hooks) = &mut hooks {
            hooks.tend();
            hooks.leave(hub.is_leaving());
        }
        // An administrator may have taken it back.
        leaves &= hub.is_leaving();
        if signals.leave.swap(false, Ordering::Relaxed) {
            // The second one does without those who are still here.
            if std::mem::replace(&mut leaves, true) {
                signals.stop.store(true, Ordering::Relaxed);
            }
            hub.empty(reload.drain_on_stop());
        }
        if signals.stay.swap(false, Ordering::Relaxed) {
            hub.stay();
        }
        if hub.is_emptied() {
            break;
        }
    }
    let DrainStatus { state, clients: had, moved, left, consumers, streams, .. } = hub.drain_status();
    drop(issuer);
    // Requests under way still get their answers from the hub.
    if let Some(server) = server {
        let tally = server.tally().clone();
        drop(server);
        tracing::info!(code = "http_closed", hub = name, answers = %tally, "the hub answers no more by HTTP");
    }
    // What they have sent is settled before the hub ends.
    drop(hooks);
    if hub.has_failed() {
        tracing::error!(code = "hub_failed", hub = name, "a stage of the hub failed: the hub stops");
    } else {
        tracing::info!(code = "hub_draining", hub = name, "the hub finishes; a second signal ends it at once");
        hub.drain();
        hub.wait_drained();
    }
    // What became of the last blocks is told too.
    drop(otlp);
    hub.stop()?;
    if let (Some(path), Some(sampling)) = (&args.profile, whole) {
        let profile = sampling.finish()?;
        if profile.stacks.is_empty() {
            tracing::warn!(
                code = "profile_empty",
                hub = name,
                "the hub did nothing that was seen: no profile is written"
            );
        } else {
            write_flame_graph(path, &profile)?;
            tracing::info!(code = "profile_written", hub = name, file = %path.display(), "the profile is written");
        }
    }
    if state != DrainState::Serving && (had > 0 || consumers > 0 || streams > 0) {
        tracing::info!(
            code = "hub_left",
            hub = name,
            clients = had,
            moved,
            left,
            consumers,
            streams,
            "who was sent elsewhere, and what was not copied"
        );
    }
    tracing::info!(code = "hub_stopped", hub = name, "the hub has stopped");
    Ok(())
}

/// Says whether policies decide, so that nobody takes an open hub for a closed one.
fn say_who_decides(enforces: bool, has_state: bool, hub: &str) {
    if enforces && !has_state {
        let text = "only clients named in `admins` may do anything: policies decide, and without `data` the hub has \
                    none; name a folder, or say `enforce = false` in `[control]`, which lets everybody do everything";
        tracing::warn!(code = "hub_closed", hub, "{text}");
    } else if enforces {
        let text = "policies decide what clients may do, and what none allows is refused: see `weft apply`";
        tracing::info!(code = "hub_enforces", hub, "{text}");
    } else {
        let text = "every client may do everything at this hub: for development, or where the network is guarded; \
                    `enforce = true` in `[control]` has policies decide";
        tracing::warn!(code = "hub_open", hub, "{text}");
    }
}

/// Opens the door for those who join.
fn open_issuer(issue: &IssueOptions, options: &HubOptions, hub: &Hub) -> anyhow::Result<Issuer> {
    let (Some(Security::Tls(identity)), Some(data)) = (&options.link_security, &options.data) else {
        return Err(Usage("`[issue]` needs `[tls]` and `data`".to_owned()).into());
    };
    let addresses = if options.advertise.is_empty() { hub.hub_addresses() } else { &options.advertise };
    let (weights, spreading) = (options.routing.weights, options.routing.spreading);
    let facts = Facts {
        name: options.name.clone(),
        mesh: options.mesh.clone(),
        addresses: addresses.to_vec(),
        settings: vec![
            ("limits.frame", options.limits.frame.0),
            ("routing.rtt_weight", weights.rtt.into()),
            ("routing.loss_weight", weights.loss.into()),
            ("routing.price_weight", weights.price.into()),
            ("routing.ways", spreading.ways.into()),
            ("routing.ways_within_percent", spreading.within.into()),
        ],
        data: data.clone(),
        identity: identity.clone(),
        reach: hub.reach(),
        counters: hub.counters().clone(),
    };
    let issuer = Issuer::open(issue, facts, Arc::new(SystemClock::new()))?;
    tracing::info!(code = "issuing", hub = options.name, address = %issuer.address(), "the hub issues certificates");
    Ok(issuer)
}

/// Has the hub take the sessions of who asks by HTTP, and of webhooks: where, and the folder of that
/// which lives as long as the hub, where it is not the hub's own.
fn inside(sessions: usize, options: &mut HubOptions) -> anyhow::Result<(String, Option<tempfile::TempDir>)> {
    let address = |folder: &Path| format!("{}{}", shm::PREFIX, folder.join(INSIDE).display());
    let fits = |folder: &Path| folder.join(INSIDE).as_os_str().len() <= shm::MAX_PATH;
    let (address, folder) = match options.data.as_deref().filter(|data| fits(data)) {
        Some(data) => {
            fs::create_dir_all(data).with_context(|| format!("cannot make {}", data.display()))?;
            (address(data), None)
        }
        None => {
            let folder = tempfile::Builder::new().prefix("weft-http-").tempdir();
            let folder = folder.context("cannot make a temporary folder")?;
            (address(folder.path()), Some(folder))
        }
    };
    let is_shared = options.clients.iter().any(|listen| shm::path_of(&listen.addr).is_some());
    let before = if is_shared { options.limits.shm_sessions } else { 0 };
    // One that ends has its place still while another begins.
    options.limits.shm_sessions = before + sessions + SPARE_SESSIONS;
    options.clients.push(Listen { addr: address.clone(), security: Security::Plain });
    Ok((address, folder))
}

/// Opens the server for HTTP.
fn serve(
    options: HttpOptions,
    (security, admins, anonymous): &(Option<Security>, Vec<String>, bool),
    way: Way,
    hub: &Hub,
) -> anyhow::Result<Server> {
    let identity = match security {
        Some(Security::Tls(identity)) => Some(identity.clone()),
        _ => None,
    };
    let (plain, clock, counters) = (options.plain, Arc::new(SystemClock::new()), hub.counters().clone());
    let facts =
        http::Facts { aside: hub.aside(), identity, admins: admins.clone(), anonymous: *anonymous, clock, counters };
    let server = Server::open(options, facts, way)?;
    let scheme = if plain { "http" } else { "https" };
    let url = format!("{scheme}://{}", server.address());
    let dashboard = format!("{url}/ui/");
    tracing::info!(code = "http_ready", hub = hub.identity().name, url, dashboard, "the hub answers by HTTP");
    Ok(server)
}

/// Starts to send events to where they are to be sent.
fn send(hooks: &[HookOptions], way: Way, server: Option<&Server>, hub: &Hub) -> anyhow::Result<Hooks> {
    let listens = hub.client_addresses().iter().chain(hub.hub_addresses());
    let port = |address: &String| address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    let own_ports = listens.filter_map(port).chain(server.map(|server| server.address().port())).collect();
    let (clock, counters) = (Arc::new(SystemClock::new()), hub.counters().clone());
    Hooks::start(hooks, MORE_HOOKS, HookFacts { way, clock, counters, own_ports })
}

/// Begins to send traces and logs.
fn export(options: OtlpOptions, (mesh, region): (String, String), hub: &Hub) -> anyhow::Result<Otlp> {
    let (name, endpoint) = (hub.identity().name.clone(), options.endpoint.clone());
    let facts = otlp::Facts {
        hub: name.clone(),
        mesh,
        region,
        collector: hub.traces(),
        counters: hub.counters().clone(),
        clock: Arc::new(SystemClock::new()),
        random: Random::from_entropy()?,
    };
    let otlp = Otlp::open(options, facts).context("[telemetry.otlp]")?;
    tracing::info!(code = "otlp_ready", hub = name, endpoint, "traces and logs go to a receiver of OTLP");
    Ok(otlp)
}

/// Lists what operators changed of a hub, or drops it.
fn changes(options: &HubOptions, drop: bool) -> anyhow::Result<()> {
    let Some(data) = &options.data else {
        return Err(Usage("the hub has no data folder, so nothing is kept: name one with `data`".to_owned()).into());
    };
    let failed = |reason: String| anyhow::anyhow!("cannot use {}: {reason}", data.join("changes.json").display());
    if drop {
        weft_hub::changes::drop_changes(data).map_err(failed)?;
        eprintln!("dropped: the configuration holds from the hub's next start on");
        return Ok(());
    }
    let kept = weft_hub::changes::read_changes(data).map_err(failed)?;
    if kept.is_empty() {
        eprintln!("nothing was changed: the configuration holds");
    }
    for entry in kept {
        println!("{}, by {} (trial {:x}, step {})", entry.change, entry.by, entry.trial, entry.step);
    }
    Ok(())
}

/// What signals have asked for.
struct Signals {
    /// To stop.
    stop: Arc<AtomicBool>,
    /// To send clients elsewhere and then stop, by a signal that would stop it.
    leave: Arc<AtomicBool>,
    /// The same by the signal for it.
    drain: Arc<AtomicBool>,
    /// To go on.
    stay: Arc<AtomicBool>,
    /// To read the identity's files again.
    renew: Arc<AtomicBool>,
}

impl Signals {
    /// `leaves`: the first signal to stop sends clients elsewhere, the second
    /// stops and the third ends the process; otherwise the first stops.
    fn take(leaves: bool) -> anyhow::Result<Self> {
        let flag = Arc::<AtomicBool>::default;
        let signals = Self { stop: flag(), leave: flag(), drain: flag(), stay: flag(), renew: flag() };
        let others = [(SIGHUP, &signals.renew), (SIGUSR1, &signals.drain), (SIGUSR2, &signals.stay)];
        let mut taken = Ok(());
        for (signal, flag) in others {
            taken = taken.and_then(|()| signal_hook::flag::register(signal, flag.clone()).map(drop));
        }
        let first = if leaves { &signals.leave } else { &signals.stop };
        for signal in [SIGTERM, SIGINT] {
            // In this order: the first signal finds no flag set yet.
            taken = taken
                .and_then(|()| {
                    signal_hook::flag::register_conditional_shutdown(signal, ENDED_AT_ONCE, signals.stop.clone())
                })
                .and_then(|_| signal_hook::flag::register(signal, first.clone()).map(drop));
        }
        taken.context("cannot take signals")?;
        Ok(signals)
    }
}

/// Options without a configuration, and the folder that lives as long as the hub.
fn dev(port: u16) -> anyhow::Result<(HubOptions, tempfile::TempDir)> {
    let folder = tempfile::Builder::new().prefix("weft-dev-").tempdir().context("cannot make a temporary folder")?;
    let name = format!("dev-{:04x}", Random::from_entropy()?.below(1 << 16));
    ca::init(folder.path(), "weft-dev", DEV_DAYS)?;
    ca::issue(folder.path(), folder.path(), PeerKind::Hub, &name, &["localhost", "127.0.0.1", "::1"], DEV_DAYS)?;
    let path = |file: String| folder.path().join(file);
    let identity = TlsIdentity::from_pem_files(
        &path(format!("{name}.pem")),
        &path(format!("{name}.key")),
        &path("ca.pem".to_owned()),
    )?;
    let security = Security::Tls(Arc::new(identity));
    let mut options = HubOptions::new(&name);
    options.clients = vec![Listen { addr: format!("127.0.0.1:{port}"), security: Security::Plain }];
    let socket = folder.path().join("hub.sock").display().to_string();
    if socket.len() <= shm::MAX_PATH {
        options.clients.push(Listen { addr: format!("{}{socket}", shm::PREFIX), security: Security::Plain });
    }
    options.hubs = Some(Listen { addr: "127.0.0.1:0".to_owned(), security: security.clone() });
    options.link_security = Some(security);
    options.data = Some(folder.path().join("data"));
    options.anonymous = true;
    tracing::warn!(
        code = "dev_hub",
        hub = name,
        folder = %folder.path().display(),
        "for development: loopback only, clients without TLS, and all data and the identity go when it stops"
    );
    Ok((options, folder))
}

/// Writes a file so that whoever waits for it finds all of it or nothing.
pub(super) fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    fs::write(&beside, text)?;
    fs::rename(&beside, path)
}
