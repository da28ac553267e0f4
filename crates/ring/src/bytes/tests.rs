//! The ring against a naive queue, and against a peer that writes anything.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use proptest::prelude::*;

use super::*;

/// A ring's memory that only one thread uses.
#[derive(Clone, Debug)]
struct Heap(Rc<(Words, RefCell<Vec<u8>>)>);

impl Heap {
    fn new(capacity: usize) -> Self {
        Self(Rc::new((Words::default(), RefCell::new(vec![0; capacity]))))
    }
}

impl Memory for Heap {
    fn words(&self) -> &Words {
        &self.0.0
    }

    fn capacity(&self) -> usize {
        self.0.1.borrow().len()
    }

    fn copy_in(&self, at: usize, from: &[u8]) {
        self.0.1.borrow_mut()[at..at + from.len()].copy_from_slice(from);
    }

    fn copy_out(&self, at: usize, to: &mut [u8]) {
        to.copy_from_slice(&self.0.1.borrow()[at..at + to.len()]);
    }
}

fn ring(capacity: usize) -> (Heap, Writer<Heap>, Reader<Heap>) {
    let heap = Heap::new(capacity);
    (heap.clone(), Writer::new(heap.clone()), Reader::new(heap))
}

#[test]
fn a_full_ring_takes_nothing_and_an_empty_one_gives_nothing() {
    let (_, mut writer, mut reader) = ring(8);
    let mut buf = [0; 16];
    assert_eq!(reader.read(&mut buf), Ok(Moved::default()));
    let slices = [IoSlice::new(b"abcde"), IoSlice::new(b""), IoSlice::new(b"fghij")];
    assert_eq!(writer.write(&slices), Ok(Moved { bytes: 8, wake: false }));
    assert_eq!(writer.write(&slices), Ok(Moved::default()));
    assert_eq!(reader.read(&mut buf[..3]), Ok(Moved { bytes: 3, wake: false }));
    assert_eq!(writer.write(&slices), Ok(Moved { bytes: 3, wake: false }));
    assert_eq!(reader.read(&mut buf), Ok(Moved { bytes: 8, wake: false }));
    assert_eq!(&buf[..8], b"defghabc");
}

#[test]
fn who_sleeps_is_woken_once_and_the_writer_only_for_half_the_ring() {
    let (_, mut writer, mut reader) = ring(8);
    assert_eq!(reader.may_sleep(), Ok(true));
    assert!(writer.write(&[IoSlice::new(b"abcd")]).unwrap().wake, "the reader sleeps");
    assert!(!writer.write(&[IoSlice::new(b"efgh")]).unwrap().wake, "it was woken already");
    assert_eq!(reader.may_sleep(), Ok(false), "there is something");
    assert_eq!(writer.may_sleep(), Ok(true));
    let mut buf = [0; 3];
    assert!(!reader.read(&mut buf).unwrap().wake, "three are not half of eight");
    assert_eq!(writer.has_room(), Ok(false));
    assert!(reader.read(&mut buf).unwrap().wake);
    assert!(!reader.read(&mut buf).unwrap().wake);
    assert_eq!(writer.may_sleep(), Ok(false), "there is room");
    assert!(!reader.read(&mut buf).unwrap().wake);
}

#[test]
fn positions_that_cannot_be_are_refused() {
    for tail in [9, 1 << 63, u64::MAX, 4] {
        let (heap, mut writer, mut reader) = ring(8);
        assert_eq!(writer.write(&[IoSlice::new(b"abcdef")]).unwrap().bytes, 6);
        assert_eq!(reader.available(), Ok(6));
        // Beyond the ring, far beyond it, before what was read, and back.
        heap.words().tail.0.store(tail, Ordering::Relaxed);
        assert_eq!(reader.available(), Err(Broken { theirs: tail, ours: 0, capacity: 8 }), "{tail}");
    }
    for head in [7, u64::MAX, 1] {
        let (heap, mut writer, mut reader) = ring(8);
        assert_eq!(writer.write(&[IoSlice::new(b"abcdef")]).unwrap().bytes, 6);
        assert_eq!(reader.read(&mut [0; 2]).unwrap().bytes, 2);
        assert_eq!(writer.room(), Ok(4));
        // Not written yet, before the start, and back.
        heap.words().head.0.store(head, Ordering::Relaxed);
        assert_eq!(writer.write(&[IoSlice::new(b"12345")]).unwrap_err().theirs, head);
    }
}

/// What a test does to a ring.
#[derive(Clone, Debug)]
enum Step {
    Write(Vec<usize>),
    Read(usize),
    ReaderSleeps,
    WriterSleeps,
    /// A peer writes a value into one of the four words.
    Poke(usize, u64),
}

fn step(hostile: bool) -> impl Strategy<Value = Step> {
    let near = prop_oneof![any::<u64>(), 0..300_u64, (0..300_u64).prop_map(|n| 0_u64.wrapping_sub(n))];
    prop_oneof![
        4 => prop::collection::vec(0..40_usize, 0..5).prop_map(Step::Write),
        4 => (0..100_usize).prop_map(Step::Read),
        1 => Just(Step::ReaderSleeps),
        1 => Just(Step::WriterSleeps),
        if hostile { 3 } else { 0 } => (0..4_usize, near).prop_map(|(word, value)| Step::Poke(word, value)),
    ]
}

proptest! {
    #[test]
    fn it_is_a_queue(steps in prop::collection::vec(step(false), 0..200), power in 3..8_u32) {
        let capacity = 1_usize << power;
        let (_, mut writer, mut reader) = ring(capacity);
        let mut oracle = VecDeque::new();
        let mut next = 0_u8;
        let (mut reader_sleeps, mut writer_sleeps) = (false, false);
        for step in steps {
            match step {
                Step::Write(lens) => {
                    let data: Vec<Vec<u8>> = lens.iter().map(|len| (0..*len).map(|_| { next = next.wrapping_add(1); next }).collect()).collect();
                    let slices: Vec<_> = data.iter().map(|piece| IoSlice::new(piece)).collect();
                    let moved = writer.write(&slices).unwrap();
                    let all: Vec<u8> = data.concat();
                    prop_assert_eq!(moved.bytes, all.len().min(capacity - oracle.len()));
                    prop_assert_eq!(moved.wake, reader_sleeps && moved.bytes > 0);
                    reader_sleeps &= moved.bytes == 0;
                    oracle.extend(&all[..moved.bytes]);
                }
                Step::Read(len) => {
                    let mut buf = vec![0; len];
                    let moved = reader.read(&mut buf).unwrap();
                    let expected: Vec<u8> = oracle.drain(..len.min(oracle.len())).collect();
                    prop_assert_eq!(&buf[..moved.bytes], &expected[..]);
                    if moved.wake {
                        prop_assert!(writer_sleeps);
                        writer_sleeps = false;
                    }
                    prop_assert!(!writer_sleeps || oracle.len() > capacity / 2 || moved.bytes == 0, "the writer sleeps on");
                }
                Step::ReaderSleeps => reader_sleeps = reader.may_sleep().unwrap(),
                Step::WriterSleeps => writer_sleeps = writer.may_sleep().unwrap(),
                Step::Poke(..) => {}
            }
        }
    }

    #[test]
    fn whatever_a_peer_writes_costs_no_more_than_the_ring(
        steps in prop::collection::vec(step(true), 0..200), power in 3..8_u32
    ) {
        let (heap, mut writer, mut reader) = ring(1 << power);
        for step in steps {
            // Each end goes on or says that the ring is broken; the heap's
            // copies would panic outside of their bounds.
            match step {
                Step::Write(lens) => {
                    let data: Vec<Vec<u8>> = lens.iter().map(|len| vec![7; *len]).collect();
                    let slices: Vec<_> = data.iter().map(|piece| IoSlice::new(piece)).collect();
                    let _ = writer.write(&slices);
                }
                Step::Read(len) => {
                    let _ = reader.read(&mut vec![0; len]);
                }
                Step::ReaderSleeps => {
                    let _ = reader.may_sleep();
                }
                Step::WriterSleeps => {
                    let _ = writer.may_sleep();
                }
                Step::Poke(0, value) => heap.words().tail.0.store(value, Ordering::Relaxed),
                Step::Poke(1, value) => heap.words().head.0.store(value, Ordering::Relaxed),
                Step::Poke(2, value) => heap.words().reader_sleeps.0.store(value as u32, Ordering::Relaxed),
                Step::Poke(_, value) => heap.words().writer_sleeps.0.store(value as u32, Ordering::Relaxed),
            }
        }
    }
}
