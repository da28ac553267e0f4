//! Proposals, reads and changes of voters: served here if this hub leads, else
//! sent to the leader and answered by number.
//!
//! A proposal is sent once: one that is sent again could be applied twice. So
//! when its answer does not come, nobody knows, and it is answered `Unknown`. A
//! read is asked again. A request that waits has a deadline; requests have a
//! limit, in number and bytes, at this hub and at the leader.

use openraft::error::{CheckIsLeaderError, ClientWriteError, RaftError};
use weft_base::sync::Arc;
use weft_base::{ByteCount, HubId, Mono};

use crate::council::{Council, Event, Origin, View};
use crate::machine::Machine;
use crate::message::{Ask, Body, Told};
use crate::runtime::lock;
use crate::types::{Member, Proposal};

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The proposal was applied, once, and the machine answered this.
    Done(Vec<u8>),
    /// This hub's machine shows all that was applied before the read was asked,
    /// from now on; a state no older than the entry of this index.
    Read {
        /// The entry; `None` when there is none yet.
        index: Option<u64>,
    },
    /// The voters are as asked.
    Voters,
    /// It is not possible, for this reason; nothing was changed.
    Refused(String),
    /// No answer came in time. A proposal may have been applied, or may be later,
    /// or never: give it a number of your own by which the machine knows it again.
    Unknown,
    /// There was no leader, or no majority, in all the time; nothing was changed.
    NoLeader,
}

/// A request is not taken; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Too many wait.
    #[error("{requests} requests wait for the council already: try again when some are answered")]
    Full {
        /// How many.
        requests: usize,
    },
    /// A proposal is too long.
    #[error("the proposal is {bytes} bytes, the limit is {limit}: make it in several steps")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: ByteCount,
    },
    /// The number is in use.
    #[error("request {0} waits for its answer already: give each a number of its own")]
    Twice(u64),
    /// The council has stopped.
    #[error("the council of this hub has stopped: see its log for the reason, and start the hub again")]
    Stopped,
}

/// A request that waits.
pub(crate) struct Pending {
    ask: Ask,
    until: Mono,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// For a leader, and not before this time.
    Idle { from: Mono },
    /// Served at this hub.
    Here,
    /// Asked of another one, again after this time if that is harmless.
    There { leader: Member, again: Mono },
    /// For the machine to reach an entry.
    Reaching { index: Option<u64> },
}

impl Pending {
    pub(crate) fn bytes(&self) -> usize {
        match &self.ask {
            Ask::Propose(bytes) => bytes.len(),
            Ask::Read => 0,
            Ask::Voters(hubs) => hubs.len() * 8,
        }
    }

    /// When it has to be looked at, if nothing comes before. One that may go on
    /// already waits for a leader, not for a time.
    pub(crate) fn wakes(&self, now: Mono) -> Mono {
        match self.place {
            Place::Idle { from } if from > now => from.min(self.until),
            Place::There { again, .. } if !self.is_once() => again.min(self.until),
            _ => self.until,
        }
    }

    fn is_once(&self) -> bool {
        !matches!(self.ask, Ask::Read)
    }

    /// Its end when nothing more will be known.
    pub(crate) fn cut_off(&self) -> Outcome {
        match self.place {
            Place::Here | Place::There { .. } if self.is_once() => Outcome::Unknown,
            _ => Outcome::NoLeader,
        }
    }
}

impl<M: Machine> Council<M> {
    /// Proposes an entry for the machine; its end comes as
    /// [`Command::Answered`](crate::Command::Answered).
    ///
    /// # Errors
    /// See [`ProposeError`].
    pub fn propose(&mut self, request: u64, entry: &[u8], now: Mono) -> Result<(), ProposeError> {
        self.begin(request, Ask::Propose(Arc::from(entry)), entry.len(), now)
    }

    /// Asks for a linearizable read: the end is [`Outcome::Read`], and then the
    /// machine of this hub is to be read ([`Council::with_machine`]).
    ///
    /// # Errors
    /// See [`ProposeError`].
    pub fn read(&mut self, request: u64, now: Mono) -> Result<(), ProposeError> {
        self.begin(request, Ask::Read, 0, now)
    }

    /// Asks that these hubs vote and no others, for an operator. They must be
    /// members already and have most of the log. Goes by joint consensus: a
    /// majority of the old and of the new voters must be there.
    ///
    /// # Errors
    /// See [`ProposeError`].
    pub fn set_voters(&mut self, request: u64, hubs: &[HubId], now: Mono) -> Result<(), ProposeError> {
        self.begin(request, Ask::Voters(hubs.iter().take(crate::codec::MOST_MEMBERS).copied().collect()), 0, now)
    }

    fn begin(&mut self, request: u64, ask: Ask, bytes: usize, now: Mono) -> Result<(), ProposeError> {
        self.admit(request, bytes)?;
        let until = now + self.options.patience;
        self.requests.insert(request, Pending { ask, until, place: Place::Idle { from: Mono(0) } });
        Ok(())
    }

    /// Takes each request a step further.
    pub(crate) fn go_on(&mut self, view: &View, now: Mono) {
        let applied = lock(&self.replica.applied).last.map(|id| id.index);
        let mut ended = Vec::new();
        let mut begun = Vec::new();
        for (request, pending) in &mut self.requests {
            if pending.until <= now {
                ended.push((*request, pending.cut_off()));
                continue;
            }
            if let Place::There { leader, again } = pending.place
                && !pending.is_once()
                && (again <= now || view.leader != Some(leader))
            {
                pending.place = Place::Idle { from: Mono(0) };
            }
            match (pending.place, view.leader) {
                (Place::Reaching { index }, _) if applied >= index => {
                    ended.push((*request, Outcome::Read { index }));
                }
                (Place::Idle { from }, Some(leader)) if from <= now => {
                    let is_here = leader == self.me;
                    if !is_here && !self.reachable.contains_key(&leader.hub) {
                        continue;
                    }
                    let again = now + self.options.heartbeat * 4;
                    pending.place = if is_here { Place::Here } else { Place::There { leader, again } };
                    begun.push((*request, pending.ask.clone(), leader));
                }
                _ => {}
            }
        }
        for (request, outcome) in ended {
            self.end(request, outcome);
        }
        for (request, ask, leader) in begun {
            if leader == self.me {
                self.serve(Origin::Here(request), ask);
                continue;
            }
            let id = lock(&self.outbox).number();
            self.asked.insert(id, request);
            self.send_long(leader, Body::Ask { id, ask });
        }
        let requests = &self.requests;
        self.asked.retain(|_, request| requests.contains_key(request));
    }

    fn end(&mut self, request: u64, outcome: Outcome) {
        if self.requests.remove(&request).is_some() {
            self.ready.push(crate::Command::Answered { request, outcome });
        }
    }

    /// Serves a request as the leader, which this hub may have ceased to be.
    pub(crate) fn serve(&mut self, origin: Origin, ask: Ask) {
        let view = self.view();
        if !view.leads || self.serving >= self.options.limits.asked {
            self.finish(origin, Told::Elsewhere);
            return;
        }
        let (raft, events) = (self.raft.clone(), Arc::clone(&self.events));
        match ask {
            Ask::Propose(bytes) if bytes.len() as u64 > self.options.limits.proposal.0 => {
                let limit = self.options.limits.proposal;
                let why = format!("the proposal is {} bytes, the leader's limit is {limit}", bytes.len());
                self.finish(origin, Told::Refused(why));
            }
            Ask::Propose(bytes) => {
                self.serving += 1;
                self.spawn(async move {
                    // An error says that this hub does not lead any more: whether
                    // the entry was in its log before that, it does not say.
                    let told = match raft.client_write_ff(Proposal(bytes)).await {
                        Ok(answer) => match answer.await {
                            Ok(Ok(response)) => Told::Done(response.data),
                            _ => Told::Unknown,
                        },
                        Err(_) => Told::Unknown,
                    };
                    lock(&events).push(Event::Told { origin, told });
                });
            }
            Ask::Read => {
                self.serving += 1;
                let floor = self.read_floor(&view);
                self.spawn(async move {
                    let told = match raft.get_read_log_id().await {
                        Ok((id, _)) => Told::ReadAt(id.map(|id| id.index).max(floor)),
                        Err(RaftError::APIError(
                            CheckIsLeaderError::ForwardToLeader(_) | CheckIsLeaderError::QuorumNotEnough(_),
                        )) => Told::Elsewhere,
                        Err(RaftError::Fatal(_)) => Told::Unknown,
                    };
                    lock(&events).push(Event::Told { origin, told });
                });
            }
            Ask::Voters(hubs) => match self.voters_of(&view, &hubs) {
                Err(why) => self.finish(origin, Told::Refused(why)),
                Ok(voters) => {
                    self.serving += 1;
                    self.spawn(async move {
                        let told = match raft.change_membership(voters, true).await {
                            Ok(_) => Told::Voters,
                            Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error))) => {
                                Told::Refused(format!("the voters cannot be changed now: {error}"))
                            }
                            Err(_) => Told::Unknown,
                        };
                        lock(&events).push(Event::Told { origin, told });
                    });
                }
            },
        }
    }

    /// The least entry that a read must see. openraft lets a leader that starts
    /// again go on in its term, with what was kept of its last committed entry,
    /// which may be behind what it has answered: then all of its log counts.
    fn read_floor(&self, view: &View) -> Option<u64> {
        let (term, end) = self.opened_at;
        end.filter(|_| term == view.term)
    }

    /// A request that was served here has ended.
    pub(crate) fn served(&mut self, origin: Origin, told: Told, now: Mono) {
        self.serving = self.serving.saturating_sub(1);
        match origin {
            Origin::Here(request) => self.told_of(request, told, now),
            Origin::There(..) => self.finish(origin, told),
        }
    }

    /// Answers what was never begun, or what another hub asked.
    fn finish(&mut self, origin: Origin, told: Told) {
        match origin {
            Origin::Here(_) => {
                // Counted, because its end is.
                self.serving += 1;
                lock(&self.events).push(Event::Told { origin, told });
            }
            Origin::There(to, id) => self.send_long(to, Body::Told { id, told }),
        }
    }

    /// The leader's answer to what this hub asked.
    pub(crate) fn on_told(&mut self, id: u64, told: Told, now: Mono) {
        if let Some(request) = self.asked.remove(&id) {
            self.told_of(request, told, now);
        }
    }

    fn told_of(&mut self, request: u64, told: Told, now: Mono) {
        let pause = self.options.heartbeat;
        let Some(pending) = self.requests.get_mut(&request) else { return };
        let outcome = match told {
            Told::Done(answer) => Outcome::Done(answer),
            Told::Voters => Outcome::Voters,
            Told::Refused(why) => Outcome::Refused(why),
            Told::Unknown if pending.is_once() => Outcome::Unknown,
            Told::Elsewhere | Told::Unknown => {
                pending.place = Place::Idle { from: now + pause };
                return;
            }
            Told::ReadAt(index) => {
                pending.place = Place::Reaching { index };
                return;
            }
        };
        self.end(request, outcome);
    }
}
