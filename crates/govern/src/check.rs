//! Vetting by what this crate alone knows: whether documents are right by
//! themselves, whether what they name exists, whether tenants keep apart.
//!
//! Looks at what was changed, and at what refers to that. Whether a policy's
//! rules, a schema's text or an issuer's keys can be read, others vet. Time is
//! near to linear in the documents looked at: owners' filters lie in a tree, and
//! a walk in it that finds no end is a fault of its own.

mod own;
mod password;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weft_topic::Filter;

use crate::access::Fault;
use crate::document::{Credential, Document};
use crate::owners::{Owners, Steps, is_ownable};
use crate::{Key, Kind, State};

/// Most faults told; who has so many has one cause.
pub const MAX_FAULTS: usize = 1_000;
/// Steps that telling tenants' filters apart may take, all together: about a second.
/// Filters with their names in front take as many steps as they have levels.
const STEPS: usize = 4_000_000;
/// Most exports, and most imports, of one tenant.
const SHARES: usize = 256;
/// Most issuers: each token is looked up among them.
const ISSUERS: usize = 256;

/// What is wrong with a state that is to be: of the documents that were `changed`
/// and of those that refer to them. In order of key, at most [`MAX_FAULTS`].
#[must_use]
pub fn check(before: &State, after: &State, changed: &[Key]) -> Vec<Fault> {
    let mut look = Look { after, changed: changed.iter().collect(), topics: BTreeMap::new(), faults: BTreeSet::new() };
    let mut documents = Vec::new();
    for key in changed {
        let Some(item) = after.get(key) else { continue };
        match Document::read(key.kind(), &item.document) {
            Ok(document) if document.text() == *item.document => documents.push((key.clone(), document)),
            Ok(_) => look.fault(key, "it is not in canonical form: apply it with `weft apply`, which brings it there"),
            Err(error) => look.fault(key, &error.to_string()),
        }
    }
    let referring = referring(before, after, changed);
    for (key, document) in &documents {
        own::check(key, document, &mut |what| look.fault(key, &what));
    }
    for (key, document) in documents.iter().chain(&referring) {
        look.references(key, document);
    }
    look.tenants_are_apart();
    look.logins_are_apart();
    look.shares();
    look.faults.into_iter().take(MAX_FAULTS).collect()
}

/// What is not changed itself and refers to something that is: only what is
/// deleted, and a tenant's topics, can make it wrong.
fn referring(before: &State, after: &State, changed: &[Key]) -> Vec<(Key, Document)> {
    let gone_or_less = |key: &&Key| match key.kind() {
        Kind::Tenant => before.get(key).is_some(),
        Kind::Issuer | Kind::Schema | Kind::Subject => before.get(key).is_some() && after.get(key).is_none(),
        _ => false,
    };
    let names: BTreeSet<(Kind, &str)> =
        changed.iter().filter(gone_or_less).map(|key| (key.kind(), key.name())).collect();
    if names.is_empty() {
        return Vec::new();
    }
    let changed: BTreeSet<&Key> = changed.iter().collect();
    let mut out = Vec::new();
    for (key, item) in after.items().filter(|(key, _)| key.kind() != Kind::Schema && !changed.contains(key)) {
        let Ok(document) = Document::read(key.kind(), &item.document) else { continue };
        if named(&document).iter().any(|(kind, name)| names.contains(&(*kind, name.as_str()))) {
            out.push((key.clone(), document));
        }
    }
    out
}

/// What a document names that must exist.
fn named(document: &Document) -> Vec<(Kind, String)> {
    let mut names: Vec<(Kind, String)> =
        document.tenant().map(|name| (Kind::Tenant, name.to_owned())).into_iter().collect();
    match document {
        Document::Identity(identity) => {
            names.extend(identity.logins.iter().filter_map(|login| match login {
                Credential::Token { issuer, .. } => Some((Kind::Issuer, issuer.clone())),
                _ => None,
            }));
        }
        Document::Issuer(issuer) => names.extend(issuer.tenants.iter().map(|name| (Kind::Tenant, name.clone()))),
        Document::Export(export) => names.extend(export.to.iter().map(|name| (Kind::Tenant, name.clone()))),
        Document::Import(import) => names.push((Kind::Tenant, import.from.clone())),
        Document::Subject(subject) => {
            names.extend(subject.versions.values().map(|version| (Kind::Schema, version.id.to_string())));
        }
        Document::Reader(reader) => names.push((Kind::Subject, reader.subject.clone())),
        _ => {}
    }
    names
}

struct Look<'a> {
    after: &'a State,
    changed: BTreeSet<&'a Key>,
    /// The topics of tenants that were looked up.
    topics: BTreeMap<String, Vec<Filter>>,
    faults: BTreeSet<Fault>,
}

/// The filters of a tenant's document; those that are none are left out.
fn topics_of(state: &State, tenant: &str) -> Vec<Filter> {
    let Ok(key) = Key::new(Kind::Tenant, tenant) else { return Vec::new() };
    match state.get(&key).map(|item| Document::read(Kind::Tenant, &item.document)) {
        Some(Ok(Document::Tenant(tenant))) => {
            tenant.topics.iter().filter_map(|text| Filter::parse(text).ok()).collect()
        }
        _ => Vec::new(),
    }
}

impl<'a> Look<'a> {
    fn fault(&mut self, key: &Key, what: &str) {
        // One more than is told, so that memory is bounded whatever is wrong.
        if self.faults.len() <= MAX_FAULTS {
            self.faults.insert(Fault { key: key.to_string(), what: what.to_owned() });
        }
    }

    /// What it names exists, and what it speaks of for a tenant, the tenant owns.
    fn references(&mut self, key: &Key, document: &Document) {
        for (kind, name) in named(document) {
            let exists = Key::new(kind, &name).is_ok_and(|named| self.after.get(&named).is_some());
            if !exists {
                let what = format!("there is no {}/{name}: create it, or leave it out", kind.name());
                self.fault(key, &what);
            }
        }
        let topics = match document {
            Document::Export(export) => std::slice::from_ref(&export.topics),
            Document::Subject(subject) => &subject.topics,
            Document::Stream(stream) => &stream.topics,
            _ => return,
        };
        let Some(tenant) = document.tenant() else { return };
        let after = self.after;
        let owned = self.topics.entry(tenant.to_owned()).or_insert_with(|| topics_of(after, tenant));
        let outside =
            |text: &&String| Filter::parse(text).is_ok_and(|filter| !owned.iter().any(|owned| owned.includes(&filter)));
        let outside: Vec<String> = topics.iter().filter(outside).cloned().collect();
        for text in outside {
            let what = format!(
                "the tenant `{tenant}` does not own all of `{text}`: add it to the tenant's topics, or name less"
            );
            self.fault(key, &what);
        }
    }

    /// The topics of two tenants have none in common.
    fn tenants_are_apart(&mut self) {
        if !self.changed.iter().any(|key| key.kind() == Kind::Tenant) {
            return;
        }
        let mut owners = Owners::default();
        let mut changed = Vec::new();
        for (key, _) in self.after.of_kind(Kind::Tenant) {
            let name: Arc<str> = key.name().into();
            let filters = topics_of(self.after, key.name()).into_iter().filter(is_ownable);
            if self.changed.contains(key) {
                changed.extend(filters.map(|filter| (key, name.clone(), filter)));
            } else {
                filters.for_each(|filter| owners.insert(&name, &filter));
            }
        }
        let mut steps = Steps(STEPS);
        for (key, name, filter) in changed {
            let common = owners.meeting(&filter, &|owned| owned.tenant != name, &mut steps);
            if let Some(owned) = common {
                let (other, theirs) = (&owned.tenant, &owned.filter);
                let what = format!(
                    "`{filter}` has topics in common with `{theirs}` of tenant `{other}`: a topic has one owner, who may export it"
                );
                self.fault(key, &what);
            } else if steps.0 == 0 {
                let what = "the topics of so many tenants begin with wildcards that they cannot be told apart in time: put names in front";
                return self.fault(key, what);
            }
            owners.insert(&name, &filter);
        }
    }

    /// No credential stands for two identities, and no two issuers are alike.
    fn logins_are_apart(&mut self) {
        let of = |kind: Kind| self.changed.iter().any(|key| key.kind() == kind);
        if of(Kind::Identity) {
            let mut seen: BTreeMap<(u8, String, String), Key> = BTreeMap::new();
            for (key, item) in self.after.of_kind(Kind::Identity) {
                let Ok(Document::Identity(identity)) = Document::read(Kind::Identity, &item.document) else { continue };
                for login in identity.logins {
                    let (what, login) = match login {
                        Credential::Spiffe(uri) => (format!("`{uri}`"), (0, uri, String::new())),
                        Credential::Subject(name) => (format!("the subject `{name}`"), (1, name, String::new())),
                        Credential::Token { issuer, subject } => {
                            (format!("`{subject}` of the issuer `{issuer}`"), (2, issuer, subject))
                        }
                        Credential::Password(_) => continue,
                    };
                    let Some(other) = seen.insert(login, key.clone()) else { continue };
                    let (told, first) = if self.changed.contains(key) { (key, &other) } else { (&other, key) };
                    let what = format!("{what} is a login of {first} too: a login stands for one identity");
                    self.faults.insert(Fault { key: told.to_string(), what });
                }
            }
        }
        if of(Kind::Issuer) {
            let mut seen: BTreeMap<(String, String), Key> = BTreeMap::new();
            for (number, (key, item)) in self.after.of_kind(Kind::Issuer).enumerate() {
                if number == ISSUERS {
                    let what = format!("there would be more than {ISSUERS} issuers: delete one first");
                    self.faults.insert(Fault { key: key.to_string(), what });
                }
                let Ok(Document::Issuer(issuer)) = Document::read(Kind::Issuer, &item.document) else { continue };
                if let Some(other) = seen.insert((issuer.issuer, issuer.audience), key.clone()) {
                    let what = format!("{other} has this `iss` and this audience already: change that one");
                    self.faults.insert(Fault { key: key.to_string(), what });
                }
            }
        }
    }

    /// How many exports and imports a tenant has.
    fn shares(&mut self) {
        for kind in [Kind::Export, Kind::Import] {
            if !self.changed.iter().any(|key| key.kind() == kind) {
                continue;
            }
            let mut counts: BTreeMap<String, usize> = BTreeMap::new();
            for (key, item) in self.after.of_kind(kind) {
                let Ok(document) = Document::read(kind, &item.document) else { continue };
                let Some(tenant) = document.tenant() else { continue };
                let count = counts.entry(tenant.to_owned()).or_default();
                *count += 1;
                if *count == SHARES + 1 {
                    let what = format!(
                        "the tenant `{tenant}` would have more than {SHARES} {}s: name wider topics",
                        kind.name()
                    );
                    self.faults.insert(Fault { key: key.to_string(), what });
                }
            }
        }
    }
}
