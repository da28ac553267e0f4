//! What a request that stays for long has of the server: its connection, which does
//! not count as idle meanwhile, and its place among the requests under way, which it
//! gives to others while it waits.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::serve::{After, Busy, Life};

/// It is among the extensions of each request.
pub(super) struct Stay {
    life: Arc<Life>,
    started: Instant,
    place: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Stay {
    pub(super) fn new(life: Arc<Life>, started: Instant) -> Self {
        Self { life, started, place: Mutex::default() }
    }

    /// The connection is in use until what this answers is dropped.
    pub(super) fn keep(&self) -> Busy {
        Busy::begin(&self.life, self.started)
    }

    /// The place of the request among `http.requests`.
    pub(super) fn take_place(&self, place: OwnedSemaphorePermit) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
    }

    /// Others may have it: what waits from now on is bounded otherwise.
    pub(super) fn give_way(&self) {
        drop(self.place.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// What goes on over the connection once it has been upgraded. It is done by the
    /// connection's own task, so that it has that one's place.
    pub(super) fn go_on(&self, after: After) {
        self.life.go_on(after);
    }

    /// Ends the connection, where no other request has a part in it.
    pub(super) fn cut(&self) {
        if !self.life.is_shared {
            self.life.cut.notify_one();
        }
    }
}
