//! `weft mesh topics`: which topics are published and by whom, as all hubs of the mesh
//! say. The dashboard asks by the same pages.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use serde_json::{Value, json};
use weft_base::UnixNanos;
use weft_client::{Client, HubSaid, Question, RequestError, facts};

use crate::cli::TopicsArgs;
use crate::commands::top::harmless;
use crate::connect::connect;
use crate::time::rfc3339;

/// Topics that are asked for at a time, as many as a hub gives.
pub(crate) const PAGE: usize = 200;

/// Which topics are asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// A filter that they match; empty for all.
    pub(crate) filter: String,
    /// What their names contain.
    pub(crate) search: String,
    /// Those behind this one.
    pub(crate) after: String,
    /// So many, at most [`PAGE`].
    pub(crate) most: usize,
}

/// A session that publishes a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Publisher {
    pub(crate) hub: String,
    /// What the client calls itself.
    pub(crate) client: String,
    /// Who it is; nothing where nobody asked.
    pub(crate) principal: Option<String>,
    /// Events of the topic that it published.
    pub(crate) events: u64,
    /// When last, by the clock of the hub that was asked.
    pub(crate) last: UnixNanos,
}

/// A topic, and who publishes it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) topic: String,
    /// Of each hub those that published most; of all hubs, who published most first.
    pub(crate) publishers: Vec<Publisher>,
    /// So many more sessions do.
    pub(crate) more: u64,
}

/// A page of topics.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) rows: Vec<Row>,
    /// There are more, behind this one.
    pub(crate) next: Option<String>,
    /// Hubs that did not answer.
    pub(crate) silent: Vec<String>,
    /// Sessions of which hubs do not know all topics.
    pub(crate) untold: u64,
}

/// Asks all hubs for a page. Of each topic so many publishers are named.
pub(crate) async fn ask(client: &Client, wanted: &Wanted, named: usize, wait: Duration) -> Result<Page, RequestError> {
    let Wanted { filter, search, after, most } = wanted.clone();
    let asked = u32::try_from(most).unwrap_or(u32::MAX);
    let said = client.ask_mesh(&Question::Topics { filter, search, after, most: asked }, wait).await?;
    Ok(merged(&said, most, named))
}

/// What all hubs say, in one list. A hub that has more than it says may have some that
/// come before others' last: what is behind the last of such a hub comes with the next page.
fn merged(said: &[HubSaid], most: usize, named: usize) -> Page {
    let mut rows = BTreeMap::<&str, (u64, Vec<Publisher>)>::new();
    let (mut horizon, mut untold) = (None::<&str>, 0);
    for hub in said {
        let (mut topic, mut last) = (None, "");
        for fact in &hub.facts {
            match fact.name.as_str() {
                facts::PUBLISHED => {
                    last = &fact.text;
                    let row = rows.entry(last).or_default();
                    row.0 += fact.value;
                    topic = Some(&mut row.1);
                }
                facts::BY => {
                    let publisher = Publisher {
                        hub: hub.name.clone(),
                        client: fact.text.clone(),
                        principal: None,
                        events: fact.value,
                        last: UnixNanos(0),
                    };
                    topic.iter_mut().for_each(|topic| topic.push(publisher.clone()));
                }
                facts::PRINCIPAL => {
                    if let Some(by) = topic.as_mut().and_then(|topic| topic.last_mut()) {
                        by.principal = Some(fact.text.clone());
                    }
                }
                facts::LAST_AT => {
                    if let Some(by) = topic.as_mut().and_then(|topic| topic.last_mut()) {
                        by.last = UnixNanos(fact.value.saturating_add_signed(hub.ahead_ns.saturating_neg()));
                    }
                }
                facts::MORE => horizon = Some(horizon.map_or(last, |horizon| horizon.min(last))),
                facts::UNTOLD => untold += fact.value,
                _ => {}
            }
        }
    }
    let all = rows.len();
    let is_known = |topic: &str| horizon.is_none_or(|horizon| topic <= horizon);
    let rows: Vec<Row> = rows
        .into_iter()
        .take_while(|(topic, _)| is_known(topic))
        .take(most)
        .map(|(topic, (sessions, mut publishers))| {
            publishers.sort_by_key(|by| std::cmp::Reverse(by.events));
            publishers.truncate(named);
            Row { topic: topic.to_owned(), more: sessions.saturating_sub(publishers.len() as u64), publishers }
        })
        .collect();
    let next = rows.last().filter(|_| horizon.is_some() || rows.len() < all).map(|row| row.topic.clone());
    let silent = said.iter().filter(|hub| !hub.answered).map(|hub| hub.name.clone()).collect();
    Page { rows, next, silent, untold }
}

/// Shows the topics, page after page.
pub(crate) async fn run(args: &TopicsArgs) -> anyhow::Result<()> {
    let client = connect(&args.ask.server, "weft mesh topics").await?;
    let (filter, search) = (args.filter.clone().unwrap_or_default(), args.search.clone().unwrap_or_default());
    let mut wanted = Wanted { filter, search, ..Wanted::default() };
    let mut all = Page { rows: Vec::new(), next: None, silent: Vec::new(), untold: 0 };
    while all.rows.len() < args.most {
        wanted.most = PAGE.min(args.most - all.rows.len());
        let page = ask(&client, &wanted, PAGE, args.ask.wait).await?;
        all.rows.extend(page.rows);
        all.silent.extend(page.silent);
        (all.next, all.untold) = (page.next, page.untold);
        match &all.next {
            Some(next) => wanted.after.clone_from(next),
            None => break,
        }
    }
    client.close().await;
    all.silent.sort_unstable();
    all.silent.dedup();
    let mut out = io::stdout().lock();
    if args.ask.json {
        writeln!(out, "{}", object(&all))?;
    } else {
        show(&all, &mut out)?;
    }
    out.flush()?;
    Ok(())
}

/// Whatever somebody wrote, as a terminal only shows it.
fn plain(text: &str) -> String {
    text.chars().map(harmless).collect()
}

fn show(page: &Page, out: &mut impl Write) -> io::Result<()> {
    let (topic, hub, events, last) = ("TOPIC", "HUB", "EVENTS", "LAST");
    writeln!(out, "{topic:<40} {hub:<16} {events:>10} {last:<30} PUBLISHER")?;
    for Row { topic, publishers, more } in &page.rows {
        let mut topic = plain(topic);
        for Publisher { hub, client, principal, events, last } in publishers {
            let (hub, last) = (plain(hub), rfc3339(*last));
            let who = principal.as_ref().map_or_else(String::new, |who| format!(", {}", plain(who)));
            writeln!(out, "{topic:<40} {hub:<16} {events:>10} {last:<30} {}{who}", plain(client))?;
            // Of the same topic.
            topic.clear();
        }
        if *more > 0 {
            writeln!(out, "{topic:<40} and {more} more")?;
        }
    }
    if page.rows.is_empty() {
        writeln!(out, "no client that is connected has published any of these")?;
    }
    if page.next.is_some() {
        writeln!(out, "there are more topics: name a filter, or --most")?;
    }
    if page.untold > 0 {
        writeln!(out, "of {} sessions not all topics are known: raise limits.topics of their hubs", page.untold)?;
    }
    for hub in &page.silent {
        writeln!(out, "{}: no answer, what its clients publish is not in this", plain(hub))?;
    }
    Ok(())
}

/// A publisher as JSON.
pub(crate) fn publisher(by: &Publisher) -> Value {
    let Publisher { hub, client, principal, events, last } = by;
    let last = last.0 / 1_000_000;
    json!({"hub": hub, "client": client, "principal": principal, "events": events, "last": last})
}

/// A page as JSON, as the dashboard has it and `--json` prints it.
pub(crate) fn object(page: &Page) -> Value {
    let row = |row: &Row| {
        let publishers: Vec<Value> = row.publishers.iter().map(publisher).collect();
        json!({"topic": row.topic, "publishers": publishers, "more": row.more})
    };
    let items: Vec<Value> = page.rows.iter().map(row).collect();
    json!({
        "items": items, "next": page.next, "total": Value::Null, "silent": page.silent, "untold": page.untold,
    })
}

#[cfg(test)]
mod tests {
    use weft_base::HubId;
    use weft_client::Fact;

    use super::*;

    fn hub(name: &str, topics: &[(&str, u64)], more: bool) -> HubSaid {
        let fact = |name: &str, text: &str, value| Fact { name: name.to_owned(), text: text.to_owned(), value };
        let mut facts = Vec::new();
        for (topic, events) in topics {
            facts.push(fact(facts::PUBLISHED, topic, 10));
            facts.push(fact(facts::BY, "client", *events));
            facts.push(fact(facts::PRINCIPAL, "air/anna", 0));
            facts.push(fact(facts::LAST_AT, "", 1_000));
        }
        facts.extend(more.then(|| fact(facts::MORE, "", 1)));
        let id = HubId::of_name(name);
        HubSaid { hub: id, name: name.to_owned(), answered: true, took: Duration::ZERO, ahead_ns: 300, facts }
    }

    fn names(page: &Page) -> Vec<&str> {
        page.rows.iter().map(|row| row.topic.as_str()).collect()
    }

    #[test]
    fn a_topic_of_several_hubs_is_one_row_and_who_published_most_is_first() {
        let silent = HubSaid { answered: false, facts: Vec::new(), ..hub("gone", &[], false) };
        let said = [hub("east", &[("a", 3), ("b", 1)], false), hub("west", &[("a", 7)], false), silent];
        let page = merged(&said, 10, 8);
        let of = |hub: &str, events| Publisher {
            hub: hub.to_owned(),
            client: "client".to_owned(),
            principal: Some("air/anna".to_owned()),
            events,
            last: UnixNanos(700),
        };
        assert_eq!(
            page.rows[0],
            Row { topic: "a".to_owned(), publishers: vec![of("west", 7), of("east", 3)], more: 18 }
        );
        assert_eq!((names(&page), &page.next, &*page.silent), (vec!["a", "b"], &None, &["gone".to_owned()][..]));
        let short = merged(&said, 1, 1);
        assert_eq!((names(&short), short.rows[0].more, short.next.as_deref()), (vec!["a"], 19, Some("a")));
    }

    #[test]
    fn what_is_behind_the_last_of_a_hub_that_has_more_waits_for_the_next_page() {
        let said = [hub("east", &[("a", 1), ("c", 1)], true), hub("west", &[("b", 1), ("d", 1)], false)];
        let page = merged(&said, 10, 8);
        assert_eq!((names(&page), page.next.as_deref()), (vec!["a", "b", "c"], Some("c")), "east may have another c");
        let said = [hub("east", &[("a", 1), ("b", 1)], true), hub("west", &[("c", 1)], true)];
        let page = merged(&said, 2, 8);
        assert_eq!((names(&page), page.next.as_deref()), (vec!["a", "b"], Some("b")));
        let none = merged(&[hub("east", &[], false)], 10, 8);
        assert_eq!((none.rows.len(), none.next), (0, None));
    }

    #[test]
    fn nothing_that_hubs_say_moves_a_terminals_cursor() {
        let said = [hub("e\u{1b}[2J", &[("a\u{202e}/\u{1b}", 1)], true)];
        let mut out = Vec::new();
        show(&merged(&said, 10, 8), &mut out).expect("memory takes it");
        let text = String::from_utf8(out).expect("text");
        assert!(text.contains("and 9 more") && text.contains("there are more topics"), "{text}");
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text:?}");
    }
}
