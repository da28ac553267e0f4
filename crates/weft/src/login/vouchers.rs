//! Vouchers: what another part of the program shows to the hub for somebody whom it
//! has let in already, so that the hub's session is that one's own.
//!
//! A voucher is random bytes that count once, for [`LIFE`], and over shared memory
//! alone, which only the hub's own user can open. What is kept of one is its hash:
//! neither the memory nor the time that a look takes tells anything of it. Must never
//! be shown in a log. At most [`MOST`] are kept; one more is refused.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use weft_base::{Clock, Mono};
use weft_govern::login::Login;
use zeroize::Zeroizing;

/// How long a voucher counts.
pub(crate) const LIFE: Duration = Duration::from_secs(5);
/// Vouchers that nobody has shown yet.
pub(crate) const MOST: usize = 1_024;
/// What a voucher begins with; a token (JWT) never does.
const PREFIX: &[u8] = b"weft-voucher:";
/// Random bytes of a voucher.
const SECRET: usize = 32;

type Hash = [u8; 32];

/// Why there is no voucher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MintError {
    /// As many are out as may be.
    #[error("{MOST} sessions are about to begin, the limit: try again in a moment")]
    Full,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: see its log")]
    Random,
}

/// The vouchers of a hub.
pub(crate) struct Vouchers {
    clock: Arc<dyn Clock>,
    out: Mutex<BTreeMap<Hash, (Login, Mono)>>,
}

impl Vouchers {
    /// None yet. Their time is that of this clock.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, out: Mutex::default() }
    }

    /// A voucher for somebody who was let in, to be shown as a token.
    ///
    /// # Errors
    /// [`MintError`].
    pub(crate) fn mint(&self, login: &Login) -> Result<Zeroizing<Vec<u8>>, MintError> {
        let mut voucher = Zeroizing::new(vec![0; PREFIX.len() + SECRET]);
        let (prefix, secret) = voucher.split_at_mut(PREFIX.len());
        prefix.copy_from_slice(PREFIX);
        aws_lc_rs::rand::fill(secret).map_err(|_| MintError::Random)?;
        // Clients cut spaces off tokens, so there is none.
        secret.iter_mut().for_each(|byte| *byte = byte.wrapping_add(u8::from(byte.is_ascii_whitespace()) * 128));
        let now = self.clock.now().mono;
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        out.retain(|_, (_, until)| *until > now);
        if out.len() >= MOST {
            return Err(MintError::Full);
        }
        out.insert(hash(&voucher), (login.clone(), now + LIFE));
        Ok(voucher)
    }

    /// Whose voucher this is, which does not count again; none where it is none, or
    /// counts no more.
    pub(crate) fn redeem(&self, shown: &[u8]) -> Option<Login> {
        let now = self.clock.now().mono;
        let found = self.out.lock().unwrap_or_else(PoisonError::into_inner).remove(&hash(shown));
        found.filter(|(_, until)| *until > now).map(|(login, _)| login)
    }
}

/// Whether something that is shown as a token says that it is a voucher.
pub(crate) fn is_voucher(shown: &[u8]) -> bool {
    shown.starts_with(PREFIX)
}

fn hash(of: &[u8]) -> Hash {
    let mut hash = [0; 32];
    // SHA-256 has as many bytes.
    hash.iter_mut().zip(digest(&SHA256, of).as_ref()).for_each(|(to, from)| *to = *from);
    hash
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use weft_base::{Now, UnixNanos};
    use weft_govern::access::{Method, Principal};
    use weft_govern::login::Proof;

    use super::*;

    #[derive(Default)]
    struct Hand(AtomicU64);

    impl Clock for Hand {
        fn now(&self) -> Now {
            let nanos = self.0.load(Ordering::Relaxed);
            Now { mono: Mono(nanos), wall: UnixNanos(nanos) }
        }
    }

    fn login(name: &str) -> Login {
        let principal = Principal { tenant: None, name: name.into(), roles: Arc::new([]), method: Method::Password };
        Login { principal: Arc::new(principal), expires: None, proof: Proof::Password("hash".into()) }
    }

    #[test]
    fn a_voucher_counts_once_and_for_who_it_was_made() {
        let vouchers = Vouchers::new(Arc::new(Hand::default()));
        let (anna, bob) = (vouchers.mint(&login("anna")).unwrap(), vouchers.mint(&login("bob")).unwrap());
        assert!(is_voucher(&anna) && anna.trim_ascii() == &**anna);
        assert_eq!(vouchers.redeem(&bob), Some(login("bob")));
        assert_eq!(vouchers.redeem(&bob), None, "it counts once");
        let mut other = anna.clone();
        other.last_mut().into_iter().for_each(|byte| *byte ^= 1);
        assert_eq!(vouchers.redeem(&other), None, "another");
        assert_eq!(vouchers.redeem(b"weft-voucher:"), None);
        assert_eq!(vouchers.redeem(&anna), Some(login("anna")), "a guess costs it nothing");
        assert!(!is_voucher(b"eyJhbGciOi") && !is_voucher(b""));
    }

    #[test]
    fn a_voucher_that_nobody_shows_is_over_soon_and_gives_its_place_back() {
        let hand = Arc::new(Hand::default());
        let vouchers = Vouchers::new(hand.clone());
        let first = vouchers.mint(&login("anna")).unwrap();
        for _ in 1..MOST {
            assert!(vouchers.mint(&login("anna")).is_ok());
        }
        assert_eq!(vouchers.mint(&login("anna")), Err(MintError::Full));
        hand.0.store(5_000_000_000, Ordering::Relaxed);
        assert_eq!(vouchers.redeem(&first), None);
        assert!(vouchers.mint(&login("anna")).is_ok());
        assert_eq!(vouchers.out.lock().unwrap().len(), 1);
    }
}
