//! Requests by HTTP/1.1, byte by byte as the tests want them.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

/// The longest that an answer may take; only a failure takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// All headers as they came, in small letters.
    pub head: String,
    pub body: String,
}

impl Answer {
    /// What came; status 0 where the connection ended without an answer.
    pub fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The code of the registry's errors.
    pub fn code(&self) -> u64 {
        self.json()["error_code"].as_u64().unwrap_or_else(|| panic!("no error: {self:?}"))
    }
}

pub fn connect(address: &str) -> TcpStream {
    let socket = TcpStream::connect(address).expect("the server listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time");
    socket.set_write_timeout(Some(PATIENCE)).expect("a time");
    socket
}

/// Sends bytes and reads to the end of the connection. Bytes that nobody takes any
/// more are no fault of the test's.
pub fn raw(mut stream: impl Read + Write, bytes: &[u8]) -> Answer {
    let _ = stream.write_all(bytes);
    let _ = stream.flush();
    read(stream)
}

pub fn read(mut stream: impl Read) -> Answer {
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    // An end without a farewell is an end too.
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        answer.extend_from_slice(&buffer[..read]);
    }
    Answer::of(&answer)
}

pub fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: hub\r\nconnection: close\r\ncontent-length: {length}\r\n\
         content-type: application/vnd.schemaregistry.v1+json\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A request without TLS, and its answer.
pub fn ask(address: &str, method: &str, path: &str, body: &str) -> Answer {
    raw(connect(address), &request(method, path, body))
}

/// TLS as a client that trusts the authority of a folder, and shows the certificate
/// of this name there, if there is one.
pub fn tls(folder: &Path, client: Option<&str>, protocols: &[&str]) -> Arc<ClientConfig> {
    let pem = |name: String| fs::read(folder.join(name)).expect("a file");
    let certificates = |name: String| CertificateDer::pem_slice_iter(&pem(name)).map(|c| c.expect("PEM")).collect();
    let mut roots = RootCertStore::empty();
    let authorities: Vec<CertificateDer<'static>> = certificates("ca.pem".to_owned());
    for authority in authorities {
        roots.add(authority).expect("an authority");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots);
    let mut config = match client {
        Some(name) => {
            let key = PrivateKeyDer::from_pem_slice(&pem(format!("{name}.key"))).expect("a key");
            config.with_client_auth_cert(certificates(format!("{name}.pem")), key).expect("a certificate")
        }
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// A request with TLS, and its answer.
pub fn ask_tls(address: &str, config: &Arc<ClientConfig>, method: &str, path: &str, body: &str) -> Answer {
    raw_tls(address, config, &request(method, path, body))
}

/// The same of bytes.
pub fn raw_tls(address: &str, config: &Arc<ClientConfig>, bytes: &[u8]) -> Answer {
    let host = ServerName::try_from("127.0.0.1").expect("an address");
    let session = ClientConnection::new(config.clone(), host).expect("a session");
    raw(StreamOwned::new(session, connect(address)), bytes)
}
