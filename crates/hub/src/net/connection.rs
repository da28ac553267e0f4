//! One connection: what it is, what it has sent so far, what goes out to it.

use std::collections::HashMap;
use std::sync::Arc;

use weft_base::{Epoch, HubId, Lane, Mono};
use weft_govern::access::Principal;
use weft_govern::login::Login;
use weft_mesh::crossing::Tally;
use weft_mesh::{Life, Why};
use weft_pack::Codec;
use weft_ring::arena::{Arena, Buffer};
use weft_transport::{LinkToken, Peer};
use weft_wire::frame::AckLevel;

use super::apart::Apart;
use super::egress::Egress;
use super::inspect::Standing;
use super::link::{Heard, LinkIn, LinkOut};
use super::login::Waiting;
use super::parallel::Part;
use super::published::Published;
use super::rights::Rights;
use crate::admit::LastShard;
use crate::counters::{Counters, HeldBy, Stall};
use crate::messages::{Dial, Forward, SessionId};

/// What stands between a connection and a session, and what session it is.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    /// Dialled; the transport's handshake is under way.
    Dialling { dial: Dial },
    /// A peer connected; its `Hello` is awaited.
    AwaitHello { hubs: bool, peer: Peer },
    /// A client has said `Hello`; who it is, is being found out.
    AwaitLogin(Box<Waiting>),
    /// This hub dialled and said `Hello`; the `Welcome` is awaited.
    AwaitWelcome { dial: Dial, peer: Peer, since: Mono },
    /// A hub of version 2 or later; its `LinkOpen` is awaited.
    AwaitOpen { dial: Option<Dial>, peer: PeerHub },
    /// One end measured how far the other is: it is about to end.
    Probed,
    /// The first connection of a link of several; the others are awaited.
    Gathering { dial: Option<Dial>, peer: PeerHub, picked: Option<Why> },
    /// One of the others, which awaits the rest of them.
    Joined,
    /// A client's session.
    Client,
    /// A link to another hub.
    Link { dial: Option<Dial> },
}

/// What another hub said of itself in `Hello` or `Welcome`.
#[derive(Clone, Debug)]
pub(crate) struct PeerHub {
    pub(crate) hub: HubId,
    pub(crate) epoch: Epoch,
    pub(crate) name: String,
    pub(crate) region: String,
    /// The version of the protocol that both speak.
    pub(crate) version: u16,
    /// How blocks are packed on the link, once both have said what they may be.
    pub(crate) packing: Option<Codec>,
    /// The start of its data folder, once it has said so.
    pub(crate) life: Option<Life>,
}

impl PeerHub {
    /// Whether both are of one start of one hub.
    pub(crate) fn is_of_the_start(&self, other: &Self) -> bool {
        (self.hub, self.epoch, self.life, self.version) == (other.hub, other.epoch, other.life, other.version)
    }
}

/// A connection and its session.
pub(crate) struct Connection {
    pub(crate) id: SessionId,
    pub(crate) link: LinkToken,
    pub(crate) role: Role,
    /// What the client calls itself; empty for others.
    pub(crate) name: String,
    /// It is not read: what it published waits for a gate.
    pub(crate) held: bool,
    /// Its socket is a tunnel: the client is at another hub.
    pub(crate) tunnelled: bool,
    /// Of a client of this hub, where that is governed: what it may do.
    pub(crate) rights: Option<Box<Rights>>,
    /// Of a client of this hub: who it is.
    pub(crate) principal: Option<Arc<Principal>>,
    /// Of a client, where the hub asks: who it is, and by what.
    pub(crate) login: Option<Arc<Login>>,
    /// The login stage was asked, and has not answered.
    pub(crate) login_asked: bool,
    /// Of a client: what it speaks, and how it stands with a hub that drains.
    pub(crate) client: ClientFacts,
    /// When the handshake must be over, or the end.
    pub(crate) deadline: Mono,
    /// Bytes received and not yet taken apart; none while nothing is pending.
    pub(crate) received: Option<Buffer>,
    /// Of a link: what was packed and has come, not yet taken apart.
    pub(crate) unpacked: Option<Buffer>,
    /// Of a link: how blocks come packed, where both ends have agreed to it.
    pub(crate) packing: Option<Codec>,
    /// `received` is of the reserve: there was no other memory. Control frames
    /// are taken from it, blocks are not, because they would keep it.
    pub(crate) on_reserve: bool,
    /// Of a link that keeps lanes apart: what was received of each.
    pub(crate) apart: Option<Box<Apart>>,
    /// What it is among the connections of a link that does not stand yet.
    pub(crate) part: Option<Part>,
    /// Something was read since idle buffers were last looked for.
    pub(crate) active: bool,
    pub(crate) egress: Egress,
    /// Of a link: what either end may send.
    pub(crate) credit: Option<Box<Credit>>,
    /// Whether the connection is on the list of those to be flushed.
    pub(crate) dirty: bool,
    /// Whether there may be more to read.
    pub(crate) readable: bool,
    /// Whether a write met a full socket.
    pub(crate) blocked: bool,
    /// The peer is to be closed once all is flushed.
    pub(crate) closing: bool,
    /// Of a client: whether its publishes wait for room in this lane.
    pub(crate) stall: (Stall, Lane),
    /// Which admit stage has its last publish.
    pub(crate) last_shard: Option<LastShard>,
    /// Publishes not answered yet.
    pub(crate) unanswered: u32,
    /// Of a client: what of its publishes is being checked.
    pub(crate) inspected: Standing,
    /// Of a client of this hub: the topics that it publishes.
    pub(crate) published: Published,
    /// Publishes with several destinations: how many of them are still open.
    pub(crate) parts: HashMap<u64, Parts>,
}

/// What is known of a client besides its frames.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ClientFacts {
    /// The version of the protocol that both speak.
    pub(crate) version: u16,
    /// Its certificate is one of an administrator.
    pub(crate) is_admin: bool,
    /// It has asked for a drain, or how one stands: nobody waits for it to go.
    pub(crate) operates: bool,
    /// And was told that it is over.
    pub(crate) knows_end: bool,
    /// It was told to go elsewhere.
    pub(crate) told: bool,
    /// It goes: not before the first time, and not later than the second.
    pub(crate) leaving: Option<(Mono, Mono)>,
}

/// Credit of a link, at this end of it.
pub(crate) struct Credit {
    /// The version of the protocol that both ends speak.
    pub(crate) version: u16,
    pub(crate) out: LinkOut<Forward>,
    pub(crate) into: LinkIn,
    pub(crate) heard: Heard,
    /// What came by lane and was not taken in.
    pub(crate) unread: [Tally; Lane::COUNT],
}

/// The destinations of one publish that have not answered yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    pub(crate) open: u32,
    /// The lowest level that one of them reached.
    pub(crate) level: AckLevel,
}

impl Connection {
    /// The tenant of its client, where it has one.
    pub(crate) fn tenant(&self) -> Option<&str> {
        self.principal.as_ref()?.tenant.as_deref()
    }

    /// Its next publish waits for room in this lane, or it waits no more.
    pub(crate) fn count_stall(&mut self, lane: Option<Lane>, now: Mono, counters: &Counters) {
        let (stall, of) = &mut self.stall;
        *of = lane.unwrap_or(*of);
        stall.set(lane.is_some(), now, counters.publish_stalls.of_lane(HeldBy::Load, *of));
    }

    /// The version of the protocol that its client speaks. Of one that came through
    /// another hub that is not known; such hubs speak version 2 and say what they hear.
    pub(crate) fn version(&self) -> u16 {
        if self.tunnelled { 2 } else { self.client.version }
    }

    /// The buffer to read into, with room for at least `need` bytes behind
    /// what it holds; `None` when neither the arena nor the reserve has one.
    pub(crate) fn room(&mut self, arena: &Arena, reserve: &Arena, need: usize) -> Option<&mut Buffer> {
        let fits = self.received.as_ref().is_some_and(|buffer| buffer.room() >= need.max(1));
        if !fits {
            let held = self.received.as_ref().map_or(0, |buffer| buffer.filled().len());
            let wanted = held + need.max(1);
            let (mut fresh, on_reserve) = match arena.lend(wanted) {
                Some(buffer) => (buffer, false),
                None => (reserve.lend(wanted)?, true),
            };
            if let Some(old) = self.received.take() {
                // At most one frame's beginning: the rest of the old buffer stays where its blocks are.
                fresh.spare_mut()[..held].copy_from_slice(old.filled());
                fresh.advance(held);
            }
            self.received = Some(fresh);
            self.on_reserve = on_reserve;
        }
        self.received.as_mut()
    }

    /// There is nothing more to read at present. An empty buffer is kept for what
    /// comes, so that the blocks of a session lie side by side: a block that
    /// waits long keeps all of its buffer. Answers whether there is one.
    pub(crate) fn keep_buffer(&mut self, tight: bool) -> bool {
        if tight || self.on_reserve {
            self.drop_empty_buffer();
        }
        if let Some(buffer) = &mut self.received
            && buffer.filled().is_empty()
        {
            buffer.reclaim();
        }
        self.received.is_some()
    }

    /// Gives the buffers back unless they hold something.
    pub(crate) fn drop_empty_buffer(&mut self) {
        self.received.take_if(|buffer| buffer.filled().is_empty());
        self.unpacked.take_if(|buffer| buffer.filled().is_empty());
    }

    /// Room to unpack so many bytes, behind what was unpacked before if there is;
    /// `None` when the arena has none.
    pub(crate) fn room_to_unpack(&mut self, arena: &Arena, plain: usize) -> Option<&mut Buffer> {
        if let Some(buffer) = &mut self.unpacked
            && buffer.room() < plain
        {
            debug_assert!(buffer.filled().is_empty(), "what was unpacked before is taken apart first");
            buffer.reclaim();
        }
        if self.unpacked.as_ref().is_none_or(|buffer| buffer.room() < plain) {
            self.unpacked = Some(arena.lend(plain)?);
        }
        self.unpacked.as_mut()
    }

    /// Whether nothing of it is read until the other connections of its link are
    /// there, or until it is known who it is.
    pub(crate) fn waits_for_others(&self) -> bool {
        matches!(self.role, Role::Gathering { .. } | Role::Joined | Role::AwaitLogin(_))
    }

    /// Whether it is one of several that are to become a link, and not the first.
    pub(crate) fn is_further(&self) -> bool {
        matches!(self.part, Some(Part::Further { .. }))
    }

    /// Whether what comes on a channel says that the whole link is alive. Of several
    /// connections the first is the one that the mesh's probes go over.
    pub(crate) fn shows_life(&self, channel: usize) -> bool {
        channel == 0 || self.apart.as_ref().is_none_or(|apart| apart.connections < 2)
    }

    /// Whether it is a link of which a connection has ended.
    pub(crate) fn is_broken(&self) -> bool {
        self.apart.as_ref().is_some_and(|apart| apart.broken.is_some())
    }

    /// Whether what only administrators do may be done: by one, or, where the hub is
    /// governed, by who was asked about before.
    pub(crate) fn may_administer(&self) -> bool {
        self.client.is_admin || self.rights.is_some()
    }

    /// Whether the session is up, of either kind.
    pub(crate) fn is_session(&self) -> bool {
        matches!(self.role, Role::Client | Role::Link { .. })
    }
}
