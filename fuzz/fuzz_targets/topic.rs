//! Topics and filters: any text is judged without a panic; what is accepted is
//! canonical, and the algebra, the interest set and the aggregate agree with
//! each other, however many `**` there are.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_topic::{Aggregate, Filter, InterestSet, MAX_BYTES, MAX_LEVELS, Topic};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut set = InterestSet::new();
    let mut cover = Aggregate::new();
    let mut filters = Vec::new();
    let mut topics = Vec::new();
    for line in text.split('\n').take(24) {
        if let Ok(topic) = Topic::parse(line) {
            assert_eq!(topic.as_str(), line);
            assert_eq!(Filter::from(topic).as_topic(), Some(topic));
            topics.push(topic);
        }
        let Ok(filter) = Filter::parse(line) else { continue };
        assert!(filter.as_str().len() <= MAX_BYTES && filter.levels().count() <= MAX_LEVELS);
        assert_eq!(Filter::parse(filter.as_str()).as_ref(), Ok(&filter), "the canonical form is its own");
        if !filters.contains(&filter) {
            assert!(set.insert(&filter, filters.len()));
            filters.push(filter.clone());
        }
        let _ = cover.insert(&filter);
    }
    let snapshot = set.clone();
    for topic in &topics {
        let mut found = Vec::new();
        set.for_each_match(*topic, |&number| found.push(number));
        found.sort_unstable();
        let expected =
            filters.iter().enumerate().filter(|(_, filter)| filter.matches(*topic)).map(|(number, _)| number);
        assert!(expected.eq(found.iter().copied()), "{topic} finds {found:?}");
        assert_eq!(set.matches_any(*topic), !found.is_empty());
        assert_eq!(cover.matches(*topic), !found.is_empty(), "the cover matches what the set matches");
    }
    for one in &filters {
        assert!(one.includes(one) && one.intersects(one) && cover.includes(one));
        for other in &filters {
            let (includes, included) = (one.includes(other), other.includes(one));
            assert_eq!(includes && included, one == other, "{one} {other}");
            assert_eq!(one.intersects(other), other.intersects(one));
            assert!(!includes || one.intersects(other));
        }
    }
    for (number, filter) in filters.iter().enumerate() {
        assert!(set.remove(filter, &number));
        assert!(!set.contains(filter, &number) && snapshot.contains(filter, &number));
    }
    assert!(set.is_empty() && set.iter().next().is_none());
    assert_eq!(snapshot.len(), filters.len());
});
