//! A schema as a table: each type is a node, and refers to others by their place.
use std::collections::{BTreeMap, BTreeSet};

use apache_avro::schema::{InnerDecimalSchema, Name, Schema, UuidSchema};
use serde_json::Value;

use crate::error::CompileError;
use crate::limits::SchemaLimits;

/// A place in [`Nodes`].
pub(super) type Place = usize;

/// What a type is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed { names: Names, size: usize },
    Enum { names: Names, symbols: Vec<String>, default: Option<String> },
    Array(Place),
    Map(Place),
    Union(Vec<Place>),
    Record { names: Names, fields: Vec<Field> },
}

/// The names of a named type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    /// With the namespace.
    pub(super) full: String,
    /// Other full names that a reader takes for its own.
    pub(super) aliases: Vec<String>,
}

impl Names {
    /// Without the namespace.
    pub(super) fn short(&self) -> &str {
        self.full.rsplit('.').next().unwrap_or(&self.full)
    }
}

/// A field of a record.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) aliases: Vec<String>,
    pub(super) place: Place,
    pub(super) has_default: bool,
}

/// A type.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) shape: Shape,
    /// The logical type with its parameters, if it has one.
    pub(super) logical: Option<String>,
}

/// All types of a schema. The root is the place [`Nodes::root`].
#[derive(Debug)]
pub(super) struct Nodes {
    nodes: Vec<Node>,
    root: Place,
}

/// What there is when a place is out of the table, which it never is.
const NOTHING: &Node = &Node { shape: Shape::Null, logical: None };

impl Nodes {
    /// Lays out `root`, whose names may be of types in `given`.
    pub(super) fn of(root: &Schema, given: &[Schema], limits: &SchemaLimits) -> Result<Self, CompileError> {
        let mut build = Build { nodes: Vec::new(), named: BTreeMap::new(), defaults: Vec::new(), limits };
        // The types of all texts have their places before the first one is looked for.
        for schema in given {
            build.reserve(schema, None)?;
        }
        build.reserve(root, None)?;
        for schema in given {
            build.node(schema, None)?;
        }
        let root = build.node(root, None)?;
        let Build { nodes, defaults, .. } = build;
        let nodes =
            Self { nodes: nodes.into_iter().map(|node| node.unwrap_or_else(|| NOTHING.clone())).collect(), root };
        for (at, place, default) in defaults {
            if !nodes.fits(place, &default, 0) {
                return Err(CompileError::invalid(at, "the default of the field is not of the field's type"));
            }
        }
        Ok(nodes)
    }

    pub(super) fn root(&self) -> Place {
        self.root
    }

    pub(super) fn at(&self, place: Place) -> &Node {
        self.nodes.get(place).unwrap_or(NOTHING)
    }

    /// About how many bytes of memory they take.
    pub(super) fn weight(&self) -> usize {
        self.nodes
            .iter()
            .map(|node| 256 + if let Shape::Record { fields, .. } = &node.shape { fields.len() * 128 } else { 0 })
            .sum()
    }

    /// Whether `value`, as JSON of a default, is of the type.
    fn fits(&self, place: Place, value: &Value, depth: usize) -> bool {
        let latin = |text: &str| text.chars().all(|c| u32::from(c) < 256);
        if depth > 64 {
            return false;
        }
        match &self.at(place).shape {
            Shape::Null => value.is_null(),
            Shape::Boolean => value.is_boolean(),
            Shape::Int => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
            Shape::Long => value.as_i64().is_some(),
            Shape::Float | Shape::Double => value.is_number(),
            Shape::Bytes => value.as_str().is_some_and(latin),
            Shape::String => value.is_string(),
            Shape::Fixed { size, .. } => {
                value.as_str().is_some_and(|text| latin(text) && text.chars().count() == *size)
            }
            Shape::Enum { symbols, .. } => {
                value.as_str().is_some_and(|text| symbols.iter().any(|symbol| symbol == text))
            }
            Shape::Array(items) => {
                value.as_array().is_some_and(|all| all.iter().all(|one| self.fits(*items, one, depth + 1)))
            }
            Shape::Map(values) => {
                value.as_object().is_some_and(|all| all.values().all(|one| self.fits(*values, one, depth + 1)))
            }
            Shape::Union(branches) => branches.iter().any(|branch| self.fits(*branch, value, depth + 1)),
            Shape::Record { fields, .. } => value.as_object().is_some_and(|all| {
                fields.iter().all(|field| match all.get(&field.name) {
                    Some(one) => self.fits(field.place, one, depth + 1),
                    None => field.has_default,
                })
            }),
        }
    }
}

struct Build<'a> {
    nodes: Vec<Option<Node>>,
    named: BTreeMap<String, Place>,
    /// What is checked when all is there: where, of which type, the value.
    defaults: Vec<(String, Place, Value)>,
    limits: &'a SchemaLimits,
}

impl Build<'_> {
    fn place(&mut self) -> Result<Place, CompileError> {
        if self.nodes.len() >= self.limits.nodes {
            let size = self.nodes.len() + 1;
            return Err(CompileError::TooLarge { what: "types or more", size, limit: self.limits.nodes });
        }
        self.nodes.push(None);
        Ok(self.nodes.len() - 1)
    }

    /// Gives each named type under `schema` its place.
    fn reserve(&mut self, schema: &Schema, space: Option<&str>) -> Result<(), CompileError> {
        let named = match schema {
            Schema::Record(record) => &record.name,
            Schema::Enum(inner) => &inner.name,
            Schema::Fixed(inner) | Schema::Duration(inner) | Schema::Uuid(UuidSchema::Fixed(inner)) => &inner.name,
            Schema::Decimal(decimal) => match &decimal.inner {
                InnerDecimalSchema::Fixed(inner) => &inner.name,
                InnerDecimalSchema::Bytes => return Ok(()),
            },
            Schema::Array(array) => return self.reserve(&array.items, space),
            Schema::Map(map) => return self.reserve(&map.types, space),
            Schema::Union(union) => return union.variants().iter().try_for_each(|one| self.reserve(one, space)),
            _ => return Ok(()),
        };
        let full = named.fullname(space);
        // The library takes the last of two definitions for both.
        if self.named.contains_key(&full) {
            return Err(CompileError::invalid(full, "two types have this name: give one of them another name"));
        }
        let place = self.place()?;
        self.named.insert(full, place);
        if let Schema::Record(record) = schema {
            let name = record.name.fully_qualified_name(space);
            for field in &record.fields {
                self.reserve(&field.schema, name.namespace())?;
            }
        }
        Ok(())
    }

    /// Lays out `schema` and gives its place.
    fn node(&mut self, schema: &Schema, space: Option<&str>) -> Result<Place, CompileError> {
        let simple = |shape| (shape, None);
        let logical = |shape, name: &str| (shape, Some(name.to_owned()));
        let (shape, logical) = match schema {
            Schema::Ref { name } => {
                let full = name.fullname(space);
                return self.named.get(&full).copied().ok_or(CompileError::Missing { name: full });
            }
            Schema::Null => simple(Shape::Null),
            Schema::Boolean => simple(Shape::Boolean),
            Schema::Int => simple(Shape::Int),
            Schema::Long => simple(Shape::Long),
            Schema::Float => simple(Shape::Float),
            Schema::Double => simple(Shape::Double),
            Schema::Bytes => simple(Shape::Bytes),
            Schema::String => simple(Shape::String),
            Schema::BigDecimal => logical(Shape::Bytes, "big-decimal"),
            Schema::Date => logical(Shape::Int, "date"),
            Schema::TimeMillis => logical(Shape::Int, "time-millis"),
            Schema::TimeMicros => logical(Shape::Long, "time-micros"),
            Schema::TimestampMillis => logical(Shape::Long, "timestamp-millis"),
            Schema::TimestampMicros => logical(Shape::Long, "timestamp-micros"),
            Schema::TimestampNanos => logical(Shape::Long, "timestamp-nanos"),
            Schema::LocalTimestampMillis => logical(Shape::Long, "local-timestamp-millis"),
            Schema::LocalTimestampMicros => logical(Shape::Long, "local-timestamp-micros"),
            Schema::LocalTimestampNanos => logical(Shape::Long, "local-timestamp-nanos"),
            Schema::Uuid(UuidSchema::String) => logical(Shape::String, "uuid"),
            Schema::Uuid(UuidSchema::Bytes) => logical(Shape::Bytes, "uuid"),
            Schema::Uuid(UuidSchema::Fixed(fixed)) => logical(fixed_shape(fixed, space), "uuid"),
            Schema::Fixed(fixed) => simple(fixed_shape(fixed, space)),
            Schema::Duration(fixed) => logical(fixed_shape(fixed, space), "duration"),
            Schema::Decimal(decimal) => {
                let name = format!("decimal({},{})", decimal.precision, decimal.scale);
                match &decimal.inner {
                    InnerDecimalSchema::Bytes => (Shape::Bytes, Some(name)),
                    InnerDecimalSchema::Fixed(fixed) => (fixed_shape(fixed, space), Some(name)),
                }
            }
            Schema::Enum(inner) => {
                let names = names(&inner.name, inner.aliases.as_deref(), space);
                let shape = Shape::Enum { names, symbols: inner.symbols.clone(), default: inner.default.clone() };
                simple(shape)
            }
            Schema::Array(array) => simple(Shape::Array(self.node(&array.items, space)?)),
            Schema::Map(map) => simple(Shape::Map(self.node(&map.types, space)?)),
            Schema::Union(union) => {
                let branches: Result<Vec<Place>, _> =
                    union.variants().iter().map(|one| self.node(one, space)).collect();
                simple(Shape::Union(branches?))
            }
            Schema::Record(record) => {
                let names = names(&record.name, record.aliases.as_deref(), space);
                let name = record.name.fully_qualified_name(space);
                let mut fields = Vec::with_capacity(record.fields.len());
                let mut seen = BTreeSet::new();
                for field in &record.fields {
                    if !seen.insert(&field.name) {
                        return Err(CompileError::invalid(
                            names.full,
                            format!("two fields are called '{}'", field.name),
                        ));
                    }
                    let place = self.node(&field.schema, name.namespace())?;
                    if let Some(default) = &field.default {
                        self.defaults.push((format!("{}.{}", names.full, field.name), place, default.clone()));
                    }
                    let (name, aliases) = (field.name.clone(), field.aliases.clone());
                    fields.push(Field { name, aliases, place, has_default: field.default.is_some() });
                }
                simple(Shape::Record { names, fields })
            }
        };
        let reserved = match &shape {
            Shape::Record { names, .. } | Shape::Enum { names, .. } | Shape::Fixed { names, .. } => {
                self.named.get(&names.full).copied()
            }
            _ => None,
        };
        let place = match reserved {
            Some(place) => place,
            None => self.place()?,
        };
        if let Some(slot) = self.nodes.get_mut(place) {
            *slot = Some(Node { shape, logical });
        }
        Ok(place)
    }
}

fn fixed_shape(fixed: &apache_avro::schema::FixedSchema, space: Option<&str>) -> Shape {
    Shape::Fixed { names: names(&fixed.name, fixed.aliases.as_deref(), space), size: fixed.size }
}

fn names(name: &Name, aliases: Option<&[apache_avro::schema::Alias]>, space: Option<&str>) -> Names {
    let own = name.fully_qualified_name(space);
    let aliases = aliases.unwrap_or_default().iter().map(|alias| alias.fullname(own.namespace())).collect();
    Names { full: own.fullname(None), aliases }
}
