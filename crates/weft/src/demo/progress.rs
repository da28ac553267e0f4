//! How far the demo is: bars on a terminal, a line now and then elsewhere.

use std::io::IsTerminal;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::flights::HUBS;
use super::traffic::Book;

/// Without a terminal: how often a line is printed.
const EVERY: Duration = Duration::from_secs(3);

/// What people see while it runs.
pub(crate) struct Progress {
    bars: Option<Bars>,
    printed: Instant,
}

struct Bars {
    all: MultiProgress,
    published: ProgressBar,
    answered: ProgressBar,
    hubs: Vec<ProgressBar>,
}

impl Progress {
    pub(crate) fn new(total: u64) -> Self {
        let bars = std::io::stderr().is_terminal().then(|| Bars::new(total));
        Self { bars, printed: Instant::now() }
    }

    /// Something worth a line has happened.
    pub(crate) fn say(&self, text: &str) {
        match &self.bars {
            // A terminal that is gone is no reason to stop.
            Some(bars) => drop(bars.all.println(text)),
            None => eprintln!("{text}"),
        }
    }

    /// Shows the book as it is.
    pub(crate) fn show(&mut self, book: &Book) {
        let number = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
        let (published, answered) = (number(&book.published), number(&book.answered));
        match &self.bars {
            Some(bars) => {
                bars.published.set_position(published);
                bars.answered.set_position(answered);
                for (bar, delivered) in bars.hubs.iter().zip(&book.delivered) {
                    bar.set_message(format!("{} delivered", number(delivered)));
                }
            }
            None if self.printed.elapsed() >= EVERY => {
                self.printed = Instant::now();
                let delivered: Vec<String> =
                    HUBS.iter().zip(&book.delivered).map(|(hub, n)| format!("{} {}", hub.name, number(n))).collect();
                let total = book.total();
                eprintln!(
                    "published {published} of {total}, acknowledged {answered}, delivered at {}",
                    delivered.join(", ")
                );
            }
            None => {}
        }
    }

    /// Takes the bars away.
    pub(crate) fn finish(self) {
        if let Some(bars) = self.bars {
            let _ = bars.all.clear();
        }
    }
}

impl Bars {
    fn new(total: u64) -> Self {
        let all = MultiProgress::new();
        let bar = |name: &'static str, bar: ProgressBar, template: &str| {
            let bar = all.add(bar).with_prefix(name);
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        };
        let counted = "{prefix:>12} {wide_bar} {pos}/{len}";
        let published = bar("published", ProgressBar::new(total), counted);
        let answered = bar("acknowledged", ProgressBar::new(total), counted);
        let hubs =
            HUBS.iter().map(|hub| bar(hub.shown, ProgressBar::no_length(), "{prefix:>12} {spinner} {msg}")).collect();
        Self { published, answered, hubs, all }
    }
}
