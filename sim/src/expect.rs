//! What a mesh is held to beyond what is always promised.

use std::time::Duration;

use weft_mesh::Timers;

/// Bounds that checkers hold; none: measured and reported, not held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expect {
    /// After the last fault, routes change no more from here on.
    pub convergence: Duration,
    /// With a link cut and another path there, traffic flows again within so
    /// many probe intervals (the timer `ping`).
    pub failover: Option<u32>,
    /// Of a hundred deliveries, one may take longer than this.
    pub latency_p99: Option<Duration>,
    /// No hub sends more bytes of control a second, over the whole run.
    pub control: Option<u64>,
}

impl Expect {
    /// What every mesh is held to.
    ///
    /// One answer that came only when a process went on, seconds late, weighs on
    /// the smoothed round trip (an eighth of what is new) for some 50 pings. A few
    /// answers that are late or lost weigh on the loss (a 64th) for 136 more at the
    /// most, whatever it was: `a_loss_is_over_in_time_however_great_it_was`, in
    /// `crates/mesh/src/costs.rs`. Routes may change until then.
    #[must_use]
    pub fn of(timers: &Timers) -> Self {
        let convergence = timers.ping * 150 + timers.rtt_hold * 2;
        Self { convergence, failover: Some(3), latency_p99: None, control: None }
    }
}
