//! Sets of positions in a topic or a filter, as the bits of an integer.
//!
//! Position `i` means "the first `i` levels are done", so a text of
//! [`MAX_LEVELS`](crate::MAX_LEVELS) levels has one position more than levels:
//! 65 of them, which is why 64 bits are one too few.

/// A set of positions, 0 to 64.
pub(crate) type Bits = u128;

/// The set of one position.
pub(crate) fn bit(position: usize) -> Bits {
    1 << position
}

/// All positions before `position`.
pub(crate) fn below(position: usize) -> Bits {
    bit(position) - 1
}

/// All positions from `first` to `last`, both included; empty if there are none.
pub(crate) fn span(first: usize, last: usize) -> Bits {
    below(last + 1) & !below(first.min(last + 1))
}

/// The lowest position of a set.
pub(crate) fn lowest(set: Bits) -> Option<usize> {
    if set == 0 { None } else { Some(set.trailing_zeros() as usize) }
}

/// The positions of a set, lowest first.
pub(crate) fn each(mut set: Bits) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let position = lowest(set)?;
        set &= set - 1;
        Some(position)
    })
}
