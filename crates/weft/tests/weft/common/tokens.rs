//! Who signs tokens, and serves the keys for them by HTTPS: for tests of logins with
//! hubs in processes of their own, and for those in `src/login`.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use weft_base::{Clock as _, SystemClock, UnixNanos};
use weft_transport::{Authority, PeerKind};

/// For how long certificates are good.
pub const DAY: Duration = Duration::from_secs(86_400);

pub fn now() -> UnixNanos {
    SystemClock::new().now().wall
}

pub fn seconds() -> u64 {
    now().0 / 1_000_000_000
}

/// Who signs tokens.
pub struct Signer(Ed25519KeyPair, &'static str);

impl Signer {
    pub fn new(kid: &'static str) -> Self {
        Self(Ed25519KeyPair::generate().expect("a key"), kid)
    }

    pub fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.0.public_key());
        json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": self.1, "x": x})
    }

    /// A token of `corp` for somebody of these groups, that is over at this time.
    pub fn token(&self, subject: &str, groups: &[&str], until: u64) -> String {
        let claims = json!({"iss": "corp", "aud": "weft", "sub": subject, "exp": until, "groups": groups});
        let signed = format!("{}.{}", part(&json!({"alg": "EdDSA", "kid": self.1})), part(&claims));
        let key = EncodingKey::from_ed_der(self.0.to_pkcs8v1().expect("a key").as_ref());
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, Algorithm::EdDSA).expect("signed");
        format!("{signed}.{signature}")
    }
}

/// A part of a token.
pub fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// A server of keys, by HTTPS.
pub struct Keys {
    address: SocketAddr,
    /// The head and the body of its answer; none: it takes the question and says nothing.
    answer: Arc<Mutex<Option<String>>>,
}

impl Keys {
    /// With a certificate of this authority, for `localhost`.
    pub fn start(authority: &Authority) -> Self {
        let issued = authority.issue(PeerKind::Hub, "keys", &["localhost"], now(), DAY).expect("a certificate");
        let chain = vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).expect("PEM")];
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("PEM");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a certificate");
        let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").expect("a port"));
        let keys = Self { address: listener.local_addr().expect("an address"), answer: Arc::default() };
        let answer = keys.answer.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (config, answer) = (config.clone(), answer.clone());
                std::thread::spawn(move || {
                    let connection = rustls::ServerConnection::new(config).expect("TLS");
                    let mut stream = rustls::StreamOwned::new(connection, socket);
                    let (mut asked, mut byte) = (Vec::new(), [0]);
                    while !asked.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
                        asked.push(byte[0]);
                    }
                    let answer = answer.lock().expect("whole").clone();
                    match answer {
                        Some(answer) => drop(stream.write_all(answer.as_bytes())),
                        // Until the other side has had enough of it.
                        None => drop(stream.read(&mut byte)),
                    }
                });
            }
        });
        keys
    }

    pub fn url(&self) -> String {
        format!("https://localhost:{}/keys", self.address.port())
    }

    pub fn say(&self, answer: Option<String>) {
        *self.answer.lock().expect("whole") = answer;
    }

    pub fn serve(&self, keys: &[Value]) {
        self.say(Some(ok(&json!({"keys": keys}).to_string())));
    }
}

/// An answer that is good.
pub fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}
