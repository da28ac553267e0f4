//! Logins as a whole, with real keys and signatures.

mod certificates;
mod hostile;
mod keys;
mod passwords;
mod signer;
mod tokens;

use std::net::IpAddr;

use serde_json::{Value, json};
use weft_base::{Mono, Now, UnixNanos};
use weft_govern::login::{Answer, Credentials, Knock, Login, Reason, Secret};
use weft_govern::{Key, State};

use self::signer::Signer;
use crate::{Limits, Logins};

/// Seconds since 1970 at which the tests begin.
const BEGIN: u64 = 1_800_000_000;

/// So many seconds after the beginning.
fn at(seconds: u64) -> Now {
    Now { mono: Mono((seconds + 1) * 1_000_000_000), wall: UnixNanos((BEGIN + seconds) * 1_000_000_000) }
}

fn state(documents: &[(&str, Value)]) -> State {
    let put = |(key, document): &(&str, Value)| (Key::parse(key).expect("a key"), document.to_string().into());
    State::default().with(documents.iter().map(put), &[])
}

/// Who knows a state in which nothing is at fault.
fn logins(documents: &[(&str, Value)]) -> Logins {
    let mut logins = Logins::new(Limits::default());
    assert_eq!(logins.learn(&state(documents)), []);
    logins
}

fn from(n: u8) -> Option<IpAddr> {
    Some(IpAddr::from([192, 0, 2, n]))
}

fn bearer(token: &str) -> Knock {
    Knock { credentials: Credentials::Bearer(Secret::new(token.as_bytes().to_vec())), from: from(1) }
}

fn password(name: &str, password: &str, n: u8) -> Knock {
    let password = Secret::new(password.as_bytes().to_vec());
    Knock { credentials: Credentials::Password { name: name.to_owned(), password }, from: from(n) }
}

/// Why it was refused, and what the log says.
fn refused(answer: &Answer) -> (Reason, String) {
    match answer {
        Ok(login) => panic!("let in as {}", login.principal),
        Err(refusal) => (refusal.reason.clone(), refusal.log.clone()),
    }
}

fn who(answer: &Answer) -> String {
    match answer {
        Ok(Login { principal, .. }) => format!("{principal} {:?} {}", principal.roles, principal.method.name()),
        Err(refusal) => panic!("refused: {refusal:?}"),
    }
}

/// An issuer with the keys of a signer, for tenant `acme`.
fn issuer(signer: &Signer) -> Value {
    json!({
        "issuer": "https://example.com/id", "audience": "weft", "keys": {"jwks": {"keys": [signer.jwk("one")]}},
        "tenant": "acme", "roles_claim": "groups", "roles": {"Traders": "trader", "Ops": "operator"},
        "leeway_seconds": 5
    })
}

/// Claims that are good for a minute.
fn claims() -> Value {
    json!({"iss": "https://example.com/id", "aud": "weft", "sub": "alice", "exp": BEGIN + 60, "iat": BEGIN})
}

/// The claims with some replaced; `null` takes one away.
fn claims_with(other: &Value) -> Value {
    let mut all = claims();
    let (Some(all_map), Some(other)) = (all.as_object_mut(), other.as_object()) else { unreachable!() };
    for (name, value) in other {
        match value {
            Value::Null => drop(all_map.remove(name)),
            value => drop(all_map.insert(name.clone(), value.clone())),
        }
    }
    all
}
