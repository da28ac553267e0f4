//! `weft stream`: create, alter, list, info, get, delete, replay; backup and
//! restore are in [`super::backup`], dead letters in [`super::dead`].

use std::io::{self, Write};

use serde_json::{Map, Value, json};
use weft_client::{
    Consistency, LastValues, Retention, StreamOptions, StreamReport, StreamRole, SubscribeOptions, Unreachable,
};
use weft_topic::Filter;

use super::subscribe::{Upto, follow};
use crate::Usage;
use crate::cli::stream::StreamCommand;
use crate::connect::{connect, start_at};
use crate::events;
use crate::time::{show_bytes, show_duration};

pub(crate) async fn run(command: StreamCommand) -> anyhow::Result<()> {
    match command {
        StreamCommand::Create { name, filters, definition, server } => {
            let mut options = StreamOptions { name, filters, ..StreamOptions::default() };
            definition.apply(&mut options);
            if options.filters.is_empty() {
                options.filters.push("**".to_owned());
            }
            let client = connect(&server, "weft stream create").await?;
            client.streams().create(&options).await?;
            match &options.mirror_of {
                Some(source) => eprintln!("stream `{}` is a mirror of `{source}`", options.name),
                None => eprintln!("stream `{}` captures {}", options.name, options.filters.join(", ")),
            }
            client.close().await;
        }
        StreamCommand::Alter { name, filter, promote, definition, server } => {
            let client = connect(&server, "weft stream alter").await?;
            let mut options = client.streams().info(&name).await?.definition;
            definition.apply(&mut options);
            if !filter.is_empty() {
                options.filters = filter;
            }
            if promote {
                (options.mirror_of, options.mirror_prefix) = (None, None);
            }
            client.streams().alter(&options).await?;
            eprintln!("stream `{name}` is changed");
            client.close().await;
        }
        StreamCommand::Get { name, filter, key, most, format, server } => {
            let client = connect(&server, "weft stream get").await?;
            let key = key.as_deref().map(str::as_bytes);
            let mut out = io::stdout().lock();
            for value in client.streams().get_last(&name, &filter, key, most).await? {
                events::print_last(&mut out, format, &value)?;
            }
            out.flush()?;
            client.close().await;
        }
        StreamCommand::ReplayDead(args) => super::dead::run(&args).await?,
        StreamCommand::List { json, server } => {
            let client = connect(&server, "weft stream list").await?;
            print(&client.streams().list().await?, json)?;
            client.close().await;
        }
        StreamCommand::Info { name, json, server } => {
            let client = connect(&server, "weft stream info").await?;
            let report = client.streams().info(&name).await?;
            if json { print(&[report], true) } else { show(&report) }?;
            client.close().await;
        }
        StreamCommand::Backup(args) => super::backup::backup(&args).await?,
        StreamCommand::Restore(args) => super::backup::restore(&args)?,
        StreamCommand::Delete { name, server } => {
            let client = connect(&server, "weft stream delete").await?;
            client.streams().delete(&name).await?;
            eprintln!("stream `{name}` is deleted");
            client.close().await;
        }
        StreamCommand::Replay { name, filter, from, format, server } => {
            let start = start_at(&from)?;
            let client = connect(&server, "weft stream replay").await?;
            // What comes in while it is read is not part of the replay.
            let end = client.streams().info(&name).await?.next;
            // The whole stream is read and filtered here: only so does its end show.
            let filter = Filter::parse(&filter).map_err(|e| Usage(e.to_string()))?;
            let subscription = client.subscribe("**", SubscribeOptions::stream(&name, start)).await?;
            if subscription.start_sequence() < end {
                follow(subscription, format, Some(&filter), Upto::Sequence(end)).await?;
            }
            client.close().await;
        }
    }
    Ok(())
}

fn print(streams: &[StreamReport], json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        for stream in streams {
            writeln!(out, "{}", object(stream))?;
        }
        return out.flush();
    }
    writeln!(
        out,
        "{:<24} {:>12} {:>12} {:>12} {:>12} {:<14} FILTERS",
        "STREAM", "EVENTS", "FIRST", "NEXT", "BYTES", "HOME"
    )?;
    for s in streams {
        let (name, events, bytes, filters) =
            (s.name(), s.events(), s.bytes.to_string(), s.definition.filters.join(" "));
        writeln!(out, "{name:<24} {events:>12} {:>12} {:>12} {bytes:>12} {:<14} {filters}", s.first, s.next, s.home)?;
    }
    out.flush()
}

fn retention(kind: Retention) -> &'static str {
    match kind {
        Retention::Limits => "limits",
        Retention::Interest => "interest",
        Retention::WorkQueue => "work-queue",
    }
}

fn last(kind: LastValues) -> &'static str {
    match kind {
        LastValues::Off => "off",
        LastValues::Topic => "topic",
        LastValues::Key => "key",
    }
}

fn consistency(kind: Consistency) -> &'static str {
    match kind {
        Consistency::Monotonic => "monotonic",
        Consistency::Strong => "strong",
        Consistency::Eventual => "eventual",
    }
}

fn role(role: StreamRole) -> &'static str {
    match role {
        StreamRole::Home => "home",
        StreamRole::Mirror => "mirror",
    }
}

fn unreachable(kind: Unreachable) -> &'static str {
    match kind {
        Unreachable::Refuse => "refuse",
        Unreachable::Spool => "spool",
    }
}

/// Everything there is to say of one stream, for people.
fn show(s: &StreamReport) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let d = &s.definition;
    let or = |text: String, none: &str| if text.is_empty() { none.to_owned() } else { text };
    let age = |age: Option<std::time::Duration>, none: &str| age.map_or(none.to_owned(), show_duration);
    let bytes = |bytes: Option<weft_base::ByteCount>, none: &str| bytes.map_or(none.to_owned(), show_bytes);
    let keeps = format!(
        "{}, {}, {} events; {}{}",
        bytes(d.retain_bytes, "any number of bytes"),
        age(d.retain_age, "for ever"),
        d.retain_events.map_or("any number of".to_owned(), |n| n.to_string()),
        retention(d.retention),
        if d.compact { ", compacted by key" } else { "" }
    );
    let position = s.position.iter().map(|(home, next)| format!("{home}:{next}")).collect::<Vec<_>>();
    let rows = [
        ("stream", s.name().to_owned()),
        ("captures", or(d.filters.join(" "), "-")),
        ("at", format!("{} ({})", s.home, role(s.role))),
        ("homes", or(d.homes.join(" "), "this hub")),
        ("tenant", or(d.tenant.clone().unwrap_or_default(), "-")),
        ("mirror of", or(d.mirror_of.clone().unwrap_or_default(), "-")),
        ("events", format!("{} ({} to {}, synced below {})", s.events(), s.first, s.next, s.synced)),
        ("size", show_bytes(s.bytes)),
        ("keeps", keeps),
        ("last values", last(d.last).to_owned()),
        ("knows producers", age(d.dedup_window, "as long as the hub says")),
        ("consistency", consistency(d.consistency).to_owned()),
        ("no home there", unreachable(d.unreachable).to_owned()),
        ("largest event", bytes(d.max_event, "any")),
        ("position", or(position.join(" "), "-")),
        ("state", or(s.state.clone(), "well")),
    ];
    for (name, value) in rows {
        writeln!(out, "{name:<16} {value}")?;
    }
    out.flush()
}

/// Everything there is to say of one stream, for programs.
pub(crate) fn object(s: &StreamReport) -> Value {
    let d = &s.definition;
    let position: Map<String, Value> =
        s.position.iter().map(|(home, next)| (home.to_string(), (*next).into())).collect();
    json!({
        "name": s.name(), "id": d.id.map(|id| format!("{id:016x}")), "filters": d.filters, "home": s.home,
        "role": role(s.role), "tenant": d.tenant, "homes": d.homes, "mirrorOf": d.mirror_of, "mirrorPrefix": d.mirror_prefix,
        "events": s.events(), "first": s.first, "next": s.next, "synced": s.synced, "bytes": s.bytes.0,
        "retainBytes": d.retain_bytes.map(|bytes| bytes.0), "retainAge": d.retain_age.map(show_duration),
        "retainEvents": d.retain_events, "retention": retention(d.retention), "compact": d.compact,
        "tombstoneAge": d.tombstone_age.map(show_duration), "last": last(d.last),
        "dedupWindow": d.dedup_window.map(show_duration), "consistency": consistency(d.consistency),
        "unreachable": unreachable(d.unreachable), "maxEvent": d.max_event.map(|bytes| bytes.0),
        "segmentBytes": d.segment.map(|bytes| bytes.0), "position": position, "state": s.state,
    })
}
