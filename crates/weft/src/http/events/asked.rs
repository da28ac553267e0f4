//! What the headers of a request say of its events. Each may be there once; what
//! cannot be is refused with the header's name and what may be. Only of a trace that
//! is none nothing is said: it is left out, as W3C Trace Context has it.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName};
use weft_base::Lane;
use weft_client::{AckLevel, PublisherOptions};
use weft_wire::headers::names;

use super::super::problem::Problem;
use super::once;
use crate::cli::Reached;

/// The longest deadline, in milliseconds.
const MOST_DEADLINE: u64 = 86_400_000;
/// The longest state of a trace that is kept, in bytes.
const MAX_STATE: usize = 512;
/// The longest key by a header, in bytes.
const MAX_KEY: usize = 4_096;

/// How an event is to be published.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::http) struct Asked {
    pub(in crate::http) lane: Lane,
    pub(super) reached: Reached,
    /// Of events that name none themselves.
    pub(super) key: Option<String>,
    pub(in crate::http) deadline: Option<Duration>,
    /// Headers of each event that has none of the name: of its trace.
    pub(super) trace: Vec<(&'static str, String)>,
    /// The key under which it is done once.
    pub(super) once: Option<String>,
}

impl Asked {
    /// Reads `Weft-Lane`, `Weft-Level`, `Weft-Key`, `Weft-Deadline`,
    /// `Idempotency-Key`, `traceparent` and `tracestate`.
    ///
    /// # Errors
    /// [`Problem`]: a header that cannot be what it says.
    pub(in crate::http) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let lane = match text(headers, "weft-lane")? {
            None => Lane::DEFAULT,
            Some(text) => {
                let lane = text.parse().ok().and_then(Lane::new);
                lane.ok_or_else(|| bad("weft-lane", "write 0 (most urgent) to 7"))?
            }
        };
        let reached = match text(headers, "weft-level")? {
            None => Reached { level: AckLevel::Routed, homes: 0 },
            Some(text) => text.parse().map_err(|why: String| bad("weft-level", &why))?,
        };
        let key = text(headers, "weft-key")?;
        if key.is_some_and(|key| key.len() > MAX_KEY) {
            return Err(bad("weft-key", "write at most 4096 bytes"));
        }
        let deadline = match text(headers, "weft-deadline")? {
            None => None,
            Some(text) => {
                let ms = text.parse().ok().filter(|ms| (1..=MOST_DEADLINE).contains(ms));
                let ms = ms.ok_or_else(|| bad("weft-deadline", "write 1 to 86400000, in milliseconds"))?;
                Some(Duration::from_millis(ms))
            }
        };
        let once = match text(headers, "idempotency-key")? {
            None => None,
            Some(text) => Some(once::key_of(text).map_err(|why| bad("idempotency-key", why))?.to_owned()),
        };
        Ok(Self { lane, reached, key: key.map(str::to_owned), deadline, trace: trace_of(headers), once })
    }

    /// Of an event that is published by no request of its own.
    pub(in crate::http) fn plain(lane: Lane, reached: Reached, deadline: Option<Duration>) -> Self {
        Self { lane, reached, key: None, deadline, trace: Vec::new(), once: None }
    }

    /// What is waited for.
    #[cfg(test)]
    pub(in crate::http) fn reached(&self) -> Reached {
        self.reached
    }

    /// The headers of the trace, as they are added to an event.
    pub(in crate::http) fn more(&self) -> Vec<(&str, &[u8])> {
        self.trace.iter().map(|(name, value)| (*name, value.as_bytes())).collect()
    }

    /// The same for a publisher. What is alike shares blocks.
    pub(super) fn options(&self) -> PublisherOptions {
        let (homes, deadline) = (self.reached.homes, self.deadline);
        PublisherOptions { homes, deadline, ..PublisherOptions::level(self.reached.level).lane(self.lane) }
    }
}

/// The one value of a header.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, Problem> {
    let mut all = headers.get_all(HeaderName::from_static(name)).iter();
    let Some(value) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err(bad(name, "it is there twice, send one"));
    }
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| bad(name, "it is no UTF-8"))?;
    Ok(Some(text))
}

/// The headers of a trace; none where there is no valid `traceparent`
/// (<https://www.w3.org/TR/trace-context/>, 4.3).
fn trace_of(headers: &HeaderMap) -> Vec<(&'static str, String)> {
    let one = |name: &'static str| text(headers, name).ok().flatten();
    let Some(parent) = one(names::TRACEPARENT).filter(|parent| is_parent(parent)) else { return Vec::new() };
    let mut trace = vec![(names::TRACEPARENT, parent.to_owned())];
    // Several are one list, in order.
    let states: Option<Vec<&str>> =
        headers.get_all(names::TRACESTATE).iter().map(|state| state.to_str().ok()).collect();
    let state = states.unwrap_or_default().join(",");
    if (1..=MAX_STATE).contains(&state.len()) {
        trace.push((names::TRACESTATE, state));
    }
    trace
}

/// Version, trace, parent and flags, in small hexadecimal digits; later versions may
/// say more.
fn is_parent(text: &str) -> bool {
    let mut parts = text.split('-');
    let mut part = |len: usize| {
        let part = parts.next().filter(|part| part.len() == len);
        part.filter(|part| part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)))
    };
    let (Some(version), Some(trace), Some(parent), Some(_)) = (part(2), part(32), part(16), part(2)) else {
        return false;
    };
    let is_whole = version != "00" || parts.next().is_none();
    let is_some = |id: &str| id.bytes().any(|byte| byte != b'0');
    version != "ff" && is_whole && text.len() <= MAX_STATE && is_some(trace) && is_some(parent)
}

/// A problem of a header.
pub(super) fn bad(name: &str, why: &str) -> Problem {
    Problem::new(400, "bad_header", format!("the header {name}: {why}"))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const PARENT: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn of(headers: &[(&'static str, &[u8])]) -> Result<Asked, Problem> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        Asked::of(&map)
    }

    #[test]
    fn what_a_request_says_of_its_events_is_read() {
        let asked = of(&[]).unwrap();
        assert_eq!((asked.lane, asked.reached.level, asked.trace.len()), (Lane::DEFAULT, AckLevel::Routed, 0));
        let asked = of(&[
            ("weft-lane", b"0"),
            ("weft-level", b"homes:2"),
            ("weft-key", "Z\u{fc}rich".as_bytes()),
            ("weft-deadline", b"1500"),
            ("idempotency-key", b"\"k-1\""),
            ("traceparent", PARENT),
            ("tracestate", b"a=b"),
            ("tracestate", b"c=d"),
        ])
        .unwrap();
        assert_eq!((asked.lane.get(), asked.reached.homes, asked.key.as_deref()), (0, 2, Some("Z\u{fc}rich")));
        assert_eq!(asked.once.as_deref(), Some("k-1"));
        let options = asked.options();
        assert_eq!((options.deadline, options.homes), (Some(Duration::from_millis(1_500)), 2));
        assert_eq!(asked.more(), [("traceparent", PARENT), ("tracestate", &b"a=b,c=d"[..])]);
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_headers_name() {
        let long = vec![b'k'; MAX_KEY + 1];
        let cases: [(&'static str, &[u8]); 12] = [
            ("weft-lane", b"8"),
            ("weft-lane", b"-1"),
            ("weft-lane", b""),
            ("weft-level", b"homes:1"),
            ("weft-level", b"spooled"),
            ("weft-key", &long),
            ("weft-key", b"\xff"),
            ("weft-deadline", b"0"),
            ("weft-deadline", b"99999999999999999999"),
            ("weft-deadline", b"1.5"),
            ("idempotency-key", b""),
            ("idempotency-key", b"a b"),
        ];
        for (name, value) in cases {
            let problem = of(&[(name, value)]).unwrap_err();
            assert_eq!((problem.status, problem.retry), (400, None), "{problem:?}");
            assert!(problem.detail.contains(name), "{problem:?}");
        }
        assert!(of(&[("weft-lane", b"1"), ("weft-lane", b"1")]).unwrap_err().detail.contains("twice"));
    }

    #[test]
    fn a_forged_trace_is_left_out_and_costs_its_event_nothing() {
        for forged in [
            &b""[..],
            b"nonsense",
            b"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            b"\xff",
            &[b'0'; 5_000],
        ] {
            let asked = of(&[("traceparent", forged), ("tracestate", b"a=b")]).unwrap();
            assert_eq!(asked.trace, [], "{}", String::from_utf8_lossy(forged));
        }
        assert_eq!(of(&[("traceparent", PARENT), ("traceparent", PARENT)]).unwrap().trace, []);
        let long = of(&[("traceparent", PARENT), ("tracestate", &[b'x'; 513])]).unwrap();
        assert_eq!(long.trace.len(), 1);
        let later = b"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more";
        assert_eq!(of(&[("traceparent", later)]).unwrap().trace.len(), 1, "of a later version");
    }
}
