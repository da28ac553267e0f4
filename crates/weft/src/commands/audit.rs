//! `weft audit`: a hub's audit log, read and checked. The chain is checked here, by
//! what the hub's stream has: a hub that was taken over cannot say that it is whole.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::json;
use weft_base::UnixNanos;
use weft_client::{Client, Delivery, StartAt, SubscribeOptions, Subscription};
use weft_govern::api::{Answer, Request};
use weft_govern::audit::{Entry, Event, Hash, Line, MAX_LINE, Record, Verified, Verifier};
use weft_hub::audit::{stream_of, topic_of};

use super::control::{is_other, refused};
use crate::Usage;
use crate::cli::audit::{AuditCommand, AuditReadArgs, AuditVerifyArgs};
use crate::connect::{connect, connect_for, start_at, why};
use crate::control::Sha256;
use crate::events::report_gap;
use crate::time::rfc3339;

/// Runs the command.
///
/// # Errors
/// A hub does not answer, or the chain is broken.
pub(crate) async fn run(command: AuditCommand) -> anyhow::Result<()> {
    match command {
        AuditCommand::Read(args) => read(&args).await,
        AuditCommand::Verify(args) => match &args.file {
            Some(file) => verify_file(&args, file),
            None => verify(&args).await,
        },
    }
}

/// The hub whose log is meant.
async fn hub(of: Option<&String>, client: &Client) -> anyhow::Result<String> {
    if let Some(name) = of {
        return Ok(name.clone());
    }
    match client.govern(&Request::Whoami).await? {
        Answer::You(you) => Ok(you.hub),
        Answer::Refused(refusal) => Err(refused(refusal)),
        _ => Err(is_other()),
    }
}

async fn open(client: &Client, hub: &str, start: StartAt) -> anyhow::Result<Subscription> {
    let options = SubscribeOptions::stream(stream_of(hub), start);
    client.subscribe(&topic_of(hub), options).await.with_context(|| format!("the audit log of `{hub}`"))
}

/// Where a log ends.
async fn end(client: &Client, hub: &str) -> anyhow::Result<u64> {
    let stream = stream_of(hub);
    let report = client.streams().info(&stream).await;
    Ok(report.with_context(|| format!("the audit log of `{hub}`"))?.next)
}

fn line(payload: &[u8]) -> String {
    String::from_utf8_lossy(payload).into_owned()
}

async fn read(args: &AuditReadArgs) -> anyhow::Result<()> {
    let start = start_at(&args.from)?;
    let client = match args.follow {
        true => connect_for(&args.server, "weft audit", None).await?,
        false => connect(&args.server, "weft audit").await?,
    };
    let hub = hub(args.of.as_ref(), &client).await?;
    let upto = if args.follow { u64::MAX } else { end(&client, &hub).await? };
    let mut subscription = open(&client, &hub, start).await?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut at = subscription.start_sequence();
    while at < upto {
        let next = match subscription.try_next() {
            Some(next) => Some(next),
            None => {
                out.flush()?;
                subscription.next_below(upto).await
            }
        };
        let Some(delivery) = next else { break };
        let delivery: Delivery = delivery.map_err(|error| why(&client, error))?;
        report_gap(&delivery);
        for event in delivery.events() {
            let text = line(event.payload);
            match args.raw {
                true => writeln!(out, "{text}")?,
                false => show(&text, args.denied, &mut out)?,
            }
        }
        at = delivery.stream_sequence() + u64::from(delivery.event_count());
    }
    out.flush()?;
    client.close().await;
    Ok(())
}

/// One record for people.
fn show(text: &str, denied: bool, out: &mut impl Write) -> io::Result<()> {
    let record = match Record::read(text) {
        Ok(record) => record,
        Err(error) => return writeln!(out, "(no record: {error})"),
    };
    let Line::Entry(entry) = record.line else { return Ok(()) };
    let Entry { event, time, last, times, several } = *entry;
    if denied && event.allowed {
        return Ok(());
    }
    let Event { who, from, session, method, action, resource, allowed, rules, version, detail } = event;
    let verdict = if allowed { "allowed" } else { "denied " };
    write!(out, "{}  {verdict}  {who} ({method}) from {from}", rfc3339(UnixNanos(time)))?;
    if session > 0 {
        write!(out, " session {session:x}")?;
    }
    write!(out, ": {action} {resource}")?;
    if !rules.is_empty() {
        write!(out, ", by {}", rules.join(", "))?;
    }
    if version > 0 {
        write!(out, " of version {version}")?;
    }
    if times > 1 {
        let kinds = if several { " of several kinds" } else { "" };
        write!(out, ", {times} times{kinds} until {}", rfc3339(UnixNanos(last.unwrap_or(time))))?;
    }
    match detail.is_empty() {
        true => writeln!(out),
        false => writeln!(out, ": {detail}"),
    }
}

/// Checks lines one after the other.
struct Check {
    verifier: Verifier<Sha256>,
    /// Lines before the first at which a check can begin.
    skipped: u64,
    /// Such lines may be there: the log does not begin where the stream did.
    may_skip: bool,
}

impl Check {
    fn new(args: &AuditVerifyArgs, may_skip: bool) -> Result<Self, Usage> {
        let known = match &args.from_hash {
            None => None,
            Some(text) => {
                let wrong = || Usage(format!("`{text}` is no hash: it has 64 digits of 0-9 and a-f"));
                Some(Hash::parse(text).ok_or_else(wrong)?)
            }
        };
        Ok(Self { verifier: Verifier::new(Sha256, known), skipped: 0, may_skip })
    }

    fn take(&mut self, text: &str) -> anyhow::Result<()> {
        if self.may_skip && Record::read(text).is_ok_and(|record| !matches!(record.line, Line::Anchor { .. })) {
            self.skipped += 1;
            return Ok(());
        }
        self.may_skip = false;
        Ok(self.verifier.take(text)?)
    }

    fn finish(self, as_json: bool) -> anyhow::Result<()> {
        let skipped = self.skipped;
        let Verified { first, lines, head } = self.verifier.finish()?;
        let mut out = io::stdout().lock();
        if as_json {
            let object = json!({ "first": first, "records": lines, "skipped": skipped, "head": head.to_string() });
            writeln!(out, "{object}")?;
        } else {
            writeln!(out, "the chain is whole: {lines} records from number {first} on")?;
            if skipped > 0 {
                writeln!(out, "{skipped} records before them were not checked: the log was cut before an anchor")?;
            }
            writeln!(out, "head       {head}")?;
            writeln!(out, "Keep the head somewhere else: --from-hash with it finds what is cut off or written anew.")?;
        }
        out.flush()?;
        Ok(())
    }
}

async fn verify(args: &AuditVerifyArgs) -> anyhow::Result<()> {
    let client = connect(&args.server, "weft audit").await?;
    let hub = hub(args.of.as_ref(), &client).await?;
    let upto = end(&client, &hub).await?;
    let mut subscription = open(&client, &hub, StartAt::First).await?;
    let mut at = subscription.start_sequence();
    let mut check = Check::new(args, at > 1)?;
    while at < upto {
        let Some(delivery) = subscription.next_below(upto).await else { break };
        let delivery = delivery.map_err(|error| why(&client, error))?;
        report_gap(&delivery);
        for event in delivery.events() {
            check.take(&line(event.payload))?;
        }
        at = delivery.stream_sequence() + u64::from(delivery.event_count());
    }
    let gap = subscription.gap_behind();
    if !gap.is_none() {
        bail!("the end of the log cannot be read: the chain was checked up to the sequence {at}, of {upto}");
    }
    client.close().await;
    check.finish(args.json)
}

fn verify_file(args: &AuditVerifyArgs, path: &Path) -> anyhow::Result<()> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut check = Check::new(args, true)?;
    let mut reader = BufReader::new(file);
    loop {
        let mut text = Vec::new();
        // One byte more than a record may have, and its end.
        let most = MAX_LINE as u64 + 2;
        io::Read::take(&mut reader, most)
            .read_until(b'\n', &mut text)
            .with_context(|| format!("cannot read {}", path.display()))?;
        if text.is_empty() {
            break;
        }
        check.take(line(&text).trim_end_matches(['\n', '\r']))?;
    }
    check.finish(args.json)
}
