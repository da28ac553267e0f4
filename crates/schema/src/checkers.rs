//! The checkers of one state: everything that is needed to check payloads on the
//! topics of bound subjects, compiled beforehand, shared by threads and never
//! changed. What a new state has in common with the one before is taken from
//! there, so that a change costs what it changes.
//!
//! Only schemas that a payload can be of are compiled: the versions, not deleted,
//! of subjects that are bound and check. Bounded by the memory that compiled
//! schemas say they take; what is beyond is not compiled, and a payload of it does
//! not fit. Nothing from outside panics here.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weft_topic::Topic;

use crate::binding::{Binding, Bindings, Check};
use crate::checker::check;
use crate::error::Violation;
use crate::format::Schema;
use crate::registry::{State, Stored, Subject};

/// Bytes that compiled schemas may take, by default.
pub const MOST_BYTES: usize = 256 << 20;
/// Schemas that one refers to, also by others, that are told apart.
const MOST_CLOSURE: usize = 256;

/// A compiled schema, or why there is none, and what it was made of: fingerprints,
/// its own first, and those of all that it refers to.
#[derive(Debug, Clone)]
struct Kept {
    of: Arc<[String]>,
    schema: Result<Arc<Schema>, Arc<str>>,
}

/// The checkers of one state.
#[derive(Debug, Default)]
pub struct Checkers {
    bindings: Bindings,
    subjects: BTreeMap<String, Subject>,
    schemas: BTreeMap<u32, Kept>,
    compiled: usize,
}

/// A payload that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit<'a> {
    /// What holds for the topic.
    pub binding: &'a Binding,
    /// The version by which it was checked, and the id of its schema, if one was found.
    pub by: Option<(u32, u32)>,
    /// What is wrong.
    pub violation: Violation,
}

impl Checkers {
    /// Those of a state, with compiled schemas of `before` where they are the same.
    /// Takes the time of compiling the others.
    pub fn of(state: &State, before: &Self, most_bytes: usize) -> Self {
        let bound = state.subjects.iter().filter(|(_, subject)| subject.checks());
        let subjects: BTreeMap<String, Subject> =
            bound.map(|(name, subject)| (name.clone(), subject.clone())).collect();
        let ids: BTreeSet<u32> =
            subjects.values().flat_map(|subject| subject.live().map(|(_, version)| version.id)).collect();
        let mut made = Self { bindings: Bindings::of(state), subjects, schemas: BTreeMap::new(), compiled: 0 };
        let mut bytes = 0_usize;
        for id in ids {
            let Some(stored) = state.schemas.get(&id) else { continue };
            let of = closure(state, stored);
            let known = before.schemas.get(&id).filter(|known| known.of == of);
            let schema = match known.map(|known| &known.schema) {
                Some(Ok(schema)) => Ok(Arc::clone(schema)),
                _ if bytes >= most_bytes => Err(full(most_bytes)),
                _ => {
                    made.compiled += 1;
                    let compiled = state.compile(stored.format, &stored.text, &stored.references);
                    compiled.map(Arc::new).map_err(|error| error.to_string().into())
                }
            };
            let weight = schema.as_ref().map_or(0, |schema| schema.weight());
            let fits = bytes.saturating_add(weight) <= most_bytes;
            let schema = if fits { schema } else { Err(full(most_bytes)) };
            bytes += if fits { weight } else { 0 };
            made.schemas.insert(id, Kept { of, schema });
        }
        made
    }

    /// The binding that holds for a topic, if its payloads are checked.
    pub fn binding(&self, topic: Topic<'_>) -> Option<&Binding> {
        self.bindings.find(topic).filter(|binding| binding.check != Check::Off)
    }

    /// Checks a payload on a topic. `named`: the schema's id, where its block names one.
    ///
    /// # Errors
    /// Why it does not fit. A topic that nothing is bound to takes everything.
    pub fn check(&self, topic: Topic<'_>, named: Option<u32>, payload: &[u8]) -> Result<(), Box<Misfit<'_>>> {
        let Some(binding) = self.binding(topic) else { return Ok(()) };
        let mut find = |id: u32| match self.schemas.get(&id).map(|kept| &kept.schema) {
            Some(Ok(schema)) => Ok(Arc::clone(schema)),
            Some(Err(why)) => Err(why.to_string()),
            None => Err(format!("there is no schema {id}")),
        };
        let mut by = None;
        check(&mut find, self.subjects.get(&binding.subject), binding, (named, payload), &mut by)
            .map(drop)
            .map_err(|violation| Box::new(Misfit { binding, by, violation }))
    }

    /// Schemas that payloads may be of and that cannot be used, with the reason.
    pub fn faults(&self) -> impl Iterator<Item = (u32, &str)> {
        self.schemas.iter().filter_map(|(id, kept)| kept.schema.as_ref().err().map(|why| (*id, &**why)))
    }

    /// How many schemas are kept, and how many of them were compiled for this state.
    pub fn counts(&self) -> (usize, usize) {
        (self.schemas.len(), self.compiled)
    }
}

fn full(most: usize) -> Arc<str> {
    format!("compiled schemas take {most} bytes already: delete versions that nobody writes by").into()
}

/// What a schema is made of, so that it is seen whether any of that has changed.
fn closure(state: &State, schema: &Stored) -> Arc<[String]> {
    let mut prints = vec![schema.fingerprint.clone()];
    let mut seen = BTreeSet::new();
    let mut open: Vec<&Stored> = vec![schema];
    while let Some(one) = open.pop() {
        for reference in &one.references {
            let found = state.subjects.get(&reference.subject).and_then(|of| of.versions.get(&reference.version));
            let Some(id) = found.map(|version| version.id).filter(|id| seen.insert(*id)) else { continue };
            let Some(stored) = state.schemas.get(&id).filter(|_| seen.len() <= MOST_CLOSURE) else { continue };
            prints.push(stored.fingerprint.clone());
            open.push(stored);
        }
    }
    prints.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;
    use crate::registry::{Cache, Change, RegistryLimits, Request};

    fn put<A>(state: &mut State, change: Change<A>) {
        for document in change.put {
            state.put(document.kind, &document.name, document.body.as_ref()).expect("it is a document");
        }
    }

    fn register(state: &mut State, subject: &str, text: &str) {
        let change = state
            .register(&mut Cache::default(), subject, &Request::of(Format::JsonSchema, text))
            .expect("it is a schema");
        put(state, change);
    }

    fn bind(state: &mut State, subject: &str, topics: &[&str]) {
        let change = state.bind(subject, topics, Check::Reject, None).expect("it can be bound");
        put(state, change);
    }

    /// So many subjects, of which `s3` wants a field `f3` of payloads at `t/3` and below.
    fn bound(state: &mut State, subjects: usize) {
        for number in 0..subjects {
            let subject = format!("s{number}");
            register(state, &subject, &format!(r#"{{"type":"object","required":["f{number}"]}}"#));
            bind(state, &subject, &[&format!("t/{number}/**")]);
        }
    }

    fn check(checkers: &Checkers, topic: &str, payload: &str) -> Result<(), String> {
        let topic = Topic::parse(topic).expect("a topic");
        checkers.check(topic, None, payload.as_bytes()).map_err(|misfit| misfit.violation.to_string())
    }

    #[test]
    fn a_change_compiles_what_it_changes_and_the_state_before_goes_on_as_it_was() {
        let mut state = State::new(RegistryLimits::default());
        bound(&mut state, 20);
        register(&mut state, "unbound", r#"{"type":"string"}"#);
        let first = Checkers::of(&state, &Checkers::default(), MOST_BYTES);
        assert_eq!(first.counts(), (20, 20), "what no payload can be of is not compiled");
        let again = Checkers::of(&state, &first, MOST_BYTES);
        assert_eq!(again.counts(), (20, 0));
        register(&mut state, "s3", r#"{"type":"object"}"#);
        let second = Checkers::of(&state, &again, MOST_BYTES);
        assert_eq!(second.counts(), (21, 1));
        assert!(check(&first, "t/3/x", "{}").is_err() && check(&second, "t/3/x", "{}").is_ok());
        assert_eq!(check(&second, "elsewhere", "no JSON"), Ok(()));
        let why = check(&second, "t/4/x", "{}").expect_err("it lacks a field");
        assert!(why.contains("f4"), "{why}");
    }

    #[test]
    fn what_a_schema_refers_to_is_a_part_of_it() {
        let mut state = State::new(RegistryLimits::default());
        register(&mut state, "code", r#"{"type":"string"}"#);
        let mut request = Request::of(Format::JsonSchema, r#"{"properties":{"at":{"$ref":"code.json"}}}"#);
        request.references = vec![crate::Reference { name: "code.json".into(), subject: "code".into(), version: 1 }];
        let change = state.register(&mut Cache::default(), "flight", &request).expect("it is a schema");
        put(&mut state, change);
        bind(&mut state, "flight", &["flight"]);
        let first = Checkers::of(&state, &Checkers::default(), MOST_BYTES);
        assert!(check(&first, "flight", r#"{"at":"JFK"}"#).is_ok() && check(&first, "flight", r#"{"at":7}"#).is_err());
        // As an import from elsewhere may do: the same number stands for another schema.
        let body =
            serde_json::json!({"format": "JSON", "text": "{\"type\":\"integer\"}", "fingerprint": "a".repeat(64)});
        state.put("schema", "1", Some(&body)).expect("it is a document");
        let second = Checkers::of(&state, &first, MOST_BYTES);
        assert_eq!(second.counts(), (1, 1));
        assert!(check(&second, "flight", r#"{"at":"JFK"}"#).is_err());
    }

    #[test]
    fn beyond_the_memory_for_them_schemas_are_not_compiled_and_their_payloads_do_not_fit() {
        let mut state = State::new(RegistryLimits::default());
        bound(&mut state, 4);
        let one = Checkers::of(&state, &Checkers::default(), MOST_BYTES);
        let weight = one.schemas.values().next().and_then(|kept| kept.schema.as_ref().ok()).expect("one").weight();
        let few = Checkers::of(&state, &Checkers::default(), weight * 2);
        assert_eq!(few.faults().count(), 2);
        assert!(check(&few, "t/0/x", r#"{"f0":1}"#).is_ok());
        let why = check(&few, "t/3/x", r#"{"f3":1}"#).expect_err("it was not compiled");
        assert!(why.contains("bytes already"), "{why}");
        let more = Checkers::of(&state, &few, MOST_BYTES);
        assert_eq!((more.faults().count(), more.counts().1), (0, 2), "once there is room they are");
    }
}
