//! Whether a change takes from its author what they would need to take it back.

use std::sync::Arc;

use weft_base::UnixNanos;
use weft_govern::access::{Action, Ask, Judge, Method, Place, Principal, Resource};
use weft_govern::{Kind, State};

use crate::judge::CedarJudge;

impl CedarJudge {
    /// What the author of a change may administer now and could not after it, if
    /// there is anything: the mesh, a tenant or a subject of schemas that is
    /// there before and after. `self` has learned the state before.
    ///
    /// Learns `after` in a clone, so it costs what the change costs to read and
    /// two judgements for each tenant and subject.
    #[must_use]
    pub fn would_lock_out(
        &self,
        before: &State,
        after: &State,
        author: &Arc<Principal>,
        place: &Place,
        now: UnixNanos,
    ) -> Option<String> {
        if author.method == Method::Administrator {
            return None;
        }
        let mut then = self.clone();
        then.learn(after);
        let kept = |kind: Kind| before.of_kind(kind).map(|(key, _)| key).filter(|key| after.get(key).is_some());
        let tenants = kept(Kind::Tenant).map(|key| Resource::Tenant(key.name().into()));
        let subjects = kept(Kind::Subject).map(|key| Resource::Schema(key.name().into()));
        std::iter::once(Resource::Mesh).chain(tenants).chain(subjects).find_map(|resource| {
            let ask = Ask { principal: author.clone(), action: Action::Administer, resource, lane: None };
            let verdict = then.judge(&ask, place, now);
            if verdict.allowed || !self.judge(&ask, place, now).allowed {
                return None;
            }
            Some(format!(
                "after it `{author}` could not administer {} any more ({}): keep a rule that permits it, or have somebody else make the change",
                ask.resource, verdict.reason
            ))
        })
    }
}
