//! What crosses a link, counted at both of its ends and compared. Pure.
//!
//! The sending end counts each block as it takes its place on the way to the
//! socket, lane by lane, and now and then says its counts in a mark behind the
//! blocks that they are of. A lane keeps its order, so the receiving end has
//! counted the same blocks when the mark comes, or something went uncounted
//! between the two. It answers with its own counts; what was sent since the last
//! answer is what nobody knows of when the link ends.
//!
//! One mark of a lane is under way at a time, so that a slow end is not told
//! more than it answers. Events are counted in *columns*: one for each class of
//! topics, and what else whoever counts tells apart.

use weft_base::Lane;

/// Blocks of one lane, and their events by column, since the link's opening.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    blocks: u64,
    events: Vec<u64>,
    /// Of some blocks nobody has seen the events.
    is_blind: bool,
}

impl Tally {
    /// Of so many columns, nothing yet.
    #[must_use]
    pub fn new(columns: usize) -> Self {
        Self { blocks: 0, events: vec![0; columns], is_blind: false }
    }

    /// One more block. A column that there is not counts for none.
    pub fn add(&mut self, column: usize, events: u64) {
        self.blocks += 1;
        if let Some(count) = self.events.get_mut(column) {
            *count += events;
        }
    }

    /// So many more blocks, of which nobody has seen the events: from now on
    /// blocks alone can be compared.
    pub fn add_unseen(&mut self, blocks: u64) {
        self.blocks += blocks;
        self.is_blind = true;
    }

    fn take_back(&mut self, column: usize, events: u64) {
        self.blocks = self.blocks.saturating_sub(1);
        if let Some(count) = self.events.get_mut(column) {
            *count = count.saturating_sub(events);
        }
    }

    /// The blocks.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Their events, by column.
    #[must_use]
    pub fn events(&self) -> &[u64] {
        &self.events
    }

    /// Their events, in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.events.iter().sum()
    }

    fn copy(&mut self, other: &Tally) {
        self.blocks = other.blocks;
        self.events.clone_from(&other.events);
    }
}

/// What the other end says makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CrossingError {
    /// Counts only grow.
    #[error("the count of lane {lane} went back from {from} to {to} blocks", lane = lane.get())]
    TakenBack {
        /// The lane.
        lane: Lane,
        /// Blocks, as said before.
        from: u64,
        /// And now.
        to: u64,
    },
    /// More events than can be counted.
    #[error("the events of lane {lane} are more than can be counted", lane = lane.get())]
    Overflow {
        /// The lane.
        lane: Lane,
    },
    /// An answer to a mark that was not sent.
    #[error("an answer for {blocks} blocks of lane {lane}, for which no mark is under way", lane = lane.get())]
    Unasked {
        /// The lane.
        lane: Lane,
        /// Blocks, as the mark would have said.
        blocks: u64,
    },
}

/// One lane of the sending end.
#[derive(Clone, Debug)]
struct Sent {
    sent: Tally,
    /// The mark that is under way.
    asked: Tally,
    is_asked: bool,
    /// What the other end has answered for.
    sure: Tally,
    /// What that is short of.
    off: i64,
}

/// The sending end of a link.
#[derive(Clone, Debug)]
pub struct SentEnd {
    lanes: [Sent; Lane::COUNT],
}

impl SentEnd {
    /// Of a link that has just opened.
    #[must_use]
    pub fn new(columns: usize) -> Self {
        let tally = || Tally::new(columns);
        let lane = || Sent { sent: tally(), asked: tally(), is_asked: false, sure: tally(), off: 0 };
        Self { lanes: std::array::from_fn(|_| lane()) }
    }

    /// A block has taken its place on the way out, behind all before it and in
    /// front of any mark that follows.
    pub fn sent(&mut self, lane: Lane, column: usize, events: u64) {
        self.lanes[lane.index()].sent.add(column, events);
    }

    /// The link has ended before the block was written.
    pub fn unsent(&mut self, lane: Lane, column: usize, events: u64) {
        self.lanes[lane.index()].sent.take_back(column, events);
    }

    /// Whether a lane has something for a mark.
    #[must_use]
    pub fn owes(&self) -> bool {
        self.lanes.iter().any(Sent::owes)
    }

    /// The counts to be said now, behind all that was sent; none where nothing
    /// was sent since the last mark, or that one is not answered yet.
    pub fn mark(&mut self, lane: Lane) -> Option<&Tally> {
        let lane = &mut self.lanes[lane.index()];
        if !lane.owes() {
            return None;
        }
        lane.is_asked = true;
        lane.asked.copy(&lane.sent);
        Some(&lane.asked)
    }

    /// The other end counted `events` up to the mark of `blocks` blocks. Answers
    /// how many events that mark was the first to say, and how many events more
    /// than at earlier ones the other end is short of; below zero, it has too many.
    ///
    /// # Errors
    /// [`CrossingError::Unasked`]; nothing has changed.
    pub fn answered(&mut self, lane: Lane, blocks: u64, events: u64) -> Result<(u64, i64), CrossingError> {
        let own = &mut self.lanes[lane.index()];
        if !own.is_asked || own.asked.blocks != blocks {
            return Err(CrossingError::Unasked { lane, blocks });
        }
        own.is_asked = false;
        std::mem::swap(&mut own.sure, &mut own.asked);
        let off = difference(own.sure.total(), events);
        let newly = off.saturating_sub(std::mem::replace(&mut own.off, off));
        Ok((own.sure.total() - own.asked.total(), newly))
    }

    /// Of a link that has ended: the events by column that were sent and that
    /// the other end has not answered for. They have arrived, or they have not.
    pub fn unsure(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.lanes.iter().flat_map(|lane| {
            let columns = lane.sent.events.iter().zip(&lane.sure.events).enumerate();
            columns.map(|(column, (sent, sure))| (column, sent.saturating_sub(*sure))).filter(|(_, events)| *events > 0)
        })
    }
}

impl Sent {
    fn owes(&self) -> bool {
        !self.is_asked && self.sent.blocks != self.sure.blocks
    }
}

/// One lane of the receiving end.
#[derive(Clone, Debug)]
struct Came {
    came: Tally,
    /// Blocks of the last mark.
    marked: u64,
    /// What was found missing so far.
    off: Vec<i64>,
    off_blocks: i64,
}

/// The receiving end of a link.
#[derive(Clone, Debug)]
pub struct CameEnd {
    lanes: [Came; Lane::COUNT],
}

/// What a mark has shown that earlier ones had not: missing, or below zero too many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Blocks.
    pub blocks: i64,
    /// Events in all.
    pub events: i64,
    /// Events by column; empty where the ends count other columns.
    pub columns: Vec<i64>,
}

impl Compared {
    /// Whether the ends agree.
    #[must_use]
    pub fn is_even(&self) -> bool {
        self.blocks == 0 && self.events == 0 && self.columns.iter().all(|off| *off == 0)
    }
}

impl CameEnd {
    /// Of a link that has just opened.
    #[must_use]
    pub fn new(columns: usize) -> Self {
        let lane = || Came { came: Tally::new(columns), marked: 0, off: vec![0; columns], off_blocks: 0 };
        Self { lanes: std::array::from_fn(|_| lane()) }
    }

    /// A block has come.
    pub fn came(&mut self, lane: Lane, column: usize, events: u64) {
        self.lanes[lane.index()].came.add(column, events);
    }

    /// What came of a lane so far.
    #[must_use]
    pub fn tally(&self, lane: Lane) -> &Tally {
        &self.lanes[lane.index()].came
    }

    /// The events that are to be answered to a mark that was compared.
    #[must_use]
    pub fn answer(&self, lane: Lane, events: &[u64], unread: &Tally) -> u64 {
        let own = &self.lanes[lane.index()];
        if unread.is_blind {
            let missing: i64 = own.off.iter().fold(0, |sum, off| sum.saturating_add(*off));
            return events.iter().sum::<u64>().saturating_sub(u64::try_from(missing).unwrap_or(0));
        }
        own.came.total() + unread.total()
    }

    /// A mark has come: so many blocks, and events by column, were sent before
    /// it. `alike` when both ends count the same columns; `unread` is what had
    /// come before it as well, and was counted as not taken in.
    ///
    /// # Errors
    /// [`CrossingError`]; nothing has changed.
    pub fn marked(
        &mut self,
        lane: Lane,
        blocks: u64,
        events: &[u64],
        alike: bool,
        unread: &Tally,
    ) -> Result<Compared, CrossingError> {
        let own = &mut self.lanes[lane.index()];
        if blocks < own.marked {
            return Err(CrossingError::TakenBack { lane, from: own.marked, to: blocks });
        }
        let total = events.iter().try_fold(0_u64, |sum, events| sum.checked_add(*events));
        let total = total.ok_or(CrossingError::Overflow { lane })?;
        own.marked = blocks;
        let off_blocks = difference(blocks, own.came.blocks + unread.blocks);
        let mut compared = Compared { blocks: off_blocks.saturating_sub(own.off_blocks), ..Compared::default() };
        own.off_blocks = off_blocks;
        if unread.is_blind {
            return Ok(compared);
        }
        let before: i64 = own.off.iter().fold(0, |sum, off| sum.saturating_add(*off));
        compared.events = difference(total, own.came.total() + unread.total()).saturating_sub(before);
        if alike && events.len() == own.off.len() {
            let came = own.came.events.iter().zip(&unread.events).map(|(came, unread)| came + unread);
            let columns = own.off.iter_mut().zip(events.iter().zip(came));
            compared.columns.extend(columns.map(|(off, (sent, came))| {
                let now = difference(*sent, came);
                now.saturating_sub(std::mem::replace(off, now))
            }));
        } else if let Some(last) = own.off.last_mut() {
            // Of which column it is, nobody can say.
            *last = last.saturating_add(compared.events);
        }
        Ok(compared)
    }
}

/// What is missing of `sent` in `came`; below zero, what is too much.
fn difference(sent: u64, came: u64) -> i64 {
    i64::try_from(i128::from(sent) - i128::from(came)).unwrap_or(if sent > came { i64::MAX } else { i64::MIN })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANE: Lane = Lane::DEFAULT;

    /// The mark of a lane as the other end gets it.
    fn mark(sent: &mut SentEnd) -> (u64, Vec<u64>) {
        let tally = sent.mark(LANE).expect("something was sent");
        (tally.blocks(), tally.events().to_vec())
    }

    #[test]
    fn ends_that_counted_the_same_agree_and_nothing_is_unsure() {
        let (mut sent, mut came) = (SentEnd::new(2), CameEnd::new(2));
        assert_eq!(sent.mark(LANE), None, "nothing was sent");
        for (column, events) in [(0, 3), (1, 5), (0, 1)] {
            sent.sent(LANE, column, events);
            came.came(LANE, column, events);
        }
        let (blocks, events) = mark(&mut sent);
        assert_eq!((blocks, &events[..]), (3, &[4, 5][..]));
        assert_eq!(sent.mark(LANE), None, "one is under way");
        assert!(came.marked(LANE, blocks, &events, true, &Tally::new(2)).expect("sense").is_even());
        assert_eq!(sent.unsure().collect::<Vec<_>>(), [(0, 4), (1, 5)]);
        assert_eq!(sent.answered(LANE, blocks, came.tally(LANE).total()), Ok((9, 0)));
        assert_eq!(sent.unsure().count(), 0);
        assert!(!sent.owes());
        sent.sent(LANE, 1, 2);
        assert!(sent.owes());
        sent.unsent(LANE, 1, 2);
        assert!(!sent.owes());
    }

    #[test]
    fn a_block_that_is_lost_is_found_once_and_its_column_is_told() {
        let (mut sent, mut came) = (SentEnd::new(2), CameEnd::new(2));
        sent.sent(LANE, 0, 1);
        sent.sent(LANE, 1, 7);
        came.came(LANE, 0, 1);
        let (blocks, events) = mark(&mut sent);
        let off = came.marked(LANE, blocks, &events, true, &Tally::new(2)).expect("sense");
        assert_eq!(off, Compared { blocks: 1, events: 7, columns: vec![0, 7] });
        assert_eq!(sent.answered(LANE, blocks, came.tally(LANE).total()), Ok((8, 7)));
        sent.sent(LANE, 0, 1);
        came.came(LANE, 0, 1);
        let (blocks, events) = mark(&mut sent);
        assert!(
            came.marked(LANE, blocks, &events, true, &Tally::new(2)).expect("sense").is_even(),
            "it was told before"
        );
        assert_eq!(sent.answered(LANE, blocks, came.tally(LANE).total()), Ok((1, 0)), "here too");
    }

    #[test]
    fn what_was_counted_as_not_taken_in_is_not_missing() {
        let (mut sent, mut came, mut unread) = (SentEnd::new(1), CameEnd::new(1), Tally::new(1));
        sent.sent(LANE, 0, 1);
        sent.sent(LANE, 0, 7);
        came.came(LANE, 0, 1);
        unread.add(0, 7);
        let (blocks, events) = mark(&mut sent);
        assert!(came.marked(LANE, blocks, &events, true, &unread).expect("sense").is_even());
    }

    #[test]
    fn where_events_were_not_seen_blocks_alone_are_compared() {
        let (mut sent, mut came, mut unread) = (SentEnd::new(1), CameEnd::new(1), Tally::new(1));
        (0..3).for_each(|_| sent.sent(LANE, 0, 5));
        came.came(LANE, 0, 5);
        unread.add_unseen(1);
        let (blocks, events) = mark(&mut sent);
        let off = came.marked(LANE, blocks, &events, true, &unread).expect("sense");
        assert_eq!(off, Compared { blocks: 1, events: 0, columns: Vec::new() });
        assert_eq!(came.answer(LANE, &events, &unread), 15, "what is not known is not said to be missing");
    }

    #[test]
    fn ends_with_other_classes_compare_what_crossed_in_all() {
        let (mut sent, mut came) = (SentEnd::new(3), CameEnd::new(1));
        sent.sent(LANE, 2, 4);
        sent.sent(LANE, 1, 1);
        came.came(LANE, 0, 4);
        let (blocks, events) = mark(&mut sent);
        let off = came.marked(LANE, blocks, &events, false, &Tally::new(1)).expect("sense");
        assert_eq!(off, Compared { blocks: 1, events: 1, columns: Vec::new() });
        assert!(came.marked(LANE, blocks, &events, false, &Tally::new(1)).expect("sense").is_even());
    }

    #[test]
    fn more_than_was_sent_is_too_many() {
        let (mut sent, mut came) = (SentEnd::new(1), CameEnd::new(1));
        sent.sent(LANE, 0, 2);
        came.came(LANE, 0, 2);
        came.came(LANE, 0, 2);
        let (blocks, events) = mark(&mut sent);
        let off = came.marked(LANE, blocks, &events, true, &Tally::new(2)).expect("sense");
        assert_eq!((off.blocks, off.events), (-1, -2));
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_changes_nothing() {
        let (mut sent, mut came) = (SentEnd::new(1), CameEnd::new(1));
        assert_eq!(sent.answered(LANE, 1, 1), Err(CrossingError::Unasked { lane: LANE, blocks: 1 }));
        sent.sent(LANE, 0, 2);
        sent.mark(LANE);
        assert_eq!(sent.answered(LANE, 2, 1), Err(CrossingError::Unasked { lane: LANE, blocks: 2 }));
        came.came(LANE, 0, 2);
        assert!(came.marked(LANE, 1, &[2], true, &Tally::new(1)).expect("sense").is_even());
        assert_eq!(
            came.marked(LANE, 0, &[0], true, &Tally::new(1)),
            Err(CrossingError::TakenBack { lane: LANE, from: 1, to: 0 })
        );
        assert_eq!(
            came.marked(LANE, 2, &[u64::MAX, 1], false, &Tally::new(1)),
            Err(CrossingError::Overflow { lane: LANE })
        );
        assert!(came.marked(LANE, 1, &[2], true, &Tally::new(1)).expect("sense").is_even());
        let off = came.marked(LANE, u64::MAX, &[u64::MAX], true, &Tally::new(1)).expect("sense");
        assert_eq!((off.blocks, off.events), (i64::MAX, i64::MAX));
    }
}
