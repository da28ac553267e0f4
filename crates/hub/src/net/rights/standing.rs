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

/// Questions that one number of a subscription may stand on.
const MOST_NEEDS: usize = 64;

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

    /// How many subscriptions it has.
    pub(in crate::net) fn subscriptions(&self) -> u64 {
        self.standing.len() as u64
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

    /// Whether a number cannot be used for another subscription. One that is served
    /// elsewhere may be asked for again there, because this hub does not hear of it
    /// when it was refused.
    pub(super) fn is_taken(&mut self, id: SessionId, subscription: SubscriptionId, is_live: bool) -> bool {
        self.connection(id).is_some_and(|connection| connection.egress.knows(subscription))
            || (is_live && self.network.tunnels.near.serves(id, subscription))
    }

    /// A subscription is asked for and allowed: while it is there it stands on this,
    /// and on what another of its number stood on. Answers whether that is not too
    /// much.
    pub(super) fn stand(&mut self, id: SessionId, subscription: SubscriptionId, needs: Vec<Need>) -> bool {
        let most = self.options.limits.subscriptions_per_session;
        if self.rights(id).is_some_and(|rights| rights.standing.len() > most) {
            self.drop_left_behind(id);
        }
        let Some(rights) = self.rights(id) else { return false };
        let before = rights.take_standing(subscription);
        let is_new = before.is_none();
        let mut all = before.map(|standing| standing.needs).unwrap_or_default();
        let mut gone = Vec::new();
        for need in needs {
            let known = all.iter().position(|known| known.ask == need.ask);
            if let Some(known) = known.and_then(|at| all.get_mut(at)) {
                known.required |= need.required;
                known.verdict = need.verdict;
                gone.push(need.ask);
            } else if all.len() < MOST_NEEDS {
                all.push(need);
            } else {
                gone.push(need.ask);
            }
        }
        let fits = all.len() < MOST_NEEDS;
        let standing = Standing::new(all);
        rights.replies += usize::from(standing.replies);
        rights.standing.insert(subscription, standing);
        self.release(id, gone);
        if is_new {
            self.meter_subscriptions(id, 1, 0);
        }
        fits
    }

    /// A subscription may be over: if it is, nothing stands for it any more.
    pub(in crate::net) fn closed_standing(&mut self, id: SessionId, subscription: SubscriptionId) {
        if !self.is_open(id, subscription) {
            self.forget_standing(id, subscription);
        }
    }

    /// Subscriptions that other hubs refused are left behind: forgets them.
    fn drop_left_behind(&mut self, id: SessionId) {
        let all: Vec<SubscriptionId> = match self.rights(id) {
            Some(rights) => rights.standing.keys().copied().collect(),
            None => return,
        };
        for one in all {
            if !self.is_open(id, one) {
                self.forget_standing(id, one);
            }
        }
    }

    /// Whether the quotas of a session leave room for one more subscription; if
    /// not, why.
    pub(super) fn room_to_subscribe(&mut self, id: SessionId) -> Result<(), String> {
        let over = |stage: &mut Self| match stage.rights(id).map(|rights| std::mem::take(&mut rights.metered)) {
            Some(metered) => {
                let room = stage.subscriptions_of(&metered);
                if let Some(rights) = stage.rights(id) {
                    rights.metered = metered;
                }
                room
            }
            None => Ok(()),
        };
        over(self).or_else(|_| {
            self.drop_left_behind(id);
            over(self)
        })
    }

    /// A subscription is over.
    fn forget_standing(&mut self, id: SessionId, subscription: SubscriptionId) {
        let Some(standing) = self.rights(id).and_then(|rights| rights.take_standing(subscription)) else { return };
        self.meter_subscriptions(id, 0, 1);
        self.release(id, standing.needs.into_iter().map(|need| need.ask).collect());
    }

    /// A subscription is not allowed any more: it is ended, and the client is told
    /// why. The session goes on.
    pub(super) fn end_standing(&mut self, id: SessionId, subscription: SubscriptionId, need: &Need) {
        self.forget_standing(id, subscription);
        let counters = self.counters.clone();
        let target = Target { session: id, subscription };
        // The hub that served it, if another did, is told.
        let was_elsewhere = self.leave_home(id, subscription);
        let Some(connection) = self.connection(id) else { return };
        if connection.egress.leave(subscription, &counters) {
            self.out.consume.push(ToConsume::Close { target });
        } else {
            let is_stream = connection.egress.subscribers.is_stream(subscription);
            match connection.egress.subscribers.unsubscribe(subscription, &counters) {
                true if is_stream => self.out.append.push(ToAppend::CloseSubscription { target }),
                true => self.out.conductor.push(ToConductor::Unsubscribe { target }),
                false if was_elsewhere => {}
                false => return,
            }
        }
        add(&counters.govern.ended, 1);
        self.note_need(id, Some(need), "it was allowed before, and what stood on it is ended");
        let detail = explain::need(need);
        let tenant_id = self.connection(id).and_then(|connection| connection.tenant());
        tracing::info!(
            code = "subscription_denied",
            session = id.0,
            tenant_id,
            detail,
            "a subscription is not allowed any more"
        );
        self.refuse(id, subscription.0, ErrorCode::DENIED, &detail);
    }
}
