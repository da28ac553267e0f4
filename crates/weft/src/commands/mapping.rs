//! `weft mapping test`: what topics become by a configuration's rules.

use std::io::{self, Write};

use anyhow::bail;
use serde_json::{Value, json};
use weft_topic::Topic;
use weft_topic::mapping::Mappings;
use weft_wire::reply::is_reserved;

use crate::Usage;
use crate::cli::{MappingCommand, MappingTestArgs};
use crate::config;

/// What a rule makes of a topic: its number and pattern, and each possibility
/// with its part of the whole.
struct Made {
    rule: usize,
    name: String,
    from: String,
    /// The topic, nothing where it is dropped, or why it is refused.
    to: Vec<(Result<Option<String>, String>, f64)>,
}

/// Runs the command.
///
/// # Errors
/// The configuration is wrong, or a topic is none or would be refused.
pub(crate) fn run(command: MappingCommand) -> anyhow::Result<()> {
    let MappingCommand::Test(args) = command;
    test(&args, &mut io::stdout().lock())
}

fn test(args: &MappingTestArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let options = config::load(&args.config).map_err(|error| Usage(error.to_string()))?;
    let mut wrong = 0;
    for text in &args.topics {
        let outcome = Topic::parse(text).map(|topic| made(&options.hub.mapping, topic, args.request));
        let is_wrong = match &outcome {
            Ok(made) => made.as_ref().is_some_and(|made| made.to.iter().any(|(to, _)| to.is_err())),
            Err(_) => true,
        };
        wrong += usize::from(is_wrong);
        let outcome = outcome.map_err(|error| error.to_string());
        if args.json {
            writeln!(out, "{}", object(text, outcome))?;
        } else {
            show(text, outcome, out)?;
        }
    }
    out.flush()?;
    if wrong > 0 {
        bail!("{wrong} of {} topics would be refused", args.topics.len());
    }
    Ok(())
}

fn made(rules: &Mappings, topic: Topic<'_>, is_request: bool) -> Option<Made> {
    if is_reserved(topic.as_str()) {
        return None;
    }
    let number = rules.find(topic, is_request)?;
    let rule = rules.rules().get(number)?;
    let to = rule.outcomes(topic).into_iter().map(|(weight, to)| {
        let part = weight as f64 / rule.total_weight() as f64;
        (to.map_err(|error| error.to_string()), part)
    });
    let to = to.collect();
    Some(Made { rule: number + 1, name: rule.name().to_owned(), from: rule.from().to_owned(), to })
}

fn show(topic: &str, outcome: Result<Option<Made>, String>, out: &mut impl Write) -> io::Result<()> {
    match outcome {
        Err(error) => writeln!(out, "{topic}\n    refused: {error}"),
        Ok(None) => writeln!(out, "{topic}\n    stays as it is: no rule is for it"),
        Ok(Some(Made { rule, name, from, to })) => {
            let name = if name.is_empty() { String::new() } else { format!(" {name}") };
            writeln!(out, "{topic}\n    by rule {rule}{name}, from `{from}`:")?;
            for (to, part) in to {
                let part = if part < 1.0 { format!("{:>6.2} %  ", part * 100.0) } else { String::new() };
                match to {
                    Ok(Some(to)) => writeln!(out, "    {part}{to}")?,
                    Ok(None) => writeln!(out, "    {part}dropped")?,
                    Err(why) => writeln!(out, "    {part}refused: {why}")?,
                }
            }
            Ok(())
        }
    }
}

fn object(topic: &str, outcome: Result<Option<Made>, String>) -> Value {
    match outcome {
        Err(error) => json!({ "topic": topic, "refused": error }),
        Ok(None) => json!({ "topic": topic, "to": [{ "topic": topic, "share": 1.0 }] }),
        Ok(Some(Made { rule, name, from, to })) => {
            let to = to.into_iter().map(|(to, share)| match to {
                Ok(Some(to)) => json!({ "topic": to, "share": share }),
                Ok(None) => json!({ "dropped": true, "share": share }),
                Err(why) => json!({ "refused": why, "share": share }),
            });
            json!({ "topic": topic, "rule": rule, "name": name, "from": from, "to": to.collect::<Vec<_>>() })
        }
    }
}
