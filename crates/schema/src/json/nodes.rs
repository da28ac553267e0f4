//! A schema as a table: each subschema that is reached is a node with the rules
//! that are understood here, and refers to others by their place. References are
//! followed by the library's own resolver, so they lead where its validator goes.
use std::collections::{BTreeMap, BTreeSet};

use jsonschema::{Draft, Registry, uri};
use referencing::Resolver;
use serde_json::{Number, Value};

use super::Parsed;
use super::check::{BASE, Given};
use super::types::Types;
use crate::error::CompileError;
use crate::limits::SchemaLimits;

/// A place in [`Nodes`].
pub(super) type Place = usize;

/// An end of a range of numbers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bound {
    pub(super) value: Number,
    pub(super) exclusive: bool,
}

/// `contains` with its counts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Contains {
    pub(super) place: Place,
    pub(super) at_least: u64,
    pub(super) at_most: Option<u64>,
}

/// A subschema. What is empty or `None` says nothing.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// The parent and the last part of the path, for messages.
    from: Option<Place>,
    part: String,
    pub(super) types: Types,
    pub(super) values: Option<Vec<Value>>,
    pub(super) minimum: Vec<Bound>,
    pub(super) maximum: Vec<Bound>,
    pub(super) multiple_of: Option<Number>,
    pub(super) min_length: u64,
    pub(super) max_length: Option<u64>,
    pub(super) pattern: Option<String>,
    pub(super) format: Option<String>,
    pub(super) prefix: Vec<Place>,
    pub(super) items: Option<Place>,
    pub(super) min_items: u64,
    pub(super) max_items: Option<u64>,
    pub(super) unique: bool,
    pub(super) contains: Option<Contains>,
    pub(super) properties: BTreeMap<String, Place>,
    pub(super) patterns: BTreeMap<String, Place>,
    pub(super) additional: Option<Place>,
    pub(super) required: BTreeSet<String>,
    pub(super) names: Option<Place>,
    pub(super) min_properties: u64,
    pub(super) max_properties: Option<u64>,
    pub(super) dependent_required: BTreeMap<String, BTreeSet<String>>,
    pub(super) dependent_schemas: BTreeMap<String, Place>,
    /// `allOf`, and the target of `$ref`.
    pub(super) all_of: Vec<Place>,
    pub(super) any_of: Option<Vec<Place>>,
    pub(super) one_of: Option<Vec<Place>>,
    pub(super) not: Option<Place>,
    /// `if`, `then`, `else`.
    pub(super) condition: Option<(Place, Option<Place>, Option<Place>)>,
    /// Rules that are not understood here, as they stand.
    pub(super) opaque: BTreeMap<String, Value>,
    /// Subschemas of those for the same value, and for values in it.
    pub(super) opaque_in_place: Vec<Place>,
    pub(super) opaque_within: Vec<Place>,
}

impl Node {
    /// A subschema that says nothing.
    pub(super) const fn open() -> Self {
        Self {
            from: None,
            part: String::new(),
            types: Types::ALL,
            values: None,
            minimum: Vec::new(),
            maximum: Vec::new(),
            multiple_of: None,
            min_length: 0,
            max_length: None,
            pattern: None,
            format: None,
            prefix: Vec::new(),
            items: None,
            min_items: 0,
            max_items: None,
            unique: false,
            contains: None,
            properties: BTreeMap::new(),
            patterns: BTreeMap::new(),
            additional: None,
            required: BTreeSet::new(),
            names: None,
            min_properties: 0,
            max_properties: None,
            dependent_required: BTreeMap::new(),
            dependent_schemas: BTreeMap::new(),
            all_of: Vec::new(),
            any_of: None,
            one_of: None,
            not: None,
            condition: None,
            opaque: BTreeMap::new(),
            opaque_in_place: Vec::new(),
            opaque_within: Vec::new(),
        }
    }
}

/// All subschemas that are reached. The root is place 0.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    nodes: Vec<Node>,
}

impl Nodes {
    pub(super) const ROOT: Place = 0;

    pub(super) fn of(parsed: &Parsed, limits: &SchemaLimits) -> Result<Self, CompileError> {
        let unresolved = |error: jsonschema::ReferencingError| CompileError::invalid("", error.to_string());
        let base = uri::from_str(BASE).map_err(unresolved)?;
        let registry = Registry::new()
            .draft(parsed.draft)
            .retriever(Given::of(parsed))
            .add(BASE, &parsed.root)
            .and_then(jsonschema::RegistryBuilder::prepare)
            .map_err(unresolved)?;
        let mut resolver = registry.resolver(base);
        // The registry's own root, so that a reference to it finds the same place.
        let root = resolver.lookup(BASE).map_err(unresolved)?;
        let (root, at_root, _) = root.into_inner();
        resolver = at_root;
        let mut build =
            Build { draft: parsed.draft, nodes: Vec::new(), places: BTreeMap::new(), waiting: Vec::new(), limits };
        build.place(root, None, String::new(), &resolver)?;
        while let Some((place, value, resolver)) = build.waiting.pop() {
            let resolver = resolver.in_subresource(parsed.draft.create_resource_ref(value)).map_err(unresolved)?;
            let node = super::keywords::read(&mut build, place, value, &resolver)?;
            if let Some(slot) = build.nodes.get_mut(place) {
                *slot = Node { from: slot.from, part: std::mem::take(&mut slot.part), ..node };
            }
        }
        Ok(Self { nodes: build.nodes })
    }

    pub(super) fn at(&self, place: Place) -> Option<&Node> {
        self.nodes.get(place)
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter()
    }

    /// Where a subschema stands: the way by which it was first reached.
    pub(super) fn path(&self, place: Place) -> String {
        let mut parts = Vec::new();
        let mut next = Some(place);
        while let Some(node) = next.and_then(|place| self.nodes.get(place))
            && parts.len() < 32
        {
            parts.push(node.part.as_str());
            next = node.from;
        }
        parts.reverse();
        format!("#{}", parts.concat())
    }
}

/// The table while it is built.
pub(super) struct Build<'r, 'l> {
    pub(super) draft: Draft,
    nodes: Vec<Node>,
    /// Places by the address of the JSON value, which does not move.
    places: BTreeMap<usize, Place>,
    waiting: Vec<(Place, &'r Value, Resolver<'r>)>,
    limits: &'l SchemaLimits,
}

impl<'r> Build<'r, '_> {
    /// The place of the subschema `value`, which is read when its turn comes.
    pub(super) fn place(
        &mut self,
        value: &'r Value,
        from: Option<Place>,
        part: String,
        resolver: &Resolver<'r>,
    ) -> Result<Place, CompileError> {
        let address = std::ptr::from_ref(value).addr();
        if let Some(place) = self.places.get(&address) {
            return Ok(*place);
        }
        if self.nodes.len() >= self.limits.nodes {
            let size = self.nodes.len() + 1;
            return Err(CompileError::TooLarge { what: "subschemas or more", size, limit: self.limits.nodes });
        }
        let place = self.nodes.len();
        let part = part.chars().take(64).collect();
        self.nodes.push(Node { from, part, ..Node::open() });
        self.places.insert(address, place);
        self.waiting.push((place, value, resolver.clone()));
        Ok(place)
    }

    /// The place of what `reference` leads to, seen from `resolver`.
    pub(super) fn follow(
        &mut self,
        reference: &str,
        from: Place,
        resolver: &Resolver<'r>,
    ) -> Result<Place, CompileError> {
        let found = resolver.lookup(reference).map_err(|error| CompileError::invalid(reference, error.to_string()))?;
        let (value, resolver, _) = found.into_inner();
        self.place(value, Some(from), "/$ref".to_owned(), &resolver)
    }
}
