//! What a socket has subscribed to: a task of each takes events from the caller's
//! session, no more than are granted, and hands them to the socket, which it waits for.
//!
//! What is granted and not used is a semaphore. Nothing is asked of the hub beyond it,
//! nor more than [`TURN`] events at a time, so that a socket that does not read has
//! little under way, however much it granted.

use std::sync::Arc;
use std::time::Duration;

use futures_lite::StreamExt as _;
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use weft_base::ByteCount;
use weft_client::{ConsumeError, ConsumeOptions, Gap, Settler, SubscribeOptions};
use weft_mesh::ledger::DropReason;

use super::super::super::inside::Lease;
use super::super::super::problem::Problem;
use super::super::super::seats::Over;
use super::super::super::who::Someone;
use super::super::event::{self, Form, Here, One};
use super::super::reader::At;
use super::super::{BEGIN, Consume, live, members};
use super::said::What;

/// Events that are asked for at a time.
const TURN: u32 = 64;
/// Bytes that may be on their way to one subscription.
const CREDIT: ByteCount = ByteCount::kib(128);
/// How long what is there may wait for more of it.
const GATHER: Duration = Duration::from_millis(2);

/// A message to be written.
pub(super) struct Out {
    pub(super) text: String,
    /// Of which subscription it is the last.
    pub(super) last: Option<(String, u64)>,
    /// What its events are settled by from now on.
    pub(super) settler: Option<(String, u64, Settler)>,
}

impl Out {
    pub(super) fn of(text: impl Into<String>) -> Self {
        Self { text: text.into(), last: None, settler: None }
    }
}

/// One subscription, as its task has it.
pub(super) struct Tail {
    pub(super) area: Arc<Consume>,
    pub(super) who: Someone,
    pub(super) id: String,
    /// Tells it from another one of the same id.
    pub(super) number: u64,
    pub(super) form: Form,
    pub(super) granted: Arc<Semaphore>,
    pub(super) out: mpsc::Sender<Out>,
}

/// Why it has ended.
enum End {
    Over(Over),
    Refused(Problem),
    /// Nobody takes what comes.
    Gone,
}

impl From<Problem> for End {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

impl From<mpsc::error::SendError<Out>> for End {
    fn from(_: mpsc::error::SendError<Out>) -> Self {
        Self::Gone
    }
}

impl Tail {
    /// Until it ends.
    pub(super) async fn run(self, what: What) {
        let ended = match what {
            What::Live { topic } => self.live(&topic).await,
            What::Stream { .. } => self.stream(what).await,
            What::Consumer { stream, consumer } => self.consumer(&stream, &consumer).await,
        };
        let Err(end) = ended else { return };
        let text = match end {
            End::Over(over) => json!({"op": "ended", "id": self.id, "code": over.code, "detail": over.detail}),
            End::Refused(problem) => refused("ended", Some(&self.id), &problem),
            End::Gone => return,
        };
        let last = Some((self.id, self.number));
        // Who has gone needs it no more.
        let _ = self.out.send(Out { last, ..Out::of(text.to_string()) }).await;
    }

    async fn session(&self) -> Result<(Lease, Here), Problem> {
        let lease = self.area.inside.session(&self.who.login).await?;
        let lost = || Problem::soon(503, "unknown", "the session ended meanwhile: try again", 1);
        let here = Here::of(lease.client().hub().ok_or_else(lost)?);
        Ok((lease, here))
    }

    async fn begun(&self) -> Result<(), End> {
        Ok(self.out.send(Out::of(json!({"op": "subscribed", "id": self.id}).to_string())).await?)
    }

    /// Waits until something is granted; takes what is, up to [`TURN`].
    async fn granted(&self) -> Result<u32, End> {
        let first = self.granted.acquire().await.map_err(|_| End::Gone)?;
        first.forget();
        let more = u32::try_from(self.granted.available_permits()).unwrap_or(u32::MAX).min(TURN - 1);
        match self.granted.try_acquire_many(more) {
            Ok(taken) => {
                taken.forget();
                Ok(more + 1)
            }
            Err(_) => Ok(1),
        }
    }

    /// Writes an event of a live topic or of a stream.
    async fn event(&self, one: &One<'_>, here: &Here, stream: Option<(&str, &str)>) -> Result<(), End> {
        let mut text = self.head();
        if let Some((_, position)) = stream.filter(|(_, position)| !position.is_empty()) {
            text.extend_from_slice(format!("\"position\":\"{position}\",").as_bytes());
        }
        text.extend_from_slice(b"\"event\":");
        event::written(&mut text, one, here, (self.form, stream.map(|(stream, _)| stream)));
        self.write(text).await
    }

    fn head(&self) -> Vec<u8> {
        let mut text = b"{\"op\":\"event\",\"id\":".to_vec();
        event::text(&mut text, &self.id);
        text.push(b',');
        text
    }

    async fn write(&self, mut text: Vec<u8>) -> Result<(), End> {
        text.push(b'}');
        // JSON of ours is text.
        Ok(self.out.send(Out::of(String::from_utf8(text).unwrap_or_default())).await?)
    }

    /// Says what is missing before what comes next.
    async fn gap(&self, gap: Gap) -> Result<(), End> {
        if gap.is_none() {
            return Ok(());
        }
        let reason = DropReason::from_code(gap.reason).filter(|_| gap.events > 0);
        let reason = reason.map_or("the connection was lost", DropReason::sentence);
        let text = json!({
            "op": "gap", "id": self.id, "events": gap.events, "reason": reason, "reconnected": gap.reconnected,
        });
        Ok(self.out.send(Out::of(text.to_string())).await?)
    }

    /// What is published from now on.
    async fn live(&self, topic: &str) -> Result<(), End> {
        let (lease, here) = self.session().await?;
        let options = SubscribeOptions { credit_bytes: CREDIT, ..SubscribeOptions::default() };
        let begun = timeout(BEGIN, lease.client().subscribe_on_demand(topic, options)).await;
        let begun = begun.map_err(|_| late("the subscription"))?;
        let mut events = begun.map_err(|error| live::problem_of(&error, &self.who))?;
        self.begun().await?;
        let demand = events.demand();
        let mut asked = 0_u64;
        loop {
            if asked == 0 {
                asked = self.granted().await?.into();
                demand.request(asked);
            }
            let delivery = match events.next().await {
                Some(Ok(delivery)) => delivery,
                Some(Err(error)) => return Err(End::Over(live::over_of(Some(&error)))),
                None => return Err(End::Over(live::over_of(None))),
            };
            self.gap(delivery.gap()).await?;
            asked = asked.saturating_sub(delivery.event_count().into());
            for one in event::events(&delivery) {
                self.event(&one, &here, None).await?;
            }
        }
    }

    /// A stream from a place on.
    async fn stream(&self, what: What) -> Result<(), End> {
        let What::Stream { stream, from, position, filter } = what else { return Ok(()) };
        let (lease, here) = self.session().await?;
        let mut at = At::of(&position);
        let reading = lease.client().streams().read(&stream).from(from).at(position);
        let reading = reading.with_credit(TURN.into(), CREDIT);
        let reading = match &filter {
            Some(filter) => reading.filter(filter),
            None => reading,
        };
        let begun = timeout(BEGIN, reading.open()).await.map_err(|_| late("the reading"))?;
        let mut events = begun.map_err(|error| live::problem_of(&error, &self.who))?;
        self.begun().await?;
        let mut may = 0;
        loop {
            let delivery = match events.next().await {
                Some(Ok(delivery)) => delivery,
                Some(Err(error)) => return Err(End::Over(live::over_of(Some(&error)))),
                None => return Err(End::Over(live::over_of(None))),
            };
            self.gap(delivery.gap()).await?;
            for one in event::events(&delivery) {
                let mut behind = String::new();
                if let Some((home, sequence)) = one.home() {
                    if !at.take(home, sequence) {
                        continue;
                    }
                    behind = at.text();
                }
                if may == 0 {
                    may = self.granted().await?;
                }
                may -= 1;
                self.event(&one, &here, Some((&stream, &behind))).await?;
            }
        }
    }

    /// A member of a consumer, which leaves with the socket.
    async fn consumer(&self, stream: &str, name: &str) -> Result<(), End> {
        let (lease, here) = self.session().await?;
        let options = ConsumeOptions { credit_bytes: CREDIT, ..ConsumeOptions::pull() };
        let consumers = lease.client().streams().consumers(stream);
        let opened = timeout(BEGIN, consumers.open(name, options)).await.map_err(|_| late("the consumer"))?;
        let refused = |error: &ConsumeError| End::Refused(members::problem_of(error, &self.who));
        let mut consumer = opened.map_err(|error| refused(&error))?;
        let settler = Some((self.id.clone(), self.number, consumer.settler()));
        let begun = json!({"op": "subscribed", "id": self.id}).to_string();
        self.out.send(Out { settler, ..Out::of(begun) }).await?;
        let mut may = 0_u64;
        loop {
            if may == 0 {
                may = self.granted().await?.into();
            }
            let mut messages = consumer.fetch(may, GATHER).await.map_err(|error| refused(&error))?;
            if messages.is_empty() {
                let next = consumer.next().await.ok_or(ConsumeError::Closed);
                messages.push(next.and_then(|next| next).map_err(|error| refused(&error))?);
            }
            for message in messages {
                may = may.saturating_sub(1);
                let receipt = format!("{}-{}", message.token(), message.sequence());
                let mut text = self.head();
                text.extend_from_slice(b"\"event\":");
                event::handed_out(&mut text, &message, &receipt, &here, (self.form, stream));
                self.write(text).await?;
            }
        }
    }
}

fn late(what: &str) -> Problem {
    Problem::soon(503, "unknown", format!("the hub does not begin {what}: try again"), 1)
}

/// What is said of a refusal.
pub(super) fn refused(op: &str, id: Option<&str>, problem: &Problem) -> serde_json::Value {
    let mut text = problem.part();
    text["op"] = op.into();
    if let Some(id) = id {
        text["id"] = id.into();
    }
    text
}
