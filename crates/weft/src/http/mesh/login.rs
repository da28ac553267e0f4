//! Logins of the page: what was shown once is kept here, and the browser keeps a
//! random word for it, in a cookie that no script reads and no other site sends.
//!
//! What was shown is shown again with each request, so that a login ends here when it
//! ends everywhere. Bounded: [`MOST`], the least used goes; one is over after [`IDLE`]
//! without use. Must never log what was shown, or the word.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use axum::body::Body;
use axum::http::header::{AUTHORIZATION, COOKIE, HeaderValue, SET_COOKIE};
use axum::http::{HeaderMap, Response};
use serde_json::json;
use weft_base::{Clock, Mono};
use weft_govern::login::Secret;

use super::super::answer;
use super::super::problem::Problem;

/// Logins that are kept.
const MOST: usize = 1_024;
/// How long one is that nobody uses.
const IDLE: Duration = Duration::from_secs(12 * 3_600);
/// The cookie's name.
const NAME: &str = "weft-page";
/// Random bytes of its word.
const WORD: usize = 32;
/// What browsers say of where a request comes from.
const SITE: &str = "sec-fetch-site";

type Hash = [u8; 32];

struct Kept {
    shown: Secret,
    used: Mono,
}

/// All of them, by the hash of their words.
pub(super) struct Logins {
    clock: Arc<dyn Clock>,
    kept: Mutex<BTreeMap<Hash, Kept>>,
}

impl Logins {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, kept: Mutex::default() }
    }

    /// Puts what was shown into the head of a request that has the word for it.
    pub(super) fn show(&self, headers: &mut HeaderMap) {
        if headers.contains_key(AUTHORIZATION) {
            return;
        }
        let Some(word) = word(headers) else { return };
        let now = self.clock.now().mono;
        let mut kept = self.kept();
        let Some(login) = kept.get_mut(&hash(&word)).filter(|login| login.used + IDLE > now) else { return };
        login.used = now;
        if let Ok(mut value) = HeaderValue::from_bytes(login.shown.bytes()) {
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
    }

    /// Keeps what a request shows, and answers with the word for it.
    ///
    /// # Errors
    /// [`Problem`]: the system gives no random bytes.
    pub(super) fn keep(&self, headers: &HeaderMap, is_secured: bool) -> Result<Response<Body>, Problem> {
        let mut response = answer::json(200, &json!({}));
        // Who needs to show nothing, or has a certificate, needs no word.
        let Some(shown) = headers.get(AUTHORIZATION) else { return Ok(response) };
        let mut bytes = [0; WORD];
        let random = |_| Problem::soon(503, "random", "the system gives no random bytes: see its log", 5);
        aws_lc_rs::rand::fill(&mut bytes).map_err(random)?;
        let word: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let now = self.clock.now().mono;
        let mut kept = self.kept();
        kept.retain(|_, login| login.used + IDLE > now);
        if kept.len() >= MOST
            && let Some(oldest) = kept.iter().min_by_key(|(_, login)| login.used).map(|(hash, _)| *hash)
        {
            kept.remove(&oldest);
        }
        kept.insert(hash(&word), Kept { shown: Secret::new(shown.as_bytes().to_vec()), used: now });
        set(&mut response, &word, IDLE.as_secs(), is_secured);
        Ok(response)
    }

    /// Forgets a login.
    pub(super) fn forget(&self, headers: &HeaderMap) -> Response<Body> {
        if let Some(word) = word(headers) {
            self.kept().remove(&hash(&word));
        }
        let mut response = answer::json(200, &json!({}));
        set(&mut response, "", 0, false);
        response
    }

    /// Each change is whole.
    fn kept(&self) -> MutexGuard<'_, BTreeMap<Hash, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn set(response: &mut Response<Body>, word: &str, seconds: u64, is_secured: bool) {
    let secure = if is_secured { "; Secure" } else { "" };
    let cookie = format!("{NAME}={word}; Path=/v1/mesh; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    if let Ok(value) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(SET_COOKIE, value);
    }
}

/// The word in the cookies of a request.
fn word(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, word) = pairs.find(|(name, word)| *name == NAME && word.len() == 2 * WORD)?;
    Some(word.to_owned())
}

fn hash(word: &str) -> Hash {
    let mut hash = [0; 32];
    // SHA-256 has as many bytes.
    hash.iter_mut().zip(digest(&SHA256, word.as_bytes()).as_ref()).for_each(|(to, from)| *to = *from);
    hash
}

/// Refuses what another site has a browser ask for; the cookie would not come with it
/// either.
///
/// # Errors
/// [`Problem`]: it is of another site.
pub(super) fn own_page(headers: &HeaderMap) -> Result<(), Problem> {
    let site = headers.get(SITE).map(HeaderValue::as_bytes);
    if site.is_none_or(|site| [&b"same-origin"[..], b"none"].contains(&site)) {
        return Ok(());
    }
    Err(Problem::new(403, "other_site", "another site asked for this: open the dashboard itself"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use weft_base::{Now, UnixNanos};

    use super::*;

    #[derive(Default)]
    struct Hand(AtomicU64);

    impl Clock for Hand {
        fn now(&self) -> Now {
            let nanos = self.0.load(Ordering::Relaxed);
            Now { mono: Mono(nanos), wall: UnixNanos(nanos) }
        }
    }

    fn cookie(response: &Response<Body>) -> String {
        response.headers()[SET_COOKIE].to_str().expect("text").to_owned()
    }

    #[test]
    fn what_was_shown_once_is_shown_again_for_its_word_until_it_is_forgotten_or_not_used() {
        let hand = Arc::new(Hand::default());
        let logins = Logins::new(hand.clone());
        let mut shown = HeaderMap::new();
        shown.insert(AUTHORIZATION, HeaderValue::from_static("Basic YW5uYTpzZWNyZXQ="));
        let set = cookie(&logins.keep(&shown, true).expect("it is kept"));
        for part in ["HttpOnly", "SameSite=Strict", "Secure", "Path=/v1/mesh"] {
            assert!(set.contains(part), "{set}");
        }
        let word = set.split(';').next().expect("a pair").to_owned();
        let with = |word: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, HeaderValue::from_str(&format!("a=b; {word}")).expect("a header"));
            headers
        };
        let sees = |word: &str| {
            let mut headers = with(word);
            logins.show(&mut headers);
            headers.get(AUTHORIZATION).cloned()
        };
        assert_eq!(sees(&word).as_ref(), shown.get(AUTHORIZATION));
        assert_eq!(sees(&word.replace('=', "=0").chars().take(NAME.len() + 1 + 64).collect::<String>()), None);
        assert!(cookie(&logins.forget(&with(&word))).contains("Max-Age=0"));
        assert_eq!(sees(&word), None);
        let set = cookie(&logins.keep(&shown, false).expect("it is kept"));
        assert!(!set.contains("Secure"));
        hand.0.store(13 * 3_600 * 1_000_000_000, Ordering::Relaxed);
        assert_eq!(sees(set.split(';').next().expect("a pair")), None, "nobody used it for long");
    }

    #[test]
    fn one_login_more_than_may_be_takes_the_place_of_the_least_used() {
        let logins = Logins::new(Arc::new(Hand::default()));
        let mut shown = HeaderMap::new();
        shown.insert(AUTHORIZATION, HeaderValue::from_static("Bearer a.b.c"));
        for _ in 0..MOST + 10 {
            assert!(logins.keep(&shown, false).is_ok());
        }
        assert_eq!(logins.kept().len(), MOST);
    }

    #[test]
    fn what_another_site_asks_for_is_refused() {
        let from = |site: &'static str| {
            HeaderMap::from_iter([(axum::http::HeaderName::from_static(SITE), HeaderValue::from_static(site))])
        };
        assert!(own_page(&HeaderMap::new()).is_ok() && own_page(&from("same-origin")).is_ok());
        for site in ["cross-site", "same-site"] {
            assert_eq!(own_page(&from(site)).err().map(|problem| problem.status), Some(403));
        }
    }
}
