//! Frames on their way into one channel of a link, the first of them written
//! in part.

use std::collections::VecDeque;
use std::io::IoSlice;

use weft_base::Lane;
use weft_sched::lanes::LaneQueue;

use super::{BATCH, Frame, SENDING, SLICES};

/// The channel that the frames of a lane leave on, of so many: where there are
/// enough, lane `n` on channel `n + 1`; else lanes are dealt out in turn, the
/// first lane to the first channel.
pub(super) fn channel_of(lane: Lane, channels: usize) -> usize {
    if channels > Lane::COUNT { lane.index() + 1 } else { lane.index() % channels.max(1) }
}

/// The lanes of a channel.
fn lanes_of(channel: usize, channels: usize) -> impl Iterator<Item = Lane> {
    Lane::all().filter(move |lane| channel_of(*lane, channels) == channel)
}

#[derive(Default)]
pub(super) struct Way {
    /// Which of its lanes is asked first, where it has several.
    turn: usize,
    pub(super) frames: VecDeque<Frame>,
    /// How much of the first frame is written, or of several of them.
    pub(super) written: usize,
    /// Bytes in the frames, those written included; of packed ones what they were.
    pub(super) bytes: usize,
}

impl Way {
    /// Behind all others.
    pub(super) fn push(&mut self, frame: Frame, len: usize) {
        self.bytes += len;
        self.frames.push_back(frame);
    }

    /// Behind a frame of which a part is written and control frames that came
    /// before, and before all others.
    pub(super) fn push_control(&mut self, bytes: Vec<u8>) {
        self.bytes += bytes.len();
        let begun = usize::from(self.written > 0).min(self.frames.len());
        let before = self.frames.iter().skip(begun).take_while(|frame| matches!(frame, Frame::Control(_)));
        let place = begun + before.count();
        self.frames.insert(place, Frame::Control(bytes));
    }

    /// Takes what its lanes have, while there is room. Lanes that share it take
    /// turns, a batch's worth each. `count` is told of each. Answers how many
    /// bytes that were.
    pub(super) fn fill(
        &mut self,
        channel: usize,
        channels: usize,
        lanes: &mut LaneQueue<Frame>,
        mut count: impl FnMut(Lane, u64, &Frame),
    ) -> usize {
        let several = lanes_of(channel, channels).count();
        let (mut taken, mut idle) = (0, 0);
        while self.bytes < SENDING && idle < several {
            let Some(lane) = lanes_of(channel, channels).nth(self.turn % several) else { break };
            let mut of_lane = 0;
            while self.bytes < SENDING
                && (several == 1 || of_lane < BATCH)
                && let Some((waiting, frame)) = lanes.pop_of(lane)
            {
                of_lane += waiting.cost.max(1);
                taken += waiting.cost;
                count(lane, waiting.events, &frame);
                self.push(frame, waiting.cost);
            }
            self.turn = (self.turn + 1) % several;
            idle = if of_lane == 0 { idle + 1 } else { 0 };
        }
        taken
    }

    /// What is to be written next, and how many slices that is.
    pub(super) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES]) -> usize {
        let (mut used, mut skip) = (0, self.written);
        for frame in &self.frames {
            if used + 3 > SLICES {
                break;
            }
            for part in frame.parts() {
                if skip >= part.len() {
                    // Also of those that are empty.
                    skip -= part.len();
                    continue;
                }
                slices[used] = IoSlice::new(&part[std::mem::take(&mut skip)..]);
                used += 1;
            }
        }
        used
    }

    /// A frame that is written as a whole, and its length.
    pub(super) fn pop_written(&mut self) -> Option<(Frame, usize)> {
        let len = self.frames.front()?.len();
        if self.written < len {
            return None;
        }
        self.written -= len;
        self.bytes -= self.frames.front()?.cost();
        self.frames.pop_front().map(|frame| (frame, len))
    }

    /// All frames: nothing is written any more.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Frame> {
        (self.written, self.bytes) = (0, 0);
        self.frames.drain(..)
    }
}
