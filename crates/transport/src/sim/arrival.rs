//! Sending and arriving.

use weft_base::Mono;

use super::pipe::Parcel;
use super::world::{ACCEPTED, DIALLED, Event, Phase, Side, World};
use crate::reason::CloseReason;

/// What a dialling TLS side sends first, as a plain side sees it.
const CLIENT_HELLO: &[u8] = &[22, 3, 1, 0, 4, 1, 0, 0, 0];

const fn other(side: Side) -> Side {
    1 - side
}

impl World {
    /// Puts a parcel on its way to one side.
    pub(super) fn send(&mut self, connection: u64, to: Side, parcel: Parcel) {
        let Some(shared) = self.connections.get(&connection) else { return };
        let (from_host, to_host) = (shared.hosts[other(to)].clone(), shared.hosts[to].clone());
        let path = self.way(&from_host, &to_host).path;
        let jitter = self.random.below(u64::try_from(path.jitter.as_nanos()).unwrap_or(u64::MAX).saturating_add(1));
        let now = self.time;
        let Some(pipe) = self.end(connection, to).map(|end| &mut end.inward) else { return };
        let mut departs = now.max(pipe.free_at);
        if let (Parcel::Data(bytes), Some(rate)) = (&parcel, path.bandwidth) {
            let nanos = (bytes.len() as u128 * 1_000_000_000) / u128::from(rate.max(1));
            departs = Mono(departs.0.saturating_add(u64::try_from(nanos).unwrap_or(u64::MAX)));
            pipe.free_at = departs;
        }
        let mut arrives = Mono((departs + path.delay).0.saturating_add(jitter));
        if let Some((before, _)) = pipe.flight.back() {
            arrives = arrives.max(*before);
        }
        pipe.flight.push_back((arrives, parcel));
        self.schedule(arrives, Event::Arrive { connection, to });
    }

    /// The front of a flight may arrive.
    pub(super) fn arrive(&mut self, connection: u64, to: Side) {
        let Some(shared) = self.connections.get(&connection) else { return };
        let (from_host, to_host) = (shared.hosts[other(to)].clone(), shared.hosts[to].clone());
        let due = |pipe: &super::pipe::Pipe, now| pipe.flight.front().is_some_and(|(at, _)| *at <= now);
        if !due(&shared.ends[to].inward, self.time) {
            return;
        }
        let is_off = !self.hosts.get(&to_host).is_some_and(Option::is_some);
        if is_off || self.way(&from_host, &to_host).cut {
            self.stall(connection, to);
            return;
        }
        let path = self.way(&from_host, &to_host).path;
        let mut lost = false;
        let Some(pipe) = self.end(connection, to).map(|end| &mut end.inward) else { return };
        pipe.stalled = None;
        let Some((_, parcel)) = pipe.flight.pop_front() else { return };
        match &parcel {
            Parcel::Syn => lost = self.random.chance(path.lost_dials),
            Parcel::Data(_) if path.resets > 0 && self.random.below(1_000_000) < path.resets => {
                self.break_down(connection);
                return;
            }
            _ => {}
        }
        if !lost {
            self.deliver(connection, to, parcel);
        }
    }

    /// The front of a flight cannot arrive. The sender waits, not for ever.
    fn stall(&mut self, connection: u64, to: Side) {
        let (since, give_up) = (self.time, self.options.give_up);
        let Some(pipe) = self.end(connection, to).map(|end| &mut end.inward) else { return };
        if pipe.stalled.is_none() {
            pipe.stalled = Some(since);
            self.schedule(since + give_up, Event::GiveUp { connection, side: other(to), since });
        }
    }

    /// A parcel is there.
    pub(super) fn deliver(&mut self, connection: u64, to: Side, parcel: Parcel) {
        let phase = self.phase(connection, to);
        match parcel {
            Parcel::Syn => self.knock(connection),
            Parcel::SynAck => self.answered(connection),
            Parcel::Nobody => {
                let Some(shared) = self.connections.get(&connection) else { return };
                let address = format!("{}:{}", shared.hosts[ACCEPTED], shared.port);
                self.fail(connection, DIALLED, CloseReason::ConnectRefused { address });
            }
            early if to == ACCEPTED && phase == Phase::Connecting => {
                if let Some(shared) = self.connections.get_mut(&connection) {
                    shared.early.push(early);
                }
            }
            Parcel::Reset => self.broken(connection, to, CloseReason::Reset),
            // Whoever gets something after its end answers with a reset.
            _ if phase == Phase::Gone => self.send(connection, other(to), Parcel::Reset),
            Parcel::Hello if phase == Phase::Shaking => self.send(connection, other(to), Parcel::Certificate),
            Parcel::Hello => self.take_bytes(connection, to, CLIENT_HELLO.to_vec()),
            Parcel::Certificate => self.check_hub(connection),
            Parcel::Finished => self.check_dialler(connection),
            Parcel::Alert(reason) => self.ended(connection, to, reason),
            Parcel::Data(bytes) if phase == Phase::Shaking => {
                drop(bytes);
                self.fail(connection, to, CloseReason::NotTls);
            }
            Parcel::Data(bytes) => self.take_bytes(connection, to, bytes),
            Parcel::Fin { proper } => {
                let secure = self.end(connection, to).is_some_and(|end| end.identity.is_some());
                let reason = if proper || !secure { CloseReason::PeerClosed } else { CloseReason::Truncated };
                self.ended(connection, to, reason);
            }
        }
    }

    fn take_bytes(&mut self, connection: u64, to: Side, bytes: Vec<u8>) {
        let Some(end) = self.end(connection, to) else { return };
        if end.phase == Phase::Up {
            end.inward.unread.extend(bytes);
        } else {
            // Let go by its caller: thrown away, and the sender goes on.
            self.tell_room(connection, to, bytes.len());
        }
    }

    /// Nothing follows what has come in.
    fn ended(&mut self, connection: u64, side: Side, reason: CloseReason) {
        match self.phase(connection, side) {
            Phase::Up => {
                if let Some(end) = self.end(connection, side) {
                    end.inward.end.get_or_insert(reason);
                }
            }
            Phase::Connecting | Phase::Shaking => {
                let reason = if reason == CloseReason::PeerClosed { CloseReason::Truncated } else { reason };
                self.fail(connection, side, reason);
            }
            Phase::Closing => self.forget(connection, side),
            Phase::Gone => {}
        }
    }

    /// The connection is of no use to that side any more.
    pub(super) fn broken(&mut self, connection: u64, side: Side, reason: CloseReason) {
        match self.phase(connection, side) {
            Phase::Up => {
                if let Some(end) = self.end(connection, side) {
                    end.inward.end.get_or_insert(reason);
                    end.inward.flight.clear();
                }
                // Room, so that a waiting writer comes and learns of it.
                if let Some(far) = self.end(connection, other(side)) {
                    far.inward.used = 0;
                    far.inward.flight.clear();
                }
            }
            Phase::Connecting | Phase::Shaking => {
                self.announce_end(connection, side, reason);
                self.forget(connection, side);
            }
            Phase::Closing => self.forget(connection, side),
            Phase::Gone => {}
        }
    }

    /// Both sides see a reset.
    pub(super) fn break_down(&mut self, connection: u64) {
        for side in [DIALLED, ACCEPTED] {
            self.broken(connection, side, CloseReason::Reset);
        }
    }

    /// The reader at `side` has made room: its sender learns of it.
    pub(super) fn tell_room(&mut self, connection: u64, side: Side, bytes: usize) {
        let Some(shared) = self.connections.get(&connection) else { return };
        let (here, there) = (shared.hosts[side].clone(), shared.hosts[other(side)].clone());
        let at = self.time + self.way(&here, &there).path.delay;
        self.schedule(at, Event::Room { connection, to: other(side), bytes });
    }

    /// The sender at `to` learns of room.
    pub(super) fn room(&mut self, connection: u64, to: Side, bytes: usize) {
        let Some(shared) = self.connections.get(&connection) else { return };
        let (here, there) = (shared.hosts[other(to)].clone(), shared.hosts[to].clone());
        let cut = self.way(&here, &there).cut;
        let Some(pipe) = self.end(connection, other(to)).map(|end| &mut end.inward) else { return };
        if cut {
            pipe.untold += bytes;
        } else {
            pipe.used = pipe.used.saturating_sub(bytes);
        }
    }

    /// Has what a cut or a switched-off host kept back on that way go on.
    pub(super) fn go_on(&mut self, from: &str, to: &str) {
        let delay = self.way(from, to).path.delay;
        let mut again = Vec::new();
        for (id, shared) in &mut self.connections {
            for side in [DIALLED, ACCEPTED] {
                if shared.hosts[other(side)] == from && shared.hosts[side] == to {
                    if shared.ends[side].inward.stalled.is_some() {
                        again.push((*id, side, shared.ends[side].inward.flight.len()));
                    }
                    // Room travels the other way than the bytes it is for.
                    let back = &mut shared.ends[other(side)].inward;
                    back.used = back.used.saturating_sub(std::mem::take(&mut back.untold));
                }
            }
        }
        for (connection, to, parcels) in again {
            for _ in 0..parcels {
                self.schedule(self.time + delay, Event::Arrive { connection, to });
            }
        }
    }
}
