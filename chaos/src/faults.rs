//! Which faults strike when: drawn from a seed before the run. Pure.

use std::fmt;
use std::time::Duration;

use weft_base::Random;

use crate::shape::Plan;

/// What is done to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Milliseconds more, each way.
    Delay(u64),
    /// Milliseconds more, by chance.
    Jitter(u64),
    /// Packets lost of a million.
    Loss(u32),
    /// Bits a second.
    Cap(u64),
    /// Nothing passes.
    Cut,
    /// Nothing passes from this end.
    CutFrom(usize),
}

/// What is done to a hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strike {
    /// `kill -9`; started again when the fault ends.
    Kill,
    /// SIGSTOP; SIGCONT when the fault ends.
    Hold,
    /// Its wall clock is off by so many seconds.
    Clock(i64),
    /// It is started again with a certificate that runs out soon; it gets a good one when the fault ends.
    Expire,
}

/// Whom a fault strikes, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Line(usize, Trouble),
    Hub(usize, Strike),
}

/// A fault and its time, from the beginning of the faults on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timed {
    pub(crate) begins: Duration,
    pub(crate) lasts: Duration,
    pub(crate) fault: Fault,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Delay(ms) => write!(f, "{ms} ms more delay each way"),
            Trouble::Jitter(ms) => write!(f, "{ms} ms of jitter"),
            Trouble::Loss(ppm) => write!(f, "{:.1} % of packets lost", f64::from(*ppm) / 1e4),
            Trouble::Cap(bits) => write!(f, "capped at {} kbit/s", bits / 1000),
            Trouble::Cut => write!(f, "cut"),
            Trouble::CutFrom(end) => {
                write!(f, "cut one way, from its {} end", if *end == 0 { "first" } else { "second" })
            }
        }
    }
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Strike::Kill => write!(f, "kill -9"),
            Strike::Hold => write!(f, "SIGSTOP"),
            Strike::Clock(seconds) => write!(f, "clock off by {seconds} s"),
            Strike::Expire => {
                write!(f, "started again with a certificate that runs out in {} s", SHORT.as_secs())
            }
        }
    }
}

/// The kinds, as the timeline's sum of faults names them.
pub(crate) fn kind(fault: Fault) -> &'static str {
    match fault {
        Fault::Line(_, Trouble::Delay(_)) => "delay",
        Fault::Line(_, Trouble::Jitter(_)) => "jitter",
        Fault::Line(_, Trouble::Loss(_)) => "loss",
        Fault::Line(_, Trouble::Cap(_)) => "cap",
        Fault::Line(_, Trouble::Cut) => "cut",
        Fault::Line(_, Trouble::CutFrom(_)) => "cut one way",
        Fault::Hub(_, Strike::Kill) => "kill -9",
        Fault::Hub(_, Strike::Hold) => "SIGSTOP",
        Fault::Hub(_, Strike::Clock(_)) => "clock",
        Fault::Hub(_, Strike::Expire) => "certificate",
    }
}

/// For how long a certificate is good that is to run out.
pub(crate) const SHORT: Duration = Duration::from_secs(5);
/// How long a hub has such a one.
const SHORT_LASTS: Duration = Duration::from_secs(12);

/// The certificate of one hub runs out about the middle of a run that is long enough.
fn expiry(plan: &Plan, time: Duration, seed: u64) -> Option<Timed> {
    let hub = Random::from_seed(seed ^ 0xce27).below(plan.regions.len() as u64) as usize;
    let fault = Fault::Hub(hub, Strike::Expire);
    (time >= SHORT_LASTS * 2).then(|| Timed { begins: time / 2, lasts: SHORT_LASTS, fault })
}

/// Draws the faults of a run: one begins every second or so; each lasts for
/// some seconds and is over by `time`. In a run of half a minute a certificate
/// runs out, too. None strikes what another has struck and
/// not let go. One hub in three, at least one, is down or held at a time.
pub(crate) fn draw(plan: &Plan, time: Duration, seed: u64) -> Vec<Timed> {
    let mut random = Random::from_seed(seed);
    let mut faults: Vec<Timed> = Vec::from_iter(expiry(plan, time, seed));
    let mut at = Duration::ZERO;
    let most_down = (plan.regions.len() / 3).max(1);
    loop {
        at += Duration::from_millis(400 + random.below(1_200));
        let lasts = Duration::from_millis(1_000 + random.below(7_000));
        if at + lasts > time {
            if at + Duration::from_secs(1) > time {
                return faults;
            }
            continue;
        }
        let line = random.below(plan.lines.len() as u64) as usize;
        let hub = random.below(plan.regions.len() as u64) as usize;
        let fault = match random.below(12) {
            0 => Fault::Line(line, Trouble::Delay(20 + random.below(180))),
            1 => Fault::Line(line, Trouble::Jitter(10 + random.below(60))),
            2 => Fault::Line(line, Trouble::Loss(5_000 + random.below(95_000) as u32)),
            3 => Fault::Line(line, Trouble::Cap(200_000 + random.below(2_000_000))),
            4..=5 => Fault::Line(line, Trouble::Cut),
            6..=7 => Fault::Line(line, Trouble::CutFrom(random.below(2) as usize)),
            8..=9 => Fault::Hub(hub, Strike::Kill),
            10 => Fault::Hub(hub, Strike::Hold),
            _ => Fault::Hub(hub, Strike::Clock(random.below(7_200) as i64 - 3_600)),
        };
        let together = |f: &&Timed| f.begins + f.lasts > at && f.begins < at + lasts;
        let active: Vec<Fault> = faults.iter().filter(together).map(|f| f.fault).collect();
        let same = |other: &Fault| match (fault, *other) {
            (Fault::Line(a, _), Fault::Line(b, _)) | (Fault::Hub(a, _), Fault::Hub(b, _)) => a == b,
            _ => false,
        };
        let is_down = |fault: &Fault| matches!(fault, Fault::Hub(_, Strike::Kill | Strike::Hold | Strike::Expire));
        let too_many = is_down(&fault) && active.iter().filter(|f| is_down(f)).count() >= most_down;
        if !active.iter().any(same) && !too_many {
            faults.push(Timed { begins: at, lasts, fault });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::Shape;

    #[test]
    fn a_seed_gives_the_same_faults_again_and_nothing_is_struck_twice_at_a_time() {
        let (plan, time) = (Shape::Ring.plan(), Duration::from_secs(600));
        let faults = draw(&plan, time, 7);
        assert_eq!(faults, draw(&plan, time, 7));
        assert_ne!(faults, draw(&plan, time, 8));
        for (number, one) in faults.iter().enumerate() {
            assert!(one.begins + one.lasts <= time);
            for other in &faults[number + 1..] {
                let together = other.begins < one.begins + one.lasts && one.begins < other.begins + other.lasts;
                let same = match (one.fault, other.fault) {
                    (Fault::Line(a, _), Fault::Line(b, _)) | (Fault::Hub(a, _), Fault::Hub(b, _)) => a == b,
                    _ => false,
                };
                assert!(!(together && same), "{one:?} and {other:?}");
            }
        }
        let kinds: std::collections::BTreeSet<_> = faults.iter().map(|timed| kind(timed.fault)).collect();
        assert_eq!(kinds.len(), 10, "every kind comes up: {kinds:?}");
    }
}
