//! `/livez` and `/readyz`: for whoever starts hubs again, or sends clients to them
//! (Kubernetes, load balancers).
//!
//! A hub lives while its server answers, and is ready while it does not send its
//! clients elsewhere. The server listens once the hub does, so before that nothing
//! answers. Open to whoever reaches the address: they say no more than that. They ask
//! the hub nothing, so that a loaded hub is not taken for a dead one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::State as Area;
use axum::http::Response;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use axum::routing::get;

use super::problem::Problem;

/// Their routes. `leaving`: whether the hub sends its clients elsewhere.
pub(super) fn router(leaving: Arc<AtomicBool>) -> Router {
    Router::new().route("/livez", get(|| async { well() })).route("/readyz", get(ready)).with_state(leaving)
}

async fn ready(Area(leaving): Area<Arc<AtomicBool>>) -> Response<Body> {
    if leaving.load(Ordering::Relaxed) {
        return Problem::soon(503, "draining", "the hub is about to stop: ask another hub", 5).response("");
    }
    well()
}

/// That all is well now: no cache between may say so later.
fn well() -> Response<Body> {
    let mut response = Response::new(Body::from("ok\n"));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
