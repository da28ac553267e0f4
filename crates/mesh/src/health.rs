//! Whether the other end of a link is there: probes, and suspicion of silence.
//!
//! Accrual failure detectors (Hayashibara et al., "The φ accrual failure
//! detector", 2004) weigh a silence against how late signs of life have come so
//! far. With one threshold and a normal distribution that weighing is a bound
//! of mean plus so many deviations, which is what is kept here, in integers, by
//! the estimators of RFC 6298: the answer to a probe is late when it takes
//! longer than mean and [`DEVIATIONS`] deviations, which is φ = 8. A link that
//! was suspected wrongly gets more patience for a while (Dadgar et al.,
//! "Lifeguard", 2017), by half an interval. See ADR 13 and ADR 28.
//!
//! Whatever is heard is a sign of life, so that a link whose answers wait
//! behind bulk is not suspected. A hub that was itself asleep judges nobody by
//! that time.

use std::collections::VecDeque;
use std::time::Duration;

use weft_base::Mono;

use crate::options::Timers;

/// Mean deviations that an answer may be late: about 5.6 standard deviations.
const DEVIATIONS: u32 = 7;
/// Probes without an answer yet: enough for the longest time that a link may
/// be without one, each after a pause twice as long as the one before.
const UNDER_WAY: usize = 8;
/// Answers in a row after which a suspect is trusted again.
const RECOVERY: u32 = 4;
/// The part of an interval by which the bound grows when a suspicion was wrong:
/// half of one, which leaves the rest of the third for other ways to be taken.
const PATIENCE: u32 = 2;
/// A wrong suspicion is forgotten after this long without another.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// Probes that the other end may send at once, and then one in each [`PROBE_PACE`].
const PROBES: u32 = 64;
const PROBE_PACE: Duration = Duration::from_millis(5);
/// Probes beyond that, and answers to no question, that a link survives.
const FLOOD: u32 = 10_000;
const STRANGE: u32 = 1_000;

/// What a look at the clock says of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing new.
    Same,
    /// It was silent for so long that it is suspected.
    Suspect { silent: Duration },
    /// It is given up.
    Down { silent: Duration },
}

/// What an answer was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// To the probe under way. The link was suspected until now, if `trusted`.
    Taken { trusted: bool },
    /// To no probe: ignored.
    Strange,
}

/// What to do about a probe of the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    Answer,
    /// There are too many: this one is not answered. The first of many, if so.
    Damped {
        first: bool,
    },
    /// And far too many.
    Flood,
}

/// The state of one link.
#[derive(Debug)]
pub(crate) struct Health {
    /// When anything was heard last, or the link came up.
    heard: Mono,
    /// Since when the oldest question waits for its answer.
    asked: Mono,
    /// Numbers of the probes under way, and when they left, the oldest first.
    /// One as a rule: another one follows when the answer is late, and then
    /// ever more rarely, at most [`UNDER_WAY`].
    under_way: VecDeque<(u64, Mono)>,
    /// Answers to probes up to this one were kept waiting by this hub's own
    /// sleep, or by a silence: they say nothing of the round trip.
    unmeasured: u64,
    /// No answer was in time since the last silence. That one was an exception,
    /// a cut or a peer that was stopped; a second one is what is usual now.
    exception: bool,
    next: Mono,
    probes: u64,
    /// Smoothed; none until the first answer. Until then the link carries no events.
    rtt: Option<Duration>,
    deviation: Duration,
    /// Answers since it was suspected; none while it is trusted.
    suspect: Option<u32>,
    /// The longest silence since then.
    longest: Duration,
    /// Until when a wrong suspicion is remembered.
    patient: Option<Mono>,
    /// What the other end may still ask, and when that was reckoned.
    tokens: u32,
    filled: Mono,
    damped: u32,
    strange: u32,
}

impl Health {
    pub(crate) fn new(now: Mono) -> Self {
        Self {
            heard: now,
            asked: now,
            under_way: VecDeque::new(),
            unmeasured: 0,
            exception: false,
            next: now,
            probes: 0,
            rtt: None,
            deviation: Duration::ZERO,
            suspect: None,
            longest: Duration::ZERO,
            patient: None,
            tokens: PROBES,
            filled: now,
            damped: 0,
            strange: 0,
        }
    }

    /// The smoothed round trip; none until the first answer.
    pub(crate) fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    pub(crate) fn is_suspect(&self) -> bool {
        self.suspect.is_some()
    }

    /// How long a silence may last before the link is suspected.
    pub(crate) fn allowed(&self, timers: &Timers) -> Duration {
        let more = if self.patient.is_some() { timers.ping / PATIENCE } else { Duration::ZERO };
        (self.usual(timers) + more).min(timers.silence)
    }

    /// The same without patience.
    fn usual(&self, timers: &Timers) -> Duration {
        let late = self.rtt.unwrap_or_default() + self.deviation * DEVIATIONS;
        (timers.ping + late).max(timers.ping * 2)
    }

    /// Something was heard at this time.
    pub(crate) fn heard(&mut self, at: Mono, timers: &Timers) {
        let silent = at.since(self.heard);
        if silent >= self.allowed(timers) {
            if !std::mem::replace(&mut self.exception, true) {
                self.unmeasured = self.probes;
            }
            self.longest = self.longest.max(silent);
            self.suspect = self.suspect.map(|_| 0);
        }
        self.heard = self.heard.max(at);
    }

    /// This hub was asleep for so long: nobody can have been heard meanwhile.
    pub(crate) fn slept(&mut self, long: Duration, now: Mono) {
        self.heard = (self.heard + long).min(now);
        self.asked = (self.asked + long).min(now);
        self.unmeasured = self.probes;
    }

    /// When the next probe is to be sent; none when enough are under way.
    fn due(&self, timers: &Timers) -> Option<Mono> {
        match self.under_way.back() {
            None => Some(self.next),
            Some(_) if self.under_way.len() >= UNDER_WAY => None,
            Some((_, sent)) => Some(*sent + self.allowed(timers) * (1 << (self.under_way.len() - 1))),
        }
    }

    /// Whether a probe is to be sent.
    pub(crate) fn is_due(&self, now: Mono, timers: &Timers) -> bool {
        self.due(timers).is_some_and(|at| now >= at)
    }

    /// Whether a probe waits for its answer.
    pub(crate) fn waits(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// The number of the probe to send now.
    pub(crate) fn start(&mut self, now: Mono, interval: Duration) -> u64 {
        self.probes += 1;
        if !self.waits() {
            self.asked = now;
        }
        self.under_way.push_back((self.probes, now));
        self.next = now + interval;
        self.probes
    }

    /// An answer has come. `time` is what the probe said and its answer repeats:
    /// a number that was guessed is no answer.
    pub(crate) fn answered(&mut self, number: u64, time: u64, now: Mono, timers: &Timers) -> Answer {
        let Some(place) = self.under_way.iter().position(|probe| *probe == (number, Mono(time))) else {
            self.strange = self.strange.saturating_add(1);
            return Answer::Strange;
        };
        // Those before it are answered with it: a transport keeps the order.
        self.under_way.drain(..=place);
        self.asked = self.under_way.front().map_or(now, |(_, sent)| *sent);
        let told = number > self.unmeasured;
        if told || self.rtt.is_none() {
            self.measure(now.since(Mono(time)), timers);
        }
        // What was asked before the silence ended says nothing of the time since.
        let Some(answers) = self.suspect.as_mut().filter(|_| told) else { return Answer::Taken { trusted: false } };
        *answers += 1;
        let trusted = *answers >= RECOVERY;
        if trusted {
            self.suspect = None;
            // A silence that no bound would have outlasted was suspected rightly.
            if self.longest < self.usual(timers) + timers.ping / PATIENCE {
                self.patient = Some(now + FORGOTTEN);
            }
        }
        Answer::Taken { trusted }
    }

    /// Takes in a round trip.
    fn measure(&mut self, sample: Duration, timers: &Timers) {
        self.exception &= sample >= self.allowed(timers);
        // RFC 6298: a quarter and an eighth of what is new.
        match self.rtt {
            None => (self.rtt, self.deviation) = (Some(sample), sample / 2),
            Some(old) => {
                self.deviation = (self.deviation * 3 + old.abs_diff(sample)) / 4;
                self.rtt = Some((old * 7 + sample) / 8);
            }
        }
    }

    /// Whether answers to no question have become too many.
    pub(crate) fn is_strange(&self) -> bool {
        self.strange >= STRANGE
    }

    /// Whether this was the first of them.
    pub(crate) fn is_newly_strange(&self) -> bool {
        self.strange == 1
    }

    /// The other end asks.
    pub(crate) fn asked(&mut self, now: Mono) -> Probe {
        let pace = PROBE_PACE.as_nanos() as u64;
        let earned = now.0.saturating_sub(self.filled.0) / pace;
        if earned > 0 {
            self.filled = Mono(self.filled.0 + earned * pace);
            self.tokens = u32::try_from(earned).unwrap_or(u32::MAX).saturating_add(self.tokens).min(PROBES);
        }
        if self.tokens == PROBES {
            self.damped = 0;
        }
        if let Some(left) = self.tokens.checked_sub(1) {
            self.tokens = left;
            return Probe::Answer;
        }
        self.damped += 1;
        if self.damped >= FLOOD { Probe::Flood } else { Probe::Damped { first: self.damped == 1 } }
    }

    /// What the time that has passed says.
    pub(crate) fn look(&mut self, now: Mono, timers: &Timers) -> Verdict {
        if now >= self.given_up(timers) {
            return Verdict::Down { silent: now.since(self.heard).max(now.since(self.asked)) };
        }
        self.patient = self.patient.filter(|until| now < *until);
        let silent = now.since(self.heard);
        if self.rtt.is_some() && self.suspect.is_none() && silent >= self.allowed(timers) {
            self.suspect = Some(0);
            self.longest = silent;
            return Verdict::Suspect { silent };
        }
        Verdict::Same
    }

    /// When the link is given up, if nothing comes: after a silence; or, when
    /// something is heard all the time but never an answer, after three times
    /// as long, because answers may wait behind what is heard.
    fn given_up(&self, timers: &Timers) -> Mono {
        let unanswered = match self.rtt {
            None => timers.silence,
            Some(_) => timers.silence * 3,
        };
        (self.heard + timers.silence).min(self.asked + unanswered)
    }

    /// When the next look is due.
    pub(crate) fn deadline(&self, timers: &Timers) -> Mono {
        let mut at = self.given_up(timers);
        if let Some(due) = self.due(timers) {
            at = at.min(due);
        }
        if self.rtt.is_some() && self.suspect.is_none() {
            at = at.min(self.heard + self.allowed(timers));
        }
        at
    }
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
