//! How far a log is in what each home of its stream took in: the vector that
//! names a position in the mesh.

use crate::error::AppendError;

/// The most homes whose events one log holds, those of the past included.
pub const MAX_HOMES: usize = 64;

/// Per home, by its tag, the home sequence that is next. Sorted by tag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Homes(Vec<(u32, u64)>);

impl Homes {
    /// For as many homes as there can be, so that none allocates later.
    pub(crate) fn with_room(&self) -> Self {
        let mut entries = Vec::with_capacity(MAX_HOMES);
        entries.extend_from_slice(&self.0);
        Self(entries)
    }

    /// Of entries as they were written down.
    pub(crate) fn of(mut entries: Vec<(u32, u64)>) -> Self {
        entries.sort_unstable();
        Self(entries)
    }

    pub(crate) fn entries(&self) -> &[(u32, u64)] {
        &self.0
    }

    /// The next home sequence; 1 when there is nothing of that home.
    #[inline]
    pub(crate) fn next_of(&self, home: u32) -> u64 {
        self.0.iter().find(|entry| entry.0 == home).map_or(1, |entry| entry.1)
    }

    /// Everything of `home` below `next` is there.
    #[inline]
    pub(crate) fn note(&mut self, home: u32, next: u64) {
        match self.0.iter_mut().find(|entry| entry.0 == home) {
            Some(entry) => entry.1 = entry.1.max(next),
            None => {
                let at = self.0.partition_point(|entry| entry.0 < home);
                self.0.insert(at, (home, next));
            }
        }
    }

    /// Refuses one home too many.
    pub(crate) fn check_room(&self, home: u32) -> Result<(), AppendError> {
        if self.0.len() < MAX_HOMES || self.0.iter().any(|entry| entry.0 == home) {
            return Ok(());
        }
        Err(AppendError::TooManyHomes { home, limit: MAX_HOMES })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_are_sorted_and_bounded() {
        let mut homes = Homes::default();
        for home in (1..=MAX_HOMES as u32).rev() {
            homes.check_room(home).unwrap();
            homes.note(home, u64::from(home));
            homes.note(home, 1);
        }
        assert_eq!(homes.next_of(9), 9);
        assert_eq!(homes.next_of(999), 1);
        assert!(homes.entries().is_sorted());
        homes.check_room(3).unwrap();
        assert!(matches!(homes.check_room(999), Err(AppendError::TooManyHomes { home: 999, .. })));
    }
}
