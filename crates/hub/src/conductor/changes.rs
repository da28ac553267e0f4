//! Makes what operators changed hold: which hubs are dialled, which links may
//! be, what they cost, and the hub's labels. [`Overlay`] says what holds; after
//! each change all of that is compared with what is, and the difference made.

mod reload;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use weft_mesh::{Event, LinkId};
use weft_ring::arena::BlockRef;
use weft_transport::dns::Sought;
use weft_wire::frame::{self, ChangeLine, ErrorCode, Frame, TrialAct};

use super::Conductor;
use super::links::shown;
use super::neighbours::Neighbours;
use crate::changes::{ChangesFile, Entry, HubChange, Overlaid, Overlay, Refusal};
use crate::messages::{Dial, SessionId, ToNet};
use crate::options::Neighbour;

/// Addresses that a hub dials or has dialled in one life: each has a place for ever.
const MOST_DIALLED: usize = 1_024;

/// A hub to keep a link to, from the configuration or by a change.
struct Dialled {
    neighbour: Arc<Neighbour>,
    /// Who is there, as far as it is known.
    peer: Option<String>,
    is_configured: bool,
    /// It was, until another configuration was taken.
    was_configured: bool,
    /// What is wanted of it because a name leads to it; none of others.
    wish: Option<Wish>,
    /// The row of the name, of one that DNS names.
    row: usize,
    /// No name leads to it any more.
    is_left: bool,
    is_wanted: bool,
}

impl Dialled {
    /// One of the configuration.
    fn configured(neighbour: &Neighbour) -> Self {
        Self {
            neighbour: Arc::new(neighbour.clone()),
            peer: neighbour.name.clone(),
            // A name is no hub itself: it keeps the place of its row.
            is_configured: Sought::of(&neighbour.addr).is_none(),
            was_configured: false,
            wish: None,
            row: 0,
            is_left: false,
            is_wanted: true,
        }
    }
}

/// What is wanted of a hub that DNS names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Link,
    /// Nothing: another link with it stands.
    Double,
    /// Nothing: it is not named any more, or others are better.
    Not,
}

/// A link that is up.
struct Up {
    peer: String,
    dialled: Option<usize>,
    /// What it costs, as the mesh was told.
    told: (u32, u32),
}

/// What operators changed, and what it is about.
pub(super) struct Changes {
    overlay: Overlay,
    over: Overlaid,
    file: Option<ChangesFile>,
    dialled: Vec<Dialled>,
    links: BTreeMap<LinkId, Up>,
}

impl Changes {
    pub(super) fn new(neighbours: &[Neighbour], file: Option<ChangesFile>) -> Self {
        let overlay = Overlay::new(file.as_ref().map(ChangesFile::read).unwrap_or_default());
        let dialled = neighbours.iter().map(Dialled::configured).collect();
        Self { overlay, over: Overlaid::default(), file, dialled, links: BTreeMap::new() }
    }

    /// Whether there is a place for a hub that is dialled at this address.
    fn dials(&self, peer: &str, addr: &str) -> bool {
        let is_known = |d: &Dialled| d.peer.as_deref() == Some(peer) && (d.is_configured || d.neighbour.addr == addr);
        self.dialled.iter().any(is_known)
    }

    /// Refuses what would need a place more than there may be.
    fn has_room(&self, change: &HubChange) -> Result<(), Refusal> {
        let HubChange::Link { peer, addr: Some(addr), .. } = change else { return Ok(()) };
        if self.dialled.len() < MOST_DIALLED || self.dials(peer, addr) {
            return Ok(());
        }
        let detail = format!("the hub has dialled {MOST_DIALLED} addresses, the most in one life: start it anew");
        Err((ErrorCode::BAD_CHANGE, detail))
    }

    /// Where a neighbour is dialled, and who it is to be.
    pub(super) fn neighbour(&self, index: usize) -> Option<Arc<Neighbour>> {
        self.dialled.get(index).map(|dialled| dialled.neighbour.clone())
    }

    /// The neighbours to dial, by their places and what they are called: of the
    /// configuration, those that operators added, and those that DNS names.
    pub(super) fn neighbours(&self) -> impl Iterator<Item = (usize, String)> {
        let kept = self.dialled.iter().enumerate().filter(|(_, dialled)| dialled.is_configured || dialled.is_wanted);
        kept.map(|(index, Dialled { neighbour, peer, wish, .. })| {
            let name = if wish.is_some() { peer } else { &neighbour.name };
            (index, name.clone().unwrap_or_else(|| shown(neighbour)))
        })
    }

    /// Where a neighbour is dialled, and what for.
    pub(super) fn dial(&self, index: usize) -> Option<(Arc<Neighbour>, Dial)> {
        let Dialled { neighbour, wish, row, .. } = self.dialled.get(index)?;
        let dial = wish.map_or(Dial::Neighbour(index), |_| Dial::Named(index, *row));
        Some((neighbour.clone(), dial))
    }

    /// A place for a hub that DNS names, which is not dialled yet: one that nobody
    /// has any more, or a new one, if there may be more.
    /// `row`: that of the name.
    pub(super) fn keep(&mut self, neighbour: Neighbour, row: usize, neighbours: &mut Neighbours) -> Option<usize> {
        let entry = Dialled {
            neighbour: Arc::new(neighbour),
            peer: None,
            is_configured: false,
            was_configured: false,
            wish: Some(Wish::Not),
            row,
            is_left: false,
            is_wanted: false,
        };
        let is_free = |(index, dialled): &(usize, &Dialled)| {
            let has_link = self.links.values().any(|up| up.dialled == Some(*index));
            dialled.wish.is_some() && dialled.is_left && !has_link && neighbours.is_idle(*index)
        };
        let free = self.dialled.iter().enumerate().find(is_free).map(|(index, _)| index);
        if let Some((index, place)) = free.and_then(|index| Some((index, self.dialled.get_mut(index)?))) {
            *place = entry;
            neighbours.renew(index);
            return Some(index);
        }
        if self.dialled.len() >= MOST_DIALLED {
            return None;
        }
        self.dialled.push(entry);
        neighbours.add();
        Some(self.dialled.len() - 1)
    }

    /// DNS may say other things of a hub than it did.
    pub(super) fn moved(&mut self, index: usize, found: impl Fn() -> Neighbour) {
        if let Some(dialled) = self.dialled.get_mut(index) {
            let found = found();
            if *dialled.neighbour != found {
                dialled.neighbour = Arc::new(found);
            }
        }
    }

    /// What is wanted of the hubs that DNS names, by their places; nothing of those
    /// that it does not name any more. Answers whether that is new.
    pub(super) fn wish(&mut self, wishes: &BTreeMap<usize, Wish>) -> bool {
        let mut is_new = false;
        for (index, dialled) in self.dialled.iter_mut().enumerate() {
            let Some(wish) = &mut dialled.wish else { continue };
            let now = wishes.get(&index).copied();
            dialled.is_left = now.is_none();
            let now = now.unwrap_or(Wish::Not);
            is_new |= std::mem::replace(wish, now) != now;
        }
        is_new
    }

    /// Whether it is there because DNS names it.
    pub(super) fn is_named(&self, index: usize) -> bool {
        self.dialled.get(index).is_some_and(|dialled| dialled.wish.is_some())
    }

    /// Links with the hub at a place that were not dialled for that place: each
    /// with the hub's name, and for which one it was.
    pub(super) fn others(&self, index: usize) -> impl Iterator<Item = (LinkId, &str, Option<usize>)> {
        let peer = self.dialled.get(index).and_then(|dialled| dialled.peer.as_deref());
        let others = self.links.iter().filter(move |(_, up)| Some(up.peer.as_str()) == peer);
        others.filter(move |(_, up)| up.dialled != Some(index)).map(|(link, up)| (*link, up.peer.as_str(), up.dialled))
    }

    /// Why a link ends that may not be: the code, and the words.
    fn ending(&self, me: &str, peer: &str, dialled: Option<usize>) -> (ErrorCode, String) {
        let wish = dialled.and_then(|index| self.dialled.get(index)).and_then(|dialled| dialled.wish);
        match wish.filter(|wish| *wish != Wish::Link && !self.over.unlinked.contains(peer)) {
            Some(Wish::Double) => (ErrorCode::LEAVING, "another link with this hub stands".to_owned()),
            Some(_) => (ErrorCode::LEAVING, "DNS does not name the hub any more, or better ones".to_owned()),
            None if self.is_former(dialled) && !self.over.unlinked.contains(peer) => {
                (ErrorCode::LEAVING, "the configuration does not name this neighbour any more".to_owned())
            }
            None => (ErrorCode::UNLINKED, unlinked(me, peer)),
        }
    }

    /// Whether it was a neighbour of the configuration, and is none of the one now.
    fn is_former(&self, dialled: Option<usize>) -> bool {
        let dialled = dialled.and_then(|index| self.dialled.get(index));
        dialled.is_some_and(|dialled| dialled.was_configured && !dialled.is_configured)
    }

    /// When a trial ends that nobody confirms.
    pub(super) fn deadline(&self) -> Option<weft_base::Mono> {
        self.overlay.deadline()
    }

    /// What a link costs: as the change says, or the configuration.
    fn weight(&self, peer: &str, dialled: Option<usize>) -> (u32, u32) {
        let configured = dialled.and_then(|index| self.dialled.get(index));
        let (cost, price) = configured.map_or((0, 0), |d| (d.neighbour.cost, d.neighbour.price_per_gb));
        let over = self.over.weights.get(peer).copied().unwrap_or_default();
        (over.0.unwrap_or(cost), over.1.unwrap_or(price))
    }

    /// What a link that stands costs.
    pub(super) fn told(&self, link: LinkId) -> Option<u32> {
        self.links.get(&link).map(|up| up.told.0)
    }

    /// Whether a link may be.
    pub(super) fn may_be(&self, peer: &str, dialled: Option<usize>) -> bool {
        let is_wanted = dialled.and_then(|index| self.dialled.get(index)).is_none_or(|dialled| dialled.is_wanted);
        is_wanted && !self.over.unlinked.contains(peer)
    }
}

impl Conductor {
    /// A link with a hub is up: answers what it costs, or why it may not be.
    pub(super) fn link_weight(
        &mut self,
        link: SessionId,
        peer: &str,
        dial: Option<Dial>,
    ) -> Result<(u32, u32), (ErrorCode, String)> {
        let dialled = dial.and_then(Dial::place);
        if let Some(dialled) = dialled.and_then(|index| self.changes.dialled.get_mut(index)) {
            dialled.peer = Some(peer.to_owned());
        }
        if !self.changes.may_be(peer, dialled) {
            self.reconcile();
            return Err(self.changes.ending(&self.identity.name, peer, dialled));
        }
        let told = self.changes.weight(peer, dialled);
        self.changes.links.insert(LinkId(link.0), Up { peer: peer.to_owned(), dialled, told });
        Ok(told)
    }

    /// A link is down.
    pub(super) fn link_ends(&mut self, link: SessionId) {
        self.changes.links.remove(&LinkId(link.0));
    }

    /// An administrator changes something, or asks.
    pub(super) fn on_change(&mut self, session: SessionId, bytes: &BlockRef) {
        let (request, done) = match Frame::decode(bytes) {
            Ok(Frame::Change(asked)) => (asked.request, self.change(session, &asked)),
            Ok(Frame::Trial(asked)) => (asked.request, self.trial(&asked)),
            _ => return,
        };
        if let Err((code, detail)) = done {
            let refusal = frame::ErrorFrame { request, code, retry_after_ms: 0, detail: &detail };
            return self.control(session, &Frame::Error(refusal));
        }
        let entries: Vec<(&Entry, bool)> = self.changes.overlay.entries().collect();
        let words: Vec<String> = entries.iter().map(|(entry, _)| entry.change.to_string()).collect();
        let mut bytes = Vec::new();
        let changes = entries
            .iter()
            .zip(&words)
            .map(|((entry, kept), what)| ChangeLine {
                trial: entry.trial,
                step: entry.step,
                kept: *kept,
                by: entry.by.get(..entry.by.floor_char_boundary(frame::MAX_NAME)).unwrap_or_default(),
                what,
            })
            .collect();
        frame::encode(&Frame::Changes(frame::Changes { request, changes }), &mut bytes);
        self.net.push(ToNet::Control { session, bytes });
    }

    fn change(&mut self, session: SessionId, asked: &frame::Change<'_>) -> Result<(), Refusal> {
        let change = HubChange::of(asked).map_err(|detail| (ErrorCode::BAD_CHANGE, detail))?;
        if let HubChange::Link { peer, .. } | HubChange::Unlink { peer } | HubChange::Weigh { peer, .. } = &change
            && *peer == self.identity.name
        {
            return Err((ErrorCode::BAD_CHANGE, "a hub has no link with itself: name another".to_owned()));
        }
        self.changes.has_room(&change)?;
        let by = self.tenants.name_of(session).to_owned();
        let (seconds, words) = (asked.seconds, change.to_string());
        let entry = Entry { trial: asked.trial, step: asked.step, by: by.clone(), change };
        self.changes.overlay.change(entry, Duration::from_secs(seconds.into()), self.now.mono)?;
        tracing::warn!(code = "change_on_trial", by, change = words, seconds, "an operator changes this hub, on trial");
        self.reconcile();
        Ok(())
    }

    fn trial(&mut self, asked: &frame::Trial) -> Result<(), Refusal> {
        let id = asked.trial;
        match asked.act {
            TrialAct::List => Ok(()),
            TrialAct::Stay => self.changes.overlay.stay(id, Duration::from_secs(asked.seconds.into()), self.now.mono),
            TrialAct::Confirm => {
                self.changes.overlay.confirm(id)?;
                tracing::info!(code = "changes_kept", trial = id, "an operator's changes are kept");
                self.keep_changes()
            }
            TrialAct::Undo => {
                let (count, were_kept) = self.changes.overlay.undo(id, asked.step);
                if count > 0 {
                    tracing::warn!(
                        code = "changes_undone",
                        trial = id,
                        count,
                        reason = "asked",
                        "changes are put back"
                    );
                }
                self.reconcile();
                if were_kept { self.keep_changes() } else { Ok(()) }
            }
        }
    }

    fn keep_changes(&mut self) -> Result<(), Refusal> {
        let Some(file) = &self.changes.file else { return Ok(()) };
        // This is the conductor's thread, and waits for the disk: nobody changes
        // hubs often, and who does must know that it lasts.
        file.write(self.changes.overlay.kept()).map_err(|error| {
            let detail = format!("the changes hold and could not be written, so they end with this life: {error}");
            tracing::error!(code = "changes_unwritten", reason = %error, "what operators changed was not written");
            (ErrorCode::TRIAL, detail)
        })
    }

    /// Puts back what was not confirmed in time.
    pub(super) fn tend_changes(&mut self) {
        if let Some((by, count)) = self.changes.overlay.expire(self.now.mono) {
            tracing::warn!(
                code = "changes_undone",
                by,
                count,
                reason = "not confirmed in time",
                "changes are put back"
            );
            self.reconcile();
        }
    }

    /// Makes what is to hold be so.
    pub(super) fn reconcile(&mut self) {
        let over = self.changes.overlay.overlaid();
        for (peer, addr) in &over.dialled {
            if !self.changes.dials(peer, addr) {
                let neighbour = Neighbour { addr: addr.clone(), name: Some(peer.clone()), ..Neighbour::default() };
                let (neighbour, peer) = (Arc::new(neighbour), Some(peer.clone()));
                let dialled = Dialled {
                    neighbour,
                    peer,
                    is_configured: false,
                    was_configured: false,
                    wish: None,
                    row: 0,
                    is_left: false,
                    is_wanted: false,
                };
                self.changes.dialled.push(dialled);
                self.neighbours.add();
            }
        }
        for (index, dialled) in self.changes.dialled.iter_mut().enumerate() {
            let peer = dialled.peer.as_ref();
            let is_asked = || peer.and_then(|peer| over.dialled.get(peer)) == Some(&dialled.neighbour.addr);
            let is_unlinked = peer.is_some_and(|peer| over.unlinked.contains(peer));
            let is_named = dialled.wish == Some(Wish::Link);
            dialled.is_wanted = !is_unlinked && (dialled.is_configured || is_named || is_asked());
            self.neighbours.keep(index, dialled.is_wanted, self.now.mono);
        }
        let old = std::mem::replace(&mut self.changes.over, over);
        if old.labels != self.changes.over.labels {
            let labels = self.changes.over.labels.clone().unwrap_or_else(|| self.identity.labels.clone());
            self.apply(Event::Labels(labels));
        }
        let links: Vec<LinkId> = self.changes.links.keys().copied().collect();
        for link in links {
            let Some(Up { peer, dialled, told }) = self.changes.links.get(&link) else { continue };
            if !self.changes.may_be(peer, *dialled) {
                let (code, detail) = self.changes.ending(&self.identity.name, peer, *dialled);
                self.net.push(ToNet::Close { session: SessionId(link.0), code, detail });
                continue;
            }
            let (now, told) = (self.changes.weight(peer, *dialled), *told);
            if now.0 != told.0 {
                self.apply(Event::LinkCost { link, cost: now.0 });
            }
            if now.1 != told.1 {
                self.apply(Event::LinkPrice { link, price: now.1 });
            }
            if let Some(up) = self.changes.links.get_mut(&link) {
                up.told = now;
            }
        }
    }
}

fn unlinked(me: &str, peer: &str) -> String {
    format!(
        "an operator took the link between {me} and {peer} away: `weft hub --changes` at {me} lists what was changed"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Symptom: a hub that had dialled its last address took no labels, weights or
    /// unlinks any more. Cause: the bound was held against each change.
    #[test]
    fn the_most_addresses_refuse_only_what_needs_one_more() {
        let neighbour = |n: usize| Neighbour {
            addr: format!("10.0.0.1:{n}"),
            name: Some(format!("hub-{n}")),
            ..Neighbour::default()
        };
        let changes = Changes::new(&(0..MOST_DIALLED).map(neighbour).collect::<Vec<_>>(), None);
        let link = |peer: &str, addr: Option<&str>| HubChange::Link {
            peer: peer.to_owned(),
            addr: addr.map(str::to_owned),
            cost: 0,
            price: 0,
        };
        let (code, detail) = changes.has_room(&link("other", Some("10.0.0.2:1"))).expect_err("one too many");
        assert_eq!(code, ErrorCode::BAD_CHANGE);
        assert!(detail.contains("start it anew"), "{detail}");
        for change in [
            link("other", None),
            link("hub-1", Some("10.0.0.2:1")),
            HubChange::Unlink { peer: "hub-1".to_owned() },
            HubChange::Labels { labels: Vec::new() },
        ] {
            assert_eq!(changes.has_room(&change), Ok(()), "{change}");
        }
    }
}
