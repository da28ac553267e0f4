//! Faults put in on purpose, one at least for each check.

use std::collections::BTreeMap;

use weft_consensus::{Change, Kept, Storage, StorageError, Stored};

use super::Check;

/// A fault that a check must report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canary {
    /// Reads are answered from the hub's own machine.
    StaleRead,
    /// Proposals are answered when they are made.
    EarlyAnswer,
    /// Disks say that they synced, and do nothing.
    BrokenSync,
    /// Entries are acknowledged before they are written.
    EarlyAppend,
    /// Votes are not written.
    ForgottenVote,
    /// A hub that lost its disk goes on as the member that it was.
    SameMember,
    /// A machine takes an entry for another one.
    OddMachine,
    /// A proposal is made twice.
    SentTwice,
    /// One hub hears nothing long when all is mended.
    DeafHub,
    /// Answers do not come.
    NoAnswers,
}

impl Canary {
    /// All of them.
    pub const ALL: [Canary; 10] = [
        Self::StaleRead,
        Self::EarlyAnswer,
        Self::BrokenSync,
        Self::EarlyAppend,
        Self::ForgottenVote,
        Self::SameMember,
        Self::OddMachine,
        Self::SentTwice,
        Self::DeafHub,
        Self::NoAnswers,
    ];

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::StaleRead => "stale-read",
            Self::EarlyAnswer => "early-answer",
            Self::BrokenSync => "broken-sync",
            Self::EarlyAppend => "early-append",
            Self::ForgottenVote => "forgotten-vote",
            Self::SameMember => "same-member",
            Self::OddMachine => "odd-machine",
            Self::SentTwice => "sent-twice",
            Self::DeafHub => "deaf-hub",
            Self::NoAnswers => "no-answers",
        }
    }

    /// The checks of which one must report it.
    #[must_use]
    pub const fn caught_by(self) -> &'static [Check] {
        match self {
            Self::StaleRead => &[Check::Linear],
            Self::EarlyAnswer => &[Check::Lost],
            Self::ForgottenVote => &[Check::Promise],
            Self::SameMember => &[Check::Promise, Check::Held],
            Self::BrokenSync | Self::EarlyAppend => &[Check::Held],
            Self::OddMachine => &[Check::Equal],
            Self::SentTwice => &[Check::Twice],
            Self::DeafHub => &[Check::CaughtUp],
            Self::NoAnswers => &[Check::Stuck],
        }
    }
}

/// Storage with a fault in it.
pub(super) struct Odd {
    pub(super) kept: Kept,
    pub(super) canary: Option<Canary>,
    /// Entries that were said to be written.
    pub(super) held: BTreeMap<u64, Vec<u8>>,
}

impl Storage for Odd {
    fn load(&mut self) -> Result<Stored, StorageError> {
        self.kept.load()
    }

    fn save(&mut self, changes: &[Change<'_>]) -> Result<(), StorageError> {
        match self.canary {
            Some(Canary::ForgottenVote) => {
                let rest: Vec<Change<'_>> =
                    changes.iter().filter(|change| !matches!(change, Change::Vote(_))).cloned().collect();
                self.kept.save(&rest)
            }
            Some(Canary::EarlyAppend) => self.late(changes),
            _ => self.kept.save(changes),
        }
    }
}

impl Odd {
    /// Writes entries with the next save that is not of entries alone.
    fn late(&mut self, changes: &[Change<'_>]) -> Result<(), StorageError> {
        let mut rest = Vec::new();
        for change in changes {
            match change {
                Change::Append { index, bytes } => {
                    self.held.insert(*index, bytes.to_vec());
                }
                Change::Committed(_) => {}
                other => rest.push(other.clone()),
            }
        }
        if rest.is_empty() {
            return Ok(());
        }
        let held = std::mem::take(&mut self.held);
        let mut all: Vec<Change<'_>> =
            held.iter().map(|(index, bytes)| Change::Append { index: *index, bytes }).collect();
        all.extend(rest);
        self.kept.save(&all)
    }
}
