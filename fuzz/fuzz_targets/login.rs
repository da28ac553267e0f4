//! What clients show to log in: what a first frame holds, tokens, sets of keys and
//! hashes of passwords. Any bytes are read or refused; what is shown is written back
//! as it was; and nothing gets in whose signature nobody has made.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_base::{Mono, Now, UnixNanos};
use weft_govern::login::{Credentials, Knock, Secret};
use weft_govern::{Key, State};
use weft_login::{Hash, KeySet, Limits, Logins, MAX_KEYS, Unverified};
use weft_wire::shown::Shown;

const ISSUER: &str = r#"{"issuer":"i","audience":"a","keys":{"jwks":{"keys":[
    {"kty":"OKP","crv":"Ed25519","kid":"k","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}}}"#;

fuzz_target!(|data: &[u8]| {
    if let Ok(shown) = Shown::decode(data) {
        let mut again = Vec::new();
        assert_eq!(shown.encode(&mut again), Ok(()));
        assert_eq!(again, data);
    }
    if let Ok(set) = KeySet::read(data) {
        assert!((1..=MAX_KEYS).contains(&set.len()));
    }
    // Whether one fits is not tried: that it is bounded is checked where it is read.
    let _ = std::str::from_utf8(data).map(Hash::parse);
    let _ = Unverified::read(data);
    let mut logins = Logins::new(Limits::default());
    let key = Key::parse("issuer/i").expect("a key");
    let faults = logins.learn(&State::default().with([(key, ISSUER.into())], &[]));
    assert!(faults.is_empty(), "{faults:?}");
    let knock = Knock { credentials: Credentials::Bearer(Secret::new(data.to_vec())), from: None };
    let now = Now { mono: Mono(1), wall: UnixNanos(1_800_000_000_000_000_000) };
    assert!(logins.login(knock, now).is_err(), "nobody has signed it");
});
