//! `cargo xtask compat`: hubs and clients of an earlier commit beside those of
//! this tree, in one mesh.
//!
//! Three hubs in a line begin as the earlier program and are replaced one by one
//! while events go through all of them, on the same data folders: upgraded, the
//! middle one last, one of them set back and upgraded again, and all set back. So
//! an earlier hub stands between two present ones, and the other way round.
//! Present hubs drain before they stop. Publishers of both programs go on while
//! hubs are replaced, with all hubs on their lists, into two streams of one home
//! and one of three; a durable consumer follows that one.
//!
//! At each mix of versions both programs read the streams, the consumer goes on,
//! and live events cross the mesh between clients of both; before each start both
//! programs judge the data folder. Whenever all hubs are of one program, thus at
//! the end of the way there and of the way back, the publishers end: all that was
//! acknowledged must be there, and the ledger of each hub's present life balance.
//! See [`judge`] for what must hold. Each link
//! must speak the version that its two ends have in common, and that is how it is
//! certain that the earlier program is one.

mod clients;
mod earlier;
mod judge;
mod mesh;
mod process;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use self::clients::Feed;
use self::judge::{Ledger, Taken, in_order};
use self::mesh::Mesh;
use self::process::done;
use crate::step::Run;
use crate::workspace;

/// The whole run without the builds takes less, or is broken off.
const LIMIT: Duration = Duration::from_secs(30 * 60);
/// How long anything that has to happen may take.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a link may speak another version than it must, as it does until a
/// hub has noticed that its neighbour is another one.
const STALE: Duration = Duration::from_secs(20);
/// The hub that is replaced by the other program, one after the other, and which that is.
const STEPS: [(usize, Age); 8] = [
    (0, Age::New),
    (2, Age::New),
    (1, Age::New),
    // Its neighbour remembers it, and it has forgotten what it told that.
    (0, Age::Old),
    (0, Age::New),
    (0, Age::Old),
    (2, Age::Old),
    (1, Age::Old),
];
/// Events that must have entered each stream at each mix of versions since the one before.
const MORE: u64 = 50;
/// The streams, with the hub that makes each, and its homes if they are others.
const STREAMS: [(&str, usize, &[&str]); 3] = [("first", 0, &[]), ("last", 2, &[]), ("all", 1, &mesh::NAMES)];
/// The publishers: of which program and of which hub first, the topic and its stream.
const FEEDS: [(Age, usize, &str, &str); 3] =
    [(Age::Old, 0, "last/x", "last"), (Age::New, 2, "first/x", "first"), (Age::New, 1, "all/x", "all")];
/// Whether all events of the stream have one home, so that they keep their order everywhere.
fn has_one_home(stream: &str) -> bool {
    stream != "all"
}

/// One of the two programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    Old,
    New,
}

impl Age {
    const BOTH: [Self; 2] = [Self::Old, Self::New];

    /// The newest version of the protocol that it speaks.
    const fn version(self) -> u64 {
        match self {
            Self::Old => 1,
            Self::New => 2,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::New => "new",
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::Old => Self::New,
            Self::New => Self::Old,
        }
    }
}

/// Where the two programs are.
#[derive(Clone)]
struct Programs {
    old: PathBuf,
    new: PathBuf,
}

impl Programs {
    fn of(&self, age: Age) -> &Path {
        if age == Age::Old { &self.old } else { &self.new }
    }
}

/// Builds both programs and runs them together, and then what must be noticed.
pub(crate) fn run() -> Result<()> {
    let old = earlier::program()?;
    let build = Run::cargo(["build", "--package", "weft", "--locked"]);
    ensure!(build.watch()?.success(), "weft does not build; to repeat: {}", build.typed());
    // A copy, so that a build meanwhile changes nothing.
    let new = workspace::target().join("compat/weft");
    fs::copy(workspace::target().join("debug/weft"), &new)?;
    let programs = Programs { old, new };
    let begun = Instant::now();
    let end = begun + LIMIT;
    a_wrong_program_is_noticed(&programs, end)?;
    let mut journey = Journey::begin(programs, end)?;
    let outcome = journey.upgrade_and_back().and_then(|()| journey.what_must_be_noticed());
    let folder = journey.mesh.folder().to_owned();
    drop(journey);
    outcome.with_context(|| format!("what the hubs said is in {}", folder.display()))?;
    fs::remove_dir_all(&folder)?;
    let took = begun.elapsed().as_secs();
    println!(
        "hubs and clients of {} and of this tree work together, upgraded one by one and set back, in {took} s",
        earlier::COMMIT
    );
    Ok(())
}

/// Were the earlier program not the earlier one, all would pass and say nothing.
fn a_wrong_program_is_noticed(programs: &Programs, end: Instant) -> Result<()> {
    let wrong = Programs { old: programs.new.clone(), ..programs.clone() };
    let ages = [Age::Old, Age::New, Age::Old];
    let mesh = Mesh::start(wrong, ages, end)?;
    noticed("a hub of this tree that is taken for an earlier one", mesh.wait_until_whole(), "speaks version")
}

/// A canary: what was done must have been noticed, and for this reason.
fn noticed<T>(what: &str, outcome: Result<T>, reason: &str) -> Result<()> {
    match outcome.map_err(|error| format!("{error:#}")) {
        Err(said) if said.contains(reason) => {
            println!("noticed, as it must be: {what}");
            Ok(())
        }
        Err(said) => bail!("{what} was to be noticed by `{reason}`, and there was another fault: {said}"),
        Ok(_) => bail!("{what} is not noticed: this check proves nothing"),
    }
}

/// Whether the ledgers of all hubs balance, and are of lives in which something happened.
fn balance(ledgers: &[Ledger; 3]) -> Result<()> {
    for (name, ledger) in mesh::NAMES.into_iter().zip(ledgers) {
        ledger.balance().context(name)?;
    }
    ensure!(ledgers.iter().map(Ledger::stored).sum::<u64>() > 0, "no hub has stored anything");
    Ok(())
}

/// A mesh on its way there and back.
struct Journey {
    mesh: Mesh,
    feeds: Vec<Feed>,
    /// How far each stream was when it was read last.
    read: BTreeMap<&'static str, u64>,
    taken: Taken,
    /// The data of the first hub, as they were in the beginning.
    early: PathBuf,
}

impl Journey {
    fn begin(programs: Programs, end: Instant) -> Result<Self> {
        let mesh = Mesh::start(programs, [Age::Old; 3], end)?;
        mesh.wait_until_whole()?;
        for (name, hub, homes) in STREAMS {
            let filter = format!("{name}/**");
            let homes = homes.iter().flat_map(|home| ["--home", home]);
            let create = ["stream", "create", name, &filter].into_iter().chain(homes);
            mesh.ask(Age::Old, hub, create)?;
        }
        mesh.ask(Age::Old, 1, ["consumer", "create", "all", "reader"])?;
        let early = mesh.folder().join("early");
        Ok(Self { mesh, feeds: Vec::new(), read: BTreeMap::new(), taken: Taken::default(), early })
    }

    fn upgrade_and_back(&mut self) -> Result<()> {
        self.publish()?;
        let [a, b, c] = mesh::NAMES;
        println!(
            "{:<24} {:>8} {:>8} {:>8} {:>8} {:>6} {:>7}",
            format!("{a}, {b}, {c}"),
            "first",
            "last",
            "all",
            "consumed",
            "live",
            "drained"
        );
        self.check("-")?;
        for (hub, age) in STEPS {
            if self.feeds.is_empty() {
                self.publish()?;
            }
            let drained = self.replace(hub, age)?;
            self.mesh.wait_until_whole()?;
            self.check(&drained)?;
            if self.mesh.ages() == [age; 3] {
                self.settle(age)?;
            }
        }
        self.consume(self.read.get("all").copied().unwrap_or(0))
    }

    /// Starts the publishers, each where it ended before.
    fn publish(&mut self) -> Result<()> {
        for (age, hub, topic, stream) in FEEDS {
            let first = self.read.get(stream).copied().unwrap_or(0);
            self.feeds.push(Feed::start(&self.mesh, age, hub, topic, first)?);
        }
        Ok(())
    }

    /// Ends the publishers: what they were told is stored must be, and each copy
    /// have come to an end.
    fn settle(&mut self, age: Age) -> Result<()> {
        let acknowledged = std::mem::take(&mut self.feeds).into_iter().map(Feed::stop).collect::<Result<Vec<u64>>>()?;
        self.read = FEEDS.into_iter().map(|(.., stream)| stream).zip(acknowledged).collect();
        self.all_is_there()?;
        let counts: Vec<String> = self.read.iter().map(|(stream, count)| format!("{count} in {stream}")).collect();
        println!("all hubs {}: acknowledged and there, once: {}", age.name(), counts.join(", "));
        for (name, ledger) in mesh::NAMES.into_iter().zip(self.ledgers_balance()?) {
            println!("all hubs {}: the ledger of {name} balances: {ledger}", age.name());
        }
        if age == Age::New {
            let said: Value = serde_json::from_str(&self.mesh.ask(age, 1, ["mesh", "ledger", "--json"])?)?;
            println!("all hubs new: both ends of all links count the same, {} copies", judge::crossed(&said)?);
        }
        Ok(())
    }

    /// Waits until each hub's ledger balances with nothing in flight.
    fn ledgers_balance(&self) -> Result<[Ledger; 3]> {
        let until = self.mesh.until();
        loop {
            let [a, b, c] = [0, 1, 2].map(|hub| self.mesh.ledger(hub));
            let ledgers = [a?, b?, c?];
            match balance(&ledgers) {
                Ok(()) => return Ok(ledgers),
                Err(error) => ensure!(Instant::now() < until, "{error:#}"),
            }
        }
    }

    /// Stops a hub, has both programs judge its data, and starts the other one;
    /// answers how it drained.
    fn replace(&mut self, hub: usize, age: Age) -> Result<String> {
        let drained = self.mesh.stop(hub)?;
        for judge in Age::BOTH {
            let data = self.mesh.data(hub);
            done(self.mesh.program(judge).args(["log", "verify"]).arg(&data), self.mesh.until())
                .with_context(|| format!("the {} program judges {}", judge.name(), data.display()))?;
        }
        if hub == 0 && !self.early.exists() {
            process::copy(&self.mesh.data(hub), &self.early)?;
        }
        if age == Age::Old {
            // It refuses for good, as `no_stream`, what it is sent before it knows of
            // the streams at other hubs.
            for feed in &self.feeds {
                feed.wait_until_elsewhere(self.mesh.client_port(hub), self.mesh.until())?;
            }
        }
        // What the program says, and docs/operating.md: an earlier one dropped the folder's number.
        let control = self.mesh.data(hub).join("control/control.redb");
        if age == Age::New && control.exists() {
            fs::rename(&control, control.with_extension("before"))?;
        }
        self.mesh.begin(hub, age)?;
        Ok(drained)
    }

    /// What is stored, read by both programs in the middle; what the consumer gets; live events.
    fn check(&mut self, drained: &str) -> Result<()> {
        for (stream, ..) in STREAMS {
            let least = self.read.get(stream).copied().unwrap_or(0) + MORE;
            for age in Age::BOTH {
                let stored = self.wait_for(age, stream, |stored| stored >= least)?;
                self.read.insert(stream, stored);
            }
        }
        let all = self.read.get("all").copied().unwrap_or(0);
        self.consume(all)?;
        let mut live = 0;
        for age in Age::BOTH {
            live += clients::live(&self.mesh, age).with_context(|| format!("live, from the {} program", age.name()))?;
        }
        for (hub, name) in mesh::NAMES.into_iter().enumerate() {
            let alarms = self.mesh.ledger(hub)?.alarms();
            ensure!(alarms == 0, "{name} found its ledger out of balance {alarms} times");
        }
        let mix = self.mesh.ages().map(Age::name).join(", ");
        let [first, last, all] = STREAMS.map(|(stream, ..)| self.read.get(stream).copied().unwrap_or(0));
        println!("{mix:<24} {first:>8} {last:>8} {all:>8} {:>8} {live:>6} {drained:>7}", self.taken.count());
        Ok(())
    }

    /// Reads until a stream is as it must be; what stands in it must be right each time.
    fn wait_for(&self, age: Age, stream: &str, is_so: impl Fn(u64) -> bool) -> Result<u64> {
        let until = self.mesh.until();
        loop {
            let stored = self.stored(age, stream, until)?;
            let last = match stored {
                Some(count) if is_so(count) => return Ok(count),
                Some(count) => format!("has {count}"),
                None => "is not whole".to_owned(),
            };
            let ages = self.mesh.ages();
            ensure!(Instant::now() < until, "{stream}, read by the {} program, {last} ({ages:?})", age.name());
        }
    }

    /// How many numbers a stream has, all of them from 0 on; none while it is not
    /// there, or events of some home are missing.
    fn stored(&self, age: Age, stream: &str, until: Instant) -> Result<Option<u64>> {
        let replay = ["stream", "replay", stream, "--format", "raw"];
        let said = match self.mesh.ask(age, 1, replay) {
            Ok(said) => said,
            Err(error) => {
                // A hub that was just started has not heard of it yet.
                ensure!(Instant::now() < until, "{error:#}");
                return Ok(None);
            }
        };
        if has_one_home(stream) {
            in_order(said.lines()).map(Some).with_context(|| stream.to_owned())
        } else {
            judge::all_once(said.lines()).with_context(|| stream.to_owned())
        }
    }

    /// The consumer goes on until it has had all that are below `end`.
    fn consume(&mut self, end: u64) -> Result<()> {
        self.taken.next_round();
        let (until, mut age) = (self.mesh.until(), Age::Old);
        while !self.taken.has_all(end) {
            ensure!(Instant::now() < until, "the consumer does not get {}", self.taken.missing());
            age = age.other();
            let next = ["consumer", "next", "all", "reader", "--count", "2000", "--wait", "1s", "--format", "raw"];
            // A client that is cut off has settled nothing that must not come again.
            if let Ok(said) = self.mesh.ask(age, 1, next) {
                self.taken.take(said.lines())?;
            }
        }
        Ok(())
    }

    /// All that was acknowledged, and nothing else, read by both programs.
    fn all_is_there(&self) -> Result<()> {
        for (stream, acknowledged) in &self.read {
            for age in Age::BOTH {
                let found = self.wait_for(age, stream, |stored| stored >= *acknowledged);
                let stored = found.with_context(|| format!("{acknowledged} acknowledged"))?;
                ensure!(stored == *acknowledged, "{stream}: {acknowledged} acknowledged, {stored} stored");
            }
        }
        Ok(())
    }

    /// A copy of which no ledger says what became of it, events that are lost, and
    /// one that is there twice.
    fn what_must_be_noticed(&mut self) -> Result<()> {
        let mut told = self.ledgers_balance()?;
        told[1].told_one_more();
        noticed(
            "a ledger that is told of one copy more",
            balance(&told),
            "chicago: the ledger is out of balance by 1",
        )?;
        self.mesh.ask(Age::New, 1, ["pub", "last/x", "0", "--level", "synced"])?;
        noticed("an event that is stored twice", self.all_is_there(), "lost, repeated or out of order")?;
        self.read.remove("last");
        self.mesh.stop(0)?;
        let data = self.mesh.data(0);
        fs::remove_dir_all(&data)?;
        fs::rename(&self.early, &data)?;
        self.mesh.begin(0, Age::Old)?;
        self.mesh.be_short(Duration::from_secs(10));
        noticed("events that are lost", self.all_is_there(), "first, read by the old program, has ")
    }
}
