//! One run: start, settle, faults, heal, judge.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weft_client::MeshReport;

use crate::faults::{Fault, Strike, draw, kind};
use crate::judge::{Journal, Said, judge, lies, unseen};
use crate::load::Load;
use crate::mesh::{Mesh, name};
use crate::shape::{Plan, Shape};
use crate::timeline::Timeline;

/// How long the mesh may take to settle, and everything to have an answer: only a failure takes so long.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long publishing goes on once all is healed and everything arrives everywhere.
const CALM: Duration = Duration::from_secs(2);
/// Between pings on a link, which failover is measured in.
const PROBE: Duration = Duration::from_secs(1);
/// Failover within so many probe intervals is the goal.
const GOAL: f64 = 3.0;
/// The longest that failover may take, on a machine that has much else to do.
const FAILOVER: Duration = Duration::from_secs(30);
/// How long a hub is given to say where it stands before it is killed.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Runs a shape under faults for `time` and judges it; answers whether all was good.
pub(crate) fn run(shape: Shape, time: Duration, seed: u64, program: &Path, file: &Path) -> Result<bool> {
    let mut timeline = Timeline::new();
    let result = go(shape, time, seed, program, &mut timeline);
    match &result {
        Ok(true) => timeline.line("GOOD"),
        Ok(false) => timeline.line("BAD"),
        Err(error) => timeline.line(format!("BAD: {error:#}")),
    }
    timeline.write(file)?;
    Ok(result.unwrap_or(false))
}

fn go(shape: Shape, time: Duration, seed: u64, program: &Path, timeline: &mut Timeline) -> Result<bool> {
    ensure!(program.exists(), "there is no {}: build it, or use `cargo xtask chaos`", program.display());
    let plan = shape.plan();
    let (hubs, lines, name_of) = (plan.regions.len(), plan.lines.len(), shape.name());
    timeline.line(format!(
        "{name_of}: {hubs} hubs, {lines} lines, faults for {:.0} s, seed {seed}; again: \
         cargo xtask chaos --shape {name_of} --minutes {} --seed {seed}",
        time.as_secs_f64(),
        time.as_secs_f64() / 60.0
    ));
    let (mut mesh, left_out) = Mesh::start(&plan, program, seed)?;
    if let Some(what) = &left_out {
        timeline.line(format!("left out: {what}"));
    }
    timeline.note(format!("{hubs} hubs serve"));
    let load = Load::start(&mesh, timeline.start())?;
    let together = |from: usize, to: usize| plan.late.is_empty() || plan.regions[from] == plan.regions[to];
    let settled = load.all_get_what_came_after(timeline.now(), PATIENCE, together);
    ensure!(settled, "events do not come from each hub to each within {} s of the start", PATIENCE.as_secs());
    timeline.note("events come from each hub to each");
    let mut wrong = Vec::new();
    let failover = failover(&plan, &mesh, &load, timeline)?;
    if failover.is_some_and(|took| took > FAILOVER) {
        wrong.push(format!("failover took longer than {} s", FAILOVER.as_secs()));
    }
    let struck = strike(&plan, &mut mesh, &load, (time, seed), timeline)?;
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
    // While a link comes back, events on the old way may be overtaken, and then count as late.
    links(&plan, &load)?;
    timeline.note("every hub sees every link");
    let calm = load.published();
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
    let Struck { counts, kills, before } = struck;
    // Meshes that are apart at the start are regions.
    let side = |hub: usize| {
        if plan.late.is_empty() { 0 } else { plan.regions.iter().position(|r| *r == plan.regions[hub]).unwrap_or(0) }
    };
    let sides = (0..hubs).map(side).collect();
    let journal = Journal { live, durable, stored, received, calm, sides, kills, before, said };
    let verdict = judge(&journal);
    timeline.line(format!("\nfaults: {}", show(&counts)));
    let packets = mesh.lines.iter().flat_map(weft_chaos::Line::counts);
    let sum =
        packets.fold([0; 4], |sum: [u64; 4], c| [sum[0] + c.passed, sum[1] + c.lost, sum[2] + c.full, sum[3] + c.cut]);
    timeline.line(format!("packets: {} passed, {} lost, {} beyond a cap, {} cut", sum[0], sum[1], sum[2], sum[3]));
    timeline.line(&verdict);
    timeline.line(match failover {
        None => "failover: this shape has no second way".to_owned(),
        Some(took) => {
            let intervals = took.as_secs_f64() / PROBE.as_secs_f64();
            let met = if intervals <= GOAL { "met" } else { "missed" };
            format!("failover: {intervals:.2} probe intervals; the goal of {GOAL:.0} is {met}")
        }
    });
    wrong.extend(verdict.wrong);
    if wrong.is_empty() {
        let unseen = unseen(&journal);
        timeline.line(format!("{} of {} lies in the journals were seen", lies().len() - unseen.len(), lies().len()));
        wrong.extend(unseen.into_iter().map(|lie| format!("the judge does not see that {lie}")));
    }
    for what in &wrong {
        timeline.line(format!("WRONG: {what}"));
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
        let good = |said: &Said| said.reaches == hubs && said.ledger().0 == said.ledger().1;
        if said.iter().all(good) || Instant::now() > end {
            return Ok(said);
        }
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

/// Cuts the line that is not needed; answers how long its ends heard nothing of each other.
fn failover(plan: &Plan, mesh: &Mesh, load: &Load, timeline: &mut Timeline) -> Result<Option<Duration>> {
    let Some(line) = plan.spare else { return Ok(None) };
    let (a, b) = plan.lines[line];
    mesh.lines[line].both(|conditions| conditions.cut = true);
    let cut = timeline.now();
    timeline.note(format!("{} is cut; there is another way", mesh.line_name(line)));
    let took = loop {
        if let (Some(there), Some(back)) = (load.first_after(a, b, cut), load.first_after(b, a, cut)) {
            break there.max(back) - cut;
        }
        ensure!(timeline.now() - cut < PATIENCE, "traffic does not flow again after a cut");
        std::thread::park_timeout(Duration::from_millis(1));
    };
    timeline.note(format!("traffic flows again, {:.3} s after the cut", took.as_secs_f64()));
    mesh.heal(line);
    Ok(Some(took))
}

/// What faults left behind.
struct Struck {
    counts: BTreeMap<&'static str, u64>,
    kills: Vec<(usize, Duration)>,
    before: Vec<Said>,
}

/// What happens at a time: late lines come, a fault begins or is over.
#[derive(Clone, Copy)]
enum Step {
    Begin(Fault, Duration),
    End(Fault),
    Merge,
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
    let mut struck = Struck { counts: BTreeMap::new(), kills: Vec::new(), before: Vec::new() };
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
                if let Fault::Hub(hub, Strike::Kill) = fault {
                    struck.before.extend(load.report(hub, LAST_WORDS).map(|report| said(&report)));
                }
                mesh.begin(fault)?;
                // Until here it may still have answered.
                if let Fault::Hub(hub, Strike::Kill) = fault {
                    struck.kills.push((hub, timeline.now()));
                }
                *struck.counts.entry(kind(fault)).or_default() += 1;
                timeline.note(format!("{} (for {:.1} s)", mesh.describe(fault), lasts.as_secs_f64()));
            }
            Step::End(fault) => {
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
