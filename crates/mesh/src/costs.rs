//! What a link costs: one formula, in integers, the same at every hub.
//!
//! ```text
//! cost = configured cost
//!      + round trip in µs    × rtt weight / 100
//!      + lost, in millionths × loss weight / 1000
//!      + price of a GB       × price weight          at least 1
//! ```
//! Each end of a link says what it measures and what it was told; the larger of
//! both counts, so that a hub that lies can drive traffic away and attract none.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use weft_base::{HubId, Mono};

/// How much each part of a link's cost counts. All hubs of a mesh must have the
/// same, or they find different ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    /// Of the measured round trip, in percent. Default 100.
    pub rtt: u32,
    /// Microseconds for each thousandth that is lost. Default 1,000: one percent
    /// costs as much as 10 ms.
    pub loss: u32,
    /// Microseconds for each unit of a neighbour's price per GB. Default 1,000.
    pub price: u32,
}

impl Default for Weights {
    fn default() -> Self {
        Self { rtt: 100, loss: 1_000, price: 1_000 }
    }
}

/// What one end says of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// As configured, in microseconds.
    pub(crate) cost: u32,
    pub(crate) rtt_us: u32,
    /// Millionths.
    pub(crate) loss: u32,
    /// Of a GB.
    pub(crate) price: u32,
}

/// No link costs more: a million of them still add up.
const MOST: u64 = 1 << 40;

impl Weights {
    /// The cost by what one end says.
    pub(crate) fn cost(&self, said: &Said) -> u64 {
        let times = |value: u32, weight: u32| u64::from(value) * u64::from(weight);
        let cost = u64::from(said.cost)
            .saturating_add(times(said.rtt_us, self.rtt) / 100)
            .saturating_add(times(said.loss, self.loss) / 1_000)
            .saturating_add(times(said.price, self.price));
        cost.clamp(1, MOST)
    }
}

/// Probes without an answer that are remembered.
const UNDER_WAY: usize = 8;
/// An answer that takes longer than twice the round trip and this counts as
/// lost: a transport that loses nothing sends again after 200 ms at the least.
const LATE: Duration = Duration::from_millis(100);
/// One probe counts so much: 1/64.
const SHARE: u32 = 64;
/// A loss is over after so many probes in time, times the millionths that it was:
/// were it still there, that would come about once in a hundred times (e^-4.605).
/// But never after fewer probes than one counts for, as losses come in bursts.
const OVER: u64 = 4_605_000;
/// Less than this, in millionths, is none: a quarter of what one probe counts.
const NONE: u32 = 4_000;

/// The loss of a link, from its probes. Over a transport that repeats what was
/// lost, a loss is an answer that comes late; a busy other end looks the same,
/// and is to be avoided as well.
#[derive(Debug, Default)]
pub(crate) struct Loss {
    under_way: VecDeque<(u64, Mono)>,
    millionths: u32,
    /// What they were at the last loss, and the answers in time since.
    at_last: u32,
    in_time: u32,
}

impl Loss {
    /// A probe has left.
    pub(crate) fn asked(&mut self, number: u64, now: Mono) {
        if self.under_way.len() >= UNDER_WAY && self.under_way.pop_front().is_some() {
            self.sample(true);
        }
        self.under_way.push_back((number, now));
    }

    /// Its answer has come; `rtt` is the round trip as it is known so far.
    pub(crate) fn answered(&mut self, number: u64, now: Mono, rtt: Option<Duration>) {
        if !self.under_way.iter().any(|(known, _)| *known == number) {
            return;
        }
        while let Some((known, sent)) = self.under_way.pop_front() {
            if known == number {
                let late = rtt.is_some_and(|rtt| now.since(sent) > rtt * 2 + LATE);
                return self.sample(late);
            }
            // Answers come in order: this one will not come.
            self.sample(true);
        }
    }

    /// The link has fallen silent: that is a matter of suspicion, which keeps
    /// traffic away by itself and is over when the silence is. As a loss it would
    /// weigh on for some hundred probes.
    pub(crate) fn silent(&mut self) {
        self.under_way.clear();
    }

    fn sample(&mut self, lost: bool) {
        let sum = u64::from(self.millionths) * u64::from(SHARE - 1) + if lost { 1_000_000 } else { 0 };
        self.millionths = u32::try_from(sum / u64::from(SHARE)).unwrap_or(u32::MAX);
        if lost {
            (self.at_last, self.in_time) = (self.millionths, 0);
        } else if self.millionths > 0 {
            self.in_time += 1;
            let is_over = u64::from(self.at_last) * u64::from(self.in_time) >= OVER;
            if is_over && self.in_time >= SHARE {
                self.millionths = 0;
            }
        }
    }

    /// Millionths of the probes, the last ones counting most.
    pub(crate) fn millionths(&self) -> u32 {
        if self.millionths < NONE { 0 } else { self.millionths }
    }
}

/// Whether a loss has changed so much that the others are to know: by a quarter,
/// and by more than two in a hundred, or is over: what is left would keep
/// traffic away for ever.
pub(crate) fn has_shifted(told: u32, measured: u32) -> bool {
    told.abs_diff(measured) > (told / 4).max(20_000) || (measured == 0 && told != 0)
}

/// Loss and price by the hub at the other end, as records carry them: `u64 hub,
/// u32 loss, u32 price` each. Links of which both are 0 are left out.
pub(crate) fn encode(metrics: &BTreeMap<HubId, (u32, u32)>) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for (hub, (loss, price)) in metrics.iter().filter(|(_, both)| **both != (0, 0)) {
        bytes.extend_from_slice(&hub.0.to_le_bytes());
        bytes.extend_from_slice(&loss.to_le_bytes());
        bytes.extend_from_slice(&price.to_le_bytes());
    }
    (!bytes.is_empty()).then_some(bytes)
}

/// What another hub says so; none of what makes no sense.
pub(crate) fn decode(bytes: &[u8]) -> BTreeMap<HubId, (u32, u32)> {
    let one = |bytes: &[u8]| {
        let (hub, rest) = bytes.split_first_chunk()?;
        let (loss, rest) = rest.split_first_chunk()?;
        let price = rest.first_chunk()?;
        Some((HubId(u64::from_le_bytes(*hub)), (u32::from_le_bytes(*loss), u32::from_le_bytes(*price))))
    };
    bytes.chunks(16).map(one).collect::<Option<_>>().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Option<Duration> = Some(Duration::from_millis(10));

    fn at(ms: u64) -> Mono {
        Mono(ms * 1_000_000)
    }

    #[test]
    fn the_parts_of_a_cost_add_up_by_their_weights() {
        let said = Said { cost: 7, rtt_us: 10_000, loss: 10_000, price: 9 };
        assert_eq!(Weights::default().cost(&said), 7 + 10_000 + 10_000 + 9_000);
        assert_eq!(Weights { rtt: 50, loss: 0, price: 0 }.cost(&said), 7 + 5_000);
        assert_eq!(Weights { rtt: 0, loss: 0, price: 0 }.cost(&Said { cost: 0, ..said }), 1, "no link is free");
        let most = Said { cost: u32::MAX, rtt_us: u32::MAX, loss: u32::MAX, price: u32::MAX };
        assert_eq!(Weights { rtt: u32::MAX, loss: u32::MAX, price: u32::MAX }.cost(&most), MOST);
    }

    #[test]
    fn late_and_missing_answers_count_as_lost_and_are_forgotten_in_time() {
        let mut loss = Loss::default();
        loss.asked(1, at(0));
        loss.answered(1, at(120), RTT);
        assert_eq!(loss.millionths(), 0, "twice the round trip and 100 ms is in time");
        loss.asked(2, at(1_000));
        loss.answered(2, at(1_121), RTT);
        assert_eq!(loss.millionths(), 15_625);
        loss.asked(3, at(2_000));
        loss.asked(4, at(3_000));
        loss.answered(4, at(3_010), RTT);
        loss.answered(3, at(3_011), RTT);
        let after = loss.millionths();
        assert!(after > 30_000 && after < 31_250, "the third is lost, the fourth is not: {after}");
        for number in 5..2_000 {
            loss.asked(number, at(number * 1_000));
            loss.answered(number, at(number * 1_000 + 10), RTT);
        }
        assert_eq!(loss.millionths(), 0);
        for number in 2_000..3_000 {
            loss.asked(number, at(number * 1_000));
        }
        assert!(loss.millionths() > 990_000 && loss.under_way.len() == UNDER_WAY);
    }

    /// What a link had lost in a short time kept traffic away for up to 440 probes
    /// after the end of it: a 64th less with each, until a thousandth was left.
    #[test]
    fn a_loss_is_over_in_time_however_great_it_was() {
        for (losses, told, over_after) in [
            (1, 15_625, 87),
            (2, 31_005, 130),
            (3, 46_145, 100),
            (4, 61_048, 76),
            (8, 118_370, 64),
            (64, 634_992, 64),
            (1_000, 999_937, 64),
        ] {
            let mut loss = Loss::default();
            (0..losses).for_each(|_| loss.sample(true));
            assert_eq!(loss.millionths(), told, "{losses} losses");
            let goes_on = (1..).take_while(|_| {
                loss.sample(false);
                loss.millionths() > 0
            });
            assert_eq!(goes_on.count() + 1, over_after, "{losses} losses");
        }
    }

    /// What goes on losing a little is not told to be sound in between.
    #[test]
    fn a_loss_that_goes_on_is_not_over() {
        let mut loss = Loss::default();
        for probe in 0..10_000 {
            loss.sample(probe % 33 == 0 || probe % 33 == 20);
            assert!(probe < 1_000 || loss.millionths() > 20_000, "{probe}");
        }
    }

    #[test]
    fn metrics_are_read_as_they_were_told_and_nonsense_says_nothing() {
        let metrics: BTreeMap<_, _> = [(HubId(7), (5, 9)), (HubId(u64::MAX), (0, u32::MAX)), (HubId(9), (0, 0))].into();
        let bytes = encode(&metrics).expect("two of them");
        assert_eq!(decode(&bytes), [(HubId(7), (5, 9)), (HubId(u64::MAX), (0, u32::MAX))].into());
        assert_eq!(decode(&bytes[1..]), BTreeMap::new());
        assert_eq!(encode(&[(HubId(9), (0, 0))].into()), None);
    }

    #[test]
    fn a_single_late_answer_is_kept_quiet() {
        assert!(!has_shifted(0, 15_625) && has_shifted(0, 30_000));
        assert!(!has_shifted(200_000, 240_000) && has_shifted(200_000, 260_000) && has_shifted(40_000, 0));
        assert!(!has_shifted(3_000, 1_000) && has_shifted(3_000, 0) && !has_shifted(0, 0));
    }
}
