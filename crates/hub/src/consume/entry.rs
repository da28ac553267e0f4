//! One consumer at this hub: the decider, its members' sessions, and where it
//! reads. Nothing here waits or touches a socket.

use std::sync::Arc;

use weft_base::{Mono, Now};
use weft_log::LogReader;
use weft_stream::consumer::{Consumer, Counts, MemberId};
use weft_stream::seat::Preference;
use weft_wire::frame::{self, Frame};

use super::definition::Definition;
use super::keep::Record;
use super::outflow::Outflow;
use crate::messages::{StreamSlot, Target, ToNet};
use crate::outbox::Outbox;
use crate::see::ConsumerLag;

/// What a member may be handed before its session is looked at again.
const SLICE: i64 = 64 << 10;

/// A consumer in the stage's table: its place, and its serial number, so that
/// what is late for one that is gone meets nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) place: u32,
    pub(super) serial: u32,
}

/// A member's session.
pub(super) struct Member {
    pub(super) id: MemberId,
    pub(super) target: Target,
    pub(super) outflow: Arc<Outflow>,
    /// Bytes that the client granted and the decider was not told of yet.
    pub(super) bytes: u64,
    /// Bytes that the decider may still hand out; the last block may take more.
    granted: i64,
    /// When it was told last what it says wrongly, without having asked.
    pub(super) told: Option<Mono>,
}

impl Member {
    pub(super) fn new(id: MemberId, target: Target, outflow: Arc<Outflow>, bytes: u64) -> Self {
        Self { id, target, outflow, bytes, granted: 0, told: None }
    }

    /// Lets the decider hand out some more where the client and its session
    /// have room for it.
    fn top_up(&mut self, consumer: &mut Consumer) {
        if self.granted >= SLICE / 2 || self.bytes == 0 || !self.outflow.has_room() {
            return;
        }
        let more = self.bytes.min(SLICE.saturating_sub(self.granted).unsigned_abs());
        if self.bytes != u64::MAX {
            self.bytes -= more;
        }
        self.granted = self.granted.saturating_add_unsigned(more);
        consumer.grant(self.id, 0, more);
    }

    /// A block was handed out to it.
    pub(super) fn handed(&mut self, bytes: u64) {
        self.granted = self.granted.saturating_sub_unsigned(bytes);
        self.outflow.queue(bytes);
    }
}

/// A consumer at this hub.
pub(super) struct Entry {
    pub(super) serial: u32,
    pub(super) slot: StreamSlot,
    pub(super) definition: Definition,
    pub(super) consumer: Consumer,
    pub(super) members: Vec<Member>,
    /// Reads what is handed out for the first time.
    pub(super) reader: LogReader,
    /// Reads what is handed out again, and dead letters.
    pub(super) again: LogReader,
    /// It is on the list of those to be served.
    pub(super) queued: bool,
    /// Something happened to it in this turn.
    pub(super) touched: bool,
    /// Bytes that it may be served; below zero after a large block.
    pub(super) deficit: i64,
    /// When it is to be looked at in any case, as the stage knows it.
    pub(super) deadline: Option<Mono>,
    /// After an error of the disk it reads no sooner.
    pub(super) retry: Option<Mono>,
    /// Events under way, as they are counted for the hub.
    pub(super) under_way: u64,
    /// What was counted for the hub.
    pub(super) counted: Counts,
    /// The first event that is not settled and when it entered the mesh, in Unix
    /// nanoseconds, where it is behind.
    pub(super) oldest: Option<(u64, u64)>,
    /// Where it is shown how far it is behind, if it is told apart.
    pub(super) lag: Option<Arc<ConsumerLag>>,
    /// Somebody asked for it in this life of the hub: it runs here.
    pub(super) claimed: bool,
    /// It is handed over to another home: nothing is handed out.
    pub(super) leaving: bool,
    /// Where it is to run.
    pub(super) preference: Preference,
}

impl Entry {
    pub(super) fn new(
        serial: u32,
        slot: StreamSlot,
        definition: Definition,
        consumer: Consumer,
        log: &LogReader,
    ) -> Self {
        Self {
            serial,
            slot,
            definition,
            consumer,
            members: Vec::new(),
            reader: log.clone(),
            again: log.clone(),
            queued: false,
            touched: false,
            deficit: 0,
            deadline: None,
            retry: None,
            under_way: 0,
            counted: Counts::default(),
            oldest: None,
            lag: None,
            claimed: false,
            leaving: false,
            preference: Preference::default(),
        }
    }

    /// As it lies in the stream's file, of a log that has all below `synced` on
    /// disk: one that was taken over may have settled what is not there yet, and
    /// what comes in its place after a loss of power was never seen.
    pub(super) fn record(&self, synced: u64) -> Record {
        let (from, generation) = (self.consumer.floor().min(synced), self.consumer.generation());
        let (definition, preference) = (self.definition.clone(), self.preference.clone());
        Record { definition, from, generation, preference }
    }

    pub(super) fn member(&mut self, id: MemberId) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.id == id)
    }

    /// Lets the decider hand out what members and their sessions have room for.
    pub(super) fn top_up(&mut self) {
        for member in &mut self.members {
            member.top_up(&mut self.consumer);
        }
    }

    /// Takes a member out. Who works now in its place is told.
    pub(super) fn leave(&mut self, id: MemberId, now: Now, net: &mut Outbox<ToNet>) {
        if let Some(place) = self.members.iter().position(|member| member.id == id) {
            self.members.swap_remove(place);
        }
        if let Some(next) = self.consumer.leave(id, now) {
            self.tell(next, net);
        }
    }

    /// Tells a member that it works, or waits, and with which token.
    pub(super) fn tell(&mut self, activated: weft_stream::consumer::Activated, net: &mut Outbox<ToNet>) {
        let Some(member) = self.member(activated.member) else { return };
        let consuming =
            frame::Consuming { id: member.target.subscription, token: activated.token, redeliver: activated.redeliver };
        let mut bytes = Vec::new();
        frame::encode(&Frame::Consuming(consuming), &mut bytes);
        net.push(ToNet::Control { session: member.target.session, bytes });
    }
}
