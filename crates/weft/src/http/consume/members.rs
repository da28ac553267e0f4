//! Members of durable consumers, for who takes by long poll: a member stays between
//! the requests of its principal, so that what was handed out by one can be settled by
//! another. What was handed out is known to the caller by its receipt, `TOKEN-SEQUENCE`.
//!
//! Bounded: `[http] members`; where one more is needed and none is spare, the answer is
//! 503. One that nobody uses leaves after `http.lease`: what it had and did not settle
//! is handed out to others at once. What comes while nobody asks goes back after
//! [`UNASKED`]. While the hub drains all leave.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use weft_base::{ByteCount, Mono};
use weft_client::{ConsumeError, ConsumeOptions, Consumer, Message, Settle, SettleError, Settler, Status};
use weft_govern::access::Principal;

use super::super::inside::{Inside, Lease};
use super::super::problem::Problem;
use super::super::seats::Seats;
use super::super::who::Someone;
use super::event::{self, Form, Here};

/// What may be on its way to one.
const CREDIT: ByteCount = ByteCount::mib(1);
/// The most bytes of an answer, but for one event that has more.
const ANSWER_BYTES: usize = 4 << 20;
/// How long the hub has to let a member in.
const JOIN: Duration = Duration::from_secs(5);
/// How long what is there may wait for more of it.
const GATHER: Duration = Duration::from_millis(2);
/// How often it is looked whether the hub drains.
const LOOK: Duration = Duration::from_millis(500);
/// How long what has come waits for somebody who asks for it.
const UNASKED: Duration = Duration::from_secs(5);

/// Whose; of which stream and consumer; and which of that one's.
type Key = (Arc<Principal>, [String; 3]);

/// All members.
pub(super) struct Members {
    most: usize,
    lease: Duration,
    seats: Arc<Seats>,
    places: Mutex<BTreeMap<Key, Arc<Member>>>,
}

/// A member's place.
struct Member {
    used: Mutex<Mono>,
    /// Who takes from it has it meanwhile.
    turn: tokio::sync::Mutex<Option<Joined>>,
    settler: Mutex<Option<Settler>>,
}

/// A member, and what has come for it and did not fit into an answer.
struct Joined {
    consumer: Consumer,
    ready: VecDeque<Message>,
    here: Here,
    lease: Lease,
}

/// What one asks for.
pub(super) struct Ask {
    pub(super) stream: String,
    pub(super) consumer: String,
    pub(super) member: String,
    pub(super) max: usize,
    pub(super) wait: Duration,
    pub(super) form: Form,
}

/// What is said of how many receipts.
pub(super) struct Said {
    pub(super) settled: usize,
    pub(super) stale: Vec<String>,
}

/// What is held is whole at any time.
fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The token and the sequence that a receipt stands for.
pub(super) fn receipt_of(text: &str) -> Option<(u64, u64)> {
    let (token, sequence) = text.split_once('-')?;
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
    Some((number(token)?, number(sequence)?))
}

impl Members {
    pub(super) fn new(most: usize, lease: Duration, seats: Arc<Seats>) -> Self {
        Self { most, lease, seats, places: Mutex::default() }
    }

    /// The place of a member, which is made if there is room.
    fn place(&self, who: &Someone, ask: &Ask) -> Result<Arc<Member>, Problem> {
        let now = self.seats.now();
        let key = (who.principal.clone(), [ask.stream.clone(), ask.consumer.clone(), ask.member.clone()]);
        let mut places = locked(&self.places);
        if let Some(member) = places.get(&key) {
            *locked(&member.used) = now;
            return Ok(member.clone());
        }
        if places.len() >= self.most {
            let text = format!("{} members take by HTTP, the limit (http.members)", self.most);
            return Err(Problem::soon(503, "members", text, 5));
        }
        let share = (self.most * 3 / 4).max(1);
        if places.keys().filter(|(principal, _)| *principal == who.principal).count() >= share {
            let text = format!("{share} members of the same principal take by HTTP, the limit (of http.members)");
            return Err(Problem::soon(429, "members", text, 5));
        }
        let member =
            Arc::new(Member { used: Mutex::new(now), turn: tokio::sync::Mutex::default(), settler: Mutex::default() });
        places.insert(key, member.clone());
        Ok(member)
    }

    /// Takes what is there, or what comes in time, as JSON: an object with `messages`, or a
    /// batch of CloudEvents.
    ///
    /// # Errors
    /// [`Problem`]: there is no such consumer, or no room.
    pub(super) async fn take(&self, inside: &Inside, who: &Someone, ask: &Ask) -> Result<Vec<u8>, Problem> {
        let member = self.place(who, ask)?;
        let taken = self.take_of(&member, inside, who, ask).await;
        if taken.is_err() {
            drop(member);
            // One that never joined keeps no place.
            let is_empty = |member: &Arc<Member>| Arc::strong_count(member) == 1 && locked(&member.settler).is_none();
            locked(&self.places).retain(|_, member| !is_empty(member));
        }
        taken
    }

    async fn take_of(&self, member: &Member, inside: &Inside, who: &Someone, ask: &Ask) -> Result<Vec<u8>, Problem> {
        let until = Instant::now() + ask.wait;
        // Who takes by the same member has its turn first.
        let Ok(mut turn) = timeout_at(until.max(Instant::now() + GATHER), member.turn.lock()).await else {
            return Ok(written(&[], None, ask));
        };
        let is_there =
            turn.as_ref().is_some_and(|joined| matches!(joined.lease.client().status(), Status::Connected(_)));
        if !is_there {
            // What waits of the one before comes again.
            *turn = None;
            *locked(&member.settler) = None;
            let joined = join(inside, who, ask).await?;
            *locked(&member.settler) = Some(joined.consumer.settler());
            *turn = Some(joined);
        }
        let Some(joined) = turn.as_mut() else { return Ok(written(&[], None, ask)) };
        let gathered = self.gather(joined, ask.max, until).await;
        let ended = match gathered {
            Ok(()) => None,
            Err(error) => Some(problem_of(&error, who)),
        };
        if let Some(problem) = ended
            && joined.ready.is_empty()
        {
            *turn = None;
            *locked(&member.settler) = None;
            return Err(problem);
        }
        let (mut messages, mut bytes) = (Vec::new(), 0_usize);
        while messages.len() < ask.max
            && let Some(message) = joined.ready.front()
        {
            let size = message.payload().len().saturating_add(message.key().len());
            if !messages.is_empty() && bytes.saturating_add(size) > ANSWER_BYTES {
                break;
            }
            bytes = bytes.saturating_add(size);
            messages.extend(joined.ready.pop_front());
        }
        *locked(&member.used) = self.seats.now();
        Ok(written(&messages, Some(&joined.here), ask))
    }

    /// Waits until something is there, and for no more than comes with it.
    async fn gather(&self, joined: &mut Joined, most: usize, until: Instant) -> Result<(), ConsumeError> {
        loop {
            if joined.ready.is_empty() {
                let wanted = u64::try_from(most).unwrap_or(u64::MAX);
                joined.ready.extend(joined.consumer.fetch(wanted, GATHER).await?);
            }
            let now = Instant::now();
            if !joined.ready.is_empty() || now >= until || self.seats.is_leaving() {
                return Ok(());
            }
            match timeout((until - now).min(LOOK), joined.consumer.next()).await {
                Ok(Some(message)) => joined.ready.push_back(message?),
                Ok(None) => return Err(ConsumeError::Closed),
                Err(_) => {}
            }
            // What came with it.
            while joined.ready.len() < most
                && let Some(message) = joined.consumer.try_next()
            {
                joined.ready.push_back(message?);
            }
        }
    }

    /// Says what becomes of events, by their receipts. `confirm`: once that is on disk.
    ///
    /// # Errors
    /// [`Problem`]: nothing is handed out to such a member.
    pub(super) async fn settle(
        &self,
        who: &Someone,
        ask: &Ask,
        said: Vec<(String, Settle)>,
        confirm: bool,
    ) -> Result<Said, Problem> {
        let key = (who.principal.clone(), [ask.stream.clone(), ask.consumer.clone(), ask.member.clone()]);
        let member = locked(&self.places).get(&key).cloned();
        let settler = member.as_ref().and_then(|member| {
            *locked(&member.used) = self.seats.now();
            locked(&member.settler).clone()
        });
        let Some(settler) = settler else {
            let text = "nothing is handed out to this member (any more): what it had is handed out again";
            return Err(Problem::new(409, "no_member", text));
        };
        settle_all(&settler, said, confirm).await
    }

    /// Has those leave that nobody uses; called every second.
    pub(super) fn tend(&self) {
        let (now, is_leaving) = (self.seats.now(), self.seats.is_leaving());
        locked(&self.places).retain(|_, member| {
            let idle = now.since(*locked(&member.used));
            let is_used = Arc::strong_count(member) > 1;
            if !is_used && (is_leaving || idle > self.lease) {
                return false;
            }
            if idle > UNASKED
                && let Ok(mut turn) = member.turn.try_lock()
                && let Some(joined) = turn.as_mut()
            {
                give_back(joined);
            }
            true
        });
    }
}

/// Says what becomes of events, by their receipts, of one member. `confirm`: once that
/// is on disk.
///
/// # Errors
/// [`Problem`]: more is said than can be sent.
pub(super) async fn settle_all(settler: &Settler, said: Vec<(String, Settle)>, confirm: bool) -> Result<Said, Problem> {
    let mut answer = Said { settled: 0, stale: Vec::new() };
    let last = said.iter().rposition(|(_, what)| *what == Settle::Ack).filter(|_| confirm);
    for (at, (receipt, what)) in said.into_iter().enumerate() {
        let Some((token, sequence)) = receipt_of(&receipt) else {
            answer.stale.push(receipt);
            continue;
        };
        // The last one that is done is confirmed, and with it those before it.
        let settled = if Some(at) == last {
            settler.ack_confirmed(token, sequence).await
        } else {
            settler.settle(token, sequence, &what)
        };
        match settled {
            Ok(()) => answer.settled += 1,
            Err(SettleError::Stale { .. } | SettleError::Closed) => answer.stale.push(receipt),
            Err(SettleError::Refused(_)) => answer.stale.push(receipt),
            Err(SettleError::Full { .. }) => {
                let text = "more is said than the session can send: settle the same again in a moment";
                return Err(Problem::soon(429, "window", text, 1));
            }
            Err(error) => return Err(Problem::soon(503, "unknown", error.to_string(), 1)),
        }
    }
    Ok(answer)
}

/// What has come and nobody has asked for goes to others.
fn give_back(joined: &mut Joined) {
    let mut back: Vec<Message> = joined.ready.drain(..).collect();
    while let Some(Ok(message)) = joined.consumer.try_next() {
        back.push(message);
    }
    for message in back {
        // One that cannot be given back comes again by itself.
        let _ = message.nack(Duration::ZERO);
    }
}

async fn join(inside: &Inside, who: &Someone, ask: &Ask) -> Result<Joined, Problem> {
    let lease = inside.session(&who.login).await?;
    let lost = || Problem::soon(503, "unknown", "the session ended meanwhile: try again", 1);
    let here = Here::of(lease.client().hub().ok_or_else(lost)?);
    let consumers = lease.client().streams().consumers(&ask.stream);
    let options = ConsumeOptions { credit_bytes: CREDIT, ..ConsumeOptions::pull() };
    let opened = timeout(JOIN, consumers.open(&ask.consumer, options)).await;
    let late = |_| Problem::soon(503, "unknown", "the consumer does not let the member in: try again", 1);
    let consumer = opened.map_err(late)?.map_err(|error| problem_of(&error, who))?;
    Ok(Joined { consumer, ready: VecDeque::new(), here, lease })
}

pub(super) fn problem_of(error: &ConsumeError, who: &Someone) -> Problem {
    match error {
        ConsumeError::Refused(refusal) => super::refused(refusal, who),
        ConsumeError::Request(error) => super::asked_in_vain(error, who),
        ConsumeError::Name { .. } => Problem::new(400, "bad_name", error.to_string()),
        ConsumeError::Closed => Problem::soon(503, "unknown", "the session ended meanwhile: try again", 1),
        _ => Problem::new(500, "failed", error.to_string()),
    }
}

fn written(messages: &[Message], here: Option<&Here>, ask: &Ask) -> Vec<u8> {
    let (before, behind) = match ask.form {
        Form::Own => ("{\"messages\":[", "]}"),
        Form::CloudEvents => ("[", "]"),
    };
    let mut out = before.as_bytes().to_vec();
    for (at, message) in messages.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        if let Some(here) = here {
            let receipt = format!("{}-{}", message.token(), message.sequence());
            event::handed_out(&mut out, message, &receipt, here, (ask.form, &ask.stream));
        }
    }
    out.extend_from_slice(behind.as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_are_read_as_they_are_written_and_nothing_else_is_one() {
        assert_eq!(receipt_of("7-18446744073709551615"), Some((7, u64::MAX)));
        for bad in ["", "7", "-", "7-", "-7", "7-7-7", "+7-7", "7-18446744073709551616", "a-b", "7 -7"] {
            assert_eq!(receipt_of(bad), None, "{bad}");
        }
    }
}
