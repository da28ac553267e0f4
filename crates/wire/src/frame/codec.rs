//! Fields of control frames, one after the other.

use weft_base::{Epoch, HubId};

use super::peek::Head;
use super::{EncodeError, FRAME_HEADER, FrameClause, FrameError, Kind, MAX_LIST, MAX_NAME, MAX_TEXT};

/// An enum whose number is on the wire.
macro_rules! wire_enum {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $variant_doc:literal])+ $variant:ident = $number:literal),+ $(,)? }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name {
            $($(#[doc = $variant_doc])+ $variant = $number),+
        }

        impl $name {
            /// The one of this number on the wire, if there is one.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}
pub(super) use wire_enum;

/// Reads the fields of a frame's body in order; never beyond the frame.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    flags: u8,
    id: u64,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], head: &Head) -> Self {
        Self { bytes, at: FRAME_HEADER, flags: head.flags, id: head.id }
    }

    pub(super) const fn flags(&self) -> u8 {
        self.flags
    }

    pub(super) const fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn refuse<T>(&self, clause: FrameClause, field: &'static str, found: u64) -> Result<T, FrameError> {
        Err(FrameError::new(clause, field, self.at.min(self.bytes.len()), found))
    }

    /// As [`Reader::refuse`], of a place so many bytes before the present one.
    pub(super) fn refuse_behind<T>(
        &self,
        back: usize,
        clause: FrameClause,
        field: &'static str,
        found: u64,
    ) -> Result<T, FrameError> {
        Err(FrameError::new(clause, field, self.at.saturating_sub(back), found))
    }

    /// What was not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    pub(super) fn take(&mut self, len: usize, field: &'static str) -> Result<&'a [u8], FrameError> {
        match self.rest().get(..len) {
            Some(part) => {
                self.at += len;
                Ok(part)
            }
            None => self.refuse(FrameClause::Truncated, field, self.rest().len() as u64),
        }
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], FrameError> {
        match self.rest().first_chunk() {
            Some(part) => {
                self.at += N;
                Ok(*part)
            }
            None => self.refuse(FrameClause::Truncated, field, self.rest().len() as u64),
        }
    }

    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, FrameError> {
        self.array(field).map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, FrameError> {
        self.array(field).map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, FrameError> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, field: &'static str) -> Result<u64, FrameError> {
        self.array(field).map(u64::from_le_bytes)
    }

    pub(super) fn hub(&mut self, field: &'static str) -> Result<HubId, FrameError> {
        self.u64(field).map(HubId)
    }

    pub(super) fn epoch(&mut self, field: &'static str) -> Result<Epoch, FrameError> {
        self.u32(field).map(Epoch)
    }

    /// A byte that stands for something.
    pub(super) fn one_of<T>(&mut self, field: &'static str, known: fn(u8) -> Option<T>) -> Result<T, FrameError> {
        let number = self.u8(field)?;
        match known(number) {
            Some(value) => Ok(value),
            None => {
                self.at -= 1;
                self.refuse(FrameClause::Value, field, number.into())
            }
        }
    }

    pub(super) fn bool(&mut self, field: &'static str) -> Result<bool, FrameError> {
        self.one_of(field, |number| match number {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        })
    }

    pub(super) fn bytes(&mut self, field: &'static str, limit: usize) -> Result<&'a [u8], FrameError> {
        let start = self.at;
        let len = usize::from(self.u16(field)?);
        if len > limit {
            self.at = start;
            return self.refuse(FrameClause::TextLength, field, len as u64);
        }
        self.take(len, field)
    }

    /// Bytes whose length is a u32.
    pub(super) fn long_bytes(&mut self, field: &'static str, limit: usize) -> Result<&'a [u8], FrameError> {
        let start = self.at;
        let len = self.u32(field)?;
        match usize::try_from(len) {
            Ok(len) if len <= limit => self.take(len, field),
            _ => {
                self.at = start;
                self.refuse(FrameClause::TextLength, field, len.into())
            }
        }
    }

    pub(super) fn text(&mut self, field: &'static str, limit: usize) -> Result<&'a str, FrameError> {
        let bytes = self.bytes(field, limit)?;
        self.utf8(bytes, field)
    }

    /// A name whose length was read before.
    pub(super) fn name_of(&mut self, len: u32, field: &'static str) -> Result<&'a str, FrameError> {
        if len as usize > MAX_NAME {
            return self.refuse(FrameClause::TextLength, field, len.into());
        }
        let bytes = self.take(len as usize, field)?;
        self.utf8(bytes, field)
    }

    /// What was just read, as text.
    fn utf8(&mut self, bytes: &'a [u8], field: &'static str) -> Result<&'a str, FrameError> {
        std::str::from_utf8(bytes).or_else(|error| {
            let bad = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
            self.at = self.at - bytes.len() + error.valid_up_to();
            self.refuse(FrameClause::TextUtf8, field, bad.into())
        })
    }

    pub(super) fn name(&mut self, field: &'static str) -> Result<&'a str, FrameError> {
        self.text(field, MAX_NAME)
    }

    /// A list of at most `limit` items of at least `least` bytes each. The
    /// count is held against the bytes there are before anything is allocated.
    pub(super) fn list<T>(
        &mut self,
        field: &'static str,
        limit: usize,
        least: usize,
        mut item: impl FnMut(&mut Self) -> Result<T, FrameError>,
    ) -> Result<Vec<T>, FrameError> {
        let start = self.at;
        let count = self.u32(field)? as usize;
        if count > limit || count > self.rest().len() / least {
            self.at = start;
            return self.refuse(FrameClause::ListLength, field, count as u64);
        }
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// Nothing is left but the padding.
    pub(super) fn end(mut self) -> Result<(), FrameError> {
        let rest = self.rest();
        if rest.len() >= 8 {
            return self.refuse(FrameClause::Trailing, "padding", rest.len() as u64);
        }
        if let Some(place) = rest.iter().position(|byte| *byte != 0) {
            self.at += place;
            let found = rest.get(place).copied().unwrap_or_default();
            return self.refuse(FrameClause::Reserved, "padding", found.into());
        }
        Ok(())
    }
}

/// Appends a frame to a buffer; the first field that does not fit is kept and
/// takes the whole frame back at the end.
pub(super) struct Writer<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
    kind: Kind,
    refused: Option<EncodeError>,
}

impl<'o> Writer<'o> {
    pub(super) fn start(out: &'o mut Vec<u8>, kind: Kind) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0, 0, 0, 0, kind as u8, 0, 0, 0]);
        out.extend_from_slice(&[0; 8]);
        Self { out, start, kind, refused: None }
    }

    pub(super) fn finish(self) -> Result<(), EncodeError> {
        let len = self.out.len() - self.start;
        let limit = self.kind.limit();
        let padded = len.next_multiple_of(8);
        let refused = self.refused.or((padded > limit).then_some(EncodeError { field: "frame", len: padded, limit }));
        if let Some(error) = refused {
            self.out.truncate(self.start);
            return Err(error);
        }
        self.out.resize(self.start + padded, 0);
        // At most MAX_FRAME, so it fits.
        self.patch(0, &(padded as u32).to_le_bytes());
        Ok(())
    }

    fn patch(self, offset: usize, bytes: &[u8]) {
        let at = self.start + offset;
        if let Some(room) = self.out.get_mut(at..at + bytes.len()) {
            room.copy_from_slice(bytes);
        }
    }

    fn refuse(&mut self, field: &'static str, len: usize, limit: usize) {
        self.refused.get_or_insert(EncodeError { field, len, limit });
    }

    pub(super) fn id(&mut self, id: u64) {
        if let Some(room) = self.out.get_mut(self.start + 8..self.start + 16) {
            room.copy_from_slice(&id.to_le_bytes());
        }
    }

    pub(super) fn flags(&mut self, flags: u8) {
        if let Some(room) = self.out.get_mut(self.start + 5) {
            *room = flags;
        }
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.out.push(value.into());
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.raw(&value.to_le_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.raw(&value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.raw(&value.to_le_bytes());
    }

    /// Bytes as they are, without a length.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    pub(super) fn bytes(&mut self, field: &'static str, bytes: &[u8], limit: usize) {
        match u16::try_from(bytes.len()) {
            Ok(len) if bytes.len() <= limit => {
                self.u16(len);
                self.raw(bytes);
            }
            _ => self.refuse(field, bytes.len(), limit),
        }
    }

    /// Bytes whose length is a u32.
    pub(super) fn long_bytes(&mut self, field: &'static str, bytes: &[u8], limit: usize) {
        match u32::try_from(bytes.len()) {
            Ok(len) if bytes.len() <= limit => {
                self.u32(len);
                self.raw(bytes);
            }
            _ => self.refuse(field, bytes.len(), limit),
        }
    }

    pub(super) fn text(&mut self, field: &'static str, text: &str, limit: usize) {
        self.bytes(field, text.as_bytes(), limit);
    }

    pub(super) fn name(&mut self, field: &'static str, name: &str) {
        self.text(field, name, MAX_NAME);
    }

    /// The length of a name whose bytes come later.
    pub(super) fn len_of(&mut self, field: &'static str, name: &str) {
        match u32::try_from(name.len()) {
            Ok(len) if name.len() <= MAX_NAME => self.u32(len),
            _ => self.refuse(field, name.len(), MAX_NAME),
        }
    }

    /// A text meant for people: cut where it is too long.
    pub(super) fn cut(&mut self, field: &'static str, text: &str) {
        let end = text.floor_char_boundary(MAX_TEXT);
        self.text(field, text.get(..end).unwrap_or_default(), MAX_TEXT);
    }

    pub(super) fn list<T>(
        &mut self,
        field: &'static str,
        items: &[T],
        limit: usize,
        mut item: impl FnMut(&mut Self, &T),
    ) {
        debug_assert!(limit <= MAX_LIST);
        if items.len() > limit {
            return self.refuse(field, items.len(), limit);
        }
        self.u32(items.len() as u32);
        for each in items {
            item(self, each);
        }
    }
}
