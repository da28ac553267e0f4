//! What a reader of a histogram may see, explored by loom, and the canary: two
//! writers of one word, which lose counts.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p weft-observe --release --test loom`
#![cfg(loom)]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use loom::thread;
use weft_base::sync::Arc;
use weft_base::sync::atomic::{AtomicU64, Ordering};
use weft_observe::Recorder;
use weft_observe::scale::Scale;

#[test]
fn counts_never_shrink_and_are_whole_in_the_end() {
    loom::model(|| {
        // Two buckets: loom looks at each word.
        let mut recorder = Recorder::own(Scale::of(0, 1).unwrap());
        let viewer = recorder.viewer();
        let writer = thread::spawn(move || {
            recorder.record(0);
            recorder.record(1);
            recorder
        });
        let (first, second) = (viewer.snapshot(), viewer.snapshot());
        assert!(first.counts().iter().zip(second.counts()).all(|(first, second)| first <= second));
        assert!(second.counts().iter().all(|count| *count <= 1) && first.largest() <= second.largest());
        let recorder = writer.join().unwrap();
        assert_eq!((viewer.snapshot().counts(), recorder.viewer().snapshot().sum()), (&[1, 1][..], 1));
    });
}

#[test]
#[should_panic(expected = "lost")]
fn a_second_writer_would_lose_counts_and_is_noticed() {
    loom::model(|| {
        let word = Arc::new(AtomicU64::new(0));
        let add = |word: &AtomicU64| word.store(word.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        let other = {
            let word = Arc::clone(&word);
            thread::spawn(move || add(&word))
        };
        add(&word);
        other.join().unwrap();
        assert_eq!(word.load(Ordering::Relaxed), 2, "lost");
    });
}
