//! `/metrics`: what the hub has counted and measured, for Prometheus.
//!
//! The page is made of the same table that `weft stat` reads, so that both say the
//! same; nothing of the hub waits for it. Who may read it says `http.metrics`.
//!
//! Bounded: a table has a bounded number of names (`weft_observe::TableOptions`), links
//! and business counters count what is beyond their bound as `other`, and histograms in
//! which nothing was recorded are left out. One page is made at a time.

mod families;
mod page;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request, State as Area};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use axum::http::{HeaderMap, Response};
use axum::routing::get;
use weft_base::{Clock, Mono};
use weft_govern::access::{Action, Resource};
use weft_hub::Counters;
use weft_hub::govern::Aside;
use weft_observe::layout;
use weft_observe::snapshot::{SHOWN, Snapshot};

use self::families::{Place, family};
use self::page::{Kind, Page};
use super::answer::Refusal;
use super::who::{Caller, Who};
use super::{Facts, HttpOptions, Tally};
use crate::profiler;

/// Who may read the page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Nobody: there is none.
    Off,
    /// Who logs in and may `observe` the mesh.
    #[default]
    Login,
    /// Those, and whoever asks from this host.
    Loopback,
    /// Everybody who reaches the address.
    Open,
}

impl Readers {
    /// All of them, by name.
    pub(crate) const ALL: [(&'static str, Self); 4] =
        [("off", Self::Off), ("login", Self::Login), ("loopback", Self::Loopback), ("open", Self::Open)];
}

impl fmt::Display for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, of)| of == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

/// The format of the page.
const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Percentiles are of what was recorded since a moment that is so long ago, or up to
/// twice as long; or since the page was asked for before, where that is longer ago.
const RECENT: Duration = Duration::from_secs(60);
/// The bounds of histograms: powers of two of nanoseconds, from 1 µs to 8.6 s. The
/// table's own are much finer, and have one at each of these.
const BOUNDS: std::ops::RangeInclusive<u32> = 10..=33;

/// The area.
struct Metrics {
    counters: Arc<Counters>,
    aside: Arc<Aside>,
    who: Arc<Who>,
    readers: Readers,
    /// Of requests by HTTP.
    tally: Arc<Tally>,
    clock: Arc<dyn Clock>,
    /// What a value means, by the pattern of its name.
    texts: BTreeMap<String, String>,
    recent: Mutex<Recent>,
}

/// What histograms had recorded some time ago.
#[derive(Default)]
struct Recent {
    /// Since when `newer` is kept.
    since: Option<Mono>,
    older: BTreeMap<String, Snapshot>,
    newer: BTreeMap<String, Snapshot>,
}

/// Its route; none where nobody may read it.
pub(super) fn router(options: &HttpOptions, facts: &Facts, who: Arc<Who>, tally: Arc<Tally>) -> Router {
    if options.metrics == Readers::Off {
        return Router::new();
    }
    let metrics = Metrics {
        counters: facts.counters.clone(),
        aside: facts.aside.clone(),
        who,
        readers: options.metrics,
        tally,
        clock: facts.clock.clone(),
        texts: families::texts(),
        recent: Mutex::default(),
    };
    Router::new().route("/metrics", get(handle)).with_state(Arc::new(metrics))
}

async fn handle(
    Area(metrics): Area<Arc<Metrics>>,
    Extension(caller): Extension<Arc<Caller>>,
    request: Request,
) -> Response<Body> {
    if let Err(refusal) = metrics.may_read(&caller, request.headers()).await {
        return refusal.response();
    }
    let mut response = Response::new(Body::from(metrics.page()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(FORMAT));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl Metrics {
    async fn may_read(&self, caller: &Caller, headers: &HeaderMap) -> Result<(), Refusal> {
        match self.readers {
            Readers::Open => return Ok(()),
            Readers::Loopback if caller.from.ip().to_canonical().is_loopback() => return Ok(()),
            Readers::Loopback | Readers::Login | Readers::Off => {}
        }
        let who = self.who.asks(caller, headers).await?;
        self.who.may(&who, Action::Observe, vec![Resource::Mesh]).await
    }

    fn page(&self) -> String {
        let mut page = Page::default();
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now().mono;
        let turns = recent.since.is_none_or(|since| now.since(since) >= RECENT);
        let mut newest = BTreeMap::new();
        self.counters.table().each(|name, kind, look| {
            let Place { pattern, labels } = Place::of(name);
            let help = self.texts.get(&pattern).map_or(families::DECLARED, String::as_str);
            let kind = match kind {
                layout::Kind::Counter => Kind::Counter,
                layout::Kind::Gauge => Kind::Gauge,
                layout::Kind::Beat => return,
                layout::Kind::Histogram => {
                    let Some(snapshot) = look.snapshot().filter(|snapshot| snapshot.count() > 0) else { return };
                    histogram(&mut page, &pattern, help, &labels, &snapshot, recent.older.get(name));
                    if turns {
                        newest.insert(name.to_owned(), snapshot);
                    }
                    return;
                }
            };
            let (family, divisor) = family(&pattern, kind);
            page.value((&family, kind), help, &labels, look.number() as f64 / divisor);
        });
        if turns {
            recent.since = Some(now);
            recent.older = std::mem::replace(&mut recent.newer, newest);
        }
        drop(recent);
        self.about_the_hub(&mut page);
        about_the_process(&mut page);
        page.text()
    }

    /// How far consumers are behind: so many by name, and the others together.
    fn about_consumers(&self, page: &mut Page) {
        let mut behind = |stream: &str, consumer: &str, events: u64, nanos: u64| {
            let labels = [("stream", stream), ("consumer", consumer)];
            let help = "Events on disk that the consumer has not settled";
            page.value(("weft_consumer_lag_events", Kind::Gauge), help, &labels, events as f64);
            let help = "How long ago the oldest event entered the mesh that the consumer has not settled";
            page.value(("weft_consumer_lag_seconds", Kind::Gauge), help, &labels, nanos as f64 / 1e9);
        };
        let lags = &self.counters.lags;
        for lag in lags.told() {
            behind(&lag.stream, &lag.consumer, lag.events(), lag.nanos());
        }
        let (others, events, nanos) = lags.others();
        if others > 0 {
            behind("other", "other", events, nanos);
        }
    }

    fn about_the_hub(&self, page: &mut Page) {
        let mut gauge = |name: &str, help: &str, value: f64| page.value((name, Kind::Gauge), help, &[], value);
        let counters = &self.counters;
        gauge("weft_ledger_in_flight", "Copies that wait somewhere in this hub", counters.in_flight() as f64);
        let left_out = counters.table().left_out() as f64;
        gauge("weft_values_left_out", "Values that are not here, for want of room in the table", left_out);
        gauge(
            "weft_control_state_version",
            "The version of the control state that the hub goes by",
            self.aside.governed().version() as f64,
        );
        self.about_consumers(page);
        for (area, class, count) in self.tally.read() {
            let status = format!("{class}xx");
            let labels = [("area", area), ("status", status.as_str())];
            let help = "Requests by HTTP that were answered, by area and class of status";
            page.value(("weft_http_answers_total", Kind::Counter), help, &labels, count as f64);
        }
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        page.value(("weft_build_info", Kind::Gauge), "The program that runs; always 1", &version, 1.0);
    }
}

/// A histogram, and the percentiles of what was recorded lately.
fn histogram(
    page: &mut Page,
    pattern: &str,
    help: &str,
    labels: &[(&str, &str)],
    snapshot: &Snapshot,
    before: Option<&Snapshot>,
) {
    let (name, divisor) = family(pattern, Kind::Histogram);
    let scale = snapshot.scale();
    let mut counts = snapshot.counts().iter().enumerate().peekable();
    let mut sum = 0_u64;
    let at_most = BOUNDS.map(|power| {
        let bound = 1_u64 << power;
        // All buckets whose values are below it: it is a bound of the scale too.
        while let Some((_, count)) = counts.next_if(|(bucket, _)| scale.range(*bucket).1 < bound) {
            sum = sum.saturating_add(*count);
        }
        (bound as f64 / divisor, sum)
    });
    let all = (snapshot.sum() as f64 / divisor, snapshot.count());
    page.histogram(&name, help, labels, at_most, all);
    let lately = before.and_then(|before| snapshot.since(before).ok());
    let lately = lately.as_ref().unwrap_or(snapshot);
    let parts = SHOWN.iter().map(|(_, parts)| {
        let value = lately.quantile(*parts).map_or(f64::NAN, |value| value as f64 / divisor);
        (f64::from(*parts) / 10_000.0, value)
    });
    let (name, divisor) = family(pattern, Kind::Summary);
    let help = format!("{help}: percentiles of the last one to two minutes, at most 1/32 above");
    page.summary(&name, &help, labels, parts, (lately.sum() as f64 / divisor, lately.count()));
}

/// What the system and the allocator say of this process.
fn about_the_process(page: &mut Page) {
    let allocated = profiler::allocated();
    page.value(
        ("weft_allocations_total", Kind::Counter),
        "Allocations of memory, of which the path of events makes none",
        &[],
        allocated.calls as f64,
    );
    let live = allocated.live as f64;
    page.value(("weft_allocated_bytes", Kind::Gauge), "Memory that is allocated", &[], live);
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = used.tv_sec as f64 + used.tv_nsec as f64 / 1e9;
    let help = "Time that the process has used of processors";
    page.value(("process_cpu_seconds_total", Kind::Counter), help, &[], seconds);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
        rest.split_whitespace().next()?.parse::<f64>().ok()
    };
    if let Some(threads) = field("Threads:") {
        page.value(("process_threads", Kind::Gauge), "Threads of the process", &[], threads);
    }
    if let Some(kibibytes) = field("VmRSS:") {
        let help = "Memory that the process has in use";
        page.value(("process_resident_memory_bytes", Kind::Gauge), help, &[], kibibytes * 1024.0);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        page.value(("process_open_fds", Kind::Gauge), "Open files and sockets", &[], open.count() as f64);
    }
}
