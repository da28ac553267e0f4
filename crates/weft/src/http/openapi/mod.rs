//! The document of the API, OpenAPI 3.1, at `/v1/openapi.json`: `base.json` and a file
//! of each area, put together. It is kept by hand; a test finds each route below `/v1/`
//! that it does not describe, and each that it describes and there is not.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State as Area;
use axum::http::Response;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::routing::get;
use serde_json::Value;

/// What is not of one area.
const BASE: &str = include_str!("base.json");
/// The paths of the areas.
const AREAS: [&str; 3] = [include_str!("events.json"), include_str!("streams.json"), include_str!("mesh.json")];

/// The document.
///
/// # Errors
/// A part of it is no JSON, which a test would have found.
fn document() -> serde_json::Result<Value> {
    let mut document: Value = serde_json::from_str(BASE)?;
    for area in AREAS {
        let area: Value = serde_json::from_str(area)?;
        for (path, item) in area.as_object().into_iter().flatten() {
            // Areas may have methods of one path.
            for (method, operation) in item.as_object().into_iter().flatten() {
                document["paths"][path][method] = operation.clone();
            }
        }
    }
    Ok(document)
}

/// Its route.
///
/// # Errors
/// As [`document`].
pub(super) fn router() -> anyhow::Result<Router> {
    let text = Bytes::from(serde_json::to_vec(&document()?)?);
    Ok(Router::new().route("/v1/openapi.json", get(show)).with_state(text))
}

async fn show(Area(text): Area<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    type Routes = BTreeSet<(String, String)>;

    /// Paths below `/v1/` and their methods, as `.route(` says in a text.
    fn routes_in(text: &str) -> Routes {
        let mut found = Routes::new();
        for after in text.split(".route(").skip(1) {
            let Some((path, rest)) = after.trim_start().strip_prefix('"').and_then(|rest| rest.split_once('"')) else {
                continue;
            };
            // To the end of the call.
            let mut depth = 1;
            let end = rest.find(|c: char| {
                depth += i32::from(c == '(') - i32::from(c == ')');
                depth == 0
            });
            let call = &rest[..end.unwrap_or(rest.len())];
            let word = |at: usize| call[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            for method in ["get", "post", "put", "delete", "patch", "any"] {
                let is_there = call.match_indices(&format!("{method}(")).any(|(at, _)| !word(at));
                if is_there && path.starts_with("/v1/") {
                    found.insert((path.replace("{*", "{"), method.to_owned()));
                }
            }
        }
        found
    }

    fn routes_below(folder: &Path) -> Routes {
        let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
        entries
            .flat_map(|path| match path.extension() {
                _ if path.is_dir() => routes_below(&path),
                Some(end) if end == "rs" => {
                    let text = fs::read_to_string(&path).expect("a file");
                    // Tests have routes that nobody serves.
                    routes_in(text.split("#[cfg(test)]").next().unwrap_or_default())
                }
                _ => Routes::new(),
            })
            .collect()
    }

    #[test]
    fn every_route_is_described_and_every_description_routed() {
        let routed = routes_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http"));
        let document = document().expect("JSON");
        let mut described = Routes::new();
        for (path, item) in document["paths"].as_object().expect("paths") {
            for (method, operation) in
                item.as_object().expect("an item").iter().filter(|(name, _)| *name != "parameters")
            {
                described.insert((path.clone(), method.clone()));
                assert!(operation["operationId"].is_string(), "{method} {path} has no operationId");
                for part in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
                    let own = operation["parameters"].as_array().into_iter().flatten();
                    let mut all = own.chain(item["parameters"].as_array().into_iter().flatten());
                    assert!(
                        all.any(|parameter| parameter["name"] == part),
                        "{method} {path} does not say what {part} is"
                    );
                }
            }
        }
        assert!(routed.len() >= 3, "{routed:?}");
        // A route that takes any method is described where some of them are.
        let paths: BTreeSet<&String> = described.iter().map(|(path, _)| path).collect();
        let is_described =
            |route: &&(String, String)| described.contains(*route) || (route.1 == "any" && paths.contains(&route.0));
        let undescribed: Vec<_> = routed.iter().filter(|route| !is_described(route)).collect();
        assert!(undescribed.is_empty(), "describe them in crates/weft/src/http/openapi: {undescribed:?}");
        let is_routed = |(path, method): &&(String, String)| {
            [method, "any"].iter().any(|by| routed.contains(&(path.clone(), (*by).to_owned())))
        };
        let unrouted: Vec<_> = described.iter().filter(|route| !is_routed(route)).collect();
        assert!(unrouted.is_empty(), "nobody answers: {unrouted:?}");
    }

    #[test]
    fn what_is_referred_to_is_there() {
        let document = document().expect("JSON");
        fn references(of: &Value, found: &mut Vec<String>) {
            match of {
                Value::Object(members) => members.iter().for_each(|(name, value)| match value.as_str() {
                    Some(text) if name == "$ref" => found.push(text.to_owned()),
                    _ => references(value, found),
                }),
                Value::Array(values) => values.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let pointer = reference.strip_prefix('#').expect("a reference within the document");
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    #[test]
    fn routes_are_found_as_they_are_written() {
        let text = ".route(\"/v1/a/{*rest}\", post(f).get(g))\n.route(\n \"/v1/b\",\n forget(x).put(y), )\n.route(\"/c\", any(z))";
        let wanted = [("/v1/a/{rest}", "get"), ("/v1/a/{rest}", "post"), ("/v1/b", "put")];
        assert_eq!(routes_in(text), wanted.map(|(path, method)| (path.to_owned(), method.to_owned())).into());
    }
}
