//! Messages and stored values against their rules, by property and by example.

use std::collections::{BTreeMap, BTreeSet};

use openraft::{CommittedLeaderId, EntryPayload};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use weft_base::sync::Arc;
use weft_base::{HubId, Mono};

use crate::codec::{read_all, written};
use crate::message::{Ask, Body, Hello, Letter, Part, Told};
use crate::options::{Options, OptionsError};
use crate::parcel::{Bounds, Parcels};
use crate::types::{
    AppendAnswer, AppendRequest, Entry, LogId, Member, Membership, Name, Proposal, SnapshotMeta, StoredMembership,
    Vote, VoteAnswer, VoteRequest,
};

const SENDER: Member = Member { hub: HubId(7), instance: 3 };

fn member() -> impl Strategy<Value = Member> {
    (0..9_u64, 1..9_u64).prop_map(|(hub, instance)| Member { hub: HubId(hub), instance })
}

fn log_id() -> impl Strategy<Value = LogId> {
    (0..9_u64, member(), 0..99_u64)
        .prop_map(|(term, member, index)| LogId::new(CommittedLeaderId::new(term, member), index))
}

fn vote() -> impl Strategy<Value = Vote> {
    (0..9_u64, member(), any::<bool>())
        .prop_map(|(term, member, done)| if done { Vote::new_committed(term, member) } else { Vote::new(term, member) })
}

fn membership() -> impl Strategy<Value = Membership> {
    let sets = vec(btree_set(member(), 1..4), 0..3);
    (sets, btree_set(member(), 0..4)).prop_map(|(sets, learners): (Vec<BTreeSet<Member>>, BTreeSet<Member>)| {
        let all = sets.iter().flatten().chain(&learners);
        let nodes: BTreeMap<Member, Name> = all.map(|member| (*member, Name(format!("h{}", member.hub)))).collect();
        Membership::new(sets, nodes)
    })
}

fn payload() -> impl Strategy<Value = EntryPayload<crate::types::Types>> {
    prop_oneof![
        Just(EntryPayload::Blank),
        vec(any::<u8>(), 0..50).prop_map(|bytes| EntryPayload::Normal(Proposal(Arc::from(bytes)))),
        membership().prop_map(EntryPayload::Membership),
    ]
}

fn append() -> impl Strategy<Value = AppendRequest> {
    (proptest::option::of(log_id()), proptest::option::of(log_id()), vec(payload(), 0..5)).prop_map(
        |(prev_log_id, leader_commit, payloads)| {
            let first = prev_log_id.map_or(0, |id| id.index + 1);
            let leader = prev_log_id.map_or(CommittedLeaderId::new(1, SENDER), |id| id.leader_id);
            let entries = payloads.into_iter().enumerate();
            let entries = entries.map(|(n, payload)| Entry { log_id: LogId::new(leader, first + n as u64), payload });
            AppendRequest {
                vote: Vote::new_committed(20, SENDER),
                prev_log_id,
                entries: entries.collect(),
                leader_commit,
            }
        },
    )
}

fn body() -> impl Strategy<Value = Body> {
    let answer = prop_oneof![
        Just(()).prop_map(|()| AppendAnswer::Success),
        Just(()).prop_map(|()| AppendAnswer::Conflict),
        proptest::option::of(log_id()).prop_map(AppendAnswer::PartialSuccess),
        vote().prop_map(AppendAnswer::HigherVote),
    ];
    let bytes = || vec(any::<u8>(), 1..50);
    let meta = (proptest::option::of(log_id()), proptest::option::of(log_id()), membership()).prop_map(
        |(last_log_id, at, membership)| SnapshotMeta {
            last_log_id,
            last_membership: StoredMembership::new(at, membership),
            snapshot_id: "1-2".to_owned(),
        },
    );
    let ask = prop_oneof![
        bytes().prop_map(|bytes| Ask::Propose(Arc::from(bytes))),
        Just(Ask::Read),
        vec(any::<u64>().prop_map(HubId), 0..4).prop_map(Ask::Voters),
    ];
    let told = prop_oneof![
        bytes().prop_map(Told::Done),
        any::<Option<u64>>().prop_map(Told::ReadAt),
        Just(Told::Voters),
        "[a-z]{0,9}".prop_map(Told::Refused),
        Just(Told::Unknown),
        Just(Told::Elsewhere),
    ];
    prop_oneof![
        (any::<u64>(), append()).prop_map(|(rpc, request)| Body::Append { rpc, request }),
        (any::<u64>(), answer).prop_map(|(rpc, answer)| Body::Appended { rpc, answer }),
        (any::<u64>(), proptest::option::of(log_id()))
            .prop_map(|(rpc, last)| Body::Vote { rpc, request: VoteRequest::new(Vote::new(4, SENDER), last) }),
        (any::<u64>(), vote(), proptest::option::of(log_id()), any::<bool>())
            .prop_map(|(rpc, vote, last, granted)| Body::Voted { rpc, answer: VoteAnswer::new(vote, last, granted) }),
        (any::<u64>(), meta, bytes()).prop_map(|(rpc, meta, data)| Body::Install {
            rpc,
            vote: Vote::new_committed(4, SENDER),
            meta,
            data: Arc::from(data)
        }),
        (any::<u64>(), vote()).prop_map(|(rpc, vote)| Body::Installed { rpc, vote }),
        (any::<u64>(), ask).prop_map(|(id, ask)| Body::Ask { id, ask }),
        (any::<u64>(), told).prop_map(|(id, told)| Body::Told { id, told }),
        (any::<u64>(), 0..9_u32, bytes()).prop_map(|(parcel, offset, bytes)| {
            Body::Part(Part { parcel, total: offset + bytes.len() as u32, offset, vote: None, bytes })
        }),
        (any::<u64>(), any::<u32>()).prop_map(|(parcel, upto)| Body::Got { parcel, upto }),
    ]
}

fn letter(body: Body) -> Vec<u8> {
    Letter { cluster: 5, from: SENDER.instance, to: 6, body }.encode()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_message_is_read_as_it_was_written_and_cut_short_it_is_refused(body in body()) {
        let bytes = letter(body);
        let again = Letter::decode(SENDER.hub, &bytes).map(|letter| letter.encode());
        prop_assert_eq!(again, Ok(bytes.clone()));
        for end in 0..bytes.len() {
            // A part carries whatever is there.
            if bytes[25] != 10 {
                prop_assert!(Letter::decode(SENDER.hub, &bytes[..end]).is_err(), "cut at {}", end);
            }
        }
    }

    #[test]
    fn whatever_comes_is_refused_or_read_one_way(mut bytes in body().prop_map(letter), at in any::<usize>(), byte in any::<u8>()) {
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = crate::check(SENDER.hub, &bytes);
    }

    #[test]
    fn long_messages_arrive_whole_over_a_line_that_loses_some(
        sizes in vec(1..900_usize, 1..4),
        losses in vec(any::<bool>(), 0..120),
    ) {
        let again = std::time::Duration::from_millis(10);
        let bounds = Bounds { part: 100, parcel: 1000, waiting: 4000, arriving: 2000, again };
        let (mut here, mut there) = (Parcels::new(bounds), Parcels::new(bounds));
        let to = Member { hub: HubId(1), instance: 1 };
        for (number, size) in sizes.iter().enumerate() {
            prop_assert!(here.send(number as u64, to, None, None, vec![number as u8; *size], Mono(u64::MAX)));
        }
        let (mut losses, mut arrived, mut now) = (losses.into_iter(), Vec::new(), Mono(0));
        let mut is_lost = || losses.next().unwrap_or(false);
        loop {
            let mut parts = Vec::new();
            let Some(next) = here.due(now, &mut parts) else { break };
            for (_, part) in parts {
                let number = part.parcel;
                prop_assert!(part.bytes.len() <= 100);
                if is_lost() {
                    continue;
                }
                let Some(state) = there.arrive(SENDER, part) else { continue };
                arrived.extend(state.whole);
                if !is_lost() {
                    here.acknowledged(to, number, state.upto);
                }
            }
            now = next.max(now);
        }
        let expected: Vec<Vec<u8>> = sizes.iter().enumerate().map(|(n, size)| vec![n as u8; *size]).collect();
        prop_assert_eq!(arrived, expected);
    }
}

#[test]
fn a_hub_speaks_for_itself_alone() {
    let refused = |bytes: Vec<u8>, from: u64| Letter::decode(HubId(from), &bytes).expect_err("refused").what;
    let name = "somebody";
    let hello = Hello { name: name.to_owned(), voters: 0, leader: None, answer: true };
    let bytes = letter(Body::Hello(hello));
    assert!(Letter::decode(HubId::of_name(name), &bytes).is_ok());
    assert_eq!(refused(bytes, 7), "a hub names itself by a name that is not its own");
    let request = VoteRequest::new(Vote::new(4, SENDER), None);
    let bytes = letter(Body::Vote { rpc: 1, request });
    assert_eq!(refused(bytes, 8), "a hub asks for votes that are not for itself");
    let request = AppendRequest { vote: Vote::new(4, SENDER), prev_log_id: None, entries: vec![], leader_commit: None };
    assert_eq!(refused(letter(Body::Append { rpc: 1, request }), 7), "a hub speaks as a leader that it is not");
}

#[test]
fn entries_that_leave_a_hole_are_refused() {
    let entry =
        |index| Entry { log_id: LogId::new(CommittedLeaderId::new(1, SENDER), index), payload: EntryPayload::Blank };
    let vote = Vote::new_committed(4, SENDER);
    let request = |entries| AppendRequest { vote, prev_log_id: None, entries, leader_commit: None };
    let refused =
        |entries| Letter::decode(SENDER.hub, &letter(Body::Append { rpc: 1, request: request(entries) })).is_err();
    assert!(!refused(vec![entry(0), entry(1)]));
    assert!(refused(vec![entry(1)]) && refused(vec![entry(0), entry(2)]) && refused(vec![entry(0), entry(0)]));
}

#[test]
fn a_list_that_claims_more_than_there_is_takes_no_memory() {
    let bytes = written(|out| {
        out.u8(1);
        out.u32(u32::MAX);
    });
    assert!(read_all(&bytes, |reader| reader.membership()).is_err());
}

#[test]
fn parcels_that_are_too_much_are_dropped_and_say_so() {
    let again = std::time::Duration::from_millis(10);
    let mut parcels = Parcels::new(Bounds { part: 10, parcel: 100, waiting: 150, arriving: 150, again });
    let to = Member { hub: HubId(1), instance: 1 };
    assert!(!parcels.send(1, to, None, None, vec![0; 101], Mono(9)), "too long");
    assert!(parcels.send(1, to, Some(4), None, vec![0; 100], Mono(9)));
    assert!(!parcels.send(2, to, None, None, vec![0; 60], Mono(9)), "too many");
    let part = |parcel| Part { parcel, total: 100, offset: 0, vote: None, bytes: vec![0; 10] };
    assert!(parcels.arrive(SENDER, part(1)).is_some());
    assert!(parcels.arrive(Member { hub: HubId(8), instance: 1 }, part(1)).is_none(), "too much comes in");
    parcels.keep(|_| false);
    assert_eq!(parcels.finished(), [(4, false)], "who waits for it is told");
    assert!(parcels.arrive(Member { hub: HubId(8), instance: 1 }, part(1)).is_some(), "there is room again");
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let with = |change: &dyn Fn(&mut Options)| {
        let mut options = Options::of("a", 1, &["a", "b"]);
        change(&mut options);
        options.check()
    };
    assert_eq!(with(&|_| {}), Ok(()));
    assert!(matches!(with(&|it| it.voters.push("a".into())), Err(OptionsError::Twice(_))));
    assert!(matches!(with(&|it| it.name.clear()), Err(OptionsError::Name(_))));
    assert!(matches!(with(&|it| it.heartbeat = it.election.0), Err(OptionsError::Times { .. })));
    assert!(matches!(with(&|it| it.limits.message.0 = 100), Err(OptionsError::Limit { name: "message", .. })));
    assert!(matches!(with(&|it| it.limits.snapshot.0 = 1 << 40), Err(OptionsError::Most { name: "snapshot", .. })));
    assert!(matches!(with(&|it| it.voters = (0..16).map(|n| n.to_string()).collect()), Err(OptionsError::Voters(16))));
}

#[test]
fn what_waits_for_a_life_that_is_over_does_not_hold_up_the_next() {
    let again = std::time::Duration::from_millis(500);
    let mut parcels = Parcels::new(Bounds { part: 10, parcel: 100, waiting: 150, arriving: 150, again });
    let (over, next) = (Member { hub: HubId(1), instance: 1 }, Member { hub: HubId(1), instance: 2 });
    assert!(parcels.send(1, over, None, None, vec![0; 20], Mono(u64::MAX)));
    assert!(parcels.send(2, next, None, None, vec![0; 20], Mono(u64::MAX)));
    let mut parts = Vec::new();
    parcels.due(Mono(1), &mut parts);
    assert!(parts.iter().any(|(to, part)| *to == next && part.parcel == 2), "{parts:?}");
}
