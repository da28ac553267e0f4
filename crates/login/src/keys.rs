//! Sets of public keys (JWK sets, RFC 7517) that tokens are signed with.
//!
//! Of a set at most [`MAX_KEYS`] are looked at. A key is for the signatures of its
//! kind alone, so that no token chooses what its key is used for. Where a private
//! or symmetric key stands in a document it is refused: it is no secret any more.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};

use crate::json::Object;

/// The most keys of a set.
pub const MAX_KEYS: usize = 100;
/// The longest text of a set, in bytes.
pub const MAX_SET: usize = 256 << 10;
/// Values in the text of a set; a key has about ten, and chains of certificates.
const MAX_VALUES: usize = 10_000;
/// The longest name of a key.
pub(crate) const MAX_KID: usize = 256;
/// RSA keys, in bytes of their modulus: 2048 to 8192 bits (NIST SP 800-131A asks for the first).
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// The signatures that are known, as RFC 7518 and RFC 8037 name them: asymmetric ones alone.
pub(crate) const ALGORITHMS: [(&str, Algorithm); 9] = [
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

/// The signature of this name, if it is one of those.
pub(crate) fn algorithm(name: &str) -> Option<Algorithm> {
    ALGORITHMS.iter().find(|(known, _)| *known == name).map(|(_, algorithm)| *algorithm)
}

/// A key and what it may be used for.
#[derive(Clone)]
struct Key {
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

/// Public keys by name.
#[derive(Clone, Default)]
pub struct KeySet {
    keys: Vec<Key>,
    /// How many were left out: encryption, unknown kinds, private keys.
    left_out: usize,
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.keys.iter().map(|key| key.kid.as_deref().unwrap_or("-")).collect();
        f.debug_struct("KeySet").field("keys", &names).field("left_out", &self.left_out).finish()
    }
}

/// Why something is no set of keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not JSON, or not of that shape.
    #[error("it is no JWK set: {0}; it looks like {{\"keys\": [..]}} (RFC 7517)")]
    Shape(String),
    /// Too long, or too many.
    #[error("the set is too large: {0}")]
    TooLarge(String),
    /// A key that nobody but its owner should have.
    #[error("key {0} is private or symmetric, and no secret any more: make a new one, and give its public half alone")]
    Private(usize),
    /// Nothing in it can be used.
    #[error(
        "none of its {0} keys can be used: RSA of 2048 bits or more, EC of P-256 or P-384, or Ed25519, for signatures"
    )]
    Nothing(usize),
}

impl KeySet {
    /// Reads a set as it was fetched. What cannot be used is left out.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn read(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.len() > MAX_SET {
            return Err(KeyError::TooLarge(format!("{} bytes, at most {MAX_SET}", bytes.len())));
        }
        let object = Object::read(bytes, MAX_VALUES).map_err(KeyError::Shape)?;
        Self::of(object.0.get("keys"), false)
    }

    /// Takes a set out of a document, where private keys are refused.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn of_document(set: &Value) -> Result<Self, KeyError> {
        Self::of(set.get("keys"), true)
    }

    fn of(list: Option<&Value>, refuse_private: bool) -> Result<Self, KeyError> {
        let Some(Value::Array(list)) = list else { return Err(KeyError::Shape("`keys` is no list".to_owned())) };
        if list.len() > MAX_KEYS {
            return Err(KeyError::TooLarge(format!("{} keys, at most {MAX_KEYS}", list.len())));
        }
        let mut set = Self::default();
        for (index, value) in list.iter().enumerate() {
            let Value::Object(jwk) = value else { return Err(KeyError::Shape(format!("key {index} is no object"))) };
            let is_private = ["d", "p", "q", "dp", "dq", "qi", "k", "priv"].iter().any(|part| jwk.contains_key(*part));
            if is_private && refuse_private {
                return Err(KeyError::Private(index));
            }
            match key_of(jwk).filter(|_| !is_private) {
                Some(key) => set.keys.push(key),
                None => set.left_out += 1,
            }
        }
        if set.keys.is_empty() {
            return Err(KeyError::Nothing(list.len()));
        }
        Ok(set)
    }

    /// How many keys can be used.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether none can.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys that a token of this key name and signature may be signed with. One
    /// that names none may be signed with any of its kind, as long as those are few.
    pub(crate) fn find<'a>(
        &'a self,
        kid: Option<&'a str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &'a DecodingKey> {
        let fits = move |key: &&Key| {
            key.algorithms.contains(&algorithm) && kid.is_none_or(|kid| key.kid.as_deref() == Some(kid))
        };
        self.keys.iter().filter(fits).map(|key| &key.key).take(4)
    }
}

/// The key of a JWK that is for signatures; `None` where it is none, or is unsound.
fn key_of(jwk: &Map<String, Value>) -> Option<Key> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    // What is present and no text is unsound.
    let optional = |name: &str| match jwk.get(name) {
        None => Some(None),
        Some(value) => value.as_str().map(Some),
    };
    if optional("use")?.is_some_and(|usage| usage != "sig") {
        return None;
    }
    if let Some(operations) = jwk.get("key_ops")
        && !operations.as_array()?.iter().any(|operation| operation == "verify")
    {
        return None;
    }
    let kid = optional("kid")?;
    if kid.is_some_and(|kid| kid.len() > MAX_KID) {
        return None;
    }
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
    let (key, mut algorithms) = match text("kty")? {
        "RSA" => {
            let (modulus, exponent) = (bytes("n")?, bytes("e")?);
            let significant = modulus.iter().skip_while(|byte| **byte == 0).count();
            if !RSA_BYTES.contains(&significant) || !(1..=8).contains(&exponent.len()) {
                return None;
            }
            let all = ALGORITHMS.iter().filter(|(name, _)| name.starts_with("RS") || name.starts_with("PS"));
            (DecodingKey::from_rsa_raw_components(&modulus, &exponent), all.map(|(_, a)| *a).collect())
        }
        "EC" => {
            let (algorithm, len) = match text("crv")? {
                "P-256" => (Algorithm::ES256, 32),
                "P-384" => (Algorithm::ES384, 48),
                _ => return None,
            };
            if bytes("x")?.len() != len || bytes("y")?.len() != len {
                return None;
            }
            (DecodingKey::from_ec_components(text("x")?, text("y")?).ok()?, vec![algorithm])
        }
        "OKP" if text("crv")? == "Ed25519" && bytes("x")?.len() == 32 => {
            (DecodingKey::from_ed_components(text("x")?).ok()?, vec![Algorithm::EdDSA])
        }
        _ => return None,
    };
    if let Some(name) = optional("alg")? {
        let only = algorithm(name)?;
        algorithms.retain(|algorithm| *algorithm == only);
    }
    (!algorithms.is_empty()).then(|| Key { kid: kid.map(str::to_owned), algorithms, key })
}
