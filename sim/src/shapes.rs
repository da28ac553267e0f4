//! How the hubs of a mesh are linked: shapes with a size, written `ring:8`.

use std::fmt;
use std::str::FromStr;

use weft_base::Random;

/// The most hubs of a shape: the decider's default limit.
pub const MOST_HUBS: usize = 256;

/// A kind of graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shape {
    /// Each hub with the next.
    Line,
    /// A line whose ends are linked.
    Ring,
    /// A ring in which each is linked with the one after the next too.
    DoubleRing,
    /// All with the first.
    Star,
    /// A star whose points are stars.
    StarOfStars,
    /// Each with each.
    Full,
    /// Two rings that are linked twice, and a hub that is attached to both.
    Leaf,
    /// Two rings that work apart, until they are linked twice.
    Merge,
    /// A random tree with random links added.
    Random,
}

/// What a shape gives.
#[derive(Clone, Debug, Default)]
pub(crate) struct Built {
    /// The indices of the hubs of each link, the smaller one first; each once.
    pub(crate) pairs: Vec<[usize; 2]>,
    /// The region of each hub.
    pub(crate) regions: Vec<&'static str>,
    /// Hubs from this one on are apart from those before it, until they merge.
    pub(crate) apart: Option<usize>,
}

impl Shape {
    /// All of them.
    pub const ALL: [Shape; 9] = [
        Self::Line,
        Self::Ring,
        Self::DoubleRing,
        Self::Star,
        Self::StarOfStars,
        Self::Full,
        Self::Leaf,
        Self::Merge,
        Self::Random,
    ];

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Ring => "ring",
            Self::DoubleRing => "double-ring",
            Self::Star => "star",
            Self::StarOfStars => "star-of-stars",
            Self::Full => "full",
            Self::Leaf => "leaf",
            Self::Merge => "merge",
            Self::Random => "random",
        }
    }

    /// The fewest hubs that have this shape.
    #[must_use]
    pub const fn least(self) -> usize {
        match self {
            Self::Leaf => 5,
            Self::Merge | Self::StarOfStars => 4,
            _ => 2,
        }
    }

    /// The links of so many hubs.
    pub(crate) fn build(self, hubs: usize, random: &mut Random) -> Built {
        let mut built = Built { regions: vec!["one"; hubs], ..Built::default() };
        let pairs = &mut built.pairs;
        match self {
            Self::Line => pairs.extend((1..hubs).map(|hub| [hub - 1, hub])),
            Self::Ring => ring(0..hubs, pairs),
            Self::DoubleRing => {
                ring(0..hubs, pairs);
                pairs.extend((0..hubs).map(|hub| [hub, (hub + 2) % hubs]));
            }
            Self::Star => pairs.extend((1..hubs).map(|hub| [0, hub])),
            Self::StarOfStars => {
                let points = hubs.isqrt();
                pairs.extend((1..hubs).map(|hub| [if hub <= points { 0 } else { 1 + (hub - 1) % points }, hub]));
            }
            Self::Full => pairs.extend((0..hubs).flat_map(|a| (a + 1..hubs).map(move |b| [a, b]))),
            Self::Leaf => {
                let (leaf, half) = (hubs - 1, (hubs - 1) / 2);
                two_rings(half, leaf, pairs);
                pairs.extend([[0, leaf], [half, leaf]]);
                built.regions[half..leaf].fill("two");
                built.regions[leaf] = "leaf";
            }
            Self::Merge => {
                let half = hubs / 2;
                two_rings(half, hubs, pairs);
                built.regions[half..].fill("two");
                built.apart = Some(half);
            }
            Self::Random => {
                pairs.extend((1..hubs).map(|hub| [random.below(hub as u64) as usize, hub]));
                for _ in 0..random.below(hubs as u64) {
                    pairs.push([random.below(hubs as u64) as usize, random.below(hubs as u64) as usize]);
                }
            }
        }
        pairs.iter_mut().for_each(|pair| pair.sort_unstable());
        pairs.retain(|[a, b]| a != b);
        pairs.sort_unstable();
        pairs.dedup();
        built
    }
}

fn ring(hubs: std::ops::Range<usize>, pairs: &mut Vec<[usize; 2]>) {
    let first = hubs.start;
    let count = hubs.len();
    pairs.extend(hubs.map(|hub| [hub, first + (hub - first + 1) % count]));
}

/// Rings of the hubs before `half`, and of those from there to `end`, linked twice.
fn two_rings(half: usize, end: usize, pairs: &mut Vec<[usize; 2]>) {
    ring(0..half, pairs);
    ring(half..end, pairs);
    pairs.extend([[0, half], [half - 1, end - 1]]);
}

/// A shape and its size, as `ring:8` says it; without a size, each seed has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizedShape {
    /// The kind.
    pub shape: Shape,
    /// How many hubs; none: 2 to 12, by the seed.
    pub hubs: Option<usize>,
}

/// What is no shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// There is none of this name.
    #[error("no shape is called `{0}`: there are {names}", names = Shape::ALL.map(Shape::name).join(", "))]
    Name(String),
    /// It has no such size.
    #[error("`{size}` is no size of `{shape}`: write a number from {least} to {MOST_HUBS}, as in `{shape}:{least}`", shape = shape.name(), least = shape.least())]
    Size {
        /// The kind.
        shape: Shape,
        /// What was written.
        size: String,
    },
}

impl FromStr for SizedShape {
    type Err = ShapeError;

    fn from_str(text: &str) -> Result<Self, ShapeError> {
        let (name, size) = text.split_once(':').map_or((text, None), |(name, size)| (name, Some(size)));
        let shape = Shape::ALL.into_iter().find(|shape| shape.name() == name);
        let shape = shape.ok_or_else(|| ShapeError::Name(name.to_owned()))?;
        let Some(size) = size else { return Ok(Self { shape, hubs: None }) };
        let hubs = size.parse().ok().filter(|hubs| (shape.least()..=MOST_HUBS).contains(hubs));
        let hubs = hubs.ok_or_else(|| ShapeError::Size { shape, size: size.to_owned() })?;
        Ok(Self { shape, hubs: Some(hubs) })
    }
}

impl fmt::Display for SizedShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shape.name())?;
        self.hubs.map_or(Ok(()), |hubs| write!(f, ":{hubs}"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn reached(pairs: &[[usize; 2]]) -> usize {
        let mut near = BTreeSet::from([0]);
        while let Some(next) = pairs.iter().find_map(|[a, b]| match (near.contains(a), near.contains(b)) {
            (true, false) => Some(*b),
            (false, true) => Some(*a),
            _ => None,
        }) {
            near.insert(next);
        }
        near.len()
    }

    #[test]
    fn every_shape_of_every_size_is_one_mesh_of_hubs_that_are_there() {
        for shape in Shape::ALL {
            for hubs in shape.least()..20 {
                let built = shape.build(hubs, &mut Random::from_seed(hubs as u64));
                assert_eq!(reached(&built.pairs), hubs, "{shape:?} {hubs}");
                assert!(built.pairs.iter().all(|[a, b]| a < b && *b < hubs), "{shape:?} {hubs}");
                assert_eq!(built.regions.len(), hubs);
            }
        }
    }

    #[test]
    fn sizes_are_what_they_say() {
        let count = |shape: Shape, hubs| shape.build(hubs, &mut Random::from_seed(1)).pairs.len();
        assert_eq!((count(Shape::Line, 8), count(Shape::Ring, 8), count(Shape::DoubleRing, 8)), (7, 8, 16));
        assert_eq!((count(Shape::Star, 8), count(Shape::StarOfStars, 8), count(Shape::Full, 8)), (7, 7, 28));
        // Two rings of four with two links between them; and a leaf with two links.
        assert_eq!((count(Shape::Merge, 8), count(Shape::Leaf, 9)), (10, 12));
    }

    #[test]
    fn a_shape_is_read_as_it_is_written_and_mistakes_are_told_with_a_remedy() {
        for text in ["ring", "ring:8", "star-of-stars:40"] {
            assert_eq!(SizedShape::from_str(text).map(|shape| shape.to_string()).as_deref(), Ok(text));
        }
        let refused = |text: &str| SizedShape::from_str(text).expect_err("refused").to_string();
        assert!(refused("rings").starts_with("no shape is called `rings`: there are line, ring, "));
        assert_eq!(refused("leaf:2"), "`2` is no size of `leaf`: write a number from 5 to 256, as in `leaf:5`");
        assert_eq!(refused("ring:x"), "`x` is no size of `ring`: write a number from 2 to 256, as in `ring:2`");
    }
}
