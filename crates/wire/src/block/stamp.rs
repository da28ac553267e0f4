//! The hub's line: written once by the first hub, completed by a log.

use weft_base::{Epoch, HubId, Residency, UnixNanos, Way};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros};

use super::layout::{HEADER_LEN, Header, HubLine};
use super::{Block, MAX_BLOCK, MAX_TOPIC, WriteError, hub_checksum, pad8, producer_checksum};

/// Where and when a block entered the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// The hub at which it entered; not zero.
    pub origin: HubId,
    /// That hub's epoch.
    pub epoch: Epoch,
    /// Counts that hub's blocks in that epoch, from 1: what duplicates are
    /// told by.
    pub block: u64,
    /// That hub's sequence of the block's first event, from 1.
    pub sequence: u64,
    /// When it entered.
    pub ingested: UnixNanos,
}

/// Why a block could not be stamped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StampError {
    /// The bytes are no block: validate them first.
    #[error("{len} bytes cannot hold a block's header of {HEADER_LEN}: validate a block before stamping it")]
    TooShort {
        /// The bytes there are.
        len: usize,
    },
    /// The block bears a stamp: only the first hub stamps.
    #[error("the block was already stamped by hub {origin}: refuse it where it enters the mesh")]
    AlreadyStamped {
        /// Who stamped it.
        origin: HubId,
    },
    /// The stream's sequence belongs to a stamped block.
    #[error("the block bears no stamp yet: stamp it before it enters a stream")]
    NotStamped,
    /// Hub, block and sequence must not be zero.
    #[error(
        "a stamp needs a hub, and counts blocks and sequences from 1: hub {origin}, block {block}, sequence {sequence}"
    )]
    Zero {
        /// The stamp's hub.
        origin: HubId,
        /// The stamp's block.
        block: u64,
        /// The stamp's sequence.
        sequence: u64,
    },
    /// Home and home sequence are both set, or neither is.
    #[error("home {home:x} and home sequence {home_sequence} do not go together: set both, or neither")]
    Home {
        /// The home's tag.
        home: u32,
        /// The sequence there.
        home_sequence: u64,
    },
    /// The sequence of the block's last event would not fit 64 bits.
    #[error("the sequence {first} leaves no numbers for the block's {events} events")]
    Sequence {
        /// The sequence given.
        first: u64,
        /// The block's events.
        events: u32,
    },
}

fn header(bytes: &mut [u8]) -> Result<&mut Header, StampError> {
    let len = bytes.len();
    Header::mut_from_prefix(bytes).map(|(head, _)| head).map_err(|_| StampError::TooShort { len })
}

fn check_sequence(head: &Header, first: u64) -> Result<(), StampError> {
    let events = head.producer.event_count.get();
    match first.checked_add(events.into()) {
        Some(_) => Ok(()),
        None => Err(StampError::Sequence { first, events }),
    }
}

/// Writes the hub's line and its checksum into a validated block, which goes by
/// the way of what is not spread.
///
/// # Errors
/// [`StampError`]; the block is then as it was.
pub fn stamp(bytes: &mut [u8], stamp: &Stamp) -> Result<(), StampError> {
    stamp_for(bytes, stamp, Way::MAIN)
}

/// As [`stamp`], of a block that takes this way.
///
/// # Errors
/// As of [`stamp`].
pub fn stamp_for(bytes: &mut [u8], stamp: &Stamp, way: Way) -> Result<(), StampError> {
    let Stamp { origin, epoch, block, sequence, ingested } = *stamp;
    let head = header(bytes)?;
    if head.hub.origin.get() != 0 {
        return Err(StampError::AlreadyStamped { origin: HubId(head.hub.origin.get()) });
    }
    if origin.0 == 0 || block == 0 || sequence == 0 {
        return Err(StampError::Zero { origin, block, sequence });
    }
    check_sequence(head, sequence)?;
    head.hub = HubLine {
        origin: U64::new(origin.0),
        epoch: U32::new(epoch.0),
        block: U64::new(block),
        sequence: U64::new(sequence),
        ingested: U64::new(ingested.0),
        way: U32::new(way.0.min(Way::MOST - 1).into()),
        ..HubLine::new_zeroed()
    };
    seal(bytes)
}

/// Writes the hub's line of a stamped block anew, by the hub that stamped it, as in
/// a later life. It takes this way then, and has no place in a stream.
///
/// # Errors
/// [`StampError`]; the block is then not stamped.
pub fn stamp_anew(bytes: &mut [u8], stamp: &Stamp, way: Way) -> Result<(), StampError> {
    header(bytes)?.hub.origin = U64::new(0);
    stamp_for(bytes, stamp, way)
}

/// Binds the events of a validated block that bears no stamp to a label, and
/// writes the producer's checksum anew: linear in the length.
///
/// # Errors
/// [`StampError::TooShort`] and [`StampError::AlreadyStamped`]; the block is then
/// as it was.
pub fn set_residency(bytes: &mut [u8], residency: Residency) -> Result<(), StampError> {
    let head = header(bytes)?;
    if head.hub.origin.get() != 0 {
        return Err(StampError::AlreadyStamped { origin: HubId(head.hub.origin.get()) });
    }
    head.producer.residency = U32::new(residency.0);
    let checksum = producer_checksum(bytes);
    header(bytes)?.producer.checksum = U32::new(checksum);
    Ok(())
}

/// The place of a block's first event in a stream; all zero for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamPlace {
    /// Its sequence in the log that it lies in, from 1.
    pub local: u64,
    /// The home at which it entered the stream: [`HubId::tag`].
    pub home: u32,
    /// Its sequence among the events that entered there, from 1.
    pub home_sequence: u64,
}

/// Writes the place in a stream into a stamped block, and the hub's checksum
/// anew. What is in a stream takes no way any more: programs of version 1 of the
/// protocol read it as well.
///
/// # Errors
/// [`StampError`]; the block is then as it was.
pub fn set_stream_place(bytes: &mut [u8], place: StreamPlace) -> Result<(), StampError> {
    let StreamPlace { local, home, home_sequence } = place;
    let head = header(bytes)?;
    if head.hub.origin.get() == 0 {
        return Err(StampError::NotStamped);
    }
    if (home == 0) != (home_sequence == 0) {
        return Err(StampError::Home { home, home_sequence });
    }
    check_sequence(head, local)?;
    check_sequence(head, home_sequence)?;
    head.hub.stream_sequence = U64::new(local);
    head.hub.home_sequence = U64::new(home_sequence);
    head.hub.home = U32::new(home);
    head.hub.way = U32::new(0);
    seal(bytes)
}

/// Makes a stamped block one that says nothing of the way that it took, for who
/// speaks version 1 of the protocol and refuses it otherwise.
///
/// # Errors
/// [`StampError`]; the block is then as it was.
pub fn forget_way(bytes: &mut [u8]) -> Result<(), StampError> {
    let head = header(bytes)?;
    if head.hub.origin.get() == 0 {
        return Err(StampError::NotStamped);
    }
    head.hub.way = U32::new(0);
    seal(bytes)
}

/// A validated block under another topic, with the same events, stamp and place
/// in a stream: for mirrors that rename what they copy. The grammar of the topic
/// is not checked here.
///
/// # Errors
/// [`WriteError::TopicLength`] when the topic is empty or too long, and
/// [`WriteError::NoRoom`] when the block would be.
pub fn with_topic(block: &Block<'_>, topic: &str) -> Result<Vec<u8>, WriteError> {
    let mut bytes = vec![0; len_with_topic(block, topic)];
    write_with_topic(block, topic, &mut bytes)?;
    Ok(bytes)
}

/// How long a validated block is under another topic, in bytes.
#[must_use]
pub fn len_with_topic(block: &Block<'_>, topic: &str) -> usize {
    block.bytes().len().saturating_sub(pad8(block.topic().len())).saturating_add(pad8(topic.len()))
}

/// The same as [`with_topic`], written to `out`, which may be longer; answers
/// how much of it the block takes.
///
/// # Errors
/// As of [`with_topic`], and [`WriteError::NoRoom`] when `out` is too short.
/// What is in `out` is then no block.
pub fn write_with_topic(block: &Block<'_>, topic: &str, out: &mut [u8]) -> Result<usize, WriteError> {
    let Some(topic_len) = u16::try_from(topic.len()).ok().filter(|len| (1..=MAX_TOPIC).contains(&usize::from(*len)))
    else {
        return Err(WriteError::TopicLength { len: topic.len() });
    };
    let (head, events) = (HEADER_LEN + topic.len(), HEADER_LEN + pad8(topic.len()));
    let old = block.bytes().get(HEADER_LEN + pad8(block.topic().len())..).unwrap_or_default();
    let len = events + old.len();
    let no_room = WriteError::NoRoom { need: len, left: out.len().min(MAX_BLOCK) };
    let Some(bytes) = out.get_mut(..len).filter(|_| len <= MAX_BLOCK) else { return Err(no_room) };
    let parts = [
        (0..HEADER_LEN, block.bytes().get(..HEADER_LEN).unwrap_or_default()),
        (HEADER_LEN..head, topic.as_bytes()),
        (head..events, [0; 8].get(..events - head).unwrap_or_default()),
        (events..len, old),
    ];
    for (place, part) in parts {
        if let Some(place) = bytes.get_mut(place).filter(|place| place.len() == part.len()) {
            place.copy_from_slice(part);
        }
    }
    let Ok((head, _)) = Header::mut_from_prefix(bytes) else { return Err(no_room) };
    // Below MAX_BLOCK, which fits.
    head.producer.length = U32::new(len as u32);
    head.producer.topic_len = U16::new(topic_len);
    let checksum = producer_checksum(bytes);
    if let Ok((head, _)) = Header::mut_from_prefix(bytes) {
        head.producer.checksum = U32::new(checksum);
    }
    Ok(len)
}

fn seal(bytes: &mut [u8]) -> Result<(), StampError> {
    let checksum = hub_checksum(bytes);
    header(bytes)?.hub.checksum = U32::new(checksum);
    Ok(())
}
