//! `weft stream replay-dead`: dead letters are published again, to the topics
//! that they came from.
//!
//! Each is published once, however often this is called and whenever it is
//! interrupted: by a producer whose id is made of the stream of dead letters,
//! the consumer that gave it up and its topic, under the dead letter's
//! sequence. The topic is in it because a producer's numbers only go upwards:
//! a call for one topic must not hide the others from a later one. Streams
//! remember that for their `dedup_window`.

use std::io::{self, Write};

use weft_client::{
    AckLevel, Client, Delivery, EventFields, HeadersWriter, Producer, Published, PublisherOptions, StartAt,
    SubscribeOptions, Terms,
};
use weft_topic::{Filter, Topic};
use weft_wire::Headers;
use weft_wire::headers::names;

use crate::Usage;
use crate::cli::stream::ReplayDeadArgs;
use crate::connect::{connect, why};

/// What all headers of dead letters begin with.
const DEAD: &str = "weft-dead-";

/// What was done.
#[derive(Default)]
struct Counts {
    published: u64,
    known: u64,
    others: u64,
    unreadable: u64,
    /// Letters that are not the whole event.
    parts: u64,
}

pub(crate) async fn run(args: &ReplayDeadArgs) -> anyhow::Result<()> {
    let filter = Filter::parse(&args.filter).map_err(|e| Usage(e.to_string()))?;
    let client = connect(&args.server, "weft stream replay-dead").await?;
    let dead = dead_stream(args, &client).await?;
    let counts = replay(args, &client, &dead, &filter).await.map_err(|error| why(&client, error))?;
    let Counts { published, known, others, unreadable, parts } = counts;
    let verb = if args.dry_run { "would be published" } else { "published" };
    eprintln!(
        "dead letters of `{}` in `{dead}`: {published} {verb}, {known} were published before, {others} not asked for, \
         {unreadable} without a topic to go to, {parts} without all of the event (they say in `{}` what is missing)",
        args.name,
        names::DEAD_LEFT_OUT
    );
    client.close().await;
    Ok(())
}

/// Where the dead letters are.
async fn dead_stream(args: &ReplayDeadArgs, client: &Client) -> anyhow::Result<String> {
    let named = match (&args.dead_stream, &args.consumer) {
        (Some(stream), _) => Some(stream.clone()),
        (None, Some(consumer)) => {
            let report = client.streams().consumers(&args.name).info(consumer).await;
            // A consumer that is deleted has left its dead letters all the same.
            report.ok().and_then(|report| report.definition.dead_stream)
        }
        (None, None) => None,
    };
    Ok(named.unwrap_or_else(|| format!("{}-dead", args.name)))
}

async fn replay(args: &ReplayDeadArgs, client: &Client, dead: &str, filter: &Filter) -> anyhow::Result<Counts> {
    let mut counts = Counts::default();
    // What dies meanwhile, perhaps again by what is published here, is for the next call.
    let end = client.streams().info(dead).await?.next;
    let mut subscription = client.subscribe("**", SubscribeOptions::stream(dead, StartAt::First)).await?;
    let mut at = subscription.start_sequence();
    while at < end {
        let Some(delivery) = subscription.next().await else { anyhow::bail!("the connection is closed") };
        let delivery = delivery?;
        one_block(args, client, dead, filter, &delivery, end, &mut counts).await?;
        at = delivery.stream_sequence() + u64::from(delivery.event_count());
    }
    Ok(counts)
}

/// Publishes what is asked for of a block.
async fn one_block(
    args: &ReplayDeadArgs,
    client: &Client,
    dead: &str,
    filter: &Filter,
    delivery: &Delivery,
    end: u64,
    counts: &mut Counts,
) -> anyhow::Result<()> {
    for (event, sequence) in delivery.events().zip(delivery.stream_sequence()..end) {
        let text = |name: &str| event.headers.get(name).map(String::from_utf8_lossy).unwrap_or_default();
        let (stream, consumer) = (text(names::DEAD_STREAM), text(names::DEAD_CONSUMER));
        let topic = text(names::DEAD_TOPIC);
        let Ok(parsed) = Topic::parse(&topic) else {
            counts.unreadable += 1;
            continue;
        };
        let asked = stream == args.name.as_str()
            && args.consumer.as_ref().is_none_or(|name| consumer == name.as_str())
            && filter.matches(parsed);
        if !asked {
            counts.others += 1;
            continue;
        }
        if event.headers.get(names::DEAD_LEFT_OUT).is_some() {
            counts.parts += 1;
            continue;
        }
        if args.dry_run {
            let mut out = io::stdout().lock();
            let (reason, attempts) = (text(names::DEAD_REASON), text(names::DEAD_ATTEMPTS));
            writeln!(out, "{sequence}  {topic}  {consumer}  {attempts} attempts  {reason}")?;
            counts.published += 1;
            continue;
        }
        let mut headers = Vec::new();
        without_marks(event.headers, &mut headers)?;
        let event = EventFields { time: event.time, key: event.key, headers: &headers, payload: event.payload };
        // In their bytes no name contains a line's end, so no two make the same text.
        let producer = Producer::named(&format!("weft replay-dead\n{dead}\n{consumer}\n{topic}"), 1);
        let options = PublisherOptions { producer: Some(producer), ..PublisherOptions::level(AckLevel::Synced) };
        let terms = Terms { sequence: Some(sequence), ..Terms::default() };
        let Published { duplicate, .. } =
            client.publisher(options.lane(delivery.block().lane())).publish_on(&topic, event, terms).await?.await?;
        *(if duplicate { &mut counts.known } else { &mut counts.published }) += 1;
    }
    Ok(())
}

/// The headers that the event had before it died.
fn without_marks(headers: Headers<'_>, out: &mut Vec<u8>) -> anyhow::Result<()> {
    let mut writer = HeadersWriter::new(out);
    for (name, value) in headers.iter().filter(|(name, _)| !name.starts_with(DEAD)) {
        writer.push(name, value)?;
    }
    Ok(())
}
