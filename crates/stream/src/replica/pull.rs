//! The pulling half: gets what entered at the other homes.
//!
//! Each home is asked for what entered there. When it is out of reach, or has
//! lost something, another that has it is asked, and then for *everything*: in
//! the order of its log its holes are safe (see [`super::give`]). Answers say
//! from where to where they reach; one that begins beyond what is here is not
//! taken, and asked for anew. So messages may be lost, doubled or late, and
//! either side may start again at any time.

use std::collections::{BTreeMap, VecDeque};

use weft_base::{Epoch, HubId, Mono, Now, Random};

use super::message::{Blocks, Entries, Fetch, Message};
use super::vector::Position;
use super::{Command, Copies, Copy, Settings, SourceReport};

/// How many places between the log's end and the synced end are remembered.
const MARKS: usize = 64;

/// What is asked of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Ask {
    #[default]
    Nothing,
    /// What entered there.
    Own,
    /// All that it has, in its order.
    All,
}

/// Another hub that keeps the stream.
#[derive(Clone, Debug)]
struct Peer {
    hub: HubId,
    tag: u32,
    counts: bool,
    epoch: Option<Epoch>,
    ask: Ask,
    session: u64,
    /// Bytes of entries: granted, come and done with, in this session.
    granted: u64,
    done: u64,
    heard: Option<Mono>,
    /// When it was asked, or last heard since.
    waiting_since: Mono,
    /// When something is said to it again.
    speak_at: Mono,
    /// It is not asked anew before this.
    rest_until: Mono,
    /// Tries since it was last heard.
    tries: u32,
    /// What it has on disk.
    end: Position,
    /// What of this home's events was told on as held there.
    told: u64,
}

impl Peer {
    fn is_up(&self) -> bool {
        self.epoch.is_some()
    }

    /// Up, and not silent so long that another is asked in its place.
    fn answers(&self) -> bool {
        self.is_up() && self.tries < 2
    }
}

/// Copies on their way into the log.
#[derive(Clone, Debug)]
struct Pending {
    id: u64,
    from: HubId,
    session: u64,
    bytes: u64,
    through: Position,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PullCounts {
    /// Events handed on to the log.
    pub copied: u64,
    /// Events that came although they are here.
    pub again: u64,
    /// Events that no home has any more.
    pub lost: u64,
    /// Places left out by their sender because it has them under another name,
    /// or because a filter does not want them.
    pub left_out: u64,
    /// Sessions begun anew because a source was silent.
    pub silences: u64,
    /// Sessions begun anew because an answer did not join on.
    pub restarts: u64,
    /// Copies that the log refused.
    pub refused: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Puller {
    peers: Vec<Peer>,
    /// With what is on its way into the log.
    expected: Position,
    /// What is in the log.
    applied: Position,
    /// What is on disk, up to which local sequence.
    synced: Position,
    synced_local: u64,
    pending: VecDeque<Pending>,
    next_id: u64,
    /// The log's end after copies, and what it held there.
    marks: VecDeque<(u64, Position)>,
    /// Who said of a home that its next events are lost there.
    lost_at: BTreeMap<u32, Vec<HubId>>,
    /// Nothing is asked before this, because the log refused.
    rest_until: Mono,
    next_session: u64,
    random: Random,
    pub(super) counts: PullCounts,
}

impl Puller {
    /// At what the log holds; `epoch` makes sessions later than those of the
    /// hub's earlier lives.
    pub(super) fn new(settings: &Settings, position: Position, local: u64, epoch: Epoch, seed: u64) -> Self {
        let mut puller = Self {
            peers: Vec::new(),
            expected: position.clone(),
            applied: position.clone(),
            synced: position,
            synced_local: local,
            pending: VecDeque::new(),
            next_id: 1,
            marks: VecDeque::new(),
            lost_at: BTreeMap::new(),
            rest_until: Mono(0),
            next_session: u64::from(epoch.0) << 32,
            random: Random::from_seed(seed),
            counts: PullCounts::default(),
        };
        puller.alter(settings);
        puller
    }

    /// The definition has changed: what is known of hubs that stay, stays.
    pub(super) fn alter(&mut self, settings: &Settings) {
        let mut old = std::mem::take(&mut self.peers);
        for peer in &settings.peers {
            let known = old.iter().position(|known| known.hub == peer.hub).map(|at| old.swap_remove(at));
            let known = known.unwrap_or(Peer {
                hub: peer.hub,
                tag: peer.tag,
                counts: false,
                epoch: None,
                ask: Ask::Nothing,
                session: 0,
                granted: 0,
                done: 0,
                heard: None,
                waiting_since: Mono(0),
                speak_at: Mono(0),
                rest_until: Mono(0),
                tries: 0,
                end: Position::start(),
                told: 0,
            });
            self.peers.push(Peer { counts: peer.counts, tag: peer.tag, ..known });
        }
    }

    fn peer(&mut self, hub: HubId) -> Option<&mut Peer> {
        self.peers.iter_mut().find(|peer| peer.hub == hub)
    }

    pub(super) fn hub_up(&mut self, hub: HubId, epoch: Epoch) {
        let Some(peer) = self.peer(hub) else { return };
        if peer.epoch != Some(epoch) {
            peer.epoch = Some(epoch);
            peer.ask = Ask::Nothing;
            peer.tries = 0;
            peer.rest_until = Mono(0);
        }
    }

    pub(super) fn hub_down(&mut self, hub: HubId) {
        let Some(peer) = self.peer(hub) else { return };
        peer.epoch = None;
        peer.ask = Ask::Nothing;
    }

    /// What another says it has on disk.
    pub(super) fn heard_of(&mut self, hub: HubId, held: &Position, settings: &Settings, out: &mut Vec<Command>) {
        let Some(peer) = self.peer(hub) else { return };
        peer.end.merge(held);
        self.tell_held(settings, out);
    }

    fn tell_held(&mut self, settings: &Settings, out: &mut Vec<Command>) {
        let own = self.synced.get(settings.home);
        for peer in self.peers.iter_mut().filter(|peer| peer.counts && !settings.mirror) {
            let held = peer.end.get(settings.home);
            // More than ever entered here: this home has lost some, and numbers would mean two things.
            if held > peer.told && held <= own {
                peer.told = held;
                out.push(Command::HeldBy { hub: peer.hub, upto: held });
            }
        }
    }

    /// The events of this home that others have and this one has not.
    pub(super) fn lost_here(&self, settings: &Settings) -> u64 {
        if settings.mirror {
            return 0;
        }
        let own = self.applied.get(settings.home);
        self.peers.iter().map(|peer| peer.end.get(settings.home).saturating_sub(own)).max().unwrap_or(0)
    }

    pub(super) fn on_blocks(
        &mut self,
        from: HubId,
        blocks: &Blocks<'_>,
        settings: &Settings,
        now: Now,
        out: &mut Vec<Command>,
    ) {
        self.heard_of(from, &blocks.end, settings, out);
        let Some(at) = self.peers.iter().position(|peer| peer.hub == from) else { return };
        let Some(peer) = self.peers.get_mut(at) else { return };
        if !peer.is_up() || peer.ask == Ask::Nothing || peer.session != blocks.session {
            return;
        }
        peer.heard = Some(now.mono);
        peer.waiting_since = now.mono;
        peer.tries = 0;
        let (all, tag) = (peer.ask == Ask::All, peer.tag);
        let asked = |home: u32| all || home == tag;
        let joins = blocks.from.iter().all(|(home, next)| !asked(home) || next <= self.expected.get(home));
        if !joins {
            self.counts.restarts += 1;
            self.forget_session(at, now.mono + settings.keep_alive / 16);
            return;
        }
        if !self.may_pass(from, blocks, asked) {
            self.forget_session(at, now.mono + settings.keep_alive / 16);
            return;
        }
        let before = self.expected.clone();
        let mut copies = Vec::new();
        for entry in Entries::new(blocks.entries) {
            let upto = entry.sequence + u64::from(entry.span);
            let expected = self.expected.get(entry.home);
            if !asked(entry.home) || entry.sequence < expected {
                self.counts.again += u64::from(entry.span);
                continue;
            }
            self.counts.left_out += entry.sequence - expected;
            self.expected.raise(entry.home, upto);
            self.counts.copied += u64::from(entry.span);
            copies.push(Copy {
                at: entry.at,
                len: entry.bytes.len(),
                home: entry.home,
                sequence: entry.sequence,
                span: entry.span,
            });
        }
        for (home, next) in blocks.through.iter().filter(|(home, _)| asked(*home)) {
            self.counts.left_out += next.saturating_sub(self.expected.get(home));
            self.expected.raise(home, next);
        }
        let expected = &self.expected;
        self.lost_at.retain(|home, _| expected.get(*home) == before.get(*home));
        let bytes = blocks.entries.len() as u64;
        if copies.is_empty() && self.expected == before {
            self.credit_back(from, blocks.session, bytes);
            return;
        }
        let id = self.next_id;
        self.next_id += 1;
        let through = self.expected.clone();
        self.pending.push_back(Pending { id, from, session: blocks.session, bytes, through: through.clone() });
        out.push(Command::Append(Copies { id, from: before, through, copies }));
    }

    /// Whether what a source says is lost may be passed over: when nobody else
    /// who can be reached has it.
    fn may_pass(&mut self, from: HubId, blocks: &Blocks<'_>, asked: impl Fn(u32) -> bool) -> bool {
        let mut may = true;
        for lost in blocks.lost.iter().filter(|lost| asked(lost.home)) {
            let expected = self.expected.get(lost.home);
            if lost.upto <= expected {
                continue;
            }
            let here = self.lost_at.entry(lost.home).or_default();
            if !here.contains(&from) {
                here.push(from);
            }
            let others = self
                .peers
                .iter()
                .any(|peer| peer.answers() && peer.end.get(lost.home) > expected && !here.contains(&peer.hub));
            if others {
                may = false;
            } else {
                self.counts.lost += lost.upto - lost.from.max(expected);
            }
        }
        may
    }

    /// Nothing more is expected of what a source was asked for: it is asked anew.
    fn forget_session(&mut self, at: usize, until: Mono) {
        if let Some(peer) = self.peers.get_mut(at) {
            peer.ask = Ask::Nothing;
            peer.rest_until = until;
        }
    }

    fn credit_back(&mut self, hub: HubId, session: u64, bytes: u64) {
        if let Some(peer) = self.peer(hub)
            && peer.session == session
        {
            peer.done += bytes;
        }
    }

    fn mark(&mut self, next: u64) {
        if next <= self.synced_local {
            self.synced.merge(&self.applied);
            return;
        }
        if self.marks.len() >= MARKS {
            self.marks.pop_back();
        }
        self.marks.push_back((next, self.applied.clone()));
    }

    /// The log has taken the copies of this number; its end is now `next`.
    pub(super) fn on_placed(&mut self, id: u64, next: u64) {
        while let Some(pending) = self.pending.pop_front_if(|pending| pending.id <= id) {
            self.applied.merge(&pending.through);
            self.mark(next);
            self.credit_back(pending.from, pending.session, pending.bytes);
        }
    }

    /// The log has refused these copies and all behind them.
    pub(super) fn on_refused(&mut self, id: u64, settings: &Settings, now: Now) {
        if !self.pending.iter().any(|pending| pending.id == id) {
            return;
        }
        self.counts.refused += 1;
        self.pending.clear();
        self.expected = self.applied.clone();
        self.rest_until = now.mono + jitter(&mut self.random, settings.timeout);
        for at in 0..self.peers.len() {
            self.forget_session(at, self.rest_until);
        }
    }

    /// The log is on disk up to `local`, and holds `position` before it.
    /// Answers the homes whose events are now safe here, further than before.
    pub(super) fn on_synced(
        &mut self,
        local: u64,
        position: &Position,
        settings: &Settings,
        out: &mut Vec<Command>,
    ) -> Vec<u32> {
        self.synced_local = self.synced_local.max(local);
        let before = self.synced.clone();
        self.synced.merge(position);
        while let Some((_, mark)) = self.marks.pop_front_if(|(next, _)| *next <= local) {
            self.synced.merge(&mark);
        }
        self.applied.merge(position);
        self.expected.merge(position);
        self.tell_held(settings, out);
        self.synced.iter().filter(|(home, next)| *next > before.get(*home)).map(|(home, _)| home).collect()
    }

    pub(super) fn synced_local(&self) -> u64 {
        self.synced_local
    }

    pub(super) fn synced(&self) -> &Position {
        &self.synced
    }

    pub(super) fn applied(&self) -> &Position {
        &self.applied
    }

    /// The hubs where events of these homes enter, if they can be reached.
    pub(super) fn origins(&self, homes: &[u32]) -> Vec<HubId> {
        self.peers.iter().filter(|peer| peer.is_up() && homes.contains(&peer.tag)).map(|peer| peer.hub).collect()
    }

    /// What should be asked of each source just now.
    fn plan(&self, settings: &Settings) -> Vec<Ask> {
        let elsewhere = |home: u32| {
            let (expected, lost) = (self.expected.get(home), self.lost_at.get(&home));
            self.peers.iter().any(|peer| {
                peer.answers() && peer.end.get(home) > expected && !lost.is_some_and(|hubs| hubs.contains(&peer.hub))
            })
        };
        let lost_at = |home: u32, hub: HubId| self.lost_at.get(&home).is_some_and(|hubs| hubs.contains(&hub));
        let own = |peer: &Peer| {
            let asked = peer.is_up() && !settings.mirror && !(lost_at(peer.tag, peer.hub) && elsewhere(peer.tag));
            if asked { Ask::Own } else { Ask::Nothing }
        };
        let mut asks: Vec<Ask> = self.peers.iter().map(own).collect();
        if settings.mirror {
            let current = self.peers.iter().position(|peer| peer.ask == Ask::All && peer.answers());
            let chosen = current.or_else(|| self.peers.iter().position(Peer::answers)).or_else(|| {
                (0..self.peers.len())
                    .filter(|at| self.peers.get(*at).is_some_and(Peer::is_up))
                    .min_by_key(|at| self.peers.get(*at).map(|peer| peer.tries))
            });
            let lost =
                |at: usize| self.peers.get(at).is_some_and(|p| self.lost_at.values().any(|hubs| hubs.contains(&p.hub)));
            let other = chosen.filter(|at| lost(*at)).and_then(|_| {
                (0..self.peers.len()).find(|at| self.peers.get(*at).is_some_and(Peer::answers) && !lost(*at))
            });
            if let Some(ask) = other.or(chosen).and_then(|at| asks.get_mut(at)) {
                *ask = Ask::All;
            }
            return asks;
        }
        let mut ends = Position::start();
        self.peers.iter().for_each(|peer| _ = ends.merge(&peer.end));
        for (home, end) in ends.iter() {
            let expected = self.expected.get(home);
            if end <= expected {
                continue;
            }
            if self.peers.iter().any(|peer| peer.tag == home && peer.answers() && !lost_at(home, peer.hub)) {
                continue;
            }
            let relay = self
                .peers
                .iter()
                .enumerate()
                .filter(|(_, peer)| peer.answers() && peer.end.get(home) > expected && !lost_at(home, peer.hub))
                .max_by_key(|(at, peer)| (peer.ask == Ask::All, peer.end.get(home), std::cmp::Reverse(*at)))
                .map(|(at, _)| at);
            if let Some(ask) = relay.and_then(|at| asks.get_mut(at)) {
                *ask = Ask::All;
            }
        }
        asks
    }

    /// Asks what is to be asked, anew where a source was silent.
    pub(super) fn tick(&mut self, settings: &Settings, now: Now, out: &mut Vec<Command>) {
        if now.mono < self.rest_until {
            return;
        }
        for at in 0..self.peers.len() {
            let Some(peer) = self.peers.get_mut(at) else { continue };
            let waited = now.mono.since(peer.waiting_since);
            if peer.is_up() && peer.ask != Ask::Nothing && waited >= settings.timeout {
                self.counts.silences += 1;
                peer.tries = peer.tries.saturating_add(1);
                peer.ask = Ask::Nothing;
                let most = settings.timeout.saturating_mul(1 << peer.tries.min(10)).min(settings.backoff);
                peer.rest_until = now.mono + jitter(&mut self.random, most);
            }
        }
        let asks = self.plan(settings);
        for (at, ask) in asks.into_iter().enumerate() {
            let (expected, synced) = (&self.expected, &self.synced);
            let Some(peer) = self.peers.get_mut(at) else { continue };
            if !peer.is_up() || (ask == Ask::Nothing && peer.ask == Ask::Nothing) {
                continue;
            }
            let grant = peer.done + settings.window;
            if peer.ask != ask {
                if now.mono < peer.rest_until {
                    continue;
                }
                peer.ask = ask;
                if peer.ask == Ask::Nothing {
                    continue;
                }
                self.next_session += 1;
                peer.session = self.next_session;
                peer.done = 0;
                peer.granted = settings.window;
                peer.waiting_since = now.mono;
            } else if grant.saturating_sub(peer.granted) >= settings.window / 2 {
                peer.granted = grant;
            } else if now.mono < peer.speak_at {
                continue;
            }
            peer.speak_at = now.mono + settings.keep_alive;
            let all = peer.ask == Ask::All;
            let fetch = Fetch {
                stream: settings.stream,
                asker: settings.id,
                session: peer.session,
                credit: peer.granted,
                all,
                homes: if all { Vec::new() } else { vec![peer.tag] },
                name: &settings.name,
                wanted: expected.iter().filter(|(home, _)| all || *home == peer.tag).collect(),
                synced: synced.clone(),
                filters: settings.filters.iter().map(String::as_str).collect(),
            };
            out.push(Command::Send { to: peer.hub, bytes: Message::Fetch(fetch).encode() });
        }
    }

    pub(super) fn next_deadline(&self, settings: &Settings) -> Option<Mono> {
        let times = self.peers.iter().filter(|peer| peer.is_up()).map(|peer| match peer.ask {
            Ask::Nothing => peer.rest_until.max(peer.speak_at),
            _ => peer.speak_at.min(peer.waiting_since + settings.timeout),
        });
        times.min().map(|at| at.max(self.rest_until))
    }

    /// What the homes that count have on disk.
    pub(super) fn ends(&self) -> impl Iterator<Item = (HubId, &Position)> {
        self.peers.iter().filter(|peer| peer.counts).map(|peer| (peer.hub, &peer.end))
    }

    /// What the homes have on disk that count and can be reached.
    pub(super) fn homes_up(&self) -> impl Iterator<Item = &Position> {
        self.peers.iter().filter(|peer| peer.counts && peer.is_up()).map(|peer| &peer.end)
    }

    pub(super) fn report(&self, now: Now) -> Vec<SourceReport> {
        let report = |peer: &Peer| SourceReport {
            hub: peer.hub,
            tag: peer.tag,
            up: peer.is_up(),
            silent: !peer.answers(),
            heard: peer.heard.map(|at| now.mono.since(at)),
            end: peer.end.clone(),
            lag: self.applied.behind(&peer.end),
        };
        self.peers.iter().map(report).collect()
    }
}

/// A random part of `most`, so that those who failed together do not come back
/// together.
fn jitter(random: &mut Random, most: std::time::Duration) -> std::time::Duration {
    let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
    std::time::Duration::from_nanos(random.below(nanos.max(1)))
}
