//! What governing a mesh costs: events with policies beside events without,
//! first publishes to a topic beside later ones, the start of a hub that has
//! very many policies and schemas, and how soon a change holds at every hub.
//! `cargo xtask bench govern`
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Parser;
use futures_lite::future::block_on;
use weft_bench::stats::{Runs, short, with_range};
use weft_bench::table::Table;
use weft_bench::weft::Governed;
use weft_bench::work::{Load, Peer, throughput};
use weft_bench::{machine, process};
use weft_client::{AckLevel, Publisher, PublisherOptions};
use weft_load::latency::Latencies;
use weft_schema::{Fingerprint, Format};

/// What governing costs.
#[derive(Parser)]
struct Arguments {
    /// How often each figure is measured; the tables show medians.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// How long each run publishes, in seconds.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Payload sizes in bytes.
    #[arg(long, value_delimiter = ',', default_values_t = [16, 128, 1024])]
    payload: Vec<usize>,
    /// Tenants of the state.
    #[arg(long, default_value_t = 1_000)]
    tenants: usize,
    /// Policies, a rule each, spread over the tenants.
    #[arg(long, default_value_t = 10_000)]
    policies: usize,
    /// Schemas, a subject and a topic filter each.
    #[arg(long, default_value_t = 10_000)]
    schemas: usize,
    /// Topics that are published to for the first time.
    #[arg(long, default_value_t = 500)]
    topics: usize,
}

/// Seconds until a hub serves, milliseconds of an answer that is not known yet,
/// milliseconds until a change holds everywhere: the most that they may be.
const GOALS: [f64; 3] = [5.0, 1.0, 1_000.0];
/// Only a mistake takes so long.
const LONG: Duration = Duration::from_secs(60);
/// What the benchmark's client may do; the change takes a part of it back.
const OPEN: &str = r#"@id("all") permit (principal == User::"bench", action, resource in TopicFilter::"bench/**");"#;
const CLOSED: &str =
    r#"@id("closed") forbid (principal, action == Action::"publish", resource in TopicFilter::"bench/closed/**");"#;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let scratch = tempfile::tempdir_in(process::target_folder()?)?;
    let folder = |name: &str| -> Result<_> {
        let path = scratch.path().join(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    };
    let documents = scratch.path().join("state.toml");
    fs::write(&documents, state(&arguments)?)?;
    println!("{}", machine::line());
    println!(
        "state: {} tenants, {} policies, {} schemas; clients by TLS 1.3 with certificates; medians of {} runs \
         (smallest to largest)\n",
        arguments.tenants, arguments.policies, arguments.schemas, arguments.runs
    );
    let open = Governed::start("TLS, everybody may", &folder("open")?, 1, false)?;
    let governed = Governed::start("TLS and policies", &folder("governed")?, 1, true)?;
    println!("applying the state to one hub took {} s\n", short(governed.apply(&documents)?));
    decisions(&arguments, &governed)?;
    passing(&arguments, &[&open, &governed])?;
    drop((open, governed));
    starts(&arguments, &folder("governed")?)?;
    changes(&arguments, &documents, &folder("mesh")?)
}

/// Everything that the state is to hold.
fn state(arguments: &Arguments) -> Result<String> {
    let mut text = String::new();
    for tenant in 0..arguments.tenants {
        writeln!(text, "[[tenant]]\nname = \"t{tenant}\"\ntopics = [\"t{tenant}/**\"]\n")?;
    }
    for policy in 0..arguments.policies {
        let tenant = policy % arguments.tenants.max(1);
        writeln!(
            text,
            "[[policy]]\nname = \"p{policy}\"\nrules = '''\n@id(\"write\") permit (principal in Role::\"t{tenant}/writer\", action == \
             Action::\"publish\", resource in TopicFilter::\"t{tenant}/orders{policy}/*\");\n'''\n"
        )?;
    }
    for schema in 1..=arguments.schemas {
        // With its keys in order, which is how fingerprints are made.
        let body = format!(
            r#"{{"properties":{{"field{schema}":{{"type":"number"}},"id":{{"type":"integer"}}}},"required":["id"],"type":"object"}}"#
        );
        let fingerprint = Fingerprint::of(Format::JsonSchema, &body, &[]).to_hex();
        writeln!(
            text,
            "[[schema]]\nname = \"{schema}\"\nformat = \"JSON\"\ntext = '{body}'\nfingerprint = \"{fingerprint}\"\n\n\
             [[subject]]\nname = \"s{schema}-value\"\ntopics = [\"s{schema}/**\"]\ncheck = \"reject\"\n\
             [subject.versions.1]\nid = {schema}\n"
        )?;
    }
    text.push_str(&rules(OPEN));
    Ok(text)
}

/// The policy of the benchmark's own client.
fn rules(text: &str) -> String {
    format!("[[policy]]\nname = \"bench\"\nrules = '''\n{text}\n'''\n")
}

/// Publishes and waits for the answer; whether it was allowed.
fn is_allowed(publisher: &Publisher, topic: &str) -> bool {
    block_on(async { publisher.publish(topic, b"x").await?.await }).is_ok()
}

/// Topics that are new to the session beside the same ones again.
fn decisions(arguments: &Arguments, hub: &Governed) -> Result<()> {
    let client = block_on(hub.client(0))?;
    let publisher = client.publisher(PublisherOptions::level(AckLevel::Routed));
    // Whoever is new has the state by then.
    until_allowed(&publisher, "bench/warm", true)?;
    let mut table = Table::new(["a publish and its answer, ms", "median", "p99"]);
    let mut medians = Vec::new();
    for what in ["the first to a topic", "the next to it"] {
        let mut times = Latencies::new();
        for topic in 0..arguments.topics {
            let topic = format!("bench/new/{topic}");
            let begun = Instant::now();
            ensure!(is_allowed(&publisher, &topic), "a publish to {topic} is refused");
            times.record(u64::try_from(begun.elapsed().as_nanos())?);
        }
        let at = |quantile: f64| times.at(quantile) as f64 / 1e6;
        medians.push(at(0.5));
        table.row([what.to_owned(), short(at(0.5)), short(at(0.99))]);
    }
    let cost = medians[0] - medians[1];
    println!("{table}\nan answer that is not known yet costs {} ms (median; goal {} ms)\n", short(cost), GOALS[1]);
    Ok(())
}

/// The same work with policies and without.
fn passing(arguments: &Arguments, hubs: &[&Governed; 2]) -> Result<()> {
    let mut head = vec!["delivered events/s, 1 publisher to 1 subscriber".to_owned()];
    head.extend(arguments.payload.iter().map(|payload| format!("{payload} B")));
    let mut table = Table::new(head);
    let mut rates = vec![vec![Runs::new(); arguments.payload.len()]; hubs.len()];
    for (column, &payload) in arguments.payload.iter().enumerate() {
        let load = |seconds: f64| Load {
            payload,
            time: Duration::from_secs_f64(seconds),
            window: 4 << 20,
            window_events: 49_152,
            publishers: 1,
            subscribers: 1,
        };
        for hub in hubs {
            throughput(*hub, "bench/load", &load(0.5))?;
        }
        for _ in 0..arguments.runs {
            for (row, hub) in hubs.iter().enumerate() {
                rates[row][column].push(throughput(*hub, "bench/load", &load(arguments.seconds))?.rate);
            }
        }
    }
    for (hub, rates) in hubs.iter().zip(&rates) {
        table.row([hub.name().to_owned()].into_iter().chain(rates.iter().map(with_range)));
    }
    let ratio = |column: usize| format!("{:.2}", rates[1][column].median() / rates[0][column].median());
    table.row(["ratio (goal 0.90)".to_owned()].into_iter().chain((0..arguments.payload.len()).map(ratio)));
    println!("{table}");
    Ok(())
}

/// From the start of the process until a publish is allowed by the state.
fn starts(arguments: &Arguments, folder: &Path) -> Result<()> {
    let mut seconds = Runs::new();
    for _ in 0..arguments.runs {
        let begun = Instant::now();
        let hub = Governed::start("again", folder, 1, true)?;
        let client = block_on(hub.client(0))?;
        until_allowed(&client.publisher(PublisherOptions::level(AckLevel::Routed)), "bench/started", true)?;
        seconds.push(begun.elapsed().as_secs_f64());
    }
    println!("a hub with this state starts and decides after {} s (goal {} s)\n", with_range(&seconds), GOALS[0]);
    Ok(())
}

/// Three hubs: from when a change is answered at one until it holds at the others.
fn changes(arguments: &Arguments, documents: &Path, folder: &Path) -> Result<()> {
    let mesh = Governed::start("mesh", folder, 3, true)?;
    mesh.apply(documents)?;
    let change = folder.join("change.toml");
    let mut times = Runs::new();
    let clients = [1, 2].map(|hub| block_on(mesh.client(hub)));
    let publishers: Vec<Publisher> = clients
        .iter()
        .map(|client| {
            Ok(client
                .as_ref()
                .map_err(|e| anyhow::anyhow!("{e:#}"))?
                .publisher(PublisherOptions::level(AckLevel::Routed)))
        })
        .collect::<Result<_>>()?;
    let topic = "bench/closed/a";
    for _ in 0..arguments.runs {
        for (text, allowed) in [(OPEN.to_owned(), true), (format!("{OPEN}\n{CLOSED}"), false)] {
            fs::write(&change, rules(&text))?;
            mesh.apply(&change)?;
            let answered = Instant::now();
            for publisher in &publishers {
                until_allowed(publisher, topic, allowed)?;
            }
            if !allowed {
                times.push(answered.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    println!(
        "three hubs: {} ms after a change was answered at one, live publishers at both others are refused (goal {} ms)",
        with_range(&times),
        GOALS[2]
    );
    Ok(())
}

/// Publishes until it is allowed, or until it is not.
fn until_allowed(publisher: &Publisher, topic: &str, allowed: bool) -> Result<()> {
    let begun = Instant::now();
    while is_allowed(publisher, topic) != allowed {
        ensure!(
            begun.elapsed() < LONG,
            "a publish to {topic} is still {}",
            if allowed { "refused" } else { "allowed" }
        );
    }
    Ok(())
}
