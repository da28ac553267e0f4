//! How much a schema and a payload may ask for. All of it is checked before the
//! work is done; at a limit the schema or the payload is refused, with the limit
//! in the text of the refusal.

/// Limits of one schema and of the payloads that are checked by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaLimits {
    /// Bytes of the text of a schema.
    pub source_bytes: usize,
    /// How many other schemas one schema may need, directly or not.
    pub references: usize,
    /// How long a chain of references may be.
    pub reference_depth: usize,
    /// Bytes of all the schemas that one schema needs.
    pub referenced_bytes: usize,
    /// How deep a schema's text may be nested.
    pub nesting: usize,
    /// Subschemas, types or fields of a schema with all that it needs. It bounds
    /// the time of compiling, and the memory of what is compiled.
    pub nodes: usize,
    /// Bytes of a payload that is checked.
    pub payload_bytes: usize,
    /// How deep a payload may be nested.
    pub payload_nesting: usize,
    /// Regular expressions in a schema with all that it needs.
    pub patterns: usize,
    /// Steps of checking one payload, where a schema can make that more than its
    /// size: values of a schema, times the times that each is looked at.
    pub payload_steps: u64,
    /// Pairs of subschemas that are compared for one question of compatibility.
    pub compared: usize,
    /// How many incompatibilities an answer lists; the rest is left out.
    pub incompatibilities: usize,
}

impl Default for SchemaLimits {
    fn default() -> Self {
        Self {
            source_bytes: 256 << 10,
            references: 64,
            reference_depth: 16,
            referenced_bytes: 1 << 20,
            nesting: 64,
            nodes: 20_000,
            payload_bytes: 1 << 20,
            payload_nesting: 64,
            patterns: 256,
            payload_steps: 10_000_000,
            compared: 20_000,
            incompatibilities: 32,
        }
    }
}
