//! What the arena promises: alignment, bounds, exclusive views, and that
//! everything comes back.
#![cfg(not(loom))]

use proptest::collection::vec;
use proptest::prelude::*;
use weft_base::ByteCount;
use weft_ring::arena::{ALIGNMENT, Arena, ArenaError, ArenaOptions, BlockMut, BlockRef, Buffer, MAX_BUFFER};

fn options() -> ArenaOptions {
    ArenaOptions {
        small: 4 << 10,
        large: 64 << 10,
        budget: ByteCount::mib(8),
        initial: ByteCount::mib(1),
        huge_pages: false,
    }
}

#[test]
fn buffers_are_aligned_of_the_asked_size_and_splits_keep_eights() {
    let arena = Arena::new(options()).unwrap();
    for at_least in [0, 1, 4096, 4097, 65_536] {
        let mut buffer = arena.lend(at_least).unwrap();
        assert!(buffer.capacity() >= at_least);
        assert_eq!(buffer.spare_mut().as_ptr() as usize % ALIGNMENT, 0);
        buffer.advance(104);
        let mut block = buffer.split_to(24);
        let front = block.split_to(16);
        assert_eq!((front.as_ptr() as usize % ALIGNMENT, block.as_ptr() as usize % 8), (0, 0));
        assert_eq!((front.len(), block.len(), buffer.filled().len()), (16, 8, 80));
        assert_eq!(buffer.room(), buffer.capacity() - 104);
    }
    assert!(arena.lend(arena.largest() + 1).is_none());
    let stats = arena.stats();
    assert_eq!((stats.lent, stats.refused), (0, 1));
}

#[test]
fn memory_grows_up_to_the_budget_and_no_class_starves_the_other() {
    let arena = Arena::new(options()).unwrap();
    assert_eq!((arena.stats().bytes, arena.stats().busy), (1 << 20, 0));
    let mut small = Vec::new();
    while let Some(buffer) = arena.lend(1) {
        small.push(buffer);
    }
    assert_eq!((small.len(), arena.stats().bytes), (1536, 6 << 20));
    assert_eq!(arena.stats().busy, 1_000, "of this size there is none left, though a quarter of the budget is");
    small.truncate(768);
    assert_eq!(arena.stats().busy, 500);
    while let Some(buffer) = arena.lend(1) {
        small.push(buffer);
    }
    let mut large = Vec::new();
    while let Some(buffer) = arena.lend(5000) {
        large.push(buffer);
    }
    let stats = arena.stats();
    assert_eq!((large.len(), stats.bytes, stats.lent, stats.free, stats.refused), (32, 8 << 20, 1568, 0, 3));
    // What comes back can be lent again.
    small.pop();
    assert!(arena.lend(1).is_some());
    drop((small, large));
    let stats = arena.stats();
    assert_eq!((stats.lent, stats.free, stats.bytes), (0, 1568, 8 << 20));
}

#[test]
fn a_buffer_comes_back_with_its_last_view_and_not_before() {
    let arena = Arena::new(options()).unwrap();
    let mut buffer = arena.lend(1).unwrap();
    buffer.extend(b"departed");
    let block = buffer.split_to(8).freeze();
    let copy = block.clone();
    let part = block.slice(2..=5);
    assert_eq!((&part[..], &copy.slice(..2)[..], &copy.slice(8..)[..]), (&b"part"[..], &b"de"[..], &b""[..]));
    drop((buffer, block, copy));
    assert_eq!(arena.stats().lent, 1);
    drop(part);
    assert_eq!(arena.stats().lent, 0);
}

#[test]
fn views_outlive_the_arena_handle() {
    let arena = Arena::new(options()).unwrap();
    let block = arena.copy_of(b"arrived").unwrap();
    drop(arena);
    assert_eq!(block[..], *b"arrived");
}

#[test]
fn room_comes_back_to_a_buffer_whose_views_are_gone() {
    let arena = Arena::new(options()).unwrap();
    let mut buffer = arena.lend(1).unwrap();
    assert_eq!(buffer.extend(&[1; 5000]), 4096);
    let block = buffer.split_to(4000);
    assert!(!buffer.reclaim());
    assert_eq!((buffer.room(), buffer.filled().len()), (0, 96));
    drop(block);
    assert!(buffer.reclaim());
    assert_eq!((buffer.room(), buffer.filled()), (4000, &[1; 96][..]));
    assert!(buffer.reclaim());
}

#[test]
fn more_views_than_references_in_store_are_counted_right() {
    let arena = Arena::new(options()).unwrap();
    let mut buffer = arena.lend(1).unwrap();
    let views: Vec<_> = (0..100_000).map(|_| buffer.split_to(0)).collect();
    assert!(!buffer.reclaim() || buffer.filled().is_empty());
    drop(buffer);
    assert_eq!(arena.stats().lent, 1);
    drop(views);
    assert_eq!(arena.stats().lent, 0);
}

#[test]
fn huge_pages_are_asked_for_and_not_needed() {
    let huge = ArenaOptions { huge_pages: true, budget: ByteCount::mib(16), ..options() };
    let arena = Arena::new(huge).unwrap();
    let stats = arena.stats();
    assert_eq!(stats.bytes, 2 << 20);
    let mut buffer = arena.lend(1).unwrap();
    assert_eq!(buffer.spare_mut(), [0; 4096]);
}

#[test]
fn options_that_cannot_work_are_refused_with_the_remedy() {
    let refused = |options| Arena::new(options).err().unwrap();
    for bytes in [0, 100, MAX_BUFFER + 64] {
        let error = refused(ArenaOptions { small: bytes, ..options() });
        assert_eq!(error, ArenaError::BufferSize { class: "small", bytes });
    }
    assert_eq!(
        refused(ArenaOptions { large: 64, ..options() }).to_string(),
        "large buffers of 64 bytes are smaller than small ones of 4096: raise `large` or lower `small`"
    );
    let ArenaError::Budget { least, .. } = refused(ArenaOptions { budget: ByteCount::mib(3), ..options() }) else {
        panic!("the budget is too small");
    };
    assert!(Arena::new(ArenaOptions { budget: least, ..options() }).is_ok());
    assert_eq!(
        refused(ArenaOptions { initial: ByteCount::mib(7), ..options() }),
        ArenaError::Initial { initial: ByteCount::mib(7), limit: ByteCount::mib(6) }
    );
}

#[test]
#[should_panic(expected = "split off 9 bytes, and only 8 are filled")]
fn more_than_is_filled_cannot_be_split_off() {
    let arena = Arena::new(options()).unwrap();
    let mut buffer = arena.lend(1).unwrap();
    buffer.extend(&[0; 8]);
    drop(buffer.split_to(9));
}

/// What the property test does. `usize` fields choose among the handles there.
#[derive(Clone, Debug)]
enum Op {
    Lend(usize),
    Fill(usize, u8, usize),
    Split(usize, usize),
    SplitBlock(usize, usize),
    Write(usize, u8),
    Freeze(usize),
    Clone(usize),
    Slice(usize, usize, usize),
    Reclaim(usize),
    Drop(u8, usize),
}

fn op() -> impl Strategy<Value = Op> {
    let some = 0..1000_usize;
    prop_oneof![
        1 => (0..9000_usize).prop_map(Op::Lend),
        3 => (some.clone(), any::<u8>(), 0..2000_usize).prop_map(|(n, byte, len)| Op::Fill(n, byte, len)),
        3 => (some.clone(), 0..500_usize).prop_map(|(n, len)| Op::Split(n, len)),
        2 => (some.clone(), 0..500_usize).prop_map(|(n, len)| Op::SplitBlock(n, len)),
        3 => (some.clone(), any::<u8>()).prop_map(|(n, byte)| Op::Write(n, byte)),
        2 => some.clone().prop_map(Op::Freeze),
        1 => some.clone().prop_map(Op::Clone),
        1 => (some.clone(), some.clone(), some.clone()).prop_map(|(n, a, b)| Op::Slice(n, a, b)),
        1 => some.clone().prop_map(Op::Reclaim),
        2 => (0..3_u8, some).prop_map(|(kind, n)| Op::Drop(kind, n)),
    ]
}

/// Handles, each with the bytes that it must show.
#[derive(Default)]
struct World {
    buffers: Vec<(Buffer, Vec<u8>)>,
    exclusive: Vec<(BlockMut, Vec<u8>)>,
    shared: Vec<(BlockRef, Vec<u8>)>,
}

/// One of `all`, chosen by `n`.
fn pick<T>(all: &mut [T], n: usize) -> Option<&mut T> {
    let len = all.len();
    all.get_mut(n.checked_rem(len)?)
}

fn take<T>(all: &mut Vec<T>, n: usize) -> Option<T> {
    let at = n.checked_rem(all.len())?;
    Some(all.swap_remove(at))
}

impl World {
    fn apply(&mut self, arena: &Arena, op: Op) -> Option<()> {
        match op {
            Op::Lend(at_least) => self.buffers.push((arena.lend(at_least)?, Vec::new())),
            Op::Fill(n, byte, len) => {
                let (buffer, bytes) = pick(&mut self.buffers, n)?;
                let len = len.min(buffer.room());
                buffer.spare_mut()[..len].fill(byte);
                buffer.advance(len);
                bytes.resize(bytes.len() + len, byte);
            }
            Op::Split(n, len) => {
                let (buffer, bytes) = pick(&mut self.buffers, n)?;
                let len = len.min(bytes.len());
                self.exclusive.push((buffer.split_to(len), bytes.drain(..len).collect()));
            }
            Op::SplitBlock(n, len) => {
                let (block, bytes) = pick(&mut self.exclusive, n)?;
                let len = len.min(bytes.len());
                let front = (block.split_to(len), bytes.drain(..len).collect());
                self.exclusive.push(front);
            }
            Op::Write(n, byte) => {
                let (block, bytes) = pick(&mut self.exclusive, n)?;
                block.fill(byte);
                bytes.fill(byte);
            }
            Op::Freeze(n) => {
                let (block, bytes) = take(&mut self.exclusive, n)?;
                self.shared.push((block.freeze(), bytes));
            }
            Op::Clone(n) => {
                let copy = pick(&mut self.shared, n)?.clone();
                self.shared.push(copy);
            }
            Op::Slice(n, a, b) => {
                let (block, bytes) = pick(&mut self.shared, n)?;
                let (a, b) = (a % (bytes.len() + 1), b % (bytes.len() + 1));
                let (a, b) = (a.min(b), a.max(b));
                let part = (block.slice(a..b), bytes[a..b].to_vec());
                self.shared.push(part);
            }
            Op::Reclaim(n) => {
                let (buffer, bytes) = pick(&mut self.buffers, n)?;
                if buffer.reclaim() {
                    assert_eq!(buffer.room(), buffer.capacity() - bytes.len());
                }
            }
            Op::Drop(0, n) => drop(take(&mut self.buffers, n)),
            Op::Drop(1, n) => drop(take(&mut self.exclusive, n)),
            Op::Drop(_, n) => drop(take(&mut self.shared, n)),
        }
        Some(())
    }

    fn check(&self) {
        assert!(self.buffers.iter().all(|(buffer, bytes)| buffer.filled() == bytes));
        assert!(self.exclusive.iter().all(|(block, bytes)| block[..] == bytes[..]));
        assert!(self.shared.iter().all(|(block, bytes)| block[..] == bytes[..]));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_view_shows_its_own_bytes_whatever_is_done_through_others(ops in vec(op(), 0..200)) {
        let options = ArenaOptions { small: 1024, large: 8192, initial: ByteCount(1), ..options() };
        let arena = Arena::new(options).unwrap();
        let mut world = World::default();
        for op in ops {
            let _nothing_to_do_it_to = world.apply(&arena, op);
            world.check();
        }
        drop(world);
        prop_assert_eq!(arena.stats().lent, 0);
    }
}
