//! Who answers a hub that asks who its clients are: [`weft_login::Logins`] with the
//! threads that it must not have itself.
//!
//! Passwords are checked on [`CHECKERS`] threads, so that this many times 64 MiB is
//! the most memory that they take at once; keys of issuers are fetched on
//! [`FETCHERS`] others, so that a server that hangs holds up nothing but tokens that
//! need its keys. What waits is bounded: [`WAITING`] passwords, as many tokens; more
//! are told to come again. Never blocks whoever asks. [`Vouchers`] go before all of it.

mod keys;
#[cfg(test)]
mod tests;
mod vouchers;

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use weft_base::{Mono, Now};
use weft_govern::State;
use weft_govern::access::Fault;
use weft_govern::login::{Answer, Credentials, Door, Knock, Login, Reason, Refusal};
use weft_login::{Begun, Check, Fetch, Limits, Logins, Pending};

pub(crate) use self::keys::{KeyServer, Roots, of_file, of_machine};
pub(crate) use self::vouchers::Vouchers;

/// Threads that check passwords.
const CHECKERS: usize = 2;
/// Threads that fetch keys.
const FETCHERS: usize = 4;
/// Passwords, and tokens whose keys are fetched, that may wait, each.
const WAITING: usize = 256;

/// What a thread has found out.
enum Done {
    Checked { number: u64, pending: Pending, fits: Option<String> },
    Fetched { fetch: Fetch, found: Result<(Vec<u8>, Option<Duration>), String> },
}

/// What a thread is to do.
enum Job {
    Check { number: u64, check: Check, pending: Pending },
    Fetch(Fetch),
}

type Wake = Arc<dyn Fn() + Send + Sync>;

/// Threads that take what they are to do from one queue, which is filled only as
/// far as there are threads.
struct Crew {
    jobs: Sender<Job>,
    busy: usize,
    size: usize,
}

impl Crew {
    fn new(name: &str, size: usize, work: impl Fn(Job) + Send + Sync + 'static) -> std::io::Result<Self> {
        let (jobs, taken) = channel();
        let (taken, work) = (Arc::new(Mutex::new(taken)), Arc::new(work));
        for _ in 0..size {
            let (taken, work) = (taken.clone(), work.clone());
            std::thread::Builder::new().name(name.to_owned()).spawn(move || {
                while let Some(job) = next(&taken) {
                    work(job);
                }
            })?;
        }
        Ok(Self { jobs, busy: 0, size })
    }

    fn is_free(&self) -> bool {
        self.busy < self.size
    }

    fn give(&mut self, job: Job) {
        self.busy += 1;
        // Its threads end only when this does.
        let _ = self.jobs.send(job);
    }
}

/// The next of what is to be done; none when nobody is left who could say.
fn next(jobs: &Mutex<Receiver<Job>>) -> Option<Job> {
    lock(jobs).recv().ok()
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is held is whole at any time.
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The door of a hub.
pub(crate) struct Porter {
    logins: Logins,
    vouchers: Arc<Vouchers>,
    checkers: Crew,
    fetchers: Crew,
    done: Receiver<Done>,
    wake: Arc<Mutex<Option<Wake>>>,
    /// Passwords that no thread has taken.
    checks: VecDeque<(u64, Check, Pending)>,
    /// Keys that no thread has taken.
    fetches: VecDeque<Fetch>,
    /// Tokens whose keys are fetched.
    parked: BTreeMap<u64, (Arc<str>, Knock)>,
}

impl Porter {
    /// Starts its threads.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(crate) fn new(limits: Limits, server: KeyServer, vouchers: Arc<Vouchers>) -> std::io::Result<Self> {
        let (said, done) = channel::<Done>();
        let wake: Arc<Mutex<Option<Wake>>> = Arc::default();
        let say = |said: Sender<Done>, wake: Arc<Mutex<Option<Wake>>>| {
            move |done: Done| {
                // Nobody listens any more when the hub is stopping.
                let _ = said.send(done);
                let wake = lock(&wake).clone();
                if let Some(wake) = wake {
                    wake();
                }
            }
        };
        let checked = say(said.clone(), wake.clone());
        let checkers = Crew::new("login-check", CHECKERS, move |job| {
            if let Job::Check { number, check, pending } = job {
                checked(Done::Checked { number, pending, fits: check.run() });
            }
        })?;
        let fetched = say(said, wake.clone());
        let fetchers = Crew::new("login-keys", FETCHERS, move |job| {
            if let Job::Fetch(fetch) = job {
                let found = server.fetch(&fetch.url);
                fetched(Done::Fetched { fetch, found });
            }
        })?;
        let (checks, fetches, parked) = (VecDeque::new(), VecDeque::new(), BTreeMap::new());
        Ok(Self { logins: Logins::new(limits), vouchers, checkers, fetchers, done, wake, checks, fetches, parked })
    }

    fn begin(&mut self, number: u64, knock: Knock, again: bool, now: Now) -> Option<Answer> {
        match self.logins.begin(knock, again, now) {
            Begun::Done(answer) => Some(answer),
            Begun::Check(..) if self.checks.len() >= WAITING => Some(Err(busy("passwords"))),
            Begun::Check(check, pending) => {
                self.checks.push_back((number, check, pending));
                None
            }
            Begun::Keys { .. } if self.parked.len() >= WAITING => Some(Err(busy("tokens"))),
            Begun::Keys { issuer, knock } => {
                self.parked.insert(number, (issuer, knock));
                None
            }
        }
    }

    /// What a voucher says. It counts over shared memory alone, of which no address is known.
    fn redeem(&self, knock: &Knock, shown: &[u8]) -> Answer {
        let bad = |log: &str| Refusal {
            reason: Reason::Bad,
            detail: "what was shown to log in is not good here: check it".to_owned(),
            log: log.to_owned(),
        };
        if let Some(from) = knock.from {
            return Err(bad(&format!("a voucher was shown from {from}: they count within this process alone")));
        }
        self.vouchers.redeem(shown).ok_or_else(|| bad("a voucher that is none, was shown before, or is over"))
    }

    /// Gives threads that are free something to do.
    fn hand_out(&mut self, now: Now, found: &mut Vec<(u64, Answer)>) {
        while self.checkers.is_free() {
            let Some((number, check, pending)) = self.checks.pop_front() else { break };
            // Others of the same may have failed meanwhile: of a flood few are checked.
            match self.logins.may_try(&pending, now) {
                Ok(()) => self.checkers.give(Job::Check { number, check, pending }),
                Err(refusal) => found.push((number, Err(refusal))),
            }
        }
        self.fetches.extend(self.logins.fetches(now.mono));
        while self.fetchers.is_free() {
            let Some(fetch) = self.fetches.pop_front() else { break };
            self.fetchers.give(Job::Fetch(fetch));
        }
    }

    fn fetched(
        &mut self,
        fetch: &Fetch,
        result: Result<(Vec<u8>, Option<Duration>), String>,
        now: Now,
        found: &mut Vec<(u64, Answer)>,
    ) {
        let (bytes, max_age) = match result {
            Ok((bytes, max_age)) => (Ok(bytes), max_age),
            Err(trouble) => (Err(trouble), None),
        };
        let bytes = bytes.as_ref().map(Vec::as_slice).map_err(Clone::clone);
        let issuer = &*fetch.issuer;
        match self.logins.fetched(fetch, bytes, max_age, now.mono) {
            Ok(keys) => tracing::debug!(code = "login_keys", issuer, keys, "keys of an issuer were fetched"),
            Err(trouble) => {
                let (url, text) = (&*fetch.url, "keys of an issuer cannot be had");
                tracing::warn!(code = "login_keys_failed", issuer, url, trouble, "{text}");
            }
        }
        let waited: Vec<u64> =
            self.parked.iter().filter(|(_, (issuer, _))| *issuer == fetch.issuer).map(|(number, _)| *number).collect();
        for number in waited {
            if let Some((_, knock)) = self.parked.remove(&number)
                && let Some(answer) = self.begin(number, knock, true, now)
            {
                found.push((number, answer));
            }
        }
    }
}

impl Door for Porter {
    fn learn(&mut self, state: &State) -> Vec<Fault> {
        self.logins.learn(state)
    }

    fn ask(&mut self, number: u64, knock: Knock, now: Now) -> Option<Answer> {
        match &knock.credentials {
            Credentials::Bearer(shown) if vouchers::is_voucher(shown.bytes()) => {
                Some(self.redeem(&knock, shown.bytes()))
            }
            _ => self.begin(number, knock, false, now),
        }
    }

    fn answers(&mut self, now: Now, found: &mut Vec<(u64, Answer)>) {
        while let Ok(done) = self.done.try_recv() {
            match done {
                Done::Checked { number, pending, fits } => {
                    self.checkers.busy -= 1;
                    found.push((number, self.logins.checked(&pending, fits.as_deref(), now)));
                }
                Done::Fetched { fetch, found: result } => {
                    self.fetchers.busy -= 1;
                    self.fetched(&fetch, result, now, found);
                }
            }
        }
        self.hand_out(now, found);
    }

    fn forget(&mut self, number: u64) {
        self.parked.remove(&number);
        self.checks.retain(|(waiting, ..)| *waiting != number);
    }

    fn stands(&self, login: &Login) -> Result<(), Refusal> {
        self.logins.stands(login)
    }

    fn next_look(&self) -> Option<Mono> {
        self.logins.next_fetch().filter(|_| self.fetchers.is_free())
    }

    fn wake_with(&mut self, wake: Wake) {
        *lock(&self.wake) = Some(wake);
    }
}

/// More wait than may.
fn busy(what: &str) -> Refusal {
    Refusal {
        reason: Reason::Unavailable(Duration::from_secs(1)),
        detail: "more clients log in than can be checked: try again in 1 s".to_owned(),
        log: format!("{WAITING} {what} are waiting to be checked"),
    }
}
