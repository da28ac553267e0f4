//! Walking a payload by its schema: each byte is looked at once, and nothing is built;
//! or, for people to look at, its JSON text.
//!
//! Bounded by the payload's size, its nesting, and the number of values in it,
//! since values of no bytes (null, or records of it) can be as many as a count says.
use super::nodes::{Nodes, Place, Shape};
use crate::error::Violation;
use crate::limits::SchemaLimits;
use crate::shown::{Nothing, Sink, Text, hexadecimal, quoted};

/// Checks that `bytes` are one datum of the schema, and nothing after it.
pub(super) fn walk(nodes: &Nodes, bytes: &[u8], limits: &SchemaLimits) -> Result<(), Violation> {
    through(nodes, bytes, limits, Nothing).map(drop)
}

/// The same, and the datum as JSON: unions as the value alone, bytes in hexadecimal.
pub(super) fn show(nodes: &Nodes, bytes: &[u8], limits: &SchemaLimits, most: usize) -> Result<Text, Violation> {
    through(nodes, bytes, limits, Text::new(most))
}

fn through<S: Sink>(nodes: &Nodes, bytes: &[u8], limits: &SchemaLimits, sink: S) -> Result<S, Violation> {
    if bytes.len() > limits.payload_bytes {
        let text = format!("the payload has {} bytes, and at most {} are checked", bytes.len(), limits.payload_bytes);
        return Err(Violation::new("", "size", text));
    }
    let mut walk = Walk {
        nodes,
        rest: bytes,
        whole: bytes.len(),
        depth: limits.payload_nesting,
        values: limits.payload_bytes,
        sink,
    };
    walk.datum(nodes.root())?;
    match walk.rest.len() {
        0 => Ok(walk.sink),
        left => Err(walk.broken("end", format!("{left} bytes are left over after the datum"))),
    }
}

struct Walk<'a, S> {
    nodes: &'a Nodes,
    rest: &'a [u8],
    /// The length of the whole payload.
    whole: usize,
    /// How much deeper it may go.
    depth: usize,
    /// How many more values there may be.
    values: usize,
    sink: S,
}

impl<'a, S: Sink> Walk<'a, S> {
    fn broken(&self, rule: &str, text: impl Into<String>) -> Violation {
        Violation::new(format!("byte {}", self.whole - self.rest.len()), rule, text)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Violation> {
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
        let Ok(text) = std::str::from_utf8(self.take(length)?) else {
            return Err(self.broken("string", "the string that ends here is not UTF-8"));
        };
        self.sink.put(|| quoted(text));
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
        let mut is_first = true;
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
                if !std::mem::take(&mut is_first) {
                    self.sink.sign(",");
                }
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
            Shape::Null => self.sink.sign("null"),
            Shape::Boolean => match self.take(1)? {
                [0] => self.sink.sign("false"),
                [1] => self.sink.sign("true"),
                _ => return Err(self.broken("boolean", "a boolean is the byte 0 or 1")),
            },
            Shape::Int => {
                let number = self.long()?;
                let Ok(number) = i32::try_from(number) else {
                    return Err(self.broken("int", format!("{number} is no int, which has 32 bits")));
                };
                self.sink.put(|| number.to_string());
            }
            Shape::Long => {
                let number = self.long()?;
                self.sink.put(|| number.to_string());
            }
            Shape::Float => {
                let bytes = self.take(4)?;
                self.sink.put(|| float(bytes));
            }
            Shape::Double => {
                let bytes = self.take(8)?;
                self.sink.put(|| float(bytes));
            }
            Shape::Bytes => {
                let length = self.length()?;
                let bytes = self.take(length)?;
                self.sink.put(|| hexadecimal(bytes));
            }
            Shape::String => self.string()?,
            Shape::Fixed { size, .. } => {
                let bytes = self.take(*size)?;
                self.sink.put(|| hexadecimal(bytes));
            }
            Shape::Enum { symbols, .. } => {
                let index = self.index(symbols.len(), "enum")?;
                self.sink.put(|| quoted(symbols.get(index).map_or("", String::as_str)));
            }
            inner => {
                let Some(depth) = self.depth.checked_sub(1) else {
                    return Err(self.broken("nesting", "the payload is nested deeper than is checked"));
                };
                self.depth = depth;
                self.nested(inner)?;
                self.depth = depth + 1;
            }
        }
        Ok(())
    }

    fn nested(&mut self, shape: &Shape) -> Result<(), Violation> {
        match shape {
            Shape::Array(items) => {
                self.sink.sign("[");
                self.blocks(|walk| walk.datum(*items))?;
                self.sink.sign("]");
                Ok(())
            }
            Shape::Map(values) => {
                self.sink.sign("{");
                self.blocks(|walk| {
                    walk.string()?;
                    walk.sink.sign(":");
                    walk.datum(*values)
                })?;
                self.sink.sign("}");
                Ok(())
            }
            Shape::Union(branches) => {
                let index = self.index(branches.len(), "union")?;
                branches.get(index).map_or(Ok(()), |branch| self.datum(*branch))
            }
            Shape::Record { fields, .. } => {
                self.sink.sign("{");
                for (index, field) in fields.iter().enumerate() {
                    if index > 0 {
                        self.sink.sign(",");
                    }
                    self.sink.put(|| quoted(&field.name) + ":");
                    self.datum(field.place)?;
                }
                self.sink.sign("}");
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// The number in four or eight bytes, the lowest first.
fn float(bytes: &[u8]) -> String {
    match (<[u8; 4]>::try_from(bytes), <[u8; 8]>::try_from(bytes)) {
        (Ok(bytes), _) => crate::shown::number(f32::from_le_bytes(bytes)),
        (_, Ok(bytes)) => crate::shown::number(f64::from_le_bytes(bytes)),
        _ => String::new(),
    }
}
