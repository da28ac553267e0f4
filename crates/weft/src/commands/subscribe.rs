//! `weft sub`: print what comes.

use std::io::{self, BufWriter, Write};
use std::time::Duration;

use weft_base::Random;
use weft_client::{
    ConsumeOptions, Consumer, ConsumerOptions, Delivery, Replay, SettleError, SubscribeOptions, Subscription,
};
use weft_topic::{Filter, Topic};

use crate::cli::consumer::Speed;
use crate::cli::{Format, SubArgs};
use crate::connect::{connect_for, start_at};
use crate::events;

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Upto {
    /// Never by itself.
    Forever,
    /// After this many events.
    Count(u64),
    /// Before this sequence of the stream.
    Sequence(u64),
}

impl Upto {
    /// The sequence at which to stop; beyond all where there is none.
    const fn sequence(self) -> u64 {
        match self {
            Self::Sequence(end) => end,
            Self::Forever | Self::Count(_) => u64::MAX,
        }
    }
}

pub(crate) async fn run(args: &SubArgs) -> anyhow::Result<()> {
    let mut options = match &args.stream {
        Some(stream) => SubscribeOptions::stream(stream, start_at(&args.from)?),
        None => SubscribeOptions::default(),
    };
    if let (Some(stream), true) = (&args.stream, args.predicate.is_some() || args.speed.is_some()) {
        return through_consumer(args, stream).await;
    }
    (options.on_full, options.spill) = args.on_full.clone();
    (options.group, options.weight) = (args.group.clone(), args.weight);
    let client = connect_for(&args.server, &args.name, None).await?;
    let subscription = client.subscribe(&args.filter, options).await?;
    let hub = client.hub().map_or_else(String::new, |hub| format!(" at hub `{}`", hub.name));
    eprintln!("subscribed to `{}`{hub}", args.filter);
    if let Some(at) = &args.live_at {
        let receipt = subscription.live(at, args.receipt_timeout).await?;
        receipt.hubs.iter().for_each(|line| eprintln!("  {:<24} {}", line.hub, line.state()));
        if !receipt.met {
            anyhow::bail!("`{}` is not live at {at}: {}", args.filter, receipt.shortfall());
        }
        eprintln!("live at {at}");
    }
    follow(subscription, args.format, None, args.count.map_or(Upto::Forever, Upto::Count)).await?;
    client.close().await;
    Ok(())
}

/// How long a consumer that was made for this is kept when this dies.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// Reads a stream through a consumer that is made for it and deleted at the
/// end: a hub chooses and paces for consumers only.
async fn through_consumer(args: &SubArgs, stream: &str) -> anyhow::Result<()> {
    let client = connect_for(&args.server, &args.name, None).await?;
    let consumers = client.streams().consumers(stream);
    let name = format!("sub-{:016x}", Random::from_entropy()?.next_u64());
    let options = ConsumerOptions {
        filters: vec![args.filter.clone()],
        predicate: args.predicate.clone().unwrap_or_default(),
        start: start_at(&args.from)?,
        replay: match args.speed {
            Some(Speed::Original) => Replay::Original,
            _ => Replay::Full,
        },
        dead_letters: false,
        inactive: Some(FORGOTTEN),
        ..ConsumerOptions::new(&name)
    };
    consumers.create(&options).await?;
    let mut consumer = consumers.open(&name, ConsumeOptions::default()).await?;
    eprintln!("subscribed to `{}` of stream `{stream}`", args.filter);
    let printed = print_messages(args, &mut consumer).await;
    drop(consumer);
    consumers.delete(&name).await?;
    client.close().await;
    printed
}

async fn print_messages(args: &SubArgs, consumer: &mut Consumer) -> anyhow::Result<()> {
    let mut out = BufWriter::with_capacity(64 << 10, io::stdout().lock());
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        let item = match consumer.try_next() {
            Some(item) => Some(item),
            None => {
                out.flush()?;
                consumer.next().await
            }
        };
        let Some(message) = item else { anyhow::bail!("the connection is closed") };
        let message = message?;
        events::print_message(&mut out, args.format, &message)?;
        left -= 1;
        match message.ack() {
            // It is printed again: said here, because nothing else shows it.
            Err(SettleError::Stale { .. }) => eprintln!("weft: the connection was lost; some events come twice"),
            settled => settled?,
        }
    }
    Ok(out.flush()?)
}

/// Prints deliveries, those of `filter` if there is one, until it is time to
/// stop. Output is flushed whenever
/// nothing more is there to print.
pub(crate) async fn follow(
    mut subscription: Subscription,
    format: Format,
    filter: Option<&Filter>,
    upto: Upto,
) -> anyhow::Result<()> {
    let mut out = BufWriter::with_capacity(64 << 10, io::stdout().lock());
    let mut left = match upto {
        Upto::Count(count) => count,
        _ => u64::MAX,
    };
    while left > 0 {
        let item = match subscription.try_next() {
            Some(item) => item,
            None => {
                out.flush()?;
                match subscription.next_below(upto.sequence()).await {
                    Some(item) => item,
                    // What is missing at the end is told by nothing that follows.
                    None if upto.sequence() < u64::MAX => {
                        events::report_missing(subscription.gap_behind());
                        break;
                    }
                    None => anyhow::bail!("the connection is closed"),
                }
            }
        };
        let delivery = item?;
        events::report_gap(&delivery);
        if wanted(&delivery, filter) {
            let most = left.min(before_end(&delivery, upto));
            left -= events::print(&mut out, format, &delivery, most)?;
        }
        if let Upto::Sequence(end) = upto
            && delivery.stream_sequence() + u64::from(delivery.event_count()) >= end
        {
            break;
        }
    }
    out.flush()?;
    Ok(())
}

/// Whether a delivery is to be printed.
fn wanted(delivery: &Delivery, filter: Option<&Filter>) -> bool {
    filter.is_none_or(|filter| Topic::parse(delivery.topic()).is_ok_and(|topic| filter.matches(topic)))
}

/// How many of a delivery's events lie before the end.
fn before_end(delivery: &Delivery, upto: Upto) -> u64 {
    upto.sequence().saturating_sub(delivery.stream_sequence())
}
