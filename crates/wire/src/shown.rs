//! What a client shows of itself in the `token` of a [`Hello`](crate::frame::Hello):
//! nothing, a signed token, or a name and a password. The first byte says which.

use std::fmt;

/// What is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shown<'a> {
    /// Nothing but the connection's certificate, where it has one.
    Nothing,
    /// A signed token (JWT), as it is.
    Bearer(&'a [u8]),
    /// A name, at most 255 bytes, and a password.
    Password {
        /// Whose.
        name: &'a str,
        /// The password.
        password: &'a [u8],
    },
}

/// The first byte of a token.
const BEARER: u8 = 1;
/// The first byte of a name and a password; the second is the name's length.
const PASSWORD: u8 = 2;

/// What is shown in no known form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShownError {
    /// A first byte that is not known.
    #[error("the first byte {0} of what is shown to log in is neither 1 (a token) nor 2 (a password)")]
    Scheme(u8),
    /// A name that is longer than what follows, or no text.
    #[error("the name that is shown with a password is cut off, or no text")]
    Name,
    /// A name that is too long to be written.
    #[error("a name to log in with has at most 255 bytes")]
    NameLength,
}

impl<'a> Shown<'a> {
    /// Reads it.
    ///
    /// # Errors
    /// [`ShownError`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, ShownError> {
        match bytes {
            [] => Ok(Self::Nothing),
            [BEARER, token @ ..] => Ok(Self::Bearer(token)),
            [PASSWORD, len, rest @ ..] => {
                let (name, password) = rest.split_at_checked(usize::from(*len)).ok_or(ShownError::Name)?;
                let name = std::str::from_utf8(name).map_err(|_| ShownError::Name)?;
                Ok(Self::Password { name, password })
            }
            [PASSWORD] => Err(ShownError::Name),
            [scheme, ..] => Err(ShownError::Scheme(*scheme)),
        }
    }

    /// Writes it at the end of `out`, whose memory is the caller's to wipe.
    ///
    /// # Errors
    /// [`ShownError::NameLength`]; nothing is written then.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), ShownError> {
        match self {
            Self::Nothing => {}
            Self::Bearer(token) => {
                out.reserve_exact(token.len() + 1);
                out.push(BEARER);
                out.extend_from_slice(token);
            }
            Self::Password { name, password } => {
                let len = u8::try_from(name.len()).map_err(|_| ShownError::NameLength)?;
                out.reserve_exact(name.len() + password.len() + 2);
                out.extend_from_slice(&[PASSWORD, len]);
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(password);
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Shown<'_> {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("Nothing"),
            Self::Bearer(token) => write!(f, "Bearer({} bytes)", token.len()),
            Self::Password { name, password } => write!(f, "Password({name:?}, {} bytes)", password.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_shown_is_read_as_it_was_written() {
        let long = "n".repeat(255);
        for shown in [
            Shown::Nothing,
            Shown::Bearer(b"a.b.c"),
            Shown::Bearer(b""),
            Shown::Password { name: "", password: b"" },
            Shown::Password { name: "alice", password: &[0xff, 0, 1] },
            Shown::Password { name: &long, password: b"x" },
        ] {
            let mut bytes = Vec::new();
            shown.encode(&mut bytes).unwrap();
            assert_eq!(Shown::decode(&bytes), Ok(shown));
        }
        let mut bytes = Vec::new();
        let name = "n".repeat(256);
        assert_eq!(Shown::Password { name: &name, password: b"" }.encode(&mut bytes), Err(ShownError::NameLength));
        assert!(bytes.is_empty());
    }

    #[test]
    fn what_is_cut_off_or_of_another_form_is_refused() {
        assert_eq!(Shown::decode(&[3, 1]), Err(ShownError::Scheme(3)));
        assert_eq!(Shown::decode(b"eyJhbGciOi"), Err(ShownError::Scheme(b'e')));
        for wrong in [&[2][..], &[2, 1], &[2, 5, b'a'], &[2, 1, 0xff]] {
            assert_eq!(Shown::decode(wrong), Err(ShownError::Name));
        }
        assert!(!format!("{:?}", Shown::Bearer(b"secret")).contains("secret"));
        assert!(!format!("{:?}", Shown::Password { name: "a", password: b"secret" }).contains("secret"));
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_written_back_alike(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(shown) = Shown::decode(&bytes) {
                let mut again = Vec::new();
                shown.encode(&mut again).unwrap();
                prop_assert_eq!(bytes, again);
            }
        }
    }
}
