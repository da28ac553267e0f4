//! What a client shows to log in, and where it has it from.
//!
//! Files are read again whenever a connection is made, and every [`LOOK`] while
//! there is one, so that what somebody else renews there is used without a restart.
//! Secrets are wiped when they are let go, and shown nowhere.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use weft_wire::frame::MAX_TOKEN;
use weft_wire::shown::Shown;
use zeroize::Zeroizing;

/// How often a file is looked at while there is a connection.
pub(crate) const LOOK: Duration = Duration::from_secs(10);

/// What is shown to a hub besides the connection's certificate.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Login {
    /// Nothing.
    #[default]
    Certificate,
    /// A signed token (JWT).
    Token(Arc<Zeroizing<Vec<u8>>>),
    /// The token in a file.
    TokenFile(PathBuf),
    /// A name and a password.
    Password {
        /// The identity's name.
        name: String,
        /// The password.
        password: Arc<Zeroizing<Vec<u8>>>,
    },
    /// A name and the password in a file.
    PasswordFile {
        /// The identity's name.
        name: String,
        /// The file.
        path: PathBuf,
    },
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate => f.write_str("Certificate"),
            Self::Token(_) => f.write_str("Token"),
            Self::TokenFile(path) => write!(f, "TokenFile({})", path.display()),
            Self::Password { name, .. } => write!(f, "Password({name})"),
            Self::PasswordFile { name, path } => write!(f, "PasswordFile({name}, {})", path.display()),
        }
    }
}

impl Login {
    /// Whether it may be another one later.
    pub(crate) fn is_of_file(&self) -> bool {
        matches!(self, Self::TokenFile(_) | Self::PasswordFile { .. })
    }

    /// What goes into the first frame.
    ///
    /// # Errors
    /// [`LoginError`].
    pub(crate) fn shown(&self) -> Result<Zeroizing<Vec<u8>>, LoginError> {
        let mut out = Zeroizing::new(Vec::new());
        let file;
        let shown = match self {
            Self::Certificate => Shown::Nothing,
            Self::Token(token) => Shown::Bearer(token.trim_ascii()),
            Self::TokenFile(path) => {
                file = read(path)?;
                Shown::Bearer(file.trim_ascii())
            }
            Self::Password { name, password } => Shown::Password { name, password },
            Self::PasswordFile { name, path } => {
                file = read(path)?;
                Shown::Password { name, password: line_of(&file) }
            }
        };
        shown.encode(&mut out).map_err(|_| LoginError::Name)?;
        if out.len() > MAX_TOKEN {
            return Err(LoginError::TooLong { bytes: out.len() });
        }
        Ok(out)
    }
}

/// A password as an editor writes it: with the end of a line behind it.
fn line_of(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

/// Reads a file, and of one that is too long no more than shows that.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, LoginError> {
    let failed = |e: &std::io::Error| LoginError::File { path: path.display().to_string(), detail: e.to_string() };
    let most = MAX_TOKEN as u64 + 2;
    // Its memory is not moved: what was there before would not be wiped.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_TOKEN + 3));
    std::fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes)).map_err(|e| failed(&e))?;
    Ok(bytes)
}

/// Why there is nothing to show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// The file cannot be read.
    #[error("cannot read `{path}`: {detail}")]
    File {
        /// The file.
        path: String,
        /// The system's words.
        detail: String,
    },
    /// A name that is too long.
    #[error("a name to log in with has at most 255 bytes")]
    Name,
    /// More than a hub takes.
    #[error("{bytes} bytes to log in with: the most is {MAX_TOKEN}")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_anew_each_time_without_the_end_of_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let login = Login::TokenFile(path.clone());
        assert!(matches!(login.shown(), Err(LoginError::File { .. })));
        std::fs::write(&path, "a.b.c\n").unwrap();
        assert_eq!(Shown::decode(&login.shown().unwrap()), Ok(Shown::Bearer(b"a.b.c")));
        std::fs::write(&path, "d.e.f").unwrap();
        assert_eq!(Shown::decode(&login.shown().unwrap()), Ok(Shown::Bearer(b"d.e.f")));
        std::fs::write(&path, " two words \r\n").unwrap();
        let login = Login::PasswordFile { name: "al".to_owned(), path: path.clone() };
        let shown = login.shown().unwrap();
        assert_eq!(Shown::decode(&shown), Ok(Shown::Password { name: "al", password: b" two words " }));
        std::fs::write(&path, vec![b'x'; 1 << 20]).unwrap();
        assert!(matches!(Login::TokenFile(path).shown(), Err(LoginError::TooLong { .. })));
    }

    #[test]
    fn nothing_secret_is_shown() {
        let secret = || Arc::new(Zeroizing::new(b"sesame".to_vec()));
        for login in [Login::Token(secret()), Login::Password { name: "al".to_owned(), password: secret() }] {
            assert!(!format!("{login:?}").contains("sesame"));
        }
    }
}
