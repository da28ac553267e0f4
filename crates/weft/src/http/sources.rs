//! What one source may have of the server: connections that are open, and answers
//! that it has not shown who it is. A source is an address, of IPv6 a /64, so that
//! one host that asks for everything, or guesses, leaves the others their places.
//!
//! Beyond its connections one more is closed as it comes; beyond its failures its
//! requests are answered 429 until some of them are a minute old, but on
//! connections that have been let in. Bounded: of sources with connections there are
//! as many as connections, and [`TOLD_APART`] that have failed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use weft_base::Mono;
use weft_login::Attempts;
use weft_login::attempts::network_of;

use super::HttpOptions;

/// Sources that are told apart by how often they have failed.
const TOLD_APART: usize = 4_096;

/// All sources.
pub(super) struct Sources {
    most: usize,
    now: Mutex<Now>,
}

struct Now {
    open: BTreeMap<IpAddr, usize>,
    failed: Attempts<IpAddr>,
}

/// The place of a connection, until it is dropped.
pub(super) struct Place {
    sources: Arc<Sources>,
    of: IpAddr,
}

impl Sources {
    pub(super) fn new(options: &HttpOptions) -> Self {
        let failed = Attempts::new(options.failures_per_source, TOLD_APART);
        Self { most: options.connections_per_source, now: Mutex::new(Now { open: BTreeMap::new(), failed }) }
    }

    /// Each change is whole.
    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection comes; none if its source has as many as it may.
    pub(super) fn enter(self: &Arc<Self>, from: IpAddr) -> Option<Place> {
        let of = network_of(from);
        let mut now = self.now();
        let open = now.open.entry(of).or_default();
        if *open >= self.most {
            return None;
        }
        *open += 1;
        Some(Place { sources: self.clone(), of })
    }

    /// Whether a request may come whose connection was not let in before.
    ///
    /// # Errors
    /// After how long it may.
    pub(super) fn may_try(&self, from: IpAddr, now: Mono) -> Result<(), Duration> {
        self.now().failed.may(&network_of(from), now)
    }

    /// A request was answered that it has not shown who it is.
    pub(super) fn failed(&self, from: IpAddr, now: Mono) {
        self.now().failed.count(&network_of(from), now);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut now = self.sources.now();
        if let Some(open) = now.open.get_mut(&self.of) {
            *open -= 1;
            if *open == 0 {
                now.open.remove(&self.of);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_its_places_and_its_failures_and_others_have_theirs() {
        let mut options = HttpOptions::new("127.0.0.1:0".to_owned(), true);
        (options.connections_per_source, options.failures_per_source) = (2, 3);
        let sources = Arc::new(Sources::new(&options));
        let of = |text: &str| text.parse::<IpAddr>().expect("an address");
        let (first, near, far) = (of("2001:db8::1"), of("2001:db8::ffff"), of("2001:db8:0:1::1"));
        let one = sources.enter(first).expect("a place");
        let _two = sources.enter(near).expect("another");
        assert!(sources.enter(first).is_none() && sources.enter(near).is_none(), "a host has all of its network");
        let other = sources.enter(far).expect("others have their own");
        drop(one);
        assert!(sources.enter(near).is_some(), "it is given back");
        drop(other);
        assert_eq!(sources.now().open.len(), 1, "who has none is forgotten");

        let at = |seconds: u64| Mono(seconds * 1_000_000_000);
        for _ in 0..3 {
            assert_eq!(sources.may_try(first, at(1)), Ok(()));
            sources.failed(near, at(1));
        }
        assert_eq!(sources.may_try(first, at(1)), Err(Duration::from_secs(20)));
        assert_eq!(sources.may_try(far, at(1)), Ok(()));
        assert_eq!(sources.may_try(first, at(21)), Ok(()));
    }
}
