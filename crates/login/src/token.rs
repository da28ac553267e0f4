//! Tokens: JWT (RFC 7519) with one signature (JWS compact form, RFC 7515), read as
//! RFC 8725 (best practices) asks.
//!
//! A token is bounded in length and depth before it is read. Its header says
//! which key and signature it has, and nothing else is taken from there: no key,
//! no address of one. `none` and shared secrets are refused whatever a document
//! says. The time is passed in.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use weft_govern::login::MAX_BEARER;

use crate::json::Object;
use crate::keys::{self, MAX_KID};

/// Values in a header.
const MAX_HEADER: usize = 32;
/// Values in the claims.
const MAX_CLAIMS: usize = 1_000;
/// The longest subject, number, or value of a claim that is looked at.
pub(crate) const MAX_VALUE: usize = 256;

/// Why a token is not taken. Says nothing of what stands in it but names of claims.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Longer than any that is taken.
    #[error("the token has {0} bytes, at most {MAX_BEARER} are taken")]
    TooLong(usize),
    /// Not three parts of base64url with dots between them.
    #[error("it is no signed token: a JWT has three parts of base64url with dots between them")]
    Form,
    /// The header is not what it has to be.
    #[error("its header is not taken: {0}")]
    Header(String),
    /// The claims are not what they have to be.
    #[error("its claims are not taken: {0}")]
    Claims(String),
    /// A signature that is not taken.
    #[error(
        "its signature is `{0}`, which is not taken: asymmetric ones alone, of those that the issuer's document lists"
    )]
    Algorithm(String),
    /// No key fits the signature.
    #[error("its signature does not fit")]
    Signature,
}

/// A token that was read, and of which nothing is proved.
#[derive(Debug)]
pub struct Unverified<'a> {
    signed: &'a str,
    signature: &'a str,
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: Option<String>,
    claims: Object,
}

impl<'a> Unverified<'a> {
    /// Reads a token.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn read(bytes: &'a [u8]) -> Result<Self, TokenError> {
        if bytes.len() > MAX_BEARER {
            return Err(TokenError::TooLong(bytes.len()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| TokenError::Form)?;
        let (signed, signature) = text.rsplit_once('.').ok_or(TokenError::Form)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Form)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Form);
        let (header, claims) = (decode(header)?, decode(claims)?);
        decode(signature)?;
        let header = Object::read(&header, MAX_HEADER).map_err(TokenError::Header)?;
        let algorithm = header.text("alg").map_err(TokenError::Header)?;
        let algorithm = algorithm.ok_or_else(|| TokenError::Header("`alg` is missing".to_owned()))?;
        let Some(algorithm) = keys::algorithm(algorithm) else {
            let shown = algorithm.chars().filter(char::is_ascii_alphanumeric).take(16).collect();
            return Err(TokenError::Algorithm(shown));
        };
        // RFC 7515, section 4.1.11: what is critical and not understood is refused.
        for refused in ["crit", "enc", "zip"] {
            if header.0.contains_key(refused) {
                return Err(TokenError::Header(format!("`{refused}` is not understood")));
            }
        }
        let kind = header.text("typ").map_err(TokenError::Header)?.map(str::to_ascii_lowercase);
        if !matches!(kind.as_deref(), None | Some("jwt" | "at+jwt" | "application/at+jwt")) {
            return Err(TokenError::Header("`typ` is neither `JWT` nor `at+jwt`".to_owned()));
        }
        let kid = header.text("kid").map_err(TokenError::Header)?;
        if kid.is_some_and(|kid| kid.is_empty() || kid.len() > MAX_KID) {
            return Err(TokenError::Header(format!("`kid` has 1 to {MAX_KID} bytes")));
        }
        let claims = Object::read(&claims, MAX_CLAIMS).map_err(TokenError::Claims)?;
        Ok(Self { signed, signature, algorithm, kid: kid.map(str::to_owned), claims })
    }

    /// Who it says has signed it.
    pub(crate) fn issuer(&self) -> Result<&str, TokenError> {
        self.required("iss")
    }

    /// Whether it says that it is for this audience.
    pub(crate) fn is_for(&self, audience: &str) -> Result<bool, TokenError> {
        if !self.claims.0.contains_key("aud") {
            return Err(TokenError::Claims("`aud` is missing".to_owned()));
        }
        Ok(self.claims.texts("aud").map_err(TokenError::Claims)?.contains(&audience))
    }

    /// The claims, if one of the keys has signed it.
    pub(crate) fn verify<'k>(&self, keys: impl Iterator<Item = &'k DecodingKey>) -> Result<Claims<'_>, TokenError> {
        let fits = |key: &DecodingKey| {
            let verified = jsonwebtoken::crypto::verify(self.signature, self.signed.as_bytes(), key, self.algorithm);
            matches!(verified, Ok(true))
        };
        let mut keys = keys;
        if !keys.any(fits) {
            return Err(TokenError::Signature);
        }
        let claims = &self.claims;
        let (expires, begins) = (claims.seconds("exp"), claims.seconds("nbf"));
        let expires = expires.map_err(TokenError::Claims)?;
        let expires = expires.ok_or_else(|| TokenError::Claims("`exp` is missing".to_owned()))?;
        Ok(Claims {
            subject: self.required("sub")?,
            expires,
            begins: begins.map_err(TokenError::Claims)?,
            issued: claims.seconds("iat").map_err(TokenError::Claims)?,
            number: self.optional("jti")?,
            all: claims,
        })
    }

    fn optional(&self, claim: &'static str) -> Result<Option<&str>, TokenError> {
        let text = self.claims.text(claim).map_err(TokenError::Claims)?;
        if text.is_some_and(|text| text.is_empty() || text.len() > MAX_VALUE || text.chars().any(char::is_control)) {
            return Err(TokenError::Claims(format!("`{claim}` has 1 to {MAX_VALUE} bytes, none of control")));
        }
        Ok(text)
    }

    fn required(&self, claim: &'static str) -> Result<&str, TokenError> {
        self.optional(claim)?.ok_or_else(|| TokenError::Claims(format!("`{claim}` is missing")))
    }
}

/// What a token says whose signature fits.
#[derive(Debug)]
pub(crate) struct Claims<'a> {
    pub(crate) subject: &'a str,
    pub(crate) expires: u64,
    pub(crate) begins: Option<u64>,
    pub(crate) issued: Option<u64>,
    pub(crate) number: Option<&'a str>,
    pub(crate) all: &'a Object,
}
