//! Servers that a benchmark starts, watches and stops: by their process id, and
//! never left behind.

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// How long a server may take to say that it serves; a Java program takes longest.
const START: Duration = Duration::from_secs(60);
/// How long it may take to end after SIGTERM, before SIGKILL.
const STOP: Duration = Duration::from_secs(10);

/// Ports of servers: Linux gives those from 32768 on to connections
/// (`net.ipv4.ip_local_port_range`).
const PORTS: Range<u16> = 20_000..32_000;

/// In what `/proc` counts processor time: the same on every architecture that Linux runs on today.
const TICKS_PER_SECOND: f64 = 100.0;

/// A server process. Dropping it stops it.
#[derive(Debug)]
pub struct Server {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts `command` with its output in `folder/NAME.log`.
    pub fn start(name: &str, command: &mut Command, folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Asks `ready` until it answers something, the server ends, or its time is over.
    pub fn wait_ready<T>(&mut self, mut ready: impl FnMut() -> Option<T>) -> Result<T> {
        let end = Instant::now() + START;
        loop {
            if let Some(answer) = ready() {
                return Ok(answer);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status} before it served; it said:\n{}", self.name, self.said());
            }
            if Instant::now() >= end {
                bail!("{} does not serve after {START:?}; it said:\n{}", self.name, self.said());
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Strikes it as a crash would (`kill -9`), whoever is talking to it.
    pub fn kill(&self) -> Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).context("not a process id")?;
        Ok(kill_process(pid, Signal::KILL)?)
    }

    /// The last lines of the server's output.
    #[must_use]
    pub fn said(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Processor time used so far, in seconds; see [`cpu_seconds`].
    pub fn cpu_seconds(&self) -> io::Result<f64> {
        cpu_seconds(self.pid())
    }

    /// Resident memory now and at its peak, in bytes.
    pub fn memory(&self) -> io::Result<(u64, u64)> {
        Ok((self.status("VmRSS:")?, self.status("VmHWM:")?))
    }

    /// A size of `/proc/PID/status`, in bytes.
    fn status(&self, name: &str) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = text.lines().find(|line| line.starts_with(name));
        let kib = line.and_then(|l| l.split_whitespace().nth(1)).and_then(|n| n.parse::<u64>().ok());
        Ok(kib.unwrap_or(0) << 10)
    }

    /// The part of resident memory that is its own, not pages of files, in bytes.
    pub fn private_memory(&self) -> io::Result<u64> {
        self.status("RssAnon:")
    }

    /// Starts the peak of resident memory anew from what is resident now.
    pub fn reset_peak(&self) -> io::Result<()> {
        fs::write(format!("/proc/{}/clear_refs", self.pid()), "5")
    }

    /// How many threads it has.
    pub fn threads(&self) -> io::Result<usize> {
        Ok(self.tasks()?.len())
    }

    /// Lets all its threads run on `cores` only.
    pub fn pin(&self, cores: &CpuSet) -> io::Result<()> {
        for task in self.tasks()? {
            let id = task.file_name().and_then(|n| n.to_str()).and_then(|n| n.parse().ok()).and_then(Pid::from_raw);
            if let Some(id) = id {
                sched_setaffinity(Some(id), cores)?;
            }
        }
        Ok(())
    }

    fn tasks(&self) -> io::Result<Vec<PathBuf>> {
        tasks(self.pid())
    }
}

fn tasks(pid: u32) -> io::Result<Vec<PathBuf>> {
    let folder = fs::read_dir(format!("/proc/{pid}/task"))?;
    folder.map(|entry| entry.map(|e| e.path())).collect()
}

/// A process's processor time so far, in seconds: user and system time with
/// that of threads that ended (`/proc/PID/stat`, in ticks), or the exact time
/// of the threads that still live, whichever is more.
pub fn cpu_seconds(pid: u32) -> io::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything; user and system time are the 12th and 13th field behind it.
    let behind = text.rsplit_once(')').map_or("", |(_, behind)| behind);
    let ticks: u64 = behind.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
    let mut living = 0u64;
    for task in tasks(pid)? {
        // A thread may end between the listing and the reading.
        let Ok(text) = fs::read_to_string(task.join("schedstat")) else { continue };
        living += text.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok((ticks as f64 / TICKS_PER_SECOND).max(living as f64 / 1e9))
}

impl Drop for Server {
    fn drop(&mut self) {
        if let (Ok(None), Some(pid)) = (self.child.try_wait(), i32::try_from(self.pid()).ok().and_then(Pid::from_raw)) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let end = Instant::now() + STOP;
        while Instant::now() < end {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The cores this thread may run on.
pub fn own_cores() -> io::Result<CpuSet> {
    Ok(sched_getaffinity(None)?)
}

/// Lets this thread, and the threads it starts from here on, run on `cores` only.
pub fn pin_self(cores: &CpuSet) -> io::Result<()> {
    Ok(sched_setaffinity(None, cores)?)
}

/// The last core alone, and the first one alone.
pub fn single_cores() -> io::Result<[CpuSet; 2]> {
    let all = own_cores()?;
    let single = |core: Option<usize>| {
        let mut one = CpuSet::new();
        core.inspect(|&core| one.set(core));
        one
    };
    let mut own = (0..CpuSet::MAX_CPU).filter(|&core| all.is_set(core));
    let first = own.next();
    Ok([single(own.next_back().or(first)), single(first)])
}

/// A port on the loopback interface that nobody listens on right now, below those
/// that the system gives to connections: a server that is killed and started again
/// finds it free. No two calls of one program get the same.
///
/// # Errors
/// All are taken.
pub fn free_port() -> io::Result<u16> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    // Programs that run at the same time begin at different places.
    let first = std::process::id() as usize;
    let tried = PORTS.map(|_| first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)));
    let mut ports = tried.filter_map(|at| PORTS.clone().nth(at % PORTS.len()));
    let free = ports.find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok());
    free.ok_or_else(|| io::Error::new(io::ErrorKind::AddrInUse, "all ports for servers are taken"))
}

/// The target folder that this program was built into: `target` of `target/dist/hub`.
pub fn target_folder() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let folder = program.ancestors().nth(2).context("this program does not lie in a target folder")?;
    Ok(folder.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_ends_at_once_is_told_with_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo the port is taken; exit 3"]);
        let mut server = Server::start("short", &mut command, folder.path()).unwrap();
        let error = server.wait_ready(|| None::<()>).unwrap_err().to_string();
        assert!(error.contains("the port is taken") && error.contains('3'), "{error}");
    }

    #[test]
    fn dropping_a_server_ends_its_process() {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start("long", Command::new("sleep").arg("600"), folder.path()).unwrap();
        let at = PathBuf::from(format!("/proc/{}", server.pid()));
        assert!(at.exists());
        drop(server);
        assert!(!at.exists());
    }
}
