//! What is said of answers that are made up.

use weft_client::Fact;

use super::*;

fn fact(name: &str, text: &str, value: u64) -> Fact {
    Fact { name: name.to_owned(), text: text.to_owned(), value }
}

fn hub(name: &str, facts: Vec<Fact>) -> HubSaid {
    let (took, ahead_ns) = (Duration::ZERO, 0);
    HubSaid { hub: HubId::of_name(name), name: name.to_owned(), answered: true, took, ahead_ns, facts }
}

fn text(show: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
    let mut out = Vec::new();
    show(&mut out).expect("a Vec takes all");
    String::from_utf8(out).expect("text")
}

#[test]
fn an_event_is_named_by_where_it_entered_or_by_who_published_it() {
    let entry =
        |epoch, sequence| EventName(Question::Event { origin: HubId::of_name("east"), epoch: Epoch(epoch), sequence });
    assert_eq!("east/7".parse(), Ok(entry(0, 7)));
    assert_eq!("east/3/7".parse(), Ok(entry(3, 7)));
    let of = Question::OfProducer { producer: ProducerId(0xab), sequence: 9 };
    assert_eq!("producer:ab/9".parse(), Ok(EventName(of)));
    for wrong in ["east", "east/x", "east/1/2/3", "/1", "producer:xy/1", "East/1", "east/9999999999/1"] {
        let error = wrong.parse::<EventName>().expect_err(wrong);
        assert!(error.contains("HUB/EPOCH/SEQUENCE"), "{error}");
    }
}

/// An event that went from east by middle to west; north knows nothing, south is silent.
fn way() -> Vec<HubSaid> {
    let seen = |from: &str, more: Vec<Fact>| {
        let mut all = vec![fact(facts::FOUND, "", 1), fact(facts::ORIGIN, "east", 5), fact(facts::EVENTS, "", 1)];
        if !from.is_empty() {
            all.push(fact(facts::FROM, from, 0));
        }
        all.extend(more);
        all
    };
    let mut west = hub("west", seen("middle", vec![fact(facts::DELIVERED, "", 2), fact(facts::ROUTED_AT, "", 4_000)]));
    (west.took, west.ahead_ns) = (Duration::from_micros(300), 1_000);
    let mut south = hub("south", Vec::new());
    south.answered = false;
    vec![
        hub("middle", seen("east", vec![fact(facts::ROUTED_AT, "", 2_000), fact(facts::SENT_TO, "west", 0)])),
        hub("east", seen("", vec![fact(facts::CAME_AT, "", 1_000), fact(facts::SENT_TO, "middle", 0)])),
        west,
        hub("north", vec![fact(facts::WINDOW, "", 8), fact(facts::REACHES_BACK, "", 1_000_000_000)]),
        south,
    ]
}

#[test]
fn where_says_what_became_of_it_and_who_does_not_know() {
    let said = text(|out| show_event(&way(), out));
    assert!(said.contains("2 delivered") && said.contains("over the link to middle"), "{said}");
    assert!(said.contains("south: no answer"), "{said}");
    assert!(
        said.contains(
            "north: has not seen it, or not any more; its window of 8 blocks reaches back to 1970-01-01T00:00:01"
        ),
        "{said}"
    );
    assert!(text(|out| show_event(&way()[3..], out)).starts_with("not known any more, or never seen\n"));
}

#[test]
fn a_trace_is_a_tree_by_who_it_came_from_with_times_of_one_clock() {
    let said = text(|out| show_trace("a/b", &way(), out));
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[1].starts_with("east: came 0 µs"), "{said}");
    assert!(lines[2].starts_with("└─ middle: routed 1 µs"), "{said}");
    assert!(lines[3].starts_with("   └─ west: routed 2 µs (± 150 µs): 2 delivered"), "{said}");
    assert!(has_ended(&way()));
    let mut flying = way();
    flying[1].facts.push(fact(facts::IN_FLIGHT, "", 1));
    assert!(!has_ended(&flying));
    assert!(!has_ended(&way()[..2]), "west has not said that it came");
}

#[test]
fn a_dry_trace_goes_hop_by_hop_and_says_where_no_path_leads() {
    let to = |name: &str, via: &str| [fact(facts::TO, name, 0), fact(facts::VIA, via, 1)];
    let said = vec![
        hub("east", [to("west", "middle"), to("north", "")].concat()),
        hub("middle", to("west", "west").into()),
        hub("west", vec![fact(facts::LOCAL, "", 3)]),
    ];
    let shown = text(|out| show_dry("a/b", &said, out));
    assert!(shown.contains("east -> middle -> west, for live subscribers: 3 live subscriptions"), "{shown}");
    assert!(shown.contains("north, for live subscribers: no path leads there"), "{shown}");
    assert_eq!(path(&said[..1], "east", "west"), ["east", "middle", "?", "west"], "middle says nothing");
    let round = [hub("east", to("west", "middle").into()), hub("middle", to("west", "east").into())];
    assert_eq!(path(&round, "east", "west"), ["east", "middle", "?", "west"], "it would never come there");
}

#[test]
fn the_ledger_of_the_mesh_adds_hubs_up_and_tells_what_is_in_no_class() {
    let counts = |copies, orders| {
        vec![fact("ledger.copies", "", copies), fact("class.orders.copies", "", orders), fact(facts::CLOCK, "", 1)]
    };
    let mut said = vec![hub("east", counts(9, 4)), hub("west", counts(5, 5))];
    said[1].facts.push(fact("class.orders.imbalance", "", 1));
    said[1].facts.push(fact("class.orders.dropped.no_path", "", 2));
    let classes = ledger::by_class(&said);
    let copies = |class: &str, hub: &str| classes[class][hub]["copies"];
    assert_eq!((copies(ledger::ALL, ""), copies("orders", ""), copies("other", "")), (14, 9, 5));
    assert_eq!((copies("other", "east"), copies("other", "west")), (5, 0));
    let shown = text(|out| ledger::ledgers(&said, out));
    assert!(shown.contains("OFF BY 1") && shown.contains("2 dropped: no_path"), "{shown}");
}

#[test]
fn what_crossed_a_link_is_told_by_class_from_both_of_its_ends() {
    let east = hub(
        "east",
        vec![
            fact("link.out.orders", "west", 7),
            fact("link.out.other", "west", 1),
            fact("link.unsure.orders", "west", 2),
            fact("link.later.orders", "west", 9),
        ],
    );
    let mut west = hub("west", vec![fact("link.in.orders", "east", 4), fact("link.off.orders", "east", 1)]);
    let lines = |said: &[HubSaid]| {
        let text = text(|out| ledger::crossings(said, out));
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        text.lines().filter(|line| line.contains(" -> ")).map(words).collect::<Vec<_>>()
    };
    let expected =
        ["east -> west (all) 8 4 2 1 DIFFER", "east -> west orders 7 4 2 1 DIFFER", "east -> west other 1 0 0 0 ok"];
    assert_eq!(lines(&[east.clone(), west.clone()]), expected);
    west.answered = false;
    assert_eq!(lines(&[east, west])[1], "east -> west orders 7 ? 2 ? ?");
}
