//! Steps: named commands with a time limit, run one after the other until one fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::workspace;

/// A command that can be run, and printed so that it can be repeated by hand.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    program: String,
    arguments: Vec<String>,
    settings: Vec<(String, String)>,
    folder: PathBuf,
}

impl Run {
    /// `cargo` with these arguments, at the root.
    pub(crate) fn cargo<S: Into<String>>(arguments: impl IntoIterator<Item = S>) -> Self {
        Self::program("cargo", arguments)
    }

    /// A program with these arguments, at the root.
    pub(crate) fn program<S: Into<String>>(program: &str, arguments: impl IntoIterator<Item = S>) -> Self {
        Self {
            program: program.to_owned(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            settings: Vec::new(),
            folder: workspace::root(),
        }
    }

    /// Adds arguments.
    pub(crate) fn with<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of the environment.
    pub(crate) fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.push((name.to_owned(), value.into()));
        self
    }

    /// Runs it in a folder of the workspace instead of the root.
    pub(crate) fn inside(mut self, folder: &str) -> Self {
        self.folder = workspace::root().join(folder);
        self
    }

    /// The command as one would type it at the root.
    pub(crate) fn typed(&self) -> String {
        let quote = |text: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
            if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { format!("'{text}'") }
        };
        let mut typed = String::new();
        if let Ok(inside) = self.folder.strip_prefix(workspace::root())
            && inside != Path::new("")
        {
            typed.push_str(&format!("cd {} && ", inside.display()));
        }
        for (name, value) in &self.settings {
            typed.push_str(&format!("{name}={} ", quote(value)));
        }
        typed.push_str(&quote(&self.program));
        for argument in &self.arguments {
            typed.push(' ');
            typed.push_str(&quote(argument));
        }
        typed
    }

    fn command(&self) -> Command {
        let program = if self.program == "cargo" { workspace::cargo() } else { self.program.clone() };
        let mut command = Command::new(program);
        command.args(&self.arguments).current_dir(&self.folder).envs(self.settings.iter().map(|(n, v)| (n, v)));
        command
    }

    /// Runs it, with its output where ours goes, for at most `limit`.
    pub(crate) fn go(&self, limit: Duration) -> Result<()> {
        let child = self.command().stdin(Stdio::null()).spawn();
        let status = within(child.with_context(|| format!("cannot start {}", self.program))?, limit)?;
        ensure!(status.success(), "it ended with {status}");
        Ok(())
    }

    /// Runs it with our input and output and no limit: for what a person watches.
    pub(crate) fn watch(&self) -> Result<ExitStatus> {
        self.command().status().with_context(|| format!("cannot start {}", self.program))
    }

    /// Runs it for at most `limit`; answers how it ended and all that it printed.
    pub(crate) fn read(&self, limit: Duration) -> Result<(ExitStatus, String)> {
        let output = workspace::target().join("xtask-output");
        fs::create_dir_all(workspace::target())?;
        let file = fs::File::create(&output)?;
        let child = self.command().stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn();
        let status = within(child.with_context(|| format!("cannot start {}", self.program))?, limit)?;
        Ok((status, String::from_utf8_lossy(&fs::read(&output)?).into_owned()))
    }
}

/// Waits for a child; past the limit, ends it and everything it started.
pub(crate) fn within(mut child: Child, limit: Duration) -> Result<ExitStatus> {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= end {
            for pid in family(child.id()) {
                let _ = kill_process(pid, Signal::KILL);
            }
            let _ = child.wait();
            bail!("it took longer than its limit of {} s and was ended", limit.as_secs());
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// A process and all its descendants, the deepest first.
fn family(of: u32) -> Vec<Pid> {
    let mut pairs = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name in parentheses may hold spaces; the parent is the second field after it.
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        pairs.extend(parent.map(|parent| (parent, id)));
    }
    let mut found = vec![of];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        found.extend(pairs.iter().filter(|pair| pair.0 == parent).map(|pair| pair.1));
        next += 1;
    }
    found.into_iter().rev().filter_map(|id| Pid::from_raw(i32::try_from(id).ok()?)).collect()
}

/// Something to do that has a name and a time limit.
pub(crate) struct Step {
    name: String,
    limit: Duration,
    work: Work,
}

enum Work {
    Command(Run),
    /// What a function checks, and the command that repeats it.
    Function(Box<dyn FnOnce(Duration) -> Result<()>>, String),
}

impl Step {
    /// A command.
    pub(crate) fn command(name: &str, minutes: u64, run: Run) -> Self {
        Self { name: name.to_owned(), limit: Duration::from_secs(minutes * 60), work: Work::Command(run) }
    }

    /// A function, which must keep the limit that it is given.
    pub(crate) fn function(
        name: &str,
        minutes: u64,
        repeat: &str,
        work: impl FnOnce(Duration) -> Result<()> + 'static,
    ) -> Self {
        let limit = Duration::from_secs(minutes * 60);
        Self { name: name.to_owned(), limit, work: Work::Function(Box::new(work), repeat.to_owned()) }
    }

    /// The step's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

/// Runs the steps in turn, and stops at the first that fails.
pub(crate) fn run_all(task: &str, steps: Vec<Step>) -> Result<()> {
    let (start, count) = (Instant::now(), steps.len());
    let mut times = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        println!("── {task} {}/{count}: {}", number + 1, step.name);
        let began = Instant::now();
        let (result, repeat) = match step.work {
            Work::Command(run) => (run.go(step.limit), run.typed()),
            Work::Function(work, repeat) => (work(step.limit), repeat),
        };
        let took = began.elapsed().as_secs_f64();
        if let Err(error) = result {
            println!("   FAILED after {took:.1} s: {}", step.name);
            bail!("{error:#}\nto repeat this step alone:\n  {repeat}");
        }
        println!("   ok in {took:.1} s");
        times.push((took, step.name));
    }
    println!("── {task}: all {count} steps passed in {:.0} s", start.elapsed().as_secs_f64());
    for (took, name) in times {
        println!("   {took:7.1} s  {name}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_printed_as_one_would_type_it() {
        let run = Run::cargo(["test", "-p", "x"]).set("RUSTFLAGS", "--cfg loom").inside("fuzz");
        assert_eq!(run.typed(), "cd fuzz && RUSTFLAGS='--cfg loom' cargo test -p x");
    }

    #[test]
    fn what_outlives_its_limit_is_ended_with_its_children() {
        let file = std::env::temp_dir().join(format!("xtask-step-{}", std::process::id()));
        let script = format!("sleep 600 & echo $! > {}; wait", file.display());
        // The limit leaves the shell time to write the id; being ended at it is what is tested.
        let error = Run::program("sh", ["-c", &script]).go(Duration::from_secs(2)).unwrap_err();
        assert!(error.to_string().contains("limit of 2 s"), "{error}");
        let child = fs::read_to_string(&file).unwrap();
        fs::remove_file(file).unwrap();
        // The signal is sent; the system may take a moment to act on it. A sleeper that lives on does so for minutes.
        let ended = || {
            let state = fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
            state.is_empty() || state.contains(") Z ")
        };
        let seen = (0..10_000).any(|_| {
            std::thread::park_timeout(Duration::from_millis(1));
            ended()
        });
        assert!(seen, "the sleeper lives on");
    }

    #[test]
    fn the_first_failure_stops_the_rest_and_names_the_command() {
        let never = Step::function("never reached", 1, "-", |_| panic!("a step ran after a failure"));
        let bad = Step::command("bad", 1, Run::program("false", [] as [&str; 0]));
        let error = run_all("sample", vec![bad, never]).unwrap_err().to_string();
        assert!(error.ends_with("to repeat this step alone:\n  false"), "{error}");
    }
}
