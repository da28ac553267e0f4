//! The REST API, by the requests that Confluent's clients make.
use serde_json::{Value, json};

use super::{Answer, Outcome, Request, body_bytes, handle};
use crate::registry::{Cache, RegistryLimits, State};

struct Server {
    state: State,
    cache: Cache,
}

impl Server {
    fn new() -> Self {
        Self { state: State::new(RegistryLimits::default()), cache: Cache::default() }
    }

    fn ask(&mut self, method: &str, address: &str, body: &Value) -> (u16, Value) {
        let (path, query) = address.split_once('?').unwrap_or((address, ""));
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let Answer { status, body } =
            match handle(&self.state, &mut self.cache, &Request { method, path, query, body: &body }) {
                Outcome::Answer(answer) => answer,
                Outcome::Change { put, answer, .. } => {
                    for document in put {
                        self.state
                            .put(document.kind, &document.name, document.body.as_ref())
                            .expect("its own documents");
                    }
                    answer
                }
            };
        (status, body)
    }

    fn get(&mut self, address: &str) -> (u16, Value) {
        self.ask("GET", address, &Value::Null)
    }
}

fn avro(fields: Value) -> Value {
    json!({"schema": json!({"type": "record", "name": "R", "fields": fields}).to_string()})
}

#[test]
fn a_serialiser_registers_looks_up_and_evolves() {
    let mut server = Server::new();
    let one = avro(json!([{"name": "a", "type": "int"}]));
    let two = avro(json!([{"name": "a", "type": "int"}, {"name": "b", "type": "string", "default": ""}]));
    let bad = avro(json!([{"name": "a", "type": "int"}, {"name": "b", "type": "string"}]));
    assert_eq!(server.get("/subjects"), (200, json!([])));
    assert_eq!(server.ask("POST", "/subjects/orders%2Fnew-value", &one).1["error_code"], json!(40_401));
    let (status, body) = server.ask("POST", "/subjects/orders%2Fnew-value/versions?normalize=False", &one);
    assert_eq!((status, &body["id"]), (200, &json!(1)));
    let (status, body) = server.ask("POST", "/subjects/orders%2Fnew-value?normalize=False&deleted=False", &one);
    assert_eq!(
        (status, &body["id"], &body["version"], &body["subject"]),
        (200, &json!(1), &json!(1), &json!("orders/new-value"))
    );
    let (status, body) = server.ask("POST", "/subjects/orders%2Fnew-value/versions", &bad);
    assert_eq!((status, &body["error_code"]), (409, &json!(409)));
    let path = "/compatibility/subjects/orders%2Fnew-value/versions/latest";
    assert_eq!(server.ask("POST", path, &two), (200, json!({"is_compatible": true})));
    let (_, body) = server.ask("POST", &format!("{path}?verbose=true"), &bad);
    assert_eq!(body["is_compatible"], json!(false));
    assert!(body["messages"].to_string().contains("READER_FIELD_MISSING_DEFAULT_VALUE"), "{body}");
    assert_eq!(server.ask("POST", "/subjects/orders%2Fnew-value/versions", &two).1["id"], json!(2));
    let (_, body) = server.get("/schemas/ids/1?subject=orders%2Fnew-value");
    assert_eq!((&body["schema"], body.get("schemaType")), (&one["schema"], None), "Avro goes without saying");
    assert_eq!(server.get("/schemas/ids/2/versions").1, json!([{"subject": "orders/new-value", "version": 2}]));
    assert_eq!(server.get("/schemas/ids/2/subjects").1, json!(["orders/new-value"]));
    assert_eq!(server.get("/subjects/orders%2Fnew-value/versions").1, json!([1, 2]));
    assert_eq!(server.get("/subjects/orders%2Fnew-value/versions/latest").1["version"], json!(2));
    assert_eq!(server.get("/subjects/orders%2Fnew-value/versions/1/schema").1["name"], json!("R"));
}

#[test]
fn other_types_and_references_are_said() {
    let mut server = Server::new();
    let airport = json!({"schemaType": "JSON", "schema": r#"{"type": "string"}"#});
    server.ask("POST", "/subjects/airport/versions", &airport);
    let departed = json!({
        "schemaType": "JSON",
        "schema": r#"{"properties": {"at": {"$ref": "airport.json"}}}"#,
        "references": [{"name": "airport.json", "subject": "airport", "version": 1}],
    });
    assert_eq!(server.ask("POST", "/subjects/departed/versions", &departed).0, 200);
    let (_, body) = server.get("/schemas/ids/2");
    assert_eq!((&body["schemaType"], &body["references"]), (&json!("JSON"), &departed["references"]));
    assert_eq!(server.get("/subjects/airport/versions/1/referencedby"), (200, json!([2])));
    assert_eq!(server.ask("DELETE", "/subjects/airport", &Value::Null).1["error_code"], json!(42_206));
    assert!(server.get("/schemas/types").1.to_string().contains("\"AVRO\""));
}

/// Clients in Java register texts, those in Python descriptors, which they also
/// want to have back.
#[test]
fn protobuf_is_registered_as_text_or_descriptor_and_given_as_descriptor_to_who_asks() {
    let mut server = Server::new();
    let money = json!({"schemaType": "PROTOBUF", "schema": "syntax = 'proto3'; message Money { int64 units = 1; }"});
    assert_eq!(server.ask("POST", "/subjects/money/versions", &money).1["id"], json!(1));
    let bill = json!({
        "schemaType": "PROTOBUF",
        "schema": "syntax = 'proto3'; import 'money.proto'; message Bill { Money sum = 1; }",
        "references": [{"name": "money.proto", "subject": "money", "version": 1}],
    });
    assert_eq!(server.ask("POST", "/subjects/bill/versions", &bill).1["id"], json!(2));
    assert_eq!(server.get("/schemas/ids/2").1["schema"], bill["schema"]);
    let (status, serialized) = server.get("/schemas/ids/2?format=serialized&subject=bill");
    assert_eq!(status, 200);
    assert_ne!(serialized["schema"], bill["schema"]);
    // The descriptor is the same schema, so it has the same id.
    let again = json!({"schemaType": "PROTOBUF", "schema": serialized["schema"], "references": bill["references"]});
    assert_eq!(server.ask("POST", "/subjects/bill/versions", &again).1["id"], json!(2));
    assert_eq!(server.get("/subjects/bill/versions/1/schema?format=serialized").1, serialized["schema"]);
    let broken = json!({"schemaType": "PROTOBUF", "schema": "syntax = 'proto3'; message Money { string units = 1; }"});
    assert_eq!(server.ask("POST", "/subjects/money/versions", &broken).0, 409);
    let missing = json!({"schemaType": "PROTOBUF", "schema": bill["schema"]});
    assert_eq!(server.ask("POST", "/subjects/other/versions", &missing).0, 422);
}

#[test]
fn levels_and_modes_are_set_and_unset() {
    let mut server = Server::new();
    assert_eq!(server.get("/config"), (200, json!({"compatibilityLevel": "BACKWARD"})));
    assert_eq!(server.get("/config/a").1["error_code"], json!(40_408));
    assert_eq!(server.get("/config/a?defaultToGlobal=true").1, json!({"compatibilityLevel": "BACKWARD"}));
    let full = json!({"compatibility": "FULL_TRANSITIVE"});
    assert_eq!(server.ask("PUT", "/config/a", &full), (200, full.clone()));
    assert_eq!(server.get("/config/a").1, json!({"compatibilityLevel": "FULL_TRANSITIVE"}));
    assert_eq!(server.ask("DELETE", "/config/a", &Value::Null), (200, full));
    assert_eq!(server.get("/config/a").0, 404);
    assert_eq!(server.ask("PUT", "/config", &json!({"compatibility": "SOME"})).1["error_code"], json!(42_203));
    assert_eq!(server.ask("PUT", "/mode", &json!({"mode": "READONLY"})), (200, json!({"mode": "READONLY"})));
    assert_eq!(server.get("/mode"), (200, json!({"mode": "READONLY"})));
    assert_eq!(server.ask("POST", "/subjects/a/versions", &avro(json!([]))).1["error_code"], json!(42_205));
    assert_eq!(server.ask("PUT", "/mode", &json!({"mode": "OPEN"})).1["error_code"], json!(42_204));
    assert_eq!(server.get("/mode/a").1["error_code"], json!(40_409));
}

#[test]
fn deleting_takes_two_steps() {
    let mut server = Server::new();
    server.ask("POST", "/subjects/a/versions", &avro(json!([])));
    assert_eq!(
        server.ask("DELETE", "/subjects/a/versions/1?permanent=true", &Value::Null).1["error_code"],
        json!(40_407)
    );
    assert_eq!(server.ask("DELETE", "/subjects/a", &Value::Null), (200, json!([1])));
    assert_eq!(server.get("/subjects"), (200, json!([])));
    assert_eq!(server.get("/subjects?deleted=true"), (200, json!(["a"])));
    assert_eq!(server.get("/subjects/a/versions/1?deleted=true").0, 200);
    assert_eq!(server.ask("DELETE", "/subjects/a/versions/1?permanent=true", &Value::Null), (200, json!(1)));
    assert_eq!(server.get("/schemas/ids/1").1["error_code"], json!(40_403));
}

#[test]
fn what_is_no_request_is_refused_and_changes_nothing() {
    let mut server = Server::new();
    let before = format!("{:?}", server.state);
    for (method, address, body, status) in [
        ("GET", "/nowhere", Value::Null, 404),
        ("GET", "/schemas/ids/x", Value::Null, 404),
        ("GET", "/schemas/ids/7", Value::Null, 404),
        ("GET", "/subjects/%zz", Value::Null, 404),
        ("GET", "/subjects/%ff/versions", Value::Null, 404),
        ("PATCH", "/subjects", Value::Null, 405),
        ("PUT", "/subjects", Value::Null, 405),
        ("POST", "/subjects/a/versions", Value::Null, 422),
        ("POST", "/subjects/a/versions", json!([]), 422),
        ("POST", "/subjects/a/versions", json!({"schema": ""}), 422),
        ("POST", "/subjects/a/versions", json!({"schema": "{"}), 422),
        ("POST", "/subjects/a/versions", json!({"schema": "{}", "schemaType": "THRIFT"}), 422),
        ("POST", "/subjects/a/versions", json!({"schema": "\"int\"", "id": 7}), 422),
        ("POST", "/compatibility/subjects/a/versions/0", json!({"schema": "\"int\""}), 404),
        ("GET", "/subjects/a/versions/two", Value::Null, 404),
        ("PUT", "/config", json!({}), 422),
    ] {
        assert_eq!(server.ask(method, address, &body).0, status, "{method} {address} {body}");
    }
    let deep = format!("/{}", "a/".repeat(100_000));
    assert_eq!(server.get(&deep).0, 404);
    let body = vec![b' '; body_bytes(&server.state) + 1];
    let request = Request { method: "POST", path: "/subjects/a/versions", query: "", body: &body };
    let Outcome::Answer(answer) = handle(&server.state, &mut server.cache, &request) else { panic!("a change") };
    assert_eq!(answer.status, 413);
    assert_eq!(format!("{:?}", server.state), before);
}
