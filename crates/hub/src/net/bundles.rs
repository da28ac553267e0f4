//! Links that are made of several of the network's: each of those is a channel.

use std::collections::{BTreeMap, VecDeque};

use weft_transport::{CloseReason, LinkToken};

/// A link of several connections.
struct Bundle {
    /// Each, and whether it goes on.
    parts: Vec<(LinkToken, bool)>,
}

/// All links of several connections, by their first one.
#[derive(Default)]
pub(super) struct Bundles {
    bundles: BTreeMap<LinkToken, Bundle>,
    /// Whose connection it is.
    owners: BTreeMap<LinkToken, LinkToken>,
    /// Links of which the first connection has ended, and why.
    broken: VecDeque<(LinkToken, CloseReason)>,
}

impl Bundles {
    /// These become one link, known by the first.
    pub(super) fn bind(&mut self, first: LinkToken, others: impl Iterator<Item = LinkToken>) {
        let parts: Vec<_> = std::iter::once(first).chain(others).map(|link| (link, true)).collect();
        self.owners.extend(parts.iter().map(|(link, _)| (*link, first)));
        self.bundles.insert(first, Bundle { parts });
    }

    /// Whether there is no such link.
    pub(super) fn are_none(&self) -> bool {
        self.bundles.is_empty()
    }

    /// The connections of a link; itself, if it has one.
    pub(super) fn parts(&self, link: LinkToken) -> Vec<LinkToken> {
        match self.bundles.get(&link) {
            Some(bundle) => bundle.parts.iter().map(|(link, _)| *link).collect(),
            None => vec![link],
        }
    }

    /// How many connections a link has; `None` for one that is none of several.
    pub(super) fn count(&self, link: LinkToken) -> Option<usize> {
        self.bundles.get(&link).map(|bundle| bundle.parts.len())
    }

    /// The connection that is this channel of the link.
    pub(super) fn part(&self, link: LinkToken, channel: usize) -> Part {
        let Some(bundle) = self.bundles.get(&link) else { return Part::None };
        match bundle.parts.get(channel) {
            Some((part, true)) => Part::Goes(*part),
            _ if bundle.parts.iter().all(|(_, goes)| !goes) => Part::AllEnded,
            _ => Part::Ended,
        }
    }

    /// A connection has ended. Answers whether it is one of several, and if so
    /// of which link, and whether others of it go on.
    pub(super) fn ended(&mut self, part: LinkToken, reason: &CloseReason) -> Option<(LinkToken, bool)> {
        let first = *self.owners.get(&part)?;
        let bundle = self.bundles.get_mut(&first)?;
        if bundle.parts.iter().all(|(_, goes)| *goes) {
            self.broken.push_back((first, reason.clone()));
        }
        for (link, goes) in &mut bundle.parts {
            *goes &= *link != part;
        }
        Some((first, bundle.parts.iter().any(|(_, goes)| *goes)))
    }

    /// A link of which a connection has ended since the last call, and why.
    pub(super) fn take_broken(&mut self) -> Option<(LinkToken, CloseReason)> {
        self.broken.pop_front()
    }

    /// The link is over.
    pub(super) fn forget(&mut self, link: LinkToken) {
        let Some(bundle) = self.bundles.remove(&link) else { return };
        for (part, _) in bundle.parts {
            self.owners.remove(&part);
        }
        self.broken.retain(|(broken, _)| *broken != link);
    }
}

/// What a channel of a link is.
pub(super) enum Part {
    /// Of the network's own: the link is none of several.
    None,
    Goes(LinkToken),
    /// It has ended, and others have not.
    Ended,
    AllEnded,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> (Bundles, [LinkToken; 3]) {
        let (mut bundles, tokens) = (Bundles::default(), [LinkToken(4), LinkToken(9), LinkToken(6)]);
        bundles.bind(tokens[0], tokens[1..].iter().copied());
        (bundles, tokens)
    }

    #[test]
    fn each_connection_is_a_channel_until_it_ends_and_the_link_is_broken_once() {
        let (mut bundles, [first, second, third]) = one();
        assert_eq!((bundles.count(first), bundles.count(second)), (Some(3), None));
        assert!(matches!(bundles.part(first, 2), Part::Goes(link) if link == third));
        assert_eq!(bundles.ended(first, &CloseReason::PeerClosed), Some((first, true)));
        assert!(matches!(bundles.part(first, 0), Part::Ended));
        assert!(matches!(bundles.part(first, 1), Part::Goes(link) if link == second));
        assert_eq!(bundles.ended(second, &CloseReason::PeerClosed), Some((first, true)));
        assert_eq!(bundles.ended(third, &CloseReason::PeerClosed), Some((first, false)));
        assert!(matches!(bundles.part(first, 1), Part::AllEnded));
        assert_eq!(bundles.take_broken(), Some((first, CloseReason::PeerClosed)));
        assert_eq!(bundles.take_broken(), None);
    }

    #[test]
    fn what_is_none_of_several_or_forgotten_is_left_alone() {
        let (mut bundles, [first, second, _]) = one();
        let other = LinkToken(5);
        assert_eq!((bundles.parts(other), bundles.ended(other, &CloseReason::PeerClosed)), (vec![other], None));
        assert!(matches!(bundles.part(other, 0), Part::None));
        bundles.ended(second, &CloseReason::PeerClosed);
        bundles.forget(first);
        assert_eq!((bundles.take_broken(), bundles.count(first)), (None, None));
        assert_eq!(bundles.ended(second, &CloseReason::PeerClosed), None);
    }
}
