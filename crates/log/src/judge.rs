//! The judgement of one segment's bytes: blocks, damage, or a torn tail. The
//! rules are in [`crate::recover`].

use crate::format::Mark;
use crate::index::Place;
use crate::scan::{Clause, Content, Found, has_blank_line};

/// What of a segment is known to have been on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// All its blocks: a later segment has a mark.
    pub(crate) all: bool,
    /// Those below its own mark.
    pub(crate) mark: Option<Mark>,
}

impl Known {
    /// Whether what is at `offset` was on disk.
    fn covers(self, offset: usize) -> bool {
        self.all || self.mark.is_some_and(|m| offset < m.end)
    }

    /// Whether the segment was synced at all.
    pub(crate) const fn any(self) -> bool {
        self.all || self.mark.is_some()
    }
}

/// What is come across.
pub(crate) enum Seen {
    Block(Found),
    Damage {
        offset: usize,
        /// The sequence expected there.
        from: u64,
        clause: Clause,
        /// Where it goes on, when that is known.
        resume: Option<Place>,
    },
}

/// How a segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    /// After the last block.
    pub(crate) tail: Place,
    /// With a torn tail, which begins there.
    pub(crate) torn: bool,
    /// With damage beyond which nothing is known: nothing can be appended.
    pub(crate) open_ended: bool,
}

/// Goes through a segment from a place on before which it is known.
///
/// Blocks of an atomic batch are told of when its last one is there. A batch
/// without its end that was not on disk is a torn tail.
pub(crate) fn judge(content: Content<'_>, start: Place, known: Known, seen: &mut dyn FnMut(Seen)) -> Judged {
    let mut at = start;
    // Where the batch began whose end was not met.
    let mut batch: Option<Place> = None;
    let ends = |tail: Place, torn, open_ended, batch: Option<Place>, seen: &mut dyn FnMut(Seen)| match batch {
        Some(begun) if !known.covers(begun.offset) => Judged { tail: begun, torn: true, open_ended: false },
        Some(begun) => {
            tell(content, begun, tail, seen);
            Judged { tail, torn, open_ended }
        }
        None => Judged { tail, torn, open_ended },
    };
    loop {
        let clause = match content.check(at.offset, at.sequence) {
            Ok(found) => {
                let place = at;
                at = Place { sequence: found.next, offset: found.end() };
                if found.open {
                    batch.get_or_insert(place);
                } else if let Some(begun) = batch.take() {
                    tell(content, begun, at, seen);
                } else {
                    seen(Seen::Block(found));
                }
                continue;
            }
            Err(clause) => clause,
        };
        let mark = known.mark.filter(|m| believable(m, at));
        if content.is_blank_from(at.offset) {
            if let Some(mark) = mark {
                let clause = "blocks that were synced are missing".into();
                at = skip(content, at, clause, Place { sequence: mark.next, offset: mark.end }, &mut batch, seen);
            }
            // In a segment before the last mark the next one's base tells
            // whether anything is missing.
            return ends(at, false, false, batch, seen);
        }
        match content.resync(at.offset, at.sequence) {
            Some(found) => {
                let between = content.range(at.offset, found.offset);
                if !known.covers(at.offset) && has_blank_line(between, at.offset) {
                    return ends(at, true, false, batch, seen);
                }
                let to = Place { sequence: found.first, offset: found.offset };
                at = skip(content, at, clause, to, &mut batch, seen);
            }
            None => match (mark, known.all) {
                (Some(mark), _) => {
                    let to = Place { sequence: mark.next, offset: mark.end };
                    at = skip(content, at, clause, to, &mut batch, seen);
                }
                (None, true) => {
                    if let Some(begun) = batch.take() {
                        tell(content, begun, at, seen);
                    }
                    seen(Seen::Damage { offset: at.offset, from: at.sequence, clause, resume: None });
                    return ends(at, false, true, batch, seen);
                }
                (None, false) => return ends(at, true, false, batch, seen),
            },
        }
    }
}

/// Tells of the blocks from one place to another, which are whole.
fn tell(content: Content<'_>, from: Place, to: Place, seen: &mut dyn FnMut(Seen)) {
    let mut offset = from.offset;
    while offset < to.offset
        && let Ok(found) = content.glance(offset)
    {
        offset = found.end();
        seen(Seen::Block(found));
    }
}

/// Tells of the damage at `from`, and goes on at `to`. What came before of an
/// atomic batch that it is in counts: it was on disk, and so was its end.
fn skip(
    content: Content<'_>,
    from: Place,
    clause: Clause,
    to: Place,
    batch: &mut Option<Place>,
    seen: &mut dyn FnMut(Seen),
) -> Place {
    if let Some(begun) = batch.take() {
        tell(content, begun, from, seen);
    }
    seen(Seen::Damage { offset: from.offset, from: from.sequence, clause, resume: Some(to) });
    to
}

/// Whether a mark beyond `at` can be gone on at: so many events must fit.
fn believable(mark: &Mark, at: Place) -> bool {
    let bytes = mark.end.saturating_sub(at.offset) as u64;
    let events = mark.next.saturating_sub(at.sequence);
    events > 0 && events <= bytes / weft_wire::block::EVENT_HEADER_LEN as u64
}
