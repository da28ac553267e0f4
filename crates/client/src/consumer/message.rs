//! An event that was handed out, and what can be said of it.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use weft_base::{SubscriptionId, UnixNanos};
use weft_wire::Event;
use weft_wire::block::Block;
use weft_wire::frame::{MAX_TEXT, Verb};
use weft_wire::headers::Headers;

use crate::client::Handle;
use crate::error::{RequestError, SettleError};
use crate::session::{Saying, Settling, Taken};

/// One event, handed out to this member of a consumer. It is read in the buffer
/// that it was received into.
///
/// Say what became of it: [`ack`](Self::ack), [`nack`](Self::nack),
/// [`term`](Self::term), and [`progress`](Self::progress) while it takes
/// longer than the consumer's ack wait. What is said is gathered into ranges
/// and sent with the next writing of the client's thread; saying it waits for
/// nothing.
///
/// **Dropping a message says nothing**: it is handed out again once its ack
/// wait is over. Somebody who wants it back at once says `nack(Duration::ZERO)`.
pub struct Message {
    handle: Arc<Handle>,
    taken: Taken,
}

impl Message {
    pub(super) fn new(handle: Arc<Handle>, taken: Taken) -> Self {
        Self { handle, taken }
    }

    /// The block that it is in, with all that its producer and its hubs wrote into it.
    #[must_use]
    pub fn block(&self) -> Block<'_> {
        self.taken.handed.delivery.block()
    }

    /// The event.
    #[must_use]
    pub fn event(&self) -> Event<'_> {
        // It was found there, in a block that was validated.
        self.block().event_at(self.taken.offset).unwrap_or(Event {
            time: UnixNanos(0),
            key: &[],
            headers: Headers::default(),
            payload: &[],
        })
    }

    /// Its topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        self.taken.handed.delivery.topic()
    }

    /// What it is about; may be empty.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        self.event().key
    }

    /// Named values beside the payload.
    #[must_use]
    pub fn headers(&self) -> Headers<'_> {
        self.event().headers
    }

    /// What it says.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.event().payload
    }

    /// When it happened, as its producer says.
    #[must_use]
    pub fn time(&self) -> UnixNanos {
        self.event().time
    }

    /// Its sequence in the stream, at the home that handed it out.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.taken.handed.first + u64::from(self.taken.place)
    }

    /// How often it is handed out with this: 1 for the first time, as far as the hub knows.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.taken.handed.attempt
    }

    /// Whether it was handed out before.
    #[must_use]
    pub fn redelivered(&self) -> bool {
        self.attempt() > 1
    }

    /// The fencing token under which it was handed out: a later member of an
    /// exclusive consumer has a higher one. Give it to what must not take
    /// orders of a member that was replaced.
    #[must_use]
    pub fn token(&self) -> u64 {
        self.taken.handed.token
    }

    /// It is done: it is not handed out again. Should the hub die before it has
    /// written that down, it is nevertheless; see [`ack_confirmed`](Self::ack_confirmed).
    ///
    /// # Errors
    /// [`SettleError`]: among others, the membership is another by now.
    pub fn ack(self) -> Result<(), SettleError> {
        self.say(&Settle::Ack)
    }

    /// It is not done: it is handed out again after this time, or with
    /// `Duration::ZERO` as the consumer's back-off says, which is at once
    /// unless it has one.
    ///
    /// # Errors
    /// As [`ack`](Self::ack).
    pub fn nack(self, delay: Duration) -> Result<(), SettleError> {
        self.say(&Settle::Nack(delay))
    }

    /// Somebody is still at it: its ack wait begins anew.
    ///
    /// # Errors
    /// As [`ack`](Self::ack).
    pub fn progress(&self) -> Result<(), SettleError> {
        self.say(&Settle::Progress)
    }

    /// Nobody can do it: it is not handed out again, and goes to the dead
    /// letters with this reason, of which at most 1,024 bytes are kept.
    ///
    /// # Errors
    /// As [`ack`](Self::ack).
    pub fn term(self, reason: &str) -> Result<(), SettleError> {
        self.say(&Settle::Term(reason.to_owned()))
    }

    /// As [`ack`](Self::ack); ready once the hub has it on disk, so that the
    /// event is handed out no more, whatever dies. This costs a turn to the hub
    /// and its disk.
    ///
    /// # Errors
    /// As [`ack`](Self::ack); and the hub knows better: it was handed out to
    /// another since.
    pub async fn ack_confirmed(self) -> Result<(), SettleError> {
        self.settler().ack_confirmed(self.token(), self.sequence()).await
    }

    fn settler(&self) -> Settler {
        let handed = &self.taken.handed;
        Settler::new(self.handle.clone(), handed.id, handed.settling.clone())
    }

    fn say(&self, what: &Settle) -> Result<(), SettleError> {
        let handed = &self.taken.handed;
        say(&self.handle, (handed.id, &handed.settling), (self.token(), self.sequence()), what)
    }
}

/// Says something of an event, known by token and sequence, for a membership.
fn say(
    handle: &Handle,
    (id, settling): (SubscriptionId, &Settling),
    (token, sequence): (u64, u64),
    what: &Settle,
) -> Result<(), SettleError> {
    let saying = match what {
        Settle::Ack => Saying::plain(Verb::Ack),
        Settle::Nack(delay) => {
            let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            Saying { delay_ms, ..Saying::plain(Verb::Nack) }
        }
        Settle::Progress => Saying::plain(Verb::Progress),
        Settle::Term(reason) => {
            let reason = reason.get(..reason.floor_char_boundary(MAX_TEXT)).unwrap_or_default().to_owned();
            Saying { reason, ..Saying::plain(Verb::Term) }
        }
    };
    if settling.say(token, sequence, &saying)? {
        handle.0.with(|session| session.has_said(id));
    }
    Ok(())
}

/// What becomes of an event that was handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settle {
    /// As [`Message::ack`].
    Ack,
    /// As [`Message::nack`], with this delay.
    Nack(Duration),
    /// As [`Message::progress`].
    Progress,
    /// As [`Message::term`], with this reason.
    Term(String),
}

/// Says what becomes of what a member was handed out, by token and sequence, for whom
/// keeps these and not the messages, whose bytes lie in the client's memory for
/// receiving. See [`Consumer::settler`](crate::Consumer::settler).
#[derive(Clone)]
pub struct Settler {
    handle: Arc<Handle>,
    id: SubscriptionId,
    settling: Arc<Settling>,
}

impl fmt::Debug for Settler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settler").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Settler {
    pub(super) fn new(handle: Arc<Handle>, id: SubscriptionId, settling: Arc<Settling>) -> Self {
        Self { handle, id, settling }
    }

    /// Says it of the event that was handed out with this token and sequence. What the
    /// member does not hold (any more) the hub passes over.
    ///
    /// # Errors
    /// As [`Message::ack`].
    pub fn settle(&self, token: u64, sequence: u64, what: &Settle) -> Result<(), SettleError> {
        say(&self.handle, (self.id, &self.settling), (token, sequence), what)
    }

    /// As [`Message::ack_confirmed`].
    ///
    /// # Errors
    /// As [`Message::ack_confirmed`].
    pub async fn ack_confirmed(&self, token: u64, sequence: u64) -> Result<(), SettleError> {
        let saying = Saying::plain(Verb::Ack);
        let ticket = self.handle.0.with(|session| session.settle(self.id, token, sequence, &saying))?;
        match poll_fn(|cx| ticket.poll(cx)).await {
            Ok(_) => Ok(()),
            Err(RequestError::Refused(refusal)) => Err(SettleError::Refused(refusal)),
            Err(RequestError::Closed) => Err(SettleError::Closed),
            Err(RequestError::TooMany { limit }) => Err(SettleError::Full { limit }),
            Err(_) => Err(SettleError::ConnectionLost),
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("topic", &self.topic())
            .field("sequence", &self.sequence())
            .field("attempt", &self.attempt())
            .field("token", &self.token())
            .field("event", &self.event())
            .finish_non_exhaustive()
    }
}
