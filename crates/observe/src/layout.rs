//! Where things lie in a file of counters: what its writer and its readers agree on.
//!
//! ```text
//! word 0     magic, "WEFTSTAT"          1  version of this layout
//!      2     length of the file, bytes  3  process
//!      4     start, Unix nanoseconds    5  entries there is room for
//!      6     entries there are          7  values left out, for want of room
//!      8     how it goes: 1 running, 2 ended in good order
//!      9     the last beat, Unix nanoseconds
//!      10    bytes of the hub's name    11 bytes of the program's version
//!      12    bytes of the path of the link to the file; 0: none is told
//!      16..  the hub's name, 128 bytes  32.. the program's version, 64 bytes
//!      64..  the link's path, 2,048 bytes
//! word 512   the entries, 16 words each
//!      0     bytes: kind, unit, length of the name, fine and top of the scale,
//!            0, and in two bytes the entry of its beat (65,535: none)
//!      1     32 bits: first word; 32 bits: how many words
//!      2..   the name, 112 bytes
//! then       the values
//! ```
//!
//! All are words of 64 bits in the order of the machine; a file of a machine of
//! the other order has another magic. A value's words do not move while the file
//! lives, and an entry is there when word 6 says so: it is stored with release
//! after the entry was written, so a reader that sees it sees the entry.
//!
//! Entries are only added. A reader passes over kinds that it does not know, and
//! counts them; a change that old readers would misread is another version.

use crate::scale::Scale;

/// The first word: "WEFTSTAT".
pub const MAGIC: u64 = u64::from_le_bytes(*b"WEFTSTAT");
/// The version of this layout.
pub const VERSION: u64 = 1;
/// The most entries that a file may have: their numbers fit two bytes, with one for none.
pub const MAX_ENTRIES: usize = 16_384;
/// The longest file that is written or read.
pub const MAX_BYTES: u64 = 64 << 20;
/// The longest name of a value, in bytes.
pub const MAX_NAME: usize = 112;

/// Words of the header: a page.
pub(crate) const HEADER: usize = 512;
/// Words of an entry.
pub(crate) const ENTRY: usize = 16;
/// The entry of a beat, where there is none.
pub(crate) const NO_BEAT: u16 = u16::MAX;

/// Words of the header, by number.
pub(crate) mod word {
    pub(crate) const MAGIC: usize = 0;
    pub(crate) const VERSION: usize = 1;
    pub(crate) const BYTES: usize = 2;
    pub(crate) const PROCESS: usize = 3;
    pub(crate) const START: usize = 4;
    pub(crate) const ROOM: usize = 5;
    pub(crate) const ENTRIES: usize = 6;
    pub(crate) const LEFT_OUT: usize = 7;
    pub(crate) const STATE: usize = 8;
    pub(crate) const BEAT: usize = 9;
    pub(crate) const HUB_BYTES: usize = 10;
    pub(crate) const PROGRAM_BYTES: usize = 11;
    pub(crate) const LINK_BYTES: usize = 12;
    pub(crate) const HUB: usize = 16;
    pub(crate) const PROGRAM: usize = 32;
    pub(crate) const LINK: usize = 64;
}

/// The longest names in the header, in bytes.
pub(crate) const MAX_HUB: usize = 128;
pub(crate) const MAX_PROGRAM: usize = 64;
/// The longest path of a link that is told, in bytes.
pub(crate) const MAX_LINK: usize = 2_048;

// Nothing overlaps, and the number of a beat is never that of none.
const _: () = assert!(word::LINK_BYTES < word::HUB && word::HUB + MAX_HUB / 8 <= word::PROGRAM);
const _: () = assert!(word::PROGRAM + MAX_PROGRAM / 8 <= word::LINK && word::LINK + MAX_LINK / 8 <= HEADER);
const _: () = assert!(2 + MAX_NAME / 8 == ENTRY);
const _: () = assert!(MAX_ENTRIES < NO_BEAT as usize);

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Only grows, from the process's start.
    Counter,
    /// What is there now.
    Gauge,
    /// A distribution.
    Histogram,
    /// When whoever writes some of the values last did something, in Unix nanoseconds.
    Beat,
}

impl Kind {
    pub(crate) const fn byte(self) -> u8 {
        match self {
            Self::Counter => 1,
            Self::Gauge => 2,
            Self::Histogram => 3,
            Self::Beat => 4,
        }
    }

    pub(crate) const fn of(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Counter),
            2 => Some(Self::Gauge),
            3 => Some(Self::Histogram),
            4 => Some(Self::Beat),
            _ => None,
        }
    }
}

macro_rules! units {
    ($($(#[$doc:meta])* $name:ident = $byte:literal, $text:literal;)+) => {
        /// What a value counts.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Unit {
            $($(#[$doc])* $name,)+
            /// Of a newer writer.
            Other(u8),
        }

        impl Unit {
            pub(crate) const fn byte(self) -> u8 {
                match self {
                    $(Self::$name => $byte,)+
                    Self::Other(byte) => byte,
                }
            }

            pub(crate) const fn of(byte: u8) -> Self {
                match byte {
                    $($byte => Self::$name,)+
                    other => Self::Other(other),
                }
            }

            /// How it is written behind a value; nothing for a mere number.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                    Self::Other(_) => "?",
                }
            }
        }

        #[cfg(test)]
        const UNITS: &[Unit] = &[$(Unit::$name),+];
    };
}

units! {
    /// Things of no unit.
    Number = 0, "";
    /// Events.
    Events = 1, "events";
    /// Blocks.
    Blocks = 2, "blocks";
    /// Bytes.
    Bytes = 3, "bytes";
    /// Nanoseconds.
    Nanoseconds = 4, "ns";
    /// Microseconds.
    Microseconds = 5, "us";
    /// Milliseconds.
    Milliseconds = 6, "ms";
    /// Thousandths.
    Permille = 7, "permille";
    /// Nanoseconds since 1970.
    UnixNanoseconds = 8, "unix ns";
}

/// One entry, as it lies in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) kind: u8,
    pub(crate) unit: Unit,
    pub(crate) name_bytes: u8,
    /// Of a histogram; 0 and 0 else.
    pub(crate) scale: (u8, u8),
    pub(crate) beat: u16,
    pub(crate) at: u32,
    pub(crate) len: u32,
}

impl Place {
    pub(crate) fn words(self) -> [u64; 2] {
        let [beat_low, beat_high] = self.beat.to_le_bytes();
        let bytes = [self.kind, self.unit.byte(), self.name_bytes, self.scale.0, self.scale.1, 0, beat_low, beat_high];
        [u64::from_le_bytes(bytes), u64::from(self.at) | u64::from(self.len) << 32]
    }

    pub(crate) const fn of(words: [u64; 2]) -> Self {
        let [kind, unit, name_bytes, fine, top, _, beat_low, beat_high] = words[0].to_le_bytes();
        let beat = u16::from_le_bytes([beat_low, beat_high]);
        let (at, len) = (words[1] as u32, (words[1] >> 32) as u32);
        Self { kind, unit: Unit::of(unit), name_bytes, scale: (fine, top), beat, at, len }
    }
}

/// How many words a value of this kind has.
pub(crate) const fn words_of(kind: Kind, scale: Scale) -> usize {
    match kind {
        Kind::Histogram => crate::recorder::words(scale),
        Kind::Counter | Kind::Gauge | Kind::Beat => 1,
    }
}

/// Bytes as words, the last filled up with zeros.
pub(crate) fn byte_words(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(chunk) {
            *to = *from;
        }
        u64::from_le_bytes(word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_an_entry_survives_it() {
        for unit in UNITS.iter().copied().chain([Unit::Other(200)]) {
            let place = Place { kind: 3, unit, name_bytes: 112, scale: (5, 42), beat: 258, at: u32::MAX, len: 1_218 };
            assert_eq!(Place::of(place.words()), place);
        }
        for kind in [Kind::Counter, Kind::Gauge, Kind::Histogram, Kind::Beat] {
            assert_eq!(Kind::of(kind.byte()), Some(kind));
        }
        assert_eq!(Kind::of(0), None);
    }
}
