//! Documents that tell the truth: every path and command that they name exists.
//!
//! Looked at: the Markdown files at the root and under `docs/`, and in them
//! code spans, code blocks and links.

use super::Check;
use super::commands::Commands;
use super::tree::{File, Finding, Tree};
use crate::bench;

pub(super) const CHECK: Check = Check {
    name: "documents",
    rule: "paths, `cargo xtask` tasks and `weft` subcommands that the documents name exist",
    run,
    canaries,
};

/// Documents that there must be.
const WANTED: [&str; 5] = ["README.md", "ARCHITECTURE.md", "STYLE.md", "SPEC.md", "CHANGELOG.md"];
/// A word that starts with one of these is a path of the tree.
const FOLDERS: [&str; 10] =
    ["crates/", "sim/", "bench/", "chaos/", "xtask/", "fuzz/", "docs/", "examples/", ".ci/", ".cargo/"];
/// Paths that running something makes, which are not kept.
const MADE: [&str; 2] = ["fuzz/corpus", "fuzz/artifacts"];
const TASKS: [&str; 10] = ["demo", "test", "lint", "tidy", "bench", "chaos", "compat", "crash-matrix", "fuzz", "web"];

fn run(tree: &Tree) -> Vec<Finding> {
    let mut found: Vec<Finding> = WANTED
        .iter()
        .filter(|path| tree.file(path).is_none())
        .map(|path| Finding::whole(path, "there is no such document"))
        .collect();
    let commands = Commands::read(tree);
    for file in tree.files().iter().filter(|file| is_document(&file.path)) {
        for (line, code) in code_of(file) {
            for word in code.split(|c: char| c.is_whitespace() || "\"'()[],;=".contains(c)) {
                if let Some(path) = path_in(word)
                    && !tree.has(path)
                {
                    found.push(file.finding(line, format!("there is no {path}")));
                }
            }
            for what in unknown_commands(&code, &commands) {
                found.push(file.finding(line, what));
            }
        }
        links(file, tree, &mut found);
    }
    found
}

fn is_document(path: &str) -> bool {
    path.ends_with(".md") && (!path.contains('/') || path.starts_with("docs/"))
}

/// The pieces of code in a document: spans between backticks, and the lines of blocks.
fn code_of(file: &File) -> Vec<(usize, String)> {
    let mut pieces = Vec::new();
    let mut block = false;
    for (number, line) in file.lines() {
        if line.trim_start().starts_with("```") {
            block = !block;
        } else if block {
            pieces.push((number, line.to_owned()));
        } else {
            pieces.extend(line.split('`').skip(1).step_by(2).map(|code| (number, code.to_owned())));
        }
    }
    pieces
}

/// The path that a word of code names, if it names one of this tree, without `:12`, `::test` and full stop.
fn path_in(word: &str) -> Option<&str> {
    let known = FOLDERS.iter().any(|folder| word.starts_with(folder));
    let document = !word.contains('/') && word.ends_with(".md");
    let placeholder = word.contains(|c: char| "*<>{}…$".contains(c)) || word.contains("NAME");
    let made = MADE.iter().any(|made| word.starts_with(made));
    if !(known || document) || placeholder || made {
        return None;
    }
    let path = word.split([':', '#']).next().unwrap_or(word);
    Some(path.trim_end_matches(['.', '/']))
}

/// What a piece of code calls that there is not.
fn unknown_commands(code: &str, commands: &Commands) -> Vec<String> {
    let words: Vec<&str> = code.split_whitespace().collect();
    let mut unknown = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let starts = at == 0 || ["$", "|", "&&", ";", "--", "sudo"].contains(&words[at - 1]);
        let next = |n: usize| words.get(at + n).copied().filter(|word| is_name(word));
        if *word == "cargo" && words.get(at + 1) == Some(&"xtask") {
            match next(2) {
                Some(task) if !TASKS.contains(&task) => unknown.push(format!("there is no `cargo xtask {task}`")),
                Some("bench") => {
                    if let Some(name) = next(3).filter(|name| *name != "all" && !bench::NAMES.contains(name)) {
                        unknown.push(format!("there is no `cargo xtask bench {name}`"));
                    }
                }
                _ => {}
            }
        } else if starts
            && (*word == "weft" || word.ends_with("/weft"))
            && let Some(first) = next(1)
        {
            unknown.extend(commands.unknown(first, next(2)));
        }
    }
    unknown
}

/// Whether a word can be a subcommand: not an option, not a placeholder, not a file.
fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_lowercase()) && word.chars().all(|c| c.is_ascii_lowercase() || c == '-')
}

/// Links to files of the tree: `[text](path)`.
fn links(file: &File, tree: &Tree, found: &mut Vec<Finding>) {
    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    for (number, line) in file.lines() {
        for (at, _) in line.match_indices("](") {
            let Some(link) = line[at + 2..].split(')').next() else { continue };
            let path = link.split('#').next().unwrap_or(link);
            if path.is_empty() || path.contains("://") || path.contains(' ') {
                continue;
            }
            let whole = join(folder, path);
            if !tree.has(&whole) {
                found.push(file.finding(number, format!("the link's {whole} is not there")));
            }
        }
    }
}

/// A relative path from a folder, with `..` resolved.
fn join(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The wanted documents, with `text` in the README, and a program with subcommands.
fn sample(text: &str) -> Tree {
    let program = "#[derive(Parser)]\nstruct A {\n    #[command(subcommand)]\n    c: C,\n}\n\
                   #[derive(Subcommand)]\nenum C {\n    Hub(H),\n    Stream { #[command(subcommand)] s: S },\n}\n\
                   #[derive(Subcommand)]\nenum S {\n    Create,\n}\n";
    Tree::sample([
        ("README.md", text),
        ("ARCHITECTURE.md", ""),
        ("STYLE.md", ""),
        ("SPEC.md", ""),
        ("CHANGELOG.md", ""),
        ("docs/a.md", ""),
        ("crates/weft/src/main.rs", program),
    ])
}

fn canaries() -> Vec<Tree> {
    let mut bad = vec![Tree::sample([("README.md", "")])];
    bad.extend(
        [
            "see `crates/gone/src/lib.rs`",
            "see `GONE.md`",
            "see [this](docs/gone.md)",
            "run `cargo xtask gone`",
            "run `cargo xtask bench gone`",
            "```\n$ weft gone\n```",
            "run `weft stream gone x`",
        ]
        .map(sample),
    );
    bad
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_exists_passes() {
        let text = "`crates/weft/src/main.rs:3` and `crates/weft/`, [a](docs/a.md#x), `cargo xtask bench hub`,\n\
                    `crates/<name>/x`, `cargo xtask demo --keep`\n```\n$ weft hub --dev\nweft stream create orders\n\
                    weft: it says things\n```\nThe weft gone astray.\n";
        assert_eq!(run(&sample(text)), []);
    }

    #[test]
    fn links_are_relative_to_their_document() {
        assert_eq!(join("docs/adr", "../../crates/x"), "crates/x");
    }
}
