//! The command line: what there is to say and what it means.

pub(crate) mod audit;
mod bench;
mod capacity;
pub(crate) mod consumer;
mod control;
mod doctor;
mod drain;
mod identity;
mod joining;
mod live;
mod mapping;
mod mesh;
mod names;
pub(crate) mod pages;
mod plan;
pub(crate) mod policy;
mod schema;
mod simulate;
mod stat;
mod storage;
pub(crate) mod stream;
mod top;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use weft_client::{AckLevel, LiveAt, OnFull};

pub(crate) use self::bench::BenchArgs;
pub(crate) use self::capacity::CapacityArgs;
use self::consumer::ConsumerCommand;
pub(crate) use self::control::{ApplyStateArgs, ControlCommand, ExportArgs};
pub(crate) use self::doctor::DoctorArgs;
pub(crate) use self::drain::{DrainArgs, HubCommand, ReloadArgs, UndrainArgs};
pub(crate) use self::identity::IdentityCommand;
pub(crate) use self::joining::{CaCommand, JoinArgs, Kind, RenewArgs, TokenCommand};
pub(crate) use self::mapping::{MappingCommand, MappingTestArgs};
pub(crate) use self::mesh::{AskArgs, MeshCommand, TopicsArgs, WhyNotArgs};
pub(crate) use self::plan::{ApplyArgs, PlanArgs};
pub(crate) use self::schema::{
    QuarantineCommand, QuarantineListArgs, QuarantineShowArgs, ReplayArgs, SchemaCheckArgs, SchemaCommand,
    SchemaCompatibleArgs, SchemaFormat, SchemaSourceArgs, SchemaValidateArgs,
};
pub(crate) use self::simulate::SimArgs;
pub(crate) use self::stat::StatArgs;
pub(crate) use self::storage::{BackupArgs, KeyArgs, LogCommand, RepairArgs, RestoreArgs};
use self::stream::StreamCommand;
pub(crate) use self::top::TopArgs;

/// Weft: an open event mesh.
///
/// Data goes to stdout, everything for people to stderr. Exit codes: 0 it is
/// done; 1 it failed; 2 the arguments or the configuration are wrong; 130 a
/// second signal ended it at once.
#[derive(Debug, Parser)]
#[command(name = "weft", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// What is written to the log: error, warn, info, debug or trace. Without it
    /// info, or for a hub what `log` of its configuration says.
    #[arg(long, global = true, value_name = "LEVEL")]
    pub(crate) log: Option<tracing::Level>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a hub.
    Hub(HubArgs),
    /// Publish events.
    Pub(PubArgs),
    /// Subscribe and print what comes.
    Sub(SubArgs),
    /// Ask whoever answers on a topic, and print the replies.
    Request(RequestArgs),
    /// Answer requests.
    Reply(ReplyArgs),
    /// Durable streams: create, alter, list, info, get, delete, replay, replay-dead.
    #[command(subcommand)]
    Stream(StreamCommand),
    /// Streams as they lie on disk: inspect, verify, repair.
    #[command(subcommand)]
    Log(LogCommand),
    /// Durable consumers of streams: create, list, info, pause, reset, next.
    #[command(subcommand)]
    Consumer(ConsumerCommand),
    /// The mesh as a hub sees it.
    #[command(subcommand)]
    Mesh(MeshCommand),
    /// Make the tenants, identities, policies and other documents of the control
    /// state as files say; what is so already is left alone.
    Apply(ApplyStateArgs),
    /// The documents of the control state, as files that `weft apply` takes.
    Export(ExportArgs),
    /// Who replicates the control state, and how far each is: show, voters.
    #[command(subcommand)]
    Control(ControlCommand),
    /// Check documents of the control state, as files have them, by themselves and
    /// without a hub: every mistake with file, line and column.
    Check(policy::CheckArgs),
    /// Who may do what, and why: check, test, explain, can, whoami.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// A hub's audit log: who did what from where: read, verify.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// The rules by which a hub maps topics: test.
    #[command(subcommand)]
    Mapping(MappingCommand),
    /// Schemas by themselves, without a hub: check, validate, compatible.
    #[command(subcommand)]
    Schema(SchemaCommand),
    /// Put load on a hub and measure: delivered events a second, latency, what
    /// saturates first, and with --ramp the rate at which it breaks.
    Bench(BenchArgs),
    /// What a load makes each hub and link of a mesh carry, what gives out first and
    /// at how many times the load, and what is different when a hub dies.
    PlanCapacity(CapacityArgs),
    /// Where a running hub's time goes: a flame graph and its allocations.
    Profile(ProfileArgs),
    /// What is harmful in a configuration, on this machine and at a running hub, and
    /// what to do. Exit codes: 3 with warnings, 4 when something is harmful.
    Doctor(DoctorArgs),
    /// What a hub has counted and measured, read from outside: also of a hub that hangs,
    /// is stopped, or is dead.
    Stat(StatArgs),
    /// The mesh on a terminal, second by second: hubs, links and what flows over them,
    /// waits, drops, ledgers, and what is wrong.
    Top(TopArgs),
    /// A private certificate authority for hubs and clients.
    #[command(subcommand)]
    Ca(CaCommand),
    /// Identities: hash, for a password.
    #[command(subcommand)]
    Identity(IdentityCommand),
    /// Tokens to join with, at a hub that issues certificates.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Join a mesh: a key is made here, and a hub that issues gives its
    /// certificate for a token; writes a configuration that starts.
    Join(JoinArgs),
    /// Renew a hub's certificate by the one that it has, at a hub that issues.
    Renew(RenewArgs),
    /// Three hubs, three days of flights, a hub that dies and comes back, and
    /// the accounts in balance.
    Demo(DemoArgs),
    /// Completions for a shell, to be put where it looks for them.
    Completions(pages::CompletionsArgs),
    /// A man page for each command, into a folder.
    Man(pages::ManArgs),
    /// Try a topology: a mesh and faults from files, or a shape, in simulated
    /// time with the hubs' own deciders; says what held and what it cost.
    Sim(SimArgs),
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct HubArgs {
    #[command(subcommand)]
    pub(crate) command: Option<HubCommand>,
    /// The configuration (TOML); `examples/hub.toml` documents it.
    #[arg(long, value_name = "FILE", required_unless_present = "dev", conflicts_with = "dev")]
    pub(crate) config: Option<PathBuf>,
    /// Without a configuration: loopback only, no TLS for clients, an identity
    /// and a data folder made on the spot and thrown away at the end. Shared
    /// memory is at `shm:FOLDER/hub.sock`, in the same folder (see the log).
    #[arg(long)]
    pub(crate) dev: bool,
    /// With --dev: the port for clients; 0 takes a free one.
    #[arg(long, value_name = "N", default_value_t = 7411, requires = "dev")]
    pub(crate) port: u16,
    /// The data folder becomes a new one as far as other hubs are concerned: for
    /// one start of a folder that was copied, restored or renamed, after the mesh
    /// has refused it (see docs/operating.md, Joining).
    #[arg(long, requires = "config")]
    pub(crate) new_instance: bool,
    /// Print what operators changed of the hub (`weft mesh apply`) over its
    /// configuration, and stop.
    #[arg(long, requires = "config")]
    pub(crate) changes: bool,
    /// Drop what operators changed, for the hub's next start, and stop.
    #[arg(long, requires = "config", conflicts_with = "changes")]
    pub(crate) drop_changes: bool,
    /// Check the configuration, print the effective values and stop.
    #[arg(long, requires = "config")]
    pub(crate) check: bool,
    /// Sample the hub from its start to its end, and write the flame graph
    /// (SVG) to this file when it stops.
    #[arg(long, value_name = "FILE")]
    pub(crate) profile: Option<PathBuf>,
    /// Write the bound addresses to this file, as JSON, once the hub is ready.
    #[arg(long, value_name = "PATH")]
    pub(crate) ready_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ProfileArgs {
    /// For how long, in seconds: at most 300.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) seconds: u32,
    /// Samples per second of processor time: at most 1,000.
    #[arg(long, value_name = "N", default_value_t = 199)]
    pub(crate) hertz: u32,
    /// Where to write the flame graph (SVG).
    #[arg(long, short, value_name = "FILE", default_value = "weft-profile.svg")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// How to reach a hub.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServerArgs {
    /// The hub's address for clients, HOST:PORT, `quic:HOST:PORT`, or `shm:PATH` for shared
    /// memory with a hub of this host; several are tried in turn.
    #[arg(long = "server", short = 's', value_name = "ADDRESS", default_value = "127.0.0.1:7411")]
    pub(crate) servers: Vec<String>,
    /// The client's certificate; with --tls-key and --tls-ca, for TLS.
    #[arg(long, value_name = "FILE", requires = "tls_key", requires = "tls_ca")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's key.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// The certificate of the mesh's authority. Without --tls-cert only the hub shows a
    /// certificate: for those who log in with a token or a password.
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// The hub's name: with TLS, a hub of another name is refused.
    #[arg(long, value_name = "NAME")]
    pub(crate) hub: Option<String>,
    /// Log in with the token (JWT) in this file, which is read again when it changes;
    /// or with the one in the environment's WEFT_TOKEN.
    #[arg(long, value_name = "FILE", conflicts_with = "user")]
    pub(crate) token_file: Option<PathBuf>,
    /// Log in by this name, with the password in --password-file or in the
    /// environment's WEFT_PASSWORD.
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// The file with the password; what ends its line is no part of it.
    #[arg(long, value_name = "FILE", requires = "user")]
    pub(crate) password_file: Option<PathBuf>,
}

/// When a publish counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    /// It is written to the network.
    None,
    /// The hub has stamped it and sent it on its way.
    Routed,
    /// Every stream that takes it has written it.
    Written,
    /// Every stream that takes it has it on disk.
    Synced,
}

/// A level to be reached, with how many homes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) level: AckLevel,
    pub(crate) homes: u8,
}

impl std::str::FromStr for Reached {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let level = match text {
            "none" => AckLevel::None,
            "routed" => AckLevel::Routed,
            "written" => AckLevel::Written,
            "synced" => AckLevel::Synced,
            _ => {
                let homes = text.strip_prefix("homes:").and_then(|n| n.parse().ok()).filter(|n| (2..=15).contains(n));
                let homes = homes.ok_or("write none, routed, written, synced, or homes:N with N from 2 to 15")?;
                return Ok(Self { level: AckLevel::Homes, homes });
            }
        };
        Ok(Self { level, homes: 0 })
    }
}

impl std::fmt::Display for Reached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.level {
            AckLevel::None => "none",
            AckLevel::Routed => "routed",
            AckLevel::Written => "written",
            AckLevel::Synced => "synced",
            // The others are reached at one home or more, and are asked for without a number.
            AckLevel::Homes => return write!(f, "homes:{}", self.homes),
            AckLevel::Spooled => "spooled",
        })
    }
}

/// Reads a time.
fn moment(text: &str) -> Result<weft_base::UnixNanos, String> {
    crate::time::parse_rfc3339(text).ok_or_else(|| "write a time such as 2030-01-01T10:00:00Z".to_owned())
}

#[derive(Debug, Args)]
pub(crate) struct PubArgs {
    /// The topic, for example `flights/departed/JFK/LAX/B6`.
    #[arg(value_parser = names::topic)]
    pub(crate) topic: String,
    /// What the event says.
    #[arg(conflicts_with_all = ["lines", "file"])]
    pub(crate) payload: Option<String>,
    /// Each line of stdin is an event.
    #[arg(long, conflicts_with = "file")]
    pub(crate) lines: bool,
    /// Each file is an event.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) file: Vec<PathBuf>,
    /// What the events are about.
    #[arg(long, default_value = "")]
    pub(crate) key: String,
    /// A header, `NAME=VALUE`; as many as needed.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) header: Vec<String>,
    /// What must have happened before it counts as published: none, routed,
    /// written, synced, or homes:N (on disk at N homes of its stream).
    #[arg(long, default_value = "routed")]
    pub(crate) level: Reached,
    /// With --stream: wait at the end until all is at this level as well:
    /// synced or homes:N.
    #[arg(long, value_name = "LEVEL", requires = "stream")]
    pub(crate) reach: Option<Reached>,
    /// The stream that --reach asks.
    #[arg(long, value_name = "NAME", requires = "reach")]
    pub(crate) stream: Option<String>,
    /// Only if the last event of the stream has this sequence; 0: only if it is empty.
    #[arg(long, value_name = "N", conflicts_with_all = ["lines", "file", "batch"])]
    pub(crate) expect_last: Option<u64>,
    /// Only if the last event of this topic and --key has this sequence; 0: only if there is none.
    #[arg(long, value_name = "N", conflicts_with_all = ["lines", "file", "batch"])]
    pub(crate) key_expect: Option<u64>,
    /// How long consumers of streams get it, after it has entered its hub.
    #[arg(long, value_name = "DURATION", value_parser = crate::time::parse_duration)]
    pub(crate) ttl: Option<std::time::Duration>,
    /// Deliver it at this time, such as 2030-01-01T10:00:00Z.
    #[arg(long, value_name = "TIME", conflicts_with_all = ["after", "batch"], value_parser = moment)]
    pub(crate) at: Option<weft_base::UnixNanos>,
    /// Deliver it so much later.
    #[arg(long, value_name = "DURATION", conflicts_with = "batch", value_parser = crate::time::parse_duration)]
    pub(crate) after: Option<std::time::Duration>,
    /// Only if the topic is wanted at all hubs that want it (and one at least), at
    /// the hub that is connected to, at so many hubs, or at these hubs; else
    /// nothing is sent.
    #[arg(long, value_name = "all|here|N|HUB,HUB", conflicts_with = "batch", value_parser = live::live_at)]
    pub(crate) require: Option<LiveAt>,
    /// All events or none: they are one batch of their stream. With --level
    /// written or higher.
    #[arg(long)]
    pub(crate) batch: bool,
    /// The priority, 0 (most urgent) to 7.
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(crate) lane: u8,
    /// Only at hubs that carry this label, on the way and in streams.
    #[arg(long, value_name = "LABEL", value_parser = names::label)]
    pub(crate) residency: Option<String>,
    /// How long each event is of use, in milliseconds; what is later is dropped and counted.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=31_536_000_000))]
    pub(crate) deadline: Option<u64>,
    /// Show how far it is.
    #[arg(long)]
    pub(crate) progress: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// How events are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Topic and payload, for people.
    Human,
    /// One JSON object a line, with everything there is.
    Json,
    /// The payloads, a line end after each.
    Raw,
}

#[derive(Debug, Args)]
pub(crate) struct SubArgs {
    /// Which topics: `*` is one level, `**` any number of them.
    #[arg(value_parser = names::filter)]
    pub(crate) filter: String,
    /// How events are printed.
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Format,
    /// Read a stream instead of what is published from now on.
    #[arg(long, value_name = "NAME")]
    pub(crate) stream: Option<String>,
    /// Where in the stream to begin: first, last, new, a sequence, or a time
    /// such as 2013-01-01T10:00:00Z.
    #[arg(long, value_name = "PLACE", default_value = "new", requires = "stream")]
    pub(crate) from: String,
    /// With --stream: only events that this says, on headers, key, topic, length and time.
    #[arg(long = "where", value_name = "PREDICATE", requires = "stream")]
    pub(crate) predicate: Option<String>,
    /// With --stream: how fast what is in it already comes.
    #[arg(long, value_enum, requires = "stream")]
    pub(crate) speed: Option<self::consumer::Speed>,
    /// What the hub does when this subscriber is behind and its queue there is
    /// full: wait (publishers wait), drop-oldest, drop-newest, conflate (the
    /// newest of each key stays), spill=STREAM, or disconnect.
    #[arg(long, value_name = "POLICY", default_value = "drop-oldest", value_parser = on_full)]
    pub(crate) on_full: (OnFull, Option<String>),
    /// Share the events with the other members of this group, in the whole mesh.
    #[arg(long, value_name = "NAME", conflicts_with = "stream")]
    pub(crate) group: Option<String>,
    /// Its part of the group's events, relative to the other members': 1 to 1000.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "group",
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) weight: u16,
    /// Wait until the subscription is live at all hubs within reach, at the hub
    /// that is connected to, at so many hubs, or at these hubs, and print at which
    /// it is and at which not.
    #[arg(long, value_name = "all|here|N|HUB,HUB", conflicts_with = "stream", value_parser = live::live_at)]
    pub(crate) live_at: Option<LiveAt>,
    /// How long that may take, such as 500ms or 2s; then it ends with an error.
    #[arg(long, value_name = "DURATION", default_value = "10s", requires = "live_at",
          value_parser = crate::time::parse_duration)]
    pub(crate) receipt_timeout: std::time::Duration,
    /// What this client is called, so that `weft mesh why-not` finds it.
    #[arg(long, value_name = "NAME", default_value = "weft sub")]
    pub(crate) name: String,
    /// Stop after this many events.
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RequestArgs {
    /// The topic.
    #[arg(value_parser = names::topic)]
    pub(crate) topic: String,
    /// What is asked.
    pub(crate) payload: String,
    /// How long to wait for replies, such as 500ms or 2s.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = crate::time::parse_duration)]
    pub(crate) deadline: std::time::Duration,
    /// How many replies to wait for.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) replies: u32,
    /// Take replies until a responder says that it was the last.
    #[arg(long, conflicts_with = "replies")]
    pub(crate) until_end: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ReplyArgs {
    /// Which topics: `*` is one level, `**` any number of them.
    #[arg(value_parser = names::filter)]
    pub(crate) filter: String,
    /// Share the requests with the other members of this group, in the whole mesh.
    #[arg(long, value_name = "NAME")]
    pub(crate) group: Option<String>,
    /// Its part of the group's requests: 1 to 1000.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "group",
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) weight: u16,
    /// Answer with what was asked.
    #[arg(long, required_unless_present = "exec")]
    pub(crate) echo: bool,
    /// Answer with what this shell command prints; the payload is its input,
    /// the topic is in `WEFT_TOPIC`.
    #[arg(long, value_name = "CMD", conflicts_with = "echo")]
    pub(crate) exec: Option<String>,
    /// Stop after this many requests.
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Reads a policy for a full queue.
fn on_full(text: &str) -> Result<(OnFull, Option<String>), String> {
    let policy = match text {
        "wait" => OnFull::Wait,
        "drop-oldest" => OnFull::DropOldest,
        "drop-newest" => OnFull::DropNewest,
        "conflate" => OnFull::Conflate,
        "disconnect" => OnFull::Disconnect,
        other => match other.strip_prefix("spill=") {
            Some(stream) if weft_hub::options::is_label(stream) => return Ok((OnFull::Spill, Some(stream.to_owned()))),
            _ => return Err("one of wait, drop-oldest, drop-newest, conflate, spill=STREAM, disconnect".to_owned()),
        },
    };
    Ok((policy, None))
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// How many times faster than the flights flew. Three days at 15000 take
    /// about 18 seconds.
    #[arg(long, value_name = "N", default_value_t = 15_000)]
    pub(crate) speed: u32,
    /// Leave the hubs running at the end, to play with.
    #[arg(long)]
    pub(crate) keep: bool,
    /// The same, with flights in the air until it ends: for the dashboard.
    #[arg(long)]
    pub(crate) stay: bool,
    /// After the main job, a tour for the dashboard: a hub is killed, a link is cut,
    /// a lane is flooded, a schema is broken, each for some seconds.
    #[arg(long, conflicts_with_all = ["stay", "keep"])]
    pub(crate) tour: bool,
    /// How long each step of the tour lasts, in seconds.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600), requires = "tour")]
    pub(crate) step: u64,
    /// Each step of the tour lasts until Enter is pressed.
    #[arg(long, requires = "tour", conflicts_with = "step")]
    pub(crate) by_hand: bool,
    /// Leave the hub in the middle alive.
    #[arg(long)]
    pub(crate) no_kill: bool,
    /// Where data, certificates and logs go; a temporary folder when not given.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) dir: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn policies_at_a_full_queue_are_read_and_others_are_refused() {
        assert_eq!(on_full("wait"), Ok((OnFull::Wait, None)));
        assert_eq!(on_full("spill=late"), Ok((OnFull::Spill, Some("late".to_owned()))));
        for bad in ["", "spill", "spill=", "spill=No Label", "drop"] {
            assert!(on_full(bad).is_err_and(|remedy| remedy.contains("drop-oldest")), "{bad}");
        }
    }

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }
}
