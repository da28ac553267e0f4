//! Documents as lines for people, and which lines differ.
//!
//! One line for each value, named by its path; a text of several lines (rules,
//! schemas) is shown line by line. The lines that differ are found by their
//! longest common subsequence where that is cheap, and as one block where it is
//! not: time and memory are bounded by [`CELLS`].

use serde_json::Value;

/// Most comparisons of lines of one document.
const CELLS: usize = 1 << 20;
/// Longest line as it is shown, in characters.
const LINE: usize = 400;
/// Unchanged lines shown before and after what differs.
const CONTEXT: usize = 2;

/// The lines of a document. What is no JSON is one line.
pub(super) fn lines(document: &str) -> Vec<String> {
    let mut out = Vec::new();
    match serde_json::from_str::<Value>(document) {
        Ok(value) => each("", &value, &mut out),
        Err(_) if document.is_empty() => {}
        Err(_) => out.push(document.to_owned()),
    }
    out
}

fn each(path: &str, value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                each(&path, value, out);
            }
        }
        Value::Array(list) if list.iter().any(|item| item.is_object() || item.is_array()) => {
            for (number, item) in list.iter().enumerate() {
                each(&format!("{path}[{number}]"), item, out);
            }
        }
        Value::Array(list) if list.len() > 1 => {
            out.push(format!("{path}:"));
            out.extend(list.iter().map(|item| format!("  {item}")));
        }
        Value::String(text) if text.contains('\n') => {
            out.push(format!("{path}:"));
            out.extend(text.lines().map(|line| format!("  | {}", shown(line))));
        }
        plain => out.push(format!("{path} = {plain}")),
    }
}

/// A line without control characters, which a terminal would obey.
fn shown(line: &str) -> String {
    line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Same,
    Gone,
    New,
}

/// Writes what differs, a line each, indented.
pub(super) fn write(from: &str, to: &str, out: &mut String) {
    let (from, to) = (lines(from), lines(to));
    let marked = compare(&from, &to);
    let differs: Vec<usize> =
        (0..marked.len()).filter(|at| marked.get(*at).is_some_and(|m| m.0 != Mark::Same)).collect();
    let mut next_change = differs.iter().peekable();
    let mut last_change: Option<usize> = None;
    let mut skipped = false;
    for (at, (mark, line)) in marked.iter().enumerate() {
        while next_change.peek().is_some_and(|next| **next < at) {
            last_change = next_change.next().copied();
        }
        let near = last_change.is_some_and(|last| at - last <= CONTEXT)
            || next_change.peek().is_some_and(|next| **next - at <= CONTEXT);
        if !near {
            skipped = true;
            continue;
        }
        if std::mem::take(&mut skipped) {
            out.push_str("      ...\n");
        }
        let sign = match mark {
            Mark::Same => ' ',
            Mark::Gone => '-',
            Mark::New => '+',
        };
        let cut: String = line.chars().take(LINE).collect();
        let rest = if cut.len() < line.len() { " ..." } else { "" };
        out.push_str(&format!("    {sign} {cut}{rest}\n"));
    }
}

/// Both lists as one, in order, each line marked.
fn compare<'a>(from: &'a [String], to: &'a [String]) -> Vec<(Mark, &'a str)> {
    let same_head = from.iter().zip(to).take_while(|(a, b)| a == b).count();
    let (head, from) = from.split_at(same_head);
    let to = to.get(same_head..).unwrap_or_default();
    let same_tail = from.iter().rev().zip(to.iter().rev()).take_while(|(a, b)| a == b).count();
    let (from, tail) = from.split_at(from.len() - same_tail);
    let to = to.get(..to.len() - same_tail).unwrap_or_default();
    let mark = |mark: Mark| move |line: &'a String| (mark, line.as_str());
    let mut out: Vec<_> = head.iter().map(mark(Mark::Same)).collect();
    if from.len().saturating_mul(to.len()) > CELLS {
        out.extend(from.iter().map(mark(Mark::Gone)));
        out.extend(to.iter().map(mark(Mark::New)));
    } else {
        middle(from, to, &mut out);
    }
    out.extend(tail.iter().map(mark(Mark::Same)));
    out
}

/// By the table of the longest common subsequences of all ends.
fn middle<'a>(from: &'a [String], to: &'a [String], out: &mut Vec<(Mark, &'a str)>) {
    let width = to.len() + 1;
    let mut longest = vec![0_u32; (from.len() + 1) * width];
    let at = |longest: &[u32], i: usize, j: usize| longest.get(i * width + j).copied().unwrap_or(0);
    for (i, a) in from.iter().enumerate().rev() {
        for (j, b) in to.iter().enumerate().rev() {
            let length = if a == b {
                at(&longest, i + 1, j + 1) + 1
            } else {
                at(&longest, i + 1, j).max(at(&longest, i, j + 1))
            };
            if let Some(cell) = longest.get_mut(i * width + j) {
                *cell = length;
            }
        }
    }
    let (mut i, mut j) = (0, 0);
    loop {
        match (from.get(i), to.get(j)) {
            (Some(a), Some(b)) if a == b => {
                out.push((Mark::Same, a));
                i += 1;
                j += 1;
            }
            (Some(a), b) if b.is_none() || at(&longest, i + 1, j) >= at(&longest, i, j + 1) => {
                out.push((Mark::Gone, a));
                i += 1;
            }
            (_, Some(b)) => {
                out.push((Mark::New, b));
                j += 1;
            }
            (_, None) => return,
        }
    }
}
