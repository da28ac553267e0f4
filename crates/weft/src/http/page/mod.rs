//! The dashboard's page: files that are part of the program, below `/ui/`. They are
//! what `web/` gives when it is built (`cargo xtask web`, docs/adr/0051), so that a
//! hub serves it with no other file and from no other host.
//!
//! Nobody has to log in for them: they are the same everywhere and say nothing of the
//! mesh. What a browser may do with them stands in [`POLICY`]: no script, style, image
//! or request that is not of this very address.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::http::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName,
    HeaderValue, IF_NONE_MATCH, LOCATION, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::get;

use super::problem::Problem;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file: plain, and as gzip makes it.
struct File {
    name: &'static str,
    kind: &'static str,
    plain: &'static [u8],
    packed: &'static [u8],
}

macro_rules! files {
    ($($name:literal: $kind:literal),+ $(,)?) => {
        &[$(File {
            name: $name,
            kind: $kind,
            plain: include_bytes!(concat!("../../../../../web/dist/", $name)),
            packed: include_bytes!(concat!("../../../../../web/dist/", $name, ".gz")),
        }),+]
    };
}

const FILES: &[File] = files![
    "index.html": "text/html; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "land.json": "application/json",
    "icon.svg": "image/svg+xml",
];

/// Its routes.
pub(super) fn router() -> Router {
    Router::new()
        .route("/ui", get(|| async { elsewhere(StatusCode::PERMANENT_REDIRECT) }))
        .route("/ui/", get(|headers: HeaderMap| async move { serve("index.html", &headers) }))
        .route("/ui/{name}", get(|Path(name): Path<String>, headers: HeaderMap| async move { serve(&name, &headers) }))
}

/// Whether somebody reads the answer: a browser says so.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let accepts = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepts.split(',').any(|one| one.trim_start().starts_with("text/html"))
}

/// That the page is in its folder, to which addresses in it are relative.
pub(super) fn elsewhere(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(LOCATION, HeaderValue::from_static("/ui/"));
    response
}

fn serve(name: &str, headers: &HeaderMap) -> Response<Body> {
    let Some(file) = FILES.iter().find(|file| file.name == name) else {
        return Problem::new(404, "not_found", "the page has no such file: it is at /ui/").response("");
    };
    let tag = tag(file);
    let is_known = headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let takes = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_packed = takes.split(',').any(|one| one.split(';').next().is_some_and(|name| name.trim() == "gzip"));
    let bytes = match (is_known, is_packed) {
        (true, _) => Bytes::new(),
        (false, true) => Bytes::from_static(file.packed),
        (false, false) => Bytes::from_static(file.plain),
    };
    let mut response = Response::new(Body::from(bytes));
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let mut set = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    };
    set(CONTENT_TYPE, file.kind);
    set(CONTENT_SECURITY_POLICY, POLICY);
    set(X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(REFERRER_POLICY, "no-referrer");
    // Names stay the same from version to version: it is asked each time whether there is another.
    set(CACHE_CONTROL, "no-cache");
    set(ETAG, &tag);
    set(VARY, "accept-encoding");
    if is_packed && !is_known {
        set(CONTENT_ENCODING, "gzip");
    }
    response
}

/// Another for each content.
fn tag(file: &File) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, file.plain);
    let text: String = hash.as_ref().iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{text}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a browser loads at most, compressed.
    const MOST: usize = 200_000;

    #[test]
    fn the_page_is_small_and_each_file_is_packed() {
        let all: usize = FILES.iter().map(|file| file.packed.len()).sum();
        assert!(all < MOST, "{all} bytes");
        for file in FILES {
            assert!(file.packed.starts_with(&[0x1f, 0x8b]), "{} is no gzip", file.name);
            // The last four bytes say how long it was (RFC 1952).
            let length = file.packed.last_chunk::<4>().map_or(0, |bytes| u32::from_le_bytes(*bytes));
            assert_eq!(length as usize, file.plain.len(), "{} is another file", file.name);
        }
    }

    #[test]
    fn a_file_is_served_once_and_then_known_with_a_policy_that_lets_nothing_else_in() {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("br, gzip;q=0.8"));
        let first = serve("page.js", &headers);
        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(first.headers()[CONTENT_ENCODING], "gzip");
        assert!(first.headers()[CONTENT_SECURITY_POLICY].to_str().is_ok_and(|policy| policy.contains("'none'")));
        assert!(!POLICY.contains("unsafe") && !POLICY.contains("http"));
        assert_eq!(first.headers()[X_CONTENT_TYPE_OPTIONS], "nosniff");
        headers.insert(IF_NONE_MATCH, first.headers()[ETAG].clone());
        assert_eq!(serve("page.js", &headers).status(), StatusCode::NOT_MODIFIED);
        assert!(serve("page.js", &HeaderMap::new()).headers().get(CONTENT_ENCODING).is_none());
        for name in ["", "..", "../Cargo.toml", "nothing.js"] {
            assert_eq!(serve(name, &HeaderMap::new()).status(), StatusCode::NOT_FOUND, "{name}");
        }
    }

    #[test]
    fn the_page_has_no_script_within_and_no_address_of_another_host() {
        let text = FILES.iter().find(|file| file.name == "index.html").map(|file| file.plain).expect("the page");
        let text = std::str::from_utf8(text).expect("text");
        assert!(text.contains("<script type=\"module\"") && !text.contains("<style"), "{text}");
        assert!(!text.contains("//"), "{text}");
    }
}
