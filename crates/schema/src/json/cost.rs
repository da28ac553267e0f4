//! How much work a schema makes of a payload, reckoned before there is one.
//!
//! Validators follow subschemas by recursion, and look at a value once for each
//! subschema that applies to it. A few lines can so ask for exponential time
//! (`allOf` of twice the same, each level), and a schema that refers to itself
//! without going into the value never ends. The first is bounded by a depth of
//! payloads and steps of work, the second is refused.
use super::nodes::{Node, Nodes, Place};
use crate::error::{CompileError, Violation};
use crate::limits::SchemaLimits;

/// How many subschemas may be within each other on the stack of the validator.
/// In the tests a validator's frames of this depth take less than half of
/// [`crate::STACK_BYTES`].
const FRAMES: u32 = 768;

/// What a payload may be, and what it costs.
#[derive(Debug)]
pub(super) struct Cost {
    /// Steps for the values on a path through a payload of this depth. It ends
    /// where payloads would need too much stack, or more steps than are allowed.
    steps: Vec<u64>,
    limit: u64,
}

impl Cost {
    pub(super) fn of(nodes: &Nodes, limits: &SchemaLimits) -> Result<Self, CompileError> {
        let order = in_place_order(nodes)?;
        let mut steps = Vec::new();
        let (mut work, mut stack) = (vec![0_u64; nodes.len()], vec![0_u32; nodes.len()]);
        for _ in 0..=limits.payload_nesting {
            (work, stack) = deeper(nodes, &order, &work, &stack);
            let at_root = work.first().copied().unwrap_or(1);
            if stack.first().is_some_and(|frames| *frames > FRAMES) || at_root > limits.payload_steps {
                break;
            }
            steps.push(at_root);
        }
        if steps.is_empty() {
            return Err(CompileError::refused(
                "",
                "its subschemas apply to one value too often: use fewer within each other",
            ));
        }
        Ok(Self { steps, limit: limits.payload_steps })
    }

    /// Whether a payload of so many values, nested so deep, may be validated. A
    /// number alone has the depth 0.
    pub(super) fn allows(&self, values: u64, depth: usize) -> Result<(), Violation> {
        let Some(each) = self.steps.get(depth) else {
            let most = self.steps.len() - 1;
            let text = format!("the payload is nested {depth} deep, and by this schema at most {most} are checked");
            return Err(Violation::new("", "nesting", text));
        };
        if values.saturating_mul(*each) > self.limit {
            let text = format!(
                "{values} values nested {depth} deep take more steps by this schema than the {} allowed",
                self.limit
            );
            return Err(Violation::new("", "steps", text));
        }
        Ok(())
    }
}

/// The subschemas that apply to the same value as `node`.
fn in_place(node: &Node) -> impl Iterator<Item = Place> + '_ {
    let choices = node.any_of.iter().chain(&node.one_of).flatten();
    let condition =
        node.condition.iter().flat_map(|(when, then, otherwise)| [Some(*when), *then, *otherwise]).flatten();
    node.all_of
        .iter()
        .chain(choices)
        .chain(&node.not)
        .chain(node.dependent_schemas.values())
        .chain(&node.opaque_in_place)
        .copied()
        .chain(condition)
}

/// An order in which each subschema comes after all that it applies in place.
fn in_place_order(nodes: &Nodes) -> Result<Vec<Place>, CompileError> {
    let mut waits = vec![0_usize; nodes.len()];
    for place in nodes.iter().flat_map(in_place) {
        if let Some(count) = waits.get_mut(place) {
            *count += 1;
        }
    }
    let mut order: Vec<Place> =
        waits.iter().enumerate().filter(|(_, count)| **count == 0).map(|(place, _)| place).collect();
    let mut next = 0;
    while let Some(node) = order.get(next).and_then(|place| nodes.at(*place)) {
        next += 1;
        for place in in_place(node) {
            if let Some(count) = waits.get_mut(place) {
                *count -= 1;
                if *count == 0 {
                    order.push(place);
                }
            }
        }
    }
    if let Some(place) = waits.iter().position(|count| *count > 0) {
        return Err(CompileError::refused(
            nodes.path(place),
            "it refers to itself for the same value: a reference in a circle must go through a property or an item",
        ));
    }
    order.reverse();
    Ok(order)
}

/// Steps and frames of each subschema for values one level deeper than those of
/// `work` and `stack`.
fn deeper(nodes: &Nodes, order: &[Place], work: &[u64], stack: &[u32]) -> (Vec<u64>, Vec<u32>) {
    let (mut new_work, mut new_stack) = (vec![0_u64; nodes.len()], vec![0_u32; nodes.len()]);
    for place in order {
        let Some(node) = nodes.at(*place) else { continue };
        let (mut steps, mut frames) = (1_u64, 0_u32);
        // What is unevaluated is found by going through all in place once more.
        let again = if node.opaque_within.is_empty() { 1 } else { 2 };
        for inner in in_place(node) {
            let inner_steps = new_work.get(inner).copied().unwrap_or(0);
            steps = steps.saturating_add(inner_steps.saturating_mul(again));
            frames = frames.max(new_stack.get(inner).copied().unwrap_or(0));
        }
        let mut within = |inner: Place| {
            frames = frames.max(stack.get(inner).copied().unwrap_or(0));
            work.get(inner).copied().unwrap_or(0)
        };
        // A value has one name and one index, so of those only the worst counts.
        let named = node.properties.values().map(|place| within(*place)).max().unwrap_or(0);
        let first = node.prefix.iter().map(|place| within(*place)).max().unwrap_or(0);
        let contains = node.contains.iter().map(|contains| contains.place);
        let others = node
            .patterns
            .values()
            .chain(&node.additional)
            .chain(&node.items)
            .chain(&node.names)
            .chain(&node.opaque_within);
        let others = others.copied().chain(contains).fold(0_u64, |sum, place| sum.saturating_add(within(place)));
        steps = steps.saturating_add(named).saturating_add(first).saturating_add(others);
        if let (Some(to_work), Some(to_stack)) = (new_work.get_mut(*place), new_stack.get_mut(*place)) {
            *to_work = steps;
            *to_stack = frames.saturating_add(1);
        }
    }
    (new_work, new_stack)
}
