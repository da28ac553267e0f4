//! A refusal in words: who, what, by which rule of which state, and where to look.

use weft_govern::access::{Ask, Principal, Verdict};

use super::Need;

/// Rules that are named in one refusal.
const MOST_RULES: usize = 8;
/// What is said where nobody has said yet who may do what.
const NO_STATE: &str = "the mesh has no policies yet: one of the hub's `admins` makes some with `weft apply` \
                        (docs/governance.md); for development, `enforce = false` in `[control]` of its configuration";

/// Why a question was answered with no.
pub(in crate::net) fn verdict(ask: &Ask, verdict: &Verdict) -> String {
    let (who, action, resource) = (&ask.principal, ask.action.name(), &ask.resource);
    let lane = ask.lane.map_or(String::new(), |lane| format!(" in lane {}", lane.get()));
    let rules: Vec<&str> = verdict.rules.iter().take(MOST_RULES).map(|rule| &**rule).collect();
    let more = if verdict.rules.len() > MOST_RULES { " and more" } else { "" };
    let rules = match rules.is_empty() {
        true => "no rule allows it".to_owned(),
        false => format!("by rule {}{more}", rules.join(", ")),
    };
    let (reason, version) = (&verdict.reason, verdict.version);
    let hint = if reason.contains("weft policy explain") { "" } else { "; see `weft policy explain`" };
    let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    let hint = if version == 0 { format!("{hint}; {NO_STATE}") } else { hint.to_owned() };
    format!("`{who}` may not {action} {resource}{lane}: {rules} (state {version}){reason}{hint}")
}

/// Why a question was answered with no; nothing of one without an answer.
pub(super) fn need(need: &Need) -> String {
    need.verdict.as_ref().map_or(String::new(), |given| verdict(&need.ask, given))
}

/// Why a publish is refused: names the topic as the client does, too.
pub(super) fn publish(topic: &str, refused: &Need) -> String {
    let why = need(refused);
    match &refused.ask.resource {
        weft_govern::access::Resource::Topic(filter) if filter.as_str() != topic => {
            format!("by the hub's mapping `{topic}` becomes `{}`, and {why}", filter.as_str())
        }
        _ => why,
    }
}

/// Why a reply is refused.
pub(super) fn no_reply(who: &Principal) -> String {
    format!(
        "`{who}` may not answer: it has no live subscription whose topics it may `reply` to; \
         subscribe to the requests first, or see `weft policy explain`"
    )
}
