//! Sets of keys, fetched by HTTPS from whoever signs tokens.
//!
//! A server may be slow, hang, send without end or send elsewhere: all of it
//! together takes at most [`TIME`], a set has at most [`MAX_SET`] bytes, and
//! nothing that it says leads to another address. It must show a certificate of
//! the authorities given, or of those that the machine trusts, which are read when
//! the first set is fetched.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use ureq::Agent;
use ureq::http::header::{AGE, CACHE_CONTROL};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};
use weft_login::MAX_SET;

/// For all of a question and its answer.
pub(crate) const TIME: Duration = Duration::from_secs(5);
/// The longest head of an answer, in bytes.
const MAX_HEAD: usize = 16 << 10;

/// Whose certificates servers of keys may show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Roots {
    /// Those that the machine trusts.
    OfMachine,
    /// Those in a PEM file.
    File(std::path::PathBuf),
}

/// Asks servers for keys.
#[derive(Debug)]
pub(crate) struct KeyServer(OnceLock<Agent>);

impl KeyServer {
    /// One that trusts these.
    ///
    /// # Errors
    /// The file cannot be read, or has no certificate in it.
    pub(crate) fn new(roots: &Roots) -> anyhow::Result<Self> {
        Ok(Self(match roots {
            Roots::OfMachine => OnceLock::new(),
            Roots::File(path) => OnceLock::from(Self::agent(of_file(path)?)),
        }))
    }

    fn agent(certificates: Vec<Certificate<'static>>) -> Agent {
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .root_certs(RootCerts::Specific(Arc::new(certificates)))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .https_only(true)
            .max_redirects(0)
            .max_redirects_will_error(true)
            .http_status_as_error(true)
            .timeout_global(Some(TIME))
            .max_response_header_size(MAX_HEAD)
            .max_idle_connections(0)
            .proxy(None)
            .user_agent(concat!("weft/", env!("CARGO_PKG_VERSION")))
            .build();
        config.into()
    }

    /// The set at an address, and for how long its server says that it holds.
    ///
    /// # Errors
    /// What went wrong, for the log.
    pub(crate) fn fetch(&self, url: &str) -> Result<(Vec<u8>, Option<Duration>), String> {
        let agent = self.0.get_or_init(|| Self::agent(of_machine()));
        let mut answer = agent.get(url).call().map_err(|e| e.to_string())?;
        if answer.status() != 200 {
            return Err(format!("the server answers {}", answer.status()));
        }
        let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let max_age = header(CACHE_CONTROL).and_then(max_age);
        let age = header(AGE).and_then(|age| age.trim().parse().ok()).unwrap_or(0);
        let max_age = max_age.map(|seconds| Duration::from_secs(seconds.saturating_sub(age)));
        let limited = answer.body_mut().with_config().limit(MAX_SET as u64);
        limited.read_to_vec().map(|bytes| (bytes, max_age)).map_err(|e| e.to_string())
    }
}

/// The seconds that an answer may be kept (RFC 9111, section 5.2.2.1).
fn max_age(header: &str) -> Option<u64> {
    let mut parts = header.split(',').map(str::trim);
    parts.find_map(|part| part.strip_prefix("max-age=")).and_then(|seconds| seconds.trim_matches('"').parse().ok())
}

/// The authorities that the machine trusts.
pub(crate) fn of_machine() -> Vec<Certificate<'static>> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(code = "login_roots", error = %error, "an authority that the machine trusts cannot be read");
    }
    found.certs.iter().map(|der| Certificate::from_der(der).to_owned()).collect()
}

/// The authorities in a file.
pub(crate) fn of_file(path: &Path) -> anyhow::Result<Vec<Certificate<'static>>> {
    let pem = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.with_context(|| format!("{} is no PEM", path.display()))? {
            found.push(certificate);
        }
    }
    anyhow::ensure!(!found.is_empty(), "{} has no certificate in it", path.display());
    Ok(found)
}
