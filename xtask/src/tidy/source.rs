//! Just enough of Rust's syntax: which bytes are code, and which lines are tests.

/// The text with the content of comments, strings and characters replaced by
/// blanks. Line breaks and every byte's place stay.
pub(super) fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => line_end(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => comment_end(bytes, at),
            b'"' => string_end(bytes, at),
            b'r' | b'b' | b'c' if starts_word(bytes, at) => match raw_or_prefixed(bytes, at) {
                Some(end) => end,
                None => {
                    at += 1;
                    continue;
                }
            },
            b'\'' => match character_end(bytes, at) {
                Some(end) => end,
                None => {
                    at += 1;
                    continue;
                }
            },
            _ => {
                at += 1;
                continue;
            }
        };
        let end = end.min(bytes.len());
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    // Blanking whole literals and comments cannot split a character.
    String::from_utf8(out).unwrap_or_default()
}

fn starts_word(bytes: &[u8], at: usize) -> bool {
    at == 0 || !(bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_')
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|&b| b == b'\n').map_or(bytes.len(), |n| at + n)
}

fn comment_end(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0usize;
    while at + 1 < bytes.len() {
        match (bytes[at], bytes[at + 1]) {
            (b'/', b'*') => (depth, at) = (depth + 1, at + 2),
            (b'*', b'/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], quote: usize) -> usize {
    let mut at = quote + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The end of `r"…"`, `r#"…"#`, `b"…"`, `br"…"`, `c"…"` or `b'…'` that starts here, if one does.
fn raw_or_prefixed(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    if matches!(bytes[at], b'b' | b'c') {
        at += 1;
        match bytes.get(at)? {
            b'"' => return Some(string_end(bytes, at)),
            b'\'' => return character_end(bytes, at),
            b'r' => {}
            _ => return None,
        }
    }
    at += 1;
    let hashes = bytes.get(at..)?.iter().take_while(|&&b| b == b'#').count();
    if bytes.get(at + hashes) != Some(&b'"') {
        return None;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let body = at + hashes + 1;
    let found = bytes[body..].windows(close.len()).position(|window| window == close);
    Some(found.map_or(bytes.len(), |n| body + n + close.len()))
}

/// The end of a character literal; none for a lifetime.
fn character_end(bytes: &[u8], quote: usize) -> Option<usize> {
    if bytes.get(quote + 1) == Some(&b'\\') {
        let close = bytes[quote + 3..].iter().position(|&b| b == b'\'')?;
        return Some(quote + 3 + close + 1);
    }
    // One character, of one to four bytes, and the closing quote.
    let width = match *bytes.get(quote + 1)? {
        b if b < 0x80 => 1,
        b if b < 0xe0 => 2,
        b if b < 0xf0 => 3,
        _ => 4,
    };
    (bytes.get(quote + 1 + width) == Some(&b'\'')).then_some(quote + width + 2)
}

/// Which lines (counted from 0) belong to tests: all of a file in a `tests` or
/// `benches` folder or named `tests.rs` or `…_tests.rs`; elsewhere the items
/// under `#[cfg(test)]`, `#[cfg(loom)]` and `#[test]`.
pub(super) fn test_lines(path: &str, code: &str) -> Vec<bool> {
    let count = code.lines().count();
    let in_folder = path.split('/').any(|part| part == "tests" || part == "benches");
    if in_folder || path.ends_with("/tests.rs") || path.ends_with("_tests.rs") {
        return vec![true; count];
    }
    let mut marks = vec![false; count];
    for (at, _) in code.match_indices("#[") {
        let attribute: String = code[at..].chars().take_while(|&c| c != ']').filter(|c| !c.is_whitespace()).collect();
        let about_tests = attribute.starts_with("#[cfg(test")
            || attribute.starts_with("#[cfg(loom")
            || attribute.starts_with("#[cfg(all(test")
            || attribute.starts_with("#[cfg(all(loom")
            || attribute == "#[test";
        if !about_tests {
            continue;
        }
        let end = item_end(code.as_bytes(), at);
        let first = code[..at].matches('\n').count();
        let last = first + code[at..end].matches('\n').count();
        marks[first..=last.min(count - 1)].fill(true);
    }
    marks
}

/// Where the item behind an attribute ends: after its `;`, or its closing brace.
fn item_end(code: &[u8], attribute: usize) -> usize {
    let (mut depth, mut braces, mut at) = (0usize, 0usize, attribute);
    while at < code.len() {
        match code[at] {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b'{' => braces += 1,
            b'}' => {
                braces = braces.saturating_sub(1);
                if braces == 0 {
                    return at + 1;
                }
            }
            b';' if depth == 0 && braces == 0 => return at + 1,
            _ => {}
        }
        at += 1;
    }
    code.len()
}

/// Whether `word` stands in `line` with no part of a name before or after it.
pub(super) fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(part);
        let after = line[at + word.len()..].chars().next().is_some_and(part);
        !(before && word.starts_with(part) || after && word.ends_with(part))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_in_place() {
        let text = "let a = \"unsafe \\\" x\"; // unsafe\nlet b = r#\"un\"safe\"#; /* a /* b */ c */ let c = '\"';\n";
        let code = blank(text);
        assert_eq!(code.len(), text.len());
        assert!(!code.contains("safe"), "{code}");
        assert!(code.contains("let a =") && code.contains("let b =") && code.contains("let c ="), "{code}");
    }

    #[test]
    fn lifetimes_are_no_characters() {
        let code = blank("fn f<'a>(x: &'a str, y: b'u', z: '\\'', w: 'ü') -> Never<'a> { unsafe {} }");
        assert!(code.contains("fn f<'a>(x: &'a str, y:") && code.contains("Never<'a> { unsafe {} }"), "{code}");
    }

    #[test]
    fn lines_of_tests_are_known() {
        let text =
            "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n#[cfg(test)]\nmod more;\nfn d() {}\n";
        let marks = test_lines("crates/x/src/lib.rs", &blank(text));
        assert_eq!(marks, [false, true, true, true, true, false, true, true, false]);
        assert!(test_lines("crates/x/tests/y.rs", "fn a() {}\n")[0]);
    }

    #[test]
    fn words_are_whole() {
        assert!(has_word("unsafe { }", "unsafe"));
        assert!(!has_word("unsafe_code", "unsafe"));
        assert!(has_word("std::thread::sleep(x)", "thread::sleep"));
    }
}
