//! What the headers of a request say of its event. Each may be there once; what
//! cannot be is refused with the header's name and what may be.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName};
use weft_base::Lane;
use weft_client::{AckLevel, HeadersWriter, PublisherOptions};
use weft_wire::headers::names;

use super::super::problem::Problem;
use crate::cli::Reached;

/// The longest deadline, in milliseconds.
const MOST_DEADLINE: u64 = 86_400_000;
/// The longest key by a header, in bytes.
const MAX_KEY: usize = 4_096;

/// How an event is to be published.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::http) struct Asked {
    pub(in crate::http) lane: Lane,
    pub(super) reached: Reached,
    pub(super) key: String,
    pub(in crate::http) deadline: Option<Duration>,
    /// The event's own, encoded.
    pub(in crate::http) headers: Vec<u8>,
}

impl Asked {
    /// Reads `Weft-Lane`, `Weft-Level`, `Weft-Key`, `Weft-Deadline`, `traceparent`
    /// and `tracestate`.
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
        let key = text(headers, "weft-key")?.unwrap_or_default();
        if key.len() > MAX_KEY {
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
        let mut bytes = Vec::new();
        let mut own = HeadersWriter::new(&mut bytes);
        for name in [names::TRACEPARENT, names::TRACESTATE] {
            if let Some(value) = text(headers, name)? {
                own.push(name, value.as_bytes()).map_err(|error| bad(name, &error.to_string()))?;
            }
        }
        Ok(Self { lane, reached, key: key.to_owned(), deadline, headers: bytes })
    }

    /// The same for a publisher. What is alike shares blocks.
    pub(super) fn options(&self) -> PublisherOptions {
        let (homes, deadline) = (self.reached.homes, self.deadline);
        PublisherOptions { homes, deadline, ..PublisherOptions::level(self.reached.level).lane(self.lane) }
    }
}

/// The one value of a header.
fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, Problem> {
    let mut all = headers.get_all(HeaderName::from_static(name)).iter();
    let Some(value) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err(bad(name, "it is there twice, send one"));
    }
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| bad(name, "it is no UTF-8"))?;
    Ok(Some(text))
}

fn bad(name: &str, why: &str) -> Problem {
    Problem::new(400, "bad_header", format!("the header {name}: {why}"))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use weft_wire::headers::Headers;

    use super::*;

    fn of(headers: &[(&'static str, &[u8])]) -> Result<Asked, Problem> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        Asked::of(&map)
    }

    #[test]
    fn what_a_request_says_of_its_event_is_read() {
        let asked = of(&[]).unwrap();
        assert_eq!((asked.lane, asked.reached.level, asked.headers.len()), (Lane::DEFAULT, AckLevel::Routed, 0));
        let asked = of(&[
            ("weft-lane", b"0"),
            ("weft-level", b"homes:2"),
            ("weft-key", "Z\u{fc}rich".as_bytes()),
            ("weft-deadline", b"1500"),
            ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ("tracestate", b"a=b"),
        ])
        .unwrap();
        assert_eq!((asked.lane.get(), asked.reached.homes, &*asked.key), (0, 2, "Z\u{fc}rich"));
        let options = asked.options();
        assert_eq!((options.deadline, options.homes), (Some(Duration::from_millis(1_500)), 2));
        let headers = Headers::validate(&asked.headers).unwrap();
        assert_eq!(headers.get("tracestate"), Some(&b"a=b"[..]));
        assert!(headers.get("traceparent").is_some());
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_headers_name() {
        let long = vec![b'k'; MAX_KEY + 1];
        let cases: [(&'static str, &[u8]); 10] = [
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
        ];
        for (name, value) in cases {
            let problem = of(&[(name, value)]).unwrap_err();
            assert_eq!((problem.status, problem.retry), (400, None), "{problem:?}");
            assert!(problem.detail.contains(name), "{problem:?}");
        }
        assert!(of(&[("weft-lane", b"1"), ("weft-lane", b"1")]).unwrap_err().detail.contains("twice"));
    }
}
