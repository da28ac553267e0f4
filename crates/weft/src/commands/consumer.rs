//! `weft consumer`: durable consumers, and taking events by hand.

use std::io::{self, Write};
use std::time::Duration;

use serde_json::{Value, json};
use weft_base::{Clock, SystemClock, UnixNanos};
use weft_client::{
    Client, ConsumeOptions, ConsumerMode, ConsumerOptions, ConsumerReport, Consumers, MAX_FETCH, Message, Replay,
    SettleError,
};

use crate::cli::ServerArgs;
use crate::cli::consumer::{ConsumerCommand, ConsumerName, CreateArgs, Mode, NextArgs, Speed};
use crate::connect::{connect, start_at};
use crate::events;
use crate::time::{rfc3339, show_duration};

/// The most events taken before they are settled.
const AT_A_TIME: u64 = 1024;
/// How long events that have come may wait for more.
const SLICE: Duration = Duration::from_millis(100);

pub(crate) async fn run(command: ConsumerCommand) -> anyhow::Result<()> {
    match command {
        ConsumerCommand::Create(args) => create(&args).await,
        ConsumerCommand::List { stream, json, server } => {
            let (client, consumers) = at(&server, &stream).await?;
            print(&consumers.list().await?, json)?;
            client.close().await;
            Ok(())
        }
        ConsumerCommand::Info { consumer, json, server } => {
            let (client, consumers) = at(&server, &consumer.stream).await?;
            let report = consumers.info(&consumer.name).await?;
            client.close().await;
            if json { print(&[report], true) } else { show(&report) }?;
            Ok(())
        }
        ConsumerCommand::Delete { consumer, server } => {
            let (client, consumers) = at(&server, &consumer.stream).await?;
            consumers.delete(&consumer.name).await?;
            done(client, &consumer, "is deleted").await
        }
        ConsumerCommand::Pause { consumer, time, server } => {
            let (client, consumers) = at(&server, &consumer.stream).await?;
            let now = SystemClock::new().now().wall;
            let until = time.map(|time| UnixNanos(now.0.saturating_add(nanos(time))));
            consumers.pause(&consumer.name, until).await?;
            let said =
                until.map_or("is paused until it is resumed".to_owned(), |t| format!("is paused until {}", rfc3339(t)));
            done(client, &consumer, &said).await
        }
        ConsumerCommand::Resume { consumer, server } => {
            let (client, consumers) = at(&server, &consumer.stream).await?;
            consumers.resume(&consumer.name).await?;
            done(client, &consumer, "hands out again").await
        }
        ConsumerCommand::Reset { consumer, from, server } => {
            let start = start_at(&from)?;
            let (client, consumers) = at(&server, &consumer.stream).await?;
            consumers.reset(&consumer.name, start).await?;
            done(client, &consumer, &format!("begins anew from {from}")).await
        }
        ConsumerCommand::Move { consumer, to, anywhere: _, server } => {
            let home = to.unwrap_or_default();
            let (client, consumers) = at(&server, &consumer.stream).await?;
            consumers.move_to(&consumer.name, &home).await?;
            let said = if home.is_empty() { "prefers no home".to_owned() } else { format!("is served by `{home}`") };
            done(client, &consumer, &said).await
        }
        ConsumerCommand::Next(args) => next(&args).await,
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

async fn at(server: &ServerArgs, stream: &str) -> anyhow::Result<(Client, Consumers)> {
    let client = connect(server, "weft consumer").await?;
    let consumers = client.streams().consumers(stream);
    Ok((client, consumers))
}

async fn done(client: Client, consumer: &ConsumerName, said: &str) -> anyhow::Result<()> {
    eprintln!("consumer `{}` of stream `{}` {said}", consumer.name, consumer.stream);
    client.close().await;
    Ok(())
}

async fn create(args: &CreateArgs) -> anyhow::Result<()> {
    let options = ConsumerOptions {
        filters: args.filter.clone(),
        predicate: args.predicate.clone(),
        start: start_at(&args.from)?,
        mode: match args.mode {
            Mode::Shared => ConsumerMode::Shared,
            Mode::Exclusive => ConsumerMode::Exclusive,
            Mode::Keyed => ConsumerMode::Keyed,
        },
        ack_wait: args.ack_wait,
        max_deliver: args.max_deliver,
        backoff: args.backoff.clone(),
        max_in_flight: args.max_in_flight,
        replay: match args.speed {
            Speed::Full => Replay::Full,
            Speed::Original => Replay::Original,
        },
        dead_letters: !args.no_dead_letters,
        dead_stream: args.dead_stream.clone(),
        inactive: args.inactive,
        ..ConsumerOptions::new(&args.consumer.name)
    };
    let (client, consumers) = at(&args.server, &args.consumer.stream).await?;
    consumers.create(&options).await?;
    done(client, &args.consumer, "is there").await
}

/// Takes events, prints them, and settles them once they are printed.
async fn next(args: &NextArgs) -> anyhow::Result<()> {
    let (client, consumers) = at(&args.server, &args.consumer.stream).await?;
    let mut member = consumers.open(&args.consumer.name, ConsumeOptions::pull()).await?;
    let mut out = io::stdout().lock();
    let clock = SystemClock::new();
    let until = clock.now().mono + args.wait;
    let (mut left, mut stale) = (args.count, 0_u64);
    while left > 0 {
        // In slices, so that what has come is printed and settled while its ack wait runs.
        let wait = until.since(clock.now().mono);
        let got = member.fetch(left.min(AT_A_TIME).min(MAX_FETCH), wait.min(SLICE)).await?;
        if got.is_empty() {
            if wait <= SLICE {
                break;
            }
            continue;
        }
        left -= got.len() as u64;
        for message in &got {
            events::print_message(&mut out, args.format, message)?;
        }
        out.flush()?;
        let last = got.len() - 1;
        for (i, message) in got.into_iter().enumerate() {
            match settle(args, message, i == last).await {
                Err(SettleError::Stale { .. }) => stale += 1,
                settled => settled?,
            }
        }
    }
    drop(member);
    let is_lost = left > 0 && client.hub().is_none();
    let taken = args.count - left;
    eprintln!("took {taken} event{}", if taken == 1 { "" } else { "s" });
    // Closing would wait for the hub.
    anyhow::ensure!(!is_lost, "the hub cannot be reached any more: there may be others");
    client.close().await;
    anyhow::ensure!(stale == 0, "{stale} of them come again: the connection was lost before they were settled");
    Ok(())
}

/// Says what becomes of an event. The last one of several that are done is
/// confirmed, and with it those before it.
async fn settle(args: &NextArgs, message: Message, last: bool) -> Result<(), SettleError> {
    match (&args.nack, &args.term, args.no_ack) {
        (Some(delay), _, _) => message.nack(*delay),
        (_, Some(reason), _) => message.term(reason),
        (_, _, true) => Ok(()),
        _ if last => message.ack_confirmed().await,
        _ => message.ack(),
    }
}

fn print(consumers: &[ConsumerReport], json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        for consumer in consumers {
            writeln!(out, "{}", object(consumer))?;
        }
        return out.flush();
    }
    writeln!(
        out,
        "{:<24} {:<10} {:>10} {:>10} {:>12} {:>10} {:>8} {:>8} SEAT",
        "CONSUMER", "MODE", "LAG", "IN FLIGHT", "NEXT", "AGAIN", "DEAD", "MEMBERS"
    )?;
    for c in consumers {
        let (name, mode) = (c.name(), mode(c.definition.mode));
        writeln!(
            out,
            "{name:<24} {mode:<10} {:>10} {:>10} {:>12} {:>10} {:>8} {:>8} {}{}",
            c.lag,
            c.in_flight,
            c.next,
            c.redelivered,
            c.dead,
            c.members.len(),
            c.seat,
            if c.paused_until.is_some() { " (paused)" } else { "" }
        )?;
    }
    out.flush()
}

fn mode(mode: ConsumerMode) -> &'static str {
    match mode {
        ConsumerMode::Shared => "shared",
        ConsumerMode::Exclusive => "exclusive",
        ConsumerMode::Keyed => "keyed",
    }
}

/// When a pause ends.
fn paused(until: UnixNanos) -> String {
    if until.0 == u64::MAX { "until it is resumed".to_owned() } else { rfc3339(until) }
}

/// Everything there is to say of one consumer, for people.
fn show(c: &ConsumerReport) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let d = &c.definition;
    let or = |text: String, none: &str| if text.is_empty() { none.to_owned() } else { text };
    let backoff: Vec<String> = d.backoff.iter().copied().map(show_duration).collect();
    let dead = match (&d.dead_stream, d.dead_letters) {
        (_, false) => "none are kept".to_owned(),
        (Some(stream), _) => format!("go to `{stream}`"),
        (None, _) => "go to the stream's name and `-dead`".to_owned(),
    };
    let rows = [
        ("consumer", c.name().to_owned()),
        ("mode", mode(d.mode).to_owned()),
        ("filters", or(d.filters.join(" "), "all topics")),
        ("where", or(d.predicate.clone(), "-")),
        ("lag", format!("{} events", c.lag)),
        ("settled up to", c.floor.to_string()),
        ("next", c.next.to_string()),
        ("in flight", c.in_flight.to_string()),
        ("handed out again", c.redelivered.to_string()),
        ("expired", c.expired.to_string()),
        ("ack wait", d.ack_wait.map_or("the hub's default".to_owned(), show_duration)),
        ("back-off", or(backoff.join(", "), "-")),
        ("handed out at most", d.max_deliver.map_or("any number of times".to_owned(), |n| format!("{n} times"))),
        ("dead letters", format!("{}, {dead}", c.dead)),
        ("paused", c.paused_until.map_or("no".to_owned(), paused)),
        ("seat", c.seat.clone()),
    ];
    for (name, value) in rows {
        writeln!(out, "{name:<20} {value}")?;
    }
    for member in &c.members {
        let token = if member.token == 0 { "stands by".to_owned() } else { format!("token {}", member.token) };
        writeln!(out, "{:<20} {}, {token}, {} in flight", "member", member.name, member.in_flight)?;
    }
    out.flush()
}

/// Everything there is to say of one consumer, for programs.
pub(crate) fn object(c: &ConsumerReport) -> Value {
    let d = &c.definition;
    let members = c.members.iter().map(|m| json!({ "name": m.name, "token": m.token, "inFlight": m.in_flight }));
    json!({
        "name": c.name(), "mode": mode(d.mode), "filters": d.filters, "where": d.predicate,
        "floor": c.floor, "next": c.next, "lag": c.lag, "inFlight": c.in_flight, "redelivered": c.redelivered,
        "dead": c.dead, "expired": c.expired, "members": members.collect::<Vec<_>>(),
        "pausedUntil": c.paused_until.map(paused), "seat": c.seat,
        "ackWait": d.ack_wait.map(show_duration), "maxDeliver": d.max_deliver,
        "backoff": d.backoff.iter().copied().map(show_duration).collect::<Vec<_>>(),
        "maxInFlight": d.max_in_flight, "deadLetters": d.dead_letters, "deadStream": d.dead_stream,
        "inactive": d.inactive.map(show_duration),
    })
}
