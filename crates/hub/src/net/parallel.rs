//! Links of several connections: from the first one's `LinkOpen` to the link
//! that stands on all of them.
//!
//! The hub that dials says with its first connection how many the link is to
//! have and what number it gave it. Once it has heard how many the other hub
//! takes it dials the others, each of which goes through the whole handshake
//! and names that number. Neither end reads beyond the `LinkOpen` of any of
//! them before all have come; then they are one link whose lanes are spread
//! over them (see `apart.rs`). A link that does not become whole in time, or of
//! which one connection fails before, is none.

use weft_mesh::Why;
use weft_ring::arena::Buffer;
use weft_transport::{CloseReason, LinkToken, Network as _};
use weft_wire::frame::{Connections, ErrorCode, LinkOpen, OpenItem};

use super::connection::PeerHub;
use super::{Connection, NetStage, Role};
use crate::counters::add;
use crate::messages::{Dial, SessionId};
use crate::options::MAX_LINK_CONNECTIONS;

/// What a connection is among several that are to become a link.
#[derive(Debug)]
pub(crate) enum Part {
    /// The first: the number of the link, and those that have come of the others.
    First { number: u64, further: Vec<Option<SessionId>> },
    /// One of the others.
    Further { first: SessionId, number: u64, index: u8 },
}

/// What is left of a connection that has become a part of a link.
struct Member {
    link: LinkToken,
    received: Option<(Buffer, bool)>,
    unsent: Vec<u8>,
}

impl NetStage {
    /// What this hub says of the connections of the link that one belongs to.
    pub(super) fn say_connections(&mut self, id: SessionId, dial: Option<Dial>) -> [u8; Connections::BYTES] {
        let most = self.most_connections();
        let neighbour = match dial {
            Some(Dial::Neighbour(row) | Dial::Named(_, row)) => self.options.neighbours.get(row),
            _ => None,
        };
        let asked = neighbour.map_or(1, |neighbour| neighbour.connections).clamp(1, MAX_LINK_CONNECTIONS);
        let next = self.numbered + 1;
        let mut said = Connections { most, asked: 1, index: 0, number: 0 };
        let Some(connection) = self.connection(id) else { return said.encode() };
        match &connection.part {
            Some(Part::Further { number, index, .. }) => {
                said = Connections { most, asked, index: *index, number: *number };
            }
            None if asked > 1 => {
                let further = (1..asked).map(|_| None).collect();
                connection.part = Some(Part::First { number: next, further });
                said = Connections { most, asked, index: 0, number: next };
                self.numbered = next;
            }
            Some(Part::First { .. }) | None => {}
        }
        said.encode()
    }

    /// A link of version 1, which has one connection.
    pub(super) fn up_without_opening(&mut self, id: SessionId, peer: PeerHub, dial: Option<Dial>) {
        let is_further = self.connection(id).is_some_and(|connection| connection.part.is_some());
        if is_further {
            return self.refuse_part(id, "the first connection of the link speaks a later version");
        }
        self.link_up(id, peer, dial, None);
    }

    fn most_connections(&self) -> u8 {
        u8::try_from(self.options.limits.link_connections)
            .unwrap_or(MAX_LINK_CONNECTIONS)
            .clamp(1, MAX_LINK_CONNECTIONS)
    }

    /// A hub is one that there may be a link to: at once, or once its other
    /// connections are there.
    pub(super) fn gather(
        &mut self,
        id: SessionId,
        peer: PeerHub,
        (dial, picked): (Option<Dial>, Option<Why>),
        said: &LinkOpen<'_>,
    ) {
        let most = self.most_connections();
        let theirs = said.find(OpenItem::CONNECTIONS).and_then(|item| Connections::decode(item.value));
        let Some(connection) = self.connection(id) else { return };
        let agreed = match (&mut connection.part, theirs) {
            (Some(Part::Further { first, index, .. }), _) => {
                let (first, index) = (*first, *index);
                return self.join(id, first, index, &peer);
            }
            (Some(Part::First { further, .. }), theirs) => {
                let asked = further.len() + 1;
                further.truncate(usize::from(theirs.map_or(1, |theirs| theirs.most)).saturating_sub(1));
                let agreed = further.len() + 1;
                if agreed < asked {
                    let peer = &peer.name;
                    tracing::warn!(
                        code = "connections_declined",
                        peer,
                        asked,
                        agreed,
                        "the link has fewer connections: the peer takes no more"
                    );
                }
                agreed
            }
            (None, Some(theirs)) if dial.is_none() && theirs.index > 0 => {
                return match self.first_of(&peer, theirs.number) {
                    Some(first) => self.join(id, first, theirs.index, &peer),
                    None => self.refuse_part(id, "there is no link of that number that waits for connections"),
                };
            }
            (None, Some(theirs)) if dial.is_none() && theirs.asked > 1 => {
                if self.first_of(&peer, theirs.number).is_some() {
                    return self.refuse_part(id, "another link of that number waits for its connections");
                }
                let agreed = theirs.asked.min(most);
                let further = (1..agreed).map(|_| None).collect();
                if let Some(connection) = self.connection(id) {
                    connection.part = Some(Part::First { number: theirs.number, further });
                }
                usize::from(agreed)
            }
            (None, _) => 1,
        };
        if agreed == 1 {
            if let Some(connection) = self.connection(id) {
                connection.part = None;
            }
            return self.link_up(id, peer, dial, picked);
        }
        let name = peer.name.clone();
        self.wait_for_others(id, Role::Gathering { dial, peer, picked });
        if let Some(dial) = dial {
            self.dial_others(id, dial, &name);
        }
    }

    /// The first connection of a link of this hub that waits for others.
    fn first_of(&self, peer: &PeerHub, wanted: u64) -> Option<SessionId> {
        let is_it = |connection: &&Connection| {
            let Some(Part::First { number, .. }) = &connection.part else { return false };
            let Role::Gathering { dial: None, peer: first, .. } = &connection.role else { return false };
            *number == wanted && first.is_of_the_start(peer) && !connection.closing
        };
        self.connections.iter().flatten().find(is_it).map(|connection| connection.id)
    }

    /// Nothing of it is read until the link stands.
    fn wait_for_others(&mut self, id: SessionId, role: Role) {
        let deadline = self.now.mono + self.options.timers.hello;
        let Some(connection) = self.connection(id) else { return };
        (connection.role, connection.deadline) = (role, deadline);
        let link = connection.link;
        self.network.pause(link);
        self.sweeping = true;
    }

    /// Dials the others of a link where the first one has led to: a name may have
    /// the addresses of several machines.
    fn dial_others(&mut self, first: SessionId, dial: Dial, name: &str) {
        let Some(Connection { link, part: Some(Part::First { number, further }), .. }) = self.connection(first) else {
            return;
        };
        let (link, number, count) = (*link, *number, further.len());
        let Some(addr) = self.network.remote_address(link) else {
            return self.end(first, "its connection has ended while others were to be dialled");
        };
        let Some(security) = self.options.link_security.clone() else { return };
        for index in (1..=MAX_LINK_CONNECTIONS).take(count) {
            match self.network.dial(&addr, &security, Some(name)) {
                Ok(link) => {
                    let id = self.admit(link, Role::Dialling { dial });
                    if let Some(connection) = self.connection(id) {
                        connection.part = Some(Part::Further { first, number, index });
                    }
                }
                Err(error) => return self.end(first, &error.to_string()),
            }
        }
    }

    /// One of the others has proved who it is of.
    fn join(&mut self, id: SessionId, first: SessionId, index: u8, peer: &PeerHub) {
        let mut is_whole = false;
        let fits = match self.connection(first).filter(|connection| !connection.closing) {
            Some(connection) => match (&connection.role, &mut connection.part) {
                (Role::Gathering { peer: known, .. }, Some(Part::First { number, further }))
                    if known.is_of_the_start(peer) =>
                {
                    let number = *number;
                    let place = usize::from(index).checked_sub(1).and_then(|at| further.get_mut(at));
                    let fits = place.filter(|place| place.is_none()).map(|place| *place = Some(id));
                    is_whole = further.iter().all(Option::is_some);
                    fits.map(|()| number)
                }
                _ => None,
            },
            None => None,
        };
        let Some(number) = fits else {
            return self.refuse_part(id, "the link is another hub's, or has this one of its connections, or fewer");
        };
        if let Some(connection) = self.connection(id) {
            connection.part = Some(Part::Further { first, number, index });
        }
        self.wait_for_others(id, Role::Joined);
        if is_whole {
            self.bind(first);
        }
    }

    /// All are there: they become one link.
    fn bind(&mut self, first: SessionId) {
        let Some(connection) = self.connection(first) else { return };
        let Role::Gathering { dial, peer, picked } = connection.role.clone() else { return };
        let Some(Part::First { further, .. }) = connection.part.take() else { return };
        let link = connection.link;
        let members: Vec<Member> = further.into_iter().flatten().filter_map(|id| self.take_member(id, first)).collect();
        self.network.bind(link, members.iter().map(|member| member.link));
        self.network.resume(link);
        self.link_up(first, peer, dial, picked);
        let Some(connection) = self.connection(first) else { return };
        for (channel, member) in (1..).zip(members) {
            connection.egress.go_on_with(channel, member.unsent);
            if let Some(apart) = &mut connection.apart {
                apart.park(channel, member.received);
            }
        }
        // What came with the last `LinkOpen` is reported by nobody.
        if !std::mem::replace(&mut connection.readable, true) {
            self.reading.push_back(first);
        }
        self.mark_dirty(first);
    }

    /// A connection is none of its own any more.
    fn take_member(&mut self, id: SessionId, first: SessionId) -> Option<Member> {
        let mut connection = self.connections.get_mut(id.slot()).and_then(|c| c.take_if(|c| c.id == id))?;
        self.vacant.push(id.slot() as u32);
        self.by_link.insert(connection.link, first);
        let on_reserve = connection.on_reserve;
        let received = connection.received.take().filter(|buffer| !buffer.filled().is_empty());
        Some(Member {
            link: connection.link,
            received: received.map(|buffer| (buffer, on_reserve)),
            unsent: connection.egress.take_unsent_control(),
        })
    }

    /// A connection was to be one of several, and is not.
    fn refuse_part(&mut self, id: SessionId, detail: &str) {
        add(&self.counters.parts_refused, 1);
        tracing::warn!(
            code = "connection_refused",
            session = id.0,
            detail,
            "a further connection of a link is refused"
        );
        self.violate(id, ErrorCode::BAD_CONNECTION, detail);
    }

    /// A connection of several ended before the link stood: none of them is of use.
    pub(super) fn end_others(&mut self, id: SessionId, part: Part, reason: &str) {
        match part {
            Part::Further { first, .. } => self.end(first, &format!("one of its connections: {reason}")),
            Part::First { .. } => {
                let is_its = |part: &Part| matches!(part, Part::Further { first, .. } if *first == id);
                let its = self.connections.iter().flatten().filter(|c| c.part.as_ref().is_some_and(is_its));
                for other in its.map(|c| c.id).collect::<Vec<_>>() {
                    self.end(other, reason);
                }
            }
        }
    }

    /// Connections of links that stand have ended. After an end in order what still
    /// comes by the others is taken for a while, because a peer that ends a link
    /// ends all of them; after any other the link is lost.
    pub(super) fn tend_broken(&mut self) {
        while let Some((link, reason)) = self.network.bundles.take_broken() {
            let deadline = self.now.mono + super::apart::LATE;
            let Some(id) = self.by_link.get(&link).copied() else { continue };
            if reason != CloseReason::PeerClosed {
                self.lose(id, &reason);
                continue;
            }
            let Some(connection) = self.connection(id) else { continue };
            if !connection.closing {
                connection.deadline = deadline;
            }
            if let Some(apart) = &mut connection.apart {
                apart.broken.get_or_insert_with(|| format!("one of its connections: {reason}"));
            }
            if !std::mem::replace(&mut connection.readable, true) {
                self.reading.push_back(id);
            }
            self.sweeping = true;
        }
    }
}
