//! The stages' controllers on simulated machines: they lose nothing on two
//! cores, spread on many, and do not oscillate whatever the load does.

mod model;

use std::time::Duration;

use model::{Hub, Machine, single_loop};
use weft_sched::control::stage::Place;
use weft_sched::control::stages::{ControlOptions, Mode};

const LOTS: f64 = 1e8;

fn machine(cores: u32) -> Machine {
    Machine { cores: f64::from(cores), clients: 0.0, noise: 0.01 }
}

fn options(cores: u32, leave: u32) -> ControlOptions {
    ControlOptions { cores, leave, ..ControlOptions::default() }
}

#[test]
fn on_two_cores_by_default_the_hub_is_the_single_loop() {
    let mut hub = Hub::new(Machine { clients: 1e-6, ..machine(2) }, options(2, 1), 4);
    hub.run(600, |t| LOTS * (0.6 + 0.5 * (t / 7.0).sin()));
    assert_eq!((hub.changes.len(), hub.threads()), (0, 1));
    let least = single_loop(&hub.machine) * 600.0;
    assert!(hub.served >= least * 0.999, "{} of {least}", hub.served);
}

#[test]
fn on_two_cores_that_the_clients_need_too_it_returns_to_the_single_loop() {
    // Nothing is left free, so growths are tried, and each is worse.
    let mut hub = Hub::new(Machine { clients: 1.2e-6, ..machine(2) }, options(2, 0), 4);
    hub.run(1_800, |_| LOTS);
    let least = single_loop(&hub.machine) * 1_800.0;
    assert!(hub.served >= least * 0.995, "{} of {least}", hub.served);
    assert!(hub.changes.len() <= 100, "{} changes", hub.changes.len());
    let late = hub.changes.iter().filter(|(at, _)| *at > weft_base::Mono(0) + Duration::from_secs(900));
    assert!(late.count() <= 60, "{:?}", hub.changes);
}

#[test]
fn on_two_cores_of_its_own_it_finds_the_gain_and_keeps_it() {
    let mut hub = Hub::new(machine(2), options(2, 0), 4);
    hub.run(60, |_| LOTS);
    let gain = hub.capacity() / single_loop(&hub.machine);
    assert_eq!(hub.threads(), 2);
    assert!(gain > 1.2, "{gain}");
}

#[test]
fn on_more_cores_it_spreads() {
    for (cores, least) in [(4, 1.7), (8, 2.3), (32, 8.0)] {
        let mut hub = Hub::new(machine(cores), options(cores, 1), cores);
        hub.run(300, |t| (t / 120.0).min(1.0) * LOTS);
        let gain = hub.capacity() / single_loop(&hub.machine);
        println!("{cores} cores: {} threads, {gain:.1} times the single loop", hub.threads());
        assert!(hub.threads() < cores, "{} threads", hub.threads());
        assert!(gain >= least, "{cores} cores: {gain}");
    }
}

#[test]
fn when_the_load_goes_the_threads_go() {
    let mut hub = Hub::new(machine(8), options(8, 1), 8);
    hub.run(60, |_| LOTS);
    assert!(hub.threads() > 4);
    hub.run(600, |_| 10_000.0);
    assert_eq!(hub.threads(), 1);
    assert!(hub.control.stages().iter().all(|stage| stage.place() == Place::Shared && stage.shards() == 1));
}

/// Changes in half an hour of each of these loads.
fn changes(options: &ControlOptions, cores: u32) -> Vec<usize> {
    let square = |period: f64| move |t: f64| if t % period < period / 2.0 { LOTS } else { 20_000.0 };
    let mut counts = Vec::new();
    for period in [0.4, 1.3, 3.0, 10.0, 60.0] {
        let mut hub = Hub::new(machine(cores), options.clone(), cores);
        hub.run(1_800, square(period));
        counts.push(hub.changes.len());
    }
    let mut hub = Hub::new(machine(cores), options.clone(), cores);
    hub.run(1_800, |t| if t % 5.0 < 0.2 { LOTS } else { 20_000.0 });
    counts.push(hub.changes.len());
    // Loads that stand still, at every part of what one thread can do.
    for part in 1..40 {
        let mut hub = Hub::new(machine(cores), options.clone(), cores);
        let offered = single_loop(&hub.machine) * f64::from(part) * 0.05;
        hub.run(120, |_| offered);
        let settled = hub.changes.len();
        hub.run(300, |_| offered);
        counts.push(hub.changes.len() - settled);
    }
    counts
}

/// Per stage and direction: the doublings from the first times to the longest,
/// and twice per longest time.
const BOUND: usize = 5 * 2 * (8 + 6);

#[test]
fn no_load_makes_it_oscillate() {
    for cores in [2, 8] {
        let counts = changes(&options(cores, 0), cores);
        println!("{cores} cores: {counts:?}");
        assert!(counts.iter().all(|&n| n <= BOUND), "{cores} cores: {counts:?}");
        let (waves, still) = counts.split_at(6);
        assert!(still.iter().all(|&n| n <= 12), "{cores} cores, loads that stand still: {still:?}, {waves:?}");
    }
}

#[test]
fn canary_without_hysteresis_it_oscillates() {
    let hasty = ControlOptions {
        hold: 1,
        settle: 0,
        judge: 1,
        low: 0.85,
        calm: 1,
        calm_most: 1,
        back_off_first: Duration::ZERO,
        back_off_most: Duration::ZERO,
        ..options(8, 0)
    };
    let counts = changes(&hasty, 8);
    assert!(counts.iter().any(|&n| n > BOUND), "{counts:?}");
}

#[test]
fn fixed_is_fixed() {
    let mut hub = Hub::new(machine(8), ControlOptions { mode: Mode::Fixed, ..options(8, 0) }, 8);
    hub.run(100, |_| LOTS);
    assert_eq!((hub.changes.len(), hub.threads()), (0, 1));
}
