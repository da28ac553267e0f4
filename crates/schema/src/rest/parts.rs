//! The parts of a request's address: what it is about, and how.

/// What a path is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Root,
    Types,
    Contexts,
    Schema(u32),
    SchemaText(u32),
    SchemaSubjects(u32),
    SchemaVersions(u32),
    Subjects,
    Subject(String),
    Versions(String),
    Version(String, String),
    VersionText(String, String),
    ReferencedBy(String, String),
    Compatibility(String, Option<String>),
    Config(Option<String>),
    Mode(Option<String>),
}

/// How many parts a path may have.
const PARTS: usize = 16;

impl Target {
    /// What `path` is about; `None` if there is nothing of that path.
    pub(super) fn of(path: &str) -> Option<Self> {
        let path = path.trim_start_matches('/').trim_end_matches('/');
        if path.is_empty() {
            return Some(Self::Root);
        }
        // Taken apart before it is unescaped: a subject may have a slash in its name.
        let parts: Option<Vec<String>> = path.split('/').take(PARTS).map(|part| unescaped(part, false)).collect();
        let parts = parts?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let id = |text: &str| text.parse::<u32>().ok();
        Some(match parts.as_slice() {
            ["schemas", "types"] => Self::Types,
            ["contexts"] => Self::Contexts,
            ["schemas", "ids", number] => Self::Schema(id(number)?),
            ["schemas", "ids", number, "schema"] => Self::SchemaText(id(number)?),
            ["schemas", "ids", number, "subjects"] => Self::SchemaSubjects(id(number)?),
            ["schemas", "ids", number, "versions"] => Self::SchemaVersions(id(number)?),
            ["subjects"] => Self::Subjects,
            ["subjects", subject] => Self::Subject((*subject).to_owned()),
            ["subjects", subject, "versions"] => Self::Versions((*subject).to_owned()),
            ["subjects", subject, "versions", version] => Self::Version((*subject).to_owned(), (*version).to_owned()),
            ["subjects", subject, "versions", version, "schema"] => {
                Self::VersionText((*subject).to_owned(), (*version).to_owned())
            }
            ["subjects", subject, "versions", version, "referencedby"] => {
                Self::ReferencedBy((*subject).to_owned(), (*version).to_owned())
            }
            ["compatibility", "subjects", subject, "versions"] => Self::Compatibility((*subject).to_owned(), None),
            ["compatibility", "subjects", subject, "versions", version] => {
                Self::Compatibility((*subject).to_owned(), Some((*version).to_owned()))
            }
            ["config"] => Self::Config(None),
            ["config", subject] => Self::Config(Some((*subject).to_owned())),
            ["mode"] => Self::Mode(None),
            ["mode", subject] => Self::Mode(Some((*subject).to_owned())),
            _ => return None,
        })
    }
}

/// The parameters of a query. Of two of one name the first counts.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn of(text: &str) -> Self {
        let pairs = text.split('&').take(PARTS).filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Self(pairs.filter_map(|(name, value)| Some((unescaped(name, true)?, unescaped(value, true)?))).collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// Whether it says `true`, as Python's clients write it too.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    pub(super) fn number(&self, name: &str) -> Option<usize> {
        self.get(name)?.parse().ok()
    }
}

/// `text` without escapes; `None` if one is broken or it is no UTF-8.
fn unescaped(text: &str, plus: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = after;
            }
            b'+' if plus => bytes.push(b' '),
            byte => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).ok()
}
