//! What clients ask of the control state, from the frame to the answer; and what
//! servers beside the hub have changed for theirs ([`super::Aside`]).
//!
//! A change goes in steps, each of which ends with a word of the council: the
//! state is made as new as the request ([`Council::read`](super::council::Council::read)),
//! planned and vetted against it, proposed with what the plan saw, and answered by
//! what was decided. Somebody else's change in between makes it stale: it is
//! vetted again against the newer state, with what the first plan saw, so that a
//! change of the same resource is a conflict and is said. After [`TRIES`] of those
//! the client is told to try again. So many requests wait as `control.requests`
//! says; one more is refused.

use std::sync::Arc;

use weft_base::HubId;
use weft_govern::access::{Action, Principal};
use weft_govern::api::{self, Answer, Applied, Apply, Refusal, Request};
use weft_govern::audit::Event;
use weft_govern::plan::{Counts, Plan};
use weft_govern::{Expect, Limits, Outcome, State};
use weft_ring::arena::BlockRef;
use weft_wire::frame::{self, ErrorCode, Frame};

use super::aside::{Changed, Refused, Reply};
use super::council::Ended;
use super::stage::GovernStage;
use super::vet::Objection;
use crate::counters::add;
use crate::messages::{SessionId, ToNet};
use crate::options::MAX_VOTERS;

/// How often a change is vetted anew because others came between.
const TRIES: u32 = 8;
/// Resources of a change that the audit log names.
const KEYS: usize = 16;
/// When a client that found no leader, or no room, may ask again, in milliseconds.
const RETRY_MS: u32 = 1_000;

/// Inbox of the govern stage.
pub(crate) enum ToGovern {
    /// A client asks.
    Ask {
        session: SessionId,
        author: Arc<Principal>,
        /// It is named as one in the hub's configuration.
        is_administrator: bool,
        /// It may change things; whether it may look was decided before.
        may_change: bool,
        /// From which address, where that is noted.
        from: String,
        /// What it asks.
        frame: BlockRef,
    },
    /// A server beside the hub has something changed for a client of its own, which
    /// may.
    Aside {
        author: Arc<Principal>,
        is_administrator: bool,
        /// From which address they ask.
        from: String,
        wanted: Box<Apply>,
        reply: Reply<Changed>,
    },
}

/// A request under way.
pub(super) struct Asked {
    who: Who,
    what: What,
}

enum What {
    /// To be answered once the state is as new as the question.
    Look(Request),
    /// To be planned once the state is as new as the question.
    Change(Changing),
    /// Proposed.
    Proposed(Changing),
    /// Others are to vote.
    Voters,
}

/// A change under way.
struct Changing {
    wanted: Apply,
    /// How often others came between.
    tries: u32,
    /// What was planned last; nothing yet.
    plan: Plan,
}

/// Whom to answer.
enum To {
    /// A client of the hub.
    Session { session: SessionId, request: u64 },
    /// A server beside it.
    Aside(Reply<Changed>),
}

/// Who asks.
pub(super) struct Who {
    to: To,
    pub(super) author: Arc<Principal>,
    pub(super) is_administrator: bool,
    from: String,
}

/// Why a request is not answered: the code, when to try again, and in words.
pub(super) type Error = (ErrorCode, u32, String);

impl GovernStage {
    /// Somebody asks. Answers whether it took long, so that the council has its
    /// turn before the next.
    pub(super) fn take(&mut self, message: ToGovern) -> bool {
        let (who, what) = match message {
            ToGovern::Ask { session, author, is_administrator, may_change, from, frame } => {
                let Ok(Frame::Govern(govern)) = Frame::decode(&frame) else { return false };
                let to = To::Session { session, request: govern.request };
                let what = Request::decode(govern.body).map_err(|error| bad(error.to_string()));
                let who = Who { to, author, is_administrator, from };
                (who, what.and_then(|asked| self.what_of(asked, may_change)))
            }
            ToGovern::Aside { author, is_administrator, from, wanted, reply } => {
                let what = self.what_of(Request::Apply(*wanted), true);
                (Who { to: To::Aside(reply), author, is_administrator, from }, what)
            }
        };
        let what = match what {
            Ok(what) => what,
            Err(refusal) => {
                if refusal.0 == ErrorCode::NOT_ADMIN {
                    self.note(&who, "the mesh", false, 0, &refusal.2);
                }
                self.refuse(who.to, refusal);
                return false;
            }
        };
        let takes_long = matches!(&what, Asks::Now(Request::Explain(_) | Request::Can(_)));
        match what {
            Asks::Now(look) => self.answer_look(who, &look),
            Asks::Later(what) => self.read(Asked { who, what }),
            Asks::Voters(hubs) => {
                let number = self.number();
                tracing::warn!(code = "control_voters_asked", by = %who.author, hubs = hubs.len(), "others are to vote");
                let begun = self.council.set_voters(number, &hubs, self.now.mono);
                self.begin(number, Asked { who, what: What::Voters }, begun);
            }
        }
        takes_long
    }

    fn what_of(&self, asked: Request, may_change: bool) -> Result<Asks, Error> {
        if asked.is_local() {
            return Ok(Asks::Now(asked));
        }
        if let Some(why) = self.stopped() {
            let detail = format!("the hub takes no part in the control state any more ({why}): ask another");
            return Err((ErrorCode::STORAGE, 0, detail));
        }
        let most = self.options.requests;
        if self.asked.len() >= most {
            let detail = format!("{most} requests to the control state wait at this hub (control.requests)");
            return Err((ErrorCode::OVERLOADED, RETRY_MS, detail));
        }
        if asked.changes() && !may_change {
            let detail = "only administrators change the control state: name the client's certificate in `admins` of \
                          the hub's configuration";
            return Err((ErrorCode::NOT_ADMIN, 0, detail.to_owned()));
        }
        match asked {
            Request::Apply(wanted) => {
                Ok(Asks::Later(What::Change(Changing { wanted, tries: 0, plan: Plan::default() })))
            }
            Request::Voters(asked) if asked.voters.is_empty() || asked.voters.len() > MAX_VOTERS => {
                Err(bad(format!("{} voters are not possible: 1 to {MAX_VOTERS}", asked.voters.len())))
            }
            Request::Voters(asked) => Ok(Asks::Voters(asked.voters.iter().map(|name| HubId::of_name(name)).collect())),
            look => Ok(Asks::Later(What::Look(look))),
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Waits for the council's word on a request, if it takes it.
    fn begin(&mut self, number: u64, asked: Asked, begun: Result<(), String>) {
        match begun {
            Ok(()) => {
                self.asked.insert(number, asked);
                // The council has its turn at once, not when it wanted one without this.
                self.due = Some(self.now.mono);
            }
            Err(detail) => self.refuse(asked.who.to, (ErrorCode::OVERLOADED, RETRY_MS, detail)),
        }
    }

    fn read(&mut self, asked: Asked) {
        let number = self.number();
        let begun = self.council.read(number, self.now.mono);
        self.begin(number, asked, begun);
    }

    /// The council has said how a step of a request ended.
    pub(super) fn go_on(&mut self, asked: Asked, ended: Ended) {
        let Asked { who, what } = asked;
        let error = match (what, ended) {
            (What::Look(look), Ended::Read) => return self.answer_look(who, &look),
            (What::Voters, Ended::Voters) => {
                let shown = Answer::Shown(self.shown());
                return self.answer(who.to, shown);
            }
            (What::Change(changing), Ended::Read) => return self.propose(who, changing),
            (What::Proposed(changing), Ended::Done(outcome)) => return self.decided(who, changing, outcome),
            (_, Ended::Refused(why)) => (ErrorCode::CONTROL_CONFLICT, 0, why),
            (_, Ended::NoLeader) => {
                let detail = "no hub leads the control state now, or it is out of reach: nothing was changed";
                (ErrorCode::NO_LEADER, RETRY_MS, detail.to_owned())
            }
            (_, Ended::Unknown) => {
                let detail = "nobody said in time whether it is done: sent again under its number it is made once";
                (ErrorCode::TIMED_OUT, RETRY_MS, detail.to_owned())
            }
            (_, ended) => (ErrorCode::INTERNAL, 0, format!("the council answered {ended:?} to something else")),
        };
        self.refuse(who.to, error);
    }

    /// The state is as new as the request: plans it, vets it, proposes it.
    fn propose(&mut self, who: Who, mut changing: Changing) {
        let state = self.council.state();
        let (id, dry_run) = (changing.wanted.id, changing.wanted.dry_run);
        if let Some(outcome) = self.council.outcome(id).filter(|_| !dry_run) {
            return self.decided(who, changing, Outcome::Repeated(Box::new(outcome)));
        }
        let plan = match Plan::of(&state, &changing.wanted.wanted()) {
            Ok(plan) => plan,
            Err(faults) => return self.answer(who.to, Answer::Refused(Refusal::of_faults(faults))),
        };
        if let Some((expect, found)) = plan.conflict(&state) {
            let detail = format!("the change {id} is refused: somebody was faster");
            self.note(&who, &expect.key.to_string(), false, state.version(), &detail);
            return self.conflict(who.to, expect, found);
        }
        if !plan.is_empty() {
            let after = Arc::new(plan.after(&state));
            if let Some(refusal) = self.object(&who, &state, &after) {
                if !dry_run {
                    let why = match &refusal {
                        Refusal::LockedOut { why } => why.clone(),
                        _ => "documents that cannot be so".to_owned(),
                    };
                    self.note(&who, "the mesh", false, state.version(), &format!("the change {id} is refused: {why}"));
                }
                return self.answer(who.to, Answer::Refused(refusal));
            }
        }
        if dry_run || plan.is_empty() {
            return self.applied(who.to, &plan, state.version(), (false, dry_run));
        }
        let change = plan.change(id, Principal::clone(&who.author), self.now.wall);
        let bytes = match change.encode(&Limits::default()) {
            Ok(bytes) => bytes,
            Err(error) => return self.refuse(who.to, (ErrorCode::BAD_DOCUMENT, 0, error.to_string())),
        };
        // Should others come between, what this saw counts: what it changes and they
        // have changed is a conflict then, and not overwritten.
        changing.wanted.expects = change.expects;
        changing.plan = plan;
        let number = self.number();
        let begun = self.council.propose(number, &bytes, self.now.mono);
        self.begin(number, Asked { who, what: What::Proposed(changing) }, begun);
    }

    /// What stands against a state that is to be.
    fn object(&mut self, who: &Who, before: &Arc<State>, after: &Arc<State>) -> Option<Refusal> {
        let objection = self.vet.as_mut()?.vet(before, after, &who.author, who.is_administrator).err()?;
        Some(match objection {
            Objection::Faults(faults) => Refusal::of_faults(faults),
            Objection::LockedOut(why) => Refusal::LockedOut { why },
        })
    }

    /// The machine has decided on a change.
    fn decided(&mut self, who: Who, mut changing: Changing, outcome: Outcome) {
        let error = match outcome {
            Outcome::Applied { version } => {
                add(&self.counters.control_changes, 1);
                tracing::info!(
                    code = "control_changed",
                    by = %who.author,
                    tenant_id = who.author.tenant.as_deref(),
                    version,
                    change = %changing.wanted.id,
                    what = %changing.plan.counts(),
                    "a client of this hub changed the control state"
                );
                let keys: Vec<String> = changing.plan.keys().iter().take(KEYS).map(ToString::to_string).collect();
                let detail = format!("the change {} is made: {}", changing.wanted.id, changing.plan.counts());
                self.note(&who, &keys.join(" "), true, version, &detail);
                return self.applied(who.to, &changing.plan, version, (false, false));
            }
            Outcome::Unchanged { version } => return self.applied(who.to, &Plan::default(), version, (false, false)),
            Outcome::Repeated(first) => match *first {
                Outcome::Applied { version } | Outcome::Unchanged { version } => {
                    return self.applied(who.to, &Plan::default(), version, (true, false));
                }
                Outcome::Repeated(_) | Outcome::Stale { .. } => {
                    (ErrorCode::INTERNAL, 0, "the answer to the change is remembered wrongly".to_owned())
                }
                other => return self.decided(who, changing, other),
            },
            Outcome::Stale { .. } if changing.tries < TRIES => {
                changing.tries += 1;
                return self.read(Asked { who, what: What::Change(changing) });
            }
            Outcome::Stale { version } => {
                let detail = format!("others change the control state all the time (version {version}): try again");
                (ErrorCode::OVERLOADED, RETRY_MS, detail)
            }
            Outcome::Conflict { key, expected, found } => {
                return self.conflict(who.to, Expect { key, version: expected }, found);
            }
            Outcome::Full { what } => (ErrorCode::CONTROL_FULL, 0, what),
            Outcome::Unreadable { why } => (ErrorCode::BAD_DOCUMENT, 0, why),
            other => (ErrorCode::UNSUPPORTED, 0, format!("this hub does not know what it means: {other:?}")),
        };
        self.refuse(who.to, error);
    }

    /// Notes what a client did to the control state, or may not.
    fn note(&mut self, who: &Who, resource: &str, allowed: bool, version: u64, detail: &str) {
        let Some(audit) = &mut self.audit else { return };
        let session = match &who.to {
            To::Session { session, .. } => session.0,
            To::Aside(_) => 0,
        };
        let event = Event {
            from: who.from.clone(),
            session,
            action: Action::Administer.name().to_owned(),
            resource: resource.to_owned(),
            allowed,
            version,
            detail: detail.to_owned(),
            ..Event::by(&who.author)
        };
        audit.note(event, self.now);
    }

    fn applied(&mut self, to: To, plan: &Plan, version: u64, (repeated, dry_run): (bool, bool)) {
        let (counts, shown) = match repeated {
            true => (Counts::default(), String::new()),
            false => (plan.counts(), plan.shown()),
        };
        self.answer(to, Answer::Applied(Applied { version, counts, shown, repeated, dry_run }));
    }

    /// Refuses what somebody has overtaken: who, and what.
    fn conflict(&mut self, to: To, expect: Expect, found: Option<u64>) {
        add(&self.counters.control_conflicts, 1);
        let by = found.and_then(|version| self.council.author_of(version));
        let Expect { key, version: expected } = expect;
        self.answer(to, Answer::Refused(Refusal::Conflict { key, expected, found, by }));
    }

    fn answer_look(&mut self, who: Who, look: &Request) {
        let answer = match look {
            Request::Export(asked) => match api::export(&self.council.state(), asked, |_, _| true) {
                Ok(page) => Answer::Exported(page),
                Err(refusal) => Answer::Refused(refusal),
            },
            Request::Show(_) => Answer::Shown(self.shown()),
            Request::Whoami => Answer::You(self.whoami(&who)),
            Request::Explain(asked) => match self.explain(&who, asked) {
                Ok(explained) => Answer::Explained(explained),
                Err(error) => return self.refuse(who.to, error),
            },
            Request::Can(asked) => match self.can(asked) {
                Ok(able) => Answer::Able(able),
                Err(error) => return self.refuse(who.to, error),
            },
            Request::Apply(_) | Request::Voters(_) => {
                let detail = "it changes something, and is not answered by looking".to_owned();
                return self.refuse(who.to, (ErrorCode::INTERNAL, 0, detail));
            }
        };
        self.answer(who.to, answer);
    }

    fn answer(&mut self, to: To, answer: Answer) {
        let (session, request) = match to {
            To::Session { session, request } => (session, request),
            To::Aside(reply) => return reply(Ok(answer)),
        };
        let body = match answer.encode() {
            Ok(body) => body,
            Err(error) => {
                return self.refuse(To::Session { session, request }, (ErrorCode::TOO_LARGE, 0, error.to_string()));
            }
        };
        let mut bytes = Vec::new();
        frame::encode(&Frame::Governed(frame::Governed { request, body: &body }), &mut bytes);
        self.net.push(ToNet::Control { session, bytes });
    }

    fn refuse(&mut self, to: To, (code, retry_after_ms, detail): Error) {
        let (session, request) = match to {
            To::Session { session, request } => (session, request),
            To::Aside(reply) => return reply(Err(Refused { code, retry_after_ms, detail })),
        };
        let error = frame::ErrorFrame { request, code, retry_after_ms, detail: &detail };
        let mut bytes = Vec::new();
        frame::encode(&Frame::Error(error), &mut bytes);
        self.net.push(ToNet::Control { session, bytes });
    }
}

/// A request that is not what it must be.
pub(super) fn bad(detail: String) -> Error {
    (ErrorCode::BAD_DOCUMENT, 0, detail)
}

/// When a request is answered.
enum Asks {
    /// At once, by the state that is here.
    Now(Request),
    /// When the state is as new as the request.
    Later(What),
    /// When these vote.
    Voters(Vec<HubId>),
}
