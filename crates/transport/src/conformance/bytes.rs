//! Checks of the byte stream: order, limits, and what polls say of it.

use std::io::IoSlice;

use super::{PATIENCE, Rig, Stage, pattern};
use crate::network::{Network, ReadOutcome, WriteOutcome};

/// More than any buffer of the system between two ends of a test's link.
const MUCH: usize = 64 << 20;

/// Bytes come out as they went in, whatever the sizes of writes and reads.
pub fn the_stream_arrives_in_order<R: Rig>(rig: R) {
    let (mut stage, near, far) = Stage::linked(rig);
    let data = pattern(1 << 20);
    assert!(stage.carry((0, near), (1, far), &data) == data, "from the one that dialled");
    assert!(stage.carry((1, far), (0, near), &data) == data, "from the one that was dialled");
}

/// Two streams cross without touching each other.
pub fn both_directions_at_once<R: Rig>(rig: R) {
    let (mut stage, near, far) = Stage::linked(rig);
    let data = pattern(1 << 19);
    let ends = [(0, near), (1, far)];
    let (mut sent, mut got) = ([0; 2], [Vec::new(), Vec::new()]);
    stage.until("both streams' arrival", |stage| {
        let mut buf = vec![0; 16 << 10];
        for (i, (at, link)) in ends.into_iter().enumerate() {
            let piece = &data[sent[i]..data.len().min(sent[i] + 10_000)];
            match stage.nodes[at].net.write(link, &[IoSlice::new(piece)]) {
                WriteOutcome::Bytes(n) => sent[i] += n,
                WriteOutcome::WouldBlock => {}
                WriteOutcome::Closed(reason) => panic!("write: {reason}"),
            }
            match stage.nodes[at].net.read(link, &mut buf) {
                ReadOutcome::Bytes(n) => got[i].extend_from_slice(&buf[..n]),
                ReadOutcome::WouldBlock => {}
                ReadOutcome::Closed(reason) => panic!("read: {reason}"),
            }
        }
        (got[0].len() + got[1].len() == 2 * data.len()).then_some(())
    });
    assert!(got[0] == data && got[1] == data, "a stream was changed by the other");
}

/// Slices of one write come out in their order, empty ones among them.
pub fn vectored_writes_keep_their_order<R: Rig>(rig: R) {
    let (mut stage, near, far) = Stage::linked(rig);
    let data = pattern(40_000);
    let mut got = Vec::new();
    let mut at = 0;
    while at < data.len() {
        // 1 to 64 slices of 0 to 99 bytes.
        let mut slices = Vec::new();
        let mut end = at;
        for i in 0..1 + at % 64 {
            let next = data.len().min(end + (at + i * 37) % 100);
            slices.push(IoSlice::new(&data[end..next]));
            end = next;
        }
        if end == at {
            slices.push(IoSlice::new(&data[at..at + 1]));
        }
        match stage.nodes[0].net.write(near, &slices) {
            WriteOutcome::Bytes(n) => at += n,
            WriteOutcome::WouldBlock => stage.turn(),
            WriteOutcome::Closed(reason) => panic!("write: {reason}"),
        }
        let mut buf = [0; 5000];
        while let ReadOutcome::Bytes(n) = stage.nodes[1].net.read(far, &mut buf) {
            got.extend_from_slice(&buf[..n]);
        }
    }
    stage.until("the last bytes", |stage| {
        let mut buf = [0; 5000];
        while let ReadOutcome::Bytes(n) = stage.nodes[1].net.read(far, &mut buf) {
            got.extend_from_slice(&buf[..n]);
        }
        (got.len() >= data.len()).then_some(())
    });
    assert!(got == data, "slices were changed or exchanged");
}

/// One write takes no more than 64 slices.
pub fn of_many_slices_the_first_64_are_taken<R: Rig>(rig: R) {
    let (mut stage, near, far) = Stage::linked(rig);
    let data = pattern(100);
    let slices: Vec<_> = data.iter().map(|byte| IoSlice::new(std::slice::from_ref(byte))).collect();
    let taken = stage.until("a write", |stage| match stage.nodes[0].net.write(near, &slices) {
        WriteOutcome::Bytes(n) => Some(n),
        WriteOutcome::WouldBlock => None,
        WriteOutcome::Closed(reason) => panic!("write: {reason}"),
    });
    assert!((1..=64).contains(&taken), "{taken} slices were taken");
    let mut buf = [0; 200];
    let got = stage.until("the bytes", |stage| match stage.nodes[1].net.read(far, &mut buf) {
        ReadOutcome::Bytes(n) => Some(n),
        _ => None,
    });
    assert!(got <= taken && buf[..got] == data[..got], "other bytes than the first {taken} arrived");
}

/// A link whose far side does not read takes a bounded amount, says so, says
/// when there is room again, and loses nothing.
pub fn a_full_link_blocks_and_goes_on<R: Rig>(rig: R) {
    let (mut stage, near, far) = Stage::linked(rig);
    let piece = pattern(1 << 16);
    let mut sent = 0;
    let mut quiet = 0;
    let mut blocked = false;
    let write = |stage: &mut Stage<R>, sent: &mut usize| {
        // Each write begins in the piece where the stream stands.
        match stage.nodes[0].net.write(near, &[IoSlice::new(&piece[*sent % piece.len()..])]) {
            WriteOutcome::Bytes(n) => {
                *sent += n;
                true
            }
            WriteOutcome::WouldBlock => false,
            WriteOutcome::Closed(reason) => panic!("write: {reason}"),
        }
    };
    while quiet < 50 {
        while write(&mut stage, &mut sent) {
            assert!(sent < MUCH, "the link never blocks");
        }
        blocked = true;
        stage.turn();
        quiet = if stage.nodes[0].writable(near) { 0 } else { quiet + 1 };
    }
    assert!(blocked && sent > 0);
    assert!(!write(&mut stage, &mut sent), "there is room, and nobody said so");

    // The far side reads: room, and a report of it without another write.
    let mut got = 0;
    let mut buf = vec![0; 70_000];
    let mut read = |stage: &mut Stage<R>| {
        while let ReadOutcome::Bytes(n) = stage.nodes[1].net.read(far, &mut buf) {
            let expected = (got..got + n).map(|i| piece[i % piece.len()]);
            assert!(expected.eq(buf[..n].iter().copied()), "the stream changed near byte {got}");
            got += n;
        }
        got
    };
    stage.until("`Writable`", |stage| {
        read(stage);
        stage.nodes[0].writable(near).then_some(())
    });
    // Said by each poll until there is a write.
    for _ in 0..3 {
        stage.turn();
        assert!(stage.nodes[0].writable(near), "`Writable` was not said again");
    }
    let enough = sent + (8 << 20);
    while write(&mut stage, &mut sent) && sent < enough {
        read(&mut stage);
        if sent % 7 == 0 {
            stage.turn();
        }
        if sent > (1 << 20) + read(&mut stage) {
            break;
        }
    }
    stage.until("the rest", |stage| (read(stage) == sent).then_some(()));
    // Nothing left to write: an empty write says so, and polls are silent.
    assert_eq!(stage.nodes[0].net.write(near, &[]), WriteOutcome::Bytes(0));
    stage.settle();
}

/// A link is reported by each poll until it was read to the end.
pub fn reads_are_level_triggered<R: Rig>(rig: R) {
    let (mut stage, near, far) = Stage::linked(rig);
    stage.settle_reads(1, far);
    assert_eq!(stage.nodes[0].net.write(near, &[IoSlice::new(&pattern(100))]), WriteOutcome::Bytes(100));
    stage.until("`Readable`", |stage| stage.nodes[1].readable(far).then_some(()));
    for _ in 0..3 {
        stage.turn();
        assert!(stage.nodes[1].readable(far), "an unread link was not reported again");
    }
    let mut got = Vec::new();
    let mut buf = [0; 30];
    while got.len() < 100 {
        stage.until("`Readable`", |stage| stage.nodes[1].readable(far).then_some(()));
        // One read per poll: stopping early loses nothing.
        match stage.nodes[1].net.read(far, &mut buf) {
            ReadOutcome::Bytes(n) => got.extend_from_slice(&buf[..n]),
            other => panic!("{other:?} after {} bytes", got.len()),
        }
        stage.turn();
    }
    assert_eq!(got, pattern(100));
    assert_eq!(stage.nodes[1].net.read(far, &mut buf), ReadOutcome::WouldBlock);
    stage.settle();
}

/// A paused link is not reported as readable, and is again when resumed.
pub fn a_paused_link_is_silent<R: Rig>(rig: R) {
    let (mut stage, near, far) = Stage::linked(rig);
    stage.settle_reads(1, far);
    stage.nodes[1].net.pause(far);
    assert_eq!(stage.nodes[0].net.write(near, &[IoSlice::new(b"wait")]), WriteOutcome::Bytes(4));
    stage.settle();
    stage.nodes[1].net.resume(far);
    stage.until("`Readable`", |stage| stage.nodes[1].readable(far).then_some(()));
    stage.nodes[1].net.pause(far);
    stage.turn();
    assert!(!stage.nodes[1].readable(far), "a paused link was reported");
    let mut buf = [0; 10];
    assert_eq!(stage.nodes[1].net.read(far, &mut buf), ReadOutcome::Bytes(4), "a paused link can be read");
}

/// Links that carry nothing are not reported, so that the caller may sleep.
pub fn what_is_idle_stays_silent<R: Rig>(rig: R) {
    let (mut stage, near, far) = Stage::linked(rig);
    stage.settle_reads(0, near);
    stage.settle_reads(1, far);
    stage.settle();
    let data = pattern(3000);
    assert!(stage.carry((0, near), (1, far), &data) == data);
    stage.settle_reads(0, near);
    stage.settle_reads(1, far);
    stage.settle();
}

/// Nothing in, nothing out, and no end.
pub fn empty_reads_and_writes_do_nothing<R: Rig>(rig: R) {
    let (mut stage, near, far) = Stage::linked(rig);
    for _ in 0..3 {
        assert_eq!(stage.nodes[0].net.read(near, &mut []), ReadOutcome::Bytes(0));
        assert_eq!(stage.nodes[0].net.write(near, &[]), WriteOutcome::Bytes(0));
        assert_eq!(stage.nodes[0].net.write(near, &[IoSlice::new(&[]), IoSlice::new(&[])]), WriteOutcome::Bytes(0));
        stage.turn();
    }
    assert!(stage.carry((0, near), (1, far), b"still up") == b"still up");
}

impl<R: Rig> Stage<R> {
    /// Reads a link that has nothing until it says so, as a caller does after
    /// a report that came too many.
    pub fn settle_reads(&mut self, at: usize, link: crate::network::LinkToken) {
        let mut quiet = 0;
        for _ in 0..PATIENCE {
            let mut buf = [0; 64];
            match self.nodes[at].net.read(link, &mut buf) {
                ReadOutcome::WouldBlock => quiet += 1,
                other => panic!("{other:?} on a link that carries nothing"),
            }
            if quiet > 3 {
                return;
            }
            self.turn();
        }
    }
}
