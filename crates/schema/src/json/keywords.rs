//! Reading one subschema's keywords, by the rules of its draft.
//!
//! A keyword that the draft does not have says nothing. What asserts something
//! that is not understood here is kept as it stands ([`Node::opaque`]), so that
//! the question of compatibility knows that it does not know.
use std::collections::{BTreeMap, BTreeSet};

use jsonschema::Draft;
use referencing::Resolver;
use serde_json::{Map, Value};

use super::nodes::{Bound, Build, Contains, Node, Place};
use super::types::Types;
use crate::error::CompileError;

/// Assertions that exist in some draft and are not understood here.
const OPAQUE: [&str; 6] = [
    "unevaluatedProperties",
    "unevaluatedItems",
    "contentMediaType",
    "contentEncoding",
    "contentSchema",
    "dependencies",
];

/// Reads the subschema `value`, which has the place `place`.
pub(super) fn read<'r>(
    build: &mut Build<'r, '_>,
    place: Place,
    value: &'r Value,
    resolver: &Resolver<'r>,
) -> Result<Node, CompileError> {
    let map = match value {
        Value::Bool(true) => return Ok(Node::open()),
        Value::Bool(false) => {
            let mut node = Node::open();
            node.types = Types::NONE;
            return Ok(node);
        }
        Value::Object(map) => map,
        _ => return Err(CompileError::invalid("", "a subschema is an object, or true or false")),
    };
    for dynamic in ["$dynamicRef", "$recursiveRef"] {
        if map.contains_key(dynamic) && build.draft >= Draft::Draft201909 {
            let reason = format!("{dynamic} is not supported: what it means depends on who refers to it; use $ref");
            return Err(CompileError::refused(dynamic, reason));
        }
    }
    let mut node = Node::open();
    let reference = map.get("$ref").and_then(Value::as_str);
    if let Some(reference) = reference {
        node.all_of.push(build.follow(reference, place, resolver)?);
        if build.draft <= Draft::Draft7 {
            // Beside `$ref` nothing counts in these drafts.
            return Ok(node);
        }
    }
    let mut reader = Reader { build, place, map, resolver };
    reader.values(&mut node);
    reader.numbers(&mut node);
    reader.strings(&mut node);
    reader.arrays(&mut node)?;
    reader.objects(&mut node)?;
    reader.combined(&mut node)?;
    reader.opaque(&mut node)?;
    Ok(node)
}

struct Reader<'b, 'r, 'l> {
    build: &'b mut Build<'r, 'l>,
    place: Place,
    map: &'r Map<String, Value>,
    resolver: &'b Resolver<'r>,
}

impl<'r> Reader<'_, 'r, '_> {
    /// The value of a keyword that there is from `draft` on.
    fn since(&self, draft: Draft, name: &str) -> Option<&'r Value> {
        if self.build.draft < draft { None } else { self.map.get(name) }
    }

    fn count(&self, name: &str) -> Option<u64> {
        let value = self.map.get(name)?;
        // A count may be written as 1.0; one beyond 64 bits is as good as the largest.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates, as it should")]
        value.as_u64().or_else(|| value.as_f64().filter(|f| *f >= 0.0).map(|f| f.ceil() as u64))
    }

    fn schema(&mut self, value: &'r Value, part: String) -> Result<Place, CompileError> {
        self.build.place(value, Some(self.place), part, self.resolver)
    }

    fn one(&mut self, draft: Draft, name: &str) -> Result<Option<Place>, CompileError> {
        match self.since(draft, name) {
            Some(value) => Ok(Some(self.schema(value, format!("/{name}"))?)),
            None => Ok(None),
        }
    }

    fn list(&mut self, name: &str, value: &'r Value) -> Result<Vec<Place>, CompileError> {
        let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
        items.iter().enumerate().map(|(index, item)| self.schema(item, format!("/{name}/{index}"))).collect()
    }

    fn by_name(&mut self, name: &str, value: &'r Value) -> Result<BTreeMap<String, Place>, CompileError> {
        let Some(map) = value.as_object() else { return Ok(BTreeMap::new()) };
        map.iter().map(|(key, inner)| Ok((key.clone(), self.schema(inner, format!("/{name}/{key}"))?))).collect()
    }

    fn values(&self, node: &mut Node) {
        let draft = self.build.draft;
        node.types = match self.map.get("type") {
            Some(Value::String(name)) => Types::named(name, draft).unwrap_or(Types::ALL),
            Some(Value::Array(names)) => names
                .iter()
                .filter_map(Value::as_str)
                .fold(Types::NONE, |types, name| types.or(Types::named(name, draft).unwrap_or(Types::ALL))),
            _ => Types::ALL,
        };
        let constant = self.since(Draft::Draft6, "const");
        node.values = match (self.map.get("enum").and_then(Value::as_array), constant) {
            (None, None) => None,
            (Some(all), None) => Some(all.clone()),
            (None, Some(one)) => Some(vec![one.clone()]),
            (Some(all), Some(one)) => {
                Some(all.iter().filter(|value| super::values::equal(value, one)).cloned().collect())
            }
        };
        if let Some(values) = &node.values {
            let listed = values.iter().fold(Types::NONE, |types, value| types.or(Types::of_equal(value)));
            node.types = node.types.and(listed);
        }
    }

    fn numbers(&self, node: &mut Node) {
        let ends =
            [("minimum", "exclusiveMinimum", &mut node.minimum), ("maximum", "exclusiveMaximum", &mut node.maximum)];
        for (end, excluded, bounds) in ends {
            let with = |name: &str, exclusive| match self.map.get(name) {
                Some(Value::Number(value)) => Some(Bound { value: value.clone(), exclusive }),
                _ => None,
            };
            if self.build.draft == Draft::Draft4 {
                bounds.extend(with(end, self.map.get(excluded) == Some(&Value::Bool(true))));
            } else {
                bounds.extend(with(end, false));
                bounds.extend(with(excluded, true));
            }
        }
        if let Some(Value::Number(number)) = self.map.get("multipleOf") {
            node.multiple_of = Some(number.clone());
        }
    }

    fn strings(&self, node: &mut Node) {
        node.min_length = self.count("minLength").unwrap_or(0);
        node.max_length = self.count("maxLength");
        node.pattern = self.map.get("pattern").and_then(Value::as_str).map(str::to_owned);
        node.format = self.map.get("format").and_then(Value::as_str).map(str::to_owned);
    }

    fn arrays(&mut self, node: &mut Node) -> Result<(), CompileError> {
        if self.build.draft >= Draft::Draft202012 {
            if let Some(prefix) = self.map.get("prefixItems") {
                node.prefix = self.list("prefixItems", prefix)?;
            }
            node.items = self.one(Draft::Draft4, "items")?;
        } else {
            match self.map.get("items") {
                Some(prefix @ Value::Array(_)) => {
                    node.prefix = self.list("items", prefix)?;
                    node.items = self.one(Draft::Draft4, "additionalItems")?;
                }
                Some(_) => node.items = self.one(Draft::Draft4, "items")?,
                None => {}
            }
        }
        node.min_items = self.count("minItems").unwrap_or(0);
        node.max_items = self.count("maxItems");
        node.unique = self.map.get("uniqueItems") == Some(&Value::Bool(true));
        if let Some(place) = self.one(Draft::Draft6, "contains")? {
            let counts = self.build.draft >= Draft::Draft201909;
            let at_least = self.count("minContains").filter(|_| counts).unwrap_or(1);
            let at_most = self.count("maxContains").filter(|_| counts);
            node.contains = Some(Contains { place, at_least, at_most });
        }
        Ok(())
    }

    fn objects(&mut self, node: &mut Node) -> Result<(), CompileError> {
        if let Some(properties) = self.map.get("properties") {
            node.properties = self.by_name("properties", properties)?;
        }
        if let Some(patterns) = self.map.get("patternProperties") {
            node.patterns = self.by_name("patternProperties", patterns)?;
        }
        node.additional = self.one(Draft::Draft4, "additionalProperties")?;
        node.names = self.one(Draft::Draft6, "propertyNames")?;
        node.required = strings(self.map.get("required"));
        node.min_properties = self.count("minProperties").unwrap_or(0);
        node.max_properties = self.count("maxProperties");
        if self.build.draft >= Draft::Draft201909 {
            for (key, value) in self.map.get("dependentRequired").and_then(Value::as_object).into_iter().flatten() {
                node.dependent_required.insert(key.clone(), strings(Some(value)));
            }
            if let Some(schemas) = self.map.get("dependentSchemas") {
                node.dependent_schemas = self.by_name("dependentSchemas", schemas)?;
            }
        } else {
            for (key, value) in self.map.get("dependencies").and_then(Value::as_object).into_iter().flatten() {
                if value.is_array() {
                    node.dependent_required.insert(key.clone(), strings(Some(value)));
                } else {
                    let place = self.schema(value, format!("/dependencies/{key}"))?;
                    node.dependent_schemas.insert(key.clone(), place);
                }
            }
        }
        Ok(())
    }

    fn combined(&mut self, node: &mut Node) -> Result<(), CompileError> {
        if let Some(all) = self.map.get("allOf") {
            let mut places = self.list("allOf", all)?;
            node.all_of.append(&mut places);
        }
        if let Some(any) = self.map.get("anyOf") {
            node.any_of = Some(self.list("anyOf", any)?);
        }
        if let Some(one) = self.map.get("oneOf") {
            node.one_of = Some(self.list("oneOf", one)?);
        }
        node.not = self.one(Draft::Draft4, "not")?;
        if let Some(condition) = self.one(Draft::Draft7, "if")? {
            node.condition = Some((condition, self.one(Draft::Draft7, "then")?, self.one(Draft::Draft7, "else")?));
        }
        Ok(())
    }

    fn opaque(&mut self, node: &mut Node) -> Result<(), CompileError> {
        for name in OPAQUE {
            // `dependencies` was read above where the draft has it.
            let known = name == "dependencies" && self.build.draft < Draft::Draft201909;
            let Some(value) = self.map.get(name).filter(|_| !known) else { continue };
            node.opaque.insert(name.to_owned(), value.clone());
            match name {
                "unevaluatedProperties" | "unevaluatedItems" if self.build.draft >= Draft::Draft201909 => {
                    let place = self.schema(value, format!("/{name}"))?;
                    node.opaque_within.push(place);
                }
                "dependencies" => {
                    for (key, inner) in value.as_object().into_iter().flatten().filter(|(_, inner)| !inner.is_array()) {
                        let place = self.schema(inner, format!("/{name}/{key}"))?;
                        node.opaque_in_place.push(place);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn strings(value: Option<&Value>) -> BTreeSet<String> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}
