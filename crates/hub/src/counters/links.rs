//! Looks at the counters of links. Not per block.

use weft_base::HubId;
use weft_base::sync::Arc;

use super::{Counters, LinkCounters};

impl Counters {
    /// The name of a hub to which there is or was a link, and the counters of those.
    pub(crate) fn link_of(&self, hub: HubId) -> Option<(String, Arc<LinkCounters>)> {
        let links = self.locked_links();
        links.iter().find(|(_, link)| link.hub == hub.0).map(|(peer, link)| (peer.clone(), link.clone()))
    }

    /// The counters of all links, by the name of the hub at the other end.
    pub(crate) fn each_link(&self, mut each: impl FnMut(&str, &LinkCounters)) {
        self.locked_links().iter().for_each(|(peer, link)| each(peer, link));
    }
}
