//! When `Writable` is to be reported, the same for every network: see
//! [`crate::Ready::Writable`].

/// What the link's last writes met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// No limit.
    Off,
    /// A limit: report when there is room.
    Armed,
    /// A limit, and then a write that took all that it was offered: once more.
    Last,
    /// That was reported; off at the next poll, unless there was a write.
    Said,
}

impl Report {
    /// A write took `taken` of `offered` bytes; `whole` says that these were
    /// all that the caller had.
    pub(crate) fn wrote(&mut self, taken: usize, offered: usize, whole: bool) {
        if taken < offered {
            *self = Self::Armed;
        } else if offered == 0 {
            *self = Self::Off;
        } else if *self != Self::Off && whole {
            *self = Self::Last;
        }
    }

    /// Whether room is to be reported.
    pub(crate) const fn is_due(self) -> bool {
        matches!(self, Self::Armed | Self::Last)
    }

    /// A poll comes: whether it reports `Writable`, given whether there is room.
    pub(crate) fn poll(&mut self, room: bool) -> bool {
        match self {
            Self::Armed => room,
            Self::Last if room => {
                *self = Self::Said;
                true
            }
            Self::Said => {
                *self = Self::Off;
                false
            }
            Self::Last | Self::Off => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_until_a_whole_write_and_once_more() {
        let mut report = Report::Off;
        report.wrote(5, 5, true);
        assert!(!report.is_due(), "nothing met a limit");
        report.wrote(2, 5, true);
        assert!(!report.poll(false));
        assert!(report.poll(true) && report.poll(true));
        report.wrote(5, 5, false);
        assert!(report.poll(true) && report.poll(true), "the caller had more than 64 slices");
        report.wrote(5, 5, true);
        assert!(report.poll(true));
        report.wrote(5, 5, true);
        assert!(report.poll(true), "the caller stopped early and went on");
        assert!(!report.poll(true) && !report.poll(true));
        assert_eq!(report, Report::Off);
        report.wrote(0, 5, true);
        report.wrote(0, 0, true);
        assert!(!report.poll(true), "an empty write disarms");
    }
}
