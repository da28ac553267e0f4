//! Addresses as text.

use std::net::{IpAddr, SocketAddr};

/// What `host:port` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// An address.
    Address(SocketAddr),
    /// A name to be looked up.
    Name(String, u16),
}

impl Target {
    /// What certificates are held against.
    pub(crate) fn host(&self) -> String {
        match self {
            Self::Address(one) => one.ip().to_string(),
            Self::Name(host, _) => host.clone(),
        }
    }

    /// Where it is, if that is known; the name to be looked up otherwise.
    pub(crate) fn addresses(self, known: &[IpAddr]) -> Result<Vec<SocketAddr>, (String, u16)> {
        match self {
            Self::Address(one) => Ok(vec![one]),
            Self::Name(host, port) if known.is_empty() => Err((host, port)),
            Self::Name(_, port) => Ok(known.iter().map(|ip| SocketAddr::new(*ip, port)).collect()),
        }
    }
}

/// Those that failed before come last, so many of them; the next one is then
/// taken from the end.
pub(crate) fn in_turn(mut all: Vec<SocketAddr>, failures: usize) -> Vec<SocketAddr> {
    let first = failures.checked_rem(all.len()).unwrap_or(0);
    all.rotate_left(first);
    all.reverse();
    all
}

/// Whether it is the name of a host: what is dialled, and what DNS may answer.
pub(crate) fn is_name(host: &str) -> bool {
    (1..=253).contains(&host.len()) && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
}

/// Reads `host:port`; an IPv6 address stands in brackets.
pub(crate) fn parse(text: &str) -> Result<Target, String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(Target::Address(address));
    }
    let Some((host, port)) = text.rsplit_once(':') else { return Err("the port is missing".to_owned()) };
    let port = port.parse::<u16>().map_err(|_| format!("`{port}` is not a port (0 to 65535)"))?;
    if host.is_empty() {
        return Err("the host is missing".to_owned());
    }
    if host.contains(':') || host.parse::<IpAddr>().is_ok() {
        return Err("an IPv6 address is written in brackets".to_owned());
    }
    if !is_name(host) {
        return Err(format!("`{}` is not a host name", host.escape_default()));
    }
    Ok(Target::Name(host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_told_apart() {
        assert_eq!(parse("127.0.0.1:80"), Ok(Target::Address(([127, 0, 0, 1], 80).into())));
        assert_eq!(parse("[::1]:80"), Ok(Target::Address("[::1]:80".parse().unwrap())));
        assert_eq!(parse("hub.example.org:7411"), Ok(Target::Name("hub.example.org".into(), 7411)));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let cases = [
            ("", "port is missing"),
            ("host", "port is missing"),
            ("host:", "not a port"),
            ("host:65536", "not a port"),
            (":80", "host is missing"),
            ("::1:80", "brackets"),
            ("a b:80", "not a host name"),
            ("a/b:80", "not a host name"),
        ];
        for (text, part) in cases {
            let error = parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
