//! The id of a request, `X-Request-Id`: the caller's own, or one that is made for it.
//! Stands in every answer, and in the head of the request for whoever answers it.

use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use weft_base::Random;

/// Where it stands.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest that is taken over.
const MAX: usize = 128;

/// Makes ids.
pub(super) struct Ids(Mutex<Random>);

impl Ids {
    /// # Errors
    /// The system refuses numbers by chance.
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self(Mutex::new(Random::from_entropy()?)))
    }

    /// The id of a request, which is in its head from then on, once.
    pub(super) fn take(&self, headers: &mut HeaderMap) -> HeaderValue {
        let is_id = |id: &&HeaderValue| (1..=MAX).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic);
        let own = headers.get(REQUEST_ID).filter(is_id).cloned();
        let id = own.unwrap_or_else(|| {
            // A generator is whole at any time.
            let mut random = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let number = u128::from(random.next_u64()) << 64 | u128::from(random.next_u64());
            drop(random);
            let mut id = [b'0'; 32];
            // As many digits as there is room for.
            let _ = write!(&mut id[..], "{number:032x}");
            HeaderValue::from_bytes(&id).unwrap_or(HeaderValue::from_static("0"))
        });
        headers.insert(REQUEST_ID, id.clone());
        id
    }
}

/// The id of a request that has been given one.
pub(super) fn of(headers: &HeaderMap) -> &str {
    headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_taken_over_where_it_can_be_one_and_made_where_not() {
        let ids = Ids::new().unwrap();
        let take = |id: Option<&[u8]>| {
            let mut headers = HeaderMap::new();
            if let Some(id) = id {
                headers.append(REQUEST_ID, HeaderValue::from_bytes(id).unwrap());
            }
            let taken = ids.take(&mut headers);
            assert_eq!(of(&headers), taken.to_str().unwrap());
            taken
        };
        assert_eq!(take(Some(b"mine-7")), "mine-7");
        let made = take(None);
        assert_eq!(made.len(), 32);
        assert_ne!(take(None), made);
        for bad in [&b""[..], b"a b", b"\xff", &[b'x'; 129]] {
            assert_eq!(take(Some(bad)).len(), 32);
        }
    }
}
