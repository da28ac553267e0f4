//! Receipts: which client waits for which, and what it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use weft_base::HubId;
use weft_mesh::{Event, LiveAt, LiveState, ReceiptLine};
use weft_topic::Topic;
use weft_wire::frame::{self, ErrorCode, Frame, LiveLine, LiveReport, LiveScope};

use super::{Answer, Conductor};
use crate::messages::{LiveAsked, SessionId, Target};

/// The longest that anybody waits for a receipt.
const LONGEST: Duration = Duration::from_secs(3_600);

/// Receipts that clients wait for: at most `limits.receipts`.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    last: u64,
    /// The subscription and the request, by the receipt's number.
    open: BTreeMap<u64, (Target, u64)>,
    by_target: BTreeSet<(Target, u64)>,
}

impl Receipts {
    fn take(&mut self, receipt: u64) -> Option<(Target, u64)> {
        let (target, request) = self.open.remove(&receipt)?;
        self.by_target.remove(&(target, receipt));
        Some((target, request))
    }
}

impl Conductor {
    /// A client wants to know where its subscription is live.
    pub(super) fn live_ask(&mut self, asked: LiveAsked) {
        if asked.subscription.0 == 0 {
            return self.who_wants(&asked);
        }
        let (session, request) = (asked.session, asked.request);
        let target = Target { session, subscription: asked.subscription };
        if !self.subscriptions.contains_key(&target) {
            let detail = "there is no such live subscription in this session: a stream's needs no receipt";
            return self.refuse_live(session, request, ErrorCode::NO_SUBSCRIPTION, detail);
        }
        let most = self.options.limits.receipts;
        if self.receipts.open.len() >= most {
            let detail = format!("{most} receipts are waited for, the hub's limit (limits.receipts)");
            return self.refuse_live(session, request, ErrorCode::RECEIPTS, &detail);
        }
        let at = match asked.scope {
            LiveScope::Here => LiveAt::Named(vec![self.identity.name.clone()]),
            LiveScope::Count => LiveAt::Count(asked.count as usize),
            LiveScope::All => LiveAt::All,
            LiveScope::Named => LiveAt::Named(asked.hubs),
        };
        self.receipts.last += 1;
        let receipt = self.receipts.last;
        self.receipts.open.insert(receipt, (target, request));
        self.receipts.by_target.insert((target, receipt));
        let until = self.now.mono + asked.timeout.min(LONGEST);
        self.apply(Event::Receipt { receipt, at, until });
    }

    /// The mesh says where it is live: told once the routes here are published too.
    pub(super) fn receipt_given(&mut self, receipt: u64, met: bool, hubs: &[ReceiptLine]) {
        let Some((target, request)) = self.receipts.take(receipt) else { return };
        let line = |line: &ReceiptLine| (line.name.clone(), line.epoch, line.state);
        let lines: Vec<_> = hubs.iter().map(line).collect();
        self.report_live(target.session, request, met, &lines);
    }

    /// A subscription has ended.
    pub(super) fn receipts_end(&mut self, target: Target) {
        let of_target = self.receipts.by_target.range((target, 0)..=(target, u64::MAX));
        let receipts: Vec<u64> = of_target.map(|(_, receipt)| *receipt).collect();
        for receipt in receipts {
            self.apply(Event::ReceiptGone { receipt });
            if let Some((target, request)) = self.receipts.take(receipt) {
                let detail = "the subscription ended before it was live";
                self.refuse_live(target.session, request, ErrorCode::NO_SUBSCRIPTION, detail);
            }
        }
    }

    /// A session has ended: nobody is there to be told.
    pub(super) fn receipts_of_session_end(&mut self, session: SessionId) {
        let of_session = self.receipts.by_target.iter().filter(|(target, _)| target.session == session);
        let receipts: Vec<u64> = of_session.map(|(_, receipt)| *receipt).collect();
        for receipt in receipts {
            self.apply(Event::ReceiptGone { receipt });
            self.receipts.take(receipt);
        }
    }

    /// A publisher wants to know which hubs want a topic, by the routes that its
    /// blocks go by.
    fn who_wants(&mut self, asked: &LiveAsked) {
        let topic = match Topic::parse(&asked.topic) {
            Ok(topic) => self.table.mapping.mostly(topic),
            Err(error) => {
                return self.refuse_live(asked.session, asked.request, ErrorCode::BAD_TOPIC, &error.to_string());
            }
        };
        let Some(topic) = topic.as_deref().and_then(|topic| Topic::parse(topic).ok()) else {
            let detail = "a rule of the hub's mapping drops or refuses all of this topic";
            return self.refuse_live(asked.session, asked.request, ErrorCode::UNMAPPABLE, detail);
        };
        let routes = self.mesh.routes();
        let mut wanting: BTreeMap<HubId, bool> = BTreeMap::new();
        routes.destinations(topic, |hub, _, is_near| _ = wanting.insert(hub, is_near));
        routes.groups(topic, |_, at| _ = wanting.insert(at.hub, at.cost.is_some()));
        let here = &self.table;
        if here.local.matches_any(topic) || here.members.matches_any(topic) || here.streams.matches_any(topic) {
            wanting.insert(self.identity.id, true);
        }
        let state = |hub: HubId| match wanting.get(&hub) {
            Some(true) => LiveState::Live,
            Some(false) => LiveState::OutOfReach,
            None => LiveState::NoInterest,
        };
        let line = |hub: HubId, name: String| (name, routes.epoch(hub).unwrap_or_default(), state(hub));
        let lines: Vec<_> = match asked.scope {
            LiveScope::Named => asked.hubs.iter().map(|name| line(HubId::of_name(name), name.clone())).collect(),
            LiveScope::Here => vec![line(self.identity.id, self.identity.name.clone())],
            _ => wanting.keys().map(|hub| line(*hub, self.name_of_hub(*hub))).collect(),
        };
        let live = lines.iter().filter(|(_, _, state)| *state == LiveState::Live).count();
        let met = match asked.scope {
            LiveScope::Count => live >= asked.count as usize,
            _ => live > 0 && live == lines.len(),
        };
        self.report_live(asked.session, asked.request, met, &lines);
    }

    fn report_live(
        &mut self,
        session: SessionId,
        request: u64,
        met: bool,
        lines: &[(String, weft_base::Epoch, LiveState)],
    ) {
        let hubs = lines.iter().map(|(name, epoch, state)| LiveLine { name, epoch: *epoch, state: *state }).collect();
        let mut bytes = Vec::new();
        frame::encode(&Frame::LiveReport(LiveReport { request, met, hubs }), &mut bytes);
        self.answers.push(Answer::Live(session, bytes));
    }

    /// In order with other answers: a refusal does not overtake what it follows.
    fn refuse_live(&mut self, session: SessionId, request: u64, code: ErrorCode, detail: &str) {
        let mut bytes = Vec::new();
        let error = frame::ErrorFrame { request, code, retry_after_ms: 0, detail };
        frame::encode(&Frame::Error(error), &mut bytes);
        self.answers.push(Answer::Live(session, bytes));
    }
}
