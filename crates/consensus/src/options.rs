//! What a council is told when it opens, and its limits. Nothing decides here.

use std::time::Duration;

use weft_base::{ByteCount, HubId};

use crate::codec::MOST_NAME;
use crate::message::OVERHEAD;

/// The most voters that may be named.
pub const MOST_VOTERS: usize = 15;

/// How a council behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// This hub's name; its id is [`HubId::of_name`].
    pub name: String,
    /// The instance of this hub's data folder (`weft.json`): a control state that
    /// was copied from another folder is refused.
    pub folder: u64,
    /// The names of the hubs that vote, the same at each of them: the cluster is
    /// founded once all of them have seen each other. Empty at hubs that only
    /// learn. Once founded, voters are what [`Council::set_voters`] made them, and
    /// this list is not looked at.
    ///
    /// [`Council::set_voters`]: crate::Council::set_voters
    pub voters: Vec<String>,
    /// How often a leader speaks. A message and its answer have to be faster:
    /// otherwise appends are given up before they are answered. 250 ms.
    pub heartbeat: Duration,
    /// How long a voter waits for a leader before it stands for election: drawn
    /// between these two when a council opens. 1 to 2 s.
    pub election: (Duration, Duration),
    /// How long a request waits for its answer. 5 s.
    pub patience: Duration,
    /// How often a hub says that it is there. 1 s.
    pub hello: Duration,
    /// A hub that does not vote and was not heard of for so long is taken off the
    /// list, by the leader; it comes back when it speaks. The time is counted
    /// anew by each leader. 7 days.
    pub forget: Duration,
    /// How much of everything.
    pub limits: Limits,
}

/// The bounds of a council, and what happens there.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The longest message; longer ones go in parts. 60 KiB.
    pub message: ByteCount,
    /// The longest proposal; beyond it [`ProposeError::TooLarge`]. 256 KiB.
    ///
    /// [`ProposeError::TooLarge`]: crate::ProposeError::TooLarge
    pub proposal: ByteCount,
    /// Requests of this hub that wait; beyond it [`ProposeError::Full`]. 256.
    ///
    /// [`ProposeError::Full`]: crate::ProposeError::Full
    pub requests: usize,
    /// Bytes of proposals that wait; beyond it [`ProposeError::Full`]. 8 MiB.
    ///
    /// [`ProposeError::Full`]: crate::ProposeError::Full
    pub request_bytes: ByteCount,
    /// Requests of other hubs under way at the leader; beyond it they are told to
    /// try again, and do until their time is up. 1024.
    pub asked: usize,
    /// Entries after the last snapshot before there is another. 4096.
    pub log_entries: u64,
    /// Bytes of entries after the last snapshot before there is another. 8 MiB.
    pub log_bytes: ByteCount,
    /// The largest snapshot; a machine that makes a larger one stops the council.
    /// 64 MiB.
    pub snapshot: ByteCount,
    /// Hubs that are members; beyond it hubs are not added, and the leader says
    /// so. 1024.
    pub hubs: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message: ByteCount::kib(60),
            proposal: ByteCount::kib(256),
            requests: 256,
            request_bytes: ByteCount::mib(8),
            asked: 1024,
            log_entries: 4096,
            log_bytes: ByteCount::mib(8),
            snapshot: ByteCount::mib(64),
            hubs: 1024,
        }
    }
}

/// Options that make no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// A name is empty or too long.
    #[error("`{0}` is not the name of a hub: write 1 to {MOST_NAME} bytes")]
    Name(String),
    /// A voter is named twice, or two names have one id.
    #[error("the voter `{0}` is named twice: name each voter once")]
    Twice(String),
    /// Too many voters.
    #[error("{0} voters are named, at most {MOST_VOTERS} may be: the others learn from them anyway")]
    Voters(usize),
    /// The times do not fit together.
    #[error(
        "the election time-out is {least:?} to {most:?} with a heartbeat of {heartbeat:?}: it has to begin at two heartbeats at least and end later than it begins"
    )]
    Times {
        /// The heartbeat.
        heartbeat: Duration,
        /// The least.
        least: Duration,
        /// The most.
        most: Duration,
    },
    /// A limit is too small for anything to work.
    #[error("the limit `{name}` is {value}: it has to be at least {least}")]
    Limit {
        /// Which.
        name: &'static str,
        /// Its value.
        value: u64,
        /// The least that works.
        least: u64,
    },
    /// A limit is larger than what the format or the memory carries.
    #[error("the limit `{name}` is {value}: it may be {most} at most")]
    Most {
        /// Which.
        name: &'static str,
        /// Its value.
        value: u64,
        /// The most.
        most: u64,
    },
}

impl Options {
    /// The defaults, for the hub of this name.
    #[must_use]
    pub fn of(name: &str, folder: u64, voters: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            folder,
            voters: voters.iter().map(|&voter| voter.to_owned()).collect(),
            heartbeat: Duration::from_millis(250),
            election: (Duration::from_secs(1), Duration::from_secs(2)),
            patience: Duration::from_secs(5),
            hello: Duration::from_secs(1),
            forget: Duration::from_secs(7 * 24 * 3600),
            limits: Limits::default(),
        }
    }

    /// The hub's id.
    #[must_use]
    pub fn hub(&self) -> HubId {
        HubId::of_name(&self.name)
    }

    /// The voters' list folded, the same in any order: two hubs agree on whom to
    /// found a cluster with, or do not. 0 without voters.
    pub(crate) fn digest(&self) -> u64 {
        let mut names = self.voters.clone();
        names.sort_unstable();
        if names.is_empty() { 0 } else { HubId::of_name(&names.join("\0")).0 }
    }

    pub(crate) fn check(&self) -> Result<(), OptionsError> {
        for name in self.voters.iter().chain([&self.name]) {
            if name.is_empty() || name.len() > MOST_NAME {
                return Err(OptionsError::Name(name.chars().take(64).collect()));
            }
        }
        if self.voters.len() > MOST_VOTERS {
            return Err(OptionsError::Voters(self.voters.len()));
        }
        let mut hubs = std::collections::BTreeSet::new();
        if let Some(twice) = self.voters.iter().find(|name| !hubs.insert(HubId::of_name(name))) {
            return Err(OptionsError::Twice(twice.clone()));
        }
        let (heartbeat, (least, most)) = (self.heartbeat, self.election);
        let is_whole = heartbeat.as_millis() > 0 && most.as_millis() > least.as_millis();
        if !is_whole || least < heartbeat * 2 || most > Duration::from_secs(3600) {
            return Err(OptionsError::Times { heartbeat, least, most });
        }
        let limits = &self.limits;
        let proposal = limits.proposal.0;
        for (name, value, least, most) in [
            ("message", limits.message.0, 8 * OVERHEAD as u64, 16 << 20),
            ("proposal", proposal, 1, 64 << 20),
            ("requests", limits.requests as u64, 1, u64::MAX),
            ("request_bytes", limits.request_bytes.0, proposal, 1 << 30),
            ("asked", limits.asked as u64, 1, u64::MAX),
            ("log_entries", limits.log_entries, 16, 1 << 20),
            ("log_bytes", limits.log_bytes.0, proposal, 1 << 30),
            ("snapshot", limits.snapshot.0, 1, 1 << 30),
            ("hubs", limits.hubs as u64, self.voters.len().max(1) as u64, crate::codec::MOST_MEMBERS as u64 / 2),
        ] {
            if value < least {
                return Err(OptionsError::Limit { name, value, least });
            }
            if value > most {
                return Err(OptionsError::Most { name, value, most });
            }
        }
        Ok(())
    }
}
