//! Load conditioning over simulated queues: bursts, overload, square waves.

use super::*;

const TENANT: TenantId = TenantId(7);
const MS: Duration = Duration::from_millis(1);

/// Queues of one tenant behind one server that serves the most urgent first.
struct Queues {
    load: LoadController,
    now: Mono,
    depths: [u64; Lane::COUNT],
    changes: Vec<LoadChange>,
}

impl Queues {
    fn new(options: LoadOptions) -> Self {
        Self {
            load: LoadController::new(options, Mono(0)),
            now: Mono(0),
            depths: [0; Lane::COUNT],
            changes: Vec::new(),
        }
    }

    /// One millisecond in which `arrive` units come per lane and `serve` units
    /// can be served. What is conditioned is cut to its allowance.
    fn step(&mut self, arrive: &[(Lane, u64)], serve: u64) {
        self.now = self.now + MS;
        for (lane, n) in arrive {
            self.depths[lane.index()] += n;
        }
        let mut room = serve;
        for lane in Lane::all() {
            let depth = &mut self.depths[lane.index()];
            let served = room.min(*depth);
            (*depth, room) = (*depth - served, room - served);
            let wait = super::super::wait_of(*depth, served, MS);
            self.load.observe(TENANT, lane, LoadSample { wait, depth: *depth, served });
        }
        self.load.decide(self.now, &mut self.changes);
        for lane in Lane::all() {
            if self.load.conditioning(TENANT, lane) != Conditioning::None {
                let depth = &mut self.depths[lane.index()];
                *depth = (*depth).min(self.load.allowance(TENANT, lane));
            }
        }
    }

    fn on(&self) -> Vec<u8> {
        let on = |lane: &Lane| self.load.conditioning(TENANT, *lane) != Conditioning::None;
        Lane::all().filter(on).map(Lane::get).collect()
    }
}

#[test]
fn a_burst_that_drains_within_an_interval_is_left_alone() {
    let mut queues = Queues::new(LoadOptions::default());
    for round in 0..50 {
        for ms in 0..100 {
            // 60 ms of work at once, every 100 ms: the queue is empty in between.
            let burst = if ms == 0 { 600 } else { 0 };
            queues.step(&[(Lane::DEFAULT, burst)], 10);
        }
        assert_eq!(queues.on(), [], "round {round}");
    }
}

#[test]
fn overload_conditions_the_least_urgent_lanes_first_and_no_more_than_needed() {
    let options = LoadOptions { policies: [Policy::ShedOldest; Lane::COUNT], ..LoadOptions::default() };
    let mut queues = Queues::new(options);
    let lanes = [(Lane::URGENT, 2), (Lane::DEFAULT, 4), (Lane::BULK, 40)];
    for _ in 0..2_000 {
        queues.step(&lanes, 10);
    }
    // The bulk alone is too much: the others have room and never wait.
    assert_eq!(queues.on(), [7]);
    assert_eq!(queues.changes.len(), 1, "{:?}", queues.changes);
    // Now the default lane alone is too much as well.
    for _ in 0..2_000 {
        queues.step(&[(Lane::URGENT, 2), (Lane::DEFAULT, 40), (Lane::BULK, 40)], 10);
    }
    assert_eq!(queues.on(), [4, 7]);
    assert!(queues.depths[4] <= 8 * 20 + 40, "{:?}", queues.depths);
    // The load is gone: the most urgent is released first.
    let before = queues.changes.len();
    for _ in 0..5_000 {
        queues.step(&[(Lane::URGENT, 2)], 10);
    }
    let released: Vec<u8> = queues.changes[before..].iter().map(|change| change.lane.get()).collect();
    assert_eq!((released, queues.on()), (vec![4, 7], vec![]));
}

/// The changes over 200 s of a square wave of load with this half period.
fn changes_under_a_square_wave(options: LoadOptions, half_period_ms: u64) -> usize {
    let mut queues = Queues::new(options);
    for ms in 0..200_000_u64 {
        let arrive = if (ms / half_period_ms).is_multiple_of(2) { 20 } else { 1 };
        queues.step(&[(Lane::BULK, arrive)], 10);
    }
    queues.changes.len()
}

#[test]
fn a_square_wave_of_load_changes_the_answer_a_bounded_number_of_times() {
    let options = LoadOptions { policies: [Policy::ShedNewest; Lane::COUNT], ..LoadOptions::default() };
    // Ten doublings at most, and then a release per minute.
    for half_period in [150, 700, 3_000, 20_000] {
        let changes = changes_under_a_square_wave(options.clone(), half_period);
        assert!(changes <= 2 * (10 + 3), "half period {half_period} ms: {changes} changes");
    }
}

#[test]
fn canary_without_hysteresis_the_square_wave_is_followed() {
    let options =
        LoadOptions { policies: [Policy::ShedNewest; Lane::COUNT], release_most: 1, ..LoadOptions::default() };
    assert!(changes_under_a_square_wave(options, 700) > 100);
}

#[test]
fn those_who_are_refused_are_told_when_there_will_be_room() {
    let policies = [Policy::Refuse; Lane::COUNT];
    let mut load = LoadController::new(LoadOptions { policies, ..LoadOptions::default() }, Mono(0));
    let mut changes = Vec::new();
    // 1,000 per second are served and 5,020 wait: 20 are the allowance of 20 ms.
    let sample = LoadSample { wait: Duration::from_secs(5), depth: 5_020, served: 100 };
    load.observe(TENANT, Lane::DEFAULT, sample);
    load.decide(Mono(0) + 100 * MS, &mut changes);
    let refuse = |retry_after| Conditioning::Refuse { retry_after };
    assert_eq!(load.allowance(TENANT, Lane::DEFAULT), 20);
    assert_eq!(load.conditioning(TENANT, Lane::DEFAULT), refuse(Duration::from_secs(5)));
    assert_eq!(changes.len(), 1);
    // Nothing is served at all: the most is told.
    let mut stuck = LoadController::new(LoadOptions { policies, ..LoadOptions::default() }, Mono(0));
    stuck.observe(TENANT, Lane::DEFAULT, LoadSample { wait: Duration::MAX, depth: 1_000, served: 0 });
    stuck.decide(Mono(0) + 100 * MS, &mut changes);
    assert_eq!(stuck.conditioning(TENANT, Lane::DEFAULT), refuse(Duration::from_secs(30)));
}

#[test]
fn one_tenants_load_does_not_condition_another_and_its_policies_are_its_own() {
    let mut load = LoadController::new(LoadOptions::default(), Mono(0));
    load.set_policies(TENANT, [Policy::Conflate; Lane::COUNT]);
    load.observe(TENANT, Lane::BULK, LoadSample { wait: Duration::from_secs(1), depth: 9, served: 1 });
    load.observe(TenantId(8), Lane::BULK, LoadSample { wait: MS, depth: 9, served: 9 });
    let mut changes = Vec::new();
    let next = load.decide(Mono(0) + 100 * MS, &mut changes);
    assert_eq!(next, Mono(0) + 200 * MS);
    let expected = LoadChange { tenant: TENANT, lane: Lane::BULK, conditioning: Conditioning::Conflate };
    assert_eq!(changes, [expected]);
    assert_eq!(load.conditioning(TenantId(8), Lane::BULK), Conditioning::None);
}

#[test]
fn tenants_are_bounded_and_idle_ones_are_forgotten() {
    let options = LoadOptions { tenants: 2, memory: 3, ..LoadOptions::default() };
    let mut load = LoadController::new(options, Mono(0));
    let slow = LoadSample { wait: Duration::from_secs(1), depth: 9, served: 1 };
    for tenant in 0..100 {
        load.observe(TenantId(tenant), Lane::BULK, slow);
    }
    let mut changes = Vec::new();
    load.decide(Mono(0) + 100 * MS, &mut changes);
    assert_eq!((load.tenants.len(), changes.len()), (2, 2));
    // The others share one entry, and one answer.
    assert_eq!(load.conditioning(TenantId(99), Lane::BULK), Conditioning::Wait);
    for n in 2..10 {
        load.decide(Mono(0) + 100 * n * MS, &mut changes);
    }
    assert_eq!(load.tenants.len(), 0);
    assert_eq!(load.conditioning(TenantId(99), Lane::BULK), Conditioning::None);
}
