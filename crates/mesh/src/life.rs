//! Which data folder a hub runs on, and in which of its starts: what tells a
//! hub that was started anew from one whose folder was copied, set back or
//! given another name. Pure.
//!
//! A folder has a random number, its instance, and counts its starts; each
//! start has a random number of its own. Hubs remember these of every hub that
//! was their neighbour, as it said them itself, know those of hubs within reach
//! from their records, and hold a neighbour against them before its link counts:
//!
//! | the neighbour says | and | it is |
//! |---|---|---|
//! | a known instance under another name | | renamed: refused |
//! | its name's instance, a start that was there | the later one is within reach | a copy: refused |
//! | its name's instance, a start that was there | nobody of its name is | set back: refused |
//! | its name's instance, a later start | | started anew: the earlier one has ended, or is the copy |
//! | another instance | the first one is within reach | a second hub of the name: refused |
//! | another instance | nobody of its name is | the name's new folder: taken |

use std::collections::BTreeMap;

use weft_base::{Epoch, HubId};

use crate::{CloseReason, MAX_HUBS};

/// The start of a data folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// The folder's random number. 0: the hub has none, and starts empty.
    pub instance: u64,
    /// How often the folder was started with, this time among them.
    pub starts: u64,
    /// A random number of this start.
    pub nonce: u64,
}

impl Life {
    /// As it goes over the wire: the three numbers, little-endian.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        [self.instance, self.starts, self.nonce].iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    /// What the bytes say; `None` when they are not as [`Life::encode`] makes them.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (numbers, rest) = bytes.as_chunks::<8>();
        let [instance, starts, nonce] = *numbers else { return None };
        let number = u64::from_le_bytes;
        rest.is_empty().then(|| Self { instance: number(instance), starts: number(starts), nonce: number(nonce) })
    }
}

/// What is remembered of a hub, through restarts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Its name.
    pub name: String,
    /// Its latest start that it told of; of a hub that was never a neighbour, none.
    pub life: Life,
    /// Its epoch then.
    pub epoch: Epoch,
    /// Where it is dialled, as its record said last.
    pub addresses: Vec<String>,
}

/// What is remembered of all hubs: at most as many as a mesh has. At the bound
/// the one whose epoch is the oldest is forgotten.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    hubs: BTreeMap<HubId, Remembered>,
}

impl Memory {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Remembered> {
        self.hubs.values()
    }

    /// Takes in what a hub has said of itself; answers whether that is news.
    pub(crate) fn learn(&mut self, hub: HubId, name: &str, epoch: Epoch, life: Life) -> bool {
        if life.instance == 0 {
            return false;
        }
        if let Some(known) = self.hubs.get_mut(&hub) {
            let is_news = epoch >= known.epoch && (known.epoch, known.life) != (epoch, life);
            if is_news {
                (known.life, known.epoch) = (life, epoch);
            }
            return is_news;
        }
        if self.hubs.len() >= MAX_HUBS
            && let Some(oldest) = self.hubs.iter().min_by_key(|(_, known)| known.epoch).map(|(id, _)| *id)
        {
            self.hubs.remove(&oldest);
        }
        self.hubs.insert(hub, Remembered { name: name.to_owned(), life, epoch, addresses: Vec::new() });
        true
    }

    /// Whether a neighbour may be who it says. `is_here`: a hub of this name is
    /// within reach, by another way than this neighbour's; `heard`: the life that
    /// that one is said to be in.
    ///
    /// # Errors
    /// What it is instead, and what to do about it.
    pub(crate) fn judge(
        &self,
        (hub, name): (HubId, &str),
        life: Life,
        is_here: bool,
        heard: Option<Life>,
    ) -> Result<(), CloseReason> {
        if life.instance == 0 {
            return Ok(());
        }
        let mut others = self.hubs.iter().filter(|(id, _)| **id != hub);
        if let Some((_, other)) = others.find(|(_, known)| known.life.instance == life.instance) {
            return Err(CloseReason::Renamed { known: other.name.clone(), heard: name.to_owned() });
        }
        let heard = heard.filter(|heard| is_here && heard.instance != 0);
        let Some(known) = heard.or(self.hubs.get(&hub).map(|known| known.life)) else { return Ok(()) };
        let was_there = life.starts < known.starts || (life.starts == known.starts && life != known);
        match (life.instance == known.instance, is_here) {
            (true, true) if was_there => Err(CloseReason::Cloned { name: name.to_owned() }),
            (true, false) if was_there => {
                let (known, heard) = (known.starts, life.starts);
                Err(CloseReason::RolledBack { name: name.to_owned(), known, heard })
            }
            (false, true) => Err(CloseReason::NameTaken { name: name.to_owned() }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHICAGO: HubId = HubId(1);

    fn life(instance: u64, starts: u64, nonce: u64) -> Life {
        Life { instance, starts, nonce }
    }

    fn memory() -> Memory {
        let mut memory = Memory::default();
        assert!(memory.learn(CHICAGO, "chicago", Epoch(10), life(7, 3, 99)));
        memory
    }

    fn judged(life: Life, is_here: bool) -> Option<&'static str> {
        match memory().judge((CHICAGO, "chicago"), life, is_here, None) {
            Ok(()) => None,
            Err(CloseReason::Cloned { .. }) => Some("cloned"),
            Err(CloseReason::RolledBack { known: 3, .. }) => Some("rolled back"),
            Err(CloseReason::NameTaken { .. }) => Some("name taken"),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn each_row_of_the_table_is_told_from_the_others() {
        for (said, is_here, expected) in [
            (life(7, 3, 99), true, None),
            (life(7, 3, 99), false, None),
            (life(7, 4, 98), true, None),
            (life(7, 3, 98), true, Some("cloned")),
            (life(7, 2, 97), true, Some("cloned")),
            (life(7, 3, 98), false, Some("rolled back")),
            (life(7, 2, 97), false, Some("rolled back")),
            (life(8, 1, 96), true, Some("name taken")),
            (life(8, 1, 96), false, None),
            (life(0, 0, 95), true, None),
        ] {
            assert_eq!(judged(said, is_here), expected, "{said:?}, {is_here}");
        }
        let renamed = memory().judge((HubId(2), "boston"), life(7, 4, 1), false, None);
        assert_eq!(renamed, Err(CloseReason::Renamed { known: "chicago".to_owned(), heard: "boston".to_owned() }));
    }

    #[test]
    fn the_latest_epoch_is_remembered_and_the_oldest_hub_is_forgotten_at_the_bound() {
        let mut memory = memory();
        assert!(!memory.learn(CHICAGO, "chicago", Epoch(9), life(7, 2, 1)), "older");
        assert!(!memory.learn(CHICAGO, "chicago", Epoch(10), life(7, 3, 99)), "the same");
        assert!(memory.learn(CHICAGO, "chicago", Epoch(11), life(8, 1, 1)), "a new folder");
        for hub in 0..MAX_HUBS as u64 {
            memory.learn(HubId(100 + hub), "x", Epoch(20), life(1_000 + hub, 1, 1));
        }
        assert_eq!(memory.iter().count(), MAX_HUBS);
        assert!(memory.iter().all(|known| known.name != "chicago"));
    }

    #[test]
    fn a_life_is_read_as_it_was_written_and_nothing_else_is() {
        let said = life(1, 2, u64::MAX);
        assert_eq!(Life::decode(&said.encode()), Some(said));
        assert!([0, 8, 23, 25, 32].iter().all(|len| Life::decode(&vec![1; *len]).is_none()));
    }
}
