//! What becomes of each frame that the hub sends.

use std::time::Duration;

use weft_base::{Mono, SubscriptionId};
use weft_govern::api::Answer;
use weft_ring::arena::BlockRef;
use weft_wire::frame::{self, ErrorCode, FRAME_HEADER, Frame, REPLY_INBOX};
use weft_wire::reply::ReplyAddress;

use super::{Action, BlockAck, HubInfo, Session, State, Status, VERSIONS, Window};
use crate::change::KnownChange;
use crate::consumer::ConsumerReport;
use crate::error::{ConnectError, Refusal};
use crate::last::LastValue;
use crate::live::Receipt;
use crate::report::{DrainReport, MeshReport, ProfileReport, Reply, StreamReport};
use crate::see::HubSaid;
use crate::why::WhyWaiting;

impl Session {
    /// Takes a whole frame. What the hub must not send ends the connection.
    pub(crate) fn frame(&mut self, bytes: BlockRef, now: Mono) {
        self.heard = now;
        self.asked = false;
        let outcome = match Frame::decode(&bytes) {
            Ok(frame) => match self.state {
                State::Greeting { .. } => self.greeted(&frame, now),
                State::Up { .. } | State::Parting { .. } => self.session_frame(&frame, &bytes, now),
                _ => Ok(()),
            },
            Err(error) => Err((ErrorCode(error.code().0), error.to_string())),
        };
        if let Err((code, detail)) = outcome {
            self.violated(code, &detail, now);
        }
    }

    /// The hub broke the protocol: it is told so, and the connection is made anew.
    pub(crate) fn violated(&mut self, code: ErrorCode, detail: &str, now: Mono) {
        frame::encode(&Frame::Goodbye(frame::Goodbye { code, detail }), &mut self.control);
        self.actions.push(Action::Disconnect);
        self.lost(now, &format!("the hub broke the protocol: {detail}"));
    }

    /// The hub's answer to the hello.
    fn greeted(&mut self, frame: &Frame<'_>, now: Mono) -> Result<(), (ErrorCode, String)> {
        let refusal = match frame {
            Frame::Welcome(welcome) if !VERSIONS.contains(&welcome.version) => {
                let detail = format!("it chose version {}, which was not offered", welcome.version);
                return Err((ErrorCode::VERSION, detail));
            }
            Frame::Welcome(welcome) => {
                self.welcomed(welcome, now);
                return Ok(());
            }
            Frame::Redirect(redirect) => {
                self.hinted_at(redirect);
                return Ok(());
            }
            Frame::Goodbye(goodbye) => refusal(goodbye.code, goodbye.detail, 0),
            Frame::Error(error) => refusal(error.code, error.detail, error.retry_after_ms),
            other => {
                let detail = format!("a frame of kind {:?} came instead of a welcome", other.kind());
                return Err((ErrorCode::UNEXPECTED, detail));
            }
        };
        self.actions.push(Action::Disconnect);
        let passing = [
            ErrorCode::SHUTDOWN,
            ErrorCode::DRAINING,
            ErrorCode::OVERLOADED,
            ErrorCode::LIMIT,
            ErrorCode::LOGIN_LIMITED,
            ErrorCode::LOGIN_UNAVAILABLE,
        ];
        if self.was_connected || passing.contains(&refusal.code) {
            self.lost(now, &refusal.to_string());
        } else {
            self.give_up(ConnectError::Refused { address: self.address.clone(), refusal });
        }
        Ok(())
    }

    fn welcomed(&mut self, welcome: &frame::Welcome<'_>, now: Mono) {
        let hub = HubInfo::of(welcome, &self.address);
        tracing::debug!(code = "connected", hub = %hub.name, address = %hub.address, "connected");
        self.state = State::Up { since: now };
        self.was_connected = true;
        self.lost_since = None;
        self.reasons.clear();
        self.hints.clear();
        self.hinted = 0;
        let window = Window::of(welcome);
        let max_frame = welcome.max_frame as usize;
        self.calls.connected(ReplyAddress { hub: welcome.hub, session: welcome.session });
        self.publishing.connected(window, max_frame, &mut self.wake);
        self.subscriptions.connected(&mut self.control);
        self.consumers.connected(&mut self.control);
        self.requests.connected(&mut self.control);
        self.connected.complete(Ok(()), &mut self.wake);
        self.set_status(Status::Connected(hub));
    }

    fn session_frame(&mut self, frame: &Frame<'_>, bytes: &BlockRef, now: Mono) -> Result<(), (ErrorCode, String)> {
        let has_moved = self.has_moved();
        match frame {
            Frame::Deliver(deliver) => {
                // The block is the rest of the frame; a slice of it keeps the buffer.
                let block = bytes.slice(FRAME_HEADER..FRAME_HEADER + deliver.block.len());
                if deliver.id == REPLY_INBOX {
                    return self.reply_arrived(block, deliver.hops).map_err(|detail| (ErrorCode::BAD_BLOCK, detail));
                }
                let (id, hops, wake) = (deliver.id, deliver.hops, &mut self.wake);
                let taken = match has_moved {
                    true => self.subscriptions.deliver_there(id, block, hops, wake),
                    false => self.subscriptions.deliver(id, block, hops, wake),
                };
                return taken.map_err(|detail| (ErrorCode::BAD_BLOCK, detail));
            }
            Frame::Ack(ack) => {
                let ack_of_block = BlockAck::of(ack);
                self.calls.answered(ack.request, &Ok(ack_of_block), &mut self.wake);
                if !self.publishing.answered(ack.request, Ok(ack_of_block), &mut self.wake) {
                    self.requests.answered(ack.request, Ok(Reply::Ack(ack_of_block)), &mut self.wake);
                }
            }
            Frame::Handout(handout) => {
                let block = bytes.slice(bytes.len() - handout.block.len()..bytes.len());
                let taken = self.consumers.handed(handout, block, &mut self.wake);
                return taken.map_err(|detail| (ErrorCode::BAD_BLOCK, detail));
            }
            Frame::Consuming(consuming) => {
                self.consumers.consuming(consuming, &mut self.control, &mut self.wake);
            }
            Frame::Gap(gap) => {
                let (id, events, reason, wake) = (gap.id, gap.events, gap.reason, &mut self.wake);
                match self.consumers.gap(id, events) {
                    true => {}
                    false if has_moved => self.subscriptions.gap_there(id, events, reason, wake),
                    false => self.subscriptions.gap(id, events, reason, wake),
                }
            }
            Frame::Subscribed(s) => self.subscriptions.accepted(s.id, s.start_sequence, &mut self.wake),
            Frame::Unsubscribed(_) | Frame::Pong(_) => {}
            Frame::Ping(ping) => {
                let pong = frame::Pong { id: ping.id, time: ping.time };
                frame::encode(&Frame::Pong(pong), &mut self.control);
            }
            Frame::Error(error) => self.refused(error, now),
            Frame::Goodbye(goodbye) => {
                self.actions.push(Action::Disconnect);
                let refusal = refusal(goodbye.code, goodbye.detail, 0);
                self.lost(now, &format!("the hub said goodbye ({}): {}", refusal.code, refusal.detail));
            }
            Frame::Redirect(redirect) => self.redirected(redirect, now),
            Frame::WhyReport(report) => {
                let why = WhyWaiting::of(report);
                if report.request == 0 {
                    self.told.set(why, now);
                } else {
                    self.requests.answered(report.request, Ok(Reply::Why(Box::new(why))), &mut self.wake);
                }
            }
            other => return self.answer_of_request(other, bytes).map_err(|detail| (ErrorCode::UNEXPECTED, detail)),
        }
        Ok(())
    }

    /// A frame that answers a request.
    ///
    /// # Errors
    /// It answers none, or says what no answer may.
    pub(super) fn answer_of_request(&mut self, frame: &Frame<'_>, bytes: &BlockRef) -> Result<(), String> {
        match frame {
            Frame::ConsumerReports(reports) => {
                let list = reports.reports.iter().map(ConsumerReport::of).collect();
                self.requests.answered(reports.request, Ok(Reply::Consumers(list)), &mut self.wake);
            }
            Frame::Found(found) => {
                let block = bytes.slice(bytes.len() - found.block.len()..bytes.len());
                let value = LastValue::new(block, found.event);
                let taken = value.and_then(|value| self.requests.found(found.request, value));
                return taken;
            }
            Frame::Done(done) => {
                self.requests.answered(done.request, Ok(Reply::Done), &mut self.wake);
            }
            Frame::StreamReports(reports) => {
                let list = reports.reports.iter().map(StreamReport::of).collect();
                self.requests.answered(reports.request, Ok(Reply::Streams(list)), &mut self.wake);
            }
            Frame::ProfileReport(report) => {
                let reply = Reply::Profile(Box::new(ProfileReport::of(report)));
                self.requests.answered(report.request, Ok(reply), &mut self.wake);
            }
            Frame::Told(told) => {
                let said = told.hubs.iter().map(HubSaid::of);
                let taken = self.requests.seen(told.request, said, told.more, &mut self.wake);
                return taken;
            }
            Frame::Changes(changes) => {
                let known = changes.changes.iter().map(KnownChange::of).collect();
                self.requests.answered(changes.request, Ok(Reply::Changes(known)), &mut self.wake);
            }
            Frame::Governed(governed) => {
                let answer = Answer::decode(governed.body).map_err(|error| error.to_string())?;
                self.requests.answered(governed.request, Ok(Reply::Governed(Box::new(answer))), &mut self.wake);
            }
            Frame::LiveReport(report) => {
                let reply = Reply::Live(Box::new(Receipt::of(report)));
                self.requests.answered(report.request, Ok(reply), &mut self.wake);
            }
            Frame::MeshReport(report) => {
                let reply = Reply::Mesh(Box::new(MeshReport::of(report)));
                self.requests.answered(report.request, Ok(reply), &mut self.wake);
            }
            Frame::DrainReport(report) => {
                let reply = Reply::Drain(Box::new(DrainReport::of(report)));
                self.requests.answered(report.request, Ok(reply), &mut self.wake);
            }
            // What is said of nothing that was asked here.
            Frame::Subscribed(_) | Frame::Unsubscribed(_) | Frame::Pong(_) | Frame::Consuming(_) => {}
            Frame::Redirect(_) | Frame::Handout(_) | Frame::WhyReport(_) | Frame::Gap(_) => {}
            other => return Err(format!("a frame of kind {:?} does not belong in a client's session", other.kind())),
        }
        Ok(())
    }

    /// A refusal of a publish, a subscription or a request: whose number it is
    /// says which. One of something that has just ended is no error.
    fn refused(&mut self, error: &frame::ErrorFrame<'_>, now: Mono) {
        let refusal = refusal(error.code, error.detail, error.retry_after_ms);
        let id = error.request;
        if (ErrorCode::BAD_LOGIN..=ErrorCode::LOGIN_UNAVAILABLE).contains(&error.code) && id == 0 {
            let text = "what is newer to log in with is refused: the session goes on by what was shown before";
            tracing::warn!(code = "login_refused", refusal = %refusal, "{text}");
            return;
        }
        if id == 0 {
            // Of something that wanted no answer: events that were settled too late, as a rule.
            tracing::warn!(code = "settle_refused", refusal = %refusal, "what was said of events came too late");
            return;
        }
        self.calls.answered(id, &Err(refusal.clone()), &mut self.wake);
        let known = self.publishing.answered(id, Err(refusal.clone()), &mut self.wake)
            || self.subscriptions.refused(SubscriptionId(id), refusal.clone(), now, &mut self.random, &mut self.wake)
            || self.consumers.refused(SubscriptionId(id), &refusal, now, &mut self.random, &mut self.wake)
            || self.requests.answered(id, Err(refusal.clone()), &mut self.wake);
        if !known {
            tracing::debug!(code = "late_refusal", request = id, refusal = %refusal, "a refusal of something that is over");
        }
    }
}

pub(super) fn refusal(code: ErrorCode, detail: &str, retry_after_ms: u32) -> Refusal {
    let retry_after = (retry_after_ms > 0).then(|| Duration::from_millis(u64::from(retry_after_ms)));
    Refusal { code, detail: detail.to_owned(), retry_after }
}
