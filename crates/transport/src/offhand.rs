//! Questions that can only be asked and waited for, such as those to the system's
//! resolver, without holding up a stage: each has a short-lived thread, a few at
//! once; more wait. An answer that nobody waits for any more is thrown away when
//! it comes.

use std::collections::VecDeque;
use std::io;

use weft_base::sync::{Arc, Mutex, thread};

/// What finds answers; called on threads of their own.
type Find<Q, T, E> = Arc<dyn Fn(Q) -> Result<T, E> + Send + Sync>;
/// Answers that nobody has taken, with whose they are.
type Answers<T, E> = Arc<Mutex<Vec<(u64, Result<T, E>)>>>;

/// Questions of one kind, each with the key of who waits.
pub(crate) struct Offhand<Q, T, E> {
    /// The name of its threads.
    name: &'static str,
    find: Find<Q, T, E>,
    /// Called, on such a thread, when there is an answer.
    wake: Arc<dyn Fn() + Send + Sync>,
    // At most one entry per key, so bounded by who asks.
    waiting: VecDeque<(u64, Q)>,
    running: usize,
    answers: Answers<T, E>,
}

impl<Q, T, E> Offhand<Q, T, E>
where
    Q: Send + 'static,
    T: Send + 'static,
    E: From<io::Error> + Send + 'static,
{
    /// How many are looked for at once.
    pub(crate) const LIMIT: usize = 4;

    pub(crate) fn new(name: &'static str, find: Find<Q, T, E>, wake: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self { name, find, wake, waiting: VecDeque::new(), running: 0, answers: Arc::new(Mutex::new(Vec::new())) }
    }

    pub(crate) fn ask(&mut self, key: u64, question: Q) {
        self.waiting.push_back((key, question));
        self.start();
    }

    /// Forgets a question that does not run yet.
    pub(crate) fn forget(&mut self, key: u64) {
        self.waiting.retain(|(waiting, _)| *waiting != key);
    }

    fn start(&mut self) {
        while self.running < Self::LIMIT
            && let Some((key, question)) = self.waiting.pop_front()
        {
            let (find, wake, answers) = (self.find.clone(), self.wake.clone(), self.answers.clone());
            let look = move || {
                let answer = find(question);
                if let Ok(mut answers) = answers.lock() {
                    answers.push((key, answer));
                }
                wake();
            };
            self.running += 1;
            if let Err(e) = thread::Builder::new().name(self.name.to_owned()).spawn(look) {
                if let Ok(mut answers) = self.answers.lock() {
                    answers.push((key, Err(e.into())));
                }
                (self.wake)();
            }
        }
    }

    /// Answers that have come in; none runs in the common case, which costs nothing.
    pub(crate) fn take(&mut self) -> Vec<(u64, Result<T, E>)> {
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
