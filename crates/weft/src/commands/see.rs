//! `weft mesh where` and `weft mesh trace`: what all hubs say, put together.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::str::FromStr;
use std::time::Duration;

use serde_json::{Map, Value, json};
use weft_base::{Epoch, HubId, ProducerId, UnixNanos};
use weft_client::{AckLevel, Client, HubSaid, PublisherOptions, Question, facts};

use crate::cli::AskArgs;
use crate::connect::{connect, why};
use crate::time::rfc3339;

/// How often a trace looks again while its event is on its way, and how many times.
const LOOKS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// An event, as `weft mesh where` is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EventName(Question);

impl EventName {
    /// What is asked about it.
    pub(crate) fn question(&self) -> &Question {
        &self.0
    }
}

impl FromStr for EventName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no event: write HUB/SEQUENCE, HUB/EPOCH/SEQUENCE or producer:HEX/SEQUENCE");
        let parts: Vec<&str> = text.split('/').collect();
        let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
        match parts.as_slice() {
            [producer, sequence] if producer.starts_with("producer:") => {
                let id = producer.strip_prefix("producer:").unwrap_or_default();
                let producer = u64::from_str_radix(id, 16).map_err(|_| wrong())?;
                Ok(Self(Question::OfProducer { producer: ProducerId(producer), sequence: number(sequence)? }))
            }
            [hub, rest @ .., sequence] if rest.len() <= 1 && weft_hub::options::is_label(hub) => {
                let epoch = rest.first().map_or(Ok(0), |epoch| number(epoch))?;
                let epoch = Epoch(u32::try_from(epoch).map_err(|_| wrong())?);
                Ok(Self(Question::Event { origin: HubId::of_name(hub), epoch, sequence: number(sequence)? }))
            }
            _ => Err(wrong()),
        }
    }
}

/// Says where an event went.
pub(crate) async fn where_is(event: EventName, args: &AskArgs) -> anyhow::Result<()> {
    let client = connect(&args.server, "weft mesh where").await?;
    let said = client.ask_mesh(&event.0, args.wait).await?;
    client.close().await;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", object(&said))?;
    } else {
        show_event(&said, &mut out)?;
    }
    out.flush()?;
    Ok(())
}

/// Publishes an event and shows its way, or where one would go.
pub(crate) async fn trace(topic: &str, payload: &[u8], dry: bool, args: &AskArgs) -> anyhow::Result<()> {
    let client = connect(&args.server, "weft mesh trace").await?;
    let said = if dry {
        client.ask_mesh(&Question::Topic(topic.to_owned()), args.wait).await?
    } else {
        followed(&client, topic, payload, args.wait).await?
    };
    client.close().await;
    let mut out = io::stdout().lock();
    match (args.json, dry) {
        (true, _) => writeln!(out, "{}", object(&said))?,
        (false, true) => show_dry(topic, &said, &mut out)?,
        (false, false) => show_trace(topic, &said, &mut out)?,
    }
    out.flush()?;
    Ok(())
}

/// Publishes, and asks until the event is on its way nowhere.
async fn followed(client: &Client, topic: &str, payload: &[u8], wait: Duration) -> anyhow::Result<Vec<HubSaid>> {
    let publisher = client.publisher(PublisherOptions::level(AckLevel::Routed));
    let published = match publisher.publish(topic, payload).await {
        Ok(acknowledgement) => acknowledgement.await.map_err(|error| why(client, anyhow::Error::from(error)))?,
        Err(error) => return Err(why(client, anyhow::Error::from(error))),
    };
    let question = Question::Event { origin: published.origin, epoch: published.epoch, sequence: published.sequence };
    let mut said = client.ask_mesh(&question, wait).await?;
    for _ in 0..LOOKS {
        if has_ended(&said) {
            break;
        }
        std::thread::sleep(PAUSE);
        said = client.ask_mesh(&question, wait).await?;
    }
    Ok(said)
}

/// Whether nothing is in flight, and all hubs that it was sent to have seen it.
fn has_ended(said: &[HubSaid]) -> bool {
    let found: Vec<&HubSaid> = found(said).collect();
    let sent = found.iter().flat_map(|hub| hub.all(facts::SENT_TO)).map(|fact| fact.text.as_str());
    let seen = |name: &str| said.iter().any(|hub| hub.name == name && (is_found(hub) || !hub.answered));
    !found.is_empty() && found.iter().all(|hub| hub.number(facts::IN_FLIGHT) == 0) && sent.into_iter().all(seen)
}

fn is_found(hub: &HubSaid) -> bool {
    hub.number(facts::FOUND) > 0
}

fn found(said: &[HubSaid]) -> impl Iterator<Item = &HubSaid> {
    said.iter().filter(|hub| is_found(hub))
}

/// What became of an event at one hub, in words.
fn outcome(hub: &HubSaid) -> String {
    let mut parts = Vec::new();
    let mut part = |name: &str, words: &str| {
        let number = hub.number(name);
        if number > 0 {
            parts.push(format!("{number} {words}"));
        }
    };
    part(facts::DELIVERED, "delivered");
    part(facts::STORED, "stored");
    part(facts::FORWARDED, "forwarded");
    part(facts::SPOOLED, "kept on disk for a home that cannot be reached");
    part(facts::IN_FLIGHT, "in flight");
    for fact in &hub.facts {
        if let Some(reason) = fact.name.strip_prefix(facts::DROPPED) {
            parts.push(format!("{} dropped: {reason}", fact.value));
        }
    }
    for stream in hub.all(facts::STREAM) {
        parts.push(format!("in stream `{}` from sequence {}", stream.text, stream.value));
    }
    let links: Vec<&str> = hub.all(facts::SENT_TO).map(|fact| fact.text.as_str()).collect();
    if !links.is_empty() {
        parts.push(format!("over the link to {}", links.join(", ")));
    }
    let again = hub.number(facts::AGAIN);
    if again > 0 {
        parts.push(format!("came {again} times more and was cut"));
    }
    if parts.is_empty() { "nothing was made of it here".to_owned() } else { parts.join(", ") }
}

fn show_event(said: &[HubSaid], out: &mut impl Write) -> io::Result<()> {
    let Some(first) = found(said).next() else {
        writeln!(out, "not known any more, or never seen")?;
        return silent_and_short(said, out);
    };
    let origin = first.fact(facts::ORIGIN);
    let entered = UnixNanos(first.number(facts::INGESTED));
    let events = first.number(facts::EVENTS);
    let (hub, sequence) = origin.map_or(("", 0), |fact| (fact.text.as_str(), fact.value));
    writeln!(out, "entered the mesh at {hub}, {}", rfc3339(entered))?;
    writeln!(out, "in a block of {events}, sequences {sequence} to {}", sequence + events.saturating_sub(1))?;
    writeln!(out, "\n{:<20} {:<20} WHAT BECAME OF THE BLOCK'S COPIES", "HUB", "CAME FROM")?;
    for hub in found(said) {
        let from = hub.fact(facts::FROM).map_or("a client", |fact| &fact.text);
        writeln!(out, "{:<20} {from:<20} {}", hub.name, outcome(hub))?;
    }
    let total = |name: &str| found(said).map(|hub| hub.number(name)).sum::<u64>();
    let (delivered, stored, flying) = (total(facts::DELIVERED), total(facts::STORED), total(facts::IN_FLIGHT));
    writeln!(out, "\nin all {delivered} delivered, {stored} stored, {flying} in flight")?;
    silent_and_short(said, out)
}

/// The hubs that did not answer, and those whose window may be too short.
fn silent_and_short(said: &[HubSaid], out: &mut impl Write) -> io::Result<()> {
    for hub in said.iter().filter(|hub| !hub.answered) {
        writeln!(out, "{}: no answer", hub.name)?;
    }
    for hub in said.iter().filter(|hub| hub.answered && !is_found(hub)) {
        let (window, back) = (hub.number(facts::WINDOW), hub.number(facts::REACHES_BACK));
        let reach = match (window, back) {
            (0, _) => "it remembers nothing (see.window = 0)".to_owned(),
            (_, 0) => "nothing has crossed it".to_owned(),
            _ => format!("its window of {window} blocks reaches back to {}", rfc3339(UnixNanos(back))),
        };
        writeln!(out, "{}: has not seen it, or not any more; {reach}", hub.name)?;
    }
    Ok(())
}

/// A line of a tree: how deep, and what.
fn branch(depth: usize, text: &str, out: &mut impl Write) -> io::Result<()> {
    let indent = "   ".repeat(depth.saturating_sub(1));
    let mark = if depth > 0 { "└─ " } else { "" };
    writeln!(out, "{indent}{mark}{text}")
}

fn show_trace(topic: &str, said: &[HubSaid], out: &mut impl Write) -> io::Result<()> {
    let mut known: Vec<&HubSaid> = found(said).collect();
    known.sort_by_key(|hub| hub.time(facts::ROUTED_AT));
    let Some(start) = known.iter().find(|hub| hub.fact(facts::FROM).is_none()) else {
        writeln!(out, "the hub that took the event does not remember it (see.window)")?;
        return silent_and_short(said, out);
    };
    writeln!(out, "{topic}, times from when it came to {}", start.name)?;
    let zero = start.time(facts::CAME_AT).unwrap_or_default();
    let mut shown = BTreeSet::new();
    show_hop(start, &known, zero, 0, &mut shown, out)?;
    silent_and_short(said, out)
}

/// One hub of the way, and those behind it.
fn show_hop<'a>(
    hub: &'a HubSaid,
    known: &[&'a HubSaid],
    zero: u64,
    depth: usize,
    shown: &mut BTreeSet<&'a str>,
    out: &mut impl Write,
) -> io::Result<()> {
    if !shown.insert(&hub.name) {
        return Ok(());
    }
    let mut stages = Vec::new();
    let names = [
        (facts::CAME_AT, "came"),
        (facts::ROUTED_AT, "routed"),
        (facts::STORED_AT, "stored"),
        (facts::DELIVERED_AT, "delivered"),
        (facts::SENT_AT, "sent"),
    ];
    for (name, words) in names {
        if let Some(time) = hub.time(name) {
            let micros = (i128::from(time) - i128::from(zero)) as f64 / 1e3;
            stages.push(format!("{words} {micros:.0} µs"));
        }
    }
    let unsure = hub.took.as_micros() / 2;
    let clock = if unsure > 0 { format!(" (± {unsure} µs)") } else { String::new() };
    branch(depth, &format!("{}: {}{clock}: {}", hub.name, stages.join(", "), outcome(hub)), out)?;
    for next in known {
        if next.fact(facts::FROM).is_some_and(|from| from.text == hub.name) {
            show_hop(next, known, zero, depth + 1, shown, out)?;
        }
    }
    Ok(())
}

fn show_dry(topic: &str, said: &[HubSaid], out: &mut impl Write) -> io::Result<()> {
    let Some(start) = said.first() else { return Ok(()) };
    writeln!(out, "{topic}, published at {}: nothing is sent", start.name)?;
    show_mapping(start, out)?;
    branch(0, &format!("{}: {}", start.name, would(start)), out)?;
    for (to, via) in ways(start) {
        let what = if to.value > 0 { "to be stored" } else { "for live subscribers" };
        if via.text.is_empty() {
            branch(1, &format!("{}, {what}: no path leads there", to.text), out)?;
            continue;
        }
        let way = path(said, &start.name, &to.text).join(" -> ");
        let there = said.iter().find(|hub| hub.name == to.text && hub.answered);
        let there = there.map_or_else(|| "no answer".to_owned(), would);
        branch(1, &format!("{way}, {what}: {there}"), out)?;
    }
    for hub in said.iter().filter(|hub| !hub.answered) {
        writeln!(out, "{}: no answer", hub.name)?;
    }
    Ok(())
}

/// What a hub's mapping makes of the topic, where it has a rule for it.
fn show_mapping(hub: &HubSaid, out: &mut impl Write) -> io::Result<()> {
    mapping_in_words(hub).map_or(Ok(()), |words| writeln!(out, "{words}"))
}

/// The same in words; nothing without a rule.
pub(crate) fn mapping_in_words(hub: &HubSaid) -> Option<String> {
    let outcomes: Vec<String> = hub
        .facts
        .iter()
        .filter_map(|fact| {
            let what = match (fact.name.as_str(), fact.text.as_str()) {
                (facts::MAPPED, "") => "dropped".to_owned(),
                (facts::MAPPED, topic) => topic.to_owned(),
                (facts::UNMAPPABLE, why) => format!("refused: {why}"),
                _ => return None,
            };
            let tenths = fact.value % 10;
            let part = if tenths == 0 { String::new() } else { format!(".{tenths}") };
            Some(if fact.value == 1_000 { what } else { format!("{what} ({}{part} %)", fact.value / 10) })
        })
        .collect();
    let shares = if outcomes.len() > 1 { "; what follows is for the largest share" } else { "" };
    (!outcomes.is_empty()).then(|| format!("mapped there to {}{shares}", outcomes.join(", ")))
}

/// The hubs that one would send to, each with the neighbour on the way.
pub(crate) fn ways(hub: &HubSaid) -> impl Iterator<Item = (&weft_client::Fact, &weft_client::Fact)> {
    hub.facts.windows(2).filter_map(|pair| match pair {
        [to, via] if to.name == facts::TO && via.name == facts::VIA => Some((to, via)),
        _ => None,
    })
}

/// The hubs from one to another, as each of them says; where one does not, or
/// they say that it goes round in a circle, with a gap.
pub(crate) fn path<'a>(said: &'a [HubSaid], from: &'a str, to: &'a str) -> Vec<&'a str> {
    let mut path = vec![from];
    while let Some(last) = path.last().filter(|last| **last != to) {
        let hub = said.iter().find(|hub| hub.name == **last);
        let next = hub.and_then(|hub| ways(hub).find(|(known, _)| known.text == to)).map(|(_, via)| via.text.as_str());
        match next.filter(|next| !next.is_empty() && !path.contains(next)) {
            Some(next) => path.push(next),
            None => {
                path.extend(["?", to]);
                break;
            }
        }
    }
    path
}

/// What a hub would do with an event of a topic, but for other hubs.
fn would(hub: &HubSaid) -> String {
    let mut parts = vec![format!("{} live subscriptions", hub.number(facts::LOCAL))];
    parts.extend(hub.all(facts::STREAM).map(|fact| format!("stream `{}`", fact.text)));
    parts.extend(hub.all(facts::GROUP).map(|fact| format!("one of group `{}`, {} here", fact.text, fact.value)));
    parts.extend(hub.all(facts::TO_SPOOL).map(|_| "on disk until a stream's home can be reached".to_owned()));
    parts.join(", ")
}

/// The same as JSON.
pub(crate) fn object(said: &[HubSaid]) -> Value {
    let hub = |hub: &HubSaid| {
        let facts: Vec<Value> = hub
            .facts
            .iter()
            .map(|fact| {
                let mut object = Map::new();
                object.insert("name".to_owned(), fact.name.clone().into());
                if !fact.text.is_empty() {
                    object.insert("text".to_owned(), fact.text.clone().into());
                }
                object.insert("value".to_owned(), fact.value.into());
                Value::Object(object)
            })
            .collect();
        json!({
            "hub": hub.name, "answered": hub.answered, "tookUs": hub.took.as_micros() as u64,
            "aheadNs": hub.ahead_ns, "facts": facts,
        })
    };
    json!({ "hubs": said.iter().map(hub).collect::<Vec<_>>() })
}

pub(crate) mod ledger;
pub(crate) mod topics;

#[cfg(test)]
mod tests;
