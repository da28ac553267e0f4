//! The arguments of `weft bench`.

use std::path::PathBuf;

use clap::Args;

use super::{Level, ServerArgs};

/// Publishers and subscribers, `PxS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) publishers: usize,
    pub(crate) subscribers: usize,
}

/// The most publishers, and the most subscribers: each has a connection and threads.
const MOST_ENDS: usize = 256;

impl std::str::FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no shape: write PxS, publishers and subscribers from 1 to {MOST_ENDS}");
        let (publishers, subscribers) = text.split_once(['x', '×']).ok_or_else(wrong)?;
        let number = |text: &str| text.parse().ok().filter(|n| (1..=MOST_ENDS).contains(n)).ok_or_else(wrong);
        Ok(Self { publishers: number(publishers)?, subscribers: number(subscribers)? })
    }
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Publishers and subscribers, each on a connection of its own; every
    /// subscriber gets what every publisher publishes.
    #[arg(long, value_name = "PxS", default_value = "1x1")]
    pub(crate) shape: Shape,
    /// Bytes of an event's payload, at least 8.
    #[arg(long, value_name = "BYTES", default_value_t = 128)]
    pub(crate) size: usize,
    /// Events a second over all publishers, sent when they are due whatever
    /// happened to those before; without it, as fast as the subscribers take them.
    #[arg(long, value_name = "N", conflicts_with = "ramp")]
    pub(crate) rate: Option<f64>,
    /// Raise the rate until events are lost, too few arrive, or p99 passes its
    /// limit; then look for the breaking point.
    #[arg(long, visible_alias = "find-limit")]
    pub(crate) ramp: bool,
    /// With --ramp: the first rate.
    #[arg(long, value_name = "N", default_value_t = 10_000.0, requires = "ramp")]
    pub(crate) from: f64,
    /// With --ramp: the longest p99 that counts as holding, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 10.0, requires = "ramp")]
    pub(crate) p99: f64,
    /// How long each step lasts.
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    pub(crate) seconds: f64,
    /// The lanes, 0 (most urgent) to 7; publishers take them in turn.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "4")]
    pub(crate) lane: Vec<u8>,
    /// What must have happened before an event counts as published; for
    /// written and synced a stream is made for the time being.
    #[arg(long, value_enum, default_value = "none")]
    pub(crate) level: Level,
    /// Without a rate: how many events publishers may be ahead of the slowest subscriber.
    #[arg(long, value_name = "N", default_value_t = 32_768)]
    pub(crate) window: u64,
    /// Subscribe at this hub, instead of the one that is published to.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) subscribe_at: Option<String>,
    /// Everything as a JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    /// Add what was measured to this file, a line of JSON, for `weft plan-capacity`.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Draw latency over rate into this file (SVG).
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}
