//! A hub with damage among homes that have parts of what it lost: whatever they
//! answer, exactly what is missing is filled in, and in the end it is.

use proptest::prelude::*;
use weft_base::UnixNanos;

use super::*;

const AT: Segment = Segment { stream: 7, number: 3 };
const SETTINGS: Settings = Settings {
    most: 1 << 20,
    pause: Duration::from_secs(1),
    backoff: Duration::from_secs(60),
    timeout: Duration::from_secs(3),
};

fn now(ms: u64) -> Now {
    Now { mono: Mono(ms * 1_000_000), wall: UnixNanos(0) }
}

fn hub(n: u64) -> HubId {
    HubId(n)
}

/// Blocks in the order of a log; each says who it is.
fn blocks(lengths: &[(u32, u32, usize)]) -> Vec<Piece> {
    let mut next: BTreeMap<u32, u64> = BTreeMap::new();
    let mut piece = |(n, (home, span, len)): (usize, &(u32, u32, usize))| {
        let sequence = next.entry(*home).or_insert(5);
        let first = *sequence;
        *sequence += u64::from(*span);
        Piece { home: *home, sequence: first, span: *span, bytes: vec![n as u8; *len] }
    };
    lengths.iter().enumerate().map(&mut piece).collect()
}

/// What is missing when these are.
fn missing(blocks: &[Piece]) -> Missing {
    let mut held: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    for piece in blocks {
        let end = piece.sequence + u64::from(piece.span);
        let place = held.entry(piece.home).or_insert((piece.sequence, end));
        place.1 = end;
    }
    Missing {
        events: blocks.iter().map(|piece| u64::from(piece.span)).sum(),
        bytes: blocks.iter().map(|piece| piece.bytes.len() as u64).sum(),
        held: held.into_iter().map(|(home, (low, high))| (home, low, high)).collect(),
    }
}

/// A home's answer: of what it has up to so many blocks.
fn answer(has: &[Piece], from: &Position, upto: &Position, most: usize) -> Answer {
    let wanted = |piece: &&Piece| {
        let end = piece.sequence + u64::from(piece.span);
        piece.sequence >= from.get(piece.home) && end <= upto.get(piece.home)
    };
    let pieces: Vec<Piece> = has.iter().filter(wanted).take(most).cloned().collect();
    let done = has.iter().filter(wanted).count() <= most;
    let mut through = if done { upto.clone() } else { from.clone() };
    for piece in &pieces {
        through.raise(piece.home, piece.sequence + u64::from(piece.span));
    }
    Answer { done, through, pieces }
}

struct World {
    healer: Healer,
    ms: u64,
    commands: Vec<Command>,
}

impl World {
    fn new(sources: u64) -> Self {
        let mut world = Self { healer: Healer::new(SETTINGS, 0), ms: 0, commands: Vec::new() };
        world.tell(Event::Sources { stream: AT.stream, hubs: (1..=sources).map(hub).collect() });
        world
    }

    fn tell(&mut self, event: Event) {
        self.healer.apply(event, now(self.ms), &mut self.commands);
        assert!(self.commands.len() <= 1, "one thing at a time: {:?}", self.commands);
    }

    fn command(&mut self) -> Option<Command> {
        self.commands.pop()
    }

    /// Time passes until something is to be done.
    fn wait(&mut self) -> Option<Command> {
        if self.commands.is_empty() {
            self.ms = self.healer.next_deadline()?.0.div_ceil(1_000_000).max(self.ms);
            self.tell(Event::Tick);
        }
        self.command()
    }
}

#[test]
fn what_one_home_has_in_part_is_asked_of_the_next_and_filled_whole() {
    let all = blocks(&[(1, 2, 30), (2, 1, 10), (1, 1, 20)]);
    let mut world = World::new(3);
    (1..=3).for_each(|n| world.tell(Event::HubUp { hub: hub(n) }));
    world.tell(Event::Suspect(AT));
    assert_eq!(world.command(), Some(Command::Look(AT)));
    assert!(world.healer.shown(AT.stream).contains("segment 3 is being repaired"));
    world.tell(Event::Looked { at: AT, looked: Looked::Missing(missing(&all)) });
    let mut asked = Vec::new();
    let filled = loop {
        match world.wait().expect("it goes on") {
            Command::Ask { to, request, from, upto, .. } => {
                asked.push(to.0);
                let has = match to.0 {
                    // The first says nothing, the second has damage there too.
                    1 => continue,
                    2 => &all[1..],
                    _ => &all[..],
                };
                world.tell(Event::Given { from: to, request, answer: Some(answer(has, &from, &upto, 2)) });
            }
            Command::Fill { at, blocks } => break (at, blocks),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(asked, [1, 2, 3, 3], "the third one in two parts");
    assert_eq!(filled, (AT, all.into_iter().map(|piece| piece.bytes).collect()));
    world.tell(Event::Filled { at: AT });
    assert_eq!((world.healer.counts.repaired, world.healer.counts.events), (1, 4));
    let before = world.ms;
    assert_eq!(world.wait(), Some(Command::Look(AT)), "there may be more of it");
    assert_eq!(world.ms - before, 1_000, "after a pause");
    world.tell(Event::Looked { at: AT, looked: Looked::Whole });
    assert_eq!((world.wait(), world.healer.shown(AT.stream)), (None, String::new()));
}

#[test]
fn of_two_ranges_that_one_home_filled_the_first_gets_what_comes_first() {
    // Between the two lies a block of another home, so both may have held all.
    let all = blocks(&[(1, 2, 30), (1, 1, 20)]);
    let mut first = missing(&all[..1]);
    first.held = missing(&all).held;
    let mut world = World::new(1);
    world.tell(Event::HubUp { hub: hub(1) });
    world.tell(Event::Suspect(AT));
    assert_eq!(world.command(), Some(Command::Look(AT)));
    world.tell(Event::Looked { at: AT, looked: Looked::Missing(first) });
    let Some(Command::Ask { request, from, upto, .. }) = world.command() else { panic!("nobody is asked") };
    world.tell(Event::Given { from: hub(1), request, answer: Some(answer(&all, &from, &upto, 9)) });
    assert_eq!(world.command(), Some(Command::Fill { at: AT, blocks: vec![all[0].bytes.clone()] }));
}

#[test]
fn what_cannot_be_repaired_is_tried_ever_more_rarely_and_at_once_when_a_home_comes_up() {
    let mut world = World::new(2);
    world.tell(Event::Suspect(AT));
    assert_eq!(world.wait(), None, "nobody can be asked");
    world.tell(Event::HubUp { hub: hub(1) });
    let (mut pauses, mut before) = (Vec::new(), 0);
    for _ in 0..10 {
        assert_eq!(world.wait(), Some(Command::Look(AT)));
        pauses.push(world.ms - before);
        before = world.ms;
        world.tell(Event::Looked { at: AT, looked: Looked::Not("it is still written to".to_owned()) });
    }
    assert!(pauses.is_sorted() && pauses.ends_with(&[60_000, 60_000]), "{pauses:?}");
    assert!(world.healer.shown(AT.stream).contains("it is still written to"));
    world.ms += 2_000;
    world.tell(Event::HubUp { hub: hub(2) });
    assert_eq!(world.command(), Some(Command::Look(AT)));
    let large = Missing { events: 1, bytes: SETTINGS.most + 1, held: vec![(1, 1, 2)] };
    world.tell(Event::Looked { at: AT, looked: Looked::Missing(large) });
    assert!(world.healer.shown(AT.stream).contains("storage.repair"), "{}", world.healer.shown(AT.stream));
    world.tell(Event::Gone { stream: AT.stream });
    assert_eq!(world.wait(), None);
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut world = World::new(1);
    for number in 0..5_000 {
        world.tell(Event::Suspect(Segment { number, ..AT }));
    }
    assert_eq!(world.healer.places.len(), MOST_PLACES);
}

fn lengths() -> impl Strategy<Value = Vec<(u32, u32, usize)>> {
    prop::collection::vec((1_u32..4, 1_u32..4, 1_usize..60), 1..8)
}

proptest! {
    /// Homes have parts, are silent, come and go, lie; in the end one answers.
    #[test]
    fn exactly_what_is_missing_is_filled_in_and_in_the_end_it_is(
        lengths in lengths(), steps in prop::collection::vec((0_u8..8, any::<u64>()), 0..60), whole in 1_u64..4
    ) {
        let all = blocks(&lengths);
        let right: Vec<Vec<u8>> = all.iter().map(|piece| piece.bytes.clone()).collect();
        let mut world = World::new(3);
        world.tell(Event::Suspect(AT));
        let mut steps = steps.into_iter();
        let mut looked_at = None;
        for round in 0..2_000 {
            let step = steps.next();
            if step.is_none() {
                (1..=3).for_each(|n| { if world.commands.is_empty() { world.tell(Event::HubUp { hub: hub(n) }) } });
            }
            match world.command() {
                Some(Command::Look(at)) => {
                    prop_assert!(looked_at.is_none_or(|before| world.ms >= before + 1_000), "pauses are kept");
                    looked_at = Some(world.ms);
                    world.tell(Event::Looked { at, looked: Looked::Missing(missing(&all)) });
                    continue;
                }
                Some(Command::Fill { at, blocks }) => {
                    // Between events of different homes there is no order.
                    let of_home = |blocks: &[Vec<u8>], home| -> Vec<Vec<u8>> {
                        blocks.iter().filter(|bytes| all[usize::from(bytes[0])].home == home).cloned().collect()
                    };
                    for home in 1..4 {
                        prop_assert_eq!(of_home(&blocks, home), of_home(&right, home));
                    }
                    world.tell(Event::Filled { at });
                    return Ok(());
                }
                Some(Command::Ask { to, request, from, upto, .. }) => {
                    let random = step.map_or(0, |step| step.1);
                    let truth = answer(&all, &from, &upto, 1 + (random % 3) as usize);
                    let reply = match step.map_or(9, |step| step.0) {
                        0 => None,
                        1 => Some(Some(answer(&all[1..], &from, &upto, 2))),
                        2 => Some(None),
                        3 => Some(Some(Answer { pieces: truth.pieces.iter().chain(&truth.pieces).cloned().collect(), ..truth })),
                        4 => {
                            let mut pieces = truth.pieces.clone();
                            pieces.iter_mut().for_each(|piece| piece.sequence = piece.sequence.wrapping_add(random));
                            Some(Some(Answer { pieces, ..truth }))
                        }
                        5 => {
                            let mut pieces = truth.pieces.clone();
                            pieces.iter_mut().for_each(|piece| piece.bytes.push(0));
                            Some(Some(Answer { pieces, ..truth }))
                        }
                        6 => Some(Some(Answer { done: false, through: from.clone(), pieces: Vec::new() })),
                        // One of them has all of it, the others a part.
                        _ if to == hub(whole) => Some(Some(truth)),
                        _ => Some(Some(answer(&all[1..], &from, &upto, 2))),
                    };
                    if let Some(answer) = reply {
                        world.tell(Event::Given { from: to, request, answer });
                        continue;
                    }
                }
                None => {}
            }
            match step {
                Some((0, n)) => world.tell(Event::HubDown { hub: hub(1 + n % 3) }),
                Some((1..4, n)) => world.tell(Event::HubUp { hub: hub(1 + n % 3) }),
                Some((4, n)) => world.tell(Event::Given { from: hub(1 + n % 3), request: n, answer: None }),
                Some((5, _)) => world.tell(Event::Filled { at: AT }),
                _ => {}
            }
            if world.commands.is_empty() {
                world.ms += 500;
                world.tell(Event::Tick);
            }
            prop_assert!(round < 1_999, "it never comes to an end: {:?}", world.healer);
        }
    }
}
