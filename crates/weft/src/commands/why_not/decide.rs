//! What stands between a topic and a subscriber, from what hubs said. Pure:
//! state in, words out, the most definite first.

use std::time::Duration;

use weft_base::UnixNanos;
use weft_client::{Fact, HubSaid, facts};
use weft_topic::{Filter, Topic};

use super::bars::drains;
use super::nearest::nearest;
use super::said::{Found, Part, Subscription, known, pairs, sends};
use crate::commands::see::{mapping_in_words, path};
use crate::time::{rfc3339, show_duration};

/// What is asked.
#[derive(Clone, Debug)]
pub(super) struct Asked<'a> {
    pub(super) topic: &'a str,
    /// The name, without a hub.
    pub(super) name: &'a str,
    /// The hub that it is looked for at; none for all.
    pub(super) at: Option<&'a str>,
    /// The hub where the event enters the mesh; none for the one that is asked.
    pub(super) from: Option<&'a str>,
    pub(super) deadline: Option<Duration>,
}

/// How much a reason says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    /// Nothing gets there while it is so.
    Stops,
    /// Some events do not, or late.
    Some,
}

/// One reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reason {
    /// A name for programs.
    pub(super) code: &'static str,
    pub(super) weight: Weight,
    /// Where it is so.
    pub(super) hub: String,
    pub(super) what: String,
    /// What to do about it.
    pub(super) remedy: String,
}

/// One place where the subscriber would get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// In words: a subscription, a stream, a consumer.
    pub(super) what: String,
    pub(super) hub: String,
    /// The hubs on the way, the first where it enters.
    pub(super) way: Vec<String>,
    /// How long the way takes, as far as links are concerned.
    pub(super) takes: Duration,
    /// Events that it was sent, and when last; none where nobody counts.
    pub(super) got: Option<(u64, u64)>,
    pub(super) reasons: Vec<Reason>,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// The hub of entry.
    pub(super) entry: String,
    /// What its mapping makes of the topic, in words; none without a rule for it.
    pub(super) mapped: Option<String>,
    /// What holds whatever the subscriber does.
    pub(super) reasons: Vec<Reason>,
    pub(super) places: Vec<Place>,
    /// Hubs that were looked at, and those that said nothing.
    pub(super) looked: Vec<String>,
    pub(super) silent: Vec<String>,
}

impl Answer {
    /// Whether an event gets to one of the places at least.
    pub(super) fn reaches(&self) -> bool {
        let stops = |reasons: &[Reason]| reasons.iter().any(|reason| reason.weight == Weight::Stops);
        !stops(&self.reasons) && self.places.iter().any(|place| !stops(&place.reasons))
    }
}

pub(super) fn reason(code: &'static str, weight: Weight, hub: &str, what: String, remedy: impl Into<String>) -> Reason {
    Reason { code, weight, hub: hub.to_owned(), what, remedy: remedy.into() }
}

fn when(nanos: u64) -> String {
    rfc3339(UnixNanos(nanos))
}

/// Decides.
pub(super) fn decide(asked: &Asked<'_>, said: &[HubSaid]) -> Answer {
    let names = |answered: bool| said.iter().filter(move |hub| hub.answered == answered).map(|hub| hub.name.clone());
    let mut answer = Answer { looked: names(true).collect(), silent: names(false).collect(), ..Answer::default() };
    let Some(entry) = said.iter().find(|hub| hub.answered && hub.number(facts::ENTRY) > 0) else {
        let from = asked.from.unwrap_or("the asked hub");
        from.clone_into(&mut answer.entry);
        let what = match said.iter().any(|hub| Some(hub.name.as_str()) == asked.from) {
            true => format!("`{from}`, where the event would enter the mesh, did not answer"),
            false => format!("no hub of the name `{from}` is in the mesh"),
        };
        answer.reasons.push(reason(
            "no_entry",
            Weight::Stops,
            from,
            what,
            "ask with another --from, or look at that hub",
        ));
        return answer;
    };
    answer.entry.clone_from(&entry.name);
    answer.mapped = mapping_in_words(entry);
    of_entry(entry, &mut answer.reasons);
    let found = Found::of(said, |hub| asked.at.is_none_or(|at| hub.name == at));
    // Everybody knows the event by the name that it got where it entered.
    let asked = &Asked { topic: most_of(entry).unwrap_or(asked.topic), ..asked.clone() };
    let judge = Judge { asked, said, entry, found: &found, topic: Topic::parse(asked.topic).ok() };
    judge.places(&mut answer);
    // What is no topic is matched by no filter, which says nothing of the subscriber.
    let is_refused = answer.reasons.iter().any(|reason| reason.code == "topic_refused");
    answer.reasons.retain(|reason| !is_refused || reason.code != "no_filter");
    if answer.places.is_empty() && !is_refused && answer.reasons.iter().all(|reason| reason.code != "no_filter") {
        let not_there = judge.not_there(&answer.silent);
        answer.reasons.push(not_there);
    }
    for place in &mut answer.places {
        place.reasons.sort_by_key(|reason| reason.weight);
    }
    answer.reasons.sort_by_key(|reason| reason.weight);
    answer
}

/// The topic that the largest share becomes by the mapping of the hub of entry.
fn most_of(entry: &HubSaid) -> Option<&str> {
    let kept = entry.all(facts::MAPPED).filter(|fact| !fact.text.is_empty());
    // Of equal ones the first, as the hub reckons.
    let most = kept.reduce(|most, fact| if fact.value > most.value { fact } else { most });
    most.map(|fact| fact.text.as_str())
}

/// What holds for every subscriber.
fn of_entry(entry: &HubSaid, reasons: &mut Vec<Reason>) {
    if let Some(refused) = entry.fact(facts::TOPIC_REFUSED) {
        let what = format!("{} takes nothing on this topic: {}", entry.name, refused.text);
        reasons.push(reason("topic_refused", Weight::Stops, &entry.name, what, "publish on another topic"));
    }
    if drains(entry, &entry.name) {
        let what = format!("{} is about to stop: it sends its clients elsewhere", entry.name);
        let remedy = "publish at another hub (--from); clients that know of draining go there by themselves";
        reasons.push(reason("draining", Weight::Some, &entry.name, what, remedy));
    }
    for (held, at) in pairs(entry, facts::HELD_FOR, facts::AT) {
        let what = format!(
            "publishes on the topic wait at {} for the subscriber `{}` at {}, which is {} behind and has the policy `wait`",
            entry.name,
            held.text,
            at.text,
            show_duration(Duration::from_millis(held.value))
        );
        let remedy = "let that subscriber catch up, or give it another policy (`weft sub --on-full`)";
        reasons.push(reason("held_back", Weight::Stops, &entry.name, what, remedy));
    }
}

/// What is known when places are judged.
pub(super) struct Judge<'a> {
    asked: &'a Asked<'a>,
    pub(super) said: &'a [HubSaid],
    pub(super) entry: &'a HubSaid,
    found: &'a Found<'a>,
    topic: Option<Topic<'a>>,
}

impl<'a> Judge<'a> {
    fn matches(&self, filter: &str) -> bool {
        self.topic.is_some_and(|topic| Filter::parse(filter).is_ok_and(|filter| filter.matches(topic)))
    }

    /// All places where it would get the event; and that no filter matches, when none does.
    fn places(&self, answer: &mut Answer) {
        let mut unmatched: Vec<(&'a str, &'a str)> = Vec::new();
        for subscription in &self.found.subscriptions {
            let reads = subscription.part.text(facts::OF_STREAM);
            let filter = subscription.part.head.text.as_str();
            if !reads.is_empty() {
                answer.places.push(self.reader(subscription, reads));
            } else if self.matches(filter) {
                answer.places.push(self.live(subscription));
            } else {
                unmatched.push((&subscription.hub.name, filter));
            }
        }
        for (hub, client, consumer) in &self.found.member_of {
            let whole = self.found.consumers.iter().find(|(at, part)| at.hub == hub.hub && part.head.text == *consumer);
            answer.places.extend(whole.map(|(at, part)| self.consumer(at, part, Some(client))));
        }
        let name = self.asked.name;
        let is_named = |part: &Part<'_>| part.head.text == name || part.head.text.rsplit('/').next() == Some(name);
        for (hub, part) in self.found.consumers.iter().filter(|(_, part)| is_named(part)) {
            answer.places.push(self.consumer(hub, part, None));
        }
        let homes: Vec<_> = self.found.streams_named(name).collect();
        if !homes.is_empty() {
            answer.places.push(self.stream(&homes));
        }
        if answer.places.is_empty() && !unmatched.is_empty() {
            answer.reasons.push(self.no_filter(&unmatched));
        }
    }

    /// Nothing of the name is there, or it wants nothing.
    fn not_there(&self, silent: &[String]) -> Reason {
        let (name, hubs) = (self.asked.name, self.said.iter().filter(|hub| hub.answered));
        let looked: Vec<&str> = hubs.map(|hub| hub.name.as_str()).collect();
        if let Some((hub, client)) = self.found.clients.first() {
            let what = format!("`{client}` is connected to {} and subscribes to nothing", hub.name);
            return reason("no_subscription", Weight::Stops, &hub.name, what, "subscribe, or look why it does not");
        }
        let mut what = match self.asked.at {
            Some(at) if !looked.contains(&at) => format!("`{at}`, where `{name}` is looked for, did not answer"),
            Some(at) => format!("no client, stream or consumer at {at} is called `{name}`"),
            None => format!("no client, stream or consumer is called `{name}`; looked for at {}", looked.join(", ")),
        };
        if !silent.is_empty() {
            what.push_str(&format!("; it may be at {}, where nobody answered", silent.join(", ")));
        }
        for hub in self.entry.all(facts::DRAINING) {
            what.push_str(&format!("; {} is about to stop and sends its clients elsewhere", hub.text));
        }
        let unreachable = self.entry.all(facts::UNREACHABLE).filter(|fact| silent.contains(&fact.text));
        for hub in unreachable {
            what.push_str(&format!("; {} cannot be reached since {}", hub.text, when(hub.value)));
        }
        let mut alike: Vec<String> =
            self.found.alike.iter().map(|(hub, name)| format!("`{name}` at {}", hub.name)).collect();
        alike.sort_unstable();
        alike.truncate(8);
        let remedy = match alike.is_empty() {
            true => "start it, or ask by the name that it connects with".to_owned(),
            false => format!("names like it: {}", alike.join(", ")),
        };
        reason("no_subscriber", Weight::Stops, self.asked.at.unwrap_or_default(), what, remedy)
    }

    fn no_filter(&self, filters: &[(&'a str, &'a str)]) -> Reason {
        let mut all: Vec<&str> = filters.iter().map(|(_, filter)| *filter).collect();
        all.sort_unstable();
        all.dedup();
        let shown: Vec<String> = all.iter().take(8).map(|filter| format!("`{filter}`")).collect();
        let more = if all.len() > 8 { format!(" and {} more", all.len() - 8) } else { String::new() };
        let hub = filters.first().map_or("", |(hub, _)| hub);
        let what = format!("it subscribes to {}{more}, and none of them matches", shown.join(", "));
        let remedy = nearest(all.into_iter(), self.asked.topic);
        reason("no_filter", Weight::Stops, hub, what, remedy)
    }

    /// The way to a hub: what stands on it, its hubs, and how long it takes.
    fn way(&self, to: &HubSaid, reasons: &mut Vec<Reason>) -> (Vec<String>, Duration) {
        if to.hub == self.entry.hub {
            return (vec![to.name.clone()], Duration::ZERO);
        }
        let entry = self.entry.name.as_str();
        if let Some(lost) = self.entry.all(facts::UNREACHABLE).find(|fact| fact.text == to.name) {
            let mut what = format!("no path leads from {entry} to {} since {}", to.name, when(lost.value));
            what.push_str(&self.links_down());
            reasons.push(reason("no_path", Weight::Stops, entry, what, "mend a link on the way"));
            return (Vec::new(), Duration::ZERO);
        }
        let known = known(self.entry, &to.name);
        let mut way = path(self.said, entry, &to.name);
        if let Some(known) = known.filter(|_| way.contains(&"?")) {
            // Hubs say the way to those that they would send to; of others the entry knows its beginning.
            way = match known.hops {
                0 | 1 => vec![entry, &to.name],
                2 => vec![entry, known.via, &to.name],
                _ => vec![entry, known.via, "…", &to.name],
            };
        }
        let way = way.into_iter().map(str::to_owned).collect();
        let takes = Duration::from_nanos(known.map_or(0, |known| known.rtt_ns) / 2);
        if let Some(deadline) = self.asked.deadline.filter(|deadline| takes >= *deadline) {
            let what = format!(
                "the way takes {} by its links alone, and the event has {}",
                show_duration(takes),
                show_duration(deadline)
            );
            reasons.push(reason("too_late", Weight::Stops, entry, what, "publish with a longer deadline, or nearer"));
        }
        (way, takes)
    }

    /// Links that hubs say are down, in words.
    fn links_down(&self) -> String {
        let mut text = String::new();
        for hub in self.said.iter().filter(|hub| hub.answered) {
            for (down, why) in pairs(hub, facts::LINK_DOWN, facts::REASON).take(4) {
                let since = when(down.value);
                text.push_str(&format!("; {} has no link to {} since {since} ({})", hub.name, down.text, why.text));
            }
        }
        text
    }

    /// Whether the interest of a hub is in force where the event enters.
    fn in_force(&self, of: &HubSaid, is_wanted: bool, reasons: &mut Vec<Reason>) {
        if of.hub == self.entry.hub || is_wanted {
            return;
        }
        let told = of.number(facts::INTEREST_TOLD);
        let known = known(self.entry, &of.name).map(|known| known.interest);
        let entry = &self.entry.name;
        let what = match known {
            Some(known) if known < told => format!(
                "{entry} goes by version {known} of the interest of {}, which tells version {told}: it is not in force there yet",
                of.name
            ),
            _ => format!("the interest of {} is not in force at {entry} yet", of.name),
        };
        let remedy =
            "wait: news takes the time of the way; when it stays so, look at that hub's log for refused limits";
        reasons.push(reason("not_in_force", Weight::Stops, entry, what, remedy));
    }

    /// A live subscription whose filter matches.
    fn live(&self, subscription: &Subscription<'a>) -> Place {
        let Subscription { hub, client, part } = *subscription;
        let mut reasons = Vec::new();
        let (way, takes) = self.way(hub, &mut reasons);
        let group = part.text(facts::OF_GROUP);
        let is_silent = |reasons: &[Reason]| reasons.iter().all(|reason| reason.code != "no_path");
        if is_silent(&reasons) && !self.is_barred(hub, &mut reasons) {
            let told = hub.number(facts::INTEREST_TOLD);
            let known = known(self.entry, &hub.name).map_or(0, |known| known.interest);
            // Of groups, and of what comes by a stream's home there, the versions say it.
            let by_version = !group.is_empty() || hub.fact(facts::STREAM).is_some();
            let is_wanted = sends(self.entry, &hub.name).is_some() || by_version && known >= told;
            self.in_force(hub, is_wanted, &mut reasons);
        }
        if !group.is_empty() {
            self.of_group(group, hub, &mut reasons);
        }
        self.of_drains(hub, &way, &mut reasons);
        self.of_queue(hub, &part, &mut reasons);
        let filter = &part.head.text;
        let of = if group.is_empty() { String::new() } else { format!(", of group `{group}`") };
        Place {
            what: format!("the subscription of `{client}` to `{filter}`{of}"),
            hub: hub.name.clone(),
            way,
            takes,
            got: Some((part.number(facts::GOT), part.number(facts::GOT_AT))),
            reasons,
        }
    }

    /// Others that share with it.
    fn of_group(&self, group: &str, hub: &HubSaid, reasons: &mut Vec<Reason>) {
        let members =
            |hub: &HubSaid| hub.all(facts::GROUP).filter(|fact| fact.text == group).map(|fact| fact.value).sum::<u64>();
        let all: u64 = self.said.iter().filter(|hub| hub.answered).map(members).sum();
        if all <= 1 {
            return;
        }
        if self.leaves_it_to_others(group, hub, members, reasons) {
            return;
        }
        let what = format!(
            "group `{group}` has {all} members for the topic, {} of them at {}: of each event one of them gets it",
            members(hub),
            hub.name
        );
        let remedy = "subscribe without the group to get every event";
        reasons.push(reason("other_member", Weight::Some, &hub.name, what, remedy));
    }

    /// Credit, and what waits for it.
    fn of_queue(&self, hub: &HubSaid, part: &Part<'_>, reasons: &mut Vec<Reason>) {
        let policy = part.text(facts::POLICY);
        let (waiting, queue) = (part.number(facts::WAITING), part.number(facts::QUEUE));
        if let Some(dry) = part.fact(facts::NO_CREDIT_SINCE) {
            let since = if dry.value > 0 { format!(" since {}", when(dry.value)) } else { String::new() };
            let what = format!("it has given no credit{since}: {waiting} events wait for it, of {queue} that may");
            let remedy = "the client takes nothing in: look what it does with the events that it has";
            reasons.push(reason("no_credit", Weight::Stops, &hub.name, what, remedy));
        } else if waiting > 0 {
            let waited = show_duration(Duration::from_nanos(part.number(facts::WAITED)));
            let what = format!("{waiting} events wait for it, of {queue} that may, the oldest for {waited}");
            reasons.push(reason("behind", Weight::Some, &hub.name, what, "it is slower than its publishers"));
        }
        if let Some(lost) = part.fact(facts::LOST) {
            let what = match (policy, lost.text.as_str()) {
                ("conflate", "conflated") => {
                    format!(
                        "{} events were left out because newer ones of their key came (policy `conflate`)",
                        lost.value
                    )
                }
                (_, why) => {
                    format!("{} events were dropped for it, the last as `{why}` (policy `{policy}`)", lost.value)
                }
            };
            let remedy = "a faster client, a larger `limits.subscriber_events`, or the policy `wait` or `spill=STREAM`";
            reasons.push(reason("dropped", Weight::Some, &hub.name, what, remedy));
        }
        if part.fact(facts::GATE_CLOSED).is_some() {
            let what = "its queue is so full that its publishers are held back (policy `wait`)".to_owned();
            reasons.push(reason("holds_back", Weight::Some, &hub.name, what, "let it catch up"));
        }
    }

    /// A subscription that reads a stream.
    fn reader(&self, subscription: &Subscription<'a>, stream: &'a str) -> Place {
        let Subscription { hub, client, part } = *subscription;
        let homes: Vec<_> = self.found.streams_named(stream).collect();
        let mut place = self.stream(&homes);
        place.what = format!("the subscription of `{client}`, which reads the stream `{stream}`");
        place.hub.clone_from(&hub.name);
        place.got = Some((part.number(facts::GOT), part.number(facts::GOT_AT)));
        // What is bound to a label is read at hubs with it alone.
        if place.reasons.iter().all(|reason| reason.code != "residency") {
            self.is_barred(hub, &mut place.reasons);
        }
        self.of_queue(hub, &part, &mut place.reasons);
        place
    }

    /// A stream, of which these are homes or mirrors.
    fn stream(&self, homes: &[(&'a HubSaid, Part<'a>)]) -> Place {
        let name = homes.first().map_or("", |(_, part)| part.head.text.as_str());
        let mut reasons = Vec::new();
        let takes_in = |part: &Part<'_>| part.head.value == 0 && part.all(facts::FILTER).any(|f| self.matches(&f.text));
        let taking: Vec<_> = homes.iter().filter(|(_, part)| takes_in(part)).collect();
        // The home that the entry would send to, or is; else the first.
        let chosen = |hub: &HubSaid| hub.hub == self.entry.hub || sends(self.entry, &hub.name) == Some(true);
        let home = taking.iter().find(|(hub, _)| chosen(hub)).or_else(|| taking.first());
        let (mut hub, mut way, mut takes) =
            (homes.first().map_or("", |(hub, _)| hub.name.as_str()), Vec::new(), Duration::ZERO);
        match home {
            Some((at, _)) => {
                hub = &at.name;
                (way, takes) = self.way(at, &mut reasons);
                let is_kept = !self.keeps_nothing(name, &mut reasons);
                if is_kept && reasons.is_empty() && !self.is_barred(at, &mut reasons) {
                    self.in_force(at, chosen(at), &mut reasons);
                }
                self.of_drains(at, &way, &mut reasons);
                if self.entry.fact(facts::TO_SPOOL).is_some() && !chosen(at) {
                    let what = format!("publishes wait on disk at {} until a home can be reached", self.entry.name);
                    reasons.push(reason(
                        "spooled",
                        Weight::Some,
                        &self.entry.name,
                        what,
                        "they are sent by themselves then",
                    ));
                }
            }
            None if homes.iter().all(|(_, part)| part.head.value > 0) => {
                let what = format!("`{name}` is a mirror here: it takes no publishes, only what its source has");
                reasons.push(reason("mirror", Weight::Stops, hub, what, "ask for the stream that it mirrors"));
            }
            None => {
                let all = homes
                    .iter()
                    .flat_map(|(hub, part)| part.all(facts::FILTER).map(|f| (hub.name.as_str(), f.text.as_str())));
                let mut none = self.no_filter(&all.collect::<Vec<_>>());
                none.what = none.what.replacen("it subscribes to", &format!("the stream `{name}` takes in"), 1);
                reasons.push(none);
            }
        }
        Place { what: format!("the stream `{name}`"), hub: hub.to_owned(), way, takes, got: None, reasons }
    }

    /// A consumer, and, asked for as such, one of its members.
    fn consumer(&self, hub: &'a HubSaid, part: &Part<'a>, member: Option<&str>) -> Place {
        let whole = part.head.text.as_str();
        let stream = whole.split_once('/').map_or("", |(stream, _)| stream);
        let homes: Vec<_> = self.found.streams_named(stream).collect();
        let mut place = self.stream(&homes);
        place.what = match member {
            Some(client) => format!("`{client}` as a member of the consumer `{whole}`"),
            None => format!("the consumer `{whole}`"),
        };
        place.hub.clone_from(&hub.name);
        let reasons = &mut place.reasons;
        let filters: Vec<&Fact> = part.all(facts::FILTER).collect();
        if !filters.is_empty() && !filters.iter().any(|filter| self.matches(&filter.text)) {
            let all: Vec<_> = filters.iter().map(|filter| (hub.name.as_str(), filter.text.as_str())).collect();
            let mut none = self.no_filter(&all);
            none.what = none.what.replacen("it subscribes to", &format!("the consumer `{whole}` wants"), 1);
            reasons.push(none);
        }
        if let Some(until) = part.fact(facts::PAUSED_UNTIL) {
            let until = if until.value == u64::MAX { "it is resumed".to_owned() } else { when(until.value) };
            let what = format!("it is paused until {until}");
            reasons.push(reason(
                "paused",
                Weight::Stops,
                &hub.name,
                what,
                format!("weft consumer resume {stream} {}", name_of(whole)),
            ));
        }
        let active = part.all(facts::MEMBER).count();
        let waits = part.all(facts::IDLE_MEMBER).any(|fact| member == Some(fact.text.as_str()));
        let works = part.all(facts::MEMBER).any(|fact| member == Some(fact.text.as_str()));
        let lag = part.number(facts::LAG);
        if active == 0 {
            let what = format!("nobody is a member of it: {lag} events of the stream wait");
            reasons.push(reason("no_member", Weight::Stops, &hub.name, what, "start a consumer of it"));
        } else if waits && !works {
            let who: Vec<&str> = part.all(facts::MEMBER).map(|fact| fact.text.as_str()).collect();
            let what = format!(
                "it is {}, and `{}` gets everything while it is there",
                part.text(facts::MODE),
                who.join("`, `")
            );
            reasons.push(reason("other_member", Weight::Stops, &hub.name, what, "it takes over when that one leaves"));
        } else if member.is_some() && active > 1 {
            let what = format!("it has {active} members: of each event one of them gets it");
            reasons.push(reason(
                "other_member",
                Weight::Some,
                &hub.name,
                what,
                "make a consumer of its own to get every event",
            ));
        }
        let (unsettled, most) = (part.number(facts::UNSETTLED), part.number(facts::UNSETTLED_MOST));
        if most > 0 && unsettled >= most {
            let what = format!("{unsettled} events are handed out and not settled, as many as may be (max in flight)");
            reasons.push(reason(
                "window_full",
                Weight::Stops,
                &hub.name,
                what,
                "acknowledge them, or raise the consumer's bound",
            ));
        } else if lag > unsettled && active > 0 {
            let what = format!("it is {lag} events behind the end of the stream");
            reasons.push(reason("behind", Weight::Some, &hub.name, what, "more members, or faster ones"));
        }
        if let Some(predicate) = part.fact(facts::PREDICATE) {
            let what = format!(
                "it wants only events that satisfy `{}`; {} did not",
                predicate.text,
                part.number(facts::FILTERED)
            );
            reasons.push(reason("predicate", Weight::Some, &hub.name, what, "see whether the event does"));
        }
        place
    }
}

/// The consumer's name without its stream's.
fn name_of(whole: &str) -> &str {
    whole.split_once('/').map_or(whole, |(_, name)| name)
}
