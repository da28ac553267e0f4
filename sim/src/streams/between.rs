//! Between the homes: who reaches whom, messages, and copies.

use weft_base::Epoch;
use weft_stream::replica::{Command, Copies, Event, Message};

use super::Canary;
use super::home::{LogSource, home_of, hub};
use super::judge::Verdict;
use super::world::{Action, World};

impl World {
    /// Tells homes which others they can reach now.
    pub(super) fn notice(&mut self) {
        let count = self.homes.len();
        for a in 0..count {
            for b in (0..count).filter(|b| *b != a) {
                let runs = |home: usize| self.homes.get(home).is_some_and(|home| home.open.is_some());
                let (was, is) = (self.up.contains(&(a, b)), runs(a) && runs(b) && self.is_linked(a, b));
                let epoch = self.homes.get(b).map_or(0, |home| home.epoch);
                let event = if is && !was {
                    self.up.insert((a, b));
                    Event::HubUp { hub: hub(b), epoch: Epoch(epoch) }
                } else if was && !is {
                    self.up.remove(&(a, b));
                    Event::HubDown { hub: hub(b) }
                } else {
                    continue;
                };
                // Nothing that is checked comes of it.
                let _ = self.replicate(a, event, &[]);
            }
        }
        self.notice_seats();
    }

    /// Tells a home's replica, and does what it says.
    pub(super) fn replicate(&mut self, home: usize, event: Event<'_>, entries: &[u8]) -> Verdict {
        let now = self.time(home);
        let Some(open) = self.homes.get_mut(home).and_then(|home| home.open.as_mut()) else { return Ok(()) };
        let Some(replica) = &mut open.replica else { return Ok(()) };
        let mut commands = Vec::new();
        replica.apply(event, now, &mut commands);
        for _ in 0..100 {
            if replica.serve(&mut LogSource(&mut open.reader), now, &mut commands) == 0 {
                break;
            }
        }
        for command in commands {
            match command {
                Command::Send { to, bytes } => self.send(home, home_of(to), bytes),
                Command::HeldBy { hub, upto } => {
                    if let Some(open) = self.homes.get_mut(home).and_then(|home| home.open.as_mut())
                        && let Some(held) = open.held.get_mut(home_of(hub))
                    {
                        *held = upto.max(*held);
                    }
                    self.answer_publishers(home)?;
                }
                Command::Append(copies) => {
                    let at = self.soon(0, 20).max(self.copying.get(&home).copied().unwrap_or(0));
                    self.copying.insert(home, at);
                    let epoch = self.homes.get(home).map_or(0, |home| home.epoch);
                    self.post(at, Action::Copy { home, epoch, copies, entries: entries.to_vec() });
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, from: usize, to: usize, bytes: Vec<u8>) {
        if !self.up.contains(&(from, to)) || (!self.healed && self.random.chance(20)) {
            return;
        }
        // In order while a way is up.
        let at = self.soon(1, 15).max(self.between.get(&(from, to)).copied().unwrap_or(0));
        self.between.insert((from, to), at);
        let epoch = |home: usize| self.homes.get(home).map_or(0, |home| home.epoch);
        let epochs = (epoch(from), epoch(to));
        self.post(at, Action::Between { from, to, epochs, bytes });
    }

    pub(super) fn arrive(&mut self, from: usize, to: usize, epochs: (u32, u32), bytes: &[u8]) -> Verdict {
        let epoch = |home: usize| self.homes.get(home).map_or(0, |home| home.epoch);
        if !self.up.contains(&(to, from)) || epochs != (epoch(from), epoch(to)) {
            return Ok(());
        }
        let Ok(message) = Message::decode(bytes) else { return Ok(()) };
        let entries = match &message {
            Message::Blocks(blocks) => blocks.entries.to_vec(),
            _ => Vec::new(),
        };
        self.replicate(to, Event::Message { from: hub(from), message: &message }, &entries)
    }

    pub(super) fn copy(&mut self, home: usize, epoch: u32, copies: &Copies, entries: &[u8]) -> Verdict {
        let now = self.time(home);
        let drops = self.strikes(Canary::DroppedCopies, 100);
        let canary = self.canary;
        // A full inbox turns copies away: those behind them must not be taken.
        let skips = canary == Some(Canary::SkippedCheck);
        let refuses = !self.healed && self.random.chance(if skips { 200 } else { 30 });
        let Some(found) = self.homes.get_mut(home).filter(|home| home.epoch == epoch) else { return Ok(()) };
        let Some(open) = &mut found.open else { return Ok(()) };
        let copied = match (drops, refuses) {
            (true, _) => Some(0),
            (_, true) => None,
            _ => open.copy(copies, entries, now, canary),
        };
        self.judge.tally.copied += copied.unwrap_or(0);
        let (id, log_next) = (copies.id, open.log.next());
        if copied.is_none() && found.power_is_off() {
            return self.crash(home, true);
        }
        let event = if copied.is_some() { Event::Placed { id, log_next } } else { Event::Refused { id } };
        self.replicate(home, event, &[])?;
        self.want_sync(home);
        Ok(())
    }
}
