//! A hub's wall clock, set while it runs: a small library that is preloaded
//! into it reads how far it is off from a file.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The clock of hubs that are started with it.
pub(crate) struct TestClock {
    library: PathBuf,
    offset: PathBuf,
}

impl TestClock {
    /// Compiles the library into this folder.
    ///
    /// # Errors
    /// There is no C compiler here.
    pub(crate) fn make(folder: &Path) -> Result<Self, String> {
        let (library, offset) = (folder.join("clock.so"), folder.join("clock.offset"));
        let source = folder.join("clock.c");
        fs::write(&source, include_str!("clock.c")).map_err(|e| e.to_string())?;
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).arg("-ldl");
        let output = compiler.output().map_err(|e| format!("no C compiler here: {e}"))?;
        if !output.status.success() {
            return Err(format!("the clock does not compile: {}", String::from_utf8_lossy(&output.stderr)));
        }
        fs::write(&offset, [0; 8]).map_err(|e| e.to_string())?;
        Ok(Self { library, offset })
    }

    /// Sets it back by so much; zero sets it right.
    pub(crate) fn set_back(&self, by: Duration) {
        let nanos = -i64::try_from(by.as_nanos()).expect("less than 292 years");
        let file = fs::OpenOptions::new().write(true).open(&self.offset).expect("the file is there");
        file.write_all_at(&nanos.to_le_bytes(), 0).expect("it can be written");
    }

    /// Has a program started with it.
    pub(crate) fn give(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("WEFT_TEST_CLOCK", &self.offset);
    }
}
