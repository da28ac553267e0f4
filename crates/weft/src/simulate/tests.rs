//! The samples run and hold; mistakes are told with their place and a remedy.

use weft_sim::{Plan, Report};

use super::{MESH, PLAN, faults, mesh};
use crate::config::reader::line_column;

#[test]
fn the_samples_are_read_and_the_mesh_keeps_its_promises_under_the_faults() {
    let mesh = mesh::parse(MESH).expect("the sample mesh");
    let faults = faults::parse(PLAN, &mesh).expect("the sample plan");
    let mut report = Report::default();
    for seed in 0..5 {
        let plan = Plan::of_files("mesh", &mesh, &faults, seed);
        let outcome = weft_sim::run(&plan, None);
        assert!(outcome.is_ok(), "seed {seed}: {outcome:?}");
        report.add(&plan, outcome);
    }
    let row = &report.rows["mesh"];
    for (what, count) in [
        ("deliveries that had to happen", row.tally.expected),
        ("blocks for members of a group", row.tally.served),
        ("blocks stored", row.tally.stored),
        ("faults", row.tally.faults),
        ("ways around the hub that drains", row.tally.around),
        ("cuts with another path there", row.failovers.len() as u64),
        ("bytes of control", row.tally.control),
    ] {
        assert!(count > 0, "no {what}");
    }
}

#[test]
fn a_bound_that_the_mesh_does_not_keep_is_told() {
    let text = MESH.replace("latency_p99 = \"5 s\"", "latency_p99 = \"5 ms\"");
    let mesh = mesh::parse(&text).expect("a mesh");
    let plan = Plan::of_files("mesh", &mesh, &Default::default(), 1);
    let violation = weft_sim::run(&plan, None).expect_err("light is not that fast");
    assert_eq!(violation.check, weft_sim::Check::Latency, "{violation}");
}

/// The first mistake of a text, with its line.
fn mistake<T>(text: &str, parse: impl FnOnce(&str) -> Result<T, Vec<crate::config::reader::Problem>>) -> String {
    let Err(problems) = parse(text) else { panic!("no mistake in:\n{text}") };
    let first = &problems[0];
    format!("{}: {}", line_column(text, first.offset).0, first.message)
}

const TWO: &str = "[[hub]]\nname = \"a\"\n[[hub]]\nname = \"b\"\n[[link]]\nbetween = [\"a\", \"b\"]\n";

#[test]
fn mistakes_in_a_mesh_are_told_with_line_and_remedy() {
    for (more, told) in [
        ("[[hub]]\nname = \"a\"", "8: hub.2.name: `a` is the name of two hubs: rename one"),
        (
            "[[link]]\nbetween = [\"a\", \"c\"]",
            "8: link.1.between: no hub is called `c`: add a `[[hub]]`, or name one of a, b",
        ),
        ("[[link]]\nbetween = [\"b\", \"a\"]", "8: link.1.between: these two hubs have a link already: "),
        ("[[link]]\nbetween = [\"b\"]", "8: link.1.between: a link has two ends: name two hubs"),
        ("[[link]]\nbetween = [\"a\", \"b\"]\ndelai = \"5 ms\"", "9: link.1.delai is not known: did you mean `delay`?"),
        ("[[publisher]]\nhub = \"a\"\ntopic = \"x/{0}\"", "9: publisher.0.topic: `{0}` needs a number from 1 to 10000"),
        ("[[publisher]]\nhub = \"a\"\ntopic = \"x\"\nstored = true", "9: publisher.0.topic: no stream takes this in: "),
        ("[[publisher]]\nhub = \"a\"\ntopic = \"x\"\nrate = 0", "10: publisher.0.rate: 0 is no rate: "),
        ("[[subscriber]]\nhub = \"a\"\nfilters = [\"a//b\"]", "9: subscriber.0.filters: `a//b`: "),
        ("[[subscriber]]\nhub = \"a\"", "7: subscriber.0.filters is missing: add `filters = [\"flights/**\"]`"),
        ("[timers]\nping = \"10 s\"", "7: timers.silence: must be longer than `timers.ping`: raise it"),
        ("[[link]]\nbetween = [\"a\", \"b\"]\nloss = \"5\"", "9: link.1.loss: `5` is no share: write `\"0.5 %\"`"),
    ] {
        let text = format!("{TWO}{more}\n");
        let found = mistake(&text, mesh::parse);
        assert!(found.starts_with(told), "{more}\n{found}\n{told}");
    }
}

#[test]
fn mistakes_in_a_plan_are_told_with_line_and_remedy() {
    let mesh = mesh::parse(TWO).expect("a mesh");
    for (text, told) in [
        ("what = \"cat\"\nat = \"1 s\"", "2: fault.0.what: `cat` is not `\"cut\"` or "),
        ("what = \"cut\"", "1: fault.0.at is missing: add `at = \"10 s\"`"),
        ("what = \"cut\"\nat = \"2 h\"", "3: fault.0.at: faults come within `run`, which is 60s: "),
        (
            "what = \"cut\"\nat = \"1 s\"\nlinks = [\"a-b\"]",
            "4: fault.0.links: `a-b` names no link: write `\"a to b\"`",
        ),
        ("what = \"kill\"\nat = \"1 s\"\nhubs = [\"label:x\"]", "4: fault.0.hubs: no hub has `label:x`: "),
        ("what = \"kill\"\nat = \"1 s\"\nlinks = [\"a to b\"]", "4: fault.0.links is not known: "),
        ("what = \"partition\"\nat = \"1 s\"\nsets = [[\"a\"], [\"a\"]]", "4: fault.0.sets: a hub is in two sets: "),
        ("what = \"loss\"\nat = \"1 s\"", "1: fault.0.loss is missing: add `loss = \"2 %\"`"),
        ("what = \"clock\"\nat = \"1 s\"\nby = \"yesterday\"", "4: fault.0.by: "),
    ] {
        let text = format!("[[fault]]\n{text}\n");
        let found = mistake(&text, |text| faults::parse(text, &mesh));
        assert!(found.starts_with(told), "{text}\n{found}\n{told}");
    }
}
