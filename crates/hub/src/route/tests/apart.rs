//! The hub in the middle of a line of three, and blocks that name their way.

use weft_wire::frame::{PathCopy, detour_head};

use super::*;

/// A block of one event that entered the mesh at this hub.
fn block_of(origin: HubId) -> Vec<u8> {
    let mut block = vec![0; 256];
    let mut writer = BlockWriter::new(&mut block, &BlockFields::new("t")).expect("it fits");
    writer.push(&EventFields::default()).expect("it fits");
    let len = writer.finish().expect("an event");
    block.truncate(len);
    let stamp = Stamp { origin, epoch: Epoch(1), block: 1, sequence: 1, ingested: UnixNanos(1) };
    block::stamp(&mut block, &stamp).expect("it has none");
    block
}

struct Middle {
    stage: RouteStage,
    net: mpsc::Consumer<ToNet>,
    block: Vec<u8>,
}

impl Middle {
    fn new(origin: HubId) -> Self {
        let (stage, net) = stage(false);
        Self { stage, net, block: block_of(origin) }
    }

    /// The stage takes a frame of these bytes from the first hub.
    fn comes(&mut self, head: &[u8]) {
        let bytes = [head, &self.block].concat();
        let mut buffer = stage_buffer(bytes.len());
        buffer.extend(&bytes);
        self.stage.forward(SessionId(1), (FIRST, Mono(0)), buffer.split_to(bytes.len()));
    }

    /// A copy that names these hubs comes, with a ttl.
    fn along(&mut self, copy: PathCopy, ttl: u8, hubs: &[HubId]) {
        let entry = LiveSender::new(Epoch(1)).entry(hubs[hubs.len() - 1], 1);
        let mut head = Vec::new();
        detour_head((ttl, copy), hubs, &[entry], self.block.len(), &mut head).expect("a way");
        self.comes(&head);
    }

    /// The link and the bytes of the next frame that leaves.
    fn leaves(&mut self) -> Option<(u64, Vec<u8>)> {
        match self.net.pop()? {
            ToNet::Forward { link, forward } => Some((link.0, [forward.head.bytes(), &forward.block].concat())),
            _ => panic!("something else is sent"),
        }
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        get(&self.stage.counters.second_dropped[reason])
    }
}

#[test]
fn a_second_copy_is_passed_on_by_its_list_and_nothing_is_kept_of_it() {
    let mut middle = Middle::new(FIRST);
    middle.along(PathCopy::Second, 9, &[MIDDLE, LAST]);
    let (link, bytes) = middle.leaves().expect("it is passed on");
    let Ok(Frame::Detour(detour)) = Frame::decode(&bytes) else { panic!("not a detour") };
    assert_eq!((link, detour.ttl, detour.copy), (2, 8, PathCopy::Second));
    assert!(detour.hubs().eq([LAST]) && detour.entries().all(|entry| entry.hub == LAST));
    assert_eq!(detour.block, middle.block);
    assert_eq!(get(&middle.stage.counters.second_passed), 1);
    assert_eq!(middle.stage.counters.ledger(), weft_mesh::Ledger::default(), "it is none of the ledger's");

    // The first copy of the same block is not taken for one that came again.
    let mut head = Vec::new();
    let entry = LiveSender::new(Epoch(1)).entry(LAST, 1);
    frame::forward_head(&[entry], 9, middle.block.len(), &mut head).expect("one entry");
    middle.comes(&head);
    let (link, bytes) = middle.leaves().expect("it is passed on too");
    assert_eq!((link, frame::peek_kind(&bytes)), (2, Some(frame::Kind::Forward)));
    let ledger = middle.stage.counters.ledger();
    assert_eq!((ledger.received, ledger.copies), (1, 1));
}

#[test]
fn a_first_copy_that_names_its_way_is_one_of_the_ledger() {
    let mut middle = Middle::new(FIRST);
    middle.along(PathCopy::First, 9, &[MIDDLE, LAST]);
    assert_eq!(middle.leaves().map(|(link, _)| link), Some(2));
    let ledger = middle.stage.counters.ledger();
    assert_eq!((ledger.received, ledger.copies, ledger.in_flight), (1, 1, 1), "it waits for the link");
    middle.along(PathCopy::First, 9, &[MIDDLE, HubId(77), LAST]);
    let ledger = middle.stage.counters.ledger();
    assert_eq!((ledger.copies, ledger.dropped_for(DropReason::NoPath)), (2, 1));
}

#[test]
fn what_cannot_go_on_is_dropped_and_counted() {
    let mut middle = Middle::new(FIRST);
    for (hubs, ttl, reason) in [
        (&[MIDDLE, HubId(77), LAST][..], 9, DropReason::NoPath),
        (&[MIDDLE, LAST], 1, DropReason::Ttl),
        (&[MIDDLE, LAST, MIDDLE], 9, DropReason::Loop),
        (&[MIDDLE, FIRST], 9, DropReason::Loop),
    ] {
        middle.along(PathCopy::Second, ttl, hubs);
        assert_eq!(middle.dropped(reason), 1 + u64::from(hubs.len() == 2 && reason == DropReason::Loop), "{hubs:?}");
        assert!(middle.leaves().is_none());
    }
    // Its own block.
    let mut own = Middle::new(MIDDLE);
    own.along(PathCopy::Second, 9, &[MIDDLE, LAST]);
    assert_eq!((own.dropped(DropReason::Loop), own.leaves()), (1, None));
}

#[test]
fn a_list_that_begins_elsewhere_ends_the_link() {
    let mut middle = Middle::new(FIRST);
    middle.along(PathCopy::Second, 9, &[LAST]);
    let Some(ToNet::Close { session, code, detail }) = middle.net.pop() else { panic!("the link is to end") };
    assert_eq!((session, code), (SessionId(1), ErrorCode::BAD_FRAME));
    assert!(detail.contains("another hub than this one"), "{detail}");
}

#[test]
fn what_came_before_earlier_events_waits_for_the_other_path_and_not_for_ever() {
    let mut middle = Middle::new(FIRST);
    let mut flow = LiveSender::new(Epoch(1));
    let lost = flow.entry(MIDDLE, 1);
    let entry = flow.entry(MIDDLE, 1);
    let mut head = Vec::new();
    detour_head((9, PathCopy::Second), &[MIDDLE], &[entry], middle.block.len(), &mut head).expect("a way");
    middle.comes(&head);
    let counters = middle.stage.counters.clone();
    let look = || {
        [&counters.second_waited, &counters.arrived, &counters.missed, &counters.second_first]
            .map(|counter| get(counter))
    };
    assert_eq!((lost.sequence, entry.sequence, look()), (0, 1, [1, 0, 0, 0]));
    let patience = middle.stage.apart.next_deadline().expect("it does not wait for ever");
    middle.stage.do_work(Now { mono: Mono(patience.0 - 1), ..Now::default() });
    assert_eq!(look(), [1, 0, 0, 0]);
    middle.stage.do_work(Now { mono: patience, ..Now::default() });
    assert_eq!(look(), [1, 1, 1, 1]);
    assert_eq!(middle.stage.apart.next_deadline(), None);

    middle.comes(&head);
    assert_eq!((middle.dropped(DropReason::DuplicatePath), look()), (1, [1, 1, 1, 1]), "it was here before");
    frame::forward_head(&[entry], 9, middle.block.len(), &mut head).expect("one entry");
    middle.comes(&head);
    assert_eq!((middle.dropped(DropReason::DuplicatePath), look()), (2, [1, 1, 1, 1]), "and so was the first copy");
}
