//! The shapes that hubs are joined in.

/// A shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Line,
    Ring,
    DoubleRing,
    StarOfStars,
    FullMesh,
    TwoRegions,
    Merging,
}

/// What a shape is made of.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The region of each hub.
    pub(crate) regions: Vec<&'static str>,
    /// Each line with its two hubs; the first dials the second.
    pub(crate) lines: Vec<(usize, usize)>,
    /// Lines that are cut at the start and healed when a third of the time is over.
    pub(crate) late: Vec<usize>,
}

impl Shape {
    pub(crate) const ALL: [Shape; 7] = [
        Shape::Line,
        Shape::Ring,
        Shape::DoubleRing,
        Shape::StarOfStars,
        Shape::FullMesh,
        Shape::TwoRegions,
        Shape::Merging,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Shape::Line => "line",
            Shape::Ring => "ring",
            Shape::DoubleRing => "double-ring",
            Shape::StarOfStars => "star-of-stars",
            Shape::FullMesh => "full-mesh",
            Shape::TwoRegions => "two-regions",
            Shape::Merging => "merging",
        }
    }

    pub(crate) fn plan(self) -> Plan {
        let one = |hubs: usize| vec!["one"; hubs];
        let plan = |regions, lines: &[(usize, usize)]| Plan { regions, lines: lines.to_vec(), late: Vec::new() };
        match self {
            Shape::Line => plan(one(4), &[(0, 1), (1, 2), (2, 3)]),
            Shape::Ring => plan(one(4), &[(0, 1), (1, 2), (2, 3), (3, 0)]),
            // Two rings around the same hubs' places, each hub joined to its twin.
            Shape::DoubleRing => plan(
                vec!["outer", "outer", "outer", "inner", "inner", "inner"],
                &[(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3), (0, 3), (1, 4), (2, 5)],
            ),
            Shape::StarOfStars => plan(
                vec!["core", "one", "two", "one", "one", "two", "two"],
                &[(1, 0), (2, 0), (3, 1), (4, 1), (5, 2), (6, 2)],
            ),
            Shape::FullMesh => {
                let lines: Vec<_> = (0..5).flat_map(|a| (a + 1..5).map(move |b| (a, b))).collect();
                plan(one(5), &lines)
            }
            // Hub 4 is the leaf: linked to a hub of each region, which are linked to each other.
            Shape::TwoRegions => {
                plan(vec!["east", "east", "west", "west", "leaf"], &[(0, 1), (2, 3), (1, 2), (4, 0), (4, 3)])
            }
            Shape::Merging => Plan {
                regions: vec!["one", "one", "one", "two", "two", "two"],
                lines: vec![(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3), (0, 3), (1, 4)],
                late: vec![6, 7],
            },
        }
    }
}

impl Plan {
    /// Lines that are there from the start and of which the ends have another way to each other.
    pub(crate) fn spares(&self) -> Vec<usize> {
        let early = (0..self.lines.len()).filter(|line| !self.late.contains(line));
        early
            .filter(|line| {
                let without: Vec<usize> = self.late.iter().copied().chain([*line]).collect();
                let (a, b) = self.lines[*line];
                self.reached(a, &without).contains(&b)
            })
            .collect()
    }

    /// The hubs that can be reached from one of them without these lines.
    fn reached(&self, from: usize, without: &[usize]) -> Vec<usize> {
        let mut seen = vec![from];
        let mut at = 0;
        while at < seen.len() {
            for (number, &(a, b)) in self.lines.iter().enumerate() {
                for (from, to) in [(a, b), (b, a)] {
                    if from == seen[at] && !without.contains(&number) && !seen.contains(&to) {
                        seen.push(to);
                    }
                }
            }
            at += 1;
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_connected_and_spares_are_the_lines_that_are_not_needed() {
        for shape in Shape::ALL {
            let plan = shape.plan();
            let hubs = plan.regions.len();
            assert_eq!(plan.reached(0, &[]).len(), hubs, "{shape:?}");
            assert!(plan.lines.iter().all(|&(a, b)| a != b && a < hubs && b < hubs), "{shape:?}");
        }
        assert_eq!(Shape::Line.plan().spares(), [] as [usize; 0]);
        assert_eq!(Shape::Ring.plan().spares(), [0, 1, 2, 3]);
        let merging = Shape::Merging.plan();
        assert_eq!(merging.spares(), [0, 1, 2, 3, 4, 5], "those between the two meshes come later");
        assert_eq!(merging.reached(0, &merging.late).len(), 3, "two meshes before they merge");
    }
}
