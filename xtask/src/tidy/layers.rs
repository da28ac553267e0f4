//! Layers: which crate may know which. The table here and the one in
//! ARCHITECTURE.md, section "Layers", must say the same.

use super::Check;
use super::tree::{File, Finding, Package, Tree};

pub(super) const CHECK: Check = Check {
    name: "layers",
    rule: "a crate knows only the crates that the table of layers allows it; the document says the same",
    run,
    canaries,
};

/// A crate's place.
struct Place {
    name: &'static str,
    /// The short name in the document, which is also its folder's.
    short: &'static str,
    layer: &'static str,
    /// The short names of the crates that it may know. Their tests may know
    /// anything of the same layer or below.
    knows: &'static [&'static str],
}

const PLACES: [Place; 26] = [
    Place { name: "weft-base", short: "base", layer: "L0", knows: &[] },
    Place { name: "weft-wire", short: "wire", layer: "L1", knows: &["base"] },
    Place { name: "weft-topic", short: "topic", layer: "L1", knows: &["base"] },
    Place { name: "weft-ring", short: "ring", layer: "L1", knows: &["base"] },
    Place { name: "weft-sched", short: "sched", layer: "L1", knows: &["base"] },
    Place { name: "weft-load", short: "load", layer: "L1", knows: &[] },
    Place { name: "weft-log", short: "log", layer: "L1", knows: &["base", "wire"] },
    Place { name: "weft-keyed", short: "keyed", layer: "L1", knows: &["base"] },
    Place { name: "weft-pack", short: "pack", layer: "L1", knows: &[] },
    Place { name: "weft-cloudevents", short: "cloudevents", layer: "L1", knows: &["wire"] },
    Place { name: "weft-observe", short: "observe", layer: "L1", knows: &["base"] },
    Place { name: "weft-transport", short: "transport", layer: "L1", knows: &["base", "ring"] },
    Place { name: "weft-mesh", short: "mesh", layer: "L2", knows: &["base", "wire", "topic"] },
    Place { name: "weft-stream", short: "stream", layer: "L2", knows: &["base", "wire", "topic"] },
    Place { name: "weft-govern", short: "govern", layer: "L2", knows: &["base", "topic"] },
    Place { name: "weft-consensus", short: "consensus", layer: "L2", knows: &["base"] },
    Place { name: "weft-login", short: "login", layer: "L3", knows: &["base", "govern"] },
    Place { name: "weft-policy", short: "policy", layer: "L3", knows: &["base", "topic", "govern"] },
    Place {
        name: "weft-hub",
        short: "hub",
        layer: "L3",
        knows: &[
            "base",
            "wire",
            "topic",
            "ring",
            "observe",
            "sched",
            "log",
            "keyed",
            "pack",
            "transport",
            "mesh",
            "stream",
            "govern",
        ],
    },
    Place { name: "weft-schema", short: "schema", layer: "L3", knows: &["base", "topic", "govern"] },
    Place {
        name: "weft-client",
        short: "client",
        layer: "L4",
        knows: &["base", "wire", "topic", "ring", "sched", "transport", "stream", "govern"],
    },
    Place {
        name: "weft",
        short: "weft",
        layer: "L5",
        knows: &[
            "base",
            "wire",
            "topic",
            "ring",
            "observe",
            "sched",
            "load",
            "log",
            "keyed",
            "pack",
            "cloudevents",
            "transport",
            "mesh",
            "stream",
            "govern",
            "consensus",
            "policy",
            "login",
            "schema",
            "hub",
            "client",
            "sim",
        ],
    },
    Place {
        name: "weft-sim",
        short: "sim",
        layer: "tools",
        knows: &["base", "wire", "topic", "log", "keyed", "mesh", "stream", "consensus"],
    },
    Place { name: "weft-chaos", short: "chaos", layer: "tools", knows: &["base", "transport", "client"] },
    Place {
        name: "weft-bench",
        short: "bench",
        layer: "tools",
        knows: &["base", "wire", "topic", "ring", "sched", "load", "log", "transport", "schema", "client", "chaos"],
    },
    Place { name: "xtask", short: "xtask", layer: "tools", knows: &[] },
];

/// The document that carries the table.
const DOCUMENT: &str = "ARCHITECTURE.md";

fn run(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for package in tree.packages() {
        edges(package, &mut found);
    }
    match tree.file(DOCUMENT) {
        Some(file) => table(file, &mut found),
        None => found.push(Finding::whole(DOCUMENT, "there is no such document, which must carry the table of layers")),
    }
    found
}

fn edges(package: &Package, found: &mut Vec<Finding>) {
    let Some(place) = PLACES.iter().find(|place| place.name == package.name) else {
        let what = format!("the package {} has no place in xtask/src/tidy/layers.rs", package.name);
        found.push(Finding::whole("Cargo.toml", what));
        return;
    };
    for needed in &package.needs {
        let short = PLACES.iter().find(|place| place.name == needed).map_or(needed.as_str(), |place| place.short);
        if !place.knows.contains(&short) {
            let what =
                format!("{} ({}) must not know {short}; it may know {}", place.short, place.layer, allowed(place));
            found.push(Finding::whole("Cargo.toml", what));
        }
    }
    for needed in &package.needs_in_tests {
        let Some(other) = PLACES.iter().find(|other| other.name == needed) else { continue };
        // "tools" sorts after every layer, so they may test with anything.
        if other.layer > place.layer {
            let what = format!(
                "the tests of {} ({}) must not know {}, which lies above it",
                place.short, place.layer, other.short
            );
            found.push(Finding::whole("Cargo.toml", what));
        }
    }
}

fn allowed(place: &Place) -> String {
    if place.knows.is_empty() { "nothing".to_owned() } else { place.knows.join(", ") }
}

/// A row as the document must carry it, cells apart from their padding.
fn row(place: &Place) -> String {
    format!("| `{}` | {} | {} |", place.short, place.layer, allowed(place))
}

fn table(file: &File, found: &mut Vec<Finding>) {
    let mut inside = false;
    let mut rows = Vec::new();
    for (number, line) in file.lines() {
        if line.starts_with('#') {
            inside =
                line.trim_start_matches('#').trim().trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').trim()
                    == "Layers";
        } else if inside && line.trim_start().starts_with("| `") {
            let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).take(3).collect();
            rows.push((number, format!("| {} |", cells.join(" | "))));
        }
    }
    for place in &PLACES {
        let wanted = row(place);
        if !rows.iter().any(|(_, row)| *row == wanted) {
            found.push(Finding::whole(DOCUMENT, format!("section \"Layers\" lacks the row {wanted}")));
        }
    }
    for (number, text) in &rows {
        if !PLACES.iter().any(|place| row(place) == *text) {
            found.push(file.finding(*number, format!("no crate has this place in xtask/src/tidy/layers.rs: {text}")));
        }
    }
}

fn canaries() -> Vec<Tree> {
    let document = good_document();
    let package = |name: &str, needs: &[&str], tests: &[&str]| Package {
        name: name.to_owned(),
        needs: needs.iter().map(|n| (*n).to_owned()).collect(),
        needs_in_tests: tests.iter().map(|n| (*n).to_owned()).collect(),
        ..Package::default()
    };
    let with = |package: Package| Tree::sample([(DOCUMENT, &document)]).with_packages([package]);
    vec![
        with(package("weft-wire", &["weft-topic"], &[])),
        with(package("weft-mesh", &["weft-hub"], &[])),
        with(package("weft-log", &[], &["weft-hub"])),
        with(package("weft-stranger", &[], &[])),
        Tree::sample([]),
        Tree::sample([(DOCUMENT, &document.replace("| `topic` | L1 | base |", ""))]),
        Tree::sample([(DOCUMENT, &format!("{document}| `topic` | L1 | base, wire |\n"))]),
    ]
}

fn good_document() -> String {
    let rows: String = PLACES.iter().map(|place| row(place) + "\n").collect();
    format!("# Architecture\n\n## 3. Layers\n\n| crate | layer | may know |\n| --- | --- | --- |\n{rows}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_document_and_good_edges_pass() {
        let package = Package { name: "weft-mesh".into(), needs: vec!["weft-wire".into()], ..Package::default() };
        let tree = Tree::sample([(DOCUMENT, &good_document())]).with_packages([package]);
        assert_eq!(run(&tree), []);
    }
}
