//! `weft policy`: policies by themselves, and what they say of somebody, of files or
//! of a hub's control state. By files it is reckoned by the same code as at hubs.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::bail;
use serde_json::json;
use weft_base::{Clock, Lane, SystemClock};
use weft_client::Client;
use weft_govern::access::{Ask, Method, Place, Principal};
use weft_govern::api::{
    Able, Answer, AskCan, At, Explain, Explained, ExplainedStep, Request, Who, Whom, You, captured,
};
use weft_topic::Filter;

use super::control::{is_other, refused};
use crate::cli::ServerArgs;
use crate::cli::policy::{CanArgs, ExplainArgs, PolicyCommand, WhoArgs};
use crate::connect::connect;
use crate::control::{self, files};
use crate::time::parse_rfc3339;
use crate::{Usage, config::ConfigError};

/// Runs the command.
///
/// # Errors
/// Files have mistakes, tests fail, or a hub does not answer.
pub(crate) async fn run(command: PolicyCommand) -> anyhow::Result<()> {
    match command {
        PolicyCommand::Check { paths } => check(&paths),
        PolicyCommand::Test { paths, all_rules, json } => test(&paths, all_rules, json),
        PolicyCommand::Explain(args) => explain(args).await,
        PolicyCommand::Can(args) => can(args).await,
        PolicyCommand::Whoami { json, server } => whoami(json, &server).await,
    }
}

fn read(paths: &[PathBuf]) -> anyhow::Result<files::Documents> {
    Ok(files::read_all(paths).map_err(|error: ConfigError| Usage(error.to_string()))?)
}

fn check(paths: &[PathBuf]) -> anyhow::Result<()> {
    let documents = read(paths)?;
    let rules = control::compile(&documents)?;
    eprintln!("{} policies with {rules} rules are right by themselves", documents.rules.len());
    Ok(())
}

fn test(paths: &[PathBuf], all_rules: bool, as_json: bool) -> anyhow::Result<()> {
    let documents = read(paths)?;
    let judge = control::learn(&documents)?;
    let cases = control::cases(&documents, SystemClock::new().now().wall)?;
    if cases.is_empty() {
        return Err(Usage("there are no tests: write `[[test]]` tables into a file `NAME.test.toml`".to_owned()).into());
    }
    let report = judge.run_tests(&cases);
    let mut out = io::stdout().lock();
    if as_json {
        writeln!(out, "{}", serde_json::to_value(&report)?)?;
    } else {
        for failure in &report.failures {
            writeln!(out, "failed    {}: it {}", failure.case, failure.what)?;
            writeln!(out, "          {}", failure.explanation.reason)?;
        }
        for rule in &report.untested {
            writeln!(out, "untested  {rule}: it decides none of the tests")?;
        }
        let passed = report.cases - report.failures.len();
        writeln!(out, "{passed} of {} tests came out as expected", report.cases)?;
    }
    out.flush()?;
    if !report.failures.is_empty() {
        bail!("{} of {} tests came out otherwise", report.failures.len(), report.cases);
    }
    if all_rules && !report.untested.is_empty() {
        bail!("{} rules decide none of the tests", report.untested.len());
    }
    Ok(())
}

/// Somebody, as the command line and tests describe them: `TENANT/NAME` or `NAME`.
pub(crate) fn principal(who: &str, roles: &[String], method: Method) -> Principal {
    let (tenant, name) = match who.split_once('/') {
        Some((tenant, name)) => (Some(tenant), name),
        None => (None, who),
    };
    let roles: std::collections::BTreeSet<&str> = roles.iter().map(String::as_str).collect();
    Principal {
        tenant: tenant.map(Arc::from),
        name: name.into(),
        roles: roles.into_iter().map(Arc::from).collect(),
        method,
    }
}

fn who(args: &WhoArgs) -> Option<Who> {
    match (&args.identity, &args.who) {
        (Some(name), _) => Some(Who::Identity(name.clone())),
        (None, Some(name)) => Some(Who::Principal(principal(name, &args.roles, args.method.method()))),
        (None, None) => None,
    }
}

async fn ask(server: &ServerArgs, request: &Request) -> anyhow::Result<Answer> {
    let client: Client = connect(server, "weft policy").await?;
    let answer = client.govern(request).await?;
    client.close().await;
    match answer {
        Answer::Refused(refusal) => Err(refused(refusal)),
        answer => Ok(answer),
    }
}

async fn explain(args: ExplainArgs) -> anyhow::Result<()> {
    let seconds = match &args.at_time {
        None => None,
        Some(text) => {
            let wrong = || Usage(format!("`{text}` is no time: write for example 2030-01-01T10:00:00Z"));
            Some(parse_rfc3339(text).ok_or_else(wrong)?.0 / 1_000_000_000)
        }
    };
    let ExplainArgs { action, resource, lane, at_hub: hub, at_region: region, at_labels: labels, .. } = args;
    let asked = Explain { who: who(&args.who), action, resource, lane, at: At { hub, region, labels, seconds } };
    let (explained, is_of_files) = match args.by.files.as_slice() {
        [] => match ask(&args.by.server, &Request::Explain(asked)).await? {
            Answer::Explained(explained) => (explained, false),
            _ => return Err(is_other()),
        },
        files => (by_files(files, &asked)?, true),
    };
    let mut out = io::stdout().lock();
    if args.by.json {
        writeln!(out, "{}", serde_json::to_value(&explained)?)?;
    } else {
        told(&explained, is_of_files, &mut out)?;
    }
    out.flush()?;
    Ok(())
}

fn by_files(paths: &[PathBuf], asked: &Explain) -> anyhow::Result<Explained> {
    let documents = read(paths)?;
    let judge = control::learn(&documents)?;
    let state = documents.state();
    let Some(who) = &asked.who else {
        return Err(Usage("say who does it: --identity NAME or --who [TENANT/]NAME".to_owned()).into());
    };
    let principal = Arc::new(who.resolve(&state).map_err(Usage)?);
    let lane = match asked.lane {
        None => None,
        Some(lane) => Some(Lane::new(lane).ok_or_else(|| Usage(format!("there is no lane {lane}: 0 to 7")))?),
    };
    let resource = asked.resource.resource(|name| captured(&state, name)).map_err(Usage)?;
    let nowhere = Place { hub: "files".into(), region: "files".into(), labels: [].into() };
    let (place, now) = asked.at.of(&nowhere, SystemClock::new().now().wall);
    Ok(control::explain(&judge, &Ask { principal, action: asked.action, resource, lane }, &place, now))
}

fn told(explained: &Explained, is_of_files: bool, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}", if explained.allowed { "allowed" } else { "denied" })?;
    let rules = if explained.rules.is_empty() { "none".to_owned() } else { explained.rules.join(", ") };
    writeln!(out, "rules      {rules}")?;
    if !is_of_files {
        let enforced =
            if explained.enforced { "" } else { " (this hub does not decide by it: everybody may do everything)" };
        writeln!(out, "version    {}{enforced}", explained.version)?;
    }
    writeln!(out, "because    {}", explained.reason)?;
    for ExplainedStep { what, effect, line, result, words, needs } in &explained.steps {
        let effect = effect.as_ref().map_or_else(String::new, |effect| format!(" ({effect})"));
        let line = line.map_or_else(String::new, |line| format!(", line {line}"));
        writeln!(out, "  {what}{effect}{line}: {}: {words}", result.replace('_', " "))?;
        for need in needs {
            writeln!(out, "    it needs {need}")?;
        }
    }
    if explained.untold > 0 {
        writeln!(out, "  and {} rules more", explained.untold)?;
    }
    Ok(())
}

async fn can(args: CanArgs) -> anyhow::Result<()> {
    let whom = match (who(&args.who), args.tenant, args.role) {
        (Some(who), ..) => Whom::Somebody(who),
        (None, tenant, Some(role)) => Whom::Role { tenant, role },
        (None, Some(tenant), None) => Whom::Tenant(tenant),
        (None, None, None) => {
            return Err(Usage("say whom it is about: --tenant, --role, --identity or --who".to_owned()).into());
        }
    };
    let asked = AskCan { whom, action: args.action, topics: args.topics };
    let able = match args.by.files.as_slice() {
        [] => match ask(&args.by.server, &Request::Can(asked)).await? {
            Answer::Able(able) => able,
            _ => return Err(is_other()),
        },
        paths => {
            let documents = read(paths)?;
            let judge = control::learn(&documents)?;
            let topics = Filter::parse(&asked.topics).map_err(|error| Usage(error.to_string()))?;
            control::can(&judge, &documents.state(), &asked.whom, asked.action, &topics).map_err(Usage)?
        }
    };
    let mut out = io::stdout().lock();
    match args.by.json {
        true => writeln!(out, "{}", serde_json::to_value(&able)?)?,
        false => told_able(&able, &mut out)?,
    }
    out.flush()?;
    Ok(())
}

fn told_able(able: &Able, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}", able.can.name())?;
    for rule in &able.rules {
        writeln!(out, "  by {rule}")?;
    }
    for why in &able.why {
        writeln!(out, "  {why}")?;
    }
    for example in &able.examples {
        writeln!(out, "  by {}: topics in {}", example.rule, example.topics.join(" and "))?;
        for when in &example.when {
            writeln!(out, "    when {when}")?;
        }
    }
    for but in &able.but {
        writeln!(out, "  but {but}")?;
    }
    Ok(())
}

async fn whoami(as_json: bool, server: &ServerArgs) -> anyhow::Result<()> {
    let Answer::You(you) = ask(server, &Request::Whoami).await? else { return Err(is_other()) };
    let You { principal, is_administrator, hub, version } = you;
    let roles: Vec<&str> = principal.roles.iter().map(|role| &**role).collect();
    let mut out = io::stdout().lock();
    if as_json {
        let (tenant, method) = (principal.tenant.as_deref(), principal.method.name());
        let object = json!({
            "name": &*principal.name, "tenant": tenant, "roles": roles, "method": method,
            "administrator": is_administrator, "hub": hub, "version": version,
        });
        writeln!(out, "{object}")?;
    } else {
        let administrator = if is_administrator { ", an administrator of the hub" } else { "" };
        writeln!(out, "{principal} at {hub}, by {}{administrator}", principal.method.name())?;
        writeln!(out, "roles      {}", if roles.is_empty() { "none".to_owned() } else { roles.join(", ") })?;
        writeln!(out, "version    {version}")?;
    }
    out.flush()?;
    Ok(())
}
