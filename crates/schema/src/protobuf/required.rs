//! Required fields of messages that lie on the wire in several parts.
//!
//! A parser that meets a message field twice merges both, so what is required
//! may be in either; of a oneof only the last member counts. Serialisers do not
//! write so, hence this is apart: `walk.rs` comes here only when a required
//! field seems to be missing and something lay in parts. It has then passed over
//! all bytes, so they are well formed and not too deep.
//!
//! Memory: two words for each part, of which there are at most half as many as
//! bytes of the payload, and they are of one chain of messages at a time. Time:
//! the payload once for each level of nesting. Each entry of a map is judged by
//! itself, also one that a later entry of the same key replaces.

use std::collections::BTreeMap;
use std::ops::Range;

use super::model::{Field, MessageType, Model, Slots};
use super::walk::{first_missing, missing};
use super::wire::{Cursor, WireType};
use crate::error::Violation;

/// Whether a payload that `walk.rs` has found well formed has all required fields.
///
/// # Errors
/// The first field that is missing.
pub(super) fn check(model: &Model, message: u32, bytes: &[u8]) -> Result<(), Violation> {
    match model.messages.get(message as usize) {
        Some(root) => merged(model, root, bytes, std::slice::from_ref(&(0..bytes.len()))),
        None => Ok(()),
    }
}

/// A field, and where its parts lie.
type Parts<'m> = (&'m Field, Vec<Range<usize>>);

/// The parts of one message together.
fn merged(model: &Model, message: &MessageType, bytes: &[u8], parts: &[Range<usize>]) -> Result<(), Violation> {
    let mut seen = Slots::default();
    // Of each message field that occurs once in the message, by where it is kept:
    // one place for each field, and one for all members of a oneof.
    let mut inner: BTreeMap<(bool, u32), Parts<'_>> = BTreeMap::new();
    let malformed = |_| Violation::new("", "malformed", "the payload changed while it was checked");
    for part in parts {
        let mut cursor = Cursor::over(bytes, part.clone());
        while !cursor.is_done() {
            let (number, wire) = cursor.key().map_err(malformed)?;
            // Whether it is too deep was checked before.
            let range = cursor.skip(number, wire, usize::MAX).map_err(malformed)?;
            let Some(field) = message.field(number) else { continue };
            if let Some(slot) = field.slot {
                seen.insert(slot);
            }
            let used = field.kind.message().and_then(|index| model.messages.get(index as usize));
            match used.filter(|used| used.demanding && matches!(wire, WireType::Bytes | WireType::Start)) {
                Some(used) if field.list => merged(model, used, bytes, &[range])?,
                None if field.oneof.is_none() => {}
                _ => {
                    let place = field.oneof.map_or((false, number), |oneof| (true, oneof));
                    let (last, parts) = inner.entry(place).or_insert((field, Vec::new()));
                    if last.number != number {
                        (*last, *parts) = (field, Vec::new());
                    }
                    parts.push(range);
                }
            }
        }
    }
    if !seen.includes(&message.required) {
        let end = parts.last().map_or(0, |part| part.end);
        return Err(missing((message, first_missing(message, &seen)), end));
    }
    for (field, parts) in inner.values() {
        if let Some(used) = field.kind.message().and_then(|index| model.messages.get(index as usize))
            && used.demanding
        {
            merged(model, used, bytes, parts)?;
        }
    }
    Ok(())
}
