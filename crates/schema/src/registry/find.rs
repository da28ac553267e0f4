//! What requests ask for, and nothing is changed by.
use std::collections::{BTreeMap, BTreeSet};

use super::cache::Cache;
use super::decide::Request;
use super::error::RegistryError;
use super::{Level, Mode, State, Stored, Subject, Version};
use crate::error::{CompileError, Incompatibility};
use crate::format::{Dependency, Format, Reference, Schema, Source};

/// A version of a subject, with its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found<'a> {
    /// The subject.
    pub subject: &'a str,
    /// The version.
    pub version: u32,
    /// The id of the schema.
    pub id: u32,
    /// The schema.
    pub schema: &'a Stored,
    /// Whether it was soft deleted.
    pub deleted: bool,
}

/// What stands against a schema.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tested {
    /// With the version that it stands against; empty if it is compatible.
    pub found: Vec<(u32, Incompatibility)>,
}

impl State {
    /// The level that holds for a subject.
    pub fn level(&self, subject: &str) -> Level {
        self.own_level(subject).unwrap_or(self.global.level)
    }

    /// The level that a subject has of its own.
    pub fn own_level(&self, subject: &str) -> Option<Level> {
        self.subjects.get(subject).and_then(|subject| subject.level)
    }

    /// The level of subjects that have none of their own.
    pub fn global_level(&self) -> Level {
        self.global.level
    }

    /// The mode that holds for a subject. Where all is read-only a subject is so too.
    pub fn mode(&self, subject: &str) -> Mode {
        self.own_mode(subject).unwrap_or(self.global.mode)
    }

    /// The mode that a subject has of its own.
    pub fn own_mode(&self, subject: &str) -> Option<Mode> {
        self.subjects.get(subject).and_then(|subject| subject.mode)
    }

    /// The mode of subjects that have none of their own.
    pub fn global_mode(&self) -> Mode {
        self.global.mode
    }

    /// The names of all subjects that have versions, with deleted ones or without.
    pub fn subjects(&self, deleted: bool) -> impl Iterator<Item = &str> {
        let has =
            move |subject: &Subject| if deleted { !subject.versions.is_empty() } else { subject.latest().is_some() };
        self.subjects.iter().filter(move |(_, subject)| has(subject)).map(|(name, _)| name.as_str())
    }

    /// A subject that has versions.
    fn subject(&self, subject: &str, deleted: bool) -> Result<(&str, &Subject), RegistryError> {
        self.subjects
            .get_key_value(subject)
            .filter(|(_, there)| if deleted { !there.versions.is_empty() } else { there.latest().is_some() })
            .map(|(name, there)| (name.as_str(), there))
            .ok_or_else(|| RegistryError::NoSubject(crate::error::shortened(subject)))
    }

    /// The numbers of a subject's versions.
    ///
    /// # Errors
    /// [`RegistryError::NoSubject`].
    pub fn versions(&self, subject: &str, deleted: bool) -> Result<Vec<u32>, RegistryError> {
        let (_, there) = self.subject(subject, deleted)?;
        Ok(there
            .versions
            .iter()
            .filter(|(_, version)| deleted || !version.deleted)
            .map(|(number, _)| *number)
            .collect())
    }

    /// What `version` means: a number from 1 on, or `latest`.
    pub(super) fn number(&self, subject: &str, version: &str, deleted: bool) -> Result<u32, RegistryError> {
        if version == "latest" || version == "-1" {
            let there = self.subjects.get(subject);
            let latest = if deleted {
                there.and_then(|there| there.versions.keys().next_back().copied())
            } else {
                there.and_then(|there| there.latest().map(|(number, _)| number))
            };
            return latest.ok_or_else(|| RegistryError::NoSubject(crate::error::shortened(subject)));
        }
        match version.parse::<u32>() {
            Ok(number @ 1..) if i32::try_from(number).is_ok() => Ok(number),
            _ => Err(RegistryError::InvalidVersion(crate::error::shortened(version))),
        }
    }

    /// A version of a subject.
    ///
    /// # Errors
    /// [`RegistryError`], if there is none.
    pub fn version(&self, subject: &str, version: &str, deleted: bool) -> Result<Found<'_>, RegistryError> {
        let (name, there) = self.subject(subject, deleted)?;
        let number = self.number(subject, version, deleted)?;
        let no_version = || RegistryError::NoVersion { subject: name.to_owned(), version: number.to_string() };
        let Version { id, deleted } =
            *there.versions.get(&number).filter(|one| deleted || !one.deleted).ok_or_else(no_version)?;
        let schema = self.by_number(id)?;
        Ok(Found { subject: name, version: number, id, schema, deleted })
    }

    /// The ids of a subject's versions that are not deleted, by number; none of one
    /// that there is not.
    pub fn version_ids(&self, subject: &str) -> BTreeMap<u32, u32> {
        let live = self.subjects.get(subject).into_iter().flat_map(Subject::live);
        live.map(|(number, version)| (number, version.id)).collect()
    }

    /// What stands against a version of a subject by the subject's level, compared
    /// with those before it that are not deleted.
    ///
    /// # Errors
    /// [`RegistryError`], if there is no such version or it is no schema.
    pub fn follows(&self, cache: &mut Cache, subject: &str, version: u32) -> Result<Tested, RegistryError> {
        let found = self.version(subject, &version.to_string(), false)?;
        let schema = cache.schema(self, found.id)?;
        let level = self.level(subject);
        let before: Vec<u32> = self.version_ids(subject).into_keys().filter(|number| *number < version).collect();
        let latest = before.last().map_or(&[][..], std::slice::from_ref);
        self.test(cache, subject, &schema, level, if level.transitive() { &before } else { latest })
    }

    /// The schema of an id.
    ///
    /// # Errors
    /// [`RegistryError::NoSchema`].
    pub fn by_number(&self, id: u32) -> Result<&Stored, RegistryError> {
        self.schemas.get(&id).ok_or_else(|| RegistryError::NoSchema(id.to_string()))
    }

    /// The subjects and versions that have the schema of an id.
    pub fn places(&self, id: u32, deleted: bool) -> Vec<(&str, u32)> {
        let live = |(subject, number): &(&str, u32)| {
            let version = self.subjects.get(*subject).and_then(|subject| subject.versions.get(number));
            version.is_some_and(|version| deleted || !version.deleted)
        };
        self.by_id
            .get(&id)
            .into_iter()
            .flatten()
            .map(|(subject, number)| (subject.as_str(), *number))
            .filter(live)
            .collect()
    }

    /// The version of `subject` that has this very schema.
    ///
    /// # Errors
    /// [`RegistryError::NoSubject`], [`RegistryError::NoSchema`], or why it is no schema.
    pub fn lookup(&self, subject: &str, request: &Request, deleted: bool) -> Result<Found<'_>, RegistryError> {
        let (name, there) = self.subject(subject, deleted)?;
        let schema = self.compile(request.format, &request.text, &request.references)?;
        let id = self.by_fingerprint.get(&schema.fingerprint(&request.references)).copied();
        let found = id.and_then(|id| {
            there.versions.iter().rev().find(|(_, version)| version.id == id && (deleted || !version.deleted))
        });
        let (number, version) = found.ok_or_else(|| RegistryError::NoSchema("with this text".to_owned()))?;
        let schema = self.by_number(version.id)?;
        Ok(Found { subject: name, version: *number, id: version.id, schema, deleted: version.deleted })
    }

    /// The ids of schemas that refer to a version and are not deleted.
    pub fn referred_by(&self, subject: &str, version: u32) -> Vec<u32> {
        let ids = self.referrers.get(&(subject.to_owned(), version)).into_iter().flatten().copied();
        ids.filter(|id| !self.places(*id, false).is_empty()).collect()
    }

    /// Compiles a text with what it refers to.
    ///
    /// # Errors
    /// [`RegistryError::InvalidSchema`].
    pub fn compile(&self, format: Format, text: &str, references: &[Reference]) -> Result<Schema, RegistryError> {
        let dependencies = self.dependencies(references)?;
        Ok(Schema::compile(format, &Source { text, dependencies: &dependencies }, &self.limits.schema)?)
    }

    /// The texts that references lead to, each after those that it needs itself.
    ///
    /// # Errors
    /// [`CompileError`], if one is not there, they are too many or too deep, or
    /// one name stands for two texts.
    pub fn dependencies(&self, references: &[Reference]) -> Result<Vec<Dependency>, CompileError> {
        let mut found = Resolving { done: BTreeMap::new(), order: Vec::new(), bytes: 0 };
        self.resolve(references, 1, &mut found)?;
        Ok(found.order)
    }

    fn resolve(&self, references: &[Reference], depth: usize, found: &mut Resolving) -> Result<(), CompileError> {
        let limits = &self.limits.schema;
        let too_large = |what, size, limit| Err(CompileError::TooLarge { what, size, limit });
        if depth > limits.reference_depth && !references.is_empty() {
            return too_large("references in a chain or more", depth, limits.reference_depth);
        }
        for reference in references {
            let there =
                self.subjects.get(&reference.subject).and_then(|subject| subject.versions.get(&reference.version));
            let id = there.map(|version| version.id);
            let stored = id.and_then(|id| self.schemas.get(&id));
            let (Some(id), Some(stored)) = (id, stored) else {
                let reason = format!(
                    "version {} of subject '{}', to which '{}' refers, is not there: register that first",
                    reference.version, reference.subject, reference.name
                );
                return Err(CompileError::refused("references", reason));
            };
            match found.done.get(&reference.name) {
                Some(same) if *same == id => continue,
                Some(_) => {
                    let reason =
                        format!("'{}' stands for two schemas: use one version of it everywhere", reference.name);
                    return Err(CompileError::refused("references", reason));
                }
                None => {}
            }
            found.done.insert(reference.name.clone(), id);
            found.bytes = found.bytes.saturating_add(stored.text.len());
            if found.done.len() > limits.references {
                return too_large("referenced schemas or more", found.done.len(), limits.references);
            }
            if found.bytes > limits.referenced_bytes {
                return too_large("bytes of referenced schemas or more", found.bytes, limits.referenced_bytes);
            }
            self.resolve(&stored.references, depth + 1, found)?;
            found.order.push(Dependency { name: reference.name.clone(), text: stored.text.clone() });
        }
        Ok(())
    }

    /// What stands against `schema` by `level`, compared with these versions of
    /// `subject`.
    pub(super) fn test(
        &self,
        cache: &mut Cache,
        subject: &str,
        schema: &Schema,
        level: Level,
        versions: &[u32],
    ) -> Result<Tested, RegistryError> {
        let mut tested = Tested::default();
        if level == Level::None {
            return Ok(tested);
        }
        let there = self.subjects.get(subject);
        let mut seen = BTreeSet::new();
        for number in versions.iter().rev() {
            let Some(version) = there.and_then(|there| there.versions.get(number)) else { continue };
            if !seen.insert(version.id) || tested.found.len() >= self.limits.schema.incompatibilities {
                continue;
            }
            let other = cache.schema(self, version.id)?;
            let mut against = Vec::new();
            if level.backward() {
                against.extend(schema.can_read(&other).err().into_iter().flatten());
            }
            if level.forward() {
                against.extend(other.can_read(schema).err().into_iter().flatten());
            }
            tested.found.extend(against.into_iter().map(|one| (*number, one)));
        }
        tested.found.truncate(self.limits.schema.incompatibilities);
        Ok(tested)
    }

    /// What stands against a schema, compared with one version of `subject`, or
    /// with those that the subject's level asks for.
    ///
    /// # Errors
    /// [`RegistryError`], if there is no such version or it is no schema.
    pub fn compatibility(
        &self,
        cache: &mut Cache,
        subject: &str,
        version: Option<&str>,
        request: &Request,
    ) -> Result<Tested, RegistryError> {
        let with = version.map(|version| self.version(subject, version, false)).transpose()?;
        let schema = self.compile(request.format, &request.text, &request.references)?;
        match with {
            Some(found) => self.test(cache, subject, &schema, self.level(subject), &[found.version]),
            None => self.against_level(cache, subject, &schema),
        }
    }
}

struct Resolving {
    /// Ids by the name of the reference.
    done: BTreeMap<String, u32>,
    order: Vec<Dependency>,
    bytes: usize,
}
