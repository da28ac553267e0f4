//! The identity of a running hub: its files are read again when they have
//! changed, and whoever runs the hub is told before its certificate ends.

use std::sync::Arc;
use std::time::Duration;

use weft_base::{Mono, Now, UnixNanos};
use weft_transport::TlsIdentity;

/// Looks after one identity.
pub(crate) struct Renewal {
    identity: Arc<TlsIdentity>,
    /// How often its files are looked at; zero: only when told to.
    every: Duration,
    next: Mono,
    /// What was told of files that cannot be used, so that it is told once.
    failure: Option<String>,
    /// Which alarm of which certificate was told.
    told: Option<(UnixNanos, Alarm)>,
}

/// How near a certificate's end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    /// A fifth of its time is left, or less.
    Soon,
    /// A twentieth of its time is left, or less.
    Near,
    /// It has ended.
    Past,
}

/// The alarm of a certificate of this time.
fn alarm(begins: UnixNanos, ends: UnixNanos, now: UnixNanos) -> Option<Alarm> {
    let lifetime = ends.0.saturating_sub(begins.0);
    match ends.0.saturating_sub(now.0) {
        0 => Some(Alarm::Past),
        left if left <= lifetime / 20 => Some(Alarm::Near),
        left if left <= lifetime / 5 => Some(Alarm::Soon),
        _ => None,
    }
}

impl Renewal {
    pub(crate) fn new(identity: Arc<TlsIdentity>, every: Duration) -> Self {
        Self { identity, every, next: Mono(0), failure: None, told: None }
    }

    /// Tells when the certificate ends soon. Looks at the files, if it is time
    /// to or it is `asked` to; answers whether there is a new identity.
    pub(crate) fn look(&mut self, now: Now, asked: bool) -> bool {
        self.tell(now);
        let due = self.every > Duration::ZERO && self.next <= now.mono;
        if !due && !asked {
            return false;
        }
        self.next = now.mono + self.every;
        let is_new = match self.identity.reload() {
            Ok(is_new) => {
                self.failure = None;
                is_new
            }
            Err(error) => {
                let why = error.to_string();
                if asked || self.failure.as_ref() != Some(&why) {
                    tracing::error!(
                        code = "identity_unusable",
                        why,
                        "the files of the identity cannot be used: the hub goes on with what it has"
                    );
                }
                self.failure = Some(why);
                false
            }
        };
        if is_new {
            let me = self.identity.me();
            let expires_in_s = me.expires.map(|ends| ends.0.saturating_sub(now.wall.0) / 1_000_000_000);
            tracing::info!(code = "identity_replaced", name = me.name, expires_in_s, "the identity was replaced");
        }
        is_new
    }

    /// Tells each alarm of each certificate once.
    fn tell(&mut self, now: Now) {
        let Some(ends) = self.identity.me().expires else { return };
        let Some(alarm) = alarm(self.identity.begins(), ends, now.wall) else { return };
        if self.told.is_some_and(|(of, told)| of == ends && told >= alarm) {
            return;
        }
        self.told = Some((ends, alarm));
        let (expires_in_s, name) = (ends.0.saturating_sub(now.wall.0) / 1_000_000_000, self.identity.me().name);
        match alarm {
            Alarm::Soon => {
                tracing::warn!(
                    code = "certificate_ends_soon",
                    name,
                    expires_in_s,
                    "put a new one in its place: links end with it"
                );
            }
            Alarm::Near | Alarm::Past => {
                tracing::error!(
                    code = "certificate_ends_soon",
                    name,
                    expires_in_s,
                    "put a new one in its place: links end with it"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_come_with_a_fifth_a_twentieth_and_nothing_left() {
        let at = |now| alarm(UnixNanos(1000), UnixNanos(2000), UnixNanos(now));
        let (soon, near, past) = (Some(Alarm::Soon), Some(Alarm::Near), Some(Alarm::Past));
        assert_eq!(
            [0, 1799, 1800, 1949, 1950, 1999, 2000, 9999].map(at),
            [None, None, soon, soon, near, near, past, past]
        );
    }
}
