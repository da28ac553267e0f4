//! `weft_consensus::Council` over `weft_govern::Machine`, as the hub wants a
//! council. The state is in `DATA/control/control.redb`.
//!
//! Bounds: [`LIMITS`] of the state and of a change, the same at all hubs of a
//! mesh, and those of Raft that follow from them.

use std::sync::Arc;
use std::time::Duration;

use weft_base::{ByteCount, HubId, Mono};
use weft_consensus as raft;
use weft_govern::{Authored, ChangeId, Limits, Machine, Outcome, State};
use weft_hub::govern::{Council, Ended, Seat, Standing, Word};
use weft_hub::options::MAX_CONTROL_STATE;

/// Of the state. All hubs of a mesh answer by the same ones.
const LIMITS: Limits = Limits {
    document: 256 << 10,
    change: 4 << 20,
    resources: 50_000,
    state: MAX_CONTROL_STATE.0 as usize,
    remembered: 4_096,
};

/// The state's machine, as Raft wants one.
struct Replicated(Machine);

impl raft::Machine for Replicated {
    fn apply(&mut self, entry: &[u8], index: u64) -> Vec<u8> {
        self.0.apply(entry, index)
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.snapshot()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), raft::RestoreError> {
        self.0.restore(snapshot).map_err(|error| raft::RestoreError(error.to_string()))
    }
}

/// The council of a hub.
struct Seated {
    council: raft::Council<Replicated>,
    commands: Vec<raft::Command>,
}

/// Opens the council of a hub, or makes it.
///
/// # Errors
/// Why what is kept cannot be used, and what to do.
pub(crate) fn open(seat: Seat<'_>) -> Result<Box<dyn Council>, String> {
    let folder = seat.data.join("control");
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", folder.display());
    std::fs::create_dir_all(&folder).map_err(|error| failed(&error))?;
    let file = folder.join("control.redb");
    if seat.is_new && file.exists() {
        std::fs::rename(&file, folder.join("control.redb.before")).map_err(|error| failed(&error))?;
    }
    let kept = raft::Kept::open(&file).map_err(|error| failed(&error))?;
    // Who is not on the list learns.
    let votes = seat.voters.iter().any(|voter| voter == seat.name);
    let voters: Vec<&str> = seat.voters.iter().filter(|_| votes).map(String::as_str).collect();
    let told = seat.options;
    let defaults = raft::Limits::default();
    let change = ByteCount(LIMITS.change as u64);
    let options = raft::Options {
        heartbeat: told.heartbeat,
        election: (told.election_least, told.election_most),
        patience: told.patience,
        limits: raft::Limits {
            message: ByteCount(defaults.message.0.min(seat.message as u64)),
            proposal: change,
            // Each request has a step under way at most.
            requests: told.requests,
            request_bytes: ByteCount(change.0 * 4),
            log_bytes: ByteCount(change.0 * 4),
            // Keys, versions and what is remembered stand beside the documents.
            snapshot: ByteCount(LIMITS.state as u64 * 2),
            ..defaults
        },
        ..raft::Options::of(seat.name, seat.folder, &voters)
    };
    let machine = Replicated(Machine::new(LIMITS));
    let council = raft::Council::open(options, Box::new(kept), machine, seat.now, seat.random);
    let council = council.map_err(|error| failed(&error))?;
    Ok(Box::new(Seated { council, commands: Vec::new() }))
}

impl Seated {
    fn machine<T>(&self, look: impl FnOnce(&Machine) -> T) -> T {
        self.council.with_machine(|machine, _| look(&machine.0))
    }
}

impl Council for Seated {
    fn set_hubs(&mut self, reachable: &[(HubId, String)]) {
        self.council.set_hubs(reachable);
    }

    fn on_message(&mut self, from: HubId, bytes: &[u8], now: Mono) -> Result<(), String> {
        self.council.on_message(from, bytes, now).map_err(|error| error.to_string())
    }

    fn step(&mut self, now: Mono, words: &mut Vec<Word>) -> Option<Mono> {
        let next = self.council.step(now, &mut self.commands);
        words.extend(self.commands.drain(..).map(word));
        next
    }

    fn propose(&mut self, request: u64, change: &[u8], now: Mono) -> Result<(), String> {
        self.council.propose(request, change, now).map_err(|error| error.to_string())
    }

    fn read(&mut self, request: u64, now: Mono) -> Result<(), String> {
        self.council.read(request, now).map_err(|error| error.to_string())
    }

    fn set_voters(&mut self, request: u64, voters: &[HubId], now: Mono) -> Result<(), String> {
        self.council.set_voters(request, voters, now).map_err(|error| error.to_string())
    }

    fn state(&self) -> Arc<State> {
        self.machine(|machine| machine.state().clone())
    }

    fn outcome(&self, id: ChangeId) -> Option<Outcome> {
        self.machine(|machine| machine.outcome(&id).cloned())
    }

    fn author_of(&self, version: u64) -> Option<Authored> {
        self.machine(|machine| machine.author_of(version).cloned())
    }

    fn age(&self, now: Mono) -> Option<Duration> {
        self.council.age(now)
    }

    fn standings(&self) -> Vec<Standing> {
        self.council.standings().into_iter().map(|(hub, lag)| Standing { hub, lag }).collect()
    }
}

fn word(command: raft::Command) -> Word {
    match command {
        raft::Command::Send { to, bytes } => Word::Send { to, bytes },
        raft::Command::Answered { request, outcome } => Word::Ended { request, ended: ended(outcome) },
        raft::Command::Applied { .. } => Word::Applied,
        raft::Command::Leader { hub, term } => Word::Leader { hub, term },
        raft::Command::Membership { voters, learners } => {
            Word::Members { voters: voters.into_iter().collect(), learners: learners.into_iter().collect() }
        }
        raft::Command::Trouble(trouble) => Word::Trouble(trouble.to_string()),
        raft::Command::Stopped { why } => Word::Stopped(why),
    }
}

fn ended(outcome: raft::Outcome) -> Ended {
    match outcome {
        raft::Outcome::Done(answer) => match Outcome::decode(&answer) {
            Ok(outcome) => Ended::Done(outcome),
            Err(why) => Ended::Refused(format!("a hub of another version decided on it: {why}")),
        },
        raft::Outcome::Read { .. } => Ended::Read,
        raft::Outcome::Voters => Ended::Voters,
        raft::Outcome::Refused(why) => Ended::Refused(why),
        raft::Outcome::Unknown => Ended::Unknown,
        raft::Outcome::NoLeader => Ended::NoLeader,
    }
}
