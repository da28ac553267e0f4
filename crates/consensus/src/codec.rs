//! Openraft's values as bytes, little-endian, for the disk and the wire.
//!
//! Reading checks each length before it takes memory and each rule that openraft
//! would answer with a panic; it never allocates more than a few times what it
//! reads. Nothing is answered silently: the error names the rule and the offset.

use std::collections::{BTreeMap, BTreeSet};

use openraft::{CommittedLeaderId, EntryPayload};
use weft_base::HubId;
use weft_base::sync::Arc;

use crate::types::{Entry, LogId, Member, Membership, Name, Proposal, SnapshotMeta, StoredMembership, Vote};

/// The most members that a list may name.
pub(crate) const MOST_MEMBERS: usize = 4096;
/// The longest name of a hub, in bytes.
pub(crate) const MOST_NAME: usize = 255;

/// Bytes that are none of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {offset}")]
pub struct CodecError {
    /// The rule that was broken.
    pub what: &'static str,
    /// Where.
    pub offset: usize,
}

type Read<T> = Result<T, CodecError>;

/// Reads from the front.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    pub(crate) fn refuse<T>(&self, what: &'static str) -> Read<T> {
        Err(CodecError { what, offset: self.offset })
    }

    pub(crate) fn take(&mut self, count: usize) -> Read<&'a [u8]> {
        let Some((taken, rest)) = self.bytes.split_at_checked(count) else { return self.refuse("bytes are missing") };
        self.bytes = rest;
        self.offset += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Read<u8> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Read<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Read<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn flag(&mut self) -> Read<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => self.refuse("a flag is neither 0 nor 1"),
        }
    }

    pub(crate) fn bytes(&mut self) -> Read<&'a [u8]> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    pub(crate) fn text(&mut self) -> Read<String> {
        match std::str::from_utf8(self.bytes()?) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => self.refuse("a text is not UTF-8"),
        }
    }

    pub(crate) fn name(&mut self) -> Read<String> {
        let name = self.text()?;
        if name.len() > MOST_NAME { self.refuse("a name is too long") } else { Ok(name) }
    }

    pub(crate) fn count(&mut self) -> Read<usize> {
        let count = self.u32()? as usize;
        if count > MOST_MEMBERS { self.refuse("a list is too long") } else { Ok(count) }
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        self.offset += self.bytes.len();
        std::mem::take(&mut self.bytes)
    }

    /// Nothing may be left.
    pub(crate) fn end(&self) -> Read<()> {
        if self.bytes.is_empty() { Ok(()) } else { self.refuse("bytes are left over") }
    }

    pub(crate) fn member(&mut self) -> Read<Member> {
        Ok(Member { hub: HubId(self.u64()?), instance: self.u64()? })
    }

    pub(crate) fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<Option<T>> {
        if self.flag()? { read(self).map(Some) } else { Ok(None) }
    }

    pub(crate) fn vote(&mut self) -> Read<Vote> {
        let (term, member, committed) = (self.u64()?, self.member()?, self.flag()?);
        Ok(if committed { Vote::new_committed(term, member) } else { Vote::new(term, member) })
    }

    pub(crate) fn log_id(&mut self) -> Read<LogId> {
        let leader = CommittedLeaderId::new(self.u64()?, self.member()?);
        let index = self.u64()?;
        // So that the next one exists.
        if index >= u64::MAX >> 1 { self.refuse("an index is too large") } else { Ok(LogId::new(leader, index)) }
    }

    pub(crate) fn membership(&mut self) -> Read<Membership> {
        let mut configs = Vec::new();
        let count = self.u8()?;
        if count > 2 {
            return self.refuse("a membership has more than two sets of voters");
        }
        for _ in 0..count {
            let voters = self.count()?;
            let mut config = BTreeSet::new();
            for _ in 0..voters {
                let voter = self.member()?;
                if config.last().is_some_and(|last| *last >= voter) {
                    return self.refuse("voters are not in order");
                }
                config.insert(voter);
            }
            if config.is_empty() {
                return self.refuse("a set of voters is empty");
            }
            configs.push(config);
        }
        let count = self.count()?;
        let mut nodes = BTreeMap::new();
        for _ in 0..count {
            let (member, name) = (self.member()?, Name(self.name()?));
            if nodes.last_key_value().is_some_and(|(last, _)| *last >= member) {
                return self.refuse("members are not in order");
            }
            nodes.insert(member, name);
        }
        if configs.iter().flatten().any(|voter| !nodes.contains_key(voter)) {
            return self.refuse("a voter has no name");
        }
        Ok(Membership::new(configs, nodes))
    }

    pub(crate) fn entry(&mut self) -> Read<Entry> {
        let log_id = self.log_id()?;
        let payload = match self.u8()? {
            0 => EntryPayload::Blank,
            1 => EntryPayload::Normal(Proposal(Arc::from(self.bytes()?))),
            2 => EntryPayload::Membership(self.membership()?),
            _ => return self.refuse("an entry is of no known kind"),
        };
        Ok(Entry { log_id, payload })
    }

    pub(crate) fn meta(&mut self) -> Read<SnapshotMeta> {
        let last_log_id = self.optional(Self::log_id)?;
        let membership = StoredMembership::new(self.optional(Self::log_id)?, self.membership()?);
        Ok(SnapshotMeta { last_log_id, last_membership: membership, snapshot_id: self.name()? })
    }
}

/// Writes at the end.
#[derive(Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.0.extend(value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.0.extend(value.to_le_bytes());
    }

    pub(crate) fn flag(&mut self, value: bool) {
        self.u8(value.into());
    }

    pub(crate) fn length(&mut self, length: usize) {
        // Lengths are bounded far below by the limits; a longer one would not be read.
        self.u32(u32::try_from(length).unwrap_or(u32::MAX));
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.0.extend(bytes);
    }

    pub(crate) fn member(&mut self, member: Member) {
        self.u64(member.hub.0);
        self.u64(member.instance);
    }

    pub(crate) fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    pub(crate) fn vote(&mut self, vote: &Vote) {
        self.u64(vote.leader_id.term);
        self.member(vote.leader_id.node_id);
        self.flag(vote.committed);
    }

    pub(crate) fn log_id(&mut self, id: &LogId) {
        self.u64(id.leader_id.term);
        self.member(id.leader_id.node_id);
        self.u64(id.index);
    }

    pub(crate) fn membership(&mut self, membership: &Membership) {
        let configs = membership.get_joint_config();
        self.u8(u8::try_from(configs.len()).unwrap_or(u8::MAX));
        for voters in configs {
            self.length(voters.len());
            voters.iter().for_each(|voter| self.member(*voter));
        }
        self.length(membership.nodes().count());
        for (member, name) in membership.nodes() {
            self.member(*member);
            self.bytes(name.0.as_bytes());
        }
    }

    pub(crate) fn entry(&mut self, entry: &Entry) {
        self.log_id(&entry.log_id);
        match &entry.payload {
            EntryPayload::Blank => self.u8(0),
            EntryPayload::Normal(proposal) => {
                self.u8(1);
                self.bytes(&proposal.0);
            }
            EntryPayload::Membership(membership) => {
                self.u8(2);
                self.membership(membership);
            }
        }
    }

    pub(crate) fn meta(&mut self, meta: &SnapshotMeta) {
        self.optional(meta.last_log_id.as_ref(), Self::log_id);
        self.optional(meta.last_membership.log_id().as_ref(), Self::log_id);
        self.membership(meta.last_membership.membership());
        self.bytes(meta.snapshot_id.as_bytes());
    }
}

/// What a writer wrote.
pub(crate) fn written(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::default();
    write(&mut writer);
    writer.0
}

/// Reads all of `bytes`.
pub(crate) fn read_all<T>(bytes: &[u8], read: impl FnOnce(&mut Reader<'_>) -> Read<T>) -> Read<T> {
    let mut reader = Reader::new(bytes);
    let value = read(&mut reader)?;
    reader.end()?;
    Ok(value)
}
