//! Publishes that only a home can take in, away from the home: conditions,
//! batches, and levels of several homes.
//!
//! They cannot go by a guaranteed flow, which is acknowledged and refused
//! cumulatively. So they go to the home through the session's tunnel, one for
//! one, and are answered there. This stage keeps them until the answer: a tunnel
//! that is lost costs nothing but time, they are sent again, in order, to the
//! same home, which knows its producers' sequences. To another home they never
//! go: it could not tell whether the first one has them.
//!
//! A stream takes a block for a duplicate when it has a later one of the same
//! producer and lane. So that no block is overtaken on its way, by the other way:
//! one of these waits until no flow holds a block of its producer and lane, and
//! ordinary blocks wait until all of these are answered. An answer is final; only
//! what has none is sent again.

use std::collections::BTreeMap;
use std::time::Duration;

use weft_base::{HubId, Lane, Mono, ProducerId};
use weft_mesh::ledger::DropReason;
use weft_ring::arena::BlockRef;
use weft_wire::block::Block;
use weft_wire::frame::{self, AckLevel, ErrorCode};

use super::RouteStage;
use super::admit::Wait;
use crate::counters::sub;
use crate::messages::{FarPublish, FarSaid, Publish, SessionId, ToNet};

/// How often what waits is looked at again, whatever happens.
const AGAIN: Duration = Duration::from_millis(100);
/// Their numbers in the tunnel begin here: requests of clients count from 1.
const FIRST: u64 = 1 << 63;

/// A publish that a home has not answered.
struct Sent {
    id: u64,
    level: AckLevel,
    homes: u8,
    home: HubId,
    producer: ProducerId,
    lane: Lane,
    block: BlockRef,
    /// When it was let in, and when it was sent last.
    since: Mono,
    sent: Mono,
    /// In which round it was sent; none while it is not under way.
    round: Option<u32>,
    /// Since when it could not be brought to its home.
    lost: Mono,
}

/// All that is away.
pub(super) struct Away {
    sent: BTreeMap<(SessionId, u64), Sent>,
    last: u64,
    most: usize,
    /// How often the tunnel of a session to a home was lost.
    rounds: BTreeMap<(SessionId, HubId), u32>,
    /// Grows whenever what waits may perhaps go on.
    pub(super) progress: u64,
    /// When to look again.
    again: Option<Mono>,
}

impl Away {
    /// Nothing, with room for so many.
    pub(super) fn new(most: usize) -> Self {
        let (sent, rounds) = (BTreeMap::new(), BTreeMap::new());
        Self { sent, last: FIRST, most: most.max(1), rounds, progress: 0, again: None }
    }

    fn of(&self, session: SessionId) -> impl Iterator<Item = &Sent> {
        self.sent.range((session, 0)..=(session, u64::MAX)).map(|(_, sent)| sent)
    }

    /// Whether a block of a session may be let in behind those that are away:
    /// one for a home behind those that are under way there, an ordinary one
    /// when there is none.
    pub(super) fn may_follow(&self, session: SessionId, producer: ProducerId, lane: Lane, home: Option<HubId>) -> bool {
        let mut before = self.of(session).filter(|sent| (sent.producer, sent.lane) == (producer, lane));
        before.all(|sent| sent.round.is_some() && Some(sent.home) == home)
    }

    /// The home that a session waits for longest, and since when.
    pub(super) fn awaited(&self, session: SessionId) -> Option<(HubId, Mono)> {
        self.of(session).map(|sent| (sent.home, sent.since)).next()
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.again
    }

    fn look_again(&mut self, now: Mono) {
        self.again.get_or_insert(now + AGAIN);
    }
}

impl RouteStage {
    /// Something has to wait for what is away, for what the flows hold, or for a stream.
    pub(super) fn wait_for_answers(&mut self) -> Wait {
        self.away.look_again(self.now.mono);
        Wait::Answers(self.away.progress)
    }

    /// Something has to wait for word of what there is elsewhere.
    pub(super) fn wait_for_word(&mut self) -> Wait {
        self.away.look_again(self.now.mono);
        Wait::Word(self.away.progress)
    }

    /// Sends a publish to the home that it is for; hands it back while it has to wait.
    pub(super) fn send_away(&mut self, publish: Publish, home: HubId) -> Result<(), (Publish, Wait)> {
        let parsed = Block::trusted(&publish.block);
        let (producer, lane, events) = (parsed.producer(), parsed.lane(), u64::from(parsed.event_count()));
        if !self.away.may_follow(publish.session, producer, lane, Some(home)) || self.flows.holds(producer, lane) {
            return Err((publish, self.wait_for_answers()));
        }
        let Publish { session, id, level, homes, block, .. } = publish;
        if self.away.sent.len() >= self.away.most {
            if level == AckLevel::None {
                let account = self.counters.account(&block);
                account.published(events);
                account.copies(events);
                account.drop(DropReason::FlowFull, events);
                return Ok(());
            }
            let detail = "too many publishes wait for the homes of their streams: publish again in a while".to_owned();
            self.net.push(ToNet::Refused { session, id, code: ErrorCode::OVERLOADED, retry_after_ms: 1_000, detail });
            return Ok(());
        }
        self.away.last += 1;
        let (number, now, block) = (self.away.last, self.now.mono, block.freeze());
        let sent =
            Sent { id, level, homes, home, producer, lane, block, since: now, sent: now, round: None, lost: now };
        self.away.sent.insert((session, number), sent);
        self.bring(session, number);
        Ok(())
    }

    /// Gives a publish to the tunnel, if its home can be reached.
    fn bring(&mut self, session: SessionId, number: u64) {
        let now = self.now.mono;
        let Some(sent) = self.away.sent.get_mut(&(session, number)) else { return };
        let residency = Block::trusted(&sent.block).residency();
        if self.table.ways(residency).next_hop(sent.home).is_none() {
            return self.away.look_again(now);
        }
        let round = self.away.rounds.get(&(session, sent.home)).copied().unwrap_or_default();
        (sent.round, sent.sent) = (Some(round), now);
        // Its answer says what became of it, so it is asked for in any case.
        let level = sent.level.max(AckLevel::Written);
        let (home, homes, block) = (sent.home, sent.homes, sent.block.clone());
        let far = FarPublish { session, home, round, number, level, homes, block };
        self.net.push(ToNet::Far(Box::new(far)));
    }

    /// What the net stage says of publishes that are away.
    pub(super) fn far_said(&mut self, said: FarSaid) {
        self.away.progress += 1;
        match said {
            FarSaid::Answered { session, number, answer } => {
                let Some(sent) = self.away.sent.remove(&(session, number)) else { return };
                match *answer {
                    Ok(ack) if sent.level != AckLevel::None => {
                        let ack = Box::new(frame::Ack { request: sent.id, ..ack });
                        self.net.push(ToNet::FarAcked { session, ack });
                    }
                    Err((code, retry_after_ms, detail)) if sent.level != AckLevel::None => {
                        self.net.push(ToNet::Refused { session, id: sent.id, code, retry_after_ms, detail });
                    }
                    _ => {}
                }
            }
            FarSaid::Lost { session, home, round } => {
                self.away.rounds.insert((session, home), round);
                let (now, patience) = (self.now.mono, self.patience);
                for (_, sent) in self.away.sent.range_mut((session, 0)..=(session, u64::MAX)) {
                    if sent.home == home && sent.round.is_some_and(|of| of < round) {
                        sent.round = None;
                        // Lost again and again is lost since the first time.
                        if sent.lost == sent.since || now.since(sent.sent) >= patience {
                            sent.lost = now;
                        }
                    }
                }
                self.away.look_again(now);
            }
            FarSaid::Gone { session } => self.forget_away(session),
        }
    }

    /// A session is over. Its client publishes what has no answer again, by another
    /// one; what is held here of it must not come before that.
    fn forget_away(&mut self, session: SessionId) {
        self.away.sent.retain(|(of, _), _| *of != session);
        self.away.rounds.retain(|(of, _), _| *of != session);
        self.untold.remove(&session);
        while let Some((held, freed)) = self.held.pop(session) {
            self.drop_of_gone(&held.publish);
            if freed.last {
                sub(&self.counters.held_publishers, 1);
                self.waits_no_more(session);
            }
        }
    }

    fn drop_of_gone(&self, publish: &Publish) {
        if publish.level == AckLevel::None {
            let events = u64::from(Block::trusted(&publish.block).event_count());
            // It may not have been checked.
            let account = self.counters.account_of_none();
            account.published(events);
            account.copies(events);
            account.drop(DropReason::SessionClosed, events);
        }
    }

    /// Sends what was lost again, or gives it up; lets what waits be looked at.
    pub(super) fn retry_away(&mut self) -> usize {
        let now = self.now.mono;
        if self.away.again.is_none_or(|at| at > now) {
            return 0;
        }
        self.away.again = None;
        self.away.progress += 1;
        let lost: Vec<_> = self.away.sent.iter().filter(|(_, s)| s.round.is_none()).map(|(key, _)| *key).collect();
        for (session, number) in &lost {
            let is_over = |sent: &Sent| now.since(sent.lost) >= self.patience;
            if !self.away.sent.get(&(*session, *number)).is_some_and(is_over) {
                self.bring(*session, *number);
                continue;
            }
            let Some(sent) = self.away.sent.remove(&(*session, *number)) else { continue };
            let detail = format!(
                "the stream's home {} cannot be reached, and whether it has taken the block is not known",
                self.flows.name_of(sent.home)
            );
            let (session, id, code) = (*session, sent.id, ErrorCode::UNREACHABLE);
            if sent.level != AckLevel::None {
                self.net.push(ToNet::Refused { session, id, code, retry_after_ms: 1_000, detail });
            }
        }
        1
    }
}

#[cfg(test)]
mod tests {
    use weft_ring::arena::{Arena, ArenaOptions};

    use super::*;

    const ME: SessionId = SessionId(1);
    const HOME: HubId = HubId(7);

    fn away(home: HubId, round: Option<u32>) -> Away {
        let mut away = Away::new(4);
        let arena = Arena::new(ArenaOptions::default()).expect("memory");
        let (block, now) = (arena.lend(64).expect("room").split_to(0).freeze(), Mono(1));
        let (id, level, homes, producer, lane) = (1, AckLevel::Synced, 0, ProducerId(5), Lane::DEFAULT);
        let sent = Sent { id, level, homes, home, producer, lane, block, since: now, sent: now, round, lost: now };
        away.sent.insert((ME, FIRST), sent);
        away
    }

    #[test]
    fn what_is_away_is_followed_by_what_goes_the_same_way_and_by_nothing_else() {
        let under_way = away(HOME, Some(0));
        let follows =
            |session, producer, home| under_way.may_follow(session, ProducerId(producer), Lane::DEFAULT, home);
        assert!(follows(ME, 5, Some(HOME)));
        assert!(!follows(ME, 5, Some(HubId(8))), "the other home could have it first");
        assert!(!follows(ME, 5, None), "the flow could be faster");
        assert!(follows(ME, 6, None) && follows(SessionId(2), 5, None), "of somebody else");
        assert!(under_way.may_follow(ME, ProducerId(5), Lane::URGENT, None), "lanes are apart");
        let lost = away(HOME, None);
        assert!(!lost.may_follow(ME, ProducerId(5), Lane::DEFAULT, Some(HOME)), "it would come before it");
    }
}
