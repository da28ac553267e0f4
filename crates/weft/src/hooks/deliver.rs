//! One webhook: events are taken from its consumer, and sent until they are taken or
//! given up.
//!
//! Who sends an event keeps it until then: between tries it says that it is still at
//! it, so that the hub does not hand it out again. While the breaker is open nobody
//! tries, and no try is counted. What has been tried as often as may be is terminated,
//! with why as the reason, and so goes to the stream `STREAM-dead`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_lite::future::block_on;
use weft_base::{ByteCount, Clock, Random};
use weft_client::{
    Client, ConnectOptions, ConsumeError, ConsumeOptions, Consumer, ConsumerOptions, Message, RequestError,
};
use weft_govern::access::{Method, Principal};
use weft_govern::login::{Login, Proof};
use weft_hub::Counters;
use weft_wire::ErrorCode;

use super::breaker::{Breaker, Pauses, Turn};
use super::target::{Failure, Target};
use super::{HookFacts, HookOptions, Stop};
use crate::cloud;
use crate::http::Way;

/// How long the hub waits for a word on an event.
const ACK_WAIT: Duration = Duration::from_secs(60);
/// How often it is said that somebody is still at it.
const STILL: Duration = Duration::from_secs(15);
/// How often it is looked whether all is over.
const LOOK: Duration = Duration::from_millis(200);
/// How often it is looked whether somebody can send what is in hand.
const HAND_ON: Duration = Duration::from_millis(2);
/// The pauses between tries to begin a session, or to find the stream.
const BEGIN: Pauses = Pauses { first: Duration::from_millis(500), most: Duration::from_secs(30) };

/// One webhook.
pub(super) struct Hook {
    options: HookOptions,
    target: Target,
    way: Way,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
    stop: Arc<Stop>,
    /// Events that somebody sends.
    busy: AtomicUsize,
    now: Mutex<Now>,
}

struct Now {
    breaker: Breaker,
    random: Random,
}

impl Hook {
    pub(super) fn new(
        options: HookOptions,
        target: Target,
        facts: &HookFacts,
        stop: Arc<Stop>,
    ) -> anyhow::Result<Self> {
        let pauses = Pauses { first: options.retry_first, most: options.retry_most };
        let now = Mutex::new(Now { breaker: Breaker::new(pauses), random: Random::from_entropy()? });
        let (way, clock, counters) = (facts.way.clone(), facts.clock.clone(), facts.counters.clone());
        Ok(Self { options, target, way, clock, counters, stop, busy: AtomicUsize::new(0), now })
    }

    /// What is held is whole at any time.
    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its threads.
    ///
    /// # Errors
    /// The system refuses one.
    pub(super) fn start(hook: &Arc<Self>) -> std::io::Result<Vec<JoinHandle<()>>> {
        // Who takes an event off it sends it at once.
        let (give, take) = sync_channel(0);
        let take = Arc::new(Mutex::new(take));
        let mut threads = Vec::new();
        for _ in 0..hook.options.concurrency {
            let (sender, take) = (hook.clone(), take.clone());
            let name = "weft-webhook".to_owned();
            threads.push(std::thread::Builder::new().name(name).spawn(move || sender.send_all(&take))?);
        }
        let reader = hook.clone();
        threads.push(std::thread::Builder::new().name("weft-webhooks".to_owned()).spawn(move || reader.read(&give))?);
        Ok(threads)
    }

    /// Takes events, in one session after the other.
    fn read(&self, give: &SyncSender<Message>) {
        let (mut tries, mut said) = (0, false);
        while !self.stop.is_over() {
            if self.stop.is_leaving() {
                self.stop.wait(LOOK);
                continue;
            }
            match block_on(self.begin()) {
                Ok((client, mut consumer)) => {
                    (tries, said) = (0, false);
                    let ended = self.hand_on(&mut consumer, give);
                    self.finish();
                    drop(consumer);
                    drop(client);
                    if let Some(error) = ended {
                        let webhook = &self.options.name;
                        tracing::info!(code = "webhook_session", webhook, %error, "its session has ended: it begins anew");
                    }
                }
                Err(why) => {
                    if !said {
                        let stream = &self.options.stream;
                        tracing::warn!(
                            code = "webhook_waits",
                            webhook = self.options.name,
                            stream,
                            why,
                            "a webhook cannot read its stream: it tries again"
                        );
                    }
                    (tries, said) = (tries + 1, true);
                    let pause = BEGIN.after(tries, &mut self.now().random);
                    self.stop.wait(pause);
                }
            }
        }
    }

    /// A session under its own name, and the consumer, which is made if it is not there.
    async fn begin(&self) -> Result<(Client, Consumer), String> {
        let name = format!("webhook-{}", self.options.name);
        let principal =
            Principal { tenant: None, name: name.as_str().into(), roles: [].into(), method: Method::Certificate };
        let login = Login { principal: Arc::new(principal), expires: None, proof: Proof::Own(name.as_str().into()) };
        let voucher = self.way.vouchers.mint(&login).map_err(|error| error.to_string())?;
        let options = ConnectOptions {
            name: name.clone(),
            // A voucher counts once: what is lost is made anew here.
            reconnect_for: Some(Duration::ZERO),
            follow_redirects: false,
            close_within: Duration::from_secs(1),
            receive_memory: ByteCount::mib(16),
            ..ConnectOptions::new(self.way.address.clone())
        };
        let client = Client::connect(options.token(voucher.to_vec())).await.map_err(|error| error.to_string())?;
        let consumers = client.streams().consumers(&self.options.stream);
        // One is handed out ahead of those that are sent: its ack wait runs.
        let open =
            || consumers.open(&name, ConsumeOptions { credit_bytes: ByteCount::mib(1), ..ConsumeOptions::pull() });
        let consumer = match open().await {
            Err(ConsumeError::Refused(refusal)) if refusal.code == ErrorCode::NO_CONSUMER => {
                let options = ConsumerOptions { filters: self.options.filters.clone(), ..ConsumerOptions::new(&name) };
                let made = consumers.create(&options.ack_wait(ACK_WAIT)).await;
                made.map_err(|error: RequestError| error.to_string())?;
                open().await
            }
            opened => opened,
        };
        Ok((client, consumer.map_err(|error| error.to_string())?))
    }

    /// Hands events to those who send, until the session ends or nothing is to be taken.
    fn hand_on(&self, consumer: &mut Consumer, give: &SyncSender<Message>) -> Option<ConsumeError> {
        while !self.stop.is_leaving() {
            let fetched = match block_on(consumer.fetch(1, LOOK)) {
                Ok(fetched) => fetched,
                Err(error) => return Some(error),
            };
            for message in fetched {
                let mut waiting = message;
                let mut still = self.clock.now().mono + STILL;
                loop {
                    match give.try_send(waiting) {
                        Ok(()) => break,
                        Err(TrySendError::Full(back)) => waiting = back,
                        Err(TrySendError::Disconnected(_)) => return None,
                    }
                    if self.stop.is_leaving() {
                        // It is handed out to others at once.
                        let _ = waiting.nack(Duration::ZERO);
                        return None;
                    }
                    let now = self.clock.now().mono;
                    if still <= now {
                        still = now + STILL;
                        if waiting.progress().is_err() {
                            // It comes again, in another session.
                            break;
                        }
                    }
                    self.stop.wait(HAND_ON);
                }
            }
        }
        None
    }

    /// Waits for the tries that are under way, whose events can be settled as long as
    /// the session is there.
    fn finish(&self) {
        let until = self.clock.now().mono + self.options.timeout;
        while self.busy.load(Ordering::Relaxed) > 0 && self.clock.now().mono < until {
            std::thread::sleep(HAND_ON);
        }
    }

    /// Sends what is handed to it.
    fn send_all(&self, take: &Mutex<Receiver<Message>>) {
        while !self.stop.is_over() {
            let taken = take.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(LOOK);
            match taken {
                Ok(message) => {
                    self.busy.fetch_add(1, Ordering::Relaxed);
                    self.send(message);
                    self.busy.fetch_sub(1, Ordering::Relaxed);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Sends one event until it is taken or given up.
    fn send(&self, message: Message) {
        let stream = &self.options.stream;
        let id = cloud::id_of(&message, stream);
        let body = cloud::handed_out(&message, stream, None).to_structured().into_bytes();
        let mut tries = 0;
        loop {
            if message.progress().is_err() {
                // Its session is over: it comes again, in its order.
                return;
            }
            if !self.may(&message) {
                return;
            }
            let begun = self.clock.now();
            let sent = self.target.send(&id, begun.wall.0 / 1_000_000_000, &body);
            let latency_ms = self.clock.now().mono.since(begun.mono).as_millis() as u64;
            let failure = match sent {
                Ok(()) => {
                    count(&self.counters.webhooks_sent);
                    self.succeeded(latency_ms);
                    // Where its session is over it is handed out, and sent, again.
                    let _ = message.ack();
                    return;
                }
                Err(failure) => failure,
            };
            tries += 1;
            count(&self.counters.webhooks_failed);
            let pause = self.failed(tries, &failure, latency_ms);
            if tries >= self.options.tries {
                count(&self.counters.webhooks_given_up);
                let Failure { why, .. } = failure;
                tracing::warn!(
                    code = "webhook_gave_up",
                    webhook = self.options.name,
                    id,
                    tries,
                    why,
                    latency_ms,
                    "a webhook gives an event up: it is a dead letter"
                );
                let _ = message.term(&format!("webhook {}: {tries} tries, {why}", self.options.name));
                return;
            }
            if !self.rest(&message, pause) {
                return;
            }
        }
    }

    /// Waits until the target may be tried; whether it is to be.
    fn may(&self, message: &Message) -> bool {
        loop {
            let pause = match self.now().breaker.may(self.clock.now().mono) {
                Ok(()) => return !self.stop.is_over(),
                Err(pause) => pause,
            };
            if !self.rest(message, pause.min(STILL)) {
                return false;
            }
        }
    }

    /// Waits, and says meanwhile that somebody is still at it; whether to go on.
    fn rest(&self, message: &Message, pause: Duration) -> bool {
        let until = self.clock.now().mono + pause;
        loop {
            if self.stop.is_leaving() || message.progress().is_err() {
                // Others have it, now or when this session is over.
                return false;
            }
            let left = until.since(self.clock.now().mono);
            if left.is_zero() {
                return true;
            }
            self.stop.wait(left.min(STILL).min(LOOK * 5));
        }
    }

    /// The target has taken an event, in so long.
    fn succeeded(&self, latency_ms: u64) {
        if self.now().breaker.succeeded() == Turn::Closed {
            self.counters.webhooks_open.fetch_sub(1, Ordering::Relaxed);
            tracing::info!(
                code = "webhook_back",
                webhook = self.options.name,
                latency_ms,
                "the target of a webhook takes events again"
            );
        }
    }

    /// The pause behind a failure, of a try that took so long.
    fn failed(&self, tries: u32, failure: &Failure, latency_ms: u64) -> Duration {
        let mut now = self.now();
        let Now { breaker, random } = &mut *now;
        let turn = breaker.failed(failure.after, self.clock.now().mono, random);
        let pauses = Pauses { first: self.options.retry_first, most: self.options.retry_most };
        let pause = pauses.after(tries, random).max(failure.after.unwrap_or_default()).min(pauses.most);
        drop(now);
        if turn == Turn::Opened {
            self.counters.webhooks_open.fetch_add(1, Ordering::Relaxed);
            let why = &failure.why;
            tracing::warn!(
                code = "webhook_failing",
                webhook = self.options.name,
                url = self.options.url,
                why,
                latency_ms,
                "the target of a webhook fails: it is tried now and then"
            );
        }
        pause
    }
}

impl Drop for Hook {
    /// Of one that is gone nobody says that its target fails.
    fn drop(&mut self) {
        if self.now().breaker.is_open() {
            self.counters.webhooks_open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn count(counter: &weft_base::sync::atomic::AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
