//! Names in DNS that stand for hubs: where an address could be written, and the
//! table `[dns]`.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use weft_hub::options::DnsOptions;
use weft_transport::dns::Sought;

use super::read::checked;
use super::reader::{Problems, Section};
use crate::time::show_duration;

/// Where DNS listens.
const PORT: u16 = 53;

/// The text, if it is an address of a hub, or a name of hubs.
pub(super) fn hub(
    section: &Section<'_, '_>,
    key: &'static str,
    text: String,
    problems: &mut Problems,
) -> Option<String> {
    match Sought::of(&text) {
        None => checked(section, key, text, problems),
        Some(Ok(_)) => Some(text),
        Some(Err(why)) => {
            problems.add_at(&section.path_of(key), &why);
            None
        }
    }
}

/// The table.
pub(super) fn options(mut section: Section<'_, '_>, problems: &mut Problems) -> DnsOptions {
    let mut dns = DnsOptions::default();
    let path = section.path_of("servers");
    for text in section.texts("servers", problems).unwrap_or_default() {
        // The port may be left out.
        let ip = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, PORT));
        match ip.or_else(|_| text.parse()) {
            Ok(server) => dns.servers.push(server),
            Err(_) => {
                problems.add_at(
                    &path,
                    &format!("`{text}` is not an address: write for example `10.0.0.10` or `127.0.0.1:8600`"),
                );
            }
        }
    }
    if let Some(targets) = section.number("targets", problems) {
        dns.targets = targets;
    }
    let times =
        [("timeout", &mut dns.timeout), ("least", &mut dns.least), ("most", &mut dns.most), ("gone", &mut dns.gone)];
    for (key, time) in times {
        if let Some(value) = section.duration(key, problems) {
            *time = value;
        }
    }
    section.finish(problems);
    dns
}

/// As it counts.
pub(super) fn show(dns: &DnsOptions, out: &mut String) -> std::fmt::Result {
    let servers: Vec<String> = dns.servers.iter().map(SocketAddr::to_string).collect();
    match servers.as_slice() {
        [] => writeln!(out, "\n[dns]\n# servers: those of /etc/resolv.conf")?,
        named => writeln!(out, "\n[dns]\nservers = {named:?}")?,
    }
    let [timeout, least, most, gone] = [dns.timeout, dns.least, dns.most, dns.gone].map(show_duration);
    writeln!(out, "timeout = \"{timeout}\"\ntargets = {}\nleast = \"{least}\"\nmost = \"{most}\"", dns.targets)?;
    writeln!(out, "gone = \"{gone}\"")
}
