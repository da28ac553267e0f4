//! TLS for a server of another protocol beside the hub's own: the same certificate
//! and authority, and the same look at who comes, under another name of protocol.
//!
//! A certificate may be shown and is then checked as that of any client is: of the
//! mesh's authority, in its time, not revoked. Who shows none is let in, and is for
//! the server to judge. TLS 1.3, no sessions resumed. Follows the identity when that
//! is replaced: handshakes that begin then use the new one, and [`Guest::check`]
//! looks at who is there again.

use std::sync::PoisonError;

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use weft_base::Clock;
use weft_base::sync::{Arc, Mutex};

use crate::identity::{Peer, TlsIdentity, peer_of, stranger_of};
use crate::network::Accept;
use crate::reason::CloseReason;
use crate::tls::{self, Blame, Trust};

/// What handshakes need, made anew when the identity was replaced.
pub struct Front {
    identity: Arc<TlsIdentity>,
    clock: Arc<dyn Clock>,
    protocols: Vec<Vec<u8>>,
    /// With the generation of the identity that it was made of.
    made: Mutex<(u64, Arc<ServerConfig>)>,
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Front").finish_non_exhaustive()
    }
}

impl Front {
    /// For a server with this identity, which speaks these protocols (ALPN, RFC
    /// 7301), the better first.
    ///
    /// # Errors
    /// [`CloseReason`]: the identity cannot be used.
    pub fn new(identity: &Arc<TlsIdentity>, protocols: &[&[u8]], clock: &Arc<dyn Clock>) -> Result<Self, CloseReason> {
        let protocols: Vec<Vec<u8>> = protocols.iter().map(|name| name.to_vec()).collect();
        // The generation first: what comes between is made anew.
        let generation = identity.generation();
        let made = Mutex::new((generation, config(identity, &protocols, clock)?));
        Ok(Self { identity: identity.clone(), clock: clock.clone(), protocols, made })
    }

    /// For a handshake that begins now.
    ///
    /// # Errors
    /// [`CloseReason`]: an identity that was put in its place cannot be used.
    pub fn config(&self) -> Result<Arc<ServerConfig>, CloseReason> {
        let generation = self.identity.generation();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.0 != generation {
            *made = (generation, config(&self.identity, &self.protocols, &self.clock)?);
        }
        Ok(made.1.clone())
    }

    /// Who has shown these certificates in a handshake; none: nobody.
    #[must_use]
    pub fn guest(&self, chain: &[CertificateDer<'_>]) -> Option<Guest> {
        let first = chain.first()?;
        // The handshake has read the same name there.
        let peer = peer_of(first).or_else(|_| stranger_of(first)).ok()?;
        let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        // The identity may have been replaced while the handshake went on.
        let trust = Trust::of_dialling(&self.identity, Accept::AnyClients).doubtful();
        Some(Guest { peer, chain, trust })
    }
}

fn config(
    identity: &TlsIdentity,
    protocols: &[Vec<u8>],
    clock: &Arc<dyn Clock>,
) -> Result<Arc<ServerConfig>, CloseReason> {
    let made = tls::blaming_server_config(identity, Accept::AnyClients, clock, Blame::default());
    let mut config = made.map_err(|detail| CloseReason::Tls { detail })?;
    config.alpn_protocols = protocols.to_vec();
    Ok(Arc::new(config))
}

/// Somebody who has shown a certificate.
#[derive(Debug)]
pub struct Guest {
    peer: Peer,
    chain: Vec<CertificateDer<'static>>,
    trust: Trust,
}

impl Guest {
    /// Who.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Whether the certificate still counts, by the identity as it is now.
    ///
    /// # Errors
    /// [`CloseReason`]: it has ended, or does not count any more.
    pub fn check(&mut self, clock: &dyn Clock) -> Result<(), CloseReason> {
        let now = clock.now().wall;
        if let Some(end) = self.peer.expires.filter(|end| *end <= now) {
            return Err(CloseReason::CertificateExpired { seconds_ago: (now.0 - end.0) / 1_000_000_000 });
        }
        self.trust.check(&self.chain, clock)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weft_base::SystemClock;

    use super::*;
    use crate::ca::Authority;
    use crate::identity::PeerKind;

    const DAY: Duration = Duration::from_secs(86_400);

    fn identity(authority: &Authority, kind: PeerKind, name: &str) -> TlsIdentity {
        let now = SystemClock::new().now().wall;
        let issued = authority.issue(kind, name, &["localhost"], now, DAY).expect("a certificate");
        let ca = authority.certificate_pem();
        TlsIdentity::from_pem(issued.certificate.as_bytes(), issued.key.as_bytes(), ca.as_bytes()).expect("good")
    }

    #[test]
    fn an_identity_that_is_replaced_counts_for_the_next_handshake_and_for_who_is_there() {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let authority = |name: &str| Authority::create(name, clock.now().wall, DAY).expect("an authority");
        let (ours, others) = (authority("ours"), authority("others"));
        let own = Arc::new(identity(&ours, PeerKind::Hub, "a"));
        let front = Front::new(&own, &[b"http/1.1"], &clock).expect("it can be used");
        let before = front.config().expect("it can be used");
        assert_eq!(before.alpn_protocols, [b"http/1.1".to_vec()]);
        assert!(Arc::ptr_eq(&before, &front.config().expect("the same")));
        let client = identity(&ours, PeerKind::Client, "anna");
        let mut guest = front.guest(&client.credentials().chain).expect("somebody");
        assert_eq!((guest.peer().kind, guest.peer().name.as_str()), (PeerKind::Client, "anna"));
        guest.check(&*clock).expect("it counts");
        own.replace(&identity(&ours, PeerKind::Hub, "a")).expect("of the same name");
        assert!(!Arc::ptr_eq(&before, &front.config().expect("the new one")));
        guest.check(&*clock).expect("it still counts");
        own.replace(&identity(&others, PeerKind::Hub, "a")).expect("of the same name");
        guest.check(&*clock).expect_err("its authority is not trusted any more");
    }

    /// Who let a handshake last until their authority had gone, or they were revoked,
    /// had a connection that was never looked at again.
    #[test]
    fn an_identity_that_is_replaced_during_a_handshake_counts_for_who_comes_out_of_it() {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let authority = |name: &str| Authority::create(name, clock.now().wall, DAY).expect("an authority");
        let (ours, others) = (authority("ours"), authority("others"));
        let own = Arc::new(identity(&ours, PeerKind::Hub, "a"));
        let front = Front::new(&own, &[], &clock).expect("it can be used");
        front.config().expect("the handshake begins");
        own.replace(&identity(&others, PeerKind::Hub, "a")).expect("of the same name");
        let client = identity(&ours, PeerKind::Client, "anna");
        let mut guest = front.guest(&client.credentials().chain).expect("somebody");
        guest.check(&*clock).expect_err("its authority is not trusted any more");
    }

    #[test]
    fn who_has_shown_nothing_is_nobody() {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let authority = Authority::create("ours", clock.now().wall, DAY).expect("an authority");
        let own = Arc::new(identity(&authority, PeerKind::Hub, "a"));
        let front = Front::new(&own, &[], &clock).expect("it can be used");
        assert!(front.guest(&[]).is_none());
    }
}
