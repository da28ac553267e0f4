//! The judgement of one segment's bytes: blocks, damage, or a torn tail. The
//! rules are in [`crate::recover`].

use crate::format::Mark;
use crate::index::Place;
use crate::mmap::HEAD;
use crate::scan::{Clause, Content, Found, has_blank_line};

/// What of a segment is known to have been on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// All its blocks: a later segment has a mark.
    All,
    /// The blocks below its mark.
    Mark(Option<Mark>),
    /// None.
    Nothing,
}

impl Known {
    /// Whether what is at `offset` was on disk.
    fn covers(self, offset: usize) -> bool {
        match self {
            Known::All => true,
            Known::Mark(mark) => mark.is_some_and(|m| offset < m.end),
            Known::Nothing => false,
        }
    }
}

/// What is come across.
pub(crate) enum Seen {
    Block(Found),
    Damage(usize, Clause),
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
        let mark = match known {
            Known::Mark(mark) => mark.filter(|m| believable(m, at)),
            _ => None,
        };
        if content.is_blank_from(at.offset) {
            if let Some(mark) = mark {
                seen(Seen::Damage(at.offset, "blocks that were synced are missing".into()));
                at = Place { sequence: mark.next, offset: mark.end };
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
                seen(Seen::Damage(at.offset, clause));
                at = Place { sequence: found.first, offset: found.offset };
            }
            None => match (mark, known) {
                (Some(mark), _) => {
                    seen(Seen::Damage(at.offset, clause));
                    at = Place { sequence: mark.next, offset: mark.end };
                }
                (None, Known::All) => {
                    seen(Seen::Damage(at.offset, clause));
                    return ends(at, false, true);
                }
                (None, _) => return ends(at, true, false),
            },
        }
    }
}

/// Whether a mark beyond `at` can be gone on at: so many events must fit.
fn believable(mark: &Mark, at: Place) -> bool {
    let bytes = mark.end.saturating_sub(at.offset) as u64;
    let events = mark.next.saturating_sub(at.sequence);
    events > 0 && events <= bytes / weft_wire::block::EVENT_HEADER_LEN as u64
}
