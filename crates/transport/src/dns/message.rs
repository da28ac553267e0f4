//! Questions and answers as bytes. Whatever a server sends is read within bounds
//! and never believed beyond what was asked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, Question, TYPE};

/// Names that lead from one to the next, at most.
const MAX_ALIASES: usize = 8;
/// The bytes of a message before its first question.
const HEADER: usize = 12;
/// The least bytes that a question and a record can have.
const LEAST: [usize; 2] = [5, 11];
/// The code of an answer that the name is not there.
const UNKNOWN: u8 = 3;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Service,
    V4,
    V6,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Service => "SRV",
            Self::V4 => "A",
            Self::V6 => "AAAA",
        }
    }

    const fn number(self) -> TYPE {
        match self {
            Self::Service => TYPE::SRV,
            Self::V4 => TYPE::A,
            Self::V6 => TYPE::AAAA,
        }
    }
}

/// What a record says; other kinds are not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Data {
    Service { priority: u16, weight: u16, port: u16, target: String },
    Address(IpAddr),
    Alias(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// In lower case, without a dot at its end.
    pub(super) owner: String,
    pub(super) ttl: Duration,
    pub(super) data: Data,
}

impl Record {
    pub(super) const fn address(&self) -> Option<IpAddr> {
        match self.data {
            Data::Address(ip) => Some(ip),
            _ => None,
        }
    }
}

/// What a server says of a name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// What was asked for.
    pub(super) records: Vec<Record>,
    /// Addresses that it gives besides.
    pub(super) extra: Vec<Record>,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Nothing that answers this question: what does may still come.
    Other,
    /// It does not fit: to be asked for by TCP.
    Truncated,
    /// The name is not there.
    Unknown,
    /// The server will or can not say.
    Refused(u8),
    /// It cannot be read.
    Broken(String),
    Answer(Answer),
}

/// A question, as bytes.
pub(super) fn question(id: u16, name: &str, kind: Kind) -> Result<Vec<u8>, String> {
    let name = Name::new(name).map_err(|e| e.to_string())?;
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(name, QTYPE::TYPE(kind.number()), CLASS::IN.into(), false));
    packet.build_bytes_vec().map_err(|e| e.to_string())
}

/// Reads what came after the question of this id.
pub(super) fn read(bytes: &[u8], id: u16, name: &str, kind: Kind) -> Said {
    let Some(header) = bytes.first_chunk::<HEADER>() else { return Said::Other };
    let word = |at: usize| usize::from(u16::from_be_bytes([header[at], header[at + 1]]));
    if word(0) != usize::from(id) || header[2] & 0x80 == 0 {
        return Said::Other;
    }
    match header[3] & 0x0f {
        0 => {}
        UNKNOWN => return Said::Unknown,
        code => return Said::Refused(code),
    }
    if header[2] & 0x02 != 0 {
        return Said::Truncated;
    }
    // What it says it has must fit before room is made for it.
    let least = word(4) * LEAST[0] + (word(6) + word(8) + word(10)) * LEAST[1];
    if least > bytes.len() {
        return Said::Broken(format!("{} bytes cannot hold what it says it has", bytes.len()));
    }
    let packet = match Packet::parse(bytes) {
        Ok(packet) => packet,
        Err(e) => return Said::Broken(e.to_string()),
    };
    let name = lower(name);
    let is_asked = |q: &Question<'_>| lower(&q.qname.to_string()) == name && q.qtype == QTYPE::TYPE(kind.number());
    if packet.questions.len() != 1 || !packet.questions.iter().all(is_asked) {
        return Said::Other;
    }
    let records: Vec<Record> = packet.answers.iter().filter_map(record).collect();
    let extra = packet.additional_records.iter().filter_map(record).filter(|record| record.address().is_some());
    Said::Answer(Answer { records: of_name(name, kind, records), extra: extra.collect() })
}

/// The records of a name, or of what it is another name for.
fn of_name(name: String, kind: Kind, records: Vec<Record>) -> Vec<Record> {
    let (mut name, mut ttl) = (name, None::<Duration>);
    for _ in 0..MAX_ALIASES {
        let alias = records.iter().find_map(|record| match &record.data {
            Data::Alias(other) if record.owner == name => Some((other.clone(), record.ttl)),
            _ => None,
        });
        let Some((other, holds)) = alias else { break };
        (name, ttl) = (other, Some(ttl.map_or(holds, |ttl| ttl.min(holds))));
    }
    let is_kind = |data: &Data| match data {
        Data::Service { .. } => kind == Kind::Service,
        Data::Address(IpAddr::V4(_)) => kind == Kind::V4,
        Data::Address(IpAddr::V6(_)) => kind == Kind::V6,
        Data::Alias(_) => false,
    };
    let own = records.into_iter().filter(|record| record.owner == name && is_kind(&record.data));
    own.map(|record| Record { ttl: ttl.map_or(record.ttl, |ttl| ttl.min(record.ttl)), ..record }).collect()
}

fn record(record: &simple_dns::ResourceRecord<'_>) -> Option<Record> {
    let data = match &record.rdata {
        RData::SRV(srv) => Data::Service {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: lower(&srv.target.to_string()),
        },
        RData::A(a) => Data::Address(Ipv4Addr::from(a.address).into()),
        RData::AAAA(a) => Data::Address(Ipv6Addr::from(a.address).into()),
        RData::CNAME(alias) => Data::Alias(lower(&alias.0.to_string())),
        _ => return None,
    };
    let is_here = record.class == CLASS::IN;
    // RFC 2181: a time with the highest bit set is none.
    let ttl = Duration::from_secs(if record.ttl > i32::MAX as u32 { 0 } else { record.ttl.into() });
    is_here.then(|| Record { owner: lower(&record.name.to_string()), ttl, data })
}

fn lower(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}
