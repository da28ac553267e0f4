//! What comes from other councils. A message that is for another life of this
//! hub, or of another cluster, is not looked at: what it says is about others.

use openraft::Snapshot;
use weft_base::sync::Arc;
use weft_base::{HubId, Mono};

use crate::council::{Council, Event, Origin};
use crate::machine::Machine;
use crate::members::Trouble;
use crate::message::{Body, Letter, Part};
use crate::network::{Reply, answered};
use crate::runtime::lock;
use crate::types::{AppendAnswer, AppendRequest, Member, Vote};

impl<M: Machine> Council<M> {
    pub(crate) fn take(&mut self, from: HubId, letter: Letter, now: Mono, was_in_parts: bool) {
        let sender = Member { hub: from, instance: letter.from };
        if let Body::Hello(hello) = letter.body {
            self.on_hello(sender, letter.cluster, hello, now);
            return;
        }
        if letter.to != self.me.instance || letter.cluster == 0 || !self.is_ours(from, &letter) {
            return;
        }
        match letter.body {
            Body::Hello(_) => {}
            Body::Append { rpc, request } => self.on_append(sender, rpc, request),
            Body::Vote { rpc, request } => {
                let (raft, outbox) = (self.raft.clone(), Arc::clone(&self.outbox));
                self.spawn(async move {
                    if let Ok(answer) = raft.vote(request).await {
                        lock(&outbox).letters.push((sender, Body::Voted { rpc, answer }));
                    }
                });
            }
            Body::Install { rpc, vote, meta, data } => {
                let (raft, outbox) = (self.raft.clone(), Arc::clone(&self.outbox));
                self.spawn(async move {
                    let snapshot = Snapshot { meta, snapshot: Box::new(data) };
                    if let Ok(answer) = raft.install_full_snapshot(vote, snapshot).await {
                        lock(&outbox).letters.push((sender, Body::Installed { rpc, vote: answer.vote }));
                    }
                });
            }
            Body::Appended { rpc, answer } => answered(&self.outbox, sender, rpc, Reply::Appended(answer)),
            Body::Voted { rpc, answer } => answered(&self.outbox, sender, rpc, Reply::Voted(answer)),
            Body::Installed { rpc, vote } => answered(&self.outbox, sender, rpc, Reply::Installed(vote)),
            Body::Ask { id, ask } => self.serve_other(sender, id, ask),
            Body::Told { id, told } => self.on_told(id, told, now),
            // Parts of parts are nothing that a council sends.
            Body::Part(part) if !was_in_parts => self.on_part(sender, part, now),
            Body::Part(_) => {}
            Body::Got { parcel, upto } => self.parcels.acknowledged(sender, parcel, upto),
        }
    }

    /// Whether a message is of this hub's cluster. A hub that is in none joins
    /// that of the first member that treats this very life of it as a member.
    fn is_ours(&mut self, from: HubId, letter: &Letter) -> bool {
        let ours = self.ledger.cluster();
        if ours == letter.cluster {
            return true;
        }
        if ours != 0 {
            self.report(Trouble::OtherCluster { hub: from, cluster: letter.cluster });
            return false;
        }
        match letter.body {
            // Of a snapshot the first part already: a new hub may get nothing else.
            Body::Append { .. } | Body::Vote { .. } | Body::Part(Part { vote: Some(_), .. }) => {
                // A failure is found in the ledger and stops the council.
                self.ledger.join(letter.cluster).is_ok()
            }
            _ => false,
        }
    }

    fn on_append(&mut self, sender: Member, rpc: u64, request: AppendRequest) {
        let (raft, outbox, events) = (self.raft.clone(), Arc::clone(&self.outbox), Arc::clone(&self.events));
        self.spawn(async move {
            if let Ok(answer) = raft.append_entries(request).await {
                if !matches!(answer, AppendAnswer::HigherVote(_)) {
                    lock(&events).push(Event::Heard(sender));
                }
                lock(&outbox).letters.push((sender, Body::Appended { rpc, answer }));
            }
        });
    }

    fn on_part(&mut self, sender: Member, part: Part, now: Mono) {
        let (parcel, vote) = (part.parcel, part.vote);
        let Some(arrived) = self.parcels.arrive(sender, part) else { return };
        if let Some(vote) = vote {
            self.touch(sender, vote);
        }
        lock(&self.outbox).letters.push((sender, Body::Got { parcel, upto: arrived.upto }));
        if let Some(bytes) = arrived.whole
            && let Ok(letter) = Letter::decode(sender.hub, &bytes)
            && letter.from == sender.instance
        {
            self.take(sender.hub, letter, now, true);
        }
    }

    /// Part of something long from the leader is as good as its heartbeat: an
    /// append of nothing, after nothing.
    fn touch(&mut self, sender: Member, vote: Vote) {
        let request = AppendRequest { vote, prev_log_id: None, entries: Vec::new(), leader_commit: None };
        let (raft, events) = (self.raft.clone(), Arc::clone(&self.events));
        self.spawn(async move {
            if let Ok(AppendAnswer::Success) = raft.append_entries(request).await {
                lock(&events).push(Event::Heard(sender));
            }
        });
    }

    fn serve_other(&mut self, sender: Member, id: u64, ask: crate::message::Ask) {
        self.serve(Origin::There(sender, id), ask);
    }
}
