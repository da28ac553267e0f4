//! Networks with one fault each: every check must find its own.

use std::any::Any;
use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use weft_base::ManualClock;

use super::*;
use crate::network::{DialError, Known, ListenError, Waker};
use crate::sim::tests::Simulated;
use crate::tcp::tests::Loopback;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Two bytes of each read are exchanged.
    Swaps,
    /// The slices of a write are taken from the last to the first.
    Backwards,
    /// Any number of slices is taken at once.
    Greedy,
    /// What does not fit is thrown away.
    NeverBlocks,
    /// What is written to the second link that came in goes out on the first.
    Crosses,
    /// A link that is full makes all others full.
    BlocksAll,
    NeverWritable,
    /// `Readable` is not said twice in a row.
    SaysOnce,
    AlwaysReadable,
    IgnoresPause,
    EmptyWriteBlocks,
    /// The last byte of each write is forgotten.
    Forgets,
    /// An end is reported also to the one that closed, or has read it.
    SaysTwice,
    NeverDone,
    SameToken,
    /// Every reason is "something".
    Mumbles,
    IgnoresCloseListener,
    LinksDieWithListener,
    Deaf,
    NoLimits,
    ShortTime,
    LongLinger,
    /// The peer's name is not told.
    Nameless,
    /// Certificates' ends are not watched.
    NeverExpires,
    /// Every listener takes both kinds.
    TakesBoth,
    /// Every listener takes who shows no certificate.
    TakesGuests,
    /// Dials with the right hub's name where none was given.
    KnowsBetter,
    IgnoresExpect,
    /// Identities stay what they were when it got them.
    KeepsIdentity,
    /// Links stay whatever is revoked.
    NeverLooksAgain,
}

struct Faulty<N> {
    net: N,
    fault: Fault,
    said: BTreeSet<LinkToken>,
    links: Vec<LinkToken>,
    accepted: Vec<LinkToken>,
    full: bool,
    more: Vec<Ready>,
}

impl<N> Faulty<N> {
    fn real(&self, link: LinkToken) -> LinkToken {
        match self.fault {
            Fault::SameToken => self.links.last().copied().unwrap_or(link),
            _ => link,
        }
    }
}

fn mumble() -> CloseReason {
    CloseReason::Io { detail: "something".to_owned() }
}

impl<N: Network> Network for Faulty<N> {
    fn listen(
        &mut self,
        addr: &str,
        security: &Security,
        accept: Accept,
    ) -> Result<(ListenerToken, String), ListenError> {
        let accept = match self.fault {
            Fault::TakesBoth => Accept::Both,
            Fault::TakesGuests => Accept::AnyClients,
            _ => accept,
        };
        let security = match security {
            Security::Tls(identity) if self.fault == Fault::KeepsIdentity => &Security::Tls(identity.as_it_is().into()),
            _ => security,
        };
        let bound = self.net.listen(addr, security, accept);
        bound.map_err(|e| match self.fault {
            Fault::Mumbles => ListenError::Io { address: String::new(), detail: "something".to_owned() },
            _ => e,
        })
    }

    fn dial_known(
        &mut self,
        addr: &str,
        known: &Known<'_>,
        security: &Security,
        expect: Option<&str>,
    ) -> Result<LinkToken, DialError> {
        let expect = match self.fault {
            Fault::IgnoresExpect => None,
            Fault::KnowsBetter => Some(expect.unwrap_or("n1")),
            _ => expect,
        };
        let dialled = self.net.dial_known(addr, known, security, expect);
        if let Ok(link) = dialled {
            self.links.push(link);
            if self.fault == Fault::SameToken {
                return Ok(LinkToken(77));
            }
        }
        dialled
    }

    fn poll(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        if self.fault == Fault::Deaf && timeout.is_none() {
            // Not for ever, so that the test ends.
            self.net.poll(Some(Duration::from_millis(50)), ready)?;
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.net.poll(timeout, ready)?;
        ready.append(&mut self.more);
        let before = std::mem::take(&mut self.said);
        ready.retain_mut(|ready| {
            match ready {
                Ready::Accepted { link, .. } => self.accepted.push(*link),
                Ready::Readable(link) => {
                    self.said.insert(*link);
                }
                _ => {}
            }
            match (self.fault, ready) {
                (Fault::SameToken, Ready::Connected { link, .. }) => *link = LinkToken(77),
                (Fault::NeverWritable, Ready::Writable(_)) => return false,
                (Fault::SaysOnce, Ready::Readable(link)) => return !before.contains(link),
                (Fault::Mumbles, Ready::Closed { reason, .. } | Ready::Refused { reason, .. }) => *reason = mumble(),
                (Fault::Nameless, Ready::Connected { peer, .. } | Ready::Accepted { peer, .. }) => {
                    *peer = Peer::anonymous();
                }
                (Fault::NeverLooksAgain, Ready::Closed { reason: CloseReason::CertificateRevoked, .. }) => {
                    return false;
                }
                (Fault::NeverExpires, Ready::Closed { reason: CloseReason::CertificateExpired { .. }, .. }) => {
                    return false;
                }
                _ => {}
            }
            true
        });
        if self.fault == Fault::AlwaysReadable {
            ready.extend(self.links.iter().map(|link| Ready::Readable(*link)));
        }
        Ok(())
    }

    fn read(&mut self, link: LinkToken, buf: &mut [u8]) -> ReadOutcome {
        match (self.net.read(self.real(link), buf), self.fault) {
            (ReadOutcome::Bytes(n), Fault::Swaps) => {
                if n >= 2 {
                    buf.swap(0, 1);
                }
                ReadOutcome::Bytes(n)
            }
            (ReadOutcome::Closed(reason), Fault::SaysTwice) => {
                self.more.push(Ready::Closed { link, reason: reason.clone() });
                ReadOutcome::Closed(reason)
            }
            (ReadOutcome::Closed(_), Fault::Mumbles) => ReadOutcome::Closed(mumble()),
            (outcome, _) => outcome,
        }
    }

    fn write(&mut self, link: LinkToken, bufs: &[IoSlice<'_>]) -> WriteOutcome {
        let link = match self.fault {
            Fault::Crosses if self.accepted.get(1) == Some(&link) => self.accepted[0],
            _ => self.real(link),
        };
        let offered: usize = bufs.iter().map(|slice| slice.len()).sum();
        match self.fault {
            Fault::EmptyWriteBlocks if offered == 0 => WriteOutcome::WouldBlock,
            Fault::Backwards => {
                let backwards: Vec<_> = bufs.iter().rev().copied().collect();
                self.net.write(link, &backwards)
            }
            Fault::Greedy => {
                let all: Vec<u8> = bufs.iter().flat_map(|slice| slice.iter().copied()).collect();
                self.net.write(link, &[IoSlice::new(&all)])
            }
            Fault::NeverBlocks => {
                self.net.write(link, bufs);
                WriteOutcome::Bytes(offered)
            }
            Fault::BlocksAll if self.full => WriteOutcome::WouldBlock,
            Fault::BlocksAll => {
                let outcome = self.net.write(link, bufs);
                self.full = outcome == WriteOutcome::WouldBlock;
                outcome
            }
            Fault::Forgets if offered > 1 => {
                let all: Vec<u8> = bufs.iter().flat_map(|slice| slice.iter().copied()).collect();
                match self.net.write(link, &[IoSlice::new(&all[..offered - 1])]) {
                    WriteOutcome::Bytes(n) => WriteOutcome::Bytes(n + 1),
                    outcome => outcome,
                }
            }
            _ => self.net.write(link, bufs),
        }
    }

    fn pause(&mut self, link: LinkToken) {
        if self.fault != Fault::IgnoresPause {
            self.net.pause(link);
        }
    }

    fn resume(&mut self, link: LinkToken) {
        self.net.resume(link);
    }

    fn close(&mut self, link: LinkToken) {
        if self.fault == Fault::SaysTwice {
            self.more.push(Ready::Closed { link, reason: CloseReason::PeerClosed });
        }
        self.net.close(self.real(link));
    }

    fn close_listener(&mut self, listener: ListenerToken) {
        if self.fault == Fault::LinksDieWithListener {
            for link in std::mem::take(&mut self.accepted) {
                self.net.close(link);
            }
        }
        if self.fault != Fault::IgnoresCloseListener {
            self.net.close_listener(listener);
        }
    }

    fn remote_address(&self, link: LinkToken) -> Option<String> {
        self.net.remote_address(link)
    }

    fn closing(&self) -> usize {
        self.net.closing() + usize::from(self.fault == Fault::NeverDone)
    }

    fn waker(&self) -> Waker {
        self.net.waker()
    }
}

struct FaultyRig<R> {
    rig: R,
    fault: Fault,
}

impl<R: Rig> Rig for FaultyRig<R> {
    type Net = Faulty<R::Net>;

    fn clock(&self) -> ManualClock {
        self.rig.clock()
    }

    fn secure(&self) -> bool {
        self.rig.secure()
    }

    fn endpoint(&mut self, name: &str, limits: Limits) -> Self::Net {
        let limits = match self.fault {
            Fault::NoLimits => Limits { linger: limits.linger, ..Limits::default() },
            Fault::ShortTime => Limits { handshake_timeout: Duration::from_secs(1), ..limits },
            Fault::LongLinger => Limits { linger: Duration::from_secs(9999), ..limits },
            _ => limits,
        };
        let (said, links, accepted, more) = Default::default();
        Faulty { net: self.rig.endpoint(name, limits), fault: self.fault, said, links, accepted, full: false, more }
    }

    fn address(&self, name: &str) -> String {
        self.rig.address(name)
    }

    fn nobody(&mut self, name: &str) -> String {
        self.rig.nobody(name)
    }

    fn host(&self, name: &str) -> String {
        self.rig.host(name)
    }

    fn silent(&mut self, address: &str) -> Box<dyn Any> {
        self.rig.silent(address)
    }

    fn wake_elsewhere(&self, waker: Waker) -> Box<dyn FnOnce()> {
        self.rig.wake_elsewhere(waker)
    }

    fn step(&mut self) {
        self.rig.step();
    }
}

type Check = fn(FaultyRig<Simulated>);

/// Each check, and a fault that it is there to find.
const CANARIES: [(&str, Fault, Check); 43] = [
    ("the_stream_arrives_in_order", Fault::Swaps, the_stream_arrives_in_order),
    ("both_directions_at_once", Fault::Swaps, both_directions_at_once),
    ("vectored_writes_keep_their_order", Fault::Backwards, vectored_writes_keep_their_order),
    ("of_many_slices_the_first_64_are_taken", Fault::Greedy, of_many_slices_the_first_64_are_taken),
    ("a_full_link_blocks_and_goes_on", Fault::NeverBlocks, a_full_link_blocks_and_goes_on),
    ("a_full_link_blocks_and_goes_on", Fault::NeverWritable, a_full_link_blocks_and_goes_on),
    ("reads_are_level_triggered", Fault::SaysOnce, reads_are_level_triggered),
    ("a_paused_link_is_silent", Fault::IgnoresPause, a_paused_link_is_silent),
    ("what_is_idle_stays_silent", Fault::AlwaysReadable, what_is_idle_stays_silent),
    ("empty_reads_and_writes_do_nothing", Fault::EmptyWriteBlocks, empty_reads_and_writes_do_nothing),
    ("close_delivers_what_was_taken", Fault::Forgets, close_delivers_what_was_taken),
    ("the_peers_end_is_seen_once", Fault::SaysTwice, the_peers_end_is_seen_once),
    ("closing_twice_is_harmless", Fault::SaysTwice, closing_twice_is_harmless),
    ("both_may_close_at_once", Fault::NeverDone, both_may_close_at_once),
    ("many_links_at_once", Fault::Crosses, many_links_at_once),
    ("a_slow_link_holds_up_no_other", Fault::BlocksAll, a_slow_link_holds_up_no_other),
    ("tokens_are_not_used_twice", Fault::SameToken, tokens_are_not_used_twice),
    ("nobody_there_is_said", Fault::Mumbles, nobody_there_is_said),
    ("a_closed_dial_is_silent", Fault::SaysTwice, a_closed_dial_is_silent),
    ("bad_addresses_are_refused", Fault::Mumbles, bad_addresses_are_refused),
    ("a_closed_listener_takes_nobody", Fault::IgnoresCloseListener, a_closed_listener_takes_nobody),
    ("a_link_outlives_its_listener", Fault::LinksDieWithListener, a_link_outlives_its_listener),
    ("a_peer_that_dies_is_seen", Fault::Mumbles, a_peer_that_dies_is_seen),
    ("too_many_links_are_refused", Fault::NoLimits, too_many_links_are_refused),
    ("too_many_dials_are_refused", Fault::NoLimits, too_many_dials_are_refused),
    ("handshakes_in_flight_are_bounded", Fault::NoLimits, handshakes_in_flight_are_bounded),
    ("a_silent_peer_runs_out_of_time", Fault::ShortTime, a_silent_peer_runs_out_of_time),
    ("lingering_is_bounded", Fault::LongLinger, lingering_is_bounded),
    ("peers_are_named", Fault::Nameless, peers_are_named),
    ("a_clients_port_is_for_clients", Fault::TakesBoth, a_clients_port_is_for_clients),
    ("a_guest_is_let_in_where_any_client_is", Fault::TakesGuests, a_guest_is_let_in_where_any_client_is),
    ("a_client_in_place_of_a_hub_is_refused", Fault::TakesBoth, a_client_in_place_of_a_hub_is_refused),
    ("another_hub_is_refused", Fault::IgnoresExpect, another_hub_is_refused),
    ("a_host_not_in_the_certificate_is_refused", Fault::KnowsBetter, a_host_not_in_the_certificate_is_refused),
    ("a_foreign_authority_is_refused", Fault::Mumbles, a_foreign_authority_is_refused),
    ("an_expired_certificate_is_refused", Fault::Mumbles, an_expired_certificate_is_refused),
    ("a_certificate_too_early_is_refused", Fault::Mumbles, a_certificate_too_early_is_refused),
    ("a_link_ends_with_its_certificate", Fault::NeverExpires, a_link_ends_with_its_certificate),
    ("a_replaced_identity_counts_for_new_links", Fault::KeepsIdentity, a_replaced_identity_counts_for_new_links),
    ("a_revoked_peer_is_refused", Fault::KeepsIdentity, a_revoked_peer_is_refused),
    (
        "a_peer_that_is_revoked_while_it_comes_in_does_not_stay",
        Fault::NeverLooksAgain,
        a_peer_that_is_revoked_while_it_comes_in_does_not_stay,
    ),
    ("a_link_ends_when_its_peer_is_revoked", Fault::NeverLooksAgain, a_link_ends_when_its_peer_is_revoked),
    ("plain_and_tls_do_not_mix", Fault::Mumbles, plain_and_tls_do_not_mix),
];

#[test]
fn every_check_finds_its_fault() {
    for (name, fault, check) in CANARIES {
        let rig = FaultyRig { rig: Simulated::new(true), fault };
        let found = catch_unwind(AssertUnwindSafe(|| check(rig))).is_err();
        assert!(found, "`{name}` does not find {fault:?}");
    }
}

#[test]
fn a_deaf_network_is_found() {
    let rig = FaultyRig { rig: Loopback::new(false), fault: Fault::Deaf };
    assert!(catch_unwind(AssertUnwindSafe(|| the_waker_ends_a_poll(rig))).is_err());
}
