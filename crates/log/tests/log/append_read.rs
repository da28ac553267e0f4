//! Appending and reading, on a file system that does what it should.

use std::time::Duration;

use crate::common::*;
use weft_base::{ByteCount, UnixNanos};
use weft_log::fault::FaultFs;
use weft_log::{AppendError, LogOptions, OpenError, ReadError, SyncError};

#[test]
fn what_is_appended_is_read_in_order_across_segments_and_openings() {
    let fs = FaultFs::new();
    for opening in 0..4 {
        let (mut log, recovery) = open(&fs);
        assert_eq!((recovery.next, recovery.blocks), (1 + 100 * opening, 100 * opening));
        assert_eq!((recovery.damages, recovery.cut_bytes), (0, 0), "{:?}", recovery.damaged);
        append(&mut log, 100);
        let expected: Vec<u64> = (1..=100 * (opening + 1)).collect();
        assert_eq!(read_all(&mut log.reader(), 1), (expected, vec![]));
        assert_eq!(log.syncer().sync().unwrap(), log.next());
        assert_eq!(log.synced(), log.next());
    }
}
