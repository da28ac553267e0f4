//! Positions: how far something is in a stream with several homes.
//!
//! A position says per home the next sequence that is not covered yet. It is
//! valid at every home, whatever order the homes' events have in its log.

/// The most homes that a position names: more than a stream may have, because
/// it goes on to name those that gave up their role.
pub const MAX_PLACES: usize = 64;

/// Per home (its tag) the next sequence, from 1. A home that is not named is at
/// its beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Position {
    /// Sorted by tag; no value is below 2, so that equal positions are equal bytes.
    places: Vec<(u32, u64)>,
}

impl Position {
    /// The beginning of every home.
    #[must_use]
    pub const fn start() -> Self {
        Self { places: Vec::new() }
    }

    /// The next sequence of a home.
    #[must_use]
    pub fn get(&self, home: u32) -> u64 {
        match self.places.binary_search_by_key(&home, |place| place.0) {
            Ok(at) => self.places.get(at).map_or(1, |place| place.1),
            Err(_) => 1,
        }
    }

    /// Moves a home forward to `next`; never back. A home that is one too many
    /// for [`MAX_PLACES`] is left at its beginning. Answers whether it moved.
    pub fn raise(&mut self, home: u32, next: u64) -> bool {
        match self.places.binary_search_by_key(&home, |place| place.0) {
            Ok(at) => match self.places.get_mut(at) {
                Some(place) if place.1 < next => {
                    place.1 = next;
                    true
                }
                _ => false,
            },
            Err(at) if next > 1 && self.places.len() < MAX_PLACES => {
                self.places.insert(at, (home, next));
                true
            }
            Err(_) => false,
        }
    }

    /// Moves every home forward to where `other` is; answers whether one moved.
    pub fn merge(&mut self, other: &Position) -> bool {
        let mut moved = false;
        for (home, next) in other.iter() {
            moved |= self.raise(home, next);
        }
        moved
    }

    /// Whether all that `other` covers is covered.
    #[must_use]
    pub fn covers(&self, other: &Position) -> bool {
        other.iter().all(|(home, next)| self.get(home) >= next)
    }

    /// Homes that are not at their beginning, by tag.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.places.iter().copied()
    }

    /// How many events `other` covers that this does not.
    #[must_use]
    pub fn behind(&self, other: &Position) -> u64 {
        other.iter().fold(0, |sum: u64, (home, next)| sum.saturating_add(next.saturating_sub(self.get(home))))
    }

    /// How many homes are named.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether it is the beginning of every home.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

impl FromIterator<(u32, u64)> for Position {
    fn from_iter<I: IntoIterator<Item = (u32, u64)>>(places: I) -> Self {
        let mut position = Self::start();
        for (home, next) in places {
            position.raise(home, next);
        }
        position
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_never_goes_back_and_names_no_beginning() {
        let mut position = Position::start();
        assert!(!position.raise(7, 1), "that is where it is");
        assert!(position.is_empty());
        assert!(position.raise(7, 5) && !position.raise(7, 4));
        assert_eq!((position.get(7), position.get(8)), (5, 1));
        assert_eq!(position, [(7, 3), (7, 5)].into_iter().collect());
    }

    #[test]
    fn what_is_covered_and_what_is_missing() {
        let near: Position = [(1, 5), (2, 9)].into_iter().collect();
        let far: Position = [(1, 7), (3, 2)].into_iter().collect();
        assert!(!near.covers(&far) && !far.covers(&near) && near.covers(&near));
        assert_eq!((near.behind(&far), far.behind(&near)), (3, 8));
        let mut both = near.clone();
        assert!(both.merge(&far) && both.covers(&near) && both.covers(&far));
        assert!(!both.merge(&near));
    }

    #[test]
    fn homes_beyond_the_bound_are_left_out() {
        let position: Position = (0..1_000).map(|home| (home, 2)).collect();
        assert_eq!(position.len(), MAX_PLACES);
    }
}
