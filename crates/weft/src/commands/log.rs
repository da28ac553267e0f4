//! `weft log`: inspect, verify and repair streams where they lie on disk.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::Usage;
use anyhow::{Context, bail};
use serde_json::{Value, json};
use weft_base::{ByteCount, Clock, SystemClock, UnixNanos};
use weft_log::Keys;
use weft_log::fs::{Fs, RealFs};
use weft_log::offline::{self, BlockAt, Finding, Format, Kind, Options, Repair, SegmentReport, State, Survey};

use crate::cli::{KeyArgs, LogCommand, RepairArgs};
use crate::time::rfc3339;

/// The largest description read.
const DESCRIPTION_MOST: usize = 64 << 10;
/// The folder, in a stream's, of the log of what the stream is to have later.
const SCHEDULE: &str = "schedule";

pub(crate) fn run(command: LogCommand) -> anyhow::Result<()> {
    match command {
        LogCommand::Inspect { dir, keys, blocks, json } => inspect(&dir, read_keys(&keys)?.as_ref(), blocks, json),
        LogCommand::Verify { dir, keys, json } => verify(&dir, read_keys(&keys)?.as_ref(), json),
        LogCommand::Repair(args) => repair(&args),
    }
}

/// The keys in the file that was named, if one was.
pub(super) fn read_keys(args: &KeyArgs) -> anyhow::Result<Option<Keys>> {
    args.key_file.as_deref().map(crate::keys::of_file).transpose().map_err(|why| Usage(why).into())
}

/// A stream's folder, or that of its schedule.
pub(super) struct Place {
    pub(super) name: String,
    pub(super) dir: PathBuf,
}

impl Place {
    /// Whether it holds what a stream is to have later: such a log has no
    /// description of its own.
    fn is_schedule(&self) -> bool {
        self.name.ends_with(&format!("/{SCHEDULE}"))
    }
}

/// The stream's folder, or those in a data folder, by name; each followed by
/// that of its schedule, where it has one.
fn places(dir: &Path) -> anyhow::Result<Vec<Place>> {
    let mut places = Vec::new();
    for place in streams_in(dir)? {
        let dir = place.dir.join(SCHEDULE);
        let schedule = dir.is_dir() && offline::is_log(&RealFs, &dir)?;
        let schedule = schedule.then(|| Place { name: format!("{}/{SCHEDULE}", place.name), dir });
        places.push(place);
        places.extend(schedule);
    }
    Ok(places)
}

/// Whether this is the folder of a stream's schedule.
fn is_schedule(dir: &Path) -> bool {
    let stream = dir.parent().map(|stream| offline::is_log(&RealFs, stream));
    dir.file_name().is_some_and(|name| name == SCHEDULE) && matches!(stream, Some(Ok(true)))
}

fn streams_in(dir: &Path) -> anyhow::Result<Vec<Place>> {
    let dir = dir.canonicalize().with_context(|| format!("no folder `{}`", dir.display()))?;
    let name_of = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if offline::is_log(&RealFs, &dir)? {
        let stream = dir.parent().filter(|_| is_schedule(&dir));
        let name = stream.map_or_else(|| name_of(&dir), |stream| format!("{}/{SCHEDULE}", name_of(stream)));
        return Ok(vec![Place { name, dir }]);
    }
    let streams = dir.join("streams");
    if !streams.is_dir() {
        let what = "holds neither a stream (`FORMAT`, `*.seg`) nor a folder `streams`: name a stream's folder or a \
                    hub's data folder";
        return Err(Usage(format!("`{}` {what}", dir.display())).into());
    }
    let mut places = Vec::new();
    for entry in fs::read_dir(&streams)? {
        let path = entry?.path();
        if path.is_dir() {
            places.push(Place { name: name_of(&path), dir: path });
        }
    }
    places.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(places)
}

/// Whether somebody holds this lock, asked without taking it: a hub that
/// starts meanwhile must not find it taken.
fn is_locked(path: &Path) -> bool {
    let (Ok(file), Ok(locks)) = (fs::metadata(path), fs::read_to_string("/proc/locks")) else { return false };
    let device = file.dev();
    let id = format!("{:02x}:{:02x}:{}", rustix::fs::major(device), rustix::fs::minor(device), file.ino());
    locks.lines().any(|line| line.contains("FLOCK") && line.split_whitespace().any(|field| field == id))
}

/// What is wrong with a description, if anything.
fn description_problem(place: &Place) -> Option<String> {
    if place.is_schedule() {
        return None;
    }
    let path = place.dir.join("stream.json");
    let bytes = match RealFs.read(&path, DESCRIPTION_MOST) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Some("stream.json is missing: the hub leaves the stream alone; `weft log repair` writes it".into());
        }
        Err(e) => return Some(format!("stream.json cannot be read: {e}")),
    };
    match serde_json::from_slice::<Value>(&bytes) {
        Ok(value) if value["name"].is_string() && value["filters"].is_array() => None,
        Ok(_) => Some("stream.json has no name or no filters".into()),
        Err(e) => Some(format!("stream.json is not JSON: {e}")),
    }
}

/// A stream as it lies there.
struct Looked {
    place: Place,
    survey: Survey,
    live: bool,
    problem: Option<String>,
}

fn look(place: Place, keys: Option<&Keys>, each: &mut dyn FnMut(&BlockAt<'_>)) -> anyhow::Result<Looked> {
    let live = is_locked(&place.dir.join("LOCK"));
    let survey = offline::survey(&RealFs, &place.dir, Options { live, keys }, each)?;
    let problem = description_problem(&place);
    Ok(Looked { place, survey, live, problem })
}

fn inspect(dir: &Path, keys: Option<&Keys>, blocks: bool, json: bool) -> anyhow::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for place in places(dir)? {
        let mut failed = None;
        let name = place.name.clone();
        let looked = look(place, keys, &mut |at| {
            if blocks && failed.is_none() {
                failed = write_block(&mut out, &name, at, json).err();
            }
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        if json { writeln!(out, "{}", object(&looked))? } else { write_stream(&mut out, &looked)? }
    }
    out.flush()?;
    Ok(())
}

fn write_block(out: &mut impl Write, stream: &str, at: &BlockAt<'_>, json: bool) -> io::Result<()> {
    let (topic, bytes, events) = (at.block.topic(), at.block.len(), at.block.event_count());
    let time = at.block.stamp().map_or(UnixNanos(0), |s| s.ingested);
    let (home, home_sequence) = (home_text(at.name.0), at.name.1);
    if json {
        let object = json!({
            "stream": stream, "segment": at.segment, "offset": at.offset, "bytes": bytes, "first": at.first,
            "next": at.next(), "home": home, "homeSequence": home_sequence, "events": events, "topic": topic,
            "time": rfc3339(time),
        });
        return writeln!(out, "{object}");
    }
    let (segment, offset, first, next) = (at.segment, at.offset, at.first, at.next());
    writeln!(
        out,
        "{segment:>6} {offset:>10} {bytes:>8} B  {first}..{next}  {home}:{home_sequence}  {}  {topic}",
        rfc3339(time)
    )
}

/// A home's tag as it is printed.
fn home_text(home: u32) -> String {
    format!("{home:08x}")
}

fn position_text(survey: &Survey) -> String {
    let homes: Vec<_> = survey.position.iter().map(|(home, next)| format!("{}:{next}", home_text(*home))).collect();
    if homes.is_empty() { "empty".to_owned() } else { homes.join(" ") }
}

fn state_text(state: State) -> String {
    match state {
        State::Used => "used".to_owned(),
        State::Spare => "made ahead".to_owned(),
        State::Torn { bytes } => format!("unsynced end: {} will be cut", ByteCount(bytes)),
        State::Unusable => "unusable".to_owned(),
    }
}

fn write_stream(out: &mut impl Write, looked: &Looked) -> anyhow::Result<()> {
    let Looked { place, survey, live, problem } = looked;
    let used: u64 = survey.segments.iter().map(|s| s.used_bytes).sum();
    let size: u64 = survey.segments.iter().map(|s| s.file_bytes).sum();
    let space = rustix::fs::statvfs(&place.dir).map(|s| s.f_bavail.saturating_mul(s.f_frsize));
    writeln!(out, "stream {} in {}{}", place.name, place.dir.display(), if *live { ", in use by a hub" } else { "" })?;
    match survey.format {
        Format::Version(version) => writeln!(out, "  format    {version}")?,
        Format::Missing => writeln!(out, "  format    the file FORMAT is missing: `weft log repair` writes it")?,
        Format::Unreadable => writeln!(out, "  format    the file FORMAT says something else: `weft log repair`")?,
    }
    let Survey { first, next, events, blocks, .. } = survey;
    writeln!(out, "  events    {events} in {blocks} blocks, sequences {first} to {next} (exclusive)")?;
    writeln!(out, "  position  {}", position_text(survey))?;
    let free = space.map_or_else(|e| e.to_string(), |bytes| ByteCount(bytes).to_string());
    writeln!(out, "  space     {} used, {} on disk, {free} free", ByteCount(used), ByteCount(size))?;
    writeln!(
        out,
        "  {:>10} {:>12} {:>12} {:>10} {:>10} {:>10} {:>10}  {:<27}  STATE",
        "SEGMENT", "FIRST", "NEXT", "BLOCKS", "USED", "MARKED", "SIZE", "NEWEST"
    )?;
    for segment in &survey.segments {
        let SegmentReport { number, base, next, blocks, used_bytes, file_bytes, .. } = segment;
        let marked = segment.marked_bytes.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string());
        let newest = segment.times.map_or_else(|| "-".to_owned(), |(_, newest)| rfc3339(newest));
        let state = state_text(segment.state);
        writeln!(
            out,
            "  {number:>10} {base:>12} {next:>12} {blocks:>10} {used_bytes:>10} {marked:>10} {file_bytes:>10}  \
             {newest:<27}  {state}"
        )?;
    }
    for text in problem.iter().cloned().chain(findings(survey)) {
        writeln!(out, "  ! {text}")?;
    }
    Ok(())
}

/// What is wrong with a log, a sentence each.
fn findings(survey: &Survey) -> Vec<String> {
    let known = |f: &Finding| if f.noted { " (known, in quarantine)" } else { "" };
    let mut texts: Vec<_> = survey.findings.iter().map(|f| format!("{f}{}", known(f))).collect();
    let more = survey.finding_count.saturating_sub(survey.findings.len() as u64);
    if more > 0 {
        texts.push(format!("{more} more"));
    }
    if survey.out_of_order > 0 {
        texts.push(format!("{} blocks are out of their home's order, or there twice", survey.out_of_order));
    }
    match survey.format {
        Format::Version(_) => {}
        Format::Missing => texts.push("the file FORMAT is missing".to_owned()),
        Format::Unreadable => texts.push("the file FORMAT does not say `weft-log` and a version".to_owned()),
    }
    texts
}

fn finding_object(finding: &Finding) -> Value {
    let kind = match finding.kind {
        Kind::Header => "header",
        Kind::Blocks => "blocks",
        Kind::Missing => "missing",
        Kind::Segment => "segment",
        Kind::Side => "side",
    };
    json!({
        "kind": kind, "segment": finding.segment, "offset": finding.offset, "end": finding.end,
        "first": finding.first, "next": finding.next, "clause": finding.clause, "known": finding.noted,
    })
}

fn object(looked: &Looked) -> Value {
    let Looked { place, survey, live, problem } = looked;
    let segments: Vec<_> = survey.segments.iter().map(segment_object).collect();
    let position: serde_json::Map<_, _> =
        survey.position.iter().map(|(home, next)| (home_text(*home), json!(next))).collect();
    json!({
        "stream": place.name, "dir": place.dir.display().to_string(), "inUse": live,
        "format": match survey.format { Format::Version(version) => json!(version), _ => Value::Null },
        "events": survey.events, "blocks": survey.blocks, "first": survey.first, "next": survey.next,
        "position": position, "segments": segments, "outOfOrder": survey.out_of_order,
        "findings": survey.findings.iter().map(finding_object).collect::<Vec<_>>(),
        "findingCount": survey.finding_count, "description": problem, "sound": is_sound(looked),
    })
}

fn segment_object(segment: &SegmentReport) -> Value {
    let (oldest, newest) = segment.times.map_or((None, None), |(a, b)| (Some(rfc3339(a)), Some(rfc3339(b))));
    json!({
        "number": segment.number, "version": segment.version, "key": segment.key.map(|id| format!("{id:016x}")), "created": segment.created.map(rfc3339),
        "first": segment.base, "next": segment.next, "blocks": segment.blocks, "events": segment.events,
        "usedBytes": segment.used_bytes, "markedBytes": segment.marked_bytes, "fileBytes": segment.file_bytes,
        "oldest": oldest, "newest": newest, "state": state_text(segment.state),
    })
}

fn is_sound(looked: &Looked) -> bool {
    looked.problem.is_none() && looked.survey.is_sound()
}

fn verify(dir: &Path, keys: Option<&Keys>, json: bool) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let mut unsound = Vec::new();
    for place in places(dir)? {
        let looked = look(place, keys, &mut |_| {})?;
        if json {
            writeln!(out, "{}", object(&looked))?;
        } else {
            let Survey { events, blocks, segments, .. } = &looked.survey;
            let name = &looked.place.name;
            let verdict = if is_sound(&looked) { "sound" } else { "NOT SOUND" };
            writeln!(out, "{name}: {events} events in {blocks} blocks and {} segments: {verdict}", segments.len())?;
            for text in looked.problem.iter().cloned().chain(findings(&looked.survey)) {
                writeln!(out, "{name}: {text}")?;
            }
        }
        if !is_sound(&looked) {
            unsound.push(looked.place.name);
        }
    }
    out.flush()?;
    if !unsound.is_empty() {
        bail!("not sound: {}; see `weft log repair`", unsound.join(", "));
    }
    Ok(())
}

fn repair(args: &RepairArgs) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let keys = read_keys(&args.keys)?;
    let places = places(&args.dir)?;
    // The hub must not start meanwhile.
    let lock = args.dir.join("lock");
    let _lock = if args.dir.join("streams").is_dir() {
        Some(RealFs.lock(&lock).map_err(|e| match e.kind() {
            io::ErrorKind::WouldBlock => anyhow::anyhow!("the data folder is in use by a hub: stop it, then repair"),
            _ => anyhow::Error::from(e).context(format!("could not lock {}", lock.display())),
        })?)
    } else {
        None
    };
    let mut steps = 0;
    for place in places {
        let from = args.from.as_ref().map(|from| counterpart(from, &place.name)).transpose()?.flatten();
        let plan = Repair::plan(&RealFs, &place.dir, from.as_deref(), keys.as_ref())?;
        let description = plan_description(&place, from.as_deref(), &args.filter, plan.survey());
        let mut sentences = plan.steps();
        match &description {
            Ok(None) => {}
            Ok(Some((_, how))) => sentences.push(format!("write stream.json {how}")),
            Err(why) => sentences.push(format!("stream.json stays as it is, since {why}")),
        }
        for sentence in &sentences {
            writeln!(out, "{}: {}{sentence}", place.name, if args.apply { "" } else { "would do: " })?;
        }
        steps += sentences.len();
        if !args.apply {
            continue;
        }
        let done = plan.apply(SystemClock::new().now().wall)?;
        if let Ok(Some((bytes, _))) = description {
            let path = place.dir.join("stream.json");
            keep_aside(&place.dir, &path)?;
            RealFs.write(&path, &bytes).with_context(|| format!("could not write {}", path.display()))?;
        }
        writeln!(
            out,
            "{}: {} events restored, {} given up, {} ranges in quarantine, {} segments written anew",
            place.name, done.restored, done.lost, done.quarantined, done.rewritten
        )?;
    }
    if steps == 0 {
        writeln!(out, "nothing to repair")?;
    } else if !args.apply {
        writeln!(out, "nothing was changed: --apply does it")?;
    }
    out.flush()?;
    Ok(())
}

/// The folder of the same stream in `from`, which is that folder itself or a
/// data folder.
fn counterpart(from: &Path, name: &str) -> anyhow::Result<Option<PathBuf>> {
    let from = from.canonicalize().with_context(|| format!("no folder `{}`", from.display()))?;
    if offline::is_log(&RealFs, &from)? {
        // Of what waits no other home has a copy, but a copy of the folder may.
        let schedule = if is_schedule(&from) { from.clone() } else { from.join(SCHEDULE) };
        return Ok(match name.ends_with(&format!("/{SCHEDULE}")) {
            true => schedule.is_dir().then_some(schedule),
            false => Some(from),
        });
    }
    let there = from.join("streams").join(name);
    Ok(there.is_dir().then_some(there))
}

/// The description to be written, and where it comes from; none when the one
/// there is good.
fn plan_description(
    place: &Place,
    from: Option<&Path>,
    filters: &[String],
    survey: &Survey,
) -> Result<Option<(Vec<u8>, String)>, String> {
    if description_problem(place).is_none() {
        return Ok(None);
    }
    if let Some(from) = from
        && let Ok(bytes) = RealFs.read(&from.join("stream.json"), DESCRIPTION_MOST)
        && let Ok(mut value) = serde_json::from_slice::<Value>(&bytes)
        && value["filters"].is_array()
    {
        value["name"] = json!(place.name);
        return Ok(Some((pretty(&value), format!("as in {}", from.display()))));
    }
    if filters.is_empty() {
        return Err("what it captures is not known: name it with --filter, or a copy with --from".to_owned());
    }
    let segment = survey.segments.iter().map(|s| s.file_bytes).max().unwrap_or(64 << 20);
    let value = json!({
        "name": place.name, "filters": filters, "retain_bytes": 0, "retain_age_ms": 0, "segment_bytes": segment,
    });
    Ok(Some((pretty(&value), format!("for {}, keeping everything", filters.join(", ")))))
}

fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

/// Copies a file that is to be replaced into quarantine.
fn keep_aside(dir: &Path, path: &Path) -> anyhow::Result<()> {
    let Ok(bytes) = RealFs.read(path, DESCRIPTION_MOST) else { return Ok(()) };
    let folder = dir.join(offline::QUARANTINE);
    RealFs.create_dir(&folder)?;
    let name = path.file_name().unwrap_or_default();
    RealFs.write(&folder.join(name), &bytes).with_context(|| format!("could not write in {}", folder.display()))
}
