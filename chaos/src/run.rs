//! One run: start, settle, faults, heal, judge.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weft_base::HubId;
use weft_client::MeshReport;

use crate::failover::Failovers;
use crate::faults::{Fault, Strike, draw, kind};
use crate::judge::{Calm, Journal, Kill, Said, judge, lies, unseen};
use crate::load::Load;
use crate::mesh::{Mesh, name};
use crate::shape::{Plan, Shape};
use crate::timeline::Timeline;

/// How long the mesh may take to settle, and everything to have an answer: only a failure takes so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// How long publishing goes on once all is healed and everything arrives everywhere.
const CALM: Duration = Duration::from_secs(2);
/// How long a hub is given to say where it stands before it is killed.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(1);

/// What is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct What {
    pub(crate) shape: Shape,
    /// For how long there are faults.
    pub(crate) time: Duration,
    pub(crate) seed: u64,
    /// So many cuts with another way before them, for the time that failover takes.
    pub(crate) cuts: usize,
    /// Links by QUIC.
    pub(crate) quic: bool,
}

impl What {
    /// The command that runs the same again.
    fn again(&self) -> String {
        let (shape, seed) = (self.shape.name(), self.seed);
        let quic = if self.quic { " --quic" } else { "" };
        let what = match self.time.is_zero() {
            true => format!("--failover {}", self.cuts),
            false => format!("--minutes {}", self.time.as_secs_f64() / 60.0),
        };
        format!("cargo xtask chaos --shape {shape} {what} --seed {seed}{quic}")
    }
}

/// Runs a shape under faults and judges it; answers whether all was good.
pub(crate) fn run(what: What, program: &Path, file: &Path) -> Result<bool> {
    let mut timeline = Timeline::new();
    let result = go(what, program, &mut timeline);
    match &result {
        Ok(true) => timeline.line("GOOD"),
        Ok(false) => timeline.line("BAD"),
        Err(error) => timeline.line(format!("BAD: {error:#}")),
    }
    timeline.write(file)?;
    Ok(result.unwrap_or(false))
}

fn go(what: What, program: &Path, timeline: &mut Timeline) -> Result<bool> {
    ensure!(program.exists(), "there is no {}: build it, or use `cargo xtask chaos`", program.display());
    let plan = what.shape.plan();
    let (hubs, lines, name_of) = (plan.regions.len(), plan.lines.len(), what.shape.name());
    timeline.line(format!(
        "{name_of}: {hubs} hubs, {lines} lines by {}, faults for {:.0} s, seed {}; again: {}",
        if what.quic { "QUIC" } else { "TCP" },
        what.time.as_secs_f64(),
        what.seed,
        what.again()
    ));
    let (mut mesh, left_out) = Mesh::start(&plan, program, what.quic, what.seed)?;
    if let Some(part) = &left_out {
        timeline.line(format!("left out: {part}"));
    }
    timeline.note(format!("{hubs} hubs serve"));
    let load = Load::start(&mesh, timeline.start())?;
    let together = |from: usize, to: usize| plan.late.is_empty() || plan.regions[from] == plan.regions[to];
    let good = load.all_get_what_came_after(timeline.now(), PATIENCE, together);
    ensure!(good, "events do not come from each hub to each within {} s of the start", PATIENCE.as_secs());
    timeline.note("events come from each hub to each");
    let settled = timeline.now();
    let mut wrong = Vec::new();
    let failovers = Failovers::measure(what.cuts, &plan, &mesh, &load, timeline)?;
    wrong.extend(failovers.wrong());
    let struck = strike(&plan, &mut mesh, &load, (what.time, what.seed), timeline)?;
    wrong.extend(struck.wrong.iter().cloned());
    wrong.extend(mesh.ended());
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    let healed = timeline.now();
    timeline.note("all is healed");
    if !load.all_get_what_came_after(healed, PATIENCE, |_, _| true) {
        for hub in 0..hubs {
            let reaches = load.report(hub, LAST_WORDS).map_or(0, |report| said(&report).reaches);
            timeline.line(format!("{} reaches {reaches} hubs of {hubs}", name(hub)));
        }
        wrong.push(format!("events do not come from each hub to each within {} s of healing", PATIENCE.as_secs()));
        ensure!(false, "{}", wrong.join("\n"));
    }
    let took = (timeline.now() - healed).as_secs_f64();
    timeline.note(format!("events come from each hub to each again, {took:.3} s after the last was healed"));
    links(&plan, &load)?;
    timeline.note("every hub sees every link");
    // What was published before has come now, or is counted.
    let since = timeline.now();
    ensure!(load.all_get_what_came_after(since, PATIENCE, |_, _| true), "events do not come any more");
    let counted = (0..hubs).map(|hub| load.report(hub, PATIENCE).map(|report| self::said(&report).counted()));
    let counted = counted.collect::<Option<_>>().context("a hub does not say what it has counted")?;
    let calm = Calm { counted, from: load.published() };
    let end = Instant::now() + CALM;
    while Instant::now() < end {
        std::thread::park_timeout(end.saturating_duration_since(Instant::now()));
    }
    let journals = load.finish(PATIENCE)?;
    timeline.note("every publish has its answer");
    journals.wait_for_the_last(Duration::from_secs(20));
    let stored = [journals.read(0).context("reading stream one")?, journals.read(1).context("reading stream two")?];
    let said = quiet(hubs, |hub| Ok(said(&journals.report(hub)?)))?;
    let (live, durable) = (journals.live.clone(), journals.durable.clone());
    let received = journals.end();
    let Struck { counts, kills, .. } = struck;
    // Meshes that are apart at the start are regions.
    let side = |hub: usize| {
        if plan.late.is_empty() { 0 } else { plan.regions.iter().position(|r| *r == plan.regions[hub]).unwrap_or(0) }
    };
    let sides = (0..hubs).map(side).collect();
    let journal = Journal { live, durable, stored, received, settled, calm, sides, kills, said };
    let verdict = judge(&journal);
    timeline.line(format!("\nfaults: {}", show(&counts)));
    let packets = mesh.lines.iter().flat_map(weft_chaos::Line::counts);
    let sum =
        packets.fold([0; 4], |sum: [u64; 4], c| [sum[0] + c.passed, sum[1] + c.lost, sum[2] + c.full, sum[3] + c.cut]);
    timeline.line(format!("packets: {} passed, {} lost, {} beyond a cap, {} cut", sum[0], sum[1], sum[2], sum[3]));
    timeline.line(&verdict);
    timeline.line(failovers.describe());
    if what.time.is_zero() && !failovers.meet_the_goal() {
        wrong.push("failover is what this run is for".to_owned());
    }
    wrong.extend(verdict.wrong);
    if wrong.is_empty() {
        let unseen = unseen(&journal);
        timeline.line(format!("{} of {} lies in the journals were seen", lies().len() - unseen.len(), lies().len()));
        wrong.extend(unseen.into_iter().map(|lie| format!("the judge does not see that {lie}")));
    }
    for complaint in &wrong {
        timeline.line(format!("WRONG: {complaint}"));
    }
    if !wrong.is_empty() {
        for (number, hub) in mesh.hubs.iter().enumerate() {
            timeline.line(format!("the end of {}'s log:\n{}", name(number), hub.said(12)));
        }
    }
    Ok(wrong.is_empty())
}

fn show(counts: &BTreeMap<&'static str, u64>) -> String {
    let each: Vec<String> = counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    each.join(", ")
}

fn said(report: &MeshReport) -> Said {
    Said {
        reaches: report.hubs.iter().filter(|hub| hub.reachable || hub.id == report.me).count(),
        counters: report.counters.iter().cloned().collect(),
    }
}

/// Waits until every hub sees the link of every line, in both directions.
fn links(plan: &Plan, load: &Load) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        let missing = (0..plan.regions.len()).find(|hub| {
            let Some(report) = load.report(*hub, LAST_WORDS) else { return true };
            let up = report.links.iter().filter(|link| link.up).map(|link| (link.from, link.to));
            BTreeSet::from_iter(up).len() < plan.lines.len() * 2
        });
        let Some(hub) = missing else { return Ok(()) };
        ensure!(Instant::now() < end, "{} does not see every link {} s after healing", name(hub), PATIENCE.as_secs());
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// Asks all hubs until each reaches each and their ledgers balance, or no longer.
fn quiet(hubs: usize, ask: impl Fn(usize) -> Result<Said>) -> Result<Vec<Said>> {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let said: Vec<Said> = (0..hubs).map(&ask).collect::<Result<_>>()?;
        let good = |said: &Said| said.reaches == hubs && said.balances();
        if said.iter().all(good) || Instant::now() > end {
            return Ok(said);
        }
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

/// What faults left behind.
struct Struck {
    counts: BTreeMap<&'static str, u64>,
    kills: Vec<Kill>,
    wrong: Vec<String>,
}

/// What happens at a time: late lines come, a fault begins or is over.
#[derive(Clone, Copy)]
enum Step {
    Begin(Fault, Duration),
    End(Fault),
    Merge,
}

/// Neighbours that keep a link to a hub whose certificate has run out.
fn still_linked(hub: usize, mesh: &Mesh, load: &Load) -> Vec<String> {
    let id = HubId::of_name(&name(hub));
    let linked = |other: &usize| {
        let report = load.report(*other, LAST_WORDS);
        report.is_some_and(|report| report.links.iter().any(|l| l.from == report.me && l.to == id && l.up))
    };
    let neighbours = mesh.witnesses(hub).into_iter().filter(linked);
    neighbours
        .map(|other| format!("{} keeps its link to {}, whose certificate has run out", name(other), name(hub)))
        .collect()
}

fn strike(
    plan: &Plan,
    mesh: &mut Mesh,
    load: &Load,
    (time, seed): (Duration, u64),
    timeline: &mut Timeline,
) -> Result<Struck> {
    let mut steps: Vec<(Duration, Step)> = Vec::new();
    for timed in draw(plan, time, seed) {
        steps.push((timed.begins, Step::Begin(timed.fault, timed.lasts)));
        steps.push((timed.begins + timed.lasts, Step::End(timed.fault)));
    }
    if !plan.late.is_empty() {
        steps.push((time / 3, Step::Merge));
    }
    // Stable: of one time, in the order in which they were drawn.
    steps.sort_by_key(|(at, _)| *at);
    let mut struck = Struck { counts: BTreeMap::new(), kills: Vec::new(), wrong: Vec::new() };
    let begin = Instant::now();
    let mut merged = plan.late.is_empty();
    for (at, step) in steps {
        while let Some(pause) = at.checked_sub(begin.elapsed()).filter(|pause| !pause.is_zero()) {
            std::thread::park_timeout(pause);
        }
        match step {
            Step::Begin(Fault::Line(line, _), _) | Step::End(Fault::Line(line, _))
                if !merged && plan.late.contains(&line) => {}
            Step::Begin(fault, lasts) => {
                if let Fault::Hub(hub, Strike::Kill | Strike::Expire) = fault {
                    let asked = timeline.now();
                    let said = load.report(hub, LAST_WORDS).map(|report| said(&report));
                    mesh.begin(fault)?;
                    // Until here it may still have answered.
                    struck.kills.push(Kill { hub, asked, at: timeline.now(), said });
                } else {
                    mesh.begin(fault)?;
                }
                *struck.counts.entry(kind(fault)).or_default() += 1;
                timeline.note(format!("{} (for {:.1} s)", mesh.describe(fault), lasts.as_secs_f64()));
            }
            Step::End(fault) => {
                if let Fault::Hub(hub, Strike::Expire) = fault {
                    struck.wrong.extend(still_linked(hub, mesh, load));
                }
                mesh.end(fault)?;
                timeline.note(format!("{}: over", mesh.describe(fault)));
            }
            Step::Merge => {
                plan.late.iter().for_each(|line| mesh.heal(*line));
                merged = true;
                timeline.note("the two meshes are joined");
            }
        }
    }
    Ok(struck)
}
