//! What is drawn of a mesh that is made by hand, and of names that mean harm.

use std::collections::BTreeMap;
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use weft_base::Lane;

use super::screen::Screen;
use super::sheets::{Seen, plain};
use crate::watch::alerts::Alert;
use crate::watch::{Counts, Hub, HubRate, Link, LinkRate, Sight};

/// Clears a screen, names a window, ends a line, turns one around, and hides.
const HOSTILE: &str = "a\u{1b}[2J\u{1b}]0;x\u{7}\r\n\u{9b}31m\u{202e}b\u{200b}";

fn hub(name: &str, reachable: bool) -> Hub {
    Hub {
        name: name.to_owned(),
        region: "eu".to_owned(),
        epoch: 1,
        reachable,
        draining: false,
        hops: 0,
        rtt: Some(Duration::from_micros(1_500)),
        interest: 1,
        place: None,
    }
}

/// Two hubs, a link, 30 reasons to drop, and something that is wrong.
fn seen(other: &str) -> Seen {
    let link = Link { from: "east".to_owned(), to: other.to_owned(), rtt: None, cost: 7, up: true, suspect: true };
    let mut lanes = [0.0; Lane::COUNT];
    lanes[4] = 12.0;
    let sight = Sight {
        me: "east".to_owned(),
        at: 1_000,
        hubs: vec![hub("east", true), hub(other, false)],
        links: vec![link],
        hub_rates: vec![HubRate { published: 2.5, delivered: 100.0, dropped: 0.0 }, HubRate::default()],
        link_rates: vec![LinkRate { bytes: 4_096.0, lanes }],
        silent: Vec::new(),
    };
    let drops = (0..30).map(|n| (format!("reason_{n}{other}"), n));
    let waits = [(format!("sync{other}"), 1_250)];
    let mut counts = Counts::default();
    (counts.imbalance, counts.drops, counts.waits) = (3, drops.collect(), waits.into_iter().collect());
    let alert = Alert {
        id: "x".to_owned(),
        critical: true,
        code: "ledger_unbalanced",
        hub: other.to_owned(),
        since: 1_000,
        text: format!("The ledger of hub {other} is off."),
        todo: "Report it.",
    };
    Seen { sight, alerts: vec![alert], counts: BTreeMap::from([("east".to_owned(), counts)]) }
}

fn drawn(screen: &Screen) -> String {
    let mut terminal = Terminal::new(TestBackend::new(160, 12)).expect("a terminal");
    terminal.draw(|frame| screen.draw(frame)).expect("it is drawn");
    let buffer = terminal.backend().buffer();
    let width = usize::from(buffer.area.width);
    let lines = buffer.content.chunks(width).map(|line| line.iter().map(|cell| cell.symbol()).collect::<String>());
    lines.map(|line| line.trim_end().to_owned() + "\n").collect()
}

fn press(screen: &mut Screen, code: KeyCode) -> bool {
    screen.key(KeyEvent::new(code, KeyModifiers::NONE))
}

#[test]
fn each_view_is_drawn_and_keys_turn_to_it() {
    let mut screen = Screen::default();
    assert!(drawn(&screen).starts_with("looking\n"));
    screen.take(Ok(seen("west")));
    let hubs = drawn(&screen);
    let headline = "mesh by east, 1970-01-01T00:00:01.000000Z: 1/2 hubs, 1/1 links, ledger OFF BY 3, 1 alerts\n";
    assert!(hubs.starts_with(headline), "{hubs}");
    assert!(hubs.contains("east *") && hubs.contains("no path") && hubs.contains("1.5 ms"), "{hubs}");
    assert!(hubs.contains("2.5") && hubs.contains("OFF BY 3\n"), "{hubs}");
    for (key, shown) in [('2', "suspect"), ('3', "1.250 ms"), ('4', "reason_29west"), ('5', "Report it.")] {
        assert!(press(&mut screen, KeyCode::Char(key)));
        let view = drawn(&screen);
        assert!(view.contains(shown), "{key}: {view}");
        assert!(!hubs.contains(shown), "{key}");
    }
    for (key, shown) in [(KeyCode::Tab, "REGION"), (KeyCode::BackTab, "GRADE"), (KeyCode::Left, "COPIES")] {
        press(&mut screen, key);
        assert!(drawn(&screen).contains(shown), "{key:?}");
    }
    // Down to the last row and no further.
    for _ in 0..40 {
        press(&mut screen, KeyCode::Down);
    }
    let last = drawn(&screen);
    assert!(last.contains("reason_1west") && !last.contains("reason_2west"), "{last}");
    press(&mut screen, KeyCode::Home);
    assert!(drawn(&screen).contains("reason_29west"));
    screen.take(Err("the hub\u{1b} went".to_owned()));
    let after = drawn(&screen);
    assert!(after.starts_with("no answer: the hub\u{fffd} went\n") && after.contains("reason_29west"), "{after}");
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert!(press(&mut screen, KeyCode::Char('c')) && !screen.key(control_c));
    assert!(!press(&mut screen, KeyCode::Char('q')) && !press(&mut screen, KeyCode::Esc));
}

#[test]
fn what_hubs_say_is_shown_and_does_nothing_to_a_terminal() {
    let does_something =
        |text: &str| text.chars().any(|c| (c.is_control() && c != '\n') || plain(&c.to_string()) == "\u{fffd}");
    assert!(does_something(HOSTILE), "the check notices what it looks for");
    let seen = seen(HOSTILE);
    let text = seen.text().replace('\u{fffd}', "");
    assert!(!does_something(&text.replace('\n', "")), "{text:?}");
    assert_eq!(text.lines().filter(|line| line.contains("[2J")).count(), 33, "each in its own line: {text:?}");
    let mut screen = Screen::default();
    screen.take(Ok(seen));
    for key in ['1', '2', '3', '4', '5'] {
        press(&mut screen, KeyCode::Char(key));
        let view = drawn(&screen).replace(['\u{fffd}', '\n'], "");
        assert!(view.contains("[2J") && !does_something(&view), "{key}: {view:?}");
    }
    assert_eq!(plain(&"x".repeat(1_000)).len(), 120);
}
