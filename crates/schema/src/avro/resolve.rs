//! Whether a reader's schema resolves all that a writer's can say: the rules of
//! "Schema Resolution" in Avro's specification, with the words of Confluent's
//! registry for what is against it.
//!
//! As there, bytes may be read as a string. Stricter in one thing: two different logical types are not taken for each
//! other, since a timestamp in milliseconds read as microseconds is no error
//! anywhere, and wrong.
use std::collections::BTreeMap;

use super::nodes::{Names, Node, Nodes, Place, Shape};
use crate::error::Incompatibility;
use crate::limits::SchemaLimits;

/// How long a chain of types that are compared within each other may be.
const DEPTH: usize = 200;

/// Whether the reader reads all of the writer's.
pub(super) fn can_read(reader: &Nodes, writer: &Nodes, limits: &SchemaLimits) -> Result<(), Vec<Incompatibility>> {
    let mut resolve = Resolve {
        reader,
        writer,
        known: BTreeMap::new(),
        trail: Vec::new(),
        left: limits.compared,
        found: Vec::new(),
        limits,
    };
    if resolve.reads(reader.root(), writer.root(), "", 0) {
        return Ok(());
    }
    let mut found = resolve.found;
    if found.is_empty() {
        found.push(Incompatibility::new("", "TYPE_MISMATCH", "the schemas do not fit"));
    }
    found.truncate(limits.incompatibilities);
    Err(found)
}

struct Resolve<'a> {
    reader: &'a Nodes,
    writer: &'a Nodes,
    /// Pairs that were compared. One that is being compared counts as good: a
    /// datum is finite, so what hangs on itself hangs on something smaller.
    known: BTreeMap<(Place, Place), bool>,
    /// The good ones in order: what stood on a bad one must be asked again.
    trail: Vec<(Place, Place)>,
    left: usize,
    found: Vec<Incompatibility>,
    limits: &'a SchemaLimits,
}

impl Resolve<'_> {
    fn against(&mut self, at: &str, rule: &'static str, text: impl Into<String>) -> bool {
        if self.found.len() < self.limits.incompatibilities {
            self.found.push(Incompatibility::new(at, rule, text));
        }
        false
    }

    fn reads(&mut self, reader: Place, writer: Place, at: &str, depth: usize) -> bool {
        if let Some(known) = self.known.get(&(reader, writer)) {
            return *known;
        }
        if depth > DEPTH || self.left == 0 {
            return self.against(at, "UNDECIDED", "the schemas are too deep or too large to be compared");
        }
        self.left -= 1;
        let mark = self.trail.len();
        self.known.insert((reader, writer), true);
        self.trail.push((reader, writer));
        let good = self.compare(reader, writer, at, depth + 1);
        if !good {
            for pair in self.trail.drain(mark..) {
                self.known.remove(&pair);
            }
            self.known.insert((reader, writer), false);
        }
        good
    }

    fn compare(&mut self, reader: Place, writer: Place, at: &str, depth: usize) -> bool {
        let (reads, writes): (&Node, &Node) = (self.reader.at(reader), self.writer.at(writer));
        if let (Some(one), Some(other)) = (&reads.logical, &writes.logical)
            && one != other
        {
            return self.against(at, "LOGICAL_TYPE_MISMATCH", format!("the writer's {other} is read as {one}"));
        }
        match (&reads.shape, &writes.shape) {
            // Each branch of the writer's, one after the other; all are looked at.
            (_, Shape::Union(branches)) => branches.iter().enumerate().fold(true, |good, (index, branch)| {
                let at = format!("{at}/{index}");
                self.reads(reader, *branch, &at, depth) && good
            }),
            (Shape::Union(branches), _) => self.branch(branches, writer, at, depth),
            (Shape::Array(items), Shape::Array(written)) => self.reads(*items, *written, &format!("{at}/items"), depth),
            (Shape::Map(values), Shape::Map(written)) => self.reads(*values, *written, &format!("{at}/values"), depth),
            (Shape::Fixed { names, size }, Shape::Fixed { names: other, size: written }) => {
                let named = self.named(names, other, at);
                if size != written {
                    return self.against(
                        at,
                        "FIXED_SIZE_MISMATCH",
                        format!("{written} bytes are written and {size} are read"),
                    );
                }
                named
            }
            (Shape::Enum { names, symbols, default }, Shape::Enum { names: other, symbols: written, .. }) => {
                let named = self.named(names, other, at);
                let missing: Vec<&str> =
                    written.iter().filter(|one| !symbols.contains(one)).map(String::as_str).collect();
                if !missing.is_empty() && default.is_none() {
                    let text = format!("the reader's enum has no default and lacks {}", missing.join(", "));
                    return self.against(at, "MISSING_ENUM_SYMBOLS", text);
                }
                named
            }
            (Shape::Record { names, fields }, Shape::Record { names: other, fields: written }) => {
                let mut good = self.named(names, other, at);
                for field in fields {
                    let at = format!("{at}/fields/{}", field.name);
                    let from = written
                        .iter()
                        .find(|one| one.name == field.name)
                        .or_else(|| written.iter().find(|one| field.aliases.contains(&one.name)));
                    good &= match from {
                        Some(from) => self.reads(field.place, from.place, &at, depth),
                        None if field.has_default => true,
                        None => {
                            let text = format!("the reader's field '{}' has no default and is not written", field.name);
                            self.against(&at, "READER_FIELD_MISSING_DEFAULT_VALUE", text)
                        }
                    };
                }
                good
            }
            (one, other) if promotes(one, other) => true,
            (one, other) => {
                self.against(at, "TYPE_MISMATCH", format!("{} is written and {} is read", word(other), word(one)))
            }
        }
    }

    /// Whether one branch of the reader's union reads what is written.
    fn branch(&mut self, branches: &[Place], writer: Place, at: &str, depth: usize) -> bool {
        let before = self.found.len();
        let written = word(&self.writer.at(writer).shape);
        // The first branch of the same kind and name is the one that readers
        // take; only where there is none do they look for a wider one.
        let same = branches.iter().copied().find(|branch| self.alike(*branch, writer));
        if let Some(branch) = same {
            return self.reads(branch, writer, at, depth);
        }
        for branch in branches {
            if self.reads(*branch, writer, at, depth) {
                self.found.truncate(before);
                return true;
            }
        }
        self.found.truncate(before);
        self.against(
            at,
            "MISSING_UNION_BRANCH",
            format!("{written} is written, and no branch of the reader's union takes it"),
        )
    }

    /// Whether both are of one kind and, if they have names, of one name.
    fn alike(&self, reader: Place, writer: Place) -> bool {
        match (&self.reader.at(reader).shape, &self.writer.at(writer).shape) {
            (Shape::Fixed { names, .. }, Shape::Fixed { names: other, .. })
            | (Shape::Enum { names, .. }, Shape::Enum { names: other, .. })
            | (Shape::Record { names, .. }, Shape::Record { names: other, .. }) => names.full == other.full,
            (one, other) => std::mem::discriminant(one) == std::mem::discriminant(other) && !is_named(one),
        }
    }

    fn named(&mut self, reader: &Names, writer: &Names, at: &str) -> bool {
        if reader.short() == writer.short() || reader.aliases.contains(&writer.full) {
            return true;
        }
        self.against(at, "NAME_MISMATCH", format!("'{}' is written and '{}' is read", writer.full, reader.full))
    }
}

fn is_named(shape: &Shape) -> bool {
    matches!(shape, Shape::Fixed { .. } | Shape::Enum { .. } | Shape::Record { .. })
}

/// Whether a reader of `one` takes what is written as `other`.
fn promotes(one: &Shape, other: &Shape) -> bool {
    use Shape::{Boolean, Bytes, Double, Float, Int, Long, Null, String};
    match one {
        Null => matches!(other, Null),
        Boolean => matches!(other, Boolean),
        Int => matches!(other, Int),
        Long => matches!(other, Int | Long),
        Float => matches!(other, Int | Long | Float),
        Double => matches!(other, Int | Long | Float | Double),
        Bytes | String => matches!(other, Bytes | String),
        _ => false,
    }
}

fn word(shape: &Shape) -> &'static str {
    match shape {
        Shape::Null => "null",
        Shape::Boolean => "boolean",
        Shape::Int => "int",
        Shape::Long => "long",
        Shape::Float => "float",
        Shape::Double => "double",
        Shape::Bytes => "bytes",
        Shape::String => "string",
        Shape::Fixed { .. } => "fixed",
        Shape::Enum { .. } => "enum",
        Shape::Array(_) => "array",
        Shape::Map(_) => "map",
        Shape::Union(_) => "union",
        Shape::Record { .. } => "record",
    }
}
