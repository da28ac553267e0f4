//! What holds a publisher up, as its hub says.

use std::fmt;
use std::time::Duration;

use weft_base::Mono;
use weft_wire::frame;

pub use weft_wire::frame::Limit;

/// What holds a publisher up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WhyWaiting {
    /// What it is; [`Limit::None`] when the hub holds nothing back.
    pub limit: Limit,
    /// The name of the subscriber; empty for others.
    pub name: String,
    /// The hub where it is.
    pub hub: String,
    /// The filter of the subscriber; empty for others.
    pub filter: String,
    /// For how long the oldest of what it has to take has waited.
    pub behind: Duration,
    /// Blocks that the hub holds back or has not answered.
    pub blocks: u32,
}

impl WhyWaiting {
    pub(crate) fn of(report: &frame::WhyReport<'_>) -> Self {
        Self {
            limit: report.limit,
            name: report.name.to_owned(),
            hub: report.hub.to_owned(),
            filter: report.filter.to_owned(),
            behind: Duration::from_millis(report.behind_ms),
            blocks: report.blocks,
        }
    }

    /// Nothing holds it up.
    pub(crate) fn nothing() -> Self {
        let none = String::new;
        let (limit, behind, blocks) = (Limit::None, Duration::ZERO, 0);
        Self { limit, name: none(), hub: none(), filter: none(), behind, blocks }
    }
}

impl fmt::Display for WhyWaiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, hub, filter, blocks, .. } = self;
        let ms = self.behind.as_millis();
        match self.limit {
            Limit::None => write!(f, "not held up by the hub"),
            Limit::Subscriber => {
                write!(f, "limited by subscriber `{name}` (of `{filter}`) at hub `{hub}`, {ms} ms behind")
            }
            Limit::Stream => {
                let are = if *blocks == 1 { "block is" } else { "blocks are" };
                write!(f, "{blocks} {are} not stored yet at hub `{hub}`, or at as many homes as were asked for")?;
                // Of its own stream the hub does not say.
                if ms > 0 { write!(f, ", the oldest for {ms} ms") } else { Ok(()) }
            }
            Limit::Memory => write!(f, "the memory for blocks of hub `{hub}` is in use"),
            Limit::Load => write!(f, "hub `{hub}` has more to do than it can"),
        }
    }
}

/// What the hub said unasked, and when.
#[derive(Debug, Default)]
pub(crate) struct Told(Option<(WhyWaiting, Mono)>);

impl Told {
    /// The hub says that it holds something back, or that it does no longer.
    pub(crate) fn set(&mut self, why: WhyWaiting, now: Mono) {
        self.0 = (why.limit != Limit::None).then_some((why, now));
    }

    /// The connection is lost: nothing that was said counts.
    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }

    /// What was said, with the time since then added.
    pub(crate) fn get(&self, now: impl FnOnce() -> Mono) -> Option<WhyWaiting> {
        let (why, said) = self.0.as_ref()?;
        Some(WhyWaiting { behind: why.behind.saturating_add(now().since(*said)), ..why.clone() })
    }
}
