//! The configuration of a running hub: at SIGHUP its file is read again, and what a
//! running hub can take of it is taken. All or nothing: a file with a mistake, or one
//! of which what can be taken does not go with what stays, changes nothing and is an
//! alarm. What can only be taken at a start is listed by its keys.

mod keys;

use std::path::PathBuf;
use std::time::Duration;

use tracing::Level;
use weft_hub::{Hub, HubOptions};

use self::keys::Keys;
use crate::config::{self, Config};
use crate::hooks::Hooks;
use crate::logs;

/// Keys that are listed in one line of the log, of each kind.
const LISTED: usize = 20;

/// Looks after the configuration of one hub.
pub(crate) struct Reload {
    /// A hub without one has nothing to read again.
    path: Option<PathBuf>,
    /// What the hub goes by.
    current: HubOptions,
    /// All that the file said at the start, with what was taken since.
    keys: Keys,
    /// The level of `--log`, which goes before that of the file.
    asked: Option<Level>,
    /// What is taken, until the hub has it.
    next: Option<HubOptions>,
}

impl Reload {
    /// A hub of these options; with its configuration, when it has one.
    pub(crate) fn new(options: &HubOptions, file: Option<(PathBuf, &Config)>, asked: Option<Level>) -> Self {
        let keys = file.as_ref().map(|(_, config)| Keys::of(config)).unwrap_or_default();
        Self { path: file.map(|(path, _)| path), current: options.clone(), keys, asked, next: None }
    }

    /// How long clients have when the process is told to stop.
    pub(crate) fn drain_on_stop(&self) -> Option<Duration> {
        self.current.drain_on_stop
    }

    /// Reads the configuration again where it is `asked` to.
    pub(crate) fn look(&mut self, hub: &Hub, hooks: Option<&mut Hooks>, asked: bool) {
        if let Some(path) = self.path.clone().filter(|_| asked) {
            match config::load(&path) {
                Ok(config) => self.take(&config, hooks),
                Err(error) => refused(&error.to_string()),
            }
        }
        let Some(next) = self.next.take() else { return };
        let same_rules = next.mapping.specs() == self.current.mapping.specs();
        // A hub that is busy takes them at the next look.
        let taken = same_rules || hub.set_mapping(next.mapping.clone()).is_ok();
        if taken {
            self.current.mapping = next.mapping.clone();
        }
        if taken && hub.reload(next.clone()).is_ok() {
            self.current = next;
        } else {
            self.next = Some(next);
        }
    }

    fn take(&mut self, config: &Config, hooks: Option<&mut Hooks>) {
        let merged = self.current.reloaded(&config.hub);
        if let Some((field, message)) = merged.violations().into_iter().next() {
            return refused(&format!("with what a running hub keeps, {field}: {message}"));
        }
        // Without a place for so many sessions they wait for the next start.
        let hooks = hooks.filter(|hooks| hooks.have_room(config.hooks.len()));
        let prepared = match hooks.as_ref().map(|hooks| hooks.prepare(&config.hooks)).transpose() {
            Ok(prepared) => prepared,
            Err(error) => return refused(&format!("{error:#}")),
        };
        let wanted = Keys::of(config);
        let sends = prepared.is_some().then_some(&*config.hooks);
        let taken = self.keys.with(&merged, sends, config.log);
        if let (Some(hooks), Some(prepared)) = (hooks, prepared) {
            hooks.replace(prepared);
        }
        let (changed, waiting) = (self.keys.differ(&taken), taken.differ(&wanted));
        logs::set_level(self.asked.or(config.log));
        if changed.is_empty() && waiting.is_empty() {
            tracing::info!(code = "config_same", "the configuration says nothing else");
        } else if changed.is_empty() {
            tracing::info!(code = "config_taken", keys = "", "nothing of it can be taken while the hub runs");
        } else {
            let keys = listed(&changed);
            tracing::info!(code = "config_taken", keys, "the hub goes by another configuration");
        }
        if !waiting.is_empty() {
            let keys = listed(&waiting);
            tracing::warn!(code = "config_waits", keys, "these hold from the hub's next start on");
        }
        self.keys = taken;
        self.next = Some(merged);
    }
}

fn refused(why: &str) {
    tracing::error!(
        code = "config_unusable",
        why,
        "the configuration cannot be used: the hub goes on with all of the one that it has"
    );
}

fn listed(keys: &[String]) -> String {
    let (few, more) = keys.split_at(keys.len().min(LISTED));
    let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
    format!("{}{more}", few.join(" "))
}
