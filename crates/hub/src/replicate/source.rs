//! A log as other hubs read it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use weft_base::HubId;
use weft_log::{LogReader, ReadError};
use weft_stream::replica::{Position, Source, Stored, Unreadable};
use weft_wire::block::layout::BATCH_OPEN;

use crate::route::table::RouteTable;

/// Bytes read from the log at a time.
const PIECE: usize = 256 << 10;

/// Reads a stream's log.
pub(crate) struct LogSource {
    reader: LogReader,
    looked_at: u64,
    /// Who may have what; none where this hub reads for itself.
    snapshot: Option<Arc<ArcSwap<RouteTable>>>,
    /// Who reads.
    reading: HubId,
}

impl LogSource {
    pub(crate) const fn new(reader: LogReader) -> Self {
        Self { reader, looked_at: 0, snapshot: None, reading: HubId(0) }
    }

    /// For other hubs, each of which gets what may be there.
    pub(super) fn for_others(reader: LogReader, snapshot: Arc<ArcSwap<RouteTable>>) -> Self {
        Self { snapshot: Some(snapshot), ..Self::new(reader) }
    }

    /// How many blocks were read.
    pub(crate) const fn looked_at(&self) -> u64 {
        self.looked_at
    }

    /// All below this local sequence are on disk.
    pub(super) fn synced(&self) -> u64 {
        self.reader.synced()
    }

    /// What the log holds before `local`.
    pub(super) fn position(&mut self, local: u64) -> Result<Position, ReadError> {
        Ok(self.reader.position_at(local)?.into_iter().collect())
    }
}

fn unreadable(error: &ReadError) -> Unreadable {
    match *error {
        ReadError::Gone { first } => Unreadable::Gone { first },
        ReadError::Damaged { resume, .. } => Unreadable::Damaged { resume },
        _ => Unreadable::Failed,
    }
}

impl Source for LogSource {
    fn first(&self) -> u64 {
        self.reader.first()
    }

    fn position_at(&mut self, local: u64) -> Result<Position, Unreadable> {
        self.position(local).map_err(|error| unreadable(&error))
    }

    fn reading_for(&mut self, hub: HubId) {
        self.reading = hub;
    }

    fn read(&mut self, from: u64, upto: u64, each: &mut dyn FnMut(Stored<'_>) -> bool) -> Result<u64, Unreadable> {
        let mut next = from;
        let table = self.snapshot.as_ref().map(|snapshot| snapshot.load());
        let reading = self.reading;
        let may_have = |of| table.as_ref().is_none_or(|table| table.routes.may_be_at(reading, of));
        while next < upto {
            let before = next;
            let blocks = match self.reader.read(next, upto, PIECE) {
                Ok(blocks) => blocks,
                // What was read before it counts first.
                Err(_) if next > from => return Ok(next),
                Err(error) => return Err(unreadable(&error)),
            };
            for stored in blocks {
                let (block, (home, sequence)) = (stored.block(), stored.home());
                let given = Stored {
                    first: stored.first(),
                    next: stored.next(),
                    home,
                    sequence,
                    span: block.event_count(),
                    more: block.flags() & BATCH_OPEN != 0,
                    withheld: !may_have(block.residency()),
                    bytes: block.bytes(),
                };
                self.looked_at += 1;
                if !each(given) {
                    return Ok(next);
                }
                next = stored.next();
            }
            if next == before {
                break;
            }
        }
        Ok(next)
    }
}
