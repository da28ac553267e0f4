//! Frames of consumers: those that come go to the consume stage, and what it
//! hands out to the sockets.

use weft_log::LogBlock;
use weft_wire::frame::{self, ConsumerAction, ErrorCode, Frame};

use super::egress::Handout;
use super::{Connection, NetStage};
use crate::consume::{Action, Begin, Definition, Open, ToConsume};
use crate::counters::sub;
use crate::messages::{Head, SessionId, Target};

impl NetStage {
    /// A client's frame that is none of the others'.
    pub(super) fn on_consumer_frame(&mut self, id: SessionId, decoded: &Frame<'_>) {
        let message = match decoded {
            Frame::Consume(consume) => return self.on_consume(id, consume),
            Frame::ConsumerCreate(create) => ToConsume::Create {
                session: id,
                id: create.request,
                stream: create.stream.to_owned(),
                definition: Box::new(Definition::from_frame(&create.spec, create.stream, &self.options.limits)),
            },
            Frame::ConsumerDelete(delete) => ToConsume::Delete {
                session: id,
                id: delete.request,
                stream: delete.stream.to_owned(),
                name: delete.name.to_owned(),
            },
            Frame::ConsumerInfo(info) => ToConsume::Report {
                session: id,
                id: info.request,
                stream: info.stream.to_owned(),
                name: info.name.to_owned(),
            },
            Frame::ConsumerControl(control) => ToConsume::Control {
                session: id,
                id: control.request,
                stream: control.stream.to_owned(),
                name: control.name.to_owned(),
                action: match control.action {
                    ConsumerAction::Pause => Action::Pause(control.value),
                    ConsumerAction::Resume => Action::Resume,
                    ConsumerAction::Reset => Action::Reset(Begin::of(control.start)),
                    ConsumerAction::Move => Action::Move(control.home.to_owned()),
                },
            },
            other => return self.unexpected(id, other.kind(), "clients do not send it"),
        };
        self.out.consume.push(message);
    }

    fn on_consume(&mut self, id: SessionId, consume: &frame::Consume<'_>) {
        let most = self.options.limits.subscriptions_per_session;
        let Some(connection) = self.connection(id) else { return };
        if connection.egress.knows(consume.id) || consume.id == frame::REPLY_INBOX {
            let detail = "the subscription's number is in use: choose another";
            return self.refuse(id, consume.id.0, ErrorCode::IN_USE, detail);
        }
        if connection.egress.subscriptions() >= most {
            let detail = format!("the session has {most} subscriptions, its limit (limits.subscriptions_per_session)");
            return self.refuse(id, consume.id.0, ErrorCode::LIMIT, &detail);
        }
        let open = Open {
            target: Target { session: id, subscription: consume.id },
            stream: consume.stream.to_owned(),
            consumer: consume.consumer.to_owned(),
            name: connection.name.clone(),
            credit_events: consume.credit_events,
            credit_bytes: consume.credit_bytes,
            outflow: connection.egress.join(consume.id),
        };
        self.out.consume.push(ToConsume::Open(Box::new(open)));
    }

    pub(super) fn on_handout(&mut self, target: Target, head: Head, block: LogBlock) {
        // A session that is gone needs no more of anything: its members left with it.
        let counters = self.counters.clone();
        let may_pass = self.may_pass(target.session, &block);
        let Some(connection) = self.connection(target.session).filter(|c| may_pass && !c.closing) else {
            return sub(&counters.handouts, 1);
        };
        connection.egress.handout(Handout { id: target.subscription, head, block }, &counters);
        self.mark_dirty(target.session);
    }

    pub(super) fn on_member_ended(&mut self, target: Target, code: ErrorCode, detail: &str) {
        let counters = self.counters.clone();
        let ended = |c: &mut Connection| c.egress.end_member(target.subscription, &counters);
        if self.connection(target.session).is_some_and(ended) {
            self.closed_standing(target.session, target.subscription);
            self.refuse(target.session, target.subscription.0, code, detail);
        }
    }
}
