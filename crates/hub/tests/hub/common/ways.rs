//! Ways between hubs that can be cut: each carries what comes to its address
//! on to another one, until it is cut or holds what comes back.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

pub struct Way {
    pub addr: String,
    cut: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    held: Arc<Held>,
    /// Bytes that came, by connection in the order in which they were dialled.
    carried: Arc<Mutex<Vec<Arc<AtomicU64>>>>,
}

/// Which directions carry nothing at present: away from who dialled, and back.
#[derive(Default)]
struct Held {
    /// And of which connection alone, if not of all.
    directions: Mutex<([bool; 2], Option<usize>)>,
    changed: Condvar,
}

impl Way {
    /// A way to `to`.
    pub fn to(to: String) -> Self {
        Self::far(to, Duration::ZERO)
    }

    /// A way to `to` on which each 16 KiB take so long, in either direction.
    pub fn far(to: String, each: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("it is bound").to_string();
        let (cut, open) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let held = Arc::new(Held::default());
        let carried = Arc::new(Mutex::new(Vec::new()));
        let way = Self { addr, cut: cut.clone(), open: open.clone(), held: held.clone(), carried: carried.clone() };
        std::thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                let Ok(far) = TcpStream::connect(&to) else { continue };
                let pairs = [(near.try_clone(), far.try_clone(), 0), (far.try_clone(), near.try_clone(), 1)];
                let mut open = open.lock().expect("nobody panics with it");
                open.extend([near, far]);
                let bytes = Arc::new(AtomicU64::new(0));
                let nth = {
                    let mut carried = carried.lock().expect("nobody panics with it");
                    carried.push(bytes.clone());
                    carried.len() - 1
                };
                if cut.load(Ordering::SeqCst) {
                    open.drain(..).for_each(|socket| drop(socket.shutdown(Shutdown::Both)));
                    continue;
                }
                for (from, to, direction) in pairs {
                    if let (Ok(from), Ok(to)) = (from, to) {
                        let (held, bytes) = (held.clone(), bytes.clone());
                        std::thread::spawn(move || carry(from, to, &held, (nth, direction), each, &bytes));
                    }
                }
            }
        });
        way
    }

    /// Carries nothing away from who dialled, or back, until told otherwise;
    /// nothing is lost, and nobody is told.
    pub fn hold(&self, directions: [bool; 2]) {
        *self.held.directions.lock().expect("nobody panics with it") = (directions, None);
        self.held.changed.notify_all();
    }

    /// The same of one connection, the others go on.
    pub fn hold_one(&self, nth: usize, directions: [bool; 2]) {
        *self.held.directions.lock().expect("nobody panics with it") = (directions, Some(nth));
        self.held.changed.notify_all();
    }

    /// Bytes that came so far, in both directions, by connection in the order in
    /// which they were dialled.
    pub fn carried(&self) -> Vec<u64> {
        let carried = self.carried.lock().expect("nobody panics with it");
        carried.iter().map(|bytes| bytes.load(Ordering::SeqCst)).collect()
    }

    /// Cuts one connection of a way that was never cut as a whole.
    pub fn cut_one(&self, nth: usize) {
        let open = self.open.lock().expect("nobody panics with it");
        for socket in &open[2 * nth..2 * nth + 2] {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Cuts the way, also for what is under way; or makes it whole.
    pub fn cut(&self, cut: bool) {
        let mut open = self.open.lock().expect("nobody panics with it");
        self.cut.store(cut, Ordering::SeqCst);
        if cut {
            open.drain(..).for_each(|socket| drop(socket.shutdown(Shutdown::Both)));
        }
    }
}

fn carry(
    mut from: TcpStream,
    mut to: TcpStream,
    held: &Held,
    (nth, direction): (usize, usize),
    each: Duration,
    bytes_so_far: &AtomicU64,
) {
    let mut bytes = [0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        let directions = held.directions.lock().expect("nobody panics with it");
        bytes_so_far.fetch_add(read as u64, Ordering::SeqCst);
        let is_held =
            |held: &mut ([bool; 2], Option<usize>)| held.0[direction] && held.1.is_none_or(|only| only == nth);
        drop(held.changed.wait_while(directions, is_held));
        if !each.is_zero() {
            std::thread::sleep(each);
        }
        if to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
