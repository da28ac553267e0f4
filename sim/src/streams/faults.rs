//! What goes wrong, drawn from the seed before the run begins.

use weft_base::Random;

/// One fault.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// A home loses its power now.
    Crash { home: usize },
    /// A home loses its power before so many more operations of its disk.
    CrashAt { home: usize, operations: u64 },
    /// A home's process is killed.
    Kill { home: usize },
    /// A home starts, after a bit of its disk was flipped if so.
    Start { home: usize, flips: bool },
    /// The way between two places is cut, or mended.
    Cut { ends: (usize, usize), cut: bool },
    /// A disk has no room, or has again.
    Full { home: usize, full: bool },
    /// A disk takes so many milliseconds for a sync.
    Slow { home: usize, ms: u64 },
    /// A sync fails.
    FailSync { home: usize },
    /// The clock of the day jumps, by so many seconds.
    Jump { home: usize, seconds: i64 },
    /// An operator moves a consumer, or lets it run anywhere.
    Move { consumer: usize, to: Option<usize> },
    /// A home is to stop, and has so long for it.
    Drain { home: usize, ms: u64 },
    /// All is well from now on.
    Heal,
}

/// The faults of a run among so many homes and places, in order of time (ms),
/// the last of them [`Fault::Heal`].
pub(super) fn plan(homes: usize, sites: usize, consumers: usize, random: &mut Random) -> Vec<(u64, Fault)> {
    let healed = 4_000 + random.below(6_000);
    let mut faults = Vec::new();
    let mut at = 300 + random.below(800);
    while at < healed {
        let home = random.below(homes as u64) as usize;
        let after = (at + 50 + random.below(1500)).min(healed);
        match random.below(20) {
            0..3 => faults.push((at, Fault::Crash { home })),
            3..7 => faults.push((at, Fault::CrashAt { home, operations: random.below(12) })),
            7..9 => faults.push((at, Fault::Kill { home })),
            9..13 => {
                let ends = (random.below(sites as u64) as usize, random.below(homes as u64) as usize);
                faults.push((at, Fault::Cut { ends, cut: true }));
                faults.push((after, Fault::Cut { ends, cut: false }));
            }
            13..15 => {
                faults.push((at, Fault::Full { home, full: true }));
                faults.push((after, Fault::Full { home, full: false }));
            }
            15 | 16 => {
                faults.push((at, Fault::Slow { home, ms: 20 + random.below(300) }));
                faults.push((after, Fault::Slow { home, ms: 2 }));
            }
            17 => faults.push((at, Fault::FailSync { home })),
            _ => {
                let seconds = [-86_400, 86_400, -5, 5][random.below(4) as usize];
                faults.push((at, Fault::Jump { home, seconds }));
            }
        }
        // Whatever stopped it, it comes back.
        faults.push((after, Fault::Start { home, flips: random.chance(250) }));
        at += 100 + random.below(1500);
    }
    for _ in 0..random.below(4) {
        let to = random.chance(800).then(|| random.below(homes as u64) as usize);
        let consumer = random.below(consumers as u64) as usize;
        faults.push((random.below(healed), Fault::Move { consumer, to }));
    }
    for _ in 0..random.below(4) {
        let (home, ms) = (random.below(homes as u64) as usize, 200 + random.below(3_000));
        faults.push((random.below(healed), Fault::Drain { home, ms }));
    }
    faults.push((healed, Fault::Heal));
    faults.sort_by_key(|(at, _)| *at);
    faults
}
