//! Three hubs that keep streams, each linked with each by a way that can be cut.

use std::path::Path;
use std::time::Duration;

use weft_base::HubId;
use weft_hub::{Hub, HubOptions};
use weft_transport::ca::Authority;
use weft_wire::frame::{AckLevel, ErrorCode, Frame, StreamCreate, StreamInfo, StreamReport, StreamSpec};

use super::mesh::{self, authority, link_addr, member};
use super::ways::Way;
use super::{Raw, start, stop};

pub const NAMES: [&str; 3] = ["chicago", "los-angeles", "new-york"];

fn keeper(ca: &Authority, name: &str, addr: &str, neighbours: &[(&str, String)], data: &Path) -> HubOptions {
    let mut options = member(ca, name, addr, neighbours);
    options.data = Some(data.join(name));
    options.timers.consumer_copies = Duration::from_millis(10);
    options.timers.replica_keep_alive = Duration::from_millis(100);
    options.timers.replica_timeout = Duration::from_millis(400);
    options.timers.replica_backoff = Duration::from_millis(400);
    options.storage.repair_pause = Duration::from_millis(10);
    options
}

/// Three hubs, each linked with each by a way that can be cut.
pub struct Triangle {
    pub ca: Authority,
    pub data: tempfile::TempDir,
    pub hubs: Vec<Option<Hub>>,
    pub addrs: Vec<String>,
    /// 0: between hubs 0 and 1, 1: between 0 and 2, 2: between 1 and 2.
    pub ways: Vec<Way>,
}

impl Triangle {
    pub fn new() -> Self {
        let (ca, data) = (authority(), tempfile::tempdir().expect("a folder"));
        let mut triangle = Self { ca, data, hubs: Vec::new(), addrs: Vec::new(), ways: Vec::new() };
        for at in 0..3 {
            let hub = start(triangle.options(at, "127.0.0.1:0"));
            triangle.addrs.push(link_addr(&hub));
            triangle.hubs.push(Some(hub));
            if at < 2 {
                let ways: Vec<Way> = (at..2).map(|_| Way::to(link_addr(triangle.hub(at)))).collect();
                triangle.ways.extend(ways);
            }
        }
        for at in 0..3 {
            mesh::until(&mut Raw::connect(triangle.hub(at), 1), "all are linked", |report| {
                NAMES.iter().all(|name| report.hubs.iter().any(|hub| hub.name == *name && hub.reachable))
            });
        }
        triangle
    }

    pub fn options(&self, at: usize, addr: &str) -> HubOptions {
        let to: &[(usize, usize)] = [&[][..], &[(0, 0)], &[(0, 1), (1, 2)]][at];
        let neighbours: Vec<_> = to.iter().map(|(hub, way)| (NAMES[*hub], self.ways[*way].addr.clone())).collect();
        keeper(&self.ca, NAMES[at], addr, &neighbours, self.data.path())
    }

    pub fn hub(&self, at: usize) -> &Hub {
        self.hubs[at].as_ref().expect("it runs")
    }

    pub fn kill(&mut self, at: usize) {
        drop(self.hubs[at].take());
    }

    /// The hubs by their ids: a consumer is seated at the first of those that can be reached.
    pub fn order(&self) -> [usize; 3] {
        let mut order = [0, 1, 2];
        order.sort_by_key(|at| self.hub(*at).identity().id);
        order
    }

    pub fn restart(&mut self, at: usize) {
        self.hubs[at] = Some(start(self.options(at, &self.addrs[at])));
    }

    pub fn stop(mut self) {
        self.hubs.drain(..).flatten().for_each(stop);
    }
}

pub fn stream<'a>(name: &'a str, homes: &[&'a str]) -> StreamSpec<'a> {
    StreamSpec { name, filters: vec!["t/**"], segment_bytes: 4 << 20, homes: homes.to_vec(), ..StreamSpec::default() }
}

/// Makes a stream at its homes; asked again where one did not answer.
pub fn create(client: &mut Raw, spec: StreamSpec<'_>) {
    for _ in 0..1_000 {
        client.send(&Frame::StreamCreate(StreamCreate { request: 1, spec: spec.clone() }));
        match client.receive().frame() {
            Frame::Done(_) => return,
            Frame::Error(error) if error.code == ErrorCode::UNREACHABLE => {
                std::thread::park_timeout(Duration::from_millis(5));
            }
            other => panic!("not made: {other:?}"),
        }
    }
    panic!("a home never answered");
}

/// Asks a hub about a stream until its report is so.
pub fn until(hub: &Hub, name: &str, what: &str, mut is_so: impl FnMut(&StreamReport<'_>) -> bool) {
    let mut client = Raw::connect(hub, 900);
    let mut last = String::new();
    for _ in 0..4_000 {
        client.send(&Frame::StreamInfo(StreamInfo { request: 2, name }));
        let answer = client.receive();
        if let Frame::StreamReports(reports) = answer.frame() {
            if reports.reports.first().is_some_and(&mut is_so) {
                return;
            }
            last = format!("{:?}", reports.reports);
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    panic!("{} never came to this: {what}; {last}", hub.identity().name);
}

/// Publishes some events at a hub, each with its own name as payload.
pub fn publish(triangle: &Triangle, at: usize, producer: u64, range: std::ops::Range<u32>, level: AckLevel) {
    let mut client = Raw::connect(triangle.hub(at), producer);
    for n in range {
        let payload = format!("{}-{producer}-{n}", NAMES[at]);
        client.publish_acked(u64::from(n), level, "t/a", &[payload.as_bytes()]);
    }
}

pub fn has_all(triangle: &Triangle, at: usize, counts: [u64; 3]) {
    until(triangle.hub(at), "all", &format!("it has {counts:?}"), |report| {
        NAMES.iter().zip(counts).all(|(name, count)| {
            let hub = HubId::of_name(name);
            count == 0 || report.position.iter().any(|(home, next)| *home == hub && *next == count + 1)
        }) && report.synced == counts.iter().sum::<u64>() + 1
    });
}

/// Three hubs with a stream that all of them keep.
pub fn with_stream() -> Triangle {
    let triangle = Triangle::new();
    create(&mut Raw::connect(triangle.hub(0), 1), stream("all", &NAMES));
    for at in 1..3 {
        until(triangle.hub(at), "all", "it is a home", |report| report.spec.homes.len() == 3);
    }
    triangle
}
