use super::*;

const TIME: Duration = Duration::from_secs(10);

fn at(seconds: u64) -> Mono {
    Mono(seconds * 1_000_000_000)
}

fn entry(trial: u64, step: u32, change: HubChange) -> Entry {
    Entry { trial, step, by: "ops".to_owned(), change }
}

fn unlink(peer: &str) -> HubChange {
    HubChange::Unlink { peer: peer.to_owned() }
}

fn link(peer: &str, addr: Option<&str>, cost: u32) -> HubChange {
    HubChange::Link { peer: peer.to_owned(), addr: addr.map(str::to_owned), cost, price: 0 }
}

fn weigh(peer: &str, cost: u32) -> HubChange {
    HubChange::Weigh { peer: peer.to_owned(), cost: Some(cost), price: None }
}

#[test]
fn what_nobody_confirms_is_put_back_and_what_is_confirmed_stays() {
    let mut overlay = Overlay::default();
    overlay.change(entry(1, 1, unlink("a")), TIME, at(0)).expect("taken");
    assert_eq!(overlay.overlaid().unlinked, BTreeSet::from(["a".to_owned()]));
    assert_eq!((overlay.deadline(), overlay.expire(at(9))), (Some(at(10)), None));
    overlay.stay(1, TIME, at(9)).expect("it is there");
    assert_eq!(overlay.expire(at(10)), None, "somebody watches");
    assert_eq!(overlay.expire(at(19)), Some(("ops".to_owned(), 1)));
    assert_eq!((overlay.overlaid(), overlay.deadline()), (Overlaid::default(), None));
    assert_eq!(overlay.confirm(1).map_err(|(code, _)| code), Err(ErrorCode::TRIAL), "too late");

    overlay.change(entry(2, 1, unlink("b")), TIME, at(20)).expect("taken");
    overlay.confirm(2).expect("in time");
    assert_eq!((overlay.expire(at(99)), overlay.kept().len()), (None, 1));
    assert_eq!(overlay.undo(2, 0), (1, true), "also what was confirmed");
    assert_eq!(overlay.overlaid(), Overlaid::default());
}

#[test]
fn one_trial_at_a_time_and_so_many_changes() {
    let mut overlay = Overlay::default();
    overlay.change(entry(1, 1, unlink("a")), TIME, at(0)).expect("taken");
    let (code, detail) = overlay.change(entry(2, 1, unlink("b")), TIME, at(4)).expect_err("another's");
    assert!(
        code == ErrorCode::TRIAL && detail.contains("ops has changes on trial") && detail.contains("7 s"),
        "{detail}"
    );
    assert!(overlay.stay(2, TIME, at(4)).is_err() && overlay.confirm(2).is_err());
    for step in 2..=MAX_CHANGES as u32 {
        overlay.change(entry(1, step, unlink("a")), TIME, at(0)).expect("taken");
    }
    let (code, _) = overlay.change(entry(1, 900, unlink("a")), TIME, at(0)).expect_err("the bound");
    assert_eq!(code, ErrorCode::BAD_CHANGE);
    for (trial, step) in [(0, 1), (1, 0)] {
        assert!(Overlay::default().change(entry(trial, step, unlink("a")), TIME, at(0)).is_err());
    }
}

#[test]
fn a_step_that_is_put_back_leaves_the_others_as_if_it_had_never_been() {
    let all = [link("a", Some("h:1"), 5), weigh("a", 9), unlink("b"), link("b", None, 1), unlink("a")];
    let mut overlay = Overlay::default();
    for (step, change) in (1..).zip(&all) {
        overlay.change(entry(1, step, change.clone()), TIME, at(0)).expect("taken");
    }
    let over = overlay.overlaid();
    assert_eq!((over.dialled.len(), over.unlinked.into_iter().collect::<Vec<_>>()), (0, vec!["a".to_owned()]));
    overlay.undo(1, 5);
    let over = overlay.overlaid();
    assert_eq!(over.dialled["a"], "h:1");
    assert_eq!((over.weights["a"], over.weights["b"]), ((Some(9), Some(0)), (Some(1), Some(0))));
    assert!(over.unlinked.is_empty(), "b was linked again after it had not been");
    overlay.undo(1, 2);
    overlay.undo(1, 4);
    let over = overlay.overlaid();
    assert_eq!((over.weights["a"], over.unlinked.len()), ((Some(5), Some(0)), 1));
    assert_eq!(overlay.undo(1, 0).0, 2);
    assert_eq!(overlay.deadline(), None, "nothing is left of the trial");
}

#[test]
fn what_is_kept_and_of_no_effect_any_more_is_forgotten_with_the_next_trial() {
    let labels = |label: &str| HubChange::Labels { labels: vec![label.to_owned()] };
    let first =
        [weigh("a", 9), unlink("a"), link("b", Some("h:1"), 5), weigh("b", 6), labels("eu"), link("c", None, 1)];
    let mut overlay = Overlay::default();
    for (step, change) in (1..).zip(first.into_iter().chain([labels("us")])) {
        overlay.change(entry(1, step, change), TIME, at(0)).expect("taken");
    }
    let before = overlay.overlaid();
    overlay.confirm(1).expect("it is there");
    assert_eq!((overlay.kept().len(), overlay.overlaid()), (7, before.clone()));
    overlay.change(entry(2, 1, unlink("b")), TIME, at(0)).expect("taken");
    overlay.confirm(2).expect("it is there");
    let steps: Vec<_> = overlay.kept().iter().map(|entry| (entry.trial, entry.step)).collect();
    assert_eq!(steps, [(1, 2), (1, 3), (1, 4), (1, 6), (1, 7), (2, 1)]);
    overlay.undo(2, 0);
    assert_eq!(overlay.overlaid(), before, "what the second made of no effect is there again");
}

#[test]
fn what_makes_no_sense_is_refused_wherever_it_comes_from() {
    let asked = |what, peer, addr, cost, labels| frame::Change {
        request: 1,
        trial: 1,
        step: 1,
        seconds: 1,
        what,
        peer,
        addr,
        cost,
        price: AS_IT_IS,
        labels,
    };
    for (wrong, part) in [
        (asked(ChangeWhat::Unlink, "Not A Name", "", 0, vec![]), "no hub's name"),
        (asked(ChangeWhat::Link, "a", "nowhere", 0, vec![]), "no address"),
        (asked(ChangeWhat::Weigh, "a", "", MOST_COST + 1, vec![]), "too high"),
        (asked(ChangeWhat::Labels, "", "", 0, vec!["Bad"]), "no label"),
        (asked(ChangeWhat::Labels, "", "", 0, vec!["a"; MAX_LABELS + 1]), "too many"),
    ] {
        let detail = HubChange::of(&wrong).expect_err(part);
        assert!(detail.contains(part), "{detail}");
    }
    let sound = asked(ChangeWhat::Weigh, "a", "", AS_IT_IS, vec![]);
    assert_eq!(HubChange::of(&sound), Ok(HubChange::Weigh { peer: "a".to_owned(), cost: None, price: None }));
}

#[test]
fn the_file_is_read_as_it_was_written_and_one_that_is_not_sound_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = ChangesFile::new(std::sync::Arc::new(weft_log::fs::RealFs), folder.path());
    let changes =
        vec![entry(7, 1, link("a", Some("h:1"), 5)), entry(7, 2, HubChange::Labels { labels: vec!["eu".into()] })];
    assert_eq!(read_changes(folder.path()), Ok(Vec::new()), "there is none");
    file.write(&changes).expect("written");
    assert_eq!(read_changes(folder.path()), Ok(changes.clone()));
    let text = std::fs::read_to_string(folder.path().join("changes.json")).expect("a file");
    for (was, is, part) in [
        ("\"version\": 1", "\"version\": 2", "version 2"),
        ("\"eu\"", "\"E U\"", "no label"),
        ("\"labels\":", "\"lables\":", "lables"),
        ("}", "", "key must be a string"),
    ] {
        let wrong = text.replace(was, is);
        assert!(wrong != text);
        let refused = file::parse(wrong.as_bytes()).expect_err(part);
        assert!(refused.contains(part), "{refused}");
    }
    drop_changes(folder.path()).expect("dropped");
    assert_eq!(read_changes(folder.path()), Ok(Vec::new()));
    drop_changes(folder.path()).expect("there is none to drop");
}
