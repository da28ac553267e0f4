//! Requests with one answer each: streams, and what the mesh looks like.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::Waker;

use crate::error::{Refusal, RequestError};
use crate::last::{LastValue, MOST_LAST};
use crate::report::Reply;
use crate::see::{HubSaid, MOST_HUBS};
use crate::ticket::Ticket;

/// Requests that may wait for answers.
const MOST: usize = 1_024;

pub(crate) type RequestTicket = Ticket<Result<Reply, RequestError>>;

/// Requests that wait for their answers.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    waiting: BTreeMap<u64, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    ticket: Arc<RequestTicket>,
    /// The frame, while it is not sent.
    frame: Option<Vec<u8>>,
    /// Of one that is answered with last values: those that came.
    found: Option<Vec<LastValue>>,
    /// Of a question to the mesh: what hubs have said.
    seen: Vec<HubSaid>,
}

impl Requests {
    /// Sends a request now, or when there is a connection.
    pub(crate) fn add(&mut self, id: u64, frame: Vec<u8>, out: Option<&mut Vec<u8>>) -> Arc<RequestTicket> {
        let ticket = Ticket::new();
        if self.waiting.len() >= MOST {
            ticket.complete(Err(RequestError::TooMany { limit: MOST }), &mut Vec::new());
            return ticket;
        }
        let frame = match out {
            Some(out) => {
                out.extend_from_slice(&frame);
                None
            }
            None => Some(frame),
        };
        self.waiting.insert(id, Waiting { ticket: ticket.clone(), frame, found: None, seen: Vec::new() });
        ticket
    }

    /// The answer to this request is last values, and then that it is done.
    pub(crate) fn gather(&mut self, id: u64) {
        if let Some(waiting) = self.waiting.get_mut(&id) {
            waiting.found = Some(Vec::new());
        }
    }

    /// A last value for a request. One that is over is no error.
    ///
    /// # Errors
    /// More than a request may be answered with.
    pub(crate) fn found(&mut self, id: u64, value: LastValue) -> Result<(), String> {
        let Some(found) = self.waiting.get_mut(&id).and_then(|waiting| waiting.found.as_mut()) else { return Ok(()) };
        if found.len() >= MOST_LAST {
            return Err(format!("more than {MOST_LAST} last values for one request"));
        }
        found.push(value);
        Ok(())
    }

    /// What hubs say to a question; `more`: others follow. One that is over is
    /// no error.
    ///
    /// # Errors
    /// More hubs than an answer has.
    pub(crate) fn seen(
        &mut self,
        id: u64,
        said: impl Iterator<Item = HubSaid>,
        more: bool,
        wake: &mut Vec<Waker>,
    ) -> Result<(), String> {
        let Some(waiting) = self.waiting.get_mut(&id) else { return Ok(()) };
        waiting.seen.extend(said.take(MOST_HUBS + 1));
        if waiting.seen.len() > MOST_HUBS {
            return Err(format!("more than {MOST_HUBS} hubs answer one question"));
        }
        if !more {
            let seen = std::mem::take(&mut waiting.seen);
            self.answered(id, Ok(Reply::Seen(seen)), wake);
        }
        Ok(())
    }

    /// A connection is up: sends what waited for one.
    pub(crate) fn connected(&mut self, out: &mut Vec<u8>) {
        for frame in self.waiting.values_mut().filter_map(|waiting| waiting.frame.take()) {
            out.extend_from_slice(&frame);
        }
    }

    /// Those that were sent and are not answered.
    pub(crate) fn sent(&self) -> BTreeSet<u64> {
        self.waiting.iter().filter(|(_, waiting)| waiting.frame.is_none()).map(|(id, _)| *id).collect()
    }

    /// Whether one of these waits.
    pub(crate) fn has_any(&self, ids: &BTreeSet<u64>) -> bool {
        ids.iter().any(|id| self.waiting.contains_key(id))
    }

    /// These will not be answered.
    pub(crate) fn lose(&mut self, ids: &BTreeSet<u64>, wake: &mut Vec<Waker>) {
        for waiting in ids.iter().filter_map(|id| self.waiting.remove(id)) {
            waiting.ticket.complete(Err(RequestError::ConnectionLost), wake);
        }
    }

    /// The connection is lost: what was sent will not be answered.
    pub(crate) fn lost(&mut self, wake: &mut Vec<Waker>) {
        self.waiting.retain(|_, waiting| {
            if waiting.frame.is_none() {
                waiting.ticket.complete(Err(RequestError::ConnectionLost), wake);
            }
            waiting.frame.is_some()
        });
    }

    /// An answer. False when no request has this number.
    pub(crate) fn answered(&mut self, id: u64, answer: Result<Reply, Refusal>, wake: &mut Vec<Waker>) -> bool {
        let Some(waiting) = self.waiting.remove(&id) else { return false };
        let answer = match (answer, waiting.found) {
            (Ok(Reply::Done), Some(found)) => Ok(Reply::Last(found)),
            (answer, _) => answer,
        };
        waiting.ticket.complete(answer.map_err(RequestError::Refused), wake);
        true
    }

    /// The client closes.
    pub(crate) fn close(&mut self, wake: &mut Vec<Waker>) {
        for waiting in std::mem::take(&mut self.waiting).into_values() {
            waiting.ticket.complete(Err(RequestError::Closed), wake);
        }
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
