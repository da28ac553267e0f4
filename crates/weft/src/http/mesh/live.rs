//! The mesh as it is now, sampled once a second for all viewers while there are some.
//!
//! The program looks in a session of its own, which may observe and nothing else is
//! done with; who may see what came of it is asked before it is answered. A viewer asks
//! for what came after what it has seen and waits for that ([`PATIENCE`]); each look is
//! written as JSON once, whoever reads it. While nobody asks, the mesh is looked at
//! every [`STEP`] for the history's sake, and no more after [`REST`].
//!
//! Bounded: [`MOST`] viewers wait at a time, one more is answered 503.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{Response, Uri};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use weft_base::{Clock, Mono};
use weft_govern::access::{Method, Principal};
use weft_govern::login::{Login, Proof};
use weft_hub::Counters;

use super::super::answer;
use super::super::inside::Inside;
use super::super::problem::Problem;
use super::super::query::{Query, bad};
use crate::watch::alerts::Alert;
use crate::watch::history::{PERCENTILES, Spans, What};
use crate::watch::{Hub, Link, Look, Sight, Watch, look};

/// Viewers that wait at a time.
pub(super) const MOST: usize = 64;
/// How long a viewer waits for something new.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the mesh is looked at while somebody views it, and while nobody does.
const LOOK: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_secs(5);
/// How long after the last viewer it is looked at no more.
const REST: Duration = Duration::from_secs(900);
/// How long a viewer counts as one after it has asked.
const AWAY: Duration = Duration::from_secs(10);
/// Every so many looks consumers are asked for too.
const CONSUMERS: u32 = 10;
/// After how many looks a mesh is told again of which round trips alone are others.
const TOLD_AGAIN: u32 = 10;
/// The name of the program's own session.
const NAME: &str = "weft-page";
/// Lines of a history.
const LINES: usize = 16;
/// The longest time of one, in seconds.
const LONGEST: u64 = 3_600;

/// What was seen, as it is told.
struct Told {
    /// Counts meshes, looks and lists of alerts.
    mesh: u64,
    look: u64,
    turn: u64,
    sight: Arc<Sight>,
    mesh_json: Arc<str>,
    rates_json: String,
    alerts_json: Arc<str>,
}

type Outcome = Option<Result<Arc<Told>, Problem>>;

/// What is sampled for all.
pub(super) struct Live {
    inside: Arc<Inside>,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
    own: Login,
    told: watch::Sender<Outcome>,
    seats: Semaphore,
    now: Mutex<State>,
}

struct State {
    watch: Watch,
    spans: Spans,
    /// When somebody asked last.
    asked: Mono,
    runs: bool,
}

impl Live {
    pub(super) fn new(inside: Arc<Inside>, clock: Arc<dyn Clock>, counters: Arc<Counters>) -> Self {
        let roles = Arc::new([]);
        let principal = Principal { tenant: None, name: NAME.into(), roles, method: Method::Administrator };
        let own = Login { principal: Arc::new(principal), expires: None, proof: Proof::Nothing };
        let state = State { watch: Watch::default(), spans: Spans::default(), asked: Mono(0), runs: false };
        let (told, _) = watch::channel(None);
        Self { inside, clock, counters, own, told, seats: Semaphore::new(MOST), now: Mutex::new(state) }
    }

    /// What came after what a viewer has seen.
    pub(super) async fn answer(self: &Arc<Self>, uri: &Uri) -> Result<Response<Body>, Problem> {
        let query = Query::of(uri, &["mesh", "look", "turn"])?;
        let number = |name| Ok::<u64, Problem>(query.number(name, 0..=u64::MAX)?.unwrap_or(0));
        let (mesh, seen, turn) = (number("mesh")?, number("look")?, number("turn")?);
        let full = || Problem::soon(503, "viewers", format!("{MOST} view the mesh at this hub, the limit"), 5);
        let _seat = self.seats.try_acquire().map_err(|_| full())?;
        let told = self.after(seen).await?;
        let none = "null";
        let own_mesh = if told.mesh == mesh { none } else { &told.mesh_json };
        let alerts = if told.turn == turn { none } else { &told.alerts_json };
        let text = format!(
            "{{\"seen\":{{\"mesh\":{},\"look\":{},\"turn\":{}}},\"mesh\":{own_mesh},\"rates\":{},\"alerts\":{alerts}}}",
            told.mesh, told.look, told.turn, told.rates_json
        );
        let mut response = Response::new(Body::from(Bytes::from(text)));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(response)
    }

    /// The mesh as it is now.
    pub(super) async fn now(self: &Arc<Self>) -> Result<Arc<Sight>, Problem> {
        Ok(self.after(0).await?.sight.clone())
    }

    /// How it was.
    pub(super) async fn history(self: &Arc<Self>, uri: &Uri) -> Result<Response<Body>, Problem> {
        let query = Query::of(uri, &["what", "hub", "seconds", "percentile"])?;
        let what = query.get("what").unwrap_or("rates");
        let what = What::of(what)
            .ok_or_else(|| bad("what", "write rates, waits, trips, stages, lanes, delivery or forward"))?;
        let seconds = query.number("seconds", 1..=LONGEST)?.unwrap_or(LONGEST);
        let percentile = query.get("percentile").unwrap_or("P99");
        if !PERCENTILES.iter().any(|(known, _)| *known == percentile) {
            return Err(bad("percentile", "write P50, P99 or P99.9"));
        }
        let told = self.after(0).await?;
        let hub = query.get("hub").filter(|hub| !hub.is_empty()).unwrap_or(&told.sight.me);
        let state = self.state();
        let (times, lines) = state.watch.history.of((what, percentile), hub, seconds.saturating_mul(1_000), LINES);
        let times: Vec<u64> = times.iter().map(|time| time / 1_000).collect();
        let series: Vec<Value> = lines
            .into_iter()
            .map(|(name, values)| json!({"name": name, "unit": what.unit(), "values": values}))
            .collect();
        Ok(answer::json(200, &json!({"hub": hub, "times": times, "series": series})))
    }

    /// A look after one that was seen.
    async fn after(self: &Arc<Self>, seen: u64) -> Result<Arc<Told>, Problem> {
        self.wake();
        let mut told = self.told.subscribe();
        let is_new = |outcome: &Outcome| match outcome {
            Some(Ok(told)) => told.look != seen,
            Some(Err(_)) => true,
            None => false,
        };
        let late = || Problem::soon(503, "unavailable", "the hub does not say how the mesh is: try again later", 2);
        let outcome = timeout(PATIENCE, told.wait_for(is_new)).await.map_err(|_| late())?;
        outcome.map_err(|_| late())?.clone().ok_or_else(late)?
    }

    /// Somebody asks: the mesh is looked at, if it is not already.
    fn wake(self: &Arc<Self>) {
        let now = self.clock.now().mono;
        let mut state = self.state();
        state.asked = now;
        if state.runs {
            return;
        }
        state.runs = true;
        drop(state);
        // What was seen before the rest is old.
        self.told.send_replace(None);
        tokio::spawn(self.clone().run());
    }

    async fn run(self: Arc<Self>) {
        let mut second = interval(LOOK);
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = None::<Instant>;
        let (mut looks, mut told) = (0, None::<Arc<Told>>);
        let mut since = 0;
        loop {
            second.tick().await;
            let Some(away) = self.away() else { return };
            if away > AWAY && last.is_some_and(|last| last.elapsed() < STEP) {
                continue;
            }
            last = Some(Instant::now());
            // Not at the first look, for which somebody waits.
            let outcome = self.look(looks % CONSUMERS == 1).await;
            looks = looks.wrapping_add(1);
            let outcome = outcome.map(|look| {
                let (sight, alerts) = self.take(&look);
                since += 1;
                let next = Arc::new(Told::of(sight, &alerts, told.as_deref(), &mut since));
                told = Some(next.clone());
                next
            });
            self.told.send_replace(Some(outcome));
        }
    }

    fn take(&self, look: &Look) -> (Sight, Vec<Alert>) {
        let mut state = self.state();
        let State { watch, spans, .. } = &mut *state;
        let (sight, alerts) = watch.take(look, self.clock.now());
        if watch.history.has_newest(sight.at) {
            spans.take(self.counters.table(), &sight.me, &mut watch.history);
        }
        (sight, alerts)
    }

    /// For how long nobody has asked; none: so long that it rests.
    fn away(&self) -> Option<Duration> {
        let mut state = self.state();
        let away = self.clock.now().mono.since(state.asked);
        state.runs = away <= REST;
        state.runs.then_some(away)
    }

    async fn look(&self, with_consumers: bool) -> Result<Look, Problem> {
        let lease = self.inside.session(&self.own).await?;
        let seen = look(lease.client(), with_consumers).await;
        seen.map_err(|error| Problem::soon(503, "unavailable", error.to_string(), 2))
    }

    /// Each change is whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    /// `since`: looks since a mesh was told last.
    fn of(sight: Sight, alerts: &[Alert], before: Option<&Told>, since: &mut u32) -> Self {
        // A number that no earlier life of the hub has told.
        let first = sight.at;
        let is_same = |before: &Told| {
            let is_like = before.sight.hubs.len() == sight.hubs.len()
                && before.sight.links.len() == sight.links.len()
                && before.sight.hubs.iter().zip(&sight.hubs).all(|(a, b)| is_like_hub(a, b))
                && before.sight.links.iter().zip(&sight.links).all(|(a, b)| is_like_link(a, b));
            is_like && *since < TOLD_AGAIN
        };
        let (mesh, mesh_json) = match before {
            Some(before) if is_same(before) => (before.mesh, before.mesh_json.clone()),
            _ => {
                *since = 0;
                (before.map_or(first, |before| before.mesh + 1), mesh(&sight).to_string().into())
            }
        };
        let text: Vec<Value> = alerts.iter().map(alert).collect();
        let text = Value::Array(text).to_string();
        let (turn, alerts_json) = match before {
            Some(before) if *before.alerts_json == *text => (before.turn, before.alerts_json.clone()),
            _ => (before.map_or(first, |before| before.turn + 1), text.into()),
        };
        let look = before.map_or(first, |before| before.look + 1);
        let rates_json = rates(&sight).to_string();
        Self { mesh, look, turn, sight: Arc::new(sight), mesh_json, rates_json, alerts_json }
    }
}

/// Whether what a viewer sees of two hubs at once is the same, but for round trips.
fn is_like_hub(a: &Hub, b: &Hub) -> bool {
    Hub { rtt: None, ..a.clone() } == Hub { rtt: None, ..b.clone() }
}

fn is_like_link(a: &Link, b: &Link) -> bool {
    Link { rtt: None, ..a.clone() } == Link { rtt: None, ..b.clone() }
}

/// The mesh.
pub(super) fn mesh(sight: &Sight) -> Value {
    let hubs: Vec<Value> = sight.hubs.iter().map(hub).collect();
    let links: Vec<Value> = sight.links.iter().map(link).collect();
    json!({"me": sight.me, "at": sight.at, "hubs": hubs, "links": links})
}

fn millis(rtt: Option<Duration>) -> Option<f64> {
    rtt.map(|rtt| (rtt.as_secs_f64() * 1e6).round() / 1e3)
}

/// A hub.
pub(super) fn hub(hub: &Hub) -> Value {
    json!({
        "name": hub.name, "region": hub.region, "epoch": hub.epoch, "reachable": hub.reachable,
        "draining": hub.draining, "hops": hub.hops, "rttMs": millis(hub.rtt), "interest": hub.interest,
        "place": hub.place,
    })
}

/// A link.
pub(super) fn link(link: &Link) -> Value {
    json!({
        "from": link.from, "to": link.to, "rttMs": millis(link.rtt), "cost": link.cost, "up": link.up,
        "suspect": link.suspect,
    })
}

/// Rates that are not zero, by the index of what they are of.
fn rates(sight: &Sight) -> Value {
    let tenth = |rate: f64| (rate * 10.0).round() / 10.0;
    let hubs = sight.hub_rates.iter().enumerate().filter_map(|(at, rate)| {
        let values = [rate.published, rate.delivered, rate.dropped].map(tenth);
        values.iter().any(|value| *value > 0.0).then(|| json!([at, values[0], values[1], values[2]]))
    });
    let links = sight.link_rates.iter().enumerate().filter_map(|(at, rate)| {
        let lanes = rate.lanes.map(tenth);
        (rate.bytes > 0.0).then(|| json!([at, rate.bytes.round(), lanes]))
    });
    json!({"at": sight.at, "hubs": hubs.collect::<Vec<_>>(), "links": links.collect::<Vec<_>>()})
}

fn alert(alert: &Alert) -> Value {
    let Alert { id, critical, code, hub, since, text, todo } = alert;
    let severity = if *critical { "critical" } else { "warning" };
    json!({"id": id, "severity": severity, "code": code, "hub": hub, "since": since, "text": text, "todo": todo})
}
