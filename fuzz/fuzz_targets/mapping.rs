//! Rules of mapping: any texts are judged without a panic, what is accepted says
//! of every topic the same each time, and what comes out is a topic that is
//! nobody's own.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_topic::Topic;
use weft_topic::mapping::{By, Entered, MappedTopic, Mapping, MappingSpec, Mappings};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let mut specs = Vec::new();
    for _ in 0..4 {
        let (Some(from), Some(to)) = (lines.next(), lines.next()) else { break };
        let share = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let to = to.split('|').enumerate().map(|(number, text)| (share(text), number as u32 + 1)).collect();
        let by = [By::Block, By::Producer, By::Topic][from.len() % 3];
        let spec = MappingSpec { name: String::new(), from: from.to_owned(), to, by, requests: from.len() % 2 == 0 };
        if Mapping::new(&spec).is_ok() {
            specs.push(spec);
        }
    }
    let Ok(rules) = Mappings::new(&specs) else { return };
    for line in lines.take(16) {
        let Ok(topic) = Topic::parse(line) else { continue };
        for is_request in [false, true] {
            let matches = |rule: &Mapping| rule.filter().matches(topic) && (!is_request || rule.maps_requests());
            let found = rules.find(topic, is_request);
            assert_eq!(found, rules.rules().iter().position(matches), "the first that matches");
            let Some(rule) = found.map(|number| &rules.rules()[number]) else { continue };
            let entered = Entered { producer: line.len() as u64, sequence: text.len() as u64 };
            let destination = rule.choose(topic, entered);
            assert!(destination < rule.destinations().len());
            let (mut made, mut again) = (MappedTopic::new(), MappedTopic::new());
            let outcome = rule.apply(topic, destination, &mut made);
            assert_eq!(rule.apply(topic, destination, &mut again), outcome);
            match outcome {
                Ok(true) => {
                    assert_eq!(made, again);
                    assert!(Topic::parse(&made).is_ok() && !made.starts_with('_'), "{made}");
                }
                Ok(false) => assert!(rule.destinations()[destination].template().is_none()),
                Err(_) => {}
            }
        }
    }
});
