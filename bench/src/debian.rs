//! Peers from Debian's packages, without installing anything on the machine:
//! packages are downloaded by `apt-get` and unpacked into the target folder.
//! A program that is already installed is used as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::process;

/// A program, and the folder of the libraries that came with it.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    libraries: Option<PathBuf>,
}

impl Program {
    /// A command that starts it.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        if let Some(libraries) = &self.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command
    }

    /// What it writes to stdout when called with these arguments.
    pub fn said(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command().args(arguments).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// The program that the package brings at `inside`: the installed one, or one
/// unpacked into the target folder.
pub fn program(package: &str, inside: &str) -> Result<Program> {
    let installed = Path::new("/").join(inside);
    if installed.exists() {
        return Ok(Program { path: installed, libraries: None });
    }
    let folder = process::target_folder()?.join("peers").join(format!("debian-{package}"));
    let root = folder.join("root");
    let path = root.join(inside);
    if !path.exists() {
        unpack(package, &folder, &root).with_context(|| {
            format!(
                "cannot get the package {package}; install it with `apt-get install {package}`, or leave the peer out"
            )
        })?;
    }
    ensure!(path.exists(), "the package {package} brought no {inside}");
    let libraries = root.join("usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH));
    Ok(Program { path, libraries: Some(libraries) })
}

fn unpack(package: &str, folder: &Path, root: &Path) -> Result<()> {
    eprintln!("downloading {package} from Debian's packages");
    let archives = folder.join("archives");
    fs::create_dir_all(archives.join("partial"))?;
    let mut cache = std::ffi::OsString::from("Dir::Cache::archives=");
    cache.push(&archives);
    let mut apt = Command::new("apt-get");
    // Downloads only, without the locks that installing needs.
    apt.args(["--quiet", "--quiet", "--yes", "--download-only", "--no-install-recommends"]);
    apt.args(["-o", "Debug::NoLocking=1", "-o"]).arg(cache).args(["install", package]);
    run(&mut apt)?;
    for entry in fs::read_dir(&archives)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "deb") {
            run(Command::new("dpkg-deb").arg("--extract").arg(&path).arg(root))?;
        }
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot start {name}: this needs Debian or a relative"))?;
    if !output.status.success() {
        bail!("{name} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
