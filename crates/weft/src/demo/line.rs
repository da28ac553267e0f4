//! A line between two hubs of the demo that can be cut: until then it carries what
//! comes, either way; while it is cut nothing goes through and nobody is taken in.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Context;

#[derive(Default)]
struct State {
    is_cut: AtomicBool,
    is_over: AtomicBool,
    /// Both ends of what goes through.
    open: Mutex<Vec<TcpStream>>,
}

impl State {
    /// Ends what goes through.
    fn end(&self) {
        for socket in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    fn carry(&self, from: TcpStream, to: &str) -> io::Result<()> {
        let to = TcpStream::connect(to)?;
        from.set_nodelay(true)?;
        to.set_nodelay(true)?;
        self.open.lock().unwrap_or_else(PoisonError::into_inner).extend([from.try_clone()?, to.try_clone()?]);
        if self.is_cut.load(Ordering::SeqCst) {
            // Cut while it was being made.
            self.end();
        }
        for (mut source, mut sink) in [(from.try_clone()?, to.try_clone()?), (to, from)] {
            thread::spawn(move || {
                let _ = io::copy(&mut source, &mut sink);
                let _ = sink.shutdown(Shutdown::Both);
            });
        }
        Ok(())
    }
}

/// The line. Dropping it ends it.
pub(super) struct Line {
    /// Where it begins.
    pub(super) address: String,
    state: Arc<State>,
}

impl Line {
    /// A line to this address.
    pub(super) fn to(address: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("no port for a line between hubs")?;
        let begins = listener.local_addr()?.to_string();
        let state = Arc::new(State::default());
        let (shared, to) = (state.clone(), address.to_owned());
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                if shared.is_over.load(Ordering::SeqCst) {
                    return;
                }
                if !shared.is_cut.load(Ordering::SeqCst) {
                    // Where nobody listens the dialler sees its end.
                    let _ = shared.carry(socket, &to);
                }
            }
        });
        Ok(Self { address: begins, state })
    }

    pub(super) fn cut(&self) {
        self.state.is_cut.store(true, Ordering::SeqCst);
        self.state.end();
    }

    pub(super) fn mend(&self) {
        self.state.is_cut.store(false, Ordering::SeqCst);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::SeqCst);
        self.cut();
        // It waits for somebody to come.
        let _ = TcpStream::connect(&self.address);
    }
}
