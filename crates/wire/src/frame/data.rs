//! The frames that carry a block. Their heads are built apart, so that the
//! block is written from where it lies.

use weft_base::{HubId, SubscriptionId};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::codec::{Reader, Writer, wire_enum};
use super::native::AckLevel;
use super::peek::{RawHead, publish_level};
use super::{FRAME_HEADER, FrameClause, FrameError, Kind, MAX_FLOW_ENTRIES};
use crate::block::peek_len;

/// A block for the mesh; answered by `Ack` or `Error` unless `level` is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Chosen by the client, for the answer.
    pub request: u64,
    /// When to acknowledge; not [`AckLevel::Spooled`].
    pub level: AckLevel,
    /// With [`AckLevel::Homes`]: how many, 2 to [`MAX_ACK_HOMES`]; else 0.
    pub homes: u8,
    /// Not validated.
    pub block: &'a [u8],
}

/// A last value that [`LastGet`](super::LastGet) asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// The request.
    pub request: u64,
    /// Which event of the block it is, from 0.
    pub event: u32,
    /// Not validated.
    pub block: &'a [u8],
}

/// A block for a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deliver<'a> {
    /// The subscription.
    pub id: SubscriptionId,
    /// Over how many links it came.
    pub hops: u8,
    /// Not validated.
    pub block: &'a [u8],
}

/// A block for other hubs, each named by an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Forward<'a> {
    /// Over how many more links it may go.
    pub ttl: u8,
    raw: &'a [RawFlowEntry],
    /// Not validated.
    pub block: &'a [u8],
}

wire_enum! {
    /// What a flow promises.
    FlowKind {
        /// Best effort, loss counted.
        Live = 0,
        /// Exactly once, in order, acknowledged.
        Guaranteed = 1,
        /// As live, for one member of a group at the destination. Numbered in
        /// the live flow, unless a hub that had no member left passed it on.
        Group = 2,
        /// Beside a guaranteed entry for the same hub: one of the hub's streams is
        /// not to take the block, because another home of it does.
        Except = 3,
        /// Beside a guaranteed entry for the same hub: the block waited on disk at
        /// the hub where it entered the mesh, for this stream. Later events of its
        /// producer may have come before it by other ways.
        Spooled = 4,
    }
}

impl FlowKind {
    /// Whether nobody sends it again: a copy that goes no further is a drop.
    #[must_use]
    pub const fn is_best_effort(self) -> bool {
        matches!(self, Self::Live | Self::Group)
    }
}

/// Bytes of a flow entry.
pub const FLOW_ENTRY_LEN: usize = 32;

/// One destination of a forwarded block, and the block's place in the flow
/// from the origin hub to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowEntry {
    /// The destination.
    pub hub: HubId,
    /// Distinguishes a flow from the one before it, after a refusal. Group,
    /// passed on: how often.
    pub incarnation: u32,
    /// What the flow promises.
    pub kind: FlowKind,
    /// Whether it was sent before. Group: whether it was passed on.
    pub retransmit: bool,
    /// Live and group: how many events were sent on this flow before this
    /// block; zero when passed on. Except and spooled: zero. Guaranteed: the block's number in the flow.
    pub sequence: u64,
    /// Guaranteed: the lowest number not yet acknowledged. Group: the group's
    /// key, the XXH3-64 of its name. Except and spooled: the stream's number. Live: zero.
    pub base: u64,
}

/// A flow entry as it lies in the frame.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawFlowEntry {
    hub: U64,
    incarnation: U32,
    kind: u8,
    retransmit: u8,
    reserved: U16,
    sequence: U64,
    base: U64,
}

const _: () = {
    assert!(std::mem::offset_of!(RawFlowEntry, hub) == 0);
    assert!(std::mem::offset_of!(RawFlowEntry, incarnation) == 8);
    assert!(std::mem::offset_of!(RawFlowEntry, kind) == 12);
    assert!(std::mem::offset_of!(RawFlowEntry, retransmit) == 13);
    assert!(std::mem::offset_of!(RawFlowEntry, reserved) == 14);
    assert!(std::mem::offset_of!(RawFlowEntry, sequence) == 16);
    assert!(std::mem::offset_of!(RawFlowEntry, base) == 24);
    assert!(size_of::<RawFlowEntry>() == FLOW_ENTRY_LEN);
};

impl From<&FlowEntry> for RawFlowEntry {
    fn from(entry: &FlowEntry) -> Self {
        Self {
            hub: U64::new(entry.hub.0),
            incarnation: U32::new(entry.incarnation),
            kind: entry.kind as u8,
            retransmit: entry.retransmit.into(),
            reserved: U16::ZERO,
            sequence: U64::new(entry.sequence),
            base: U64::new(entry.base),
        }
    }
}

impl RawFlowEntry {
    /// The entry; `None` where it breaks a rule, which decoding looked for.
    pub(super) fn entry(&self) -> Option<FlowEntry> {
        let kind = FlowKind::from_number(self.kind)?;
        let sound = self.retransmit <= 1
            && self.reserved.get() == 0
            && match kind {
                FlowKind::Live => self.base.get() == 0,
                FlowKind::Guaranteed => true,
                FlowKind::Group => self.retransmit == 0 || self.sequence.get() == 0,
                FlowKind::Except | FlowKind::Spooled => self.sequence.get() == 0,
            };
        sound.then(|| FlowEntry {
            hub: HubId(self.hub.get()),
            incarnation: self.incarnation.get(),
            kind,
            retransmit: self.retransmit == 1,
            sequence: self.sequence.get(),
            base: self.base.get(),
        })
    }
}

/// More flow entries than a frame takes, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{count} destinations in one frame: there must be 1 to {MAX_FLOW_ENTRIES}, send several frames")]
pub struct TooMany {
    /// How many there were.
    pub count: usize,
}

pub(super) fn head(kind: Kind, flags: u8, id: u64, len: usize) -> RawHead {
    // A block is at most MAX_BLOCK, so a frame's length fits; one that does
    // not would be refused by its reader.
    let length = U32::new(u32::try_from(len).unwrap_or(u32::MAX));
    RawHead { length, kind: kind as u8, flags, reserved: U16::ZERO, id: U64::new(id) }
}

/// The header of a [`Deliver`] frame; the block's `block_len` bytes follow it.
#[must_use]
pub fn deliver_head(subscription: SubscriptionId, block_len: usize, hops: u8) -> [u8; FRAME_HEADER] {
    zerocopy::transmute!(head(Kind::Deliver, hops, subscription.0, FRAME_HEADER.saturating_add(block_len)))
}

/// The header of a [`Publish`] frame; the block's `block_len` bytes follow it.
#[must_use]
pub fn publish_head(request: u64, level: AckLevel, block_len: usize) -> [u8; FRAME_HEADER] {
    zerocopy::transmute!(head(Kind::Publish, level as u8, request, FRAME_HEADER.saturating_add(block_len)))
}

/// The header of a [`Publish`] frame that waits for `homes` homes, 2 to
/// [`MAX_ACK_HOMES`]; the block's `block_len` bytes follow it.
#[must_use]
pub fn publish_homes_head(request: u64, homes: u8, block_len: usize) -> [u8; FRAME_HEADER] {
    let flags = publish_flags(AckLevel::Homes, homes);
    zerocopy::transmute!(head(Kind::Publish, flags, request, FRAME_HEADER.saturating_add(block_len)))
}

/// Level and homes as they stand in the flags.
const fn publish_flags(level: AckLevel, homes: u8) -> u8 {
    level as u8 | homes << 4
}

/// Bytes of a [`Found`] frame before its block.
pub const FOUND_HEAD: usize = FRAME_HEADER + 8;

/// What stands before the block of a [`Found`] frame; its `block_len` bytes follow.
#[must_use]
pub fn found_head(request: u64, event: u32, block_len: usize) -> [u8; FOUND_HEAD] {
    let head: [u8; FRAME_HEADER] =
        zerocopy::transmute!(head(Kind::Found, 0, request, FOUND_HEAD.saturating_add(block_len)));
    let mut bytes = [0; FOUND_HEAD];
    let (front, rest) = bytes.split_at_mut(FRAME_HEADER);
    front.copy_from_slice(&head);
    let (number, _) = rest.split_at_mut(4);
    number.copy_from_slice(&event.to_le_bytes());
    bytes
}

/// Writes header and entries of a [`Forward`] frame to `out`, which is emptied
/// first; the block's `block_len` bytes follow them.
///
/// # Errors
/// [`TooMany`] unless there are 1 to [`MAX_FLOW_ENTRIES`] entries; `out` is
/// then empty.
pub fn forward_head(entries: &[FlowEntry], ttl: u8, block_len: usize, out: &mut Vec<u8>) -> Result<(), TooMany> {
    out.clear();
    let count = entries.len();
    if count == 0 || count > MAX_FLOW_ENTRIES {
        return Err(TooMany { count });
    }
    let len = FRAME_HEADER + 8 + count * FLOW_ENTRY_LEN;
    out.reserve(len);
    out.extend_from_slice(head(Kind::Forward, ttl, 0, len.saturating_add(block_len)).as_bytes());
    out.extend_from_slice(&(count as u64).to_le_bytes());
    for entry in entries {
        out.extend_from_slice(RawFlowEntry::from(entry).as_bytes());
    }
    Ok(())
}

/// The block that is the rest of the frame.
pub(super) fn block<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], FrameError> {
    let rest = reader.rest();
    match peek_len(rest) {
        Some(len) if len as usize == rest.len() => reader.take(rest.len(), "block"),
        len => reader.refuse(FrameClause::BlockLength, "block", len.unwrap_or_default().into()),
    }
}

impl<'a> Publish<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, FrameError> {
        let (level, homes) = publish_level(reader.flags())?;
        Ok(Self { request: reader.id(), level, homes, block: block(reader)? })
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        writer.id(self.request);
        writer.flags(publish_flags(self.level, self.homes));
        writer.raw(self.block);
    }
}

impl<'a> Found<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, FrameError> {
        if reader.flags() != 0 {
            return Err(FrameError::new(FrameClause::Flags, "flags", 5, reader.flags().into()));
        }
        let event = reader.u32("event")?;
        let reserved = reader.u32("reserved")?;
        if reserved != 0 {
            return Err(FrameError::new(FrameClause::Reserved, "reserved", FRAME_HEADER + 4, reserved.into()));
        }
        Ok(Self { request: reader.id(), event, block: block(reader)? })
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        writer.id(self.request);
        writer.u32(self.event);
        writer.u32(0);
        writer.raw(self.block);
    }
}

impl<'a> Deliver<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, FrameError> {
        Ok(Self { id: SubscriptionId(reader.id()), hops: reader.flags(), block: block(reader)? })
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        writer.id(self.id.0);
        writer.flags(self.hops);
        writer.raw(self.block);
    }
}

impl<'a> Forward<'a> {
    /// How many destinations there are: 1 to [`MAX_FLOW_ENTRIES`].
    #[must_use]
    pub const fn entry_count(&self) -> usize {
        self.raw.len()
    }

    /// The destinations, read in place.
    pub fn entries(&self) -> impl Iterator<Item = FlowEntry> + Clone + use<'a> {
        self.raw.iter().filter_map(RawFlowEntry::entry)
    }

    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, FrameError> {
        let count = reader.u32("entries")? as usize;
        if count == 0 || count > MAX_FLOW_ENTRIES {
            return Err(FrameError::new(FrameClause::ListLength, "entries", FRAME_HEADER, count as u64));
        }
        let reserved = reader.u32("reserved")?;
        if reserved != 0 {
            return Err(FrameError::new(FrameClause::Reserved, "reserved", FRAME_HEADER + 4, reserved.into()));
        }
        let bytes = reader.take(count * FLOW_ENTRY_LEN, "entries")?;
        let raw = <[RawFlowEntry]>::ref_from_bytes(bytes).unwrap_or_default();
        if let Some(place) = raw.iter().position(|entry| entry.entry().is_none()) {
            let offset = FRAME_HEADER + 8 + place * FLOW_ENTRY_LEN;
            return Err(FrameError::new(FrameClause::Value, "entries", offset, place as u64));
        }
        Ok(Self { ttl: reader.flags(), raw, block: block(reader)? })
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        writer.flags(self.ttl);
        writer.u64(self.raw.len() as u64);
        writer.raw(self.raw.as_bytes());
        writer.raw(self.block);
    }
}

impl std::fmt::Debug for Forward<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let entries: Vec<FlowEntry> = self.entries().collect();
        f.debug_struct("Forward")
            .field("ttl", &self.ttl)
            .field("entries", &entries)
            .field("block", &self.block)
            .finish()
    }
}
