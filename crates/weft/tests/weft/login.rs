//! Who clients are, from the command line to a hub that decides by policies: a real
//! hub, real clients, tokens that are signed here and a server of keys by HTTPS.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_lite::future::block_on;
use serde_json::{Value, json};
use weft_client::{Client, ConnectOptions, PublisherOptions, Security, Status, TlsIdentity};
use weft_transport::{Authority, PeerKind};

use crate::common::Hub;
use crate::common::tokens::{DAY, Keys, Signer, now, part, seconds};
use crate::common::voters::text;

pub(crate) const PASSWORD: &str = "correct horse battery";

/// Who may do what, by tenant and by role alone.
pub(crate) const RULES: &str = r#"
[[tenant]]
name = "billing"
topics = ["billing/**"]

[[tenant]]
name = "shop"
topics = ["shop/**"]

[[policy]]
name = "work"
rules = '''
@id("billing-writers")
permit (principal in Role::"billing/writer", action == Action::"publish", resource in TopicFilter::"**");

@id("shop")
permit (principal in Tenant::"shop", action == Action::"publish", resource in TopicFilter::"**");
'''
"#;

/// A hub that decides by policies, an operator, and an authority.
pub(crate) struct Site {
    pub(crate) folder: tempfile::TempDir,
    authority: Authority,
    pub(crate) hub: Hub,
}

impl Site {
    fn start() -> Self {
        Self::start_with(&[])
    }

    /// With more arguments for the hub.
    fn start_with(more: &[&str]) -> Self {
        Self::start_as(more, "")
    }

    /// And more tables.
    pub(crate) fn start_as(more: &[&str], tables: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::create("test", now(), DAY).expect("an authority");
        fs::write(folder.path().join("ca.pem"), authority.certificate_pem()).expect("a file");
        let path = |name: &str| folder.path().join(name);
        for (kind, name) in [(PeerKind::Hub, "home"), (PeerKind::Client, "operator")] {
            let issued = authority.issue(kind, name, &["localhost", "127.0.0.1"], now(), DAY).expect("a certificate");
            fs::write(path(&format!("{name}.pem")), issued.certificate).expect("a file");
            fs::write(path(&format!("{name}.key")), issued.key).expect("a file");
        }
        let config = "name = \"home\"\ndata = \"data\"\nadmins = [\"operator\"]\n\
                      [tls]\ncert = \"home.pem\"\nkey = \"home.key\"\nca = \"ca.pem\"\n\
                      [[clients]]\nlisten = \"127.0.0.1:0\"\n[login]\nca = \"ca.pem\"\n\
                      [control]\nheartbeat = \"50 ms\"\nelection_least = \"200 ms\"\nelection_most = \"400 ms\"\n";
        fs::write(path("hub.toml"), format!("{config}{tables}")).expect("a file");
        let config = path("hub.toml").display().to_string();
        let hub = Hub::start_with(&[&["--config", &config], more].concat());
        Self { folder, authority, hub }
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, content).expect("a file");
        path.display().to_string()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command at the hub, by TLS where only the hub shows a certificate.
    fn weft(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
        command.args(args).args(["-s", &self.hub.address, "--tls-ca", &self.path("ca.pem").display().to_string()]);
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.weft(args).output().expect("it starts")
    }

    /// The options that show this client's certificate, which is made for it.
    fn certificate(&self, name: &str) -> [String; 4] {
        let (cert, key) = (format!("{name}.pem"), format!("{name}.key"));
        if !self.path(&cert).exists() {
            let issued = self.authority.issue(PeerKind::Client, name, &[], now(), DAY).expect("a certificate");
            self.file(&cert, issued.certificate);
            self.file(&key, issued.key);
        }
        let path = |name: &str| self.path(name).display().to_string();
        ["--tls-cert".to_owned(), path(&cert), "--tls-key".to_owned(), path(&key)]
    }

    fn with_certificate(&self, name: &str, args: &[&str]) -> Output {
        let shown = self.certificate(name);
        let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
        self.run(&[args, &shown].concat())
    }

    /// Makes documents so, as the operator.
    pub(crate) fn apply(&self, name: &str, documents: &str) {
        let path = self.file(name, documents);
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let output = self.with_certificate("operator", &["apply", &path]);
            if output.status.success() {
                return;
            }
            // The hub that votes alone may not have elected itself yet.
            let said = text(&output.stderr);
            assert!(said.contains("no_leader") && Instant::now() < until, "{said}");
        }
    }

    /// An identity, or whoever signs tokens, with all of its fields as JSON.
    pub(crate) fn put(&self, kind: &str, name: &str, document: &Value) {
        let mut document = document.clone();
        document["name"] = json!(name);
        let toml = toml::to_string(&json!({kind: [document]})).expect("TOML");
        self.apply(&format!("{kind}-{name}.toml"), &toml);
    }

    /// Publishes once from the command line.
    fn publish(&self, topic: &str, args: &[&str]) -> Output {
        self.run(&[&["pub", topic, "x"], args].concat())
    }

    /// A client of the library that shows no certificate.
    pub(crate) fn options(&self) -> ConnectOptions {
        let authority = TlsIdentity::authority_of_file(&self.path("ca.pem")).expect("an authority");
        ConnectOptions::new(self.hub.address.clone()).security(Security::Tls(Arc::new(authority)))
    }

    pub(crate) fn connect(&self, options: ConnectOptions) -> Client {
        let connect_for = Duration::from_secs(60);
        block_on(Client::connect(ConnectOptions { connect_for, ..options })).expect("it is let in")
    }
}

#[test]
fn a_hub_decides_by_policies_unless_it_is_told_not_to_and_says_which() {
    let site = Site::start();
    site.hub.wait_for_events(1, "hub_enforces", "");
    let denied = site.with_certificate("somebody", &["pub", "a", "x"]);
    refused(&denied, "denied");
    refused(&denied, "the mesh has no policies yet");
    refused(&denied, "weft apply");

    let open = Hub::start();
    open.wait_for_events(1, "hub_open", "");
    let output = Command::new(env!("CARGO_BIN_EXE_weft")).args(["pub", "a", "x", "-s", &open.address]).output();
    allowed(&output.expect("it starts"));

    // Without a data folder there are no policies.
    let bare = "name = \"bare\"\n[[clients]]\nlisten = \"127.0.0.1:0\"\nplain = true\n";
    Hub::start_with(&["--config", &site.file("bare.toml", bare)]).wait_for_events(1, "hub_closed", "enforce = false");
    let check = |more: &str| {
        let text = format!("name = \"a\"\n{more}[[clients]]\nlisten = \"127.0.0.1:0\"\nplain = true\n");
        let path = site.file("other.toml", text);
        Command::new(env!("CARGO_BIN_EXE_weft"))
            .args(["hub", "--check", "--config", &path])
            .output()
            .expect("it starts")
    };
    refused(&check("data = \"d\"\n[login]\nanonymous = true\n"), "login.anonymous");
    let closed = check("data = \"d\"\n");
    allowed(&closed);
    assert!(text(&closed.stdout).contains("enforce = true") && text(&closed.stdout).contains("anonymous = false"));
    allowed(&check("[control]\nenforce = false\n"));
}

/// A password's hash, by the program.
pub(crate) fn hash_of(password: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    let mut child =
        command.args(["identity", "hash"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    child.stdin.take().expect("its input").write_all(format!("{password}\n").as_bytes()).expect("written");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success());
    text(&output.stdout).trim().to_owned()
}

fn corp(keys: Value) -> Value {
    json!({
        "issuer": "corp", "audience": "weft", "keys": keys, "leeway_seconds": 0,
        "tenant": "billing", "roles_claim": "groups", "roles": {"payers": "writer"},
    })
}

fn publish(client: &Client, topic: &str) -> Result<(), String> {
    let publisher = client.publisher(PublisherOptions::default());
    block_on(async {
        publisher.publish(topic, b"x").await.map_err(|e| e.to_string())?.await.map(drop).map_err(|e| e.to_string())
    })
}

/// Waits until a client is not connected, and says why its session is over: what
/// the hub said when it ended it, or, where the client was faster to come again
/// than this to look, why it was not let in again.
pub(crate) fn until_lost(client: &Client) -> String {
    let mut status = client.status();
    loop {
        match status {
            Status::Reconnecting { reason, .. } => return reason,
            known => status = block_on(client.status_other_than(&known)),
        }
    }
}

/// The login was over, or is refused by now.
#[track_caller]
fn ended(reason: &str) {
    assert!(reason.contains("login_expired") || reason.contains("bad_login"), "{reason}");
}

#[track_caller]
fn allowed(output: &Output) {
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// It was refused, in these words.
#[track_caller]
fn refused(output: &Output, words: &str) {
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains(words), "{words}: {said}");
}

#[test]
fn each_way_to_log_in_is_somebody_of_a_tenant_with_roles_by_which_policies_decide() {
    let (site, signer) = (Site::start(), Signer::new("one"));
    site.apply("rules.toml", RULES);
    let spiffe = |name: &str| json!([{"spiffe": format!("spiffe://weft/client/{name}")}]);
    site.put("identity", "pay", &json!({"tenant": "billing", "roles": ["writer"], "logins": spiffe("pay")}));
    site.put("identity", "look", &json!({"tenant": "billing", "roles": ["reader"], "logins": spiffe("look")}));
    // By the subject of the certificate.
    site.put("identity", "till", &json!({"tenant": "shop", "logins": [{"subject": "client till-1"}]}));
    site.put(
        "identity",
        "alice",
        &json!({"tenant": "billing", "roles": ["writer"], "logins": [{"password": hash_of(PASSWORD)}]}),
    );
    site.put("issuer", "corp", &corp(json!({"jwks": {"keys": [signer.jwk()]}})));

    // By certificate.
    allowed(&site.with_certificate("pay", &["pub", "billing/a", "x"]));
    let denied = site.with_certificate("pay", &["pub", "shop/a", "x"]);
    refused(&denied, "denied");
    refused(&denied, "billing/pay");
    refused(&site.with_certificate("look", &["pub", "billing/a", "x"]), "billing/look");
    allowed(&site.with_certificate("till-1", &["pub", "shop/a", "x"]));
    refused(&site.with_certificate("till-1", &["pub", "billing/a", "x"]), "shop/till");

    // By token: the tenant is the issuer's, the roles come of a claim.
    let soon = seconds() + 600;
    let payer = site.file("payer.jwt", signer.token("carol", &["payers", "others"], soon) + "\n");
    let other = site.file("other.jwt", signer.token("dave", &["others"], soon));
    allowed(&site.publish("billing/a", &["--token-file", &payer]));
    refused(&site.publish("shop/a", &["--token-file", &payer]), "billing/corp:carol");
    refused(&site.publish("billing/a", &["--token-file", &other]), "billing/corp:dave");

    // By password.
    let password = site.file("password", format!("{PASSWORD}\n"));
    let alice = ["--user", "alice", "--password-file", &password];
    allowed(&site.publish("billing/a", &alice));
    refused(&site.publish("shop/a", &alice), "billing/alice");

    // From the environment.
    let by_environment = |name: &str, value: &str, args: &[&str]| {
        let args = [&["pub", "billing/a", "x"], args].concat();
        site.weft(&args).env(name, value).output().expect("it starts")
    };
    allowed(&by_environment("WEFT_TOKEN", &signer.token("carol", &["payers"], soon), &[]));
    allowed(&by_environment("WEFT_PASSWORD", PASSWORD, &["--user", "alice"]));

    // What is shown counts alone: an administrator who shows a token is none.
    let shown = ["--token-file", payer.as_str()];
    refused(
        &site
            .with_certificate("operator", &[&["apply", &site.file("r.toml", RULES), "--dry-run"], &shown[..]].concat()),
        "denied",
    );
}

#[test]
fn a_stream_is_of_the_tenant_of_who_makes_it_whatever_it_says_and_of_any_where_an_operator_does() {
    let site = Site::start();
    site.apply("rules.toml", RULES);
    let rules = "@id(\"shop\")\npermit (principal in Tenant::\"shop\", action, resource in TopicFilter::\"shop/**\");\n\
                 @id(\"all\")\npermit (principal == User::\"operator\", action, resource);";
    site.put("policy", "streams", &json!({ "rules": rules }));
    site.put("identity", "till", &json!({"tenant": "shop", "logins": [{"spiffe": "spiffe://weft/client/till"}]}));
    let stream = |who: &str, args: &[&str]| site.with_certificate(who, &[&["stream"], args].concat());
    let tenant_of = |name: &str| {
        let output = stream("operator", &["info", name, "--json"]);
        allowed(&output);
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        report["tenant"].clone()
    };
    allowed(&stream("till", &["create", "plain", "shop/a/**"]));
    allowed(&stream("till", &["create", "named", "shop/b/**", "--tenant", "shop"]));
    assert_eq!([tenant_of("plain"), tenant_of("named")], ["shop", "shop"]);
    // As it was made, so it is the same.
    allowed(&stream("till", &["create", "plain", "shop/a/**"]));
    refused(&stream("till", &["create", "foreign", "shop/c/**", "--tenant", "billing"]), "of tenant `billing`");
    refused(&stream("operator", &["info", "foreign"]), "no_stream");
    refused(&stream("till", &["alter", "plain", "--tenant", "billing"]), "of tenant `billing`");
    allowed(&stream("till", &["alter", "plain", "--max-event", "1 KiB"]));
    assert_eq!(tenant_of("plain"), "shop");

    allowed(&stream("operator", &["create", "mesh", "news/**"]));
    allowed(&stream("operator", &["create", "given", "shop/d/**", "--tenant", "billing"]));
    assert_eq!([tenant_of("mesh"), tenant_of("given")], [Value::Null, json!("billing")]);
    refused(&stream("operator", &["create", "odd", "odd", "--tenant", "no name"]), "the tenant: ");
    // The audit log has that it was refused, and nothing by which it was allowed.
    let until = Instant::now() + Duration::from_secs(60);
    let foreign = loop {
        let log = text(&site.with_certificate("operator", &["audit", "read", "--raw"]).stdout);
        let records = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let events = records.map(|record| record["line"]["entry"]["event"].clone());
        let foreign: Vec<Value> = events.filter(|event| event["resource"] == "stream `foreign`").collect();
        if !foreign.is_empty() {
            break foreign;
        }
        assert!(Instant::now() < until, "it is not there: {log}");
    };
    assert!(foreign.iter().all(|event| event["allowed"] == false), "{foreign:?}");
}

/// What lets a tenant read its own quarantine, in a policy of its own, and another
/// tenant everything that the fence does.
const ASIDE: &str = r#"
[[policy]]
name = "aside"
tenant = "shop"
rules = '''
@id("read")
permit (principal in Tenant::"shop", action in [Action::"consume", Action::"subscribe", Action::"observe"],
  resource in TopicFilter::"_quarantine/shop/**");
'''

[[policy]]
name = "billing"
rules = '''
@id("all")
permit (principal in Tenant::"billing", action, resource);
@id("quarantine")
permit (principal in Tenant::"billing", action, resource in TopicFilter::"_quarantine/**");
'''

[[subject]]
name = "orders"
topics = ["shop/orders/**"]
check = "quarantine"
quarantine = "aside"
"#;

#[test]
fn a_tenant_reads_and_replays_what_was_put_aside_of_its_own_topics_and_no_other_tenant_does() {
    let site = Site::start();
    site.apply("rules.toml", RULES);
    for (name, tenant) in [("till", "shop"), ("pay", "billing")] {
        let login = format!("spiffe://weft/client/{name}");
        site.put("identity", name, &json!({"tenant": tenant, "logins": [{"spiffe": login}]}));
    }
    let subject = |schemas: &[&str]| {
        let (mut written, mut versions) = (String::new(), "[subject.versions]\n".to_owned());
        for (id, kind) in (1..).zip(schemas) {
            let text = format!(r#"{{"type":"object","properties":{{"id":{{"type":{kind}}}}}}}"#);
            let path = site.file("schema.json", &text);
            let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
            let checked = command.args(["schema", "check", "--json", &path]).output().expect("it starts");
            let checked: Value = serde_json::from_slice(&checked.stdout).expect("JSON");
            let print = checked["sha256"].as_str().expect("a fingerprint");
            written.push_str(&format!(
                "[[schema]]\nname = \"{id}\"\nformat = \"JSON\"\ntext = '{text}'\nfingerprint = \"{print}\"\n"
            ));
            versions.push_str(&format!("{id} = {{ id = {id} }}\n"));
        }
        site.apply("orders.toml", &format!("{ASIDE}{versions}{written}"));
    };
    let (number, number_or_text) = ("\"integer\"", "[\"integer\",\"string\"]");
    subject(&[number]);
    // As soon as the hub checks by it.
    let until = Instant::now() + Duration::from_secs(60);
    while !text(&site.with_certificate("till", &["pub", "shop/orders/1", r#"{"id":"x"}"#]).stderr)
        .contains("quarantine")
    {
        assert!(Instant::now() < until, "it is never checked");
    }
    let schema = |who: &str, args: &[&str]| site.with_certificate(who, &[&["schema"], args].concat());
    let stream = "aside-shop-home";
    let listed = schema("till", &["quarantine", "list", stream]);
    allowed(&listed);
    assert!(text(&listed.stdout).contains("shop/orders/1") && text(&listed.stderr).contains("1 in quarantine"));
    refused(
        &schema("till", &["quarantine", "list"]),
        "name the stream, NAME-HUB or of a tenant's topics NAME-TENANT-HUB",
    );
    let shown = schema("till", &["quarantine", "show", stream, "1"]);
    allowed(&shown);
    assert!(text(&shown.stdout).contains(r#"payload  {"id":"x"}"#), "{}", text(&shown.stdout));
    for args in [&["quarantine", "list", stream][..], &["quarantine", "show", stream, "1"], &["replay", stream]] {
        refused(&schema("pay", args), "is reserved");
    }
    // What lies there its own hub keeps: reading it is all that the fence lets in.
    refused(&site.with_certificate("till", &["stream", "delete", stream]), "denied");

    subject(&[number, number_or_text]);
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let replayed = schema("till", &["replay", stream]);
        allowed(&replayed);
        if text(&replayed.stderr).contains("1 published, 0 were published before, 0 still do not fit") {
            break;
        }
        assert!(Instant::now() < until, "{}", text(&replayed.stderr));
    }
}

#[test]
fn what_proves_nothing_is_refused_and_no_secret_is_in_any_log() {
    let (site, signer, forger) = (Site::start_with(&["--log", "trace"]), Signer::new("one"), Signer::new("one"));
    let hash = hash_of(PASSWORD);
    site.apply("rules.toml", RULES);
    site.put("identity", "alice", &json!({"tenant": "billing", "roles": ["writer"], "logins": [{"password": hash}]}));
    site.put("identity", "gone", &json!({"disabled": true, "logins": [{"spiffe": "spiffe://weft/client/gone"}]}));
    site.put("issuer", "corp", &corp(json!({"jwks": {"keys": [signer.jwk()]}})));
    let soon = seconds() + 600;
    let good = signer.token("carol", &["payers"], soon);
    allowed(&site.publish("billing/a", &["--token-file", &site.file("good", &good)]));

    let claims = good.split('.').nth(1).expect("claims").to_owned();
    let unsigned = format!("{}.{claims}.", part(&json!({"alg": "none"})));
    let stripped = format!("{}.{claims}.", good.split('.').next().expect("a header"));
    let shared = format!("{}.{claims}.{}", part(&json!({"alg": "HS256", "kid": "one"})), part(&json!("x")));
    let expired = signer.token("carol", &["payers"], seconds() - 5);
    let forged = forger.token("carol", &["payers"], soon);
    let mut secrets = vec![PASSWORD.to_owned(), hash, good.clone(), claims];
    let mut said = String::new();
    let wrong = [&unsigned, &stripped, &shared, &forged];
    for (n, (token, words)) in
        wrong.map(|t| (t, "bad_login")).into_iter().chain([(&expired, "login_expired")]).enumerate()
    {
        let output = site.publish("billing/a", &["--token-file", &site.file(&format!("wrong-{n}"), token)]);
        refused(&output, words);
        said += &text(&output.stderr);
        secrets.push(token.clone());
    }
    for (name, password) in [("alice", "sesame opens it"), ("nobody", PASSWORD)] {
        let output = site
            .weft(&["pub", "billing/a", "x", "--log", "trace", "--user", name])
            .env("WEFT_PASSWORD", password)
            .output()
            .expect("it starts");
        refused(&output, "bad_login");
        said += &text(&output.stderr);
        secrets.push(password.to_owned());
    }
    refused(&site.with_certificate("gone", &["pub", "billing/a", "x"]), "bad_login");
    let nothing = site.publish("billing/a", &[]);
    refused(&nothing, "bad_login");
    refused(&nothing, "--token-file");

    site.hub.wait_for_events(9, "login_refused", "");
    let (log, key) = (site.hub.log(), URL_SAFE_NO_PAD.encode(PASSWORD));
    for secret in secrets.iter().chain([&key]) {
        assert!(!log.contains(secret.as_str()) && !said.contains(secret.as_str()), "a secret is shown: {secret}");
    }
}

#[test]
fn a_session_ends_when_its_identity_is_disabled_or_its_token_is_over_and_no_other_does() {
    let (site, signer) = (Site::start(), Signer::new("one"));
    site.apply("rules.toml", RULES);
    let alice = |disabled: bool| json!({"tenant": "billing", "roles": ["writer"], "logins": [{"password": hash_of(PASSWORD)}], "disabled": disabled});
    site.put("identity", "alice", &alice(false));
    site.put("issuer", "corp", &corp(json!({"jwks": {"keys": [signer.jwk()]}})));
    let token = |valid_for: u64| signer.token("carol", &["payers"], seconds() + valid_for).into_bytes();
    let by_password = site.connect(site.options().password("alice", PASSWORD.as_bytes().to_vec()));
    let by_token = site.connect(site.options().token(token(600)));
    let short = site.connect(site.options().token(token(3)));
    for client in [&by_password, &by_token, &short] {
        publish(client, "billing/a").expect("it is allowed");
    }
    ended(&until_lost(&short));

    site.put("identity", "alice", &alice(true));
    let changed = Instant::now();
    let reason = until_lost(&by_password);
    println!("the session was over {:?} after the answer to `weft apply`", changed.elapsed());
    ended(&reason);
    publish(&by_token, "billing/a").expect("another's session goes on");
    assert!(matches!(by_token.status(), Status::Connected(_)), "and was never lost");

    // A token that is revoked by its issuer's document.
    let mut issuer = corp(json!({"jwks": {"keys": [signer.jwk()]}}));
    issuer["not_before"] = json!(seconds() + 10);
    site.put("issuer", "corp", &issuer);
    ended(&until_lost(&by_token));
}

#[test]
fn keys_that_are_rotated_are_fetched_and_a_server_of_them_that_hangs_holds_up_nobody_else() {
    let (site, old, new) = (Site::start(), Signer::new("old"), Signer::new("new"));
    site.apply("rules.toml", RULES);
    site.put(
        "identity",
        "alice",
        &json!({"tenant": "billing", "roles": ["writer"], "logins": [{"password": hash_of(PASSWORD)}]}),
    );
    let keys = Keys::start(&site.authority);
    let url = |query: &str| json!({"url": format!("{}{query}", keys.url())});
    site.put("issuer", "corp", &corp(url("")));
    let soon = seconds() + 600;
    let token = |signer: &Signer| signer.token("carol", &["payers"], soon).into_bytes();

    // It hangs: who needs its keys is told so in the end, and others log in meanwhile.
    let waiting = std::thread::scope(|scope| {
        let options = ConnectOptions { connect_for: Duration::ZERO, ..site.options().token(token(&old)) };
        let waiting = scope.spawn(|| block_on(Client::connect(options)).map(drop));
        publish(&site.connect(site.options().password("alice", PASSWORD.as_bytes().to_vec())), "billing/a")
            .expect("allowed");
        assert!(!waiting.is_finished(), "others were let in before it was told anything");
        waiting.join().expect("no panic")
    });
    let said = waiting.expect_err("nobody knows").to_string();
    assert!(said.contains("login_unavailable") || said.contains("cannot be checked just now"), "{said}");

    // The same server at another address answers, and then its keys are replaced.
    keys.serve(&[old.jwk()]);
    site.put("issuer", "corp", &corp(url("?2")));
    publish(&site.connect(site.options().token(token(&old))), "billing/a").expect("allowed");
    keys.serve(&[new.jwk()]);
    publish(&site.connect(site.options().token(token(&new))), "billing/a").expect("the new key was fetched");
    let refused = ConnectOptions { connect_for: Duration::ZERO, ..site.options().token(token(&old)) };
    let said = block_on(Client::connect(refused)).map(drop).expect_err("the old key is gone").to_string();
    // Within the time in which its server is not asked again it might be a new one.
    assert!(said.contains("bad_login") || said.contains("login_unavailable"), "{said}");
}

#[test]
fn a_certificate_that_was_renewed_is_shown_at_the_next_connection() {
    let site = Site::start();
    site.apply("rules.toml", RULES);
    site.put(
        "identity",
        "pay",
        &json!({"tenant": "billing", "roles": ["writer"], "logins": [{"spiffe": "spiffe://weft/client/pay"}]}),
    );
    let issue = |valid_for: u64| {
        let valid_for = Duration::from_secs(valid_for);
        let issued = site.authority.issue(PeerKind::Client, "pay", &[], now(), valid_for).expect("a certificate");
        site.file("pay.pem", issued.certificate);
        site.file("pay.key", issued.key);
    };
    issue(4);
    let path = |name: &str| site.path(name);
    let identity =
        TlsIdentity::from_pem_files(&path("pay.pem"), &path("pay.key"), &path("ca.pem")).expect("it was issued");
    let client = site.connect(site.options().security(Security::Tls(Arc::new(identity))));
    publish(&client, "billing/a").expect("it is allowed");
    issue(600);
    until_lost(&client);
    publish(&client, "billing/a").expect("it has connected anew, with the new certificate");
}
