//! Tokens to join with. A token names the hub that made it and pins the mesh's
//! authority by a fingerprint, so that a machine that holds nothing else knows
//! whom it talks to before it says the secret; the secret is good once.
//!
//! The hub that made a token keeps the secret's hash alone. The secret has 192
//! random bits, so that nothing is gained by guessing and a plain SHA-256 is
//! enough.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use zeroize::Zeroizing;

use crate::identity::is_name;

/// What a token begins with: its format.
const FORMAT: &str = "weft1";
/// Bytes of a secret.
const SECRET: usize = 24;
/// The longest token read, in bytes.
const LONGEST: usize = 512;

/// SHA-256 of an authority's certificate (DER).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// That of a certificate.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Self {
        Self(sha256(certificate))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// The part of a token that is not to be known.
#[derive(Clone)]
pub struct TokenSecret(Zeroizing<[u8; SECRET]>);

impl TokenSecret {
    /// As it is sent.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &*self.0
    }

    /// What is kept of it.
    #[must_use]
    pub fn hash(&self) -> SecretHash {
        SecretHash(sha256(self.bytes()))
    }
}

/// What a hub keeps of a secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// Whether this is the hash of what was sent; takes as long whatever differs.
    #[must_use]
    pub fn is_of(&self, sent: &[u8]) -> bool {
        verify_slices_are_equal(&self.0, &sha256(sent)).is_ok()
    }
}

impl fmt::Display for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl FromStr for SecretHash {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        Ok(Self(of_hex("hash", text)?))
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash")
    }
}

/// A token to join with.
#[derive(Clone)]
pub struct Token {
    /// The hub that made it, which issues.
    pub hub: String,
    /// Its number there; never 0.
    pub id: u64,
    /// What is said only to that hub.
    pub secret: TokenSecret,
    /// The authority whose certificate that hub has.
    pub authority: Fingerprint,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("hub", &self.hub).field("id", &self.id).finish_non_exhaustive()
    }
}

impl Token {
    /// A new token of this hub.
    ///
    /// # Errors
    /// [`TokenError`]: the hub's name cannot stand in one, or there is no entropy.
    pub fn create(hub: &str, authority: Fingerprint) -> Result<Self, TokenError> {
        if !is_hub(hub) {
            return Err(TokenError::Malformed { part: "hub" });
        }
        let mut secret = Zeroizing::new([0; SECRET]);
        let mut id = [0; 8];
        for bytes in [&mut secret[..], &mut id] {
            aws_lc_rs::rand::fill(bytes).map_err(|_| TokenError::Entropy)?;
        }
        let id = u64::from_le_bytes(id).max(1);
        Ok(Self { hub: hub.to_owned(), id, secret: TokenSecret(secret), authority })
    }

    /// All of it as one word, the secret too: for who is to join.
    #[must_use]
    pub fn reveal(&self) -> Zeroizing<String> {
        let secret = Zeroizing::new(hex(self.secret.bytes()));
        Zeroizing::new(format!("{FORMAT}.{}.{:016x}.{}.{}", self.hub, self.id, *secret, self.authority))
    }

    /// Reads what [`Token::reveal`] gave; spaces and line ends around it do not count.
    ///
    /// # Errors
    /// [`TokenError`] names the part that is wrong, and shows nothing of it.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if text.len() > LONGEST {
            return Err(TokenError::Format);
        }
        let parts: Vec<&str> = text.split('.').collect();
        let &[format, hub, id, secret, authority] = parts.as_slice() else { return Err(TokenError::Format) };
        if format != FORMAT {
            return Err(TokenError::Format);
        }
        if !is_hub(hub) {
            return Err(TokenError::Malformed { part: "hub" });
        }
        let id = u64::from_be_bytes(of_hex("number", id)?);
        if id == 0 {
            return Err(TokenError::Malformed { part: "number" });
        }
        let secret = TokenSecret(Zeroizing::new(of_hex("secret", secret)?));
        Ok(Self { hub: hub.to_owned(), id, secret, authority: Fingerprint(of_hex("fingerprint", authority)?) })
    }
}

/// Why a token cannot be read, or made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is none.
    #[error(
        "this is no token: it is one word of five parts, `weft1.HUB.NUMBER.SECRET.FINGERPRINT`, as `weft token create` prints it"
    )]
    Format,
    /// A part of it is not what it should be.
    #[error("the token's {part} is malformed: take the whole word that `weft token create` printed")]
    Malformed {
        /// Which part.
        part: &'static str,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes, and without them there is no secret")]
    Entropy,
}

/// Dots part a token, so that its hub's name has none.
fn is_hub(name: &str) -> bool {
    is_name(name) && !name.contains('.')
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(digest(&SHA256, bytes).as_ref()) {
        *to = *from;
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        for half in [byte >> 4, byte & 15] {
            text.push(char::from_digit(half.into(), 16).unwrap_or('0'));
        }
        text
    })
}

fn of_hex<const N: usize>(part: &'static str, text: &str) -> Result<[u8; N], TokenError> {
    let malformed = TokenError::Malformed { part };
    let mut out = [0; N];
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
    let digits = Zeroizing::new(digits.filter(|digits| digits.len() == 2 * N).ok_or(malformed)?);
    for (to, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        *to = pair.iter().fold(0, |byte, digit| byte << 4 | digit);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        Token::create("new-york", Fingerprint::of(b"an authority")).unwrap()
    }

    #[test]
    fn a_token_is_one_word_and_reads_back() {
        let token = token();
        let word = token.reveal();
        let read = Token::parse(&format!("  {}\n", *word)).unwrap();
        assert_eq!((read.hub.as_str(), read.id, read.authority), ("new-york", token.id, token.authority));
        assert_eq!(read.secret.bytes(), token.secret.bytes());
        assert!(!word.contains(char::is_whitespace));
    }

    #[test]
    fn of_a_secret_the_hash_alone_is_kept_and_it_tells_right_from_wrong() {
        let token = token();
        let hash: SecretHash = token.secret.hash().to_string().parse().unwrap();
        assert!(hash.is_of(token.secret.bytes()));
        let mut wrong = token.secret.bytes().to_vec();
        wrong[7] ^= 1;
        assert!(!hash.is_of(&wrong) && !hash.is_of(&[]) && !hash.is_of(&wrong[..23]));
        assert!(!hash.to_string().contains(&hex(token.secret.bytes())));
    }

    #[test]
    fn no_two_tokens_are_alike_and_none_is_shown() {
        let (one, two) = (token(), token());
        assert!(one.id != two.id && one.secret.bytes() != two.secret.bytes());
        let shown = format!("{one:?} {:?}", one.secret.hash());
        assert!(
            !shown.contains(&hex(one.secret.bytes())) && !shown.contains(&one.secret.hash().to_string()),
            "{shown}"
        );
    }

    #[test]
    fn what_is_no_token_is_refused_by_its_part_and_not_repeated() {
        let word = token().reveal();
        let parts: Vec<&str> = word.split('.').collect();
        let with = |at: usize, text: &str| {
            let mut parts = parts.clone();
            parts[at] = text;
            parts.join(".")
        };
        let malformed = |part| Some(TokenError::Malformed { part });
        let long = "a".repeat(LONGEST + 1);
        for (text, error) in [
            (String::new(), Some(TokenError::Format)),
            (long, Some(TokenError::Format)),
            (with(0, "weft2"), Some(TokenError::Format)),
            (format!("{}.more", *word), Some(TokenError::Format)),
            (with(1, ""), malformed("hub")),
            (with(1, "new york"), malformed("hub")),
            (with(2, "0000000000000000"), malformed("number")),
            (with(2, "12"), malformed("number")),
            (with(3, "xyz"), malformed("secret")),
            (with(3, &"ü".repeat(24)), malformed("secret")),
            (with(4, "abcd"), malformed("fingerprint")),
        ] {
            assert_eq!(Token::parse(&text).err(), error, "{text}");
        }
        assert!(Token::create("a.b", Fingerprint::of(b"")).is_err());
    }
}
