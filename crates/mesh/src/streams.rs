//! The directory of streams: which hubs keep which stream, and how near they
//! are. Told with the interest, one entry for each filter of a stream; a stream
//! that takes nothing in by itself is told under a topic that no client can
//! publish to, so that every stream of every hub is known by its name.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_base::HubId;
use weft_topic::Filter;
use weft_wire::frame::StreamInterest;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What a hub says of a stream that it keeps. The numbers of role, unreachable
/// and consistency are those of `weft_wire::frame::StreamInterest`; unknown
/// ones are carried as they are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamDef {
    /// The stream's name, 1 to 255 bytes.
    pub name: Arc<str>,
    /// Its number, the same at all its homes; not 0.
    pub id: u64,
    /// 0: the hub is a home; 1: it mirrors the stream, and takes no publishes.
    pub role: u8,
    /// 0: publishes that reach no home are refused; 1: they are spooled.
    pub unreachable: u8,
    /// 0: monotonic, 1: strong, 2: eventual.
    pub consistency: u8,
}

impl StreamDef {
    /// Whether publishes for the stream may go to the hub.
    #[must_use]
    pub fn is_home(&self) -> bool {
        self.role == 0
    }

    /// The filter under which a stream without filters of its own is told.
    #[must_use]
    pub fn name_only(id: u64) -> Option<Filter> {
        Filter::parse(&format!("_stream/{id:x}")).ok()
    }

    pub(crate) fn of_frame(said: &StreamInterest<'_>) -> Self {
        let &StreamInterest { name, id, role, unreachable, consistency } = said;
        Self { name: name.into(), id, role, unreachable, consistency }
    }

    pub(crate) fn to_frame(&self) -> StreamInterest<'_> {
        let &Self { ref name, id, role, unreachable, consistency } = self;
        StreamInterest { name, id, role, unreachable, consistency }
    }

    pub(crate) fn hash(&self, seed: u64) -> u64 {
        let rest = u64::from_le_bytes([self.role, self.unreachable, self.consistency, 0, 0, 0, 0, 0]);
        xxh3_64_with_seed(self.name.as_bytes(), seed ^ self.id.rotate_left(17) ^ rest)
    }
}

/// The value of a stream's filter in the interest set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StreamAt {
    pub(crate) id: u64,
    pub(crate) slot: u16,
    pub(crate) is_home: bool,
    pub(crate) spools: bool,
    pub(crate) strong: bool,
    /// Tells apart what has the same number by mistake.
    of: u64,
}

impl StreamAt {
    pub(crate) fn new(slot: u16, def: &StreamDef) -> Self {
        let (spools, strong) = (def.unreachable == 1, def.consistency == 1);
        Self { id: def.id, slot, is_home: def.is_home(), spools, strong, of: def.hash(0) }
    }
}

/// Another hub that keeps a stream of a topic, as its home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamHub {
    /// The stream.
    pub id: u64,
    /// The hub.
    pub hub: HubId,
    /// What the path there costs, in microseconds; none when there is none.
    pub cost: Option<u64>,
    /// Whether publishes are spooled while no home can be reached.
    pub spools: bool,
    /// Whether one home orders all writes, so that no other may take them.
    pub strong: bool,
}

/// Another hub that keeps a stream of this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamHome<'a> {
    /// The hub.
    pub hub: HubId,
    /// What it says of the stream.
    pub def: &'a StreamDef,
    /// What the path there costs, in microseconds; none when there is none.
    pub cost: Option<u64>,
}

/// Streams by name, of all other hubs: how many filters each has there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directory {
    entries: Arc<BTreeMap<(Arc<StreamDef>, u16), usize>>,
}

impl Directory {
    pub(crate) fn insert(&mut self, slot: u16, def: &Arc<StreamDef>) {
        *Arc::make_mut(&mut self.entries).entry((def.clone(), slot)).or_insert(0) += 1;
    }

    pub(crate) fn remove(&mut self, slot: u16, def: &Arc<StreamDef>) {
        let key = (def.clone(), slot);
        let entries = Arc::make_mut(&mut self.entries);
        if let Some(count) = entries.get_mut(&key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                entries.remove(&key);
            }
        }
    }

    /// Whether nothing was changed since one was made of the other.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.entries, &other.entries)
    }

    /// All entries, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&StreamDef, u16)> {
        self.entries.keys().map(|(def, slot)| (&**def, *slot))
    }

    /// The entries of one name.
    pub(crate) fn of_name<'a>(&'a self, name: &str) -> impl Iterator<Item = (&'a StreamDef, u16)> + use<'a> {
        let least = StreamDef { name: name.into(), id: 0, role: 0, unreachable: 0, consistency: 0 };
        let name = least.name.clone();
        let from = (Arc::new(least), 0);
        self.entries.range(from..).map(|((def, slot), _)| (&**def, *slot)).take_while(move |(def, _)| def.name == name)
    }
}
