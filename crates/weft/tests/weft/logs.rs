//! What a hub's log says: whose a line is, which session or request it is about, and
//! how long it took, by the same names everywhere.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::common::Hub;
use crate::common::http::{raw_tls, tls};
use crate::login::{PASSWORD, RULES, Site, hash_of, until_lost};

/// The line of the log with this code and these fields, without its time.
#[track_caller]
fn line(hub: &Hub, code: &str, fields: &Value) -> Value {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let log = hub.log();
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let is_it = |line: &Value| {
            line["event"] == code && fields.as_object().is_some_and(|all| all.iter().all(|(name, v)| line[name] == *v))
        };
        if let Some(line) = lines.find(is_it) {
            return line;
        }
        assert!(Instant::now() < until, "no {code} with {fields}: {log}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn lines_of_the_log_say_whose_and_which_session_or_request_it_was_and_how_long_it_took() {
    let site = Site::start_as(&["--log", "debug"], "[http]\nlisten = \"127.0.0.1:0\"\n");
    site.apply("rules.toml", RULES);
    let alice = |disabled: bool| json!({"tenant": "billing", "roles": ["writer"], "logins": [{"password": hash_of(PASSWORD)}], "disabled": disabled});
    site.put("identity", "alice", &alice(false));
    let whose = json!({"tenantId": "billing", "principal": "billing/alice"});
    // A session: it logs in, and ends.
    let client = site.connect(site.options().password("alice", PASSWORD.as_bytes().to_vec()));
    let login = line(&site.hub, "login", &whose);
    let session = login["correlationId"].as_str().expect("a session");
    assert!(session.len() == 16 && session.bytes().all(|c| c.is_ascii_hexdigit()), "{login}");
    assert!(login["latencyMs"].is_u64(), "{login}");
    // Requests by HTTP: one that may not, one that proves nothing, and one that is put off.
    let nobody = tls(site.folder.path(), None, &[]);
    let post = |topic: &str, id: &str, password: &str| {
        let shown = STANDARD.encode(format!("alice:{password}"));
        let head = format!(
            "POST /v1/topics/{topic}?key=hidden HTTP/1.1\r\nhost: hub\r\nconnection: close\r\ncontent-length: 1\r\n\
             authorization: Basic {shown}\r\nx-request-id: {id}\r\n\r\nx"
        );
        raw_tls(&site.hub.http, &nobody, head.as_bytes()).status
    };
    assert_eq!(post("billing/a", "fine", PASSWORD), 200);
    assert_eq!(post("shop/a", "denied", PASSWORD), 403);
    assert_eq!(post("billing/a", "unknown", "a guess"), 401);
    let mut denied = json!({"correlationId": "denied", "status": 403, "method": "POST", "path": "/v1/topics/shop/a"});
    denied.as_object_mut().expect("fields").extend(whose.as_object().expect("fields").clone());
    assert!(line(&site.hub, "request_refused", &denied)["latencyMs"].is_u64());
    let unknown = line(&site.hub, "request_refused", &json!({"correlationId": "unknown", "status": 401}));
    assert!(unknown["tenantId"].is_null() && unknown["from"] == "127.0.0.1", "{unknown}");
    // The session is ended: so says the line of the same session.
    site.put("identity", "alice", &alice(true));
    until_lost(&client);
    let over = json!({"correlationId": session, "tenantId": "billing", "principal": "billing/alice"});
    line(&site.hub, "login_over", &over);
    line(&site.hub, "client_gone", &json!({"correlationId": session, "tenantId": "billing"}));
    let log = site.hub.log();
    for hidden in ["\"fine\"", "hidden", "a guess", PASSWORD] {
        assert!(!log.contains(hidden), "`{hidden}` is told: {log}");
    }
}
