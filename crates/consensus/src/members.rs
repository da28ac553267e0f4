//! Who takes part: founding the cluster, adding the hubs that are there, taking
//! off those that are gone for long.
//!
//! **Founding.** The voters of the configuration found the cluster once: the
//! first of them by name, when it has heard of each other one that it is in no
//! cluster and has the same list. A founder that lost its disk meets others that
//! are in a cluster, and does not found again; it joins them. The cluster's id
//! is drawn from the founding members with their instances, is kept on each disk
//! and stands in each message, so that two clusters never mix.
//!
//! **Joining.** Hubs say hello; the leader adds those that it hears as learners,
//! some at a time, until [`Limits::hubs`](crate::Limits::hubs). **A lost disk**
//! makes another member: the leader adds that one as a learner, puts it in the
//! old one's place when it has the log, and takes the old one off. That takes a
//! majority of the voters that still have theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use openraft::ChangeMembers;
use weft_base::sync::Arc;
use weft_base::{HubId, Mono};

use crate::council::{Council, Event, View};
use crate::machine::Machine;
use crate::message::{Body, Hello};
use crate::runtime::lock;
use crate::types::{LogId, Member, Name};

/// How many hubs are added at a time, and greeted at a time by one that knows no
/// voter.
const AT_A_TIME: usize = 32;
/// How far behind a hub may be that becomes a voter.
const CLOSE: u64 = 1024;

/// What is known of another hub.
pub(crate) struct Seen {
    member: Member,
    name: String,
    cluster: u64,
    voters: u64,
    at: Mono,
}

/// Something that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// A hub belongs to another cluster: it and this one were founded apart, from
    /// different lists. Move `control.redb` away at the hubs of one of them.
    OtherCluster {
        /// The hub.
        hub: HubId,
        /// Its cluster.
        cluster: u64,
    },
    /// A hub has another list of voters, so the cluster is not founded: write the
    /// same one at each.
    OtherVoters {
        /// The hub.
        hub: HubId,
    },
    /// This hub is one of the voters that are to found a cluster, and there is a
    /// founding of its own with other lives of them, cut short: move
    /// `control.redb` away here.
    Founding,
    /// A voter lost its control state: another life of the hub takes its place
    /// when it has caught up.
    LostDisk {
        /// The hub.
        hub: HubId,
    },
    /// A hub is not added: there are as many as may be.
    Full {
        /// The hub.
        hub: HubId,
    },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherCluster { hub, cluster } => write!(
                f,
                "hub {hub} belongs to another cluster ({cluster:x}): move `control.redb` away at the hubs of one of the two"
            ),
            Self::OtherVoters { hub } => {
                write!(f, "hub {hub} has another list of voters: write the same list at each voter")
            }
            Self::Founding => f.write_str(
                "a founding was cut short and a voter lost its control state since: move `control.redb` away here",
            ),
            Self::LostDisk { hub } => {
                write!(f, "the voter {hub} came back without its control state: it votes again when it has caught up")
            }
            Self::Full { hub } => {
                write!(f, "hub {hub} takes no part in the control state: raise the limit `hubs` at the voters")
            }
        }
    }
}

impl<M: Machine> Council<M> {
    /// Tells of a trouble, once.
    pub(crate) fn report(&mut self, trouble: Trouble) {
        if self.troubles.len() < self.options.limits.hubs * 2 && self.troubles.insert(trouble.clone()) {
            self.ready.push(crate::Command::Trouble(trouble));
        }
    }

    pub(crate) fn on_hello(&mut self, from: Member, cluster: u64, hello: Hello, now: Mono) {
        let ours = self.ledger.cluster();
        if ours != 0 && cluster != 0 && cluster != ours {
            self.report(Trouble::OtherCluster { hub: from.hub, cluster });
            return;
        }
        if self.seen.len() >= self.options.limits.hubs * 2 && !self.seen.contains_key(&from.hub) {
            return;
        }
        let seen = Seen { member: from, name: hello.name, cluster, voters: hello.voters, at: now };
        self.seen.insert(from.hub, seen);
        if let Some(leader) = hello.leader.filter(|leader| *leader != self.me.hub && Some(*leader) != self.hint) {
            self.hint = Some(leader);
            // Sooner, but never at once: hubs that name different leaders to each
            // other would greet as fast as the network carries it.
            self.next_hello = self.next_hello.min(now + self.options.hello / 4);
        }
        if hello.answer {
            self.greet(from.hub, false);
        }
    }

    fn greet(&mut self, hub: HubId, answer: bool) {
        let leader = self.view().leader.map(|leader| leader.hub).or(self.hint).filter(|leader| *leader != hub);
        let hello = Hello { name: self.options.name.clone(), voters: self.options.digest(), leader, answer };
        self.send(Member { hub, instance: 0 }, Body::Hello(hello));
    }

    /// What is due of all this.
    pub(crate) fn attend(&mut self, view: &View, now: Mono) {
        if now >= self.next_hello {
            self.next_hello = now + self.options.hello;
            self.say_hello(view);
        }
        if now >= self.next_look {
            self.next_look = now + self.options.heartbeat * 2;
            if view.leads {
                self.tend(view, now);
            } else if view.leader.is_none() {
                self.found(view, now);
            }
        }
    }

    /// Says that this hub is there: to the leader, else to whoever may know it.
    fn say_hello(&mut self, view: &View) {
        if view.leads {
            return;
        }
        let mut to: BTreeSet<HubId> = view.leader.iter().map(|leader| leader.hub).chain(self.hint).collect();
        if view.leader.is_none() {
            to.extend(self.options.voters.iter().map(|name| HubId::of_name(name)));
            to.extend(view.membership.voter_ids().map(|voter| voter.hub));
        }
        to.retain(|hub| self.reachable.contains_key(hub));
        if to.is_empty() {
            self.hint = None;
            let mut hubs: Vec<HubId> = self.reachable.keys().copied().collect();
            self.random.shuffle(&mut hubs);
            to.extend(hubs.into_iter().take(AT_A_TIME));
        }
        to.into_iter().for_each(|hub| self.greet(hub, view.leader.is_none()));
    }

    /// Founds the cluster if it is for this hub to do, and time.
    fn found(&mut self, view: &View, now: Mono) {
        let mut names = self.options.voters.clone();
        names.sort_unstable();
        let is_founder = names.first() == Some(&self.options.name);
        if !is_founder || self.is_founding || !self.ledger.is_blank() || view.membership.log_id().is_some() {
            return;
        }
        let digest = self.options.digest();
        let mut members = BTreeMap::from([(self.me, Name(self.options.name.clone()))]);
        for name in names.into_iter().skip(1) {
            let hub = HubId::of_name(&name);
            let Some(seen) = self.seen.get(&hub).filter(|seen| now.since(seen.at) <= self.options.hello * 3) else {
                return;
            };
            if seen.cluster != 0 {
                return;
            }
            if seen.voters != digest {
                self.report(Trouble::OtherVoters { hub });
                return;
            }
            members.insert(seen.member, Name(name));
        }
        let founding: Vec<String> = members.keys().map(ToString::to_string).collect();
        let cluster = HubId::of_name(&founding.join(" ")).0;
        match self.ledger.cluster() {
            0 if self.ledger.join(cluster).is_err() => return,
            0 => {}
            // Cut short between the two lines before and after this one.
            begun if begun == cluster => {}
            _ => {
                self.report(Trouble::Founding);
                return;
            }
        }
        self.is_founding = true;
        let raft = self.raft.clone();
        self.spawn(async move {
            // A failure is one of storage, and is found in the ledger.
            let _ = raft.initialize(members).await;
        });
    }

    /// What a leader does for the others, one change at a time.
    fn tend(&mut self, view: &View, now: Mono) {
        if self.is_changing {
            return;
        }
        let configs = view.membership.membership().get_joint_config();
        if let [_, next] = configs.as_slice() {
            // Begun by this leader or one before it, and to be ended.
            self.change(ChangeMembers::ReplaceAllVoters(next.clone()), true);
            return;
        }
        let members: BTreeSet<Member> = view.membership.nodes().map(|(member, _)| *member).collect();
        if let Some(change) = self.newcomers(&members) {
            self.change(change, true);
            return;
        }
        let voters: BTreeSet<Member> = view.membership.voter_ids().collect();
        let lives = |member: &Member| self.seen.get(&member.hub).is_none_or(|seen| seen.member == *member);
        let dead: BTreeSet<Member> =
            members.iter().copied().filter(|member| *member != self.me && !lives(member)).collect();
        for lost in dead.iter().filter(|lost| voters.contains(lost)) {
            let hub = lost.hub;
            let Some(next) = self.seen.get(&hub).map(|seen| seen.member) else { continue };
            let is_close = members.contains(&next) && is_close(view, next);
            self.report(Trouble::LostDisk { hub });
            if is_close {
                let voters = voters.iter().copied().filter(|voter| voter != lost).chain([next]).collect();
                self.change(ChangeMembers::ReplaceAllVoters(voters), true);
                return;
            }
        }
        let leads_since = self.leads_since.unwrap_or(now);
        let gone = members.difference(&voters).copied().filter(|member| {
            let heard = self.seen.get(&member.hub).map_or(leads_since, |seen| seen.at.max(leads_since));
            dead.contains(member) || now.since(heard) > self.options.forget
        });
        let gone: BTreeSet<Member> = gone.take(AT_A_TIME).collect();
        if !gone.is_empty() {
            self.seen.retain(|_, seen| !gone.contains(&seen.member));
            self.change(ChangeMembers::RemoveNodes(gone), true);
        }
    }

    /// Hubs that were heard and are no members yet.
    fn newcomers(&mut self, members: &BTreeSet<Member>) -> Option<ChangeMembers<Member, Name>> {
        let most = self.options.limits.hubs;
        let mut added = BTreeMap::new();
        let mut refused = None;
        for seen in self.seen.values().filter(|seen| !members.contains(&seen.member)) {
            // A life that is gone makes room for the one that came after it.
            let is_return = members.iter().any(|member| member.hub == seen.member.hub);
            if members.len() + added.len() >= most && !is_return {
                refused = Some(seen.member.hub);
            } else if added.len() < AT_A_TIME {
                added.insert(seen.member, Name(seen.name.clone()));
            }
        }
        if let Some(hub) = refused {
            self.report(Trouble::Full { hub });
        }
        (!added.is_empty()).then_some(ChangeMembers::AddNodes(added))
    }

    fn change(&mut self, change: ChangeMembers<Member, Name>, retain: bool) {
        self.is_changing = true;
        let (raft, events) = (self.raft.clone(), Arc::clone(&self.events));
        self.spawn(async move {
            // What did not come about is tried again: the reason is still there.
            let _ = raft.change_membership(change, retain).await;
            lock(&events).push(Event::Changed);
        });
    }

    /// The members that are to vote if these hubs are to.
    pub(crate) fn voters_of(&self, view: &View, hubs: &[HubId]) -> Result<BTreeSet<Member>, String> {
        if hubs.is_empty() || hubs.len() > crate::options::MOST_VOTERS {
            return Err(format!("{} voters are named: name 1 to {}", hubs.len(), crate::options::MOST_VOTERS));
        }
        if view.membership.membership().get_joint_config().len() > 1 {
            return Err("a change of voters is under way: try again when it is done".to_owned());
        }
        let voters: BTreeSet<Member> = view.membership.voter_ids().collect();
        let mut chosen = BTreeSet::new();
        for hub in hubs {
            let lives = self.seen.get(hub).map(|seen| seen.member);
            let mut known = view.membership.nodes().map(|(member, _)| *member).filter(|member| member.hub == *hub);
            let member = known.find(|member| lives.is_none_or(|lives| lives == *member));
            let Some(member) = member else {
                return Err(format!("hub {hub} takes no part yet: let it be reached by the leader first"));
            };
            if !voters.contains(&member) && !is_close(view, member) {
                return Err(format!("hub {hub} has not caught up yet: try again when it has"));
            }
            chosen.insert(member);
        }
        Ok(chosen)
    }
}

/// Whether a member has most of the leader's log.
fn is_close(view: &View, member: Member) -> bool {
    let matched: Option<LogId> = view.replication.as_ref().and_then(|known| known.get(&member).copied()).flatten();
    matched.is_some_and(|id| id.index + CLOSE >= view.last.unwrap_or_default())
}
