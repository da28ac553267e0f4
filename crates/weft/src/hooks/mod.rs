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

/// All webhooks, until they are dropped.
pub(crate) struct Hooks {
    stop: Arc<Stop>,
    threads: Vec<JoinHandle<()>>,
}

impl Hooks {
    /// Starts them.
    ///
    /// # Errors
    /// A file of a secret or of authorities cannot be used, or the system gives no thread.
    pub(crate) fn start(all: Vec<HookOptions>, facts: &HookFacts) -> anyhow::Result<Self> {
        let stop = Arc::<Stop>::default();
        let mut hooks = Self { stop: stop.clone(), threads: Vec::new() };
        for options in all {
            let signer = secret(&options.secret)
                .with_context(|| format!("webhook `{}`: the secret in {}", options.name, options.secret.display()))?;
            let fence = Fence { local: options.allow_local, own_ports: facts.own_ports.clone() };
            let target = Target::new((options.url.as_str(), signer), options.ca.as_deref(), fence, options.timeout)
                .with_context(|| format!("webhook `{}`", options.name))?;
            let hook = Hook::new(options, target, facts, stop.clone())?;
            hooks.threads.extend(Hook::start(&Arc::new(hook))?);
        }
        Ok(hooks)
    }

    /// Whether the hub sends its clients elsewhere: then nothing is taken.
    pub(crate) fn leave(&self, is_leaving: bool) {
        self.stop.is_leaving.store(is_leaving, Ordering::Relaxed);
    }
}

impl Drop for Hooks {
    /// A try that is under way has its time to end.
    fn drop(&mut self) {
        self.stop.is_over.store(true, Ordering::Relaxed);
        drop(self.stop.turn.lock());
        self.stop.told.notify_all();
        for thread in self.threads.drain(..) {
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
