//! Changes of the control state: any bytes are answered without a panic; what is
//! read is written as the same; what takes effect is one version more, once; and
//! what clients ask is read as bounded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_govern::api::{Answer, Request};
use weft_govern::document::Document;
use weft_govern::{Change, Kind, Limits, Machine, Outcome};

fuzz_target!(|data: &[u8]| {
    let limits = Limits { document: 256, change: 8 << 10, resources: 8, state: 1 << 10, remembered: 4 };
    if let Ok(change) = Change::decode(data, &limits) {
        let bytes = change.encode(&limits).expect("what was read can be written, or is too long");
        assert_eq!(Change::decode(&bytes, &limits).as_ref(), Ok(&change));
    }
    let mut machine = Machine::new(limits);
    let outcomes = [machine.take(data), machine.take(data)];
    match &outcomes {
        [first @ (Outcome::Unreadable { .. } | Outcome::Stale { .. }), second] => assert_eq!(first, second),
        [first, Outcome::Repeated(second)] => assert_eq!(first, second.as_ref()),
        other => panic!("{other:?}"),
    }
    let applied = matches!(outcomes.first(), Some(Outcome::Applied { version: 1 }));
    assert_eq!(machine.state().version(), u64::from(applied));
    assert!(machine.state().len() <= 8 && machine.state().bytes() <= 1 << 10);
    let Ok(text) = std::str::from_utf8(data) else { return };
    for kind in Kind::ALL {
        if let Ok(document) = Document::read(*kind, text) {
            assert_eq!(Document::read(*kind, &document.text()), Ok(document), "what is written is read as the same");
        }
    }
    let _ = (Request::decode(data), Answer::decode(data), Outcome::decode(data));
});
