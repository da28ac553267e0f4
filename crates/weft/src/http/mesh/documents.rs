//! Documents of the control state, and whether somebody may do something, as the page
//! shows them. What may be seen the hub decides, as for `weft export`; what proves
//! who somebody is is left out besides.

use axum::body::Body;
use axum::http::{Response, Uri};
use serde_json::{Value, json};
use weft_govern::api::{Answer, Explain, Export, Exported, Refusal, Request};
use weft_govern::{Key, Kind};

use super::super::answer;
use super::super::problem::Problem;
use super::super::query::Query;
use super::{Asking, ITEMS, MOST_ITEMS, not_found, page};

/// Pages of the hub that are gone through for one of ours.
const MOST_PAGES: usize = 300;

/// Documents of a kind whose names contain something, in order of name.
pub(super) async fn list(asking: &Asking, uri: &Uri, kind: &str) -> Result<Response<Body>, Problem> {
    let query = Query::of(uri, &["limit", "after", "search"])?;
    let limit = query.number("limit", 1..=MOST_ITEMS)?.unwrap_or(ITEMS);
    let search = query.get("search").unwrap_or_default();
    let kind = kind_of(kind)?;
    let mut after = query.get("after").map(|name| key(kind, name)).transpose()?;
    let (mut items, mut last) = (Vec::new(), None::<String>);
    for _ in 0..MOST_PAGES {
        let exported = export(asking, kind, after).await?;
        for (key, changed, document) in exported.items {
            if !key.name().contains(search) {
                continue;
            }
            if items.len() >= limit {
                return Ok(page(&items, last.as_deref()));
            }
            last = Some(key.name().to_owned());
            items.push(shown(&key, changed, &document));
        }
        after = exported.next;
        if after.is_none() {
            break;
        }
    }
    Ok(page(&items, None))
}

/// One document.
pub(super) async fn one(asking: &Asking, kind: &str, name: &str) -> Result<Response<Body>, Problem> {
    let wanted = key(kind_of(kind)?, name)?;
    let mut after = None;
    for _ in 0..MOST_PAGES {
        let exported = export(asking, wanted.kind(), after).await?;
        if let Some((key, changed, document)) = exported.items.iter().find(|(key, ..)| *key == wanted) {
            return Ok(answer::json(200, &shown(key, *changed, document)));
        }
        after = exported.next;
        if after.is_none() {
            break;
        }
    }
    Err(not_found(kind, name))
}

/// Whether somebody may do something, and why.
pub(super) async fn explain(asking: &Asking, body: &[u8]) -> Result<Response<Body>, Problem> {
    let asked: Explain = serde_json::from_slice(body)
        .map_err(|error| Problem::new(400, "bad_request", format!("the body is no question: {error}")))?;
    match govern(asking, &Request::Explain(asked)).await? {
        Answer::Explained(explained) => {
            let explained = serde_json::to_value(&explained);
            Ok(answer::json(200, &explained.map_err(|error| Problem::new(500, "failed", error.to_string()))?))
        }
        _ => Err(other()),
    }
}

fn kind_of(name: &str) -> Result<Kind, Problem> {
    Kind::ALL.iter().copied().find(|kind| kind.name() == name).ok_or_else(|| not_found("kind", name))
}

fn key(kind: Kind, name: &str) -> Result<Key, Problem> {
    Key::new(kind, name).map_err(|error| Problem::new(400, "bad_name", error.to_string()))
}

async fn export(asking: &Asking, kind: Kind, after: Option<Key>) -> Result<Exported, Problem> {
    match govern(asking, &Request::Export(Export { kinds: vec![kind], after, ..Export::default() })).await? {
        Answer::Exported(exported) => Ok(exported),
        _ => Err(other()),
    }
}

async fn govern(asking: &Asking, request: &Request) -> Result<Answer, Problem> {
    match asking.lease.client().govern(request).await.map_err(|error| asking.problem(&error))? {
        Answer::Refused(Refusal::Moved { .. }) => {
            Err(Problem::soon(503, "moved", "the control state was changed meanwhile: ask again", 1))
        }
        Answer::Refused(refusal) => {
            let text = serde_json::to_string(&refusal).unwrap_or_default();
            Err(Problem::new(400, "refused", text))
        }
        answered => Ok(answered),
    }
}

fn other() -> Problem {
    Problem::new(500, "failed", "the hub answered with something else: it is of another version")
}

fn shown(key: &Key, changed: u64, document: &str) -> Value {
    let mut document: Value = serde_json::from_str(document).unwrap_or(Value::Null);
    if let Some(fields) = document.as_object_mut() {
        match key.kind() {
            // Whom they are of is no secret, and how somebody is known neither.
            Kind::Issuer => drop(fields.remove("keys")),
            Kind::Identity => {
                let logins = fields.get_mut("logins").and_then(Value::as_array_mut);
                for login in logins.into_iter().flatten().filter_map(Value::as_object_mut) {
                    if let Some(password) = login.get_mut("password") {
                        *password = "set".into();
                    }
                }
            }
            _ => {}
        }
    }
    json!({"kind": key.kind().name(), "name": key.name(), "changed": changed, "document": document})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_proves_who_somebody_is_is_not_shown() {
        let of = |kind, text| shown(&Key::new(kind, "a").expect("a key"), 3, text).to_string();
        let identity = r#"{"logins":[{"password":"$argon2id$v=19$x"},{"spiffe":"spiffe://prod/api"}]}"#;
        let told = of(Kind::Identity, identity);
        assert!(!told.contains("argon2id") && told.contains("spiffe://prod/api"), "{told}");
        assert!(!of(Kind::Issuer, r#"{"issuer":"i","keys":{"jwks":"secret"}}"#).contains("secret"));
        assert!(of(Kind::Tenant, r#"{"topics":["a/**"]}"#).contains("a/**"));
    }
}
