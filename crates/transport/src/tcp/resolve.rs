//! Finding the addresses of names without holding up the polling thread.
//!
//! The system's resolver can only be called and waited for, so each look-up
//! has a short-lived thread, at most [`Resolver::LIMIT`] at once; more wait.
//! A look-up that the dial no longer waits for ends when the system's resolver
//! gives up, and its answer is thrown away.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use weft_base::sync::{Arc, Mutex, thread};

use super::wake::WakeState;

/// Where names are looked up. Called on a thread of its own, and may wait.
pub trait Resolve: Send + Sync {
    /// The addresses of `host` with `port`, the best first.
    ///
    /// # Errors
    /// The name has none, or nobody can be asked.
    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// The system's resolver (`getaddrinfo`, so `/etc/hosts` and DNS).
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok((host, port).to_socket_addrs()?.collect())
    }
}

/// An answer for the link of this key.
pub(crate) type Answer = (u64, io::Result<Vec<SocketAddr>>);

pub(crate) struct Resolver {
    resolve: Arc<dyn Resolve>,
    wake: Arc<WakeState>,
    // At most one entry per link being dialled, so bounded by that limit.
    waiting: VecDeque<(u64, String, u16)>,
    running: usize,
    answers: Arc<Mutex<Vec<Answer>>>,
}

impl Resolver {
    /// How many look-ups run at once.
    const LIMIT: usize = 4;

    pub(crate) fn new(resolve: Arc<dyn Resolve>, wake: Arc<WakeState>) -> Self {
        Self { resolve, wake, waiting: VecDeque::new(), running: 0, answers: Arc::new(Mutex::new(Vec::new())) }
    }

    pub(crate) fn ask(&mut self, key: u64, host: String, port: u16) {
        self.waiting.push_back((key, host, port));
        self.start();
    }

    /// Forgets a question that does not run yet.
    pub(crate) fn forget(&mut self, key: u64) {
        self.waiting.retain(|(waiting, ..)| *waiting != key);
    }

    fn start(&mut self) {
        while self.running < Self::LIMIT
            && let Some((key, host, port)) = self.waiting.pop_front()
        {
            let (resolve, wake, answers) = (self.resolve.clone(), self.wake.clone(), self.answers.clone());
            let look_up = move || {
                let answer = resolve.resolve(&host, port);
                if let Ok(mut answers) = answers.lock() {
                    answers.push((key, answer));
                }
                wake.wake();
            };
            self.running += 1;
            if let Err(e) = thread::Builder::new().name("weft-resolve".to_owned()).spawn(look_up) {
                if let Ok(mut answers) = self.answers.lock() {
                    answers.push((key, Err(e)));
                }
                self.wake.wake();
            }
        }
    }

    /// Answers that have come in; `running` is zero in the common case, which
    /// costs nothing.
    pub(crate) fn take(&mut self) -> Vec<Answer> {
        if self.running == 0 {
            return Vec::new();
        }
        let answers = match self.answers.lock() {
            Ok(mut answers) => std::mem::take(&mut *answers),
            Err(_) => Vec::new(),
        };
        self.running -= answers.len().min(self.running);
        self.start();
        answers
    }
}
