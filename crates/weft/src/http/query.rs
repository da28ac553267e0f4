//! What stands behind the question mark of an address: parameters that are known,
//! each once. Bounded by the head of a request, and [`MOST`].

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use axum::http::Uri;

use super::problem::Problem;
use crate::time::{parse_duration, show_duration};

/// The most parameters.
const MOST: usize = 16;

/// Parameters, by name.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Those of an address, all of which must be among these.
    ///
    /// # Errors
    /// [`Problem`]: one is not known, is there twice, or is no UTF-8.
    pub(super) fn of(uri: &Uri, known: &[&str]) -> Result<Self, Problem> {
        let mut found: Vec<(String, String)> = Vec::new();
        for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = decode(name).zip(decode(value));
            let (name, value) = decoded.ok_or_else(|| bad(name, "it is not escaped as it must be"))?;
            if !known.contains(&name.as_str()) || found.len() >= MOST {
                let list = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(bad(&name, &format!("it is not known here; there are {list}")));
            }
            if found.iter().any(|(other, _)| *other == name) {
                return Err(bad(&name, "it is there twice, send one"));
            }
            found.push((name, value));
        }
        Ok(Self(found))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A number within bounds.
    pub(super) fn number<T>(&self, name: &str, within: RangeInclusive<T>) -> Result<Option<T>, Problem>
    where
        T: FromStr + PartialOrd + Display,
    {
        let Some(text) = self.get(name) else { return Ok(None) };
        let number = text.parse().ok().filter(|number| within.contains(number));
        let why = || bad(name, &format!("write {} to {}", within.start(), within.end()));
        number.map(Some).ok_or_else(why)
    }

    /// A time up to a bound, such as `5s`.
    pub(super) fn time(&self, name: &str, most: Duration) -> Result<Option<Duration>, Problem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let time = parse_duration(text).map_err(|why| bad(name, &why))?;
        if time > most {
            return Err(bad(name, &format!("write at most `{}`", show_duration(most))));
        }
        Ok(Some(time))
    }
}

pub(super) fn bad(name: &str, why: &str) -> Problem {
    let name: String = name.chars().take(64).collect();
    Problem::new(400, "bad_query", format!("the parameter {name}: {why}"))
}

/// Text as it is escaped in queries (application/x-www-form-urlencoded).
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &str) -> Result<Query, Problem> {
        Query::of(&format!("/x?{query}").parse().expect("an address"), &["from", "max", "wait"])
    }

    #[test]
    fn parameters_are_read_and_what_is_not_known_is_refused_by_name() {
        let query = of("from=2013-01-01T10%3A00%3A00Z&max=7&wait=5+s&").expect("it is sound");
        assert_eq!(query.get("from"), Some("2013-01-01T10:00:00Z"));
        assert_eq!(query.number("max", 1..=10).ok(), Some(Some(7)));
        assert_eq!(query.time("wait", Duration::from_secs(9)).ok(), Some(Some(Duration::from_secs(5))));
        assert!(query.number("max", 1..=6).is_err() && query.time("wait", Duration::from_secs(4)).is_err());
        assert!(of("").is_ok_and(|query| query.get("from").is_none()));
        for (text, name) in [("form=1", "form"), ("max=1&max=1", "max"), ("from=%f", "from"), ("from=%ff", "from")] {
            let problem = of(text).err().expect("it is refused");
            assert_eq!((problem.status, problem.code.as_str()), (400, "bad_query"));
            assert!(problem.detail.contains(name), "{problem:?}");
        }
        assert!(of("max=%31").is_ok_and(|query| query.get("max") == Some("1")));
        assert!(of(&"a=%25&".repeat(10_000)).is_err(), "a long one too");
    }
}
