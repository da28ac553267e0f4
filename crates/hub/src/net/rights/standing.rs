//! Subscriptions and memberships, with the answers that they stand on: ended when
//! one of those becomes a refusal.

use std::sync::Arc;

use weft_base::SubscriptionId;
use weft_govern::access::{Action, Ask, Verdict};
use weft_wire::frame::ErrorCode;

use super::{Need, Rights, explain};
use crate::consume::ToConsume;
use crate::counters::add;
use crate::messages::{SessionId, Target, ToAppend, ToConductor};
use crate::net::NetStage;

/// What one subscription stands on.
pub(super) struct Standing {
    needs: Vec<Need>,
    replies: bool,
}

impl Standing {
    fn new(needs: Vec<Need>) -> Self {
        let mut standing = Self { needs, replies: false };
        standing.replies = standing.may_reply();
        standing
    }

    fn may_reply(&self) -> bool {
        self.needs.iter().any(|need| need.ask.action == Action::Reply && need.is_allowed())
    }
}

impl Rights {
    /// An answer has become another one. Answers the subscriptions that are over
    /// for it, with the question.
    pub(super) fn standing_turned(&mut self, ask: &Arc<Ask>, verdict: &Arc<Verdict>) -> Vec<(SubscriptionId, Need)> {
        let mut over = Vec::new();
        for (subscription, standing) in &mut self.standing {
            for need in &mut standing.needs {
                if need.take(ask, verdict) && need.required && !verdict.allowed {
                    over.push((*subscription, need.clone()));
                }
            }
            let may_reply = standing.may_reply();
            self.replies = self.replies + usize::from(may_reply) - usize::from(standing.replies);
            standing.replies = may_reply;
        }
        over
    }

    fn take_standing(&mut self, subscription: SubscriptionId) -> Option<Standing> {
        let standing = self.standing.remove(&subscription)?;
        self.replies -= usize::from(standing.replies);
        Some(standing)
    }
}

impl NetStage {
    /// Whether a session has a subscription of this number, here or elsewhere.
    pub(super) fn is_open(&mut self, id: SessionId, subscription: SubscriptionId) -> bool {
        self.connection(id).is_some_and(|connection| connection.egress.knows(subscription))
            || self.network.tunnels.near.serves(id, subscription)
    }

    /// A subscription was asked for and allowed: while it is there it stands on this.
    pub(super) fn stand(&mut self, id: SessionId, subscription: SubscriptionId, needs: Vec<Need>) {
        if !self.is_open(id, subscription) {
            return self.release(id, needs.into_iter().map(|need| need.ask).collect());
        }
        let most = self.options.limits.subscriptions_per_session;
        let Some(rights) = self.rights(id) else { return };
        if rights.standing.len() > most {
            // Those that were refused elsewhere later are left behind.
            let all: Vec<SubscriptionId> = rights.standing.keys().copied().collect();
            for one in all {
                if !self.is_open(id, one) {
                    self.forget_standing(id, one);
                }
            }
        }
        let Some(rights) = self.rights(id) else { return };
        let standing = Standing::new(needs);
        rights.replies += usize::from(standing.replies);
        let before = rights.take_standing(subscription);
        rights.standing.insert(subscription, standing);
        if let Some(before) = before {
            self.release(id, before.needs.into_iter().map(|need| need.ask).collect());
        }
    }

    /// A subscription is over.
    pub(in crate::net) fn forget_standing(&mut self, id: SessionId, subscription: SubscriptionId) {
        let Some(standing) = self.rights(id).and_then(|rights| rights.take_standing(subscription)) else { return };
        self.release(id, standing.needs.into_iter().map(|need| need.ask).collect());
    }

    /// A subscription is not allowed any more: it is ended, and the client is told
    /// why. The session goes on.
    pub(super) fn end_standing(&mut self, id: SessionId, subscription: SubscriptionId, need: &Need) {
        self.forget_standing(id, subscription);
        let counters = self.counters.clone();
        let target = Target { session: id, subscription };
        let was_elsewhere = self.leave_home(id, subscription);
        let Some(connection) = self.connection(id) else { return };
        if was_elsewhere {
            // The hub that served it is told.
        } else if connection.egress.leave(subscription, &counters) {
            self.out.consume.push(ToConsume::Close { target });
        } else {
            let is_stream = connection.egress.subscribers.is_stream(subscription);
            if !connection.egress.subscribers.unsubscribe(subscription, &counters) {
                return;
            }
            if is_stream {
                self.out.append.push(ToAppend::CloseSubscription { target });
            } else {
                self.out.conductor.push(ToConductor::Unsubscribe { target });
            }
        }
        add(&counters.govern.ended, 1);
        let detail = explain::need(need);
        tracing::info!(code = "subscription_denied", session = id.0, detail, "a subscription is not allowed any more");
        self.refuse(id, subscription.0, ErrorCode::DENIED, &detail);
    }
}
