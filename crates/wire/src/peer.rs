//! Where the messages between hubs' stages go: topics of a reserved space that
//! name a hub and a service of it.
//!
//! ```text
//! _hub/HUB/SERVICE       the hub in hexadecimal; tunnel, replica or consumers
//! ```
//!
//! As replies are, they are addressed and not subscribed to. Hubs alone publish
//! there: a client that tries is refused.
//!
//! The first hubs end the link over which a block comes for a service whose name
//! they do not know, also where it is for another hub. So services that came
//! later, as [`Service::Control`], go to the address of the tunnel and are told by
//! the first byte of the message ([`Service::of`]), of which such hubs take no notice. They are not numbered (see [`UNNUMBERED`]), because the numbers
//! of messages run through all lanes. A name that is not known is [`Service::Other`].

use std::fmt;

use weft_base::HubId;

/// The first level of their topics.
const LEVEL: &str = "_hub/";

/// The longest name of a service.
const MOST_NAME: usize = 32;

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
    /// What hubs say of the control state: at the tunnel's address, in the most
    /// urgent lane, and not numbered.
    Control = 3,
    /// One of a later version: passed on, and dropped where it comes to.
    Other = 255,
}

/// What the flow entry of a message that is not numbered has as its incarnation:
/// no hub's life has this number. A hub that does not know of it takes the first
/// such message and no other for one of its next.
pub const UNNUMBERED: u32 = 0;
/// The first byte of messages for [`Service::Control`].
pub const CONTROL_MARK: u8 = 5;

impl Service {
    /// The services that have an address, in the order of their numbers.
    pub const ALL: [Service; 3] = [Service::Tunnel, Service::Replica, Service::Consumers];

    /// The name, as topics have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Service::Tunnel | Service::Control => "tunnel",
            Service::Replica => "replica",
            Service::Consumers => "consumers",
            Service::Other => "other",
        }
    }

    /// For whom a message at this address is that begins with this byte.
    #[must_use]
    pub const fn of(self, first: Option<u8>) -> Self {
        match (self, first) {
            (Service::Tunnel, Some(CONTROL_MARK)) => Service::Control,
            (service, _) => service,
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
        let may_be_one = (1..=MOST_NAME).contains(&service.len()) && service.bytes().all(|b| b.is_ascii_lowercase());
        let service = Service::ALL.into_iter().find(|known| known.name() == service);
        let service = service.or(may_be_one.then_some(Service::Other))?;
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
        for topic in ["_hub/1/tunnel/x", "_hub/1/Other", "_hub/1/a b", &format!("_hub/1/{}", "a".repeat(33))] {
            assert_eq!(PeerAddress::parse(topic), None, "{topic}");
        }
    }

    #[test]
    fn a_service_of_a_later_version_is_one_that_is_not_known() {
        let address = PeerAddress { hub: HubId(1), service: Service::Other };
        assert_eq!(PeerAddress::parse("_hub/1/somewhat"), Some(address));
    }

    #[test]
    fn what_is_said_of_the_control_state_is_at_the_tunnels_address() {
        let address = PeerAddress { hub: HubId(1), service: Service::Control };
        let parsed = PeerAddress::parse(&address.to_string()).expect("an address");
        assert_eq!(parsed.service, Service::Tunnel);
        assert_eq!(parsed.service.of(Some(CONTROL_MARK)), Service::Control);
        for first in (0..=u8::MAX).filter(|first| *first != CONTROL_MARK) {
            assert_eq!(Service::Tunnel.of(Some(first)), Service::Tunnel);
        }
        assert_eq!(
            (Service::Replica.of(Some(CONTROL_MARK)), Service::Tunnel.of(None)),
            (Service::Replica, Service::Tunnel)
        );
    }
}
