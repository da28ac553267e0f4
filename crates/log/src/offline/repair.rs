//! Repair: first a plan, which changes nothing, then its steps.
//!
//! A segment that changes is written anew beside the old one, synced, and put
//! in its place by renaming: whenever the power fails, either all of the old
//! or all of the new segment is there. What is replaced or given up was put
//! into quarantine before. So each step can be interrupted and done again.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weft_base::UnixNanos;
use weft_wire::block::{Block, StreamPlace, set_stream_place};

use super::{BlockAt, Finding, Format, Kind, MAX_TAKEN, OfflineError, Options, QUARANTINE, Survey, note, survey};
use crate::crypt::{Keys, NOT_SEALED, NoKey, Sealed, SegmentKey, named};
use crate::format::{FORMAT_FILE, Header, LOCK_FILE, Mark, format_text, segment_name, side_name, version_written};
use crate::fs::{Fs, Lock};
use crate::mmap::{HEAD, MAX_SEGMENT};
use crate::scan::Content;

/// Of one home, sequences from the first up to, excluding, the second.
type Wanted = (u32, u64, u64);

/// The home of blocks from before homes had names; of those their local
/// sequences are wanted.
const ANY_HOME: u32 = 0;

/// A finding, and what is done about it.
struct Hole {
    finding: Finding,
    remedy: Remedy,
}

enum Remedy {
    /// These blocks take its place.
    Fill(Vec<Vec<u8>>),
    /// The header is written anew.
    Header,
    /// The segment is moved into quarantine.
    Move,
    /// The file beside it is taken away; the next start makes it anew.
    Side,
    /// It stays as it is, and is noted as known.
    Note { why: String },
}

/// A repair of one log. While it exists, no hub can open the log.
pub struct Repair<'a> {
    fs: &'a dyn Fs,
    dir: PathBuf,
    from: Option<PathBuf>,
    survey: Survey,
    holes: Vec<Hole>,
    keys: Option<Keys>,
    _lock: Box<dyn Lock>,
}

impl std::fmt::Debug for Repair<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Repair({}, {} findings)", self.dir.display(), self.holes.len())
    }
}

/// What a repair did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Events that are there again.
    pub restored: u64,
    /// Events that are given up.
    pub lost: u64,
    /// Ranges and segments put into quarantine.
    pub quarantined: u64,
    /// Segments written anew.
    pub rewritten: u64,
}

impl<'a> Repair<'a> {
    /// Surveys the log in `dir`, and looks in `from` (another home's folder of
    /// the stream, or a backup) for what is missing. Changes nothing but that
    /// the file `LOCK` is made when it is not there.
    ///
    /// # Errors
    /// [`OfflineError`]; `InUse` when a hub has the log open.
    pub fn plan(fs: &'a dyn Fs, dir: &Path, from: Option<&Path>, keys: Option<&Keys>) -> Result<Self, OfflineError> {
        let lock_path = dir.join(LOCK_FILE);
        let lock = fs.lock(&lock_path).map_err(|e| match e.kind() {
            ErrorKind::WouldBlock => OfflineError::InUse { dir: dir.to_owned() },
            _ => OfflineError::io("lock", &lock_path)(e),
        })?;
        let options = Options { keys, ..Options::default() };
        let survey = survey(fs, dir, options, &mut |_| {})?;
        let found: Vec<Finding> = survey.findings.clone();
        let wanted: Vec<_> = found.iter().map(wanted).collect();
        let taken = from.map(|from| take(fs, from, options, &found, &wanted)).transpose()?;
        let mut holes = Vec::new();
        for (at, finding) in found.into_iter().enumerate() {
            let remedy = remedy(&finding, &wanted, at, taken.as_ref());
            // What is given up already needs no second note.
            if !(finding.noted && matches!(remedy, Remedy::Note { .. })) {
                holes.push(Hole { finding, remedy });
            }
        }
        Ok(Self {
            fs,
            dir: dir.to_owned(),
            from: from.map(Path::to_owned),
            survey,
            holes,
            keys: keys.cloned(),
            _lock: lock,
        })
    }

    /// The version that `FORMAT` should name.
    fn version(&self) -> u32 {
        version_written(self.survey.segments.iter().any(|segment| segment.key.is_some()))
    }

    /// The log as it is.
    #[must_use]
    pub const fn survey(&self) -> &Survey {
        &self.survey
    }

    /// What [`apply`](Self::apply) would do, a sentence each; empty when there
    /// is nothing to do.
    #[must_use]
    pub fn steps(&self) -> Vec<String> {
        let mut steps = Vec::new();
        if !matches!(self.survey.format, Format::Version(_)) {
            steps.push(format!("write the file {FORMAT_FILE} (version {})", self.version()));
        }
        for Hole { finding, remedy } in &self.holes {
            steps.push(match remedy {
                Remedy::Fill(blocks) => {
                    format!("{finding}: fill it with {} blocks from the other folder", blocks.len())
                }
                Remedy::Header => format!("{finding}: write it anew"),
                Remedy::Side => format!("{finding}: take it away, the hub's next start makes it anew"),
                Remedy::Move => format!("{finding}: move the segment into {QUARANTINE}"),
                Remedy::Note { why } => format!("{finding}: copy it into {QUARANTINE} and leave it, since {why}"),
            });
        }
        steps
    }

    /// Does it. Interrupted, the next repair goes on.
    ///
    /// # Errors
    /// [`OfflineError::Io`]; what was done so far is whole.
    pub fn apply(self, now: UnixNanos) -> Result<Done, OfflineError> {
        let mut done = Done::default();
        if !matches!(self.survey.format, Format::Version(_)) {
            let path = self.dir.join(FORMAT_FILE);
            self.fs.write(&path, format_text(self.version()).as_bytes()).map_err(OfflineError::io("write", &path))?;
        }
        let mut by_segment: BTreeMap<u64, Vec<&Hole>> = BTreeMap::new();
        for hole in &self.holes {
            by_segment.entry(hole.finding.segment).or_default().push(hole);
        }
        for (number, holes) in by_segment {
            self.segment(number, &holes, now, &mut done)?;
        }
        Ok(done)
    }

    fn segment(&self, number: u64, holes: &[&Hole], now: UnixNanos, done: &mut Done) -> Result<(), OfflineError> {
        let path = self.dir.join(segment_name(number));
        if let Some(hole) = holes.iter().find(|hole| matches!(hole.remedy, Remedy::Move)) {
            return self.move_away(&path, &hole.finding, now, done);
        }
        let old = self.fs.read(&path, MAX_SEGMENT).map_err(OfflineError::io("read", &path))?;
        let mut changed = false;
        for Hole { finding, remedy } in holes.iter().copied() {
            if matches!(remedy, Remedy::Side) {
                continue;
            }
            let range = old.get(finding.offset as usize..finding.end as usize).unwrap_or_default();
            let events = finding.events().unwrap_or(0);
            let then = match remedy {
                Remedy::Fill(_) => {
                    done.restored += events;
                    changed = true;
                    let from = self.from.as_deref().unwrap_or(Path::new("another folder"));
                    format!("its {events} events were taken from {}", from.display())
                }
                Remedy::Note { why } => {
                    done.lost += events;
                    format!("left as it is, since {why}")
                }
                Remedy::Header | Remedy::Move | Remedy::Side => {
                    changed = true;
                    "written anew".to_owned()
                }
            };
            note::put(self.fs, &self.dir, finding, range, &then, now)?;
            done.quarantined += 1;
        }
        if changed || holes.iter().any(|hole| matches!(hole.remedy, Remedy::Side)) {
            // Before the segment changes: it would speak of other blocks.
            self.forget_side(number)?;
        }
        if changed {
            let new = self.rebuilt(number, &old, holes).map_err(OfflineError::io("encrypt anew", &path))?;
            self.fs.write(&path, &new).map_err(OfflineError::io("write", &path))?;
            done.rewritten += 1;
        }
        Ok(())
    }

    /// Takes away the file beside a segment, which is derived from it.
    fn forget_side(&self, number: u64) -> Result<(), OfflineError> {
        let path = self.dir.join(side_name(number));
        match self.fs.remove(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(OfflineError::io("take away", &path)(e)),
            _ => self.fs.sync_dir(&self.dir).map_err(OfflineError::io("sync the folder", &self.dir)),
        }
    }

    fn move_away(&self, path: &Path, finding: &Finding, now: UnixNanos, done: &mut Done) -> Result<(), OfflineError> {
        match self.fs.read(path, MAX_SEGMENT) {
            Ok(bytes) => note::put(self.fs, &self.dir, finding, &bytes, "moved here", now)?,
            // A copy of what cannot be read cannot be made: it stays.
            Err(source) => return Err(OfflineError::io("read", path)(source)),
        }
        self.fs.remove(path).map_err(OfflineError::io("take away", path))?;
        self.fs.sync_dir(&self.dir).map_err(OfflineError::io("sync the folder", &self.dir))?;
        done.quarantined += 1;
        Ok(())
    }

    /// The segment with its holes filled and its header whole. It may become
    /// longer than it was, where blocks are put in that it never held. An
    /// encrypted one in which holes are filled gets a new salt: what is put in
    /// may not be, byte for byte, what was sealed under those sequences.
    fn rebuilt(&self, number: u64, old: &[u8], holes: &[&Hole]) -> std::io::Result<Vec<u8>> {
        let report = self.survey.segments.iter().find(|s| s.number == number);
        let tail = report.map_or(old.len(), |r| r.used_bytes as usize).min(old.len());
        let part = |from: usize, to: usize| old.get(from..to.max(from)).unwrap_or_default();
        let sealing = self.sealing(old, holes)?;
        let mut new = part(0, HEAD).to_vec();
        let mut at = HEAD;
        for Hole { finding, remedy } in holes.iter().copied() {
            let Remedy::Fill(blocks) = remedy else { continue };
            self.carry(number, old, at..finding.offset as usize, sealing.as_ref(), &mut new)?;
            let mut sequence = finding.first;
            for block in blocks {
                let mut placed = block.clone();
                let (home, home_sequence) = Block::trusted(block).home().unwrap_or_default();
                let place = StreamPlace { local: sequence, home, home_sequence };
                // Refused only where nothing was stamped, and then it was not found.
                let _ = set_stream_place(&mut placed, place);
                put(&placed, sealing.as_ref(), &mut new)?;
                sequence += u64::from(Block::trusted(block).event_count());
            }
            at = (finding.end as usize).max(at);
        }
        self.carry(number, old, at..tail, sealing.as_ref(), &mut new)?;
        let (end, next) = (new.len(), self.end_of(number, report.map_or(0, |r| r.next)));
        if sealing.is_none() {
            // A torn tail goes along: cutting it is the hub's business. Under
            // another salt it would be noise.
            new.extend_from_slice(part(tail.max(at), old.len()));
        }
        let used = new.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1).max(end);
        new.resize(used.next_multiple_of(4096).max(old.len()), 0);
        let header = Header::read_from(old).unwrap_or_else(|| {
            let base = report.map_or(1, |r| r.base);
            let sealed = sealing.is_some() || report.is_some_and(|r| r.key.is_some());
            let (version, created) = (version_written(sealed), UnixNanos(0));
            Header { version, number, base, created, compacted: 0, end: 0, sealed }
        });
        header.write_to(&mut new);
        if next > header.base {
            let clean = Mark::read_from(old, old.len()).is_some_and(|mark| mark.clean);
            Mark { end, next, clean }.write_to(&mut new);
        }
        let sealed = sealing.map(|sealing| sealing.new.sealed).or_else(|| Sealed::read_from(old));
        if let Some(sealed) = sealed.filter(|_| header.sealed) {
            sealed.write_to(&mut new);
        }
        Ok(new)
    }

    /// The keys of a segment in which holes are filled, when it is encrypted.
    fn sealing(&self, old: &[u8], holes: &[&Hole]) -> std::io::Result<Option<Sealing>> {
        let fills = holes.iter().any(|hole| matches!(hole.remedy, Remedy::Fill(_)));
        let Some(keys) = self.keys.as_ref().filter(|_| fills) else { return Ok(None) };
        let flagged = Header::read_from(old).map(|header| header.sealed);
        let key = SegmentKey::of(flagged, Sealed::read_from(old), Some(keys));
        let key = key.map_err(|NoKey(id)| std::io::Error::other(format!("{} was not given", named(id))))?;
        // Where its first page is gone, it is taken for what the others are.
        let encrypted = key.is_some() || (flagged.is_none() && self.version() == version_written(true));
        if encrypted { Ok(Some(Sealing { old: key, new: SegmentKey::fresh(keys)? })) } else { Ok(None) }
    }

    /// Takes over what the old segment has in a range: as it is, or encrypted
    /// anew where it is whole.
    fn carry(
        &self,
        number: u64,
        old: &[u8],
        range: std::ops::Range<usize>,
        sealing: Option<&Sealing>,
        new: &mut Vec<u8>,
    ) -> std::io::Result<()> {
        let part = |from: usize, to: usize| old.get(from..to.max(from)).unwrap_or_default();
        let Some(keys) = sealing else {
            new.extend_from_slice(part(range.start, range.end));
            return Ok(());
        };
        let content = Content(part(HEAD, old.len() & !7), None, keys.old.as_deref());
        let mut at = range.start;
        while at < range.end {
            at = match content.opened(at) {
                Ok((found, plain)) => {
                    put(content.bytes(&found, plain.as_ref()), sealing, new)?;
                    found.end()
                }
                Err(_) => {
                    let known = |f: &&Finding| f.segment == number && f.offset as usize == at && f.end as usize > at;
                    let end = self.survey.findings.iter().find(known).map_or(range.end, |f| f.end as usize);
                    new.extend_from_slice(part(at, end.min(range.end)));
                    end
                }
            };
        }
        Ok(())
    }

    /// The sequence after the segment's last block, with what is put behind it.
    fn end_of(&self, number: u64, next: u64) -> u64 {
        let behind = self.holes.iter().filter(|h| h.finding.segment == number && matches!(h.remedy, Remedy::Fill(_)));
        behind.filter_map(|h| h.finding.next).fold(next, u64::max)
    }
}

/// The key a segment was encrypted with, if it was, and the one it gets.
struct Sealing {
    old: Option<Arc<SegmentKey>>,
    new: Arc<SegmentKey>,
}

/// Appends a block to a segment.
fn put(block: &[u8], sealing: Option<&Sealing>, new: &mut Vec<u8>) -> std::io::Result<()> {
    let Some(keys) = sealing else {
        new.extend_from_slice(block);
        return Ok(());
    };
    keys.new.seal(new, &[block]).map_err(|_| std::io::Error::other(NOT_SEALED))
}

fn remedy(finding: &Finding, wanted: &[Result<Vec<Wanted>, String>], at: usize, taken: Option<&Taken>) -> Remedy {
    match finding.kind {
        Kind::Header => return Remedy::Header,
        Kind::Side => return Remedy::Side,
        Kind::Segment => return Remedy::Move,
        Kind::Blocks | Kind::Missing => {}
    }
    let note = |why: String| Remedy::Note { why };
    let Some(taken) = taken else {
        return note("no other folder was named to take it from (--from)".to_owned());
    };
    match wanted.get(at) {
        Some(Ok(_)) => {}
        Some(Err(why)) => return note(why.clone()),
        None => return note("nothing is known of it".to_owned()),
    }
    let blocks = taken.by_hole.get(&at).cloned().unwrap_or_default();
    let found: u64 = blocks.iter().map(|block| u64::from(Block::trusted(block).event_count())).sum();
    let missing = finding.events().unwrap_or(u64::MAX);
    if found == missing {
        Remedy::Fill(blocks)
    } else if taken.full {
        note("what one repair takes from elsewhere is used up: repair again".to_owned())
    } else {
        note(format!("of its {missing} events the other folder has {found}"))
    }
}

/// The events of a hole, by home; or why that cannot be told.
fn wanted(finding: &Finding) -> Result<Vec<Wanted>, String> {
    if !matches!(finding.kind, Kind::Blocks | Kind::Missing) {
        return Ok(Vec::new());
    }
    let missing = finding.events().ok_or("how many events it held is not known")?;
    let of = |list: &[(u32, u64)], home: u32| list.iter().find(|(h, _)| *h == home).map(|(_, next)| *next);
    let mut between: Vec<Wanted> = Vec::new();
    let mut open: Vec<(u32, Option<u64>, Option<u64>)> = Vec::new();
    for home in finding.before.iter().chain(&finding.after).map(|(home, _)| *home) {
        if between.iter().any(|w| w.0 == home) || open.iter().any(|o| o.0 == home) {
            continue;
        }
        match (of(&finding.before, home), of(&finding.after, home)) {
            (Some(low), Some(high)) => between.push((home, low, high.max(low))),
            (low, high) => open.push((home, low, high)),
        }
    }
    let known: u64 = between.iter().map(|(_, low, high)| high - low).sum();
    // More are known when homes' sequences have gaps; then all there are count.
    let rest = missing.saturating_sub(known);
    match *open {
        _ if rest == 0 => {}
        // Not one block is left that names a home. In a stream of one home,
        // which alone is taken then, its sequences are the local ones.
        [] if between.is_empty() => between.push((ANY_HOME, finding.first, finding.first.saturating_add(rest))),
        [(home, Some(low), _)] => between.push((home, low, low.saturating_add(rest))),
        [(home, None, Some(high))] => between.push((home, high.saturating_sub(rest), high)),
        _ => return Err("which homes' events it held cannot be told".to_owned()),
    }
    between.retain(|(_, low, high)| low < high);
    Ok(between)
}

/// Blocks found in the other folder, in its order, by the hole they are for.
struct Taken {
    by_hole: BTreeMap<usize, Vec<Vec<u8>>>,
    full: bool,
}

/// Sequences of one home that are missing, and what was found of them.
struct Sought {
    high: u64,
    /// The holes that may have held them, in their order: where a home's next
    /// block comes after several holes, each of these may.
    holes: Vec<usize>,
    /// Each with its place in the other folder's order.
    found: Vec<(u64, Vec<u8>)>,
}

fn take(
    fs: &dyn Fs,
    from: &Path,
    options: Options<'_>,
    findings: &[Finding],
    wanted: &[Result<Vec<Wanted>, String>],
) -> Result<Taken, OfflineError> {
    // By home and first sequence, so that a block finds its place at once.
    let mut sought: BTreeMap<(u32, u64), Sought> = BTreeMap::new();
    for (hole, wanted) in wanted.iter().enumerate() {
        for (home, low, high) in wanted.iter().flatten() {
            let new = || Sought { high: *high, holes: Vec::new(), found: Vec::new() };
            let entry = sought.entry((*home, *low)).or_insert_with(new);
            entry.high = entry.high.max(*high);
            entry.holes.push(hole);
        }
    }
    let (mut full, mut bytes, mut order) = (false, 0, 0);
    survey(fs, from, options, &mut |at: &BlockAt<'_>| {
        let (home, first) = at.name;
        let end = first.saturating_add(at.block.event_count().into());
        let key_of = |home: u32| {
            let ((of, low), sought) = sought.range(..=(home, first)).next_back()?;
            (*of == home && end <= sought.high).then_some((*of, *low))
        };
        let by_local = || key_of(ANY_HOME).filter(|_| at.first == first);
        let Some(key) = key_of(home).or_else(by_local) else { return };
        bytes += at.block.len();
        full |= bytes > MAX_TAKEN;
        if let Some(sought) = sought.get_mut(&key).filter(|_| !full) {
            sought.found.push((order, at.block.bytes().to_vec()));
            order += 1;
        }
    })?;
    Ok(Taken { by_hole: assign(findings, sought), full })
}

/// Gives each hole its blocks: first those that only it can have held, then of
/// the others so many as it still misses, each home's in their order.
fn assign(findings: &[Finding], sought: BTreeMap<(u32, u64), Sought>) -> BTreeMap<usize, Vec<Vec<u8>>> {
    let mut missing: Vec<u64> = findings.iter().map(|f| f.events().unwrap_or(0)).collect();
    let mut given: BTreeMap<usize, Vec<(u64, Vec<u8>)>> = BTreeMap::new();
    let (own, shared): (Vec<_>, Vec<_>) = sought.into_values().partition(|s| s.holes.len() == 1);
    for Sought { holes, found, .. } in own.into_iter().chain(shared) {
        let mut at = 0;
        for (order, block) in found {
            let events = u64::from(Block::trusted(&block).event_count());
            let has_room = |hole: &usize| missing.get(*hole).is_some_and(|left| *left >= events);
            at += holes.iter().skip(at).position(has_room).unwrap_or(holes.len());
            let Some(hole) = holes.get(at) else {
                // More than it can have held: nobody knows which of them.
                if let [only] = holes[..] {
                    given.remove(&only);
                }
                break;
            };
            if let Some(left) = missing.get_mut(*hole) {
                *left -= events;
            }
            given.entry(*hole).or_default().push((order, block));
        }
    }
    let in_order = |mut blocks: Vec<(u64, Vec<u8>)>| {
        blocks.sort_by_key(|(order, _)| *order);
        blocks.into_iter().map(|(_, block)| block).collect()
    };
    given.into_iter().map(|(hole, blocks)| (hole, in_order(blocks))).collect()
}
