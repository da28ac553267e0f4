//! `weft ca`: an authority, and certificates from it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use weft_base::{Clock, SystemClock};
use weft_transport::PeerKind;
use weft_transport::ca::Authority;

use crate::cli::{CaCommand, Kind};

/// Hosts in a hub's certificate when none is named.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

pub(crate) fn run(command: CaCommand) -> anyhow::Result<()> {
    match command {
        CaCommand::Init { dir, name, days } => {
            let (certificate, key) = (dir.join("ca.pem"), dir.join("ca.key"));
            init(&dir, &name, days)?;
            eprintln!(
                "made {} and {}: keep the key secret, who has it can issue",
                certificate.display(),
                key.display()
            );
        }
        CaCommand::Issue { kind, name, dir, out, host, days } => {
            let out = out.unwrap_or_else(|| dir.clone());
            let kind = match kind {
                Kind::Hub => PeerKind::Hub,
                Kind::Client => PeerKind::Client,
            };
            let hosts: Vec<&str> =
                if host.is_empty() { LOOPBACK.to_vec() } else { host.iter().map(String::as_str).collect() };
            issue(&dir, &out, kind, &name, &hosts, days)?;
            eprintln!("made {0}/{name}.pem and {0}/{name}.key, for {kind} `{name}`", out.display());
        }
        CaCommand::Revoke { certificates, dir } => {
            let list = revoke(&dir, &certificates)?;
            let s = if certificates.len() == 1 { "" } else { "s" };
            eprintln!(
                "{} certificate{s} revoked in {}: give it to each hub as `tls.crl`",
                certificates.len(),
                list.display()
            );
        }
    }
    Ok(())
}

/// Makes an authority in `dir`. One that is there is left as it is.
pub(crate) fn init(dir: &Path, name: &str, days: u32) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make the folder {}", dir.display()))?;
    let authority = Authority::create(name, SystemClock::new().now().wall, days_of(days))?;
    write_secret(&dir.join("ca.key"), &authority.key_pem())?;
    write_new(&dir.join("ca.pem"), authority.certificate_pem(), 0o644)
}

/// Issues `NAME.pem` and `NAME.key` into `out`, from the authority in `dir`.
pub(crate) fn issue(
    dir: &Path,
    out: &Path,
    kind: PeerKind,
    name: &str,
    hosts: &[&str],
    days: u32,
) -> anyhow::Result<()> {
    let authority = authority(dir)?;
    let issued = authority.issue(kind, name, hosts, SystemClock::new().now().wall, days_of(days))?;
    fs::create_dir_all(out).with_context(|| format!("cannot make the folder {}", out.display()))?;
    write_secret(&out.join(format!("{name}.key")), &issued.key)?;
    write_new(&out.join(format!("{name}.pem")), &issued.certificate, 0o644)
}

/// Puts certificates on the list of what the authority in `dir` has revoked;
/// answers where that is. Hubs that read it meanwhile find the old or the new.
pub(crate) fn revoke(dir: &Path, certificates: &[PathBuf]) -> anyhow::Result<PathBuf> {
    let path = dir.join("crl.pem");
    let read = |path: &Path| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let old = path.exists().then(|| read(&path)).transpose()?;
    let (authority, now) = (authority(dir)?, SystemClock::new().now().wall);
    let pems = certificates.iter().map(|path| read(path)).collect::<anyhow::Result<Vec<_>>>()?;
    for (path, pem) in certificates.iter().zip(&pems) {
        // Alone, so that it is the one that is wrong.
        authority.revoke(None, &[pem.as_str()], now).with_context(|| format!("cannot revoke {}", path.display()))?;
    }
    let pems: Vec<&str> = pems.iter().map(String::as_str).collect();
    let list = authority.revoke(old.as_deref(), &pems, now)?;
    let beside = dir.join("crl.pem.new");
    fs::write(&beside, list).with_context(|| format!("cannot write {}", beside.display()))?;
    fs::rename(&beside, &path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// The authority in a folder.
fn authority(dir: &Path) -> anyhow::Result<Authority> {
    let read = |file: &str| {
        let path = dir.join(file);
        fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}: make an authority with `weft ca init`", path.display()))
    };
    Ok(Authority::from_pem(&read("ca.pem")?, &read("ca.key")?)?)
}

fn days_of(days: u32) -> Duration {
    Duration::from_secs(u64::from(days) * 86_400)
}

pub(super) fn write_secret(path: &Path, text: &str) -> anyhow::Result<()> {
    write_new(path, text, 0o600)
}

/// Writes a file that is not there yet: a key is never overwritten.
pub(super) fn write_new(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .with_context(|| format!("cannot make {}: if it is there, move it away first", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use weft_transport::TlsIdentity;

    #[test]
    fn what_is_issued_can_be_used_and_keys_are_secret() {
        let dir = tempfile::tempdir().expect("a folder");
        init(dir.path(), "test", 10).expect("an authority");
        issue(dir.path(), dir.path(), PeerKind::Hub, "chicago", &LOOPBACK, 5).expect("a certificate");
        let path = |file: &str| dir.path().join(file);
        let identity = TlsIdentity::from_pem_files(&path("chicago.pem"), &path("chicago.key"), &path("ca.pem"));
        assert_eq!(identity.expect("an identity").me().name, "chicago");
        for key in ["ca.key", "chicago.key"] {
            let mode = fs::metadata(path(key)).expect("a key").permissions().mode();
            assert_eq!(mode & 0o077, 0, "{key} is for its owner alone");
        }
    }

    #[test]
    fn an_authority_is_not_overwritten() {
        let dir = tempfile::tempdir().expect("a folder");
        init(dir.path(), "first", 10).expect("an authority");
        let before = fs::read(dir.path().join("ca.key")).expect("a key");
        let error = init(dir.path(), "second", 10).expect_err("there is one").to_string();
        assert!(error.contains("move it away"), "{error}");
        assert_eq!(fs::read(dir.path().join("ca.key")).expect("a key"), before);
    }
}
