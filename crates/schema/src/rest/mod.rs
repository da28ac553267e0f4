//! The REST API of Confluent's registry, as far as its serialisers and tools use
//! it: a request in, an answer out, over a [`State`].
//!
//! No server, and nothing is changed here: a request that changes something gives
//! [`Outcome::Change`], and whoever keeps the documents puts them and then gives
//! the answer that is with them; if one of the documents has changed meanwhile, it
//! asks again.
//!
//! Bounded: a body has at most [`body_bytes`] bytes, a path 16 parts.
//!
//! Source: "Schema Registry API Reference" of Confluent.

mod concern;
mod parts;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::format::{Format, Reference, Source};
use crate::protobuf::Protobuf;
use crate::registry::{Cache, Change, Document, Level, Mode, RegistryError, Request as Wanted, State, Stored};
use parts::{Query, Target};

pub use concern::{Concern, concern, subjects_of};

/// The type of the content of all answers.
pub const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// The most bytes that the body of a request may have: those of a schema, each
/// escaped, and of its references.
pub fn body_bytes(state: &State) -> usize {
    state.limits().schema.source_bytes.saturating_mul(2).saturating_add(64 << 10)
}

/// A request, as HTTP has it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `GET`, `POST`, `PUT` or `DELETE`.
    pub method: &'a str,
    /// The path, with what is escaped in it.
    pub path: &'a str,
    /// What comes after the question mark, without it.
    pub query: &'a str,
    /// The body.
    pub body: &'a [u8],
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The status of HTTP.
    pub status: u16,
    /// The body, JSON.
    pub body: Value,
}

impl Answer {
    fn good(body: Value) -> Self {
        Self { status: 200, body }
    }

    /// A refusal in the words of Confluent's registry.
    pub fn refusal(status: u16, code: u32, message: impl Into<String>) -> Self {
        Self { status, body: json!({"error_code": code, "message": message.into()}) }
    }
}

impl From<RegistryError> for Answer {
    fn from(error: RegistryError) -> Self {
        Self::refusal(error.status(), error.code(), error.to_string())
    }
}

/// What comes of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The answer.
    Answer(Answer),
    /// Documents are to be put, all or none, and then the answer is given.
    Change {
        /// The documents; see [`Change::put`].
        put: Vec<Document>,
        /// What it was decided on; see [`Change::read`].
        read: Vec<(&'static str, String)>,
        /// The answer once they are put.
        answer: Answer,
    },
}

impl Outcome {
    fn of<A>(change: Change<A>, answer: impl FnOnce(A) -> Value) -> Self {
        let body = answer(change.answer);
        if change.put.is_empty() {
            return Self::Answer(Answer::good(body));
        }
        Self::Change { put: change.put, read: change.read, answer: Answer::good(body) }
    }
}

/// A schema in the body of a request.
#[derive(Debug, Deserialize)]
struct Body {
    schema: Option<String>,
    #[serde(rename = "schemaType")]
    format: Option<String>,
    #[serde(default)]
    references: Option<Vec<Reference>>,
    id: Option<i64>,
    version: Option<i64>,
}

/// Answers a request.
pub fn handle(state: &State, cache: &mut Cache, request: &Request<'_>) -> Outcome {
    if request.body.len() > body_bytes(state) {
        let text = format!("the body has {} bytes, and at most {} are taken", request.body.len(), body_bytes(state));
        return Outcome::Answer(Answer::refusal(413, 413, text));
    }
    let Some(target) = Target::of(request.path) else {
        return Outcome::Answer(Answer::refusal(404, 404, "HTTP 404 Not Found: there is nothing of this path"));
    };
    let query = Query::of(request.query);
    let call = Call { state, query, body: request.body };
    let outcome = match (request.method, &target) {
        ("GET", _) => call.get(&target).map(|body| body.map(|body| Outcome::Answer(Answer::good(body)))),
        ("POST", _) => call.post(&target, cache),
        ("PUT", _) => call.put(&target),
        ("DELETE", _) => call.delete(&target),
        _ => Ok(None),
    };
    match outcome {
        Ok(Some(outcome)) => outcome,
        Ok(None) => Outcome::Answer(Answer::refusal(405, 405, "HTTP 405 Method Not Allowed: not for this path")),
        Err(error) => Outcome::Answer(error.into()),
    }
}

struct Call<'a> {
    state: &'a State,
    query: Query,
    body: &'a [u8],
}

type Answered<T> = Result<Option<T>, RegistryError>;

impl Call<'_> {
    fn get(&self, target: &Target) -> Answered<Value> {
        let (state, deleted) = (self.state, self.query.flag("deleted"));
        Ok(Some(match target {
            Target::Root => json!({}),
            Target::Types => Format::ALL.iter().map(|format| format.name()).collect(),
            Target::Contexts => json!(["."]),
            Target::Schema(id) => self.schema(state.by_number(*id)?)?,
            Target::SchemaText(id) => self.text(state.by_number(*id)?)?,
            Target::SchemaSubjects(id) => {
                state.by_number(*id)?;
                let mut subjects: Vec<&str> =
                    state.places(*id, deleted).into_iter().map(|(subject, _)| subject).collect();
                subjects.dedup();
                json!(subjects)
            }
            Target::SchemaVersions(id) => {
                state.by_number(*id)?;
                let places = state.places(*id, deleted).into_iter();
                places.map(|(subject, version)| json!({"subject": subject, "version": version})).collect()
            }
            Target::Subjects => {
                let prefix = self.query.get("subjectPrefix").unwrap_or_default();
                let (offset, limit) =
                    (self.query.number("offset").unwrap_or(0), self.query.number("limit").unwrap_or(usize::MAX));
                state.subjects(deleted).filter(|name| name.starts_with(prefix)).skip(offset).take(limit).collect()
            }
            Target::Versions(subject) => json!(state.versions(subject, deleted)?),
            Target::Version(subject, version) => {
                let found = state.version(subject, version, deleted)?;
                let mut body = self.schema(found.schema)?;
                let all =
                    [("subject", json!(found.subject)), ("version", json!(found.version)), ("id", json!(found.id))];
                for (name, value) in all {
                    insert(&mut body, name, value);
                }
                body
            }
            Target::VersionText(subject, version) => self.text(state.version(subject, version, deleted)?.schema)?,
            Target::ReferencedBy(subject, version) => {
                let found = state.version(subject, version, deleted)?;
                json!(state.referred_by(found.subject, found.version))
            }
            Target::Config(None) => json!({"compatibilityLevel": state.global_level().name()}),
            Target::Config(Some(subject)) => {
                let own = state.own_level(subject);
                let level = own.or_else(|| self.query.flag("defaultToGlobal").then(|| state.global_level()));
                json!({"compatibilityLevel": level.ok_or_else(|| RegistryError::NoOwnLevel(subject.clone()))?.name()})
            }
            Target::Mode(None) => json!({"mode": state.global_mode().name()}),
            Target::Mode(Some(subject)) => {
                let own = state.own_mode(subject);
                let mode = own.or_else(|| self.query.flag("defaultToGlobal").then(|| state.global_mode()));
                json!({"mode": mode.ok_or_else(|| RegistryError::NoOwnMode(subject.clone()))?.name()})
            }
            Target::Subject(_) | Target::Compatibility(..) => return Ok(None),
        }))
    }

    /// The text of a schema in the form that is asked for: of Protobuf,
    /// `format=serialized` wants a descriptor in base64, whatever was registered.
    fn shown<'s>(&self, stored: &'s Stored) -> Result<Cow<'s, str>, RegistryError> {
        if stored.format != Format::Protobuf || self.query.get("format") != Some("serialized") {
            return Ok(Cow::Borrowed(&stored.text));
        }
        let dependencies = self.state.dependencies(&stored.references)?;
        let source = Source { text: &stored.text, dependencies: &dependencies };
        Ok(Cow::Owned(Protobuf::serialized(&source, &self.state.limits().schema)?))
    }

    /// A schema as answers have it: Avro is what is meant where no type is said.
    fn schema(&self, stored: &Stored) -> Result<Value, RegistryError> {
        let mut body = json!({"schema": self.shown(stored)?});
        if stored.format != Format::Avro {
            insert(&mut body, "schemaType", json!(stored.format.name()));
        }
        if !stored.references.is_empty() {
            insert(&mut body, "references", json!(stored.references));
        }
        Ok(body)
    }

    /// The text of a schema alone: as JSON where it is, as a text where not.
    fn text(&self, stored: &Stored) -> Result<Value, RegistryError> {
        let shown = self.shown(stored)?;
        Ok(serde_json::from_str(&shown).unwrap_or_else(|_| json!(shown)))
    }

    fn post(&self, target: &Target, cache: &mut Cache) -> Answered<Outcome> {
        let outcome = match target {
            Target::Subject(subject) => {
                let request = self.wanted()?;
                let found = self.state.lookup(subject, &request, self.query.flag("deleted"))?;
                let mut body = self.schema(found.schema)?;
                let all =
                    [("subject", json!(found.subject)), ("version", json!(found.version)), ("id", json!(found.id))];
                for (name, value) in all {
                    insert(&mut body, name, value);
                }
                Outcome::Answer(Answer::good(body))
            }
            Target::Versions(subject) => {
                let request = self.wanted()?;
                let change = self.state.register(cache, subject, &request)?;
                Outcome::of(change, |answer| json!({"id": answer.id, "version": answer.version}))
            }
            Target::Compatibility(subject, version) => {
                let request = self.wanted()?;
                let tested = self.state.compatibility(cache, subject, version.as_deref(), &request)?;
                let mut body = json!({"is_compatible": tested.found.is_empty()});
                if self.query.flag("verbose") {
                    let texts = tested.found.iter().map(|(version, one)| format!("version {version}: {one}"));
                    insert(&mut body, "messages", texts.collect());
                }
                Outcome::Answer(Answer::good(body))
            }
            _ => return Ok(None),
        };
        Ok(Some(outcome))
    }

    fn put(&self, target: &Target) -> Answered<Outcome> {
        let outcome = match target {
            Target::Config(subject) => {
                let word = self.word("compatibility")?;
                let level =
                    Level::named(&word).ok_or_else(|| RegistryError::InvalidLevel(crate::error::shortened(word)))?;
                let change = self.state.set_level(subject.as_deref(), Some(level))?;
                Outcome::of(change, |()| json!({"compatibility": level.name()}))
            }
            Target::Mode(subject) => {
                let word = self.word("mode")?;
                let mode =
                    Mode::named(&word).ok_or_else(|| RegistryError::InvalidMode(crate::error::shortened(word)))?;
                let change = self.state.set_mode(subject.as_deref(), Some(mode), self.query.flag("force"))?;
                Outcome::of(change, |()| json!({"mode": mode.name()}))
            }
            _ => return Ok(None),
        };
        Ok(Some(outcome))
    }

    fn delete(&self, target: &Target) -> Answered<Outcome> {
        let (state, permanent) = (self.state, self.query.flag("permanent"));
        let outcome = match target {
            Target::Subject(subject) => {
                Outcome::of(state.delete_subject(subject, permanent)?, |versions| json!(versions))
            }
            Target::Version(subject, version) => {
                Outcome::of(state.delete_version(subject, version, permanent)?, |version| json!(version))
            }
            Target::Config(subject) => {
                let before = match subject {
                    Some(name) => state.own_level(name).ok_or_else(|| RegistryError::NoOwnLevel(name.clone()))?,
                    None => state.global_level(),
                };
                Outcome::of(state.set_level(subject.as_deref(), None)?, |()| json!({"compatibility": before.name()}))
            }
            Target::Mode(subject) => {
                let before = match subject {
                    Some(name) => state.own_mode(name).ok_or_else(|| RegistryError::NoOwnMode(name.clone()))?,
                    None => state.global_mode(),
                };
                Outcome::of(state.set_mode(subject.as_deref(), None, false)?, |()| json!({"mode": before.name()}))
            }
            _ => return Ok(None),
        };
        Ok(Some(outcome))
    }

    /// The schema in the body.
    fn wanted(&self) -> Result<Wanted, RegistryError> {
        let body: Body = serde_json::from_slice(self.body)
            .map_err(|error| RegistryError::InvalidRequest(format!("the body is not what it must be: {error}")))?;
        let text = body.schema.filter(|text| !text.is_empty());
        let text = text.ok_or_else(|| RegistryError::InvalidRequest("the body has no `schema`".to_owned()))?;
        let name = body.format.unwrap_or_else(|| Format::Avro.name().to_owned());
        let format = Format::named(&name).ok_or_else(|| {
            let name = crate::error::shortened(name);
            RegistryError::InvalidRequest(format!("there is no schemaType {name}: use one that /schemas/types lists"))
        })?;
        let number = |value: Option<i64>| value.filter(|value| *value > 0).and_then(|value| u32::try_from(value).ok());
        Ok(Wanted {
            format,
            text,
            references: body.references.unwrap_or_default(),
            normalize: self.query.flag("normalize"),
            id: number(body.id),
            version: number(body.version),
        })
    }

    /// A word in the body, which is an object.
    fn word(&self, name: &str) -> Result<String, RegistryError> {
        let body: Result<Value, _> = serde_json::from_slice(self.body);
        let word = body.ok().and_then(|body| body.get(name).and_then(Value::as_str).map(str::to_owned));
        word.ok_or_else(|| RegistryError::InvalidRequest(format!("the body has no `{name}`")))
    }
}

fn insert(body: &mut Value, name: &str, value: Value) {
    if let Some(map) = body.as_object_mut() {
        map.insert(name.to_owned(), value);
    }
}
