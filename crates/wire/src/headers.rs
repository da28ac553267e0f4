//! An event's headers: named values beside the payload.
//!
//! ```text
//! one entry, without padding, the next follows at once
//!   0 u8  name length, 1 to 255
//!   1 u8  zero
//!   2 u16 value length
//!   4     name: visible ASCII (0x21 to 0x7e)
//!         value: any bytes
//! ```
//!
//! All entries of an event together are at most 65,535 bytes. A name may occur
//! more than once; their order is kept. Names are compared byte for byte, and
//! the well-known ones in [`names`] are lower case.

/// Header names with a meaning that Weft and its gateways know.
pub mod names {
    /// Trace context: version, trace id, parent id and flags (W3C Trace Context).
    pub const TRACEPARENT: &str = "traceparent";
    /// Trace context: what each tracing system adds (W3C Trace Context).
    pub const TRACESTATE: &str = "tracestate";
    /// W3C Baggage: values that travel with the trace.
    pub const BAGGAGE: &str = "baggage";
    /// Of a request: the topic to publish replies to, `_reply/HUB/SESSION/TOKEN`.
    pub const REPLY_TO: &str = "weft-reply-to";
    /// Of a reply: what it is beside an answer, [`REPLY_END`] or
    /// [`REPLY_NO_RESPONDERS`]; an answer among others has no such header.
    pub const REPLY: &str = "weft-reply";
    /// Value of [`REPLY`]: the responder sends no more for this request. With
    /// an empty payload it is a mark alone, else the last answer.
    pub const REPLY_END: &[u8] = b"end";
    /// Value of [`REPLY`]: one of the receivers that the request was sent to
    /// had nobody to answer it. Written by hubs.
    pub const REPLY_NO_RESPONDERS: &[u8] = b"no-responders";
    /// Compare-and-set on the stream: the sequence, counted at its home, of the
    /// last event in it, a `u64`, little-endian; 0 for an empty stream. In the
    /// first event of a block with [`CONDITIONAL`](crate::block::layout::CONDITIONAL).
    pub const EXPECT_LAST: &str = "weft-expect-last";
    /// Compare-and-set on a topic and key: the sequence, counted at the stream's
    /// home, of the last event of this event's topic and key, a `u64`,
    /// little-endian; 0 for none. In the first event of a block with
    /// [`CONDITIONAL`](crate::block::layout::CONDITIONAL).
    pub const EXPECT_KEY: &str = "weft-expect-key";
    /// When the event is to be delivered, Unix time in nanoseconds, a `u64`,
    /// little-endian. In the first event of a block with
    /// [`DELAYED`](crate::block::layout::DELAYED).
    pub const DELIVER_AT: &str = "weft-deliver-at";
    /// How long the event is of use, in milliseconds from when it entered the
    /// mesh, a `u64`, little-endian. In blocks with
    /// [`EXPIRES`](crate::block::layout::EXPIRES).
    pub const TTL: &str = "weft-ttl";
    /// The atomic batch that a block is part of: 16 bytes of id, the block's
    /// index as a `u32`, and the number of blocks as a `u32`, little-endian. In
    /// the first event of a block with
    /// [`BATCH_OPEN`](crate::block::layout::BATCH_OPEN) or
    /// [`BATCH_LAST`](crate::block::layout::BATCH_LAST).
    pub const BATCH: &str = "weft-batch";
    /// Of a dead letter, a text: why it was given up, `max-deliver` or what the
    /// member that terminated it said.
    pub const DEAD_REASON: &str = "weft-dead-reason";
    /// Of a dead letter, a text: the stream it was in.
    pub const DEAD_STREAM: &str = "weft-dead-stream";
    /// Of a dead letter, a text: the consumer that gave it up.
    pub const DEAD_CONSUMER: &str = "weft-dead-consumer";
    /// Of a dead letter, a decimal number: how often it was handed out.
    pub const DEAD_ATTEMPTS: &str = "weft-dead-attempts";
    /// Of a dead letter, a decimal number: its sequence in that stream.
    pub const DEAD_SEQUENCE: &str = "weft-dead-sequence";
    /// Of a dead letter, a text: its topic there.
    pub const DEAD_TOPIC: &str = "weft-dead-topic";
    /// Of a dead letter that would have been larger than a frame, a text: which
    /// of `payload`, `headers` and `key` of the event are not in it, with a
    /// space between them. They are in the stream for as long as that keeps them.
    pub const DEAD_LEFT_OUT: &str = "weft-dead-left-out";
    /// What all headers of an event in quarantine begin with that are not its own.
    pub const QUARANTINE: &str = "weft-quarantine-";
    /// Of an event in quarantine, a text: where in its payload it breaks the schema.
    pub const QUARANTINE_AT: &str = "weft-quarantine-at";
    /// Of an event in quarantine, a text: the rule that it breaks.
    pub const QUARANTINE_RULE: &str = "weft-quarantine-rule";
    /// Of an event in quarantine, a text: what is wrong, in words.
    pub const QUARANTINE_TEXT: &str = "weft-quarantine-text";
    /// Of an event in quarantine, a text: the subject that holds for its topic.
    pub const QUARANTINE_SUBJECT: &str = "weft-quarantine-subject";
    /// Of an event in quarantine, a decimal number: the version of the subject that
    /// it was checked by; empty if none was found.
    pub const QUARANTINE_VERSION: &str = "weft-quarantine-version";
    /// Of an event in quarantine, a decimal number: the id of that version's schema.
    pub const QUARANTINE_SCHEMA: &str = "weft-quarantine-schema";
    /// Of an event in quarantine, a decimal number: the version of the control state.
    pub const QUARANTINE_STATE: &str = "weft-quarantine-state";
    /// Of an event in quarantine, a text: who published it.
    pub const QUARANTINE_BY: &str = "weft-quarantine-by";
    /// Of an event in quarantine that its producer had numbered, a text: the
    /// producer in 16 hexadecimal digits, `/`, and the number.
    pub const QUARANTINE_EVENT: &str = "weft-quarantine-event";
    /// Of an event that was published again out of quarantine, a text: from which
    /// stream, `/`, and its sequence there. If it does not fit it is refused.
    pub const REPLAYED: &str = "weft-replayed";
    /// The payload's media type; CloudEvents calls it `datacontenttype`.
    pub const CONTENT_TYPE: &str = "content-type";
    /// CloudEvents: version of its specification, `1.0`.
    pub const CE_SPECVERSION: &str = "ce-specversion";
    /// CloudEvents: the event's id, unique in its source.
    pub const CE_ID: &str = "ce-id";
    /// CloudEvents: the context in which the event happened, a URI reference.
    pub const CE_SOURCE: &str = "ce-source";
    /// CloudEvents: the kind of event.
    pub const CE_TYPE: &str = "ce-type";
    /// CloudEvents: what in the source the event is about.
    pub const CE_SUBJECT: &str = "ce-subject";
    /// CloudEvents: when it happened, RFC 3339.
    pub const CE_TIME: &str = "ce-time";
    /// CloudEvents: the schema of the payload, a URI.
    pub const CE_DATASCHEMA: &str = "ce-dataschema";
}

/// The most that all entries of one event may take, in bytes.
pub const MAX_HEADERS: usize = u16::MAX as usize;
/// Bytes of an entry before its name.
const ENTRY_HEAD: usize = 4;

/// Why bytes are not headers, or a header cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The entry at `offset` ends beyond the headers.
    #[error("the header at byte {offset} ends beyond the {len} bytes of headers")]
    Truncated {
        /// Where the entry starts.
        offset: usize,
        /// The bytes there are.
        len: usize,
    },
    /// The entry's second byte is not zero.
    #[error("byte {offset} of the headers is reserved and must be zero")]
    Reserved {
        /// Where the byte is.
        offset: usize,
    },
    /// A name that is empty, over 255 bytes, or not visible ASCII.
    #[error("the header name at byte {offset} must be 1 to 255 visible ASCII characters")]
    Name {
        /// Where the name is, or would have been.
        offset: usize,
    },
    /// More bytes than the headers of an event can take.
    #[error("the headers would take {len} bytes, the most is {MAX_HEADERS}: move large values into the payload")]
    TooLong {
        /// The bytes they would take.
        len: usize,
    },
}

impl HeaderError {
    /// The byte of the headers at which it went wrong.
    #[must_use]
    pub const fn offset(&self) -> usize {
        match *self {
            Self::Truncated { offset, .. } | Self::Reserved { offset } | Self::Name { offset } => offset,
            Self::TooLong { .. } => 0,
        }
    }
}

const fn is_name(name: &[u8]) -> bool {
    let mut at = 0;
    while at < name.len() {
        if !name[at].is_ascii_graphic() {
            return false;
        }
        at += 1;
    }
    !name.is_empty() && name.len() <= u8::MAX as usize
}

/// The headers of one event, read in place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headers<'a> {
    bytes: &'a [u8],
}

impl<'a> Headers<'a> {
    /// Checks every entry.
    ///
    /// # Errors
    /// [`HeaderError`] with the byte at which the bytes are not headers.
    pub fn validate(bytes: &'a [u8]) -> Result<Self, HeaderError> {
        if bytes.len() > MAX_HEADERS {
            return Err(HeaderError::TooLong { len: bytes.len() });
        }
        let mut at = 0;
        while at < bytes.len() {
            let truncated = HeaderError::Truncated { offset: at, len: bytes.len() };
            let rest = bytes.get(at..).unwrap_or_default();
            let &[name_len, reserved, low, high, ref tail @ ..] = rest else { return Err(truncated) };
            if reserved != 0 {
                return Err(HeaderError::Reserved { offset: at + 1 });
            }
            let (name_len, value_len) = (usize::from(name_len), usize::from(u16::from_le_bytes([low, high])));
            if tail.len() < name_len + value_len {
                return Err(truncated);
            }
            if !is_name(tail.get(..name_len).unwrap_or_default()) {
                return Err(HeaderError::Name { offset: at + ENTRY_HEAD.min(rest.len() - 1) });
            }
            at += ENTRY_HEAD + name_len + value_len;
        }
        Ok(Self { bytes })
    }

    /// Headers whose bytes were validated before. Other bytes are safe: the
    /// iteration ends where they make no sense.
    #[must_use]
    pub const fn trusted(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The entries as they lie in the block.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether there is no header.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The value of the first header of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.iter().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// Names and values, in order.
    #[must_use]
    pub const fn iter(&self) -> HeadersIter<'a> {
        HeadersIter { rest: self.bytes }
    }
}

impl<'a> IntoIterator for Headers<'a> {
    type Item = (&'a str, &'a [u8]);
    type IntoIter = HeadersIter<'a>;
    fn into_iter(self) -> HeadersIter<'a> {
        self.iter()
    }
}

/// The iteration of [`Headers::iter`].
#[derive(Clone, Debug)]
pub struct HeadersIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for HeadersIter<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let &[name_len, _, low, high, ref tail @ ..] = self.rest else { return None };
        let (name, tail) = tail.split_at_checked(usize::from(name_len))?;
        let (value, tail) = tail.split_at_checked(usize::from(u16::from_le_bytes([low, high])))?;
        let name = std::str::from_utf8(name).ok()?;
        self.rest = tail;
        Some((name, value))
    }
}

/// Appends headers to a buffer that is kept and used again.
///
/// ```
/// use weft_wire::headers::{Headers, HeadersWriter, names};
/// let mut bytes = Vec::new();
/// let mut headers = HeadersWriter::new(&mut bytes);
/// headers.push(names::CE_TYPE, b"departed")?;
/// assert_eq!(Headers::validate(&bytes)?.get(names::CE_TYPE), Some(&b"departed"[..]));
/// # Ok::<(), weft_wire::headers::HeaderError>(())
/// ```
#[derive(Debug)]
pub struct HeadersWriter<'b> {
    out: &'b mut Vec<u8>,
}

impl<'b> HeadersWriter<'b> {
    /// Empties `out` and writes to it.
    #[must_use]
    pub fn new(out: &'b mut Vec<u8>) -> Self {
        out.clear();
        Self { out }
    }

    /// Adds a header.
    ///
    /// # Errors
    /// [`HeaderError::Name`] or [`HeaderError::TooLong`]; nothing is added.
    pub fn push(&mut self, name: &str, value: &[u8]) -> Result<(), HeaderError> {
        if !is_name(name.as_bytes()) {
            return Err(HeaderError::Name { offset: self.out.len() + ENTRY_HEAD });
        }
        let len = self.out.len() + ENTRY_HEAD + name.len() + value.len();
        let (Ok(name_len), Ok(value_len), true) =
            (u8::try_from(name.len()), u16::try_from(value.len()), len <= MAX_HEADERS)
        else {
            return Err(HeaderError::TooLong { len });
        };
        self.out.extend_from_slice(&[name_len, 0]);
        self.out.extend_from_slice(&value_len.to_le_bytes());
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(value);
        Ok(())
    }

    /// What was written so far, for [`EventFields::headers`](crate::EventFields).
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.out
    }
}
