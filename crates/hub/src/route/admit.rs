//! Admission: what a client publishes is checked, stamped and sent on its way.

use weft_base::ProducerId;
use weft_mesh::ledger::DropReason;
use weft_ring::arena::BlockMut;
use weft_topic::Topic;
use weft_wire::block::{self, Block, Stamp};
use weft_wire::frame::{AckLevel, ErrorCode};

use super::RouteStage;
use crate::counters::add;
use crate::messages::{Completion, Request, SessionId, ToNet};
use crate::producers::Place;

/// What admission reads from a block, so that the block can be stamped.
struct Facts {
    producer: ProducerId,
    lane: weft_base::Lane,
    first: u64,
    count: u32,
    late: bool,
}

impl RouteStage {
    /// A block from a client of this hub.
    pub(super) fn publish(&mut self, session: SessionId, id: u64, level: AckLevel, mut block: BlockMut) {
        let facts = match Block::validate(&block) {
            Ok(parsed) if parsed.stamp().is_some() => {
                let detail = "a publisher must leave the hub's line of a block zero".to_owned();
                return self.close(session, ErrorCode::BAD_BLOCK, detail);
            }
            Ok(parsed) => Facts {
                producer: parsed.producer(),
                lane: parsed.lane(),
                first: parsed.first_sequence(),
                count: parsed.event_count(),
                late: parsed.deadline().0 != 0 && parsed.deadline() < self.now.wall,
            },
            Err(error) => return self.close(session, ErrorCode::BAD_BLOCK, error.to_string()),
        };
        let route = match Topic::parse(Block::trusted(&block).topic()) {
            Ok(topic) => self.cache.route(&self.table, topic),
            Err(error) => return self.refuse(session, id, level, ErrorCode::BAD_TOPIC, error.to_string()),
        };
        let place = self.producers.place(facts.producer, facts.lane, facts.first, facts.count);
        if place == Place::Overlap {
            let detail =
                "some events of the block were published before, in another block: send blocks again as they were";
            return self.refuse(session, id, level, ErrorCode::OVERLAP, detail.to_owned());
        }
        let events = u64::from(facts.count);
        if facts.late {
            add(&self.counters.published, events);
            add(&self.counters.copies, events);
            self.counters.drop_copies(DropReason::Expired, events);
            return self.refuse(session, id, level, ErrorCode::EXPIRED, "the block's deadline has passed".to_owned());
        }
        let elsewhere = route.remote.iter().filter(|remote| remote.stream);
        let parts = elsewhere.clone().count() as u32 + u32::from(!route.streams.is_empty());
        if level >= AckLevel::Written {
            if parts == 0 {
                let topic = Block::trusted(&block).topic();
                let detail = format!("no stream captures `{topic}`: make one with `weft stream create`");
                return self.refuse(session, id, level, ErrorCode::NO_STREAM, detail);
            }
            if let Some(full) = elsewhere.clone().find(|remote| self.flows.is_full((remote.hub, facts.lane))) {
                let why = if self.is_reachable(full.hub) { "is behind" } else { "cannot be reached" };
                let detail = format!("the hub that keeps the stream {why}: publish again in a while");
                self.net.push(ToNet::Refused {
                    session,
                    id,
                    code: ErrorCode::OVERLOADED,
                    retry_after_ms: 1_000,
                    detail,
                });
                return;
            }
        }

        let duplicate = place == Place::Duplicate;
        let sequence = self.next_sequence;
        let stamp = Stamp {
            origin: self.identity.id,
            epoch: self.identity.epoch,
            block: self.next_block,
            sequence,
            ingested: self.now.wall,
        };
        if let Err(error) = block::stamp(&mut block, &stamp) {
            return self.close(session, ErrorCode::BAD_BLOCK, error.to_string());
        }
        self.next_block += 1;
        self.next_sequence += events;
        let block = block.freeze();
        let request = Request { session, id, level, sequence, duplicate };

        // Before anything that may be acknowledged: the answers come by other ways.
        if level >= AckLevel::Written && parts > 1 {
            self.net.push(ToNet::Expect { session, id, parts });
        }
        let awaited = (level >= AckLevel::Written).then_some(request);
        if duplicate {
            // Subscribers have it; streams may not, and know by themselves.
            add(&self.counters.producer_duplicates, 1);
        } else {
            self.producers.note(facts.producer, facts.lane, facts.first, facts.count);
            add(&self.counters.published, events);
        }
        let mut copies = 0;
        if !duplicate {
            copies += self.deliver_locally(&route, &block, events, 0);
        }
        copies += self.store_locally(&route, &block, events, awaited.map_or(Completion::None, Completion::Client));
        copies += self.send_remote(&route, &block, events, awaited, !duplicate);
        if !duplicate {
            self.count_if_unwanted(copies, events);
        }
        if level == AckLevel::Routed {
            self.net.push(ToNet::Acked(request));
        }
    }
}
