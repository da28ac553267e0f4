//! `weft apply`, `weft export` and `weft control`: what governs the mesh, as
//! documents, and who replicates it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::json;
use weft_base::Random;
use weft_client::{Client, RequestError};
use weft_govern::api::{
    Answer, Applied, Apply, Export, Exported, MAX_BODY, Member, Refusal, Request, Show, Shown, Voters,
};
use weft_govern::plan::{Counts, Plan, Prune, Step, Wanted};
use weft_govern::{ChangeId, Key, State};
use weft_wire::frame::ErrorCode;

use crate::cli::{ApplyStateArgs, ControlCommand, ExportArgs};
use crate::connect::connect;
use crate::control::files::{self, Documents};
use crate::{Coded, Usage};

/// How long a change is sent again, under the same number, that was not answered.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often an export begins anew because the state was changed between its pages.
const TRIES: usize = 20;
/// The exit code of a change that somebody else was faster with.
const CONFLICT: u8 = 3;

/// `weft apply`.
pub(crate) async fn apply(args: &ApplyStateArgs) -> anyhow::Result<()> {
    let documents = files::read(&args.path).map_err(|error| Usage(error.to_string()))?;
    if documents.puts.is_empty() && !documents.tests.is_empty() {
        return Err(Usage(format!("{} has tests and no documents: nothing to apply", args.path.display())).into());
    }
    let puts = documents.puts.clone().into_iter().collect();
    let prune = args.prune.as_ref().map(|kinds| Prune { kinds: kinds.clone(), tenant: args.tenant.clone() });
    let client = connect(&args.server, "weft apply").await?;
    let wanted = Wanted { puts, deletes: Vec::new(), prune, expects: Vec::new() };
    let parts = parts(&client, wanted).await?;
    // A look first, where something could go that nobody said may go.
    let mut sum = Summary::default();
    if args.dry_run || (args.prune.is_some() && !args.yes) {
        for part in &parts {
            sum.add(make(&client, &Apply { dry_run: true, ..part.clone() }, &documents).await?);
        }
        if !args.dry_run && sum.counts.deleted > 0 {
            eprint!("{}", sum.shown);
            let many = sum.counts.deleted;
            let message =
                format!("{many} resources would be deleted: look at them, and say --yes; nothing was changed");
            return Err(Usage(message).into());
        }
    }
    if !args.dry_run {
        sum = Summary::default();
        for part in &parts {
            sum.add(make(&client, part, &documents).await?);
        }
    }
    let mut out = io::stdout().lock();
    let Counts { created, changed, deleted, unchanged } = sum.counts;
    if args.json {
        let object = json!({
            "version": sum.version, "created": created, "changed": changed, "deleted": deleted, "unchanged": unchanged,
            "repeated": sum.repeated, "dryRun": args.dry_run, "shown": sum.shown,
        });
        writeln!(out, "{object}")?;
    } else {
        out.write_all(sum.shown.as_bytes())?;
        let what = if args.dry_run { "would be changed so; the control state is" } else { "the control state is" };
        writeln!(out, "{what} at version {}", sum.version)?;
    }
    out.flush()?;
    client.close().await;
    Ok(())
}

/// What became of the parts of a change.
#[derive(Default)]
struct Summary {
    version: u64,
    counts: Counts,
    shown: String,
    repeated: bool,
}

impl Summary {
    fn add(&mut self, applied: Applied) {
        self.version = self.version.max(applied.version);
        self.counts.created += applied.counts.created;
        self.counts.changed += applied.counts.changed;
        self.counts.deleted += applied.counts.deleted;
        self.counts.unchanged += applied.counts.unchanged;
        self.repeated |= applied.repeated;
        self.shown.push_str(&applied.shown);
    }
}

/// The change as one request, or, where it is longer than a request, as several:
/// then what is there is looked at here, and each part is a change of its own.
async fn parts(client: &Client, wanted: Wanted) -> anyhow::Result<Vec<Apply>> {
    let mut random = Random::from_entropy().context("no randomness")?;
    let mut request = |wanted: Wanted| {
        let Wanted { puts, deletes, prune, expects } = wanted;
        Apply { id: ChangeId::draw(&mut random), puts, deletes, prune, expects, dry_run: false }
    };
    let whole = request(wanted.clone());
    if Request::Apply(whole.clone()).encode().is_ok() {
        return Ok(vec![whole]);
    }
    let exported = all(client, &Export { fresh: true, ..Export::default() }).await?;
    let items = exported.items.into_iter().map(|(key, _, document)| (key, document));
    let plan = Plan::of(&State::default().with(items, &[]), &wanted);
    let plan = plan.map_err(|faults| refused(Refusal::of_faults(faults)))?;
    let parts = plan.parts(MAX_BODY - (64 << 10)).into_iter().map(|part| {
        let (mut puts, mut deletes) = (Vec::new(), Vec::new());
        for (key, step) in part.steps {
            match step {
                Step::Create { document } | Step::Change { to: document, .. } => puts.push((key, document)),
                Step::Delete { .. } => deletes.push(key),
            }
        }
        request(Wanted { puts, deletes, prune: None, expects: Vec::new() })
    });
    let parts: Vec<Apply> = parts.collect();
    eprintln!("the change is too long for one: it is made in {} parts, one after the other", parts.len());
    Ok(parts)
}

/// Has a change made; where it is not answered, once more under its number.
async fn make(client: &Client, wanted: &Apply, documents: &Documents) -> anyhow::Result<Applied> {
    let asked = Request::Apply(wanted.clone());
    let until = Instant::now() + PATIENCE;
    loop {
        let error = match client.govern(&asked).await {
            Ok(Answer::Applied(applied)) => return Ok(applied),
            Ok(Answer::Refused(Refusal::Faults { faults, more })) => {
                return Err(faulty(&documents.told(&faults), more));
            }
            Ok(Answer::Refused(refusal)) => return Err(refused(refusal)),
            Ok(_) => return Err(is_other()),
            Err(error) => error,
        };
        let pause = match &error {
            RequestError::ConnectionLost => Duration::from_millis(100),
            RequestError::Refused(refusal)
                if [ErrorCode::NO_LEADER, ErrorCode::TIMED_OUT, ErrorCode::OVERLOADED].contains(&refusal.code) =>
            {
                refusal.retry_after.unwrap_or(Duration::from_secs(1))
            }
            RequestError::Refused(refusal) if refusal.code == ErrorCode::CONTROL_CONFLICT => {
                return Err(Coded { code: CONFLICT, text: error.to_string() }.into());
            }
            _ => return Err(error.into()),
        };
        if Instant::now() + pause > until {
            return Err(error.into());
        }
        eprintln!("{error}; sending it again");
        std::thread::sleep(pause);
    }
}

/// Documents that cannot be so, a line each.
fn faulty(lines: &str, more: usize) -> anyhow::Error {
    let more = if more > 0 { format!("\nand {more} more") } else { String::new() };
    let text = format!("{}{more}", lines.trim_end()).replace('\n', "\n  ");
    Usage(format!("the documents cannot be so, and nothing was changed:\n  {text}")).into()
}

/// An answer to another question than the one that was asked.
pub(super) fn is_other() -> anyhow::Error {
    anyhow::anyhow!("the hub answered with something else: it is of another version")
}

/// A refusal in words, and the exit code.
pub(super) fn refused(refusal: Refusal) -> anyhow::Error {
    match refusal {
        Refusal::Faults { faults, more } => {
            let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
            faulty(&lines.join("\n"), more)
        }
        Refusal::Conflict { key, expected, found, by } => {
            let saw = expected.map_or_else(|| "not there".to_owned(), |version| format!("of version {version}"));
            let who = by.map_or_else(|| "somebody".to_owned(), |by| by.author.to_string());
            let did = found.map_or_else(
                || "somebody has deleted it since".to_owned(),
                |version| format!("{who} has changed it since (version {version})"),
            );
            let text = format!("{key} was {saw} when the change was made, and {did}: nothing was changed, apply again");
            Coded { code: CONFLICT, text }.into()
        }
        Refusal::LockedOut { why } => anyhow::anyhow!("{why}; nothing was changed"),
        Refusal::Moved { version } => {
            let text = format!("the control state was changed meanwhile (version {version}): begin again");
            Coded { code: CONFLICT, text }.into()
        }
    }
}

/// All pages of an export, of one version.
async fn all(client: &Client, asked: &Export) -> anyhow::Result<Exported> {
    'anew: for _ in 0..TRIES {
        let mut asked = asked.clone();
        let mut whole: Option<Exported> = None;
        loop {
            let page = match client.govern(&Request::Export(asked.clone())).await? {
                Answer::Exported(page) => page,
                Answer::Refused(Refusal::Moved { .. }) => continue 'anew,
                Answer::Refused(refusal) => return Err(refused(refusal)),
                _ => return Err(is_other()),
            };
            let Exported { version, items, next } = page;
            (asked.after, asked.version) = (next.clone(), Some(version));
            match &mut whole {
                Some(whole) => whole.items.extend(items),
                none => *none = Some(Exported { version, items, next: None }),
            }
            if let (None, Some(whole)) = (next, whole.take_if(|_| asked.after.is_none())) {
                return Ok(whole);
            }
        }
    }
    bail!("the control state is changed all the time: try again")
}

/// `weft export`.
pub(crate) async fn export(args: &ExportArgs) -> anyhow::Result<()> {
    let client = connect(&args.server, "weft export").await?;
    let (kinds, tenant) = (args.kinds.clone(), args.tenant.clone());
    let asked = Export { kinds, tenant, fresh: !args.local, ..Export::default() };
    let exported = all(&client, &asked).await?;
    let mut out = io::stdout().lock();
    if args.json {
        let mut resources = Vec::new();
        for (key, version, document) in &exported.items {
            let document: serde_json::Value = serde_json::from_str(document).with_context(|| key.to_string())?;
            resources.push(json!({ "key": key.to_string(), "version": version, "document": document }));
        }
        writeln!(out, "{}", json!({ "version": exported.version, "resources": resources }))?;
    } else {
        let mut by_kind: BTreeMap<_, Vec<(&Key, &Arc<str>)>> = BTreeMap::new();
        for (key, _, document) in &exported.items {
            by_kind.entry(key.kind()).or_default().push((key, document));
        }
        if let Some(folder) = &args.out {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        for (kind, documents) in by_kind {
            let text = files::write(documents);
            match &args.out {
                Some(folder) => {
                    let path = folder.join(format!("{}.toml", kind.name()));
                    super::hub::write_whole(&path, &text)
                        .with_context(|| format!("cannot write {}", path.display()))?;
                }
                None => out.write_all(text.as_bytes())?,
            }
        }
        eprintln!("{} resources of version {}", exported.items.len(), exported.version);
    }
    out.flush()?;
    client.close().await;
    Ok(())
}

/// `weft control`.
pub(crate) async fn run(command: ControlCommand) -> anyhow::Result<()> {
    let (server, json, asked) = match command {
        ControlCommand::Show { fresh, json, server } => (server, json, Request::Show(Show { fresh })),
        ControlCommand::Voters { set, json, server } => (server, json, Request::Voters(Voters { voters: set })),
    };
    let client = connect(&server, "weft control").await?;
    let shown = match client.govern(&asked).await? {
        Answer::Shown(shown) => shown,
        Answer::Refused(refusal) => return Err(refused(refusal)),
        _ => return Err(is_other()),
    };
    let mut out = io::stdout().lock();
    match json {
        true => writeln!(out, "{}", object(&shown))?,
        false => human(&shown, &mut out)?,
    }
    out.flush()?;
    client.close().await;
    Ok(())
}

/// How old the state of a hub may be, in words.
fn age(shown: &Shown) -> String {
    match (shown.age_ms, &shown.stopped) {
        (Some(age), _) => format!("as the voters had it {:.1} s ago", age as f64 / 1e3),
        (None, Some(_)) => "not known: the hub stopped before it had heard of the voters".to_owned(),
        (None, None) => "not heard of the voters since the hub started".to_owned(),
    }
}

fn human(shown: &Shown, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "hub        {}", shown.hub)?;
    let by = shown.last.as_ref().map_or_else(String::new, |last| format!(", made by {}", last.author));
    writeln!(out, "version    {}{by}", shown.version)?;
    writeln!(out, "age        {}", age(shown))?;
    if let Some(why) = &shown.stopped {
        writeln!(out, "stopped    {why}: the hub goes by the state that it has until it is started again")?;
    }
    writeln!(out, "leader     {}, term {}", shown.leader.as_deref().unwrap_or("nobody"), shown.term)?;
    let resources: Vec<String> = shown.resources.iter().map(|(kind, many)| format!("{many} {kind}")).collect();
    writeln!(
        out,
        "resources  {} ({} bytes)",
        if resources.is_empty() { "none".to_owned() } else { resources.join(", ") },
        shown.bytes
    )?;
    let members = |members: &[Member]| {
        let member = |member: &Member| match member.lag {
            Some(lag) if lag > 0 => format!("{} ({lag} behind)", member.hub),
            _ => member.hub.clone(),
        };
        let names: Vec<String> = members.iter().map(member).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    writeln!(out, "voters     {}", members(&shown.voters))?;
    writeln!(out, "learners   {}", members(&shown.learners))?;
    if shown.more > 0 {
        writeln!(out, "           and {} more", shown.more)?;
    }
    Ok(())
}

fn object(shown: &Shown) -> serde_json::Value {
    let members = |members: &[Member]| -> Vec<serde_json::Value> {
        members.iter().map(|member| json!({ "hub": member.hub, "lag": member.lag })).collect()
    };
    json!({
        "hub": shown.hub, "version": shown.version, "ageMs": shown.age_ms, "stopped": shown.stopped, "leader": shown.leader, "term": shown.term,
        "author": shown.last.as_ref().map(|last| last.author.to_string()), "resources": shown.resources,
        "bytes": shown.bytes, "voters": members(&shown.voters), "learners": members(&shown.learners), "more": shown.more,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_states_age_is_true_of_a_hub_whose_disk_failed() {
        let said = |age_ms, stopped: Option<&str>| {
            let shown = Shown { age_ms, stopped: stopped.map(str::to_owned), ..Shown::default() };
            let mut out = Vec::new();
            human(&shown, &mut out).expect("memory");
            String::from_utf8(out).expect("text")
        };
        assert!(said(None, None).contains("age        not heard of the voters since the hub started\n"));
        let stopped = said(Some(2_500), Some("the disk fails"));
        assert!(
            stopped.contains("age        as the voters had it 2.5 s ago\nstopped    the disk fails: "),
            "{stopped}"
        );
        assert!(!said(None, Some("the disk fails")).contains("since the hub started"));
    }
}
