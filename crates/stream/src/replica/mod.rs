//! A stream at several hubs: what is copied between them, and who has what.
//!
//! Each home appends what enters there and numbers it: an event's name is
//! (home, home sequence). The others copy it under that name, in that order,
//! once. What a home has is a [`Position`], and all that the deciders here keep
//! can be had again from it: nothing of this part is on disk.
//!
//! [`Replica`] is the decider of one stream at one hub: it is told of messages,
//! of hubs, of the log and of time, and answers with commands. It knows no
//! socket, file, clock or thread.

mod give;
mod message;
mod pull;
mod seen;
mod settings;
#[cfg(test)]
mod tests;
mod vector;
pub mod world;

use std::time::Duration;

use weft_base::{Epoch, HubId, Mono, Now};

pub use self::give::{Source, Stored, Unreadable};
pub use self::message::{
    Blocks, Entries, Entry, Fetch, FoundBlocks, Lost, MAX_FILTERS, MAX_LOST, MAX_TEXT, Message, MessageError, Want,
};
pub use self::pull::PullCounts;
pub use self::seen::{Seen, Sight};
pub use self::settings::{Peer, Settings};
pub use self::vector::{MAX_PLACES, Position};

use self::give::Giver;
use self::pull::Puller;

/// What a replica is told.
#[derive(Debug)]
pub enum Event<'a> {
    /// A hub can be reached, in this life of it.
    HubUp {
        /// The hub.
        hub: HubId,
        /// Its life.
        epoch: Epoch,
    },
    /// A hub cannot be reached any more.
    HubDown {
        /// The hub.
        hub: HubId,
    },
    /// Another hub says something about this stream.
    Message {
        /// Who.
        from: HubId,
        /// What.
        message: &'a Message<'a>,
    },
    /// The log has taken a command's copies.
    Placed {
        /// The command.
        id: u64,
        /// The local sequence behind them.
        log_next: u64,
    },
    /// The log has not taken a command's copies, and takes none of those behind.
    Refused {
        /// The command.
        id: u64,
    },
    /// More of the log is on disk.
    Synced {
        /// All below this local sequence.
        local: u64,
        /// What the log holds before it.
        position: &'a Position,
    },
    /// Time has passed.
    Tick,
}

/// What is to be done for a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Send this to a hub. It may be lost.
    Send {
        /// The hub.
        to: HubId,
        /// The message.
        bytes: Vec<u8>,
    },
    /// Append blocks of the message just handed in.
    Append(Copies),
    /// A home has on its disk what entered here.
    HeldBy {
        /// The home.
        hub: HubId,
        /// All below this sequence of this home.
        upto: u64,
    },
}

/// Blocks to append, in this order, all or from some point on none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copies {
    /// Named in [`Event::Placed`] and [`Event::Refused`].
    pub id: u64,
    /// What must be there before, by the log's own position and what earlier
    /// commands went through; the log's owner refuses otherwise.
    pub from: Position,
    /// What is there, or passed over, afterwards.
    pub through: Position,
    /// The blocks, as places in the answer's entries; none when all that it
    /// reaches is passed over.
    pub copies: Vec<Copy>,
}

/// One block among the entries of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Where it begins.
    pub at: usize,
    /// Its length.
    pub len: usize,
    /// Where it entered the stream.
    pub home: u32,
    /// The first of that home's sequences.
    pub sequence: u64,
    /// How many.
    pub span: u32,
}

/// What is known of another hub that keeps the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceReport {
    /// The hub.
    pub hub: HubId,
    /// Its tag.
    pub tag: u32,
    /// Whether it can be reached.
    pub up: bool,
    /// It can be reached, or could, and does not answer.
    pub silent: bool,
    /// How long ago it was heard; none: never.
    pub heard: Option<Duration>,
    /// What it has on disk, as it said itself.
    pub end: Position,
    /// Events that it has and this hub has not.
    pub lag: u64,
}

/// How a replica is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What is in the log.
    pub position: Position,
    /// What is on disk.
    pub synced: Position,
    /// The others.
    pub sources: Vec<SourceReport>,
    /// Counted since the start.
    pub counts: PullCounts,
    /// Who reads here.
    pub readers: usize,
    /// Bytes given to them.
    pub given: u64,
    /// Requests turned away.
    pub turned_away: u64,
    /// Events that entered here, that others have, and that are not here any more.
    pub lost_here: u64,
}

/// The decider of one stream at one hub.
#[derive(Clone, Debug)]
pub struct Replica {
    settings: Settings,
    puller: Puller,
    giver: Giver,
}

impl Replica {
    /// A replica whose log holds `position`, all of it on disk, and ends at
    /// the local sequence `local`; in the hub's life `epoch`.
    #[must_use]
    pub fn new(settings: Settings, position: Position, local: u64, epoch: Epoch, seed: u64) -> Self {
        let puller = Puller::new(&settings, position, local, epoch, seed);
        Self { settings, puller, giver: Giver::default() }
    }

    /// Changes the definition: homes come, go, or change their role. The log,
    /// and what is known of hubs that stay, stay.
    pub fn alter(&mut self, settings: Settings) {
        self.puller.alter(&settings);
        self.settings = settings;
    }

    /// The definition.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes an event; adds what is to be done to `out`.
    pub fn apply(&mut self, event: Event<'_>, now: Now, out: &mut Vec<Command>) {
        let Self { settings, puller, giver } = self;
        match event {
            Event::HubUp { hub, epoch } => puller.hub_up(hub, epoch),
            Event::HubDown { hub } => {
                puller.hub_down(hub);
                giver.hub_down(hub);
            }
            Event::Message { from, message: Message::Fetch(fetch) } => {
                giver.on_fetch(from, fetch, settings, now);
                puller.heard_of(from, &fetch.synced, settings, out);
            }
            Event::Message { from, message: Message::Blocks(blocks) } => {
                puller.on_blocks(from, blocks, settings, now, out);
            }
            Event::Message { from, message: Message::Synced { synced, .. } } => {
                puller.heard_of(from, synced, settings, out);
            }
            Event::Message { from, message: Message::Want(want) } => giver.on_want(from, want, settings),
            // An answer is for who repairs.
            Event::Message { message: Message::Found(_), .. } => {}
            Event::Placed { id, log_next } => puller.on_placed(id, log_next),
            Event::Refused { id } => puller.on_refused(id, settings, now),
            Event::Synced { local, position } => {
                let grown = puller.on_synced(local, position, settings, out);
                if !settings.mirror && !grown.is_empty() {
                    let told = Message::Synced { stream: settings.stream, synced: puller.synced().clone() }.encode();
                    let origins = puller.origins(&grown).into_iter();
                    out.extend(origins.map(|to| Command::Send { to, bytes: told.clone() }));
                }
            }
            Event::Tick => giver.tick(settings, now),
        }
        puller.tick(settings, now, out);
    }

    /// Gives those who read here what they have credit for, one answer each at
    /// most. Answers how many bytes of the log were read: with 0 there is
    /// nothing to do before the next event or deadline.
    pub fn serve(&mut self, source: &mut dyn Source, now: Now, out: &mut Vec<Command>) -> usize {
        let end = (self.puller.synced_local(), self.puller.synced());
        self.giver.serve(source, &self.settings, end, now, out)
    }

    /// Whether somebody reads here.
    #[must_use]
    pub fn has_readers(&self) -> bool {
        self.giver.readers() > 0 || self.giver.is_wanted()
    }

    /// When [`Event::Tick`] and [`Replica::serve`] are due at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Mono> {
        let deadlines = [self.puller.next_deadline(&self.settings), self.giver.next_deadline(&self.settings)];
        deadlines.into_iter().flatten().min()
    }

    /// What is in the log, with what it passed over.
    #[must_use]
    pub fn position(&self) -> &Position {
        self.puller.applied()
    }

    /// Events that entered here, that others have, and that are not here any
    /// more: until they are back, nothing new may enter, or two events would
    /// have one name.
    #[must_use]
    pub fn lost_here(&self) -> u64 {
        self.puller.lost_here(&self.settings)
    }

    /// What the other homes have on their disks, with what they passed over, of
    /// every home. None for mirrors, which count for nobody.
    pub fn ends(&self) -> impl Iterator<Item = (HubId, &Position)> {
        self.puller.ends().filter(|_| !self.settings.mirror)
    }

    /// Whether homes within reach take what enters here.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        !self.settings.mirror && self.puller.homes_up().next().is_some()
    }

    /// Whether all homes within reach have on their disks what this one has on
    /// its own, as far as they have said so.
    #[must_use]
    pub fn is_copied(&self) -> bool {
        self.puller.homes_up().all(|end| end.covers(self.puller.synced()))
    }

    /// How it is.
    #[must_use]
    pub fn report(&self, now: Now) -> Report {
        Report {
            position: self.puller.applied().clone(),
            synced: self.puller.synced().clone(),
            sources: self.puller.report(now),
            counts: self.puller.counts,
            readers: self.giver.readers(),
            given: self.giver.given,
            turned_away: self.giver.turned_away,
            lost_here: self.puller.lost_here(&self.settings),
        }
    }
}
