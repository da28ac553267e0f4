//! Between hubs, from version 2 of the protocol on: what each says of itself
//! before anything else goes over the link.

use weft_base::{Epoch, HubId};

use super::codec::{Reader, Writer};
use super::{ErrorCode, FrameError, MAX_OPEN_ITEMS, MAX_OPEN_VALUE, MAX_TEXT};

/// The first frame of both ends of a link, right after `Hello` and
/// [`Welcome`](super::Welcome): facts that the other end holds against its own
/// before the link counts. What a fact is called is a number with a meaning
/// that never changes; numbers that the reader does not know say nothing to
/// it, so that a later version may add some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkOpen<'a> {
    /// The facts, at most [`MAX_OPEN_ITEMS`].
    pub items: Vec<OpenItem<'a>>,
}

/// A fact of [`LinkOpen`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenItem<'a> {
    /// What it is: one of the constants of this type, or a later version's.
    pub tag: u16,
    /// What is said of it; at most [`MAX_OPEN_VALUE`] bytes.
    pub value: &'a [u8],
}

impl<'a> OpenItem<'a> {
    /// The mesh's name, UTF-8. Once.
    pub const MESH: u16 = 1;
    /// A setting that must be the same at both ends: its name, a zero byte,
    /// and its value in one canonical form, both UTF-8. Any number of times.
    pub const SETTING: u16 = 2;

    /// Which data folder the hub runs on, and in which of its starts: as
    /// [`attribute::LIFE`](super::attribute::LIFE). At most once.
    pub const LIFE: u16 = 3;

    /// How blocks may be packed on this link: the number of the codec that the
    /// side that dialled asks for, 0 for none, and bits of those that this side
    /// unpacks, bit n for codec n. Two bytes; more are a later version's. At
    /// most once; without it nothing is packed.
    pub const PACKING: u16 = 4;

    /// Why the hub that dialled picked the other one, as one byte: 1 it is the next
    /// in the order of all, 2 it is near, 3 it is of another region, 4 it was out
    /// of reach. Absent when it was told to keep the link. At most once.
    pub const PICKED: u16 = 5;

    /// The connections of the link that this one belongs to: [`Connections`]. At
    /// most once; without it, or too short, the link has this one.
    pub const CONNECTIONS: u16 = 6;

    /// The name and the value of a [`SETTING`](Self::SETTING); `None` when it is none.
    #[must_use]
    pub fn setting(&self) -> Option<(&'a str, &'a str)> {
        if self.tag != Self::SETTING {
            return None;
        }
        std::str::from_utf8(self.value).ok()?.split_once('\0')
    }

    /// The text of a fact that is one; `None` when it is not UTF-8.
    #[must_use]
    pub fn text(&self) -> Option<&'a str> {
        std::str::from_utf8(self.value).ok()
    }
}

/// What is said with [`OpenItem::CONNECTIONS`]. The side that dialled asks, the
/// link has as many as it asks for and the other side takes, and that side dials
/// the others once it has heard how many those are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// How many this side takes for one link.
    pub most: u8,
    /// How many this side asks for, having dialled; 1 if it did not.
    pub asked: u8,
    /// Which of them this is, 0 for the first.
    pub index: u8,
    /// What the side that dialled calls the link: each once in one of its epochs; 0
    /// where `asked` is 1.
    pub number: u64,
}

impl Connections {
    /// How long it is. More bytes are a later version's.
    pub const BYTES: usize = 11;

    /// As it goes over the wire, little-endian.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let [a, b, c, d, e, f, g, h] = self.number.to_le_bytes();
        [self.most, self.asked, self.index, a, b, c, d, e, f, g, h]
    }

    /// What the bytes say; `None` where they are too few.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let &[most, asked, index, ref rest @ ..] = bytes else { return None };
        let number = u64::from_le_bytes(*rest.first_chunk()?);
        Some(Self { most, asked, index, number })
    }
}

impl<'a> LinkOpen<'a> {
    /// The first fact with this tag.
    #[must_use]
    pub fn find(&self, tag: u16) -> Option<&OpenItem<'a>> {
        self.items.iter().find(|item| item.tag == tag)
    }

    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        let items = r.list("items", MAX_OPEN_ITEMS, 4, |r| {
            Ok(OpenItem { tag: r.u16("tag")?, value: r.bytes("value", MAX_OPEN_VALUE)? })
        })?;
        Ok(Self { items })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.list("items", &self.items, MAX_OPEN_ITEMS, |w, item| {
            w.u16(item.tag);
            w.bytes("value", item.value, MAX_OPEN_VALUE);
        });
    }
}

/// A hub was refused because it is not who it says, or is so twice; flooded, so
/// that the other one hears of it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict<'a> {
    /// The id that both claim.
    pub hub: HubId,
    /// The epoch of the one that was refused.
    pub epoch: Epoch,
    /// Why.
    pub code: ErrorCode,
    /// Over how many links this may still go.
    pub ttl: u8,
    /// The name that both claim.
    pub name: &'a str,
    /// The hub that refused it.
    pub by: &'a str,
    /// Why, for people; cut to [`MAX_TEXT`].
    pub detail: &'a str,
}

impl<'a> Conflict<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        Ok(Self {
            hub: r.hub("hub")?,
            epoch: r.epoch("epoch")?,
            code: ErrorCode(r.u16("code")?),
            ttl: r.u8("ttl")?,
            name: r.name("name")?,
            by: r.name("by")?,
            detail: r.text("detail", MAX_TEXT)?,
        })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.u64(self.hub.0);
        w.u32(self.epoch.0);
        w.u16(self.code.0);
        w.u8(self.ttl);
        w.name("name", self.name);
        w.name("by", self.by);
        w.cut("detail", self.detail);
    }
}
