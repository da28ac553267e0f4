//! Joining: how a machine asks a hub that issues certificates for one, and what
//! it gets. A conversation of one request over a connection of its own, whose
//! far end has shown that it is the hub that the asking side means; it is never
//! part of a session or a link. A refusal is an [`ErrorFrame`](super::ErrorFrame).

use super::codec::{Reader, Writer};
use super::{FrameError, MAX_PEM};

/// The longest secret of a token, in bytes.
pub const MAX_SECRET: usize = 64;
/// The longest request for a certificate (PKCS #10, DER), in bytes.
pub const MAX_CSR: usize = 8 << 10;
/// The most hosts in a [`Join`].
pub const MAX_JOIN_HOSTS: usize = 64;
/// The most neighbours, and the most settings, in a [`Joined`].
pub const MAX_JOIN_LIST: usize = 256;

/// A certificate is wanted; answered by [`Joined`].
#[derive(Clone, PartialEq, Eq)]
pub struct Join<'a> {
    /// Chosen by the side that asks.
    pub request: u64,
    /// The token's number; 0 when the certificate that was shown with the
    /// connection stands in for it, to be renewed.
    pub token: u64,
    /// The token's secret; empty without a token.
    pub secret: &'a [u8],
    /// The name to be certified.
    pub name: &'a str,
    /// The request (PKCS #10, DER), of which only the key counts.
    pub csr: &'a [u8],
    /// The host names and addresses that the hub is dialled at.
    pub hosts: Vec<&'a str>,
}

impl std::fmt::Debug for Join<'_> {
    // The secret stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Join").field("token", &self.token).field("name", &self.name).finish_non_exhaustive()
    }
}

/// A certificate, and what a hub needs to know beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined<'a> {
    /// That of the request.
    pub request: u64,
    /// The certificate, PEM.
    pub certificate: &'a str,
    /// The mesh's authorities, PEM.
    pub authority: &'a str,
    /// The mesh's name.
    pub mesh: &'a str,
    /// Hubs that may be linked to.
    pub neighbours: Vec<JoinNeighbour<'a>>,
    /// Settings that are the same at all hubs of the mesh.
    pub settings: Vec<JoinSetting<'a>>,
}

/// A hub of [`Joined`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinNeighbour<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where it takes links.
    pub address: &'a str,
}

/// A setting of [`Joined`], by its path in the configuration. Those that the
/// reader does not know say nothing to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinSetting<'a> {
    /// Its path.
    pub name: &'a str,
    /// Its value: all of them are numbers.
    pub value: u64,
}

impl<'a> Join<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        Ok(Self {
            request: r.id(),
            token: r.u64("token")?,
            secret: r.bytes("secret", MAX_SECRET)?,
            name: r.name("name")?,
            csr: r.bytes("csr", MAX_CSR)?,
            hosts: r.list("hosts", MAX_JOIN_HOSTS, 2, |r| r.name("host"))?,
        })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.id(self.request);
        w.u64(self.token);
        w.bytes("secret", self.secret, MAX_SECRET);
        w.name("name", self.name);
        w.bytes("csr", self.csr, MAX_CSR);
        w.list("hosts", &self.hosts, MAX_JOIN_HOSTS, |w, host| w.name("host", host));
    }
}

impl<'a> Joined<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        Ok(Self {
            request: r.id(),
            certificate: r.text("certificate", MAX_PEM)?,
            authority: r.text("authority", MAX_PEM)?,
            mesh: r.name("mesh")?,
            neighbours: r.list("neighbours", MAX_JOIN_LIST, 4, |r| {
                Ok(JoinNeighbour { name: r.name("name")?, address: r.name("address")? })
            })?,
            settings: r.list("settings", MAX_JOIN_LIST, 10, |r| {
                Ok(JoinSetting { name: r.name("name")?, value: r.u64("value")? })
            })?,
        })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.id(self.request);
        w.text("certificate", self.certificate, MAX_PEM);
        w.text("authority", self.authority, MAX_PEM);
        w.name("mesh", self.mesh);
        w.list("neighbours", &self.neighbours, MAX_JOIN_LIST, |w, hub| {
            w.name("name", hub.name);
            w.name("address", hub.address);
        });
        w.list("settings", &self.settings, MAX_JOIN_LIST, |w, setting| {
            w.name("name", setting.name);
            w.u64(setting.value);
        });
    }
}
