//! Which frames of clients are acts that the audit log has: those that make, alter
//! or delete something, or have the hub do something. Publishing, reading and looking
//! are none; what of it is refused is noted where it is refused. Pure.

use weft_govern::api::Request;
use weft_wire::frame::{ConsumerAction, DrainAction, Frame};

/// What a frame wants done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Act {
    /// The action, as policies have it.
    pub(crate) action: &'static str,
    /// To what.
    pub(crate) resource: String,
    /// In words.
    pub(crate) detail: String,
}

/// Filters of a stream that are named.
const FILTERS: usize = 8;

/// The act that a frame is, if it is one.
pub(crate) fn act_of(decoded: &Frame<'_>) -> Option<Act> {
    let of = |resource: String, detail: String| Some(Act { action: "administer", resource, detail });
    let stream = |name: &str| format!("stream `{name}`");
    let mesh = || "the mesh".to_owned();
    match decoded {
        Frame::StreamCreate(create) => {
            let filters: Vec<&str> = create.spec.filters.iter().take(FILTERS).copied().collect();
            of(stream(create.spec.name), format!("make the stream, of {}", filters.join(" ")))
        }
        Frame::StreamAlter(alter) => of(stream(alter.spec.name), "alter the stream".to_owned()),
        Frame::StreamDelete(delete) => of(stream(delete.name), "delete the stream".to_owned()),
        Frame::ConsumerCreate(create) => Some(Act {
            action: "consume",
            resource: stream(create.stream),
            detail: format!("make the consumer `{}`", create.spec.name),
        }),
        Frame::ConsumerDelete(delete) => of(stream(delete.stream), format!("delete the consumer `{}`", delete.name)),
        Frame::ConsumerControl(control) => {
            let does = match control.action {
                ConsumerAction::Pause => "pause",
                ConsumerAction::Resume => "resume",
                ConsumerAction::Reset => "reset",
                ConsumerAction::Move => "move",
            };
            of(stream(control.stream), format!("{does} the consumer `{}`", control.name))
        }
        Frame::Profile(_) => of(mesh(), "take a profile of the hub".to_owned()),
        Frame::Drain(drain) => match drain.action {
            DrainAction::Ask => None,
            DrainAction::Begin => of(mesh(), "drain the hub".to_owned()),
            DrainAction::Cancel => of(mesh(), "drain the hub no more".to_owned()),
        },
        Frame::Change(change) => {
            let (what, peer, trial, step) = (&change.what, change.peer, change.trial, change.step);
            of(mesh(), format!("change the hub: {what:?} {peer} (trial {trial:x}, step {step})"))
        }
        Frame::Trial(trial) => {
            of(mesh(), format!("{:?} of the trial {:x}, step {}", trial.act, trial.trial, trial.step))
        }
        Frame::Govern(asked) => match Request::decode(asked.body) {
            Ok(Request::Apply(apply)) if !apply.dry_run => of(mesh(), format!("ask for the change {}", apply.id)),
            Ok(Request::Voters(voters)) => of(mesh(), format!("have others vote: {}", voters.voters.join(" "))),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use weft_govern::ChangeId;
    use weft_govern::api::{Apply, Show};
    use weft_wire::frame::{self, StreamSpec};

    use super::*;

    #[test]
    fn what_changes_something_is_an_act_and_what_looks_is_none() {
        let spec = StreamSpec { name: "orders", filters: vec!["orders/**"], ..StreamSpec::default() };
        let create = act_of(&Frame::StreamCreate(frame::StreamCreate { request: 1, spec })).expect("an act");
        assert_eq!((create.action, create.resource.as_str()), ("administer", "stream `orders`"));
        assert_eq!(create.detail, "make the stream, of orders/**");
        let info = Frame::StreamInfo(frame::StreamInfo { request: 1, name: "orders" });
        assert_eq!(act_of(&info), None);
        let govern = |request: &Request| {
            let body = request.encode().expect("it fits");
            act_of(&Frame::Govern(frame::Govern { request: 1, body: &body }))
        };
        let apply = |dry_run| {
            let (puts, deletes, prune, expects) = (Vec::new(), Vec::new(), None, Vec::new());
            Request::Apply(Apply { id: ChangeId(7), puts, deletes, prune, expects, dry_run })
        };
        assert!(govern(&apply(false)).is_some_and(|act| act.detail.contains("ask for the change")));
        assert_eq!(govern(&apply(true)), None);
        assert_eq!(govern(&Request::Show(Show::default())), None);
        let drain = |action| act_of(&Frame::Drain(frame::Drain { request: 1, action, within_ms: 0 }));
        assert_eq!(drain(DrainAction::Ask), None);
        assert!(drain(DrainAction::Begin).is_some());
    }
}
