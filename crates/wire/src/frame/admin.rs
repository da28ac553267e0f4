//! The mesh, as an operator asks for it. Not on the data path: lists are
//! collected.

use weft_base::{Epoch, HubId};

use super::codec::{Reader, Writer};
use super::native::numbers;
use super::{FrameError, MAX_LIST};

numbers! {
    /// The request is done.
    Done {
        /// The request.
        request: u64,
    }
}

numbers! {
    /// Asks for the mesh as this hub sees it; answered by [`MeshReport`].
    MeshShow {
        /// Chosen by the client.
        request: u64,
    }
}

/// Begins the name of the counter in a [`MeshReport`] that says, with a hub's
/// name behind it, that this hub is about to stop.
pub const DRAINING_HUB: &str = "draining.";

/// A hub of the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HubReport<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its region.
    pub region: &'a str,
    /// Its id.
    pub id: HubId,
    /// Its epoch.
    pub epoch: Epoch,
    /// Whether there is a path to it.
    pub reachable: bool,
    /// Over how many links; 0 for the hub itself.
    pub hops: u8,
    /// The measured time there and back, in nanoseconds; 0 when not known.
    pub rtt_ns: u64,
    /// How many filters it wants.
    pub interest: u32,
}

/// A link of the mesh, in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkReport {
    /// From this hub.
    pub from: HubId,
    /// To this hub.
    pub to: HubId,
    /// The measured time there and back, in nanoseconds; 0 when not known.
    pub rtt_ns: u64,
    /// What routing reckons with.
    pub cost: u32,
    /// Whether both ends see it.
    pub up: bool,
}

/// A counter of the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterReport<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its value.
    pub value: u64,
}

/// The mesh as the hub sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshReport<'a> {
    /// The request.
    pub request: u64,
    /// The hub that answers; it is among `hubs`.
    pub me: HubId,
    /// Every hub it knows of.
    pub hubs: Vec<HubReport<'a>>,
    /// Every link it knows of.
    pub links: Vec<LinkReport>,
    /// Its counters.
    pub counters: Vec<CounterReport<'a>>,
}

impl<'a> MeshReport<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        let me = r.hub("me")?;
        let hubs = r.list("hubs", MAX_LIST, 30, |r| {
            Ok(HubReport {
                name: r.name("name")?,
                region: r.name("region")?,
                id: r.hub("id")?,
                epoch: r.epoch("epoch")?,
                reachable: r.bool("reachable")?,
                hops: r.u8("hops")?,
                rtt_ns: r.u64("rtt_ns")?,
                interest: r.u32("interest")?,
            })
        })?;
        let links = r.list("links", MAX_LIST, 29, |r| {
            Ok(LinkReport {
                from: r.hub("from")?,
                to: r.hub("to")?,
                rtt_ns: r.u64("rtt_ns")?,
                cost: r.u32("cost")?,
                up: r.bool("up")?,
            })
        })?;
        let counters =
            r.list("counters", MAX_LIST, 10, |r| Ok(CounterReport { name: r.name("name")?, value: r.u64("value")? }))?;
        Ok(Self { request: r.id(), me, hubs, links, counters })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.id(self.request);
        w.u64(self.me.0);
        w.list("hubs", &self.hubs, MAX_LIST, |w, hub| {
            w.name("name", hub.name);
            w.name("region", hub.region);
            w.u64(hub.id.0);
            w.u32(hub.epoch.0);
            w.bool(hub.reachable);
            w.u8(hub.hops);
            w.u64(hub.rtt_ns);
            w.u32(hub.interest);
        });
        w.list("links", &self.links, MAX_LIST, |w, link| {
            w.u64(link.from.0);
            w.u64(link.to.0);
            w.u64(link.rtt_ns);
            w.u32(link.cost);
            w.bool(link.up);
        });
        w.list("counters", &self.counters, MAX_LIST, |w, counter| {
            w.name("name", counter.name);
            w.u64(counter.value);
        });
    }
}
