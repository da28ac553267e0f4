//! Where a running hub's time goes, for whoever operates it.

use super::codec::{Reader, Writer};
use super::native::numbers;
use super::{FrameError, MAX_LIST};

/// The longest stack, in bytes of its text.
const MAX_STACK: usize = 16 << 10;

numbers! {
    /// Sample where the hub's threads are; answered by [`ProfileReport`] when
    /// the time is over.
    Profile {
        /// The request.
        request: u64,
        /// For how long, in seconds.
        seconds: u32,
        /// How many samples per second of processor time.
        hertz: u32,
    }
}

/// Threads that were found at the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProfileStack<'a> {
    /// The thread's name and its functions, the outermost first, separated by
    /// `;` ("folded", as flame graph tools read it).
    pub frames: &'a str,
    /// How many samples.
    pub samples: u64,
}

/// What the samples found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileReport<'a> {
    /// The request.
    pub request: u64,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// Samples taken; those of stacks that did not fit into the report are among them.
    pub samples: u64,
    /// Allocations of memory while it was taken.
    pub allocations: u64,
    /// Their bytes.
    pub allocated_bytes: u64,
    /// Bytes allocated and not given back at its end, since the hub started.
    pub live_bytes: u64,
    /// The stacks, most frequent first.
    pub stacks: Vec<ProfileStack<'a>>,
}

impl<'a> ProfileReport<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        Ok(Self {
            request: r.id(),
            took_us: r.u64("took_us")?,
            samples: r.u64("samples")?,
            allocations: r.u64("allocations")?,
            allocated_bytes: r.u64("allocated_bytes")?,
            live_bytes: r.u64("live_bytes")?,
            stacks: r.list("stacks", MAX_LIST, 10, |r| {
                Ok(ProfileStack { frames: r.text("frames", MAX_STACK)?, samples: r.u64("samples")? })
            })?,
        })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.id(self.request);
        w.u64(self.took_us);
        w.u64(self.samples);
        w.u64(self.allocations);
        w.u64(self.allocated_bytes);
        w.u64(self.live_bytes);
        w.list("stacks", &self.stacks, MAX_LIST, |w, stack| {
            w.text("frames", stack.frames, MAX_STACK);
            w.u64(stack.samples);
        });
    }
}
