//! A line between two namespaces: a thread that moves packets between two TUN
//! devices, each direction under conditions of its own that can be changed at
//! any time. 20 µs or so of its own on an idle machine; some Gbit/s at most.

use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tun_rs::SyncDevice;

use crate::queue::{Conditions, Counts, Direction};
use crate::space::Space;

/// The most lines of one process.
pub const MOST: u16 = 1 << 10;
/// Packets that are read from one end before the other has its turn.
const AT_ONCE: usize = 64;
/// The longest sleep, after which the thread sees that it is to end or that conditions are others.
const LONGEST: Duration = Duration::from_millis(20);

/// A line. Dropping it takes both its ends away.
#[derive(Debug)]
pub struct Line {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    addresses: [Ipv4Addr; 2],
}

#[derive(Debug)]
struct Shared {
    /// From the first end to the second, and back.
    directions: Mutex<[Direction; 2]>,
    stop: AtomicBool,
}

impl Shared {
    fn directions(&self) -> MutexGuard<'_, [Direction; 2]> {
        self.directions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// A line between two namespaces. Its number, below [`MOST`], gives its
    /// ends their addresses and must be another for each line of a namespace.
    pub fn new(ends: [&Space; 2], number: u16, conditions: Conditions, seed: u64) -> Result<Self> {
        ensure!(number < MOST, "there are at most {MOST} lines: {number} is too many");
        let [high, low] = number.to_be_bytes();
        // Networks of four addresses, in 10.64.0.0/10.
        let address = |end: u8| Ipv4Addr::new(10, 64 + (high & 3), low, end);
        let addresses = [address(1), address(2)];
        let device = |end: usize| ends[end].tun(&format!("line{number}"), addresses[end]);
        let devices = [device(0)?, device(1)?];
        let directions = [Direction::new(conditions, seed), Direction::new(conditions, !seed)];
        let shared = Arc::new(Shared { directions: Mutex::new(directions), stop: AtomicBool::new(false) });
        let mover = shared.clone();
        let thread = thread::Builder::new().name(format!("line {number}")).spawn(move || carry(&devices, &mover))?;
        Ok(Self { shared, thread: Some(thread), addresses })
    }

    /// The address of an end, 0 or 1.
    #[must_use]
    pub fn address(&self, end: usize) -> Ipv4Addr {
        self.addresses[end & 1]
    }

    /// Changes the conditions of both directions.
    pub fn both(&self, change: impl Fn(&mut Conditions)) {
        self.one(0, &change);
        self.one(1, change);
    }

    /// Changes the conditions of the direction that begins at this end, 0 or 1.
    pub fn one(&self, from: usize, change: impl Fn(&mut Conditions)) {
        let mut directions = self.shared.directions();
        let direction = &mut directions[from & 1];
        let mut conditions = direction.conditions();
        change(&mut conditions);
        direction.set(conditions);
    }

    /// The conditions of both directions.
    #[must_use]
    pub fn conditions(&self) -> [Conditions; 2] {
        self.shared.directions().each_ref().map(Direction::conditions)
    }

    /// What became of packets, by direction.
    #[must_use]
    pub fn counts(&self) -> [Counts; 2] {
        self.shared.directions().each_ref().map(Direction::counts)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn carry(devices: &[SyncDevice; 2], shared: &Shared) {
    // Wake as exactly as the kernel can; the default slack is 50 µs.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    let start = Instant::now();
    let now = || start.elapsed().as_nanos() as u64;
    let mut buffer = vec![0; 65_536];
    while !shared.stop.load(Ordering::Relaxed) {
        let next = {
            let mut directions = shared.directions();
            for (direction, out) in directions.iter_mut().zip([&devices[1], &devices[0]]) {
                while let Some(packet) = direction.take(now()) {
                    // A device takes what it gets at once, or is down.
                    let _ = out.send(&packet);
                    direction.back(packet);
                }
            }
            directions.iter().filter_map(Direction::next_due).min()
        };
        let sleep = next.map_or(LONGEST, |due| Duration::from_nanos(due.saturating_sub(now())).min(LONGEST));
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(sleep.subsec_nanos()) };
        let mut ready = devices.each_ref().map(|device| PollFd::from_borrowed_fd(device.as_fd(), PollFlags::IN));
        if poll(&mut ready, Some(&timeout)).is_err() {
            continue;
        }
        for (end, device) in devices.iter().enumerate().filter(|(end, _)| !ready[*end].revents().is_empty()) {
            let mut directions = shared.directions();
            for _ in 0..AT_ONCE {
                let Ok(read) = device.recv(&mut buffer) else { break };
                directions[end].offer(now(), &buffer[..read]);
            }
        }
    }
}
