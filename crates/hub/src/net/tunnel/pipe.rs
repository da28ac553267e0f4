//! One end of a tunnel: a stream of bytes in each direction over messages that
//! may be lost. Pure.
//!
//! Bytes are numbered. What comes has to begin where the last message ended:
//! anything else is a loss, which ends the tunnel; nothing is sent again. At
//! most a window of bytes is under way; the other end says how far it has
//! passed on what came, and how far it has sent, so that the loss of the last
//! message is seen too.

use weft_base::Mono;

/// Bytes in one message.
pub(super) const CHUNK: usize = 32 << 10;

/// Why a tunnel cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    #[error("bytes {expected} to {found} are missing: a message was lost on the way")]
    Gap { expected: u64, found: u64 },
    #[error("{came} bytes came and {allowed} were allowed: the other hub does not keep to the window")]
    Exceeded { came: u64, allowed: u64 },
    #[error("the other hub says that it took {taken} bytes, and {sent} were sent")]
    Lie { taken: u64, sent: u64 },
}

/// The end.
#[derive(Debug)]
pub(super) struct Pipe {
    window: u64,
    /// To be sent.
    waiting: Vec<u8>,
    sent: u64,
    /// What the other end has passed on of it.
    acked: u64,
    came: u64,
    /// What of it waits here to be passed on.
    held: u64,
    /// What the other end was told of it.
    told: u64,
    /// When something came, and when something was sent.
    pub(super) heard: Mono,
    pub(super) said: Mono,
}

impl Pipe {
    pub(super) fn new(window: usize, now: Mono) -> Self {
        let window = window.max(CHUNK) as u64;
        Self { window, waiting: Vec::new(), sent: 0, acked: 0, came: 0, held: 0, told: 0, heard: now, said: now }
    }

    /// How much may be written now.
    pub(super) fn room(&self) -> usize {
        let under_way = (self.sent - self.acked).saturating_add(self.waiting.len() as u64);
        usize::try_from(self.window.saturating_sub(under_way)).unwrap_or(usize::MAX)
    }

    /// Takes bytes to be sent: a writer that cannot wait may exceed the room by
    /// what it has in hand, and then looks at it before it takes more.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// The next bytes to send, and their number.
    pub(super) fn next(&mut self, now: Mono) -> Option<(u64, Vec<u8>)> {
        let may = usize::try_from(self.window.saturating_sub(self.sent - self.acked)).unwrap_or(usize::MAX);
        let n = self.waiting.len().min(CHUNK).min(may);
        if n == 0 {
            return None;
        }
        let chunk: Vec<u8> = self.waiting.drain(..n).collect();
        let at = self.sent;
        self.sent += n as u64;
        self.said = now;
        Some((at, chunk))
    }

    /// Bytes have come, which wait here until [`passed_on`](Self::passed_on).
    pub(super) fn came(&mut self, at: u64, len: usize, now: Mono) -> Result<(), Broken> {
        if at != self.came {
            return Err(Broken::Gap { expected: self.came, found: at });
        }
        let (came, allowed) = (self.came.saturating_add(len as u64), self.told.saturating_add(self.window));
        if came > allowed {
            return Err(Broken::Exceeded { came, allowed });
        }
        self.came = came;
        self.held += len as u64;
        self.heard = now;
        Ok(())
    }

    /// Of what was passed on, so much waits further on and counts as held.
    pub(super) fn hold(&mut self, len: usize) {
        self.held = self.held.saturating_add(len as u64).min(self.came);
    }

    pub(super) fn passed_on(&mut self, len: usize) {
        self.held = self.held.saturating_sub(len as u64);
    }

    /// Whether so much was passed on that the other end should know.
    pub(super) fn owes_word(&self) -> bool {
        self.came - self.held >= self.told + self.window / 4
    }

    /// How far this end has passed on what came, and how far it has sent.
    pub(super) fn word(&mut self, now: Mono) -> (u64, u64) {
        self.told = self.told.max(self.came - self.held);
        self.said = now;
        (self.told, self.sent)
    }

    /// The other end's word. Answers whether there is room for more.
    pub(super) fn heard(&mut self, taken: u64, sent: u64, now: Mono) -> Result<bool, Broken> {
        if sent != self.came {
            return Err(Broken::Gap { expected: self.came, found: sent });
        }
        if taken > self.sent {
            return Err(Broken::Lie { taken, sent: self.sent });
        }
        let more = taken > self.acked;
        self.acked = self.acked.max(taken);
        self.heard = now;
        Ok(more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Mono = Mono(1);

    #[test]
    fn bytes_pass_in_order_within_the_window() {
        let (mut near, mut far) = (Pipe::new(64 << 10, NOW), Pipe::new(64 << 10, NOW));
        near.write(&vec![7; 100 << 10]);
        assert_eq!(near.room(), 0);
        let mut passed = 0;
        while let Some((at, bytes)) = near.next(NOW) {
            far.came(at, bytes.len(), NOW).expect("in order");
            passed += bytes.len();
        }
        assert_eq!(passed, 64 << 10, "a window and no more");
        assert!(!far.owes_word(), "nothing is passed on yet");
        far.passed_on(passed);
        assert!(far.owes_word());
        let (taken, sent) = far.word(NOW);
        assert_eq!(near.heard(taken, sent, NOW), Ok(true));
        assert_eq!(near.next(NOW).map(|(at, bytes)| (at, bytes.len())), Some((64 << 10, CHUNK)));
    }

    #[test]
    fn a_loss_is_seen_by_the_next_message_or_the_next_word() {
        let mut far = Pipe::new(64 << 10, NOW);
        far.came(0, 10, NOW).expect("the first");
        assert_eq!(far.came(20, 5, NOW), Err(Broken::Gap { expected: 10, found: 20 }));
        assert_eq!(far.heard(0, 15, NOW), Err(Broken::Gap { expected: 10, found: 15 }), "the last one was lost");
        assert_eq!(far.heard(0, 10, NOW), Ok(false));
    }

    #[test]
    fn who_does_not_keep_to_the_window_or_lies_is_refused() {
        let mut far = Pipe::new(CHUNK, NOW);
        far.came(0, CHUNK, NOW).expect("a window");
        assert!(matches!(far.came(CHUNK as u64, 1, NOW), Err(Broken::Exceeded { .. })));
        assert_eq!(far.heard(1, CHUNK as u64, NOW), Err(Broken::Lie { taken: 1, sent: 0 }));
    }
}
