//! A look over a source text before the library parses it: what would make the
//! library recurse deep, or work longer than the text's length, is refused here.
//!
//! Knows only the words of the language: comments, strings, names, marks. Time
//! by the text's length; no memory.

use crate::error::CompileError;
use crate::limits::SchemaLimits;

/// Parts of a dotted name. The library nests a message for each part of the name
/// of an option.
const NAME_PARTS: usize = 64;
/// Bytes of one word.
const WORD_BYTES: usize = 256;

/// Refuses what is nested too deep, and words and names that are too long.
pub(super) fn scan(text: &str, limits: &SchemaLimits) -> Result<(), CompileError> {
    let bytes = text.as_bytes();
    let (mut at, mut depth, mut dots) = (0, 0_usize, 0_usize);
    while let Some(&byte) = bytes.get(at) {
        let rest = bytes.get(at..).unwrap_or_default();
        at += match byte {
            b'/' if rest.starts_with(b"//") => length_until(rest, 2, b"\n"),
            b'/' if rest.starts_with(b"/*") => length_until(rest, 2, b"*/"),
            b'#' => length_until(rest, 1, b"\n"),
            b'"' | b'\'' => {
                dots = 0;
                string(rest, byte)
            }
            b'{' | b'[' | b'(' | b'<' => {
                depth += 1;
                if depth > limits.nesting {
                    return Err(CompileError::TooLarge {
                        what: "levels of nesting",
                        size: depth,
                        limit: limits.nesting,
                    });
                }
                // An extension's name, in parentheses, goes on with the name.
                if byte != b'(' {
                    dots = 0;
                }
                1
            }
            b'}' | b']' | b')' | b'>' => {
                depth = depth.saturating_sub(1);
                1
            }
            b'.' => {
                dots += 1;
                if dots > NAME_PARTS {
                    return Err(CompileError::TooLarge { what: "parts in one name", size: dots, limit: NAME_PARTS });
                }
                1
            }
            b';' | b'=' | b',' | b':' => {
                dots = 0;
                1
            }
            byte if is_word(byte) => {
                let word = rest.iter().take_while(|byte| is_word(**byte)).count();
                if word > WORD_BYTES {
                    return Err(CompileError::TooLarge { what: "bytes in one word", size: word, limit: WORD_BYTES });
                }
                word
            }
            _ => 1,
        };
    }
    Ok(())
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The length up to `end` and with it, or of all the rest.
fn length_until(rest: &[u8], from: usize, end: &[u8]) -> usize {
    let inside = rest.get(from..).unwrap_or_default();
    inside.windows(end.len()).position(|window| window == end).map_or(rest.len(), |found| from + found + end.len())
}

/// The length of a string with its quotes; strings end with the line at the latest.
fn string(rest: &[u8], quote: u8) -> usize {
    let mut escaped = false;
    for (index, &byte) in rest.iter().enumerate().skip(1) {
        match byte {
            b'\n' => return index,
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            _ if byte == quote => return index + 1,
            _ => {}
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::scan;
    use crate::error::CompileError;
    use crate::limits::SchemaLimits;

    fn refused(text: &str) -> Option<&'static str> {
        match scan(text, &SchemaLimits::default()) {
            Ok(()) => None,
            Err(CompileError::TooLarge { what, .. }) => Some(what),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn depth_counts_outside_of_comments_and_strings_only() {
        assert_eq!(refused(&"{".repeat(64)), None);
        assert_eq!(refused(&"{".repeat(65)), Some("levels of nesting"));
        assert_eq!(refused(&format!("// {}\n", "{".repeat(99))), None);
        assert_eq!(refused(&format!("/* {} */", "{".repeat(99))), None);
        assert_eq!(refused(&format!("'\\'{}'", "{".repeat(99))), None);
        assert_eq!(refused(&format!("/* */ {}", "<".repeat(65))), Some("levels of nesting"));
        assert_eq!(refused(&format!("'\n{}", "<".repeat(65))), Some("levels of nesting"), "a string that does not end");
        assert_eq!(refused(&"message a {}\n".repeat(1000)), None);
    }

    #[test]
    fn long_names_and_words_are_refused() {
        assert_eq!(refused(&format!("option (a){} = 1", ".b".repeat(64))), None);
        assert_eq!(refused(&format!("option (a){} = 1", " . b".repeat(65))), Some("parts in one name"));
        assert_eq!(refused(&format!("option (a){} = 1", ".(b.c)".repeat(33))), Some("parts in one name"));
        assert_eq!(refused(&"a.b;".repeat(100)), None);
        assert_eq!(refused(&"a".repeat(257)), Some("bytes in one word"));
    }
}
