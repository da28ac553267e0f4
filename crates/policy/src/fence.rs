//! The fence between tenants ([`weft_govern::fence`]), asked for resources.
//!
//! A stream is open to a tenant when all that it captures is. Schemas, tenants
//! and the mesh have no fence: of these, policies alone decide.

use weft_govern::State;
use weft_govern::access::{Action, Ask, Fault, Resource};
use weft_topic::Filter;

/// Who owns which topics, and who lets whom use them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fence(weft_govern::fence::Fence);

impl Fence {
    pub(crate) fn new(state: &State) -> (Self, Vec<Fault>) {
        let (fence, faults) = weft_govern::fence::Fence::learn(state);
        (Self(fence), faults)
    }

    /// The topics of all tenants.
    pub(crate) fn topics(&self) -> impl Iterator<Item = (&str, &Filter)> {
        self.0.topics().map(|(tenant, filter)| (&**tenant, filter))
    }

    /// Why it is refused before policies are asked, if it is.
    pub(crate) fn refuses(&self, ask: &Ask) -> Option<String> {
        let tenant = ask.principal.tenant.as_deref();
        let refusal = |filter: &Filter| self.0.allows(tenant, ask.action, filter).err();
        match &ask.resource {
            Resource::Topic(asked) => {
                refusal(asked).map(|reason| format!("`{}` may not {}: {reason}", ask.principal, ask.action.name()))
            }
            Resource::Stream { name, filters } => filters.iter().find_map(refusal).map(|reason| {
                format!("`{}` may not {} the stream `{name}`: {reason}", ask.principal, ask.action.name())
            }),
            Resource::Schema(_) | Resource::Tenant(_) | Resource::Mesh => None,
        }
    }

    /// Whether all of these topics are open to a tenant.
    pub(crate) fn opens_all(&self, tenant: &str, action: Action, asked: &Filter) -> bool {
        self.0.allows(Some(tenant), action, asked).is_ok()
    }

    /// Whether some of these topics may be open to a tenant.
    pub(crate) fn opens_some(&self, tenant: &str, action: Action, asked: &Filter) -> bool {
        self.0.allows_some(Some(tenant), action, asked)
    }
}
