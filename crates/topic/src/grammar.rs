//! The grammar that topics and filters share, checked in one pass.

/// The most levels a topic or a filter may have.
pub const MAX_LEVELS: usize = 64;

/// The most bytes a topic or a filter may have, separators included.
pub const MAX_BYTES: usize = 1024;

/// The wildcard for one whole level.
pub(crate) const ONE: &[u8] = b"*";

/// The wildcard for zero or more levels.
pub(crate) const ANY: &[u8] = b"**";

/// What a text does wrong. Levels count from 1, bytes from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Empty,
    TooLong { bytes: usize },
    TooManyLevels { levels: usize },
    EmptyLevel { level: usize, offset: usize },
    Control { level: usize, offset: usize, code: u32 },
}

/// What a correct text contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scan {
    /// The first level that is `*` or `**`: its number and its byte offset.
    pub(crate) wildcard: Option<(usize, usize)>,
}

/// Checks `text` against the grammar of topics and filters. Wildcards are
/// reported, not judged: filters may have them.
pub(crate) fn scan(text: &str) -> Result<Scan, Fault> {
    if text.is_empty() {
        return Err(Fault::Empty);
    }
    if text.len() > MAX_BYTES {
        return Err(Fault::TooLong { bytes: text.len() });
    }
    let mut wildcard = None;
    let mut offset = 0;
    let mut levels = 0;
    for level in text.as_bytes().split(|&b| b == b'/') {
        levels += 1;
        if level.is_empty() {
            return Err(Fault::EmptyLevel { level: levels, offset });
        }
        if let Some((at, code)) = control(level) {
            return Err(Fault::Control { level: levels, offset: offset + at, code });
        }
        if wildcard.is_none() && (level == ONE || level == ANY) {
            wildcard = Some((levels, offset));
        }
        offset += level.len() + 1;
    }
    if levels > MAX_LEVELS {
        return Err(Fault::TooManyLevels { levels });
    }
    Ok(Scan { wildcard })
}

/// The first control character (Unicode category Cc) of a level: its offset
/// and its code point.
fn control(level: &[u8]) -> Option<(usize, u32)> {
    // Looks for candidates without branches first: nearly every level has none.
    if !level.iter().fold(false, |any, &b| any | (b < 0x20) | (b == 0x7f) | (b == 0xc2)) {
        return None;
    }
    level.iter().enumerate().find_map(|(at, &b)| match b {
        0..=0x1f | 0x7f => Some((at, u32::from(b))),
        // U+0080 to U+009F, the C1 controls, are C2 80 to C2 9F in UTF-8.
        0xc2 => level.get(at + 1).filter(|&&next| next < 0xa0).map(|&next| (at, u32::from(next))),
        _ => None,
    })
}

/// Whether a topic or a filter is in the mesh's own space: its first level
/// starts with an underscore.
pub(crate) fn is_reserved(text: &str) -> bool {
    text.starts_with('_')
}

/// The levels of a correct text, as bytes.
pub(crate) fn levels(text: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    text.split(|&b| b == b'/')
}

/// The first level of `text` and what follows it; `None` for an empty text.
pub(crate) fn split_first(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if text.is_empty() {
        return None;
    }
    match text.iter().position(|&b| b == b'/') {
        Some(at) => Some((&text[..at], &text[at + 1..])),
        None => Some((text, &[])),
    }
}
