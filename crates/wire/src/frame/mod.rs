//! Frames: what a client and a hub, or two hubs, say over one connection.
//!
//! ```text
//!   0 u32 length of the whole frame: a multiple of 8, at least 16
//!   4 u8  kind
//!   5 u8  flags: zero but where the kind says otherwise
//!   6 u16 zero
//!   8 u64 id: of a request, a subscription or a ping; zero where a kind has none
//!  16     body
//! ```
//!
//! **Control frames.** The body is the fields of the kind's structure in the
//! order in which they are declared, but for the one that is the header's id,
//! without padding between them: integers
//! little-endian, a `bool` one byte of 0 or 1, a text or bytes a u16 length and
//! then the bytes (texts are UTF-8; the bodies of `Govern` and `Governed` have a u32 length), a list a u32 count and then the items.
//! Zeros follow to a multiple of 8. A control frame has one encoding: what is
//! decoded and encoded again gives the same bytes.
//!
//! **Data frames** carry a block at an offset that is a multiple of 8, so that
//! it is read where it was received and written from where it lies:
//!
//! ```text
//! Publish   id request       flags level, homes << 4   16 block
//! Deliver   id subscription  flags hops       16 block
//! Found     id request       flags zero       16 u32 event, u32 zero; block
//! Forward   id zero          flags ttl        16 u32 entries, u32 zero; 24 entries of 32 bytes; block
//! Detour    id zero          flags ttl        16 u32 entries, u8 hubs, u8 copy, u16 zero; 24 hubs of u64; entries of 32 bytes; block
//! Handout   id subscription  flags zero       16 u64 first, u32 attempt, u16 runs, u16 zero; 32 runs of u16 from, u16 count; zeros to 8; block
//! Packed  id zero            flags zero       16 u8 codec, u8 lane, u16 frames, u32 plain length, u32 length, u32 zero; bytes; zeros to 8
//!    entry: 0 u64 hub │ 8 u32 incarnation │ 12 u8 kind │ 13 u8 1 = retransmit │ 14 u16 0 │ 16 u64 sequence │ 24 u64 base
//! ```
//!
//! Decoding a frame checks the frame; the block in it is validated by whoever
//! takes it in, with [`Block::validate`](crate::Block::validate).
//!
//! **The conversation.** The side that dials sends [`Hello`]; the answer is
//! [`Welcome`], or [`Goodbye`] and the end. The versions of the protocol are
//! negotiated there, the highest that both speak, and features by bits that both
//! must set. From version 2 on both hubs of a link then send [`LinkOpen`], and
//! the link counts once that of the other end was accepted. A request is answered
//! by the frame its structure names, or by [`ErrorFrame`] with its id.

mod admin;
mod change;
mod codec;
mod consumer;
mod crossing;
mod data;
mod detour;
mod drain;
mod error;
mod govern;
mod handout;
mod join;
mod kind;
mod link;
mod native;
mod open;
mod packed;
mod peek;
mod pressure;
mod profile;
mod receipt;
mod record;
mod see;
mod stream;
mod survey;

pub use crate::code::ErrorCode;
pub use admin::{CounterReport, DRAINING_HUB, Done, HubReport, LinkReport, MeshReport, MeshShow};
pub use change::{AS_IT_IS, Change, ChangeLine, ChangeWhat, Changes, MAX_CHANGE_LABELS, Trial, TrialAct};
pub use consumer::{
    Consume, ConsumerAction, ConsumerControl, ConsumerCreate, ConsumerDelete, ConsumerInfo, ConsumerMode,
    ConsumerReport, ConsumerReports, ConsumerSpec, Consuming, MemberReport, Replay,
};
pub use crossing::{LinkCounted, LinkLedger, MAX_LEDGER_COLUMNS};
pub use data::{
    Deliver, FLOW_ENTRY_LEN, FOUND_HEAD, FlowEntry, FlowKind, Forward, Found, Publish, TooMany, deliver_head,
    forward_head, found_head, publish_head, publish_homes_head,
};
pub use detour::{Detour, PathCopy, TooLong, detour_head};
pub use drain::{Drain, DrainAction, DrainReport, DrainState, DrainStatus, Leave, Place, Redirect};
pub use error::{EncodeError, FrameClause, FrameError};
pub use govern::{Govern, Governed};
pub use handout::{BadRuns, Handout, RUN_LEN, Run, Settle, SettleRange, Verb, handout_head, handout_head_len};
pub use join::{Join, JoinNeighbour, JoinSetting, Joined, MAX_CSR, MAX_JOIN_HOSTS, MAX_JOIN_LIST, MAX_SECRET};
pub use kind::Kind;
pub use link::{
    BoundAck, DIGEST_SUMS, Digest, DigestEntry, DigestSum, FlowAck, FlowPlace, Interest, InterestChange, InterestKind,
    LinkState, LinkStateLink, LinkStateRecord, StreamInterest, Want, WantEntry, WayAck,
};
pub use native::{
    Ack, AckLevel, Credit, ErrorFrame, Gap, Goodbye, Hello, Limit, OnFull, Ping, Pong, Role, Start, Subscribe,
    Subscribed, Unsubscribe, Unsubscribed, Welcome, Why, WhyReport,
};
pub use open::{Conflict, Connections, LinkOpen, OpenItem};
pub use packed::{PACKED_HEAD, Packed};
pub use peek::{Peek, peek, peek_block, peek_kind, publish_of};
pub use pressure::{GateState, LinkCredit, Pressure};
pub use profile::{Profile, ProfileReport, ProfileStack};
pub use receipt::{
    LiveAsk, LiveLine, LiveReport, LiveScope, LiveState, MAX_LIVE_HUBS, ReceiptAck, ReceiptAsk, ReceiptEntry,
};
pub use record::{Attributes, Record, attribute, push_attribute};
pub use see::{Ask, Fact, HubTold, MAX_FACTS, MAX_TOPICS, SeeWhat, Told, TopicPage, WhyNot, facts};
pub use stream::{
    AwaitLevel, Consistency, LastGet, LastValues, Retention, StreamAlter, StreamCreate, StreamDelete, StreamInfo,
    StreamList, StreamReport, StreamReports, StreamRole, StreamSpec, Unreachable,
};
pub use survey::{Survey, surveyed};

use codec::{Reader, Writer};
use peek::Head;

/// Bytes of a frame before its body.
pub const FRAME_HEADER: usize = 16;
/// The newest version of the protocol that this crate speaks, for [`Hello`].
/// Version 2 begins a link between hubs with [`LinkOpen`], and has the frames
/// between hubs whose kinds are above 100; a session of a client has `Redirect`,
/// `Leave` and `Drain` from it on, and is the same otherwise.
pub const PROTOCOL_VERSION: u16 = 2;
/// The oldest version that it speaks.
pub const PROTOCOL_VERSION_LEAST: u16 = 1;
/// The largest frame there is: a `Forward` with all its entries and the largest block.
/// A `Detour`, whose hubs are named besides, has as many fewer entries at most.
pub const MAX_FRAME: usize = FRAME_HEADER + 8 + MAX_FLOW_ENTRIES * FLOW_ENTRY_LEN + crate::block::MAX_BLOCK;
/// The most flow entries in a `Detour`.
pub const MAX_DETOUR_ENTRIES: usize = MAX_FLOW_ENTRIES - MAX_DETOUR_HUBS * 8 / FLOW_ENTRY_LEN;
/// The largest control frame, in bytes: longer lists go in several frames.
pub const MAX_CONTROL_FRAME: usize = 1 << 20;
/// The most flow entries in a `Forward`.
pub const MAX_FLOW_ENTRIES: usize = 4096;
/// The most hubs that a `Detour` names.
pub const MAX_DETOUR_HUBS: usize = 64;
/// The longest name of a hub, region, stream, group or counter, in bytes.
pub const MAX_NAME: usize = 255;
/// The largest weight of a member of a group.
pub const MAX_WEIGHT: u16 = 1_000;
/// The number of a session's inbox for replies: a subscription that a client
/// makes with the filter `_reply/HUB/SESSION/**`, HUB and SESSION being those
/// of its [`Welcome`], before it sends requests. It has credit and a bounded
/// queue as any other.
pub const REPLY_INBOX: weft_base::SubscriptionId = weft_base::SubscriptionId(u64::MAX);
/// The longest filter, in bytes: as long as the longest topic.
pub const MAX_FILTER: usize = crate::block::MAX_TOPIC;
/// The longest text meant for people (`detail`, `software`), in bytes. Longer
/// ones are cut when they are encoded.
pub const MAX_TEXT: usize = 1024;
/// What is said with the bits of `features`.
pub mod feature {
    /// Of a hub in `Welcome`: it asks who clients are, and a client that is in may say
    /// `Hello` again with something newer. Of that only the token counts. Refused, the
    /// session goes on by what was shown before, and an `Error` for request 0 says why.
    pub const LOGINS: u64 = 1;
}

/// The longest token in a `Hello`, in bytes: the longest [`Shown`](crate::shown::Shown).
pub const MAX_TOKEN: usize = (16 << 10) + 1;
/// The most filters of one stream.
pub const MAX_STREAM_FILTERS: usize = 256;
/// The most filters of one consumer.
pub const MAX_CONSUMER_FILTERS: usize = 64;
/// The longest predicate of a consumer, in bytes of its text.
pub const MAX_PREDICATE: usize = 4096;
/// The most waits in a consumer's back-off.
pub const MAX_BACKOFF: usize = 32;
/// The most runs in a `Handout`: what is more goes in several.
pub const MAX_HANDOUT_RUNS: usize = 1024;
/// The most ranges in a `Settle`: what is more goes in several.
pub const MAX_SETTLE_RANGES: usize = 4096;
/// The most homes of one stream, and hubs in a position.
pub const MAX_HOMES: usize = 64;
/// The most places in one `FlowAck`.
pub const MAX_FLOW_PLACES: usize = 256;
/// The most homes that an acknowledgement can wait for.
pub const MAX_ACK_HOMES: u8 = 15;
/// The most bytes of the attributes of a `Record`.
pub const MAX_ATTRIBUTES: usize = 16 << 10;
/// The most places in a `Redirect`.
pub const MAX_PLACES: usize = 16;
/// The longest address at which a hub takes clients, in bytes.
pub const MAX_CLIENT_ADDRESS: usize = 255;
/// The most facts in a `LinkOpen`.
pub const MAX_OPEN_ITEMS: usize = 1024;
/// The longest of them, in bytes.
pub const MAX_OPEN_VALUE: usize = 1024;
/// The longest certificates in a `Joined`, PEM, in bytes.
pub const MAX_PEM: usize = 65_535;
/// The most bytes of the body of a `Govern` or `Governed`: what is more goes in pages.
pub const MAX_GOVERN_BODY: usize = MAX_CONTROL_FRAME - FRAME_HEADER - 16;
/// The most items in any other list.
pub const MAX_LIST: usize = 65_535;

/// Bodies of the kinds that have a structure with `read` and `write`.
macro_rules! frames {
    ($($(#[doc = $doc:literal])+ $name:ident($body:ty);)+) => {
        /// A frame. Texts, bytes and blocks are borrowed from the bytes decoded;
        /// only lists of control frames are collected.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Frame<'a> {
            $($(#[doc = $doc])+ $name($body),)+
        }

        impl<'a> Frame<'a> {
            /// What kind of frame it is.
            #[must_use]
            pub const fn kind(&self) -> Kind {
                match self {
                    $(Self::$name(_) => Kind::$name,)+
                }
            }

            fn read(kind: Kind, reader: &mut Reader<'a>) -> Result<Self, FrameError> {
                match kind {
                    $(Kind::$name => <$body>::read(reader).map(Self::$name),)+
                }
            }

            fn write(&self, writer: &mut Writer<'_>) {
                match self {
                    $(Self::$name(body) => body.write(writer),)+
                }
            }
        }
    };
}

frames! {
    /// The first frame of the side that dials.
    Hello(Hello<'a>);
    /// The answer to `Hello`.
    Welcome(Welcome<'a>);
    /// Is the other side there?
    Ping(Ping);
    /// It is.
    Pong(Pong);
    /// The orderly end of the connection, with the reason.
    Goodbye(Goodbye<'a>);
    /// A request is refused.
    Error(ErrorFrame<'a>);
    /// A block for the mesh.
    Publish(Publish<'a>);
    /// A published block reached the level asked.
    Ack(Ack);
    /// A wish for events.
    Subscribe(Subscribe<'a>);
    /// The subscription stands.
    Subscribed(Subscribed);
    /// The end of a subscription.
    Unsubscribe(Unsubscribe);
    /// The subscription ended.
    Unsubscribed(Unsubscribed);
    /// A block for a subscription.
    Deliver(Deliver<'a>);
    /// Events that the subscription did not get.
    Gap(Gap);
    /// Room for more events.
    Credit(Credit);
    /// Make a stream.
    StreamCreate(StreamCreate<'a>);
    /// Delete a stream.
    StreamDelete(StreamDelete<'a>);
    /// Ask for one stream.
    StreamInfo(StreamInfo<'a>);
    /// Ask for all streams.
    StreamList(StreamList);
    /// Streams as they are.
    StreamReports(StreamReports<'a>);
    /// A request is done.
    Done(Done);
    /// Ask for the mesh as this hub sees it.
    MeshShow(MeshShow);
    /// The mesh as the hub sees it.
    MeshReport(MeshReport<'a>);
    /// What do my publishes wait for?
    Why(Why);
    /// That.
    WhyReport(WhyReport<'a>);
    /// Ask where the hub's time goes.
    Profile(Profile);
    /// Where it went.
    ProfileReport(ProfileReport<'a>);
    /// A block for other hubs.
    Forward(Forward<'a>);
    /// Blocks for other hubs, made smaller together.
    Packed(Packed<'a>);
    /// What a hub says of itself.
    LinkState(LinkState<'a>);
    /// What a hub's subscribers and streams want.
    Interest(Interest<'a>);
    /// What this hub knows of the others.
    Digest(Digest);
    /// What this hub is missing.
    Want(Want);
    /// How far a guaranteed flow has got.
    FlowAck(FlowAck);
    /// Room for more on a lane of the link.
    LinkCredit(LinkCredit);
    /// A subscription that makes publishers wait.
    Pressure(Pressure<'a>);
    /// Make a consumer.
    ConsumerCreate(ConsumerCreate<'a>);
    /// Delete a consumer.
    ConsumerDelete(ConsumerDelete<'a>);
    /// Ask for a consumer, or for all of a stream.
    ConsumerInfo(ConsumerInfo<'a>);
    /// Consumers as they are.
    ConsumerReports(ConsumerReports<'a>);
    /// A wish to be a member of a consumer.
    Consume(Consume<'a>);
    /// The member is in.
    Consuming(Consuming);
    /// Events of a block for a member of a consumer.
    Handout(Handout<'a>);
    /// What the member says of them.
    Settle(Settle<'a>);
    /// Pause, resume, reset or move a consumer.
    ConsumerControl(ConsumerControl<'a>);
    /// Ask for last values.
    LastGet(LastGet<'a>);
    /// A last value.
    Found(Found<'a>);
    /// Ask for a higher level for what was published.
    AwaitLevel(AwaitLevel<'a>);
    /// Change a stream's definition.
    StreamAlter(StreamAlter<'a>);
    /// A question or a change of what governs the mesh.
    Govern(Govern<'a>);
    /// The answer.
    Governed(Governed<'a>);
    /// Who has this hub's interest?
    ReceiptAsk(ReceiptAsk);
    /// These have it, and these not.
    ReceiptAck(ReceiptAck);
    /// Where is a subscription live?
    LiveAsk(LiveAsk<'a>);
    /// There, and there not.
    LiveReport(LiveReport<'a>);
    /// What a hub says of itself, with attributes.
    Record(Record<'a>);
    /// How far a guaranteed flow of events with a label has got.
    BoundAck(BoundAck);
    /// How far a guaranteed flow on another way than the main one has got.
    WayAck(WayAck);
    /// What a hub says of itself before anything else goes over a link.
    LinkOpen(LinkOpen<'a>);
    /// A hub was refused that is not who it says, or is so twice.
    Conflict(Conflict<'a>);
    /// What this hub knows of the others, in short.
    DigestSum(DigestSum);
    /// A block for one hub, by the hubs that it names.
    Detour(Detour<'a>);
    /// Ask all hubs where events went.
    Ask(Ask<'a>);
    /// What they say.
    Told(Told<'a>);
    /// Ask for the mesh with all that ways are found by.
    Survey(Survey);
    /// Change the hub, on trial.
    Change(Change<'a>);
    /// What becomes of changes.
    Trial(Trial);
    /// The changes that the hub has.
    Changes(Changes<'a>);
    /// A certificate is wanted.
    Join(Join<'a>);
    /// Here it is.
    Joined(Joined<'a>);
    /// Ask all hubs why events do not reach a subscriber.
    WhyNot(WhyNot<'a>);
    /// What a lane of this link has carried.
    LinkLedger(LinkLedger);
    /// What came of it.
    LinkCounted(LinkCounted);
    /// Go on at another hub.
    Redirect(Redirect<'a>);
    /// The client goes, once it has what waits for it.
    Leave(Leave);
    /// An operator drains the hub.
    Drain(Drain);
    /// How that stands.
    DrainReport(DrainReport);
}

impl<'a> Frame<'a> {
    /// The frame that `bytes` are, all of them. Allocates nothing for frames
    /// that carry a block; for lists of control frames, at most in proportion
    /// to the length.
    ///
    /// # Errors
    /// [`FrameError`] with the rule that is broken, the field and where.
    pub fn decode(bytes: &'a [u8]) -> Result<Frame<'a>, FrameError> {
        let head = Head::of_frame(bytes)?;
        let mut reader = Reader::new(bytes, &head);
        let frame = Self::read(head.kind, &mut reader)?;
        reader.end()?;
        Ok(frame)
    }
}

/// Appends the frame to `out`, as [`try_encode`] does. A frame beyond the
/// bounds is a mistake of the caller: it panics in debug builds and is left out
/// in others. Use [`try_encode`] where names, filters or lists were not
/// checked before.
pub fn encode(frame: &Frame<'_>, out: &mut Vec<u8>) {
    let result = try_encode(frame, out);
    debug_assert!(result.is_ok(), "a {:?} frame beyond its bounds: {result:?}", frame.kind());
}

/// Appends the frame to `out`. Texts meant for people are cut to [`MAX_TEXT`].
///
/// # Errors
/// [`EncodeError`] when a name, filter, token or list, or the whole frame, is
/// longer than it may be; `out` is then as it was.
pub fn try_encode(frame: &Frame<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let mut writer = Writer::start(out, frame.kind());
    frame.write(&mut writer);
    writer.finish()
}
