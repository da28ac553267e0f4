//! The arguments of `weft mesh`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::{ApplyArgs, PlanArgs, ServerArgs, names};

#[derive(Debug, Subcommand)]
pub(crate) enum MeshCommand {
    /// Where an event is, or ended, at each hub that remembers it.
    Where {
        /// `HUB/SEQUENCE` or `HUB/EPOCH/SEQUENCE`, where it entered the mesh, as
        /// `weft pub` says; or `producer:ID/SEQUENCE`.
        event: crate::commands::see::EventName,
        #[command(flatten)]
        ask: AskArgs,
    },
    /// Publish an event and show the way that it takes, hub by hub.
    Trace {
        /// The topic.
        #[arg(value_parser = names::topic)]
        topic: String,
        /// What the event says.
        #[arg(long, default_value = "trace")]
        payload: String,
        /// Publish nothing: show where an event would go.
        #[arg(long)]
        dry: bool,
        #[command(flatten)]
        ask: AskArgs,
    },
    /// Which topics clients publish now, and who does: principal, client and hub.
    Topics(TopicsArgs),
    /// What would come of changes of the mesh, from its links and interest as they
    /// are; nothing is changed.
    Plan(PlanArgs),
    /// Make the changes of a plan in steps, on trial; put all back when the mesh
    /// becomes worse, keep it when it does not.
    Apply(ApplyArgs),
    /// Why an event of a topic does not reach a subscriber, or that it would.
    WhyNot(WhyNotArgs),
    /// What became of all events, by class of topics, hub and reason, and what crossed
    /// each link: the ledger of all hubs.
    Ledger {
        #[command(flatten)]
        ask: AskArgs,
    },
    /// Hubs, links, round-trip times, interest, the hub's counters, and the
    /// ledger of all hubs.
    Show {
        /// As a JSON object.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct TopicsArgs {
    /// Only topics that this filter matches.
    #[arg(value_parser = names::filter)]
    pub(crate) filter: Option<String>,
    /// Only topics whose names contain this.
    #[arg(long, value_name = "TEXT")]
    pub(crate) search: Option<String>,
    /// So many topics at most, in order of name.
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000, value_parser = clap::value_parser!(usize))]
    pub(crate) most: usize,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WhyNotArgs {
    /// The topic of the event.
    pub(crate) topic: String,
    /// A client's name, a stream's or a consumer's; NAME@HUB: only there.
    pub(crate) subscriber: String,
    /// The hub where the event enters the mesh, when it is not the one that is asked.
    #[arg(long, value_name = "HUB", value_parser = names::label)]
    pub(crate) from: Option<String>,
    /// The time that the event has (`weft pub --deadline`).
    #[arg(long, value_name = "TIME", value_parser = crate::time::parse_duration)]
    pub(crate) deadline: Option<Duration>,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

/// How all hubs of the mesh are asked, and how the answer is printed.
#[derive(Debug, Args)]
pub(crate) struct AskArgs {
    /// How long hubs may take to answer, at most 10 s.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = crate::time::parse_duration)]
    pub(crate) wait: Duration,
    /// As a JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}
