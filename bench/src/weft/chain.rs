//! Hubs in a row, each linked to the next by mutual TLS: publishers at the
//! first, subscribers at the last.

use std::path::Path;

use anyhow::{Context, Result};
use tempfile::TempDir;
use weft_base::Lane;
use weft_chaos::hub::{Certificates, Config, Hub, VALID};
use weft_wire::frame::OnFull;

use super::connection::Connection;
use super::publish::{ONE, Publisher};
use super::{program, subscribe};
use crate::long::{Long, Side, settle};
use crate::process::{self, Server};
use crate::work::{Peer, Publish, Subscribe};

/// The hubs.
pub struct Chain<'a> {
    name: String,
    hubs: Vec<Hub>,
    /// The line between the first and the second.
    long: Option<&'a Long>,
    /// What payloads are cut from.
    text: Vec<u8>,
    /// The lanes of a publisher, which takes them in turn.
    lanes: Vec<Lane>,
    _folder: TempDir,
}

impl<'a> Chain<'a> {
    /// So many hubs, linked over the loopback interface.
    pub fn on_loopback(disk: &Path, hubs: usize) -> Result<Self> {
        Self::start(disk, hubs, None, format!("Weft, {hubs} hub{}", if hubs == 1 { "" } else { "s" }), ["", "", ""])
    }

    /// Two hubs at the ends of a long line, with these further tables in their configuration.
    pub fn over(disk: &Path, long: &'a Long, more: &str) -> Result<Self> {
        Self::start(disk, 2, Some(long), "Weft, TCP and TLS 1.3".to_owned(), ["", "", more])
    }

    /// The same with a link that is `what`, by this line of the configuration.
    pub fn with(disk: &Path, long: &'a Long, what: &str, link: &str, more: &str) -> Result<Self> {
        Self::start(disk, 2, Some(long), format!("Weft, TCP, TLS 1.3, {what}"), ["", link, more])
    }

    /// The same by QUIC.
    pub fn over_quic(disk: &Path, long: &'a Long, more: &str) -> Result<Self> {
        Self::start(disk, 2, Some(long), "Weft, QUIC".to_owned(), ["quic:", "", more])
    }

    /// What is published from now on is cut from this.
    #[must_use]
    pub fn of_text(mut self, text: &[u8]) -> Self {
        self.text = if text.is_empty() { ONE } else { text }.to_vec();
        self
    }

    /// Publishers use the first so many lanes in turn, if that is more than one.
    #[must_use]
    pub fn in_lanes(mut self, lanes: u8) -> Self {
        if lanes > 1 {
            self.lanes = Lane::all().take(lanes.into()).collect();
        }
        self
    }

    /// `scheme` is what the addresses of links begin with.
    fn start(
        disk: &Path,
        hubs: usize,
        long: Option<&'a Long>,
        name: String,
        [scheme, link, more]: [&str; 3],
    ) -> Result<Self> {
        let folder = tempfile::tempdir_in(disk)?;
        let certificates = Certificates::make(&folder.path().join("tls"))?;
        let mut started: Vec<Hub> = Vec::new();
        // From the last on: each dials the next, which listens by then.
        for number in (1..=hubs).rev() {
            let host = long.map_or_else(|| "127.0.0.1".to_owned(), |long| long.address(Side::of(number)).to_string());
            let config = Config {
                name: format!("hub-{number}"),
                region: "bench".into(),
                clients: "127.0.0.1:0".into(),
                hubs: format!("{scheme}{host}:0"),
                neighbours: Vec::from_iter(
                    started.last().map(|next| (next.hubs().to_owned(), format!("hub-{}", number + 1))),
                ),
                link: link.to_owned(),
                more: more.to_owned(),
            };
            certificates.hub(&config.name, &[host], VALID)?;
            let mut hub = Hub::new(&program()?, &folder.path().join(&config.name), &config, &certificates)?;
            hub.start(long.map(|long| long.space(Side::of(number))))?;
            started.push(hub);
        }
        started.reverse();
        Ok(Self { name, hubs: started, long, text: ONE.to_vec(), lanes: vec![Lane::DEFAULT], _folder: folder })
    }

    fn publisher_in(&self, lane: Lane, key: &str, payload: usize) -> Result<Publisher> {
        Publisher::new(self.connect(Side::Near)?, key, payload, lane, &self.text)
    }

    fn connect(&self, side: Side) -> Result<Connection> {
        let hub = if side == Side::Near { self.hubs.first() } else { self.hubs.last() };
        let address = hub.context("a chain has hubs")?.clients().to_owned();
        match self.long {
            Some(long) => long.space(side).run(move || Connection::open(&address))?,
            None => Connection::open(&address),
        }
    }
}

impl Peer for Chain<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn version(&self) -> String {
        concat!("weft ", env!("CARGO_PKG_VERSION")).to_owned()
    }

    fn server(&self) -> Option<&Server> {
        None
    }

    fn publisher(&self, key: &str, payload: usize) -> Result<Box<dyn Publish>> {
        let each: Result<Vec<Publisher>> =
            self.lanes.iter().map(|lane| self.publisher_in(*lane, key, payload)).collect();
        Ok(Box::new(InTurn { each: each?, next: 0 }))
    }

    fn subscriber(&self, key: &str, payload: usize) -> Result<Box<dyn Subscribe>> {
        let mut subscriber = subscribe(self.connect(Side::Far)?, &[key], OnFull::Disconnect)?;
        // In one lane, so that the last of it comes last.
        settle(&mut self.publisher_in(Lane::DEFAULT, key, payload)?, &mut subscriber)?;
        Ok(Box::new(subscriber))
    }

    fn cpu_seconds(&self) -> f64 {
        self.hubs.iter().filter_map(Hub::pid).map(|pid| process::cpu_seconds(pid).unwrap_or(f64::NAN)).sum()
    }
}

/// Publishers in different lanes, one after the other.
struct InTurn {
    each: Vec<Publisher>,
    next: usize,
}

impl InTurn {
    fn take_turn(&mut self) -> Result<&mut Publisher> {
        let turn = self.next;
        self.next = (turn + 1) % self.each.len().max(1);
        self.each.get_mut(turn).context("a chain has lanes")
    }
}

impl Publish for InTurn {
    fn batch(&mut self) -> Result<u64> {
        self.take_turn()?.batch()
    }

    fn stamped(&mut self, times: &[u64]) -> Result<()> {
        self.take_turn()?.stamped(times)
    }
}
