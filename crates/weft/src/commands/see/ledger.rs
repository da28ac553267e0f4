//! `weft mesh ledger`: what became of all copies by class of topics, hub and
//! reason, and what crossed each link by class, as all hubs of the mesh say.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::{Value, json};
use weft_client::{HubSaid, Question, facts};

use crate::cli::AskArgs;
use crate::connect::connect;

/// What the ledger of all topics is called.
pub(crate) const ALL: &str = "(all)";

/// Asks all hubs for their ledgers and shows them.
pub(crate) async fn run(args: &AskArgs) -> anyhow::Result<()> {
    let client = connect(&args.server, "weft mesh ledger").await?;
    let said = client.ask_mesh(&Question::Ledger, args.wait).await?;
    client.close().await;
    let mut out = io::stdout().lock();
    if args.json {
        let mut object = json!({});
        add_ledgers(&said, &mut object);
        writeln!(out, "{object}")?;
    } else {
        crossings(&said, &mut out)?;
        ledgers(&said, &mut out)?;
    }
    out.flush()?;
    Ok(())
}

/// The ledger of a hub or of the mesh: counts by name.
pub(crate) type Counts = BTreeMap<String, u64>;

/// The ledgers by class and hub; those of all hubs together have no hub's name.
pub(crate) fn by_class(said: &[HubSaid]) -> BTreeMap<String, BTreeMap<String, Counts>> {
    let mut classes: BTreeMap<String, BTreeMap<String, Counts>> = BTreeMap::new();
    for hub in said.iter().filter(|hub| hub.answered) {
        for fact in &hub.facts {
            let (class, what) = if let Some(what) = fact.name.strip_prefix(facts::LEDGER) {
                (ALL, what)
            } else if let Some((class, what)) = fact.name.strip_prefix(facts::CLASS).and_then(|n| n.split_once('.')) {
                (class, what)
            } else {
                continue;
            };
            let hubs = classes.entry(class.to_owned()).or_default();
            for name in [&hub.name, ""] {
                *hubs.entry(name.to_owned()).or_default().entry(what.to_owned()).or_default() += fact.value;
            }
        }
    }
    add_other(&mut classes);
    classes
}

/// What is in no class: all, less what is in one. Not said where there are none.
fn add_other(classes: &mut BTreeMap<String, BTreeMap<String, Counts>>) {
    if classes.len() < 2 {
        return;
    }
    let mut other = classes.get(ALL).cloned().unwrap_or_default();
    for (_, hubs) in classes.iter().filter(|(class, _)| *class != ALL) {
        for (hub, counts) in hubs {
            for (what, count) in counts {
                if let Some(rest) = other.get_mut(hub).and_then(|rest| rest.get_mut(what)) {
                    *rest = rest.saturating_sub(*count);
                }
            }
        }
    }
    // What is out of balance does not subtract.
    for counts in other.values_mut() {
        counts.remove("imbalance");
    }
    classes.insert("other".to_owned(), other);
}

/// The ledger as a table: a line for each class and hub, and one for each reason to drop.
pub(crate) fn ledgers(said: &[HubSaid], out: &mut impl Write) -> io::Result<()> {
    let columns = ["published", "received", "copies", "delivered", "stored", "forwarded", "in_flight"];
    write!(out, "\n{:<16} {:<16}", "LEDGER", "HUB")?;
    for column in columns {
        write!(out, " {:>11}", column.to_uppercase().replace('_', " "))?;
    }
    writeln!(out, " {:>9}", "BALANCE")?;
    for (class, hubs) in by_class(said) {
        for (hub, counts) in &hubs {
            let hub = if hub.is_empty() { "all hubs" } else { hub };
            write!(out, "{class:<16} {hub:<16}")?;
            for column in columns {
                write!(out, " {:>11}", counts.get(column).copied().unwrap_or_default())?;
            }
            match counts.get("imbalance") {
                Some(off) => writeln!(out, " {:>9}", format!("OFF BY {off}"))?,
                None => writeln!(out, " {:>9}", "ok")?,
            }
            for (what, count) in counts {
                if let Some(reason) = what.strip_prefix(facts::DROPPED) {
                    writeln!(out, "{:<33} {count} dropped: {reason}", "")?;
                }
            }
        }
    }
    for hub in said.iter().filter(|hub| !hub.answered) {
        writeln!(out, "{}: no answer, its ledger is not in these", hub.name)?;
    }
    Ok(())
}

/// What crossed the links from one hub to another, of one class: sent, as the
/// one says, come, as the other does, and what came of the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Crossed {
    pub(crate) sent: u64,
    pub(crate) came: u64,
    pub(crate) off: u64,
    pub(crate) unsure: u64,
}

/// By the hubs at the ends, sender first, and the class.
pub(crate) type Crossings<'a> = BTreeMap<(&'a str, &'a str), BTreeMap<&'a str, Crossed>>;

/// What crossed the links, as both ends say.
pub(crate) fn crossed(said: &[HubSaid]) -> Crossings<'_> {
    let mut all = Crossings::new();
    for hub in said.iter().filter(|hub| hub.answered) {
        for fact in &hub.facts {
            let Some((what, class)) = fact.name.strip_prefix(facts::LINK).and_then(|name| name.split_once('.')) else {
                continue;
            };
            let (own, other) = (hub.name.as_str(), fact.text.as_str());
            let (ends, count): (_, fn(&mut Crossed) -> &mut u64) = match what {
                "out" => ((own, other), |crossed| &mut crossed.sent),
                "unsure" => ((own, other), |crossed| &mut crossed.unsure),
                "in" => ((other, own), |crossed| &mut crossed.came),
                "off" => ((other, own), |crossed| &mut crossed.off),
                // Of a later version.
                _ => continue,
            };
            for class in [class, ALL] {
                *count(all.entry(ends).or_default().entry(class).or_default()) += fact.value;
            }
        }
    }
    all
}

/// What crossed each link, at both of its ends: a line for each class.
pub(super) fn crossings(said: &[HubSaid], out: &mut impl Write) -> io::Result<()> {
    let all = crossed(said);
    if all.is_empty() {
        return Ok(());
    }
    let columns = ("HOP", "CLASS", "SENT", "CAME", "CUT OFF", "OFF BY", "ENDS");
    let (hop, class, sent, came, unsure, off, ends) = columns;
    writeln!(out, "{hop:<33} {class:<16} {sent:>11} {came:>11} {unsure:>11} {off:>11} {ends:>9}")?;
    let silent = |name: &str| said.iter().any(|hub| hub.name == name && !hub.answered);
    for ((from, to), classes) in all {
        for (class, crossed) in classes {
            let Crossed { sent, came, off, unsure } = crossed;
            let shown = |of: &str, count: u64| if silent(of) { "?".to_owned() } else { count.to_string() };
            let hop = format!("{from} -> {to}");
            let (sent, unsure) = (shown(from, sent), shown(from, unsure));
            let (came, lost) = (shown(to, came), shown(to, off));
            let ends = match off {
                0 if silent(to) => "?",
                0 => "ok",
                _ => "DIFFER",
            };
            writeln!(out, "{hop:<33} {class:<16} {sent:>11} {came:>11} {unsure:>11} {lost:>11} {ends:>9}")?;
        }
    }
    Ok(())
}

fn crossings_as_json(said: &[HubSaid]) -> Value {
    let hops = crossed(said).into_iter().flat_map(|((from, to), classes)| {
        classes.into_iter().filter(|(class, _)| *class != ALL).map(move |(class, crossed)| {
            let Crossed { sent, came, off, unsure } = crossed;
            json!({
                "from": from, "to": to, "class": class,
                "sent": sent, "came": came, "cutOff": unsure, "offBy": off,
            })
        })
    });
    hops.collect()
}

/// Adds the ledgers to what `weft mesh show --json` says.
pub(crate) fn add_ledgers(said: &[HubSaid], object: &mut Value) {
    let silent: Vec<&str> = said.iter().filter(|hub| !hub.answered).map(|hub| hub.name.as_str()).collect();
    if let Some(object) = object.as_object_mut() {
        let mut classes = by_class(said);
        // Who reads it adds up for himself.
        classes.values_mut().for_each(|hubs| drop(hubs.remove("")));
        object.insert("ledger".to_owned(), json!(classes));
        object.insert("crossings".to_owned(), crossings_as_json(said));
        object.insert("noAnswer".to_owned(), json!(silent));
    }
}
