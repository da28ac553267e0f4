//! What is asked of an event beyond being published, and how it is written: as
//! flags of its block and headers of the event.

use std::time::Duration;

use weft_base::UnixNanos;
use weft_wire::block::WriteError;
use weft_wire::block::layout::{CONDITIONAL, DELAYED, EXPIRES};
use weft_wire::headers::{HeaderError, HeadersWriter, MAX_HEADERS, names};

/// What is asked of an event beyond being published. Such an event has a block
/// of its own, unless all it has is the publisher's own time to live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// It is taken only if the stream's last event has this sequence, counted
    /// at its home ([`Published::home_sequence`](crate::Published)); 0: only
    /// into an empty stream.
    pub expect_last: Option<u64>,
    /// It is taken only if the last event of its topic and key has this
    /// sequence; 0: only if there is none.
    pub expect_key: Option<u64>,
    /// It is delivered no earlier. The stream keeps it until then.
    pub deliver_at: Option<UnixNanos>,
    /// How long it is of use after it has entered its hub; then consumers do
    /// not get it any more. Instead of the publisher's own.
    pub ttl: Option<Duration>,
    /// With a [producer of its own](crate::Producer): the event's number,
    /// above those of the events before it.
    pub sequence: Option<u64>,
}

impl Terms {
    /// Whether nothing is asked.
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The flags of the block.
    pub(super) fn flags(&self) -> u32 {
        let flag = |is: bool, flag: u32| if is { flag } else { 0 };
        flag(self.expect_last.is_some() || self.expect_key.is_some(), CONDITIONAL)
            | flag(self.deliver_at.is_some(), DELAYED)
            | flag(self.ttl.is_some(), EXPIRES)
    }

    /// Writes its headers and behind them the application's own. `out` is emptied first.
    pub(super) fn headers(&self, own: &[u8], out: &mut Vec<u8>) -> Result<(), WriteError> {
        let mut writer = HeadersWriter::new(out);
        let numbers = [
            (names::EXPECT_LAST, self.expect_last),
            (names::EXPECT_KEY, self.expect_key),
            (names::DELIVER_AT, self.deliver_at.map(|at| at.0)),
            (names::TTL, self.ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1))),
        ];
        for (name, value) in numbers {
            if let Some(value) = value {
                writer.push(name, &value.to_le_bytes())?;
            }
        }
        append(own, out)
    }
}

/// Adds headers that are written already.
pub(super) fn append(own: &[u8], out: &mut Vec<u8>) -> Result<(), WriteError> {
    let len = out.len() + own.len();
    if len > MAX_HEADERS {
        return Err(HeaderError::TooLong { len }.into());
    }
    out.extend_from_slice(own);
    Ok(())
}
