//! What a hub says of its ledger and of an event.

use weft_base::HubId;
use weft_mesh::ledger::DropReason;
use weft_wire::frame::{Fact, facts};

use super::window::{EventName, Window};
use crate::counters::Counters;
use crate::options::Location;

/// A fact, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) value: u64,
}

impl Said {
    pub(crate) fn of(fact: &Fact<'_>) -> Self {
        Self::text(fact.name, fact.text.to_owned(), fact.value)
    }

    /// What it takes of a message, at most: its bytes, and what they are framed by.
    pub(crate) fn cost(&self) -> usize {
        self.name.len() + self.text.len() + 16
    }

    pub(crate) fn number(name: &str, value: u64) -> Self {
        Self::text(name, String::new(), value)
    }

    pub(crate) fn text(name: &str, text: String, value: u64) -> Self {
        Self { name: name.to_owned(), text, value }
    }
}

/// How much flows, but for what is zero, and where the hub is.
pub(crate) fn of_pulse(counters: &Counters, location: Option<Location>, said: &mut Vec<Said>) {
    if let Some(location) = location {
        said.push(Said::text(facts::PLACE, location.to_string(), 0));
    }
    of_whole(counters, said);
    each_flow(counters, |peer, lane, count| {
        let what = lane.map_or_else(|| "bytes".to_owned(), |lane| lane.to_string());
        said.push(Said::text(&format!("{}{what}", facts::FLOW), peer.to_owned(), count));
    });
    let waits = counters.stages().iter().map(|stage| (stage.name, crate::counters::get(&stage.wait_us)));
    said.extend(waits.map(|(stage, wait)| Said::number(&format!("{}{stage}", facts::WAIT), wait)));
}

/// All counters, but for those that are zero.
pub(crate) fn of_counters(counters: &Counters, said: &mut Vec<Said>) {
    let all = counters.list().into_iter().filter(|(_, value)| *value > 0);
    said.extend(all.map(|(name, value)| Said::number(&format!("{}{name}", facts::COUNTER), value)));
    each_flow(counters, |peer, lane, count| {
        if let Some(lane) = lane {
            said.push(Said::number(&format!("{}link.{peer}.lane_{lane}_out", facts::COUNTER), count));
        }
    });
}

/// The ledger of the hub and of each class, and what crossed its links, but for what is zero.
pub(crate) fn of_ledger(counters: &Counters, said: &mut Vec<Said>) {
    of_whole(counters, said);
    let classes = counters.list().into_iter().filter(|(name, _)| name.starts_with(facts::CLASS));
    said.extend(classes.filter(|(_, value)| *value > 0).map(|(name, value)| Said::number(&name, value)));
    counters.each_link(|peer, link| {
        for (class, column) in counters.classes.column_names().zip(&link.columns) {
            let counts = column.each().map(|(what, count)| (what, crate::counters::get(count)));
            let crossed = counts.into_iter().filter(|(_, value)| *value > 0);
            said.extend(
                crossed
                    .map(|(what, value)| Said::text(&format!("{}{what}.{class}", facts::LINK), peer.to_owned(), value)),
            );
        }
    });
}

/// What was sent over the links, by the name of the hub at the other end and the lane,
/// and in bytes where there is no lane; what is zero is left out.
fn each_flow(counters: &Counters, mut each: impl FnMut(&str, Option<usize>, u64)) {
    counters.each_link(|peer, link| {
        let lanes = link.lanes_out.iter().enumerate().map(|(lane, count)| (Some(lane), count));
        for (lane, count) in lanes.chain([(None, &link.bytes_out)]) {
            let count = crate::counters::get(count);
            if count > 0 {
                each(peer, lane, count);
            }
        }
    });
}

/// The ledger of the hub.
fn of_whole(counters: &Counters, said: &mut Vec<Said>) {
    let own = counters.ledger();
    for (what, reason, value) in own.counters().filter(|(.., value)| *value > 0) {
        let reason = reason.map_or(String::new(), |reason| format!(".{}", reason.name()));
        said.push(Said::number(&format!("{}{what}{reason}", facts::LEDGER), value));
    }
    let imbalance = crate::counters::get(&counters.ledger_imbalance);
    if imbalance > 0 {
        said.push(Said::number(&format!("{}imbalance", facts::LEDGER), imbalance));
    }
}

/// What became of an event here, or how far back the window reaches.
pub(crate) fn of_event(
    window: &Window,
    name: EventName,
    hub: impl Fn(HubId) -> String,
    stream: impl Fn(u64) -> String,
    said: &mut Vec<Said>,
) {
    said.push(Said::number(facts::WINDOW, window.capacity() as u64));
    let Some(seen) = window.look_up(name) else {
        return said.push(Said::number(facts::REACHES_BACK, window.reaches_back_to()));
    };
    let ended = seen.drops.iter().map(|(_, n)| n).sum::<u64>();
    let accounted = seen.delivered + seen.stored + seen.forwarded + seen.spooled + ended;
    said.push(Said::number(facts::FOUND, 1));
    said.push(Said::text(facts::ORIGIN, hub(seen.origin), seen.sequence));
    said.push(Said::text(facts::PRODUCER, format!("{:x}", seen.producer.0), seen.first));
    if seen.from.0 != 0 {
        said.push(Said::text(facts::FROM, hub(seen.from), 0));
    }
    let numbers = [
        (facts::EPOCH, u64::from(seen.epoch.0)),
        (facts::INGESTED, seen.ingested),
        (facts::EVENTS, u64::from(seen.events)),
        (facts::CAME_AT, seen.came_at),
        (facts::ROUTED_AT, seen.routed_at),
        (facts::COPIES, seen.copies),
        (facts::DELIVERED, seen.delivered),
        (facts::DELIVERED_AT, seen.delivered_at),
        (facts::STORED, seen.stored),
        (facts::STORED_AT, seen.stored_at),
        (facts::FORWARDED, seen.forwarded),
        (facts::SPOOLED, seen.spooled),
        (facts::IN_FLIGHT, seen.copies.saturating_sub(accounted)),
        (facts::AGAIN, seen.again),
        (facts::SENT_AT, seen.sent_at),
    ];
    said.extend(numbers.iter().filter(|(_, value)| *value > 0).map(|(name, value)| Said::number(name, *value)));
    said.extend(seen.links.iter().map(|link| Said::text(facts::SENT_TO, hub(*link), 0)));
    for (code, n) in &seen.drops {
        let reason = DropReason::from_code(*code).map_or("unknown", DropReason::name);
        said.push(Said::number(&format!("{}{reason}", facts::DROPPED), *n));
    }
    said.extend(seen.streams.iter().map(|(id, _, first)| Said::text(facts::STREAM, stream(*id), *first)));
}
