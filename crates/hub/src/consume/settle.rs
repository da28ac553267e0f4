//! What members say, and what becomes of members.

use std::time::Duration;

use weft_stream::consumer::{MemberId, Refusal, SettleError, Settled, Verb};
use weft_wire::frame::{self, ErrorCode, Frame, Settle, SettleRange};

use super::entry::{Key, Member};
use super::{ConsumeStage, Open, Seat};
use crate::counters::{add, sub};
use crate::messages::{SessionId, Target, ToNet};

/// A member that did not ask is told of what it says wrongly no more often.
const TELL_EVERY: Duration = Duration::from_secs(1);

impl ConsumeStage {
    pub(super) fn on_open(&mut self, open: &Open) {
        let Open { target, stream, consumer, name, .. } = open;
        let key = match self.find(stream, consumer) {
            Ok(key) => key,
            Err((code, detail)) => return self.net.push(ToNet::MemberEnded { target: *target, code, detail }),
        };
        let id: MemberId = self.next_member;
        self.next_member += 1;
        let now = self.now;
        let Some(entry) = self.entry(key) else { return };
        match entry.consumer.join(id, name, now) {
            Ok(activated) => {
                entry.consumer.grant(id, open.credit_events, 0);
                entry.members.push(Member::new(id, *target, open.outflow.clone(), open.credit_bytes));
                let mut entry = self.entries.get_mut(key.place as usize).and_then(Option::as_mut);
                if let Some(entry) = &mut entry {
                    entry.tell(activated, &mut self.net);
                }
                add(&self.counters.members, 1);
                self.seats.insert(*target, Seat { key, member: id });
                self.sessions.entry(target.session).or_default().push(*target);
                self.touch(key);
            }
            Err(refusal) => {
                let code = if matches!(refusal, Refusal::Full { .. }) { ErrorCode::LIMIT } else { ErrorCode::IN_USE };
                self.net.push(ToNet::MemberEnded { target: *target, code, detail: refusal.to_string() });
            }
        }
    }

    pub(super) fn on_close(&mut self, target: Target) {
        let Some(Seat { key, member }) = self.seats.remove(&target) else { return };
        if let Some(targets) = self.sessions.get_mut(&target.session) {
            targets.retain(|known| *known != target);
            if targets.is_empty() {
                self.sessions.remove(&target.session);
            }
        }
        let now = self.now;
        if let Some(entry) = self.entries.get_mut(key.place as usize).and_then(Option::as_mut)
            && entry.serial == key.serial
        {
            entry.leave(member, now, &mut self.net);
            sub(&self.counters.members, 1);
        }
        self.touch(key);
    }

    pub(super) fn on_credit(&mut self, target: Target, events: u64, bytes: u64) {
        let Some(Seat { key, member }) = self.seats.get(&target).copied() else { return };
        let Some(entry) = self.entry(key) else { return };
        entry.consumer.grant(member, events, 0);
        if let Some(member) = entry.member(member) {
            member.bytes = member.bytes.saturating_add(bytes);
        }
        self.touch(key);
    }

    /// The net stage has written enough for more.
    pub(super) fn on_room(&mut self, session: SessionId) {
        let targets = self.sessions.get(&session).cloned().unwrap_or_default();
        for target in targets {
            if let Some(Seat { key, .. }) = self.seats.get(&target).copied() {
                self.touch(key);
            }
        }
    }

    pub(super) fn on_settle(&mut self, session: SessionId, frame: &[u8]) {
        // Decoded by the net stage before.
        let Ok(Frame::Settle(settle)) = Frame::decode(frame) else { return };
        let target = Target { session, subscription: settle.id };
        let Some(Seat { key, member }) = self.seats.get(&target).copied() else {
            add(&self.counters.consumer_unknown, events(&settle));
            if settle.request == 0 {
                // It crossed the member's end on its way, and nobody asked.
                return;
            }
            let detail = "this session consumes nothing under this number: consume first";
            return self.refuse_settle(session, &settle, ErrorCode::NO_SUBSCRIPTION, detail);
        };
        let now = self.now;
        let verb = match settle.verb {
            frame::Verb::Ack => Verb::Ack,
            frame::Verb::Nack => Verb::Nack { delay: Duration::from_millis(settle.delay_ms) },
            frame::Verb::Progress => Verb::Progress,
            frame::Verb::Term => Verb::Term { reason: settle.reason },
        };
        let (mut ranges, mut letters) = (std::mem::take(&mut self.ranges), std::mem::take(&mut self.letters));
        ranges.clear();
        join(settle.ranges, &mut ranges);
        let outcome =
            self.entry(key).map(|entry| entry.consumer.settle(member, settle.token, verb, &ranges, now, &mut letters));
        self.dead.add(key, &mut letters);
        (self.ranges, self.letters) = (ranges, letters);
        self.touch(key);
        match outcome {
            None => {}
            Some(Ok(settled)) if settled.again + settled.others + settled.unknown > 0 => {
                let wrong = settled.again + settled.others + settled.unknown;
                add(&self.counters.consumer_unknown, wrong);
                self.tell_wrong(key, member, session, &settle, &settled);
            }
            Some(Ok(_)) if settle.request == 0 => {}
            Some(Ok(_)) => self.positions.owe(session, settle.request),
            Some(Err(error)) => {
                let code = match error {
                    SettleError::Fenced { .. } | SettleError::NoMember { .. } => ErrorCode::FENCED,
                    _ => ErrorCode::LIMIT,
                };
                add(&self.counters.consumer_fenced, events(&settle));
                let detail = error.to_string();
                if settle.request != 0 || self.may_tell(key, member) {
                    self.refuse_settle(session, &settle, code, &detail);
                }
            }
        }
    }

    /// Some of what a member spoke of is not with it.
    fn tell_wrong(&mut self, key: Key, member: MemberId, session: SessionId, settle: &Settle<'_>, settled: &Settled) {
        if settle.request == 0 && !self.may_tell(key, member) {
            return;
        }
        let Settled { done, again, others, unknown } = settled;
        let detail = format!(
            "{done} events are settled; {again} were settled before, {others} are with others or wait to be handed out \
             again, {unknown} were never handed out: settle each once, in its ack wait"
        );
        self.refuse_settle(session, settle, ErrorCode::UNKNOWN_DELIVERY, &detail);
    }

    /// Whether a member is told what it did not ask for: seldom, so that it
    /// cannot make the hub talk without end.
    fn may_tell(&mut self, key: Key, member: MemberId) -> bool {
        let now = self.now.mono;
        let Some(member) = self.entry(key).and_then(|entry| entry.member(member)) else { return false };
        let may = member.told.is_none_or(|told| told + TELL_EVERY <= now);
        if may {
            member.told = Some(now);
        }
        may
    }

    fn refuse_settle(&mut self, session: SessionId, settle: &Settle<'_>, code: ErrorCode, detail: &str) {
        self.refuse(session, settle.request, code, detail);
    }
}

/// Ranges that follow each other are one: who settles event by event mostly
/// settles them in order.
fn join(ranges: &[SettleRange], out: &mut Vec<(u64, u32)>) {
    for range in ranges {
        if let Some((first, count)) = out.last_mut()
            && first.checked_add((*count).into()) == Some(range.first())
            && let Some(sum) = count.checked_add(range.count())
        {
            *count = sum;
        } else {
            out.push((range.first(), range.count()));
        }
    }
}

/// How many events a member speaks of.
fn events(settle: &Settle<'_>) -> u64 {
    settle.ranges.iter().map(|range| u64::from(range.count())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_follow_each_other_are_one_and_others_stay_as_they_are() {
        let of = |ranges: &[(u64, u32)]| {
            let ranges: Vec<_> = ranges.iter().map(|(first, count)| SettleRange::new(*first, *count)).collect();
            let mut out = Vec::new();
            join(&ranges, &mut out);
            out
        };
        assert_eq!(of(&[(1, 1), (2, 1), (3, 2), (9, 1)]), [(1, 4), (9, 1)]);
        assert_eq!(of(&[(3, 1), (2, 1), (2, 1)]), [(3, 1), (2, 1), (2, 1)], "twice is said twice");
        assert_eq!(of(&[(1, u32::MAX), (1 << 32, 1)]), [(1, u32::MAX), (1 << 32, 1)]);
    }
}
