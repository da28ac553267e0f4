//! Who is asked, and for which names in turn.

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};

use super::{DnsOptions, LONGEST, LookUpError, MAX_SERVERS};

/// Where the system's servers stand.
const FILE: &str = "/etc/resolv.conf";
/// The most of that file that is read.
const MOST: u64 = 64 << 10;
/// The most names that are put behind one.
const MAX_SEARCH: usize = 6;
/// Where servers listen.
const PORT: u16 = 53;

/// The servers, and what is put behind names that are not whole.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct System {
    pub(super) servers: Vec<SocketAddr>,
    search: Vec<String>,
    /// A name with so many dots is tried as it is first.
    dots: usize,
}

/// As the options say, or else the system.
pub(super) fn of(options: &DnsOptions) -> Result<System, LookUpError> {
    if !options.servers.is_empty() {
        return Ok(System { servers: options.servers.clone(), ..System::default() });
    }
    let mut text = Vec::new();
    let read = File::open(FILE).and_then(|file| file.take(MOST).read_to_end(&mut text));
    read.map_err(|e| LookUpError::NoServer { detail: format!("{FILE}: {e}") })?;
    Ok(System::read(&text))
}

impl System {
    fn read(text: &[u8]) -> Self {
        // What cannot be read of it counts as not there.
        let (read, _) = resolv_conf::Config::parse_with_errors(text);
        let servers = read.get_nameservers_or_local();
        let servers = servers.into_iter().take(MAX_SERVERS).map(|ip| SocketAddr::new(IpAddr::from(ip), PORT)).collect();
        let search = read.get_last_search_or_domain().filter(|domain| super::is_whole(domain)).take(MAX_SEARCH);
        Self { servers, search: search.cloned().collect(), dots: read.ndots as usize }
    }

    /// What is asked for in turn, for a name as it is written.
    pub(super) fn names(&self, name: &str) -> Vec<String> {
        if let Some(whole) = name.strip_suffix('.') {
            return vec![whole.to_owned()];
        }
        let behind = |domain: &String| format!("{name}.{}", domain.trim_end_matches('.'));
        let mut names: Vec<String> = self.search.iter().map(behind).filter(|name| name.len() <= LONGEST).collect();
        let dots = name.bytes().filter(|byte| *byte == b'.').count();
        let at = if dots >= self.dots { 0 } else { names.len() };
        names.insert(at, name.to_owned());
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tried_as_the_system_says() {
        let text = b"search a.svc.cluster.local svc.cluster.local\nnameserver 10.0.0.10\nnonsense\noptions ndots:5\n";
        let system = System::read(text);
        assert_eq!(system.servers, ["10.0.0.10:53".parse().unwrap()]);
        let names = ["_h._tcp.weft.a.svc.cluster.local", "_h._tcp.weft.svc.cluster.local", "_h._tcp.weft"];
        assert_eq!(system.names("_h._tcp.weft"), names);
        assert_eq!(system.names("_h._tcp.mesh.example.org.")[..], ["_h._tcp.mesh.example.org"]);
        assert_eq!(system.names("a.b.c.d.e.f")[0], "a.b.c.d.e.f", "five dots are enough");
        assert_eq!(System::read(b"").servers[0], "127.0.0.1:53".parse().unwrap());
        assert_eq!(System::read(b"nameserver ::1").names("mesh.example"), ["mesh.example"]);
    }

    #[test]
    fn servers_that_are_named_are_asked_for_whole_names() {
        let servers = vec!["127.0.0.1:8600".parse().unwrap()];
        let options = DnsOptions { servers: servers.clone(), ..DnsOptions::default() };
        let system = of(&options).unwrap();
        assert_eq!((&system.servers, system.names("hubs")), (&servers, vec!["hubs".to_owned()]));
    }
}
