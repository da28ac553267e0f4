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
    let is_name = host.len() <= 253 && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
    if !is_name {
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
