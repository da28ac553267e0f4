//! A line of three hubs under a load, reckoned by hand.

use super::{load, measured, reckon};

const MESH: &str = "[[hub]]\nname = \"a\"\n[[hub]]\nname = \"b\"\n[[hub]]\nname = \"c\"\n\
    [[link]]\nbetween = [\"a\", \"b\"]\ndelay = \"5 ms\"\nbandwidth = \"1 MiB/s\"\n\
    [[link]]\nbetween = [\"b\", \"c\"]\ndelay = \"6 ms\"\n\
    [[publisher]]\nhub = \"a\"\ntopic = \"t/{2}\"\nrate = 100\nevents = 10\nsize = 100\n\
    [[subscriber]]\nhub = \"c\"\nfilters = [\"t/*\"]\n[[subscriber]]\nhub = \"b\"\nfilters = [\"t/1\"]\n";

/// Two runs: 10 µs for what comes and 5 µs for what leaves, on one thread.
fn run(subscribers: u64, rate: f64) -> String {
    let busy = |each: f64| (rate * each * 1e3) as u64;
    let (route, net) = (busy(10e-6), busy(5e-6 * subscribers as f64));
    format!(
        "{{\"size\":128,\"subscribers\":{subscribers},\"steps\":[{{\"seconds\":2.0,\"published\":{},\"delivered\":{},\
         \"broke\":null,\"hubStages\":[{{\"name\":\"route\",\"busyPermille\":{route}}},\
         {{\"name\":\"net\",\"busyPermille\":{net}}}]}},{{\"seconds\":1,\"published\":9,\"broke\":\"p99\"}}]}}\n",
        rate * 2.0,
        rate * 2.0 * subscribers as f64,
    )
}

#[test]
fn a_line_of_three_hubs_carries_what_is_reckoned_by_hand() {
    let mesh = crate::simulate::parse_mesh(MESH).unwrap_or_else(|e| panic!("{e:?}"));
    let measured = measured::parse(&(run(1, 20_000.0) + &run(4, 20_000.0) + &run(2, 10_000.0))).expect("it is read");
    assert_eq!((measured.runs, measured.steps, measured.fan), (3, 3, (1.0, 4.0)));
    let states = reckon::whole(&mesh, &load::of(&mesh), &measured);
    let hub = |state: usize, name: &str| states[state].hubs.iter().find(|part| part.name == name).expect("it is there");
    // 1,000 events a second enter at a, go on to b and c, and half of them end at b as well.
    let (a, b, c) = (hub(0, "a"), hub(0, "b"), hub(0, "c"));
    assert_eq!(
        [(a.incoming, a.outgoing), (b.incoming, b.outgoing), (c.incoming, c.outgoing)],
        [(1e3, 1e3), (1e3, 1.5e3), (1e3, 1e3)]
    );
    let near = |value: Option<f64>, wanted: f64| value.is_some_and(|value| (value / wanted - 1.0).abs() < 0.02);
    assert!(near(a.busy, 0.015) && near(b.busy, 0.0175), "{a:?} {b:?}");
    // The link with a bound gives out first: 100 B, 24 of each event and a tenth of a block's head.
    let first = states[0].first().expect("something does");
    assert_eq!(first.name, "a -> b");
    assert!(near(first.factor(), 1_048_576.0 / (1e3 * 156.0)), "{first:?}");
    // Without the hub in the middle its subscriber goes to a, and c is out of reach.
    let dead = &states[2];
    assert_eq!(dead.dead, Some(("b".to_owned(), Some("a".to_owned()))));
    assert_eq!(dead.lost, [("a".to_owned(), "c".to_owned(), 1e3)]);
    assert_eq!(hub(2, "a").outgoing, 500.0);
}

#[test]
fn what_is_no_measurement_is_refused_with_its_line() {
    for (text, word) in [
        ("", "no step"),
        ("nonsense", "line 1"),
        ("{\"size\":1}", "subscribers"),
        ("{\"size\":128,\"subscribers\":1,\"steps\":[]}", "no step"),
    ] {
        let refused = measured::parse(text).expect_err("nothing was measured");
        assert!(refused.contains(word), "{text}: {refused}");
    }
}
