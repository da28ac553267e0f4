//! Changes of a running hub: an operator's client tells it what to do otherwise,
//! on trial; answered by [`Changes`]. Not on the data path: lists are collected.

use super::codec::{Reader, Writer, wire_enum};
use super::{FrameError, MAX_LIST, MAX_TEXT};

/// The most labels that a change can give a hub; a hub may allow fewer.
pub const MAX_CHANGE_LABELS: usize = 64;

wire_enum! {
    /// What is to be otherwise.
    ChangeWhat {
        /// Dial a hub and keep a link to it.
        Link = 1,
        /// Have no link with a hub.
        Unlink = 2,
        /// What links with a hub cost.
        Weigh = 3,
        /// The hub's labels.
        Labels = 4,
    }
}

/// Stands for a cost or price that is to stay.
pub const AS_IT_IS: u32 = u32::MAX;

/// A change of the hub that is asked, on trial: it puts it back by itself when
/// it hears nothing of the trial for so long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    /// Chosen by the client.
    pub request: u64,
    /// The trial that it is part of: chosen by the client, not 0.
    pub trial: u64,
    /// Its number in the trial, from 1.
    pub step: u32,
    /// For how long it is on trial, in seconds.
    pub seconds: u32,
    /// What.
    pub what: ChangeWhat,
    /// Of a link: the hub at its other end, by name.
    pub peer: &'a str,
    /// Of one to dial: where.
    pub addr: &'a str,
    /// Of a link: what it is to cost, or [`AS_IT_IS`].
    pub cost: u32,
    /// Of a link: the price of a GB, or [`AS_IT_IS`].
    pub price: u32,
    /// The hub's labels.
    pub labels: Vec<&'a str>,
}

impl<'a> Change<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        Ok(Self {
            request: r.id(),
            trial: r.u64("trial")?,
            step: r.u32("step")?,
            seconds: r.u32("seconds")?,
            what: r.one_of("what", ChangeWhat::from_number)?,
            peer: r.name("peer")?,
            addr: r.text("addr", MAX_TEXT)?,
            cost: r.u32("cost")?,
            price: r.u32("price")?,
            labels: r.list("labels", MAX_CHANGE_LABELS, 2, |r| r.name("label"))?,
        })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.id(self.request);
        w.u64(self.trial);
        w.u32(self.step);
        w.u32(self.seconds);
        w.u8(self.what as u8);
        w.name("peer", self.peer);
        w.text("addr", self.addr, MAX_TEXT);
        w.u32(self.cost);
        w.u32(self.price);
        w.list("labels", &self.labels, MAX_CHANGE_LABELS, |w, label| w.name("label", label));
    }
}

wire_enum! {
    /// What becomes of changes that are on trial, or were kept.
    TrialAct {
        /// Nothing: the client is there, and the time begins anew.
        Stay = 1,
        /// They are kept, also when the hub starts again.
        Confirm = 2,
        /// They are put back, kept ones too.
        Undo = 3,
        /// Nothing is done: the hub tells its changes.
        List = 4,
    }
}

/// About changes of the hub that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Chosen by the client.
    pub request: u64,
    /// The trial; 0 for all changes that were kept.
    pub trial: u64,
    /// One change of it, or 0 for all.
    pub step: u32,
    /// For how long it is on trial from now on, in seconds.
    pub seconds: u32,
    /// What becomes of it.
    pub act: TrialAct,
}

impl Trial {
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, FrameError> {
        Ok(Self {
            request: r.id(),
            trial: r.u64("trial")?,
            step: r.u32("step")?,
            seconds: r.u32("seconds")?,
            act: r.one_of("act", TrialAct::from_number)?,
        })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.id(self.request);
        w.u64(self.trial);
        w.u32(self.step);
        w.u32(self.seconds);
        w.u8(self.act as u8);
    }
}

/// A change that a hub has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeLine<'a> {
    /// The trial that it is or was part of.
    pub trial: u64,
    /// Its number there.
    pub step: u32,
    /// It is kept; otherwise it is on trial.
    pub kept: bool,
    /// Who made it.
    pub by: &'a str,
    /// What it does, in words.
    pub what: &'a str,
}

/// The changes that the hub has after what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes<'a> {
    /// The request.
    pub request: u64,
    /// Kept ones first, in the order in which they were made.
    pub changes: Vec<ChangeLine<'a>>,
}

impl<'a> Changes<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FrameError> {
        let changes = r.list("changes", MAX_LIST, 17, |r| {
            Ok(ChangeLine {
                trial: r.u64("trial")?,
                step: r.u32("step")?,
                kept: r.bool("kept")?,
                by: r.name("by")?,
                what: r.text("what", MAX_TEXT)?,
            })
        })?;
        Ok(Self { request: r.id(), changes })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.id(self.request);
        w.list("changes", &self.changes, MAX_LIST, |w, change| {
            w.u64(change.trial);
            w.u32(change.step);
            w.bool(change.kept);
            w.name("by", change.by);
            w.cut("what", change.what);
        });
    }
}
