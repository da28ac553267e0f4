//! What the stages' controllers are told.

use std::time::Duration;

/// What the stages' controllers may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageBounds {
    /// Cores that the hub may use. `None`: those of the process.
    pub cores: Option<u32>,
    /// Cores of these that are left to the network stack and other programs.
    /// One thread is had in any case.
    pub leave_cores: u32,
    /// The time between two decisions, and between two readings of the gauges:
    /// 10 ms at least.
    pub interval: Duration,
    /// From this share of its time a thread is saturated, in percent.
    pub saturated_percent: u32,
    /// Up to this share a thread may come to be used when another is given
    /// back, in percent; below `saturated_percent`.
    pub idle_percent: u32,
    /// The fewest messages that the route stage takes per turn.
    pub batch_least: u32,
    /// The most.
    pub batch_most: u32,
}

impl Default for StageBounds {
    fn default() -> Self {
        Self {
            cores: None,
            leave_cores: 1,
            interval: Duration::from_millis(100),
            saturated_percent: 85,
            idle_percent: 50,
            batch_least: 64,
            batch_most: 256,
        }
    }
}

impl StageBounds {
    pub(super) fn violations(&self, found: &mut Vec<(&'static str, String)>) {
        if self.interval < Duration::from_millis(10) {
            found.push(("stages.interval", format!("{:?} is too short: at least 10 ms", self.interval)));
        }
        if self.saturated_percent > 100 || self.idle_percent >= self.saturated_percent {
            let (idle, saturated) = (self.idle_percent, self.saturated_percent);
            let remedy = "needs 0 <= idle_percent < saturated_percent <= 100, well apart";
            found.push(("stages.idle_percent", format!("{idle} with saturated_percent = {saturated}: {remedy}")));
        }
        if self.batch_least == 0 || self.batch_least > self.batch_most || self.batch_most > 65_536 {
            let (least, most) = (self.batch_least, self.batch_most);
            let remedy = "needs 1 <= batch_least <= batch_most <= 65536";
            found.push(("stages.batch_least", format!("{least} with batch_most = {most}: {remedy}")));
        }
        if self.cores == Some(0) {
            found.push(("stages.cores", "0 is too small: at least 1, or leave it out".to_owned()));
        }
    }
}
