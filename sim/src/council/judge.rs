//! What was told to whom, and the checks that hold it against the machines.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use weft_consensus::Member;

use super::history::{Found, Operation, search};
use super::machine::Values;

/// What is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// What clients saw of a key is what one copy could have answered.
    Linear,
    /// What was answered as applied is applied, everywhere, in the end.
    Lost,
    /// No proposal is applied twice.
    Twice,
    /// At the same entry all machines are equal.
    Equal,
    /// A member never goes back behind a term that it showed.
    Promise,
    /// After a crash a hub is the member that it was, with the log that it had.
    Held,
    /// There is one cluster.
    Cluster,
    /// When all is mended, all hubs come to the same state.
    CaughtUp,
    /// Each request has one end, and when all is mended it is a good one.
    Stuck,
}

/// A broken promise.
pub type Violation = crate::broken::Violation<Check>;

/// What was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Runs.
    pub runs: u64,
    /// Hubs.
    pub hubs: u64,
    /// Requests that were answered as done.
    pub done: u64,
    /// Requests of which nobody knows.
    pub unknown: u64,
    /// Requests that found no leader.
    pub no_leader: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Keys whose history was searched.
    pub searched: u64,
    /// Keys whose history was too much.
    pub unsettled: u64,
    /// Losses of power.
    pub crashes: u64,
    /// Kills.
    pub kills: u64,
    /// Disks that were lost.
    pub lost_disks: u64,
    /// Disks that failed.
    pub failed_disks: u64,
    /// Cuts.
    pub cuts: u64,
    /// Changes of leader that hubs noticed.
    pub elections: u64,
    /// Changes of voters that were asked for and done.
    pub voters: u64,
    /// Messages that were lost.
    pub lost: u64,
    /// Messages that arrived.
    pub messages: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.runs += more.runs;
        self.hubs += more.hubs;
        self.done += more.done;
        self.unknown += more.unknown;
        self.no_leader += more.no_leader;
        self.reads += more.reads;
        self.searched += more.searched;
        self.unsettled += more.unsettled;
        self.crashes += more.crashes;
        self.kills += more.kills;
        self.lost_disks += more.lost_disks;
        self.failed_disks += more.failed_disks;
        self.cuts += more.cuts;
        self.elections += more.elections;
        self.voters += more.voters;
        self.lost += more.lost;
        self.messages += more.messages;
    }
}

pub(super) type Verdict = Result<(), (Check, String)>;

/// What was seen so far.
#[derive(Default)]
pub(super) struct Judge {
    pub(super) tally: Tally,
    pub(super) operations: BTreeMap<u64, Vec<Operation>>,
    /// The digest of the machines at each entry.
    digests: BTreeMap<u64, u32>,
    /// The greatest term that each member showed.
    terms: BTreeMap<Member, u64>,
    /// The end of the log that each hub had after its last step.
    ends: BTreeMap<usize, (Member, Option<u64>)>,
    /// The cluster of each hub that is in one, with what is on its disk.
    clusters: BTreeMap<usize, u64>,
    /// Proposals that were answered as applied.
    pub(super) acknowledged: Vec<u64>,
}

impl Judge {
    /// A hub's machine took entries up to this one.
    pub(super) fn applied(&mut self, hub: usize, index: u64, machine: &Values) -> Verdict {
        if machine.repeated > 0 {
            return Err((Check::Twice, format!("{} proposals were applied again at hub {hub}", machine.repeated)));
        }
        let digest = *self.digests.entry(index).or_insert(machine.digest);
        if digest != machine.digest {
            let what = format!("at entry {index} hub {hub} has {:x}, another one had {digest:x}", machine.digest);
            return Err((Check::Equal, what));
        }
        Ok(())
    }

    /// After a step of a hub: what it showed may be relied on.
    pub(super) fn stepped(&mut self, hub: usize, member: Member, term: u64, end: Option<u64>) -> Verdict {
        let shown = self.terms.entry(member).or_default();
        if term < *shown {
            return Err((Check::Promise, format!("hub {hub} is in term {term} and was in term {shown}")));
        }
        *shown = term;
        self.ends.insert(hub, (member, end));
        Ok(())
    }

    /// A hub was opened again. Its log is whole if nothing failed in its last step.
    pub(super) fn opened(&mut self, hub: usize, member: Member, end: Option<u64>, is_sound: bool) -> Verdict {
        let Some((before, had)) = self.ends.get(&hub) else { return Ok(()) };
        if *before != member {
            return Err((Check::Held, format!("hub {hub} was {before} and is {member}")));
        }
        if is_sound && end != *had {
            return Err((Check::Held, format!("the log of hub {hub} ended at {had:?} and ends at {end:?}")));
        }
        Ok(())
    }

    /// A hub's disk was lost: it is another one.
    pub(super) fn forget(&mut self, hub: usize) {
        self.ends.remove(&hub);
        self.clusters.remove(&hub);
    }

    pub(super) fn in_cluster(&mut self, hub: usize, cluster: u64) -> Verdict {
        self.clusters.insert(hub, cluster);
        match self.clusters.iter().find(|(_, other)| **other != cluster) {
            Some((other, known)) => {
                Err((Check::Cluster, format!("hub {hub} is in cluster {cluster:x}, hub {other} in {known:x}")))
            }
            None => Ok(()),
        }
    }

    /// At the end, with all machines equal.
    pub(super) fn close(&mut self, machine: &Values) -> Verdict {
        if let Some(lost) = self.acknowledged.iter().find(|number| !machine.applied.contains(number)) {
            return Err((Check::Lost, format!("proposal {lost} was answered as applied and is not")));
        }
        for (key, operations) in &self.operations {
            self.tally.searched += 1;
            match search(operations) {
                Found::Order => {}
                Found::TooMuch => self.tally.unsettled += 1,
                Found::NoOrder => {
                    let mut sorted = operations.clone();
                    sorted.sort_by_key(|operation| operation.begun);
                    let lines: Vec<String> = sorted.iter().map(|operation| format!("\n  {operation:?}")).collect();
                    return Err((Check::Linear, format!("key {key} has no order:{}", lines.concat())));
                }
            }
        }
        Ok(())
    }
}
