//! Plans as they are read for a mesh, and what is said of them.

use std::collections::BTreeMap;

use weft_base::HubId;
use weft_client::{Fact, HubSaid, surveyed};

use super::*;
use crate::config::reader::line_column;

const EXAMPLE: &str = include_str!("../../../../examples/plan.toml");

/// What `new-york` says of a line of three hubs.
pub(super) fn line() -> Live {
    let fact = |name: &str, text: &str, value| Fact { name: name.to_owned(), text: text.to_owned(), value };
    let hub = |name: &str, facts: Vec<Fact>| HubSaid {
        hub: HubId::of_name(name),
        name: name.to_owned(),
        answered: true,
        took: std::time::Duration::ZERO,
        ahead_ns: 0,
        facts,
    };
    let link = |to: &str| vec![fact(surveyed::LINK, to, 5), fact(surveyed::RTT, "", 1_000)];
    let wants = |filter: &str| fact(surveyed::WANTS, filter, 0);
    let mut own = vec![fact(surveyed::WEIGHT_RTT, "", 100)];
    own.extend(link("chicago"));
    let mut middle = link("new-york");
    middle.extend(link("los-angeles"));
    middle.push(fact(surveyed::LABEL, "us", 0));
    // A link that one end alone reports, and one to a hub that nobody knows.
    middle.extend(link("nowhere"));
    let mut last = link("chicago");
    last.extend([fact(surveyed::PRICE, "", 3), wants("flights/**"), fact(surveyed::WANTS_MORE, "", 7)]);
    Live::read(&[hub("new-york", own), hub("chicago", middle), hub("los-angeles", last)])
}

#[test]
fn the_example_is_read_and_foretold() {
    let live = line();
    let plan = file::parse(EXAMPLE, &live).expect("no mistakes");
    assert_eq!(plan.changes.len(), 4);
    let rates = BTreeMap::from([(HubId::of_name("chicago"), 12.5)]);
    let foretold = show::Foretold { live: &live, plan: &plan, rates: &rates };
    let object = foretold.object();
    let moved: Vec<_> = object["ways"].as_array().expect("ways").iter().filter(|w| w["from"] == "new-york").collect();
    let to_la = moved.iter().find(|way| way["to"] == "los-angeles").expect("a way");
    assert_eq!(to_la["before"]["hubs"], serde_json::json!(["chicago", "los-angeles"]));
    assert_eq!(to_la["before"]["cost"], 2 * 1_005 + 3_000, "the price of one end counts");
    assert_eq!(to_la["after"]["hubs"], serde_json::json!(["los-angeles"]));
    let transit = object["transit"].as_array().expect("hubs").iter().find(|t| t["hub"] == "chicago").expect("it");
    let expected = serde_json::json!({ "hub": "chicago", "before": 1, "after": 0, "copiesPerSecond": 12.5 });
    assert_eq!(transit, &expected);
    assert_eq!(object["affected"]["los-angeles"], serde_json::json!({ "filters": ["flights/**"], "more": 7 }));
    let mut text = Vec::new();
    foretold.human(&mut text).expect("written");
    let text = String::from_utf8(text).expect("text");
    for line in [
        "  1  new-york dials los-angeles at 10.0.0.3:7500: cost 0, round trip taken to be 2.000 ms",
        "new-york -> los-angeles          now   chicago, los-angeles (cost 5010)",
        "los-angeles          flights/** and 7 more",
        "carries for others no more",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[test]
fn draining_labels_and_rules_are_foretold() {
    let live = line();
    let foretold = |text: &str| {
        let plan = file::parse(text, &live).expect("no mistakes");
        let rates = BTreeMap::new();
        let foretold = show::Foretold { live: &live, plan: &plan, rates: &rates };
        let mut text = Vec::new();
        foretold.human(&mut text).expect("written");
        (foretold.object(), String::from_utf8(text).expect("text"))
    };
    let (object, text) = foretold("[[drain]]\nhub = \"chicago\"\n");
    let to_la = |way: &&serde_json::Value| way["from"] == "new-york" && way["to"] == "los-angeles";
    let way = object["ways"].as_array().expect("ways").iter().find(to_la).expect("it costs more");
    assert_eq!(way["before"]["hubs"], way["after"]["hubs"], "there is no other way");
    assert!(text.contains("  1  chicago is about to stop: ways lead over it only where there is no other"), "{text}");
    assert!(text.contains("FLOWS: 0 start, 0 stop"), "{text}");

    // chicago alone is in `us`: with the others there is a way for what is bound to it.
    let both =
        "[[labels]]\nhub = \"new-york\"\nlabels = [\"us\"]\n[[labels]]\nhub = \"los-angeles\"\nlabels = [\"us\"]\n";
    let (object, text) = foretold(both);
    let la = |from: &str| serde_json::json!({ "from": from, "to": "los-angeles" });
    let bound =
        serde_json::json!([{ "label": "us", "starts": [la("new-york"), la("chicago")], "stops": [], "moves": [] }]);
    let sorted = |value: &serde_json::Value| {
        let mut starts = value[0]["starts"].as_array().expect("flows").clone();
        starts.sort_by_key(ToString::to_string);
        starts
    };
    assert_eq!((sorted(&object["bound"]), &object["bound"][0]["stops"]), (sorted(&bound), &serde_json::json!([])));
    assert!(text.contains("BOUND to `us`: 2 flows start, 0 stop, 0 lead elsewhere"), "{text}");

    // los-angeles wants `flights/**`.
    let rule = |from: &str, to: &str| {
        foretold(&format!("[[mapping]]\nhub = \"new-york\"\nfrom = \"{from}\"\nto = \"{to}\"\n"))
    };
    let flow = serde_json::json!([{ "to": "los-angeles", "filters": ["flights/**"] }]);
    let none = serde_json::json!([]);
    for (from, to, starts, stops) in [
        ("planes/*/**", "flights/{1}/{rest}", &flow, &none),
        ("flights/*", "planes/{1}", &none, &flow),
        ("flights/*", "flights/x{1}", &none, &none),
        ("ships/*", "boats/{1}", &none, &none),
    ] {
        let (object, text) = rule(from, to);
        let told = &object["rules"][0];
        assert_eq!((&told["starts"], &told["stops"]), (starts, stops), "{from} to {to}: {object}");
        assert!(text.contains(&format!("RULE: new-york makes `{to}` of `{from}`")), "{text}");
    }
    let bind = "[[residency]]\nhub = \"new-york\"\nfilter = \"flights/*/us\"\nlabel = \"us\"\n";
    assert_eq!(foretold(bind).0["rules"][0]["stops"], flow, "new-york does not carry it");
    let with_labels = foretold(&format!("{both}{bind}")).0;
    assert_eq!((&with_labels["rules"][0]["stops"], &with_labels["rules"][0]["moves"]), (&none, &none));
}

#[test]
fn mistakes_are_told_all_at_once_with_line_and_remedy() {
    let text = r#"
cuts_of = ["chicago"]
[[hub]]
name = "boston"
[[add]]
from = "new-york"
to = "newyork"
[[add]]
from = "new-york"
to = "chicago"
addr = "10.0.0.2:7500"
[[remove]]
between = ["new-york"]
[[weigh]]
between = ["new-york", "los-angeles"]
costs = 7
[[labels]]
hub = "chicago"
labels = ["No Label"]
"#;
    let problems = file::parse(text, &line()).expect_err("mistakes");
    let told: Vec<String> =
        problems.iter().map(|p| format!("{} {}", line_column(text, p.offset).0, p.message)).collect();
    for (line, part) in [
        (2, "cuts_of is not known: did you mean `cuts_off`?"),
        (3, "hub.0.addr is missing"),
        (4, "no hub of the mesh is called `boston`: name one of"),
        (5, "add.0.addr is missing"),
        (7, "no hub of the mesh is called `newyork`"),
        (9, "add.1.from: these hubs have a link already"),
        (13, "a link has two ends: name two hubs"),
        (15, "weigh.0.between: these hubs have no link"),
        (16, "weigh.0.costs is not known: did you mean `cost`?"),
        (19, "`No Label` is no label"),
    ] {
        assert!(
            told.iter().any(|told| told.starts_with(&format!("{line} ")) && told.contains(part)),
            "{part}: {told:#?}"
        );
    }
    assert_eq!(told.len(), 10, "{told:#?}");
}

#[test]
fn what_contradicts_the_mesh_is_refused_where_it_stands() {
    let told = |text: &str| -> Vec<(usize, String)> {
        let problems = file::parse(text, &line()).expect_err("mistakes");
        problems.into_iter().map(|p| (line_column(text, p.offset).0, p.message)).collect()
    };
    let there = told("[[add]]\nfrom = \"chicago\"\nto = \"new-york\"\naddr = \"a:1\"\n");
    assert_eq!(there.len(), 1);
    assert!(there[0].0 == 2 && there[0].1.contains("have a link already"), "{there:?}");
    let twice = told(
        "[[remove]]\nbetween = [\"chicago\", \"new-york\"]\n[[weigh]]\nbetween = [\"new-york\", \"chicago\"]\ncost = 1\n",
    );
    assert!(twice[0].0 == 4 && twice[0].1.contains("`remove.0.between` is about the same"), "{twice:?}");
    let cut = "[[remove]]\nbetween = [\"chicago\", \"los-angeles\"]\n";
    let cuts = told(cut);
    assert!(cuts[0].1.starts_with("it would cut the mesh"), "{cuts:?}");
    assert!(cuts[0].1.contains("would no longer reach") && cuts[0].1.contains("2 pairs"), "{cuts:?}");
    let allowed = file::parse(&format!("cuts_off = [\"los-angeles\"]\n{cut}"), &line()).expect("that is said");
    assert_eq!(allowed.changes.len(), 1);
    assert!(told("")[0].1.contains("nothing is to change"));
}
