//! `[issue]`: certificates for those who join.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use weft_transport::IdentityFiles;
use weft_transport::ca::MAX_VALID_FOR;

use super::read::address;
use super::reader::{Problems, Section};
use crate::issue::{IssueOptions, authority_of};
use crate::time::show_duration;

const VALID_FOR: Duration = Duration::from_secs(365 * 86_400);
const CONNECTIONS: usize = 16;
const ATTEMPTS: u32 = 60;
/// The most conversations at a time: each has a thread.
const MOST_CONNECTIONS: usize = 256;

/// What issuing stands on.
pub(super) struct Needs<'a> {
    pub(super) tls: Option<&'a IdentityFiles>,
    pub(super) has_tls: bool,
    pub(super) has_data: bool,
}

pub(super) fn issue(
    mut section: Section<'_, '_>,
    folder: &Path,
    needs: &Needs<'_>,
    problems: &mut Problems,
) -> Option<IssueOptions> {
    let listen = address(&mut section, "listen", problems);
    let key = section.needed("key", "\"ca.key\"", problems).map(|key| folder.join(key));
    let valid_for = section.duration("valid_for", problems).unwrap_or(VALID_FOR);
    let connections = section.number("connections", problems).unwrap_or(CONNECTIONS);
    let attempts = section.number("attempts", problems).unwrap_or(ATTEMPTS);
    section.finish(problems);
    if !needs.has_tls {
        problems.add_at("issue", "a hub that issues has a certificate of the same authority: add a table `[tls]`");
    }
    if !needs.has_data {
        problems.add_at("issue", "tokens are kept in the data folder: add `data = \"data\"`");
    }
    if !(Duration::from_secs(3600)..=MAX_VALID_FOR).contains(&valid_for) {
        problems.add_at("issue.valid_for", "take from \"1 h\" to \"36500 d\"");
    }
    if !(1..=MOST_CONNECTIONS).contains(&connections) {
        problems.add_at("issue.connections", &format!("take from 1 to {MOST_CONNECTIONS}: each has a thread"));
    }
    if attempts == 0 {
        problems.add_at("issue.attempts", "take at least 1: with 0 nobody can join");
    }
    let (key, tls) = key.zip(needs.tls)?;
    let authority = authority_of(&tls.ca, &key).map_err(|message| problems.add_at("issue.key", &message)).ok()?;
    let ca = tls.ca.clone();
    Some(IssueOptions { listen: listen?, authority: Arc::new(authority), ca, valid_for, connections, attempts })
}

/// Its effective values, as a configuration. The key is not in it.
pub(crate) fn show_issue(issue: &IssueOptions) -> String {
    let IssueOptions { listen, valid_for, connections, attempts, .. } = issue;
    let valid_for = show_duration(*valid_for);
    format!(
        "\n# issue.key: the authority's key is there\n[issue]\nlisten = {listen:?}\nvalid_for = \"{valid_for}\"\n\
         connections = {connections}\nattempts = {attempts}\n"
    )
}
