//! Cuts with another way: how long until traffic flows again, in probe intervals.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use weft_base::HubId;
use weft_client::LinkReport;

use crate::load::Load;
use crate::mesh::{Mesh, PROBE, name};
use crate::run::{LAST_WORDS, PATIENCE};
use crate::shape::Plan;
use crate::timeline::Timeline;

/// Failover within so many probe intervals is the goal.
const GOAL: f64 = 3.0;
/// The longest that failover may take, on a machine that has much else to do.
const LONGEST: Duration = Duration::from_secs(30);
/// A link that costs as much is suspected, at one end or the other: it is not in use.
const SUSPECTED: u32 = 1 << 29;

/// What cuts came to.
#[derive(Default)]
pub(crate) struct Failovers(Vec<Duration>);

impl Failovers {
    /// Cuts lines that are not needed, one after the other, so many in all, each
    /// when its link is in use again; notes how long its ends heard nothing of each other.
    pub(crate) fn measure(cuts: usize, plan: &Plan, mesh: &Mesh, load: &Load, timeline: &mut Timeline) -> Result<Self> {
        let spares = plan.spares();
        let mut took = Vec::new();
        for number in 0..if spares.is_empty() { 0 } else { cuts } {
            // Each line twice in a row: the second time its link has come back from a cut.
            let line = spares[number / 2 % spares.len()];
            // The others too: they are the other way.
            let early = (0..plan.lines.len()).filter(|line| !plan.late.contains(line));
            early.map(|line| plan.lines[line]).try_for_each(|between| in_use(between, load))?;
            took.push(cut(plan.lines[line], line, mesh, load, timeline)?);
            mesh.heal(line);
        }
        Ok(Self(took))
    }

    fn intervals(&self) -> Vec<f64> {
        let mut all: Vec<f64> = self.0.iter().map(|took| took.as_secs_f64() / PROBE.as_secs_f64()).collect();
        all.sort_by(f64::total_cmp);
        all
    }

    /// In words.
    pub(crate) fn describe(&self) -> String {
        let all = self.intervals();
        let Some(worst) = all.last() else { return "failover: this shape has no second way".to_owned() };
        let met = if self.meet_the_goal() { "met" } else { "missed" };
        format!(
            "failover: {} cuts, median {:.2} and at most {worst:.2} probe intervals of {} ms; the goal of {GOAL:.0} is {met}",
            all.len(),
            all[all.len() / 2],
            PROBE.as_millis()
        )
    }

    /// Whether each was over in time.
    pub(crate) fn meet_the_goal(&self) -> bool {
        self.intervals().iter().all(|intervals| *intervals <= GOAL)
    }

    /// What no load of the machine explains.
    pub(crate) fn wrong(&self) -> Option<String> {
        self.0.iter().any(|took| *took > LONGEST).then(|| format!("failover took longer than {LONGEST:?}"))
    }
}

/// Waits until the link between two hubs is up and nobody suspects it, by both hubs' words and in both directions.
fn in_use((a, b): (usize, usize), load: &Load) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    let ids = [a, b].map(|hub| HubId::of_name(&name(hub)));
    let says = |hub: usize| {
        load.report(hub, LAST_WORDS).is_some_and(|report| {
            let between = |link: &&LinkReport| ids.contains(&link.from) && ids.contains(&link.to);
            let mut links = report.links.iter().filter(between).peekable();
            // Of a link that is down a hub may say nothing at all.
            links.peek().is_some() && links.all(|link| link.up && link.cost < SUSPECTED)
        })
    };
    while !(says(a) && says(b)) {
        ensure!(Instant::now() < end, "the link between {} and {} is not used again", name(a), name(b));
        std::thread::park_timeout(Duration::from_millis(20));
    }
    Ok(())
}

fn cut((a, b): (usize, usize), line: usize, mesh: &Mesh, load: &Load, timeline: &mut Timeline) -> Result<Duration> {
    mesh.lines[line].both(|conditions| conditions.cut = true);
    let cut = timeline.now();
    timeline.note(format!("{} is cut; there is another way", mesh.line_name(line)));
    let took = loop {
        if let (Some(there), Some(back)) = (load.first_after(a, b, cut), load.first_after(b, a, cut)) {
            break there.max(back) - cut;
        }
        ensure!(timeline.now() - cut < PATIENCE, "traffic does not flow again after a cut");
        std::thread::park_timeout(Duration::from_millis(1));
    };
    let (seconds, intervals) = (took.as_secs_f64(), took.as_secs_f64() / PROBE.as_secs_f64());
    timeline.note(format!("traffic flows again, {seconds:.3} s after the cut: {intervals:.2} probe intervals"));
    Ok(took)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_goal_is_met_when_the_worst_cut_meets_it() {
        let of = |cuts: &[u32]| Failovers(cuts.iter().map(|intervals| PROBE * *intervals).collect());
        assert!(of(&[2, 3, 1]).meet_the_goal());
        assert!(!of(&[2, 4, 1]).meet_the_goal());
        assert!(of(&[2, 4, 1]).describe().contains("3 cuts, median 2.00 and at most 4.00 probe intervals of 250 ms"));
        assert!(of(&[4]).wrong().is_none() && of(&[121]).wrong().is_some());
    }
}
