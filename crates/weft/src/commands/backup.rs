//! `weft stream backup` and `weft stream restore`.
//!
//! A backup is an ordinary log folder with its `stream.json`, read over the
//! wire while the hub runs: `weft log verify` checks it, `weft log repair
//! --from` takes from it. Blocks are kept as they are, so sequences, stamps
//! and names by (home, home sequence) survive. Consumers and their positions
//! are not part of it.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use weft_base::ByteCount;
use weft_client::{StartAt, StreamReport, SubscribeOptions, Subscription};
use weft_keyed::{Batch, Keyed, LsmKeyed, LsmOptions, Space, end_of};
use weft_log::fs::{Fs, RealFs};
use weft_log::offline::{self, Options, State, Writer, WriterOptions};

use super::log::read_keys;
use crate::Usage;
use crate::cli::{BackupArgs, KeyArgs, RestoreArgs};
use crate::connect::connect;

/// The largest description read.
const DESCRIPTION_MOST: usize = 64 << 10;
/// Where the hub does not say how large its segments are.
const SEGMENT: ByteCount = ByteCount::mib(64);
/// Keys deleted in one batch.
const FORGOTTEN_AT_ONCE: usize = 1_000;
/// Made first and removed last while a stream is restored.
const RESTORING: &str = "RESTORING";

pub(super) async fn backup(args: &BackupArgs) -> anyhow::Result<()> {
    let client = connect(&args.server, "weft stream backup").await?;
    let report = client.streams().info(&args.name).await?;
    check_same(&args.to, &report)?;
    let keys = read_keys(&KeyArgs { key_file: args.key_file.clone() })?;
    let segment = report.definition.segment.unwrap_or(SEGMENT).0;
    let options = WriterOptions { segment, compacted: report.definition.compact, keys: keys.clone() };
    let mut writer = Writer::open(&RealFs, &args.to, options)?;
    let end = report.synced;
    let from = match writer.next() {
        Some(next) if next > end => bail!(
            "`{}` holds events up to {next}, and the stream `{}` ends at {end}: it is a backup of another stream",
            args.to.display(),
            args.name
        ),
        Some(next) if next < report.first => bail!(
            "`{}` ends at {next}, and retention has removed what lies before {}: begin a new backup elsewhere",
            args.to.display(),
            report.first
        ),
        Some(next) => next,
        None => report.first,
    };
    let mut read = Read::default();
    if from < end {
        let options = SubscribeOptions::stream(&args.name, StartAt::Sequence(from));
        let mut events = client.subscribe("**", options).await?;
        read = copy(&mut events, &mut writer, end).await?;
    }
    writer.finish()?;
    client.close().await;
    // Last: a folder without it is an unfinished backup.
    let path = args.to.join("stream.json");
    let description = weft_hub::stream_json(&report.definition.spec());
    RealFs.write(&path, description.as_bytes()).with_context(|| format!("could not write {}", path.display()))?;
    let whole = offline::survey(&RealFs, &args.to, Options { keys: keys.as_ref(), ..Options::default() }, &mut |_| {})?;
    let used: u64 = whole.segments.iter().map(|s| s.used_bytes).sum();
    let position: Vec<_> = whole.position.iter().map(|(home, next)| format!("{home:08x}:{next}")).collect();
    println!(
        "{}: {} events more ({}); now {} events, sequences {} to {} (exclusive), {}, position {}",
        args.name,
        read.events,
        ByteCount(read.bytes),
        whole.events,
        whole.first,
        whole.next,
        ByteCount(used),
        position.join(" ")
    );
    if !whole.is_sound() {
        bail!("the backup has gaps, as the stream itself has: see `weft log verify {}`", args.to.display());
    }
    Ok(())
}

#[derive(Default)]
struct Read {
    events: u64,
    bytes: u64,
}

/// Copies what comes until the sequence before `end` was there.
async fn copy(events: &mut Subscription, writer: &mut Writer<'_>, end: u64) -> anyhow::Result<Read> {
    let mut read = Read::default();
    while let Some(delivery) = events.next_below(end).await {
        let delivery = delivery?;
        let block = delivery.block();
        // Whole blocks: one may hold the end, and events after it.
        if block.stream_sequence() < end {
            writer.push(block.bytes())?;
            read.events += u64::from(block.event_count());
            read.bytes += block.len() as u64;
        }
        if block.stream_sequence() + u64::from(block.event_count()) >= end {
            return Ok(read);
        }
    }
    if events.gap_behind().events > 0 {
        // The end is damaged: what there is has been copied.
        return Ok(read);
    }
    bail!("the hub ended the subscription before the stream's end: call again to go on");
}

/// Refuses a folder that holds a backup of another stream.
fn check_same(dir: &Path, report: &StreamReport) -> anyhow::Result<()> {
    let found = match RealFs.read(&dir.join("stream.json"), DESCRIPTION_MOST) {
        Ok(bytes) => serde_json::from_slice::<Value>(&bytes).context("the folder's stream.json")?,
        Err(_) => return Ok(()),
    };
    match found["name"].as_str() {
        Some(name) if name == report.name() => Ok(()),
        other => bail!(
            "`{}` holds a backup of the stream `{}`: choose another folder",
            dir.display(),
            other.unwrap_or("without a name")
        ),
    }
}

/// Forgets what the hub keeps by key of an earlier stream of this id: its
/// producers' sequences would make duplicates of what the backup has not, and
/// its consumers' positions may lie behind its end. The hub makes it anew.
fn forget(data: &Path, id: u64) -> anyhow::Result<()> {
    let path = data.join("keyed");
    if id == 0 || !path.is_dir() {
        return Ok(());
    }
    let keyed = LsmKeyed::open(&path, LsmOptions::default()).context("the hub's keyed state")?;
    let from = id.to_be_bytes();
    let below = end_of(&from);
    for space in Space::ALL {
        loop {
            let entries = keyed.scan(space, &from, &below, FORGOTTEN_AT_ONCE)?;
            if entries.is_empty() {
                break;
            }
            let mut batch = Batch::new();
            for (key, _) in entries {
                batch.delete(space, key);
            }
            keyed.apply(batch)?;
        }
    }
    Ok(keyed.sync()?)
}

pub(super) fn restore(args: &RestoreArgs) -> anyhow::Result<()> {
    let keys = read_keys(&args.keys)?;
    let whole =
        offline::survey(&RealFs, &args.dir, Options { keys: keys.as_ref(), ..Options::default() }, &mut |_| {})?;
    if !whole.is_sound() {
        bail!("`{}` is not sound: see `weft log verify`, and `weft log repair` first", args.dir.display());
    }
    let path = args.dir.join("stream.json");
    let bytes = RealFs.read(&path, DESCRIPTION_MOST).with_context(|| format!("could not read {}", path.display()))?;
    let mut description: Value = serde_json::from_slice(&bytes).with_context(|| format!("{}", path.display()))?;
    let old = description["name"].as_str().unwrap_or_default().to_owned();
    let name = args.name.clone().unwrap_or_else(|| old.clone());
    if !weft_hub::options::is_label(&name) {
        return Err(Usage(format!("the name `{name}` must be 1 to 64 of a-z, 0-9 and `-`")).into());
    }
    description["name"] = json!(name);
    if name != old && description.get("id").is_some() {
        // Another stream: the hub gives it an id of its own.
        description["id"] = json!(0);
    }
    RealFs.create_dir(&args.data)?;
    let lock = args.data.join("lock");
    let _lock = RealFs.lock(&lock).map_err(|e| match e.kind() {
        io::ErrorKind::WouldBlock => {
            anyhow::anyhow!("the data folder {} is in use by a hub: stop it first", args.data.display())
        }
        _ => anyhow::Error::from(e).context(format!("could not lock {}", lock.display())),
    })?;
    forget(&args.data, description["id"].as_u64().unwrap_or(0))?;
    let dir = args.data.join("streams").join(&name);
    let marker = dir.join(RESTORING);
    if dir.exists() && !marker.exists() {
        bail!("{} is there already: delete the stream, or choose another name with --name", dir.display());
    }
    RealFs.create_dir(&dir)?;
    RealFs.write(&marker, b"")?;
    let mut events = 0;
    for segment in whole.segments.iter().filter(|s| s.state != State::Spare) {
        let file = weft_log::format::segment_name(segment.number);
        let (from, to) = (args.dir.join(&file), dir.join(&file));
        fs::copy(&from, &to).with_context(|| format!("could not copy {} to {}", from.display(), to.display()))?;
        File::open(&to).and_then(|file| file.sync_all()).with_context(|| format!("could not sync {}", to.display()))?;
        events += segment.events;
    }
    let format = RealFs.read(&args.dir.join("FORMAT"), DESCRIPTION_MOST)?;
    RealFs.write(&dir.join("FORMAT"), &format)?;
    // Only with it the folder is a stream.
    RealFs.write(&dir.join("stream.json"), format!("{description:#}\n").as_bytes())?;
    RealFs.remove(&marker)?;
    RealFs.sync_dir(&dir)?;
    println!("{name}: {events} events, sequences {} to {} (exclusive)", whole.first, whole.next);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_restored_stream_nothing_is_remembered_and_of_others_everything() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keyed");
        let key = |id: u64, n: u64| [id.to_be_bytes(), n.to_be_bytes()].concat();
        let keyed = LsmKeyed::open(&path, LsmOptions::default()).expect("it opens");
        let mut batch = Batch::new();
        for space in Space::ALL {
            for n in 0..3 {
                batch.put(space, key(7, n), *b"old");
                batch.put(space, key(8, n), *b"other");
            }
        }
        keyed.apply(batch).expect("it is written");
        keyed.sync().expect("it is synced");
        drop(keyed);
        forget(folder.path(), 7).expect("it is forgotten");
        forget(folder.path(), 0).expect("no id, nothing to forget");
        let keyed = LsmKeyed::open(&path, LsmOptions::default()).expect("it opens");
        for space in Space::ALL {
            let left = keyed.scan(space, &[], &[], 100).expect("it is read");
            assert_eq!(left.len(), 3, "{space:?}");
            assert!(left.iter().all(|(key, _)| key.starts_with(&8_u64.to_be_bytes())));
        }
    }
}
