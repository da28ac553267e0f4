//! Where the messages between hubs' stages go: topics of a reserved space that
//! name a hub and a service of it.
//!
//! ```text
//! _hub/HUB/SERVICE       the hub in hexadecimal; tunnel, replica or consumers
//! ```
//!
//! As replies are, they are addressed and not subscribed to. Hubs alone publish
//! there: a client that tries is refused.

use std::fmt;

use weft_base::HubId;

/// The first level of their topics.
const LEVEL: &str = "_hub/";

/// Who at a hub a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Service {
    /// Sessions of clients at streams that their own hub does not keep.
    Tunnel = 0,
    /// What the homes of a stream copy from each other.
    Replica = 1,
    /// What the homes of a stream tell each other of its consumers.
    Consumers = 2,
}

impl Service {
    /// All services, in the order of their numbers.
    pub const ALL: [Service; 3] = [Service::Tunnel, Service::Replica, Service::Consumers];

    /// The name, as topics have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Service::Tunnel => "tunnel",
            Service::Replica => "replica",
            Service::Consumers => "consumers",
        }
    }
}

/// A service of a hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerAddress {
    /// The hub.
    pub hub: HubId,
    /// The service.
    pub service: Service,
}

impl PeerAddress {
    /// The address that a topic is; `None` when it is none.
    #[must_use]
    pub fn parse(topic: &str) -> Option<Self> {
        let (hub, service) = topic.strip_prefix(LEVEL)?.split_once('/')?;
        let number = u64::from_str_radix(hub, 16).ok()?;
        let service = Service::ALL.into_iter().find(|known| known.name() == service)?;
        // One text for each address.
        let is_plain = (!hub.starts_with(['0', '+']) || hub == "0") && !hub.bytes().any(|b| b.is_ascii_uppercase());
        is_plain.then_some(Self { hub: HubId(number), service })
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{LEVEL}{:x}/{}", self.hub.0, self.service.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_written() {
        for service in Service::ALL {
            let address = PeerAddress { hub: HubId(0xab_cdef), service };
            assert_eq!(PeerAddress::parse(&address.to_string()), Some(address));
        }
        let address = PeerAddress { hub: HubId(0), service: Service::Tunnel };
        assert_eq!(address.to_string(), "_hub/0/tunnel");
        assert!(crate::reply::is_reserved(&address.to_string()), "clients keep out");
    }

    #[test]
    fn what_is_no_address_is_none() {
        for topic in ["_hub", "_hub/1", "_hub/1/", "_hub/01/tunnel", "_hub/A/tunnel", "_hub/+1/tunnel", "hub/1/tunnel"]
        {
            assert_eq!(PeerAddress::parse(topic), None, "{topic}");
        }
        assert_eq!(PeerAddress::parse("_hub/1/tunnel/x"), None);
        assert_eq!(PeerAddress::parse("_hub/1/other"), None);
    }
}
