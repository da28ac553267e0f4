//! What lies in a log's folder, before anything of it is judged or changed: its
//! version, and of each segment the first page and the side file.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::crypt::{Keys, NoKey, Sealed, SegmentKey};
use crate::error::OpenError;
use crate::format::{
    FORMAT_FILE, FORMAT_VERSION, Header, Mark, head_is_blank, is_left_over, parse_format, segment_name, side_name,
    side_number,
};
use crate::fs::{Fs, SegmentFile};
use crate::mmap::{HEAD, MapWriter};
use crate::options::LogOptions;
use crate::scan::Content;
use crate::side::{self, Side};

/// A segment's file as it was found.
pub(crate) struct Loaded {
    pub(crate) number: u64,
    pub(crate) file: Box<dyn SegmentFile>,
    pub(crate) writer: MapWriter,
    pub(crate) header: Option<Header>,
    /// The newer one of its marks and its side file.
    pub(crate) mark: Option<Mark>,
    pub(crate) side: Option<Side>,
    /// When it is encrypted.
    pub(crate) key: Option<Arc<SegmentKey>>,
}

impl Loaded {
    pub(crate) fn content(&self) -> Content<'_> {
        Content(self.writer.unpublished(), self.header.and_then(|h| h.gaps()), self.key.as_deref())
    }

    pub(crate) fn is_blank(&self) -> bool {
        head_is_blank(self.file.map()) && self.content().is_blank_from(HEAD)
    }
}

/// Removes what a crash may leave and nobody needs: half-written files, and side
/// files without their segment.
pub(crate) fn remove_left_over(fs: &dyn Fs, dir: &Path, names: &[String], numbers: &[u64]) -> Result<(), OpenError> {
    let orphan = |name: &str| side_number(name).is_some_and(|number| numbers.binary_search(&number).is_err());
    for name in names.iter().filter(|name| is_left_over(name) || orphan(name)) {
        let path = dir.join(name);
        fs.remove(&path).map_err(OpenError::io("remove", &path))?;
    }
    Ok(())
}

/// The log's version; none when there is no file `FORMAT` yet.
pub(crate) fn check_format(fs: &dyn Fs, dir: &Path) -> Result<Option<u32>, OpenError> {
    let path = dir.join(FORMAT_FILE);
    let text = match fs.read(&path, 64) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(OpenError::io("read", &path))?,
    };
    match parse_format(&text) {
        Some(version) if version > FORMAT_VERSION => Err(newer(path, version)),
        Some(version) => Ok(Some(version)),
        None => Err(OpenError::BadFormat { path }),
    }
}

fn newer(path: PathBuf, found: u32) -> OpenError {
    OpenError::NewerVersion { path, found, supported: FORMAT_VERSION }
}

pub(crate) fn load(fs: &dyn Fs, dir: &Path, numbers: &[u64], options: &LogOptions) -> Result<Vec<Loaded>, OpenError> {
    let mut loaded = Vec::with_capacity(numbers.len());
    for number in numbers {
        let path = dir.join(segment_name(*number));
        let file = match fs.open(&path) {
            // Cut short while it was made; or by somebody, and then it is
            // missing between the others.
            Err(e) if e.kind() == std::io::ErrorKind::InvalidData => continue,
            opened => opened.map_err(OpenError::io("open", &path))?,
        };
        readable(&*file, &path, 0..HEAD)?;
        let header = Header::read(file.map());
        if let Some(header) = header.filter(|h| h.version > FORMAT_VERSION) {
            return Err(newer(path, header.version));
        }
        let flagged = header.map(|header| header.sealed);
        let key = SegmentKey::of(flagged, Sealed::read(file.map()), options.keys.as_ref());
        let key = key.map_err(|NoKey(id)| no_key(path.clone(), id, options))?;
        let side = header.and_then(|header| load_side(fs, dir, &*file, header));
        let mark = Mark::read(file.map());
        let lags = |side: &&Side| mark.is_none_or(|mark| mark.end < side.end.offset);
        let newer = side.as_ref().filter(lags);
        let mark = newer.map(|s| Mark { end: s.end.offset, next: s.end.sequence, clean: false }).or(mark);
        let side = side.filter(|_| !options.check_all);
        let taken = || OpenError::io("map", &path)(std::io::Error::other("somebody else writes to it"));
        let writer = file.map().writer().ok_or_else(taken)?;
        loaded.push(Loaded { number: *number, file, writer, header, mark, side, key });
    }
    Ok(loaded)
}

fn no_key(path: PathBuf, id: u64, options: &LogOptions) -> OpenError {
    let given = options.keys.as_ref().map_or_else(|| "none".to_owned(), Keys::ids);
    OpenError::NoKey { path, id, given }
}

/// What is known of a segment, if that is there and fits it.
fn load_side(fs: &dyn Fs, dir: &Path, file: &dyn SegmentFile, header: Header) -> Option<Side> {
    let bytes = fs.read(&dir.join(side_name(header.number)), side::MOST).ok()?;
    let side = Side::decode(&bytes)?;
    let same = (side.number, side.base, side.seal) == (header.number, header.base, Header::seal(file.map()));
    (same && side.end.offset <= file.map().len() && side.end.sequence >= side.base).then_some(side)
}

/// A sector that cannot be read is an error here; touched further down it would
/// kill the process.
pub(crate) fn readable(file: &dyn SegmentFile, path: &Path, range: Range<usize>) -> Result<(), OpenError> {
    file.map().populate_read(range).map_err(OpenError::io("read", path))
}
