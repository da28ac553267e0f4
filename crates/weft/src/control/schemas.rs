//! What payloads are checked by at a hub: the documents of schemas and subjects,
//! compiled (`weft_schema::checkers`), for the hub, which knows no schema. And what
//! is wrong with such documents before they are proposed.
//!
//! Only what has changed since the last state is read and compiled.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_govern::access::Fault;
use weft_govern::document::{self, Document, Level};
use weft_govern::fence::Fence;
use weft_govern::inspect::{Inspector, Inspectors, Learned, Unfit};
use weft_govern::{Key, Kind, State};
use weft_schema::Fingerprint;
use weft_schema::checkers::{Checkers, MOST_BYTES};
use weft_schema::readers::{Declaration, Reads, who_breaks};
use weft_schema::registry::{self, Cache, RegistryLimits, Request, Stored, subject_of};
use weft_topic::{Filter, Topic};

/// The kinds of documents that the registry is made of.
const KINDS: [Kind; 3] = [Kind::Schema, Kind::Subject, Kind::Registry];
/// Consumers that are named in one refusal.
const MOST_NAMED: usize = 8;

/// The registry, as the documents of a state have it.
#[derive(Clone)]
struct Followed {
    registry: registry::State,
    /// The versions at which documents were last changed that it has.
    known: BTreeMap<Key, u64>,
    /// Documents that cannot be taken in.
    faults: BTreeMap<Key, String>,
}

impl Followed {
    fn new() -> Self {
        let registry = registry::State::new(RegistryLimits::default());
        Self { registry, known: BTreeMap::new(), faults: BTreeMap::new() }
    }

    /// Takes in what is not as it was. Answers whether anything was.
    fn follow(&mut self, state: &State) -> bool {
        let mut has_changed = false;
        for kind in KINDS {
            for (key, item) in state.of_kind(kind) {
                if self.known.get(key) != Some(&item.version) {
                    has_changed = true;
                    self.put(key, Some(&item.document));
                    self.known.insert(key.clone(), item.version);
                }
            }
        }
        let gone: Vec<Key> = self.known.keys().filter(|key| state.get(key).is_none()).cloned().collect();
        for key in gone {
            has_changed = true;
            self.put(&key, None);
            self.known.remove(&key);
        }
        has_changed
    }

    fn put(&mut self, key: &Key, document: Option<&str>) {
        let body = document.map(serde_json::from_str).transpose().map_err(|error| error.to_string());
        let put = |body: Option<serde_json::Value>| {
            self.registry.put(key.kind().name(), key.name(), body.as_ref()).map_err(|error| error.to_string())
        };
        match body.and_then(put) {
            Err(what) if document.is_some() => self.faults.insert(key.clone(), what),
            // There is nothing wrong with what is not there.
            _ => self.faults.remove(key),
        };
    }
}

/// Makes what payloads are checked by of each state.
pub(crate) struct Schemas {
    followed: Followed,
    /// The versions at which tenants were last changed, and what they own.
    tenants: BTreeMap<Key, u64>,
    fence: Arc<Fence>,
    checked: Arc<Checked>,
    learned: Option<Learned>,
}

impl Schemas {
    /// Of no state yet.
    pub(crate) fn new() -> Self {
        let (tenants, fence) = (BTreeMap::new(), Arc::default());
        Self { followed: Followed::new(), tenants, fence, checked: Arc::default(), learned: None }
    }
}

impl Inspectors for Schemas {
    fn learn(&mut self, state: &Arc<State>) -> Learned {
        let mut has_changed = self.followed.follow(state);
        let tenants = state.of_kind(Kind::Tenant).map(|(key, item)| (key.clone(), item.version)).collect();
        if self.tenants != tenants {
            // What of it cannot be understood is told where it is judged by.
            (self.tenants, self.fence) = (tenants, Arc::new(Fence::learn(state).0));
            has_changed = true;
        }
        if let Some(learned) = self.learned.as_mut().filter(|_| !has_changed) {
            learned.compiled = 0;
            return learned.clone();
        }
        let checkers = Checkers::of(&self.followed.registry, &self.checked.checkers, MOST_BYTES);
        let (schemas, compiled) = checkers.counts();
        let unread = self.followed.faults.iter().map(|(key, what)| Fault { key: key.to_string(), what: what.clone() });
        let unused = checkers.faults().map(|(id, what)| Fault { key: format!("schema/{id}"), what: what.to_owned() });
        let faults = unread.chain(unused).collect();
        self.checked = Arc::new(Checked { checkers, fence: self.fence.clone(), state: state.version() });
        let inspector: Arc<dyn Inspector> = self.checked.clone();
        let learned = Learned { inspector, faults, schemas: schemas as u64, compiled: compiled as u64 };
        self.learned = Some(learned.clone());
        learned
    }
}

/// The checkers of a state.
#[derive(Default)]
struct Checked {
    checkers: Checkers,
    /// Whose topics are.
    fence: Arc<Fence>,
    /// The version at which they became what they are.
    state: u64,
}

impl Inspector for Checked {
    fn checks(&self, topic: &str) -> bool {
        Topic::parse(topic).is_ok_and(|topic| self.checkers.binding(topic).is_some())
    }

    fn inspect(&self, topic: &str, schema: u32, payload: &[u8]) -> Result<(), Box<Unfit>> {
        let Ok(topic) = Topic::parse(topic) else { return Ok(()) };
        let named = (schema != 0).then_some(schema);
        let Err(misfit) = self.checkers.check(topic, named, payload) else { return Ok(()) };
        let binding = misfit.binding;
        Err(Box::new(Unfit {
            check: binding.check,
            subject: binding.subject.as_str().into(),
            version: misfit.by.map(|(version, _)| version),
            schema: misfit.by.map(|(_, id)| id),
            state: self.state,
            at: misfit.violation.at.into(),
            rule: misfit.violation.rule.into(),
            text: misfit.violation.text.into(),
            quarantine: binding.quarantine.as_deref().map(Arc::from),
            tenant: self.fence.owner(&Filter::from(topic)).cloned(),
        }))
    }
}

/// Looks at schemas, subjects and readers before they are proposed.
pub(crate) struct Looking {
    before: Followed,
    cache: Cache,
}

impl Looking {
    /// Of no state yet.
    pub(crate) fn new() -> Self {
        Self { before: Followed::new(), cache: Cache::default() }
    }

    /// What is wrong with what has changed between two states.
    pub(crate) fn look(&mut self, before: &State, after: &State, changed: &[Key]) -> Vec<Fault> {
        if !changed.iter().any(|key| KINDS.contains(&key.kind())) {
            return Vec::new();
        }
        self.before.follow(before);
        let mut then = self.before.clone();
        then.follow(after);
        let mut faults = Vec::new();
        for key in changed.iter().filter(|key| after.get(key).is_some()) {
            let mut fault = |what: String| faults.push(Fault { key: key.to_string(), what });
            if let Some(what) = then.faults.get(key) {
                fault(what.clone());
                continue;
            }
            match key.kind() {
                Kind::Schema => schema(&then.registry, key, &mut fault),
                Kind::Subject => self.subject(after, &then.registry, key, &mut fault),
                _ => {}
            }
        }
        faults
    }

    fn subject(&mut self, after: &State, then: &registry::State, key: &Key, fault: &mut dyn FnMut(String)) {
        let (Some(name), Some(subject)) = (subject_of(key.name()), read(after, key)) else { return };
        let topics: Vec<&str> = subject.topics.iter().map(String::as_str).collect();
        if !topics.is_empty()
            && let Err(error) = then.bind(&name, &topics, subject.check, subject.quarantine.as_deref())
        {
            fault(error.to_string());
        }
        let known = self.before.registry.version_ids(&name);
        let is_new = |(number, id): &(u32, u32)| known.get(number) != Some(id);
        let new: Vec<(u32, u32)> = then.version_ids(&name).into_iter().filter(is_new).collect();
        let level = then.level(&name);
        for (number, id) in new {
            let Ok(stored) = then.by_number(id) else { continue };
            match then.follows(&mut self.cache, &name, number) {
                Ok(tested) => {
                    for (other, found) in tested.found.iter().take(MOST_NAMED) {
                        fault(format!(
                            "version {number} does not go with version {other} ({}): {found}; mend it, or set another `level`",
                            level.name()
                        ));
                    }
                }
                Err(error) => fault(format!("version {number}: {error}")),
            }
            if level != Level::None
                && let Some(what) = self.breaks(after, then, &name, (number, stored))
            {
                fault(what);
            }
        }
    }

    /// Whom a version would break, in words.
    fn breaks(
        &mut self,
        after: &State,
        then: &registry::State,
        name: &str,
        (number, stored): (u32, &Stored),
    ) -> Option<String> {
        let declarations = declarations(after, name);
        let mut request = Request::of(stored.format, stored.text.clone());
        request.references.clone_from(&stored.references);
        let impact = who_breaks(then, &mut self.cache, name, &request, &declarations).ok()?;
        let first = impact.breaks.first()?;
        let regions = impact.regions();
        let named = impact.breaks.iter().take(MOST_NAMED).map(|one| {
            let regions: Vec<&str> =
                one.regions.iter().map(String::as_str).filter(|region| !region.is_empty()).collect();
            if regions.is_empty() { one.consumer.clone() } else { format!("{} ({})", one.consumer, regions.join(", ")) }
        });
        let named: Vec<String> = named.collect();
        let more = if impact.breaks.len() > MOST_NAMED { " and more" } else { "" };
        let why = first.found.first().map(ToString::to_string).unwrap_or_default();
        Some(format!(
            "version {number} breaks {} in {}: {}{more}; {} for one: {why}; have them read a newer version and declare it, \
             delete their `reader`, or set the level NONE",
            counted(impact.breaks.len(), "consumer"),
            counted(regions.len(), "region"),
            named.join(", "),
            first.consumer
        ))
    }
}

fn counted(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn read(state: &State, key: &Key) -> Option<document::Subject> {
    match Document::read(Kind::Subject, &state.get(key)?.document) {
        Ok(Document::Subject(subject)) => Some(subject),
        _ => None,
    }
}

/// What consumers of a subject say that they read, who call it as it is or as its document.
fn declarations(state: &State, subject: &str) -> Vec<Declaration> {
    let all = state.of_kind(Kind::Reader).filter_map(|(_, item)| match Document::read(Kind::Reader, &item.document) {
        Ok(Document::Reader(reader)) => Some(reader),
        _ => None,
    });
    all.filter(|reader| reader.subject == subject || subject_of(&reader.subject).as_deref() == Some(subject))
        .map(|reader| Declaration {
            consumer: reader.consumer,
            region: reader.region,
            subject: subject.to_owned(),
            reads: Reads::Version(reader.version),
        })
        .collect()
}

/// A schema compiles, and is what its fingerprint says.
fn schema(then: &registry::State, key: &Key, fault: &mut dyn FnMut(String)) {
    let Ok(id) = key.name().parse() else { return };
    let Ok(stored) = then.by_number(id) else { return };
    match then.compile(stored.format, &stored.text, &stored.references) {
        Ok(compiled) => {
            let print: Fingerprint = compiled.fingerprint(&stored.references);
            if print.to_hex() != stored.fingerprint {
                fault(format!("fingerprint: that of the text is {}: write that", print.to_hex()));
            }
        }
        Err(error) => fault(format!("text: {error}")),
    }
}

#[cfg(test)]
#[path = "schemas_tests.rs"]
mod tests;
