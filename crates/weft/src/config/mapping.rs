//! `[[mapping]]`: the rules by which topics of clients are mapped.

use std::fmt::Write;

use weft_topic::mapping::{By, Mapping, MappingError, MappingSpec, Mappings};

use super::reader::{Problems, Section};

/// What decides which of several destinations it is.
pub(super) const BY: [(&str, By); 3] = [("block", By::Block), ("producer", By::Producer), ("topic", By::Topic)];

/// All rules; none of them when one is wrong.
pub(super) fn rules(top: &mut Section<'_, '_>, problems: &mut Problems) -> Mappings {
    let before = problems.list.len();
    let mut specs = Vec::new();
    for section in top.sections("mapping", problems) {
        let path = section.path_of("");
        let Some(spec) = rule(section, problems) else { continue };
        if let Err(error) = Mapping::new(&spec) {
            problems.add_at(&format!("{path}{}", place(&error, spec.to.len())), &error.to_string());
        }
        specs.push(spec);
    }
    // What rules are to each other only makes sense once each is right.
    if problems.list.len() > before {
        return Mappings::default();
    }
    Mappings::new(&specs).unwrap_or_else(|error| {
        let path = error.place().map_or_else(|| "mapping".to_owned(), |(rule, key)| format!("mapping.{rule}.{key}"));
        problems.add_at(&path, &error.to_string());
        Mappings::default()
    })
}

/// The key of a rule that an error is about.
fn place(error: &MappingError, destinations: usize) -> String {
    match (error, error.destination()) {
        (MappingError::To { .. }, Some(number)) if destinations > 1 => format!("to.{}.topic", number - 1),
        (MappingError::Weight { .. }, Some(number)) => format!("to.{}.weight", number - 1),
        _ => error.key().to_owned(),
    }
}

/// One rule, of which all but its keys is to be checked.
pub(crate) fn rule(mut section: Section<'_, '_>, problems: &mut Problems) -> Option<MappingSpec> {
    for (key, example) in [("from", "\"orders/**\""), ("to", "\"eu/orders/{rest}\"")] {
        section.needs(key, example, problems);
    }
    let from = section.text("from", problems);
    // A text, or a list of tables.
    let before = problems.list.len();
    let to = if section.is_text("to") {
        vec![section.text("to", problems).map(|text| (Some(text), 1))]
    } else {
        section.sections("to", problems).into_iter().map(|to| destination(to, problems)).collect()
    };
    // A list of none is the rule's mistake, and told with those.
    let is_read = section.has("to") && problems.list.len() == before;
    let name = section.text("name", problems).unwrap_or_default();
    let by = section.choice("by", &BY, problems).unwrap_or_default();
    let requests = section.boolean("requests", problems).unwrap_or(false);
    section.finish(problems);
    let to = to.into_iter().collect::<Option<Vec<_>>>()?;
    Some(MappingSpec { name, from: from.filter(|_| is_read || !to.is_empty())?, to, by, requests })
}

fn destination(mut section: Section<'_, '_>, problems: &mut Problems) -> Option<(Option<String>, u32)> {
    let (topic, weight) = (section.text("topic", problems), section.number("weight", problems));
    let dropped = section.boolean("drop", problems).unwrap_or(false);
    if section.has("topic") == dropped {
        let message = "a share has either `topic = \"…\"` or `drop = true`";
        problems.add(section.offset, format!("{}: {message}", section.path_of("topic")));
    }
    let is_there = topic.is_some() || dropped;
    section.finish(problems);
    is_there.then_some((topic, weight.unwrap_or(1)))
}

/// The rules as a configuration.
pub(super) fn show(rules: &Mappings, out: &mut String) -> std::fmt::Result {
    for rule in rules.rules() {
        writeln!(out, "\n[[mapping]]")?;
        if !rule.name().is_empty() {
            writeln!(out, "name = {:?}", rule.name())?;
        }
        writeln!(out, "from = {:?}", rule.from())?;
        match rule.destinations() {
            [only] if only.template().is_some() => writeln!(out, "to = {:?}", only.template().unwrap_or_default())?,
            several => {
                writeln!(out, "to = [")?;
                for share in several {
                    let what = share.template().map_or("drop = true".to_owned(), |text| format!("topic = {text:?}"));
                    writeln!(out, "    {{ {what}, weight = {} }},", share.weight())?;
                }
                let by = BY.iter().find(|(_, by)| *by == rule.by()).map_or("", |(name, _)| *name);
                writeln!(out, "]\nby = {by:?}")?;
            }
        }
        writeln!(out, "requests = {}", rule.maps_requests())?;
    }
    Ok(())
}
