//! A socket, from its first message to its last: what comes is done or refused, what
//! subscriptions have is written, and its end is said by a code (RFC 6455, 7.4).
//!
//! One task has the socket. While it waits for the connection to take something it
//! reads nothing, and who takes nothing for two heartbeats loses the connection.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_lite::StreamExt as _;
use futures_sink::Sink;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::future::poll_fn;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};
use weft_client::{Settle, Settler};

use super::super::super::events::{self, One, asked::Asked};
use super::super::super::problem::Problem;
use super::super::super::seats::{Over, Seated};
use super::super::super::who::Someone;
use super::super::{Consume, members};
use super::said::{MOST_CREDIT, Said, What, read};
use super::tail::{Out, Tail, refused};
use super::{TAILS, UNSENT, WORK};
use crate::http::consume::event::Form;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// How long the other end has to say that it has heard the end.
const FAREWELL: Duration = Duration::from_secs(1);
/// The most that a close frame says, in bytes (RFC 6455, 5.5).
const MOST_REASON: usize = 123;
/// Messages that are written before others have their turn.
const TURN: usize = 64;

/// Why a socket ends.
enum End {
    /// It is said so.
    Said(CloseCode, String),
    /// Nobody hears it.
    Gone,
}

impl End {
    fn of(over: &Over) -> Self {
        let code = match over.code.as_str() {
            "draining" | "shutdown" => CloseCode::Away,
            "login_expired" => CloseCode::Policy,
            _ => CloseCode::Again,
        };
        Self::Said(code, format!("{}: {}", over.code, over.detail))
    }

    fn of_error(error: &Error) -> Self {
        match error {
            Error::Capacity(_) => {
                Self::Said(CloseCode::Size, "too_large: send smaller messages (http.body)".to_owned())
            }
            Error::Utf8(_) => Self::Said(CloseCode::Invalid, "bad_text: a message is no UTF-8".to_owned()),
            Error::Protocol(why) => Self::Said(CloseCode::Protocol, format!("bad_frame: {why}")),
            _ => Self::Gone,
        }
    }
}

/// A subscription, as the socket knows it.
struct Known {
    number: u64,
    granted: Arc<Semaphore>,
    settler: Option<Settler>,
    task: AbortHandle,
}

/// An event that is to be published.
struct Publish {
    id: String,
    one: One,
    asked: Asked,
}

struct Talk {
    area: Arc<Consume>,
    who: Someone,
    socket: Socket,
    known: BTreeMap<String, Known>,
    next: u64,
    /// Subscriptions, and what is being settled: they end with this.
    tails: JoinSet<()>,
    settling: JoinSet<()>,
    publishes: mpsc::Sender<Publish>,
    out: mpsc::Sender<Out>,
    outs: mpsc::Receiver<Out>,
    heard: Instant,
    stall: Duration,
}

/// All of it.
pub(super) async fn talk(area: Arc<Consume>, who: Someone, seated: Seated, socket: Socket) {
    let (out, outs) = mpsc::channel(UNSENT);
    let (publishes, queue) = mpsc::channel(WORK);
    let mut publishing = JoinSet::new();
    publishing.spawn(publish_all(area.clone(), who.clone(), queue, out.clone()));
    let stall = area.heartbeat * 2;
    let mut talk = Talk {
        area,
        who,
        socket,
        known: BTreeMap::new(),
        next: 0,
        tails: JoinSet::new(),
        settling: JoinSet::new(),
        publishes,
        out,
        outs,
        heard: Instant::now(),
        stall,
    };
    let end = talk.go_on(&seated).await;
    let Talk { mut socket, tails, .. } = talk;
    drop((tails, publishing));
    if let End::Said(code, reason) = end {
        let at = (0..=MOST_REASON.min(reason.len())).rev().find(|at| reason.is_char_boundary(*at)).unwrap_or(0);
        let frame = CloseFrame { code, reason: reason.get(..at).unwrap_or_default().into() };
        let farewell = async {
            // What is said meanwhile is too late.
            if socket.close(Some(frame)).await.is_ok() {
                while let Some(Ok(_)) = socket.next().await {}
            }
        };
        let _ = timeout(FAREWELL, farewell).await;
    }
}

impl Talk {
    async fn go_on(&mut self, seated: &Seated) -> End {
        let mut beat = interval(self.area.heartbeat);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first is at once.
        beat.reset();
        loop {
            let over = poll_fn(|cx| match seated.over(cx.waker()) {
                Some(over) => Poll::Ready(over),
                None => Poll::Pending,
            });
            let done = tokio::select! {
                over = over => return End::of(&over),
                Some(out) = self.outs.recv() => self.hand_out(out).await,
                came = self.socket.next() => match came {
                    Some(Ok(message)) => self.take(message).await,
                    Some(Err(error)) => return End::of_error(&error),
                    None => return End::Gone,
                },
                Some(_) = self.tails.join_next() => Ok(()),
                Some(_) = self.settling.join_next() => Ok(()),
                _ = beat.tick() => self.beat().await,
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    async fn beat(&mut self) -> Result<(), End> {
        if self.heard.elapsed() > self.stall {
            return Err(End::Gone);
        }
        self.write([Message::Ping(Bytes::new())]).await
    }

    /// Writes messages; they are on their way when this ends.
    async fn write(&mut self, messages: impl IntoIterator<Item = Message>) -> Result<(), End> {
        let socket = &mut self.socket;
        let written = async {
            for message in messages {
                poll_fn(|cx| Pin::new(&mut *socket).poll_ready(cx)).await?;
                Pin::new(&mut *socket).start_send(message)?;
            }
            poll_fn(|cx| Pin::new(&mut *socket).poll_flush(cx)).await
        };
        match timeout(self.stall, written).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => {
                let slow = &self.area.seats.counters.http_listeners_slow;
                slow.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Err(End::Gone)
            }
        }
    }

    async fn say(&mut self, text: &serde_json::Value) -> Result<(), End> {
        self.write([Message::text(text.to_string())]).await
    }

    /// Writes what subscriptions and publishes have, as far as it is there.
    async fn hand_out(&mut self, first: Out) -> Result<(), End> {
        let mut texts = Vec::new();
        let mut next = Some(first);
        while let Some(Out { text, last, settler }) = next {
            texts.push(Message::text(text));
            if let Some((id, number)) = last
                && self.known.get(&id).is_some_and(|known| known.number == number)
            {
                self.known.remove(&id);
            }
            if let Some((id, number, settler)) = settler
                && let Some(known) = self.known.get_mut(&id).filter(|known| known.number == number)
            {
                known.settler = Some(settler);
            }
            next = if texts.len() < TURN { self.outs.try_recv().ok() } else { None };
        }
        self.write(texts).await
    }

    async fn take(&mut self, message: Message) -> Result<(), End> {
        self.heard = Instant::now();
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(_) => {
                let why = "bad_message: send JSON, as text".to_owned();
                return Err(End::Said(CloseCode::Unsupported, why));
            }
            Message::Close(_) => return Err(End::Gone),
            // A pong to a ping is on its way already.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return Ok(()),
        };
        let done = match read(&text) {
            Err((id, problem)) => Err((id, problem)),
            Ok(Said::Subscribe { id, what, form, credit }) => {
                self.subscribe(&id, what, form, credit).map_err(|problem| (Some(id), problem))
            }
            Ok(Said::Credit { id, events }) => self.grant(&id, events).map_err(|problem| (Some(id), problem)),
            Ok(Said::Unsubscribe { id }) => match self.known.remove(&id) {
                Some(known) => {
                    known.task.abort();
                    return self.say(&json!({"op": "ended", "id": id, "code": "unsubscribed"})).await;
                }
                None => Err((Some(id), nothing())),
            },
            Ok(Said::Settle { id, said, confirm }) => {
                self.settle(&id, said, confirm).map_err(|problem| (Some(id), problem))
            }
            Ok(Said::Publish { id, one, asked }) => {
                let publish = Publish { id: id.clone(), one: *one, asked: *asked };
                self.publishes.try_send(publish).map_err(|_| (Some(id), crowded()))
            }
        };
        match done {
            Ok(()) => Ok(()),
            Err((id, problem)) => self.say(&refused("error", id.as_deref(), &problem)).await,
        }
    }

    fn subscribe(&mut self, id: &str, what: What, form: Form, credit: u64) -> Result<(), Problem> {
        if self.known.contains_key(id) {
            return Err(Problem::new(409, "in_use", "there is a subscription of this id: choose another"));
        }
        if self.known.len() >= TAILS {
            let text = format!("a socket has at most {TAILS} subscriptions: end some, or open another socket");
            return Err(Problem::new(429, "limit", text));
        }
        self.next += 1;
        let (number, granted) = (self.next, Arc::new(Semaphore::new(0)));
        granted.add_permits(usize::try_from(credit).unwrap_or(usize::MAX));
        let tail = Tail {
            area: self.area.clone(),
            who: self.who.clone(),
            id: id.to_owned(),
            number,
            form,
            granted: granted.clone(),
            out: self.out.clone(),
        };
        let task = self.tails.spawn(tail.run(what));
        self.known.insert(id.to_owned(), Known { number, granted, settler: None, task });
        Ok(())
    }

    fn grant(&mut self, id: &str, events: u64) -> Result<(), Problem> {
        let known = self.known.get(id).ok_or_else(nothing)?;
        let there = known.granted.available_permits() as u64;
        if there.saturating_add(events) > MOST_CREDIT {
            let text = format!("{there} events are granted, and at most {MOST_CREDIT} may be: grant as you take them");
            return Err(Problem::new(400, "bad_credit", text));
        }
        known.granted.add_permits(usize::try_from(events).unwrap_or(usize::MAX));
        Ok(())
    }

    fn settle(&mut self, id: &str, said: Vec<(String, Settle)>, confirm: bool) -> Result<(), Problem> {
        let settler = self.known.get(id).and_then(|known| known.settler.clone()).ok_or_else(nothing)?;
        if self.settling.len() >= WORK {
            return Err(crowded());
        }
        let (id, out) = (id.to_owned(), self.out.clone());
        self.settling.spawn(async move {
            let text = match members::settle_all(&settler, said, confirm).await {
                Ok(said) => json!({"op": "settled", "id": id, "settled": said.settled, "stale": said.stale}),
                Err(problem) => refused("error", Some(&id), &problem),
            };
            // Who has gone needs it no more.
            let _ = out.send(Out::of(text.to_string())).await;
        });
        Ok(())
    }
}

fn nothing() -> Problem {
    Problem::new(404, "no_subscription", "no subscription of this socket has this id, or it does not hand out events")
}

fn crowded() -> Problem {
    let text = format!("{WORK} publishes or settlements of this socket are under way, the limit: wait for some");
    Problem::soon(429, "window", text, 1)
}

/// Publishes events in their order, and says what became of each.
async fn publish_all(area: Arc<Consume>, who: Someone, mut queue: mpsc::Receiver<Publish>, out: mpsc::Sender<Out>) {
    let mut under_way = JoinSet::new();
    while let Some(Publish { id, one, asked }) = queue.recv().await {
        while under_way.len() >= WORK {
            under_way.join_next().await;
        }
        while under_way.try_join_next().is_some() {}
        let sent = events::send_one(&area.inside, &who, &asked, one, area.clock.now().wall).await;
        let out = out.clone();
        under_way.spawn(async move {
            let mut text = match sent {
                Ok(sent) => sent.outcome().await,
                Err(problem) => problem.part(),
            };
            text["op"] = "published".into();
            text["id"] = id.into();
            // Who has gone does not hear it.
            let _ = out.send(Out::of(text.to_string())).await;
        });
    }
    while under_way.join_next().await.is_some() {}
}
