//! What requests change: each gives the documents to be put, and what to answer.
use serde_json::Value;

use super::cache::Cache;
use super::error::RegistryError;
use super::find::Tested;
use super::{Document, GLOBAL, Global, Level, Mode, State, Stored, Subject, Version, document_name, kind};
use crate::binding::Check;
use crate::error::CompileError;
use crate::format::{Format, Reference, Schema};

/// A schema that is to be registered, looked up or tested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its format.
    pub format: Format,
    /// Its text.
    pub text: String,
    /// What it refers to.
    pub references: Vec<Reference>,
    /// Keep its canonical text in place of this one.
    pub normalize: bool,
    /// The id that it has elsewhere, in the mode [`Mode::Import`].
    pub id: Option<u32>,
    /// The version that it has elsewhere, in the mode [`Mode::Import`].
    pub version: Option<u32>,
}

impl Request {
    /// Of a text that refers to nothing.
    pub fn of(format: Format, text: impl Into<String>) -> Self {
        Self { format, text: text.into(), references: Vec::new(), normalize: false, id: None, version: None }
    }
}

/// What is to be changed, and the answer once it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Change<A> {
    /// Documents to be put, all or none. Empty: nothing changes.
    pub put: Vec<Document>,
    /// Kind and name of the documents on which this was decided. If one of them
    /// has changed since, the request must be decided again.
    pub read: Vec<(&'static str, String)>,
    /// What to answer.
    pub answer: A,
}

impl<A> Change<A> {
    fn nothing(answer: A) -> Self {
        Self { put: Vec::new(), read: Vec::new(), answer }
    }
}

/// The answer to a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registered {
    /// The id of the schema.
    pub id: u32,
    /// Its version in the subject.
    pub version: u32,
}

fn body(value: &impl serde::Serialize) -> Option<Value> {
    // Maps with keys of numbers and texts become JSON without fail.
    serde_json::to_value(value).ok()
}

impl State {
    fn put_subject_document(subject: &str, after: &Subject) -> Document {
        let empty = *after == Subject::default();
        let body = if empty { None } else { body(after) };
        Document { kind: kind::SUBJECT, name: document_name(subject), body }
    }

    fn global_document(global: &Global) -> Document {
        Document { kind: kind::REGISTRY, name: GLOBAL.to_owned(), body: body(global) }
    }

    fn global_key() -> (&'static str, String) {
        (kind::REGISTRY, GLOBAL.to_owned())
    }

    fn subject_key(subject: &str) -> (&'static str, String) {
        (kind::SUBJECT, document_name(subject))
    }

    /// Refuses names that no document can have.
    pub(super) fn named(&self, subject: &str) -> Result<(), RegistryError> {
        let fits = !subject.is_empty() && document_name(subject).len() <= self.limits.name_bytes;
        if fits && !subject.chars().any(char::is_control) {
            return Ok(());
        }
        Err(RegistryError::InvalidSubject(crate::error::shortened(subject)))
    }

    fn writable(&self, subject: &str) -> Result<Mode, RegistryError> {
        match self.mode(subject) {
            Mode::ReadOnly => Err(RegistryError::NotPermitted(format!(
                "subject '{subject}' is in read-only mode: set its mode to READWRITE"
            ))),
            mode => Ok(mode),
        }
    }

    /// Registers a schema as the next version of `subject`. The same schema again
    /// is the same version; the same schema in another subject has the same id.
    ///
    /// # Errors
    /// [`RegistryError`]; most of all that it is no schema, or does not go with
    /// the versions before.
    pub fn register(
        &self,
        cache: &mut Cache,
        subject: &str,
        request: &Request,
    ) -> Result<Change<Registered>, RegistryError> {
        self.named(subject)?;
        let mode = self.writable(subject)?;
        let schema = self.compile(request.format, &request.text, &request.references)?;
        let print = schema.fingerprint(&request.references);
        let known = self.by_fingerprint.get(&print).copied();
        let before = self.subjects.get(subject);
        let found = |id: u32| before.and_then(|before| before.live().find(|(_, version)| version.id == id));
        if let Some((version, Version { id, .. })) = known.and_then(found)
            && request.id.is_none_or(|wanted| wanted == id)
        {
            return Ok(Change::nothing(Registered { id, version }));
        }
        if (request.id.is_some() || request.version.is_some()) && mode != Mode::Import {
            return Err(RegistryError::NotPermitted(format!(
                "subject '{subject}' is not in import mode: leave out the id and the version, or set its mode to IMPORT"
            )));
        }
        if mode == Mode::Import && request.id.is_none() {
            return Err(RegistryError::NotPermitted(format!("subject '{subject}' is in import mode: say the id")));
        }
        if mode != Mode::Import {
            let tested = self.against_level(cache, subject, &schema)?;
            if !tested.found.is_empty() {
                return Err(RegistryError::Incompatible { subject: subject.to_owned(), found: tested.found });
            }
        }
        self.room(subject, known.is_none())?;
        let mut global = self.global.clone();
        let last = self.schemas.keys().next_back().copied().unwrap_or(0);
        // Where the document with the next id was lost, ids in use are not given again.
        global.next_id = global.next_id.max(last.saturating_add(1));
        let id = match (request.id, known) {
            (Some(id), _) => self.imported(id, &schema, &request.references)?,
            (None, Some(id)) => id,
            (None, None) => global.next_id,
        };
        let mut after = before.cloned().unwrap_or_default();
        let next = after.versions.keys().next_back().copied().unwrap_or(0).saturating_add(1);
        let version = match request.version {
            Some(0) => return Err(RegistryError::InvalidVersion("0".to_owned())),
            Some(version) if after.versions.get(&version).is_some_and(|there| there.id != id || !there.deleted) => {
                return Err(RegistryError::NotPermitted(format!(
                    "subject '{subject}' has a version {version} already"
                )));
            }
            Some(version) => version,
            None => next,
        };
        after.versions.insert(version, Version { id, deleted: false });
        let mut put = vec![Self::put_subject_document(subject, &after)];
        if !self.schemas.contains_key(&id) {
            let text = if request.normalize { schema.canonical().to_owned() } else { request.text.clone() };
            let references = request.references.clone();
            let stored = Stored { format: request.format, text, references, fingerprint: print.to_hex() };
            let body = body(&stored);
            let size = body.as_ref().map_or(0, |body| body.to_string().len());
            if size > self.limits.document_bytes {
                let (what, limit) = ("bytes with escapes and references", self.limits.document_bytes);
                return Err(CompileError::TooLarge { what, size, limit }.into());
            }
            put.push(Document { kind: kind::SCHEMA, name: id.to_string(), body });
        }
        if id >= global.next_id {
            global.next_id = id.checked_add(1).ok_or(RegistryError::Full { what: "ids", limit: u32::MAX as usize })?;
            put.push(Self::global_document(&global));
        }
        // The schemas that it refers to must still be there when it is put.
        let mut read = vec![Self::subject_key(subject), Self::global_key(), (kind::SCHEMA, id.to_string())];
        read.extend(request.references.iter().map(|reference| Self::subject_key(&reference.subject)));
        read.sort();
        read.dedup();
        Ok(Change { put, read, answer: Registered { id, version } })
    }

    /// Whether an imported id may stand for the schema.
    fn imported(&self, id: u32, schema: &Schema, references: &[Reference]) -> Result<u32, RegistryError> {
        let same = |stored: &Stored| stored.fingerprint == schema.fingerprint(references).to_hex();
        if id == 0 || id == u32::MAX {
            return Err(RegistryError::NotPermitted(format!("the id {id} cannot be used")));
        }
        match self.schemas.get(&id) {
            Some(stored) if !same(stored) => {
                Err(RegistryError::NotPermitted(format!("the id {id} stands for another schema already")))
            }
            _ => Ok(id),
        }
    }

    fn room(&self, subject: &str, new_schema: bool) -> Result<(), RegistryError> {
        let full = |what, limit| Err(RegistryError::Full { what, limit });
        match self.subjects.get(subject) {
            Some(there) if there.versions.len() >= self.limits.versions => {
                full("versions of this subject", self.limits.versions)
            }
            None if self.subjects.len() >= self.limits.subjects => full("subjects", self.limits.subjects),
            _ if new_schema && self.schemas.len() >= self.limits.schemas => full("schemas", self.limits.schemas),
            _ => Ok(()),
        }
    }

    /// What stands against the schema by the level of the subject.
    pub(super) fn against_level(
        &self,
        cache: &mut Cache,
        subject: &str,
        schema: &Schema,
    ) -> Result<Tested, RegistryError> {
        let level = self.level(subject);
        let live: Vec<u32> =
            self.subjects.get(subject).into_iter().flat_map(Subject::live).map(|(number, _)| number).collect();
        let compared: &[u32] = if level.transitive() { &live } else { live.last().map_or(&[], std::slice::from_ref) };
        self.test(cache, subject, schema, level, compared)
    }

    /// Deletes a subject: softly, or, what was deleted softly before, for good.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn delete_subject(&self, subject: &str, permanent: bool) -> Result<Change<Vec<u32>>, RegistryError> {
        self.writable(subject)?;
        let before = self.subjects.get(subject).filter(|before| !before.versions.is_empty());
        let before = before.ok_or_else(|| RegistryError::NoSubject(subject.to_owned()))?;
        let live: Vec<u32> = before.live().map(|(number, _)| number).collect();
        if !permanent && live.is_empty() {
            return Err(RegistryError::SubjectDeleted(subject.to_owned()));
        }
        if permanent && !live.is_empty() {
            return Err(RegistryError::SubjectNotDeleted(subject.to_owned()));
        }
        let numbers = if permanent { before.versions.keys().copied().collect() } else { live };
        let put_and_read = self.without(subject, before, &numbers, permanent)?;
        Ok(Change { put: put_and_read.0, read: put_and_read.1, answer: numbers })
    }

    /// Deletes a version: softly, or, what was deleted softly before, for good.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn delete_version(&self, subject: &str, version: &str, permanent: bool) -> Result<Change<u32>, RegistryError> {
        self.writable(subject)?;
        let before = self.subjects.get(subject).filter(|before| !before.versions.is_empty());
        let before = before.ok_or_else(|| RegistryError::NoSubject(subject.to_owned()))?;
        let number = self.number(subject, version, permanent)?;
        let there = before.versions.get(&number).copied();
        let there = there
            .ok_or_else(|| RegistryError::NoVersion { subject: subject.to_owned(), version: number.to_string() })?;
        let subject_name = subject.to_owned();
        match (permanent, there.deleted) {
            (false, true) => return Err(RegistryError::VersionDeleted { subject: subject_name, version: number }),
            (true, false) => return Err(RegistryError::VersionNotDeleted { subject: subject_name, version: number }),
            _ => {}
        }
        let (put, read) = self.without(subject, before, &vec![number], permanent)?;
        Ok(Change { put, read, answer: number })
    }

    /// The documents without these versions of a subject.
    #[allow(clippy::type_complexity, reason = "what is put, and what it was decided on")]
    fn without(
        &self,
        subject: &str,
        before: &Subject,
        numbers: &Vec<u32>,
        permanent: bool,
    ) -> Result<(Vec<Document>, Vec<(&'static str, String)>), RegistryError> {
        let mut after = before.clone();
        let mut put = Vec::new();
        let mut read = vec![Self::subject_key(subject), Self::global_key()];
        for number in numbers {
            if let Some(by) = self.referred_by(subject, *number).into_iter().next() {
                return Err(RegistryError::ReferenceExists { subject: subject.to_owned(), version: *number, by });
            }
            if permanent {
                after.versions.remove(number);
            } else if let Some(version) = after.versions.get_mut(number) {
                version.deleted = true;
            }
        }
        if permanent {
            let mut ids: Vec<u32> =
                numbers.iter().filter_map(|number| before.versions.get(number)).map(|version| version.id).collect();
            ids.sort_unstable();
            ids.dedup();
            for id in ids {
                let elsewhere = self.by_id.get(&id).into_iter().flatten();
                let mut elsewhere = elsewhere.filter(|(name, number)| name != subject || !numbers.contains(number));
                if elsewhere.next().is_none() {
                    put.push(Document { kind: kind::SCHEMA, name: id.to_string(), body: None });
                    read.push((kind::SCHEMA, id.to_string()));
                }
            }
        }
        put.push(Self::put_subject_document(subject, &after));
        // Every registration reads and most put the global document, so that of a
        // deletion and a new reference to what is deleted only one is made.
        put.push(Self::global_document(&self.global));
        Ok((put, read))
    }

    /// Sets the compatibility level of a subject, or of all that have none.
    ///
    /// # Errors
    /// [`RegistryError::InvalidSubject`].
    pub fn set_level(&self, subject: Option<&str>, level: Option<Level>) -> Result<Change<()>, RegistryError> {
        self.set(subject, |after| after.level = level, |global| global.level = level.unwrap_or(Level::Backward))
    }

    /// Sets the mode of a subject, or of all that have none. To begin an import
    /// where there are schemas already takes `force`.
    ///
    /// # Errors
    /// [`RegistryError::InvalidSubject`], [`RegistryError::NotPermitted`].
    pub fn set_mode(
        &self,
        subject: Option<&str>,
        mode: Option<Mode>,
        force: bool,
    ) -> Result<Change<()>, RegistryError> {
        let there = match subject {
            Some(subject) => self.subjects.get(subject).is_some_and(|subject| subject.latest().is_some()),
            None => self.subjects.values().any(|subject| subject.latest().is_some()),
        };
        if mode == Some(Mode::Import) && there && !force {
            return Err(RegistryError::NotPermitted(
                "there are schemas already: delete them, or say force=true".to_owned(),
            ));
        }
        self.set(subject, |after| after.mode = mode, |global| global.mode = mode.unwrap_or(Mode::ReadWrite))
    }

    /// Sets the topics of a subject; [`State::bind`] has looked at them.
    pub(crate) fn bound(
        &self,
        subject: &str,
        topics: Vec<String>,
        check: Check,
        quarantine: Option<String>,
    ) -> Result<Change<()>, RegistryError> {
        let own = |after: &mut Subject| (after.topics, after.check, after.quarantine) = (topics, check, quarantine);
        let mut change = self.set(Some(subject), own, |_| {})?;
        // Two bindings that were looked at apart must not both be made.
        change.read.push(Self::global_key());
        change.put.push(Self::global_document(&self.global));
        Ok(change)
    }

    fn set(
        &self,
        subject: Option<&str>,
        own: impl FnOnce(&mut Subject),
        all: impl FnOnce(&mut Global),
    ) -> Result<Change<()>, RegistryError> {
        let Some(subject) = subject else {
            let mut global = self.global.clone();
            all(&mut global);
            return Ok(Change {
                put: vec![Self::global_document(&global)],
                read: vec![Self::global_key()],
                answer: (),
            });
        };
        self.named(subject)?;
        if !self.subjects.contains_key(subject) && self.subjects.len() >= self.limits.subjects {
            return Err(RegistryError::Full { what: "subjects", limit: self.limits.subjects });
        }
        let mut after = self.subjects.get(subject).cloned().unwrap_or_default();
        own(&mut after);
        let put = vec![Self::put_subject_document(subject, &after)];
        Ok(Change { put, read: vec![Self::subject_key(subject)], answer: () })
    }
}
