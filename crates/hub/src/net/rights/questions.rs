//! Which questions a client's frame asks: the one table of what is checked where.
//!
//! Every kind of frame stands here, without a rest, so that a new one cannot be
//! forgotten. Publishes are asked about by their topic and lane, on their own
//! path ([`super::publishes`]). Pure.
//!
//! A frame whose filters break the grammar asks nothing: it is refused for that.

use std::sync::Arc;

use weft_base::SubscriptionId;
use weft_govern::access::{Action, Resource};
use weft_govern::api::{Explain, Request};
use weft_govern::inspect::is_quarantine;
use weft_topic::Filter;
use weft_wire::frame::{Frame, OnFull, REPLY_INBOX};

/// What must be allowed for a frame to be taken.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Questions {
    /// What a refusal names.
    pub(super) request: u64,
    /// The subscription that it opens, which uses the answers until it ends.
    pub(super) opens: Option<SubscriptionId>,
    pub(super) all: Vec<Question>,
    /// One answer in its favour is enough.
    pub(super) one_of: bool,
}

/// One of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) action: Action,
    pub(super) resource: Resource,
    /// The frame is refused where it is not allowed. Otherwise the answer is only
    /// kept: whether requests may be answered, for who subscribes to them.
    pub(super) required: bool,
}

/// What a stream captures, by its name: empty for one that is not known.
pub(super) type Streams<'a> = &'a dyn Fn(&str) -> Arc<[Filter]>;

impl Questions {
    fn of(request: u64, all: impl IntoIterator<Item = (Action, Resource)>) -> Self {
        let all = all.into_iter().map(|(action, resource)| Question { action, resource, required: true });
        Self { request, opens: None, all: all.collect(), one_of: false }
    }

    fn opens(self, subscription: SubscriptionId) -> Self {
        Self { opens: Some(subscription), ..self }
    }

    fn one(request: u64, action: Action, resource: Resource) -> Self {
        Self::of(request, [(action, resource)])
    }
}

fn stream(name: &str, streams: Streams<'_>) -> Resource {
    Resource::Stream { name: name.into(), filters: streams(name) }
}

/// A topic that is asked about, or the mesh where none is.
fn topic_or_mesh(topic: &str) -> Resource {
    Filter::parse(topic).map_or(Resource::Mesh, Resource::Topic)
}

fn parse_all(filters: &[&str]) -> Option<Arc<[Filter]>> {
    filters.iter().map(|filter| Filter::parse(filter).ok()).collect()
}

/// What to define a stream so asks: to administer it, with what it is to capture,
/// and to read all of that; and to read what it captured until then, since that stays
/// in it and who may read the stream is said by what it captures.
fn defines<'a>(request: u64, spec: &weft_wire::frame::StreamSpec<'a>, streams: Streams<'_>) -> Option<Questions> {
    let filters = parse_all(&spec.filters)?;
    let mut all: Vec<_> = filters.iter().map(|filter| (Action::Subscribe, Resource::Topic(filter.clone()))).collect();
    let known = streams(spec.name);
    all.push((Action::Administer, Resource::Stream { name: spec.name.into(), filters: filters.clone() }));
    if !known.is_empty() && known != filters {
        all.extend(known.iter().map(|filter| (Action::Subscribe, Resource::Topic(filter.clone()))));
        all.push((Action::Administer, Resource::Stream { name: spec.name.into(), filters: known }));
    }
    if !spec.mirror_of.is_empty() {
        all.push((Action::Consume, stream(spec.mirror_of, streams)));
    }
    Some(Questions::of(request, all))
}

/// The table.
pub(super) fn questions(frame: &Frame<'_>, streams: Streams<'_>) -> Questions {
    let asked = match frame {
        // What a session does with what it has, and with itself.
        Frame::Unsubscribe(_)
        | Frame::Credit(_)
        | Frame::Ping(_)
        | Frame::Pong(_)
        | Frame::Goodbye(_)
        | Frame::Leave(_)
        // Its own publishes: what they wait for, and how far a number is stored.
        | Frame::Why(_)
        | Frame::AwaitLevel(_)
        // Of what was handed out to it as a member, which it had to be allowed to become.
        | Frame::Settle(_)
        // Asked about on its own path.
        | Frame::Publish(_) => None,
        // A session's own inbox: what comes there it has asked for.
        Frame::Subscribe(subscribe) if subscribe.id == REPLY_INBOX => None,
        Frame::Subscribe(subscribe) => Filter::parse(subscribe.filter).ok().map(|filter| {
            let reads = (Action::Subscribe, Resource::Topic(filter.clone()));
            if !subscribe.stream.is_empty() {
                let captured = streams(subscribe.stream);
                let mut all = vec![(Action::Consume, stream(subscribe.stream, streams))];
                // What lies in quarantine has the topics that it was published to; who
                // may read it is said by what its stream captures.
                if !captured.is_empty() && captured.iter().all(is_quarantine) {
                    all.extend(captured.iter().map(|filter| (Action::Subscribe, Resource::Topic(filter.clone()))));
                } else {
                    all.push(reads);
                }
                return Questions::of(subscribe.id.0, all).opens(subscribe.id);
            }
            let mut asked = Questions::of(subscribe.id.0, [reads]).opens(subscribe.id);
            if subscribe.on_full == OnFull::Spill {
                // What is spilled is appended whatever the stream captures.
                let resource = stream(subscribe.spill, streams);
                asked.all.push(Question { action: Action::Administer, resource, required: true });
            }
            asked.all.push(Question { action: Action::Reply, resource: Resource::Topic(filter), required: false });
            asked
        }),
        Frame::StreamCreate(create) => defines(create.request, &create.spec, streams),
        Frame::StreamAlter(alter) => defines(alter.request, &alter.spec, streams),
        Frame::StreamDelete(delete) => {
            Some(Questions::one(delete.request, Action::Administer, stream(delete.name, streams)))
        }
        Frame::StreamInfo(info) => Some(Questions::one(info.request, Action::Observe, stream(info.name, streams))),
        Frame::StreamList(list) => Some(Questions::one(list.request, Action::Observe, Resource::Mesh)),
        Frame::LastGet(asked) => Filter::parse(asked.filter).ok().map(|filter| {
            let all =
                [(Action::Consume, stream(asked.stream, streams)), (Action::Subscribe, Resource::Topic(filter))];
            Questions::of(asked.request, all)
        }),
        Frame::Consume(consume) => {
            let asked = Questions::one(consume.id.0, Action::Consume, stream(consume.stream, streams));
            Some(asked.opens(consume.id))
        }
        Frame::ConsumerCreate(create) => parse_all(&create.spec.filters).map(|filters| {
            let mut all = vec![(Action::Consume, stream(create.stream, streams))];
            all.extend(filters.iter().map(|filter| (Action::Subscribe, Resource::Topic(filter.clone()))));
            if create.spec.dead_letters && !create.spec.dead_stream.is_empty() {
                // Dead letters are appended whatever the stream captures.
                all.push((Action::Administer, stream(create.spec.dead_stream, streams)));
            }
            Questions::of(create.request, all)
        }),
        Frame::ConsumerDelete(delete) => {
            Some(Questions::one(delete.request, Action::Administer, stream(delete.stream, streams)))
        }
        Frame::ConsumerControl(control) => {
            Some(Questions::one(control.request, Action::Administer, stream(control.stream, streams)))
        }
        Frame::ConsumerInfo(info) => {
            Some(Questions::one(info.request, Action::Observe, stream(info.stream, streams)))
        }
        // Where a subscription of its own is live.
        Frame::LiveAsk(asked) if asked.subscription.0 != 0 => None,
        Frame::LiveAsk(asked) => Some(Questions::one(asked.request, Action::Observe, topic_or_mesh(asked.topic))),
        Frame::Ask(asked) => Some(Questions::one(asked.request, Action::Observe, topic_or_mesh(asked.topic))),
        Frame::WhyNot(asked) => Some(Questions::one(asked.request, Action::Observe, topic_or_mesh(asked.topic))),
        Frame::MeshShow(show) => Some(Questions::one(show.request, Action::Observe, Resource::Mesh)),
        Frame::Survey(asked) => Some(Questions::one(asked.request, Action::Observe, Resource::Mesh)),
        Frame::Profile(asked) => Some(Questions::one(asked.request, Action::Administer, Resource::Mesh)),
        // What changes the control state changes all of the mesh; who they are
        // themselves, and why they may do something or not, everybody may ask.
        Frame::Govern(asked) => match Request::decode(asked.body) {
            Ok(request) if request.changes() => Some(Questions::one(asked.request, Action::Administer, Resource::Mesh)),
            Ok(Request::Whoami | Request::Explain(Explain { who: None, .. })) => None,
            // What others may do is for who runs the mesh, or watches over it.
            Ok(Request::Explain(_) | Request::Can(_)) => {
                let all = [(Action::Observe, Resource::Mesh), (Action::Administer, Resource::Mesh)];
                Some(Questions { one_of: true, ..Questions::of(asked.request, all) })
            }
            Ok(_) => Some(Questions::one(asked.request, Action::Observe, Resource::Mesh)),
            // Refused where it is read.
            Err(_) => None,
        },
        Frame::Drain(asked) => Some(Questions::one(asked.request, Action::Administer, Resource::Mesh)),
        Frame::Change(asked) => Some(Questions::one(asked.request, Action::Administer, Resource::Mesh)),
        Frame::Trial(asked) => Some(Questions::one(asked.request, Action::Administer, Resource::Mesh)),
        // Frames of hubs, and of handshakes: a client that sends one is ended for it.
        Frame::Hello(_)
        | Frame::Welcome(_)
        | Frame::Error(_)
        | Frame::Ack(_)
        | Frame::Subscribed(_)
        | Frame::Unsubscribed(_)
        | Frame::Deliver(_)
        | Frame::Gap(_)
        | Frame::StreamReports(_)
        | Frame::Done(_)
        | Frame::MeshReport(_)
        | Frame::WhyReport(_)
        | Frame::ProfileReport(_)
        | Frame::Governed(_)
        | Frame::Forward(_)
        | Frame::Packed(_)
        | Frame::LinkState(_)
        | Frame::Interest(_)
        | Frame::Digest(_)
        | Frame::Want(_)
        | Frame::FlowAck(_)
        | Frame::LinkCredit(_)
        | Frame::Pressure(_)
        | Frame::ConsumerReports(_)
        | Frame::Consuming(_)
        | Frame::Handout(_)
        | Frame::Found(_)
        | Frame::ReceiptAsk(_)
        | Frame::ReceiptAck(_)
        | Frame::LiveReport(_)
        | Frame::Record(_)
        | Frame::BoundAck(_)
        | Frame::WayAck(_)
        | Frame::LinkOpen(_)
        | Frame::Conflict(_)
        | Frame::DigestSum(_)
        | Frame::Detour(_)
        | Frame::Told(_)
        | Frame::Changes(_)
        | Frame::Join(_)
        | Frame::Joined(_)
        | Frame::LinkLedger(_)
        | Frame::LinkCounted(_)
        | Frame::Redirect(_)
        | Frame::DrainReport(_) => None,
    };
    asked.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use weft_wire::frame::{
        self, ConsumerSpec, DrainAction, LiveScope, MeshShow, StreamAlter, StreamCreate, StreamDelete, StreamSpec,
    };

    use weft_govern::api::{At, Named, Who};

    use super::*;

    fn asked(frame: &Frame<'_>) -> Vec<String> {
        let known = |name: &str| -> Arc<[Filter]> {
            let filters: &[&str] = if name == "s" { &["t/**"] } else { &[] };
            filters.iter().map(|filter| Filter::parse(filter).expect("a filter")).collect()
        };
        let asked = questions(frame, &known);
        let shown = |question: &Question| {
            let filters = match &question.resource {
                Resource::Stream { filters, .. } => {
                    format!(" of {}", filters.iter().map(Filter::as_str).collect::<Vec<_>>().join(","))
                }
                _ => String::new(),
            };
            let optional = if question.required { "" } else { "?" };
            format!("{}{optional} {}{filters}", question.action.name(), question.resource)
        };
        asked.all.iter().map(shown).collect()
    }

    #[test]
    fn what_each_frame_asks() {
        let spec =
            |name, filters: &[&'static str]| StreamSpec { name, filters: filters.to_vec(), ..StreamSpec::default() };
        let create = |spec| Frame::StreamCreate(StreamCreate { request: 1, spec });
        assert_eq!(
            asked(&create(spec("n", &["a", "b/*"]))),
            ["subscribe topic `a`", "subscribe topic `b/*`", "administer stream `n` of a,b/*"]
        );
        let mirror = StreamSpec { mirror_of: "s", ..spec("n", &["a"]) };
        assert_eq!(asked(&create(mirror))[2], "consume stream `s` of t/**");
        assert_eq!(asked(&create(spec("n", &["a//b"]))), [""; 0], "refused for its filter");
        let alter = Frame::StreamAlter(StreamAlter { request: 1, spec: spec("s", &["a"]) });
        assert_eq!(
            asked(&alter),
            [
                "subscribe topic `a`",
                "administer stream `s` of a",
                "subscribe topic `t/**`",
                "administer stream `s` of t/**"
            ]
        );
        // As it was, there is nothing to read that could not be read before.
        let same = Frame::StreamAlter(StreamAlter { request: 1, spec: spec("s", &["t/**"]) });
        assert_eq!(asked(&same), ["subscribe topic `t/**`", "administer stream `s` of t/**"]);
        let delete = Frame::StreamDelete(StreamDelete { request: 1, name: "s" });
        assert_eq!(asked(&delete), ["administer stream `s` of t/**"]);
        assert_eq!(asked(&Frame::MeshShow(MeshShow { request: 1 })), ["observe the mesh"]);
        let topics = |topic| {
            let (origin, epoch, producer) = Default::default();
            let page = frame::TopicPage { search: "t/a", ..frame::TopicPage::default() };
            let what = frame::SeeWhat::Topics;
            Frame::Ask(frame::Ask { request: 1, what, wait_ms: 0, topic, origin, epoch, producer, sequence: 0, page })
        };
        assert_eq!(asked(&topics("")), ["observe the mesh"], "who publishes what");
        assert_eq!(asked(&topics("t/*")), ["observe topic `t/*`"]);
        let drain = frame::Drain { request: 1, action: DrainAction::Ask, within_ms: 0 };
        assert_eq!(asked(&Frame::Drain(drain)), ["administer the mesh"]);
        let govern = |request: &Request| {
            let body = request.encode().expect("it fits");
            let frame = Frame::Govern(frame::Govern { request: 1, body: &body });
            (asked(&frame), questions(&frame, &|_| Arc::default()).one_of)
        };
        let explain = |who| {
            Request::Explain(Explain {
                who,
                action: Action::Publish,
                resource: Named::Mesh,
                lane: None,
                at: At::default(),
            })
        };
        assert_eq!(govern(&Request::Whoami).0, [""; 0]);
        assert_eq!(govern(&explain(None)).0, [""; 0]);
        let others = (vec!["observe the mesh".to_owned(), "administer the mesh".to_owned()], true);
        assert_eq!(govern(&explain(Some(Who::Identity("ann".to_owned())))), others);
        let live = |subscription, topic| {
            let (count, timeout_ms, hubs) = (0, 0, Vec::new());
            let subscription = SubscriptionId(subscription);
            Frame::LiveAsk(frame::LiveAsk {
                request: 1,
                subscription,
                topic,
                scope: LiveScope::All,
                count,
                timeout_ms,
                hubs,
            })
        };
        assert_eq!(asked(&live(0, "t/a")), ["observe topic `t/a`"]);
        assert_eq!(asked(&live(7, "")), [""; 0]);
        let consumer = ConsumerSpec { name: "c", filters: vec!["t/a"], ..common_spec() };
        let create = |spec| Frame::ConsumerCreate(frame::ConsumerCreate { request: 1, stream: "s", spec });
        assert_eq!(asked(&create(consumer.clone())), ["consume stream `s` of t/**", "subscribe topic `t/a`"]);
        let dead = ConsumerSpec { dead_letters: true, dead_stream: "d", ..consumer };
        assert_eq!(asked(&create(dead))[2], "administer stream `d` of ");
    }

    fn common_spec() -> ConsumerSpec<'static> {
        ConsumerSpec {
            name: "",
            filters: Vec::new(),
            predicate: "",
            start: frame::Start::First,
            mode: frame::ConsumerMode::Shared,
            ack_wait_ms: 0,
            max_deliver: 0,
            backoff_ms: Vec::new(),
            max_in_flight: 0,
            replay: frame::Replay::Full,
            dead_letters: false,
            dead_stream: "",
            inactive_ms: 0,
        }
    }
}
