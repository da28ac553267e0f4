//! One request to a receiver, and what it says to that.
//!
//! A receiver may be slow, hang, send without end or send elsewhere: a request has
//! the patience that is configured, an answer [`MAX_ANSWER`] bytes, and nothing that
//! it says leads to another address. With https it must show a certificate of the
//! authorities given, or of those that the machine trusts.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::http::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER, TE, USER_AGENT};
use axum::http::{Request, Uri, Version};
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};

use super::options::{Headers, OtlpOptions, Protocol};
use super::proto::Exported;

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 << 10;
/// The longest time that a receiver is taken at its word to come again after.
const MAX_RETRY: Duration = Duration::from_secs(60);
/// What is said to be asking.
const AGENT: &str = concat!("weft/", env!("CARGO_PKG_VERSION"));

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Traces,
    Logs,
}

impl What {
    const fn path(self, protocol: Protocol) -> &'static str {
        match (self, protocol) {
            (Self::Traces, Protocol::Grpc) => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            (Self::Logs, Protocol::Grpc) => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            (Self::Traces, Protocol::Http) => "/v1/traces",
            (Self::Logs, Protocol::Http) => "/v1/logs",
        }
    }
}

/// Why a request was in vain.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) why: String,
    /// Whether the same may go through later, as OTLP has it.
    pub(super) again: bool,
    /// When, if the receiver said so.
    pub(super) after: Option<Duration>,
}

impl Failure {
    fn later(why: impl ToString) -> Self {
        Self { why: why.to_string(), again: true, after: None }
    }
}

/// Sends requests to a receiver.
pub(super) enum Talk {
    Http { agent: ureq::Agent, base: String, headers: Headers },
    Grpc(Box<Grpc>),
}

impl Talk {
    /// # Errors
    /// The file of authorities cannot be read, or the system gives no runtime.
    pub(super) fn new(options: &OtlpOptions) -> anyhow::Result<Self> {
        let uri = options.uri().context("telemetry.otlp.endpoint is no address")?;
        let is_secure = uri.scheme_str() == Some("https");
        let authorities = if is_secure { authorities(options.ca.as_deref())? } else { Vec::new() };
        let headers = options.headers.clone();
        Ok(match options.protocol {
            Protocol::Http => {
                let base = options.endpoint.trim_end_matches('/').to_owned();
                Self::Http { agent: agent(authorities, options.patience), base, headers }
            }
            Protocol::Grpc => {
                let tls = is_secure.then(|| connector(&authorities)).transpose()?;
                let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
                let patience = options.patience;
                Self::Grpc(Box::new(Grpc { uri, tls, headers, patience, runtime, open: None }))
            }
        })
    }

    /// Sends one; answers how many of it the receiver refused, and why.
    pub(super) fn send(&mut self, what: What, body: Vec<u8>) -> Result<Option<(i64, String)>, Failure> {
        let answer = match self {
            Self::Http { agent, base, headers } => {
                post(agent, &format!("{base}{}", what.path(Protocol::Http)), headers, body)?
            }
            Self::Grpc(grpc) => grpc.call(what.path(Protocol::Grpc), &body)?,
        };
        // What is no message says nothing of what was refused.
        let partial = Exported::decode(answer.as_ref()).ok().and_then(|answer| answer.partial_success);
        Ok(partial.filter(|partial| partial.rejected > 0).map(|partial| (partial.rejected, partial.error_message)))
    }
}

fn agent(authorities: Vec<Certificate<'static>>, patience: Duration) -> ureq::Agent {
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .root_certs(RootCerts::Specific(Arc::new(authorities)))
        .build();
    ureq::Agent::config_builder()
        .tls_config(tls)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .timeout_global(Some(patience))
        .proxy(None)
        .user_agent(AGENT)
        .build()
        .into()
}

fn post(agent: &ureq::Agent, url: &str, headers: &Headers, body: Vec<u8>) -> Result<Bytes, Failure> {
    let mut request = agent.post(url).header(CONTENT_TYPE, "application/x-protobuf");
    for (name, value) in &headers.0 {
        request = request.header(name.clone(), value.clone());
    }
    let mut answer = request.send(body).map_err(Failure::later)?;
    let (status, after) = (answer.status().as_u16(), retry_after(answer.headers()));
    let bytes = answer.body_mut().with_config().limit(MAX_ANSWER as u64).read_to_vec();
    match status {
        200..=299 => Ok(bytes.unwrap_or_default().into()),
        // OTLP 1, "Failures": these may be tried again, and no other.
        429 | 502 | 503 | 504 => Err(Failure { after, ..Failure::later(format!("the receiver answers {status}")) }),
        _ => Err(Failure { again: false, ..Failure::later(format!("the receiver answers {status}")) }),
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY))
}

/// Those of a file, or those that the machine trusts.
fn authorities(file: Option<&Path>) -> anyhow::Result<Vec<Certificate<'static>>> {
    let Some(path) = file else {
        let found = rustls_native_certs::load_native_certs();
        return Ok(found.certs.iter().map(|der| Certificate::from_der(der).to_owned()).collect());
    };
    let pem = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.with_context(|| format!("{} is no PEM", path.display()))? {
            found.push(certificate);
        }
    }
    anyhow::ensure!(!found.is_empty(), "{} has no certificate in it", path.display());
    Ok(found)
}

fn connector(authorities: &[Certificate<'_>]) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities.iter().map(|authority| authority.der().to_vec().into()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("no version of TLS is left")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// A connection for gRPC, opened when something is to be sent and kept for the next.
pub(super) struct Grpc {
    uri: Uri,
    tls: Option<TlsConnector>,
    headers: Headers,
    patience: Duration,
    runtime: tokio::runtime::Runtime,
    open: Option<h2::client::SendRequest<Bytes>>,
}

impl Grpc {
    fn call(&mut self, path: &str, message: &[u8]) -> Result<Bytes, Failure> {
        let Self { uri, tls, headers, patience, runtime, open } = self;
        let kept = open.take();
        let whole = async {
            // A connection that was kept may have ended since: then a new one.
            let ready = match kept {
                Some(kept) => kept.ready().await.ok(),
                None => None,
            };
            let ready = match ready {
                Some(ready) => ready,
                None => connect(uri, tls.as_ref()).await?,
            };
            let again = ready.clone();
            unary(ready, uri, path, headers, message).await.map(|answer| (answer, again))
        };
        let (answer, kept) = runtime
            .block_on(async { timeout(*patience, whole).await })
            .unwrap_or_else(|_| Err(Failure::later("the receiver does not answer in time")))?;
        *open = Some(kept);
        Ok(answer)
    }
}

async fn connect(uri: &Uri, tls: Option<&TlsConnector>) -> Result<h2::client::SendRequest<Bytes>, Failure> {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
    let socket = TcpStream::connect((host, port)).await.map_err(Failure::later)?;
    let _ = socket.set_nodelay(true);
    let Some(tls) = tls else { return handshake(socket).await };
    let name = ServerName::try_from(host.to_owned()).map_err(Failure::later)?;
    handshake(tls.connect(name, socket).await.map_err(Failure::later)?).await
}

async fn handshake<S>(stream: S) -> Result<h2::client::SendRequest<Bytes>, Failure>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (send, connection) = h2::client::Builder::new()
        .enable_push(false)
        .max_header_list_size(16 << 10)
        .handshake(stream)
        .await
        .map_err(Failure::later)?;
    // It ends with the last `SendRequest`, or when the other end is gone.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    send.ready().await.map_err(Failure::later)
}

/// One request, and its answer (gRPC over HTTP/2, "Requests" and "Responses").
async fn unary(
    mut send: h2::client::SendRequest<Bytes>,
    uri: &Uri,
    path: &str,
    headers: &Headers,
    message: &[u8],
) -> Result<Bytes, Failure> {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let scheme = uri.scheme_str().unwrap_or("http");
    let mut request = Request::post(format!("{scheme}://{authority}{path}"))
        .version(Version::HTTP_2)
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header(USER_AGENT, AGENT)
        .body(())
        .map_err(Failure::later)?;
    for (name, value) in &headers.0 {
        request.headers_mut().append(name.clone(), value.clone());
    }
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(message);
    let (response, mut body) = send.send_request(request, false).map_err(Failure::later)?;
    body.send_data(framed.freeze(), true).map_err(Failure::later)?;
    let response = response.await.map_err(Failure::later)?;
    let status = response.status();
    if status != 200 {
        let again = matches!(status.as_u16(), 429 | 502 | 503 | 504);
        return Err(Failure { again, ..Failure::later(format!("the receiver answers {status}")) });
    }
    // An error at once has its status in the head, and no body.
    let mut said = outcome(response.headers());
    let mut stream = response.into_body();
    let mut answer = BytesMut::new();
    while let Some(part) = stream.data().await {
        let part = part.map_err(Failure::later)?;
        let _ = stream.flow_control().release_capacity(part.len());
        if answer.len() + part.len() > MAX_ANSWER {
            return Err(Failure { again: false, ..Failure::later("the receiver's answer is too long") });
        }
        answer.extend_from_slice(&part);
    }
    if said.is_none() {
        said = stream.trailers().await.map_err(Failure::later)?.as_ref().and_then(outcome);
    }
    match said {
        // Not compressed: nothing was offered.
        Some(Ok(())) => Ok(answer.freeze().get(5..).map(Bytes::copy_from_slice).unwrap_or_default()),
        Some(Err(failure)) => Err(failure),
        None => Err(Failure::later("the receiver ends its answer without a status of gRPC")),
    }
}

/// The status of gRPC in these headers.
fn outcome(headers: &HeaderMap) -> Option<Result<(), Failure>> {
    let code: u32 = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
    if code == 0 {
        return Some(Ok(()));
    }
    let text: String = headers
        .get("grpc-message")
        .and_then(|message| message.to_str().ok())
        .map(|message| message.chars().take(200).collect())
        .unwrap_or_default();
    // OTLP 1, "Failures": cancelled, deadline exceeded, resource exhausted, aborted,
    // out of range, unavailable and data loss may be tried again.
    let again = matches!(code, 1 | 4 | 8 | 10 | 11 | 14 | 15);
    Some(Err(Failure { again, ..Failure::later(format!("the receiver answers gRPC status {code}: {text}")) }))
}
