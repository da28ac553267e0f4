//! The inspect stage: checks payloads, block by block, and puts in quarantine what
//! is to go there before anything of its block goes on.
//!
//! On a thread of its own, because a check may take milliseconds. One slice of one
//! block ([`SLICE`] events) is checked in a turn of the stage, and what the turn
//! took is charged to the tenant whose it was: who has cost least goes next
//! (`lines.rs`). It always empties its inbox; what waits here is bounded by the net
//! stage, which does not read sessions with too much here. A turn is taken only
//! while the net and the append stage have room.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use weft_base::{HubId, Mono, Now};
use weft_govern::document::Check;
use weft_govern::inspect::{Inspector, Unfit, quarantine_filter};
use weft_ring::arena::Arena;
use weft_ring::mpsc;
use weft_ring::stage::{Backlog, Stage, StageWaker};
use weft_wire::block::layout::REQUEST;
use weft_wire::block::{self, Block, Event};
use weft_wire::headers::names;

use super::letter::{self, By};
use super::lines::Lines;
use super::{Fate, Inspected, Inspection, Payer, Shared, ToInspect, Work};
use crate::Identity;
use crate::admit;
use crate::counters::{Counters, add};
use crate::messages::{Author, Internal, SessionId, ToAppend, ToNet};
use crate::options::is_label;
use crate::outbox::{Outbox, backlog};
use crate::route::table::RouteTable;

/// Events checked in one turn.
const SLICE: usize = 32;
/// Messages taken in one turn.
const INBOX: usize = 1_024;
/// Room that the append stage must have before a turn: more letters than one block
/// makes as a rule, since each is nearly as long as a frame may be.
const LETTERS: usize = 8;
/// Events of a block whose reasons are kept apart; those behind have the last one's
/// with which the same is done.
const MOST_REASONS: usize = 256;
/// Not more often than this it is logged that payloads do not fit.
const TELL: Duration = Duration::from_secs(1);
/// After how long it looks again whether the other stages have room.
const RETRY: Duration = Duration::from_millis(1);

/// What the stage is made of.
pub(super) struct InspectParts {
    pub(super) shared: Shared,
    pub(super) inbox: mpsc::Consumer<ToInspect>,
    pub(super) net: Outbox<ToNet>,
    pub(super) append: Outbox<ToAppend>,
    pub(super) identity: Arc<Identity>,
    pub(super) counters: Arc<Counters>,
    pub(super) arena: Arena,
    pub(super) snapshot: Arc<ArcSwap<RouteTable>>,
    /// Bytes of a frame at most.
    pub(super) frame: usize,
    pub(super) waker: StageWaker,
}

/// A block in hand.
struct Task {
    work: Box<Work>,
    /// By what all of it is checked, from its first slice on.
    by: Option<Arc<Inspection>>,
    /// The event that is checked next.
    next: u32,
    /// Events that do not fit, in order.
    unfit: Vec<(u32, Arc<Unfit>)>,
}

/// A block of which something is on its way to quarantine.
struct Held {
    task: Task,
    /// Letters that are not on disk yet.
    open: usize,
    failed: Option<String>,
}

/// The stage.
pub(super) struct InspectStage {
    parts: InspectParts,
    inspection: Arc<Inspection>,
    lines: Lines<Task>,
    held: BTreeMap<SessionId, (Payer, Held)>,
    /// Whose letter it is.
    tickets: BTreeMap<u64, SessionId>,
    ticket: u64,
    /// Letters written since the hub's start; they have no other number.
    letters: u64,
    /// Who had the last turn, and when it began.
    served: Option<(Payer, Mono)>,
    told: Option<Mono>,
    next: Option<Mono>,
    now: Now,
}

/// What is found by looking at a slice of a block.
enum Looked {
    /// There is more of it.
    More,
    /// It was the last.
    All,
    /// The block is refused as it is.
    Refused(String),
    /// It is no block, or not one that may be here: the route stage says so.
    Others,
}

impl InspectStage {
    pub(super) fn new(parts: InspectParts) -> Self {
        let inspection = parts.shared.load_full();
        Self {
            parts,
            inspection,
            lines: Lines::default(),
            held: BTreeMap::new(),
            tickets: BTreeMap::new(),
            ticket: 0,
            letters: 0,
            served: None,
            told: None,
            next: None,
            now: Now::default(),
        }
    }

    fn take_inbox(&mut self) -> usize {
        let mut work = 0;
        while work < INBOX
            && let Some(message) = self.parts.inbox.pop()
        {
            work += 1;
            match message {
                ToInspect::Block(block) => {
                    let (payer, session) = (block.payer.clone(), block.session);
                    self.lines.push(&payer, session, Task { work: block, by: None, next: 0, unfit: Vec::new() });
                }
                ToInspect::Stored { ticket, refused } => self.on_stored(ticket, refused),
            }
        }
        work
    }

    /// The last turn is charged to whom it was for.
    fn charge(&mut self) {
        if let Some((payer, since)) = self.served.take() {
            let cost = u64::try_from(self.now.mono.since(since).as_nanos()).unwrap_or(u64::MAX);
            // Never nothing, so that turns go round where the clock stands.
            self.lines.charge(&payer, cost.max(1));
        }
    }

    /// Checks one slice of one block.
    fn turn(&mut self) -> usize {
        if self.inspection.inspector.is_none() || !self.parts.net.has_room(2) || !self.parts.append.has_room(LETTERS) {
            return 0;
        }
        let Some((payer, session, mut task)) = self.lines.take() else { return 0 };
        self.served = Some((payer.clone(), self.now.mono));
        if task.work.topics.is_none() {
            self.finish(&payer, task, Fate::Pass { checked: false });
            return 1;
        }
        match self.check(&mut task) {
            Looked::More => self.lines.again(&payer, session, task),
            Looked::All => self.conclude(payer, task),
            Looked::Others => self.finish(&payer, task, Fate::Pass { checked: false }),
            Looked::Refused(detail) => self.finish(&payer, task, Fate::Reject(detail)),
        }
        1
    }

    /// Looks at the next events of a block.
    fn check(&self, task: &mut Task) -> Looked {
        if task.by.is_none() {
            if admit::check(&task.work.block).is_err() {
                return Looked::Others;
            }
            let residency = Block::trusted(&task.work.block).residency();
            if residency.is_bound() && self.parts.snapshot.load().routes.bound(residency).is_none() {
                return Looked::Others;
            }
        }
        let by = task.by.get_or_insert_with(|| self.inspection.clone()).clone();
        let Some(inspector) = &by.inspector else { return Looked::Others };
        let block = Block::trusted(&task.work.block);
        let topics = task.work.topics.clone().unwrap_or_default();
        let is_request = block.flags() & REQUEST != 0;
        let mut seen = 0;
        for event in block.events().skip(task.next as usize).take(SLICE) {
            let place = task.next;
            (task.next, seen) = (place + 1, seen + 1);
            if block.is_compacted() && event.is_removed() {
                continue;
            }
            add(&self.parts.counters.schema.checked, 1);
            let Err(why) = inspect(&**inspector, &topics, block.schema(), &event) else { continue };
            // Nobody could answer a request later, and what was replayed came from there.
            let is_refused = why.check == Check::Reject
                || why.check == Check::Quarantine
                    && (is_request || why.quarantine.is_none() || event.headers.get(names::REPLAYED).is_some());
            if is_refused {
                return Looked::Refused(explain(&why, (place, block.event_count())));
            }
            let is_alike = |known: &Unfit| known.check == why.check && place_of(known) == place_of(&why);
            let known = task.unfit.iter().rev().filter(|_| task.unfit.len() >= MOST_REASONS);
            let reason = known.map(|(_, known)| known).find(|known| is_alike(known)).cloned();
            task.unfit.push((place, reason.unwrap_or_else(|| Arc::from(why))));
        }
        if seen == SLICE && task.next < block.event_count() { Looked::More } else { Looked::All }
    }

    /// All events of a block were looked at.
    fn conclude(&mut self, payer: Payer, mut task: Task) {
        let all = task.unfit.len();
        let (quarantined, warned): (Vec<_>, Vec<_>) =
            task.unfit.drain(..).partition(|(_, why)| why.check == Check::Quarantine);
        debug_assert_eq!(quarantined.len() + warned.len(), all, "what is refused is not kept");
        add(&self.parts.counters.schema.warned, warned.len() as u64);
        if let Some((place, why)) = quarantined.first().or(warned.first()) {
            self.tell(&task.work, *place, why);
        }
        if quarantined.is_empty() {
            return self.finish(&payer, task, Fate::Pass { checked: true });
        }
        task.unfit = quarantined;
        match self.write(&task) {
            Ok(open) => {
                let session = task.work.session;
                self.held.insert(session, (payer, Held { task, open, failed: None }));
            }
            Err(why) => self.finish(&payer, task, Fate::Unkept(why)),
        }
    }

    /// Sends what did not fit of a block to be stored, all of it or nothing; answers in
    /// how many letters.
    fn write(&mut self, task: &Task) -> Result<usize, String> {
        let work = &task.work;
        let block = Block::trusted(&work.block);
        // A mapped topic may become several, which may have several owners.
        let mut apart: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (place, why) in &task.unfit {
            apart.entry(place_of(why)).or_default().push((*place, why.clone()));
        }
        let mut all = Vec::new();
        for ((tenant, called), unfit) in apart {
            let place = (stream_at(called, tenant, &self.parts.identity.name), quarantine_filter(tenant, called));
            let by = By {
                who: work.who.as_deref().map_or("", |who| &who.name),
                hub: (self.parts.identity.id, self.parts.identity.epoch),
                first: self.letters + 1 + all.len() as u64,
                now: self.now.wall,
                most: self.parts.frame,
            };
            for (bytes, _) in letter::write(&block, &unfit, &by)? {
                let copy = self.parts.arena.copy_of(&bytes);
                let copy =
                    copy.ok_or("the hub's memory for blocks is in use (limits.arena): publish again in a while")?;
                all.push((place.clone(), copy));
            }
        }
        let letters = all.len();
        for ((stream, source), block) in all {
            self.ticket += 1;
            self.letters += 1;
            self.tickets.insert(self.ticket, work.session);
            let internal = Internal { stream, source, block, ticket: self.ticket, author: Author::Quarantine };
            self.parts.append.push(ToAppend::Internal(internal));
        }
        Ok(letters)
    }

    /// The append stage has a letter on disk, or refuses it.
    fn on_stored(&mut self, ticket: u64, refused: Option<String>) {
        let Some(session) = self.tickets.remove(&ticket) else { return };
        let Some((_, held)) = self.held.get_mut(&session) else { return };
        held.open = held.open.saturating_sub(1);
        if refused.is_some() {
            held.failed = refused;
        }
        if held.open > 0 {
            return;
        }
        let Some((payer, Held { mut task, failed, .. })) = self.held.remove(&session) else { return };
        if let Some(why) = failed {
            tracing::error!(code = "quarantine_refused", why, "events could not be put in quarantine");
            return self.finish(&payer, task, Fate::Unkept(why));
        }
        add(&self.parts.counters.schema.quarantined, task.unfit.len() as u64);
        let fate = if without(&mut task) { Fate::Pass { checked: true } } else { Fate::Quarantined };
        self.finish(&payer, task, fate);
    }

    fn finish(&mut self, payer: &Payer, task: Task, fate: Fate) {
        match &fate {
            Fate::Reject(_) => add(&self.parts.counters.schema.rejected, 1),
            Fate::Unkept(_) => add(&self.parts.counters.schema.unkept, 1),
            Fate::Pass { .. } | Fate::Quarantined => {}
        }
        let session = task.work.session;
        self.parts.net.push(ToNet::Inspected(Box::new(Inspected { work: task.work, fate })));
        self.lines.done(payer, session);
    }

    /// Says in the log that something does not fit, now and then.
    fn tell(&mut self, work: &Work, place: u32, why: &Unfit) {
        if self.told.is_some_and(|told| self.now.mono.since(told) < TELL) {
            return;
        }
        self.told = Some(self.now.mono);
        let block = Block::trusted(&work.block);
        let (topic, client) = (block.topic(), work.who.as_deref().map_or("", |who| &who.name));
        let tenant_id = work.who.as_deref().and_then(|who| who.tenant.as_deref());
        let detail = explain(why, (place, block.event_count()));
        tracing::warn!(
            code = "unfit",
            session = work.session.0,
            tenant_id,
            topic,
            client,
            detail,
            "a payload is not of its schema; more of them are counted"
        );
    }
}

/// Checks an event by all that its topic may become. Of several that it does not fit
/// the strictest counts.
fn inspect(inspector: &dyn Inspector, topics: &[Box<str>], schema: u32, event: &Event<'_>) -> Result<(), Box<Unfit>> {
    let unfit = topics.iter().filter_map(|topic| inspector.inspect(topic, schema, event.payload).err());
    let leniency = |why: &Unfit| match why.check {
        Check::Reject => 0,
        Check::Quarantine => 1,
        Check::Warn | Check::Off => 2,
    };
    unfit.min_by_key(|why| leniency(why)).map_or(Ok(()), Err)
}

/// Where an event is put aside: whose quarantine, and what the documents call it.
fn place_of(why: &Unfit) -> (Option<&str>, &str) {
    (why.tenant.as_deref(), why.quarantine.as_deref().unwrap_or_default())
}

/// Takes out of a block what is in quarantine. Answers whether anything is left.
fn without(task: &mut Task) -> bool {
    let block = Block::trusted(&task.work.block);
    let out: Vec<u32> = task.unfit.iter().map(|(place, _)| *place).collect();
    let (mut left, mut bytes) = (false, Vec::with_capacity(task.work.block.len()));
    let keep = |place: usize, _: &Event<'_>| {
        let stays = u32::try_from(place).is_ok_and(|place| out.binary_search(&place).is_err());
        left |= stays;
        stays
    };
    block::compact(&block, keep, &mut bytes);
    // What stands in the place of an event is not longer than it was.
    match task.work.block.get_mut(..bytes.len()).filter(|_| left) {
        Some(place) => {
            place.copy_from_slice(&bytes);
            let shorter = task.work.block.split_to(bytes.len());
            task.work.block = shorter;
            true
        }
        None => false,
    }
}

/// The stream at this hub for what the documents call so, of a tenant or of nobody:
/// each hub keeps what entered there, and names of streams are 1 to 64 of `a-z`,
/// `0-9` and `-`. A tenant whose name is no part of one has a number there, and what
/// would be longer ends in a number that is of all of it. Two that come to one name
/// are told apart by what the stream captures.
fn stream_at(name: &str, tenant: Option<&str>, hub: &str) -> String {
    const MOST: usize = 64;
    let number = |text: &str| format!("-{:016x}", HubId::of_name(text).0);
    let owner = match tenant {
        Some(tenant) if is_label(tenant) => format!("-{tenant}"),
        Some(tenant) => number(tenant),
        None => String::new(),
    };
    let whole = format!("{name}{owner}-{hub}");
    if whole.len() <= MOST {
        return whole;
    }
    let number = number(&whole);
    whole.chars().take(MOST - number.len()).chain(number.chars()).collect()
}

/// Why an event does not fit, and by which schema.
fn explain(why: &Unfit, (place, of): (u32, u32)) -> String {
    let version = why.version.map_or(String::new(), |version| format!(" version {version}"));
    let schema = why.schema.map_or(String::new(), |id| format!("schema {id}, "));
    let which = if of > 1 { format!("event {} of {of}", place + 1) } else { "the event".to_owned() };
    let Unfit { subject, state, rule, at, text, .. } = why;
    format!("{which} is not of subject `{subject}`{version} ({schema}state {state}): '{rule}' at '{at}': {text}")
}

impl Stage for InspectStage {
    fn name(&self) -> &'static str {
        "inspect"
    }

    fn do_work(&mut self, now: Now) -> usize {
        self.now = now;
        self.charge();
        {
            let shared = self.parts.shared.load();
            if !Arc::ptr_eq(&shared, &self.inspection) {
                self.inspection = Arc::clone(&shared);
            }
        }
        let work = self.take_inbox() + self.turn();
        self.parts.net.notify();
        self.parts.append.notify();
        let blocked = !self.parts.net.has_room(2) || !self.parts.append.has_room(LETTERS);
        self.next = blocked.then(|| now.mono + RETRY);
        work
    }

    fn waker(&self) -> Option<StageWaker> {
        Some(self.parts.waker.clone())
    }

    fn next_deadline(&self) -> Option<Mono> {
        self.next
    }

    fn load(&self) -> Backlog {
        backlog(&self.parts.inbox)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hub_has_a_stream_of_its_own_for_a_quarantine_and_its_name_is_one() {
        assert_eq!(stream_at("bad-orders", None, "fra-1"), "bad-orders-fra-1");
        // Of what is too long too: whatever it is that differs, wherever it does.
        let (long, most) = (|letter: &str, end: &str| letter.repeat(63) + end, "h".repeat(64));
        for (one, two) in [
            (("aside", None, &*most), ("apart", None, &*most)),
            (("a", None, &long("h", "1")), ("a", None, &long("h", "2"))),
            ((&long("q", "1"), None, "fra-1"), (&long("q", "2"), None, "fra-1")),
            ((&long("q", "1"), Some("shop"), "fra-1"), (&long("q", "1"), Some("shed"), "fra-1")),
        ] {
            let [one, two] = [one, two].map(|(name, tenant, hub)| stream_at(name, tenant, hub));
            assert!(is_label(&one) && is_label(&two) && one != two, "{one} {two}");
        }
        assert_eq!(stream_at("aside", Some("shop"), "fra-1"), "aside-shop-fra-1");
        for (tenant, other) in [("Shop", "sHop"), ("a.b", "a:b"), (&*"t".repeat(64), &*"t".repeat(65))] {
            for hub in ["fra-1", &*"h".repeat(64)] {
                let [one, two] = [tenant, other].map(|tenant| stream_at("aside", Some(tenant), hub));
                assert!(is_label(&one) && is_label(&two) && one != two, "{one} {two}");
            }
        }
    }
}
