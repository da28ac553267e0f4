//! A line to a hub that a test can cut: until then it carries what comes, either
//! way; while it is cut nothing goes through and nobody is taken in.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

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

    fn carry(self: &Arc<Self>, from: TcpStream, port: u16) -> io::Result<()> {
        let to = TcpStream::connect(("127.0.0.1", port))?;
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
pub struct Line {
    /// Where it begins.
    pub port: u16,
    state: Arc<State>,
}

impl Line {
    /// A line to this port of the loopback interface.
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let begins = listener.local_addr().expect("it listens").port();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                if shared.is_over.load(Ordering::SeqCst) {
                    return;
                }
                if !shared.is_cut.load(Ordering::SeqCst) {
                    // Where nobody listens the dialler sees its end.
                    let _ = shared.carry(socket, port);
                }
            }
        });
        Self { port: begins, state }
    }

    pub fn cut(&self) {
        self.state.is_cut.store(true, Ordering::SeqCst);
        self.state.end();
    }

    pub fn mend(&self) {
        self.state.is_cut.store(false, Ordering::SeqCst);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::SeqCst);
        self.cut();
        // It waits for somebody to come.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}
