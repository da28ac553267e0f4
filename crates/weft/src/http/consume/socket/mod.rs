//! WebSocket (RFC 6455) at `/v1/ws`: events by credit, settling and publishing over one
//! socket, in JSON. [`said`] is what comes over it, [`tail`] what is subscribed to,
//! [`talk`] the whole.
//!
//! The socket lives as long as its connection's task, so that it has that one's place;
//! it counts as one who listens ([`Seats`](super::super::seats::Seats)) and ends as
//! those do: when the hub drains or stops, when its login stands no more, and when
//! nothing is taken or heard.
//!
//! Bounded: [`TAILS`] subscriptions of a socket, [`WORK`] publishes and settlements under
//! way, a message of `[http] body`, and what is unsent: [`UNSENT`] messages, beyond which
//! nothing is taken from the hub.

mod said;
mod tail;
mod talk;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, Request, State as Area};
use axum::http::header::{
    CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::{HeaderMap, Method, Response, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::super::ids;
use super::super::problem::Problem;
use super::super::query::Query;
use super::super::serve::HEAD_TIME;
use super::super::stay::Stay;
use super::super::who::Caller;
use super::Consume;

/// Subscriptions of one socket.
const TAILS: usize = 32;
/// Publishes, and settlements, of one socket that are under way.
const WORK: usize = 256;
/// Messages that wait to be written.
const UNSENT: usize = 4;
/// What is gathered before it is written.
const GATHERED: usize = 32 << 10;
/// The least that a message may have, whatever `[http] body` says.
const LEAST_MESSAGE: usize = 64 << 10;
/// The version of the protocol.
const VERSION: &str = "13";
/// What is spoken over it, as browsers may ask for it.
const PROTOCOL: &str = "weft";

pub(super) async fn open(
    Area(area): Area<Arc<Consume>>,
    Extension(caller): Extension<Arc<Caller>>,
    Extension(stay): Extension<Arc<Stay>>,
    request: Request,
) -> Response<Body> {
    let id = ids::of(request.headers()).to_owned();
    let opened = upgrade(&area, &caller, &stay, request).await;
    opened.unwrap_or_else(|problem| {
        let mut response = problem.response(&id);
        if response.status() == StatusCode::UPGRADE_REQUIRED {
            let headers = response.headers_mut();
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION));
        }
        response
    })
}

async fn upgrade(
    area: &Arc<Consume>,
    caller: &Caller,
    stay: &Arc<Stay>,
    mut request: Request,
) -> Result<Response<Body>, Problem> {
    let who = area.who.asks(caller, request.headers()).await?;
    Query::of(request.uri(), &[])?;
    let accept = accepts(request.method(), request.headers())?;
    let is_named = has_token(request.headers(), &SEC_WEBSOCKET_PROTOCOL, PROTOCOL);
    let upgrade = request.extensions_mut().remove::<OnUpgrade>().ok_or_else(no_upgrade)?;
    let seated = area.seats.take(&who.login, stay)?;
    // It has a seat from here on.
    stay.give_way();
    let most = area.message_bytes.max(LEAST_MESSAGE);
    let config = WebSocketConfig::default()
        .read_buffer_size(8 << 10)
        .write_buffer_size(GATHERED)
        .max_message_size(Some(most))
        .max_frame_size(Some(most));
    let area = area.clone();
    stay.go_on(Box::pin(async move {
        let Ok(Ok(upgraded)) = timeout(HEAD_TIME, upgrade).await else { return };
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
        talk::talk(area, who, seated, socket).await;
    }));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if is_named {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    }
    Ok(response)
}

fn no_upgrade() -> Problem {
    let text = "open a WebSocket here, by HTTP/1.1 (RFC 6455, version 13)";
    Problem::new(426, "upgrade_required", text)
}

/// The answer to the key of who asks for a WebSocket (RFC 6455, 4.2.1).
fn accepts(method: &Method, headers: &HeaderMap) -> Result<HeaderValue, Problem> {
    let is_asked = *method == Method::GET
        && has_token(headers, &CONNECTION, "upgrade")
        && has_token(headers, &UPGRADE, "websocket")
        && headers.get(SEC_WEBSOCKET_VERSION).is_some_and(|version| version == VERSION);
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    let (Some(key), None, true) = (keys.next(), keys.next(), is_asked) else { return Err(no_upgrade()) };
    let is_key = STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16);
    if !is_key {
        return Err(Problem::new(400, "bad_header", "the header sec-websocket-key: it is no base64 of 16 bytes"));
    }
    let accept = derive_accept_key(key.as_bytes());
    HeaderValue::from_str(&accept).map_err(|_| no_upgrade())
}

/// Whether a list in headers has a token.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let lists = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|found| found.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_a_websocket_is_told_apart_from_who_does_not() {
        let of = |changed: &str, to: Option<&str>| {
            let mut headers = HeaderMap::new();
            for (name, value) in [
                ("connection", "keep-alive, Upgrade"),
                ("upgrade", "WebSocket"),
                ("sec-websocket-version", "13"),
                ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ] {
                if let Some(value) = if name == changed { to } else { Some(value) } {
                    headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"));
                }
            }
            accepts(&Method::GET, &headers).map_err(|problem| problem.status)
        };
        // The example of RFC 6455, 1.3.
        assert_eq!(of("", None), Ok(HeaderValue::from_static("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")));
        for name in ["connection", "upgrade", "sec-websocket-version", "sec-websocket-key"] {
            assert_eq!(of(name, None), Err(426), "{name}");
        }
        assert_eq!(of("sec-websocket-version", Some("8")), Err(426));
        assert_eq!(of("sec-websocket-key", Some("c2hvcnQ=")), Err(400));
        assert_eq!(of("sec-websocket-key", Some("!")), Err(400));
        assert_eq!(accepts(&Method::POST, &HeaderMap::new()).map_err(|problem| problem.status), Err(426));
    }
}
