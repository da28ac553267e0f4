//! Streams and the mesh, as an operator asks for them. Not on the data path:
//! lists are collected.

use weft_base::{Epoch, HubId};

use super::codec::{Reader, Writer};
use super::native::numbers;
use super::{FrameError, MAX_FILTER, MAX_LIST, MAX_STREAM_FILTERS};

/// What a stream keeps, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSpec<'a> {
    /// The stream's name, unique in the mesh.
    pub name: &'a str,
    /// Which topics it takes; at most [`MAX_STREAM_FILTERS`].
    pub filters: Vec<&'a str>,
    /// How many bytes it keeps; 0 for any number.
    pub retain_bytes: u64,
    /// How long it keeps events, in milliseconds; 0 for ever.
    pub retain_age_ms: u64,
    /// The size of its files; 0 for the hub's default.
    pub segment_bytes: u64,
}

fn read_filters<'a>(r: &mut Reader<'a>) -> Result<Vec<&'a str>, FrameError> {
    r.list("filters", MAX_STREAM_FILTERS, 2, |r| r.text("filter", MAX_FILTER))
}

fn write_filters(w: &mut Writer<'_>, filters: &[&str]) {
    w.list("filters", filters, MAX_STREAM_FILTERS, |w, filter| w.text("filter", filter, MAX_FILTER));
}

/// Makes a stream; answered by [`Done`] or `Error`. Making it again as it is
/// changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamCreate<'a> {
    /// Chosen by the client.
    pub request: u64,
    /// What to make.
    pub spec: StreamSpec<'a>,
}

impl<'a> StreamCreate<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        let spec = StreamSpec {
            name: r.name("name")?,
            filters: read_filters(r)?,
            retain_bytes: r.u64("retain_bytes")?,
            retain_age_ms: r.u64("retain_age_ms")?,
            segment_bytes: r.u64("segment_bytes")?,
        };
        Ok(Self { request: r.id(), spec })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.id(self.request);
        w.name("name", self.spec.name);
        write_filters(w, &self.spec.filters);
        w.u64(self.spec.retain_bytes);
        w.u64(self.spec.retain_age_ms);
        w.u64(self.spec.segment_bytes);
    }
}

/// A frame that names one stream.
macro_rules! about_stream {
    ($(#[doc = $doc:literal])+ $name:ident) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name<'a> {
            /// Chosen by the client.
            pub request: u64,
            /// The stream.
            pub name: &'a str,
        }

        impl<'a> $name<'a> {
            pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
                Ok(Self { request: r.id(), name: r.name("name")? })
            }

            pub(super) fn write(&self, w: &mut Writer<'_>) {
                w.id(self.request);
                w.name("name", self.name);
            }
        }
    };
}

about_stream! {
    /// Deletes a stream and what it keeps; answered by [`Done`] or `Error`.
    StreamDelete
}

about_stream! {
    /// Asks for one stream; answered by [`StreamReports`] or `Error`.
    StreamInfo
}

numbers! {
    /// Asks for all streams of the hub; answered by [`StreamReports`].
    StreamList {
        /// Chosen by the client.
        request: u64,
    }
}

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

/// A stream as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamReport<'a> {
    /// Its name.
    pub name: &'a str,
    /// Which topics it takes.
    pub filters: Vec<&'a str>,
    /// The name of the hub that keeps it.
    pub home: &'a str,
    /// The sequence of the oldest event it keeps.
    pub first: u64,
    /// The sequence that the next event will get.
    pub next: u64,
    /// All below this sequence is on disk.
    pub synced: u64,
    /// The bytes of what it keeps.
    pub bytes: u64,
    /// How many bytes it keeps; 0 for any number.
    pub retain_bytes: u64,
    /// How long it keeps events, in milliseconds; 0 for ever.
    pub retain_age_ms: u64,
    /// The size of its files, in bytes.
    pub segment_bytes: u64,
}

/// Streams as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamReports<'a> {
    /// The request.
    pub request: u64,
    /// The streams.
    pub reports: Vec<StreamReport<'a>>,
}

impl<'a> StreamReports<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        let reports = r.list("reports", MAX_LIST, 64, |r| {
            Ok(StreamReport {
                name: r.name("name")?,
                filters: read_filters(r)?,
                home: r.name("home")?,
                first: r.u64("first")?,
                next: r.u64("next")?,
                synced: r.u64("synced")?,
                bytes: r.u64("bytes")?,
                retain_bytes: r.u64("retain_bytes")?,
                retain_age_ms: r.u64("retain_age_ms")?,
                segment_bytes: r.u64("segment_bytes")?,
            })
        })?;
        Ok(Self { request: r.id(), reports })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.id(self.request);
        w.list("reports", &self.reports, MAX_LIST, |w, report| {
            w.name("name", report.name);
            write_filters(w, &report.filters);
            w.name("home", report.home);
            w.u64(report.first);
            w.u64(report.next);
            w.u64(report.synced);
            w.u64(report.bytes);
            w.u64(report.retain_bytes);
            w.u64(report.retain_age_ms);
            w.u64(report.segment_bytes);
        });
    }
}

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
