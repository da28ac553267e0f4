//! A hub's wall clock, moved while it runs: by the library that the crash
//! matrix preloads into hubs, compiled from the same source.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use weft_chaos::hub::Hub;

const SOURCE: &str = include_str!("../../crates/weft/tests/crash/clock.c");

/// The library.
pub(crate) struct Library(PathBuf);

impl Library {
    /// Compiles it into this folder.
    pub(crate) fn make(folder: &Path) -> Result<Self> {
        let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
        fs::write(&source, SOURCE)?;
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).arg("-ldl");
        let output = compiler.output().context("no C compiler here: install gcc")?;
        ensure!(output.status.success(), "the clock does not compile: {}", String::from_utf8_lossy(&output.stderr));
        Ok(Self(library))
    }
}

/// The clock of one hub.
pub(crate) struct HubClock(PathBuf);

impl HubClock {
    /// Gives a hub, which must not run yet, a clock that can be moved.
    pub(crate) fn give(library: &Library, hub: &mut Hub, folder: &Path) -> Result<Self> {
        let offset = folder.join("clock.offset");
        fs::write(&offset, [0; 8])?;
        hub.set("LD_PRELOAD", &library.0.to_string_lossy());
        hub.set("WEFT_TEST_CLOCK", &offset.to_string_lossy());
        Ok(Self(offset))
    }

    /// Moves it by so many seconds from the true time; zero sets it right.
    pub(crate) fn shift(&self, seconds: i64) -> Result<()> {
        let file = fs::OpenOptions::new().write(true).open(&self.0)?;
        Ok(file.write_all_at(&(seconds * 1_000_000_000).to_le_bytes(), 0)?)
    }
}
