//! A set of sequences, kept as runs that do not touch each other.

use std::collections::BTreeMap;

/// A set of sequences. Memory: one entry per run, so a set that fills up from
/// below takes one, whatever its size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Runs {
    /// First to end (exclusive).
    runs: BTreeMap<u64, u64>,
}

impl Runs {
    /// The runs, from the lowest: first and end.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.runs.iter().map(|(first, end)| (*first, *end))
    }

    /// The end of the run that holds `sequence`.
    pub(crate) fn end_at(&self, sequence: u64) -> Option<u64> {
        let (_, end) = self.runs.range(..=sequence).next_back()?;
        (*end > sequence).then_some(*end)
    }

    /// The first sequence at or after `from` that is in the set.
    pub(crate) fn first_from(&self, from: u64) -> Option<u64> {
        match self.end_at(from) {
            Some(_) => Some(from),
            None => self.runs.range(from..).next().map(|(first, _)| *first),
        }
    }

    /// How many of `first..end` are in the set.
    pub(crate) fn overlap(&self, first: u64, end: u64) -> u64 {
        let before = self.runs.range(..first).next_back();
        let inside = self.runs.range(first..end.max(first));
        before.into_iter().chain(inside).map(|(from, to)| (*to).min(end).saturating_sub((*from).max(first))).sum()
    }

    /// Adds `first..end`.
    pub(crate) fn insert(&mut self, first: u64, end: u64) {
        if end <= first {
            return;
        }
        let (mut from, mut upto) = (first, end);
        // Most sets grow at the end of a run: that one is lengthened in place.
        if let Some((before, before_end)) = self.runs.range_mut(..=first).next_back()
            && *before_end >= first
        {
            if *before_end >= end {
                return;
            }
            from = *before;
            upto = end;
            let after = self.runs.range(first + 1..).next().map(|(next, _)| *next);
            if after.is_none_or(|next| next > end) {
                if let Some(run) = self.runs.get_mut(&from) {
                    *run = end;
                }
                return;
            }
        }
        while let Some((next, next_end)) = self.runs.range(from..).next().map(|(a, b)| (*a, *b)) {
            if next > upto {
                break;
            }
            self.runs.remove(&next);
            upto = upto.max(next_end);
        }
        self.runs.insert(from, upto);
    }

    /// Takes out the run that begins at `first`, and answers its end.
    pub(crate) fn take_first(&mut self, first: u64) -> Option<u64> {
        let entry = self.runs.first_entry()?;
        if *entry.key() != first {
            return None;
        }
        Some(entry.remove())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use weft_base::Random;

    use super::*;

    #[test]
    fn runs_agree_with_a_set_of_numbers() {
        for seed in 0..200 {
            let mut random = Random::from_seed(seed);
            let (mut runs, mut model) = (Runs::default(), BTreeSet::new());
            for _ in 0..60 {
                let first = random.below(60);
                let end = first + random.below(9);
                runs.insert(first, end);
                model.extend(first..end);
                let lowest = model.first().copied().unwrap_or(99);
                assert_eq!(runs.take_first(lowest + 1), None);
                if random.chance(50)
                    && let Some(end) = runs.take_first(lowest)
                {
                    model.retain(|n| *n >= end);
                }
                let found: Vec<u64> = runs.iter().flat_map(|(first, end)| first..end).collect();
                assert_eq!(found, model.iter().copied().collect::<Vec<_>>(), "seed {seed}");
                let touching = runs.iter().zip(runs.iter().skip(1)).any(|((_, end), (next, _))| end >= next);
                assert!(!touching, "seed {seed}: {runs:?}");
                let (from, upto) = (random.below(60), random.below(70));
                assert_eq!(runs.overlap(from, upto), (from..upto).filter(|n| model.contains(n)).count() as u64);
                assert_eq!(runs.first_from(from), model.range(from..).next().copied());
                assert_eq!(runs.end_at(from).is_some(), model.contains(&from));
            }
        }
    }
}
