//! Walking a TOML document with positions: every key is taken by name, what is
//! left over is unknown, and every mistake is noted with its place instead of
//! ending the walk.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use weft_base::ByteCount;
use weft_hub::options::Location;

use crate::time::parse_duration;

/// A mistake and where it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    /// Bytes from the start of the text.
    pub(crate) offset: usize,
    /// What is wrong and what to do.
    pub(crate) message: String,
}

/// All mistakes found so far, and where each key stands.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    pub(crate) list: Vec<Problem>,
    places: BTreeMap<String, usize>,
}

impl Problems {
    pub(crate) fn add(&mut self, offset: usize, message: impl Into<String>) {
        self.list.push(Problem { offset, message: message.into() });
    }

    /// Notes a mistake at the place of `path`, or of what it is part of.
    pub(crate) fn add_at(&mut self, path: &str, message: &str) {
        let mut known = path;
        let offset = loop {
            if let Some(offset) = self.places.get(known) {
                break *offset;
            }
            match known.rsplit_once('.') {
                Some((parent, _)) => known = parent,
                None => break 0,
            }
        };
        // Of the whole document when there is no path.
        let path = if path.is_empty() { String::new() } else { format!("{path}: ") };
        self.add(offset, format!("{path}{message}"));
    }
}

/// Line and column, both from 1, of a place in a text.
pub(crate) fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset.min(text.len())).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}

/// One table of the document.
pub(crate) struct Section<'a, 'i> {
    path: String,
    table: &'a DeTable<'i>,
    /// Where the table begins.
    pub(crate) offset: usize,
    known: Vec<&'static str>,
}

impl<'a, 'i> Section<'a, 'i> {
    pub(crate) fn new(path: &str, table: &'a DeTable<'i>, offset: usize, problems: &mut Problems) -> Self {
        problems.places.insert(path.to_owned(), offset);
        Self { path: path.to_owned(), table, offset, known: Vec::new() }
    }

    /// The key's path from the top.
    pub(crate) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn take(&mut self, key: &'static str, problems: &mut Problems) -> Option<&'a Spanned<DeValue<'i>>> {
        self.known.push(key);
        let (_, value) = self.table.iter().find(|(name, _)| name.get_ref() == key)?;
        problems.places.insert(self.path_of(key), value.span().start);
        Some(value)
    }

    /// Takes a value of one kind, which `read` reads.
    fn of_kind<T>(
        &mut self,
        key: &'static str,
        what: &str,
        problems: &mut Problems,
        read: impl FnOnce(&'a DeValue<'i>) -> Option<Result<T, String>>,
    ) -> Option<T> {
        let value = self.take(key, problems)?;
        let refused = match read(value.get_ref()) {
            Some(Ok(read)) => return Some(read),
            Some(Err(message)) => message,
            None => format!("{what} is needed, and this is {}", kind_of(value.get_ref())),
        };
        problems.add(value.span().start, format!("{}: {refused}", self.path_of(key)));
        None
    }

    pub(crate) fn text(&mut self, key: &'static str, problems: &mut Problems) -> Option<String> {
        self.of_kind(key, "a text in quotes", problems, |value| value.as_str().map(|text| Ok(text.to_owned())))
    }

    /// A list of texts; a text alone is a list of one.
    pub(crate) fn texts(&mut self, key: &'static str, problems: &mut Problems) -> Option<Vec<String>> {
        let what = "a list of texts such as `[\"a\", \"b\"]`";
        self.of_kind(key, what, problems, |value| match value {
            DeValue::String(text) => Some(Ok(vec![text.to_string()])),
            DeValue::Array(items) => {
                let text = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
                    DeValue::String(text) => Ok(text.to_string()),
                    other => Err(format!("{what} is needed, and in this one is {}", kind_of(other))),
                };
                Some(items.iter().map(text).collect())
            }
            _ => None,
        })
    }

    /// A list of lists of texts.
    pub(crate) fn lists(&mut self, key: &'static str, problems: &mut Problems) -> Option<Vec<Vec<String>>> {
        self.of_kind(key, "a list of lists such as `[[\"a\", \"b\"], [\"c\"]]`", problems, |value| {
            let text = |item: &Spanned<DeValue<'_>>| item.get_ref().as_str().map(str::to_owned);
            let list = |item: &Spanned<DeValue<'_>>| item.get_ref().as_array()?.iter().map(text).collect();
            value.as_array()?.iter().map(list).collect::<Option<Vec<Vec<String>>>>().map(Ok)
        })
    }

    /// A number, whole or not, not below 0.
    pub(crate) fn fraction(&mut self, key: &'static str, problems: &mut Problems) -> Option<f64> {
        self.of_kind(key, "a number", problems, |value| {
            let text = match value {
                DeValue::Integer(integer) => integer.as_str(),
                DeValue::Float(float) => float.as_str(),
                _ => return None,
            };
            let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0);
            Some(number.ok_or_else(|| format!("{text} is out of range: take a number that is not below 0")))
        })
    }

    /// A place on the map: latitude and longitude.
    pub(crate) fn location(&mut self, key: &'static str, problems: &mut Problems) -> Option<Location> {
        self.of_kind(key, "latitude and longitude such as `[40.64, -73.78]`", problems, |value| {
            let degrees = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
                DeValue::Integer(integer) => integer.as_str().parse::<f64>().ok(),
                DeValue::Float(float) => float.as_str().parse().ok(),
                _ => None,
            };
            let numbers: Option<Vec<f64>> = value.as_array()?.iter().map(degrees).collect();
            let [latitude, longitude] = numbers?.try_into().ok()?;
            let out = || "out of range: latitude is -90 to 90, longitude -180 to 180".to_owned();
            Some(Location::new(latitude, longitude).ok_or_else(out))
        })
    }

    /// A whole number of seconds, forwards or backwards: `"-90 s"`.
    pub(crate) fn jump(&mut self, key: &'static str, problems: &mut Problems) -> Option<i64> {
        self.of_kind(key, "a duration such as `\"-90 s\"`", problems, |value| {
            let text = value.as_str()?;
            let (sign, rest) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
            Some(parse_duration(rest.trim()).map(|time| sign * i64::try_from(time.as_secs()).unwrap_or(i64::MAX)))
        })
    }

    /// A share: `"0.5 %"`; answered in millionths.
    pub(crate) fn share(&mut self, key: &'static str, problems: &mut Problems) -> Option<u32> {
        self.of_kind(key, "a share such as `\"0.5 %\"`", problems, |value| {
            let text = value.as_str()?;
            let percent = text.strip_suffix('%').and_then(|text| text.trim().parse::<f64>().ok());
            let share = percent.filter(|percent| (0.0..=100.0).contains(percent)).map(|percent| percent * 1e4);
            Some(share.map(|share| share as u32).ok_or_else(|| format!("`{text}` is no share: write `\"0.5 %\"`")))
        })
    }

    /// A duration, or two between which chance is to choose.
    pub(crate) fn span(&mut self, key: &'static str, problems: &mut Problems) -> Option<[Duration; 2]> {
        let what = "a duration such as `\"5 s\"`, or two such as `[\"5 s\", \"20 s\"]`";
        self.of_kind(key, what, problems, |value| match value {
            DeValue::String(text) => Some(parse_duration(text).map(|one| [one; 2])),
            DeValue::Array(items) => {
                let texts: Option<Vec<&str>> = items.iter().map(|item| item.get_ref().as_str()).collect();
                let [least, most] = texts?.try_into().ok()?;
                Some(parse_duration(least).and_then(|least| Ok([least, parse_duration(most)?])))
            }
            _ => None,
        })
    }

    pub(crate) fn boolean(&mut self, key: &'static str, problems: &mut Problems) -> Option<bool> {
        self.of_kind(key, "`true` or `false`", problems, |value| value.as_bool().map(Ok))
    }

    /// A whole number that `T` can hold.
    pub(crate) fn number<T: TryFrom<u64>>(&mut self, key: &'static str, problems: &mut Problems) -> Option<T> {
        self.of_kind(key, "a whole number", problems, |value| {
            let integer = value.as_integer()?;
            let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok().and_then(|n| T::try_from(n).ok());
            // The largest of the widths that fits.
            let fits = |bits: u32| T::try_from(u64::MAX >> (64 - bits)).is_ok();
            let most =
                [64, 63, 32, 16, 8].into_iter().find(|bits| fits(*bits)).map_or(0, |bits| u64::MAX >> (64 - bits));
            Some(number.ok_or_else(|| format!("{} is out of range: take a number from 0 to {most}", integer.as_str())))
        })
    }

    /// A number of bytes: `"64 KiB"`, or a whole number.
    pub(crate) fn bytes(&mut self, key: &'static str, problems: &mut Problems) -> Option<ByteCount> {
        self.of_kind(key, "a number of bytes such as `\"64 KiB\"`", problems, |value| {
            let text = value.as_str().or_else(|| value.as_integer().map(|integer| integer.as_str()))?;
            Some(ByteCount::from_str(text).map_err(|e| e.to_string()))
        })
    }

    /// Bytes a second: `"8 MiB/s"`, or a whole number.
    pub(crate) fn rate(&mut self, key: &'static str, problems: &mut Problems) -> Option<ByteCount> {
        self.of_kind(key, "a number of bytes a second such as `\"8 MiB/s\"`", problems, |value| {
            let text = value.as_str().or_else(|| value.as_integer().map(|integer| integer.as_str()))?;
            Some(ByteCount::from_str(text.strip_suffix("/s").unwrap_or(text).trim_end()).map_err(|e| e.to_string()))
        })
    }

    pub(crate) fn duration(&mut self, key: &'static str, problems: &mut Problems) -> Option<Duration> {
        self.of_kind(key, "a duration such as `\"5 s\"`", problems, |value| value.as_str().map(parse_duration))
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&str, T)],
        problems: &mut Problems,
    ) -> Option<T> {
        let names = choices.iter().map(|(name, _)| format!("`\"{name}\"`")).collect::<Vec<_>>().join(" or ");
        self.of_kind(key, &names, problems, |value| {
            let text = value.as_str()?;
            let choice = choices.iter().find(|(name, _)| *name == text);
            Some(choice.map(|(_, choice)| *choice).ok_or_else(|| format!("`{text}` is not {names}")))
        })
    }

    /// A table within this one.
    pub(crate) fn section(&mut self, key: &'static str, problems: &mut Problems) -> Option<Section<'a, 'i>> {
        let value = self.take(key, problems)?;
        let path = self.path_of(key);
        match value.get_ref().as_table() {
            Some(table) => Some(Section::new(&path, table, value.span().start, problems)),
            None => {
                let found = kind_of(value.get_ref());
                problems
                    .add(value.span().start, format!("{path}: a table is needed (`[{path}]`), and this is {found}"));
                None
            }
        }
    }

    /// A list of tables within this one.
    pub(crate) fn sections(&mut self, key: &'static str, problems: &mut Problems) -> Vec<Section<'a, 'i>> {
        let Some(value) = self.take(key, problems) else { return Vec::new() };
        let path = self.path_of(key);
        let mut sections = Vec::new();
        let items = value.get_ref().as_array();
        for (i, item) in items.into_iter().flat_map(|items| items.iter()).enumerate() {
            match item.get_ref().as_table() {
                Some(table) => {
                    sections.push(Section::new(&format!("{path}.{i}"), table, item.span().start, problems));
                }
                None => problems.add(item.span().start, format!("{path}: tables are needed (`[[{path}]]`)")),
            }
        }
        if items.is_none() {
            let found = kind_of(value.get_ref());
            problems.add(value.span().start, format!("{path}: tables are needed (`[[{path}]]`), and this is {found}"));
        }
        sections
    }

    /// Whether the key is there.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.iter().any(|(name, _)| name.get_ref() == key)
    }

    /// Whether the key is there and is a text.
    pub(crate) fn is_text(&self, key: &str) -> bool {
        self.table.iter().any(|(name, value)| name.get_ref() == key && value.get_ref().is_str())
    }

    /// Notes a key that must be there and is not.
    pub(crate) fn needs(&self, key: &str, example: &str, problems: &mut Problems) {
        if !self.has(key) {
            problems.add(self.offset, format!("{} is missing: add `{key} = {example}`", self.path_of(key)));
        }
    }

    /// A text that must be there.
    pub(crate) fn needed(&mut self, key: &'static str, example: &str, problems: &mut Problems) -> Option<String> {
        self.needs(key, example, problems);
        self.text(key, problems)
    }

    /// Notes every key that nobody took.
    pub(crate) fn finish(self, problems: &mut Problems) {
        for (name, _) in self.table.iter() {
            let key: &str = name.get_ref();
            if self.known.contains(&key) {
                continue;
            }
            let path = self.path_of(key);
            let hint = match nearest(key, &self.known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the keys here are {}", self.known.join(", ")),
            };
            problems.add(name.span().start, format!("{path} is not known: {hint}"));
        }
    }
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "`true` or `false`",
        DeValue::Datetime(_) => "a time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The known key that `key` was probably meant to be.
pub(crate) fn nearest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    let scored = known.iter().map(|candidate| (distance(key, candidate), *candidate));
    scored.min().filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4).map(|(_, candidate)| candidate)
}

/// How many letters must be changed, added or left out (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (y, above) in b.iter().zip(row.iter_mut().skip(1)) {
            let value = (diagonal + usize::from(x != *y)).min(left + 1).min(*above + 1);
            diagonal = std::mem::replace(above, value);
            left = value;
        }
        row[0] = i + 1;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_letters() {
        for (a, b, n) in [("", "", 0), ("a", "", 1), ("", "ab", 2), ("kitten", "sitting", 3), ("name", "nmae", 2)] {
            assert_eq!(distance(a, b), n, "{a} {b}");
        }
        assert_eq!(nearest("nmae", &["region", "name"]), Some("name"));
        assert_eq!(nearest("colour", &["region", "name"]), None);
    }

    #[test]
    fn places_count_from_one_and_in_characters() {
        let text = "a\nüb = 1\n";
        assert_eq!(line_column(text, 0), (1, 1));
        assert_eq!(line_column(text, 2), (2, 1));
        assert_eq!(line_column(text, 4), (2, 2));
        assert_eq!(line_column(text, 99), (3, 1));
    }
}
