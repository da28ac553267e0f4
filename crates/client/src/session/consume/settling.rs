//! What the application says of the events it was handed out, gathered until
//! the driver's next turn sends it.
//!
//! Messages and the session share this, so that an acknowledgement takes no
//! more than a lock that hardly anybody else wants: consecutive events become
//! one range, and only the first since the last turn wakes the driver. What
//! was gathered and not sent when the connection is lost is forgotten: the hub
//! hands those events out again. Bounded by [`MOST`] ranges.

use std::sync::Mutex;

use weft_base::SubscriptionId;
use weft_wire::frame::{self, Frame, MAX_SETTLE_RANGES, SettleRange, Verb};

use crate::error::SettleError;
use crate::ticket::lock;

/// Ranges that may wait for the driver. They are many only while the socket is
/// full; events beyond are refused, and handed out again after the ack wait.
const MOST: usize = 65_536;

/// What is said, of whichever events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Saying {
    pub(crate) verb: Verb,
    pub(crate) delay_ms: u64,
    pub(crate) reason: String,
}

impl Saying {
    pub(crate) const fn plain(verb: Verb) -> Self {
        Self { verb, delay_ms: 0, reason: String::new() }
    }
}

#[derive(Debug)]
struct Said {
    saying: Saying,
    ranges: Vec<SettleRange>,
}

#[derive(Debug, Default)]
struct Gathered {
    /// Of the membership that stands; 0 while none does.
    token: u64,
    closed: bool,
    said: Vec<Said>,
    ranges: usize,
}

/// The gathering place of one member.
#[derive(Debug, Default)]
pub(crate) struct Settling(Mutex<Gathered>);

impl Settling {
    /// The member has this token from now on; 0: there is no membership now.
    /// What was gathered under another is forgotten.
    pub(super) fn set_token(&self, token: u64) {
        let mut gathered = lock(&self.0);
        if gathered.token != token {
            *gathered = Gathered { token, closed: gathered.closed, ..Gathered::default() };
        }
    }

    /// Nothing is settled any more.
    pub(super) fn close(&self) {
        *lock(&self.0) = Gathered { closed: true, ..Gathered::default() };
    }

    /// The token that counts now.
    pub(crate) fn token(&self) -> u64 {
        lock(&self.0).token
    }

    /// Gathers what is said of an event that was handed out under `token`.
    /// Answers whether it is the first since the last turn: then the driver
    /// must be told.
    ///
    /// # Errors
    /// [`SettleError`]: the membership is another by now, or too much waits.
    pub(crate) fn say(&self, token: u64, sequence: u64, saying: &Saying) -> Result<bool, SettleError> {
        let mut gathered = lock(&self.0);
        if gathered.closed {
            return Err(SettleError::Closed);
        }
        if gathered.token != token || token == 0 {
            return Err(SettleError::Stale { token, current: gathered.token });
        }
        if gathered.ranges >= MOST {
            return Err(SettleError::Full { limit: MOST });
        }
        let first = gathered.said.is_empty();
        let gathered = &mut *gathered;
        match gathered.said.last_mut().filter(|last| last.saying == *saying) {
            Some(last) => match last.ranges.last_mut() {
                Some(range) if covers(range, sequence) => {}
                Some(range) if follows(range, sequence) => *range = SettleRange::new(range.first(), range.count() + 1),
                _ => {
                    last.ranges.push(SettleRange::new(sequence, 1));
                    gathered.ranges += 1;
                }
            },
            None => {
                gathered.said.push(Said { saying: saying.clone(), ranges: vec![SettleRange::new(sequence, 1)] });
                gathered.ranges += 1;
            }
        }
        Ok(first)
    }

    /// Writes what was gathered, in the order in which it was said.
    pub(super) fn flush(&self, id: SubscriptionId, out: &mut Vec<u8>) {
        let (token, said) = {
            let mut gathered = lock(&self.0);
            gathered.ranges = 0;
            (gathered.token, std::mem::take(&mut gathered.said))
        };
        for Said { saying, ranges } in said {
            for ranges in ranges.chunks(MAX_SETTLE_RANGES) {
                frame::encode(&settle(id, 0, token, &saying, ranges), out);
            }
        }
    }
}

/// The frame.
pub(super) fn settle<'a>(
    id: SubscriptionId,
    request: u64,
    token: u64,
    saying: &'a Saying,
    ranges: &'a [SettleRange],
) -> Frame<'a> {
    let Saying { verb, delay_ms, reason } = saying;
    Frame::Settle(frame::Settle { id, request, token, verb: *verb, delay_ms: *delay_ms, reason, ranges })
}

fn covers(range: &SettleRange, sequence: u64) -> bool {
    (range.first()..range.first() + u64::from(range.count())).contains(&sequence)
}

fn follows(range: &SettleRange, sequence: u64) -> bool {
    range.count() < u32::MAX && range.first().checked_add(range.count().into()) == Some(sequence)
}
