//! What the verify stage does for who repairs: looks at segments, and puts what
//! another home gave in the place of what is damaged.
//!
//! Asked by the replicate stage, which decides (`weft_stream::heal`), one thing
//! at a time: a job takes the place of one that was not taken yet.

use std::sync::{Arc, Weak};

use weft_base::sync::Mutex;
use weft_base::{Now, UnixNanos};
use weft_log::{Hole, Look, Mender};
use weft_stream::heal::{Looked, Missing, Segment};

use super::verify::{Health, locked};
use crate::replicate::ToReplicate;

/// A stream's log as who repairs it sees it.
#[derive(Clone, Debug)]
pub(crate) struct Mending {
    pub(crate) mender: Arc<Mender>,
    /// Gone with the stream.
    pub(crate) health: Weak<Health>,
}

/// Something to do.
pub(crate) struct Job {
    pub(crate) at: Segment,
    pub(crate) mending: Mending,
    /// To put there; none: it is to be looked at.
    pub(crate) blocks: Option<Vec<Vec<u8>>>,
}

/// The job that the verify stage has not taken yet.
#[derive(Default)]
pub(crate) struct ToMend(Mutex<Option<Job>>);

impl ToMend {
    /// Asks for something.
    pub(crate) fn ask(&self, job: Job) {
        *locked(&self.0) = Some(job);
    }

    pub(super) fn take(&self) -> Option<Job> {
        locked(&self.0).take()
    }
}

/// Does jobs; remembers what was looked at last.
#[derive(Default)]
pub(super) struct Worker {
    hole: Option<(Segment, Hole)>,
}

impl Worker {
    /// Does one, and answers what is to be told.
    pub(super) fn work(&mut self, job: Job, now: Now) -> ToReplicate {
        let Job { at, mending: Mending { mender, health }, blocks } = job;
        match blocks {
            None => ToReplicate::Looked { at, looked: self.look(at, &mender) },
            Some(blocks) => ToReplicate::Mended { at, result: self.mend(at, &mender, &health, blocks, now.wall) },
        }
    }

    fn look(&mut self, at: Segment, mender: &Mender) -> Looked {
        self.hole = None;
        match mender.look(at.number) {
            Look::Whole => Looked::Whole,
            Look::Not(why) => Looked::Not(why),
            Look::Holes(holes) => {
                let Some(hole) = holes.into_iter().next() else { return Looked::Whole };
                let missing = Missing { events: hole.events(), bytes: hole.bytes(), held: hole.held.clone() };
                self.hole = Some((at, hole));
                Looked::Missing(missing)
            }
        }
    }

    fn mend(
        &mut self,
        at: Segment,
        mender: &Mender,
        health: &Weak<Health>,
        blocks: Vec<Vec<u8>>,
        now: UnixNanos,
    ) -> Result<(), String> {
        let hole = self.hole.take().filter(|(looked_at, _)| *looked_at == at).map(|(_, hole)| hole);
        let (Some(hole), Some(health)) = (hole, health.upgrade()) else {
            return Err("the stream is not there any more".to_owned());
        };
        mender.mend(&hole, blocks, now).map_err(|error| match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        })?;
        health.mended(hole.segment, hole.offset);
        Ok(())
    }
}
