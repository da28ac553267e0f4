//! Network namespaces without a name: each is a thread that lives in it, and is
//! gone with that thread and the processes that it started.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow, ensure};
use nix::sched::{CloneFlags, unshare};

/// What is missing here for namespaces and lines, in words; none when all is there.
#[must_use]
pub fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("network namespaces need root: run it as root".into());
    }
    if let Err(error) = std::fs::File::options().read(true).write(true).open("/dev/net/tun") {
        return Some(format!("/dev/net/tun cannot be opened ({error}): load the kernel's module `tun`"));
    }
    for (program, package) in [("ip", "iproute2"), ("setpriv", "util-linux")] {
        let found = Command::new(program).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if found.is_err() {
            return Some(format!("there is no program `{program}`: install {package}"));
        }
    }
    Space::make("probe").err().map(|error| format!("no network namespace can be made: {error:#}"))
}

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace. Dropping it ends its thread; the namespace itself lasts
/// until the processes and sockets in it are gone too.
#[derive(Debug)]
pub struct Space {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Space {
    /// A new one, with its loopback interface up and nothing else.
    pub fn make(name: &str) -> Result<Self> {
        let (jobs, inbox) = channel::<Job>();
        let (say, made) = channel();
        let resident = move || {
            let result = unshare(CloneFlags::CLONE_NEWNET).context("no network namespace can be made");
            let good = result.is_ok();
            let _ = say.send(result);
            while let Some(job) = good.then(|| inbox.recv().ok()).flatten() {
                job();
            }
        };
        let thread = thread::Builder::new().name(format!("space {name}")).spawn(resident)?;
        made.recv().map_err(|_| anyhow!("the namespace's thread ended"))??;
        let space = Self { jobs: Some(jobs), thread: Some(thread) };
        space.run(|| ip(&["link", "set", "dev", "lo", "up"]))??;
        Ok(space)
    }

    /// Runs a job in it and waits for its answer. Sockets that the job makes,
    /// threads and processes that it starts, are in this namespace for good.
    ///
    /// # Errors
    /// The job panicked.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (answer, answered) = channel();
        let job: Job = Box::new(move || {
            // A job that panics ends itself, not the namespace's thread: processes would end with it.
            if let Ok(done) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)) {
                let _ = answer.send(done);
            }
        });
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        ensure!(sent, "the namespace's thread has ended");
        answered.recv().map_err(|_| anyhow!("what ran in the namespace panicked"))
    }

    /// Makes an end of a line in it: a TUN device of this name with this
    /// address, in a network of four with the other end.
    pub(crate) fn tun(&self, name: &str, address: Ipv4Addr) -> Result<tun_rs::SyncDevice> {
        let name = name.to_owned();
        let make = move || -> std::io::Result<_> {
            let builder = tun_rs::DeviceBuilder::new().name(name).mtu(1_500).tx_queue_len(8_192);
            let device = builder.ipv4(address, 30, None).build_sync()?;
            device.set_nonblocking(true)?;
            Ok(device)
        };
        self.run(make)?.with_context(|| format!("cannot make the TUN device of {address}"))
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A command that ends, by SIGKILL, with the thread that starts it: a process of
/// a namespace must not outlive this one, however this one ends.
#[must_use]
pub fn bound(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("cannot start `ip`: install iproute2")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`ip {}` says: {}", arguments.join(" "), said.trim());
    Ok(())
}
