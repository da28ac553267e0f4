//! The control state: who votes on it at first, and how patient hubs are.

use std::collections::BTreeSet;
use std::time::Duration;

use weft_base::ByteCount;

use super::{HubOptions, is_label};

/// Bytes of the control state at most, the same at all hubs of a mesh.
pub const MAX_CONTROL_STATE: ByteCount = ByteCount::mib(64);
/// The most voters that may be named.
pub const MAX_VOTERS: usize = 15;

/// How a hub takes part in replicating the control state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlOptions {
    /// The names of the hubs that vote, at the first start: the same at each of
    /// them. Empty: a hub that dials no others votes alone, any other learns.
    /// Once there is a state, voters are changed in it, and this is not looked at.
    pub voters: Vec<String>,
    /// How often a leader speaks.
    pub heartbeat: Duration,
    /// How long a voter waits for a leader before it stands for election: drawn
    /// between these two.
    pub election_least: Duration,
    /// The other end of it.
    pub election_most: Duration,
    /// How long a request waits for a leader and its answer.
    pub patience: Duration,
    /// A hub that has not known the state of the others for so long says so, as an error.
    pub alarm_after: Duration,
    /// Requests of this hub's clients under way; one more is refused.
    pub requests: usize,
    /// The policies of the state decide what this hub's clients may do, and what
    /// none allows is refused. Without it everybody may do everything. Default false
    /// here, where a hub has no judge unless it is given one
    /// ([`Environment::judge`](crate::Environment)); true in the program's configurations.
    pub enforce: bool,
}

impl Default for ControlOptions {
    fn default() -> Self {
        Self {
            voters: Vec::new(),
            heartbeat: Duration::from_millis(250),
            election_least: Duration::from_secs(1),
            election_most: Duration::from_secs(2),
            patience: Duration::from_secs(5),
            alarm_after: Duration::from_secs(30),
            requests: 64,
            enforce: false,
        }
    }
}

impl HubOptions {
    /// Who votes at the first start, as far as this hub is told.
    #[must_use]
    pub fn voters(&self) -> Vec<String> {
        let dials = !self.neighbours.is_empty() || !self.seeds.is_empty() || self.pick.is_some();
        match self.control.voters.as_slice() {
            [] if !dials => vec![self.name.clone()],
            voters => voters.to_vec(),
        }
    }
}

/// What is wrong with the options of a hub that has a judge, or none.
pub(crate) fn violations_with(options: &HubOptions, has_judge: bool) -> Vec<(&'static str, String)> {
    let mut found = options.violations();
    if options.control.enforce && !has_judge {
        let why = "policies are to decide, and nobody judges by them: give the hub a judge (`Environment::judge`)";
        found.push(("control.enforce", why.to_owned()));
    }
    found
}

/// What is wrong with the table `[control]`.
pub(super) fn violations(control: &ControlOptions, found: &mut Vec<(&'static str, String)>) {
    let ControlOptions { voters, heartbeat, election_least, election_most, patience, alarm_after, requests, .. } =
        control;
    if voters.len() > MAX_VOTERS {
        let many = voters.len();
        found.push(("control.voters", format!("{many} voters are too many: at most {MAX_VOTERS}, the others learn")));
    }
    if let Some(name) = voters.iter().find(|name| !is_label(name)) {
        found.push(("control.voters", format!("`{name}` is no hub's name: 1 to 64 of a-z, 0-9 and `-`")));
    }
    let mut names = BTreeSet::new();
    if let Some(twice) = voters.iter().find(|name| !names.insert(*name)) {
        found.push(("control.voters", format!("`{twice}` is named twice: name each voter once")));
    }
    if *heartbeat < Duration::from_millis(10) {
        found.push(("control.heartbeat", format!("{heartbeat:?} is too short: at least 10 ms")));
    }
    if *election_least < *heartbeat * 2 {
        let why = format!("{election_least:?} is too short: at least twice control.heartbeat");
        found.push(("control.election_least", why));
    }
    if election_most <= election_least || *election_most > Duration::from_secs(3_600) {
        let why = format!("{election_most:?} is not possible: above control.election_least, and at most an hour");
        found.push(("control.election_most", why));
    }
    if *patience < Duration::from_millis(100) || *patience > Duration::from_secs(300) {
        found.push(("control.patience", format!("{patience:?} is not possible: 100 ms to 5 min")));
    }
    if alarm_after < election_most {
        found.push(("control.alarm_after", format!("{alarm_after:?} is too short: at least control.election_most")));
    }
    if !(1..=256).contains(requests) {
        found.push(("control.requests", format!("{requests} is not possible: 1 to 256")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Neighbour;

    #[test]
    fn a_hub_that_dials_nobody_votes_alone_unless_it_is_told_otherwise() {
        let mut options = HubOptions::new("alone");
        assert_eq!(options.voters(), ["alone"]);
        options.neighbours.push(Neighbour::default());
        assert!(options.voters().is_empty(), "it learns");
        options.control.voters = vec!["a".into(), "b".into(), "c".into()];
        assert_eq!(options.voters(), ["a", "b", "c"]);
    }

    #[test]
    fn what_cannot_be_is_named() {
        let wrong = |change: fn(&mut ControlOptions)| {
            let mut options = ControlOptions::default();
            change(&mut options);
            let mut found = Vec::new();
            violations(&options, &mut found);
            found.first().map(|(field, _)| *field)
        };
        assert_eq!(wrong(|_| ()), None);
        assert_eq!(wrong(|o| o.voters = vec!["A".into()]), Some("control.voters"));
        assert_eq!(wrong(|o| o.voters = vec!["a".into(), "a".into()]), Some("control.voters"));
        assert_eq!(wrong(|o| o.voters = (0..16).map(|n| format!("v{n}")).collect()), Some("control.voters"));
        assert_eq!(wrong(|o| o.heartbeat = Duration::ZERO), Some("control.heartbeat"));
        assert_eq!(wrong(|o| o.election_least = o.heartbeat), Some("control.election_least"));
        assert_eq!(wrong(|o| o.election_most = o.election_least), Some("control.election_most"));
        assert_eq!(wrong(|o| o.patience = Duration::ZERO), Some("control.patience"));
        assert_eq!(wrong(|o| o.alarm_after = Duration::ZERO), Some("control.alarm_after"));
        assert_eq!(wrong(|o| o.requests = 0), Some("control.requests"));
        let mut options = HubOptions::new("a");
        options.control.enforce = true;
        let of = |has_judge| violations_with(&options, has_judge).iter().any(|(field, _)| *field == "control.enforce");
        assert!(of(false) && !of(true), "policies that nobody judges by");
    }
}
