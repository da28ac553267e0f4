//! Reading a log as it lies there: every segment judged, nothing changed.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use weft_base::UnixNanos;
use weft_wire::block::Block;

use super::note::Notes;
use super::{BlockAt, Finding, Format, Kind, MAX_FINDINGS, OfflineError, Options, SegmentReport, State, Survey};
use crate::crypt::{NoKey, Sealed, SegmentKey};
use crate::format::{FORMAT_FILE, FORMAT_VERSION, Header, Mark, parse_format, segment_name, segment_number, side_name};
use crate::fs::Fs;
use crate::homes::MAX_HOMES;
use crate::judge::{Known, Seen, judge};
use crate::mmap::{HEAD, MAX_SEGMENT};
use crate::scan::{Content, Found, is_zero};
use crate::side::{self, Side};

/// Reads all of a log and tells `each` of every whole block, in order.
/// Changes nothing.
///
/// # Errors
/// [`OfflineError`]; a segment that cannot be read is a finding, not an error.
pub fn survey(
    fs: &dyn Fs,
    dir: &Path,
    options: Options<'_>,
    each: &mut dyn FnMut(&BlockAt<'_>),
) -> Result<Survey, OfflineError> {
    let names = fs.list(dir).map_err(OfflineError::io("list", dir))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment_number(name)).collect();
    numbers.sort_unstable();
    let format = format_of(fs, dir)?;
    if numbers.is_empty() && format == Format::Missing {
        return Err(OfflineError::NotALog { dir: dir.to_owned() });
    }
    let heads = heads(fs, dir, &numbers, options)?;
    let notes = Notes::read(fs, dir);
    let synced = heads.iter().rposition(|head| head.mark.is_some());
    let mut walk = Walk { fs, dir, options, each, notes, survey: empty(format), before: None };
    for (at, head) in heads.iter().enumerate() {
        let place = Place { before_last_mark: synced.is_some_and(|s| at < s), last: at + 1 == heads.len() };
        walk.segment(head, place)?;
    }
    let mut survey = walk.survey;
    survey.first = survey.segments.iter().find(|s| s.base > 0).map_or(1, |s| s.base);
    survey.next = survey.next.max(survey.first);
    Ok(survey)
}

fn empty(format: Format) -> Survey {
    Survey {
        format,
        segments: Vec::new(),
        first: 1,
        next: 1,
        events: 0,
        blocks: 0,
        position: Vec::new(),
        out_of_order: 0,
        findings: Vec::new(),
        finding_count: 0,
    }
}

fn newer(path: std::path::PathBuf, found: u32) -> OfflineError {
    OfflineError::NewerVersion { path, found, supported: FORMAT_VERSION }
}

fn format_of(fs: &dyn Fs, dir: &Path) -> Result<Format, OfflineError> {
    let path = dir.join(FORMAT_FILE);
    match fs.read(&path, 64) {
        Ok(text) => match parse_format(&text) {
            Some(version) if version > FORMAT_VERSION => Err(newer(path, version)),
            Some(version) => Ok(Format::Version(version)),
            None => Ok(Format::Unreadable),
        },
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Format::Missing),
        Err(_) => Ok(Format::Unreadable),
    }
}

/// What a segment's first page says.
struct Head {
    number: u64,
    header: Option<Header>,
    mark: Option<Mark>,
    key: Option<Arc<SegmentKey>>,
}

fn heads(fs: &dyn Fs, dir: &Path, numbers: &[u64], options: Options<'_>) -> Result<Vec<Head>, OfflineError> {
    let mut heads = Vec::with_capacity(numbers.len());
    for number in numbers {
        let path = dir.join(segment_name(*number));
        let bytes = match fs.read(&path, HEAD) {
            // Retention of a running hub was faster.
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            read => read.unwrap_or_default(),
        };
        let header = Header::read_from(&bytes);
        if let Some(header) = header.filter(|h| h.version > FORMAT_VERSION) {
            return Err(newer(path, header.version));
        }
        let key = SegmentKey::of(header.map(|h| h.sealed), Sealed::read_from(&bytes), options.keys);
        let key = key.map_err(|NoKey(id)| OfflineError::NoKey { path, id })?;
        heads.push(Head { number: *number, header, mark: Mark::read_from(&bytes, MAX_SEGMENT), key });
    }
    Ok(heads)
}

/// Where a segment stands among the others.
#[derive(Clone, Copy)]
struct Place {
    before_last_mark: bool,
    last: bool,
}

/// The segment before, once its blocks are judged.
struct Before {
    number: u64,
    tail: u64,
    next: u64,
    open_ended: bool,
    torn: bool,
}

struct Walk<'a> {
    fs: &'a dyn Fs,
    dir: &'a Path,
    options: Options<'a>,
    each: &'a mut dyn FnMut(&BlockAt<'_>),
    notes: Notes,
    survey: Survey,
    before: Option<Before>,
}

impl Walk<'_> {
    fn find(&mut self, kind: Kind, segment: u64, range: (u64, u64), sequences: (u64, Option<u64>), clause: String) {
        let ((offset, end), (first, next)) = (range, sequences);
        self.survey.finding_count += 1;
        if self.survey.findings.len() < MAX_FINDINGS {
            let before = self.survey.position.clone();
            let finding =
                Finding { kind, segment, offset, end, first, next, clause, noted: false, before, after: Vec::new() };
            self.survey.findings.push(finding);
        }
    }

    fn segment(&mut self, head: &Head, place: Place) -> Result<(), OfflineError> {
        let number = head.number;
        let path = self.dir.join(segment_name(number));
        let bytes = match self.fs.read(&path, MAX_SEGMENT) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            Err(e) => {
                let (first, clause) = (self.next_expected(head), format!("the segment cannot be read: {e}"));
                self.find(Kind::Segment, number, (0, 0), (first, None), clause);
                self.report(head, 0, State::Unusable);
                return Ok(());
            }
            Ok(bytes) => bytes,
        };
        let len = bytes.len() & !7;
        let Some(blocks) = bytes.get(HEAD..len).filter(|blocks| !blocks.is_empty()) else {
            // Cut short while it was made: the next start passes over it.
            if !place.last {
                let clause = format!("its {} bytes are too few for a segment", bytes.len());
                let first = self.next_expected(head);
                self.find(Kind::Segment, number, (0, bytes.len() as u64), (first, None), clause);
            }
            self.report(head, bytes.len(), if place.last { State::Spare } else { State::Unusable });
            return Ok(());
        };
        let known = Known { all: place.before_last_mark, mark: head.mark.filter(|m| m.end <= len) };
        let blank_head = bytes.get(..HEAD).is_some_and(is_zero);
        let content = Content(blocks, head.header.and_then(|h| h.gaps()), head.key.as_deref());
        if !known.any() && blank_head && content.is_blank_from(HEAD) {
            self.report(head, bytes.len(), State::Spare);
            return Ok(());
        }
        let Some(base) = self.base_of(head, content, known, blank_head) else {
            let state = if known.any() { State::Unusable } else { State::Torn { bytes: used(content, HEAD) } };
            if state == State::Unusable {
                let clause = "the segment's header and its first block are damaged".to_owned();
                let first = self.next_expected(head);
                self.find(Kind::Segment, number, (0, len as u64), (first, None), clause);
            }
            self.report(head, bytes.len(), state);
            return Ok(());
        };
        let half = head.key.is_some() && Sealed::is_half_in(&bytes);
        if half && self.survey.findings.last().is_none_or(|f| (f.segment, f.kind) != (number, Kind::Header)) {
            self.header_finding(number, base, known.any() && !self.options.live);
        }
        self.judge(head, bytes.len(), content, base, known);
        self.side(&bytes, number);
        // Findings that a repair knows are told by their bytes.
        for finding in self.survey.findings.iter_mut().rev().take_while(|f| f.segment == number) {
            let range = finding.offset as usize..finding.end as usize;
            finding.noted = bytes.get(range).is_some_and(|bytes| self.notes.know(number, finding.offset, bytes));
        }
        Ok(())
    }

    fn next_expected(&self, head: &Head) -> u64 {
        head.header.map(|h| h.base).or(self.before.as_ref().map(|b| b.next)).unwrap_or(0)
    }

    /// The sequence that the segment's blocks begin with, as
    /// `recover::Scan::fate` decides it; none when nothing in it can be placed,
    /// or it comes after a torn tail.
    fn base_of(&mut self, head: &Head, content: Content<'_>, known: Known, blank_head: bool) -> Option<u64> {
        let number = head.number;
        let own = head.header.map(|h| h.base);
        let Some(before) = &self.before else {
            return own.or_else(|| {
                let first = content.whole(HEAD).ok()?.first;
                self.header_finding(number, first, known.any() || !blank_head);
                Some(first)
            });
        };
        let (expected, tail, open, torn) = (before.next, before.tail, before.open_ended, before.torn);
        let last = before.number;
        match own {
            Some(base) if base == expected && (!torn || known.any()) => Some(base),
            Some(base) if base > expected && known.any() => {
                if open {
                    // The damage that has no end reaches up to here.
                    if let Some(finding) = self.survey.findings.iter_mut().rev().find(|f| f.segment == last) {
                        finding.next = Some(base);
                    }
                } else {
                    let clause = format!("blocks are missing at its end, sequences {expected} to {base} (exclusive)");
                    self.find(Kind::Missing, last, (tail, tail), (expected, Some(base)), clause);
                }
                Some(base)
            }
            _ if known.any() || (own.is_none() && !torn && content.check(HEAD, expected).is_ok()) => {
                self.header_finding(number, expected, known.any() || !blank_head);
                Some(expected)
            }
            _ => None,
        }
    }

    fn header_finding(&mut self, number: u64, base: u64, damaged: bool) {
        if damaged {
            let clause = "the segment's header is damaged".to_owned();
            self.find(Kind::Header, number, (0, HEAD as u64), (base, Some(base)), clause);
        }
    }

    fn judge(&mut self, head: &Head, file_len: usize, content: Content<'_>, base: u64, known: Known) {
        let (blocks, events) = (self.survey.blocks, self.survey.events);
        let mut times: Option<(u64, u64)> = None;
        let mut damages = Vec::new();
        self.survey.next = base;
        let start = crate::index::Place { sequence: base, offset: HEAD };
        let judged = judge(content, start, known, &mut |seen| match seen {
            Seen::Block(found) => {
                for damage in damages.drain(..) {
                    self.damage(head, content, damage);
                }
                self.block(head.number, content, found);
                let (oldest, newest) = times.unwrap_or((found.time, found.time));
                times = Some((oldest.min(found.time), newest.max(found.time)));
            }
            Seen::Damage { offset, clause, resume, .. } => damages.push((offset, clause.into_owned(), resume)),
        });
        for damage in damages {
            self.damage(head, content, damage);
        }
        let tail = judged.tail;
        // Of a compacted segment the last events may be missing.
        let gaps = content.1.filter(|_| known.any());
        let next = gaps.map_or(tail.sequence, |end| end.max(tail.sequence));
        self.survey.next = self.survey.next.max(next);
        let state = if judged.torn { State::Torn { bytes: used(content, tail.offset) } } else { State::Used };
        self.before = Some(Before {
            number: head.number,
            tail: tail.offset as u64,
            next,
            open_ended: judged.open_ended,
            torn: judged.torn,
        });
        self.report(head, file_len, state);
        if let Some(report) = self.survey.segments.last_mut() {
            report.used_bytes = tail.offset as u64;
            (report.base, report.next) = (base, next);
            report.blocks = self.survey.blocks - blocks;
            report.events = self.survey.events - events;
            report.times = times.map(|(oldest, newest)| (UnixNanos(oldest), UnixNanos(newest)));
        }
    }

    /// Whether the file beside the segment says what the segment does. One that
    /// is of another segment, or not whole, is made anew by the next start.
    fn side(&mut self, segment: &[u8], number: u64) {
        let Ok(bytes) = self.fs.read(&self.dir.join(side_name(number)), side::MOST) else { return };
        let Some(side) = Side::decode(&bytes) else {
            let clause = "the file beside it, which holds its index, is not whole".to_owned();
            return self.find(Kind::Side, number, (0, 0), (0, Some(0)), clause);
        };
        let Some(report) = self.survey.segments.last() else { return };
        let (end, tail) = (side.end.offset as u64, report.used_bytes);
        let of_all = (side.end.sequence, side.events, side.blocks) == (report.next, report.events, report.blocks);
        let whole = self.survey.findings.iter().all(|f| f.segment != number);
        let differs = end > tail || (end == tail && whole && !of_all);
        if side.seal == Header::seal_from(segment) && side.number == number && differs {
            let clause = "the file beside it, which holds its index, speaks of other blocks".to_owned();
            self.find(Kind::Side, number, (0, 0), (0, Some(0)), clause);
        }
    }

    fn damage(&mut self, head: &Head, content: Content<'_>, damage: (usize, String, Option<crate::index::Place>)) {
        let (offset, clause, resume) = damage;
        if self.options.live && head.mark.is_none_or(|mark| offset >= mark.end) {
            return;
        }
        let end = resume.map_or_else(|| offset + used(content, offset) as usize, |resume| resume.offset);
        let first = self.survey.next;
        let range = (offset as u64, end as u64);
        self.find(Kind::Blocks, head.number, range, (first, resume.map(|r| r.sequence)), clause);
    }

    fn block(&mut self, segment: u64, content: Content<'_>, found: Found) {
        // It was checked just now.
        let plain = content.opened(found.offset).ok().and_then(|(_, plain)| plain);
        let block = Block::trusted(content.bytes(&found, plain.as_ref()));
        let name = found.home(0);
        self.survey.blocks += 1;
        self.survey.events += found.next - found.first;
        self.survey.next = found.next;
        self.note_name(name, found.next - found.first);
        (self.each)(&BlockAt { segment, offset: found.offset as u64, first: found.first, name, block });
    }

    /// Follows the position, and what homes go on with after each hole.
    fn note_name(&mut self, (home, sequence): (u32, u64), events: u64) {
        let Survey { position, findings, out_of_order, .. } = &mut self.survey;
        let after = sequence.saturating_add(events);
        let has_room = position.len() < MAX_HOMES;
        for finding in findings.iter_mut().rev().take_while(|f| !f.after.iter().any(|(h, _)| *h == home)) {
            if finding.after.len() < MAX_HOMES {
                finding.after.push((home, sequence));
            }
        }
        match position.iter_mut().find(|(h, _)| *h == home) {
            Some((_, next)) => {
                *out_of_order += u64::from(sequence < *next);
                *next = after.max(*next);
            }
            None if has_room => {
                position.push((home, after));
                position.sort_unstable();
            }
            None => {}
        }
    }

    fn report(&mut self, head: &Head, file_len: usize, state: State) {
        self.survey.segments.push(SegmentReport {
            number: head.number,
            file_bytes: file_len as u64,
            used_bytes: 0,
            version: head.header.map(|h| h.version),
            key: head.key.as_ref().map(|key| key.sealed.id),
            created: head.header.map(|h| h.created),
            base: head.header.map_or(0, |h| h.base),
            next: head.header.map_or(0, |h| h.base),
            blocks: 0,
            events: 0,
            times: None,
            marked_bytes: head.mark.map(|m| m.end as u64),
            state,
        });
    }
}

/// Bytes from `offset` to the last one in use.
fn used(content: Content<'_>, offset: usize) -> u64 {
    content.used_from(offset).len() as u64
}
