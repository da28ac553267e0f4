//! What a document must be by itself: lengths, forms, and what contradicts itself.

use std::collections::BTreeSet;

use weft_topic::Filter;

use super::password;
use crate::access::Action;
use crate::document::{
    Check, Credential, Document, Identity, Issuer, Keys, Reader, Retention, Schema, Stream, Subject, Tenant,
};
use crate::owners::{is_ownable, is_reserved};
use crate::{Key, Kind};

/// Bytes of a description.
const DESCRIPTION: usize = 4 << 10;
/// Filters of one tenant, and of one subject.
const FILTERS: usize = 256;
/// Filters, and homes, of one stream.
const STREAM: usize = 64;
/// Roles of an identity, ways in which it may log in.
const ROLES: usize = 64;
const LOGINS: usize = 16;
/// Entries of the lists of an issuer, and of an export.
const LIST: usize = 256;
/// Tokens that one issuer lists as revoked.
const REVOKED: usize = 4_096;
/// Bytes of a role, and of another short text.
const NAME: usize = 128;
const TEXT: usize = 2 << 10;
/// Seconds by which clocks may be said to differ.
const LEEWAY: u64 = 300;
/// Versions of a subject, references of a schema.
const VERSIONS: usize = 1_000;
const REFERENCES: usize = 64;
/// Signatures of tokens (RFC 7518, RFC 8037): asymmetric ones alone.
const ALGORITHMS: [&str; 9] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];
/// What topics are exported for.
const SHARED: [Action; 5] = [Action::Publish, Action::Subscribe, Action::Request, Action::Reply, Action::Consume];

pub(super) fn check(key: &Key, document: &Document, fault: &mut dyn FnMut(String)) {
    let mut look = Own { fault };
    match document {
        Document::Tenant(tenant) => look.tenant(tenant),
        Document::Identity(identity) => look.identity(identity),
        Document::Issuer(issuer) => look.issuer(issuer),
        Document::Policy(policy) => {
            look.description(&policy.description);
            if policy.rules.trim().is_empty() {
                look.say("rules: there are none: write at least one, or delete the policy");
            }
        }
        Document::Export(export) => {
            look.filter("topics", &export.topics);
            look.list("to", &export.to, LIST);
            look.list("actions", &export.actions, SHARED.len());
            if export.to.contains(&export.tenant) {
                look.say("to: a tenant uses its own topics without an export: leave it out");
            }
            if export.actions.is_empty() {
                look.say("actions: there are none: name what it is exported for, such as `subscribe`");
            }
            for action in &export.actions {
                if !SHARED.iter().any(|known| known.name() == action) {
                    let known: Vec<_> = SHARED.iter().map(|action| format!("`{}`", action.name())).collect();
                    look.say(&format!("actions: `{}` is none of {}", shown(action), known.join(", ")));
                }
            }
        }
        Document::Import(import) => {
            look.filter("topics", &import.topics);
            if import.from == import.tenant {
                look.say("from: a tenant uses its own topics without an import: delete it");
            }
        }
        Document::Subject(subject) => look.subject(subject),
        Document::Schema(schema) => look.schema(key, schema),
        Document::Reader(reader) => look.reader(reader),
        Document::Stream(stream) => look.stream(key, stream),
        Document::Registry(registry) => {
            if key.name() != "global" {
                look.say("there is one document of this kind: name it `registry/global`");
            }
            if registry.next_id == 0 {
                look.say("next_id: ids begin at 1");
            }
        }
    }
}

/// A text as it may stand in a message.
fn shown(text: &str) -> String {
    text.chars().take(NAME).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// 1 to 64 of `a-z`, `0-9` and `-`, as names of hubs and streams are.
fn is_label(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

struct Own<'a> {
    fault: &'a mut dyn FnMut(String),
}

impl Own<'_> {
    fn say(&mut self, what: &str) {
        (self.fault)(what.to_owned());
    }

    fn description(&mut self, text: &str) {
        self.text("description", text, 0, DESCRIPTION);
    }

    fn text(&mut self, field: &str, text: &str, least: usize, most: usize) {
        if !(least..=most).contains(&text.len()) {
            self.say(&format!("{field}: it has {} bytes, and may have {least} to {most}", text.len()));
        } else if text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
            self.say(&format!("{field}: it has a control character: remove it"));
        }
    }

    /// Not too long, and nothing in it twice.
    fn list(&mut self, field: &str, list: &[String], most: usize) {
        if list.len() > most {
            self.say(&format!("{field}: there are {}, of which {most} are allowed: take some out", list.len()));
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = list.iter().find(|text| !seen.insert(text.as_str())) {
            self.say(&format!("{field}: `{}` is named twice: name it once", shown(twice)));
        }
    }

    fn filter(&mut self, field: &str, text: &str) -> Option<Filter> {
        match Filter::parse(text) {
            Err(error) => self.say(&format!("{field}: `{}`: {error}", shown(text))),
            Ok(filter) if is_reserved(&filter) => {
                self.say(&format!("{field}: `{filter}` is reserved: what begins with `_` is the hubs' own"));
            }
            Ok(filter) if filter.as_str() != text => {
                self.say(&format!("{field}: write `{filter}` for `{text}`: it is the same, in its one form"));
            }
            Ok(filter) => return Some(filter),
        }
        None
    }

    fn filters(&mut self, field: &str, texts: &[String], most: usize) -> Vec<Filter> {
        self.list(field, texts, most);
        texts.iter().take(most).filter_map(|text| self.filter(field, text)).collect()
    }

    fn tenant(&mut self, tenant: &Tenant) {
        self.description(&tenant.description);
        for filter in self.filters("topics", &tenant.topics, FILTERS) {
            if !is_ownable(&filter) {
                self.say(&format!("topics: `{filter}` has `**` before its end, where many tenants' topics are: end it there, or write `*`"));
            }
        }
    }

    fn roles<'a>(&mut self, roles: impl Iterator<Item = &'a String>) {
        for role in roles {
            let fits = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '@');
            if !(1..=NAME).contains(&role.len()) || !role.chars().all(fits) {
                self.say(&format!(
                    "roles: the role `{}` is not possible: 1 to {NAME} letters, digits, `-`, `_`, `.`, `:` and `@`",
                    shown(role)
                ));
            }
        }
    }

    fn identity(&mut self, identity: &Identity) {
        self.list("roles", &identity.roles, ROLES);
        self.roles(identity.roles.iter());
        if identity.logins.len() > LOGINS {
            self.say(&format!(
                "logins: there are {}, of which {LOGINS} are allowed: take some out",
                identity.logins.len()
            ));
        }
        for (number, login) in identity.logins.iter().enumerate() {
            let field = format!("logins[{number}]");
            match login {
                Credential::Spiffe(uri) => {
                    self.text(&field, uri, 1, TEXT);
                    if !is_spiffe(uri) {
                        self.say(&format!("{field}: `{}` is no SPIFFE URI: write `spiffe://domain/path`", shown(uri)));
                    }
                }
                Credential::Subject(name) => self.text(&field, name, 1, TEXT),
                Credential::Token { subject, .. } => self.text(&field, subject, 1, TEXT),
                Credential::Password(hash) => {
                    if let Some(wrong) = password::wrong(hash) {
                        self.say(&format!("{field}: {wrong}"));
                    }
                }
            }
        }
        let passwords = identity.logins.iter().filter(|login| matches!(login, Credential::Password(_))).count();
        if passwords > 2 {
            self.say("logins: two passwords are enough to change from one to the other: take some out");
        }
    }

    fn issuer(&mut self, issuer: &Issuer) {
        self.text("issuer", &issuer.issuer, 1, TEXT);
        self.text("audience", &issuer.audience, 1, TEXT);
        match &issuer.keys {
            Keys::Url(url) => {
                self.text("keys.url", url, 1, TEXT);
                if !url.starts_with("https://") {
                    self.say("keys.url: keys are fetched by `https://` alone, since whoever can change them can log in as anybody");
                }
            }
            Keys::Jwks(set) => {
                let keys = set.get("keys").and_then(|keys| keys.as_array());
                if keys.is_none_or(Vec::is_empty) {
                    self.say("keys.jwks: this is no JWK set with keys (RFC 7517): write `{\"keys\":[...]}`");
                }
                if has_null(set) {
                    self.say("keys.jwks: a field is `null`, which files cannot say: leave it out");
                }
            }
        }
        self.list("algorithms", &issuer.algorithms, ALGORITHMS.len());
        for algorithm in &issuer.algorithms {
            if !ALGORITHMS.contains(&algorithm.as_str()) {
                let known = ALGORITHMS.join(", ");
                self.say(&format!("algorithms: `{}` is not taken: it is one of {known}", shown(algorithm)));
            }
        }
        self.list("tenants", &issuer.tenants, LIST);
        match (&issuer.tenant, &issuer.tenant_claim) {
            (Some(_), Some(_)) => self.say("tenant_claim: name the tenant, or the claim that does, not both"),
            (_, Some(_)) if issuer.tenants.is_empty() => {
                self.say("tenants: list the tenants that the claim may name, so that the issuer speaks for no other");
            }
            (_, None) if !issuer.tenants.is_empty() => {
                self.say("tenants: they are those that `tenant_claim` may name: add it, or leave them out");
            }
            _ => {}
        }
        for (field, claim) in [("tenant_claim", &issuer.tenant_claim), ("roles_claim", &issuer.roles_claim)] {
            if let Some(claim) = claim {
                self.text(field, claim, 1, NAME);
            }
        }
        if issuer.roles.len() > LIST {
            self.say(&format!("roles: there are {}, of which {LIST} are allowed: take some out", issuer.roles.len()));
        }
        if !issuer.roles.is_empty() && issuer.roles_claim.is_none() {
            self.say("roles: they are what the roles of `roles_claim` are called: add it, or leave them out");
        }
        self.roles(issuer.roles.values());
        for role in issuer.roles.keys() {
            self.text("roles", role, 1, TEXT);
        }
        if issuer.leeway_seconds.is_some_and(|seconds| seconds > LEEWAY) {
            self.say(&format!("leeway_seconds: {LEEWAY} is the most: set the clocks instead"));
        }
        self.list("revoked", &issuer.revoked, REVOKED);
        for number in &issuer.revoked {
            self.text("revoked", number, 1, TEXT);
        }
    }

    fn subject(&mut self, subject: &Subject) {
        self.description(&subject.description);
        self.filters("topics", &subject.topics, FILTERS);
        match (&subject.quarantine, subject.check) {
            (None, Check::Quarantine) => self.say("quarantine: name the stream where payloads that do not fit go"),
            (Some(_), check) if check != Check::Quarantine => {
                self.say("quarantine: it is the stream of `check = \"quarantine\"`: set that, or leave it out");
            }
            (Some(stream), _) if !is_label(stream) => {
                self.say(&format!(
                    "quarantine: `{}` is no name of a stream: 1 to 64 of a-z, 0-9 and `-`",
                    shown(stream)
                ));
            }
            _ => {}
        }
        if subject.versions.len() > VERSIONS {
            self.say(&format!("versions: there are {}, of which {VERSIONS} are allowed", subject.versions.len()));
        }
        if subject.versions.contains_key(&0) {
            self.say("versions: they are counted from 1");
        }
    }

    fn schema(&mut self, key: &Key, schema: &Schema) {
        let id = key.name().parse::<u32>().ok().filter(|id| *id > 0 && id.to_string() == key.name());
        if id.is_none() {
            self.say("the name of a schema is its id, a number from 1 on");
        }
        if schema.text.is_empty() {
            self.say("text: there is none");
        }
        let print = &schema.fingerprint;
        if print.len() != 64 || !print.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            self.say("fingerprint: it has 64 digits of 0-9 and a-f: register the schema, which reckons it");
        }
        if schema.references.len() > REFERENCES {
            self.say(&format!("references: there are {}, of which {REFERENCES} are allowed", schema.references.len()));
        }
        for reference in &schema.references {
            self.text("references", &reference.name, 1, TEXT);
            if Key::new(Kind::Subject, &reference.subject).is_err() || reference.version == 0 {
                let subject = shown(&reference.subject);
                self.say(&format!(
                    "references: version {} of `{subject}` is no version of a subject",
                    reference.version
                ));
            }
        }
    }

    fn reader(&mut self, reader: &Reader) {
        self.description(&reader.description);
        self.text("consumer", &reader.consumer, 1, NAME);
        self.text("region", &reader.region, 0, NAME);
        if reader.version == 0 {
            self.say("version: versions of a subject are counted from 1");
        }
    }

    fn stream(&mut self, key: &Key, stream: &Stream) {
        self.description(&stream.description);
        if !is_label(key.name()) {
            self.say("the name of a stream is 1 to 64 of a-z, 0-9 and `-`");
        }
        self.filters("topics", &stream.topics, STREAM);
        if stream.topics.is_empty() && stream.mirror_of.is_none() {
            self.say("topics: there are none: name what the stream captures, such as `orders/**`");
        }
        self.list("homes", &stream.homes, STREAM);
        if stream.homes.is_empty() {
            self.say("homes: there are none: name the hubs that keep it");
        }
        for home in stream.homes.iter().filter(|home| !is_label(home)) {
            self.say(&format!("homes: `{}` is no name of a hub: 1 to 64 of a-z, 0-9 and `-`", shown(home)));
        }
        let numbers = [
            ("retain_bytes", stream.retain_bytes),
            ("retain_seconds", stream.retain_seconds),
            ("retain_events", stream.retain_events),
            ("segment_bytes", stream.segment_bytes),
            ("tombstone_seconds", stream.tombstone_seconds),
            ("dedup_seconds", stream.dedup_seconds),
            ("max_event", stream.max_event.map(u64::from)),
        ];
        for (field, number) in numbers {
            if number == Some(0) {
                self.say(&format!("{field}: 0 would be without a bound: leave it out for that"));
            }
            // Hubs count in milliseconds.
            if field.ends_with("_seconds") && number.is_some_and(|seconds| seconds > u64::MAX / 1_000) {
                self.say(&format!("{field}: it is out of range: leave it out for no bound"));
            }
        }
        if stream.tombstone_seconds.is_some() && !stream.compact {
            self.say("tombstone_seconds: only a compacted stream has tombstones: set `compact`, or leave it out");
        }
        if stream.compact && stream.retention != Retention::Limits {
            self.say("retention: a compacted stream is kept by its limits: leave one of the two out");
        }
        let replaces = stream.mirror_from.is_some() || stream.mirror_to.is_some();
        match &stream.mirror_of {
            None if replaces => {
                self.say("mirror_from: topics are replaced by mirrors alone: name the stream in `mirror_of`")
            }
            Some(of) if !is_label(of) || of == key.name() => {
                self.say(&format!("mirror_of: `{}` is no name of another stream", shown(of)));
            }
            Some(_) if stream.retention != Retention::Limits => {
                self.say("retention: a mirror keeps what its limits say: leave it out");
            }
            _ => {}
        }
    }
}

/// Goes as deep as documents may be.
fn has_null(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Null => true,
        serde_json::Value::Array(items) => items.iter().any(has_null),
        serde_json::Value::Object(map) => map.values().any(has_null),
        _ => false,
    }
}

/// `spiffe://trust-domain/path`, as the SPIFFE ID specification has it, section 2.
fn is_spiffe(uri: &str) -> bool {
    let Some(rest) = uri.strip_prefix("spiffe://") else { return false };
    let (domain, path) = rest.split_once('/').map_or((rest, None), |(domain, path)| (domain, Some(path)));
    let domain_fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
    let segment_fits = |segment: &str| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(fits)
    };
    (1..=255).contains(&domain.len())
        && domain.bytes().all(domain_fits)
        && path.is_none_or(|path| path.split('/').all(segment_fits))
}
