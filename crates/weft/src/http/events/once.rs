//! `Idempotency-Key`: what was asked under a key has one effect, and who asks again
//! gets the first answer (draft-ietf-httpapi-idempotency-key-header).
//!
//! Kept is what was published, or may have been; where nothing was, the key is free
//! again. Keys are a principal's own. Lost when the hub stops.
//!
//! Bounded: [`WINDOW`], [`KEYS`] of a principal, [`PRINCIPALS`], [`BYTES`] of answers.
//! What is full forgets its oldest answer; who has nothing but requests under way is
//! told to wait.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use weft_base::{Clock, Mono};
use weft_govern::access::Principal;

use super::super::problem::Problem;
use super::reply::Reply;

/// How long an answer is kept.
pub(super) const WINDOW: Duration = Duration::from_secs(600);
/// Keys of one principal.
const KEYS: usize = 1_024;
/// Principals that have any.
const PRINCIPALS: usize = 128;
/// Bytes of all answers.
const BYTES: usize = 32 << 20;
/// The longest key.
const MAX_KEY: usize = 128;

/// What a request asks for, hashed (SHA-256).
pub(super) type Print = [u8; 32];

/// The keys that are known.
pub(super) struct Once {
    clock: Arc<dyn Clock>,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    principals: BTreeMap<Arc<Principal>, Own>,
    bytes: usize,
    /// Counts requests, so that an older one is not taken for a newer of the same key.
    next: u64,
}

/// Those of one principal.
#[derive(Default)]
struct Own {
    keys: BTreeMap<String, Entry>,
    /// By when they came.
    order: BTreeMap<u64, String>,
}

struct Entry {
    number: u64,
    print: Print,
    began: Mono,
    /// None: it is under way.
    reply: Option<Arc<Reply>>,
}

/// What is to be done with a request.
pub(super) enum Begun {
    /// Do it, and say what became of it.
    New(Ticket),
    /// It was done.
    Known(Arc<Reply>),
}

/// A request under way; its key is free again when this is dropped unanswered.
pub(super) struct Ticket {
    once: Arc<Once>,
    who: Arc<Principal>,
    key: String,
    number: u64,
    reply: Option<Arc<Reply>>,
}

impl Ticket {
    /// This was answered: who asks again gets the same.
    pub(super) fn keep(mut self, reply: Arc<Reply>) {
        self.reply = Some(reply);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.once.table().settle(&self.who, &self.key, self.number, self.reply.take());
    }
}

impl Once {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, table: Mutex::default() }
    }

    /// Begins a request under a key.
    ///
    /// # Errors
    /// [`Problem`]: 409 while the same is under way, 422 for another one's key, 429
    /// where there is no room.
    pub(super) fn begin(self: &Arc<Self>, who: &Arc<Principal>, key: &str, print: Print) -> Result<Begun, Problem> {
        let now = self.clock.now().mono;
        let mut table = self.table();
        table.forget_old(now);
        if let Some(entry) = table.principals.get(who).and_then(|own| own.keys.get(key)) {
            return match &entry.reply {
                _ if entry.print != print => {
                    let text = "the Idempotency-Key was used for another request: take a new one for each";
                    Err(Problem::new(422, "key_in_use", text))
                }
                Some(reply) => Ok(Begun::Known(reply.clone())),
                None => {
                    let text = "the same request is under way: come again for its answer";
                    Err(Problem::soon(409, "under_way", text, 1))
                }
            };
        }
        let number = table.enter(who, key, print, now)?;
        drop(table);
        Ok(Begun::New(Ticket { once: self.clone(), who: who.clone(), key: key.to_owned(), number, reply: None }))
    }

    /// Each change is whole.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn enter(&mut self, who: &Arc<Principal>, key: &str, print: Print, now: Mono) -> Result<u64, Problem> {
        let full = || Problem::soon(429, "keys", "too many requests with an Idempotency-Key are under way", 1);
        if !self.principals.contains_key(who) && self.principals.len() >= PRINCIPALS {
            // Who has not asked for the longest, and waits for nothing.
            let spare = self.principals.iter().filter(|(_, own)| own.keys.values().all(|entry| entry.reply.is_some()));
            let spare = spare.min_by_key(|(_, own)| own.order.last_key_value().map(|(number, _)| *number));
            let spare = spare.map(|(who, _)| who.clone()).ok_or_else(full)?;
            while self.forget_oldest(&spare) {}
        }
        while self.principals.get(who).is_some_and(|own| own.keys.len() >= KEYS) {
            if !self.forget_oldest(who) {
                return Err(full());
            }
        }
        self.next += 1;
        let number = self.next;
        let own = self.principals.entry(who.clone()).or_default();
        own.keys.insert(key.to_owned(), Entry { number, print, began: now, reply: None });
        own.order.insert(number, key.to_owned());
        Ok(number)
    }

    /// What became of a request.
    fn settle(&mut self, who: &Arc<Principal>, key: &str, number: u64, reply: Option<Arc<Reply>>) {
        let Some(own) = self.principals.get_mut(who) else { return };
        let Some(entry) = own.keys.get_mut(key).filter(|entry| entry.number == number) else { return };
        let Some(reply) = reply else { return self.remove(who, key) };
        self.bytes += reply.size();
        entry.reply = Some(reply);
        while self.bytes > BYTES {
            let sizes = self.principals.iter().map(|(who, own)| (own.bytes(), who));
            let Some(most) = sizes.max_by_key(|(bytes, _)| *bytes).map(|(_, who)| who.clone()) else { break };
            if !self.forget_oldest(&most) {
                break;
            }
        }
    }

    /// What is over.
    fn forget_old(&mut self, now: Mono) {
        let is_old = |entry: &Entry| entry.reply.is_some() && entry.began + WINDOW <= now;
        let old: Vec<(Arc<Principal>, String)> = self
            .principals
            .iter()
            .filter_map(|(who, own)| {
                // The oldest of each: the others follow with the requests to come.
                let key = own.order.values().next()?;
                own.keys.get(key).filter(|entry| is_old(entry)).map(|_| (who.clone(), key.clone()))
            })
            .collect();
        for (who, key) in old {
            self.remove(&who, &key);
        }
    }

    /// Forgets the oldest answer of a principal; whether there was one.
    fn forget_oldest(&mut self, who: &Arc<Principal>) -> bool {
        let Some(own) = self.principals.get(who) else { return false };
        let answered = |key: &&String| own.keys.get(*key).is_some_and(|entry| entry.reply.is_some());
        let Some(key) = own.order.values().find(answered).cloned() else { return false };
        self.remove(who, &key);
        true
    }

    fn remove(&mut self, who: &Arc<Principal>, key: &str) {
        let Some(own) = self.principals.get_mut(who) else { return };
        if let Some(entry) = own.keys.remove(key) {
            own.order.remove(&entry.number);
            self.bytes -= entry.reply.map_or(0, |reply| reply.size());
        }
        if own.keys.is_empty() {
            self.principals.remove(who);
        }
    }
}

impl Own {
    fn bytes(&self) -> usize {
        self.keys.values().filter_map(|entry| entry.reply.as_ref()).map(|reply| reply.size()).sum()
    }
}

/// The key that a header says: a string in quotes (RFC 9651), or the same without.
///
/// # Errors
/// What it may be.
pub(super) fn key_of(header: &str) -> Result<&str, &'static str> {
    let quoted = header.strip_prefix('"').map(|rest| rest.strip_suffix('"').filter(|key| !key.ends_with('\\')));
    let key = quoted.unwrap_or(Some(header)).unwrap_or_default();
    let is_key = (1..=MAX_KEY).contains(&key.len())
        && key.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'));
    if is_key { Ok(key) } else { Err("write 1 to 128 visible characters, in quotes or without, such as a UUID") }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use serde_json::json;
    use weft_base::{Now, UnixNanos};
    use weft_govern::access::Method;

    use super::*;

    #[derive(Default)]
    struct Hand(AtomicU64);

    impl Clock for Hand {
        fn now(&self) -> Now {
            let nanos = self.0.load(Ordering::Relaxed);
            Now { mono: Mono(nanos), wall: UnixNanos(nanos) }
        }
    }

    fn who(name: &str) -> Arc<Principal> {
        Arc::new(Principal { tenant: None, name: name.into(), roles: Arc::new([]), method: Method::Password })
    }

    fn reply(n: usize) -> Arc<Reply> {
        Arc::new(Reply::done(200, json!({"n": "x".repeat(n)})))
    }

    fn new(once: &Arc<Once>, who: &Arc<Principal>, key: &str, print: u8) -> Ticket {
        match once.begin(who, key, [print; 32]) {
            Ok(Begun::New(ticket)) => ticket,
            Ok(Begun::Known(_)) => panic!("{key} is known"),
            Err(problem) => panic!("{key}: {problem:?}"),
        }
    }

    fn status(once: &Arc<Once>, who: &Arc<Principal>, key: &str, print: u8) -> u16 {
        match once.begin(who, key, [print; 32]) {
            Ok(Begun::New(_)) => 0,
            Ok(Begun::Known(reply)) => reply.status,
            Err(problem) => problem.status,
        }
    }

    #[test]
    fn a_key_has_one_effect_and_its_answer_is_given_again_until_the_window_ends() {
        let hand = Arc::new(Hand::default());
        let once = Arc::new(Once::new(hand.clone()));
        let (anna, bob) = (who("anna"), who("bob"));
        let ticket = new(&once, &anna, "k", 1);
        assert_eq!(status(&once, &anna, "k", 1), 409, "it is under way");
        assert_eq!(status(&once, &anna, "k", 2), 422, "another");
        drop(new(&once, &bob, "k", 1));
        ticket.keep(reply(1));
        assert_eq!(status(&once, &anna, "k", 1), 200);
        assert_eq!(status(&once, &anna, "k", 2), 422);
        assert_eq!(status(&once, &bob, "k", 1), 0, "keys are a principal's own");
        hand.0.store(u64::try_from(WINDOW.as_nanos()).unwrap(), Ordering::Relaxed);
        assert_eq!(status(&once, &anna, "k", 2), 0, "it is forgotten");
        assert_eq!(once.table().bytes, 0);
    }

    #[test]
    fn what_had_no_effect_frees_its_key_and_what_is_late_changes_no_other() {
        let once = Arc::new(Once::new(Arc::new(Hand::default())));
        let anna = who("anna");
        drop(new(&once, &anna, "k", 1));
        let second = new(&once, &anna, "k", 2);
        once.table().settle(&anna, "k", 1, Some(reply(1)));
        assert_eq!(status(&once, &anna, "k", 2), 409, "the first is none of its business");
        drop(second);
        assert!(once.table().principals.is_empty());
    }

    #[test]
    fn what_is_full_forgets_its_oldest_answers_and_never_what_is_under_way() {
        let once = Arc::new(Once::new(Arc::new(Hand::default())));
        let anna = who("anna");
        for n in 0..=KEYS {
            new(&once, &anna, &format!("k{n}"), 1).keep(reply(1));
        }
        assert_eq!(once.table().principals[&anna].keys.len(), KEYS);
        assert_eq!(status(&once, &anna, "k1", 1), 200);
        assert_eq!(status(&once, &anna, "k0", 1), 0, "the oldest");
        let bob = who("bob");
        let mut open: Vec<Ticket> = (0..KEYS).map(|n| new(&once, &bob, &format!("k{n}"), 1)).collect();
        assert_eq!(status(&once, &bob, "one more", 1), 429);
        open.truncate(1);
        assert_eq!(status(&once, &bob, "one more", 1), 0);
        for n in 0..2 * PRINCIPALS {
            new(&once, &who(&format!("p{n}")), "k", 1).keep(reply(1));
        }
        assert_eq!(once.table().principals.len(), PRINCIPALS);
        assert_eq!(status(&once, &bob, "k0", 1), 409, "it is under way");
        for n in 0..40 {
            new(&once, &who("large"), &format!("k{n}"), 1).keep(reply(1 << 20));
        }
        let table = once.table();
        let sum: usize = table.principals.values().map(Own::bytes).sum();
        assert!(table.bytes <= BYTES && sum == table.bytes, "{sum} {}", table.bytes);
    }

    #[test]
    fn keys_come_with_quotes_and_without() {
        assert_eq!(key_of("\"8e03978e-40d5-43dd-bc93-6894a57f9324\""), Ok("8e03978e-40d5-43dd-bc93-6894a57f9324"));
        assert_eq!(key_of("8e03"), Ok("8e03"));
        for bad in ["", "\"", "\"\"", "\"a", "a b", "\"a\\\"", "a\"b", "\u{e9}", &"k".repeat(129)] {
            assert!(key_of(bad).is_err(), "{bad}");
        }
    }
}
