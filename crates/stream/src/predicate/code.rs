//! The bytecode: a flat list of instructions with one truth value, and the
//! strings they compare with.

use std::cmp::Ordering;

use weft_wire::block::Event;

use super::number::{self, ONE};

/// Bytes in the program's pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) at: u16,
    pub(super) len: u16,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Operand {
    Header(Text),
    Key,
    Topic,
    /// A level of the topic, from 0.
    Level(u8),
    Levels,
    Size,
    Time,
    Text(Text),
    /// In the program's list of numbers.
    Number(u16),
}

/// What an operand is before an event is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bytes,
    Number,
}

impl Operand {
    pub(super) const fn kind(self) -> Kind {
        match self {
            Self::Levels | Self::Size | Self::Time | Self::Number(_) => Kind::Number,
            Self::Header(_) | Self::Key | Self::Topic | Self::Level(_) | Self::Text(_) => Kind::Bytes,
        }
    }

    pub(super) const fn is_literal(self) -> bool {
        matches!(self, Self::Text(_) | Self::Number(_))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    const fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::Unequal => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

/// One instruction. Each sets the truth value or goes by it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Op {
    Compare(Operand, Comparison, Operand),
    Prefix(Operand, Text),
    /// One of the [`Op::Item`]s that follow, so many.
    In(Operand, u16),
    /// A literal of a list; never reached as an instruction.
    Item(Operand),
    Exists(Operand),
    Not,
    /// To a later instruction.
    JumpIfFalse(u16),
    JumpIfTrue(u16),
}

/// A value of an event or of the program.
enum Value<'a> {
    Bytes(&'a [u8]),
    Number(i128),
}

impl Value<'_> {
    fn number(&self) -> Option<i128> {
        match self {
            Self::Bytes(bytes) => number::parse(bytes),
            Self::Number(number) => Some(*number),
        }
    }

    /// `None` when they cannot be compared.
    fn compare(&self, other: &Value<'_>) -> Option<Ordering> {
        match (self, other) {
            (Self::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
            _ => Some(self.number()?.cmp(&other.number()?)),
        }
    }
}

/// A compiled predicate.
#[derive(Clone, Debug, Default)]
pub(super) struct Program {
    pub(super) ops: Vec<Op>,
    pub(super) pool: Vec<u8>,
    pub(super) numbers: Vec<i128>,
}

impl Program {
    fn text(&self, text: Text) -> &[u8] {
        let at = usize::from(text.at);
        self.pool.get(at..at + usize::from(text.len)).unwrap_or_default()
    }

    fn value<'a>(&'a self, operand: Operand, topic: &'a str, event: &Event<'a>) -> Option<Value<'a>> {
        let count = |n: u64| Value::Number(i128::from(n) * ONE);
        Some(match operand {
            Operand::Header(name) => {
                let name = self.text(name);
                Value::Bytes(event.headers.iter().find(|(found, _)| found.as_bytes() == name)?.1)
            }
            Operand::Key => Value::Bytes(event.key),
            Operand::Topic => Value::Bytes(topic.as_bytes()),
            Operand::Level(level) => Value::Bytes(topic.split('/').nth(level.into())?.as_bytes()),
            Operand::Levels => count(topic.split('/').count() as u64),
            Operand::Size => count(event.payload.len() as u64),
            Operand::Time => Value::Number(i128::from(event.time.0) * (ONE / 1_000_000)),
            Operand::Text(text) => Value::Bytes(self.text(text)),
            Operand::Number(at) => Value::Number(self.numbers.get(usize::from(at)).copied()?),
        })
    }

    /// Runs it; without instructions it is true.
    pub(super) fn run(&self, topic: &str, event: &Event<'_>) -> bool {
        let (mut at, mut truth) = (0, true);
        while let Some(op) = self.ops.get(at) {
            at += 1;
            match *op {
                Op::Compare(a, comparison, b) => {
                    let ordering = self.value(a, topic, event).zip(self.value(b, topic, event));
                    let ordering = ordering.and_then(|(a, b)| a.compare(&b));
                    truth = ordering.is_some_and(|ordering| comparison.holds(ordering));
                }
                Op::Prefix(a, prefix) => {
                    let found = self.value(a, topic, event);
                    truth = matches!(found, Some(Value::Bytes(bytes)) if bytes.starts_with(self.text(prefix)));
                }
                Op::In(a, count) => {
                    let items = self.ops.get(at..at + usize::from(count)).unwrap_or_default();
                    at += usize::from(count);
                    truth = self.value(a, topic, event).is_some_and(|found| {
                        // Bytes are read as a number once, not per item.
                        let by_number = matches!(items, [Op::Item(Operand::Number(_)), ..]);
                        let found = if by_number { found.number().map(Value::Number) } else { Some(found) };
                        found.is_some_and(|found| {
                            items.iter().any(|item| {
                                let Op::Item(item) = *item else { return false };
                                let item = self.value(item, topic, event);
                                item.and_then(|item| found.compare(&item)).is_some_and(Ordering::is_eq)
                            })
                        })
                    });
                }
                Op::Exists(a) => {
                    truth = self.value(a, topic, event).is_some() && (a != Operand::Key || !event.key.is_empty());
                }
                Op::Not => truth = !truth,
                // Only forward, whatever is written there.
                Op::JumpIfFalse(to) if !truth => at = at.max(to.into()),
                Op::JumpIfTrue(to) if truth => at = at.max(to.into()),
                Op::JumpIfFalse(_) | Op::JumpIfTrue(_) | Op::Item(_) => {}
            }
        }
        truth
    }
}
