//! The wire format of Protobuf, as a cursor over bytes from outside: keys,
//! varints, lengths and groups, each checked before it is used (source:
//! "Encoding" in the documentation of Protobuf).
//!
//! Allocates nothing. What is not well formed is refused with the offset.

use std::ops::Range;

pub(super) use crate::malformed::Malformed;

/// How a value lies on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WireType {
    /// A varint.
    Varint,
    /// Eight bytes.
    Fixed64,
    /// A length and as many bytes.
    Bytes,
    /// The begin of a group.
    Start,
    /// The end of a group.
    End,
    /// Four bytes.
    Fixed32,
}

/// A place in a payload, and the end of the message that it is in.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    /// The offset of the next byte.
    pub(super) at: usize,
    /// The offset behind the last byte that may be read; never behind the payload.
    end: usize,
}

impl<'a> Cursor<'a> {
    /// Over a part of `bytes`; what of `range` lies outside is cut off.
    pub(super) fn over(bytes: &'a [u8], range: Range<usize>) -> Self {
        let end = range.end.min(bytes.len());
        Self { bytes, at: range.start.min(end), end }
    }

    /// Whether all has been read.
    pub(super) fn is_done(&self) -> bool {
        self.at >= self.end
    }

    /// Narrows what may be read to `range`, which [`Cursor::length`] gave, and
    /// returns the end to restore afterwards.
    pub(super) fn enter(&mut self, range: &Range<usize>) -> usize {
        let outer = self.end;
        self.at = range.start;
        self.end = range.end.min(outer);
        outer
    }

    /// Undoes [`Cursor::enter`].
    pub(super) fn leave(&mut self, outer: usize) {
        self.at = self.end;
        self.end = outer;
    }

    /// The bytes of a range that this cursor gave.
    pub(super) fn slice(&self, range: &Range<usize>) -> &'a [u8] {
        self.bytes.get(range.clone()).unwrap_or_default()
    }

    fn malformed<T>(&self, rule: &'static str, text: &'static str) -> Result<T, Malformed> {
        Err(Malformed { rule, text, at: self.at })
    }

    /// A varint of at most ten bytes and 64 bits.
    pub(super) fn varint(&mut self) -> Result<u64, Malformed> {
        let rest = self.bytes.get(self.at..self.end).unwrap_or_default();
        if let Some(&byte) = rest.first()
            && byte < 0x80
        {
            self.at += 1;
            return Ok(u64::from(byte));
        }
        let mut value = 0_u64;
        for (index, &byte) in rest.iter().take(10).enumerate() {
            if index == 9 && byte > 1 {
                return self.malformed("varint", "a varint has more than 64 bits");
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.at += index + 1;
                return Ok(value);
            }
        }
        self.malformed("truncated", "the bytes end inside of a varint")
    }

    /// The number of a field and how its value lies there.
    pub(super) fn key(&mut self) -> Result<(u32, WireType), Malformed> {
        let at = self.at;
        let key = self.varint()?;
        let malformed = |rule, text| Err(Malformed { rule, text, at });
        let Ok(key) = u32::try_from(key) else {
            return malformed("key", "the number of a field is more than 2^29 - 1");
        };
        let wire = match key & 7 {
            0 => WireType::Varint,
            1 => WireType::Fixed64,
            2 => WireType::Bytes,
            3 => WireType::Start,
            4 => WireType::End,
            5 => WireType::Fixed32,
            _ => return malformed("key", "there is no wire type 6 and 7"),
        };
        match key >> 3 {
            0 => malformed("key", "there is no field with the number 0"),
            number => Ok((number, wire)),
        }
    }

    /// A length, and the range of as many bytes, which are not read yet.
    pub(super) fn length(&mut self) -> Result<Range<usize>, Malformed> {
        let at = self.at;
        let length = self.varint()?;
        let left = self.end.saturating_sub(self.at);
        match usize::try_from(length) {
            Ok(length) if length <= left => Ok(self.at..self.at + length),
            _ => Err(Malformed { rule: "truncated", text: "a length says more bytes than there are", at }),
        }
    }

    /// As many bytes.
    pub(super) fn fixed(&mut self, bytes: usize) -> Result<(), Malformed> {
        if self.end.saturating_sub(self.at) < bytes {
            return self.malformed("truncated", "the bytes end inside of a number");
        }
        self.at += bytes;
        Ok(())
    }

    /// Passes over the value of a field behind its key, and returns the range of
    /// its content: without the length, and without the end of a group. Groups
    /// may be nested as deep as `depth` says.
    pub(super) fn skip(&mut self, number: u32, wire: WireType, depth: usize) -> Result<Range<usize>, Malformed> {
        let start = self.at;
        match wire {
            WireType::Varint => {
                self.varint()?;
            }
            WireType::Fixed64 => self.fixed(8)?,
            WireType::Fixed32 => self.fixed(4)?,
            WireType::Bytes => {
                let range = self.length()?;
                self.at = range.end;
                return Ok(range);
            }
            WireType::Start => return self.skip_group(number, depth),
            WireType::End => return self.malformed("group", "a group ends that has not begun"),
        }
        Ok(start..self.at)
    }

    fn skip_group(&mut self, number: u32, depth: usize) -> Result<Range<usize>, Malformed> {
        let start = self.at;
        let Some(depth) = depth.checked_sub(1) else {
            return self.malformed("nesting", "groups are nested too deep");
        };
        while !self.is_done() {
            let at = self.at;
            match self.key()? {
                (ended, WireType::End) if ended == number => return Ok(start..at),
                (inner, wire) => {
                    self.skip(inner, wire, depth)?;
                }
            }
        }
        self.malformed("group", "a group does not end")
    }
}
