//! What is configured of traces and logs by OTLP, `[telemetry.otlp]`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::Uri;
use axum::http::header::{HeaderName, HeaderValue};
use weft_base::checksum::crc32c;
use weft_hub::see::TraceOptions;

use crate::config::is_loopback_host;

/// The most lines of the file of headers.
pub(crate) const MOST_HEADERS: usize = 32;

/// How a receiver is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// gRPC, over HTTP/2.
    Grpc,
    /// Protobuf by POST, over HTTP/1.1.
    Http,
}

impl Protocol {
    pub(crate) const ALL: [(&'static str, Self); 2] = [("grpc", Self::Grpc), ("http", Self::Http)];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
        }
    }
}

/// Headers that go with each request. What they say is not shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Headers(pub(crate) Vec<(HeaderName, HeaderValue)>);

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Headers {
    /// Another number when they are others.
    pub(crate) fn fingerprint(&self) -> u32 {
        let lines: Vec<&[u8]> =
            self.0.iter().flat_map(|(name, value)| [name.as_str().as_bytes(), value.as_bytes()]).collect();
        crc32c(&lines.join(&b'\n'))
    }

    /// Lines of `NAME: VALUE`; empty ones, and those that begin with `#`, say nothing.
    ///
    /// # Errors
    /// What is wrong with which line; never what it says.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut found = Vec::new();
        for (line, number) in text.lines().map(str::trim).zip(1..) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| format!("line {number} is not `NAME: VALUE`"))?;
            let name = HeaderName::from_bytes(name.trim().to_ascii_lowercase().as_bytes());
            let name = name.map_err(|_| format!("the name in line {number} is none of a header"))?;
            let mut value = HeaderValue::from_str(value.trim())
                .map_err(|_| format!("the value in line {number} is none of a header"))?;
            value.set_sensitive(true);
            found.push((name, value));
        }
        if found.len() > MOST_HEADERS {
            return Err(format!("{} headers are too many: at most {MOST_HEADERS}", found.len()));
        }
        Ok(Self(found))
    }
}

/// Traces and logs by OTLP, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OtlpOptions {
    /// Where the receiver is, `HOST:PORT` behind `http://` or `https://`.
    pub(crate) endpoint: String,
    pub(crate) protocol: Protocol,
    pub(crate) headers: Headers,
    /// Whose certificates it may show; none: those that the machine trusts.
    pub(crate) ca: Option<PathBuf>,
    /// What is traced; none: nothing.
    pub(crate) traces: Option<TraceOptions>,
    /// Whether log events go there too.
    pub(crate) logs: bool,
    /// Spans, and log events, that wait to be sent; of more the newest are dropped.
    pub(crate) queue: usize,
    /// Spans, or log events, of one request.
    pub(crate) batch: usize,
    /// How long they wait for others to go with.
    pub(crate) every: Duration,
    /// How long a request may take.
    pub(crate) patience: Duration,
}

impl OtlpOptions {
    /// With the defaults.
    pub(crate) fn new(endpoint: String, protocol: Protocol) -> Self {
        Self {
            endpoint,
            protocol,
            headers: Headers::default(),
            ca: None,
            traces: Some(TraceOptions::default()),
            logs: false,
            queue: 8_192,
            batch: 512,
            every: Duration::from_secs(1),
            patience: Duration::from_secs(10),
        }
    }

    /// The address, if it is one.
    pub(crate) fn uri(&self) -> Option<Uri> {
        let uri: Uri = self.endpoint.parse().ok()?;
        (matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some() && uri.query().is_none())
            .then_some(uri)
    }

    /// What contradicts itself, by the path of a key.
    pub(crate) fn violations(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut add = |key: &str, why: &str| found.push((format!("telemetry.otlp.{key}"), why.to_owned()));
        match self.uri() {
            None => add("endpoint", "take the address of a receiver, such as \"http://127.0.0.1:4317\""),
            Some(uri) if self.protocol == Protocol::Grpc && !matches!(uri.path(), "" | "/") => {
                add("endpoint", "gRPC has no path: leave out what follows the port, or take `protocol = \"http\"`");
            }
            Some(uri)
                if uri.scheme_str() == Some("http")
                    && !self.headers.0.is_empty()
                    && !uri.host().is_some_and(is_loopback_host) =>
            {
                add(
                    "endpoint",
                    "the headers of `headers_file` would go in clear: take https, or a receiver on loopback",
                );
            }
            Some(_) => {}
        }
        if self.traces.is_none() && !self.logs {
            add("traces", "nothing would be sent: leave the table out, or have `traces` or `logs` be true");
        }
        if !(64..=1_048_576).contains(&self.queue) {
            add("queue", "take from 64 to 1048576");
        }
        if !(1..=8_192).contains(&self.batch) {
            add("batch", "take from 1 to 8192");
        }
        for (key, value) in [("every", self.every), ("patience", self.patience)] {
            if !(Duration::from_millis(100)..=Duration::from_secs(60)).contains(&value) {
                add(key, "take from \"100 ms\" to \"1 min\"");
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(endpoint: &str, protocol: Protocol, change: impl FnOnce(&mut OtlpOptions)) -> Vec<String> {
        let mut options = OtlpOptions::new(endpoint.to_owned(), protocol);
        change(&mut options);
        options.violations().into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn an_address_is_one_of_a_receiver_and_secrets_do_not_leave_in_clear() {
        let secret = |options: &mut OtlpOptions| options.headers = Headers::parse("authorization: x").expect("one");
        for good in ["http://127.0.0.1:4317", "https://example.com", "http://[::1]:4318/"] {
            assert!(wrong(good, Protocol::Grpc, |_| ()).is_empty(), "{good}");
        }
        for bad in
            ["", "127.0.0.1:4317", "ftp://a", "http://", "http://example.com/b", "http://example.com?b", "shm:/a"]
        {
            assert_eq!(wrong(bad, Protocol::Grpc, |_| ()), ["telemetry.otlp.endpoint"], "{bad}");
        }
        assert!(wrong("https://example.com/otlp", Protocol::Http, secret).is_empty());
        assert_eq!(wrong("http://example.com:4318", Protocol::Http, secret), ["telemetry.otlp.endpoint"]);
        assert!(wrong("http://127.0.0.1:4318", Protocol::Http, secret).is_empty());
    }

    #[test]
    fn each_limit_has_a_limit_and_something_is_sent() {
        let at = "http://127.0.0.1:4317";
        assert_eq!(wrong(at, Protocol::Grpc, |o| o.traces = None), ["telemetry.otlp.traces"]);
        assert_eq!(wrong(at, Protocol::Grpc, |o| o.queue = 1), ["telemetry.otlp.queue"]);
        assert_eq!(wrong(at, Protocol::Grpc, |o| o.batch = 0), ["telemetry.otlp.batch"]);
        assert_eq!(wrong(at, Protocol::Grpc, |o| o.every = Duration::ZERO), ["telemetry.otlp.every"]);
        assert_eq!(wrong(at, Protocol::Grpc, |o| o.patience = Duration::from_secs(90)), ["telemetry.otlp.patience"]);
    }

    #[test]
    fn headers_are_read_line_by_line_and_what_they_say_is_shown_nowhere() {
        let headers = Headers::parse("# a comment\n\nAuthorization: Bearer geheim\nx-scope:  1 ").expect("two");
        let said: Vec<_> = headers.0.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(said, [("authorization", &b"Bearer geheim"[..]), ("x-scope", b"1")]);
        assert!(!format!("{headers:?}").contains("geheim"));
        for bad in ["nothing", "a b: geheim", "a: ge\u{1}heim", &"a: b\n".repeat(40)] {
            let error = Headers::parse(bad).expect_err(bad);
            assert!(!error.contains("geheim"), "{error}");
        }
    }
}
