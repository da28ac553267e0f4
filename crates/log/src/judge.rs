//! The judgement of one segment's bytes: blocks, damage, or a torn tail. The
//! rules are in [`crate::recover`].

use crate::format::Mark;
use crate::index::Place;
use crate::mmap::HEAD;
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

/// Goes through a segment whose first block has the sequence `base`. `seen` is
/// told of each block and each damage, in order.
pub(crate) fn judge(content: Content<'_>, base: u64, known: Known, seen: &mut dyn FnMut(Seen)) -> Judged {
    let mut at = Place { sequence: base, offset: HEAD };
    let ends = |tail, torn, open_ended| Judged { tail, torn, open_ended };
    loop {
        let clause = match content.check(at.offset, at.sequence) {
            Ok(found) => {
                at = Place { sequence: found.next, offset: found.offset + found.len };
                seen(Seen::Block(found));
                continue;
            }
            Err(clause) => clause,
        };
        let mark = known.mark.filter(|m| believable(m, at));
        if content.is_blank_from(at.offset) {
            if let Some(mark) = mark {
                let clause = "blocks that were synced are missing".into();
                at = skip(at, clause, Place { sequence: mark.next, offset: mark.end }, seen);
            }
            // In a segment before the last mark the next one's base tells
            // whether anything is missing.
            return ends(at, false, false);
        }
        match content.resync(at.offset, at.sequence) {
            Some(found) => {
                let between = content.range(at.offset, found.offset);
                if !known.covers(at.offset) && has_blank_line(between, at.offset) {
                    return ends(at, true, false);
                }
                at = skip(at, clause, Place { sequence: found.first, offset: found.offset }, seen);
            }
            None => match (mark, known.all) {
                (Some(mark), _) => {
                    at = skip(at, clause, Place { sequence: mark.next, offset: mark.end }, seen);
                }
                (None, true) => {
                    seen(Seen::Damage { offset: at.offset, from: at.sequence, clause, resume: None });
                    return ends(at, false, true);
                }
                (None, false) => return ends(at, true, false),
            },
        }
    }
}

/// Tells of the damage at `from`, and goes on at `to`.
fn skip(from: Place, clause: Clause, to: Place, seen: &mut dyn FnMut(Seen)) -> Place {
    seen(Seen::Damage { offset: from.offset, from: from.sequence, clause, resume: Some(to) });
    to
}

/// Whether a mark beyond `at` can be gone on at: so many events must fit.
fn believable(mark: &Mark, at: Place) -> bool {
    let bytes = mark.end.saturating_sub(at.offset) as u64;
    let events = mark.next.saturating_sub(at.sequence);
    events > 0 && events <= bytes / weft_wire::block::EVENT_HEADER_LEN as u64
}
