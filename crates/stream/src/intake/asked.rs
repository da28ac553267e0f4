//! What the first event of a block asks of the stream that is to take it in.

use weft_base::UnixNanos;
use weft_wire::block::layout::{BATCH_LAST, BATCH_OPEN, CONDITIONAL, DELAYED, EXPIRES};
use weft_wire::block::{Block, Event};
use weft_wire::headers::names;

/// Flags of blocks that ask for something: all others are taken in as they come.
pub const SPECIAL: u32 = CONDITIONAL | DELAYED | BATCH_OPEN | BATCH_LAST;

/// A block's place in an atomic batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPart {
    /// Chosen by the producer, unique among its batches.
    pub id: [u8; 16],
    /// From 0.
    pub index: u32,
    /// How many blocks the batch has.
    pub count: u32,
}

/// What a block asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The local sequence of the stream's last event; 0 for an empty stream.
    pub expect_last: Option<u64>,
    /// The local sequence of the last event of the block's topic and its first
    /// event's key; 0 for none.
    pub expect_key: Option<u64>,
    /// When to deliver it.
    pub deliver_at: Option<UnixNanos>,
    /// Which batch it is part of.
    pub batch: Option<BatchPart>,
}

/// A header that is missing, or is not what its flag says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the first event's header `{header}` {rule}")]
pub struct Malformed {
    /// The header's name.
    pub header: &'static str,
    /// What is wrong with it.
    pub rule: &'static str,
}

fn number(header: &'static str, value: Option<&[u8]>) -> Result<Option<u64>, Malformed> {
    let Some(value) = value else { return Ok(None) };
    let bytes = value.try_into().map_err(|_| Malformed { header, rule: "must be 8 bytes, a number little-endian" })?;
    Ok(Some(u64::from_le_bytes(bytes)))
}

impl Asked {
    /// Reads what a validated block asks.
    ///
    /// # Errors
    /// [`Malformed`]: a header that the flags promise is missing or malformed.
    pub fn of(block: Block<'_>) -> Result<Self, Malformed> {
        let flags = block.flags();
        if flags & SPECIAL == 0 {
            return Ok(Self::default());
        }
        let Some(event) = block.events().next() else { return Ok(Self::default()) };
        let value = |name: &str| event.headers.get(name);
        let mut asked = Self::default();
        if flags & CONDITIONAL != 0 {
            asked.expect_last = number(names::EXPECT_LAST, value(names::EXPECT_LAST))?;
            asked.expect_key = number(names::EXPECT_KEY, value(names::EXPECT_KEY))?;
            if asked.expect_last.is_none() && asked.expect_key.is_none() {
                let rule = "is missing, and so is `weft-expect-key`: a conditional block has one of them";
                return Err(Malformed { header: names::EXPECT_LAST, rule });
            }
        }
        if flags & DELAYED != 0 {
            let at = number(names::DELIVER_AT, value(names::DELIVER_AT))?;
            let missing = Malformed { header: names::DELIVER_AT, rule: "is missing in a delayed block" };
            asked.deliver_at = Some(UnixNanos(at.ok_or(missing)?));
        }
        if flags & (BATCH_OPEN | BATCH_LAST) != 0 {
            let part = value(names::BATCH).and_then(batch_part);
            let rule = "must be in each block of a batch: 16 bytes of id, index and count as u32";
            let part = part.ok_or(Malformed { header: names::BATCH, rule })?;
            let last = flags & BATCH_LAST != 0;
            let both = last && flags & BATCH_OPEN != 0;
            if part.index >= part.count || both || last != (part.index + 1 == part.count) {
                let rule = "must count from 0, and only the block before the count bears the flag of the last";
                return Err(Malformed { header: names::BATCH, rule });
            }
            asked.batch = Some(part);
        }
        Ok(asked)
    }
}

/// Whether an event's time to live is over. Blocks without the flag
/// [`EXPIRES`], and events without the header, live for ever; a header that is
/// malformed is none.
#[must_use]
pub fn is_expired(block: Block<'_>, event: &Event<'_>, now: UnixNanos) -> bool {
    if block.flags() & EXPIRES == 0 {
        return false;
    }
    let ttl = event.headers.get(names::TTL).and_then(|value| Some(u64::from_le_bytes(value.try_into().ok()?)));
    let from = block.stamp().map(|_| block.counts_from().0);
    let end = from.zip(ttl).map(|(from, ttl)| from.saturating_add(ttl.saturating_mul(1_000_000)));
    end.is_some_and(|end| end <= now.0)
}

fn batch_part(value: &[u8]) -> Option<BatchPart> {
    let (id, rest) = value.split_first_chunk::<16>()?;
    let (index, rest) = rest.split_first_chunk::<4>()?;
    let count: &[u8; 4] = rest.try_into().ok()?;
    Some(BatchPart { id: *id, index: u32::from_le_bytes(*index), count: u32::from_le_bytes(*count) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use weft_wire::block::{BlockFields, BlockWriter, EventFields};
    use weft_wire::headers::HeadersWriter;

    use super::*;

    fn asked(flags: u32, headers: &[(&str, &[u8])]) -> Result<Asked, Malformed> {
        let mut bytes = vec![0; 1024];
        let mut kept = Vec::new();
        let mut writer = HeadersWriter::new(&mut kept);
        for (name, value) in headers {
            writer.push(name, value).unwrap();
        }
        let fields = BlockFields { flags, ..BlockFields::new("t") };
        let mut writer = BlockWriter::new(&mut bytes, &fields).unwrap();
        writer.push(&EventFields { headers: &kept, ..EventFields::default() }).unwrap();
        let len = writer.finish().unwrap();
        Asked::of(Block::validate(&bytes[..len]).unwrap())
    }

    fn part(index: u32, count: u32) -> Vec<u8> {
        [&[7; 16][..], &index.to_le_bytes(), &count.to_le_bytes()].concat()
    }

    #[test]
    fn a_block_asks_what_its_flags_and_headers_say() {
        assert_eq!(asked(0, &[(names::EXPECT_LAST, b"no flag, no meaning")]), Ok(Asked::default()));
        let five = 5_u64.to_le_bytes();
        let found = asked(CONDITIONAL | DELAYED, &[(names::EXPECT_KEY, &five), (names::DELIVER_AT, &five)]).unwrap();
        assert_eq!((found.expect_last, found.expect_key, found.deliver_at), (None, Some(5), Some(UnixNanos(5))));
        let found = asked(BATCH_OPEN, &[(names::BATCH, &part(0, 2))]).unwrap();
        assert_eq!(found.batch, Some(BatchPart { id: [7; 16], index: 0, count: 2 }));
    }

    #[test]
    fn an_event_lives_as_long_as_it_says_from_when_it_entered() {
        use weft_base::{Epoch, HubId};
        use weft_wire::block::{Stamp, stamp};
        let mut bytes = vec![0; 1024];
        let mut kept = Vec::new();
        HeadersWriter::new(&mut kept).push(names::TTL, &10_u64.to_le_bytes()).unwrap();
        let fields = BlockFields { flags: EXPIRES, ..BlockFields::new("t") };
        let mut writer = BlockWriter::new(&mut bytes, &fields).unwrap();
        writer.push(&EventFields { headers: &kept, ..EventFields::default() }).unwrap();
        writer.push(&EventFields::default()).unwrap();
        let len = writer.finish().unwrap();
        let (origin, epoch, ingested) = (HubId(1), Epoch(1), UnixNanos(5_000_000));
        stamp(&mut bytes[..len], &Stamp { origin, epoch, block: 1, sequence: 1, ingested }).unwrap();
        let block = Block::validate(&bytes[..len]).unwrap();
        let mut events = block.events();
        let (first, second) = (events.next().unwrap(), events.next().unwrap());
        assert!(!is_expired(block, &first, UnixNanos(14_999_999)));
        assert!(is_expired(block, &first, UnixNanos(15_000_000)));
        assert!(!is_expired(block, &first, UnixNanos(0)), "the clock was set back");
        assert!(!is_expired(block, &second, UnixNanos(u64::MAX)), "it says nothing");
    }

    #[test]
    fn a_delayed_event_lives_from_when_it_was_due() {
        use weft_base::{Epoch, HubId};
        use weft_wire::block::{Stamp, stamp};
        let mut kept = Vec::new();
        let mut headers = HeadersWriter::new(&mut kept);
        headers.push(names::TTL, &10_u64.to_le_bytes()).unwrap();
        headers.push(names::DELIVER_AT, &7_000_000_u64.to_le_bytes()).unwrap();
        for (flags, end) in [(EXPIRES | DELAYED, 17_000_000), (EXPIRES, 15_000_000)] {
            let mut bytes = vec![0; 1024];
            let mut writer = BlockWriter::new(&mut bytes, &BlockFields { flags, ..BlockFields::new("t") }).unwrap();
            writer.push(&EventFields { headers: &kept, ..EventFields::default() }).unwrap();
            let len = writer.finish().unwrap();
            let (origin, epoch, ingested) = (HubId(1), Epoch(1), UnixNanos(5_000_000));
            stamp(&mut bytes[..len], &Stamp { origin, epoch, block: 1, sequence: 1, ingested }).unwrap();
            let block = Block::validate(&bytes[..len]).unwrap();
            let event = block.events().next().unwrap();
            assert!(!is_expired(block, &event, UnixNanos(end - 1)));
            assert!(is_expired(block, &event, UnixNanos(end)));
        }
    }

    #[test]
    fn what_is_missing_or_malformed_is_named() {
        let header = |found: Result<Asked, Malformed>| found.unwrap_err().header;
        assert_eq!(header(asked(CONDITIONAL, &[])), names::EXPECT_LAST);
        assert_eq!(header(asked(CONDITIONAL, &[(names::EXPECT_KEY, b"short")])), names::EXPECT_KEY);
        assert_eq!(header(asked(DELAYED, &[])), names::DELIVER_AT);
        assert_eq!(header(asked(BATCH_LAST, &[])), names::BATCH);
        for (flags, index, count) in
            [(BATCH_OPEN, 1, 2), (BATCH_LAST, 0, 2), (BATCH_OPEN | BATCH_LAST, 0, 1), (BATCH_LAST, 2, 2)]
        {
            assert_eq!(header(asked(flags, &[(names::BATCH, &part(index, count))])), names::BATCH);
        }
    }
}
