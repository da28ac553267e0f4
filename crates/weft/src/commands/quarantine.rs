//! `weft schema quarantine list|show` and `weft schema replay`: what hubs have put
//! aside because it did not fit its schema.
//!
//! A durable consumer of the stream, [`CONSUMER`], knows what was replayed: what it
//! has settled is done with. An event is published again by a producer that is
//! made of what the event was, so that one that comes twice, because this ended
//! between its publishing and its settling, has one effect (for as long as streams
//! remember producers, their `dedup_window`). It is checked as everything that is
//! published, with a mark: what still does not fit is refused and stays where it is.
//!
//! At most [`MOST`] events that still do not fit are passed over by one call.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::json;
use weft_client::{
    AckLevel, Client, ConsumeOptions, Consumer, ConsumerOptions, EventFields, HeadersWriter, Message, Producer,
    PublishError, Published, PublisherOptions, RequestError, StartAt, SubscribeOptions,
};
use weft_govern::inspect::is_quarantine;
use weft_topic::{Filter, Topic};
use weft_wire::Headers;
use weft_wire::frame::ErrorCode;
use weft_wire::headers::names;

use crate::Usage;
use crate::cli::{QuarantineCommand, QuarantineListArgs, QuarantineShowArgs, ReplayArgs};
use crate::connect::{connect, why};

/// The consumer that knows what was replayed.
const CONSUMER: &str = "weft-replay";
/// What is to be done by who may not see all streams.
const UNNAMED: &str = "name the stream, NAME-HUB or of a tenant's topics NAME-TENANT-HUB: only who may observe the mesh is \
                       told which there are";
/// Events that are passed over in one call.
const MOST: u32 = 10_000;
/// Events that are asked for at a time.
const BATCH: u64 = 256;
/// How long a hub may take to hand out what it says is there.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one call may hold on to what it passes over.
const ACK_WAIT: Duration = Duration::from_secs(600);

pub(crate) async fn run(command: &QuarantineCommand, out: &mut impl Write) -> anyhow::Result<()> {
    match command {
        QuarantineCommand::List(args) => list(args, out).await,
        QuarantineCommand::Show(args) => show(args, out).await,
    }
}

/// The streams that are asked for.
async fn streams(client: &Client, named: Option<&String>) -> anyhow::Result<Vec<String>> {
    if let Some(stream) = named {
        return Ok(vec![stream.clone()]);
    }
    let all = client.streams().list().await.map_err(|error| {
        let is_denied = matches!(&error, RequestError::Refused(refusal) if refusal.code == ErrorCode::DENIED);
        match why(client, error) {
            error if is_denied => error.context(UNNAMED),
            error => error,
        }
    })?;
    let is_one = |filters: &[String]| {
        !filters.is_empty() && filters.iter().all(|filter| Filter::parse(filter).is_ok_and(|one| is_quarantine(&one)))
    };
    Ok(all.into_iter().map(|report| report.definition).filter(|one| is_one(&one.filters)).map(|one| one.name).collect())
}

/// A member of the consumer, and how many events are not settled.
async fn open(client: &Client, stream: &str) -> anyhow::Result<(Consumer, u64)> {
    let consumers = client.streams().consumers(stream);
    let lag = match consumers.info(CONSUMER).await {
        Ok(report) => report.lag,
        Err(_) => {
            let options = ConsumerOptions {
                max_in_flight: Some(MOST),
                dead_letters: false,
                ..ConsumerOptions::new(CONSUMER).ack_wait(ACK_WAIT)
            };
            consumers.create(&options).await.with_context(|| format!("stream `{stream}`"))?;
            consumers.info(CONSUMER).await?.lag
        }
    };
    Ok((consumers.open(CONSUMER, ConsumeOptions::pull()).await?, lag))
}

/// What an event in quarantine says of itself.
struct Said<'a>(Headers<'a>);

impl Said<'_> {
    fn text(&self, name: &str) -> String {
        self.0.get(name).map(String::from_utf8_lossy).unwrap_or_default().into_owned()
    }

    fn reason(&self) -> String {
        let (rule, at) = (self.text(names::QUARANTINE_RULE), self.text(names::QUARANTINE_AT));
        format!("'{rule}' at '{at}': {}", self.text(names::QUARANTINE_TEXT))
    }

    fn by_what(&self) -> String {
        let (version, schema) = (self.text(names::QUARANTINE_VERSION), self.text(names::QUARANTINE_SCHEMA));
        let which =
            if version.is_empty() { "no version".to_owned() } else { format!("version {version}, schema {schema}") };
        format!("{} ({which}, state {})", self.text(names::QUARANTINE_SUBJECT), self.text(names::QUARANTINE_STATE))
    }
}

async fn list(args: &QuarantineListArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let client = connect(&args.server, "weft schema quarantine").await?;
    let mut all = 0;
    for stream in streams(&client, args.stream.as_ref()).await? {
        let (mut consumer, lag) = open(&client, &stream).await.map_err(|error| why(&client, error))?;
        let mut left = lag.min(args.most.into());
        all += lag;
        let mut looked = Vec::new();
        while left > 0 {
            let messages = consumer.fetch(left.min(BATCH), PATIENCE).await?;
            if messages.is_empty() {
                break;
            }
            left = left.saturating_sub(messages.len() as u64);
            for message in &messages {
                line(&stream, message, args.json, out)?;
            }
            looked.extend(messages);
        }
        // Looked at, and nothing done with them.
        for message in looked {
            message.nack(Duration::ZERO)?;
        }
    }
    out.flush()?;
    eprintln!("{all} in quarantine");
    client.close().await;
    Ok(())
}

fn line(stream: &str, message: &Message, as_json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let said = Said(message.headers());
    let (sequence, topic, by) = (message.sequence(), message.topic(), said.text(names::QUARANTINE_BY));
    if as_json {
        let text = |name: &str| said.text(name);
        let object = json!({
            "stream": stream, "sequence": sequence, "topic": topic, "by": by,
            "subject": text(names::QUARANTINE_SUBJECT), "version": text(names::QUARANTINE_VERSION).parse::<u32>().ok(),
            "schema": text(names::QUARANTINE_SCHEMA).parse::<u32>().ok(),
            "state": text(names::QUARANTINE_STATE).parse::<u64>().ok(),
            "at": text(names::QUARANTINE_AT), "rule": text(names::QUARANTINE_RULE), "text": text(names::QUARANTINE_TEXT),
            "bytes": message.payload().len(),
        });
        writeln!(out, "{object}")?;
    } else {
        writeln!(out, "{stream}  {sequence}  {topic}  by `{by}`  {}  {}", said.by_what(), said.reason())?;
    }
    Ok(())
}

async fn show(args: &QuarantineShowArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let client = connect(&args.server, "weft schema quarantine").await?;
    let report = client.streams().info(&args.stream).await.map_err(|error| why(&client, error))?;
    if !(report.first..report.next).contains(&args.sequence) {
        let what = format!("`{}` has events {} to {}", args.stream, report.first, report.next.saturating_sub(1));
        bail!(Usage(format!("there is no event {}: {what}", args.sequence)));
    }
    let options = SubscribeOptions::stream(&*args.stream, StartAt::Sequence(args.sequence));
    let mut subscription = client.subscribe("**", options).await?;
    let Some(delivery) = subscription.next().await.transpose()? else { bail!("the connection is closed") };
    let place = usize::try_from(args.sequence.saturating_sub(delivery.stream_sequence())).unwrap_or(usize::MAX);
    let Some(event) = delivery.events().nth(place) else { bail!("event {} is there no more", args.sequence) };
    if args.payload {
        out.write_all(event.payload)?;
    } else {
        let said = Said(event.headers);
        writeln!(out, "topic    {}", delivery.topic())?;
        writeln!(out, "by       {}", said.text(names::QUARANTINE_BY))?;
        writeln!(out, "subject  {}", said.by_what())?;
        writeln!(out, "why      {}", said.reason())?;
        if !event.key.is_empty() {
            writeln!(out, "key      {}", event.key.escape_ascii())?;
        }
        for (name, value) in event.headers.iter().filter(|(name, _)| !name.starts_with(names::QUARANTINE)) {
            writeln!(out, "header   {name}: {}", value.escape_ascii())?;
        }
        match std::str::from_utf8(event.payload) {
            Ok(text) if !text.contains(|c: char| c.is_control() && c != '\n' && c != '\t') => {
                writeln!(out, "payload  {text}")?;
            }
            _ => writeln!(out, "payload  {}", event.payload.escape_ascii())?,
        }
    }
    out.flush()?;
    client.close().await;
    Ok(())
}

/// What was done.
#[derive(Default)]
struct Counts {
    published: u64,
    known: u64,
    unfit: u64,
    others: u64,
}

pub(crate) async fn replay(args: &ReplayArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let filter = Filter::parse(&args.filter).map_err(|error| Usage(error.to_string()))?;
    let client = connect(&args.server, "weft schema replay").await?;
    let mut counts = Counts::default();
    for stream in streams(&client, args.stream.as_ref()).await? {
        let done = one_stream(&client, &stream, &filter, &mut counts, out).await;
        done.map_err(|error| why(&client, error))?;
    }
    let Counts { published, known, unfit, others } = counts;
    out.flush()?;
    eprintln!("{published} published, {known} were published before, {unfit} still do not fit, {others} not asked for");
    client.close().await;
    Ok(())
}

async fn one_stream(
    client: &Client,
    stream: &str,
    filter: &Filter,
    counts: &mut Counts,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    // What comes meanwhile is for the next call.
    let (mut consumer, mut left) = open(client, stream).await?;
    let mut passed = Vec::new();
    let mut failed = None;
    while left > 0 && failed.is_none() && passed.len() < MOST as usize {
        let messages = consumer.fetch(left.min(BATCH), PATIENCE).await?;
        if messages.is_empty() {
            break;
        }
        left = left.saturating_sub(messages.len() as u64);
        for message in messages {
            if failed.is_some() || !Topic::parse(message.topic()).is_ok_and(|topic| filter.matches(topic)) {
                counts.others += u64::from(failed.is_none());
                passed.push(message);
                continue;
            }
            match publish(client, stream, &message).await {
                Ok(duplicate) => {
                    *(if duplicate { &mut counts.known } else { &mut counts.published }) += 1;
                    message.ack_confirmed().await?;
                }
                Err(Failed::Unfit(why)) => {
                    counts.unfit += 1;
                    writeln!(out, "{stream}  {}  {}  {why}", message.sequence(), message.topic())?;
                    passed.push(message);
                }
                Err(Failed::Other(error)) => {
                    passed.push(message);
                    failed = Some(error);
                }
            }
        }
    }
    for message in passed {
        message.nack(Duration::ZERO)?;
    }
    failed.map_or(Ok(()), Err)
}

/// Why an event could not be published again.
enum Failed {
    /// It does not fit.
    Unfit(String),
    Other(anyhow::Error),
}

/// Publishes an event of a quarantine again, stored where streams capture it.
/// Answers whether it was there before.
async fn publish(client: &Client, stream: &str, message: &Message) -> Result<bool, Failed> {
    let other = |error: anyhow::Error| Failed::Other(error);
    let own = format!("{stream}/{}", message.sequence());
    let mut headers = Vec::new();
    let mut writer = HeadersWriter::new(&mut headers);
    for (name, value) in message.headers().iter().filter(|(name, _)| !name.starts_with(names::QUARANTINE)) {
        writer.push(name, value).map_err(|error| other(error.into()))?;
    }
    writer.push(names::REPLAYED, own.as_bytes()).map_err(|error| other(error.into()))?;
    // Of one that its producer had numbered, also what lies in quarantine twice is one event.
    let event = Said(message.headers()).text(names::QUARANTINE_EVENT);
    let called = if event.is_empty() { format!("at {own}") } else { event };
    let producer = Producer::named(&format!("weft replay\n{called}\n{}", message.topic()), 1);
    let mut level = AckLevel::Synced;
    loop {
        let options = PublisherOptions {
            producer: Some(producer),
            schema: message.block().schema(),
            tenant: message.block().tenant(),
            ..PublisherOptions::level(level)
        };
        let publisher = client.publisher(options.lane(message.block().lane()));
        let event = message.event();
        let fields = EventFields { time: event.time, key: event.key, headers: &headers, payload: event.payload };
        let published = match publisher.publish_event(message.topic(), fields).await {
            Ok(acknowledgement) => acknowledgement.await,
            Err(error) => Err(error),
        };
        match published {
            Ok(Published { duplicate, .. }) => return Ok(duplicate),
            // It goes to whoever is there, and no stream takes it.
            Err(PublishError::Refused(refusal))
                if refusal.code == ErrorCode::NO_STREAM && level != AckLevel::Routed =>
            {
                level = AckLevel::Routed;
            }
            Err(PublishError::Refused(refusal)) if refusal.code == ErrorCode::UNFIT => {
                return Err(Failed::Unfit(refusal.detail));
            }
            Err(error) => return Err(other(error.into())),
        }
    }
}
