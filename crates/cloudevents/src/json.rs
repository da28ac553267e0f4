//! JSON, taken apart one level at a time: where each value begins and ends, so that
//! what it holds can be carried as it was written. serde_json would sort the members
//! of objects and round numbers.
//!
//! All of it is checked to be JSON, without recursion and in linear time.

use serde::de::IgnoredAny;

/// The most members of an object that is taken apart.
pub const MOST_MEMBERS: usize = 1_024;

/// Why text cannot be taken apart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Bytes that are no text.
    #[error("byte {at} is no UTF-8")]
    NoText {
        /// Where.
        at: usize,
    },
    /// No value.
    #[error("the value at byte {at} is no JSON: {why}")]
    Value {
        /// Where it begins.
        at: usize,
        /// What is wrong.
        why: String,
    },
    /// Something else than there must be.
    #[error("there is no {expected} at byte {at}")]
    Expected {
        /// Where.
        at: usize,
        /// What there must be.
        expected: &'static str,
    },
    /// A member that is there more than once.
    #[error("the member `{name}` is there twice: send one")]
    Twice {
        /// Its name, cut short.
        name: String,
    },
    /// More values than are taken.
    #[error("there are more than {most}, the limit: send less at a time")]
    TooMany {
        /// How many may be.
        most: usize,
    },
}

/// The names and values of an object, in order.
///
/// # Errors
/// [`JsonError`].
pub fn members(text: &[u8]) -> Result<Vec<(String, &str)>, JsonError> {
    let mut scanner = Scanner::new(text)?;
    let mut found: Vec<(String, &str)> = Vec::new();
    scanner.sign(b'{', "object")?;
    if !scanner.has(b'}') {
        loop {
            let at = scanner.at;
            let name = scanner.value()?;
            let name: String = serde_json::from_str(name).map_err(|_| JsonError::Expected { at, expected: "name" })?;
            scanner.sign(b':', "`:`")?;
            let value = scanner.value()?;
            if found.len() >= MOST_MEMBERS {
                return Err(JsonError::TooMany { most: MOST_MEMBERS });
            }
            found.push((name, value));
            if !scanner.has(b',') {
                break;
            }
        }
        scanner.sign(b'}', "`,` or `}`")?;
    }
    scanner.end()?;
    let mut names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find_map(|pair| (pair.first() == pair.last()).then(|| pair.first().copied())) {
        Some(name) => Err(JsonError::Twice { name: name.unwrap_or_default().chars().take(100).collect() }),
        None => Ok(found),
    }
}

/// The values of an array, in order; no more than `most`.
///
/// # Errors
/// [`JsonError`].
pub fn elements(text: &[u8], most: usize) -> Result<Vec<&str>, JsonError> {
    let mut scanner = Scanner::new(text)?;
    let mut found = Vec::new();
    scanner.sign(b'[', "array")?;
    if !scanner.has(b']') {
        loop {
            let value = scanner.value()?;
            if found.len() >= most {
                return Err(JsonError::TooMany { most });
            }
            found.push(value);
            if !scanner.has(b',') {
                break;
            }
        }
        scanner.sign(b']', "`,` or `]`")?;
    }
    scanner.end()?;
    Ok(found)
}

/// Whether text is one JSON value.
#[must_use]
pub fn is_value(text: &[u8]) -> bool {
    let Ok(mut scanner) = Scanner::new(text) else { return false };
    scanner.value().is_ok() && scanner.end().is_ok()
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a [u8]) -> Result<Self, JsonError> {
        let text = std::str::from_utf8(text).map_err(|error| JsonError::NoText { at: error.valid_up_to() })?;
        let mut scanner = Self { text, at: 0 };
        scanner.skip();
        Ok(scanner)
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Past what JSON calls whitespace.
    fn skip(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    /// Past this sign, if it is next.
    fn has(&mut self, sign: u8) -> bool {
        let is_next = self.rest().as_bytes().first() == Some(&sign);
        self.at += usize::from(is_next);
        self.skip();
        is_next
    }

    fn sign(&mut self, sign: u8, expected: &'static str) -> Result<(), JsonError> {
        let at = self.at;
        if self.has(sign) { Ok(()) } else { Err(JsonError::Expected { at, expected }) }
    }

    fn end(&self) -> Result<(), JsonError> {
        let expected = "end";
        if self.rest().is_empty() { Ok(()) } else { Err(JsonError::Expected { at: self.at, expected }) }
    }

    /// The next value, as it is written.
    fn value(&mut self) -> Result<&'a str, JsonError> {
        let (at, rest) = (self.at, self.rest());
        let bad = |why: String| JsonError::Value { at, why };
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<IgnoredAny>();
        match values.next() {
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                let why = error.to_string();
                // Its lines count from the value.
                return Err(bad(why.split(" at line ").next().unwrap_or_default().to_owned()));
            }
            None => return Err(bad("it ends".to_owned())),
        }
        let value = rest.get(..values.byte_offset()).unwrap_or_default();
        self.at += value.len();
        self.skip();
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_out_as_they_were_written() {
        let text = " { \"b\" : {\"z\": 1.50, \"a\": [ ]} ,\n\"a\\u0062\":12345678901234567890123,\"c\":\"x\\n\" } ";
        let found = members(text.as_bytes()).unwrap();
        let wanted = [("b", "{\"z\": 1.50, \"a\": [ ]}"), ("ab", "12345678901234567890123"), ("c", "\"x\\n\"")];
        assert_eq!(found, wanted.map(|(name, value)| (name.to_owned(), value)));
        assert_eq!(elements(b"[1,true , null,\"]\",[{}]]", 5).unwrap(), ["1", "true", "null", "\"]\"", "[{}]"]);
        assert_eq!(members(b"{}"), Ok(Vec::new()));
        assert_eq!(elements(b" [ ] ", 0), Ok(Vec::new()));
        assert_eq!(elements(b"[1,2]", 1), Err(JsonError::TooMany { most: 1 }));
        assert!(is_value(b" 1 ") && is_value(b"\"\"") && !is_value(b"1 2") && !is_value(b"") && !is_value(b"{a:1}"));
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        for bad in [
            &b""[..],
            b"{",
            b"{}x",
            b"{\"a\"}",
            b"{\"a\":}",
            b"{\"a\":1,}",
            b"{1:2}",
            b"{\"a\":1 \"b\":2}",
            b"{\"a\":01}",
            b"{\"a\":tru}",
            b"{\"a\":1 2}",
            b"[]",
            b"{\"a\":\"\xff\"}",
            b"{\"a\":\"",
        ] {
            assert!(members(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
        for bad in [&b"[1,]"[..], b"[,1]", b"[1 2]", b"[1", b"{}", b"[1]]", b"[1] 2"] {
            assert!(elements(bad, 9).is_err(), "{}", String::from_utf8_lossy(bad));
        }
        assert_eq!(members(b"{\"a\":1,\"\\u0061\":2}"), Err(JsonError::Twice { name: "a".to_owned() }));
        assert_eq!(members(b"{ \"a\": nul }"), Err(JsonError::Value { at: 7, why: "expected ident".to_owned() }));
        assert_eq!(members(b"{\"a\":1;}"), Err(JsonError::Value { at: 5, why: "trailing characters".to_owned() }));
    }

    #[test]
    fn depth_costs_no_stack_and_many_members_are_refused() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(500_000), "]".repeat(500_000));
        assert_eq!(members(deep.as_bytes()).unwrap().len(), 1);
        assert!(members("[".repeat(500_000).as_bytes()).is_err());
        let many: Vec<String> = (0..=MOST_MEMBERS).map(|n| format!("\"{n}\":0")).collect();
        assert_eq!(
            members(format!("{{{}}}", many.join(",")).as_bytes()),
            Err(JsonError::TooMany { most: MOST_MEMBERS })
        );
    }
}
