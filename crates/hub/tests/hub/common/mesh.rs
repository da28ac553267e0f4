//! Hubs linked by mutual TLS over real sockets.

use std::sync::Arc;
use std::time::Duration;

use weft_base::{Clock, SystemClock};
use weft_hub::options::{Listen, Neighbour};
use weft_hub::{Hub, HubOptions};
use weft_transport::ca::Authority;
use weft_transport::{PeerKind, Security, TlsIdentity};
use weft_wire::frame::{Frame, MeshReport, MeshShow};

use super::{Raw, options, start};

const YEAR: Duration = Duration::from_secs(365 * 86_400);

pub fn authority() -> Authority {
    Authority::create("test", SystemClock::new().now().wall, YEAR).expect("an authority")
}

pub fn identity(authority: &Authority, name: &str) -> Security {
    identity_for(authority, name, &["127.0.0.1"])
}

/// One for other hosts.
pub fn identity_for(authority: &Authority, name: &str, hosts: &[&str]) -> Security {
    let issued =
        authority.issue(PeerKind::Hub, name, hosts, SystemClock::new().now().wall, YEAR).expect("a certificate");
    let ca = authority.certificate_pem();
    let identity = TlsIdentity::from_pem(issued.certificate.as_bytes(), issued.key.as_bytes(), ca.as_bytes());
    Security::Tls(Arc::new(identity.expect("it is in order")))
}

/// A hub that listens for hubs at `addr` and keeps links to `neighbours`.
pub fn member(authority: &Authority, name: &str, addr: &str, neighbours: &[(&str, String)]) -> HubOptions {
    let mut options = options(name, None);
    let security = identity(authority, name);
    options.hubs = Some(Listen { addr: addr.to_owned(), security: security.clone() });
    options.link_security = Some(security);
    for (name, addr) in neighbours {
        options.neighbours.push(Neighbour {
            addr: addr.clone(),
            name: Some((*name).to_owned()),
            ..Neighbour::default()
        });
    }
    options.timers.redial_most = Duration::from_millis(200);
    options
}

pub fn link_addr(hub: &Hub) -> String {
    hub.hub_address().expect("it listens for hubs").to_owned()
}

/// Three hubs in a line: new-york, chicago, los-angeles.
pub fn line(ca: &Authority) -> [Hub; 3] {
    let middle = start(member(ca, "chicago", "127.0.0.1:0", &[]));
    let to_middle = [("chicago", link_addr(&middle))];
    let east = start(member(ca, "new-york", "127.0.0.1:0", &to_middle));
    let west = start(member(ca, "los-angeles", "127.0.0.1:0", &to_middle));
    [east, middle, west]
}

/// Asks until what the hub says of the mesh satisfies `is_so`.
pub fn until(client: &mut Raw, what: &str, is_so: impl Fn(&MeshReport<'_>) -> bool) {
    for request in 0..2_000 {
        client.send(&Frame::MeshShow(MeshShow { request }));
        let answer = client.receive();
        let Frame::MeshReport(report) = answer.frame() else { panic!("not a report: {:?}", answer.frame()) };
        if is_so(&report) {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    panic!("it never came to this: {what}");
}

/// Whether `hub` is within reach and wants at least so many filters.
pub fn knows_interest(report: &MeshReport<'_>, hub: &str, filters: u32) -> bool {
    report.hubs.iter().any(|h| h.name == hub && h.reachable && h.interest >= filters)
}

/// Whether `hub` is within reach and wants exactly so many filters.
pub fn wants(report: &MeshReport<'_>, hub: &str, filters: u32) -> bool {
    report.hubs.iter().any(|h| h.name == hub && h.reachable && h.interest == filters)
}
