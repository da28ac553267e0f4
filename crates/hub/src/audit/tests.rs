//! The audit stage against a disk of the test's: nothing is lost silently, and the
//! chain holds whatever the disk says.

use std::time::Duration;

use weft_base::checksum::crc32c;
use weft_base::{ByteCount, Epoch, HubId, Mono, UnixNanos};
use weft_govern::audit::{Line, Record, Verifier};
use weft_ring::arena::{Arena, ArenaOptions};
use weft_ring::stage::Stage as _;
use weft_wire::block::Block;

use super::*;
use crate::Identity;
use crate::counters::get;
use crate::lifecycle::Lifecycle;
use crate::messages::{Internal, ToAppend};
use crate::see::SeeOptions;

/// Enough to tell texts apart in a test; the program gives SHA-256.
struct Sum;

impl Digest for Sum {
    fn sha256(&self, bytes: &[u8]) -> [u8; 32] {
        let mut hash = [0; 32];
        for (number, part) in hash.chunks_mut(4).enumerate() {
            part.copy_from_slice(&crc32c(&[bytes, &[number as u8], bytes].concat()).to_le_bytes());
        }
        hash
    }
}

struct Bench {
    stage: AuditStage,
    ring: mpsc::Producer<ToAudit>,
    auditor: Auditor,
    appended: mpsc::Consumer<ToAppend>,
    counters: Arc<Counters>,
    now: Now,
    /// What the disk has.
    lines: Vec<String>,
}

impl Bench {
    fn new(begin: Begin) -> Self {
        let way = Trail::at(begin);
        let (to_append, appended) = mpsc::ring(64);
        let mut random = weft_base::Random::from_seed(1);
        let counters = Arc::new(Counters::new(&SeeOptions::default(), &mut random, Arc::default()));
        let large = 1 << 20;
        let arena = Arena::new(ArenaOptions {
            small: 64 << 10,
            large,
            budget: ByteCount::mib(16),
            initial: ByteCount::mib(1),
            ..ArenaOptions::default()
        });
        let identity = Identity {
            life: weft_mesh::Life { instance: 1, starts: 1, nonce: 1 },
            id: HubId::of_name("h1"),
            epoch: Epoch(1),
            name: "h1".to_owned(),
            region: "eu".to_owned(),
            labels: Vec::new(),
        };
        let append = Outbox::new(&to_append, &StageWaker::parking());
        let auditor = way.auditor(&counters);
        let ring = way.ring.clone();
        let mut options = HubOptions::new("h1");
        options.limits.frame = ByteCount(large as u64 / 2);
        let whole = (Arc::new(identity), &options, counters.clone(), Arc::new(Lifecycle::default()));
        let stage = way.stage(append, arena.expect("memory"), whole);
        let now = Now { mono: Mono(0), wall: UnixNanos(1_000) };
        Self { stage, ring, auditor, appended, counters, now, lines: Vec::new() }
    }

    fn note(&self, who: &str) {
        let event = Event { who: who.to_owned(), action: "publish".to_owned(), ..Event::default() };
        let entry = Entry { event, time: 1, last: None, times: 1, several: false };
        let mut out = Outbox::new(&self.ring, &StageWaker::parking());
        assert!(out.has_room(1));
        out.push(ToAudit::Entry(Box::new(entry)));
    }

    fn turn(&mut self) {
        self.stage.do_work(self.now);
    }

    fn later(&mut self, time: Duration) {
        self.now.mono = self.now.mono + time;
        self.turn();
    }

    /// The block that is to be appended, if one is.
    fn block(&mut self) -> Option<Internal> {
        match self.appended.pop() {
            Some(ToAppend::Internal(internal)) => Some(internal),
            _ => None,
        }
    }

    /// The disk's answer.
    fn answer(&mut self, internal: &Internal, outcome: Result<(), Unstored>) {
        if !matches!(outcome, Err(Unstored::Refused(_))) {
            let block = Block::trusted(&internal.block);
            let lines = block.events().map(|event| String::from_utf8(event.payload.to_vec()).expect("text"));
            self.lines.extend(lines);
        }
        let mut out = Outbox::new(&self.ring, &StageWaker::parking());
        out.push(ToAudit::Stored { ticket: internal.ticket, outcome });
        self.turn();
    }

    /// Takes all that comes.
    fn store_all(&mut self) {
        while let Some(block) = self.block() {
            self.answer(&block, Ok(()));
        }
    }

    /// Who is told of, in order; the chain is whole.
    fn told(&self) -> Vec<String> {
        let mut verifier = Verifier::new(Sum, None);
        let mut who = Vec::new();
        for line in &self.lines {
            verifier.take(line).expect("the chain is whole");
            if let Line::Entry(entry) = Record::read(line).expect("a record").line {
                who.push(format!("{} {}", entry.event.who, entry.event.action));
            }
        }
        who
    }
}

#[test]
fn what_the_disk_refuses_is_written_later_in_the_same_place_of_the_chain() {
    let mut bench = Bench::new(begin("h1", Arc::new(Sum), None));
    bench.turn();
    let first = bench.block().expect("the start");
    bench.note("ann");
    bench.answer(&first, Ok(()));
    let second = bench.block().expect("what was noted");
    bench.note("bob");
    bench.answer(&second, Err(Unstored::Refused("the disk is full".to_owned())));
    assert!(bench.block().is_none(), "not at once");
    assert_eq!(get(&bench.counters.govern.audit_failures), 1);
    bench.later(Duration::from_secs(2));
    bench.store_all();
    assert_eq!(bench.told(), ["(hub) start", "ann publish", "bob publish"]);
    assert_eq!((get(&bench.counters.govern.audit_records), get(&bench.counters.govern.audit_lost)), (3, 0));

    // Appended, and perhaps not synced: it is not written twice.
    bench.note("eve");
    bench.turn();
    let third = bench.block().expect("what was noted");
    bench.answer(&third, Err(Unstored::Unsure("the disk failed".to_owned())));
    bench.note("fay");
    bench.later(Duration::from_secs(2));
    bench.store_all();
    assert_eq!(bench.told().split_off(3), ["eve publish", "fay publish"]);
}

#[test]
fn what_there_is_no_room_for_is_counted_and_a_record_says_so() {
    let mut bench = Bench::new(begin("h1", Arc::new(Sum), None));
    bench.turn();
    let first = bench.block().expect("the start");
    // The disk does not answer, and ever more comes.
    for number in 0..10_000 {
        bench.note(&format!("n{number}"));
        bench.turn();
    }
    let lost = get(&bench.counters.govern.audit_lost);
    assert!(lost > 1_000, "{lost}");
    bench.answer(&first, Ok(()));
    bench.store_all();
    let told = bench.told();
    assert_eq!(told.iter().filter(|who| *who == "(hub) lose").count(), 1, "it is said once");
    assert_eq!(told.len() as u64, 2 + 10_000 - lost, "and nothing else is missing");
    // What the way has no room for is counted too, and whoever notes it does not wait.
    for number in 0..2 * SLOTS {
        let event = Event { who: format!("p{}", number % 1_000), resource: format!("r{number}"), ..Event::default() };
        bench.auditor.note(event, bench.now);
    }
    assert!(get(&bench.counters.govern.audit_lost) > lost);
}

#[test]
fn an_end_that_cannot_be_read_begins_a_chain_that_is_seen_to_be_another() {
    let mut bench = Bench::new(begin("h1", Arc::new(Sum), None));
    bench.turn();
    bench.store_all();
    let mut lines = bench.lines.clone();
    // As if the last record could not be read: the chain begins again.
    let mut other = Bench::new(begin("h1", Arc::new(Sum), None));
    other.turn();
    other.store_all();
    lines.extend(other.lines);
    let mut verifier = Verifier::new(Sum, None);
    let broken = lines.iter().try_for_each(|line| verifier.take(line)).expect_err("another chain");
    assert!(broken.to_string().contains("records are missing"), "{broken}");
}
