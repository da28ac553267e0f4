//! Sessions at streams of other hubs: a client's frames that name a stream which
//! its hub does not keep go through a tunnel to a home of the stream, where they
//! meet a connection like any other whose socket is the tunnel.
//!
//! ```text
//! client ── net (near end) ══ messages between hubs ══ (far end) net ── append, consume
//! ```
//!
//! Numbers of subscriptions and requests are the client's own at both ends, so
//! frames pass as they are. Credit is the client's, end to end; beneath it each
//! tunnel has a window of bytes in each direction. A lost message, a lost home
//! or a home that stops ends the tunnel: the client is told `MOVED` for each
//! subscription and request, and asks again, and what a consumer had in flight
//! there is redelivered. Publishes that only the home can take in ([`far`]) are
//! all that is sent again by itself: the route stage keeps them.

mod far;
mod message;
mod near;
mod pipe;
mod place;
mod residency;
mod sockets;

use std::time::Duration;

use weft_base::{Epoch, HubId};
use weft_transport::LinkToken;
use weft_wire::frame::{self, ErrorCode, Frame, Kind, Peek};
use weft_wire::peer::Service;

pub(crate) use self::message::see_message;
use self::message::{DATA_AT, Said, What};
use self::near::refusal;
use self::pipe::Broken;
pub(super) use self::sockets::Sockets;
use self::sockets::{Outgoing, far_word};
use super::{NetStage, Role};
use crate::counters::add;
use crate::messages::{FarSaid, FromPeer, PeerMessage, SessionId, ToConductor, ToRoute};

/// How often ends look after each other.
const TICK: Duration = Duration::from_secs(1);
/// An end that has said nothing for this long says how far it is.
const WORD: Duration = Duration::from_secs(2);
/// An end that has heard nothing for this long is alone.
const SILENCE: Duration = Duration::from_secs(10);

impl NetStage {
    /// What the same stage of another hub says, and what becomes of that hub.
    pub(super) fn on_peer(&mut self, message: FromPeer) {
        self.network.tunnels.now = self.now.mono;
        match message {
            FromPeer::Message(message) => self.on_said(&message),
            FromPeer::Up { hub, epoch, name } => {
                self.network.tunnels.near.names.insert(hub, name);
                let far = self.network.tunnels.far.iter();
                let old: Vec<LinkToken> =
                    far.filter(|(_, far)| far.peer == hub && far.epoch != epoch).map(|(link, _)| *link).collect();
                self.end_far(old, "the client's hub was started again");
            }
            FromPeer::Down { hub } => {
                let far = self.network.tunnels.far.iter();
                let gone: Vec<LinkToken> = far.filter(|(_, far)| far.peer == hub).map(|(link, _)| *link).collect();
                self.end_far(gone, "the client's hub cannot be reached");
                for tunnel in self.network.tunnels.near.to_home(hub) {
                    self.end_near(tunnel, "the home cannot be reached any more");
                }
            }
        }
        self.send_answers();
    }

    fn on_said(&mut self, message: &PeerMessage) {
        if let Some(frame) = message::see_of(&message.bytes) {
            let from = message.from;
            return self.out.conductor.push(ToConductor::Seen { from, frame });
        }
        let Some(said) = Said::decode(&message.bytes) else { return };
        if said.by_home {
            return self.on_said_by_home(message.from, &said);
        }
        let peer = (message.from, said.tunnel);
        let link = self.network.tunnels.by_peer.get(&peer).copied();
        let known = link.filter(|link| self.network.tunnels.far.get(link).is_some_and(|f| f.epoch == message.epoch));
        match (said.what, known) {
            (What::Open { name }, _) => {
                self.end_far(link.into_iter().collect(), "its number is used again");
                self.accept_tunnel(message.from, message.epoch, said.tunnel, name);
            }
            (What::Data { at, bytes }, Some(link)) => {
                let now = self.now.mono;
                let Some(far) = self.network.tunnels.far.get_mut(&link) else { return };
                match far.pipe.came(at, bytes.len(), now) {
                    Ok(()) => {
                        far.inbox.push_back(message.bytes.slice(DATA_AT..));
                        self.wake_far(link);
                    }
                    Err(broken) => self.break_far(link, &broken),
                }
            }
            (What::Word { taken, sent }, Some(link)) => {
                let now = self.now.mono;
                let Some(far) = self.network.tunnels.far.get_mut(&link) else { return };
                match far.pipe.heard(taken, sent, now) {
                    Ok(more) => {
                        self.network.tunnels.dirty.push(link);
                        if let Some(id) = self.by_link.get(&link).copied().filter(|_| more) {
                            if let Some(connection) = self.connection(id) {
                                connection.blocked = false;
                            }
                            self.mark_dirty(id);
                        }
                    }
                    Err(broken) => self.break_far(link, &broken),
                }
            }
            (What::Close { .. }, Some(link)) => {
                self.network.tunnels.forget_far(link);
                if let Some(id) = self.by_link.get(&link).copied() {
                    self.end(id, "the client's session has ended");
                }
            }
            (What::Data { .. } | What::Word { .. }, None) => {
                let what = What::Close { code: ErrorCode::MOVED, detail: "the home does not know of the session" };
                self.network.tunnels.say(message.from, &Said { by_home: true, tunnel: said.tunnel, what });
            }
            (What::Close { .. }, None) => {}
        }
    }

    /// A session of another hub's client begins here.
    fn accept_tunnel(&mut self, peer: HubId, epoch: Epoch, tunnel: u64, name: &str) {
        let limits = &self.options.limits;
        let full = self.network.tunnels.far.len() >= limits.tunnels || self.by_link.len() >= limits.sessions;
        if full || self.lifecycle.is_draining() {
            let detail = "the home takes no more sessions (limits.tunnels, limits.sessions)";
            let what = What::Close { code: ErrorCode::LIMIT, detail };
            return self.network.tunnels.say(peer, &Said { by_home: true, tunnel, what });
        }
        let link = self.network.tunnels.open_far(peer, epoch, tunnel, limits.tunnel_bytes.as_usize());
        let id = self.admit(link, Role::Client);
        if let Some(connection) = self.connection(id) {
            connection.tunnelled = true;
            name.clone_into(&mut connection.name);
        }
        add(&self.counters.clients, 1);
    }

    fn wake_far(&mut self, link: LinkToken) {
        if let Some(id) = self.by_link.get(&link).copied()
            && let Some(connection) = self.connection(id)
            && !connection.readable
        {
            connection.readable = true;
            self.reading.push_back(id);
        }
    }

    fn break_far(&mut self, link: LinkToken, broken: &Broken) {
        tracing::info!(code = "tunnel_broken", reason = %broken, "a session of another hub's client is lost");
        if let Some(id) = self.by_link.get(&link).copied() {
            self.end(id, &broken.to_string());
        }
    }

    fn end_far(&mut self, links: Vec<LinkToken>, why: &str) {
        for link in links {
            if let Some(id) = self.by_link.get(&link).copied() {
                self.end(id, why);
            }
        }
    }

    fn on_said_by_home(&mut self, from: HubId, said: &Said<'_>) {
        let now = self.now.mono;
        let Some(end) = self.network.tunnels.near.ends.get_mut(&said.tunnel).filter(|end| end.home == from) else {
            return;
        };
        match said.what {
            What::Data { at, bytes } => match end.pipe.came(at, bytes.len(), now) {
                Ok(()) => {
                    end.pipe.passed_on(bytes.len());
                    end.partial.extend_from_slice(bytes);
                    self.pass_to_client(said.tunnel);
                    self.network.tunnels.near.dirty.push(said.tunnel);
                }
                Err(broken) => self.break_near(said.tunnel, &broken),
            },
            What::Word { taken, sent } => match end.pipe.heard(taken, sent, now) {
                Ok(_) => self.network.tunnels.near.dirty.push(said.tunnel),
                Err(broken) => self.break_near(said.tunnel, &broken),
            },
            What::Close { code, detail } => {
                let why = format!("{} ({code})", detail);
                // To ask again would be in vain.
                let code = if code == ErrorCode::RESIDENCY { code } else { ErrorCode::MOVED };
                self.end_near_with(said.tunnel, code, &why);
            }
            What::Open { .. } => {}
        }
    }

    /// Hands the whole frames that came from a home to the client, but for the
    /// answers that wait for other homes.
    fn pass_to_client(&mut self, tunnel: u64) {
        let near = &mut self.network.tunnels.near;
        let Some(end) = near.ends.get_mut(&tunnel) else { return };
        let (session, bytes) = (end.session, std::mem::take(&mut end.partial));
        let (mut rest, mut pass, mut over) = (bytes.as_slice(), Vec::new(), None);
        loop {
            let whole = match frame::peek(rest, frame::MAX_FRAME) {
                Ok(Peek::Frame { len }) => rest.split_at_checked(len),
                Ok(Peek::Need(_)) => None,
                Err(error) => {
                    over = Some(error.to_string());
                    None
                }
            };
            let Some((one, later)) = whole else { break };
            rest = later;
            match frame::peek_kind(one) {
                Some(Kind::Deliver | Kind::Handout | Kind::Found | Kind::Gap) => pass.extend_from_slice(one),
                _ => match Frame::decode(one) {
                    Ok(Frame::Goodbye(goodbye)) => over = Some(goodbye.detail.to_owned()),
                    Ok(answer) => {
                        if let Some(said) = near.publish_answered(tunnel, &answer) {
                            self.out.route.push(ToRoute::Far(said));
                            continue;
                        }
                        if near.answered(session, tunnel, &answer, one) {
                            continue;
                        }
                        if let Some(end) = near.ends.get_mut(&tunnel)
                            && let Some(request) = near::request_of(&answer)
                        {
                            end.requests.remove(&request);
                        }
                        pass.extend_from_slice(one);
                    }
                    Err(error) => over = Some(error.to_string()),
                },
            }
        }
        if let Some(end) = near.ends.get_mut(&tunnel) {
            end.partial.extend_from_slice(rest);
            end.pipe.hold(pass.len());
        }
        self.relay(session, tunnel, pass);
        if let Some(why) = over {
            self.end_near(tunnel, &why);
        }
    }

    /// Queues whole frames for a client.
    fn relay(&mut self, session: SessionId, tunnel: u64, bytes: Vec<u8>) {
        let now = self.now.wall;
        if let Some(connection) = self.connection(session).filter(|_| !bytes.is_empty()) {
            connection.egress.relay(tunnel, bytes, now);
            self.mark_dirty(session);
        }
    }

    /// What was relayed has been written to the client.
    pub(super) fn relayed(&mut self, written: &[(u64, usize)]) {
        let near = &mut self.network.tunnels.near;
        for (tunnel, len) in written {
            if let Some(end) = near.ends.get_mut(tunnel) {
                end.pipe.passed_on(*len);
                near.dirty.push(*tunnel);
            }
        }
    }

    fn break_near(&mut self, tunnel: u64, broken: &Broken) {
        tracing::info!(code = "tunnel_broken", reason = %broken, "a client's session at a stream's home is lost");
        self.end_near(tunnel, &broken.to_string());
    }

    /// The tunnel is over: the client asks again for what went through it.
    fn end_near(&mut self, tunnel: u64, why: &str) {
        self.end_near_with(tunnel, ErrorCode::MOVED, why);
    }

    fn end_near_with(&mut self, tunnel: u64, code: ErrorCode, why: &str) {
        let near = &mut self.network.tunnels.near;
        let Some((end, asked)) = near.forget(tunnel) else { return };
        let name = near.name_of(end.home);
        near.unanswered(tunnel, &name);
        if !end.publishes.is_empty() {
            let (session, home) = (end.session, end.home);
            let round = near.next_round(session, home);
            self.out.route.push(ToRoute::Far(FarSaid::Lost { session, home, round }));
        }
        let what = What::Close { code: ErrorCode::MOVED, detail: why };
        self.network.tunnels.say(end.home, &Said { by_home: false, tunnel, what });
        let mut bytes = Vec::new();
        let detail = format!("the session at hub {name} is over: {why}");
        for request in asked {
            refusal(request, code, 100, &detail, &mut bytes);
        }
        self.relay(end.session, tunnel, bytes);
    }

    /// A client's session has ended, and with it those at other hubs.
    pub(super) fn end_tunnels(&mut self, session: SessionId) {
        let near = &mut self.network.tunnels.near;
        near.forget_fans(session);
        for tunnel in near.of_session(session) {
            self.end_near(tunnel, "the client's session has ended");
        }
        if self.network.tunnels.near.forget_rounds(session) {
            self.out.route.push(ToRoute::Far(FarSaid::Gone { session }));
        }
    }

    /// Gives clients the answers for which all homes have answered.
    fn send_answers(&mut self) {
        for (session, bytes) in self.network.tunnels.near.take_answers() {
            if let Some(connection) = self.connection(session) {
                connection.egress.control().extend_from_slice(&bytes);
                self.mark_dirty(session);
            }
        }
    }

    /// Sends what the ends of tunnels have to say, and lets them look after
    /// each other from time to time.
    pub(super) fn pump_tunnels(&mut self) {
        let tunnels = &mut self.network.tunnels;
        if tunnels.are_none() {
            return;
        }
        let now = self.now.mono;
        tunnels.now = now;
        tunnels.pump();
        if now >= tunnels.next_tick {
            tunnels.next_tick = now + TICK;
            self.tick_tunnels();
        }
        for Outgoing { to, confined, bytes } in self.network.tunnels.out.drain(..) {
            self.out.route.push(ToRoute::Peer { to, service: Service::Tunnel, confined, bytes });
        }
    }

    fn tick_tunnels(&mut self) {
        let now = self.now.mono;
        let tunnels = &mut self.network.tunnels;
        let (mut alone, mut alone_near) = (Vec::new(), Vec::new());
        for (link, far) in &mut tunnels.far {
            if now.since(far.pipe.heard) >= SILENCE {
                alone.push(*link);
            } else if now.since(far.pipe.said) >= WORD {
                let word = far_word(far, now);
                tunnels.out.push(word);
            }
        }
        for (tunnel, end) in &mut tunnels.near.ends {
            if now.since(end.pipe.heard) >= SILENCE {
                alone_near.push(*tunnel);
            } else if now.since(end.pipe.said) >= WORD {
                tunnels.out.push(end.word(*tunnel, now));
            }
        }
        self.end_far(alone, "nothing was heard of the client's hub");
        for tunnel in alone_near {
            self.end_near(tunnel, "nothing was heard of the home");
        }
        self.send_answers();
    }

    /// When tunnels are to be looked after.
    pub(super) fn tunnels_deadline(&self) -> Option<weft_base::Mono> {
        (!self.network.tunnels.are_none()).then_some(self.network.tunnels.next_tick)
    }

    /// Sends a frame of a client to a home, through a tunnel that is made when
    /// there is none. Answers the tunnel; none, and the client is refused, when
    /// there are too many.
    fn send_home(&mut self, session: SessionId, home: HubId, request: u64, bytes: &[u8]) -> Option<u64> {
        let tunnel = match self.tunnel_to(session, home)? {
            Ok(tunnel) => tunnel,
            Err(detail) => {
                self.refuse(session, request, ErrorCode::LIMIT, &detail);
                return None;
            }
        };
        let near = &mut self.network.tunnels.near;
        near.ends.get_mut(&tunnel)?.pipe.write(bytes);
        near.dirty.push(tunnel);
        Some(tunnel)
    }

    /// The tunnel of a session to a home, made when there is none; why not, when
    /// there are too many; none when the session is gone.
    fn tunnel_to(&mut self, session: SessionId, home: HubId) -> Option<Result<u64, String>> {
        let now = self.now.mono;
        let limits = &self.options.limits;
        let (most, window) = (limits.tunnels, limits.tunnel_bytes.as_usize());
        let name = self.connection(session)?.name.clone();
        let near = &mut self.network.tunnels.near;
        let is_new = !near.by_session.contains_key(&(session, home));
        if is_new && near.ends.len() >= most {
            let detail = format!("this hub's clients have {most} sessions at other hubs, the limit (limits.tunnels)");
            return Some(Err(detail));
        }
        let (tunnel, fresh) = near.tunnel(session, home, window, now);
        if fresh {
            let what = What::Open { name: &name };
            self.network.tunnels.say(home, &Said { by_home: false, tunnel, what });
        }
        Some(Ok(tunnel))
    }
}
