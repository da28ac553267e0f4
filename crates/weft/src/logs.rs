//! Where log events go: JSON lines on stderr for a hub, plain lines for people
//! who use the other commands.
//!
//! A JSON line has `ts` (RFC 3339, UTC), `level`, `event` (the event's code),
//! `message`, and the event's own fields in camel case; among them, where they
//! apply, `correlationId` (the session, as hexadecimal; by HTTP the request's id),
//! `tenantId` and `latencyMs`, which events say as `session` or `correlation_id`,
//! `tenant_id` and `latency_ms`; and
//! `leftOut` where lines of the same code were left out before it ([`limits`]).

mod limits;

use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use weft_base::{Clock, SystemClock};

use self::limits::Limits;
use crate::time::rfc3339;

/// How much of each code was written, by this process.
static LIMITS: Mutex<Limits> = Mutex::new(Limits::new());

/// How log events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Plain,
}

/// How many of [`LEVELS`] are written.
static WRITTEN: AtomicUsize = AtomicUsize::new(3);
/// From the gravest on.
const LEVELS: [Level; 5] = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];

/// Writes events of `level` and above from now on; without one those of `info`.
pub(crate) fn set_level(level: Option<Level>) {
    let level = level.unwrap_or(Level::INFO);
    let written = LEVELS.into_iter().filter(|known| *known <= level).count();
    if WRITTEN.swap(written, Ordering::Relaxed) != written {
        // Places in the code remember what was said of them.
        tracing::callsite::rebuild_interest_cache();
    }
}

/// Sends all events of `level` and above to stderr, for the whole process.
/// The second call changes the level alone.
pub(crate) fn install(format: Format, level: Option<Level>) {
    set_level(level);
    let logs = Logs { format, clock: SystemClock::new(), spans: AtomicU64::new(1) };
    // Fails only when there is one already.
    let _ = tracing::subscriber::set_global_default(logs);
}

struct Logs {
    format: Format,
    clock: SystemClock,
    spans: AtomicU64,
}

impl Subscriber for Logs {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let is_written = LEVELS.iter().take(WRITTEN.load(Ordering::Relaxed)).any(|level| level == metadata.level());
        // Other crates' debug events (rustls, mio) say nothing to an operator.
        is_written && (metadata.target().starts_with("weft") || *metadata.level() <= Level::WARN)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        // Events carry their own fields; spans are not shown.
        Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed).max(1))
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        // Who asks for more than the usual is to have it all.
        if self.format == Format::Json && *event.metadata().level() <= Level::INFO {
            let code = fields.0.get("code").and_then(Value::as_str).unwrap_or("log");
            let mut limits = LIMITS.lock().unwrap_or_else(PoisonError::into_inner);
            match limits.may(code, self.clock.now().mono) {
                None => return,
                Some(0) => {}
                Some(left_out) => drop(fields.0.insert("left_out".to_owned(), left_out.into())),
            }
        }
        let now = self.clock.now().wall;
        crate::otlp::logs::note(now.0, *event.metadata().level(), &fields.0);
        let line = match self.format {
            Format::Json => json(&rfc3339(now), *event.metadata().level(), fields.0),
            Format::Plain => plain(*event.metadata().level(), fields.0),
        };
        // One write per line, so that lines of several threads do not mix. A
        // stderr that is gone is no reason to stop.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Says of which codes lines were left out since the last one that was written.
/// Called now and then while a hub runs.
pub(crate) fn tend(clock: &dyn Clock) {
    let now = clock.now();
    let untold = LIMITS.lock().unwrap_or_else(PoisonError::into_inner).untold(now.mono);
    for (code, left_out) in untold {
        let fields = [
            ("code".to_owned(), code.into()),
            ("message".to_owned(), "lines of this code were left out: there were too many".into()),
            ("left_out".to_owned(), left_out.into()),
        ];
        let line = json(&rfc3339(now.wall), Level::WARN, fields.into_iter().collect());
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

/// One JSON line.
fn json(ts: &str, level: Level, mut fields: Map<String, Value>) -> String {
    let mut line = Map::new();
    line.insert("ts".to_owned(), ts.into());
    line.insert("level".to_owned(), level.as_str().to_ascii_lowercase().into());
    line.insert("event".to_owned(), fields.remove("code").unwrap_or_else(|| "log".into()));
    if let Some(message) = fields.remove("message") {
        line.insert("message".to_owned(), message);
    }
    // What happens in one session belongs together.
    if let Some(session) = fields.remove("session") {
        let id = session.as_u64().map_or_else(|| session.to_string(), |id| format!("{id:016x}"));
        line.insert("correlationId".to_owned(), id.into());
    }
    line.extend(fields.into_iter().map(|(name, value)| (camel_case(&name), value)));
    let mut text = Value::Object(line).to_string();
    text.push('\n');
    text
}

/// One line for people.
fn plain(level: Level, mut fields: Map<String, Value>) -> String {
    fields.remove("code");
    let show = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut line = format!("weft: {}", level.as_str().to_ascii_lowercase());
    if let Some(message) = fields.remove("message") {
        line.push_str(": ");
        line.push_str(&show(&message));
    }
    for (name, value) in &fields {
        line.push_str(&format!(" {name}={}", show(value)));
    }
    line.push('\n');
    line
}

fn camel_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut upper = false;
    for c in name.chars() {
        if c == '_' {
            upper = true;
        } else if std::mem::take(&mut upper) {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
    }
    out
}

/// Collects an event's fields.
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Map<String, Value> {
        let fields = [("code", "link_up".into()), ("message", "a \"link\"\n".into()), ("correlation_id", "7f".into())];
        fields.into_iter().map(|(name, value): (&str, Value)| (name.to_owned(), value)).collect()
    }

    #[test]
    fn a_line_is_one_json_object_with_the_promised_names() {
        let line = json("2013-01-01T10:00:00.000000Z", Level::INFO, fields());
        assert_eq!(line.matches('\n').count(), 1, "also when a message has line ends");
        let value: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(value["event"], "link_up");
        assert_eq!(value["level"], "info");
        assert_eq!(value["ts"], "2013-01-01T10:00:00.000000Z");
        assert_eq!(value["correlationId"], "7f");
    }

    #[test]
    fn events_of_a_session_are_correlated_by_it() {
        let fields = [("session".to_owned(), Value::from(0x1_0000_002a_u64))].into_iter().collect();
        let value: Value = serde_json::from_str(&json("", Level::WARN, fields)).expect("JSON");
        assert_eq!(value["correlationId"], "000000010000002a");
        assert_eq!(value["event"], "log", "an event without a code is one all the same");
    }

    #[test]
    fn names_are_camel_case() {
        assert_eq!(camel_case("latency_ms"), "latencyMs");
        assert_eq!(camel_case("tenant_id"), "tenantId");
        assert_eq!(camel_case("reason"), "reason");
    }
}
