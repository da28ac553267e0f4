//! Of a snapshot: the ways for events that may be only at hubs with a label, and
//! what is not to be where.

use weft_base::{HubId, Residency};

use crate::ledger::DropReason;
use crate::routes::Routes;

impl Routes {
    /// With these ways for events that are bound to labels.
    pub(crate) fn with_bound(self, bound: Vec<(Residency, Routes)>) -> Self {
        let view = |(residency, routes): (Residency, Routes)| (residency, Routes { is_view: true, ..routes });
        Self { bound: bound.into_iter().map(view).collect(), ..self }
    }

    /// The ways for events that may be there alone: over no hub without the
    /// labels. None where this hub does not carry them itself: it must not have
    /// such an event.
    #[must_use]
    pub fn bound(&self, residency: Residency) -> Option<&Routes> {
        if !residency.is_bound() {
            return Some(self);
        }
        self.bound.iter().find(|(of, _)| *of == residency).map(|(_, routes)| routes)
    }

    /// Of the ways for bound events: whether the hub does not carry the labels.
    /// One that is unknown does not.
    #[must_use]
    pub fn is_outside(&self, hub: HubId) -> bool {
        self.is_view && hub != self.me && self.known(hub).is_none_or(|known| known.outside)
    }

    /// Whether events of this residency may be at the hub, this one or another,
    /// as far as this hub may have them itself.
    #[must_use]
    pub fn may_be_at(&self, hub: HubId, residency: Residency) -> bool {
        self.bound(residency).is_some_and(|routes| !routes.is_outside(hub))
    }

    /// The labels that a hub and this one have in common: messages between them
    /// keep to hubs with all of these.
    #[must_use]
    pub fn shared(&self, hub: HubId) -> Residency {
        self.known(hub).map_or(Residency::ANYWHERE, |known| known.shared)
    }

    /// Why nothing can be sent to a hub that no way leads to.
    #[must_use]
    pub fn why_not(&self, hub: HubId) -> DropReason {
        let is_bound = self.known(hub).is_some_and(|known| known.outside || known.elsewhere);
        if is_bound { DropReason::Residency } else { DropReason::NoPath }
    }
}
