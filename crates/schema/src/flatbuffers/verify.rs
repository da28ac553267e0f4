//! Whether bytes are a FlatBuffer of a schema: whether a reader with code of
//! that schema finds everything that it may ask for inside of the buffer.
//!
//! The rules are those of the official verifiers, and stricter where a writer
//! of the schema cannot have written so: fields lie within their table, strings
//! are UTF-8, a union's type is a member of it and stands with a value, a file
//! identifier is there if the schema has one. Fields behind those of the schema
//! are passed over; numbers of enums are not looked at, because an enum of
//! FlatBuffers is open. Vectors of bytes that hold a buffer are vectors of bytes.
//!
//! Parts of a buffer may be used more than once, so a short buffer can be a
//! large tree. Three limits bound the work: depth, tables ([`TABLES`]), and
//! bytes visited ([`SchemaLimits::payload_steps`]). No memory but the stack, by depth.

use super::bytes::{Buffer, Malformed, Read, Table, malformed};
use super::model::{Field, Item, Model, Object, Type};
use crate::error::Violation;
use crate::limits::SchemaLimits;
use crate::malformed::Broken;

/// Tables that are visited in one buffer, as in the official verifiers.
pub(super) const TABLES: u64 = 1_000_000;

/// Checks `bytes` as a buffer of the schema.
///
/// # Errors
/// The first rule that it breaks, with the names of the fields and the offset.
pub(super) fn check(model: &Model, bytes: &[u8], limits: &SchemaLimits) -> Result<(), Violation> {
    let Some(root) = model.objects.get(model.root as usize) else {
        return Err(Violation::new("", "schema", "the schema has no root table"));
    };
    start(model, root, bytes, limits).map_err(|broken| broken.into_violation(&root.name))
}

fn start<'m>(model: &'m Model, root: &'m Object, bytes: &[u8], limits: &SchemaLimits) -> Result<(), Broken<'m>> {
    let buffer = Buffer::new(bytes)?;
    if let Some(identifier) = model.identifier
        && buffer.identifier()? != identifier
    {
        return Ok(malformed("identifier", "the buffer does not have the file identifier of the schema", 4)?);
    }
    let mut walk = Walk { model, buffer, tables: TABLES, bytes: limits.payload_steps };
    let at = buffer.follow(0)?;
    walk.table(root, at, limits.payload_nesting)
}

struct Walk<'m, 'b> {
    model: &'m Model,
    buffer: Buffer<'b>,
    /// How many more may be visited.
    tables: u64,
    bytes: u64,
}

impl<'m> Walk<'m, '_> {
    /// Counts bytes that are visited.
    fn visit(&mut self, bytes: usize, at: usize) -> Read<()> {
        match self.bytes.checked_sub(bytes as u64) {
            Some(left) => self.bytes = left,
            None => return malformed("work", "parts are used so often that the buffer is too large to check", at),
        }
        Ok(())
    }

    fn table(&mut self, object: &'m Object, at: usize, depth: usize) -> Result<(), Broken<'m>> {
        let Some(depth) = depth.checked_sub(1) else {
            return Ok(malformed("nesting", "tables are nested deeper than the limit allows", at)?);
        };
        match self.tables.checked_sub(1) {
            Some(left) => self.tables = left,
            None => return Ok(malformed("work", "there are more than 1,000,000 tables", at)?),
        }
        let table = self.buffer.table(at)?;
        let places = table.slots.min(object.fields.len());
        self.visit(4 + table.bytes + 2 * places + 2 * object.required.len(), at)?;
        for field in object.fields.iter().take(places) {
            self.field(object, &table, field, depth).map_err(|mut broken| {
                broken.path.push(&field.name);
                broken
            })?;
        }
        for id in &object.required {
            if self.buffer.field(&table, usize::from(*id), 4, 1)?.is_none() {
                let path = object.fields.get(usize::from(*id)).map(|field| &*field.name).into_iter().collect();
                let malformed = Malformed { rule: "required", text: "a required field is missing", at };
                return Err(Broken { malformed, path });
            }
        }
        Ok(())
    }

    fn field(&mut self, object: &'m Object, table: &Table, field: &'m Field, depth: usize) -> Result<(), Broken<'m>> {
        let id = usize::from(field.id);
        match field.kind {
            Type::One(Item::Union(index)) => self.union_field(table, id, index, depth),
            Type::Vector(Item::Union(index)) => self.union_vector(table, id, index, depth),
            Type::One(item) => {
                let (size, align) = self.model.layout(item)?;
                match self.buffer.field(table, id, size, align)? {
                    Some(at) => self.item(item, at, depth),
                    None => Ok(()),
                }
            }
            Type::Vector(item) => {
                let (size, align) = self.model.layout(item)?;
                let Some(place) = self.buffer.field(table, id, 4, 4)? else { return Ok(()) };
                let vector = self.buffer.vector(self.buffer.follow(place)?, size, align)?;
                self.visit(4 + vector.count * size, vector.at)?;
                if self.is_inline(item)? {
                    return Ok(());
                }
                for index in 0..vector.count {
                    self.item(item, vector.at + index * size, depth)?;
                }
                Ok(())
            }
            Type::Array(..) => {
                debug_assert!(object.is_struct, "only structs have arrays");
                Ok(())
            }
        }
    }

    /// Whether an item lies where it is, with nothing behind an offset.
    fn is_inline(&self, item: Item) -> Read<bool> {
        Ok(match item {
            Item::Scalar(..) => true,
            Item::Object(index) => self.model.object(index)?.is_struct,
            Item::String | Item::Union(_) => false,
        })
    }

    /// The item at `at`, which is in the buffer as far as it is inline.
    fn item(&mut self, item: Item, at: usize, depth: usize) -> Result<(), Broken<'m>> {
        match item {
            Item::Scalar(..) => Ok(()),
            Item::String => self.string(at),
            Item::Object(index) => {
                let object = self.model.object(index)?;
                if object.is_struct {
                    return Ok(());
                }
                let to = self.buffer.follow(at)?;
                self.table(object, to, depth)
            }
            Item::Union(_) => Ok(malformed("union", "a union stands without a type", at)?),
        }
    }

    fn string(&mut self, at: usize) -> Result<(), Broken<'m>> {
        let to = self.buffer.follow(at)?;
        // Counted before it is read: strings may be shared like all else.
        let vector = self.buffer.vector(to, 1, 1)?;
        self.visit(5 + vector.count, to)?;
        self.buffer.string(to)?;
        Ok(())
    }

    fn union_field(&mut self, table: &Table, id: usize, index: u32, depth: usize) -> Result<(), Broken<'m>> {
        let of_type = match id.checked_sub(1) {
            Some(before) => self.buffer.field(table, before, 1, 1)?,
            None => None,
        };
        let number = of_type.map(|at| self.buffer.u8(at)).transpose()?.unwrap_or(0);
        match (number, self.buffer.field(table, id, 4, 4)?) {
            (0, None) => Ok(()),
            (0, Some(at)) => Ok(malformed("union", "a union has a value and no type", at)?),
            (_, None) => Ok(malformed("union", "a union has a type and no value", table.at)?),
            (number, Some(at)) => self.member(index, number, at, depth),
        }
    }

    fn union_vector(&mut self, table: &Table, id: usize, index: u32, depth: usize) -> Result<(), Broken<'m>> {
        let of_types = match id.checked_sub(1) {
            Some(before) => self.buffer.field(table, before, 4, 4)?,
            None => None,
        };
        let (types, values) = match (of_types, self.buffer.field(table, id, 4, 4)?) {
            (None, None) => return Ok(()),
            (Some(types), Some(values)) => (types, values),
            (Some(at), None) | (None, Some(at)) => {
                return Ok(malformed("union", "of a vector of unions there are types or values only", at)?);
            }
        };
        let types = self.buffer.vector(self.buffer.follow(types)?, 1, 1)?;
        let values = self.buffer.vector(self.buffer.follow(values)?, 4, 4)?;
        if types.count != values.count {
            return Ok(malformed("union", "a vector of unions has more types than values, or fewer", values.at)?);
        }
        self.visit(8 + 5 * values.count, values.at)?;
        for element in 0..values.count {
            // An element without a type has no value, whatever its offset says.
            match self.buffer.u8(types.at + element)? {
                0 => {}
                number => self.member(index, number, values.at + element * 4, depth)?,
            }
        }
        Ok(())
    }

    /// The member `number` of a union, whose offset is at `at`.
    fn member(&mut self, index: u32, number: u8, at: usize, depth: usize) -> Result<(), Broken<'m>> {
        let member = self.model.enumeration(index)?.value(i64::from(number)).and_then(|value| value.member);
        match member {
            Some(Item::String) => self.string(at),
            Some(Item::Object(index)) => {
                let object = self.model.object(index)?;
                let to = self.buffer.follow(at)?;
                if object.is_struct {
                    self.visit(object.bytes, to)?;
                    return Ok(self.buffer.inside(to, object.bytes, object.align)?);
                }
                self.table(object, to, depth)
            }
            _ => Ok(malformed("union", "the type of a union is none of its members", at)?),
        }
    }
}
