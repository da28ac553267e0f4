//! Reading: what connections have sent, taken apart into frames while the stages
//! behind have room.
//!
//! Each connection is read a bounded share in a turn. What there is no room for stays
//! in its buffer or in the socket, so that its peer is slowed down in the end; nothing
//! is dropped here.

use weft_base::Lane;
use weft_transport::{Network as _, ReadOutcome};
use weft_wire::frame::{self, ErrorCode, Peek};

use super::{Connection, NetStage, Role};
use crate::counters::add;
use crate::inbox::lane_of_frame;
use crate::load::{Load, Verdict};
use crate::messages::SessionId;

/// Reads of one connection in one turn.
const READS: usize = 4;
/// Room asked for before a read: a small buffer's worth is read at a time.
pub(super) const READ_ROOM: usize = 4 << 10;

impl NetStage {
    /// Reads from the connections that have something, a bounded share each.
    pub(super) fn read_all(&mut self) -> usize {
        if self.lifecycle.is_draining() {
            self.reading.clear();
            return 0;
        }
        // A unit is a connection that was read, as the reports count, not a byte.
        let mut work = 0;
        for _ in 0..self.reading.len() {
            let Some(id) = self.reading.pop_front() else { break };
            match self.read_one(id) {
                Progress::Drained(n) => {
                    work += n.min(1);
                    if let Some(connection) = self.connection(id) {
                        connection.readable = false;
                    }
                }
                Progress::More(n) => {
                    work += n.min(1);
                    self.reading.push_back(id);
                }
                Progress::Ended => work += 1,
            }
        }
        work
    }

    fn read_one(&mut self, id: SessionId) -> Progress {
        match self.connection(id) {
            Some(connection) if connection.apart.is_some() => self.read_apart(id),
            _ => self.read_channel(id, 0),
        }
    }

    /// Reads one channel of a connection, which has one unless lanes are kept apart.
    pub(super) fn read_channel(&mut self, id: SessionId, channel: usize) -> Progress {
        let mut bytes = 0;
        for _ in 0..READS {
            match self.take_frames(id) {
                Taken::Frames => {}
                Taken::NoRoom => return Progress::More(bytes),
                Taken::Ended => return Progress::Ended,
            }
            let Some(connection) = self.connections.get_mut(id.slot()).and_then(Option::as_mut).filter(|c| c.id == id)
            else {
                return Progress::Ended;
            };
            if connection.held
                || connection.inspected.paused
                || connection.has_parked()
                || connection.waits_for_others()
                || connection.closing
                || connection.apart.as_ref().is_some_and(|apart| apart.ended.is_some())
            {
                return Progress::Drained(bytes);
            }
            let link = connection.link;
            let need = missing(connection, self.options.limits.frame.as_usize());
            let Some(buffer) = connection.room(&self.arena, &self.reserve, need) else {
                add(&self.counters.starved, 1);
                return Progress::More(bytes);
            };
            match self.network.read_on(link, channel, buffer.spare_mut()) {
                ReadOutcome::Bytes(n) => {
                    buffer.advance(n);
                    bytes += n;
                    connection.active = true;
                    if let Some(credit) = connection.credit.as_ref().filter(|_| connection.shows_life(channel)) {
                        credit.heard.note(self.now.mono);
                    }
                }
                ReadOutcome::WouldBlock => {
                    self.keeping |= connection.keep_buffer(self.tight);
                    return Progress::Drained(bytes);
                }
                ReadOutcome::Closed(reason) => match &mut connection.apart {
                    // Other channels' frames may still lie here.
                    Some(apart) => {
                        apart.ended = Some(reason);
                        return Progress::Drained(bytes);
                    }
                    None => {
                        self.lose(id, &reason);
                        return Progress::Ended;
                    }
                },
            }
        }
        match self.take_frames(id) {
            Taken::Ended => Progress::Ended,
            _ => Progress::More(bytes),
        }
    }

    /// Takes apart what a connection has received, while the next stages have room.
    fn take_frames(&mut self, id: SessionId) -> Taken {
        let most = self.options.limits.frame.as_usize();
        loop {
            if !self.out.have_room(4) || self.network.tunnels.near.is_full(id) {
                return Taken::NoRoom;
            }
            let Some(connection) = self.connections.get_mut(id.slot()).and_then(Option::as_mut).filter(|c| c.id == id)
            else {
                return Taken::Ended;
            };
            if connection.unpacked.as_ref().is_some_and(|buffer| !buffer.filled().is_empty()) && !connection.closing {
                // What came before goes before.
                if !self.take_unpacked(id) {
                    return Taken::NoRoom;
                }
                continue;
            }
            let paused = connection.held || connection.inspected.paused;
            if connection.has_parked() && !connection.closing && !paused {
                // What was kept goes before what came after it.
                if !self.take_parked(id) {
                    return Taken::Frames;
                }
                continue;
            }
            let waits = paused || connection.waits_for_others();
            let Some(buffer) = &mut connection.received else { return Taken::Frames };
            if buffer.filled().is_empty() || connection.closing || waits {
                return Taken::Frames;
            }
            match frame::peek(buffer.filled(), most) {
                Ok(Peek::Frame { len }) if buffer.filled().len() >= len => {
                    // A publisher waits for its own lane, not for others'.
                    if let Some(lane) = lane_of_frame(buffer.filled())
                        && (waits_for_load(buffer.filled(), lane, &self.load) || !self.out.route.has_room_in(lane, 1))
                    {
                        if matches!(connection.role, Role::Client) {
                            connection.count_stall(Some(lane), self.now.mono, &self.counters);
                        }
                        return Taken::NoRoom;
                    }
                    let bytes = buffer.split_to(len);
                    if connection.stall.0.is_held() {
                        connection.count_stall(None, self.now.mono, &self.counters);
                    }
                    self.on_frame(id, bytes);
                }
                Ok(_) => return Taken::Frames,
                Err(error) => {
                    self.violate(id, ErrorCode::BAD_FRAME, &error.to_string());
                    return Taken::Ended;
                }
            }
        }
    }
}

/// How far reading a connection got.
pub(super) enum Progress {
    /// The socket has no more; this much was read.
    Drained(usize),
    /// There may be more, or the next stage has no room.
    More(usize),
    Ended,
}

/// How far taking frames apart got.
enum Taken {
    /// All whole frames are taken.
    Frames,
    /// The next stages have no room.
    NoRoom,
    Ended,
}

/// Whether the frame at the front is a publish of a lane whose publishers wait.
fn waits_for_load(bytes: &[u8], lane: Lane, load: &Load) -> bool {
    frame::peek_kind(bytes) == Some(frame::Kind::Publish) && load.verdict(lane) == Verdict::Wait
}

/// How much room the next read wants: the rest of the frame that is pending.
fn missing(connection: &Connection, most: usize) -> usize {
    let Some(buffer) = &connection.received else { return READ_ROOM };
    let held = buffer.filled().len();
    match frame::peek(buffer.filled(), most) {
        Ok(Peek::Frame { len } | Peek::Need(len)) => len.saturating_sub(held).max(1),
        Err(_) => READ_ROOM,
    }
}
