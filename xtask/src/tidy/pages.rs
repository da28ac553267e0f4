//! `docs/errors/` has a page for each code of the log, with what it means and what to
//! do, made of the tables of `docs/operating.md`, so that a line of a log leads to it.
//!
//! The tables are what people write; the pages are written by `cargo xtask tidy
//! --write`, and this check holds them against the tables.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};

use super::tree::{Finding, Tree};
use super::{Check, codes};
use crate::workspace;

pub(super) const CHECK: Check = Check {
    name: "pages",
    rule: "docs/errors has a page for each code of docs/operating.md, as `cargo xtask tidy --write` writes it",
    run,
    canaries,
};

const DOCUMENT: &str = "docs/operating.md";
const FOLDER: &str = "docs/errors/";
/// The list of all.
const INDEX: &str = "README.md";

/// A line of a table: one code, and those that stand beside it.
struct Row<'a> {
    /// What the table is of.
    of: &'a str,
    level: &'a str,
    means: &'a str,
    to_do: &'a str,
    beside: Vec<&'a str>,
}

/// The codes of a document's tables.
fn rows(text: &str) -> BTreeMap<&str, Row<'_>> {
    let mut rows = BTreeMap::new();
    let mut of = "";
    let mut is_codes = false;
    for line in text.lines() {
        let heading = line.strip_prefix("## ").or_else(|| line.strip_prefix("**")?.strip_suffix("**"));
        // The head of a paragraph is none of a table.
        of = heading.filter(|heading| !heading.ends_with('.')).unwrap_or(of);
        let Some(cells) = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")) else {
            is_codes &= line.starts_with('|');
            continue;
        };
        let cells: Vec<&str> = cells.split(" | ").map(str::trim).collect();
        let [codes, level, means, to_do] = cells[..] else { continue };
        if codes == "code" {
            is_codes = level == "level";
        } else if is_codes {
            let codes: Vec<&str> = codes.split('`').skip(1).step_by(2).collect();
            for code in &codes {
                let beside = codes.iter().copied().filter(|other| other != code).collect();
                rows.insert(*code, Row { of, level, means, to_do, beside });
            }
        }
    }
    rows
}

/// Text of a document one folder further up.
fn moved(text: &str) -> String {
    text.replace("](", "](../").replace("](../http", "](http").replace("](../#", "](../operating.md#")
}

/// A sentence of a cell.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    let end = if text.ends_with('.') { "" } else { "." };
    moved(&format!("{first}{}{end}", letters.as_str()))
}

fn page(code: &str, row: &Row<'_>) -> String {
    let Row { of, level, means, to_do, beside } = row;
    let of = if of.is_empty() { String::new() } else { format!(", {}", of.to_lowercase()) };
    let mut page = format!(
        "# `{code}`\n\nLevel *{level}*{of}. Made of [operating.md](../operating.md#what-each-alarm-means) by `cargo xtask tidy --write`.\n\n"
    );
    page.push_str(&format!("**What it means.** {}\n\n**What to do.** {}\n", sentence(means), sentence(to_do)));
    if !beside.is_empty() {
        let beside: Vec<String> = beside.iter().map(|other| format!("[`{other}`]({other}.md)")).collect();
        page.push_str(&format!("\nBeside it: {}.\n", beside.join(", ")));
    }
    page
}

/// All pages by name, as they are to be.
fn pages(document: &str) -> BTreeMap<String, String> {
    let rows = rows(document);
    let mut pages: BTreeMap<String, String> =
        rows.iter().map(|(code, row)| (format!("{code}.md"), page(code, row))).collect();
    let mut index =
        "# Codes of the log\n\nA page for each `event` of a hub's log, and each code that a client logs.\n\n"
            .to_owned();
    for (code, row) in &rows {
        index.push_str(&format!("- [`{code}`]({code}.md), {}\n", row.level));
    }
    pages.insert(INDEX.to_owned(), index);
    pages
}

fn run(tree: &Tree) -> Vec<Finding> {
    let Some(document) = tree.file(DOCUMENT) else {
        return vec![Finding::whole(DOCUMENT, "there is no such document")];
    };
    let pages = pages(&document.text);
    let mut found = Vec::new();
    for code in codes::told(&document.text) {
        if !pages.contains_key(&format!("{code}.md")) {
            found.push(Finding::whole(DOCUMENT, format!("the line of `{code}` has not four columns")));
        }
    }
    for (name, text) in &pages {
        let path = format!("{FOLDER}{name}");
        match tree.file(&path) {
            None => found.push(Finding::whole(&path, "it is not there: run `cargo xtask tidy --write`")),
            Some(file) if file.text != *text => {
                found.push(Finding::whole(&path, "the tables say something else: run `cargo xtask tidy --write`"));
            }
            Some(_) => {}
        }
    }
    for file in tree.files() {
        if let Some(name) = file.path.strip_prefix(FOLDER)
            && !pages.contains_key(name)
        {
            found.push(Finding::whole(&file.path, "there is no such code: remove it"));
        }
    }
    found
}

/// Writes the pages, and removes those of codes that are no more.
pub(super) fn write() -> Result<()> {
    let root = workspace::root();
    let path = root.join(DOCUMENT);
    let document = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let (pages, folder) = (pages(&document), root.join(FOLDER));
    fs::create_dir_all(&folder)?;
    for entry in fs::read_dir(&folder)? {
        let entry = entry?;
        if !pages.contains_key(entry.file_name().to_string_lossy().as_ref()) {
            fs::remove_file(entry.path())?;
        }
    }
    for (name, text) in &pages {
        fs::write(folder.join(name), text)?;
    }
    println!("{} pages in {FOLDER}", pages.len());
    Ok(())
}

const TABLE: &str = "**Of links**\n\n| code | level | what it means | what to do |\n|---|---|---|---|\n\
                     | `up`, `down` | info | a link, see [links](#links) | nothing |\n";

/// A tree with a document and pages.
fn sample(document: &str, pages: &BTreeMap<String, String>) -> Tree {
    let pages: Vec<(String, &str)> =
        pages.iter().map(|(name, text)| (format!("{FOLDER}{name}"), text.as_str())).collect();
    let files = pages.iter().map(|(path, text)| (path.as_str(), *text)).chain([(DOCUMENT, document)]);
    Tree::of(files)
}

fn canaries() -> Vec<Tree> {
    let good = pages(TABLE);
    let but = |change: fn(&mut BTreeMap<String, String>)| {
        let mut pages = good.clone();
        change(&mut pages);
        sample(TABLE, &pages)
    };
    vec![
        but(|pages| drop(pages.remove("up.md"))),
        but(|pages| drop(pages.insert("gone.md".to_owned(), "x".to_owned()))),
        but(|pages| drop(pages.insert("up.md".to_owned(), "other".to_owned()))),
        Tree::sample([(DOCUMENT, "| code | level | meaning |\n|---|---|---|\n| `up` | info | it |\n")]),
        Tree::sample([]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_say_what_the_tables_say_and_pass() {
        let pages = pages(TABLE);
        assert!(run(&sample(TABLE, &pages)).is_empty());
        assert_eq!(pages.keys().collect::<Vec<_>>(), ["README.md", "down.md", "up.md"]);
        let up = &pages["up.md"];
        assert!(up.starts_with("# `up`\n\nLevel *info*, of links."), "{up}");
        assert!(up.contains("**What it means.** A link, see [links](../operating.md#links).\n"), "{up}");
        assert!(up.ends_with("Beside it: [`down`](down.md).\n"), "{up}");
    }
}
