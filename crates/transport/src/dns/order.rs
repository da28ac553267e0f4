//! In which order the targets of a service are tried (RFC 2782): by priority, and
//! among those of one priority by chance, in proportion to their weights.

use weft_base::Random;

/// One record of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) priority: u16,
    pub(super) weight: u16,
}

/// Keeps so many: those of the best priority, and of one priority those of the
/// largest weight.
pub(super) fn best(targets: &mut Vec<Target>, most: usize) {
    targets.sort_by(|a, b| (a.priority, b.weight, &a.host, a.port).cmp(&(b.priority, a.weight, &b.host, b.port)));
    targets.truncate(most);
}

/// All of them.
pub(super) fn in_order(mut targets: Vec<Target>, random: &mut Random) -> Vec<Target> {
    // Those without weight come first within a priority: the lot falls on one of
    // them only if it is 0.
    targets.sort_by_key(|target| (target.priority, target.weight != 0));
    let mut ordered = Vec::with_capacity(targets.len());
    while let Some(priority) = targets.first().map(|target| target.priority) {
        let group = targets.iter().take_while(|target| target.priority == priority);
        let weights: Vec<u64> = group.map(|target| u64::from(target.weight)).collect();
        let lot = random.below(weights.iter().sum::<u64>() + 1);
        let mut sum = 0;
        let chosen = weights.iter().position(|weight| {
            sum += weight;
            sum >= lot
        });
        ordered.push(targets.remove(chosen.unwrap_or(0)));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(host: &str, priority: u16, weight: u16) -> Target {
        Target { host: host.to_owned(), port: 1, priority, weight }
    }

    #[test]
    fn priorities_come_in_order_and_weights_by_chance_in_proportion() {
        let mut random = Random::from_seed(7);
        let all = [target("last", 20, 9), target("heavy", 10, 90), target("light", 10, 10), target("never", 10, 0)];
        let mut first = std::collections::BTreeMap::new();
        for _ in 0..2_000 {
            let ordered = in_order(all.to_vec(), &mut random);
            assert_eq!((ordered.len(), ordered[3].host.as_str()), (4, "last"));
            *first.entry(ordered[0].host.clone()).or_insert(0) += 1;
        }
        assert!((1_700..1_900).contains(&first["heavy"]) && first["light"] > 100, "{first:?}");
        assert!(first.get("never").is_none_or(|times| *times < 60), "{first:?}");
    }

    #[test]
    fn beyond_the_limit_the_best_are_taken() {
        let mut all: Vec<Target> = (0..9).map(|n| target(&format!("t{n}"), 9 - n / 2, n)).collect();
        best(&mut all, 4);
        let hosts: Vec<String> = all.into_iter().map(|target| target.host).collect();
        assert_eq!(hosts, ["t8", "t7", "t6", "t5"]);
    }
}
