//! A hub that is about to stop: what it says of that with its record, and where
//! its clients may go.
//!
//! Two things are said. The cost of each of its links is raised, which all hubs
//! understand, also those that know nothing of draining, so that all find the
//! same ways. And the record has a flag, by which others choose where consumers
//! run and where clients go.

use weft_base::HubId;
use weft_wire::frame::{MAX_CLIENT_ADDRESS, MAX_PLACES, attribute};

use super::Mesh;
use super::records::Hub;

/// A hub that takes clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientPlace {
    /// The hub.
    pub hub: HubId,
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// What the way there costs, in microseconds.
    pub cost: u64,
    /// Where it takes them, the best first: at least one.
    pub addresses: Vec<String>,
}

impl Mesh {
    /// Says where clients of other hubs may connect to this one, the best first;
    /// at most [`MAX_PLACES`] addresses of at most [`MAX_CLIENT_ADDRESS`] bytes,
    /// others are left out.
    pub fn set_client_addresses(&mut self, addresses: &[String]) {
        let mut bytes = Vec::new();
        for address in addresses.iter().map(String::as_bytes).filter(|a| is_address(a)).take(MAX_PLACES) {
            // At most MAX_CLIENT_ADDRESS, so it fits.
            bytes.push(address.len() as u8);
            bytes.extend_from_slice(address);
        }
        self.set_attribute(attribute::CLIENTS, (!bytes.is_empty()).then_some(bytes));
    }

    pub(super) fn set_draining(&mut self, draining: bool) {
        self.is_draining = draining;
        self.set_attribute(attribute::FLAGS, draining.then(|| vec![attribute::DRAINING]));
        // Costs are told anew.
        self.links_changed = true;
        self.hubs_changed = true;
    }

    /// The other hubs where clients may connect, the nearest first: those that
    /// can be reached, do not drain and say where.
    #[must_use]
    pub fn client_places(&self) -> Vec<ClientPlace> {
        let places = self.hubs.iter().filter(|(_, hub)| !hub.is_draining()).filter_map(|(id, hub)| {
            let addresses = decode(hub.attribute(attribute::CLIENTS)?);
            let cost = hub.path?.cost;
            let place = || ClientPlace {
                hub: *id,
                name: hub.name.clone(),
                region: hub.region.clone(),
                cost,
                addresses: addresses.iter().map(|&address| address.to_owned()).collect(),
            };
            (!addresses.is_empty()).then(place)
        });
        let mut places: Vec<ClientPlace> = places.collect();
        places.sort_by_key(|place| (place.cost, place.hub));
        places
    }
}

impl Hub {
    /// It says that it is about to stop. What its record says counts while it
    /// is not too old.
    pub(super) fn is_draining(&self) -> bool {
        let flags = self.attribute(attribute::FLAGS).and_then(<[u8]>::first);
        !self.is_expired && flags.is_some_and(|flags| flags & attribute::DRAINING != 0)
    }
}

/// The addresses in an attribute; none of one that breaks the rules.
fn decode(bytes: &[u8]) -> Vec<&str> {
    let mut addresses = Vec::new();
    let mut rest = bytes;
    while let Some((len, after)) = rest.split_first() {
        let Some((address, after)) = after.split_at_checked(usize::from(*len)) else { return Vec::new() };
        match std::str::from_utf8(address) {
            Ok(text) if is_address(address) && addresses.len() < MAX_PLACES => addresses.push(text),
            _ => return Vec::new(),
        }
        rest = after;
    }
    addresses
}

fn is_address(bytes: &[u8]) -> bool {
    (1..=MAX_CLIENT_ADDRESS).contains(&bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_were_told_and_nonsense_is_none() {
        assert_eq!(decode(b"\x03a:1\x03b:2"), ["a:1", "b:2"]);
        for wrong in [&b"\x04a:1"[..], b"\x03a:1\0", b"\x01\xff", &[b'\x01', b'a'].repeat(MAX_PLACES + 1)] {
            assert_eq!(decode(wrong), [""; 0], "{wrong:?}");
        }
    }
}
