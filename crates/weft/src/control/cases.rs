//! Tests of policies in files (`*.test.toml`): questions with the answers that are
//! expected, `[[test]]` tables. Every mistake is told with its place.
//!
//! Bounds: [`MAX_CASES`] in all files; files as documents have them.

use std::path::Path;
use std::sync::Arc;

use weft_base::{Lane, UnixNanos};
use weft_govern::State;
use weft_govern::access::{Ask, Method, Place, Principal};
use weft_govern::api::{MAX_LABELS, Who, captured};
use weft_policy::Case;
use weft_topic::Filter;

use super::files::{Documents, MAX_FILE};
use crate::Usage;
use crate::cli::policy::{action, named};
use crate::commands::policy::principal;
use crate::config::reader::{Problems, Section};
use crate::config::{load_with, parse_with};
use crate::time::parse_rfc3339;

/// Tests in all files.
const MAX_CASES: usize = 100_000;
/// The hub, and its region, of tests that name none.
const NOWHERE: &str = "test";

/// The tests of the files that were found beside documents.
///
/// # Errors
/// What cannot be read, or all mistakes of a file.
pub(crate) fn cases(documents: &Documents, now: UnixNanos) -> anyhow::Result<Vec<Case>> {
    let state = documents.state();
    let mut all = Vec::new();
    for path in &documents.tests {
        all.extend(of_file(path, &state, now).map_err(|error| Usage(error.to_string()))?);
        if all.len() > MAX_CASES {
            return Err(Usage(format!("there are more than {MAX_CASES} tests: run some of them at a time")).into());
        }
    }
    Ok(all)
}

fn of_file(path: &Path, state: &State, now: UnixNanos) -> Result<Vec<Case>, crate::config::ConfigError> {
    let what = "tests";
    let length = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    if length > MAX_FILE {
        let source = std::io::Error::other(format!("it has {length} bytes, of which {MAX_FILE} are allowed"));
        return Err(crate::config::ConfigError::Read { what, path: path.to_owned(), source });
    }
    load_with(what, path, |text| {
        let read = |mut top: Section<'_, '_>, problems: &mut Problems| {
            let tests = top.sections("test", problems);
            top.finish(problems);
            tests.into_iter().filter_map(|test| case(test, state, now, problems)).collect()
        };
        parse_with(text, read, |_: &Vec<Case>| Vec::new())
    })
}

/// One test; none where something is wrong with it, which is noted.
fn case(mut test: Section<'_, '_>, state: &State, now: UnixNanos, problems: &mut Problems) -> Option<Case> {
    let offset = test.offset;
    let methods: Vec<(&str, Method)> =
        [Method::Anonymous, Method::Certificate, Method::Token, Method::Password, Method::Administrator]
            .map(|method| (method.name(), method))
            .to_vec();
    let name = test.needed("name", "\"guests may not\"", problems);
    let (identity, who) = (test.text("identity", problems), test.text("who", problems));
    let roles = test.texts("roles", problems).unwrap_or_default();
    let method = test.choice("method", &methods, problems).unwrap_or(Method::Certificate);
    let does = test.needed("action", "\"publish\"", problems);
    let resource = test.needed("resource", "\"orders/eu/1\"", problems);
    let topics = test.texts("topics", problems);
    let lane = test.number::<u8>("lane", problems);
    let hub = test.text("hub", problems);
    let region = test.text("region", problems);
    let labels = test.texts("labels", problems).unwrap_or_default();
    let time = test.text("time", problems);
    test.needs("allowed", "true", problems);
    let allowed = test.boolean("allowed", problems);
    let rule = test.text("rule", problems);
    test.finish(problems);
    let mut wrong = |what: String| {
        let name = name.as_deref().unwrap_or("?");
        problems.add(offset, format!("the test `{name}`: {what}"));
    };
    let principal: Option<Principal> = match (identity, who) {
        (Some(name), None) => Who::Identity(name).resolve(state).map_err(&mut wrong).ok(),
        (None, Some(who)) => Some(principal(&who, &roles, method)),
        _ => {
            wrong("say who does it: one of `identity` and `who`".to_owned());
            None
        }
    };
    let does = does.and_then(|text| action(&text).map_err(|why| wrong(format!("`{text}`: {why}"))).ok());
    let filters = topics.map(|topics| {
        let parse = |text: &String| Filter::parse(text).map_err(|error| wrong(format!("`{text}`: {error}"))).ok();
        topics.iter().filter_map(parse).collect::<Arc<[Filter]>>()
    });
    let resource = resource.and_then(|text| {
        let captures = |name: &str| filters.clone().unwrap_or_else(|| captured(state, name));
        named(&text).and_then(|named| named.resource(captures)).map_err(&mut wrong).ok()
    });
    let lane = match lane.map(|lane| Lane::new(lane).ok_or(lane)).transpose() {
        Ok(lane) => lane,
        Err(lane) => {
            wrong(format!("there is no lane {lane}: 0 to 7"));
            None
        }
    };
    let now = match time.as_deref().map(|text| parse_rfc3339(text).ok_or(text)).transpose() {
        Ok(time) => time.unwrap_or(now),
        Err(text) => {
            wrong(format!("`{text}` is no time: write for example 2030-01-01T10:00:00Z"));
            now
        }
    };
    if labels.len() > MAX_LABELS {
        wrong(format!("it has {} labels, of which {MAX_LABELS} are allowed", labels.len()));
    }
    let labels: std::collections::BTreeSet<&str> = labels.iter().map(String::as_str).collect();
    let place = Place {
        hub: hub.as_deref().unwrap_or(NOWHERE).into(),
        region: region.as_deref().unwrap_or(NOWHERE).into(),
        labels: labels.into_iter().map(Arc::from).collect(),
    };
    let ask = Ask { principal: Arc::new(principal?), action: does?, resource: resource?, lane };
    Some(Case { name: name?, ask, place: Arc::new(place), now, allowed: allowed?, rule })
}
