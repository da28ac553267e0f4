//! What a hub is dialled for, as the conductor and the net stage tell each other.

use weft_base::HubId;
use weft_mesh::Why;

/// What a hub is dialled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dial {
    /// To keep a link to it, as it was told: its place among those.
    Neighbour(usize),
    /// To keep a link to it, because DNS names it: its place among the same, and that
    /// of the name.
    Named(usize, usize),
    /// To be in the mesh at all: any hub will do.
    Any,
    /// To keep a link to it, by policy.
    Picked(HubId, Why),
    /// To measure how far it is, and no more.
    Probe(HubId),
}

impl Dial {
    /// Its place among the hubs that links are kept to, for one of those.
    pub(crate) const fn place(self) -> Option<usize> {
        match self {
            Self::Neighbour(place) | Self::Named(place, _) => Some(place),
            Self::Any | Self::Picked(..) | Self::Probe(_) => None,
        }
    }

    /// Whether it may turn out to be this hub, which is then no mistake: where all
    /// hubs have the same names to begin with, each is among what they lead to.
    pub(crate) const fn may_be_own(self) -> bool {
        matches!(self, Self::Named(..) | Self::Any)
    }
}
