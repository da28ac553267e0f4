//! How a hub starts: what is on its disk is read, its listeners are opened, and its
//! stages are made, joined by rings and given to threads. Whatever fails, nothing is
//! left running.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use arc_swap::ArcSwap;
use weft_base::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use weft_base::{ByteCount, Epoch, HubId, Random};
use weft_mesh::Life;
use weft_observe::Table;
use weft_observe::table::Backing;
use weft_ring::arena::{Arena, ArenaOptions};
use weft_ring::mpsc;
use weft_ring::stage::{Placement, Runner, Stage, StageWaker};
use weft_transport::Accept;

use super::{Hub, Reach, StartError};
use crate::Identity;
use crate::admit::{Admission, AdmitStage, NAMES, Shard};
use crate::append::{
    AppendParts, AppendStage, Birth, Folder, FoundSpools, SyncStage, ToVerify, VerifyParts, VerifyStage, load_spools,
};
use crate::audit::Trail;
use crate::changes::ChangesFile;
use crate::conductor::{Conductor, ConductorParts, PeersFile, mesh_of};
use crate::consume::{ConsumeParts, ConsumeStage};
use crate::control::{ControlParts, ControlStage, Reins, SHARED};
use crate::counters::{Counters, add};
use crate::environment::Environment;
use crate::govern::{Aside, AsideTrail, JudgeStage, LoginStage, Quotas, Wires};
use crate::inbox::{self, RouteOutbox};
use crate::inspect::Inspectorate;
use crate::keyed::KeyedStage;
use crate::lifecycle::Lifecycle;
use crate::load::Load;
use crate::mapping::Mapped;
use crate::meters::{Meter, StageMeter};
use crate::net::{NetParts, NetStage, Outlets};
use crate::options::{HubOptions, MAX_ADMIT_THREADS, Threads};
use crate::outbox::Outbox;
use crate::profile::Profiling;
use crate::replicate::{ReplicateParts, ReplicateStage};
use crate::route::bound::Rules;
use crate::route::peers::PeerOutlets;
use crate::route::table::{RouteTable, Young};
use crate::route::{RouteParts, RouteStage};
use crate::see::alarm::Alarm;
use crate::spool::SpoolStart;

/// What a connection starts to read into; larger frames get a larger buffer.
const SMALL_BUFFER: usize = 64 << 10;

/// What of the arena is faulted in at the start; it grows with use.
const INITIAL_ARENA: ByteCount = ByteCount::mib(4);
/// What control frames are read into when the arena is used up.
const RESERVE: ByteCount = ByteCount::mib(4);

impl Hub {
    /// Starts a hub in an environment of the caller's.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub fn start_in(options: HubOptions, environment: Environment) -> Result<Self, StartError> {
        let violations = crate::options::violations_with(&options, environment.judge.is_some());
        if !violations.is_empty() {
            return Err(StartError::Options(violations));
        }
        let Environment {
            clock,
            mut network,
            fs,
            keyed,
            profiler,
            judge,
            door,
            inspectors,
            governed,
            governance,
            stat,
        } = environment;
        let options = Arc::new(options);
        let now = clock.now();
        let mut random = Random::from_entropy().map_err(|e| StartError::System(e.to_string()))?;
        let append_waker = StageWaker::parking();
        // Never 0, which stands for none.
        let born = Life { instance: random.next_u64() | 1, starts: 1, nonce: random.next_u64() };
        let peers = options.data.as_ref().map(|path| PeersFile::new(fs.clone(), path));
        let changes = options.data.as_ref().map(|path| ChangesFile::new(fs.clone(), path));
        let (mut folder, epoch, life) = match &options.data {
            Some(path) => {
                let keyed = (keyed, append_waker.clone());
                let birth = Birth { now, life: born, new_instance: options.new_instance };
                let (folder, epoch, life) =
                    Folder::open(fs.clone(), &PathBuf::from(path), &options.name, keyed, birth)?;
                let folder = folder.with_keys(options.storage.keys.clone());
                (Some(folder), epoch, life)
            }
            None => (
                None,
                Epoch(u32::try_from(now.wall.0 / 1_000_000_000).unwrap_or(u32::MAX)),
                Life { instance: 0, starts: 0, ..born },
            ),
        };
        let mut streams = match &mut folder {
            Some(folder) => folder.load(&options.limits, now)?,
            None => Vec::new(),
        };
        let (spool, spools) = match &folder {
            Some(folder) => load_spools(folder, &options.limits, now)?,
            None => (SpoolStart::default(), FoundSpools::default()),
        };
        let identity = Arc::new(Identity {
            life,
            id: HubId::of_name(&options.name),
            epoch,
            name: options.name.clone(),
            region: options.region.clone(),
            labels: options.labels.clone(),
        });
        let trail = Trail::open(governance.digest.clone(), &options, judge.is_some(), &mut streams);
        let wires = Wires::open(governance, &options, &identity, now.mono, &mut random)?;

        let mut listeners = Vec::new();
        let mut clients = Vec::new();
        // Who is named otherwise than by weft is somebody where an identity says so.
        let accept = if door.is_some() { Accept::AnyClients } else { Accept::Clients };
        for listen in &options.clients {
            let (token, addr) = network.listen(&listen.addr, &listen.security, accept)?;
            listeners.push((token, false));
            clients.push(addr);
        }
        let mut hubs = Vec::new();
        if let Some(listen) = &options.hubs {
            for addr in std::iter::once(&listen.addr).chain(&options.hubs_also) {
                let (token, addr) = network.listen(addr, &listen.security, Accept::Hubs)?;
                listeners.push((token, true));
                hubs.push(addr);
            }
        }

        let arena = Arena::new(ArenaOptions {
            small: SMALL_BUFFER,
            large: options.limits.frame.as_usize() + SMALL_BUFFER,
            budget: options.limits.arena,
            initial: INITIAL_ARENA.min(ByteCount(options.limits.arena.0 / 4)),
            ..ArenaOptions::default()
        })?;
        let reserve = Arena::new(ArenaOptions {
            small: SMALL_BUFFER,
            large: SMALL_BUFFER,
            budget: RESERVE,
            initial: ByteCount(SMALL_BUFFER as u64),
            ..ArenaOptions::default()
        })?;
        let table = Table::create(&stat);
        say_where(table.backing(), &options.name);
        let counters = Arc::new(Counters::new(&options.see, &mut random, Arc::new(table)));
        add(&counters.keyed_anew, folder.as_ref().map_or(0, Folder::begun_anew));
        let lifecycle = Arc::new(Lifecycle::default());
        let net_waker = {
            let waker = network.waker();
            StageWaker::new(move || waker.wake())
        };
        let route_waker = StageWaker::parking();
        let conductor_waker = StageWaker::parking();
        let replicate_waker = StageWaker::parking();
        let sync_waker = StageWaker::parking();
        let consume_waker = StageWaker::parking();
        let slots = options.limits.ring_slots;
        let (to_net, net_inbox) = mpsc::ring(slots);
        let (to_route, route_inbox) = inbox::rings(slots);
        let (to_append, append_inbox) = mpsc::ring(slots);
        let (to_replicate, replicate_inbox) = mpsc::ring(slots);
        let (to_replica_peers, replica_peers) = mpsc::ring(slots);
        let (to_consumer_peers, consumer_peers) = mpsc::ring(slots);
        let (to_conductor, conductor_inbox) = mpsc::ring(slots);
        let (to_sync, sync_inbox) = mpsc::ring(slots);
        let (to_consume, consume_inbox) = mpsc::ring(slots);

        let remembered = peers.as_ref().map_or_else(Vec::new, PeersFile::read);
        let has_met = peers.is_none() || !remembered.is_empty();
        let mesh = mesh_of(&identity, &options, &hubs, remembered, random.next_u64());
        let own = options.addresses(&hubs);
        let mapping = Arc::new(Mapped::new(options.mapping.clone(), &Mapped::default(), counters.table()));
        counters.show_mapping(&mapping);
        let table = RouteTable {
            mapping,
            metrics: options.see.metrics.as_slice().into(),
            rules: Arc::new(Rules::new(&options)),
            young: Young::new(&options, has_met, now.mono),
            ..RouteTable::empty(mesh.routes())
        };
        let snapshot = Arc::new(ArcSwap::from_pointee(table));

        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let most = options.admit_threads.map_or(cores.saturating_sub(2).min(MAX_ADMIT_THREADS), |n| n as usize);
        let admit_shards = Arc::new(AtomicU32::new(1 + options.admit_threads.unwrap_or(0)));
        let mut shards = Vec::new();
        let load = Load::new();
        let mut admits = Vec::new();
        for name in NAMES.into_iter().take(most) {
            let waker = StageWaker::parking();
            let (to_admit, inbox) = mpsc::ring(slots);
            let done = Arc::new(AtomicU64::new(0));
            shards.push(Shard { out: Outbox::new(&to_admit, &waker), sent: 0, done: done.clone() });
            admits.push(AdmitStage {
                name,
                inbox,
                route: RouteOutbox::new(&to_route, &route_waker),
                net: Outbox::new(&to_net, &net_waker),
                waker,
                taken: 0,
                done,
                load: load.clone(),
            });
        }
        let login = door.map(|door| LoginStage::open(door, governed.clone(), Outbox::new(&to_net, &net_waker)));
        let (login, to_login) = login.unzip();
        let (to_login, login_aside) = to_login.map(|[net, aside]| (net, aside)).unzip();
        let arenas = std::array::from_fn(|_| arena.clone());
        let [route_arena, consume_arena, append_arena, audit_arena, inspect_arena] = arenas;
        let quotas: Arc<ArcSwap<Quotas>> = Arc::default();
        let judge = judge.map(|judge| {
            let (net, shared) = (Outbox::new(&to_net, &net_waker), (governed.clone(), quotas.clone()));
            JudgeStage::open(judge, shared, &identity, net, (counters.clone(), slots))
        });
        let (judge, to_judge) = judge.unzip();
        let enforced = judge.is_some();
        let (to_judge, judge_aside) = to_judge.unzip();
        let audit = trail.as_ref().map(|trail| Arc::new(weft_base::sync::Mutex::new(trail.auditor(&counters))));
        let ways = (judge_aside, login_aside, wires.as_ref().map(Wires::requests));
        let aside = Arc::new(Aside::new(ways, governed.clone(), AsideTrail { audit, clock: clock.clone() }));
        let inspectorate = inspectors.map(|inspectors| Inspectorate::new(inspectors, slots));
        let net = NetStage::new(NetParts {
            network,
            listeners,
            arena,
            reserve,
            options: options.clone(),
            identity: identity.clone(),
            counters: counters.clone(),
            lifecycle: lifecycle.clone(),
            inbox: net_inbox,
            waker: net_waker.clone(),
            profiling: Profiling { profiler, net: to_net.clone(), waker: net_waker.clone() },
            gate_waker: route_waker.clone(),
            snapshot: snapshot.clone(),
            load: load.clone(),
            out: Outlets {
                admit: Admission::new(shards, admit_shards.clone()),
                route: RouteOutbox::new(&to_route, &route_waker),
                append: Outbox::new(&to_append, &append_waker),
                conductor: Outbox::new(&to_conductor, &conductor_waker),
                consume: Outbox::new(&to_consume, &consume_waker),
                replicate: replicate_waker.clone(),
                judge: to_judge,
                inspect: inspectorate.as_ref().map(Inspectorate::outbox),
                govern: wires.as_ref().map(Wires::requests),
                audit: trail.as_ref().map(|trail| trail.auditor(&counters)),
                login: to_login,
            },
            seed: random.next_u64(),
            inspection: inspectorate.as_ref().map(Inspectorate::shared),
            quotas: quotas.clone(),
        });
        let route = RouteStage::new(RouteParts {
            inbox: route_inbox,
            net: Outbox::new(&to_net, &net_waker),
            append: Outbox::new(&to_append, &append_waker),
            snapshot: snapshot.clone(),
            identity: identity.clone(),
            counters: counters.clone(),
            options: options.clone(),
            peers: PeerOutlets {
                replica: Some(Outbox::new(&to_replica_peers, &replicate_waker)),
                consumers: Some(Outbox::new(&to_consumer_peers, &consume_waker)),
                control: wires.as_ref().map(Wires::peers),
            },
            arena: route_arena,
            waker: route_waker.clone(),
            load,
            spool,
        });
        let grown = Arc::new(AtomicBool::new(false));
        let keyed = folder.as_ref().map(|folder| folder.keyed().of(consume_waker.clone()));
        let keyed_stage =
            keyed.as_ref().map(|keyed| KeyedStage::new(keyed, options.timers.keyed_syncs, counters.clone()));
        let consume = ConsumeStage::new(ConsumeParts {
            inbox: consume_inbox,
            net: Outbox::new(&to_net, &net_waker),
            append: Outbox::new(&to_append, &append_waker),
            keyed,
            fs,
            arena: consume_arena,
            identity: identity.clone(),
            options: options.clone(),
            counters: counters.clone(),
            waker: consume_waker.clone(),
            grown: grown.clone(),
            lifecycle: lifecycle.clone(),
            peers: consumer_peers,
            route: RouteOutbox::new(&to_route, &route_waker),
            snapshot: snapshot.clone(),
        });
        let verify = (folder.is_some() && options.storage.verify.0 > 0).then(|| Arc::new(ToVerify::default()));
        let repairs = folder.is_some() && options.storage.repair.0 > 0;
        let verify_parts = (verify.is_some() || repairs).then(|| VerifyParts {
            arrivals: verify.clone().unwrap_or_default(),
            mend: Arc::default(),
            replicate: Outbox::new(&to_replicate, &replicate_waker),
            waker: StageWaker::parking(),
        });
        let append = AppendStage::new(AppendParts {
            inbox: append_inbox,
            net: Outbox::new(&to_net, &net_waker),
            conductor: Outbox::new(&to_conductor, &conductor_waker),
            consume: Outbox::new(&to_consume, &consume_waker),
            audit: trail.as_ref().map(Trail::outbox),
            grown,
            sync: Outbox::new(&to_sync, &sync_waker),
            verify,
            replicate: Outbox::new(&to_replicate, &replicate_waker),
            epoch: identity.epoch,
            folder,
            arena: append_arena,
            streams,
            spools,
            options: options.clone(),
            counters: counters.clone(),
            quotas,
            inspect: inspectorate.as_ref().map(Inspectorate::outbox),
            waker: append_waker.clone(),
        });
        let replicate = ReplicateStage::new(ReplicateParts {
            inbox: replicate_inbox,
            peers: replica_peers,
            route: RouteOutbox::new(&to_route, &route_waker),
            append: Outbox::new(&to_append, &append_waker),
            snapshot: snapshot.clone(),
            identity: identity.clone(),
            options: options.clone(),
            counters: counters.clone(),
            lifecycle: lifecycle.clone(),
            waker: replicate_waker,
            mend: verify_parts.as_ref().filter(|_| repairs).map(|parts| (parts.mend.clone(), parts.waker.clone())),
            random: Random::from_seed(random.next_u64()),
        });
        let conductor = Conductor::new(ConductorParts {
            inbox: conductor_inbox,
            net: Outbox::new(&to_net, &net_waker),
            route: RouteOutbox::new(&to_route, &route_waker),
            mesh,
            peers,
            changes,
            snapshot: snapshot.clone(),
            options: options.clone(),
            identity: identity.clone(),
            counters: counters.clone(),
            waker: conductor_waker.clone(),
            random,
            gate_waker: route_waker.clone(),
            clock: clock.clone(),
            own,
        });
        let syncs = (counters.measured(&options.see, |table| Meter::new(table, "log.sync")), clock.clone());
        let sync = SyncStage::new(sync_inbox, counters.clone(), sync_waker, append_waker.clone(), syncs);
        let reins = Arc::new(OnceLock::new());
        let control = ControlStage::new(ControlParts {
            reins: reins.clone(),
            threads: options.threads,
            bounds: options.stages.clone(),
            cores: u32::try_from(cores).unwrap_or(u32::MAX),
            shards: 1 + admits.len() as u32,
            shards_fixed: options.admit_threads.is_some(),
            admission: admit_shards,
            counters: counters.clone(),
            alarm: Alarm::new(&options.see),
            now: now.mono,
        });
        let placement = match options.threads {
            Threads::Auto | Threads::Shared => Placement::Shared(SHARED),
            Threads::Dedicated => Placement::Own { core: None },
        };
        let stages: [Box<dyn Stage>; 7] = [
            Box::new(net),
            Box::new(route),
            Box::new(append),
            Box::new(consume),
            Box::new(conductor),
            Box::new(replicate),
            Box::new(control),
        ];
        let mut runner = Runner::builder(clock);
        if options.see.histograms {
            let table = counters.table().clone();
            runner = runner.metered(move |stage| Box::new(StageMeter::new(&table, stage)));
        }
        for stage in stages {
            runner = runner.stage(stage, placement.clone());
        }
        if let Some(parts) = verify_parts {
            let verify = VerifyStage::new(parts, &options.storage, counters.clone());
            runner = runner.stage(Box::new(verify), Placement::Own { core: None });
        }
        if let Some(keyed) = keyed_stage {
            runner = runner.stage(Box::new(keyed), Placement::Own { core: None });
        }
        if let Some(judge) = judge {
            runner = runner.stage(Box::new(judge), Placement::Own { core: None });
        }
        if let Some(login) = login {
            runner = runner.stage(Box::new(login), Placement::Own { core: None });
        }
        let inspection = inspectorate.map(|inspectorate| {
            inspectorate.stages(
                (Outbox::new(&to_net, &net_waker), net_waker.clone()),
                Outbox::new(&to_append, &append_waker),
                governed.clone(),
                (identity.clone(), counters.clone()),
                (inspect_arena, snapshot.clone(), options.limits.frame.as_usize()),
            )
        });
        for stage in inspection.into_iter().flatten() {
            runner = runner.stage(stage, Placement::Own { core: None });
        }
        if let Some(wires) = wires {
            let (net, route) = (Outbox::new(&to_net, &net_waker), RouteOutbox::new(&to_route, &route_waker));
            let stage = wires.stage(
                net,
                route,
                (governed, enforced, snapshot.clone()),
                trail.as_ref().map(|trail| trail.auditor(&counters)),
                (identity.clone(), &options, counters.clone()),
            );
            runner = runner.stage(stage, Placement::Own { core: None });
        }
        if let Some(trail) = trail {
            let append = Outbox::new(&to_append, &append_waker);
            let whole = (identity.clone(), &*options, counters.clone(), lifecycle.clone());
            let stage = trail.stage(append, audit_arena, whole);
            runner = runner.stage(Box::new(stage), Placement::Own { core: None });
        }
        for admit in admits {
            runner = runner.stage(Box::new(admit), Placement::Own { core: None });
        }
        let runner = runner
            .stage(Box::new(sync), Placement::Own { core: None })
            .start()
            .map_err(|e| StartError::System(e.to_string()))?;
        // Set once: the control stage waits for it.
        let _ = reins.set(Reins { watch: runner.watch(), mover: runner.mover() });
        let reach = Reach(snapshot);
        let (conductor, waker) = (Mutex::new(to_conductor), net_waker);
        let drain_clients = options.timers.drain_clients;
        Ok(Self {
            clients,
            hubs,
            identity,
            counters,
            lifecycle,
            reach,
            drain_clients,
            waker,
            runner,
            conductor,
            conductor_waker,
            aside,
        })
    }
}

/// Says where the counters lie, where that is not in memory.
fn say_where(backing: &Backing, hub: &str) {
    match backing {
        Backing::Memory(_) | Backing::Own(None) => {}
        Backing::Disk(path) => tracing::info!(
            code = "counters_on_disk",
            hub,
            file = %path.display(),
            "the file of counters is on a disk: there is no room for it in /dev/shm, and now and then a stage waits for that disk"
        ),
        Backing::Own(Some(why)) => tracing::warn!(code = "counters_unseen", hub, "{why}"),
    }
}
