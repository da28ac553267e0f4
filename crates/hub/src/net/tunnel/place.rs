//! Where a client's frame belongs that names a stream: here, at a home or a
//! mirror of the stream elsewhere, or at all of them.
//!
//! Reading follows what the stream promises. Strong: at its home. Monotonic and
//! eventual: here if this hub keeps it, also as a mirror, else at the nearest
//! that does. A consumer runs at one home, which every hub picks alike
//! (`weft_stream::seat::seat`). Definitions go to all homes.

use std::collections::BTreeSet;

use weft_base::{HubId, SubscriptionId};
use weft_mesh::StreamDef;
use weft_stream::seat::{Preference, seat};
use weft_wire::frame::{self, Consistency, ErrorCode, Frame, StreamCreate, StreamSpec};

use super::NetStage;
use super::near::Sum;
use crate::messages::{SessionId, ToAppend};

/// When to ask again of a hub that has just started, in milliseconds.
const ASK_AGAIN_MS: u32 = 100;

/// What a frame wants of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// To read it, under its promise.
    Read,
    /// One of its consumers, which prefers this home if any.
    Seat(Option<HubId>),
    /// Whoever keeps it.
    Any,
    /// This home, if it is one.
    Home(HubId),
}

/// Where that is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Here,
    At(HubId),
    /// There are such hubs, and none can be reached.
    OutOfReach(Vec<HubId>),
    /// No hub is known to keep it.
    Unknown,
}

/// What goes with a frame through the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opens {
    Subscription(SubscriptionId),
    Request(u64),
}

/// A hub that keeps a stream: the way's cost, 0 for this hub.
struct Keeper<'a> {
    hub: HubId,
    def: &'a StreamDef,
    cost: Option<u64>,
    /// It is about to stop.
    drains: bool,
}

/// Chooses among those that keep a stream.
fn choose(me: HubId, keepers: &[Keeper<'_>], need: Need) -> Place {
    let strong = keepers.iter().any(|k| k.def.consistency == Consistency::Strong as u8);
    let fits = |k: &&Keeper<'_>| match need {
        Need::Read => k.def.is_home() || !strong,
        Need::Seat(_) => k.def.is_home(),
        Need::Any => true,
        Need::Home(hub) => k.hub == hub,
    };
    let near = keepers.iter().filter(fits).filter_map(|k| k.cost.map(|cost| (cost, k.hub)));
    let best = match need {
        Need::Seat(preferred) => {
            let drains = |hub| keepers.iter().any(|keeper| keeper.hub == hub && keeper.drains);
            seat(near.map(|(_, hub)| hub), preferred, drains)
        }
        Need::Read | Need::Any | Need::Home(_) => near.min().map(|(_, hub)| hub),
    };
    match best {
        Some(hub) if hub == me => Place::Here,
        Some(hub) => Place::At(hub),
        None => {
            let far: Vec<HubId> = keepers.iter().filter(fits).map(|k| k.hub).collect();
            if far.is_empty() { Place::Unknown } else { Place::OutOfReach(far) }
        }
    }
}

impl NetStage {
    fn place_of(&self, stream: &str, need: Need) -> Place {
        let (table, me) = (self.snapshot.load(), self.identity.id);
        let own = table.stream_names.get(stream).map(|(_, def)| Keeper {
            hub: me,
            def,
            cost: Some(0),
            drains: table.routes.is_draining(me),
        });
        let others = table.routes.homes_of(stream);
        let others = others.map(|home| Keeper {
            hub: home.hub,
            def: home.def,
            cost: home.cost,
            drains: table.routes.is_draining(home.hub),
        });
        choose(me, &own.into_iter().chain(others).collect::<Vec<_>>(), need)
    }

    /// The seat of a consumer of this name, or of any when it is empty.
    fn seat_of(&self, stream: &str, consumer: &str) -> Need {
        let preferences = &self.network.tunnels.near.preferences;
        if preferences.is_empty() {
            return Need::Seat(None);
        }
        let table = self.snapshot.load();
        let own = table.stream_names.get(stream).map(|(_, def)| def.id);
        let id = own.or_else(|| table.routes.homes_of(stream).next().map(|home| home.def.id));
        let preference = id.and_then(|id| preferences.get(&(id, consumer.to_owned())));
        Need::Seat(preference.and_then(Preference::hub))
    }

    /// Sends a client's frame to another hub, if it belongs there. Answers
    /// whether it was dealt with; if not, this hub serves it.
    pub(in crate::net) fn tunnel_takes(&mut self, id: SessionId, decoded: &Frame<'_>, bytes: &[u8]) -> bool {
        if self.connection(id).is_none_or(|connection| connection.tunnelled) {
            return false;
        }
        let request = |request: u64| Opens::Request(request);
        let (stream, need, opens) = match decoded {
            Frame::Subscribe(s) if s.stream.is_empty() => return false,
            Frame::Subscribe(s) => (s.stream, Need::Read, Opens::Subscription(s.id)),
            Frame::Consume(c) => (c.stream, self.seat_of(c.stream, c.consumer), Opens::Subscription(c.id)),
            Frame::ConsumerCreate(c) => (c.stream, self.seat_of(c.stream, c.spec.name), request(c.request)),
            Frame::ConsumerDelete(c) => (c.stream, self.seat_of(c.stream, c.name), request(c.request)),
            Frame::ConsumerInfo(c) => (c.stream, self.seat_of(c.stream, c.name), request(c.request)),
            Frame::ConsumerControl(c) => (c.stream, self.seat_of(c.stream, c.name), request(c.request)),
            Frame::StreamInfo(i) => (i.name, Need::Any, request(i.request)),
            Frame::LastGet(l) => (l.stream, Need::Read, request(l.request)),
            Frame::AwaitLevel(a) => (a.stream, Need::Home(a.home), request(a.request)),
            Frame::Unsubscribe(u) => return self.of_subscription(id, u.id, None, bytes, true),
            Frame::Credit(c) => return self.of_subscription(id, c.id, None, bytes, false),
            Frame::Settle(s) => {
                return self.of_subscription(id, s.id, (s.request != 0).then_some(s.request), bytes, false);
            }
            Frame::StreamCreate(create) => return self.create_at_homes(id, create, bytes),
            Frame::StreamDelete(delete) => {
                return self.at_all_homes(id, delete.name, delete.request, Sum::Gone, bytes);
            }
            Frame::StreamAlter(alter) => {
                return self.at_all_homes(id, alter.spec.name, alter.request, Sum::All, bytes);
            }
            Frame::StreamList(list) => return self.list_all(id, list.request, bytes),
            _ => return false,
        };
        let (Opens::Subscription(SubscriptionId(number)) | Opens::Request(number)) = opens;
        match (self.place_of(stream, need), opens) {
            (Place::Unknown, _) if self.snapshot.load().may_lack_streams(false, self.now.mono) => {
                let detail = format!(
                    "this hub has just started and has not heard yet who keeps the stream `{stream}`: ask again"
                );
                self.refuse_for(id, number, ErrorCode::UNREACHABLE, ASK_AGAIN_MS, &detail);
                true
            }
            (Place::Here | Place::Unknown, Opens::Subscription(subscription)) => {
                self.network.tunnels.near.by_subscription.remove(&(id, subscription.0));
                false
            }
            (Place::Here | Place::Unknown, Opens::Request(_)) => false,
            (Place::OutOfReach(homes), _) => {
                let near = &self.network.tunnels.near;
                let names: Vec<String> = homes.iter().map(|hub| near.name_of(*hub)).collect();
                let detail = format!("no hub that serves the stream `{stream}` can be reached ({})", names.join(", "));
                if let Frame::StreamInfo(_) = decoded {
                    let stream = stream.to_owned();
                    self.out.append.push(ToAppend::SpoolReport { session: id, id: number, stream, detail });
                    return true;
                }
                self.refuse_for(id, number, ErrorCode::UNREACHABLE, 1_000, &detail);
                true
            }
            (Place::At(hub), Opens::Subscription(subscription)) => {
                self.subscribe_at(id, hub, subscription, bytes);
                true
            }
            (Place::At(hub), Opens::Request(request)) => {
                self.request_at(id, hub, request, bytes);
                true
            }
        }
    }

    fn subscribe_at(&mut self, id: SessionId, hub: HubId, subscription: SubscriptionId, bytes: &[u8]) {
        let most = self.options.limits.subscriptions_per_session;
        let here = self
            .connection(id)
            .map(|c| (c.egress.subscribers.knows(subscription), c.egress.subscribers.subscriptions()));
        let Some((is_known, own)) = here else { return };
        if is_known {
            let detail = "the subscription's number is in use: choose another";
            return self.refuse(id, subscription.0, ErrorCode::IN_USE, detail);
        }
        if own + self.network.tunnels.near.subscriptions(id) >= most {
            let detail = format!("the session has {most} subscriptions, its limit (limits.subscriptions_per_session)");
            return self.refuse(id, subscription.0, ErrorCode::LIMIT, &detail);
        }
        if let Some(tunnel) = self.send_home(id, hub, subscription.0, bytes) {
            self.network.tunnels.near.by_subscription.insert((id, subscription.0), tunnel);
        }
    }

    fn request_at(&mut self, id: SessionId, hub: HubId, request: u64, bytes: &[u8]) {
        let window = self.options.limits.publish_blocks as usize;
        let Some(tunnel) = self.send_home(id, hub, request, bytes) else { return };
        let Some(end) = self.network.tunnels.near.ends.get_mut(&tunnel) else { return };
        if end.requests.len() < window {
            end.requests.insert(request);
        }
    }

    /// A frame about a subscription goes where that is served.
    fn of_subscription(
        &mut self,
        id: SessionId,
        subscription: SubscriptionId,
        request: Option<u64>,
        bytes: &[u8],
        ends: bool,
    ) -> bool {
        let near = &mut self.network.tunnels.near;
        let key = (id, subscription.0);
        let tunnel = if ends { near.by_subscription.remove(&key) } else { near.by_subscription.get(&key).copied() };
        let Some(home) = tunnel.and_then(|tunnel| near.ends.get(&tunnel)).map(|end| end.home) else { return false };
        match request {
            Some(request) => self.request_at(id, home, request, bytes),
            None => {
                self.send_home(id, home, subscription.0, bytes);
            }
        }
        true
    }

    /// A subscription that is served at another hub ends. Answers whether it is one.
    pub(in crate::net) fn leave_home(&mut self, id: SessionId, subscription: SubscriptionId) -> bool {
        let near = &mut self.network.tunnels.near;
        let tunnel = near.by_subscription.remove(&(id, subscription.0));
        let Some(home) = tunnel.and_then(|tunnel| near.ends.get(&tunnel)).map(|end| end.home) else { return false };
        let mut bytes = Vec::new();
        frame::encode(&Frame::Unsubscribe(frame::Unsubscribe { id: subscription }), &mut bytes);
        self.send_home(id, home, subscription.0, &bytes);
        true
    }

    /// Makes a stream at each of its homes, with one number.
    fn create_at_homes(&mut self, id: SessionId, create: &StreamCreate<'_>, bytes: &[u8]) -> bool {
        let (spec, request) = (&create.spec, create.request);
        let me = self.identity.id;
        if spec.homes.is_empty() || (spec.homes.len() == 1 && spec.homes.first() == Some(&self.identity.name.as_str()))
        {
            // Of one name there is one stream in the mesh.
            return match self.place_of(spec.name, Need::Any) {
                Place::At(hub) => {
                    self.request_at(id, hub, request, bytes);
                    true
                }
                Place::Here | Place::Unknown | Place::OutOfReach(_) => false,
            };
        }
        if spec.consistency == Consistency::Strong && spec.homes.len() > 1 {
            let detail = "a strong stream has one home, which orders all writes: name one, or choose `monotonic`";
            self.refuse(id, request, ErrorCode::UNSUPPORTED, detail);
            return true;
        }
        let known = {
            let table = self.snapshot.load();
            let own = table.stream_names.get(spec.name).map(|(_, def)| def.id);
            own.or_else(|| table.routes.homes_of(spec.name).next().map(|home| home.def.id))
        };
        let number = if spec.id != 0 { Some(spec.id) } else { known };
        // Another one than an earlier stream of the name had.
        let fresh = || weft_mesh::GroupKey::of_name(&format!("{me}/{}/{}", self.now.wall.0, spec.name)).0.max(1);
        let number = number.unwrap_or_else(fresh);
        let whole = StreamCreate { request, spec: StreamSpec { id: number, ..spec.clone() } };
        let mut encoded = Vec::new();
        if let Err(error) = frame::try_encode(&Frame::StreamCreate(whole), &mut encoded) {
            self.refuse(id, request, ErrorCode::LIMIT, &error.to_string());
            return true;
        }
        let homes: Vec<(HubId, String)> =
            spec.homes.iter().map(|name| (HubId::of_name(name), (*name).to_owned())).collect();
        self.fan_out(id, request, Sum::All, &homes, &encoded, me);
        true
    }

    /// A frame that changes a stream goes to all who keep it. Of several that were
    /// made apart under one name only this hub's own is meant; where it keeps none
    /// of them it does not choose.
    fn at_all_homes(&mut self, id: SessionId, name: &str, request: u64, sum: Sum, bytes: &[u8]) -> bool {
        let me = self.identity.id;
        let (own, others, numbers) = {
            let table = self.snapshot.load();
            let own = table.stream_names.get(name).filter(|(_, def)| def.is_home()).map(|(_, def)| def.id);
            let is_meant = |def: &StreamDef| !def.is_home() || own.is_none_or(|own| own == def.id);
            let others = || table.routes.homes_of(name);
            let numbers: BTreeSet<u64> =
                others().filter(|at| at.def.is_home()).map(|at| at.def.id).chain(own).collect();
            let meant: BTreeSet<HubId> = others().filter(|at| is_meant(at.def)).map(|at| at.hub).collect();
            (table.stream_names.contains_key(name), meant, numbers)
        };
        if !own && numbers.len() > 1 {
            let detail =
                format!("{} streams have the name `{name}`: ask at a hub that keeps the one meant", numbers.len());
            self.refuse(id, request, ErrorCode::STREAM_EXISTS, &detail);
            return true;
        }
        if others.is_empty() {
            return false;
        }
        let near = &self.network.tunnels.near;
        let mut homes: Vec<(HubId, String)> = others.into_iter().map(|hub| (hub, near.name_of(hub))).collect();
        if own {
            homes.push((me, self.identity.name.clone()));
        }
        self.fan_out(id, request, sum, &homes, bytes, me);
        true
    }

    /// Lists the streams of all hubs that can be reached.
    fn list_all(&mut self, id: SessionId, request: u64, bytes: &[u8]) -> bool {
        let me = self.identity.id;
        let mut hubs: BTreeSet<HubId> = {
            let table = self.snapshot.load();
            table.routes.all_streams().filter(|home| home.cost.is_some()).map(|home| home.hub).collect()
        };
        if hubs.is_empty() {
            return false;
        }
        hubs.insert(me);
        let homes: Vec<(HubId, String)> = hubs.into_iter().map(|hub| (hub, String::new())).collect();
        self.fan_out(id, request, Sum::Reports, &homes, bytes, me);
        true
    }

    /// Sends a request to several hubs, this one among them: their answers are
    /// put together.
    fn fan_out(&mut self, id: SessionId, request: u64, sum: Sum, homes: &[(HubId, String)], bytes: &[u8], me: HubId) {
        if self.network.tunnels.near.has_fan(id, request) {
            return self.refuse(
                id,
                request,
                ErrorCode::IN_USE,
                "a request of this number is under way: choose another",
            );
        }
        let (mut waits, mut failed) = (BTreeSet::new(), Vec::new());
        for (hub, name) in homes {
            let is_near = *hub == me || self.snapshot.load().routes.is_reachable(*hub);
            let tunnel = if is_near { self.send_home(id, *hub, request, bytes) } else { None };
            match tunnel {
                Some(tunnel) => {
                    waits.insert(tunnel);
                }
                None => failed.push((ErrorCode::UNREACHABLE, format!("{name}: it cannot be reached"))),
            }
        }
        self.network.tunnels.near.fan_out((id, request), sum, waits, failed);
        self.send_answers();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn def(role: u8, consistency: Consistency) -> StreamDef {
        StreamDef { name: "s".into(), id: 1, role, unreachable: 0, consistency: consistency as u8 }
    }

    #[test]
    fn a_read_goes_where_the_streams_promise_lets_it() {
        let me = HubId(5);
        for (consistency, nearest, seat) in [
            (Consistency::Monotonic, Place::Here, Place::At(HubId(3))),
            (Consistency::Eventual, Place::Here, Place::At(HubId(3))),
            (Consistency::Strong, Place::At(HubId(3)), Place::At(HubId(3))),
        ] {
            let (mirror, home) = (def(1, consistency), def(0, consistency));
            let keepers = [
                Keeper { hub: me, def: &mirror, cost: Some(0), drains: false },
                Keeper { hub: HubId(3), def: &home, cost: Some(90), drains: false },
                Keeper { hub: HubId(2), def: &home, cost: None, drains: false },
            ];
            assert_eq!(choose(me, &keepers, Need::Read), nearest, "{consistency:?}");
            assert_eq!(choose(me, &keepers, Need::Seat(None)), seat);
            assert_eq!(choose(me, &keepers, Need::Seat(Some(HubId(2)))), seat, "one out of reach is not preferred");
            assert_eq!(choose(me, &keepers[2..], Need::Read), Place::OutOfReach(vec![HubId(2)]));
            assert_eq!(choose(me, &keepers[..1], Need::Seat(Some(me))), Place::Unknown, "a mirror has no consumers");
            assert_eq!(choose(me, &keepers, Need::Home(HubId(2))), Place::OutOfReach(vec![HubId(2)]));
        }
    }

    #[test]
    fn all_hubs_pick_the_same_home_for_a_consumer() {
        let home = def(0, Consistency::Monotonic);
        let at = |me: u64, cost: [u64; 2]| {
            let keepers = [(2, cost[0]), (4, cost[1])];
            let keepers =
                keepers.map(|(hub, cost)| Keeper { hub: HubId(hub), def: &home, cost: Some(cost), drains: false });
            (choose(HubId(me), &keepers, Need::Seat(None)), choose(HubId(me), &keepers, Need::Seat(Some(HubId(4)))))
        };
        let (at_2, at_4) = (Place::At(HubId(2)), Place::At(HubId(4)));
        assert_eq!(
            [at(2, [0, 9]), at(4, [9, 0]), at(7, [9, 1])],
            [(Place::Here, at_4.clone()), (at_2.clone(), Place::Here), (at_2, at_4)]
        );
    }
}
