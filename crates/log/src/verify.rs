//! Checking what is on the disk, slowly, beside everything else: opening a log
//! does not read all of it, so damage in old segments is found by those who
//! read them, or here.

use std::sync::{Arc, Weak};

use weft_base::ByteCount;
use weft_base::sync::atomic::Ordering;

use crate::index::Place;
use crate::mmap::HEAD;
use crate::recover::Damage;
use crate::segment::Segment;
use crate::shared::{Shared, locked};

/// The most damages that one step tells of: it ends there.
const MOST: usize = 64;

/// What one step found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// How many bytes were looked at.
    pub bytes: u64,
    /// What is wrong in them, in order; at most 64.
    pub damaged: Vec<Damage>,
    /// The last segment that there was when the first step began is checked:
    /// the next step begins at the log's start.
    pub done: bool,
}

/// A segment's number, and where to go on in it.
type At = (u64, Option<(Weak<Segment>, Place)>);

/// Checks a log from any thread, a step at a time.
pub struct Verifier {
    shared: Arc<Shared>,
    /// The segment's number, and where in it the next step begins, as long as
    /// it is that segment: compaction and repair put another one in its place.
    at: Option<At>,
    /// The segment after which it is done: a log that grows faster than it is
    /// checked comes to an end too.
    until: u64,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Verifier({}, {:?})", self.shared.dir.display(), self.at)
    }
}

impl Verifier {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared, at: None, until: 0 }
    }

    /// Checks about `budget` bytes, but at least one block.
    pub fn step(&mut self, budget: ByteCount) -> Verified {
        let mut found = Verified::default();
        if self.at.is_none() {
            self.until = locked(&self.shared.table).live.back().map_or(0, |segment| segment.number);
        }
        while found.bytes < budget.0.max(1) && found.damaged.len() < MOST {
            let Some(segment) = self.segment() else {
                self.at = None;
                found.done = true;
                break;
            };
            let start = match &self.at {
                Some((_, Some((known, place)))) if std::ptr::eq(known.as_ptr(), Arc::as_ptr(&segment)) => *place,
                _ => segment.start(),
            };
            let left = usize::try_from(budget.0 - found.bytes).unwrap_or(usize::MAX);
            let before = found.damaged.len();
            let next = step(&segment, start, left, &mut found);
            if found.damaged.len() > before {
                self.shared.suspect(segment.number);
            }
            // The segment after it, whatever its number is.
            let going_on = |place| (segment.number, Some((Arc::downgrade(&segment), place)));
            self.at = Some(next.map_or((segment.number + 1, None), going_on));
        }
        found
    }

    /// The segment to go on in.
    fn segment(&self) -> Option<Arc<Segment>> {
        let number = self.at.as_ref().map_or(0, |at| at.0);
        let table = locked(&self.shared.table);
        let segment = table.live.get(table.live.partition_point(|s| s.number < number))?;
        (segment.number <= self.until).then(|| Arc::clone(segment))
    }
}

/// Checks from a place on; answers where to go on in this segment.
fn step(segment: &Segment, start: Place, budget: usize, found: &mut Verified) -> Option<Place> {
    // What is not synced is not on the disk.
    let end = segment.synced.load(Ordering::Acquire).max(HEAD);
    let content = segment.content(end);
    let report = |offset: usize, clause: String| Damage { segment: segment.number, offset: offset as u64, clause };
    let until = start.offset.saturating_add(budget).min(end);
    let unreadable = |offset: usize, e: std::io::Error| report(offset, format!("it cannot be read: {e}"));
    if let Err(e) = segment.map().populate_read(start.offset & !4095..until) {
        found.damaged.push(unreadable(start.offset, e));
        return None;
    }
    let (mut at, mut warmed) = (start, until);
    while at.offset < until && found.damaged.len() < MOST {
        match segment.warm_block(content, at.offset, warmed) {
            Ok(further) => warmed = further,
            Err(e) => {
                found.damaged.push(unreadable(at.offset, e));
                return None;
            }
        }
        match content.check(at.offset, at.sequence) {
            Ok(block) => at = Place { sequence: block.next, offset: block.end() },
            Err(clause) => {
                found.damaged.push(report(at.offset, clause.into_owned()));
                // What comes after it may be anywhere.
                if segment.map().populate_read(at.offset & !4095..end).is_err() {
                    return None;
                }
                warmed = end;
                match segment.after_damage(content, at) {
                    Some(resume) => at = resume,
                    None => {
                        found.bytes += (end - start.offset) as u64;
                        return None;
                    }
                }
            }
        }
    }
    found.bytes += (at.offset - start.offset) as u64;
    segment.map().release(start.offset..at.offset);
    (at.offset < end).then_some(at)
}
