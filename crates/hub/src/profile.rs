//! Where a running hub's time goes: from an operator's request to whoever
//! samples, and back. How threads are sampled is the program's affair.

use std::sync::Arc;
use std::time::Duration;

use weft_base::sync::thread;
use weft_ring::mpsc;
use weft_ring::stage::StageWaker;
use weft_wire::frame::{self, ErrorCode, Frame, MAX_CONTROL_FRAME, ProfileReport, ProfileStack};

use crate::messages::{SessionId, ToNet};

/// The longest that a profile may take, in seconds.
pub const MAX_SECONDS: u32 = 300;
/// The most samples per second of processor time.
pub const MAX_HERTZ: u32 = 1_000;
/// What a report's stacks may take of a frame.
const STACK_BYTES: usize = MAX_CONTROL_FRAME - (64 << 10);
/// How often, and how many times, an answer is offered to a net stage whose ring is full.
const OFFER_EVERY: Duration = Duration::from_millis(1);
const OFFERS: usize = 5_000;

/// What sampling found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// How long it took.
    pub took: Duration,
    /// Allocations of memory meanwhile.
    pub allocations: u64,
    /// Their bytes.
    pub allocated_bytes: u64,
    /// Bytes allocated and not given back at its end, since the process started.
    pub live_bytes: u64,
    /// Stacks as flame graph tools read them (the thread's name and its
    /// functions, the outermost first, separated by `;`) and how many samples
    /// of each. The most frequent first.
    pub stacks: Vec<(String, u64)>,
}

/// Called once with the profile, or with why there is none.
pub type Done = Box<dyn FnOnce(Result<Profile, String>) + Send>;

/// Samples the threads of this process.
pub trait Profiler: Send + Sync {
    /// Samples for `seconds`, `hertz` times per second of processor time, and
    /// calls `done`. Must not block, nor call `done` before it returns.
    fn take(&self, seconds: u32, hertz: u32, done: Done);
}

/// The net stage's way to the profiler.
pub(crate) struct Profiling {
    pub(crate) profiler: Option<Arc<dyn Profiler>>,
    pub(crate) net: mpsc::Producer<ToNet>,
    pub(crate) waker: StageWaker,
}

impl Profiling {
    /// Begins a profile for a session's request; the answer comes through the
    /// net stage's inbox. The reason when there is none.
    pub(crate) fn ask(&self, session: SessionId, asked: frame::Profile) -> Result<(), (ErrorCode, String)> {
        let Some(profiler) = &self.profiler else {
            return Err((ErrorCode::UNSUPPORTED, "this hub was started without a profiler".to_owned()));
        };
        let (seconds, hertz) = (asked.seconds, asked.hertz);
        if !(1..=MAX_SECONDS).contains(&seconds) || !(1..=MAX_HERTZ).contains(&hertz) {
            let detail = format!(
                "{seconds} seconds at {hertz} samples a second: ask for 1 to {MAX_SECONDS} at 1 to {MAX_HERTZ}"
            );
            return Err((ErrorCode::LIMIT, detail));
        }
        let (mut net, waker) = (self.net.clone(), self.waker.clone());
        profiler.take(
            seconds,
            hertz,
            Box::new(move |outcome| {
                let mut message = match outcome {
                    Ok(profile) => ToNet::Control { session, bytes: encode(asked.request, &profile) },
                    Err(detail) => {
                        let (code, retry_after_ms) = (ErrorCode::OVERLOADED, 1_000);
                        ToNet::Refused { session, id: asked.request, code, retry_after_ms, detail }
                    }
                };
                for _ in 0..OFFERS {
                    match net.push(message) {
                        Ok(()) => return waker.wake(),
                        Err(full) => message = full.0,
                    }
                    thread::park_timeout(OFFER_EVERY);
                }
                // The hub has stopped, or does nothing any more: nobody waits for this.
            }),
        );
        Ok(())
    }
}

fn encode(request: u64, profile: &Profile) -> Vec<u8> {
    let mut room = STACK_BYTES;
    let fits = |(frames, _): &&(String, u64)| {
        room = room.saturating_sub(frames.len() + 10);
        room > 0 && frames.len() <= 16 << 10
    };
    let report = ProfileReport {
        request,
        took_us: u64::try_from(profile.took.as_micros()).unwrap_or(u64::MAX),
        samples: profile.stacks.iter().map(|(_, samples)| samples).sum(),
        allocations: profile.allocations,
        allocated_bytes: profile.allocated_bytes,
        live_bytes: profile.live_bytes,
        stacks: profile
            .stacks
            .iter()
            .filter(fits)
            .map(|(frames, samples)| ProfileStack { frames, samples: *samples })
            .collect(),
    };
    let mut bytes = Vec::new();
    frame::encode(&Frame::ProfileReport(report), &mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_very_many_stacks_fits_a_frame_and_counts_all_samples() {
        let stacks: Vec<_> = (0..3_000).map(|n| (format!("{n};{}", "f".repeat(1_000)), 2)).collect();
        let bytes = encode(7, &Profile { stacks, ..Profile::default() });
        assert!(bytes.len() <= MAX_CONTROL_FRAME);
        let Ok(Frame::ProfileReport(report)) = Frame::decode(&bytes) else { panic!("not a report") };
        assert_eq!((report.request, report.samples), (7, 6_000));
        assert!(report.stacks.len() > 900);
    }
}
