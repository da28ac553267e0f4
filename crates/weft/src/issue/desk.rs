//! Who gets a certificate, and who does not and why.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use weft_base::UnixNanos;
use weft_hub::{Counters, Reach};
use weft_transport::joining::Talk;
use weft_transport::{Authority, CaError, PeerKind, TlsIdentity};
use weft_wire::ErrorCode;
use weft_wire::frame::{ErrorFrame, Frame, Join, JoinNeighbour, JoinSetting, Joined};

use super::talk::{self, MAX_JOIN, TalkError};
use super::tokens::{Entry, Tokens};
use super::{IssueOptions, Refusal, count};

/// What is known of the hub that issues.
pub(crate) struct Facts {
    /// Its name.
    pub(crate) name: String,
    /// The mesh's.
    pub(crate) mesh: String,
    /// Where it takes links, for those who join.
    pub(crate) addresses: Vec<String>,
    /// Settings that must be the same at all hubs, by their paths.
    pub(crate) settings: Vec<(&'static str, u64)>,
    /// Its data folder.
    pub(crate) data: PathBuf,
    pub(crate) identity: Arc<TlsIdentity>,
    pub(crate) reach: Reach,
    pub(crate) counters: Arc<Counters>,
}

/// Decides, and issues.
pub(super) struct Desk {
    authority: Arc<Authority>,
    ca: PathBuf,
    valid_for: Duration,
    tokens: Tokens,
    facts: Facts,
    /// Held from looking at who has which name to using a token up.
    issuing: Mutex<()>,
}

/// By what somebody asks.
enum By {
    Token(Entry),
    Certificate,
}

impl Desk {
    pub(super) fn new(options: &IssueOptions, facts: Facts) -> anyhow::Result<Self> {
        let tokens = Tokens::of_data(&facts.data)
            .with_context(|| format!("cannot make the folder of tokens in {}", facts.data.display()))?;
        let (authority, ca, valid_for) = (options.authority.clone(), options.ca.clone(), options.valid_for);
        Ok(Self { authority, ca, valid_for, tokens, facts, issuing: Mutex::new(()) })
    }

    /// One request and its answer.
    pub(super) fn serve(&self, mut talk: Talk, from: SocketAddr, now: UnixNanos) {
        let bytes = match talk::receive(&mut talk, MAX_JOIN) {
            Ok(bytes) => bytes,
            Err(TalkError::Connection(_)) => return,
            Err(TalkError::Frame(error)) => {
                let refusal = Refusal::of(ErrorCode::BAD_FRAME, error.to_string());
                return self.refuse(talk, (0, ""), from, &refusal);
            }
        };
        let join = match Frame::decode(&bytes) {
            Ok(Frame::Join(join)) => join,
            Ok(other) => {
                let detail = format!(
                    "a frame of kind {:?} does not belong here: this address issues certificates",
                    other.kind()
                );
                return self.refuse(talk, (0, ""), from, &Refusal::of(ErrorCode::UNEXPECTED, detail));
            }
            Err(error) => {
                let refusal = Refusal::of(ErrorCode::BAD_FRAME, error.to_string());
                return self.refuse(talk, (0, ""), from, &refusal);
            }
        };
        let answered = self.decide(&join, &talk, now).and_then(|(certificate, by)| {
            let authority = fs::read_to_string(&self.ca)
                .map_err(|e| Refusal::of(ErrorCode::STORAGE, format!("the hub cannot read its authorities: {e}")))?;
            Ok((certificate, authority, by))
        });
        let (certificate, authority, by) = match answered {
            Ok(answer) => answer,
            Err(refusal) => return self.refuse(talk, (join.request, join.name), from, &refusal),
        };
        let addresses = self.facts.addresses.iter();
        let joined = Frame::Joined(Joined {
            request: join.request,
            certificate: &certificate,
            authority: &authority,
            mesh: &self.facts.mesh,
            neighbours: addresses.map(|address| JoinNeighbour { name: &self.facts.name, address }).collect(),
            settings: self.facts.settings.iter().map(|(name, value)| JoinSetting { name, value: *value }).collect(),
        });
        let told = talk::send(&mut talk, &joined);
        let (counter, how) = match by {
            By::Token(entry) => (&self.facts.counters.joins_issued, format!("token {:016x}", entry.id)),
            By::Certificate => (&self.facts.counters.joins_renewed, "the certificate before it".to_owned()),
        };
        count(counter);
        let name = join.name;
        match told {
            Ok(()) => tracing::info!(code = "certificate_issued", name, by = how, %from, "a hub got a certificate"),
            Err(error) => {
                tracing::warn!(code = "certificate_lost", name, by = how, %from, %error, "a certificate was issued and did not arrive");
            }
        }
        talk.end();
    }

    /// The certificate, and by what it is given. Afterwards the token is used.
    fn decide(&self, join: &Join<'_>, talk: &Talk, now: UnixNanos) -> Result<(String, By), Refusal> {
        if !weft_hub::options::is_label(join.name) {
            let name = join.name.escape_default();
            let detail = format!("`{name}` cannot be a hub's name: 1 to 64 of `a-z`, `0-9` and `-`");
            return Err(Refusal::of(ErrorCode::BAD_NAME, detail));
        }
        if join.token == 0 {
            return Ok((self.renew(join, talk, now)?, By::Certificate));
        }
        let said = (join.token, join.secret);
        // The name and the hosts are the token's to allow; who has no token learns no more.
        let _issuing = self.issuing.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = self.tokens.look(said, (join.name, &join.hosts), now)?;
        self.check_name(join.name, &entry)?;
        let certificate = self.sign(join, &join.hosts, now)?;
        self.tokens.use_up(&entry, join.name, &certificate)?;
        Ok((certificate, By::Token(entry)))
    }

    /// For the hub whose certificate was shown: its name and its hosts again.
    fn renew(&self, join: &Join<'_>, talk: &Talk, now: UnixNanos) -> Result<String, Refusal> {
        let Some(peer) = talk.peer() else {
            let detail = "neither a token nor a certificate was shown".to_owned();
            return Err(Refusal::of(ErrorCode::BAD_TOKEN, detail));
        };
        if peer.name != join.name {
            let detail = format!("the certificate is of `{}`, not of `{}`", peer.name, join.name);
            return Err(Refusal::of(ErrorCode::TOKEN_NAME, detail));
        }
        let hosts: Vec<&str> = talk.peer_hosts().iter().map(String::as_str).collect();
        self.sign(join, &hosts, now)
    }

    /// A token for a certain name is an operator's word that the name is free,
    /// as long as nobody is there; one for any name is not.
    fn check_name(&self, name: &str, entry: &Entry) -> Result<(), Refusal> {
        let taken = |detail: String| Err(Refusal::of(ErrorCode::NAME_TAKEN, detail));
        if name == self.facts.name || self.facts.reach.is_there(name) {
            return taken(format!("a hub of the name `{name}` is in the mesh now"));
        }
        let storage = |e: std::io::Error| Refusal::of(ErrorCode::STORAGE, format!("the tokens cannot be read: {e}"));
        if entry.name.is_none() && self.tokens.has_named(name).map_err(storage)? {
            return taken(format!(
                "a hub has joined as `{name}` before: for a new one in its place make a token with `--name {name}`"
            ));
        }
        Ok(())
    }

    fn sign(&self, join: &Join<'_>, hosts: &[&str], now: UnixNanos) -> Result<String, Refusal> {
        let signed = self.authority.sign(join.csr, (PeerKind::Hub, join.name), hosts, now, self.valid_for);
        signed.map_err(|error| {
            let code = match &error {
                CaError::Ended { .. } | CaError::Library { .. } => ErrorCode::UNSUPPORTED,
                _ => ErrorCode::BAD_REQUEST,
            };
            Refusal::of(code, error.to_string())
        })
    }

    fn refuse(&self, mut talk: Talk, (request, name): (u64, &str), from: SocketAddr, refusal: &Refusal) {
        count(self.counter_of(refusal.code));
        let (name, why) = (name.escape_default().to_string(), &refusal.detail);
        tracing::warn!(code = "join_refused", name, %from, reason = %refusal.code, why, "a request for a certificate was refused");
        let (code, detail) = (refusal.code, refusal.detail.as_str());
        // Whether it hears that is its own affair.
        let _ = talk::send(&mut talk, &Frame::Error(ErrorFrame { request, code, retry_after_ms: 0, detail }));
        talk.end();
    }

    fn counter_of(&self, code: ErrorCode) -> &AtomicU64 {
        let counters = &self.facts.counters;
        match code {
            ErrorCode::BAD_TOKEN => &counters.joins_bad_token,
            ErrorCode::TOKEN_USED => &counters.joins_token_used,
            ErrorCode::TOKEN_EXPIRED => &counters.joins_token_expired,
            ErrorCode::NAME_TAKEN | ErrorCode::TOKEN_NAME | ErrorCode::BAD_NAME => &counters.joins_name,
            ErrorCode::STORAGE | ErrorCode::UNSUPPORTED => &counters.joins_failed,
            _ => &counters.joins_bad_request,
        }
    }
}
