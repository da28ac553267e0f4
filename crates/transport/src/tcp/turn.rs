//! One turn of the polling thread.

use std::io;
use std::mem;
use std::time::Duration;

use mio::Events;
use mio::event::Event;
#[cfg(target_os = "linux")]
use rustix::event::{PollFd, PollFlags, Timespec};

use super::link::Stage;
use super::secure::Stop;
use super::{LISTENER, TcpNetwork, WAKER};
use crate::level::Report;
use crate::network::{LinkToken, Ready};
use crate::quic::{Quic, UdpPorts};

/// Shorter waits than this are kept to the microsecond while there is QUIC.
#[cfg(target_os = "linux")]
const EXACT: Duration = Duration::from_millis(20);

impl TcpNetwork {
    pub(super) fn turn(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        ready.clear();
        ready.append(&mut self.queued);
        let mut events = mem::replace(&mut self.events, Events::with_capacity(0));
        let polled = self.wait(timeout, !ready.is_empty(), &mut events);
        if polled.is_ok() {
            for event in &events {
                self.event(event, ready);
            }
        }
        self.events = events;
        polled?;
        for (key, answer) in self.resolver.take() {
            if Quic::<UdpPorts>::is_ours(key) {
                self.quic_resolved(key, answer);
            } else {
                self.resolved(key, answer, ready);
            }
        }
        if !self.knocking.is_empty() {
            self.accept_all(ready);
        }
        if !self.timers.is_empty() || self.door.is_some() {
            self.expire(ready);
        }
        if self.identities.has_new() {
            self.identities.look_at(self.links.keys());
        }
        self.look_again(ready);
        self.report(ready);
        self.quic.others = self.links.len();
        self.quic.turn(ready);
        Ok(())
    }

    /// Sleeps in the system's polling until there is something, if there is
    /// nothing yet.
    fn wait(&mut self, timeout: Option<Duration>, found: bool, events: &mut Events) -> io::Result<()> {
        self.look_around();
        let is_behind = self.identities.is_behind() || self.quic.is_hot() || self.may_accept();
        let mut busy = found || self.hot_count > 0 || is_behind || timeout == Some(Duration::ZERO);
        if !busy {
            self.doze();
            busy = self.hot_count > 0;
        }
        let timeout = if busy || !self.wake.may_sleep() {
            Some(Duration::ZERO)
        } else {
            let own = self.timers.until_next(self.door, &*self.clock);
            timeout.into_iter().chain(own).chain(self.quic.until_next()).min()
        };
        let polled = self.exactly(timeout, events);
        self.wake.awake();
        match polled {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            other => other,
        }
    }

    /// Polls for as long as `timeout` says, to the microsecond where that matters.
    ///
    /// The poll that mio makes of the system rounds up to milliseconds. The
    /// pacing of links by QUIC lets out two milliseconds' worth at a time, and
    /// what a later wake-up missed is not made good.
    #[cfg(target_os = "linux")]
    fn exactly(&mut self, timeout: Option<Duration>, events: &mut Events) -> io::Result<()> {
        let Some(short) = timeout.filter(|timeout| !timeout.is_zero() && *timeout < EXACT && !self.quic.is_empty())
        else {
            return self.poll.poll(events, timeout);
        };
        let span = Timespec { tv_sec: 0, tv_nsec: i64::from(short.subsec_nanos()) };
        rustix::event::poll(&mut [PollFd::new(self.poll.registry(), PollFlags::IN)], Some(&span))?;
        self.poll.poll(events, Some(Duration::ZERO))
    }

    #[cfg(not(target_os = "linux"))]
    fn exactly(&mut self, timeout: Option<Duration>, events: &mut Events) -> io::Result<()> {
        self.poll.poll(events, timeout)
    }

    fn event(&mut self, event: &Event, ready: &mut Vec<Ready>) {
        let token = event.token();
        if token == WAKER {
            return;
        }
        if token.0 & LISTENER != 0 {
            self.knock((token.0 & !LISTENER) as u64);
            return;
        }
        let key = token.0 as u64;
        if Quic::<UdpPorts>::is_ours(key) {
            return self.quic_event(event);
        }
        if self.links.get(key).is_some_and(|link| link.shared.is_some()) {
            return self.shared_event(key, event, ready);
        }
        self.change(key, |link, _| {
            let Some(socket) = &mut link.socket else { return };
            socket.peer_ended |= event.is_read_closed() || event.is_error();
            // An error is found by whichever of the two comes first.
            socket.readable |= event.is_readable() || socket.peer_ended;
            socket.writable |= event.is_writable() || event.is_error();
        });
        let Some(link) = self.links.get(key) else { return };
        match link.stage {
            Stage::Connecting { .. } => self.connecting(key, ready),
            Stage::Handshaking { .. } => self.shake(key, ready),
            Stage::Flushing => self.go_on_ending(key),
            Stage::Up if link.secure.as_ref().is_some_and(|secure| secure.is_unsent()) => self.send_on(key),
            // The hot list has it, if there is anything.
            Stage::Up | Stage::Lingering | Stage::Resolving { .. } | Stage::Joining => {}
        }
    }

    /// The system may have room for what TLS has encrypted.
    fn send_on(&mut self, key: u64) {
        self.change(key, |link, _| {
            if let Err(Stop::Closed(_)) = link.flush()
                && let Some(socket) = &mut link.socket
            {
                // The read that comes says it, after what is left to be read.
                socket.readable = true;
                socket.peer_ended = true;
            }
        });
    }

    /// Ends what has had its time.
    fn expire(&mut self, ready: &mut Vec<Ready>) {
        let now = self.clock.now();
        while let Some(key) = self.timers.due(now) {
            self.overdue(key, ready);
        }
        while let Some((key, since)) = self.timers.expired(now) {
            self.expired(key, since, ready);
        }
        self.door = self.door.filter(|at| *at > now.mono);
    }

    /// Reports what is ready, and keeps in the hot list what is or may be so
    /// at the next poll.
    fn report(&mut self, ready: &mut Vec<Ready>) {
        let mut hot = mem::take(&mut self.hot);
        hot.retain(|&key| {
            let Some(link) = self.links.get_mut(key) else { return false };
            if matches!(link.stage, Stage::Lingering) {
                self.go_on_ending(key);
            } else {
                if link.wants_read() {
                    ready.push(Ready::Readable(LinkToken(key)));
                }
                let was = link.is_hot();
                if link.report.poll(link.has_room()) {
                    ready.push(Ready::Writable(LinkToken(key)));
                }
                self.hot_count -= usize::from(was && !link.is_hot());
            }
            let Some(link) = self.links.get_mut(key) else { return false };
            link.listed = link.is_hot() || link.report == Report::Said;
            link.listed
        });
        hot.append(&mut self.hot);
        self.hot = hot;
    }
}
