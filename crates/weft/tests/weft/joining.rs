//! Machines join a mesh with a token, and what else comes to the door.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use weft_base::{Clock, SystemClock, UnixNanos};
use weft_transport::PeerKind;
use weft_transport::ca::{Authority, Request};
use weft_transport::joining::{Fingerprint, Talk, Token};
use weft_wire::ErrorCode;
use weft_wire::frame::{self, Frame, Join, Peek, Ping};

use crate::common::Hub;

const PATIENCE: Duration = Duration::from_secs(10);

/// The program, with the words of `args`, and the token where it belongs.
fn weft(args: &str, token: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    command.args(args.split_whitespace()).stdin(Stdio::null());
    if let Some(token) = token {
        command.env("WEFT_JOIN_TOKEN", token);
    }
    command.output().expect("the program starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A hub that issues.
struct Issuing {
    hub: Hub,
    folder: tempfile::TempDir,
}

impl Issuing {
    fn start(more: &str) -> Self {
        Self::for_days(3_650, more)
    }

    /// With an authority that lasts so long.
    fn for_days(days: u32, more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().display();
        assert!(weft(&format!("ca init --dir {dir} --days {days}"), None).status.success());
        assert!(weft(&format!("ca issue hub new-york --dir {dir}"), None).status.success());
        let text = format!(
            "name = \"new-york\"\nmesh = \"flights\"\ndata = \"data\"\n\
             [tls]\ncert = \"new-york.pem\"\nkey = \"new-york.key\"\nca = \"ca.pem\"\n\
             [control]\nenforce = false\n[[clients]]\nlisten = \"127.0.0.1:0\"\nplain = true\n[hubs]\nlisten = \"127.0.0.1:0\"\n\
             [routing]\nloss_weight = 7\n[timers]\nidentity = \"0 s\"\n\
             [issue]\nlisten = \"127.0.0.1:0\"\nkey = \"ca.key\"\n{more}"
        );
        fs::write(folder.path().join("hub.toml"), text).expect("a file");
        let hub = Self::run(folder.path());
        Self { hub, folder }
    }

    fn run(folder: &Path) -> Hub {
        Hub::start_with(&["--config", &folder.join("hub.toml").display().to_string()])
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("hub.toml")
    }

    /// Where to join.
    fn door(&self) -> String {
        let ready = fs::read_to_string(self.hub.folder.path().join("ready.json")).expect("it is ready");
        let ready: Value = serde_json::from_str(&ready).expect("JSON");
        ready["issues"].as_str().expect("an address").to_owned()
    }

    fn token(&self, more: &str) -> String {
        let output = weft(&format!("token create --config {} {more}", self.config().display()), None);
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    fn join(&self, name: &str, token: &str, dir: &Path) -> Output {
        let args = "--clients 127.0.0.1:0 --listen 127.0.0.1:0 --host 127.0.0.1";
        weft(&format!("join {} --name {name} --dir {} {args}", self.door(), dir.display()), Some(token))
    }

    fn counter(&self, name: &str) -> u64 {
        let output = weft(&format!("mesh show --json --server {}", self.hub.address), None);
        let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let text = shown.to_string();
        let found = shown["counters"].get(name).and_then(Value::as_u64);
        found.unwrap_or_else(|| panic!("no counter {name}: {text}"))
    }

    /// A connection as the token asks for it.
    fn talk(&self, token: &str) -> Talk {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let token = Token::parse(token).expect("a token");
        Talk::dial(&self.door(), &token, &clock, PATIENCE).expect("a connection")
    }
}

/// What comes back for these bytes: the code of the refusal, or `None` for a certificate.
fn answer(mut talk: Talk, bytes: &[u8]) -> Option<ErrorCode> {
    talk.write_all(bytes).and_then(|()| talk.flush()).expect("it is sent");
    let mut got = Vec::new();
    loop {
        match frame::peek(&got, 1 << 20).expect("a frame") {
            Peek::Frame { .. } => break,
            Peek::Need(need) => {
                let have = got.len();
                got.resize(need, 0);
                talk.read_exact(&mut got[have..]).expect("an answer");
            }
        }
    }
    match Frame::decode(&got).expect("a frame") {
        Frame::Error(error) => Some(error.code),
        Frame::Joined(_) => None,
        other => panic!("{:?}", other.kind()),
    }
}

fn encoded(said: &Frame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::encode(said, &mut bytes);
    bytes
}

#[test]
fn a_machine_joins_with_a_token_and_one_address_and_its_link_stands() {
    let issuing = Issuing::start("");
    let folder = tempfile::tempdir().expect("a folder");
    let token = issuing.token("--name boston");
    let joined = issuing.join("boston", &token, folder.path());
    assert!(joined.status.success(), "{}", stderr(&joined));
    let config = folder.path().join("hub.toml");
    let text = fs::read_to_string(&config).expect("a configuration");
    assert!(text.contains("mesh = \"flights\"") && text.contains("loss_weight = 7"), "{text}");
    let key = fs::metadata(folder.path().join("boston.key")).expect("a key");
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o077, 0);
    let boston = Hub::start_with(&["--config", &config.display().to_string()]);
    issuing.hub.wait_for_events(1, "link_up", "boston");
    boston.wait_for_events(1, "hub_up", "");
    assert_eq!(issuing.counter("joins.issued"), 1);
    assert!(!issuing.hub.log().contains(token.split('.').nth(3).expect("a secret")));

    // Used, it is good for nothing, also after the hub was started again; and the name is there.
    let other = tempfile::tempdir().expect("a folder");
    let used = issuing.join("chicago", &token, other.path());
    assert!(!used.status.success() && stderr(&used).contains("token_used"), "{}", stderr(&used));
    assert!(fs::read_dir(other.path()).expect("a folder").next().is_none(), "nothing is left of a try that failed");
    let taken = issuing.join("boston", &issuing.token(""), other.path());
    assert!(stderr(&taken).contains("name_taken"), "{}", stderr(&taken));
    let taken = issuing.join("new-york", &issuing.token("--name new-york"), other.path());
    assert!(stderr(&taken).contains("name_taken"), "{}", stderr(&taken));
    assert_eq!((issuing.counter("joins.refused.token_used"), issuing.counter("joins.refused.name")), (1, 2));

    // Renewal: the certificate that it has is enough, and the key stays.
    let key = fs::read(folder.path().join("boston.key")).expect("a key");
    let before = fs::read(folder.path().join("boston.pem")).expect("a certificate");
    let renewed = weft(&format!("renew {} --config {}", issuing.door(), config.display()), None);
    assert!(renewed.status.success(), "{}", stderr(&renewed));
    assert_ne!(fs::read(folder.path().join("boston.pem")).expect("a certificate"), before);
    assert_eq!(fs::read(folder.path().join("boston.key")).expect("a key"), key);
    assert_eq!(issuing.counter("joins.renewed"), 1);
    boston.wait_for_events(1, "identity_replaced", "boston");
}

#[test]
fn machines_that_join_may_pick_their_links_and_the_mesh_says_which_and_why() {
    let pick = "[pick]\nprobe = \"50 ms\"\nsettle = \"500 ms\"\n";
    let issuing = Issuing::start(pick);
    let folders = ["boston", "chicago"].map(|_| tempfile::tempdir().expect("a folder"));
    let hubs = ["boston", "chicago"].iter().zip(&folders).map(|(name, folder)| {
        let (door, token, dir) = (issuing.door(), issuing.token(""), folder.path().display());
        let args = "--clients 127.0.0.1:0 --listen 127.0.0.1:0 --host 127.0.0.1 --pick";
        let joined = weft(&format!("join {door} --name {name} --dir {dir} {args}"), Some(&token));
        assert!(joined.status.success(), "{}", stderr(&joined));
        let config = folder.path().join("hub.toml");
        let text = fs::read_to_string(&config).expect("a configuration");
        assert!(text.contains("[pick]\nseeds = [\"127.0.0.1:") && !text.contains("[[neighbours]]"), "{text}");
        fs::write(&config, text.replace("[pick]\n", pick).replace("enforce = true", "enforce = false"))
            .expect("a file");
        Hub::start_with(&["--config", &config.display().to_string()])
    });
    let hubs: Vec<Hub> = hubs.collect();
    // The third is known by what the mesh tells of it alone, and there is a link to it.
    let says = |hub: &Hub, text: &str| {
        let shown = |_| weft(&format!("mesh show --server {}", hub.address), None).stdout;
        (0..200).map(shown).any(|shown| {
            let shown = String::from_utf8_lossy(&shown);
            shown.lines().any(|line| line.contains(text) && (line.contains("next") || line.contains("near")))
        })
    };
    let (ours, theirs) = ("boston -> chicago", "chicago -> boston");
    assert!(says(&hubs[0], ours), "{}", hubs[0].log());
    assert!(says(&hubs[1], theirs), "{}", hubs[1].log());
}

/// A certificate of which two thirds of the time are over, for a hub that has joined.
fn age(issuing: &Issuing, folder: &Path, name: &str) {
    let read = |file: &str| fs::read_to_string(issuing.folder.path().join(file)).expect("a file");
    let authority = Authority::from_pem(&read("ca.pem"), &read("ca.key")).expect("the authority");
    let day = Duration::from_secs(86_400);
    let now = SystemClock::new().now().wall.0 - u64::try_from((day * 42).as_nanos()).expect("it fits");
    let issued = authority.issue(PeerKind::Hub, name, &["127.0.0.1"], UnixNanos(now), day * 60).expect("one");
    fs::write(folder.join(format!("{name}.pem")), issued.certificate).expect("a file");
    fs::write(folder.join(format!("{name}.key")), issued.key).expect("a file");
}

#[test]
fn a_hub_that_joined_has_its_certificate_renewed_by_itself_in_time() {
    let issuing = Issuing::start("");
    let folder = tempfile::tempdir().expect("a folder");
    assert!(issuing.join("boston", &issuing.token(""), folder.path()).status.success());
    age(&issuing, folder.path(), "boston");
    let before = fs::read(folder.path().join("boston.pem")).expect("a certificate");
    let config = folder.path().join("hub.toml");
    let text = fs::read_to_string(&config).expect("a configuration");
    let at = format!("renew = \"{}\"", issuing.door());
    assert!(text.contains(&at), "{text}");
    // The first of two addresses answers nobody.
    let both = text.replace(&at, &format!("renew = [\"127.0.0.1:1\", \"{}\"]", issuing.door()));
    fs::write(&config, both).expect("a file");
    let boston = Hub::start_with(&["--config", &config.display().to_string()]);
    boston.wait_for_events(1, "certificate_renewed", "boston");
    boston.wait_for_events(1, "identity_replaced", "boston");
    assert_ne!(fs::read(folder.path().join("boston.pem")).expect("a certificate"), before);
    assert_eq!(issuing.counter("joins.renewed"), 1);
    issuing.hub.wait_for_events(1, "link_up", "boston");
    drop(boston);

    // Where nobody issues it is told, and the hub goes on with what it has.
    age(&issuing, folder.path(), "boston");
    fs::write(&config, text.replace(&at, "renew = \"127.0.0.1:1\"")).expect("a file");
    let boston = Hub::start_with(&["--config", &config.display().to_string()]);
    boston.wait_for_events(1, "renewal_failed", "127.0.0.1:1");
    boston.wait_for_events(1, "certificate_ends_soon", "boston");
    issuing.hub.wait_for_events(2, "link_up", "boston");
    assert!(!boston.log().contains("identity_replaced"), "{}", boston.log());
}

/// Near its own end an authority gives certificates that end with it, and a hub
/// whose new certificate ended no later than the old one asked again at once, ten
/// times a second.
#[test]
fn a_certificate_that_ends_with_its_authority_is_not_asked_for_again_and_again() {
    let issuing = Issuing::for_days(10, "");
    let folder = tempfile::tempdir().expect("a folder");
    assert!(issuing.join("boston", &issuing.token(""), folder.path()).status.success());
    age(&issuing, folder.path(), "boston");
    let config = folder.path().join("hub.toml").display().to_string();
    let boston = Hub::start_with(&["--config", &config]);
    boston.wait_for_events(1, "renewal_failed", "make a new authority");
    // What it found lies in the place of the old one all the same.
    boston.wait_for_events(1, "certificate_ends_soon", "boston");
    assert!(issuing.counter("joins.renewed") <= 3, "with half a minute between them");
}

#[test]
fn a_used_token_stays_used_when_the_hub_is_started_again() {
    let mut issuing = Issuing::start("");
    let folder = tempfile::tempdir().expect("a folder");
    let (first, second) = (issuing.token(""), issuing.token(""));
    assert!(issuing.join("boston", &first, folder.path()).status.success());
    issuing.hub.child.kill().expect("it runs");
    issuing.hub.child.wait().expect("it has ended");
    issuing.hub = Issuing::run(issuing.folder.path());
    let other = tempfile::tempdir().expect("a folder");
    let used = issuing.join("chicago", &first, other.path());
    assert!(stderr(&used).contains("token_used"), "{}", stderr(&used));
    // Its hub does not run, and the name is still its own.
    let taken = issuing.join("boston", &second, other.path());
    assert!(stderr(&taken).contains("--name boston"), "{}", stderr(&taken));
    let again = issuing.join("chicago", &second, other.path());
    assert!(again.status.success(), "the refusal did not use it up: {}", stderr(&again));
}

#[test]
fn tokens_are_listed_without_their_secrets_and_revoked() {
    let issuing = Issuing::start("");
    let token = issuing.token("--name boston --host 10.0.0.1");
    let parts: Vec<&str> = token.split('.').collect();
    let config = issuing.config().display().to_string();
    let listed = weft(&format!("token list --json --config {config}"), None);
    let listed = String::from_utf8(listed.stdout).expect("text");
    assert!(listed.contains(parts[2]) && listed.contains("\"open\"") && !listed.contains(parts[3]), "{listed}");
    assert!(weft(&format!("token revoke {} --config {config}", parts[2]), None).status.success());
    let folder = tempfile::tempdir().expect("a folder");
    let refused = issuing.join("boston", &token, folder.path());
    assert!(stderr(&refused).contains("bad_token"), "{}", stderr(&refused));
    let listed = weft(&format!("token list --config {config}"), None);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("revoked"));
    assert!(!weft(&format!("token revoke {} --config {config}", parts[2]), None).status.success());
}

#[test]
fn whatever_comes_to_the_door_is_refused_with_its_reason_and_changes_nothing() {
    let issuing = Issuing::start("attempts = 1000\n");
    let token = issuing.token("--name boston");
    let parsed = Token::parse(&token).expect("a token");
    let request = Request::create().expect("a key");
    let join = Join {
        request: 9,
        token: parsed.id,
        secret: parsed.secret.bytes(),
        name: "boston",
        csr: request.csr(),
        hosts: vec!["10.0.0.1"],
    };
    let refused = |join: Join<'_>| answer(issuing.talk(&token), &encoded(&Frame::Join(join)));
    let hello = Frame::Ping(Ping { id: 1, time: 0 });
    let mut cut = encoded(&Frame::Join(join.clone()));
    // The secret's length: more than one has.
    cut[25] = 0xff;
    let wrong = [0x5a; 24];
    for (found, expected) in [
        (refused(Join { secret: &wrong, ..join.clone() }), ErrorCode::BAD_TOKEN),
        (refused(Join { secret: &[], ..join.clone() }), ErrorCode::BAD_TOKEN),
        (refused(Join { token: 77, ..join.clone() }), ErrorCode::BAD_TOKEN),
        // Without a token and without a certificate there is nothing to renew.
        (refused(Join { token: 0, secret: &[], ..join.clone() }), ErrorCode::BAD_TOKEN),
        (refused(Join { name: "chicago", ..join.clone() }), ErrorCode::TOKEN_NAME),
        (refused(Join { name: "../boston", ..join.clone() }), ErrorCode::BAD_NAME),
        (refused(Join { csr: b"none", ..join.clone() }), ErrorCode::BAD_REQUEST),
        (refused(Join { hosts: vec!["no host"], ..join.clone() }), ErrorCode::BAD_REQUEST),
        (answer(issuing.talk(&token), &encoded(&hello)), ErrorCode::UNEXPECTED),
        (answer(issuing.talk(&token), &cut), ErrorCode::BAD_FRAME),
        (answer(issuing.talk(&token), &[0xff; 64]), ErrorCode(514)),
    ] {
        let is_frame = |code: ErrorCode| code.name() == Some("bad_frame");
        assert!(found == Some(expected) || found.is_some_and(is_frame) && is_frame(expected), "{found:?} {expected:?}");
    }
    // Bytes that are no TLS, and a connection that says nothing and goes.
    let mut plain = TcpStream::connect(issuing.door()).expect("it listens");
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("it is sent");
    let _ = plain.read(&mut [0; 64]);
    drop(TcpStream::connect(issuing.door()).expect("it listens"));
    issuing.hub.wait_for_events(1, "join_refused", "TLS");
    // A token of another mesh's authority, and one of another hub, say nothing to this one.
    let foreign = Token::create("new-york", Fingerprint::of(b"another")).expect("entropy");
    let folder = tempfile::tempdir().expect("a folder");
    let refused_there = issuing.join("boston", &foreign.reveal(), folder.path());
    assert!(stderr(&refused_there).contains("nothing was told to it"), "{}", stderr(&refused_there));
    let elsewhere = Token::create("chicago", parsed.authority).expect("entropy");
    let refused_there = issuing.join("boston", &elsewhere.reveal(), folder.path());
    assert!(stderr(&refused_there).contains("`chicago`, which issues"), "{}", stderr(&refused_there));
    // All the same the token is good, once.
    assert_eq!(refused(join.clone()), None);
    assert_eq!(refused(join), Some(ErrorCode::TOKEN_USED));
    assert_eq!((issuing.counter("joins.issued"), issuing.counter("joins.refused.bad_token")), (1, 4));
}

#[test]
fn who_tries_too_often_is_not_heard_and_the_address_for_links_takes_nobody_in() {
    let issuing = Issuing::start("attempts = 2\n");
    let token = issuing.token("--name boston");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let parsed = Token::parse(&token).expect("a token");
    let tries = (0..5).map(|_| Talk::dial(&issuing.door(), &parsed, &clock, PATIENCE));
    let heard = tries.filter(Result::is_ok).count();
    assert!((1..5).contains(&heard), "{heard}");
    assert!(issuing.counter("joins.limited") > 0);
    // The address for links says that it is one.
    let folder = tempfile::tempdir().expect("a folder");
    let at = format!("join {} --name boston --dir {}", issuing.hub.hubs, folder.path().display());
    let refused = stderr(&weft(&at, Some(&token)));
    assert!(refused.contains("issue.listen"), "{refused}");
    // What is no token is refused before anybody is dialled.
    let bad = weft(&at, Some("weft1.secret"));
    assert!(bad.status.code() == Some(2) && !stderr(&bad).contains("secret"), "{}", stderr(&bad));
}
