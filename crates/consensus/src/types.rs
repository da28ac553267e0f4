//! What openraft is told about: members, names, proposals. Nothing decides here.

use std::fmt;

use openraft::RaftTypeConfig;
use openraft::impls::OneshotResponder;
use weft_base::HubId;
use weft_base::sync::Arc;

use crate::runtime::Virtual;

/// A hub with one life of its control state: the instance is drawn at random
/// when `control.redb` is made. A hub whose file was lost is another member, so
/// that what the old one promised is never taken for a promise of the new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// The hub.
    pub hub: HubId,
    /// The life of its control state; never zero.
    pub instance: u64,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:x}", self.hub, self.instance)
    }
}

/// The name of a member's hub.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Name(pub(crate) String);

/// What is proposed: bytes that only the machine understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proposal(pub(crate) Arc<[u8]>);

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// The types of our Raft.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Types;

impl RaftTypeConfig for Types {
    type D = Proposal;
    type R = Vec<u8>;
    type NodeId = Member;
    type Node = Name;
    type Entry = openraft::Entry<Types>;
    type SnapshotData = Arc<[u8]>;
    type AsyncRuntime = Virtual;
    type Responder = OneshotResponder<Types>;
}

pub(crate) type Raft = openraft::Raft<Types>;
pub(crate) type Entry = openraft::Entry<Types>;
pub(crate) type Vote = openraft::Vote<Member>;
pub(crate) type LogId = openraft::LogId<Member>;
pub(crate) type Membership = openraft::Membership<Member, Name>;
pub(crate) type StoredMembership = openraft::StoredMembership<Member, Name>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<Member, Name>;
pub(crate) type AppendRequest = openraft::raft::AppendEntriesRequest<Types>;
pub(crate) type AppendAnswer = openraft::raft::AppendEntriesResponse<Member>;
pub(crate) type VoteRequest = openraft::raft::VoteRequest<Member>;
pub(crate) type VoteAnswer = openraft::raft::VoteResponse<Member>;
