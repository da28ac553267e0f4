//! What a replica is told about its stream and about time.

use std::time::Duration;

use weft_base::HubId;

/// Another hub that keeps the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The hub.
    pub hub: HubId,
    /// The tag by which blocks name it.
    pub tag: u32,
    /// Whether the definition names it as a home: what it has on disk counts
    /// for acknowledgements by several homes. A home that gave up its role still
    /// gives what entered there, but does not count.
    pub counts: bool,
}

/// Which stream, with whom, and how patient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The stream here.
    pub id: u64,
    /// The stream as it is asked for; 0 at a mirror that knows the name only.
    pub stream: u64,
    /// The name of the stream that is asked for.
    pub name: String,
    /// This hub's tag, under which events enter here.
    pub home: u32,
    /// Whether this is a mirror: it takes all from one source, and counts for nobody.
    pub mirror: bool,
    /// The others, the nearest first.
    pub peers: Vec<Peer>,
    /// Of a mirror: it takes blocks of topics that one of these matches; none: all.
    pub filters: Vec<String>,
    /// Bytes that one source may have under way to this hub.
    pub window: u64,
    /// The most bytes of entries in one answer, but for a single larger block.
    pub answer: usize,
    /// How many hubs may read from this one at a time.
    pub askers: usize,
    /// How often a quiet side says that it is there.
    pub keep_alive: Duration,
    /// After such a silence a source is asked anew, and counted as silent.
    pub timeout: Duration,
    /// The longest pause between two tries.
    pub backoff: Duration,
}

impl Settings {
    /// A stream with no others, and the usual patience: a word each second,
    /// silence after 3 s, tries at most 30 s apart, 4 MiB under way, answers of
    /// 256 KiB, 64 readers.
    #[must_use]
    pub fn new(stream: u64, name: &str, home: u32) -> Self {
        Self {
            id: stream,
            stream,
            name: name.to_owned(),
            home,
            mirror: false,
            peers: Vec::new(),
            filters: Vec::new(),
            window: 4 << 20,
            answer: 256 << 10,
            askers: 64,
            keep_alive: Duration::from_secs(1),
            timeout: Duration::from_secs(3),
            backoff: Duration::from_secs(30),
        }
    }
}
