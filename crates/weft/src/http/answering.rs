//! The answer to any request: with its id, counted, bounded, and for pages of other
//! origins only where they are named; the routers of the areas say what is in it.
//!
//! A request is moved each time that it is handed on, and a server has many under way:
//! so all that can be done at once is done as it comes, and what waits is a plain
//! [`Answering`] and no pile of them.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use axum::routing::future::RouteFuture;
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tokio::time::error::Elapsed;
use tokio::time::{Timeout, timeout};
use tower_service::Service as _;
use weft_base::Mono;

use super::answer::Refusal;
use super::cors::{self, Page};
use super::ids;
use super::serve::{Busy, Shared, count};
use super::stay::Stay;
use super::told::Told;
use super::who::{self, Caller};

pin_project! {
    /// A request that is being answered.
    pub(super) struct Answering {
        #[pin]
        area: Option<who::Asked<Timeout<RouteFuture<Infallible>>>>,
        // Of a request that comes to no area.
        refused: Option<Response<Body>>,
        request: Known,
        shared: Arc<Shared>,
        // The connection is in use.
        busy: Busy,
    }
}

/// What is still to be known of a request when it is answered.
struct Known {
    id: HeaderValue,
    method: Method,
    uri: Uri,
    page: Page,
    caller: Arc<Caller>,
    stay: Arc<Stay>,
    begun: Mono,
}

impl Answering {
    /// Begins to answer a request, by a runtime that is there.
    pub(super) fn begin(
        shared: Arc<Shared>,
        mut request: Request<Incoming>,
        caller: Arc<Caller>,
        stay: Arc<Stay>,
    ) -> Self {
        let (serving, busy) = (&shared.serving, stay.keep());
        count(&serving.counters.http_requests);
        let id = serving.ids.take(request.headers_mut());
        // Its parts are shared, not copied.
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let (page, begun) = (serving.cors.page(&request), serving.clock.now().mono);
        let known = Known { id, method, uri, page, caller, stay, begun };
        let (area, refused) = match known.refusal(&shared, &request) {
            Some(refused) => (None, Some(refused)),
            None => {
                request.extensions_mut().insert(known.caller.clone());
                request.extensions_mut().insert(known.stay.clone());
                let area = serving.router.clone().call(request);
                (Some(who::asked(timeout(serving.options.patience, area))), None)
            }
        };
        Self { area, refused, request: known, shared, busy }
    }
}

impl Future for Answering {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let (mut response, asker) = match this.area.as_mut().as_pin_mut() {
            None => (this.refused.take().unwrap_or_default(), None),
            Some(mut area) => {
                let answered = ready!(area.as_mut().poll(cx));
                (this.request.answered(this.shared, answered), who::asker(area))
            }
        };
        let (known, serving) = (this.request, &this.shared.serving);
        serving.cors.mark(&known.page, &mut response);
        serving.tally.count(known.uri.path(), response.status().as_u16());
        let told = Told {
            status: response.status(),
            method: &known.method,
            path: known.uri.path(),
            from: known.caller.from.ip(),
            asker: asker.as_deref(),
        };
        told.say(&known.id, || serving.clock.now().mono.since(known.begun));
        response.headers_mut().insert(ids::REQUEST_ID, known.id.clone());
        Poll::Ready(Ok(response))
    }
}

impl Known {
    /// The answer to a request that comes to no area; with none it has its place among
    /// those under way.
    fn refusal(&self, shared: &Shared, request: &Request<Incoming>) -> Option<Response<Body>> {
        let (serving, from) = (&shared.serving, self.caller.from.ip());
        if let Some(response) = serving.cors.preflight(request, &self.page) {
            return Some(response);
        }
        if self.page == Page::Foreign && !cors::only_looks(request) {
            let text = "a page of another origin may not use this hub: name its origin in http.cors_origins";
            return Some(self.refused(Refusal::new(403, 403, text)));
        }
        if !self.caller.was_let_in()
            && let Err(after) = shared.sources.may_try(from, self.begun)
        {
            count(&serving.counters.http_limited);
            let seconds = after.as_secs().saturating_add(1);
            let text = format!(
                "too many requests from this address have not shown who they are (http.failures_per_source): \
                 come again in {seconds} s"
            );
            return Some(self.refused(Refusal { retry: Some(seconds), ..Refusal::new(429, 429, text) }));
        }
        if let Err(refusal) = self.caller.check(&*serving.clock) {
            shared.sources.failed(from, self.begun);
            return Some(self.refused(refusal));
        }
        let Ok(place) = shared.requests.clone().try_acquire_owned() else {
            count(&serving.counters.http_crowded);
            let text = "more requests are under way than the hub takes (http.requests)";
            return Some(self.refused(Refusal::soon(503, 503, text)));
        };
        self.stay.take_place(place);
        None
    }

    /// What an area answered, if it did in time.
    fn answered(
        &self,
        shared: &Shared,
        answered: Result<Result<Response<Body>, Infallible>, Elapsed>,
    ) -> Response<Body> {
        self.stay.give_way();
        match answered {
            Ok(Ok(response)) => {
                if response.status() == StatusCode::UNAUTHORIZED {
                    shared.sources.failed(self.caller.from.ip(), shared.serving.clock.now().mono);
                }
                response
            }
            Ok(Err(never)) => match never {},
            Err(_) => {
                count(&shared.serving.counters.http_late);
                let text = "the request took longer than the hub waits (http.patience); send it again";
                self.refused(Refusal::soon(503, 503, text))
            }
        }
    }

    fn refused(&self, refusal: Refusal) -> Response<Body> {
        refusal.response_for(self.uri.path(), self.id.to_str().unwrap_or_default())
    }
}
