//! Issuers: whose tokens are believed, with which keys.
//!
//! Keys of an address are kept, asked for again before they are old, and kept
//! longer where that fails; past [`Limits::kept`] they count no more. A token with
//! a key that is not known is a reason to ask, but not oftener than
//! [`Limits::between`]; until then it is not refused for good, because it may be new.
//! Who fetches them is told by [`Fetch`]; here nothing waits.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey};
use weft_base::Mono;
use weft_govern::document::{Issuer, Keys};
use weft_govern::{MAX_NAME, document};

use crate::keys::{self, KeySet};

/// By how much clocks may differ where the document does not say.
const LEEWAY: u64 = 60;
/// And at most.
const MOST_LEEWAY: u64 = 300;
/// Revoked tokens, tenants, or roles, that a document names.
const MAX_ENTRIES: usize = 10_000;
/// The longest address of a set of keys.
const MAX_URL: usize = 2_048;

/// What is kept, how long, and how often somebody may fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Passwords that may fail in a minute, of one address.
    pub passwords_per_source: u32,
    /// Of one name.
    pub passwords_per_name: u32,
    /// Tokens and certificates that may fail in a minute, of one address.
    pub proofs_per_source: u32,
    /// How many addresses and names are told apart, each.
    pub told_apart: usize,
    /// After this long fetched keys are asked for again, where their server says nothing else.
    pub fresh: Duration,
    /// After this long without an answer they count no more.
    pub kept: Duration,
    /// The least time between two questions, and the first pause after one that failed.
    pub between: Duration,
    /// The longest pause.
    pub pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            passwords_per_source: 10,
            passwords_per_name: 30,
            proofs_per_source: 120,
            told_apart: 4_096,
            fresh: Duration::from_secs(600),
            kept: Duration::from_secs(6 * 3_600),
            between: Duration::from_secs(10),
            pause: Duration::from_secs(300),
        }
    }
}

/// Keys that are to be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// The resource `issuer/NAME`.
    pub issuer: Arc<str>,
    /// From where: an `https` address.
    pub url: Arc<str>,
}

/// Keys of an address.
#[derive(Debug)]
pub(crate) struct Fetched {
    url: Arc<str>,
    set: Option<(KeySet, Mono)>,
    /// When it is to be asked for next.
    next: Mono,
    /// Somebody needs it before that.
    wanted: bool,
    under_way: bool,
    failures: u32,
    asked: Option<Mono>,
    trouble: String,
}

impl Fetched {
    pub(crate) fn new(url: &str) -> Self {
        let next = Mono(0);
        let trouble = "they were not fetched yet".to_owned();
        let (set, wanted, under_way, failures, asked) = (None, false, false, 0, None);
        Self { url: url.into(), set, next, wanted, under_way, failures, asked, trouble }
    }

    pub(crate) fn is_of(&self, url: &str) -> bool {
        *self.url == *url
    }

    /// When it may be asked for again.
    fn due(&self, limits: &Limits) -> Mono {
        match self.asked {
            Some(asked) if self.wanted && self.failures == 0 => self.next.min(asked + limits.between),
            _ => self.next,
        }
    }

    pub(crate) fn begin(&mut self, now: Mono, limits: &Limits) -> Option<Arc<str>> {
        if self.under_way || self.due(limits) > now {
            return None;
        }
        (self.under_way, self.wanted, self.asked) = (true, false, Some(now));
        Some(self.url.clone())
    }

    /// When it is to be asked for next; none while it is.
    pub(crate) fn next(&self, limits: &Limits) -> Option<Mono> {
        (!self.under_way).then(|| self.due(limits))
    }

    /// What came of it; `max_age` is what the server says of how long it holds.
    pub(crate) fn came(
        &mut self,
        found: Result<&[u8], String>,
        max_age: Option<Duration>,
        now: Mono,
        limits: &Limits,
    ) -> Result<usize, String> {
        self.under_way = false;
        match found.and_then(|bytes| KeySet::read(bytes).map_err(|e| e.to_string())) {
            Ok(set) => {
                let count = set.len();
                (self.set, self.failures, self.trouble) = (Some((set, now)), 0, String::new());
                let fresh = max_age.unwrap_or(limits.fresh).clamp(limits.between, limits.kept / 2);
                // Ahead of time, so that nobody has to wait for it.
                self.next = now + (fresh - fresh / 4);
                Ok(count)
            }
            Err(trouble) => {
                let pause = limits.between * 2_u32.saturating_pow(self.failures.min(10));
                (self.next, self.failures) = (now + pause.min(limits.pause), self.failures.saturating_add(1));
                self.trouble.clone_from(&trouble);
                Err(trouble)
            }
        }
    }
}

/// What a token's key turned out to be.
pub(crate) enum Found<'a> {
    /// These may have signed it.
    Keys(Vec<&'a DecodingKey>),
    /// None of those known, and there is no asking now.
    Unknown,
    /// It is to be asked for.
    Wait,
    /// It is none of those known, which were asked for just now: in this time it may be
    /// asked for again.
    Later(Duration),
    /// No keys can be had.
    Unavailable(String),
}

/// Where keys come from.
#[derive(Debug)]
pub(crate) enum Source {
    Fixed(KeySet),
    Fetched(Fetched),
}

/// An issuer whose document can be used.
#[derive(Debug)]
pub(crate) struct Believed {
    pub(crate) document: Issuer,
    pub(crate) algorithms: Vec<Algorithm>,
    pub(crate) leeway: u64,
    pub(crate) source: Source,
}

impl Believed {
    /// Reads a document; keys that were fetched of the same address before are kept.
    pub(crate) fn new(document: Issuer, before: Option<Fetched>) -> Result<Self, String> {
        let issuer = &document.issuer;
        if issuer.is_empty() || document.audience.is_empty() {
            return Err("`issuer` and `audience` must be given: tokens for anybody are believed by nobody".to_owned());
        }
        if issuer.len() > MAX_URL || document.audience.len() > MAX_URL {
            return Err(format!("`issuer` and `audience` have at most {MAX_URL} bytes"));
        }
        let named = document.algorithms.iter();
        let algorithms: Result<Vec<_>, _> = named.map(|name| keys::algorithm(name).ok_or(name)).collect();
        let algorithms = algorithms.map_err(|name| {
            let known: Vec<_> = keys::ALGORITHMS.iter().map(|(name, _)| *name).collect();
            format!("the signature `{name}` is not taken: it is one of {}", known.join(", "))
        })?;
        let algorithms = match algorithms.is_empty() {
            true => keys::ALGORITHMS.iter().map(|(_, algorithm)| *algorithm).collect(),
            false => algorithms,
        };
        let leeway = document.leeway_seconds.unwrap_or(LEEWAY);
        if leeway > MOST_LEEWAY {
            return Err(format!("`leeway_seconds` is {leeway}, at most {MOST_LEEWAY}: set the clocks"));
        }
        if document.tenant.is_some() && document.tenant_claim.is_some() {
            return Err("`tenant` and `tenant_claim` contradict each other: give one of them".to_owned());
        }
        if document.tenant_claim.is_some() && document.tenants.is_empty() {
            return Err("`tenant_claim` needs `tenants`, those that it may name".to_owned());
        }
        let lists = [document.revoked.len(), document.tenants.len(), document.roles.len()];
        if lists.iter().any(|count| *count > MAX_ENTRIES) {
            return Err(format!("`revoked`, `tenants` and `roles` have at most {MAX_ENTRIES} entries each"));
        }
        if document.roles.values().any(|role| role.is_empty() || role.len() > MAX_NAME) {
            return Err(format!("a role has 1 to {MAX_NAME} bytes"));
        }
        let source = match &document.keys {
            Keys::Jwks(set) => Source::Fixed(KeySet::of_document(set).map_err(|e| e.to_string())?),
            Keys::Url(url) => {
                let rest = url.strip_prefix("https://").filter(|rest| !rest.is_empty() && !rest.starts_with('/'));
                let is_plain = url.len() <= MAX_URL && url.bytes().all(|b| b.is_ascii_graphic()) && !url.contains('@');
                if rest.is_none() || !is_plain {
                    return Err("`keys.url` is no `https://` address, or has a user or blanks in it".to_owned());
                }
                Source::Fetched(before.filter(|before| before.is_of(url)).unwrap_or_else(|| Fetched::new(url)))
            }
        };
        Ok(Self { document, algorithms, leeway, source })
    }

    /// The keys that a token may be signed with. `again`: it was waited for already.
    pub(crate) fn keys<'a>(
        &'a mut self,
        (kid, algorithm): (Option<&'a str>, Algorithm),
        again: bool,
        now: Mono,
        limits: &Limits,
    ) -> Found<'a> {
        let fetched = match &mut self.source {
            Source::Fixed(set) => return some_or(set.find(kid, algorithm).collect(), Found::Unknown),
            Source::Fetched(fetched) => fetched,
        };
        let earliest = fetched.asked.map_or(now, |asked| asked + limits.between);
        let earliest = if fetched.failures > 0 { fetched.next.max(earliest) } else { earliest };
        let may_wait = !again && (fetched.under_way || earliest <= now);
        let is_known = |set: &KeySet| set.find(kid, algorithm).next().is_some();
        match &fetched.set {
            Some((set, at)) if now.since(*at) <= limits.kept && (is_known(set) || !may_wait) => {
                let otherwise = if again { Found::Unknown } else { Found::Later(earliest.since(now)) };
                some_or(set.find(kid, algorithm).collect(), otherwise)
            }
            _ if may_wait => {
                fetched.wanted = true;
                Found::Wait
            }
            _ => Found::Unavailable(format!("the keys at {} cannot be had: {}", fetched.url, fetched.trouble)),
        }
    }
}

fn some_or<'a>(keys: Vec<&'a DecodingKey>, otherwise: Found<'a>) -> Found<'a> {
    if keys.is_empty() { otherwise } else { Found::Keys(keys) }
}

/// Reads a document of this kind.
pub(crate) fn read(text: &str) -> Result<document::Issuer, String> {
    serde_json::from_str(text).map_err(|e| e.to_string())
}
