//! The identity of a running hub: its files are read again when they have
//! changed, a new certificate is asked for in time where that is configured, and
//! whoever runs the hub is told before its certificate ends.

mod schedule;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Duration;

use weft_base::{Mono, Now, Random, UnixNanos};
use weft_hub::counters::Counters;
use weft_transport::{IdentityFiles, TlsIdentity};

use self::schedule::Schedule;
use crate::commands::join;

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
    asking: Option<Asking>,
}

/// Asks hubs that issue for a new certificate.
pub(crate) struct Asking {
    files: IdentityFiles,
    /// Where they issue: one after the other is asked until one does.
    addresses: Vec<String>,
    schedule: Schedule,
    /// What a thread of its own finds that asks, while there is one.
    under_way: Option<Receiver<Result<UnixNanos, String>>>,
}

impl Asking {
    pub(crate) fn new(files: IdentityFiles, addresses: Vec<String>, random: Random) -> Self {
        Self { files, addresses, schedule: Schedule::new(random), under_way: None }
    }

    /// Asks where it is time to; answers whether a new certificate is there.
    fn tend(&mut self, identity: &TlsIdentity, now: UnixNanos, counters: &Counters) -> bool {
        let Some(ends) = identity.me().expires else { return false };
        let found = match &self.under_way {
            Some(found) => found.try_recv(),
            None => {
                if self.schedule.is_due(identity.begins(), ends, now) {
                    self.under_way = Some(ask(self.files.clone(), self.addresses.clone()));
                }
                return false;
            }
        };
        let why = match found {
            Err(TryRecvError::Empty) => return false,
            // Of an authority that ends itself: the next one would end no later.
            Ok(Ok(new)) if new <= ends => {
                "the one that was given ends no later, as its authority does: make a new authority (docs/operating.md, \
                 Certificates)"
                    .to_owned()
            }
            Ok(Ok(_)) => {
                self.under_way = None;
                counters.certificates_renewed.fetch_add(1, Ordering::Relaxed);
                tracing::info!(code = "certificate_renewed", name = identity.me().name, "a new certificate was given");
                return true;
            }
            Ok(Err(why)) => why,
            Err(TryRecvError::Disconnected) => "asking ended without an answer".to_owned(),
        };
        self.under_way = None;
        counters.renewals_failed.fetch_add(1, Ordering::Relaxed);
        let again_s = self.schedule.failed(ends, now).as_secs();
        let expires_in_s = ends.0.saturating_sub(now.0) / 1_000_000_000;
        tracing::warn!(
            code = "renewal_failed",
            why,
            again_s,
            expires_in_s,
            "no hub gave a new certificate: links end with the one that is there"
        );
        false
    }
}

/// Asks on a thread of its own, which may take as long as the hubs that are asked;
/// what is found is when the new certificate ends.
fn ask(files: IdentityFiles, addresses: Vec<String>) -> Receiver<Result<UnixNanos, String>> {
    let (tell, found) = sync_channel(1);
    let all = move || {
        let mut failures = Vec::new();
        for address in &addresses {
            match join::renew_at(address, &files) {
                Ok(ends) => return Ok(ends.unwrap_or(UnixNanos(u64::MAX))),
                Err(error) => failures.push(format!("{error:#}")),
            }
        }
        Err(failures.join("; "))
    };
    let asking = std::thread::Builder::new().name("weft-renew".to_owned());
    // Where no thread can be made nobody answers, which counts as a failure.
    let _ = asking.spawn(move || tell.send(all()));
    found
}

/// How near a certificate's end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    /// A fifth of its time is left, or less; a third of one that should have been renewed.
    Soon,
    /// A twentieth of its time is left, or less; a tenth of one that should have been renewed.
    Near,
    /// It has ended.
    Past,
}

/// The parts of a certificate's time that are left when it is told: first, and loudly.
const BY_HAND: (u64, u64) = (5, 20);
const BY_ITSELF: (u64, u64) = (3, 10);

/// The alarm of a certificate of this time.
fn alarm(begins: UnixNanos, ends: UnixNanos, now: UnixNanos, (soon, near): (u64, u64)) -> Option<Alarm> {
    let lifetime = ends.0.saturating_sub(begins.0);
    match ends.0.saturating_sub(now.0) {
        0 => Some(Alarm::Past),
        left if left <= lifetime / near => Some(Alarm::Near),
        left if left <= lifetime / soon => Some(Alarm::Soon),
        _ => None,
    }
}

impl Renewal {
    pub(crate) fn new(identity: Arc<TlsIdentity>, every: Duration, asking: Option<Asking>) -> Self {
        Self { identity, every, next: Mono(0), failure: None, told: None, asking }
    }

    /// Tells when the certificate ends soon, and asks for another where it is to.
    /// Looks at the files, if it is time to or it is `asked` to; answers whether
    /// there is a new identity.
    pub(crate) fn look(&mut self, now: Now, asked: bool, counters: &Counters) -> bool {
        self.tell(now);
        let renewed = self.asking.as_mut().is_some_and(|asking| asking.tend(&self.identity, now.wall, counters));
        let asked = asked || renewed;
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
        let parts = if self.asking.is_some() { BY_ITSELF } else { BY_HAND };
        let Some(alarm) = alarm(self.identity.begins(), ends, now.wall, parts) else { return };
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
        let at = |now| alarm(UnixNanos(1000), UnixNanos(2000), UnixNanos(now), BY_HAND);
        let (soon, near, past) = (Some(Alarm::Soon), Some(Alarm::Near), Some(Alarm::Past));
        assert_eq!(
            [0, 1799, 1800, 1949, 1950, 1999, 2000, 9999].map(at),
            [None, None, soon, soon, near, near, past, past]
        );
        let at = |now| alarm(UnixNanos(0), UnixNanos(3000), UnixNanos(now), BY_ITSELF);
        assert_eq!([1999, 2000, 2699, 2700].map(at), [None, soon, soon, near], "a third, and a tenth");
    }
}
