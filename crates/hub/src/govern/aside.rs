//! The way in for servers of other protocols in the hub's process: they ask who
//! somebody is, ask the judge whether somebody may do something, have the control
//! state changed, and read it, as the hub's own clients do by frames, through the
//! same stages and into the same counters. Logins and changes are noted for the audit
//! log here; what is refused is noted by who refuses it ([`Aside::denied`]).
//!
//! Callable from any thread. Never waits: an answer comes by a call on the thread
//! of the stage that gives it, which must do no more than hand it on. A stage whose
//! inbox is full refuses ([`BusyError`]); one that ends drops the call unmade.

use std::sync::Arc;

use weft_base::Clock;
use weft_base::sync::{Mutex, MutexGuard};
use weft_govern::State;
use weft_govern::access::{Ask, Principal, Verdict};
use weft_govern::api::{Answer, Apply};
use weft_govern::audit::Event;
use weft_govern::login::{self, Certificate, Credentials, Knock};
use weft_transport::Peer;
use weft_wire::frame::ErrorCode;

use super::{Governed, ToGovern, ToJudge, ToLogin};
use crate::audit::Auditor;
use crate::hub::BusyError;
use crate::outbox::Outbox;

/// What is called with an answer, once.
pub type Reply<T> = Box<dyn FnOnce(T) + Send>;

/// Why a change cannot be asked of anybody at this time, or what became of it is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Of what kind.
    pub code: ErrorCode,
    /// When to try again, in milliseconds; 0: there is no use in it.
    pub retry_after_ms: u32,
    /// In words.
    pub detail: String,
}

/// What becomes of a change: an answer of the control state's, or none.
pub type Changed = Result<Answer, Refused>;

/// To the stages that answer, where there are any.
pub(crate) type Ways = (Option<Outbox<ToJudge>>, Option<Outbox<ToLogin>>, Option<Outbox<ToGovern>>);

/// The way in.
pub struct Aside {
    judge: Option<Mutex<Outbox<ToJudge>>>,
    login: Option<Mutex<Outbox<ToLogin>>>,
    govern: Option<Mutex<Outbox<ToGovern>>>,
    governed: Governed,
    trail: Trail,
}

/// Where what was asked, and is to be known later, is noted, and by which clock.
#[derive(Clone)]
pub(crate) struct Trail {
    pub(crate) audit: Option<Arc<Mutex<Auditor>>>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Trail {
    fn note(&self, event: Event) {
        if let Some(audit) = &self.audit {
            let mut audit = locked(audit);
            let now = self.clock.now();
            audit.note(event, now);
            audit.tend(now);
        }
    }
}

impl Aside {
    pub(crate) fn new((judge, login, govern): Ways, governed: Governed, trail: Trail) -> Self {
        let (judge, login, govern) = (judge.map(Mutex::new), login.map(Mutex::new), govern.map(Mutex::new));
        Self { judge, login, govern, governed, trail }
    }

    /// Whether a judge decides what may be done; without one, all may be.
    #[must_use]
    pub fn is_judged(&self) -> bool {
        self.judge.is_some()
    }

    /// Whether there is a control state.
    #[must_use]
    pub fn is_governed(&self) -> bool {
        self.govern.is_some()
    }

    /// The state as this hub has it.
    #[must_use]
    pub fn governed(&self) -> &Governed {
        &self.governed
    }

    /// The same, to be read.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        self.governed.state()
    }

    /// Asks who somebody is, by what they show. Without a [`Door`](login::Door) there is
    /// nobody to ask, and it is refused as if too many did.
    ///
    /// # Errors
    /// [`BusyError`]: as many logins wait as may.
    pub fn login(&self, knock: Knock, reply: Reply<login::Answer>) -> Result<(), BusyError> {
        let (trail, from) = (self.trail.clone(), knock.from.map(|from| from.to_string()).unwrap_or_default());
        let name = match &knock.credentials {
            Credentials::Password { name, .. } => name.clone(),
            _ => String::new(),
        };
        let noted: Reply<login::Answer> = Box::new(move |answer| {
            let event = Event { from, action: "login".to_owned(), resource: "the hub".to_owned(), ..Event::default() };
            trail.note(match &answer {
                Ok(login) => {
                    let Event { who, method, .. } = Event::by(&login.principal);
                    Event { who, method, allowed: true, ..event }
                }
                Err(refusal) => Event { who: format!("(unproved) {name}"), detail: refusal.log.clone(), ..event },
            });
            reply(answer);
        });
        push(self.login.as_ref(), ToLogin::Aside { knock: Box::new(knock), reply: noted })
    }

    /// What is known of the certificate of somebody at the far end of a connection.
    #[must_use]
    pub fn certificate(peer: &Peer, administers: bool) -> Certificate {
        crate::net::login::certificate_of(peer, administers)
    }

    /// Asks the judge. Without one nothing is called: look at [`Aside::is_judged`].
    ///
    /// # Errors
    /// [`BusyError`]: as many questions wait as may.
    pub fn judge(&self, ask: Arc<Ask>, reply: Reply<Arc<Verdict>>) -> Result<(), BusyError> {
        push(self.judge.as_ref(), ToJudge::Aside { ask, reply })
    }

    /// Something is refused, because of this answer, to somebody who is at this address.
    pub fn denied(&self, ask: &Ask, verdict: &Verdict, from: String) {
        self.trail.note(Event { from, ..Event::of(ask, verdict) });
    }

    /// Tells the audit log what came often, once its time is over. To be called about
    /// once a second, and, with `last`, at the end.
    pub fn tend(&self, last: bool) {
        let Some(audit) = &self.trail.audit else { return };
        let (mut audit, now) = (locked(audit), self.trail.clock.now());
        if last {
            audit.close(now);
        } else {
            audit.tend(now);
        }
    }

    /// Has the control state changed by somebody of whom it was decided that they
    /// may, and who is at this address. `is_administrator`: whatever the state says.
    ///
    /// # Errors
    /// [`BusyError`]: there is no control state, or as many requests wait as may.
    pub fn change(
        &self,
        (author, is_administrator, from): (Arc<Principal>, bool, String),
        wanted: Apply,
        reply: Reply<Changed>,
    ) -> Result<(), BusyError> {
        push(self.govern.as_ref(), ToGovern::Aside { author, is_administrator, from, wanted: Box::new(wanted), reply })
    }
}

fn push<T: Send>(way: Option<&Mutex<Outbox<T>>>, message: T) -> Result<(), BusyError> {
    let Some(way) = way else { return Err(BusyError) };
    let mut way = locked(way);
    if !way.has_room(1) {
        return Err(BusyError);
    }
    way.push(message);
    way.notify();
    Ok(())
}

fn locked<T>(way: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each holder's change is one message: nothing is half done.
    way.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl std::fmt::Debug for Aside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aside").field("judged", &self.is_judged()).field("governed", &self.governed).finish()
    }
}
