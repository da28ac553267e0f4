//! Where a hub stands on the map. Nothing is decided by it.

use std::fmt;

/// A place on the map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Location {
    latitude: f64,
    longitude: f64,
}

impl Location {
    /// In degrees, north and east positive: -90 to 90, and -180 to 180. None: out of these.
    #[must_use]
    pub fn new(latitude: f64, longitude: f64) -> Option<Self> {
        let is_there = (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude);
        is_there.then_some(Self { latitude, longitude })
    }

    /// Latitude and longitude.
    #[must_use]
    pub const fn degrees(self) -> [f64; 2] {
        [self.latitude, self.longitude]
    }
}

impl fmt::Display for Location {
    /// Latitude and longitude, with a comma between them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.latitude, self.longitude)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_place_on_the_map_is_none() {
        assert_eq!(Location::new(40.64, -73.78).map(|at| at.to_string()).as_deref(), Some("40.64,-73.78"));
        assert_eq!(Location::new(-90.0, 180.0).map(Location::degrees), Some([-90.0, 180.0]));
        for (latitude, longitude) in [(90.1, 0.0), (0.0, -180.5), (f64::NAN, 0.0), (0.0, f64::INFINITY)] {
            assert_eq!(Location::new(latitude, longitude), None);
        }
    }
}
