//! The command line of `weft consumer`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::{Format, ServerArgs};
use crate::time::parse_duration;

#[derive(Debug, Subcommand)]
pub(crate) enum ConsumerCommand {
    /// Make a durable consumer of a stream.
    Create(Box<CreateArgs>),
    /// List a stream's consumers.
    List {
        /// The stream.
        stream: String,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show one consumer, with its members.
    Info {
        #[command(flatten)]
        consumer: ConsumerName,
        /// As a JSON object.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Delete a consumer, and what it knows of who has had what.
    Delete {
        #[command(flatten)]
        consumer: ConsumerName,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Hand out nothing for a while, or until it is resumed.
    Pause {
        #[command(flatten)]
        consumer: ConsumerName,
        /// For how long, such as `10 min`.
        #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
        time: Option<Duration>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Hand out again.
    Resume {
        #[command(flatten)]
        consumer: ConsumerName,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Begin anew from somewhere: what was settled beyond it comes again.
    Reset {
        #[command(flatten)]
        consumer: ConsumerName,
        /// Where: first, last, new, a sequence, or a time such as 2013-01-01T10:00:00Z.
        #[arg(long, value_name = "PLACE", default_value = "first")]
        from: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Have it served by one home of the stream, whenever that can be reached.
    Move {
        #[command(flatten)]
        consumer: ConsumerName,
        /// The name of the hub.
        #[arg(long, value_name = "HUB", required_unless_present = "anywhere")]
        to: Option<String>,
        /// Prefer no home any more.
        #[arg(long, conflicts_with = "to")]
        anywhere: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Take the next events, print them, and say what becomes of them.
    Next(NextArgs),
}

/// Which consumer.
#[derive(Debug, Args)]
pub(crate) struct ConsumerName {
    /// The stream.
    pub(crate) stream: String,
    /// The consumer.
    pub(crate) name: String,
}

/// How the members of a consumer share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Each event goes to one member, whoever has room.
    Shared,
    /// One member gets everything, the others stand by.
    Exclusive,
    /// The events of one key go to one member, in order.
    Keyed,
}

/// How fast what the stream had before is handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Speed {
    /// As fast as it is taken.
    Full,
    /// At the distances in which it came.
    Original,
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    pub(crate) consumer: ConsumerName,
    /// Only these topics; as many as needed.
    #[arg(long, value_name = "FILTER", value_parser = super::names::filter)]
    pub(crate) filter: Vec<String>,
    /// Only these events: a condition on headers, key, topic, length and time.
    #[arg(long = "where", value_name = "PREDICATE", default_value = "")]
    pub(crate) predicate: String,
    /// Where it starts: first, last, new, a sequence, or a time.
    #[arg(long, value_name = "PLACE", default_value = "first")]
    pub(crate) from: String,
    /// How members share.
    #[arg(long, value_enum, default_value = "shared")]
    pub(crate) mode: Mode,
    /// How long a member has for an event before it comes again.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) ack_wait: Option<Duration>,
    /// How often an event is handed out at most; then it is a dead letter.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_deliver: Option<u32>,
    /// How long to wait before an event comes again, by attempt, such as
    /// `1s,5s,1 min`; the last serves for all that follow.
    #[arg(long, value_name = "DURATION,…", value_delimiter = ',', value_parser = parse_duration)]
    pub(crate) backoff: Vec<Duration>,
    /// The most events handed out and not settled, over all members.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_in_flight: Option<u32>,
    /// How fast what is in the stream already is handed out.
    #[arg(long, value_enum, default_value = "full")]
    pub(crate) speed: Speed,
    /// Keep no dead letters.
    #[arg(long, conflicts_with = "dead_stream")]
    pub(crate) no_dead_letters: bool,
    /// The stream for dead letters; otherwise the stream's name and `-dead`.
    #[arg(long, value_name = "STREAM")]
    pub(crate) dead_stream: Option<String>,
    /// Delete it once it had no members for this long.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) inactive: Option<Duration>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct NextArgs {
    #[command(flatten)]
    pub(crate) consumer: ConsumerName,
    /// How many to take at most.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: u64,
    /// How long to wait for them.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub(crate) wait: Duration,
    /// They are done; this waits until the hub has that on disk. The default.
    #[arg(long, group = "settle")]
    pub(crate) ack: bool,
    /// They come again after this time.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, group = "settle")]
    pub(crate) nack: Option<Duration>,
    /// Nobody can do them: they become dead letters, with this reason.
    #[arg(long, value_name = "WHY", group = "settle")]
    pub(crate) term: Option<String>,
    /// Say nothing of them: they come again after the ack wait, or when this
    /// command ends.
    #[arg(long, group = "settle")]
    pub(crate) no_ack: bool,
    /// How events are printed.
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}
