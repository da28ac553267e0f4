//! Bytes from outside as the parts that FlatBuffers are made of: numbers,
//! offsets, tables with their vtables, strings and vectors. Each is checked
//! against the length of the buffer before it is read, so nothing here panics
//! and nothing is read from outside (source: "FlatBuffers Internals" of its
//! documentation).
//!
//! Offsets only lead forward, but for those of vtables, and none is zero: so no
//! chain of them is a circle.

pub(super) use crate::malformed::Malformed;

/// A part of the format that could not be read.
pub(super) type Read<T> = Result<T, Malformed>;

pub(super) const fn malformed<T>(rule: &'static str, text: &'static str, at: usize) -> Read<T> {
    Err(Malformed { rule, text, at })
}

/// A buffer of at most 2^31 - 1 bytes.
#[derive(Clone, Copy)]
pub(super) struct Buffer<'a>(&'a [u8]);

/// A table whose vtable and own bytes lie in the buffer.
#[derive(Clone, Copy)]
pub(super) struct Table {
    /// Where it begins.
    pub(super) at: usize,
    /// How many bytes of its own it has, with the offset of its vtable.
    pub(super) bytes: usize,
    /// Where its vtable begins.
    vtable: usize,
    /// How many fields its vtable has places for.
    pub(super) slots: usize,
}

/// A vector whose elements lie in the buffer.
#[derive(Clone, Copy)]
pub(super) struct Vector {
    /// Where the first element begins.
    pub(super) at: usize,
    /// How many there are.
    pub(super) count: usize,
}

impl<'a> Buffer<'a> {
    /// Of these bytes; refuses what is too long for offsets or too short for a root.
    pub(super) fn new(bytes: &'a [u8]) -> Read<Self> {
        if bytes.len() > i32::MAX as usize {
            return malformed("size", "a buffer has at most 2^31 - 1 bytes", bytes.len());
        }
        if bytes.len() < 8 {
            return malformed("size", "a buffer has at least 8 bytes", bytes.len());
        }
        Ok(Self(bytes))
    }

    fn array<const N: usize>(self, at: usize) -> Read<[u8; N]> {
        match self.0.get(at..).and_then(|rest| rest.first_chunk()) {
            Some(bytes) => Ok(*bytes),
            None => malformed("bounds", "a value lies behind the end of the buffer", at),
        }
    }

    pub(super) fn u8(self, at: usize) -> Read<u8> {
        Ok(u8::from_le_bytes(self.array(at)?))
    }

    pub(super) fn u16(self, at: usize) -> Read<u16> {
        Ok(u16::from_le_bytes(self.array(at)?))
    }

    pub(super) fn u32(self, at: usize) -> Read<u32> {
        Ok(u32::from_le_bytes(self.array(at)?))
    }

    pub(super) fn i64(self, at: usize) -> Read<i64> {
        Ok(i64::from_le_bytes(self.array(at)?))
    }

    /// The identifier behind the root's offset.
    pub(super) fn identifier(self) -> Read<[u8; 4]> {
        self.array(4)
    }

    /// Whether `size` bytes at `at` are in the buffer and aligned.
    pub(super) fn inside(self, at: usize, size: usize, align: usize) -> Read<()> {
        if at.checked_rem(align).unwrap_or(0) != 0 {
            return malformed("alignment", "a value is not aligned as its type wants it", at);
        }
        match at.checked_add(size) {
            Some(end) if end <= self.0.len() => Ok(()),
            _ => malformed("bounds", "a value ends behind the end of the buffer", at),
        }
    }

    /// Where the offset at `at` leads to.
    pub(super) fn follow(self, at: usize) -> Read<usize> {
        self.inside(at, 4, 4)?;
        let offset = self.u32(at)?;
        if offset == 0 || offset > i32::MAX as u32 {
            return malformed("offset", "an offset is zero or more than 2^31 - 1", at);
        }
        let to = at + offset as usize;
        if to >= self.0.len() {
            return malformed("bounds", "an offset leads behind the end of the buffer", at);
        }
        Ok(to)
    }

    /// The table at `at`.
    pub(super) fn table(self, at: usize) -> Read<Table> {
        self.inside(at, 4, 4)?;
        let back = i64::from(self.u32(at)? as i32);
        // An offset of 32 bits, subtracted from one below 2^31.
        let Ok(vtable) = usize::try_from(at as i64 - back) else {
            return malformed("vtable", "a vtable lies before the begin of the buffer", at);
        };
        self.inside(vtable, 4, 2)?;
        let (size, bytes) = (usize::from(self.u16(vtable)?), usize::from(self.u16(vtable + 2)?));
        if size < 4 || size % 2 != 0 {
            return malformed("vtable", "a vtable has an even number of bytes, and at least four", vtable);
        }
        self.inside(vtable, size, 2)?;
        if bytes < 4 {
            return malformed("vtable", "a table has at least the four bytes of its vtable's offset", vtable + 2);
        }
        self.inside(at, bytes, 4)?;
        Ok(Table { at, bytes, vtable, slots: (size - 4) / 2 })
    }

    /// Where the field `id` of a table lies, if it is there. It has `size` bytes,
    /// all of them the table's own.
    pub(super) fn field(self, table: &Table, id: usize, size: usize, align: usize) -> Read<Option<usize>> {
        if id >= table.slots {
            return Ok(None);
        }
        let place = table.vtable + 4 + id * 2;
        match usize::from(self.u16(place)?) {
            0 => Ok(None),
            offset if offset < 4 || offset + size > table.bytes => {
                malformed("field", "a field does not lie in its table", place)
            }
            offset => {
                self.inside(table.at + offset, size, align)?;
                Ok(Some(table.at + offset))
            }
        }
    }

    /// The vector at `at`, of elements of that size.
    pub(super) fn vector(self, at: usize, size: usize, align: usize) -> Read<Vector> {
        self.inside(at, 4, 4)?;
        let count = self.u32(at)? as usize;
        let start = at + 4;
        // What is empty need not be aligned, as not all writers see to it.
        let align = if count == 0 { 1 } else { align };
        match count.checked_mul(size) {
            Some(bytes) => self.inside(start, bytes, align)?,
            None => return malformed("bounds", "a vector ends behind the end of the buffer", at),
        }
        Ok(Vector { at: start, count })
    }

    /// The bytes of a vector of them.
    pub(super) fn slice(self, vector: &Vector) -> &'a [u8] {
        self.0.get(vector.at..).and_then(|rest| rest.get(..vector.count)).unwrap_or_default()
    }

    /// The string at `at`.
    pub(super) fn string(self, at: usize) -> Read<&'a str> {
        let vector = self.vector(at, 1, 1)?;
        let end = vector.at + vector.count;
        match self.0.get(end) {
            Some(0) => {}
            Some(_) => return malformed("string", "a string has no zero behind it", end),
            None => return malformed("bounds", "a string ends behind the end of the buffer", at),
        }
        match std::str::from_utf8(self.slice(&vector)) {
            Ok(text) => Ok(text),
            Err(error) => malformed("utf-8", "a string is not UTF-8", vector.at + error.valid_up_to()),
        }
    }
}
