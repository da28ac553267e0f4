//! What a hub says of itself, with attributes: the record of
//! [`LinkState`](super::LinkState) and tagged values behind it, which hubs that
//! do not know a tag keep and pass on as they are.

use super::codec::{Reader, Writer};
use super::{FrameClause, FrameError, LinkStateRecord, MAX_ATTRIBUTES};

/// The tags of attributes that are given out; of these nobody sets [`FLAGS`](attribute::FLAGS),
/// [`PARALLEL`](attribute::PARALLEL), [`SIGNATURE`](attribute::SIGNATURE) and
/// [`LEDGER`](attribute::LEDGER) yet. A number is never given to another meaning.
pub mod attribute {
    /// Labels of the hub: each a u8 length and a name.
    pub const LABELS: u16 = 1;
    /// What links cost beside their round trip, by peer.
    pub const METRICS: u16 = 2;
    /// Flags of the hub's state.
    pub const FLAGS: u16 = 3;
    /// Links that run beside each other to the same peer.
    pub const PARALLEL: u16 = 4;
    /// Kept free for a signature over the record.
    pub const SIGNATURE: u16 = 5;
    /// A digest of the hub's ledger.
    pub const LEDGER: u16 = 6;
    /// Where the hub is dialled by others: each a u8 length and `HOST:PORT` or `quic:HOST:PORT`.
    pub const ADDRESSES: u16 = 8;
    /// Which data folder the hub runs on, and in which of its starts: three u64.
    pub const LIFE: u16 = 9;
    /// Where the hub takes clients: each a u8 length and an address, the best first.
    pub const CLIENTS: u16 = 10;
    /// The kinds of frames between hubs that not all hubs of its version take, and
    /// that this one does: a byte each, ascending.
    pub const TAKES: u16 = 11;
    /// In [`FLAGS`], whose first byte has it: the hub is about to stop.
    pub const DRAINING: u8 = 1;
}

/// Attributes as they lie in a frame: `u16 tag, u16 length, bytes`, one after the
/// other, tags ascending and each at most once, [`MAX_ATTRIBUTES`] bytes in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// The attributes that these bytes are.
    ///
    /// # Errors
    /// The rule that is broken, and the offset of the attribute that breaks it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, (FrameClause, usize)> {
        if bytes.len() > MAX_ATTRIBUTES {
            return Err((FrameClause::TextLength, 0));
        }
        let (mut rest, mut last) = (bytes, None);
        while !rest.is_empty() {
            let at = bytes.len() - rest.len();
            let Some((tag, _, after)) = split(rest) else { return Err((FrameClause::Truncated, at)) };
            if last.is_some_and(|last| last >= tag) {
                return Err((FrameClause::Value, at));
            }
            (rest, last) = (after, Some(tag));
        }
        Ok(Self(bytes))
    }

    /// The bytes.
    #[must_use]
    pub const fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// Each with its tag.
    pub fn iter(self) -> impl Iterator<Item = (u16, &'a [u8])> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (tag, value, after) = split(rest)?;
            rest = after;
            Some((tag, value))
        })
    }

    /// The value of a tag, if it is there.
    #[must_use]
    pub fn get(self, tag: u16) -> Option<&'a [u8]> {
        self.iter().find(|(found, _)| *found == tag).map(|(_, value)| value)
    }
}

/// The first attribute of the bytes, and what follows it.
fn split(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    let [tag_low, tag_high, len_low, len_high] = *head;
    let len = usize::from(u16::from_le_bytes([len_low, len_high]));
    let (value, rest) = rest.split_at_checked(len)?;
    Some((u16::from_le_bytes([tag_low, tag_high]), value, rest))
}

/// Appends an attribute to bytes that [`Attributes::parse`] is to read: tags must
/// ascend. What does not fit any more is left out; answers whether it fitted.
pub fn push_attribute(out: &mut Vec<u8>, tag: u16, value: &[u8]) -> bool {
    let fits = out.len() + 4 + value.len() <= MAX_ATTRIBUTES;
    if let Ok(len) = u16::try_from(value.len())
        && fits
    {
        out.extend_from_slice(&tag.to_le_bytes());
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(value);
    }
    fits
}

/// A record with attributes, flooded in the place of a `LinkState` on links of
/// version 2 and later. At equal versions it counts as newer than one without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The record.
    pub record: LinkStateRecord<'a>,
    /// Its attributes.
    pub attributes: Attributes<'a>,
}

impl<'a> Record<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        let record = LinkStateRecord::read(r)?;
        let bytes = r.bytes("attributes", MAX_ATTRIBUTES)?;
        match Attributes::parse(bytes) {
            Ok(attributes) => Ok(Self { record, attributes }),
            Err((clause, at)) => r.refuse_behind(bytes.len() - at, clause, "attributes", at as u64),
        }
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        self.record.write(w);
        w.bytes("attributes", self.attributes.bytes(), MAX_ATTRIBUTES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_were_pushed_and_unknown_tags_stay() {
        let mut bytes = Vec::new();
        assert!(push_attribute(&mut bytes, attribute::LABELS, b"\x02eu"));
        assert!(push_attribute(&mut bytes, 60_000, b"of a later version"));
        let attributes = Attributes::parse(&bytes).expect("ascending tags");
        assert_eq!(attributes.get(attribute::LABELS), Some(b"\x02eu".as_slice()));
        assert_eq!(attributes.get(60_000), Some(b"of a later version".as_slice()));
        assert_eq!(attributes.get(attribute::FLAGS), None);
        assert_eq!(attributes.iter().count(), 2);
        assert_eq!(attributes.bytes(), bytes);
    }

    #[test]
    fn a_tag_twice_a_tag_too_early_and_a_cut_value_are_refused_where_they_are() {
        let mut bytes = Vec::new();
        push_attribute(&mut bytes, 3, b"x");
        let one = bytes.len();
        push_attribute(&mut bytes, 3, b"y");
        assert_eq!(Attributes::parse(&bytes), Err((FrameClause::Value, one)));
        let len = bytes.len();
        assert_eq!(Attributes::parse(&bytes[..one + 3]), Err((FrameClause::Truncated, one)));
        bytes[one] = 2;
        assert_eq!(Attributes::parse(&bytes), Err((FrameClause::Value, one)));
        bytes[one] = 4;
        assert!(Attributes::parse(&bytes).is_ok());
        assert_eq!(Attributes::parse(&bytes[..len - 1]), Err((FrameClause::Truncated, one)));
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let mut bytes = Vec::new();
        assert!(push_attribute(&mut bytes, 1, &[7; MAX_ATTRIBUTES - 8]));
        assert!(!push_attribute(&mut bytes, 2, &[7]));
        assert!(push_attribute(&mut bytes, 2, &[]));
        assert_eq!(bytes.len(), MAX_ATTRIBUTES);
        assert!(Attributes::parse(&bytes).is_ok());
        bytes.push(0);
        assert_eq!(Attributes::parse(&bytes), Err((FrameClause::TextLength, 0)));
    }
}
