//! Traces and logs by OTLP, to a receiver beside the hub or far from it.
//!
//! Two threads, neither of the hub's: `weft-traces` makes spans of what the hub
//! noted (`weft_hub::see::Collector`) ten times a second, `weft-otlp` sends them, and
//! log events where that is asked for, in batches. A receiver that is slow, hangs or
//! is gone costs spans, which are counted (`otlp.*`), and holds up nobody: what waits
//! is bounded by `queue`, a batch is tried [`TRIES`] times with pauses between that
//! grow, and what is left when the hub stops is tried once. See docs/adr/0056.

mod encode;
pub(crate) mod logs;
mod options;
mod proto;
mod queue;
mod talk;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use weft_base::{Clock, Random};
use weft_hub::Counters;
use weft_hub::see::{Collector, Span};

use self::encode::{LogEvent, Speaker};
use self::logs::LogQueue;
pub(crate) use self::options::{Headers, OtlpOptions, Protocol};
use self::queue::{Queue, Stop};
use self::talk::{Failure, Talk, What};

/// How often what was noted is looked at: a record of the window must last so long.
const COLLECT: Duration = Duration::from_millis(50);
/// How often a batch is tried.
const TRIES: u32 = 5;
/// The first pause before it is tried again; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What it stands on.
pub(crate) struct Facts {
    pub(crate) hub: String,
    pub(crate) mesh: String,
    pub(crate) region: String,
    /// Of a hub that traces.
    pub(crate) collector: Option<Collector>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) clock: Arc<dyn Clock>,
    /// For the pauses.
    pub(crate) random: Random,
}

/// What sends, until it is dropped: then once more what is there.
pub(crate) struct Otlp {
    stop: Arc<Stop>,
    last: Arc<Stop>,
    collects: Option<JoinHandle<()>>,
    sends: Option<JoinHandle<()>>,
}

impl Otlp {
    /// Begins.
    ///
    /// # Errors
    /// The file of authorities cannot be used, or the system gives no thread. A
    /// receiver that is not there is no error: it may come.
    pub(crate) fn open(options: OtlpOptions, facts: Facts) -> anyhow::Result<Self> {
        let talk = Talk::new(&options)?;
        let (stop, last) = (Arc::new(Stop::default()), Arc::new(Stop::default()));
        let spans = Arc::new(Queue::new(options.queue));
        let Facts { hub, mesh, region, collector, counters, clock, random } = facts;
        let logs = options.logs.then(|| logs::open(options.queue, counters.clone()));
        let sending = Sending {
            talk,
            speaker: Speaker { hub, mesh, region },
            spans: spans.clone(),
            logs,
            counters: counters.clone(),
            stop: last.clone(),
            random,
            works: true,
            options,
        };
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let collects = collector.map(|collector| {
            let stop = stop.clone();
            thread("weft-traces").spawn(move || collect(collector, &spans, &counters, &*clock, &stop))
        });
        let collects = collects.transpose().context("the system gives no thread")?;
        let sends = thread("weft-otlp").spawn(move || sending.run()).context("the system gives no thread")?;
        Ok(Self { stop, last, collects, sends: Some(sends) })
    }
}

impl Drop for Otlp {
    fn drop(&mut self) {
        // What is collected last is sent last.
        self.stop.stop();
        if let Some(thread) = self.collects.take() {
            let _ = thread.join();
        }
        self.last.stop();
        if let Some(thread) = self.sends.take() {
            let _ = thread.join();
        }
    }
}

fn count(counter: &AtomicU64, n: usize) {
    counter.fetch_add(n as u64, Ordering::Relaxed);
}

/// Makes spans until it is to stop.
fn collect(mut collector: Collector, spans: &Queue<Span>, counters: &Counters, clock: &dyn Clock, stop: &Stop) {
    let mut made = Vec::new();
    let mut is_last = false;
    while !is_last {
        is_last = stop.wait(COLLECT);
        collector.collect(clock.now().wall.0, is_last, &mut made);
        if !made.is_empty() {
            count(&counters.traced().dropped, spans.add(made.drain(..)));
        }
    }
}

/// What sends.
struct Sending {
    talk: Talk,
    speaker: Speaker,
    spans: Arc<Queue<Span>>,
    logs: Option<Arc<LogQueue>>,
    counters: Arc<Counters>,
    stop: Arc<Stop>,
    random: Random,
    /// Whether the last request went through; told when that changes.
    works: bool,
    options: OtlpOptions,
}

impl Sending {
    fn run(mut self) {
        loop {
            let is_last = self.is_full() || self.stop.wait(self.options.every);
            let is_last = is_last && self.stop.wait(Duration::ZERO);
            while self.batch(is_last) {}
            if is_last {
                return;
            }
        }
    }

    /// Whether a whole batch waits.
    fn is_full(&self) -> bool {
        self.spans.len().max(self.logs.as_ref().map_or(0, |logs| logs.len())) >= self.options.batch
    }

    /// Sends one batch of each kind; answers whether more waits that is worth trying.
    fn batch(&mut self, is_last: bool) -> bool {
        let spans = self.spans.take(self.options.batch);
        let mut sent = true;
        if !spans.is_empty() {
            let body = self.speaker.traces(&spans);
            sent &= self.send(What::Traces, body, spans.len(), is_last);
        }
        let events: Vec<LogEvent> = self.logs.as_ref().map_or_else(Vec::new, |logs| logs.take(self.options.batch));
        if !events.is_empty() {
            let body = self.speaker.logs(&events);
            sent &= self.send(What::Logs, body, events.len(), is_last);
        }
        (sent || !is_last) && self.is_full()
    }

    /// Sends a request of so many until it goes through, is refused for good, or was
    /// tried often enough; answers whether it went through.
    fn send(&mut self, what: What, body: Vec<u8>, n: usize, is_last: bool) -> bool {
        let mut pause = FIRST_PAUSE;
        for tries in 1..=TRIES {
            match self.talk.send(what, body.clone()) {
                Ok(refused) => {
                    self.sent(what, n, refused);
                    return true;
                }
                Err(failure) => {
                    self.failed(&failure);
                    let wait = failure.after.unwrap_or(pause);
                    let stops = is_last || !failure.again || tries == TRIES;
                    if stops || self.stop.wait(wait.mul_f64(0.5 + self.random.below(512) as f64 / 1024.0)) {
                        break;
                    }
                    count(&self.counters.traced().retried, 1);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
        count(&self.counters.traced().failed, n);
        false
    }

    fn sent(&mut self, what: What, n: usize, refused: Option<(i64, String)>) {
        let refused_count = refused.as_ref().map_or(0, |(n, _)| usize::try_from(*n).unwrap_or(0)).min(n);
        count(&self.counters.traced().failed, refused_count);
        let counter = match what {
            What::Traces => &self.counters.traced().spans,
            What::Logs => &self.counters.traced().logs,
        };
        count(counter, n - refused_count);
        if let Some((refused, why)) = refused {
            let why: String = why.chars().take(200).collect();
            tracing::warn!(code = "otlp_refused", refused, why, "the receiver of OTLP refused a part of what was sent");
        } else if !std::mem::replace(&mut self.works, true) {
            let endpoint = &self.options.endpoint;
            tracing::info!(code = "otlp_works", endpoint, "the receiver of OTLP takes what is sent again");
        }
    }

    fn failed(&mut self, failure: &Failure) {
        if std::mem::replace(&mut self.works, false) {
            let (endpoint, error) = (&self.options.endpoint, &failure.why);
            tracing::warn!(
                code = "otlp_failed",
                endpoint,
                error,
                "the receiver of OTLP takes nothing: what waits is bounded by `queue`, and the rest is dropped"
            );
        }
    }
}
