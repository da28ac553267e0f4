//! Pages of other origins (<https://fetch.spec.whatwg.org/#http-cors-protocol>): off
//! unless `[http] cors_origins` names them.
//!
//! A page may send some requests without asking; so one of an origin that is not
//! named and that is not the hub's own changes nothing and opens no socket here,
//! whatever its browser shows of certificates or passwords.

use axum::body::Body;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HOST, HeaderValue, ORIGIN, UPGRADE, VARY,
};
use axum::http::{Method, Request, Response, StatusCode};

/// What pages may send.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
/// What pages may read of an answer's head.
const EXPOSED: HeaderValue =
    HeaderValue::from_static("Idempotent-Replayed, Location, Retry-After, WWW-Authenticate, X-Request-Id");
/// How long a browser remembers what it may, in seconds.
const AGE: HeaderValue = HeaderValue::from_static("600");
/// Any origin, without credentials.
const ANY: &str = "*";

/// The origins that are named.
pub(super) struct Cors {
    origins: Vec<String>,
}

/// Where a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Page {
    /// No page, or one of the hub's own.
    Own,
    /// A page of an origin that is named.
    Named(HeaderValue),
    /// A page of another one.
    Foreign,
}

impl Cors {
    pub(super) fn new(origins: Vec<String>) -> Self {
        Self { origins }
    }

    /// Where a request comes from.
    pub(super) fn page<B>(&self, request: &Request<B>) -> Page {
        let headers = request.headers();
        let mut all = headers.get_all(ORIGIN).iter();
        let Some(origin) = all.next() else { return Page::Own };
        let (Ok(text), None) = (origin.to_str(), all.next()) else { return Page::Foreign };
        if self.origins.iter().any(|named| named == ANY || named.eq_ignore_ascii_case(text)) {
            return Page::Named(origin.clone());
        }
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = host.or_else(|| request.uri().authority().map(|authority| authority.as_str()));
        let own = text.split_once("://").map(|(_, own)| own);
        let is_own = own.zip(host).is_some_and(|(own, host)| own.eq_ignore_ascii_case(host));
        if is_own { Page::Own } else { Page::Foreign }
    }

    /// The answer to a browser that asks beforehand what a page may.
    pub(super) fn preflight<B>(&self, request: &Request<B>, page: &Page) -> Option<Response<Body>> {
        let is_asked =
            request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if !is_asked || !matches!(page, Page::Named(_)) {
            return None;
        }
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(ACCESS_CONTROL_MAX_AGE, AGE);
        if let Some(wanted) = request.headers().get(ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        }
        self.mark(page, &mut response);
        Some(response)
    }

    /// Says that a page may read an answer.
    pub(super) fn mark(&self, page: &Page, response: &mut Response<Body>) {
        if self.origins.is_empty() {
            return;
        }
        let headers = response.headers_mut();
        headers.append(VARY, HeaderValue::from_static("Origin"));
        let Page::Named(origin) = page else { return };
        if self.origins.iter().any(|named| named == ANY) {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static(ANY));
        } else {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
}

/// Whether a request only looks, and so does no harm without being read.
pub(super) fn only_looks<B>(request: &Request<B>) -> bool {
    let is_safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    is_safe && !request.headers().contains_key(UPGRADE)
}

/// What an origin is as a setting: scheme, host and perhaps a port, and nothing more.
pub(super) fn is_origin(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return text == ANY };
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    matches!(scheme, "http" | "https") && !rest.is_empty() && rest.chars().all(is_host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut builder = Request::builder().method(method).uri("/v1/topics/a").header("host", "localhost:8081");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap()
    }

    #[test]
    fn only_named_origins_may_read_and_others_may_do_nothing() {
        let cors = Cors::new(vec!["https://app.example".to_owned()]);
        let page = |origin: &str| cors.page(&request("POST", &[("origin", origin)]));
        assert_eq!(cors.page(&request("POST", &[])), Page::Own);
        assert_eq!(page("https://localhost:8081"), Page::Own);
        assert_eq!(page("https://app.example"), Page::Named(HeaderValue::from_static("https://app.example")));
        for foreign in
            ["https://xapp.example", "https://app.example:444", "null", "https://localhost", "localhost:8081", ""]
        {
            assert_eq!(page(foreign), Page::Foreign, "{foreign}");
        }
        let twice = request("POST", &[("origin", "https://app.example"), ("origin", "https://localhost:8081")]);
        assert_eq!(cors.page(&twice), Page::Foreign);
        assert_eq!(Cors::new(Vec::new()).page(&request("POST", &[("origin", "https://app.example")])), Page::Foreign);
        assert!(only_looks(&request("GET", &[])) && !only_looks(&request("DELETE", &[])));
        assert!(!only_looks(&request("GET", &[("upgrade", "websocket")])), "a socket is more than a look");
    }

    #[test]
    fn a_browser_that_asks_beforehand_is_told_what_its_page_may() {
        let cors = Cors::new(vec!["https://app.example".to_owned()]);
        let asked = |origin: &str| {
            let headers = [
                ("origin", origin),
                ("access-control-request-method", "POST"),
                ("access-control-request-headers", "weft-key, content-type"),
            ];
            let request = request("OPTIONS", &headers);
            cors.preflight(&request, &cors.page(&request))
        };
        let told = asked("https://app.example").unwrap();
        assert_eq!(told.status(), 204);
        assert_eq!(told.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example");
        assert_eq!(told.headers()[ACCESS_CONTROL_ALLOW_HEADERS], "weft-key, content-type");
        assert!(asked("https://other.example").is_none());
        let any = Cors::new(vec!["*".to_owned()]);
        let mut response = Response::new(Body::empty());
        any.mark(&any.page(&request("GET", &[("origin", "https://x.example")])), &mut response);
        assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert!(!response.headers().contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS), "not to anybody");
    }

    #[test]
    fn an_origin_is_a_scheme_a_host_and_a_port() {
        for good in ["https://app.example", "http://localhost:5173", "https://[::1]:8443", "*"] {
            assert!(is_origin(good), "{good}");
        }
        for bad in ["app.example", "https://", "https://app.example/", "ftp://a", "https://*.example", "null", ""] {
            assert!(!is_origin(bad), "{bad}");
        }
    }
}
