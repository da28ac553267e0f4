//! Messages between councils: who sends, to which life of whom, and what.
//!
//! A message is at most [`Limits::message`](crate::Limits::message) bytes; what
//! is longer goes in parts (`parcel.rs`). What breaks a rule is refused whole
//! with the rule and the offset, in time and memory bounded by its length.

use weft_base::HubId;
use weft_base::sync::Arc;

use crate::codec::{CodecError, Reader, Writer};
use crate::types::{AppendAnswer, AppendRequest, Member, SnapshotMeta, Vote, VoteAnswer, VoteRequest};

/// The version of what follows; others are refused.
const VERSION: u8 = 1;
/// The most bytes before a body, and of a part before what it carries.
pub(crate) const OVERHEAD: usize = 128;

/// One message.
#[derive(Debug)]
pub(crate) struct Letter {
    /// The cluster that the sender is in; 0 in none.
    pub(crate) cluster: u64,
    /// The sender's life.
    pub(crate) from: u64,
    /// The life that it is meant for; 0 for any.
    pub(crate) to: u64,
    pub(crate) body: Body,
}

/// What a message says.
#[derive(Debug)]
pub(crate) enum Body {
    Hello(Hello),
    Append { rpc: u64, request: AppendRequest },
    Appended { rpc: u64, answer: AppendAnswer },
    Vote { rpc: u64, request: VoteRequest },
    Voted { rpc: u64, answer: VoteAnswer },
    Install { rpc: u64, vote: Vote, meta: SnapshotMeta, data: Arc<[u8]> },
    Installed { rpc: u64, vote: Vote },
    Ask { id: u64, ask: Ask },
    Told { id: u64, told: Told },
    Part(Part),
    Got { parcel: u64, upto: u32 },
}

/// That a hub is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) name: String,
    /// Of the voters in its configuration; 0 without any.
    pub(crate) voters: u64,
    /// Whom it takes for the leader.
    pub(crate) leader: Option<HubId>,
    /// Whether it wants the same from the other.
    pub(crate) answer: bool,
}

/// What is asked of the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Propose(Arc<[u8]>),
    Read,
    Voters(Vec<HubId>),
}

/// What the leader answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Applied, with the machine's answer.
    Done(Vec<u8>),
    /// A read is good from this index on.
    ReadAt(Option<u64>),
    /// The voters are those.
    Voters,
    /// Not possible, and nothing was changed.
    Refused(String),
    /// It may have been applied, or may be later, or never.
    Unknown,
    /// Not now or not here, and nothing was changed.
    Elsewhere,
}

/// Some bytes of a long message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) parcel: u64,
    pub(crate) total: u32,
    pub(crate) offset: u32,
    /// The leader's vote, if it is the leader that sends: as good as a heartbeat.
    pub(crate) vote: Option<Vote>,
    pub(crate) bytes: Vec<u8>,
}

impl Letter {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.u8(VERSION);
        out.u64(self.cluster);
        out.u64(self.from);
        out.u64(self.to);
        self.body.encode(&mut out);
        out.0
    }

    pub(crate) fn decode(from: HubId, bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != VERSION {
            return reader.refuse("the version of a message between councils is not known");
        }
        let (cluster, instance, to) = (reader.u64()?, reader.u64()?, reader.u64()?);
        if instance == 0 {
            return reader.refuse("the sender has no instance");
        }
        let sender = Member { hub: from, instance };
        let body = Body::decode(sender, &mut reader)?;
        reader.end()?;
        Ok(Self { cluster, from: instance, to, body })
    }
}

impl Body {
    pub(crate) fn encode(&self, out: &mut Writer) {
        match self {
            Self::Hello(hello) => {
                out.u8(1);
                out.bytes(hello.name.as_bytes());
                out.u64(hello.voters);
                out.optional(hello.leader, |out, leader| out.u64(leader.0));
                out.flag(hello.answer);
            }
            Self::Append { rpc, request } => {
                out.u8(2);
                out.u64(*rpc);
                out.vote(&request.vote);
                out.optional(request.prev_log_id.as_ref(), Writer::log_id);
                out.optional(request.leader_commit.as_ref(), Writer::log_id);
                out.length(request.entries.len());
                request.entries.iter().for_each(|entry| out.entry(entry));
            }
            Self::Appended { rpc, answer } => {
                out.u8(3);
                out.u64(*rpc);
                match answer {
                    AppendAnswer::Success => out.u8(0),
                    AppendAnswer::PartialSuccess(upto) => {
                        out.u8(1);
                        out.optional(upto.as_ref(), Writer::log_id);
                    }
                    AppendAnswer::Conflict => out.u8(2),
                    AppendAnswer::HigherVote(vote) => {
                        out.u8(3);
                        out.vote(vote);
                    }
                }
            }
            Self::Vote { rpc, request } => {
                out.u8(4);
                out.u64(*rpc);
                out.vote(&request.vote);
                out.optional(request.last_log_id.as_ref(), Writer::log_id);
            }
            Self::Voted { rpc, answer } => {
                out.u8(5);
                out.u64(*rpc);
                out.vote(&answer.vote);
                out.flag(answer.vote_granted);
                out.optional(answer.last_log_id.as_ref(), Writer::log_id);
            }
            Self::Install { rpc, vote, meta, data } => {
                out.u8(6);
                out.u64(*rpc);
                out.vote(vote);
                out.meta(meta);
                out.bytes(data);
            }
            Self::Installed { rpc, vote } => {
                out.u8(7);
                out.u64(*rpc);
                out.vote(vote);
            }
            Self::Ask { id, ask } => {
                out.u8(8);
                out.u64(*id);
                ask.encode(out);
            }
            Self::Told { id, told } => {
                out.u8(9);
                out.u64(*id);
                told.encode(out);
            }
            Self::Part(part) => {
                out.u8(10);
                out.u64(part.parcel);
                out.u32(part.total);
                out.u32(part.offset);
                out.optional(part.vote.as_ref(), Writer::vote);
                out.0.extend(&part.bytes);
            }
            Self::Got { parcel, upto } => {
                out.u8(11);
                out.u64(*parcel);
                out.u32(*upto);
            }
        }
    }

    pub(crate) fn decode(sender: Member, reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(match reader.u8()? {
            1 => {
                let (name, voters) = (reader.name()?, reader.u64()?);
                if HubId::of_name(&name) != sender.hub {
                    return reader.refuse("a hub names itself by a name that is not its own");
                }
                let leader = reader.optional(|reader| reader.u64().map(HubId))?;
                Self::Hello(Hello { name, voters, leader, answer: reader.flag()? })
            }
            2 => Self::Append { rpc: reader.u64()?, request: append(sender, reader)? },
            3 => {
                let rpc = reader.u64()?;
                let answer = match reader.u8()? {
                    0 => AppendAnswer::Success,
                    1 => AppendAnswer::PartialSuccess(reader.optional(Reader::log_id)?),
                    2 => AppendAnswer::Conflict,
                    3 => AppendAnswer::HigherVote(reader.vote()?),
                    _ => return reader.refuse("an answer to an append is of no known kind"),
                };
                Self::Appended { rpc, answer }
            }
            4 => {
                let (rpc, vote) = (reader.u64()?, reader.vote()?);
                if vote.committed || vote.leader_id.node_id != sender {
                    return reader.refuse("a hub asks for votes that are not for itself");
                }
                Self::Vote { rpc, request: VoteRequest::new(vote, reader.optional(Reader::log_id)?) }
            }
            5 => {
                let (rpc, vote, granted) = (reader.u64()?, reader.vote()?, reader.flag()?);
                Self::Voted { rpc, answer: VoteAnswer::new(vote, reader.optional(Reader::log_id)?, granted) }
            }
            6 => {
                let (rpc, vote) = (reader.u64()?, leaders_vote(sender, reader)?);
                let (meta, data) = (reader.meta()?, Arc::from(reader.bytes()?));
                Self::Install { rpc, vote, meta, data }
            }
            7 => Self::Installed { rpc: reader.u64()?, vote: reader.vote()? },
            8 => Self::Ask { id: reader.u64()?, ask: Ask::decode(reader)? },
            9 => Self::Told { id: reader.u64()?, told: Told::decode(reader)? },
            10 => {
                let (parcel, total, offset) = (reader.u64()?, reader.u32()?, reader.u32()?);
                let vote = reader.optional(|reader| leaders_vote(sender, reader))?;
                let bytes = reader.rest();
                if bytes.is_empty() || u64::from(offset) + bytes.len() as u64 > u64::from(total) {
                    return reader.refuse("a part is empty or beyond its parcel's end");
                }
                Self::Part(Part { parcel, total, offset, vote, bytes: bytes.to_vec() })
            }
            11 => Self::Got { parcel: reader.u64()?, upto: reader.u32()? },
            _ => return reader.refuse("a message is of no known kind"),
        })
    }
}

/// A vote that a majority gave to the sender.
fn leaders_vote(sender: Member, reader: &mut Reader<'_>) -> Result<Vote, CodecError> {
    let vote = reader.vote()?;
    if !vote.committed || vote.leader_id.node_id != sender {
        return reader.refuse("a hub speaks as a leader that it is not");
    }
    Ok(vote)
}

fn append(sender: Member, reader: &mut Reader<'_>) -> Result<AppendRequest, CodecError> {
    let vote = leaders_vote(sender, reader)?;
    let (prev_log_id, leader_commit) = (reader.optional(Reader::log_id)?, reader.optional(Reader::log_id)?);
    let count = reader.u32()?;
    let mut entries: Vec<crate::types::Entry> = Vec::new();
    let mut last = prev_log_id;
    for _ in 0..count {
        let entry = reader.entry()?;
        let follows = match last {
            Some(last) => entry.log_id.index == last.index + 1 && entry.log_id.leader_id >= last.leader_id,
            None => entry.log_id.index == 0,
        };
        if !follows || entry.log_id.leader_id > vote.leader_id {
            return reader.refuse("an entry does not follow the one before it");
        }
        last = Some(entry.log_id);
        entries.push(entry);
    }
    Ok(AppendRequest { vote, prev_log_id, entries, leader_commit })
}

impl Ask {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Propose(bytes) => {
                out.u8(0);
                out.bytes(bytes);
            }
            Self::Read => out.u8(1),
            Self::Voters(hubs) => {
                out.u8(2);
                out.length(hubs.len());
                hubs.iter().for_each(|hub| out.u64(hub.0));
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(match reader.u8()? {
            0 => Self::Propose(Arc::from(reader.bytes()?)),
            1 => Self::Read,
            2 => {
                let count = reader.count()?;
                Self::Voters((0..count).map(|_| reader.u64().map(HubId)).collect::<Result<_, _>>()?)
            }
            _ => return reader.refuse("a request is of no known kind"),
        })
    }
}

impl Told {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Done(answer) => {
                out.u8(0);
                out.bytes(answer);
            }
            Self::ReadAt(index) => {
                out.u8(1);
                out.optional(*index, Writer::u64);
            }
            Self::Voters => out.u8(2),
            Self::Refused(why) => {
                out.u8(3);
                out.bytes(why.as_bytes());
            }
            Self::Unknown => out.u8(4),
            Self::Elsewhere => out.u8(5),
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(match reader.u8()? {
            0 => Self::Done(reader.bytes()?.to_vec()),
            1 => Self::ReadAt(reader.optional(Reader::u64)?),
            2 => Self::Voters,
            3 => Self::Refused(reader.text()?),
            4 => Self::Unknown,
            5 => Self::Elsewhere,
            _ => return reader.refuse("an answer is of no known kind"),
        })
    }
}

/// Reads a message as a council does and throws it away: for the fuzzer.
///
/// # Errors
/// What a council would refuse it for.
pub fn check(from: HubId, bytes: &[u8]) -> Result<(), CodecError> {
    let letter = Letter::decode(from, bytes)?;
    // What is read is written as it was read, so that nothing is two messages.
    assert_eq!(letter.encode(), bytes, "a message is not written as it was read: {letter:?}");
    Ok(())
}
