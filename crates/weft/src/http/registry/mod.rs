//! The schema registry, as Confluent's clients speak to it: who asks, whether they
//! may, what is answered ([`desk`]), and what is changed of the control state.
//!
//! What is looked at is looked at in this hub's copy. A change is decided by it,
//! and made only if what it was decided on is still so at the voters; where it is
//! not, it is decided anew, [`TRIES`] times at most. Once it is answered, this hub
//! has it; others within a second, as a rule.

pub(super) mod desk;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Extension, Request, State as Area};
use axum::http::{Method, Response, StatusCode, Uri};
use axum::routing::any;
use tokio::sync::{Mutex, oneshot};
use tokio::time::{Instant, timeout};
use weft_base::Random;
use weft_govern::ChangeId;
use weft_govern::access::{Action, Resource};
use weft_govern::api::{Answer, Apply, Refusal as Refused};
use weft_hub::govern::{self, Aside};
use weft_schema::rest::{self, Concern};
use weft_wire::ErrorCode;

use self::desk::{Asked, Changing, Decided, Desk};
use super::Facts;
use super::answer::{self, Refusal};
use super::page;
use super::serve::HEAD_TIME;
use super::who::{Caller, Someone, Who};

/// The first parts of the registry's paths.
const PARTS: [&str; 6] = ["subjects", "schemas", "compatibility", "config", "mode", "contexts"];
/// How often a request is decided because others changed what it was decided on.
const TRIES: u32 = 8;
/// How long it is waited for this hub's copy to have what the voters have.
const CATCH_UP: Duration = Duration::from_secs(2);
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(2);
/// Subjects of a schema that is looked at by its id that are asked about.
const MOST_SUBJECTS: usize = 32;
/// The most bytes of a body, whatever the registry's own limits are.
const BODY_BYTES: usize = 8 << 20;

/// The registry.
struct Registry {
    aside: Arc<Aside>,
    who: Arc<Who>,
    desk: Desk,
    random: Mutex<Random>,
    body_bytes: usize,
}

/// Its routes.
///
/// # Errors
/// The system refuses numbers by chance.
pub(super) fn router(facts: &Facts, who: Arc<Who>, desk: Desk) -> anyhow::Result<Router> {
    let empty = weft_schema::registry::State::new(weft_schema::registry::RegistryLimits::default());
    let registry = Arc::new(Registry {
        aside: facts.aside.clone(),
        who,
        desk,
        random: Mutex::new(Random::from_entropy()?),
        body_bytes: rest::body_bytes(&empty).min(BODY_BYTES),
    });
    let mut router = Router::new().route("/", any(root));
    for part in PARTS {
        // With a slash at the end, and with more.
        for path in [format!("/{part}"), format!("/{part}/"), format!("/{part}/{{*rest}}")] {
            router = router.route(&path, any(handle));
        }
    }
    Ok(router.with_state(registry))
}

/// A registry's clients ask here whether it is one; who types a hub's address into a
/// browser means its page.
async fn root(area: Area<Arc<Registry>>, caller: Extension<Arc<Caller>>, request: Request) -> Response<Body> {
    if request.method() == Method::GET && page::is_wanted(request.headers()) {
        return page::elsewhere(StatusCode::SEE_OTHER);
    }
    handle(area, caller, request).await
}

async fn handle(
    Area(registry): Area<Arc<Registry>>,
    Extension(caller): Extension<Arc<Caller>>,
    request: Request,
) -> Response<Body> {
    match registry.answer(&caller, request).await {
        Ok(answer) => answer::of(answer.status, &answer.body),
        Err(refusal) => refusal.response(),
    }
}

impl Registry {
    async fn answer(&self, caller: &Caller, request: Request) -> Result<rest::Answer, Refusal> {
        let (head, body) = request.into_parts();
        let who = self.who.asks(caller, &head.headers).await?;
        if !self.aside.is_governed() {
            let text = "the hub has no control state, in which schemas are kept: give it a data folder (`data`)";
            return Err(Refusal::new(501, 501, text));
        }
        let (method, path) = (head.method.as_str(), head.uri.path());
        self.may(&who, rest::concern(method, path)).await?;
        let body = timeout(HEAD_TIME, to_bytes(body, self.body_bytes)).await;
        let body = body.map_err(|_| Refusal::new(408, 408, "the body did not come in time: send it again"))?;
        let body = body.map_err(|_| {
            Refusal::new(413, 413, format!("the body is cut short, or has more than {} bytes", self.body_bytes))
        })?;
        let asked = Arc::new(Asked {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query(&head.uri).to_owned(),
            body: body.into(),
        });
        for _ in 0..TRIES {
            let state = self.aside.state();
            let decided = self.desk.decide(state.clone(), asked.clone()).await.map_err(busy)?;
            let changing = match decided {
                Decided::Answer(answer) => return Ok(answer),
                Decided::Change(changing) => changing,
            };
            let answer = changing.answer.clone();
            match self.change(&who, changing).await? {
                Made::Made { version } => {
                    self.catch_up(version).await;
                    let (by, from) = (&who.principal, caller.from);
                    tracing::info!(code = "registry_changed", %by, %from, method, path, version, "a client by HTTP changed the registry");
                    return Ok(answer);
                }
                Made::Overtaken => self.catch_up(state.version() + 1).await,
            }
        }
        Err(Refusal::soon(503, 50_003, "others change the same subjects all the time: send it again"))
    }

    async fn may(&self, who: &Someone, concern: Concern) -> Result<(), Refusal> {
        let action = |changes| if changes { Action::Administer } else { Action::Observe };
        match concern {
            Concern::Nothing => Ok(()),
            Concern::Registry { changes } => self.who.may(who, action(changes), vec![Resource::Mesh]).await,
            Concern::Subject { name, changes } => {
                self.who.may(who, action(changes), vec![Resource::Schema(name.into())]).await
            }
            Concern::Schema { id } => {
                let subjects = self.desk.subjects(self.aside.state(), id, MOST_SUBJECTS).await.map_err(busy)?;
                let subjects = subjects.into_iter().map(|name| Resource::Schema(name.into()));
                // Of what no subject has, who sees the mesh may hear that.
                let mut any: Vec<Resource> = subjects.collect();
                if any.is_empty() {
                    any.push(Resource::Mesh);
                }
                self.who.may(who, Action::Observe, any).await
            }
        }
    }

    /// Has documents changed.
    async fn change(&self, who: &Someone, changing: Changing) -> Result<Made, Refusal> {
        let Changing { puts, deletes, expects, .. } = changing;
        let id = ChangeId::draw(&mut *self.random.lock().await);
        let wanted = Apply { id, puts, deletes, prune: None, expects, dry_run: false };
        let (reply, answer) = oneshot::channel();
        let asked = self.aside.change(
            (who.principal.clone(), who.is_administrator, who.from.to_string()),
            wanted,
            // Who has gone meanwhile hears nothing.
            Box::new(move |changed| drop(reply.send(changed))),
        );
        asked.map_err(|error| Refusal::soon(503, 50_003, error.to_string()))?;
        match answer.await {
            Ok(Ok(Answer::Applied(applied))) => Ok(Made::Made { version: applied.version }),
            Ok(Ok(Answer::Refused(Refused::Conflict { .. }))) => Ok(Made::Overtaken),
            Ok(Ok(Answer::Refused(refused))) => Err(of_refused(&refused)),
            Ok(Ok(_)) => Err(Refusal::new(500, 50_001, "the control state answered something else")),
            Ok(Err(refused)) => Err(of_code(refused)),
            Err(_) => Err(Refusal::soon(503, 50_003, "the hub is stopping: ask another")),
        }
    }

    /// Waits until this hub's copy is of that version, for a while.
    async fn catch_up(&self, version: u64) {
        let until = Instant::now() + CATCH_UP;
        while self.aside.governed().version() < version && Instant::now() < until {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// What became of a change.
enum Made {
    Made {
        version: u64,
    },
    /// Somebody else was faster with one of the documents.
    Overtaken,
}

fn query(uri: &Uri) -> &str {
    uri.query().unwrap_or_default()
}

fn busy(error: desk::Busy) -> Refusal {
    Refusal::soon(503, 50_003, error.to_string())
}

/// What stands against the documents.
fn of_refused(refused: &Refused) -> Refusal {
    let message = match refused {
        Refused::Faults { faults, more } => {
            let all: Vec<String> = faults.iter().map(ToString::to_string).collect();
            let more = if *more > 0 { format!("; and {more} more") } else { String::new() };
            format!("{}{more}", all.join("; "))
        }
        Refused::LockedOut { why } => why.clone(),
        other => format!("the control state refuses it: {other:?}"),
    };
    Refusal::new(422, 42_201, message)
}

/// Why nothing was changed, or it is not known.
fn of_code(refused: govern::Refused) -> Refusal {
    let govern::Refused { code, retry_after_ms, detail } = refused;
    let mut refusal = match code {
        ErrorCode::NO_LEADER | ErrorCode::OVERLOADED => Refusal::new(503, 50_003, detail),
        ErrorCode::TIMED_OUT => Refusal::new(503, 50_002, detail),
        ErrorCode::CONTROL_FULL => Refusal::new(507, 50_001, detail),
        ErrorCode::BAD_DOCUMENT => Refusal::new(422, 42_201, detail),
        _ => Refusal::new(500, 50_001, detail),
    };
    if retry_after_ms > 0 {
        refusal.retry = Some(u64::from(retry_after_ms.div_ceil(1_000)));
    }
    refusal
}
