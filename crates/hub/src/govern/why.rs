//! Questions about access, answered by this hub's copy of the state: why somebody
//! may do something or not, and whether they ever may.
//!
//! Whether who asks may ask was decided before. An answer may take some hundredths
//! of a second where there are very many rules: after each the council has its turn.

use std::sync::Arc;

use weft_base::Lane;
use weft_govern::State;
use weft_govern::access::{Ask, Resource};
use weft_govern::api::{Able, AskCan, Explain, Explained, You, captured};
use weft_topic::Filter;
use weft_wire::frame::ErrorCode;

use super::ask::{Error, Who, bad};
use super::stage::GovernStage;

impl GovernStage {
    /// Who the client is to this hub.
    pub(super) fn whoami(&self, who: &Who) -> You {
        You {
            principal: (*who.author).clone(),
            is_administrator: who.is_administrator,
            hub: self.identity.name.clone(),
            version: self.council.state().version(),
        }
    }

    /// Why something is allowed or refused.
    pub(super) fn explain(&mut self, who: &Who, asked: &Explain) -> Result<Explained, Error> {
        let state = self.council.state();
        let principal = match &asked.who {
            None => who.author.clone(),
            Some(described) => Arc::new(described.resolve(&state).map_err(bad)?),
        };
        let lane =
            asked.lane.map(|lane| Lane::new(lane).ok_or_else(|| bad(format!("there is no lane {lane}: 0 to 7"))));
        let resource = asked.resource.resource(|stream| self.captured(&state, stream)).map_err(bad)?;
        let ask = Ask { principal, action: asked.action, resource, lane: lane.transpose()? };
        let enforced = self.enforced;
        let vet = self.vet.as_mut().ok_or_else(unsupported)?;
        let mut explained = vet.explain(&state, &ask, &asked.at);
        if let Resource::Stream { name, filters } = &ask.resource
            && filters.is_empty()
        {
            explained
                .reason
                .push_str(&format!(" (no stream `{name}` is known here, so nothing is known of its topics)"));
        }
        Ok(Explained { enforced, ..explained })
    }

    /// Whether somebody ever may do something.
    pub(super) fn can(&mut self, asked: &AskCan) -> Result<Able, Error> {
        let state = self.council.state();
        let topics = Filter::parse(&asked.topics).map_err(|error| bad(format!("`{}`: {error}", asked.topics)))?;
        let vet = self.vet.as_mut().ok_or_else(unsupported)?;
        vet.can(&state, &asked.whom, asked.action, &topics).map_err(bad)
    }

    /// What a stream captures: as it is in the mesh, or else as the state wants it.
    fn captured(&self, state: &State, name: &str) -> Arc<[Filter]> {
        let known = self.snapshot.load().captured(name);
        if known.is_empty() { captured(state, name) } else { known }
    }
}

fn unsupported() -> Error {
    let detail = "this hub was given nobody who knows policies: ask another";
    (ErrorCode::UNSUPPORTED, 0, detail.to_owned())
}
