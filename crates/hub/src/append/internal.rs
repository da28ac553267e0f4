//! Blocks that the hub itself appends: dead letters. They go into the stream
//! named, whatever its filters say; it is made on first use. Who asked is told
//! once the block is on disk, or why it never will be.

use std::collections::VecDeque;
use std::time::Duration;

use weft_wire::block::Block;
use weft_wire::frame;

use super::{AppendStage, StreamSpec};
use crate::consume::ToConsume;
use crate::messages::{Internal, StreamSlot};
use crate::outbox::Outbox;

/// How long dead letters are kept where nobody says.
const KEEP: Duration = Duration::from_secs(7 * 24 * 3_600);

/// What was appended and is not synced: bounded by who asks, who waits for it.
#[derive(Default)]
pub(super) struct Internals {
    waiting: VecDeque<(StreamSlot, u64, u64)>,
}

impl Internals {
    /// A stream is on disk up to here.
    pub(super) fn synced(&mut self, slot: StreamSlot, upto: u64, consume: &mut Outbox<ToConsume>) {
        self.waiting.retain(|(of, next, ticket)| {
            let done = *of == slot && *next <= upto;
            if done {
                consume.push(ToConsume::Stored { ticket: *ticket, refused: None });
            }
            !done
        });
    }

    /// What waits for this stream will never be on disk.
    pub(super) fn failed(&mut self, slot: StreamSlot, why: &str, consume: &mut Outbox<ToConsume>) {
        self.waiting.retain(|(of, _, ticket)| {
            if *of == slot {
                consume.push(ToConsume::Stored { ticket: *ticket, refused: Some(why.to_owned()) });
            }
            *of != slot
        });
    }
}

impl AppendStage {
    pub(super) fn append_internal(&mut self, internal: Internal) {
        let ticket = internal.ticket;
        match self.try_internal(&internal) {
            Ok((slot, next)) => self.internals.waiting.push_back((slot, next, ticket)),
            Err(why) => self.consume.push(ToConsume::Stored { ticket, refused: Some(why) }),
        }
    }

    fn try_internal(&mut self, internal: &Internal) -> Result<(StreamSlot, u64), String> {
        let Internal { stream: name, source, block, .. } = internal;
        if !self.names.contains_key(name) {
            let spec = dead_spec(name, source, &self.options.stream_defaults);
            if let Some(made) = self.try_create(spec).map_err(|(_, detail)| detail)? {
                tracing::info!(code = "stream_created", stream = name, "a stream for dead letters was made");
                self.install(made, None);
            }
        }
        let now = self.now;
        let slot = self.names.get(name).copied().ok_or("the stream was not made")?;
        let stream = self.stream(slot).ok_or("the stream is gone")?;
        let appended = stream.log.append(block, now).map_err(|error| format!("stream `{name}`: {error}"))?;
        stream.index.note(Block::trusted(block), &appended, now);
        let events = u64::from(Block::trusted(block).event_count());
        let account = self.counters.account(block);
        account.copies(events);
        account.stored(events);
        Ok((slot, appended.next))
    }
}

/// A stream for the dead letters of another. Its filter is in the reserved
/// space: nobody publishes into it.
fn dead_spec(name: &str, source: &str, defaults: &crate::options::StreamDefaults) -> StreamSpec {
    let filter = format!("_dead/{source}");
    let retain_age_ms = u64::try_from(KEEP.as_millis()).unwrap_or(u64::MAX);
    let spec = frame::StreamSpec { name, filters: vec![&filter], retain_age_ms, ..frame::StreamSpec::default() };
    StreamSpec::from_frame(&spec, defaults)
}
