//! The tokens that a hub has made, as files of a folder: `NUMBER.token` can be
//! used, `NUMBER.used` was, `NUMBER.revoked` cannot be any more. Of a secret its
//! hash is kept.
//!
//! A token is used, or revoked, by giving its file the other name, which the
//! file system lets happen once whoever else tries the same, in this process or
//! another; a hub that is killed in between has used it up.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use weft_base::UnixNanos;
use weft_transport::joining::{SecretHash, Token};
use weft_wire::ErrorCode;

use super::Refusal;

/// The most tokens of a hub, of all kinds: beyond it none is made.
pub(crate) const MAX_TOKENS: usize = 4096;
/// The largest file of a token read: a certificate with 64 hosts fits.
const MAX_FILE: u64 = 64 << 10;
const SECOND: u64 = 1_000_000_000;

/// How a token stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Open,
    Used,
    Revoked,
}

impl State {
    const ALL: [Self; 3] = [Self::Open, Self::Used, Self::Revoked];

    /// As the file's name ends.
    const fn ending(self) -> &'static str {
        match self {
            Self::Open => "token",
            Self::Used => "used",
            Self::Revoked => "revoked",
        }
    }
}

/// What is known of a token.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: u64,
    pub(crate) state: State,
    hash: SecretHash,
    /// The only name that it is good for, if there is one.
    pub(crate) name: Option<String>,
    /// The only hosts that it is good for; any when there are none.
    pub(crate) hosts: Vec<String>,
    pub(crate) created: UnixNanos,
    pub(crate) expires: UnixNanos,
    /// The hub that joined by it.
    pub(crate) used_by: Option<String>,
    /// Its certificate, PEM: what `weft ca revoke` takes.
    certificate: Option<String>,
}

/// The folder.
#[derive(Clone, Debug)]
pub(crate) struct Tokens(PathBuf);

impl Tokens {
    /// The folder of a hub with this data folder; made when it is not there.
    pub(crate) fn of_data(data: &Path) -> io::Result<Self> {
        let folder = data.join("tokens");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        Ok(Self(folder))
    }

    fn path(&self, id: u64, state: State) -> PathBuf {
        self.0.join(format!("{id:016x}.{}", state.ending()))
    }

    /// Keeps a new token. Those that were revoked, or are past their time unused, make room.
    pub(crate) fn add(
        &self,
        token: &Token,
        (name, hosts): (Option<&str>, &[String]),
        now: UnixNanos,
        expires: UnixNanos,
    ) -> io::Result<()> {
        let all = self.list()?;
        let over = |entry: &&Entry| match entry.state {
            State::Open => entry.expires <= now,
            State::Used => false,
            State::Revoked => true,
        };
        for entry in all.iter().filter(over) {
            let _ = fs::remove_file(self.path(entry.id, entry.state));
        }
        if all.iter().filter(|entry| !over(entry)).count() >= MAX_TOKENS {
            let folder = self.0.display();
            return Err(io::Error::other(format!(
                "there are {MAX_TOKENS} tokens: revoke some, or move `*.used` of hubs that are gone out of {folder}"
            )));
        }
        let entry = Entry {
            id: token.id,
            state: State::Open,
            hash: token.secret.hash(),
            name: name.map(str::to_owned),
            hosts: hosts.to_vec(),
            created: now,
            expires,
            used_by: None,
            certificate: None,
        };
        self.write(&entry)
    }

    /// All of them, the oldest first. What is no token's file is left out.
    pub(crate) fn list(&self) -> io::Result<Vec<Entry>> {
        let mut all = Vec::new();
        for file in fs::read_dir(&self.0)? {
            let name = file?.file_name();
            let Some((id, ending)) = name.to_str().and_then(|name| name.split_once('.')) else { continue };
            let id = u64::from_str_radix(id, 16).ok().filter(|_| id.len() == 16);
            let state = State::ALL.into_iter().find(|state| state.ending() == ending);
            let Some((id, state)) = id.zip(state) else { continue };
            all.extend(self.read(id, state));
        }
        all.sort_by_key(|entry| (entry.created, entry.id));
        Ok(all)
    }

    /// What of this token is known, if the secret is its own and it can be used
    /// for this name and these hosts. Changes nothing.
    pub(crate) fn look(
        &self,
        (id, secret): (u64, &[u8]),
        (name, hosts): (&str, &[&str]),
        now: UnixNanos,
    ) -> Result<Entry, Refusal> {
        let unknown = || Refusal::of(ErrorCode::BAD_TOKEN, format!("the token {id:016x} is not known here"));
        // Whoever does not have the secret learns nothing of the token.
        let entry = State::ALL.into_iter().find_map(|state| self.read(id, state));
        let entry = entry.filter(|entry| entry.hash.is_of(secret)).ok_or_else(unknown)?;
        match entry.state {
            State::Open => {}
            State::Used => {
                let by = entry.used_by.as_deref().unwrap_or("a hub that got no certificate");
                return Err(Refusal::of(ErrorCode::TOKEN_USED, format!("the token {id:016x} was used by {by}")));
            }
            State::Revoked => return Err(unknown()),
        }
        if entry.expires <= now {
            let ago = (now.0 - entry.expires.0) / SECOND;
            return Err(Refusal::of(ErrorCode::TOKEN_EXPIRED, format!("the token {id:016x} expired {ago} s ago")));
        }
        if let Some(only) = entry.name.as_deref().filter(|only| *only != name) {
            return Err(Refusal::of(ErrorCode::TOKEN_NAME, format!("the token is for `{only}`, not for `{name}`")));
        }
        let foreign = hosts.iter().find(|host| !entry.hosts.is_empty() && !entry.hosts.iter().any(|own| own == *host));
        if let Some(host) = foreign {
            let detail = format!("the token is for the hosts {}, not for `{host}`", entry.hosts.join(", "));
            return Err(Refusal::of(ErrorCode::TOKEN_NAME, detail));
        }
        Ok(entry)
    }

    /// Whether a hub of this name has joined by a token of this hub.
    pub(crate) fn has_named(&self, name: &str) -> io::Result<bool> {
        Ok(self.list()?.iter().any(|entry| entry.used_by.as_deref() == Some(name)))
    }

    /// Uses it up, on the disk too, for the hub that gets this certificate.
    pub(crate) fn use_up(&self, entry: &Entry, name: &str, certificate: &str) -> Result<(), Refusal> {
        let storage =
            |e: io::Error| Refusal::of(ErrorCode::STORAGE, format!("the use of the token cannot be kept: {e}"));
        match fs::rename(self.path(entry.id, State::Open), self.path(entry.id, State::Used)) {
            Ok(()) => {}
            // Somebody else was faster.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(Refusal::of(ErrorCode::TOKEN_USED, "the token was used or revoked this moment".to_owned()));
            }
            Err(e) => return Err(storage(e)),
        }
        let used = Entry {
            state: State::Used,
            used_by: Some(name.to_owned()),
            certificate: Some(certificate.to_owned()),
            ..entry.clone()
        };
        // Syncs the folder too, and the new name of the file with it.
        self.write(&used).map_err(storage)
    }

    /// Makes it useless; answers whether there was one that could be used.
    pub(crate) fn revoke(&self, id: u64) -> io::Result<bool> {
        match fs::rename(self.path(id, State::Open), self.path(id, State::Revoked)) {
            Ok(()) => File::open(&self.0)?.sync_all().map(|()| true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn write(&self, entry: &Entry) -> io::Result<()> {
        let path = self.path(entry.id, entry.state);
        let beside = path.with_extension("new");
        let _ = fs::remove_file(&beside);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        let text = json!({
            "hash": entry.hash.to_string(),
            "name": entry.name,
            "hosts": entry.hosts,
            "created": entry.created.0 / SECOND,
            "expires": entry.expires.0 / SECOND,
            "used_by": entry.used_by,
            "certificate": entry.certificate,
        });
        file.write_all(text.to_string().as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, &path)?;
        File::open(&self.0)?.sync_all()
    }

    /// What cannot be read is no token.
    fn read(&self, id: u64, state: State) -> Option<Entry> {
        let mut text = String::new();
        File::open(self.path(id, state)).ok()?.take(MAX_FILE).read_to_string(&mut text).ok()?;
        let value: Value = serde_json::from_str(&text).ok()?;
        let text = |key: &str| value[key].as_str().map(str::to_owned);
        let time = |key: &str| value[key].as_u64().map(|seconds| UnixNanos(seconds.saturating_mul(SECOND)));
        let hosts = value["hosts"].as_array()?.iter();
        let hosts: Option<Vec<String>> = hosts.map(|host| host.as_str().map(str::to_owned)).collect();
        Some(Entry {
            id,
            state,
            hash: value["hash"].as_str()?.parse().ok()?,
            name: text("name"),
            hosts: hosts?,
            created: time("created")?,
            expires: time("expires")?,
            used_by: text("used_by"),
            certificate: text("certificate"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_transport::joining::Fingerprint;

    const NOW: UnixNanos = UnixNanos(1_900_000_000_000_000_000);
    const LATER: UnixNanos = UnixNanos(NOW.0 + 3600 * SECOND);

    fn token() -> Token {
        Token::create("new-york", Fingerprint::of(b"an authority")).expect("entropy")
    }

    fn code(refused: Result<Entry, Refusal>) -> ErrorCode {
        refused.expect_err("it is refused").code
    }

    #[test]
    fn a_token_is_good_once_and_that_survives_a_restart() {
        let data = tempfile::tempdir().expect("a folder");
        let (tokens, token) = (Tokens::of_data(data.path()).expect("a folder"), token());
        tokens.add(&token, (None, &[]), NOW, LATER).expect("it is kept");
        let said = (token.id, token.secret.bytes());
        let entry = tokens.look(said, ("boston", &[]), NOW).expect("it is good");
        // Two that look at the same time: one wins.
        tokens.use_up(&entry, "boston", "PEM").expect("the first");
        assert_eq!(tokens.use_up(&entry, "chicago", "PEM").expect_err("the second").code, ErrorCode::TOKEN_USED);
        let tokens = Tokens::of_data(data.path()).expect("a folder");
        let again = tokens.look(said, ("boston", &[]), NOW).expect_err("it is used");
        assert!(again.code == ErrorCode::TOKEN_USED && again.detail.contains("boston"), "{again:?}");
        assert!(tokens.has_named("boston").expect("a list") && !tokens.has_named("chicago").expect("a list"));
    }

    #[test]
    fn of_a_token_its_secret_is_nowhere_on_the_disk() {
        let data = tempfile::tempdir().expect("a folder");
        let (tokens, token) = (Tokens::of_data(data.path()).expect("a folder"), token());
        tokens.add(&token, (Some("boston"), &[]), NOW, LATER).expect("it is kept");
        let text = fs::read_to_string(tokens.path(token.id, State::Open)).expect("a file");
        let word = token.reveal();
        let secret = word.split('.').nth(3).expect("a secret");
        assert!(!text.contains(secret) && text.contains(&token.secret.hash().to_string()), "{text}");
    }

    #[test]
    fn wrong_expired_and_foreign_ones_are_refused_and_stay_as_they_are() {
        let data = tempfile::tempdir().expect("a folder");
        let (tokens, token, other) = (Tokens::of_data(data.path()).expect("a folder"), token(), token());
        let hosts = ["10.0.0.1".to_owned()];
        tokens.add(&token, (Some("boston"), &hosts), NOW, LATER).expect("it is kept");
        let (right, wrong) = (token.secret.bytes(), other.secret.bytes());
        assert_eq!(code(tokens.look((token.id, wrong), ("boston", &[]), NOW)), ErrorCode::BAD_TOKEN);
        assert_eq!(code(tokens.look((token.id, &[]), ("boston", &[]), NOW)), ErrorCode::BAD_TOKEN);
        assert_eq!(code(tokens.look((other.id, wrong), ("boston", &[]), NOW)), ErrorCode::BAD_TOKEN);
        assert_eq!(code(tokens.look((token.id, right), ("boston", &[]), LATER)), ErrorCode::TOKEN_EXPIRED);
        // Who has no secret does not learn that it is past its time.
        assert_eq!(code(tokens.look((token.id, wrong), ("boston", &[]), LATER)), ErrorCode::BAD_TOKEN);
        assert_eq!(code(tokens.look((token.id, right), ("chicago", &[]), NOW)), ErrorCode::TOKEN_NAME);
        assert_eq!(code(tokens.look((token.id, right), ("boston", &["10.0.0.2"]), NOW)), ErrorCode::TOKEN_NAME);
        let entry = tokens.look((token.id, right), ("boston", &["10.0.0.1"]), NOW).expect("it is still good");
        assert!(tokens.revoke(token.id).expect("it is there") && !tokens.revoke(token.id).expect("not any more"));
        assert_eq!(code(tokens.look((token.id, right), ("boston", &[]), NOW)), ErrorCode::BAD_TOKEN);
        assert_eq!(tokens.use_up(&entry, "boston", "PEM").expect_err("revoked").code, ErrorCode::TOKEN_USED);
    }

    #[test]
    fn what_is_over_makes_room_and_files_that_are_none_are_left_alone() {
        let data = tempfile::tempdir().expect("a folder");
        let tokens = Tokens::of_data(data.path()).expect("a folder");
        let (old, revoked, used, new) = (token(), token(), token(), token());
        for token in [&old, &revoked, &used] {
            tokens.add(token, (None, &[]), NOW, LATER).expect("it is kept");
        }
        tokens.revoke(revoked.id).expect("it is there");
        let entry = tokens.look((used.id, used.secret.bytes()), ("boston", &[]), NOW).expect("it is good");
        tokens.use_up(&entry, "boston", "PEM").expect("it is used");
        for (name, text) in [("notes.txt", "x"), ("12.token", "{}"), ("00000000000000ff.token", "{}")] {
            fs::write(data.path().join("tokens").join(name), text).expect("a file");
        }
        tokens.add(&new, (None, &[]), LATER, UnixNanos(LATER.0 + SECOND)).expect("it is kept");
        let mut left: Vec<u64> = tokens.list().expect("a list").iter().map(|entry| entry.id).collect();
        let mut expected = vec![used.id, new.id];
        left.sort_unstable();
        expected.sort_unstable();
        assert_eq!(left, expected);
        assert!(data.path().join("tokens/notes.txt").exists());
    }
}
