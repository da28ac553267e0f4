//! The blocks that crossed a hub last, and what became of each here.
//!
//! A table of records, each at the place that its block's origin and number
//! give it, so that the blocks of one origin fill it in turn and overwrite the
//! oldest. All stages write without locks: the route stage takes a place, the
//! others add to a record whose block is theirs. Where a place is taken anew
//! while another stage still counts for the block before, that count may stand
//! in the wrong record: this is a memory of what happened, not a ledger.

use weft_base::sync::atomic::{AtomicU64, Ordering};
use weft_base::{Epoch, HubId, ProducerId};
use weft_mesh::ledger::DropReason;
use weft_wire::block::{Block, Stamp};

/// Different reasons, streams and links that a record tells apart; of more it
/// has the first.
pub(crate) const FEW: usize = 4;

/// What became of one block at this hub. All are numbers of copies, times in
/// Unix nanoseconds, or ids; 0 where there is nothing to say.
#[derive(Debug, Default)]
pub(crate) struct Record {
    origin: AtomicU64,
    /// The number at its origin; 0 while the record is taken anew.
    block: AtomicU64,
    epoch_and_events: AtomicU64,
    sequence: AtomicU64,
    producer: AtomicU64,
    first: AtomicU64,
    ingested: AtomicU64,
    /// The neighbour that it came from; 0 for a client.
    from: AtomicU64,
    /// When it came from the socket, as far as that was noted, and when it was routed.
    came_at: AtomicU64,
    routed_at: AtomicU64,
    pub(crate) copies: AtomicU64,
    pub(crate) delivered: AtomicU64,
    pub(crate) delivered_at: AtomicU64,
    pub(crate) stored: AtomicU64,
    pub(crate) stored_at: AtomicU64,
    pub(crate) forwarded: AtomicU64,
    pub(crate) spooled: AtomicU64,
    /// Neighbours that it was written to, and when last.
    links: [AtomicU64; FEW],
    sent_at: AtomicU64,
    /// Reason and one more in the upper half, copies in the lower.
    drops: [AtomicU64; FEW],
    /// Streams that took it, the home that they had it from, and its first sequence there.
    streams: [[AtomicU64; 3]; FEW],
    /// Copies that came again.
    again: AtomicU64,
    /// When it was written to each of `links`, last.
    links_at: [AtomicU64; FEW],
    /// When its streams had all of it on disk; noted of what is traced alone.
    pub(crate) synced_at: AtomicU64,
    /// Whether it is traced.
    traced: AtomicU64,
}

/// A record as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) origin: HubId,
    pub(crate) epoch: Epoch,
    pub(crate) sequence: u64,
    pub(crate) events: u32,
    pub(crate) producer: ProducerId,
    pub(crate) first: u64,
    pub(crate) ingested: u64,
    pub(crate) from: HubId,
    pub(crate) came_at: u64,
    pub(crate) routed_at: u64,
    pub(crate) copies: u64,
    pub(crate) delivered: u64,
    pub(crate) delivered_at: u64,
    pub(crate) stored: u64,
    pub(crate) stored_at: u64,
    pub(crate) forwarded: u64,
    pub(crate) spooled: u64,
    pub(crate) again: u64,
    pub(crate) sent_at: u64,
    pub(crate) synced_at: u64,
    pub(crate) links: Vec<HubId>,
    /// When it was written to each of them.
    pub(crate) links_at: Vec<u64>,
    pub(crate) drops: Vec<(u8, u64)>,
    /// The stream's id, the home's, and the first sequence there.
    pub(crate) streams: Vec<(u64, u64, u64)>,
}

fn load(word: &AtomicU64) -> u64 {
    word.load(Ordering::Relaxed)
}

fn store(word: &AtomicU64, value: u64) {
    word.store(value, Ordering::Relaxed);
}

/// The place of `key` among a few words: where it is, or the first that is free.
fn place(words: &[AtomicU64], is_it: impl Fn(u64) -> bool) -> Option<&AtomicU64> {
    words.iter().find(|word| {
        let known = load(word);
        known == 0 || is_it(known)
    })
}

impl Record {
    fn is_of(&self, origin: u64, epoch: u32, block: u64) -> bool {
        load(&self.block) == block
            && load(&self.origin) == origin
            && load(&self.epoch_and_events) >> 32 == u64::from(epoch)
    }

    /// Notes a neighbour that the block was written to.
    pub(crate) fn sent_to(&self, hub: u64, now: u64) {
        let known = self.links.iter().zip(&self.links_at).find(|(word, _)| {
            let known = load(word);
            known == 0 || known == hub
        });
        if let Some((word, at)) = known {
            store(at, now);
            store(word, hub);
        }
        store(&self.sent_at, now);
    }

    /// It is traced from now on; answers whether it was not before.
    pub(crate) fn set_traced(&self) -> bool {
        self.traced.swap(1, Ordering::Relaxed) == 0
    }

    /// Whether it is traced.
    #[inline]
    pub(crate) fn is_traced(&self) -> bool {
        load(&self.traced) != 0
    }

    /// How long it is at this hub, in nanoseconds.
    #[inline]
    pub(crate) fn age(&self, now: u64) -> u64 {
        now.saturating_sub(load(&self.came_at))
    }

    /// Notes a drop.
    pub(crate) fn dropped(&self, reason: DropReason, n: u64) {
        let code = (reason as u64 + 1) << 32;
        if let Some(word) = place(&self.drops, |known| known & !u64::from(u32::MAX) == code) {
            let before = load(word) & u64::from(u32::MAX);
            store(word, code | before.saturating_add(n).min(u64::from(u32::MAX)));
        }
    }

    /// Notes a stream that has the block, and its place there.
    pub(crate) fn placed(&self, stream: u64, home: u64, first: u64) {
        let free = self.streams.iter().find(|words| load(&words[0]) == 0 || load(&words[0]) == stream);
        if let Some([id, at, sequence]) = free {
            store(at, home);
            store(sequence, first);
            store(id, stream);
        }
    }

    /// Notes that the block came once more.
    pub(crate) fn came_again(&self) {
        self.again.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether it can be that of an event: looked at before all is read.
    fn may_have(&self, name: EventName) -> bool {
        match name {
            EventName::Entry { origin, .. } => load(&self.origin) == origin.0,
            EventName::Producer { producer, .. } => load(&self.producer) == producer.0,
        }
    }

    fn read(&self) -> Option<Seen> {
        let block = load(&self.block);
        if block == 0 {
            return None;
        }
        let few = |words: &[AtomicU64]| -> Vec<u64> { words.iter().map(load).filter(|word| *word != 0).collect() };
        let life = load(&self.epoch_and_events);
        let seen = Seen {
            origin: HubId(load(&self.origin)),
            epoch: Epoch((life >> 32) as u32),
            sequence: load(&self.sequence),
            events: life as u32,
            producer: ProducerId(load(&self.producer)),
            first: load(&self.first),
            ingested: load(&self.ingested),
            from: HubId(load(&self.from)),
            came_at: load(&self.came_at),
            routed_at: load(&self.routed_at),
            copies: load(&self.copies),
            delivered: load(&self.delivered),
            delivered_at: load(&self.delivered_at),
            stored: load(&self.stored),
            stored_at: load(&self.stored_at),
            forwarded: load(&self.forwarded),
            spooled: load(&self.spooled),
            again: load(&self.again),
            sent_at: load(&self.sent_at),
            synced_at: load(&self.synced_at),
            links: few(&self.links).into_iter().map(HubId).collect(),
            links_at: self
                .links
                .iter()
                .zip(&self.links_at)
                .filter(|(hub, _)| load(hub) != 0)
                .map(|(_, at)| load(at))
                .collect(),
            drops: few(&self.drops).into_iter().map(|word| ((word >> 32) as u8 - 1, word & 0xffff_ffff)).collect(),
            streams: self
                .streams
                .iter()
                .map(|[id, home, first]| (load(id), load(home), load(first)))
                .filter(|(id, ..)| *id != 0)
                .collect(),
        };
        // Taken anew meanwhile: what was read is of two blocks.
        (load(&self.block) == block && load(&self.sequence) == seen.sequence).then_some(seen)
    }
}

/// What a question for an event may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventName {
    /// Where it entered the mesh, and its sequence there; epoch 0: in any life.
    Entry { origin: HubId, epoch: Epoch, sequence: u64 },
    /// Who published it, and its sequence there.
    Producer { producer: ProducerId, sequence: u64 },
}

impl EventName {
    fn is_in(&self, seen: &Seen) -> bool {
        let within = |first: u64, sequence: u64| sequence.wrapping_sub(first) < u64::from(seen.events);
        match *self {
            Self::Entry { origin, epoch, sequence } => {
                seen.origin == origin && (epoch.0 == 0 || seen.epoch == epoch) && within(seen.sequence, sequence)
            }
            Self::Producer { producer, sequence } => seen.producer == producer && within(seen.first, sequence),
        }
    }
}

/// The window.
#[derive(Debug, Default)]
pub(crate) struct Window {
    records: Box<[Record]>,
}

impl Window {
    /// Of so many blocks, rounded up to a power of two.
    pub(crate) fn new(blocks: usize) -> Self {
        let blocks = if blocks == 0 { 0 } else { blocks.next_power_of_two() };
        Self { records: (0..blocks).map(|_| Record::default()).collect() }
    }

    /// Bytes that a window of so many blocks takes.
    pub(crate) fn memory(blocks: usize) -> usize {
        if blocks == 0 { 0 } else { blocks.next_power_of_two() * size_of::<Record>() }
    }

    /// How many blocks it has room for.
    pub(crate) fn capacity(&self) -> usize {
        self.records.len()
    }

    fn place(&self, origin: u64, block: u64) -> Option<&Record> {
        // The length is a power of two; origins begin at places of their own.
        let at = block.wrapping_add(origin.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) as usize;
        self.records.get(at & self.records.len().wrapping_sub(1))
    }

    /// The record of a block that was stamped; none when it has none any more.
    #[inline]
    pub(crate) fn find(&self, block: Block<'_>) -> Option<&Record> {
        if self.records.is_empty() {
            return None;
        }
        self.find_stamped(&block.stamp()?)
    }

    /// The record of the block that was stamped so.
    #[inline]
    pub(crate) fn find_stamped(&self, stamp: &Stamp) -> Option<&Record> {
        if self.records.is_empty() {
            return None;
        }
        self.place(stamp.origin.0, stamp.block).filter(|r| r.is_of(stamp.origin.0, stamp.epoch.0, stamp.block))
    }

    /// What became of the block that was stamped so, as far as it is known.
    pub(crate) fn seen(&self, stamp: &Stamp) -> Option<Seen> {
        let seen = self.find_stamped(stamp)?.read()?;
        (seen.origin == stamp.origin && seen.epoch == stamp.epoch && seen.sequence == stamp.sequence).then_some(seen)
    }

    /// A stamped block is routed here at `routed_at`, from a neighbour (0: from a
    /// client), and came from its socket at `came_at`. One that has a record
    /// keeps it. The route stage alone calls this. Answers a record that was begun.
    #[inline]
    pub(crate) fn begin(&self, block: Block<'_>, from: u64, came_at: u64, routed_at: u64) -> Option<&Record> {
        if self.records.is_empty() {
            return None;
        }
        let stamp = block.stamp()?;
        let record = self.place(stamp.origin.0, stamp.block)?;
        if record.is_of(stamp.origin.0, stamp.epoch.0, stamp.block) {
            record.came_again();
            return None;
        }
        store(&record.block, 0);
        for word in [
            &record.copies,
            &record.delivered,
            &record.delivered_at,
            &record.stored,
            &record.stored_at,
            &record.forwarded,
            &record.spooled,
            &record.sent_at,
            &record.again,
            &record.synced_at,
            &record.traced,
        ] {
            store(word, 0);
        }
        record.links.iter().chain(&record.drops).for_each(|word| store(word, 0));
        record.streams.iter().for_each(|words| store(&words[0], 0));
        store(&record.origin, stamp.origin.0);
        store(&record.epoch_and_events, u64::from(stamp.epoch.0) << 32 | u64::from(block.event_count()));
        store(&record.sequence, stamp.sequence);
        store(&record.producer, block.producer().0);
        store(&record.first, block.first_sequence());
        store(&record.ingested, stamp.ingested.0);
        store(&record.from, from);
        store(&record.came_at, came_at);
        store(&record.routed_at, routed_at);
        store(&record.block, stamp.block);
        Some(record)
    }

    /// A block was cut because it had come before.
    pub(crate) fn came_again(&self, block: Block<'_>) {
        if let Some(record) = self.find(block) {
            record.came_again();
        }
    }

    /// All that is known of an event here, by looking through the whole window.
    pub(crate) fn look_up(&self, name: EventName) -> Option<Seen> {
        self.records
            .iter()
            .filter(|record| record.may_have(name))
            .filter_map(Record::read)
            .find(|seen| name.is_in(seen))
    }

    /// When the oldest block entered the mesh that the window still has; 0 when
    /// it has none.
    pub(crate) fn reaches_back_to(&self) -> u64 {
        self.records
            .iter()
            .filter(|record| load(&record.block) != 0)
            .map(|record| load(&record.ingested))
            .min()
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use weft_base::UnixNanos;
    use weft_wire::block::{self, BlockFields, BlockWriter, EventFields};

    use super::*;

    /// A block of `events` events, the `number`th of its origin.
    fn block(origin: u64, number: u64, events: u64) -> Vec<u8> {
        let fields = BlockFields {
            producer: ProducerId(9),
            first_sequence: (number - 1) * events + 1,
            ..BlockFields::new("a/b")
        };
        let len = block::block_len(3, (0..events).map(|_| (0, 0, 1)));
        let mut bytes = vec![0; len];
        let mut writer = BlockWriter::new(&mut bytes, &fields).expect("there is room");
        for _ in 0..events {
            writer.push(&EventFields { payload: b"x", ..EventFields::default() }).expect("there is room");
        }
        writer.finish().expect("a block");
        let stamp = Stamp {
            origin: HubId(origin),
            epoch: Epoch(3),
            block: number,
            sequence: (number - 1) * events + 1,
            ingested: UnixNanos(1_000 + number),
        };
        block::stamp(&mut bytes, &stamp).expect("a block");
        bytes
    }

    fn entry(sequence: u64) -> EventName {
        EventName::Entry { origin: HubId(1), epoch: Epoch(0), sequence }
    }

    #[test]
    fn an_event_is_found_by_either_of_its_names_with_what_became_of_it() {
        let window = Window::new(8);
        let bytes = block(1, 2, 3);
        window.begin(Block::trusted(&bytes), 77, 5, 6);
        let record = window.find(Block::trusted(&bytes)).expect("it has one");
        record.delivered.fetch_add(3, Ordering::Relaxed);
        record.dropped(DropReason::NoInterest, 3);
        record.dropped(DropReason::LinkFull, 3);
        record.dropped(DropReason::NoInterest, 3);
        record.sent_to(8, 9);
        record.sent_to(8, 10);
        record.placed(4, 1, 40);
        let seen = window.look_up(entry(6)).expect("its last event");
        let producer = EventName::Producer { producer: ProducerId(9), sequence: 4 };
        assert_eq!(window.look_up(producer), Some(seen.clone()));
        assert_eq!((seen.delivered, seen.from, seen.came_at, seen.routed_at), (3, HubId(77), 5, 6));
        assert_eq!(seen.drops, [(DropReason::NoInterest as u8, 6), (DropReason::LinkFull as u8, 3)]);
        assert_eq!(
            (seen.links.as_slice(), seen.sent_at, seen.streams.as_slice()),
            (&[HubId(8)][..], 10, &[(4, 1, 40)][..])
        );
        for other in [entry(3), entry(7), EventName::Entry { origin: HubId(1), epoch: Epoch(2), sequence: 6 }] {
            assert_eq!(window.look_up(other), None, "{other:?}");
        }
    }

    #[test]
    fn the_window_forgets_the_oldest_and_says_how_far_it_reaches() {
        let window = Window::new(5);
        assert_eq!((window.capacity(), window.reaches_back_to()), (8, 0));
        for number in 1..=20 {
            window.begin(Block::trusted(&block(1, number, 1)), 0, 0, 0);
        }
        assert_eq!(window.look_up(entry(12)), None);
        assert!((13..=20).all(|number| window.look_up(entry(number)).is_some_and(|seen| seen.sequence == number)));
        assert_eq!(window.reaches_back_to(), 1_013);
        assert!(window.find(Block::trusted(&block(1, 12, 1))).is_none(), "nothing is counted for it any more");
    }

    #[test]
    fn a_block_that_comes_again_keeps_its_record_and_a_window_of_nothing_keeps_none() {
        let window = Window::new(4);
        let bytes = block(1, 1, 1);
        window.begin(Block::trusted(&bytes), 5, 1, 2);
        window.find(Block::trusted(&bytes)).expect("a record").stored.fetch_add(1, Ordering::Relaxed);
        window.begin(Block::trusted(&bytes), 6, 3, 4);
        let seen = window.look_up(entry(1)).expect("a record");
        assert_eq!((seen.from, seen.stored, seen.again), (HubId(5), 1, 1));
        let none = Window::new(0);
        none.begin(Block::trusted(&bytes), 5, 1, 2);
        assert!(none.find(Block::trusted(&bytes)).is_none() && none.look_up(entry(1)).is_none());
    }
}
