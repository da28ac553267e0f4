//! Long messages, in parts: each part is acknowledged, a few are under way at a
//! time, and after a silence they are sent again from the last one that arrived
//! (go-back-N). So a large snapshot survives a line that loses messages, and a
//! part is never larger than a message may be.
//!
//! One parcel at a time goes to each member and comes from each hub; others wait
//! behind it. By member, because nobody answers for a life of a hub that is over:
//! what waits for that one must not hold up what its next life needs. Bounds: bytes
//! of one parcel, bytes that wait for one member, and bytes that come in from all
//! hubs together. Beyond them a parcel is dropped, which whoever
//! sent it notices by the answer that does not come.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use weft_base::{HubId, Mono};

use crate::message::Part;
use crate::types::{Member, Vote};

/// How many parts are under way.
const WINDOW: usize = 4;

/// A long message on its way out.
struct Parcel {
    number: u64,
    /// The call that it belongs to; given up together.
    call: Option<u64>,
    /// When nobody wants it any more.
    until: Mono,
    vote: Option<Vote>,
    bytes: Vec<u8>,
    acknowledged: usize,
    sent: usize,
    /// When it is sent again.
    again: Mono,
    pause: Duration,
}

/// A long message on its way in.
struct Growing {
    instance: u64,
    number: u64,
    total: usize,
    bytes: Vec<u8>,
}

/// What a part led to.
pub(crate) struct Arrived {
    /// How much of the parcel is there.
    pub(crate) upto: u32,
    /// All of it.
    pub(crate) whole: Option<Vec<u8>>,
}

/// Limits of parcels, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) part: usize,
    pub(crate) parcel: usize,
    pub(crate) waiting: usize,
    pub(crate) arriving: usize,
    pub(crate) again: Duration,
}

/// All parcels of a council.
pub(crate) struct Parcels {
    bounds: Bounds,
    out: BTreeMap<Member, VecDeque<Parcel>>,
    arriving: BTreeMap<HubId, Growing>,
    /// The last one that was whole, so that its acknowledgement can be repeated.
    arrived: BTreeMap<HubId, (u64, u64, u32)>,
    /// Calls whose parcels have ended, and whether they arrived.
    finished: Vec<(u64, bool)>,
}

impl Parcels {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { bounds, out: BTreeMap::new(), arriving: BTreeMap::new(), arrived: BTreeMap::new(), finished: Vec::new() }
    }

    /// A message to send in parts; false when there is no room for it.
    pub(crate) fn send(
        &mut self,
        number: u64,
        to: Member,
        call: Option<u64>,
        vote: Option<Vote>,
        bytes: Vec<u8>,
        until: Mono,
    ) -> bool {
        let queue = self.out.entry(to).or_default();
        let waiting: usize = queue.iter().map(|parcel| parcel.bytes.len()).sum();
        if bytes.len() > self.bounds.parcel || waiting + bytes.len() > self.bounds.waiting {
            return false;
        }
        let (again, pause) = (Mono(0), self.bounds.again);
        queue.push_back(Parcel { number, call, until, vote, bytes, acknowledged: 0, sent: 0, again, pause });
        true
    }

    /// Nobody waits for these calls' answers any more.
    pub(crate) fn give_up(&mut self, calls: &[u64]) {
        if !calls.is_empty() {
            self.out
                .values_mut()
                .for_each(|queue| queue.retain(|parcel| parcel.call.is_none_or(|call| !calls.contains(&call))));
        }
    }

    /// Calls whose parcels have ended since this was asked, and whether they arrived.
    pub(crate) fn finished(&mut self) -> Vec<(u64, bool)> {
        std::mem::take(&mut self.finished)
    }

    /// Forgets hubs that are not these.
    pub(crate) fn keep(&mut self, is_there: impl Fn(HubId) -> bool) {
        let gone = self.out.iter().filter(|(to, _)| !is_there(to.hub)).flat_map(|(_, queue)| queue);
        self.finished.extend(gone.filter_map(|parcel| parcel.call).map(|call| (call, false)));
        self.out.retain(|to, queue| is_there(to.hub) && !queue.is_empty());
        self.arriving.retain(|hub, _| is_there(*hub));
        self.arrived.retain(|hub, _| is_there(*hub));
    }

    /// The parts that are to be sent now, and when to ask again.
    pub(crate) fn due(&mut self, now: Mono, out: &mut Vec<(Member, Part)>) -> Option<Mono> {
        let (bounds, mut next) = (self.bounds, None::<Mono>);
        for (to, queue) in &mut self.out {
            queue.retain(|parcel| parcel.until > now);
            let Some(parcel) = queue.front_mut() else { continue };
            if parcel.sent > parcel.acknowledged && now >= parcel.again {
                parcel.sent = parcel.acknowledged;
                parcel.pause = (parcel.pause * 2).min(bounds.again * 16);
            }
            let window = parcel.acknowledged + WINDOW * bounds.part;
            while parcel.sent < parcel.bytes.len().min(window) {
                let end = (parcel.sent + bounds.part).min(parcel.bytes.len());
                let bytes = parcel.bytes[parcel.sent..end].to_vec();
                let (total, offset) = (parcel.bytes.len() as u32, parcel.sent as u32);
                out.push((*to, Part { parcel: parcel.number, total, offset, vote: parcel.vote, bytes }));
                parcel.sent = end;
                parcel.again = now + parcel.pause;
            }
            let at = parcel.again.min(parcel.until);
            next = Some(next.map_or(at, |next| next.min(at)));
        }
        self.out.retain(|_, queue| !queue.is_empty());
        next
    }

    /// That a hub has so much of a parcel.
    pub(crate) fn acknowledged(&mut self, from: Member, number: u64, upto: u32) {
        let Some(queue) = self.out.get_mut(&from) else { return };
        let Some(parcel) = queue.front_mut().filter(|parcel| parcel.number == number) else { return };
        let upto = upto as usize;
        if upto >= parcel.bytes.len() {
            self.finished.extend(parcel.call.map(|call| (call, true)));
            queue.pop_front();
        } else if upto > parcel.acknowledged {
            parcel.acknowledged = upto;
            parcel.sent = parcel.sent.max(upto);
            parcel.pause = self.bounds.again;
        } else if upto == 0 && parcel.acknowledged > 0 {
            // It has forgotten: it began anew, or had no room.
            (parcel.acknowledged, parcel.sent) = (0, 0);
        }
    }

    /// A part that came; `None` when it is not to be acknowledged.
    pub(crate) fn arrive(&mut self, from: Member, part: Part) -> Option<Arrived> {
        let (total, offset) = (part.total as usize, part.offset as usize);
        if self.arrived.get(&from.hub) == Some(&(from.instance, part.parcel, part.total)) {
            return Some(Arrived { upto: part.total, whole: None });
        }
        let is_known = self
            .arriving
            .get(&from.hub)
            .is_some_and(|growing| growing.number == part.parcel && growing.instance == from.instance);
        if !is_known {
            if offset != 0 {
                return Some(Arrived { upto: 0, whole: None });
            }
            self.arriving.remove(&from.hub);
            let others: usize = self.arriving.values().map(|growing| growing.total).sum();
            if total > self.bounds.parcel || others + total > self.bounds.arriving {
                return None;
            }
            let growing = Growing { instance: from.instance, number: part.parcel, total, bytes: Vec::new() };
            self.arriving.insert(from.hub, growing);
        }
        let growing = self.arriving.get_mut(&from.hub)?;
        if total != growing.total {
            return None;
        }
        if offset == growing.bytes.len() {
            growing.bytes.extend(part.bytes);
        }
        if growing.bytes.len() < total {
            return Some(Arrived { upto: growing.bytes.len() as u32, whole: None });
        }
        let whole = self.arriving.remove(&from.hub).map(|growing| growing.bytes);
        self.arrived.insert(from.hub, (from.instance, part.parcel, part.total));
        Some(Arrived { upto: part.total, whole })
    }
}
