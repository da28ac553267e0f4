//! What happened when: printed as it happens, and kept for a file.

use std::fmt::Display;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// A timeline.
pub(crate) struct Timeline {
    start: Instant,
    text: String,
}

impl Timeline {
    /// Begins now.
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), text: String::new() }
    }

    /// When it began.
    pub(crate) fn start(&self) -> Instant {
        self.start
    }

    /// How long ago that was.
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Something happened now.
    pub(crate) fn note(&mut self, what: impl Display) {
        self.line(format!("{:8.3} s  {what}", self.now().as_secs_f64()));
    }

    /// A line without a time.
    pub(crate) fn line(&mut self, what: impl Display) {
        let line = format!("{what}\n");
        print!("{line}");
        self.text.push_str(&line);
    }

    /// Writes all of it to a file.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        std::fs::write(path, &self.text).with_context(|| format!("cannot write {}", path.display()))
    }
}
