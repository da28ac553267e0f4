//! From a connection to a session: `Hello`, `Welcome`, between hubs `LinkOpen`,
//! and who may be what.

use std::sync::Arc;

use weft_base::{HubId, Mono};
use weft_govern::access::{Method, Principal};
use weft_govern::login::Login;
use weft_mesh::Why;
use weft_mesh::crossing::Tally;
use weft_pack::Codec;
use weft_transport::{Known, LinkToken, Network as _, Peer, PeerKind};
use weft_wire::frame::{self, ErrorCode, Frame, Hello, LinkCredit, LinkOpen, OpenItem, Welcome};

use super::connection::{ClientFacts, Credit, PeerHub};
use super::egress::{EgressLimits, Packing};
use super::link::{Heard, LinkIn, LinkOut};
use super::login::Waiting;
use super::window::Windows;
use super::{NetStage, Role};
use crate::agree::Refusal;
use crate::counters::{add, set};
use crate::messages::{Dial, SessionId, ToConductor};
use crate::options::Neighbour;

/// The oldest protocol version that this hub still speaks; the newest is [`HubOptions::protocol_most`](crate::HubOptions).
const VERSION_MIN: u16 = frame::PROTOCOL_VERSION_LEAST;
/// From this version on a link begins with `LinkOpen`, and its ends compare what crossed it.
const VERSION_OPEN: u16 = 2;
/// Features that both sides must name before they are used: none so far.
const FEATURES: u64 = 0;
/// What a hub says to clients that asks who they are: it takes another `Hello` from
/// one that is in and shows something newer.
const LOGINS: u64 = frame::feature::LOGINS;
/// What this hub says it runs.
const SOFTWARE: &str = concat!("weft/", env!("CARGO_PKG_VERSION"));

impl NetStage {
    /// The bounds of what goes out to a peer.
    pub(super) fn limits(&self) -> EgressLimits {
        EgressLimits {
            subscriber_events: self.options.limits.subscriber_events as u64,
            subscriber_bytes: self.options.limits.subscriber_bytes.as_usize(),
            conflate_keys: self.options.limits.conflate_keys,
            socket_bytes: self.options.limits.socket_bytes.as_usize(),
            link_bytes: self.options.limits.link_bytes.as_usize() / 5,
            waiting_blocks: self.options.limits.waiting_blocks as u64,
        }
    }

    /// Dials a hub, which was so often in vain.
    pub(super) fn dial(&mut self, dial: Dial, peer: &Neighbour, failures: usize) {
        let known = Known { at: &peer.at, failures };
        let dialled = match &self.options.link_security {
            Some(security) => {
                let dialled = self.network.dial_known(&peer.addr, &known, security, peer.name.as_deref());
                dialled.map_err(|e| e.to_string())
            }
            None => Err("no certificate to dial with".to_owned()),
        };
        match dialled {
            Ok(link) => {
                self.admit(link, Role::Dialling { dial });
            }
            Err(reason) => self.out.conductor.push(ToConductor::DialFailed { dial, reason }),
        }
    }

    /// The transport's handshake with a neighbour is done: say hello.
    pub(super) fn on_connected(&mut self, link: LinkToken, peer: Peer) {
        let Some(id) = self.by_link.get(&link).copied() else { return };
        let identity = self.identity.clone();
        let (most, newest) = (self.options.limits.frame.as_usize(), self.options.protocol_most);
        let (least, since) = (self.options.protocol_least, self.now.mono);
        let Some(connection) = self.connection(id) else { return };
        let Role::Dialling { dial } = connection.role else { return };
        if dial.may_be_own() && peer.name == identity.name {
            connection.role = Role::Probed;
            self.end(id, "it is this hub");
            return self.out.conductor.push(ToConductor::DialledOwn { dial });
        }
        connection.role = Role::AwaitWelcome { dial, peer, since };
        // A hub of an older version would take it for a link that stands.
        let is_probe = matches!(dial, Dial::Probe(_));
        let hello = Hello {
            version_min: if is_probe { least.max(VERSION_OPEN) } else { least },
            version_max: newest,
            role: frame::Role::Hub,
            features: FEATURES,
            max_frame: u32::try_from(most).unwrap_or(u32::MAX),
            hub: identity.id,
            epoch: identity.epoch,
            name: &identity.name,
            region: &identity.region,
            software: SOFTWARE,
            producer: weft_base::ProducerId(0),
            token: &[],
        };
        frame::encode(&Frame::Hello(hello), connection.egress.control());
        self.mark_dirty(id);
    }

    /// The first frame of a peer that connected.
    pub(super) fn on_hello(&mut self, id: SessionId, hubs: bool, peer: &Peer, hello: &Hello<'_>) {
        let newest = self.options.protocol_most;
        if hello.version_min > newest || hello.version_max < VERSION_MIN {
            let detail = format!(
                "the peer speaks versions {} to {}, this hub {VERSION_MIN} to {newest}: upgrade the older side",
                hello.version_min, hello.version_max
            );
            return self.violate(id, ErrorCode::VERSION, &detail);
        }
        let version = newest.min(hello.version_max);
        match (hubs, &hello.role) {
            (true, frame::Role::Hub) => {
                if let Err(detail) = self.check_hub(peer, hello.name, hello.hub) {
                    return self.violate(id, ErrorCode::IDENTITY, &detail);
                }
                if let Err(detail) = self.check_version(version) {
                    return self.violate(id, ErrorCode::TOO_OLD, &detail);
                }
                let (name, region) = (hello.name.to_owned(), hello.region.to_owned());
                self.welcome(id, version);
                self.open(
                    id,
                    PeerHub { hub: hello.hub, epoch: hello.epoch, name, region, version, packing: None, life: None },
                    None,
                );
            }
            (false, frame::Role::Client) => {
                let is_admin = self.is_admin(peer);
                if !is_admin && self.turns_away(id, version) {
                    return;
                }
                let waiting = Waiting { peer: peer.clone(), version, name: hello.name.to_owned(), is_admin };
                match self.asks_who() {
                    true => self.ask_login(id, waiting, hello.token),
                    false => self.let_in(id, waiting, None),
                }
            }
            (true, _) => self.violate(id, ErrorCode::IDENTITY, "this address is for hubs: connect to one for clients"),
            (false, _) => {
                self.violate(id, ErrorCode::IDENTITY, "this address is for clients: hubs have one of their own")
            }
        }
    }

    /// A client's session begins.
    pub(super) fn let_in(&mut self, id: SessionId, waiting: Waiting, login: Option<Arc<Login>>) {
        let Waiting { peer, version, name, is_admin } = waiting;
        let known = if peer.name.is_empty() { name.clone() } else { peer.name.clone() };
        let who = match &login {
            Some(login) => login.principal.clone(),
            None => Arc::new(principal_of(&peer, &known, is_admin)),
        };
        // Who shows something else than an administrator's certificate is none.
        let is_admin = is_admin && who.method == Method::Administrator;
        if let Err(detail) = self.connections_of(&who) {
            self.note_login(id, &who, false, &detail);
            add(&self.counters.refused, 1);
            return self.goodbye(id, ErrorCode::OVER_QUOTA, &detail);
        }
        self.welcome(id, version);
        if let Some(connection) = self.connection(id) {
            connection.role = Role::Client;
            connection.client = ClientFacts { version, is_admin, ..ClientFacts::default() };
            (connection.principal, connection.login) = (Some(who.clone()), login);
            connection.name = name;
        }
        let name = match who.method {
            Method::Token | Method::Password => who.to_string(),
            _ => known,
        };
        self.note_login(id, &who, true, "");
        self.govern(id, who);
        self.out.conductor.push(ToConductor::SessionOpened { session: id, name });
        add(&self.counters.clients, 1);
    }

    /// The answer of a neighbour that this hub dialled.
    pub(super) fn on_welcome(&mut self, id: SessionId, dial: Dial, since: Mono, peer: &Peer, welcome: &Welcome<'_>) {
        if !(VERSION_MIN..=self.options.protocol_most).contains(&welcome.version) {
            let detail = format!("the peer chose version {}, which was not offered", welcome.version);
            return self.violate(id, ErrorCode::VERSION, &detail);
        }
        if let Err(detail) = self.check_hub(peer, welcome.name, welcome.hub) {
            return self.violate(id, ErrorCode::IDENTITY, &detail);
        }
        if let Err(detail) = self.check_version(welcome.version) {
            return self.violate(id, ErrorCode::TOO_OLD, &detail);
        }
        let (name, region) = (welcome.name.to_owned(), welcome.region.to_owned());
        if let Dial::Probe(hub) = dial {
            return self.probed(id, hub, since);
        }
        let (version, packing, life) = (welcome.version, None, None);
        let peer = PeerHub { hub: welcome.hub, epoch: welcome.epoch, name, region, version, packing, life };
        self.open(id, peer, Some(dial));
    }

    /// A hub that was only to be measured has answered: that is all.
    fn probed(&mut self, id: SessionId, hub: HubId, since: Mono) {
        let rtt = self.now.mono.since(since);
        if let Some(connection) = self.connection(id) {
            connection.role = Role::Probed;
        }
        self.goodbye(id, ErrorCode::LEAVING, "the way was measured");
        self.out.conductor.push(ToConductor::Probed { hub, rtt });
    }

    /// How blocks are to be packed on a link that this hub dials, as it was told.
    fn packing_of(&self, dial: Dial) -> Option<Codec> {
        match dial {
            Dial::Neighbour(row) | Dial::Named(_, row) => self.options.neighbours.get(row)?.packing,
            // Where links are picked, any is the first of them.
            Dial::Any | Dial::Picked(..) => self.options.pick_packing,
            Dial::Probe(_) => None,
        }
    }

    /// A hub is who it says: the facts of the link are exchanged, where both know of them.
    fn open(&mut self, id: SessionId, peer: PeerHub, dial: Option<Dial>) {
        if peer.version < VERSION_OPEN {
            return self.up_without_opening(id, peer, dial);
        }
        let packing = dial.and_then(|dial| self.packing_of(dial));
        let Some(connection) = self.connections.get_mut(id.slot()).and_then(Option::as_mut).filter(|c| c.id == id)
        else {
            return;
        };
        connection.role = Role::AwaitOpen { dial, peer };
        let connections = self.say_connections(id, dial);
        let said = self.opening.packing(packing);
        let picked = match dial {
            Some(Dial::Picked(_, why)) => Some([why as u8]),
            _ => None,
        };
        let mut open = self.opening.frame();
        open.items.push(OpenItem { tag: OpenItem::PACKING, value: &said });
        open.items.extend(picked.as_ref().map(|value| OpenItem { tag: OpenItem::PICKED, value }));
        open.items.push(OpenItem { tag: OpenItem::CONNECTIONS, value: &connections });
        let Some(connection) = self.connections.get_mut(id.slot()).and_then(Option::as_mut).filter(|c| c.id == id)
        else {
            return;
        };
        frame::encode(&Frame::LinkOpen(open), connection.egress.control());
        self.mark_dirty(id);
    }

    /// What the hub at the other end says of itself.
    pub(super) fn on_link_open(&mut self, id: SessionId, peer: PeerHub, dial: Option<Dial>, said: &LinkOpen<'_>) {
        let picked = said.find(OpenItem::PICKED).and_then(|item| item.value.first());
        let picked = picked.and_then(|why| Why::from_number(*why)).filter(|_| dial.is_none());
        match self.opening.judge(said) {
            Ok(life) => {
                let wanted = dial.map(|dial| self.packing_of(dial));
                let packing = self.opening.agree(wanted, said);
                // What the first of a link's connections has agreed on counts for all.
                let is_first = self.connection(id).is_some_and(|connection| !connection.is_further());
                if let Some(wanted) = wanted.flatten().filter(|_| packing.is_none() && is_first) {
                    let (peer, wanted) = (&peer.name, wanted.name());
                    tracing::warn!(
                        code = "packing_declined",
                        peer,
                        wanted,
                        "the link is not compressed: the peer does not take that"
                    );
                }
                self.gather(id, PeerHub { life, packing, ..peer }, (dial, picked), said);
            }
            Err(Refusal { code, detail }) => {
                add(&self.counters.links_disagreed, 1);
                tracing::warn!(code = "link_refused", peer = peer.name, reason = %code, detail, "a hub is refused");
                self.violate(id, code, &detail);
            }
        }
    }

    /// A link may speak this version.
    fn check_version(&self, version: u16) -> Result<(), String> {
        let least = self.options.protocol_least;
        if version >= least {
            return Ok(());
        }
        Err(format!("the link would speak version {version}, at least {least} is asked for ([protocol] least)"))
    }

    /// A hub is who its certificate says, and is not this one.
    fn check_hub(&self, peer: &Peer, name: &str, hub: HubId) -> Result<(), String> {
        if peer.kind != PeerKind::Hub || peer.name != name {
            return Err(format!(
                "the peer says it is hub `{name}`, its certificate is for {} `{}`",
                peer.kind, peer.name
            ));
        }
        if !crate::options::is_label(name) || HubId::of_name(name) != hub {
            return Err(format!("hub `{name}` came with an id that is not its name's"));
        }
        if hub == self.identity.id {
            return Err(format!("a hub of this hub's own name, `{name}`, is in the mesh: names must be unique"));
        }
        Ok(())
    }

    fn welcome(&mut self, id: SessionId, version: u16) {
        let identity = self.identity.clone();
        let limits = self.options.limits.clone();
        let logins = if self.asks_who() { LOGINS } else { 0 };
        let Some(connection) = self.connection(id) else { return };
        let is_client = matches!(connection.role, Role::AwaitLogin(_) | Role::AwaitHello { hubs: false, .. });
        let welcome = Welcome {
            version,
            features: if is_client { FEATURES | logins } else { FEATURES },
            max_frame: u32::try_from(limits.frame.0).unwrap_or(u32::MAX),
            hub: identity.id,
            epoch: identity.epoch,
            session: id.0,
            name: &identity.name,
            region: &identity.region,
            software: SOFTWARE,
            publish_window_blocks: limits.publish_blocks,
            publish_window_bytes: limits.publish_bytes.0,
        };
        frame::encode(&Frame::Welcome(welcome), connection.egress.control());
        self.mark_dirty(id);
    }

    pub(super) fn link_up(&mut self, id: SessionId, peer: PeerHub, dial: Option<Dial>, picked: Option<Why>) {
        let PeerHub { hub, epoch, name, region, version, packing, life } = peer;
        let counters = self.counters.link(&name);
        set(&counters.version, u64::from(version));
        let limits = &self.options.limits;
        let windows = Windows::new(limits.window_of_links(), limits.link_window_most.0, self.growth.clone());
        set(&counters.window, windows.largest());
        let room = limits.link_bytes.as_usize() / 10;
        let (most_frame, packed_room) = (limits.frame.as_usize(), self.press.room());
        let columns = self.counters.classes.columns();
        let Some(connection) = self.connection(id) else { return };
        connection.role = Role::Link { dial };
        set(&counters.packing, packing.map_or(0, |codec| codec.number().into()));
        connection.egress.count_as_link(counters.clone(), version >= VERSION_OPEN);
        connection.packing = packing;
        if let Some(codec) = packing {
            connection.egress.pack(Packing::new(codec, most_frame, packed_room));
        }
        let heard = Heard::default();
        let mut credit = Box::new(Credit {
            version,
            out: LinkOut::new(room),
            into: LinkIn::new(windows),
            heard: heard.clone(),
            unread: std::array::from_fn(|_| Tally::new(columns)),
        });
        for (lane, limit) in credit.into.first() {
            frame::encode(&Frame::LinkCredit(LinkCredit { lane, limit }), connection.egress.control());
        }
        connection.credit = Some(credit);
        let link = connection.link;
        self.keep_lanes_apart(id, link);
        add(&self.counters.links, 1);
        self.mark_dirty(id);
        set(&counters.connections, self.network.bundles.count(link).unwrap_or(1) as u64);
        let up = ToConductor::LinkUp { link: id, hub, epoch, name, region, version, life, dial, picked, heard };
        self.out.conductor.push(up);
    }
}

/// Who a client is by its connection alone: what its certificate says, or, where it
/// has shown none, what it calls itself.
fn principal_of(peer: &Peer, name: &str, is_admin: bool) -> Principal {
    let method = match (is_admin, peer.name.is_empty()) {
        (true, _) => Method::Administrator,
        (false, false) => Method::Certificate,
        (false, true) => Method::Anonymous,
    };
    Principal { tenant: None, name: name.into(), roles: [].into(), method }
}
