//! Passwords: Argon2id (RFC 9106) in PHC form, of bounded cost.
//!
//! A hash names its own cost, and comes with a document: one that would take more
//! memory or time than a hub gives is refused where it is read, before it is
//! reckoned. A hash is no password, but is not shown either.

use std::fmt;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use weft_govern::login::{MAX_PASSWORD, Secret};

/// The most memory that a hash may ask for, in KiB.
const MOST_MEMORY: u32 = 64 << 10;
/// The most passes over it.
const MOST_PASSES: u32 = 10;
/// The most lanes; they are reckoned one after the other.
const MOST_LANES: u32 = 4;
/// The longest text of a hash.
const MAX_TEXT: usize = 256;
/// What new hashes cost: the first choice of OWASP's cheat sheet on password
/// storage, 19 MiB and two passes.
const MEMORY: u32 = 19 << 10;
const PASSES: u32 = 2;
/// What is checked for names that have no password: a salt and a sum that no
/// password is known for.
const DUMMY: &str = "$argon2id$v=19$m=19456,t=2,p=1$d2VmdC1ub2JvZHkhIQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A hash of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Hash(PasswordHash);

impl Hash {
    /// Reads one in PHC form.
    ///
    /// # Errors
    /// [`HashError`].
    pub fn parse(text: &str) -> Result<Self, HashError> {
        if text.len() > MAX_TEXT {
            return Err(HashError::Form);
        }
        let hash = PasswordHash::new(text).map_err(|_| HashError::Form)?;
        if hash.algorithm.as_str() != "argon2id" || hash.version != Some(Version::V0x13.into()) {
            return Err(HashError::Algorithm);
        }
        let params = Params::try_from(&hash).map_err(|_| HashError::Form)?;
        if params.m_cost() > MOST_MEMORY || params.t_cost() > MOST_PASSES || params.p_cost() > MOST_LANES {
            return Err(HashError::Cost { memory: params.m_cost(), passes: params.t_cost(), lanes: params.p_cost() });
        }
        let (Some(salt), Some(sum)) = (&hash.salt, &hash.hash) else { return Err(HashError::Form) };
        if salt.as_ref().len() < 8 || sum.as_bytes().len() < 16 {
            return Err(HashError::Form);
        }
        Ok(Self(hash))
    }

    /// A hash of a password, with a salt that is used for no other.
    ///
    /// # Errors
    /// [`HashError::Length`]; [`HashError::Form`] where the memory cannot be had.
    pub fn make(password: &[u8], salt: [u8; 16]) -> Result<String, HashError> {
        Self::make_at(password, salt, MEMORY, PASSES)
    }

    pub(crate) fn make_at(password: &[u8], salt: [u8; 16], memory: u32, passes: u32) -> Result<String, HashError> {
        if password.is_empty() || password.len() > MAX_PASSWORD {
            return Err(HashError::Length);
        }
        let params = Params::new(memory, passes, 1, None).map_err(|_| HashError::Form)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon2.hash_password_with_salt(password, &salt).map(|hash| hash.to_string()).map_err(|_| HashError::Form)
    }

    /// Whether it is this password's. Takes the time and the memory that the hash
    /// names; the comparison takes the same time whatever comes out.
    #[must_use]
    pub fn fits(&self, password: &[u8]) -> bool {
        password.len() <= MAX_PASSWORD && Argon2::default().verify_password(password, &self.0).is_ok()
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash")
    }
}

/// Why a text is no hash that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HashError {
    /// Not in PHC form, or a part of it is missing.
    #[error("it is no hash in PHC form (`$argon2id$v=19$m=..,t=..,p=..$SALT$SUM`): make one with `weft identity hash`")]
    Form,
    /// Another algorithm.
    #[error("it is no Argon2id of version 19: make one with `weft identity hash`")]
    Algorithm,
    /// It would cost a hub too much.
    #[error(
        "it asks for {memory} KiB, {passes} passes and {lanes} lanes; at most {MOST_MEMORY}, {MOST_PASSES} and \
         {MOST_LANES} are given: make one with `weft identity hash`"
    )]
    Cost {
        /// KiB.
        memory: u32,
        /// Passes.
        passes: u32,
        /// Lanes.
        lanes: u32,
    },
    /// A password that is empty or too long.
    #[error("a password has 1 to {MAX_PASSWORD} bytes")]
    Length,
}

/// A password that is to be checked: owns all that it needs, so that it can be
/// done on any thread. Takes tens of milliseconds and of MiB.
#[derive(Debug)]
pub struct Check {
    password: Secret,
    /// The hashes, with their text; none where there is nobody.
    hashes: Vec<(Hash, String)>,
}

impl Check {
    pub(crate) fn new(password: Secret, hashes: Vec<(Hash, String)>) -> Self {
        Self { password, hashes }
    }

    /// Which hash the password fits to. Who has none costs as much as who has one.
    #[must_use]
    pub fn run(&self) -> Option<String> {
        let password = self.password.bytes();
        if self.hashes.is_empty() {
            let dummy = Hash::parse(DUMMY).ok()?;
            // Nobody knows a password for it; and if somebody did, it is nobody's.
            let _ = std::hint::black_box(dummy.fits(password));
            return None;
        }
        self.hashes.iter().find(|(hash, _)| hash.fits(password)).map(|(_, text)| text.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_fits_to_its_hash_alone() {
        let text = Hash::make_at(b"open sesame", [7; 16], 64, 1).unwrap();
        assert!(text.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{text}");
        let hash = Hash::parse(&text).unwrap();
        assert!(hash.fits(b"open sesame"));
        for wrong in [&b""[..], b"open sesam", b"open sesame ", b"Open sesame", &[0; 2000]] {
            assert!(!hash.fits(wrong));
        }
        assert!(!format!("{hash:?}").contains("64"), "nothing of it is shown");
    }

    #[test]
    fn the_vector_of_the_reference_implementation_fits() {
        // phc-winner-argon2, test.c: Argon2id, version 19, m=65536, t=2, p=1.
        let text = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let hash = Hash::parse(text).unwrap();
        assert!(hash.fits(b"password"));
        assert!(!hash.fits(b"differentpassword"));
    }

    #[test]
    fn a_hash_that_costs_too_much_is_refused_before_it_is_reckoned() {
        let of = |params: &str| {
            Hash::parse(&format!("$argon2id$v=19${params}$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"))
        };
        assert!(of("m=65536,t=10,p=4").is_ok());
        for dear in
            ["m=65537,t=1,p=1", "m=4294967295,t=1,p=1", "m=64,t=11,p=1", "m=64,t=4294967295,p=1", "m=64,t=1,p=5"]
        {
            assert!(matches!(of(dear), Err(HashError::Cost { .. })), "{dear}: {:?}", of(dear));
        }
        for wrong in ["m=99999999999,t=1,p=1", "m=1,t=1,p=1", "m=64,t=0,p=1", "m=64,t=1,p=0"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn other_hashes_are_refused() {
        for wrong in [
            "",
            "password",
            "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW",
            "$argon2i$v=19$m=64,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "$argon2id$v=16$m=64,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "$argon2id$m=64,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ",
            "$argon2id$v=19$m=64,t=1,p=1",
            &format!("$argon2id$v=19$m=64,t=1,p=1${}$AAAA", "A".repeat(500)),
        ] {
            assert!(Hash::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn who_has_no_password_is_checked_all_the_same() {
        assert!(Hash::parse(DUMMY).is_ok());
        assert_eq!(Check::new(Secret::new(b"x".to_vec()), Vec::new()).run(), None);
        let text = Hash::make_at(b"right", [1; 16], 64, 1).unwrap();
        let check = |password: &[u8]| {
            Check::new(Secret::new(password.to_vec()), vec![(Hash::parse(&text).unwrap(), text.clone())]).run()
        };
        assert_eq!(check(b"right"), Some(text.clone()));
        assert_eq!(check(b"wrong"), None);
    }
}
