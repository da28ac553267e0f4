//! The far end of a webhook: what is sent there, within bounds, and where it may be.
//!
//! All of a request and its answer takes at most the target's time, however slowly an
//! answer trickles in; its head has at most [`MAX_HEAD`], its body is not read.
//! Redirects are not followed. Names are looked up for each connection, and what they
//! stand for is looked at then: never this hub itself, and neither loopback nor
//! link-local addresses (where clouds tell their secrets) unless that is allowed. One
//! such address among those of a name refuses all of it.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ureq::Agent;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::http::header::RETRY_AFTER;
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use super::sign::Signer;
use crate::login::{of_file, of_machine};

/// The longest head of an answer, in bytes.
const MAX_HEAD: usize = 16 << 10;
/// The content of a body.
const CONTENT: &str = "application/cloudevents+json; charset=utf-8";

/// Why a target has not taken something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) why: String,
    /// When it says that it may.
    pub(super) after: Option<Duration>,
}

/// Where addresses may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fence {
    /// Loopback and link-local addresses are taken.
    pub(super) local: bool,
    /// The ports at which this hub listens.
    pub(super) own_ports: Vec<u16>,
}

impl Fence {
    /// Whether somebody may be spoken to.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn may(&self, at: SocketAddr) -> Result<(), String> {
        let ip = at.ip().to_canonical();
        // An address of this machine can be bound to.
        if self.own_ports.contains(&at.port()) && (ip.is_unspecified() || UdpSocket::bind((ip, 0)).is_ok()) {
            return Err(format!("{at} is this hub itself"));
        }
        let is_local = match ip {
            IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_loopback() || ip.is_unicast_link_local(),
        };
        if is_local && !self.local {
            return Err(format!("{at} is a loopback or link-local address (allow_local)"));
        }
        let is_nobody = match ip {
            IpAddr::V4(ip) => ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast(),
            IpAddr::V6(ip) => ip.is_unspecified() || ip.is_multicast(),
        };
        if is_nobody { Err(format!("{at} is nobody's address")) } else { Ok(()) }
    }
}

/// Looks names up, and at what they stand for.
#[derive(Debug)]
struct Fenced {
    fence: Fence,
    names: DefaultResolver,
}

impl Resolver for Fenced {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.names.resolve(uri, config, timeout)?;
        for at in found.iter() {
            self.fence.may(*at).map_err(|why| ureq::Error::Io(std::io::Error::other(why)))?;
        }
        Ok(found)
    }
}

/// A target.
pub(super) struct Target {
    url: String,
    signer: Signer,
    agent: Agent,
}

impl Target {
    /// One at a URL, which trusts the authorities of a file, or of the machine.
    ///
    /// # Errors
    /// The file cannot be used.
    pub(super) fn new(
        (url, signer): (&str, Signer),
        roots: Option<&Path>,
        fence: Fence,
        time: Duration,
    ) -> anyhow::Result<Self> {
        let certificates = match roots {
            Some(path) => of_file(path)?,
            None => of_machine(),
        };
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .root_certs(RootCerts::Specific(Arc::new(certificates)))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .https_only(!fence.local)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_global(Some(time))
            .max_response_header_size(MAX_HEAD)
            .max_idle_connections(0)
            .proxy(None)
            .user_agent(concat!("weft/", env!("CARGO_PKG_VERSION")))
            .build();
        let resolver = Fenced { fence, names: DefaultResolver::default() };
        let agent = Agent::with_parts(config, DefaultConnector::default(), resolver);
        Ok(Self { url: url.to_owned(), signer, agent })
    }

    /// Sends a body, under an id that is the same for each try.
    ///
    /// # Errors
    /// [`Failure`]: it has not said that it took it.
    pub(super) fn send(&self, id: &str, seconds: u64, body: &[u8]) -> Result<(), Failure> {
        let request = self
            .agent
            .post(&self.url)
            .header("content-type", CONTENT)
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds.to_string())
            .header("webhook-signature", self.signer.sign(id, seconds, body));
        let answer = request.send(body).map_err(|error| Failure { why: error.to_string(), after: None })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let after = after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        let why = if status.is_redirection() {
            format!("it answers {} and redirects are not followed", status.as_u16())
        } else {
            format!("it answers {}", status.as_u16())
        };
        Err(Failure { why, after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_the_hub_itself_nor_local_addresses_are_spoken_to_unless_that_is_allowed() {
        let fence = |local| Fence { local, own_ports: vec![8081] };
        let may = |local, at: &str| fence(local).may(at.parse().expect("an address"));
        for at in ["192.0.2.1:8081", "10.0.0.1:443", "[2001:db8::1]:443"] {
            assert_eq!(may(false, at), Ok(()), "{at}");
        }
        for at in [
            "127.0.0.1:80",
            "127.9.9.9:80",
            "[::1]:80",
            "169.254.169.254:80",
            "[fe80::1]:80",
            "[::ffff:127.0.0.1]:80",
            "[::ffff:169.254.169.254]:80",
        ] {
            assert!(may(false, at).is_err_and(|why| why.contains("allow_local")), "{at}");
            assert_eq!(may(true, at), Ok(()), "{at}");
        }
        for at in ["127.0.0.1:8081", "[::ffff:127.0.0.1]:8081", "0.0.0.0:8081"] {
            assert!(may(true, at).is_err_and(|why| why.contains("itself")), "{at}");
        }
        for at in ["0.0.0.0:80", "224.0.0.1:80", "255.255.255.255:80", "[::]:80", "[ff02::1]:80"] {
            assert!(may(true, at).is_err(), "{at}");
        }
    }
}
