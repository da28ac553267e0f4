//! Processes that end in time and with this one, and what they need.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::step::within;

/// Below those that the system gives to connections, so that a hub that is started
/// again finds its port free.
const PORTS: std::ops::Range<u16> = 10_000..20_000;

/// A command that ends, by SIGKILL, when this process does, however that ends.
pub(super) fn bound(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Runs it to its end, which must be a good one and come in time; answers what it
/// printed.
pub(super) fn done(command: &mut Command, until: Instant) -> Result<String> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.with_context(|| format!("cannot start {command:?}"))?;
    let reader = |pipe: Option<Box<dyn Read + Send>>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let output = reader(child.stdout.take().map(|pipe| Box::new(pipe) as _));
    let errors = reader(child.stderr.take().map(|pipe| Box::new(pipe) as _));
    let status = within(child, until.saturating_duration_since(Instant::now()));
    let (output, errors) = (output.join().unwrap_or_default(), errors.join().unwrap_or_default());
    let status = status.with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}: {}", errors.trim());
    Ok(output)
}

/// So many ports on the loopback interface that nobody listens on right now.
pub(super) fn free_ports<const N: usize>() -> Result<[u16; N]> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let mut ports = [0; N];
    let mut left = PORTS.len();
    for port in &mut ports {
        *port = loop {
            ensure!(left > 0, "all ports for servers are taken");
            left -= 1;
            // Runs at the same time begin at different places.
            let at = (std::process::id() as usize).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
            let found = PORTS.clone().nth(at % PORTS.len()).unwrap_or(PORTS.start);
            if TcpListener::bind(("127.0.0.1", found)).is_ok() {
                break found;
            }
        };
    }
    Ok(ports)
}

/// The ports at the other ends of a process's connections.
pub(super) fn connected_to(process: u32) -> Vec<u16> {
    let mut sockets = Vec::new();
    for entry in fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten() {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        let socket =
            target.to_str().and_then(|name| name.strip_prefix("socket:[")?.strip_suffix(']').map(str::to_owned));
        sockets.extend(socket);
    }
    let table = fs::read_to_string(format!("/proc/{process}/net/tcp")).unwrap_or_default();
    ports_of(&table, &sockets)
}

/// The remote ports of these sockets in what the kernel says of TCP, those that
/// are established.
fn ports_of(table: &str, sockets: &[String]) -> Vec<u16> {
    let port = |line: &str| {
        let mut fields = line.split_whitespace().skip(2);
        let (remote, state) = (fields.next()?, fields.next()?);
        let socket = fields.nth(5)?;
        let is_one = state == "01" && sockets.iter().any(|known| known == socket);
        is_one.then(|| u16::from_str_radix(remote.rsplit_once(':')?.1, 16).ok()).flatten()
    };
    table.lines().filter_map(port).collect()
}

/// Copies a folder with all that is in it.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (entry, to) = (entry?, to);
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_at_the_other_end_of_a_connection_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let held = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert!(connected_to(std::process::id()).contains(&port));
        let other = ports_of("sl local rem\n 0: 0100007F:0016 0100007F:1F90 01 0:0 0:0 0 0 0 77 1", &["77".to_owned()]);
        assert_eq!(other, [0x1f90]);
        drop(held);
    }
}
