//! `weft mesh apply`: makes the changes of a plan in steps, on trial, and looks
//! after each whether the mesh is as it was foretold and its ledgers are sound.
//! What is not, puts all back in reverse order. Should this program end in
//! between, or lose a hub, hubs put back by themselves what nobody confirms.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use weft_base::{HubId, Random};
use weft_client::{Client, HubChange, RequestError, Trial};
use weft_hub::changes::LONGEST_TRIAL;
use weft_mesh::MOST_COST;
use weft_mesh::plan::{Act, Change, PlanMesh, Step};

use super::file::Plan;
use super::health::Health;
use super::live::Live;
use super::show::step_in_words;
use crate::Usage;
use crate::cli::{ApplyArgs, ServerArgs};
use crate::connect::{connect, connect_for};

/// How long a hub that goes away is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// What a step takes besides settling and being watched.
const MARGIN: Duration = Duration::from_secs(3);
/// How often the mesh is looked at while it settles.
const LOOK: Duration = Duration::from_millis(100);

/// Makes the changes of a plan.
pub(crate) async fn apply(args: &ApplyArgs) -> anyhow::Result<()> {
    let least = args.settle + args.watch + MARGIN;
    if args.trial < least || args.trial > LONGEST_TRIAL {
        let (least, most) = (least.as_secs(), LONGEST_TRIAL.as_secs());
        let message = format!("--trial must be {least} s at least, for --settle and --watch, and {most} s at most");
        return Err(Usage(message).into());
    }
    let client = connect(&args.server, "weft mesh apply").await?;
    let live = Live::of(&client).await?;
    let plan = super::read(&args.file, &live)?;
    if !plan.rules.is_empty() || plan.changes.iter().any(|change| matches!(change, Change::Drain { .. })) {
        let message = "the plan has `[[drain]]`, `[[mapping]]` or `[[residency]]`, which `weft mesh plan` reckons and apply \
                       does not make: drain with `weft hub drain`, write rules into the hubs' configurations, and take \
                       these tables out";
        return Err(Usage(message.to_owned()).into());
    }
    let mut hubs = BTreeMap::new();
    for (hub, address) in addresses(&plan, &live, &args.server)? {
        let name = live.name(hub);
        let server = ServerArgs { servers: vec![address], hub: Some(name.clone()), ..args.server.clone() };
        let client = connect_for(&server, "weft mesh apply", Some(PATIENCE)).await;
        hubs.insert(hub, client.with_context(|| format!("hub `{name}`"))?);
    }
    let id = Random::from_entropy().map_err(|error| anyhow::anyhow!("no randomness: {error}"))?.next_u64() | 1;
    let trial = Trial { id, time: args.trial };
    let mut applying = Applying {
        args,
        before: Health::of(&client, &hubs).await?,
        steps: live.mesh.steps(&plan.changes),
        foretold: live.mesh.clone(),
        plan: &plan,
        live: &live,
        client,
        hubs,
        trial,
        done: Vec::new(),
        changed: BTreeSet::new(),
    };
    applying.before.check()?;
    match applying.all().await {
        Ok(()) => applying.report().await,
        Err(reason) => {
            applying.put_back().await;
            bail!("nothing was changed: {reason:#}")
        }
    }
}

/// Where the hubs are reached that must do something.
fn addresses(plan: &Plan, live: &Live, server: &ServerArgs) -> Result<BTreeMap<HubId, String>, Usage> {
    let concerned: BTreeSet<HubId> = plan.changes.iter().flat_map(PlanMesh::concerned).collect();
    let own = (live.me, server.servers.first().cloned().unwrap_or_default());
    let known: BTreeMap<HubId, String> = std::iter::once(own).chain(plan.addresses.clone()).collect();
    let missing: Vec<String> =
        concerned.iter().filter(|hub| !known.contains_key(hub)).map(|hub| live.name(*hub)).collect();
    if !missing.is_empty() {
        return Err(Usage(format!(
            "the plan changes hubs of which it does not say where they are reached: add `[[hub]]` with `name` and \
             `addr` for {}",
            missing.join(", ")
        )));
    }
    Ok(known.into_iter().filter(|(hub, _)| concerned.contains(hub)).collect())
}

struct Applying<'a> {
    args: &'a ApplyArgs,
    plan: &'a Plan,
    /// The mesh as it was.
    live: &'a Live,
    /// As it is to be by now.
    foretold: PlanMesh,
    before: Health,
    steps: Vec<Step>,
    client: Client,
    hubs: BTreeMap<HubId, Client>,
    trial: Trial,
    /// What was done, the hub and the number of the step.
    done: Vec<(HubId, u32)>,
    changed: BTreeSet<HubId>,
}

impl Applying<'_> {
    async fn all(&mut self) -> anyhow::Result<()> {
        for (n, step) in (1u32..).zip(self.steps.clone()) {
            println!("{n:>3}  {}", step_in_words(self.live, self.plan, step));
            self.step(n, step).await?;
        }
        for hub in self.changed.clone() {
            let name = self.live.name(hub);
            let client = self.hub(hub)?;
            client.confirm(self.trial).await.with_context(|| format!("hub `{name}` does not confirm"))?;
        }
        Ok(())
    }

    async fn step(&mut self, n: u32, step: Step) -> anyhow::Result<()> {
        let change = self.plan.changes.get(step.change).context("a step without a change")?;
        for hub in PlanMesh::concerned(change) {
            let asked = self.change_of(change, step, hub)?;
            let answer = self.hub(hub)?.change(self.trial, n, &asked).await;
            // What was not answered may be done: putting back what was not done does nothing.
            if !matches!(answer, Err(RequestError::Refused(_))) {
                self.done.push((hub, n));
                self.changed.insert(hub);
            }
            answer.with_context(|| format!("hub `{}` does not do it", self.live.name(hub)))?;
        }
        self.foretold.make(&self.plan.changes, step);
        self.settled().await?;
        std::thread::sleep(self.args.watch);
        self.stay().await?;
        let now = Health::of(&self.client, &self.hubs).await?;
        self.before.compare(&now, &self.plan.cuts_off)
    }

    fn hub(&self, hub: HubId) -> anyhow::Result<&Client> {
        self.hubs.get(&hub).with_context(|| format!("no connection to hub `{}`", self.live.name(hub)))
    }

    /// What a step means for one of the hubs that it concerns.
    fn change_of(&self, change: &Change, step: Step, hub: HubId) -> anyhow::Result<HubChange> {
        let other = |[a, b]: [HubId; 2]| self.live.name(if hub == a { b } else { a });
        Ok(match (change, step.act) {
            (Change::Add { between, link }, _) => {
                let dials = between.first() == Some(&hub);
                let addr = self.plan.dialled.get(&step.change).filter(|_| dials).cloned();
                HubChange::Link { peer: other(*between), addr, cost: link.cost, price: link.price }
            }
            (Change::Remove { between }, Act::Avoid) => {
                HubChange::Weigh { peer: other(*between), cost: Some(MOST_COST), price: None }
            }
            (Change::Remove { between }, Act::Make) => HubChange::Unlink { peer: other(*between) },
            (Change::Weigh { between, cost, price }, _) => {
                HubChange::Weigh { peer: other(*between), cost: *cost, price: *price }
            }
            (Change::Label { labels, .. }, _) => HubChange::Labels(labels.clone()),
            (Change::Drain { .. }, _) => bail!("a hub is drained with `weft hub drain`"),
        })
    }

    /// Hubs that were changed hear that somebody still watches.
    async fn stay(&self) -> anyhow::Result<()> {
        for hub in &self.changed {
            let kept = self.hub(*hub)?.stay(self.trial).await;
            kept.with_context(|| format!("hub `{}` has lost what was changed", self.live.name(*hub)))?;
        }
        Ok(())
    }

    /// Waits until the mesh is as it was foretold.
    async fn settled(&self) -> anyhow::Result<()> {
        let until = Instant::now() + self.args.settle;
        loop {
            let now = Live::of(&self.client).await?;
            let differs = differences(&self.foretold, self.live, &now);
            if differs.is_empty() {
                return Ok(());
            }
            if Instant::now() >= until {
                let waited = self.args.settle.as_secs();
                bail!("after {waited} s the mesh is not as it was foretold: {}", differs.join("; "));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Puts back what was done, the last first.
    async fn put_back(&self) {
        for (hub, n) in self.done.iter().rev() {
            let undone = match self.hub(*hub) {
                Ok(client) => client.undo(self.trial, *n).await.map(drop).map_err(anyhow::Error::from),
                Err(error) => Err(error),
            };
            if let Err(error) = undone {
                let (name, seconds) = (self.live.name(*hub), self.trial.time.as_secs());
                eprintln!(
                    "step {n} was not put back at hub `{name}` ({error}): it does so by itself within {seconds} s, \
                     or when it starts again"
                );
            }
        }
        if self.done.is_empty() {
            return;
        }
        let until = Instant::now() + self.args.settle;
        while Instant::now() < until {
            let Ok(now) = Live::of(&self.client).await else { break };
            if differences(&self.live.mesh, self.live, &now).is_empty() {
                eprintln!("all steps are put back, and the mesh is as it was");
                return;
            }
            std::thread::sleep(LOOK);
        }
        eprintln!("the mesh is not as it was before: see `weft mesh show`");
    }

    /// Whether ways are as they were foretold, now that all is kept.
    async fn report(&self) -> anyhow::Result<()> {
        let (foretold, now) = (self.foretold.ways(), Live::of(&self.client).await?.mesh.ways());
        let (mut same, mut all) = (0, 0);
        for (from, ways) in &foretold {
            for (to, way) in ways {
                all += 1;
                let real = now.get(from).and_then(|ways| ways.get(to));
                same += usize::from(real.is_some_and(|real| real.hubs == way.hubs));
            }
        }
        println!("applied and kept: {same} of {all} ways are as foretold");
        let files: Vec<String> = self.changed.iter().map(|hub| self.live.name(*hub)).collect();
        println!("write it into hub.toml of {}: until then DATA/changes.json overlays it", files.join(", "));
        Ok(())
    }
}

/// In what a mesh differs from how it is to be, in words.
fn differences(foretold: &PlanMesh, named: &Live, now: &Live) -> Vec<String> {
    let mut found = Vec::new();
    let (wanted, there): (BTreeSet<_>, BTreeSet<_>) = (foretold.links().collect(), now.mesh.links().collect());
    let ends = |[a, b]: [HubId; 2]| format!("{} and {}", named.name(a), named.name(b));
    found.extend(wanted.difference(&there).map(|link| format!("no link between {}", ends(*link))));
    found.extend(there.difference(&wanted).map(|link| format!("a link between {}", ends(*link))));
    for link in wanted.intersection(&there) {
        let said = |mesh: &PlanMesh| mesh.link(*link).map(|both| both.map(|said| (said.cost, said.price)));
        if said(foretold) != said(&now.mesh) {
            found.push(format!("the link between {} costs something else", ends(*link)));
        }
    }
    for (hub, known) in foretold.hubs() {
        if now.mesh.hubs().get(hub).is_none_or(|now| now.labels != known.labels) {
            found.push(format!("other labels of {}", named.name(*hub)));
        }
    }
    found
}
