//! Trace context: which trace an event belongs to, as W3C Trace Context writes it
//! into the header [`TRACEPARENT`](names::TRACEPARENT), and the ids of the spans
//! that hubs make of a block.
//!
//! No hub writes anything into a block for a trace. The id of a span is a hash of
//! what both ends of a link know: the trace, the block's stamp, the hub, the stage.
//! So a hub knows the span of the hub before it, and a consumer that of the hub
//! which delivered, without a byte more on the way (docs/adr/0055).
//!
//! Bounded: of a block at most [`LOOKED_AT`] events are looked at, and
//! [`MAX_LINKS`] contexts beside the first are kept. What is malformed counts as
//! none, as W3C asks.

use weft_base::HubId;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::block::layout::TRACED;
use crate::block::{Block, Stamp};
use crate::headers::names;

/// Events of a block that are looked at for a trace context.
pub const LOOKED_AT: usize = 64;
/// Contexts of a block, beside the one that its spans belong to, that are kept.
pub const MAX_LINKS: usize = 16;
/// Bytes of a `traceparent` of version 00.
pub const TRACEPARENT_LEN: usize = 55;

/// A trace: 16 bytes, not all zero.
pub type TraceId = [u8; 16];
/// A span of a trace: 8 bytes, not all zero.
pub type SpanId = [u8; 8];

/// The trace of an event, and the span it was published in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace: TraceId,
    /// The span that published the event.
    pub span: SpanId,
    /// Whether its producer says that it is recorded.
    pub sampled: bool,
}

impl TraceContext {
    /// Reads the value of a header (W3C Trace Context, section 3.2): of version 00
    /// exactly, of a later one what 00 would have of it. `None` for all else.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (head, rest) = value.split_at_checked(TRACEPARENT_LEN)?;
        let [version] = hex::<1>(head.get(..2)?)?;
        // Of a later version more may follow, behind a dash.
        let fits = if version == 0 { rest.is_empty() } else { rest.first().is_none_or(|byte| *byte == b'-') };
        if version == 0xff || !fits || [2, 35, 52].iter().any(|dash| head.get(*dash) != Some(&b'-')) {
            return None;
        }
        let trace = hex::<16>(head.get(3..35)?)?;
        let span = hex::<8>(head.get(36..52)?)?;
        let [flags] = hex::<1>(head.get(53..55)?)?;
        (trace != [0; 16] && span != [0; 8]).then_some(Self { trace, span, sampled: flags & 1 == 1 })
    }

    /// As the value of a header, of version 00.
    #[must_use]
    pub fn header(&self) -> String {
        let flags = if self.sampled { "01" } else { "00" };
        format!("00-{}-{}-{flags}", text(&self.trace), text(&self.span))
    }
}

/// Bytes as lower-case hexadecimal digits.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `N` bytes of lower-case digits, as W3C wants them.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let &[high, low] = pair else { return None };
        *byte = value(high)? << 4 | value(low)?;
    }
    (digits.len() == 2 * N).then_some(bytes)
}

/// The trace contexts of a block's events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockTrace {
    /// That of the first event that is recorded, or else of the first that has any.
    pub context: TraceContext,
    /// Those of the other events, each once: at most [`MAX_LINKS`].
    pub links: Vec<TraceContext>,
}

impl BlockTrace {
    /// What the events of a block say; `None` when none says anything, or the block
    /// has not the flag [`TRACED`]. Every hub reads the same of the same block.
    #[must_use]
    pub fn of(block: Block<'_>) -> Option<Self> {
        if block.flags() & TRACED == 0 {
            return None;
        }
        let said = |header: Option<&[u8]>| header.and_then(TraceContext::parse);
        let found = || block.events().take(LOOKED_AT).filter_map(|event| said(event.headers.get(names::TRACEPARENT)));
        let context = found().find(|context| context.sampled).or_else(|| found().next())?;
        let mut links: Vec<TraceContext> = Vec::new();
        for other in found().filter(|other| *other != context) {
            if links.len() < MAX_LINKS && !links.contains(&other) {
                links.push(other);
            }
        }
        Some(Self { context, links })
    }
}

/// The trace of a block whose producer named none: the same at every hub.
#[must_use]
pub fn trace_of_block(stamp: &Stamp) -> TraceId {
    let mut bytes = [0; 20];
    bytes[..8].copy_from_slice(&stamp.origin.0.to_le_bytes());
    bytes[8..12].copy_from_slice(&stamp.epoch.0.to_le_bytes());
    bytes[12..].copy_from_slice(&stamp.block.to_le_bytes());
    xxh3_128(&bytes).max(1).to_be_bytes()
}

/// What of a block's way through a hub a span is about. The number is part of the
/// span's id and never given to another stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SpanStage {
    /// All that the hub did with the block.
    Hop = 1,
    /// From the socket to the decision where it goes.
    Route = 2,
    /// Into the log of its streams.
    Append = 3,
    /// Onto the disk.
    Sync = 4,
    /// Onto a link to another hub.
    Link = 5,
    /// To subscribers.
    Deliver = 6,
    /// Until its publisher was answered.
    Acknowledge = 7,
}

/// The id of the span of a block's stage at a hub. `other`: of a link, the hub at
/// its other end; else zero.
#[must_use]
pub fn span_of_stage(trace: &TraceId, stamp: &Stamp, hub: HubId, stage: SpanStage, other: HubId) -> SpanId {
    let mut bytes = [0; 53];
    bytes[..16].copy_from_slice(trace);
    bytes[16..24].copy_from_slice(&stamp.origin.0.to_le_bytes());
    bytes[24..28].copy_from_slice(&stamp.epoch.0.to_le_bytes());
    bytes[28..36].copy_from_slice(&stamp.block.to_le_bytes());
    bytes[36..44].copy_from_slice(&hub.0.to_le_bytes());
    bytes[44..52].copy_from_slice(&other.0.to_le_bytes());
    bytes[52] = stage as u8;
    xxh3_64(&bytes).max(1).to_be_bytes()
}

/// Whether a trace is among a share of all, by its last seven bytes, which are
/// random (W3C Trace Context Level 2, section 3.2.2.5). The share is in 2^56ths;
/// every hub with the same share decides the same.
#[must_use]
pub fn is_sampled(trace: &TraceId, share: u64) -> bool {
    let [_, _, _, _, _, _, _, _, _, random @ ..] = *trace;
    let value = random.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    value < share
}

#[cfg(test)]
mod tests {
    use weft_base::{Epoch, UnixNanos};

    use super::*;
    use crate::block::{BlockFields, BlockWriter, EventFields};
    use crate::headers::HeadersWriter;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn block(headers: &[&str]) -> Vec<u8> {
        let mut bytes = vec![0; 32 << 10];
        let mut writer = BlockWriter::new(&mut bytes, &BlockFields::new("a")).expect("a topic");
        for value in headers {
            let mut headers = Vec::new();
            if !value.is_empty() {
                HeadersWriter::new(&mut headers).push(names::TRACEPARENT, value.as_bytes()).expect("a header");
            }
            writer.push(&EventFields { headers: &headers, ..EventFields::default() }).expect("room");
        }
        let len = writer.finish().expect("events");
        bytes.truncate(len);
        Block::validate(&bytes).expect("a block");
        bytes
    }

    #[test]
    fn a_traceparent_is_read_and_written_as_w3c_has_it() {
        let context = TraceContext::parse(GOOD.as_bytes()).expect("the example of the recommendation");
        assert!(context.sampled && context.header() == GOOD);
        assert_eq!(text(&context.span), "b7ad6b7169203331");
        let later = format!("01{}-more", &GOOD[2..]);
        assert_eq!(TraceContext::parse(later.as_bytes()), Some(context), "a later version");
        assert!(!TraceContext::parse(&[&GOOD.as_bytes()[..53], b"fe"].concat()).expect("flags").sampled);
    }

    #[test]
    fn forged_and_broken_contexts_count_as_none() {
        let zeros = |len: usize| "0".repeat(len);
        let bad = [
            String::new(),
            "00".to_owned(),
            GOOD[..54].to_owned(),
            format!("{GOOD}-"),
            format!("{GOOD}0"),
            format!("ff{}", &GOOD[2..]),
            format!("01{}x", &GOOD[2..]),
            GOOD.to_uppercase(),
            GOOD.replace('-', "_"),
            GOOD.replace("0af7", "0ag7"),
            format!("00-{}-b7ad6b7169203331-01", zeros(32)),
            format!("00-0af7651916cd43dd8448eb211c80319c-{}-01", zeros(16)),
            "\u{e9}".repeat(28),
        ];
        for value in bad {
            assert_eq!(TraceContext::parse(value.as_bytes()), None, "{value}");
        }
        assert_eq!(BlockTrace::of(Block::trusted(&block(&["nonsense", ""]))), None);
    }

    #[test]
    fn the_writer_flags_a_block_with_a_context_and_the_first_that_is_recorded_is_the_blocks() {
        assert_eq!(Block::trusted(&block(&["", ""])).flags() & TRACED, 0);
        let other = |n: u8, flags: &str| format!("00-{:032x}-{:016x}-{flags}", n, n);
        let headers = [other(1, "00"), String::new(), other(2, "01"), other(2, "01"), other(3, "01")];
        let bytes = block(&headers.iter().map(String::as_str).collect::<Vec<_>>());
        let found = BlockTrace::of(Block::trusted(&bytes)).expect("contexts");
        assert_eq!(found.context.header(), other(2, "01"));
        assert_eq!(found.links.iter().map(TraceContext::header).collect::<Vec<_>>(), [other(1, "00"), other(3, "01")]);
        let many: Vec<String> = (1..=200).map(|n| other(n, "01")).collect();
        let bytes = block(&many.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(BlockTrace::of(Block::trusted(&bytes)).expect("contexts").links.len(), MAX_LINKS);
    }

    #[test]
    fn spans_of_other_blocks_hubs_stages_and_links_have_other_ids() {
        let stamp = |block| Stamp { origin: HubId(1), epoch: Epoch(2), block, sequence: block, ingested: UnixNanos(0) };
        let trace = trace_of_block(&stamp(1));
        assert!(trace == trace_of_block(&stamp(1)) && trace != trace_of_block(&stamp(2)));
        let mut ids = Vec::new();
        for block in 1..4 {
            for hub in 1..4 {
                for stage in [SpanStage::Hop, SpanStage::Route, SpanStage::Link] {
                    for other in 0..3 {
                        ids.push(span_of_stage(&trace, &stamp(block), HubId(hub), stage, HubId(other)));
                    }
                }
            }
        }
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all);
    }

    #[test]
    fn a_share_of_traces_is_sampled_and_the_same_everywhere() {
        let share = (1_u64 << 56) / 100;
        let sampled = |block| {
            let stamp = Stamp { origin: HubId(7), epoch: Epoch(1), block, sequence: 1, ingested: UnixNanos(0) };
            is_sampled(&trace_of_block(&stamp), share)
        };
        let count = (1..=100_000).filter(|block| sampled(*block)).count();
        assert!((800..1_200).contains(&count), "{count} of 100000");
        assert!(is_sampled(&[0xff; 16], 1 << 56) && !is_sampled(&[0; 16], 0));
    }
}
