//! How often somebody may try: so many times a minute from each address, so
//! that who floods the door keeps nobody else from it. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use weft_base::Mono;

/// Addresses that are told apart; beyond it, strangers wait for one to be forgotten.
const MOST: usize = 1024;
/// The time in which the configured number of tries may be made.
const SPAN: Duration = Duration::from_secs(60);

/// Tries by address, by the generic cell rate algorithm (ITU-T I.371): of each
/// address only the time is kept until which its tries are accounted for.
#[derive(Debug)]
pub(super) struct Attempts {
    per_minute: u32,
    until: BTreeMap<IpAddr, Mono>,
}

impl Attempts {
    pub(super) fn new(per_minute: u32) -> Self {
        Self { per_minute: per_minute.max(1), until: BTreeMap::new() }
    }

    /// Whether this address may try now; when not, this is no try.
    pub(super) fn take(&mut self, from: IpAddr, now: Mono) -> bool {
        let from = network_of(from);
        if !self.until.contains_key(&from) && self.until.len() >= MOST {
            self.until.retain(|_, until| *until > now);
            if self.until.len() >= MOST {
                return false;
            }
        }
        let known = self.until.entry(from).or_insert(now);
        let until = (*known).max(now) + SPAN / self.per_minute;
        let may = until <= now + SPAN;
        if may {
            *known = until;
        }
        may
    }
}

/// One that a host cannot change at will: of IPv6 the first half.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono(seconds * 1_000_000_000)
    }

    fn host(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(n).into()
    }

    #[test]
    fn so_many_a_minute_and_then_as_they_come_back() {
        let mut attempts = Attempts::new(6);
        let tries = |attempts: &mut Attempts, now| (0..20).filter(|_| attempts.take(host(1), now)).count();
        assert_eq!(tries(&mut attempts, at(5)), 6);
        assert_eq!(tries(&mut attempts, at(14)), 0);
        assert_eq!(tries(&mut attempts, at(15)), 1);
        assert_eq!(tries(&mut attempts, at(1000)), 6);
        assert!(attempts.take(host(2), at(1000)), "another address has its own");
    }

    #[test]
    fn what_is_kept_is_bounded_and_forgotten() {
        let mut attempts = Attempts::new(1);
        let taken = (0..5000).filter(|n| attempts.take(host(*n), at(0))).count();
        assert_eq!((taken, attempts.until.len()), (MOST, MOST));
        assert!(attempts.take(host(9999), at(61)) && attempts.until.len() < MOST);
    }

    #[test]
    fn a_host_does_not_get_around_it_with_its_other_addresses() {
        let mut attempts = Attempts::new(1);
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert!(attempts.take(address("2001:db8::1"), at(0)));
        assert!(!attempts.take(address("2001:db8::2:1"), at(0)));
        assert!(attempts.take(address("2001:db8:0:1::1"), at(0)));
        assert!(attempts.take(address("10.0.0.1"), at(0)));
        assert!(!attempts.take(address("::ffff:10.0.0.1"), at(0)));
    }
}
