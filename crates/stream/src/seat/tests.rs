use super::*;

#[test]
fn every_hub_picks_the_preferred_home_and_else_the_one_with_the_least_id() {
    let homes = [HubId(7), HubId(3), HubId(5)];
    assert_eq!(seat(homes, None), Some(HubId(3)));
    assert_eq!(seat(homes, Some(HubId(5))), Some(HubId(5)));
    assert_eq!(seat(homes, Some(HubId(9))), Some(HubId(3)), "one that is away does not count");
    assert_eq!(seat([], Some(HubId(9))), None);
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
