//! Who replicates the control state, as the hub sees it: the program gives one
//! ([`OpenCouncil`]), which is Raft; tests may give others.
//!
//! A council never waits for the network: it is told what came, and says what is
//! to be done. It may wait for its disk, which is why the stage that drives it
//! has a thread of its own. What it holds it bounds by itself.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use weft_base::{HubId, Mono, Random};
use weft_govern::{Authored, ChangeId, Outcome, State};

use crate::options::ControlOptions;

/// Opens the council of a hub. An error says what to do; the hub does not start.
pub type OpenCouncil = Box<dyn FnOnce(Seat<'_>) -> Result<Box<dyn Council>, String> + Send>;

/// Whose council it is.
pub struct Seat<'a> {
    /// The hub's name.
    pub name: &'a str,
    /// The number of its data folder: a state that was copied from another is not
    /// taken for its own.
    pub folder: u64,
    /// Its data folder; the council's files are in `control/` there.
    pub data: &'a Path,
    /// Who votes at the first start, this hub among them or not; none: nobody
    /// that it knows of, and it learns.
    pub voters: Vec<String>,
    /// The data folder was copied, restored or renamed, and is a new one from now
    /// on: what it has of the state is another member's, and is put aside.
    pub is_new: bool,
    /// Times and limits.
    pub options: &'a ControlOptions,
    /// The most bytes of a message to another hub.
    pub message: usize,
    /// The time.
    pub now: Mono,
    /// A source of numbers of its own.
    pub random: Random,
}

/// How a request to a council ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A change was decided on.
    Done(Outcome),
    /// The state is as new now as the request for it.
    Read,
    /// The voters are as asked.
    Voters,
    /// It cannot be; nothing was changed. In words.
    Refused(String),
    /// No answer came in time: it may be so, become so, or not.
    Unknown,
    /// Nobody led in all the time; nothing was changed.
    NoLeader,
}

/// What a council wants done, or says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// Bytes for the council of another hub.
    Send {
        /// Which.
        to: HubId,
        /// What.
        bytes: Vec<u8>,
    },
    /// A request has ended; each does once.
    Ended {
        /// Its number.
        request: u64,
        /// How.
        ended: Ended,
    },
    /// The state is another.
    Applied,
    /// Who leads, as far as is known.
    Leader {
        /// The hub; none: nobody.
        hub: Option<HubId>,
        /// The term.
        term: u64,
    },
    /// Who takes part.
    Members {
        /// Who votes.
        voters: Vec<HubId>,
        /// Who learns.
        learners: Vec<HubId>,
    },
    /// Something that an operator should know.
    Trouble(String),
    /// It has stopped for good: the hub goes on with the state that it has.
    Stopped(String),
}

/// A member as the leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The hub.
    pub hub: HubId,
    /// Entries that it is behind; none: not known.
    pub lag: Option<u64>,
}

/// One hub's part in replicating the control state.
pub trait Council: Send {
    /// Which hubs can be reached now; all of them each time.
    fn set_hubs(&mut self, reachable: &[(HubId, String)]);

    /// What the council of another hub says.
    ///
    /// # Errors
    /// It is nothing that is understood.
    fn on_message(&mut self, from: HubId, bytes: &[u8], now: Mono) -> Result<(), String>;

    /// Goes on; answers when it wants to again, at the latest.
    fn step(&mut self, now: Mono, words: &mut Vec<Word>) -> Option<Mono>;

    /// Wants a change decided on, [encoded](weft_govern::Change::encode). The number is free.
    ///
    /// # Errors
    /// It takes none now, for this reason.
    fn propose(&mut self, request: u64, change: &[u8], now: Mono) -> Result<(), String>;

    /// Wants the state to be at least as new as now.
    ///
    /// # Errors
    /// As of [`Council::propose`].
    fn read(&mut self, request: u64, now: Mono) -> Result<(), String>;

    /// Wants others to vote.
    ///
    /// # Errors
    /// As of [`Council::propose`].
    fn set_voters(&mut self, request: u64, voters: &[HubId], now: Mono) -> Result<(), String>;

    /// The state as it is here.
    fn state(&self) -> Arc<State>;

    /// What became of a change, if that is remembered.
    fn outcome(&self, id: ChangeId) -> Option<Outcome>;

    /// Who made the state this version, if that is remembered.
    fn author_of(&self, version: u64) -> Option<Authored>;

    /// How long ago the state here was known to be the others'; none: never in
    /// this life of the hub.
    fn age(&self, now: Mono) -> Option<Duration>;

    /// How far the members are; empty but at the leader.
    fn standings(&self) -> Vec<Standing>;
}
