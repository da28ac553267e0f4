//! `weft stream`: create, list, info, delete, replay; backup and
//! restore are in [`super::backup`].

use std::io::{self, Write};

use serde_json::{Value, json};
use weft_client::{StreamOptions, StreamReport, SubscribeOptions};
use weft_topic::Filter;

use super::subscribe::{Upto, follow};
use crate::Usage;
use crate::cli::StreamCommand;
use crate::connect::{connect, start_at};
use crate::time::show_duration;

pub(crate) async fn run(command: StreamCommand) -> anyhow::Result<()> {
    match command {
        StreamCommand::Create { name, filters, retain_bytes, retain_age, segment, server } => {
            let client = connect(&server, "weft stream create").await?;
            let options =
                StreamOptions { name, filters, retain_bytes, retain_age, segment, ..StreamOptions::default() };
            client.streams().create(&options).await?;
            eprintln!("stream `{}` captures {}", options.name, options.filters.join(", "));
            client.close().await;
        }
        StreamCommand::List { json, server } => {
            let client = connect(&server, "weft stream list").await?;
            print(&client.streams().list().await?, json)?;
            client.close().await;
        }
        StreamCommand::Info { name, json, server } => {
            let client = connect(&server, "weft stream info").await?;
            print(&[client.streams().info(&name).await?], json)?;
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

fn object(s: &StreamReport) -> Value {
    let definition = &s.definition;
    json!({
        "name": definition.name, "filters": definition.filters, "home": s.home, "events": s.events(),
        "first": s.first, "next": s.next, "synced": s.synced, "bytes": s.bytes.0,
        "retainBytes": definition.retain_bytes.map(|bytes| bytes.0),
        "retainAge": definition.retain_age.map(show_duration),
        "segmentBytes": definition.segment.map(|bytes| bytes.0),
    })
}
