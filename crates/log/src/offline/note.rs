//! The notes in the quarantine: what was put there, when and why; and how a
//! survey knows what a repair has given up.
//!
//! ```text
//! quarantine/0000000003-4096.bytes   the bytes as they were found
//! quarantine/0000000003-4096.txt     the note
//! ```
//! A note is for people, except for its first lines, which a survey reads:
//! ```text
//! weft-quarantine 1
//! segment 3
//! offset 4096
//! bytes 1234
//! crc32c 0123abcd
//! ```

use std::path::Path;

use weft_base::UnixNanos;
use weft_base::checksum::crc32c;

use super::{Finding, OfflineError, QUARANTINE};
use crate::format::segment_name;
use crate::fs::Fs;

/// The largest note read.
const NOTE_MOST: usize = 16 << 10;

/// What the notes of a log's quarantine say, each `(segment, offset, bytes, checksum)`.
#[derive(Default)]
pub(super) struct Notes(Vec<(u64, u64, u64, u32)>);

impl Notes {
    /// Those that can be read; a note that cannot is as none.
    pub(super) fn read(fs: &dyn Fs, dir: &Path) -> Self {
        let dir = dir.join(QUARANTINE);
        let names = fs.list(&dir).unwrap_or_default();
        let texts = names.iter().filter(|name| name.ends_with(".txt"));
        Self(texts.filter_map(|name| parse(&fs.read(&dir.join(name), NOTE_MOST).ok()?)).collect())
    }

    /// Whether these bytes, there, are in quarantine.
    pub(super) fn know(&self, segment: u64, offset: u64, bytes: &[u8]) -> bool {
        let mut here = self.0.iter().filter(|n| (n.0, n.1, n.2) == (segment, offset, bytes.len() as u64));
        here.any(|note| note.3 == crc32c(bytes))
    }
}

fn parse(text: &[u8]) -> Option<(u64, u64, u64, u32)> {
    let mut lines = std::str::from_utf8(text).ok()?.lines();
    let mut value = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
    if value("weft-quarantine")? != "1" {
        return None;
    }
    let segment = value("segment")?.parse().ok()?;
    let offset = value("offset")?.parse().ok()?;
    let bytes = value("bytes")?.parse().ok()?;
    let checksum = u32::from_str_radix(value("crc32c")?, 16).ok()?;
    Some((segment, offset, bytes, checksum))
}

/// Puts bytes into quarantine, durably, with a note that says what becomes of
/// their place.
pub(crate) fn put(
    fs: &dyn Fs,
    dir: &Path,
    finding: &Finding,
    bytes: &[u8],
    then: &str,
    now: UnixNanos,
) -> Result<(), OfflineError> {
    let dir = dir.join(QUARANTINE);
    fs.create_dir(&dir).map_err(OfflineError::io("make the folder", &dir))?;
    let Finding { segment, offset, .. } = finding;
    let name = format!("{segment:010}-{offset}");
    let path = dir.join(format!("{name}.bytes"));
    fs.write(&path, bytes).map_err(OfflineError::io("write", &path))?;
    let text = format!(
        "weft-quarantine 1\nsegment {segment}\noffset {offset}\nbytes {}\ncrc32c {:08x}\n\n\
         what: {finding}\nfile: {}\nwhen: {} nanoseconds after 1970-01-01T00:00:00Z\nthen: {then}\n",
        bytes.len(),
        crc32c(bytes),
        segment_name(*segment),
        now.0,
    );
    // After the bytes: a note without them would say what is not so.
    let path = dir.join(format!("{name}.txt"));
    fs.write(&path, text.as_bytes()).map_err(OfflineError::io("write", &path))
}
