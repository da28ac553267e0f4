//! The end of a link: what was taken is delivered, within a bound of time.

use std::net::Shutdown;

use super::TcpNetwork;
use super::link::{Link, Stage};
use super::secure::Stop;

/// How many reads of what nobody wants are done per poll and connection.
const DISCARDS: usize = 4;

impl TcpNetwork {
    /// The caller lets go of a link.
    pub(super) fn end(&mut self, key: u64) {
        match self.links.get(key) {
            Some(link) if matches!(link.stage, Stage::Up) => self.let_go(key),
            Some(link) if link.is_opening() => self.discard(key),
            _ => {}
        }
    }

    /// A read found the end. A plain link has nothing left to do then; TLS
    /// has its own end to say, or why it gave up.
    pub(super) fn read_ended(&mut self, key: u64) {
        match self.links.get(key) {
            Some(link) if link.secure.is_some() => self.let_go(key),
            _ => self.discard(key),
        }
    }

    /// Begins the end of a connection that stands.
    pub(super) fn let_go(&mut self, key: u64) {
        let Some(link) = self.links.get_mut(key) else { return };
        if let Some(secure) = &mut link.secure {
            secure.end();
        }
        self.timers.set_expiry(key, &mut link.expires, None);
        self.change(key, |link, _| link.stage = Stage::Flushing);
        self.lingering += 1;
        self.set_deadline(key, self.options.linger);
        self.go_on_ending(key);
    }

    /// Goes on with the end of a connection as far as it goes.
    pub(super) fn go_on_ending(&mut self, key: u64) {
        let step = self.change(key, |link, scratch| {
            if matches!(link.stage, Stage::Flushing) {
                link.flush()?;
                shut(link)?;
                link.stage = Stage::Lingering;
            }
            link.discard_input(scratch, DISCARDS)
        });
        if let Some(Err(Stop::Closed(_))) = step {
            self.discard(key);
        }
    }
}

/// Tells the peer's system that nothing follows.
fn shut(link: &mut Link) -> Result<(), Stop> {
    let shut = match (&link.socket, &mut link.shared) {
        (Some(socket), _) => socket.stream.shutdown(Shutdown::Write),
        (None, Some(shared)) => shared.shut(),
        (None, None) => Ok(()),
    };
    shut.map_err(|e| Stop::Closed(crate::CloseReason::of_io(&e)))
}
