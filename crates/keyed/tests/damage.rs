//! An LSM tree whose files are not what was written: it says so, or has less,
//! and never panics or says anything else than what was put.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::{Path, PathBuf};

use weft_base::ByteCount;
use weft_keyed::{Batch, Keyed, LsmKeyed, LsmOptions, Space};

const KEYS: u32 = 3_000;

fn small() -> LsmOptions {
    LsmOptions { memtable: ByteCount::kib(64), ..LsmOptions::default() }
}

fn value(key: u32) -> Vec<u8> {
    key.to_le_bytes().repeat(16)
}

/// A tree with tables and a journal.
fn filled(path: &Path) {
    let keyed = LsmKeyed::open(path, small()).unwrap();
    for first in (0..KEYS).step_by(100) {
        let mut batch = Batch::new();
        (first..first + 100).for_each(|key| batch.put(Space::Meta, key.to_be_bytes(), value(key)));
        keyed.apply(batch).unwrap();
    }
    keyed.sync().unwrap();
}

/// Its files that hold anything, in order.
fn files(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if std::fs::metadata(&path).unwrap().len() > 0 {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Opens it, reads all and writes: how many values were there. `None`: it said
/// that something is wrong.
fn used(path: &Path) -> Option<usize> {
    let keyed = LsmKeyed::open(path, small()).ok()?;
    let mut found = 0;
    for key in 0..KEYS {
        if let Some(got) = keyed.get(Space::Meta, &key.to_be_bytes()).ok()? {
            assert_eq!(got, value(key), "another value than was put");
            found += 1;
        }
    }
    keyed.scan(Space::Meta, &[], &[], KEYS as usize).ok()?;
    let mut batch = Batch::new();
    batch.put(Space::Meta, *b"more", *b"more");
    keyed.apply(batch).ok()?;
    keyed.sync().ok()?;
    Some(found)
}

#[test]
fn files_that_are_damaged_are_told_or_missed_and_panic_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    filled(&whole);
    let files = files(&whole);
    assert!(files.len() > 3, "tables too: {files:?}");
    let (mut told, mut less) = (0, 0);
    for (n, file) in files.iter().enumerate() {
        let bytes = std::fs::read(file).unwrap();
        // Cut in the middle, or one bit wrong near the beginning: by turns.
        let damaged = match n % 2 {
            0 => bytes[..bytes.len() / 2].to_vec(),
            _ => {
                let mut bytes = bytes;
                let at = bytes.len().min(200) / 2;
                bytes[at] ^= 0x10;
                bytes
            }
        };
        let copied = folder.path().join(format!("copy-{n}"));
        copy(&whole, &copied);
        std::fs::write(copied.join(file.strip_prefix(&whole).unwrap()), damaged).unwrap();
        match used(&copied) {
            None => told += 1,
            Some(found) if found < KEYS as usize => less += 1,
            Some(_) => {}
        }
    }
    assert!(told > 0 && told + less > 1, "{told} told, {less} missed of {}", files.len());
    assert_eq!(used(&whole), Some(KEYS as usize));
}
