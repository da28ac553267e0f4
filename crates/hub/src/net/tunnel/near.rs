//! The client's hub: which sessions have a tunnel to which home, what they wait
//! for there, and requests that several homes have to answer. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weft_base::{HubId, Mono, SubscriptionId};
use weft_stream::seat::{Id, Preference};
use weft_wire::frame::{self, ErrorCode, Frame};

use super::message::{Said, What};
use super::pipe::Pipe;
use super::sockets::Outgoing;
use crate::messages::SessionId;

/// This hub's end of a tunnel whose client is here.
pub(super) struct NearEnd {
    pub(super) session: SessionId,
    pub(super) home: HubId,
    pub(super) pipe: Pipe,
    /// The beginning of a frame.
    pub(super) partial: Vec<u8>,
    /// Requests of the client that are not answered.
    pub(super) requests: BTreeSet<u64>,
    /// Numbers of publishes that are not answered.
    pub(super) publishes: BTreeSet<u64>,
    /// Events that are bound to a label went through it.
    pub(super) confined: bool,
}

/// What a request to several homes comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sum {
    /// Done when all have done it.
    All,
    /// Done when none has the stream any more: homes tell each other too.
    Gone,
    /// What each of them reports.
    Reports,
}

/// A request that several homes have to answer.
pub(super) struct Fan {
    pub(super) sum: Sum,
    waits: BTreeSet<u64>,
    failed: Vec<(ErrorCode, String)>,
    reports: Vec<Vec<u8>>,
}

/// All of it.
#[derive(Default)]
pub(in crate::net) struct Near {
    pub(super) ends: BTreeMap<u64, NearEnd>,
    pub(super) by_session: BTreeMap<(SessionId, HubId), u64>,
    pub(super) by_subscription: BTreeMap<(SessionId, u64), u64>,
    fans: BTreeMap<(SessionId, u64), Fan>,
    /// At which homes consumers are to run.
    pub(in crate::net) preferences: Arc<BTreeMap<Id, Preference>>,
    /// What hubs call themselves.
    pub(super) names: BTreeMap<HubId, String>,
    pub(super) dirty: Vec<u64>,
    /// How often the tunnel of a session to a home was lost with publishes in it.
    rounds: BTreeMap<(SessionId, HubId), u32>,
    last: u64,
}

const LEAST: HubId = HubId(0);
const MOST: HubId = HubId(u64::MAX);

impl Near {
    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Whether a session has sent more than its homes take at present.
    pub(in crate::net) fn is_full(&self, session: SessionId) -> bool {
        if self.ends.is_empty() {
            return false;
        }
        let tunnels = self.by_session.range((session, LEAST)..=(session, MOST));
        tunnels.filter_map(|(_, tunnel)| self.ends.get(tunnel)).any(|end| end.pipe.room() == 0)
    }

    pub(super) fn name_of(&self, hub: HubId) -> String {
        self.names.get(&hub).cloned().unwrap_or_else(|| hub.to_string())
    }

    /// The tunnel of a session to a home; a new one is made when there is none,
    /// which the answer tells.
    pub(super) fn tunnel(&mut self, session: SessionId, home: HubId, window: usize, now: Mono) -> (u64, bool) {
        if let Some(tunnel) = self.by_session.get(&(session, home)) {
            return (*tunnel, false);
        }
        self.last += 1;
        let (partial, requests, publishes) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        let end =
            NearEnd { session, home, pipe: Pipe::new(window, now), partial, requests, publishes, confined: false };
        self.ends.insert(self.last, end);
        self.by_session.insert((session, home), self.last);
        (self.last, true)
    }

    /// Subscriptions of a session that are served elsewhere.
    pub(super) fn subscriptions(&self, session: SessionId) -> usize {
        self.by_subscription.range((session, 0)..=(session, u64::MAX)).count()
    }

    /// Whether a subscription of a session is served elsewhere.
    pub(in crate::net) fn serves(&self, session: SessionId, subscription: SubscriptionId) -> bool {
        self.by_subscription.contains_key(&(session, subscription.0))
    }

    /// The tunnels of a session.
    pub(super) fn of_session(&self, session: SessionId) -> Vec<u64> {
        self.by_session.range((session, LEAST)..=(session, MOST)).map(|(_, tunnel)| *tunnel).collect()
    }

    /// The tunnels to a home.
    pub(super) fn to_home(&self, home: HubId) -> Vec<u64> {
        self.ends.iter().filter(|(_, end)| end.home == home).map(|(tunnel, _)| *tunnel).collect()
    }

    /// Forgets a tunnel. Answers its end, and the requests and subscriptions
    /// that nobody serves now.
    pub(super) fn forget(&mut self, tunnel: u64) -> Option<(NearEnd, Vec<u64>)> {
        let end = self.ends.remove(&tunnel)?;
        self.by_session.remove(&(end.session, end.home));
        let of_session = self.by_subscription.range((end.session, 0)..=(end.session, u64::MAX));
        let gone: Vec<u64> = of_session.filter(|(_, by)| **by == tunnel).map(|((_, id), _)| *id).collect();
        for id in &gone {
            self.by_subscription.remove(&(end.session, *id));
        }
        let asked = end.requests.iter().copied().chain(gone).collect();
        Some((end, asked))
    }

    /// How often the tunnel of a session to a home was lost with publishes in it.
    pub(super) fn round(&self, session: SessionId, home: HubId) -> u32 {
        self.rounds.get(&(session, home)).copied().unwrap_or_default()
    }

    /// It was lost once more. Answers how often by now.
    pub(super) fn next_round(&mut self, session: SessionId, home: HubId) -> u32 {
        let round = self.rounds.entry((session, home)).or_default();
        *round = round.wrapping_add(1);
        *round
    }

    /// The session is over. Answers whether it ever lost publishes.
    pub(super) fn forget_rounds(&mut self, session: SessionId) -> bool {
        let before = self.rounds.len();
        self.rounds.retain(|(of, _), _| *of != session);
        self.rounds.len() < before
    }

    /// The session is over.
    pub(super) fn forget_fans(&mut self, session: SessionId) {
        let keys: Vec<_> = self.fans.range((session, 0)..=(session, u64::MAX)).map(|(key, _)| *key).collect();
        for key in keys {
            self.fans.remove(&key);
        }
    }

    /// Whether a request of this number is under way at several homes.
    pub(super) fn has_fan(&self, session: SessionId, request: u64) -> bool {
        self.fans.contains_key(&(session, request))
    }

    /// A request goes to the homes behind these tunnels; some have failed already.
    pub(super) fn fan_out(
        &mut self,
        (session, request): (SessionId, u64),
        sum: Sum,
        waits: BTreeSet<u64>,
        failed: Vec<(ErrorCode, String)>,
    ) {
        self.fans.insert((session, request), Fan { sum, waits, failed, reports: Vec::new() });
    }

    /// A home has answered a request, by these bytes of a frame. Answers whether
    /// that is one that several have to answer.
    pub(super) fn answered(&mut self, session: SessionId, tunnel: u64, answer: &Frame<'_>, bytes: &[u8]) -> bool {
        let Some(request) = request_of(answer) else { return false };
        let name = self.ends.get(&tunnel).map(|end| self.name_of(end.home)).unwrap_or_default();
        let Some(fan) = self.fans.get_mut(&(session, request)) else { return false };
        if !fan.waits.remove(&tunnel) {
            return false;
        }
        match answer {
            Frame::Error(error) if fan.sum == Sum::Gone && error.code == ErrorCode::NO_STREAM => {}
            Frame::Error(error) => fan.failed.push((error.code, format!("{name}: {}", error.detail))),
            Frame::StreamReports(_) => fan.reports.push(bytes.to_vec()),
            _ => {}
        }
        true
    }

    /// The tunnel is gone: its home does not answer.
    pub(super) fn unanswered(&mut self, tunnel: u64, name: &str) {
        for fan in self.fans.values_mut() {
            if fan.waits.remove(&tunnel) {
                fan.failed.push((ErrorCode::UNREACHABLE, format!("{name}: it did not answer")));
            }
        }
    }

    /// The answers that are whole now, by session.
    pub(super) fn take_answers(&mut self) -> Vec<(SessionId, Vec<u8>)> {
        let whole: Vec<_> = self.fans.iter().filter(|(_, fan)| fan.waits.is_empty()).map(|(key, _)| *key).collect();
        let answer = |(session, request): (SessionId, u64)| {
            let fan = self.fans.remove(&(session, request))?;
            Some((session, fan.answer(request)))
        };
        whole.into_iter().filter_map(answer).collect()
    }

    /// Puts what the clients sent into messages.
    pub(super) fn pump(&mut self, now: Mono, out: &mut Vec<Outgoing>) {
        for tunnel in std::mem::take(&mut self.dirty) {
            let Some(end) = self.ends.get_mut(&tunnel) else { continue };
            while let Some((at, bytes)) = end.pipe.next(now) {
                let bytes = Said { by_home: false, tunnel, what: What::Data { at, bytes: &bytes } }.encode();
                out.push(Outgoing { to: end.home, confined: end.confined, bytes });
            }
            if end.pipe.owes_word() {
                out.push(end.word(tunnel, now));
            }
        }
    }
}

impl NearEnd {
    /// How far the end is.
    pub(super) fn word(&mut self, tunnel: u64, now: Mono) -> Outgoing {
        let (taken, sent) = self.pipe.word(now);
        let bytes = Said { by_home: false, tunnel, what: What::Word { taken, sent } }.encode();
        Outgoing { to: self.home, confined: false, bytes }
    }
}

impl Fan {
    fn answer(&self, request: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        let reports = self.reports.iter().filter_map(|bytes| match Frame::decode(bytes) {
            Ok(Frame::StreamReports(reports)) => Some(reports.reports),
            _ => None,
        });
        let mut reports: Vec<_> = reports.flatten().collect();
        reports.sort_by(|a, b| (a.spec.name, a.home).cmp(&(b.spec.name, b.home)));
        match (self.sum, self.failed.first()) {
            (Sum::Reports, _) => {
                let whole = Frame::StreamReports(frame::StreamReports { request, reports });
                if let Err(error) = frame::try_encode(&whole, &mut bytes) {
                    bytes.clear();
                    let detail = format!("{error}: ask for one stream by its name");
                    refusal(request, ErrorCode::LIMIT, 0, &detail, &mut bytes);
                }
            }
            (Sum::All | Sum::Gone, None) => frame::encode(&Frame::Done(frame::Done { request }), &mut bytes),
            (Sum::All | Sum::Gone, Some((code, _))) => {
                let each: Vec<&str> = self.failed.iter().map(|(_, detail)| detail.as_str()).collect();
                let detail = format!("not at every home, ask again to complete it: {}", each.join("; "));
                refusal(request, *code, 1_000, &detail, &mut bytes);
            }
        }
        bytes
    }
}

/// Encodes a refusal.
pub(super) fn refusal(request: u64, code: ErrorCode, retry_after_ms: u32, detail: &str, out: &mut Vec<u8>) {
    frame::encode(&Frame::Error(frame::ErrorFrame { request, code, retry_after_ms, detail }), out);
}

/// The request that a hub's frame answers.
pub(super) fn request_of(frame: &Frame<'_>) -> Option<u64> {
    match frame {
        Frame::Done(done) => Some(done.request),
        Frame::Ack(ack) => Some(ack.request),
        Frame::Error(error) => Some(error.request),
        Frame::StreamReports(reports) => Some(reports.request),
        Frame::ConsumerReports(reports) => Some(reports.request),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(request: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame::encode(&Frame::Done(frame::Done { request }), &mut bytes);
        bytes
    }

    fn hear(near: &mut Near, tunnel: u64, bytes: &[u8]) -> bool {
        near.answered(SessionId(1), tunnel, &Frame::decode(bytes).expect("a frame"), bytes)
    }

    #[test]
    fn a_request_to_several_homes_is_answered_once_all_have_and_says_who_has_not() {
        let mut near = Near::default();
        for (hub, name) in [(7, "a"), (8, "b")] {
            near.names.insert(HubId(hub), name.to_owned());
            near.tunnel(SessionId(1), HubId(hub), 1, Mono(1));
        }
        near.fan_out((SessionId(1), 5), Sum::All, [1, 2].into(), Vec::new());
        assert!(hear(&mut near, 1, &done(5)));
        assert!(!hear(&mut near, 1, &done(5)), "each home answers once");
        assert!(near.take_answers().is_empty());
        assert!(hear(&mut near, 2, &done(5)));
        assert_eq!(near.take_answers(), [(SessionId(1), done(5))]);
        near.fan_out((SessionId(1), 6), Sum::All, [1, 2].into(), Vec::new());
        hear(&mut near, 1, &done(6));
        near.unanswered(2, "b");
        let answers = near.take_answers();
        let Ok(Frame::Error(error)) = Frame::decode(&answers[0].1) else { panic!("not a refusal") };
        assert_eq!(error.code, ErrorCode::UNREACHABLE);
        assert!(error.detail.contains("b: it did not answer") && error.detail.contains("again"), "{}", error.detail);
    }

    #[test]
    fn what_a_tunnel_served_is_known_when_it_ends() {
        let mut near = Near::default();
        let (tunnel, fresh) = near.tunnel(SessionId(1), HubId(7), 1, Mono(1));
        assert!(fresh && !near.tunnel(SessionId(1), HubId(7), 1, Mono(1)).1);
        let (other, _) = near.tunnel(SessionId(1), HubId(8), 1, Mono(1));
        near.by_subscription.insert((SessionId(1), 3), tunnel);
        near.by_subscription.insert((SessionId(1), 4), other);
        near.ends.get_mut(&tunnel).expect("it is there").requests.insert(9);
        assert_eq!((near.subscriptions(SessionId(1)), near.to_home(HubId(7))), (2, vec![tunnel]));
        assert_eq!(near.forget(tunnel).map(|(_, asked)| asked), Some(vec![9, 3]));
        assert_eq!(near.of_session(SessionId(1)), [other]);
    }
}
