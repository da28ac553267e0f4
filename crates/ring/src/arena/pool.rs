//! Where free buffers wait: two classes, each a growing table of chunks and a
//! lock-free stack of free slots.

use std::ptr::NonNull;
use std::sync::OnceLock;

use weft_base::ByteCount;
use weft_base::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use weft_base::sync::{Arc, Mutex, UnsafeCell};

use super::buffer::Buffer;
use super::memory::{HUGE_PAGE, Region};
use super::{ALIGNMENT, ArenaError, ArenaOptions, ArenaStats, MAX_BUFFER};
use crate::edges::{E11, E12, E13};
use crate::padded::Padded;

/// Memory by which a class grows, or one buffer if that is larger. Small under
/// loom, which explores every access to every slot.
const CHUNK: usize = if cfg!(loom) { 2 * ALIGNMENT } else { 1 << 20 };

/// References that a buffer takes at once, so that splitting a block off costs
/// no atomic operation. More than the blocks of 8 bytes in 64 KiB.
pub(super) const REFERENCES: usize = 1 << 14;

/// Index bits of the free list's head; the rest counts its changes.
const INDEX_BITS: u32 = 24;
const NONE: u64 = (1 << INDEX_BITS) - 1;

/// One buffer's place: its memory, and who uses it. Alone on its cache lines.
#[repr(align(64))]
pub(super) struct Slot {
    /// Handles that are out, plus references that the `Buffer` holds in store.
    refs: AtomicUsize,
    /// The next free slot's index while this one is free.
    next: AtomicU32,
    index: u32,
    class: usize,
    start: NonNull<u8>,
    /// Keeps the pool alive while the slot is lent. Written by the lender and
    /// taken by the last handle, nobody else.
    owner: UnsafeCell<Option<Arc<Pool>>>,
    /// Stands for the bytes, so that loom sees when they are used.
    bytes: UnsafeCell<()>,
}

// SAFETY: needed because of the raw pointer and the cells. `start` never
// changes; `owner` is used by one thread at a time, handed on by E11 and E12;
// the bytes behind `start` are guarded by the handles (see the module `arena`).
unsafe impl Sync for Slot {}
// SAFETY: as above.
unsafe impl Send for Slot {}

struct Chunk {
    slots: Box<[Slot]>,
    /// Owns the memory that the slots point to.
    region: Region,
}

struct Class {
    size: usize,
    /// Slots per chunk, a power of two, as a shift.
    shift: u32,
    chunk_bytes: usize,
    /// Filled from the front, under `Pool::growing`.
    chunks: Box<[OnceLock<Chunk>]>,
    grown: AtomicUsize,
    lent: Padded<AtomicUsize>,
    /// Changes so far and the top slot's index: a lend that was overtaken
    /// between reading the top and swapping it sees the count moved, unless
    /// exactly 2^40 changes happened in between.
    free: Padded<AtomicU64>,
}

/// The arena's inside.
pub(super) struct Pool {
    classes: [Class; 2],
    budget: u64,
    huge_pages: bool,
    huge_refused: AtomicBool,
    refused: AtomicU64,
    growing: Mutex<()>,
}

impl Class {
    fn new(size: usize, limit: u64, huge: bool) -> Self {
        let per_chunk = (CHUNK / size).max(1);
        // Rounded down, so that a slot's chunk is found by a shift.
        let shift = per_chunk.ilog2();
        let wanted = size << shift;
        let chunk_bytes = if huge { wanted.next_multiple_of(HUGE_PAGE) } else { wanted };
        let most = usize::try_from(limit).unwrap_or(usize::MAX) / chunk_bytes;
        let most = most.min((NONE as usize) >> shift);
        Self {
            size,
            shift,
            chunk_bytes,
            chunks: (0..most).map(|_| OnceLock::new()).collect(),
            grown: AtomicUsize::new(0),
            lent: Padded(AtomicUsize::new(0)),
            free: Padded(AtomicU64::new(NONE)),
        }
    }

    fn slot(&self, index: u64) -> Option<&Slot> {
        let index = usize::try_from(index).ok()?;
        let chunk = self.chunks.get(index >> self.shift)?.get()?;
        chunk.slots.get(index & ((1 << self.shift) - 1))
    }

    /// Puts a chain of free slots, from `first` linked to `last`, on the stack.
    fn put(&self, first: u32, last: &Slot) {
        let mut top = self.free.load(Ordering::Relaxed);
        loop {
            // The index fits: `NONE` is below 2^24.
            last.next.store((top & NONE) as u32, Ordering::Relaxed);
            let next = ((top >> INDEX_BITS).wrapping_add(1) << INDEX_BITS) | u64::from(first);
            // E12, first end: the slots, their links and their bytes are free.
            match self.free.compare_exchange_weak(top, next, E12.release(), Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => top = now,
            }
        }
    }

    /// Takes a free slot off the stack.
    fn get(&self) -> Option<&Slot> {
        // E12, second end, here and at the swap.
        let mut top = self.free.load(E12.acquire());
        loop {
            let slot = self.slot(top & NONE)?;
            // May be a link of another time, if the slot was taken and put back
            // meanwhile; then the swap fails.
            let below = u64::from(slot.next.load(Ordering::Relaxed));
            let next = ((top >> INDEX_BITS).wrapping_add(1) << INDEX_BITS) | below;
            match self.free.compare_exchange_weak(top, next, E12.acquire(), E12.acquire()) {
                Ok(_) => return Some(slot),
                Err(now) => top = now,
            }
        }
    }

    /// Adds a chunk. Called under `Pool::growing`.
    fn grow(&self, class: usize, huge: bool) -> Result<&Chunk, NotGrown> {
        let number = self.grown.load(Ordering::Relaxed);
        let place = self.chunks.get(number).ok_or(NotGrown::Budget)?;
        let region = Region::new(self.chunk_bytes, huge).ok_or(NotGrown::Memory)?;
        let count = 1_usize << self.shift;
        let first = number << self.shift;
        let slots: Box<[Slot]> = (0..count)
            .map(|n| Slot {
                refs: AtomicUsize::new(0),
                next: AtomicU32::new((first + n + 1) as u32),
                index: (first + n) as u32,
                class,
                // SAFETY: needed to divide the region; it is `count * size`
                // bytes long at least, so `n * size` lies inside.
                start: unsafe { region.start().add(n * self.size) },
                owner: UnsafeCell::new(None),
                bytes: UnsafeCell::new(()),
            })
            .collect();
        let chunk = place.get_or_init(|| Chunk { slots, region });
        if let Some(last) = chunk.slots.last() {
            self.put(first as u32, last);
        }
        self.grown.store(number + 1, Ordering::Relaxed);
        Ok(chunk)
    }

    fn bytes(&self) -> u64 {
        self.grown.load(Ordering::Relaxed) as u64 * self.chunk_bytes as u64
    }
}

/// Why a class did not grow.
enum NotGrown {
    Budget,
    Memory,
}

impl Pool {
    pub(super) fn new(options: &ArenaOptions) -> Result<Self, ArenaError> {
        let &ArenaOptions { small, large, budget, initial, huge_pages } = options;
        for (class, bytes) in [("small", small), ("large", large)] {
            if bytes == 0 || bytes % ALIGNMENT != 0 || bytes > MAX_BUFFER {
                return Err(ArenaError::BufferSize { class, bytes });
            }
        }
        if large < small {
            return Err(ArenaError::Order { small, large });
        }
        // Each class leaves a quarter to the other.
        let limit = budget.0 - budget.0 / 4;
        let classes = [Class::new(small, limit, huge_pages), Class::new(large, limit, huge_pages)];
        let chunk = classes.iter().map(|class| class.chunk_bytes).max().unwrap_or(0) as u64;
        if budget.0 / 4 < chunk {
            return Err(ArenaError::Budget { budget, least: ByteCount(chunk.saturating_mul(4)) });
        }
        let pool = Self {
            classes,
            budget: budget.0,
            huge_pages,
            huge_refused: AtomicBool::new(false),
            refused: AtomicU64::new(0),
            growing: Mutex::new(()),
        };
        while pool.classes[0].bytes() < initial.0 {
            match pool.grow(0) {
                Ok(()) => {}
                Err(NotGrown::Budget) => return Err(ArenaError::Initial { initial, limit: ByteCount(limit) }),
                Err(NotGrown::Memory) => {
                    return Err(ArenaError::Memory { bytes: ByteCount(pool.classes[0].chunk_bytes as u64) });
                }
            }
        }
        Ok(pool)
    }

    pub(super) fn largest(&self) -> usize {
        self.classes[1].size
    }

    pub(super) fn stats(&self) -> ArenaStats {
        let [small, large] = &self.classes;
        let bytes = small.bytes() + large.bytes();
        let slots = |class: &Class| class.grown.load(Ordering::Relaxed) << class.shift;
        let lent = small.lent.load(Ordering::Relaxed) + large.lent.load(Ordering::Relaxed);
        let left = usize::try_from(self.budget.saturating_sub(bytes)).unwrap_or(usize::MAX);
        let busy = |class: &Class| {
            let grown = class.grown.load(Ordering::Relaxed);
            let most = class.chunks.len().min(grown + left / class.chunk_bytes) << class.shift;
            let lent = class.lent.load(Ordering::Relaxed);
            lent.saturating_mul(1_000).checked_div(most).map_or(0, |permille| u32::try_from(permille).unwrap_or(1_000))
        };
        ArenaStats {
            lent,
            busy: busy(small).max(busy(large)),
            free: (slots(small) + slots(large)).saturating_sub(lent),
            bytes,
            refused: self.refused.load(Ordering::Relaxed),
            huge_pages: self.huge_pages && bytes > 0 && !self.huge_refused.load(Ordering::Relaxed),
        }
    }

    /// Adds a chunk to a class. Called under `growing`, or before there are threads.
    fn grow(&self, number: usize) -> Result<(), NotGrown> {
        let [small, large] = &self.classes;
        let class = if number == 0 { small } else { large };
        // Three quarters each, by the lengths of the chunk tables, is too much
        // for both together.
        if small.bytes() + large.bytes() + class.chunk_bytes as u64 > self.budget {
            return Err(NotGrown::Budget);
        }
        let chunk = class.grow(number, self.huge_pages)?;
        if !chunk.region.huge() {
            self.huge_refused.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Takes a free slot of a class, growing the class if there is none.
    fn take(&self, number: usize) -> Option<&Slot> {
        let class = self.classes.get(number)?;
        if let Some(slot) = class.get() {
            return Some(slot);
        }
        let _growing = self.growing.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        loop {
            // Someone else may have grown the class, or returned a buffer.
            if let Some(slot) = class.get() {
                return Some(slot);
            }
            self.grow(number).ok()?;
        }
    }
}

/// See [`Arena::lend`](super::Arena::lend).
pub(super) fn lend(pool: &Arc<Pool>, at_least: usize) -> Option<Buffer> {
    let number = pool.classes.iter().position(|class| at_least <= class.size);
    let Some((class, slot)) = number.and_then(|n| Some((pool.classes.get(n)?, pool.take(n)?))) else {
        pool.refused.fetch_add(1, Ordering::Relaxed);
        return None;
    };
    class.lent.fetch_add(1, Ordering::Relaxed);
    slot.refs.store(REFERENCES, Ordering::Relaxed);
    // SAFETY: needed to write through the shared cell; the slot was taken off
    // the free list, so no handle of it is left, and E12 put their uses of the
    // cell before this one.
    slot.owner.with_mut(|owner| unsafe { *owner = Some(pool.clone()) });
    slot.bytes.with_mut(|_| ());
    Some(Buffer::new(NonNull::from(slot), slot.start, class.size))
}

impl Slot {
    /// One more handle, made from one that exists.
    #[inline]
    pub(super) fn share(&self) {
        self.add(1);
    }

    /// More references for the store of this slot's `Buffer`.
    #[cold]
    pub(super) fn stock_up(&self) {
        self.add(REFERENCES);
    }

    #[inline]
    fn add(&self, count: usize) {
        // Relaxed: the caller has a handle, so the count cannot reach zero meanwhile.
        let before = self.refs.fetch_add(count, Ordering::Relaxed);
        if before > usize::MAX / 2 {
            // Only handles that were leaked by the billion get here; going on
            // would make the count wrap and free what is in use.
            std::process::abort();
        }
    }

    /// Whether `references` are all there are: whoever holds them is alone, and
    /// all former handles are done with the bytes.
    #[inline]
    pub(super) fn only(&self, references: usize) -> bool {
        // E13, second end.
        let alone = self.refs.load(E13.acquire()) == references;
        if alone {
            self.bytes.with_mut(|_| ());
        }
        alone
    }

    /// Tells loom that the bytes are in use.
    #[inline(always)]
    pub(super) fn touch(&self) {
        self.bytes.with(|_| ());
    }
}

/// Gives `count` references of a slot back; with the last ones, the slot itself.
///
/// # Safety
/// The caller owns `count` references of the slot, and neither it nor anyone
/// else uses the slot in their name any more.
#[inline]
pub(super) unsafe fn release(slot: NonNull<Slot>, count: usize) {
    // SAFETY: needed because handles point to their slot; the caller's
    // references keep it alive up to the next statement.
    let slot = unsafe { slot.as_ref() };
    slot.touch();
    // E11 and E13, first end: what this handle did with the bytes comes before.
    if slot.refs.fetch_sub(count, E11.release()) == count {
        give_back(slot);
    }
}

/// Puts a slot without handles back on its free list.
fn give_back(slot: &Slot) {
    // E11, second end: all other handles are done with the bytes. A load, not a
    // fence, because ThreadSanitizer does not understand fences; it reads our
    // own subtraction, which continues theirs.
    slot.refs.load(E11.acquire());
    slot.bytes.with_mut(|_| ());
    // SAFETY: needed to write through the shared cell; this was the slot's last
    // handle, so nobody else uses the cell (E11).
    let owner = slot.owner.with_mut(|owner| unsafe { (*owner).take() });
    // Always there; it keeps the slot alive until the end of this function.
    if let Some(pool) = owner
        && let Some(class) = pool.classes.get(slot.class)
    {
        class.lent.fetch_sub(1, Ordering::Relaxed);
        class.put(slot.index, slot);
    }
}
