//! Payloads as JSON text, for people to look at: what a schema says of the bytes.
//!
//! Numbers are written with all their digits, bytes in hexadecimal (`"0x00ff"`), what no
//! number of JSON can be (NaN, infinities) as a text. A text is cut where it is longer
//! than was asked for, and then is no JSON; it is longer by one value at most.

use std::fmt::{Display, Write as _};

/// What a walk over a payload gives on.
pub(crate) trait Sink {
    /// A sign of JSON.
    fn sign(&mut self, sign: &'static str);
    /// A value or a name, made only where it is wanted.
    fn put(&mut self, make: impl FnOnce() -> String);
}

/// Wants nothing: the payload is only checked.
pub(crate) struct Nothing;

impl Sink for Nothing {
    fn sign(&mut self, _: &'static str) {}
    fn put(&mut self, _: impl FnOnce() -> String) {}
}

/// A payload as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The text.
    pub text: String,
    /// It is not all.
    pub is_cut: bool,
    most: usize,
}

impl Text {
    pub(crate) fn new(most: usize) -> Self {
        Self { text: String::new(), is_cut: false, most }
    }

    /// Of a text that is there already, cut at a sign's end.
    pub(crate) fn of(text: &str, most: usize) -> Self {
        let end = text.floor_char_boundary(most);
        Self { text: text.get(..end).unwrap_or_default().to_owned(), is_cut: end < text.len(), most }
    }

    fn has_room(&mut self) -> bool {
        self.is_cut |= self.text.len() >= self.most;
        !self.is_cut
    }
}

impl Sink for Text {
    fn sign(&mut self, sign: &'static str) {
        if self.has_room() {
            self.text.push_str(sign);
        }
    }

    fn put(&mut self, make: impl FnOnce() -> String) {
        if self.has_room() {
            self.text.push_str(&make());
        }
    }
}

/// A text of JSON.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A floating-point number.
pub(crate) fn number<T: Display + Into<f64> + Copy>(value: T) -> String {
    if value.into().is_finite() { value.to_string() } else { format!("\"{value}\"") }
}

/// Bytes.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2 + 4);
    text.push_str("\"0x");
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text.push('"');
    text
}
