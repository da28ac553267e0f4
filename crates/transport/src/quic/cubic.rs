//! How much a link may have under way: CUBIC (RFC 9438), which begins with
//! HyStart++ (RFC 9406, see [`start`]). Pure: times are handed in.
//!
//! The state machine has a CUBIC of its own. This one differs in three things.
//! It leaves slow start when round trips become longer, before the queue of the
//! line overflows. It grows only while the window is used: the state machine
//! counts what its pacing holds back as a window that is full, whatever is under way.
//! And a loss lowers it from what was under way (RFC 9438, 4.6); a window that is
//! not used has slow start begin anew instead, since idle links lose now and
//! then what little they send where others fill the line.
//!
//! What counts as used is half of the window within two round trips, for two
//! reasons: while it is doubled, what is under way is half of it (RFC 7661;
//! Linux asks for the same there); and pacing that is served late keeps a part
//! of it unused, which must not keep it from growing.

mod start;

use std::any::Any;
use std::time::{Duration, Instant};

use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory};
use weft_base::sync::Arc;

use start::Start;

/// The first window (RFC 9002, 7.2): ten datagrams of the least size.
const INITIAL: u64 = 12_000;
/// What a loss leaves of the window.
const BETA: f64 = 0.7;
/// How fast the window grows, in datagrams per second cubed.
const C: f64 = 0.4;
/// By how much the window of Reno with the same share of a line grows in a
/// round trip, in datagrams: `3 (1 - beta) / (1 + beta)`.
const ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);

/// Makes controllers.
#[derive(Debug)]
pub(super) struct CubicFactory;

impl ControllerFactory for CubicFactory {
    fn build(self: Arc<Self>, _now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Cubic::new(current_mtu))
    }
}

/// The window of one link.
#[derive(Clone, Debug)]
pub(super) struct Cubic {
    /// Bytes; not whole ones, because it grows by parts of them.
    window: f64,
    /// From where on it grows by the curve; infinite until the first loss, or
    /// until slow start has ended by itself.
    threshold: f64,
    /// Bytes of a datagram.
    datagram: f64,
    start: Start,
    way: Way,
    /// When the window was lowered: what was sent before says nothing more.
    lowered: Option<Instant>,
    /// Where the last loss left the curve's plateau.
    plateau: f64,
    curve: Option<Curve>,
    came: Came,
}

/// What one datagram acknowledges, as it is handed in.
#[derive(Clone, Copy, Debug, Default)]
struct Came {
    /// All bytes, and those that were sent since the window was lowered.
    bytes: u64,
    counted: u64,
    /// How long the newest packet took, there and back.
    took: Duration,
    /// Its round trip as the state machine has it, smoothed.
    smooth: Duration,
}

/// What is under way.
#[derive(Clone, Copy, Debug, Default)]
struct Way {
    /// The most bytes that were, in this round trip and in the one before.
    most: [u64; 2],
    /// The newest packet that was sent.
    newest: u64,
    /// The acknowledgement of this one or a later one ends the round trip.
    end: u64,
}

impl Way {
    /// There were so many bytes when an acknowledgement came. Answers whether
    /// it ends the round trip.
    fn held(&mut self, bytes: u64, acked: Option<u64>) -> bool {
        self.most[0] = self.most[0].max(bytes);
        let over = acked.is_some_and(|acked| acked >= self.end);
        if over {
            self.most = [bytes, self.most[0]];
            self.end = self.newest.saturating_add(1);
        }
        over
    }

    fn most(&self) -> f64 {
        self.most[0].max(self.most[1]) as f64
    }
}

/// Growth since the last loss.
#[derive(Clone, Copy, Debug)]
struct Curve {
    /// When it began, moved on by the times in which the window was not used.
    since: Instant,
    /// The last acknowledgement.
    last: Instant,
    /// How many seconds after its beginning it reaches its plateau.
    reaches: f64,
    plateau: f64,
    /// What Reno would have by now (RFC 9438, 4.3).
    reno: f64,
}

impl Cubic {
    fn new(datagram: u16) -> Self {
        Self {
            window: INITIAL as f64,
            threshold: f64::INFINITY,
            datagram: f64::from(datagram),
            start: Start::default(),
            way: Way::default(),
            lowered: None,
            plateau: 0.0,
            curve: None,
            came: Came::default(),
        }
    }

    fn least(&self) -> f64 {
        2.0 * self.datagram
    }

    /// Whether enough was under way to say something of the window.
    fn is_used(&self) -> bool {
        self.window <= 2.0 * self.way.most()
    }

    /// One packet was acknowledged, of several of one datagram.
    fn acked(&mut self, now: Instant, sent: Instant, bytes: u64, smooth: Duration) {
        self.came.bytes += bytes;
        if self.lowered.is_none_or(|at| sent > at) {
            self.came.counted += bytes;
        }
        (self.came.took, self.came.smooth) = (now.saturating_duration_since(sent), smooth);
    }

    /// All that the datagram acknowledges was handed in; `left` bytes are under
    /// way, and the sender may have nothing more to send.
    fn all_acked(&mut self, now: Instant, left: u64, wants: bool, newest: Option<u64>) {
        let came = std::mem::take(&mut self.came);
        let over = self.way.held(left.saturating_add(came.bytes), newest);
        if self.threshold.is_infinite() {
            if over && self.start.round() {
                self.threshold = self.window;
            }
            self.start.sample(came.took);
        }
        if wants && self.is_used() {
            self.grow(now, came.counted as f64, came.smooth);
        } else if let Some(curve) = &mut self.curve {
            curve.since += now.saturating_duration_since(curve.last);
            curve.last = now;
        }
    }

    /// Grows by what was acknowledged.
    fn grow(&mut self, now: Instant, acked: f64, smooth: Duration) {
        if self.window < self.threshold {
            self.window += if self.threshold.is_infinite() { acked / self.start.divisor() } else { acked };
            return;
        }
        let (datagram, window, plateau) = (self.datagram, self.window, self.plateau.max(self.window));
        let curve = self.curve.get_or_insert_with(|| {
            let reaches = ((plateau - window) / datagram / C).cbrt();
            Curve { since: now, last: now, reaches, plateau, reno: window }
        });
        curve.last = now;
        let time = (now.saturating_duration_since(curve.since) + smooth).as_secs_f64() - curve.reaches;
        let target = (curve.plateau + C * time.powi(3) * datagram).clamp(window, 1.5 * window);
        let alpha = if curve.reno < curve.plateau { ALPHA } else { 1.0 };
        curve.reno += alpha * datagram * acked / window;
        self.window = (window + (target - window) * acked / window).max(curve.reno.min(window + acked));
    }

    /// Something that was sent at `sent` was lost, or met a full queue.
    fn lost(&mut self, now: Instant, sent: Instant, all: bool) {
        if self.lowered.is_some_and(|at| sent <= at) {
            return;
        }
        self.lowered = Some(now);
        if !self.is_used() {
            // It says that others fill the line, and nothing of how much there
            // is for this sender: it begins anew, as a new link would, rather
            // than to lower again and again what it does not use.
            let anew = if all { self.least() } else { (self.way.most() * BETA).max(INITIAL as f64) };
            self.window = self.window.min(anew.max(self.least()));
            (self.threshold, self.start) = (f64::INFINITY, Start::default());
            (self.plateau, self.curve) = (0.0, None);
            return;
        }
        let held = self.window.min(self.way.most());
        // Who has less than before leaves room to others (fast convergence, 4.7).
        self.plateau = if held < self.plateau { held * (1.0 + BETA) / 2.0 } else { held };
        self.threshold = (held * BETA).max(self.least());
        self.window = if all { self.least() } else { self.threshold };
        self.curve = None;
    }
}

impl Controller for Cubic {
    fn on_sent(&mut self, _now: Instant, _bytes: u64, last_packet_number: u64) {
        self.way.newest = last_packet_number;
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, _app_limited: bool, rtt: &RttEstimator) {
        self.acked(now, sent, bytes, rtt.get());
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest_packet_num_acked: Option<u64>) {
        self.all_acked(now, in_flight, !app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent_congestion: bool, _lost_bytes: u64) {
        self.lost(now, sent, is_persistent_congestion);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.datagram = f64::from(new_mtu);
        self.window = self.window.max(self.least());
    }

    fn window(&self) -> u64 {
        self.window as u64
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        INITIAL
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests;
