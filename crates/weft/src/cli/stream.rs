//! The command line of `weft stream`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use weft_base::ByteCount;
use weft_client::{Consistency, LastValues, Retention, StreamOptions, Unreachable};

use super::{BackupArgs, Format, RestoreArgs, ServerArgs};
use crate::time::parse_duration;

#[derive(Debug, Subcommand)]
pub(crate) enum StreamCommand {
    /// Make a stream that captures what filters match.
    Create {
        /// 1 to 64 of `a-z`, `0-9` and `-`.
        name: String,
        /// Topic filters; of a mirror all topics when there is none.
        #[arg(required_unless_present = "mirror_of", value_parser = super::names::filter)]
        filters: Vec<String>,
        #[command(flatten)]
        definition: Box<Definition>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Change a stream: what is not given stays as it is. What cannot be
    /// changed, its retention and the size of its files, is refused.
    Alter {
        /// Its name.
        name: String,
        /// Other topic filters.
        #[arg(long, value_name = "FILTER", value_parser = super::names::filter)]
        filter: Vec<String>,
        /// Make a home of a mirror: it takes publishes from now on.
        #[arg(long, conflicts_with = "mirror_of")]
        promote: bool,
        #[command(flatten)]
        definition: Box<Definition>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List the hub's streams.
    List {
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show one stream, with all that it is told.
    Info {
        /// Its name.
        name: String,
        /// As a JSON object.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Print the last value of each topic, or of each topic and key.
    Get {
        /// The stream.
        name: String,
        /// Which topics: `*` is one level, `**` any number of them.
        #[arg(default_value = "**", value_parser = super::names::filter)]
        filter: String,
        /// Only of this key.
        #[arg(long)]
        key: Option<String>,
        /// At most so many.
        #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=65_536))]
        most: u32,
        /// How they are printed.
        #[arg(long, value_enum, default_value = "human")]
        format: Format,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Delete a stream and all that it keeps.
    Delete {
        /// Its name.
        name: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Print what a stream holds, up to its present end.
    Replay {
        /// Its name.
        name: String,
        /// Only these topics.
        #[arg(long, default_value = "**", value_parser = super::names::filter)]
        filter: String,
        /// Where to begin: first, last, a sequence, or a time.
        #[arg(long, value_name = "PLACE", default_value = "first")]
        from: String,
        /// How events are printed.
        #[arg(long, value_enum, default_value = "human")]
        format: Format,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Publish a stream's dead letters again, to the topics that they came
    /// from; each once, however often this is called.
    ReplayDead(ReplayDeadArgs),
    /// Copy a stream from a running hub into a folder, up to its present end; called again, go on.
    Backup(BackupArgs),
    /// Put a backup into the data folder of a hub that is stopped.
    Restore(RestoreArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ReplayDeadArgs {
    /// The stream whose events became dead letters.
    pub(crate) name: String,
    /// Only those that this consumer gave up.
    #[arg(long, value_name = "NAME")]
    pub(crate) consumer: Option<String>,
    /// Only those of these topics.
    #[arg(long, default_value = "**", value_parser = super::names::filter)]
    pub(crate) filter: String,
    /// The stream that keeps them; otherwise the one that the consumer names,
    /// or the stream's name and `-dead`.
    #[arg(long, value_name = "STREAM")]
    pub(crate) dead_stream: Option<String>,
    /// Print which they are and why they were given up, and publish nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// What a stream keeps within its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Keep {
    /// Everything.
    Limits,
    /// What its consumers have not all settled.
    Interest,
    /// What none of its consumers has settled.
    WorkQueue,
}

/// Which last values a stream keeps at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Last {
    /// None.
    Off,
    /// Of each topic.
    Topic,
    /// Of each topic and key.
    Key,
}

/// What readers of a stream may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Reads {
    /// A reader never goes back, also at another hub.
    Monotonic,
    /// A read after an acknowledged write sees it, from any hub.
    Strong,
    /// Whatever is nearest.
    Eventual,
}

/// What becomes of publishes while no home can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Away {
    /// They are refused.
    Refuse,
    /// They wait on the disk of the publisher's hub.
    Spool,
}

/// What a stream is told.
#[derive(Debug, Args)]
pub(crate) struct Definition {
    /// How much it keeps, for example `10 GiB`; the oldest goes first.
    #[arg(long, value_name = "BYTES")]
    retain_bytes: Option<ByteCount>,
    /// How long it keeps an event, for example `30 d`.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    retain_age: Option<Duration>,
    /// How many events it keeps.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    retain_events: Option<u64>,
    /// What it keeps within those bounds.
    #[arg(long, value_enum)]
    retention: Option<Keep>,
    /// The size of its files, for example `64 MiB`.
    #[arg(long, value_name = "BYTES")]
    segment: Option<ByteCount>,
    /// Keep only the newest event of each topic and key for good.
    #[arg(long)]
    compact: bool,
    /// With --compact: how long an event without payload, which deletes its key, is kept itself.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    tombstone_age: Option<Duration>,
    /// Which last values it keeps at hand, for `weft stream get`.
    #[arg(long, value_enum)]
    last: Option<Last>,
    /// For how long a producer is remembered, so that what it publishes again is no second event.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    dedup_window: Option<Duration>,
    /// What its readers may see.
    #[arg(long, value_enum)]
    consistency: Option<Reads>,
    /// A hub that keeps it and takes publishes; as many as needed. Without
    /// one, the hub that makes it.
    #[arg(long, value_name = "HUB")]
    home: Vec<String>,
    /// The stream that this one is a read-only copy of.
    #[arg(long, value_name = "STREAM")]
    mirror_of: Option<String>,
    /// Of a mirror: the beginning of topics that is replaced, and by what.
    #[arg(long, value_name = "FROM=TO", requires = "mirror_of", value_parser = prefix)]
    mirror_prefix: Option<(String, String)>,
    /// What becomes of publishes while no home can be reached.
    #[arg(long, value_enum)]
    unreachable: Option<Away>,
    /// The largest event it takes: key, headers and payload together.
    #[arg(long, value_name = "BYTES")]
    max_event: Option<ByteCount>,
    /// The tenant whose it is and whose quota it counts against. Who is of a tenant
    /// need not say it, and can name no other.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
}

fn prefix(text: &str) -> Result<(String, String), String> {
    let (from, to) = text.split_once('=').ok_or("write FROM=TO, for example eu=copies/eu")?;
    Ok((from.to_owned(), to.to_owned()))
}

impl Definition {
    /// Changes what was given.
    pub(crate) fn apply(&self, options: &mut StreamOptions) {
        fn set<T: Clone>(given: &Option<T>, field: &mut Option<T>) {
            if given.is_some() {
                field.clone_from(given);
            }
        }
        set(&self.retain_bytes, &mut options.retain_bytes);
        set(&self.retain_age, &mut options.retain_age);
        set(&self.retain_events, &mut options.retain_events);
        set(&self.segment, &mut options.segment);
        set(&self.tombstone_age, &mut options.tombstone_age);
        set(&self.dedup_window, &mut options.dedup_window);
        set(&self.mirror_of, &mut options.mirror_of);
        set(&self.mirror_prefix, &mut options.mirror_prefix);
        set(&self.max_event, &mut options.max_event);
        set(&self.tenant, &mut options.tenant);
        options.compact |= self.compact;
        if !self.home.is_empty() {
            options.homes.clone_from(&self.home);
        }
        if let Some(keep) = self.retention {
            options.retention = match keep {
                Keep::Limits => Retention::Limits,
                Keep::Interest => Retention::Interest,
                Keep::WorkQueue => Retention::WorkQueue,
            };
        }
        if let Some(last) = self.last {
            options.last = match last {
                Last::Off => LastValues::Off,
                Last::Topic => LastValues::Topic,
                Last::Key => LastValues::Key,
            };
        }
        if let Some(reads) = self.consistency {
            options.consistency = match reads {
                Reads::Monotonic => Consistency::Monotonic,
                Reads::Strong => Consistency::Strong,
                Reads::Eventual => Consistency::Eventual,
            };
        }
        if let Some(away) = self.unreachable {
            options.unreachable = match away {
                Away::Refuse => Unreachable::Refuse,
                Away::Spool => Unreachable::Spool,
            };
        }
    }
}
