//! The body of an answer that goes on: what its source has, a comment now and then so
//! that everybody between knows that it is there, and, at its end, why.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::Response;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use futures_lite::Stream;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::super::seats::{Over, Seated};
use super::event;

/// What comes first: who listens is there; and how long to wait, in milliseconds,
/// before it is asked for again.
const GREETING: &[u8] = b"retry: 2000\n\n";
/// What says that the connection is there.
const HEARTBEAT: &[u8] = b":\n\n";
/// Tells proxies not to gather it.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Where what is sent comes from.
pub(super) trait Source: Send + Unpin + 'static {
    /// What goes next, or why nothing more does.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Over>>;
}

/// The whole.
struct Listening<S> {
    seated: Seated,
    source: S,
    beat: Interval,
    is_greeted: bool,
    is_over: bool,
}

/// The answer.
pub(super) fn answer(seated: Seated, every: Duration, source: impl Source) -> Response<Body> {
    let mut beat = interval(every);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first is at once.
    beat.reset();
    let listening = Listening { seated, source, beat, is_greeted: false, is_over: false };
    let mut response = Response::new(Body::from_stream(listening));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(UNBUFFERED, HeaderValue::from_static("no"));
    response
}

impl<S: Source> Stream for Listening<S> {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if !this.is_greeted {
            this.is_greeted = true;
            return Poll::Ready(Some(Ok(Bytes::from_static(GREETING))));
        }
        if this.is_over {
            return Poll::Ready(None);
        }
        let mut over = this.seated.over(cx.waker());
        if over.is_none() {
            match this.source.poll_next(cx) {
                Poll::Ready(Ok(bytes)) => return Poll::Ready(Some(Ok(bytes))),
                Poll::Ready(Err(why)) => over = Some(why),
                Poll::Pending => {}
            }
        }
        if let Some(over) = over {
            this.is_over = true;
            let mut out = Vec::new();
            event::end(&mut out, &over.code, &over.detail);
            return Poll::Ready(Some(Ok(out.into())));
        }
        if this.beat.poll_tick(cx).is_ready() {
            return Poll::Ready(Some(Ok(Bytes::from_static(HEARTBEAT))));
        }
        Poll::Pending
    }
}
