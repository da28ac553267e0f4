//! Checking payloads where they enter: by the schema that their block names, by
//! the one in a serialiser's prefix, or by the latest of the topic's subject. A
//! prefix counts where it names a version of that subject.
//!
//! Compiled schemas are kept in a [`Cache`], which is bounded. Nothing is decided
//! here about what becomes of a payload: the answer says what the binding asks for.
use std::sync::Arc;

use weft_topic::Topic;

use crate::binding::{Binding, Bindings, Check};
use crate::error::Violation;
use crate::format::{Format, Payload, Schema};
use crate::prefix;
use crate::protobuf::MessageIndexes;
use crate::registry::{Cache, State, Subject};
use crate::shown::Text;

/// The answer for one payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// No subject is bound to the topic, or its mode is off.
    Unchecked,
    /// It is of the schema.
    Accept {
        /// The schema's id.
        id: u32,
    },
    /// It is not.
    Refuse(Box<Refusal>),
}

/// A payload that is not of its schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The subject of the topic.
    pub subject: String,
    /// The version by which it was checked; `None` if none was found.
    pub version: Option<u32>,
    /// What the binding asks to be done: warn, reject or quarantine.
    pub check: Check,
    /// The stream for those in quarantine.
    pub quarantine: Option<String>,
    /// What is wrong with it.
    pub violation: Violation,
}

/// Checks payloads of one state. Made anew when subjects are bound otherwise.
#[derive(Debug)]
pub struct Checker {
    bindings: Bindings,
    cache: Cache,
}

impl Checker {
    /// With the bindings of `state`, keeping compiled schemas in `cache`.
    pub fn new(state: &State, cache: Cache) -> Self {
        Self { bindings: Bindings::of(state), cache }
    }

    /// Takes the bindings of a state that has changed; compiled schemas are kept.
    pub fn renew(&mut self, state: &State) {
        self.bindings = Bindings::of(state);
    }

    /// The binding that holds for a topic.
    pub fn binding(&self, topic: Topic<'_>) -> Option<&Binding> {
        self.bindings.find(topic)
    }

    /// Checks one payload on `topic`. `named` is the schema's id, where its block
    /// names one.
    pub fn check(&mut self, state: &State, topic: Topic<'_>, named: Option<u32>, payload: &[u8]) -> Verdict {
        let Some(binding) = self.bindings.find(topic).filter(|binding| binding.check != Check::Off) else {
            return Verdict::Unchecked;
        };
        let mut by = None;
        let mut find = |id| self.cache.schema(state, id).map_err(|error| error.to_string());
        match check(&mut find, state.subjects.get(&binding.subject), binding, (named, payload), &mut by) {
            Ok(id) => Verdict::Accept { id },
            Err(violation) => {
                let (subject, quarantine) = (binding.subject.clone(), binding.quarantine.clone());
                let (check, version) = (binding.check, by.map(|(version, _)| version));
                Verdict::Refuse(Box::new(Refusal { subject, version, check, quarantine, violation }))
            }
        }
    }

    /// A payload on `topic` as JSON text of about `most` bytes at most, if it is of the
    /// schema that is bound to the topic, checked or not, or of the one that it names
    /// itself by the prefix of a serialiser.
    pub fn show(
        &mut self,
        state: &State,
        topic: Topic<'_>,
        (named, payload): (Option<u32>, &[u8]),
        most: usize,
    ) -> Option<Shown> {
        let mut find = |id| self.cache.schema(state, id).map_err(|error| error.to_string());
        if let Some(binding) = self.bindings.find(topic) {
            let subject = state.subjects.get(&binding.subject);
            let (mut by, said) = (None, (named, payload));
            let work = |schema: &Schema, payload: Payload<'_>| schema.show(payload, most);
            let (_, text) = with_schema(&mut find, subject, binding, said, &mut by, work).ok()?;
            return Some(Shown { by: format!("{}/{}", binding.subject, by?.0), text });
        }
        let (id, rest) = match (prefix::split(payload), named) {
            (Ok((id, rest)), _) if state.schemas.contains_key(&id) => (id, Some(rest)),
            (_, named) => (named?, None),
        };
        let schema = find(id).ok()?;
        let text = in_frame(&schema, rest.is_some(), rest.unwrap_or(payload), |payload| schema.show(payload, most));
        Some(Shown { by: format!("schema {id}"), text: text.ok()? })
    }
}

/// A payload as text, and what it was read by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// `SUBJECT/VERSION`, or `schema ID` where nothing is bound to the topic.
    pub by: String,
    /// The payload.
    pub text: Text,
}

/// Checks a payload on a topic of `binding` by the schema of `subject` that it is
/// of; `find` gives compiled schemas by id. Puts the version that it was checked
/// by, and its id, in `by` as soon as they are known.
pub(crate) fn check(
    find: &mut dyn FnMut(u32) -> Result<Arc<Schema>, String>,
    subject: Option<&Subject>,
    binding: &Binding,
    said: (Option<u32>, &[u8]),
    by: &mut Option<(u32, u32)>,
) -> Result<u32, Violation> {
    with_schema(find, subject, binding, said, by, |schema, payload| schema.check(payload)).map(|(id, ())| id)
}

/// Does something with a payload and the schema that it is of, and gives that schema's id.
fn with_schema<T>(
    find: &mut dyn FnMut(u32) -> Result<Arc<Schema>, String>,
    subject: Option<&Subject>,
    binding: &Binding,
    (named, payload): (Option<u32>, &[u8]),
    by: &mut Option<(u32, u32)>,
    work: impl FnOnce(&Schema, Payload<'_>) -> Result<T, Violation>,
) -> Result<(u32, T), Violation> {
    let none = || Violation::new("", "schema", format!("subject '{}' has no version: register one", binding.subject));
    let subject = subject.ok_or_else(none)?;
    let of = |id: u32| subject.live().rev().find(|(_, version)| version.id == id).map(|(number, _)| number);
    let foreign = |id: u32| {
        Violation::new(
            "",
            "schema",
            format!("schema {id} is no version of subject '{}', which is bound to the topic", binding.subject),
        )
    };
    // What could be a prefix by chance names a version of this very subject only
    // by a second one.
    let framed =
        prefix::split(payload).ok().filter(|(id, _)| of(*id).is_some() && named.is_none_or(|named| named == *id));
    let (id, framed) = match framed {
        Some((id, rest)) => (id, Some(rest)),
        None => (named.or_else(|| subject.latest().map(|(_, version)| version.id)).ok_or_else(none)?, None),
    };
    *by = Some((of(id).ok_or_else(|| foreign(id))?, id));
    let schema = find(id).map_err(|error| Violation::new("", "schema", error))?;
    in_frame(&schema, framed.is_some(), framed.unwrap_or(payload), |payload| work(&schema, payload)).map(|of| (id, of))
}

/// What a payload of a schema is behind the prefix of a serialiser, of which the id is read.
fn in_frame<T>(
    schema: &Schema,
    is_framed: bool,
    rest: &[u8],
    work: impl FnOnce(Payload<'_>) -> Result<T, Violation>,
) -> Result<T, Violation> {
    if !is_framed || schema.format() != Format::Protobuf {
        return work(Payload::of(rest));
    }
    let read = MessageIndexes::read(rest);
    let (message, bytes) = read.map_err(|error| Violation::new("byte 5", "prefix", error.to_string()))?;
    work(Payload { bytes, message: message.as_slice() })
}

impl Subject {
    /// Whether payloads on its topics are checked.
    pub fn checks(&self) -> bool {
        self.check != Check::Off && !self.topics.is_empty()
    }
}
