//! The rings beside the field's: `disruptor`, `rtrb`, `crossbeam-channel` and
//! std's bounded channel. `cargo xtask bench ring`
//!
//! All carry 8-byte items through a capacity of 1,024, each is read in the way
//! that suits it best (in batches where it has them; two are shown one by one as
//! well), and all wait in the same way, as `weft_ring::wait` does: a rest of a
//! fraction of a microsecond, so that a fast consumer does not take the cache
//! line from its producer for each single item; then looks; then a yield between
//! looks, because a waiter that only spins holds up the one it waits for when
//! there are fewer cores than threads. The peers take turns, and each cell is the
//! median of the rounds.
//!
//! Other load on the machine shows in these figures more than the rings do. As
//! root, `chrt -f 1` keeps it away for the few seconds that the runs take.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::hint::{black_box, spin_loop};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Instant;

use anyhow::{Result, anyhow, ensure};
use clap::Parser;
use rustix::thread::CpuSet;
use weft_bench::machine;
use weft_bench::process::{own_cores, pin_self};
use weft_bench::stats::{Runs, short, with_range};
use weft_bench::table::Table;
use weft_ring::wait::{REST, SPINS};
use weft_ring::{broadcast, mpsc, spsc};

const CAPACITY: usize = 1024;
const BATCH: usize = 64;

/// The rings beside the field's.
#[derive(Parser)]
struct Arguments {
    /// Items per producer and run, in millions.
    #[arg(long, default_value_t = 10)]
    millions: u64,
    /// Items of a latency run, in thousands.
    #[arg(long, default_value_t = 300)]
    latency_thousands: u64,
    /// Rounds; the tables show their medians.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Measures only the rings with this in their name; may be given again.
    #[arg(long)]
    only: Vec<String>,
}

/// The side that puts items in. `push` may take none; `batch` answers how many it took.
trait Push: Send {
    fn push(&mut self, item: u64) -> bool;
    /// Takes items numbered from `first` on.
    fn batch(&mut self, first: u64, count: usize) -> usize {
        (0..count).take_while(|&n| self.push(first + n as u64)).count()
    }
}

/// The side that takes items out.
trait Take: Send {
    /// Shows what is there to `each`; answers how many that was.
    fn take(&mut self, each: &mut impl FnMut(u64)) -> usize;
}

/// Waits as every peer here does.
#[derive(Default)]
struct Wait(u32);

impl Wait {
    fn again(&mut self) {
        self.0 += 1;
        match self.0 {
            1 => (0..REST).for_each(|_| spin_loop()),
            looks if looks <= SPINS => spin_loop(),
            _ => thread::yield_now(),
        }
    }

    fn done(&mut self) {
        self.0 = 0;
    }
}

impl Push for spsc::Producer<u64> {
    fn push(&mut self, item: u64) -> bool {
        spsc::Producer::push(self, item).is_ok()
    }
    fn batch(&mut self, first: u64, count: usize) -> usize {
        self.push_batch(&mut (first..first + count as u64))
    }
}

impl Take for spsc::Consumer<u64> {
    fn take(&mut self, each: &mut impl FnMut(u64)) -> usize {
        self.drain(CAPACITY, each)
    }
}

/// Read one by one.
struct OneByOne<C>(C);

impl Take for OneByOne<spsc::Consumer<u64>> {
    fn take(&mut self, each: &mut impl FnMut(u64)) -> usize {
        self.0.pop().map(each).map_or(0, |()| 1)
    }
}

/// With the batch that its interface wants.
struct Many(mpsc::Producer<u64>, VecDeque<u64>);

impl Push for Many {
    fn push(&mut self, item: u64) -> bool {
        self.0.push(item).is_ok()
    }
    fn batch(&mut self, first: u64, count: usize) -> usize {
        self.1.clear();
        self.1.extend(first..first + count as u64);
        self.0.push_from(&mut self.1)
    }
}

impl Take for mpsc::Consumer<u64> {
    fn take(&mut self, each: &mut impl FnMut(u64)) -> usize {
        self.drain(CAPACITY, each)
    }
}

impl Push for broadcast::Producer<u64> {
    fn push(&mut self, item: u64) -> bool {
        broadcast::Producer::push(self, item).is_ok()
    }
    fn batch(&mut self, first: u64, count: usize) -> usize {
        let Some(mut claim) = self.claim(count) else { return 0 };
        claim.for_each(|n, slot| *slot = first + n as u64);
        let count = claim.len();
        claim.publish();
        count
    }
}

impl Take for broadcast::Consumer<u64> {
    fn take(&mut self, each: &mut impl FnMut(u64)) -> usize {
        self.drain(CAPACITY, |item| each(*item))
    }
}

impl Push for rtrb::Producer<u64> {
    fn push(&mut self, item: u64) -> bool {
        rtrb::Producer::push(self, item).is_ok()
    }
    fn batch(&mut self, first: u64, count: usize) -> usize {
        let count = self.slots().min(count);
        let Ok(chunk) = self.write_chunk_uninit(count) else { return 0 };
        chunk.fill_from_iter(first..first + count as u64)
    }
}

impl Take for rtrb::Consumer<u64> {
    fn take(&mut self, each: &mut impl FnMut(u64)) -> usize {
        let Ok(chunk) = self.read_chunk(self.slots()) else { return 0 };
        chunk.into_iter().map(each).count()
    }
}

impl Take for OneByOne<rtrb::Consumer<u64>> {
    fn take(&mut self, each: &mut impl FnMut(u64)) -> usize {
        self.0.pop().map(each).map_or(0, |()| 1)
    }
}

impl Push for crossbeam_channel::Sender<u64> {
    fn push(&mut self, item: u64) -> bool {
        self.try_send(item).is_ok()
    }
}

impl Take for crossbeam_channel::Receiver<u64> {
    fn take(&mut self, each: &mut impl FnMut(u64)) -> usize {
        self.try_iter().take(CAPACITY).map(each).count()
    }
}

impl Push for std::sync::mpsc::SyncSender<u64> {
    fn push(&mut self, item: u64) -> bool {
        self.try_send(item).is_ok()
    }
}

impl Take for std::sync::mpsc::Receiver<u64> {
    fn take(&mut self, each: &mut impl FnMut(u64)) -> usize {
        self.try_iter().take(CAPACITY).map(each).count()
    }
}

struct Disruptor<P>(P);

impl<P: disruptor::Producer<u64> + Send> Push for Disruptor<P> {
    fn push(&mut self, item: u64) -> bool {
        self.0.try_publish(|slot| *slot = item).is_ok()
    }
    fn batch(&mut self, first: u64, count: usize) -> usize {
        let published = self.0.try_batch_publish(count, |slots| {
            slots.zip(first..).for_each(|(slot, item)| *slot = item);
        });
        published.map_or(0, |_| count)
    }
}

impl Take for disruptor::EventPoller<u64, disruptor::SingleProducerBarrier> {
    fn take(&mut self, each: &mut impl FnMut(u64)) -> usize {
        self.poll().map_or(0, |mut events| (&mut events).map(|item| each(*item)).count())
    }
}

impl Take for disruptor::EventPoller<u64, disruptor::MultiProducerBarrier> {
    fn take(&mut self, each: &mut impl FnMut(u64)) -> usize {
        self.poll().map_or(0, |mut events| (&mut events).map(|item| each(*item)).count())
    }
}

/// What one run does.
#[derive(Clone, Copy)]
enum Work {
    /// So many items from each producer, as fast as they go: items per second.
    Single(u64),
    /// The same, in batches of 64.
    Batches(u64),
    /// So many items, one per microsecond: nanoseconds from push to sight, the
    /// median and the 99th percentile.
    Latency(u64),
}

/// Puts the calling thread on the n-th core that it may use, if there is one.
fn pin(n: usize) {
    let Ok(all) = own_cores() else { return };
    let mut one = CpuSet::new();
    if let Some(core) = (0..CpuSet::MAX_CPU).filter(|&core| all.is_set(core)).nth(n) {
        one.set(core);
        // Not pinned is not wrong, only less steady.
        let _ = pin_self(&one);
    }
}

/// Runs the work once. One producer has a core for itself, as has the consumer;
/// several are left to the scheduler.
fn run<P: Push + 'static, C: Take + 'static>(work: Work, (producers, mut consumer): (Vec<P>, C)) -> Result<[f64; 2]> {
    let alone = producers.len() == 1;
    let barrier = Arc::new(Barrier::new(producers.len() + 1));
    let (Work::Single(each) | Work::Batches(each) | Work::Latency(each)) = work;
    let total = each * producers.len() as u64;
    let epoch = Instant::now();
    let nanos = move || u64::try_from(epoch.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let reader = {
        let barrier = barrier.clone();
        thread::spawn(move || {
            if alone {
                pin(1);
            }
            barrier.wait();
            let start = Instant::now();
            let (mut count, mut sum, mut wait) = (0, 0_u64, Wait::default());
            let mut latencies = weft_load::latency::Latencies::new();
            while count < total {
                let taken = match work {
                    Work::Latency(_) => consumer.take(&mut |sent| latencies.record(nanos().saturating_sub(sent))),
                    _ => consumer.take(&mut |item| sum = sum.wrapping_add(black_box(item))),
                };
                if taken == 0 {
                    wait.again();
                } else {
                    count += taken as u64;
                    wait.done();
                }
            }
            (start.elapsed(), sum, latencies, consumer)
        })
    };
    let writers: Vec<_> = producers
        .into_iter()
        .map(|mut producer| {
            let barrier = barrier.clone();
            thread::spawn(move || {
                if alone {
                    pin(0);
                }
                barrier.wait();
                let mut wait = Wait::default();
                let (mut next, mut due) = (0, nanos());
                while next < each {
                    let taken = match work {
                        Work::Single(_) => usize::from(producer.push(black_box(next))),
                        Work::Batches(_) => producer.batch(next, BATCH.min((each - next) as usize)),
                        Work::Latency(_) => {
                            due += 1000;
                            while nanos() < due {
                                spin_loop();
                            }
                            // After a pre-emption: not all at once.
                            due = nanos();
                            usize::from(producer.push(due))
                        }
                    };
                    if taken == 0 {
                        wait.again();
                    } else {
                        next += taken as u64;
                        wait.done();
                    }
                }
                producer
            })
        })
        .collect();
    let producers = writers.len() as u64;
    let (took, sum, latencies, consumer) = reader.join().map_err(|_| anyhow!("the consumer panicked"))?;
    for writer in writers {
        std::mem::forget(writer.join().map_err(|_| anyhow!("a producer panicked"))?);
    }
    // Never freed, so that each run's ring lies elsewhere: how fast a line goes
    // from core to core depends on its address, and would favour one by luck.
    std::mem::forget(consumer);
    if let Work::Latency(_) = work {
        return Ok([0.5, 0.99].map(|quantile| latencies.at(quantile) as f64));
    }
    let expected = (0..each).fold(0_u64, u64::wrapping_add).wrapping_mul(producers);
    ensure!(sum == expected, "items were lost, repeated or changed: their sum is {sum} and should be {expected}");
    Ok([total as f64 / took.as_secs_f64(), 0.0])
}

/// One ring, and how to run work through it with so many producers; none if it
/// has no such mode.
struct Peer {
    name: &'static str,
    run: fn(Work, usize) -> Option<Result<[f64; 2]>>,
}

fn peers() -> Vec<Peer> {
    let peer = |name, run| Peer { name, run };
    vec![
        peer("weft spsc", |work, n| (n == 1).then(|| run(work, one(spsc::ring(CAPACITY))))),
        peer("weft spsc, one by one", |work, n| {
            let (producer, consumer) = spsc::ring(CAPACITY);
            (n == 1).then(|| run(work, (vec![producer], OneByOne(consumer))))
        }),
        peer("weft mpsc", |work, n| {
            let (producer, consumer) = mpsc::ring(CAPACITY);
            let producers = (0..n).map(|_| Many(producer.clone(), VecDeque::with_capacity(BATCH)));
            Some(run(work, (producers.collect(), consumer)))
        }),
        peer("weft broadcast, one consumer", |work, n| {
            let (producer, mut consumers) = broadcast::ring(CAPACITY, 1);
            let consumer = consumers.pop()?;
            (n == 1).then(|| run(work, (vec![producer], consumer)))
        }),
        peer("disruptor", |work, n| {
            if n == 1 {
                let builder = disruptor::build_single_producer(CAPACITY, || 0, disruptor::BusySpin);
                let (poller, builder) = builder.new_event_poller();
                return Some(run(work, (vec![Disruptor(builder.build())], poller)));
            }
            let builder = disruptor::build_multi_producer(CAPACITY, || 0, disruptor::BusySpin);
            let (poller, builder) = builder.new_event_poller();
            let producer = builder.build();
            Some(run(work, ((0..n).map(|_| Disruptor(producer.clone())).collect(), poller)))
        }),
        peer("rtrb", |work, n| (n == 1).then(|| run(work, one(rtrb::RingBuffer::new(CAPACITY))))),
        peer("rtrb, one by one", |work, n| {
            let (producer, consumer) = rtrb::RingBuffer::new(CAPACITY);
            (n == 1).then(|| run(work, (vec![producer], OneByOne(consumer))))
        }),
        peer("crossbeam-channel", |work, n| {
            let (producer, consumer) = crossbeam_channel::bounded(CAPACITY);
            Some(run(work, (vec![producer; n], consumer)))
        }),
        peer("std mpsc", |work, n| {
            let (producer, consumer) = std::sync::mpsc::sync_channel(CAPACITY);
            Some(run(work, (vec![producer; n], consumer)))
        }),
    ]
}

fn one<P, C>((producer, consumer): (P, C)) -> (Vec<P>, C) {
    (vec![producer], consumer)
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let items = arguments.millions * 1_000_000;
    let columns = [
        ("1-1 single, items/s", Work::Single(items), 1),
        ("1-1 batches of 64, items/s", Work::Batches(items), 1),
        ("2-1 single, items/s", Work::Single(items / 2), 2),
        ("1 µs gap, ns p50", Work::Latency(arguments.latency_thousands * 1000), 1),
    ];
    let mut peers = peers();
    peers.retain(|peer| arguments.only.is_empty() || arguments.only.iter().any(|part| peer.name.contains(part)));
    let mut results = vec![vec![[Runs::new(), Runs::new()]; columns.len()]; peers.len()];
    for round in 0..arguments.rounds {
        for (column, (_, work, producers)) in columns.iter().enumerate() {
            // Another order in each round: the first of a column may be favoured or not.
            for n in (0..peers.len()).map(|n| (n + round) % peers.len()) {
                let Some(values) = (peers[n].run)(*work, *producers) else { continue };
                for (runs, value) in results[n][column].iter_mut().zip(values?) {
                    runs.push(value);
                }
            }
        }
    }
    println!("{}\n", machine::line());
    let mut table = Table::new(["ring"].into_iter().chain(columns.iter().map(|column| column.0)).chain(["ns p99"]));
    for (peer, results) in peers.iter().zip(&results) {
        let cell = |runs: &Runs| if runs.is_empty() { String::new() } else { with_range(runs) };
        let mut row = vec![peer.name.to_owned()];
        row.extend(results.iter().map(|[first, _]| cell(first)));
        row.extend(results.last().map(|[_, second]| short(second.median())));
        table.row(row);
    }
    println!("{table}");
    Ok(())
}
