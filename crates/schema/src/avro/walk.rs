//! Walking a payload by its schema: each byte is looked at once, and nothing is built.
//!
//! Bounded by the payload's size, its nesting, and the number of values in it,
//! since values of no bytes (null, or records of it) can be as many as a count says.
use super::nodes::{Nodes, Place, Shape};
use crate::error::Violation;
use crate::limits::SchemaLimits;

/// Checks that `bytes` are one datum of the schema, and nothing after it.
pub(super) fn walk(nodes: &Nodes, bytes: &[u8], limits: &SchemaLimits) -> Result<(), Violation> {
    if bytes.len() > limits.payload_bytes {
        let text = format!("the payload has {} bytes, and at most {} are checked", bytes.len(), limits.payload_bytes);
        return Err(Violation::new("", "size", text));
    }
    let mut walk =
        Walk { nodes, rest: bytes, whole: bytes.len(), depth: limits.payload_nesting, values: limits.payload_bytes };
    walk.datum(nodes.root())?;
    match walk.rest.len() {
        0 => Ok(()),
        left => Err(walk.broken("end", format!("{left} bytes are left over after the datum"))),
    }
}

struct Walk<'a> {
    nodes: &'a Nodes,
    rest: &'a [u8],
    /// The length of the whole payload.
    whole: usize,
    /// How much deeper it may go.
    depth: usize,
    /// How many more values there may be.
    values: usize,
}

impl Walk<'_> {
    fn broken(&self, rule: &str, text: impl Into<String>) -> Violation {
        Violation::new(format!("byte {}", self.whole - self.rest.len()), rule, text)
    }

    fn take(&mut self, count: usize) -> Result<&[u8], Violation> {
        match self.rest.split_at_checked(count) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(self.broken("length", format!("{count} bytes are announced and {} are left", self.rest.len()))),
        }
    }

    /// A number in zigzag varint coding.
    fn long(&mut self) -> Result<i64, Violation> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let Some((byte, rest)) = self.rest.split_first() else {
                return Err(self.broken("number", "the payload ends within a number"));
            };
            let low = u64::from(byte & 0x7f);
            if shift == 63 && low > 1 {
                break;
            }
            number |= low << shift;
            self.rest = rest;
            if byte & 0x80 == 0 {
                #[allow(clippy::cast_possible_wrap, reason = "the coding's own definition")]
                return Ok((number >> 1) as i64 ^ -((number & 1) as i64));
            }
        }
        Err(self.broken("number", "the number is longer than 64 bits"))
    }

    fn length(&mut self) -> Result<usize, Violation> {
        let length = self.long()?;
        usize::try_from(length).map_err(|_| self.broken("length", format!("the length {length} is negative")))
    }

    fn string(&mut self) -> Result<(), Violation> {
        let length = self.length()?;
        if std::str::from_utf8(self.take(length)?).is_err() {
            return Err(self.broken("string", "the string that ends here is not UTF-8"));
        }
        Ok(())
    }

    fn index(&mut self, count: usize, what: &str) -> Result<usize, Violation> {
        let index = self.long()?;
        match usize::try_from(index) {
            Ok(index) if index < count => Ok(index),
            _ => Err(self.broken(what, format!("there are {count} to choose from, and none with the number {index}"))),
        }
    }

    /// The blocks of an array or a map.
    fn blocks(&mut self, mut one: impl FnMut(&mut Self) -> Result<(), Violation>) -> Result<(), Violation> {
        loop {
            let count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            let ends = if count < 0 {
                let bytes = self.length()?;
                match self.rest.len().checked_sub(bytes) {
                    Some(after) => Some(after),
                    None => {
                        return Err(self.broken(
                            "block",
                            format!("a block of {bytes} bytes is announced and {} are left", self.rest.len()),
                        ));
                    }
                }
            } else {
                None
            };
            for _ in 0..count.unsigned_abs() {
                one(self)?;
            }
            if ends.is_some_and(|after| after != self.rest.len()) {
                return Err(self.broken("block", "the block that ends here has another size than it says"));
            }
        }
    }

    fn datum(&mut self, place: Place) -> Result<(), Violation> {
        let Some(values) = self.values.checked_sub(1) else {
            return Err(self.broken("values", "the payload has more values than are checked"));
        };
        self.values = values;
        let nodes = self.nodes;
        match &nodes.at(place).shape {
            Shape::Null => Ok(()),
            Shape::Boolean => match self.take(1)? {
                [0 | 1] => Ok(()),
                _ => Err(self.broken("boolean", "a boolean is the byte 0 or 1")),
            },
            Shape::Int => {
                let number = self.long()?;
                i32::try_from(number)
                    .map(drop)
                    .map_err(|_| self.broken("int", format!("{number} is no int, which has 32 bits")))
            }
            Shape::Long => self.long().map(drop),
            Shape::Float => self.take(4).map(drop),
            Shape::Double => self.take(8).map(drop),
            Shape::Bytes => {
                let length = self.length()?;
                self.take(length).map(drop)
            }
            Shape::String => self.string(),
            Shape::Fixed { size, .. } => self.take(*size).map(drop),
            Shape::Enum { symbols, .. } => self.index(symbols.len(), "enum").map(drop),
            inner => {
                let Some(depth) = self.depth.checked_sub(1) else {
                    return Err(self.broken("nesting", "the payload is nested deeper than is checked"));
                };
                self.depth = depth;
                self.nested(inner)?;
                self.depth = depth + 1;
                Ok(())
            }
        }
    }

    fn nested(&mut self, shape: &Shape) -> Result<(), Violation> {
        match shape {
            Shape::Array(items) => self.blocks(|walk| walk.datum(*items)),
            Shape::Map(values) => self.blocks(|walk| {
                walk.string()?;
                walk.datum(*values)
            }),
            Shape::Union(branches) => {
                let index = self.index(branches.len(), "union")?;
                branches.get(index).map_or(Ok(()), |branch| self.datum(*branch))
            }
            Shape::Record { fields, .. } => fields.iter().try_for_each(|field| self.datum(field.place)),
            _ => Ok(()),
        }
    }
}
