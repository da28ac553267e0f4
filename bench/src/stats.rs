//! Medians of repeated runs, and how far the runs lay apart.

/// The results of one measurement that was repeated.
#[derive(Clone, Debug, Default)]
pub struct Runs(Vec<f64>);

impl Runs {
    /// No results yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a run's result.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// How many runs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The middle result (the mean of the two middle ones of an even count); NaN when there is none.
    #[must_use]
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match (sorted.len(), sorted.len() % 2) {
            (0, _) => f64::NAN,
            (_, 1) => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        }
    }

    /// The smallest result.
    #[must_use]
    pub fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::min)
    }

    /// The largest result.
    #[must_use]
    pub fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::max)
    }
}

impl FromIterator<f64> for Runs {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

/// A number with about three significant digits and a unit prefix: 2_951_000.0 is `2.95 M`.
#[must_use]
pub fn short(value: f64) -> String {
    let (scaled, suffix) = match value.abs() {
        v if v >= 1e9 => (value / 1e9, " G"),
        v if v >= 1e6 => (value / 1e6, " M"),
        v if v >= 1e4 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let digits = match scaled.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 0.1 || v == 0.0 => 2,
        _ => 4,
    };
    format!("{scaled:.digits$}{suffix}")
}

/// The median with the smallest and largest run behind it: `2.95 M (2.80 to 3.01)`.
#[must_use]
pub fn with_range(runs: &Runs) -> String {
    if runs.len() < 2 {
        return short(runs.median());
    }
    format!("{} ({} to {})", short(runs.median()), short(runs.min()), short(runs.max()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_and_not_the_mean() {
        assert_eq!(Runs::from_iter([1.0, 100.0, 2.0]).median(), 2.0);
        assert_eq!(Runs::from_iter([4.0, 1.0, 2.0, 100.0]).median(), 3.0);
        assert!(Runs::new().median().is_nan());
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(short(2_951_000.0), "2.95 M");
        assert_eq!(short(16_339.0), "16.3 k");
        assert_eq!(short(253.0), "253");
        assert_eq!(short(0.58), "0.58");
        assert_eq!(short(0.01234), "0.0123");
    }
}
