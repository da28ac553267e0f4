//! How many requests were answered, by area and class of status. Read by whoever
//! shows counters; written without waiting.

use std::sync::atomic::{AtomicU64, Ordering};

/// The classes of status, from 1xx on.
const CLASSES: usize = 5;
/// The areas, and what their paths begin with; the first that fits counts.
const AREAS: [(&str, &[&str]); 8] = [
    ("events", &["/v1/topics", "/v1/batch", "/v1/requests"]),
    ("streams", &["/v1/streams", "/v1/ws"]),
    ("mesh", &["/v1/mesh"]),
    ("admin", &["/v1/webhooks", "/v1/admin"]),
    ("metrics", &["/metrics"]),
    ("registry", &["/subjects", "/schemas", "/compatibility", "/config", "/mode", "/contexts"]),
    ("other", &["/v1/"]),
    ("page", &["/"]),
];

/// The counts.
#[derive(Debug, Default)]
pub(crate) struct Tally([[AtomicU64; CLASSES]; AREAS.len()]);

impl Tally {
    /// A request to a path was answered so.
    pub(super) fn count(&self, path: &str, status: u16) {
        let area = AREAS.iter().position(|(_, beginnings)| beginnings.iter().any(|begin| path.starts_with(begin)));
        let class = usize::from(status / 100).saturating_sub(1);
        if let Some(count) = area.and_then(|area| self.0.get(area)).and_then(|classes| classes.get(class)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Area, first digit of the status, and how many, of those that there are any of.
    pub(crate) fn read(&self) -> impl Iterator<Item = (&'static str, u16, u64)> {
        let areas = AREAS.iter().zip(&self.0);
        areas.flat_map(|((area, _), classes)| {
            let counts = (1..).zip(classes).map(|(class, count)| (*area, class, count.load(Ordering::Relaxed)));
            counts.filter(|(_, _, count)| *count > 0)
        })
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (n, (area, class, count)) in self.read().enumerate() {
            let between = if n > 0 { ", " } else { "" };
            write!(f, "{between}{area} {class}xx: {count}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_area_and_class() {
        let tally = Tally::default();
        for (path, status) in [
            ("/v1/topics/a", 200),
            ("/v1/batch", 207),
            ("/v1/topics/a", 503),
            ("/subjects", 404),
            ("/v1/openapi.json", 200),
            ("/", 101),
            ("/x", 999),
            ("*", 400),
        ] {
            tally.count(path, status);
        }
        assert_eq!(tally.to_string(), "events 2xx: 2, events 5xx: 1, registry 4xx: 1, other 2xx: 1, page 1xx: 1");
    }
}
