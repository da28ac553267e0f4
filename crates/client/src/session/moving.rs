//! From one hub to another without a gap: when the hub says that it is about to
//! stop (`Redirect`), the client goes on at another one before it leaves.
//!
//! ```text
//! Redirect ─▶ Dialling ─▶ Greeting ─▶ Opening ─▶ Holding ─▶ (moved) Tail ─▶ done
//!                 ▲            │          │
//!                 └── Pausing ◀┴──────────┘  this place did not work: the next one
//! ```
//!
//! `Opening`: live subscriptions are made at the other hub, and their receipts
//! are waited for. `Holding`: nothing is published until what was is
//! acknowledged, so that nothing has to be published twice. Then the second
//! connection is the first one: what is published, asked and consumed goes there.
//! `Tail`: the old hub answers what it was asked before and, once told that the
//! client leaves, delivers what was on its way and says goodbye; then what the
//! other hub has delivered meanwhile follows (`aside.rs`). Each step has an end
//! in time: by then the old hub is gone, and the rest is as after any loss.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use weft_base::{Mono, SubscriptionId};
use weft_ring::arena::BlockRef;
use weft_wire::frame::{self, ErrorCode, FRAME_HEADER, Frame, LiveScope, REPLY_INBOX};
use weft_wire::reply::ReplyAddress;

use super::incoming::refusal;
use super::{Action, BlockAck, HubInfo, Session, State, Status, VERSIONS, Window};
use crate::report::Reply;

/// How long a place may take to let the client in.
const GREETING: Duration = Duration::from_secs(5);
/// How long receipts are waited for.
const RECEIPTS: Duration = Duration::from_secs(3);
/// How long acknowledgements are waited for while nothing is published.
const HOLDING: Duration = Duration::from_secs(2);
/// Between two rounds through the places.
const PAUSE: Duration = Duration::from_millis(500);
/// So long before the old hub's end it is told that the client leaves, whatever is not answered.
const LEAVING: Duration = Duration::from_secs(1);
/// Hints that are taken without having come to a session.
const MOST_HINTS: u32 = 8;
/// The version from which on hubs know of receipts.
const WITH_RECEIPTS: u16 = 2;

/// Where a client may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) address: String,
}

/// What the other hub said of itself.
#[derive(Debug)]
struct Welcomed {
    hub: HubInfo,
    window: Window,
    max_frame: usize,
    address: ReplyAddress,
    version: u16,
}

#[derive(Debug)]
enum Step {
    Pausing { until: Mono },
    Dialling { deadline: Mono },
    Greeting { deadline: Mono },
    Opening { deadline: Mono },
    Holding { deadline: Mono },
    Tail { is_told: bool },
}

/// A client on its way.
#[derive(Debug)]
pub(super) struct Moving {
    step: Step,
    /// The old hub serves until then.
    until: Mono,
    places: Vec<Place>,
    /// Those of them not tried in this round.
    left: VecDeque<Place>,
    address: String,
    welcomed: Option<Welcomed>,
    /// For the second connection.
    pub(super) control: Vec<u8>,
    /// Subscriptions, and questions for receipts, that are not answered.
    opening: BTreeSet<SubscriptionId>,
    receipts: BTreeSet<u64>,
    /// Requests that the old hub has to answer.
    requests: BTreeSet<u64>,
    /// Where to go on from the other hub, which is about to stop as well, and by when.
    onward: Option<(Vec<Place>, Mono)>,
}

impl Moving {
    /// The second connection is that to the old hub.
    pub(super) fn has_moved(&self) -> bool {
        matches!(self.step, Step::Tail { .. })
    }

    /// A subscription ends that stands at both hubs.
    pub(super) fn unsubscribe(&mut self, id: SubscriptionId) {
        self.opening.remove(&id);
        frame::encode(&Frame::Unsubscribe(frame::Unsubscribe { id }), &mut self.control);
    }

    /// When a step is over, whether or not it has come to its end.
    fn deadline(&self) -> Mono {
        match self.step {
            Step::Pausing { until } => until,
            Step::Dialling { deadline }
            | Step::Greeting { deadline }
            | Step::Opening { deadline }
            | Step::Holding { deadline } => deadline,
            Step::Tail { is_told: false } => before(self.until, LEAVING),
            Step::Tail { is_told: true } => self.until,
        }
    }
}

fn before(at: Mono, by: Duration) -> Mono {
    Mono(at.0.saturating_sub(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
}

impl Session {
    /// A hub that takes no new clients names others, which are tried next.
    pub(super) fn hinted_at(&mut self, redirect: &frame::Redirect<'_>) {
        self.hinted += 1;
        if self.options.follow_redirects && self.hinted <= MOST_HINTS {
            self.hints = places_of(redirect).into();
        }
    }

    /// The hub is about to stop.
    pub(super) fn redirected(&mut self, redirect: &frame::Redirect<'_>, now: Mono) {
        if !self.options.follow_redirects || self.closing.is_some() || !self.is_up() {
            return;
        }
        let (places, until) = (places_of(redirect), now + Duration::from_millis(redirect.within_ms.into()));
        match self.moving.as_deref_mut() {
            // Once the old hub has said its last.
            Some(moving) if moving.has_moved() => moving.onward = Some((places.clone(), until)),
            Some(_) => return,
            None => self.go(places.clone(), until, now),
        }
        // Where to go if the connection ends before.
        self.hints = places.into();
    }

    /// Sets out for one of these places, or of the client's own list.
    fn go(&mut self, mut places: Vec<Place>, until: Mono, now: Mono) {
        let known = |address: &String| *address == self.address || places.iter().any(|place| place.address == *address);
        let own = self.options.addresses.iter().filter(|address| !known(address));
        let own: Vec<Place> = own.map(|a| Place { name: String::new(), address: a.clone() }).collect();
        places.extend(own);
        if places.is_empty() {
            tracing::info!(code = "no_other_hub", address = %self.address, "the hub is about to stop, and no other is known");
            return;
        }
        tracing::debug!(code = "moving", address = %self.address, places = places.len(), "the client goes to another hub");
        self.moving = Some(Box::new(Moving {
            step: Step::Pausing { until: now },
            until,
            left: places.clone().into(),
            places,
            address: String::new(),
            welcomed: None,
            control: Vec::new(),
            opening: BTreeSet::new(),
            receipts: BTreeSet::new(),
            requests: BTreeSet::new(),
            onward: None,
        }));
    }

    /// What the driver writes to the second connection.
    pub(crate) fn take_aside(&mut self) -> Vec<u8> {
        self.moving.as_mut().map(|moving| std::mem::take(&mut moving.control)).unwrap_or_default()
    }

    /// The client is at the other hub, and the old one has not said its last.
    pub(super) fn has_moved(&self) -> bool {
        self.moving.as_ref().is_some_and(|moving| moving.has_moved())
    }

    /// Nothing is published for the moment.
    pub(super) fn is_holding(&self) -> bool {
        self.moving.as_ref().is_some_and(|moving| matches!(moving.step, Step::Holding { .. }))
    }

    /// Whether the driver has something to do at once.
    pub(super) fn moves_on(&self) -> bool {
        let Some(moving) = &self.moving else { return false };
        let is_ready = match moving.step {
            Step::Opening { .. } => moving.opening.is_empty() && moving.receipts.is_empty(),
            Step::Holding { .. } => self.publishing.none_sent() && self.all_written,
            Step::Tail { is_told } => !is_told && self.has_nothing_old(moving),
            _ => false,
        };
        is_ready || !moving.control.is_empty()
    }

    pub(super) fn move_deadline(&self) -> Option<Mono> {
        self.moving.as_ref().map(|moving| moving.deadline())
    }

    /// All that the old hub was asked is answered.
    fn has_nothing_old(&self, moving: &Moving) -> bool {
        self.calls.are_moved() && !self.requests.has_any(&moving.requests)
    }

    /// What is due.
    pub(super) fn tend_move(&mut self, now: Mono) {
        let Some(moving) = self.moving.as_deref_mut() else { return };
        let is_late = moving.deadline() <= now;
        match moving.step {
            Step::Pausing { .. } if is_late => self.try_place(now),
            Step::Dialling { .. } | Step::Greeting { .. } if is_late => {
                self.next_place(now, "it does not answer in time");
            }
            Step::Opening { .. } if !moving.opening.is_empty() && is_late => {
                self.next_place(now, "subscriptions were not accepted in time");
            }
            Step::Opening { .. } if moving.opening.is_empty() && (moving.receipts.is_empty() || is_late) => {
                moving.step = Step::Holding { deadline: now + HOLDING };
                self.hurry = true;
                self.tend_holding(now);
            }
            Step::Holding { .. } => self.tend_holding(now),
            Step::Tail { is_told: false } => {
                let is_answered = self.calls.are_moved() && !self.requests.has_any(&moving.requests);
                if is_answered || is_late {
                    frame::encode(&Frame::Leave(frame::Leave), &mut moving.control);
                    moving.step = Step::Tail { is_told: true };
                }
            }
            Step::Tail { is_told: true } if is_late => self.moved(false, now),
            _ => {}
        }
    }

    fn tend_holding(&mut self, now: Mono) {
        let is_late = self.move_deadline().is_some_and(|deadline| deadline <= now);
        if (self.publishing.none_sent() && self.all_written) || is_late {
            self.promote(now);
        }
    }

    /// Tries the next place, or all of them again in a while.
    fn try_place(&mut self, now: Mono) {
        let Some(moving) = self.moving.as_deref_mut() else { return };
        let Some(Place { name, address }) = moving.left.pop_front() else {
            if moving.until <= now + PAUSE {
                tracing::info!(code = "not_moved", address = %self.address, "no other hub takes the client");
                self.moving = None;
                return;
            }
            moving.left = moving.places.clone().into();
            moving.step = Step::Pausing { until: now + PAUSE };
            return;
        };
        moving.address.clone_from(&address);
        moving.step = Step::Dialling { deadline: now + GREETING };
        let name = Some(name).filter(|name| !name.is_empty());
        self.actions.push(Action::DialAside { address, name });
    }

    /// This place does not work.
    fn next_place(&mut self, now: Mono, reason: &str) {
        self.actions.push(Action::DropAside);
        self.subscriptions.stay();
        let Some(moving) = self.moving.as_deref_mut() else { return };
        tracing::debug!(code = "not_moved_there", address = %moving.address, reason, "the next place is tried");
        moving.control.clear();
        moving.welcomed = None;
        moving.opening.clear();
        moving.receipts.clear();
        self.try_place(now);
    }

    /// The client does not go on moving: its connection is lost, or it ends.
    pub(super) fn stop_moving(&mut self) {
        let Some(moving) = self.moving.take() else { return };
        self.actions.push(Action::DropAside);
        self.subscriptions.one_again(None, !moving.has_moved(), &mut self.wake);
        self.calls.end_old(&mut self.wake);
        self.requests.lose(&moving.requests, &mut self.wake);
    }

    /// The second connection is up: the client says hello.
    pub(crate) fn connected_aside(&mut self, now: Mono) {
        let mut hello = Vec::new();
        self.hello(&mut hello);
        let Some(moving) = self.moving.as_deref_mut() else { return };
        if matches!(moving.step, Step::Dialling { .. }) {
            moving.control = hello;
            moving.step = Step::Greeting { deadline: now + GREETING };
        }
    }

    /// The second connection has ended, or could not be made.
    pub(crate) fn lost_aside(&mut self, now: Mono, reason: &str) {
        match self.moving.as_ref().map(|moving| moving.has_moved()) {
            Some(true) => self.moved(false, now),
            Some(false) => self.next_place(now, reason),
            None => {}
        }
    }

    /// The hub at the other end of it broke the protocol.
    pub(crate) fn violated_aside(&mut self, now: Mono, detail: &str) {
        tracing::warn!(code = "place_violation", detail, "a hub broke the protocol while the client moved");
        self.lost_aside(now, detail);
    }

    /// Takes a whole frame of the second connection.
    pub(crate) fn frame_aside(&mut self, bytes: BlockRef, now: Mono) {
        let Some(moving) = self.moving.as_deref_mut() else { return };
        let outcome = match (Frame::decode(&bytes), &moving.step) {
            (Err(error), _) => Err(error.to_string()),
            (Ok(frame), Step::Greeting { .. }) => self.greeted_aside(&frame, now),
            (Ok(frame), Step::Opening { .. } | Step::Holding { .. }) => self.opened_aside(&frame, &bytes, now),
            (Ok(frame), Step::Tail { .. }) => self.tail_frame(&frame, &bytes, now),
            (Ok(_), _) => Ok(()),
        };
        if let Err(detail) = outcome {
            self.violated_aside(now, &detail);
        }
    }

    fn greeted_aside(&mut self, frame: &Frame<'_>, now: Mono) -> Result<(), String> {
        let Some(moving) = self.moving.as_deref_mut() else { return Ok(()) };
        match frame {
            Frame::Welcome(welcome) if VERSIONS.contains(&welcome.version) => {
                moving.welcomed = Some(Welcomed {
                    hub: HubInfo::of(welcome, &moving.address),
                    window: Window::of(welcome),
                    max_frame: welcome.max_frame as usize,
                    address: ReplyAddress { hub: welcome.hub, session: welcome.session },
                    version: welcome.version,
                });
                moving.step = Step::Opening { deadline: now + RECEIPTS };
                moving.opening = self.subscriptions.open_there(&mut moving.control).into_iter().collect();
                Ok(())
            }
            Frame::Redirect(_) => Ok(()),
            Frame::Goodbye(goodbye) => {
                let refusal = refusal(goodbye.code, goodbye.detail, 0);
                self.next_place(now, &refusal.to_string());
                Ok(())
            }
            other => Err(format!("a frame of kind {:?} came instead of a welcome", other.kind())),
        }
    }

    /// The other hub, where subscriptions are made.
    fn opened_aside(&mut self, frame: &Frame<'_>, bytes: &BlockRef, now: Mono) -> Result<(), String> {
        let Some(moving) = self.moving.as_deref_mut() else { return Ok(()) };
        match frame {
            Frame::Subscribed(subscribed) => {
                let knows = moving.welcomed.as_ref().is_some_and(|there| there.version >= WITH_RECEIPTS);
                if moving.opening.remove(&subscribed.id) && knows {
                    // Room for the answer on its way, beside the question's own time.
                    let timeout = RECEIPTS * 3 / 4;
                    let request = self.take_id();
                    let ask = frame::LiveAsk {
                        request,
                        subscription: subscribed.id,
                        topic: "",
                        scope: LiveScope::All,
                        count: 0,
                        timeout_ms: u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX),
                        hubs: Vec::new(),
                    };
                    let Some(moving) = self.moving.as_deref_mut() else { return Ok(()) };
                    frame::encode(&Frame::LiveAsk(ask), &mut moving.control);
                    moving.receipts.insert(request);
                }
            }
            Frame::LiveReport(report) => {
                moving.receipts.remove(&report.request);
            }
            Frame::Deliver(deliver) if deliver.id != REPLY_INBOX => {
                let block = bytes.slice(FRAME_HEADER..FRAME_HEADER + deliver.block.len());
                return self.subscriptions.deliver_there(deliver.id, block, deliver.hops, &mut self.wake);
            }
            // One of a receipt costs the receipt, one of a subscription the place.
            Frame::Error(error) if moving.receipts.remove(&error.request) => {}
            Frame::Error(error) if self.subscriptions.is_there(SubscriptionId(error.request)) => {
                let refusal = refusal(error.code, error.detail, error.retry_after_ms);
                self.next_place(now, &refusal.to_string());
            }
            Frame::Gap(gap) => self.subscriptions.gap_there(gap.id, gap.events, gap.reason, &mut self.wake),
            Frame::Ping(ping) => {
                let pong = frame::Pong { id: ping.id, time: ping.time };
                frame::encode(&Frame::Pong(pong), &mut moving.control);
            }
            Frame::Goodbye(goodbye) => {
                let refusal = refusal(goodbye.code, goodbye.detail, 0);
                self.next_place(now, &refusal.to_string());
            }
            Frame::Redirect(_) => self.next_place(now, "it is about to stop as well"),
            _ => {}
        }
        Ok(())
    }

    /// From here on the other hub is the client's.
    fn promote(&mut self, now: Mono) {
        let Some(mut moving) = self.moving.take() else { return };
        let Some(there) = moving.welcomed.take() else { return };
        self.consumers.part(&mut self.control, &mut self.wake);
        std::mem::swap(&mut self.control, &mut moving.control);
        moving.requests = self.requests.sent();
        moving.step = Step::Tail { is_told: false };
        self.actions.push(Action::Promote);
        let (from, hub) = (std::mem::replace(&mut self.address, moving.address.clone()), there.hub);
        tracing::info!(code = "moved", from, to = %hub.address, hub = %hub.name, "the client goes on at another hub");
        self.state = State::Up { since: now };
        (self.heard, self.asked) = (now, false);
        self.hints.clear();
        self.calls.promoted(there.address);
        self.publishing.connected(there.window, there.max_frame, &mut self.wake);
        self.subscriptions.promoted(&mut self.control);
        self.consumers.connected(&mut self.control);
        self.told.clear();
        self.moving = Some(moving);
        self.set_status(Status::Connected(hub));
    }

    /// The old hub says its last.
    fn tail_frame(&mut self, frame: &Frame<'_>, bytes: &BlockRef, now: Mono) -> Result<(), String> {
        let Some(moving) = self.moving.as_deref_mut() else { return Ok(()) };
        match frame {
            Frame::Deliver(deliver) => {
                let block = bytes.slice(FRAME_HEADER..FRAME_HEADER + deliver.block.len());
                if deliver.id == REPLY_INBOX {
                    return self.reply_arrived(block, deliver.hops);
                }
                // Of streams the other hub delivers, from where this one was.
                if !self.subscriptions.is_stream(deliver.id) {
                    return self.subscriptions.deliver(deliver.id, block, deliver.hops, &mut self.wake);
                }
            }
            Frame::Gap(gap) if !self.subscriptions.is_stream(gap.id) => {
                self.subscriptions.gap(gap.id, gap.events, gap.reason, &mut self.wake);
            }
            Frame::Ack(ack) => {
                let ack_of_block = BlockAck::of(ack);
                self.calls.answered(ack.request, &Ok(ack_of_block), &mut self.wake);
                self.publishing.answered(ack.request, Ok(ack_of_block), &mut self.wake);
                if moving_asked(&self.moving, ack.request) {
                    self.requests.answered(ack.request, Ok(Reply::Ack(ack_of_block)), &mut self.wake);
                }
            }
            Frame::Ping(ping) => {
                let pong = frame::Pong { id: ping.id, time: ping.time };
                frame::encode(&Frame::Pong(pong), &mut moving.control);
            }
            Frame::Goodbye(goodbye) => self.moved(goodbye.code == ErrorCode::LEAVING, now),
            Frame::Error(error) => {
                let refusal = refusal(error.code, error.detail, error.retry_after_ms);
                self.calls.answered(error.request, &Err(refusal.clone()), &mut self.wake);
                if moving_asked(&self.moving, error.request) {
                    self.requests.answered(error.request, Err(refusal), &mut self.wake);
                }
            }
            other => return self.answer_of_request(other, bytes),
        }
        Ok(())
    }

    /// Nothing comes from the old hub any more. `clean`: it said so itself.
    fn moved(&mut self, clean: bool, now: Mono) {
        let Some(moving) = self.moving.take() else { return };
        self.actions.push(Action::DropAside);
        self.subscriptions.one_again(Some(&mut self.control), clean, &mut self.wake);
        self.calls.end_old(&mut self.wake);
        self.requests.lose(&moving.requests, &mut self.wake);
        if let Some((places, until)) = moving.onward.filter(|_| self.closing.is_none()) {
            self.go(places, until, now);
        }
    }
}

/// Whether the old hub was asked this.
fn moving_asked(moving: &Option<Box<Moving>>, request: u64) -> bool {
    moving.as_ref().is_some_and(|moving| moving.requests.contains(&request))
}

fn places_of(redirect: &frame::Redirect<'_>) -> Vec<Place> {
    let place = |place: &frame::Place<'_>| Place { name: place.name.to_owned(), address: place.address.to_owned() };
    redirect.places.iter().map(place).collect()
}
