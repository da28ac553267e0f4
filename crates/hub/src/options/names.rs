//! Names in DNS that stand for hubs, and how they are looked up.

use std::time::Duration;

use weft_transport::dns::{DnsOptions, MAX_SERVERS, Sought};

use super::HubOptions;

/// The most names, of neighbours and of hubs to begin with.
pub const MAX_NAMES: usize = 16;
/// The most of [`DnsOptions::targets`].
pub const MAX_TARGETS: usize = 256;

impl HubOptions {
    /// The names among the hubs that this one dials.
    pub(crate) fn names(&self) -> impl Iterator<Item = Result<Sought, String>> {
        let dialled = self.neighbours.iter().map(|hub| &hub.addr).chain(&self.seeds);
        dialled.filter_map(|text| Sought::of(text))
    }

    /// Whether any link goes by QUIC.
    pub(crate) fn has_quic_links(&self) -> bool {
        let is_quic = |sought: Sought| match sought {
            Sought::Service { is_quic, .. } | Sought::Host { is_quic, .. } => is_quic,
        };
        self.names().flatten().any(is_quic)
            || self.link_addresses().any(|addr| weft_transport::quic::target_of(addr).is_some())
    }
}

/// What is wrong with names, and with the table `[dns]`.
pub(super) fn violations(options: &HubOptions, found: &mut Vec<(&'static str, String)>) {
    let names: Vec<Result<Sought, String>> = options.names().collect();
    if names.len() > MAX_NAMES {
        found.push(("neighbours", format!("{} names of hubs in DNS are too many: at most {MAX_NAMES}", names.len())));
    }
    found.extend(names.into_iter().filter_map(Result::err).map(|why| ("neighbours", why)));
    if let Some(hub) = options.neighbours.iter().find(|hub| hub.name.is_some() && Sought::of(&hub.addr).is_some()) {
        found.push(("neighbours", format!("`{}` leads to any number of hubs: leave `name` out", hub.addr)));
    }
    let DnsOptions { servers, timeout, targets, least, most, gone: _ } = &options.dns;
    if servers.len() > MAX_SERVERS || servers.iter().any(|server| server.port() == 0) {
        found.push(("dns.servers", format!("at most {MAX_SERVERS} addresses, each with a port")));
    }
    if *timeout < Duration::from_millis(10) {
        found.push(("dns.timeout", format!("{timeout:?} is too short: at least 10 ms")));
    }
    if !(1..=MAX_TARGETS).contains(targets) {
        found.push(("dns.targets", format!("{targets} is not possible: 1 to {MAX_TARGETS}")));
    }
    if *least < Duration::from_millis(10) || least > most {
        found.push((
            "dns.least",
            format!("{least:?} is not possible: 10 ms at least, and no more than dns.most, {most:?}"),
        ));
    }
}
