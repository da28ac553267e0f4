//! Changes of a running hub, on trial: what `weft mesh apply` is made of. The
//! client's certificate must be named in `admins` of the hub's configuration.

use std::time::Duration;

use weft_wire::frame::{self, AS_IT_IS, ChangeLine, ChangeWhat, Frame, TrialAct};

use crate::client::Client;
use crate::error::RequestError;
use crate::report::Reply;

/// What a hub is to do otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HubChange {
    /// Have a link with a hub, and dial it where there is an address.
    Link {
        /// The other hub's name.
        peer: String,
        /// Where it listens for hubs, when the changed hub is to dial.
        addr: Option<String>,
        /// In microseconds.
        cost: u32,
        /// Of a GB.
        price: u32,
    },
    /// Have no link with a hub, whoever dials.
    Unlink {
        /// The other hub's name.
        peer: String,
    },
    /// Other costs of links with a hub.
    Weigh {
        /// The other hub's name.
        peer: String,
        /// None: as it is.
        cost: Option<u32>,
        /// None: as it is.
        price: Option<u32>,
    },
    /// All labels that the hub has from then on.
    Labels(Vec<String>),
}

/// A trial of changes, which a client names by a number that no other has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    /// The number, not 0.
    pub id: u64,
    /// For how long the hub waits for a word of it before it puts all back.
    pub time: Duration,
}

/// A change that a hub has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownChange {
    /// The trial that it is or was part of.
    pub trial: u64,
    /// Its number there.
    pub step: u32,
    /// It is kept; otherwise it is on trial.
    pub kept: bool,
    /// Who made it.
    pub by: String,
    /// What it does, in words.
    pub what: String,
}

impl KnownChange {
    pub(crate) fn of(line: &ChangeLine<'_>) -> Self {
        let (by, what) = (line.by.to_owned(), line.what.to_owned());
        Self { trial: line.trial, step: line.step, kept: line.kept, by, what }
    }
}

impl Client {
    /// Changes the client's hub, on trial; answers all changes that it has.
    ///
    /// # Errors
    /// [`RequestError`]: among others, the client is no administrator, the hub
    /// cannot change so, or has changes of another trial.
    pub async fn change(&self, trial: Trial, step: u32, change: &HubChange) -> Result<Vec<KnownChange>, RequestError> {
        let none = frame::Change {
            request: 0,
            trial: trial.id,
            step,
            seconds: seconds(trial.time),
            what: ChangeWhat::Unlink,
            peer: "",
            addr: "",
            cost: AS_IT_IS,
            price: AS_IT_IS,
            labels: Vec::new(),
        };
        let asked = match change {
            HubChange::Link { peer, addr, cost, price } => {
                let addr = addr.as_deref().unwrap_or_default();
                frame::Change { what: ChangeWhat::Link, peer, addr, cost: *cost, price: *price, ..none }
            }
            HubChange::Unlink { peer } => frame::Change { what: ChangeWhat::Unlink, peer, ..none },
            HubChange::Weigh { peer, cost, price } => {
                let (cost, price) = (cost.unwrap_or(AS_IT_IS), price.unwrap_or(AS_IT_IS));
                frame::Change { what: ChangeWhat::Weigh, peer, cost, price, ..none }
            }
            HubChange::Labels(labels) => {
                let labels = labels.iter().map(String::as_str).collect();
                frame::Change { what: ChangeWhat::Labels, labels, ..none }
            }
        };
        self.changes(|request| Frame::Change(frame::Change { request, ..asked })).await
    }

    /// Says that a trial is still watched: its time begins anew.
    ///
    /// # Errors
    /// [`RequestError`]: among others, the hub has no such trial any more.
    pub async fn stay(&self, trial: Trial) -> Result<Vec<KnownChange>, RequestError> {
        self.act(trial, 0, TrialAct::Stay).await
    }

    /// Keeps what is on trial, also when the hub starts again.
    ///
    /// # Errors
    /// [`RequestError`], as of [`stay`](Self::stay).
    pub async fn confirm(&self, trial: Trial) -> Result<Vec<KnownChange>, RequestError> {
        self.act(trial, 0, TrialAct::Confirm).await
    }

    /// Puts one step of a trial back, or all of it (0), also what was confirmed.
    ///
    /// # Errors
    /// [`RequestError`]; that there is nothing to be put back is none.
    pub async fn undo(&self, trial: Trial, step: u32) -> Result<Vec<KnownChange>, RequestError> {
        self.act(trial, step, TrialAct::Undo).await
    }

    /// All changes that the hub has.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn known_changes(&self) -> Result<Vec<KnownChange>, RequestError> {
        self.act(Trial { id: 0, time: Duration::ZERO }, 0, TrialAct::List).await
    }

    async fn act(&self, trial: Trial, step: u32, act: TrialAct) -> Result<Vec<KnownChange>, RequestError> {
        let (id, seconds) = (trial.id, seconds(trial.time));
        self.changes(|request| Frame::Trial(frame::Trial { request, trial: id, step, seconds, act })).await
    }

    async fn changes<'a>(&self, build: impl FnOnce(u64) -> Frame<'a>) -> Result<Vec<KnownChange>, RequestError> {
        match self.ask(build).await? {
            Reply::Changes(known) => Ok(known),
            _ => Err(RequestError::Unexpected { expected: "the hub's changes" }),
        }
    }
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}
