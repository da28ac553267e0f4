//! A block on one of two paths: it is for one hub, and names the hubs on its way
//! there, by which hubs pass it on that would themselves take another way.

use weft_base::HubId;
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, IntoBytes};

use super::codec::{Reader, Writer, wire_enum};
use super::data::{RawFlowEntry, block, head};
use super::{
    FLOW_ENTRY_LEN, FRAME_HEADER, FlowEntry, FrameClause, FrameError, Kind, MAX_DETOUR_ENTRIES, MAX_DETOUR_HUBS,
};

wire_enum! {
    /// Which of the two copies of a block it is.
    PathCopy {
        /// The one that counts as a copy in the ledgers of the hubs on its way.
        First = 0,
        /// The one that is sent besides, and counted by itself.
        Second = 1,
    }
}

/// A block for one hub, by the hubs that it names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Detour<'a> {
    /// Over how many more links it may go.
    pub ttl: u8,
    /// Which of two.
    pub copy: PathCopy,
    hubs: &'a [U64],
    raw: &'a [RawFlowEntry],
    /// Not validated.
    pub block: &'a [u8],
}

/// More hubs or entries than a [`Detour`] takes, none of either, or an entry that
/// is for another hub than the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{hubs} hubs and {entries} entries: there must be 1 to {MAX_DETOUR_HUBS} hubs and 1 to {MAX_DETOUR_ENTRIES} \
     entries, all for the last hub; let it go the usual way"
)]
pub struct TooLong {
    /// How many hubs there were.
    pub hubs: usize,
    /// How many entries.
    pub entries: usize,
}

/// Writes all that comes before the block of a [`Detour`] to `out`, which is emptied
/// first; the block's `block_len` bytes follow. `hubs` are those that it has still to
/// come to, its destination last, to which all entries are.
///
/// # Errors
/// [`TooLong`]; `out` is then empty.
pub fn detour_head(
    (ttl, copy): (u8, PathCopy),
    hubs: &[HubId],
    entries: &[FlowEntry],
    block_len: usize,
    out: &mut Vec<u8>,
) -> Result<(), TooLong> {
    out.clear();
    let is_sound = (1..=MAX_DETOUR_HUBS).contains(&hubs.len())
        && (1..=MAX_DETOUR_ENTRIES).contains(&entries.len())
        && entries.iter().all(|entry| Some(&entry.hub) == hubs.last());
    if !is_sound {
        return Err(TooLong { hubs: hubs.len(), entries: entries.len() });
    }
    let len = FRAME_HEADER + 8 + hubs.len() * 8 + entries.len() * FLOW_ENTRY_LEN;
    out.reserve(len);
    out.extend_from_slice(head(Kind::Detour, ttl, 0, len.saturating_add(block_len)).as_bytes());
    // Both are below the bounds, so they fit.
    out.extend_from_slice(&(entries.len() as u32).to_le_bytes());
    out.extend_from_slice(&[hubs.len() as u8, copy as u8, 0, 0]);
    for hub in hubs {
        out.extend_from_slice(&hub.0.to_le_bytes());
    }
    for entry in entries {
        out.extend_from_slice(RawFlowEntry::from(entry).as_bytes());
    }
    Ok(())
}

impl<'a> Detour<'a> {
    /// The hubs that it has still to come to, its destination last: 1 to
    /// [`MAX_DETOUR_HUBS`], the first being the one that it is sent to.
    pub fn hubs(&self) -> impl Iterator<Item = HubId> + Clone + use<'a> {
        self.hubs.iter().map(|hub| HubId(hub.get()))
    }

    /// What it is to its destination: 1 to [`MAX_DETOUR_ENTRIES`], read in place.
    pub fn entries(&self) -> impl Iterator<Item = FlowEntry> + Clone + use<'a> {
        self.raw.iter().filter_map(RawFlowEntry::entry)
    }

    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, FrameError> {
        let count = reader.u32("entries")? as usize;
        if !(1..=MAX_DETOUR_ENTRIES).contains(&count) {
            return Err(FrameError::new(FrameClause::ListLength, "entries", FRAME_HEADER, count as u64));
        }
        let many = usize::from(reader.u8("hubs")?);
        if !(1..=MAX_DETOUR_HUBS).contains(&many) {
            return Err(FrameError::new(FrameClause::ListLength, "hubs", FRAME_HEADER + 4, many as u64));
        }
        let copy = reader.one_of("copy", PathCopy::from_number)?;
        let reserved = reader.u16("reserved")?;
        if reserved != 0 {
            return Err(FrameError::new(FrameClause::Reserved, "reserved", FRAME_HEADER + 6, reserved.into()));
        }
        let hubs = <[U64]>::ref_from_bytes(reader.take(many * 8, "hubs")?).unwrap_or_default();
        let to = hubs.last().map(|hub| HubId(hub.get()));
        let raw = reader.take(count * FLOW_ENTRY_LEN, "entries")?;
        let raw = <[RawFlowEntry]>::ref_from_bytes(raw).unwrap_or_default();
        if let Some(place) = raw.iter().position(|entry| entry.entry().map(|entry| entry.hub) != to) {
            let offset = FRAME_HEADER + 8 + many * 8 + place * FLOW_ENTRY_LEN;
            return Err(FrameError::new(FrameClause::Value, "entries", offset, place as u64));
        }
        Ok(Self { ttl: reader.flags(), copy, hubs, raw, block: block(reader)? })
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        writer.flags(self.ttl);
        // As they were read, or as `detour_head` wrote them.
        writer.u32(self.raw.len() as u32);
        writer.u8(self.hubs.len() as u8);
        writer.u8(self.copy as u8);
        writer.u16(0);
        writer.raw(self.hubs.as_bytes());
        writer.raw(self.raw.as_bytes());
        writer.raw(self.block);
    }
}

impl std::fmt::Debug for Detour<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (hubs, entries): (Vec<HubId>, Vec<FlowEntry>) = (self.hubs().collect(), self.entries().collect());
        f.debug_struct("Detour")
            .field("ttl", &self.ttl)
            .field("copy", &self.copy)
            .field("hubs", &hubs)
            .field("entries", &entries)
            .field("block", &self.block)
            .finish()
    }
}
