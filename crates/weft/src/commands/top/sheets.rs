//! What is seen of a mesh as tables of text, the same on a terminal and with `--once`.
//!
//! What hubs say goes through [`plain`] on its way into a table, whoever wrote it: no
//! name can move the cursor, change colours or turn a line around.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use weft_base::{Lane, UnixNanos};

use crate::time::rfc3339;
use crate::watch::alerts::Alert;
use crate::watch::{Counts, Hub, HubRate, Link, Sight};

/// The most characters of what a hub says; links of long names fit a line.
const LONGEST: usize = 120;
/// Between two columns.
const GAP: &str = "  ";

/// What there is to see, one at a time on a terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum View {
    #[default]
    Hubs,
    Links,
    Stages,
    Drops,
    Alerts,
}

impl View {
    pub(super) const ALL: [Self; 5] = [Self::Hubs, Self::Links, Self::Stages, Self::Drops, Self::Alerts];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Hubs => "Hubs",
            Self::Links => "Links",
            Self::Stages => "Stages",
            Self::Drops => "Drops",
            Self::Alerts => "Alerts",
        }
    }

    /// The one so many places on, round and round.
    pub(super) fn on(self, places: usize) -> Self {
        let all = Self::ALL;
        let at = all.iter().position(|view| *view == self).unwrap_or(0);
        all[(at + places) % all.len()]
    }
}

/// How grave what a row says is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Warning,
    Critical,
}

/// A column: its head, and whether it has numbers.
pub(super) type Column = (&'static str, bool);

/// A table.
#[derive(Debug)]
pub(super) struct Sheet {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<(Vec<String>, Tone)>,
}

/// What was seen at one moment.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) sight: Sight,
    pub(super) alerts: Vec<Alert>,
    pub(super) counts: BTreeMap<String, Counts>,
}

/// What somebody says as one that a terminal only shows: without control characters
/// and without those that change the direction of text or cannot be seen.
pub(super) fn plain(text: &str) -> String {
    text.chars().take(LONGEST).map(harmless).collect()
}

/// The same of a character.
pub(crate) fn harmless(c: char) -> char {
    let is_hidden = matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e0fff}');
    if c.is_control() || is_hidden { '\u{fffd}' } else { c }
}

impl Seen {
    /// The mesh in a line.
    pub(super) fn headline(&self) -> String {
        let Sight { me, at, hubs, links, .. } = &self.sight;
        let reachable = hubs.iter().filter(|hub| hub.reachable).count();
        let up = links.iter().filter(|link| link.up).count();
        let off: u64 = self.counts.values().map(|counts| counts.imbalance).sum();
        let balance = match off {
            0 => format!("balanced at {} of {}", self.counts.len(), hubs.len()),
            off => format!("OFF BY {off}"),
        };
        let time = rfc3339(UnixNanos(at.saturating_mul(1_000_000)));
        let (me, alerts) = (plain(me), self.alerts.len());
        format!(
            "mesh by {me}, {time}: {reachable}/{} hubs, {up}/{} links, ledger {balance}, {alerts} alerts",
            hubs.len(),
            links.len()
        )
    }

    /// The gravest of what is wrong.
    pub(super) fn tone(&self) -> Tone {
        let tone = |alert: &Alert| if alert.critical { Tone::Critical } else { Tone::Warning };
        let all: Vec<Tone> = self.alerts.iter().map(tone).collect();
        [Tone::Critical, Tone::Warning].into_iter().find(|tone| all.contains(tone)).unwrap_or(Tone::Plain)
    }

    pub(super) fn sheet(&self, view: View) -> Sheet {
        match view {
            View::Hubs => self.hubs(),
            View::Links => self.links(),
            View::Stages => self.stages(),
            View::Drops => self.drops(),
            View::Alerts => self.alerts(),
        }
    }

    fn hubs(&self) -> Sheet {
        let columns = vec![
            ("HUB", false),
            ("REGION", false),
            ("STATE", false),
            ("RTT", true),
            ("PUBLISHED/S", true),
            ("DELIVERED/S", true),
            ("DROPPED/S", true),
            ("LEDGER", true),
        ];
        let row = |(hub, rate): (&Hub, &HubRate)| {
            let is_silent = self.sight.silent.contains(&hub.name);
            let (state, tone) = match (hub.reachable, is_silent, hub.draining) {
                (false, ..) => ("no path", Tone::Critical),
                (true, true, _) => ("silent", Tone::Warning),
                (true, false, true) => ("draining", Tone::Warning),
                (true, false, false) => ("up", Tone::Plain),
            };
            let (ledger, tone) = match self.counts.get(&hub.name).map(|counts| counts.imbalance) {
                None => ("?".to_owned(), tone),
                Some(0) => ("ok".to_owned(), tone),
                Some(off) => (format!("OFF BY {off}"), Tone::Critical),
            };
            let mark = if hub.name == self.sight.me { " *" } else { "" };
            let cells = vec![
                format!("{}{mark}", plain(&hub.name)),
                plain(&hub.region),
                state.to_owned(),
                millis(hub.rtt),
                rate_of(rate.published),
                rate_of(rate.delivered),
                rate_of(rate.dropped),
                ledger,
            ];
            (cells, tone)
        };
        Sheet { columns, rows: self.sight.hubs.iter().zip(&self.sight.hub_rates).map(row).collect() }
    }

    fn links(&self) -> Sheet {
        const LANES: [&str; Lane::COUNT] =
            ["LANE 0/S", "LANE 1/S", "LANE 2/S", "LANE 3/S", "LANE 4/S", "LANE 5/S", "LANE 6/S", "LANE 7/S"];
        let mut columns =
            vec![("FROM", false), ("TO", false), ("STATE", false), ("RTT", true), ("COST", true), ("BYTES/S", true)];
        columns.extend(LANES.map(|lane| (lane, true)));
        let state = |link: &Link| match (link.up, link.suspect) {
            (false, _) => ("down", Tone::Critical),
            (true, true) => ("suspect", Tone::Warning),
            (true, false) => ("up", Tone::Plain),
        };
        let rows = self.sight.links.iter().zip(&self.sight.link_rates).map(|(link, rate)| {
            let (state, tone) = state(link);
            let (from, to) = (plain(&link.from), plain(&link.to));
            let cost = link.cost.to_string();
            let mut cells = vec![from, to, state.to_owned(), millis(link.rtt), cost, rate_of(rate.bytes)];
            cells.extend(rate.lanes.map(rate_of));
            (cells, tone)
        });
        Sheet { columns, rows: rows.collect() }
    }

    /// How long what came last waited for each stage.
    fn stages(&self) -> Sheet {
        let waits = self.counts.iter().flat_map(|(hub, counts)| {
            counts.waits.iter().map(|(stage, wait)| {
                let cells = vec![plain(hub), plain(stage), format!("{:.3} ms", *wait as f64 / 1e3)];
                (cells, Tone::Plain)
            })
        });
        Sheet { columns: vec![("HUB", false), ("STAGE", false), ("WAIT", true)], rows: waits.collect() }
    }

    /// Copies that were dropped since each hub started, the most first.
    fn drops(&self) -> Sheet {
        let mut drops: Vec<(u64, &str, &str)> = Vec::new();
        for (hub, counts) in &self.counts {
            drops.extend(counts.drops.iter().map(|(reason, count)| (*count, hub.as_str(), reason.as_str())));
        }
        drops.retain(|(count, ..)| *count > 0);
        drops.sort_by(|one, other| other.0.cmp(&one.0).then(one.cmp(other)));
        let row =
            |(count, hub, reason): (u64, &str, &str)| (vec![plain(hub), plain(reason), count.to_string()], Tone::Plain);
        let columns = vec![("HUB", false), ("REASON", false), ("COPIES", true)];
        Sheet { columns, rows: drops.into_iter().map(row).collect() }
    }

    fn alerts(&self) -> Sheet {
        let row = |alert: &Alert| {
            let (grade, tone) = if alert.critical { ("critical", Tone::Critical) } else { ("warning", Tone::Warning) };
            let since = rfc3339(UnixNanos(alert.since.saturating_mul(1_000_000)));
            let cells = vec![since, grade.to_owned(), alert.code.to_owned(), plain(&alert.text), alert.todo.to_owned()];
            (cells, tone)
        };
        let columns = ["SINCE", "GRADE", "CODE", "WHAT IS WRONG", "WHAT TO DO"].map(|head| (head, false)).to_vec();
        Sheet { columns, rows: self.alerts.iter().map(row).collect() }
    }

    /// All views, one below the other.
    pub(super) fn text(&self) -> String {
        let mut text = self.headline() + "\n";
        for view in View::ALL {
            let sheet = self.sheet(view);
            let _ = writeln!(text, "\n{}", view.name());
            let widths = sheet.widths();
            let heads = sheet.columns.iter().map(|(head, _)| (*head).to_owned()).collect();
            for cells in std::iter::once(&heads).chain(sheet.rows.iter().map(|(cells, _)| cells)) {
                let mut line = String::new();
                for ((cell, width), (_, is_number)) in cells.iter().zip(&widths).zip(&sheet.columns) {
                    let _ = if *is_number {
                        write!(line, "{cell:>width$}{GAP}")
                    } else {
                        write!(line, "{cell:<width$}{GAP}")
                    };
                }
                let _ = writeln!(text, "{}", line.trim_end());
            }
        }
        text
    }
}

impl Sheet {
    /// How many characters each column has at most.
    pub(super) fn widths(&self) -> Vec<usize> {
        let width = |at: usize, head: &str| {
            let cells = self.rows.iter().filter_map(|(cells, _)| cells.get(at)).map(|cell| cell.chars().count());
            cells.chain([head.len()]).max().unwrap_or(0)
        };
        self.columns.iter().enumerate().map(|(at, (head, _))| width(at, head)).collect()
    }
}

fn millis(time: Option<std::time::Duration>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| format!("{:.1} ms", time.as_secs_f64() * 1e3))
}

fn rate_of(rate: f64) -> String {
    if rate > 0.0 && rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}
