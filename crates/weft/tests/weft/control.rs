//! The control state of real hubs, from the command line: what was answered is
//! there once, whoever is killed or cut off meanwhile.
//!
//! `WEFT_FULL=1` has voters killed and cut off 40 times instead of 6.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::voters::{Mesh, text, weft};

fn keys(exported: &Value) -> BTreeSet<String> {
    let resources = exported["resources"].as_array().expect("resources").iter();
    resources.map(|resource| resource["key"].as_str().expect("a key").to_owned()).collect()
}

fn tenant(name: &str) -> String {
    format!("[[tenant]]\nname = \"{name}\"\ntopics = [\"{name}/**\"]\n")
}

#[test]
fn files_are_applied_shown_first_exported_and_pruned_only_when_that_is_said() {
    let mesh = Mesh::start();
    let both = mesh.documents("both.toml", &[tenant("billing"), tenant("trading")].concat());
    let one = mesh.documents("one.toml", &tenant("billing"));
    let dry = mesh.apply(0, &both, &["--dry-run"]);
    assert_eq!((&dry["created"], &dry["version"]), (&2.into(), &0.into()));
    assert!(dry["shown"].as_str().expect("a text").contains("+ tenant/billing"));
    let first = mesh.apply(0, &both, &[]);
    assert_eq!((&first["created"], &first["version"]), (&2.into(), &1.into()));
    let again = mesh.apply(1, &both, &[]);
    assert_eq!((&again["unchanged"], &again["created"], &again["version"]), (&2.into(), &0.into(), &1.into()));
    // What was exported changes nothing.
    let out = mesh.path("exported").display().to_string();
    let exported = mesh.run(2, &["export", "--out", &out]);
    assert!(exported.status.success(), "{}", text(&exported.stderr));
    let same = mesh.apply(0, &out, &["--prune", "--yes"]);
    assert_eq!((&same["unchanged"], &same["deleted"], &same["version"]), (&2.into(), &0.into(), &1.into()));
    // What is not in the files stays, unless it is said that it may go.
    assert_eq!(mesh.apply(0, &one, &[])["deleted"], 0);
    let asked = mesh.run(0, &["apply", &one, "--prune"]);
    assert_eq!(asked.status.code(), Some(2), "{}", text(&asked.stderr));
    assert!(text(&asked.stderr).contains("tenant/trading") && text(&asked.stderr).contains("--yes"));
    assert_eq!(mesh.apply(0, &one, &["--prune=policy", "--yes"])["deleted"], 0, "of another kind");
    let pruned = mesh.apply(0, &one, &["--prune=tenant", "--yes"]);
    assert_eq!((&pruned["deleted"], &pruned["version"]), (&1.into(), &2.into()));
    for hub in 0..3 {
        assert_eq!(keys(&mesh.export(hub)), BTreeSet::from(["tenant/billing".to_owned()]));
    }
    // Nobody else may; what is wrong is named, with its file.
    let guest = mesh.run_as("guest", 0, &["apply", &both]);
    assert_eq!(guest.status.code(), Some(1));
    assert!(text(&guest.stderr).contains("admins"), "{}", text(&guest.stderr));
    let wrong = mesh.documents("wrong.toml", "[[tenant]]\nname = \"x\"\ntopcis = []\n");
    let refused = mesh.run(0, &["apply", &wrong]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("topcis"), "{}", text(&refused.stderr));
    let shown = text(&mesh.run(0, &["control", "show"]).stdout);
    assert!(shown.contains("version    2, made by operator") && shown.contains("1 tenant"), "{shown}");
}

#[test]
fn what_was_answered_is_there_once_whoever_is_killed_or_cut_off_meanwhile() {
    let rounds = if std::env::var_os("WEFT_FULL").is_some() { 40 } else { 6 };
    let mesh = Mesh::start();
    mesh.leader();
    let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (answered, unsure) = std::thread::scope(|scope| {
        let appliers: Vec<_> = (0..2)
            .map(|worker| {
                let (mesh, stop, done) = (&mesh, &stop, &done);
                scope.spawn(move || {
                    let (mut answered, mut unsure) = (Vec::new(), 0);
                    for n in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        let name = format!("t-{worker}-{n}");
                        let file = mesh.documents(&format!("{name}.toml"), &tenant(&name));
                        match mesh.run((worker + n) % 3, &["apply", &file]).status.success() {
                            true => {
                                answered.push(format!("tenant/{name}"));
                                done.fetch_add(1, Ordering::Relaxed);
                            }
                            false => unsure += 1,
                        }
                    }
                    (answered, unsure)
                })
            })
            .collect();
        for round in 0..rounds {
            // The leader as a rule, and others now and then.
            let hub = if round % 4 == 3 { (mesh.leader() + 1) % 3 } else { mesh.leader() };
            // Changes are made again before the next one is struck: more than may
            // have been on their way to the two who make them.
            let until_more_are_done = || {
                let (before, begun) = (done.load(Ordering::Relaxed), Instant::now());
                while done.load(Ordering::Relaxed) <= before + 2 {
                    assert!(begun.elapsed() < Duration::from_secs(60), "no change is answered any more");
                    mesh.leader();
                }
            };
            if round % 2 == 0 {
                mesh.kill(hub);
                mesh.begin(hub);
            } else {
                mesh.cut(hub);
                until_more_are_done();
                mesh.mend(hub);
            }
            until_more_are_done();
        }
        stop.store(true, Ordering::Relaxed);
        let ended = appliers.into_iter().map(|applier| applier.join().expect("it applies"));
        ended.fold((Vec::new(), 0), |(mut all, sum), (answered, unsure)| {
            all.extend(answered);
            (all, sum + unsure)
        })
    });
    assert!(answered.len() >= rounds, "{} were answered, {unsure} not", answered.len());
    let exported = mesh.export(0);
    let there = keys(&exported);
    for key in &answered {
        assert!(there.contains(key), "{key} was answered and is not there");
    }
    // Each change made one tenant and one version.
    assert_eq!(exported["version"], there.len() as u64, "none was made twice");
    for hub in 1..3 {
        assert_eq!(mesh.export(hub), exported, "all have the same");
    }
}

#[test]
fn a_configuration_says_who_votes_and_what_is_wrong_with_that() {
    let folder = tempfile::tempdir().expect("a folder");
    let check = |control: &str| {
        let path: &Path = &folder.path().join("hub.toml");
        let config = format!(
            "name = \"alone\"\ndata = \"data\"\n[[clients]]\nlisten = \"127.0.0.1:0\"\nplain = true\n{control}"
        );
        fs::write(path, config).expect("a file");
        weft(&["hub", "--config", &path.display().to_string(), "--check"])
    };
    let alone = check("");
    assert!(text(&alone.stdout).contains("[control]\nvoters = [\"alone\"]"), "{}", text(&alone.stdout));
    let wrong = check("[control]\nvoters = [\"a\", \"a\"]\n");
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("named twice"), "{}", text(&wrong.stderr));
}
