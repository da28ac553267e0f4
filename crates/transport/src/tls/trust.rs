//! Identities that are replaced while they are in use: listeners take the new
//! one for the next handshake, and the peers of links are looked at again.

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConnection, ServerConfig};
use weft_base::Clock;
use weft_base::sync::Arc;

use super::{Blame, DialledPeer, DiallingPeer, client_config, provider, reason_of, server_config, unix_time};
use crate::identity::TlsIdentity;
use crate::network::Accept;
use crate::reason::CloseReason;

/// What a listener's handshakes need, made anew when its identity was replaced.
pub(crate) struct Gatekeeper {
    trust: Trust,
    clock: Arc<dyn Clock>,
    config: Arc<ServerConfig>,
    accept: Accept,
}

impl Gatekeeper {
    pub(crate) fn new(identity: &Arc<TlsIdentity>, accept: Accept, clock: &Arc<dyn Clock>) -> Result<Self, String> {
        // The generation first: what comes between is looked at again.
        let trust = Trust::of_dialling(identity, accept);
        let config = server_config(identity, accept, clock)?;
        Ok(Self { trust, clock: clock.clone(), config, accept })
    }

    /// For a handshake that begins now, and for looking at its peer again later.
    pub(crate) fn admit(&mut self) -> Result<(Arc<ServerConfig>, Trust), CloseReason> {
        if let Some(new) = self.trust.renewed() {
            let made = server_config(new.identity(), self.accept, &self.clock);
            self.config = made.map_err(|detail| CloseReason::Tls { detail })?;
            self.trust = new;
        }
        Ok((self.config.clone(), self.trust.clone()))
    }
}

/// Links whose peers are looked at again in one turn. Each look takes about as
/// long as half a handshake, and there may be thousands, for which nothing else
/// is to wait.
pub(crate) const LOOKS: usize = 32;

/// The identities that a network uses, to learn cheaply that one was replaced,
/// and the links that are to be looked at again since.
#[derive(Debug, Default)]
pub(crate) struct InUse {
    used: Vec<(Arc<TlsIdentity>, u64)>,
    behind: Vec<u64>,
}

impl InUse {
    /// From now on this one is used too.
    pub(crate) fn add(&mut self, identity: &Arc<TlsIdentity>) {
        // Nobody else holds those that no listener and no link uses any more.
        self.used.retain(|(used, _)| Arc::strong_count(used) > 1);
        if !self.used.iter().any(|(used, _)| Arc::ptr_eq(used, identity)) {
            self.used.push((identity.clone(), identity.generation()));
        }
    }

    /// Whether one was replaced since this was asked last.
    pub(crate) fn has_new(&mut self) -> bool {
        let mut has_new = false;
        for (identity, seen) in &mut self.used {
            let now = identity.generation();
            has_new |= std::mem::replace(seen, now) != now;
        }
        has_new
    }

    /// All these links are to be looked at again.
    pub(crate) fn look_at(&mut self, links: Vec<u64>) {
        self.behind = links;
    }

    /// Whether some are left, for which the next turn must not wait.
    pub(crate) fn is_behind(&self) -> bool {
        !self.behind.is_empty()
    }

    /// Those that are looked at in this turn.
    pub(crate) fn next_links(&mut self) -> Vec<u64> {
        if self.behind.is_empty() {
            return Vec::new();
        }
        self.behind.split_off(self.behind.len().saturating_sub(LOOKS))
    }
}

/// By what the peer of a link was let in.
#[derive(Clone, Debug)]
pub(crate) struct Trust {
    identity: Arc<TlsIdentity>,
    /// That of the identity when the peer was last looked at.
    generation: u64,
    side: Side,
}

#[derive(Clone, Debug)]
enum Side {
    /// It dialled this side.
    Dialling(Accept),
    /// This side dialled it.
    Dialled { host: ServerName<'static>, expect: Option<String> },
}

impl Trust {
    pub(crate) fn of_dialling(identity: &Arc<TlsIdentity>, accept: Accept) -> Self {
        Self { identity: identity.clone(), generation: identity.generation(), side: Side::Dialling(accept) }
    }

    /// The same, of a peer that an older identity may have let in: the first
    /// [`Trust::check`] looks at it in any case.
    pub(crate) fn doubtful(self) -> Self {
        Self { generation: u64::MAX, ..self }
    }

    pub(crate) fn of_dialled(identity: &Arc<TlsIdentity>, host: &str, expect: Option<&str>) -> Result<Self, String> {
        let host = ServerName::try_from(host.to_owned()).map_err(|e| format!("`{host}`: {e}"))?;
        let side = Side::Dialled { host, expect: expect.map(str::to_owned) };
        Ok(Self { identity: identity.clone(), generation: identity.generation(), side })
    }

    /// Another handshake with the same hub, dialled at another of its addresses.
    pub(crate) fn again(&self, clock: &Arc<dyn Clock>) -> Option<Result<ClientConnection, String>> {
        let Side::Dialled { host, expect } = &self.side else { return None };
        let config = client_config(&self.identity, expect.as_deref(), clock, Blame::default());
        Some(config.and_then(|config| ClientConnection::new(Arc::new(config), host.clone()).map_err(|e| e.to_string())))
    }

    /// Whether the peer may have shown no certificate.
    pub(crate) fn takes_guests(&self) -> bool {
        matches!(self.side, Side::Dialling(Accept::AnyClients))
    }

    pub(crate) const fn identity(&self) -> &Arc<TlsIdentity> {
        &self.identity
    }

    /// The same, of now, if the identity was replaced since.
    pub(crate) fn renewed(&self) -> Option<Self> {
        let generation = self.identity.generation();
        (generation != self.generation).then(|| Self { generation, ..self.clone() })
    }

    /// Looks at the peer again by what counts now, if the identity was replaced
    /// since it was last looked at.
    pub(crate) fn check(&mut self, chain: &[CertificateDer<'_>], clock: &dyn Clock) -> Result<(), CloseReason> {
        let generation = self.identity.generation();
        if std::mem::replace(&mut self.generation, generation) == generation {
            return Ok(());
        }
        let (mine, provider, now) = (self.identity.credentials(), provider(), unix_time(clock.now().wall));
        let Some((certificate, rest)) = chain.split_first() else {
            return match self.takes_guests() {
                true => Ok(()),
                false => Err(CloseReason::NoCertificate),
            };
        };
        let unusable = |detail| CloseReason::Tls { detail };
        let checked = match &self.side {
            Side::Dialling(accept) => {
                DiallingPeer::new(&mine, *accept, &provider).map_err(unusable)?.check(certificate, rest, now)
            }
            Side::Dialled { host, expect } => DialledPeer::new(&mine, expect.as_deref(), &provider)
                .map_err(unusable)?
                .check(certificate, rest, host, now),
        };
        checked.map(|_| ()).map_err(|error| reason_of(&error, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_looked_at_again_a_few_in_each_turn() {
        let mut in_use = InUse::default();
        assert!(!in_use.is_behind() && in_use.next_links().is_empty());
        in_use.look_at((0..100).collect());
        let mut turns = Vec::new();
        while in_use.is_behind() {
            turns.push(in_use.next_links());
        }
        assert!(turns.len() == 4 && turns.iter().all(|turn| turn.len() <= LOOKS), "{turns:?}");
        let mut all = turns.concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..100), "each of them once");
    }
}
