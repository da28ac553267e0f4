//! What is known of the hubs that a name in DNS leads to, and which of them are
//! wanted, as a pure decider: what was found is told, when to look again is asked.
//!
//! A look-up that fails changes nothing: a hub that was named is one until other
//! answers have come without it for a while. So neither a server that is out of
//! reach nor one that tells only a part at a time takes a link away.
//!
//! Of a service (RFC 2782) the hubs of the best priority are wanted, and those of
//! the next one while none of them is to be had.

use std::net::IpAddr;
use std::time::Duration;

use weft_base::Mono;
use weft_transport::dns::{DnsOptions, Found, Place, Sought};

/// A hub that DNS has named.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) place: Place,
    /// When it was last named.
    seen: Mono,
    /// It is this hub, or has turned out to be.
    is_own: bool,
    /// Its place among the hubs that links are kept to, while it has one.
    pub(super) kept: Option<usize>,
}

/// How it stands with a hub that is to be linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It was not tried yet, or is being tried for the first time.
    New,
    /// It was tried, and is not to be had.
    Failed,
    /// There is a link, and it lasts.
    Linked,
}

/// A name, and what it leads to.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) sought: Sought,
    options: DnsOptions,
    /// This hub's own addresses, as it tells them.
    own: Vec<String>,
    pub(super) named: Vec<Named>,
    /// When to look again; none while that goes on.
    due: Option<Mono>,
    /// When it was last looked up.
    asked: Mono,
    /// Failures in a row.
    pub(super) failures: u32,
    /// Which one is next to begin with.
    next: usize,
}

impl Source {
    pub(super) fn new(sought: Sought, options: &DnsOptions, own: &[String]) -> Self {
        let (options, own, due) = (options.clone(), own.to_vec(), Some(Mono(0)));
        Self { sought, options, own, named: Vec::new(), due, asked: Mono(0), failures: 0, next: 0 }
    }

    /// When a look-up is due.
    pub(super) const fn next(&self) -> Option<Mono> {
        self.due
    }

    /// Whether to look it up now; it counts as being looked up from here on.
    pub(super) fn is_due(&mut self, now: Mono) -> bool {
        let is_due = self.due.take_if(|at| *at <= now).is_some();
        if is_due {
            self.asked = now;
        }
        is_due
    }

    /// A hub that it names was not to be had: it is looked up soon, though not more
    /// often than is allowed.
    pub(super) fn look_again(&mut self, now: Mono) {
        if let Some(due) = &mut self.due {
            *due = (*due).min(self.asked + self.options.least).max(now);
        }
    }

    /// Whether two places are one hub, whatever else is said of it.
    fn is_same(&self, a: &Place, b: &Place) -> bool {
        // Every address of one name is another hub.
        a.address == b.address && (matches!(self.sought, Sought::Service { .. }) || a.at == b.at)
    }

    fn is_own(&self, place: &Place) -> bool {
        let target = weft_transport::quic::target_of(&place.address);
        let scheme = if target.is_some() { "quic:" } else { "" };
        let port = place.address.rsplit_once(':').map_or("", |(_, port)| port);
        let socket = |ip: &IpAddr| match ip {
            IpAddr::V4(ip) => format!("{scheme}{ip}:{port}"),
            IpAddr::V6(ip) => format!("{scheme}[{ip}]:{port}"),
        };
        // The name that others dial is this hub's own only where it is no other's.
        let is_name = matches!(self.sought, Sought::Service { .. }) && self.own.contains(&place.address);
        is_name || place.at.iter().any(|ip| self.own.contains(&socket(ip)))
    }

    /// What a look-up has found; answers whether that is new in anything.
    pub(super) fn found(&mut self, found: Found, now: Mono) -> bool {
        self.due = Some(now + found.holds);
        self.failures = 0;
        let mut is_new = false;
        let mut known = std::mem::take(&mut self.named);
        for place in found.places {
            let at = known.iter().position(|named| self.is_same(&named.place, &place));
            let mut named = match at {
                Some(at) => known.remove(at),
                None => Named { place: place.clone(), seen: now, is_own: self.is_own(&place), kept: None },
            };
            is_new |= at.is_none() || named.place != place;
            if named.place.at != place.at {
                named.is_own = self.is_own(&place);
            }
            (named.place, named.seen) = (place, now);
            self.named.push(named);
        }
        // Those that were not named now stay for a while, behind the others, but for
        // more than there may be.
        for named in known {
            if now.since(named.seen) < self.options.gone && self.named.len() < self.options.targets {
                self.named.push(named);
            } else {
                is_new = true;
            }
        }
        is_new
    }

    /// A look-up has failed; answers whether it had not before.
    pub(super) fn failed(&mut self, now: Mono) -> bool {
        let pause = self.options.least.saturating_mul(1 << self.failures.min(20));
        self.due = Some(now + pause.min(self.options.most));
        self.failures = self.failures.saturating_add(1);
        self.failures == 1
    }

    /// One of them to begin with: each in turn, as they are ordered.
    pub(super) fn begin(&mut self) -> Option<Place> {
        let others: Vec<&Place> = self.named.iter().filter(|named| !named.is_own).map(|named| &named.place).collect();
        let at = self.next.checked_rem(others.len())?;
        self.next = at + 1;
        others.get(at).map(|place| (*place).clone())
    }

    /// The place has turned out to be this hub's own.
    pub(super) fn own(&mut self, is_it: impl Fn(&Named) -> bool) {
        self.named.iter_mut().filter(|named| is_it(named)).for_each(|named| named.is_own = true);
    }

    /// Which of them are wanted, by their places here.
    pub(super) fn wanted(&self, standing: impl Fn(&Named) -> Standing) -> Vec<bool> {
        let others = || self.named.iter().filter(|named| !named.is_own);
        let mut level = None;
        let mut priorities: Vec<u16> = others().map(|named| named.place.priority).collect();
        priorities.sort_unstable();
        priorities.dedup();
        for priority in priorities {
            level = Some(priority);
            let mut of_level = others().filter(|named| named.place.priority == priority);
            if of_level.any(|named| standing(named) != Standing::Failed) {
                break;
            }
        }
        let is_wanted = |named: &Named| !named.is_own && level.is_some_and(|level| named.place.priority <= level);
        self.named.iter().map(is_wanted).collect()
    }

    /// The longest that may pass until what is wanted is looked at again.
    pub(super) const LOOK: Duration = Duration::from_secs(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono(0) + Duration::from_secs(seconds)
    }

    fn source(text: &str) -> Source {
        let sought = Sought::of(text).expect("a name").expect("a sound one");
        Source::new(
            sought,
            &DnsOptions { targets: 4, ..DnsOptions::default() },
            &["me.example:1".to_owned(), "quic:[::2]:7".to_owned()],
        )
    }

    fn service() -> Source {
        source("srv:_weft._tcp.example")
    }

    fn place(host: &str, priority: u16) -> Place {
        Place { address: format!("{host}.example:1"), at: Vec::new(), priority }
    }

    fn found(places: &[Place]) -> Found {
        Found { places: places.to_vec(), beyond: 0, holds: Duration::from_secs(20) }
    }

    fn names(source: &Source) -> Vec<&str> {
        source.named.iter().map(|named| named.place.address.split('.').next().unwrap()).collect()
    }

    #[test]
    fn it_is_looked_up_when_what_was_said_holds_no_more_and_sooner_when_a_hub_fails() {
        let mut source = service();
        assert!(source.is_due(at(0)) && !source.is_due(at(999)), "it goes on");
        source.found(found(&[place("a", 1)]), at(1));
        assert_eq!(source.next(), Some(at(21)));
        source.look_again(at(2));
        assert_eq!(source.next(), Some(at(5)), "not more often than every five seconds");
        assert!(source.is_due(at(5)) && source.failed(at(6)));
        assert_eq!(source.next(), Some(at(11)));
        source.look_again(at(20));
        assert!(source.is_due(at(20)) && !source.failed(at(20)), "not for the first time");
        source.look_again(at(21));
        assert_eq!((source.next(), source.failures), (Some(at(25)), 2));
        for _ in 0..9 {
            source.failed(at(30));
        }
        assert_eq!(source.next(), Some(at(60)), "ever more rarely");
    }

    #[test]
    fn hubs_come_and_go_as_they_are_named_and_no_failure_takes_one_away() {
        let mut source = service();
        assert!(source.found(found(&[place("a", 1), place("b", 1)]), at(0)));
        assert!(!source.found(found(&[place("b", 1), place("a", 1)]), at(20)));
        source.named[1].kept = Some(7);
        assert!(source.found(found(&[place("c", 1)]), at(40)));
        assert_eq!(names(&source), ["c", "b", "a"], "those that were not named stay a while");
        assert_eq!(source.named[2].kept, Some(7));
        for seconds in [60, 600, 6_000] {
            source.failed(at(seconds));
        }
        assert_eq!(names(&source), ["c", "b", "a"]);
        assert!(source.found(found(&[place("c", 1), place("b", 1)]), at(6_010)));
        assert_eq!(names(&source), ["c", "b"], "now an answer came without it, long after");
        // Never more than the limit.
        let more: Vec<Place> = (0..3).map(|n| place(&format!("d{n}"), 1)).collect();
        source.found(found(&more), at(6_020));
        assert_eq!(source.named.len(), 4);
    }

    #[test]
    fn another_address_is_of_the_same_target_and_another_hub_of_a_name() {
        let with = |host: &str, last: u8| Place { at: vec![[10, 0, 0, last].into()], ..place(host, 0) };
        let mut source = service();
        source.found(found(&[with("a", 1)]), at(0));
        source.named[0].kept = Some(3);
        assert!(source.found(found(&[with("a", 2)]), at(1)));
        assert_eq!((source.named.len(), source.named[0].kept), (1, Some(3)));
        let mut source = self::source("dns:a.example:1");
        source.found(found(&[with("a", 1)]), at(0));
        assert!(source.found(found(&[with("a", 2)]), at(1)));
        assert_eq!(source.named.len(), 2);
    }

    #[test]
    fn its_own_address_is_neither_wanted_nor_begun_with() {
        let mut source = service();
        let by_address =
            Place { address: "quic:x.example:7".to_owned(), at: vec!["::2".parse().unwrap()], priority: 0 };
        source.found(found(&[place("me", 0), by_address, place("a", 0), place("b", 0)]), at(0));
        assert_eq!(source.wanted(|_| Standing::New), [false, false, true, true]);
        let begun: Vec<String> = (0..3).filter_map(|_| source.begin()).map(|place| place.address).collect();
        assert_eq!(begun, ["a.example:1", "b.example:1", "a.example:1"]);
        // A hub finds out only by dialling when it is known by other addresses.
        source.own(|named| named.place.address == "a.example:1");
        assert_eq!(source.wanted(|_| Standing::New), [false, false, false, true]);
        source.own(|_| true);
        assert_eq!(source.begin(), None);
    }

    #[test]
    fn the_next_priority_is_wanted_while_none_of_a_better_one_is_to_be_had() {
        let mut source = service();
        source.found(found(&[place("me", 0), place("a", 1), place("b", 1), place("c", 2)]), at(0));
        let stand = |a, b, c| {
            move |named: &Named| match named.place.address.as_bytes()[0] {
                b'a' => a,
                b'b' => b,
                _ => c,
            }
        };
        use Standing::{Failed, Linked, New};
        for (standing, wanted) in [
            ((New, New, New), [true, true, false]),
            ((Linked, Failed, New), [true, true, false]),
            ((Failed, New, New), [true, true, false]),
            ((Failed, Failed, New), [true, true, true]),
            ((Failed, Failed, Linked), [true, true, true]),
            ((Linked, Failed, Linked), [true, true, false]),
        ] {
            let (a, b, c) = standing;
            assert_eq!(source.wanted(stand(a, b, c))[1..], wanted, "{standing:?}");
        }
    }
}
