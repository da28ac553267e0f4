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
        (13, "a link has two ends: name two hubs"),
        (16, "weigh.0.costs is not known: did you mean `cost`?"),
        (19, "`No Label` is no label"),
    ] {
        assert!(
            told.iter().any(|told| told.starts_with(&format!("{line} ")) && told.contains(part)),
            "{part}: {told:#?}"
        );
    }
    assert_eq!(told.len(), 8, "{told:#?}");
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
    assert!(cuts[0].1.contains("it would cut the mesh"), "{cuts:?}");
    assert!(cuts[0].1.contains("would no longer reach") && cuts[0].1.contains("2 pairs"), "{cuts:?}");
    let allowed = file::parse(&format!("cuts_off = [\"los-angeles\"]\n{cut}"), &line()).expect("that is said");
    assert_eq!(allowed.changes.len(), 1);
    assert!(told("")[0].1.contains("nothing is to change"));
}
