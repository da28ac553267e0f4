//! Spaces of keys, and batches of changes to them.

use crate::KeyedError;

/// The longest key, in bytes.
pub const MAX_KEY: usize = 4 << 10;
/// The longest value, in bytes.
pub const MAX_VALUE: usize = 16 << 20;

/// Who keeps something: keys of one space do not meet those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// Producers' last sequences.
    Producers,
    /// Consumers' definitions and positions.
    Positions,
    /// Last values by topic and key.
    Last,
    /// What is to be delivered when.
    Schedule,
    /// How far the logs of other homes were copied.
    Cursors,
    /// What does not belong to one of the others.
    Meta,
}

impl Space {
    /// All of them.
    pub const ALL: [Space; 6] =
        [Self::Producers, Self::Positions, Self::Last, Self::Schedule, Self::Cursors, Self::Meta];

    /// Its name on disk.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Producers => "producers",
            Self::Positions => "positions",
            Self::Last => "last",
            Self::Schedule => "schedule",
            Self::Cursors => "cursors",
            Self::Meta => "meta",
        }
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Where.
    pub space: Space,
    /// Which key: 1 to [`MAX_KEY`] bytes.
    pub key: Vec<u8>,
    /// Its value from now on; none to delete it.
    pub value: Option<Vec<u8>>,
}

/// Changes that are applied together, in the order in which they were added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    writes: Vec<Write>,
}

impl Batch {
    /// No change yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the key a value.
    pub fn put(&mut self, space: Space, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.writes.push(Write { space, key: key.into(), value: Some(value.into()) });
    }

    /// Takes the key's value away.
    pub fn delete(&mut self, space: Space, key: impl Into<Vec<u8>>) {
        self.writes.push(Write { space, key: key.into(), value: None });
    }

    /// How many changes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether there is no change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// The changes, each within the bounds.
    pub(crate) fn checked(self) -> Result<Vec<Write>, KeyedError> {
        for write in &self.writes {
            let (key, value) = (write.key.len(), write.value.as_ref().map_or(0, Vec::len));
            if key == 0 || key > MAX_KEY || value > MAX_VALUE {
                return Err(KeyedError::TooLarge { key, value });
            }
        }
        Ok(self.writes)
    }
}
