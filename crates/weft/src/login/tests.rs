//! Logins over real sockets: a hub with TLS, clients of the three kinds, a server
//! of keys by HTTPS.

use std::sync::Arc;
use std::time::Duration;

use futures_lite::future::block_on;
use serde_json::{Value, json};
use weft_base::SystemClock;
use weft_client::{Client, ConnectError, ConnectOptions, PublisherOptions, Status};
use weft_govern::access::{Method, Principal};
use weft_govern::login::{Login, Proof};
use weft_govern::{Key, State};
use weft_hub::options::Listen;
use weft_hub::{Environment, Governed, Hub, HubOptions};
use weft_login::{Hash, Limits};
use weft_transport::{Authority, PeerKind, Security, TlsIdentity};
use weft_wire::ErrorCode;

use self::tokens::{DAY, Keys, Signer, now, ok, seconds};
use super::{KeyServer, Porter, Roots, Vouchers};

#[path = "../../tests/weft/common/tokens.rs"]
#[allow(unreachable_pub, reason = "shared with the tests of the program")]
mod tokens;

/// A token that is good for so long.
fn token(signer: &Signer, subject: &str, valid_for: u64) -> Vec<u8> {
    signer.token(subject, &[], seconds() + valid_for).into_bytes()
}

/// A hub that asks who its clients are, and what it needs for that.
struct Site {
    authority: Authority,
    hub: Option<Hub>,
    governed: Governed,
    vouchers: Arc<Vouchers>,
    folder: tempfile::TempDir,
}

impl Site {
    fn new(documents: &[(&str, Value)]) -> Self {
        let authority = Authority::create("test", now(), DAY).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, authority.certificate_pem()).unwrap();
        let vouchers = Arc::new(Vouchers::new(Arc::new(SystemClock::new())));
        let governed = Governed::default();
        let mut site = Self { authority, hub: None, governed, vouchers: vouchers.clone(), folder };
        site.put(documents);
        let mut options = HubOptions::new("hub");
        let security = site.security(PeerKind::Hub, "hub");
        options.clients.push(Listen { addr: "127.0.0.1:0".to_owned(), security });
        let socket = format!("shm:{}", site.folder.path().join("own.sock").display());
        options.clients.push(Listen { addr: socket, security: Security::Plain });
        options.timers.drain = Duration::from_millis(300);
        let server = KeyServer::new(&Roots::File(ca)).unwrap();
        let door = Porter::new(Limits::default(), server, vouchers).unwrap();
        let environment = Environment {
            door: Some(Box::new(door)),
            governed: site.governed.clone(),
            ..Environment::of_machine(&options).unwrap()
        };
        site.hub = Some(Hub::start_in(options, environment).unwrap());
        site
    }

    fn put(&self, documents: &[(&str, Value)]) {
        let put = |(key, document): &(&str, Value)| (Key::parse(key).unwrap(), document.to_string().into());
        let before: Arc<State> = self.governed.state();
        assert!(self.governed.put(Arc::new(before.with(documents.iter().map(put), &[]))));
    }

    fn security(&self, kind: PeerKind, name: &str) -> Security {
        let issued = self.authority.issue(kind, name, &["localhost", "127.0.0.1"], now(), DAY).unwrap();
        self.security_of(&issued.certificate, &issued.key)
    }

    fn security_of(&self, certificate: &str, key: &str) -> Security {
        let authority = self.authority.certificate_pem();
        let identity = TlsIdentity::from_pem(certificate.as_bytes(), key.as_bytes(), authority.as_bytes());
        Security::Tls(Arc::new(identity.unwrap()))
    }

    fn options(&self) -> ConnectOptions {
        let address = self.hub.as_ref().unwrap().client_addresses()[0].clone();
        ConnectOptions::new(address).security(self.security(PeerKind::Client, "tool"))
    }

    fn connect(&self, options: ConnectOptions) -> Result<Client, ConnectError> {
        block_on(Client::connect(options))
    }

    /// Why a hub refuses it.
    fn refused(&self, options: ConnectOptions) -> ErrorCode {
        match self.connect(options) {
            Err(ConnectError::Refused { refusal, .. }) => refusal.code,
            other => panic!("not refused: {:?}", other.map(|client| client.hub())),
        }
    }

    /// Publishes something, so that the session stands.
    fn publish(client: &Client) {
        let publisher = client.publisher(PublisherOptions::default());
        block_on(async { publisher.publish("a/b", b"x").await.unwrap().await.unwrap() });
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(hub) = self.hub.take() {
            hub.drain();
            hub.wait_drained();
            let _ = hub.stop();
        }
    }
}

fn issuer(keys: Value) -> Value {
    json!({"issuer": "corp", "audience": "weft", "keys": keys, "leeway_seconds": 0})
}

/// Waits until a client is not connected, and says why.
fn until_lost(client: &Client) -> String {
    let mut status = client.status();
    loop {
        match status {
            Status::Reconnecting { reason, .. } => return reason,
            known => status = block_on(client.status_other_than(&known)),
        }
    }
}

#[test]
fn clients_log_in_by_certificate_token_and_password_and_not_otherwise() {
    let signer = Signer::new("one");
    let hash = Hash::make(b"open sesame", [3; 16]).unwrap();
    let site = Site::new(&[
        ("issuer/corp", issuer(json!({"jwks": {"keys": [signer.jwk()]}}))),
        ("identity/alice", json!({"logins": [{"password": hash}]})),
        ("identity/tool", json!({"disabled": true})),
        ("identity/known", json!({"logins": [{"spiffe": "spiffe://weft/client/known"}]})),
    ]);
    let own = ConnectOptions { security: site.security(PeerKind::Client, "known"), ..site.options() };
    let good = [
        own,
        site.options().token(token(&signer, "al", 60)),
        site.options().password("alice", b"open sesame".to_vec()),
    ];
    for options in good {
        let client = site.connect(options).unwrap();
        Site::publish(&client);
    }
    let mut forged = token(&signer, "al", 60);
    let last = forged.len() - 10;
    forged[last] ^= 1;
    assert_eq!(site.refused(site.options()), ErrorCode::BAD_LOGIN, "an identity that is disabled");
    assert_eq!(site.refused(site.options().token(forged)), ErrorCode::BAD_LOGIN);
    assert_eq!(site.refused(site.options().token(token(&signer, "al", 0))), ErrorCode::LOGIN_EXPIRED);
    assert_eq!(site.refused(site.options().password("alice", b"open".to_vec())), ErrorCode::BAD_LOGIN);
    assert_eq!(site.refused(site.options().password("nobody", b"open sesame".to_vec())), ErrorCode::BAD_LOGIN);
}

#[test]
fn a_certificate_of_another_naming_is_whoever_an_identity_says() {
    let site = Site::new(&[("identity/api", json!({"logins": [{"spiffe": "spiffe://prod/api"}, {"subject": "web"}]}))]);
    let strange = |uri: Option<&str>, subject: &str| {
        let ca = rcgen::KeyPair::from_pem(&site.authority.key_pem()).unwrap();
        let issuer = rcgen::Issuer::from_ca_cert_pem(site.authority.certificate_pem(), ca).unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, subject);
        params.subject_alt_names.extend(uri.map(|uri| rcgen::SanType::URI(uri.try_into().unwrap())));
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let security = site.security_of(&certificate.pem(), &key.serialize_pem());
        ConnectOptions { security, ..site.options() }
    };
    for (uri, subject) in [(Some("spiffe://prod/api"), "x"), (None, "web")] {
        Site::publish(&site.connect(strange(uri, subject)).unwrap());
    }
    for (uri, subject) in [(Some("spiffe://prod/other"), "web"), (None, "other"), (None, "hub")] {
        assert_eq!(site.refused(strange(uri, subject)), ErrorCode::BAD_LOGIN, "{uri:?} {subject}");
    }
}

#[test]
fn an_expired_token_ends_its_session_and_a_newer_one_in_its_file_does_not() {
    let signer = Signer::new("one");
    let site = Site::new(&[("issuer/corp", issuer(json!({"jwks": {"keys": [signer.jwk()]}})))]);
    let file = site.folder.path().join("token");
    std::fs::write(&file, token(&signer, "al", 2)).unwrap();
    let once = site.connect(site.options().token(token(&signer, "al", 2))).unwrap();
    let renewed = site.connect(site.options().token(token(&signer, "al", 2))).unwrap();
    let of_file = site.connect(site.options().token_file(&file)).unwrap();
    renewed.renew_login(&token(&signer, "al", 600)).unwrap();
    std::fs::write(&file, token(&signer, "al", 600)).unwrap();
    let reason = until_lost(&once);
    assert!(reason.contains("login_expired"), "{reason}");
    Site::publish(&renewed);
    assert!(matches!(renewed.status(), Status::Connected(_)), "it was never lost");
    // It reads the file again when it connects anew.
    Site::publish(&of_file);
    // What is somebody else's does not count, and does no harm.
    renewed.renew_login(&token(&signer, "bob", 600)).unwrap();
    Site::publish(&renewed);
}

#[test]
fn a_change_of_an_identity_ends_its_sessions_and_no_others() {
    let site = Site::new(&[]);
    let named = |name: &str| ConnectOptions { security: site.security(PeerKind::Client, name), ..site.options() };
    let identity = |name: &str, disabled: bool| json!({"disabled": disabled, "logins": [{"spiffe": format!("spiffe://weft/client/{name}")}]});
    site.put(&[("identity/a", identity("a", false)), ("identity/b", identity("b", false))]);
    let (a, b) = (site.connect(named("a")).unwrap(), site.connect(named("b")).unwrap());
    site.put(&[("identity/a", identity("a", true))]);
    let reason = until_lost(&a);
    assert!(reason.contains("login_expired"), "{reason}");
    Site::publish(&b);
    assert_eq!(site.refused(named("a")), ErrorCode::BAD_LOGIN);
}

#[test]
fn a_flood_of_wrong_passwords_is_limited_while_others_log_in() {
    let signer = Signer::new("one");
    let hash = Hash::make(b"right", [3; 16]).unwrap();
    let site = Site::new(&[
        ("issuer/corp", issuer(json!({"jwks": {"keys": [signer.jwk()]}}))),
        ("identity/alice", json!({"logins": [{"password": hash}]})),
    ]);
    let alice = || site.options().password("alice", b"right".to_vec());
    Site::publish(&site.connect(alice()).unwrap());
    let codes: Vec<ErrorCode> = std::thread::scope(|scope| {
        let guess = |n: u32| {
            let options = site.options().password("bob", format!("guess {n}").into_bytes());
            let site = &site;
            // Refused for too many, a client would try again: once is enough here.
            scope.spawn(move || site.connect(options).err().map(|error| error.to_string()))
        };
        let guesses: Vec<_> = (0..24).map(guess).collect();
        let said: Vec<String> = guesses.into_iter().filter_map(|guess| guess.join().unwrap()).collect();
        said.iter()
            .map(|said| match said.contains("login_limited") || said.contains("too many logins") {
                true => ErrorCode::LOGIN_LIMITED,
                false => ErrorCode::BAD_LOGIN,
            })
            .collect()
    });
    let limited = codes.iter().filter(|code| **code == ErrorCode::LOGIN_LIMITED).count();
    assert!(codes.len() == 24 && limited >= 10, "{limited} of {}: {codes:?}", codes.len());
    Site::publish(&site.connect(site.options().token(token(&signer, "al", 60))).unwrap());
    Site::publish(&site.connect(alice()).unwrap());
}

#[test]
fn keys_are_fetched_when_they_are_rotated_and_a_server_that_hangs_holds_up_nobody_else() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let hash = Hash::make(b"right", [3; 16]).unwrap();
    let site = Site::new(&[("identity/alice", json!({"logins": [{"password": hash}]}))]);
    let keys = Keys::start(&site.authority);
    // It hangs: whoever needs its keys waits, and is told so; others log in meanwhile.
    site.put(&[("issuer/corp", issuer(json!({"url": keys.url()})))]);
    let by_token = || ConnectOptions { connect_for: Duration::ZERO, ..site.options() };
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| site.connect(by_token().token(token(&old, "al", 60))).map(drop));
        Site::publish(&site.connect(site.options().password("alice", b"right".to_vec())).unwrap());
        assert!(!waiting.is_finished(), "others were let in before it was told anything");
        waiting.join().unwrap()
    });
    let said = waiting.unwrap_err().to_string();
    assert!(said.contains("login_unavailable") || said.contains("cannot be checked just now"), "{said}");
    // From another address the same server answers.
    keys.serve(&[old.jwk()]);
    site.put(&[("issuer/corp", issuer(json!({"url": format!("{}?2", keys.url())})))]);
    Site::publish(&site.connect(by_token().token(token(&old, "al", 60))).unwrap());
    // The keys are replaced: the new one is asked for once it is seen, if that is not too soon.
    keys.serve(&[new.jwk()]);
    site.put(&[("issuer/corp", issuer(json!({"url": format!("{}?3", keys.url())})))]);
    Site::publish(&site.connect(by_token().token(token(&new, "al", 60))).unwrap());
    assert!(site.connect(by_token().token(token(&old, "al", 60))).is_err(), "the old key is gone");
}

#[test]
fn what_a_server_of_keys_says_that_is_hostile_is_refused_within_bounds() {
    let site = Site::new(&[]);
    let keys = Keys::start(&site.authority);
    let server = KeyServer::new(&Roots::File(site.folder.path().join("ca.pem"))).unwrap();
    let signer = Signer::new("one");
    let set = json!({"keys": [signer.jwk()]}).to_string();
    keys.say(Some(ok(&set)));
    assert_eq!(server.fetch(&keys.url()), Ok((set.clone().into_bytes(), None)), "the canary");
    keys.say(Some(format!(
        "HTTP/1.1 200 OK\r\ncache-control: public, max-age=90\r\nage: 30\r\ncontent-length: {}\r\n\r\n{set}",
        set.len()
    )));
    assert_eq!(server.fetch(&keys.url()).unwrap().1, Some(Duration::from_secs(60)));
    let redirect = |to: &str| format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
    let plain = keys.url().replace("https", "http");
    for (what, answer) in [
        ("too much", ok(&" ".repeat(weft_login::MAX_SET + 1))),
        ("without an end", format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(4 << 20))),
        ("a head without an end", format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(1 << 20))),
        ("not there", "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned()),
        ("elsewhere", redirect("https://localhost:1/keys")),
        ("without TLS", redirect(&plain)),
        ("no HTTP", "hello\r\n\r\n".to_owned()),
    ] {
        keys.say(Some(answer));
        assert!(server.fetch(&keys.url()).is_err(), "{what}");
    }
    keys.say(Some(ok(&set)));
    assert!(server.fetch(&plain).is_err(), "no plain text");
    let strangers = KeyServer::new(&Roots::OfMachine).unwrap();
    assert!(strangers.fetch(&keys.url()).is_err(), "a certificate that nobody knows");
}

#[test]
fn a_voucher_lets_its_own_one_in_over_shared_memory_once_and_ends_with_that_login() {
    let identity =
        |roles: &[&str]| json!({"tenant": "billing", "roles": roles, "logins": [{"subject": "client anna"}]});
    let tenant = json!({"topics": ["billing/**"]});
    let site = Site::new(&[("tenant/billing", tenant), ("identity/anna", identity(&["writer"]))]);
    let principal = Principal {
        tenant: Some("billing".into()),
        name: "anna".into(),
        roles: Arc::new(["writer".into()]),
        method: Method::Certificate,
    };
    let login = Login { principal: Arc::new(principal), expires: None, proof: Proof::Subject("client anna".into()) };
    let own = |voucher: &[u8]| {
        let address = site.hub.as_ref().unwrap().client_addresses()[1].clone();
        ConnectOptions::new(address).token(voucher.to_vec())
    };
    let voucher = site.vouchers.mint(&login).unwrap();
    // Not over the network, whoever shows it; there it does not count as shown either.
    assert_eq!(site.refused(site.options().token(voucher.to_vec())), ErrorCode::BAD_LOGIN);
    let client = site.connect(own(&voucher)).expect("it is let in");
    Site::publish(&client);
    assert_eq!(site.refused(own(&voucher)), ErrorCode::BAD_LOGIN, "it counts once");
    assert_eq!(site.refused(own(b"weft-voucher:nothing")), ErrorCode::BAD_LOGIN);

    // The login is over by the state: so is the session, and nothing brings it back.
    site.put(&[("identity/anna", identity(&["reader"]))]);
    let reason = until_lost(&client);
    assert!(reason.contains("login_expired") || reason.contains("bad_login"), "{reason}");
}
