//! The govern stage: this hub's part in replicating the control state, and the
//! answers to clients who look at it or change it.
//!
//! Drives a [`Council`] with what other hubs' stages say, with who can be reached
//! and with the time, and puts each state that it comes to into [`Governed`],
//! where those find it who decide by it. On a thread of its own, because the
//! council syncs its disk. Nothing waits for it: data is routed as if it were not
//! there, and while no other voter can be reached the hub goes by the state that
//! it has. Bounds: a turn takes [`BATCH`] messages of each inbox; so many requests
//! are under way as `control.requests` says, one more is refused; a message that
//! its inbox has no room for is dropped by the route stage, as a network may.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use weft_base::{Epoch, HubId, Mono, Now};
use weft_ring::mpsc;
use weft_ring::stage::{Backlog, Stage, StageWaker};
use weft_wire::peer::{CONTROL_MARK, Service};

use super::Governed;
use super::ask::{Asked, ToGovern};
use super::council::{Council, Ended, Word};
use super::vet::Vet;
use crate::Identity;
use crate::audit::Auditor;
use crate::counters::{Counters, add, set};
use crate::inbox::RouteOutbox;
use crate::messages::{FromPeer, PeerMessage, ToNet, ToRoute};
use crate::options::ControlOptions;
use crate::outbox::{Outbox, backlog_of_two};
use crate::route::table::RouteTable;

/// Messages taken of each inbox in one turn.
const BATCH: usize = 64;
/// Room that the next stages must have before a message is taken. What one turn
/// of the council gives rise to beyond it waits in the outbox.
const ROOM: usize = 64;
/// How often what is shown is renewed.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The stage.
pub(crate) struct GovernStage {
    inbox: mpsc::Consumer<ToGovern>,
    peers: mpsc::Consumer<FromPeer>,
    pub(super) net: Outbox<ToNet>,
    route: RouteOutbox,
    pub(super) council: Box<dyn Council>,
    pub(super) vet: Option<Box<dyn Vet>>,
    /// What this hub's clients may do is decided by the state.
    pub(super) enforced: bool,
    /// Notes changes, where the hub keeps an audit log.
    pub(super) audit: Option<Auditor>,
    /// What streams there are.
    pub(super) snapshot: Arc<ArcSwap<RouteTable>>,
    governed: Governed,
    pub(super) identity: Arc<Identity>,
    pub(super) options: ControlOptions,
    pub(super) counters: Arc<Counters>,
    waker: StageWaker,
    /// Hubs that can be reached: their life and name.
    hubs: BTreeMap<HubId, (Epoch, String)>,
    /// Names of hubs that were reached in this life of the hub.
    pub(super) names: BTreeMap<HubId, String>,
    /// Requests under way, by the number that the council knows them by.
    pub(super) asked: BTreeMap<u64, Asked>,
    pub(super) next: u64,
    pub(super) members: Members,
    /// When the council wants a turn.
    pub(super) due: Option<Mono>,
    look_at: Mono,
    begun: Option<Mono>,
    is_alarmed: bool,
    stopped: Option<String>,
    /// When the state was last known to be the others'.
    current: Option<Mono>,
    words: Vec<Word>,
    pub(super) now: Now,
}

/// Who takes part, as the council said last.
#[derive(Default)]
pub(super) struct Members {
    pub(super) leader: Option<HubId>,
    pub(super) term: u64,
    pub(super) voters: Vec<HubId>,
    pub(super) learners: Vec<HubId>,
}

/// What the stage is made of.
pub(crate) struct GovernParts {
    pub(crate) inbox: mpsc::Consumer<ToGovern>,
    pub(crate) peers: mpsc::Consumer<FromPeer>,
    pub(crate) net: Outbox<ToNet>,
    pub(crate) route: RouteOutbox,
    pub(crate) council: Box<dyn Council>,
    pub(crate) vet: Option<Box<dyn Vet>>,
    /// There is a judge.
    pub(crate) enforced: bool,
    pub(crate) snapshot: Arc<ArcSwap<RouteTable>>,
    pub(crate) audit: Option<Auditor>,
    pub(crate) governed: Governed,
    pub(crate) identity: Arc<Identity>,
    pub(crate) options: ControlOptions,
    pub(crate) counters: Arc<Counters>,
    pub(crate) waker: StageWaker,
}

impl GovernStage {
    pub(crate) fn new(parts: GovernParts) -> Self {
        // What the disk has counts from the first moment on.
        parts.governed.put(parts.council.state());
        let names = BTreeMap::from([(parts.identity.id, parts.identity.name.clone())]);
        Self {
            inbox: parts.inbox,
            peers: parts.peers,
            net: parts.net,
            route: parts.route,
            council: parts.council,
            vet: parts.vet,
            enforced: parts.enforced,
            snapshot: parts.snapshot,
            audit: parts.audit,
            governed: parts.governed,
            identity: parts.identity,
            options: parts.options,
            counters: parts.counters,
            waker: parts.waker,
            hubs: BTreeMap::new(),
            names,
            asked: BTreeMap::new(),
            next: 1,
            members: Members::default(),
            due: Some(Mono(0)),
            look_at: Mono(0),
            begun: None,
            is_alarmed: false,
            stopped: None,
            current: None,
            words: Vec::new(),
            now: Now::default(),
        }
    }

    fn on_peer(&mut self, message: FromPeer) {
        match message {
            FromPeer::Message(message) => return self.on_peer_message(&message),
            FromPeer::Up { hub, epoch, name } => {
                self.names.insert(hub, name.clone());
                self.hubs.insert(hub, (epoch, name));
            }
            FromPeer::Down { hub } => {
                self.hubs.remove(&hub);
            }
        }
        // As many names as the mesh has hubs, and some that it had.
        if self.names.len() > 2 * weft_mesh::MAX_HUBS {
            self.names.retain(|hub, _| self.hubs.contains_key(hub) || *hub == self.identity.id);
        }
        let reachable: Vec<(HubId, String)> = self.hubs.iter().map(|(hub, (_, name))| (*hub, name.clone())).collect();
        self.council.set_hubs(&reachable);
    }

    fn on_peer_message(&mut self, message: &PeerMessage) {
        // What an earlier life of the hub said is of no use.
        if self.hubs.get(&message.from).is_some_and(|(epoch, _)| *epoch != message.epoch) {
            return;
        }
        let Some((&CONTROL_MARK, bytes)) = message.bytes.split_first() else { return };
        if let Err(error) = self.council.on_message(message.from, bytes, self.now.mono) {
            add(&self.counters.control_nonsense, 1);
            tracing::warn!(code = "control_nonsense", from = %message.from, error, "a message of a hub was dropped");
        }
    }

    /// Lets the council go on, and does what it wants done.
    fn step(&mut self) -> usize {
        let mut words = std::mem::take(&mut self.words);
        self.due = self.council.step(self.now.mono, &mut words);
        let work = words.len();
        for word in words.drain(..) {
            self.hear(word);
        }
        self.words = words;
        work
    }

    fn hear(&mut self, word: Word) {
        match word {
            Word::Send { to, bytes } => {
                let mut marked = Vec::with_capacity(1 + bytes.len());
                marked.push(CONTROL_MARK);
                marked.extend_from_slice(&bytes);
                self.route.push(ToRoute::Peer { to, service: Service::Control, confined: false, bytes: marked });
            }
            Word::Applied => {
                let state = self.council.state();
                set(&self.counters.control_version, state.version());
                if self.governed.put(state.clone()) {
                    tracing::info!(code = "control_applied", version = state.version(), "the control state is another");
                }
            }
            Word::Ended { request, ended } => self.ended(request, ended),
            Word::Leader { hub, term } => {
                if self.members.leader != hub {
                    let leader = hub.map_or_else(|| "none".to_owned(), |hub| self.name_of(hub));
                    tracing::info!(code = "control_leader", leader, term, "who leads the control state");
                }
                (self.members.leader, self.members.term) = (hub, term);
                set(&self.counters.control_leader, hub.map_or(0, |hub| hub.0));
                set(&self.counters.control_term, term);
            }
            Word::Members { voters, learners } => {
                let names: Vec<String> = voters.iter().map(|hub| self.name_of(*hub)).collect();
                tracing::info!(
                    code = "control_voters",
                    voters = names.join(" "),
                    learners = learners.len(),
                    "who takes part in the control state"
                );
                (self.members.voters, self.members.learners) = (voters, learners);
            }
            Word::Trouble(what) => {
                tracing::warn!(code = "control_trouble", what, "the control state needs a look");
            }
            Word::Stopped(why) => {
                add(&self.counters.control_stopped, 1);
                tracing::error!(
                    code = "control_stopped",
                    why,
                    "the hub takes no part in the control state any more, and goes by the state that it has"
                );
                self.stopped = Some(why);
            }
        }
    }

    /// The name of a hub, or its number where it was never reached.
    pub(super) fn name_of(&self, hub: HubId) -> String {
        self.names.get(&hub).cloned().unwrap_or_else(|| hub.to_string())
    }

    /// Why the council has stopped, if it has.
    pub(super) fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    /// How long ago the state was last known to be the others'; none: not since the hub began.
    /// A council that has stopped does not know it any more; this stage does.
    pub(super) fn age_ms(&self) -> Option<u64> {
        let age = self.council.age(self.now.mono).filter(|_| self.stopped.is_none());
        let age = age.or_else(|| self.current.map(|current| self.now.mono.since(current)))?;
        Some(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
    }

    /// Renews what is shown, and says when the hub has been cut off for long, once.
    fn look(&mut self) {
        if self.now.mono < self.look_at {
            return;
        }
        self.look_at = self.now.mono + LOOK_EVERY;
        let begun = *self.begun.get_or_insert(self.now.mono);
        if let Some(age) = self.council.age(self.now.mono).filter(|_| self.stopped.is_none()) {
            let nanos = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
            self.current = Some(Mono(self.now.mono.0.saturating_sub(nanos)));
        }
        let age = self.age_ms().unwrap_or_else(|| self.now.mono.since(begun).as_millis() as u64);
        set(&self.counters.control_age_ms, age);
        set(&self.counters.control_pending, self.asked.len() as u64);
        set(&self.counters.control_version, self.governed.version());
        let is_old = u128::from(age) >= self.options.alarm_after.as_millis();
        if is_old && !self.is_alarmed {
            add(&self.counters.control_alarms, 1);
            tracing::error!(
                code = "control_cut_off",
                age_ms = age,
                version = self.governed.version(),
                "no voter of the control state can be reached, or none leads: the hub goes by its last state"
            );
        } else if !is_old && self.is_alarmed {
            tracing::info!(
                code = "control_back",
                version = self.governed.version(),
                "the control state is current again"
            );
        }
        self.is_alarmed = is_old;
    }
}

impl Stage for GovernStage {
    fn name(&self) -> &'static str {
        "govern"
    }

    fn do_work(&mut self, now: Now) -> usize {
        self.now = now;
        let mut work = 0;
        while work < BATCH && self.route.has_room(ROOM) {
            let Some(message) = self.peers.pop() else { break };
            self.on_peer(message);
            work += 1;
        }
        let mut taken = 0;
        while taken < BATCH && self.net.has_room(ROOM) {
            let Some(message) = self.inbox.pop() else { break };
            taken += 1;
            if self.take(message) {
                break;
            }
        }
        work += taken;
        if work > 0 || self.due.is_some_and(|due| due <= now.mono) {
            work += self.step();
        }
        self.look();
        if let Some(audit) = &mut self.audit {
            audit.tend(now);
        }
        self.route.notify();
        self.net.notify();
        work
    }

    fn on_stop(&mut self, now: Now) {
        if let Some(audit) = &mut self.audit {
            audit.close(now);
        }
    }

    fn load(&self) -> Backlog {
        backlog_of_two(&self.inbox, &self.peers)
    }

    fn waker(&self) -> Option<StageWaker> {
        Some(self.waker.clone())
    }

    fn next_deadline(&self) -> Option<Mono> {
        let audit = self.audit.as_ref().and_then(Auditor::due);
        self.due.into_iter().chain(audit).chain([self.look_at]).min()
    }
}

impl GovernStage {
    /// A request has ended at the council.
    fn ended(&mut self, request: u64, ended: Ended) {
        if let Some(asked) = self.asked.remove(&request) {
            self.go_on(asked, ended);
        }
    }
}
