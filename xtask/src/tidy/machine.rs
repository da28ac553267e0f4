//! Nothing of one machine in the tree: no absolute paths of it, no hosts but
//! the public ones that are listed.

use super::Check;
use super::tree::{Finding, Tree};

pub(super) const CHECK: Check = Check {
    name: "machine",
    rule: "the tree names no absolute path of a machine and no host but those listed in xtask/src/tidy/machine.rs",
    run,
    canaries,
};

/// Starts of paths that belong to someone's machine. Written in two parts, so that this file has none.
const FOLDERS: [&str; 6] = [
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/wo", "rk/"),
    concat!("/Us", "ers/"),
    concat!("/m", "nt/"),
    concat!("/tmp/", "weft/"),
];

/// Hosts that documents and manifests may name.
const HOSTS: [&str; 23] = [
    "github.com",
    "doc.rust-lang.org",
    "docs.rs",
    "crates.io",
    "www.apache.org",
    "kafka.apache.org",
    "maven.apache.org",
    "docs.nats.io",
    "docs.oasis-open.org",
    "www.rfc-editor.org",
    "www.w3.org",
    "cloudevents.io",
    "fixprotocol.io",
    "www.fixtrading.org",
    "json-schema.org",
    "fetch.spec.whatwg.org",
    "example.com",
    "localhost",
    "127.0.0.1",
    // In the lock file of the page's tools, and in the words of its errors.
    "opencollective.com",
    "paulmillr.com",
    "svelte.dev",
    "tidelift.com",
];

/// The only place that locked dependencies may come from.
const INDEX: &str = "registry+https://github.com/rust-lang/crates.io-index";

fn run(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in tree.files() {
        let lock = file.path.ends_with("Cargo.lock");
        for (number, line) in file.lines() {
            for folder in FOLDERS {
                let stands = line.match_indices(folder).any(|(at, _)| {
                    !line[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || "._-*$}>".contains(c))
                });
                if stands {
                    found.push(file.finding(number, format!("a path of one machine: {folder}")));
                }
            }
            // What ends with `.example` is nobody's (RFC 2606).
            for host in hosts(line).filter(|host| !HOSTS.contains(host) && !host.ends_with(".example")) {
                found.push(file.finding(number, format!("the host {host} is not in xtask/src/tidy/machine.rs")));
            }
            if lock && line.starts_with("source = ") && !line.contains(INDEX) {
                found.push(file.finding(number, format!("locked dependencies come from {INDEX}")));
            }
        }
        if file.path.ends_with(".cargo/config.toml") && file.text.contains("[source") {
            found.push(file.finding(1, "which registry to use is each machine's own matter"));
        }
    }
    found
}

/// The hosts of the addresses in a line.
fn hosts(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("://").filter_map(|(at, _)| {
        let scheme = &line[..at];
        if !scheme.ends_with("http") && !scheme.ends_with("https") {
            return None;
        }
        let rest = &line[at + 3..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || ".-".contains(c))).unwrap_or(rest.len());
        (end > 0).then_some(&rest[..end])
    })
}

fn canaries() -> Vec<Tree> {
    let mut bad: Vec<Tree> =
        FOLDERS.iter().map(|folder| Tree::sample([("docs/a.md", &format!("see `{folder}x`\n"))])).collect();
    bad.push(Tree::sample([("docs/a.md", concat!("from http", "s://mirror.invalid/index\n"))]));
    bad.push(Tree::sample([("Cargo.lock", concat!("source = \"registry+http", "s://github.com/other/index\"\n"))]));
    bad.push(Tree::sample([(".cargo/config.toml", "[source.crates-io]\n")]));
    bad
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_hosts_and_relative_paths_pass() {
        let text = "https://github.com/weft-mesh/weft and crates/work/x, $HOME/y, http://{address}/z\n";
        assert_eq!(run(&Tree::sample([("README.md", text)])), []);
    }
}
