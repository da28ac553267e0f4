//! How often somebody may try: so many times a minute each, so that who floods
//! the door keeps nobody else from it. Pure.
//!
//! When as many are told apart as there may be, the one nearest to being
//! forgotten is: a flood from ever new places is then limited by what a try
//! costs alone, and still keeps nobody from trying.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use weft_base::Mono;

/// The time in which the configured number of tries may be made.
const SPAN: Duration = Duration::from_secs(60);
/// The longest that anybody waits, for tries that were under way all at once.
pub const MOST_DEBT: Duration = Duration::from_secs(300);

/// Tries by whoever makes them, by the generic cell rate algorithm (ITU-T I.371):
/// of each only the time is kept until which its tries are accounted for.
#[derive(Debug)]
pub struct Attempts<K> {
    per_minute: u32,
    most: usize,
    until: BTreeMap<K, Mono>,
}

impl<K: Ord + Clone> Attempts<K> {
    /// So many a minute for each, of whom `most` are told apart.
    #[must_use]
    pub fn new(per_minute: u32, most: usize) -> Self {
        Self { per_minute: per_minute.max(1), most: most.max(1), until: BTreeMap::new() }
    }

    /// Whether this one may try now.
    ///
    /// # Errors
    /// After how long it may.
    pub fn may(&self, who: &K, now: Mono) -> Result<(), Duration> {
        let until = self.until.get(who).copied().unwrap_or(now).max(now) + SPAN / self.per_minute;
        if until > now + SPAN {
            return Err(until.since(now + SPAN));
        }
        Ok(())
    }

    /// This one has tried. Who does so more often than it may, because tries are
    /// counted once they have failed, waits the longer, up to [`MOST_DEBT`].
    pub fn count(&mut self, who: &K, now: Mono) {
        if !self.until.contains_key(who) && self.until.len() >= self.most {
            self.until.retain(|_, until| *until > now);
            if self.until.len() >= self.most {
                let first = self.until.iter().min_by_key(|(_, until)| **until).map(|(who, _)| who.clone());
                first.and_then(|who| self.until.remove(&who));
            }
        }
        let known = self.until.get(who).copied().unwrap_or(now).max(now);
        self.until.insert(who.clone(), (known + SPAN / self.per_minute).min(now + SPAN + MOST_DEBT));
    }

    /// Whether this one may try now; then it has.
    ///
    /// # Errors
    /// After how long it may; this was no try then.
    pub fn take(&mut self, who: &K, now: Mono) -> Result<(), Duration> {
        self.may(who, now)?;
        self.count(who, now);
        Ok(())
    }

    /// How many are told apart at present.
    #[must_use]
    pub fn known(&self) -> usize {
        self.until.len()
    }
}

/// One that a host cannot change at will: of IPv6 the first half.
#[must_use]
pub fn network_of(address: IpAddr) -> IpAddr {
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

    #[test]
    fn so_many_a_minute_and_then_as_they_come_back() {
        let mut attempts = Attempts::new(6, 8);
        let tries = |attempts: &mut Attempts<u32>, now| (0..20).filter(|_| attempts.take(&1, now).is_ok()).count();
        assert_eq!(tries(&mut attempts, at(5)), 6);
        assert_eq!(attempts.take(&1, at(5)), Err(Duration::from_secs(10)));
        assert_eq!(tries(&mut attempts, at(14)), 0);
        assert_eq!(tries(&mut attempts, at(15)), 1);
        assert_eq!(tries(&mut attempts, at(1000)), 6);
        assert!(attempts.take(&2, at(1000)).is_ok(), "another has its own");
    }

    #[test]
    fn tries_that_fail_all_at_once_are_paid_for_later() {
        let mut attempts = Attempts::new(60, 8);
        assert!(attempts.may(&1, at(0)).is_ok());
        (0..120).for_each(|_| attempts.count(&1, at(0)));
        assert_eq!(attempts.may(&1, at(0)), Err(Duration::from_secs(61)));
        assert!(attempts.may(&1, at(60)).is_err() && attempts.may(&1, at(61)).is_ok());
        (0..100_000).for_each(|_| attempts.count(&1, at(61)));
        assert!(attempts.may(&1, at(61)).is_err_and(|wait| wait <= MOST_DEBT + Duration::from_secs(1)));
    }

    #[test]
    fn what_is_kept_is_bounded_and_strangers_are_not_kept_out() {
        let mut attempts = Attempts::new(1, 100);
        for n in 0..5000_u32 {
            assert!(attempts.take(&n, at(0)).is_ok(), "{n}");
            assert!(attempts.known() <= 100);
        }
        assert!(attempts.take(&9999, at(61)).is_ok());
        assert_eq!(attempts.known(), 1, "what is over is forgotten");
    }

    #[test]
    fn a_host_does_not_get_around_it_with_its_other_addresses() {
        let mut attempts = Attempts::new(1, 8);
        let network = |text: &str| network_of(text.parse::<IpAddr>().expect("an address"));
        assert!(attempts.take(&network("2001:db8::1"), at(0)).is_ok());
        assert!(attempts.take(&network("2001:db8::2:1"), at(0)).is_err());
        assert!(attempts.take(&network("2001:db8:0:1::1"), at(0)).is_ok());
        assert!(attempts.take(&network("10.0.0.1"), at(0)).is_ok());
        assert!(attempts.take(&network("::ffff:10.0.0.1"), at(0)).is_err());
    }
}
