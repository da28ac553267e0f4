//! The audit log: whether the hub keeps one, and how much of it.

use std::time::Duration;

use weft_base::ByteCount;

/// The shortest time that an audit log may be kept.
const KEEP_LEAST: Duration = Duration::from_secs(3_600);
/// The longest: a hundred years.
const KEEP_MOST: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);
/// The smallest bound of its bytes.
const BYTES_LEAST: ByteCount = ByteCount::mib(16);

/// How a hub keeps its audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditOptions {
    /// Whether it does. None: where it has a data folder, and administrators or
    /// policies that decide.
    pub write: Option<bool>,
    /// How long records are kept.
    pub keep: Duration,
    /// How many bytes of them: the oldest go first.
    pub keep_bytes: ByteCount,
}

impl Default for AuditOptions {
    fn default() -> Self {
        Self { write: None, keep: Duration::from_secs(90 * 24 * 3_600), keep_bytes: ByteCount::mib(1_024) }
    }
}

/// What is wrong with the table `[audit]`.
pub(super) fn violations(audit: &AuditOptions, has_data: bool, found: &mut Vec<(&'static str, String)>) {
    let AuditOptions { write, keep, keep_bytes } = audit;
    if *write == Some(true) && !has_data {
        found.push(("audit.write", "an audit log needs a data folder: name one with `data`".to_owned()));
    }
    if !(KEEP_LEAST..=KEEP_MOST).contains(keep) {
        found.push(("audit.keep", format!("{keep:?} is not possible: an hour to a hundred years")));
    }
    if *keep_bytes < BYTES_LEAST {
        found.push(("audit.keep_bytes", format!("{keep_bytes} is too little: at least {BYTES_LEAST}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_named() {
        let wrong = |audit: AuditOptions, has_data| {
            let mut found = Vec::new();
            violations(&audit, has_data, &mut found);
            found.first().map(|(field, _)| *field)
        };
        let default = AuditOptions::default;
        assert_eq!(wrong(default(), false), None);
        assert_eq!(wrong(AuditOptions { write: Some(true), ..default() }, false), Some("audit.write"));
        assert_eq!(wrong(AuditOptions { keep: Duration::ZERO, ..default() }, true), Some("audit.keep"));
        assert_eq!(wrong(AuditOptions { keep_bytes: ByteCount(1), ..default() }, true), Some("audit.keep_bytes"));
    }
}
