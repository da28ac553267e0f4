//! A table whose keys are never used twice, so that a late event or a kept
//! token cannot reach a newer entry in the same place.

/// Entries by key. A key is the place in the low 32 bits and a count of uses
/// of that place in the 30 bits above, so that the two highest bits are the
/// owner's, to tell kinds of keys apart.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
    len: usize,
}

#[derive(Debug)]
struct Place<T> {
    uses: u32,
    item: Option<T>,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new(), len: 0 }
    }

    /// Adds what `make` builds from its key. The caller bounds how many.
    pub(crate) fn insert_with(&mut self, make: impl FnOnce(u64) -> T) -> u64 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { uses: 0, item: None });
            u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
        });
        let entry = &mut self.places[place as usize];
        let key = (u64::from(entry.uses) << 32) | u64::from(place);
        entry.item = Some(make(key));
        self.len += 1;
        key
    }

    /// The key that the next entry gets.
    pub(crate) fn next_key(&self) -> u64 {
        let place = self.free.last().copied().map_or(self.places.len(), |place| place as usize);
        let uses = self.places.get(place).map_or(0, |entry| entry.uses);
        (u64::from(uses) << 32) | place as u64
    }

    fn place(&self, key: u64) -> Option<usize> {
        let place = (key & u64::from(u32::MAX)) as usize;
        let entry = self.places.get(place)?;
        (u64::from(entry.uses) == key >> 32 && entry.item.is_some()).then_some(place)
    }

    pub(crate) fn get(&self, key: u64) -> Option<&T> {
        self.place(key).and_then(|place| self.places[place].item.as_ref())
    }

    pub(crate) fn get_mut(&mut self, key: u64) -> Option<&mut T> {
        self.place(key).and_then(|place| self.places[place].item.as_mut())
    }

    pub(crate) fn remove(&mut self, key: u64) -> Option<T> {
        let place = self.place(key)?;
        let entry = &mut self.places[place];
        entry.uses = (entry.uses + 1) & (u32::MAX >> 2);
        self.len -= 1;
        self.free.push((key & u64::from(u32::MAX)) as u32);
        entry.item.take()
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// All keys in use, by place.
    pub(crate) fn keys(&self) -> Vec<u64> {
        let used = self.places.iter().enumerate().filter(|(_, entry)| entry.item.is_some());
        used.map(|(place, entry)| (u64::from(entry.uses) << 32) | place as u64).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_used_twice() {
        let mut slab = Slab::new();
        let next = slab.next_key();
        let first = slab.insert_with(|_| 'a');
        assert_eq!(first, next);
        assert_eq!(slab.remove(first), Some('a'));
        let next = slab.next_key();
        let second = slab.insert_with(|_| 'b');
        assert_eq!(second, next);
        assert_ne!(first, second);
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.len(), 1);
        assert_eq!(slab.get_mut(second), Some(&mut 'b'));
        assert_eq!(slab.keys(), [second]);
        assert_eq!(slab.get(u64::MAX), None);
    }
}
