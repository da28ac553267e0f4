//! How the govern stage is put among the others when a hub starts. A hub without
//! a data folder, or one whose program gives no council, has none: it is governed
//! by nothing, and requests are refused as not supported.

use std::sync::Arc;

use arc_swap::ArcSwap;
use weft_base::{Mono, Random};
use weft_ring::mpsc;
use weft_ring::stage::{Stage, StageWaker};

use super::Governed;
use super::ask::ToGovern;
use super::council::{Council, OpenCouncil, Seat};
use super::stage::{GovernParts, GovernStage};
use super::vet::Vet;
use crate::Identity;
use crate::audit::{Auditor, SharedDigest};
use crate::counters::Counters;
use crate::hub::StartError;
use crate::inbox::RouteOutbox;
use crate::messages::{FromPeer, ToNet};
use crate::options::HubOptions;
use crate::outbox::Outbox;
use crate::route::peers::most_bytes;
use crate::route::table::RouteTable;

/// What a hub may be given to govern it.
#[derive(Default)]
pub struct Governance {
    /// Replicates the control state. None: there is none.
    pub council: Option<OpenCouncil>,
    /// Looks at changes before they are proposed, and says why policies answer as
    /// they do. None: nobody but the rules of the documents themselves.
    pub vet: Option<Box<dyn Vet>>,
    /// SHA-256, for the chain of the audit log. None: the hub keeps no audit log.
    pub digest: Option<SharedDigest>,
}

/// The stage's inboxes and what it is made of, before there is a stage.
pub(crate) struct Wires {
    council: Box<dyn Council>,
    vet: Option<Box<dyn Vet>>,
    requests: (mpsc::Producer<ToGovern>, mpsc::Consumer<ToGovern>),
    peers: (mpsc::Producer<FromPeer>, mpsc::Consumer<FromPeer>),
    waker: StageWaker,
}

impl Wires {
    /// Opens the council, where there is to be one.
    pub(crate) fn open(
        governance: Governance,
        options: &HubOptions,
        identity: &Identity,
        now: Mono,
        random: &mut Random,
    ) -> Result<Option<Self>, StartError> {
        let (Some(open), Some(data)) = (governance.council, &options.data) else { return Ok(None) };
        let seat = Seat {
            name: &identity.name,
            folder: identity.life.instance,
            data,
            voters: options.voters(),
            is_new: options.new_instance,
            options: &options.control,
            // The mark before each.
            message: most_bytes(options.limits.frame.as_usize()).saturating_sub(1),
            now,
            random: Random::from_seed(random.next_u64()),
        };
        let council = open(seat).map_err(StartError::Control)?;
        let slots = options.limits.ring_slots;
        let waker = StageWaker::parking();
        let (requests, peers) = (mpsc::ring(slots), mpsc::ring(slots));
        Ok(Some(Self { council, vet: governance.vet, requests, peers, waker }))
    }

    /// The way in for clients' requests.
    pub(crate) fn requests(&self) -> Outbox<ToGovern> {
        Outbox::new(&self.requests.0, &self.waker)
    }

    /// The way in for what other hubs say.
    pub(crate) fn peers(&self) -> Outbox<FromPeer> {
        Outbox::new(&self.peers.0, &self.waker)
    }

    /// The stage.
    pub(crate) fn stage(
        self,
        net: Outbox<ToNet>,
        route: RouteOutbox,
        (governed, enforced, snapshot): (Governed, bool, Arc<ArcSwap<RouteTable>>),
        audit: Option<Auditor>,
        (identity, options, counters): (Arc<Identity>, &HubOptions, Arc<Counters>),
    ) -> Box<dyn Stage> {
        Box::new(GovernStage::new(GovernParts {
            inbox: self.requests.1,
            peers: self.peers.1,
            net,
            route,
            council: self.council,
            vet: self.vet,
            enforced,
            snapshot,
            audit,
            governed,
            identity,
            options: options.control.clone(),
            counters,
            waker: self.waker,
        }))
    }
}
