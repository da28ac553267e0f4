//! The council: one hub's part in Raft, driven from outside.
//!
//! It must never wait for anything but its storage: each call takes what came,
//! and [`Council::step`] answers what is to be done and when to come back. All
//! that it holds is bounded by [`Limits`](crate::Limits).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::{Config, ServerState, SnapshotPolicy};
use weft_base::sync::{Arc, Mutex};
use weft_base::{HubId, Mono, Random};

use crate::codec::CodecError;
use crate::ledger::{Ledger, own};
use crate::machine::Machine;
use crate::members::{Seen, Trouble};
use crate::message::{Body, Letter, OVERHEAD, Told};
use crate::network::{Lines, Outbox};
use crate::options::{Options, OptionsError};
use crate::parcel::{Bounds, Parcels};
use crate::replica::Replica;
use crate::requests::{Outcome, Pending, ProposeError};
use crate::runtime::{Executor, lock, spawn};
use crate::storage::{Owner, Storage, StorageError};
use crate::types::{Member, Raft};

/// The most messages of other hubs that are worked on at a time; more are
/// dropped, as a network may.
const MOST_TASKS: usize = 16_384;

/// What a council wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Bytes for another hub. They may be lost or late; of one hub they arrive in
    /// the order in which they were sent, or not at all.
    Send {
        /// For whom.
        to: HubId,
        /// What it passes to its [`Council::on_message`].
        bytes: Vec<u8>,
    },
    /// A request has come to its end. There is one for each request.
    Answered {
        /// The number that it was made with.
        request: u64,
        /// Its end.
        outcome: Outcome,
    },
    /// The machine has taken all entries up to this one.
    Applied {
        /// The entry.
        index: u64,
    },
    /// Who leads, as far as this hub knows.
    Leader {
        /// The leader, if there is one.
        hub: Option<HubId>,
        /// The term of the last vote.
        term: u64,
    },
    /// Who takes part; in effect as soon as it is told, so that it may be told
    /// back until it is committed.
    Membership {
        /// Hubs that vote.
        voters: BTreeSet<HubId>,
        /// Hubs that only learn.
        learners: BTreeSet<HubId>,
    },
    /// Something that an operator should know, told once until it changes.
    Trouble(Trouble),
    /// The council has stopped for good, and why: nothing is acknowledged any
    /// more. The hub goes on with the control state that it has.
    Stopped {
        /// The reason, with the remedy.
        why: String,
    },
}

/// A council cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Options that make no sense.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// What is stored cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// It is another hub's.
    #[error(
        "the control state belongs to hub `{found}` of data folder {found_folder:x}, this is hub `{here}` of data folder \
         {folder:x}: it votes under another name there, so move `control.redb` away; the hub gets the state from the others"
    )]
    Foreign {
        /// Whose it is.
        found: String,
        /// Its data folder.
        found_folder: u64,
        /// Who opens it.
        here: String,
        /// Its data folder.
        folder: u64,
    },
    /// Raft did not begin.
    #[error("raft does not begin with what is stored: {0}")]
    Raft(String),
}

/// What happened in a task.
pub(crate) enum Event {
    /// A request that was served here has ended.
    Told { origin: Origin, told: Told },
    /// A leader was heard.
    Heard(Member),
    /// A change of membership of the council's own has ended.
    Changed,
}

/// Who made a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Origin {
    Here(u64),
    There(Member, u64),
}

/// One hub's part in Raft.
pub struct Council<M> {
    pub(crate) options: Options,
    pub(crate) me: Member,
    pub(crate) raft: Raft,
    pub(crate) ledger: Ledger,
    pub(crate) replica: Replica<M>,
    pub(crate) outbox: Arc<Mutex<Outbox>>,
    pub(crate) events: Arc<Mutex<Vec<Event>>>,
    pub(crate) parcels: Parcels,
    pub(crate) random: Random,
    pub(crate) reachable: BTreeMap<HubId, String>,
    pub(crate) seen: BTreeMap<HubId, Seen>,
    pub(crate) hint: Option<HubId>,
    pub(crate) next_hello: Mono,
    pub(crate) next_look: Mono,
    pub(crate) is_changing: bool,
    pub(crate) is_founding: bool,
    pub(crate) leads_since: Option<Mono>,
    pub(crate) requests: BTreeMap<u64, Pending>,
    pub(crate) asked: BTreeMap<u64, u64>,
    pub(crate) serving: usize,
    pub(crate) troubles: BTreeSet<Trouble>,
    pub(crate) told: Shown,
    pub(crate) heard: Option<Mono>,
    /// The term and the end of the log as they were kept.
    pub(crate) opened_at: (u64, Option<u64>),
    pub(crate) ready: Vec<Command>,
    /// Dropped before the executor, so that nothing is spawned late.
    pub(crate) executor: Executor,
}

/// What was told last.
#[derive(Default)]
pub(crate) struct Shown {
    leader: Option<(Option<HubId>, u64)>,
    applied: Option<u64>,
    membership: Option<crate::types::LogId>,
    stopped: bool,
    snapshot_at: Option<u64>,
}

/// What Raft says of itself.
pub(crate) struct View {
    pub(crate) leader: Option<Member>,
    pub(crate) term: u64,
    pub(crate) leads: bool,
    pub(crate) quorum: Option<Duration>,
    pub(crate) membership: Arc<crate::types::StoredMembership>,
    pub(crate) last: Option<u64>,
    pub(crate) snapshot: Option<u64>,
    pub(crate) replication: Option<BTreeMap<Member, Option<crate::types::LogId>>>,
    failure: Option<String>,
}

impl<M: Machine> Council<M> {
    /// Opens a council with what its storage keeps; the machine is as new, and is
    /// brought to where the last snapshot and the entries known to be committed
    /// led. Call [`Council::set_hubs`] and [`Council::step`] next.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing was changed but a new storage, which is marked
    /// with its owner.
    pub fn open(
        options: Options,
        mut storage: Box<dyn Storage>,
        machine: M,
        now: Mono,
        mut random: Random,
    ) -> Result<Self, OpenError> {
        options.check()?;
        let stored = storage.load()?;
        let owner = match &stored.owner {
            Some(owner) if owner.name != options.name || owner.folder != options.folder => {
                return Err(OpenError::Foreign {
                    found: owner.name.clone(),
                    found_folder: owner.folder,
                    here: options.name.clone(),
                    folder: options.folder,
                });
            }
            Some(owner) => owner.clone(),
            None => {
                let owner =
                    Owner { name: options.name.clone(), folder: options.folder, instance: random.next_u64().max(1) };
                own(storage.as_mut(), &owner)?;
                owner
            }
        };
        let me = Member { hub: options.hub(), instance: owner.instance };
        let limits = options.limits.clone();
        let batch = limits.message.as_usize().saturating_sub(2 * OVERHEAD);
        let ledger = Ledger::open(storage, stored, batch)?;
        let opened_at = (ledger.term(), ledger.end());
        let replica = Replica::open(machine, ledger.clone(), limits.snapshot.as_usize())?;
        let outbox = Outbox::counting_from(random.next_u64());
        let mut executor = Executor::new(now, Random::from_seed(random.next_u64()));
        let raft = begin(&options, me, &ledger, &replica, &outbox, now, &mut executor)?;
        let parcel = limits.snapshot.as_usize().max(limits.proposal.as_usize()) + (1 << 20);
        let bounds = Bounds {
            part: limits.message.as_usize() - OVERHEAD,
            parcel,
            waiting: 2 * parcel,
            arriving: 4 * parcel,
            again: options.heartbeat * 2,
        };
        Ok(Self {
            me,
            raft,
            ledger,
            replica,
            outbox,
            events: Arc::default(),
            parcels: Parcels::new(bounds),
            random,
            reachable: BTreeMap::new(),
            seen: BTreeMap::new(),
            hint: None,
            next_hello: now,
            next_look: now,
            is_changing: false,
            is_founding: false,
            leads_since: None,
            requests: BTreeMap::new(),
            asked: BTreeMap::new(),
            serving: 0,
            troubles: BTreeSet::new(),
            told: Shown::default(),
            heard: None,
            opened_at,
            ready: Vec::new(),
            executor,
            options,
        })
    }

    /// This hub, with the life of its control state.
    #[must_use]
    pub fn member(&self) -> Member {
        self.me
    }

    /// The cluster that this hub belongs to; 0 in none yet.
    #[must_use]
    pub fn cluster(&self) -> u64 {
        self.ledger.cluster()
    }

    /// The term of the last vote that this hub gave or asked for.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.view().term
    }

    /// The index of the last entry of this hub's log, committed or not.
    #[must_use]
    pub fn log_end(&self) -> Option<u64> {
        self.ledger.end()
    }

    /// Looks at the machine: as of the entry of this index, the last it has taken.
    pub fn with_machine<T>(&self, look: impl FnOnce(&M, Option<u64>) -> T) -> T {
        let applied = lock(&self.replica.applied);
        look(&applied.machine, applied.last.map(|id| id.index))
    }

    /// How long ago this hub was last known to have the state of the others: a
    /// leader was heard, or, at the leader, a majority. `None`: never since the
    /// council was opened.
    #[must_use]
    pub fn age(&self, now: Mono) -> Option<Duration> {
        let view = self.view();
        if view.leads { view.quorum } else { self.heard.map(|heard| now.since(heard)) }
    }

    /// How many entries each other member is behind, as far as it has said; empty
    /// but at the leader.
    #[must_use]
    pub fn standings(&self) -> Vec<(HubId, Option<u64>)> {
        let view = self.view();
        let last = view.last.unwrap_or_default();
        let replication = view.replication.unwrap_or_default();
        let others = replication.into_iter().filter(|(member, _)| *member != self.me);
        others.map(|(member, upto)| (member.hub, upto.map(|id| last.saturating_sub(id.index)))).collect()
    }

    /// Which hubs can be reached now, with their names; the whole list each time.
    /// Messages go to these alone.
    pub fn set_hubs(&mut self, reachable: &[(HubId, String)]) {
        let me = self.me.hub;
        self.reachable = reachable.iter().filter(|(hub, _)| *hub != me).cloned().collect();
        let reachable = &self.reachable;
        self.parcels.keep(|hub| reachable.contains_key(&hub));
        self.next_hello = Mono(0);
    }

    /// Takes a message that another hub's council sent; [`Council::step`] comes
    /// next. Messages of hubs that are not who they say must not come here: links
    /// between hubs are authenticated.
    ///
    /// # Errors
    /// It is none; nothing was changed.
    pub fn on_message(&mut self, from: HubId, bytes: &[u8], now: Mono) -> Result<(), CodecError> {
        let letter = Letter::decode(from, bytes)?;
        if self.executor.tasks() < MOST_TASKS && from != self.me.hub {
            self.take(from, letter, now, false);
        }
        Ok(())
    }

    /// Goes on, and says what is to be done and when to come back at the latest;
    /// call it after everything that came, too.
    pub fn step(&mut self, now: Mono, out: &mut Vec<Command>) -> Option<Mono> {
        let mut is_cut_short = false;
        // What a round decides may wake tasks; it settles within a few.
        for _ in 0..8 {
            let entered = self.executor.enter(now);
            is_cut_short = self.executor.run();
            drop(entered);
            let view = self.view();
            self.look(&view, now);
            if !self.has_work() {
                break;
            }
        }
        self.post(now);
        let view = self.view();
        self.show(&view);
        out.append(&mut self.ready);
        if self.told.stopped {
            return None;
        }
        let mut parts = Vec::new();
        let parcels = self.parcels.due(now, &mut parts);
        for (to, part) in parts {
            self.send(to, Body::Part(part));
        }
        out.append(&mut self.ready);
        if is_cut_short || self.has_work() {
            return Some(now);
        }
        let requests = self.requests.values().map(|pending| pending.wakes(now)).min();
        let own = [Some(self.next_hello), Some(self.next_look), parcels, requests, self.executor.next_timer()];
        own.into_iter().flatten().min().map(|at| at.max(now))
    }

    fn has_work(&self) -> bool {
        self.executor.is_ready() || !lock(&self.events).is_empty()
    }

    /// What happened, and what follows from it.
    fn look(&mut self, view: &View, now: Mono) {
        let events = std::mem::take(&mut *lock(&self.events));
        for event in events {
            match event {
                Event::Told { origin, told } => self.served(origin, told, now),
                Event::Heard(leader) if view.leader.is_none_or(|known| known == leader) => self.heard = Some(now),
                Event::Heard(_) => {}
                Event::Changed => self.is_changing = false,
            }
        }
        if self.told.stopped {
            return;
        }
        self.leads_since = if view.leads { self.leads_since.or(Some(now)) } else { None };
        self.go_on(view, now);
        self.attend(view, now);
        self.compact(view);
    }

    /// A snapshot when the log has grown by so many bytes; by so many entries
    /// openraft makes one by itself.
    fn compact(&mut self, view: &View) {
        let (_, bytes) = self.ledger.after(view.snapshot);
        if bytes as u64 > self.options.limits.log_bytes.0 && self.told.snapshot_at != view.last {
            self.told.snapshot_at = view.last;
            let raft = self.raft.clone();
            self.spawn(async move {
                let _ = raft.trigger().snapshot().await;
            });
        }
    }

    /// Starts a task from outside of the executor's turns.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let _entered = self.executor.enter(Mono(0));
        spawn(future);
    }

    /// What Raft says of itself.
    pub(crate) fn view(&self) -> View {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let failure = self.ledger.failure().map(|failure| failure.to_string());
        let failure = failure.or_else(|| lock(&self.replica.applied).failure.clone());
        View {
            leader: metrics.current_leader,
            term: metrics.current_term,
            leads: metrics.state == ServerState::Leader,
            quorum: metrics.millis_since_quorum_ack.map(Duration::from_millis),
            membership: Arc::clone(&metrics.membership_config),
            last: metrics.last_log_index,
            snapshot: metrics.snapshot.map(|id| id.index),
            replication: metrics.replication.clone(),
            failure: failure.or_else(|| metrics.running_state.as_ref().err().map(ToString::to_string)),
        }
    }

    /// Tells what is new.
    fn show(&mut self, view: &View) {
        if self.told.stopped {
            return;
        }
        let leader = Some((view.leader.map(|member| member.hub), view.term));
        if self.told.leader != leader {
            self.told.leader = leader;
            self.ready.push(Command::Leader { hub: view.leader.map(|member| member.hub), term: view.term });
        }
        let applied = lock(&self.replica.applied).last.map(|id| id.index);
        if let Some(index) = applied.filter(|_| self.told.applied != applied) {
            self.told.applied = applied;
            self.ready.push(Command::Applied { index });
        }
        if self.told.membership != *view.membership.log_id() {
            self.told.membership = *view.membership.log_id();
            let voters: BTreeSet<HubId> = view.membership.voter_ids().map(|member| member.hub).collect();
            let learners = view.membership.nodes().map(|(member, _)| member.hub).filter(|hub| !voters.contains(hub));
            self.ready.push(Command::Membership { learners: learners.collect(), voters });
        }
        if let Some(why) = view.failure.clone() {
            self.told.stopped = true;
            let requests = std::mem::take(&mut self.requests);
            for (request, pending) in requests {
                self.ready.push(Command::Answered { request, outcome: pending.cut_off() });
            }
            self.ready.push(Command::Stopped { why });
        }
    }

    /// Takes what tasks want sent.
    fn post(&mut self, now: Mono) {
        let mut outbox = lock(&self.outbox);
        let (letters, given_up) = (std::mem::take(&mut outbox.letters), std::mem::take(&mut outbox.given_up));
        drop(outbox);
        self.parcels.give_up(&given_up);
        for (to, body) in letters {
            self.post_one(to, body, now);
        }
        let finished = self.parcels.finished();
        let mut outbox = lock(&self.outbox);
        let until = now + self.options.patience;
        given_up.iter().for_each(|rpc| outbox.not_carried(*rpc));
        finished.into_iter().for_each(|(rpc, is_there)| {
            if is_there { outbox.carried_until(rpc, until) } else { outbox.not_carried(rpc) }
        });
    }

    fn post_one(&mut self, to: Member, body: Body, now: Mono) {
        let letter = Letter { cluster: self.ledger.cluster(), from: self.me.instance, to: to.instance, body };
        let bytes = letter.encode();
        let (call, vote) = match &letter.body {
            Body::Append { rpc, request } => (Some(*rpc), Some(request.vote)),
            Body::Install { rpc, vote, .. } => (Some(*rpc), Some(*vote)),
            _ => (None, None),
        };
        let is_snapshot = matches!(letter.body, Body::Install { .. });
        if bytes.len() <= self.options.limits.message.as_usize() && !is_snapshot {
            if self.reachable.contains_key(&to.hub) {
                self.ready.push(Command::Send { to: to.hub, bytes });
            }
            return;
        }
        // A snapshot takes as long as it takes; whoever waits for it gives it up.
        let until = if call.is_some() { Mono(u64::MAX) } else { now + self.options.patience };
        let number = self.random.next_u64();
        let is_taken = self.reachable.contains_key(&to.hub) && self.parcels.send(number, to, call, vote, bytes, until);
        if let (true, Some(call)) = (is_taken, call) {
            lock(&self.outbox).carried_until(call, Mono(u64::MAX));
        }
    }

    /// Sends a short message.
    pub(crate) fn send(&mut self, to: Member, body: Body) {
        let letter = Letter { cluster: self.ledger.cluster(), from: self.me.instance, to: to.instance, body };
        if self.reachable.contains_key(&to.hub) {
            self.ready.push(Command::Send { to: to.hub, bytes: letter.encode() });
        }
    }

    /// Sends what may be long.
    pub(crate) fn send_long(&mut self, to: Member, body: Body) {
        lock(&self.outbox).letters.push((to, body));
    }

    /// Checks a request before it is taken.
    pub(crate) fn admit(&self, request: u64, bytes: usize) -> Result<(), ProposeError> {
        let limits = &self.options.limits;
        if self.told.stopped {
            return Err(ProposeError::Stopped);
        }
        if bytes as u64 > limits.proposal.0 {
            return Err(ProposeError::TooLarge { bytes, limit: limits.proposal });
        }
        if self.requests.contains_key(&request) {
            return Err(ProposeError::Twice(request));
        }
        let waiting: usize = self.requests.values().map(Pending::bytes).sum();
        if self.requests.len() >= limits.requests || (waiting + bytes) as u64 > limits.request_bytes.0 {
            return Err(ProposeError::Full { requests: self.requests.len() });
        }
        Ok(())
    }
}

/// Begins Raft: its tasks are the executor's from now on.
fn begin<M: Machine>(
    options: &Options,
    me: Member,
    ledger: &Ledger,
    replica: &Replica<M>,
    outbox: &Arc<Mutex<Outbox>>,
    now: Mono,
    executor: &mut Executor,
) -> Result<Raft, OpenError> {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let config = Config {
        cluster_name: "weft".to_owned(),
        election_timeout_min: millis(options.election.0),
        election_timeout_max: millis(options.election.1),
        heartbeat_interval: millis(options.heartbeat),
        install_snapshot_timeout: millis(options.patience),
        max_payload_entries: 1024,
        replication_lag_threshold: options.limits.log_entries * 2,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(options.limits.log_entries),
        max_in_snapshot_log_to_keep: options.limits.log_entries / 8,
        ..Config::default()
    };
    let config = config.validate().map_err(|error| OpenError::Raft(error.to_string()))?;
    let begun = Arc::new(Mutex::new(None));
    let entered = executor.enter(now);
    let (ledger, replica, lines) = (ledger.clone(), replica.clone(), Lines(Arc::clone(outbox)));
    let theirs = Arc::clone(&begun);
    spawn(async move {
        let raft = Raft::new(me, config.into(), lines, ledger, replica).await;
        *lock(&theirs) = Some(raft);
    });
    executor.run();
    drop(entered);
    let begun = lock(&begun).take();
    match begun {
        Some(Ok(raft)) => Ok(raft),
        Some(Err(error)) => Err(OpenError::Raft(error.to_string())),
        None => Err(OpenError::Raft("it waits for something at its beginning".to_owned())),
    }
}
