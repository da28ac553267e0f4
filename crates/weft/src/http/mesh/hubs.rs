//! What hubs say when they are asked: of one of them, of a link, of their ledgers, of
//! an event, who publishes which topics, and where an event of a topic would go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Response, Uri};
use serde_json::{Map, Value, json};
use weft_base::HubId;
use weft_client::{HubSaid, Question, facts};
use weft_mesh::ledger::DropReason;

use super::super::answer;
use super::super::problem::Problem;
use super::super::query::{Query, bad};
use super::{Asking, ITEMS, MOST_ITEMS, PART_BYTES, live, not_found};
use crate::commands::see::ledger::{ALL, Counts, Crossed, by_class, crossed};
use crate::commands::see::topics::{self, Page, Wanted};
use crate::commands::see::{EventName, mapping_in_words, object, path, ways};
use crate::watch::Sight;

/// How long hubs may take to answer.
const WAIT: Duration = Duration::from_secs(1);
/// Publishers that are named of each topic of a list, and of one topic.
const NAMED: usize = 8;
const NAMED_OF_ONE: usize = 200;
/// What counters of stages begin with.
const STAGE: &str = "stage.";

/// A hub: how it stands, its counters, stages and ledger.
pub(super) async fn hub(asking: &Asking, sight: &Sight, name: &str) -> Result<Response<Body>, Problem> {
    let Some(hub) = sight.hubs.iter().find(|hub| hub.name == name) else { return Err(not_found("hub", name)) };
    let (answered, mut counters) = counters(asking, name).await?;
    let mut stages = BTreeMap::<String, BTreeMap<String, u64>>::new();
    counters.retain(|counter, value| {
        let Some((stage, what)) = counter.strip_prefix(STAGE).and_then(|rest| rest.rsplit_once('.')) else {
            return true;
        };
        stages.entry(stage.to_owned()).or_default().insert(what.to_owned(), *value);
        false
    });
    let stages: Vec<Value> = stages
        .iter()
        .map(|(stage, of)| {
            let of = |what: &str| of.get(what).copied().unwrap_or_default();
            json!({
                "name": stage, "depth": of("depth"), "waitUs": of("wait_us"), "serviceNs": of("service_ns"),
                "batch": of("batch"), "busyPermille": of("busy_permille"), "shards": of("shards"),
                "ownThread": of("own_thread") > 0,
            })
        })
        .collect();
    let said = ledgers(asking).await?;
    let rows = by_class(&said);
    let rows = rows.iter().filter_map(|(class, hubs)| Some(row(class, name, hubs.get(name)?)));
    let body = json!({
        "hub": live::hub(hub), "answered": answered, "counters": counters, "stages": stages,
        "ledger": rows.collect::<Vec<_>>(),
    });
    Ok(answer::json(200, &body))
}

/// A link in one direction.
pub(super) async fn link(asking: &Asking, sight: &Sight, (from, to): (&str, &str)) -> Result<Response<Body>, Problem> {
    let found = sight.links.iter().find(|link| link.from == from && link.to == to);
    let Some(link) = found else { return Err(not_found("link", &format!("{from} -> {to}"))) };
    let (_, all) = counters(asking, from).await?;
    let head = format!("link.{to}.");
    let own = all.iter().filter_map(|(name, value)| Some((name.strip_prefix(&head)?, value)));
    let own: BTreeMap<&str, &u64> = own.collect();
    let said = ledgers(asking).await?;
    let rows = crossings(&said, |ends, class| ends == (from, to) && class != ALL);
    Ok(answer::json(200, &json!({"link": live::link(link), "counters": own, "crossings": rows})))
}

/// What became of all copies, by class, and of one class by hub.
pub(super) async fn ledger(asking: &Asking, uri: &Uri) -> Result<Response<Body>, Problem> {
    let query = Query::of(uri, &["class"])?;
    let chosen = query.get("class").unwrap_or(ALL);
    let said = ledgers(asking).await?;
    let classes = by_class(&said);
    let (mut all, mut hubs) = (Vec::new(), Vec::new());
    let mut reasons = BTreeSet::new();
    for (class, of) in &classes {
        for (hub, counts) in of {
            let names = counts.keys().filter_map(|what| what.strip_prefix(facts::DROPPED));
            reasons.extend(names.map(str::to_owned));
            if hub.is_empty() {
                all.push(row(class, hub, counts));
            } else if class == chosen {
                hubs.push(row(class, hub, counts));
            }
        }
    }
    let sentence = |name: &str| DropReason::ALL.iter().find(|reason| reason.name() == name).map(|r| r.sentence());
    let reasons: Map<String, Value> =
        reasons.into_iter().filter_map(|name| sentence(&name).map(|words| (name, words.into()))).collect();
    let silent: Vec<&str> = said.iter().filter(|hub| !hub.answered).map(|hub| hub.name.as_str()).collect();
    let body = json!({
        "classes": all, "hubs": hubs, "crossings": crossings(&said, |_, class| class == chosen), "silent": silent,
        "reasons": reasons,
    });
    Ok(answer::json(200, &body))
}

/// Where an event went.
pub(super) async fn event(asking: &Asking, uri: &Uri) -> Result<Response<Body>, Problem> {
    let query = Query::of(uri, &["event"])?;
    let name: EventName = query.get("event").unwrap_or_default().parse().map_err(|why: String| bad("event", &why))?;
    let said = ask(asking, name.question()).await?;
    Ok(answer::json(200, &object(&said)))
}

/// Topics that are published now, in order of name, and by whom.
pub(super) async fn topics(asking: &Asking, uri: &Uri) -> Result<Response<Body>, Problem> {
    let query = Query::of(uri, &["limit", "after", "search"])?;
    let most = query.number("limit", 1..=MOST_ITEMS)?.unwrap_or(ITEMS);
    let of = |name: &str| match query.get(name).unwrap_or_default() {
        long if long.len() > PART_BYTES => Err(bad(name, &format!("it has more than {PART_BYTES} bytes"))),
        text => Ok(text.to_owned()),
    };
    let wanted = Wanted { search: of("search")?, after: of("after")?, most, ..Wanted::default() };
    Ok(answer::json(200, &topics::object(&published(asking, &wanted, NAMED).await?)))
}

async fn published(asking: &Asking, wanted: &Wanted, named: usize) -> Result<Page, Problem> {
    topics::ask(asking.lease.client(), wanted, named, WAIT).await.map_err(|error| asking.problem(&error))
}

/// Who publishes a topic, and where an event of it would go if somebody published it at
/// this hub.
pub(super) async fn topic(asking: &Asking, topic: &str) -> Result<Response<Body>, Problem> {
    weft_topic::Topic::parse(topic).map_err(|error| Problem::new(400, "bad_topic", error.to_string()))?;
    let question = Question::Topic(topic.to_owned());
    let wanted = Wanted { filter: topic.to_owned(), most: 1, ..Wanted::default() };
    let (said, page) = tokio::join!(ask(asking, &question), published(asking, &wanted, NAMED_OF_ONE));
    let (said, page) = (said?, page?);
    let row = page.rows.first();
    let publishers: Vec<Value> = row.iter().flat_map(|row| &row.publishers).map(topics::publisher).collect();
    let start = said.first();
    let mut to = Vec::new();
    for (hub, via) in start.into_iter().flat_map(ways) {
        let way = if via.text.is_empty() { Vec::new() } else { path(&said, start.map_or("", |s| &s.name), &hub.text) };
        to.push(json!({"hub": hub.text, "toStore": hub.value > 0, "way": way}));
    }
    let hubs: Vec<Value> = said
        .iter()
        .map(|hub| {
            let groups: Vec<Value> =
                hub.all(facts::GROUP).map(|g| json!({"name": g.text, "members": g.value})).collect();
            let streams: Vec<&str> = hub.all(facts::STREAM).map(|stream| stream.text.as_str()).collect();
            json!({
                "hub": hub.name, "answered": hub.answered, "subscriptions": hub.number(facts::LOCAL),
                "streams": streams, "groups": groups,
            })
        })
        .collect();
    let mapped = start.and_then(mapping_in_words);
    Ok(answer::json(
        200,
        &json!({
            "topic": topic, "at": start.map(|s| &s.name), "mapped": mapped, "hubs": hubs, "to": to,
            "publishers": publishers, "more": row.map_or(0, |row| row.more), "silent": page.silent,
        }),
    ))
}

async fn ask(asking: &Asking, question: &Question) -> Result<Vec<HubSaid>, Problem> {
    asking.lease.client().ask_mesh(question, WAIT).await.map_err(|error| asking.problem(&error))
}

async fn ledgers(asking: &Asking) -> Result<Vec<HubSaid>, Problem> {
    ask(asking, &Question::Ledger).await
}

/// Whether a hub answered, and its counters.
async fn counters(asking: &Asking, name: &str) -> Result<(bool, BTreeMap<String, u64>), Problem> {
    let said = ask(asking, &Question::Counters(HubId::of_name(name))).await?;
    let Some(hub) = said.iter().find(|hub| hub.name == name) else { return Ok((false, BTreeMap::new())) };
    let counter = |fact: &weft_client::Fact| Some((fact.name.strip_prefix(facts::COUNTER)?.to_owned(), fact.value));
    Ok((hub.answered, hub.facts.iter().filter_map(counter).collect()))
}

fn row(class: &str, hub: &str, counts: &Counts) -> Value {
    let of = |what: &str| counts.get(what).copied().unwrap_or_default();
    let dropped: Map<String, Value> = counts
        .iter()
        .filter_map(|(what, count)| Some((what.strip_prefix(facts::DROPPED)?.to_owned(), (*count).into())))
        .collect();
    json!({
        "class": class, "hub": hub, "published": of("published"), "received": of("received"), "copies": of("copies"),
        "delivered": of("delivered"), "stored": of("stored"), "forwarded": of("forwarded"),
        "inFlight": of("in_flight"), "imbalance": of("imbalance"), "dropped": dropped,
    })
}

fn crossings(said: &[HubSaid], wanted: impl Fn((&str, &str), &str) -> bool) -> Vec<Value> {
    let mut rows = Vec::new();
    for ((from, to), classes) in crossed(said) {
        for (class, Crossed { sent, came, off, unsure }) in classes {
            if wanted((from, to), class) {
                rows.push(json!({
                    "from": from, "to": to, "class": class, "sent": sent, "came": came, "off": off, "unsure": unsure,
                }));
            }
        }
    }
    rows
}
