//! Between hubs, from version 2 of the protocol on: what each says of itself
//! before anything else goes over the link.

use super::codec::{Reader, Writer};
use super::{FrameError, MAX_OPEN_ITEMS, MAX_OPEN_VALUE};

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
