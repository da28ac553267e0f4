use weft_base::Mono;

use super::*;

#[test]
fn every_hub_picks_the_preferred_home_and_else_the_one_with_the_least_id() {
    let homes = [HubId(7), HubId(3), HubId(5)];
    let none = |_| false;
    assert_eq!(seat(homes, None, none), Some(HubId(3)));
    assert_eq!(seat(homes, Some(HubId(5)), none), Some(HubId(5)));
    assert_eq!(seat(homes, Some(HubId(9)), none), Some(HubId(3)), "one that is away does not count");
    assert_eq!(seat([], Some(HubId(9)), none), None);
}

#[test]
fn a_home_that_is_about_to_stop_is_the_seat_only_where_there_is_no_other() {
    let homes = [HubId(7), HubId(3), HubId(5)];
    let drains = |hub| hub == HubId(3);
    assert_eq!(seat(homes, None, drains), Some(HubId(5)));
    assert_eq!(seat(homes, Some(HubId(3)), drains), Some(HubId(5)), "also when it is preferred");
    assert_eq!(seat(homes, Some(HubId(7)), drains), Some(HubId(7)));
    assert_eq!(seat([HubId(3)], None, drains), Some(HubId(3)));
    assert_eq!(seat(homes, Some(HubId(7)), |_| true), Some(HubId(7)), "all of them: as ever");
}

#[test]
fn of_two_versions_every_home_takes_the_same_for_the_newer_one() {
    let version = |generation, home, number| Version { generation, home, number };
    assert!(version(3, 1, 0) > version(2, 9, 40), "a later life");
    assert!(version(3, 2, 0) > version(3, 1, 7), "lives that began apart");
    assert!(version(3, 2, 8) > version(3, 2, 7) && version(3, 2, 8).is_same_life(&version(3, 2, 7)));
    assert!(!version(3, 2, 8).is_same_life(&version(3, 1, 8)));
}

#[test]
fn the_last_preference_counts_also_one_for_no_home() {
    let of = |number, home: &str| Preference { number, home: home.to_owned() };
    let mut known = of(1, "new-york");
    assert!(!known.learn(&of(0, "")));
    assert!(known.learn(&of(2, "")));
    assert_eq!((known.hub(), known.learn(&of(2, ""))), (None, false));
}

/// Sees one other hub, and remembers what is sent.
struct Sent {
    other: HubId,
    sent: Vec<Told<()>>,
}

impl Host for Sent {
    type Definition = ();

    fn keeps(&self, _stream: u64) -> bool {
        true
    }
    fn homes(&self, _stream: u64) -> Vec<HubId> {
        vec![self.other]
    }
    fn drains(&self, _hub: HubId) -> bool {
        false
    }
    fn state(&mut self, _id: &Id) -> Option<((), State)> {
        Some(((), State::default()))
    }
    fn install(&mut self, _copy: &Copy<()>, _merges: bool, _preference: &Preference) -> Option<u32> {
        None
    }
    fn claim(&mut self, _id: &Id) -> u32 {
        1
    }
    fn halt(&mut self, _id: &Id, _why: &str) {}
    fn resume(&mut self, _id: &Id) {}
    fn let_go(&mut self, _id: &Id, _why: &str) {}
    fn delete(&mut self, _id: &Id) {}
    fn prefer(&mut self, _id: &Id, _preference: &Preference) {}
    fn keep(&mut self, _id: &Id, _copy: Option<&Copy<()>>) {}
    fn moved(&mut self, _id: &Id, _outcome: Result<(), MoveError>) {}
    fn send(&mut self, _to: HubId, told: Told<()>) {
        self.sent.push(told);
    }
}

/// Found at seeds 731, 3436, 5970, 8188 and 8845: one that asked before it was
/// seen was told that there is nothing, and took that for the whole answer.
#[test]
fn one_that_asks_before_it_is_seen_is_answered_once_it_is_seen_and_not_before() {
    let (me, other) = (HubId::of_name("here"), HubId::of_name("there"));
    let second = Duration::from_secs(1);
    let name = "here".to_owned();
    let mut seats = Seats::new(Settings { me, name, epoch: 1, aside: 8, again: second, patience: second });
    seats.created((7, "c".to_owned()), 3);
    let mut host = Sent { other, sent: Vec::new() };
    seats.told(other, Told::Ask { ask: 1 }, Mono(1), &mut host);
    assert_eq!(host.sent, []);
    seats.up(other, Mono(2));
    seats.told(other, Told::Ask { ask: 2 }, Mono(3), &mut host);
    assert!(matches!(host.sent.as_slice(), [Told::Copy { ask: 2, .. }, Told::All { ask: 2, copies: 1 }]));
}

/// Found at seeds 12688 and 13143: a home that knew of an older preference only
/// sent members away for ever, to a home that was told a newer one and sent them back.
#[test]
fn a_home_learns_a_newer_preference_from_whoever_has_it() {
    let (me, other) = (HubId::of_name("here"), HubId::of_name("there"));
    let second = Duration::from_secs(1);
    let name = "here".to_owned();
    let mut seats = Seats::new(Settings { me, name, epoch: 1, aside: 8, again: second, patience: second });
    let id = (7, "c".to_owned());
    let prefers = |number, home: &str| Preference { number, home: home.to_owned() };
    seats.brought_back(id.clone(), 3, prefers(1, "there"));
    let mut host = Sent { other, sent: Vec::new() };
    seats.up(other, Mono(1));
    let told = |number, home: &str| {
        Told::Prefer(vec![Prefers { stream: 7, name: "c".to_owned(), preference: prefers(number, home) }])
    };
    seats.told(other, told(2, "here"), Mono(2), &mut host);
    assert_eq!(seats.preference(&id), prefers(2, "here"));
    seats.told(other, told(1, "there"), Mono(3), &mut host);
    assert_eq!(seats.preference(&id), prefers(2, "here"));
    // One of the same name that was made after one was deleted is another one.
    seats.deleted(&id, &mut host);
    seats.created(id.clone(), 4);
    seats.told(other, told(2, "here"), Mono(4), &mut host);
    assert_eq!(seats.preference(&id), Preference::default());
}
