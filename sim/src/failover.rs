//! How long traffic stands still when a link is cut and there is another path:
//! from the cut until each hub's next hops, followed over links that work, lead
//! to every other hub again.

use std::time::Duration;

use weft_base::Mono;

/// A cut whose repair is waited for; a fault that follows makes it another case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    pub(crate) link: usize,
    pub(crate) since: Mono,
    /// Whether the ends were told.
    pub(crate) noticed: bool,
}

/// A cut that was survived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failover {
    /// Whether the link's ends were told of the cut, or had to find out.
    pub noticed: bool,
    /// How long traffic stood still, to the next 50 ms.
    pub took: Duration,
    /// The probe interval.
    pub interval: Duration,
}

impl Failover {
    /// The time in probe intervals.
    #[must_use]
    pub fn intervals(&self) -> f64 {
        self.took.as_secs_f64() / self.interval.as_secs_f64()
    }
}
