//! Hand-overs: a seat halts a consumer, sends its last state until the other
//! home has it, and only then lets go; or it goes on after all.

use weft_base::{HubId, Mono};

use super::machine::{Leaving, Seats};
use super::told::{Preference, Told};
use super::why::MoveError;
use super::{Host, Id};

/// What is handed over waits for the events of which it speaks for this part of
/// [`Settings::patience`]: some of them may never come, withheld or removed where
/// they are.
const WAITS: u32 = 4;
/// It is looked for them as often in [`Settings::again`].
const LOOKS: u32 = 10;

impl<D: Clone> Seats<D> {
    /// When a hand-over has something to do.
    pub(super) fn next_hand_over(&self) -> Option<Mono> {
        let leaving = self.own.values().filter_map(|own| own.leaving.as_ref());
        leaving.map(|leaving| leaving.again.min(leaving.until)).min()
    }

    pub(super) fn go_on_handing_over(&mut self, now: Mono, host: &mut impl Host<Definition = D>) {
        let leaving = self.own.iter().filter_map(|(id, own)| Some((id.clone(), own.leaving.clone()?)));
        for (id, leaving) in leaving.collect::<Vec<_>>() {
            if leaving.until <= now {
                self.stay(&id, MoveError::TimedOut, host);
            } else if leaving.again <= now {
                self.give(&id, now, host);
            }
        }
    }

    /// Nothing goes to this hub now.
    pub(super) fn keep_from(&mut self, hub: HubId, host: &mut impl Host<Definition = D>) {
        let left = self.own.iter().filter(|(_, own)| own.leaving.as_ref().is_some_and(|leaving| leaving.to == hub));
        for id in left.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.stay(&id, MoveError::Unreachable, host);
        }
    }

    /// Consumers whose seat is not here any more go there.
    pub(super) fn give_way(&mut self, now: Mono, host: &mut impl Host<Definition = D>) {
        let running = self.own.iter().filter(|(_, own)| own.claimed && own.leaving.is_none());
        for id in running.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            let at = self.seat(&id, host);
            if at != self.settings.me && self.is_heard(at) {
                self.hand_over(&id, at, None, now, host);
            }
        }
    }

    pub(super) fn hand_over(
        &mut self,
        id: &Id,
        to: HubId,
        asked: Option<Preference>,
        now: Mono,
        host: &mut impl Host<Definition = D>,
    ) {
        let Some(own) = self.own.get_mut(id) else { return };
        self.leaving += 1;
        own.leaving = Some(Leaving { to, again: now, until: now + self.settings.patience, asked });
        host.halt(id, "the consumer moves to another home of the stream");
        self.give(id, now, host);
    }

    fn give(&mut self, id: &Id, now: Mono, host: &mut impl Host<Definition = D>) {
        let copy = self.copy_of(id, host);
        let Some(leaving) = self.own.get_mut(id).and_then(|own| own.leaving.as_mut()) else { return };
        leaving.again = now + self.settings.again;
        if let Some(copy) = copy {
            host.send(leaving.to, Told::Give(Box::new(copy)));
        }
    }

    /// A consumer was handed over to this hub: it runs here once its log has the
    /// events of which its state speaks, or after a while without.
    pub(super) fn take_given(&mut self, id: &Id, from: HubId, now: Mono, host: &mut impl Host<Definition = D>) {
        let is_seat = self.seat(id, host) == self.settings.me;
        if is_seat && self.has_heard_all(id.0, host) && self.newer_aside(id).is_some() {
            let end = self.aside.get(id).map(|copy| copy.state.end()).unwrap_or_default();
            if self.given.is_empty() {
                self.look_for_given = now + self.settings.again / LOOKS;
            }
            let wait = (from, now + self.settings.patience / WAITS);
            let (_, until) = *self.given.entry(id.clone()).or_insert(wait);
            if now < until && !host.has(id.0, &end) {
                return;
            }
            let _ = self.take(id, host);
        }
        self.given.remove(id);
        if self.runs_here(id)
            && let Some(copy) = self.copy_of(id, host)
        {
            host.send(from, Told::Copy { ask: 0, copy: Box::new(copy) });
        }
    }

    pub(super) fn look_at_given(&mut self, now: Mono, host: &mut impl Host<Definition = D>) {
        self.look_for_given = now + self.settings.again / LOOKS;
        for (id, (from, _)) in self.given.clone() {
            self.take_given(&id, from, now, host);
        }
    }

    /// A hand-over came to nothing.
    fn stay(&mut self, id: &Id, why: impl Fn(String) -> MoveError, host: &mut impl Host<Definition = D>) {
        let Some(own) = self.own.get_mut(id) else { return };
        let Some(leaving) = own.leaving.take() else { return };
        self.leaving -= 1;
        if let Some(before) = leaving.asked {
            let wanted = std::mem::take(&mut own.preference);
            own.preference = Preference { number: wanted.number + 1, ..before };
            host.prefer(id, &own.preference);
            (self.tell, self.hints_changed) = (true, true);
            host.moved(id, Err(why(wanted.home)));
        }
        host.resume(id);
    }

    /// An operator wants a consumer that runs here to run at the home of this
    /// name, at any for an empty one. [`Host::moved`] tells the end of it,
    /// perhaps at once.
    ///
    /// # Errors
    /// [`MoveError`]; nothing was changed.
    pub fn move_to(
        &mut self,
        id: &Id,
        home: &str,
        now: Mono,
        host: &mut impl Host<Definition = D>,
    ) -> Result<(), MoveError> {
        let homes = host.homes(id.0);
        let wanted = Preference { home: home.to_owned(), ..Preference::default() };
        let to = wanted.hub().filter(|hub| *hub != self.settings.me);
        if let Some(to) = to
            && !(homes.contains(&to) && self.is_heard(to))
        {
            return Err(MoveError::Unreachable(home.to_owned()));
        }
        let Some(own) = self.own.get_mut(id) else { return Err(MoveError::Unreachable(home.to_owned())) };
        if own.leaving.is_some() {
            return Err(MoveError::Moving);
        }
        let before = own.preference.clone();
        own.preference = Preference { number: before.number + 1, home: home.to_owned() };
        host.prefer(id, &own.preference);
        (self.tell, self.hints_changed, self.look) = (true, true, true);
        match to {
            Some(to) => self.hand_over(id, to, Some(before), now, host),
            None => {
                self.copy_out(id, host);
                host.moved(id, Ok(()));
            }
        }
        Ok(())
    }
}
