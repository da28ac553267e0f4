//! Between hubs: link state, interest, their repair, and flows.

use weft_base::{Epoch, HubId, Lane, Residency, Way};

use super::codec::{Reader, Writer, wire_enum};
use super::{ErrorCode, FrameClause, FrameError, MAX_FILTER, MAX_FLOW_PLACES, MAX_LIST};

/// A link as the hub at one end of it sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkStateLink {
    /// The hub at the other end.
    pub peer: HubId,
    /// The measured time there and back, in microseconds.
    pub rtt_us: u32,
    /// What routing reckons with.
    pub cost: u32,
}

/// What a hub says of itself; the record with the greatest epoch, and then the
/// greatest version, counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkStateRecord<'a> {
    /// Who says it.
    pub hub: HubId,
    /// In which of its lives.
    pub epoch: Epoch,
    /// Counts its records in that epoch.
    pub version: u64,
    /// Its name.
    pub name: &'a str,
    /// Its region.
    pub region: &'a str,
    /// Its links that are up.
    pub links: Vec<LinkStateLink>,
}

/// A record, flooded: passed on to every other link when it is new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkState<'a> {
    /// The record.
    pub record: LinkStateRecord<'a>,
}

impl<'a> LinkStateRecord<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        Ok(Self {
            hub: r.hub("hub")?,
            epoch: r.epoch("epoch")?,
            version: r.u64("version")?,
            name: r.name("name")?,
            region: r.name("region")?,
            links: r.list("links", MAX_LIST, 16, |r| {
                Ok(LinkStateLink { peer: r.hub("peer")?, rtt_us: r.u32("rtt_us")?, cost: r.u32("cost")? })
            })?,
        })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.u64(self.hub.0);
        w.u32(self.epoch.0);
        w.u64(self.version);
        w.name("name", self.name);
        w.name("region", self.region);
        w.list("links", &self.links, MAX_LIST, |w, link| {
            w.u64(link.peer.0);
            w.u32(link.rtt_us);
            w.u32(link.cost);
        });
    }
}

impl<'a> LinkState<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        LinkStateRecord::read(r).map(|record| Self { record })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        self.record.write(w);
    }
}

wire_enum! {
    /// Who wants the events.
    InterestKind {
        /// Subscribers that are there now.
        Live = 0,
        /// A stream.
        Stream = 1,
        /// The members of a group, who share the events.
        Group = 2,
    }
}

/// Of the interest of a stream: which stream, and what the hub is to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamInterest<'a> {
    /// The stream's name.
    pub name: &'a str,
    /// Its number: the same at all its homes, not 0.
    pub id: u64,
    /// What the hub is to the stream: 0 a home, 1 a mirror.
    pub role: u8,
    /// What becomes of publishes while no home can be reached: 0 refused, 1 spooled.
    pub unreachable: u8,
    /// What readers are promised: 0 monotonic, 1 strong, 2 eventual.
    pub consistency: u8,
}

/// A filter that a hub begins or ceases to want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterestChange<'a> {
    /// Whether it begins.
    pub add: bool,
    /// Who wants it.
    pub kind: InterestKind,
    /// The filter, canonical.
    pub filter: &'a str,
    /// Of a group: its name. Empty, and not in the frame, for the others.
    pub group: &'a str,
    /// Of a group: what the weights of the hub's members with this filter add
    /// up to, at least 1. 0, and not in the frame, for the others.
    pub weight: u32,
    /// Of a stream: which. Empty, and not in the frame, for the others.
    pub stream: StreamInterest<'a>,
}

impl InterestChange<'_> {
    /// The bytes it takes in a frame: for splitting long sets, so that a frame
    /// stays under [`MAX_CONTROL_FRAME`](super::MAX_CONTROL_FRAME).
    #[must_use]
    pub const fn encoded_len(&self) -> usize {
        let share = match self.kind {
            InterestKind::Group => 6 + self.group.len(),
            InterestKind::Stream => 13 + self.stream.name.len(),
            InterestKind::Live => 0,
        };
        4 + self.filter.len() + share
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.bool(self.add);
        w.u8(self.kind as u8);
        w.text("filter", self.filter, MAX_FILTER);
        if self.kind == InterestKind::Group {
            w.name("group", self.group);
            w.u32(self.weight);
        }
        if self.kind == InterestKind::Stream {
            w.name("stream", self.stream.name);
            w.u64(self.stream.id);
            w.u8(self.stream.role);
            w.u8(self.stream.unreachable);
            w.u8(self.stream.consistency);
        }
    }
}

impl<'a> InterestChange<'a> {
    fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        let add = r.bool("add")?;
        let kind = r.one_of("kind", InterestKind::from_number)?;
        let filter = r.text("filter", MAX_FILTER)?;
        let (mut group, mut weight, mut stream) = ("", 0, StreamInterest::default());
        if kind == InterestKind::Group {
            group = r.name("group")?;
            if group.is_empty() {
                return r.refuse(FrameClause::Value, "group", 0);
            }
            weight = r.u32("weight")?;
            if weight == 0 {
                return r.refuse(FrameClause::Value, "weight", 0);
            }
        }
        if kind == InterestKind::Stream {
            stream = StreamInterest {
                name: r.name("stream")?,
                id: r.u64("id")?,
                role: r.u8("role")?,
                unreachable: r.u8("unreachable")?,
                consistency: r.u8("consistency")?,
            };
            if stream.name.is_empty() {
                return r.refuse(FrameClause::Value, "stream", 0);
            }
            if stream.id == 0 {
                return r.refuse(FrameClause::Value, "id", 0);
            }
        }
        Ok(Self { add, kind, filter, group, weight, stream })
    }
}

/// What a hub's subscribers and streams want, or how that changed; flooded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interest<'a> {
    /// Whose interest it is.
    pub hub: HubId,
    /// In which of its lives.
    pub epoch: Epoch,
    /// The version that the changes start from; 0 for the whole set.
    pub from_version: u64,
    /// The version that they lead to.
    pub to_version: u64,
    /// The changes, at most [`MAX_LIST`].
    pub changes: Vec<InterestChange<'a>>,
    /// Whether more frames with the same versions follow.
    pub more: bool,
}

impl<'a> Interest<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        Ok(Self {
            hub: r.hub("hub")?,
            epoch: r.epoch("epoch")?,
            from_version: r.u64("from_version")?,
            to_version: r.u64("to_version")?,
            changes: r.list("changes", MAX_LIST, 4, InterestChange::read)?,
            more: r.bool("more")?,
        })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.u64(self.hub.0);
        w.u32(self.epoch.0);
        w.u64(self.from_version);
        w.u64(self.to_version);
        w.list("changes", &self.changes, MAX_LIST, |w, change| change.write(w));
        w.bool(self.more);
    }
}

/// What the sender knows of one hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DigestEntry {
    /// The hub.
    pub hub: HubId,
    /// Its newest epoch.
    pub epoch: Epoch,
    /// The version of its link state.
    pub link_version: u64,
    /// The version of its interest.
    pub interest_version: u64,
    /// A hash of its interest at that version, to find what went astray.
    pub interest_hash: u64,
}

/// What the sender knows of the others: sent to a neighbour from time to time,
/// which answers with what is newer, or with [`Want`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// One for each hub.
    pub entries: Vec<DigestEntry>,
}

impl Digest {
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, FrameError> {
        let entries = r.list("entries", MAX_LIST, 36, |r| {
            Ok(DigestEntry {
                hub: r.hub("hub")?,
                epoch: r.epoch("epoch")?,
                link_version: r.u64("link_version")?,
                interest_version: r.u64("interest_version")?,
                interest_hash: r.u64("interest_hash")?,
            })
        })?;
        Ok(Self { entries })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.list("entries", &self.entries, MAX_LIST, |w, entry| {
            w.u64(entry.hub.0);
            w.u32(entry.epoch.0);
            w.u64(entry.link_version);
            w.u64(entry.interest_version);
            w.u64(entry.interest_hash);
        });
    }
}

/// Into how many sums a [`DigestSum`] puts the hubs.
pub const DIGEST_SUMS: usize = 64;

/// What the sender knows of the others, in short: the neighbour answers with the
/// [`Digest`] of those hubs whose sums differ from its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigestSum {
    /// [`DIGEST_SUMS`] of them, by the hub's id modulo their number: of those
    /// hubs' entries the hashes added up, modulo 2^64. An entry's hash is XXH3
    /// (64 bits) of hub, link version, interest version, interest hash and epoch,
    /// little-endian, one after the other.
    pub sums: Vec<u64>,
}

impl DigestSum {
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, FrameError> {
        let sums = r.list("sums", DIGEST_SUMS, 8, |r| r.u64("sum"))?;
        if sums.len() != DIGEST_SUMS {
            return r.refuse(FrameClause::ListLength, "sums", sums.len() as u64);
        }
        Ok(Self { sums })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.list("sums", &self.sums, DIGEST_SUMS, |w, sum| w.u64(*sum));
    }
}

/// What the sender is missing of one hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantEntry {
    /// The hub.
    pub hub: HubId,
    /// The version of its link state that the sender has; 0 for none.
    pub have_link_version: u64,
    /// The version of its interest that the sender has; 0 for the whole set.
    pub have_interest_version: u64,
}

/// What the sender is missing; answered by [`LinkState`] and [`Interest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// One for each hub.
    pub entries: Vec<WantEntry>,
}

impl Want {
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, FrameError> {
        let entries = r.list("entries", MAX_LIST, 24, |r| {
            Ok(WantEntry {
                hub: r.hub("hub")?,
                have_link_version: r.u64("have_link_version")?,
                have_interest_version: r.u64("have_interest_version")?,
            })
        })?;
        Ok(Self { entries })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.list("entries", &self.entries, MAX_LIST, |w, entry| {
            w.u64(entry.hub.0);
            w.u64(entry.have_link_version);
            w.u64(entry.have_interest_version);
        });
    }
}

/// Where a block of a guaranteed flow entered its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowPlace {
    /// The block's number in the flow.
    pub number: u64,
    /// The home, as [`HubId::tag`](weft_base::HubId) says it.
    pub home: u32,
    /// That home's sequence of the block's first event.
    pub home_sequence: u64,
}

/// How far a guaranteed flow has got at its destination `from`; passed on hop
/// by hop to the flow's origin `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowAck {
    /// The flow's origin, which is to get this.
    pub to: HubId,
    /// The flow's destination, which says it.
    pub from: HubId,
    /// The origin's epoch in which the flow was started.
    pub to_epoch: Epoch,
    /// The flow's lane.
    pub lane: Lane,
    /// The flow's incarnation.
    pub incarnation: u32,
    /// The next block number expected: all before it are written.
    pub written: u64,
    /// All block numbers before this one are on disk.
    pub synced: u64,
    /// Why the flow is refused from `written` on; [`ErrorCode::NONE`] when it is not.
    pub refused: ErrorCode,
    /// Where blocks that are newly written or synced stand, in order of their
    /// numbers; those that went to several streams are left out. At most
    /// [`MAX_FLOW_PLACES`].
    pub places: Vec<FlowPlace>,
}

impl FlowAck {
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, FrameError> {
        Ok(Self {
            to: r.hub("to")?,
            from: r.hub("from")?,
            to_epoch: r.epoch("to_epoch")?,
            lane: r.one_of("lane", Lane::new)?,
            incarnation: r.u32("incarnation")?,
            written: r.u64("written")?,
            synced: r.u64("synced")?,
            refused: ErrorCode(r.u16("refused")?),
            places: r.list("places", MAX_FLOW_PLACES, 20, |r| {
                Ok(FlowPlace { number: r.u64("number")?, home: r.u32("home")?, home_sequence: r.u64("home_sequence")? })
            })?,
        })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.u64(self.to.0);
        w.u64(self.from.0);
        w.u32(self.to_epoch.0);
        w.u8(self.lane.get());
        w.u32(self.incarnation);
        w.u64(self.written);
        w.u64(self.synced);
        w.u16(self.refused.0);
        w.list("places", &self.places, MAX_FLOW_PLACES, |w, place| {
            w.u64(place.number);
            w.u32(place.home);
            w.u64(place.home_sequence);
        });
    }
}

/// As [`FlowAck`], of a flow whose events may be only at hubs with a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundAck {
    /// Where they may be; not [`Residency::ANYWHERE`].
    pub residency: Residency,
    /// How far it has got.
    pub ack: FlowAck,
}

impl BoundAck {
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, FrameError> {
        let residency = Residency(r.u32("residency")?);
        if !residency.is_bound() {
            return r.refuse_behind(4, FrameClause::Value, "residency", 0);
        }
        Ok(Self { residency, ack: FlowAck::read(r)? })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.u32(self.residency.0);
        self.ack.write(w);
    }
}

/// As [`FlowAck`], of a flow that takes another way than the main one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WayAck {
    /// The way that its blocks take; not [`Way::MAIN`].
    pub way: Way,
    /// Where its events may be.
    pub residency: Residency,
    /// How far it has got.
    pub ack: FlowAck,
}

impl WayAck {
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, FrameError> {
        let way = r.u8("way")?;
        if way == Way::MAIN.0 || way >= Way::MOST {
            return r.refuse_behind(1, FrameClause::Value, "way", way.into());
        }
        let residency = Residency(r.u32("residency")?);
        Ok(Self { way: Way(way), residency, ack: FlowAck::read(r)? })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.u8(self.way.0);
        w.u32(self.residency.0);
        self.ack.write(w);
    }
}
