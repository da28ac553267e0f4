//! Identities, found by what shows that somebody is one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weft_govern::access::{Fault, Method, Principal};
use weft_govern::document::{Credential, Identity};
use weft_govern::{Kind, MAX_NAME, State};

use crate::password::Hash;

/// Ways to log in, of one identity.
const MAX_LOGINS: usize = 64;
/// Passwords of one identity: more than one while it is changed.
const MAX_PASSWORDS: usize = 2;
/// Roles of one identity.
pub(crate) const MAX_ROLES: usize = 64;

/// An identity whose document can be used.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) name: Arc<str>,
    pub(crate) tenant: Option<Arc<str>>,
    pub(crate) roles: Vec<Arc<str>>,
    pub(crate) disabled: bool,
    /// Hashes, with their text.
    pub(crate) passwords: Vec<(Hash, String)>,
    logins: Vec<Credential>,
}

impl Known {
    fn read(name: &str, text: &str) -> Result<Self, String> {
        let document: Identity = serde_json::from_str(text).map_err(|e| e.to_string())?;
        if document.logins.len() > MAX_LOGINS {
            return Err(format!("it has {} logins, at most {MAX_LOGINS}", document.logins.len()));
        }
        if document.roles.len() > MAX_ROLES || document.roles.iter().any(|r| r.is_empty() || r.len() > MAX_NAME) {
            return Err(format!("it has at most {MAX_ROLES} roles, of 1 to {MAX_NAME} bytes"));
        }
        let mut passwords = Vec::new();
        for credential in &document.logins {
            match credential {
                Credential::Password(text) => {
                    passwords.push((Hash::parse(text).map_err(|e| format!("its password: {e}"))?, text.clone()));
                }
                Credential::Spiffe(uri) if !is_spiffe(uri) => {
                    return Err(format!("`{uri}` is no SPIFFE ID: write `spiffe://DOMAIN/PATH`"));
                }
                Credential::Subject(subject) if subject.is_empty() => return Err("a subject is empty".to_owned()),
                _ => {}
            }
        }
        if passwords.len() > MAX_PASSWORDS {
            return Err(format!("it has {} passwords, at most {MAX_PASSWORDS}", passwords.len()));
        }
        let roles: BTreeSet<Arc<str>> = document.roles.iter().map(|role| role.as_str().into()).collect();
        Ok(Self {
            name: name.into(),
            tenant: document.tenant.as_deref().map(Into::into),
            roles: roles.into_iter().collect(),
            disabled: document.disabled,
            passwords,
            logins: document.logins,
        })
    }

    /// Who it is, when it has shown itself so.
    pub(crate) fn principal(&self, method: Method) -> Principal {
        let (tenant, name, roles) = (self.tenant.clone(), self.name.clone(), self.roles.clone().into());
        Principal { tenant, name, roles, method }
    }
}

/// Whether it is a SPIFFE ID (SPIFFE-ID, section 2): `spiffe://`, a trust domain of
/// `a-z0-9.-_`, and a path of segments of `a-zA-Z0-9.-_`, none empty, `.` or `..`.
pub(crate) fn is_spiffe(uri: &str) -> bool {
    let Some((domain, path)) = uri.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    let plain = |byte: u8| byte.is_ascii_digit() || b".-_".contains(&byte);
    let segment = |text: &str| {
        !matches!(text, "" | "." | "..") && text.bytes().all(|byte| plain(byte) || byte.is_ascii_alphabetic())
    };
    uri.len() <= 2_048
        && (1..=255).contains(&domain.len())
        && domain.bytes().all(|byte| plain(byte) || byte.is_ascii_lowercase())
        && path.split('/').all(segment)
}

/// All identities of a state.
#[derive(Debug, Default)]
pub(crate) struct Identities {
    /// With the document that it was read from.
    by_name: BTreeMap<Arc<str>, (Arc<str>, Arc<Known>)>,
    /// What two claim is nobody's.
    by_spiffe: BTreeMap<String, Option<Arc<Known>>>,
    by_subject: BTreeMap<String, Option<Arc<Known>>>,
    by_token: BTreeMap<(String, String), Option<Arc<Known>>>,
    tenants: BTreeSet<Arc<str>>,
    /// Those whose documents cannot be used: their names are taken all the same.
    unusable: BTreeSet<Arc<str>>,
}

impl Identities {
    /// Takes those of a state; what has not changed is not read again.
    pub(crate) fn learn(&mut self, state: &State) -> Vec<Fault> {
        let mut faults = Vec::new();
        let before = std::mem::take(self);
        self.tenants = state.of_kind(Kind::Tenant).map(|(key, _)| key.name().into()).collect();
        for (key, item) in state.of_kind(Kind::Identity) {
            let known = match before.by_name.get(key.name()) {
                Some((document, known)) if *document == item.document => Ok(known.clone()),
                _ => Known::read(key.name(), &item.document).map(Arc::new),
            };
            match known {
                Ok(known) => drop(self.by_name.insert(known.name.clone(), (item.document.clone(), known))),
                Err(what) => {
                    self.unusable.insert(key.name().into());
                    faults.push(Fault { key: key.to_string(), what });
                }
            }
        }
        for (_, known) in self.by_name.values() {
            for credential in &known.logins {
                let slot = match credential {
                    Credential::Spiffe(uri) => self.by_spiffe.entry(uri.clone()),
                    Credential::Subject(subject) => self.by_subject.entry(subject.clone()),
                    Credential::Token { issuer, subject } => {
                        let slot = self.by_token.entry((issuer.clone(), subject.clone()));
                        faults.extend(claim(slot, known));
                        continue;
                    }
                    Credential::Password(_) => continue,
                };
                faults.extend(claim(slot, known));
            }
        }
        faults
    }

    /// The identity of this name, also one that is disabled.
    pub(crate) fn named(&self, name: &str) -> Option<&Arc<Known>> {
        self.by_name.get(name).map(|(_, known)| known)
    }

    /// Whether there is an identity of this name, of whatever kind.
    pub(crate) fn is_taken(&self, name: &str) -> bool {
        self.by_name.contains_key(name) || self.unusable.contains(name)
    }

    pub(crate) fn has_tenant(&self, tenant: &str) -> bool {
        self.tenants.contains(tenant)
    }

    /// Who has this SPIFFE ID.
    pub(crate) fn of_spiffe(&self, uri: &str) -> Result<Option<&Known>, String> {
        self.usable(self.by_spiffe.get(uri))
    }

    /// Who has this subject.
    pub(crate) fn of_subject(&self, subject: &str) -> Result<Option<&Known>, String> {
        self.usable(self.by_subject.get(subject))
    }

    /// Who has tokens of this issuer for this subject.
    pub(crate) fn of_token(&self, issuer: &str, subject: &str) -> Result<Option<&Known>, String> {
        self.usable(self.by_token.get(&(issuer.to_owned(), subject.to_owned())))
    }

    fn usable<'a>(&'a self, found: Option<&'a Option<Arc<Known>>>) -> Result<Option<&'a Known>, String> {
        match found {
            None => Ok(None),
            Some(None) => Err("two identities claim it, so that it is nobody's".to_owned()),
            Some(Some(known)) => self.check(known).map(Some),
        }
    }

    /// Whether somebody may log in as this identity at all.
    pub(crate) fn check<'a>(&self, known: &'a Known) -> Result<&'a Known, String> {
        if known.disabled {
            return Err(format!("identity `{}` is disabled", known.name));
        }
        match &known.tenant {
            Some(tenant) if !self.has_tenant(tenant) => {
                Err(format!("identity `{}` is of tenant `{tenant}`, which there is not", known.name))
            }
            _ => Ok(known),
        }
    }
}

/// Gives what shows it to an identity, or to nobody where another has it.
fn claim<K: Ord + std::fmt::Debug>(
    slot: std::collections::btree_map::Entry<'_, K, Option<Arc<Known>>>,
    known: &Arc<Known>,
) -> Option<Fault> {
    use std::collections::btree_map::Entry;
    match slot {
        Entry::Vacant(free) => {
            free.insert(Some(known.clone()));
            None
        }
        Entry::Occupied(mut taken) => {
            if taken.get().as_ref().is_some_and(|other| other.name == known.name) {
                return None;
            }
            let other = taken.insert(None).map_or_else(|| "another".to_owned(), |other| format!("`{}`", other.name));
            let what = format!(
                "{:?} is of identity {other} as well, so that it is nobody's: take it away from one",
                taken.key()
            );
            Some(Fault { key: format!("identity/{}", known.name), what })
        }
    }
}
