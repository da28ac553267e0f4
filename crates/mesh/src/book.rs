//! Where hubs of the mesh are dialled: what their records say, kept through
//! restarts, so that a hub that has lost its neighbours finds another way back
//! into the mesh. Pure.
//!
//! What is said here is only tried: who answers at an address shows its
//! certificate, and is no neighbour unless it is the hub of that name.

use std::collections::BTreeMap;

use weft_base::Random;

use crate::MAX_HUBS;

/// The most addresses that a hub tells of itself.
pub const MAX_ADDRESSES: usize = 8;
/// The longest address, in bytes.
pub const MAX_ADDRESS: usize = 255;

/// A hub and where it is dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialled {
    /// Its name.
    pub name: String,
    /// Where: `HOST:PORT` or `quic:HOST:PORT`.
    pub address: String,
}

/// The addresses as an attribute, each a u8 length and the text; none when there are none.
pub(crate) fn encode(addresses: &[String]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for address in addresses.iter().filter(|address| is_address(address.as_bytes())).take(MAX_ADDRESSES) {
        // At most MAX_ADDRESS, so it fits.
        bytes.push(address.len() as u8);
        bytes.extend_from_slice(address.as_bytes());
    }
    (!bytes.is_empty()).then_some(bytes)
}

/// The addresses in an attribute; none of one that breaks the rules.
pub(crate) fn decode(bytes: &[u8]) -> Vec<String> {
    let mut addresses = Vec::new();
    let mut rest = bytes;
    while let Some((len, after)) = rest.split_first() {
        let Some((address, after)) = after.split_at_checked(usize::from(*len)) else { return Vec::new() };
        let Ok(text) = std::str::from_utf8(address) else { return Vec::new() };
        if !is_address(address) || addresses.len() >= MAX_ADDRESSES {
            return Vec::new();
        }
        addresses.push(text.to_owned());
        rest = after;
    }
    addresses
}

/// Whether it may be one: it is logged and dialled.
fn is_address(bytes: &[u8]) -> bool {
    (1..=MAX_ADDRESS).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic) && bytes.contains(&b':')
}

/// The addresses of all hubs that told theirs: at most as many hubs as a mesh has.
#[derive(Debug, Default)]
pub(crate) struct Book(BTreeMap<String, Vec<String>>);

impl Book {
    /// Takes in what a hub tells of itself now; answers whether that is news. At
    /// the bound the first by name is forgotten.
    pub(crate) fn learn(&mut self, name: &str, mut addresses: Vec<String>) -> bool {
        addresses.retain(|address| is_address(address.as_bytes()));
        addresses.truncate(MAX_ADDRESSES);
        if self.0.get(name).map_or(&[][..], Vec::as_slice) == addresses {
            return false;
        }
        if addresses.is_empty() {
            return self.0.remove(name).is_some();
        }
        if !self.0.contains_key(name) && self.0.len() >= MAX_HUBS {
            self.0.pop_first();
        }
        self.0.insert(name.to_owned(), addresses);
        true
    }

    pub(crate) fn of(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &Vec<String>)> {
        self.0.iter()
    }

    /// One of the addresses of a hub, so that one of them that does not work is passed over.
    pub(crate) fn one_of(&self, name: &str, random: &mut Random) -> Option<String> {
        let addresses = self.of(name);
        addresses.get(random.below(addresses.len().max(1) as u64) as usize).cloned()
    }

    /// One of all that are known, so that hubs that lose the same neighbour do
    /// not all come to the same other one.
    pub(crate) fn any(&self, random: &mut Random) -> Option<Dialled> {
        let hub = random.below(self.0.len().max(1) as u64) as usize;
        let name = self.0.keys().nth(hub)?;
        Some(Dialled { name: name.clone(), address: self.one_of(name, random)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(of: &[&str]) -> Vec<String> {
        of.iter().map(|address| (*address).to_owned()).collect()
    }

    #[test]
    fn addresses_are_read_as_they_were_told_and_nonsense_is_none() {
        let told = addresses(&["10.0.0.1:7412", "quic:[::1]:7412"]);
        let bytes = encode(&told).expect("two");
        assert_eq!(decode(&bytes), told);
        assert_eq!(encode(&[]), None);
        let many: Vec<String> = (0..40).map(|n| format!("a:{n}")).collect();
        assert_eq!(decode(&encode(&many).expect("some")).len(), MAX_ADDRESSES);
        assert_eq!(encode(&addresses(&["no port", "a:\n1", "ü:1", ""])), None);
        let cut = &bytes[..bytes.len() - 1];
        for wrong in [cut, b"\0", b"\x01a", b"\x03a:\n", b"\x02\xff:", &[b"\x02a:".as_slice(); 9].concat()] {
            assert!(decode(wrong).is_empty(), "{wrong:?}");
        }
    }

    #[test]
    fn what_a_hub_tells_last_counts_and_all_that_is_known_is_tried() {
        let mut book = Book::default();
        assert!(book.learn("a", addresses(&["a:1"])) && !book.learn("a", addresses(&["a:1"])));
        assert!(book.learn("a", addresses(&["a:2", "a:3"])) && book.learn("b", addresses(&["b:1"])));
        assert!(!book.learn("c", Vec::new()));
        let mut random = Random::from_seed(7);
        let mut tried: Vec<String> = (0..100).filter_map(|_| book.any(&mut random)).map(|to| to.address).collect();
        tried.sort();
        tried.dedup();
        assert_eq!(tried, ["a:2", "a:3", "b:1"]);
        assert!(book.learn("a", Vec::new()) && book.learn("b", Vec::new()));
        assert_eq!(book.any(&mut random), None);
    }

    #[test]
    fn no_more_hubs_are_kept_than_a_mesh_has() {
        let mut book = Book::default();
        for hub in 0..MAX_HUBS + 9 {
            book.learn(&format!("hub-{hub:05}"), addresses(&["a:1"]));
        }
        assert_eq!(book.iter().count(), MAX_HUBS);
        assert!(book.of("hub-00000").is_empty() && !book.of(&format!("hub-{:05}", MAX_HUBS + 8)).is_empty());
    }
}
