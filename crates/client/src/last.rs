//! The last value of a topic, or of a key of it: kept by the stream at hand,
//! got without a consumer.

use std::fmt;

use weft_base::UnixNanos;
use weft_ring::arena::BlockRef;
use weft_wire::Event;
use weft_wire::block::Block;

use crate::delivery::{Delivery, Gap, check};

/// The most last values that one request is answered with.
pub const MOST_LAST: usize = 65_536;

/// An event that is the last of its topic, or of its topic and key, read where
/// it was received.
#[derive(Clone)]
pub struct LastValue {
    delivery: Delivery,
    /// The byte of the block that it begins at, and its place among the events.
    offset: usize,
    place: u32,
}

impl LastValue {
    /// The event in this place of a block.
    pub(crate) fn new(block: BlockRef, place: u32) -> Result<Self, String> {
        let offset = {
            let block = check(&block)?;
            let mut events = block.events();
            if place >= block.event_count() {
                return Err(format!("event {place} of a block of {} was found", block.event_count()));
            }
            for _ in 0..place {
                events.next();
            }
            events.offset(&block)
        };
        let mut delivery = Delivery::new(block, 0, Gap::default(), place);
        // Few of many blocks, kept for long as a rule.
        delivery.make_room(usize::MAX);
        Ok(Self { delivery, offset, place })
    }

    /// The block that it was published in.
    #[must_use]
    pub fn block(&self) -> Block<'_> {
        self.delivery.block()
    }

    /// Its topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        self.delivery.topic()
    }

    /// The event.
    #[must_use]
    pub fn event(&self) -> Event<'_> {
        // It was found there, in a block that was validated.
        self.block().event_at(self.offset).unwrap_or(Event {
            time: UnixNanos(0),
            key: &[],
            headers: weft_wire::Headers::default(),
            payload: &[],
        })
    }

    /// What it says.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.event().payload
    }

    /// Its sequence at the hub that answered.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.block().stream_sequence() + u64::from(self.place)
    }

    /// Its sequence at the home at which it entered the stream: what
    /// [`Terms::expect_key`](crate::Terms::expect_key) asks for.
    #[must_use]
    pub fn home_sequence(&self) -> u64 {
        self.block().home().map_or(0, |(_, first)| first + u64::from(self.place))
    }
}

impl fmt::Debug for LastValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastValue")
            .field("topic", &self.topic())
            .field("sequence", &self.sequence())
            .field("event", &self.event())
            .finish_non_exhaustive()
    }
}
