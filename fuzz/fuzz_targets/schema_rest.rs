//! The registry behind its REST API: lines of `METHOD PATH BODY` are answered
//! without a panic, what is put can be taken in, and what fails changes nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_schema::prefix;
use weft_schema::protobuf::MessageIndexes;
use weft_schema::registry::{Cache, RegistryLimits, State};
use weft_schema::rest::{Outcome, Request, handle};

fuzz_target!(|data: &[u8]| {
    if let Ok((_, rest)) = prefix::split(data) {
        let _ = MessageIndexes::read(rest);
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let limits = RegistryLimits { subjects: 4, versions: 4, schemas: 8, ..RegistryLimits::default() };
    let mut state = State::new(limits);
    let mut cache = Cache::new(1 << 20);
    for line in text.split('\n').take(16) {
        let mut words = line.splitn(3, ' ');
        let (method, address) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = address.split_once('?').unwrap_or((address, ""));
        let request = Request { method, path, query, body: words.next().unwrap_or_default().as_bytes() };
        match handle(&state, &mut cache, &request) {
            Outcome::Answer(answer) => assert!(answer.status == 200 || answer.body.get("error_code").is_some()),
            Outcome::Change { put, read, answer } => {
                assert_eq!(answer.status, 200);
                for document in put {
                    assert!(
                        read.contains(&(document.kind, document.name.clone())),
                        "{}/{} is put unread",
                        document.kind,
                        document.name
                    );
                    state.put(document.kind, &document.name, document.body.as_ref()).expect("its own document");
                }
            }
        }
    }
});
