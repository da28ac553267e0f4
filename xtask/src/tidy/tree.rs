//! The files that the checks look at, as git sees them, and what a check finds.

use std::fmt;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::source;
use crate::workspace;

/// A text file of the tree.
pub(super) struct File {
    /// The path from the root, with `/`.
    pub(super) path: String,
    /// All of it.
    pub(super) text: String,
    /// For Rust: the text with comments and literals blanked, each byte in its place. Else empty.
    pub(super) code: String,
    /// For Rust: whether each line belongs to tests.
    tests: Vec<bool>,
}

impl File {
    fn new(path: &str, text: String) -> Self {
        let rust = path.ends_with(".rs");
        let code = if rust { source::blank(&text) } else { String::new() };
        let tests = if rust { source::test_lines(path, &code) } else { Vec::new() };
        Self { path: path.to_owned(), text, code, tests }
    }

    /// Whether it is a Rust file.
    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether it is a Markdown file.
    pub(super) fn is_markdown(&self) -> bool {
        self.path.ends_with(".md")
    }

    /// Whether a line, counted from 1, is part of tests.
    pub(super) fn is_test(&self, line: usize) -> bool {
        self.tests.get(line - 1).copied().unwrap_or(false)
    }

    /// The code's lines, counted from 1, without comments and literals.
    pub(super) fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The text's lines, counted from 1.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// A finding on a line of it.
    pub(super) fn finding(&self, line: usize, what: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, what: what.into() }
    }
}

/// A package of the workspace, as far as the checks care.
#[derive(Clone, Debug, Default)]
pub(super) struct Package {
    pub(super) name: String,
    /// The packages of this workspace that it depends on; not for tests only.
    pub(super) needs: Vec<String>,
    /// Those that only its tests and benchmarks depend on.
    pub(super) needs_in_tests: Vec<String>,
    pub(super) licence: String,
}

/// The tree that is checked: the workspace, or a bad sample.
#[derive(Default)]
pub(super) struct Tree {
    files: Vec<File>,
    /// Paths of all files, texts or not.
    paths: Vec<String>,
    packages: Vec<Package>,
}

impl Tree {
    /// The files that git keeps, or would keep, and cargo's packages.
    pub(super) fn of_workspace() -> Result<Self> {
        let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
        let output =
            Command::new("git").args(list).current_dir(workspace::root()).output().context("cannot start git")?;
        ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim());
        let mut tree = Self::default();
        for path in String::from_utf8_lossy(&output.stdout).split('\0').filter(|path| !path.is_empty()) {
            // A file deleted but not yet committed is still listed.
            let Ok(bytes) = fs::read(workspace::root().join(path)) else { continue };
            tree.paths.push(path.to_owned());
            if let Ok(text) = String::from_utf8(bytes) {
                tree.files.push(File::new(path, text));
            }
        }
        tree.packages = packages(&workspace::metadata()?);
        Ok(tree)
    }

    /// A sample of these files.
    pub(super) fn sample<const N: usize>(files: [(&str, &str); N]) -> Self {
        Self::of(files)
    }

    /// The same, of as many as there are.
    pub(super) fn of<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut tree = Self::default();
        for (path, text) in files {
            tree.paths.push(path.to_owned());
            tree.files.push(File::new(path, text.to_owned()));
        }
        tree
    }

    /// The sample with packages.
    pub(super) fn with_packages(mut self, packages: impl IntoIterator<Item = Package>) -> Self {
        self.packages.extend(packages);
        self
    }

    /// All text files.
    pub(super) fn files(&self) -> &[File] {
        &self.files
    }

    /// The Rust files.
    pub(super) fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.is_rust())
    }

    /// A file by its path.
    pub(super) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Whether there is a file of this path, or a folder with files in it.
    pub(super) fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        let inside =
            |whole: &str| whole.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.paths.iter().any(|whole| inside(whole))
    }

    /// The workspace's packages.
    pub(super) fn packages(&self) -> &[Package] {
        &self.packages
    }
}

/// The packages in cargo's metadata.
fn packages(metadata: &serde_json::Value) -> Vec<Package> {
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let packages = list(&metadata["packages"]);
    let names: Vec<String> = packages.iter().map(|package| text(&package["name"])).collect();
    let mut found = Vec::new();
    for package in &packages {
        let mut one =
            Package { name: text(&package["name"]), licence: text(&package["license"]), ..Package::default() };
        for needed in list(&package["dependencies"]) {
            let name = text(&needed["name"]);
            if names.contains(&name) && name != one.name {
                if needed["kind"] == "dev" { one.needs_in_tests.push(name) } else { one.needs.push(name) }
            }
        }
        found.push(one);
    }
    found
}

/// Something that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    path: String,
    /// Counted from 1; 0 for the file as a whole.
    line: usize,
    what: String,
}

impl Finding {
    /// A finding about a whole file, or about the tree.
    pub(super) fn whole(path: &str, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: 0, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}
