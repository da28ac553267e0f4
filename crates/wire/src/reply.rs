//! Where replies go: topics of a reserved space that name a hub and a session.
//!
//! ```text
//! _reply/HUB/SESSION/TOKEN       hub and session in hexadecimal, as `Welcome` names them
//! ```
//!
//! Replies are addressed, not subscribed to: every hub sends a block of such a
//! topic to the hub it names, which hands it to the session. No interest is
//! looked up, so a subscriber of `**` sees none. Topics whose first level
//! starts with an underscore are reserved; clients publish to replies' alone.

use std::fmt;

use weft_base::HubId;

/// The first level of replies' topics.
const LEVEL: &str = "_reply/";

/// The session that made a request, without the request's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyAddress {
    /// The hub.
    pub hub: HubId,
    /// The session's number at that hub.
    pub session: u64,
}

impl ReplyAddress {
    /// The address in a topic, and the request's token: the rest of it. `None`
    /// when it is no reply's topic.
    #[must_use]
    pub fn parse(topic: &str) -> Option<(Self, &str)> {
        let (hub, rest) = topic.strip_prefix(LEVEL)?.split_once('/')?;
        let (session, token) = rest.split_once('/')?;
        let number = |text: &str| {
            // One text for each number, so that nothing else stands for the same address.
            let number = u64::from_str_radix(text, 16).ok()?;
            (!text.starts_with(['0', '+']) || text == "0").then_some(number)
        };
        let address = Self { hub: HubId(number(hub)?), session: number(session)? };
        (!token.is_empty() && !text_has_upper(hub) && !text_has_upper(session)).then_some((address, token))
    }

    /// The filter with which the session subscribes to its inbox.
    #[must_use]
    pub fn inbox(&self) -> String {
        format!("{self}/**")
    }

    /// The topic of replies to the request with this token.
    #[must_use]
    pub fn topic(&self, token: u64) -> String {
        format!("{self}/{token:016x}")
    }
}

fn text_has_upper(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_uppercase())
}

impl fmt::Display for ReplyAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{LEVEL}{:x}/{:x}", self.hub.0, self.session)
    }
}

/// Whether a topic, or a filter, is in the reserved space: its first level
/// starts with an underscore.
#[must_use]
pub fn is_reserved(topic: &str) -> bool {
    topic.starts_with('_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_written() {
        let address = ReplyAddress { hub: HubId(u64::MAX), session: 0x1_0000_0002 };
        let topic = address.topic(0xabc);
        assert_eq!(topic, "_reply/ffffffffffffffff/100000002/0000000000000abc");
        assert_eq!(ReplyAddress::parse(&topic), Some((address, "0000000000000abc")));
        assert_eq!(address.inbox(), "_reply/ffffffffffffffff/100000002/**");
        assert!(is_reserved(&topic) && is_reserved("_other") && !is_reserved("a/_reply"));
    }

    #[test]
    fn what_is_no_address_is_none() {
        for topic in [
            "a",
            "_reply",
            "_reply/",
            "_reply/1",
            "_reply/1/2",
            "_reply/1/2/",
            "_reply//2/3",
            "_reply/x/2/3",
            "_reply/1/x/3",
            "_reply/01/2/3",
            "_reply/+1/2/3",
            "_reply/A/2/3",
            "_reply/10000000000000000/2/3",
            "_replies/1/2/3",
        ] {
            assert_eq!(ReplyAddress::parse(topic), None, "{topic}");
        }
    }
}
