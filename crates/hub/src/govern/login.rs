//! The login stage: asks who clients are, and keeps watch over those who are in.
//!
//! Owner thread: one of its own, so that whatever a login costs holds nobody up.
//! Takes what the net stage asks, hands it to the [`Door`], and says what came of
//! it; of each session that is in it keeps the login, looks at all of them again
//! when the state changes, and says which are over. Its inbox is bounded: when it
//! is full the net stage turns the client away, with a time to come again. It keeps
//! one login for each session, of which there are at most `limits.sessions`. Servers
//! beside the hub ask too, and keep the answers themselves ([`super::Aside`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use weft_base::{Mono, Now, UnixNanos};
use weft_govern::login::{Answer, Door, Knock, Login, Reason, Refusal};
use weft_ring::mpsc;
use weft_ring::stage::{Backlog, Stage, StageWaker};

use super::Governed;
use super::aside::Reply;
use crate::messages::{SessionId, ToNet};
use crate::outbox::{Outbox, backlog};

/// Logins that wait to be looked at.
const WAITING: usize = 1024;
/// Messages taken in one turn.
const BATCH: usize = 256;
/// The wall clock may be set: it is looked at that often at least while a login has an end.
const LOOK: Duration = Duration::from_secs(1);

/// What the login stage is told.
pub(crate) enum ToLogin {
    /// Who is this? Also for a session that is in, and shows something newer.
    Ask { session: SessionId, knock: Box<Knock> },
    /// A server beside the hub asks.
    Aside { knock: Box<Knock>, reply: Reply<Answer> },
    /// The session is over, or nobody waits for its answer.
    Gone { session: SessionId },
}

/// What became of a login.
#[derive(Debug)]
pub(crate) enum LoggedIn {
    /// The answer to what was asked.
    Answer { session: SessionId, answer: Result<Arc<Login>, Refusal> },
    /// A session's login is over.
    Over { session: SessionId, refusal: Refusal },
}

/// The stage.
pub(crate) struct LoginStage {
    door: Box<dyn Door>,
    governed: Governed,
    /// The version of the state learned last; none was.
    version: Option<u64>,
    inbox: mpsc::Consumer<ToLogin>,
    net: Outbox<ToNet>,
    waker: StageWaker,
    /// Who is in, by what.
    logins: BTreeMap<SessionId, Arc<Login>>,
    /// Who waits for an answer, and since when.
    asked: BTreeMap<SessionId, Mono>,
    /// Those whose login has an end, in its order.
    ends: BTreeSet<(UnixNanos, SessionId)>,
    found: Vec<(u64, Answer)>,
    /// Servers beside the hub that wait, by numbers that no session ever has.
    aside: BTreeMap<u64, Reply<Answer>>,
    last_aside: u64,
    next: Option<Mono>,
}

impl LoginStage {
    /// The stage, and the ways in to it: for the net stage, and for servers beside the hub.
    pub(crate) fn open(
        mut door: Box<dyn Door>,
        governed: Governed,
        net: Outbox<ToNet>,
    ) -> (Self, [Outbox<ToLogin>; 2]) {
        let waker = StageWaker::parking();
        let (to_login, inbox) = mpsc::ring(WAITING);
        let ways = [Outbox::new(&to_login, &waker), Outbox::new(&to_login, &waker)];
        governed.watch(waker.clone());
        let wake = waker.clone();
        door.wake_with(Arc::new(move || wake.wake()));
        let (logins, ends, found) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
        let (aside, last_aside) = (BTreeMap::new(), u64::MAX);
        let (version, next, asked) = (None, None, BTreeMap::new());
        (Self { door, governed, version, inbox, net, waker, logins, asked, ends, found, aside, last_aside, next }, ways)
    }

    /// Takes a new state, if there is one; who does not stand by it is out.
    fn learn(&mut self) -> usize {
        let version = self.governed.version();
        if self.version == Some(version) {
            return 0;
        }
        let state = self.governed.state();
        self.version = Some(state.version());
        for fault in self.door.learn(&state) {
            tracing::warn!(
                code = "login_document",
                document = fault.key,
                fault = fault.what,
                "a document lets nobody in: it cannot be used"
            );
        }
        let stands = |login: &Login| self.door.stands(login);
        let over: Vec<_> = self.logins.iter().filter_map(|(id, login)| Some((*id, stands(login).err()?))).collect();
        for (session, refusal) in over {
            self.end(session, refusal);
        }
        1
    }

    fn end(&mut self, session: SessionId, refusal: Refusal) {
        if let Some(login) = self.forget(session) {
            let (principal, reason) = (login.principal.to_string(), &refusal.log);
            let tenant_id = login.principal.tenant.as_deref();
            tracing::info!(code = "login_over", session = session.0, tenant_id, principal, reason, "a login is over");
            self.net.push(ToNet::LoggedIn(Box::new(LoggedIn::Over { session, refusal })));
        }
    }

    fn forget(&mut self, session: SessionId) -> Option<Arc<Login>> {
        let login = self.logins.remove(&session)?;
        if let Some(end) = login.expires {
            self.ends.remove(&(end, session));
        }
        Some(login)
    }

    /// Says what came of a question. Who is in and shows somebody else stays who it was.
    fn answer(&mut self, session: SessionId, answer: Answer, now: Now) {
        let asked = self.asked.remove(&session).unwrap_or(now.mono);
        let latency_ms = now.mono.since(asked).as_millis() as u64;
        let tenant = |login: &Arc<Login>| login.principal.tenant.clone();
        let before = self.logins.get(&session).and_then(tenant);
        let answer = answer.and_then(|login| match self.logins.get(&session) {
            Some(before) if before.principal != login.principal => Err(Refusal {
                reason: Reason::Bad,
                detail: "what was shown is somebody else's, or of other roles: connect anew with it".to_owned(),
                log: format!("`{}` has shown what is of `{}`", before.principal, login.principal),
            }),
            _ => Ok(Arc::new(login)),
        });
        let answer = answer.map_err(|refusal| self.unknown(refusal));
        match &answer {
            Ok(login) => {
                self.forget(session);
                if let Some(end) = login.expires {
                    self.ends.insert((end, session));
                }
                self.logins.insert(session, login.clone());
                let (principal, method) = (login.principal.to_string(), login.principal.method.name());
                let (session, tenant_id) = (session.0, login.principal.tenant.as_deref());
                tracing::debug!(
                    code = "login",
                    session,
                    tenant_id,
                    principal,
                    method,
                    latency_ms,
                    "a client has logged in"
                );
            }
            Err(Refusal { reason, log, .. }) => {
                let (session, tenant_id, reason) = (session.0, before.as_deref(), format!("{reason:?}"));
                tracing::warn!(
                    code = "login_refused",
                    session,
                    tenant_id,
                    reason,
                    log,
                    latency_ms,
                    "a login is refused"
                );
            }
        }
        self.net.push(ToNet::LoggedIn(Box::new(LoggedIn::Answer { session, answer })));
    }

    /// A server beside the hub asks.
    fn ask_aside(&mut self, knock: Knock, reply: Reply<Answer>, now: Now) {
        self.last_aside -= 1;
        let number = self.last_aside;
        match self.door.ask(number, knock, now) {
            Some(answer) => self.answer_aside(reply, answer),
            None => {
                self.aside.insert(number, reply);
            }
        }
    }

    fn answer_aside(&self, reply: Reply<Answer>, answer: Answer) {
        let answer = answer.map_err(|refusal| self.unknown(refusal));
        if let Err(Refusal { reason, log, .. }) = &answer {
            // Of no session: who asks says which request it was.
            let reason = format!("{reason:?}");
            tracing::warn!(code = "login_refused", reason, log, "a login is refused");
        }
        reply(answer);
    }

    /// A hub that has no state yet knows nobody: whoever is refused may be let in later.
    fn unknown(&self, refusal: Refusal) -> Refusal {
        if refusal.reason != Reason::Bad || self.version != Some(0) {
            return refusal;
        }
        let detail = "the hub has no control state yet, and knows nobody: try again in 1 s";
        Refusal { reason: Reason::Unavailable(Duration::from_secs(1)), detail: detail.to_owned(), ..refusal }
    }

    /// Ends the sessions whose time is over.
    fn expire(&mut self, now: Now) -> usize {
        let mut ended = 0;
        while let Some(&(end, session)) = self.ends.first().filter(|(end, _)| *end <= now.wall) {
            let detail = "the token or certificate that the session stands on is over: connect with a new one";
            let log = format!("its time was over at {}", end.0 / 1_000_000_000);
            self.end(session, Refusal { reason: Reason::Expired, detail: detail.to_owned(), log });
            ended += 1;
        }
        self.next = self.ends.first().map(|(end, _)| {
            let left = Duration::from_nanos(end.0.saturating_sub(now.wall.0));
            now.mono + left.min(LOOK)
        });
        ended
    }
}

impl Stage for LoginStage {
    fn name(&self) -> &'static str {
        "login"
    }

    fn do_work(&mut self, now: Now) -> usize {
        if !self.net.has_room(1) {
            return 0;
        }
        let mut work = self.learn();
        while work < BATCH && self.net.has_room(1) {
            let Some(message) = self.inbox.pop() else { break };
            work += 1;
            match message {
                ToLogin::Ask { session, knock } => match self.door.ask(session.0, *knock, now) {
                    Some(answer) => self.answer(session, answer, now),
                    None => drop(self.asked.insert(session, now.mono)),
                },
                ToLogin::Aside { knock, reply } => self.ask_aside(*knock, reply, now),
                ToLogin::Gone { session } => {
                    self.door.forget(session.0);
                    self.asked.remove(&session);
                    self.forget(session);
                }
            }
        }
        let mut found = std::mem::take(&mut self.found);
        self.door.answers(now, &mut found);
        work += found.len();
        for (number, answer) in found.drain(..) {
            match self.aside.remove(&number) {
                Some(reply) => self.answer_aside(reply, answer),
                None => self.answer(SessionId(number), answer, now),
            }
        }
        self.found = found;
        work += self.expire(now);
        self.net.notify();
        work
    }

    fn load(&self) -> Backlog {
        backlog(&self.inbox)
    }

    fn waker(&self) -> Option<StageWaker> {
        Some(self.waker.clone())
    }

    fn next_deadline(&self) -> Option<Mono> {
        self.next.into_iter().chain(self.door.next_look()).min()
    }
}
