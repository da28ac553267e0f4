//! The memory of a link: a sealed memory file mapped by both sides. The only
//! unsafe code of this crate.
//!
//! ```text
//!   0      words of the ring to the hub     512      words of the ring to the client
//!   4096   data of the ring to the hub      4096 + n data of the ring to the client
//! ```
//!
//! # Why this is sound
//! 1. The mapping lives as long as its `Mapping`, and every pointer made here
//!    lies in it: positions are checked against the size that was mapped.
//! 2. The file cannot become shorter: it is sealed against that before the peer
//!    gets it, and a client checks the seal before it maps. So no access ends
//!    in SIGBUS. (A hole that a peer punches reads as zeros.)
//! 3. No reference to the data is ever made. Bytes are copied between it and
//!    memory of this process by `ptr::copy_nonoverlapping`, so the compiler may
//!    assume nothing about them; what a copy races with is another process,
//!    and the worst that comes of it is other bytes.
//! 4. The words are atomics, for which any value is valid at any time.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::ptr;

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};
use weft_base::sync::Arc;
use weft_ring::bytes::{Memory, Words};

use super::{MAX_RING, MIN_RING};

/// Bytes before the first ring's data: a page.
const HEAD: usize = 4096;

const _: () = assert!(2 * size_of::<Words>() <= HEAD);

/// One of the two rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the client to the hub.
    ToHub,
    /// From the hub to the client.
    ToClient,
}

/// The mapped file of a link.
#[derive(Debug)]
pub(crate) struct Mapping {
    raw: MmapRaw,
    /// The size of each ring's data.
    ring: usize,
}

impl Mapping {
    /// Makes a file with two rings of `ring` bytes of data each, and maps it.
    ///
    /// # Errors
    /// The system's: no memory, or no descriptor.
    pub(crate) fn create(ring: usize) -> io::Result<(OwnedFd, Arc<Self>)> {
        let file = File::from(memfd_create("weft-link", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
        let len = len_of(ring)?;
        file.set_len(len as u64)?;
        // Nobody can change the size or the seals from here on.
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let mapping = Self::map(&file, len, ring)?;
        Ok((file.into(), mapping))
    }

    /// Maps the file that a hub handed over.
    ///
    /// # Errors
    /// It is not such a file, or the system's.
    pub(crate) fn open(file: OwnedFd, ring: usize) -> io::Result<Arc<Self>> {
        let file = File::from(file);
        let len = len_of(ring)?;
        let seals = fcntl_get_seals(&file)?;
        if !seals.contains(SealFlags::SHRINK) || file.metadata()?.len() != len as u64 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the hub's memory file is not sealed or too short"));
        }
        Self::map(&file, len, ring)
    }

    fn map(file: &File, len: usize, ring: usize) -> io::Result<Arc<Self>> {
        let raw = MmapOptions::new().len(len).map_raw(file)?;
        Ok(Arc::new(Self { raw, ring }))
    }

    /// The words of one ring.
    pub(crate) fn words(&self, way: Way) -> &Words {
        let at = match way {
            Way::ToHub => 0,
            Way::ToClient => size_of::<Words>(),
        };
        // SAFETY: needed because the words lie in the mapped file. Within the
        // head of the mapping (1), which starts at a page, so `Words` is
        // aligned; its fields are atomics, valid whatever the peer writes (4).
        unsafe { &*self.raw.as_ptr().add(at).cast::<Words>() }
    }

    /// Where `len` bytes at `at` of a ring's data begin in the mapping.
    fn place(&self, way: Way, at: usize, len: usize) -> usize {
        let end = at.checked_add(len);
        assert!(end.is_some_and(|end| end <= self.ring), "{len} bytes at {at} are not in a ring of {}", self.ring);
        match way {
            Way::ToHub => HEAD + at,
            Way::ToClient => HEAD + self.ring + at,
        }
    }
}

/// How long the file is.
fn len_of(ring: usize) -> io::Result<usize> {
    let is_size = ring.is_power_of_two() && (MIN_RING.as_usize()..=MAX_RING.as_usize()).contains(&ring);
    if is_size {
        Ok(HEAD + 2 * ring)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, format!("{ring} bytes are no size of a ring")))
    }
}

/// One ring of a mapping.
#[derive(Clone, Debug)]
pub(crate) struct Ring {
    mapping: Arc<Mapping>,
    way: Way,
}

impl Ring {
    pub(crate) const fn new(mapping: Arc<Mapping>, way: Way) -> Self {
        Self { mapping, way }
    }
}

impl Memory for Ring {
    #[inline]
    fn words(&self) -> &Words {
        self.mapping.words(self.way)
    }

    #[inline]
    fn capacity(&self) -> usize {
        self.mapping.ring
    }

    #[inline]
    fn copy_in(&self, at: usize, from: &[u8]) {
        let place = self.mapping.place(self.way, at, from.len());
        // SAFETY: needed because the data lie in the mapped file. The target
        // lies in the mapping (1; `place` checks it, `len_of` gave the sizes)
        // and apart from `from`, of which this process alone has a reference;
        // no reference to the target exists (3).
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), self.mapping.raw.as_mut_ptr().add(place), from.len()) };
    }

    #[inline]
    fn copy_out(&self, at: usize, to: &mut [u8]) {
        let place = self.mapping.place(self.way, at, to.len());
        // SAFETY: as for `copy_in`, in the other direction: `to` is borrowed
        // mutably, so the source does not overlap it.
        unsafe { ptr::copy_nonoverlapping(self.mapping.raw.as_ptr().add(place), to.as_mut_ptr(), to.len()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_mapping_writes_the_other_reads() {
        let (file, hub) = Mapping::create(4096).unwrap();
        let client = Mapping::open(file, 4096).unwrap();
        let write = |mapping: &Arc<Mapping>, way, byte| Ring::new(mapping.clone(), way).copy_in(4000, &[byte; 96]);
        write(&hub, Way::ToClient, 1);
        write(&client, Way::ToHub, 2);
        for (mapping, way, byte) in [(&client, Way::ToClient, 1), (&hub, Way::ToHub, 2)] {
            let mut got = [0; 96];
            Ring::new(mapping.clone(), way).copy_out(4000, &mut got);
            assert_eq!(got, [byte; 96]);
        }
        hub.words(Way::ToHub).tail.0.store(7, weft_base::sync::atomic::Ordering::Relaxed);
        assert_eq!(client.words(Way::ToHub).tail.0.load(weft_base::sync::atomic::Ordering::Relaxed), 7);
        assert_eq!(client.words(Way::ToClient).tail.0.load(weft_base::sync::atomic::Ordering::Relaxed), 0);
    }

    #[test]
    #[should_panic(expected = "are not in a ring")]
    fn nothing_reaches_beyond_a_ring() {
        let (_, mapping) = Mapping::create(4096).unwrap();
        Ring::new(mapping, Way::ToClient).copy_in(4000, &[0; 97]);
    }

    #[test]
    fn the_file_can_be_cut_short_by_nobody_and_one_that_can_is_not_mapped() {
        let (file, _) = Mapping::create(4096).unwrap();
        let file = File::from(file);
        for len in [0, 4096, 1 << 20] {
            assert!(file.set_len(len).is_err(), "{len}");
        }
        assert!(fcntl_add_seals(&file, SealFlags::WRITE).is_err(), "nor be made read-only");
        let open = memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        let open = File::from(open);
        open.set_len(HEAD as u64 + 8192).unwrap();
        assert!(Mapping::open(open.into(), 4096).is_err());
        assert!(Mapping::open(file.into(), 8192).is_err(), "of another size than was said");
        assert!(Mapping::open(File::open("/dev/null").unwrap().into(), 4096).is_err());
        assert!(Mapping::create(5000).is_err());
    }
}
