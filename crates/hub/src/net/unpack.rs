//! Blocks that come packed over a link: they are unpacked into the arena, side
//! by side, and taken from there as if they had come so.
//!
//! What a frame says of itself is held against the hub's own bounds before any
//! memory is taken, and against what it turns out to be before any of it is
//! used: a link whose packed blocks are not what they are said to be is ended.

use weft_pack::Codec;
use weft_ring::arena::BlockMut;
use weft_wire::frame::{self, ErrorCode, Frame, Kind, Packed, Peek};

use super::NetStage;
use crate::counters::add;
use crate::inbox::lane_of_frame;
use crate::messages::SessionId;

impl NetStage {
    /// Packed blocks came. Nothing that was unpacked before is left.
    pub(super) fn on_packed(&mut self, id: SessionId, bytes: &BlockMut) {
        let most = self.options.limits.frame.as_usize();
        let packed = match Frame::decode(bytes) {
            Ok(Frame::Packed(packed)) => packed,
            Ok(other) => return self.unexpected(id, other.kind(), "it was to be packed blocks"),
            Err(error) => return self.violate(id, ErrorCode::BAD_FRAME, &error.to_string()),
        };
        let Some(connection) = self.connections.get_mut(id.slot()).and_then(Option::as_mut).filter(|c| c.id == id)
        else {
            return;
        };
        if let Some(link) = connection.egress.link() {
            add(&link.wire_in, bytes.len() as u64);
        }
        let agreed = connection.packing;
        let Some(codec) = agreed.filter(|codec| codec.number() == packed.codec) else {
            let agreed = agreed.map_or("no packing", Codec::name);
            let detail = format!("blocks came packed by codec {}, and {agreed} was agreed on", packed.codec);
            return self.refuse_packed(id, &detail);
        };
        let plain = packed.plain as usize;
        if plain > most {
            let detail = format!("packed blocks would be {plain} bytes, at most {most} are taken (limits.frame)");
            return self.refuse_packed(id, &detail);
        }
        let Some(buffer) = connection.room_to_unpack(&self.arena, plain) else {
            return self.leave_packed(id, &packed);
        };
        let room = &mut buffer.spare_mut()[..plain];
        let unpacked = self.press.packer().unpack(codec, packed.bytes, room).map_err(|error| error.to_string());
        match unpacked.and_then(|()| check(room, &packed).map_err(str::to_owned)) {
            Ok(()) => buffer.advance(plain),
            Err(detail) => self.refuse_packed(id, &detail),
        }
    }

    /// Takes the next of the frames that were unpacked. Answers whether the next
    /// stage had room for it.
    pub(super) fn take_unpacked(&mut self, id: SessionId) -> bool {
        let Some(connection) = self.connections.get_mut(id.slot()).and_then(Option::as_mut).filter(|c| c.id == id)
        else {
            return true;
        };
        let Some(buffer) = &mut connection.unpacked else { return true };
        let (lane, peeked) = (lane_of_frame(buffer.filled()), frame::peek(buffer.filled(), frame::MAX_FRAME));
        let (Some(lane), Ok(Peek::Frame { len })) = (lane, peeked) else {
            debug_assert!(false, "it was checked when it was unpacked");
            connection.unpacked = None;
            return true;
        };
        if !self.out.route.has_room_in(lane, 1) {
            return false;
        }
        let bytes = buffer.split_to(len);
        self.on_forward(id, bytes, false);
        true
    }

    /// There is no memory to unpack into: as blocks that come while there is
    /// none, they are passed over. Their destinations count what is live of them
    /// as missing; the origins send guaranteed ones again.
    fn leave_packed(&mut self, id: SessionId, packed: &Packed<'_>) {
        let (lane, plain) = (packed.lane, packed.plain as usize);
        let blocks = u64::from(packed.frames);
        if let Some(link) = self.connection(id).and_then(|connection| connection.egress.link()) {
            add(&link.blocks_in, blocks);
            add(&link.bytes_in, plain as u64);
        }
        if self.take_credit(id, lane, plain) {
            self.not_unpacked(id, lane, blocks);
            add(&self.counters.unread, blocks);
            self.on_taken(id, lane, plain as u64);
        }
    }

    /// The link is ended for what came packed over it, and why.
    fn refuse_packed(&mut self, id: SessionId, detail: &str) {
        add(&self.counters.packed_refused, 1);
        let peer = self.connection(id).and_then(|connection| Some(connection.egress.link()?.hub)).unwrap_or_default();
        tracing::warn!(code = "packed_refused", session = id.0, peer, detail, "packed blocks of a link are refused");
        self.violate(id, ErrorCode::BAD_PACKED, detail);
    }
}

/// Whether the bytes are the frames that they were said to be.
fn check(mut bytes: &[u8], said: &Packed<'_>) -> Result<(), &'static str> {
    for _ in 0..said.frames {
        let Ok(Peek::Frame { len }) = frame::peek(bytes, bytes.len()) else {
            return Err("what was packed is no whole number of frames, or fewer than announced");
        };
        let (first, rest) = bytes.split_at(len);
        if !matches!(frame::peek_kind(first), Some(Kind::Forward | Kind::Detour)) {
            return Err("a frame was packed that carries no block for other hubs");
        }
        if lane_of_frame(first) != Some(said.lane) {
            return Err("a block was packed whose lane is not the one announced");
        }
        bytes = rest;
    }
    if bytes.is_empty() { Ok(()) } else { Err("more was packed than the frames announced") }
}
