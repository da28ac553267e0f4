//! The numbers under which refusals are known on the wire and in documents.

use std::fmt;

/// Why something was refused or ended, as it is sent in `Error`, `Goodbye` and
/// `FlowAck` frames. A number keeps its meaning for ever; numbers unknown to
/// the reader are kept as they are and shown as numbers.
///
/// Ranges: 1 to 255 are decisions of a hub or a client; from 256 on, refused
/// blocks ([`BlockError::code`](crate::block::BlockError::code)); from 512 on,
/// refused frames ([`FrameError::code`](crate::frame::FrameError::code)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrorCode(pub u16);

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $text:literal, $remedy:literal;)+) => {
        impl ErrorCode {
            $($(#[doc = $doc])+ pub const $name: ErrorCode = ErrorCode($number);)+

            /// Every named code, in order of number.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name),+];

            /// The code's name, as shown to people; `None` for a number that
            /// this version does not know.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some($text),)+
                    257..=511 => Some("bad_block"),
                    513..=767 => Some("bad_frame"),
                    _ => None,
                }
            }

            /// What it means and what to do about it, in one sentence.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self.0 {
                    $($number => $remedy,)+
                    257..=511 => ErrorCode::BAD_BLOCK.remedy(),
                    513..=767 => ErrorCode::BAD_FRAME.remedy(),
                    _ => "a code that this version does not know: see the documents of the version at the other end",
                }
            }
        }
    };
}

codes! {
    /// Nothing is wrong.
    NONE = 0, "none", "nothing is wrong";
    /// No version of the protocol is spoken by both sides.
    VERSION = 1, "version", "no version of the protocol is spoken by both sides: upgrade the older one";
    /// The other end is not who it has to be.
    IDENTITY = 2, "identity", "the other end is not who it has to be: check address, certificate, name and token";
    /// The caller may not do this.
    FORBIDDEN = 3, "forbidden", "the caller may not do this: ask whoever administers the hub";
    /// A frame that has no place at this point of the conversation.
    UNEXPECTED = 4, "unexpected", "the frame has no place at this point of the conversation: a mistake of the sender";
    /// A topic that breaks the grammar of topics.
    BAD_TOPIC = 5, "bad_topic", "the topic breaks the grammar: levels separated by `/`, none empty, no wildcard";
    /// A filter that breaks the grammar of filters.
    BAD_FILTER = 6, "bad_filter", "the filter breaks the grammar: levels separated by `/`, `*` for one, `**` for any number";
    /// A name (of a hub, stream or group) that is empty, too long or malformed.
    BAD_NAME = 7, "bad_name", "the name is empty, too long or malformed: choose another";
    /// The hub does not do this (in this version, or as it is configured).
    UNSUPPORTED = 8, "unsupported", "the hub does not do this: see its version and configuration";
    /// A configured limit of the hub is reached.
    LIMIT = 9, "limit", "a limit of the hub is reached: use less, or raise the limit that the detail names";
    /// The id or name is in use.
    IN_USE = 10, "in_use", "the id or name is in use: choose another";
    /// No subscription of this session has this id.
    NO_SUBSCRIPTION = 11, "no_subscription", "there is no such subscription in this session: subscribe first";
    /// Larger than this hub takes.
    TOO_LARGE = 12, "too_large", "it is larger than this hub takes: send smaller blocks";
    /// Some of the block's events were published before, in another block.
    OVERLAP = 13, "overlap", "some events were published before, in another block: send blocks again as they were";
    /// The block's deadline had passed.
    EXPIRED = 14, "expired", "the block's deadline had passed: publish earlier, or set a later deadline";
    /// More was sent than the window in `Welcome` allows.
    WINDOW = 15, "window", "more was sent than the window allows: wait for acknowledgements";
    /// The hub has no room now.
    OVERLOADED = 16, "overloaded", "the hub has no room now: try again after the time it names";
    /// The subscriber took too long, and asked to be disconnected for it.
    TOO_SLOW = 17, "too_slow", "the subscriber fell too far behind: take events faster, or ask for dropping instead";
    /// There is no stream of this name, or none that takes the topic.
    NO_STREAM = 18, "no_stream", "there is no such stream, or none that takes the topic: create it first";
    /// There is already a stream of this name that is defined otherwise.
    STREAM_EXISTS = 19, "stream_exists", "a stream of this name is defined otherwise: delete it, or choose another name";
    /// The sequence asked for is no longer, or not yet, in the stream.
    OUT_OF_RANGE = 20, "out_of_range", "the sequence is not in the stream: ask for the first or the newest";
    /// The stream's disk is full.
    DISK_FULL = 21, "disk_full", "the disk is full: reading goes on, and writing once there is space";
    /// The stream's disk answered with an error.
    STORAGE = 22, "storage", "the disk answered with an error: see the hub's log, and check the disk";
    /// A block in the stream is damaged and is not served.
    DAMAGED = 23, "damaged", "a block in the stream is damaged and is left out: restore it from another copy";
    /// The hub that would have to answer cannot be reached now.
    UNREACHABLE = 24, "unreachable", "the hub that must answer cannot be reached now: try again later";
    /// No answer came in time; whether it was done is not known.
    TIMED_OUT = 25, "timed_out", "no answer came in time, it may or may not be done: ask, or send it again";
    /// Nothing was heard from the other end for too long.
    SILENT = 26, "silent", "nothing was heard from the other end for too long: check the network, then connect again";
    /// The hub is stopping.
    SHUTDOWN = 27, "shutdown", "the hub is stopping: connect to another, or again in a moment";
    /// The other end goes away in good order.
    LEAVING = 28, "leaving", "the other end goes away in good order: nothing to do";
    /// A mistake in the hub.
    INTERNAL = 29, "internal", "a mistake in the hub: see its log, and please report it";
    /// Nobody is there to answer a request.
    NO_RESPONDERS = 30, "no_responders", "nobody is subscribed who could answer: start a responder, or check the topic";
    /// Credit beyond what can be counted, or taken back.
    BAD_CREDIT = 31, "bad_credit", "credit was granted beyond what can be counted, or taken back: a mistake of the sender";
    /// More was sent than the credit allows.
    NO_CREDIT = 32, "no_credit", "more was sent than the credit allows: wait for credit";
    /// The stream's end, or the last value of the key, is not what the publisher expected.
    WRONG_LAST = 40, "wrong_last", "the last sequence is not the one expected: look at what the detail names, and decide anew";
    /// The stream keeps no last values by key, so nothing can be expected of one.
    NO_LAST_VALUES = 41, "no_last_values", "the stream keeps no such last values: make or alter it to keep them";
    /// An atomic batch that is incomplete, inconsistent, too large or too late.
    BAD_BATCH = 42, "bad_batch", "the atomic batch is not whole and sound: publish all of it again, as a new batch";
    /// A tenant's quota of stored bytes is used up.
    QUOTA = 43, "quota", "the tenant's quota of stored bytes is used up: delete streams or events, or raise the quota";
    /// A condition, a delay or a batch header that cannot be what it says.
    BAD_CONDITION = 44, "bad_condition", "a weft- header of the first event is missing or malformed: see the detail";
    /// The schedule of delayed events is full, or the delay is too long.
    BAD_DELAY = 45, "bad_delay", "the event cannot be delayed so: choose a nearer time, or a stream that captures the topic";
    /// The stream has fewer homes than were asked for.
    TOO_FEW_HOMES = 46, "too_few_homes", "the stream has fewer homes than that: ask for fewer, or give it more homes";
    /// Part of a stream's definition that cannot be changed.
    FIXED = 47, "fixed", "this part of a stream's definition cannot be changed: make another stream";
    /// The stream has no consumer of this name.
    NO_CONSUMER = 48, "no_consumer", "the stream has no such consumer: create it first";
    /// There is already a consumer of this name that is defined otherwise.
    CONSUMER_EXISTS = 49, "consumer_exists", "a consumer of this name is defined otherwise: delete it, or choose another name";
    /// An event that this member does not hold: never handed out to it, handed
    /// out to another since, or settled before.
    UNKNOWN_DELIVERY = 50, "unknown_delivery", "the member does not hold these events: they were settled, or handed out to another since";
    /// The member's token is no longer the newest.
    FENCED = 51, "fenced", "another member is active since: stop what was begun with this token";
    /// A predicate that does not compile.
    BAD_PREDICATE = 52, "bad_predicate", "the predicate does not compile: mend it where the detail says";
    /// A definition of a consumer out of its bounds.
    BAD_CONSUMER = 53, "bad_consumer", "the consumer's definition is out of its bounds: change what the detail names";
    /// The consumer or its stream was deleted.
    CONSUMER_GONE = 54, "consumer_gone", "the consumer or its stream was deleted: create it again, or stop";
    /// A consumer was to be moved to a hub that is no home of its stream.
    NOT_A_HOME = 55, "not_a_home", "the hub is no home of the stream: name one that is, or make it one";
    /// What was asked for is at another home by now.
    MOVED = 58, "moved", "it is served by another home since: open it again";
    /// The spool of the publisher's hub has no room.
    SPOOL_FULL = 59, "spool_full", "the hub keeps no more for homes that cannot be reached: try again later, or raise limits.spool_bytes";
    /// A home of a stream has lost what entered there, and gets it back from the others.
    BEHIND_ITSELF = 64, "behind_itself", "this home has lost events that other homes have: publish again once it has them back";
    /// Pings, or answers to none, without end.
    LINK_FLOOD = 72, "link_flood", "the other hub sends probes of the link without end: mend or upgrade it";
    /// Packed blocks that cannot be unpacked, or were not agreed on.
    BAD_PACKED = 73, "bad_packed", "packed blocks of the link are unsound, or packing was not agreed on: mend or upgrade the other hub";
    /// A connection that says it is one of several of a link, and is not.
    BAD_CONNECTION = 74, "bad_connection", "the connection does not belong to the link that it names: mend or upgrade the other hub";
    /// More receipts are waited for than the hub takes.
    RECEIPTS = 75, "receipts", "the hub waits for as many receipts as it may: ask again later, or raise limits.receipts";
    /// All sessions of one name have as many subscriptions as they may.
    INTEREST = 77, "interest", "sessions of this name have as many subscriptions as they may: use fewer or wider filters, or raise limits.subscriptions_per_name";
    /// Subscriptions come and go faster than the hub lets them.
    CHURN = 78, "churn", "subscriptions come and go too fast: keep them, or raise limits.interest_changes";
    /// Events would have to be at a hub that does not carry their label.
    RESIDENCY = 80, "residency", "the events may be only at hubs with their label: publish, store or read them at those that the detail names";
    /// What a hub says it sent over a link went back, or answers nothing.
    BAD_COUNT = 84, "bad_count", "the other hub's counts of what crossed the link make no sense: mend or upgrade it";
    /// A hub of another mesh.
    OTHER_MESH = 87, "other_mesh", "the hubs are of different meshes: link them only after giving both the same `mesh`";
    /// A setting that all hubs of a mesh must share differs.
    DISAGREE = 88, "disagree", "a setting that all hubs of a mesh must share differs: set what the detail names alike at both";
    /// A hub whose data folder, or a copy of it, runs twice.
    CLONED = 89, "cloned", "two hubs run on copies of one data folder: stop one of them";
    /// A hub whose data folder is one of an earlier time.
    ROLLED_BACK = 90, "rolled_back", "the hub's data folder was set back: restore it, or start it once with `weft hub --new-instance`";
    /// A hub whose data folder is known under another name.
    RENAMED = 91, "renamed", "the data folder is another hub's: give it its name back, or start it once with `weft hub --new-instance`";
    /// Another hub of this name is in the mesh.
    NAME_TAKEN = 92, "name_taken", "another hub of this name is in the mesh: rename one of them";
    /// The hub drains: it takes no new clients.
    DRAINING = 93, "draining", "the hub is about to stop and takes no new clients: connect to another";
    /// Who asks is not among the hub's administrators.
    NOT_ADMIN = 94, "not_admin", "only administrators may do this: name the client's certificate in `admins` of the hub's configuration";
    /// A link of a version that the hub is told to speak no more.
    TOO_OLD = 95, "too_old", "the other end speaks an older version than is allowed: upgrade it, or lower `least` in [protocol]";
    /// A token to join with that the hub does not have, or whose secret is another.
    BAD_TOKEN = 98, "bad_token", "the token is not one of this hub's, or was revoked: have another made with `weft token create`";
    /// A token to join with was used before.
    TOKEN_USED = 99, "token_used", "the token was used before, it is good for one hub: have another made with `weft token create`";
    /// A token to join with is past its time.
    TOKEN_EXPIRED = 100, "token_expired", "the token's time is over: have another made with `weft token create`";
    /// A token to join with, or the certificate to be renewed, is for another name.
    TOKEN_NAME = 101, "token_name", "the token is for a hub of another name: use that name, or have another token made";
    /// A request for a certificate that is not one.
    BAD_REQUEST = 102, "bad_request", "the request for a certificate is malformed: ask with `weft join` of the same version";
    /// No rule of the hub's mapping can be applied to the topic.
    UNMAPPABLE = 103, "unmappable", "the hub's mapping makes no valid topic of this one: see the detail, change the topic or the rule";
    /// A rule of the hub's mapping drops what it was asked to store.
    MAPPED_AWAY = 104, "mapped_away", "the hub's mapping drops this share of the topic on purpose: change the rule, or ask for no more than `routed`";
    /// Two hubs between which an operator took the link away.
    UNLINKED = 108, "unlinked", "an operator took the link between these hubs away: `weft hub --changes` lists what was changed, --drop-changes drops it";
    /// A trial that is not there, or another that is.
    TRIAL = 109, "trial", "the changes are not on trial at this hub, or others are: see the detail, and apply the plan again";
    /// A change that a hub cannot make.
    BAD_CHANGE = 110, "bad_change", "the hub cannot change so: mend what the detail names";
    /// A link that the other hub picked, at a hub that has enough of those.
    LINK_FULL = 111, "link_full", "the hub has as many links as others may pick: nothing to do, another is picked; or raise limits.picked_links there";
    /// What a client shows to log in is not good.
    BAD_LOGIN = 112, "bad_login", "what was shown to log in is not good here: check the token, name and password, or certificate";
    /// Too many logins have failed.
    LOGIN_LIMITED = 113, "login_limited", "too many logins from there, or by that name, have failed: try again later";
    /// What a client has logged in with is over, or was changed.
    LOGIN_EXPIRED = 114, "login_expired", "what was shown to log in is over or was changed: log in again, with a new token or certificate";
    /// It cannot be told now whether a login is good.
    LOGIN_UNAVAILABLE = 115, "login_unavailable", "logins cannot be checked just now: try again later; the hub's log has the reason";
    /// A rule forbids it, or none allows it.
    DENIED = 116, "denied", "no rule allows it, or one forbids it: ask whoever writes the policies, or see `weft policy explain`";
    /// More than the quota of the tenant or of the identity.
    OVER_QUOTA = 117, "over_quota", "the tenant or the identity uses all that it may: use less, wait, or have the quota raised";
    /// The lane has more to do than it can; others may have room.
    LANE_FULL = 118, "lane_full", "the lane has more to do than it can: try again after the time it names, or use a more urgent lane";
    /// Something that a change of the control state stands on has changed meanwhile.
    CONTROL_CONFLICT = 120, "control_conflict", "what the change stands on was changed meanwhile: look at what the detail names, and apply again";
    /// No voter leads the control state, or it cannot be reached.
    NO_LEADER = 121, "no_leader", "no hub leads the control state now, or it is out of reach: nothing was changed, try again later";
    /// A document of the control state that cannot be.
    BAD_DOCUMENT = 122, "bad_document", "a document cannot be as it is: mend what the detail names, and apply again";
    /// A change of the control state that would keep its author from changing it again.
    LOCKED_OUT = 123, "locked_out", "with the change its author could not change anything any more: keep a policy that allows it, or let an administrator of the hub apply it";
    /// The control state has as much as it may have.
    CONTROL_FULL = 124, "control_full", "the control state is full: delete what is not needed, or raise the limit that the detail names";
    /// A payload that is not of the schema of its topic.
    UNFIT = 125, "unfit", "a payload is not of the schema that holds for its topic: the detail says where and by which version; publish what is, or have the schema changed";
    /// A payload that could not be put in quarantine.
    UNKEPT = 126, "not_quarantined", "a payload is not of its schema, and could not be put in quarantine: see the detail, and publish again later";
    /// Bytes that are not a block; 257 to 511 name the rule that was broken.
    BAD_BLOCK = 256, "bad_block", "the bytes are not a block: the sender writes it wrongly, or it was damaged on its way";
    /// Bytes that are not a frame; 513 to 767 name the rule that was broken.
    BAD_FRAME = 512, "bad_frame", "the bytes are not a frame: the sender speaks another protocol, or writes it wrongly";
}

impl ErrorCode {
    /// As it is told to a client that speaks this version of the protocol: one of
    /// version 1 knows a full lane as a hub that has no room.
    #[must_use]
    pub const fn told_to(self, version: u16) -> Self {
        match self {
            Self::LANE_FULL if version < 2 => Self::OVERLOADED,
            code => code,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_in_order_and_names_are_unique() {
        assert!(ErrorCode::ALL.is_sorted_by(|a, b| a < b));
        let mut names: Vec<_> = ErrorCode::ALL.iter().map(|code| code.name()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), ErrorCode::ALL.len());
    }

    #[test]
    fn who_speaks_an_older_version_is_told_what_it_knows() {
        assert_eq!(ErrorCode::LANE_FULL.told_to(1), ErrorCode::OVERLOADED);
        assert_eq!(ErrorCode::LANE_FULL.told_to(2), ErrorCode::LANE_FULL);
        assert!(ErrorCode::ALL.iter().all(|code| code.told_to(2) == *code));
    }

    #[test]
    fn unknown_numbers_are_shown_as_numbers() {
        assert_eq!(ErrorCode(65_000).to_string(), "65000");
        assert_eq!(ErrorCode(0x105).to_string(), "bad_block");
    }
}
