//! Webhooks: each reads a stream by a durable consumer of its own and sends each event
//! to a URL, signed, until it is taken or is given up as a dead letter
//! (docs/adr/0048).
//!
//! One thread takes events and hands them to [`HookOptions::concurrency`] others, each
//! of which sends one at a time; no more are under way than these. What is not
//! acknowledged when the program ends is handed out again: an event is sent at least
//! once, under the same id. Never touches the data path: a webhook is a client of the
//! hub, over shared memory, under a name of its own, `webhook-NAME`, of no tenant, to
//! which policies apply.

mod breaker;
mod deliver;
mod options;
mod sign;
mod target;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use weft_base::Clock;
use weft_hub::Counters;

use self::deliver::Hook;
pub(crate) use self::options::HookOptions;
use self::sign::Signer;
use self::target::{Fence, Target};
use crate::http::Way;

/// The longest file of a secret.
const MAX_SECRET: u64 = 4_096;

/// What webhooks stand on.
pub(crate) struct HookFacts {
    /// How sessions at the hub are made.
    pub(crate) way: Way,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) counters: Arc<Counters>,
    /// The ports at which the hub listens, which no webhook is sent to.
    pub(crate) own_ports: Vec<u16>,
}

/// What ends them, and has them wait.
#[derive(Default)]
struct Stop {
    is_over: AtomicBool,
    is_leaving: AtomicBool,
    turn: Mutex<()>,
    told: Condvar,
}

impl Stop {
    /// Ends who goes by it, as soon as a try that is under way is over.
    fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        drop(self.turn.lock());
        self.told.notify_all();
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Whether nothing is to be taken now.
    fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Relaxed) || self.is_over()
    }

    /// Waits so long, or until it is over.
    fn wait(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.is_over() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            turn = self.told.wait_timeout(turn, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// One that sends.
struct Running {
    options: HookOptions,
    stop: Arc<Stop>,
    threads: Vec<JoinHandle<()>>,
}

/// One that is to send, when another of its name has ended: so that what is in order
/// stays so.
struct Waiting {
    hook: Arc<Hook>,
    running: Running,
    after: Vec<JoinHandle<()>>,
}

/// Webhooks that are sound, and not begun.
pub(crate) struct Prepared {
    all: Vec<HookOptions>,
    new: Vec<(HookOptions, Arc<Hook>, Arc<Stop>)>,
}

/// All webhooks, until they are dropped.
pub(crate) struct Hooks {
    facts: HookFacts,
    /// As many as there are sessions for.
    most: usize,
    running: Vec<Running>,
    waiting: Vec<Waiting>,
    /// Threads of those that were taken out, until they have ended.
    ending: Vec<JoinHandle<()>>,
}

impl Hooks {
    /// Starts them; later there may be `more`.
    ///
    /// # Errors
    /// A file of a secret or of authorities cannot be used, or the system gives no thread.
    pub(crate) fn start(all: &[HookOptions], more: usize, facts: HookFacts) -> anyhow::Result<Self> {
        let (running, waiting, ending) = (Vec::new(), Vec::new(), Vec::new());
        let mut hooks = Self { facts, most: all.len() + more, running, waiting, ending };
        for (options, hook, stop) in hooks.prepare(all)?.new {
            let threads = Hook::start(&hook)?;
            hooks.running.push(Running { options, stop, threads });
        }
        Ok(hooks)
    }

    /// Whether there can be so many while the hub runs.
    pub(crate) fn have_room(&self, count: usize) -> bool {
        count <= self.most
    }

    /// Looks whether these can take the place of those that there are. Changes nothing.
    ///
    /// # Errors
    /// A file of a secret or of authorities cannot be used.
    pub(crate) fn prepare(&self, all: &[HookOptions]) -> anyhow::Result<Prepared> {
        let mut new = Vec::new();
        for options in all.iter().filter(|options| !self.options().any(|known| known == *options)) {
            let signer = secret(&options.secret)
                .with_context(|| format!("webhook `{}`: the secret in {}", options.name, options.secret.display()))?;
            let fence = Fence { local: options.allow_local, own_ports: self.facts.own_ports.clone() };
            let target = Target::new((options.url.as_str(), signer), options.ca.as_deref(), fence, options.timeout)
                .with_context(|| format!("webhook `{}`", options.name))?;
            let stop = Arc::<Stop>::default();
            let hook = Hook::new(options.clone(), target, &self.facts, stop.clone())?;
            new.push((options.clone(), Arc::new(hook), stop));
        }
        Ok(Prepared { all: all.to_vec(), new })
    }

    fn options(&self) -> impl Iterator<Item = &HookOptions> {
        self.running.iter().chain(self.waiting.iter().map(|waiting| &waiting.running)).map(|running| &running.options)
    }

    /// Takes those out that are not among them, and starts the new ones. Nothing waits
    /// for a try that is under way; see [`tend`](Self::tend).
    pub(crate) fn replace(&mut self, Prepared { all, new }: Prepared) {
        let mut after: BTreeMap<String, Vec<JoinHandle<()>>> = BTreeMap::new();
        let is_gone = |running: &Running| !all.contains(&running.options);
        for gone in self.running.extract_if(.., |running| is_gone(running)) {
            gone.stop.end();
            after.insert(gone.options.name, gone.threads);
        }
        for gone in self.waiting.extract_if(.., |waiting| is_gone(&waiting.running)) {
            after.insert(gone.running.options.name, gone.after);
        }
        for (options, hook, stop) in new {
            let after = after.remove(&options.name).unwrap_or_default();
            self.waiting.push(Waiting { hook, running: Running { options, stop, threads: Vec::new() }, after });
        }
        self.ending.extend(after.into_values().flatten());
        self.tend();
    }

    /// Starts those whose time has come. Called now and then.
    pub(crate) fn tend(&mut self) {
        let is_over = |thread: &JoinHandle<()>| thread.is_finished();
        self.ending.retain(|thread| !is_over(thread));
        for Waiting { hook, mut running, .. } in
            self.waiting.extract_if(.., |waiting| waiting.after.iter().all(is_over))
        {
            match Hook::start(&hook) {
                Ok(threads) => running.threads = threads,
                // The next configuration may have it again.
                Err(error) => {
                    let (webhook, stream, why) = (&running.options.name, &running.options.stream, error.to_string());
                    tracing::error!(code = "webhook_waits", webhook, stream, why, "the system gives it no thread");
                }
            }
            self.running.push(running);
        }
    }

    /// Whether the hub sends its clients elsewhere: then nothing is taken.
    pub(crate) fn leave(&self, is_leaving: bool) {
        for running in &self.running {
            running.stop.is_leaving.store(is_leaving, Ordering::Relaxed);
        }
    }
}

impl Drop for Hooks {
    /// A try that is under way has its time to end.
    fn drop(&mut self) {
        self.running.iter().for_each(|running| running.stop.end());
        let waited = self.waiting.drain(..).flat_map(|waiting| waiting.after);
        let threads = self.running.drain(..).flat_map(|running| running.threads).chain(self.ending.drain(..));
        for thread in threads.chain(waited) {
            let _ = thread.join();
        }
    }
}

fn secret(path: &Path) -> anyhow::Result<Signer> {
    let length = std::fs::metadata(path).context("it cannot be read")?.len();
    anyhow::ensure!(length <= MAX_SECRET, "the file is too long for a secret");
    let text = zeroize::Zeroizing::new(std::fs::read_to_string(path).context("it cannot be read")?);
    Signer::of(&text)
}
